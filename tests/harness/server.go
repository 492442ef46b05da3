package harness

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/aiaas/aiaas/adapters/postgres/embedded"
)

// Server is a PostgreSQL of the test's own, which several gateways can share and
// which can be taken away from them.
type Server struct {
	dir       string
	db        *embedded.Server
	suspended []int // process ids
}

// StartServer starts a database server. It is stopped when the test ends.
func StartServer(t testing.TB) *Server {
	t.Helper()
	s := &Server{dir: Folder(t) + "/d"}
	s.Start(t)
	t.Cleanup(func() {
		s.Resume(t)
		s.Stop(t)
	})
	return s
}

// Start starts the server again, on the same data.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	Binary(t)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), Patience)
	defer cancel()
	db, err := embedded.Start(ctx, embedded.Config{DataDir: s.dir, Search: []string{command.root + "/.cache/postgres"}})
	Must(t, err)
	s.db = db
}

// Stop stops the server; its clients lose their connections.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), Patience)
	defer cancel()
	Must(t, s.db.Stop(ctx))
}

// URL is the address of its database; the same after every start.
func (s *Server) URL() string { return s.db.URL() }

// PID is the server's process id.
func (s *Server) PID() int { return s.db.PID() }

// Suspend stops the server's processes where they stand: connections stay open
// and nobody answers.
func (s *Server) Suspend(t testing.TB) {
	t.Helper()
	// The postmaster first: then no new one can come.
	Must(t, syscall.Kill(s.PID(), syscall.SIGSTOP))
	s.suspended = append(childrenOf(t, s.PID()), s.PID())
	for _, pid := range s.suspended {
		_ = syscall.Kill(pid, syscall.SIGSTOP) // it may have ended meanwhile
	}
}

// Resume lets the server go on.
func (s *Server) Resume(t testing.TB) {
	t.Helper()
	for _, pid := range s.suspended {
		_ = syscall.Kill(pid, syscall.SIGCONT) // it may have ended meanwhile
	}
	s.suspended = nil
}

// childrenOf asks ps, which every system has.
func childrenOf(t testing.TB, parent int) (pids []int) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ps", "-A", "-o", "pid=,ppid=").Output()
	Must(t, err)
	for line := range strings.Lines(string(out)) {
		var pid, ppid int
		if _, err := fmt.Sscan(line, &pid, &ppid); err == nil && ppid == parent {
			pids = append(pids, pid)
		}
	}
	return pids
}
