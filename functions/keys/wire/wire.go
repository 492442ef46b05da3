// Package wire builds the function keys from what its process shares.
package wire

import (
	"context"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/open/access"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/functions/keys"
	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/function"
)

// Wire is the function's [function.Wire].
func Wire(ctx context.Context, env *function.Env) (function.Function, error) {
	db, err := open.DB(ctx, env, function.Accounts, postgres.RoleAccounts)
	if err != nil {
		return function.Function{}, err
	}
	changes, err := open.Changes(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	auth, err := access.Authenticator(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	store := postgres.NewKeys(db)
	svc := &apikey.Service{Store: store, Finder: store, Bump: changes, Leaks: apikey.NewThrottle(), Now: env.Now}
	return function.Function{HTTP: keys.New(svc, auth, env.Log), Ready: db.Ping}, nil
}
