package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/gjson"

	"github.com/aiaas/aiaas/shared/admission"
	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/pricing"
	"github.com/aiaas/aiaas/shared/usage"
)

const (
	maxAnswer     = 16 << 20         // bytes of an answer that is not streamed
	maxRefusal    = 64 << 10         // bytes of a backend's error that are read
	writeTimeout  = 30 * time.Second // a client that takes nothing for so long has left
	drainTimeout  = time.Second      // for the usage block, when the client has left
	finishTimeout = 5 * time.Second  // for the usage block, after the last finish_reason
	// For the end of a stream's body, behind its end.
	readOutTimeout = 100 * time.Millisecond
	maxReadOut     = 4 << 10         // bytes
	retryLater     = 5 * time.Second // told to clients of a backend that is overloaded
)

// answer relays one answer of a backend.
type answer struct {
	g      *Gateway
	c      *call
	client context.Context //nolint:containedctx // lives as long as the one request it belongs to
	resp   *http.Response
	idle   *time.Timer // cancels the backend when it stays silent
	leave  func() bool // stops the client's leaving from cancelling the backend
	cancel func()
	times  timing
	ending bool // every choice has finished: the timer is a bound for the rest in all
}

type timing struct{ firstContent time.Duration }

// Read reads from the backend and keeps the idle timer from firing.
func (a *answer) Read(p []byte) (int, error) {
	n, err := a.resp.Body.Read(p)
	if n > 0 && !a.ending {
		a.idle.Reset(a.g.Idle)
	}
	return n, err
}

//nolint:gochecknoglobals // a pool is shared by nature
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxPooled keeps a rare large answer from staying in memory.
const maxPooled = 256 << 10

// whole relays an answer that is not streamed. It is read to its end even when the
// client has left meanwhile: the backend has done the work.
func (a *answer) whole(w http.ResponseWriter) error {
	g, c := a.g, a.c
	a.leave()
	buf, _ := buffers.Get().(*bytes.Buffer)
	buf.Reset()
	defer func() {
		if buf.Cap() <= maxPooled {
			buffers.Put(buf)
		}
	}()
	_, err := buf.ReadFrom(io.LimitReader(a, maxAnswer+1))
	var t tally
	switch {
	case err != nil && a.client.Err() != nil: // nothing was delivered, but the backend has worked: it is listed
		return errors.Join(ErrClientGone, g.record(a.client, c, &tally{}, usage.Aborted, a.times))
	case err != nil:
		g.release(a.client, c)
		return fault.Wrap(fault.BadGateway, "read answer", err)
	case buf.Len() > maxAnswer:
		g.release(a.client, c)
		return fault.Wrap(fault.BadGateway, "read answer", errors.New("it is too large"))
	case !isJSON(a.resp.Header) || !t.readAnswer(buf.Bytes()):
		g.release(a.client, c)
		return fault.Wrap(fault.BadGateway, "read answer", errors.New("it is not a completion"))
	}
	if err := g.record(a.client, c, &t, usage.Complete, a.times); err != nil {
		return err
	}
	g.keep(a.client, c, buf.Bytes())
	h := w.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(buf.Len())}
	out := &client{w: w, control: http.NewResponseController(w)}
	out.extend()
	if _, err := w.Write(buf.Bytes()); err != nil {
		return ErrClientGone
	}
	return nil
}

func isJSON(h http.Header) bool {
	t := h.Get("Content-Type")
	if t == "application/json" {
		return true
	}
	kind, _, err := mime.ParseMediaType(t)
	return err == nil && kind == "application/json"
}

// stream relays server-sent events as they come and withholds the end until the
// request is recorded.
func (a *answer) stream(w http.ResponseWriter) error {
	g, c := a.g, a.c
	if kind, _, err := mime.ParseMediaType(a.resp.Header.Get("Content-Type")); err != nil || kind != "text/event-stream" {
		g.release(a.client, c)
		return fault.Wrap(fault.BadGateway, "read stream", errors.New("it is not an event stream"))
	}
	s := &stream{answers: c.chat.N, showUsage: c.chat.IncludeUsage}
	if len(c.holds) > 0 {
		s.bound = c.output
	}
	out := &client{w: w, control: http.NewResponseController(w), copy: c.once.copier()}
	err := s.pump(a, func(p []byte) error {
		if a.times.firstContent == 0 && s.chunks > 0 {
			a.times.firstContent = g.Now().Sub(c.at)
		}
		if err := out.show(p); err != nil {
			return errors.Join(ErrClientGone, err)
		}
		if s.complete() {
			a.finishing()
		}
		return nil
	})
	return a.endStream(s, out, err)
}

// finishing is called once every choice has finished: the rest is the usage
// block, and neither the client's leaving nor a slow backend should cost it.
func (a *answer) finishing() {
	if a.ending {
		return
	}
	a.ending = true
	a.leave()
	a.idle.Reset(finishTimeout)
}

// endStream settles a stream, whatever ended it, and tells the client.
func (a *answer) endStream(s *stream, out *client, err error) error {
	g, c := a.g, a.c
	outcome := usage.Failed
	switch {
	case s.complete() && (err == nil || !errors.Is(err, errMalformed)):
		outcome = usage.Complete // the usage block is missing at most: then it is estimated
		a.lastUsage(s, err)
		if !s.reported && a.client.Err() != nil {
			// The client left a moment before its last finish_reason was read: its
			// leaving has cancelled the backend, and the count with it.
			outcome = usage.Aborted
		}
	case a.client.Err() != nil || errors.Is(err, ErrClientGone):
		outcome = usage.Aborted
	}
	if outcome != usage.Complete {
		a.cancel() // the backend need not go on while the request is recorded
	}
	if outcome == usage.Failed && s.chunks == 0 {
		g.release(a.client, c) // nothing was delivered that could be billed
		return out.fail(brokeOff(err), c.id)
	}
	if outcome == usage.Failed && !out.begun {
		c.status = fault.From(brokeOff(err)).Status()
	}
	if err := g.record(a.client, c, &s.tally, outcome, a.times); err != nil {
		return out.fail(err, c.id)
	}
	switch outcome {
	case usage.Complete:
		out.copy.add(s.ending())
		g.keep(a.client, c, out.copy.bytes())
		out.copy = nil
		_ = out.show(s.ending()) // the client may have left; it is billed what it got
		a.readOut()
		return nil
	case usage.Failed:
		return out.fail(brokeOff(err), c.id)
	default:
		return ErrClientGone
	}
}

// brokeOff is the error of a backend that did not finish its stream. The only
// thing that cancels a backend while its client is there is the idle timer.
func brokeOff(err error) error {
	if errors.Is(err, context.Canceled) {
		return fault.Wrap(fault.GatewayTimeout, "read stream", err)
	}
	return fault.Wrap(fault.BadGateway, "read stream", err)
}

// readOut reads what a backend still sends behind its answer, which is next to
// nothing: read to its end, a body gives its connection back.
func (a *answer) readOut() {
	a.idle.Reset(readOutTimeout)
	_, _ = io.Copy(io.Discard, io.LimitReader(a, maxReadOut))
}

// lastUsage reads on for the usage block when the client left after the last
// finish_reason: what it costs is known in a moment.
func (a *answer) lastUsage(s *stream, err error) {
	if s.reported || !errors.Is(err, ErrClientGone) {
		return
	}
	a.idle.Reset(drainTimeout)
	_ = s.pump(a, func([]byte) error { return nil })
}

// client is the answer's way out.
type client struct {
	w        http.ResponseWriter
	control  *http.ResponseController
	deadline time.Time
	begun    bool
	copy     *copier // of what is shown; nil where none is kept
}

func (o *client) begin() {
	o.begun = true
	h := o.w.Header()
	h["Content-Type"] = []string{"text/event-stream; charset=utf-8"}
	h["Cache-Control"] = []string{"no-store"}
	h["X-Accel-Buffering"] = []string{"no"} // nginx, which buffers by default
	o.w.WriteHeader(http.StatusOK)
}

// extend gives the client writeTimeout from now to take what is written; not on
// every write, because deadlines cost.
func (o *client) extend() {
	now := time.Now() //nolint:forbidigo // a socket's deadline is wall time
	if now.Add(writeTimeout / 2).After(o.deadline) {
		o.deadline = now.Add(writeTimeout)
		_ = o.control.SetWriteDeadline(o.deadline) // hosts without it have deadlines of their own
	}
}

// show writes and flushes. A client that takes nothing for writeTimeout has left.
func (o *client) show(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if !o.begun {
		o.begin()
	}
	o.extend()
	o.copy.add(p)
	if _, err := o.w.Write(p); err != nil {
		return err
	}
	return o.control.Flush()
}

// ErrTold marks an error that the client was told within its stream: nothing more
// is to be written.
var ErrTold = errors.New("told in the stream")

// fail tells an error: in the answer's status as long as nothing was sent, else
// within the stream, in OpenAI's form. No terminator follows.
func (o *client) fail(err error, requestID string) error {
	if !o.begun {
		return err
	}
	doc := fault.From(err).Document(requestID, "", true)
	body, mErr := json.Marshal(map[string]any{"error": doc.OpenAI, "request_id": requestID})
	if mErr == nil {
		_ = o.show(append(append([]byte("data: "), body...), "\n\n"...)) // the client may have left
	}
	return errors.Join(ErrTold, err)
}

// refused ends a request that the backend refused. What is wrong with the
// client's request the client is told in the backend's words; all else is the
// platform's business.
func (g *Gateway) refused(ctx context.Context, c *call, resp *http.Response) error {
	g.release(ctx, c)
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	said := gjson.GetBytes(body, "error.message").String()
	cause := fmt.Errorf("%w: status %d: %s", ErrRefused, resp.StatusCode, clip(said))
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		f := fault.New(codeOf(resp.StatusCode), "%s", strings.ToValidUTF8(said, "�")).At(gjson.GetBytes(body, "error.param").String())
		f.Err = cause
		return f
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return fault.Wrap(fault.Unavailable, "call backend", cause).After(retryAfter(resp.Header))
	case http.StatusGatewayTimeout, http.StatusRequestTimeout:
		return fault.Wrap(fault.GatewayTimeout, "call backend", cause)
	}
	return fault.Wrap(fault.BadGateway, "call backend", cause)
}

func codeOf(status int) fault.Code {
	switch status {
	case http.StatusUnprocessableEntity:
		return fault.Unprocessable
	case http.StatusRequestEntityTooLarge:
		return fault.TooLarge
	}
	return fault.Invalid
}

func retryAfter(h http.Header) time.Duration {
	if s, err := strconv.Atoi(h.Get("Retry-After")); err == nil && s > 0 && s <= 3600 {
		return time.Duration(s) * time.Second
	}
	return retryLater
}

// record settles a request and makes its event durable: the hold becomes final
// first, so that no one can think the money free in between.
func (g *Gateway) record(ctx context.Context, c *call, t *tally, outcome usage.Outcome, times timing) error {
	e := g.event(c, t, outcome, times)
	amounts := make([]int64, len(c.holds))
	for i, h := range c.holds {
		amounts[i] = c.units[i].Amount(e.Cost, e.Tokens())
		e.Holds = append(e.Holds, usage.Held{Budget: h.Budget, Start: h.Start, End: h.End, Amount: amounts[i]})
	}
	recorded, err := e.Encode()
	if err != nil {
		return err
	}
	c.settled = true
	final := admission.Final{ID: c.id, Org: c.key.OrgID, Tokens: e.Input + e.Output, Amounts: amounts}
	if err := g.Admission.Finish(context.WithoutCancel(ctx), final); err != nil { // not the client's to cancel
		return fault.Wrap(fault.Unavailable, "settle", err).After(time.Second)
	}
	if err := g.Recorder.Record(recorded); err != nil {
		return fault.Wrap(fault.Unavailable, "record usage", err).After(time.Second)
	}
	c.seen.Recorded = true
	c.once.settled(e)
	return nil
}

// event is what the request used and cost.
func (g *Gateway) event(c *call, t *tally, outcome usage.Outcome, times timing) *usage.Event {
	u, estimated := g.counted(c, t, outcome)
	cost, err := c.price.Cost(u)
	if err != nil { // beyond any bound: bill nothing that can't be right, and say so
		g.Log.Error("cost is out of range", "request_id", c.id, "error", err)
	}
	e := &usage.Event{
		ID: c.id, OrgID: c.key.OrgID, ProjectID: c.key.ProjectID, KeyID: c.key.KeyID,
		Model: c.model.ID, BackendID: c.backend.ID, PriceID: c.price.ID, Endpoint: c.endpoint, AdmittedAt: c.at,
		Period:   budget.AccountingMonth(c.at, c.key.TimeZone).Format(time.DateOnly),
		Streamed: c.chat.Stream, Outcome: outcome, Estimated: estimated,
		Input: u.InputTokens, Cached: u.CachedInputTokens, Output: u.OutputTokens, Cost: cost, Currency: c.price.Currency,
		Status: c.answered(outcome), Address: c.from.Address, UserAgent: c.from.UserAgent,
		TTFTMicros: times.firstContent.Microseconds(), DurationMicros: g.Now().Sub(c.at).Microseconds(), Raw: t.raw,
	}
	return e
}

// StatusClientGone is what the log shows for clients that left before the end: the
// status that nginx made known for it.
const StatusClientGone = 499

// answered is the status that a recorded request is answered with: one that failed
// had mostly begun to answer.
func (c *call) answered(o usage.Outcome) int {
	switch {
	case o == usage.Aborted:
		return StatusClientGone
	case c.status != 0:
		return c.status
	}
	return http.StatusOK
}

// ErrRefused marks what a backend found wrong with a request. It is told in the
// backend's words, which may repeat the request's: they are no text for a log.
var ErrRefused = errors.New("the backend refused the request")

// counted is what is billed: what the backend reported, else what was received,
// and under a hold never more than its bound.
func (g *Gateway) counted(c *call, t *tally, outcome usage.Outcome) (u pricing.Usage, estimated bool) {
	u = pricing.Usage{InputTokens: t.input, CachedInputTokens: t.cached, OutputTokens: t.output}
	if !t.reported {
		estimated = true
		if outcome == usage.Complete || t.chunks > 0 { // else the backend gave nothing
			u = pricing.Usage{InputTokens: c.chat.InputEstimate(), OutputTokens: t.estimate()}
		}
	}
	if len(c.holds) == 0 {
		return u, estimated
	}
	bounded := pricing.Usage{InputTokens: min(u.InputTokens, c.input), OutputTokens: min(u.OutputTokens, c.output)}
	bounded.CachedInputTokens = min(u.CachedInputTokens, bounded.InputTokens)
	if bounded != u {
		g.Log.Warn("backend reports more than the bound", "request_id", c.id, "backend", c.backend.ID,
			"input", u.InputTokens, "input_bound", c.input, "output", u.OutputTokens, "output_bound", c.output)
	}
	return bounded, estimated
}
