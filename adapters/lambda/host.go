package lambda

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda/messages"

	"github.com/aiaas/aiaas/shared/function"
)

// ErrEvent is returned for an event of a shape that no trigger of ours has.
var ErrEvent = errors.New("event is no API Gateway REST request, SQS batch or schedule")

// ErrClosed is why the contexts of a host's own work end when it closes.
var ErrClosed = errors.New("host is closed")

// margin is what a call keeps of the platform's deadline for recording itself,
// at most; it never takes more than a quarter of what is left.
const margin = 500 * time.Millisecond

// Host answers the events of one function. It is safe for concurrent use.
type Host struct {
	spec    function.Spec
	wire    function.Wire
	env     *function.Env
	mux     *http.ServeMux
	streams map[string]bool // "METHOD path" of the routes whose answers stream

	turn   chan struct{} // held while fn is looked at or wired
	fn     *function.Function
	cancel context.CancelCauseFunc // ends what fn's wiring started
	broken atomic.Pointer[error]   // why the process must end; nil while it need not
}

// NewHost makes a host. It does no I/O; the first event wires the function. It
// panics when two of the Spec's routes exclude each other, as [http.ServeMux]
// does.
func NewHost(spec function.Spec, wire function.Wire, env *function.Env) *Host {
	h := &Host{
		spec: spec, wire: wire, env: env,
		mux: http.NewServeMux(), streams: map[string]bool{},
		turn: make(chan struct{}, 1), cancel: func(error) {},
	}
	for _, r := range spec.Routes {
		h.mux.Handle(r.Pattern(), route{Route: r})
		h.streams[r.Pattern()] = r.Stream
	}
	return h
}

// event holds the members of every shape that is understood. The shapes share
// no names, so one pass over the bytes tells them apart and decodes them.
type event struct {
	events.APIGatewayProxyRequest

	Records    []events.SQSMessage `json:"Records"`
	Source     string              `json:"source"`
	DetailType string              `json:"detail-type"`
	Detail     json.RawMessage     `json:"detail"`
	Job        string              `json:"job"`
}

// Invoke answers one event. The result is an events.APIGatewayProxyResponse, a
// *events.APIGatewayProxyStreamingResponse (the caller reads it to its end and
// closes it), an events.SQSEventResponse or a [JobDone]. An error is a failed
// invocation: the trigger tries again as it is configured to. Panics of the
// function become errors; the process goes on.
func (h *Host) Invoke(ctx context.Context, raw json.RawMessage) (answer any, err error) {
	if broken := h.broken.Load(); broken != nil {
		return nil, messages.InvokeResponse_Error{
			Type: "Host.Fatal", Message: (*broken).Error(), ShouldExit: true,
		}
	}
	var ev event
	if err := json.Unmarshal(raw, &ev); err != nil {
		return nil, fmt.Errorf("decode event: %w", err)
	}
	defer h.recovered(ctx, &err)
	switch {
	case ev.HTTPMethod != "":
		return h.http(ctx, ev.APIGatewayProxyRequest)
	case len(ev.Records) > 0:
		return h.batch(ctx, ev.Records)
	case ev.Source != "" || ev.Job != "":
		return h.schedule(ctx, ev)
	}
	return nil, ErrEvent
}

// recovered turns a panic into an error, so that one bad message or job does
// not cost the sandbox.
func (h *Host) recovered(ctx context.Context, err *error) {
	if p := recover(); p != nil {
		*err = h.panicked(ctx, p)
	}
}

// errPanic is all that leaves the process about a panic; the log has the rest.
var errPanic = errors.New("function panicked")

func (h *Host) panicked(ctx context.Context, value any) error {
	if value != http.ErrAbortHandler { //nolint:errorlint // net/http compares the value itself too
		h.env.Log.ErrorContext(ctx, "function panicked",
			"function", h.spec.Name, "panic", fmt.Sprint(value), "stack", string(debug.Stack()))
	}
	return errPanic
}

// function returns the wired function, wiring it if no earlier event has.
func (h *Host) function(ctx context.Context) (*function.Function, error) {
	select {
	case h.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the wiring of %s: %w", h.spec.Name, context.Cause(ctx))
	}
	defer func() { <-h.turn }()
	if h.fn != nil {
		return h.fn, nil
	}
	// What is wired outlives the event that happened to be first, but its
	// wiring must not: until it is done, the event's end is its end.
	life, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	detach := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	fn, err := h.guardedWire(life)
	if !detach() && err == nil { // done, but too late to live on
		err = context.Cause(ctx)
	}
	if err != nil {
		cancel(err)
		return nil, fmt.Errorf("wire %s: %w", h.spec.Name, err)
	}
	h.fn, h.cancel = &fn, cancel
	return h.fn, nil
}

func (h *Host) guardedWire(ctx context.Context) (fn function.Function, err error) {
	defer h.recovered(ctx, &err)
	return h.wire(ctx, h.env)
}

// Fatal makes the host end the process with the next event: the one that runs
// now is answered first, and the next gets a fresh sandbox when it is retried.
func (h *Host) Fatal(err error) {
	if h.broken.CompareAndSwap(nil, &err) {
		h.env.Log.Error("process must end", "function", h.spec.Name, "error", err)
	}
}

// Close ends what the function opened. Events that come later fail.
func (h *Host) Close(ctx context.Context) error {
	h.broken.CompareAndSwap(nil, new(ErrClosed))
	err := h.env.Close(ctx)
	select {
	case h.turn <- struct{}{}:
		h.cancel(ErrClosed)
		<-h.turn
	case <-ctx.Done(): // a wiring hangs; the process ends anyway
	}
	return err
}

// deadlines derives the context of a call, and when its answer is cut off at
// last: half of the margin later, so that a handler whose time is up can still
// write an end. The zero time means never.
func deadlines(ctx context.Context) (call context.Context, cancel context.CancelCauseFunc, cut time.Time) {
	end, ok := ctx.Deadline()
	if !ok {
		call, cancel = context.WithCancelCause(ctx)
		return call, cancel, time.Time{}
	}
	// The platform's deadline is wall-clock time, so no injected clock is asked.
	keep := min(margin, max(0, time.Until(end)/4))
	timed, stop := context.WithDeadline(ctx, end.Add(-keep))
	call, cancel = context.WithCancelCause(timed)
	context.AfterFunc(call, stop)
	return call, cancel, end.Add(-keep / 2)
}
