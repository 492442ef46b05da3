package runtimeapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Disconnect is what happens to the function when the reader of a streamed
// answer leaves.
type Disconnect string

// The ways.
const (
	// Drain is what AWS documents: the function is not told; it produces to its
	// end and what it writes is thrown away.
	Drain Disconnect = "drain"
	// Sever breaks the connection on which the function posts its answer.
	Sever Disconnect = "sever"
	// Answer ends the exchange early: the Runtime API answers the post while
	// the function still produces.
	Answer Disconnect = "answer"
)

// Config describes the function as the platform knows it. The zero value of a
// field takes the default that stands beside it.
type Config struct {
	Name       string        // "function"
	MemoryMiB  int           // 128
	Timeout    time.Duration // 30 s
	Disconnect Disconnect    // Drain
}

// Server is one Lambda function with its queue of invocations and its sandboxes.
type Server struct {
	cfg    Config
	queue  chan *invocation
	closed chan struct{}

	mu        sync.Mutex
	sandboxes []*Sandbox
}

// ErrClosed is returned for invocations of a server that was closed.
var ErrClosed = errors.New("server is closed")

// New makes a server without sandboxes. Close it.
func New(cfg Config) *Server {
	if cfg.Name == "" {
		cfg.Name = "function"
	}
	if cfg.MemoryMiB == 0 {
		cfg.MemoryMiB = 128
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.Disconnect == "" {
		cfg.Disconnect = Drain
	}
	return &Server{cfg: cfg, queue: make(chan *invocation), closed: make(chan struct{})}
}

// Close kills all sandboxes and frees their addresses.
func (s *Server) Close() error {
	s.mu.Lock()
	sandboxes := s.sandboxes
	s.sandboxes = nil
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	s.mu.Unlock()
	var errs []error
	for _, b := range sandboxes {
		errs = append(errs, b.Kill())
	}
	return errors.Join(errs...)
}

// FunctionError is a failed invocation, as the platform reports it to the
// caller.
type FunctionError struct {
	Type    string `json:"errorType"`
	Message string `json:"errorMessage"`
}

// Error implements error.
func (e *FunctionError) Error() string { return e.Type + ": " + e.Message }

// The types of errors that the platform itself reports.
const (
	ExitError    = "Runtime.ExitError"
	TimeoutError = "Sandbox.Timedout"
	FormatError  = "Runtime.InvalidResponseFormat" // of the streaming format; a name of this package
)

// Invoke sends an event and returns when the answer begins. The event is JSON:
// a json.RawMessage as it is, anything else is marshalled. It waits for an idle
// sandbox. A failed invocation is a *FunctionError. When ctx ends, the caller
// has left.
func (s *Server) Invoke(ctx context.Context, event any) (*Response, error) {
	payload, err := json.Marshal(event)
	if raw, ok := event.(json.RawMessage); ok {
		payload, err = raw, nil // also what is no JSON at all
	}
	if err != nil {
		return nil, fmt.Errorf("marshal event: %w", err)
	}
	inv := &invocation{
		id: uuid.NewString(), payload: payload, ctx: ctx,
		outcome: make(chan outcome, 1), over: make(chan struct{}),
	}
	select {
	case s.queue <- inv:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a sandbox of %s: %w", s.cfg.Name, context.Cause(ctx))
	case <-s.closed:
		return nil, ErrClosed
	}
	select {
	case out := <-inv.outcome:
		return out.response, out.err
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the answer of %s: %w", s.cfg.Name, context.Cause(ctx))
	}
}

// invocation is one event on its way through a sandbox.
type invocation struct {
	id      string
	payload []byte
	ctx     context.Context //nolint:containedctx // the caller's, alive while the invocation is
	outcome chan outcome    // takes one; more are dropped
	over    chan struct{}   // closed when the sandbox is done with it
	once    sync.Once
}

type outcome struct {
	response *Response
	err      error
}

// settle gives the caller its outcome, unless it has one.
func (i *invocation) settle(out outcome) {
	select {
	case i.outcome <- out:
	default:
	}
}

func (i *invocation) end() { i.once.Do(func() { close(i.over) }) }
