package relay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/model"
	"github.com/aiaas/aiaas/shared/pricing"
	"github.com/aiaas/aiaas/shared/relay"
	"github.com/aiaas/aiaas/shared/tenant"
	"github.com/aiaas/aiaas/shared/usage"
)

func TestStepsStandInTheirOrder(t *testing.T) {
	h := newHouse(t)
	h.block(budget.Money)
	if s := h.post(plain); s.err != nil || s.Body.String() != whole {
		t.Fatalf("%q, %v", s.Body, s.err)
	}
	want := []string{"authenticate", "read", "price", "budgets", "grant", "call be_1", "record"}
	if !reflect.DeepEqual(h.steps, want) {
		t.Errorf("steps %v; want %v", h.steps, want)
	}
	e := h.one()
	if e.Input != 5 || e.Output != 3 || e.Cost != 5*1000+3*4000 || e.Outcome != usage.Complete || e.Estimated || e.Currency != "USD" ||
		e.OrgID != org || e.KeyID != "key_1" || e.ProjectID != "proj_1" || e.BackendID != "be_1" || e.PriceID != "price_1" {
		t.Errorf("event %+v", e)
	}
}

func TestWhatIsRefusedReachesNoBackend(t *testing.T) {
	for _, c := range []struct {
		name  string
		setup func(h *house)
		body  string
		want  fault.Code
		steps []string
	}{
		{"a key without the scope", func(h *house) { h.record.Scopes = []authz.Scope{authz.UsageRead} }, plain, fault.Forbidden, []string{"authenticate"}},
		{"a body that can't be read", nil, `{`, fault.Invalid, []string{"authenticate", "read"}},
		{"an unknown model", nil, `{"model":"x","messages":[{}]}`, fault.NotFound, []string{"authenticate", "read", "price"}},
		{"a model that the key may not use", func(h *house) { h.record.Models = []string{"other"} }, plain, fault.NotFound, []string{"authenticate", "read", "price"}},
		{"a model without a price", func(h *house) { h.models[0].Prices = nil }, plain, fault.Unprocessable, []string{"authenticate", "read", "price"}},
		{"a price that is not in force yet", func(h *house) {
			h.models[0].Prices["default"][0].EffectiveFrom = time.Now().Add(time.Hour)
		}, plain, fault.Unprocessable, []string{"authenticate", "read", "price"}},
		{"a price in another book", func(h *house) { h.record.PriceBook = "other" }, plain, fault.Unprocessable, []string{"authenticate", "read", "price"}},
		{"a model without a backend", func(h *house) { h.models[0].Backends = nil }, plain, fault.Unavailable, []string{"authenticate", "read", "price"}},
		{"a recorder that is down", func(h *house) { h.events.down = usage.ErrNotRecorded }, plain, fault.Unavailable, []string{"authenticate", "read", "price"}},
		{"no bound under a budget", func(h *house) { h.block(budget.Money) }, `{"model":"m","web_search_options":{},"messages":[{}]}`, fault.Unprocessable, []string{"authenticate", "read", "price", "budgets"}},
		{"a budget without room", func(h *house) { h.block(budget.Tokens); h.limit = 1 }, plain, fault.BudgetExceeded, []string{"authenticate", "read", "price", "budgets", "grant"}},
		{"a limit that is reached", func(h *house) { h.record.Key.RequestsPerMinute = 1; h.post(plain); h.steps = nil; h.events.list = nil }, plain, fault.RateLimited, []string{"authenticate", "read", "price"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			if c.setup != nil {
				c.setup(h)
			}
			h.post(c.body).refused(t, c.want)
			if !reflect.DeepEqual(h.steps, c.steps) {
				t.Errorf("steps %v; want %v", h.steps, c.steps)
			}
			h.none()
		})
	}
}

func TestUnknownAndForeignModelsGetOneAnswer(t *testing.T) {
	h := newHouse(t)
	h.record.Models = []string{"other"}
	foreign := h.post(plain).refusal(t, fault.NotFound)
	h.models = nil
	unknown := h.post(plain).refusal(t, fault.NotFound)
	if foreign.Error() != unknown.Error() || foreign.Param != unknown.Param {
		t.Errorf("%v and %v can be told apart", foreign, unknown)
	}
}

func TestAnUnboundedRequestIsServedWhereNoBudgetBlocks(t *testing.T) {
	h := newHouse(t)
	if s := h.post(`{"model":"m","web_search_options":{},"messages":[{}]}`); s.err != nil {
		t.Error(s.err)
	}
	h.one()
}

func TestAPriceOfZeroIsFreeOverAMoneyBudget(t *testing.T) {
	h := newHouse(t)
	h.models[0].Prices = map[string][]pricing.Price{"default": {{ID: "free", Currency: "USD"}}}
	h.block(budget.Money)
	h.limit = 0
	if s := h.post(plain); s.err != nil {
		t.Fatal(s.err)
	}
	if e := h.one(); e.Cost != 0 || e.Input != 5 || len(e.Holds) != 0 {
		t.Errorf("event %+v; want cost 0, its tokens, no holds", e)
	}
	h.block(budget.Requests) // that one counts also what is free
	h.record.Key.ConcurrentRequests = 1
	if err := h.limiter.Bump(t.Context(), org); err != nil {
		t.Fatal(err)
	}
	h.post(plain).refused(t, fault.BudgetExceeded)
}

func TestEachBudgetIsHeldInItsUnit(t *testing.T) {
	h := newHouse(t)
	h.block(budget.Money)
	h.block(budget.Tokens)
	h.block(budget.Requests)
	h.events.before = func() { // final before it is recorded: nobody may think it free
		for i, want := range []int64{17_000, 8, 1} {
			if got := h.held(i); got != want {
				t.Errorf("%d held on %s while it is recorded; want %d", got, h.budgets[i].Unit, want)
			}
		}
	}
	var bounds []int64
	h.call = func(model.Backend, []byte) (*http.Response, error) {
		for i := range h.budgets {
			bounds = append(bounds, h.held(i))
		}
		return answer(200, "application/json", whole), nil
	}
	if s := h.post(plain); s.err != nil {
		t.Fatal(s.err)
	}
	tokens := bounds[1]
	if tokens < int64(len(plain))+maxOutput || bounds[0] != (tokens-maxOutput)*1000+maxOutput*4000 || bounds[2] != 1 {
		t.Errorf("held while it ran: %v; want the bound, in money, tokens and requests", bounds)
	}
}

func TestABudgetThatDoesNotCoverIsNotHeld(t *testing.T) {
	h := newHouse(t)
	h.block(budget.Money)
	h.budgets[0].Scope = budget.Scope{Model: "other"}
	h.limit = 0
	if s := h.post(plain); s.err != nil {
		t.Error(s.err)
	}
	if e := h.one(); len(e.Holds) != 0 {
		t.Errorf("holds %v; want none", e.Holds)
	}
}

func TestTheOutputBoundIsToldToTheBackendWhereABudgetBlocks(t *testing.T) {
	for _, c := range []struct {
		name, body string
		block      bool
		want       string
	}{
		{"blocked", plain, true, `"max_completion_tokens":100}`},
		{"free", plain, false, `"hi"}]}`},
		{"its own", `{"model":"m","max_tokens":5,"messages":[{}]}`, true, `"messages":[{}]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			if c.block {
				h.block(budget.Money)
			}
			var sent string
			h.call = func(_ model.Backend, body []byte) (*http.Response, error) {
				sent = string(body)
				return answer(200, "application/json", whole), nil
			}
			if s := h.post(c.body); s.err != nil {
				t.Fatal(s.err)
			}
			if !strings.HasSuffix(sent, c.want) || !strings.Contains(sent, `"model":"up"`) {
				t.Errorf("sent %s; want it to end with %s", sent, c.want)
			}
		})
	}
}

func TestAReportPastTheBoundIsBilledAtTheBound(t *testing.T) {
	h := newHouse(t)
	h.block(budget.Tokens)
	h.call = func(model.Backend, []byte) (*http.Response, error) {
		return answer(200, "application/json", `{"choices":[{}],"usage":{"prompt_tokens":1000000,"completion_tokens":1000000}}`), nil
	}
	if s := h.post(plain); s.err != nil {
		t.Fatal(s.err)
	}
	e := h.one()
	if e.Output != maxOutput || e.Input >= 1000 || e.Holds[0].Amount != e.Input+e.Output || !strings.Contains(string(e.Raw), "1000000") {
		t.Errorf("event %+v; want the bound, and the raw report", e)
	}
	h = newHouse(t)
	h.call = func(model.Backend, []byte) (*http.Response, error) {
		return answer(200, "application/json", `{"choices":[{}],"usage":{"prompt_tokens":1000000,"completion_tokens":1000000}}`), nil
	}
	h.post(plain)
	if e := h.one(); e.Input != 1000000 || e.Output != 1000000 {
		t.Errorf("event %+v; want the report, where nothing is held", e)
	}
}

func TestAnAnswerWithoutUsageIsEstimated(t *testing.T) {
	h := newHouse(t)
	h.call = func(model.Backend, []byte) (*http.Response, error) {
		return answer(200, "application/json", `{"choices":[{"message":{"content":"12345678"}}]}`), nil
	}
	h.post(plain)
	if e := h.one(); !e.Estimated || e.Output != 2 || e.Input != int64(len(plain)+3)/4 {
		t.Errorf("event %+v; want an estimate", e)
	}
}

func TestAStreamIsShownAndRecordedBeforeItsEnd(t *testing.T) {
	h := newHouse(t)
	h.block(budget.Money)
	w := httptest.NewRecorder()
	h.events.before = func() {
		if got := w.Body.String(); got != strings.Join(chunks()[:5], "") {
			t.Errorf("before it was recorded the client had %q", got)
		}
	}
	h.call = func(model.Backend, []byte) (*http.Response, error) {
		return events200(&parts{list: chunks(), err: io.EOF})
	}
	if err := h.serve(t.Context(), w, streamed); err != nil {
		t.Fatal(err)
	}
	want := strings.Join(chunks()[:6], "") + "data: [DONE]\n\n"
	if w.Body.String() != want {
		t.Errorf("the client got %q; want %q", w.Body, want)
	}
	if e := h.one(); e.Outcome != usage.Complete || e.Input != 5 || e.Output != 5 || e.Estimated || !e.Streamed || e.TTFTMicros <= 0 {
		t.Errorf("event %+v", e)
	}
}

func TestWhatIsNotRecordedHasNoEnd(t *testing.T) {
	t.Run("streamed", func(t *testing.T) {
		h := newHouse(t)
		h.events.err = usage.ErrNotRecorded
		h.call = func(model.Backend, []byte) (*http.Response, error) {
			return events200(&parts{list: chunks(), err: io.EOF})
		}
		s := h.post(streamed)
		s.refused(t, fault.Unavailable)
		body := s.Body.String()
		if strings.Contains(body, "finish_reason") || strings.Contains(body, "DONE") || !strings.Contains(body, `"error":`) || !errors.Is(s.err, relay.ErrTold) {
			t.Errorf("the client got %q, %v; want an error and no end", body, s.err)
		}
	})
	t.Run("whole", func(t *testing.T) {
		h := newHouse(t)
		h.block(budget.Tokens)
		h.events.err = usage.ErrNotRecorded
		s := h.post(plain)
		s.refused(t, fault.Unavailable)
		if s.Body.Len() > 0 || errors.Is(s.err, relay.ErrTold) {
			t.Errorf("the client got %q, %v; want a 503", s.Body, s.err)
		}
		if h.held(0) != 8 {
			t.Errorf("%d held; want the final cost, until it is recorded", h.held(0))
		}
	})
}

// Wherever a client leaves, it pays once, for what had come.
func TestAClientThatLeavesPaysForWhatCame(t *testing.T) {
	for after := range 5 {
		for _, how := range []string{"write fails", "context ends"} {
			t.Run(fmt.Sprint(how, " after ", after), func(t *testing.T) {
				h := newHouse(t)
				h.block(budget.Money)
				h.record.Key.ConcurrentRequests = 1
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				w := newLeaver(after, cancel)
				from := &parts{list: chunks(), err: io.EOF}
				if how == "context ends" {
					w.after = 100
					// The client is gone before the next chunk comes; the backend notices.
					from.each = func(i int) {
						if i == after {
							cancel()
						}
					}
					from.list = append(from.list[:after:after], "")
					from.err = context.Canceled
				}
				h.call = func(model.Backend, []byte) (*http.Response, error) { return events200(from) }
				if err := h.serve(ctx, w, streamed); !errors.Is(err, relay.ErrClientGone) {
					t.Errorf("%v; want ErrClientGone", err)
				}
				received := int64(after)
				if how == "write fails" {
					received++ // what could not be written had come
				}
				e := h.one()
				wantInput := int64(len(streamed)+3) / 4
				if received == 0 {
					wantInput = 0
				}
				if e.Outcome != usage.Aborted || !e.Estimated || e.Output != received || e.Input != wantInput {
					t.Errorf("event %+v; want aborted with %d tokens", e, received)
				}
			})
		}
	}
}

func TestAClientThatLeavesAfterTheLastTokenPaysTheReport(t *testing.T) {
	h := newHouse(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// The last content and the finish come in one read, which can't be written.
	list := chunks()
	list = append(list[:4:4], list[4]+list[5], list[6], list[7])
	h.call = func(model.Backend, []byte) (*http.Response, error) { return events200(&parts{list: list, err: io.EOF}) }
	w := newLeaver(4, func() {})
	_ = h.serve(ctx, w, streamed)
	if e := h.one(); e.Outcome != usage.Complete || e.Estimated || e.Output != 5 || e.Input != 5 {
		t.Errorf("event %+v; want the backend's report", e)
	}
}

func TestAClientThatLeavesBeforeAnyAnswerIsListed(t *testing.T) {
	t.Run("before the headers", func(t *testing.T) {
		h := newHouse(t)
		ctx, cancel := context.WithCancel(t.Context())
		h.call = func(model.Backend, []byte) (*http.Response, error) { cancel(); return nil, context.Canceled }
		if err := h.serve(ctx, httptest.NewRecorder(), plain); !errors.Is(err, relay.ErrClientGone) {
			t.Errorf("%v; want ErrClientGone", err)
		}
		if e := h.one(); e.Outcome != usage.Aborted || e.Cost != 0 {
			t.Errorf("event %+v; want aborted, free", e)
		}
	})
	t.Run("between headers and body", func(t *testing.T) {
		h := newHouse(t)
		h.block(budget.Money)
		ctx, cancel := context.WithCancel(t.Context())
		h.call = func(model.Backend, []byte) (*http.Response, error) {
			cancel()
			return stream(200, "application/json", &parts{err: context.Canceled}), nil
		}
		if err := h.serve(ctx, httptest.NewRecorder(), plain); !errors.Is(err, relay.ErrClientGone) {
			t.Errorf("%v; want ErrClientGone", err)
		}
		if e := h.one(); e.Outcome != usage.Aborted || e.Cost != 0 {
			t.Errorf("event %+v; want aborted, free", e)
		}
	})
}

func TestAClientThatLeavesAWholeAnswerPaysForIt(t *testing.T) {
	h := newHouse(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h.call = func(model.Backend, []byte) (*http.Response, error) {
		return stream(200, "application/json", &parts{list: []string{whole[:20], whole[20:]}, err: io.EOF, each: func(int) { cancel() }}), nil
	}
	if err := h.serve(ctx, newLeaver(0, func() {}), plain); !errors.Is(err, relay.ErrClientGone) {
		t.Errorf("%v; want ErrClientGone", err)
	}
	if e := h.one(); e.Outcome != usage.Complete || e.Output != 3 {
		t.Errorf("event %+v; want all of it", e)
	}
}

// Wherever a backend breaks off, the client is told, no end is shown, and what was
// delivered is billed once.
func TestABackendThatBreaksOffIsBilledForWhatItDelivered(t *testing.T) {
	for cut := range len(chunks()) {
		for _, end := range []error{errReset, io.EOF} {
			t.Run(fmt.Sprint(cut, " ", end), func(t *testing.T) {
				h := newHouse(t)
				h.block(budget.Money)
				h.record.Key.ConcurrentRequests = 1
				h.call = func(model.Backend, []byte) (*http.Response, error) {
					return events200(&parts{list: chunks()[:cut], err: end})
				}
				s := h.post(streamed)
				if cut > 5 { // the answer is complete; its usage block may be missing
					e := h.one()
					if s.err != nil || e.Outcome != usage.Complete || e.Output != 5 || e.Estimated != (cut == 6) || !strings.HasSuffix(s.Body.String(), "data: [DONE]\n\n") {
						t.Errorf("%v, event %+v", s.err, e)
					}
					return
				}
				s.refused(t, fault.BadGateway)
				if strings.Contains(s.Body.String(), "DONE") {
					t.Errorf("the client got %q; want no end", s.Body)
				}
				if cut == 0 { // nothing came: free, and the client may try again
					h.none()
					if s.Body.Len() != 0 {
						t.Errorf("the client got %q; want a status of its own", s.Body)
					}
					return
				}
				if e := h.one(); e.Outcome != usage.Failed || !e.Estimated || e.Output != int64(cut) {
					t.Errorf("event %+v; want failed with %d tokens", e, cut)
				}
			})
		}
	}
}

func TestAWholeAnswerThatCanNotBeReadIsFree(t *testing.T) {
	for name, c := range map[string]struct {
		kind string
		body io.Reader
	}{
		"cut":             {"application/json", &parts{list: []string{whole[:30]}, err: errReset}},
		"half":            {"application/json", strings.NewReader(whole[:30])},
		"no JSON":         {"text/html", strings.NewReader("<html>")},
		"no object":       {"application/json", strings.NewReader(`[1]`)},
		"an error as 200": {"application/json", strings.NewReader(`{"error":{"message":"internal host"}}`)},
		"too large":       {"application/json", io.LimitReader(endlessSpaces{}, 17<<20)},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.block(budget.Money)
			h.call = func(model.Backend, []byte) (*http.Response, error) { return stream(200, c.kind, c.body), nil }
			if f := h.post(plain).refusal(t, fault.BadGateway); f.Detail != "" {
				t.Errorf("the client is told %q", f.Detail)
			}
			h.none()
		})
	}
}

type endlessSpaces struct{}

func (endlessSpaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestAStreamPastItsBoundIsCutAndBilledTheBound(t *testing.T) {
	h := newHouse(t)
	h.block(budget.Tokens)
	closed := 0
	h.call = func(model.Backend, []byte) (*http.Response, error) {
		i := 0
		return events200(readerFunc(func(p []byte) (int, error) {
			if i++; i > 1000 {
				closed++
				return 0, io.EOF
			}
			return copy(p, chunks()[0]), nil
		}))
	}
	s := h.post(`{"model":"m","stream":true,"max_tokens":10,"messages":[{}]}`)
	s.refused(t, fault.BadGateway)
	if n := strings.Count(s.Body.String(), "tok0"); n != 10 {
		t.Errorf("%d tokens were shown; want 10", n)
	}
	if e := h.one(); e.Output != 10 || e.Outcome != usage.Failed {
		t.Errorf("event %+v; want 10 tokens", e)
	}
	if closed != 0 {
		t.Error("the backend was read to its end")
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestAPanicLeavesNothingHeld(t *testing.T) {
	for name, call := range map[string]func(model.Backend, []byte) (*http.Response, error){
		"in the call": func(model.Backend, []byte) (*http.Response, error) { panic("backend") },
		"in the body": func(model.Backend, []byte) (*http.Response, error) {
			return events200(readerFunc(func([]byte) (int, error) { panic("body") }))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.block(budget.Money)
			h.record.Key.ConcurrentRequests = 1
			h.call = call
			func() {
				defer func() {
					if recover() == nil {
						t.Error("the panic was swallowed")
					}
				}()
				h.post(streamed)
			}()
			h.none()
			if h.held(0) != 0 {
				t.Errorf("%d held", h.held(0))
			}
		})
	}
}

func TestAChangeDuringARequestIsReadAnew(t *testing.T) {
	t.Run("a key that was revoked meanwhile", func(t *testing.T) {
		h := newHouse(t)
		h.post(plain) // the view is cached
		h.events.list = nil
		bumped := false
		h.gateway.Keys = keysFunc(func(key string) (r resolved, err error) {
			if !bumped {
				r, err = h.Resolve(t.Context(), key)
				bumped = true
				return r, errors.Join(err, h.limiter.Bump(t.Context(), org))
			}
			return resolved{}, fault.New(fault.Unauthenticated, "")
		})
		h.post(plain).refused(t, fault.Unauthenticated)
		h.none()
	})
	t.Run("a budget that was made meanwhile", func(t *testing.T) {
		h := newHouse(t)
		h.post(plain)
		h.events.list = nil
		h.block(budget.Tokens)
		h.limit = 1
		if err := h.limiter.Bump(t.Context(), org); err != nil {
			t.Fatal(err)
		}
		h.post(plain).refused(t, fault.BudgetExceeded)
		h.none()
	})
	t.Run("a configuration that never rests", func(t *testing.T) {
		h := newHouse(t)
		h.gateway.Keys = keysFunc(func(key string) (resolved, error) {
			r, err := h.Resolve(t.Context(), key)
			return r, errors.Join(err, h.limiter.Bump(t.Context(), org))
		})
		h.post(plain).refused(t, fault.Unavailable)
		h.none()
	})
}

func TestFallbackToTheNextBackendBeforeTheFirstByteOnly(t *testing.T) {
	two := func(h *house) {
		h.models[0].Backends = []model.Backend{{ID: "be_1", Weight: 1}, {ID: "be_2", Weight: 1}}
	}
	for _, c := range []struct {
		name   string
		first  func() (*http.Response, error)
		want   fault.Code // "" for an answer
		called []string
	}{
		{"it can't be reached", func() (*http.Response, error) { return nil, errReset }, "", []string{"be_1", "be_2"}},
		{"it is overloaded", func() (*http.Response, error) { return answer(429, "application/json", "{}"), nil }, "", []string{"be_1", "be_2"}},
		{"it is broken", func() (*http.Response, error) { return answer(500, "text/html", ""), nil }, "", []string{"be_1", "be_2"}},
		{"it finds the request wrong", func() (*http.Response, error) {
			return answer(400, "application/json", `{"error":{"message":"bad temperature","param":"temperature"}}`), nil
		}, fault.Invalid, []string{"be_1"}},
		{"it breaks off before the first token", func() (*http.Response, error) {
			return events200(&parts{err: errReset})
		}, fault.BadGateway, []string{"be_1"}},
		{"it breaks off later", func() (*http.Response, error) {
			return events200(&parts{list: chunks()[:2], err: errReset})
		}, fault.BadGateway, []string{"be_1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.block(budget.Money)
			two(h)
			var called []string
			h.call = func(b model.Backend, _ []byte) (*http.Response, error) {
				called = append(called, b.ID)
				if b.ID == "be_1" {
					return c.first()
				}
				return events200(&parts{list: chunks(), err: io.EOF})
			}
			s := h.post(streamed)
			if c.want == "" {
				if s.err != nil || h.one().BackendID != "be_2" || s.Header().Get("X-Aiaas-Backend") != "be_2" {
					t.Errorf("%v, by %q", s.err, s.Header().Get("X-Aiaas-Backend"))
				}
			} else {
				s.refused(t, c.want)
			}
			if !reflect.DeepEqual(called, c.called) {
				t.Errorf("called %v; want %v", called, c.called)
			}
		})
	}
}

func TestWhatABackendRefusesIsFree(t *testing.T) {
	for _, c := range []struct {
		status int
		want   fault.Code
		detail string
		after  time.Duration
	}{
		{400, fault.Invalid, "its words", 0},
		{413, fault.TooLarge, "its words", 0},
		{422, fault.Unprocessable, "its words", 0},
		{401, fault.BadGateway, "", 0}, // the operator's key, not the client's
		{403, fault.BadGateway, "", 0},
		{404, fault.BadGateway, "", 0},
		{302, fault.BadGateway, "", 0},
		{429, fault.Unavailable, "", 7 * time.Second},
		{503, fault.Unavailable, "", 7 * time.Second},
		{504, fault.GatewayTimeout, "", 0},
		{500, fault.BadGateway, "", 0},
	} {
		t.Run(fmt.Sprint(c.status), func(t *testing.T) {
			h := newHouse(t)
			h.block(budget.Money)
			h.record.Key.ConcurrentRequests = 1
			h.call = func(model.Backend, []byte) (*http.Response, error) {
				resp := answer(c.status, "application/json", `{"error":{"message":"its words","param":"x"}}`)
				resp.Header.Set("Retry-After", "7")
				return resp, nil
			}
			f := h.post(plain).refusal(t, c.want)
			if f.Detail != c.detail || f.RetryAfter != c.after {
				t.Errorf("told %q, after %s; want %q, %s", f.Detail, f.RetryAfter, c.detail, c.after)
			}
			h.none()
		})
	}
}

func TestASilentBackendIsCutOff(t *testing.T) {
	for name, body := range map[string]string{"whole": plain, "streamed": streamed} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.block(budget.Money)
			h.gateway.Idle = time.Millisecond
			h.gateway.Upstream = upstreamFunc(func(ctx context.Context) (*http.Response, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
			h.post(body).refused(t, fault.GatewayTimeout)
			h.none()
		})
	}
}

func TestLimitsAreToldInHeaders(t *testing.T) {
	h := newHouse(t)
	h.record.Key = tenant.Limits{RequestsPerMinute: 60, TokensPerMinute: 6000}
	s := h.post(plain)
	reserved := (len(plain) + 3) / 4
	for name, want := range map[string]string{
		"X-Ratelimit-Limit-Requests": "60", "X-Ratelimit-Remaining-Requests": "59", "X-Ratelimit-Reset-Requests": "1s",
		"X-Ratelimit-Limit-Tokens": "6000", "X-Ratelimit-Remaining-Tokens": fmt.Sprint(6000 - reserved),
	} {
		if got := s.Header().Get(name); got != want {
			t.Errorf("%s: %q; want %q", name, got, want)
		}
	}
}
