// Package wire builds the inference function from what its process shares.
package wire

import (
	"context"
	"math/rand/v2"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/functions/inference"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/origin"
	"github.com/aiaas/aiaas/shared/relay"
)

// Wire builds the function. Opening admission takes over the database from the
// process that served before.
func Wire(ctx context.Context, env *function.Env) (function.Function, error) {
	s, err := open.Load(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	ports, err := open.DataPlane(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	origins, err := origin.NewFinder(s.TrustedProxies)
	if err != nil {
		return function.Function{}, err
	}
	gateway := relay.New(relay.Config{
		Keys: ports.Resolver, Catalogue: ports.Catalogue, Budgets: ports.Inbox, Versions: ports.Limiter,
		Admission: ports.Admission, Recorder: ports.Recorder, Upstream: ports.Upstream, Once: ports.Once,
		Now: env.Now, Random: rand.IntN, Log: env.Log, Idle: s.UpstreamIdle,
	})
	return function.Function{
		HTTP: inference.New(inference.Config{
			Gateway: gateway, Keys: ports.Resolver, Catalogue: ports.Catalogue, Known: ports.Resolver, Uses: ports.Uses, Access: ports.Access,
			Origins: origins, Now: env.Now, MaxBody: s.MaxBody, Log: env.Log,
		}),
		Ready: func(context.Context) error { return ports.Recorder.Err() },
	}, nil
}
