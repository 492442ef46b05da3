//go:build linux || darwin

package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// PostgreSQL's error codes that a start meets.
const (
	stateStarting   = "57P03" // cannot_connect_now
	stateNoDatabase = "3D000" // invalid_catalog_name
)

// killAfter is how long an immediate shutdown may take before the server is
// killed; PostgreSQL itself kills its children after 5 s.
const killAfter = 10 * time.Second

// Server is a running PostgreSQL. Its methods may be called from anywhere.
type Server struct {
	cluster  *cluster
	cmd      *exec.Cmd
	logPath  string
	logStart int64 // where this run's messages begin, bytes

	stopping atomic.Bool
	done     chan struct{}
	err      error // written before done is closed
	release  sync.Once
}

// Start returns a server that answers, with the database [Database] in it. It
// makes what is missing, and cleans up after a command that was killed. ctx
// bounds the start only: the server runs until Stop.
//
// Errors to branch on: [ErrInUse], [ErrNotInstalled], [ErrVersion],
// [ErrUnreachable], [ErrUnsupported].
func Start(ctx context.Context, cfg Config) (*Server, error) {
	c := &cluster{cfg: cfg, log: cfg.Log}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cluster: c, done: make(chan struct{})}
	for _, step := range []func(context.Context) error{
		c.open, c.settle, c.choose, c.create, c.clear, c.admit, c.listen, s.launch,
	} {
		if err := step(ctx); err != nil {
			s.free()
			return nil, err
		}
	}
	if err := s.ready(ctx); err != nil {
		s.halt(context.WithoutCancel(ctx))
		s.free()
		return nil, err
	}
	c.log.InfoContext(ctx, "PostgreSQL runs", "pid", s.PID(), "data", c.dir(), "programs", c.bin, "user", c.owner.name)
	return s, nil
}

// URL is the database's address, for pgx and psql. It holds no secret.
func (s *Server) URL() string { return s.cluster.url(Database) }

// PID is the process id of the server.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Done is closed when the server has ended, on its own or by Stop.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err says, once Done is closed, why the server ended; nil before, and when it
// ended because of Stop.
func (s *Server) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Stop shuts the server down (open transactions are rolled back), waits for it,
// and gives the data folder back. When ctx ends first the server is told to stop
// at once, which loses nothing that was committed, and the error says so. It
// may be called again, and after the server has ended on its own.
func (s *Server) Stop(ctx context.Context) error {
	defer s.free()
	s.stopping.Store(true)
	s.signal(ctx, syscall.SIGINT)
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
	}
	s.halt(context.WithoutCancel(ctx))
	return fmt.Errorf("stop PostgreSQL: it was stopped at once, and recovers at the next start: %w", ctx.Err())
}

// halt stops the server without a checkpoint.
func (s *Server) halt(ctx context.Context) {
	s.stopping.Store(true)
	for _, sig := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL} {
		s.signal(ctx, sig)
		timer := time.NewTimer(killAfter)
		select {
		case <-s.done:
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

func (s *Server) signal(ctx context.Context, sig os.Signal) {
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.cluster.log.WarnContext(ctx, "signal PostgreSQL", "signal", sig, "err", err)
	}
}

// free gives back what the start took.
func (s *Server) free() {
	s.release.Do(func() {
		c := s.cluster
		if c.temporary {
			if err := errors.Join(c.sweep(c.socket), os.Remove(c.socket)); err != nil {
				c.log.Warn("remove the socket's folder", "err", err)
			}
		}
		for _, lock := range c.locks {
			if err := lock.Close(); err != nil {
				c.log.Warn("give the data folder back", "err", err)
			}
		}
	})
}

// launch starts the server and the goroutines that watch it.
func (s *Server) launch(ctx context.Context) error {
	c := s.cluster
	s.logPath = filepath.Join(c.cfg.DataDir, logName)
	if err := trimLog(s.logPath, logLimit); err != nil {
		c.log.WarnContext(ctx, "tend PostgreSQL's log", "err", err)
	}
	log, err := openLog(s.logPath)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the server has its own handle
	info, err := log.Stat()
	if err != nil {
		return fmt.Errorf("open the log of PostgreSQL: %w", err)
	}
	s.logStart = info.Size()
	args := append([]string{"-D", c.dir()}, c.settings()...)
	s.cmd = c.owner.command(context.WithoutCancel(ctx), c.dir(), filepath.Join(c.bin, "postgres"), args...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	go s.watch()
	go s.tendLog()
	return nil
}

// watch waits for the server's end.
func (s *Server) watch() {
	err := s.cmd.Wait()
	if !s.stopping.Load() {
		s.err = fmt.Errorf("PostgreSQL ended (%s); the end of %s:\n%s", s.cmd.ProcessState, s.logPath, logSince(s.logPath, s.logStart))
	} else if err != nil {
		s.cluster.log.Warn("PostgreSQL's shutdown", "err", err)
	}
	close(s.done)
}

// tendLog keeps the log of a long run within its limit.
func (s *Server) tendLog() {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
			if err := trimLog(s.logPath, logLimit); err != nil {
				s.cluster.log.Warn("tend PostgreSQL's log", "err", err)
			}
		}
	}
}

// ready waits until the database answers.
func (s *Server) ready(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.connect(ctx)
		if err == nil || final(err) {
			return err
		}
		select {
		case <-s.done:
			return s.err
		case <-ctx.Done():
			return fmt.Errorf("wait for PostgreSQL: %w (last answer: %w); the end of %s:\n%s",
				ctx.Err(), err, s.logPath, logSince(s.logPath, s.logStart))
		case <-tick.C:
		}
	}
}

// final tells an answer that waiting won't change.
func final(err error) bool {
	var refusal *pgconn.PgError
	return errors.As(err, &refusal) && refusal.Code != stateStarting
}

// connect opens the database once, and makes it when it is not there: so a start
// that was interrupted between the cluster and its database is completed.
func (s *Server) connect(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.URL())
	var refusal *pgconn.PgError
	if errors.As(err, &refusal) && refusal.Code == stateNoDatabase {
		return s.createDatabase(ctx)
	}
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	return conn.Close(ctx) //nolint:wrapcheck // it answered
}

func (s *Server) createDatabase(ctx context.Context) (err error) {
	conn, err := pgx.Connect(ctx, s.cluster.url("postgres"))
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{Database}.Sanitize()); err != nil {
		return fmt.Errorf("create the database: %w", err)
	}
	return nil
}
