package job

import (
	"context"
	"maps"
	"time"

	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
)

const (
	flushEvery = 15 * time.Second // the least distance of two attempts, for sums alone
	rowEvery   = time.Minute      // the least distance of two rows of one frequent job
	slowest    = 5 * time.Second  // what no frequent job takes, if all is well
	maxWaiting = 200              // runs kept while they can't be written
)

// waiting is what was not written yet.
type waiting struct {
	tallies map[string]*Tally
	runs    []Run
	lost    int       // runs that were dropped, for there were too many
	urgent  bool      // a run waits that has a row: it is written at once
	tried   time.Time // the last attempt
}

// note adds a run that has ended, and that counts as so many failures. One of a
// frequent job becomes a row where it tells something.
func (r *Runner) note(e *entry, run Run, failures int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	took := run.FinishedAt.Sub(run.StartedAt)
	if run.ID == "" && (failures > 0 || took > max(slowest, e.Every)) && run.FinishedAt.Sub(e.lastRow) >= rowEvery {
		e.lastRow = run.FinishedAt
		run.ID = id.New(RunID)
	} else if run.ID != "" {
		r.waiting.urgent = true
	}
	if run.ID != "" {
		r.waiting.keep(run)
	}
	t := Tally{Definition: e.Definition, Runs: 1, Failures: failures, Busy: took, Counts: maps.Clone(run.Counts), Last: run}
	if run.Status == Succeeded {
		t.LastSuccess = run.FinishedAt
	}
	r.waiting.add(&t)
}

func (w *waiting) keep(run Run) {
	if len(w.runs) >= maxWaiting {
		w.runs = w.runs[1:]
		w.lost++
	}
	w.runs = append(w.runs, run)
}

func (w *waiting) add(t *Tally) {
	if w.tallies == nil {
		w.tallies = map[string]*Tally{}
	}
	sum, ok := w.tallies[t.ID()]
	if !ok {
		w.tallies[t.ID()] = t
		return
	}
	sum.Definition = t.Definition
	sum.Runs += t.Runs
	sum.Failures += t.Failures
	sum.Busy += t.Busy
	if sum.Counts == nil && len(t.Counts) > 0 {
		sum.Counts = function.Counts{}
	}
	for name, n := range t.Counts {
		sum.Counts[name] += n
	}
	if !t.Last.StartedAt.Before(sum.Last.StartedAt) {
		sum.Last = t.Last
	}
	if t.LastSuccess.After(sum.LastSuccess) {
		sum.LastSuccess = t.LastSuccess
	}
}

// flush writes what waits, if it is time to.
func (r *Runner) flush(ctx context.Context) {
	now := r.c.Now()
	r.mu.Lock()
	due := r.waiting.urgent || r.waiting.tried.IsZero() || now.Sub(r.waiting.tried) >= flushEvery
	if due {
		r.waiting.urgent, r.waiting.tried = false, now
	}
	r.mu.Unlock()
	if !due {
		return
	}
	if err := r.write(ctx); err != nil {
		r.c.Log.WarnContext(ctx, "record what jobs did", "error", err)
	}
}

// write writes what waits, and what has come to wait in the meantime. What could
// not be written waits on; where nobody knows whether it was, runs are written
// again, which does no harm, and sums count twice.
func (r *Runner) write(ctx context.Context) error {
	for taken, ok := r.take(); ok; taken, ok = r.take() {
		if taken.lost > 0 {
			r.c.Log.WarnContext(ctx, "runs of jobs were not recorded", "runs", taken.lost)
		}
		tallies := make([]Tally, 0, len(taken.tallies))
		for _, t := range taken.tallies {
			tallies = append(tallies, *t)
		}
		err := r.recording(ctx, func(ctx context.Context) error { return r.c.Recorder.Write(ctx, tallies, taken.runs) })
		if again := r.wrote(taken, err); !again {
			return err
		}
	}
	return nil
}

// take takes what waits for the one who writes: there is one at a time, and who
// comes meanwhile leaves to him what he has brought.
func (r *Runner) take() (taken waiting, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.writing {
		r.waiting.urgent = true
		return waiting{}, false
	}
	if len(r.waiting.tallies) == 0 {
		return waiting{}, false
	}
	taken, r.writing = r.waiting, true
	r.waiting = waiting{tried: taken.tried}
	return taken, true
}

// wrote ends a turn of writing, and reports whether there is more that is urgent.
func (r *Runner) wrote(taken waiting, err error) (again bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writing = false
	if err != nil {
		r.putBack(taken)
		return false
	}
	return r.waiting.urgent
}

// putBack makes what was taken wait again, before what has come since.
func (r *Runner) putBack(taken waiting) {
	since := r.waiting
	r.waiting = waiting{tallies: taken.tallies, tried: since.tried, urgent: since.urgent}
	for _, run := range append(taken.runs, since.runs...) {
		r.waiting.keep(run)
	}
	for _, t := range since.tallies {
		r.waiting.add(t)
	}
}
