// Package harness starts the command as its users do: built, as a process of its
// own, with a data folder, a database and keys that it made itself. Tests that
// cross packages stand on it.
//
// It owns the processes' lives (nothing that it starts outlives the test), a
// client for calling them, an upstream whose log is the truth to reconcile with,
// and a superuser's look into the database. What must hold stands in the tests.
//
// A package that uses it needs
//
//	func TestMain(m *testing.M) { harness.Main(m) }
package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience is how long anything may take that must happen: no test passes or
// fails by how fast it is.
const Patience = 60 * time.Second

// build is the command, built once for the test process.
type build struct {
	main bool // Main runs, and removes what is built
	once sync.Once
	dir  string
	root string // of the module
	err  error
}

var command build

// Main runs the tests of a package that uses the harness, and removes what was
// built for them.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run is Main for packages that have more to tidy up: it returns the exit code.
func Run(m *testing.M) int {
	command.main = true
	code := m.Run()
	if command.dir != "" {
		if err := os.RemoveAll(command.dir); err != nil {
			fmt.Fprintln(os.Stderr, "harness:", err)
			return max(code, 1)
		}
	}
	return code
}

// Binary is the path of the built command.
func Binary(t testing.TB) string {
	t.Helper()
	if !command.main {
		t.Fatal("this package's tests need func TestMain(m *testing.M) { harness.Main(m) }")
	}
	command.once.Do(func() { command.err = command.make(context.WithoutCancel(t.Context())) })
	if command.err != nil {
		t.Fatal(command.err)
	}
	return filepath.Join(command.dir, "aiaas")
}

func (b *build) make(ctx context.Context) (err error) {
	if b.root, err = moduleRoot(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "aiaas-harness-"); err != nil { // it outlives the first test that asks
		return fmt.Errorf("make folder for the command: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(b.dir, "aiaas"), "./functions/aiaas")
	cmd.Dir = b.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the command: %w\n%s", err, out)
	}
	return nil
}

// moduleRoot is the folder of go.mod, above the package under test.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find working folder: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find go.mod: there is none above the tests")
		}
		dir = parent
	}
}

// Folder is a fresh folder that the database's own user may pass through, with a
// name that is short enough for a socket's path. It is removed when the test
// ends.
func Folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "aiaas-t-") //nolint:usetesting // t.TempDir's are closed to others, and long
	Must(t, err)
	t.Cleanup(func() { Must(t, os.RemoveAll(dir)) })
	Must(t, os.Chmod(dir, 0o711))
	return dir
}

// Must fails the test on an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Eventually fails the test unless condition becomes true. It returns what was
// wrong last, where it is not.
func Eventually(t testing.TB, what string, condition func() (ok bool, state string)) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for {
		ok, state := condition()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s; last: %s", what, Patience, state)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// log gathers what a process prints.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
