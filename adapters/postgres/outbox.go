package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/event"
	"github.com/aiaas/aiaas/shared/function"
)

// writeEvent adds the event that a record is, if it is one, to the schema's outbox,
// in the record's transaction.
func writeEvent(ctx context.Context, tx pgx.Tx, schema string, r audit.Record) error {
	e, ok, err := event.Of(r)
	if err != nil || !ok {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO `+pgx.Identifier{schema, "outbox"}.Sanitize()+`
		(org_id, event_id, type, at, object, payload) VALUES ($1, $2, $3, $4, $5, $6)`,
		e.OrgID, e.ID, e.Type, e.At, e.Object, string(e.Payload))
	if err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	return nil
}

// Outbox is the outbox of one schema. It works under [RoleNotifier].
type Outbox struct {
	db     *DB
	schema string
}

var _ event.Outbox = (*Outbox)(nil)

// NewOutbox returns the outbox of a service's schema.
func NewOutbox(db *DB, service function.Service) *Outbox {
	return &Outbox{db: db, schema: pgx.Identifier{string(service), "outbox"}.Sanitize()}
}

// Oldest implements [event.Outbox].
func (o *Outbox) Oldest(ctx context.Context, most int) ([]event.Event, error) {
	rows, err := o.db.pool.Query(ctx, `SELECT event_id, org_id, type, at, object, payload FROM `+o.schema+` ORDER BY seq LIMIT $1`, most)
	if err != nil {
		return nil, translate(err)
	}
	list, err := pgx.CollectRows(rows, scanEvent)
	return list, translate(err)
}

// Remove implements [event.Outbox].
func (o *Outbox) Remove(ctx context.Context, events []event.Event) error {
	orgs, ids := make([]string, len(events)), make([]string, len(events))
	for i, e := range events {
		orgs[i], ids[i] = e.OrgID, e.ID
	}
	_, err := o.db.pool.Exec(ctx, `DELETE FROM `+o.schema+` o USING unnest($1::text[], $2::text[]) AS e(org_id, event_id)
		WHERE o.org_id = e.org_id AND o.event_id = e.event_id`, orgs, ids)
	return translate(err)
}

func scanEvent(row pgx.CollectableRow) (event.Event, error) {
	var e event.Event
	var payload string
	err := row.Scan(&e.ID, &e.OrgID, &e.Type, &e.At, &e.Object, &payload)
	e.At, e.Payload = e.At.UTC(), []byte(payload)
	return e, err //nolint:wrapcheck // the caller translates
}
