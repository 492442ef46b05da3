package httpshim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	readHeaderTimeout = 10 * time.Second
	bodyTimeout       = 20 * time.Second // of a body that no route takes
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	// lastTimeout bounds the jobs that run once more at the end, of a database that
	// is silent.
	lastTimeout = 10 * time.Second
)

// Options say how a server runs and ends.
type Options struct {
	// Lead decides where the leader's jobs run; nil: in this process.
	Lead Lead
	// Pause is how long, once the server is to end and is not ready any more, it
	// goes on as before: front doors need time to notice. It is asked when the end
	// begins, and at most half of the grace. nil: no pause.
	Pause func() time.Duration
	// Grace is how long the end may take: the pause, then running requests and jobs
	// started by hand, which are cut as long before its end as settling takes.
	Grace time.Duration
	// Hurry ends the pause and the grace at once. nil: nobody does.
	Hurry <-chan struct{}
}

// ErrCut is returned by Serve when requests did not end in time.
var ErrCut = errors.New("requests were still running")

// Serve answers on the listener and runs the jobs until ctx ends. Then it ends in
// this order: not ready, but serving, for the pause; the listener closes; running
// requests, and jobs started by hand, finish within the grace; what is left is
// cut, settles and records; the jobs stop; and those of each process run once
// more, so that what was recorded is booked.
func (s *Server) Serve(ctx context.Context, ln net.Listener, o Options) error {
	if o.Lead == nil {
		o.Lead = alone
	}
	base := context.WithoutCancel(ctx)
	jobs, stopJobs := context.WithCancelCause(base)
	defer stopJobs(nil)
	scheduled := make(chan struct{})
	go func() { defer close(scheduled); s.schedule(jobs, o.Lead) }()
	srv := &http.Server{
		Handler: s, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:    slog.NewLogLogger(s.env.Log.Handler(), slog.LevelDebug), // clients' broken connections
		BaseContext: func(net.Listener) context.Context { return base },
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		err = s.end(base, srv, o)
	}
	stopJobs(errEnding)
	<-scheduled
	last, cancel := context.WithTimeout(base, lastTimeout)
	defer cancel()
	s.last(last)
	return err
}

// end lets what runs finish, cuts what does not, and waits until that has settled.
func (s *Server) end(base context.Context, srv *http.Server, o Options) error {
	grace, cancel := context.WithTimeout(base, o.Grace-margin(o.Grace))
	defer cancel()
	late := fmt.Errorf("%w after %s", ErrCut, (o.Grace - margin(o.Grace)).Round(time.Millisecond))
	go func() {
		select {
		case <-o.Hurry:
			cancel()
		case <-grace.Done():
		}
	}()
	s.ending.Store(true)
	s.env.Drain()
	if o.Pause != nil {
		wait(grace, min(o.Pause(), o.Grace/2))
	}
	finished := make(chan error, 1)
	go func() { finished <- s.env.Finish(grace) }()
	err := s.shutdown(grace, srv, late)
	s.active.Wait()
	return errors.Join(err, <-finished)
}

// margin is the part of the grace that is kept for the time after the cut: what was
// cut settles and records, and jobs and pools end.
func margin(grace time.Duration) time.Duration {
	const share, most = 3, 5 * time.Second
	return min(grace/share, most)
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (s *Server) shutdown(grace context.Context, srv *http.Server, cut error) error {
	err := srv.Shutdown(grace)
	switch {
	case err == nil:
		return nil
	case grace.Err() != nil && s.running.Load() == 0: // connections that are a moment from idle
		return closed(srv.Close())
	case grace.Err() != nil:
		if errors.Is(err, context.Canceled) {
			cut = fmt.Errorf("%w when the process was told again to end", ErrCut)
		}
		// Cut connections cancel their requests, which settle what was received.
		return errors.Join(cut, srv.Close())
	}
	return fmt.Errorf("shut down: %w", err)
}

func closed(err error) error {
	if err != nil {
		return fmt.Errorf("close connections: %w", err)
	}
	return nil
}
