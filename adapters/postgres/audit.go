package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/function"
)

// AuditRecords reads the audit records of one service's schema, and takes them off
// the pending when they are sealed, under [RoleAuditor]. It changes none.
type AuditRecords struct {
	db      *DB
	source  function.Service
	records string // the tables' names, quoted
	pending string
	prune   string
}

// NewAuditRecords makes the store of a service's records.
func NewAuditRecords(db *DB, source function.Service) *AuditRecords {
	name := func(n string) string { return pgx.Identifier{string(source), n}.Sanitize() }
	return &AuditRecords{db: db, source: source, records: name("audit_records"), pending: name("audit_pending"), prune: name("prune_audit")}
}

var (
	_ audit.Pending  = (*AuditRecords)(nil)
	_ audit.Records  = (*AuditRecords)(nil)
	_ audit.Lister   = (*AuditRecords)(nil)
	_ audit.Disposer = (*AuditRecords)(nil)
)

const recordColumns = `r.org_id, r.audit_id, r.at, r.actor, r.action, r.target, r.detail::text, r.request_id, r.source_address, r.outcome`

func (a *AuditRecords) scan(row pgx.CollectableRow) (e audit.Entry, err error) {
	var detail string
	err = row.Scan(&e.OrgID, &e.ID, &e.At, &e.Actor, &e.Action, &e.Target, &detail, &e.RequestID, &e.Address, &e.Outcome)
	e.Source, e.Detail, e.At = a.source, []byte(detail), e.At.UTC()
	return e, err //nolint:wrapcheck // pgx wraps it
}

// query reads records in a transaction.
func (a *AuditRecords) query(ctx context.Context, tx pgx.Tx, sql string, args ...any) ([]audit.Entry, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("query audit records: %w", err)
	}
	return pgx.CollectRows(rows, a.scan) //nolint:wrapcheck // translated by who began the transaction
}

// Pending implements [audit.Pending].
func (a *AuditRecords) Pending(ctx context.Context, after audit.Cursor, most int) (list []audit.Entry, err error) {
	err = a.db.Do(ctx, func(tx pgx.Tx) (err error) {
		list, err = a.query(ctx, tx, `SELECT `+recordColumns+`
			FROM `+a.pending+` p JOIN `+a.records+` r ON r.org_id = p.org_id AND r.audit_id = p.audit_id
			WHERE (p.audit_id, p.org_id) > ($1, $2) ORDER BY p.audit_id, p.org_id LIMIT $3`, after.AuditID, after.OrgID, most)
		return err
	})
	return list, err
}

// Settle implements [audit.Pending].
func (a *AuditRecords) Settle(ctx context.Context, org string, ids []string) error {
	return a.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM `+a.pending+` WHERE org_id = $1 AND audit_id = ANY ($2)`, org, ids)
		return err //nolint:wrapcheck // translated by InOrg
	})
}

// Read implements [audit.Records].
func (a *AuditRecords) Read(ctx context.Context, org string, ids []string) (list []audit.Entry, err error) {
	err = a.db.InOrg(ctx, org, func(tx pgx.Tx) (err error) {
		list, err = a.query(ctx, tx, `SELECT `+recordColumns+` FROM `+a.records+` r WHERE r.org_id = $1 AND r.audit_id = ANY ($2)`, org, ids)
		return err
	})
	return list, err
}

// Loose implements [audit.Records].
func (a *AuditRecords) Loose(ctx context.Context, org, after string, most int) (ids []string, err error) {
	err = a.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT r.audit_id FROM `+a.records+` r
			WHERE r.org_id = $1 AND r.audit_id > $2
			  AND NOT EXISTS (SELECT FROM `+a.pending+` p WHERE p.org_id = r.org_id AND p.audit_id = r.audit_id)
			ORDER BY r.audit_id LIMIT $3`, org, after, most)
		if err != nil {
			return fmt.Errorf("query audit records: %w", err)
		}
		ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err //nolint:wrapcheck // translated by InOrg
	})
	return ids, err
}

// Waiting implements [audit.Records].
func (a *AuditRecords) Waiting(ctx context.Context, org string) (pending int64, lost string, err error) {
	err = a.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT count(*), coalesce(min(p.audit_id) FILTER (WHERE r.audit_id IS NULL), '')
			FROM `+a.pending+` p LEFT JOIN `+a.records+` r ON r.org_id = p.org_id AND r.audit_id = p.audit_id
			WHERE p.org_id = $1`, org).Scan(&pending, &lost)
	})
	return pending, lost, err
}

// Overdue implements [audit.Records], by the database's own clock.
func (a *AuditRecords) Overdue(ctx context.Context, org string, grace time.Duration, after string, most int) (ids []string, err error) {
	err = a.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT p.audit_id FROM `+a.pending+` p
			WHERE p.org_id = $1 AND p.audit_id > $2 AND p.since < clock_timestamp() - $3::interval ORDER BY p.audit_id LIMIT $4`, org, after, grace, most)
		if err != nil {
			return fmt.Errorf("query pending records: %w", err)
		}
		ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err //nolint:wrapcheck // translated by InOrg
	})
	return ids, err
}

// List implements [audit.Lister].
func (a *AuditRecords) List(ctx context.Context, org string, f audit.Filter, before string, most int) (list []audit.Entry, err error) {
	where, args := `WHERE r.org_id = $1`, []any{org}
	add := func(condition string, v any) {
		args = append(args, v)
		where += fmt.Sprintf(" AND "+condition, len(args))
	}
	if before != "" {
		add(`r.audit_id < $%d`, before)
	}
	for _, t := range []struct{ column, value string }{
		{"actor", f.Actor}, {"target", f.Target}, {"outcome", string(f.Outcome)}, {"source_address", f.Address}, {"request_id", f.RequestID},
	} {
		if t.value != "" {
			add(`r.`+t.column+` = $%d`, t.value)
		}
	}
	switch n := len(f.Action); {
	case n > 0 && f.Action[n-1] == '.':
		add(`starts_with(r.action, $%d)`, f.Action)
	case n > 0:
		add(`r.action = $%d`, f.Action)
	}
	if !f.Start.IsZero() {
		add(`r.at >= $%d`, f.Start)
	}
	if !f.End.IsZero() {
		add(`r.at < $%d`, f.End)
	}
	sql := fmt.Sprintf(`SELECT %s FROM %s r %s ORDER BY r.audit_id DESC LIMIT %d`, recordColumns, a.records, where, most)
	err = a.db.InOrg(ctx, org, func(tx pgx.Tx) (err error) {
		list, err = a.query(ctx, tx, sql, args...)
		return err
	})
	return list, err
}

// Dispose implements [audit.Disposer].
func (a *AuditRecords) Dispose(ctx context.Context, org string, ids []string, keep time.Duration) (n int64, err error) {
	err = a.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT `+a.prune+`($1, $2, $3)`, org, ids, keep).Scan(&n)
	})
	return n, err
}

// AuditDenials writes summed up denials of management calls, in the schema accounts
// under [RoleAccounts].
type AuditDenials struct{ db *DB }

// NewAuditDenials makes the sink.
func NewAuditDenials(db *DB) *AuditDenials { return &AuditDenials{db: db} }

var _ audit.DenialSink = (*AuditDenials)(nil)

// WriteDenials implements [audit.DenialSink]: a transaction for each organisation.
// What one can't take does not hold up the others.
func (a *AuditDenials) WriteDenials(ctx context.Context, records []audit.Record) error {
	byOrg := map[string][]audit.Record{}
	for i := range records {
		byOrg[records[i].OrgID] = append(byOrg[records[i].OrgID], records[i])
	}
	var errs []error
	for org, list := range byOrg {
		errs = append(errs, a.db.InOrg(ctx, org, func(tx pgx.Tx) error {
			batch := &pgx.Batch{}
			for _, r := range list {
				batch.Queue(`INSERT INTO accounts.audit_records (org_id, audit_id, at, actor, action, target, detail, request_id, source_address, outcome)
					VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING`,
					r.OrgID, r.ID, r.At, r.Actor, r.Action, r.Target, r.Detail, r.RequestID, r.Address, r.Kept())
			}
			return tx.SendBatch(ctx, batch).Close()
		}))
	}
	return errors.Join(errs...)
}

var _ audit.DenialSink = (*Journal)(nil)

// WriteDenials implements [audit.DenialSink] for the data plane.
func (j *Journal) WriteDenials(ctx context.Context, records []audit.Record) error {
	n := len(records)
	at, details, texts := make([]time.Time, n), make([]map[string]any, n), make([][]string, 7)
	for k := range texts {
		texts[k] = make([]string, n)
	}
	for i, r := range records {
		at[i], details[i] = r.At, r.Detail
		for k, v := range []string{r.OrgID, r.ID, r.Actor, r.Action, r.Target, r.RequestID, r.Address} {
			texts[k][i] = v
		}
	}
	_, err := j.db.pool.Exec(ctx, `SELECT router.record_denials($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		texts[0], texts[1], at, texts[2], texts[3], texts[4], details, texts[5], texts[6])
	return translate(err)
}
