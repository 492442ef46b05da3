package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/invoice"
	"github.com/aiaas/aiaas/shared/usage"
)

// Billing closes months and issues invoices in the schema analytics, under
// [RoleBilling]. It sees what is due in all organisations, and changes one in each
// transaction.
type Billing struct {
	db    *DB
	zones zones
}

// NewBilling makes the store.
func NewBilling(db *DB) *Billing { return &Billing{db: db} }

var _ invoice.Books = (*Billing)(nil)

// Due implements [invoice.Books]. Usage of a month that is closed is on its draft,
// so that only what is open has to be looked at. The roll-ups have a row for every
// entry of the ledger, and the index that the ledger's partitions lack.
func (b *Billing) Due(ctx context.Context, upTo invoice.Month, org string) ([]invoice.Due, error) {
	rows, err := b.db.pool.Query(ctx, `
		SELECT org_id, period FROM (
		  SELECT a.org_id, u.period FROM analytics.accounting a CROSS JOIN LATERAL (
		    SELECT m.accounting_period AS period FROM analytics.usage_minutes m
		     WHERE m.org_id = a.org_id AND m.accounting_period BETWEEN a.open_period AND $1::date
		    UNION
		    SELECT d.accounting_period FROM analytics.usage_deltas d
		     WHERE d.org_id = a.org_id AND d.accounting_period BETWEEN a.open_period AND $1::date) u
		   WHERE $2 IN ('', a.org_id)
		  UNION
		  SELECT org_id, period FROM analytics.invoices WHERE status = 'draft' AND period <= $1::date AND $2 IN ('', org_id)) AS due
		 ORDER BY org_id, period`, upTo.Date(), org)
	if err != nil {
		return nil, translate(err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (d invoice.Due, err error) {
		var period time.Time
		err = row.Scan(&d.OrgID, &period)
		d.Month = invoice.MonthOf(period)
		return d, err //nolint:wrapcheck // translated below
	})
	return out, translate(err)
}

// Close implements [invoice.Books]. Metering can't book for the organisation while
// it runs, so that what is summed is all that the month will ever have.
func (b *Billing) Close(ctx context.Context, c invoice.Closing) error {
	return b.db.InOrg(ctx, c.OrgID, func(tx pgx.Tx) error {
		var open time.Time
		err := tx.QueryRow(ctx, `SELECT open_period FROM analytics.accounting WHERE org_id = $1 FOR UPDATE`, c.OrgID).Scan(&open)
		if err != nil {
			return fmt.Errorf("lock accounting: %w", err)
		}
		if invoice.MonthOf(open).After(c.Month) {
			return nil // it is closed
		}
		if err := nothingWaits(ctx, tx, c.Due); err != nil {
			return err
		}
		sums, err := sumMonth(ctx, tx, c.OrgID, c.Month)
		if err != nil {
			return err
		}
		if err := insertDrafts(ctx, tx, c, sums); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE analytics.accounting SET open_period = $2 WHERE org_id = $1`, c.OrgID, c.Month.Next().Date()); err != nil {
			return fmt.Errorf("close month: %w", err)
		}
		return nil
	})
}

// mostWaiting is how much of an inbox is looked through. A longer one is a backlog,
// which may hold anything.
const mostWaiting = 10_000

// nothingWaits looks into the organisation's inbox. What is there of the month, or
// of one before it, was recorded in time and belongs on its own invoice. It is not
// booked from here: only the process that admitted a request can tell its limiter.
func nothingWaits(ctx context.Context, tx pgx.Tx, due invoice.Due) error {
	rows, err := tx.Query(ctx, `SELECT body FROM analytics.inbox WHERE org_id = $1 LIMIT $2`, due.OrgID, mostWaiting)
	if err != nil {
		return fmt.Errorf("query inbox: %w", err)
	}
	next := due.Month.Next().Date().Format(time.DateOnly)
	var body []byte
	seen, waiting := 0, false
	_, err = pgx.ForEachRow(rows, []any{&body}, func() error {
		e, err := usage.Decode(body)
		seen++
		waiting = waiting || err == nil && e.Period < next // one that can't be read is for the dead letters
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("read inbox: %w", err)
	case waiting || seen == mostWaiting:
		return unavailable("close month", invoice.ErrWaiting)
	}
	return nil
}

// sumMonth sums a month's usage by currency, project and model. An entry is of its
// own month, within the days that time zones differ by, or late: each half of the
// question has partitions or an index of its own.
func sumMonth(ctx context.Context, tx pgx.Tx, org string, m invoice.Month) (map[string][]invoice.Line, error) {
	rows, err := tx.Query(ctx, `
		WITH e AS (
		  SELECT * FROM analytics.ledger_entries
		   WHERE org_id = $1 AND kind = 'usage' AND accounting_period = $2::date
		     AND admitted_at >= ($2::date - 2)::timestamp AT TIME ZONE 'UTC'
		     AND admitted_at < ($2::date + interval '1 month 2 days') AT TIME ZONE 'UTC'
		  UNION ALL
		  SELECT * FROM analytics.ledger_entries
		   WHERE org_id = $1 AND kind = 'usage' AND accounting_period = $2::date
		     AND admitted_at < ($2::date - 2)::timestamp AT TIME ZONE 'UTC'
		     AND accounting_period > (admitted_at AT TIME ZONE 'UTC')::date + 2
		)
		SELECT currency, project_id, model, sum(requests)::bigint, sum(input_tokens)::bigint, sum(cached_input_tokens)::bigint,
		       sum(output_tokens)::bigint, sum(amount_nano)::bigint, min(admitted_at), max(admitted_at)
		  FROM e GROUP BY 1, 2, 3`, org, m.Date())
	if err != nil {
		return nil, fmt.Errorf("query ledger: %w", err)
	}
	sums := map[string][]invoice.Line{}
	var currency string
	var l invoice.Line
	_, err = pgx.ForEachRow(rows, []any{
		&currency, &l.ProjectID, &l.Model, &l.Requests, &l.InputTokens, &l.CachedInputTokens, &l.OutputTokens, &l.Usage, &l.First, &l.Last,
	}, func() error {
		l.First, l.Last = l.First.UTC(), l.Last.UTC()
		sums[currency] = append(sums[currency], l)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("sum ledger: %w", err)
	}
	return sums, nil
}

func insertDrafts(ctx context.Context, tx pgx.Tx, c invoice.Closing, sums map[string][]invoice.Line) error {
	for _, currency := range slices.Sorted(maps.Keys(sums)) {
		i, err := c.Draw(currency, sums[currency])
		if err != nil {
			return err
		}
		if err := insertDraft(ctx, tx, i); err != nil {
			return err
		}
		if err := writeAudit(ctx, tx, "analytics", c.Record(i)); err != nil {
			return err
		}
	}
	return nil
}

// insertDraft writes a draft, its lines, and what rounding adds or takes: an entry
// at the last moment of the month for each line that it changes.
func insertDraft(ctx context.Context, tx pgx.Tx, i invoice.Invoice) error {
	_, end := i.Month.Bounds(i.Zone)
	batch := &pgx.Batch{}
	batch.Queue(`
		INSERT INTO analytics.invoices (org_id, invoice_id, period, currency, time_zone, requests, input_tokens, cached_input_tokens,
		       output_tokens, usage_nano, rounding_nano, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		i.OrgID, i.ID, i.Month.Date(), i.Currency, i.Zone.String(), i.Requests, i.InputTokens, i.CachedInputTokens,
		i.OutputTokens, i.Usage, i.Rounding, i.CreatedAt)
	for n, l := range i.Lines {
		batch.Queue(`
			INSERT INTO analytics.invoice_lines (org_id, invoice_id, line, project_id, project_name, model, requests, input_tokens,
			       cached_input_tokens, output_tokens, usage_nano, rounding_nano, first_at, last_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
			i.OrgID, i.ID, n+1, l.ProjectID, l.ProjectName, l.Model, l.Requests, l.InputTokens,
			l.CachedInputTokens, l.OutputTokens, l.Usage, l.Rounding, l.First, l.Last)
		if l.Rounding == 0 {
			continue
		}
		batch.Queue(`
			INSERT INTO analytics.ledger_entries (org_id, event_id, kind, admitted_at, accounting_period, project_id, api_key_id, model, price_id,
			       requests, input_tokens, cached_input_tokens, output_tokens, amount_nano, currency)
			VALUES ($1, $2, 'adjustment', $3, $4, $5, '', $6, '', 0, 0, 0, 0, $7, $8)`,
			i.OrgID, fmt.Sprintf("%s.%d", i.ID, n+1), end.Add(-time.Microsecond), i.Month.Date(), l.ProjectID, l.Model, l.Rounding, i.Currency)
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("insert draft: %w", err)
	}
	return nil
}

// Drafts implements [invoice.Books].
func (b *Billing) Drafts(ctx context.Context, org string, upTo invoice.Month) (ids []string, err error) {
	err = b.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT invoice_id FROM analytics.invoices
			WHERE org_id = $1 AND status = 'draft' AND period <= $2 ORDER BY period, currency`, org, upTo.Date())
		if err != nil {
			return fmt.Errorf("query drafts: %w", err)
		}
		ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err //nolint:wrapcheck // translated by InOrg
	})
	return ids, err
}

// Issue implements [invoice.Books]. The seller's row is locked first: whoever holds
// it takes the next date and the next number, in the one order. The lock is one
// that drafts, which refer to the seller, do not wait for.
func (b *Billing) Issue(ctx context.Context, in invoice.Issuing) (issued bool, err error) {
	err = b.db.InOrg(ctx, in.OrgID, func(tx pgx.Tx) error {
		issued = false // of a try that was rolled back
		seller, err := readSeller(ctx, tx, invoice.DefaultSeller, "FOR NO KEY UPDATE")
		if err != nil {
			return err
		}
		i, err := readInvoice(ctx, tx, &b.zones, in.OrgID, in.InvoiceID)
		if err != nil {
			return err
		}
		if i.Status != invoice.Draft {
			return nil
		}
		profile, err := readProfile(ctx, tx, in.OrgID)
		if err != nil {
			return err
		}
		in.Complete(&i, profile, seller, in.Now())
		if err := number(ctx, tx, &i, seller); err != nil {
			return err
		}
		issued = true
		return writeAudit(ctx, tx, "analytics", in.Record(i))
	})
	return issued && err == nil, err
}

// number takes the next number of the seller for the invoice's year, and gives it to
// the invoice, in one statement.
func number(ctx context.Context, tx pgx.Tx, i *invoice.Invoice, seller invoice.Seller) error {
	year := i.IssuedAt.Year()
	err := tx.QueryRow(ctx, `
		WITH taken AS (
		  INSERT INTO analytics.invoice_numbers AS n (seller_id, year, last) VALUES ($3, $4, 1)
		  ON CONFLICT (seller_id, year) DO UPDATE SET last = n.last + 1
		  RETURNING last)
		UPDATE analytics.invoices SET status = 'issued', seller_id = $3, year = $4, sequence = taken.last,
		       number = $5::text || '-' || lpad($4::text, 4, '0') || '-' || lpad(taken.last::text, greatest(6, length(taken.last::text)), '0'),
		       issued_at = $6, due_on = $7, seller = $8, customer = $9
		  FROM taken WHERE org_id = $1 AND invoice_id = $2 AND status = 'draft' RETURNING number`,
		i.OrgID, i.ID, seller.ID, year, seller.Prefix, i.IssuedAt, i.DueOn, sellerOn(i), customerOn(i)).Scan(&i.Number)
	if err != nil {
		return fmt.Errorf("take number: %w", err)
	}
	i.Status = invoice.Issued
	return nil
}

// Of implements [invoice.Books].
func (b *Billing) Of(ctx context.Context, m invoice.Month, org string, most int) ([]invoice.Invoice, error) {
	rows, err := b.db.pool.Query(ctx, selectInvoices+` WHERE period = $1 AND $2 IN ('', org_id) ORDER BY org_id, invoice_id LIMIT $3`, m.Date(), org, most)
	if err != nil {
		return nil, translate(err)
	}
	out, err := pgx.CollectRows(rows, scanInvoice(&b.zones))
	return out, translate(err)
}

// SaveSeller implements [invoice.Books].
func (b *Billing) SaveSeller(ctx context.Context, s invoice.Seller, rec audit.Record) error {
	return b.db.InOrg(ctx, rec.OrgID, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			UPDATE analytics.sellers SET name = $2, address = $3, country = $4, tax_id = $5, email = $6, payment = $7, number_prefix = $8, updated_at = $9
			 WHERE seller_id = $1`,
			s.ID, s.Name, orNone(s.Address), s.Country, s.TaxID, s.Email, orNone(s.Payment), s.Prefix, s.UpdatedAt)
		switch {
		case err != nil:
			return fmt.Errorf("save seller: %w", err)
		case tag.RowsAffected() == 0:
			return errNoSeller()
		}
		return writeAudit(ctx, tx, "analytics", rec)
	})
}

func errNoSeller() *fault.Error { return fault.New(fault.NotFound, "there is no such seller") }

func orNone(lines []string) []string {
	if lines == nil {
		return []string{}
	}
	return lines
}
