package harness

import (
	"context"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/demo"
)

// Upstream is a model backend in the test process. What it served is the truth to
// reconcile with, by the request's id.
type Upstream struct {
	*demo.Server
	URL string // ends in /v1
}

// StartUpstream starts a backend. It is closed when the test ends.
func StartUpstream(t testing.TB, c demo.Config) *Upstream {
	t.Helper()
	s := demo.New(c)
	url, err := s.Start(t.Context(), "")
	Must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Second)
		defer cancel()
		_ = s.Close(ctx) // requests that still stall are cut
	})
	return &Upstream{Server: s, URL: url}
}

// Log waits until the backend is idle and returns what it served by the caller's
// request id. A request that was sent twice has its last line.
func (u *Upstream) Log(t testing.TB) map[string]demo.Served {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	Must(t, u.WaitIdle(ctx))
	out := map[string]demo.Served{}
	for _, s := range u.Served() {
		out[s.RequestID] = s
	}
	return out
}
