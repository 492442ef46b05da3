package command_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/usage"
	"github.com/aiaas/aiaas/tests/harness"
)

const chat = `{"model":"demo","messages":[{"role":"user","content":"Hello"}]}`

// ids are what the commands of a table are called with.
func ids(t *testing.T, g *harness.Gateway, sh *shell) *strings.Replacer {
	t.Helper()
	a := g.Do(t.Context(), harness.Call{Key: g.APIKey, Body: chat})
	if !a.Done() {
		t.Fatal(a)
	}
	lastMonth(t, g)
	g.WaitSettled(t)
	bill, _ := sh.words(t, "invoice run -o json --period "+previous().Format("2006-01")).want(0).json()["invoices"].([]any)
	if len(bill) != 1 {
		t.Fatalf("%d invoices of last month", len(bill))
	}
	key := sh.words(t, "key create --name spare --scopes inference -o json").want(0).json()
	backends, _ := sh.words(t, "model get demo -o json").want(0).json()["backends"].([]any)
	if len(backends) == 0 {
		t.Fatal("the demo model has no backend")
	}
	budget := sh.words(t, "budget create --organization --unit money --amount 10 --period month --action warn -o json").want(0).json()
	sh.words(t, "job run metering.fold").want(0)
	return strings.NewReplacer("KEY", text(key, "id"), "BACKEND", text(backends[0], "id"), "BUDGET", text(budget, "id"), "REQUEST", a.RequestID, "INVOICE", text(bill[0], "id"), "LAST-MONTH", previous().Format("2006-01"))
}

// previous is the middle of last month.
func previous() time.Time {
	y, m, _ := time.Now().UTC().Date()
	return time.Date(y, m-1, 15, 12, 0, 0, 0, time.UTC)
}

// lastMonth records a request of last month, as one that ended long after it began.
func lastMonth(t *testing.T, g *harness.Gateway) {
	t.Helper()
	e := usage.Event{
		ID: id.New(id.Request), OrgID: g.OrganizationID, ProjectID: g.ProjectID, KeyID: "key_1", Model: "demo", AdmittedAt: previous(),
		Period: previous().Format("2006-01") + "-01", Outcome: usage.Complete, Input: 1_000, Output: 100, Cost: 12_340_000_000, Currency: "USD", Status: 200,
	}
	r, err := e.Encode()
	harness.Must(t, err)
	g.Database().Exec(t, `INSERT INTO analytics.inbox (org_id, event_id, body) VALUES ($1, $2, $3)`, r.OrgID, r.ID, r.Body)
}

func TestAnInvoiceIsKeptAsPDF(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Options{})
	sh := of(g)
	line := ids(t, g, sh).Replace("invoice get INVOICE --pdf ")
	file := filepath.Join(t.TempDir(), "invoice.pdf")
	sh.words(t, line+file).want(0)
	kept, err := os.ReadFile(file)
	harness.Must(t, err)
	if !bytes.HasPrefix(kept, []byte("%PDF-")) || len(kept) < 10_000 {
		t.Errorf("%d bytes, %.20q", len(kept), kept)
	}
	if r := sh.words(t, line+"-").want(0); r.stdout != string(kept) {
		t.Errorf("on standard output stand %d other bytes", len(r.stdout))
	}
	sh.words(t, line+filepath.Join(file, "no", "folder")).want(1)
}

func TestEachCommandHasThreeForms(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Options{})
	sh := of(g)
	known := ids(t, g, sh)
	for i, c := range []struct {
		line  string
		table string // what the table says
		names string // what the first record of the CSV begins with
	}{
		{"key list", "ID ", "id,name,fingerprint,"},
		{"key create --name k --scopes inference,usage:read --expires 90d --requests-per-minute 60", "\nkey ", "id,name,"},
		{"model list", "CALLABLE", "id,owned_by,"},
		{"model get demo", "BACKEND ", "id,owned_by,"},
		{"model create m#", "max_output_tokens", "id,owned_by,"},
		{"model add-backend demo --url http://127.0.0.1:9/v1 --weight 2", "credential", "id,model,"},
		{"model update-backend BACKEND --weight 5", "weight", "id,model,"},
		{"model price demo --input-usd 1 --output-usd 2 --from 2099-01-01", "2099-01-01T00:00:00Z", "id,price_book,model,"},
		{"model prices", "IN FORCE", "id,price_book,model,"},
		{"model prices demo --in-force", "1970-01-01T00:00:00Z", "id,price_book,model,"},
		{"model price-books", "USD", "id,currency,"},
		{"model disable demo --yes", "disabled", "id,owned_by,"},
		{"model enable demo", "callable", "id,owned_by,"},
		{"budget list", "SPENT", "id,scope.organization,"},
		{"budget get BUDGET", "window.start", "id,scope.organization,"},
		{"budget create --key KEY --unit tokens --amount 1000 --period day --action block --thresholds 10,90", "10,90", "id,scope.api_key_id,"},
		{"budget update BUDGET --amount 20", "20.00", "id,scope.organization,"},
		{"budget alerts BUDGET", "", "id,budget_id,"},
		{"usage --last 1d --group-by model --bucket hour", "TOTAL", "start,end,model,requests,"},
		{"request list", "OUTCOME", "id,at,"},
		{"request get REQUEST", "outcome", "id,at,"},
		{"invoice list", "-000001", "id,organization_id,number,"},
		{"invoice get INVOICE", "12.34", "invoice,period,project_id,"},
		{"invoice preview", "preview", "organization_id,number,"},
		{"invoice run --period LAST-MONTH", "-000001", "period,status,"},
		{"job list", "metering.fold", "id,function,"},
		{"job runs metering.fold", "succeeded", "id,job,"},
		{"job run metering.fold", "succeeded", "id,job,"},
		{"user list", "EMAIL", "id,name,role,"},
		{"user add --email u#@example.com --role developer", "developer", "id,name,role,"},
		{"user invite --email i#@example.com --role developer", "open", "id,email,"},
		{"user invitations --status open", "EXPIRES", "id,email,"},
		{"service-account create --name s# --role analyst", "analyst", "id,name,role,"},
		{"service-account list", "DESCRIPTION", "id,name,role,"},
		{"role list", "MEMBERS", "id,name,"},
		{"role create --name r# --permissions keys.read,keys.create --reach own", "keys.create,keys.read", "id,name,"},
		{"role permissions", "project_members.write", "action,scope,"},
		{"project list", "active", "id,name,"},
		{"project create --name p# --requests-per-minute 5", "limits.requests_per_minute", "id,name,"},
		{"key revoke KEY --yes", "is revoked", ""},
		{"budget delete BUDGET --yes", "is deleted", ""},
	} {
		line := known.Replace(c.line)
		for _, form := range []string{"table", "json", "csv"} {
			r := sh.words(t, strings.ReplaceAll(line, "#", fmt.Sprint(i, form))+" --output "+form).want(0)
			switch {
			case strings.ContainsAny(r.stdout+r.stderr, "\x1b"):
				t.Errorf("%s: colours, and this is no terminal: %q", r.line, r.stdout)
			case form == "table" && !strings.Contains(r.stdout, c.table):
				t.Errorf("%s: %s; want it with %q", r.line, r.stdout, c.table)
			case c.names == "" && form != "table" && r.stdout != "":
				t.Errorf("%s: %q; want nothing", r.line, r.stdout)
			case c.names != "" && form == "json":
				r.json()
			case c.names != "" && form == "csv":
				if r.csv(); !strings.HasPrefix(r.stdout, c.names) {
					t.Errorf("%s: %s; want it to begin with %s", r.line, r.stdout, c.names)
				}
			}
		}
	}
}

func TestAListIsFollowedToItsEnd(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Options{})
	sh := of(g)
	var wg sync.WaitGroup
	const made = 410 // and two from the first start: three pages
	for worker := range 4 {
		wg.Go(func() {
			for i := worker; i < made; i += 4 {
				g.CreateKey(t, harness.Limits{}, "inference")
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	v := sh.words(t, "key list -o json").want(0).json()
	for _, k := range data(v) {
		seen[text(k, "id")] = true
	}
	if next, there := v["next_cursor"]; len(seen) != made+2 || !there || next != nil {
		t.Errorf("%d keys as JSON, next_cursor %v; want %d and null", len(seen), next, made+2)
	}
	records := sh.words(t, "key list -o csv").want(0).csv()
	for _, r := range records[1:] {
		if !seen[r[0]] {
			t.Errorf("CSV has %s, which JSON has not, or twice", r[0])
		}
		delete(seen, r[0])
	}
	if len(seen) != 0 {
		t.Errorf("CSV lacks %d keys", len(seen))
	}
	if lines := strings.Count(sh.words(t, "key list").want(0).stdout, "\n"); lines != made+3 {
		t.Errorf("the table has %d lines; want %d", lines, made+3)
	}
	for limit, want := range map[string]int{"1": 1, "200": 200, "201": 201, "1000": made + 2} {
		if n := len(data(sh.words(t, "key list -o json --limit "+limit).want(0).json())); n != want {
			t.Errorf("--limit %s: %d keys; want %d", limit, n, want)
		}
		if n := len(sh.words(t, "key list -o csv --limit "+limit).want(0).csv()) - 1; n != want {
			t.Errorf("--limit %s: %d records; want %d", limit, n, want)
		}
	}
}

// A name from elsewhere neither runs in a spreadsheet nor moves a terminal's
// cursor, and wide characters do not tear the table.
func TestNamesFromElsewhereDoNoHarm(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Options{})
	sh := of(g)
	made := sh.run(t, "key", "create", "--name", "=HYPERLINK(\"http://x\")", "--scopes", "inference", "-o", "csv").want(0)
	sh.run(t, "key", "create", "--name", "日本語", "--scopes", "inference").want(0)
	sh.run(t, "key", "create", "--name", "a\u202eb", "--scopes", "inference").want(1) // none is made with it any more
	sh.run(t, "key", "create", "--name", "from before", "--scopes", "inference").want(0)
	g.Database().Exec(t, "UPDATE accounts.api_keys SET name = 'a\u202eb' WHERE name = 'from before'")
	for _, r := range []result{made, sh.words(t, "key list -o csv").want(0)} {
		if !strings.Contains(r.stdout, `,"'=HYPERLINK(""http://x"")",`) {
			t.Errorf("%s: the formula is not disarmed: %s", r.line, r.stdout)
		}
	}
	table := sh.words(t, "key list").want(0).stdout
	if strings.Contains(table, "\u202e") || !strings.Contains(table, `a\u{202e}b`) {
		t.Errorf("the table turns the direction of writing: %q", table)
	}
	at := -1
	for line := range strings.Lines(table) {
		shown := strings.ReplaceAll(line, "日本語", "xxxxxx") // as wide as a terminal shows it
		for _, word := range []string{"STATE", "active"} {
			if i := strings.Index(shown, word); i >= 0 && at >= 0 && i != at {
				t.Errorf("a column is torn at %d: %s", i, line)
			} else if i >= 0 {
				at = i
			}
		}
	}
}

// usage in its three forms is the API's, to the last unit.
func TestUsageIsTheAPIs(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Options{})
	sh := of(g)
	for range 3 {
		if a := g.Do(t.Context(), harness.Call{Key: g.APIKey, Body: chat}); !a.Done() {
			t.Fatal(a)
		}
	}
	g.WaitSettled(t)
	want := g.Usage(t, "?group_by=model,key")
	month := " --month " + time.Now().UTC().Format("2006-01")
	totals, _ := sh.words(t, "usage -o json"+month).want(0).json()["totals"].(map[string]any)
	if got := fmt.Sprint(totals["requests"], totals["cost_nano"]); got != fmt.Sprint(want.Totals.Requests, want.Totals.CostNano) {
		t.Errorf("JSON %v; the API says %+v", totals, want.Totals)
	}
	records := sh.words(t, "usage --group-by model,key -o csv"+month).want(0).csv()
	row := want.Data[0]
	if got := strings.Join(records[1][2:], " "); len(records) != 2 ||
		got != fmt.Sprint(row.Model, " ", row.APIKeyID, " ", row.Requests, " ", row.InputTokens, " ", row.CachedInputTokens, " ", row.OutputTokens, " ", row.CostNano, " ", row.Currency) {
		t.Errorf("CSV %v; the API says %+v", records, row)
	}
	table := sh.words(t, "usage --group-by model,key"+month).want(0)
	var total string
	for line := range strings.Lines(table.stdout) {
		if strings.HasPrefix(line, "TOTAL") {
			total = strings.Join(strings.Fields(line), " ")
		}
	}
	cost := fmt.Sprintf("%d.%09d", want.Totals.CostNano/1e9, want.Totals.CostNano%1e9)
	if !strings.HasPrefix(total, "TOTAL - - - 3 ") || !strings.Contains(total, " "+strings.TrimRight(cost, "0")) || !strings.Contains(table.stderr, "Complete until") {
		t.Errorf("the table ends with %q and says %q; want 3 requests and %s", total, table.stderr, cost)
	}
}
