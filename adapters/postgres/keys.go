package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/apikey"
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
	r.Custom.Permissions, r.Projects = toActions(f.permissions), toProjectRoles(f.projects, f.projectRoles)
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
