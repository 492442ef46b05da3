package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/organization"
	"github.com/aiaas/aiaas/shared/tenant"
)

const selectPlans = `
	SELECT plan_id, name, requests_per_minute, tokens_per_minute, concurrent_requests,
	       key_requests_per_minute, key_tokens_per_minute, key_concurrent_requests,
	       max_members, max_projects, max_keys, created_at, updated_at
	  FROM accounts.plans`

func scanPlan(row pgx.CollectableRow) (organization.Plan, error) {
	var p organization.Plan
	org, key := &p.Bounds.Org, &p.Bounds.Key
	err := row.Scan(&p.ID, &p.Name, &org.RequestsPerMinute, &org.TokensPerMinute, &org.ConcurrentRequests,
		&key.RequestsPerMinute, &key.TokensPerMinute, &key.ConcurrentRequests,
		&p.MaxMembers, &p.MaxProjects, &p.MaxKeys, &p.CreatedAt, &p.UpdatedAt)
	if err != nil {
		return p, fmt.Errorf("scan plan: %w", err)
	}
	p.CreatedAt, p.UpdatedAt = p.CreatedAt.UTC(), p.UpdatedAt.UTC()
	return p, nil
}

// Plans implements [organization.Plans].
func (s *Tenants) Plans(ctx context.Context, after string, limit int) (list []organization.Plan, err error) {
	err = s.db.Do(ctx, func(tx pgx.Tx) error {
		list, err = readPlans(ctx, tx, `WHERE plan_id COLLATE "C" > $1 ORDER BY plan_id COLLATE "C" LIMIT $2`, after, limit)
		return err
	})
	return list, err
}

func readPlans(ctx context.Context, tx pgx.Tx, rest string, args ...any) ([]organization.Plan, error) {
	rows, err := tx.Query(ctx, selectPlans+` `+rest, args...)
	if err != nil {
		return nil, fmt.Errorf("query plans: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanPlan)
	if err != nil {
		return nil, fmt.Errorf("read plans: %w", err)
	}
	return list, nil
}

// planLock orders the changes of plans: of one that is not there yet there is no row
// to lock.
const planLock = 0x61696161730003

// SavePlan implements [organization.Plans].
func (s *Tenants) SavePlan(
	ctx context.Context, id tenant.Plan, most int, edit func(*organization.Plan) (organization.Plan, *audit.Record, error),
) (saved organization.Plan, orgs []string, err error) {
	err = s.db.Do(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(planLock)); err != nil {
			return fmt.Errorf("lock plans: %w", err)
		}
		found, err := readPlans(ctx, tx, `WHERE plan_id = $1`, id)
		if err != nil {
			return err
		}
		var was *organization.Plan
		if len(found) == 1 {
			was = &found[0]
		}
		var rec *audit.Record
		if saved, rec, err = edit(was); err != nil || rec == nil {
			return err
		}
		if err := upsertPlan(ctx, tx, saved); err != nil {
			return err
		}
		if orgs, err = organizationsOf(ctx, tx, id, most); err != nil {
			return err
		}
		return writeAudit(ctx, tx, "accounts", *rec)
	})
	return saved, orgs, err
}

func upsertPlan(ctx context.Context, tx pgx.Tx, p organization.Plan) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO accounts.plans (plan_id, name, requests_per_minute, tokens_per_minute, concurrent_requests,
		       key_requests_per_minute, key_tokens_per_minute, key_concurrent_requests, max_members, max_projects, max_keys, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
		ON CONFLICT (plan_id) DO UPDATE SET name = excluded.name,
		       requests_per_minute = excluded.requests_per_minute, tokens_per_minute = excluded.tokens_per_minute,
		       concurrent_requests = excluded.concurrent_requests, key_requests_per_minute = excluded.key_requests_per_minute,
		       key_tokens_per_minute = excluded.key_tokens_per_minute, key_concurrent_requests = excluded.key_concurrent_requests,
		       max_members = excluded.max_members, max_projects = excluded.max_projects, max_keys = excluded.max_keys, updated_at = excluded.updated_at`,
		p.ID, p.Name, p.Bounds.Org.RequestsPerMinute, p.Bounds.Org.TokensPerMinute, p.Bounds.Org.ConcurrentRequests,
		p.Bounds.Key.RequestsPerMinute, p.Bounds.Key.TokensPerMinute, p.Bounds.Key.ConcurrentRequests,
		p.MaxMembers, p.MaxProjects, p.MaxKeys, p.CreatedAt, p.UpdatedAt)
	if err != nil {
		return fmt.Errorf("save plan: %w", err)
	}
	return nil
}

func organizationsOf(ctx context.Context, tx pgx.Tx, id tenant.Plan, most int) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT org_id FROM accounts.organizations WHERE plan = $1 ORDER BY org_id LIMIT $2`, id, most)
	if err != nil {
		return nil, fmt.Errorf("query organisations: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string]) //nolint:wrapcheck // translated by Do
}

// DeletePlan implements [organization.Plans].
func (s *Tenants) DeletePlan(ctx context.Context, id tenant.Plan, rec audit.Record) error {
	return s.db.Do(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM accounts.plans WHERE plan_id = $1`, id)
		switch {
		case sqlState(err) == stateForeignKey:
			return fault.New(fault.Conflict, "there are organizations on this plan")
		case err != nil:
			return fmt.Errorf("delete plan: %w", err)
		case tag.RowsAffected() == 0:
			return fault.New(fault.NotFound, "there is no such plan")
		}
		return writeAudit(ctx, tx, "accounts", rec)
	})
}
