package rest

import (
	"context"

	"github.com/aiaas/aiaas/shared/authz"
)

// CallerOf is who sends the request that a handler of [API.HandleHTTP] answers, and
// where from; nobody on public routes, but somewhere.
func CallerOf(ctx context.Context) authz.Principal { return callOf(ctx).principal }
