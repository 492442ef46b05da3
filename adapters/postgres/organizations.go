package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/invoice"
)

// HeldOrganizations lists the organisations under legal hold.
func (k *Keys) HeldOrganizations(ctx context.Context) (list []string, err error) {
	rows, err := k.db.pool.Query(ctx, `SELECT accounts.held_organizations()`)
	if err != nil {
		return nil, translate(err)
	}
	list, err = pgx.CollectRows(rows, pgx.RowTo[string])
	return list, translate(err)
}

// Organization implements [invoice.Organizations], under [RoleAccounts].
func (k *Keys) Organization(ctx context.Context, org string) (invoice.Organization, error) {
	o := invoice.Organization{ID: org, Projects: map[string]string{}}
	var zone string
	err := k.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `SELECT name, currency, time_zone FROM accounts.organizations WHERE org_id = $1`, org).
			Scan(&o.Name, &o.Currency, &zone)
		if err != nil {
			return missing(err, "read organisation", fault.New(fault.NotFound, "there is no such organisation"))
		}
		rows, err := tx.Query(ctx, `SELECT project_id, name FROM accounts.projects WHERE org_id = $1`, org)
		if err != nil {
			return fmt.Errorf("query projects: %w", err)
		}
		var id, name string
		_, err = pgx.ForEachRow(rows, []any{&id, &name}, func() error { o.Projects[id] = name; return nil })
		if err != nil {
			return fmt.Errorf("read projects: %w", err)
		}
		return nil
	})
	if err != nil {
		return o, err
	}
	o.Zone, err = k.zones.load(zone)
	return o, err
}
