package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/apikey"
)

// Founded reports whether the platform has been founded.
func (k *Keys) Founded(ctx context.Context) (bool, error) {
	var yes bool
	err := k.db.pool.QueryRow(ctx, `SELECT accounts.founded()`).Scan(&yes)
	return yes, translate(err)
}

// Found creates the platform's first organisations under [RoleTenants], once: false where somebody
// did before. keep is called before anything becomes visible, to put the keys in
// a safe place; its error undoes all.
func (k *Keys) Found(ctx context.Context, f apikey.Founding, keep func() error) (founded bool, err error) {
	err = k.db.Do(ctx, func(tx pgx.Tx) error {
		// One founder at a time, whatever the number of processes that start.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(foundLock)); err != nil {
			return fmt.Errorf("lock founding: %w", err)
		}
		var taken bool
		if err := tx.QueryRow(ctx, `SELECT accounts.founded()`).Scan(&taken); err != nil || taken {
			return err //nolint:wrapcheck // translated by Do
		}
		for _, o := range f.Organizations {
			if err := foundOrg(ctx, tx, o); err != nil {
				return err
			}
		}
		founded = true
		return keep()
	})
	return founded && err == nil, err
}

const foundLock = 0x61696161730002

func foundOrg(ctx context.Context, tx pgx.Tx, o apikey.FoundedOrg) error {
	kind := "tenant"
	if o.Role.OfPlatform() {
		kind = "platform"
	}
	at := o.Audit[0].At
	b := &pgx.Batch{}
	b.Queue(`SELECT set_config('app.org_id', $1, true)`, o.ID)
	b.Queue(`INSERT INTO accounts.organizations (org_id, name, plan, kind, created_at) VALUES ($1, $2, $3, $4, $5)`, o.ID, o.Name, o.Plan, kind, at)
	b.Queue(`INSERT INTO accounts.projects (org_id, project_id, name, created_at) VALUES ($1, $2, $3, $4)`, o.ID, o.ProjectID, o.Project, at)
	b.Queue(`INSERT INTO accounts.users (user_id, email, created_at) VALUES ($1, $2, $3)`, o.OwnerID, o.Owner, at)
	b.Queue(`INSERT INTO accounts.members (org_id, user_id, role, created_at) VALUES ($1, $2, $3, $4)`, o.ID, o.OwnerID, o.Role, at)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("create organisation: %w", err)
	}
	for _, key := range o.Keys {
		if err := insertKey(ctx, tx, key.Key, key.Hash, ""); err != nil {
			return err
		}
	}
	for _, rec := range o.Audit {
		if err := writeAudit(ctx, tx, "accounts", rec); err != nil {
			return err
		}
	}
	return nil
}
