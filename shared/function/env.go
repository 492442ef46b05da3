package function

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Env is what the functions of one process share: clock, logger, settings, and
// everything that is opened once and used by several (connection pools, the
// limiter, the recorder of usage events).
//
// Shared things are kept by key in a registry instead of in typed fields: so a
// process links and opens only what its own functions ask for, and this package
// stays free of SDK types. The adapter package "open" has the typed getters.
type Env struct {
	Now    func() time.Time         // the clock; UTC
	Log    *slog.Logger             // structured, never given a secret
	Getenv func(name string) string // settings, as the process got them
	// LocalDisk says that the disk outlives the host's processes: what is written to
	// it can be relied on. It is false where a host may vanish with its disk.
	LocalDisk bool
	// Background says that work may go on after the answer that announced it. It is
	// false where a host may freeze the process between two calls.
	Background bool
	// Say tells a line to the person who started the process; nil where there is none.
	Say func(line string)
	// Fatal is called when the process must not go on (another process has taken
	// over its database). The host drains and exits; it may be called repeatedly.
	Fatal func(err error)

	mu       sync.Mutex
	opened   map[string]*shared
	order    []*shared
	closed   bool
	draining bool
	checks   []func(context.Context) error
	work     []Closer
}

// ErrDraining is why a process that is shutting down is not ready.
var ErrDraining = errors.New("the process is shutting down")

// Drain makes the process not ready: front doors send it nothing more, while it
// finishes what it has.
func (e *Env) Drain() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.draining = true
}

// AddCheck adds a reason for which the process may not be ready.
func (e *Env) AddCheck(check func(context.Context) error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.checks = append(e.checks, check)
}

// Check returns why the process is not ready, or nil.
func (e *Env) Check(ctx context.Context) error {
	e.mu.Lock()
	checks, draining := slices.Clone(e.checks), e.draining
	e.mu.Unlock()
	if draining {
		return ErrDraining
	}
	for _, check := range checks {
		if err := check(ctx); err != nil {
			return err
		}
	}
	return nil
}

// AddWork adds work that goes on beside the calls: finish waits for it until the
// context ends, stops what is left, and lets nothing new begin.
func (e *Env) AddWork(finish Closer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.work = append(e.work, finish)
}

// Finish waits for the work that goes on beside the calls. Hosts call it when they
// end, within their grace and before [Env.Close].
func (e *Env) Finish(ctx context.Context) error {
	e.mu.Lock()
	work := slices.Clone(e.work)
	e.mu.Unlock()
	errs := make([]error, len(work))
	var group sync.WaitGroup
	for i, finish := range work {
		group.Go(func() { errs[i] = finish(ctx) })
	}
	group.Wait()
	return errors.Join(errs...)
}

type shared struct {
	key   string
	once  sync.Once
	value any
	err   error
	close Closer
}

// Closer ends a shared thing: it flushes what is pending and frees what is held,
// within the context's deadline.
type Closer func(ctx context.Context) error

// ErrClosed is returned for things asked of an Env that was closed.
var ErrClosed = errors.New("environment is closed")

// Shared returns what stands under key, calling open for the first caller only;
// others wait for it. An error is not kept: the next caller tries again. The
// Closer may be nil. A key always holds one type.
func Shared[T any](ctx context.Context, env *Env, key string, open func(context.Context) (T, Closer, error)) (T, error) {
	var zero T
	slot, err := env.slot(key)
	if err != nil {
		return zero, err
	}
	slot.once.Do(func() {
		var v T
		v, slot.close, slot.err = open(ctx)
		slot.value = v
		if slot.err == nil {
			slot.err = env.keep(ctx, slot)
		}
	})
	if slot.err != nil {
		env.forget(slot)
		return zero, fmt.Errorf("open %s: %w", key, slot.err)
	}
	v, ok := slot.value.(T)
	if !ok {
		return zero, fmt.Errorf("open %s: holds %T, asked for %T", key, slot.value, zero)
	}
	return v, nil
}

func (e *Env) slot(key string) (*shared, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	if e.opened == nil {
		e.opened = map[string]*shared{}
	}
	s, ok := e.opened[key]
	if !ok {
		s = &shared{key: key}
		e.opened[key] = s
	}
	return s, nil
}

// keep notes the order in which things came up. What comes up after the Env was
// closed is closed at once.
func (e *Env) keep(ctx context.Context, s *shared) error {
	e.mu.Lock()
	closed := e.closed
	if !closed {
		e.order = append(e.order, s)
	}
	e.mu.Unlock()
	if !closed {
		return nil
	}
	if s.close != nil {
		return errors.Join(ErrClosed, s.close(ctx))
	}
	return ErrClosed
}

// Forget drops what stands under key without closing it: the next to ask opens it
// anew. It is for values that are not resources.
func Forget(e *Env, key string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.opened, key)
}

func (e *Env) forget(s *shared) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.opened[s.key] == s {
		delete(e.opened, s.key)
	}
}

// Close closes what was opened, the last first, and returns all their errors.
// It is safe to call twice.
func (e *Env) Close(ctx context.Context) error {
	e.mu.Lock()
	order := e.order
	e.order, e.closed = nil, true
	e.mu.Unlock()
	var errs []error
	for _, o := range slices.Backward(order) {
		if o.close == nil {
			continue
		}
		if err := o.close(ctx); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", o.key, err))
		}
	}
	return errors.Join(errs...)
}
