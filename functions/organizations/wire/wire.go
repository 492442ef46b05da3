// Package wire builds the function organizations from what its process shares.
package wire

import (
	"context"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/open/access"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/functions/organizations"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/organization"
)

// Wire is the function's [function.Wire].
func Wire(ctx context.Context, env *function.Env) (function.Function, error) {
	tenants, err := open.DB(ctx, env, function.Accounts, postgres.RoleTenants)
	if err != nil {
		return function.Function{}, err
	}
	own, err := open.DB(ctx, env, function.Accounts, postgres.RoleAccounts)
	if err != nil {
		return function.Function{}, err
	}
	ledger, err := open.DB(ctx, env, function.Analytics, postgres.RoleAnalytics)
	if err != nil {
		return function.Function{}, err
	}
	catalogue, err := open.DB(ctx, env, function.Router, postgres.RoleGateway)
	if err != nil {
		return function.Function{}, err
	}
	changes, err := open.Changes(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	auth, err := access.Authenticator(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	store, booked := postgres.NewTenants(tenants), postgres.NewBooked(ledger)
	svc := &organization.Service{
		Tenants: store, Plans: store, Ledger: booked, Catalogue: postgres.NewCatalogue(catalogue), Bump: changes, Now: env.Now,
	}
	self := &organization.Own{Store: postgres.NewOwnOrganization(own), Ledger: booked, Bump: changes, Now: env.Now}
	return function.Function{HTTP: organizations.New(svc, self, auth, env.Log), Ready: tenants.Ping}, nil
}
