package sso_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
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

// world is a platform of two processes over one database.
type world struct {
	t     *testing.T
	db    string
	dns   *nameServer
	log   *safeBuffer
	skew  atomic.Int64 // how far the platform's clock is ahead
	one   *process     // which browsers reach
	two   *process
	corp  tenant
	other tenant
}

type process struct{ url string }

// tenant is an organisation with keys of an owner and of an admin.
type tenant struct {
	w     *world
	org   string
	owner string
	admin string
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

func start(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, db: postgrestest.New(t), dns: startDNS(t), log: &safeBuffer{}}
	w.corp, w.other = w.tenant("corp"), w.tenant("other")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	public := "http://" + listener.Addr().String()
	data := t.TempDir()
	w.one = w.process(public, data, listener)
	w.two = w.process(public, data, nil)
	return w
}

func (w *world) now() time.Time { return time.Now().UTC().Add(time.Duration(w.skew.Load())) }

// process wires the functions that people and administrators meet here.
func (w *world) process(public, data string, l net.Listener) *process {
	w.t.Helper()
	settings := map[string]string{
		"DATABASE_URL": w.db, "AIAAS_DATA_DIR": data, "AIAAS_DATABASE_CONNS": "4", "AIAAS_PUBLIC_URL": public,
		"AIAAS_SSO_NETWORKS": "127.0.0.0/8", "AIAAS_DNS_SERVER": w.dns.address(),
	}
	env := &function.Env{
		Now: w.now, Log: slog.New(slog.NewJSONHandler(w.log, nil)), Getenv: func(n string) string { return settings[n] },
		Fatal: func(err error) { w.t.Error(err) }, LocalDisk: true,
	}
	mux := http.NewServeMux()
	for _, e := range functions.Catalogue() {
		if !slices.Contains([]string{"identity", "signin", "audit"}, e.Spec.Name) {
			continue
		}
		f, err := e.Wire(w.t.Context(), env)
		must(w.t, err)
		for _, r := range e.Spec.Routes {
			mux.Handle(r.Pattern(), f.HTTP)
		}
	}
	s := httptest.NewUnstartedServer(mux)
	if l != nil {
		_ = s.Listener.Close()
		s.Listener = l
	}
	s.Start()
	w.t.Cleanup(func() {
		s.Close()
		if err := env.Close(context.WithoutCancel(w.t.Context())); err != nil {
			w.t.Error(err)
		}
	})
	return &process{url: s.URL}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) tenant(name string) tenant {
	w.t.Helper()
	n := tenant{w: w, org: id.New(id.Organization)}
	project := id.New(id.Project)
	postgrestest.Exec(w.t, w.db, fmt.Sprintf(`
		INSERT INTO accounts.organizations (org_id, name, created_at) VALUES ('%[1]s', '%[2]s', now());
		INSERT INTO accounts.projects (org_id, project_id, name, created_at) VALUES ('%[1]s', '%[3]s', 'first', now())`, n.org, name, project))
	_, n.owner = postgrestest.Key(w.t, w.db, n.org, project, authz.Scopes()...)
	_, n.admin = postgrestest.KeyOf(w.t, w.db, postgrestest.Ownership{
		Org: n.org, Project: project, Owner: postgrestest.ServiceAccount(w.t, w.db, n.org, authz.Admin),
	}, authz.Scopes()...)
	return n
}

func (w *world) exec(sql string, args ...any) {
	postgrestest.Exec(w.t, w.db, fmt.Sprintf(sql, args...))
}

func (w *world) scalar(sql string, args ...any) string {
	return postgrestest.Scalar(w.t, w.db, fmt.Sprintf(sql, args...))
}

// answer is what came back.
type answer struct {
	status   int
	header   http.Header
	raw      string
	location string
}

func (a answer) json(t *testing.T) doc {
	t.Helper()
	var v doc
	if err := json.Unmarshal([]byte(a.raw), &v); err != nil {
		t.Fatalf("%v: %d %s", err, a.status, a.raw)
	}
	return v
}

func (a answer) want(t *testing.T, status int) doc {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d; want %d: %s", a.status, status, a.raw)
	}
	if a.raw == "" {
		return nil
	}
	return a.json(t)
}

// doc is an object of an answer. What is not there, or of another kind, is empty.
type doc map[string]any

func (d doc) text(name string) string {
	text, _ := d[name].(string)
	return text
}

func (d doc) in(name string) doc {
	inner, _ := d[name].(map[string]any)
	return inner
}

func (d doc) list(name string) (list []doc) {
	all, _ := d[name].([]any)
	for _, v := range all {
		inner, _ := v.(map[string]any)
		list = append(list, inner)
	}
	return list
}

// browser is one person's.
type browser struct {
	t      *testing.T
	client *http.Client
	base   string
	bearer string
}

func (w *world) browser() *browser {
	jar, err := cookiejar.New(nil)
	must(w.t, err)
	return &browser{t: w.t, base: w.one.url, client: &http.Client{
		Jar: jar, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// with is the same as a caller with a key.
func (w *world) with(key string) *browser {
	b := w.browser()
	b.bearer = key
	return b
}

func (b *browser) do(method, target string, body any) answer {
	b.t.Helper()
	var reader io.Reader = http.NoBody
	if body != nil {
		raw, err := json.Marshal(body)
		must(b.t, err)
		reader = bytes.NewReader(raw)
	}
	if strings.HasPrefix(target, "/") {
		target = b.base + target
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, target, reader)
	must(b.t, err)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if b.bearer != "" {
		r.Header.Set("Authorization", "Bearer "+b.bearer)
	}
	resp, err := b.client.Do(r)
	must(b.t, err)
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	must(b.t, err)
	return answer{resp.StatusCode, resp.Header, string(raw), resp.Header.Get("Location")}
}

// follow goes where it is sent until that is a page of the platform's.
func (b *browser) follow(address string) answer {
	b.t.Helper()
	for range 20 {
		a := b.do(http.MethodGet, address, nil)
		if a.status < 300 || a.status > 399 {
			b.t.Errorf("the browser stays at %s: %d %s", address, a.status, a.raw)
			return a
		}
		from, err := url.Parse(address)
		must(b.t, err)
		to, err := from.Parse(a.location)
		must(b.t, err)
		if strings.HasPrefix(a.location, "/") && strings.HasPrefix(address, b.base) {
			return a
		}
		address = to.String()
	}
	b.t.Fatal("it goes in circles")
	return answer{}
}

// forgetIssuer drops all cookies but the platform's.
func (b *browser) forgetIssuer() {
	b.t.Helper()
	home, err := url.Parse(b.base)
	must(b.t, err)
	jar, err := cookiejar.New(nil)
	must(b.t, err)
	jar.SetCookies(home, slices.DeleteFunc(b.client.Jar.Cookies(home), func(c *http.Cookie) bool { return !strings.HasPrefix(c.Name, "aiaas") }))
	b.client.Jar = jar
}

// signIn goes through a sign-in at whatever issuer the address leads to, and returns
// where it ended.
func (b *browser) signIn(email, returnTo string) string {
	b.t.Helper()
	begun := b.do(http.MethodPost, "/v1/sign-in/sso", map[string]any{"email": email, "return_to": returnTo}).want(b.t, 200)
	return b.follow(begun.text("redirect_url")).location
}

// me is what the browser's session is; nil where there is none.
func (b *browser) me() doc {
	b.t.Helper()
	a := b.do(http.MethodGet, "/v1/me", nil)
	if a.status == http.StatusUnauthorized {
		return nil
	}
	return a.want(b.t, 200)
}

// domain verifies a domain for an organisation.
func (n tenant) domain(name string) {
	n.w.t.Helper()
	owner := n.w.with(n.owner)
	d := owner.do(http.MethodPost, "/v1/sso/domains", map[string]any{"domain": name}).want(n.w.t, 201)
	record := d.in("record")
	n.w.dns.set(record.text("name"), "v=spf1 -all", record.text("value"))
	owner.do(http.MethodPost, "/v1/sso/domains/"+d.text("id")+"/verify", nil).want(n.w.t, 200)
}

// connect makes a connection, with what is given besides.
func (n tenant) connect(key, issuer string, more map[string]any) doc {
	n.w.t.Helper()
	body := map[string]any{"name": "Directory", "issuer": issuer, "client_id": "aiaas", "client_secret": "a-secret-of-the-issuer", "default_role": "developer"}
	for k, v := range more {
		body[k] = v
		if v == nil {
			delete(body, k)
		}
	}
	return n.w.with(key).do(http.MethodPost, "/v1/sso/connections", body).want(n.w.t, 201)
}

// member puts a person into the organisation.
func (n tenant) member(email, role string) (userID string) {
	n.w.t.Helper()
	m := n.w.with(n.owner).do(http.MethodPost, "/v1/members", map[string]any{"email": email, "role": role}).want(n.w.t, 201)
	return m.text("id")
}

// role is the stored role of a person; "" where he is no member.
func (n tenant) role(email string) string {
	return n.w.scalar(`SELECT coalesce(max(m.role), '') FROM accounts.members m JOIN accounts.users u ON u.user_id = m.user_id
		WHERE m.org_id = '%s' AND u.email = '%s'`, n.org, email)
}

// audited is how many records of an action the organisation has.
func (n tenant) audited(action string) string {
	return n.w.scalar(`SELECT count(*)::text FROM accounts.audit_records WHERE org_id = '%s' AND action = '%s'`, n.org, action)
}
