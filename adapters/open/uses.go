package open

import (
	"context"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/function"
)

// Uses remembers when keys were last used. A host that may freeze once it has
// answered writes at once, for there is no later.
func Uses(ctx context.Context, e *function.Env) (*apikey.Uses, error) {
	db, err := DB(ctx, e, function.Accounts, postgres.RoleGateway)
	if err != nil {
		return nil, err
	}
	return function.Shared(ctx, e, "uses of keys", func(ctx context.Context) (*apikey.Uses, function.Closer, error) {
		sink := postgres.NewKeys(db)
		if !e.Background {
			u := apikey.NewUses(sink, e.Now, e.Log)
			return u, u.Close, nil
		}
		u := apikey.StartUses(ctx, sink, e.Now, e.Log)
		return u, u.Close, nil
	})
}
