package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/member"
)

// knownSecrets reads which secrets of somebody's keys others have seen. The keys stay
// locked, so that none is rotated meanwhile by what was true before.
func knownSecrets(ctx context.Context, tx pgx.Tx, org string, owners ...string) ([]apikey.Known, error) {
	_, err := tx.Exec(ctx, `
		SELECT FROM accounts.api_keys WHERE org_id = $1 AND owner_id = ANY ($2) AND revoked_at IS NULL
		 ORDER BY key_id FOR NO KEY UPDATE`, org, owners)
	if err != nil {
		return nil, fmt.Errorf("lock keys: %w", err)
	}
	return seenSecrets(ctx, tx, org, owners)
}

// seenSecrets reads without a lock, for those who hold the key that they ask about.
func seenSecrets(ctx context.Context, tx pgx.Tx, org string, owners []string) ([]apikey.Known, error) {
	rows, err := tx.Query(ctx, `
		SELECT k.key_id, k.name, k.scopes, k.owner_id, s.by, k.expires_at
		  FROM accounts.api_keys k, unnest(k.secret_by) AS s(by)
		 WHERE k.org_id = $1 AND k.owner_id = ANY ($2) AND k.revoked_at IS NULL AND s.by <> k.owner_id
		 UNION ALL
		SELECT k.key_id, k.name, k.scopes, k.owner_id, s.by, least(k.expires_at, v.valid_until)
		  FROM accounts.api_keys k JOIN accounts.api_key_overlaps v ON v.org_id = k.org_id AND v.key_id = k.key_id, unnest(v.secret_by) AS s(by)
		 WHERE k.org_id = $1 AND k.owner_id = ANY ($2) AND k.revoked_at IS NULL AND s.by <> k.owner_id
		 UNION ALL
		SELECT c.secret_id, 'client secret …' || c.hint, $3, c.account_id, s.by, NULL
		  FROM accounts.client_secrets c, unnest(c.seen_by) AS s(by) WHERE c.org_id = $1 AND c.account_id = ANY ($2) AND s.by <> c.account_id
		 ORDER BY 1`, org, owners, fromScopes(append(authz.Scopes(), authz.Platform))) // a client secret is good for all that the role gives
	if err != nil {
		return nil, fmt.Errorf("query known secrets: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (k apikey.Known, err error) {
		var scopes []string
		var until *time.Time
		err = row.Scan(&k.KeyID, &k.Name, &scopes, &k.Owner.OwnerID, &k.Witness.OwnerID, &until)
		k.Scopes, k.Until = toScopes(scopes), moment(until)
		return k, err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return nil, fmt.Errorf("read known secrets: %w", err)
	}
	if len(list) == 0 {
		return nil, nil
	}
	return list, describe(ctx, tx, org, list)
}

// describe adds who the owners and the witnesses are.
func describe(ctx context.Context, tx pgx.Tx, org string, list []apikey.Known) error {
	var ids []string
	for _, k := range list {
		ids = append(ids, k.Owner.OwnerID, k.Witness.OwnerID)
	}
	slices.Sort(ids)
	people, err := standings(ctx, tx, org, slices.Compact(ids))
	if err != nil {
		return err
	}
	for i := range list {
		k := &list[i]
		k.Owner = people[k.Owner.OwnerID].Standing
		if w, known := people[k.Witness.OwnerID]; known && w.active {
			k.Witness = w.Standing
		}
	}
	return nil
}

// stander is somebody who may be suspended.
type stander struct {
	apikey.Standing

	active bool
}

// standings reads members and service accounts, by id.
func standings(ctx context.Context, tx pgx.Tx, org string, ids []string) (map[string]stander, error) {
	rows, err := tx.Query(ctx, `
		SELECT h.id, h.role, h.active, r.permissions, coalesce(r.reach, ''), t.ids, t.roles
		  FROM (
		    SELECT user_id AS id, role, status = 'active' AS active FROM accounts.members WHERE org_id = $1 AND user_id = ANY ($2)
		     UNION ALL
		    SELECT account_id, role, status = 'active' FROM accounts.service_accounts
		     WHERE org_id = $1 AND account_id = ANY ($2) AND status <> 'deleted') h
		  LEFT JOIN accounts.roles r ON r.org_id = $1 AND r.role_id = h.role
		  LEFT JOIN LATERAL (
		    SELECT array_agg(x.project_id ORDER BY x.project_id) AS ids, array_agg(x.role ORDER BY x.project_id) AS roles
		      FROM accounts.project_members x WHERE x.org_id = $1 AND x.member_id = h.id) t ON true`, org, ids)
	if err != nil {
		return nil, fmt.Errorf("query people: %w", err)
	}
	people := map[string]stander{}
	s := stander{}
	var permissions, projects, roles []string
	_, err = pgx.ForEachRow(rows, []any{&s.OwnerID, &s.StoredRole, &s.active, &permissions, &s.Custom.Reach, &projects, &roles}, func() error {
		s.OrgID, s.Role, s.Method = org, member.RoleOf(s.StoredRole), authz.ByKey
		s.Custom.Permissions, s.Projects = toActions(permissions), toProjectRoles(projects, roles)
		people[s.OwnerID] = s
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read people: %w", err)
	}
	return people, nil
}
