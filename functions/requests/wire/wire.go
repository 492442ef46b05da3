// Package wire builds the function requests from what its process shares.
package wire

import (
	"context"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/open/access"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/functions/requests"
	"github.com/aiaas/aiaas/shared/accesslog"
	"github.com/aiaas/aiaas/shared/function"
)

// Wire is the function's [function.Wire].
func Wire(ctx context.Context, env *function.Env) (function.Function, error) {
	router, err := open.DB(ctx, env, function.Router, postgres.RoleRouter)
	if err != nil {
		return function.Function{}, err
	}
	analytics, err := open.DB(ctx, env, function.Analytics, postgres.RoleAnalytics)
	if err != nil {
		return function.Function{}, err
	}
	auth, err := access.Authenticator(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	accounts, err := open.DB(ctx, env, function.Accounts, postgres.RoleAccounts)
	if err != nil {
		return function.Function{}, err
	}
	lines := postgres.NewAccessLog(router)
	q := &accesslog.Queries{Lines: lines, Usage: postgres.NewUsage(analytics), Keys: postgres.NewKeys(accounts)}
	jobs, err := open.Jobs(ctx, env, requests.Spec(), requests.Jobs(lines, postgres.NewKeys(accounts)))
	if err != nil {
		return function.Function{}, err
	}
	return function.Function{HTTP: requests.New(q, auth, env.Log), Jobs: jobs, Ready: router.Ping}, nil
}
