// Package wire builds the function invoices from what its process shares.
package wire

import (
	"context"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/open/access"
	"github.com/aiaas/aiaas/adapters/pdf"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/functions/invoices"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/invoice"
)

// Wire is the function's [function.Wire].
func Wire(ctx context.Context, env *function.Env) (function.Function, error) {
	db, err := open.DB(ctx, env, function.Analytics, postgres.RoleAnalytics)
	if err != nil {
		return function.Function{}, err
	}
	billing, err := open.DB(ctx, env, function.Analytics, postgres.RoleBilling)
	if err != nil {
		return function.Function{}, err
	}
	accounts, err := open.DB(ctx, env, function.Accounts, postgres.RoleAccounts)
	if err != nil {
		return function.Function{}, err
	}
	auth, err := access.Authenticator(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	svc := &invoice.Service{
		Books: postgres.NewBilling(billing), Store: postgres.NewInvoices(db), Orgs: postgres.NewKeys(accounts), Now: env.Now, Log: env.Log,
	}
	jobs, err := open.Jobs(ctx, env, invoices.Spec(), invoices.Jobs(svc))
	if err != nil {
		return function.Function{}, err
	}
	return function.Function{HTTP: invoices.New(svc, pdf.Renderer{}, auth, env.Log), Jobs: jobs, Ready: db.Ping}, nil
}
