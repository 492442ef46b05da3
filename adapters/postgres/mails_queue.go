package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/mail"
)

// Lease implements [mail.Queue].
func (s *Mails) Lease(ctx context.Context, now, until time.Time, limit int) ([]mail.Queued, error) {
	var list []mail.Queued
	err := s.db.Do(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			WITH due AS (
			  SELECT org_id, mail_id FROM accounts.mails WHERE status = 'queued' AND next_attempt_at <= $1
			   ORDER BY next_attempt_at LIMIT $2 FOR UPDATE SKIP LOCKED)
			UPDATE accounts.mails m SET attempts = m.attempts + 1, next_attempt_at = $3
			  FROM due WHERE m.org_id = due.org_id AND m.mail_id = due.mail_id
			RETURNING m.mail_id, m.org_id, m.kind, m.recipient, m.data, m.attempts, m.created_at`, now, limit, until)
		if err != nil {
			return fmt.Errorf("lease mails: %w", err)
		}
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (q mail.Queued, err error) {
			err = row.Scan(&q.ID, &q.OrgID, &q.Kind, &q.Recipient, &q.Data, &q.Attempts, &q.CreatedAt)
			return q, err //nolint:wrapcheck // wrapped below
		})
		if err != nil {
			return fmt.Errorf("lease mails: %w", err)
		}
		return nil
	})
	return list, err
}

// Finish implements [mail.Queue].
func (s *Mails) Finish(ctx context.Context, o mail.Outcome) error {
	return s.db.Do(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			UPDATE accounts.mails SET status = $4, last_error = $5,
			       next_attempt_at = CASE $4 WHEN 'queued' THEN $6 ELSE next_attempt_at END,
			       finished_at = CASE $4 WHEN 'queued' THEN NULL ELSE $7::timestamptz END,
			       data = CASE $4 WHEN 'queued' THEN data ELSE '{}' END
			 WHERE org_id = $1 AND mail_id = $2 AND attempts = $3 AND status = 'queued'`,
			o.OrgID, o.ID, o.Attempt, o.Status, o.Error, nullable(o.Next), o.At)
		if err != nil {
			return fmt.Errorf("finish mail: %w", err)
		}
		return nil
	})
}

// Prune implements [mail.Queue].
func (s *Mails) Prune(ctx context.Context, before time.Time, limit int) (int, error) {
	var n int64
	err := s.db.Do(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			WITH old AS (
			  SELECT m.org_id, m.mail_id FROM accounts.mails m JOIN accounts.organizations o ON o.org_id = m.org_id AND NOT o.legal_hold
			   WHERE m.created_at < $1 ORDER BY m.created_at LIMIT $2 FOR UPDATE OF m SKIP LOCKED)
			DELETE FROM accounts.mails m USING old WHERE m.org_id = old.org_id AND m.mail_id = old.mail_id`, before, limit)
		if err != nil {
			return fmt.Errorf("prune mails: %w", err)
		}
		n = tag.RowsAffected()
		return nil
	})
	return int(n), err
}

// dueKeys are the keys that have reached a stage that they were not reminded of.
// One that expires before it is due needs no rotation; one that is suspended, or
// whose organisation is, gets its reminder when it works again.
const dueKeys = `
	WITH due AS (
	  SELECT k.org_id, k.key_id, k.project_id, k.name, k.rotate_by, k.expires_at, s.days
	    FROM accounts.api_keys k
	    JOIN accounts.organizations o ON o.org_id = k.org_id AND o.status IN ('active', 'trial')
	    CROSS JOIN LATERAL (SELECT min(d) AS days FROM unnest($2::int[]) d WHERE k.rotate_by <= $1::timestamptz + make_interval(days => d)) s
	   WHERE k.revoked_at IS NULL AND k.suspended_at IS NULL AND k.rotate_by <= $1::timestamptz + make_interval(days => 14)
	     AND (k.expires_at IS NULL OR (k.expires_at > $1 AND k.expires_at > k.rotate_by))
	     AND NOT EXISTS (SELECT FROM accounts.key_reminders r
	                      WHERE r.org_id = k.org_id AND r.key_id = k.key_id AND r.rotate_by = k.rotate_by AND r.days = s.days)
	   ORDER BY k.rotate_by LIMIT $3
	), told AS (
	  INSERT INTO accounts.key_reminders (org_id, key_id, rotate_by, days, at)
	  SELECT org_id, key_id, rotate_by, days, $1 FROM due ON CONFLICT DO NOTHING RETURNING org_id, key_id
	)
	SELECT d.org_id, d.key_id, d.project_id, d.name, d.rotate_by, d.expires_at, d.days
	  FROM due d JOIN told t ON t.org_id = d.org_id AND t.key_id = d.key_id`

// Remind implements [mail.ReminderStore].
func (s *Mails) Remind(ctx context.Context, now time.Time, limit int, tell func(mail.DueKey) audit.Record) (int, error) {
	var n int
	err := s.db.Do(ctx, func(tx pgx.Tx) error {
		due, err := readDueKeys(ctx, tx, now, limit)
		if err != nil {
			return err
		}
		n = len(due)
		for _, k := range due {
			if err := writeEvent(ctx, tx, "accounts", tell(k)); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

func readDueKeys(ctx context.Context, tx pgx.Tx, now time.Time, limit int) ([]mail.DueKey, error) {
	rows, err := tx.Query(ctx, dueKeys, now, mail.Stages(), limit)
	if err != nil {
		return nil, fmt.Errorf("find keys that are due: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (k mail.DueKey, err error) {
		var expires *time.Time
		err = row.Scan(&k.OrgID, &k.KeyID, &k.ProjectID, &k.Name, &k.RotateBy, &expires, &k.Days)
		if expires != nil {
			k.ExpiresAt = *expires
		}
		return k, err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return nil, fmt.Errorf("find keys that are due: %w", err)
	}
	return list, nil
}
