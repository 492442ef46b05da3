package organization

import (
	"context"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/tenant"
)

// Move is a change of status.
type Move string

// The moves.
const (
	Suspend  Move = "suspend"
	Activate Move = "activate"
	Close    Move = "close"
)

// After is the organisation after a move. It is the same where the move leads
// nowhere else, so that whoever asks twice is not refused; Conflict where there is no
// such way.
//
// Activating undoes one step: what is suspended or closed goes on as what it was, a
// trial or not; a trial that is activated is none any more.
func (m Move) After(o Organization, at time.Time) (Organization, error) {
	if o.Kind == tenant.Platform && m != Activate {
		return o, fault.New(fault.Conflict, "the platform's own organization can be neither suspended nor closed")
	}
	switch {
	case m == Suspend && o.Status == tenant.Closed:
		return o, fault.New(fault.Conflict, "the organization is closed")
	case m == Suspend:
		o.Status = tenant.Suspended
	case m == Close:
		o.Status = tenant.Closed
	case o.Status == tenant.Trial:
		o.Status, o.TrialEnds = tenant.Active, time.Time{}
	case o.Status == tenant.Closed && at.After(o.StatusAt.Add(ReopenWithin)):
		return o, fault.New(fault.Conflict, "the organization was closed more than %d days ago", int(ReopenWithin.Hours()/24))
	case o.TrialEnds.IsZero():
		o.Status = tenant.Active
	case o.Status != tenant.Active:
		o.Status = tenant.Trial
	}
	return o, nil
}

// MoveTo changes the status of an organisation, by a move that its reason explains.
// What begins after the answer is refused, or served again; in other processes within
// a second. What runs goes on.
func (s *Service) MoveTo(ctx context.Context, p authz.Principal, org string, m Move, reason string) (Organization, error) {
	if err := p.Require(ctx, right(m)); err != nil {
		return Organization{}, err
	}
	check := checkReason
	if m == Activate {
		check = func(text string) error { return tenant.CheckText("reason", text) }
	}
	if err := check(reason); err != nil {
		return Organization{}, err
	}
	return s.change(ctx, p, org, act{"organization." + string(m), reason}, func(o *Organization) error {
		// A suspension is lifted by whoever may suspend; what costs the platform money is not.
		if m == Activate && (o.Status == tenant.Closed || o.Status == tenant.Trial) {
			if err := p.Require(ctx, authz.DoTenantsWrite); err != nil {
				return err
			}
		}
		return move(o, m, reason, s.Now())
	})
}

// right is what a move needs. Whoever may suspend may also lift it.
func right(m Move) authz.Action {
	if m == Close {
		return authz.DoTenantsWrite
	}
	return authz.DoTenantsSuspend
}

func move(o *Organization, m Move, reason string, at time.Time) error {
	next, err := m.After(*o, at)
	if err != nil || next.Status == o.Status {
		return err
	}
	next.StatusAt, next.StatusReason = at, reason
	*o = next
	return nil
}

// checkReason refuses an act against an organisation that nobody can explain.
func checkReason(text string) error {
	if strings.TrimSpace(text) == "" {
		return fault.New(fault.Unprocessable, "say why: the organization will ask").At("reason")
	}
	return tenant.CheckText("reason", text)
}
