// Package httpshim is the host of servers: it mounts the functions of a catalogue
// in one process, answers plain HTTP, and runs their jobs by schedule.
//
// It knows functions by their Spec alone. The mux routes by what it matched, and
// hands a request only to the function whose route that is.
//
// Jobs that belong to each process run in every one, the others in the process
// that leads (see [Lead]): there each runs once when the lead is won, so that what
// nobody did meanwhile is made up for, and then at its distance. A job never
// overlaps with itself in one process, and ticks that it missed are not made up.
//
// Schedules are tickers, not gocron: all that a Spec says is a distance. gocron
// would bring cron expressions that nothing uses, and its elector is asked before
// a run and can't stop one when the lead is lost; the part that is hard would
// still be ours.
package httpshim

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
)

// Server serves a catalogue.
type Server struct {
	env     *function.Env
	mux     *http.ServeMux
	jobs    []job
	methods []string // that some route has
	active  sync.WaitGroup
	running atomic.Int64 // requests
	ending  atomic.Bool  // connections are to be closed after their answer
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
		s.jobs = append(s.jobs, job{Schedule: sched, function: spec.Name, timeout: spec.JobTimeout(sched.Job), run: run, trouble: &trouble{}})
	}
	if f.Ready != nil {
		s.env.AddCheck(f.Ready)
	}
	return nil
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.active.Add(1)
	s.running.Add(1)
	defer func() {
		s.running.Add(-1)
		s.active.Done()
	}()
	if s.ending.Load() {
		w.Header().Set("Connection", "close")
	}
	s.mux.ServeHTTP(w, r)
}

// noRoute answers what no route matched: 405 where another method has one.
func (s *Server) noRoute(w http.ResponseWriter, r *http.Request) {
	// The server reads what it can of a body that nobody wants: not for ever.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	requestID := id.New(id.Request)
	w.Header().Set("X-Request-Id", requestID)
	w.Header().Set("X-Content-Type-Options", "nosniff") // as the answers of routes have it
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
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
