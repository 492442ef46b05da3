// Package job is the record of what the platform's jobs did: which ran, who
// started them, how long they took, what they counted and how they ended.
//
// A [Runner] stands around the jobs of the functions in one process. Whatever
// starts a job (a schedule of any host, an operator) goes through it, so hosts
// need to know nothing of it. A job of a minute and more, and each that was
// started by hand, gets a row for each run. Frequent jobs are summed up in memory
// and written four times a minute at most; of their runs only those get a row
// that failed or took unusually long, one a minute.
//
// The record serves the jobs, not the other way round: one that can't be written
// is written later, or lost with its process, and the job runs all the same. A
// process that dies leaves runs that nobody finishes: each has a lease that its
// process renews, and is abandoned once that has run out.
//
// It owns no schedule: hosts do.
package job

import (
	"context"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/function"
)

// RunID is the prefix of runs' ids.
const RunID = "run"

// Lease is how long a run counts as running after its process was last heard of.
const Lease = 2 * time.Minute

// Retention is how long runs are kept.
const Retention = 90 * 24 * time.Hour

// Definition is what is known of a job without running it.
type Definition struct {
	Function    string
	Name        string
	Every       time.Duration // between two starts by its schedule; 0: it has none
	EachProcess bool          // its schedule runs it in every process, not in the leader only
	Timeout     time.Duration // of a run that was started by hand
}

// ID names the job in the whole catalogue: "metering.fold".
func (d Definition) ID() string { return d.Function + "." + d.Name }

// frequent jobs get no row for a run that went well.
func (d Definition) frequent() bool { return d.Every > 0 && d.Every < function.Frequent }

// Trigger is what started a run.
type Trigger string

// The triggers.
const (
	Schedule Trigger = "schedule"
	API      Trigger = "api"
	Command  Trigger = "command"
)

// Status is the state of a run.
type Status string

// The states.
const (
	Running   Status = "running"
	Succeeded Status = "succeeded"
	Failed    Status = "failed"
	Abandoned Status = "abandoned" // its process died, or lost the database for good
)

// Run is one run of a job.
type Run struct {
	ID         string // "" for a run of a frequent job that has no row
	Function   string
	Job        string
	Trigger    Trigger
	Actor      string // the key that started it; "" for schedules
	StartedAt  time.Time
	FinishedAt time.Time // zero while it runs, and where it was abandoned
	Status     Status
	Counts     function.Counts // what it did, also where it failed half-way
	Error      string          // for operators; "" unless it failed
	Instance   string          // the process
}

// Tally is what runs of one job come to.
type Tally struct {
	Definition

	Runs        int64
	Failures    int64
	Busy        time.Duration // all runs' durations
	Counts      function.Counts
	Last        Run       // the one that started last
	LastSuccess time.Time // when one last ended well; zero: none of these
}

// State is what is known of a job.
type State struct {
	Definition

	Runs        int64 // since the record began, runs that ended
	Failures    int64
	Busy        time.Duration
	Counts      function.Counts
	Last        *Run      // nil: it never ran
	LastSuccess time.Time // zero: it never succeeded
	Here        bool      // it can be started in this process
}

// Recorder writes down what jobs did.
type Recorder interface {
	// Begin adds a run that is running, under a lease. With an audit record, which
	// is written in the same transaction, the run was started by hand: Conflict
	// while another one of the job runs that was. Without one the record is nil.
	Begin(ctx context.Context, d Definition, r Run, rec *audit.Record) error
	// Renew gives a running run a new lease.
	Renew(ctx context.Context, runID string) error
	// Write adds tallies to the jobs' totals and writes runs as they ended, whether
	// or not they were begun, all in one transaction. Writing a run again changes
	// nothing.
	Write(ctx context.Context, tallies []Tally, runs []Run) error
}

// History reads what jobs did. A run whose lease has run out reads as abandoned.
type History interface {
	States(ctx context.Context) ([]State, error) // by function and name; Here and Timeout are not set
	// Runs lists the newest first, those before the run with the id "before"
	// unless that is "".
	Runs(ctx context.Context, function, name, before string, limit int) ([]Run, error)
	Run(ctx context.Context, id string) (Run, error) // NotFound
	// Prune removes up to so many runs that started before a time and returns how
	// many it did; what still runs stays.
	Prune(ctx context.Context, before time.Time, most int) (int, error)
}
