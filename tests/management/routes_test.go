package management_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/functions"
	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/rest"
)

// eachRoute runs f for every managed route, with a path that fits it.
func eachRoute(t *testing.T, f func(t *testing.T, r function.Route, target string)) {
	t.Helper()
	for _, e := range functions.Catalogue() {
		for _, r := range e.Spec.Routes {
			if r.DataPlane {
				continue
			}
			t.Run(r.OperationID, func(t *testing.T) { f(t, r, strings.ReplaceAll(r.Path, "{id}", "x")) })
		}
	}
}

func TestEveryScopedRouteRefusesWhoIsNobody(t *testing.T) {
	t.Parallel()
	p := start(t)
	unknown := apikey.NewSecret(apikey.Production).Reveal()
	eachRoute(t, func(t *testing.T, r function.Route, target string) {
		t.Helper()
		if r.Scope == "" {
			return // public
		}
		for name, c := range map[string]struct {
			header http.Header
			status int
			code   string
		}{
			"no key":        {http.Header{}, 401, "invalid_api_key"},
			"blank":         {http.Header{"Authorization": {"Bearer   "}}, 401, "invalid_api_key"},
			"blank X":       {http.Header{"X-Api-Key": {" "}}, 401, "invalid_api_key"},
			"other scheme":  {http.Header{"Authorization": {"Basic " + p.one.admin}}, 401, "invalid_api_key"},
			"100 KB":        {http.Header{"Authorization": {"Bearer aiaas_live_" + strings.Repeat("a", 100_000)}}, 401, "invalid_api_key"},
			"bad checksum":  {http.Header{"Authorization": {"Bearer " + p.one.admin[:len(p.one.admin)-1] + "!"}}, 401, "invalid_api_key"},
			"SQL":           {http.Header{"X-Api-Key": {"' OR '1'='1"}}, 401, "invalid_api_key"},
			"unknown":       {http.Header{"X-Api-Key": {unknown}}, 401, "invalid_api_key"},
			"two different": {http.Header{"Authorization": {"Bearer " + p.one.admin}, "X-Api-Key": {p.two.admin}}, 400, "invalid_request"},
		} {
			a := p.do(r.Method, target, "", "", func(req *http.Request) { req.Header = c.header })
			a.t = t
			v := a.refused(c.status, c.code)
			if c.status == 401 && a.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("%s: no WWW-Authenticate", name)
			}
			if strings.Contains(a.Body.String(), "aiaas_live_") {
				t.Errorf("%s: the answer repeats the key: %v", name, v)
			}
		}
		a := p.do(r.Method, target+"?key="+p.one.admin, "", "")
		a.t = t
		a.refused(400, "invalid_request")
	})
	if strings.Contains(p.log.String(), p.one.admin) {
		t.Error("a key is in the log")
	}
}

func TestEveryScopedRouteRefusesAKeyWithoutItsScope(t *testing.T) {
	t.Parallel()
	p := start(t)
	eachRoute(t, func(t *testing.T, r function.Route, target string) {
		t.Helper()
		if r.Scope == "" {
			return // public
		}
		key := p.one.admin // has every scope of an organisation
		if r.Scope != "platform" {
			key = p.one.platform // has the platform's only
		}
		if r.OrScope != "" {
			key = p.one.reader // has neither
		}
		a := p.do(r.Method, target, key, `{"x":1}`)
		a.t = t
		if v := a.refused(403, "forbidden"); v["scope"] != r.Scope {
			t.Errorf("the answer names scope %v; want %q", v["scope"], r.Scope)
		}
	})
}

// keyFor is a key that may use a route.
func (p *platform) keyFor(r function.Route) string {
	if r.Scope == "platform" {
		return p.one.platform
	}
	return p.one.admin
}

func TestEveryBodyIsReadStrictly(t *testing.T) {
	t.Parallel()
	p := start(t)
	pad := func(n int) string { return `{"unknown":"` + strings.Repeat("a", n-len(`{"unknown":""}`)) + `"}` }
	eachRoute(t, func(t *testing.T, r function.Route, target string) {
		t.Helper()
		if r.Method != http.MethodPost && r.Method != http.MethodPatch && r.Method != http.MethodPut {
			return // without a body
		}
		for _, c := range []struct {
			name, body string
			status     int
			code       string
			change     func(*http.Request)
		}{
			{"empty", "", 400, "invalid_request", nil},
			{"broken", `{"name":`, 400, "invalid_request", nil},
			{"trailing", `{"unknown":1} {}`, 400, "invalid_request", nil},
			{"duplicate", `{"name":"a","name":"b"}`, 400, "invalid_request", nil},
			{"nested duplicate", `{"limits":{"x":1,"x":2}}`, 400, "invalid_request", nil},
			{"invalid UTF-8", "{\"name\":\"\xff\"}", 400, "invalid_request", nil},
			{"NUL", `{"name":"a\u0000b"}`, 400, "invalid_request", nil},
			{"deep", strings.Repeat(`[`, 30_000), 400, "invalid_request", nil},
			{"array", `[]`, 422, "unprocessable", nil},
			{"null", `null`, 422, "unprocessable", nil},
			{"unknown member", `{"org_id":"org_1"}`, 422, "unprocessable", nil},
			{"at the limit", pad(rest.MaxBody), 422, "unprocessable", nil},
			{"too large", pad(rest.MaxBody + 1), 413, "request_too_large", nil},
			{"too large, chunked", pad(rest.MaxBody + 1), 413, "request_too_large", func(r *http.Request) { r.ContentLength = -1 }},
			{"form", `a=b`, 415, "unsupported_media_type", func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }},
			{"no type", `{}`, 415, "unsupported_media_type", func(r *http.Request) { r.Header.Del("Content-Type") }},
			{"two types", `{}`, 415, "unsupported_media_type", func(r *http.Request) { r.Header.Add("Content-Type", "text/plain") }},
			{"other charset", `{}`, 415, "unsupported_media_type", func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=latin1") }},
			{"compressed", `{}`, 415, "unsupported_media_type", func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }},
		} {
			change := func(*http.Request) {}
			if c.change != nil {
				change = c.change
			}
			a := p.do(r.Method, target, p.keyFor(r), c.body, change)
			if a.Code != c.status {
				t.Errorf("%s: status %d; want %d: %s", c.name, a.Code, c.status, a.Body)
				continue
			}
			a.t = t
			a.refused(c.status, c.code)
		}
	})
}

func TestUnknownPathsAndMethodsAreProblemDocuments(t *testing.T) {
	t.Parallel()
	p := start(t)
	for name, h := range p.handler {
		one := *p
		one.mux = http.NewServeMux()
		one.mux.Handle("/", h)
		one.do("GET", "/nothing/here", p.one.admin, "").refused(404, "not_found")
		one.do("GET", "/v1/%2e%2e/v1/api-keys%2f", "", "").refused(404, "not_found")
		for _, e := range functions.Catalogue() {
			if e.Spec.Name != name {
				continue
			}
			for _, r := range e.Spec.Routes {
				a := one.do("TRACE", strings.ReplaceAll(r.Path, "{id}", "x"), p.one.admin, "")
				a.refused(405, "method_not_allowed")
				if !strings.Contains(a.Header().Get("Allow"), r.Method) {
					t.Errorf("Allow %q lacks %s", a.Header().Get("Allow"), r.Method)
				}
			}
		}
	}
}

func TestQueriesAreReadStrictly(t *testing.T) {
	t.Parallel()
	p := start(t)
	for query, want := range map[string]struct {
		status int
		code   string
	}{
		"?limit=0":              {422, "unprocessable"},
		"?limit=201":            {422, "unprocessable"},
		"?limit=-1":             {422, "unprocessable"},
		"?limit=ten":            {422, "unprocessable"},
		"?limit=1e3":            {422, "unprocessable"},
		"?limit=1&limit=2":      {400, "invalid_request"},
		"?colour=red":           {422, "unprocessable"},
		"?cursor=%00":           {400, "invalid_request"},
		"?cursor=%zz":           {400, "invalid_request"},
		"?cursor=forged":        {400, "invalid_request"},
		"?cursor=MTprZXlfMQ":    {400, "invalid_request"}, // 1:key_1
		"?cursor=' OR 1=1":      {400, "invalid_request"},
		"?cursor=" + "A":        {400, "invalid_request"},
		"?cursor=" + long(5000): {422, "unprocessable"},
	} {
		for _, path := range []string{"/v1/api-keys", "/v1/budgets"} {
			a := p.do("GET", path+strings.ReplaceAll(query, " ", "%20"), p.one.admin, "")
			if a.Code != want.status {
				t.Errorf("%s%.40s: status %d; want %d: %s", path, query, a.Code, want.status, a.Body)
				continue
			}
			a.refused(want.status, want.code)
		}
	}
}

func long(n int) string { return strings.Repeat("a", n) }

func TestEveryAnswerIsMarkedAndNotStored(t *testing.T) {
	t.Parallel()
	p := start(t)
	seen := map[string]bool{}
	for _, target := range []string{"/healthz", "/v1/api-keys", "/v1/usage", "/nothing"} {
		a := p.do("GET", target, p.one.admin, "", func(r *http.Request) { r.Header.Set("X-Request-Id", "mine") })
		if target == "/nothing" { // the host's own answer
			continue
		}
		got := a.Header().Get("X-Request-Id")
		if got == "mine" || got == "" || seen[got] {
			t.Errorf("%s: request id %q; want a fresh one of ours", target, got)
		}
		seen[got] = true
		if a.Header().Get("Cache-Control") != "no-store" || a.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", target, a.Header())
		}
	}
}

func TestAnOutageIsTheOperatorsBusiness(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.do("GET", "/readyz", "", "").want(200)
	p.do("GET", "/v1/api-keys", p.one.admin, "").want(200)
	p.stopDatabase()
	p.clock.advance(5_000_000_000)
	for _, target := range []string{"/readyz", "/v1/api-keys"} {
		a := p.do("GET", target, p.one.admin, "")
		a.refused(503, "unavailable")
		if a.Header().Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", target)
		}
		for _, inner := range []string{"database", "SQLSTATE", "pgx", "postgres", "does not exist"} {
			if strings.Contains(a.Body.String(), inner) {
				t.Errorf("%s: the answer says %q: %s", target, inner, a.Body)
			}
		}
		if id := a.Header().Get("X-Request-Id"); !strings.Contains(p.log.String(), id) {
			t.Errorf("%s: the log does not have %s", target, id)
		}
	}
	p.do("GET", "/healthz", "", "").want(200)
}

func TestTheReferenceIsServed(t *testing.T) {
	t.Parallel()
	p := start(t)
	doc := p.do("GET", "/openapi.json", "", "").want(200)
	if doc["openapi"] != "3.1.0" {
		t.Errorf("openapi is %v", doc["openapi"])
	}
	a := p.do("GET", "/docs", "", "")
	if a.Code != 200 || a.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("docs: %d %v", a.Code, a.Header())
	}
	page := a.Body.String()
	for _, e := range functions.Catalogue() {
		for _, r := range e.Spec.Routes {
			if !strings.Contains(page, fmt.Sprintf(`id="%s"`, r.OperationID)) {
				t.Errorf("the page lacks %s", r.OperationID)
			}
		}
	}
	for _, banned := range []string{"<script", "http://cdn", "https://cdn", "@import", "url("} {
		if strings.Contains(page, banned) {
			t.Errorf("the page has %q", banned)
		}
	}
}
