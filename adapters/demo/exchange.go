package demo

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// exchange is one request and its answer.
type exchange struct {
	server    *Server
	w         http.ResponseWriter
	flusher   *http.ResponseController
	req       *request
	behaviour Behaviour  // the server's, then with the request's over it
	headers   *Behaviour // the request's headers; nil when they say nothing
	plan      plan
	choices   []choice
	rec       Served
	buf       []byte // pooled
	// abort ends the connection without the end of the answer.
	abort bool
}

// serve answers, and leaves in rec how it went.
func (e *exchange) serve(ctx context.Context, body []byte) {
	if err := e.read(body); err != nil {
		e.refuse(err)
		return
	}
	if e.plan.ignoreCancel {
		ctx = context.WithoutCancel(ctx)
	}
	if e.plan.timed() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, e.server.limits.Duration)
		defer cancel()
	}
	e.answer(ctx)
}

// read makes the request, its instructions and the answer's tokens.
func (e *exchange) read(body []byte) error {
	req, err := readRequest(body, e.server.limits)
	if err != nil {
		return err
	}
	e.req, e.rec.Model, e.rec.Stream = req, req.Model, req.Stream
	if !e.server.has(req.Model) {
		r := refuse("model", "The model '"+req.Model+"' does not exist or you do not have access to it.")
		r.status, r.code = http.StatusNotFound, "model_not_found"
		return r
	}
	if len(req.Demo) > 0 && req.Demo.Kind() != 'n' {
		said, err := readBehaviour(req.Demo)
		if err != nil {
			return err
		}
		e.behaviour = e.behaviour.over(said)
	}
	if e.headers != nil {
		e.behaviour = e.behaviour.over(*e.headers)
	}
	if err := e.behaviour.check(e.server.limits); err != nil {
		return err
	}
	e.plan = e.behaviour.plan()
	if req.Stream {
		e.plan = e.plan.streamed(&e.behaviour)
	}
	e.choices = req.choose(value(e.behaviour.Tokens))
	e.rec.PromptTokens = req.promptTokens()
	for i := range e.choices {
		e.rec.CompletionTokens += e.choices[i].tokens
	}
	return nil
}

func (e *exchange) refuse(err error) {
	var r *refusal
	if !errors.As(err, &r) {
		r = told(http.StatusInternalServerError, never)
		r.message = "Internal error."
	}
	e.rec.Outcome, e.rec.Status = Refused, r.status
	r.write(e.w)
}

// answer does what the plan says.
func (e *exchange) answer(ctx context.Context) {
	if !e.wait(ctx, e.plan.delay) {
		return
	}
	status := value(e.behaviour.Status)
	switch {
	case status != 0:
		e.fail(ctx, status)
	case e.behaviour.Body != nil:
		e.rec.CompletionTokens = 0
		e.sendBody(ctx, http.StatusOK, []byte(*e.behaviour.Body))
	case e.req.Stream:
		s := stream{exchange: e}
		s.run(ctx)
	default:
		e.whole(ctx)
	}
}

// fail answers the status that an instruction asks for.
func (e *exchange) fail(ctx context.Context, status int) {
	e.rec.CompletionTokens = 0
	r := told(status, position(e.behaviour.RetryAfter))
	body := r.appendTo(nil)
	if e.behaviour.Body != nil {
		body = []byte(*e.behaviour.Body)
	}
	if e.behaviour.ContentType == nil {
		e.plan.contentType = "application/json"
	}
	r.headers(e.w.Header())
	if e.sendBody(ctx, status, body) {
		e.rec.Outcome = Refused
	}
}

func (e *exchange) whole(ctx context.Context) {
	if !e.wait(ctx, e.plan.ttft) {
		return
	}
	body, mark := e.appendWhole(e.buf)
	e.buf = body[:0]
	if e.plan.giant > 0 {
		e.sendGiant(ctx, body, mark)
		return
	}
	if e.sendBody(ctx, http.StatusOK, body) && e.rec.Outcome == Complete {
		e.rec.SentTokens, e.rec.UsageSent = e.rec.CompletionTokens, !e.plan.omitUsage
	}
}

// sendBody sends a body of known length as the plan wants it, and reports
// whether all of what was to be sent went out.
func (e *exchange) sendBody(ctx context.Context, status int, body []byte) bool {
	p, outcome := &e.plan, Complete
	if within(p.malformed, body) {
		body, outcome = append(body[:p.malformed:p.malformed], p.malformedText...), Cut
	}
	if within(p.end, body) {
		body, outcome = body[:p.end], Cut
	}
	breaks := never
	for _, at := range []int{p.cut, p.stall} {
		if within(at, body) && (breaks == never || at < breaks) {
			breaks = at
		}
	}
	if breaks == 0 {
		return e.breakOff(ctx, 0)
	}
	e.start(status, len(body))
	if breaks == never {
		if !e.write(ctx, body) || !e.flush() {
			return false
		}
		e.rec.Outcome = outcome
		return true
	}
	if !e.write(ctx, body[:breaks]) || !e.flush() {
		return false
	}
	return e.breakOff(ctx, breaks)
}

// within reports whether a position lies before the end of a body.
func within(at int, body []byte) bool { return at != never && at < len(body) }

// breakOff ends the connection at a position: at once, or after a stall.
func (e *exchange) breakOff(ctx context.Context, at int) bool {
	e.rec.Outcome, e.abort = Cut, true
	if e.plan.stall == at && e.plan.cut != at {
		select {
		case <-ctx.Done():
		case <-e.server.draining:
		}
		e.lose(ctx)
	}
	return false
}

// sendGiant sends a whole answer with a giant line in its first content.
func (e *exchange) sendGiant(ctx context.Context, body []byte, mark int) {
	e.start(http.StatusOK, len(body)+int(e.plan.giant))
	if e.write(ctx, body[:mark]) && e.writeFiller(ctx) && e.write(ctx, body[mark:]) && e.flush() {
		e.rec.Outcome, e.rec.SentTokens = Complete, e.rec.CompletionTokens
		e.rec.UsageSent = !e.plan.omitUsage
	}
}

// writeFiller writes the giant line's bytes, few at a time.
func (e *exchange) writeFiller(ctx context.Context) bool {
	piece := bytes.Repeat([]byte{'a'}, 32<<10)
	for left := e.plan.giant; left > 0; left -= int64(len(piece)) {
		if left < int64(len(piece)) {
			piece = piece[:left]
		}
		if !e.write(ctx, piece) {
			return false
		}
	}
	return true
}

// start sends the status. length is the body's, never for unknown.
func (e *exchange) start(status, length int) {
	if e.rec.Status != 0 {
		return
	}
	h := e.w.Header()
	h.Set("Content-Type", e.plan.contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	if length != never {
		h.Set("Content-Length", strconv.Itoa(length))
	}
	e.rec.Status = status
	e.w.WriteHeader(status)
}

// write hands bytes to the connection; false when the client has left.
func (e *exchange) write(ctx context.Context, b []byte) bool {
	if ctx.Err() != nil {
		e.lose(ctx)
		return false
	}
	if _, err := e.w.Write(b); err != nil {
		e.rec.Outcome, e.abort = ClientGone, true
		return false
	}
	return true
}

func (e *exchange) flush() bool {
	if err := e.flusher.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		e.rec.Outcome, e.abort = ClientGone, true
		return false
	}
	return true
}

// wait lets time pass; false when the request ends before.
func (e *exchange) wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-e.server.stopped:
	}
	e.lose(ctx)
	return false
}

// lose notes why an answer ends before its end.
func (e *exchange) lose(ctx context.Context) {
	e.rec.Outcome, e.abort = Cut, true
	if errors.Is(ctx.Err(), context.Canceled) && !e.server.isStopped() {
		e.rec.Outcome = ClientGone
	}
}
