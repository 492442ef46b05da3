// Package wire builds the function notifications from what its process shares.
package wire

import (
	"context"
	"maps"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/open/access"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/functions/notifications"
	"github.com/aiaas/aiaas/shared/event"
	"github.com/aiaas/aiaas/shared/function"
)

// Wire is the function's [function.Wire].
func Wire(ctx context.Context, env *function.Env) (function.Function, error) {
	db, err := open.DB(ctx, env, function.Accounts, postgres.RoleAccounts)
	if err != nil {
		return function.Function{}, err
	}
	auth, err := access.Authenticator(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	svc, err := webhooks(ctx, env, db)
	if err != nil {
		return function.Function{}, err
	}
	dispatcher, err := open.Dispatcher(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	deliverer, err := open.Deliverer(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	m, err := wireMails(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	all := notifications.EventJobs(dispatcher, deliverer)
	maps.Copy(all, notifications.MailJobs(m.courier, m.reminders))
	jobs, err := open.Jobs(ctx, env, notifications.Spec(), all)
	if err != nil {
		return function.Function{}, err
	}
	return function.Function{HTTP: notifications.New(svc, m.service, auth, env.Log), Jobs: jobs, Ready: db.Ping}, nil
}

func webhooks(ctx context.Context, env *function.Env, db *postgres.DB) (*event.Service, error) {
	vault, err := open.Secrets(ctx, env)
	if err != nil {
		return nil, err
	}
	places, err := open.WebhookRules(ctx, env)
	if err != nil {
		return nil, err
	}
	store := postgres.NewWebhooks(db)
	return &event.Service{Webhooks: store, History: store, Vault: vault, Places: places, Now: env.Now}, nil
}
