package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/organization"
)

// Tenants keeps all organisations and the plans, in the schema accounts under
// [RoleTenants].
type Tenants struct{ db *DB }

var (
	_ organization.Tenants = (*Tenants)(nil)
	_ organization.Plans   = (*Tenants)(nil)
)

// NewTenants makes the store.
func NewTenants(db *DB) *Tenants { return &Tenants{db: db} }

const selectOrganizations = `
	SELECT o.org_id, o.name, o.slug, o.kind, o.status, o.status_reason, o.status_at, o.trial_ends_at, o.plan, o.currency,
	       o.price_book, o.time_zone, o.contacts, o.settings, o.allowed_models, o.granted_models, o.legal_hold, o.created_at, o.updated_at,
	       o.requests_per_minute, o.tokens_per_minute, o.concurrent_requests,
	       o.key_requests_per_minute, o.key_tokens_per_minute, o.key_concurrent_requests,
	       l.requests_per_minute, l.tokens_per_minute, l.concurrent_requests,
	       l.key_requests_per_minute, l.key_tokens_per_minute, l.key_concurrent_requests
	  FROM accounts.organizations o JOIN accounts.plans l ON l.plan_id = o.plan`

func scanOrganization(row pgx.CollectableRow) (organization.Organization, error) {
	var o organization.Organization
	var statusAt, trialEnds, updated *time.Time
	var contacts, settings []byte
	own, d := &o.Overrides, &o.Defaults
	err := row.Scan(&o.ID, &o.Name, &o.Slug, &o.Kind, &o.Status, &o.StatusReason, &statusAt, &trialEnds, &o.Plan, &o.Currency,
		&o.PriceBook, &o.Zone, &contacts, &settings, &o.Entitlement.Allowed, &o.Entitlement.Granted, &o.LegalHold, &o.CreatedAt, &updated,
		&own.Org.RequestsPerMinute, &own.Org.TokensPerMinute, &own.Org.ConcurrentRequests,
		&own.Key.RequestsPerMinute, &own.Key.TokensPerMinute, &own.Key.ConcurrentRequests,
		&d.Org.RequestsPerMinute, &d.Org.TokensPerMinute, &d.Org.ConcurrentRequests,
		&d.Key.RequestsPerMinute, &d.Key.TokensPerMinute, &d.Key.ConcurrentRequests)
	if err != nil {
		return o, fmt.Errorf("scan organisation: %w", err)
	}
	o.StatusAt, o.TrialEnds, o.UpdatedAt, o.CreatedAt = moment(statusAt), moment(trialEnds), moment(updated), o.CreatedAt.UTC()
	if err := json.Unmarshal(contacts, &o.Contacts); err != nil {
		return o, fmt.Errorf("read contacts: %w", err)
	}
	o.Settings, err = toSettings(settings)
	return o, err
}

// Organizations implements [organization.Tenants].
func (s *Tenants) Organizations(ctx context.Context, f organization.Filter) (list []organization.Organization, err error) {
	err = s.db.Do(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, selectOrganizations+`
			 WHERE o.org_id > $1 AND $2 IN ('', o.status) AND $3 IN ('', o.plan)
			   AND ($4 = '' OR o.org_id = $4 OR o.name ILIKE $5 OR o.slug ILIKE $5)
			 ORDER BY o.org_id LIMIT $6`, f.After, string(f.Status), string(f.Plan), f.Text, "%"+likely(f.Text)+"%", f.Limit)
		if err != nil {
			return fmt.Errorf("query organisations: %w", err)
		}
		list, err = pgx.CollectRows(rows, scanOrganization)
		return err //nolint:wrapcheck // translated by Do
	})
	return list, err
}

// likely is a text that LIKE takes as it stands.
func likely(text string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(text)
}

// Organization implements [organization.Editor].
func (s *Tenants) Organization(ctx context.Context, org string) (o organization.Organization, err error) {
	err = s.db.Do(ctx, func(tx pgx.Tx) error {
		o, err = oneOrganization(ctx, tx, org, "")
		return err
	})
	return o, err
}

// oneOrganization reads an organisation, with a lock where one is named.
func oneOrganization(ctx context.Context, tx pgx.Tx, org, lock string) (organization.Organization, error) {
	rows, err := tx.Query(ctx, selectOrganizations+` WHERE o.org_id = $1 `+lock, org)
	if err != nil {
		return organization.Organization{}, fmt.Errorf("query organisation: %w", err)
	}
	o, err := pgx.CollectExactlyOneRow(rows, scanOrganization)
	if err != nil {
		return o, missing(err, "read organisation", fault.New(fault.NotFound, "there is no such organization"))
	}
	return o, nil
}

// ChangeOrganization implements [organization.Editor].
func (s *Tenants) ChangeOrganization(ctx context.Context, org string, edit organization.Edit) (o organization.Organization, err error) {
	err = s.db.Do(ctx, func(tx pgx.Tx) error {
		o, err = changeOrganization(ctx, tx, org, edit, func(next organization.Organization) error {
			if err := updateOwn(ctx, tx, next); err != nil {
				return err
			}
			return updateAsPlatform(ctx, tx, next)
		})
		return err
	})
	return o, err
}

// changeOrganization locks an organisation, saves what edit makes of it, and reads it
// again: with another plan it has other limits.
func changeOrganization(ctx context.Context, tx pgx.Tx, org string, edit organization.Edit, save func(organization.Organization) error) (organization.Organization, error) {
	o, err := oneOrganization(ctx, tx, org, "FOR UPDATE OF o")
	if err != nil {
		return o, err
	}
	next, rec, err := edit(o)
	if err != nil || rec == nil {
		return o, err
	}
	if err := save(next); err != nil {
		return o, err
	}
	if err := writeAudit(ctx, tx, "accounts", *rec); err != nil {
		return o, err
	}
	return oneOrganization(ctx, tx, org, "")
}

// updateOwn saves what an organisation may change of itself.
func updateOwn(ctx context.Context, tx pgx.Tx, o organization.Organization) error {
	_, err := tx.Exec(ctx, `
		UPDATE accounts.organizations SET name = $2, slug = $3, contacts = $4, settings = $5, time_zone = $6,
		       status = $7, status_reason = $8, status_at = $9, updated_at = $10
		 WHERE org_id = $1`,
		o.ID, o.Name, o.Slug, o.Contacts, o.Settings, o.Zone, o.Status, o.StatusReason, nullable(o.StatusAt), nullable(o.UpdatedAt))
	return organizationError("update organisation", err)
}

func organizationError(attempted string, err error) error {
	switch {
	case err == nil:
		return nil
	case sqlState(err) == stateUnique:
		return fault.New(fault.Conflict, "another organization has this slug").At("slug")
	case sqlState(err) == stateForeignKey:
		return fault.New(fault.Unprocessable, "there is no such plan").At("plan")
	}
	return fmt.Errorf("%s: %w", attempted, err)
}

// updateAsPlatform saves what the platform alone decides.
func updateAsPlatform(ctx context.Context, tx pgx.Tx, o organization.Organization) error {
	granted := o.Entitlement.Granted
	if granted == nil {
		granted = []string{}
	}
	org, key := o.Overrides.Org, o.Overrides.Key
	_, err := tx.Exec(ctx, `
		UPDATE accounts.organizations SET plan = $2, currency = $3, price_book = $4, trial_ends_at = $5, legal_hold = $6,
		       allowed_models = $7, granted_models = $8,
		       requests_per_minute = $9, tokens_per_minute = $10, concurrent_requests = $11,
		       key_requests_per_minute = $12, key_tokens_per_minute = $13, key_concurrent_requests = $14
		 WHERE org_id = $1`,
		o.ID, o.Plan, o.Currency, o.PriceBook, nullable(o.TrialEnds), o.LegalHold, o.Entitlement.Allowed, granted,
		org.RequestsPerMinute, org.TokensPerMinute, org.ConcurrentRequests, key.RequestsPerMinute, key.TokensPerMinute, key.ConcurrentRequests)
	return organizationError("update organisation", err)
}

// CreateOrganization implements [organization.Tenants].
func (s *Tenants) CreateOrganization(ctx context.Context, f organization.Founding) (ownerID string, err error) {
	err = s.db.Do(ctx, func(tx pgx.Tx) error {
		if err := insertOrganization(ctx, tx, f.Organization); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, `SELECT accounts.ensure_user($1, $2, $3)`, f.UserID, f.Email, f.CreatedAt).Scan(&ownerID)
		if err != nil {
			return fmt.Errorf("find owner: %w", err)
		}
		batch := &pgx.Batch{}
		batch.Queue(`INSERT INTO accounts.projects (org_id, project_id, name, created_at) VALUES ($1, $2, $3, $4)`, f.ID, f.ProjectID, f.Project, f.CreatedAt)
		batch.Queue(`INSERT INTO accounts.members (org_id, user_id, role, name, added_by, created_at) VALUES ($1, $2, 'owner', $3, $4, $5)`,
			f.ID, ownerID, f.Person, f.Key.CreatedBy, f.CreatedAt)
		if err := tx.SendBatch(ctx, batch).Close(); err != nil {
			return fmt.Errorf("insert project and owner: %w", err)
		}
		f.Key.OwnerID, f.Key.SecretBy = ownerID, ownerID // who shows it to him, is the platform
		if err := insertKey(ctx, tx, f.Key, f.Hash, ""); err != nil {
			return err
		}
		for _, rec := range f.Records(ownerID) {
			if err := writeAudit(ctx, tx, "accounts", rec); err != nil {
				return err
			}
		}
		return nil
	})
	return ownerID, err
}

func insertOrganization(ctx context.Context, tx pgx.Tx, o organization.Organization) error {
	const columns = `org_id, name, kind, status, trial_ends_at, plan, currency, price_book, time_zone, contacts, created_at`
	args := []any{
		o.ID, o.Name, o.Kind, o.Status, nullable(o.TrialEnds), o.Plan, o.Currency, o.PriceBook, o.Zone, o.Contacts, o.CreatedAt,
	}
	query := `INSERT INTO accounts.organizations (` + columns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`
	if o.Slug != "" { // else it gets one that nobody else has
		query = `INSERT INTO accounts.organizations (` + columns + `, slug) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`
		args = append(args, o.Slug)
	}
	_, err := tx.Exec(ctx, query, args...)
	return organizationError("insert organisation", err)
}

// RevokeKey implements [organization.Tenants].
func (s *Tenants) RevokeKey(ctx context.Context, r organization.Revocation) error {
	return s.db.Do(ctx, func(tx pgx.Tx) error {
		var name, project string
		var revoked *time.Time
		err := tx.QueryRow(ctx, `SELECT name, project_id, revoked_at FROM accounts.api_keys WHERE org_id = $1 AND key_id = $2 FOR UPDATE`, r.OrgID, r.KeyID).
			Scan(&name, &project, &revoked)
		if err != nil {
			return missing(err, "lock key", fault.New(fault.NotFound, "there is no such API key"))
		}
		if revoked != nil {
			return nil
		}
		batch := &pgx.Batch{}
		batch.Queue(`UPDATE accounts.api_keys SET revoked_at = $3, revoked_reason = $4 WHERE org_id = $1 AND key_id = $2`, r.OrgID, r.KeyID, r.At, r.Reason)
		batch.Queue(`DELETE FROM accounts.api_key_overlaps WHERE org_id = $1 AND key_id = $2`, r.OrgID, r.KeyID)
		if err := tx.SendBatch(ctx, batch).Close(); err != nil {
			return fmt.Errorf("revoke key: %w", err)
		}
		return writeAudit(ctx, tx, "accounts", r.Record.With(map[string]any{"name": name, "project_id": project, "reason": r.Reason}))
	})
}

// OwnOrganization keeps one organisation at a time, as its own people change it, in
// the schema accounts under [RoleAccounts].
type OwnOrganization struct{ db *DB }

var _ organization.Editor = (*OwnOrganization)(nil)

// NewOwnOrganization makes the store.
func NewOwnOrganization(db *DB) *OwnOrganization { return &OwnOrganization{db: db} }

// Organization implements [organization.Editor].
func (s *OwnOrganization) Organization(ctx context.Context, org string) (o organization.Organization, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		o, err = oneOrganization(ctx, tx, org, "")
		return err
	})
	return o, err
}

// ChangeOrganization implements [organization.Editor]. What the platform alone
// decides stays as it is, whatever the edit says: the role can't change it.
func (s *OwnOrganization) ChangeOrganization(ctx context.Context, org string, edit organization.Edit) (o organization.Organization, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		o, err = changeOrganization(ctx, tx, org, edit, func(next organization.Organization) error { return updateOwn(ctx, tx, next) })
		return err
	})
	return o, err
}
