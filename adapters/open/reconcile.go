package open

import (
	"context"
	"time"

	"github.com/aiaas/aiaas/adapters/memory"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/admission"
)

// reconciler grants, and tells the process's limiter which of its requests the
// ledger has by now. Where metering runs in the same process the limiter knows;
// where it is a function of its own, this is how it learns: else what is booked
// would count twice, as spent and as held.
type reconciler struct {
	inbox   *postgres.Inbox
	limiter *memory.Limiter
	now     func() time.Time
}

var _ admission.Granter = (*reconciler)(nil)

// Grant implements [admission.Granter]. The order matters: what is seen as booked
// is in the sum that is granted after, and the limiter takes over that sum before
// it lets go of the holds, so that at no moment the same money looks free.
func (r *reconciler) Grant(ctx context.Context, org string, lacks []admission.Lack) ([]admission.Grant, error) {
	var booked []string
	if finals := r.limiter.Finals(org); len(finals) > 0 {
		var err error
		if booked, err = r.inbox.Booked(ctx, org, finals); err != nil {
			return nil, err
		}
	}
	grants, err := r.inbox.Grant(ctx, org, lacks)
	if err != nil {
		return nil, err
	}
	if err := r.limiter.Credit(ctx, org, r.now(), grants); err != nil {
		return nil, err
	}
	return grants, r.limiter.Commit(ctx, admission.Committed{Org: org, IDs: booked})
}
