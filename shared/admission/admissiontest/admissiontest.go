// Package admissiontest is the conformance suite of [admission.Limiter]. Every
// limiter passes it, the one in memory included, so that tests may trust that one
// and production any.
//
// The suite owns what the port promises: outcomes, atomicity, the exact arithmetic
// of rates, the life of a hold, and that late or repeated messages do no harm. It
// works with organisations of its own, so that one limiter serves a whole run.
package admissiontest

import (
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aiaas/aiaas/shared/admission"
	"github.com/aiaas/aiaas/shared/tenant"
)

// Run runs the suite. newLimiter is called once for each part of it; the limiter
// may know other organisations already.
func Run(t *testing.T, newLimiter func(t *testing.T) admission.Limiter) {
	t.Helper()
	for _, part := range []struct {
		name string
		run  func(t *testing.T, l admission.Limiter)
	}{
		{"a request without limits is admitted", testNoLimits},
		{"concurrent requests are counted until they end", testConcurrency},
		{"of several limits the one that takes longest is named", testLongestWait},
		{"the tightest subject is told", testTightest},
		{"a denied request holds nothing", testDeniedHoldsNothing},
		{"a parallel denial holds nothing", testParallelDenials},
		{"a cost above the limit is admitted by an empty bucket", testCostAboveLimit},
		{"a released request still came", testReleasedCounts},
		{"rates follow the reference exactly", testRates},
		{"retry after is exact to the microsecond", testRetryAfter},
		{"asking for the state of limits takes nothing", testAsking},
		{"all subjects' limits are one step", testAllSubjects},
		{"a stale view is told so", testStale},
		{"organisations do not meet", testIsolation},
		{"a hold needs room", testRoom},
		{"every lacking window is listed", testLacks},
		{"windows are told apart by their start", testWindows},
		{"exhaustion is remembered for half a second", testExhausted},
		{"a changed limit counts at once", testLimit},
		{"a hold lives until the ledger has it", testLife},
		{"a hold goes with the sum of its window", testPartialCommit},
		{"what is done twice counts once", testTwice},
		{"messages may overtake each other", testOvertaking},
		{"a request whose finish was lost is freed by its commit", testLostFinish},
		{"an unknown request changes nothing", testUnknown},
		{"any order of messages ends with nothing held", testAnyOrder},
		{"parallel requests stay below the ceiling at every instant", testParallelHolds},
		{"parallel requests stay below the concurrency", testParallelConcurrency},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, newLimiter(t)) })
	}
}

// sequence tells organisations apart across all parts of a run.
var sequence atomic.Int64

func fresh(kind string) string {
	return kind + "_" + strconv.FormatInt(time.Now().UnixNano(), 36) + "_" + strconv.FormatInt(sequence.Add(1), 36)
}

// start is a whole moment, as the gateway takes it.
func start() time.Time { return time.Date(2026, 10, 17, 12, 30, 0, 0, time.UTC) }

// bench is one organisation on the limiter under test, at a moment of its own.
type bench struct {
	t   testing.TB
	l   admission.Limiter
	org string
	at  time.Time
	n   int
	seq int64
}

func newBench(t testing.TB, l admission.Limiter) *bench {
	t.Helper()
	return &bench{t: t, l: l, org: fresh("org"), at: start()}
}

func (b *bench) subject(l tenant.Limits) admission.Subject {
	return admission.Subject{Kind: "key", ID: b.org + "_key", Limits: l}
}

func (b *bench) request(subjects ...admission.Subject) *admission.Request {
	b.n++
	return &admission.Request{
		ID: fmt.Sprintf("%s_req%d", b.org, b.n), Org: b.org, Version: b.l.Latest(), At: b.at, Subjects: subjects,
	}
}

func (b *bench) holding(holds ...admission.Hold) *admission.Request {
	r := b.request()
	r.Holds = holds
	return r
}

func (b *bench) admit(r *admission.Request) admission.Verdict {
	b.t.Helper()
	v, err := b.l.Admit(b.t.Context(), r)
	if err != nil {
		b.t.Fatalf("admit: %v", err)
	}
	return v
}

func (b *bench) must(r *admission.Request) *admission.Request {
	b.t.Helper()
	if v := b.admit(r); v.Outcome != admission.Admitted {
		b.t.Fatalf("%s: %s; want admitted", r.ID, describe(v))
	}
	return r
}

func (b *bench) finish(r *admission.Request, tokens int64, amounts ...int64) {
	b.t.Helper()
	if err := b.l.Finish(b.t.Context(), admission.Final{ID: r.ID, Org: b.org, Tokens: tokens, Amounts: amounts}); err != nil {
		b.t.Fatalf("finish: %v", err)
	}
}

func (b *bench) release(r *admission.Request) {
	b.t.Helper()
	if err := b.l.Release(b.t.Context(), b.org, r.ID); err != nil {
		b.t.Fatalf("release: %v", err)
	}
}

func (b *bench) commit(c admission.Committed) {
	b.t.Helper()
	c.Org = b.org
	if err := b.l.Commit(b.t.Context(), c); err != nil {
		b.t.Fatalf("commit: %v", err)
	}
}

func (b *bench) credit(grants ...admission.Grant) {
	b.t.Helper()
	if err := b.l.Credit(b.t.Context(), b.org, b.at, grants); err != nil {
		b.t.Fatalf("credit: %v", err)
	}
}

// fund makes a window known and grants it: all of its limit.
func (b *bench) fund(h admission.Hold, limit int64) {
	b.t.Helper()
	h.Amount = 1
	if v := b.admit(b.holding(h)); v.Outcome != admission.Short || !v.Ask {
		b.t.Fatalf("a window that was never granted: %s; want short, and to ask", describe(v))
	}
	b.seq++
	b.credit(admission.Grant{Budget: h.Budget, Start: h.Start, Limit: limit, Granted: limit, Seq: b.seq})
}

func (b *bench) held(h admission.Hold, want int64) {
	b.t.Helper()
	if got := b.l.Held(b.org, h.Budget, h.Start); got != want {
		b.t.Errorf("held on %s: %d; want %d", h.Budget, got, want)
	}
}

// finals are the requests that are settled and not booked.
func (b *bench) finals(want ...string) {
	b.t.Helper()
	if got := b.l.Finals(b.org); !slices.Equal(got, want) && len(got)+len(want) > 0 {
		b.t.Errorf("settled and not booked: %v; want %v", got, want)
	}
}

// taken is what is spent and held.
func (b *bench) taken(h admission.Hold, want int64) {
	b.t.Helper()
	if got := b.l.Taken(b.org, h.Budget, h.Start); got != want {
		b.t.Errorf("taken of %s: %d; want %d", h.Budget, got, want)
	}
}

// room finds what is left of a window by asking for it: an amount is admitted
// exactly up to it.
func (b *bench) room(h admission.Hold, want int64) {
	b.t.Helper()
	h.Amount = want + 1
	if v := b.admit(b.holding(h)); v.Outcome != admission.Short || v.Lacks[0].Amount != 1 {
		b.t.Errorf("hold of %d on %s: %s; want short of 1", want+1, h.Budget, describe(v))
	}
	if want <= 0 {
		return
	}
	h.Amount = want
	r := b.holding(h)
	if v := b.admit(r); v.Outcome != admission.Admitted {
		b.t.Errorf("hold of %d on %s: %s; want admitted", want, h.Budget, describe(v))
	}
	b.release(r)
}

func day(budget string, d int) admission.Hold {
	s := time.Date(2026, 10, d, 0, 0, 0, 0, time.UTC)
	return admission.Hold{Budget: budget, Start: s, End: s.AddDate(0, 0, 1)}
}

func (b *bench) budget() admission.Hold { return day(fresh("bud"), 17) }

func of(h admission.Hold, amount int64) admission.Hold {
	h.Amount = amount
	return h
}

func describe(v admission.Verdict) string {
	switch v.Outcome {
	case admission.Admitted:
		return "admitted"
	case admission.Stale:
		return "stale"
	case admission.Limited:
		return fmt.Sprintf("limited by %s of %s for %s", v.Metric, v.Subject.ID, v.RetryAfter)
	case admission.Short:
		return fmt.Sprintf("short on %s (ask: %t, lacks %+v)", v.Budget, v.Ask, v.Lacks)
	}
	return fmt.Sprintf("outcome %d", v.Outcome)
}

func testNoLimits(t *testing.T, l admission.Limiter) {
	b := newBench(t, l)
	for range 1000 {
		r := b.request(b.subject(tenant.Limits{}))
		r.Tokens = 1 << 40
		if diff := cmp.Diff(admission.Verdict{}, b.admit(r)); diff != "" {
			t.Fatalf("verdict (-want +got):\n%s", diff)
		}
	}
}

func testStale(t *testing.T, l admission.Limiter) {
	b := newBench(t, l)
	old := b.request()
	if err := l.Bump(t.Context(), b.org); err != nil {
		t.Fatal(err)
	}
	if l.Version(b.org) != l.Latest() {
		t.Errorf("version %d after a bump; want the latest, %d", l.Version(b.org), l.Latest())
	}
	h := b.budget()
	b.fund(h, 10)
	old.Holds = []admission.Hold{of(h, 1)}
	old.Subjects = []admission.Subject{b.subject(tenant.Limits{RequestsPerMinute: 1, ConcurrentRequests: 1})}
	for range 3 {
		if v := b.admit(old); v.Outcome != admission.Stale {
			t.Fatalf("a view from before a bump: %s; want stale", describe(v))
		}
	}
	b.held(h, 0)
	young := b.request(old.Subjects...)
	young.Version = l.Version(b.org)
	b.must(young)
	before := l.Version(b.org)
	other := newBench(t, l)
	if err := l.Bump(t.Context(), other.org); err != nil {
		t.Fatal(err)
	}
	if l.Version(b.org) != before {
		t.Error("the bump of another organisation moved this one's version")
	}
	if other.l.Version(other.org) <= before {
		t.Error("versions do not grow from bump to bump")
	}
	if l.Version(fresh("org")) != 0 {
		t.Error("an organisation that nobody bumped has a version")
	}
}

func testIsolation(t *testing.T, l admission.Limiter) {
	a, b := newBench(t, l), newBench(t, l)
	h := a.budget()
	a.fund(h, 10)
	a.must(a.holding(of(h, 10)))
	if v := b.admit(b.holding(of(h, 1))); v.Outcome != admission.Short || v.Lacks[0].Amount != 1 {
		t.Errorf("a budget of another organisation: %s; want short of 1", describe(v))
	}
	b.held(h, 0)
	one := tenant.Limits{ConcurrentRequests: 1, RequestsPerMinute: 1}
	s := admission.Subject{Kind: "key", ID: "shared", Limits: one}
	a.must(a.request(s))
	b.must(b.request(s))
}
