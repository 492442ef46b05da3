package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/factor"
	"github.com/aiaas/aiaas/shared/fault"
)

// factorLock is the seed of the advisory locks that make the changes of one person's
// factors one after the other: two removals at once would each find another factor left.
const factorLock = 0x61696161730012

// Change implements [factor.Store].
func (s *Factors) Change(ctx context.Context, userID string, edit func(factor.State) (factor.Change, error)) error {
	return s.db.AsUser(ctx, userID, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1, $2))`, userID, int64(factorLock)); err != nil {
			return fmt.Errorf("lock factors: %w", err)
		}
		st, err := loadFactors(ctx, tx, userID)
		if err != nil {
			return err
		}
		c, err := edit(st)
		if err != nil {
			return err
		}
		if err := applyChange(ctx, tx, userID, c); err != nil {
			return err
		}
		return tellChange(ctx, tx, c)
	})
}

func applyChange(ctx context.Context, tx pgx.Tx, userID string, c factor.Change) error {
	for _, apply := range []func(context.Context, pgx.Tx, string, factor.Change) error{applyTOTP, applyPasskey, applyCodes} {
		if err := apply(ctx, tx, userID, c); err != nil {
			return err
		}
	}
	return nil
}

// statement is one statement of a change. Where it finds no row, and none is an error,
// it refuses.
type statement struct {
	sql  string
	args []any
	none *fault.Error
}

func runAll(ctx context.Context, tx pgx.Tx, list []statement) error {
	for _, st := range list {
		tag, err := tx.Exec(ctx, st.sql, st.args...)
		switch {
		case sqlState(err) == stateUnique:
			return fault.Wrap(fault.Conflict, "change factors", err)
		case err != nil:
			return fmt.Errorf("change factors: %w", err)
		case tag.RowsAffected() == 0 && st.none != nil:
			return st.none
		}
	}
	return nil
}

func applyTOTP(ctx context.Context, tx pgx.Tx, userID string, c factor.Change) error {
	var list []statement
	if c.RemoveTOTP {
		list = append(list, statement{sql: `DELETE FROM accounts.totp WHERE user_id = $1`, args: []any{userID}})
	}
	if t := c.Start; t != nil {
		list = append(list,
			statement{sql: `DELETE FROM accounts.totp WHERE user_id = $1 AND confirmed_at IS NULL`, args: []any{userID}},
			statement{
				sql:  `INSERT INTO accounts.totp (user_id, totp_id, secret, created_at) VALUES ($1, $2, $3, $4)`,
				args: []any{userID, t.ID, t.Secret, t.CreatedAt},
			})
	}
	if t := c.Confirm; t != nil {
		list = append(list,
			statement{sql: `DELETE FROM accounts.totp WHERE user_id = $1 AND confirmed_at IS NOT NULL`, args: []any{userID}},
			statement{
				sql:  `UPDATE accounts.totp SET confirmed_at = $3, last_step = $4 WHERE user_id = $1 AND totp_id = $2 AND confirmed_at IS NULL`,
				args: []any{userID, t.ID, t.At, t.Step},
				none: fault.New(fault.Conflict, "no authenticator app waits for its first code: begin anew"),
			})
	}
	return runAll(ctx, tx, list)
}

func applyPasskey(ctx context.Context, tx pgx.Tx, userID string, c factor.Change) error {
	var list []statement
	none := fault.New(fault.NotFound, "there is no such passkey")
	if c.RemovePasskey != "" {
		list = append(list, statement{
			sql: `DELETE FROM accounts.passkeys WHERE user_id = $1 AND passkey_id = $2`, args: []any{userID, c.RemovePasskey}, none: none,
		})
	}
	if k := c.RenamePasskey; k != nil {
		list = append(list, statement{
			sql: `UPDATE accounts.passkeys SET name = $3 WHERE user_id = $1 AND passkey_id = $2`, args: []any{userID, k.ID, k.Name}, none: none,
		})
	}
	if k := c.AddPasskey; k != nil {
		list = append(list, statement{
			sql: `INSERT INTO accounts.passkeys (user_id, passkey_id, name, rp_id, credential_id, record, sign_count, created_at)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (rp_id, credential_id) DO NOTHING`,
			args: []any{userID, k.ID, k.Name, k.RPID, k.CredentialID, k.Record, int64(k.SignCount), k.CreatedAt},
			none: fault.New(fault.Conflict, "this passkey is registered already"),
		})
	}
	return runAll(ctx, tx, list)
}

func applyCodes(ctx context.Context, tx pgx.Tx, userID string, c factor.Change) error {
	var list []statement
	if n := c.ReplaceCodes; n != nil {
		list = append(list,
			statement{sql: `DELETE FROM accounts.recovery_codes WHERE user_id = $1`, args: []any{userID}},
			statement{
				sql:  `INSERT INTO accounts.recovery_codes (user_id, hash, created_at) SELECT $1, h, $3 FROM unnest($2::bytea[]) h`,
				args: []any{userID, n.Hashes, n.At},
			})
	}
	if c.UseCode != nil {
		list = append(list, statement{
			sql:  `UPDATE accounts.recovery_codes SET used_at = $3 WHERE user_id = $1 AND hash = $2 AND used_at IS NULL`,
			args: []any{userID, c.UseCode, c.Audit.At},
			none: fault.New(fault.Unauthenticated, "The second factor was not accepted."),
		})
	}
	return runAll(ctx, tx, list)
}

// tellChange records a change in the audit of the organisation where it was made, and
// queues the mail about it.
func tellChange(ctx context.Context, tx pgx.Tx, c factor.Change) error {
	if c.Audit != nil && c.Audit.OrgID != "" {
		if err := auditIn(ctx, tx, *c.Audit); err != nil {
			return err
		}
	}
	if c.Note == nil {
		return nil
	}
	_, err := queueNote(ctx, tx, *c.Note)
	return err
}
