package people_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/authz"
)

func listed(v object) (ids []string) {
	list, _ := v["data"].([]any)
	for _, one := range list {
		s, _ := one.(object)
		ids = append(ids, text(s, "id"))
	}
	slices.Sort(ids)
	return ids
}

func sessionID(v object) string {
	s, _ := v["session"].(object)
	return text(s, "id")
}

func TestSessionsAreSeenAndEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	ada.joins(w.two, "analyst")
	bob := w.person("bob", w.one, "developer")
	laptop, phone, elsewhere, other := w.browser(), w.start().browser(), w.browser(), w.browser()
	first := sessionID(laptop.signsIn(ada, "organization_id", w.one.id))
	second := sessionID(phone.signsIn(ada, "organization_id", w.one.id))
	third := sessionID(elsewhere.signsIn(ada, "organization_id", w.two.id, "transport", "bearer"))
	foreign := sessionID(other.signsIn(bob))
	want := []string{first, second, third}
	slices.Sort(want)
	if got := listed(laptop.get("/v1/sessions").want(http.StatusOK)); !slices.Equal(got, want) {
		t.Errorf("listed are %v; want %v", got, want)
	}
	for _, id := range []string{foreign, "ses_00000000000000000000000000000000", "x", "%27"} {
		laptop.do(http.MethodDelete, "/v1/sessions/"+id, nil).want(http.StatusNotFound)
	}
	laptop.do(http.MethodDelete, "/v1/sessions/"+second, nil).want(http.StatusNoContent)
	laptop.do(http.MethodDelete, "/v1/sessions/"+second, nil).want(http.StatusNotFound)
	w.until("that the session is refused in the other process", func() bool { return !phone.works() })
	if v := laptop.do(http.MethodDelete, "/v1/sessions", nil).want(http.StatusOK); v["ended"] != 1.0 {
		t.Errorf("all others: %v", v)
	}
	if elsewhere.works() || !laptop.works() || !other.works() {
		t.Error("of all others, those and only those end that are one's own")
	}
}

func TestAdminsSeeAndEndMembersSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner, dev := w.person("owner", w.one, "owner"), w.person("dev", w.one, "developer")
	peer := w.person("peer", w.one, "owner")
	dev.joins(w.two, "analyst")
	desk, theirs, there := w.browser(), w.start().browser(), w.browser()
	desk.signsIn(owner)
	desk.enrols(w)
	id := sessionID(theirs.signsIn(dev, "organization_id", w.one.id))
	there.signsIn(dev, "organization_id", w.two.id)
	if got := listed(desk.get("/v1/members/" + dev.id + "/sessions").want(http.StatusOK)); !slices.Equal(got, []string{id}) {
		t.Errorf("listed are %v; want %s, for the rest is another organisation's", got, id)
	}
	desk.do(http.MethodDelete, "/v1/members/"+peer.id+"/sessions", nil).want(http.StatusForbidden)
	theirs.get("/v1/members/" + owner.id + "/sessions").want(http.StatusForbidden)
	desk.get("/v1/members/user_00000000000000000000000000000000/sessions").want(http.StatusNotFound)
	if v := desk.do(http.MethodDelete, "/v1/members/"+dev.id+"/sessions", nil).want(http.StatusOK); v["ended"] != 1.0 {
		t.Errorf("ended: %v", v)
	}
	w.until("that the session is refused in the other process", func() bool { return !theirs.works() })
	if !there.works() {
		t.Error("the session in the other organisation ended too")
	}
}

func TestWhoIsSuspendedOrRemovedIsOut(t *testing.T) {
	t.Parallel()
	for _, act := range []struct{ method, path string }{{http.MethodPost, "/suspend"}, {http.MethodDelete, ""}} {
		w := newWorld(t)
		owner, dev := w.person("owner", w.one, "owner"), w.person("dev", w.one, "developer")
		desk, theirs, more := w.browser(), w.start().browser(), w.browser()
		desk.signsIn(owner)
		desk.enrols(w)
		theirs.signsIn(dev)
		var body any
		if act.method == http.MethodPost {
			body = object{"reason": "test"}
		}
		desk.do(act.method, "/v1/members/"+dev.id+act.path, body).want(http.StatusOK)
		w.until("that the session is refused in the other process", func() bool { return !theirs.works() })
		if a := more.tries(dev.email, secret); a.status != http.StatusUnauthorized {
			t.Errorf("%s %s: signs in again: %d %s", act.method, act.path, a.status, a.raw)
		}
	}
}

// What an organisation decides binds the sessions that there are.
func TestAnOrganisationBoundsItsSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dev := w.person("dev", w.one, "developer")
	desk := w.browser() // a program's, which no session's bounds bind
	project := w.scalar(`SELECT project_id FROM accounts.projects WHERE org_id = '%s'`, w.one.id)
	_, desk.token = postgrestest.Key(t, w.url, w.one.id, project, authz.SettingsWrite)
	var browsers []*client
	for range 3 {
		b := w.browser()
		b.signsIn(dev)
		browsers = append(browsers, b)
		w.advance(time.Second)
	}
	settings := func(v object) {
		t.Helper()
		desk.do(http.MethodPatch, "/v1/organization", object{"settings": v}).want(http.StatusOK)
	}
	settings(object{"max_sessions": 2})
	last := w.browser()
	last.signsIn(dev)
	var left int
	for _, b := range browsers {
		if b.works() {
			left++
		}
	}
	if left != 1 || !last.works() || browsers[0].works() {
		t.Errorf("%d of the older ones are left, the oldest: %v", left, browsers[0].works())
	}
	settings(object{"session_idle_minutes": 5})
	w.advance(6 * time.Minute)
	if last.works() {
		t.Error("a session that idles goes on")
	}
	settings(object{"session_idle_minutes": 0, "session_hours": 1})
	busy := w.browser()
	busy.signsIn(dev)
	for range 6 {
		if !busy.works() {
			t.Fatal("a session in use ended early")
		}
		w.advance(10 * time.Minute)
	}
	if busy.works() {
		t.Error("a session outlives its hour")
	}
	for name, v := range map[string]object{
		"longer than a month": {"session_hours": 721}, "shorter than it can be": {"session_idle_minutes": 1}, "too many": {"max_sessions": 101}, "less than none": {"max_sessions": -1},
	} {
		if a := desk.do(http.MethodPatch, "/v1/organization", object{"settings": v}); a.status == http.StatusOK {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestToAnotherOrganisation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	ada.joins(w.two, "analyst")
	b := w.browser()
	b.signsIn(ada, "organization_id", w.one.id)
	before := b.cookie("aiaas_session")
	old := w.browser()
	old.token = before
	v := b.post("/v1/session/organization", object{"organization_id": w.two.id}).want(http.StatusOK)
	if s, _ := v["session"].(object); s["organization_id"] != w.two.id {
		t.Errorf("the session is %v", v)
	}
	if b.cookie("aiaas_session") == before || old.works() {
		t.Error("the token of before is still good")
	}
	me := b.get("/v1/me").want(http.StatusOK)
	if o, _ := me["organization"].(object); o["id"] != w.two.id {
		t.Errorf("me: %v", me)
	}
	if s, _ := w.browser().signsIn(ada)["session"].(object); s["organization_id"] != w.two.id {
		t.Errorf("the next sign-in leads to %v", s)
	}
	third := w.organization("Third")
	for _, org := range []string{third.id, "org_00000000000000000000000000000000", "x"} {
		b.post("/v1/session/organization", object{"organization_id": org}).want(http.StatusNotFound)
	}
	b.post("/v1/session/organization", object{"organization_id": w.two.id}).want(http.StatusConflict)
	if n := w.scalar(`SELECT count(*)::text FROM accounts.sessions WHERE holder_id = '%s' AND ended_at IS NULL`, ada.id); n != "2" {
		t.Errorf("%s sessions are left", n)
	}
}

// Who finds a session open gets no further than its owner has just proved himself.
func TestSensitiveActsWantTheFactorAndAProof(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner, dev := w.person("owner", w.one, "owner"), w.person("dev", w.one, "developer")
	project := w.scalar(`SELECT project_id FROM accounts.projects WHERE org_id = '%s'`, w.one.id)
	b := w.browser()
	b.signsIn(owner)
	acts := map[string]func() answer{
		"a new key": func() answer {
			return b.post("/v1/api-keys", object{"name": "k", "scopes": []string{"usage:read"}, "project_id": project})
		},
		"another role": func() answer { return b.do(http.MethodPatch, "/v1/members/"+dev.id, object{"role": "analyst"}) },
		"another setting": func() answer {
			return b.do(http.MethodPatch, "/v1/organization", object{"settings": object{"max_sessions": 5}})
		},
		"an invitation": func() answer {
			return b.post("/v1/invitations", object{"email": "new@example.com", "role": "developer"})
		},
		"a service account": func() answer { return b.post("/v1/service-accounts", object{"name": "s", "role": "developer"}) },
	}
	reason := func(a answer) string {
		t.Helper()
		return text(a.want(http.StatusForbidden), "reason")
	}
	for name, act := range acts {
		if got := reason(act()); got != "mfa" {
			t.Errorf("%s without a second factor: %q", name, got)
		}
	}
	b.get("/v1/me").want(http.StatusOK) // or nobody could add one
	b.enrols(w)
	w.advance(16 * time.Minute)
	b.get("/v1/members").want(http.StatusOK)
	for name, act := range acts {
		a := act()
		if got := reason(a); got != "step_up" || a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s without a proof: %q %v", name, got, a.header)
		}
	}
	if a := b.post("/v1/session/step-up", object{"password": secret}); a.status == http.StatusOK {
		t.Error("who has a second factor is let off with a password")
	}
	w.exec(`UPDATE accounts.sessions SET proved_at = '%s' WHERE holder_id = '%s'`, w.now().Format(time.RFC3339Nano), owner.id)
	w.advance(2 * time.Second) // what was read before is forgotten
	for name, act := range acts {
		if a := act(); a.status >= 300 {
			t.Errorf("%s with a proof: %d %s", name, a.status, a.raw)
		}
	}
}
