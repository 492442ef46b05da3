package catalogue_test

import (
	"encoding/json"
	"testing"
)

const newHook = `{"url":"https://example.com/aiaas","events":["key.*"]}`

// webhookRoutes are calls for the routes about events. {hook} stands for the id of a
// webhook, {gone} for one that may be deleted, {delivery} for a delivery.
func webhookRoutes() map[string]calls {
	const ghost = "/v1/webhooks/wh_0199c0b2f3a47c1e8d6a5b4c3d2e1f00"
	return map[string]calls{
		"listEventTypes": {
			good{admin, "/v1/event-types?limit=200", "", `"type":"key.created"`},
			[]bad{{caller, "/v1/event-types", "", 403, "forbidden"}},
		},
		"listEvents": {
			good{admin, "/v1/events?type=webhook.test", "", `"event_id":"evt_`},
			[]bad{{caller, "/v1/events", "", 403, "forbidden"}, {admin, "/v1/events?cursor=x", "", 400, "invalid_request"}},
		},
		"createWebhook": {
			good{admin, "/v1/webhooks", newHook, `"secret":"whsec_`},
			[]bad{
				{caller, "/v1/webhooks", newHook, 403, "forbidden"},
				{admin, "/v1/webhooks", `{"url":"https://169.254.169.254/","events":["*"]}`, 422, "unprocessable"},
				{admin, "/v1/webhooks", `{"url":"https://example.com/","events":["ghost"]}`, 422, "unprocessable"},
			},
		},
		"listWebhooks": {good{admin, "/v1/webhooks", "", `"failing_since":null`}, []bad{{caller, "/v1/webhooks", "", 403, "forbidden"}}},
		"getWebhook":   {good{admin, "/v1/webhooks/{hook}", "", `"enabled":true`}, []bad{{admin, ghost, "", 404, "not_found"}}},
		"changeWebhook": {
			good{admin, "/v1/webhooks/{hook}", `{"description":"CI"}`, `"description":"CI"`},
			[]bad{{admin, ghost, `{"enabled":false}`, 404, "not_found"}},
		},
		"deleteWebhook": {good{admin, "/v1/webhooks/{gone}", "", ""}, []bad{{admin, ghost, "", 404, "not_found"}}},
		"rotateWebhookSecret": {
			good{admin, "/v1/webhooks/{hook}/rotate-secret", `{}`, `"secret":"whsec_`},
			[]bad{{admin, ghost + "/rotate-secret", `{}`, 404, "not_found"}},
		},
		"testWebhook": {good{admin, "/v1/webhooks/{hook}/test", "", `"event_id":"evt_`}, []bad{{admin, ghost + "/test", "", 404, "not_found"}}},
		"listWebhookDeliveries": {
			good{admin, "/v1/webhooks/{hook}/deliveries", "", `"event_type":"webhook.test"`},
			[]bad{{admin, ghost + "/deliveries", "", 404, "not_found"}},
		},
		"replayWebhook": {
			good{admin, "/v1/webhooks/{hook}/replay", `{"since":"2020-01-01T00:00:00Z"}`, `"deliveries":`},
			[]bad{{admin, ghost + "/replay", `{"since":"2020-01-01T00:00:00Z"}`, 404, "not_found"}},
		},
		"replayWebhookDelivery": {
			good{admin, "/v1/webhook-deliveries/{delivery}/replay", "", `"deliveries":1`},
			[]bad{{admin, "/v1/webhook-deliveries/dlv_0199c0b2f3a47c1e8d6a5b4c3d2e1f00/replay", "", 404, "not_found"}},
		},
	}
}

// webhooks makes what the calls are about, and returns the names and ids.
func (p *platform) webhooks(t *testing.T) []string {
	t.Helper()
	var hook, gone struct{ ID string }
	for _, to := range []*struct{ ID string }{&hook, &gone} {
		if err := json.Unmarshal(p.do("POST", "/v1/webhooks", p.key(admin), newHook).body, to); err != nil {
			t.Fatal(err)
		}
	}
	p.do("POST", "/v1/webhooks/"+hook.ID+"/test", p.key(admin), "")
	p.job("notifications", "dispatch")
	delivery := p.scalar(`SELECT delivery_id FROM accounts.webhook_deliveries WHERE webhook_id = '` + hook.ID + `' LIMIT 1`)
	return []string{"{hook}", hook.ID, "{gone}", gone.ID, "{delivery}", delivery}
}
