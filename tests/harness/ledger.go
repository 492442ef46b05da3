package harness

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Database is a superuser's look into a database. Each use connects anew, so that
// it works across the server's restarts.
type Database struct{ URL string }

// Conn connects; the connection is closed when the test ends.
func (d Database) Conn(t testing.TB) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), d.URL)
	Must(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// WaitUp waits until the database takes connections, as it does after a recovery.
func (d Database) WaitUp(t testing.TB) {
	t.Helper()
	Eventually(t, "recovery of the database", func() (bool, string) {
		conn, err := pgx.Connect(t.Context(), d.URL)
		if err != nil {
			return false, err.Error()
		}
		return conn.Close(t.Context()) == nil, "connection lost"
	})
}

func (d Database) with(t testing.TB, f func(*pgx.Conn) error) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), d.URL)
	Must(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	Must(t, f(conn))
}

// Int returns the one number that a query finds.
func (d Database) Int(t testing.TB, sql string, args ...any) (n int64) {
	t.Helper()
	d.with(t, func(c *pgx.Conn) error { return c.QueryRow(t.Context(), sql, args...).Scan(&n) })
	return n
}

// Exec runs a statement.
func (d Database) Exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	d.with(t, func(c *pgx.Conn) error {
		_, err := c.Exec(t.Context(), sql, args...)
		return err
	})
}

// Entry is a line of the ledger with the usage row that it stands on.
type Entry struct {
	ID        string // of the event, which is the request's
	KeyID     string
	Model     string
	Outcome   string
	Estimated bool
	Streamed  bool
	Input     int64
	Cached    int64
	Output    int64
	Cost      int64
}

// Ledger returns all lines by the request's id. It fails the test where an event
// is booked twice, or where the ledger and the usage rows differ.
func (d Database) Ledger(t testing.TB) map[string]Entry {
	t.Helper()
	if n := d.Int(t, `SELECT count(*) FROM analytics.usage_events u FULL JOIN analytics.ledger_entries l
		USING (org_id, event_id, admitted_at) WHERE u.event_id IS NULL OR l.event_id IS NULL OR l.requests <> 1
		OR u.cost_nano <> l.amount_nano OR u.input_tokens <> l.input_tokens OR u.output_tokens <> l.output_tokens
		OR u.cached_input_tokens <> l.cached_input_tokens`); n != 0 {
		t.Errorf("%d lines of the ledger differ from their usage rows", n)
	}
	out := map[string]Entry{}
	d.with(t, func(c *pgx.Conn) error {
		rows, err := c.Query(t.Context(), `SELECT u.event_id, u.api_key_id, u.model, u.outcome, u.estimated, u.streamed,
			l.input_tokens, l.cached_input_tokens, l.output_tokens, l.amount_nano
			FROM analytics.ledger_entries l JOIN analytics.usage_events u USING (org_id, event_id, admitted_at)`)
		if err != nil {
			return fmt.Errorf("read ledger: %w", err)
		}
		list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Entry])
		for _, e := range list {
			if _, twice := out[e.ID]; twice {
				t.Errorf("%s is in the ledger twice", e.ID)
			}
			out[e.ID] = e
		}
		return err
	})
	return out
}

// Window is a budget's window as the database keeps it.
type Window struct {
	Budget, Unit, Action  string
	Limit, Granted, Spent int64
}

// Windows returns the windows of all budgets.
func (d Database) Windows(t testing.TB) []Window {
	t.Helper()
	var out []Window
	d.with(t, func(c *pgx.Conn) error {
		rows, err := c.Query(t.Context(), `SELECT budget_id, unit, action, amount, granted, spent
			FROM analytics.budget_windows JOIN analytics.budgets USING (org_id, budget_id) ORDER BY budget_id, window_start`)
		if err != nil {
			return fmt.Errorf("read windows: %w", err)
		}
		out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Window])
		return err
	})
	return out
}

// WaitSettled waits until all that was recorded is in the ledger.
func (g *Gateway) WaitSettled(t testing.TB) {
	t.Helper()
	Eventually(t, "settling", func() (bool, string) {
		n := g.Database().Int(t, `SELECT count(*) FROM analytics.inbox`)
		return n == 0, fmt.Sprintf("%d events in the inbox", n)
	})
	if n := g.Database().Int(t, `SELECT count(*) FROM analytics.dead_letters`); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

// WaitNoHolds waits until the process holds nothing on any budget.
func (g *Gateway) WaitNoHolds(t testing.TB) {
	t.Helper()
	Eventually(t, "holds", func() (bool, string) {
		for _, b := range g.Budgets(t) {
			if b.Holds() {
				return false, fmt.Sprintf("%+v", b)
			}
		}
		return true, ""
	})
}

// Agrees checks that every number that is derived from the ledger equals it: the
// usage API, in total and by model and key, and what the budgets have spent. The
// ledger must be settled.
func (g *Gateway) Agrees(t testing.TB) map[string]Entry {
	t.Helper()
	ledger := g.Database().Ledger(t)
	var want Sums
	for _, e := range ledger {
		want.add(e)
	}
	got := g.Usage(t, "").Totals
	want.Currency = got.Currency
	if got != want {
		t.Errorf("usage API %+v; the ledger sums up to %+v", got, want)
	}
	type group struct{ model, key string }
	groups := map[group]Sums{}
	for _, e := range ledger {
		k := group{e.Model, e.KeyID}
		s := groups[k]
		s.Model, s.APIKeyID, s.Currency = e.Model, e.KeyID, got.Currency
		s.add(e)
		groups[k] = s
	}
	rows := g.Usage(t, "?group_by=model,key&bucket=month").Data
	for _, r := range rows {
		if want := groups[group{r.Model, r.APIKeyID}]; r != want {
			t.Errorf("usage API by model and key: %+v; the ledger has %+v", r, want)
		}
	}
	if len(rows) != len(groups) {
		t.Errorf("usage API has %d groups, the ledger %d", len(rows), len(groups))
	}
	return ledger
}

func (s *Sums) add(e Entry) {
	s.Requests++
	s.InputTokens += e.Input
	s.CachedInputTokens += e.Cached
	s.OutputTokens += e.Output
	s.CostNano += e.Cost
}

// Balanced checks, right after a start, that nothing is left over: what was
// granted is spent, and what is spent is in the ledger. owner names, by budget, the
// key that has it.
func (g *Gateway) Balanced(t testing.TB, owner map[string]string) {
	t.Helper()
	if n := g.Database().Int(t, `SELECT count(*) FROM analytics.inbox`); n != 0 {
		t.Errorf("ready with %d events that are not in the ledger", n)
	}
	ledger := g.Database().Ledger(t)
	for _, w := range g.Database().Windows(t) {
		if w.Action != "block" {
			continue
		}
		var want int64
		for _, e := range ledger {
			if e.KeyID == owner[w.Budget] {
				want += map[string]int64{"money": e.Cost, "tokens": e.Input + e.Output, "requests": 1}[w.Unit]
			}
		}
		if w.Spent != want || w.Granted != w.Spent || w.Spent > w.Limit {
			t.Errorf("budget of %d %s: granted %d, spent %d; the ledger has %d", w.Limit, w.Unit, w.Granted, w.Spent, want)
		}
	}
	for _, b := range g.Budgets(t) {
		if b.Holds() {
			t.Errorf("budget %s still holds %s", b.ID, b.Held)
		}
	}
}
