package hostile_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/functions"
	"github.com/aiaas/aiaas/shared/function"
)

// targets says, for each route, an address that it really serves.
func (p *platform) targets() map[string]string {
	job := p.firstJob()
	list := map[string]string{
		"getReference": "/docs", "getHealth": "/healthz", "getOpenAPI": "/openapi.json", "getReadiness": "/readyz",
		"getAsset": "/assets/now/style.css", "getSignInPage": "/sign-in", "getSecondFactorPage": "/sign-in/second-factor", "getForgotPasswordPage": "/forgot-password",
		"getResetPasswordPage": "/reset-password", "getInvitationPage": "/invitation", "getAccountPage": "/account", "getConsentPage": "/oauth/consent", "getDevicePage": "/device",
		"listApiKeys": "/v1/api-keys", "createApiKey": "/v1/api-keys", "revokeApiKey": "/v1/api-keys/" + p.one.callerID,
		"getApiKey": "/v1/api-keys/" + p.one.spareID, "updateApiKey": "/v1/api-keys/" + p.one.spareID, "rotateApiKey": "/v1/api-keys/" + p.one.spareID + "/rotate",
		"suspendApiKey": "/v1/api-keys/" + p.one.spareID + "/suspend", "resumeApiKey": "/v1/api-keys/" + p.one.spareID + "/resume",
		"getApiKeyPattern": "/v1/api-keys/pattern", "revokeLeakedApiKey": "/v1/api-keys/revoke-leaked",
		"updateBackend": "/v1/backends/" + p.backID,
		"getBilling":    "/v1/billing", "setBilling": "/v1/billing",
		"getSeller": "/v1/sellers/default", "setSeller": "/v1/sellers/default",
		"listBudgets": "/v1/budgets", "createBudget": "/v1/budgets", "getBudget": "/v1/budgets/" + p.budget,
		"changeBudget": "/v1/budgets/" + p.budget, "deleteBudget": "/v1/budgets/" + p.budget, "listBudgetAlerts": "/v1/budgets/" + p.budget + "/alerts",
		"createChatCompletion": "/v1/chat/completions", "createInference": "/v1/inference",
		"listInvoices": "/v1/invoices", "previewInvoice": "/v1/invoices/preview", "runInvoices": "/v1/invoices/runs", "getInvoice": "/v1/invoices/" + p.invoice,
		"getJobRun": "/v1/job-runs/" + p.run, "listJobs": "/v1/jobs", "getJob": "/v1/jobs/" + job, "listJobRuns": "/v1/jobs/" + job + "/runs", "startJob": "/v1/jobs/" + job + "/runs",
		"listModels": "/v1/models", "getModel": "/v1/models/" + modelID, "createModel": "/v1/models", "updateModel": "/v1/models/" + modelID,
		"addBackend": "/v1/models/" + modelID + "/backends", "listPlatformModels": "/v1/platform/models", "getPlatformModel": "/v1/platform/models/" + modelID,
		"listPriceBooks": "/v1/price-books", "listPrices": "/v1/price-books/default/prices", "publishPrice": "/v1/price-books/default/prices",
		"listEventTypes": "/v1/event-types", "listEvents": "/v1/events", "listWebhooks": "/v1/webhooks", "createWebhook": "/v1/webhooks",
		"getWebhook": "/v1/webhooks/" + p.webhook, "changeWebhook": "/v1/webhooks/" + p.webhook, "deleteWebhook": "/v1/webhooks/" + p.webhook,
		"rotateWebhookSecret": "/v1/webhooks/" + p.webhook + "/rotate-secret", "testWebhook": "/v1/webhooks/" + p.webhook + "/test",
		"listWebhookDeliveries": "/v1/webhooks/" + p.webhook + "/deliveries", "replayWebhook": "/v1/webhooks/" + p.webhook + "/replay",
		"replayWebhookDelivery": "/v1/webhook-deliveries/dlv_01a20d00000070008000000000000000/replay",
		"listRequests":          "/v1/requests", "getRequest": "/v1/requests/" + p.request, "getUsage": "/v1/usage",
	}
	maps.Copy(list, peopleTargets())
	maps.Copy(list, p.tenantTargets())
	maps.Copy(list, oauthTargets())
	return list
}

// route is one route of the catalogue, with all that a request to it needs.
type route struct {
	function.Route

	target string
	key    string // that may use it
	body   string // a valid one; "" where it takes none
	bare   bool   // it can do without
	schema schema // of the body
}

// each runs f for every route of the catalogue.
func (p *platform) each(f func(t *testing.T, r route)) {
	p.t.Helper()
	targets := p.targets()
	seen := map[string]bool{}
	for _, e := range functions.Catalogue() {
		for _, r := range e.Spec.Routes {
			seen[r.OperationID] = true
			target, ok := targets[r.OperationID]
			if !ok {
				p.t.Errorf("%s %s is new: say in targets where it is to be found", r.Method, r.Path)
				continue
			}
			x := route{Route: r, target: target, key: p.keyFor(r)}
			if takesBody(r) && !r.Form && len(p.doc.operation(p.t, r).RequestBody.Content) > 0 {
				x.body, x.schema = p.doc.body(p.t, r)
				x.bare = !p.doc.operation(p.t, r).RequestBody.Required
			}
			t := p.t
			t.Run(r.OperationID, func(sub *testing.T) {
				p.t = sub // failures point to the route
				defer func() { p.t = t }()
				f(sub, x)
			})
		}
	}
	for operation := range targets {
		if !seen[operation] {
			p.t.Errorf("targets has %s, and the catalogue has not", operation)
		}
	}
}

func takesBody(r function.Route) bool {
	return r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch
}

func (p *platform) keyFor(r function.Route) string {
	switch {
	case r.Scope == "":
		return ""
	case r.Scope == "platform":
		return p.one.platform
	case r.DataPlane:
		return p.one.caller
	}
	return p.one.admin
}

// document is what these tests read of the OpenAPI document.
type document struct {
	Paths      map[string]map[string]operation
	Components struct{ Schemas map[string]schema }
}

type parameter struct{ Name, In string }

type operation struct {
	Parameters  []parameter
	RequestBody struct {
		Required bool
		Content  map[string]struct {
			Example json.RawMessage
			Schema  schema
		}
	}
	Responses map[string]struct {
		Content map[string]json.RawMessage
	}
}

type schema struct {
	Ref        string `json:"$ref"`
	Type       any
	Properties map[string]schema
	Required   []string
	Enum       []any
}

func (s schema) is(kind string) bool {
	if list, ok := s.Type.([]any); ok {
		for _, k := range list {
			if k == kind {
				return true
			}
		}
	}
	return s.Type == kind
}

// operation is what the document says of a route. OpenAPI has no paths that go on.
func (d *document) operation(t *testing.T, r function.Route) operation {
	t.Helper()
	op, ok := d.Paths[strings.ReplaceAll(r.Path, "...}", "}")][strings.ToLower(r.Method)]
	if !ok {
		t.Errorf("the OpenAPI document lacks %s %s", r.Method, r.Path)
	}
	return op
}

// body is the example of a route's body and its schema, with what it refers to.
func (d *document) body(t *testing.T, r function.Route) (string, schema) {
	t.Helper()
	content := d.operation(t, r).RequestBody.Content["application/json"]
	if len(content.Example) == 0 {
		t.Fatalf("%s has no example of its body", r.OperationID)
	}
	body := string(content.Example)
	if r.OperationID != "createModel" { // else the model of the example is to be one that is there
		body = regexp.MustCompile(`"model":\s*"[^"]*"`).ReplaceAllString(body, `"model":"`+modelID+`"`)
	}
	if of, ok := here()[r.OperationID]; ok {
		body = of.Replace(body)
	}
	return body, d.resolve(content.Schema)
}

// here puts what is there, and what leaves the other requests as they are, in the
// place of what examples name.
func here() map[string]*strings.Replacer {
	return map[string]*strings.Replacer{
		"putOrganizationModels": strings.NewReplacer(`"demo"`, `"`+modelID+`"`, `"llama-3.3-70b"`, `"`+modelID+`"`),
		"changeOwnOrganization": strings.NewReplacer("192.0.2.0/24", "127.0.0.0/8", "90", "0"),
	}
}

func (d *document) resolve(s schema) schema {
	if s.Ref != "" {
		s = d.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
	}
	properties := map[string]schema{}
	for name, p := range s.Properties {
		properties[name] = d.resolve(p)
	}
	s.Properties = properties
	return s
}

// with is a JSON object with one member set to a raw value; the others stay.
func with(t *testing.T, object, member, raw string) string {
	t.Helper()
	var m map[string]json.RawMessage
	must(t, json.Unmarshal([]byte(object), &m))
	m[member] = json.RawMessage(raw)
	out := make([]string, 0, len(m))
	for name, value := range m { // not encoded: a raw value need not be JSON
		quoted, err := json.Marshal(name)
		must(t, err)
		out = append(out, string(quoted)+":"+string(value))
	}
	return "{" + strings.Join(out, ",") + "}"
}
