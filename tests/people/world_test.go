// Package people_test follows people through the platform over HTTP: how they sign in,
// what they prove themselves by, and what of that others can take from them. The
// functions' own wires run over a real PostgreSQL, in several processes where it
// matters, and mails are read from the folder that they are written to.
package people_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/functions"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/mail/mailtest"
	"github.com/aiaas/aiaas/shared/password"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// secret is everybody's password, unless a test says otherwise.
const secret = "eleven purple herons"

// hashed is its hash, of the cost that new ones have.
var hashed = sync.OnceValues(func() (string, error) {
	return password.NewHasher(password.Standard(), 1).Hash(context.Background(), secret)
})

// served are the functions that people meet.
func served() []string {
	return []string{"signin", "identity", "organizations", "notifications", "keys", "audit"}
}

// world is a platform with two organisations.
type world struct {
	t     *testing.T
	url   string // of the database
	dir   string
	clock atomic.Int64
	log   safeBuffer
	first *process
	one   organization
	two   organization
}

// organization is one of the world's.
type organization struct{ id, name string }

// process serves the functions, as one of several over one database.
type process struct {
	w         *world
	base      string
	functions map[string]function.Function
}

// safeBuffer takes the log lines of all goroutines.
type safeBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
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

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, url: postgrestest.New(t), dir: t.TempDir()}
	w.clock.Store(time.Date(2026, 10, 12, 9, 30, 15, 0, time.UTC).UnixMicro())
	w.one, w.two = w.organization("Acme"), w.organization("Widgets")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log:\n%s", w.log.String())
		}
	})
	w.first = w.start()
	return w
}

func (w *world) now() time.Time          { return time.UnixMicro(w.clock.Load()).UTC() }
func (w *world) advance(d time.Duration) { w.clock.Add(d.Microseconds()) }

// start starts one more process.
func (w *world) start() *process {
	w.t.Helper()
	settings := map[string]string{
		"DATABASE_URL": w.url, "AIAAS_DATA_DIR": w.dir, "AIAAS_DATABASE_CONNS": "6", "AIAAS_TRUSTED_PROXIES": "127.0.0.1",
		"AIAAS_PUBLIC_URL": "http://localhost:8080",
	}
	env := &function.Env{
		Now: w.now, Log: slog.New(slog.NewJSONHandler(&w.log, nil)), Getenv: func(n string) string { return settings[n] },
		Fatal: func(err error) { w.t.Error(err) }, LocalDisk: true, Background: true,
	}
	w.t.Cleanup(func() {
		if err := env.Close(context.WithoutCancel(w.t.Context())); err != nil {
			w.t.Error(err)
		}
	})
	p := &process{w: w, functions: map[string]function.Function{}}
	mux := http.NewServeMux()
	for _, e := range functions.Catalogue() {
		if !slices.Contains(served(), e.Spec.Name) {
			continue
		}
		f, err := e.Wire(w.t.Context(), env)
		if err != nil {
			w.t.Fatalf("wire %s: %v", e.Spec.Name, err)
		}
		p.functions[e.Spec.Name] = f
		for _, r := range e.Spec.Routes {
			mux.Handle(r.Pattern(), f.HTTP)
		}
	}
	server := httptest.NewServer(mux)
	w.t.Cleanup(server.Close)
	p.base = server.URL
	return p
}

// run runs a job.
func (w *world) run(name, job string) function.Counts {
	w.t.Helper()
	counts, err := w.first.functions[name].Jobs[job](context.WithoutCancel(w.t.Context()))
	if err != nil {
		w.t.Fatalf("%s: %v", job, err)
	}
	return counts
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	postgrestest.Exec(w.t, w.url, fmt.Sprintf(sql, args...))
}

func (w *world) scalar(sql string, args ...any) string {
	w.t.Helper()
	return postgrestest.Scalar(w.t, w.url, fmt.Sprintf(sql, args...))
}

func (w *world) organization(name string) organization {
	w.t.Helper()
	o := organization{id: id.New(id.Organization), name: name}
	w.exec(`INSERT INTO accounts.organizations (org_id, name, created_at) VALUES ('%[1]s', '%[2]s', now());
		INSERT INTO accounts.projects (org_id, project_id, name, created_at) VALUES ('%[1]s', '%[3]s', 'first', now())`, o.id, name, id.New(id.Project))
	return o
}

// person is somebody.
type person struct {
	w         *world
	id, email string
}

// person puts somebody with the password into the database, a member of an
// organisation.
func (w *world) person(name string, o organization, role string) *person {
	w.t.Helper()
	p := w.stranger(name, o, role)
	phc, err := hashed()
	if err != nil {
		w.t.Fatal(err)
	}
	w.exec(`INSERT INTO accounts.passwords (user_id, phc, changed_at) VALUES ('%s', '%s', '%s')`, p.id, phc, w.now().Format(time.RFC3339))
	return p
}

// stranger is a person without a password.
func (w *world) stranger(name string, o organization, role string) *person {
	w.t.Helper()
	p := &person{w: w, id: id.New(id.User), email: name + "@example.com"}
	w.exec(`INSERT INTO accounts.users (user_id, email, created_at) VALUES ('%s', '%s', now())`, p.id, p.email)
	p.joins(o, role)
	return p
}

func (p *person) joins(o organization, role string) {
	p.w.t.Helper()
	p.w.exec(`INSERT INTO accounts.members (org_id, user_id, role, name, created_at) VALUES ('%s', '%s', '%s', 'Somebody', clock_timestamp())`, o.id, p.id, role)
}

// client is one of a person's programs, with what it keeps: cookies as a browser, or
// a token.
type client struct {
	t       *testing.T
	base    string
	http    *http.Client
	token   string
	address string // that it comes from
}

// browser is a fresh one.
func (p *process) browser() *client {
	p.w.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		p.w.t.Fatal(err)
	}
	return &client{t: p.w.t, base: p.base, http: &http.Client{Jar: jar}, address: "198.51.100.7"}
}

func (w *world) browser() *client { return w.first.browser() }

// at is the same program in another network.
func (c *client) at(address string) *client {
	other := *c
	other.address = address
	return &other
}

// cookie is the value of a cookie that the browser has; "" where it has none.
func (c *client) cookie(name string) string {
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.base, http.NoBody)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, k := range c.http.Jar.Cookies(r.URL) {
		if k.Name == name {
			return k.Value
		}
	}
	return ""
}

// answer is what came back.
type answer struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	raw    []byte
}

type object = map[string]any

// do makes a call. Where the machine has more to do than it can, the answer says when to
// come back: then it does, as programs should.
func (c *client) do(method, path string, body any) answer {
	c.t.Helper()
	a := c.once(method, path, body)
	for range 60 {
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			break
		}
		time.Sleep(time.Second)
		a = c.once(method, path, body)
	}
	return a
}

func (c *client) once(method, path string, body any) answer {
	c.t.Helper()
	var content io.Reader = http.NoBody
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			c.t.Fatal(err)
		}
		content = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(context.WithoutCancel(c.t.Context()), method, c.base+path, content)
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("X-Forwarded-For", c.address)
	r.Header.Set("User-Agent", "Tester/1.0")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer{t: c.t, what: method + " " + path, status: resp.StatusCode, header: resp.Header, raw: raw}
}

func (c *client) get(path string) answer { c.t.Helper(); return c.do(http.MethodGet, path, nil) }
func (c *client) post(path string, body any) answer {
	c.t.Helper()
	return c.do(http.MethodPost, path, body)
}

// want fails the test unless the answer has the status, and returns its JSON.
func (a answer) want(status int) object {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: status %d; want %d: %s", a.what, a.status, status, a.raw)
	}
	if len(a.raw) == 0 {
		return nil
	}
	var v object
	if err := json.Unmarshal(a.raw, &v); err != nil {
		a.t.Fatalf("%s: %v: %s", a.what, err, a.raw)
	}
	return v
}

func text(v object, name string) string {
	s, _ := v[name].(string)
	return s
}

// at is what stands at a path of names; nil where nothing does.
func at(v any, path ...string) any {
	for _, name := range path {
		o, _ := v.(object)
		v = o[name]
	}
	return v
}

func texts(v object, name string) (out []string) {
	list, _ := v[name].([]any)
	for _, one := range list {
		s, _ := one.(string)
		out = append(out, s)
	}
	return out
}

// tries signs in by a password.
func (c *client) tries(email, text string, more ...string) answer {
	c.t.Helper()
	body := object{"email": email, "password": text}
	for i := 0; i+1 < len(more); i += 2 {
		body[more[i]] = more[i+1]
	}
	return c.post("/v1/sign-in", body)
}

// signsIn signs in by the password, and fails the test unless that is all it takes.
func (c *client) signsIn(p *person, more ...string) object {
	c.t.Helper()
	v := c.tries(p.email, secret, more...).want(http.StatusOK)
	if v["status"] != "signed_in" {
		c.t.Fatalf("the sign-in is %v", v)
	}
	c.token = text(v, "token")
	return v
}

// works reports whether the client is signed in.
func (c *client) works() bool {
	c.t.Helper()
	switch a := c.get("/v1/me"); a.status {
	case http.StatusOK:
		return true
	case http.StatusUnauthorized:
		return false
	default:
		c.t.Fatalf("/v1/me: %d %s", a.status, a.raw)
		return false
	}
}

// app is an authenticator app.
type app struct {
	w      *world
	secret string
	codes  []string // for recovery
}

// enrols adds an app to the account of who is signed in.
func (c *client) enrols(w *world) *app {
	c.t.Helper()
	a := &app{w: w, secret: text(c.post("/v1/me/totp", nil).want(http.StatusOK), "secret")}
	v := c.post("/v1/me/totp/confirm", object{"code": a.code()}).want(http.StatusOK)
	a.codes = texts(v, "recovery_codes")
	if t := text(v, "token"); t != "" {
		c.token = t
	}
	w.advance(time.Minute) // past the step that was used
	return a
}

// code is what the app shows now.
func (a *app) code() string {
	a.w.t.Helper()
	code, err := totp.GenerateCode(a.secret, a.w.now())
	if err != nil {
		a.w.t.Fatal(err)
	}
	return code
}

// mails sends what is queued and returns the mails to an address, the oldest first.
func (w *world) mails(to string) (list []mailtest.Received) {
	w.t.Helper()
	w.run("notifications", "mails")
	files, err := filepath.Glob(filepath.Join(w.dir, "mail", "*.eml"))
	if err != nil {
		w.t.Fatal(err)
	}
	slices.Sort(files)
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			w.t.Fatal(err)
		}
		if m, _ := mailtest.Parse(w.t, string(raw)); m.To == to {
			list = append(list, m)
		}
	}
	return list
}

// mailed are the mails to an address with the subject.
func (w *world) mailed(to, subject string) (list []mailtest.Received) {
	w.t.Helper()
	for _, m := range w.mails(to) {
		if m.Subject == subject {
			list = append(list, m)
		}
	}
	return list
}

var linked = regexp.MustCompile(`/reset-password#token=([A-Za-z0-9_-]+)`)

// link asks for a link to set a password and returns its token, from the mail.
func (c *client) link(w *world, p *person) string {
	c.t.Helper()
	before := len(w.mailed(p.email, "Set a new password"))
	c.post("/v1/password/forgot", object{"email": p.email}).want(http.StatusAccepted)
	w.run("signin", "reset-mails")
	list := w.mailed(p.email, "Set a new password")
	if len(list) != before+1 {
		c.t.Fatalf("%d mails, where there were %d", len(list), before)
	}
	found := linked.FindStringSubmatch(list[len(list)-1].Text)
	if found == nil {
		c.t.Fatalf("the mail has no link: %s", list[len(list)-1].Text)
	}
	return found[1]
}

// audited counts the audit records of an action in an organisation.
func (w *world) audited(o organization, action string) string {
	w.t.Helper()
	return w.scalar(`SELECT count(*)::text FROM accounts.audit_records WHERE org_id = '%s' AND action = '%s'`, o.id, action)
}

// until waits for what takes a moment.
func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	end := time.Now().Add(30 * time.Second)
	for !done() {
		if time.Now().After(end) {
			w.t.Fatalf("it is still to come %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// sameBut tells whether two problem documents are one but for the request's id.
func sameBut(a, b answer) bool {
	strip := regexp.MustCompile(`"request_id":"[^"]*"`)
	return a.status == b.status && strings.EqualFold(strip.ReplaceAllString(string(a.raw), ""), strip.ReplaceAllString(string(b.raw), ""))
}

// oldHash is a hash of the password of a cost that was usual once.
func oldHash(t *testing.T) string {
	t.Helper()
	phc, err := password.NewHasher(password.Cost{MemoryKiB: 1 << 10, Passes: 1, Lanes: 2}, 1).Hash(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	return phc
}
