// Package e2e_test holds the product's promises about money, limits and crashes
// to the command itself: a process as a user starts it, over HTTP, with its own
// PostgreSQL, against a backend whose every token is known.
package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aiaas/aiaas/adapters/demo"
	"github.com/aiaas/aiaas/tests/chaos"
	"github.com/aiaas/aiaas/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// model is the one that platforms of these tests serve besides the built-in one.
const model = chaos.Model

// cost is what tokens cost in nano.
func cost(input, cached, output int64) int64 { return chaos.Rates().Cost(input, cached, output) }

// platform is a gateway with a model of the test's own.
type platform struct {
	*harness.Gateway
	upstream *harness.Upstream
}

func start(t *testing.T, o harness.Options) *platform {
	t.Helper()
	p := &platform{Gateway: harness.Start(t, o), upstream: harness.StartUpstream(t, demo.Config{})}
	p.AddModel(t, model, p.upstream.URL, chaos.Rates().Price())
	return p
}

// chat is a request's body; more are further members, each with its comma before.
func chat(more string) string {
	return `{"model":"` + model + `","messages":[{"role":"user","content":"Count on me"}]` + more + `}`
}

func (p *platform) chat(ctx context.Context, key, more string) harness.Answer {
	return p.Do(ctx, harness.Call{Key: key, Body: chat(more)})
}

// bound is the worst case of a request: the most tokens in and out.
func bound(more string, maxTokens int64) (input, output int64) {
	return int64(len(chat(more))) + 128 + 16, maxTokens
}

// budgeted makes a key with a blocking budget of its own.
func (p *platform) budgeted(t *testing.T, unit, amount string) (keyID, key, budget string) {
	t.Helper()
	keyID, key = p.CreateKey(t, harness.Limits{}, "inference")
	return keyID, key, p.CreateBudget(t, map[string]any{"api_key_id": keyID}, unit, amount, "block")
}

// parallel runs f for 0 to n-1, so many at a time.
func parallel(n, workers int, f func(i int)) {
	var group sync.WaitGroup
	var next atomic.Int64
	for range workers {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	group.Wait()
}

// refused checks that an answer is a problem document of the status, which
// OpenAI's clients understand too.
func refused(t *testing.T, a harness.Answer, status int, code string) {
	t.Helper()
	var p struct {
		Status    int
		Code      string
		RequestID string `json:"request_id"`
		Error     *struct{ Message, Type string }
	}
	if a.Status != status || a.Code() != code {
		t.Errorf("want %d %s, got %s", status, code, a)
		return
	}
	a.JSON(t, &p)
	if ct := a.Header.Get("Content-Type"); ct != "application/problem+json" || p.Status != status || p.RequestID != a.RequestID || p.Error == nil || p.Error.Message == "" {
		t.Errorf("not a whole problem document (%s): %s", ct, a)
	}
	if (status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable) && a.Header.Get("Retry-After") == "" {
		t.Errorf("no Retry-After: %s", a)
	}
}

// tally counts classes of results.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func (c *tally) add(class string, v ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[string]int{}
	}
	c.counts[fmt.Sprintf(class, v...)]++
}
