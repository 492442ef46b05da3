package notifications

import (
	"context"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/event"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/rest"
)

func webhookRoutes() []function.Route {
	const tag = "Webhooks"
	read, write := string(authz.SettingsRead), string(authz.SettingsWrite)
	return []function.Route{
		{
			Method: http.MethodPost, Path: "/v1/webhooks", OperationID: "createWebhook", Tag: tag, Scope: write, Status: http.StatusCreated,
			Summary:     "Create a webhook",
			Description: "The secret is shown once. Events are posted as Standard Webhooks have it: verify `webhook-signature` with any of its libraries, and tell repeated deliveries by `webhook-id`. A delivery is tried fourteen times within three days, until the answer is 2xx; 410 disables the webhook. The status line decides, also where the rest of the answer breaks off; whoever takes longer than 15 seconds to begin has failed, and an answer that takes more than 3 seconds, good or not, has its webhook posted to one event at a time. At most 16 deliveries of an organization are under way at once. The address must be https and of the public Internet, at port 443 or one from 1024 on. Where the operator has listed networks (AIAAS_WEBHOOK_NETWORKS), addresses in them may be http and at any port; a host that is a name is then accepted as well, and looked at whenever it is dialled: if it leads elsewhere, its deliveries fail.",
		},
		{Method: http.MethodGet, Path: "/v1/webhooks", OperationID: "listWebhooks", Tag: tag, Scope: read, Summary: "List webhooks"},
		{Method: http.MethodGet, Path: "/v1/webhooks/{id}", OperationID: "getWebhook", Tag: tag, Scope: read, Summary: "Show a webhook"},
		{
			Method: http.MethodPatch, Path: "/v1/webhooks/{id}", OperationID: "changeWebhook", Tag: tag, Scope: write, Summary: "Change a webhook",
			Description: "What the body does not name stays. While a webhook is disabled nothing is queued for it, and what was pending is given up; once it is enabled, replaying catches up.",
		},
		{
			Method: http.MethodDelete, Path: "/v1/webhooks/{id}", OperationID: "deleteWebhook", Tag: tag, Scope: write, Status: http.StatusNoContent,
			Summary: "Delete a webhook", Description: "With its secrets and its deliveries.",
		},
		{
			Method: http.MethodPost, Path: "/v1/webhooks/{id}/rotate-secret", OperationID: "rotateWebhookSecret", Tag: tag, Scope: write,
			Summary: "Give a webhook a new secret", Description: "It is shown once. During the overlap each delivery is signed with both. While an overlap runs, another rotation is a conflict, unless its overlap is 0: then the newest secret signs alone at once.",
		},
		{
			Method: http.MethodPost, Path: "/v1/webhooks/{id}/test", OperationID: "testWebhook", Tag: tag, Scope: write, Status: http.StatusAccepted,
			Summary: "Send a test event", Description: "An event `webhook.test` to this webhook, whatever it takes, and also while it is disabled. Its deliveries tell what became of it. At most 60 an hour for an organization.",
		},
		{
			Method: http.MethodGet, Path: "/v1/webhooks/{id}/deliveries", OperationID: "listWebhookDeliveries", Tag: tag, Scope: read,
			Summary: "List the deliveries of a webhook", Description: "Of the last 30 days, the newest first, with every attempt.",
		},
		{
			Method: http.MethodPost, Path: "/v1/webhooks/{id}/replay", OperationID: "replayWebhook", Tag: tag, Scope: write, Status: http.StatusAccepted,
			Summary: "Deliver events again", Description: "All events since a moment that the webhook takes, the oldest 10,000 at most, under the ids that they had. At most 10 an hour for an organization.",
		},
		{
			Method: http.MethodPost, Path: "/v1/webhook-deliveries/{id}/replay", OperationID: "replayWebhookDelivery", Tag: tag, Scope: write, Status: http.StatusAccepted,
			Summary: "Deliver one event again", Description: "At most 60 an hour for an organization.",
		},
	}
}

func registerWebhooks(api *rest.API, h *handlers) {
	yes := true
	rest.Handle(api, "createWebhook", h.create, rest.Fails(fault.Conflict),
		rest.RequestExample(NewWebhook{URL: "https://example.com/aiaas", Description: "CI", Events: []string{"key.*", event.TypeThreshold}, Enabled: &yes}),
		rest.ResponseExample(NewlyMade{Webhook: exampleWebhook(), Secret: "whsec_…"}))
	rest.Handle(api, "listWebhooks", h.list)
	rest.Handle(api, "getWebhook", h.get, rest.ResponseExample(exampleWebhook()))
	rest.Handle(api, "changeWebhook", h.change, rest.RequestExample(ChangedWebhook{Events: []string{"*"}}), rest.ResponseExample(exampleWebhook()))
	rest.Handle(api, "deleteWebhook", h.delete)
	day := int(event.DefaultOverlap.Seconds())
	rest.Handle(api, "rotateWebhookSecret", h.rotate, rest.Fails(fault.Conflict), rest.RequestExample(RotatedSecret{OverlapSeconds: &day}))
	rest.Handle(api, "testWebhook", h.test, rest.Fails(fault.RateLimited))
	rest.Handle(api, "listWebhookDeliveries", h.deliveries)
	rest.Handle(api, "replayWebhook", h.replay, rest.Fails(fault.Conflict), rest.Fails(fault.RateLimited),
		rest.RequestExample(Replay{Since: time.Date(2026, 10, 12, 9, 0, 0, 0, time.UTC)}))
	rest.Handle(api, "replayWebhookDelivery", h.replayOne, rest.Fails(fault.Conflict), rest.Fails(fault.RateLimited))
}

// NewWebhook is the body that creates a webhook.
type NewWebhook struct {
	URL         string   `json:"url" maxLength:"2000" example:"https://example.com/aiaas"`
	Description string   `json:"description,omitempty" maxLength:"500"`
	Events      []string `json:"events" minItems:"1" maxItems:"50" nullable:"false" doc:"Types of events, \"key.*\" for all of a kind, \"*\" for all."`
	Enabled     *bool    `json:"enabled,omitempty" nullable:"false" doc:"Left out: true."`
}

// ChangedWebhook is the body that changes a webhook: what is left out stays.
type ChangedWebhook struct {
	URL         *string  `json:"url,omitempty" maxLength:"2000" nullable:"false"`
	Description *string  `json:"description,omitempty" maxLength:"500" nullable:"false"`
	Events      []string `json:"events,omitempty" minItems:"1" maxItems:"50" nullable:"false"`
	Enabled     *bool    `json:"enabled,omitempty" nullable:"false"`
}

// Webhook is an address that hears of events.
type Webhook struct {
	ID             string     `json:"id"`
	URL            string     `json:"url"`
	Description    string     `json:"description"`
	Events         []string   `json:"events" nullable:"false"`
	Enabled        bool       `json:"enabled"`
	DisabledReason *string    `json:"disabled_reason" doc:"Why the platform gave it up; null where it did not."`
	FailingSince   *time.Time `json:"failing_since" doc:"Since when no attempt went well; null where the last one did."`
	OldSecretUntil *time.Time `json:"old_secret_until" doc:"Until when the secret before signs as well; null where none does."`
	CreatedAt      time.Time  `json:"created_at"`
	UpdatedAt      time.Time  `json:"updated_at"`
}

// NewlyMade is a webhook with its secret.
type NewlyMade struct {
	Webhook

	Secret string `json:"secret" doc:"What deliveries are signed with; shown only now."`
}

// RotatedSecret says how long the secret before goes on to sign.
type RotatedSecret struct {
	OverlapSeconds *int `json:"overlap_seconds,omitempty" minimum:"0" maximum:"604800" nullable:"false" doc:"Left out: a day. 0: the secret before signs no more."`
}

// SentTest names the event that was sent.
type SentTest struct {
	EventID string `json:"event_id"`
}

// Replay says from when on.
type Replay struct {
	Since time.Time `json:"since"`
}

// Replayed says how many deliveries are made again.
type Replayed struct {
	Deliveries int `json:"deliveries"`
}

// Delivery is an event on its way to a webhook.
type Delivery struct {
	ID            string     `json:"id"`
	EventID       string     `json:"event_id" doc:"The webhook-id of all attempts."`
	EventType     string     `json:"event_type"`
	Status        string     `json:"status" enum:"pending,succeeded,failed" doc:"failed: given up; it can be replayed."`
	Error         string     `json:"error,omitempty" doc:"Why it was given up."`
	NextAttemptAt *time.Time `json:"next_attempt_at" doc:"null where it is not pending."`
	CreatedAt     time.Time  `json:"created_at"`
	FinishedAt    *time.Time `json:"finished_at"`
	Attempts      []Attempt  `json:"attempts" nullable:"false" doc:"All, the latest last."`
}

// Attempt is one try to deliver.
type Attempt struct {
	At             time.Time `json:"at"`
	DurationMillis int64     `json:"duration_ms"`
	StatusCode     *int      `json:"status_code" doc:"Of the answer; null where none came."`
	Error          string    `json:"error,omitempty"`
	Response       string    `json:"response,omitempty" doc:"The beginning of the answer's body."`
}

type createWebhookInput struct{ Body NewWebhook }

type secretOutput struct{ Body NewlyMade }

func (h *handlers) create(ctx context.Context, p authz.Principal, in *createWebhookInput) (*secretOutput, error) {
	n := event.NewWebhook{URL: in.Body.URL, Description: in.Body.Description, Events: in.Body.Events, Enabled: in.Body.Enabled == nil || *in.Body.Enabled}
	w, secret, err := h.svc.Create(ctx, p, n)
	if err != nil {
		return nil, err
	}
	return &secretOutput{Body: NewlyMade{Webhook: showWebhook(w), Secret: secret}}, nil
}

type listWebhooksInput struct{ rest.Paging }

type listWebhooksOutput struct{ Body rest.List[Webhook] }

func (h *handlers) list(ctx context.Context, p authz.Principal, in *listWebhooksInput) (*listWebhooksOutput, error) {
	after, err := in.After(id.Webhook)
	if err != nil {
		return nil, err
	}
	list, err := h.svc.List(ctx, p, after, in.Fetch())
	if err != nil {
		return nil, err
	}
	return &listWebhooksOutput{Body: rest.Page(in.Paging, list, func(w event.Webhook) string { return w.ID }, showWebhook)}, nil
}

type webhookInput struct {
	ID string `path:"id" maxLength:"64"`
}

type webhookOutput struct{ Body Webhook }

func (h *handlers) get(ctx context.Context, p authz.Principal, in *webhookInput) (*webhookOutput, error) {
	w, err := h.svc.Get(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	return &webhookOutput{Body: showWebhook(w)}, nil
}

type changeWebhookInput struct {
	ID   string `path:"id" maxLength:"64"`
	Body ChangedWebhook
}

func (h *handlers) change(ctx context.Context, p authz.Principal, in *changeWebhookInput) (*webhookOutput, error) {
	b := in.Body
	w, err := h.svc.Update(ctx, p, in.ID, event.Change{URL: b.URL, Description: b.Description, Events: b.Events, Enabled: b.Enabled})
	if err != nil {
		return nil, err
	}
	return &webhookOutput{Body: showWebhook(w)}, nil
}

type nothing struct{}

func (h *handlers) delete(ctx context.Context, p authz.Principal, in *webhookInput) (*nothing, error) {
	return nil, h.svc.Delete(ctx, p, in.ID)
}

type rotateInput struct {
	ID   string         `path:"id" maxLength:"64"`
	Body *RotatedSecret `doc:"May be left out."`
}

func (h *handlers) rotate(ctx context.Context, p authz.Principal, in *rotateInput) (*secretOutput, error) {
	overlap := event.DefaultOverlap
	if in.Body != nil && in.Body.OverlapSeconds != nil {
		overlap = time.Duration(*in.Body.OverlapSeconds) * time.Second
	}
	w, secret, err := h.svc.RotateSecret(ctx, p, in.ID, overlap)
	if err != nil {
		return nil, err
	}
	return &secretOutput{Body: NewlyMade{Webhook: showWebhook(w), Secret: secret}}, nil
}

type testOutput struct{ Body SentTest }

func (h *handlers) test(ctx context.Context, p authz.Principal, in *webhookInput) (*testOutput, error) {
	eventID, err := h.svc.Test(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	return &testOutput{Body: SentTest{EventID: eventID}}, nil
}

type deliveriesInput struct {
	rest.Paging

	ID     string `path:"id" maxLength:"64"`
	Status string `query:"status" enum:"pending,succeeded,failed" doc:"Only those."`
}

type deliveriesOutput struct{ Body rest.List[Delivery] }

func (h *handlers) deliveries(ctx context.Context, p authz.Principal, in *deliveriesInput) (*deliveriesOutput, error) {
	before, err := in.After(id.Delivery)
	if err != nil {
		return nil, err
	}
	list, err := h.svc.Deliveries(ctx, p, event.DeliveryQuery{WebhookID: in.ID, Status: event.Status(in.Status), Before: before, Limit: in.Fetch()})
	if err != nil {
		return nil, err
	}
	return &deliveriesOutput{Body: rest.Page(in.Paging, list, func(d event.Delivery) string { return d.ID }, showDelivery)}, nil
}

type replayInput struct {
	ID   string `path:"id" maxLength:"64"`
	Body Replay
}

type replayedOutput struct{ Body Replayed }

func (h *handlers) replay(ctx context.Context, p authz.Principal, in *replayInput) (*replayedOutput, error) {
	n, err := h.svc.ReplaySince(ctx, p, in.ID, in.Body.Since)
	if err != nil {
		return nil, err
	}
	return &replayedOutput{Body: Replayed{Deliveries: n}}, nil
}

func (h *handlers) replayOne(ctx context.Context, p authz.Principal, in *webhookInput) (*replayedOutput, error) {
	if err := h.svc.ReplayDelivery(ctx, p, in.ID); err != nil {
		return nil, err
	}
	return &replayedOutput{Body: Replayed{Deliveries: 1}}, nil
}

func showWebhook(w event.Webhook) Webhook {
	out := Webhook{
		ID: w.ID, URL: w.URL, Description: w.Description, Events: w.Events, Enabled: w.Enabled, FailingSince: moment(w.FailingSince),
		OldSecretUntil: moment(w.OldUntil), CreatedAt: w.CreatedAt.Truncate(time.Microsecond), UpdatedAt: w.UpdatedAt.Truncate(time.Microsecond),
	}
	if w.DisabledWhy != "" {
		out.DisabledReason = &w.DisabledWhy
	}
	return out
}

func showDelivery(d event.Delivery) Delivery {
	out := Delivery{
		ID: d.ID, EventID: d.EventID, EventType: d.Type, Status: string(d.Status), Error: d.Error, CreatedAt: d.CreatedAt,
		FinishedAt: moment(d.FinishedAt), Attempts: make([]Attempt, 0, len(d.Attempts)),
	}
	if d.Status == event.Pending {
		out.NextAttemptAt = moment(d.NextAt)
	}
	for _, a := range d.Attempts {
		shown := Attempt{At: a.At, DurationMillis: a.Duration.Milliseconds(), Error: a.Error, Response: a.Response}
		if a.Code != 0 {
			shown.StatusCode = &a.Code
		}
		out.Attempts = append(out.Attempts, shown)
	}
	return out
}

// moment is null where there is none.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(t.Truncate(time.Microsecond))
}

func exampleWebhook() Webhook {
	at := time.Date(2026, 10, 12, 9, 0, 0, 0, time.UTC)
	return Webhook{
		ID: "wh_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", URL: "https://example.com/aiaas", Description: "CI",
		Events: []string{event.TypeThreshold, "key.*"}, Enabled: true, CreatedAt: at, UpdatedAt: at,
	}
}
