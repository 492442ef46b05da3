package apikey

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/naming"
)

// Leak is a report that somebody found a key. Having it is proof enough: who means
// harm would use it.
type Leak struct {
	Key     string // the key's text
	Source  string // where it was found
	Address string // who reports it
}

// leakActor stands for somebody who reports a key, in audit records.
const leakActor = "leak-report"

const maxSource = 500 // bytes

// RevokeLeaked revokes the key that is reported, with all its secrets, whichever of
// them was found. The answer is the same for every text, good key or none. It takes
// longer only where a key that worked until now is revoked, which is no secret to
// who could have used it; a replaced secret that works no more proves nothing.
func (s *Service) RevokeLeaked(ctx context.Context, l Leak) error {
	now := s.Now()
	if wait := s.Leaks.take(l.Address, now); wait > 0 {
		return fault.New(fault.RateLimited, "too many reports from this address").After(wait)
	}
	if len(l.Source) > maxSource {
		return fault.New(fault.Unprocessable, "a source has at most %d bytes", maxSource).At("source")
	}
	if err := naming.Line("source", l.Source, maxSource); err != nil {
		return err
	}
	secret, err := Parse(l.Key)
	if err != nil {
		return nil //nolint:nilerr // the same answer as to a key that is one
	}
	r, err := s.Finder.FindKey(ctx, secret.Hash())
	switch {
	case fault.Is(err, fault.NotFound):
		return nil
	case err != nil:
		return fault.Wrap(fault.Unavailable, "look up reported key", err).After(time.Second)
	case r.Revoked, !r.SecretUntil.IsZero() && !now.Before(r.SecretUntil):
		return nil
	}
	err = s.Store.ChangeKey(ctx, r.OrgID, r.KeyID, func(k Key, _ Grounds) (Change, error) {
		if !k.RevokedAt.IsZero() {
			return Change{Key: k}, nil
		}
		k.revoke(now, "reported as leaked")
		return Change{Key: k, Record: &audit.Record{
			OrgID: k.OrgID, ID: id.New(id.Audit), At: now, Actor: leakActor, Action: "key.revoke_leaked", Target: k.ID,
			RequestID: audit.RequestID(ctx), Address: l.Address, Outcome: audit.Success,
			Detail: map[string]any{
				"name": k.Name, "project_id": k.ProjectID, "owner_id": k.OwnerID, "source": l.Source,
				"fingerprint": secret.Fingerprint(), "reason": k.RevokedReason,
			},
		}}, nil
	})
	if err != nil {
		return err
	}
	return s.Bump.Bump(context.WithoutCancel(ctx), r.OrgID)
}

// The bounds of reports.
const (
	leaksPerMinute = 60     // from one address
	leakAddresses  = 10_000 // that are told apart within a minute; the others share a turn
)

// Throttle bounds what one address can report, by the minute. It is the process's
// own: that is enough to keep guessing and floods from costing anything.
type Throttle struct {
	mu     sync.Mutex
	minute int64
	seen   map[string]int
}

// NewThrottle makes a throttle.
func NewThrottle() *Throttle { return &Throttle{seen: map[string]int{}} }

// take counts a report, and returns how long to wait before another; 0 where this
// one may go on.
func (t *Throttle) take(address string, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m := now.Unix() / 60; m != t.minute {
		t.minute = m
		clear(t.seen)
	}
	key := subnet(address)
	if _, known := t.seen[key]; !known && len(t.seen) >= leakAddresses {
		key = ""
	}
	if t.seen[key] >= leaksPerMinute {
		return now.Truncate(time.Minute).Add(time.Minute).Sub(now)
	}
	t.seen[key]++
	return 0
}

// subnet is what one subscriber has at least: an IPv4 address, or a /64.
func subnet(address string) string {
	const subscriber = 64
	a, err := netip.ParseAddr(address)
	if err != nil || a.Is4() || a.Is4In6() {
		return address
	}
	p, err := a.Prefix(subscriber)
	if err != nil {
		return address
	}
	return p.String()
}
