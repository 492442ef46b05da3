// Package wire builds the function analytics from what its process shares.
package wire

import (
	"context"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/open/access"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/functions/analytics"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/usage"
)

// Wire is the function's [function.Wire].
func Wire(ctx context.Context, env *function.Env) (function.Function, error) {
	db, err := open.DB(ctx, env, function.Analytics, postgres.RoleAnalytics)
	if err != nil {
		return function.Function{}, err
	}
	accounts, err := open.DB(ctx, env, function.Accounts, postgres.RoleAccounts)
	if err != nil {
		return function.Function{}, err
	}
	auth, err := access.Authenticator(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	svc := &usage.Queries{Reader: postgres.NewUsage(db), Currencies: postgres.NewKeys(accounts), Keys: postgres.NewKeys(accounts), Now: env.Now}
	return function.Function{HTTP: analytics.New(svc, auth, env.Log), Ready: db.Ping}, nil
}
