package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/oauth"
	"github.com/aiaas/aiaas/shared/session"
)

// OAuth keeps what programs ask people for and are granted, under [RoleIdentity].
type OAuth struct{ db *DB }

var _ oauth.Store = (*OAuth)(nil)

// NewOAuth makes the store of OAuth.
func NewOAuth(db *DB) *OAuth { return &OAuth{db: db} }

// AddRequest implements [oauth.Store].
func (s *OAuth) AddRequest(ctx context.Context, r oauth.Request) error {
	return s.db.AsUserIn(ctx, r.OrgID, r.UserID, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO accounts.oauth_requests (org_id, request_id, user_id, client_id, redirect_uri, state, nonce, challenge,
			                                     scopes, openid, offline, proved_after, created_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
			r.OrgID, r.ID, r.UserID, r.ClientID, r.RedirectURI, r.State, r.Nonce, r.Challenge,
			fromScopes(r.Scopes), r.OpenID, r.Offline, orNull(r.ProvedAfter), r.CreatedAt, r.ExpiresAt)
		if err != nil {
			return fmt.Errorf("insert request: %w", err)
		}
		return nil
	})
}

// Request implements [oauth.Store].
func (s *OAuth) Request(ctx context.Context, who oauth.Who, requestID string, now time.Time) (r oauth.Request, err error) {
	err = s.db.AsUserIn(ctx, who.OrgID, who.UserID, func(tx pgx.Tx) error {
		var scopes []string
		var after *time.Time
		err := tx.QueryRow(ctx, `
			SELECT org_id, request_id, user_id, client_id, redirect_uri, state, nonce, challenge, scopes, openid, offline, proved_after, created_at, expires_at
			  FROM accounts.oauth_requests
			 WHERE org_id = $1 AND user_id = $2 AND request_id = $3 AND decided_at IS NULL AND expires_at > $4`, who.OrgID, who.UserID, requestID, now).Scan(
			&r.OrgID, &r.ID, &r.UserID, &r.ClientID, &r.RedirectURI, &r.State, &r.Nonce, &r.Challenge, &scopes, &r.OpenID, &r.Offline, &after, &r.CreatedAt, &r.ExpiresAt)
		if err != nil {
			return missing(err, "read request", errNoRequest())
		}
		r.Scopes, r.ProvedAfter = toGrantedScopes(scopes), orZero(after)
		return nil
	})
	return r, err
}

func errNoRequest() *fault.Error {
	return fault.New(fault.NotFound, "there is no such request: it was answered, or has waited for too long")
}

// Decide implements [oauth.Store].
func (s *OAuth) Decide(ctx context.Context, who oauth.Who, requestID string, d oauth.Decision) error {
	return s.db.AsUserIn(ctx, who.OrgID, who.UserID, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			UPDATE accounts.oauth_requests
			   SET decided_at = $4, approved = $5, granted = $6, mfa = $7, means = $8, connection = $9, proved_at = $10, approved_in = $11,
			       code_hash = $12, code_expires = $13
			 WHERE org_id = $1 AND user_id = $2 AND request_id = $3 AND decided_at IS NULL AND expires_at > $4`,
			who.OrgID, who.UserID, requestID, d.At, d.Approved, fromScopes(d.Granted), d.Proof.MFA, d.Proof.Means, d.Proof.Connection, d.Proof.At, d.Proof.SessionID,
			d.CodeHash, orNull(d.CodeExpires))
		switch {
		case err != nil:
			return fmt.Errorf("decide request: %w", err)
		case tag.RowsAffected() == 0:
			return errNoRequest()
		}
		return writeAudit(ctx, tx, "accounts", d.Record)
	})
}

// UseCode implements [oauth.Store], in one statement.
func (s *OAuth) UseCode(ctx context.Context, hash []byte, at time.Time) (oauth.Code, error) {
	var c oauth.Code
	var granted []string
	var proved *time.Time
	var sessionID *string
	err := s.db.pool.QueryRow(ctx, `
		SELECT state, org_id, request_id, user_id, client_id, redirect_uri, nonce, challenge, granted, openid, offline,
		       mfa, means, connection, proved_at, approved_in, code_expires, session_id
		  FROM accounts.use_code($1, $2)`, hash, at).Scan(
		&c.State, &c.OrgID, &c.RequestID, &c.UserID, &c.ClientID, &c.RedirectURI, &c.Nonce, &c.Challenge, &granted, &c.OpenID, &c.Offline,
		&c.Proof.MFA, &c.Proof.Means, &c.Proof.Connection, &proved, &c.Proof.SessionID, &c.Expires, &sessionID)
	if err != nil {
		return c, translate(fmt.Errorf("use code: %w", err))
	}
	c.Scopes, c.Proof.At = toGrantedScopes(granted), orZero(proved)
	if sessionID != nil {
		c.SessionID = *sessionID
	}
	return c, nil
}

// Open implements [oauth.Store].
func (s *OAuth) Open(ctx context.Context, o oauth.Opening) (replayed bool, err error) {
	err = s.db.AsUserIn(ctx, o.OrgID, o.HolderID, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO accounts.oauth_grants (org_id, session_id, holder_id, client_id, scopes, openid, created_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, o.OrgID, o.SessionID, o.HolderID, o.ClientID, fromScopes(o.Scopes), o.OpenID, o.CreatedAt, o.ExpiresAt)
		if err != nil {
			return fmt.Errorf("insert grant: %w", err)
		}
		if o.RefreshHash != nil {
			if err := insertRefresh(ctx, tx, o.Family, o.RefreshHash, o.CreatedAt); err != nil {
				return err
			}
		}
		if o.RequestID == "" {
			return nil
		}
		// The row's lock orders this with a second use of the code: that one finds the
		// session, or this one finds its mark.
		err = tx.QueryRow(ctx, `
			UPDATE accounts.oauth_requests SET session_id = $3 WHERE org_id = $1 AND request_id = $2 RETURNING replayed_at IS NOT NULL`,
			o.OrgID, o.RequestID, o.SessionID).Scan(&replayed)
		if err != nil {
			return fmt.Errorf("note session of code: %w", err)
		}
		return nil
	})
	return replayed, err
}

func insertRefresh(ctx context.Context, tx pgx.Tx, f oauth.Family, hash []byte, at time.Time) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO accounts.oauth_refresh_tokens (org_id, token_hash, session_id, issued_at) VALUES ($1, $2, $3, $4)`, f.OrgID, hash, f.SessionID, at)
	if err != nil {
		return fmt.Errorf("insert refresh token: %w", err)
	}
	return nil
}

// Note implements [oauth.Store].
func (s *OAuth) Note(ctx context.Context, r audit.Record) error {
	return s.db.InOrg(ctx, r.OrgID, func(tx pgx.Tx) error { return writeAudit(ctx, tx, "accounts", r) })
}

// FindRefresh implements [oauth.Store].
func (s *OAuth) FindRefresh(ctx context.Context, hash []byte) (oauth.Family, error) {
	var f oauth.Family
	var scopes []string
	err := s.db.pool.QueryRow(ctx, `
		SELECT org_id, session_id, holder_id, client_id, scopes, openid, expires_at, used FROM accounts.find_refresh_token($1)`, hash).Scan(
		&f.OrgID, &f.SessionID, &f.HolderID, &f.ClientID, &scopes, &f.OpenID, &f.ExpiresAt, &f.Used)
	if err != nil {
		return f, translate(fmt.Errorf("find refresh token: %w", err))
	}
	f.Scopes, f.ExpiresAt = toGrantedScopes(scopes), f.ExpiresAt.UTC()
	return f, nil
}

// Rotate implements [oauth.Store].
func (s *OAuth) Rotate(ctx context.Context, f oauth.Family, old, next []byte, at time.Time) (rotated bool, err error) {
	err = s.db.InOrg(ctx, f.OrgID, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			UPDATE accounts.oauth_refresh_tokens SET used_at = $3 WHERE org_id = $1 AND token_hash = $2 AND used_at IS NULL`, f.OrgID, old, at)
		if err != nil {
			return fmt.Errorf("use refresh token: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return nil
		}
		rotated = true
		return insertRefresh(ctx, tx, f, next, at)
	})
	return rotated && err == nil, err
}

// NoteReuse implements [oauth.Store].
func (s *OAuth) NoteReuse(ctx context.Context, f oauth.Family, at time.Time, r audit.Record) error {
	return s.db.InOrg(ctx, f.OrgID, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			UPDATE accounts.oauth_grants SET reused_at = $3 WHERE org_id = $1 AND session_id = $2 AND reused_at IS NULL`, f.OrgID, f.SessionID, at)
		switch {
		case err != nil:
			return fmt.Errorf("note reuse: %w", err)
		case tag.RowsAffected() == 0:
			return nil // it is known
		}
		return writeAudit(ctx, tx, "accounts", r)
	})
}

// Attempt implements [oauth.Store], in one statement.
func (s *OAuth) Attempt(ctx context.Context, key string, window time.Duration, at time.Time) (n int64, since time.Time, err error) {
	err = s.db.pool.QueryRow(ctx, `
		INSERT INTO accounts.oauth_attempts AS a (key, since, n) VALUES ($1, $2, 1)
		ON CONFLICT (key) DO UPDATE SET
		   n = CASE WHEN a.since <= $3 THEN 1 ELSE a.n + 1 END,
		   since = CASE WHEN a.since <= $3 THEN EXCLUDED.since ELSE a.since END
		RETURNING n, since`, key, at, at.Add(-window)).Scan(&n, &since)
	if err != nil {
		return 0, since, translate(fmt.Errorf("count attempt: %w", err))
	}
	return n, since, nil
}

// Prune implements [oauth.Store].
func (s *OAuth) Prune(ctx context.Context, now time.Time, limit int) (oauth.Pruned, error) {
	var p oauth.Pruned
	err := s.db.pool.QueryRow(ctx, `SELECT requests, devices, grants, attempts, keys FROM accounts.prune_oauth($1, $2)`, now, limit).
		Scan(&p.Requests, &p.Devices, &p.Grants, &p.Attempts, &p.Keys)
	if err != nil {
		return p, translate(fmt.Errorf("prune: %w", err))
	}
	return p, nil
}

// AddDevice implements [oauth.Store].
func (s *OAuth) AddDevice(ctx context.Context, d oauth.Device) error {
	_, err := s.db.pool.Exec(ctx, `
		INSERT INTO accounts.oauth_devices (device_hash, user_code, client_id, scopes, openid, offline, address, user_agent, created_at, expires_at, interval_s)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		d.CodeHash, d.UserCode, d.ClientID, fromScopes(d.Scopes), d.OpenID, d.Offline, d.Address, d.UserAgent, d.CreatedAt, d.ExpiresAt, int(d.Interval.Seconds()))
	switch {
	case sqlState(err) == stateUnique:
		return fault.New(fault.Conflict, "a device waits under this code")
	case err != nil:
		return translate(fmt.Errorf("insert device: %w", err))
	}
	return nil
}

// Device implements [oauth.Store].
func (s *OAuth) Device(ctx context.Context, who oauth.Who, userCode string, now time.Time) (d oauth.Device, err error) {
	err = s.db.AsUserIn(ctx, who.OrgID, who.UserID, func(tx pgx.Tx) error {
		var scopes []string
		err := tx.QueryRow(ctx, `
			SELECT user_code, client_id, scopes, openid, offline, address, user_agent, created_at, expires_at
			  FROM accounts.oauth_devices WHERE user_code = $1 AND decided_at IS NULL AND expires_at > $2`, userCode, now).Scan(
			&d.UserCode, &d.ClientID, &scopes, &d.OpenID, &d.Offline, &d.Address, &d.UserAgent, &d.CreatedAt, &d.ExpiresAt)
		if err != nil {
			return missing(err, "read device", errNoDevice())
		}
		d.Scopes = toGrantedScopes(scopes)
		return nil
	})
	return d, err
}

func errNoDevice() *fault.Error {
	return fault.New(fault.NotFound, "no device waits under this code: look at it again, or begin anew")
}

// DecideDevice implements [oauth.Store].
func (s *OAuth) DecideDevice(ctx context.Context, who oauth.Who, userCode string, d oauth.Decision) error {
	return s.db.AsUserIn(ctx, who.OrgID, who.UserID, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			UPDATE accounts.oauth_devices
			   SET org_id = $1, user_id = $2, decided_at = $4, approved = $5, granted = $6, mfa = $7, means = $8, connection = $9, proved_at = $10,
			       approved_in = $11
			 WHERE user_code = $3 AND decided_at IS NULL AND expires_at > $4`,
			who.OrgID, who.UserID, userCode, d.At, d.Approved, fromScopes(d.Granted), d.Proof.MFA, d.Proof.Means, d.Proof.Connection, d.Proof.At, d.Proof.SessionID)
		switch {
		case err != nil:
			return fmt.Errorf("decide device: %w", err)
		case tag.RowsAffected() == 0:
			return errNoDevice()
		}
		return writeAudit(ctx, tx, "accounts", d.Record)
	})
}

// PollDevice implements [oauth.Store], in one statement.
func (s *OAuth) PollDevice(ctx context.Context, hash []byte, clientID string, at time.Time) (oauth.Poll, error) {
	var p oauth.Poll
	var org, user *string
	var granted []string
	var proved *time.Time
	var means string
	err := s.db.pool.QueryRow(ctx, `
		SELECT state, org_id, user_id, granted, openid, offline, mfa, means, connection, proved_at, approved_in FROM accounts.poll_device($1, $2, $3)`, hash, clientID, at).Scan(
		&p.State, &org, &user, &granted, &p.OpenID, &p.Offline, &p.Proof.MFA, &means, &p.Proof.Connection, &proved, &p.Proof.SessionID)
	if err != nil {
		return p, translate(fmt.Errorf("poll device: %w", err))
	}
	p.Scopes, p.Proof.Means, p.Proof.At = toGrantedScopes(granted), session.Means(means), orZero(proved)
	if org != nil && user != nil {
		p.OrgID, p.UserID = *org, *user
	}
	return p, nil
}

// Program implements [oauth.Store].
func (s *OAuth) Program(ctx context.Context, accountID string) (oauth.Program, error) {
	p := oauth.Program{ID: accountID}
	rows, err := s.db.pool.Query(ctx, `
		SELECT org_id, name, role, permissions, coalesce(role_reach, ''), project_ids, project_roles, secret_id, hash, seen_by
		  FROM accounts.lookup_client($1)`, accountID)
	if err != nil {
		return p, translate(fmt.Errorf("look up client: %w", err))
	}
	var permissions, projects, roles []string
	var kept oauth.KeptSecret
	sub := &p.Subject
	_, err = pgx.ForEachRow(rows, []any{&sub.OrgID, &p.Name, &sub.Role, &permissions, &sub.Custom.Reach, &projects, &roles, &kept.ID, &kept.Hash, &kept.SeenBy}, func() error {
		p.Secrets = append(p.Secrets, oauth.KeptSecret{ID: kept.ID, Hash: slices.Clone(kept.Hash), SeenBy: slices.Clone(kept.SeenBy)})
		return nil
	})
	switch {
	case err != nil:
		return p, translate(fmt.Errorf("read client: %w", err))
	case len(p.Secrets) == 0:
		return p, fault.New(fault.NotFound, "there is no such client")
	}
	sub.OwnerID, sub.Method = accountID, authz.ByClient
	sub.Custom.Permissions, sub.Projects = toActions(permissions), toProjectRoles(projects, roles)
	return p, nil
}

// NoteSecret implements [oauth.Store].
func (s *OAuth) NoteSecret(ctx context.Context, org, secretID string, at time.Time) error {
	return s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE accounts.client_secrets SET last_used_at = $3 WHERE org_id = $1 AND secret_id = $2`, org, secretID, at)
		if err != nil {
			return fmt.Errorf("note use of secret: %w", err)
		}
		return nil
	})
}
