package sso_test

import (
	"crypto/rand"
	"crypto/rsa"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/oidc/oidctest"
)

// attempt is a sign-in that a browser has begun.
type attempt struct {
	b          *browser
	connection string
	query      url.Values // of the address at the issuer
}

func (w *world) begin(b *browser, email string) attempt {
	w.t.Helper()
	begun := b.do(http.MethodPost, "/v1/sign-in/sso", map[string]any{"email": email, "return_to": "/account?x=1"}).want(w.t, 200)
	return attemptOf(b, begun)
}

func attemptOf(b *browser, begun doc) attempt {
	b.t.Helper()
	u, err := url.Parse(begun.text("redirect_url"))
	must(b.t, err)
	back := u.Query().Get("redirect_uri")
	return attempt{b, back[strings.LastIndex(back, "/")+1:], u.Query()}
}

// back brings the browser back, with parameters besides or instead.
func (a attempt) back(code string, more ...string) answer {
	a.b.t.Helper()
	q := url.Values{"state": {a.query.Get("state")}, "code": {code}}
	for i := 0; i < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return a.b.do(http.MethodGet, a.path()+"?"+q.Encode(), nil)
}

func (a attempt) path() string { return "/v1/sign-in/sso/callback/" + a.connection }

// token is an honest one of the attempt, with claims besides or instead.
func (a attempt) token(i *oidctest.Issuer, more map[string]any) string {
	return i.Sign(a.claims(i, more))
}

func (a attempt) claims(i *oidctest.Issuer, more map[string]any) map[string]any {
	all := map[string]any{"email": "ada@corp.example", "email_verified": true, "sub": "ada-1"}
	maps.Copy(all, more)
	return i.Claims("aiaas", a.query.Get("nonce"), time.Now(), all)
}

// hostile is a platform that trusts an issuer of the test's.
func hostile(t *testing.T, more map[string]any) (*world, *oidctest.Issuer) {
	t.Helper()
	w, i := start(t), oidctest.New(t)
	w.corp.domain("corp.example")
	w.corp.connect(w.corp.owner, i.URL, more)
	return w, i
}

func TestAnHonestTokenSignsIn(t *testing.T) {
	w, i := hostile(t, nil)
	a := w.begin(w.browser(), "ada@corp.example")
	i.Give("c", a.token(i, nil))
	if back := a.back("c", "iss", i.URL, "session_state", "x", "scope", "openid"); back.status != 303 || back.location != "/account?x=1" {
		t.Fatalf("%d %q: %s", back.status, back.location, w.log)
	}
	if a.b.me() == nil {
		t.Error("there is no session")
	}
	if sent := i.Requests("/token"); len(sent) != 1 || len(sent[0].Form.Get("code_verifier")) < 43 {
		t.Errorf("%+v", sent)
	}
}

func TestForgedTokensSignNobodyIn(t *testing.T) {
	w, i := hostile(t, nil)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	for name, make := range map[string]func(a attempt) string{
		"alg none":                func(a attempt) string { return oidctest.Unsigned("none", a.claims(i, nil)) },
		"HS256 by the public key": func(a attempt) string { return i.SignByPublicKey(a.claims(i, nil)) },
		"HS256 by the client's secret": func(a attempt) string {
			return oidctest.SignHMAC([]byte("a-secret-of-the-issuer"), a.claims(i, nil))
		},
		"a foreign kid": func(a attempt) string {
			return oidctest.SignBy(other, map[string]any{"alg": "RS256", "kid": "other"}, a.claims(i, nil))
		},
		"a foreign key under a known kid": func(a attempt) string {
			return oidctest.SignBy(other, map[string]any{"alg": "RS256", "kid": oidctest.KeyID}, a.claims(i, nil))
		},
		"expired": func(a attempt) string {
			return a.token(i, map[string]any{"exp": time.Now().Add(-2 * time.Minute).Unix()})
		},
		"another audience":  func(a attempt) string { return a.token(i, map[string]any{"aud": "other"}) },
		"another party":     func(a attempt) string { return a.token(i, map[string]any{"aud": []string{"aiaas", "x"}, "azp": "x"}) },
		"another issuer":    func(a attempt) string { return a.token(i, map[string]any{"iss": "https://login.example"}) },
		"another nonce":     func(a attempt) string { return a.token(i, map[string]any{"nonce": "n"}) },
		"a nonce of before": func(attempt) string { return w.begin(w.browser(), "ada@corp.example").token(i, nil) },
		"nobody":            func(a attempt) string { return a.token(i, map[string]any{"sub": ""}) },
		"no token":          func(attempt) string { return "" },
	} {
		a := w.begin(w.browser(), "ada@corp.example")
		i.Give("c", make(a))
		back := a.back("c")
		if u, err := url.Parse(back.location); err != nil || back.status != 303 || u.Query().Get("error") != "sso_failed" || a.b.me() != nil {
			t.Errorf("%s: %d %q", name, back.status, back.location)
		}
	}
	for what, more := range map[string]map[string]any{
		"an address of another domain": {"email": "boss@other.example"}, "one that is not verified": {"email_verified": false}, "no address": {"email": nil},
	} {
		a := w.begin(w.browser(), "ada@corp.example")
		i.Give("c", a.token(i, more))
		if back := a.back("c"); !strings.Contains(back.location, "error=sso_email") || a.b.me() != nil {
			t.Errorf("%s: %d %q", what, back.status, back.location)
		}
	}
	if n := w.scalar(`SELECT count(*)::text FROM accounts.sessions`) + w.scalar(`SELECT count(*)::text FROM accounts.members`); n != "00" {
		t.Errorf("sessions and members: %s", n)
	}
}

func TestABrowserThatDidNotBegin(t *testing.T) {
	w, i := hostile(t, nil)
	a := w.begin(w.browser(), "ada@corp.example")
	i.Give("c", a.token(i, nil))
	stranger := attempt{w.browser(), a.connection, a.query}
	refusedWith(t, stranger.back("c").location, "sso_expired") // no cookie
	victim := w.begin(w.browser(), "ada@corp.example")
	refusedWith(t, attempt{victim.b, a.connection, a.query}.back("c").location, "sso_expired") // another's
	if len(i.Requests("/token")) != 0 {
		t.Error("the code was sent to the issuer")
	}
	for what, more := range map[string][]string{"an invented state": {"state", "x"}, "no state": {"state", ""}, "a long state": {"state", strings.Repeat("x", 4000)}} {
		if back := a.back("c", more...); !strings.Contains(back.location, "error=sso_expired") {
			t.Errorf("%s: %d %q", what, back.status, back.location)
		}
	}
	if back := a.back("c"); back.location != "/account?x=1" { // all of it did no harm to who began
		t.Errorf("%q: %s", back.location, w.log)
	}
	refusedWith(t, a.back("c").location, "sso_expired")
	late := w.begin(w.browser(), "ada@corp.example")
	w.skew.Store(int64(10 * time.Minute))
	i.Give("c", late.token(i, nil))
	refusedWith(t, late.back("c").location, "sso_expired")
}

func TestOfFiftyReturnsAtOnceOneSignsIn(t *testing.T) {
	w, i := hostile(t, nil)
	a := w.begin(w.browser(), "ada@corp.example")
	for range 50 {
		i.Give("c", a.token(i, nil))
	}
	home, err := url.Parse(w.one.url)
	must(t, err)
	var cookie string
	for _, c := range a.b.client.Jar.Cookies(home) {
		cookie += c.Name + "=" + c.Value + "; "
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	var group sync.WaitGroup
	ends := make([]string, 50)
	for n := range ends {
		group.Go(func() {
			base := []string{w.one.url, w.two.url}[n%2]
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+a.path()+"?code=c&state="+a.query.Get("state"), http.NoBody)
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("Cookie", cookie)
			resp, err := client.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			_ = resp.Body.Close()
			ends[n] = resp.Header.Get("Location")
		})
	}
	group.Wait()
	in := 0
	for _, end := range ends {
		switch {
		case end == "/account?x=1":
			in++
		case !strings.Contains(end, "error=sso_expired"):
			t.Errorf("one ended at %q", end)
		}
	}
	if sessions := w.scalar(`SELECT count(*)::text FROM accounts.sessions`); in != 1 || sessions != "1" {
		t.Errorf("%d signed in, to %s sessions", in, sessions)
	}
	if n := len(i.Requests("/token")); n != 1 {
		t.Errorf("the code was sent %d times", n)
	}
}

// An issuer of one organisation sends browsers on to another's: the code that it gets
// so is brought to its own place, and names its own issuer.
func TestIssuersAreNotMixedUp(t *testing.T) {
	w, honest := hostile(t, nil)
	evil := oidctest.New(t)
	w.other.domain("evil.example")
	w.other.connect(w.other.owner, evil.URL, nil)
	a := w.begin(w.browser(), "ada@corp.example")
	b := w.begin(a.b, "x@evil.example") // the same browser, the cookie is this one's now
	mixed := attempt{b.b, a.connection, b.query}
	refusedWith(t, mixed.back("c").location, "sso_failed")
	c := w.begin(w.browser(), "x@evil.example")
	refusedWith(t, c.back("c", "iss", honest.URL).location, "sso_failed")
	if len(honest.Requests("/token"))+len(evil.Requests("/token")) != 0 {
		t.Error("a code was sent to an issuer")
	}
	d := w.begin(w.browser(), "x@evil.example") // its own people, with another's address
	evil.Give("c", d.token(evil, nil))
	refusedWith(t, d.back("c").location, "sso_email")
}

func TestWhatAnIssuerWritesIsNotShown(t *testing.T) {
	w, i := hostile(t, nil)
	a := w.begin(w.browser(), "ada@corp.example")
	back := a.back("", "error", "<script>alert(1)</script>", "error_description", "<b>call 555</b>")
	if back.status != 303 || back.location != "/sign-in?error=sso_failed&return_to=%2Faccount%3Fx%3D1" || back.raw != "" {
		t.Errorf("%d %q %s", back.status, back.location, back.raw)
	}
	b := w.begin(w.browser(), "ada@corp.example")
	if back := b.back("unknown"); !strings.Contains(back.location, "error=sso_failed") {
		t.Errorf("%q", back.location)
	}
	for _, text := range []string{"script", "555", "a-secret-of-the-issuer"} {
		if strings.Contains(w.log.String(), text) || w.scalar(`SELECT count(*)::text FROM accounts.audit_records WHERE detail::text LIKE '%%%s%%'`, text) != "0" {
			t.Errorf("%q is written down: %s", text, w.log)
		}
	}
	_ = i
}

func TestNobodyIsSentElsewhere(t *testing.T) {
	w, i := hostile(t, nil)
	for _, to := range []string{"https://evil.example", "//evil.example", `/\evil.example`, "/\t/evil.example", "javascript:alert(1)", "/a/..//evil.example"} {
		a := w.browser().do(http.MethodPost, "/v1/sign-in/sso", map[string]any{"email": "ada@corp.example", "return_to": to})
		if a.status != 422 {
			t.Errorf("%q: %d %s", to, a.status, a.raw)
		}
	}
	i.Meta["authorization_endpoint"] = "javascript:alert(1)//x"
	w.skew.Store(int64(2 * time.Hour)) // what it published is read again
	if a := w.browser().do(http.MethodPost, "/v1/sign-in/sso", map[string]any{"email": "ada@corp.example"}); a.status != 503 || strings.Contains(a.raw, "javascript") {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// The issuer does not ask the person again, and says so or says nothing.
func TestAProofThatIsNotFresh(t *testing.T) {
	w, i := hostile(t, map[string]any{"trust_mfa": true})
	a := w.begin(w.browser(), "ada@corp.example")
	i.Give("c", a.token(i, nil))
	a.back("c")
	for what, more := range map[string]map[string]any{
		"an old proof":     {"auth_time": time.Now().Add(-5 * time.Minute).Unix()},
		"no word of it":    {},
		"a word of no use": {"auth_time": "now"},
	} {
		again := attemptOf(a.b, a.b.do(http.MethodPost, "/v1/session/step-up/sso", map[string]any{}).want(t, 200))
		i.Give("c", again.token(i, more))
		if back := again.back("c"); !strings.Contains(back.location, "error=sso_failed") {
			t.Errorf("%s: %q", what, back.location)
		}
	}
	if proved := w.scalar(`SELECT (proved_at < created_at)::text FROM accounts.sessions`); proved != "true" {
		t.Error("a sign-in whose time nobody told counts as fresh")
	}
	again := attemptOf(a.b, a.b.do(http.MethodPost, "/v1/session/step-up/sso", map[string]any{}).want(t, 200))
	i.Give("c", again.token(i, map[string]any{"auth_time": time.Now().Unix()}))
	if back := again.back("c"); back.location != "/account" {
		t.Errorf("%q: %s", back.location, w.log)
	}
	if proved := w.scalar(`SELECT (proved_at >= created_at)::text FROM accounts.sessions`); proved != "true" {
		t.Error("the session is not proved")
	}
	again = attemptOf(a.b, a.b.do(http.MethodPost, "/v1/session/step-up/sso", map[string]any{}).want(t, 200))
	a.b.do(http.MethodPost, "/v1/sign-out", nil).want(t, 204)
	i.Give("c", again.token(i, map[string]any{"auth_time": time.Now().Unix()}))
	refusedWith(t, again.back("c").location, "sso_expired") // there is nothing to prove any more
	if a.b.me() != nil {
		t.Error("a session that had ended is back")
	}
}

func TestAnIssuerThatIsDown(t *testing.T) {
	w, i := hostile(t, nil)
	a := w.begin(w.browser(), "ada@corp.example")
	i.Handle = func(w http.ResponseWriter, r *http.Request) bool {
		panic(http.ErrAbortHandler)
	}
	refusedWith(t, a.back("c").location, "sso_unavailable")
}

// Two browsers bring the same new person at once, to two processes.
func TestOnePersonArrivesTwiceAtOnce(t *testing.T) {
	w, i := hostile(t, nil)
	first, second := w.begin(w.browser(), "ada@corp.example"), w.begin(w.browser(), "ada@corp.example")
	i.Give("c1", first.token(i, nil))
	i.Give("c2", second.token(i, nil))
	second.b.base = w.two.url
	ends := make([]string, 2)
	var group sync.WaitGroup
	group.Go(func() { ends[0] = first.back("c1").location })
	group.Go(func() { ends[1] = second.back("c2").location })
	group.Wait()
	if ends[0] != "/account?x=1" || ends[1] != ends[0] {
		t.Errorf("they ended at %q: %s", ends, w.log)
	}
	if n := w.scalar(`SELECT (SELECT count(*) FROM accounts.members) || ' ' || (SELECT count(*) FROM accounts.sso_identities) || ' ' || (SELECT count(*) FROM accounts.sessions)`); n != "1 1 2" {
		t.Errorf("members, identities, sessions: %s", n)
	}
}

func TestWhereThereIsNoRoom(t *testing.T) {
	w, i := hostile(t, nil)
	w.exec(`UPDATE accounts.plans SET max_members = 1`)
	w.corp.member("first@corp.example", "developer")
	a := w.begin(w.browser(), "ada@corp.example")
	i.Give("c", a.token(i, nil))
	refusedWith(t, a.back("c").location, "sso_full")
	w.exec(`UPDATE accounts.organizations SET status = 'suspended' WHERE org_id = '%s'`, w.corp.org)
	a = w.begin(w.browser(), "first@corp.example")
	i.Give("c", a.token(i, map[string]any{"email": "first@corp.example"}))
	refusedWith(t, a.back("c").location, "sso_off")
}
