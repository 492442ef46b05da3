package usage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/aiaas/aiaas/shared/admission"
	"github.com/aiaas/aiaas/shared/fault"
)

// Ledger books events. It is idempotent by event id.
type Ledger interface {
	// Pending returns events that wait in the inbox, the oldest first.
	Pending(ctx context.Context, most int) ([]Recorded, error)
	// Book writes usage, ledger, budgets and roll-up deltas of events that are not
	// booked yet, and takes all of them out of the inbox, in one transaction.
	// An error that wraps ErrPoison or has no code fault.Unavailable means that an
	// event of the batch can't be booked; ErrFenced, that this process may not.
	Book(ctx context.Context, events []*Event) (Booking, error)
	// Bury moves events to the dead letters.
	Bury(ctx context.Context, events []Recorded, reason string) error
	// Fold merges roll-up deltas and returns how many.
	Fold(ctx context.Context) (int, error)
}

// Booking is the outcome of a Book.
type Booking struct {
	Fresh   int                          // events that were not booked before
	Windows map[string][]admission.Spent // by organisation
}

// Committer is told what the ledger has taken.
type Committer interface {
	Commit(ctx context.Context, c admission.Committed) error
}

// Consumer books events from queue and inbox.
type Consumer struct {
	Ledger  Ledger
	Limiter Committer // nil where limits live elsewhere
	Log     *slog.Logger
	Fatal   func(error) // told when another process has taken over

	mu     sync.Mutex // one drain at a time
	unsure []Recorded // the database did not answer: booked or not, the limiter was not told
}

// drainBatch is how many events one transaction books at most.
const drainBatch = 1000

// Drain books what waits in the inbox until it is empty and returns how many
// events it took.
func (c *Consumer) Drain(ctx context.Context) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.unsure) > 0 {
		if err := c.Take(ctx, c.unsure); err != nil {
			return 0, err
		}
		c.unsure = nil
	}
	total := 0
	for {
		batch, err := c.Ledger.Pending(ctx, drainBatch)
		if err != nil {
			return total, fmt.Errorf("read inbox: %w", err)
		}
		if len(batch) == 0 {
			return total, nil
		}
		if err := c.Take(ctx, batch); err != nil {
			c.unsure = batch
			return total, err
		}
		total += len(batch)
		if len(batch) < drainBatch {
			return total, nil
		}
	}
}

// Take books a batch. An event that can't be booked goes to the dead letters
// alone; an error means that the database did not answer, and nothing is lost.
func (c *Consumer) Take(ctx context.Context, batch []Recorded) error {
	events := make([]*Event, 0, len(batch))
	good := make([]Recorded, 0, len(batch))
	for _, r := range batch {
		e, err := Decode(r.Body)
		if err == nil && (e.ID != r.ID || e.OrgID != r.OrgID) {
			err = fmt.Errorf("%w: it names another event", ErrPoison)
		}
		if err != nil {
			if err := c.bury(ctx, r, err); err != nil {
				return err
			}
			continue
		}
		events, good = append(events, e), append(good, r)
	}
	return c.book(ctx, events, good)
}

// book books a batch, and bisects it where an event spoils it.
func (c *Consumer) book(ctx context.Context, events []*Event, recorded []Recorded) error {
	if len(events) == 0 {
		return nil
	}
	booking, err := c.Ledger.Book(ctx, events)
	switch {
	case err == nil:
		return c.commit(ctx, events, booking)
	case errors.Is(err, ErrFenced):
		c.Fatal(ErrFenced)
		return fmt.Errorf("book usage: %w", err)
	case fault.Is(err, fault.Unavailable) || ctx.Err() != nil:
		return fmt.Errorf("book usage: %w", err)
	case len(events) == 1:
		return c.bury(ctx, recorded[0], err)
	}
	half := len(events) / 2
	return errors.Join(c.book(ctx, events[:half], recorded[:half]), c.book(ctx, events[half:], recorded[half:]))
}

func (c *Consumer) bury(ctx context.Context, r Recorded, reason error) error {
	c.Log.ErrorContext(ctx, "usage event goes to the dead letters", "event", r.ID, "error", reason)
	if err := c.Ledger.Bury(ctx, []Recorded{r}, reason.Error()); err != nil {
		return fmt.Errorf("bury event: %w", err)
	}
	return nil
}

func (c *Consumer) commit(ctx context.Context, events []*Event, b Booking) error {
	if c.Limiter == nil {
		return nil
	}
	ids := map[string][]string{}
	for _, e := range events {
		if len(e.Holds) > 0 {
			ids[e.OrgID] = append(ids[e.OrgID], e.ID)
		}
	}
	for org := range b.Windows { // every hold has a window, so every id has its organisation here
		err := c.Limiter.Commit(ctx, admission.Committed{Org: org, IDs: ids[org], Windows: b.Windows[org]})
		if err != nil {
			return fmt.Errorf("tell limiter: %w", err)
		}
	}
	return nil
}
