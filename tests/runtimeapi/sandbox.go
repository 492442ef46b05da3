package runtimeapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Bootstrap is a built function.
type Bootstrap struct {
	Path   string    // the binary
	Env    []string  // "NAME=value", all that it gets beside what Lambda sets
	Output io.Writer // takes stdout and stderr; nil throws them away
}

// Sandbox is one instance of the function: its Runtime API address, and the
// process that it was started with, if any.
type Sandbox struct {
	server *Server
	http   *http.Server
	addr   string
	cmd    *exec.Cmd     // nil for attached sandboxes
	exited chan struct{} // closed when the process is gone, or the sandbox was closed
	gone   sync.Once
	exit   error

	mu      sync.Mutex
	begun   time.Time
	current map[string]*invocation
	marks   map[Mark]time.Duration
	initErr *FunctionError
}

// Mark is a moment in a sandbox's life, measured from its start.
type Mark string

// The moments that are kept, each when it happens first.
const (
	Polled   Mark = "first poll for an event"      // initialisation is over
	Answered Mark = "first byte of the first post" // the first answer, or error, begins
)

// Attach makes a sandbox without a process: something else speaks to Address.
func (s *Server) Attach(ctx context.Context) (*Sandbox, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the Runtime API: %w", err)
	}
	b := &Sandbox{
		server: s, addr: l.Addr().String(), begun: time.Now(),
		exited: make(chan struct{}), current: map[string]*invocation{}, marks: map[Mark]time.Duration{},
	}
	b.http = &http.Server{Handler: b.routes(), ReadHeaderTimeout: 5 * time.Second}
	s.mu.Lock()
	s.sandboxes = append(s.sandboxes, b)
	s.mu.Unlock()
	go b.http.Serve(l) //nolint:errcheck // ends with ErrServerClosed
	return b, nil
}

// Start runs a bootstrap in a sandbox of its own, with the environment that
// Lambda gives it. The process ends with the server, or with ctx.
func (s *Server) Start(ctx context.Context, boot Bootstrap) (*Sandbox, error) {
	b, err := s.Attach(ctx)
	if err != nil {
		return nil, err
	}
	b.cmd = exec.CommandContext(ctx, boot.Path)
	b.cmd.Env = append([]string{
		"AWS_LAMBDA_RUNTIME_API=" + b.addr,
		"AWS_LAMBDA_FUNCTION_NAME=" + s.cfg.Name,
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=" + strconv.Itoa(s.cfg.MemoryMiB),
		"AWS_REGION=us-east-1",
		"_HANDLER=bootstrap",
		"TZ=:UTC",
		"LAMBDA_TASK_ROOT=" + os.TempDir(),
	}, boot.Env...)
	b.cmd.Stdout, b.cmd.Stderr = boot.Output, boot.Output
	b.mu.Lock()
	b.begun = time.Now()
	b.mu.Unlock()
	if err := b.cmd.Start(); err != nil {
		b.cmd = nil
		return nil, errors.Join(fmt.Errorf("start %s: %w", boot.Path, err), b.Kill())
	}
	go func() { b.leave(b.cmd.Wait()) }()
	return b, nil
}

// leave fails what the sandbox was working on.
func (b *Sandbox) leave(exit error) {
	b.gone.Do(func() {
		b.exit = exit
		close(b.exited)
		b.mu.Lock()
		defer b.mu.Unlock()
		for id, inv := range b.current {
			inv.settle(outcome{err: &FunctionError{
				Type: ExitError, Message: fmt.Sprintf("RequestId: %s Error: Runtime exited: %v", id, exit),
			}})
			inv.end()
		}
	})
}

// Address is the Runtime API's host and port for this sandbox.
func (b *Sandbox) Address() string { return b.addr }

// Exited is closed when the process has ended.
func (b *Sandbox) Exited() <-chan struct{} { return b.exited }

// ExitErr is how the process ended: nil for status 0. It is only meaningful
// once Exited is closed.
func (b *Sandbox) ExitErr() error { return b.exit }

// CPU is the processor time, user and system, that the process took; 0 while it
// runs.
func (b *Sandbox) CPU() time.Duration {
	select {
	case <-b.exited:
	default:
		return 0
	}
	if b.cmd == nil || b.cmd.ProcessState == nil {
		return 0
	}
	return b.cmd.ProcessState.UserTime() + b.cmd.ProcessState.SystemTime()
}

// At returns when a moment came, from the process's exec on; false when it has
// not come yet.
func (b *Sandbox) At(m Mark) (time.Duration, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d, ok := b.marks[m]
	return d, ok
}

// InitError is what the runtime reported instead of polling; nil if it did not.
func (b *Sandbox) InitError() *FunctionError {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.initErr
}

// Signal sends the process a signal: SIGSTOP and SIGCONT freeze and thaw it,
// SIGTERM is the platform's shutdown.
func (b *Sandbox) Signal(sig os.Signal) error {
	if b.cmd == nil {
		return errors.New("signal sandbox: it has no process")
	}
	if err := b.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("signal sandbox: %w", err)
	}
	return nil
}

// Shutdown ends the process as the platform does: SIGTERM, and SIGKILL when it
// has not ended after half a second.
func (b *Sandbox) Shutdown() error {
	if err := b.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-b.exited:
	case <-time.After(500 * time.Millisecond):
	}
	return b.Kill()
}

// Kill ends the sandbox at once. It returns when the process is gone.
func (b *Sandbox) Kill() error {
	var err error
	if b.cmd != nil {
		if err = b.cmd.Process.Kill(); errors.Is(err, os.ErrProcessDone) {
			err = nil
		}
		<-b.exited
	}
	b.leave(nil)
	return errors.Join(err, b.http.Close())
}

func (b *Sandbox) mark(m Mark) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.marks[m]; !ok {
		b.marks[m] = time.Since(b.begun)
	}
}

func (b *Sandbox) failInit(r *http.Request) {
	fe := &FunctionError{}
	_ = json.NewDecoder(r.Body).Decode(fe) // whatever it is, it is an init error
	b.mu.Lock()
	b.initErr = fe
	b.mu.Unlock()
}
