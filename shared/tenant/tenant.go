// Package tenant holds what other domains need to know of an organisation and its
// projects: status, limits, settings, and the forms of their names. Who may change
// what of it, and how, is package organization's.
package tenant

import (
	"strings"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/naming"
)

// Limits are rates and concurrency; 0 means no limit.
type Limits struct {
	RequestsPerMinute  int64
	TokensPerMinute    int64
	ConcurrentRequests int64
}

// MaxLimit is the largest limit that can be set: past it, arithmetic on nanoseconds
// a token would be exact no more, and nobody is that fast.
const MaxLimit = 1_000_000_000

// Check returns what is wrong with limits.
func (l Limits) Check() error {
	for _, v := range []int64{l.RequestsPerMinute, l.TokensPerMinute, l.ConcurrentRequests} {
		if v < 0 || v > MaxLimit {
			return fault.New(fault.Unprocessable, "a limit is between 0, which is none, and %d", int64(MaxLimit)).At("limits")
		}
	}
	return nil
}

// Bounds are the limits of an organisation as a whole, and those of each of its keys
// that sets none of its own.
type Bounds struct {
	Org Limits
	Key Limits
}

// Check returns what is wrong with the bounds.
func (b Bounds) Check() error {
	if err := b.Org.Check(); err != nil {
		return err
	}
	return b.Key.Check()
}

// Override sets some limits instead of others; nil leaves one as it is.
type Override struct {
	RequestsPerMinute  *int64
	TokensPerMinute    *int64
	ConcurrentRequests *int64
}

// Over returns the limits with what the override sets.
func (o Override) Over(l Limits) Limits {
	for _, m := range []struct {
		from *int64
		to   *int64
	}{
		{o.RequestsPerMinute, &l.RequestsPerMinute}, {o.TokensPerMinute, &l.TokensPerMinute}, {o.ConcurrentRequests, &l.ConcurrentRequests},
	} {
		if m.from != nil {
			*m.to = *m.from
		}
	}
	return l
}

// Overrides are what an organisation has instead of its plan's bounds.
type Overrides struct {
	Org Override
	Key Override
}

// Over returns the bounds with what the overrides set.
func (o Overrides) Over(b Bounds) Bounds {
	return Bounds{Org: o.Org.Over(b.Org), Key: o.Key.Over(b.Key)}
}

// Kind tells the platform's own organisation from those that it serves.
type Kind string

// The kinds.
const (
	Customer Kind = "tenant"
	Platform Kind = "platform"
)

// Status is the state of an organisation.
type Status string

// The states.
const (
	Active    Status = "active"
	Trial     Status = "trial"
	Suspended Status = "suspended"
	Closed    Status = "closed"
)

// Statuses lists all states.
func Statuses() []Status { return []Status{Active, Trial, Suspended, Closed} }

// Serves reports whether an organisation in this state may use its keys.
func (s Status) Serves() bool { return s == Active || s == Trial }

// DefaultPriceBook is the id of the price book that every platform starts with.
const DefaultPriceBook = "default"

// Plan names a set of default limits.
type Plan string

// The plans that every platform has.
const (
	Starter    Plan = "starter"    // 100 requests/min and 10 concurrent for a key
	SelfHosted Plan = "selfhosted" // no default limits: the operator's own organisation
)

// Contacts are e-mail addresses for what concerns an organisation; "" where none is
// named.
type Contacts struct {
	Billing   string `json:"billing,omitempty"`
	Security  string `json:"security,omitempty"`
	Technical string `json:"technical,omitempty"`
}

const (
	maxName = 200 // bytes
	maxSlug = 63
)

// CheckName returns what is wrong with a name that people read: one that is empty,
// too long, or has characters that are not seen, or turn around what stands beside
// them.
func CheckName(member, text string) error {
	switch {
	case strings.TrimSpace(text) == "" || len(text) > maxName:
		return fault.New(fault.Unprocessable, "a name has 1 to %d bytes", maxName).At(member)
	case text != strings.TrimSpace(text):
		return fault.New(fault.Unprocessable, "a name neither begins nor ends with a space").At(member)
	}
	return CheckText(member, text)
}

// CheckText returns what is wrong with a line of text.
func CheckText(member, text string) error { return naming.Line(member, text, 5*maxName) }

// CheckSlug returns what is wrong with a slug: the short name of an organisation in
// commands and links.
func CheckSlug(text string) error {
	const first = "abcdefghijklmnopqrstuvwxyz0123456789"
	if text == "" || len(text) > maxSlug || !strings.Contains(first, text[:1]) || strings.Trim(text, first+"-") != "" {
		return fault.New(fault.Unprocessable, "a slug has 1 to %d of a-z, 0-9 and -, and begins with a letter or digit", maxSlug).At("slug")
	}
	return nil
}
