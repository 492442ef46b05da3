//go:build !linux && !darwin

package embedded

import "context"

// DirLock is not available on this operating system.
type DirLock struct{}

// Lock returns [ErrUnsupported].
func Lock(string) (*DirLock, error) { return nil, ErrUnsupported }

// Close does nothing.
func (*DirLock) Close() error { return nil }

// Server is not available on this operating system.
type Server struct{}

// Start returns [ErrUnsupported].
func Start(context.Context, Config) (*Server, error) { return nil, ErrUnsupported }

// URL is empty.
func (*Server) URL() string { return "" }

// PID is 0.
func (*Server) PID() int { return 0 }

// Done is never closed.
func (*Server) Done() <-chan struct{} { return nil }

// Err is [ErrUnsupported].
func (*Server) Err() error { return ErrUnsupported }

// Stop does nothing.
func (*Server) Stop(context.Context) error { return nil }
