package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/member"
	"github.com/aiaas/aiaas/shared/signin"
)

// SignIns keeps what signing in needs, in the schema accounts under [RoleIdentity].
type SignIns struct{ db *DB }

// NewSignIns makes the store.
func NewSignIns(db *DB) *SignIns { return &SignIns{db: db} }

var (
	_ signin.Store         = (*SignIns)(nil)
	_ signin.Challenges    = (*SignIns)(nil)
	_ signin.PasswordStore = (*SignIns)(nil)
	_ signin.LinkStore     = (*SignIns)(nil)
)

// ByEmail implements [signin.Store].
func (s *SignIns) ByEmail(ctx context.Context, email string, now time.Time) (signin.Account, error) {
	return findAccount(ctx, s.db.pool, email, "", now)
}

// ByID implements [signin.Store].
func (s *SignIns) ByID(ctx context.Context, userID string, now time.Time) (signin.Account, error) {
	return findAccount(ctx, s.db.pool, "", userID, now)
}

type rowQuerier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func findAccount(ctx context.Context, q rowQuerier, email, userID string, now time.Time) (signin.Account, error) {
	var a signin.Account
	var orgIDs, orgNames, names, roles, roleNames []string
	var settings [][]byte
	var passwordAt *time.Time
	err := q.QueryRow(ctx, `
		SELECT user_id, email, phc, password_at, last_organization, org_ids, org_names, names, roles, role_names, settings::text[]::bytea[]
		  FROM accounts.sign_in_account($1, $2, $3)`, email, userID, now).Scan(
		&a.UserID, &a.Email, &a.PHC, &passwordAt, &a.LastOrg, &orgIDs, &orgNames, &names, &roles, &roleNames, &settings)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return signin.Account{}, nil
	case err != nil:
		return signin.Account{}, translate(fmt.Errorf("find person: %w", err))
	}
	a.PasswordAt = moment(passwordAt)
	for i := range orgIDs {
		set, err := toSettings(settings[i])
		if err != nil {
			return signin.Account{}, err
		}
		role := member.RoleOf(roles[i])
		a.Places = append(a.Places, signin.Place{
			OrgID: orgIDs[i], OrgName: orgNames[i], Name: names[i], Role: role, RoleID: roles[i], RoleName: roleNames[i],
			MFAForced: authz.MFAForced(role, set.MFARoles),
		})
	}
	return a, nil
}

// Renew implements [signin.Store].
func (s *SignIns) Renew(ctx context.Context, userID, old, fresh string) error {
	return s.db.AsUser(ctx, userID, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE accounts.passwords SET phc = $3 WHERE user_id = $1 AND phc = $2`, userID, old, fresh); err != nil {
			return fmt.Errorf("renew password hash: %w", err)
		}
		return nil
	})
}

// Entered implements [signin.Store].
func (s *SignIns) Entered(ctx context.Context, userID, orgID string, note *mail.Note) error {
	return s.db.AsUser(ctx, userID, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE accounts.users SET last_organization = $2 WHERE user_id = $1 AND last_organization IS DISTINCT FROM $2`, userID, orgID)
		if err != nil {
			return fmt.Errorf("remember organisation: %w", err)
		}
		if note == nil {
			return nil
		}
		_, err = queueNote(ctx, tx, *note)
		return err
	})
}

// Ask implements [signin.Challenges].
func (s *SignIns) Ask(ctx context.Context, o signin.Open) error {
	return s.db.AsUser(ctx, o.UserID, func(tx pgx.Tx) error { return keepChallenge(ctx, tx, o) })
}

func keepChallenge(ctx context.Context, tx pgx.Tx, o signin.Open) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO accounts.sign_in_challenges (hash, user_id, purpose, detail, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)`,
		o.Hash[:], o.UserID, o.Purpose, []byte(o.Detail), o.CreatedAt, o.ExpiresAt)
	if err != nil {
		return fmt.Errorf("keep challenge: %w", err)
	}
	return nil
}

// Asked implements [signin.Challenges].
func (s *SignIns) Asked(ctx context.Context, h signin.Hash, p signin.Purpose, most int, now time.Time) (string, error) {
	var userID *string
	err := s.db.pool.QueryRow(ctx, `SELECT accounts.challenge_owner($1, $2, $3, $4)`, h[:], p, most, now).Scan(&userID)
	return owner(userID, err, "find challenge")
}

// owner is whose something is that was looked up by its hash.
func owner(userID *string, err error, attempted string) (string, error) {
	switch {
	case err != nil:
		return "", translate(fmt.Errorf("%s: %w", attempted, err))
	case userID == nil:
		return "", fault.New(fault.NotFound, "")
	}
	return *userID, nil
}

// Try implements [signin.Challenges], in one statement.
func (s *SignIns) Try(ctx context.Context, h signin.Hash, p signin.Purpose, most int, now time.Time) (userID string, detail json.RawMessage, err error) {
	err = s.db.pool.QueryRow(ctx, `SELECT user_id, detail FROM accounts.try_challenge($1, $2, $3, $4)`, h[:], p, most, now).Scan(&userID, &detail)
	if err != nil {
		return "", nil, translate(fmt.Errorf("try challenge: %w", err))
	}
	return userID, detail, nil
}

// Meet implements [signin.Challenges], in one statement.
func (s *SignIns) Meet(ctx context.Context, userID string, h signin.Hash, now time.Time) (met bool, err error) {
	err = s.db.AsUser(ctx, userID, func(tx pgx.Tx) error {
		met, err = meet(ctx, tx, userID, h, now)
		return err
	})
	return met, err
}

func meet(ctx context.Context, tx pgx.Tx, userID string, h signin.Hash, now time.Time) (bool, error) {
	tag, err := tx.Exec(ctx, `
		UPDATE accounts.sign_in_challenges SET used_at = $3, detail = '{}'
		 WHERE hash = $2 AND user_id = $1 AND used_at IS NULL AND expires_at > $3`, userID, h[:], now)
	if err != nil {
		return false, fmt.Errorf("meet challenge: %w", err)
	}
	return tag.RowsAffected() == 1, nil
}
