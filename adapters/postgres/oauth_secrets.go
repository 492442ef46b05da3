package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/member"
	"github.com/aiaas/aiaas/shared/oauth"
)

// ClientSecrets keeps the client secrets of service accounts, under [RoleAccounts].
type ClientSecrets struct{ db *DB }

var _ oauth.SecretStore = (*ClientSecrets)(nil)

// NewClientSecrets makes the store of client secrets.
func NewClientSecrets(db *DB) *ClientSecrets { return &ClientSecrets{db: db} }

// account reads a service account as a change of its secrets is decided on.
func account(ctx context.Context, tx pgx.Tx, r ref) (oauth.Account, error) {
	var a oauth.Account
	if member.KindOf(r.id) != member.Program { // people have passwords
		return a, oauth.ErrNoAccount()
	}
	people, err := standings(ctx, tx, r.org, []string{r.id})
	if err != nil {
		return a, err
	}
	s, known := people[r.id]
	if !known {
		return a, oauth.ErrNoAccount()
	}
	a.Subject = s.Subject
	err = tx.QueryRow(ctx, `SELECT count(*) FROM accounts.client_secrets WHERE org_id = $1 AND account_id = $2`, r.org, r.id).Scan(&a.Secrets)
	if err != nil {
		return a, fmt.Errorf("count client secrets: %w", err)
	}
	return a, nil
}

// AddSecret implements [oauth.SecretStore].
func (s *ClientSecrets) AddSecret(ctx context.Context, made oauth.Secret, hash []byte, decide func(oauth.Account) (audit.Record, error)) error {
	return s.db.InOrg(ctx, made.OrgID, func(tx pgx.Tx) error {
		if _, err := lockOrg(ctx, tx, made.OrgID); err != nil { // the account's role stays what it is, and so does the number
			return err
		}
		a, err := account(ctx, tx, ref{made.OrgID, made.AccountID})
		if err != nil {
			return err
		}
		rec, err := decide(a)
		if err != nil {
			return err
		}
		seen, err := witnesses(ctx, tx, made.OrgID, credential{id: made.By, owners: made.SeenBy, at: made.CreatedAt})
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			INSERT INTO accounts.client_secrets (org_id, secret_id, account_id, hash, hint, created_by, seen_by, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, made.OrgID, made.ID, made.AccountID, hash, made.Hint, made.CreatedBy, seen, made.CreatedAt)
		if err != nil {
			return fmt.Errorf("insert client secret: %w", err)
		}
		return writeAudit(ctx, tx, "accounts", rec)
	})
}

// Secrets implements [oauth.SecretStore].
func (s *ClientSecrets) Secrets(ctx context.Context, org, accountID string) (list []oauth.Secret, a oauth.Account, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		if a, err = account(ctx, tx, ref{org, accountID}); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `
			SELECT org_id, secret_id, account_id, hint, created_by, seen_by, created_at, last_used_at
			  FROM accounts.client_secrets WHERE org_id = $1 AND account_id = $2 ORDER BY secret_id`, org, accountID)
		if err != nil {
			return fmt.Errorf("query client secrets: %w", err)
		}
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c oauth.Secret, err error) {
			var used *time.Time
			err = row.Scan(&c.OrgID, &c.ID, &c.AccountID, &c.Hint, &c.CreatedBy, &c.SeenBy, &c.CreatedAt, &used)
			c.CreatedAt, c.LastUsedAt = c.CreatedAt.UTC(), orZero(used)
			return c, err //nolint:wrapcheck // translated by InOrg
		})
		return err //nolint:wrapcheck // translated by InOrg
	})
	return list, a, err
}

// DeleteSecret implements [oauth.SecretStore].
func (s *ClientSecrets) DeleteSecret(ctx context.Context, gone oauth.Secret, decide func(oauth.Account) (audit.Record, error)) error {
	return s.db.InOrg(ctx, gone.OrgID, func(tx pgx.Tx) error {
		a, err := account(ctx, tx, ref{gone.OrgID, gone.AccountID})
		if err != nil {
			return err
		}
		rec, err := decide(a)
		if err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `DELETE FROM accounts.client_secrets WHERE org_id = $1 AND account_id = $2 AND secret_id = $3`, gone.OrgID, gone.AccountID, gone.ID)
		switch {
		case err != nil:
			return fmt.Errorf("delete client secret: %w", err)
		case tag.RowsAffected() == 0:
			return fault.New(fault.NotFound, "the service account has no such client secret")
		}
		return writeAudit(ctx, tx, "accounts", rec)
	})
}
