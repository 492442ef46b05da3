// Package metering turns usage events into the ledger.
//
// Events reach it as messages of the queue "usage" and through the inbox, which
// it always drains besides: whatever way an event took, it is booked once.
package metering

import (
	"context"
	"time"

	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/usage"
)

// The jobs.
const (
	JobDrain      = "drain"
	JobFold       = "fold"
	JobPartitions = "partitions"
	JobExhausted  = "exhausted"
)

// Spec describes the function.
func Spec() function.Spec {
	return function.Spec{
		Name: "metering", Service: function.Analytics, Summary: "Books usage into the ledger",
		Queues: []function.Queue{{Name: "usage", Batch: 10}},
		Schedules: []function.Schedule{
			// What was booked goes to the limiter in the process's own memory.
			{Job: JobDrain, Every: 250 * time.Millisecond, EachProcess: true},
			{Job: JobFold, Every: 5 * time.Second},
			{Job: JobPartitions, Every: 12 * time.Hour},
			{Job: JobExhausted, Every: time.Second},
		},
		MemoryMiB: 256, Timeout: time.Minute,
	}
}

// Booker books events, as usage.Consumer does.
type Booker interface {
	Drain(ctx context.Context) (int, error)
	Take(ctx context.Context, batch []usage.Recorded) error
}

// Keeper keeps the ledger's tables in shape.
type Keeper interface {
	Fold(ctx context.Context) (int, error)
	EnsurePartitions(ctx context.Context, at time.Time) (int, error)
	// Exhaust records the budgets that requests were denied for.
	Exhaust(ctx context.Context) (int, error)
}

// New makes the function.
func New(b Booker, k Keeper, now func() time.Time) function.Function {
	return function.Function{
		Messages: func(ctx context.Context, batch []function.Message) ([]string, error) { return take(ctx, b, batch) },
		Jobs: map[string]function.Job{
			JobDrain:     func(ctx context.Context) (function.Counts, error) { return counted("events")(b.Drain(ctx)) },
			JobFold:      func(ctx context.Context) (function.Counts, error) { return counted("deltas")(k.Fold(ctx)) },
			JobExhausted: func(ctx context.Context) (function.Counts, error) { return counted("windows")(k.Exhaust(ctx)) },
			JobPartitions: func(ctx context.Context) (function.Counts, error) {
				return counted("partitions")(k.EnsurePartitions(ctx, now()))
			},
		},
	}
}

// counted puts a number into a job's counts.
func counted(name string) func(n int, err error) (function.Counts, error) {
	return func(n int, err error) (function.Counts, error) {
		if n == 0 {
			return nil, err
		}
		return function.Counts{name: int64(n)}, err
	}
}

// take books a batch of messages. One that is no event is returned to the queue,
// whose own dead letters are the place for what has no event id; one that is an
// event but can't be booked goes to the ledger's dead letters.
func take(ctx context.Context, b Booker, batch []function.Message) (failed []string, err error) {
	events := make([]usage.Recorded, 0, len(batch))
	for _, m := range batch {
		e, err := usage.Decode(m.Body)
		if err != nil {
			failed = append(failed, m.ID)
			continue
		}
		events = append(events, usage.Recorded{OrgID: e.OrgID, ID: e.ID, Body: m.Body})
	}
	if err := b.Take(ctx, events); err != nil {
		return nil, err
	}
	return failed, nil
}
