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
	if _, err := j.run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		s.env.Log.ErrorContext(ctx, "job failed", "function", j.function, "job", j.Job, "error", err)
	}
}
