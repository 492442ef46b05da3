// Package isolation_test holds that nobody gets at what is not his: every route of
// the catalogue is asked by every role, about its own organisation and about a
// foreign one; and the database is asked directly, as if no handler had a filter.
package isolation_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/functions"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// platform runs all functions over one database with two organisations and the
// platform's own.
type platform struct {
	t        *testing.T
	url      string
	mux      *http.ServeMux
	log      *logText
	one, two *org
	house    *org // the platform's own organisation
	made     int
}

// org is an organisation with somebody in every role.
type org struct {
	id, name    string
	home, other string // projects; the manager manages home
	keys        map[authz.Role]string
	users       map[authz.Role]string
}

type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func start(t *testing.T) *platform {
	t.Helper()
	return startWith(t, "")
}

// startWith starts over a database that more SQL was run in.
func startWith(t *testing.T, sql string) *platform {
	t.Helper()
	p := &platform{t: t, url: postgrestest.New(t), mux: http.NewServeMux(), log: &logText{}}
	if sql != "" {
		postgrestest.Exec(t, p.url, sql)
	}
	p.one = p.org("one", "tenant", append(authz.OrganizationRoles(), authz.Custom))
	p.two = p.org("two", "tenant", authz.OrganizationRoles())
	p.house = p.org("house", "platform", authz.PlatformRoles())
	settings := map[string]string{"DATABASE_URL": p.url, "AIAAS_DATA_DIR": t.TempDir(), "AIAAS_DATABASE_CONNS": "4"}
	env := &function.Env{
		Now: func() time.Time { return time.Now().UTC() }, Log: slog.New(slog.NewJSONHandler(p.log, nil)),
		Getenv: func(n string) string { return settings[n] }, Fatal: func(err error) { t.Error(err) }, LocalDisk: true,
	}
	t.Cleanup(func() {
		if err := env.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	for _, e := range functions.Catalogue() {
		f, err := e.Wire(t.Context(), env)
		if err != nil {
			t.Fatalf("wire %s: %v", e.Spec.Name, err)
		}
		for _, r := range e.Spec.Routes {
			p.mux.Handle(r.Pattern(), f.HTTP)
		}
	}
	p.furnish()
	return p
}

// org makes an organisation with a member of each role, whose key grants every
// scope there is: so that nothing but the role decides.
func (p *platform) org(name, kind string, roles []authz.Role) *org {
	p.t.Helper()
	o := &org{
		id: id.New(id.Organization), name: name, home: id.New(id.Project), other: id.New(id.Project),
		keys: map[authz.Role]string{}, users: map[authz.Role]string{},
	}
	p.exec(`INSERT INTO accounts.organizations (org_id, name, slug, plan, kind, created_at, contacts)
		VALUES ('%[1]s', 'named %[2]s', 'slug-%[2]s', 'selfhosted', '%[3]s', now(), '{"technical": "tech@%[2]s.example"}');
		INSERT INTO accounts.projects (org_id, project_id, name, created_at) VALUES ('%[1]s', '%[4]s', 'home of %[2]s', now()), ('%[1]s', '%[5]s', 'other of %[2]s', now());
		INSERT INTO accounts.roles VALUES ('%[1]s', 'role_of_%[2]s', 'nothing', '', '{}', 'organization', 'test', now(), now())`,
		o.id, name, kind, o.home, o.other)
	for _, role := range roles {
		user := id.New(id.User)
		stored := string(role)
		if role == authz.Custom {
			stored = "role_of_" + name
		}
		p.exec(`INSERT INTO accounts.users VALUES ('%[2]s', '%[3]s@%[4]s.example', '%[3]s of %[4]s', now());
			INSERT INTO accounts.members (org_id, user_id, role, created_at) VALUES ('%[1]s', '%[2]s', '%[5]s', now())`, o.id, user, role, name, stored)
		o.users[role] = user
		_, o.keys[role] = postgrestest.KeyOf(p.t, p.url, postgrestest.Ownership{Org: o.id, Project: o.home, Owner: user}, append(authz.Scopes(), authz.Platform)...)
	}
	if manager, ok := o.users[authz.Manager]; ok {
		p.exec(`INSERT INTO accounts.project_members VALUES ('%s', '%s', '%s', 'manager', 'test', now())`, o.id, o.home, manager)
	}
	return o
}

func (p *platform) exec(sql string, args ...any) {
	p.t.Helper()
	postgrestest.Exec(p.t, p.url, fmt.Sprintf(sql, args...))
}

// fresh is a number that was not used before.
func (p *platform) fresh() int {
	p.made++
	return p.made
}

// do makes a request; key "" sends none.
func (p *platform) do(method, target, key, body string) *httptest.ResponseRecorder {
	p.t.Helper()
	r := httptest.NewRequestWithContext(p.t.Context(), method, target, strings.NewReader(body))
	if body == "" {
		r = httptest.NewRequestWithContext(p.t.Context(), method, target, http.NoBody)
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	p.mux.ServeHTTP(w, r)
	return w
}
