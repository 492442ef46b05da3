// Package wire builds the function models from what its process shares.
package wire

import (
	"context"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/open/access"
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
	changes, err := open.Changes(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	auth, err := access.Authenticator(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	sealer, err := open.Sealer(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	places, err := open.BackendRules(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	svc := &model.Service{Store: postgres.NewCatalogue(db), Sealer: sealer, Bump: changes, Now: env.Now, Places: places}
	return function.Function{HTTP: models.New(svc, auth, env.Log), Ready: db.Ping}, nil
}
