package people_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestSignInAndOutInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	b := w.browser()
	if b.works() {
		t.Fatal("a browser works before anybody has signed in")
	}
	a := b.tries(" ADA@Example.com", secret)
	v := a.want(http.StatusOK)
	session, _ := v["session"].(object)
	if v["status"] != "signed_in" || session["organization_id"] != w.one.id || session["kind"] != "browser" || session["mfa"] != false || v["mfa_required"] != nil {
		t.Errorf("the answer is %v", v)
	}
	if _, there := v["token"]; there {
		t.Error("a script could read the session's token")
	}
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
			t.Errorf("the cookie %+v", c)
		}
	}
	if a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control is %q", a.header.Get("Cache-Control"))
	}
	if me := b.get("/v1/me").want(http.StatusOK); at(me, "owner", "id") != ada.id {
		t.Errorf("it is signed in as %v", me)
	}
	taken := b.cookie("aiaas_session")
	if taken == "" || b.cookie("aiaas_device") == "" {
		t.Fatal("there is no cookie")
	}
	b.post("/v1/sign-out", nil).want(http.StatusNoContent)
	if b.works() || b.cookie("aiaas_session") != "" {
		t.Error("it is signed in after signing out")
	}
	if b.cookie("aiaas_device") == "" {
		t.Error("who has signed out is a stranger")
	}
	thief := w.browser()
	thief.token = taken
	if thief.works() {
		t.Error("the session outlives signing out")
	}
}

func TestSignInByToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	c := w.browser()
	v := c.signsIn(ada, "transport", "bearer")
	if !strings.HasPrefix(c.token, "aiaas_session_") || c.cookie("aiaas_session") != "" {
		t.Errorf("the answer is %v", v)
	}
	if !c.works() {
		t.Error("the token does not work")
	}
}

// TestOneAnswerForEveryReason has all who can't sign in hear the same.
func TestOneAnswerForEveryReason(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.person("ada", w.one, "developer")
	w.stranger("new", w.one, "developer")
	gone := w.person("gone", w.one, "developer")
	w.exec(`DELETE FROM accounts.members WHERE user_id = '%s'`, gone.id)
	off := w.person("off", w.one, "developer")
	w.exec(`UPDATE accounts.members SET status = 'suspended' WHERE user_id = '%s'`, off.id)
	closed := w.person("closed", w.two, "developer")
	w.exec(`UPDATE accounts.organizations SET status = 'suspended' WHERE org_id = '%s'`, w.two.id)
	trial := w.organization("Trial")
	over := w.person("over", trial, "developer")
	w.exec(`UPDATE accounts.organizations SET status = 'trial', trial_ends_at = '2026-10-01Z' WHERE org_id = '%s'`, trial.id)
	want := w.browser().at("203.0.113.1").tries("ada@example.com", "wrong")
	want.want(http.StatusUnauthorized)
	for name, try := range map[string][2]string{
		"nobody": {"nobody@example.com", secret}, "no address": {"x", secret}, "nothing": {"", ""}, "no password yet": {"new@example.com", secret},
		"none at all": {"new@example.com", ""}, "removed": {gone.email, secret}, "suspended": {off.email, secret},
		"the organisation is suspended": {closed.email, secret}, "its trial is over": {over.email, secret},
		"almost": {"ada@example.com", secret + " "}, "SQL": {"' OR true --", "' OR true --"}, "a pattern": {"%@example.com", secret},
		"the hash": {"ada@example.com", mustHash(t)[:90]},
	} {
		if got := w.browser().at("203.0.113.2").tries(try[0], try[1]); !sameBut(want, got) {
			t.Errorf("%s: %d %s\nwant %s", name, got.status, got.raw, want.raw)
		}
		w.advance(time.Hour) // no throttle plays a part
	}
}

func mustHash(t *testing.T) string {
	t.Helper()
	phc, err := hashed()
	if err != nil {
		t.Fatal(err)
	}
	return phc
}

func TestWhereASignInLeadsTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	ada.joins(w.two, "analyst")
	foreign := w.organization("Foreign")
	b := w.browser()
	where := func(more ...string) string {
		t.Helper()
		return fmt.Sprint(at(b.signsIn(ada, more...), "session", "organization_id"))
	}
	if got := where(); got != w.one.id {
		t.Errorf("first to %s; want the oldest membership's", got)
	}
	if got := where("organization_id", w.two.id); got != w.two.id {
		t.Errorf("to %s; want the one that was asked for", got)
	}
	if got := where(); got != w.two.id {
		t.Errorf("then to %s; want the one of before", got)
	}
	b.tries(ada.email, secret, "organization_id", foreign.id).want(http.StatusUnauthorized)
	w.exec(`UPDATE accounts.members SET status = 'suspended' WHERE user_id = '%s' AND org_id = '%s'`, ada.id, w.two.id)
	if got := where(); got != w.one.id {
		t.Errorf("at last to %s; want the one that takes him", got)
	}
	v := b.signsIn(ada)
	list, _ := v["organizations"].([]any)
	if len(list) != 1 || at(list[0], "name") != "Acme" || at(list[0], "role") != "developer" {
		t.Errorf("the organisations are %v", list)
	}
}

// TestASessionThatWasPlantedIsNobodys signs in with a browser that has a session's
// cookie already: one that an attacker chose, and one that is an attacker's own.
func TestASessionThatWasPlantedIsNobodys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, mallory := w.person("ada", w.one, "developer"), w.person("mallory", w.one, "developer")
	own := w.browser()
	own.signsIn(mallory)
	for name, planted := range map[string]string{
		"chosen":    "aiaas_session_" + strings.Repeat("A", 43),
		"another's": own.cookie("aiaas_session"),
	} {
		victim := w.browser()
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, victim.base, http.NoBody)
		victim.http.Jar.SetCookies(r.URL, []*http.Cookie{{Name: "aiaas_session", Value: planted, Path: "/"}, {Name: "aiaas_device", Value: "planted", Path: "/"}})
		victim.signsIn(ada)
		if got := victim.cookie("aiaas_session"); got == planted || got == "" {
			t.Errorf("%s: the session is %q after the sign-in", name, got)
		}
		if victim.cookie("aiaas_device") == "planted" {
			t.Errorf("%s: the device's token is the one that was planted", name)
		}
		attacker := w.browser()
		attacker.token = planted
		if a := attacker.get("/v1/me"); a.status == http.StatusOK && strings.Contains(string(a.raw), ada.id) {
			t.Errorf("%s: it is the victim's session", name)
		}
	}
}

func TestANewDeviceIsToldByMail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	told := func() int { t.Helper(); return len(w.mailed(ada.email, "New sign-in to your account")) }
	known := w.browser()
	known.signsIn(ada)
	if n := told(); n != 0 {
		t.Errorf("%d mails about the first device", n)
	}
	known.signsIn(ada)
	known.at("203.0.113.9").signsIn(ada)
	if n := told(); n != 0 {
		t.Errorf("%d mails about a device that is known", n)
	}
	w.browser().signsIn(ada)
	if n := told(); n != 1 {
		t.Fatalf("%d mails about another", n)
	}
	if m := w.mailed(ada.email, "New sign-in to your account")[0].Text; !strings.Contains(m, "198.51.100.7") || !strings.Contains(m, "Tester/1.0") {
		t.Errorf("the mail says %s", m)
	}
}

func TestARoleThatNeedsASecondFactorIsToldSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(`UPDATE accounts.organizations SET settings = '{"mfa_required_roles": ["manager"]}' WHERE org_id = '%s'`, w.two.id)
	for name, c := range map[string]struct {
		in       organization
		role     string
		required bool
	}{
		"owner": {w.one, "owner", true}, "finance": {w.one, "finance", true}, "developer": {w.one, "developer", false},
		"manager": {w.one, "manager", false}, "manager-there": {w.two, "manager", true},
	} {
		p := w.person(name, c.in, c.role)
		b := w.browser().at("203.0.113." + map[bool]string{true: "1", false: "2"}[c.required])
		if v := b.signsIn(p); (v["mfa_required"] == true) != c.required {
			t.Errorf("%s: %v", name, v)
		}
		keys := b.get("/v1/api-keys").status
		if c.required && keys != http.StatusForbidden || !c.required && keys != http.StatusOK {
			t.Errorf("%s lists keys: %d", name, keys)
		}
		if !c.required {
			continue
		}
		b.enrols(w)
		b.get("/v1/api-keys").want(http.StatusOK)
	}
}

func TestFailedSignInsAreInTheAudit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	b := w.browser()
	b.tries(ada.email, "wrong").want(http.StatusUnauthorized)
	b.tries("nobody@example.com", "wrong").want(http.StatusUnauthorized)
	b.signsIn(ada)
	w.until("that the audit has them", func() bool {
		return w.audited(w.one, "auth.fail") == "1" && w.audited(organization{id: "platform"}, "auth.fail") == "1"
	})
	if got := w.scalar(`SELECT actor || ' ' || source_address || ' ' || (detail->>'code') FROM accounts.audit_records WHERE org_id = '%s' AND action = 'auth.fail'`, w.one.id); got != ada.id+" 198.51.100.7 password" {
		t.Errorf("it says %s", got)
	}
	if n := w.audited(w.one, "session.begin"); n != "1" {
		t.Errorf("%s sessions began", n)
	}
	if all := w.scalar(`SELECT coalesce(string_agg(detail::text || actor || target, ' '), '') FROM accounts.audit_records`); strings.Contains(all, "nobody@example.com") {
		t.Errorf("what strangers type is in the audit: %s", all)
	}
}

// TestAHashOfAnotherCostIsRenewed signs in by a password whose hash is of a cost that
// new ones do not have.
func TestAHashOfAnotherCostIsRenewed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	old := oldHash(t)
	w.exec(`UPDATE accounts.passwords SET phc = '%s'`, old)
	b := w.browser()
	b.tries(ada.email, "wrong").want(http.StatusUnauthorized)
	if got := w.scalar(`SELECT phc FROM accounts.passwords`); got != old {
		t.Errorf("a wrong password changed the hash to %s", got)
	}
	b.signsIn(ada)
	fresh := w.scalar(`SELECT phc FROM accounts.passwords`)
	if !strings.HasPrefix(fresh, "$argon2id$v=19$m=32768,t=2,p=1$") {
		t.Errorf("the hash is %s", fresh)
	}
	b.signsIn(ada)
	if again := w.scalar(`SELECT phc FROM accounts.passwords`); again != fresh {
		t.Error("it is renewed again")
	}
}

func TestNothingThatIsShownOnceIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	b := w.browser()
	link := b.link(w, ada)
	b.signsIn(ada)
	app := b.enrols(w)
	challenge := text(b.tries(ada.email, secret).want(http.StatusOK), "challenge")
	w.run("audit", "seal")
	shown := []string{secret, link, challenge, app.secret, b.cookie("aiaas_session"), strings.TrimPrefix(b.cookie("aiaas_session"), "aiaas_session_"), b.cookie("aiaas_device")}
	shown = append(shown, app.codes...)
	var dump []string
	for table := range strings.FieldsSeq(w.scalar(`SELECT string_agg(oid::regclass::text, ' ') FROM pg_class WHERE relnamespace = 'accounts'::regnamespace AND relkind = 'r'`)) {
		dump = append(dump, w.scalar(`SELECT coalesce(string_agg(x::text, E'\n'), '') FROM %s x`, table))
	}
	if len(dump) < 20 {
		t.Fatalf("only %d tables were looked at", len(dump))
	}
	everything := strings.Join(dump, "\n") + w.log.String()
	for _, s := range shown {
		if s == "" || strings.Contains(everything, s) {
			t.Errorf("%q is in the database or the log", s)
		}
	}
	if !strings.Contains(everything, ada.id) {
		t.Error("the dump does not have the person")
	}
}
