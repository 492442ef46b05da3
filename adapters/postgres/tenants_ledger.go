package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/invoice"
	"github.com/aiaas/aiaas/shared/organization"
)

// Booked tells what was counted for an organisation, in the schema analytics under
// [RoleAnalytics].
type Booked struct{ db *DB }

var _ organization.Ledger = (*Booked)(nil)

// NewBooked makes the reader.
func NewBooked(db *DB) *Booked { return &Booked{db: db} }

// Booked implements [organization.Ledger]. Whatever is first booked or budgeted for an
// organisation gives it its row in accounting.
func (b *Booked) Booked(ctx context.Context, org string) (bool, error) {
	return b.ask(ctx, org, `SELECT EXISTS (SELECT FROM analytics.accounting WHERE org_id = $1)
		OR EXISTS (SELECT FROM analytics.inbox WHERE org_id = $1)`, org)
}

// Unsettled implements [organization.Ledger], by the roll-ups, as what is due is found.
func (b *Booked) Unsettled(ctx context.Context, org string, m invoice.Month) (bool, error) {
	return b.ask(ctx, org, `
		SELECT EXISTS (
		  SELECT FROM analytics.accounting a WHERE a.org_id = $1 AND (
		    EXISTS (SELECT FROM analytics.usage_minutes u WHERE u.org_id = $1 AND u.accounting_period >= a.open_period AND u.accounting_period < $2::date)
		    OR EXISTS (SELECT FROM analytics.usage_deltas d WHERE d.org_id = $1 AND d.accounting_period >= a.open_period AND d.accounting_period < $2::date)))`,
		org, m.Date())
}

func (b *Booked) ask(ctx context.Context, org, query string, args ...any) (yes bool, err error) {
	err = b.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, query, args...).Scan(&yes)
	})
	return yes, err
}
