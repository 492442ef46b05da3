package relay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aiaas/aiaas/functions/inference"
	"github.com/aiaas/aiaas/shared/accesslog"
	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/model"
	"github.com/aiaas/aiaas/shared/origin"
	"github.com/aiaas/aiaas/shared/relay"
	"github.com/aiaas/aiaas/shared/tenant"
	"github.com/aiaas/aiaas/shared/usage"
)

// edge is the data plane's function over a house, with the real resolver of keys.
type edge struct {
	*onceHouse
	handler http.Handler
	secret  apikey.Secret

	mu      sync.Mutex
	lines   []accesslog.Line
	finds   int
	findErr error
}

func newEdge(t *testing.T) *edge {
	t.Helper()
	e := &edge{onceHouse: newOnceHouse(t), secret: apikey.NewSecret(apikey.Production)}
	resolver := apikey.NewResolver(e, e.limiter, time.Now)
	e.gateway.Keys = resolver
	origins, err := origin.NewFinder("192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	e.handler = inference.New(inference.Config{
		Gateway: e.gateway, Keys: resolver, Catalogue: e, Known: resolver, Access: e, Origins: origins, Now: time.Now, MaxBody: 1000,
		Log: slog.New(slog.DiscardHandler),
	})
	return e
}

// FindKey implements apikey.Finder.
func (e *edge) FindKey(_ context.Context, h apikey.Hash) (*apikey.Record, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.finds++
	if e.findErr != nil {
		return nil, e.findErr
	}
	if h != e.secret.Hash() {
		return nil, fault.New(fault.NotFound, "")
	}
	r := e.record
	return &r, nil
}

// Add implements inference.AccessLog.
func (e *edge) Add(l accesslog.Line) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lines = append(e.lines, l)
}

// changed makes the key's record be read again.
func (e *edge) changed(f func(*apikey.Record)) {
	e.mu.Lock()
	f(&e.record)
	e.mu.Unlock()
	e.bump()
}

type ask func(r *http.Request)

func header(name, value string) ask { return func(r *http.Request) { r.Header.Add(name, value) } }

func (e *edge) do(method, path, body string, change ...ask) *httptest.ResponseRecorder {
	e.t.Helper()
	r := httptest.NewRequestWithContext(e.t.Context(), method, path, strings.NewReader(body))
	r.RemoteAddr = "192.0.2.1:99"
	r.Header = http.Header{
		"X-Api-Key": {e.secret.Reveal()}, "X-Forwarded-For": {"203.0.113.5"}, "User-Agent": {"test/1"}, "Content-Type": {"application/json"},
	}
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	e.handler.ServeHTTP(w, r)
	return w
}

const chatPath = "/v1/chat/completions"

// kind is a kind of answer of the data plane to a key that is known: how it comes
// about, and its line in the access log.
type kind struct {
	name   string
	setup  func(e *edge)
	method string
	path   string
	body   string
	change []ask
	status int
	line   string // code of the line; "-" where the usage shows the request
	detail string // a part of it
}

func kinds() []kind {
	post := func(name string, setup func(e *edge), body string, status int, line, detail string, change ...ask) kind {
		return kind{name, setup, http.MethodPost, chatPath, body, change, status, line, detail}
	}
	get := func(name, path string, status int, line, detail string) kind {
		return kind{name, nil, http.MethodGet, path, "", nil, status, line, detail}
	}
	backend := func(resp func() (*http.Response, error)) func(e *edge) {
		return func(e *edge) { e.answers(func(model.Backend, []byte) (*http.Response, error) { return resp() }) }
	}
	key := header("Idempotency-Key", "k")
	return []kind{
		post("served whole", nil, plain, 200, "-", ""),
		post("served as a stream", backend(func() (*http.Response, error) { return events200(&parts{list: chunks(), err: io.EOF}) }), streamed, 200, "-", ""),
		post("broken off", backend(func() (*http.Response, error) { return events200(&parts{list: chunks()[:2], err: errReset}) }), streamed, 200, "-", ""),
		post("replayed", func(e *edge) { e.do("POST", chatPath, plain, key); e.lines = nil }, plain, 200, "idempotent_replay", "req_", key),
		get("models", "/v1/models", 200, "", ""),
		get("a model", "/v1/models/m", 200, "", ""),
		get("a model that there is not", "/v1/models/x%00%ff/y", 404, "not_found", "does not exist"),
		post("malformed", nil, `{"model":"m","messages":"hidden words"}`, 400, "invalid_request", "messages"),
		post("no JSON", nil, `hidden words`, 400, "invalid_request", "JSON"),
		post("an empty idempotency key", nil, plain, 400, "invalid_request", "empty", header("Idempotency-Key", "")),
		post("two idempotency keys", nil, plain, 400, "invalid_request", "twice", key, header("Idempotency-Key", "l")),
		post("an idempotency key that is no ASCII", nil, plain, 400, "invalid_request", "ASCII", header("Idempotency-Key", "ü")),
		post("an opt-out that there is not", nil, plain, 400, "invalid_request", "none", header("Idempotency-Replay", "some")),
		post("no room in a budget", func(e *edge) { e.block(budget.Tokens); e.limit = 1 }, plain, 402, "budget_exceeded", "bud_0"),
		post("not granted", func(e *edge) { e.record.Scopes = []authz.Scope{authz.UsageRead} }, plain, 403, "forbidden", "inference"),
		post("an unknown model", nil, `{"model":"x","messages":[{}]}`, 404, "not_found", "does not exist"),
		post("a key in use", func(e *edge) {
			e.events.err = usage.ErrNotRecorded
			e.do("POST", chatPath, plain, key)
			e.lines = nil
		}, plain, 409, "conflict", "running", key),
		post("too large", nil, strings.Repeat("hidden words", 200), 413, "request_too_large", "1000 bytes"),
		post("another type", nil, plain, 415, "unsupported_media_type", "json", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }),
		post("no price", func(e *edge) { e.models[0].Prices = nil }, plain, 422, "unprocessable", "price"),
		post("another body", func(e *edge) { e.do("POST", chatPath, plain, key); e.lines = nil }, plain+" ", 422, "unprocessable", "another body", key),
		post("no bound", func(e *edge) { e.block(budget.Money) }, `{"model":"m","web_search_options":{},"messages":[{"content":"hidden words"}]}`, 422, "unprocessable", "bound"),
		post("too many", func(e *edge) {
			e.record.Project = tenant.Limits{RequestsPerMinute: 1}
			e.do("POST", chatPath, plain)
			e.lines = nil
		}, plain, 429, "rate_limit_exceeded", "project"),
		post("refused by the backend", backend(func() (*http.Response, error) {
			return answer(400, "application/json", `{"error":{"message":"bad: hidden words"}}`), nil
		}), plain, 400, "invalid_request", relay.ErrRefused.Error()),
		post("no backend", func(e *edge) { e.models[0].Backends = nil }, plain, 503, "unavailable", "no backend"),
		post("a backend that is down", backend(func() (*http.Response, error) { return nil, errReset }), plain, 502, "upstream_error", ""),
		post("nothing can be recorded", func(e *edge) { e.events.down = usage.ErrNotRecorded }, plain, 503, "unavailable", ""),
		post("not recorded", func(e *edge) { e.events.err = usage.ErrNotRecorded }, plain, 503, "unavailable", ""),
		post("keys can't be kept", func(e *edge) { e.store.Fail(errors.New("down")) }, plain, 503, "unavailable", "", key),
		post("a panic", backend(func() (*http.Response, error) { panic("hidden words") }), plain, 500, "internal_error", ""),
	}
}

func TestLimitsAreToldOnEveryAnswer(t *testing.T) {
	names := []string{
		"X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests",
		"X-Ratelimit-Limit-Tokens", "X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens",
	}
	for _, k := range kinds() {
		for _, limits := range []tenant.Limits{{RequestsPerMinute: 60, TokensPerMinute: 60_000}, {}} {
			t.Run(fmt.Sprint(k.name, " ", limits.RequestsPerMinute), func(t *testing.T) {
				e := newEdge(t)
				e.record.Key = limits
				e.setup(k.setup)
				w := e.do(k.method, k.path, k.body, k.change...)
				if w.Code != k.status {
					t.Fatalf("%d: %s; want %d", w.Code, w.Body, k.status)
				}
				told := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return w.Header().Get(n) == "" })
				switch {
				case limits.RequestsPerMinute > 0 && len(told) != len(names):
					t.Errorf("told only %v", told)
				case limits.RequestsPerMinute == 0 && len(told) != 0 && e.record.Project == tenant.Limits{}:
					t.Errorf("told %v where there is no limit", told)
				}
				for _, n := range told {
					v := w.Header().Get(n)
					if _, err := time.ParseDuration(v); strings.Contains(n, "Reset") && err != nil {
						t.Errorf("%s: %q is not OpenAI's form", n, v)
					}
				}
				if (k.status == 429 || k.status == 503) && w.Header().Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
			})
		}
	}
}

// setup brings about what an answer needs.
func (e *edge) setup(f func(e *edge)) {
	if f == nil {
		return
	}
	f(e)
	e.bump() // the record and the budgets are read again
}

func TestEveryRequestStandsInTheLogOnce(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			e := newEdge(t)
			e.setup(k.setup)
			before := len(e.events.all())
			w := e.do(k.method, k.path, k.body, k.change...)
			if k.line == "-" {
				list := e.events.all()
				if len(e.lines) != 0 || len(list) != before+1 {
					t.Fatalf("lines %+v and %d events; want one event", e.lines, len(list)-before)
				}
				if ev := list[before]; ev.Address != "203.0.113.5" || ev.UserAgent != "test/1" || ev.Status != k.status || ev.ID != w.Header().Get("X-Request-Id") {
					t.Errorf("event %+v", ev)
				}
				return
			}
			if len(e.lines) != 1 || len(e.events.all()) != before {
				t.Fatalf("lines %+v and %d events; want one line", e.lines, len(e.events.all())-before)
			}
			l := e.lines[0]
			if l.OrgID != org || l.APIKeyID != "key_1" || l.ProjectID != "proj_1" || l.Address != "203.0.113.5" || l.UserAgent != "test/1" ||
				l.Status != k.status || l.Code != k.line || l.RequestID != w.Header().Get("X-Request-Id") || l.At.IsZero() {
				t.Errorf("line %+v", l)
			}
			want := k.path
			if strings.HasPrefix(want, "/v1/models/") {
				want = "/v1/models/{id}" // nothing of the caller's
			}
			if l.Endpoint != want {
				t.Errorf("endpoint %q; want %q", l.Endpoint, want)
			}
			if !strings.Contains(l.Detail, k.detail) || (k.detail == "" && l.Detail != "") {
				t.Errorf("detail %q; want %q in it", l.Detail, k.detail)
			}
			for _, never := range []string{"hidden words", e.secret.Reveal(), "hi\""} {
				if strings.Contains(fmt.Sprintf("%+v", l), never) {
					t.Errorf("%q stands in the line %+v", never, l)
				}
			}
		})
	}
}

func TestFailedUsesOfKnownKeysAreLogged(t *testing.T) {
	good := func(e *edge) {
		if w := e.do("POST", chatPath, plain); w.Code != 200 {
			e.t.Fatal(w.Body)
		}
	}
	var first string // the one answer to all of them
	for _, c := range []struct {
		name   string
		change func(*apikey.Record)
	}{
		{"revoked", func(r *apikey.Record) { r.Revoked = true }},
		{"expired", func(r *apikey.Record) { r.ExpiresAt = time.Now().Add(-time.Second) }},
		{"of a suspended account", func(r *apikey.Record) { r.OrgStatus = tenant.Suspended }},
	} {
		for _, before := range []bool{true, false} {
			t.Run(fmt.Sprint(c.name, ", used before: ", before), func(t *testing.T) {
				e := newEdge(t)
				e.record.Key.RequestsPerMinute = 60
				if before {
					good(e)
				}
				e.changed(c.change)
				for _, path := range []string{chatPath, "/v1/inference"} {
					e.lines = nil
					w := e.do("POST", path, plain, header("Idempotency-Key", "k"))
					body := strings.ReplaceAll(w.Body.String(), w.Header().Get("X-Request-Id"), "")
					body = strings.ReplaceAll(body, path, "")
					if first == "" {
						first = body
					}
					if w.Code != 401 || body != first || len(w.Header()["X-Ratelimit-Limit-Requests"]) != 0 {
						t.Errorf("%d %v: %s; want %s", w.Code, w.Header(), body, first)
					}
					if len(e.lines) != 1 || e.lines[0].Status != 401 || e.lines[0].Code != "invalid_api_key" || e.lines[0].APIKeyID != "key_1" || e.lines[0].Endpoint != path {
						t.Errorf("lines %+v", e.lines)
					}
				}
			})
		}
	}
	t.Run("a key that nobody has", func(t *testing.T) {
		e := newEdge(t)
		for _, text := range []string{apikey.NewSecret(apikey.Production).Reveal(), e.secret.Reveal()[:20], "", "sk-something"} {
			w := e.do("POST", chatPath, plain, func(r *http.Request) { r.Header.Set("X-Api-Key", text) })
			body := strings.ReplaceAll(strings.ReplaceAll(w.Body.String(), w.Header().Get("X-Request-Id"), ""), chatPath, "")
			if w.Code != 401 || body != first {
				t.Errorf("%q: %d %s", text, w.Code, body)
			}
		}
		if len(e.lines) != 0 {
			t.Errorf("lines %+v", e.lines)
		}
	})
	t.Run("while keys can't be looked up", func(t *testing.T) {
		e := newEdge(t)
		good(e)
		e.mu.Lock()
		e.findErr = errors.New("down")
		e.mu.Unlock()
		e.bump()
		if w := e.do("POST", chatPath, plain); w.Code != 503 || len(e.lines) != 1 || e.lines[0].Status != 503 {
			t.Errorf("%d, lines %+v", w.Code, e.lines)
		}
	})
}

func TestClientsThatLeaveAreLogged(t *testing.T) {
	e := newEdge(t)
	ctx, cancel := context.WithCancel(t.Context())
	e.answers(func(model.Backend, []byte) (*http.Response, error) { cancel(); return nil, context.Canceled })
	e.do("POST", chatPath, plain, func(r *http.Request) { *r = *r.WithContext(ctx) })
	if ev := e.one(); ev.Status != relay.StatusClientGone || ev.Outcome != usage.Aborted || len(e.lines) != 0 {
		t.Errorf("event %+v, lines %+v", ev, e.lines)
	}
	// One that left, and whose record failed, stands in the log as what it was.
	e = newEdge(t)
	ctx, cancel = context.WithCancel(t.Context())
	e.events.err = usage.ErrNotRecorded
	e.answers(func(model.Backend, []byte) (*http.Response, error) { cancel(); return nil, context.Canceled })
	e.do("POST", chatPath, plain, func(r *http.Request) { *r = *r.WithContext(ctx) })
	if len(e.lines) != 1 || e.lines[0].Status != relay.StatusClientGone || e.lines[0].Code != "client_gone" {
		t.Errorf("lines %+v", e.lines)
	}
}

// A flood with a key that was revoked reads the database once, for as long as what
// was read is fresh, and leaves a handful of lines.
func TestAFloodOfRefusalsIsCheap(t *testing.T) {
	e := newEdge(t)
	e.record.Revoked = true
	rows := &table{}
	w := accesslog.NewWriter(t.Context(), rows, slog.New(slog.DiscardHandler))
	resolver := apikey.NewResolver(e, e.limiter, func() time.Time { return time.Unix(1000, 0) })
	origins, err := origin.NewFinder("")
	if err != nil {
		t.Fatal(err)
	}
	e.handler = inference.New(inference.Config{
		Gateway: e.gateway, Keys: resolver, Catalogue: e, Known: resolver, Access: w, Origins: origins,
		Now: func() time.Time { return time.Unix(1000, 0) }, MaxBody: 1000, Log: slog.New(slog.DiscardHandler),
	})
	e.gateway.Keys = resolver
	const flood = 4000
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range flood / 8 {
				e.do("GET", fmt.Sprint("/v1/models/", i), "")
			}
		})
	}
	wg.Wait()
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e.finds != 1 {
		t.Errorf("%d look-ups; want one", e.finds)
	}
	var sum int64
	for _, n := range rows.counts {
		sum += n
	}
	if sum != flood || len(rows.counts) != 11 {
		t.Errorf("%d requests in %d lines; want %d in 11", sum, len(rows.counts), flood)
	}
	if e.calls != 0 {
		t.Error("a backend was called")
	}
}

// table counts requests by line.
type table struct{ counts map[string]int64 }

func (x *table) LogRequests(_ context.Context, lines []accesslog.Line) error {
	if x.counts == nil {
		x.counts = map[string]int64{}
	}
	for _, l := range lines {
		x.counts[l.RequestID] += l.Count
	}
	return nil
}

// The edge adds as little as it can to a request that carries no idempotency key.
func TestNoKeyNoClaim(t *testing.T) {
	e := newEdge(t)
	e.store.Fail(errors.New("down"))
	if w := e.do("POST", chatPath, plain); w.Code != 200 {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	if got := slices.Sorted(maps.Keys(e.do("POST", chatPath, plain).Header())); slices.Contains(got, "Idempotency-Replayed") {
		t.Errorf("headers %v", got)
	}
}

// A key that is revoked while its request waits to be admitted is told what every
// such key is told, and no more; the log knows whose it was.
func TestAKeyThatIsRevokedOnTheWay(t *testing.T) {
	e := newEdge(t)
	e.record.Key.RequestsPerMinute = 60
	e.warns("bud_1", 150, nil)
	resolve, first := e.gateway.Keys, true
	e.gateway.Keys = keysFunc(func(text string) (resolved, error) {
		r, err := resolve.Resolve(t.Context(), text)
		if first && err == nil {
			first = false
			e.changed(func(r *apikey.Record) { r.Revoked = true })
		}
		return r, err
	})
	w := e.do("POST", chatPath, plain, header("Idempotency-Key", "k"))
	if w.Code != 401 || w.Header().Get("X-Ratelimit-Limit-Requests") != "" {
		t.Errorf("%d: %v", w.Code, w.Header())
	}
	if len(e.lines) != 1 || e.lines[0].Status != 401 || e.lines[0].APIKeyID != "key_1" || e.store.Len() != 0 || e.calls != 0 {
		t.Errorf("lines %+v, %d claims, %d calls", e.lines, e.store.Len(), e.calls)
	}
}
