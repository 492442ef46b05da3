package factors_test

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
)

func TestAnAppFromItsQRCodeToItsRemoval(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := w.person("ann", authz.Developer)
	p.enter()
	if v := p.do("GET /v1/me/factors", nil).want(200); v["totp"] != nil || len(member[[]any](v, "passkeys")) != 0 || len(member[[]any](v, "required_by")) != 0 {
		t.Errorf("at first: %v", v)
	}
	before := p.token
	code, recovery := p.app()
	if len(recovery) != 10 || p.token == before {
		t.Errorf("%d recovery codes; the token is another: %v", len(recovery), p.token != before)
	}
	w.do(0, "GET /v1/me/factors", before, nil).want(401) // what was known before is worth nothing
	v := p.do("GET /v1/me/factors", nil).want(200)
	if v["totp"] == nil || member[float64](v["recovery_codes"], "left") != 10 {
		t.Errorf("with an app: %v", v)
	}
	sessions := member[[]any](p.do("GET /v1/sessions", nil).want(200), "data")
	if len(sessions) != 1 || !member[bool](sessions[0], "mfa") {
		t.Errorf("the session has shown a second factor: %v", sessions)
	}

	again := w.person("bob", authz.Developer) // his sign-in asks for none
	if v := again.enter(); v["status"] != "signed_in" {
		t.Errorf("Bob: %v", v)
	}
	challenge := p.challenge(1)
	if v := w.do(1, "POST /v1/sign-in", "", object{"email": p.email, "password": secretPassword}).want(200); methods(v) != "recovery_code totp" {
		t.Errorf("methods %v", v)
	}
	right := code()
	w.do(0, "POST /v1/sign-in/second-factor", "", object{"challenge": challenge, "totp": "000000"}).want(401)
	signedIn := w.do(0, "POST /v1/sign-in/second-factor", "", object{"challenge": challenge, "totp": right}).want(200)
	if !member[bool](signedIn["session"], "mfa") {
		t.Errorf("signed in: %v", signedIn)
	}
	w.do(1, "POST /v1/sign-in/second-factor", "", object{"challenge": p.challenge(0), "totp": right}).want(401) // a second time
	p.take(signedIn)

	p.do("DELETE /v1/me/totp", nil).want(204)
	p.do("DELETE /v1/me/totp", nil).want(404)
	if v := p.do("GET /v1/me/factors", nil).want(200); v["totp"] != nil || member[float64](v["recovery_codes"], "left") != 0 {
		t.Errorf("afterwards: %v", v)
	}
	if v := p.enter(); v["status"] != "signed_in" {
		t.Errorf("afterwards: %v", v)
	}
	kinds := w.scalar(`SELECT string_agg(data::text, ' ' ORDER BY mail_id) FROM accounts.mails WHERE kind = 'factor.changed' AND recipient = '%s'`, p.email)
	if !strings.Contains(kinds, "totp_added") || !strings.Contains(kinds, "totp_removed") {
		t.Errorf("told of %s", kinds)
	}
	if got := w.scalar(`SELECT string_agg(action, ' ' ORDER BY audit_id) FROM accounts.audit_records WHERE org_id = '%s' AND actor = '%s' AND action LIKE 'totp.%%'`, w.org, p.id); got != "totp.start totp.confirm totp.delete" {
		t.Errorf("recorded %s", got)
	}
}

func TestSecretsOfAppsAreSealedAndCodesHashed(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := w.person("ann", authz.Developer)
	p.enter()
	secret := member[string](p.do("POST /v1/me/totp", nil).want(200), "secret")
	_, recovery := p.app()
	dump := w.scalar(`SELECT (SELECT string_agg(t::text, ' ') FROM accounts.totp t) || (SELECT string_agg(r::text, ' ') FROM accounts.recovery_codes r)
		|| (SELECT string_agg(a::text, ' ') FROM accounts.audit_records a) || (SELECT string_agg(m::text, ' ') FROM accounts.mails m)`)
	for _, plain := range append(recovery, secret) {
		if strings.Contains(dump, plain) || strings.Contains(dump, strings.ReplaceAll(plain, "-", "")) || strings.Contains(w.log.String(), plain) {
			t.Errorf("%s is in the clear", plain)
		}
	}
}

func TestABrowsersSessionGetsANewCookie(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := w.person("ann", authz.Developer)
	jar := map[string]string{}
	keep := func(a answer) answer {
		for _, c := range a.Result().Cookies() {
			jar[c.Name] = c.Value
			if !c.HttpOnly || !c.Secure || !strings.HasPrefix(c.Name, "__Host-") {
				t.Errorf("cookie %v", c)
			}
		}
		return a
	}
	browser := func(r *http.Request) {
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		for name, value := range jar {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
	}
	keep(w.do(0, "POST /v1/sign-in", "", object{"email": p.email, "password": secretPassword}, browser)).want(200)
	old := jar["__Host-aiaas_session"]
	v := w.do(0, "POST /v1/me/totp", "", nil, browser).want(200)
	code := codeOf(t, member[string](v, "secret"), w.clock.Now())
	v = keep(w.do(0, "POST /v1/me/totp/confirm", "", object{"code": code}, browser)).want(200)
	if fresh := jar["__Host-aiaas_session"]; fresh == "" || fresh == old || v["token"] != nil {
		t.Errorf("the cookie is another: %v; the body: %v", fresh != old, v)
	}
	w.do(0, "GET /v1/me/factors", "", nil, browser).want(200)
	jar["__Host-aiaas_session"] = old
	w.do(0, "GET /v1/me/factors", "", nil, browser).want(401)
}

func TestChangesNeedARecentProofByThePersonHimself(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := w.person("ann", authz.Developer)
	p.enter()
	code, recovery := p.app()
	w.clock.advance(16 * time.Minute)
	for _, route := range []string{"POST /v1/me/totp", "DELETE /v1/me/totp", "POST /v1/me/recovery-codes", "POST /v1/me/passkeys/options"} {
		if v := p.do(route, nil).want(403); v["reason"] != "step_up" {
			t.Errorf("%s: %v", route, v)
		}
	}
	p.do("GET /v1/me/factors", nil).want(200)
	p.do("POST /v1/session/step-up", object{"password": secretPassword}).want(422) // who has a second factor shows that
	p.do("POST /v1/session/step-up", object{"totp": "000000"}).want(422)
	p.take(p.do("POST /v1/session/step-up", object{"totp": code()}).want(200))
	fresh := member[[]any](p.do("POST /v1/me/recovery-codes", nil).want(200), "recovery_codes")
	if len(fresh) != 10 {
		t.Errorf("%v", fresh)
	}
	w.do(0, "POST /v1/sign-in/second-factor", "", object{"challenge": p.challenge(0), "recovery_code": recovery[0]}).want(401)
	w.do(0, "POST /v1/sign-in/second-factor", "", object{"challenge": p.challenge(0), "recovery_code": fresh[0]}).want(200)
}

func TestTheLastFactorOfAnOwnerStays(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := w.person("ann", authz.Owner)
	p.enter()
	p.app()
	if v := p.do("DELETE /v1/me/totp", nil).want(409); member[string](v, "organization_id") != w.org {
		t.Errorf("%v", v)
	}
	if v := p.do("GET /v1/me/factors", nil).want(200); len(member[[]any](v, "required_by")) != 1 {
		t.Errorf("%v", v)
	}
	d := newDevice(p.id)
	p.addPasskey(d, "laptop")
	p.do("DELETE /v1/me/totp", nil).want(204)
}

// Two removals at once, in two hosts, must not each find the other factor left.
func TestTwoRemovalsAtOnceLeaveAFactor(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := w.person("ann", authz.Owner)
	p.enter()
	p.app()
	key := p.addPasskey(newDevice(p.id), "laptop")
	statuses := make([]int, 2)
	var group sync.WaitGroup
	for i, route := range []string{"DELETE /v1/me/totp", "DELETE /v1/me/passkeys/" + key} {
		group.Go(func() { statuses[i] = w.do(i, route, p.token, nil).Code })
	}
	group.Wait()
	if statuses[0]+statuses[1] != 204+409 {
		t.Errorf("%v", statuses)
	}
}

func TestNoKeyTouchesFactors(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := w.person("ann", authz.Developer)
	key := w.key(p.id)
	for _, route := range []string{
		"GET /v1/me/factors", "POST /v1/me/totp", "DELETE /v1/me/totp", "POST /v1/me/recovery-codes", "POST /v1/me/passkeys/options", "GET /v1/me/passkeys",
		"DELETE /v1/me/passkeys/pk_1",
	} {
		if v := w.do(0, route, key, nil).want(403); v["reason"] != "person" {
			t.Errorf("%s: %v", route, v)
		}
		w.do(0, route, "", nil).want(401)
	}
}

const atOnce = 50

// race makes the uses at once, over both hosts, and returns how many of them did.
func (w *world) race(use func(host, i int) int) (won int32) {
	var good atomic.Int32
	var group sync.WaitGroup
	start := make(chan struct{})
	for i := range atOnce {
		group.Go(func() {
			<-start
			switch status := use(i%2, i); status {
			case http.StatusOK:
				good.Add(1)
			case http.StatusUnauthorized, http.StatusTooManyRequests:
			default:
				w.t.Errorf("status %d", status)
			}
		})
	}
	close(start)
	group.Wait()
	return good.Load()
}

// Each use has a challenge and a network of its own, so that nothing but the code
// itself is left to stop all but one.
func TestOfFiftyUsesOfACodeAtOnceOneSignsIn(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := w.person("ann", authz.Developer)
	p.enter()
	code, recovery := p.app()
	challenges := make([]string, atOnce+1)
	for i := range challenges {
		challenges[i] = p.challenge(i % 2)
	}
	sessions := func() string { return w.scalar(`SELECT count(*)::text FROM accounts.sessions`) }
	if sessions() != "1" {
		t.Fatalf("%s sessions at first", sessions())
	}
	for i, proof := range []object{{"totp": code()}, {"recovery_code": recovery[3]}} {
		w.exec(`DELETE FROM accounts.throttles`)
		won := w.race(func(host, i int) int {
			from := func(r *http.Request) { r.RemoteAddr = fmt.Sprintf("198.51.100.%d:1", i) }
			body := maps.Clone(proof)
			body["challenge"] = challenges[i]
			return w.do(host, "POST /v1/sign-in/second-factor", "", body, from).Code
		})
		if want := fmt.Sprint(i + 2); won != 1 || sessions() != want {
			t.Errorf("%v: %d of %d uses at once signed in; there are %s sessions; want %s", proof, won, atOnce, sessions(), want)
		}
		// The challenge that was met is spent; the others had one of several tries.
		challenges = slices.DeleteFunc(challenges, func(c string) bool { return spent(w, c) })
	}
}

// spent tells whether a challenge was met.
func spent(w *world, challenge string) bool {
	sum := sha256.Sum256([]byte(challenge))
	return w.scalar(`SELECT count(*)::text FROM accounts.sign_in_challenges WHERE hash = '\x%x' AND used_at IS NOT NULL`, sum) == "1"
}

func TestGuessesAreBoundedForThePersonOverAllChallenges(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := w.person("ann", authz.Developer)
	p.enter()
	code, _ := p.app()
	refused := 0
	for i := range 30 {
		a := w.do(i%2, "POST /v1/sign-in/second-factor", "", object{"challenge": p.challenge(i % 2), "totp": "000000"})
		if a.Code == http.StatusTooManyRequests {
			refused++
			if a.Header().Get("Retry-After") == "" {
				t.Error("it does not say when to try again")
			}
			break
		}
		if a.Code != http.StatusUnauthorized {
			t.Fatalf("status %d: %s", a.Code, a.Body)
		}
	}
	if refused == 0 {
		t.Fatal("thirty guesses were taken")
	}
	w.do(0, "POST /v1/sign-in/second-factor", "", object{"challenge": p.challenge(0), "totp": code()}).want(429)
	w.clock.advance(time.Hour)
	w.do(0, "POST /v1/sign-in/second-factor", "", object{"challenge": p.challenge(0), "totp": code()}).want(200)
}
