// Package management_test runs the management API as its hosts do: the functions'
// own wires over a real PostgreSQL, a real resolver and the limiter in memory.
package management_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/functions"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// managed are the functions whose routes go through the one entry path.
func managed() []string {
	return []string{"keys", "identity", "models", "budgets", "analytics", "operations", "requests", "invoices", "organizations", "audit", "notifications", "portal", "signin", "oauth"}
}

// platform is one running management API with two organisations.
type platform struct {
	t       *testing.T
	url     string // of the database
	mux     *http.ServeMux
	handler map[string]http.Handler // by function
	log     *safeBuffer
	clock   *clock
	env     *function.Env
	one     tenant
	two     tenant
}

// tenant is an organisation with keys.
type tenant struct {
	org, project, keyID     string
	admin, reader, platform string // secrets
}

// clock is the process's; it stands still until it is moved.
type clock struct{ at atomic.Int64 }

func (c *clock) Now() time.Time          { return time.UnixMicro(c.at.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.at.Add(d.Microseconds()) }

// safeBuffer takes the log lines of all goroutines.
type safeBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *safeBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(line)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func start(t *testing.T) *platform {
	t.Helper()
	p := &platform{t: t, url: postgrestest.New(t), mux: http.NewServeMux(), handler: map[string]http.Handler{}, log: &safeBuffer{}, clock: &clock{}}
	p.clock.at.Store(time.Date(2026, 10, 12, 9, 30, 15, 0, time.UTC).UnixMicro())
	p.one, p.two = p.tenant("org_one"), p.tenant("org_two")
	settings := map[string]string{"DATABASE_URL": p.url, "AIAAS_DATA_DIR": t.TempDir(), "AIAAS_DATABASE_CONNS": "4",
		"AIAAS_ADDR": "0.0.0.0:0", "AIAAS_BACKEND_NETWORKS": "10.0.0.0/8"} // not a laptop: loopback is nobody's address
	env := &function.Env{
		Now: p.clock.Now, Log: slog.New(slog.NewJSONHandler(p.log, nil)), Getenv: func(n string) string { return settings[n] },
		Fatal: func(err error) { t.Error(err) }, LocalDisk: true,
	}
	p.env = env
	t.Cleanup(func() {
		if err := env.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	p.wire(managed()...)
	return p
}

// wire mounts functions as a host does.
func (p *platform) wire(names ...string) {
	p.t.Helper()
	for _, e := range functions.Catalogue() {
		if !slices.Contains(names, e.Spec.Name) {
			continue
		}
		f, err := e.Wire(p.t.Context(), p.env)
		if err != nil {
			p.t.Fatalf("wire %s: %v", e.Spec.Name, err)
		}
		p.handler[e.Spec.Name] = f.HTTP
		for _, r := range e.Spec.Routes {
			p.mux.Handle(r.Pattern(), f.HTTP)
		}
	}
}

// tenant puts an organisation with a project and keys into the database.
func (p *platform) tenant(name string) tenant {
	p.t.Helper()
	n := tenant{org: id.New(id.Organization), project: id.New(id.Project)}
	postgrestest.Exec(p.t, p.url, fmt.Sprintf(`
		INSERT INTO accounts.organizations (org_id, name, created_at, time_zone) VALUES ('%[1]s', '%[2]s', now(), 'Europe/Berlin');
		INSERT INTO accounts.projects (org_id, project_id, name, created_at) VALUES ('%[1]s', '%[3]s', 'first', now())`, n.org, name, n.project))
	n.keyID, n.admin = p.key(n, authz.Scopes()...)
	_, n.reader = p.key(n, authz.KeysRead, authz.BudgetsRead, authz.UsageRead)
	_, n.platform = p.key(n, authz.Platform)
	return n
}

func (p *platform) key(n tenant, scopes ...authz.Scope) (keyID, secret string) {
	p.t.Helper()
	return postgrestest.Key(p.t, p.url, n.org, n.project, scopes...)
}

// answer is what came back.
type answer struct {
	*httptest.ResponseRecorder
	t *testing.T
}

func (p *platform) do(method, target, key, body string, change ...func(*http.Request)) answer {
	p.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	p.mux.ServeHTTP(w, r)
	return answer{w, p.t}
}

// want fails the test unless the answer has the status, and returns its JSON.
func (a answer) want(status int) map[string]any {
	a.t.Helper()
	if a.Code != status {
		a.t.Fatalf("status %d; want %d: %s", a.Code, status, a.Body)
	}
	if a.Body.Len() == 0 {
		return nil
	}
	var v map[string]any
	dec := json.NewDecoder(bytes.NewReader(a.Body.Bytes()))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		a.t.Fatalf("%v: %s", err, a.Body)
	}
	return v
}

// refused checks that the answer is a problem document of ours.
func (a answer) refused(status int, code string) map[string]any {
	a.t.Helper()
	v := a.want(status)
	if ct := a.Header().Get("Content-Type"); ct != "application/problem+json" {
		a.t.Errorf("content type %q", ct)
	}
	if v["code"] != code || v["title"] == "" || v["type"] != "https://aiaas.dev/problems/"+code || fmt.Sprint(v["status"]) != fmt.Sprint(status) {
		a.t.Errorf("problem %v; want code %q and status %d", v, code, status)
	}
	if v["request_id"] != a.Header().Get("X-Request-Id") || !id.Valid(id.Request, fmt.Sprint(v["request_id"])) {
		a.t.Errorf("request id %v in the body, %q in the header", v["request_id"], a.Header().Get("X-Request-Id"))
	}
	return v
}

func (p *platform) scalar(sql string) string {
	p.t.Helper()
	return postgrestest.Scalar(p.t, p.url, sql)
}

// stopDatabase makes the platform's database unreachable, as an outage does.
func (p *platform) stopDatabase() {
	p.t.Helper()
	postgrestest.Refuse(p.t, p.url)
}

// member is the member of a JSON object, which must be of the type asked for.
func member[T any](v any, name string) T {
	object, _ := v.(map[string]any)
	m, _ := object[name].(T)
	return m
}

// items are the items of a list's page.
func items(v any) []any { return member[[]any](v, "data") }
