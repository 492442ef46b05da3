// Package wire builds the metering function from what its process shares.
package wire

import (
	"context"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/functions/metering"
	"github.com/aiaas/aiaas/shared/function"
)

// Wire builds the function.
func Wire(ctx context.Context, env *function.Env) (function.Function, error) {
	consumer, err := open.Consumer(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	ledger, err := open.Ledger(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	f := metering.New(consumer, ledger, env.Now)
	f.Jobs, err = open.Jobs(ctx, env, metering.Spec(), f.Jobs)
	return f, err
}
