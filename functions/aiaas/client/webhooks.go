package client

import (
	"net/http"
	"time"
)

func webhookGroup() group {
	return group{name: "webhook", short: "Have events posted to other systems, and see what became of them", commands: append([]command{
		{
			use: "list", short: "List the organization's webhooks", role: roleAdmin,
			method: http.MethodGet, path: "/v1/webhooks", list: true, paged: true, columns: webhookColumns(),
		},
		{
			use: "get WEBHOOK", short: "Show a webhook", role: roleAdmin, args: []source{webhooks()},
			method: http.MethodGet, path: "/v1/webhooks/{0}",
		},
		{
			use: "create", short: "Create a webhook, and show its secret this once", role: roleAdmin,
			long:    "Deliveries are signed with the secret as Standard Webhooks have it (https://www.standardwebhooks.com).",
			example: "  aiaas webhook create --url https://example.com/aiaas --events 'key.*,budget.threshold_reached'",
			method:  http.MethodPost, path: "/v1/webhooks", flags: webhookFlags(true),
		},
		{
			use: "update WEBHOOK", short: "Change, enable or disable a webhook", role: roleAdmin, args: []source{webhooks()},
			example: "  aiaas webhook update wh_… --enabled=false",
			method:  http.MethodPatch, path: "/v1/webhooks/{0}", flags: webhookFlags(false), prepare: someChange,
		},
		{
			use: "delete WEBHOOK", short: "Delete a webhook with its deliveries", role: roleAdmin, args: []source{webhooks()},
			method: http.MethodDelete, path: "/v1/webhooks/{0}",
			ask: "Delete {0}? Its secret and what is known of its deliveries are gone for good.", done: "{0} is deleted.",
		},
		{
			use: "rotate-secret WEBHOOK", short: "Give a webhook a new secret, and show it this once", role: roleAdmin, args: []source{webhooks()},
			method: http.MethodPost, path: "/v1/webhooks/{0}/rotate-secret",
			flags: []flag{{name: "overlap-seconds", to: "body:overlap_seconds", kind: number, doc: "how long the secret before signs as well (default a day)"}},
		},
		{
			use: "test WEBHOOK", short: "Send a test event to a webhook", role: roleAdmin, args: []source{webhooks()},
			method: http.MethodPost, path: "/v1/webhooks/{0}/test",
		},
		{
			use: "deliveries WEBHOOK", short: "List what was sent to a webhook, the newest first", role: roleAdmin, args: []source{webhooks()},
			method: http.MethodGet, path: "/v1/webhooks/{0}/deliveries", list: true, paged: true, columns: deliveryColumns(),
			flags: []flag{{name: "status", to: "query:status", doc: "only those", values: []string{"pending", "succeeded", "failed"}}},
		},
		{
			use: "replay WEBHOOK", short: "Deliver events again", role: roleAdmin, args: []source{webhooks()},
			example: "  aiaas webhook replay wh_… --since 24h",
			method:  http.MethodPost, path: "/v1/webhooks/{0}/replay", prepare: since,
			flags: []flag{{name: "since", doc: "from when on: a date, a time (RFC 3339), or a span back such as 24h", required: true}},
		},
		{
			use: "replay-delivery DELIVERY", short: "Deliver one event again", role: roleAdmin, args: []source{anything()},
			method: http.MethodPost, path: "/v1/webhook-deliveries/{0}/replay",
		},
	}, eventCommands()...)}
}

func eventCommands() []command {
	return []command{
		{
			use: "events", short: "List what happened, the newest first", role: roleAdmin,
			example: "  aiaas webhook events --type key.created",
			method:  http.MethodGet, path: "/v1/events", list: true, paged: true, columns: eventColumns(),
			flags: []flag{{name: "type", to: "query:type", doc: "only of these types, separated by commas"}},
		},
		{
			use: "types", short: "List the types of events", role: roleAdmin,
			method: http.MethodGet, path: "/v1/event-types", list: true, paged: true,
			columns: []column{{title: "TYPE", path: "type"}, {title: "OBJECT", path: "object"}, {title: "DESCRIPTION", path: "description"}},
		},
	}
}

func webhookFlags(all bool) []flag {
	return []flag{
		{name: "url", to: "body:url", doc: "an https address that events are posted to", required: all},
		{name: "events", to: "body:events", kind: texts, doc: "types of events, key.* for all of a kind, * for all", required: all},
		{name: "description", to: "body:description", doc: "what people call it"},
		{name: "enabled", to: "body:enabled", kind: yes, doc: "whether it is posted to (default true)"},
	}
}

func webhooks() source { return source{path: "/v1/webhooks", about: "url"} }

func since(k *call) error {
	at, err := k.moment(k.values["since"].text, -1)
	if err != nil {
		return Usage("--since: %v", err)
	}
	k.body["since"] = at.UTC().Format(time.RFC3339)
	return nil
}

func webhookColumns() []column {
	return []column{
		{title: "ID", path: "id"}, {title: "URL", path: "url"}, {title: "EVENTS", path: "events"}, {title: "ENABLED", path: "enabled"},
		{title: "FAILING SINCE", path: "failing_since"}, {title: "DISABLED BECAUSE", path: "disabled_reason"},
	}
}

func deliveryColumns() []column {
	return []column{
		{title: "ID", path: "id"}, {title: "EVENT", path: "event_id"}, {title: "TYPE", path: "event_type"}, {title: "STATUS", path: "status"},
		{title: "CREATED", path: "created_at"}, {title: "NEXT", path: "next_attempt_at"}, {title: "ERROR", path: "error"},
	}
}

func eventColumns() []column {
	return []column{
		{title: "AT", path: "timestamp"}, {title: "ID", path: "id"}, {title: "TYPE", path: "type"}, {title: "OBJECT", path: "data.object.id"}, {title: "BY", path: "data.actor"},
	}
}
