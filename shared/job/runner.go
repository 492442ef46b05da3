package job

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
)

const (
	recordTimeout = 2 * time.Second  // for one attempt to write; a job does not wait longer
	renewEvery    = 30 * time.Second // so that a lease bears three failures
)

// ErrEnding is why runs that were started by hand are stopped when the process
// ends and they do not end in time.
var ErrEnding = errors.New("the process is shutting down")

// RunnerConfig is what a runner is made from.
type RunnerConfig struct {
	Recorder Recorder
	Now      func() time.Time
	Log      *slog.Logger
	Instance string // names the process
	// Background lets runs that were started by hand go on after Start has
	// returned. Where it is false, Start returns when they have ended.
	Background bool
}

// Runner runs the jobs of one process and records what they did. It is safe for
// concurrent use.
type Runner struct {
	c RunnerConfig

	mu      sync.Mutex
	jobs    map[string]*entry
	waiting waiting
	writing bool                               // somebody writes what was waiting
	byHand  map[string]context.CancelCauseFunc // by job: what runs now
	ending  bool
	hands   sync.WaitGroup
}

// entry is a job of this process.
type entry struct {
	Definition

	do      function.Job
	lastRow time.Time // of a frequent job: when a run of it last became a row
}

// NewRunner makes a runner.
func NewRunner(c RunnerConfig) *Runner {
	return &Runner{c: c, jobs: map[string]*entry{}, byHand: map[string]context.CancelCauseFunc{}}
}

// Wrap takes a function's jobs into the runner and returns them as they are to be
// called by a host's schedules: recorded. A function that is wired again replaces
// its jobs.
func (r *Runner) Wrap(spec function.Spec, jobs map[string]function.Job) map[string]function.Job {
	out := make(map[string]function.Job, len(jobs))
	for name, do := range jobs {
		e := &entry{Definition: Definition{Function: spec.Name, Name: name, Timeout: spec.JobTimeout(name)}, do: do}
		for _, s := range spec.Schedules {
			if s.Job == name {
				e.Every, e.EachProcess = s.Every, s.EachProcess
			}
		}
		r.mu.Lock()
		r.jobs[e.ID()] = e
		r.mu.Unlock()
		out[name] = func(ctx context.Context) (function.Counts, error) {
			run := r.newRun(e, Schedule, "")
			if !e.frequent() {
				run.ID = id.New(RunID)
				r.begin(ctx, e, run)
			}
			run, err := r.execute(ctx, e, run)
			return run.Counts, err
		}
	}
	return out
}

// Definitions lists the jobs of this process, by id.
func (r *Runner) Definitions() []Definition {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]Definition, 0, len(r.jobs))
	for _, e := range r.jobs {
		list = append(list, e.Definition)
	}
	slices.SortFunc(list, func(a, b Definition) int { return strings.Compare(a.ID(), b.ID()) })
	return list
}

func (r *Runner) newRun(e *entry, t Trigger, actor string) Run {
	return Run{
		Function: e.Function, Job: e.Name, Trigger: t, Actor: actor,
		StartedAt: r.c.Now(), Status: Running, Instance: r.c.Instance,
	}
}

// begin writes that a run has begun. Where that fails, its end is written anyway.
func (r *Runner) begin(ctx context.Context, e *entry, run Run) {
	err := r.recording(ctx, func(ctx context.Context) error { return r.c.Recorder.Begin(ctx, e.Definition, run, nil) })
	if err != nil {
		r.c.Log.WarnContext(ctx, "record that a job begins", "job", e.ID(), "error", err)
	}
}

// recording lets something be written within its time, whatever becomes of the
// caller.
func (r *Runner) recording(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	return f(ctx)
}

// execute runs the job to its end and notes what came of it. A panic goes on to
// the caller, as it was, once it is noted.
func (r *Runner) execute(ctx context.Context, e *entry, run Run) (ended Run, err error) {
	if run.ID != "" {
		stop := r.keepLease(ctx, run.ID)
		defer stop()
	}
	returned := false
	defer func() {
		run.FinishedAt = r.c.Now()
		run.Status, run.Error = verdict(ctx, err, returned)
		r.note(e, run, failures(ctx, run))
		r.flush(ctx)
		ended = run
	}()
	run.Counts, err = e.do(ctx)
	returned = true
	return run, err
}

// verdict is how a run ended, with a text for operators where it did not end well.
func verdict(ctx context.Context, err error, returned bool) (Status, string) {
	switch {
	case !returned:
		return Failed, "It panicked. The log of its process has the stack."
	case err == nil:
		return Succeeded, ""
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return Failed, "It was stopped when its time was up: " + readable(err)
	case ctx.Err() != nil:
		return Failed, "It was stopped: " + readable(context.Cause(ctx))
	}
	return Failed, readable(err)
}

// failures is 1 for a run that failed. One of a frequent job that was stopped with
// its process or with the lead has not: the next does what it left.
func failures(ctx context.Context, run Run) int64 {
	if run.Status != Failed || (run.ID == "" && errors.Is(ctx.Err(), context.Canceled)) {
		return 0
	}
	return 1
}

// keepLease renews a run's lease until it is stopped.
func (r *Runner) keepLease(ctx context.Context, runID string) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(renewEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			err := r.recording(ctx, func(ctx context.Context) error { return r.c.Recorder.Renew(ctx, runID) })
			if err != nil {
				r.c.Log.WarnContext(ctx, "renew lease of a run", "run", runID, "error", err)
			}
		}
	}()
	return func() { cancel(); <-done }
}

// Start starts a job by hand, with the audit record of doing so, and returns the
// run: running, or ended where the process has no background. NotFound: the job is
// not in this process. Conflict: a run that was started by hand has not ended.
// Unavailable: the process is ending.
func (r *Runner) Start(ctx context.Context, jobID string, t Trigger, rec audit.Record) (Run, error) {
	r.mu.Lock()
	e, ok := r.jobs[jobID]
	r.mu.Unlock()
	if !ok {
		return Run{}, fault.New(fault.NotFound, "there is no such job in this process")
	}
	run := r.newRun(e, t, rec.Actor)
	run.ID = id.New(RunID)
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	if !r.c.Background {
		work, cancel = context.WithCancelCause(ctx)
	}
	if err := r.reserve(jobID, cancel); err != nil {
		cancel(nil)
		return Run{}, err
	}
	rec = rec.With(map[string]any{"run": run.ID, "trigger": string(t)})
	err := r.recording(ctx, func(ctx context.Context) error { return r.c.Recorder.Begin(ctx, e.Definition, run, &rec) })
	if err != nil {
		r.release(jobID, cancel)
		return Run{}, err
	}
	if !r.c.Background {
		return r.startedByHand(work, e, run, cancel), nil
	}
	go r.startedByHand(work, e, run, cancel)
	return run, nil
}

// startedByHand runs what nobody waits for: its errors and panics go to the log.
func (r *Runner) startedByHand(ctx context.Context, e *entry, run Run, cancel context.CancelCauseFunc) (ended Run) {
	defer r.release(e.ID(), cancel)
	defer func() {
		if p := recover(); p != nil {
			r.c.Log.ErrorContext(ctx, "job panicked", "job", e.ID(), "run", run.ID, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			ended = run
			ended.FinishedAt = r.c.Now()
			ended.Status, ended.Error = verdict(ctx, nil, false)
		}
	}()
	timed, stop := context.WithTimeout(ctx, e.Timeout)
	defer stop()
	ended, err := r.execute(timed, e, run)
	if err != nil {
		r.c.Log.ErrorContext(ctx, "job failed", "job", e.ID(), "run", run.ID, "error", err)
	}
	return ended
}

func (r *Runner) reserve(jobID string, cancel context.CancelCauseFunc) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending {
		return fault.Wrap(fault.Unavailable, "start job", ErrEnding).After(time.Second)
	}
	if _, taken := r.byHand[jobID]; taken {
		return Busy()
	}
	r.byHand[jobID] = cancel
	r.hands.Add(1)
	return nil
}

// Busy is the error for a job that runs by hand already.
func Busy() *fault.Error {
	return fault.New(fault.Conflict, "a run of this job that was started by hand has not ended yet")
}

func (r *Runner) release(jobID string, cancel context.CancelCauseFunc) {
	cancel(nil)
	r.mu.Lock()
	delete(r.byHand, jobID)
	r.mu.Unlock()
	r.hands.Done()
}

// Finish lets no run be started by hand any more and waits for those that run.
// What still runs when ctx ends is stopped and recorded as failed.
func (r *Runner) Finish(ctx context.Context) error {
	r.mu.Lock()
	r.ending = true
	r.mu.Unlock()
	done := make(chan struct{})
	go func() { r.hands.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	stopped := make([]string, 0, len(r.byHand))
	for jobID, cancel := range r.byHand {
		stopped = append(stopped, jobID)
		cancel(ErrEnding)
	}
	r.mu.Unlock()
	<-done
	if len(stopped) == 0 {
		return nil
	}
	slices.Sort(stopped)
	return fmt.Errorf("jobs started by hand were still running: %s", strings.Join(stopped, ", "))
}

// Close stops what runs by hand and writes what waits to be written.
func (r *Runner) Close(ctx context.Context) error {
	at, cancel := context.WithCancel(ctx)
	cancel()
	err := r.Finish(at)
	return errors.Join(err, r.write(ctx))
}
