package relay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/idempotency"
	"github.com/aiaas/aiaas/shared/idempotency/idempotencytest"
	"github.com/aiaas/aiaas/shared/model"
	"github.com/aiaas/aiaas/shared/relay"
	"github.com/aiaas/aiaas/shared/tenant"
	"github.com/aiaas/aiaas/shared/usage"
)

// onceHouse is a house that keeps idempotency keys.
type onceHouse struct {
	*house
	store *idempotencytest.Memory
	calls int // of backends
	mu    sync.Mutex
}

func newOnceHouse(t *testing.T) *onceHouse {
	t.Helper()
	h := &onceHouse{house: newHouse(t), store: idempotencytest.NewMemory(time.Now)}
	h.gateway.Once = &idempotency.Service{Store: h.store, Events: h, Epoch: 1, Now: time.Now}
	h.answers(func(model.Backend, []byte) (*http.Response, error) {
		return answer(200, "application/json", whole), nil
	})
	return h
}

// answers makes the backend answer so, and counts its calls.
func (h *onceHouse) answers(call func(model.Backend, []byte) (*http.Response, error)) {
	h.call = func(b model.Backend, body []byte) (*http.Response, error) {
		h.mu.Lock()
		h.calls++
		h.mu.Unlock()
		return call(b, body)
	}
}

// Recorded implements idempotency.Events over what was recorded here.
func (h *onceHouse) Recorded(_ context.Context, _, id string) (idempotency.Settled, error) {
	for _, e := range h.events.all() {
		if e.ID == id {
			return idempotency.Settled{Cost: e.Cost, Currency: e.Currency}, nil
		}
	}
	return idempotency.Settled{}, fault.New(fault.NotFound, "")
}

// keyed sends a body under an idempotency key.
func (h *onceHouse) keyed(key, body string, change ...func(*relay.Request)) served {
	h.t.Helper()
	w := httptest.NewRecorder()
	return served{w, h.send(h.t.Context(), w, key, body, change...)}
}

func (h *onceHouse) send(ctx context.Context, w http.ResponseWriter, key, body string, change ...func(*relay.Request)) error {
	h.house.mu.Lock()
	h.n++
	q := relay.Request{
		ID: fmt.Sprint("req_", h.n), Key: theKey, Endpoint: "/v1/chat/completions", IdempotencyKey: key,
		Body: func() ([]byte, error) { return []byte(body), nil },
	}
	h.house.mu.Unlock()
	for _, c := range change {
		c(&q)
	}
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/chat/completions", nil)
	return h.gateway.Chat(w, r, q, &relay.Seen{})
}

// free holds that the key was let go: the same request runs, and is answered.
func (h *onceHouse) free(key, body string) {
	h.t.Helper()
	before := h.calls
	if s := h.keyed(key, body); s.err != nil || s.Header().Get("Idempotency-Replayed") != "" {
		h.t.Errorf("the same again: %v", s.err)
	}
	if h.calls != before+1 {
		h.t.Errorf("%d calls of the backend for it; want one", h.calls-before)
	}
}

// told holds that the same request is not run again, but told with its cost.
func (h *onceHouse) told(key, body, original, cost string) {
	h.t.Helper()
	before := h.calls
	f := h.keyed(key, body).refusal(h.t, fault.Conflict)
	if f.Members["original_request_id"] != original || f.Members["cost"] != cost || h.calls != before {
		h.t.Errorf("%v, after %d more calls; want that %s cost %s", f.Members, h.calls-before, original, cost)
	}
}

func TestAKeyIsLetGoWhenARequestComesToNothing(t *testing.T) {
	failing := func(resp func() (*http.Response, error)) func(h *onceHouse) func() {
		return func(h *onceHouse) func() {
			good := h.call
			h.answers(func(model.Backend, []byte) (*http.Response, error) { return resp() })
			return func() { h.call = good }
		}
	}
	for _, c := range []struct {
		name  string
		setup func(h *onceHouse) (mend func())
		want  fault.Code
	}{
		{"the model is unknown", func(h *onceHouse) func() {
			m := h.models
			h.models = nil
			return func() { h.models = m }
		}, fault.NotFound},
		{"the key may not use the model", func(h *onceHouse) func() {
			h.record.Models = []string{"other"}
			return func() { h.record.Models = nil }
		}, fault.NotFound},
		{"there is no price", func(h *onceHouse) func() {
			p := h.models[0].Prices
			h.models[0].Prices = nil
			return func() { h.models[0].Prices = p }
		}, fault.Unprocessable},
		{"there is no backend", func(h *onceHouse) func() {
			b := h.models[0].Backends
			h.models[0].Backends = nil
			return func() { h.models[0].Backends = b }
		}, fault.Unavailable},
		{"the recorder is down", func(h *onceHouse) func() {
			h.events.down = usage.ErrNotRecorded
			return func() { h.events.down = nil }
		}, fault.Unavailable},
		{"a budget has no room", func(h *onceHouse) func() {
			h.block(budget.Tokens)
			h.limit = 1
			return func() { h.budgets = nil; h.bump() }
		}, fault.BudgetExceeded},
		{"a limit is reached", func(h *onceHouse) func() {
			h.record.Key = tenant.Limits{RequestsPerMinute: 1}
			h.keyed("", plain)
			return func() { h.record.Key = tenant.Limits{} }
		}, fault.RateLimited},
		{"the backend can't be reached", failing(func() (*http.Response, error) { return nil, errReset }), fault.BadGateway},
		{"the backend is broken", failing(func() (*http.Response, error) { return answer(500, "text/html", ""), nil }), fault.BadGateway},
		{"the backend is busy", failing(func() (*http.Response, error) { return answer(429, "application/json", "{}"), nil }), fault.Unavailable},
		{"the backend refuses the request", failing(func() (*http.Response, error) { return answer(400, "application/json", "{}"), nil }), fault.Invalid},
		{"the backend answers nonsense", failing(func() (*http.Response, error) { return answer(200, "text/html", ""), nil }), fault.BadGateway},
		{"the backend breaks off", failing(func() (*http.Response, error) {
			return stream(200, "application/json", &parts{list: []string{whole[:20]}, err: errReset}), nil
		}), fault.BadGateway},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newOnceHouse(t)
			mend := c.setup(h)
			h.keyed("k", plain).refused(t, c.want)
			if h.store.Len() != 0 {
				t.Error("the claim stands")
			}
			mend()
			h.free("k", plain)
			if h.store.Len() != 1 {
				t.Error("the answer was not kept")
			}
		})
	}
	t.Run("a stream breaks off before its first token", func(t *testing.T) {
		h := newOnceHouse(t)
		mend := failing(func() (*http.Response, error) { return events200(&parts{err: errReset}) })(h)
		h.keyed("k", streamed).refused(t, fault.BadGateway)
		mend()
		h.answers(func(model.Backend, []byte) (*http.Response, error) {
			return events200(&parts{list: chunks(), err: io.EOF})
		})
		h.free("k", streamed)
	})
	t.Run("a panic", func(t *testing.T) {
		h := newOnceHouse(t)
		mend := failing(func() (*http.Response, error) { panic("backend") })(h)
		func() {
			defer func() { _ = recover() }()
			h.keyed("k", plain)
		}()
		if h.store.Len() != 0 {
			t.Error("the claim stands")
		}
		mend()
		h.free("k", plain)
	})
}

func (h *onceHouse) bump() {
	if err := h.limiter.Bump(h.t.Context(), org); err != nil {
		h.t.Fatal(err)
	}
}

func TestWhatComesBeforeTheClaimLeavesNone(t *testing.T) {
	h := newOnceHouse(t)
	h.keyed("k", `{`).refused(t, fault.Invalid)
	h.keyed("k", plain, func(q *relay.Request) { q.Key = "wrong" }).refused(t, fault.Unauthenticated)
	h.keyed(strings.Repeat("k", idempotency.MaxKey+1), plain).refused(t, fault.Invalid)
	h.record.Scopes = []authz.Scope{authz.UsageRead}
	h.keyed("k", plain).refused(t, fault.Forbidden)
	if h.store.Len() != 0 {
		t.Error("a claim stands")
	}
	h.record.Scopes = []authz.Scope{authz.Inference}
	h.store.Fail(errors.New("down"))
	h.keyed("k", plain).refused(t, fault.Unavailable)
	h.store.Fail(nil)
	h.gateway.Once = nil
	h.keyed("k", plain).refused(t, fault.Unavailable)
	h.none()
	if h.calls != 0 {
		t.Errorf("the backend was called %d times", h.calls)
	}
}

func TestAnAnswerIsReplayedByteForByte(t *testing.T) {
	for name, c := range map[string]struct{ body, kind string }{
		"whole":                   {plain, "application/json"},
		"streamed":                {streamed, "text/event-stream; charset=utf-8"},
		"streamed with its usage": {`{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{}]}`, "text/event-stream; charset=utf-8"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newOnceHouse(t)
			h.record.Key = tenant.Limits{RequestsPerMinute: 60, ConcurrentRequests: 1}
			if name != "whole" {
				h.answers(func(model.Backend, []byte) (*http.Response, error) {
					return events200(&parts{list: chunks(), err: io.EOF})
				})
			}
			first := h.keyed("k", c.body)
			if first.err != nil || first.Header().Get("Idempotency-Replayed") != "" {
				t.Fatal(first.err, first.Header())
			}
			for n := range 3 {
				again := h.keyed("k", c.body)
				if again.err != nil || again.Body.String() != first.Body.String() || again.Code != http.StatusOK {
					t.Fatalf("%v; %q; want %q", again.err, again.Body, first.Body)
				}
				g := again.Header()
				if g.Get("Idempotency-Replayed") != "true" || g.Get("X-Aiaas-Original-Request-Id") != "req_1" || g.Get("Content-Type") != c.kind {
					t.Errorf("headers %v", g)
				}
				if g.Get("X-Ratelimit-Remaining-Requests") != fmt.Sprint(58-n) { // a replay is a request
					t.Errorf("limits %v", g)
				}
			}
			if h.one(); h.calls != 1 {
				t.Errorf("%d calls of the backend", h.calls)
			}
			h.keyed("k", c.body+" ").refused(t, fault.Unprocessable)
			h.free("k2", c.body)
		})
	}
}

func TestWhatIsNotKeptIsTold(t *testing.T) {
	const cost = "0.000017" // of the whole answer
	t.Run("opted out", func(t *testing.T) {
		h := newOnceHouse(t)
		if s := h.keyed("k", plain, func(q *relay.Request) { q.DropAnswer = true }); s.err != nil || s.Body.String() != whole {
			t.Fatal(s.err)
		}
		h.told("k", plain, "req_1", cost)
	})
	t.Run("too large", func(t *testing.T) {
		h := newOnceHouse(t)
		large := strings.Replace(whole, "Hello", strings.Repeat("x", idempotency.MaxAnswer), 1)
		h.answers(func(model.Backend, []byte) (*http.Response, error) {
			return answer(200, "application/json", large), nil
		})
		if s := h.keyed("k", plain); s.err != nil || s.Body.Len() != len(large) {
			t.Fatal(s.err)
		}
		h.told("k", plain, "req_1", cost)
	})
	t.Run("a stream too large", func(t *testing.T) {
		h := newOnceHouse(t)
		h.answers(func(model.Backend, []byte) (*http.Response, error) {
			list := chunks()
			long := strings.Replace(list[0], "tok0", strings.Repeat("x", 200<<10), 1)
			return events200(strings.NewReader(strings.Repeat(long, 6) + strings.Join(list, "")))
		})
		if s := h.keyed("k", streamed); s.err != nil || s.Body.Len() < 6*200<<10 {
			t.Fatal(s.err)
		}
		h.told("k", streamed, "req_1", "0.000025")
	})
	t.Run("the backend broke off", func(t *testing.T) {
		h := newOnceHouse(t)
		h.answers(func(model.Backend, []byte) (*http.Response, error) {
			return events200(&parts{list: chunks()[:3], err: errReset})
		})
		h.keyed("k", streamed).refused(t, fault.BadGateway)
		h.told("k", streamed, "req_1", h.one().Cost.String())
	})
	t.Run("the client left", func(t *testing.T) {
		h := newOnceHouse(t)
		h.answers(func(model.Backend, []byte) (*http.Response, error) {
			return events200(&parts{list: chunks(), err: io.EOF})
		})
		ctx, cancel := context.WithCancel(t.Context())
		if err := h.send(ctx, newLeaver(2, cancel), "k", streamed); !errors.Is(err, relay.ErrClientGone) {
			t.Fatal(err)
		}
		h.told("k", streamed, "req_1", h.one().Cost.String())
	})
	t.Run("the record is lost sight of", func(t *testing.T) {
		h := newOnceHouse(t)
		h.events.err = usage.ErrNotRecorded // and tried again, nobody knows how long
		h.keyed("k", plain).refused(t, fault.Unavailable)
		h.events.err = nil
		for range 2 {
			if f := h.keyed("k", plain).refusal(t, fault.Conflict); f.Members["cost"] != nil {
				t.Errorf("told %v", f.Members)
			}
		}
		h.events.list = append(h.events.list, &usage.Event{ID: "req_1", Cost: 17_000, Currency: "USD"}) // it came through
		h.told("k", plain, "req_1", cost)
		if h.calls != 1 {
			t.Errorf("%d calls of the backend", h.calls)
		}
	})
	t.Run("the answer could not be kept", func(t *testing.T) {
		h := newOnceHouse(t)
		h.events.before = func() { h.store.Fail(errors.New("down")) }
		if s := h.keyed("k", plain); s.err != nil || s.Body.String() != whole {
			t.Fatalf("the client is made to pay for it: %v", s.err)
		}
		h.store.Fail(nil)
		h.events.before = nil
		h.told("k", plain, "req_1", cost)
	})
	t.Run("a panic after it was recorded", func(t *testing.T) {
		h := newOnceHouse(t)
		func() {
			defer func() { _ = recover() }()
			_ = h.send(t.Context(), panics{httptest.NewRecorder()}, "k", streamed[:1]+`"stream":false,`+plain[1:])
		}()
		h.one()
		h.free("k2", plain)
		if s := h.keyed("k", streamed[:1]+`"stream":false,`+plain[1:]); s.err != nil || s.Body.String() != whole {
			t.Errorf("%v", s.err)
		}
	})
}

// panics is a client at whom writing panics.
type panics struct{ *httptest.ResponseRecorder }

func (panics) Write([]byte) (int, error) { panic("write") }

// A client that gave up before anything came may try again: that is what its key is
// for. It is billed once.
func TestAClientThatGaveUpWaitingMayTryAgain(t *testing.T) {
	h := newOnceHouse(t)
	ctx, cancel := context.WithCancel(t.Context())
	good := h.call
	h.answers(func(model.Backend, []byte) (*http.Response, error) {
		cancel()
		return nil, context.Canceled
	})
	if err := h.send(ctx, httptest.NewRecorder(), "k", plain); !errors.Is(err, relay.ErrClientGone) {
		t.Fatal(err)
	}
	if e := h.one(); e.Cost != 0 || e.Outcome != usage.Aborted || e.Status != relay.StatusClientGone {
		t.Errorf("listed as %+v", e)
	}
	h.call = good
	h.free("k", plain)
	if s := h.keyed("k", plain); s.err != nil || s.Header().Get("Idempotency-Replayed") != "true" {
		t.Errorf("%v", s.err)
	}
	if n := len(h.events.all()); n != 2 {
		t.Errorf("%d events", n)
	}
}

func TestARequestIDInTheBodyIsAnIdempotencyKey(t *testing.T) {
	const named = `{"request_id":"mine","model":"m","messages":[{"role":"user","content":"hi"}]}`
	h := newOnceHouse(t)
	var forwarded string
	h.answers(func(_ model.Backend, body []byte) (*http.Response, error) {
		forwarded = string(body)
		return answer(200, "application/json", whole), nil
	})
	if s := h.keyed("", named); s.err != nil {
		t.Fatal(s.err)
	}
	if strings.Contains(forwarded, "request_id") || strings.Contains(forwarded, "mine") || !strings.Contains(forwarded, `"content":"hi"`) {
		t.Errorf("forwarded %s", forwarded)
	}
	for _, header := range []string{"", "mine"} { // one name, wherever it stands
		if s := h.keyed(header, named); s.err != nil || s.Header().Get("Idempotency-Replayed") != "true" {
			t.Errorf("header %q: %v", header, s.err)
		}
	}
	h.keyed("other", named).refused(t, fault.Invalid)
	h.keyed("mine", plain).refused(t, fault.Unprocessable)
	for _, bad := range []string{`""`, `1`, `"` + strings.Repeat("x", 201) + `"`, `["a"]`} {
		if s := h.keyed("", strings.Replace(named, `"mine"`, bad, 1)); fault.From(s.err).Code != fault.Invalid {
			t.Errorf("%.20s: %v; want that it is refused", bad, s.err)
		}
	}
	if h.one(); h.calls != 1 {
		t.Errorf("%d calls of the backend", h.calls)
	}
	h.free("", strings.Replace(named, `"mine"`, "null", 1)) // none
	if strings.Contains(forwarded, "request_id") {
		t.Errorf("forwarded %s", forwarded)
	}
}

func TestOfManyRequestsWithOneKeyOneRuns(t *testing.T) {
	h := newOnceHouse(t)
	gate := make(chan struct{})
	h.answers(func(model.Backend, []byte) (*http.Response, error) {
		<-gate
		return events200(&parts{list: chunks(), err: io.EOF})
	})
	results := make(chan served, 50)
	for range 50 {
		go func() {
			w := httptest.NewRecorder()
			results <- served{w, h.send(t.Context(), w, "k", streamed)}
		}()
	}
	for range 49 {
		if s := <-results; fault.From(s.err).Code != fault.Conflict || fault.From(s.err).RetryAfter == 0 {
			t.Errorf("while it runs: %v", s.err)
		}
	}
	close(gate)
	if s := <-results; s.err != nil {
		t.Error(s.err)
	}
	if h.one(); h.calls != 1 {
		t.Errorf("%d calls of the backend", h.calls)
	}
}

// A stream that broke before anything of it was shown is answered, and listed, as
// an error: its usage must not say 200.
func TestTheStatusOfWhatFailed(t *testing.T) {
	withheld := strings.Replace(chunks()[0], `}}]`, `},"finish_reason":"stop"}]`, 1)
	for _, c := range []struct {
		name   string
		list   []string
		status int
	}{
		{"before anything was shown", []string{withheld, "data: nonsense\n\n"}, 502},
		{"after it had begun", append(chunks()[:2:2], "data: nonsense\n\n"), 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.call = func(model.Backend, []byte) (*http.Response, error) {
				return events200(&parts{list: c.list, err: io.EOF})
			}
			s := h.post(streamed)
			s.refused(t, fault.BadGateway)
			if e := h.one(); e.Status != c.status || e.Outcome != usage.Failed || (s.Body.Len() == 0) != (c.status == 502) {
				t.Errorf("%d %s, %d bytes shown; want %d", e.Status, e.Outcome, s.Body.Len(), c.status)
			}
		})
	}
}
