package postgres_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/fault"
)

func aBudget(id string) budget.Budget {
	return budget.Budget{
		ID: id, OrgID: "org_1", Unit: budget.Money, Amount: 1000, Currency: "USD", Period: budget.Month, TimeZone: time.UTC,
		Action: budget.Block, Thresholds: []int{50}, CreatedBy: "key_admin", CreatedAt: noon(),
	}
}

const ledgerRow = `INSERT INTO analytics.ledger_entries (org_id, event_id, kind, admitted_at, accounting_period, project_id, api_key_id, model, price_id,
	requests, input_tokens, cached_input_tokens, output_tokens, amount_nano, currency)
	VALUES ('%s', gen_random_uuid()::text, '%s', '%s', '2026-10-01', 'p', 'k', 'm', 'pr', 1, 10, 0, 5, %d, 'USD')`

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
	if _, err := conn.Exec(t.Context(), `INSERT INTO analytics.ledger_entries (org_id, event_id, kind, admitted_at, accounting_period, project_id, api_key_id, model, price_id,
		requests, input_tokens, cached_input_tokens, output_tokens, amount_nano, currency)
		VALUES ('org_1', 'e', 'usage', '2026-10-12T11:00:00Z', '2026-10-01', 'p', 'k', 'm', 'pr', 1, 10, 0, 5, 77, 'USD'); COMMIT`); err != nil {
		t.Fatal(err)
	}
	if st := <-done; st.Spent != 77 {
		t.Errorf("seeded with %d; want the 77 that were being booked", st.Spent)
	}
}

func TestASeedCountsTheWindowsOwnUsageOnly(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewBudgets(f.open(postgres.RoleAnalytics))
	f.exec(ledgerRow, "org_1", "usage", "2026-10-01T00:00:00Z", 1)          // first moment
	f.exec(ledgerRow, "org_1", "usage", "2026-10-31T23:59:59.999999Z", 10)  // last
	f.exec(ledgerRow, "org_1", "usage", "2026-11-01T00:00:00Z", 100)        // next window
	f.exec(ledgerRow, "org_1", "usage", "2026-09-30T23:59:59.999999Z", 100) // the one before
	f.exec(ledgerRow, "org_1", "adjustment", "2026-10-05T00:00:00Z", 100)   // no usage
	f.exec(ledgerRow, "org_2", "usage", "2026-10-05T00:00:00Z", 100)        // foreign
	b := aBudget("bud_1")
	st, err := store.CreateBudget(t.Context(), b, b.WindowAt(noon()), record(t.Context(), "org_1", "budget.create"))
	if err != nil || st.Spent != 11 {
		t.Errorf("seeded with %d, %v; want 11", st.Spent, err)
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
		got, err := store.ListBudgets(ctx, "org_1", c.at, "", 10)
		if err != nil {
			t.Fatal(err)
		}
		want := []budget.State{{Budget: first, Window: first.WindowAt(c.at), Spent: c.spent}, {Budget: second, Window: second.WindowAt(c.at)}}
		if d := cmp.Diff(want, got, cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })); d != "" {
			t.Errorf("at %v (-want +got):\n%s", c.at, d)
		}
	}
	if page, err := store.ListBudgets(ctx, "org_1", noon(), "bud_1", 1); err != nil || len(page) != 1 || page[0].ID != "bud_2" {
		t.Errorf("the page after bud_1: %v, %v", page, err)
	}
	if foreign, err := store.ListBudgets(ctx, "org_2", noon(), "", 10); err != nil || len(foreign) != 0 {
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
