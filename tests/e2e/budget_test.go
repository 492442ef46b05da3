package e2e_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/tests/harness"
)

// TestBlockingBudgetIsNeverOverspent lets 64 callers loose on a small budget of
// each unit. At every instant spent ≤ granted ≤ limit in the database, and in the
// end there is no room left that a request could still have had.
func TestBlockingBudgetIsNeverOverspent(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	const more = `,"max_tokens":20`
	in, out := bound(more, 20)
	for _, b := range []struct {
		unit, amount string
		limit, hold  int64 // in the unit the database counts
	}{
		{"money", "0.012345678", 12_345_678, cost(in, 0, out) + 1},
		{"tokens", "7001", 7001, in + out},
		{"requests", "37", 37, 1},
	} {
		t.Run(b.unit, func(t *testing.T) {
			keyID, key, budget := p.budgeted(t, b.unit, b.amount)
			stop, stopShown := p.watchBudget(t, budget), p.watchShown(t, budget)
			var served, denied atomic.Int64
			parallel(400, 64, func(i int) {
				a := p.chat(t.Context(), key, more+[]string{``, `,"stream":true`}[i%2])
				switch {
				case a.Done():
					served.Add(1)
				case a.Status == http.StatusPaymentRequired:
					denied.Add(1)
					namesBudget(t, a, budget)
				default:
					t.Errorf("want 200 or 402, got %s", a)
				}
			})
			p.WaitSettled(t)
			p.WaitNoHolds(t)
			room := func() int64 {
				for _, w := range p.Database().Windows(t) {
					if w.Budget == budget {
						return w.Limit - w.Spent
					}
				}
				return b.limit
			}
			// Holds are for the worst case: what they left over can still be had.
			harness.Eventually(t, "use of the whole budget", func() (bool, string) {
				for {
					a := p.chat(t.Context(), key, more)
					if !a.Done() {
						namesBudget(t, a, budget)
						break
					}
					served.Add(1)
				}
				p.WaitSettled(t)
				return room() < b.hold, fmt.Sprintf("room for %d, a request needs %d", room(), b.hold)
			})
			samples, shown := stop(), stopShown()
			if samples < 20 || shown < 20 {
				t.Errorf("the budget was looked at %d and %d times only", samples, shown)
			}
			if denied.Load() == 0 || served.Load() == 0 || room() < 0 {
				t.Errorf("%d served, %d denied, room for %d", served.Load(), denied.Load(), room())
			}
			var booked int64
			for _, e := range p.Agrees(t) {
				if e.KeyID == keyID {
					booked++
				}
			}
			if booked != served.Load() || b.unit == "requests" && booked != b.limit {
				t.Errorf("%d served, %d booked", served.Load(), booked)
			}
			t.Logf("%d served and %d denied of %s %s; %d left, a request needs up to %d; looked at %d times in the database, %d by the API",
				served.Load(), denied.Load(), b.amount, b.unit, room(), b.hold, samples, shown)
			// What just fits is served, at once; one unit less and it is refused. The
			// hold on money is rounded up, so that it may be a unit less than computed.
			spent := b.limit - room()
			p.setAmount(t, budget, b.unit, spent+b.hold-2)
			if b.unit != "money" {
				p.setAmount(t, budget, b.unit, spent+b.hold-1)
			}
			namesBudget(t, p.chat(t.Context(), key, more), budget)
			p.setAmount(t, budget, b.unit, spent+b.hold)
			if a := p.chat(t.Context(), key, more); !a.Done() {
				t.Errorf("a request that just fits: %s", a)
			}
		})
	}
}

func namesBudget(t *testing.T, a harness.Answer, budget string) {
	t.Helper()
	refused(t, a, http.StatusPaymentRequired, "budget_exceeded")
	var p struct{ Budget string }
	a.JSON(t, &p)
	if p.Budget != budget {
		t.Errorf("the answer names budget %q, not %q: %s", p.Budget, budget, a)
	}
}

// watchBudget looks at the budget's window without a pause until the returned
// function is called, which tells how often.
func (p *platform) watchBudget(t *testing.T, budget string) (stop func() int) {
	t.Helper()
	conn := p.Database().Conn(t)
	quit, done := make(chan struct{}), make(chan int)
	go func() {
		samples := 0
		defer func() { done <- samples }()
		for {
			select {
			case <-quit:
				return
			default:
			}
			var spent, granted, limit int64
			err := conn.QueryRow(t.Context(), `SELECT w.spent, w.granted, b.amount FROM analytics.budget_windows w
				JOIN analytics.budgets b USING (org_id, budget_id) WHERE budget_id = $1`, budget).Scan(&spent, &granted, &limit)
			if err != nil && err != pgx.ErrNoRows { //nolint:errorlint // pgx returns it bare
				t.Errorf("look at budget: %v", err)
				return
			}
			samples++
			if spent > granted || granted > limit {
				t.Errorf("spent %d, granted %d, limit %d", spent, granted, limit)
				return
			}
		}
	}()
	return func() int {
		close(quit)
		return <-done
	}
}

// TestUnboundedIsRefusedUnderBlockingBudget holds the hold to be a bound.
func TestUnboundedIsRefusedUnderBlockingBudget(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	_, held, budget := p.budgeted(t, "money", "10")
	image := `{"model":"` + model + `","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}]}]}`
	for name, body := range map[string]string{
		"remote image": image,
		"web search":   chat(`,"web_search_options":{}`),
		"conversation": chat(`,"previous_response_id":"resp_1"`),
	} {
		refused(t, p.Do(t.Context(), harness.Call{Key: held, Body: body}), http.StatusUnprocessableEntity, "unprocessable")
		if a := p.Do(t.Context(), harness.Call{Key: p.APIKey, Body: body}); a.Status != http.StatusOK {
			t.Errorf("%s without such a budget: %s", name, a)
		}
	}
	// A stream that runs past its bound is cut, and billed at most the bound.
	const past = `data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n`
	endless := `,"stream":true,"max_tokens":3,"demo":{"body":"` + past + past + past + past + past + `data: [DONE]\n\n"}`
	a := p.chat(t.Context(), held, endless)
	if a.Done() {
		t.Errorf("a stream past its bound was finished: %s", a)
	}
	p.WaitSettled(t)
	p.WaitNoHolds(t)
	if e := p.Agrees(t)[a.RequestID]; e.Outcome != "failed" || e.Output != 3 {
		t.Errorf("a stream past its bound of 3 tokens is booked as %+v", e)
	}
	p.Stop(t)
	p.Restart(t)
	for _, w := range p.Database().Windows(t) {
		if w.Budget == budget && w.Granted != w.Spent {
			t.Errorf("%+v", w)
		}
	}
}
