package postgres

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/oauth"
)

// OAuthKeys keeps the keys that tokens are signed with, under [RoleIdentity].
type OAuthKeys struct{ db *DB }

// OAuthPublicKeys reads what tokens are verified with, under [RoleGateway].
type OAuthPublicKeys struct{ db *DB }

var (
	_ oauth.KeyStore = (*OAuthKeys)(nil)
	_ oauth.KeyStore = (*OAuthPublicKeys)(nil)
)

// NewOAuthKeys makes the store of signing keys.
func NewOAuthKeys(db *DB) *OAuthKeys { return &OAuthKeys{db: db} }

// NewOAuthPublicKeys makes the reader of their public halves.
func NewOAuthPublicKeys(db *DB) *OAuthPublicKeys { return &OAuthPublicKeys{db: db} }

// Keys implements [oauth.KeyStore].
func (s *OAuthKeys) Keys(ctx context.Context) ([]oauth.Key, error) {
	return readKeys(ctx, s.db.pool, `SELECT kid, public, sealed, created_at, signs_at, ends_at FROM accounts.oauth_keys ORDER BY signs_at DESC`)
}

// Keys implements [oauth.KeyStore].
func (s *OAuthPublicKeys) Keys(ctx context.Context) ([]oauth.Key, error) {
	return readKeys(ctx, s.db.pool, `SELECT kid, public, '', created_at, signs_at, ends_at FROM accounts.oauth_keys ORDER BY signs_at DESC`)
}

var errReadOnly = errors.New("who verifies tokens makes no keys")

// AddKey implements [oauth.KeyStore]: it always fails.
func (s *OAuthPublicKeys) AddKey(context.Context, func([]oauth.Key) (*oauth.Key, error)) error {
	return errReadOnly
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func readKeys(ctx context.Context, q querier, sql string) ([]oauth.Key, error) {
	rows, err := q.Query(ctx, sql)
	if err != nil {
		return nil, translate(fmt.Errorf("query signing keys: %w", err))
	}
	keys, err := pgx.CollectRows(rows, scanSigningKey)
	if err != nil {
		return nil, translate(fmt.Errorf("read signing keys: %w", err))
	}
	return keys, nil
}

func scanSigningKey(row pgx.CollectableRow) (k oauth.Key, err error) {
	var public string
	var ends *time.Time
	if err := row.Scan(&k.KID, &public, &k.Sealed, &k.CreatedAt, &k.SignsAt, &ends); err != nil {
		return k, err //nolint:wrapcheck // wrapped by readKeys
	}
	k.CreatedAt, k.SignsAt, k.EndsAt = k.CreatedAt.UTC(), k.SignsAt.UTC(), orZero(ends)
	der, err := base64.StdEncoding.DecodeString(public)
	if err != nil {
		return k, fmt.Errorf("decode public key %s: %w", k.KID, err)
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return k, fmt.Errorf("read public key %s: %w", k.KID, err)
	}
	var ok bool
	if k.Public, ok = parsed.(*ecdsa.PublicKey); !ok {
		return k, fmt.Errorf("read public key %s: it is a %T", k.KID, parsed)
	}
	return k, nil
}

// keyLock is the advisory lock under which signing keys are made.
const keyLock = 0x61696161730015

// AddKey implements [oauth.KeyStore].
func (s *OAuthKeys) AddKey(ctx context.Context, next func([]oauth.Key) (*oauth.Key, error)) error {
	return s.db.Do(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(keyLock)); err != nil {
			return fmt.Errorf("lock signing keys: %w", err)
		}
		keys, err := readKeys(ctx, tx, `SELECT kid, public, sealed, created_at, signs_at, ends_at FROM accounts.oauth_keys ORDER BY signs_at DESC`)
		if err != nil {
			return err
		}
		k, err := next(keys)
		if err != nil || k == nil {
			return err
		}
		der, err := x509.MarshalPKIXPublicKey(k.Public)
		if err != nil {
			return fmt.Errorf("encode public key: %w", err)
		}
		_, err = tx.Exec(ctx, `UPDATE accounts.oauth_keys SET ends_at = $1 WHERE ends_at IS NULL`, oauth.KeyEnds(k.SignsAt))
		if err != nil {
			return fmt.Errorf("end signing keys: %w", err)
		}
		_, err = tx.Exec(ctx, `INSERT INTO accounts.oauth_keys (kid, public, sealed, created_at, signs_at) VALUES ($1, $2, $3, $4, $5)`,
			k.KID, base64.StdEncoding.EncodeToString(der), k.Sealed, k.CreatedAt, k.SignsAt)
		if err != nil {
			return fmt.Errorf("insert signing key: %w", err)
		}
		return nil
	})
}
