package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/aiaas/aiaas/adapters/demo"
	"github.com/aiaas/aiaas/adapters/postgres/embedded"
	"github.com/aiaas/aiaas/adapters/postgres/migrations"
	"github.com/aiaas/aiaas/functions"
	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/tests/lambda/fleet"
	"github.com/aiaas/aiaas/tests/runtimeapi"
)

// stage is what the measured processes need around them.
type stage struct {
	functions []*measured
	fleet     *fleet.Fleet
	hello     *runtimeapi.Server
	keys      apikey.Credentials
	closers   []func() error // the last first
}

// measured is one bootstrap and what was seen of it.
type measured struct {
	name   string
	path   string // of the binary
	lambda *runtimeapi.Server
	boot   runtimeapi.Bootstrap
	call   call
	// one for each run
	polled, answered, cpu []time.Duration
}

func (s *stage) onClose(f func() error) { s.closers = append(s.closers, f) }

func (s *stage) close() error {
	var errs []error
	for _, end := range slices.Backward(s.closers) {
		errs = append(errs, end())
	}
	return errors.Join(errs...)
}

func setUp(ctx context.Context, dir string) (s *stage, err error) {
	s = &stage{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	tmp, err := os.MkdirTemp("", "coldstart")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	s.onClose(func() error { return os.RemoveAll(tmp) })
	// The database's own user must pass through.
	if err := os.Chmod(tmp, 0o755); err != nil {
		return nil, fmt.Errorf("open folder: %w", err)
	}
	database, err := s.database(ctx, tmp)
	if err != nil {
		return nil, err
	}
	if s.keys, err = fleet.Found(ctx, database, time.Now().UTC()); err != nil {
		return nil, err
	}
	env := fleet.Environment(database, tmp)
	if err := s.startFleet(ctx, dir, env); err != nil {
		return nil, err
	}
	return s, s.list(ctx, dir, tmp, env)
}

// database starts a PostgreSQL with its ordinary settings: what a commit costs
// belongs to a first response.
func (s *stage) database(ctx context.Context, tmp string) (string, error) {
	db, err := embedded.Start(ctx, embedded.Config{DataDir: filepath.Join(tmp, "data"), Elsewhere: []string{tmp}})
	if err != nil {
		return "", err
	}
	s.onClose(func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		return db.Stop(ctx)
	})
	for _, service := range migrations.Services() {
		if _, err := migrations.Run(ctx, db.URL(), service); err != nil {
			return "", err
		}
	}
	return db.URL(), nil
}

// startFleet mounts all functions; a process is started for the one that adds the
// model, and ended again.
func (s *stage) startFleet(ctx context.Context, dir string, env []string) error {
	backend := demo.New(demo.Config{Log: slog.New(slog.DiscardHandler)})
	base, err := backend.Start(ctx, "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("start backend: %w", err)
	}
	s.onClose(func() error { return backend.Close(context.WithoutCancel(ctx)) })
	var cold []string
	for _, e := range functions.Catalogue() {
		cold = append(cold, e.Spec.Name)
	}
	s.fleet, err = fleet.Start(ctx, fleet.Config{Dir: dir, Env: env, Cold: cold})
	if err != nil {
		return err
	}
	s.onClose(s.fleet.Close)
	keeper, err := s.fleet.Start(ctx, "models")
	if err != nil {
		return err
	}
	return errors.Join(s.fleet.AddModel(ctx, s.keys.PlatformKey, model, base), keeper.Kill())
}

// list lists hello and all functions.
func (s *stage) list(ctx context.Context, dir, tmp string, env []string) error {
	hello := filepath.Join(tmp, "hello")
	build := exec.CommandContext(ctx, "go", "build", "-tags", "lambda.norpc,grpcnotrace", "-trimpath", "-ldflags", "-s -w",
		"-o", hello, "github.com/aiaas/aiaas/tests/bench/coldstart/hello")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build hello: %w\n%s", err, out)
	}
	s.hello = runtimeapi.New(runtimeapi.Config{Name: floor})
	s.onClose(s.hello.Close)
	s.functions = []*measured{{name: floor, lambda: s.hello, boot: runtimeapi.Bootstrap{Path: hello, Env: env}, path: hello, call: sayHello}}
	known := s.calls()
	for _, e := range functions.Catalogue() {
		name := e.Spec.Name
		c, ok := known[name]
		if !ok {
			return fmt.Errorf("no first request is known for %s: add one to calls", name)
		}
		path := filepath.Join(dir, name, "bootstrap")
		s.functions = append(s.functions, &measured{
			name: name, path: path, lambda: s.fleet.Lambda(name), boot: runtimeapi.Bootstrap{Path: path, Env: env}, call: c,
		})
	}
	return nil
}

// measure runs one cold start.
func (s *stage) measure(ctx context.Context, f *measured) (err error) {
	var log bytes.Buffer
	boot := f.boot
	boot.Output = &log
	box, err := f.lambda.Start(ctx, boot)
	if err != nil {
		return err
	}
	err = f.call(ctx, s)
	if err := errors.Join(err, box.Kill()); err != nil {
		return fmt.Errorf("%w\n%s", err, log.String())
	}
	polled, ok := box.At(runtimeapi.Polled)
	answered, ok2 := box.At(runtimeapi.Answered)
	if !ok || !ok2 {
		return errors.New("the process did not answer")
	}
	f.polled, f.answered, f.cpu = append(f.polled, polled), append(f.answered, answered), append(f.cpu, box.CPU())
	return nil
}

// call makes a bootstrap's first request and checks its answer.
type call func(ctx context.Context, s *stage) error

const model = "bench"

// calls has the first request of every function: one that does what the function
// is for.
func (s *stage) calls() map[string]call {
	chat := `{"model":"` + model + `","messages":[{"role":"user","content":"Hello"}]}`
	return map[string]call{
		"inference":     http1("POST", "/v1/chat/completions", s.keys.APIKey, chat),
		"models":        http1("GET", "/v1/price-books/default/prices?model="+model, s.keys.PlatformKey, ""),
		"organizations": http1("GET", "/v1/organization", s.keys.AdminKey, ""),
		"keys":          http1("GET", "/v1/api-keys", s.keys.AdminKey, ""),
		"signin":        http1("POST", "/v1/sign-in/passkey/options", apikey.Secret{}, "{}"),
		"identity":      http1("GET", "/v1/members", s.keys.AdminKey, ""),
		"budgets":       http1("GET", "/v1/budgets", s.keys.AdminKey, ""),
		"analytics":     http1("GET", "/v1/usage", s.keys.AdminKey, ""),
		"invoices":      http1("GET", "/v1/invoices", s.keys.AdminKey, ""),
		"requests":      http1("GET", "/v1/requests", s.keys.AdminKey, ""),
		"audit":         http1("GET", "/v1/audit", s.keys.AdminKey, ""),
		"notifications": http1("GET", "/v1/webhooks", s.keys.AdminKey, ""),
		"portal":        http1("GET", "/sign-in", apikey.Secret{}, ""),
		"oauth":         http1("GET", "/oauth/jwks", apikey.Secret{}, ""),
		"operations":    http1("GET", "/readyz", apikey.Secret{}, ""),
		"metering":      drain,
	}
}

func http1(method, target string, key apikey.Secret, body string) call {
	return func(ctx context.Context, s *stage) error {
		req, err := http.NewRequestWithContext(ctx, method, s.fleet.URL+target, bytes.NewReader([]byte(body)))
		if err != nil {
			return fmt.Errorf("make request: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+key.Reveal())
		if body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return fmt.Errorf("send request: %w", err)
		}
		defer resp.Body.Close() //nolint:errcheck // it was read
		answer, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			return errors.Join(fmt.Errorf("status %d: %.300s", resp.StatusCode, answer), err)
		}
		return nil
	}
}

// drain books what inference has recorded in its turn.
func drain(ctx context.Context, s *stage) error {
	var done struct{ Job string }
	return invoke(ctx, s.fleet.Lambda("metering"), json.RawMessage(`{"job":"drain"}`), &done)
}

func sayHello(ctx context.Context, s *stage) error {
	var answer struct{ Body string }
	return invoke(ctx, s.hello, json.RawMessage(`{"httpMethod":"GET","path":"/"}`), &answer)
}

func invoke(ctx context.Context, to *runtimeapi.Server, event, answer any) error {
	resp, err := to.Invoke(ctx, event)
	if err != nil {
		return fmt.Errorf("invoke: %w", err)
	}
	return resp.JSON(answer)
}
