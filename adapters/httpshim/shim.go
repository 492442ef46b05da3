// Package httpshim is the host of servers: it mounts the functions of a catalogue
// in one process, answers plain HTTP, and runs their jobs by schedule.
//
// It knows functions by their Spec alone. The mux routes by what it matched, and
// hands a request only to the function whose route that is.
package httpshim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
)

const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	jobTimeout        = 5 * time.Minute
)

// Server serves a catalogue.
type Server struct {
	env     *function.Env
	mux     *http.ServeMux
	jobs    []job
	methods []string // that some route has
	active  sync.WaitGroup
}

type job struct {
	function string
	name     string
	every    time.Duration
	run      function.Job
}

// New wires all functions of the catalogue and mounts their routes.
func New(ctx context.Context, env *function.Env, catalogue []function.Entry) (*Server, error) {
	s := &Server{env: env, mux: http.NewServeMux()}
	for _, entry := range catalogue {
		f, err := entry.Wire(ctx, env)
		if err != nil {
			return nil, fmt.Errorf("wire %s: %w", entry.Spec.Name, err)
		}
		if err := s.mount(entry.Spec, f); err != nil {
			return nil, err
		}
	}
	s.mux.HandleFunc("/", s.noRoute)
	return s, nil
}

func (s *Server) mount(spec function.Spec, f function.Function) error {
	if len(spec.Routes) > 0 && f.HTTP == nil {
		return fmt.Errorf("function %s has routes but no handler", spec.Name)
	}
	for _, r := range spec.Routes {
		s.mux.Handle(r.Pattern(), f.HTTP)
		if !slices.Contains(s.methods, r.Method) {
			s.methods = append(s.methods, r.Method)
		}
	}
	for _, sched := range spec.Schedules {
		run, ok := f.Jobs[sched.Job]
		if !ok {
			return fmt.Errorf("function %s has no job %q", spec.Name, sched.Job)
		}
		s.jobs = append(s.jobs, job{function: spec.Name, name: sched.Job, every: sched.Every, run: run})
	}
	if f.Ready != nil {
		s.env.AddCheck(f.Ready)
	}
	return nil
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.active.Add(1)
	defer s.active.Done()
	s.mux.ServeHTTP(w, r)
}

// noRoute answers what no route matched: 405 where another method has one.
func (s *Server) noRoute(w http.ResponseWriter, r *http.Request) {
	requestID := id.New(id.Request)
	w.Header().Set("X-Request-Id", requestID)
	var allow []string
	for _, m := range s.methods {
		probe := &http.Request{Method: m, URL: r.URL, Host: r.Host}
		if _, pattern := s.mux.Handler(probe); pattern != "/" && pattern != "" {
			allow = append(allow, m)
		}
	}
	if len(allow) == 0 {
		fault.Write(w, r, requestID, fault.New(fault.NotFound, "there is nothing at this address"), true)
		return
	}
	w.Header().Set("Allow", strings.Join(allow, ", "))
	fault.Write(w, r, requestID, fault.New(fault.Method, "this address takes %s", strings.Join(allow, ", ")), true)
}

// Serve answers on the listener and runs the jobs until ctx ends. Then it drains:
// not ready first, running requests finish within grace, what is left is cut, and
// at last the jobs stop, so that what was recorded is booked.
func (s *Server) Serve(ctx context.Context, ln net.Listener, grace time.Duration) error {
	base := context.WithoutCancel(ctx)
	jobs, stopJobs := context.WithCancel(base)
	defer stopJobs()
	var running sync.WaitGroup
	for _, j := range s.jobs {
		running.Go(func() { s.repeat(jobs, j) })
	}
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
		s.env.Drain()
		err = shutdown(base, srv, grace)
		s.active.Wait() // those whose connection was cut settle and record
	}
	stopJobs()
	running.Wait()
	s.last(base, grace)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func shutdown(base context.Context, srv *http.Server, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(base, grace)
	defer cancel()
	err := srv.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		// Cut connections cancel their requests, which settle what was received.
		return errors.Join(fmt.Errorf("requests were still running after %s", grace), srv.Close())
	}
	if err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	return nil
}

// last runs each job once more, so that nothing waits for the next start.
func (s *Server) last(base context.Context, grace time.Duration) {
	ctx, cancel := context.WithTimeout(base, grace)
	defer cancel()
	for _, j := range s.jobs {
		s.runOnce(ctx, j)
	}
}

// repeat runs a job again and again, never twice at once.
func (s *Server) repeat(ctx context.Context, j job) {
	tick := time.NewTicker(j.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.runOnce(ctx, j)
		}
	}
}

func (s *Server) runOnce(ctx context.Context, j job) {
	ctx, cancel := context.WithTimeout(ctx, jobTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			s.env.Log.ErrorContext(ctx, "job panicked", "function", j.function, "job", j.name, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	if _, err := j.run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		s.env.Log.ErrorContext(ctx, "job failed", "function", j.function, "job", j.name, "error", err)
	}
}
