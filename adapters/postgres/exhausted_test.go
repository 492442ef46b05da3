package postgres_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
)

// What the data plane says of a denial counts where the database bears it out.
func TestWhatADenialLeadsTo(t *testing.T) {
	t.Parallel()
	url := postgrestest.New(t)
	gateway, metering := openDB(t, url, postgres.RoleGateway), postgres.NewLedger(openDB(t, url, postgres.RoleMetering))
	inbox := postgres.NewInbox(gateway, nil)
	start := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		action, thresholds string
		spent, granted     int // of 100
		archived           bool
		want               bool
	}{
		"all handed out, most of it spent": {"block", "{50,100}", 90, 100, false, true},
		"half of it":                       {"block", "{50,100}", 50, 100, false, true},
		"less than half is spent":          {"block", "{50,100}", 49, 100, false, false},
		"there is more to be had":          {"block", "{50,100}", 90, 99, false, false},
		"it reports no 100":                {"block", "{50,80}", 90, 100, false, false},
		"it only warns":                    {"warn", "{50,100}", 90, 100, false, false},
		"it is archived":                   {"block", "{50,100}", 90, 100, true, false},
	} {
		budgetID := "bud_" + strings.ReplaceAll(name, " ", "_")
		archived := "NULL"
		if c.archived {
			archived = "now()"
		}
		postgrestest.Exec(t, url, fmt.Sprintf(`
			INSERT INTO analytics.budgets (org_id, budget_id, unit, amount, currency, period, time_zone, action, thresholds, created_by, created_at, archived_at)
			VALUES ('org_1', '%s', 'tokens', 100, 'USD', 'month', 'UTC', '%s', '%s', 'x', now(), %s);
			INSERT INTO analytics.budget_windows (org_id, budget_id, window_start, window_end, spent, granted) VALUES ('org_1', '%[1]s', '2026-10-01', '2026-11-01', %[5]d, %[6]d)`,
			budgetID, c.action, c.thresholds, archived, c.spent, c.granted))
		for _, told := range []bool{c.want, false} { // the second time before metering has looked
			if got, err := inbox.Exhausted(t.Context(), "org_1", budgetID, start); err != nil || got != told {
				t.Errorf("%s: told %t, %v; want %t", name, got, err, told)
			}
		}
		if got, err := inbox.Exhausted(t.Context(), "org_2", budgetID, start); err != nil || got {
			t.Errorf("%s: in another organisation: %t, %v", name, got, err)
		}
		for range 2 {
			if _, err := metering.Exhaust(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		want := "none"
		if c.want {
			want = fmt.Sprintf("100 %d", c.spent)
		}
		if got := postgrestest.Scalar(t, url, `SELECT coalesce(string_agg(threshold || ' ' || spent, ','), 'none') FROM analytics.budget_alerts WHERE budget_id = '`+budgetID+`'`); got != want {
			t.Errorf("%s: alerts %s; want %s", name, got, want)
		}
		if c.want {
			if got, err := inbox.Exhausted(t.Context(), "org_1", budgetID, start); err != nil || !got {
				t.Errorf("%s: once it is recorded: %t, %v; want that there is no more to tell", name, got, err)
			}
		}
	}
	for what, want := range map[string]string{
		`SELECT count(*)::text FROM analytics.exhausted_windows`:                                                                                      "0",
		`SELECT count(*)::text FROM analytics.audit_records WHERE action = 'budget.threshold' AND detail->>'threshold' = '100' AND org_id = 'org_1'`:  "2",
		`SELECT count(*)::text FROM analytics.outbox WHERE type = 'budget.threshold_reached' AND payload::jsonb->'data'->'detail'->>'amount' = '100'`: "2",
	} {
		if got := postgrestest.Scalar(t, url, what); got != want {
			t.Errorf("%s: %s; want %s", what, got, want)
		}
	}
}
