package httpshim_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/httpshim"
	"github.com/aiaas/aiaas/shared/function"
)

// crown is the lead as a test hands it out.
type crown struct {
	mu   sync.Mutex
	work func(context.Context)
	run  chan func() // set while somebody stands for the lead
}

func newCrown() *crown { return &crown{run: make(chan func())} }

func (c *crown) lead(ctx context.Context, work func(context.Context)) {
	c.mu.Lock()
	c.work = work
	c.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-c.run:
			f()
		}
	}
}

// hand makes the candidate the leader until the returned function is called, which
// returns when the work has ended.
func (c *crown) hand(t *testing.T) (take func(cause error)) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan struct{})
	c.run <- func() { c.work(ctx); close(ended) }
	return func(cause error) { cancel(cause); <-ended }
}

func TestJobsOfTheLeaderRunWhileItLeads(t *testing.T) {
	t.Parallel()
	lost := errors.New("lead lost")
	var led, each atomic.Int64
	started := make(chan struct{}, 100)
	s := newServer(t, newEnv(), entry("a", function.Function{Jobs: map[string]function.Job{
		"led": func(ctx context.Context) (function.Counts, error) {
			led.Add(1)
			started <- struct{}{}
			<-ctx.Done()
			if !errors.Is(context.Cause(ctx), lost) && !strings.Contains(context.Cause(ctx).Error(), "shutting down") {
				t.Errorf("stopped by %v", context.Cause(ctx))
			}
			return nil, ctx.Err()
		},
		"each": func(context.Context) (function.Counts, error) { each.Add(1); return function.Counts{}, nil },
	}}, function.Spec{Schedules: []function.Schedule{{Job: "led", Every: time.Hour}, {Job: "each", Every: time.Millisecond, EachProcess: true}}}))
	c := newCrown()
	r := serve(t, s, httpshim.Options{Grace: time.Minute, Lead: c.lead})
	for each.Load() < 3 { // this process runs its own, whoever leads
		time.Sleep(time.Millisecond)
	}
	if led.Load() != 0 {
		t.Error("a job of the leader runs although nobody leads")
	}
	for n := int64(1); n <= 2; n++ {
		take := c.hand(t)
		<-started // at once: its next tick is an hour away
		take(lost)
		if led.Load() != n {
			t.Errorf("%d runs after leading %d times", led.Load(), n)
		}
	}
	before := each.Load()
	for each.Load() == before {
		time.Sleep(time.Millisecond)
	}
	r.stop()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	if led.Load() != 2 {
		t.Error("a job of the leader ran at the end, in a process that does not lead")
	}
}

// Ticks that fall into a run are not made up for: after it, one comes.
func TestMissedTicksDoNotPileUp(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var starts []time.Time
	release := make(chan struct{})
	s := newServer(t, newEnv(), entry("a", function.Function{Jobs: map[string]function.Job{
		"often": func(context.Context) (function.Counts, error) {
			mu.Lock()
			starts = append(starts, time.Now())
			first := len(starts) == 1
			mu.Unlock()
			if first {
				<-release
			}
			return function.Counts{}, nil
		},
	}}, function.Spec{Schedules: []function.Schedule{{Job: "often", Every: 20 * time.Millisecond, EachProcess: true}}}))
	r := serve(t, s, httpshim.Options{Grace: time.Minute})
	time.Sleep(400 * time.Millisecond) // many ticks fall into the first run
	close(release)
	released := time.Now()
	time.Sleep(50 * time.Millisecond)
	elapsed := time.Since(released)
	r.stop()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	most := int(elapsed/(20*time.Millisecond)) + 4 // the first, one that waited, the last at the end, and rounding
	if len(starts) > most {
		t.Errorf("%d runs; want at most %d", len(starts), most)
	}
}

// While the server pauses it answers as before, but says that it is not ready and
// closes each connection after its answer.
func TestThePause(t *testing.T) {
	t.Parallel()
	env := newEnv()
	s := newServer(t, env, entry("a", function.Function{HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if env.Check(r.Context()) != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, "answered")
	})}, function.Spec{Routes: routes("GET /x")}))
	pausing, hurry := make(chan struct{}), make(chan struct{})
	r := serve(t, s, httpshim.Options{Grace: time.Hour, Hurry: hurry, Pause: func() time.Duration { close(pausing); return time.Hour }})
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	ask := func() (status int, closes bool) {
		_, _ = fmt.Fprint(conn, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		return resp.StatusCode, resp.Close
	}
	if status, closes := ask(); closes || status != 200 {
		t.Errorf("before: close %t, status %d", closes, status)
	}
	r.stop()
	<-pausing
	if status, closes := ask(); !closes || status != 503 { // an idle connection still works, once
		t.Errorf("in the pause: close %t, status %d", closes, status)
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the connection goes on: %v", err)
	}
	if body, err := get(t.Context(), r.url+"/x"); body != "answered" || err != nil {
		t.Errorf("a new connection in the pause: %q, %v", body, err)
	}
	close(hurry)
	if err := <-r.done; err != nil {
		t.Errorf("nothing ran and nothing was cut: %v", err)
	}
	if _, err := get(t.Context(), r.url+"/x"); err == nil {
		t.Error("it still listens")
	}
}

func TestHurryCutsAndRecords(t *testing.T) {
	t.Parallel()
	entered, hurry := make(chan struct{}), make(chan struct{})
	var settled atomic.Bool
	s := newServer(t, newEnv(), entry("a", function.Function{HTTP: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		settled.Store(true)
	})}, function.Spec{Routes: routes("GET /x")}))
	r := serve(t, s, httpshim.Options{Grace: time.Hour, Hurry: hurry})
	go func() { _, _ = get(t.Context(), r.url+"/x") }()
	<-entered
	r.stop()
	close(hurry)
	if err := <-r.done; !errors.Is(err, httpshim.ErrCut) || !strings.Contains(err.Error(), "told again") {
		t.Errorf("%v", err)
	}
	if !settled.Load() {
		t.Error("Serve did not wait for what it cut")
	}
}

// Work that goes on beside the requests has the grace that they have, and the
// jobs stop after it.
func TestWorkBesideTheRequestsIsWaitedFor(t *testing.T) {
	t.Parallel()
	env := newEnv()
	var mu sync.Mutex
	var order []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, what)
	}
	stuck := errors.New("work was stopped")
	env.AddWork(func(ctx context.Context) error { <-ctx.Done(); note("work stopped"); return stuck })
	s := newServer(t, env, entry("a", function.Function{Jobs: map[string]function.Job{
		"book": func(context.Context) (function.Counts, error) { note("last job"); return function.Counts{}, nil },
	}}, function.Spec{Schedules: []function.Schedule{{Job: "book", Every: time.Hour, EachProcess: true}}}))
	r := serve(t, s, httpshim.Options{Grace: 20 * time.Millisecond})
	r.stop()
	if err := <-r.done; !errors.Is(err, stuck) {
		t.Errorf("%v; want what the work says", err)
	}
	if want := []string{"work stopped", "last job"}; !slices.Equal(order, want) {
		t.Errorf("order %v; want %v", order, want)
	}
}

func TestAJobThatHoldsASilentConnectionEnds(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	s := newServer(t, newEnv(), entry("a", function.Function{Jobs: map[string]function.Job{
		"silent": func(ctx context.Context) (function.Counts, error) {
			<-ctx.Done()
			select {
			case ended <- ctx.Err():
			default:
			}
			return nil, ctx.Err()
		},
	}}, function.Spec{Timeout: 20 * time.Millisecond, Schedules: []function.Schedule{{Job: "silent", Every: time.Millisecond, EachProcess: true}}}))
	r := serve(t, s, httpshim.Options{Grace: time.Minute})
	if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it ended by %v; want its time-out", err)
	}
	r.stop()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
}
