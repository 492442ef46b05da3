// Package wire builds the function budgets from what its process shares.
package wire

import (
	"context"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/open/access"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/functions/budgets"
	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/function"
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
	limiter, err := open.LimiterTelling(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	auth, err := access.Authenticator(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	svc := &budget.Service{
		Store: postgres.NewBudgets(db), Orgs: postgres.NewKeys(accounts), Limits: limiter, Now: env.Now,
	}
	return function.Function{HTTP: budgets.New(svc, auth, env.Log), Ready: db.Ping}, nil
}
