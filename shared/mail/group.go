package mail

import "slices"

// Group is what of mails a person may do without. What warns of an account or a key
// in wrong hands, or says that nothing works any more, is in none: it is always sent.
type Group string

// The groups.
const (
	GroupReminders  Group = "reminders"  // keys that are to be rotated
	GroupBudgets    Group = "budgets"    // thresholds that were reached
	GroupInvoices   Group = "invoices"   // invoices that were issued
	GroupOperations Group = "operations" // webhooks that were given up
)

// Groups lists them.
func Groups() []Group { return []Group{GroupReminders, GroupBudgets, GroupInvoices, GroupOperations} }

// GroupOf is the group of a kind of mail; "" where everybody gets it.
func GroupOf(k Kind) Group {
	return map[Kind]Group{
		KindKeyRotation: GroupReminders, KindBudget: GroupBudgets, KindInvoiceIssued: GroupInvoices, KindWebhookStopped: GroupOperations,
	}[k]
}

// wants tells whether a member gets mails of a kind.
func (p Person) wants(k Kind) bool {
	g := GroupOf(k)
	return g == "" || !slices.Contains(p.Unwanted, g)
}
