// Package oauth_test holds the authorization server to its promises: as a process that
// a user starts, with the standard's own client library (golang.org/x/oauth2) as the
// client, a scripted browser as the person, and a second process on the same database
// where two must agree.
package oauth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/functions/oauth/wire"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/tests/harness"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the library's, of the function in this process
	harness.Main(m)
}

// secretKey is the key that both processes seal with.
const secretKey = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="

// world is a platform in a process of its own, and the function once more in the
// test's.
type world struct {
	*harness.Gateway
	t        *testing.T
	org      string // a tenant
	url      string // of the database
	second   string // address of the function in this process
	sessions *session.Manager
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db := harness.StartServer(t)
	w := &world{t: t, url: db.URL(), org: id.New(id.Organization)}
	addr := freeAddr(t)
	env := map[string]string{
		"DATABASE_URL": w.url, "AIAAS_SECRET_KEY": secretKey, "AIAAS_DATABASE_CONNS": "8", "AIAAS_PUBLIC_URL": "http://" + addr,
	}
	w.Gateway = harness.Start(t, harness.Options{Addr: addr, Env: env})
	w.Client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	w.Database().Exec(t, `INSERT INTO accounts.organizations (org_id, name, created_at) VALUES ($1, 'Tenant', now())`, w.org)
	w.second = w.another(env)
	return w
}

// freeAddr is an address that nobody listens on, a moment ago.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	harness.Must(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// another is the function in the test's own process, on the same database.
func (w *world) another(settings map[string]string) (address string) {
	w.t.Helper()
	settings = map[string]string{"AIAAS_DATA_DIR": w.t.TempDir(), "AIAAS_AUDIT_KEY": harness.AuditKey, "DATABASE_URL": settings["DATABASE_URL"],
		"AIAAS_SECRET_KEY": settings["AIAAS_SECRET_KEY"], "AIAAS_PUBLIC_URL": settings["AIAAS_PUBLIC_URL"], "AIAAS_DATABASE_CONNS": "8",
		"AIAAS_TRUSTED_PROXIES": "127.0.0.1"}
	env := &function.Env{
		Now: func() time.Time { return time.Now().UTC() }, Log: slog.New(slog.DiscardHandler), LocalDisk: true, Background: true,
		Getenv: func(name string) string { return settings[name] },
	}
	f, err := wire.Wire(w.t.Context(), env)
	harness.Must(w.t, err)
	server := httptest.NewServer(f.HTTP)
	db, err := postgres.Open(w.t.Context(), w.url, postgres.RoleIdentity, 4)
	harness.Must(w.t, err)
	w.sessions = session.NewManager(postgres.NewSessions(db), noBump{}, settings["AIAAS_PUBLIC_URL"], env.Now)
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
		defer cancel()
		server.Close()
		db.Close()
		if err := env.Close(ctx); err != nil {
			w.t.Error(err)
		}
	})
	return server.URL
}

// noBump begins sessions only: nobody has to hear of that.
type noBump struct{}

func (noBump) Bump(context.Context, string) error { return nil }

// person is a member at his browser.
type person struct {
	w       *world
	id      string
	session session.Opened
	cookie  *http.Cookie
}

func (w *world) person(role authz.Role) *person {
	w.t.Helper()
	p := &person{w: w, id: id.New(id.User)}
	w.Database().Exec(w.t, `INSERT INTO accounts.users (user_id, email, created_at) VALUES ($1, $1 || '@example.com', now())`, p.id)
	w.Database().Exec(w.t, `INSERT INTO accounts.members (org_id, user_id, role, name, added_by, created_at) VALUES ($1, $2, $3, 'P', 'test', now())`, w.org, p.id, string(role))
	p.signIn(session.Start{Means: session.Password, MFA: true})
	return p
}

// signIn begins a browser session, as the sign-in does.
func (p *person) signIn(s session.Start) {
	p.w.t.Helper()
	s.OrgID, s.HolderID, s.Kind, s.Address, s.UserAgent = p.w.org, p.id, session.Browser, "127.0.0.1", "browser"
	var err error
	p.session, err = p.w.sessions.Begin(p.w.t.Context(), s)
	harness.Must(p.w.t, err)
	c := p.w.sessions.Cookie(p.session)
	p.cookie = &c
}

// prove is a step-up: the browser gets another cookie.
func (p *person) prove() {
	p.w.t.Helper()
	var err error
	p.session, err = p.w.sessions.Prove(p.w.t.Context(), p.w.org, p.session.ID, session.Password, true)
	harness.Must(p.w.t, err)
	c := p.w.sessions.Cookie(p.session)
	p.cookie = &c
}

// send is a request of the person's browser to one of the platform's processes.
func (p *person) send(method, address, body string) harness.Answer {
	h := http.Header{}
	if p.cookie != nil {
		h.Set("Cookie", p.cookie.Name+"="+p.cookie.Value)
	}
	return p.w.call(method, address, body, h)
}

// call is a request to an address of either process; a path goes to the first.
func (w *world) call(method, address, body string, h http.Header) harness.Answer {
	w.t.Helper()
	if strings.HasPrefix(address, "/") {
		address = w.BaseURL + address
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		return harness.Answer{Err: err}
	}
	maps.Copy(req.Header, h)
	if body != "" && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := w.Client.Do(req)
	if err != nil {
		return harness.Answer{Err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	a := harness.Answer{Status: resp.StatusCode, Header: resp.Header, RequestID: resp.Header.Get("X-Request-Id")}
	a.Body, a.Err = io.ReadAll(resp.Body)
	return a
}

// form posts a form to an endpoint.
func (w *world) form(address string, params url.Values) harness.Answer {
	w.t.Helper()
	return w.call(http.MethodPost, address, params.Encode(), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
}

// answerOf is the protocol's error, or the tokens.
type tokenAnswer struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
	Access      string `json:"access_token"`
	Refresh     string `json:"refresh_token"`
	ID          string `json:"id_token"`
	Scope       string `json:"scope"`
	ExpiresIn   int    `json:"expires_in"`
}

func tokens(a harness.Answer) (t tokenAnswer) {
	_ = json.Unmarshal(a.Body, &t) // then it is neither
	return t
}

const callback = "http://127.0.0.1:53210/callback"

// client is the standard library's idea of `aiaas login`.
func (w *world) client(scopes ...string) *oauth2.Config {
	return &oauth2.Config{
		ClientID: "aiaas-cli", RedirectURL: callback, Scopes: scopes,
		Endpoint: oauth2.Endpoint{
			AuthURL: w.BaseURL + "/oauth/authorize", TokenURL: w.BaseURL + "/oauth/token",
			DeviceAuthURL: w.BaseURL + "/oauth/device_authorization", AuthStyle: oauth2.AuthStyleInParams,
		},
	}
}

// ask follows a client's link in the person's browser up to the page that asks, and
// returns the id of the request.
func (p *person) ask(link string) string {
	p.w.t.Helper()
	a := p.send(http.MethodGet, link, "")
	page, err := url.Parse(a.Header.Get("Location"))
	if a.Status != http.StatusFound || err != nil || page.Path != "/oauth/consent" || page.Query().Get("request") == "" {
		p.w.t.Fatalf("the link leads to %q: %s", a.Header.Get("Location"), a)
	}
	return page.Query().Get("request")
}

// decide answers a request, and returns where the browser goes on to.
func (p *person) decide(requestID, what string) *url.URL {
	p.w.t.Helper()
	a := p.send(http.MethodPost, "/v1/oauth/requests/"+requestID+"/"+what, "")
	var to struct {
		RedirectTo string `json:"redirect_to"`
	}
	if a.Status != http.StatusOK {
		p.w.t.Fatalf("%s: %s", what, a)
	}
	a.JSON(p.w.t, &to)
	u, err := url.Parse(to.RedirectTo)
	harness.Must(p.w.t, err)
	return u
}

// code lets a client in and returns its code with the verifier that it goes with.
func (p *person) code(scopes ...string) (code, verifier string) {
	p.w.t.Helper()
	verifier = oauth2.GenerateVerifier()
	link := p.w.client(scopes...).AuthCodeURL("st", oauth2.S256ChallengeOption(verifier))
	return p.decide(p.ask(link), "approve").Query().Get("code"), verifier
}

// login is all of it.
func (p *person) login(scopes ...string) *oauth2.Token {
	p.w.t.Helper()
	code, verifier := p.code(scopes...)
	tok, err := p.w.client(scopes...).Exchange(p.w.t.Context(), code, oauth2.VerifierOption(verifier))
	harness.Must(p.w.t, err)
	return tok
}

// redeem is what a client sends for a code.
func redeem(code, verifier string) url.Values {
	return url.Values{
		"grant_type": {"authorization_code"}, "client_id": {"aiaas-cli"}, "redirect_uri": {callback}, "code": {code}, "code_verifier": {verifier},
	}
}

func refreshing(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "client_id": {"aiaas-cli"}, "refresh_token": {token}}
}

// works reports the status of a call with an access token.
func (w *world) works(access string) int {
	w.t.Helper()
	return w.call(http.MethodGet, "/v1/me", "", http.Header{"Authorization": {"Bearer " + access}}).Status
}

// dies fails unless an access token ceases to work.
func (w *world) dies(what, access string) {
	w.t.Helper()
	harness.Eventually(w.t, what, func() (bool, string) {
		s := w.works(access)
		return s == http.StatusUnauthorized, fmt.Sprint(s)
	})
}

// promise is how long what was ended may still work, in any process.
const promise = time.Second

// endsIn fails unless an access token ceases to work in a process as soon as is
// promised after its end; slack is for the machine. It shows what it measured.
func (w *world) endsIn(what, process, access string, since time.Time) {
	w.t.Helper()
	ended := func() bool {
		a := w.call(http.MethodGet, process, "", http.Header{"Authorization": {"Bearer " + access}})
		return a.Status == http.StatusUnauthorized
	}
	const slack = 2 * time.Second
	for !ended() {
		if time.Since(since) > promise+slack {
			w.t.Fatalf("%s still works after %s", what, time.Since(since))
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.t.Logf("%s: dead after %s", what, time.Since(since).Round(time.Millisecond))
}

// audited counts records of an act.
func (w *world) audited(action string) int64 {
	w.t.Helper()
	return w.Database().Int(w.t, `SELECT count(*) FROM accounts.audit_records WHERE org_id = $1 AND action = $2`, w.org, action)
}

// text is a member that must be a text.
func text(v any) string {
	s, ok := v.(string)
	if !ok {
		panic(fmt.Sprintf("%v is no text", v))
	}
	return s
}
