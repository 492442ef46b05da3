package people_test

import (
	"net/http"
	"sync"
	"testing"
)

func (w *world) living(p *person) string {
	w.t.Helper()
	return w.scalar(`SELECT count(*)::text FROM accounts.sessions WHERE holder_id = '%s' AND ended_at IS NULL`, p.id)
}

// Who has taken over a session that has shown no factor does not become its owner's
// factor.
func TestASessionWithoutTheFactorIsWorthNothingOnceThereIsOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	thief, owner := w.browser(), w.browser()
	thief.signsIn(ada)
	owner.signsIn(ada)
	app := owner.enrols(w)
	for _, path := range []string{"/v1/me/totp", "/v1/me/recovery-codes", "/v1/me/passkeys/options"} {
		if a := thief.post(path, nil); a.status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", path, a.status, a.raw)
		}
	}
	challenge := text(w.browser().tries(ada.email, secret).want(http.StatusOK), "challenge")
	w.browser().post("/v1/sign-in/second-factor", object{"challenge": challenge, "totp": app.code()}).want(http.StatusOK)
}

// A session is worth no more than the factors that there are.
func TestAFactorThatIsGoneProvesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	b := w.browser()
	b.signsIn(ada)
	b.enrols(w)
	b.do(http.MethodDelete, "/v1/me/totp", nil).want(http.StatusNoContent)
	w.exec(`UPDATE accounts.members SET role = 'admin' WHERE user_id = '%s'`, ada.id)
	w.advance(2e9)
	if got := text(b.get("/v1/members").want(http.StatusForbidden), "reason"); got != "mfa" {
		t.Errorf("an admin without a factor is refused for %q", got)
	}
	b.post("/v1/session/step-up", object{"password": secret}).want(http.StatusOK)
	if got := text(b.get("/v1/members").want(http.StatusForbidden), "reason"); got != "mfa" {
		t.Errorf("and by a password again for %q", got)
	}
}

// Whoever signs in without a pause by the password that it was, or goes from one
// organisation to the other, is out when it is changed.
func TestNobodySlipsThroughTheEndOfAllSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	ada.joins(w.two, "developer")
	second := w.start()
	link := w.browser().link(w, ada)
	travellers := []*client{w.browser(), second.browser(), second.browser()}
	for _, b := range travellers {
		b.signsIn(ada, "organization_id", w.one.id)
	}
	stop := make(chan struct{})
	var group sync.WaitGroup
	until := func(act func(i int)) {
		group.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					act(i)
				}
			}
		})
	}
	for i, b := range travellers {
		until(func(n int) {
			to := w.two.id
			if n%2 == 1 {
				to = w.one.id
			}
			_ = b.post("/v1/session/organization", object{"organization_id": to})
		})
		at := []*process{w.first, second, second}[i]
		until(func(int) { _ = at.browser().tries(ada.email, secret) })
	}
	w.advance(1e9) // one password is told from the next by the time that it was set
	w.browser().post("/v1/password/reset", object{"token": link, "password": "twelve orange storks"}).want(http.StatusOK)
	close(stop)
	group.Wait()
	if n := w.living(ada); n != "0" {
		t.Errorf("%s sessions outlived the reset", n)
	}
}
