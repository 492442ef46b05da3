package admissiontest

import (
	"math/big"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/aiaas/aiaas/shared/admission"
	"github.com/aiaas/aiaas/shared/tenant"
)

func testConcurrency(t *testing.T, l admission.Limiter) {
	b := newBench(t, l)
	s := b.subject(tenant.Limits{ConcurrentRequests: 2})
	first, second := b.must(b.request(s)), b.must(b.request(s))
	want := admission.Verdict{Outcome: admission.Limited, Metric: admission.ConcurrentRequests, Subject: s}
	if diff := cmp.Diff(want, b.admit(b.request(s))); diff != "" {
		t.Fatalf("the third of two (-want +got):\n%s", diff)
	}
	b.finish(first, 0)
	third := b.must(b.request(s))
	b.release(second)
	b.must(b.request(s))
	if v := b.admit(b.request(s)); v.Outcome != admission.Limited {
		t.Errorf("one ended, one came, one was released, one came: %s; want limited", describe(v))
	}
	b.finish(third, 0)
	b.finish(third, 0)
	b.release(third)
	b.must(b.request(s))
	if v := b.admit(b.request(s)); v.Outcome != admission.Limited {
		t.Errorf("ending twice freed two: %s; want limited", describe(v))
	}
}

func testLongestWait(t *testing.T, l admission.Limiter) {
	b := newBench(t, l)
	fast := admission.Subject{Kind: "key", ID: b.org + "_k", Limits: tenant.Limits{RequestsPerMinute: 2, ConcurrentRequests: 2}}
	slow := admission.Subject{Kind: "organization", ID: b.org, Limits: tenant.Limits{RequestsPerMinute: 2, TokensPerMinute: 10}}
	for range 2 {
		r := b.request(fast, slow)
		r.Tokens = 5
		b.must(r)
	}
	r := b.request(fast, slow)
	r.Tokens = 10
	v := b.admit(r)
	// One request in 30 s, ten tokens in 60 s.
	if v.Metric != admission.TokensPerMinute || v.Subject.ID != slow.ID || v.RetryAfter != time.Minute {
		t.Errorf("%s; want by tokens of the organisation for 1m0s", describe(v))
	}
}

func testTightest(t *testing.T, l admission.Limiter) {
	b := newBench(t, l)
	wide := admission.Subject{Kind: "organization", ID: b.org, Limits: tenant.Limits{RequestsPerMinute: 600, TokensPerMinute: 50}}
	tight := admission.Subject{Kind: "key", ID: b.org + "_k", Limits: tenant.Limits{RequestsPerMinute: 60, TokensPerMinute: 100}}
	r := b.request(wide, tight)
	r.Tokens = 20
	want := admission.Verdict{
		Requests: admission.Rate{Limit: 60, Remaining: 59, Reset: time.Second},
		Tokens:   admission.Rate{Limit: 50, Remaining: 30, Reset: 24 * time.Second},
	}
	if diff := cmp.Diff(want, b.admit(r)); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
}

func testDeniedHoldsNothing(t *testing.T, l admission.Limiter) {
	b := newBench(t, l)
	h, poor := b.budget(), b.budget()
	b.fund(h, 100)
	b.fund(poor, 5)
	open := admission.Subject{Kind: "key", ID: b.org + "_open", Limits: tenant.Limits{RequestsPerMinute: 10, TokensPerMinute: 100, ConcurrentRequests: 5}}
	full := admission.Subject{Kind: "organization", ID: b.org + "_full", Limits: tenant.Limits{ConcurrentRequests: 1}}
	b.must(b.request(full))
	for range 20 {
		limited := b.request(open, full)
		limited.Tokens, limited.Holds = 10, []admission.Hold{of(h, 10)}
		if v := b.admit(limited); v.Outcome != admission.Limited {
			t.Fatalf("%s; want limited", describe(v))
		}
		short := b.request(open)
		short.Tokens, short.Holds = 10, []admission.Hold{of(h, 10), of(poor, 6)}
		if v := b.admit(short); v.Outcome != admission.Short || v.Budget != poor.Budget {
			t.Fatalf("%s; want short on the poor budget", describe(v))
		}
	}
	b.held(h, 0)
	b.held(poor, 0)
	probe := b.request(open)
	probe.Tokens = 100
	v := b.admit(probe)
	if v.Outcome != admission.Admitted || v.Requests.Remaining != 9 || v.Tokens.Remaining != 0 {
		t.Errorf("after 40 denials: %s, %d requests and %d tokens remain; want 9 and 0", describe(v), v.Requests.Remaining, v.Tokens.Remaining)
	}
}

// testParallelDenials: what one subject denies is not counted on the other for a
// moment either, else the other's last place would be refused to someone.
func testParallelDenials(t *testing.T, l admission.Limiter) {
	b := newBench(t, l)
	full := admission.Subject{Kind: "key", ID: b.org + "_full", Limits: tenant.Limits{ConcurrentRequests: 1}}
	b.must(b.request(full))
	open := admission.Subject{Kind: "organization", ID: b.org, Limits: tenant.Limits{ConcurrentRequests: 1}}
	h := b.budget()
	b.fund(h, 10)
	denied, served := make([]*admission.Request, 200), make([]*admission.Request, 200)
	for i := range denied {
		denied[i], served[i] = b.request(open, full), b.request(open)
		denied[i].Holds, served[i].Holds = []admission.Hold{of(h, 10)}, []admission.Hold{of(h, 10)}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, r := range denied {
			if v, err := l.Admit(t.Context(), r); err != nil || v.Outcome != admission.Limited {
				t.Errorf("%s, %v; want limited", describe(v), err)
				return
			}
		}
	})
	for _, r := range served {
		b.must(r)
		b.release(r)
	}
	wg.Wait()
	b.held(h, 0)
}

func testCostAboveLimit(t *testing.T, l admission.Limiter) {
	b := newBench(t, l)
	s := b.subject(tenant.Limits{TokensPerMinute: 10})
	ask := func(tokens int64) admission.Verdict {
		r := b.request(s)
		r.Tokens = tokens
		return b.admit(r)
	}
	if v := ask(25); v.Outcome != admission.Admitted || v.Tokens.Remaining != 0 || v.Tokens.Reset != 150*time.Second {
		t.Errorf("25 tokens of 10 in an empty bucket: %s, resets in %s; want admitted, 2m30s", describe(v), v.Tokens.Reset)
	}
	b.at = b.at.Add(90 * time.Second) // 10 left in the bucket
	if v := ask(25); v.Outcome != admission.Limited || v.RetryAfter != time.Minute {
		t.Errorf("again: %s; want limited for 1m0s", describe(v))
	}
	b.at = b.at.Add(time.Minute)
	if v := ask(25); v.Outcome != admission.Admitted {
		t.Errorf("a minute later: %s; want admitted", describe(v))
	}
}

func testReleasedCounts(t *testing.T, l admission.Limiter) {
	b := newBench(t, l)
	s := b.subject(tenant.Limits{RequestsPerMinute: 2, TokensPerMinute: 100})
	for range 2 {
		r := b.request(s)
		r.Tokens = 100
		b.must(r)
		b.release(r) // its tokens are free again
	}
	v := b.admit(b.request(s))
	if v.Outcome != admission.Limited || v.Metric != admission.RequestsPerMinute || v.Tokens.Remaining != 100 {
		t.Errorf("%s, %d tokens remain; want limited by requests, 100", describe(v), v.Tokens.Remaining)
	}
}

func testRetryAfter(t *testing.T, l admission.Limiter) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBench(t, l)
		n := rapid.Int64Range(1, 5_000_000).Draw(rt, "limit")
		s := b.subject(tenant.Limits{TokensPerMinute: n})
		ask := func(tokens int64) admission.Verdict {
			r := b.request(s)
			r.Tokens = tokens
			return b.admit(r)
		}
		for range 3 {
			for ask(rapid.Int64Range(1, n).Draw(rt, "cost")).Outcome == admission.Admitted {
				b.at = b.at.Add(time.Duration(rapid.Int64Range(0, 1_000_000).Draw(rt, "pause")) * time.Microsecond)
			}
			cost := rapid.Int64Range(1, n).Draw(rt, "cost")
			v := ask(cost)
			if v.Outcome == admission.Admitted {
				continue
			}
			at := b.at
			b.at = at.Add(v.RetryAfter - time.Microsecond)
			if early := ask(cost); early.Outcome != admission.Limited || early.RetryAfter != time.Microsecond {
				rt.Fatalf("a microsecond early: %s; want limited for 1µs", describe(early))
			}
			b.at = at.Add(v.RetryAfter)
			if late := ask(cost); late.Outcome != admission.Admitted {
				rt.Fatalf("after waiting %s: %s; want admitted", v.RetryAfter, describe(late))
			}
		}
	})
}

// reference is a token bucket of n, refilled evenly over a minute, in rationals.
// What a request really used is known when it ends, and counts as of the last
// admission: an end has no time of its own.
type reference struct {
	used *big.Rat // tokens, right at the moment at
	at   time.Time
}

func newReference() *reference { return &reference{used: new(big.Rat), at: start().Add(-time.Hour)} }

func (r *reference) level(at time.Time, n int64) *big.Rat {
	passed := at.Sub(r.at).Microseconds()
	if passed <= 0 {
		return r.used
	}
	left := new(big.Rat).Sub(r.used, big.NewRat(passed*n, int64(time.Minute/time.Microsecond)))
	if left.Sign() < 0 {
		return new(big.Rat)
	}
	return left
}

// wait is the smallest whole number of microseconds after which cost fits.
func (r *reference) wait(at time.Time, n, cost int64) time.Duration {
	over := new(big.Rat).Sub(new(big.Rat).Add(r.level(at, n), big.NewRat(min(cost, n), 1)), big.NewRat(n, 1))
	if over.Sign() <= 0 || cost == 0 {
		return 0
	}
	return ceil(over.Mul(over, big.NewRat(int64(time.Minute/time.Microsecond), n)))
}

func (r *reference) add(at time.Time, n, cost int64) {
	r.used = new(big.Rat).Add(r.level(at, n), big.NewRat(cost, 1))
	if at.After(r.at) {
		r.at = at
	}
}

func (r *reference) correct(tokens int64) {
	r.used = new(big.Rat).Add(r.used, big.NewRat(tokens, 1))
	if r.used.Sign() < 0 {
		r.used = new(big.Rat)
	}
}

func (r *reference) rate(at time.Time, n int64) admission.Rate {
	level := r.level(at, n)
	full := new(big.Int).Add(level.Num(), new(big.Int).Sub(level.Denom(), big.NewInt(1)))
	used := full.Div(full, level.Denom()).Int64()
	return admission.Rate{
		Limit: n, Remaining: max(0, n-used),
		Reset: ceil(new(big.Rat).Mul(level, big.NewRat(int64(time.Minute/time.Microsecond), n))),
	}
}

func ceil(micros *big.Rat) time.Duration {
	sum := new(big.Int).Add(micros.Num(), new(big.Int).Sub(micros.Denom(), big.NewInt(1)))
	return time.Duration(sum.Div(sum, micros.Denom()).Int64()) * time.Microsecond
}

// testRates compares a limiter with the reference over random times (a clock that
// goes back included), limits that change, costs and corrections.
func testRates(t *testing.T, l admission.Limiter) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBench(t, l)
		requests, tokens := newReference(), newReference()
		lim := tenant.Limits{
			RequestsPerMinute: rapid.Int64Range(1, 100).Draw(rt, "requests a minute"),
			TokensPerMinute:   rapid.Int64Range(1, 10_000_000).Draw(rt, "tokens a minute"),
		}
		var running []*admission.Request
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			b.at = b.at.Add(time.Duration(rapid.Int64Range(-1_000_000, 20_000_000).Draw(rt, "pause")) * time.Microsecond)
			switch rapid.IntRange(0, 9).Draw(rt, "step") {
			case 0, 1, 2:
				if len(running) == 0 {
					continue
				}
				r := running[0]
				running = running[1:]
				used := rapid.Int64Range(0, 2*lim.TokensPerMinute).Draw(rt, "used")
				b.finish(r, used)
				tokens.correct(used - r.Tokens)
				continue
			case 3:
				lim.TokensPerMinute = rapid.Int64Range(1, 10_000_000).Draw(rt, "new tokens a minute")
			}
			r := b.request(b.subject(lim))
			r.Tokens = rapid.Int64Range(0, lim.TokensPerMinute+lim.TokensPerMinute/4).Draw(rt, "tokens")
			want := admission.Verdict{}
			if w := requests.wait(b.at, lim.RequestsPerMinute, 1); w > 0 {
				want = admission.Verdict{Outcome: admission.Limited, Metric: admission.RequestsPerMinute, Subject: r.Subjects[0], RetryAfter: w}
			}
			if w := tokens.wait(b.at, lim.TokensPerMinute, r.Tokens); w > want.RetryAfter {
				want = admission.Verdict{Outcome: admission.Limited, Metric: admission.TokensPerMinute, Subject: r.Subjects[0], RetryAfter: w}
			}
			if want.Outcome == admission.Admitted {
				requests.add(b.at, lim.RequestsPerMinute, 1)
				tokens.add(b.at, lim.TokensPerMinute, r.Tokens)
				running = append(running, r)
			}
			want.Requests, want.Tokens = requests.rate(b.at, lim.RequestsPerMinute), tokens.rate(b.at, lim.TokensPerMinute)
			if diff := cmp.Diff(want, b.admit(r)); diff != "" {
				rt.Fatalf("%d tokens at %s (-want +got):\n%s", r.Tokens, b.at, diff)
			}
		}
	})
}

// testAsking: Rates tells what the next verdict would, of the tightest subject, and
// leaves everything as it is: buckets, places and the version.
func testAsking(t *testing.T, l admission.Limiter) {
	b := newBench(t, l)
	key := admission.Subject{Kind: "key", ID: b.org + "_k", Limits: tenant.Limits{RequestsPerMinute: 60, TokensPerMinute: 100, ConcurrentRequests: 1}}
	org := admission.Subject{Kind: "organization", ID: b.org, Limits: tenant.Limits{RequestsPerMinute: 600, TokensPerMinute: 50}}
	ask := func(want admission.Verdict, subjects ...admission.Subject) {
		t.Helper()
		for range 100 {
			got, err := l.Rates(t.Context(), b.org, b.at, subjects)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Fatalf("%v (-want +got):\n%s", err, diff)
			}
		}
	}
	ask(admission.Verdict{})
	ask(admission.Verdict{}, admission.Subject{Kind: "key", ID: b.org + "_none"})
	ask(admission.Verdict{
		Requests: admission.Rate{Limit: 60, Remaining: 60}, Tokens: admission.Rate{Limit: 50, Remaining: 50},
	}, key, org)
	r := b.request(key, org)
	r.Tokens = 20
	v := b.admit(r)
	if v.Outcome != admission.Admitted || v.Requests.Remaining != 59 || v.Tokens.Remaining != 30 {
		t.Fatalf("after 200 questions: %s, %+v, %+v; want the first of 60 and 20 tokens of 50", describe(v), v.Requests, v.Tokens)
	}
	told := admission.Verdict{Outcome: admission.Limited, Metric: admission.ConcurrentRequests, Subject: key, Requests: v.Requests, Tokens: v.Tokens}
	ask(told, key, org)
	b.admit(b.request(key, org)) // refused: one runs
	ask(told, key, org)
	if err := l.Bump(t.Context(), b.org); err != nil {
		t.Fatal(err)
	}
	ask(told, key, org) // a question has no version
	b.finish(r, 20)
	b.at = b.at.Add(time.Minute)
	ask(admission.Verdict{
		Requests: admission.Rate{Limit: 60, Remaining: 60}, Tokens: admission.Rate{Limit: 50, Remaining: 50},
	}, key, org)
}

// testAllSubjects: of key, project and organisation each may be the one whose limit
// of requests, tokens or places is reached. It is named, and the others keep theirs.
func testAllSubjects(t *testing.T, l admission.Limiter) {
	for metric, limits := range map[admission.Metric]tenant.Limits{
		admission.RequestsPerMinute:  {RequestsPerMinute: 1},
		admission.TokensPerMinute:    {TokensPerMinute: 10},
		admission.ConcurrentRequests: {ConcurrentRequests: 1},
	} {
		for tight := range 3 {
			b := newBench(t, l)
			wide := tenant.Limits{RequestsPerMinute: 100, TokensPerMinute: 1000, ConcurrentRequests: 100}
			var subjects []admission.Subject
			for i, kind := range []string{"key", "project", "organization"} {
				s := admission.Subject{Kind: kind, ID: b.org + "_" + kind, Limits: wide}
				if i == tight {
					s.Limits = limits
				}
				subjects = append(subjects, s)
			}
			ask := func() admission.Verdict {
				r := b.request(subjects...)
				r.Tokens = 10
				return b.admit(r)
			}
			if v := ask(); v.Outcome != admission.Admitted {
				t.Fatalf("%s of the %s: %s; want admitted", metric, subjects[tight].Kind, describe(v))
			}
			for range 5 {
				if v := ask(); v.Outcome != admission.Limited || v.Metric != metric || v.Subject.ID != subjects[tight].ID {
					t.Errorf("%s of the %s: %s", metric, subjects[tight].Kind, describe(v))
				}
			}
			for i := range subjects {
				if i == tight {
					continue
				}
				v, err := l.Rates(t.Context(), b.org, b.at, subjects[i:i+1])
				if err != nil || v.Requests.Remaining != 99 || v.Tokens.Remaining != 990 {
					t.Errorf("%s of the %s: what was refused took of the %s: %+v, %+v, %v", metric, subjects[tight].Kind, subjects[i].Kind, v.Requests, v.Tokens, err)
				}
			}
		}
	}
}

func testParallelConcurrency(t *testing.T, l admission.Limiter) {
	const most, workers, rounds = 3, 16, 40
	b := newBench(t, l)
	s := b.subject(tenant.Limits{ConcurrentRequests: most})
	requests := make([][]*admission.Request, workers)
	for w := range requests {
		for range rounds {
			requests[w] = append(requests[w], b.request(s))
		}
	}
	var running, admitted atomic.Int64
	var wg sync.WaitGroup
	for _, mine := range requests {
		wg.Go(func() {
			for i, r := range mine {
				v, err := l.Admit(t.Context(), r)
				if err != nil {
					t.Error(err)
					return
				}
				if v.Outcome != admission.Admitted {
					continue
				}
				admitted.Add(1)
				if n := running.Add(1); n > most {
					t.Errorf("%d run at once; want at most %d", n, most)
				}
				running.Add(-1)
				if i%2 == 0 {
					err = l.Finish(t.Context(), admission.Final{ID: r.ID, Org: r.Org})
				} else {
					err = l.Release(t.Context(), r.Org, r.ID)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if admitted.Load() == 0 {
		t.Error("nothing was admitted")
	}
	for range most {
		b.must(b.request(s))
	}
	if v := b.admit(b.request(s)); v.Outcome != admission.Limited {
		t.Errorf("after all ended, one more than the limit: %s; want limited", describe(v))
	}
}
