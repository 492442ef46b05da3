package open

import (
	"context"
	"math/rand/v2"

	"github.com/aiaas/aiaas/adapters/egress"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/adapters/webhook"
	"github.com/aiaas/aiaas/shared/event"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/mail"
)

// Dispatcher moves events from the outboxes of all services to the log.
func Dispatcher(ctx context.Context, e *function.Env) (*event.Dispatcher, error) {
	log, err := eventLog(ctx, e)
	if err != nil {
		return nil, err
	}
	d := &event.Dispatcher{Log: log.Telling(mail.NewPlanner(e.Log)), Now: e.Now}
	for _, service := range []function.Service{function.Accounts, function.Router, function.Analytics} {
		db, err := DB(ctx, e, service, postgres.RoleNotifier)
		if err != nil {
			return nil, err
		}
		d.Outboxes = append(d.Outboxes, postgres.NewOutbox(db, service))
	}
	return d, nil
}

func eventLog(ctx context.Context, e *function.Env) (*postgres.Events, error) {
	db, err := DB(ctx, e, function.Accounts, postgres.RoleNotifier)
	if err != nil {
		return nil, err
	}
	return postgres.NewEvents(db), nil
}

// maxWebhookHead is how long the head of a receiver's answer may be, in bytes.
const maxWebhookHead = 16 << 10

// Deliverer posts events to webhooks.
func Deliverer(ctx context.Context, e *function.Env) (*event.Deliverer, error) {
	log, err := eventLog(ctx, e)
	if err != nil {
		return nil, err
	}
	vault, err := Secrets(ctx, e)
	if err != nil {
		return nil, err
	}
	rules, err := WebhookRules(ctx, e)
	if err != nil {
		return nil, err
	}
	return function.Shared(ctx, e, "deliverer", func(ctx context.Context) (*event.Deliverer, function.Closer, error) {
		client := egress.Client(rules, nil, egress.Limits{Timeout: event.PostTimeout, MaxHeader: maxWebhookHead})
		d := event.NewDeliverer(ctx, event.DelivererConfig{
			Queue: log, Poster: webhook.New(client, e.Now), Vault: vault, Now: e.Now,
			Random: rand.Float64, Log: e.Log, Background: e.Background,
		})
		e.AddWork(d.Finish)
		return d, d.Finish, nil
	})
}
