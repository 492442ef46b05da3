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
	"github.com/aiaas/aiaas/shared/mail"
)

// Events is the log of events with the deliveries that are to be made, across
// organisations. It works under [RoleNotifier].
type Events struct {
	db    *DB
	mails *mail.Planner // nil: events are told to nobody by mail
}

var (
	_ event.Log   = (*Events)(nil)
	_ event.Queue = (*Events)(nil)
)

// NewEvents makes the log.
func NewEvents(db *DB) *Events { return &Events{db: db} }

// Telling makes published events be told by mail too.
func (s *Events) Telling(p *mail.Planner) *Events {
	s.mails = p
	return s
}

// Publish implements [event.Log]. Whoever publishes the same at once waits for the
// first to commit, and finds nothing left to do.
func (s *Events) Publish(ctx context.Context, events []event.Event, at time.Time) error {
	return s.db.Do(ctx, func(tx pgx.Tx) error {
		fresh, err := insertEvents(ctx, tx, events)
		if err != nil || len(fresh.events) == 0 {
			return err
		}
		if err := s.tell(ctx, tx, events, fresh, at); err != nil {
			return err
		}
		orgs, hooks, ids, err := takers(ctx, tx, fresh)
		if err != nil {
			return err
		}
		if err := dropClosed(ctx, tx, fresh, at); err != nil || len(ids) == 0 {
			return err
		}
		deliveries := make([]string, len(ids))
		for i := range deliveries {
			deliveries[i] = id.New(id.Delivery)
		}
		_, err = tx.Exec(ctx, `INSERT INTO accounts.webhook_deliveries (org_id, delivery_id, webhook_id, event_id, next_at, created_at)
			SELECT q.org_id, q.delivery_id, q.webhook_id, q.event_id, $5, $5
			FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS q(org_id, delivery_id, webhook_id, event_id)`, orgs, deliveries, hooks, ids, at)
		if err != nil {
			return fmt.Errorf("insert deliveries: %w", err)
		}
		return nil
	})
}

// freshEvents are those that the log did not have.
type freshEvents struct{ orgs, events, types, objects []string }

func insertEvents(ctx context.Context, tx pgx.Tx, events []event.Event) (out freshEvents, err error) {
	n := len(events)
	orgs, ids, types, objects, payloads := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	at := make([]time.Time, n)
	for i, e := range events {
		orgs[i], ids[i], types[i], objects[i], payloads[i], at[i] = e.OrgID, e.ID, e.Type, e.Object, string(e.Payload), e.At
	}
	rows, err := tx.Query(ctx, `
		WITH given AS (
		  SELECT CASE WHEN q.org_id = $7 THEN p.org_id ELSE q.org_id END AS org_id, q.event_id, q.type, q.at, q.object, q.payload
		    FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[]) AS q(org_id, event_id, type, at, object, payload)
		    LEFT JOIN (SELECT org_id FROM accounts.organizations WHERE kind = 'platform' ORDER BY created_at, org_id LIMIT 1) p ON true
		)
		INSERT INTO accounts.events (org_id, event_id, type, at, object, payload)
		SELECT org_id, event_id, type, at, object, payload FROM given WHERE org_id IS NOT NULL
		ON CONFLICT DO NOTHING
		RETURNING org_id, event_id, type, object`, orgs, ids, types, at, objects, payloads, audit.PlatformOrg)
	if err != nil {
		return out, fmt.Errorf("insert events: %w", err)
	}
	var org, eventID, name, object string
	_, err = pgx.ForEachRow(rows, []any{&org, &eventID, &name, &object}, func() error {
		out.orgs, out.events = append(out.orgs, org), append(out.events, eventID)
		out.types, out.objects = append(out.types, name), append(out.objects, object)
		return nil
	})
	if err != nil {
		return out, fmt.Errorf("insert events: %w", err)
	}
	return out, nil
}

// takers pairs events with the webhooks that take them, and keeps those from being
// disabled meanwhile: what is pending is given up then, which must find these too. A
// test goes to the webhook that it is about, whatever that takes. A closed
// organisation hears of its end, and of nothing else.
func takers(ctx context.Context, tx pgx.Tx, f freshEvents) (orgs, hooks, ids []string, err error) {
	rows, err := tx.Query(ctx, `
		SELECT w.org_id, w.webhook_id, q.event_id
		  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS q(org_id, event_id, type, object)
		  JOIN accounts.webhooks w ON w.org_id = q.org_id
		   AND CASE WHEN q.type = $5 THEN w.webhook_id = q.object
		       ELSE w.enabled AND ('*' = ANY(w.events) OR q.type = ANY(w.events) OR split_part(q.type, '.', 1) || '.*' = ANY(w.events)) END
		  JOIN accounts.organizations o ON o.org_id = q.org_id AND (o.status <> 'closed' OR q.type IN ($6, $7))
		 ORDER BY w.org_id, w.webhook_id, q.event_id FOR SHARE OF w`,
		f.orgs, f.events, f.types, f.objects, event.TypeTest, event.TypeSuspended, event.TypeClosed)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("query webhooks: %w", err)
	}
	var org, hook, eventID string
	_, err = pgx.ForEachRow(rows, []any{&org, &hook, &eventID}, func() error {
		orgs, hooks, ids = append(orgs, org), append(hooks, hook), append(ids, eventID)
		return nil
	})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("read webhooks: %w", err)
	}
	return orgs, hooks, ids, nil
}

// dropClosed gives up what waits of organisations whose end is told.
func dropClosed(ctx context.Context, tx pgx.Tx, f freshEvents, at time.Time) error {
	var closed []string
	for i, kind := range f.types {
		if kind == event.TypeClosed {
			closed = append(closed, f.orgs[i])
		}
	}
	if len(closed) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, `UPDATE accounts.webhook_deliveries SET status = 'failed', error = $2, finished_at = $3
		WHERE org_id = ANY($1) AND status = 'pending'`, closed, event.WhyClosed, at)
	if err != nil {
		return fmt.Errorf("give up deliveries of closed organisations: %w", err)
	}
	return nil
}

// Prune implements [event.Log].
func (s *Events) Prune(ctx context.Context, before time.Time, most int) (int, error) {
	tag, err := s.db.pool.Exec(ctx, `DELETE FROM accounts.events e USING (
		SELECT x.org_id, x.event_id FROM accounts.events x WHERE x.at < $1
		   AND NOT EXISTS (SELECT FROM accounts.organizations o WHERE o.org_id = x.org_id AND o.legal_hold) ORDER BY x.at LIMIT $2) old
		WHERE e.org_id = old.org_id AND e.event_id = old.event_id`, before, most)
	return int(tag.RowsAffected()), translate(err)
}

// Abandon implements [event.Log].
func (s *Events) Abandon(ctx context.Context, before, at time.Time, most int) (int, error) {
	tag, err := s.db.pool.Exec(ctx, `UPDATE accounts.webhook_deliveries d SET status = 'failed', finished_at = $2,
		       error = CASE old.status WHEN 'closed' THEN $4 ELSE $5 END
		  FROM (SELECT x.org_id, x.delivery_id, o.status FROM accounts.organizations o JOIN accounts.webhook_deliveries x ON x.org_id = o.org_id
		         WHERE o.status NOT IN ('active', 'trial') AND x.status = 'pending' AND x.next_at < $1 LIMIT $3 FOR UPDATE OF x SKIP LOCKED) old
		 WHERE d.org_id = old.org_id AND d.delivery_id = old.delivery_id`, before, at, most, event.WhyClosed, event.WhySuspended)
	return int(tag.RowsAffected()), translate(err)
}

// leaseSQL walks from webhook to webhook along the index of what is pending, so that
// its cost depends on how many have something pending, not on how much that is. Of
// each it takes what is due, at most so many that four are under way, or one where
// the last attempt failed or was slow. An organisation that is not served hears only
// that it is not.
//
// Turns are what makes it fair: the first delivery of everybody who has none under
// way comes before anybody's second, however long that has waited; nobody has more
// turns than $4.
const leaseSQL = `
WITH RECURSIVE hooks AS (
  (SELECT org_id, webhook_id FROM accounts.webhook_deliveries WHERE status = 'pending' ORDER BY org_id, webhook_id LIMIT 1)
  UNION ALL
  SELECT n.org_id, n.webhook_id FROM hooks h, LATERAL (
    SELECT org_id, webhook_id FROM accounts.webhook_deliveries d
     WHERE status = 'pending' AND (d.org_id, d.webhook_id) > (h.org_id, h.webhook_id) ORDER BY org_id, webhook_id LIMIT 1) n
), busy AS (
  SELECT org_id, webhook_id, count(*) AS n FROM accounts.webhook_deliveries
   WHERE status = 'pending' AND leased_until IS NOT NULL AND leased_until > $1 GROUP BY org_id, webhook_id
), taken AS (
  SELECT org_id, sum(n) AS n FROM busy GROUP BY org_id
), found AS (
  SELECT d.org_id, d.delivery_id, d.next_at, coalesce(b.n, 0) + row_number() OVER (PARTITION BY h.org_id, h.webhook_id ORDER BY d.next_at) AS turn
    FROM hooks h
    JOIN accounts.webhooks w ON w.org_id = h.org_id AND w.webhook_id = h.webhook_id
    JOIN accounts.organizations o ON o.org_id = h.org_id
    LEFT JOIN busy b ON b.org_id = h.org_id AND b.webhook_id = h.webhook_id
    CROSS JOIN LATERAL (
      SELECT greatest(CASE WHEN w.failing_since IS NULL AND NOT w.slow THEN 4 ELSE 1 END - coalesce(b.n, 0), 0) AS n) room
    CROSS JOIN LATERAL (
      (SELECT d.org_id, d.delivery_id, d.next_at FROM accounts.webhook_deliveries d
        WHERE o.status IN ('active', 'trial') AND d.org_id = h.org_id AND d.webhook_id = h.webhook_id AND d.status = 'pending' AND d.next_at <= $1
        ORDER BY d.next_at LIMIT room.n)
      UNION ALL
      (SELECT d.org_id, d.delivery_id, d.next_at FROM accounts.events e
         JOIN accounts.webhook_deliveries d ON d.org_id = e.org_id AND d.event_id = e.event_id
        WHERE o.status NOT IN ('active', 'trial') AND e.org_id = h.org_id AND e.type IN ('organization.suspended', 'organization.closed')
          AND d.webhook_id = h.webhook_id AND d.status = 'pending' AND d.next_at <= $1
        ORDER BY d.next_at LIMIT room.n)) d
), turns AS (
  SELECT f.org_id, f.delivery_id, f.next_at, coalesce(t.n, 0) + row_number() OVER (PARTITION BY f.org_id ORDER BY f.turn, f.next_at) AS turn
    FROM found f LEFT JOIN taken t USING (org_id)
), due AS (
  SELECT org_id, delivery_id FROM turns WHERE turn <= $4 ORDER BY turn, next_at LIMIT $3
), mine AS (
  SELECT l.org_id, l.delivery_id FROM accounts.webhook_deliveries l JOIN due USING (org_id, delivery_id)
   WHERE l.status = 'pending' AND l.next_at <= $1 FOR UPDATE OF l SKIP LOCKED
)
UPDATE accounts.webhook_deliveries d SET attempts = d.attempts + 1, next_at = $2, leased_until = $2
  FROM mine, accounts.webhooks w, accounts.events e
 WHERE d.org_id = mine.org_id AND d.delivery_id = mine.delivery_id
   AND w.org_id = d.org_id AND w.webhook_id = d.webhook_id AND e.org_id = d.org_id AND e.event_id = d.event_id
RETURNING d.org_id, d.delivery_id, d.webhook_id, d.event_id, w.url, w.secret, w.old_secret, w.old_until, e.payload, d.attempts`

// leaseLock is the advisory lock under which leases are taken: two who count at once
// what is under way would each fill it.
const leaseLock = 0x61696161730006

// Lease implements [event.Queue].
func (s *Events) Lease(ctx context.Context, l event.Leasing) (list []event.Lease, err error) {
	err = s.db.Do(ctx, func(tx pgx.Tx) error {
		// A lease that a crash of the database forgets is taken again: nothing waits for the disk.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1), set_config('synchronous_commit', 'off', true)`, int64(leaseLock)); err != nil {
			return fmt.Errorf("lock leases: %w", err)
		}
		rows, err := tx.Query(ctx, leaseSQL, l.At, l.Until, l.Most, l.MostOfOne)
		if err != nil {
			return fmt.Errorf("lease deliveries: %w", err)
		}
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (event.Lease, error) {
			got := event.Lease{Until: l.Until}
			var payload string
			var old *time.Time
			err := row.Scan(&got.OrgID, &got.DeliveryID, &got.WebhookID, &got.EventID, &got.URL, &got.Secret, &got.OldSecret, &old, &payload, &got.Try)
			got.Payload, got.OldUntil = []byte(payload), orZero(old)
			return got, err //nolint:wrapcheck // wrapped below
		})
		if err != nil {
			return fmt.Errorf("lease deliveries: %w", err)
		}
		return nil
	})
	return list, err
}

// Settle implements [event.Queue].
func (s *Events) Settle(ctx context.Context, st event.Settlement) (more bool, err error) {
	err = s.db.Do(ctx, func(tx pgx.Tx) error {
		before, err := oneWebhook(ctx, tx, ref{st.OrgID, st.WebhookID}, "FOR NO KEY UPDATE")
		if fault.Is(err, fault.NotFound) { // deleted meanwhile, and its deliveries with it
			return nil
		}
		if err != nil {
			return err
		}
		if more, err = settleDelivery(ctx, tx, st); err != nil {
			return err
		}
		return settleWebhook(ctx, tx, st, before)
	})
	return more, err
}

// moreSQL tells whether any webhook of an organisation has something due.
const moreSQL = `SELECT EXISTS (SELECT FROM accounts.webhooks w WHERE w.org_id = $1 AND EXISTS (
	SELECT FROM accounts.webhook_deliveries d WHERE d.org_id = w.org_id AND d.webhook_id = w.webhook_id AND d.status = 'pending' AND d.next_at <= $2))`

// settleDelivery tells whether the organisation has more that is due.
func settleDelivery(ctx context.Context, tx pgx.Tx, st event.Settlement) (more bool, err error) {
	var finished *time.Time
	next := st.NextAt
	if st.Status != event.Pending {
		finished, next = &st.At, st.At
	}
	b := &pgx.Batch{}
	b.Queue(`INSERT INTO accounts.webhook_attempts (org_id, attempt_id, delivery_id, at, duration_ms, status_code, error, response)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, st.OrgID, st.AttemptID, st.DeliveryID, st.Attempt.At, st.Attempt.Duration.Milliseconds(),
		st.Attempt.Code, st.Attempt.Error, st.Attempt.Response)
	b.Queue(`UPDATE accounts.webhook_deliveries SET status = $4, next_at = $5, leased_until = NULL, error = $6, finished_at = $7
		WHERE org_id = $1 AND delivery_id = $2 AND status = 'pending' AND leased_until = $3 AND next_at = $3`,
		st.OrgID, st.DeliveryID, st.Until, st.Status, next, st.Error, finished)
	b.Queue(`UPDATE accounts.webhooks SET slow = $3 WHERE org_id = $1 AND webhook_id = $2 AND slow <> $3`, st.OrgID, st.WebhookID, st.Slow)
	b.Queue(moreSQL, st.OrgID, st.At).QueryRow(func(row pgx.Row) error {
		return row.Scan(&more)
	})
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return false, fmt.Errorf("settle delivery: %w", err)
	}
	return more, nil
}

// settleWebhook notes how the webhook does with this attempt, and gives it up where
// that is enough.
func settleWebhook(ctx context.Context, tx pgx.Tx, st event.Settlement, w event.Webhook) error {
	before, after := event.Health{FailingSince: w.FailingSince, Failures: w.Failures}, event.Health{}
	if st.Status != event.Succeeded {
		after = event.Health{FailingSince: before.FailingSince, Failures: before.Failures + 1}
		if after.FailingSince.IsZero() {
			after.FailingSince = st.At
		}
	}
	if after == before {
		return nil
	}
	why := st.GiveUp(after)
	_, err := tx.Exec(ctx, `UPDATE accounts.webhooks SET failing_since = $3, failures = $4 WHERE org_id = $1 AND webhook_id = $2`,
		st.OrgID, st.WebhookID, orNull(after.FailingSince), after.Failures)
	if err != nil {
		return fmt.Errorf("note health of webhook: %w", err)
	}
	if why == "" || !w.Enabled {
		return nil
	}
	_, err = tx.Exec(ctx, `UPDATE accounts.webhooks SET enabled = false, disabled_why = $3, updated_at = $4 WHERE org_id = $1 AND webhook_id = $2`,
		st.OrgID, st.WebhookID, why, st.At)
	if err != nil {
		return fmt.Errorf("disable webhook: %w", err)
	}
	if err := dropPending(ctx, tx, event.Webhook{OrgID: st.OrgID, ID: st.WebhookID, UpdatedAt: st.At}, why); err != nil {
		return err
	}
	return writeAudit(ctx, tx, "accounts", st.Record(why))
}
