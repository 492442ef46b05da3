package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/mail"
)

// QueueNote lets tests queue a mail to a person.
func QueueNote(ctx context.Context, tx pgx.Tx, n mail.Note) (bool, error) {
	return queueNote(ctx, tx, n)
}
