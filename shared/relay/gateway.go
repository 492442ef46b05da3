// Package relay is the path of a paid request: from a key and a body to an answer
// that is recorded before its end leaves.
//
//	authenticate → read strictly → authorise → price → admit → route → relay → settle → record
//
// It owns the order of these steps and what happens when one fails. Rules about
// money, limits and keys are those of their own packages. A request takes its one
// time, admitted_at, when it arrives; price, budget windows, accounting month and
// partition all follow from it.
//
// A request that reached a backend ends in exactly one of two ways: released,
// when the backend gave nothing that costs, or settled and recorded. The hold is
// freed on every path, panics included.
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/aiaas/aiaas/shared/admission"
	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/fresh"
	"github.com/aiaas/aiaas/shared/idempotency"
	"github.com/aiaas/aiaas/shared/model"
	"github.com/aiaas/aiaas/shared/pricing"
	"github.com/aiaas/aiaas/shared/usage"
)

// Keys resolves API keys.
type Keys interface {
	Resolve(ctx context.Context, key string) (apikey.Resolved, error)
}

// Catalogue is the current catalogue of models.
type Catalogue interface {
	Snapshot(ctx context.Context) (*model.Snapshot, error)
}

// Budgets reads the budgets of an organisation that block, or warn.
type Budgets interface {
	Governing(ctx context.Context, org string) (*budget.Governing, error)
}

// Admission admits requests and settles them, as admission.Service does.
type Admission interface {
	Admit(ctx context.Context, r *admission.Request) (admission.Verdict, error)
	Finish(ctx context.Context, f admission.Final) error
	Release(ctx context.Context, org, id string) error
	// Rates is the state of the subjects' limits, without a request.
	Rates(ctx context.Context, org string, at time.Time, subjects []admission.Subject) (admission.Verdict, error)
	// Check is fault.RateLimited where a request would be refused by its limits.
	Check(ctx context.Context, org string, at time.Time, subjects []admission.Subject) error
}

// Idempotency makes requests with an idempotency key happen once.
type Idempotency interface {
	Begin(ctx context.Context, a idempotency.Attempt) (*idempotency.Claim, *idempotency.Answer, error)
}

// Recorder makes events durable.
type Recorder interface {
	Record(e usage.Recorded) error
	Err() error
}

// Upstream calls a backend. The answer's body must be closed. An error means that
// no answer began.
type Upstream interface {
	Call(ctx context.Context, b model.Backend, path string, requestID string, body []byte) (*http.Response, error)
}

// Versions is the configuration version, as in package apikey.
type Versions interface {
	Latest() uint64
	Version(org string) uint64
}

// Config is what a gateway is made from.
type Config struct {
	Keys      Keys
	Catalogue Catalogue
	Budgets   Budgets
	Versions  Versions
	Admission Admission
	Recorder  Recorder
	Upstream  Upstream
	// Once may be nil: then a request with an idempotency key is refused.
	Once   Idempotency
	Now    func() time.Time
	Random func(n int) int // a number in [0, n)
	Log    *slog.Logger
	Idle   time.Duration // longest silence of a backend
}

// Gateway serves paid requests.
type Gateway struct {
	Config
	budgets *fresh.Cache[string, *budget.Governing]
	breaker *breaker
}

const readTimeout = 5 * time.Second

// New makes a gateway.
func New(c Config) *Gateway {
	return &Gateway{
		Config:  c,
		budgets: fresh.New(c.Budgets.Governing, c.Versions.Latest, c.Now, readTimeout),
		breaker: &breaker{now: c.Now},
	}
}

// call is one paid request on its way.
type call struct {
	id       string
	endpoint string
	at       time.Time // admitted_at
	chat     *Chat
	key      apikey.Resolved
	model    *model.Model
	backend  model.Backend
	price    pricing.Price
	holds    []admission.Hold
	units    []budget.Unit // of the holds
	warning  []budget.Counted
	input    int64 // bounds, in tokens
	output   int64
	settled  bool // released or recorded: nothing is held any more
	released bool // it came to nothing
	status   int  // of its answer, where its outcome does not tell
	from     Origin
	once     *once
	seen     *Seen
}

// Request is a paid request as the edge hands it over.
type Request struct {
	ID       string // of the request, and of the event it becomes
	Key      string // the API key's text
	Endpoint string // "/v1/chat/completions"
	Body     func() ([]byte, error)
	From     Origin
	// IdempotencyKey names the request for the caller: "" for none.
	IdempotencyKey string
	DropAnswer     bool // the answer is not to be kept for another try
}

// Origin is where a request came from.
type Origin struct {
	Address   string
	UserAgent string
}

// Seen is what became known of a request on its way, for the access log.
type Seen struct {
	Key      *apikey.Record // nil: of nobody
	Model    string
	Recorded bool   // it stands in the usage
	Replay   string // the request whose answer was given again
}

// Chat serves a chat completion. Errors before the first byte are returned, with
// nothing held; after it, they are told in the stream.
func (g *Gateway) Chat(w http.ResponseWriter, r *http.Request, q Request, seen *Seen) (err error) {
	ctx := r.Context()
	c := &call{id: q.ID, endpoint: q.Endpoint, at: g.Now().Truncate(time.Microsecond), from: q.From, seen: seen}
	if c.key, err = g.Keys.Resolve(ctx, q.Key); err != nil {
		return err
	}
	seen.Key = c.key.Record
	if err := g.prepare(ctx, c, q); err != nil {
		g.LimitHeaders(ctx, w.Header(), c.key)
		return err
	}
	if err := g.resolve(ctx, c); err != nil {
		g.LimitHeaders(ctx, w.Header(), c.key)
		return err
	}
	replay, err := g.begin(ctx, c, q)
	if err != nil || replay != nil {
		g.LimitHeaders(ctx, w.Header(), c.key)
		return c.replay(w, replay, err)
	}
	defer g.endClaim(ctx, c)
	verdict, err := g.admit(ctx, c, q.Key)
	limitHeaders(w.Header(), verdict)
	warn(w.Header(), c)
	if err != nil {
		// Where nothing was decided, the limits stand as they are; a key that is good no
		// longer is told what every such key is told.
		if verdict.Requests.Limit == 0 && verdict.Tokens.Limit == 0 && !fault.Is(err, fault.Unauthenticated) {
			g.LimitHeaders(ctx, w.Header(), c.key)
		}
		return err
	}
	defer g.abandon(ctx, c)
	return g.serve(ctx, w, c)
}

// prepare judges what can be judged of a request by itself.
func (g *Gateway) prepare(ctx context.Context, c *call, q Request) (err error) {
	if err := g.mayCall(ctx, c); err != nil {
		return err
	}
	body, err := q.Body()
	if err != nil {
		return err
	}
	if c.chat, err = ParseChat(body); err != nil {
		return err
	}
	c.seen.Model = c.chat.Model
	return nil
}

// mayCall asks whether the key's owner may call models for its project, from where
// the request comes. No policy engine stands in this path: the grants that were
// computed from the policy decide.
func (g *Gateway) mayCall(ctx context.Context, c *call) error {
	p := c.key.Principal(g.Now).From(c.from.Address)
	err := p.RequireOn(ctx, authz.DoInference, authz.Resource{ProjectID: c.key.ProjectID, OwnerID: c.key.OwnerID})
	if fault.Is(err, fault.NotFound) { // it is there, and not his to call for
		return fault.New(fault.Forbidden, "the key's owner may not call models for the key's project").
			With("permission", string(authz.DoInference)).With("reason", string(authz.ReasonReach))
	}
	return err
}

// resolve finds the model and its price. A model that is unknown and one that the
// key may not use get one answer.
func (g *Gateway) resolve(ctx context.Context, c *call) error {
	snapshot, err := g.Catalogue.Snapshot(ctx)
	if err != nil {
		return err
	}
	m, ok := snapshot.Get(c.chat.Model)
	if !ok || !c.key.AllowsModel(m.ID, m.Restricted) {
		return ErrNoModel(c.chat.Model)
	}
	c.model = m
	if c.price, ok = m.Price(c.key.PriceBook, c.at); !ok {
		return fault.New(fault.Unprocessable, "the model %q has no price in force", m.ID).At("model")
	}
	if len(m.Backends) == 0 {
		return fault.New(fault.Unavailable, "the model %q has no backend", m.ID).After(time.Minute)
	}
	return nil
}

// ErrNoModel is the one answer for models that are unknown or not entitled.
func ErrNoModel(id string) error {
	f := fault.New(fault.NotFound, "The model %q does not exist or you do not have access to it.", clip(id)).At("model")
	f.OpenAICode = "model_not_found"
	return f
}

// maxStale is how often an admission is tried anew because the organisation's
// configuration moved on meanwhile.
const maxStale = 5

// admit asks for admission. Where the limiter knows a newer configuration than
// the caller's view, the view is read again: so a revoked key or a new budget
// counts from the moment its change was answered.
func (g *Gateway) admit(ctx context.Context, c *call, key string) (admission.Verdict, error) {
	if err := g.Recorder.Err(); err != nil {
		return admission.Verdict{}, fault.Wrap(fault.Unavailable, "record", err).After(time.Second)
	}
	for range maxStale {
		req, err := g.request(ctx, c)
		if err != nil {
			return admission.Verdict{}, err
		}
		v, err := g.Admission.Admit(ctx, req)
		if !errors.Is(err, admission.ErrStale) {
			return v, err
		}
		if req.Version >= g.Versions.Version(c.key.OrgID) { // a budget ceased to block, and we are not told yet
			g.budgets.Forget(c.key.OrgID)
		}
		again, err := g.Keys.Resolve(ctx, key)
		if err != nil {
			return admission.Verdict{}, err // c.key stays: it says whose request this was
		}
		c.key = again
		if err := g.mayCall(ctx, c); err != nil {
			return admission.Verdict{}, err
		}
		if !c.key.AllowsModel(c.model.ID, c.model.Restricted) {
			return admission.Verdict{}, ErrNoModel(c.chat.Model)
		}
	}
	return admission.Verdict{}, fault.New(fault.Unavailable, "the organisation's configuration is changing").After(time.Second)
}

// request puts together what the request asks of the limiter.
func (g *Gateway) request(ctx context.Context, c *call) (*admission.Request, error) {
	budgets, err := g.budgets.Get(ctx, c.key.OrgID, g.Versions.Version(c.key.OrgID))
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, "read budgets", err).After(time.Second)
	}
	c.warning = budgets.V.Warning
	if err := g.hold(c, budgets.V.Blocking); err != nil {
		return nil, err
	}
	return &admission.Request{
		ID: c.id, Org: c.key.OrgID, Version: min(c.key.Version, budgets.Version), At: c.at,
		Subjects: subjects(c.key.Record),
		Tokens:   c.chat.InputEstimate() + c.chat.N*min(c.chat.MaxOutput, c.model.MaxOutputTokens),
		Holds:    c.holds,
	}, nil
}

// subjects are those whose limits a key's requests count against.
func subjects(k *apikey.Record) []admission.Subject {
	return []admission.Subject{
		{Kind: "key", ID: k.KeyID, Limits: k.Key},
		{Kind: "project", ID: k.ProjectID, Limits: k.Project},
		{Kind: "organization", ID: k.OrgID, Limits: k.Org},
	}
}

// LimitHeaders tells the state of a key's limits on an answer that no admission
// stands behind.
func (g *Gateway) LimitHeaders(ctx context.Context, h http.Header, key apikey.Resolved) {
	v, err := g.Admission.Rates(ctx, key.OrgID, g.Now(), subjects(key.Record))
	if err != nil {
		g.Log.WarnContext(ctx, "read limits", "error", err)
		return
	}
	limitHeaders(h, v)
}

// hold computes the bound of the request and its holds on the budgets that cover
// it. A budget's currency is its organisation's, and so is the price's.
func (g *Gateway) hold(c *call, budgets []budget.Budget) error {
	c.holds, c.units = nil, nil
	for _, b := range budgets {
		if !b.Scope.Covers(c.key.ProjectID, c.key.KeyID, c.model.ID) {
			continue
		}
		if reason := c.chat.Unbounded(); reason != "" {
			return fault.New(fault.Unprocessable, "under a budget that blocks, the cost of a request must have a bound; this one's has none (%s)", reason).
				With("budget", b.ID)
		}
		if c.output == 0 {
			c.input, c.output = c.chat.InputBound(), c.chat.OutputBound(c.model.MaxOutputTokens)
		}
		cost, err := c.price.Bound(c.input, c.output)
		if err != nil {
			return fault.New(fault.Unprocessable, "the cost of the request is out of range")
		}
		amount := b.Unit.Amount(cost, pricing.Usage{InputTokens: c.input, OutputTokens: c.output})
		if amount == 0 {
			continue // free, also over a money budget
		}
		w := b.WindowAt(c.at)
		c.holds = append(c.holds, admission.Hold{Budget: b.ID, Start: w.Start, End: w.End, Amount: amount})
		c.units = append(c.units, b.Unit)
	}
	return nil
}

// limitHeaders tells the state of the limits in OpenAI's headers.
func limitHeaders(h http.Header, v admission.Verdict) {
	for _, l := range []struct {
		name string
		rate admission.Rate
	}{{"Requests", v.Requests}, {"Tokens", v.Tokens}} {
		if l.rate.Limit == 0 {
			continue
		}
		h["X-Ratelimit-Limit-"+l.name] = []string{strconv.FormatInt(l.rate.Limit, 10)}
		h["X-Ratelimit-Remaining-"+l.name] = []string{strconv.FormatInt(l.rate.Remaining, 10)}
		h["X-Ratelimit-Reset-"+l.name] = []string{l.rate.Reset.Round(time.Millisecond).String()}
	}
}

// abandon frees what a request still holds when it leaves in no foreseen way.
func (g *Gateway) abandon(ctx context.Context, c *call) {
	if !c.settled {
		g.release(ctx, c)
	}
}

// release frees what is held, whatever became of the client.
func (g *Gateway) release(ctx context.Context, c *call) {
	c.settled, c.released = true, true
	if err := g.Admission.Release(context.WithoutCancel(ctx), c.key.OrgID, c.id); err != nil {
		g.Log.ErrorContext(ctx, "release hold", "request_id", c.id, "error", err)
	}
}

// serve calls a backend and relays its answer.
func (g *Gateway) serve(ctx context.Context, w http.ResponseWriter, c *call) error {
	up, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	// The client's leaving cancels the backend, until the answer is complete.
	leave := context.AfterFunc(ctx, cancel)
	defer leave()
	idle := time.AfterFunc(g.Idle, cancel)
	defer idle.Stop()

	resp, err := g.route(up, c)
	if err != nil {
		return g.noAnswer(ctx, c, err)
	}
	defer func() { _ = resp.Body.Close() }()
	w.Header()["X-Aiaas-Backend"] = []string{c.backend.ID}
	if resp.StatusCode != http.StatusOK {
		return g.refused(ctx, c, resp)
	}
	a := &answer{g: g, c: c, client: ctx, resp: resp, idle: idle, leave: leave, cancel: cancel}
	if c.chat.Stream {
		return a.stream(w)
	}
	return a.whole(w)
}

// route calls a backend of the model, by weight, of those that have not failed
// again and again; where one can't be reached or fails before it answers, the next.
func (g *Gateway) route(ctx context.Context, c *call) (*http.Response, error) {
	bound := int64(0)
	if len(c.holds) > 0 {
		bound = c.model.MaxOutputTokens
	}
	left := g.breaker.closed(c.model.Backends)
	var lastErr error
	for len(left) > 0 {
		i := g.pick(left)
		c.backend = left[i]
		left = slices.Delete(left, i, i+1)
		resp, err := g.Upstream.Call(ctx, c.backend, "/chat/completions", c.id, c.chat.Forward(c.backend.UpstreamModel, bound))
		if ctx.Err() == nil { // else the backend was cancelled, and has not failed
			g.breaker.told(c.backend.ID, resp, err)
		}
		if err != nil {
			lastErr = fmt.Errorf("call backend %s: %w", c.backend.ID, err)
			if ctx.Err() != nil {
				return nil, lastErr
			}
			g.Log.WarnContext(ctx, "backend failed", "request_id", c.id, "error", lastErr)
			continue
		}
		if len(left) == 0 || !retryable(resp.StatusCode) {
			return resp, nil
		}
		_ = resp.Body.Close()
	}
	return nil, lastErr
}

func retryable(status int) bool {
	return status == http.StatusTooManyRequests || status >= http.StatusInternalServerError
}

// pick chooses by weight.
func (g *Gateway) pick(backends []model.Backend) int {
	if len(backends) == 1 {
		return 0
	}
	total := 0
	for _, b := range backends {
		total += b.Weight
	}
	if total == 0 {
		return g.Random(len(backends))
	}
	n := g.Random(total)
	for i, b := range backends {
		if n -= b.Weight; n < 0 {
			return i
		}
	}
	return len(backends) - 1
}

// noAnswer ends a request that no backend began to answer.
func (g *Gateway) noAnswer(client context.Context, c *call, err error) error {
	switch {
	case client.Err() != nil:
		// The backend may have begun to work; nothing was received from it. It is
		// listed, and costs nothing.
		return errors.Join(ErrClientGone, g.record(client, c, &tally{}, usage.Aborted, timing{}))
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		g.release(client, c)
		return fault.Wrap(fault.GatewayTimeout, "wait for backend", err)
	}
	g.release(client, c)
	return fault.Wrap(fault.BadGateway, "reach backend", err)
}

// ErrClientGone marks an answer that nobody waits for any more.
var ErrClientGone = errors.New("the client has left")
