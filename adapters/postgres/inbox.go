package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/admission"
	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/idempotency"
	"github.com/aiaas/aiaas/shared/usage"
)

// Inbox records events and grants budgets for the data plane. It works under
// RoleGateway, through functions only.
type Inbox struct {
	db    *DB
	epoch *int64 // nil where limits are shared: such processes don't fence each other
	zones zones
}

// NewInbox returns the inbox for a process of the given epoch.
func NewInbox(db *DB, epoch *int64) *Inbox { return &Inbox{db: db, epoch: epoch} }

// Exhausted implements [admission.Exhausted].
func (i *Inbox) Exhausted(ctx context.Context, org, budgetID string, start time.Time) (told bool, err error) {
	err = i.db.pool.QueryRow(ctx, `SELECT analytics.note_exhausted($1, $2, $3)`, org, budgetID, start).Scan(&told)
	return told, translate(err)
}

var (
	_ admission.Exhausted = (*Inbox)(nil)
	_ usage.Sink          = (*Inbox)(nil)
	_ admission.Granter   = (*Inbox)(nil)
)

// Record makes events durable.
func (i *Inbox) Record(ctx context.Context, events []usage.Recorded) error {
	orgs, ids, bodies := make([]string, len(events)), make([]string, len(events)), make([][]byte, len(events))
	for n, e := range events {
		orgs[n], ids[n], bodies[n] = e.OrgID, e.ID, e.Body
	}
	_, err := i.db.pool.Exec(ctx, `SELECT analytics.record($1, $2, $3, $4)`, i.epoch, orgs, ids, bodies)
	return fenced(err)
}

// Grant raises what is handed out of budgets.
func (i *Inbox) Grant(ctx context.Context, org string, lacks []admission.Lack) ([]admission.Grant, error) {
	grants, _, err := i.GrantAfter(ctx, org, lacks, func() []string { return nil })
	return grants, err
}

// GrantAfter grants, and tells which of the events that finals names the granted
// windows' sums have: all of those, and no others. finals is called while the
// windows are locked. What is in their sums is booked by then, and was settled
// before it was recorded: so finals knows it.
func (i *Inbox) GrantAfter(ctx context.Context, org string, lacks []admission.Lack, finals func() []string) (grants []admission.Grant, booked []string, err error) {
	err = pgx.BeginFunc(ctx, i.db.pool, func(tx pgx.Tx) error {
		if grants, err = i.grant(ctx, tx, org, lacks); err != nil {
			return err
		}
		ids := finals()
		if len(ids) == 0 {
			return nil
		}
		rows, err := tx.Query(ctx, `SELECT analytics.booked($1, $2)`, org, ids)
		if err != nil {
			return fmt.Errorf("read what is booked: %w", err)
		}
		booked, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err //nolint:wrapcheck // translated below
	})
	return grants, booked, fenced(err)
}

func (i *Inbox) grant(ctx context.Context, tx pgx.Tx, org string, lacks []admission.Lack) ([]admission.Grant, error) {
	ids, short := make([]string, len(lacks)), make([]int64, len(lacks))
	starts, ends := make([]time.Time, len(lacks)), make([]time.Time, len(lacks))
	for n, l := range lacks {
		ids[n], starts[n], ends[n], short[n] = l.Budget, l.Start, l.End, l.Amount
	}
	rows, err := tx.Query(ctx, `SELECT budget_id, window_start, limit_amount, granted, spent, seq
		FROM analytics.grant_budgets($1, $2, $3, $4, $5, $6)`, i.epoch, org, ids, starts, ends, short)
	if err != nil {
		return nil, fmt.Errorf("grant budgets: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[admission.Grant]) //nolint:wrapcheck // translated by the caller
}

// Booked returns which of an organisation's events the ledger has.
func (i *Inbox) Booked(ctx context.Context, org string, ids []string) ([]string, error) {
	rows, err := i.db.pool.Query(ctx, `SELECT analytics.booked($1, $2)`, org, ids)
	if err != nil {
		return nil, translate(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return out, translate(err)
}

// Governing returns the budgets of an organisation that its requests meet, in one
// round trip.
func (i *Inbox) Governing(ctx context.Context, org string) (*budget.Governing, error) {
	rows, err := i.db.pool.Query(ctx, `SELECT budget_id, coalesce(project_id, ''), coalesce(api_key_id, ''), coalesce(model, ''), unit, period,
		time_zone, created_at, action, amount, thresholds, window_starts, window_ends, spent FROM analytics.governing_budgets($1)`, org)
	if err != nil {
		return nil, translate(err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (budget.Counted, error) { return i.scanGoverning(row, org) })
	if err != nil {
		return nil, translate(err)
	}
	out := &budget.Governing{}
	for _, b := range list {
		if b.Action == budget.Block {
			out.Blocking = append(out.Blocking, b.Budget)
		} else {
			out.Warning = append(out.Warning, b)
		}
	}
	return out, nil
}

func (i *Inbox) scanGoverning(row pgx.CollectableRow, org string) (budget.Counted, error) {
	b := budget.Counted{Budget: budget.Budget{OrgID: org}}
	var zone string
	var starts, ends []time.Time
	var spent []int64
	err := row.Scan(&b.ID, &b.Scope.ProjectID, &b.Scope.APIKeyID, &b.Scope.Model, &b.Unit, &b.Period, &zone, &b.CreatedAt,
		&b.Action, &b.Amount, &b.Thresholds, &starts, &ends, &spent)
	if err != nil {
		return b, err //nolint:wrapcheck // pgx wraps it
	}
	for n := range starts {
		b.Sums = append(b.Sums, budget.Sum{Window: budget.Window{Start: starts[n].UTC(), End: ends[n].UTC()}, Spent: spent[n]})
	}
	b.TimeZone, err = i.zones.load(zone)
	return b, err
}

// Recorded implements [idempotency.Events].
func (i *Inbox) Recorded(ctx context.Context, org, requestID string) (idempotency.Settled, error) {
	var s idempotency.Settled
	var body []byte
	err := i.db.pool.QueryRow(ctx, `SELECT cost_nano, currency, body FROM analytics.recorded($1, $2)`, org, requestID).
		Scan(&s.Cost, &s.Currency, &body)
	if err != nil || body == nil {
		return s, translate(err)
	}
	e, err := usage.Decode(body)
	if err != nil { // it is among the dead letters: it was served, and what it costs is for an operator to say
		return s, nil //nolint:nilerr // see above
	}
	return idempotency.Settled{Cost: e.Cost, Currency: e.Currency}, nil
}

func fenced(err error) error {
	if sqlState(err) == stateFenced {
		return fmt.Errorf("%w: %w", usage.ErrFenced, err)
	}
	return translate(err)
}
