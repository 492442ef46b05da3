package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/mail"
)

// queueNote queues a mail to a person, in the transaction of what it tells, under
// [RoleIdentity] or [RoleAccounts]. It reports whether the person is a member of the
// organisation that the note names, or of any where it names none: somebody who is
// nowhere gets no mail.
func queueNote(ctx context.Context, tx pgx.Tx, n mail.Note) (queued bool, err error) {
	err = tx.QueryRow(ctx, `SELECT accounts.queue_note($1, $2, $3, $4, $5::jsonb, $6, $7)`,
		n.ID, n.OrgID, n.UserID, string(n.Kind), []byte(n.Content), n.Sealed, n.At).Scan(&queued)
	if err != nil {
		return false, fmt.Errorf("queue mail: %w", err)
	}
	return queued, nil
}
