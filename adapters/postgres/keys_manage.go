package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
)

var (
	_ apikey.Store   = (*Keys)(nil)
	_ apikey.Finder  = (*Keys)(nil)
	_ apikey.UseSink = (*Keys)(nil)
)

// AddKey implements [apikey.Store]. The organisation's row is locked: what its plan
// allows is counted by one at a time.
func (k *Keys) AddKey(ctx context.Context, org string, p apikey.Place, draft func(apikey.Grounds) (apikey.Draft, error)) error {
	return k.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		g, err := grounds(ctx, tx, org, "FOR NO KEY UPDATE OF o")
		if err != nil {
			return err
		}
		if g.MaxKeys > 0 {
			err := tx.QueryRow(ctx, `
				SELECT count(*) FROM accounts.api_keys
				 WHERE org_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)`, org, p.At).Scan(&g.Keys)
			if err != nil {
				return fmt.Errorf("count keys: %w", err)
			}
		}
		if err := place(ctx, tx, org, p, &g); err != nil {
			return err
		}
		d, err := draft(g)
		if err != nil {
			return err
		}
		if err := insertKey(ctx, tx, d.Key, d.Hash, d.By); err != nil {
			return err
		}
		return writeAudit(ctx, tx, "accounts", d.Record)
	})
}

// grounds are those that the organisation gives.
func grounds(ctx context.Context, tx pgx.Tx, org, lock string) (g apikey.Grounds, err error) {
	var settings []byte
	err = tx.QueryRow(ctx, `
		SELECT o.kind = 'platform', o.settings, l.max_keys
		  FROM accounts.organizations o JOIN accounts.plans l ON l.plan_id = o.plan
		 WHERE o.org_id = $1 `+lock, org).Scan(&g.OfPlatform, &settings, &g.MaxKeys)
	if err != nil {
		return g, fmt.Errorf("read organisation: %w", err)
	}
	s, err := toSettings(settings)
	g.MaxDays = s.KeyMaxDays
	return g, err
}

// place adds the grounds that owner and project give.
func place(ctx context.Context, tx pgx.Tx, org string, at apikey.Place, g *apikey.Grounds) error {
	var permissions, projects, roles []string
	o := apikey.Owner{ID: at.OwnerID}
	err := tx.QueryRow(ctx, `
		SELECT x.status IS NOT NULL, coalesce(x.status = 'active', false),
		       CASE WHEN x.role LIKE 'role\_%' THEN 'custom' ELSE coalesce(x.role, '') END, r.permissions, coalesce(r.reach, ''), t.ids, t.roles
		  FROM (VALUES (1)) AS one
		  LEFT JOIN (
		    SELECT role, status FROM accounts.members WHERE org_id = $1 AND user_id = $2
		     UNION ALL
		    SELECT role, status FROM accounts.service_accounts WHERE org_id = $1 AND account_id = $2 AND status <> 'deleted') x ON true
		  LEFT JOIN accounts.roles r ON r.org_id = $1 AND r.role_id = x.role
		  LEFT JOIN LATERAL (
		    SELECT array_agg(p.project_id ORDER BY p.project_id) AS ids, array_agg(p.role ORDER BY p.project_id) AS roles
		      FROM accounts.project_members p WHERE p.org_id = $1 AND p.member_id = $2) t ON true`, org, at.OwnerID).
		Scan(&o.Known, &o.Active, &o.Role, &permissions, &o.Custom.Reach, &projects, &roles)
	if err != nil {
		return fmt.Errorf("read owner: %w", err)
	}
	o.Custom.Permissions, o.Projects = toActions(permissions), toProjectRoles(projects, roles)
	g.Owner, g.Project = o, apikey.Project{ID: at.ProjectID}
	err = tx.QueryRow(ctx, `SELECT true, archived_at IS NOT NULL, models FROM accounts.projects WHERE org_id = $1 AND project_id = $2`, org, at.ProjectID).
		Scan(&g.Project.Known, &g.Project.Archived, &g.Project.Models)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read project: %w", err)
	}
	return nil
}

func toActions(texts []string) (list []authz.Action) {
	for _, t := range texts {
		list = append(list, authz.Action(t))
	}
	return list
}

func toProjectRoles(ids, roles []string) map[string]authz.ProjectRole {
	if len(ids) == 0 {
		return nil
	}
	out := make(map[string]authz.ProjectRole, len(ids))
	for i, id := range ids {
		out[id] = authz.ProjectRole(roles[i])
	}
	return out
}

// ChangeKey implements [apikey.Store]. The key's row is locked while change decides.
func (k *Keys) ChangeKey(ctx context.Context, org, keyID string, change func(apikey.Key, apikey.Grounds) (apikey.Change, error)) error {
	return k.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		key, err := lockKey(ctx, tx, org, keyID)
		if err != nil {
			return err
		}
		g, err := grounds(ctx, tx, org, "")
		if err != nil {
			return err
		}
		if err := place(ctx, tx, org, apikey.Place{OwnerID: key.OwnerID, ProjectID: key.ProjectID}, &g); err != nil {
			return err
		}
		if g.Known, err = seenSecrets(ctx, tx, org, []string{key.OwnerID}); err != nil {
			return err
		}
		c, err := change(key, g)
		if err != nil || c.Record == nil {
			return err
		}
		if err := replaceSecret(ctx, tx, key, c); err != nil {
			return err
		}
		if err := updateKey(ctx, tx, c.Key); err != nil {
			return err
		}
		return writeAudit(ctx, tx, "accounts", *c.Record)
	})
}

// replaceSecret gives a key its new secret, and keeps the one before for its overlap.
func replaceSecret(ctx context.Context, tx pgx.Tx, was apikey.Key, c apikey.Change) error {
	if c.Secret == nil {
		return nil
	}
	seen, err := witnesses(ctx, tx, was.OrgID, credential{id: c.Secret.ByKey, owners: []string{c.Secret.By}, at: c.Key.SecretAt})
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM accounts.api_key_overlaps WHERE org_id = $1 AND key_id = $2`, was.OrgID, was.ID); err != nil {
		return fmt.Errorf("end overlap: %w", err)
	}
	if !c.Secret.Until.IsZero() {
		_, err := tx.Exec(ctx, `
			INSERT INTO accounts.api_key_overlaps (org_id, key_id, hash, fingerprint, valid_until, replaced_at, secret_by)
			SELECT org_id, key_id, hash, fingerprint, $3, $4, secret_by FROM accounts.api_keys WHERE org_id = $1 AND key_id = $2`,
			was.OrgID, was.ID, c.Secret.Until, c.Key.SecretAt)
		if err != nil {
			return fmt.Errorf("begin overlap: %w", err)
		}
	}
	_, err = tx.Exec(ctx, `
		UPDATE accounts.api_keys SET hash = $3, fingerprint = $4, secret_at = $5, rotate_by = $6, secret_by = $7
		 WHERE org_id = $1 AND key_id = $2`,
		was.OrgID, was.ID, c.Secret.Hash[:], c.Key.Fingerprint, c.Key.SecretAt, nullable(c.Key.RotateBy), seen)
	if err != nil {
		return fmt.Errorf("replace secret: %w", err)
	}
	return nil
}

// credential is what somebody asks by for a new secret.
type credential struct {
	id     string // of a key or a session; "": the platform itself asks
	owners []string
	at     time.Time
}

// witnesses are those who may get to see a secret that somebody asks for: he, and
// whoever may have seen the secret that he asks by: of a key, the one before it too
// while that works; of a program's session, the one that it began with. Else what one
// makes for another would be a way to a secret that only the other seems to know.
func witnesses(ctx context.Context, tx pgx.Tx, org string, c credential) (seen []string, err error) {
	if c.id == "" {
		return c.owners, nil
	}
	err = tx.QueryRow(ctx, `
		SELECT ARRAY(
		  SELECT unnest(k.secret_by) FROM accounts.api_keys k WHERE k.org_id = $1 AND k.key_id = $2
		   UNION SELECT unnest(v.secret_by) FROM accounts.api_key_overlaps v WHERE v.org_id = $1 AND v.key_id = $2 AND v.valid_until > $4
		   UNION SELECT unnest(s.seen_by) FROM accounts.sessions s WHERE s.org_id = $1 AND s.session_id = $2
		   UNION SELECT unnest($3::text[]) ORDER BY 1)`, org, c.id, c.owners, c.at).Scan(&seen)
	if err != nil {
		return nil, fmt.Errorf("read who has seen the credential: %w", err)
	}
	return seen, nil
}

// updateKey writes what can change without the secret.
func updateKey(ctx context.Context, tx pgx.Tx, key apikey.Key) error {
	_, err := tx.Exec(ctx, `
		UPDATE accounts.api_keys SET name = $3, scopes = $4, models = $5, ip_allow = $6::text[]::cidr[],
		       requests_per_minute = $7, tokens_per_minute = $8, concurrent_requests = $9,
		       expires_at = $10, suspended_at = $11, revoked_at = $12, revoked_reason = $13
		 WHERE org_id = $1 AND key_id = $2`,
		key.OrgID, key.ID, key.Name, fromScopes(key.Scopes), key.Models, fromNetworks(key.IPs),
		key.Limits.RequestsPerMinute, key.Limits.TokensPerMinute, key.Limits.ConcurrentRequests,
		nullable(key.ExpiresAt), nullable(key.SuspendedAt), nullable(key.RevokedAt), key.RevokedReason)
	if err != nil {
		return fmt.Errorf("update key: %w", err)
	}
	return nil
}

// selectKeys reads keys with the end of their overlap, which may be past.
const selectKeys = `
	SELECT k.org_id, k.key_id, k.project_id, k.name, k.environment, k.fingerprint, k.scopes, k.models,
	       k.requests_per_minute, k.tokens_per_minute, k.concurrent_requests,
	       k.expires_at, k.revoked_at, k.revoked_reason, k.kind, k.owner_id, k.ip_allow::text[], k.secret_at, k.rotate_by,
	       (SELECT max(v.valid_until) FROM accounts.api_key_overlaps v WHERE v.org_id = k.org_id AND v.key_id = k.key_id),
	       k.suspended_at, k.last_used_at, k.last_used_from, k.created_by, k.created_at
	  FROM accounts.api_keys k `

func lockKey(ctx context.Context, tx pgx.Tx, org, keyID string) (apikey.Key, error) {
	return oneKey(ctx, tx, org, keyID, "FOR NO KEY UPDATE OF k")
}

func oneKey(ctx context.Context, tx pgx.Tx, org, keyID, lock string) (apikey.Key, error) {
	rows, err := tx.Query(ctx, selectKeys+`WHERE k.org_id = $1 AND k.key_id = $2 `+lock, org, keyID)
	if err != nil {
		return apikey.Key{}, fmt.Errorf("query key: %w", err)
	}
	key, err := pgx.CollectExactlyOneRow(rows, scanKey)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return key, apikey.ErrNoKey()
	case err != nil:
		return key, fmt.Errorf("read key: %w", err)
	}
	return key, nil
}

// GetKey implements [apikey.Store].
func (k *Keys) GetKey(ctx context.Context, org, keyID string) (key apikey.Key, err error) {
	err = k.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		key, err = oneKey(ctx, tx, org, keyID, "")
		return err
	})
	return key, err
}

// ListKeys implements [apikey.Store].
func (k *Keys) ListKeys(ctx context.Context, org string, l apikey.Listing) (keys []apikey.Key, err error) {
	projects := l.Reach.Projects
	if projects == nil {
		projects = []string{}
	}
	err = k.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, selectKeys+`
			CROSS JOIN LATERAL (SELECT CASE
			       WHEN k.revoked_at IS NOT NULL THEN 'revoked'
			       WHEN k.expires_at <= $12 THEN 'expired'
			       WHEN k.suspended_at IS NOT NULL THEN 'suspended'
			       WHEN EXISTS (SELECT FROM accounts.api_key_overlaps v WHERE v.org_id = k.org_id AND v.key_id = k.key_id AND v.valid_until > $12) THEN 'rotating'
			       ELSE 'active' END AS state) s
			 WHERE k.org_id = $1 AND k.key_id > $2
			   AND ($4 OR k.project_id = ANY ($5::text[]) OR ($6 <> '' AND k.owner_id = $6))
			   AND ($7 = '' OR s.state = $7) AND ($8 = '' OR k.owner_id = $8) AND ($9 = '' OR k.project_id = $9)
			   AND ($10 = '' OR k.environment = $10)
			   AND ($11 = '' OR k.rotate_by <= $12 AND s.state NOT IN ('revoked', 'expired'))
			 ORDER BY k.key_id LIMIT $3`,
			org, l.After, l.Limit, l.Reach.All, projects, l.Reach.OwnerID, string(l.State), l.OwnerID, l.ProjectID,
			string(l.Environment), string(l.RotationDue), l.Now)
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
	var scopes, networks []string
	var expires, revoked, rotateBy, overlap, suspended, used *time.Time
	err := row.Scan(&k.OrgID, &k.ID, &k.ProjectID, &k.Name, &k.Environment, &k.Fingerprint, &scopes, &k.Models,
		&k.Limits.RequestsPerMinute, &k.Limits.TokensPerMinute, &k.Limits.ConcurrentRequests,
		&expires, &revoked, &k.RevokedReason, &k.Kind, &k.OwnerID, &networks, &k.SecretAt, &rotateBy,
		&overlap, &suspended, &used, &k.LastUsedFrom, &k.CreatedBy, &k.CreatedAt)
	if err != nil {
		return apikey.Key{}, fmt.Errorf("scan key: %w", err)
	}
	k.Scopes, k.ExpiresAt, k.RevokedAt, k.RotateBy = toScopes(scopes), moment(expires), moment(revoked), moment(rotateBy)
	k.Overlap, k.SuspendedAt, k.LastUsedAt = moment(overlap), moment(suspended), moment(used)
	k.SecretAt, k.CreatedAt = k.SecretAt.UTC(), k.CreatedAt.UTC()
	if k.IPs, err = toNetworks(networks); err != nil {
		return apikey.Key{}, err
	}
	return k, nil
}

// NoteUses implements [apikey.UseSink]. It works under [RoleGateway], through a
// function only.
func (k *Keys) NoteUses(ctx context.Context, uses []apikey.Use) error {
	orgs, keys, times, from := make([]string, len(uses)), make([]string, len(uses)), make([]time.Time, len(uses)), make([]string, len(uses))
	for i, u := range uses {
		orgs[i], keys[i], times[i], from[i] = u.OrgID, u.KeyID, u.At, u.Address
	}
	_, err := k.db.pool.Exec(ctx, `SELECT accounts.note_use($1, $2, $3, $4)`, orgs, keys, times, from)
	return translate(err)
}

// insertKey writes a key that is asked for by a credential; that of a founding by none.
func insertKey(ctx context.Context, tx pgx.Tx, key apikey.Key, h apikey.Hash, by string) error {
	seen, err := witnesses(ctx, tx, key.OrgID, credential{id: by, owners: []string{key.SecretBy}, at: key.CreatedAt})
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO accounts.api_keys (org_id, key_id, project_id, name, environment, hash, fingerprint, scopes, models,
		       requests_per_minute, tokens_per_minute, concurrent_requests, expires_at, created_by, created_at,
		       kind, owner_id, ip_allow, secret_at, rotate_by, secret_by)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18::text[]::cidr[], $19, $20, $21)`,
		key.OrgID, key.ID, key.ProjectID, key.Name, key.Environment, h[:], key.Fingerprint, fromScopes(key.Scopes), key.Models,
		key.Limits.RequestsPerMinute, key.Limits.TokensPerMinute, key.Limits.ConcurrentRequests,
		nullable(key.ExpiresAt), key.CreatedBy, key.CreatedAt,
		key.Kind, key.OwnerID, fromNetworks(key.IPs), key.SecretAt, nullable(key.RotateBy), seen)
	switch {
	case sqlState(err) == stateForeignKey:
		return fault.New(fault.NotFound, "there is no such project").At("project_id")
	case err != nil:
		return fmt.Errorf("insert key: %w", err)
	}
	return nil
}
