package audit

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/aiaas/aiaas/shared/fault"
)

// The bounds of what one process verifies at callers' request: a verification reads
// a whole chain, and other callers want the database too.
const (
	verifyAtOnce  = 2                // verifications, each of another organisation
	verifyWaiting = 16               // organisations that may wait for their turn
	verifyWait    = 20 * time.Second // how long they wait at most
	verifyAfter   = 5 * time.Second  // when to ask again
)

// flights lets who asks for the same verification at the same time share one, and
// bounds how many there are. The zero value is ready for use.
type flights struct {
	mu      sync.Mutex
	by      map[string]*flight
	turns   chan struct{}
	waiting int
}

// flight is one verification, for all who wait for it.
type flight struct {
	done   chan struct{}
	cancel context.CancelFunc
	asking int // guarded by flights.mu
	report Report
	err    error
}

// verify returns the outcome of a verification of an organisation that runs already,
// or of a new one. Unavailable: too many others wait. A verification for which
// nobody waits any more is broken off.
func (f *flights) verify(ctx context.Context, org string, verify func(context.Context, string) (Report, error)) (Report, error) {
	fl := f.join(ctx, org, verify)
	if fl == nil {
		return Report{}, busy()
	}
	select {
	case <-fl.done:
		f.leave(org, fl)
		return fl.report, fl.err
	case <-ctx.Done():
		f.leave(org, fl)
		return Report{}, fault.Wrap(fault.Unavailable, "wait for the verification", context.Cause(ctx))
	}
}

func busy() error {
	return fault.New(fault.Unavailable, "other audits are being verified").After(verifyAfter)
}

func (f *flights) join(ctx context.Context, org string, verify func(context.Context, string) (Report, error)) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.by == nil {
		f.by, f.turns = map[string]*flight{}, make(chan struct{}, verifyAtOnce)
	}
	if fl := f.by[org]; fl != nil {
		fl.asking++
		return fl
	}
	if f.waiting >= verifyWaiting {
		return nil
	}
	f.waiting++
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	fl := &flight{done: make(chan struct{}), cancel: cancel, asking: 1}
	f.by[org] = fl
	go func() {
		defer close(fl.done)
		fl.report, fl.err = f.fly(work, org, verify)
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.by[org] == fl { // who comes from now on wants a new one
			delete(f.by, org)
		}
	}()
	return fl
}

// fly waits for a turn and verifies.
func (f *flights) fly(ctx context.Context, org string, verify func(context.Context, string) (Report, error)) (report Report, err error) {
	wait, stop := context.WithTimeout(ctx, verifyWait)
	defer stop()
	select {
	case f.turns <- struct{}{}:
		defer func() { <-f.turns }()
	case <-wait.Done():
		err = busy()
	}
	f.mu.Lock()
	f.waiting--
	f.mu.Unlock()
	if err != nil {
		return Report{}, err
	}
	defer func() {
		if p := recover(); p != nil { // there is no caller on this goroutine to recover
			err = fault.Wrap(fault.Internal, "verify", fmt.Errorf("it panicked: %v", p))
		}
	}()
	return verify(ctx, org)
}

func (f *flights) leave(org string, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl.asking--; fl.asking == 0 {
		fl.cancel()
		if f.by[org] == fl {
			delete(f.by, org)
		}
	}
}
