// Package invoices_test runs invoices as their hosts do: the functions' own wires
// over a real PostgreSQL, with a clock that the tests set.
package invoices_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
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
	"github.com/aiaas/aiaas/shared/money"
	"github.com/aiaas/aiaas/shared/usage"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// house is one running platform without organisations.
type house struct {
	t        *testing.T
	url      string
	clock    atomic.Int64 // Unix microseconds
	log      *safeBuffer
	mux      *http.ServeMux
	jobs     map[string]function.Job
	platform string // key
}

// tenant is an organisation with keys.
type tenant struct {
	org, project  string
	admin, reader string
	nothing       string
}

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

func (h *house) now() time.Time    { return time.UnixMicro(h.clock.Load()).UTC() }
func (h *house) set(at time.Time)  { h.clock.Store(at.UnixMicro()) }
func (h *house) setText(at string) { h.t.Helper(); h.set(moment(h.t, at)) }
func october(day int) time.Time    { return time.Date(2026, 10, day, 12, 0, 0, 0, time.UTC) }
func november(day int) time.Time   { return time.Date(2026, 11, day, 12, 0, 0, 0, time.UTC) }
func (h *house) scalar(q string, args ...any) string {
	h.t.Helper()
	return postgrestest.Scalar(h.t, h.url, fmt.Sprintf(q, args...))
}

func (h *house) exec(q string, args ...any) {
	h.t.Helper()
	postgrestest.Exec(h.t, h.url, fmt.Sprintf(q, args...))
}

func moment(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func newHouse(t *testing.T) *house {
	t.Helper()
	return openHouse(t, postgrestest.New(t), "4")
}

// openHouse starts a platform on a database; several may share one.
func openHouse(t *testing.T, url, conns string) *house {
	t.Helper()
	h := &house{t: t, url: url, log: &safeBuffer{}, mux: http.NewServeMux(), jobs: map[string]function.Job{}}
	h.set(november(3))
	settings := map[string]string{"DATABASE_URL": url, "AIAAS_DATA_DIR": t.TempDir(), "AIAAS_DATABASE_CONNS": conns}
	env := &function.Env{
		Now: h.now, Log: slog.New(slog.NewJSONHandler(h.log, nil)), Getenv: func(n string) string { return settings[n] },
		Fatal: func(err error) { t.Error(err) },
	}
	t.Cleanup(func() {
		if err := env.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	for _, e := range functions.Catalogue() {
		switch e.Spec.Name {
		case "invoices", "analytics", "metering":
			f, err := e.Wire(t.Context(), env)
			if err != nil {
				t.Fatalf("wire %s: %v", e.Spec.Name, err)
			}
			for _, r := range e.Spec.Routes {
				h.mux.Handle(r.Pattern(), f.HTTP)
			}
			for name, job := range f.Jobs {
				h.jobs[e.Spec.Name+"."+name] = job
			}
		}
	}
	return h
}

// founded adds the platform's own organisation, with its key.
func (h *house) founded() *house {
	h.t.Helper()
	n := h.tenant("Platform", "UTC")
	h.platform = h.key(n, authz.Platform)
	return h
}

func (h *house) tenant(name, zone string) tenant {
	h.t.Helper()
	n := tenant{org: id.New(id.Organization), project: id.New(id.Project)}
	h.exec(`INSERT INTO accounts.organizations (org_id, name, created_at, time_zone) VALUES ('%[1]s', '%[2]s', now(), '%[4]s');
		INSERT INTO accounts.projects (org_id, project_id, name, created_at) VALUES ('%[1]s', '%[3]s', 'first', now())`,
		n.org, strings.ReplaceAll(name, "'", "''"), n.project, zone)
	n.admin, n.reader = h.key(n, authz.Scopes()...), h.key(n, authz.BillingRead, authz.UsageRead)
	n.nothing = h.key(n, authz.KeysRead)
	return n
}

func (h *house) key(n tenant, scopes ...authz.Scope) string {
	h.t.Helper()
	_, secret := postgrestest.Key(h.t, h.url, n.org, n.project, scopes...)
	return secret
}

// event is one request of an organisation, in UTC's month.
func event(n tenant, at time.Time, model string, cost money.Nano) *usage.Event {
	return &usage.Event{
		ID: id.New(id.Request), OrgID: n.org, ProjectID: n.project, KeyID: "key_1", Model: model, BackendID: "be_1", PriceID: "price_1",
		Endpoint: "/v1/chat/completions", AdmittedAt: at, Period: at.Format("2006-01") + "-01", Outcome: usage.Complete,
		Input: 10, Cached: 4, Output: 5, Cost: cost, Currency: "USD",
	}
}

// record puts events into the inbox, where metering finds them.
func (h *house) record(events ...*usage.Event) {
	h.t.Helper()
	for _, e := range events {
		r, err := e.Encode()
		if err != nil {
			h.t.Fatal(err)
		}
		h.exec(`INSERT INTO analytics.inbox (org_id, event_id, body) VALUES ('%s', '%s', '\x%x')`, r.OrgID, r.ID, r.Body)
	}
}

// use records events and has them booked.
func (h *house) use(events ...*usage.Event) {
	h.t.Helper()
	h.record(events...)
	h.job("metering.drain")
}

func (h *house) job(name string) function.Counts {
	h.t.Helper()
	counts, err := h.jobs[name](h.t.Context())
	if err != nil {
		h.t.Fatalf("job %s: %v", name, err)
	}
	return counts
}

// answer is what came back.
type answer struct {
	*httptest.ResponseRecorder
	t *testing.T
}

func (h *house) do(method, target, key, body string, accept ...string) answer {
	h.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+key)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, a := range accept {
		r.Header.Set("Accept", a)
	}
	w := httptest.NewRecorder()
	h.mux.ServeHTTP(w, r)
	return answer{w, h.t}
}

// want fails the test unless the answer has the status, and returns its JSON.
func (a answer) want(status int) map[string]any {
	a.t.Helper()
	if a.Code != status {
		a.t.Fatalf("status %d; want %d: %s", a.Code, status, a.Body)
	}
	var v map[string]any
	dec := json.NewDecoder(bytes.NewReader(a.Body.Bytes()))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		a.t.Fatalf("%v: %s", err, a.Body)
	}
	return v
}

func (h *house) run(key, period string) map[string]any {
	h.t.Helper()
	return h.do("POST", "/v1/invoices/runs", key, fmt.Sprintf(`{"period":%q}`, period)).want(200)
}

func list(v any) []any { l, _ := v.([]any); return l }

// at follows a path of members and places.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l := list(v)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func text(v any, path ...any) string { return fmt.Sprint(at(v, path...)) }
