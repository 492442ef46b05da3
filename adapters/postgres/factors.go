package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/factor"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/tenant"
)

// Factors keeps people's second factors in the schema accounts. It works under
// [RoleIdentity].
type Factors struct{ db *DB }

// NewFactors makes the store of second factors.
func NewFactors(db *DB) *Factors { return &Factors{db: db} }

var _ factor.Store = (*Factors)(nil)

// Load implements [factor.Store]. NotFound where there is no such person.
func (s *Factors) Load(ctx context.Context, userID string) (st factor.State, err error) {
	err = s.db.AsUser(ctx, userID, func(tx pgx.Tx) error {
		st, err = loadFactors(ctx, tx, userID)
		return err
	})
	return st, err
}

func loadFactors(ctx context.Context, tx pgx.Tx, userID string) (factor.State, error) {
	st := factor.State{UserID: userID}
	if err := tx.QueryRow(ctx, `SELECT email FROM accounts.users WHERE user_id = $1`, userID).Scan(&st.Email); err != nil {
		return st, missing(err, "read person", fault.New(fault.NotFound, "there is no such person"))
	}
	for _, load := range []func(context.Context, pgx.Tx, *factor.State) error{loadApps, loadPasskeys, loadCodes, loadMemberships} {
		if err := load(ctx, tx, &st); err != nil {
			return st, err
		}
	}
	return st, nil
}

func loadApps(ctx context.Context, tx pgx.Tx, st *factor.State) error {
	rows, err := tx.Query(ctx, `SELECT totp_id, secret, created_at, confirmed_at, last_step FROM accounts.totp WHERE user_id = $1`, st.UserID)
	if err != nil {
		return fmt.Errorf("query apps: %w", err)
	}
	apps, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t factor.TOTP, err error) {
		var confirmed *time.Time
		err = row.Scan(&t.ID, &t.Secret, &t.CreatedAt, &confirmed, &t.LastStep)
		t.CreatedAt, t.ConfirmedAt = t.CreatedAt.UTC(), orZero(confirmed)
		return t, err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return fmt.Errorf("read apps: %w", err)
	}
	for _, t := range apps {
		if t.ConfirmedAt.IsZero() {
			st.Pending = &t
			continue
		}
		st.TOTP = &t
	}
	return nil
}

func loadPasskeys(ctx context.Context, tx pgx.Tx, st *factor.State) error {
	rows, err := tx.Query(ctx, `
		SELECT passkey_id, name, rp_id, credential_id, record, sign_count, created_at, last_used_at
		  FROM accounts.passkeys WHERE user_id = $1 ORDER BY passkey_id`, st.UserID)
	if err != nil {
		return fmt.Errorf("query passkeys: %w", err)
	}
	st.Passkeys, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (k factor.Passkey, err error) {
		var used *time.Time
		err = row.Scan(&k.ID, &k.Name, &k.RPID, &k.CredentialID, &k.Record, &k.SignCount, &k.CreatedAt, &used)
		k.CreatedAt, k.LastUsedAt = k.CreatedAt.UTC(), orZero(used)
		return k, err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return fmt.Errorf("read passkeys: %w", err)
	}
	return nil
}

func loadCodes(ctx context.Context, tx pgx.Tx, st *factor.State) error {
	var made *time.Time
	err := tx.QueryRow(ctx, `SELECT count(*) FILTER (WHERE used_at IS NULL), max(created_at) FROM accounts.recovery_codes WHERE user_id = $1`,
		st.UserID).Scan(&st.Codes.Left, &made)
	if err != nil {
		return fmt.Errorf("count recovery codes: %w", err)
	}
	st.Codes.CreatedAt = orZero(made)
	return nil
}

// loadMemberships reads also those that are suspended: they may be active again.
func loadMemberships(ctx context.Context, tx pgx.Tx, st *factor.State) error {
	rows, err := tx.Query(ctx, `
		SELECT m.org_id, o.name, CASE WHEN m.role LIKE 'role\_%' THEN 'custom' ELSE m.role END, o.settings, m.created_at
		  FROM accounts.members m JOIN accounts.organizations o ON o.org_id = m.org_id
		 WHERE m.user_id = $1 ORDER BY m.created_at, m.org_id`, st.UserID)
	if err != nil {
		return fmt.Errorf("query memberships: %w", err)
	}
	st.Memberships, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (m factor.Membership, err error) {
		var role string
		var settings []byte
		if err := row.Scan(&m.OrgID, &m.Name, &role, &settings, &m.Since); err != nil {
			return m, err //nolint:wrapcheck // wrapped below
		}
		var its tenant.Settings
		if err := json.Unmarshal(settings, &its); err != nil {
			return m, fmt.Errorf("read settings of %s: %w", m.OrgID, err)
		}
		m.Role, m.MFARoles, m.Since = authz.Role(role), its.MFARoles, m.Since.UTC()
		return m, nil
	})
	if err != nil {
		return fmt.Errorf("read memberships: %w", err)
	}
	return nil
}

// UseStep implements [factor.Store].
func (s *Factors) UseStep(ctx context.Context, userID, totpID string, step int64) (used bool, err error) {
	return s.one(ctx, userID, `
		UPDATE accounts.totp SET last_step = $3 WHERE user_id = $1 AND totp_id = $2 AND confirmed_at IS NOT NULL AND last_step < $3`,
		userID, totpID, step)
}

// UsePasskey implements [factor.Store].
func (s *Factors) UsePasskey(ctx context.Context, userID string, u factor.Used) (bool, error) {
	return s.one(ctx, userID, `
		UPDATE accounts.passkeys SET sign_count = $3, record = $4, last_used_at = $5
		 WHERE user_id = $1 AND passkey_id = $2 AND (sign_count < $3 OR (sign_count = 0 AND $3 = 0))`,
		userID, u.PasskeyID, int64(u.SignCount), u.Record, u.At)
}

// one runs a statement for a person, and reports whether it changed a row.
func (s *Factors) one(ctx context.Context, userID, sql string, args ...any) (changed bool, err error) {
	err = s.db.AsUser(ctx, userID, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, sql, args...)
		if err != nil {
			return fmt.Errorf("use factor: %w", err)
		}
		changed = tag.RowsAffected() == 1
		return nil
	})
	return changed && err == nil, err
}

// KeepCeremony implements [factor.Store].
func (s *Factors) KeepCeremony(ctx context.Context, c factor.Ceremony) error {
	return s.as(ctx, c.UserID, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO accounts.ceremonies (ceremony_id, user_id, purpose, state, created_at, expires_at) VALUES ($1, nullif($2, ''), $3, $4, $5, $6)`,
			c.ID, c.UserID, c.Purpose, c.State, c.CreatedAt, c.ExpiresAt)
		if err != nil {
			return fmt.Errorf("insert ceremony: %w", err)
		}
		return nil
	})
}

// TakeCeremony implements [factor.Store].
func (s *Factors) TakeCeremony(ctx context.Context, c factor.Ceremony, now time.Time) (taken factor.Ceremony, err error) {
	err = s.as(ctx, c.UserID, func(tx pgx.Tx) error {
		taken = c
		err := tx.QueryRow(ctx, `
			DELETE FROM accounts.ceremonies
			 WHERE ceremony_id = $1 AND purpose = $2 AND user_id IS NOT DISTINCT FROM nullif($3, '') AND expires_at > $4
			RETURNING state, created_at, expires_at`, c.ID, c.Purpose, c.UserID, now).Scan(&taken.State, &taken.CreatedAt, &taken.ExpiresAt)
		if err != nil {
			return missing(err, "take ceremony", fault.New(fault.NotFound, "there is no such ceremony"))
		}
		return nil
	})
	return taken, err
}

// as runs f for a person, or for nobody yet.
func (s *Factors) as(ctx context.Context, userID string, f func(pgx.Tx) error) error {
	if userID == "" {
		return s.db.Do(ctx, f)
	}
	return s.db.AsUser(ctx, userID, f)
}

// forgetBatch bounds one deletion.
const forgetBatch = 1000

// Forget removes ceremonies that have expired, and enrolments that nobody went on with
// for so long; it returns how many.
func (s *Factors) Forget(ctx context.Context, now time.Time, enrolFor time.Duration) (n int, err error) {
	for {
		var batch int
		err := s.db.Do(ctx, func(tx pgx.Tx) error {
			return tx.QueryRow(ctx, `SELECT accounts.forget_enrolments($1, $2, $3)`, now, now.Add(-enrolFor), forgetBatch).Scan(&batch)
		})
		if err != nil {
			return n, fmt.Errorf("forget enrolments: %w", err)
		}
		n += batch
		if batch < forgetBatch {
			return n, nil
		}
	}
}
