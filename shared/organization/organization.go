// Package organization administers organisations: the platform makes them, sets
// their plans and what they are entitled to, suspends and closes them; their own
// owners and admins keep the settings.
//
// It owns the rules of both: who may change what, which states follow each other,
// what restrictions may not lock out who sets them, and when currency and time zone
// are settled. Every change is audited under the organisation that it is of, and
// counts from its answer on; in other processes within a second. Keys, people and
// projects have packages of their own.
package organization

import (
	"slices"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/tenant"
)

// Organization is a tenant, or the platform's own organisation.
type Organization struct {
	ID           string
	Name         string
	Slug         string
	Kind         tenant.Kind
	Status       tenant.Status
	StatusReason string    // why it is suspended or closed
	StatusAt     time.Time // since when it has this status; zero: from the start
	TrialEnds    time.Time // zero: the trial has no end, or there is none
	Plan         tenant.Plan
	Currency     string // ISO 4217; that of its price book
	PriceBook    string
	Zone         string // IANA name; its months are of this zone
	Contacts     tenant.Contacts
	Settings     tenant.Settings
	Overrides    tenant.Overrides // of its plan's limits
	Defaults     tenant.Bounds    // its plan's limits, as they are read with it
	Entitlement  Entitlement
	LegalHold    bool // nothing of it is pruned
	CreatedAt    time.Time
	UpdatedAt    time.Time // zero: never changed
}

// Bounds are the limits in force.
func (o Organization) Bounds() tenant.Bounds { return o.Overrides.Over(o.Defaults) }

// Serves reports whether the organisation's keys work at a moment.
func (o Organization) Serves(now time.Time) bool {
	if o.Status == tenant.Trial && !o.TrialEnds.IsZero() && !now.Before(o.TrialEnds) {
		return false
	}
	return o.Status.Serves()
}

// Entitlement says which models an organisation may use.
type Entitlement struct {
	Allowed []string // nil: every model that is open to all
	Granted []string // these besides, also where they are not open to all
}

// ReopenWithin is how long the platform can reopen what was closed.
const ReopenWithin = 30 * 24 * time.Hour

// Filter chooses organisations; what is empty chooses all.
type Filter struct {
	Status tenant.Status
	Plan   tenant.Plan
	Text   string // a part of name, slug or id, in any case
	After  string // the id of the last one seen
	Limit  int
}

// Plan is a named set of limits.
type Plan struct {
	ID          tenant.Plan
	Name        string
	Bounds      tenant.Bounds
	MaxMembers  int64 // 0: any number
	MaxProjects int64
	MaxKeys     int64 // that work
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// shown is what of an organisation can change, as audits show it.
func (o Organization) shown() map[string]any {
	return map[string]any{
		"name": o.Name, "slug": o.Slug, "status": o.Status, "status_reason": o.StatusReason, "trial_ends_at": moment(o.TrialEnds),
		"plan": o.Plan, "currency": o.Currency, "price_book": o.PriceBook, "time_zone": o.Zone,
		"contacts": o.Contacts, "settings": o.Settings, "limits": overridden(o.Overrides), "legal_hold": o.LegalHold,
		"allowed_models": orNil(o.Entitlement.Allowed), "granted_models": orNil(o.Entitlement.Granted),
	}
}

// moment is a time as audits show it: none is null.
func moment(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// orNil tells null from an empty list, which a nil slice in an interface does not.
func orNil(list []string) any {
	if list == nil {
		return nil
	}
	return slices.Clone(list)
}

func overridden(o tenant.Overrides) map[string]int64 {
	out := map[string]int64{}
	for name, v := range map[string]*int64{
		"requests_per_minute": o.Org.RequestsPerMinute, "tokens_per_minute": o.Org.TokensPerMinute, "concurrent_requests": o.Org.ConcurrentRequests,
		"key_requests_per_minute": o.Key.RequestsPerMinute, "key_tokens_per_minute": o.Key.TokensPerMinute, "key_concurrent_requests": o.Key.ConcurrentRequests,
	} {
		if v != nil {
			out[name] = *v
		}
	}
	return out
}

func (p Plan) shown() map[string]any {
	return map[string]any{
		"name": p.Name, "max_members": p.MaxMembers, "max_projects": p.MaxProjects, "max_keys": p.MaxKeys,
		"requests_per_minute": p.Bounds.Org.RequestsPerMinute, "tokens_per_minute": p.Bounds.Org.TokensPerMinute,
		"concurrent_requests": p.Bounds.Org.ConcurrentRequests, "key_requests_per_minute": p.Bounds.Key.RequestsPerMinute,
		"key_tokens_per_minute": p.Bounds.Key.TokensPerMinute, "key_concurrent_requests": p.Bounds.Key.ConcurrentRequests,
	}
}

// in is the principal as one who acts on an organisation: audits stand under the one
// that was acted on.
func in(org string, p authz.Principal) authz.Principal {
	p.OrgID = org
	return p
}
