package catalogue_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/functions"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/tests/runtimeapi"
)

// as is whose key a call shows.
type as string

const (
	nobody   as = ""
	caller   as = "api key"
	admin    as = "admin key"
	operator as = "platform key"
	leaver   as = "admin key of an organisation that closes"
)

func (p *platform) key(a as) string {
	if token, ok := p.sessions[a]; ok {
		return token
	}
	switch a {
	case caller:
		return p.keys.APIKey.Reveal()
	case admin:
		return p.keys.AdminKey.Reveal()
	case operator:
		return p.keys.PlatformKey.Reveal()
	case leaver:
		return p.leaver
	default:
	}
	return ""
}

// good is a call that must succeed, and a text that its answer has.
type good struct {
	as           as
	target, body string
	has          string
}

// bad is a call that must be refused.
type bad struct {
	as           as
	target, body string
	status       int
	code         string
}

type calls struct {
	good good
	bad  []bad
}

const (
	ghost   = `{"model":"ghost","messages":[{"role":"user","content":"x"}]}`
	price   = `{"model":"spare","input_usd_per_million":"1","output_usd_per_million":"2"}`
	backend = `{"protocol":"openai","base_url":"https://api.example.com/v1"}`
	newKey  = `{"name":"k","scopes":["inference"]}`
	cap1    = `{"scope":{"organization":true},"unit":"money","amount":"5.00","period":"month","action":"monitor"}`
)

// routes has calls for every route, by operation. {spare} stands for the id of a
// key that may be revoked, {backend} for that of a backend, {budget} of a budget,
// {invoice} of an invoice.
func routes() map[string]calls {
	chat := func(path string) calls {
		return calls{
			good{caller, path, chatBody(modelID, false), `"total_tokens"`},
			[]bad{
				{nobody, path, chatBody(modelID, false), 401, "invalid_api_key"},
				{operator, path, chatBody(modelID, false), 403, "forbidden"},
				{caller, path, ghost, 404, "not_found"},
				{caller, path, `{"model":`, 400, "invalid_request"},
			},
		}
	}
	list := map[string]calls{
		"createInference":      chat("/v1/inference"),
		"createChatCompletion": chat("/v1/chat/completions"),
		"listModels": {
			good{caller, "/v1/models", "", `"id":"model"`},
			[]bad{{nobody, "/v1/models", "", 401, "invalid_api_key"}},
		},
		"getModel": {
			good{caller, "/v1/models/model", "", `"id":"model"`},
			[]bad{{caller, "/v1/models/ghost", "", 404, "not_found"}},
		},
		"createModel": {
			good{operator, "/v1/models", `{"id":"fresh/one"}`, `"id":"fresh/one"`},
			[]bad{
				{operator, "/v1/models", `{"id":"spare"}`, 409, "conflict"},
				{admin, "/v1/models", `{"id":"mine"}`, 403, "forbidden"},
			},
		},
		"addBackend": {
			good{operator, "/v1/models/spare%2Fmodel/backends", backend, `"model":"spare/model"`},
			[]bad{{operator, "/v1/models/ghost/backends", backend, 404, "not_found"}},
		},
		"publishPrice": {
			good{operator, "/v1/price-books/default/prices", price, `"currency":"USD"`},
			[]bad{{operator, "/v1/price-books/default/prices", strings.Replace(price, `"1"`, `"0.0000001"`, 1), 422, "unprocessable"}},
		},
		"listPrices": {
			good{operator, "/v1/price-books/default/prices?model=model", "", `"model":"model"`},
			[]bad{{caller, "/v1/price-books/default/prices?model=model", "", 403, "forbidden"}},
		},
		"listPriceBooks": {
			good{operator, "/v1/price-books", "", `"id":"default"`},
			[]bad{{admin, "/v1/price-books", "", 403, "forbidden"}},
		},
		"listPlatformModels": {
			good{operator, "/v1/platform/models", "", `"id":"spare/model"`},
			[]bad{{caller, "/v1/platform/models", "", 403, "forbidden"}},
		},
		"getPlatformModel": {
			good{operator, "/v1/platform/models/spare%2Fmodel", "", `"id":"spare/model"`},
			[]bad{{operator, "/v1/platform/models/ghost", "", 404, "not_found"}},
		},
		"updateModel": {
			good{operator, "/v1/models/spare%2Fmodel", `{"disabled":true}`, `"disabled":true`},
			[]bad{{operator, "/v1/models/ghost", `{"disabled":true}`, 404, "not_found"}},
		},
		"updateBackend": {
			good{operator, "/v1/backends/{backend}", `{"weight":7}`, `"weight":7`},
			[]bad{{operator, "/v1/backends/{backend}", `{"weight":7}`, 404, "not_found"}},
		},
		"createApiKey": {
			good{admin, "/v1/api-keys", newKey, `"key":"aiaas_live_`},
			[]bad{
				{admin, "/v1/api-keys", `{"name":"k","scopes":["nothing"]}`, 422, "unprocessable"},
				{admin, "/v1/api-keys", `{"name":"k","name":"l","scopes":["inference"]}`, 400, "invalid_request"},
				{caller, "/v1/api-keys", newKey, 403, "forbidden"},
			},
		},
		"listApiKeys": {
			good{admin, "/v1/api-keys?limit=2", "", `"next_cursor":"`},
			[]bad{{nobody, "/v1/api-keys", "", 401, "invalid_api_key"}},
		},
		"revokeApiKey": {
			good{admin, "/v1/api-keys/{spare}", "", ""},
			[]bad{{admin, "/v1/api-keys/key_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", "", 404, "not_found"}},
		},
		"createBudget": {
			good{admin, "/v1/budgets", cap1, `"amount":"5.00"`},
			[]bad{{admin, "/v1/budgets", strings.Replace(cap1, "5.00", "-5", 1), 422, "unprocessable"}},
		},
		"listBudgets": {
			good{admin, "/v1/budgets", "", `"data":[`},
			[]bad{{caller, "/v1/budgets", "", 403, "forbidden"}},
		},
		"getBudget": {
			good{admin, "/v1/budgets/{budget}", "", `"remaining":"5.00"`},
			[]bad{{admin, "/v1/budgets/bud_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", "", 404, "not_found"}},
		},
		"changeBudget": {
			good{admin, "/v1/budgets/{budget}", `{"amount":"7"}`, `"amount":"7.00"`},
			[]bad{
				{caller, "/v1/budgets/bud_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", `{"amount":"7"}`, 403, "forbidden"},
				{admin, "/v1/budgets/bud_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", `{"amount":"7"}`, 404, "not_found"},
			},
		},
		"deleteBudget": {
			good{admin, "/v1/budgets/{budget}", "", ""},
			[]bad{{admin, "/v1/budgets/bud_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", "", 404, "not_found"}},
		},
		"listBudgetAlerts": {
			good{admin, "/v1/budgets/{budget}/alerts", "", `"data":[`},
			[]bad{{admin, "/v1/budgets/bud_0199c0b2f3a47c1e8d6a5b4c3d2e1f00/alerts", "", 404, "not_found"}},
		},
		"runInvoices": { // a month so long ago that it has nothing
			good{operator, "/v1/invoices/runs", `{"period":"2020-02"}`, `"issued":0`},
			[]bad{
				{caller, "/v1/invoices/runs", `{"period":"2020-02"}`, 403, "forbidden"},
				{admin, "/v1/invoices/runs", `{"period":"2020-13"}`, 422, "unprocessable"},
				{admin, "/v1/invoices/runs", `{"period":"9999-01"}`, 422, "unprocessable"},
			},
		},
		"listRequests": {
			good{caller, "/v1/requests?limit=200", "", `"usage":{"input_tokens":`},
			[]bad{
				{operator, "/v1/requests", "", 403, "forbidden"},
				{caller, "/v1/requests?cursor=x", "", 400, "invalid_request"},
				{caller, "/v1/requests?start=2026-02-01T00:00:00Z&end=2026-01-01T00:00:00Z", "", 422, "unprocessable"},
			},
		},
		"getRequest": {
			good{caller, "/v1/requests/{request}", "", `"booked":true`},
			[]bad{{admin, "/v1/requests/req_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", "", 404, "not_found"}},
		},
		"listInvoices": {
			good{admin, "/v1/invoices", "", `"number":"INV-`},
			[]bad{{caller, "/v1/invoices", "", 403, "forbidden"}},
		},
		"previewInvoice": {
			good{admin, "/v1/invoices/preview", "", `"status":"preview"`},
			[]bad{{operator, "/v1/invoices/preview", "", 403, "forbidden"}},
		},
		"getInvoice": {
			good{admin, "/v1/invoices/{invoice}", "", `"lines":[{"project_id":`},
			[]bad{{admin, "/v1/invoices/inv_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", "", 404, "not_found"}},
		},
		"getBilling": {
			good{admin, "/v1/billing", "", `"terms_days":30`},
			[]bad{{caller, "/v1/billing", "", 403, "forbidden"}},
		},
		"setBilling": {
			good{admin, "/v1/billing", `{"name":"Example"}`, `"name":"Example"`},
			[]bad{{admin, "/v1/billing", `{"terms_days":7}`, 422, "unprocessable"}},
		},
		"getSeller": {
			good{operator, "/v1/sellers/default", "", `"number_prefix":"INV"`},
			[]bad{{admin, "/v1/sellers/default", "", 403, "forbidden"}, {operator, "/v1/sellers/ghost", "", 404, "not_found"}},
		},
		"setSeller": {
			good{operator, "/v1/sellers/default", `{"name":"Example"}`, `"name":"Example"`},
			[]bad{{operator, "/v1/sellers/default", `{"name":""}`, 422, "unprocessable"}},
		},
		"getUsage": {
			good{caller, "/v1/usage?group_by=model", "", `"totals":`},
			[]bad{{caller, "/v1/usage?bucket=eon", "", 422, "unprocessable"}},
		},
		"listJobs": {
			good{operator, "/v1/jobs", "", `"id":"operations.prune"`},
			[]bad{{admin, "/v1/jobs", "", 403, "forbidden"}},
		},
		"getJob": {
			good{operator, "/v1/jobs/operations.prune", "", `"runs_in":"leader"`},
			[]bad{{operator, "/v1/jobs/operations.ghost", "", 404, "not_found"}},
		},
		"startJob": { // where no work goes on after the answer, the run has ended
			good{operator, "/v1/jobs/operations.prune/runs", `{}`, `"status":"succeeded"`},
			[]bad{
				{admin, "/v1/jobs/operations.prune/runs", `{}`, 403, "forbidden"},
				{operator, "/v1/jobs/operations.prune/runs", `{"trigger":"schedule"}`, 422, "unprocessable"},
				{operator, "/v1/jobs/metering.drain/runs", `{}`, 409, "conflict"}, // it is in another process
				{operator, "/v1/jobs/metering.ghost/runs", `{}`, 404, "not_found"},
			},
		},
		"listJobRuns": {
			good{operator, "/v1/jobs/operations.prune/runs", "", `"data":[`},
			[]bad{{operator, "/v1/jobs/operations.prune/runs?cursor=x", "", 400, "invalid_request"}},
		},
		"getJobRun": {
			good{operator, "/v1/job-runs/{run}", "", `"job":"operations.prune"`},
			[]bad{{operator, "/v1/job-runs/run_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", "", 404, "not_found"}},
		},
		"getHealth":    {good{nobody, "/healthz", "", `"ok"`}, nil},
		"getReadiness": {good{nobody, "/readyz", "", `"ok"`}, nil},
		"getOpenAPI":   {good{nobody, "/openapi.json", "", `"3.1.0"`}, nil},
		"getReference": {good{nobody, "/docs", "", "<title>"}, nil},
		"getAsset": {
			good{nobody, "/assets/now/api.js", "", "fetch"},
			[]bad{{nobody, "/assets/now/portal.go", "", 404, "not_found"}},
		},
		"getSignInPage":         {good{nobody, "/sign-in?return_to=/device", "", `data-return-to="/device"`}, nil},
		"getSecondFactorPage":   {good{nobody, "/sign-in/second-factor", "", "<title>"}, nil},
		"getForgotPasswordPage": {good{nobody, "/forgot-password", "", "<title>"}, nil},
		"getResetPasswordPage":  {good{nobody, "/reset-password", "", "<title>"}, nil},
		"getInvitationPage":     {good{nobody, "/invitation", "", "<title>"}, nil},
		"getAccountPage":        {good{nobody, "/account", "", "<title>"}, nil},
		"getConsentPage":        {good{nobody, "/oauth/consent", "", "<title>"}, nil},
		"getDevicePage":         {good{nobody, "/device?user_code=BCDF", "", `value="BCDF"`}, nil},
	}
	maps.Copy(list, keyRoutes())
	maps.Copy(list, peopleRoutes())
	for _, of := range []map[string]calls{webhookRoutes(), tenantRoutes(), auditRoutes(), mailRoutes(), invitationRoutes(), factorRoutes(), signInRoutes(), ssoRoutes(), oauthRoutes(), sessionRoutes()} {
		maps.Copy(list, of)
	}
	return list
}

func eachRoute(t *testing.T, check func(spec function.Spec, r function.Route)) {
	t.Helper()
	for _, e := range functions.Catalogue() {
		for _, r := range e.Spec.Routes {
			check(e.Spec, r)
		}
	}
}

func TestEveryRouteHasCalls(t *testing.T) {
	t.Parallel()
	known := routes()
	eachRoute(t, func(_ function.Spec, r function.Route) {
		c, ok := known[r.OperationID]
		if !ok {
			t.Errorf("%s (%s): no call covers it", r.OperationID, r.Pattern())
		}
		if r.Scope != "" && len(c.bad) == 0 {
			t.Errorf("%s: no call that is refused", r.OperationID)
		}
		delete(known, r.OperationID)
	})
	for id := range known {
		t.Errorf("%s: no such route", id)
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.do("POST", "/v1/models", p.key(operator), `{"id":"spare"}`)
	p.do("POST", "/v1/models", p.key(operator), `{"id":"spare/model"}`)
	var spare struct{ ID string }
	if err := json.Unmarshal(p.do("POST", "/v1/api-keys", p.key(admin), newKey).body, &spare); err != nil {
		t.Fatal(err)
	}
	var place struct{ ID string }
	if err := json.Unmarshal(p.do("POST", "/v1/models/spare/backends", p.key(operator), backend).body, &place); err != nil {
		t.Fatal(err)
	}
	var limit struct{ ID string }
	if err := json.Unmarshal(p.do("POST", "/v1/budgets", p.key(admin), cap1).body, &limit); err != nil {
		t.Fatal(err)
	}
	var started struct{ ID string }
	if err := json.Unmarshal(p.do("POST", "/v1/jobs/operations.prune/runs", p.key(operator), `{}`).body, &started); err != nil {
		t.Fatal(err)
	}
	p.job("metering", "drain") // so that its state is known
	p.failures("metering", sqs(body(t, p.usedLongAgo())))
	p.job("invoices", "issue")
	bill := p.scalar(`SELECT invoice_id FROM analytics.invoices`)
	request := p.scalar(`SELECT event_id FROM analytics.usage_events LIMIT 1`)
	names := []string{"{run}", started.ID, "{request}", request, "{spare}", spare.ID, "{backend}", place.ID, "{budget}", limit.ID, "{invoice}", bill}
	for _, more := range [][]string{p.webhooks(t), p.people(t), p.tenants(t), p.mails(t), p.sealed(), p.factors(t), p.signIns(t), p.sso(t), p.oauth(t), p.sittings(t)} {
		names = append(names, more...)
	}
	ids := strings.NewReplacer(names...)
	known := routes()
	eachRoute(t, func(_ function.Spec, r function.Route) {
		c := known[r.OperationID]
		t.Run(r.OperationID, func(t *testing.T) {
			target := ids.Replace(c.good.target)
			got := p.do(r.Method, target, p.key(c.good.as), p.late(ids.Replace(c.good.body)))
			if got.status != r.SuccessStatus() || got.err != nil || !strings.Contains(string(got.body), c.good.has) {
				t.Errorf("status %d, %v: %.300s; want %d with %s", got.status, got.err, got.body, r.SuccessStatus(), c.good.has)
			}
			for _, b := range c.bad {
				p.do(r.Method, b.target, p.key(b.as), b.body).problem(t, b.status, b.code, r.DataPlane)
			}
		})
	})
	if got := p.scalar(`SELECT count(*) FROM analytics.inbox`); got != "2" {
		t.Errorf("%s events for two completions", got)
	}
}

// What no client can send through the gateway, but whoever may invoke the
// function can: every route refuses it in its own transfer mode.
func TestEveryRouteRefusesWhatIsNoRequest(t *testing.T) {
	t.Parallel()
	p := start(t)
	eachRoute(t, func(s function.Spec, r function.Route) {
		for _, c := range []struct {
			name   string
			change func(*events.APIGatewayProxyRequest)
			status int
			code   string
		}{
			{"a path that can't be read", func(e *events.APIGatewayProxyRequest) { e.Path = "/%zz" }, 400, "invalid_request"},
			{"a body that is not base64", func(e *events.APIGatewayProxyRequest) { e.Body, e.IsBase64Encoded = "!", true }, 400, "invalid_request"},
			{"a path of no route", func(e *events.APIGatewayProxyRequest) { e.Path = "/nothing/here" }, 404, "not_found"},
			{"another method", func(e *events.APIGatewayProxyRequest) { e.HTTPMethod = "TRACE" }, 405, "method_not_allowed"},
		} {
			t.Run(r.OperationID+"/"+c.name, func(t *testing.T) {
				ev := events.APIGatewayProxyRequest{HTTPMethod: r.Method, Resource: r.Path, Path: strings.NewReplacer("{id}", "x", "{id...}", "x").Replace(r.Path)}
				c.change(&ev)
				p.invoke(t, s.Name, ev, r.Stream && ev.HTTPMethod == r.Method).problem(t, c.status, c.code, false)
			})
		}
	})
}

// invoke sends an API Gateway event past the gateway.
func (p *platform) invoke(t *testing.T, name string, ev any, stream bool) reply {
	t.Helper()
	resp, err := p.Lambda(name).Invoke(t.Context(), ev)
	if err != nil {
		t.Fatalf("invoke: %v", err)
	}
	defer func() { _ = resp.Close() }()
	if resp.Streamed() != stream {
		t.Fatalf("streamed: %v; want %v", resp.Streamed(), stream)
	}
	if stream {
		return readStream(resp)
	}
	var a events.APIGatewayProxyResponse
	if err := resp.JSON(&a); err != nil {
		t.Fatal(err)
	}
	return reply{status: a.StatusCode, header: a.MultiValueHeaders, body: []byte(a.Body)}
}

func readStream(resp *runtimeapi.Response) reply {
	var body strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := resp.Read(buf)
		body.Write(buf[:n])
		if err != nil {
			return reply{status: resp.Status, header: resp.Header, body: []byte(body.String())}
		}
	}
}

// Nothing is wired to a database that was down when a process got its first
// event, and nothing stays broken when it is back.
func TestADatabaseThatIsDownCostsRequestsNotProcesses(t *testing.T) {
	t.Parallel()
	p := start(t, "inference", "keys", "budgets", "analytics", "operations")
	var boxes []*runtimeapi.Sandbox
	for _, name := range []string{"inference", "keys", "budgets", "analytics", "operations"} {
		boxes = append(boxes, p.sandbox(name))
	}
	targets := map[string]bool{ // and whether they are of the data plane
		"/v1/models": true, "/v1/api-keys": false, "/v1/budgets": false, "/v1/usage": false, "/readyz": false,
	}
	postgrestest.Refuse(t, p.database)
	for target, dataPlane := range targets {
		got := p.do("GET", target, p.key(admin), "")
		got.problem(t, http.StatusServiceUnavailable, "unavailable", dataPlane)
		for _, inner := range []string{"postgres", "SQLSTATE", "pgx"} {
			if strings.Contains(string(got.body), inner) {
				t.Errorf("%s says %q: %s", target, inner, got.body)
			}
		}
	}
	postgrestest.Admit(t, p.database)
	for target := range targets {
		if got := p.do("GET", target, p.key(admin), ""); got.status != http.StatusOK {
			t.Errorf("%s after the outage: %d %s", target, got.status, got.body)
		}
	}
	for _, b := range boxes {
		alive(t, b)
	}
}

func alive(t *testing.T, b *runtimeapi.Sandbox) {
	t.Helper()
	select {
	case <-b.Exited():
		t.Errorf("a process has ended: %v", b.ExitErr())
	default:
	}
}
