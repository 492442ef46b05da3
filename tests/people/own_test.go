package people_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/authz"
)

func (c *client) changes(current, next string) answer {
	c.t.Helper()
	return c.do(http.MethodPut, "/v1/me/password", object{"current_password": current, "new_password": next})
}

func TestAPasswordIsChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	ada.joins(w.two, "developer")
	b, other, there := w.browser(), w.browser(), w.browser()
	b.signsIn(ada)
	other.signsIn(ada, "transport", "bearer")
	there.signsIn(ada, "organization_id", w.two.id)
	v := b.changes("wrong", fresh).want(http.StatusUnprocessableEntity)
	if v["param"] != nil && v["param"] != "current_password" {
		t.Errorf("%v", v)
	}
	b.changes(secret, "short").want(http.StatusUnprocessableEntity)
	b.changes(secret, "ada@example.com").want(http.StatusUnprocessableEntity)
	b.changes(secret, secret).want(http.StatusUnprocessableEntity)
	if !other.works() {
		t.Error("what was refused ended a session")
	}
	before := b.cookie("aiaas_session")
	b.changes(secret, fresh).want(http.StatusOK)
	if !b.works() || b.cookie("aiaas_session") == before {
		t.Error("the session did not go on under another token")
	}
	old := w.browser()
	if old.token = before; old.works() || other.works() || there.works() {
		t.Error("a session outlives the change")
	}
	w.browser().at("203.0.113.1").tries(ada.email, secret).want(http.StatusUnauthorized)
	w.browser().at("203.0.113.2").tries(ada.email, fresh).want(http.StatusOK)
	if n := len(w.mailed(ada.email, "Your password was changed")); n != 1 {
		t.Errorf("%d mails", n)
	}
	if w.audited(w.one, "password.change") != "1" || w.audited(w.two, "password.change") != "1" {
		t.Error("the audit does not have it")
	}
}

// TestGuessingByASession has somebody who sits at an open session guess at its
// password.
func TestGuessingByASession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	b := w.browser()
	b.signsIn(ada)
	status := 0
	for range 11 {
		status = b.changes("wrong", fresh).status
	}
	if status != http.StatusTooManyRequests {
		t.Errorf("the eleventh guess: %d", status)
	}
	b.post("/v1/session/step-up", object{"password": secret}).want(http.StatusTooManyRequests)
}

func TestAPasswordBelongsToAPerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	project := w.scalar(`SELECT project_id FROM accounts.projects WHERE org_id = '%s'`, w.one.id)
	c := w.browser()
	_, c.token = postgrestest.KeyOf(t, w.url, postgrestest.Ownership{Org: w.one.id, Project: project, Owner: ada.id}, authz.Scopes()...)
	c.changes(secret, fresh).want(http.StatusForbidden)
	c.post("/v1/session/step-up", object{"password": secret}).want(http.StatusForbidden)
	c.post("/v1/session/step-up/options", nil).want(http.StatusForbidden)
	w.browser().changes(secret, fresh).want(http.StatusUnauthorized)
}

func TestStepUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	b := w.browser()
	b.signsIn(ada)
	b.post("/v1/me/totp", nil).want(http.StatusOK)
	w.advance(16 * time.Minute)
	v := b.post("/v1/me/totp", nil).want(http.StatusForbidden)
	if v["reason"] != "step_up" || v["max_age"] != 900.0 {
		t.Errorf("after a quarter of an hour: %v", v)
	}
	b.post("/v1/session/step-up", object{"password": "wrong"}).want(http.StatusUnprocessableEntity)
	b.post("/v1/session/step-up", object{}).want(http.StatusUnprocessableEntity)
	b.post("/v1/session/step-up/options", nil).want(http.StatusNotFound)
	before := b.cookie("aiaas_session")
	v = b.post("/v1/session/step-up", object{"password": secret}).want(http.StatusOK)
	if v["token"] != nil || b.cookie("aiaas_session") == before || !strings.HasPrefix(fmt.Sprint(at(v, "session", "proved_at")), "2026-10-12T09:46:15") {
		t.Errorf("the session is %v", v)
	}
	old := w.browser()
	if old.token = before; old.works() {
		t.Error("the token of before works")
	}
	b.post("/v1/me/totp", nil).want(http.StatusOK)
}

// TestStepUpByASecondFactor has a person with a second factor prove himself: by that
// only.
func TestStepUpByASecondFactor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	c := w.browser()
	c.signsIn(ada, "transport", "bearer")
	app := c.enrols(w)
	w.advance(16 * time.Minute)
	c.changes(secret, fresh).want(http.StatusForbidden)
	v := c.post("/v1/session/step-up", object{"password": secret}).want(http.StatusUnprocessableEntity)
	if len(texts(v, "methods")) != 2 {
		t.Errorf("by the password alone: %v", v)
	}
	c.post("/v1/session/step-up", object{"totp": "000000"}).want(http.StatusUnprocessableEntity)
	before := c.token
	code := app.code()
	v = c.post("/v1/session/step-up", object{"totp": code}).want(http.StatusOK)
	if c.token = text(v, "token"); c.token == "" || c.token == before || at(v, "session", "mfa") != true {
		t.Errorf("the session is %v", v)
	}
	old := w.browser()
	if old.token = before; old.works() {
		t.Error("the token of before works")
	}
	c.post("/v1/session/step-up", object{"totp": code}).want(http.StatusUnprocessableEntity)
	v = c.changes(secret, fresh).want(http.StatusOK)
	if c.token = text(v, "token"); !c.works() || at(v, "session", "mfa") != true {
		t.Errorf("after the change the session is %v", v)
	}
}

// TestASessionWithoutTheFactorChangesNoPassword takes a session that has not shown the
// factor that its person has.
func TestASessionWithoutTheFactorChangesNoPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	old := w.browser()
	old.signsIn(ada)
	app := old.enrols(w)
	w.exec(`UPDATE accounts.sessions SET mfa = false WHERE holder_id = '%s'`, ada.id)
	w.advance(2 * time.Second) // what was read before is forgotten
	if v := old.changes(secret, fresh).want(http.StatusForbidden); v["reason"] != "step_up" {
		t.Errorf("%v", v)
	}
	old.post("/v1/session/step-up", object{"totp": app.code()}).want(http.StatusOK)
	old.changes(secret, fresh).want(http.StatusOK)
}

// TestSingleSignOnIsNotTheAccount takes a session that an organisation's own issuer
// vouches for.
func TestSingleSignOnIsNotTheAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	c := w.browser()
	c.signsIn(ada, "transport", "bearer")
	w.exec(`UPDATE accounts.sessions SET means = 'sso'`)
	w.advance(2 * time.Second) // sessions are cached for one
	for _, a := range []answer{c.changes(secret, fresh), c.post("/v1/session/step-up", object{"password": secret})} {
		if v := a.want(http.StatusForbidden); v["reason"] != "sso" {
			t.Errorf("%s: %v", a.what, v)
		}
	}
	c.post("/v1/session/step-up/options", nil).want(http.StatusNotFound) // a passkey would do, and there is none
}
