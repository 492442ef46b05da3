// Package hostile_test sends every route of the catalogue what nobody well-meaning
// sends, over real connections to the real host with all functions wired, and holds
// that the stated refusal is all that happens: no backend is called, nothing is
// booked, held or stored, nothing leaks, and the process serves on.
//
// The tables say what is sent; the routes come from the catalogue, and their valid
// bodies from the OpenAPI document. A route that is new fails these tests until
// targets says where it is to be found.
package hostile_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/aiaas/aiaas/adapters/demo"
	"github.com/aiaas/aiaas/adapters/httpshim"
	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/functions"
	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/tests/harness"
)

func TestMain(m *testing.M) {
	code := postgrestest.Run(m)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, "goroutines are left:", err)
		code = 1
	}
	os.Exit(code)
}

// modelID is the model that the platform serves; its backend counts.
const modelID = "counted"

// platform is the whole catalogue behind the host, on a port of its own, over a
// database of its own.
type platform struct {
	t        *testing.T
	database string
	address  string
	handler  http.Handler
	client   *http.Client
	log      *log
	backend  *demo.Server
	doc      document

	one, two org
	budget   string // of the first organisation: it blocks, and has room
	backID   string // of the model's backend
	invoice  string
	run      string // of a job
	request  string // one that is in the access log
	webhook  string // of the first organisation
	mail     string // of the first organisation
	record   string // of the first organisation's audit
	tenant   org    // a third organisation, for what the platform does with one
}

// org is an organisation with keys.
type org struct {
	id, project                         string
	admin, caller, reader, platform     string // secrets
	callerID, spareID                   string
	revoked, expired, suspended, nobody string // secrets that are refused
}

// log takes the lines of all goroutines.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start serves. All of it is gone when the test ends.
func start(t *testing.T, settings ...string) *platform {
	t.Helper()
	p := &platform{t: t, database: postgrestest.New(t), log: &log{}, client: &http.Client{
		Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 16},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	t.Cleanup(p.client.CloseIdleConnections)
	p.one, p.two = p.org("one"), p.org("two")
	upstream := harness.StartUpstream(t, demo.Config{Limits: demo.Limits{GiantLine: 1 << 31}})
	p.backend = upstream.Server
	p.serve(settings)
	must(t, json.Unmarshal(p.do("GET", "/openapi.json", "", "").body, &p.doc))
	p.furnish(upstream.URL)
	return p
}

func (p *platform) serve(settings []string) {
	t := p.t
	values := map[string]string{"DATABASE_URL": p.database, "AIAAS_DATA_DIR": t.TempDir(), "AIAAS_DATABASE_CONNS": "3"}
	for i := 0; i < len(settings); i += 2 {
		values[settings[i]] = settings[i+1]
	}
	env := &function.Env{
		Now: func() time.Time { return time.Now().UTC() }, Log: slog.New(slog.NewJSONHandler(p.log, nil)),
		Getenv: func(n string) string { return values[n] }, Fatal: func(err error) { t.Error(err) }, LocalDisk: true,
	}
	server, err := httpshim.New(t.Context(), env, functions.Catalogue())
	must(t, err)
	p.handler = server
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	p.address = ln.Addr().String()
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error)
	go func() { served <- server.Serve(ctx, ln, httpshim.Options{Grace: harness.Patience}) }()
	t.Cleanup(func() {
		p.client.CloseIdleConnections()
		end()
		must(t, <-served)
		must(t, env.Close(context.WithoutCancel(t.Context())))
	})
}

// org puts an organisation with a project and keys into the database.
func (p *platform) org(name string) org {
	p.t.Helper()
	o := org{id: id.New(id.Organization), project: id.New(id.Project), nobody: apikey.NewSecret(apikey.Production).Reveal()}
	asleep := org{id: id.New(id.Organization), project: id.New(id.Project)}
	for i, which := range []org{o, asleep} {
		p.exec(`INSERT INTO accounts.organizations (org_id, name, created_at, status) VALUES ('%s', '%s', now(), '%s')`,
			which.id, name, []string{"active", "suspended"}[i])
		p.exec(`INSERT INTO accounts.projects (org_id, project_id, name, created_at) VALUES ('%s', '%s', 'first', now())`, which.id, which.project)
	}
	_, o.admin = p.key(o, "", authz.Scopes()...)
	o.callerID, o.caller = p.key(o, "", authz.Inference, authz.ModelsRead)
	o.spareID, _ = p.key(o, "", authz.Inference)
	_, o.reader = p.key(o, "", authz.KeysRead, authz.BudgetsRead, authz.UsageRead)
	_, o.platform = p.key(o, "", authz.Platform)
	every := append(authz.Scopes(), authz.Platform)
	_, o.revoked = p.key(o, ", revoked_at = now()", every...)
	_, o.expired = p.key(o, ", expires_at = now() - interval '1 hour'", every...)
	_, o.suspended = p.key(asleep, "", every...)
	return o
}

// key makes a key; change is more of its UPDATE.
func (p *platform) key(o org, change string, scopes ...authz.Scope) (keyID, secret string) {
	p.t.Helper()
	keyID, secret = postgrestest.Key(p.t, p.database, o.id, o.project, scopes...)
	if change != "" {
		p.exec(`UPDATE accounts.api_keys SET name = 'k'%s WHERE key_id = '%s'`, change, keyID)
	}
	return keyID, secret
}

func (p *platform) exec(sql string, args ...any) {
	p.t.Helper()
	postgrestest.Exec(p.t, p.database, fmt.Sprintf(sql, args...))
}

func (p *platform) scalar(sql string, args ...any) string {
	p.t.Helper()
	return postgrestest.Scalar(p.t, p.database, fmt.Sprintf(sql, args...))
}

// furnish makes one of everything that a route may be about.
func (p *platform) furnish(backendURL string) {
	p.t.Helper()
	made := func(path, key, body string) string {
		p.t.Helper()
		var out struct{ ID string }
		a := p.do("POST", path, key, body)
		if a.status != 200 && a.status != 201 && a.status != 202 {
			p.t.Fatalf("POST %s: %s", path, a)
		}
		must(p.t, json.Unmarshal(a.body, &out))
		return out.ID
	}
	made("/v1/models", p.one.platform, `{"id":"`+modelID+`"}`)
	p.backID = made("/v1/models/"+modelID+"/backends", p.one.platform, `{"protocol":"openai","base_url":"`+backendURL+`","upstream_model":"demo"}`)
	made("/v1/price-books/default/prices", p.one.platform, `{"model":"`+modelID+`","effective_from":"2020-01-01T00:00:00Z","input_usd_per_million":"1","output_usd_per_million":"4"}`)
	p.budget = made("/v1/budgets", p.one.admin, `{"scope":{"organization":true},"unit":"money","amount":"1000","period":"year","action":"block"}`)
	p.webhook = made("/v1/webhooks", p.one.admin, `{"url":"https://example.com/","events":["invoice.issued"]}`)
	p.furnishPeople()
	p.furnishTenants()
	p.run = made("/v1/jobs/"+p.firstJob()+"/runs", p.one.platform, `{}`)
	p.request = p.do("POST", "/v1/chat/completions", p.one.caller, `{"model":"nobody","messages":[{"role":"user","content":"x"}]}`).header.Get("X-Request-Id")
	p.invoice = "inv_01a20d00000070008000000000000000" // there is none yet: its route answers 404
}

// firstJob is a job that can be started.
func (p *platform) firstJob() string {
	p.t.Helper()
	var list struct{ Data []struct{ ID string } }
	a := p.do("GET", "/v1/jobs", p.one.platform, "")
	must(p.t, json.Unmarshal(a.body, &list))
	if len(list.Data) == 0 {
		p.t.Fatalf("there are no jobs: %s", a)
	}
	return list.Data[0].ID
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) String() string {
	return fmt.Sprintf("status %d: %.600s", a.status, a.body)
}

// do makes a request and reads all of its answer.
func (p *platform) do(method, target, key, body string, change ...func(*http.Request)) answer {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, "http://"+p.address+target, strings.NewReader(body))
	must(p.t, err)
	if body == "" {
		req.Body = http.NoBody
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, c := range change {
		c(req)
	}
	resp, err := p.client.Do(req)
	must(p.t, err)
	defer func() { _ = resp.Body.Close() }()
	out, err := io.ReadAll(resp.Body)
	must(p.t, err)
	return answer{resp.StatusCode, resp.Header, out}
}

// leaks are texts that no answer and no log has.
var leaks = regexp.MustCompile(`goroutine \d|\.go:\d|SQLSTATE|pgx|pq:|panic|runtime error|aiaas_(live|dev)_[A-Za-z0-9]|syntax error at or near|relation "`)

// refused holds that an answer is a problem document of one of the statuses, and
// that it leaks nothing.
func refused(t *testing.T, a answer, statuses ...int) {
	t.Helper()
	if !slices.Contains(statuses, a.status) {
		t.Errorf("want status %v, got %s", statuses, a)
		return
	}
	var problem struct {
		Type, Title, Code string
		Status            int
		RequestID         string `json:"request_id"`
	}
	if err := json.Unmarshal(a.body, &problem); err != nil || a.header.Get("Content-Type") != "application/problem+json" ||
		problem.Status != a.status || problem.Type != "https://aiaas.dev/problems/"+problem.Code || problem.Title == "" ||
		problem.RequestID != a.header.Get("X-Request-Id") || !id.Valid(id.Request, problem.RequestID) {
		t.Errorf("not a whole problem document: %s, %v", a, a.header)
	}
	if leak := leaks.Find(a.body); leak != nil {
		t.Errorf("the answer leaks %q: %s", leak, a)
	}
}

// harmless runs hostile requests and holds that nothing has come of them.
func (p *platform) harmless(f func()) {
	t := p.t
	t.Helper()
	stored, calls := p.stored(), p.backend.Stats().Requests
	f()
	if list := changes(stored, p.stored()); len(list) > 0 {
		t.Errorf("something was stored: %s", strings.Join(list, "\n"))
	}
	if now := p.backend.Stats().Requests; now != calls {
		t.Errorf("the backend was called %d times", now-calls)
	}
	for _, table := range []string{"usage_events", "ledger_entries", "inbox"} {
		if n := p.scalar(`SELECT count(*)::text FROM analytics.%s`, table); n != "0" {
			t.Errorf("%s has %s rows", table, n)
		}
	}
	p.nothingHeld()
	if leak := regexp.MustCompile(`goroutine \d|"msg":"(handler panicked|panic)"|aiaas_(live|dev)_[A-Za-z0-9]`).FindString(p.log.String()); leak != "" {
		t.Errorf("the log has %q:\n%s", leak, p.log)
	}
	if a := p.do("POST", "/v1/chat/completions", p.one.caller, chatBody); a.status != 200 {
		t.Errorf("it no longer serves: %s", a)
	}
}

const chatBody = `{"model":"` + modelID + `","messages":[{"role":"user","content":"hi"}],"max_tokens":5}`

func (p *platform) nothingHeld() {
	p.t.Helper()
	var list struct{ Data []struct{ ID, Held string } }
	must(p.t, json.Unmarshal(p.do("GET", "/v1/budgets", p.one.admin, "").body, &list))
	for _, b := range list.Data {
		if strings.Trim(b.Held, "0.") != "" {
			p.t.Errorf("budget %s holds %s", b.ID, b.Held)
		}
	}
}

// settled waits until all that was recorded is in the ledger, and nothing is held.
func (p *platform) settled(t *testing.T) {
	t.Helper()
	harness.Eventually(t, "booking", func() (bool, string) {
		n := p.scalar(`SELECT count(*)::text FROM analytics.inbox`)
		return n == "0", n + " events wait"
	})
	harness.Eventually(t, "release", func() (bool, string) {
		a := p.do("GET", "/v1/budgets", p.one.admin, "")
		return bytes.Contains(a.body, []byte(`"held":"0.00"`)), a.String()
	})
}
