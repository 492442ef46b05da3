package memory_test

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/aiaas/aiaas/adapters/memory"
	"github.com/aiaas/aiaas/shared/admission"
	"github.com/aiaas/aiaas/shared/admission/admissiontest"
	"github.com/aiaas/aiaas/shared/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLimiterConforms(t *testing.T) {
	admissiontest.Run(t, func(*testing.T) admission.Limiter { return memory.NewLimiter() })
}

// What no request can reach is no limit, and does not overflow into one.
func TestAbsurdLimitsAreNone(t *testing.T) {
	l := memory.NewLimiter()
	for _, n := range []int64{1<<62/60_000_000 + 1, 1 << 62, 1<<63 - 1} {
		r := &admission.Request{ID: "r", Org: "o", At: time.Unix(0, 0), Tokens: 1<<63 - 1, Subjects: []admission.Subject{
			{Kind: "key", ID: fmt.Sprint(n), Limits: tenant.Limits{TokensPerMinute: n, RequestsPerMinute: n}},
		}}
		for range 3 {
			v, err := l.Admit(t.Context(), r)
			if err != nil || v.Outcome != admission.Admitted || v.Tokens.Limit != 0 {
				t.Errorf("limit %d: outcome %d, limit told %d, %v; want admitted without a limit", n, v.Outcome, v.Tokens.Limit, err)
			}
		}
		if err := l.Finish(t.Context(), admission.Final{ID: "r", Org: "o", Tokens: 1 << 40}); err != nil {
			t.Error(err)
		}
	}
}

func TestTheLargestTokensDoNotOverflow(t *testing.T) {
	l := memory.NewLimiter()
	s := []admission.Subject{{Kind: "key", ID: "k", Limits: tenant.Limits{TokensPerMinute: 1<<62/60_000_000 - 1}}}
	at := time.Unix(0, 0)
	for i := range 3 {
		r := &admission.Request{ID: fmt.Sprint(i), Org: "o", At: at, Tokens: 1<<63 - 1, Subjects: s}
		v, err := l.Admit(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if want := i == 0; (v.Outcome == admission.Admitted) != want || v.Tokens.Remaining < 0 || v.RetryAfter < 0 || v.Tokens.Reset < 0 {
			t.Errorf("request %d: %+v", i, v)
		}
		if err := l.Finish(t.Context(), admission.Final{ID: r.ID, Org: "o", Tokens: 1<<63 - 1}); err != nil {
			t.Fatal(err)
		}
	}
}

// One absurd reservation must not lock a limit: what was taken for it is given
// back to the token, whatever its size.
func TestAReservationIsGivenBackWhole(t *testing.T) {
	for _, tokens := range []int64{1, 1000, 1 << 40, 128 << 40, 1<<63 - 1} {
		l := memory.NewLimiter()
		at := time.Unix(0, 0)
		request := func(id string, tokens int64) admission.Verdict {
			v, err := l.Admit(t.Context(), &admission.Request{ID: id, Org: "o", At: at, Tokens: tokens, Subjects: []admission.Subject{
				{Kind: "key", ID: "k", Limits: tenant.Limits{TokensPerMinute: 1000}},
			}})
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		if v := request("absurd", tokens); v.Outcome != admission.Admitted {
			t.Fatalf("%d tokens: an empty bucket admits once: %+v", tokens, v)
		}
		if err := l.Finish(t.Context(), admission.Final{ID: "absurd", Org: "o", Tokens: 10}); err != nil {
			t.Fatal(err)
		}
		if v := request("next", 990); v.Outcome != admission.Admitted || v.Tokens.Remaining != 0 {
			t.Errorf("%d tokens reserved, 10 used: %+v; want room for 990 more", tokens, v)
		}
	}
}

// A limit cut below what is spent leaves no room, however large the next hold is.
func TestNoHoldPassesACutLimit(t *testing.T) {
	l := memory.NewLimiter()
	at := time.Unix(0, 0)
	window := admission.Hold{Budget: "b", Start: at, End: at.Add(time.Hour)}
	for i, amount := range []int64{1, 50, 1<<62 + 1, 1<<63 - 10, 1<<63 - 1} {
		window.Amount = amount
		r := &admission.Request{ID: fmt.Sprint(i), Org: "o", At: at, Holds: []admission.Hold{window}}
		for range 2 { // the first makes the window known
			v, err := l.Admit(t.Context(), r)
			if err != nil || v.Outcome != admission.Short || v.Lacks[0].Amount < amount {
				t.Fatalf("a hold of %d: %+v, %v; want it short by at least that", amount, v, err)
			}
			grant := admission.Grant{Budget: "b", Start: at, Limit: 50, Granted: 100, Spent: 100, Seq: 1}
			if err := l.Credit(t.Context(), "o", at, []admission.Grant{grant}); err != nil {
				t.Fatal(err)
			}
		}
	}
}
