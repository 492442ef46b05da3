package open

import (
	"context"

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
}

var _ admission.Granter = (*reconciler)(nil)

// Grant implements [admission.Granter]. The limiter takes over the sums of the
// granted windows in one step with letting go of the holds that they settle, so
// that at no moment the same money looks free, or taken twice: a request is not
// refused because of what is just being booked.
func (r *reconciler) Grant(ctx context.Context, org string, lacks []admission.Lack) ([]admission.Grant, error) {
	grants, booked, err := r.inbox.GrantAfter(ctx, org, lacks, func() []string { return r.limiter.Finals(org) })
	if err != nil {
		return nil, err
	}
	sums := make([]admission.Spent, len(grants))
	for i, g := range grants {
		sums[i] = admission.Spent{Budget: g.Budget, Start: g.Start, Spent: g.Spent, Seq: g.Seq}
	}
	return grants, r.limiter.Commit(ctx, admission.Committed{Org: org, IDs: booked, Windows: sums})
}
