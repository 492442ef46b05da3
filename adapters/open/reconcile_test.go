package open_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/memory"
	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/admission"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/usage"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// Metering in another process books what this one settled, and nobody tells its
// limiter: all of the budget must be served all the same, and not a request more.
func TestBookingsOfAnotherProcessMakeNoHoldCountTwice(t *testing.T) {
	url := postgrestest.New(t)
	ctx := t.Context()
	const limit = 100
	postgrestest.Exec(t, url, `INSERT INTO analytics.budgets (org_id, budget_id, unit, amount, currency, period, time_zone, action,
		thresholds, created_by, created_at) VALUES ('org_1', 'bud_1', 'requests', 100, 'USD', 'month', 'UTC', 'block', '{}', 'key_1', now())`)
	gateway, err := postgres.Open(ctx, url, postgres.RoleGateway, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer gateway.Close()
	metering, err := postgres.Open(ctx, url, postgres.RoleMetering, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer metering.Close()
	ledger := postgres.NewLedger(metering)
	limiter := memory.NewLimiter()
	at := time.Date(2026, 10, 12, 12, 0, 0, 0, time.UTC)
	service := admission.NewService(limiter, open.NewReconciler(postgres.NewInbox(gateway, nil), limiter))
	start, end := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

	served := 0
	for i := range limit + 5 {
		at = at.Add(time.Second) // exhaustion is remembered for half of one
		e := &usage.Event{
			ID: fmt.Sprintf("req_%03d", i), OrgID: "org_1", ProjectID: "proj_1", KeyID: "key_1", Model: "m", Currency: "USD",
			Period: "2026-10-01", AdmittedAt: at, Outcome: usage.Complete,
			Holds: []usage.Held{{Budget: "bud_1", Start: start, End: end, Amount: 1}},
		}
		_, err := service.Admit(ctx, &admission.Request{
			ID: e.ID, Org: e.OrgID, At: at, Holds: []admission.Hold{{Budget: "bud_1", Start: start, End: end, Amount: 1}},
		})
		if fault.Is(err, fault.BudgetExceeded) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		served++
		if err := service.Finish(ctx, admission.Final{ID: e.ID, Org: e.OrgID, Amounts: []int64{1}}); err != nil {
			t.Fatal(err)
		}
		if _, err := ledger.Book(ctx, []*usage.Event{e}); err != nil {
			t.Fatal(err)
		}
	}
	if served != limit {
		t.Errorf("served %d of a limit of %d", served, limit)
	}
	if got := postgrestest.Scalar(t, url, `SELECT spent || ' of ' || granted FROM analytics.budget_windows`); got != "100 of 100" {
		t.Errorf("spent %s granted; want 100 of 100", got)
	}
}
