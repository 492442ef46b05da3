package job_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/job"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// book is a record in memory, which can be made to fail.
type book struct {
	mu      sync.Mutex
	down    error
	begun   []job.Run
	audited []audit.Record
	runs    map[string]job.Run // as they ended
	sums    map[string]job.Tally
	writes  int
}

func (b *book) Begin(_ context.Context, _ job.Definition, r job.Run, rec *audit.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down != nil {
		return b.down
	}
	b.begun = append(b.begun, r)
	if rec != nil {
		b.audited = append(b.audited, *rec)
	}
	return nil
}

func (b *book) Renew(context.Context, string) error { return nil }

func (b *book) Write(_ context.Context, tallies []job.Tally, runs []job.Run) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writes++
	if b.down != nil {
		return b.down
	}
	for _, r := range runs {
		b.runs[r.ID] = r
	}
	for _, t := range tallies {
		sum := b.sums[t.ID()]
		sum.Definition, sum.Last = t.Definition, t.Last
		sum.Runs += t.Runs
		sum.Failures += t.Failures
		sum.Busy += t.Busy
		if sum.Counts == nil {
			sum.Counts = function.Counts{}
		}
		for n, c := range t.Counts {
			sum.Counts[n] += c
		}
		b.sums[t.ID()] = sum
	}
	return nil
}

func (b *book) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = err
}

// ended lists the written runs as "status counts error", the oldest first.
func (b *book) ended() (out []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.runs {
		out = append(out, fmt.Sprintf("%s %v %s", r.Status, r.Counts, r.Error))
	}
	slices.Sort(out)
	return out
}

func (b *book) sum(jobID string) job.Tally {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sums[jobID]
}

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

type fixture struct {
	*job.Runner
	book  *book
	clock *clock
	jobs  map[string]function.Job // as a host calls them
}

// often runs each second, hourly each hour.
func setUp(t *testing.T, background bool, jobs map[string]function.Job) *fixture {
	t.Helper()
	f := &fixture{
		book:  &book{runs: map[string]job.Run{}, sums: map[string]job.Tally{}},
		clock: &clock{at: time.Date(2026, 10, 12, 12, 0, 0, 0, time.UTC)},
	}
	f.Runner = job.NewRunner(job.RunnerConfig{Recorder: f.book, Now: f.clock.now, Log: slog.New(slog.DiscardHandler), Instance: "here", Background: background})
	spec := function.Spec{Name: "fn", Timeout: time.Minute, Schedules: []function.Schedule{
		{Job: "often", Every: time.Second, EachProcess: true}, {Job: "hourly", Every: time.Hour},
	}}
	f.jobs = f.Wrap(spec, jobs)
	return f
}

func counting(n int64, err error) function.Job {
	return func(context.Context) (function.Counts, error) { return function.Counts{"rows": n}, err }
}

func TestRunsOfAJobOfAMinuteAndMoreAreRows(t *testing.T) {
	t.Parallel()
	broken := error(nil)
	f := setUp(t, true, map[string]function.Job{"hourly": func(context.Context) (function.Counts, error) {
		return function.Counts{"rows": 3}, broken
	}})
	for _, broken = range []error{nil, errors.New("disk is full"), nil} {
		counts, err := f.jobs["hourly"](t.Context())
		if counts["rows"] != 3 || !errors.Is(err, broken) {
			t.Errorf("the host gets %v, %v", counts, err)
		}
		f.clock.advance(time.Second)
	}
	want := []string{"failed map[rows:3] disk is full", "succeeded map[rows:3] ", "succeeded map[rows:3] "}
	if got := f.book.ended(); !slices.Equal(got, want) {
		t.Errorf("rows %q; want %q", got, want)
	}
	if len(f.book.begun) != 3 || f.book.begun[0].Status != job.Running || f.book.begun[0].Trigger != job.Schedule || f.book.begun[0].Instance != "here" {
		t.Errorf("begun %+v", f.book.begun)
	}
	if s := f.book.sum("fn.hourly"); s.Runs != 3 || s.Failures != 1 || s.Counts["rows"] != 9 || s.Every != time.Hour || s.EachProcess {
		t.Errorf("summed up as %+v", s)
	}
}

func TestAPanicIsRecordedAndGoesOn(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"often", "hourly"} {
		f := setUp(t, true, map[string]function.Job{name: func(context.Context) (function.Counts, error) { panic("secret text") }})
		func() {
			defer func() {
				if p := recover(); p != "secret text" {
					t.Errorf("the host sees the panic %v", p)
				}
			}()
			_, _ = f.jobs[name](t.Context())
		}()
		got := f.book.ended()
		if len(got) != 1 || !strings.HasPrefix(got[0], "failed map[] It panicked") || strings.Contains(got[0], "secret") {
			t.Errorf("%s: rows %q", name, got)
		}
	}
}

func TestFrequentJobsAreSummedUp(t *testing.T) {
	t.Parallel()
	f := setUp(t, true, map[string]function.Job{"often": counting(2, nil)})
	for range 600 { // ten minutes
		if _, err := f.jobs["often"](t.Context()); err != nil {
			t.Fatal(err)
		}
		f.clock.advance(time.Second)
	}
	if f.book.writes != 40 {
		t.Errorf("written %d times in ten minutes; want four times a minute", f.book.writes)
	}
	if len(f.book.runs)+len(f.book.begun) != 0 {
		t.Errorf("rows %v, begun %v; want none", f.book.runs, f.book.begun)
	}
	if err := f.Close(t.Context()); err != nil {
		t.Error(err)
	}
	s := f.book.sum("fn.often")
	if s.Runs != 600 || s.Counts["rows"] != 1200 || s.Failures != 0 || !s.EachProcess {
		t.Errorf("summed up as %+v", s)
	}
	if s.Last.StartedAt != f.clock.now().Add(-time.Second) || s.Last.Status != job.Succeeded {
		t.Errorf("last run %+v", s.Last)
	}
}

func TestAFrequentJobThatFailsOrIsSlowGetsOneRowAMinute(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err      error
		takes    time.Duration
		rows     int
		failures int64
	}{
		"fails":     {errors.New("no"), 0, 5, 300},
		"slow":      {nil, 6 * time.Second, 5, 0},
		"well":      {nil, 5 * time.Second, 0, 0},
		"cancelled": {nil, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var f *fixture
			f = setUp(t, true, map[string]function.Job{"often": func(ctx context.Context) (function.Counts, error) {
				f.clock.advance(c.takes)
				return nil, errors.Join(c.err, ctx.Err())
			}})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if name == "cancelled" {
				cancel()
			}
			for begin := f.clock.now(); f.clock.now().Sub(begin) < 5*time.Minute; f.clock.advance(time.Second) {
				_, _ = f.jobs["often"](ctx)
			}
			if err := f.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if s := f.book.sum("fn.often"); len(f.book.runs) != c.rows || s.Failures != c.failures {
				t.Errorf("%d rows, %d failures of %d; want %d, %d", len(f.book.runs), s.Failures, s.Runs, c.rows, c.failures)
			}
		})
	}
}

func TestAJobRunsThoughItsRecordFails(t *testing.T) {
	t.Parallel()
	f := setUp(t, true, map[string]function.Job{"hourly": counting(1, nil), "often": counting(1, nil)})
	f.book.fail(errors.New("database is down"))
	for range 250 {
		for _, name := range []string{"hourly", "often"} {
			if counts, err := f.jobs[name](t.Context()); err != nil || counts["rows"] != 1 {
				t.Fatalf("%s: %v, %v", name, counts, err)
			}
		}
	}
	f.book.fail(nil)
	if _, err := f.jobs["hourly"](t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := f.book.sum("fn.hourly"); s.Runs != 251 || s.Counts["rows"] != 251 {
		t.Errorf("afterwards %+v", s)
	}
	if s := f.book.sum("fn.often"); s.Runs != 250 {
		t.Errorf("afterwards %+v", s)
	}
	if n := len(f.book.runs); n != 200 {
		t.Errorf("%d rows; want those that memory keeps", n)
	}
}

func principal() authz.Principal {
	return authz.Internal("org_1", "key_1", authz.Platform)
}

func (f *fixture) start(ctx context.Context, jobID string) (job.Run, error) {
	return f.Start(ctx, jobID, job.API, audit.New(ctx, principal(), f.clock.now(), "job.start", jobID))
}

func TestAJobStartedByHandRunsInTheBackground(t *testing.T) {
	t.Parallel()
	running, finish := make(chan struct{}), make(chan struct{})
	f := setUp(t, true, map[string]function.Job{"often": func(ctx context.Context) (function.Counts, error) {
		close(running)
		<-finish
		return function.Counts{"rows": 1}, ctx.Err()
	}})
	request, leave := context.WithCancel(t.Context())
	run, err := f.start(request, "fn.often")
	if err != nil || run.Status != job.Running || run.Actor != "key_1" || run.Trigger != job.API || !id.Valid(job.RunID, run.ID) {
		t.Fatalf("%+v, %v", run, err)
	}
	leave() // the request has its answer
	<-running
	if _, err := f.start(t.Context(), "fn.often"); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second one: %v; want a conflict", err)
	}
	if _, err := f.start(t.Context(), "fn.unknown"); !fault.Is(err, fault.NotFound) {
		t.Errorf("an unknown one: %v", err)
	}
	close(finish)
	if err := f.Finish(t.Context()); err != nil {
		t.Error(err)
	}
	if got := f.book.ended(); !slices.Equal(got, []string{"succeeded map[rows:1] "}) {
		t.Errorf("rows %q", got)
	}
	if a := f.book.audited; len(a) != 1 || a[0].Action != "job.start" || a[0].Target != "fn.often" || a[0].Detail["run"] != run.ID {
		t.Errorf("audited %+v", a)
	}
	if _, err := f.start(t.Context(), "fn.often"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("while the process ends: %v", err)
	}
}

func TestAJobStartedByHandThatDoesNotEndInTimeIsStopped(t *testing.T) {
	t.Parallel()
	running := make(chan struct{})
	f := setUp(t, true, map[string]function.Job{"hourly": func(ctx context.Context) (function.Counts, error) {
		close(running)
		<-ctx.Done()
		return function.Counts{"rows": 4}, ctx.Err()
	}})
	if _, err := f.start(t.Context(), "fn.hourly"); err != nil {
		t.Fatal(err)
	}
	<-running
	grace, end := context.WithCancel(t.Context())
	end()
	if err := f.Finish(grace); err == nil || !strings.Contains(err.Error(), "fn.hourly") {
		t.Errorf("finish: %v; want it to name what was stopped", err)
	}
	if got := f.book.ended(); !slices.Equal(got, []string{"failed map[rows:4] It was stopped: the process is shutting down"}) {
		t.Errorf("rows %q", got)
	}
}

func TestWithoutBackgroundStartReturnsTheEnd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do   function.Job
		want string
	}{
		"succeeds": {counting(1, nil), "succeeded "},
		"fails":    {counting(1, errors.New("no")), "failed no"},
		"panics":   {func(context.Context) (function.Counts, error) { panic("x") }, "failed It panicked. The log of its process has the stack."},
	} {
		f := setUp(t, false, map[string]function.Job{"hourly": c.do})
		for range 2 {
			run, err := f.start(t.Context(), "fn.hourly")
			if got := string(run.Status) + " " + run.Error; err != nil || got != c.want {
				t.Errorf("%s: %s, %v; want %s", name, got, err, c.want)
			}
		}
		if n := len(f.book.runs); n != 2 {
			t.Errorf("%s: %d rows", name, n)
		}
	}
}

func TestARunByHandThatCantBeAuditedDoesNotBegin(t *testing.T) {
	t.Parallel()
	f := setUp(t, true, map[string]function.Job{"hourly": func(context.Context) (function.Counts, error) {
		t.Error("it runs")
		return function.Counts{}, nil
	}})
	f.book.fail(fault.New(fault.Unavailable, "down"))
	for range 2 {
		if _, err := f.start(t.Context(), "fn.hourly"); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%v", err)
		}
	}
	if err := f.Finish(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWhatIsKeptOfAnError(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"connect to postgres://app:hunter2@db:5432/x: refused":   "connect to postgres://…@db:5432/x: refused",
		"dsn host=db password=hunter2 user=app":                  "dsn host=db password=… user=app",
		`{"api_key": "hunter2", "a": 1}`:                         `{"api_key": …, "a": 1}`,
		"Authorization: Bearer hunter2hunter2":                   "Authorization: …",
		"key aiaas_live_abcdefghijklmnop is unknown":             "key aiaas_live_… is unknown",
		"first\nsecond\x00third":                                 "first second third",
		"no \xff UTF-8":                                          "no ? UTF-8",
		strings.Repeat("x", 600):                                 strings.Repeat("x", 500) + "…",
		`duplicate key value violates unique constraint "a_key"`: `duplicate key value violates unique constraint "a_key"`,
	} {
		f := setUp(t, true, map[string]function.Job{"hourly": counting(0, errors.New(in))})
		_, _ = f.jobs["hourly"](t.Context())
		if got := f.book.ended()[0]; got != "failed map[rows:0] "+want {
			t.Errorf("%q is kept as %q; want %q", in, got, want)
		}
	}
}
