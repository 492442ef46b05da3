package httpshim

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
	"time"

	"github.com/aiaas/aiaas/shared/function"
)

// Lead decides which of a deployment's processes runs what must run in one of them
// only. It calls work each time that this process wins the lead, with a context
// that ends as soon as the lead is lost, and returns when ctx has ended and work
// has returned.
type Lead func(ctx context.Context, work func(context.Context))

// alone is the lead of a process that has no others beside it.
func alone(ctx context.Context, work func(context.Context)) { work(ctx) }

// errEnding is why jobs are stopped at the end.
var errEnding = errors.New("the process is shutting down")

type job struct {
	function.Schedule

	function string
	timeout  time.Duration
	run      function.Job
	trouble  *trouble
}

// The bounds of what is logged of a job that goes on failing.
const (
	troublePause   = 5 * time.Second // until the same error is logged again; it doubles
	troubleLongest = 5 * time.Minute
	troubleKinds   = 8 // different errors that are logged at once; others wait
)

// trouble is what a job has failed with since it last ended well: the job of every
// half second would fill the log with one error.
type trouble struct {
	mu     sync.Mutex
	seen   map[string]bool
	failed int64 // runs since the last that was logged
	next   time.Time
	pause  time.Duration
}

// failing reports whether an error is to be logged: one that is new at once, and
// again with growing pauses; and how many runs have failed since the last time.
func (t *trouble) failing(now time.Time, text string) (runs int64, log bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed++
	fresh := !t.seen[text] && len(t.seen) < troubleKinds
	if !fresh && now.Before(t.next) {
		return 0, false
	}
	if t.seen == nil {
		t.seen = map[string]bool{}
	}
	if fresh {
		t.seen[text] = true
	}
	t.pause = min(max(2*t.pause, troublePause), troubleLongest)
	t.next = now.Add(t.pause)
	runs, t.failed = t.failed, 0
	return runs, true
}

// over reports whether the job had failed before.
func (t *trouble) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	had := len(t.seen) > 0
	t.seen, t.failed, t.pause, t.next = nil, 0, 0, time.Time{}
	return had
}

// schedule runs the jobs until ctx ends and all have returned.
func (s *Server) schedule(ctx context.Context, lead Lead) {
	var running sync.WaitGroup
	running.Go(func() { lead(ctx, s.runLeaders) })
	for _, j := range s.jobs {
		if j.EachProcess {
			running.Go(func() { s.repeat(ctx, j) })
		}
	}
	running.Wait()
}

// runLeaders runs the jobs of the leader while it leads.
func (s *Server) runLeaders(ctx context.Context) {
	var running sync.WaitGroup
	for _, j := range s.jobs {
		if !j.EachProcess {
			running.Go(func() {
				s.runOnce(ctx, j)
				s.repeat(ctx, j)
			})
		}
	}
	running.Wait()
	<-ctx.Done() // a process without such jobs keeps the lead too: it has done them all
}

// last runs the jobs of each process once more, so that nothing of what this one
// did waits for the next start.
func (s *Server) last(ctx context.Context) {
	for _, j := range s.jobs {
		if j.EachProcess {
			s.runOnce(ctx, j)
		}
	}
}

// repeat runs a job again and again, never twice at once.
func (s *Server) repeat(ctx context.Context, j job) {
	tick := time.NewTicker(j.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.runOnce(ctx, j)
		}
	}
}

func (s *Server) runOnce(ctx context.Context, j job) {
	if ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, j.timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			s.env.Log.ErrorContext(ctx, "job panicked", "function", j.function, "job", j.Job, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	_, err := j.run(ctx)
	switch {
	case err == nil:
		if j.trouble.over() {
			s.env.Log.InfoContext(ctx, "job works again", "function", j.function, "job", j.Job)
		}
	case errors.Is(err, context.Canceled):
	default:
		if runs, log := j.trouble.failing(s.env.Now(), err.Error()); log {
			s.env.Log.ErrorContext(ctx, "job failed", "function", j.function, "job", j.Job, "runs", runs, "error", err)
		}
	}
}
