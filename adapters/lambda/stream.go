package lambda

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/awslabs/aws-lambda-go-api-proxy/core"

	"github.com/aiaas/aiaas/shared/fault"
)

// ErrClientGone is why a request's context ends, and its writes fail, when the
// platform stops reading the answer.
var ErrClientGone = errors.New("nobody reads the answer any more")

// stream answers an exchange while its handler still produces. It returns when
// the head is known; the body follows as it is written.
func (h *Host) stream(ctx context.Context, ex exchange) (any, error) {
	call, cancel, cut := deadlines(ctx)
	r, err := new(core.RequestAccessor).EventToRequestWithContext(call, ex.event)
	if err != nil {
		cancel(err)
		return nil, fmt.Errorf("build request: %w", err)
	}
	from, to := io.Pipe()
	body := &streamBody{from: from, cancel: cancel, done: make(chan struct{}), limit: ctx.Done()}
	head := make(chan *events.APIGatewayProxyStreamingResponse, 1)
	w := &streamWriter{from: from, cut: cut, writer: writer{
		header: http.Header{}, body: to,
		commit: func(status int, header http.Header) {
			head <- &events.APIGatewayProxyStreamingResponse{StatusCode: status, MultiValueHeaders: header, Body: body}
		},
	}}
	w.arm(cut)
	go func() {
		defer close(body.done)
		defer cancel(nil)
		h.produce(ex, w, withPeer(r), to)
	}()
	return <-head, nil
}

// produce runs the handler to the end of its answer. A panic before the first
// byte is a problem document, one after it ends the stream with an error.
func (h *Host) produce(ex exchange, w *streamWriter, r *http.Request, to *io.PipeWriter) {
	defer w.disarm()
	err := h.serve(ex.handler, w, r)
	if err != nil && w.status != 0 {
		_ = to.CloseWithError(err) // always nil
		return
	}
	if err != nil {
		h.refuse(r.Context(), ex, fault.Wrap(fault.Internal, "serve request", err)).handler.ServeHTTP(w, r)
	}
	w.Flush()
	_ = to.Close() // always nil
}

// streamBody is the reading side of a stream, in the hands of the runtime.
type streamBody struct {
	from   *io.PipeReader
	cancel context.CancelCauseFunc
	done   chan struct{}   // closed when the handler has returned
	limit  <-chan struct{} // closed when the platform waits no longer
}

// Read implements [io.Reader].
func (b *streamBody) Read(p []byte) (int, error) { return b.from.Read(p) }

// Close tells the handler that nobody reads, and waits for it: what it still
// has to record is recorded before the process may be frozen.
func (b *streamBody) Close() error {
	b.cancel(ErrClientGone)
	_ = b.from.CloseWithError(ErrClientGone) // always nil
	select {
	case <-b.done:
	case <-b.limit:
	}
	return nil
}

// streamWriter adds to a writer what a handler may ask of a connection through
// [http.ResponseController].
type streamWriter struct {
	writer

	from  *io.PipeReader
	cut   time.Time // the platform's own deadline for writes; zero when it has none
	mu    sync.Mutex
	timer *time.Timer
}

// SetWriteDeadline makes writes fail with [os.ErrDeadlineExceeded] from t on, so
// that a reader that stalls can't hold the handler. As with connections of
// net/http, a deadline that has passed can't be taken back. The zero time means
// as late as the platform allows.
func (w *streamWriter) SetWriteDeadline(t time.Time) error {
	if t.IsZero() || (!w.cut.IsZero() && w.cut.Before(t)) {
		t = w.cut
	}
	w.arm(t)
	return nil
}

func (w *streamWriter) arm(t time.Time) {
	w.disarm()
	if t.IsZero() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(time.Until(t), func() {
		_ = w.from.CloseWithError(os.ErrDeadlineExceeded) // always nil
	})
}

func (w *streamWriter) disarm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
}
