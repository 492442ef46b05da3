package client

import (
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
)

func keyGroup() group {
	return group{name: "key", short: "Create, list and revoke API keys", commands: []command{
		{
			use: "list", short: "List the organization's keys", role: roleAdmin,
			method: http.MethodGet, path: "/v1/api-keys", list: true, paged: true, columns: keyColumns(),
		},
		{
			use: "create", short: "Create a key, and show it this once", role: roleAdmin,
			long:    "The key itself is printed on standard output, once: the platform keeps its SHA-256 only.",
			example: "  aiaas key create --name search --scopes inference,models:read --expires 90d",
			method:  http.MethodPost, path: "/v1/api-keys", prepare: expiry,
			flags: []flag{
				{name: "name", to: "body:name", doc: "what people call the key", required: true},
				{name: "scopes", to: "body:scopes", kind: texts, doc: "what it grants", required: true, values: scopes()},
				{name: "project", to: "body:project_id", doc: "the project that its usage counts for"},
				{name: "environment", to: "body:environment", doc: "what it is for", values: []string{"production", "development"}},
				{name: "models", to: "body:models", kind: texts, doc: "the only models that it may use", complete: models()},
				{name: "expires", doc: "when it stops working: a date, a time (RFC 3339), or a span such as 90d"},
				{name: "requests-per-minute", to: "body:limits.requests_per_minute", kind: number, doc: "its own limit"},
				{name: "tokens-per-minute", to: "body:limits.tokens_per_minute", kind: number, doc: "its own limit"},
				{name: "concurrent-requests", to: "body:limits.concurrent_requests", kind: number, doc: "its own limit"},
			},
		},
		{
			use: "revoke KEY", short: "Revoke a key, everywhere within a second", role: roleAdmin, args: []source{keys()},
			method: http.MethodDelete, path: "/v1/api-keys/{0}",
			ask: "Revoke {0}? Whoever uses it is refused from then on, and it can't be undone.", done: "{0} is revoked.",
		},
	}}
}

func keyColumns() []column {
	return []column{
		{title: "ID", path: "id"}, {title: "NAME", path: "name"}, {title: "STATE", path: "state"}, {title: "FINGERPRINT", path: "fingerprint"},
		{title: "PROJECT", path: "project_id"}, {title: "EXPIRES", path: "expires_at"}, {title: "CREATED", path: "created_at"}, {title: "SCOPES", path: "scopes"},
	}
}

func scopes() (names []string) {
	for _, s := range authz.Scopes() {
		names = append(names, string(s))
	}
	return names
}

func expiry(k *call) error {
	v := k.values["expires"]
	if !v.given() {
		return nil
	}
	at, err := k.moment(v.text, 1)
	if err != nil {
		return Usage("--expires: %v", err)
	}
	k.body["expires_at"] = at.UTC().Format(time.RFC3339)
	return nil
}
