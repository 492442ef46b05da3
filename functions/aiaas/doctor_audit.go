package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/function"
)

// checkAudit looks whether the sealer keeps up with a service's records, and in the
// database that has the chains, whether their heads are signed.
func (e *exam) checkAudit(ctx context.Context, conn *pgx.Conn, s function.Service) {
	check := "audit of " + string(s)
	var waiting int64
	var age float64
	err := asAuditor(ctx, conn, `SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(since)), 0)::float8 FROM `+
		pgx.Identifier{string(s), "audit_pending"}.Sanitize(), nil, &waiting, &age)
	oldest := time.Duration(age * float64(time.Second)).Round(time.Second)
	switch {
	case err != nil:
		e.warn(check, "", "it can't be read: %v", err)
	case oldest > audit.HeadGrace:
		e.fail(check, "see why the sealer is behind: aiaas job runs audit.seal, and the log", "%d records wait to be sealed, the oldest for %s", waiting, oldest)
	default:
		e.ok(check, "%d records wait to be sealed", waiting)
	}
	if s == function.Accounts {
		e.checkHeads(ctx, conn)
	}
}

// checkHeads looks for chains that no signed head covers although one is due.
func (e *exam) checkHeads(ctx context.Context, conn *pgx.Conn) {
	const check = "audit heads"
	var overdue int64
	var one string
	err := asAuditor(ctx, conn, `SELECT count(*), coalesce(min(c.org_id), '') FROM accounts.audit_chains c
		 WHERE c.seq > c.head_seq AND EXISTS (SELECT FROM accounts.audit_chain l
		       WHERE l.org_id = c.org_id AND l.seq = c.head_seq + 1 AND l.sealed_at < clock_timestamp() - $1::interval)`,
		[]any{audit.HeadGrace}, &overdue, &one)
	switch {
	case err != nil:
		e.warn(check, "", "they can't be read: %v", err)
	case overdue > 0:
		e.fail(check, "see whether the file store (BLOB_URL, or the folder files of the data folder) takes files: aiaas job runs audit.seal says why it did not",
			"the signed heads of %d organizations are overdue, such as that of %s", overdue, one)
	default:
		e.ok(check, "all are signed that are due")
	}
}

// asAuditor reads one row under the auditor's role, and leaves the connection as it was.
func asAuditor(ctx context.Context, conn *pgx.Conn, sql string, args []any, into ...any) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // nothing was written
	if _, err := tx.Exec(ctx, `SET LOCAL ROLE `+pgx.Identifier{string(postgres.RoleAuditor)}.Sanitize()); err != nil {
		return fmt.Errorf("take the auditor's role: %w", err)
	}
	if err := tx.QueryRow(ctx, sql, args...).Scan(into...); err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	return nil
}
