package relay_test

import (
	"context"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/idempotency"
)

// claims counts what is asked of a store.
type claims struct {
	idempotency.Store

	asked atomic.Int64
}

func (c *claims) Claim(ctx context.Context, n idempotency.Name, r idempotency.Record) (*idempotency.Record, error) {
	c.asked.Add(1)
	return c.Store.Claim(ctx, n, r)
}

// A caller who is over his rate, or asks for what is not there, makes nobody write.
func TestWhatIsDeniedByItselfClaimsNothing(t *testing.T) {
	h := newOnceHouse(t)
	store := &claims{Store: h.store}
	h.gateway.Once = &idempotency.Service{Store: store, Events: h, Epoch: 1, Now: h.gateway.Now}
	h.record.Key.RequestsPerMinute = 3
	h.keyed("nothing", `{"model":"nope","messages":[{"role":"user","content":"hi"}]}`).refused(t, fault.NotFound)
	if n := store.asked.Load(); n != 0 {
		t.Errorf("%d claims for a model that is not there", n)
	}
	for range 3 { // one that runs, and two replays: requests, all of them
		if s := h.keyed("k", plain); s.err != nil {
			t.Fatal(s.err)
		}
	}
	for _, key := range []string{"k", "another"} {
		f := h.keyed(key, plain).refusal(t, fault.RateLimited)
		if limit, _ := f.Members["limit"].(map[string]any); f.RetryAfter <= 0 || limit["scope"] != "key" {
			t.Errorf("%s: %v, again after %s; want the limit named, and when to try again", key, f.Members, f.RetryAfter)
		}
	}
	if n := store.asked.Load(); n != 3 || h.calls != 1 {
		t.Errorf("%d claims and %d calls; want 3 and 1", n, h.calls)
	}
	w := httptest.NewRecorder()
	if err := h.send(t.Context(), w, "another", plain); !fault.Is(err, fault.RateLimited) || w.Header().Get("X-Ratelimit-Remaining-Requests") != "0" {
		t.Errorf("%v, %v; want the state of the limit", err, w.Header())
	}
}
