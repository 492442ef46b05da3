// Package factors_test takes people through their second factors as two hosts over
// one database serve them: the function's own wires, a real PostgreSQL, and a clock
// that the tests move.
package factors_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image/png"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/functions"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/factor"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/password"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

const secretPassword = "correct horse battery staple 9"

// world is the function in two hosts, over one database with one organisation.
type world struct {
	t     *testing.T
	url   string
	org   string
	hosts [2]*http.ServeMux
	log   *safeBuffer
	clock *clock
}

// clock is the hosts'; it stands still until it is moved.
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

func start(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, url: postgrestest.New(t), org: id.New(id.Organization), log: &safeBuffer{}, clock: &clock{}}
	w.clock.at.Store(time.Date(2026, 11, 2, 9, 30, 15, 0, time.UTC).UnixMicro())
	w.exec(`INSERT INTO accounts.organizations (org_id, name, created_at) VALUES ('%s', 'One', now())`, w.org)
	settings := map[string]string{
		"DATABASE_URL": w.url, "AIAAS_DATABASE_CONNS": "8", "AIAAS_ADDR": "127.0.0.1:8080",
		"AIAAS_SECRET_KEY": base64.StdEncoding.EncodeToString(make([]byte, 32)), "AIAAS_PUBLIC_URL": "https://ai.example.com",
	}
	for i := range w.hosts {
		own := map[string]string{"AIAAS_DATA_DIR": t.TempDir()}
		env := &function.Env{
			Now: w.clock.Now, Log: slog.New(slog.NewJSONHandler(w.log, nil)), LocalDisk: true, Fatal: func(err error) { t.Error(err) },
			Getenv: func(n string) string { return settings[n] + own[n] },
		}
		t.Cleanup(func() {
			if err := env.Close(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
		w.hosts[i] = w.wire(env)
	}
	t.Cleanup(func() {
		if log := w.log.String(); strings.Contains(log, `"level":"ERROR"`) {
			t.Errorf("the operator is told: %s", log)
		}
	})
	return w
}

// wire mounts the functions as a host does.
func (w *world) wire(env *function.Env) *http.ServeMux {
	w.t.Helper()
	mux := http.NewServeMux()
	for _, e := range functions.Catalogue() {
		if e.Spec.Name != "signin" && e.Spec.Name != "identity" {
			continue
		}
		f, err := e.Wire(w.t.Context(), env)
		if err != nil {
			w.t.Fatalf("wire %s: %v", e.Spec.Name, err)
		}
		for _, r := range e.Spec.Routes {
			mux.Handle(r.Pattern(), f.HTTP)
		}
	}
	return mux
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	postgrestest.Exec(w.t, w.url, fmt.Sprintf(sql, args...))
}

func (w *world) scalar(sql string, args ...any) string {
	w.t.Helper()
	return postgrestest.Scalar(w.t, w.url, fmt.Sprintf(sql, args...))
}

// person is somebody with a password.
type person struct {
	w     *world
	id    string
	email string
	token string // of a session
}

func (w *world) person(name string, role authz.Role) *person {
	w.t.Helper()
	p := &person{w: w, id: id.New(id.User), email: name + "@example.com"}
	phc, err := password.NewHasher(password.Standard(), runtime.GOMAXPROCS(0)).Hash(w.t.Context(), secretPassword)
	if err != nil {
		w.t.Fatal(err)
	}
	w.exec(`
		INSERT INTO accounts.users (user_id, email, created_at) VALUES ('%[1]s', '%[2]s', now());
		INSERT INTO accounts.members (org_id, user_id, role, created_at) VALUES ('%[3]s', '%[1]s', '%[4]s', now());
		INSERT INTO accounts.passwords (user_id, phc, changed_at) VALUES ('%[1]s', '%[5]s', now())`, p.id, p.email, w.org, role, phc)
	return p
}

// answer is what came back.
type answer struct {
	*httptest.ResponseRecorder
	t *testing.T
}

// do makes a request to one of the hosts: route is its method and its path.
func (w *world) do(host int, route, token string, body any, change ...func(*http.Request)) answer {
	w.t.Helper()
	method, target, _ := strings.Cut(route, " ")
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			w.t.Fatal(err)
		}
	}
	r := httptest.NewRequest(method, target, bytes.NewReader(raw))
	r.RemoteAddr = "192.0.2.7:4711"
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, c := range change {
		c(r)
	}
	rec := httptest.NewRecorder()
	w.hosts[host].ServeHTTP(rec, r)
	return answer{rec, w.t}
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
	if err := json.Unmarshal(a.Body.Bytes(), &v); err != nil {
		a.t.Fatalf("%v: %s", err, a.Body)
	}
	return v
}

// member is the member of a JSON object, which must be of the type asked for.
func member[T any](v any, name string) T {
	object, _ := v.(map[string]any)
	m, _ := object[name].(T)
	return m
}

type object = map[string]any

// do makes a request by the person's session.
func (p *person) do(route string, body any) answer {
	p.w.t.Helper()
	return p.w.do(0, route, p.token, body)
}

// enter signs the person in by the password, as a program that keeps a token.
func (p *person) enter() object {
	p.w.t.Helper()
	v := p.w.do(0, "POST /v1/sign-in", "", object{"email": p.email, "password": secretPassword, "transport": "bearer"}).want(200)
	p.take(v)
	return v
}

// take keeps the token of an answer, where it has one.
func (p *person) take(v object) {
	if token := member[string](v, "token"); token != "" {
		p.token = token
	}
}

// app gives the person an authenticator app, whose codes are its return value's.
func (p *person) app() (code func() string, recovery []string) {
	p.w.t.Helper()
	v := p.do("POST /v1/me/totp", nil).want(200)
	secret := member[string](v, "secret")
	picture, err := base64.StdEncoding.DecodeString(member[string](v, "qr_png"))
	if err != nil {
		p.w.t.Fatal(err)
	}
	if _, err := png.Decode(bytes.NewReader(picture)); err != nil {
		p.w.t.Errorf("the QR code is no picture: %v", err)
	}
	code = func() string {
		p.w.t.Helper()
		text, err := totp.GenerateCode(secret, p.w.clock.Now())
		if err != nil {
			p.w.t.Fatal(err)
		}
		return text
	}
	v = p.do("POST /v1/me/totp/confirm", object{"code": code()}).want(200)
	p.take(v)
	p.w.clock.advance(factor.Step)
	return code, texts(v, "recovery_codes")
}

// challenge signs in as far as the second factor.
func (p *person) challenge(host int) string {
	p.w.t.Helper()
	v := p.w.do(host, "POST /v1/sign-in", "", object{"email": p.email, "password": secretPassword, "transport": "bearer"}).want(200)
	if v["status"] != "second_factor_required" || v["token"] != nil || v["session"] != nil {
		p.w.t.Fatalf("signed in by a password alone: %v", v)
	}
	return member[string](v, "challenge")
}

func methods(v object) string {
	return strings.Join(slices.Sorted(slices.Values(texts(v, "methods"))), " ")
}

// texts are the texts of a list.
func texts(v object, name string) (out []string) {
	for _, item := range member[[]any](v, name) {
		out = append(out, fmt.Sprint(item))
	}
	return out
}
