package httpshim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/aiaas/aiaas/adapters/httpshim"
	"github.com/aiaas/aiaas/shared/function"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func entry(name string, f function.Function, spec function.Spec) function.Entry {
	spec.Name = name
	return function.Entry{Spec: spec, Wire: func(context.Context, *function.Env) (function.Function, error) { return f, nil }}
}

func says(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
}

func routes(patterns ...string) (out []function.Route) {
	for _, p := range patterns {
		method, path, _ := strings.Cut(p, " ")
		out = append(out, function.Route{Method: method, Path: path})
	}
	return out
}

func newServer(t *testing.T, env *function.Env, catalogue ...function.Entry) *httpshim.Server {
	t.Helper()
	s, err := httpshim.New(t.Context(), env, catalogue)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newEnv() *function.Env {
	return &function.Env{Now: time.Now, Log: slog.New(slog.DiscardHandler), Getenv: os.Getenv}
}

func TestRequestsReachTheFunctionWhoseRouteTheyMatch(t *testing.T) {
	s := newServer(t, newEnv(),
		entry("keys", function.Function{HTTP: says("keys")}, function.Spec{Routes: routes("GET /v1/api-keys", "POST /v1/api-keys", "DELETE /v1/api-keys/{id}")}),
		entry("models", function.Function{HTTP: says("models")}, function.Spec{Routes: routes("GET /v1/models/{id...}")}),
	)
	for _, c := range []struct {
		method, path string
		status       int
		body         string // or the problem's code
		allow        string
	}{
		{"GET", "/v1/api-keys", 200, "keys", ""},
		{"HEAD", "/v1/api-keys", 200, "keys", ""},
		{"POST", "/v1/api-keys", 200, "keys", ""},
		{"DELETE", "/v1/api-keys/key_1", 200, "keys", ""},
		{"GET", "/v1/models/org/m", 200, "models", ""},
		{"PUT", "/v1/api-keys", 405, "method_not_allowed", "GET, POST"},
		{"OPTIONS", "/v1/api-keys", 405, "method_not_allowed", "GET, POST"},
		{"GET", "/v1/api-keys/key_1", 405, "method_not_allowed", "DELETE"},
		{"POST", "/v1/models/m", 405, "method_not_allowed", "GET"},
		{"GET", "/", 404, "not_found", ""},
		{"GET", "/v1/api-keys/", 404, "not_found", ""},
		{"GET", "/v1/api-keys/a/b", 404, "not_found", ""},
		{"POST", "/v2/api-keys", 404, "not_found", ""},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			w := httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), c.method, c.path, nil))
			if w.Code != c.status || w.Header().Get("Allow") != c.allow {
				t.Errorf("status %d, allow %q; want %d, %q", w.Code, w.Header().Get("Allow"), c.status, c.allow)
			}
			if c.status == 200 {
				if w.Body.String() != c.body {
					t.Errorf("answered by %q; want %q", w.Body, c.body)
				}
				return
			}
			var doc struct {
				Status    int
				RequestID string `json:"request_id"`
				Error     struct{ Code string }
			}
			if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
				t.Fatalf("%s: %v", w.Body, err)
			}
			if doc.Status != c.status || doc.Error.Code != c.body || doc.RequestID == "" || doc.RequestID != w.Header().Get("X-Request-Id") ||
				w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("problem %+v as %q", doc, w.Header().Get("Content-Type"))
			}
		})
	}
}

func TestACatalogueThatDoesNotFitIsRefused(t *testing.T) {
	broken := errors.New("no database")
	for name, e := range map[string]function.Entry{
		"routes without a handler": entry("a", function.Function{}, function.Spec{Routes: routes("GET /x")}),
		"a schedule without a job": entry("a", function.Function{}, function.Spec{Schedules: []function.Schedule{{Job: "fold", Every: time.Second}}}),
		"a wire that fails": {Spec: function.Spec{Name: "a"}, Wire: func(context.Context, *function.Env) (function.Function, error) {
			return function.Function{}, broken
		}},
	} {
		if _, err := httpshim.New(t.Context(), newEnv(), []function.Entry{e}); err == nil || (name == "a wire that fails") != errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAFunctionThatIsNotReadyMakesTheProcessNotReady(t *testing.T) {
	env, broken := newEnv(), errors.New("not yet")
	newServer(t, env, entry("a", function.Function{Ready: func(context.Context) error { return broken }}, function.Spec{}))
	if err := env.Check(t.Context()); !errors.Is(err, broken) {
		t.Errorf("%v; want the function's reason", err)
	}
}

// serving is a server that runs.
type serving struct {
	url  string
	stop context.CancelFunc
	done chan error
}

func serve(t *testing.T, s *httpshim.Server, o httpshim.Options) *serving {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r := &serving{url: "http://" + ln.Addr().String(), stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- s.Serve(ctx, ln, o) }()
	return r
}

func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// Draining has an order: not ready, running requests finish, new ones are not let
// in, then the jobs stop, and each runs once more for what is left.
func TestDraining(t *testing.T) {
	env := newEnv()
	entered, finish := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	var order []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, what)
	}
	s := newServer(t, env, entry("a", function.Function{
		HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(entered)
			<-finish
			if err := env.Check(r.Context()); !errors.Is(err, function.ErrDraining) {
				t.Errorf("while it drains the process is ready: %v", err)
			}
			note("request ended")
			_, _ = io.WriteString(w, "whole")
		}),
		Jobs: map[string]function.Job{"book": func(context.Context) (function.Counts, error) { note("job"); return function.Counts{}, nil }},
	}, function.Spec{Routes: routes("GET /x"), Schedules: []function.Schedule{{Job: "book", Every: time.Hour, EachProcess: true}}}))
	r := serve(t, s, httpshim.Options{Grace: time.Minute})
	answer := make(chan string, 1)
	go func() {
		body, err := get(t.Context(), r.url+"/x")
		if err != nil {
			t.Error(err)
		}
		answer <- body
	}()
	<-entered
	r.stop()
	for env.Check(t.Context()) == nil {
		time.Sleep(time.Millisecond)
	}
	for { // the listener closes next
		if _, err := get(t.Context(), r.url+"/y"); err != nil {
			break
		}
	}
	close(finish)
	if err := <-r.done; err != nil {
		t.Errorf("serve: %v", err)
	}
	if got := <-answer; got != "whole" {
		t.Errorf("the running request got %q", got)
	}
	if want := []string{"request ended", "job"}; strings.Join(order, ",") != strings.Join(want, ",") {
		t.Errorf("order %v; want %v", order, want)
	}
}

// What runs past the grace is cut: its context ends, and Serve waits until it has
// settled.
func TestWhatRunsPastTheGraceIsCutAndSettles(t *testing.T) {
	entered := make(chan struct{})
	var settled, jobAfter atomic.Bool
	s := newServer(t, newEnv(), entry("a", function.Function{
		HTTP: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(entered)
			<-r.Context().Done()
			time.Sleep(20 * time.Millisecond) // recording takes its time
			settled.Store(true)
		}),
		Jobs: map[string]function.Job{"book": func(context.Context) (function.Counts, error) {
			jobAfter.Store(settled.Load())
			return function.Counts{}, nil
		}},
	}, function.Spec{Routes: routes("GET /x"), Schedules: []function.Schedule{{Job: "book", Every: time.Hour, EachProcess: true}}}))
	r := serve(t, s, httpshim.Options{Grace: 50 * time.Millisecond})
	go func() { _, _ = get(t.Context(), r.url+"/x") }()
	<-entered
	r.stop()
	if err := <-r.done; !errors.Is(err, httpshim.ErrCut) {
		t.Errorf("%v; want to be told that requests were cut", err)
	}
	if !settled.Load() || !jobAfter.Load() {
		t.Errorf("settled: %t, the last job saw it: %t", settled.Load(), jobAfter.Load())
	}
}

func TestAJobNeverRunsTwiceAtOnceAndSurvivesItsPanics(t *testing.T) {
	var log bytes.Buffer
	env := newEnv()
	env.Log = slog.New(slog.NewTextHandler(&log, nil))
	var running, slow, panics, fails atomic.Int64
	enough := make(chan struct{})
	s := newServer(t, env, entry("a", function.Function{Jobs: map[string]function.Job{
		"slow": func(context.Context) (function.Counts, error) {
			if n := running.Add(1); n != 1 {
				t.Errorf("%d run at once", n)
			}
			defer running.Add(-1)
			time.Sleep(5 * time.Millisecond) // five of its intervals
			slow.Add(1)
			return function.Counts{}, nil
		},
		"panics": func(context.Context) (function.Counts, error) {
			if panics.Add(1) == 3 {
				close(enough)
			}
			panic("at the disco")
		},
		"fails": func(context.Context) (function.Counts, error) { fails.Add(1); return nil, errors.New("out of paper") },
	}}, function.Spec{Schedules: []function.Schedule{
		{Job: "slow", Every: time.Millisecond}, {Job: "panics", Every: time.Millisecond}, {Job: "fails", Every: time.Millisecond},
	}}))
	r := serve(t, s, httpshim.Options{Grace: time.Minute})
	<-enough
	for slow.Load() < 3 || fails.Load() < 3 {
		time.Sleep(time.Millisecond)
	}
	r.stop()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	for _, want := range []string{"job panicked", "at the disco", "job failed", "out of paper"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	before := slow.Load()
	time.Sleep(10 * time.Millisecond)
	if slow.Load() != before {
		t.Error("a job runs after Serve returned")
	}
}

// TestAJobThatGoesOnFailingIsLoggedOnChange: its log has each error, and not each run.
func TestAJobThatGoesOnFailingIsLoggedOnChange(t *testing.T) {
	var log bytes.Buffer
	env := newEnv()
	env.Log = slog.New(slog.NewTextHandler(&log, nil))
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	env.Now = func() time.Time { return at }
	runs, enough := 0, make(chan struct{})
	s := newServer(t, env, entry("a", function.Function{Jobs: map[string]function.Job{
		"fails": func(context.Context) (function.Counts, error) {
			runs++
			switch {
			case runs <= 20:
				return nil, errors.New("out of paper")
			case runs <= 40:
				return nil, errors.New("out of ink")
			case runs == 41:
				at = at.Add(time.Hour) // long enough to say it again
				return nil, errors.New("out of ink")
			case runs == 50:
				close(enough)
			}
			return function.Counts{}, nil
		},
	}}, function.Spec{Schedules: []function.Schedule{{Job: "fails", Every: time.Millisecond}}}))
	r := serve(t, s, httpshim.Options{Grace: time.Minute})
	<-enough
	r.stop()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	for text, want := range map[string]int{"out of paper": 1, "out of ink": 2, "runs=20 ": 2, "job works again": 1} {
		if n := strings.Count(log.String(), text); n != want {
			t.Errorf("%q is logged %d times; want %d:\n%s", text, n, want, log.String())
		}
	}
}

func TestAJobIsToldToStop(t *testing.T) {
	started := make(chan struct{})
	var once sync.Once
	s := newServer(t, newEnv(), entry("a", function.Function{Jobs: map[string]function.Job{
		"waits": func(ctx context.Context) (function.Counts, error) {
			first := false
			once.Do(func() { first = true; close(started) })
			if first {
				<-ctx.Done()
			}
			return nil, ctx.Err()
		},
	}}, function.Spec{Schedules: []function.Schedule{{Job: "waits", Every: time.Millisecond}}}))
	r := serve(t, s, httpshim.Options{Grace: time.Minute})
	<-started
	r.stop()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
}

func TestAListenerThatFailsEndsTheServer(t *testing.T) {
	s := newServer(t, newEnv())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := s.Serve(t.Context(), ln, httpshim.Options{Grace: time.Second}); err == nil {
		t.Error("no error")
	}
}
