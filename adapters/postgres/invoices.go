package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/invoice"
)

// Invoices reads an organisation's invoices and keeps its billing profile, in the
// schema analytics under [RoleAnalytics].
type Invoices struct {
	db    *DB
	zones zones
}

// NewInvoices makes the store.
func NewInvoices(db *DB) *Invoices { return &Invoices{db: db} }

var _ invoice.Store = (*Invoices)(nil)

const selectInvoices = `
	SELECT org_id, invoice_id, period, currency, time_zone, requests, input_tokens, cached_input_tokens, output_tokens,
	       usage_nano, rounding_nano, status, created_at, coalesce(number, ''), issued_at, due_on, seller, customer
	  FROM analytics.invoices`

// The snapshots of an invoice, as they are stored.
type partyDocument struct {
	Name    string   `json:"name"`
	Address []string `json:"address"`
	Country string   `json:"country"`
	TaxID   string   `json:"tax_id"`
	Email   string   `json:"email"`
}

type sellerDocument struct {
	partyDocument

	Payment []string `json:"payment"`
}

type customerDocument struct {
	partyDocument

	PurchaseOrder string `json:"purchase_order"`
	TermsDays     int    `json:"terms_days"`
}

func sellerOn(i *invoice.Invoice) sellerDocument {
	return sellerDocument{partyDocument: partyDocument(i.Seller), Payment: i.Payment}
}

func customerOn(i *invoice.Invoice) customerDocument {
	return customerDocument{partyDocument: partyDocument(i.BillTo), PurchaseOrder: i.PurchaseOrder, TermsDays: i.TermsDays}
}

func scanInvoice(z *zones) pgx.RowToFunc[invoice.Invoice] {
	return func(row pgx.CollectableRow) (i invoice.Invoice, err error) {
		var zone string
		var period time.Time
		var issued, due *time.Time
		var seller *sellerDocument
		var customer *customerDocument
		err = row.Scan(&i.OrgID, &i.ID, &period, &i.Currency, &zone, &i.Requests, &i.InputTokens, &i.CachedInputTokens, &i.OutputTokens,
			&i.Usage, &i.Rounding, &i.Status, &i.CreatedAt, &i.Number, &issued, &due, &seller, &customer)
		if err != nil {
			return i, fmt.Errorf("scan invoice: %w", err)
		}
		i.Month, i.Amount, i.CreatedAt = invoice.MonthOf(period), i.Usage+i.Rounding, i.CreatedAt.UTC()
		i.IssuedAt, i.DueOn = moment(issued), moment(due)
		if seller != nil && customer != nil {
			i.Seller, i.Payment = invoice.Party(seller.partyDocument), seller.Payment
			i.BillTo, i.PurchaseOrder, i.TermsDays = invoice.Party(customer.partyDocument), customer.PurchaseOrder, customer.TermsDays
		}
		i.Zone, err = z.load(zone)
		return i, err
	}
}

// readInvoice reads one without its lines.
func readInvoice(ctx context.Context, tx pgx.Tx, z *zones, org, invoiceID string) (invoice.Invoice, error) {
	rows, err := tx.Query(ctx, selectInvoices+` WHERE org_id = $1 AND invoice_id = $2`, org, invoiceID)
	if err != nil {
		return invoice.Invoice{}, fmt.Errorf("query invoice: %w", err)
	}
	i, err := pgx.CollectExactlyOneRow(rows, scanInvoice(z))
	if err != nil {
		return i, missing(err, "read invoice", fault.New(fault.NotFound, "there is no such invoice"))
	}
	return i, nil
}

// List implements [invoice.Store].
func (s *Invoices) List(ctx context.Context, org string, f invoice.Filter, after string, most int) (list []invoice.Invoice, err error) {
	var period *time.Time
	if f.Month != (invoice.Month{}) {
		date := f.Month.Date()
		period = &date
	}
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, selectInvoices+`
			 WHERE org_id = $1 AND invoice_id > $2 AND ($3::date IS NULL OR period = $3) AND $4 IN ('', status)
			 ORDER BY invoice_id LIMIT $5`, org, after, period, string(f.Status), most)
		if err != nil {
			return fmt.Errorf("query invoices: %w", err)
		}
		list, err = pgx.CollectRows(rows, scanInvoice(&s.zones))
		return err //nolint:wrapcheck // translated by InOrg
	})
	return list, err
}

// Get implements [invoice.Store].
func (s *Invoices) Get(ctx context.Context, org, invoiceID string) (i invoice.Invoice, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		if i, err = readInvoice(ctx, tx, &s.zones, org, invoiceID); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `
			SELECT project_id, project_name, model, requests, input_tokens, cached_input_tokens, output_tokens, usage_nano, rounding_nano, first_at, last_at
			  FROM analytics.invoice_lines WHERE org_id = $1 AND invoice_id = $2 ORDER BY line`, org, invoiceID)
		if err != nil {
			return fmt.Errorf("query lines: %w", err)
		}
		i.Lines, err = pgx.CollectRows(rows, scanInvoiceLine)
		return err //nolint:wrapcheck // translated by InOrg
	})
	return i, err
}

func scanInvoiceLine(row pgx.CollectableRow) (l invoice.Line, err error) {
	err = row.Scan(&l.ProjectID, &l.ProjectName, &l.Model, &l.Requests, &l.InputTokens, &l.CachedInputTokens, &l.OutputTokens,
		&l.Usage, &l.Rounding, &l.First, &l.Last)
	if err != nil {
		return l, fmt.Errorf("scan line: %w", err)
	}
	l.Amount, l.First, l.Last = l.Usage+l.Rounding, l.First.UTC(), l.Last.UTC()
	return l, nil
}

// Sums implements [invoice.Store].
func (s *Invoices) Sums(ctx context.Context, org string, m invoice.Month) (sums map[string][]invoice.Line, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		sums, err = sumMonth(ctx, tx, org, m)
		return err
	})
	return sums, err
}

// Profile implements [invoice.Store].
func (s *Invoices) Profile(ctx context.Context, org string) (p invoice.Profile, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		p, err = readProfile(ctx, tx, org)
		return err
	})
	return p, err
}

func readProfile(ctx context.Context, tx pgx.Tx, org string) (invoice.Profile, error) {
	p := invoice.Profile{TermsDays: invoice.DefaultTerms}
	err := tx.QueryRow(ctx, `
		SELECT name, address, country, tax_id, email, purchase_order, terms_days, updated_at FROM analytics.billing_profiles WHERE org_id = $1`, org).
		Scan(&p.Name, &p.Address, &p.Country, &p.TaxID, &p.Email, &p.PurchaseOrder, &p.TermsDays, &p.UpdatedAt)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return p, fmt.Errorf("read billing profile: %w", err)
	}
	p.UpdatedAt = p.UpdatedAt.UTC()
	return p, nil
}

// SaveProfile implements [invoice.Store].
func (s *Invoices) SaveProfile(ctx context.Context, org string, p invoice.Profile, rec audit.Record) error {
	return s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO analytics.billing_profiles (org_id, name, address, country, tax_id, email, purchase_order, terms_days, updated_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
			ON CONFLICT (org_id) DO UPDATE SET name = excluded.name, address = excluded.address, country = excluded.country, tax_id = excluded.tax_id,
			  email = excluded.email, purchase_order = excluded.purchase_order, terms_days = excluded.terms_days, updated_at = excluded.updated_at`,
			org, p.Name, orNone(p.Address), p.Country, p.TaxID, p.Email, p.PurchaseOrder, p.TermsDays, p.UpdatedAt)
		if err != nil {
			return fmt.Errorf("save billing profile: %w", err)
		}
		return writeAudit(ctx, tx, "analytics", rec)
	})
}

// Seller implements [invoice.Store]. Sellers belong to no organisation.
func (s *Invoices) Seller(ctx context.Context, sellerID string) (seller invoice.Seller, err error) {
	err = s.db.Do(ctx, func(tx pgx.Tx) error {
		seller, err = readSeller(ctx, tx, sellerID, "")
		return err
	})
	return seller, err
}

// readSeller reads a seller, with a lock where one is named.
func readSeller(ctx context.Context, tx pgx.Tx, sellerID, lock string) (s invoice.Seller, err error) {
	var updated *time.Time
	err = tx.QueryRow(ctx, `
		SELECT seller_id, name, address, country, tax_id, email, payment, number_prefix, updated_at FROM analytics.sellers WHERE seller_id = $1 `+lock, sellerID).
		Scan(&s.ID, &s.Name, &s.Address, &s.Country, &s.TaxID, &s.Email, &s.Payment, &s.Prefix, &updated)
	if err != nil {
		return s, missing(err, "read seller", errNoSeller())
	}
	s.UpdatedAt = moment(updated)
	return s, nil
}
