package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Options say how a gateway is started. The zero value is what a newcomer gets:
// an own data folder with an embedded database.
type Options struct {
	DataDir string            // a fresh one where empty
	Env     map[string]string // more settings
	Addr    string            // a free port of 127.0.0.1 where empty
	// Credentials are those of a database that another gateway has set up.
	Credentials *Credentials
	// Functions are the only ones that it serves; all where there are none. With
	// others on one database, "operations" must be among them.
	Functions []string
}

// Credentials are the content of credentials.json.
type Credentials struct {
	BaseURL        string `json:"base_url"`
	OrganizationID string `json:"organization_id"`
	ProjectID      string `json:"project_id"`
	APIKey         string `json:"api_key"`
	AdminKey       string `json:"admin_key"`
	PlatformKey    string `json:"platform_key"`
}

// Gateway is one data folder and the process that serves it. Its methods may be
// called from several goroutines, except those that start or end the process.
type Gateway struct {
	Credentials // of the last start
	DataDir     string
	Client      *http.Client // without a time limit of its own

	options Options
	mu      sync.Mutex
	run     *run
}

// run is one life of the process.
type run struct {
	cmd            *exec.Cmd
	stdout, stderr log
	done           chan struct{}
}

// AuditKey is the AIAAS_AUDIT_KEY of gateways on a database that was given to them.
const AuditKey = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="

// Start starts a gateway and waits until it is ready.
func Start(t testing.TB, o Options) *Gateway {
	t.Helper()
	g := New(t, o)
	g.Launch(t)
	g.WaitReady(t)
	return g
}

// New prepares a gateway without starting it. Whatever was started for it is gone
// when the test ends.
func New(t testing.TB, o Options) *Gateway {
	t.Helper()
	if o.DataDir == "" {
		o.DataDir = filepath.Join(Folder(t), "d")
	}
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	g := &Gateway{
		DataDir: o.DataDir, options: o,
		Client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}},
	}
	t.Cleanup(func() {
		g.Client.CloseIdleConnections()
		if r := g.current(); r != nil && !r.ended() {
			_ = r.cmd.Process.Signal(syscall.SIGCONT) // one that was stopped can't end
			_ = r.cmd.Process.Signal(syscall.SIGTERM)
			r.wait(t)
		}
		g.stopOrphan(t)
		if t.Failed() {
			t.Logf("the gateway's last words:\n%s%s", tail(g.Stdout()), tail(g.Stderr()))
		}
	})
	return g
}

func tail(s string) string { return s[max(0, len(s)-6000):] }

// Launch starts the process and returns at once.
func (g *Gateway) Launch(t testing.TB) {
	t.Helper()
	binary := Binary(t)
	env := map[string]string{"AIAAS_ADDR": g.options.Addr, "AIAAS_DATA_DIR": g.DataDir, "PATH": "/usr/bin:/bin"}
	if g.options.Env["DATABASE_URL"] != "" { // several with folders of their own share one audit
		env["AIAAS_AUDIT_KEY"] = AuditKey
	}
	maps.Copy(env, g.options.Env)
	args := []string{"serve"}
	if len(g.options.Functions) > 0 {
		args = append(args, "--functions", strings.Join(g.options.Functions, ","))
	}
	r := &run{cmd: exec.CommandContext(context.WithoutCancel(t.Context()), binary, args...), done: make(chan struct{})}
	r.cmd.Dir = command.root // where a PostgreSQL that was installed without root is looked for
	for name, value := range env {
		r.cmd.Env = append(r.cmd.Env, name+"="+value)
	}
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	Must(t, startChild(r.cmd))
	go func() {
		_ = r.cmd.Wait() // its outcome stands in ProcessState
		close(r.done)
	}()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.run = r
}

func (g *Gateway) current() *run {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.run
}

func (r *run) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// wait returns the exit code; -1 for a process that was killed.
func (r *run) wait(t testing.TB) int {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(Patience):
		_ = r.cmd.Process.Signal(syscall.SIGQUIT) // it prints where it hangs
		<-r.done
		t.Fatalf("the process did not end by itself:\n%s", tail(r.stderr.String()))
	}
	return r.cmd.ProcessState.ExitCode()
}

var running = regexp.MustCompile(`(?m)^AIaaS is running at (http://\S+)$`)

// WaitReady waits until the launched process serves, and reads its keys.
func (g *Gateway) WaitReady(t testing.TB) {
	t.Helper()
	r := g.current()
	Eventually(t, "start", func() (bool, string) {
		if r.ended() {
			t.Fatalf("the process has ended instead of serving: %v\n%s%s", r.cmd.ProcessState, r.stdout.String(), tail(r.stderr.String()))
		}
		return running.MatchString(r.stdout.String()), r.stdout.String()
	})
	if c := g.options.Credentials; c != nil {
		g.Credentials = *c
	} else {
		body, err := os.ReadFile(filepath.Join(g.DataDir, "credentials.json"))
		Must(t, err)
		Must(t, json.Unmarshal(body, &g.Credentials))
	}
	g.BaseURL = running.FindStringSubmatch(r.stdout.String())[1]
	Eventually(t, "readiness", func() (bool, string) {
		a := g.Do(t.Context(), Call{Method: "GET", Path: "/readyz"})
		return a.Status == http.StatusOK, a.String()
	})
}

// Stdout is what the last process printed for its user.
func (g *Gateway) Stdout() string {
	if r := g.current(); r != nil {
		return r.stdout.String()
	}
	return ""
}

// Stderr is the last process's log.
func (g *Gateway) Stderr() string {
	if r := g.current(); r != nil {
		return r.stderr.String()
	}
	return ""
}

// PID is the process's id.
func (g *Gateway) PID() int { return g.current().cmd.Process.Pid }

// Signal sends the process a signal.
func (g *Gateway) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	Must(t, g.current().cmd.Process.Signal(sig))
}

// Wait waits for the process's end and returns its exit code; -1 when a signal
// ended it.
func (g *Gateway) Wait(t testing.TB) int {
	t.Helper()
	return g.current().wait(t)
}

// Running reports whether the process has not ended.
func (g *Gateway) Running() bool {
	r := g.current()
	return r != nil && !r.ended()
}

// Stop ends the process as Ctrl-C does, and fails the test unless all went well.
func (g *Gateway) Stop(t testing.TB) {
	t.Helper()
	g.Signal(t, syscall.SIGINT)
	if code := g.Wait(t); code != 0 {
		t.Fatalf("exit code %d after an interrupt:\n%s%s", code, g.Stdout(), tail(g.Stderr()))
	}
}

// Kill ends the process without a warning, unless it has ended by itself; its
// database goes on.
func (g *Gateway) Kill(t testing.TB) {
	t.Helper()
	if err := g.current().cmd.Process.Signal(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		Must(t, err)
	}
	g.Wait(t)
}

// Restart starts a process on the same data once the old one has ended, and waits
// until it is ready.
func (g *Gateway) Restart(t testing.TB) {
	t.Helper()
	if g.Running() {
		t.Fatal("the old process still runs")
	}
	g.Client.CloseIdleConnections()
	g.Launch(t)
	g.WaitReady(t)
}

// Postmaster is the process id of the embedded database; 0 when none runs.
func (g *Gateway) Postmaster(t testing.TB) int {
	t.Helper()
	dir := filepath.Join(g.DataDir, "postgres")
	text, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	Must(t, err)
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	Must(t, err)
	if syscall.Kill(pid, 0) != nil {
		return 0
	}
	// A process id may be another's by now.
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err == nil && !strings.Contains(string(args), dir) {
		return 0
	}
	return pid
}

// DatabaseProcesses are the process ids of the embedded database's own processes,
// its postmaster excepted.
func (g *Gateway) DatabaseProcesses(t testing.TB) []int {
	t.Helper()
	return childrenOf(t, g.Postmaster(t))
}

// stopOrphan stops the database that a killed process left behind.
func (g *Gateway) stopOrphan(t testing.TB) {
	t.Helper()
	for _, sig := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL} {
		pid := g.Postmaster(t)
		if pid == 0 {
			return
		}
		_ = syscall.Kill(pid, sig)
		for deadline := time.Now().Add(10 * time.Second); syscall.Kill(pid, 0) == nil && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// Database is the superuser's look into the gateway's database.
func (g *Gateway) Database() Database {
	if url := g.options.Env["DATABASE_URL"]; url != "" {
		return Database{URL: url}
	}
	return Database{URL: "postgres:///aiaas?host=" + filepath.Join(g.DataDir, "run") + "&port=5432&user=aiaas&sslmode=disable"}
}

// NotReady reports whether /readyz says so, or nobody answers.
func (g *Gateway) NotReady(ctx context.Context) bool {
	a := g.Do(ctx, Call{Method: http.MethodGet, Path: "/readyz"})
	return a.Status != http.StatusOK
}
