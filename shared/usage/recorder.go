package usage

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Sink makes events durable. Recording an event again must do no harm: after an
// error nobody knows whether it was recorded.
type Sink interface {
	Record(ctx context.Context, events []Recorded) error
}

// ErrFenced is returned by a sink when another process has taken over the
// database. It is final: this process must stop.
var ErrFenced = errors.New("another process has taken over the database")

// ErrNotRecorded means that no sink took the event. The answer must not be
// finished; the event is tried again in the background.
var ErrNotRecorded = errors.New("usage could not be recorded")

const (
	flushTimeout = 5 * time.Second // for one sink to take one batch
	maxBatch     = 512
	retryEvery   = time.Second
)

// Recorder makes events durable, many requests' together: while one batch is
// being written, the next gathers. It asks its sinks in order.
type Recorder struct {
	sinks  []Sink
	log    *slog.Logger
	booked func() // told after each batch that is durable
	fatal  func(error)

	mu       sync.Mutex
	pending  []*waiting
	flushing bool
	stuck    []Recorded // taken by no sink; retried
	retrying bool
	closed   bool
	down     atomic.Bool // stuck is not empty: stop admitting
	running  sync.WaitGroup
	stop     chan struct{}
}

type waiting struct {
	event Recorded
	done  chan error
}

// RecorderConfig is what a recorder is made from.
type RecorderConfig struct {
	Sinks []Sink // in order of preference; at least one
	Log   *slog.Logger
	// Durable is called, if set, after each durable batch. It must not block.
	Durable func()
	// Fatal is called when a sink is fenced.
	Fatal func(error)
}

// NewRecorder makes a recorder.
func NewRecorder(c RecorderConfig) *Recorder {
	if c.Durable == nil {
		c.Durable = func() {}
	}
	return &Recorder{sinks: c.Sinks, log: c.Log, booked: c.Durable, fatal: c.Fatal, stop: make(chan struct{})}
}

// Record returns once the event is durable. It does not end early when the
// caller's context does: an event is never given up half-way.
func (r *Recorder) Record(e Recorded) error {
	w := &waiting{event: e, done: make(chan error, 1)}
	r.mu.Lock()
	r.pending = append(r.pending, w)
	if !r.flushing {
		r.flushing = true
		r.running.Add(1)
		go r.flush()
	}
	r.mu.Unlock()
	return <-w.done
}

// Err is not nil while events wait that no sink takes: then nothing new may be
// admitted, for it could not be recorded either.
func (r *Recorder) Err() error {
	if r.down.Load() {
		return ErrNotRecorded
	}
	return nil
}

// flush writes batches until nothing is pending.
func (r *Recorder) flush() {
	defer r.running.Done()
	for {
		r.mu.Lock()
		n := min(len(r.pending), maxBatch)
		if n == 0 {
			r.flushing = false
			r.mu.Unlock()
			return
		}
		batch := r.pending[:n:n]
		r.pending = r.pending[n:]
		if len(r.pending) == 0 {
			r.pending = nil
		}
		r.mu.Unlock()

		events := make([]Recorded, n)
		for i, w := range batch {
			events[i] = w.event
		}
		err := r.write(events)
		if err != nil {
			r.keep(events)
		}
		for _, w := range batch {
			w.done <- err
		}
	}
}

func (r *Recorder) write(events []Recorded) error {
	var errs []error
	for _, s := range r.sinks {
		err := r.ask(s, events)
		if err == nil {
			r.booked()
			return nil
		}
		if errors.Is(err, ErrFenced) {
			r.fatal(err)
			return err
		}
		r.log.Error("record usage", "events", len(events), "error", err)
		errs = append(errs, err)
	}
	return errors.Join(append(errs, ErrNotRecorded)...)
}

func (r *Recorder) ask(s Sink, events []Recorded) error {
	//nolint:forbidigo // a batch belongs to many requests and outlives each of them
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	return s.Record(ctx, events)
}

// keep holds on to events that no sink took, and tries again until one does.
func (r *Recorder) keep(events []Recorded) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stuck = append(r.stuck, events...)
	r.down.Store(true)
	if !r.retrying && !r.closed {
		r.retrying = true
		r.running.Add(1)
		go r.retry()
	}
}

func (r *Recorder) retry() {
	defer r.running.Done()
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-tick.C:
		}
		if r.retryStuck() {
			return
		}
	}
}

// retryStuck reports whether nothing is stuck any more.
func (r *Recorder) retryStuck() bool {
	r.mu.Lock()
	batch := r.stuck[:min(len(r.stuck), maxBatch)]
	r.mu.Unlock()
	if len(batch) > 0 {
		if err := r.write(batch); err != nil {
			return false
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stuck = r.stuck[len(batch):]
	if len(r.stuck) > 0 {
		return false
	}
	r.stuck, r.retrying = nil, false
	r.down.Store(false)
	return true
}

// Close waits for what is being written and makes one last try for what is
// stuck. The caller has stopped admitting before.
func (r *Recorder) Close(ctx context.Context) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.mu.Unlock()
	close(r.stop)
	done := make(chan struct{})
	go func() { r.running.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if len(r.stuck) > 0 && !r.retryStuck() { //nolint:contextcheck // bounded by flushTimeout, whatever is left of ctx
		return ErrNotRecorded
	}
	return nil
}
