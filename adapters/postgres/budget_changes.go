package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/admission"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/event"
	"github.com/aiaas/aiaas/shared/id"
)

// lateAdmission is how long after a window's end a request that fell into it may
// still be admitted. Limiters keep a window as long.
const lateAdmission = time.Hour

// ChangeBudget implements [budget.Store]. Besides the accounting it locks the
// budget, for grants don't lock the accounting: a grant that read the old limit
// has committed by then, and one that comes later finds the new one.
func (s *Budgets) ChangeBudget(ctx context.Context, org, budgetID string, at time.Time, edit budget.Edit) (budget.Changed, error) {
	var out budget.Changed
	err := s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		if err := lockAccounting(ctx, tx, org); err != nil {
			return err
		}
		st, err := s.one(ctx, tx, ref{org, budgetID}, at, "FOR NO KEY UPDATE")
		if err != nil {
			return err
		}
		blocked := st.Action == budget.Block
		var rec *audit.Record
		if st.Budget, rec, err = edit.Change(st.Budget); err != nil {
			return err
		}
		if rec != nil {
			if err := set(ctx, tx, &st.Budget, *rec); err != nil {
				return err
			}
		}
		if !blocked && st.Action == budget.Block {
			if err := beginToBlock(ctx, tx, &st, at); err != nil {
				return err
			}
		}
		out = budget.Changed{State: st}
		if err := touchWindows(ctx, tx, &out, at); err != nil {
			return err
		}
		out.Booked, err = booked(ctx, tx, org, edit.Finals())
		return err
	})
	return out, err
}

// booked tells which of the events are in the ledger.
func booked(ctx context.Context, tx pgx.Tx, org string, ids []string) ([]string, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := tx.Query(ctx, `SELECT event_id FROM analytics.usage_events WHERE org_id = $1 AND event_id = ANY($2)`, org, ids)
	if err != nil {
		return nil, fmt.Errorf("query what is booked: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string]) //nolint:wrapcheck // translated by InOrg
}

// set writes the settings of a budget.
func set(ctx context.Context, tx pgx.Tx, b *budget.Budget, rec audit.Record) error {
	_, err := tx.Exec(ctx, `UPDATE analytics.budgets SET amount = $3, action = $4, thresholds = $5 WHERE org_id = $1 AND budget_id = $2`,
		b.OrgID, b.ID, b.Amount, b.Action, b.Thresholds)
	if err != nil {
		return fmt.Errorf("update budget: %w", err)
	}
	return writeAudit(ctx, tx, "analytics", rec)
}

// beginToBlock seeds a budget that did not block: it hands out nothing but what was
// spent by then. What was granted before it ceased to block counts no more, for
// nobody knows which process has it.
func beginToBlock(ctx context.Context, tx pgx.Tx, st *budget.State, at time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE analytics.budget_windows SET granted = spent WHERE org_id = $1 AND budget_id = $2 AND window_end > $3`,
		st.OrgID, st.ID, at.Add(-lateAdmission))
	if err != nil {
		return fmt.Errorf("take back grants: %w", err)
	}
	return seedWindow(ctx, tx, st)
}

// touchWindows gives the windows that requests may still be admitted to a new
// sequence, behind every grant so far, and reads them. What they reach by now of
// the thresholds is recorded, but for windows that are over.
func touchWindows(ctx context.Context, tx pgx.Tx, out *budget.Changed, at time.Time) error {
	rows, err := tx.Query(ctx, `UPDATE analytics.budget_windows SET seq = seq + 1 WHERE org_id = $1 AND budget_id = $2 AND window_end > $3
		RETURNING window_start, window_end, spent, granted, seq`, out.OrgID, out.ID, at.Add(-lateAdmission))
	if err != nil {
		return fmt.Errorf("touch windows: %w", err)
	}
	var alerts alertColumns
	var w budget.Window
	g := admission.Grant{Budget: out.ID, Limit: out.Amount}
	_, err = pgx.ForEachRow(rows, []any{&w.Start, &w.End, &g.Spent, &g.Granted, &g.Seq}, func() error {
		g.Start = w.Start.UTC()
		if w.End.After(at) {
			alerts.add(&out.Budget, w, g.Spent, out.Reached(g.Spent))
		}
		if w.Start.Equal(out.Window.Start) {
			out.Spent = g.Spent
		}
		if out.Action == budget.Block {
			out.Windows = append(out.Windows, g)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read windows: %w", err)
	}
	return alerts.insert(ctx, tx)
}

// ArchiveBudget implements [budget.Store].
func (s *Budgets) ArchiveBudget(ctx context.Context, org, budgetID string, rec audit.Record) error {
	return s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		if err := lockAccounting(ctx, tx, org); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `UPDATE analytics.budgets SET archived_at = $3 WHERE org_id = $1 AND budget_id = $2 AND archived_at IS NULL`,
			org, budgetID, rec.At)
		if err != nil {
			return fmt.Errorf("archive budget: %w", err)
		}
		if tag.RowsAffected() == 0 {
			_, err := unitOf(ctx, tx, org, budgetID)
			return err
		}
		return writeAudit(ctx, tx, "analytics", rec)
	})
}

// unitOf is what a budget counts, archived or not.
func unitOf(ctx context.Context, tx pgx.Tx, org, budgetID string) (unit budget.Unit, err error) {
	err = tx.QueryRow(ctx, `SELECT unit FROM analytics.budgets WHERE org_id = $1 AND budget_id = $2`, org, budgetID).Scan(&unit)
	if err != nil {
		return "", missing(err, "read budget", errNoBudget())
	}
	return unit, nil
}

// ListAlerts implements [budget.Store].
func (s *Budgets) ListAlerts(ctx context.Context, org, budgetID, after string, limit int) ([]budget.Alert, error) {
	var list []budget.Alert
	err := s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		unit, err := unitOf(ctx, tx, org, budgetID)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT alert_id, budget_id, window_start, window_end, threshold, spent, amount, at FROM analytics.budget_alerts
			WHERE org_id = $1 AND budget_id = $2 AND alert_id > $3 ORDER BY alert_id LIMIT $4`, org, budgetID, after, limit)
		if err != nil {
			return fmt.Errorf("query alerts: %w", err)
		}
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (budget.Alert, error) {
			a := budget.Alert{Unit: unit}
			err := row.Scan(&a.ID, &a.BudgetID, &a.Window.Start, &a.Window.End, &a.Threshold, &a.Spent, &a.Amount, &a.At)
			a.Window.Start, a.Window.End, a.At = a.Window.Start.UTC(), a.Window.End.UTC(), a.At.UTC()
			return a, err //nolint:wrapcheck // wrapped below
		})
		if err != nil {
			return fmt.Errorf("read alerts: %w", err)
		}
		return nil
	})
	return list, err
}

// alertColumns are alerts that are to be recorded, as arrays for unnest.
type alertColumns struct {
	orgs, ids, budgets []string
	starts, ends       []time.Time
	thresholds         []int32
	spent, amounts     []int64
	of                 map[string]*budget.Budget // by alert
}

// add notes the thresholds that a sum has reached.
func (c *alertColumns) add(b *budget.Budget, w budget.Window, spent int64, thresholds []int) {
	for _, t := range thresholds {
		alertID := id.New(id.BudgetAlert)
		c.orgs, c.ids, c.budgets = append(c.orgs, b.OrgID), append(c.ids, alertID), append(c.budgets, b.ID)
		c.starts, c.ends = append(c.starts, w.Start), append(c.ends, w.End)
		c.thresholds = append(c.thresholds, int32(t)) //nolint:gosec // at most 1000
		c.spent, c.amounts = append(c.spent, spent), append(c.amounts, b.Amount)
		if c.of == nil {
			c.of = map[string]*budget.Budget{}
		}
		c.of[alertID] = b
	}
}

// insert records them, and audits those that are new. What is recorded already
// stays as it is: a threshold counts once in a window, whatever becomes of the
// amount after.
func (c *alertColumns) insert(ctx context.Context, tx pgx.Tx) error {
	if len(c.ids) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, `
		INSERT INTO analytics.budget_alerts (org_id, alert_id, budget_id, window_start, window_end, threshold, spent, amount)
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::integer[], $7::bigint[], $8::bigint[])
		ON CONFLICT DO NOTHING
		RETURNING alert_id, budget_id, window_start, window_end, threshold, spent, amount, at`,
		c.orgs, c.ids, c.budgets, c.starts, c.ends, c.thresholds, c.spent, c.amounts)
	if err != nil {
		return fmt.Errorf("record alerts: %w", err)
	}
	fresh, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (budget.Alert, error) {
		var a budget.Alert
		err := row.Scan(&a.ID, &a.BudgetID, &a.Window.Start, &a.Window.End, &a.Threshold, &a.Spent, &a.Amount, &a.At)
		return a, err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return fmt.Errorf("record alerts: %w", err)
	}
	for _, a := range fresh {
		if err := writeAudit(ctx, tx, "analytics", thresholdRecord(ctx, c.of[a.ID], a)); err != nil {
			return err
		}
	}
	return nil
}

// thresholdActor is who reaches thresholds: nobody in particular.
const thresholdActor = "metering"

// thresholdRecord is the audit record of a threshold that was reached.
func thresholdRecord(ctx context.Context, b *budget.Budget, a budget.Alert) audit.Record {
	detail := map[string]any{
		"alert_id": a.ID, "threshold": a.Threshold, "unit": b.Unit, "action": b.Action,
		"spent": budget.FormatAmount(b.Unit, a.Spent), "amount": budget.FormatAmount(b.Unit, a.Amount),
		"window_start": a.Window.Start.UTC(), "window_end": nil,
	}
	if a.Window.Ends() {
		detail["window_end"] = a.Window.End.UTC()
	}
	if b.Unit == budget.Money {
		detail["currency"] = b.Currency
	}
	return audit.Record{
		OrgID: b.OrgID, ID: id.New(id.Audit), At: a.At.UTC(), Actor: thresholdActor, Action: event.ActionThreshold,
		Target: b.ID, Detail: detail, RequestID: audit.RequestID(ctx),
	}
}
