package people_test

import (
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// guarded is a person with an authenticator app.
func (w *world) guarded(name string, role string) (*person, *app) {
	w.t.Helper()
	p := w.person(name, w.one, role)
	b := w.browser()
	b.signsIn(p)
	return p, b.enrols(w)
}

// challenged signs in as far as the second factor.
func (c *client) challenged(p *person, more ...string) string {
	c.t.Helper()
	v := c.tries(p.email, secret, more...).want(http.StatusOK)
	if v["status"] != "second_factor_required" || v["session"] != nil || v["token"] != nil || text(v, "challenge") == "" {
		c.t.Fatalf("the sign-in is %v", v)
	}
	if c.works() {
		c.t.Fatal("it is signed in without the second factor")
	}
	return text(v, "challenge")
}

func TestASecondFactorIsAskedOfWhoHasOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, app := w.guarded("ada", "developer")
	b := w.browser()
	v := b.tries(ada.email, secret).want(http.StatusOK)
	if !slices.Equal(texts(v, "methods"), []string{"totp", "recovery_code"}) || v["expires_at"] != "2026-10-12T09:41:15Z" {
		t.Errorf("the challenge is %v", v)
	}
	challenge := b.challenged(ada)
	b.post("/v1/sign-in/second-factor", object{"challenge": challenge, "totp": "000000"}).want(http.StatusUnauthorized)
	v = b.post("/v1/sign-in/second-factor", object{"challenge": challenge, "totp": app.code()}).want(http.StatusOK)
	if v["status"] != "signed_in" || at(v, "session", "mfa") != true || at(v, "session", "means") != "password" || !b.works() {
		t.Errorf("it is %v", v)
	}
	w.until("that the audit has the wrong code", func() bool { return w.audited(w.one, "auth.fail") == "1" })

	w.advance(time.Minute)
	c := w.browser()
	challenge = c.challenged(ada, "transport", "bearer")
	v = c.post("/v1/sign-in/second-factor", object{"challenge": challenge, "recovery_code": app.codes[3]}).want(http.StatusOK)
	if c.token = text(v, "token"); c.token == "" || !c.works() {
		t.Errorf("by a recovery code it is %v", v)
	}
	other := w.browser()
	challenge = other.challenged(ada)
	other.post("/v1/sign-in/second-factor", object{"challenge": challenge, "recovery_code": app.codes[3]}).want(http.StatusUnauthorized)
}

func TestWhatAChallengeIsNotGoodFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, app := w.guarded("ada", "developer")
	bob, bobs := w.guarded("bob", "developer")
	give := func(challenge string, proof object) answer {
		t.Helper()
		w.advance(time.Hour) // past the throttle and the step that was used
		proof["challenge"] = challenge
		return w.browser().post("/v1/sign-in/second-factor", proof)
	}
	fresh := func(p *person) string { t.Helper(); return w.browser().challenged(p) }
	want := w.browser().post("/v1/sign-in/second-factor", object{"challenge": "x", "totp": "000000"})
	want.want(http.StatusUnauthorized)
	for name, got := range map[string]answer{
		"it has expired":      give(fresh(ada), object{"totp": app.code()}),
		"none":                give("", object{"totp": app.code()}),
		"one that is made up": give("q8yGm1xJtVfA0sZyHkq2mT4dW7u3cB9rLxEo5nPiKhg", object{"totp": app.code()}),
	} {
		if !sameBut(want, got) {
			t.Errorf("%s: %d %s", name, got.status, got.raw)
		}
	}
	b := w.browser()
	mine := b.challenged(ada)
	for name, proof := range map[string]object{
		"another's code": {"totp": bobs.code()}, "another's recovery code": {"recovery_code": bobs.codes[0]},
		"a passkey of nobody": {"passkey": object{"ceremony": "cer_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", "credential": object{"id": "x"}}},
	} {
		proof["challenge"] = mine
		if got := b.post("/v1/sign-in/second-factor", proof); !sameBut(want, got) {
			t.Errorf("%s: %d %s", name, got.status, got.raw)
		}
	}
	b.post("/v1/sign-in/second-factor", object{"challenge": mine}).want(http.StatusUnprocessableEntity)
	b.post("/v1/sign-in/second-factor", object{"challenge": mine, "totp": app.code(), "recovery_code": app.codes[0]}).want(http.StatusUnprocessableEntity)
	w.advance(time.Minute)
	if got := b.post("/v1/sign-in/second-factor", object{"challenge": mine, "totp": app.code()}); !sameBut(want, got) {
		t.Errorf("after five attempts: %d %s", got.status, got.raw)
	}
	_ = bob

	w.advance(time.Hour)
	c := w.browser()
	old := c.challenged(ada)
	d := w.browser()
	d.post("/v1/sign-in/second-factor", object{"challenge": d.challenged(ada), "totp": app.code()}).want(http.StatusOK)
	d.do(http.MethodPut, "/v1/me/password", object{"current_password": secret, "new_password": "twelve orange storks"}).want(http.StatusOK)
	w.advance(time.Minute)
	if got := c.post("/v1/sign-in/second-factor", object{"challenge": old, "totp": app.code()}); !sameBut(want, got) {
		t.Errorf("by a password that was changed meanwhile: %d %s", got.status, got.raw)
	}
}

// TestAChallengeIsMetOnce meets one challenge fifty times at once, over two processes:
// with proofs that would all be good.
func TestAChallengeIsMetOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, app := w.guarded("ada", "developer")
	second := w.start()
	w.advance(time.Hour)
	challenge := w.browser().challenged(ada)
	var won atomic.Int32
	var all sync.WaitGroup
	for i := range 50 {
		c := w.browser()
		if i%2 == 0 {
			c = second.browser()
		}
		proof := object{"challenge": challenge, "totp": app.code()}
		if i < 20 {
			proof = object{"challenge": challenge, "recovery_code": app.codes[i%10]}
		}
		all.Go(func() {
			switch a := c.post("/v1/sign-in/second-factor", proof); a.status {
			case http.StatusOK:
				won.Add(1)
			case http.StatusUnauthorized, http.StatusTooManyRequests:
			default:
				t.Errorf("%d %s", a.status, a.raw)
			}
		})
	}
	all.Wait()
	if n := won.Load(); n != 1 {
		t.Errorf("%d have signed in by one challenge", n)
	}
	if n := w.audited(w.one, "session.begin"); n != "2" { // with the one that enrolled
		t.Errorf("%s sessions began", n)
	}
}

// TestWhoKnowsThePasswordCantLockItsOwnerOut guesses at the second factor until he has
// to wait; the owner, with a device of his, does not.
func TestWhoKnowsThePasswordCantLockItsOwnerOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	own := w.browser()
	own.signsIn(ada)
	app := own.enrols(w)
	throttled := 0
	for i := range 20 {
		m := w.browser().at("203.0.113." + string(rune('1'+i%9)))
		if m.post("/v1/sign-in/second-factor", object{"challenge": m.challenged(ada), "totp": "000000"}).status == http.StatusTooManyRequests {
			throttled++
		}
	}
	if throttled < 10 {
		t.Errorf("%d of twenty guesses were held back", throttled)
	}
	own.post("/v1/sign-out", nil).want(http.StatusNoContent)
	own.post("/v1/sign-in/second-factor", object{"challenge": own.challenged(ada), "totp": app.code()}).want(http.StatusOK)
}
