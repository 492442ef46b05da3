package admission_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/aiaas/aiaas/shared/admission"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/tenant"
)

// purse is a limiter of budgets alone, as small as it can be. The conformance
// suite holds real ones to the same rules.
type purse struct {
	admission.Limiter // panics where a test asks for more than this

	mu      sync.Mutex
	windows map[string]*state
	stale   bool
	verdict *admission.Verdict // given instead of judging
	err     error
	held    map[string][]admission.Hold
	shorted func() // called when a request is short for the first time
	seen    map[string]bool
}

type state struct {
	ceiling, used int64
	askAfter      time.Time
}

func newPurse() *purse {
	return &purse{windows: map[string]*state{}, held: map[string][]admission.Hold{}, seen: map[string]bool{}}
}

func (p *purse) window(budget string) *state {
	if p.windows[budget] == nil {
		p.windows[budget] = &state{}
	}
	return p.windows[budget]
}

func (p *purse) Admit(_ context.Context, r *admission.Request) (admission.Verdict, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.err != nil:
		return admission.Verdict{}, p.err
	case p.verdict != nil:
		return *p.verdict, nil
	case p.stale:
		return admission.Verdict{Outcome: admission.Stale}, nil
	}
	v := admission.Verdict{Ask: true}
	for _, h := range r.Holds {
		w := p.window(h.Budget)
		if lack := h.Amount - (w.ceiling - w.used); lack > 0 {
			v.Outcome, v.Budget = admission.Short, h.Budget
			v.Ask = v.Ask && !r.At.Before(w.askAfter)
			v.Lacks = append(v.Lacks, admission.Lack{Budget: h.Budget, Start: h.Start, End: h.End, Amount: lack})
		}
	}
	if v.Outcome == admission.Short && p.shorted != nil && !p.seen[r.ID] {
		p.seen[r.ID] = true
		p.shorted()
	}
	if v.Outcome == admission.Admitted {
		for _, h := range r.Holds {
			p.window(h.Budget).used += h.Amount
		}
		p.held[r.ID] = r.Holds
	}
	return v, nil
}

func (p *purse) Credit(_ context.Context, _ string, at time.Time, grants []admission.Grant) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range grants {
		w := p.window(g.Budget)
		w.ceiling = g.Ceiling()
		if g.Granted >= g.Limit {
			w.askAfter = at.Add(500 * time.Millisecond)
		}
	}
	return nil
}

func (p *purse) Release(_ context.Context, _, id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.held[id] {
		p.window(h.Budget).used -= h.Amount
	}
	delete(p.held, id)
	return nil
}

func (p *purse) used(budget string) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.window(budget).used
}

// bank is the model of the database: limits, and what was handed out.
type bank struct {
	mu      sync.Mutex
	limit   map[string]int64
	tranche int64
	granted map[string]int64
	asked   int
	inside  atomic.Int64
	most    int64  // questions at once
	enter   func() // called with each question, before it is answered
	err     error
}

func newBank(limits map[string]int64, tranche int64) *bank {
	return &bank{limit: limits, tranche: tranche, granted: map[string]int64{}}
}

func (b *bank) Grant(_ context.Context, _ string, lacks []admission.Lack) ([]admission.Grant, error) {
	n := b.inside.Add(1)
	defer b.inside.Add(-1)
	if b.enter != nil {
		b.enter()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.most = max(b.most, n)
	b.asked++
	if b.err != nil {
		return nil, b.err
	}
	var out []admission.Grant
	for _, l := range lacks {
		limit, ok := b.limit[l.Budget]
		if !ok {
			continue // it blocks no more
		}
		b.granted[l.Budget] = max(b.granted[l.Budget], min(limit, b.granted[l.Budget]+max(l.Amount, b.tranche)))
		out = append(out, admission.Grant{Budget: l.Budget, Start: l.Start, Limit: limit, Granted: b.granted[l.Budget], Seq: int64(b.asked)})
	}
	return out, nil
}

func at(d time.Duration) time.Time {
	return time.Date(2026, 10, 17, 12, 0, 0, 0, time.UTC).Add(d)
}

func request(id string, when time.Duration, amounts map[string]int64) *admission.Request {
	r := &admission.Request{ID: id, Org: "org", At: at(when)}
	for _, b := range []string{"a", "b", "c"} {
		if n := amounts[b]; n > 0 {
			r.Holds = append(r.Holds, admission.Hold{Budget: b, Start: at(0), End: at(time.Hour), Amount: n})
		}
	}
	return r
}

// A request is refused exactly when a budget's limit does not leave room for it,
// in whatever parts the limit is handed out.
func TestABudgetIsServedToItsLastUnitAndNotBeyond(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limits := map[string]int64{}
		for _, b := range []string{"a", "b", "c"} {
			limits[b] = rapid.Int64Range(0, 500).Draw(rt, "limit of "+b)
		}
		p, g := newPurse(), newBank(limits, rapid.Int64Range(0, 100).Draw(rt, "tranche"))
		s := admission.NewService(p, g)
		used := map[string]int64{}
		clock := time.Duration(0)
		for i := range rapid.IntRange(1, 40).Draw(rt, "requests") {
			clock += time.Second // what is remembered of exhaustion is forgotten
			amounts, fits := map[string]int64{}, true
			for _, b := range []string{"a", "b", "c"} {
				amounts[b] = rapid.Int64Range(0, 80).Draw(rt, "amount on "+b)
				fits = fits && (amounts[b] == 0 || used[b]+amounts[b] <= limits[b])
			}
			id := fmt.Sprint(i)
			_, err := s.Admit(rt.Context(), request(id, clock, amounts))
			switch {
			case fits && err != nil:
				rt.Fatalf("%v over %v of %v: %v; want admitted", amounts, used, limits, err)
			case !fits && !fault.Is(err, fault.BudgetExceeded):
				rt.Fatalf("%v over %v of %v: %v; want budget exceeded", amounts, used, limits, err)
			case fits && rapid.Bool().Draw(rt, "release"):
				if err := s.Release(rt.Context(), "org", id); err != nil {
					rt.Fatal(err)
				}
			case fits:
				for b, n := range amounts {
					used[b] += n
				}
			}
			for b := range limits {
				if got := p.used(b); got != used[b] || got > limits[b] {
					rt.Fatalf("used on %s: %d of %d; want %d", b, got, limits[b], used[b])
				}
			}
		}
	})
}

func TestExhaustionAsksTheDatabaseTwiceASecondAtMost(t *testing.T) {
	g := newBank(map[string]int64{"a": 10}, 10)
	s := admission.NewService(newPurse(), g)
	if _, err := s.Admit(t.Context(), request("first", 0, map[string]int64{"a": 10})); err != nil {
		t.Fatal(err)
	}
	for ms := range 5000 { // a thousand refusals a second, for five seconds
		_, err := s.Admit(t.Context(), request("", time.Duration(ms)*time.Millisecond, map[string]int64{"a": 1}))
		if !fault.Is(err, fault.BudgetExceeded) {
			t.Fatalf("after %d ms: %v; want budget exceeded", ms, err)
		}
	}
	if g.asked != 10 { // at 0, then each half second from 0.5 to 4.5
		t.Errorf("the database was asked %d times; want 10", g.asked)
	}
	g.limit["a"] = 11
	if _, err := s.Admit(t.Context(), request("late", 5*time.Second, map[string]int64{"a": 1})); err != nil {
		t.Errorf("half a second after the limit was raised: %v", err)
	}
}

func TestOneQuestionAtATimeForAnOrganisation(t *testing.T) {
	g := newBank(map[string]int64{"a": 1_000_000}, 64)
	p := newPurse()
	s := admission.NewService(p, g)
	var short sync.WaitGroup // until all have found the budget short
	short.Add(64)
	p.shorted = short.Done
	g.enter = short.Wait
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			if _, err := s.Admit(t.Context(), request(fmt.Sprint(i), 0, map[string]int64{"a": 1})); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if g.most != 1 || g.asked != 1 {
		t.Errorf("%d questions, %d at once; want one: who waits finds what the one before was given", g.asked, g.most)
	}
}

func TestOrganisationsDoNotWaitForEachOther(t *testing.T) {
	g := newBank(map[string]int64{"a": 1_000_000}, 64)
	s := admission.NewService(newPurse(), g)
	var both sync.WaitGroup
	both.Add(2)
	g.enter = func() { both.Done(); both.Wait() } // each answer waits for the other's question
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			r := request(fmt.Sprint(i), 0, map[string]int64{"a": 1})
			r.Org = fmt.Sprint("org", i)
			if _, err := s.Admit(t.Context(), r); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestOutcomes(t *testing.T) {
	key := admission.Subject{Kind: "key", ID: "key_1", Limits: tenant.Limits{RequestsPerMinute: 100, TokensPerMinute: 2000, ConcurrentRequests: 7}}
	for _, c := range []struct {
		name    string
		verdict admission.Verdict
		err     error
		granter *bank
		want    fault.Code
		text    string
		after   time.Duration
	}{
		{
			name: "requests", verdict: admission.Verdict{Outcome: admission.Limited, Metric: admission.RequestsPerMinute, Subject: key, RetryAfter: 90 * time.Second},
			want: fault.RateLimited, text: "the key's limit of 100 requests a minute is reached", after: 90 * time.Second,
		},
		{
			name: "tokens", verdict: admission.Verdict{Outcome: admission.Limited, Metric: admission.TokensPerMinute, Subject: key, RetryAfter: time.Microsecond},
			want: fault.RateLimited, text: "the key's limit of 2000 tokens a minute is reached", after: time.Second,
		},
		{
			name: "concurrency", verdict: admission.Verdict{Outcome: admission.Limited, Metric: admission.ConcurrentRequests, Subject: key},
			want: fault.RateLimited, text: "the key's limit of 7 concurrent requests is reached", after: time.Second,
		},
		{
			name: "a budget that is known to be exhausted", verdict: admission.Verdict{Outcome: admission.Short, Budget: "bud_1"},
			want: fault.BudgetExceeded, text: "budget bud_1 does not leave room for this request",
		},
		{name: "a limiter that does not answer", err: errors.New("gone"), want: fault.Unavailable, after: time.Second},
		{name: "a limiter that says why", err: fault.New(fault.Internal, "broken"), want: fault.Internal, text: "broken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPurse()
			p.verdict, p.err = &c.verdict, c.err
			v, err := admission.NewService(p, newBank(nil, 0)).Admit(t.Context(), request("r", 0, nil))
			f := fault.From(err)
			if f.Code != c.want || f.Detail != c.text || f.RetryAfter != c.after {
				t.Errorf("%v, retry after %s; want %s %q, %s", err, f.RetryAfter, c.want, c.text, c.after)
			}
			if c.err == nil && v.Outcome != c.verdict.Outcome {
				t.Errorf("the verdict is lost: %+v", v)
			}
		})
	}
}

func TestAStaleViewIsReloaded(t *testing.T) {
	p := newPurse()
	p.stale = true
	if _, err := admission.NewService(p, newBank(nil, 0)).Admit(t.Context(), request("r", 0, nil)); !errors.Is(err, admission.ErrStale) {
		t.Errorf("%v; want ErrStale", err)
	}
}

// A budget that blocks no more has no grant: the caller's list of budgets is old.
func TestABudgetThatBlocksNoMoreMakesTheViewStale(t *testing.T) {
	s := admission.NewService(newPurse(), newBank(map[string]int64{"a": 10}, 10))
	if _, err := s.Admit(t.Context(), request("r", 0, map[string]int64{"a": 1, "b": 1})); !errors.Is(err, admission.ErrStale) {
		t.Errorf("%v; want ErrStale", err)
	}
}

// Without the database nothing more is handed out: 503, never 402 and never free.
func TestAGranterThatDoesNotAnswerIsUnavailable(t *testing.T) {
	p, g := newPurse(), newBank(map[string]int64{"a": 10}, 10)
	g.err = errors.New("connection refused")
	s := admission.NewService(p, g)
	if _, err := s.Admit(t.Context(), request("r", 0, map[string]int64{"a": 1})); !fault.Is(err, fault.Unavailable) {
		t.Errorf("%v; want unavailable", err)
	}
	if p.used("a") != 0 {
		t.Errorf("%d held after an error; want 0", p.used("a"))
	}
	g.err = nil
	if _, err := s.Admit(t.Context(), request("r", 0, map[string]int64{"a": 1})); err != nil {
		t.Errorf("once the database answers: %v", err)
	}
}

func TestACutLimitBindsAtOnce(t *testing.T) {
	g := admission.Grant{Granted: 100, Limit: 70}
	if g.Ceiling() != 70 {
		t.Errorf("ceiling %d; want the limit", g.Ceiling())
	}
	g.Limit = 200
	if g.Ceiling() != 100 {
		t.Errorf("ceiling %d; want what was granted", g.Ceiling())
	}
}
