package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/member"
)

// maxRoles bounds the roles that one organisation makes.
const maxRoles = 100

const roleTaken = "there is a role of this name already"

// CreateRole implements [member.RoleStore].
func (s *Members) CreateRole(ctx context.Context, m member.Made, rec audit.Record) error {
	return s.db.InOrg(ctx, m.OrgID, func(tx pgx.Tx) error {
		if _, err := lockOrg(ctx, tx, m.OrgID); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			INSERT INTO accounts.roles (org_id, role_id, name, description, permissions, reach, created_by, created_at, updated_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)`,
			m.OrgID, m.ID, m.Name, m.Description, fromActions(m.Permissions), m.Reach, m.CreatedBy, m.CreatedAt)
		if err != nil {
			return named(err, "insert role", roleTaken)
		}
		err = withinRoom(ctx, tx, m.OrgID, room{
			count: `SELECT count(*) FROM accounts.roles WHERE org_id = $1`, most: maxRoles, text: "an organization makes at most %d roles",
		})
		if err != nil {
			return err
		}
		return writeAudit(ctx, tx, "accounts", rec)
	})
}

func fromActions(list []authz.Action) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = string(a)
	}
	return out
}

const selectRoles = `
	SELECT role_id, name, description, permissions, reach, created_by, created_at, updated_at FROM accounts.roles WHERE org_id = $1`

func scanRole(org string) pgx.RowToFunc[member.Made] {
	return func(row pgx.CollectableRow) (member.Made, error) {
		m := member.Made{OrgID: org}
		var permissions []string
		err := row.Scan(&m.ID, &m.Name, &m.Description, &permissions, &m.Reach, &m.CreatedBy, &m.CreatedAt, &m.UpdatedAt)
		if err != nil {
			return m, fmt.Errorf("scan role: %w", err)
		}
		m.Permissions, m.CreatedAt, m.UpdatedAt = toActions(permissions), m.CreatedAt.UTC(), m.UpdatedAt.UTC()
		return m, nil
	}
}

// holders lists everybody's role in an organisation, suspended or not.
const holders = `
	SELECT user_id AS id, role FROM accounts.members WHERE org_id = $1
	 UNION ALL
	SELECT account_id, role FROM accounts.service_accounts WHERE org_id = $1 AND status <> 'deleted'`

// ListRoles implements [member.RoleStore].
func (s *Members) ListRoles(ctx context.Context, org string) (list []member.Made, held map[string]int, err error) {
	held = map[string]int{}
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, selectRoles+` ORDER BY role_id`, org)
		if err != nil {
			return fmt.Errorf("query roles: %w", err)
		}
		if list, err = pgx.CollectRows(rows, scanRole(org)); err != nil {
			return err //nolint:wrapcheck // translated by InOrg
		}
		rows, err = tx.Query(ctx, `SELECT role, count(*) FROM (`+holders+`) h GROUP BY role`, org)
		if err != nil {
			return fmt.Errorf("count roles: %w", err)
		}
		var role string
		var n int
		_, err = pgx.ForEachRow(rows, []any{&role, &n}, func() error { held[role] = n; return nil })
		return err //nolint:wrapcheck // translated by InOrg
	})
	return list, held, err
}

// heldRole reads a role, and who has it, under the organisation's lock.
func heldRole(ctx context.Context, tx pgx.Tx, r member.RoleRef) (member.Made, error) {
	if _, err := lockOrg(ctx, tx, r.OrgID); err != nil {
		return member.Made{}, err
	}
	rows, err := tx.Query(ctx, selectRoles+` AND role_id = $2`, r.OrgID, r.ID)
	if err != nil {
		return member.Made{}, fmt.Errorf("query role: %w", err)
	}
	m, err := pgx.CollectExactlyOneRow(rows, scanRole(r.OrgID))
	if err != nil {
		return m, missing(err, "read role", member.ErrNoRole())
	}
	err = tx.QueryRow(ctx, `SELECT count(*), coalesce(bool_or(id = $3), false) FROM (`+holders+`) h WHERE role = $2`, r.OrgID, r.ID, r.ActorID).
		Scan(&m.Members, &m.Mine)
	if err != nil {
		return m, fmt.Errorf("count members: %w", err)
	}
	return m, nil
}

// knownOfRole reads which secrets of those who have a role others have seen.
func knownOfRole(ctx context.Context, tx pgx.Tx, r member.RoleRef) ([]apikey.Known, error) {
	rows, err := tx.Query(ctx, `SELECT id FROM (`+holders+`) h WHERE role = $2`, r.OrgID, r.ID)
	if err != nil {
		return nil, fmt.Errorf("query holders: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read holders: %w", err)
	}
	return knownSecrets(ctx, tx, r.OrgID, ids...)
}

// ChangeRole implements [member.RoleStore].
func (s *Members) ChangeRole(ctx context.Context, r member.RoleRef, edit func(member.Made) (member.Made, *audit.Record, error)) (next member.Made, err error) {
	err = s.db.InOrg(ctx, r.OrgID, func(tx pgx.Tx) error {
		before, err := heldRole(ctx, tx, r)
		if err != nil {
			return err
		}
		if before.Known, err = knownOfRole(ctx, tx, r); err != nil {
			return err
		}
		var rec *audit.Record
		if next, rec, err = edit(before); err != nil || rec == nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			UPDATE accounts.roles SET name = $3, description = $4, permissions = $5, reach = $6, updated_at = $7 WHERE org_id = $1 AND role_id = $2`,
			r.OrgID, r.ID, next.Name, next.Description, fromActions(next.Permissions), next.Reach, next.UpdatedAt)
		if err != nil {
			return named(err, "update role", roleTaken)
		}
		return writeAudit(ctx, tx, "accounts", *rec)
	})
	return next, err
}

// DeleteRole implements [member.RoleStore].
func (s *Members) DeleteRole(ctx context.Context, r member.RoleRef, check func(member.Made) (audit.Record, error)) error {
	return s.db.InOrg(ctx, r.OrgID, func(tx pgx.Tx) error {
		m, err := heldRole(ctx, tx, r)
		if err != nil {
			return err
		}
		rec, err := check(m)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM accounts.roles WHERE org_id = $1 AND role_id = $2`, r.OrgID, r.ID); err != nil {
			return fmt.Errorf("delete role: %w", err)
		}
		return writeAudit(ctx, tx, "accounts", rec)
	})
}
