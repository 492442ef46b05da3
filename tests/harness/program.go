package harness

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
)

// Program runs f outside of `go test`, for a command that uses the harness: logs
// and failures go to out as they come. It removes what was built and what f
// started, and reports whether nothing failed.
//
// f and what it calls may use those methods of its testing.TB that log, fail,
// clean up and give the context; the others panic.
func Program(ctx context.Context, name string, out io.Writer, f func(t testing.TB)) (ok bool) {
	command.main = true
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &program{name: name, ctx: ctx, out: out}
	p.alone(func() { f(p) })
	cancel()
	for {
		c := p.pop()
		if c == nil {
			break
		}
		p.alone(c)
	}
	if command.dir != "" {
		if err := os.RemoveAll(command.dir); err != nil {
			p.Error(err)
		}
		command.dir, command.once = "", sync.Once{} // another program builds anew
	}
	return !p.Failed()
}

// program stands in for a running test.
type program struct {
	testing.TB
	name string
	ctx  context.Context //nolint:containedctx // testing.TB hands it out

	mu       sync.Mutex
	out      io.Writer
	failed   bool
	cleanups []func()
}

// alone runs f in a goroutine of its own, which Fatal ends.
func (p *program) alone(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

func (p *program) pop() func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.cleanups) == 0 {
		return nil
	}
	last := len(p.cleanups) - 1
	c := p.cleanups[last]
	p.cleanups = slices.Delete(p.cleanups, last, last+1)
	return c
}

func (p *program) print(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintln(p.out, text)
}

func (p *program) Helper()                      {}
func (p *program) Name() string                 { return p.name }
func (p *program) Context() context.Context     { return p.ctx }
func (p *program) Log(args ...any)              { p.print(fmt.Sprint(args...)) }
func (p *program) Logf(f string, args ...any)   { p.print(fmt.Sprintf(f, args...)) }
func (p *program) Error(args ...any)            { p.print("FAIL: " + fmt.Sprint(args...)); p.Fail() }
func (p *program) Errorf(f string, args ...any) { p.Error(fmt.Sprintf(f, args...)) }
func (p *program) Fatal(args ...any)            { p.Error(args...); p.FailNow() }
func (p *program) Fatalf(f string, args ...any) { p.Fatal(fmt.Sprintf(f, args...)) }

func (p *program) FailNow() {
	p.Fail()
	runtime.Goexit()
}

func (p *program) Fail() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = true
}

func (p *program) Failed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

func (p *program) Cleanup(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cleanups = append(p.cleanups, f)
}
