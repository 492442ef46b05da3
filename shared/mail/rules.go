package mail

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/event"
)

// audience is a group of recipients, by what they are to the organisation.
type audience string

const (
	toBilling   audience = "billing contact"
	toSecurity  audience = "security contact"
	toTechnical audience = "technical contact"
	toOwners    audience = "owners"
	toAdmins    audience = "admins"
	toFinance   audience = "finance"
	toKeyOwner  audience = "key owner" // of a service key: the technical contact
	toPerson    audience = "person"    // whom the event happened to
)

// rule derives mails from one type of event.
type rule struct {
	event string
	kind  Kind
	to    []audience
	write func(occasion) Content
	// window, if set, names what is told once, however many events say it.
	window func(occasion) string
	// unless, if set, tells of what needs no telling.
	unless func(occasion) bool
}

// occasion is an event with what is known of it.
type occasion struct {
	event.Event

	data      event.Data
	directory Directory
	key       *Key
}

// Key is an API key as it stands, for events about keys.
type Key struct {
	KeyFacts

	OwnerID string // a member or a service account
	Service bool
}

// rules are the one table that says which events are told by mail, and to whom. An
// event that finds none of its recipients goes to the owners.
func rules() []rule {
	return []rule{
		{event: "key.created", kind: KindKeyCreated, to: []audience{toKeyOwner, toSecurity}, write: keyCreated},
		{event: "key.leaked", kind: KindKeyLeaked, to: []audience{toKeyOwner, toSecurity, toOwners, toAdmins}, write: keyLeaked},
		{event: "key.revoked", kind: KindKeyRevoked, to: []audience{toKeyOwner, toSecurity}, write: keyRevoked},
		{event: TypeKeyDue, kind: KindKeyRotation, to: []audience{toKeyOwner}, write: keyDue, window: keyWindow},
		{event: event.TypeThreshold, kind: KindBudget, to: []audience{toBilling, toOwners}, write: threshold, window: thresholdWindow},
		{event: "organization.suspended", kind: KindOrgSuspended, to: []audience{toOwners, toAdmins, toTechnical}, write: suspended},
		{event: "organization.activated", kind: KindOrgActivated, to: []audience{toOwners, toAdmins, toTechnical}, write: activated},
		{event: "member.added", kind: KindMemberAdded, to: []audience{toPerson}, write: memberAdded, unless: accepted},
		{event: "webhook.disabled", kind: KindWebhookStopped, to: []audience{toTechnical, toAdmins}, write: webhookStopped},
		{event: "invoice.issued", kind: KindInvoiceIssued, to: []audience{toBilling, toFinance}, write: invoiceIssued},
	}
}

// Told lists the types of events that are told by mail.
func Told() []string {
	var out []string
	for _, r := range rules() {
		out = append(out, r.event)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// founder is who acts while a platform is set up: what it makes is shown to the
// person who sets it up, and nobody has told an address yet.
const founder = "bootstrap"

// Planner derives mails from events.
type Planner struct {
	rules []rule
	log   *slog.Logger
}

// NewPlanner makes a planner.
func NewPlanner(log *slog.Logger) *Planner { return &Planner{rules: rules(), log: log} }

// Tells reports whether an event is told by mail.
func (p *Planner) Tells(e event.Event) bool {
	return slices.ContainsFunc(p.rules, func(r rule) bool { return r.event == e.Type })
}

// AboutKey is the id of the key that an event is about, or "".
func (p *Planner) AboutKey(e event.Event) string {
	if strings.HasPrefix(e.Type, "key.") {
		return e.Object
	}
	return ""
}

// Plan lists the mails that tell an event: one for each recipient. The key is that
// of a key event; nil where it is not known any more. An event that can't be told
// is logged and has none: what else hears of events must not wait for it.
func (p *Planner) Plan(ctx context.Context, e event.Event, d Directory, key *Key) []Draft {
	drafts, err := p.plan(e, d, key)
	if err != nil {
		p.log.ErrorContext(ctx, "event is not told by mail", "event", e.ID, "type", e.Type, "org", e.OrgID, "error", err)
	}
	return drafts
}

func (p *Planner) plan(e event.Event, d Directory, key *Key) ([]Draft, error) {
	i := slices.IndexFunc(p.rules, func(r rule) bool { return r.event == e.Type })
	if i < 0 {
		return nil, nil
	}
	r := p.rules[i]
	o, err := occasionOf(e, d, key)
	if err != nil || o.data.Actor == founder || r.unless != nil && r.unless(o) {
		return nil, err
	}
	content := r.write(o)
	cause := e.ID
	if r.window != nil {
		cause = r.window(o)
	}
	var out []Draft
	for _, to := range o.recipients(r) {
		one, err := NewDraft(d, e.OrgID, to, r.kind, content)
		if err != nil {
			return nil, err
		}
		one.Key = cause + "|" + strings.ToLower(to.Address)
		out = append(out, one)
	}
	return out, nil
}

func occasionOf(e event.Event, d Directory, key *Key) (occasion, error) {
	var body struct {
		Data event.Data `json:"data"`
	}
	if err := json.Unmarshal(e.Payload, &body); err != nil {
		return occasion{}, fmt.Errorf("read event %s: %w", e.Type, err)
	}
	return occasion{Event: e, data: body.Data, directory: d, key: key}, nil
}

// recipients are those of the rule's audiences that have an address, each once, but
// for members who do without mails of its kind. That somebody does without them does
// not send them to the owners: they get what is for nobody at all.
func (o occasion) recipients(r rule) []Recipient {
	out := o.gather(r.to)
	if len(out) == 0 && !slices.Contains(r.to, toPerson) {
		out = o.gather([]audience{toOwners})
	}
	return slices.DeleteFunc(out, func(to Recipient) bool { return to.declined(r.kind) })
}

func (o occasion) gather(audiences []audience) []Recipient {
	var out []Recipient
	seen := map[string]bool{}
	for _, a := range audiences {
		for _, r := range o.members(a) {
			if folded := strings.ToLower(r.Address); CheckAddress(r.Address) == nil && !seen[folded] {
				seen[folded] = true
				out = append(out, r)
			}
		}
	}
	return out
}

// members are who belongs to an audience.
func (o occasion) members(a audience) []Recipient {
	switch a {
	case toBilling:
		return o.contact(ContactBilling)
	case toSecurity:
		return o.contact(ContactSecurity)
	case toTechnical:
		return o.contact(ContactTechnical)
	case toOwners:
		return o.role("an owner", authz.Owner, authz.SystemAdministrator)
	case toAdmins:
		return o.role("an admin", authz.Admin)
	case toFinance:
		return o.role("a member for finance", authz.Finance)
	case toPerson:
		return o.person(o.Object, "a member")
	case toKeyOwner:
		if o.key == nil || o.key.Service {
			return o.contact(ContactTechnical)
		}
		return o.person(o.key.OwnerID, "the owner of the key and a member")
	}
	return nil
}

func (o occasion) contact(kind string) []Recipient {
	return []Recipient{{Address: o.directory.Contacts[kind], Why: "the " + kind + " contact"}}
}

func (o occasion) role(why string, roles ...authz.Role) []Recipient {
	var out []Recipient
	for _, p := range o.directory.People {
		if slices.Contains(roles, p.Role) {
			out = append(out, Recipient{Address: p.Address, Why: why, member: &p})
		}
	}
	return out
}

func (o occasion) person(userID, why string) []Recipient {
	p, ok := o.directory.person(userID)
	if !ok {
		return nil
	}
	return []Recipient{{Address: p.Address, Why: why, member: &p}}
}

// text is a detail of the event, or "". No database holds a NUL.
func (o occasion) text(name string) string {
	s, _ := o.data.Detail[name].(string)
	return strings.ReplaceAll(s, "\x00", "")
}

// moment is a detail that is a time; zero where there is none.
func (o occasion) moment(name string) time.Time {
	t, err := time.Parse(time.RFC3339, o.text(name))
	if err != nil {
		return time.Time{}
	}
	return t
}

func (o occasion) whole(name string) int {
	n, _ := o.data.Detail[name].(float64)
	return int(n)
}

// keyFacts are those of the key as it stands, or what the event says.
func (o occasion) keyFacts() KeyFacts {
	if o.key != nil {
		return o.key.KeyFacts
	}
	return KeyFacts{ID: o.Object, Name: Name(o.text("name")), Environment: o.text("environment")}
}

func keyCreated(o occasion) Content {
	return KeyCreated{Key: o.keyFacts(), By: Name(o.data.Actor)}
}

func keyRevoked(o occasion) Content {
	return KeyRevoked{Key: o.keyFacts(), By: Name(o.data.Actor), Reason: Name(o.text("reason"))}
}

func keyLeaked(o occasion) Content {
	return KeyLeaked{Key: o.keyFacts(), Source: Name(o.text("source"))}
}

func keyDue(o occasion) Content {
	return KeyRotation{Key: o.keyFacts(), Due: o.moment("rotate_by"), Days: o.stage()}
}

// stage is which reminder of a date it is.
func (o occasion) stage() int { return stageOf(o.moment("rotate_by"), o.At) }

func keyWindow(o occasion) string {
	return strings.Join([]string{string(KindKeyRotation), o.Object, o.text("rotate_by"), strconv.Itoa(o.stage())}, "|")
}

func threshold(o occasion) Content {
	return BudgetThreshold{
		BudgetID: o.Object, Unit: o.text("unit"), Currency: o.text("currency"), Threshold: o.whole("threshold"),
		Spent: o.text("spent"), Amount: o.text("amount"), Action: o.text("action"),
		Start: o.moment("window_start"), End: o.moment("window_end"),
	}
}

func thresholdWindow(o occasion) string {
	return strings.Join([]string{string(KindBudget), o.Object, o.text("window_start"), strconv.Itoa(o.whole("threshold"))}, "|")
}

func suspended(o occasion) Content {
	return OrganizationSuspended{Reason: Name(o.text("reason"))}
}

func activated(occasion) Content { return OrganizationActivated{} }

func memberAdded(o occasion) Content {
	return MemberAdded{Organization: o.directory.Name, Role: Name(o.text("role")), By: Name(o.data.Actor)}
}

// accepted tells whether somebody became a member by an invitation: he knows.
func accepted(o occasion) bool { return o.text("invitation_id") != "" }

func webhookStopped(o occasion) Content {
	return WebhookStopped{WebhookID: o.Object, URL: Name(o.text("url")), Reason: Name(o.text("reason"))}
}

func invoiceIssued(o occasion) Content {
	return InvoiceIssued{
		InvoiceID: o.Object, Number: o.text("number"), Period: o.text("period"), Total: o.text("total"), Currency: o.text("currency"),
	}
}
