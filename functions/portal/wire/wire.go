// Package wire builds the function portal from what its process shares.
package wire

import (
	"context"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/functions/portal"
	"github.com/aiaas/aiaas/shared/function"
)

// Wire is the function's [function.Wire].
func Wire(ctx context.Context, env *function.Env) (function.Function, error) {
	s, err := open.Load(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	api, err := portal.New(s.Public(), env.Log)
	if err != nil {
		return function.Function{}, err
	}
	return function.Function{HTTP: api}, nil
}
