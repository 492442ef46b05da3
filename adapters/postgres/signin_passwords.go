package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/signin"
)

// Request implements [signin.PasswordStore].
func (s *SignIns) Request(ctx context.Context, r signin.Request) error {
	_, err := s.db.pool.Exec(ctx, `INSERT INTO accounts.reset_requests (request_id, email, address, at) VALUES ($1, $2, $3, $4)`, r.ID, r.Email, r.Address, r.At)
	if err != nil {
		return translate(fmt.Errorf("keep request for a link: %w", err))
	}
	return nil
}

// Owner implements [signin.PasswordStore].
func (s *SignIns) Owner(ctx context.Context, link signin.Hash, now time.Time) (string, error) {
	var userID *string
	err := s.db.pool.QueryRow(ctx, `SELECT accounts.reset_owner($1, $2)`, link[:], now).Scan(&userID)
	return owner(userID, err, "find link")
}

// useLink uses a link up, in one statement.
func useLink(ctx context.Context, tx pgx.Tx, userID string, link signin.Hash, now time.Time) (bool, error) {
	tag, err := tx.Exec(ctx, `DELETE FROM accounts.reset_tokens WHERE hash = $2 AND user_id = $1 AND expires_at > $3`, userID, link[:], now)
	if err != nil {
		return false, fmt.Errorf("use link: %w", err)
	}
	return tag.RowsAffected() == 1, nil
}

// Exchange implements [signin.PasswordStore].
func (s *SignIns) Exchange(ctx context.Context, link signin.Hash, o signin.Open, now time.Time) (done bool, err error) {
	err = s.db.AsUser(ctx, o.UserID, func(tx pgx.Tx) error {
		if done, err = useLink(ctx, tx, o.UserID, link, now); err != nil || !done {
			return err
		}
		return keepChallenge(ctx, tx, o)
	})
	return done && err == nil, err
}

// Set implements [signin.PasswordStore].
func (s *SignIns) Set(ctx context.Context, set signin.Setting) (done bool, err error) {
	err = s.db.AsUser(ctx, set.UserID, func(tx pgx.Tx) error {
		if done, err = take(ctx, tx, set); err != nil || !done {
			return err
		}
		_, err := tx.Exec(ctx, `
			INSERT INTO accounts.passwords (user_id, phc, changed_at) VALUES ($1, $2, $3)
			ON CONFLICT (user_id) DO UPDATE SET phc = EXCLUDED.phc, changed_at = EXCLUDED.changed_at`, set.UserID, set.PHC, set.At)
		if err != nil {
			return fmt.Errorf("set password: %w", err)
		}
		return conclude(ctx, tx, set)
	})
	return done && err == nil, err
}

// take uses up what gives the right to set a password.
func take(ctx context.Context, tx pgx.Tx, set signin.Setting) (bool, error) {
	switch {
	case set.Link != nil:
		return useLink(ctx, tx, set.UserID, *set.Link, set.At)
	case set.Met != nil:
		return meet(ctx, tx, set.UserID, *set.Met, set.At)
	}
	var shown string
	err := tx.QueryRow(ctx, `SELECT phc FROM accounts.passwords WHERE user_id = $1 FOR UPDATE`, set.UserID).Scan(&shown)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read password hash: %w", err)
	}
	return shown == set.Old, nil
}

// conclude makes void what was to sign in by the password that it was, and tells of
// the change.
func conclude(ctx context.Context, tx pgx.Tx, set signin.Setting) error {
	for _, table := range []string{"sign_in_challenges", "reset_tokens"} {
		if _, err := tx.Exec(ctx, `DELETE FROM accounts.`+table+` WHERE user_id = $1`, set.UserID); err != nil {
			return fmt.Errorf("make %s void: %w", table, err)
		}
	}
	for _, r := range set.Audit {
		if err := auditIn(ctx, tx, r); err != nil {
			return err
		}
	}
	if err := nameOrg(ctx, tx, ""); err != nil {
		return err
	}
	_, err := queueNote(ctx, tx, set.Note)
	return err
}

// Answer implements [signin.LinkStore].
func (s *SignIns) Answer(ctx context.Context, most int, now time.Time, link func(signin.Request, signin.Account) (signin.Link, error)) (taken, made bool, err error) {
	err = s.db.Do(ctx, func(tx pgx.Tx) error {
		r, err := takeRequest(ctx, tx)
		if err != nil || r.ID == "" {
			return err
		}
		taken = true
		account, err := findAccount(ctx, tx, r.Email, "", now)
		if err != nil || len(account.Places) == 0 {
			return err
		}
		if err := nameUser(ctx, tx, account.UserID); err != nil {
			return err
		}
		var live int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM accounts.reset_tokens WHERE user_id = $1 AND expires_at > $2`, account.UserID, now).Scan(&live); err != nil {
			return fmt.Errorf("count links: %w", err)
		}
		if live >= most {
			return nil
		}
		l, err := link(r, account)
		if err != nil {
			return err
		}
		made = true
		return keepLink(ctx, tx, l)
	})
	return taken && err == nil, made && err == nil, err
}

// takeRequest takes any request; the zero one where there is none. Which one is left to
// chance, so that one that fails each time is not always the next.
func takeRequest(ctx context.Context, tx pgx.Tx) (r signin.Request, err error) {
	err = tx.QueryRow(ctx, `
		DELETE FROM accounts.reset_requests WHERE request_id = (
		  SELECT request_id FROM accounts.reset_requests ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING request_id, email, address, at`).Scan(&r.ID, &r.Email, &r.Address, &r.At)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return r, fmt.Errorf("take request for a link: %w", err)
	}
	return r, nil
}

func keepLink(ctx context.Context, tx pgx.Tx, l signin.Link) error {
	_, err := tx.Exec(ctx, `INSERT INTO accounts.reset_tokens (hash, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)`,
		l.Hash[:], l.UserID, l.CreatedAt, l.ExpiresAt)
	if err != nil {
		return fmt.Errorf("keep link: %w", err)
	}
	_, err = queueNote(ctx, tx, l.Note)
	return err
}

// Prune implements [signin.LinkStore].
func (s *SignIns) Prune(ctx context.Context, asked, expired time.Time) (n int64, err error) {
	err = s.db.Do(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM accounts.reset_requests WHERE at < $1`, asked)
		if err != nil {
			return fmt.Errorf("prune requests for links: %w", err)
		}
		if err := tx.QueryRow(ctx, `SELECT accounts.prune_sign_in($1)`, expired).Scan(&n); err != nil {
			return fmt.Errorf("prune challenges and links: %w", err)
		}
		n += tag.RowsAffected()
		return nil
	})
	return n, err
}
