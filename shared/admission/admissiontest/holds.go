package admissiontest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/aiaas/aiaas/shared/admission"
	"github.com/aiaas/aiaas/shared/tenant"
)

func testRoom(t *testing.T, l admission.Limiter) {
	b := newBench(t, l)
	h := b.budget()
	b.fund(h, 100)
	b.room(h, 100)
	first := b.must(b.holding(of(h, 60)))
	b.held(h, 60)
	b.room(h, 40)
	b.must(b.holding(of(h, 40)))
	b.held(h, 100)
	b.room(h, 0)
	b.release(first)
	b.held(h, 40)
	b.room(h, 60)
	// A cut limit binds at once; what is held stays.
	b.credit(admission.Grant{Budget: h.Budget, Start: h.Start, Limit: 50, Granted: 100, Seq: 2})
	b.room(h, 10)
	b.credit(admission.Grant{Budget: h.Budget, Start: h.Start, Limit: 30, Granted: 100, Seq: 3})
	if v := b.admit(b.holding(of(h, 1))); v.Outcome != admission.Short || v.Lacks[0].Amount != 11 {
		t.Errorf("a limit 10 below what is held: %s; want short of 11", describe(v))
	}
}

func testLacks(t *testing.T, l admission.Limiter) {
	b := newBench(t, l)
	rich, poor, empty := b.budget(), b.budget(), b.budget()
	b.fund(rich, 100)
	b.seq++
	b.admit(b.holding(of(poor, 1)))
	b.credit(admission.Grant{Budget: poor.Budget, Start: poor.Start, Limit: 100, Granted: 5, Seq: b.seq})
	want := admission.Verdict{Outcome: admission.Short, Budget: poor.Budget, Ask: true, Lacks: []admission.Lack{
		{Budget: poor.Budget, Start: poor.Start, End: poor.End, Amount: 2},
		{Budget: empty.Budget, Start: empty.Start, End: empty.End, Amount: 7},
	}}
	if diff := cmp.Diff(want, b.admit(b.holding(of(rich, 7), of(poor, 7), of(empty, 7)))); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
}

func testWindows(t *testing.T, l admission.Limiter) {
	b := newBench(t, l)
	name := fresh("bud")
	today, tomorrow := day(name, 17), day(name, 18)
	b.fund(today, 10)
	r := b.must(b.holding(of(today, 10)))
	if v := b.admit(b.holding(of(tomorrow, 3))); v.Outcome != admission.Short || v.Lacks[0].Amount != 3 {
		t.Errorf("the next window: %s; want short of 3", describe(v))
	}
	b.credit(admission.Grant{Budget: name, Start: tomorrow.Start, Limit: 10, Granted: 10, Seq: 1})
	b.room(tomorrow, 10)
	b.room(today, 0)
	// Long after its end a window with a hold is still there to be settled.
	b.at = today.End.Add(49 * time.Hour)
	for d := 18; d < 28; d++ {
		b.admit(b.holding(of(day(name, d), 1)))
	}
	b.held(today, 10)
	b.finish(r, 0, 4)
	b.held(today, 4)
	b.commit(admission.Committed{IDs: []string{r.ID}, Windows: []admission.Spent{{Budget: name, Start: today.Start, Spent: 4, Seq: 5}}})
	b.held(today, 0)
}

func testExhausted(t *testing.T, l admission.Limiter) {
	b := newBench(t, l)
	h, other := b.budget(), b.budget()
	b.fund(h, 10)
	ask := func(wait time.Duration) admission.Verdict {
		r := b.holding(of(other, 1), of(h, 11))
		r.At = b.at.Add(wait)
		return b.admit(r)
	}
	for _, c := range []struct {
		wait time.Duration
		ask  bool
	}{{0, false}, {499_999 * time.Microsecond, false}, {500 * time.Millisecond, true}, {time.Hour, true}} {
		v := ask(c.wait)
		if v.Outcome != admission.Short || v.Ask != c.ask {
			t.Errorf("%s after the limit was reached: %s; want to ask: %t", c.wait, describe(v), c.ask)
		}
		if !c.ask && v.Budget != h.Budget {
			t.Errorf("%s names %s; want the budget that is exhausted", describe(v), v.Budget)
		}
	}
	b.at = b.at.Add(time.Second)
	b.credit(admission.Grant{Budget: h.Budget, Start: h.Start, Limit: 20, Granted: 12, Seq: 2})
	if v := ask(0); !v.Ask || len(v.Lacks) != 1 {
		t.Errorf("a raised limit: %s; want to ask for the other budget only", describe(v))
	}
}

// testLimit raises and cuts a limit, by states that overtake grants.
func testLimit(t *testing.T, l admission.Limiter) {
	b := newBench(t, l)
	h := b.budget()
	b.fund(h, 100)
	b.must(b.holding(of(h, 90)))
	limit := func(limit, granted, spent, seq int64) {
		t.Helper()
		b.credit(admission.Grant{Budget: h.Budget, Start: h.Start, Limit: limit, Granted: granted, Spent: spent, Seq: seq})
	}
	asks := func(amount int64, want bool) {
		t.Helper()
		if v := b.admit(b.holding(of(h, amount))); v.Outcome != admission.Short || v.Ask != want {
			t.Errorf("a hold of %d: %s; want short, and to ask: %t", amount, describe(v), want)
		}
	}
	asks(11, false)       // exhausted, and known to be
	limit(200, 100, 0, 2) // raised: nothing more is granted, but there is more to be had
	asks(11, true)        // at once
	b.room(h, 10)         // what is granted is as before
	b.credit(admission.Grant{Budget: h.Budget, Start: h.Start, Limit: 100, Granted: 100, Seq: 1})
	asks(11, true)       // an older answer hides nothing
	limit(95, 100, 0, 3) // cut
	b.room(h, 5)
	limit(200, 100, 0, 2) // the raise, again and late
	b.room(h, 5)
	limit(50, 100, 0, 4) // cut below what is held
	b.held(h, 90)        // which stays
	asks(1, false)
	limit(300, 250, 60, 5)
	b.taken(h, 150)
	b.room(h, 100)
	unknown := b.budget()
	b.credit(admission.Grant{Budget: unknown.Budget, Start: unknown.Start, Limit: 10, Granted: 10, Seq: 1})
	b.taken(unknown, 0)
}

// testPartialCommit tells of an event's sums one by one: the hold on a window
// stays until its own sum has come, else what it stands for would look free.
func testPartialCommit(t *testing.T, l admission.Limiter) {
	b := newBench(t, l)
	one, two := b.budget(), b.budget()
	b.fund(one, 100)
	b.fund(two, 100)
	of1, of2 := of(one, 40), of(two, 30)
	sum := func(h admission.Hold, spent, seq int64) []admission.Spent {
		return []admission.Spent{{Budget: h.Budget, Start: h.Start, Spent: spent, Seq: seq}}
	}
	final, running := b.must(b.holding(of1, of2)), b.must(b.holding(of1, of2))
	b.finals()
	b.finish(final, 0, 20, 0)
	b.finals(final.ID)
	for _, id := range []string{final.ID, running.ID} {
		b.commit(admission.Committed{IDs: []string{id}})
	}
	b.held(one, 60) // no sum, no change
	b.commit(admission.Committed{IDs: []string{final.ID, running.ID}, Windows: sum(one, 45, 10)})
	b.held(one, 0)
	b.held(two, 30)
	b.taken(one, 45)
	b.taken(two, 30)
	b.release(running) // it is booked
	b.finish(running, 0, 1, 1)
	b.held(two, 30)
	for range 2 {
		b.commit(admission.Committed{IDs: []string{final.ID, running.ID}, Windows: sum(two, 25, 11)})
		b.held(two, 0)
		b.taken(two, 25)
		b.finals()
		b.room(one, 55)
		b.room(two, 75)
	}
}

func testLife(t *testing.T, l admission.Limiter) {
	b := newBench(t, l)
	one, two := b.budget(), b.budget()
	b.fund(one, 100)
	b.fund(two, 1000)
	r := b.must(b.holding(of(one, 40), of(two, 300)))
	b.held(one, 40)
	b.held(two, 300)
	b.finish(r, 0, 25, 200) // less than was held: the rest is free at once
	b.held(one, 25)
	b.held(two, 200)
	b.room(one, 75)
	b.commit(admission.Committed{IDs: []string{r.ID}, Windows: []admission.Spent{
		{Budget: one.Budget, Start: one.Start, Spent: 25, Seq: 10},
		{Budget: two.Budget, Start: two.Start, Spent: 200, Seq: 10},
	}})
	b.held(one, 0)
	b.held(two, 0)
	b.room(one, 75) // held became spent
	b.room(two, 800)
}

func testTwice(t *testing.T, l admission.Limiter) {
	b := newBench(t, l)
	h := b.budget()
	b.fund(h, 100)
	r := b.must(b.holding(of(h, 50)))
	b.finish(r, 0, 20)
	b.finish(r, 0, 30)
	b.held(h, 20)
	b.release(r) // too late: it is final
	b.held(h, 20)
	c := admission.Committed{IDs: []string{r.ID}, Windows: []admission.Spent{{Budget: h.Budget, Start: h.Start, Spent: 20, Seq: 2}}}
	for range 3 {
		b.commit(c)
		b.held(h, 0)
		b.room(h, 80)
	}
	b.finish(r, 0, 30)
	b.release(r)
	b.held(h, 0)
	gone := b.must(b.holding(of(h, 50)))
	b.release(gone)
	b.release(gone)
	b.finish(gone, 0, 50)
	b.held(h, 0)
	b.room(h, 80)
}

func testOvertaking(t *testing.T, l admission.Limiter) {
	b := newBench(t, l)
	h := b.budget()
	grant := func(granted, spent, seq int64) admission.Grant {
		return admission.Grant{Budget: h.Budget, Start: h.Start, Limit: 1000, Granted: granted, Spent: spent, Seq: seq}
	}
	spent := func(n, seq int64) admission.Committed {
		return admission.Committed{Windows: []admission.Spent{{Budget: h.Budget, Start: h.Start, Spent: n, Seq: seq}}}
	}
	b.admit(b.holding(of(h, 1)))
	b.commit(spent(30, 5)) // overtakes the grant before it
	b.credit(grant(100, 10, 4))
	b.room(h, 70) // the grant counts, its older sum does not
	b.credit(grant(50, 0, 3))
	b.room(h, 70) // an older grant
	b.commit(spent(20, 2))
	b.room(h, 70) // an older commit
	b.credit(grant(200, 60, 9))
	b.room(h, 140)
	b.commit(spent(40, 8)) // overtaken by the grant
	b.room(h, 140)
	b.credit(grant(60, 60, 9)) // the same state again
	b.room(h, 140)
	b.commit(spent(61, 10))
	b.room(h, 139)
}

func testLostFinish(t *testing.T, l admission.Limiter) {
	b := newBench(t, l)
	h := b.budget()
	b.fund(h, 100)
	one := b.subject(tenant.Limits{ConcurrentRequests: 1})
	r := b.request(one)
	r.Holds = []admission.Hold{of(h, 50)}
	b.must(r)
	b.commit(admission.Committed{IDs: []string{r.ID}, Windows: []admission.Spent{{Budget: h.Budget, Start: h.Start, Spent: 20, Seq: 2}}})
	b.held(h, 0)
	b.must(b.request(one))
	b.finish(r, 0, 20) // late
	if v := b.admit(b.request(one)); v.Outcome != admission.Limited {
		t.Errorf("the late finish ended another request: %s; want limited", describe(v))
	}
	b.held(h, 0)
	b.room(h, 80)
}

func testUnknown(t *testing.T, l admission.Limiter) {
	b := newBench(t, l)
	h := b.budget()
	stranger := b.holding(of(h, 5))
	b.finish(stranger, 10, 5)
	b.release(stranger)
	b.commit(admission.Committed{IDs: []string{stranger.ID}, Windows: []admission.Spent{{Budget: h.Budget, Start: h.Start, Spent: 5, Seq: 1}}})
	b.credit(admission.Grant{Budget: h.Budget, Start: h.Start, Limit: 1, Granted: 1, Seq: 1})
	b.held(h, 0)
	b.held(b.budget(), 0)
	b.seq = 1
	b.fund(h, 100)
	b.room(h, 100)
}

// testAnyOrder lets many requests live at once, with their messages in random
// order and repeated, and counts along. At its end all is committed: nothing is
// held, and exactly what was spent is gone.
func testAnyOrder(t *testing.T, l admission.Limiter) {
	rapid.Check(t, func(rt *rapid.T) {
		const limit = 1000
		b := newBench(t, l)
		h := b.budget()
		b.fund(h, limit)
		m := &life{b: b, h: h, limit: limit, seq: 10, state: map[string]int64{}}
		for range rapid.IntRange(1, 50).Draw(rt, "steps") {
			m.step(rt)
			b.held(h, m.held())
			if b.t.Failed() {
				rt.FailNow()
			}
		}
		for _, r := range m.all {
			b.finish(r, 0, 0)
		}
		m.commitAll()
		b.held(h, 0)
		b.room(h, limit-m.spent)
		if b.t.Failed() {
			rt.FailNow()
		}
	})
}

// life is the model of testAnyOrder.
type life struct {
	b     *bench
	h     admission.Hold
	limit int64
	seq   int64
	spent int64 // in the ledger
	all   []*admission.Request
	final []*admission.Request
	state map[string]int64 // what each holds
	old   []admission.Committed
}

func (m *life) held() (sum int64) {
	for _, n := range m.state {
		sum += n
	}
	return sum
}

func (m *life) step(rt *rapid.T) {
	pick := func() *admission.Request {
		if len(m.all) == 0 {
			return m.b.holding(of(m.h, 1))
		}
		return m.all[rapid.IntRange(0, len(m.all)-1).Draw(rt, "which")]
	}
	switch rapid.IntRange(0, 6).Draw(rt, "step") {
	case 0, 1, 2:
		amount := rapid.Int64Range(1, 300).Draw(rt, "amount")
		r := m.b.holding(of(m.h, amount))
		v := m.b.admit(r)
		if fits := m.spent+m.held()+amount <= m.limit; fits != (v.Outcome == admission.Admitted) {
			rt.Fatalf("hold of %d over %d spent and %d held of %d: %s", amount, m.spent, m.held(), m.limit, describe(v))
		}
		if v.Outcome == admission.Admitted {
			m.all, m.state[r.ID] = append(m.all, r), amount
		}
	case 3, 4:
		r := pick()
		cost := rapid.Int64Range(0, r.Holds[0].Amount).Draw(rt, "cost")
		m.b.finish(r, 0, cost)
		if _, ok := m.state[r.ID]; ok && !m.isFinal(r) {
			m.state[r.ID], m.final = cost, append(m.final, r)
		}
	case 5:
		r := pick()
		m.b.release(r)
		if !m.isFinal(r) {
			delete(m.state, r.ID)
		}
	default:
		m.commitAll()
		if len(m.old) > 0 {
			m.b.commit(m.old[rapid.IntRange(0, len(m.old)-1).Draw(rt, "old")])
		}
	}
}

func (m *life) isFinal(r *admission.Request) bool {
	for _, f := range m.final {
		if f.ID == r.ID {
			return true
		}
	}
	return false
}

func (m *life) commitAll() {
	m.seq++
	c := admission.Committed{}
	for _, r := range m.final {
		if n, ok := m.state[r.ID]; ok {
			m.spent += n
			delete(m.state, r.ID)
			c.IDs = append(c.IDs, r.ID)
		}
	}
	c.Windows = []admission.Spent{{Budget: m.h.Budget, Start: m.h.Start, Spent: m.spent, Seq: m.seq}}
	m.b.commit(c)
	m.old = append(m.old, c)
}

// testParallelHolds lets 64 callers spend one budget, with a ledger that books
// behind them and grants in tranches. What runs or was settled never exceeds the
// limit, and the last unit is given out.
func testParallelHolds(t *testing.T, l admission.Limiter) {
	const limit, workers = 1000, 64
	b := newBench(t, l)
	h := b.budget()
	s := admission.NewService(l, &tranches{limit: limit, size: 64})
	var using, served atomic.Int64 // held for sure, or settled
	var wg sync.WaitGroup
	requests := make([][]*admission.Request, workers)
	for w := range requests {
		for range 30 {
			requests[w] = append(requests[w], b.holding(of(h, 7)))
		}
	}
	for _, mine := range requests {
		wg.Go(func() {
			for i, r := range mine {
				if _, err := s.Admit(t.Context(), r); err != nil {
					continue
				}
				if n := using.Add(7); n > limit {
					t.Errorf("%d of %d in use", n, limit)
				}
				cost := int64(i % 8) // from nothing to all
				using.Add(cost - 7)
				served.Add(cost)
				if err := s.Finish(t.Context(), admission.Final{ID: r.ID, Org: r.Org, Amounts: []int64{cost}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.held(h, served.Load())
	if served.Load() > limit {
		t.Errorf("served %d of %d", served.Load(), limit)
	}
	b.at = b.at.Add(time.Second)
	for served.Load() < limit {
		r := b.holding(of(h, 1))
		if _, err := s.Admit(t.Context(), r); err != nil {
			t.Fatalf("%d of %d served, and one more is refused: %v", served.Load(), limit, err)
		}
		served.Add(1)
	}
	if _, err := s.Admit(t.Context(), b.holding(of(h, 1))); err == nil {
		t.Error("one more than the limit was served")
	}
	b.held(h, limit)
}
