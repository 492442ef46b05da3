package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/tenant"
)

// Keys keeps API keys in the schema accounts. All of it works under
// [RoleAccounts]; FindKey works under [RoleGateway] too.
type Keys struct {
	db    *DB
	zones zones
}

// NewKeys makes the store of API keys.
func NewKeys(db *DB) *Keys { return &Keys{db: db} }

// FindKey implements [apikey.Finder]. It runs on the data plane's path, so it is
// one statement without a transaction around it.
func (k *Keys) FindKey(ctx context.Context, h apikey.Hash) (*apikey.Record, error) {
	var r apikey.Record
	var f foundKey
	err := k.db.pool.QueryRow(ctx, `
		SELECT key_id, org_id, project_id, fingerprint, scopes, models, expires_at, secret_until, revoked, suspended, ip_allow,
		       owner_id, owner_active, role, permissions, coalesce(role_reach, ''), project_ids, project_roles,
		       org_status, trial_ends_at, org_settings, allowed_models, granted_models, project_models, project_archived,
		       currency, time_zone, price_book,
		       key_rpm, key_tpm, key_concurrent,
		       project_rpm, project_tpm, project_concurrent,
		       org_rpm, org_tpm, org_concurrent
		  FROM accounts.lookup_key($1)`, h[:]).Scan(
		&r.KeyID, &r.OrgID, &r.ProjectID, &r.Fingerprint, &f.scopes, &r.Models, &f.expires, &f.secretUntil, &r.Revoked, &r.Suspended, &f.ips,
		&r.OwnerID, &r.OwnerActive, &r.Role, &f.permissions, &r.Custom.Reach, &f.projects, &f.projectRoles,
		&r.OrgStatus, &f.trialEnds, &f.settings, &r.AllowedModels, &r.GrantedModels, &r.ProjectModels, &r.ProjectArchived,
		&r.Currency, &f.zone, &r.PriceBook,
		&r.Key.RequestsPerMinute, &r.Key.TokensPerMinute, &r.Key.ConcurrentRequests,
		&r.Project.RequestsPerMinute, &r.Project.TokensPerMinute, &r.Project.ConcurrentRequests,
		&r.Org.RequestsPerMinute, &r.Org.TokensPerMinute, &r.Org.ConcurrentRequests)
	if err != nil {
		return nil, translate(err)
	}
	if r.TimeZone, err = k.zones.load(f.zone); err != nil {
		return nil, err
	}
	return &r, f.fill(&r)
}

// foundKey is what of a key's record is stored in another form.
type foundKey struct {
	scopes, ips, permissions        []string
	projects, projectRoles          []string
	expires, secretUntil, trialEnds *time.Time
	settings                        []byte
	zone                            string
}

func (f *foundKey) fill(r *apikey.Record) (err error) {
	r.Scopes, r.ExpiresAt, r.SecretUntil, r.TrialEnds = toScopes(f.scopes), moment(f.expires), moment(f.secretUntil), moment(f.trialEnds)
	if r.IPs, err = toNetworks(f.ips); err != nil {
		return err
	}
	for _, p := range f.permissions {
		r.Custom.Permissions = append(r.Custom.Permissions, authz.Action(p))
	}
	if len(f.projects) > 0 {
		r.Projects = make(map[string]authz.ProjectRole, len(f.projects))
	}
	for i, id := range f.projects {
		r.Projects[id] = authz.ProjectRole(f.projectRoles[i])
	}
	s, err := toSettings(f.settings)
	if err != nil {
		return err
	}
	r.Restrictions, err = s.Restrictions()
	return err
}

// toSettings reads an organisation's settings. What can't be read is an error: it
// may hold a restriction.
func toSettings(raw []byte) (s tenant.Settings, err error) {
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("read settings: %w", err)
	}
	return s, nil
}

func toNetworks(texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, t := range texts {
		n, err := netip.ParsePrefix(t)
		if err != nil {
			return nil, fmt.Errorf("read network: %w", err)
		}
		out = append(out, n)
	}
	return out, nil
}

func fromNetworks(list []netip.Prefix) []string {
	out := make([]string, len(list))
	for i, n := range list {
		out[i] = n.Masked().String()
	}
	return out
}

// KeysOf implements [usage.Keys].
func (k *Keys) KeysOf(ctx context.Context, org, ownerID string) (ids []string, err error) {
	err = k.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT key_id FROM accounts.api_keys WHERE org_id = $1 AND owner_id = $2`, org, ownerID)
		if err != nil {
			return fmt.Errorf("query keys: %w", err)
		}
		ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err //nolint:wrapcheck // translated by InOrg
	})
	return ids, err
}

// OrgZone implements [budget.Organizations].
func (k *Keys) OrgZone(ctx context.Context, org string) (currency string, zone *time.Location, err error) {
	var name string
	err = k.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT currency, time_zone FROM accounts.organizations WHERE org_id = $1`, org).
			Scan(&currency, &name)
	})
	if err != nil {
		return "", nil, err
	}
	if zone, err = k.zones.load(name); err != nil {
		return "", nil, err
	}
	return currency, zone, nil
}

// CheckScope implements [budget.Organizations].
func (k *Keys) CheckScope(ctx context.Context, org string, s budget.Scope) error {
	return k.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		var project, key bool
		err := tx.QueryRow(ctx, `
			SELECT $2 = '' OR EXISTS (SELECT FROM accounts.projects WHERE org_id = $1 AND project_id = $2),
			       $3 = '' OR EXISTS (SELECT FROM accounts.api_keys WHERE org_id = $1 AND key_id = $3)`,
			org, s.ProjectID, s.APIKeyID).Scan(&project, &key)
		switch {
		case err != nil:
			return fmt.Errorf("look up scope: %w", err)
		case !project:
			return fault.New(fault.NotFound, "there is no such project").At("scope.project_id")
		case !key:
			return fault.New(fault.NotFound, "there is no such API key").At("scope.api_key_id")
		}
		return nil
	})
}

// CreateKey implements [apikey.Store].
func (k *Keys) CreateKey(ctx context.Context, key apikey.Key, h apikey.Hash, rec audit.Record) error {
	return k.db.InOrg(ctx, key.OrgID, func(tx pgx.Tx) error {
		if err := insertKey(ctx, tx, key, h); err != nil {
			return err
		}
		return writeAudit(ctx, tx, "accounts", rec)
	})
}

func insertKey(ctx context.Context, tx pgx.Tx, key apikey.Key, h apikey.Hash) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO accounts.api_keys (org_id, key_id, project_id, name, environment, hash, fingerprint, scopes, models,
		       requests_per_minute, tokens_per_minute, concurrent_requests, expires_at, created_by, created_at,
		       kind, owner_id, ip_allow, secret_at, rotate_by)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18::text[]::cidr[], $19, $20)`,
		key.OrgID, key.ID, key.ProjectID, key.Name, key.Environment, h[:], key.Fingerprint, fromScopes(key.Scopes), key.Models,
		key.Limits.RequestsPerMinute, key.Limits.TokensPerMinute, key.Limits.ConcurrentRequests,
		nullable(key.ExpiresAt), key.CreatedBy, key.CreatedAt,
		key.Kind, key.OwnerID, fromNetworks(key.IPs), key.SecretAt, nullable(key.RotateBy))
	switch {
	case sqlState(err) == stateForeignKey:
		return fault.New(fault.NotFound, "there is no such project").At("project_id")
	case err != nil:
		return fmt.Errorf("insert key: %w", err)
	}
	return nil
}

// ListKeys implements [apikey.Store].
func (k *Keys) ListKeys(ctx context.Context, org string, p apikey.Page) ([]apikey.Key, error) {
	var keys []apikey.Key
	err := k.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			SELECT org_id, key_id, project_id, name, environment, fingerprint, scopes, models,
			       requests_per_minute, tokens_per_minute, concurrent_requests,
			       expires_at, revoked_at, created_by, created_at
			  FROM accounts.api_keys WHERE org_id = $1 AND key_id > $2 ORDER BY key_id LIMIT $3`, org, p.After, p.Limit)
		if err != nil {
			return fmt.Errorf("query keys: %w", err)
		}
		keys, err = pgx.CollectRows(rows, scanKey)
		return err //nolint:wrapcheck // translated by InOrg
	})
	return keys, err
}

func scanKey(row pgx.CollectableRow) (apikey.Key, error) {
	var k apikey.Key
	var scopes []string
	var expires, revoked *time.Time
	err := row.Scan(&k.OrgID, &k.ID, &k.ProjectID, &k.Name, &k.Environment, &k.Fingerprint, &scopes, &k.Models,
		&k.Limits.RequestsPerMinute, &k.Limits.TokensPerMinute, &k.Limits.ConcurrentRequests,
		&expires, &revoked, &k.CreatedBy, &k.CreatedAt)
	if err != nil {
		return apikey.Key{}, fmt.Errorf("scan key: %w", err)
	}
	k.Scopes, k.ExpiresAt, k.RevokedAt, k.CreatedAt = toScopes(scopes), moment(expires), moment(revoked), k.CreatedAt.UTC()
	return k, nil
}

// RevokeKey implements [apikey.Store]. Only the first revocation changes the key
// and is recorded.
func (k *Keys) RevokeKey(ctx context.Context, org, keyID string, at time.Time, rec audit.Record) error {
	return k.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			UPDATE accounts.api_keys SET revoked_at = $3 WHERE org_id = $1 AND key_id = $2 AND revoked_at IS NULL`, org, keyID, at)
		if err != nil {
			return fmt.Errorf("revoke key: %w", err)
		}
		if tag.RowsAffected() == 1 {
			return writeAudit(ctx, tx, "accounts", rec)
		}
		var known bool
		err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM accounts.api_keys WHERE org_id = $1 AND key_id = $2)`, org, keyID).Scan(&known)
		switch {
		case err != nil:
			return fmt.Errorf("look up key: %w", err)
		case !known:
			return fault.New(fault.NotFound, "there is no such API key")
		}
		return nil
	})
}

func toScopes(texts []string) []authz.Scope {
	scopes := make([]authz.Scope, len(texts))
	for i, t := range texts {
		scopes[i] = authz.Scope(t)
	}
	return scopes
}

func fromScopes(scopes []authz.Scope) []string {
	texts := make([]string, len(scopes))
	for i, s := range scopes {
		texts[i] = string(s)
	}
	return texts
}

// nullable is the form in which an optional time is stored: none is NULL.
func nullable(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func moment(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}
