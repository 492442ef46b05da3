package hostile_test

import (
	"encoding/base64"
	"encoding/csv"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
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
				if refused(t, ask(query), 400, 404, 422); t.Failed() {
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

// TestNoListRunsAsAFormula names things in ways that a spreadsheet would run, and
// reads every list as rows. Where a route refuses a name, that is as good.
func TestNoListRunsAsAFormula(t *testing.T) {
	p := start(t)
	for i, name := range names() {
		quoted := fmt.Sprintf("%q", name)
		quoted = strings.NewReplacer(`\x00`, `\u0000`, `\u00a0`, "\u00a0").Replace(quoted)
		for path, body := range map[string]string{
			"/v1/api-keys": `{"scopes":["inference"],"name":` + quoted + `}`,
			"/v1/models":   `{"id":"m` + fmt.Sprint(i) + `","owned_by":` + quoted + `}`,
			"/v1/models/":  `{"id":` + quoted + `}`,
			"/v1/budgets":  `{"scope":{"model":` + quoted + `},"unit":"tokens","amount":"1","period":"day","action":"monitor"}`,
		} {
			key := map[bool]string{true: p.one.platform, false: p.one.admin}[strings.HasPrefix(path, "/v1/models")]
			a := p.do("POST", strings.TrimSuffix(path, "/"), key, body)
			if a.status != 201 && (a.status < 400 || a.status >= 500) {
				t.Errorf("%s as a name for %s: %s", quoted, path, a)
			}
		}
		p.do("POST", "/v1/chat/completions", p.one.caller, chatBody, head("User-Agent", strings.NewReplacer("\r\n", "", "\x00", "").Replace(name)))
	}
	tables := 0
	p.each(func(t *testing.T, r route) {
		t.Helper()
		if _, rows := p.doc.operation(t, r.Route).Responses["200"].Content["text/csv"]; !rows || r.OperationID == "getInvoice" {
			return
		}
		tables++
		a := p.do("GET", r.target, r.key, "", head("Accept", "text/csv"))
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
	if tables < 6 {
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
