package hostile_test

import (
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/aiaas/aiaas/shared/id"
)

// cursors that no list gave.
func cursors() []string {
	enc := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return []string{
		"forged", "A", "%00", "\xff\xfe", "' OR 1=1 --", "../../etc/passwd", strings.Repeat("A", 5000),
		enc("1:"), enc("2:key_1"), enc("1:\x00"), enc("1:\xff"), enc("9223372036854775808"),
		enc("1:"+strings.Repeat("a", 300)) + "=", enc("1:key_01a20d00000070008000000000000000") + "==",
	}
}

// TestEveryListIsBounded asks each list for more than a page can have, from places
// that it never named, and for what it does not know.
func TestEveryListIsBounded(t *testing.T) {
	p := start(t)
	lists := 0
	p.harmless(func() {
		p.each(func(t *testing.T, r route) {
			t.Helper()
			if r.Method != http.MethodGet || r.Scope == "" || r.DataPlane {
				return
			}
			ask := func(query string) answer { return p.do(r.Method, r.target+"?"+query, r.key, "") }
			check := func(query string) {
				statuses := []int{400, 404, 422}
				if strings.HasPrefix(query, "organization_id=") {
					statuses = append(statuses, 403) // whose audit it is comes first, whether there is such an organisation or not
				}
				if refused(t, ask(query), statuses...); t.Failed() {
					t.Fatalf("?%.100s", query)
				}
			}
			var takes []string
			for _, q := range p.doc.operation(t, r.Route).Parameters {
				if q.In == "query" {
					takes = append(takes, q.Name)
				}
			}
			check("colour=red")
			for _, name := range takes {
				check(name + "=a&" + name + "=b")
				check(name + "=%00")
				check(name + "=%zz")
				for _, text := range []string{strings.Repeat("x", 5000), url.QueryEscape("' OR '1'='1"), "%ff", "%0d%0aX-Evil:1"} {
					// What is a text only may be looked for, and is not found.
					if a := ask(name + "=" + text); a.status != 200 || !strings.Contains(string(a.body), `"data":[]`) {
						check(name + "=" + text)
					}
				}
			}
			if slices.Contains(takes, "limit") {
				lists++
				for _, limit := range []string{"0", "-1", "201", "1e3", "1000000000", "9223372036854775807", "9223372036854775808", "0x10", "ten", "1.5", "NaN"} {
					check("limit=" + limit)
				}
			}
			if slices.Contains(takes, "cursor") {
				for _, c := range cursors() {
					check("cursor=" + url.QueryEscape(c))
				}
			}
		})
	})
	if lists < 6 {
		t.Errorf("%d routes have a limit; they have got lost", lists)
	}
}

// TestACursorOfAnotherOrganisationLeadsNowhere: a cursor carries no authority.
func TestACursorOfAnotherOrganisationLeadsNowhere(t *testing.T) {
	p := start(t)
	for range 3 {
		p.key(p.two, "")
	}
	foreign := p.do("GET", "/v1/api-keys?limit=1", p.two.admin, "")
	_, rest, _ := strings.Cut(string(foreign.body), `"next_cursor":"`)
	cursor, _, _ := strings.Cut(rest, `"`)
	if cursor == "" {
		t.Fatalf("the list of the other has one page: %s", foreign)
	}
	a := p.do("GET", "/v1/api-keys?limit=200&cursor="+cursor, p.one.admin, "")
	if a.status != 200 {
		t.Fatal(a)
	}
	for theirs := range strings.SplitSeq(p.scalar(`SELECT string_agg(key_id, ',') FROM accounts.api_keys WHERE org_id <> '%s'`, p.one.id), ",") {
		if strings.Contains(string(a.body), theirs) {
			t.Errorf("the page has %s, which is not theirs: %s", theirs, a)
		}
	}
}

// names that a spreadsheet, a page or a reader would make something of.
func names() []string {
	return []string{
		`=cmd|' /C calc'!A0`, "+1+1", "-2+3", "@SUM(A1)", "\u00a0=1", `"=1"`, "=HYPERLINK(\"http://evil.example\",\"x\")", "＝1",
		"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "\u202egnp.exe", "a\u2066b\u2069", "a\u0000b", "a\r\nb", "\u200b=1",
	}
}

// quote is a text as JSON has it.
func quote(text string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // as a client sends it that thinks nothing of it
	if err := e.Encode(text); err != nil {
		return `""` // a text always has a form
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// named are routes that take a name or another text that people see, and a body with
// "…" in its place; the address has the number of the name where it must be another.
func named() []struct{ method, path, body string } {
	return []struct{ method, path, body string }{
		{"POST", "/v1/api-keys", `{"scopes":["inference"],"name":…}`},
		{"POST", "/v1/models", `{"id":"m#","owned_by":…}`},
		{"POST", "/v1/models", `{"id":…}`},
		{"POST", "/v1/budgets", `{"scope":{"model":…},"unit":"tokens","amount":"1","period":"day","action":"monitor"}`},
		{"POST", "/v1/members", `{"email":"member#@example.com","name":…,"role":"developer"}`},
		{"POST", "/v1/members", `{"email":…,"name":"n","role":"developer"}`},
		{"POST", "/v1/service-accounts", `{"name":…,"description":…,"role":"developer"}`},
		{"POST", "/v1/roles", `{"name":…,"description":…,"permissions":["keys.read"],"reach":"own"}`},
		{"POST", "/v1/projects", `{"name":…}`},
		{"POST", "/v1/webhooks", `{"url":"https://example.com/#","description":…,"events":["invoice.issued"]}`},
		{"POST", "/v1/organizations", `{"name":…,"slug":"other-#","owner":{"email":"owner#@example.com","name":…}}`},
		{"PUT", "/v1/plans/plan-#", `{"name":…,"limits":{"requests_per_minute":1,"tokens_per_minute":0,"concurrent_requests":0,"key_requests_per_minute":0,"key_tokens_per_minute":0,"key_concurrent_requests":0},"max_members":0,"max_projects":0,"max_keys":0}`},
		{"POST", "/v1/members/" + user + "/suspend", `{"reason":…}`},
		{"PATCH", "/v1/organization", `{"name":…}`},
		{"PUT", "/v1/billing", `{"name":…,"address":[…],"country":"DE"}`},
		{"PUT", "/v1/sellers/default", `{"name":…}`},
	}
}

// unseen tells whether a character of a name is not shown, or changes how others are.
func unseen(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }

// nameAll names things of every kind in hostile ways. Where a route refuses a name,
// that is as good. It returns the names that were taken, by path.
func (p *platform) nameAll() map[string][]string {
	p.t.Helper()
	p.exec(`UPDATE accounts.organizations SET plan = 'selfhosted' WHERE org_id = '%s'`, p.one.id) // as many of all as one likes
	taken := map[string][]string{}
	for i, name := range names() {
		for _, c := range named() {
			key := p.one.admin
			for _, path := range []string{"/v1/models", "/v1/organizations", "/v1/plans", "/v1/sellers"} {
				if strings.HasPrefix(c.path, path) {
					key = p.one.platform
				}
			}
			number := strings.NewReplacer("#", fmt.Sprint(i))
			a := p.do(c.method, number.Replace(c.path), key, strings.ReplaceAll(strings.Replace(number.Replace(c.body), "example.com/"+fmt.Sprint(i), "example.com/x", 1), "…", quote(name)))
			switch {
			case a.status >= 200 && a.status < 300 && strings.ContainsFunc(name, unseen):
				p.t.Errorf("%s takes %q, which shows as something else", c.path, name)
			case a.status >= 200 && a.status < 300:
				taken[c.path] = append(taken[c.path], name)
			case a.status < 400 || a.status >= 500:
				p.t.Errorf("%q as a name for %s: %s", name, c.path, a)
			default:
				refused(p.t, a, a.status)
			}
		}
		p.do("POST", "/v1/chat/completions", p.one.caller, chatBody, head("User-Agent", strings.NewReplacer("\r\n", "", "\x00", "").Replace(name)))
	}
	return taken
}

// TestNoListRunsAsAFormula names things in ways that a spreadsheet would run, and
// reads every list as rows.
func TestNoListRunsAsAFormula(t *testing.T) {
	p := start(t)
	taken := p.nameAll()
	for _, c := range named() {
		if len(taken[c.path]) == 0 {
			t.Errorf("%s takes none of the names: the lists show nothing hostile", c.path)
		}
	}
	p.exec(`INSERT INTO accounts.audit_records (org_id, audit_id, at, actor, action, target, detail) VALUES ('%s', '%s', now(), '=1+1', '@SUM(A1)', '+1', '{"=x":"=1"}')`, p.one.id, id.New(id.Audit))
	person := p.signedIn()
	tables := 0
	p.each(func(t *testing.T, r route) {
		t.Helper()
		if _, rows := p.doc.operation(t, r.Route).Responses["200"].Content["text/csv"]; !rows || r.OperationID == "getInvoice" {
			return
		}
		tables++
		key := r.key
		if strings.HasPrefix(r.Path, "/v1/me/") || r.OperationID == "listSessions" { // a person's own
			key = person
		}
		a := p.do("GET", r.target, key, "", head("Accept", "text/csv"))
		if a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), "text/csv") || a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Fatalf("%v %s", a.header, a)
		}
		records, err := csv.NewReader(strings.NewReader(string(a.body))).ReadAll()
		must(t, err)
		for _, record := range records {
			for _, cell := range record {
				if runs(cell) {
					t.Errorf("a spreadsheet would run %q", cell)
				}
			}
		}
	})
	if tables < 25 {
		t.Errorf("%d routes give rows; they have got lost", tables)
	}
}

// runs tells whether a spreadsheet would take a cell for a formula, looking past
// white space, quotes and what is not seen.
func runs(cell string) bool {
	bare := strings.TrimLeft(cell, " \t\r\n\u00a0\u200b\u202e\u2066\"")
	if bare == "" || strings.Trim(bare, "-0123456789.") == "" && !strings.Contains(bare[1:], "-") {
		return false // a number, also a negative one
	}
	return strings.ContainsRune("=+-@＝＋－＠", []rune(bare)[0])
}

// TestNamesAreTextInEveryAnswer names things in markup and in text that runs
// backwards, and reads all there is: as JSON that no browser takes for a page, in
// which each name is what it was, or was refused.
func TestNamesAreTextInEveryAnswer(t *testing.T) {
	p := start(t)
	taken := p.nameAll()
	all := map[string]string{}
	p.each(func(t *testing.T, r route) {
		t.Helper()
		if r.Method != http.MethodGet || r.Scope == "" || r.DataPlane {
			return
		}
		query := ""
		if slices.ContainsFunc(p.doc.operation(t, r.Route).Parameters, func(q parameter) bool { return q.Name == "limit" }) {
			query = "?limit=200"
		}
		for _, accept := range []string{"*/*", "text/html", "application/xhtml+xml, text/html;q=0.9"} {
			a := p.do(r.Method, r.target+query, r.key, "", head("Accept", accept))
			kind := a.header.Get("Content-Type")
			if a.status >= 500 || !strings.Contains(kind, "json") || a.header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: %q, %v: %s", accept, kind, a.header, a)
			}
			if a.status == 200 && r.OperationID != "exportAudit" && !json.Valid(a.body) {
				t.Errorf("no JSON: %s", a)
			}
			all[r.target] = string(a.body)
		}
	})
	for _, path := range []string{"/v1/api-keys", "/v1/members", "/v1/service-accounts", "/v1/roles", "/v1/projects", "/v1/webhooks", "/v1/organizations"} {
		var got any
		must(t, json.Unmarshal([]byte(all[path]), &got))
		shown := texts(got)
		for _, name := range taken[path] {
			if !slices.Contains(shown, name) && !slices.Contains(shown, strings.TrimSpace(name)) {
				t.Errorf("%s took %q, and shows it in another form", path, name)
			}
		}
	}
}

// texts are all texts of a JSON value.
func texts(v any) []string {
	var out []string
	switch v := v.(type) {
	case string:
		out = append(out, v)
	case []any:
		for _, x := range v {
			out = append(out, texts(x)...)
		}
	case map[string]any:
		for _, x := range v {
			out = append(out, texts(x)...)
		}
	}
	return out
}

// TestNamesAreTextOnEveryPage puts markup and bidirectional text where invoices
// take names from, and reads them in all forms.
func TestNamesAreTextOnEveryPage(t *testing.T) {
	p := start(t)
	for _, name := range names() {
		quoted := strings.ReplaceAll(fmt.Sprintf("%q", name), `\x00`, `\u0000`)
		a := p.do("PUT", "/v1/billing", p.one.admin, `{"name":`+quoted+`,"address":[`+quoted+`],"country":"DE"}`)
		if a.status != 200 && (a.status < 400 || a.status >= 500) {
			t.Errorf("%s as a name: %s", quoted, a)
		}
		for accept, kind := range map[string]string{"application/json": "application/json", "application/pdf": "application/pdf", "text/csv": "text/csv"} {
			a := p.do("GET", "/v1/invoices/preview", p.one.admin, "", head("Accept", accept))
			if a.status != 200 && a.status != 404 || a.status == 200 && !strings.HasPrefix(a.header.Get("Content-Type"), kind) || a.header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s as %s: %s %s", quoted, accept, a.header.Get("Content-Type"), a)
			}
		}
	}
	if leak := leaks.FindString(p.log.String()); leak != "" {
		t.Errorf("the log has %q: %s", leak, p.log)
	}
}
