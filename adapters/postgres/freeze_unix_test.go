//go:build unix

package postgres_test

import (
	"os/exec"
	"syscall"
	"testing"
)

// freeze stops a process where it stands: its connections stay open.
func freeze(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
}
