package client

import (
	"net/http"
	"strings"
	"time"
)

func organizations() source {
	return source{path: "/v1/organizations", about: "name", role: rolePlatform}
}

func plans() source { return source{path: "/v1/plans", about: "name", role: rolePlatform} }

func orgGroup() group {
	return group{name: "org", short: "Keep the own organization; as the platform, all of them", commands: append(ownCommands(), tenantCommands()...)}
}

func ownCommands() []command {
	return []command{
		{
			use: "show", short: "Show the own organization and its settings", role: roleAdmin,
			method: http.MethodGet, path: "/v1/organization",
		},
		{
			use: "set", short: "Change the own organization and its settings", role: roleAdmin,
			long: "What is not given stays. An empty --allow-from or --mfa-roles takes all away. Settings that would lock out\n" +
				"whoever calls are refused unless --force is given.",
			example: "  aiaas org set --allow-from 192.0.2.0/24,2001:db8::/32\n  aiaas org set --billing-contact billing@example.com --key-max-days 90",
			method:  http.MethodPatch, path: "/v1/organization", prepare: someChange,
			flags: append(headFlags(),
				flag{name: "allow-from", to: "body:settings.ip_allow_list", kind: texts, doc: "addresses and networks that it can be used from"},
				flag{name: "mfa-roles", to: "body:settings.mfa_required_roles", kind: texts, doc: "roles that need a second factor, besides those that always do"},
				flag{name: "key-max-days", to: "body:settings.key_max_days", kind: number, doc: "the longest that a new key may live; 0 is without end"},
				flag{name: "force", to: "body:force", kind: yes, doc: "take settings that lock out whoever calls, too"},
			),
		},
		{
			use: "delete SLUG", short: "Close the own organization: all its keys stop", role: roleAdmin, args: []source{anything()},
			long:   "For its owner, who names it by its slug. The data stays for its retention; the platform can reopen it for 30 days.",
			method: http.MethodDelete, path: "/v1/organization", done: "{0} is closed.",
			prepare: func(k *call) error { k.query.Set("confirm", k.args[0]); return nil },
			ask:     "Close {0}? All its keys stop, this one too.",
		},
	}
}

// headFlags are what people know an organisation by.
func headFlags() []flag {
	return []flag{
		{name: "name", to: "body:name", doc: "what people call it"},
		{name: "slug", to: "body:slug", doc: "a short name that nobody else has"},
		{name: "time-zone", to: "body:time_zone", doc: "of its months and budgets, such as Europe/Berlin"},
		{name: "billing-contact", to: "body:contacts.billing", doc: "an e-mail address"},
		{name: "security-contact", to: "body:contacts.security", doc: "an e-mail address"},
		{name: "technical-contact", to: "body:contacts.technical", doc: "an e-mail address"},
	}
}

func tenantCommands() []command {
	return append([]command{
		{
			use: "list", short: "List organizations", role: rolePlatform,
			method: http.MethodGet, path: "/v1/organizations", list: true, paged: true, columns: []column{
				{title: "ID", path: "id"}, {title: "NAME", path: "name"}, {title: "SLUG", path: "slug"}, {title: "STATUS", path: "status"},
				{title: "SERVES", path: "serves"}, {title: "PLAN", path: "plan"}, {title: "CURRENCY", path: "currency"}, {title: "CREATED", path: "created_at"},
			},
			flags: []flag{
				{name: "status", to: "query:status", doc: "only those in this state", values: []string{"active", "trial", "suspended", "closed"}},
				{name: "plan", to: "query:plan", doc: "only those on this plan", complete: plans()},
				{name: "search", to: "query:q", doc: "only those with this in their name or slug"},
			},
		},
		{
			use: "get ORG", short: "Show an organization", role: rolePlatform, args: []source{organizations()},
			method: http.MethodGet, path: "/v1/organizations/{0}",
		},
		{
			use: "create", short: "Create an organization with an owner, and show the owner's first key this once", role: rolePlatform,
			example: "  aiaas org create --name \"Example Ltd\" --owner-email ada@example.com --plan business",
			method:  http.MethodPost, path: "/v1/organizations", prepare: trialEnd,
			flags: append(headFlags(),
				flag{name: "owner-email", to: "body:owner.email", doc: "who owns it", required: true},
				flag{name: "owner-name", to: "body:owner.name", doc: "the owner's name"},
				flag{name: "plan", to: "body:plan", doc: "its limits (default starter)", complete: plans()},
				flag{name: "currency", to: "body:currency", doc: "such as USD (default: the price book's)"},
				flag{name: "price-book", to: "body:price_book", doc: "its prices (default: the first in the currency)"},
				trialFlag(),
			),
		},
		{
			use: "change ORG", short: "Change an organization's plan, limits and more", role: rolePlatform, args: []source{organizations()},
			long:   "What is not given stays; but of the limits, those that are not given are the plan's as soon as one is.",
			method: http.MethodPatch, path: "/v1/organizations/{0}",
			prepare: func(k *call) error {
				if err := trialEnd(k); err != nil {
					return err
				}
				return someChange(k)
			},
			flags: append(append(headFlags(), limitFlags()...),
				flag{name: "plan", to: "body:plan", doc: "its limits, where it has none of its own", complete: plans()},
				flag{name: "currency", to: "body:currency", doc: "as long as nothing was counted in another"},
				flag{name: "price-book", to: "body:price_book", doc: "its prices"},
				flag{name: "legal-hold", to: "body:legal_hold", kind: yes, doc: "prune nothing of it; --legal-hold=false ends that"},
				trialFlag(),
			),
		},
	}, append(statusCommands(), entitlementCommands()...)...)
}

func trialFlag() flag {
	return flag{name: "trial-ends", doc: "when its trial ends: a date, a time (RFC 3339), or a span such as 30d"}
}

func trialEnd(k *call) error {
	v := k.values["trial-ends"]
	if !v.given() {
		return nil
	}
	at, err := k.moment(v.text, 1)
	if err != nil {
		return Usage("--trial-ends: %v", err)
	}
	k.body["trial_ends_at"] = at.UTC().Format(time.RFC3339)
	return nil
}

func limitFlags() []flag {
	var out []flag
	for _, name := range []string{
		"requests_per_minute", "tokens_per_minute", "concurrent_requests", "key_requests_per_minute", "key_tokens_per_minute", "key_concurrent_requests",
	} {
		doc := "of all its keys together; 0 is none"
		if strings.HasPrefix(name, "key_") {
			doc = "of each key that has no limit of its own; 0 is none"
		}
		out = append(out, flag{name: strings.ReplaceAll(name, "_", "-"), to: "body:limits." + name, kind: number, doc: doc})
	}
	return out
}

func statusCommands() []command {
	reason := flag{name: "reason", to: "body:reason", doc: "why; its owners read it", required: true}
	return []command{
		{
			use: "suspend ORG", short: "Refuse all keys of an organization, within a second", role: rolePlatform, args: []source{organizations()},
			method: http.MethodPost, path: "/v1/organizations/{0}/suspend", flags: []flag{reason}, ask: "Suspend {0}? All its keys are refused from then on.",
		},
		{
			use: "activate ORG", short: "Let a suspended or closed organization go on, or end its trial", role: rolePlatform, args: []source{organizations()},
			method: http.MethodPost, path: "/v1/organizations/{0}/activate", flags: []flag{{name: "reason", to: "body:reason", doc: "why"}},
		},
		{
			use: "close ORG", short: "Close an organization; for 30 days it can be activated again", role: rolePlatform, args: []source{organizations()},
			method: http.MethodPost, path: "/v1/organizations/{0}/close", flags: []flag{reason}, ask: "Close {0}? All its keys are refused from then on.",
		},
		{
			use: "revoke-key ORG KEY", short: "Revoke a key of an organization", role: rolePlatform, args: []source{organizations(), anything()},
			method: http.MethodPost, path: "/v1/organizations/{0}/keys/{1}/revoke", flags: []flag{reason}, done: "The key is revoked.",
			ask: "Revoke a key of {0}? Whoever uses it is refused from then on, and it can't be undone.",
		},
	}
}

func entitlementCommands() []command {
	return []command{
		{
			use: "models ORG", short: "Show which models an organization may use", role: rolePlatform, args: []source{organizations()},
			method: http.MethodGet, path: "/v1/organizations/{0}/models",
		},
		{
			use: "set-models ORG", short: "Set which models an organization may use", role: rolePlatform, args: []source{organizations()},
			long:    "Without --allowed it may use every model that is open to all; without --granted none besides.",
			example: "  aiaas org set-models org_1 --granted llama-3.3-70b\n  aiaas org set-models org_1 --allowed demo",
			method:  http.MethodPut, path: "/v1/organizations/{0}/models", prepare: entitled,
			flags: []flag{
				{name: "allowed", to: "body:allowed", kind: texts, doc: "the only ones of those that are open to all", complete: models()},
				{name: "granted", to: "body:granted", kind: texts, doc: "these besides, also restricted ones", complete: models()},
			},
		},
	}
}

// entitled fills what was not given: the body is the whole entitlement.
func entitled(k *call) error {
	if _, given := k.body["allowed"]; !given {
		k.body["allowed"] = nil
	}
	if _, given := k.body["granted"]; !given {
		k.body["granted"] = []string{}
	}
	return nil
}

func planGroup() group {
	return group{name: "plan", short: "Keep plans: named sets of limits", commands: []command{
		{
			use: "list", short: "List plans", role: rolePlatform,
			method: http.MethodGet, path: "/v1/plans", list: true, paged: true, columns: []column{
				{title: "ID", path: "id"}, {title: "NAME", path: "name"}, {title: "REQUESTS/MIN", path: "limits.requests_per_minute"},
				{title: "TOKENS/MIN", path: "limits.tokens_per_minute"}, {title: "CONCURRENT", path: "limits.concurrent_requests"},
				{title: "KEY REQUESTS/MIN", path: "limits.key_requests_per_minute"}, {title: "KEY TOKENS/MIN", path: "limits.key_tokens_per_minute"},
				{title: "KEY CONCURRENT", path: "limits.key_concurrent_requests"},
				{title: "MEMBERS", path: "max_members"}, {title: "PROJECTS", path: "max_projects"}, {title: "KEYS", path: "max_keys"},
			},
		},
		{
			use: "set PLAN", short: "Create a plan, or change all of it", role: rolePlatform, args: []source{plans()},
			long:   "A limit that is not given is 0, which is none. It counts for all organizations of the plan within a second.",
			method: http.MethodPut, path: "/v1/plans/{0}", prepare: wholePlan, ask: "Set all limits of {0}? What is not given is no limit.",
			flags: append(append([]flag{{name: "name", to: "body:name", doc: "what people call it", required: true}}, limitFlags()...),
				flag{name: "max-members", to: "body:max_members", kind: number, doc: "of an organization; 0 is any number"},
				flag{name: "max-projects", to: "body:max_projects", kind: number, doc: "of an organization; 0 is any number"},
				flag{name: "max-keys", to: "body:max_keys", kind: number, doc: "that work, of an organization; 0 is any number"},
			),
		},
		{
			use: "delete PLAN", short: "Delete a plan that no organization has", role: rolePlatform, args: []source{plans()},
			method: http.MethodDelete, path: "/v1/plans/{0}", ask: "Delete the plan {0}?", done: "{0} is deleted.",
		},
	}}
}

// wholePlan fills what was not given: the body is the whole plan.
func wholePlan(k *call) error {
	for _, f := range k.flags {
		_, path, _ := strings.Cut(f.to, ":")
		if f.kind == number && !k.values[f.name].given() {
			put(k.body, path, 0)
		}
	}
	return nil
}
