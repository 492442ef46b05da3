package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/event"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
)

// Webhooks keeps one organisation's webhooks and reads its events, under
// [RoleAccounts].
type Webhooks struct{ db *DB }

var (
	_ event.Webhooks = (*Webhooks)(nil)
	_ event.History  = (*Webhooks)(nil)
)

// NewWebhooks makes the store of webhooks.
func NewWebhooks(db *DB) *Webhooks { return &Webhooks{db: db} }

// CreateWebhook implements [event.Webhooks].
func (s *Webhooks) CreateWebhook(ctx context.Context, w event.Webhook, rec audit.Record) error {
	return s.db.InOrg(ctx, w.OrgID, func(tx pgx.Tx) error {
		// Two at once would each find room for the last.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1, $2))`, w.OrgID, int64(webhookLock)); err != nil {
			return fmt.Errorf("lock webhooks: %w", err)
		}
		var n int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM accounts.webhooks WHERE org_id = $1`, w.OrgID).Scan(&n); err != nil {
			return fmt.Errorf("count webhooks: %w", err)
		}
		if n >= event.MaxWebhooks {
			return fault.New(fault.Conflict, "an organisation has at most %d webhooks", event.MaxWebhooks)
		}
		_, err := tx.Exec(ctx, `INSERT INTO accounts.webhooks (org_id, webhook_id, url, description, events, enabled, secret, created_by, created_at, updated_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
			w.OrgID, w.ID, w.URL, w.Description, w.Events, w.Enabled, w.Secret, w.CreatedBy, w.CreatedAt, w.UpdatedAt)
		if err != nil {
			return fmt.Errorf("insert webhook: %w", err)
		}
		return writeAudit(ctx, tx, "accounts", rec)
	})
}

// webhookLock is the seed of the advisory locks under which webhooks are counted, and
// what is asked of them.
const webhookLock = 0x61696161730005

const selectWebhooks = `SELECT org_id, webhook_id, url, description, events, enabled, secret, old_secret, old_until, failing_since,
	failures, disabled_why, created_by, created_at, updated_at FROM accounts.webhooks WHERE org_id = $1`

func scanWebhook(row pgx.CollectableRow) (event.Webhook, error) {
	var w event.Webhook
	var until, failing *time.Time
	err := row.Scan(&w.OrgID, &w.ID, &w.URL, &w.Description, &w.Events, &w.Enabled, &w.Secret, &w.OldSecret, &until, &failing,
		&w.Failures, &w.DisabledWhy, &w.CreatedBy, &w.CreatedAt, &w.UpdatedAt)
	w.OldUntil, w.FailingSince = orZero(until), orZero(failing)
	w.CreatedAt, w.UpdatedAt = w.CreatedAt.UTC(), w.UpdatedAt.UTC()
	return w, err //nolint:wrapcheck // the caller translates
}

// orZero is a moment that may be null.
func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// orNull is the other way.
func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// ListWebhooks implements [event.Webhooks].
func (s *Webhooks) ListWebhooks(ctx context.Context, org, after string, limit int) (list []event.Webhook, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, selectWebhooks+` AND webhook_id > $2 ORDER BY webhook_id LIMIT $3`, org, after, limit)
		if err != nil {
			return fmt.Errorf("query webhooks: %w", err)
		}
		list, err = pgx.CollectRows(rows, scanWebhook)
		return err //nolint:wrapcheck // translated by InOrg
	})
	return list, err
}

// GetWebhook implements [event.Webhooks].
func (s *Webhooks) GetWebhook(ctx context.Context, org, webhookID string) (w event.Webhook, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		w, err = oneWebhook(ctx, tx, ref{org, webhookID}, "")
		return err
	})
	return w, err
}

// oneWebhook reads a webhook, with a lock where one is named.
func oneWebhook(ctx context.Context, tx pgx.Tx, r ref, lock string) (event.Webhook, error) {
	rows, err := tx.Query(ctx, selectWebhooks+` AND webhook_id = $2 `+lock, r.org, r.id)
	if err != nil {
		return event.Webhook{}, fmt.Errorf("query webhook: %w", err)
	}
	w, err := pgx.CollectExactlyOneRow(rows, scanWebhook)
	if err != nil {
		return w, missing(err, "read webhook", fault.New(fault.NotFound, "there is no such webhook"))
	}
	return w, nil
}

// ChangeWebhook implements [event.Webhooks].
func (s *Webhooks) ChangeWebhook(ctx context.Context, org, webhookID string, change func(event.Webhook) (event.Webhook, audit.Record, error)) (w event.Webhook, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		before, err := oneWebhook(ctx, tx, ref{org, webhookID}, "FOR NO KEY UPDATE")
		if err != nil {
			return err
		}
		var rec audit.Record
		if w, rec, err = change(before); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE accounts.webhooks SET url = $3, description = $4, events = $5, enabled = $6, secret = $7, old_secret = $8,
			old_until = $9, failing_since = $10, failures = $11, disabled_why = $12, updated_at = $13 WHERE org_id = $1 AND webhook_id = $2`,
			org, webhookID, w.URL, w.Description, w.Events, w.Enabled, w.Secret, w.OldSecret, orNull(w.OldUntil), orNull(w.FailingSince),
			w.Failures, w.DisabledWhy, w.UpdatedAt)
		if err != nil {
			return fmt.Errorf("update webhook: %w", err)
		}
		if before.Enabled && !w.Enabled {
			if err := dropPending(ctx, tx, w, "The webhook was disabled."); err != nil {
				return err
			}
		}
		return writeAudit(ctx, tx, "accounts", rec)
	})
	return w, err
}

// dropPending gives up what is pending of a webhook.
func dropPending(ctx context.Context, tx pgx.Tx, w event.Webhook, why string) error {
	_, err := tx.Exec(ctx, `UPDATE accounts.webhook_deliveries SET status = 'failed', error = $3, finished_at = $4
		WHERE org_id = $1 AND webhook_id = $2 AND status = 'pending'`, w.OrgID, w.ID, why, w.UpdatedAt)
	if err != nil {
		return fmt.Errorf("give up deliveries: %w", err)
	}
	return nil
}

// DeleteWebhook implements [event.Webhooks].
func (s *Webhooks) DeleteWebhook(ctx context.Context, org, webhookID string, rec audit.Record) error {
	return s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM accounts.webhooks WHERE org_id = $1 AND webhook_id = $2`, org, webhookID)
		switch {
		case err != nil:
			return fmt.Errorf("delete webhook: %w", err)
		case tag.RowsAffected() == 0:
			return fault.New(fault.NotFound, "there is no such webhook")
		}
		return writeAudit(ctx, tx, "accounts", rec)
	})
}

// RecordTest implements [event.Webhooks].
func (s *Webhooks) RecordTest(ctx context.Context, org, webhookID string, q event.Quota, rec audit.Record) error {
	return s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		if _, err := oneWebhook(ctx, tx, ref{org, webhookID}, ""); err != nil {
			return err
		}
		if err := withinQuota(ctx, tx, asked{org, "test events", testsSince}, q); err != nil {
			return err
		}
		return writeAudit(ctx, tx, "accounts", rec)
	})
}

// asked is what an organisation asked for, and the query that finds when it did.
type asked struct{ org, what, since string }

// The conditions on the action are those of the index audit_records_webhook.
const (
	testsSince = `SELECT count(*), min(at) FROM accounts.audit_records WHERE org_id = $1 AND action = 'webhook.test' AND at > $2`
	// A replay of one delivery names it.
	replaysSince      = `SELECT count(*), min(at) FROM accounts.audit_records WHERE org_id = $1 AND action = 'webhook.replay' AND at > $2 AND NOT detail ? 'delivery_id'`
	redeliveriesSince = `SELECT count(*), min(at) FROM accounts.audit_records WHERE org_id = $1 AND action = 'webhook.replay' AND at > $2 AND detail ? 'delivery_id'`
)

// withinQuota is RateLimited where an organisation has asked often enough. What is
// asked for is counted by its audit records.
func withinQuota(ctx context.Context, tx pgx.Tx, a asked, q event.Quota) error {
	// Two at once would both count before either is counted.
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1, $2))`, a.org, int64(webhookLock)); err != nil {
		return fmt.Errorf("lock %s: %w", a.what, err)
	}
	var n int
	var first *time.Time
	if err := tx.QueryRow(ctx, a.since, a.org, q.Since).Scan(&n, &first); err != nil {
		return fmt.Errorf("count %s: %w", a.what, err)
	}
	if n < q.Most {
		return nil
	}
	free := q.Now
	if first != nil {
		free = first.Add(q.Now.Sub(q.Since)) // when the first of them is forgotten
	}
	return fault.New(fault.RateLimited, "an organization can ask for %d %s an hour", q.Most, a.what).After(max(free.Sub(q.Now), time.Second))
}

// ListEvents implements [event.History].
func (s *Webhooks) ListEvents(ctx context.Context, q event.Query) (list []event.Event, err error) {
	err = s.db.InOrg(ctx, q.OrgID, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT event_id, org_id, type, at, object, payload FROM accounts.events
			WHERE org_id = $1 AND ($2 = '' OR event_id < $2) AND (cardinality($3::text[]) = 0 OR type = ANY($3)) AND at >= $4
			ORDER BY event_id DESC LIMIT $5`, q.OrgID, q.Before, nonNil(q.Types), q.Since, q.Limit)
		if err != nil {
			return fmt.Errorf("query events: %w", err)
		}
		list, err = pgx.CollectRows(rows, scanEvent)
		return err //nolint:wrapcheck // translated by InOrg
	})
	return list, err
}

// nonNil is a list that the database takes for an empty array, not for null.
func nonNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// ListDeliveries implements [event.History].
func (s *Webhooks) ListDeliveries(ctx context.Context, q event.DeliveryQuery) (list []event.Delivery, err error) {
	err = s.db.InOrg(ctx, q.OrgID, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT d.delivery_id, d.webhook_id, d.event_id, e.type, d.status, d.attempts, d.next_at, d.error, d.created_at, d.finished_at
			FROM accounts.webhook_deliveries d JOIN accounts.events e USING (org_id, event_id)
			WHERE d.org_id = $1 AND d.webhook_id = $2 AND ($3 = '' OR d.status = $3) AND ($4 = '' OR d.delivery_id < $4)
			ORDER BY d.delivery_id DESC LIMIT $5`, q.OrgID, q.WebhookID, q.Status, q.Before, q.Limit)
		if err != nil {
			return fmt.Errorf("query deliveries: %w", err)
		}
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (event.Delivery, error) {
			var d event.Delivery
			var finished *time.Time
			err := row.Scan(&d.ID, &d.WebhookID, &d.EventID, &d.Type, &d.Status, &d.Tries, &d.NextAt, &d.Error, &d.CreatedAt, &finished)
			d.NextAt, d.CreatedAt, d.FinishedAt = d.NextAt.UTC(), d.CreatedAt.UTC(), orZero(finished)
			return d, err //nolint:wrapcheck // wrapped below
		})
		if err != nil {
			return fmt.Errorf("read deliveries: %w", err)
		}
		return readAttempts(ctx, tx, q.OrgID, list)
	})
	return list, err
}

func readAttempts(ctx context.Context, tx pgx.Tx, org string, list []event.Delivery) error {
	at, ids := make(map[string]*event.Delivery, len(list)), make([]string, len(list))
	for i := range list {
		at[list[i].ID], ids[i] = &list[i], list[i].ID
	}
	rows, err := tx.Query(ctx, `SELECT delivery_id, at, duration_ms, status_code, error, response FROM accounts.webhook_attempts
		WHERE org_id = $1 AND delivery_id = ANY($2) ORDER BY attempt_id`, org, ids)
	if err != nil {
		return fmt.Errorf("query attempts: %w", err)
	}
	var delivery string
	var ms int64
	var a event.Attempt
	_, err = pgx.ForEachRow(rows, []any{&delivery, &a.At, &ms, &a.Code, &a.Error, &a.Response}, func() error {
		a.At, a.Duration = a.At.UTC(), time.Duration(ms)*time.Millisecond
		at[delivery].Attempts = append(at[delivery].Attempts, a)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read attempts: %w", err)
	}
	return nil
}

// Replay implements [event.History].
func (s *Webhooks) Replay(ctx context.Context, r event.Replaying) (n int, err error) {
	err = s.db.InOrg(ctx, r.OrgID, func(tx pgx.Tx) error {
		if r.DeliveryID != "" {
			err := tx.QueryRow(ctx, `SELECT webhook_id FROM accounts.webhook_deliveries WHERE org_id = $1 AND delivery_id = $2`, r.OrgID, r.DeliveryID).
				Scan(&r.WebhookID)
			if err != nil {
				return missing(err, "read delivery", fault.New(fault.NotFound, "there is no such delivery"))
			}
		}
		w, err := oneWebhook(ctx, tx, ref{r.OrgID, r.WebhookID}, "FOR SHARE")
		if err != nil {
			return err
		}
		if !w.Enabled {
			return fault.New(fault.Conflict, "the webhook is disabled: enable it first")
		}
		of := asked{r.OrgID, "replays", replaysSince}
		if r.DeliveryID != "" {
			of = asked{r.OrgID, "replays of single deliveries", redeliveriesSince}
		}
		if err := withinQuota(ctx, tx, of, r.Quota); err != nil {
			return err
		}
		if n, err = again(ctx, tx, r, w); err != nil {
			return err
		}
		return writeAudit(ctx, tx, "accounts", r.Record(r.WebhookID, n))
	})
	return n, err
}

// again makes deliveries pending, and makes those that there are none of yet.
func again(ctx context.Context, tx pgx.Tx, r event.Replaying, w event.Webhook) (int, error) {
	if r.DeliveryID != "" {
		tag, err := tx.Exec(ctx, `UPDATE accounts.webhook_deliveries SET status = 'pending', attempts = 0, next_at = $3, error = '', finished_at = NULL
			WHERE org_id = $1 AND delivery_id = $2`, r.OrgID, r.DeliveryID, r.At)
		if err != nil {
			return 0, fmt.Errorf("replay delivery: %w", err)
		}
		return int(tag.RowsAffected()), nil
	}
	rows, err := tx.Query(ctx, `SELECT event_id FROM accounts.events WHERE org_id = $1 AND at >= $2 AND type <> $3
		AND ('*' = ANY($4) OR type = ANY($4) OR split_part(type, '.', 1) || '.*' = ANY($4)) ORDER BY event_id LIMIT $5`,
		r.OrgID, r.Since, event.TypeTest, w.Events, r.Most)
	if err != nil {
		return 0, fmt.Errorf("query events: %w", err)
	}
	var events, ids []string
	var eventID string
	_, err = pgx.ForEachRow(rows, []any{&eventID}, func() error {
		events, ids = append(events, eventID), append(ids, id.New(id.Delivery))
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("read events: %w", err)
	}
	tag, err := tx.Exec(ctx, `INSERT INTO accounts.webhook_deliveries (org_id, delivery_id, webhook_id, event_id, next_at, created_at)
		SELECT $1, q.delivery_id, $2, q.event_id, $3, $3 FROM unnest($4::text[], $5::text[]) AS q(delivery_id, event_id)
		ON CONFLICT (org_id, webhook_id, event_id) DO UPDATE SET status = 'pending', attempts = 0, next_at = excluded.next_at, error = '', finished_at = NULL`,
		r.OrgID, r.WebhookID, r.At, ids, events)
	if err != nil {
		return 0, fmt.Errorf("replay deliveries: %w", err)
	}
	return int(tag.RowsAffected()), nil
}
