//go:build linux || darwin

package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const pidName = "postmaster.pid"

// grace is how long each kind of shutdown of an orphan may take before the next,
// harder one. What a hard one leaves undone, crash recovery does.
const grace = 15 * time.Second

// clear stops the server that a killed command left running, and removes the
// marks of one that is gone. The caller holds the lock: no living command
// needs that server.
func (c *cluster) clear(ctx context.Context) error {
	marks, err := present(filepath.Join(c.dir(), pidName))
	if err != nil || !marks { // a clean shutdown, or a new cluster
		return err
	}
	if err := c.stopOrphan(ctx); err != nil {
		return err
	}
	return c.forget()
}

func (c *cluster) stopOrphan(ctx context.Context) error {
	pid := c.postmaster()
	running := processesOf(c.dir())
	if len(running) == 0 {
		return nil
	}
	if !slices.Contains(running, pid) {
		// The postmaster was killed; its children notice and end by themselves.
		if c.gone(ctx, grace) {
			return nil
		}
		return fmt.Errorf("processes of a dead PostgreSQL still use %s: %v", c.dir(), running)
	}
	c.say("stopping the PostgreSQL (pid %d) that a killed aiaas left running", pid)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop the orphaned PostgreSQL (pid %d): %w", pid, err)
		}
		if c.gone(ctx, grace) {
			return nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("the orphaned PostgreSQL (pid %d) of %s does not stop: %w", pid, c.dir(),
		errors.Join(ctx.Err(), ErrInUse))
}

// gone waits until no process uses the cluster.
func (c *cluster) gone(ctx context.Context, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for len(processesOf(c.dir())) > 0 {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

// postmaster is the process id that the last server wrote down, 0 for none.
func (c *cluster) postmaster() int {
	text, err := os.ReadFile(filepath.Join(c.dir(), pidName))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		return 0
	}
	return max(pid, -pid) // a single-user server writes it negative
}

// forget removes the pid file of a dead server when its number now belongs to
// another process: PostgreSQL would take that one for a running server. In any
// other case the file is PostgreSQL's to judge; it tells which shared memory to
// look at.
func (c *cluster) forget() error {
	pid := c.postmaster()
	if pid == 0 || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return nil
	}
	if err := os.Remove(filepath.Join(c.dir(), pidName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the pid file of a dead server: %w", err)
	}
	return nil
}
