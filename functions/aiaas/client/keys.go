package client

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
)

func keyGroup() group {
	return group{name: "key", short: "Create, list, change, rotate and revoke API keys", commands: append(keyCommands(), secretCommands()...)}
}

func keyCommands() []command {
	return []command{
		{
			use: "list", short: "List the keys that you may see", role: roleAdmin,
			example: "  aiaas key list --rotation-due\n  aiaas key list --state active --owner user_…",
			method:  http.MethodGet, path: "/v1/api-keys", list: true, paged: true, columns: keyColumns(),
			flags: []flag{
				{name: "state", to: "query:state", doc: "only those in this state", values: []string{"active", "rotating", "suspended", "expired", "revoked"}},
				{name: "owner", to: "query:owner_id", doc: "only those of a member or service account"},
				{name: "project", to: "query:project_id", doc: "only those of a project"},
				{name: "environment", to: "query:environment", doc: "only those for this", values: environments()},
				{name: "rotation-due", to: "query:rotation_due", kind: yes, doc: "only those whose secret is due to be rotated"},
			},
		},
		{
			use: "show KEY", short: "Show a key, but for its secret", role: roleAdmin, args: []source{keys()},
			method: http.MethodGet, path: "/v1/api-keys/{0}",
		},
		{
			use: "create", short: "Create a key, and show it this once", role: roleAdmin,
			long: "The key itself is printed on standard output, once: the platform keeps its SHA-256 only.\n" +
				"It acts for a member or a service account; for you, unless told otherwise.",
			example: "  aiaas key create --name search --scopes inference,models:read --expires 90d\n  aiaas key create --name ci --scopes inference --service-account sa_… --ip 192.0.2.0/24",
			method:  http.MethodPost, path: "/v1/api-keys", prepare: newKey,
			flags: append([]flag{
				{name: "name", to: "body:name", doc: "what people call the key", required: true},
				{name: "scopes", to: "body:scopes", kind: texts, doc: "what it grants", required: true, values: scopes()},
				{name: "member", to: "body:owner.member_id", doc: "the member that it acts for"},
				{name: "service-account", to: "body:owner.service_account_id", doc: "the service account that it acts for"},
				{name: "project", to: "body:project_id", doc: "the project that its usage counts for"},
				{name: "environment", to: "body:environment", doc: "what it is for", values: environments()},
			}, boundFlags()...),
		},
		{
			use: "update KEY", short: "Change what a key grants, within a second", role: roleAdmin, args: []source{keys()},
			example: "  aiaas key update key_… --scopes inference --ip 192.0.2.0/24\n  aiaas key update key_… --reset models,expires",
			method:  http.MethodPatch, path: "/v1/api-keys/{0}", prepare: changedKey,
			flags: append([]flag{
				{name: "name", to: "body:name", doc: "what people call the key"},
				{name: "scopes", to: "body:scopes", kind: texts, doc: "what it grants from now on", values: scopes()},
				{name: "reset", kind: texts, doc: "what is taken away", values: resettable()},
			}, boundFlags()...),
		},
	}
}

// boundFlags bound what a key can be used for.
func boundFlags() []flag {
	return []flag{
		{name: "models", to: "body:models", kind: texts, doc: "the only models that it may use", complete: models()},
		{name: "ip", to: "body:ip_allow_list", kind: texts, doc: "the only networks and addresses that it may be used from"},
		{name: "expires", doc: "when it stops working: a date, a time (RFC 3339), or a span such as 90d"},
		{name: "requests-per-minute", to: "body:limits.requests_per_minute", kind: number, doc: "its own limit"},
		{name: "tokens-per-minute", to: "body:limits.tokens_per_minute", kind: number, doc: "its own limit"},
		{name: "concurrent-requests", to: "body:limits.concurrent_requests", kind: number, doc: "its own limit"},
	}
}

func secretCommands() []command {
	reason := flag{name: "reason", to: "body:reason", doc: "why, for the audit and those who are told"}
	return []command{
		{
			use: "rotate KEY", short: "Give a key a new secret, and show it this once", role: roleAdmin, args: []source{keys()},
			long:    "The new secret is printed on standard output, once. The one before goes on to work for the overlap.",
			example: "  aiaas key rotate key_…\n  aiaas key rotate key_… --overlap 7d",
			method:  http.MethodPost, path: "/v1/api-keys/{0}/rotate", prepare: overlap,
			flags: []flag{{name: "overlap", doc: "how long the secret before goes on to work: 24h (default), 7d at most, 0s: not at all"}},
		},
		{
			use: "suspend KEY", short: "Refuse a key until it is resumed, everywhere within a second", role: roleAdmin, args: []source{keys()},
			method: http.MethodPost, path: "/v1/api-keys/{0}/suspend", flags: []flag{reason},
			ask: "Suspend {0}? Whoever uses it is refused until it is resumed.",
		},
		{
			use: "resume KEY", short: "Let a suspended key work again", role: roleAdmin, args: []source{keys()},
			method: http.MethodPost, path: "/v1/api-keys/{0}/resume", flags: []flag{reason},
		},
		{
			use: "revoke KEY", short: "Revoke a key, everywhere within a second", role: roleAdmin, args: []source{keys()},
			method: http.MethodDelete, path: "/v1/api-keys/{0}",
			flags: []flag{{name: "reason", to: "query:reason", doc: "why, for the audit and those who are told"}},
			ask:   "Revoke {0}? Whoever uses it is refused from then on, and it can't be undone.", done: "{0} is revoked.",
		},
		{
			use: "report-leak", short: "Report a key that was found where it should not be, and revoke it", role: roleNone,
			long: "The key comes from standard input. Having it is proof enough: it is revoked at once, whoever reports it.\n" +
				"The answer is the same for every text, whether it is a key or not.",
			example: "  aiaas key report-leak --source https://example.com/commit/1 < found.txt",
			method:  http.MethodPost, path: "/v1/api-keys/revoke-leaked", prepare: leakedKey,
			flags: []flag{{name: "source", to: "body:source", doc: "where it was found; its organization is told"}},
		},
	}
}

func environments() []string { return []string{"production", "development"} }

func keyColumns() []column {
	return []column{
		{title: "ID", path: "id"}, {title: "NAME", path: "name"}, {title: "STATE", path: "state"}, {title: "FINGERPRINT", path: "fingerprint"},
		{title: "OWNER", path: "owner_id"}, {title: "PROJECT", path: "project_id"}, {title: "EXPIRES", path: "expires_at"},
		{title: "ROTATE BY", path: "rotation.due_at"}, {title: "LAST USED", path: "last_used_at"}, {title: "CREATED", path: "created_at"}, {title: "SCOPES", path: "scopes"},
	}
}

func scopes() (names []string) {
	for _, s := range authz.Scopes() {
		names = append(names, string(s))
	}
	return append(names, string(authz.Platform))
}

func newKey(k *call) error {
	if k.values["member"].given() && k.values["service-account"].given() {
		return Usage("--member and --service-account exclude each other")
	}
	return expiry(k)
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

// resets are what can be taken away from a key, by what the body calls it.
func resets() map[string]string {
	return map[string]string{
		"models": "models", "ip": "ip_allow_list", "expires": "expires_at", "requests-per-minute": "limits.requests_per_minute",
		"tokens-per-minute": "limits.tokens_per_minute", "concurrent-requests": "limits.concurrent_requests",
	}
}

func resettable() []string {
	return []string{"models", "ip", "expires", "requests-per-minute", "tokens-per-minute", "concurrent-requests"}
}

func changedKey(k *call) error {
	if err := expiry(k); err != nil {
		return err
	}
	for _, name := range k.values["reset"].list {
		if k.values[name].given() {
			return Usage("--%s sets what --reset takes away", name)
		}
		put(k.body, resets()[name], nil)
	}
	return someChange(k)
}

// overlap is sent in seconds: days are a word of the command only.
func overlap(k *call) error {
	v := k.values["overlap"]
	if !v.given() {
		return nil
	}
	d, err := time.ParseDuration(v.text)
	if days, isDays := strings.CutSuffix(v.text, "d"); isDays {
		var n int64
		n, err = strconv.ParseInt(days, 10, 16)
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d < 0 || d%time.Second != 0 {
		return Usage("--overlap takes a span such as 24h, 90m or 7d, not %q", v.text)
	}
	k.body["overlap_seconds"] = int64(d / time.Second)
	return nil
}

// largestKey is more than any key has, in bytes.
const largestKey = 4096

func leakedKey(k *call) error {
	raw, err := io.ReadAll(io.LimitReader(k.cmd.InOrStdin(), largestKey))
	if err != nil {
		return wrapped("read key", err)
	}
	key := strings.TrimSpace(string(raw))
	if key == "" {
		return Usage("standard input has no key")
	}
	k.body["key"] = key
	return nil
}
