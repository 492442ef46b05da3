package admission

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Exhausted is told that requests are denied for want of a budget's window.
type Exhausted interface {
	// Exhausted reports whether nothing more is to be told of the window. Until then it
	// may be told again.
	Exhausted(ctx context.Context, org, budget string, start time.Time) (told bool, err error)
}

const (
	denialBacklog = 256
	denialAgain   = 10 * time.Second // a window that is not exhausted yet is told of so often
	denialTimeout = 5 * time.Second
	denialWindows = 10_000 // remembered at most
)

// Denials tells of windows that requests were denied for: once for each, and beside
// the requests, which wait for nothing. What there is no room for is told with the
// next denial.
type Denials struct {
	to    Exhausted
	log   *slog.Logger
	queue chan denial
	stop  context.CancelFunc
	done  chan struct{}

	mu   sync.Mutex
	next map[denial]time.Time // when to tell again; the zero time: never
}

type denial struct {
	org, budget string
	start       int64 // of the window, in microseconds
}

// NewDenials begins to tell. It outlives ctx and ends by [Denials.Close].
func NewDenials(ctx context.Context, to Exhausted, log *slog.Logger) *Denials {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	d := &Denials{to: to, log: log, queue: make(chan denial, denialBacklog), stop: stop, done: make(chan struct{}), next: map[denial]time.Time{}}
	go d.run(ctx)
	return d
}

// Close ends it; what is not told by then is told by the next denial elsewhere.
func (d *Denials) Close(context.Context) error {
	d.stop()
	<-d.done
	return nil
}

// add notes a denial, in the time of a look into a map. Of a nil Denials it does
// nothing.
func (d *Denials) add(org string, at time.Time, lacks []Lack) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range lacks {
		k := denial{org, l.Budget, l.Start.UnixMicro()}
		if next, ok := d.next[k]; ok && (next.IsZero() || at.Before(next)) {
			continue
		}
		if len(d.next) >= denialWindows {
			clear(d.next) // told once more: nothing comes of that
		}
		select {
		case d.queue <- k:
			d.next[k] = at.Add(denialAgain)
		default:
		}
	}
}

func (d *Denials) run(ctx context.Context) {
	defer close(d.done)
	for {
		select {
		case <-ctx.Done():
			return
		case k := <-d.queue:
			d.tell(ctx, k)
		}
	}
}

func (d *Denials) tell(ctx context.Context, k denial) {
	ctx, cancel := context.WithTimeout(ctx, denialTimeout)
	defer cancel()
	told, err := d.to.Exhausted(ctx, k.org, k.budget, time.UnixMicro(k.start).UTC())
	if err != nil {
		d.log.WarnContext(ctx, "tell of exhausted budget", "budget", k.budget, "error", err)
		return
	}
	if told {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.next[k] = time.Time{}
	}
}
