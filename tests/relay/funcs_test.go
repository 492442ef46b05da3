package relay_test

import (
	"context"
	"net/http"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/model"
)

type resolved = apikey.Resolved

type keysFunc func(key string) (resolved, error)

func (f keysFunc) Resolve(_ context.Context, key string) (resolved, error) { return f(key) }

type upstreamFunc func(ctx context.Context) (*http.Response, error)

func (f upstreamFunc) Call(ctx context.Context, _ model.Backend, _, _ string, _ []byte) (*http.Response, error) {
	return f(ctx)
}
