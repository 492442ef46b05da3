package management_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fresh"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/invoice"
)

// newOrg creates an organisation, with more members of the body, and returns its id
// and its first key.
func (p *platform) newOrg(more string) (org, key string) {
	p.t.Helper()
	made := p.do("POST", "/v1/organizations", p.one.platform, `{"name":"Example Ltd","owner":{"email":"ada@example.com"}`+more+`}`).want(201)
	return member[string](made, "id"), member[string](member[map[string]any](made, "key"), "key")
}

// actor makes a key of a service account with the role.
func (p *platform) actor(n tenant, role authz.Role, scopes ...authz.Scope) (keyID, secret string) {
	p.t.Helper()
	return postgrestest.KeyOf(p.t, p.url, postgrestest.Ownership{Org: n.org, Project: n.project, Owner: postgrestest.ServiceAccount(p.t, p.url, n.org, role)}, scopes...)
}

func TestAnOrganizationBegins(t *testing.T) {
	t.Parallel()
	p := start(t)
	a := p.do("POST", "/v1/organizations", p.one.platform, `{"name":"Example Ltd","slug":"example","plan":"business","time_zone":"Europe/Berlin",
		"contacts":{"billing":"billing@example.com"},"owner":{"email":"Ada@example.com","name":"Ada"}}`)
	made := a.want(201)
	org, key := member[string](made, "id"), member[map[string]any](made, "key")
	secret := member[string](key, "key")
	if got := fmt.Sprint(made["name"], made["slug"], made["kind"], made["status"], made["serves"], made["plan"], made["currency"], made["price_book"], made["time_zone"], made["trial_ends_at"]); got !=
		"Example LtdexampletenantactivetruebusinessUSDdefaultEurope/Berlin<nil>" {
		t.Errorf("made %s", got)
	}
	if got := fmt.Sprint(made["effective_limits"]); got != "map[concurrent_requests:500 key_concurrent_requests:100 key_requests_per_minute:1000 key_tokens_per_minute:0 requests_per_minute:10000 tokens_per_minute:0]" {
		t.Errorf("limits %s", got)
	}

	// Somebody can begin with the key, as its owner.
	own := p.do("GET", "/v1/organization", secret, "").want(200)
	if own["id"] != org || own["name"] != "Example Ltd" || member[string](own["contacts"], "billing") != "billing@example.com" {
		t.Errorf("own organisation %v", own)
	}
	p.do("GET", "/v1/api-keys", secret, "").want(200)
	if scopes := member[[]any](key, "scopes"); len(scopes) != len(authz.Scopes()) {
		t.Errorf("scopes %v", scopes)
	}
	if got := p.scalar(`SELECT email || ' ' || m.name || ' ' || m.role || ' ' || m.status FROM accounts.users u JOIN accounts.members m USING (user_id) WHERE m.org_id = '` + org + `'`); got != "ada@example.com Ada owner active" {
		t.Errorf("owner %q", got)
	}

	// It is audited under the organisation, by who did it, without the secret.
	got := p.scalar(`SELECT string_agg(action || ' ' || actor, ' ' ORDER BY audit_id) FROM accounts.audit_records WHERE org_id = '` + org + `'`)
	actor := p.scalar(`SELECT key_id FROM accounts.api_keys WHERE org_id = '` + p.one.org + `' AND 'platform' = ANY (scopes)`)
	if want := fmt.Sprintf("organization.create %[1]s member.add %[1]s key.create %[1]s", actor); got != want {
		t.Errorf("audited %q; want %q", got, want)
	}
	for what, text := range map[string]string{
		"log": "a log" + p.log.String(), "audit": p.scalar(`SELECT string_agg(detail::text, '') FROM accounts.audit_records`),
		"outbox": p.scalar(`SELECT string_agg(payload, '') FROM accounts.outbox`),
	} {
		if text == "" || what == "audit" && !strings.Contains(text, "example") || strings.Contains(text, secret) {
			t.Errorf("%s: %s", what, text)
		}
	}

	// Whoever is known already owns the second one, too.
	second := p.do("POST", "/v1/organizations", p.one.platform, `{"name":"Another","owner":{"email":"ADA@example.com","name":"Somebody"}}`).want(201)
	if second["owner_id"] != made["owner_id"] || second["slug"] == "" || member[map[string]any](second, "key")["key"] == secret {
		t.Errorf("second %v beside %v", second, made)
	}
}

func TestWhatAnOrganizationCanNotBeginWith(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.newOrg(`,"slug":"taken"`)
	before := p.scalar(`SELECT count(*)::text FROM accounts.organizations`)
	owner := `,"owner":{"email":"a@example.com"}`
	for body, want := range map[string]struct {
		status int
		at     string
	}{
		`{"name":"a"}`:                                                      {422, "owner"},
		`{"name":"a","owner":{"email":""}}`:                                 {422, "owner.email"},
		`{"name":"a","owner":{"email":"nobody"}}`:                           {422, "owner.email"},
		`{"name":"a","owner":{"email":"Ada <a@example.com>"}}`:              {422, "owner.email"},
		`{"name":"a","owner":{"email":"a@example.com","name":"\n"}}`:        {422, "owner.name"},
		`{"name":""` + owner + `}`:                                          {422, "name"},
		`{"name":" a"` + owner + `}`:                                        {422, "name"},
		`{"name":"a\u202eb"` + owner + `}`:                                  {422, "name"},
		`{"name":"a\u200bb"` + owner + `}`:                                  {422, "name"},
		`{"name":"a\u0007"` + owner + `}`:                                   {422, "name"},
		`{"name":"a\u0000"` + owner + `}`:                                   {400, ""},
		`{"name":"a","slug":"A b"` + owner + `}`:                            {422, "slug"},
		`{"name":"a","slug":"-a"` + owner + `}`:                             {422, "slug"},
		`{"name":"a","slug":"taken"` + owner + `}`:                          {409, "slug"},
		`{"name":"a","plan":"nope"` + owner + `}`:                           {422, "plan"},
		`{"name":"a","currency":"EUR"` + owner + `}`:                        {422, "currency"},
		`{"name":"a","price_book":"nope"` + owner + `}`:                     {422, "price_book"},
		`{"name":"a","price_book":"default","currency":"EUR"` + owner + `}`: {422, "currency"},
		`{"name":"a","time_zone":"Mars/Olympus"` + owner + `}`:              {422, "time_zone"},
		`{"name":"a","time_zone":"Local"` + owner + `}`:                     {422, "time_zone"},
		`{"name":"a","time_zone":"../../etc/passwd"` + owner + `}`:          {422, "time_zone"},
		`{"name":"a","trial_ends_at":"2026-10-12T09:30:15Z"` + owner + `}`:  {422, "trial_ends_at"},
		`{"name":"a","contacts":{"billing":"x"}` + owner + `}`:              {422, "contacts.billing"},
		`{"name":"a","kind":"platform"` + owner + `}`:                       {422, ""},
		`{"name":"a","status":"active"` + owner + `}`:                       {422, ""},
		`{"name":"a","id":"org_1"` + owner + `}`:                            {422, ""},
	} {
		a := p.do("POST", "/v1/organizations", p.one.platform, body)
		if a.Code != want.status || !strings.Contains(a.Body.String(), want.at) {
			t.Errorf("%s: %d %s; want %d at %s", body, a.Code, a.Body, want.status, want.at)
		}
	}
	if after := p.scalar(`SELECT count(*)::text FROM accounts.organizations`); after != before {
		t.Errorf("%s organisations; want %s", after, before)
	}
}

func TestStatusDecidesWhetherKeysWork(t *testing.T) {
	t.Parallel()
	p := start(t)
	org, key := p.newOrg("")
	path := "/v1/organizations/" + org
	unknown := p.do("GET", "/v1/organization", p.one.admin[:11]+strings.Repeat("0", 49), "")
	same := func(what string) {
		t.Helper()
		got, want := p.do("GET", "/v1/organization", key, "").refused(401, "invalid_api_key"), unknown.refused(401, "invalid_api_key")
		delete(got, "request_id")
		delete(want, "request_id")
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v; an unknown key gets %v", what, got, want)
		}
	}
	p.do("POST", path+"/suspend", p.one.platform, `{"reason":" "}`).refused(422, "unprocessable")
	p.do("POST", path+"/suspend", p.one.platform, `{"reason":"a\u202eb"}`).refused(422, "unprocessable")
	p.do("GET", "/v1/organization", key, "").want(200)
	o := p.do("POST", path+"/suspend", p.one.platform, `{"reason":"unpaid"}`).want(200)
	if o["status"] != "suspended" || o["status_reason"] != "unpaid" || o["serves"] != false || o["status_at"] != "2026-10-12T09:30:15Z" {
		t.Errorf("suspended %v", o)
	}
	same("suspended")
	again := p.do("POST", path+"/suspend", p.one.platform, `{"reason":"again"}`).want(200) // fine, and nothing new
	if again["status_reason"] != "unpaid" {
		t.Errorf("suspended again %v", again)
	}
	if o := p.do("POST", path+"/activate", p.one.platform, "").want(200); o["status"] != "active" || o["status_reason"] != "" {
		t.Errorf("activated %v", o)
	}
	p.do("GET", "/v1/organization", key, "").want(200)
	p.do("POST", path+"/close", p.one.platform, `{"reason":"contract ended"}`).want(200)
	same("closed")
	p.do("POST", path+"/suspend", p.one.platform, `{"reason":"unpaid"}`).refused(409, "conflict")
	p.clock.advance(30 * 24 * time.Hour)
	p.do("POST", path+"/activate", p.one.platform, `{"reason":"a new contract"}`).want(200)
	p.do("GET", "/v1/organization", key, "").want(200)
	p.do("POST", path+"/close", p.one.platform, `{"reason":"and ended"}`).want(200)
	p.clock.advance(30*24*time.Hour + time.Microsecond)
	p.do("POST", path+"/activate", p.one.platform, "").refused(409, "conflict")

	got := p.scalar(`SELECT string_agg(action || ':' || coalesce(detail->>'reason', ''), ' ' ORDER BY audit_id) FROM accounts.audit_records WHERE org_id = '` + org + `' AND action LIKE 'organization.%' AND action <> 'organization.create'`)
	if want := "organization.suspend:unpaid organization.activate: organization.close:contract ended organization.activate:a new contract organization.close:and ended"; got != want {
		t.Errorf("audited %q; want %q", got, want)
	}
	got = p.scalar(`SELECT (detail->'before'->>'status') || '>' || (detail->'after'->>'status') FROM accounts.audit_records WHERE org_id = '` + org + `' AND action = 'organization.suspend'`)
	if got != "active>suspended" {
		t.Errorf("audited %q", got)
	}
	if got := p.scalar(`SELECT string_agg(type, ' ' ORDER BY seq) FROM accounts.outbox WHERE org_id = '` + org + `' AND type LIKE 'organization.%'`); got !=
		"organization.created organization.suspended organization.activated organization.closed organization.activated organization.closed" {
		t.Errorf("events %q", got)
	}
}

func TestATrialEnds(t *testing.T) {
	t.Parallel()
	p := start(t)
	org, key := p.newOrg(`,"trial_ends_at":"2026-10-12T10:30:15Z"`)
	path := "/v1/organizations/" + org
	p.clock.advance(time.Hour - time.Microsecond)
	p.do("GET", "/v1/organization", key, "").want(200)
	p.clock.advance(time.Microsecond)
	p.do("GET", "/v1/organization", key, "").refused(401, "invalid_api_key")
	if o := p.do("GET", path, p.one.platform, "").want(200); o["status"] != "trial" || o["serves"] != false {
		t.Errorf("expired %v", o)
	}
	p.do("PATCH", path, p.one.platform, `{"trial_ends_at":"2026-10-12T11:30:15Z"}`).want(200)
	p.do("GET", "/v1/organization", key, "").want(200)
	p.clock.advance(2 * time.Hour)
	p.do("POST", path+"/activate", p.one.platform, "").want(200)
	p.do("GET", "/v1/organization", key, "").want(200)
	p.do("PATCH", path, p.one.platform, `{"trial_ends_at":"2027-10-12T11:30:15Z"}`).refused(409, "conflict")
}

func TestThePlatformsOwnOrganizationStays(t *testing.T) {
	t.Parallel()
	p := start(t)
	postgrestest.Exec(t, p.url, `UPDATE accounts.organizations SET kind = 'platform', slug = 'house' WHERE org_id = '`+p.one.org+`'`)
	path := "/v1/organizations/" + p.one.org
	for _, m := range []string{"suspend", "close"} {
		p.do("POST", path+"/"+m, p.one.platform, `{"reason":"by mistake"}`).refused(409, "conflict")
	}
	p.do("DELETE", "/v1/organization?confirm=house", p.one.admin, "").refused(409, "conflict")
	p.do("POST", path+"/keys/"+p.one.keyID+"/revoke", p.one.platform, `{"reason":"by mistake"}`).refused(403, "forbidden")
	p.do("GET", "/v1/organization", p.one.admin, "").want(200)
}

// What the platform's people may do, by role; and that a tenant's learn nothing, not
// even whether an organisation is there.
func TestThePlatformsPeople(t *testing.T) {
	t.Parallel()
	p := start(t)
	org, _ := p.newOrg("")
	path := "/v1/organizations/" + org
	plan := `{"name":"N","limits":{"requests_per_minute":0,"tokens_per_minute":0,"concurrent_requests":0,"key_requests_per_minute":0,"key_tokens_per_minute":0,"key_concurrent_requests":0},"max_members":0,"max_projects":0,"max_keys":0}`
	calls := []struct{ name, method, path, body string }{
		{"read", "GET", path, ""},
		{"list", "GET", "/v1/organizations", ""},
		{"models", "GET", path + "/models", ""},
		{"change", "PATCH", path, `{"name":"B"}`},
		{"suspend", "POST", path + "/suspend", `{"reason":"r"}`},
		{"activate", "POST", path + "/activate", ""},
		{"entitle", "PUT", path + "/models", `{"allowed":null,"granted":[]}`},
		{"revoke", "POST", path + "/keys/" + id.New(id.Key) + "/revoke", `{"reason":"r"}`},
		{"plans", "GET", "/v1/plans", ""},
		{"plan", "PUT", "/v1/plans/new", plan},
	}
	for role, may := range map[authz.Role]string{
		authz.SystemAdministrator: "read list models change suspend activate entitle revoke plans plan",
		authz.Security:            "read list models suspend activate revoke plans",
		authz.Operations:          "read list models",
		authz.Architect:           "read list models plans",
		authz.Support:             "read list models",
		authz.Owner:               "",
		authz.Admin:               "",
	} {
		_, key := p.actor(p.one, role, authz.Platform)
		for _, c := range calls {
			a := p.do(c.method, c.path, key, c.body)
			allowed := slices.Contains(strings.Fields(may), c.name)
			if allowed && a.Code >= 300 && a.Code != 404 || !allowed && a.Code != 403 {
				t.Errorf("%s, %s: %d %s; want it allowed: %v", role, c.name, a.Code, a.Body, allowed)
			}
		}
	}
	closing := "/v1/organizations/" + org + "/close"
	_, security := p.actor(p.one, authz.Security, authz.Platform)
	p.do("POST", closing, security, `{"reason":"r"}`).refused(403, "forbidden")
	p.do("POST", closing, p.one.platform, `{"reason":"r"}`).want(200)
	p.do("POST", "/v1/organizations/"+org+"/activate", security, "").refused(403, "forbidden") // reopening is no lifting of a suspension

	answers := map[string]bool{}
	for _, one := range []string{p.one.org, p.two.org, id.New(id.Organization), "x"} {
		v := p.do("GET", "/v1/organizations/"+one, p.two.admin, "").refused(403, "forbidden")
		delete(v, "request_id")
		delete(v, "instance")
		answers[fmt.Sprint(v)] = true
		p.do("PATCH", "/v1/organizations/"+one, p.two.admin, `{"name":"mine"}`).refused(403, "forbidden")
	}
	if len(answers) != 1 {
		t.Errorf("a tenant tells organisations apart: %v", answers)
	}
	for _, one := range []string{id.New(id.Organization), "x", "%00"} {
		if a := p.do("GET", "/v1/organizations/"+one, p.one.platform, ""); a.Code != 404 {
			t.Errorf("%s: %d", one, a.Code)
		}
	}
	p.do("POST", "/v1/organizations/"+id.New(id.Organization)+"/suspend", p.one.platform, `{"reason":"r"}`).refused(404, "not_found")
}

func TestListsOfOrganizations(t *testing.T) {
	t.Parallel()
	p := start(t)
	names := map[string]string{}
	for _, n := range []string{"alpha", "beta", "100%", `back\\slash`, "under_score"} {
		org, _ := p.newOrg(`,"contacts":{}`)
		p.do("PATCH", "/v1/organizations/"+org, p.one.platform, `{"name":"`+n+`","plan":"business"}`).want(200)
		names[n] = org
	}
	p.do("POST", "/v1/organizations/"+names["beta"]+"/suspend", p.one.platform, `{"reason":"r"}`).want(200)
	count := func(query string) int {
		t.Helper()
		return len(items(p.do("GET", "/v1/organizations"+query, p.one.platform, "").want(200)))
	}
	for query, want := range map[string]int{
		"": 7, "?plan=business": 5, "?plan=starter": 2, "?plan=none": 0, "?status=suspended": 1, "?status=closed": 0, "?plan=business&status=active": 4,
		"?q=ALPHA": 1, "?q=%25": 1, "?q=_": 3, "?q=%5C": 1, "?q=org_": 2, "?q=" + names["beta"]: 1, "?q=" + names["beta"][:20]: 0, "?q=x%27%20OR%201=1--": 0,
	} {
		if got := count(query); got != want {
			t.Errorf("%s: %d; want %d", query, got, want)
		}
	}
	p.do("GET", "/v1/organizations?status=gone", p.one.platform, "").refused(422, "unprocessable")

	var seen []string
	for cursor, pages := "", 0; ; pages++ {
		page := p.do("GET", "/v1/organizations?limit=3&cursor="+cursor, p.one.platform, "").want(200)
		for _, o := range items(page) {
			seen = append(seen, member[string](o, "id"))
		}
		if cursor = member[string](page, "next_cursor"); cursor == "" || pages > 3 {
			break
		}
	}
	if len(seen) != 7 || !slices.IsSorted(seen) || len(slices.Compact(slices.Clone(seen))) != 7 {
		t.Errorf("paged %v", seen)
	}
	for _, forged := range []string{"x", "MTprZXlfMQ", "MTpvcmdfMQ", "%00", "MTo", "bm90aGluZw"} {
		p.do("GET", "/v1/organizations?cursor="+forged, p.one.platform, "").refused(400, "invalid_request")
	}
}

func TestPlansAndOverrides(t *testing.T) {
	t.Parallel()
	p := start(t)
	org, _ := p.newOrg("")
	path := "/v1/organizations/" + org
	limits := func() string {
		t.Helper()
		v := p.do("GET", path, p.one.platform, "").want(200)["effective_limits"]
		return fmt.Sprint(member[any](v, "requests_per_minute"), " ", member[any](v, "key_requests_per_minute"), " ", member[any](v, "key_concurrent_requests"))
	}
	if got := limits(); got != "0 100 10" {
		t.Errorf("starter has %s", got)
	}
	body := func(rpm, keyRPM int) string {
		return fmt.Sprintf(`{"name":"Gold","limits":{"requests_per_minute":%d,"tokens_per_minute":0,"concurrent_requests":0,"key_requests_per_minute":%d,"key_tokens_per_minute":0,"key_concurrent_requests":7},"max_members":3,"max_projects":2,"max_keys":5}`, rpm, keyRPM)
	}
	plan := p.do("PUT", "/v1/plans/gold", p.one.platform, body(50, 5)).want(200)
	if plan["id"] != "gold" || fmt.Sprint(plan["max_members"], " ", plan["max_projects"], " ", plan["max_keys"]) != "3 2 5" {
		t.Errorf("plan %v", plan)
	}
	p.do("PATCH", path, p.one.platform, `{"plan":"gold"}`).want(200)
	if got := limits(); got != "50 5 7" {
		t.Errorf("gold has %s", got)
	}
	if got := p.scalar(`SELECT type || ' ' || (payload::jsonb#>>'{data,detail,plan}') || ' ' || (payload::jsonb#>>'{data,detail,plan_before}') FROM accounts.outbox WHERE org_id = '` + org + `' ORDER BY seq DESC LIMIT 1`); got != "organization.plan_changed gold starter" {
		t.Errorf("event %q", got)
	}
	p.do("PATCH", path, p.one.platform, `{"limits":{"key_requests_per_minute":9,"requests_per_minute":0}}`).want(200)
	p.do("PUT", "/v1/plans/gold", p.one.platform, body(60, 6)).want(200)
	if got := limits(); got != "0 9 7" { // 0 is no limit, and no null
		t.Errorf("overrides win: %s", got)
	}
	p.do("PATCH", path, p.one.platform, `{"limits":{"key_requests_per_minute":null}}`).want(200)
	if got := limits(); got != "60 6 7" {
		t.Errorf("without overrides %s", got)
	}
	p.do("PUT", "/v1/plans/gold", p.one.platform, body(60, 6)).want(200) // nothing new
	if got := p.scalar(`SELECT count(*) || ' ' || count(*) FILTER (WHERE detail->'before' = 'null') FROM accounts.audit_records WHERE action = 'plan.change'`); got != "2 1" {
		t.Errorf("plan changes audited: %s", got)
	}

	p.do("DELETE", "/v1/plans/gold", p.one.platform, "").refused(409, "conflict")
	p.do("PATCH", path, p.one.platform, `{"plan":"starter"}`).want(200)
	p.do("DELETE", "/v1/plans/gold", p.one.platform, "").want(204)
	p.do("DELETE", "/v1/plans/gold", p.one.platform, "").refused(404, "not_found")
	for _, built := range []string{"starter", "selfhosted"} {
		p.do("DELETE", "/v1/plans/"+built, p.one.platform, "").refused(409, "conflict")
	}
	for path, text := range map[string]string{
		"/v1/plans/Gold": body(1, 1), "/v1/plans/-x": body(1, 1), "/v1/plans/gold": body(-1, 1),
		"/v1/plans/bronze": body(1_000_000_001, 1), "/v1/plans/silver": `{"name":"Silver"}`,
		"/v1/plans/iron": strings.Replace(body(1, 1), "Gold", `a\u202e`, 1), "/v1/plans/tin": strings.Replace(body(1, 1), `"max_keys":5`, `"max_keys":-5`, 1),
	} {
		p.do("PUT", path, p.one.platform, text).refused(422, "unprocessable")
	}
	for _, text := range []string{`{"limits":{"requests_per_minute":-1}}`, `{"limits":{"requests_per_minute":1000000001}}`, `{"plan":"nope"}`, `{}`, `{"limits":null}`} {
		p.do("PATCH", path, p.one.platform, text).refused(422, "unprocessable")
	}
	page := p.do("GET", "/v1/plans?limit=2", p.one.platform, "").want(200)
	rest := p.do("GET", "/v1/plans?cursor="+member[string](page, "next_cursor"), p.one.platform, "").want(200)
	if len(items(page)) != 2 || len(items(rest)) != 1 || member[string](items(rest)[0], "id") != "starter" {
		t.Errorf("plans %v, then %v", page, rest)
	}
	p.do("GET", "/v1/plans?cursor=forged", p.one.platform, "").refused(400, "invalid_request")
}

func TestCurrencyIsSettledOnceSomethingWasCounted(t *testing.T) {
	t.Parallel()
	p := start(t)
	postgrestest.Exec(t, p.url, `INSERT INTO router.price_books (book_id, currency, created_at) VALUES ('euro', 'EUR', now()), ('dollar', 'USD', now())`)
	org, key := p.newOrg("")
	path := "/v1/organizations/" + org
	if o := p.do("PATCH", path, p.one.platform, `{"currency":"EUR"}`).want(200); o["currency"] != "EUR" || o["price_book"] != "euro" {
		t.Errorf("in euro %v", o)
	}
	p.do("PATCH", path, p.one.platform, `{"price_book":"euro","currency":"USD"}`).refused(422, "unprocessable")
	if o := p.do("PATCH", path, p.one.platform, `{"price_book":"dollar"}`).want(200); o["currency"] != "USD" || o["price_book"] != "dollar" {
		t.Errorf("in dollar %v", o)
	}
	p.do("POST", "/v1/budgets", key, `{"scope":{"organization":true},"unit":"money","amount":"5","period":"month","action":"block"}`).want(201)
	p.do("PATCH", path, p.one.platform, `{"currency":"EUR"}`).refused(409, "conflict")
	p.do("PATCH", path, p.one.platform, `{"price_book":"euro"}`).refused(409, "conflict")
	p.do("PATCH", path, p.one.platform, `{"currency":"USD"}`).want(200) // as it is
	if o := p.do("PATCH", path, p.one.platform, `{"price_book":"default"}`).want(200); o["currency"] != "USD" || o["price_book"] != "default" {
		t.Errorf("another book of the same currency %v", o)
	}

	waiting, _ := p.newOrg("") // what waits to be booked counts, too
	postgrestest.Exec(t, p.url, `INSERT INTO analytics.inbox (org_id, event_id, body, epoch) VALUES ('`+waiting+`', 'req_1', '\x00', 0)`)
	p.do("PATCH", "/v1/organizations/"+waiting, p.one.platform, `{"currency":"EUR"}`).refused(409, "conflict")
}

// A time zone is changed only where no request changes its month by it.
func TestWhenATimeZoneCanChange(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		now, from, to string
		open          string // the first month that is not closed; "" where nothing was ever counted
		used          string // a month with usage
		want          int
	}{
		"in the month's midst":                     {"2026-10-12 09:30", "UTC", "Asia/Tokyo", "", "", 200},
		"as it is":                                 {"2026-10-31 23:59", "UTC", "UTC", "", "", 200},
		"another month on the new clock":           {"2026-10-31 16:00", "UTC", "Asia/Tokyo", "", "", 409},
		"another month on the old clock":           {"2026-10-31 16:00", "Asia/Tokyo", "UTC", "", "", 409},
		"an hour before the edge, on the new":      {"2026-10-31 14:00", "UTC", "Asia/Tokyo", "", "", 409},
		"before that":                              {"2026-10-31 13:59", "UTC", "Asia/Tokyo", "", "", 200},
		"within an hour of the edge, on the old":   {"2026-10-01 00:59", "UTC", "Asia/Tokyo", "", "", 409},
		"after that":                               {"2026-10-01 01:00", "UTC", "Asia/Tokyo", "", "", 200},
		"the month before is open":                 {"2026-10-12 09:30", "UTC", "Asia/Tokyo", "2026-09-01", "2026-09-01", 409},
		"the month before is open and has nothing": {"2026-10-12 09:30", "UTC", "Asia/Tokyo", "2026-08-01", "2026-10-01", 200},
		"the month before is closed":               {"2026-10-12 09:30", "UTC", "Asia/Tokyo", "2026-10-01", "2026-10-01", 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t)
			org, key := p.newOrg(`,"time_zone":"` + c.from + `"`)
			if c.open != "" {
				postgrestest.Exec(t, p.url, fmt.Sprintf(`INSERT INTO analytics.accounting (org_id, open_period) VALUES ('%[1]s', '%[2]s');
					INSERT INTO analytics.usage_minutes (org_id, minute, accounting_period, project_id, api_key_id, model, currency, requests, input_tokens, cached_input_tokens, output_tokens, cost_nano)
					VALUES ('%[1]s', '%[3]s', '%[3]s', 'p', 'k', 'm', 'USD', 1, 1, 0, 1, 1)`, org, c.open, c.used))
			}
			at, err := time.Parse("2006-01-02 15:04", c.now)
			if err != nil {
				t.Fatal(err)
			}
			p.clock.at.Store(at.UnixMicro())
			p.do("PATCH", "/v1/organization", key, `{"time_zone":"`+c.to+`"}`).want(c.want)
			zone := map[int]string{200: c.to, 409: c.from}[c.want]
			if got := p.do("GET", "/v1/organization", key, "").want(200)["time_zone"]; got != zone {
				t.Errorf("the zone is %v; want %s", got, zone)
			}
			p.do("PATCH", "/v1/organizations/"+org, p.one.platform, `{"time_zone":"`+c.to+`"}`).want(c.want)
		})
	}
	if invoice.Settle != time.Hour {
		t.Errorf("a month's invoice waits for %v; the time at its edges was chosen by that", invoice.Settle)
	}
}

func TestWhichModelsAnOrganizationMayUse(t *testing.T) {
	t.Parallel()
	p := start(t)
	org, key := p.newOrg("")
	path := "/v1/organizations/" + org + "/models"
	for _, m := range []string{"a", "b"} {
		p.do("POST", "/v1/models", p.one.platform, `{"id":"`+m+`"}`).want(201)
	}
	if m := p.do("POST", "/v1/models", p.one.platform, `{"id":"c","restricted":true}`).want(201); m["restricted"] != true {
		t.Errorf("restricted %v", m)
	}
	if m := p.do("PATCH", "/v1/models/b", p.one.platform, `{"restricted":true}`).want(200); m["restricted"] != true || m["disabled"] != false {
		t.Errorf("restricted %v", m)
	}
	if m := p.do("PATCH", "/v1/models/b", p.one.platform, `{"disabled":true}`).want(200); m["restricted"] != true || m["disabled"] != true {
		t.Errorf("disabled %v", m)
	}
	if got := p.do("GET", path, p.one.platform, ""); got.Body.String() != "{\"allowed\":null,\"granted\":[]}\n" {
		t.Errorf("at first %s", got.Body)
	}
	for body, want := range map[string]string{
		`{"allowed":["b","a","b"],"granted":["c"]}`: `{"allowed":["a","b"],"granted":["c"]}`,
		`{"allowed":[],"granted":[]}`:               `{"allowed":[],"granted":[]}`, // none at all
		`{"allowed":null,"granted":["a"]}`:          `{"allowed":null,"granted":["a"]}`,
	} {
		for range 2 {
			if got := p.do("PUT", path, p.one.platform, body); got.Code != 200 || got.Body.String() != want+"\n" {
				t.Errorf("%s: %d %s", body, got.Code, got.Body)
			}
		}
		if got := p.do("GET", path, p.one.platform, ""); got.Body.String() != want+"\n" {
			t.Errorf("%s: then %s", body, got.Body)
		}
	}
	if got := p.scalar(`SELECT count(*)::text FROM accounts.audit_records WHERE org_id = '` + org + `' AND action = 'entitlement.change' AND detail ? 'before' AND detail ? 'after'`); got != "3" {
		t.Errorf("%s changes audited", got)
	}
	for body, status := range map[string]int{
		`{"allowed":["nope"],"granted":[]}`: 422, `{"allowed":null,"granted":["nope"]}`: 422, `{"granted":[]}`: 422, `{"allowed":null}`: 422,
		`{"allowed":null,"granted":null}`: 422, `{"allowed":[],"granted":[],"models":[]}`: 422, `{"allowed":[1],"granted":[]}`: 422,
	} {
		if a := p.do("PUT", path, p.one.platform, body); a.Code != status {
			t.Errorf("%s: %d %s; want %d", body, a.Code, a.Body, status)
		}
	}
	p.do("PUT", path, key, `{"allowed":null,"granted":["c"]}`).refused(403, "forbidden")
	p.do("PUT", "/v1/organizations/"+id.New(id.Organization)+"/models", p.one.platform, `{"allowed":null,"granted":[]}`).refused(404, "not_found")
}

func TestSecurityRevokesAKey(t *testing.T) {
	t.Parallel()
	p := start(t)
	_, security := p.actor(p.one, authz.Security, authz.Platform)
	keyID, secret := p.key(p.two, authz.SettingsRead)
	revoke := func(org, key string) answer {
		return p.do("POST", "/v1/organizations/"+org+"/keys/"+key+"/revoke", security, `{"reason":"leaked"}`)
	}
	p.do("GET", "/v1/organization", secret, "").want(200)
	revoke(p.one.org, keyID).refused(404, "not_found") // of another organisation
	revoke(p.two.org, id.New(id.Key)).refused(404, "not_found")
	revoke(id.New(id.Organization), keyID).refused(404, "not_found")
	p.do("GET", "/v1/organization", secret, "").want(200)
	for range 2 {
		revoke(p.two.org, keyID).want(204)
		p.do("GET", "/v1/organization", secret, "").refused(401, "invalid_api_key")
	}
	got := p.scalar(`SELECT string_agg(action || ' ' || (detail->>'reason'), ',') FROM accounts.audit_records WHERE org_id = '` + p.two.org + `' AND target = '` + keyID + `'`)
	if got != "key.revoke leaked" {
		t.Errorf("audited %q", got)
	}
	if got := p.scalar(`SELECT revoked_reason FROM accounts.api_keys WHERE key_id = '` + keyID + `'`); got != "leaked" {
		t.Errorf("reason %q", got)
	}
}

func TestNothingHappensWithoutItsRecord(t *testing.T) {
	t.Parallel()
	p := start(t)
	org, key := p.newOrg("")
	postgrestest.Exec(t, p.url, `REVOKE INSERT ON accounts.audit_records FROM aiaas_tenants, aiaas_accounts`)
	state := func() string {
		return p.scalar(`SELECT md5(string_agg(o::text, ',' ORDER BY org_id)) FROM accounts.organizations o`) +
			p.scalar(`SELECT md5(string_agg(l::text, ',' ORDER BY plan_id)) FROM accounts.plans l`) + p.scalar(`SELECT count(*)::text FROM accounts.api_keys WHERE revoked_at IS NULL`)
	}
	before := state()
	path := "/v1/organizations/" + org
	for _, c := range []struct{ method, path, key, body string }{
		{"POST", "/v1/organizations", p.one.platform, `{"name":"a","owner":{"email":"a@example.com"}}`},
		{"PATCH", path, p.one.platform, `{"name":"B"}`},
		{"POST", path + "/suspend", p.one.platform, `{"reason":"r"}`},
		{"POST", path + "/keys/" + p.scalar(`SELECT key_id FROM accounts.api_keys WHERE org_id = '`+org+`'`) + "/revoke", p.one.platform, `{"reason":"r"}`},
		{"PUT", path + "/models", p.one.platform, `{"allowed":[],"granted":[]}`},
		{"DELETE", "/v1/plans/business", p.one.platform, ""},
		{"PATCH", "/v1/organization", key, `{"name":"B"}`},
	} {
		p.do(c.method, c.path, c.key, c.body).refused(500, "internal_error")
		if state() != before {
			t.Fatalf("%s %s changed something without a record", c.method, c.path)
		}
	}
}

// from lets a request come from an address.
func from(address string) func(*http.Request) {
	return func(r *http.Request) { r.RemoteAddr = address + ":1234" }
}

func TestTheOwnOrganization(t *testing.T) {
	t.Parallel()
	p := start(t)
	org, key := p.newOrg(`,"slug":"example","contacts":{"billing":"b@example.com","security":"s@example.com"}`)
	o := p.do("PATCH", "/v1/organization", key, `{"name":"Ada & Söhne","slug":"ada","contacts":{"billing":"","technical":"t@example.com"},
		"settings":{"key_max_days":30,"mfa_required_roles":["manager"],"alert_members":true,"access_hours":{"days":[1,2,3,4,5],"from":"08:00","to":"24:00"}}}`).want(200)
	want := "map[billing: security:s@example.com technical:t@example.com] map[access_hours:map[days:[1 2 3 4 5] from:08:00 to:24:00] alert_members:true ip_allow_list:[] key_max_days:30 max_sessions:10 mfa_required_roles:[manager] session_hours:12 session_idle_minutes:60]"
	if got := fmt.Sprint(o["contacts"], " ", o["settings"]); got != want || o["name"] != "Ada & Söhne" || o["slug"] != "ada" {
		t.Errorf("changed %v; want %s", o, want)
	}
	// What is not named stays; empty is none.
	o = p.do("PATCH", "/v1/organization", key, `{"settings":{"mfa_required_roles":[],"access_hours":null}}`).want(200)
	if got := fmt.Sprint(o["settings"]); got != "map[access_hours:<nil> alert_members:true ip_allow_list:[] key_max_days:30 max_sessions:10 mfa_required_roles:[] session_hours:12 session_idle_minutes:60]" {
		t.Errorf("settings %s", got)
	}
	got := p.scalar(`SELECT string_agg((detail->'changed')::text, ' ' ORDER BY audit_id) FROM accounts.audit_records WHERE org_id = '` + org + `' AND action = 'organization.change'`)
	if got != `["contacts", "name", "settings", "slug"] ["settings"]` {
		t.Errorf("audited %s", got)
	}
	p.newOrg(`,"slug":"free"`)
	for body, status := range map[string]int{
		`{"slug":"free"}`: 409, `{"slug":"A"}`: 422, `{"name":""}`: 422, `{"name":"a\u2066b"}`: 422, `{"contacts":{"billing":"x"}}`: 422, `{}`: 422,
		`{"settings":{}}`: 422, `{"force":true}`: 422, `{"settings":{"key_max_days":-1}}`: 422, `{"settings":{"key_max_days":3651}}`: 422,
		`{"settings":{"mfa_required_roles":["king"]}}`: 422, `{"settings":{"ip_allow_list":["x"]}}`: 422, `{"settings":{"ip_allow_list":["10.0.0.0/33"]}}`: 422,
		`{"settings":{"ip_allow_list":["fe80::1%eth0"]}}`: 422, `{"settings":{"ip_allow_list":["::ffff:0:0/90"]}}`: 422,
		`{"settings":{"access_hours":{"days":[7],"from":"08:00","to":"18:00"}}}`: 422, `{"settings":{"access_hours":{"days":[1],"from":"18:00","to":"08:00"}}}`: 422,
		`{"settings":{"access_hours":{"days":[1],"from":"8","to":"18:00"}}}`: 422, `{"settings":{"access_hours":{"days":[1],"from":"08:00","to":"25:00"}}}`: 422,
		// What is not theirs to set.
		`{"status":"active"}`: 422, `{"kind":"platform"}`: 422, `{"plan":"selfhosted"}`: 422, `{"granted_models":["a"]}`: 422, `{"allowed_models":null}`: 422,
		`{"limits":{}}`: 422, `{"trial_ends_at":null}`: 422, `{"legal_hold":false}`: 422, `{"currency":"EUR"}`: 422, `{"price_book":"x"}`: 422, `{"id":"org_1"}`: 422,
		`{"settings":{"plan":"x"}}`: 422, `{"Name":"a"}`: 422, `{"name":"a","name":"b"}`: 400,
	} {
		if a := p.do("PATCH", "/v1/organization", key, body); a.Code != status {
			t.Errorf("%s: %d %s; want %d", body, a.Code, a.Body, status)
		}
	}
}

func TestWhoKeepsTheOwnOrganization(t *testing.T) {
	t.Parallel()
	p := start(t)
	slug := p.scalar(`SELECT slug FROM accounts.organizations WHERE org_id = '` + p.two.org + `'`)
	for role, want := range map[authz.Role][3]int{ // reads, changes, closes
		authz.Owner: {200, 200, 422}, authz.Admin: {200, 200, 403}, authz.Finance: {403, 403, 403}, authz.Manager: {403, 403, 403},
		authz.Analyst: {403, 403, 403}, authz.Developer: {403, 403, 403},
	} {
		_, key := p.actor(p.two, role, authz.Scopes()...)
		got := [3]int{
			p.do("GET", "/v1/organization", key, "").Code, p.do("PATCH", "/v1/organization", key, `{"name":"New"}`).Code,
			p.do("DELETE", "/v1/organization?confirm=wrong", key, "").Code,
		}
		if got != want {
			t.Errorf("%s: %v; want %v", role, got, want)
		}
	}
	_, narrow := p.actor(p.two, authz.Owner, authz.SettingsRead)
	p.do("PATCH", "/v1/organization", narrow, `{"name":"New"}`).refused(403, "forbidden")
	p.do("DELETE", "/v1/organization", p.two.admin, "").refused(422, "unprocessable")
	p.do("GET", "/v1/organization", p.two.admin, "").want(200)
	p.do("DELETE", "/v1/organization?confirm="+slug, p.two.admin, "").want(204)
	p.do("GET", "/v1/organization", p.two.admin, "").refused(401, "invalid_api_key")
	p.do("GET", "/v1/api-keys", p.two.reader, "").refused(401, "invalid_api_key")
	if o := p.do("GET", "/v1/organizations/"+p.two.org, p.one.platform, "").want(200); o["status"] != "closed" || o["status_reason"] != "by its owner" {
		t.Errorf("closed %v", o)
	}
	p.do("POST", "/v1/organizations/"+p.two.org+"/activate", p.one.platform, "").want(200)
	p.do("GET", "/v1/organization", p.two.admin, "").want(200)
}

func TestRestrictionsBindAtOnceAndSayWhy(t *testing.T) {
	t.Parallel()
	p := start(t)
	_, key := p.newOrg("")
	set := func(settings string, more ...string) answer {
		return p.do("PATCH", "/v1/organization", key, `{"settings":`+settings+strings.Join(more, "")+`}`, from("192.0.2.7"))
	}
	reason := func(address string) string {
		v := p.do("GET", "/v1/organization", key, "", from(address)).want(403)
		return fmt.Sprint(v["reason"], ": ", v["detail"])
	}
	// Nobody locks himself out by a slip.
	for _, list := range []string{`["198.51.100.0/24"]`, `["2001:db8::/32"]`} {
		v := set(`{"ip_allow_list":`+list+`}`).refused(422, "unprocessable")
		if !strings.Contains(fmt.Sprint(v["detail"]), "192.0.2.7") || !strings.Contains(fmt.Sprint(v["detail"]), "force") {
			t.Errorf("%v", v)
		}
	}
	o := set(`{"ip_allow_list":["192.0.2.99/24","::ffff:203.0.113.5","2001:db8::1"]}`).want(200)
	if got := fmt.Sprint(member[any](o["settings"], "ip_allow_list")); got != "[192.0.2.0/24 203.0.113.5/32 2001:db8::1/128]" {
		t.Errorf("networks %s", got)
	}
	for address, want := range map[string]int{"192.0.2.200": 200, "203.0.113.5": 200, "203.0.113.6": 403, "[2001:db8::1]": 200, "[2001:db8::2]": 403, "[::ffff:192.0.2.1]": 200} {
		if got := p.do("GET", "/v1/organization", key, "", from(address)).Code; got != want {
			t.Errorf("from %s: %d; want %d", address, got, want)
		}
	}
	if got := reason("203.0.113.6"); !strings.HasPrefix(got, "address: ") || !strings.Contains(got, "IP allow-list") {
		t.Errorf("refused by %q", got)
	}
	set(`{"ip_allow_list":["198.51.100.0/24"]}`, `,"force":true`).want(200)
	if got := reason("192.0.2.7"); !strings.HasPrefix(got, "address: ") {
		t.Errorf("refused by %q", got)
	}
	p.do("PATCH", "/v1/organization", key, `{"settings":{"ip_allow_list":[]}}`, from("198.51.100.1")).want(200)
	p.do("GET", "/v1/organization", key, "", from("192.0.2.7")).want(200)

	// It is Monday, 09:30 on their clock.
	v := set(`{"access_hours":{"days":[1],"from":"10:00","to":"12:00"}}`).refused(422, "unprocessable")
	if !strings.Contains(fmt.Sprint(v["detail"]), "access hours") || v["reason"] != "hours" {
		t.Errorf("%v", v)
	}
	set(`{"access_hours":{"days":[1],"from":"09:00","to":"10:00"}}`).want(200)
	p.clock.advance(29*time.Minute + 44*time.Second)
	p.do("GET", "/v1/organization", key, "", from("192.0.2.7")).want(200)
	p.clock.advance(time.Second)
	if got := reason("192.0.2.7"); !strings.HasPrefix(got, "hours: ") {
		t.Errorf("refused by %q", got)
	}
}

// other is a second process on the platform's database, with its own caches, that
// nobody tells anything: as where a connection is down, or a host freezes between
// two calls.
func (p *platform) other() *platform {
	p.t.Helper()
	settings := map[string]string{"DATABASE_URL": p.url, "AIAAS_DATA_DIR": p.t.TempDir(), "AIAAS_DATABASE_CONNS": "2"}
	second := *p
	second.mux, second.handler = http.NewServeMux(), map[string]http.Handler{}
	second.env = &function.Env{
		Now: p.clock.Now, Log: p.env.Log, Getenv: func(n string) string { return settings[n] }, Fatal: func(err error) { p.t.Error(err) },
	}
	p.t.Cleanup(func() {
		if err := second.env.Close(context.WithoutCancel(p.t.Context())); err != nil {
			p.t.Error(err)
		}
	})
	second.wire("organizations", "keys")
	return &second
}

func TestWhatIsChangedCountsInAnotherProcessWithinASecond(t *testing.T) {
	t.Parallel()
	p := start(t)
	other := p.other()
	org, key := p.newOrg("")
	path := "/v1/organizations/" + org
	ask := func(at *platform) int { return at.do("GET", "/v1/organization", key, "", from("192.0.2.7")).Code }
	for _, c := range []struct {
		name   string
		change func()
		want   int
	}{
		{"at first", func() {}, 200},
		{"suspended", func() { p.do("POST", path+"/suspend", p.one.platform, `{"reason":"r"}`).want(200) }, 401},
		{"activated", func() { p.do("POST", path+"/activate", p.one.platform, "").want(200) }, 200},
		{"restricted", func() {
			p.do("PATCH", "/v1/organization", key, `{"settings":{"ip_allow_list":["203.0.113.5"]},"force":true}`, from("192.0.2.7")).want(200)
		}, 403},
		{"lifted", func() {
			p.do("PATCH", "/v1/organization", key, `{"settings":{"ip_allow_list":[]}}`, from("203.0.113.5")).want(200)
		}, 200},
		{"closed", func() { p.do("POST", path+"/close", p.one.platform, `{"reason":"r"}`).want(200) }, 401},
	} {
		ask(other) // it knows the key as it was
		c.change()
		if got := ask(p); got != c.want {
			t.Errorf("%s: %d at once, where it was changed; want %d", c.name, got, c.want)
		}
		p.clock.advance(fresh.TTL)
		if got := ask(other); got != c.want {
			t.Errorf("%s: %d a second later, in another process; want %d", c.name, got, c.want)
		}
	}
}
