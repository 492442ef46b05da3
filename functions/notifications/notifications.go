// Package notifications is the function that tells others what happened: events to
// webhooks, and mails to people. It owns their form on the wire; the rules are those
// of the packages event and mail.
package notifications

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/aiaas/aiaas/shared/event"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/rest"
)

// The jobs about events.
const (
	JobDispatch    = "dispatch"     // moves events from the outboxes to the log
	JobDeliver     = "deliver"      // posts what is due
	JobPruneEvents = "prune-events" // removes what is older than the log keeps
)

const (
	dispatchEvery = 500 * time.Millisecond
	deliverEvery  = 500 * time.Millisecond
	pruneEvery    = time.Hour
)

// Spec describes the function.
func Spec() function.Spec {
	return function.Spec{
		Name: "notifications", Service: function.Accounts, Summary: "Tells what happened, by webhook and by mail",
		MemoryMiB: 256, Timeout: time.Minute,
		Routes: slices.Concat(eventRoutes(), webhookRoutes(), mailRoutes()),
		Schedules: slices.Concat([]function.Schedule{
			{Job: JobDispatch, Every: dispatchEvery},
			{Job: JobDeliver, Every: deliverEvery},
			{Job: JobPruneEvents, Every: pruneEvery},
		}, mailSchedules()),
	}
}

// New makes the function's HTTP handler.
func New(events *event.Service, mails *mail.Service, auth rest.Authenticator, log *slog.Logger) *rest.API {
	api := rest.New(Spec(), auth, log)
	register(api, &handlers{svc: events}, &mailHandlers{svc: mails})
	return api
}

// Describe adds the function's routes to the OpenAPI document.
func Describe(doc *rest.Document) { register(doc.API(Spec()), &handlers{}, &mailHandlers{}) }

func register(api *rest.API, h *handlers, m *mailHandlers) {
	registerEvents(api, h)
	registerWebhooks(api, h)
	registerMails(api, m)
}

// Dispatcher moves events, as event.Dispatcher does.
type Dispatcher interface {
	Dispatch(ctx context.Context) (function.Counts, error)
	Prune(ctx context.Context) (function.Counts, error)
}

// Deliverer posts events, as event.Deliverer does.
type Deliverer interface {
	Deliver(ctx context.Context) (function.Counts, error)
}

// EventJobs are the function's jobs about events.
func EventJobs(d Dispatcher, p Deliverer) map[string]function.Job {
	return map[string]function.Job{JobDispatch: d.Dispatch, JobDeliver: p.Deliver, JobPruneEvents: d.Prune}
}

type handlers struct{ svc *event.Service }
