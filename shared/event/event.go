// Package event tells other systems what happened: one catalogue of events, and
// their delivery to the webhooks of an organisation.
//
// An event is what an audit record says happened. Whoever writes the record writes
// the event beside it, into the outbox of the same schema and in the same
// transaction ([Of]): so there is no event of a change that did not happen, and
// none is lost between the change and its announcement. A [Dispatcher] moves the
// outboxes into the log of events, with one delivery for each webhook that asked
// for the type; a [Deliverer] posts the deliveries, signed as Standard Webhooks
// have it (https://www.standardwebhooks.com).
//
// Delivery is at least once, under one webhook-id for all tries of an event; the
// order is not promised. Which actions are audited is not of this package, nor who
// may be connected to: that is package egress.
package event

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/id"
)

// Event is something that happened in an organisation.
type Event struct {
	ID      string // the webhook-id of all its deliveries
	OrgID   string
	Type    string // of the catalogue: "key.created"
	At      time.Time
	Object  string // the id of what it happened to
	Payload []byte // JSON: the body of a delivery
}

// payload is the body of a delivery: type, timestamp and data are the members that
// Standard Webhooks name.
type payload struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      Data      `json:"data"`
}

// Data is the member of that name.
type Data struct {
	EventID        string         `json:"event_id"`
	OrganizationID string         `json:"organization_id"`
	Object         Object         `json:"object"`
	Actor          string         `json:"actor"`
	RequestID      string         `json:"request_id,omitempty"`
	Detail         map[string]any `json:"detail"`
}

// Object is what an event happened to.
type Object struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

// maxDetail bounds the details of one event, in bytes of JSON.
const maxDetail = 16 << 10

// Of is the event that an audited act is; false where it is none: it was refused,
// or nobody outside needs to hear of it. Of the record's details it has those that
// the catalogue names, and no others.
func Of(r audit.Record) (Event, bool, error) {
	t, ok := typeOf(r)
	if !ok || r.Kept() != audit.Success {
		return Event{}, false, nil
	}
	e := Event{ID: idOf(r.ID), OrgID: r.OrgID, Type: t.Name, At: r.At.UTC(), Object: r.Target}
	detail, err := t.detail(r.Detail)
	if err != nil {
		return Event{}, false, fmt.Errorf("encode event %s: %w", t.Name, err)
	}
	e.Payload, err = json.Marshal(payload{Type: t.Name, Timestamp: e.At, Data: Data{
		EventID: e.ID, OrganizationID: e.OrgID, Object: Object{Kind: t.Object, ID: r.Target}, Actor: r.Actor,
		RequestID: r.RequestID, Detail: detail,
	}})
	if err != nil {
		return Event{}, false, fmt.Errorf("encode event %s: %w", t.Name, err)
	}
	return e, true, nil
}

// idOf is the event's id: that of its record under a prefix of its own, so that
// both can be found by either.
func idOf(auditID string) string {
	return id.Event + "_" + strings.TrimPrefix(auditID, id.Audit+"_")
}

// detail picks what the catalogue names.
func (t Type) detail(all map[string]any) (map[string]any, error) {
	out := map[string]any{}
	for _, f := range t.Fields {
		if v, ok := all[f.Name]; ok {
			out[f.Name] = v
		}
	}
	text, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	if len(text) > maxDetail {
		return map[string]any{"left_out": "The details are too long for an event; the audit has them."}, nil
	}
	return out, nil
}
