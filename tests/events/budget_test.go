package events_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/aiaas/aiaas/tests/harness"
)

func budgetThresholdsAreTold(t *testing.T, p *platform) {
	r := receive(t, nil)
	w := p.webhook(t, r.URL, "budget.threshold_reached")
	keyID, key := p.CreateKey(t, harness.Limits{}, "inference")
	p.CreateBudget(t, map[string]any{"api_key_id": keyID}, "requests", "4", "monitor")
	for range 4 {
		p.chat(t, key, http.StatusOK)
	}
	got := map[string]int{}
	for _, m := range r.wait("budget.threshold_reached", 3) {
		got[fmt.Sprint(m.Data.Detail["threshold"])]++
		if err := m.verify(w.Secret); err != nil || m.Data.Detail["amount"] != "4" || m.Data.Detail["unit"] != "requests" || m.Data.Object.Kind != "budget" {
			t.Errorf("%v: %s", err, m.body)
		}
	}
	if len(got) != 3 || got["50"] != 1 || got["80"] != 1 || got["100"] != 1 {
		t.Errorf("thresholds %v; want each once", got)
	}
}

// The worst case of a request is larger than what is left of the budget, so it never
// gets to 100 percent by what is spent.
func aBlockingBudgetReachesItsLastThresholdByADenial(t *testing.T, p *platform) {
	r := receive(t, nil)
	p.webhook(t, r.URL, "budget.threshold_reached")
	keyID, key := p.CreateKey(t, harness.Limits{}, "inference")
	budget := p.CreateBudget(t, map[string]any{"api_key_id": keyID}, "tokens", "1500", "block")
	denied := 0
	for range 60 {
		a := p.Do(t.Context(), harness.Call{Key: key, Body: chatBody})
		if a.Status == http.StatusPaymentRequired {
			denied++
			p.WaitSettled(t)
			if denied > 1 {
				break
			}
		}
	}
	if denied == 0 {
		t.Fatal("nothing was denied")
	}
	var alerts struct {
		Data []struct {
			Threshold int
			Spent     string
		}
	}
	harness.Eventually(t, "the last threshold", func() (bool, string) {
		p.Do(t.Context(), harness.Call{Key: key, Body: chatBody}) // what is noted too early is noted again
		p.get(t, "/v1/budgets/"+budget+"/alerts", &alerts)
		for _, a := range alerts.Data {
			if a.Threshold == 100 {
				return true, ""
			}
		}
		return false, fmt.Sprintf("%+v", alerts.Data)
	})
	last := 0
	for _, a := range alerts.Data {
		if a.Threshold == 100 {
			last++
		}
	}
	if last != 1 {
		t.Errorf("alerts %+v; want the last threshold once", alerts.Data)
	}
	harness.Eventually(t, "its event", func() (bool, string) {
		n := 0
		for _, m := range r.messages() {
			if fmt.Sprint(m.Data.Detail["threshold"]) == "100" && m.Data.Object.ID == budget {
				n++
			}
		}
		return n == 1, fmt.Sprint(n)
	})
}

// One request that asks for more than there ever was does not make a budget look
// spent.
func anOversizedRequestExhaustsNothing(t *testing.T, p *platform) {
	keyID, key := p.CreateKey(t, harness.Limits{}, "inference")
	budget := p.CreateBudget(t, map[string]any{"api_key_id": keyID}, "tokens", "100", "block")
	for range 3 {
		if a := p.Do(t.Context(), harness.Call{Key: key, Body: chatBody}); a.Status != http.StatusPaymentRequired {
			t.Fatalf("got %s", a)
		}
	}
	// A noted window would be taken by the job; what is not noted leaves nothing.
	runs := func() int64 {
		return p.Database().Int(t, `SELECT runs FROM accounts.jobs WHERE function = 'metering' AND job = 'exhausted'`)
	}
	before := runs()
	harness.Eventually(t, "the job has run", func() (bool, string) { n := runs(); return n > before, fmt.Sprint(n) })
	var alerts struct{ Data []any }
	p.get(t, "/v1/budgets/"+budget+"/alerts", &alerts)
	if len(alerts.Data) != 0 {
		t.Errorf("alerts %v of a budget of which nothing is spent", alerts.Data)
	}
}

const chatBody = `{"model":"demo","max_tokens":40,"messages":[{"role":"user","content":"Count on me"}]}`

func (p *platform) chat(t *testing.T, key string, status int) {
	t.Helper()
	if a := p.Do(t.Context(), harness.Call{Key: key, Body: chatBody}); a.Status != status {
		t.Fatalf("got %s; want %d", a, status)
	}
}
