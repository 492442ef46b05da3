package harness

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// starts are processes that wait to be started.
var (
	starts      = make(chan func())
	starterOnce sync.Once
)

// startChild starts a process that drains and stops when the test process ends,
// however it ends. The kernel ties the signal to the thread that forked, so all
// are started by one thread that never ends.
func startChild(cmd *exec.Cmd) error {
	starterOnce.Do(func() {
		go func() {
			runtime.LockOSThread()
			for f := range starts {
				f()
			}
		}()
	})
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	done := make(chan error)
	starts <- func() { done <- cmd.Start() }
	return <-done
}
