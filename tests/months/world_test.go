package months_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/demo"
	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/functions"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// world is the whole platform in this process, under a clock of its own: all
// functions of the catalogue on one database, and a model backend that knows what
// it served.
type world struct {
	t     *testing.T
	url   string // of the database
	mux   *http.ServeMux
	jobs  map[string]function.Job // by "<function>.<job>"
	clock clock
	model *demo.Server
	back  string // the backend's address

	platform string // a key
	orgs     []*org
}

type org struct {
	id, admin string
	zone      *time.Location
	keys      []key
}

type key struct{ id, project, secret string }

// clock is what every part of the platform takes for the time.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time { return time.UnixMicro(c.at.Load()).UTC() }

func (c *clock) set(t time.Time) { c.at.Store(t.UnixMicro()) }

func newWorld(t *testing.T, start time.Time, zones ...string) *world {
	t.Helper()
	w := &world{t: t, url: postgrestest.New(t), mux: http.NewServeMux(), jobs: map[string]function.Job{}}
	w.clock.set(start)
	w.model = demo.New(demo.Config{Models: []string{"small", "large", "free"}, Limits: demo.Limits{Log: 100_000}})
	base, err := w.model.Start(context.WithoutCancel(t.Context()), "127.0.0.1:0")
	must(t, err)
	w.back = base
	t.Cleanup(func() { _ = w.model.Close(context.WithoutCancel(t.Context())) })
	for i, zone := range zones {
		w.orgs = append(w.orgs, w.org(fmt.Sprintf("Org %d", i), zone))
	}
	w.platform = w.key(w.orgs[0].id, w.orgs[0].keys[0].project, authz.Platform).secret
	w.wire()
	return w
}

func (w *world) wire() {
	settings := map[string]string{"DATABASE_URL": w.url, "AIAAS_DATA_DIR": w.t.TempDir(), "AIAAS_DATABASE_CONNS": "6", "AIAAS_BACKEND_NETWORKS": "127.0.0.0/8"}
	var level slog.LevelVar
	level.Set(slog.LevelWarn)
	env := &function.Env{
		Now: w.clock.now, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: &level})),
		Getenv: func(n string) string { return settings[n] }, Fatal: func(err error) { w.t.Error(err) }, LocalDisk: true,
	}
	w.t.Cleanup(func() { must(w.t, env.Close(context.WithoutCancel(w.t.Context()))) })
	for _, e := range functions.Catalogue() {
		f, err := e.Wire(w.t.Context(), env)
		must(w.t, err)
		for _, r := range e.Spec.Routes {
			w.mux.Handle(r.Pattern(), f.HTTP)
		}
		for name, job := range f.Jobs {
			w.jobs[e.Spec.Name+"."+name] = job
		}
	}
}

func (w *world) org(name, zone string) *org {
	w.t.Helper()
	loc, err := time.LoadLocation(zone)
	must(w.t, err)
	o := &org{id: id.New(id.Organization), zone: loc}
	postgrestest.Exec(w.t, w.url, fmt.Sprintf(
		`INSERT INTO accounts.organizations (org_id, name, created_at, time_zone, plan) VALUES ('%s', '%s', now(), '%s', 'selfhosted')`, o.id, name, zone))
	for i := range 2 {
		project := id.New(id.Project)
		postgrestest.Exec(w.t, w.url, fmt.Sprintf(
			`INSERT INTO accounts.projects (org_id, project_id, name, created_at) VALUES ('%s', '%s', 'Project %d', now())`, o.id, project, i))
		for range 2 {
			o.keys = append(o.keys, w.key(o.id, project, authz.Inference, authz.UsageRead))
		}
	}
	o.admin = w.key(o.id, o.keys[0].project, authz.Scopes()...).secret
	return o
}

func (w *world) key(org, project string, scopes ...authz.Scope) key {
	w.t.Helper()
	keyID, secret := postgrestest.Key(w.t, w.url, org, project, scopes...)
	return key{id: keyID, project: project, secret: secret}
}

// run runs a job, which must succeed.
func (w *world) run(name string) function.Counts {
	w.t.Helper()
	counts, err := w.jobs[name](w.t.Context())
	if err != nil {
		w.t.Fatalf("job %s at %s: %v", name, w.clock.now(), err)
	}
	return counts
}

// request is a call of the platform.
type request struct{ method, target, key, body, accept string }

// call calls the platform within this process.
func (w *world) call(q request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	w.serve(w.t.Context(), rec, q)
	return rec
}

func (w *world) serve(ctx context.Context, out http.ResponseWriter, q request) {
	r := httptest.NewRequestWithContext(ctx, q.method, q.target, strings.NewReader(q.body))
	r.Header.Set("Authorization", "Bearer "+q.key)
	if q.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if q.accept != "" {
		r.Header.Set("Accept", q.accept)
	}
	w.mux.ServeHTTP(out, r)
}

// get decodes the answer to a GET, which must be 200.
func get[T any](w *world, target, key string) T {
	w.t.Helper()
	var v T
	decode(w.t, w.call(request{method: http.MethodGet, target: target, key: key}), http.StatusOK, &v)
	return v
}

// post decodes the answer to a POST, which must have the status.
func post[T any](w *world, target, key, body string, status int) T {
	w.t.Helper()
	var v T
	decode(w.t, w.call(request{method: http.MethodPost, target: target, key: key, body: body}), status, &v)
	return v
}

func decode(t *testing.T, rec *httptest.ResponseRecorder, status int, v any) {
	t.Helper()
	if rec.Code != status {
		t.Fatalf("status %d; want %d: %s", rec.Code, status, rec.Body)
	}
	must(t, json.NewDecoder(bytes.NewReader(rec.Body.Bytes())).Decode(v))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
