// Package wire builds the function models from what its process shares.
package wire

import (
	"context"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/functions/models"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/model"
)

// Wire is the function's [function.Wire].
func Wire(ctx context.Context, env *function.Env) (function.Function, error) {
	db, err := open.DB(ctx, env, function.Router, postgres.RoleRouter)
	if err != nil {
		return function.Function{}, err
	}
	limiter, err := open.Limiter(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	resolver, err := open.Resolver(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	sealer, err := open.Sealer(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	svc := &model.Service{Store: postgres.NewCatalogue(db), Sealer: sealer, Bump: limiter, Now: env.Now}
	return function.Function{HTTP: models.New(svc, resolver, env.Log), Ready: db.Ping}, nil
}
