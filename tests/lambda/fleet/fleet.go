// Package fleet runs the whole catalogue as it is deployed on AWS, on one
// machine: every function's bootstrap as a process behind a Lambda of its own,
// and one API Gateway in front of all of them.
//
// It owns where what runs. What is asked, and what must come back, is its
// callers': tests and measurements.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"github.com/aiaas/aiaas/functions"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/tests/runtimeapi"
)

// Config says what a fleet runs.
type Config struct {
	Dir    string    // holds <function>/bootstrap for each function
	Env    []string  // "NAME=value", given to every process
	Output io.Writer // takes the logs of all; it must bear concurrent writes
	// Cold names functions for which no process is started: their calls wait
	// until Start was called.
	Cold []string
}

// Fleet is a running catalogue.
type Fleet struct {
	URL string // of the gateway, without a slash at the end

	cfg     Config
	lambdas map[string]*runtimeapi.Server
	http    *http.Server
}

// Start starts a process for every function, and the gateway on a loopback port.
// Close it. The processes end with ctx at the latest.
func Start(ctx context.Context, cfg Config) (*Fleet, error) {
	f := &Fleet{cfg: cfg, lambdas: map[string]*runtimeapi.Server{}}
	gateway := runtimeapi.NewGateway()
	for _, e := range functions.Catalogue() {
		f.lambdas[e.Spec.Name] = lambda(e.Spec)
		gateway.Mount(e.Spec, f.lambdas[e.Spec.Name])
		if slices.Contains(cfg.Cold, e.Spec.Name) {
			continue
		}
		if _, err := f.Start(ctx, e.Spec.Name); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for the gateway: %w", err), f.Close())
	}
	f.URL = "http://" + ln.Addr().String()
	f.http = &http.Server{Handler: gateway, ReadHeaderTimeout: 5 * time.Second}
	go f.http.Serve(ln) //nolint:errcheck // ends with ErrServerClosed
	return f, nil
}

func lambda(spec function.Spec) *runtimeapi.Server {
	return runtimeapi.New(runtimeapi.Config{Name: spec.Name, MemoryMiB: spec.MemoryMiB, Timeout: spec.Timeout})
}

// Lambda is a function's queue and sandboxes.
func (f *Fleet) Lambda(name string) *runtimeapi.Server { return f.lambdas[name] }

// Start starts one more process of a function.
func (f *Fleet) Start(ctx context.Context, name string) (*runtimeapi.Sandbox, error) {
	boot := runtimeapi.Bootstrap{Path: filepath.Join(f.cfg.Dir, name, "bootstrap"), Env: f.cfg.Env, Output: f.cfg.Output}
	s, err := f.lambdas[name].Start(ctx, boot)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return s, nil
}

// Close kills all processes and closes the gateway.
func (f *Fleet) Close() error {
	var errs []error
	for _, s := range f.lambdas {
		errs = append(errs, s.Close())
	}
	if f.http != nil {
		errs = append(errs, f.http.Close())
	}
	return errors.Join(errs...)
}
