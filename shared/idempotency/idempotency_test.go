package idempotency_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/idempotency"
	"github.com/aiaas/aiaas/shared/idempotency/idempotencytest"
	"github.com/aiaas/aiaas/shared/money"
)

// clock stands still until it is moved.
type clock struct{ at atomic.Int64 }

func (c *clock) Now() time.Time       { return time.UnixMicro(c.at.Load()) }
func (c *clock) pass(d time.Duration) { c.at.Add(d.Microseconds()) }

func TestTheStoreInMemoryConforms(t *testing.T) {
	idempotencytest.Run(t, func(*testing.T) idempotencytest.Bench {
		c := &clock{}
		return idempotencytest.Bench{Store: idempotencytest.NewMemory(c.Now), Later: c.pass}
	})
}

// events are the requests that were recorded.
type events struct {
	mu   sync.Mutex
	list map[string]idempotency.Settled
	err  error
	asks int
}

func (e *events) Recorded(_ context.Context, org, request string) (idempotency.Settled, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asks++
	if e.err != nil {
		return idempotency.Settled{}, e.err
	}
	s, ok := e.list[org+" "+request]
	if !ok {
		return s, fault.New(fault.NotFound, "")
	}
	return s, nil
}

func (e *events) record(request string, cost money.Nano) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.list == nil {
		e.list = map[string]idempotency.Settled{}
	}
	e.list["org_1 "+request] = idempotency.Settled{Cost: cost, Currency: "USD"}
}

// house is a store with the process that serves.
type house struct {
	t     *testing.T
	clock clock
	store *idempotencytest.Memory
	*events
	*idempotency.Service
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, events: &events{}}
	h.store = idempotencytest.NewMemory(h.clock.Now)
	h.restart()
	return h
}

// restart is the end of the process, and the next one's beginning.
func (h *house) restart() {
	epoch := int64(1)
	if h.Service != nil {
		epoch = h.Epoch + 1
	}
	h.Service = &idempotency.Service{Store: h.store, Events: h.events, Epoch: epoch, Now: h.clock.Now}
}

func attempt(request string) idempotency.Attempt {
	return idempotency.Attempt{
		OrgID: "org_1", APIKeyID: "key_1", Secret: "aiaas_live_secret", Key: "order 66", RequestID: request,
		Endpoint: "/v1/chat/completions", Body: []byte(`{"prompt":"the prompt"}`),
	}
}

func (h *house) begin(a idempotency.Attempt) *idempotency.Claim {
	h.t.Helper()
	c, answer, err := h.Begin(h.t.Context(), a)
	if c == nil || answer != nil || err != nil {
		h.t.Fatalf("%s: %v, %v, %v; want the claim", a.RequestID, c, answer, err)
	}
	return c
}

func (h *house) finish(c *idempotency.Claim, answer []byte, stream bool) {
	h.t.Helper()
	if err := c.Finish(h.t.Context(), idempotency.Outcome{Settled: idempotency.Settled{Cost: 1_500_000_000, Currency: "USD"}, Answer: answer, Stream: stream}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) refused(a idempotency.Attempt, code fault.Code) {
	h.t.Helper()
	_ = h.refusal(a, code)
}

// refusal holds that an attempt gets neither claim nor answer, and returns why.
func (h *house) refusal(a idempotency.Attempt, code fault.Code) *fault.Error {
	h.t.Helper()
	c, answer, err := h.Begin(h.t.Context(), a)
	if c != nil || answer != nil || err == nil || fault.From(err).Code != code {
		h.t.Fatalf("%s: %v, %v, %v; want %s", a.RequestID, c, answer, err, code)
	}
	return fault.From(err)
}

// runs holds that another attempt is told that the request runs.
func (h *house) runs(a idempotency.Attempt, original string) {
	h.t.Helper()
	f := h.refusal(a, fault.Conflict)
	if f.Members["original_request_id"] != original || f.Members["cost"] != nil || f.RetryAfter < time.Second {
		h.t.Errorf("%v, after %s; want that %s runs", f.Members, f.RetryAfter, original)
	}
}

// billed holds that another attempt is told what the request cost.
func (h *house) billed(a idempotency.Attempt, original, cost string) {
	h.t.Helper()
	f := h.refusal(a, fault.Conflict)
	if f.Members["original_request_id"] != original || f.Members["cost"] != cost || f.Members["currency"] != "USD" || f.RetryAfter != 0 {
		h.t.Errorf("%v, after %s; want that %s cost %s", f.Members, f.RetryAfter, original, cost)
	}
}

func TestAnAnswerIsGivenAgain(t *testing.T) {
	for _, stream := range []bool{false, true} {
		h := newHouse(t)
		want := []byte("data: {\"x\":\"\x00\xff\"}\n\n")
		h.finish(h.begin(attempt("req_1")), want, stream)
		for _, restart := range []bool{false, true} {
			if restart {
				h.restart()
			}
			c, got, err := h.Begin(t.Context(), attempt("req_2"))
			if c != nil || err != nil || !bytes.Equal(got.Body, want) || got.RequestID != "req_1" || got.Stream != stream {
				t.Errorf("%v, %+v, %v; want the answer of req_1", c, got, err)
			}
		}
		h.clock.pass(idempotency.TTL + time.Second)
		h.begin(attempt("req_3"))
		if h.asks != 0 {
			t.Errorf("the ledger was asked %d times for what the store knows", h.asks)
		}
	}
}

func TestAnAnswerThatIsNotKeptIsToldByItsCost(t *testing.T) {
	for name, answer := range map[string][]byte{"none": nil, "too large": make([]byte, idempotency.MaxAnswer+1)} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.finish(h.begin(attempt("req_1")), answer, false)
			h.billed(attempt("req_2"), "req_1", "1.50")
		})
	}
	h := newHouse(t)
	h.finish(h.begin(attempt("req_1")), make([]byte, idempotency.MaxAnswer), false)
	if _, a, err := h.Begin(t.Context(), attempt("req_2")); err != nil || len(a.Body) != idempotency.MaxAnswer {
		t.Errorf("%v; want the largest answer", err)
	}
}

func TestAnotherRequestUnderTheKeyIsRefused(t *testing.T) {
	for name, change := range map[string]func(*idempotency.Attempt){
		"another body":       func(a *idempotency.Attempt) { a.Body = []byte(`{"prompt":"another"}`) },
		"a space more":       func(a *idempotency.Attempt) { a.Body = append(a.Body, ' ') },
		"another endpoint":   func(a *idempotency.Attempt) { a.Endpoint = "/v1/embeddings" },
		"a shifted boundary": func(a *idempotency.Attempt) { a.Endpoint += "{"; a.Body = a.Body[1:] },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			c := h.begin(attempt("req_1"))
			other := attempt("req_2")
			change(&other)
			if f := h.refusal(other, fault.Unprocessable); f.Members["original_request_id"] != "req_1" || f.Members["cost"] != nil {
				t.Errorf("while it runs: %v", f.Members)
			}
			h.finish(c, []byte("secret answer"), false)
			h.refused(other, fault.Unprocessable)
			h.restart()
			h.refused(other, fault.Unprocessable)
		})
	}
}

func TestKeysOfOthersAreOthers(t *testing.T) {
	for name, change := range map[string]func(*idempotency.Attempt){
		"organisation":    func(a *idempotency.Attempt) { a.OrgID = "org_2" },
		"API key":         func(a *idempotency.Attempt) { a.APIKeyID = "key_2" },
		"idempotency key": func(a *idempotency.Attempt) { a.Key = "order 67" },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.finish(h.begin(attempt("req_1")), []byte("secret answer"), false)
			other := attempt("req_2")
			change(&other)
			h.begin(other)
		})
	}
}

// Whoever has the store, but not the API key's text, opens nothing: neither the
// right name with a wrong secret, nor an answer that was put under another name.
func TestAWrongSecretOpensNothing(t *testing.T) {
	h := newHouse(t)
	h.finish(h.begin(attempt("req_1")), []byte("secret answer"), false)
	thief := attempt("req_2")
	thief.Secret = "aiaas_live_guessed"
	h.refused(thief, fault.Unprocessable)

	moved := &swapped{Store: h.store}
	h.Store = moved
	mine := attempt("req_3")
	mine.Secret, mine.Key = "aiaas_live_thief", "mine"
	h.finish(h.begin(mine), []byte("my own"), false)
	moved.record = true
	if _, _, err := h.Begin(t.Context(), attempt("req_4")); err != nil { // reads the victim's record
		t.Fatal(err)
	}
	moved.record, moved.play = false, true
	mine.RequestID = "req_5"
	h.refused(mine, fault.Internal)
}

// swapped shows the answer that it saw last under another's claim.
type swapped struct {
	idempotency.Store
	record, play bool
	last         idempotency.Record
}

func (s *swapped) Claim(ctx context.Context, n idempotency.Name, r idempotency.Record) (*idempotency.Record, error) {
	have, err := s.Store.Claim(ctx, n, r)
	switch {
	case have == nil:
	case s.record:
		s.last = *have
	case s.play:
		have.Answer, have.RequestID = s.last.Answer, s.last.RequestID
	}
	return have, err
}

func TestWhatCameToNothingMayBeTriedAgain(t *testing.T) {
	h := newHouse(t)
	c := h.begin(attempt("req_1"))
	h.runs(attempt("req_2"), "req_1")
	if err := c.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.finish(h.begin(attempt("req_3")), []byte("a"), false)
	if err := c.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, a, err := h.Begin(t.Context(), attempt("req_4")); err != nil || a == nil || a.RequestID != "req_3" {
		t.Errorf("%+v, %v; want the answer of req_3", a, err)
	}
}

func TestTheClaimOfADeadProcess(t *testing.T) {
	t.Run("is free when nothing was recorded", func(t *testing.T) {
		h := newHouse(t)
		old := h.begin(attempt("req_1"))
		h.restart()
		c := h.begin(attempt("req_2"))
		h.runs(attempt("req_3"), "req_2")
		// What comes late of the old one changes nothing.
		if err := errors.Join(old.Release(t.Context()), old.Finish(t.Context(), idempotency.Outcome{})); err != nil {
			t.Fatal(err)
		}
		h.runs(attempt("req_4"), "req_2")
		h.finish(c, []byte("a"), false)
	})
	t.Run("is not when its event is there", func(t *testing.T) {
		h := newHouse(t)
		h.begin(attempt("req_1"))
		h.record("req_1", 42)
		h.restart()
		h.billed(attempt("req_2"), "req_1", "0.000000042")
		h.billed(attempt("req_3"), "req_1", "0.000000042")
	})
	t.Run("is one caller's", func(t *testing.T) {
		h := newHouse(t)
		h.begin(attempt("req_dead"))
		h.restart()
		if n := h.crowd(); n != 1 {
			t.Errorf("%d of 50 run it; want one", n)
		}
	})
	t.Run("is the newer process's where there are two", func(t *testing.T) {
		h := newHouse(t)
		old := h.Service
		h.begin(attempt("req_1"))
		h.restart()
		h.begin(attempt("req_2"))
		h.Service = old
		h.runs(attempt("req_3"), "req_2")
	})
	t.Run("is not known when the ledger can't be asked", func(t *testing.T) {
		h := newHouse(t)
		h.begin(attempt("req_1"))
		h.restart()
		h.err = errors.New("down")
		if f := h.refusal(attempt("req_2"), fault.Unavailable); f.RetryAfter == 0 {
			t.Error("it is not said when to try again")
		}
		h.err = nil
		h.begin(attempt("req_3"))
	})
}

// crowd is how many of 50 parallel attempts get the claim; the others must be told
// that it runs.
func (h *house) crowd() (won int64) {
	var n atomic.Int64
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			c, a, err := h.Begin(h.t.Context(), attempt(fmt.Sprint("req_", i)))
			switch {
			case c != nil:
				n.Add(1)
			case a != nil || fault.From(err).Code != fault.Conflict:
				h.t.Errorf("%+v, %v; want that it runs", a, err)
			}
		})
	}
	wg.Wait()
	return n.Load()
}

func TestOfManyOneRuns(t *testing.T) {
	h := newHouse(t)
	if n := h.crowd(); n != 1 {
		t.Errorf("%d of 50 run; want one", n)
	}
}

func TestAnOrphanOfTheOwnEpoch(t *testing.T) {
	// The answer to a claim was lost on its way: it stands, and nobody runs it.
	h := newHouse(t)
	h.Store = &lossy{Store: h.store, lose: 1}
	h.refused(attempt("req_1"), fault.Unavailable)
	h.begin(attempt("req_2"))
	h.runs(attempt("req_3"), "req_2")
	// So with a release.
	h = newHouse(t)
	c := h.begin(attempt("req_1"))
	h.store.Fail(errors.New("down"))
	if err := c.Release(t.Context()); err == nil {
		t.Error("no error")
	}
	h.store.Fail(nil)
	h.begin(attempt("req_2"))
}

// lossy takes a claim and loses the answer.
type lossy struct {
	idempotency.Store
	lose  int
	after func() // called after each claim
}

func (l *lossy) Claim(ctx context.Context, n idempotency.Name, r idempotency.Record) (*idempotency.Record, error) {
	have, err := l.Store.Claim(ctx, n, r)
	if l.after != nil {
		l.after()
	}
	if l.lose > 0 {
		l.lose--
		return nil, errors.New("connection lost")
	}
	return have, err
}

// A request may end between another's look at its claim and the question whether it
// runs. It is not run again: its outcome was stored before it stopped to run.
func TestARequestThatEndsBetweenTwoLooks(t *testing.T) {
	h := newHouse(t)
	c := h.begin(attempt("req_1"))
	l := &lossy{Store: h.store}
	l.after = func() {
		l.after = nil
		h.finish(c, []byte("a"), false)
	}
	h.Store = l
	if claim, a, err := h.Begin(t.Context(), attempt("req_2")); claim != nil || err != nil || a.RequestID != "req_1" {
		t.Errorf("%v, %+v, %v; want the answer of req_1", claim, a, err)
	}
	// The same, released.
	h = newHouse(t)
	c = h.begin(attempt("req_1"))
	l = &lossy{Store: h.store}
	l.after = func() {
		l.after = nil
		if err := c.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
	h.Store = l
	h.begin(attempt("req_2"))
	if h.asks != 0 {
		t.Errorf("the ledger was asked %d times", h.asks)
	}
}

// An outage at the end: the event may stand in a spool that can't be asked. The
// request is not run again, and is told as done as soon as its event is found.
func TestAnOutcomeThatCouldNotBeStored(t *testing.T) {
	for name, end := range map[string]func(h *house, c *idempotency.Claim){
		"the store is down": func(h *house, c *idempotency.Claim) {
			h.store.Fail(errors.New("down"))
			if err := c.Finish(t.Context(), idempotency.Outcome{Answer: []byte("a")}); err == nil {
				t.Error("no error")
			}
			h.store.Fail(nil)
		},
		"nobody knows whether it was recorded": func(_ *house, c *idempotency.Claim) { c.Leave() },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			end(h, h.begin(attempt("req_1")))
			h.runs(attempt("req_2"), "req_1")
			h.runs(attempt("req_3"), "req_1")
			h.err = errors.New("down")
			h.refused(attempt("req_4"), fault.Unavailable)
			h.err = nil
			h.record("req_1", 1_000_000_000)
			h.billed(attempt("req_5"), "req_1", "1.00")
			asked := h.asks
			h.billed(attempt("req_6"), "req_1", "1.00")
			if h.asks != asked {
				t.Error("the outcome was found and not stored")
			}
			h.clock.pass(idempotency.TTL + time.Second)
			h.begin(attempt("req_7"))
		})
		t.Run(name+", and the process dies", func(t *testing.T) {
			h := newHouse(t)
			end(h, h.begin(attempt("req_1")))
			h.restart()
			h.begin(attempt("req_2"))
		})
	}
}

func TestNothingRunsWhenTheStoreIsDown(t *testing.T) {
	h := newHouse(t)
	h.store.Fail(errors.New("down"))
	if f := h.refusal(attempt("req_1"), fault.Unavailable); f.RetryAfter == 0 || strings.Contains(f.Detail, "down") {
		t.Errorf("told %q, after %s", f.Detail, f.RetryAfter)
	}
	h.store.Fail(fault.New(fault.Unavailable, "").After(7 * time.Second))
	if f := h.refusal(attempt("req_1"), fault.Unavailable); f.RetryAfter != 7*time.Second {
		t.Errorf("after %s; want the store's own", f.RetryAfter)
	}
	h.store.Fail(nil)
	if h.store.Len() != 0 {
		t.Error("something was claimed")
	}
	h.begin(attempt("req_2"))
	h.restart()
	h.Store = &noRetake{h.store}
	h.refused(attempt("req_3"), fault.Unavailable)
}

type noRetake struct{ idempotency.Store }

func (noRetake) Retake(context.Context, idempotency.Name, string, idempotency.Record) (bool, error) {
	return false, errors.New("down")
}

// An organisation's answers are kept up to a bound in an hour; what is beyond is told
// by its cost, and others are not concerned.
func TestWhatIsKeptIsBounded(t *testing.T) {
	h := newHouse(t)
	answer := make([]byte, idempotency.MaxAnswer)
	keep := func(org string, n int) (kept bool) {
		t.Helper()
		a := attempt(fmt.Sprint("req_", org, n))
		a.OrgID, a.Key = org, fmt.Sprint(n)
		h.finish(h.begin(a), answer, false)
		_, again, err := h.Begin(t.Context(), a)
		if err != nil && !fault.Is(err, fault.Conflict) {
			t.Fatal(err)
		}
		return again != nil
	}
	const most = idempotency.MaxKept / idempotency.MaxAnswer
	for n := range most {
		if !keep("org_1", n) {
			t.Fatalf("answer %d of %d is not kept", n+1, most)
		}
	}
	if keep("org_1", most) {
		t.Error("one more is kept")
	}
	if !keep("org_2", 0) {
		t.Error("another organisation's is not kept")
	}
	h.clock.pass(time.Hour)
	if !keep("org_1", most+1) {
		t.Error("an hour later none is kept")
	}
}
