// Package mail_test runs mails through the function notifications as its hosts do:
// its own wire over a real PostgreSQL, and a real mail server or folder at the end.
package mail_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/functions/notifications/wire"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/event"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// platform is one process with the function, and two organisations.
type platform struct {
	t        *testing.T
	url      string // of the database
	dir      string // for data
	now      atomic.Int64
	function function.Function
	log      safe
	said     safe
	one, two tenant
}

// tenant is an organisation with an owner, and a key for each purpose.
type tenant struct {
	org, project  string
	admin, reader string // keys of the owner; the reader's scopes have nothing about settings
	developer     string // a key whose scopes are enough, of a member whose role is not
}

// safe takes text of all goroutines.
type safe struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *safe) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *safe) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// start wires the function. Local says that its disk lasts.
func start(t *testing.T, local bool, settings map[string]string) *platform {
	t.Helper()
	p := &platform{t: t, url: postgrestest.New(t), dir: t.TempDir()}
	p.now.Store(time.Date(2026, 10, 12, 9, 30, 15, 0, time.UTC).UnixMicro())
	p.one, p.two = p.tenant("one"), p.tenant("two")
	all := map[string]string{"DATABASE_URL": p.url, "AIAAS_DATA_DIR": p.dir, "AIAAS_DATABASE_CONNS": "4", "AIAAS_PUBLIC_URL": "https://ai.example.com"}
	maps.Copy(all, settings)
	env := &function.Env{
		Now: p.time, Log: slog.New(slog.NewJSONHandler(&p.log, nil)), Getenv: func(n string) string { return all[n] }, LocalDisk: local,
		Say: func(line string) { _, _ = fmt.Fprintln(&p.said, line) }, Fatal: func(err error) { t.Error(err) },
	}
	t.Cleanup(func() {
		if err := env.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	var err error
	if p.function, err = wire.Wire(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *platform) time() time.Time         { return time.UnixMicro(p.now.Load()).UTC() }
func (p *platform) advance(d time.Duration) { p.now.Add(d.Microseconds()) }

func (p *platform) tenant(name string) tenant {
	p.t.Helper()
	n := tenant{org: id.New(id.Organization), project: id.New(id.Project)}
	postgrestest.Exec(p.t, p.url, fmt.Sprintf(`
		INSERT INTO accounts.organizations (org_id, name, created_at, contacts) VALUES ('%[1]s', '%[2]s', now(), '{"billing": "billing@%[2]s.example"}');
		INSERT INTO accounts.projects (org_id, project_id, name, created_at) VALUES ('%[1]s', '%[3]s', 'first', now());
		INSERT INTO accounts.users (user_id, email, name, created_at) VALUES ('user_%[2]s', 'owner@%[2]s.example', 'Olga', now()), ('dev_%[2]s', 'dev@%[2]s.example', 'Dev', now());
		INSERT INTO accounts.members (org_id, user_id, role, created_at) VALUES ('%[1]s', 'user_%[2]s', 'owner', now()), ('%[1]s', 'dev_%[2]s', 'developer', now())`, n.org, name, n.project))
	_, n.admin = postgrestest.KeyOf(p.t, p.url, postgrestest.Ownership{Org: n.org, Project: n.project, Owner: "user_" + name}, authz.SettingsRead, authz.SettingsWrite)
	_, n.reader = postgrestest.KeyOf(p.t, p.url, postgrestest.Ownership{Org: n.org, Project: n.project, Owner: "user_" + name}, authz.KeysRead)
	_, n.developer = postgrestest.KeyOf(p.t, p.url, postgrestest.Ownership{Org: n.org, Project: n.project, Owner: "dev_" + name}, authz.SettingsRead, authz.SettingsWrite)
	return n
}

// run runs a job of the function.
func (p *platform) run(job string) function.Counts {
	p.t.Helper()
	counts, err := p.function.Jobs[job](p.t.Context())
	if err != nil {
		p.t.Fatalf("%s: %v", job, err)
	}
	return counts
}

// happen puts the event of an audited act where it is dispatched from.
func (p *platform) happen(org, action, target string, detail map[string]any) {
	p.t.Helper()
	e, ok, err := event.Of(audit.Record{OrgID: org, ID: id.New(id.Audit), At: p.time(), Actor: "key_x", Action: action, Target: target, Detail: detail})
	if err != nil || !ok {
		p.t.Fatalf("%s is no event: %v", action, err)
	}
	payload := strings.ReplaceAll(string(e.Payload), "'", "''")
	postgrestest.Exec(p.t, p.url, fmt.Sprintf(`INSERT INTO accounts.outbox (org_id, event_id, type, at, object, payload) VALUES ('%s', '%s', '%s', '%s', '%s', '%s')`,
		e.OrgID, e.ID, e.Type, e.At.Format(time.RFC3339Nano), e.Object, payload))
	p.run("dispatch")
}

func (p *platform) do(method, path, key, body string) *httptest.ResponseRecorder {
	p.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	p.function.HTTP.ServeHTTP(w, r)
	return w
}

// call makes a call that must answer the status, and returns its JSON.
func (p *platform) call(method, path, key, body string, status int) map[string]any {
	p.t.Helper()
	w := p.do(method, path, key, body)
	var v map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != status {
		p.t.Fatalf("%s %s: %d, want %d: %s", method, path, w.Code, status, w.Body)
	}
	return v
}

// mails are an organisation's, the newest first.
func (p *platform) mails(n tenant) []map[string]any {
	p.t.Helper()
	data, _ := p.call(http.MethodGet, "/v1/mails?limit=200", n.admin, "", http.StatusOK)["data"].([]any)
	var out []map[string]any
	for _, d := range data {
		m, _ := d.(map[string]any)
		out = append(out, m)
	}
	return out
}

// wireError is why the function can't be wired with the settings.
func wireError(t *testing.T, settings map[string]string) error {
	t.Helper()
	all := map[string]string{"DATABASE_URL": postgrestest.New(t), "AIAAS_DATA_DIR": t.TempDir()}
	maps.Copy(all, settings)
	env := &function.Env{Now: time.Now, Log: slog.New(slog.DiscardHandler), Getenv: func(n string) string { return all[n] }, Fatal: func(err error) { t.Error(err) }}
	_, err := wire.Wire(t.Context(), env)
	if err := env.Close(t.Context()); err != nil {
		t.Error(err)
	}
	return err
}

// text is a member of a JSON object that must be a text.
func text(t *testing.T, v map[string]any, name string) string {
	t.Helper()
	s, ok := v[name].(string)
	if !ok {
		t.Fatalf("%s is %v", name, v[name])
	}
	return s
}

// items are the items of a list.
func items(v map[string]any) []any {
	list, _ := v["data"].([]any)
	return list
}
