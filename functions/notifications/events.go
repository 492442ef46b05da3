package notifications

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/event"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/rest"
)

const eventsTag = "Events"

func eventRoutes() []function.Route {
	return []function.Route{
		{
			Method: http.MethodGet, Path: "/v1/event-types", OperationID: "listEventTypes", Tag: eventsTag, Scope: string(authz.SettingsRead),
			Summary:     "List the types of events",
			Description: "The catalogue: all that a webhook can be told of, by name, and what the details of each may have.",
		},
		{
			Method: http.MethodGet, Path: "/v1/events", OperationID: "listEvents", Tag: eventsTag, Scope: string(authz.SettingsRead),
			Summary:     "List events",
			Description: "What happened in the organization in the last 30 days, the newest first. An event stands here a moment after what it tells of, and is never there without it.",
		},
	}
}

func registerEvents(api *rest.API, h *handlers) {
	rest.Handle(api, "listEventTypes", h.types)
	rest.Handle(api, "listEvents", h.events)
}

// EventType is one line of the catalogue of events.
type EventType struct {
	Type        string            `json:"type" example:"key.created"`
	Object      string            `json:"object" doc:"The kind of what it happens to."`
	Description string            `json:"description"`
	Detail      map[string]string `json:"detail" doc:"The members that data.detail may have; one that does not apply is left out."`
}

type typesInput struct{ rest.Paging }

type typesOutput struct{ Body rest.List[EventType] }

// types is public to every key that may read settings: it says nothing of anybody.
func (h *handlers) types(ctx context.Context, p authz.Principal, in *typesInput) (*typesOutput, error) {
	if err := p.Require(ctx, authz.DoWebhooksRead); err != nil {
		return nil, err
	}
	after, err := in.AfterName()
	if err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(event.Types(), func(t event.Type) bool { return t.Name <= after })
	list = list[:min(len(list), in.Fetch())]
	return &typesOutput{Body: rest.Page(in.Paging, list, func(t event.Type) string { return t.Name }, showType)}, nil
}

func showType(t event.Type) EventType {
	out := EventType{Type: t.Name, Object: t.Object, Description: t.Description, Detail: map[string]string{}}
	for _, f := range t.Fields {
		out.Detail[f.Name] = f.Description
	}
	return out
}

// Event is something that happened.
type Event struct {
	ID        string    `json:"id" doc:"The webhook-id of its deliveries."`
	Type      string    `json:"type" example:"key.created"`
	Timestamp time.Time `json:"timestamp"`
	Data      EventData `json:"data" doc:"As it is posted to webhooks."`
}

// EventData is the member data of an event.
type EventData struct {
	EventID        string         `json:"event_id"`
	OrganizationID string         `json:"organization_id"`
	Object         EventObject    `json:"object" doc:"What it happened to."`
	Actor          string         `json:"actor" doc:"Who did it: the id of a key or person, or a part of the platform."`
	RequestID      string         `json:"request_id,omitempty"`
	Detail         map[string]any `json:"detail"`
}

// EventObject is what an event happened to.
type EventObject struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

type eventsInput struct {
	rest.Paging

	Type  string    `query:"type" maxLength:"300" doc:"Only of these types, separated by commas."`
	Since time.Time `query:"since" doc:"RFC 3339: only from then on."`
}

type eventsOutput struct{ Body rest.List[Event] }

func (h *handlers) events(ctx context.Context, p authz.Principal, in *eventsInput) (*eventsOutput, error) {
	before, err := in.After(id.Event)
	if err != nil {
		return nil, err
	}
	q := event.Query{Before: before, Limit: in.Fetch(), Since: in.Since}
	if in.Type != "" {
		q.Types = strings.Split(in.Type, ",")
	}
	list, err := h.svc.Events(ctx, p, q)
	if err != nil {
		return nil, err
	}
	out := &eventsOutput{Body: rest.Page(in.Paging, list, func(e event.Event) string { return e.ID }, func(e event.Event) Event {
		shown, bad := showEvent(e)
		if bad != nil {
			err = bad
		}
		return shown
	})}
	return out, err
}

func showEvent(e event.Event) (Event, error) {
	out := Event{ID: e.ID, Type: e.Type, Timestamp: e.At}
	if err := json.Unmarshal(e.Payload, &out); err != nil { // its members are those of the payload
		return Event{}, fmt.Errorf("read event %s: %w", e.ID, err)
	}
	return out, nil
}
