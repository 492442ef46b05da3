package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// errTerminated and errInterrupted are why a process ends that was asked to: by
// whoever runs it as a service, or by a person at a terminal.
var (
	errTerminated  = errors.New("terminated")
	errInterrupted = errors.New("interrupted")
)

// untilSignal returns a context that ends with one of these causes at the first
// signal, and a channel that is closed at the second. A third ends the process as
// if nobody listened.
func untilSignal(parent context.Context) (ctx context.Context, again <-chan struct{}, stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	// Not the parent's end, for that has not the signal's name: only what had come
	// before this listened.
	ctx, end := context.WithCancelCause(context.WithoutCancel(parent))
	if parent.Err() != nil {
		end(errInterrupted)
	}
	second, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		for n := range 2 {
			select {
			case sig := <-signals:
				if n == 1 {
					close(second)
					signal.Reset(os.Interrupt, syscall.SIGTERM)
				}
				end(cause(sig))
			case <-stopped:
				return
			}
		}
	}()
	return ctx, second, func() {
		signal.Stop(signals)
		close(stopped)
		end(nil)
	}
}

func cause(sig os.Signal) error {
	if sig == syscall.SIGTERM {
		return errTerminated
	}
	return errInterrupted
}
