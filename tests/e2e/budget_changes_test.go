package e2e_test

import (
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/aiaas/aiaas/tests/harness"
)

// setAmount sets a budget's amount, in the unit that the database counts.
func (p *platform) setAmount(t *testing.T, budget, unit string, amount int64) {
	t.Helper()
	text := fmt.Sprint(max(amount, 0))
	if unit == "money" {
		text = new(big.Rat).SetFrac64(max(amount, 0), 1e9).FloatString(9)
	}
	p.patchBudget(t, budget, `{"amount":"`+text+`"}`)
}

func (p *platform) patchBudget(t *testing.T, budget, body string) {
	t.Helper()
	p.Manage(t, harness.Call{Method: http.MethodPatch, Path: "/v1/budgets/" + budget, Key: p.AdminKey, Body: body}, http.StatusOK, nil)
}

type shownBudget struct{ Amount, Spent, Held, Remaining string }

func (p *platform) shown(t *testing.T, budget string) (b shownBudget) {
	t.Helper()
	p.Manage(t, harness.Call{Method: http.MethodGet, Path: "/v1/budgets/" + budget, Key: p.AdminKey}, http.StatusOK, &b)
	return b
}

func decimal(text string) *big.Rat {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return big.NewRat(-1, 1)
	}
	return r
}

// watchShown asks for the budget without a pause: what is spent and held is never
// more than the amount, and remaining is the rest.
func (p *platform) watchShown(t *testing.T, budget string) (stop func() int) {
	t.Helper()
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
			var b shownBudget
			a := p.Do(t.Context(), harness.Call{Method: http.MethodGet, Path: "/v1/budgets/" + budget, Key: p.AdminKey})
			if a.Status != http.StatusOK {
				t.Errorf("look at budget: %s", a)
				return
			}
			a.JSON(t, &b)
			samples++
			taken := new(big.Rat).Add(decimal(b.Spent), decimal(b.Held))
			if rest := new(big.Rat).Sub(decimal(b.Amount), taken); rest.Sign() < 0 || rest.Cmp(decimal(b.Remaining)) != 0 {
				t.Errorf("%s spent and %s held of %s, %s remaining", b.Spent, b.Held, b.Amount, b.Remaining)
				return
			}
		}
	}()
	return func() int {
		close(quit)
		return <-done
	}
}

// TestABudgetIsChangedUnderLoad raises, cuts and turns a budget while 64 callers
// use it. They are answered 200 or 402 and nothing else; no limit is passed; what
// was refused before a raise is admitted after it was answered.
func TestABudgetIsChangedUnderLoad(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	keyID, key, budget := p.budgeted(t, "requests", "30")
	var results tally
	quit := make(chan struct{})
	var callers sync.WaitGroup
	for range 64 {
		callers.Go(func() {
			for {
				select {
				case <-quit:
					return
				default:
				}
				switch a := p.chat(t.Context(), key, ""); {
				case a.Done():
					results.add("served")
				case a.Status == http.StatusPaymentRequired:
					results.add("denied")
				default:
					t.Errorf("want 200 or 402, got %s", a)
					return
				}
			}
		})
	}
	used := func() int64 { // all are counted in the end
		return p.Database().Int(t, `SELECT coalesce(sum(spent), 0)::bigint FROM analytics.budget_windows WHERE budget_id = $1`, budget)
	}
	reached := func(n int64) {
		t.Helper()
		harness.Eventually(t, "use of the budget", func() (bool, string) {
			got := used()
			if got > n {
				t.Errorf("%d requests of %d were served", got, n)
			}
			return got == n, fmt.Sprintf("%d of %d", got, n)
		})
	}
	reached(30)
	for _, limit := range []int64{31, 60, 100} {
		p.setAmount(t, budget, "requests", limit)
		reached(limit)
	}
	p.setAmount(t, budget, "requests", 50) // below what is spent
	if got := used(); got != 100 {
		t.Errorf("a cut limit let %d requests through", got-100)
	}
	for range 5 { // block, and not, and again: who is admitted between is counted
		p.patchBudget(t, budget, `{"action":"monitor"}`)
		p.patchBudget(t, budget, `{"action":"block"}`)
	}
	close(quit)
	callers.Wait()
	p.WaitSettled(t)
	p.WaitNoHolds(t)
	var booked int64
	for _, e := range p.Agrees(t) {
		if e.KeyID == keyID {
			booked++
		}
	}
	if served := int64(results.counts["served"]); served != booked || used() != booked || results.counts["denied"] == 0 {
		t.Errorf("%v; %d booked, %d counted by the budget", results.counts, booked, used())
	}
	// All is settled. Now one by one, without a pause.
	for n := booked + 1; n <= booked+5; n++ {
		namesBudget(t, p.chat(t.Context(), key, ""), budget)
		p.setAmount(t, budget, "requests", n)
		if a := p.chat(t.Context(), key, ""); !a.Done() {
			t.Errorf("after the limit was raised to %d: %s", n, a)
		}
	}
	p.Manage(t, harness.Call{Method: http.MethodDelete, Path: "/v1/budgets/" + budget, Key: p.AdminKey}, http.StatusNoContent, nil)
	if a := p.chat(t.Context(), key, ""); !a.Done() {
		t.Errorf("after the budget was deleted: %s", a)
	}
	t.Logf("%v", results.counts)
}

// TestABudgetThatWarns lets a budget pass its thresholds: it warns, counts on,
// refuses nothing, and has each alert once.
func TestABudgetThatWarns(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	keyID, key := p.CreateKey(t, harness.Limits{}, "inference")
	scope := map[string]any{"api_key_id": keyID}
	warns := p.CreateBudget(t, scope, "requests", "20", "warn")
	monitors := p.CreateBudget(t, scope, "requests", "20", "monitor")
	warning := func(a harness.Answer) string { return strings.Join(a.Header.Values("X-AIaaS-Budget-Warning"), ",") }
	if a := p.chat(t.Context(), key, ""); !a.Done() || warning(a) != "" {
		t.Errorf("the first: %q, %s", warning(a), a)
	}
	parallel(29, 16, func(int) {
		if a := p.chat(t.Context(), key, ""); !a.Done() {
			t.Errorf("under a budget that warns: %s", a)
		}
	})
	p.WaitSettled(t)
	var last harness.Answer
	n := 30
	harness.Eventually(t, "warning", func() (bool, string) { // what the data plane knows of sums is up to a second old
		last = p.chat(t.Context(), key, `,"stream":true`)
		n++
		return strings.HasPrefix(warning(last), warns+"; spent=1") && last.Done(), warning(last)
	})
	if strings.Contains(warning(last), monitors) {
		t.Errorf("a budget that monitors warns: %q", warning(last))
	}
	p.WaitSettled(t)
	for _, id := range []string{warns, monitors} {
		if got := p.shown(t, id); got.Spent != fmt.Sprint(n) || got.Remaining != "0" {
			t.Errorf("%+v; want %d spent", got, n)
		}
		var list struct {
			Data []struct {
				Threshold int
				Spent     string
			}
		}
		p.Manage(t, harness.Call{Method: http.MethodGet, Path: "/v1/budgets/" + id + "/alerts", Key: p.AdminKey}, http.StatusOK, &list)
		if len(list.Data) != 3 || list.Data[0].Threshold != 50 || list.Data[1].Threshold != 80 || list.Data[2].Threshold != 100 {
			t.Errorf("alerts %+v; want 50, 80 and 100 %%, once each", list.Data)
		}
	}
}
