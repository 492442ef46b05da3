//go:build linux || darwin

package embedded_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/adapters/postgres/embedded"
)

// The test binary is also its own helper process: a command that holds a data
// folder until it is killed, and a stranger who tries to connect.
const (
	helperVar = "EMBEDDED_TEST_HELPER"
	argVar    = "EMBEDDED_TEST_ARG"
	// binVar names the folder of the PostgreSQL to test with, instead of the one
	// that Find finds.
	binVar = "EMBEDDED_TEST_BIN"
)

func TestMain(m *testing.M) {
	ctx := context.Background()
	switch os.Getenv(helperVar) {
	case "hold":
		os.Exit(hold(ctx, os.Getenv(argVar)))
	case "connect":
		os.Exit(connect(ctx, os.Getenv(argVar)))
	}
	os.Exit(m.Run())
}

// hold starts a server, says so on standard output, and waits to be killed.
func hold(ctx context.Context, dataDir string) int {
	s, err := embedded.Start(ctx, embedded.Config{DataDir: dataDir, BinDir: os.Getenv(binVar)})
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	fmt.Println(s.PID())
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends
	if err := s.Stop(ctx); err != nil {
		return 1
	}
	return 0
}

func connect(ctx context.Context, url string) int {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		fmt.Println("refused:", err)
		return 1
	}
	defer conn.Close(ctx) //nolint:errcheck // the process ends
	fmt.Println("connected")
	return 0
}

// helper prepares the test binary as a helper process. The binary is copied,
// because go test keeps it in a folder that no other user can enter.
func helper(t *testing.T, role, arg string) *osexec.Cmd {
	t.Helper()
	cmd := osexec.CommandContext(t.Context(), testBinary(t))
	cmd.Env = append(os.Environ(), helperVar+"="+role, argVar+"="+arg)
	cmd.Dir = "/"
	return cmd
}

func testBinary(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	from, err := os.Open(self)
	must(t, err)
	defer from.Close() //nolint:errcheck // it was only read
	path := filepath.Join(folder(t), "embedded.test")
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	must(t, err)
	_, err = io.Copy(to, from)
	must(t, err)
	must(t, to.Close())
	return path
}

// holder starts a helper that holds dataDir; it returns the server's process id.
func holder(t *testing.T, dataDir string) (cmd *osexec.Cmd, server int) {
	t.Helper()
	cmd = helper(t, "hold", dataDir)
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	if _, err := fmt.Sscan(line, &server); err != nil {
		t.Fatalf("the helper says %q", line)
	}
	t.Cleanup(func() { // whatever else goes wrong, no server outlives the tests
		if slices.Contains(embedded.ProcessesOf(filepath.Join(dataDir, "postgres")), server) {
			_ = syscall.Kill(server, syscall.SIGQUIT)
		}
	})
	return cmd, server
}

// folder is a temporary folder that every user can pass through to, as a home
// folder on most systems: t.TempDir's own parent is closed to others.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Chmod(filepath.Dir(dir), 0o711))
	must(t, os.Chmod(dir, 0o711))
	return dir
}

// short is a folder whose name leaves room for a socket's, as t.TempDir's do not.
func short(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "t") //nolint:usetesting // see above
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	must(t, os.Chmod(dir, 0o711))
	return dir
}

func config(dataDir string) embedded.Config {
	return embedded.Config{DataDir: dataDir, BinDir: os.Getenv(binVar)}
}

func start(t *testing.T, cfg embedded.Config) *embedded.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	began := time.Now()
	s, err := embedded.Start(ctx, cfg)
	must(t, err)
	t.Logf("started in %v", time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *embedded.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	defer cancel()
	must(t, s.Stop(ctx))
}

// query runs one statement and returns its single value as text.
func query(t *testing.T, s *embedded.Server, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL())
	must(t, err)
	defer conn.Close(t.Context()) //nolint:errcheck // the test is over with it
	rows, err := conn.Query(t.Context(), sql)
	must(t, err)
	defer rows.Close()
	var value string
	for rows.Next() {
		must(t, rows.Scan(&value))
	}
	must(t, rows.Err())
	return value
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantIn(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not say %q", text, part)
		}
	}
}

// lines collects what Progress gets.
type lines struct{ bytes.Buffer }

func (l *lines) say(line string) { l.WriteString(line + "\n") }
