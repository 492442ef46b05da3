package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/profile"
)

// Profiles keeps what people set for themselves in the schema accounts, under
// [RoleIdentity].
type Profiles struct{ db *DB }

// NewProfiles makes the store of profiles.
func NewProfiles(db *DB) *Profiles { return &Profiles{db: db} }

var _ profile.Store = (*Profiles)(nil)

// Profile implements [profile.Store].
func (s *Profiles) Profile(ctx context.Context, userID string) (p profile.Profile, err error) {
	err = s.db.AsUser(ctx, userID, func(tx pgx.Tx) error {
		p, err = readPerson(ctx, tx, userID)
		return err
	})
	return p, err
}

func readPerson(ctx context.Context, tx pgx.Tx, userID string) (profile.Profile, error) {
	p := profile.Profile{UserID: userID}
	err := tx.QueryRow(ctx, `
		SELECT u.email, u.email_verified_at IS NOT NULL, u.name, coalesce(f.time_zone, ''), coalesce(f.locale, ''), coalesce(f.unwanted, '{}'),
		       EXISTS (SELECT FROM accounts.totp t WHERE t.user_id = u.user_id AND t.confirmed_at IS NOT NULL)
		       OR EXISTS (SELECT FROM accounts.passkeys k WHERE k.user_id = u.user_id)
		  FROM accounts.users u LEFT JOIN accounts.profiles f ON f.user_id = u.user_id WHERE u.user_id = $1`, userID).
		Scan(&p.Email, &p.Verified, &p.Name, &p.TimeZone, &p.Locale, &p.Unwanted, &p.Factors)
	if err != nil {
		return p, missing(err, "read profile", fault.New(fault.NotFound, "there is no such person"))
	}
	return p, nil
}

// Organizations implements [profile.Store].
func (s *Profiles) Organizations(ctx context.Context, userID string, at time.Time) (list []profile.Membership, err error) {
	err = s.db.AsUser(ctx, userID, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			SELECT m.org_id, m.org_name, m.role, m.role_name
			  FROM accounts.sign_in_account('', $1, $2) a,
			       unnest(a.org_ids, a.org_names, a.roles, a.role_names) WITH ORDINALITY AS m(org_id, org_name, role, role_name, n)
			 ORDER BY m.n`, userID, at)
		if err != nil {
			return fmt.Errorf("query memberships: %w", err)
		}
		list, err = pgx.CollectRows(rows, pgx.RowToStructByPos[profile.Membership])
		return err //nolint:wrapcheck // translated by AsUser
	})
	return list, err
}

// Change implements [profile.Store].
func (s *Profiles) Change(ctx context.Context, org, userID string, edit func(profile.Profile) (profile.Profile, *audit.Record, error)) (p profile.Profile, err error) {
	err = s.db.AsUserIn(ctx, org, userID, func(tx pgx.Tx) error {
		// The row to lock may not be there yet.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('profile ' || $1))`, userID); err != nil {
			return fmt.Errorf("lock profile: %w", err)
		}
		before, err := readPerson(ctx, tx, userID)
		if err != nil {
			return err
		}
		next, rec, err := edit(before)
		if p = next; err != nil || rec == nil {
			return err
		}
		if err := writePerson(ctx, tx, next, rec.At); err != nil {
			return err
		}
		return writeAudit(ctx, tx, "accounts", *rec)
	})
	return p, err
}

func writePerson(ctx context.Context, tx pgx.Tx, p profile.Profile, at time.Time) error {
	if _, err := tx.Exec(ctx, `UPDATE accounts.users SET name = $2 WHERE user_id = $1 AND name <> $2`, p.UserID, p.Name); err != nil {
		return fmt.Errorf("write name: %w", err)
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO accounts.profiles (user_id, time_zone, locale, unwanted, updated_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (user_id) DO UPDATE SET time_zone = excluded.time_zone, locale = excluded.locale, unwanted = excluded.unwanted, updated_at = excluded.updated_at`,
		p.UserID, p.TimeZone, p.Locale, p.Unwanted, at)
	if err != nil {
		return fmt.Errorf("write profile: %w", err)
	}
	return nil
}
