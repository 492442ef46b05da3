package postgres_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/money"
)

func aBudget(id string) budget.Budget {
	return budget.Budget{
		ID: id, OrgID: "org_1", Unit: budget.Money, Amount: 1000, Currency: "USD", Period: budget.Month, TimeZone: time.UTC,
		Action: budget.Block, Thresholds: []int{50}, CreatedBy: "key_admin", CreatedAt: noon(),
	}
}

// Metering locks the accounting row FOR SHARE while it books. A budget that is
// created meanwhile waits, and then counts what was booked.
func TestSeedingWaitsForABookingThatRuns(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewBudgets(f.open(postgres.RoleAnalytics))
	f.exec(`INSERT INTO analytics.accounting (org_id) VALUES ('org_1')`)
	conn, err := pgx.Connect(t.Context(), f.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	for _, sql := range []string{`BEGIN`, `SELECT 1 FROM analytics.accounting WHERE org_id = 'org_1' FOR SHARE`} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan budget.State, 1)
	go func() {
		b := aBudget("bud_1")
		st, err := store.CreateBudget(t.Context(), b, b.WindowAt(noon()), record(t.Context(), "org_1", "budget.create"))
		if err != nil {
			t.Error(err)
		}
		done <- st
	}()
	waiting := `SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%accounting%FOR UPDATE%'`
	for f.scalar(waiting) == "0" {
		select {
		case st := <-done:
			t.Fatalf("the budget did not wait: %+v", st)
		case <-t.Context().Done():
			t.Fatal("nobody waits")
		default:
		}
	}
	if _, err := conn.Exec(t.Context(), `INSERT INTO analytics.usage_deltas (org_id, minute, accounting_period, project_id, api_key_id, model, currency,
		requests, input_tokens, cached_input_tokens, output_tokens, cost_nano)
		VALUES ('org_1', '2026-10-12T11:00:00Z', '2026-10-01', 'p', 'k', 'm', 'USD', 1, 10, 0, 5, 77); COMMIT`); err != nil {
		t.Fatal(err)
	}
	if st := <-done; st.Spent != 77 {
		t.Errorf("seeded with %d; want the 77 that were being booked", st.Spent)
	}
}

// used books a request at a moment.
func (b *books) used(org string, at time.Time, cost int64) {
	b.t.Helper()
	b.booked++
	e := anEvent(1000 + b.booked)
	e.OrgID, e.AdmittedAt, e.Cost, e.Period = org, at, money.Nano(cost), "2026-10-01"
	b.book(e)
}

func TestASeedCountsTheWindowsOwnUsageOnly(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	first, next := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	b.used("org_1", first, 1)
	b.used("org_1", next.Add(-time.Microsecond), 10)
	b.used("org_1", next, 100)
	b.used("org_1", first.Add(-time.Microsecond), 100)
	b.used("org_2", noon(), 100)
	bud := aBudget("bud_1")
	for range 2 { // as deltas, and as minutes
		st, err := b.store.CreateBudget(t.Context(), bud, bud.WindowAt(noon()), record(t.Context(), "org_1", "budget.create"))
		if err != nil || st.Spent != 11 {
			t.Errorf("seeded with %d, %v; want 11", st.Spent, err)
		}
		if _, err := b.ledger.Fold(t.Context()); err != nil {
			t.Fatal(err)
		}
		bud.ID = "bud_2"
	}
}

// A budget without a period begins in the middle of a minute, of which the roll-ups
// know no half.
func TestASeedBeginsWithinAMinute(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	bud := aBudget("bud_1")
	bud.Period, bud.Action, bud.CreatedAt = budget.Once, budget.Monitor, noon().Add(30*time.Second)
	b.used("org_1", bud.CreatedAt.Add(-time.Microsecond), 100)
	if st, err := b.store.CreateBudget(t.Context(), bud, bud.WindowAt(bud.CreatedAt), record(t.Context(), "org_1", "budget.create")); err != nil || st.Spent != 0 {
		t.Fatalf("seeded with %d, %v; want nothing", st.Spent, err)
	}
	b.used("org_1", bud.CreatedAt, 1)
	b.used("org_1", bud.CreatedAt.Add(29*time.Second), 10)
	b.used("org_1", bud.CreatedAt.Add(30*time.Second), 20)
	b.used("org_1", bud.CreatedAt.Add(time.Hour), 40)
	rec := record(t.Context(), "org_1", "budget.change")
	got, err := b.store.ChangeBudget(t.Context(), "org_1", bud.ID, bud.CreatedAt.Add(2*time.Hour), budget.Edit{
		Change: func(x budget.Budget) (budget.Budget, *audit.Record, error) {
			x.Action = budget.Block
			return x, &rec, nil
		},
		Finals: func() []string { return nil },
	})
	if err != nil || got.Spent != 71 {
		t.Errorf("seeded with %d, %v; want 71", got.Spent, err)
	}
}

func TestBudgetsAreListedWithTheWindowOfTheMoment(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewBudgets(f.open(postgres.RoleAnalytics))
	ctx := t.Context()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	first, second := aBudget("bud_1"), aBudget("bud_2")
	first.TimeZone, first.Scope = berlin, budget.Scope{Model: "m"}
	for _, b := range []budget.Budget{first, second} {
		if _, err := store.CreateBudget(ctx, b, b.WindowAt(noon()), record(ctx, "org_1", "budget.create")); err != nil {
			t.Fatal(err)
		}
	}
	f.exec(`UPDATE analytics.budget_windows SET spent = 5 WHERE budget_id = 'bud_1'`)
	for _, c := range []struct {
		at    time.Time
		spent int64
	}{{noon(), 5}, {noon().AddDate(0, 1, 0), 0}} {
		got, err := store.ListBudgets(ctx, "org_1", c.at, budget.Page{After: "", Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		want := []budget.State{{Budget: first, Window: first.WindowAt(c.at), Spent: c.spent}, {Budget: second, Window: second.WindowAt(c.at)}}
		if d := cmp.Diff(want, got, cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })); d != "" {
			t.Errorf("at %v (-want +got):\n%s", c.at, d)
		}
	}
	if page, err := store.ListBudgets(ctx, "org_1", noon(), budget.Page{After: "bud_1", Limit: 1}); err != nil || len(page) != 1 || page[0].ID != "bud_2" {
		t.Errorf("the page after bud_1: %v, %v", page, err)
	}
	if foreign, err := store.ListBudgets(ctx, "org_2", noon(), budget.Page{After: "", Limit: 10}); err != nil || len(foreign) != 0 {
		t.Errorf("org_2 sees %v, %v", foreign, err)
	}
}

func TestTheNumberOfBudgetsIsBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewBudgets(f.open(postgres.RoleAnalytics))
	f.exec(`INSERT INTO analytics.budgets SELECT 'org_1', 'b' || i, NULL, NULL, NULL, 'money', 1, 'USD', 'month', 'UTC', 'warn', '{}', 'x', now() FROM generate_series(1, 1000) i`)
	b := aBudget("bud_1")
	if _, err := store.CreateBudget(t.Context(), b, b.WindowAt(noon()), record(t.Context(), "org_1", "budget.create")); !fault.Is(err, fault.Conflict) {
		t.Errorf("the 1001st budget: %v; want Conflict", err)
	}
}
