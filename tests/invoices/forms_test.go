package invoices_test

import (
	"bytes"
	"compress/zlib"
	"encoding/csv"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/aiaas/aiaas/shared/id"
)

// hostile are names that a page, a spreadsheet or a document must bear.
func hostile() []string {
	return []string{
		`<script>alert(1)</script>`, "=HYPERLINK(\"http://x\")", "+1+1", "-2+3", "@SUM(A1)", "a \u202Eevil\u202C b", "x\u2066y\u2069",
		`"quoted", with comma`, "日本語 🚀", "Ωμέγα", "{nb}", "%s%n", `\x00`, "' OR 1=1 --",
	}
}

func TestTheFormsOfAnInvoice(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	n := h.tenant(hostile()[0]+hostile()[5], "UTC")
	for k, name := range hostile() {
		e := event(n, october(3), name, 10_000_000)
		e.ProjectID = fmt.Sprintf("p%02d", k)
		h.exec(`INSERT INTO accounts.projects (org_id, project_id, name, created_at) VALUES ('%s', '%s', '%s', now())`,
			n.org, e.ProjectID, strings.ReplaceAll(name, "'", "''"))
		h.use(e)
	}
	r := h.run(n.admin, "2026-10")
	target := "/v1/invoices/" + text(r, "invoices", 0, "id")
	i := h.do("GET", target, n.admin, "").want(200)
	names := map[string]bool{}
	for _, l := range list(i["lines"]) {
		names[text(l, "project_name")] = true
	}
	for _, name := range hostile() {
		if !names[name] {
			t.Errorf("JSON lacks %q", name)
		}
	}
	for _, c := range []struct{ accept, media string }{
		{"", "application/json"}, {"*/*", "application/json"}, {"application/json, application/pdf;q=0.5", "application/json"},
		{"text/html, image/png", "application/json"}, {"application/pdf;q=0, */*", "application/json"},
		{"application/pdf", "application/pdf"}, {"application/pdf, application/json;q=0.9", "application/pdf"}, {"application/pdf, */*", "application/pdf"},
		{"text/csv", "text/csv; charset=utf-8; header=present"}, {"text/csv, application/pdf", "text/csv; charset=utf-8; header=present"},
	} {
		a := h.do("GET", target, n.admin, "", c.accept)
		if a.Code != 200 || a.Header().Get("Content-Type") != c.media || !strings.Contains(a.Header().Get("Vary"), "Accept") {
			t.Errorf("Accept %q: %d %q, Vary %q", c.accept, a.Code, a.Header().Get("Content-Type"), a.Header().Get("Vary"))
		}
	}
	checkRows(t, h.do("GET", target, n.admin, "", "text/csv"))
	doc := h.do("GET", target, n.admin, "", "application/pdf")
	if got := doc.Header().Get("Content-Disposition"); got != `attachment; filename="INV-2026-000001.pdf"` {
		t.Errorf("the document is %s", got)
	}
	if again := h.do("GET", target, n.admin, "", "application/pdf"); !bytes.Equal(doc.Body.Bytes(), again.Body.Bytes()) {
		t.Error("the document is another one the second time")
	}
	shown := pages(t, doc.Body.Bytes())
	for _, want := range []string{"INV-2026-000001", "<script>alert(1)</script>a evil b", "xy", "??? ?", "Ωμέγα", "{ nb}", "Page 1 of ", "3 November 2026", "3 December 2026", "No tax is included", "1 – 31 October 2026", "USD 0.14"} {
		if !strings.Contains(shown, want) {
			t.Errorf("the document lacks %q", want)
		}
	}
	if strings.ContainsAny(shown, "\u202E\u2066\u202C\u2069") {
		t.Error("the document has characters that turn its text")
	}
	if p := pages(t, h.do("GET", "/v1/invoices/preview", n.admin, "", "application/pdf").Body.Bytes()); !strings.Contains(p, "Invoice preview") || strings.Contains(p, "INV-") {
		t.Errorf("the preview's document: %s", p)
	}
}

func checkRows(t *testing.T, a answer) {
	t.Helper()
	records, err := csv.NewReader(bytes.NewReader(a.Body.Bytes())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != len(hostile())+1 {
		t.Fatalf("%d rows", len(records)-1)
	}
	for _, r := range records {
		for _, cell := range r {
			if strings.HasPrefix(cell, "=") || strings.HasPrefix(cell, "+") || strings.HasPrefix(cell, "@") || strings.HasPrefix(cell, "-2") {
				t.Errorf("a spreadsheet runs %q", cell)
			}
		}
	}
	if got := strings.Join(records[0], ","); !strings.HasPrefix(got, "invoice,period,project_id,project_name,model,") {
		t.Errorf("columns %s", got)
	}
}

// pages are the texts that a document shows, in the order in which they are drawn.
func pages(t *testing.T, document []byte) string {
	t.Helper()
	var out strings.Builder
	for _, part := range bytes.Split(document, []byte("stream\n"))[1:] {
		z, err := zlib.NewReader(bytes.NewReader(part))
		if err != nil {
			continue // not compressed
		}
		content, err := io.ReadAll(z)
		if err != nil {
			t.Fatalf("read the document: %v", err)
		}
		for _, shown := range regexp.MustCompile(`(?s)\(((?:[^\\)]|\\.)*)\) ?Tj`).FindAllSubmatch(content, -1) {
			raw := regexp.MustCompile(`(?s)\\(.)`).ReplaceAllFunc(shown[1], func(m []byte) []byte {
				if m[1] == 'r' {
					return []byte{'\r'}
				}
				return m[1:]
			})
			var units []uint16
			for k := 0; k+1 < len(raw); k += 2 {
				units = append(units, uint16(raw[k])<<8|uint16(raw[k+1]))
			}
			out.WriteString(string(utf16.Decode(units)) + "\n")
		}
	}
	if out.Len() == 0 {
		t.Fatal("the document shows nothing")
	}
	return out.String()
}

func TestWhoMaySeeAndDoWhat(t *testing.T) {
	t.Parallel()
	h := newHouse(t).founded()
	one, two := h.tenant("One", "UTC"), h.tenant("Two", "UTC")
	h.use(event(one, october(3), "m", 10_000_000), event(two, october(3), "m", 10_000_000))
	if r := h.run(one.admin, "2026-10"); len(list(r["invoices"])) != 1 || text(r, "invoices", 0, "organization_id") != one.org {
		t.Errorf("an organisation's run shows %v", r)
	}
	if got := h.scalar(`SELECT string_agg(org_id, ' ') FROM analytics.invoices`); got != one.org {
		t.Errorf("it wrote for %s", got)
	}
	if r := h.run(h.platform, "2026-10"); len(list(r["invoices"])) != 2 {
		t.Errorf("the platform's run shows %v", r)
	}
	mine := "/v1/invoices/" + text(h.do("GET", "/v1/invoices", one.reader, "").want(200), "data", 0, "id")
	for _, c := range []struct {
		name, method, target, key, body string
		status                          int
	}{
		{"own", "GET", mine, one.reader, "", 200},
		{"foreign", "GET", mine, two.admin, "", 404},
		{"missing", "GET", "/v1/invoices/" + id.New(id.Invoice), one.admin, "", 404},
		{"no id", "GET", "/v1/invoices/' OR 1=1", one.admin, "", 404},
		{"the platform is no member", "GET", mine, h.platform, "", 403},
		{"without billing", "GET", mine, one.nothing, "", 403},
		{"list without billing", "GET", "/v1/invoices", one.nothing, "", 403},
		{"a reader's run", "POST", "/v1/invoices/runs", one.reader, `{"period":"2026-10"}`, 403},
		{"a reader's details", "PUT", "/v1/billing", one.reader, `{}`, 403},
		{"the seller", "GET", "/v1/sellers/default", one.admin, "", 403},
		{"the seller", "PUT", "/v1/sellers/default", one.admin, `{"name":"me"}`, 403},
		{"another seller", "PUT", "/v1/sellers/other", h.platform, `{"name":"me"}`, 404},
		{"another seller", "GET", "/v1/sellers/other", h.platform, "", 404},
		{"a member nobody asked for", "POST", "/v1/invoices/runs", one.admin, `{"period":"2026-10","organization_id":"x"}`, 422},
	} {
		method := strings.ReplaceAll(c.target, " ", "%20")
		if a := h.do(c.method, method, c.key, c.body); a.Code != c.status {
			t.Errorf("%s: %s %s: %d; want %d: %s", c.name, c.method, c.target, a.Code, c.status, a.Body)
		}
	}
	missing := h.do("GET", "/v1/invoices/"+id.New(id.Invoice), two.admin, "").want(404)
	foreign := h.do("GET", mine, two.admin, "").want(404)
	if text(missing, "detail") != text(foreign, "detail") || text(missing, "title") != text(foreign, "title") {
		t.Errorf("a foreign invoice and a missing one can be told apart: %v, %v", foreign, missing)
	}
}

func TestListsArePagedAndFiltered(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	n := h.tenant("One", "UTC")
	for month := range 5 {
		h.use(event(n, october(3).AddDate(0, -month, 0), "m", 10_000_000))
	}
	h.job("invoices.issue")
	var periods []string
	for cursor := ""; ; {
		page := h.do("GET", "/v1/invoices?limit=2&cursor="+cursor, n.reader, "").want(200)
		for _, i := range list(page["data"]) {
			periods = append(periods, text(i, "period"))
		}
		if page["next_cursor"] == nil {
			break
		}
		cursor = text(page, "next_cursor")
	}
	if got := strings.Join(periods, " "); got != "2026-06 2026-07 2026-08 2026-09 2026-10" {
		t.Errorf("pages show %s", got)
	}
	for query, want := range map[string]string{
		"period=2026-08": "1", "period=2026-05": "0", "status=issued": "5", "status=draft": "0", "status=issued&period=2026-10": "1",
	} {
		if got := fmt.Sprint(len(list(h.do("GET", "/v1/invoices?"+query, n.reader, "").want(200)["data"]))); got != want {
			t.Errorf("%s: %s; want %s", query, got, want)
		}
	}
	for _, query := range []string{"period=2026-8", "period=x", "status=unknown", "status=preview", "limit=0"} {
		h.do("GET", "/v1/invoices?"+query, n.reader, "").want(422)
	}
	if a := h.do("GET", "/v1/invoices", n.reader, "", "text/csv"); a.Header().Get("X-Row-Count") != "5" {
		t.Errorf("as CSV: %s", a.Body)
	}
}

func TestWhoIsBilledAndWhoBillsStandsOnTheInvoice(t *testing.T) {
	t.Parallel()
	h := newHouse(t).founded()
	n := h.tenant("One", "UTC")
	if got := h.do("GET", "/v1/billing", n.reader, "").want(200); text(got, "terms_days") != "30" || got["updated_at"] != nil || got["name"] != nil {
		t.Errorf("before anything is set: %v", got)
	}
	details := `{"name":"Größe & Söhne","address":["Weg 1","10115 Berlin"],"country":"DE","tax_id":"DE1","email":"a@example.com","purchase_order":"PO 7","terms_days":0}`
	seller := `{"name":"Models <Inc>","address":["Main St 1"],"country":"US","tax_id":"US1","email":"b@example.com","payment_instructions":["IBAN DE02","BIC X"],"number_prefix":"AI-7"}`
	h.do("PUT", "/v1/billing", n.admin, details).want(200)
	h.do("PUT", "/v1/sellers/default", h.platform, seller).want(200)
	if got := h.do("GET", "/v1/sellers/default", h.platform, "").want(200); text(got, "payment_instructions") != "[IBAN DE02 BIC X]" || text(got, "number_prefix") != "AI-7" || text(got, "id") != "default" {
		t.Errorf("seller %v", got)
	}
	h.use(event(n, october(3), "m", 10_000_000))
	r := h.run(n.admin, "2026-10")
	target := "/v1/invoices/" + text(r, "invoices", 0, "id")
	before := h.do("GET", target, n.admin, "").Body.String()
	document := h.do("GET", target, n.admin, "", "application/pdf").Body.Bytes()
	i := h.do("GET", target, n.admin, "").want(200)
	if got := text(i, "number") + text(i, "due_at") + text(i, "bill_to", "name") + text(i, "bill_to", "address") + text(i, "purchase_order") + text(i, "seller", "name") + text(i, "payment_instructions"); got !=
		"AI-7-2026-0000012026-11-03Größe & Söhne[Weg 1 10115 Berlin]PO 7Models <Inc>[IBAN DE02 BIC X]" {
		t.Errorf("the invoice says %s", got)
	}
	h.do("PUT", "/v1/billing", n.admin, `{"name":"Other"}`).want(200)
	h.do("PUT", "/v1/sellers/default", h.platform, `{"name":"Others"}`).want(200)
	h.exec(`UPDATE accounts.organizations SET name = 'renamed'; UPDATE accounts.projects SET name = 'renamed'`)
	if got := h.do("GET", target, n.admin, "").Body.String(); got != before {
		t.Errorf("the invoice changed into %s", got)
	}
	if !bytes.Equal(document, h.do("GET", target, n.admin, "", "application/pdf").Body.Bytes()) {
		t.Error("its document changed")
	}
	h.setText("2026-12-03 00:00")
	h.use(event(n, november(3), "m", 10_000_000))
	r = h.run(n.admin, "2026-11")
	if got := text(r, "invoices", 0, "number") + text(r, "invoices", 0, "due_at"); got != "INV-2026-0000022027-01-02" {
		t.Errorf("the next one is %s: want the numbers to go on, and the terms to be as by default", got)
	}
	for action, want := range map[string]string{"billing.update": "2", "seller.update": "2", "invoice.draft": "2", "invoice.issue": "2"} {
		if got := h.scalar(`SELECT count(*)::text FROM analytics.audit_records WHERE action = '%s' AND actor LIKE 'key_%%' AND request_id LIKE 'req_%%'`, action); got != want {
			t.Errorf("%s is recorded %s times; want %s", action, got, want)
		}
	}
	long := strings.Repeat("x", 201)
	for _, c := range []struct{ target, body, member string }{
		{"/v1/billing", `{"terms_days":14}`, "terms_days"}, {"/v1/billing", `{"terms_days":-1}`, "terms_days"}, {"/v1/billing", `{"country":"de"}`, "country"},
		{"/v1/billing", `{"country":"DEU"}`, "country"}, {"/v1/billing", `{"email":"nobody"}`, "email"}, {"/v1/billing", `{"email":"A <a@b.c>"}`, "email"},
		{"/v1/billing", `{"name":"a\u000ab"}`, "name"}, {"/v1/billing", `{"address":["` + long + `"]}`, "address"}, {"/v1/billing", `{"purchase_order":"a\u0085b"}`, "purchase_order"},
		{"/v1/billing", `{"address":["1","2","3","4","5","6","7","8","9"]}`, "address"},
		{"/v1/sellers/default", `{}`, "name"}, {"/v1/sellers/default", `{"name":"  "}`, "name"}, {"/v1/sellers/default", `{"name":"x","number_prefix":"a/b"}`, "number_prefix"},
		{"/v1/sellers/default", `{"name":"x","payment_instructions":["a\u2028b"]}`, "payment_instructions"},
	} {
		key := n.admin
		if strings.Contains(c.target, "sellers") {
			key = h.platform
		}
		if v := h.do("PUT", c.target, key, c.body).want(422); text(v, "errors", 0, "member") != c.member {
			t.Errorf("%s %s: %v", c.target, c.body, v)
		}
	}
}
