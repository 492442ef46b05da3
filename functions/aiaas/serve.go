package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aiaas/aiaas/adapters/httpshim"
	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/postgres/embedded"
	"github.com/aiaas/aiaas/adapters/postgres/migrations"
	"github.com/aiaas/aiaas/functions"
	"github.com/aiaas/aiaas/functions/aiaas/client"
	"github.com/aiaas/aiaas/shared/function"
)

// gcPercent trades memory for CPU: the live heap of a gateway is some ten MB, so
// collecting at its double, Go's default, costs much and saves little. GOGC
// overrides it.
const gcPercent = 400

// closeTimeout bounds what is left to do after the last request.
const closeTimeout = 20 * time.Second

func serveCommand() *cobra.Command {
	var only []string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run all functions in one process",
		Long: "serve runs the whole platform. Without DATABASE_URL it starts a PostgreSQL of its own in the data folder.\n" +
			"The first start creates an organization, its keys and the demo model.",
		Args: client.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			chosen, err := choose(only)
			if err != nil {
				return err
			}
			// Libraries that log by themselves tell of every client's mistake.
			slog.SetDefault(slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelError})))
			p := &process{
				out: cmd.OutOrStdout(), log: slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), nil)), getenv: os.Getenv,
				functions: chosen, group: strings.Join(only, ","),
			}
			return p.serve(cmd.Context())
		},
	}
	c.Flags().StringSliceVar(&only, "functions", nil, "serve these functions only, as processes that share the work do; default: all")
	return c
}

// choose takes the functions of these names, in order; all where none is named.
func choose(names []string) ([]function.Entry, error) {
	all := functions.Catalogue()
	if len(names) == 0 {
		return all, nil
	}
	slices.Sort(names)
	var chosen []function.Entry
	for _, name := range slices.Compact(names) {
		i := slices.IndexFunc(all, func(e function.Entry) bool { return e.Spec.Name == name })
		if i < 0 {
			return nil, client.Usage("there is no function %q", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func migrateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database schemas up to date",
		Args:  client.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p := &process{out: cmd.OutOrStdout(), log: slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), nil)), getenv: os.Getenv}
			env := p.env(func(error) {})
			s, err := open.Load(cmd.Context(), env)
			if err != nil {
				return err
			}
			return p.migrate(cmd.Context(), s)
		},
	}
}

// process is one run of the command.
type process struct {
	out    io.Writer // for the person who started it
	log    *slog.Logger
	getenv func(string) string

	functions []function.Entry // that it serves
	group     string           // of the processes that serve the same; "" for all
}

func (p *process) env(fatal func(error)) *function.Env {
	return &function.Env{
		Now: func() time.Time { return time.Now().UTC() }, Log: p.log, Getenv: p.getenv, Fatal: fatal, LocalDisk: true, Background: true,
	}
}

func (p *process) say(format string, args ...any) { _, _ = fmt.Fprintf(p.out, format+"\n", args...) }

// serve runs until ctx ends or the process must not go on.
func (p *process) serve(ctx context.Context) (err error) {
	ctx, again, stopListening := untilSignal(ctx)
	defer stopListening()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	if p.getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	env := p.env(fail)
	s, err := open.Load(ctx, env)
	if err != nil {
		return err
	}
	lock, err := claim(s.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	// Listen early: an address in use is known before anything else is started.
	ln, err := net.Listen("tcp", s.Addr) //nolint:noctx // binding does not block
	if err != nil {
		return fmt.Errorf("listen on AIAAS_ADDR=%s: %w", s.Addr, err)
	}
	defer func() { _ = ln.Close() }() // closed by the server too
	stop, err := p.database(ctx, env, &s, lock, fail)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	return p.run(ctx, env, s, ln, again)
}

// claim makes the data folder and takes it for this process.
func claim(dir string) (*embedded.DirLock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // the database's own user must pass through
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	return embedded.Lock(dir)
}

// database starts the embedded database where no other is set.
func (p *process) database(ctx context.Context, env *function.Env, s *open.Settings, lock *embedded.DirLock, fail func(error)) (stop func() error, err error) {
	if s.DatabaseURL != "" || (s.RouterURL != "" && s.AccountsURL != "" && s.AnalyticsURL != "") {
		return func() error { return nil }, nil
	}
	cache, err := filepath.Abs(filepath.Join(".cache", "postgres"))
	if err != nil {
		return nil, fmt.Errorf("find working folder: %w", err)
	}
	db, err := embedded.Start(ctx, embedded.Config{
		DataDir: s.DataDir, Lock: lock, Search: []string{cache}, Log: p.log,
		// The inbox turns over every second: sweep up more often than once a minute.
		Settings: map[string]string{"autovacuum_naptime": "5s"},
		Progress: func(line string) { p.say("%s", line) },
	})
	if err != nil {
		return nil, err
	}
	s.DatabaseURL = db.URL()
	outer := env.Getenv
	env.Getenv = func(name string) string {
		if name == "DATABASE_URL" {
			return db.URL()
		}
		return outer(name)
	}
	if err := open.Reload(env); err != nil {
		return nil, errors.Join(err, db.Stop(ctx))
	}
	go func() {
		<-db.Done()
		if err := db.Err(); err != nil {
			fail(fmt.Errorf("the embedded database has ended: %w", err))
		}
	}()
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		return db.Stop(ctx)
	}, nil
}

func (p *process) migrate(ctx context.Context, s open.Settings) error {
	for _, service := range migrations.Services() {
		url, err := s.URL(service)
		if err != nil {
			return err
		}
		n, err := migrations.Run(ctx, url, service)
		if err != nil {
			return err
		}
		if n > 0 {
			p.log.InfoContext(ctx, "migrated", "service", service, "migrations", n)
		}
	}
	return nil
}

func (p *process) run(ctx context.Context, env *function.Env, s open.Settings, ln net.Listener, again <-chan struct{}) (err error) {
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err = errors.Join(err, env.Close(ctx))
	}()
	baseURL := "http://" + reachable(ln.Addr())
	if err := p.publish(env, s, baseURL); err != nil {
		return err
	}
	setup, err := p.prepare(ctx, env, s, baseURL)
	if err != nil {
		return err
	}
	server, err := httpshim.New(ctx, env, p.functions)
	if err != nil {
		return err
	}
	leader, err := open.Leader(ctx, env, p.group)
	if err != nil {
		return err
	}
	setup.welcome()
	err = server.Serve(ctx, ln, httpshim.Options{
		Lead: leader.Lead, Grace: s.Grace, Hurry: again,
		Pause: func() time.Duration {
			if errors.Is(context.Cause(ctx), errTerminated) {
				return s.DrainDelay
			}
			return 0 // a person waits, or the process must not go on
		},
	})
	if cause := context.Cause(ctx); !errors.Is(cause, errTerminated) && !errors.Is(cause, errInterrupted) {
		err = errors.Join(err, cause)
	}
	if err == nil {
		p.say("Stopped. The data is in %s.", absolute(s.DataDir))
	}
	return err
}

// publish makes links lead to where the process listens, unless another address
// was set: AIAAS_ADDR may leave the port or the interface open.
func (p *process) publish(env *function.Env, s open.Settings, baseURL string) error {
	env.Say = func(line string) { p.say("%s", line) }
	if s.PublicURL != "" {
		return nil
	}
	outer := env.Getenv
	env.Getenv = func(name string) string {
		if name == "AIAAS_PUBLIC_URL" {
			return baseURL
		}
		return outer(name)
	}
	return open.Reload(env)
}

// prepare brings the database to the point where a request can be served.
func (p *process) prepare(ctx context.Context, env *function.Env, s open.Settings, baseURL string) (*setup, error) {
	if err := p.migrate(ctx, s); err != nil {
		return nil, err
	}
	setup := &setup{process: p, env: env, settings: s, baseURL: baseURL}
	return setup, setup.run(ctx)
}

// reachable is an address that a client on this machine can use.
func reachable(a net.Addr) string {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return a.String()
	}
	if t.IP.IsUnspecified() {
		return fmt.Sprintf("127.0.0.1:%d", t.Port)
	}
	return t.String()
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
