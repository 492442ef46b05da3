package sso_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/dns"
	"github.com/aiaas/aiaas/adapters/oidc/oidctest"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/sso"
)

// gone waits until a browser has no session.
func (b *browser) gone(what string) {
	b.t.Helper()
	for end := time.Now().Add(5 * time.Second); b.me() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("the session outlives %s", what)
		}
	}
}

// arrives signs somebody in by the issuer, and returns his browser and where he ended.
func (w *world) arrives(i *oidctest.Issuer, email string) (*browser, string) {
	w.t.Helper()
	a := w.begin(w.browser(), email)
	i.Give("c", i.Sign(a.claims(i, map[string]any{
		"email": email, "sub": email, "iat": w.now().Unix(), "exp": w.now().Add(time.Hour).Unix(),
	})))
	return a.b, a.back("c").location
}

func (n tenant) connection() string {
	n.w.t.Helper()
	return n.w.with(n.owner).do(http.MethodGet, "/v1/sso/connections", nil).want(n.w.t, 200).list("data")[0].text("id")
}

// challenged has a person with an authenticator app arrive, and returns what his
// browser is asked.
func challenged(t *testing.T, w *world, i *oidctest.Issuer, email string) (b *browser, secret string, answer map[string]any) {
	t.Helper()
	w.password(w.corp.member(email, "developer"), herons)
	secret = w.enrol(email, w.corp.org)
	w.skew.Add(int64(time.Minute)) // for a code that was not used
	b, at := w.arrives(i, email)
	u, err := url.Parse(at)
	must(t, err)
	q, err := url.ParseQuery(u.Fragment)
	must(t, err)
	if q.Get("challenge") == "" {
		t.Fatalf("it ended at %q", at)
	}
	return b, secret, map[string]any{"challenge": q.Get("challenge"), "totp": w.code(secret)}
}

// What an issuer said is good while the issuer is trusted, and no longer.
func TestASecondFactorComesTooLateForAConnection(t *testing.T) {
	owner := func(w *world) *browser { return w.with(w.corp.owner) }
	for what, c := range map[string]struct {
		act    func(*world)
		status int
	}{
		"nothing": {func(*world) {}, 200},
		"deleted": {func(w *world) {
			owner(w).do(http.MethodDelete, "/v1/sso/connections/"+w.corp.connection(), nil).want(t, 204)
		}, 401},
		"disabled": {func(w *world) {
			owner(w).do(http.MethodPatch, "/v1/sso/connections/"+w.corp.connection(), map[string]any{"enabled": false}).want(t, 200)
		}, 401},
		"without its domain": {func(w *world) {
			for _, d := range owner(w).do(http.MethodGet, "/v1/sso/domains", nil).want(t, 200).list("data") {
				owner(w).do(http.MethodDelete, "/v1/sso/domains/"+d.text("id"), nil).want(t, 204)
			}
		}, 401},
		"another's identity": {func(w *world) {
			for _, i := range owner(w).do(http.MethodGet, "/v1/sso/identities", nil).want(t, 200).list("data") {
				owner(w).do(http.MethodDelete, "/v1/sso/identities/"+i.text("id"), nil).want(t, 204)
			}
		}, 401},
	} {
		t.Run(what, func(t *testing.T) {
			w, i := hostile(t, nil)
			b, _, answer := challenged(t, w, i, "ada@corp.example")
			c.act(w)
			b.do(http.MethodPost, "/v1/sign-in/second-factor", answer).want(t, c.status)
			if in := b.me() != nil; in != (c.status == 200) {
				t.Errorf("there is a session: %t", in)
			}
		})
	}
}

func TestAnOwnFactorProvesASessionOfSingleSignOn(t *testing.T) {
	w, i := hostile(t, nil)
	b, secret, answer := challenged(t, w, i, "ada@corp.example")
	b.do(http.MethodPost, "/v1/sign-in/second-factor", answer).want(t, 200)
	devices := w.scalar(`SELECT count(*)::text FROM accounts.known_devices`)
	w.exec(`UPDATE accounts.sessions SET proved_at = proved_at - interval '1 hour' WHERE means = 'sso'`)
	b.do(http.MethodPost, "/v1/session/step-up/sso", map[string]any{}).want(t, 409)
	if p := b.do(http.MethodPost, "/v1/session/step-up", map[string]any{"password": herons}).want(t, 422); p["methods"] == nil {
		t.Errorf("by a password: %v", p)
	}
	w.skew.Add(int64(2 * time.Minute))
	b.do(http.MethodPost, "/v1/session/step-up", map[string]any{"totp": w.code(secret)}).want(t, 200)
	if p := b.do(http.MethodPut, "/v1/me/password", map[string]any{"current_password": herons, "new_password": "another-long-password-of-hers"}).want(t, 403); p["reason"] != "sso" {
		t.Errorf("the password is changed: %v", p)
	}
	_, at := w.arrives(i, "new@corp.example")
	if after := w.scalar(`SELECT count(*)::text FROM accounts.known_devices`); at != "/account?x=1" || after != devices {
		t.Errorf("%q: there were %s known devices, and are %s", at, devices, after)
	}
}

// lookAt runs the job that looks at domains.
func (w *world) lookAt() function.Counts {
	w.t.Helper()
	db, err := postgres.Open(w.t.Context(), w.db, postgres.RoleAccounts, 1)
	must(w.t, err)
	defer db.Close()
	counts, err := (&sso.Watch{Domains: postgres.NewSSO(db), Names: dns.New(w.dns.address()), Now: w.now}).Run(w.t.Context())
	must(w.t, err)
	return counts
}

const challengeOfCorp = "_aiaas-challenge.corp.example"

// taken tells what another organisation gets that verifies corp's domain, where the DNS
// shows its own record and what is given besides.
func (w *world) taken(besides ...string) answer {
	w.t.Helper()
	other := w.with(w.other.owner)
	d := other.do(http.MethodPost, "/v1/sso/domains", map[string]any{"domain": "corp.example"}).want(w.t, 201)
	w.dns.set(challengeOfCorp, append(besides, d.in("record").text("value"))...)
	return other.do(http.MethodPost, "/v1/sso/domains/"+d.text("id")+"/verify", nil)
}

func (w *world) recordOfCorp() string {
	return w.with(w.corp.owner).do(http.MethodGet, "/v1/sso/domains", nil).want(w.t, 200).list("data")[0].in("record").text("value")
}

func TestADomainMovesToWhoseTheDNSSays(t *testing.T) {
	w, i := hostile(t, nil)
	b, _ := w.arrives(i, "ada@corp.example")
	if b.me() == nil {
		t.Fatal("there is no session")
	}
	if p := w.taken().want(t, 200); p["verified"] != true {
		t.Errorf("%v", p)
	}
	b.gone("its domain")
	d := w.with(w.corp.owner).do(http.MethodGet, "/v1/sso/domains", nil).want(t, 200).list("data")[0]
	if d["verified"] != false || w.corp.audited(sso.ActionDomainLost) != "1" || w.other.audited("sso.domain_verify") != "1" {
		t.Errorf("%v, audited %s and %s", d, w.corp.audited(sso.ActionDomainLost), w.other.audited("sso.domain_verify"))
	}
	w.browser().do(http.MethodPost, "/v1/sign-in/sso", map[string]any{"email": "ada@corp.example"}).want(t, 404)
}

func TestADomainStaysWhereItsRecordIsShown(t *testing.T) {
	w, i := hostile(t, nil)
	b, _ := w.arrives(i, "ada@corp.example")
	if p := w.taken(w.recordOfCorp()).want(t, 409); p["reason"] != "taken" {
		t.Errorf("%v", p)
	}
	if b.me() == nil || w.corp.audited(sso.ActionDomainLost) != "0" {
		t.Error("it lost something")
	}
}

func TestADomainOfWhoHasClosedIsFree(t *testing.T) {
	w, _ := hostile(t, nil)
	value := w.recordOfCorp()
	w.exec(`UPDATE accounts.organizations SET status = 'closed' WHERE org_id = '%s'`, w.corp.org)
	w.taken(value).want(t, 200)
}

// Who has sold a domain loses it after three days; who made a mistake has time to mend
// it, and a DNS that is down costs nothing.
func TestDomainsAreLookedAtEveryDay(t *testing.T) {
	w, i := hostile(t, nil)
	value := w.recordOfCorp()
	w.arrives(i, "ada@corp.example")
	alive := func() string { return w.scalar(`SELECT count(*)::text FROM accounts.sessions WHERE ended_at IS NULL`) }
	day := func(want string, texts ...string) {
		t.Helper()
		w.dns.set(challengeOfCorp, texts...)
		w.skew.Add(int64(24 * time.Hour))
		if got := fmt.Sprint(w.lookAt()); got != want {
			t.Fatalf("%s; want %s", got, want)
		}
	}
	if n := w.lookAt(); n != nil {
		t.Errorf("a day is not over: %v", n)
	}
	day("map[confirmed:1]", value)
	if n := w.lookAt(); n != nil {
		t.Errorf("twice a day: %v", n)
	}
	day("map[missing:1]")
	day("map[missing:1]")
	day("map[confirmed:1]", value)
	w.dns.fail(true)
	for range 5 {
		day("map[unanswered:1]")
	}
	w.dns.fail(false)
	day("map[missing:1]")
	day("map[missing:1]")
	if alive() != "1" {
		t.Error("the session ended before the domain did")
	}
	day("map[lost:1]")
	if alive() != "0" {
		t.Error("the session outlives its domain")
	}
	if w.lookAt() != nil || w.corp.audited(sso.ActionDomainLost) != "1" {
		t.Errorf("audited %s", w.corp.audited(sso.ActionDomainLost))
	}
	w.browser().do(http.MethodPost, "/v1/sign-in/sso", map[string]any{"email": "ada@corp.example"}).want(t, 404)
}

// Strangers keep nobody out, fill no audit for ever, and no log.
func TestStrangersAtTheDoor(t *testing.T) {
	w, i := hostile(t, nil)
	connection := w.corp.connection()
	w.exec(`INSERT INTO accounts.sso_states (org_id, state_hash, browser_hash, connection_id, created_at, expires_at)
		SELECT '%s', sha256(n::text::bytea), sha256(n::text::bytea), '%s', now(), now() + interval '10 min' FROM generate_series(1, 10100) n`, w.corp.org, connection)
	for range 10 {
		w.begin(w.browser(), "nobody@corp.example").back("", "error", "access_denied")
	}
	time.Sleep(2100 * time.Millisecond) // they are summed up, and written every second
	if n := w.corp.audited("sso.refused") + " " + w.corp.audited("auth.fail"); n != "0 1" && n != "0 2" {
		t.Errorf("records of its own, and sums: %s", n)
	}
	db, err := postgres.Open(t.Context(), w.db, postgres.RoleAccounts, 1)
	must(t, err)
	defer db.Close()
	w.skew.Store(int64(2 * time.Hour))
	counts, err := sso.Forget(postgres.NewSSO(db), w.now)(t.Context())
	if left := w.scalar(`SELECT count(*)::text FROM accounts.sso_states`); err != nil || left != "0" || counts["sso_states"] != 10100 {
		t.Errorf("%v, %v, %s are left", counts, err, left)
	}
	i.Handle = func(rw http.ResponseWriter, _ *http.Request) bool {
		rw.WriteHeader(http.StatusInternalServerError)
		_, _ = rw.Write([]byte(strings.Repeat("\x01", 400<<10)))
		return true
	}
	before := len(w.log.String())
	for range 5 {
		w.browser().do(http.MethodPost, "/v1/sign-in/sso", map[string]any{"email": "ada@corp.example"}).want(t, 503)
	}
	if grown := len(w.log.String()) - before; grown > 5*2000 {
		t.Errorf("the log grew by %d bytes", grown)
	}
}

func TestSessionsThatCouldNotBeginAnyMoreEnd(t *testing.T) {
	w, i := hostile(t, map[string]any{"trust_mfa": true})
	w.corp.domain("lab.example")
	byPassword := map[string]*browser{}
	for email, role := range map[string]string{"dev@corp.example": "developer", "boss@corp.example": "owner", "ext@partner.example": "developer"} {
		w.password(w.corp.member(email, role), herons)
		byPassword[email] = w.browser()
		byPassword[email].byPassword(email, w.corp.org).want(t, 200)
	}
	corp, _ := w.arrives(i, "ada@corp.example")
	lab, _ := w.arrives(i, "eve@lab.example")
	path := "/v1/sso/connections/" + w.corp.connection()
	change := func(body map[string]any, status int) doc {
		return w.with(w.corp.owner).do(http.MethodPatch, path, body).want(t, status)
	}
	if p := change(map[string]any{"required": true, "trust_mfa": false}, 422); p.list("errors")[0]["member"] != "trust_mfa" {
		t.Errorf("who has no factor could show none: %v", p)
	}
	change(map[string]any{"required": true}, 200)
	byPassword["dev@corp.example"].gone("the demand for single sign-on")
	for _, email := range []string{"boss@corp.example", "ext@partner.example"} {
		if byPassword[email].me() == nil {
			t.Errorf("the session of %s ended", email)
		}
	}
	change(map[string]any{"trust_mfa": false}, 422)
	if lab.me() == nil {
		t.Error("a session of single sign-on ended by the demand for it")
	}
	change(map[string]any{"domains": []string{"corp.example"}}, 200)
	lab.gone("its domain's service")
	if corp.me() == nil {
		t.Error("a session of a domain that is served ended")
	}
}

func TestSingleSignOnKnowsNothingOfOtherOrganizations(t *testing.T) {
	w, i := hostile(t, nil)
	w.other.member("ada@corp.example", "owner")
	b, _ := w.arrives(i, "ada@corp.example")
	if a := b.do(http.MethodGet, "/v1/me/factors", nil); a.status != 200 || strings.Contains(a.raw, w.other.org) {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if p := b.do(http.MethodPatch, "/v1/me", map[string]any{"name": "Renamed"}).want(t, 403); p["reason"] != "sso" {
		t.Errorf("%v", p)
	}
	only, _ := w.arrives(i, "bob@corp.example")
	if a := only.do(http.MethodPatch, "/v1/me", map[string]any{"name": "Bob"}); a.status != 200 {
		t.Errorf("his only organization's: %d %s", a.status, a.raw)
	}
}
