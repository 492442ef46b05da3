package event

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aiaas/aiaas/shared/function"
)

// Outbox holds events where they were written, until they stand in the log. The
// outboxes may be in databases of their own.
type Outbox interface {
	// Oldest returns at most so many events, those that were written first.
	Oldest(ctx context.Context, most int) ([]Event, error)
	// Remove forgets events. One that is gone already is fine.
	Remove(ctx context.Context, events []Event) error
}

// Log is the log of events.
type Log interface {
	// Publish adds events, each with one pending delivery for every webhook of its
	// organisation that takes its type, in one transaction. An event that the log has
	// gets nothing: so one that is published twice, also at once, is delivered once.
	// What belongs to no organisation becomes the platform's own.
	Publish(ctx context.Context, events []Event, at time.Time) error
	// Prune removes at most so many events from before a moment, with their
	// deliveries, and tells how many. Those of an organisation under legal hold stay.
	Prune(ctx context.Context, before time.Time, most int) (int, error)
	// Abandon gives up, at a moment, at most so many deliveries of organisations that
	// are not served, which have been due since before another, and tells how many.
	Abandon(ctx context.Context, before, at time.Time, most int) (int, error)
}

// Dispatcher moves events from the outboxes to the log. Several may run at once.
type Dispatcher struct {
	Outboxes []Outbox
	Log      Log
	Now      func() time.Time
}

const (
	dispatchBatch = 200
	// Kept is how long the log has an event, and its deliveries can be replayed.
	Kept       = 30 * 24 * time.Hour
	pruneBatch = 1000
)

// Dispatch moves what waits. An outbox that can't be reached keeps none of the
// others waiting. The event is in the log before it leaves its outbox: a crash
// between the two only publishes it again, which does nothing.
func (d *Dispatcher) Dispatch(ctx context.Context) (function.Counts, error) {
	var moved int64
	var errs []error
	for _, o := range d.Outboxes {
		n, err := d.drain(ctx, o)
		moved += n
		errs = append(errs, err)
	}
	if moved == 0 {
		return nil, errors.Join(errs...)
	}
	return function.Counts{"events": moved}, errors.Join(errs...)
}

func (d *Dispatcher) drain(ctx context.Context, o Outbox) (moved int64, err error) {
	for {
		events, err := o.Oldest(ctx, dispatchBatch)
		if err != nil {
			return moved, fmt.Errorf("read outbox: %w", err)
		}
		if len(events) == 0 {
			return moved, nil
		}
		if err := d.Log.Publish(ctx, events, d.Now()); err != nil {
			return moved, fmt.Errorf("publish events: %w", err)
		}
		if err := o.Remove(ctx, events); err != nil {
			return moved, fmt.Errorf("clear outbox: %w", err)
		}
		moved += int64(len(events))
		if len(events) < dispatchBatch {
			return moved, nil
		}
	}
}

// Prune removes events that are older than [Kept], and gives up what a suspended
// organisation could not hear for as long as deliveries are tried.
func (d *Dispatcher) Prune(ctx context.Context) (function.Counts, error) {
	now := d.Now()
	gone, err := inBatches(func() (int, error) { return d.Log.Prune(ctx, now.Add(-Kept), pruneBatch) })
	given, err2 := inBatches(func() (int, error) { return d.Log.Abandon(ctx, now.Add(-tryingFor), now, pruneBatch) })
	counts := function.Counts{}
	if gone > 0 {
		counts["events"] = gone
	}
	if given > 0 {
		counts["given_up"] = given
	}
	if len(counts) == 0 {
		counts = nil
	}
	return counts, errors.Join(err, err2)
}

// inBatches repeats what does at most [pruneBatch] until it finds less to do.
func inBatches(batch func() (int, error)) (total int64, err error) {
	for {
		n, err := batch()
		total += int64(n)
		if err != nil || n < pruneBatch {
			return total, err
		}
	}
}
