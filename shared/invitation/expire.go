package invitation

import (
	"context"
	"errors"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
)

// Expiry notes which invitations are past their time, and forgets old ones.
type Expiry struct {
	Store ExpiryStore
	Now   func() time.Time
}

const (
	// expireBatch is how many one transaction ends or forgets.
	expireBatch = 500
	// expirer names who acts, where nobody did.
	expirer = "invitations"
)

// Run is the job. A link is dead when its time is over, whether this ran or not.
func (e *Expiry) Run(ctx context.Context) (function.Counts, error) {
	now, counts := e.Now(), function.Counts{}
	expired := e.each(func() (int, error) {
		return e.Store.Expire(ctx, now, expireBatch, func(i Invitation) audit.Record { return over(i, now) })
	}, counts, "expired")
	pruned := e.each(func() (int, error) { return e.Store.Prune(ctx, now.Add(-Retention), expireBatch) }, counts, "forgotten")
	if len(counts) == 0 {
		counts = nil
	}
	return counts, errors.Join(expired, pruned)
}

// each repeats a step until it has less than a batch to do.
func (e *Expiry) each(step func() (int, error), counts function.Counts, what string) error {
	for {
		n, err := step()
		if n > 0 {
			counts[what] += int64(n)
		}
		if err != nil || n < expireBatch {
			return err
		}
	}
}

func over(i Invitation, now time.Time) audit.Record {
	return audit.Record{
		OrgID: i.OrgID, ID: id.New(id.Audit), At: now, Actor: expirer, Action: ActionExpire, Target: i.ID,
		Detail: map[string]any{"email": i.Email, "role": i.Role},
	}
}
