package management_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/functions"
)

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
