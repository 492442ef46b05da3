package relay

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/aiaas/aiaas/shared/admission"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/idempotency"
	"github.com/aiaas/aiaas/shared/usage"
)

// once is the claim of a request with an idempotency key. Its methods bear nil: a
// request without.
type once struct {
	claim *idempotency.Claim
	drop  bool // the answer is not kept
	done  *idempotency.Settled
	empty bool // the client left before anything of an answer came, and nothing is billed
	ended bool
}

// keepTimeout bounds what keeping an answer may take: it stands before the end of
// the answer.
const keepTimeout = 5 * time.Second

// begin claims the request's idempotency key, where it has one. An answer means
// that the request was answered before.
func (g *Gateway) begin(ctx context.Context, c *call, q Request) (*idempotency.Answer, error) {
	key := q.IdempotencyKey
	switch {
	case key == "":
		key = c.chat.RequestID
	case c.chat.RequestID != "" && c.chat.RequestID != key:
		return nil, fault.New(fault.Invalid, "the body's request_id and the Idempotency-Key differ").At("request_id")
	}
	switch {
	case key == "":
		return nil, nil //nolint:nilnil // neither an answer nor an error: the request runs
	case len(key) > idempotency.MaxKey:
		return nil, fault.New(fault.Invalid, "an idempotency key has at most %d bytes", idempotency.MaxKey).At("Idempotency-Key")
	case g.Once == nil:
		return nil, fault.New(fault.Unavailable, "idempotency keys can't be kept here")
	}
	// A claim writes to the database, and a caller who is over his limits is not to
	// make us write.
	if err := g.Admission.Check(ctx, c.key.OrgID, c.at, subjects(c.key.Record)); err != nil {
		return nil, err
	}
	claim, answer, err := g.Once.Begin(ctx, idempotency.Attempt{
		OrgID: c.key.OrgID, APIKeyID: c.key.KeyID, Secret: q.Key, Key: key, RequestID: c.id, Endpoint: c.endpoint, Body: c.chat.body,
	})
	if claim != nil {
		c.once = &once{claim: claim, drop: q.DropAnswer}
	}
	if answer != nil {
		err = g.countReplay(ctx, c)
	}
	return answer, err
}

// countReplay counts a replay as the request that it is. It uses no tokens and no
// budget.
func (g *Gateway) countReplay(ctx context.Context, c *call) error {
	_, err := g.Admission.Admit(ctx, &admission.Request{
		ID: c.id, Org: c.key.OrgID, Version: c.key.Version, At: c.at, Subjects: subjects(c.key.Record),
	})
	switch {
	case errors.Is(err, admission.ErrStale): // the next one is counted
		return nil
	case err != nil:
		return err
	}
	g.release(ctx, c)
	return nil
}

// replay gives an answer again.
func (c *call) replay(w http.ResponseWriter, a *idempotency.Answer, err error) error {
	if err != nil {
		return err
	}
	c.seen.Replay = a.RequestID
	h := w.Header()
	h.Set("Idempotency-Replayed", "true")
	h.Set("X-Aiaas-Original-Request-Id", a.RequestID)
	if a.Stream {
		out := &client{w: w, control: http.NewResponseController(w)}
		_ = out.show(a.Body) // the client may have left
		return nil
	}
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(a.Body))}
	_, _ = w.Write(a.Body) // the client may have left
	return nil
}

// settled notes what the request came to: from here on it must not run again.
func (o *once) settled(e *usage.Event) {
	if o == nil {
		return
	}
	o.done = &idempotency.Settled{Cost: e.Cost, Currency: e.Currency}
	o.empty = e.Outcome == usage.Aborted && e.Cost == 0 && e.Input == 0 && e.Output == 0
}

// keep stores the answer of a recorded request, before its end leaves. Where that
// fails the request is answered all the same: another try finds that it was
// recorded.
func (g *Gateway) keep(ctx context.Context, c *call, answer []byte) {
	o := c.once
	if o == nil || o.done == nil || o.ended {
		return
	}
	o.ended = true
	if o.drop {
		answer = nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTimeout)
	defer cancel()
	err := o.claim.Finish(ctx, idempotency.Outcome{Settled: *o.done, Answer: answer, Stream: c.chat.Stream})
	if err != nil {
		g.Log.ErrorContext(ctx, "keep answer", "request_id", c.id, "error", err)
	}
}

// endClaim ends the claim of a request that was not answered in full. Where it is
// not known whether the request was recorded, the claim stands until it is. A
// request that ended before anything of an answer came is as good as one that failed:
// it is listed, costs nothing, and trying again helps.
func (g *Gateway) endClaim(ctx context.Context, c *call) {
	o := c.once
	switch {
	case o == nil || o.ended:
		return
	case o.done != nil && !o.empty:
		g.keep(ctx, c, nil)
		return
	case o.done == nil && c.settled && !c.released:
		o.claim.Leave()
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTimeout)
	defer cancel()
	if err := o.claim.Release(ctx); err != nil {
		g.Log.ErrorContext(ctx, "release idempotency key", "request_id", c.id, "error", err)
	}
}

// copier copies what is shown of a stream, up to what can be kept. Its methods
// bear nil.
type copier struct {
	buf  []byte
	over bool
}

func (o *once) copier() *copier {
	if o == nil || o.drop {
		return nil
	}
	return &copier{}
}

func (k *copier) add(p []byte) {
	switch {
	case k == nil || k.over:
	case len(k.buf)+len(p) > idempotency.MaxAnswer:
		k.buf, k.over = nil, true
	default:
		k.buf = append(k.buf, p...)
	}
}

// bytes is the whole of what was shown, or nil where it is too much.
func (k *copier) bytes() []byte {
	if k == nil || k.over {
		return nil
	}
	return k.buf
}
