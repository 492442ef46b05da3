// Package wire builds the function operations from what its process shares.
package wire

import (
	"context"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/open/access"
	"github.com/aiaas/aiaas/functions/operations"
	"github.com/aiaas/aiaas/shared/function"
)

// Wire is the function's [function.Wire].
func Wire(ctx context.Context, env *function.Env) (function.Function, error) {
	ready, err := open.Ready(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	auth, err := access.Authenticator(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	svc, err := open.JobService(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	jobs, err := open.Jobs(ctx, env, operations.Spec(), operations.Jobs(svc))
	if err != nil {
		return function.Function{}, err
	}
	// No Ready of its own: it tells the readiness of the whole process.
	return function.Function{HTTP: operations.New(ready, svc, auth, env.Log), Jobs: jobs}, nil
}
