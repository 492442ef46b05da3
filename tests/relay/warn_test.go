package relay_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/model"
	"github.com/aiaas/aiaas/shared/relay"
)

// warns adds a budget of 200 that warns, with so much spent in the running window.
func (h *house) warns(id string, spent int64, change func(*budget.Counted)) {
	now := time.Now()
	b := budget.Counted{
		Budget: budget.Budget{ID: id, OrgID: org, Unit: budget.Tokens, Amount: 200, Thresholds: []int{50, 150}, Action: budget.Warn},
		Sums: []budget.Sum{
			{Window: budget.Window{Start: now.Add(-time.Hour), End: now.Add(time.Hour)}, Spent: spent},
			{Window: budget.Window{Start: now.Add(-2 * time.Hour), End: now.Add(-time.Hour)}, Spent: 1 << 40},
		},
	}
	if change != nil {
		change(&b)
	}
	h.warning = append(h.warning, b)
}

func TestWarningsAreTold(t *testing.T) {
	h := newHouse(t)
	h.warns("bud_below", 99, nil)
	h.warns("bud_half", 101, nil)
	h.warns("bud_over", 500, func(b *budget.Counted) { b.Thresholds = []int{150} })
	h.warns("bud_zero", 1, func(b *budget.Counted) { b.Amount = 0 })
	h.warns("bud_nothing", 0, func(b *budget.Counted) { b.Amount = 0 })
	h.warns("bud_own", 200, func(b *budget.Counted) { b.Scope.APIKeyID = "key_1" })
	h.warns("bud_other", 200, func(b *budget.Counted) { b.Scope.Model = "other" })
	h.warns("bud_past", 200, func(b *budget.Counted) { b.Sums = b.Sums[1:] })
	want := []string{"bud_half; spent=50%", "bud_over; spent=250%", "bud_zero; spent=9999%", "bud_own; spent=100%"}
	for name, body := range map[string]string{"whole": plain, "streamed": streamed} {
		h.call = func(model.Backend, []byte) (*http.Response, error) {
			if body == streamed {
				return answer(200, "text/event-stream", strings.Join(chunks(), "")), nil
			}
			return answer(200, "application/json", whole), nil
		}
		if got := h.post(body); got.err != nil || !slices.Equal(got.Header().Values(relay.WarningHeader), want) {
			t.Errorf("%s: %v, warnings %q; want %q", name, got.err, got.Header().Values(relay.WarningHeader), want)
		}
	}
	h.block(budget.Money)
	h.limit = 0
	if err := h.limiter.Bump(t.Context(), org); err != nil { // the budgets are read again
		t.Fatal(err)
	}
	if got := h.post(plain); !fault.Is(got.err, fault.BudgetExceeded) || !slices.Equal(got.Header().Values(relay.WarningHeader), want) {
		t.Errorf("a denied request: %v, warnings %q; want them told all the same", got.err, got.Header().Values(relay.WarningHeader))
	}
}

func TestWithoutWarningsThereIsNoHeader(t *testing.T) {
	h := newHouse(t)
	h.warns("bud_below", 99, nil)
	if got := h.post(plain); got.err != nil || len(got.Header()[http.CanonicalHeaderKey(relay.WarningHeader)]) != 0 {
		t.Errorf("%v, %v", got.err, got.Header())
	}
}
