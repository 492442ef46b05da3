package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/fault"
)

// Budgets keeps budgets in the schema analytics, under [RoleAnalytics].
type Budgets struct {
	db    *DB
	zones zones
}

// NewBudgets makes the store of budgets.
func NewBudgets(db *DB) *Budgets { return &Budgets{db: db} }

// maxBudgets bounds what admission and metering must look at for one request.
const maxBudgets = 1000

// CreateBudget implements [budget.Store].
func (s *Budgets) CreateBudget(ctx context.Context, b budget.Budget, w budget.Window, rec audit.Record) (budget.State, error) {
	st := budget.State{Budget: b, Window: w}
	err := s.db.InOrg(ctx, b.OrgID, func(tx pgx.Tx) error {
		if err := lockAccounting(ctx, tx, b.OrgID); err != nil {
			return err
		}
		if err := checkRoom(ctx, tx, b.OrgID); err != nil {
			return err
		}
		if err := insertBudget(ctx, tx, b); err != nil {
			return err
		}
		if err := seedWindow(ctx, tx, &st); err != nil {
			return err
		}
		var alerts alertColumns
		alerts.add(&b, w, st.Spent, b.Reached(st.Spent))
		if err := alerts.insert(ctx, tx); err != nil {
			return err
		}
		return writeAudit(ctx, tx, "analytics", rec)
	})
	return st, err
}

// lockAccounting keeps metering, which locks the row FOR SHARE, from booking
// events of the organisation until the transaction ends.
func lockAccounting(ctx context.Context, tx pgx.Tx, org string) error {
	if _, err := tx.Exec(ctx, `INSERT INTO analytics.accounting (org_id) VALUES ($1) ON CONFLICT DO NOTHING`, org); err != nil {
		return fmt.Errorf("insert accounting: %w", err)
	}
	if _, err := tx.Exec(ctx, `SELECT 1 FROM analytics.accounting WHERE org_id = $1 FOR UPDATE`, org); err != nil {
		return fmt.Errorf("lock accounting: %w", err)
	}
	return nil
}

func checkRoom(ctx context.Context, tx pgx.Tx, org string) error {
	var n int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM analytics.budgets WHERE org_id = $1 AND archived_at IS NULL`, org).Scan(&n); err != nil {
		return fmt.Errorf("count budgets: %w", err)
	}
	if n >= maxBudgets {
		return fault.New(fault.Conflict, "an organisation has at most %d budgets", maxBudgets)
	}
	return nil
}

func insertBudget(ctx context.Context, tx pgx.Tx, b budget.Budget) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO analytics.budgets (org_id, budget_id, project_id, api_key_id, model, unit, amount, currency, period,
		       time_zone, action, thresholds, created_by, created_at)
		VALUES ($1, $2, nullif($3, ''), nullif($4, ''), nullif($5, ''), $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
		b.OrgID, b.ID, b.Scope.ProjectID, b.Scope.APIKeyID, b.Scope.Model, b.Unit, b.Amount, b.Currency, b.Period,
		b.TimeZone.String(), b.Action, b.Thresholds, b.CreatedBy, b.CreatedAt)
	if err != nil {
		return fmt.Errorf("insert budget: %w", err)
	}
	return nil
}

// spentIn sums what a budget covers in a window, by the roll-ups, which are written
// with the ledger: metering waits meanwhile. Windows begin and end with a minute,
// except for that of a budget without a period, whose first minute the ledger has.
func spentIn(ctx context.Context, tx pgx.Tx, b budget.Budget, w budget.Window) (int64, error) {
	whole := w.Start.Truncate(time.Minute)
	if whole.Before(w.Start) {
		whole = whole.Add(time.Minute)
	}
	const covered = `org_id = $2 AND ($5 = '' OR project_id = $5) AND ($6 = '' OR api_key_id = $6) AND ($7 = '' OR model = $7)`
	const unit = `CASE $1 WHEN 'money' THEN cost_nano WHEN 'tokens' THEN input_tokens + output_tokens ELSE requests END`
	sum := func(query string, start, end time.Time) (n int64, err error) {
		err = tx.QueryRow(ctx, query, b.Unit, b.OrgID, start, end, b.Scope.ProjectID, b.Scope.APIKeyID, b.Scope.Model).Scan(&n)
		if err != nil {
			return 0, fmt.Errorf("sum usage: %w", err)
		}
		return n, nil
	}
	n, err := sum(`SELECT coalesce(sum(n), 0)::bigint FROM (
		SELECT `+unit+` AS n FROM analytics.usage_minutes WHERE `+covered+` AND minute >= $3 AND minute < $4
		UNION ALL
		SELECT `+unit+` FROM analytics.usage_deltas WHERE `+covered+` AND minute >= $3 AND minute < $4) AS used`, whole, w.End)
	if err != nil || whole.Equal(w.Start) {
		return n, err
	}
	first, err := sum(`SELECT coalesce(sum(n), 0)::bigint FROM (
		SELECT `+unit+` AS n FROM (SELECT *, amount_nano AS cost_nano FROM analytics.ledger_entries WHERE kind = 'usage') AS used
		 WHERE `+covered+` AND admitted_at >= $3 AND admitted_at < $4) AS used`, w.Start, whole)
	return n + first, err
}

// seedWindow counts what the ledger already has in the window. A budget that
// blocks starts with that handed out, and nothing more.
func seedWindow(ctx context.Context, tx pgx.Tx, st *budget.State) error {
	b, w := st.Budget, st.Window
	var err error
	if st.Spent, err = spentIn(ctx, tx, b, w); err != nil {
		return err
	}
	var granted int64
	if b.Action == budget.Block {
		granted = st.Spent
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO analytics.budget_windows AS w (org_id, budget_id, window_start, window_end, spent, granted)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (org_id, budget_id, window_start) DO UPDATE SET spent = excluded.spent, granted = excluded.granted, seq = w.seq + 1`, b.OrgID, b.ID, w.Start, w.End, st.Spent, granted)
	if err != nil {
		return fmt.Errorf("insert window: %w", err)
	}
	return nil
}

const selectBudgets = `
	SELECT org_id, budget_id, coalesce(project_id, ''), coalesce(api_key_id, ''), coalesce(model, ''),
	       unit, amount, currency, period, time_zone, action, thresholds, created_by, created_at
	  FROM analytics.budgets WHERE org_id = $1 AND archived_at IS NULL`

// ListBudgets implements [budget.Store].
func (s *Budgets) ListBudgets(ctx context.Context, org string, at time.Time, p budget.Page) ([]budget.State, error) {
	var states []budget.State
	err := s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, selectBudgets+` AND budget_id > $2 AND ($4::text[] IS NULL OR project_id = ANY($4)) ORDER BY budget_id LIMIT $3`, org, p.After, p.Limit, p.Projects)
		if err != nil {
			return fmt.Errorf("query budgets: %w", err)
		}
		states, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (budget.State, error) { return s.scan(row, at) })
		if err != nil {
			return fmt.Errorf("read budgets: %w", err)
		}
		return readWindows(ctx, tx, org, states)
	})
	return states, err
}

// GetBudget implements [budget.Store].
func (s *Budgets) GetBudget(ctx context.Context, org, budgetID string, at time.Time) (budget.State, error) {
	var st budget.State
	err := s.db.InOrg(ctx, org, func(tx pgx.Tx) (err error) {
		if st, err = s.one(ctx, tx, ref{org, budgetID}, at, ""); err != nil {
			return err
		}
		one := []budget.State{st}
		err = readWindows(ctx, tx, org, one)
		st = one[0]
		return err
	})
	return st, err
}

func errNoBudget() *fault.Error { return fault.New(fault.NotFound, "there is no such budget") }

// ref names a budget.
type ref struct{ org, id string }

// one reads a budget, with a lock where one is named, as "FOR UPDATE".
func (s *Budgets) one(ctx context.Context, tx pgx.Tx, b ref, at time.Time, lock string) (budget.State, error) {
	rows, err := tx.Query(ctx, selectBudgets+` AND budget_id = $2 `+lock, b.org, b.id)
	if err != nil {
		return budget.State{}, fmt.Errorf("query budget: %w", err)
	}
	st, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (budget.State, error) { return s.scan(row, at) })
	if err != nil {
		return st, missing(err, "read budget", errNoBudget())
	}
	return st, nil
}

func (s *Budgets) scan(row pgx.CollectableRow, at time.Time) (budget.State, error) {
	var b budget.Budget
	var zone string
	err := row.Scan(&b.OrgID, &b.ID, &b.Scope.ProjectID, &b.Scope.APIKeyID, &b.Scope.Model,
		&b.Unit, &b.Amount, &b.Currency, &b.Period, &zone, &b.Action, &b.Thresholds, &b.CreatedBy, &b.CreatedAt)
	if err != nil {
		return budget.State{}, fmt.Errorf("scan budget: %w", err)
	}
	if b.TimeZone, err = s.zones.load(zone); err != nil {
		return budget.State{}, err
	}
	b.CreatedAt = b.CreatedAt.UTC()
	return budget.State{Budget: b, Window: b.WindowAt(at)}, nil
}

// readWindows sets what was spent in the budgets' windows. A window that nobody
// used yet has no row.
func readWindows(ctx context.Context, tx pgx.Tx, org string, states []budget.State) error {
	ids, starts := make([]string, len(states)), make([]time.Time, len(states))
	at := make(map[string]int, len(states))
	for i, st := range states {
		ids[i], starts[i], at[st.ID] = st.ID, st.Window.Start, i
	}
	rows, err := tx.Query(ctx, `
		SELECT w.budget_id, w.spent FROM unnest($2::text[], $3::timestamptz[]) AS q(id, starts)
		  JOIN analytics.budget_windows w ON w.org_id = $1 AND w.budget_id = q.id AND w.window_start = q.starts
		 WHERE w.org_id = $1`, org, ids, starts)
	if err != nil {
		return fmt.Errorf("query windows: %w", err)
	}
	var id string
	var spent int64
	_, err = pgx.ForEachRow(rows, []any{&id, &spent}, func() error {
		states[at[id]].Spent = spent
		return nil
	})
	return err //nolint:wrapcheck // translated by InOrg
}
