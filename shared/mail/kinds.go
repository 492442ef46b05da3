package mail

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// The kinds of mail.
const (
	KindKeyRotation    Kind = "key.rotation_due"
	KindKeyCreated     Kind = "key.created"
	KindKeyRevoked     Kind = "key.revoked"
	KindKeyLeaked      Kind = "key.leaked"
	KindBudget         Kind = "budget.threshold_reached"
	KindOrgSuspended   Kind = "organization.suspended"
	KindOrgActivated   Kind = "organization.activated"
	KindMemberAdded    Kind = "member.added"
	KindWebhookStopped Kind = "webhook.disabled"
	KindInvoiceIssued  Kind = "invoice.issued"
	KindTest           Kind = "test"
)

type decoder func(json.RawMessage) (Content, error)

// kinds is the registry: what the data of each kind of mail is.
func kinds() map[Kind]decoder {
	return map[Kind]decoder{
		KindKeyRotation:    as[KeyRotation],
		KindKeyCreated:     as[KeyCreated],
		KindKeyRevoked:     as[KeyRevoked],
		KindKeyLeaked:      as[KeyLeaked],
		KindBudget:         as[BudgetThreshold],
		KindOrgSuspended:   as[OrganizationSuspended],
		KindOrgActivated:   as[OrganizationActivated],
		KindMemberAdded:    as[MemberAdded],
		KindWebhookStopped: as[WebhookStopped],
		KindInvoiceIssued:  as[InvoiceIssued],
		KindTest:           as[Test],

		KindInvited:         as[Invited],
		KindPasswordReset:   as[PasswordReset],
		KindPasswordChanged: as[PasswordChanged],
		KindNewDevice:       as[NewDevice],
		KindFactorChanged:   as[FactorChanged],
	}
}

func as[C Content](raw json.RawMessage) (Content, error) {
	var c C
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("decode %T: %w", c, err)
	}
	return c, nil
}

// Kinds lists the kinds of mail.
func Kinds() []Kind { return slices.Sorted(maps.Keys(kinds())) }

// reference is the place of an operation in the API reference, which every
// deployment serves.
func reference(label, operationID string) Action {
	return Action{Label: label, Path: "/docs#" + operationID}
}

// date is a day with the time of it, in UTC.
func date(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 MST") }

// KeyFacts are a key as mails show it: never its secret.
type KeyFacts struct {
	ID          string `json:"id"`
	Name        Name   `json:"name"`
	Fingerprint string `json:"fingerprint,omitempty"`
	Environment string `json:"environment,omitempty"`
}

func (k KeyFacts) facts() []Fact {
	return present([]Fact{
		{"Key", k.Name.Or(k.ID)}, {"Id", k.ID}, {"Fingerprint", k.Fingerprint}, {"Environment", k.Environment},
	})
}

// present leaves out facts that say nothing.
func present(facts []Fact) []Fact {
	return slices.DeleteFunc(facts, func(f Fact) bool { return Plain(f.Value) == "" })
}

// KeyRotation reminds of a key whose secret is to be changed.
type KeyRotation struct {
	Key  KeyFacts  `json:"key"`
	Due  time.Time `json:"due"`
	Days int       `json:"days"` // before the date; 0: it has come
}

// Page implements [Content].
func (c KeyRotation) Page() Page {
	when := fmt.Sprintf("within %d days", c.Days)
	switch c.Days {
	case 0:
		when = "now"
	case 1:
		when = "within a day"
	}
	return Page{
		Subject: fmt.Sprintf("Change the API key “%s” %s", c.Key.Name.Or(c.Key.ID), when),
		Lead: []string{
			fmt.Sprintf("The secret of the API key “%s” is to be changed by %s.", c.Key.Name.Or(c.Key.ID), date(c.Due)),
			"The old secret goes on working for a while after the change, so programs can be moved without a break.",
		},
		Facts:  c.Key.facts(),
		Action: reference("How to rotate a key", "rotateApiKey"),
		Advice: []string{"On the command line: aiaas key rotate " + c.Key.ID},
	}
}

// KeyCreated tells that there is a new key.
type KeyCreated struct {
	Key KeyFacts `json:"key"`
	By  Name     `json:"by,omitempty"`
}

// Page implements [Content].
func (c KeyCreated) Page() Page {
	return Page{
		Subject: fmt.Sprintf("New API key “%s”", c.Key.Name.Or(c.Key.ID)),
		Lead:    []string{fmt.Sprintf("The API key “%s” was created.", c.Key.Name.Or(c.Key.ID))},
		Facts:   append(c.Key.facts(), present([]Fact{{"Created by", c.By.Or("")}})...),
		Action:  reference("How to revoke a key", "revokeApiKey"),
		Advice:  []string{"If nobody of you did this, revoke the key at once, and the one that created it."},
	}
}

// KeyRevoked tells that a key has ended.
type KeyRevoked struct {
	Key    KeyFacts `json:"key"`
	By     Name     `json:"by,omitempty"`
	Reason Name     `json:"reason,omitempty"`
}

// Page implements [Content].
func (c KeyRevoked) Page() Page {
	return Page{
		Subject: fmt.Sprintf("API key “%s” was revoked", c.Key.Name.Or(c.Key.ID)),
		Lead:    []string{fmt.Sprintf("The API key “%s” was revoked. Requests with it are refused.", c.Key.Name.Or(c.Key.ID))},
		Facts:   append(c.Key.facts(), present([]Fact{{"Revoked by", c.By.Or("")}, {"Reason", c.Reason.Or("")}})...),
		Action:  reference("How to create a key", "createApiKey"),
	}
}

// KeyLeaked tells that somebody proved to have a key that they should not have.
type KeyLeaked struct {
	Key    KeyFacts `json:"key"`
	Source Name     `json:"source,omitempty"`
}

// Page implements [Content].
func (c KeyLeaked) Page() Page {
	return Page{
		Subject: fmt.Sprintf("API key “%s” has leaked and was revoked", c.Key.Name.Or(c.Key.ID)),
		Lead: []string{
			fmt.Sprintf("Somebody reported the secret of the API key “%s” and proved to have it. The key was revoked at once.", c.Key.Name.Or(c.Key.ID)),
			"Look at what the key was used for lately, find out where its secret could be read, and replace it there.",
		},
		Facts:  append(c.Key.facts(), present([]Fact{{"Found", c.Source.Or("")}})...),
		Action: reference("How to see what a key was used for", "listRequests"),
		Advice: []string{"On the command line: aiaas request list --key " + c.Key.ID},
	}
}

// BudgetThreshold tells that a budget has reached one of its thresholds.
type BudgetThreshold struct {
	BudgetID  string    `json:"budget_id"`
	Unit      string    `json:"unit"`
	Currency  string    `json:"currency,omitempty"`
	Threshold int       `json:"threshold"` // percent
	Spent     string    `json:"spent"`     // decimal
	Amount    string    `json:"amount"`    // decimal
	Action    string    `json:"action"`
	Start     time.Time `json:"start"`
	End       time.Time `json:"end,omitzero"` // zero: it never ends
}

// Page implements [Content].
func (c BudgetThreshold) Page() Page {
	unit, used := c.Unit, "used"
	if c.Unit == "money" {
		unit, used = c.Currency, "spent"
	}
	of := func(amount string) string { return strings.TrimSpace(amount + " " + unit) }
	window := "since " + date(c.Start)
	if !c.End.IsZero() {
		window = date(c.Start) + " to " + date(c.End)
	}
	p := Page{
		Subject: fmt.Sprintf("Budget at %d %%: %s of %s", c.Threshold, c.Spent, of(c.Amount)),
		Lead:    []string{fmt.Sprintf("A budget has reached %d %% of its amount: %s of %s are %s.", c.Threshold, c.Spent, of(c.Amount), used)},
		Facts: present([]Fact{
			{"Budget", c.BudgetID}, {"So far", of(c.Spent)}, {"Amount", of(c.Amount)}, {"Window", window},
		}),
		Action: reference("How to see and change budgets", "listBudgets"),
	}
	switch {
	case c.Action == "block" && c.Threshold >= 100:
		p.Advice = []string{"The budget blocks: requests that it covers are refused until its window ends or its amount is raised."}
	case c.Action == "block":
		p.Advice = []string{"The budget blocks: when all of it is spent, requests that it covers are refused until its window ends or its amount is raised."}
	default:
		p.Advice = []string{"The budget does not block: requests go on, and are paid for."}
	}
	p.Advice = append(p.Advice, "On the command line: aiaas budget list")
	return p
}

// OrganizationSuspended tells that nothing of the organisation works any more.
type OrganizationSuspended struct {
	Reason Name `json:"reason,omitempty"`
}

// Page implements [Content].
func (c OrganizationSuspended) Page() Page {
	return Page{
		Subject: "Your organization was suspended",
		Lead:    []string{"The organization was suspended by the platform's administration. All of its API keys are refused until it is active again. Nothing was deleted."},
		Facts:   present([]Fact{{"Reason", c.Reason.Or("")}}),
	}
}

// OrganizationActivated tells that the organisation works again.
type OrganizationActivated struct{}

// Page implements [Content].
func (c OrganizationActivated) Page() Page {
	return Page{
		Subject: "Your organization is active",
		Lead:    []string{"The organization is active: its API keys are accepted, but for those that were revoked or have expired."},
	}
}

// MemberAdded welcomes a person to an organisation.
type MemberAdded struct {
	Organization Name `json:"organization"`
	Role         Name `json:"role"`
	By           Name `json:"by,omitempty"`
}

// Page implements [Content].
func (c MemberAdded) Page() Page {
	return Page{
		Subject: fmt.Sprintf("You were added to “%s”", c.Organization.Or("an organization")),
		Lead: []string{
			fmt.Sprintf("You are now a member of the organization “%s”.", c.Organization.Or("an organization")),
			"If you have a password here already, sign in with it. If not, set one first: a link for that is sent to this address when you ask for it.",
		},
		Facts:  present([]Fact{{"Role", c.Role.Or("")}, {"Added by", c.By.Or("")}}),
		Action: Action{Label: "Set a password", Path: "/forgot-password"},
	}
}

// WebhookStopped tells that events are not delivered any more.
type WebhookStopped struct {
	WebhookID string `json:"webhook_id"`
	URL       Name   `json:"url"`
	Reason    Name   `json:"reason,omitempty"`
}

// Page implements [Content].
func (c WebhookStopped) Page() Page {
	return Page{
		Subject: "A webhook was disabled",
		Lead:    []string{"A webhook was disabled, for the reason below: nothing is sent to it any more."},
		Facts:   present([]Fact{{"Webhook", c.WebhookID}, {"Address", c.URL.Or("")}, {"Reason", c.Reason.Or("")}}),
		Action:  reference("How to see and change webhooks", "listWebhooks"),
		Advice:  []string{"Put its receiver right, enable it again, and have the events that it missed sent once more."},
	}
}

// InvoiceIssued tells that there is an invoice to pay.
type InvoiceIssued struct {
	InvoiceID string `json:"invoice_id"`
	Number    string `json:"number"`
	Period    string `json:"period,omitempty"` // "2026-10"
	Total     string `json:"total"`            // decimal
	Currency  string `json:"currency"`
}

// Page implements [Content].
func (c InvoiceIssued) Page() Page {
	total := strings.TrimSpace(c.Total + " " + c.Currency)
	return Page{
		Subject: fmt.Sprintf("Invoice %s: %s", c.Number, total),
		Lead:    []string{fmt.Sprintf("The invoice %s over %s was issued.", c.Number, total)},
		Facts:   present([]Fact{{"Invoice", c.Number}, {"Period", c.Period}, {"Total", total}}),
		Action:  reference("How to get the invoice as PDF", "getInvoice"),
		Advice:  []string{"On the command line: aiaas invoice get " + c.InvoiceID + " --pdf FILE"},
	}
}

// Test says that mails arrive.
type Test struct {
	By Name      `json:"by"`
	At time.Time `json:"at"`
}

// Page implements [Content].
func (c Test) Page() Page {
	return Page{
		Subject: "Test mail of AIaaS",
		Lead:    []string{"This mail was sent to see whether mails arrive. They do."},
		Facts:   present([]Fact{{"Wanted by", c.By.Or("")}, {"At", date(c.At)}}),
		Action:  reference("What the API offers", "sendTestMail"),
	}
}
