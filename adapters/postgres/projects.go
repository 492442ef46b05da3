package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/project"
)

// Projects keeps projects and their teams in the schema accounts, under
// [RoleAccounts].
type Projects struct{ db *DB }

// NewProjects makes the store of projects.
func NewProjects(db *DB) *Projects { return &Projects{db: db} }

var (
	_ project.Store     = (*Projects)(nil)
	_ project.TeamStore = (*Projects)(nil)
)

const selectProjects = `
	SELECT project_id, name, description, requests_per_minute, tokens_per_minute, concurrent_requests, models, archived_at, created_at, updated_at
	  FROM accounts.projects WHERE org_id = $1`

func scanProject(org string) pgx.RowToFunc[project.Project] {
	return func(row pgx.CollectableRow) (project.Project, error) {
		p := project.Project{OrgID: org}
		var archived, updated *time.Time
		err := row.Scan(&p.ID, &p.Name, &p.Description, &p.Limits.RequestsPerMinute, &p.Limits.TokensPerMinute, &p.Limits.ConcurrentRequests,
			&p.Models, &archived, &p.CreatedAt, &updated)
		if err != nil {
			return p, fmt.Errorf("scan project: %w", err)
		}
		p.CreatedAt, p.ArchivedAt, p.UpdatedAt = p.CreatedAt.UTC(), moment(archived), moment(updated)
		return p, nil
	}
}

// List implements [project.Store].
func (s *Projects) List(ctx context.Context, org string, q project.Query) (list []project.Project, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, selectProjects+` AND project_id > $2 AND ($3 OR project_id = ANY ($4)) ORDER BY project_id LIMIT $5`,
			org, q.After, q.All, q.Projects, q.Limit)
		if err != nil {
			return fmt.Errorf("query projects: %w", err)
		}
		list, err = pgx.CollectRows(rows, scanProject(org))
		return err //nolint:wrapcheck // translated by InOrg
	})
	return list, err
}

// Get implements [project.Store].
func (s *Projects) Get(ctx context.Context, r project.Ref) (p project.Project, err error) {
	err = s.db.InOrg(ctx, r.OrgID, func(tx pgx.Tx) error {
		p, err = getProject(ctx, tx, r)
		return err
	})
	return p, err
}

func getProject(ctx context.Context, tx pgx.Tx, r project.Ref) (project.Project, error) {
	rows, err := tx.Query(ctx, selectProjects+` AND project_id = $2`, r.OrgID, r.ID)
	if err != nil {
		return project.Project{}, fmt.Errorf("query project: %w", err)
	}
	p, err := pgx.CollectExactlyOneRow(rows, scanProject(r.OrgID))
	if err != nil {
		return p, missing(err, "read project", project.ErrNone())
	}
	return p, nil
}

// lockProjects is how many projects of an organisation are active, and may be.
func lockProjects(ctx context.Context, tx pgx.Tx, org string) (project.Standing, error) {
	a, err := lockOrg(ctx, tx, org)
	if err != nil {
		return project.Standing{}, err
	}
	st := project.Standing{MostActive: a.maxProjects}
	err = tx.QueryRow(ctx, `SELECT count(*) FROM accounts.projects WHERE org_id = $1 AND archived_at IS NULL`, org).Scan(&st.Active)
	if err != nil {
		return st, fmt.Errorf("count projects: %w", err)
	}
	return st, nil
}

// Create implements [project.Store].
func (s *Projects) Create(ctx context.Context, p project.Project, rec audit.Record, check func(project.Standing) error) error {
	return s.db.InOrg(ctx, p.OrgID, func(tx pgx.Tx) error {
		st, err := lockProjects(ctx, tx, p.OrgID)
		if err != nil {
			return err
		}
		if err := check(st); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			INSERT INTO accounts.projects (org_id, project_id, name, description, requests_per_minute, tokens_per_minute, concurrent_requests, models, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`, p.OrgID, p.ID, p.Name, p.Description,
			p.Limits.RequestsPerMinute, p.Limits.TokensPerMinute, p.Limits.ConcurrentRequests, p.Models, p.CreatedAt)
		if err != nil {
			return fmt.Errorf("insert project: %w", err)
		}
		return writeAudit(ctx, tx, "accounts", rec)
	})
}

// Change implements [project.Store].
func (s *Projects) Change(ctx context.Context, r project.Ref, edit func(project.Standing) (project.Project, *audit.Record, error)) (next project.Project, err error) {
	err = s.db.InOrg(ctx, r.OrgID, func(tx pgx.Tx) error {
		st, err := lockProjects(ctx, tx, r.OrgID)
		if err != nil {
			return err
		}
		if st.Project, err = getProject(ctx, tx, r); err != nil {
			return err
		}
		err = tx.QueryRow(ctx, `SELECT count(*) FROM accounts.api_keys WHERE org_id = $1 AND project_id = $2 AND revoked_at IS NULL`, r.OrgID, r.ID).Scan(&st.Keys)
		if err != nil {
			return fmt.Errorf("count keys: %w", err)
		}
		var rec *audit.Record
		if next, rec, err = edit(st); err != nil || rec == nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			UPDATE accounts.projects SET name = $3, description = $4, requests_per_minute = $5, tokens_per_minute = $6, concurrent_requests = $7,
			       models = $8, archived_at = $9, updated_at = $10
			 WHERE org_id = $1 AND project_id = $2`, r.OrgID, r.ID, next.Name, next.Description,
			next.Limits.RequestsPerMinute, next.Limits.TokensPerMinute, next.Limits.ConcurrentRequests, next.Models,
			nullable(next.ArchivedAt), nullable(next.UpdatedAt))
		if err != nil {
			return fmt.Errorf("update project: %w", err)
		}
		return writeAudit(ctx, tx, "accounts", *rec)
	})
	return next, err
}
