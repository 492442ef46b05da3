package relay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/aiaas/aiaas/adapters/memory"
	"github.com/aiaas/aiaas/shared/admission"
	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/model"
	"github.com/aiaas/aiaas/shared/pricing"
	"github.com/aiaas/aiaas/shared/relay"
	"github.com/aiaas/aiaas/shared/tenant"
	"github.com/aiaas/aiaas/shared/usage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	org       = "org_1"
	theKey    = "the key"
	maxOutput = 100
)

// house is a gateway with all that it needs, each part as small as it can be.
type house struct {
	t       *testing.T
	gateway *relay.Gateway
	limiter *memory.Limiter
	record  apikey.Record
	models  []*model.Model
	budgets []budget.Budget
	warning []budget.Counted
	limit   int64 // of every budget
	events  events
	call    func(b model.Backend, body []byte) (*http.Response, error)

	mu    sync.Mutex
	steps []string
	n     int
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, limiter: memory.NewLimiter(), limit: 1 << 50}
	h.record = apikey.Record{
		KeyID: "key_1", OrgID: org, ProjectID: "proj_1", Scopes: []authz.Scope{authz.Inference}, OrgStatus: tenant.Active,
		OwnerID: "user_1", OwnerActive: true, Role: authz.Developer,
		Currency: "USD", TimeZone: time.UTC, PriceBook: "default",
	}
	h.models = []*model.Model{{
		ID: "m", MaxOutputTokens: maxOutput, Backends: []model.Backend{{ID: "be_1", UpstreamModel: "up", Weight: 1}},
		Prices: map[string][]pricing.Price{"default": {{ID: "price_1", Currency: "USD", Input: 1_000_000, CachedInput: 500_000, Output: 4_000_000}}},
	}}
	h.call = func(model.Backend, []byte) (*http.Response, error) {
		return answer(200, "application/json", whole), nil
	}
	h.gateway = relay.New(relay.Config{
		Keys: h, Catalogue: h, Budgets: h, Versions: h.limiter, Admission: admission.NewService(h.limiter, h), Recorder: &h.events,
		Upstream: h, Now: time.Now, Random: func(int) int { return 0 }, Log: slog.New(slog.DiscardHandler), Idle: time.Minute,
	})
	h.events.step = h.step
	t.Cleanup(h.nothingRuns)
	return h
}

func (h *house) step(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.steps = append(h.steps, name)
}

// Resolve implements relay.Keys.
func (h *house) Resolve(_ context.Context, key string) (apikey.Resolved, error) {
	h.step("authenticate")
	if key != theKey {
		return apikey.Resolved{}, apikey.ErrUnauthenticated()
	}
	r := h.record
	return apikey.Resolved{Record: &r, Version: h.limiter.Latest()}, nil
}

// Snapshot implements relay.Catalogue.
func (h *house) Snapshot(context.Context) (*model.Snapshot, error) {
	h.step("price")
	return model.NewSnapshot(h.models), nil
}

// Governing implements relay.Budgets.
func (h *house) Governing(context.Context, string) (*budget.Governing, error) {
	h.step("budgets")
	return &budget.Governing{Blocking: h.budgets, Warning: h.warning}, nil
}

// Grant implements admission.Granter.
func (h *house) Grant(_ context.Context, _ string, lacks []admission.Lack) ([]admission.Grant, error) {
	h.step("grant")
	out := make([]admission.Grant, len(lacks))
	for i, l := range lacks {
		out[i] = admission.Grant{Budget: l.Budget, Start: l.Start, Limit: h.limit, Granted: h.limit, Seq: 1}
	}
	return out, nil
}

// Call implements relay.Upstream.
func (h *house) Call(ctx context.Context, b model.Backend, _, _ string, body []byte) (*http.Response, error) {
	h.step("call " + b.ID)
	resp, err := h.call(b, body)
	if resp != nil {
		resp.Body = &cancelled{ReadCloser: resp.Body, ctx: ctx}
	}
	return resp, err
}

// cancelled is a body whose reads end with the request's context, as the
// transport's do.
type cancelled struct {
	io.ReadCloser
	ctx context.Context //nolint:containedctx // that of the one call whose body it is
}

func (c *cancelled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.ReadCloser.Read(p)
	if ctxErr := c.ctx.Err(); ctxErr != nil && n == 0 {
		err = ctxErr
	}
	return n, err
}

// events records what it is given, unless it is told to fail.
type events struct {
	mu     sync.Mutex
	list   []*usage.Event
	err    error // of each Record
	down   error // of Err
	step   func(string)
	before func()
}

func (e *events) Record(r usage.Recorded) error {
	e.step("record")
	if e.before != nil {
		e.before()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return e.err
	}
	event, err := usage.Decode(r.Body)
	if err != nil {
		return err
	}
	e.list = append(e.list, event)
	return nil
}

func (e *events) Err() error { return e.down }

func (e *events) all() []*usage.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.list)
}

// one is the one event of a test.
func (h *house) one() *usage.Event {
	h.t.Helper()
	list := h.events.all()
	if len(list) != 1 {
		h.t.Fatalf("%d events; want one", len(list))
	}
	return list[0]
}

func (h *house) none() {
	h.t.Helper()
	if n := len(h.events.all()); n != 0 {
		h.t.Errorf("%d events; want none", n)
	}
}

// block adds a budget of the organisation that blocks.
func (h *house) block(unit budget.Unit) {
	h.budgets = append(h.budgets, budget.Budget{
		ID: fmt.Sprintf("bud_%d", len(h.budgets)), OrgID: org, Unit: unit, Period: budget.Once, TimeZone: time.UTC, Action: budget.Block,
	})
}

// held is what is reserved on a budget: of finals, as the ledger books nothing here.
func (h *house) held(i int) int64 {
	return h.limiter.Held(org, h.budgets[i].ID, h.budgets[i].CreatedAt.UTC())
}

// nothingRuns: whatever became of the requests, none counts as running, and what is
// held is what was recorded.
func (h *house) nothingRuns() {
	h.t.Helper()
	for i, b := range h.budgets {
		var want int64
		for _, e := range h.events.all() {
			for _, held := range e.Holds {
				if held.Budget == b.ID {
					want += held.Amount
				}
			}
		}
		if h.events.err == nil && h.held(i) != want {
			h.t.Errorf("%d held on %s, %d recorded", h.held(i), b.ID, want)
		}
	}
	if h.record.Key.ConcurrentRequests == 0 {
		return
	}
	for range h.record.Key.ConcurrentRequests {
		h.n++
		v, err := h.limiter.Admit(context.Background(), &admission.Request{
			ID: fmt.Sprint("probe", h.n), Org: org, Version: h.limiter.Latest(), At: time.Now().Add(time.Hour),
			Subjects: []admission.Subject{{Kind: "key", ID: h.record.KeyID, Limits: h.record.Key}},
		})
		if err != nil || v.Outcome != admission.Admitted {
			h.t.Errorf("after all requests ended, something still runs: %+v, %v", v, err)
		}
	}
}

// served is what a client got.
type served struct {
	*httptest.ResponseRecorder
	err error
}

func (h *house) serve(ctx context.Context, w http.ResponseWriter, body string) error {
	h.mu.Lock()
	h.n++
	id := fmt.Sprint("req_", h.n)
	h.mu.Unlock()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/chat/completions", nil)
	return h.gateway.Chat(w, r, relay.Request{
		ID: id, Key: theKey, Endpoint: "/v1/chat/completions",
		Body: func() ([]byte, error) { h.step("read"); return []byte(body), nil },
	}, &relay.Seen{})
}

func (h *house) post(body string) served {
	h.t.Helper()
	w := httptest.NewRecorder()
	err := h.serve(h.t.Context(), w, body)
	return served{w, err}
}

// refused holds that the request was refused with a code.
func (s served) refused(t *testing.T, code fault.Code) {
	t.Helper()
	if s.err == nil || fault.From(s.err).Code != code {
		t.Errorf("error %v; want %s", s.err, code)
	}
}

// refusal is the error of a refused request.
func (s served) refusal(t *testing.T, code fault.Code) *fault.Error {
	t.Helper()
	s.refused(t, code)
	return fault.From(s.err)
}

func answer(status int, kind, body string) *http.Response {
	return stream(status, kind, strings.NewReader(body))
}

func stream(status int, kind string, body io.Reader) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(body)}
}

func events200(body io.Reader) (*http.Response, error) {
	return stream(200, "text/event-stream", body), nil
}

const (
	plain    = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`
	streamed = `{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}`
	whole    = `{"choices":[{"index":0,"message":{"content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":3}}`
)

// chunks is a streamed answer of five deltas, its finish, its usage block and its
// terminator.
func chunks() []string {
	var out []string
	for i := range 5 {
		out = append(out, fmt.Sprintf(`data: {"choices":[{"index":0,"delta":{"content":"tok%d"}}]}`+"\n\n", i))
	}
	return append(out,
		`data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`+"\n\n",
		`data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":5}}`+"\n\n",
		"data: [DONE]\n\n")
}

// parts reads one part at a time, and then ends with err.
type parts struct {
	list []string
	err  error
	each func(i int)
	at   int
}

func (p *parts) Read(b []byte) (int, error) {
	if p.at == len(p.list) {
		return 0, p.err
	}
	if p.each != nil {
		p.each(p.at)
	}
	n := copy(b, p.list[p.at])
	p.at++
	return n, nil
}

var errReset = errors.New("connection reset by peer")

// leaver is a client that leaves once it was written so many times.
type leaver struct {
	*httptest.ResponseRecorder
	after  int
	cancel context.CancelFunc
	writes int
}

func newLeaver(after int, cancel context.CancelFunc) *leaver {
	return &leaver{ResponseRecorder: httptest.NewRecorder(), after: after, cancel: cancel}
}

func (l *leaver) Write(p []byte) (int, error) {
	if l.writes >= l.after {
		l.cancel()
		return 0, io.ErrClosedPipe
	}
	l.writes++
	return l.ResponseRecorder.Write(p)
}
