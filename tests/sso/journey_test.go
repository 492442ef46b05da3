package sso_test

import (
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/aiaas/aiaas/shared/password"
)

// groups says that groups of the directory give roles.
func groups(roles map[string]any) map[string]any {
	return map[string]any{"groups_claim": "groups", "group_roles": roles}
}

// person is how the directory knows somebody: by a subject, and names and values.
func person(subject string, more ...any) map[string]any {
	p := map[string]any{"sub": subject}
	for i := 0; i < len(more); i += 2 {
		p[fmt.Sprint(more[i])] = more[i+1]
	}
	return p
}

// refusedWith fails the test unless a sign-in ended on the sign-in page, for a reason.
func refusedWith(t *testing.T, location, reason string) {
	t.Helper()
	u, err := url.Parse(location)
	if err != nil || u.Path != "/sign-in" || u.Query().Get("error") != reason {
		t.Errorf("it ended at %q; want the reason %s", location, reason)
	}
}

func TestSomebodyNewSignsInAtTheDirectory(t *testing.T) {
	w := start(t)
	w.corp.domain("corp.example")
	d := w.startDirectory()
	d.connect(w.corp, w.corp.owner, groups(map[string]any{"ai-finance": "finance", "ai-analysts": "analyst"}))
	d.people(map[string]any{"ada@corp.example": person("ada-1", "name", "Ada L.", "groups", []string{"staff", "ai-analysts"})})
	b := w.browser()
	if at := b.signIn("Ada@Corp.Example", "/account?tab=keys"); at != "/account?tab=keys" {
		t.Fatalf("it ended at %q: %s", at, w.log)
	}
	me := b.me()
	if owner := me.in("owner"); owner["email"] != "ada@corp.example" || owner["name"] != "Ada L." {
		t.Errorf("she is %v", me)
	}
	if role := w.corp.role("ada@corp.example"); role != "analyst" {
		t.Errorf("her role is %q; want that of her group", role)
	}
	for _, action := range []string{"member.add", "sso.link", "session.begin"} {
		if n := w.corp.audited(action); n != "1" {
			t.Errorf("%s records of %s", n, action)
		}
	}
	if at := b.signIn("ada@corp.example", ""); at != "/account" {
		t.Errorf("the second time it ended at %q", at)
	}
	if n := w.corp.audited("member.add") + w.corp.audited("sso.link"); n != "11" {
		t.Errorf("the second time there are records: %s", n)
	}
	list := w.with(w.corp.owner).do(http.MethodGet, "/v1/sso/identities", nil).want(t, 200).list("data")
	if first := list[0]; len(list) != 1 || first["subject"] != "ada-1" || first["email"] != "ada@corp.example" {
		t.Errorf("identities %v", list)
	}
}

func TestRolesFollowTheGroups(t *testing.T) {
	w := start(t)
	w.corp.domain("corp.example")
	d := w.startDirectory()
	d.connect(w.corp, w.corp.owner, groups(map[string]any{"f": "finance", "a": "analyst", "boss": "owner", "gone": "developer"}))
	for _, step := range []struct {
		what   string
		groups []string
		before func()
		role   string
	}{
		{"in no group", nil, nil, "developer"},
		{"in two: the higher", []string{"a", "f"}, nil, "finance"},
		{"in the lower one only", []string{"a"}, nil, "analyst"},
		{"in none any more: the default again", nil, nil, "developer"},
		{"somebody has given a role, and no group speaks", nil, func() { w.exec(`UPDATE accounts.members SET role = 'manager' WHERE org_id = '%s'`, w.corp.org) }, "manager"},
		{"a group speaks again", []string{"f"}, nil, "finance"},
		{"in the group that is mapped to owner", []string{"boss", "f"}, nil, "owner"},
		{"the last owner stays one", []string{"a"}, nil, "owner"},
		{"not the last any more", []string{"a"}, func() { w.corp.member("second@corp.example", "owner") }, "analyst"},
	} {
		if step.before != nil {
			step.before()
		}
		d.people(map[string]any{"ada@corp.example": person("ada-1", "groups", step.groups)})
		if at := w.browser().signIn("ada@corp.example", ""); !strings.HasPrefix(at, "/account") {
			t.Fatalf("%s: it ended at %q: %s", step.what, at, w.log)
		}
		if got := w.corp.role("ada@corp.example"); got != step.role {
			t.Errorf("%s: %q; want %q", step.what, got, step.role)
		}
	}
	if n := w.corp.audited("sso.role_kept"); n != "1" {
		t.Errorf("%s records of a role that was kept", n)
	}
}

func TestWithoutADefaultRoleAGroupIsNeeded(t *testing.T) {
	w := start(t)
	w.corp.domain("corp.example")
	d := w.startDirectory()
	more := groups(map[string]any{"a": "analyst"})
	more["default_role"] = nil
	d.connect(w.corp, w.corp.owner, more)
	refusedWith(t, w.browser().signIn("ada@corp.example", ""), "sso_no_role")
	if n := w.scalar(`SELECT count(*)::text FROM accounts.users WHERE email = 'ada@corp.example'`); n != "0" {
		t.Error("a refused stranger was written down")
	}
	d.people(map[string]any{"ada@corp.example": person("ada-1", "groups", []string{"a"})})
	if at := w.browser().signIn("ada@corp.example", ""); at != "/account" {
		t.Errorf("with a group it ended at %q", at)
	}
	d.people(map[string]any{"ada@corp.example": person("ada-1", "groups", []string{})})
	refusedWith(t, w.browser().signIn("ada@corp.example", ""), "sso_no_role")
}

func TestWhoIsNotLetIn(t *testing.T) {
	w := start(t)
	w.corp.domain("corp.example")
	w.corp.domain("second.example")
	d := w.startDirectory()
	c := d.connect(w.corp, w.corp.owner, map[string]any{"domains": []string{"corp.example"}})
	owner := w.with(w.corp.owner)

	t.Run("of a domain that is not the organization's", func(t *testing.T) {
		d.people(map[string]any{"x@corp.example": person("x-1", "email", "boss@other.example")})
		refusedWith(t, w.browser().signIn("x@corp.example", ""), "sso_email")
	})
	t.Run("of a domain that the connection does not serve", func(t *testing.T) {
		d.people(map[string]any{"x@corp.example": person("x-1", "email", "x@second.example")})
		refusedWith(t, w.browser().signIn("x@corp.example", ""), "sso_email")
	})
	t.Run("of an address like one of it", func(t *testing.T) {
		for _, like := range []string{"x@corp.example.evil.example", "x@evil.corp.example", "x@other.example@corp.example", "\"x@corp.example\"@other.example", "x@corp.example ", "x@cоrp.example", ""} {
			d.people(map[string]any{"x@corp.example": person("x-1", "email", like)})
			refusedWith(t, w.browser().signIn("x@corp.example", ""), "sso_email")
		}
	})
	t.Run("of an address that the issuer has not verified", func(t *testing.T) {
		d.people(map[string]any{"x@corp.example": person("x-1", "email_verified", false)})
		refusedWith(t, w.browser().signIn("x@corp.example", ""), "sso_email")
	})
	t.Run("who says no at the issuer", func(t *testing.T) {
		d.people(map[string]any{"x@corp.example": person("x-1", "refuses", true)})
		at := w.browser().signIn("x@corp.example", "/account?tab=1")
		refusedWith(t, at, "sso_denied")
		if strings.Contains(at, "No.") || !strings.Contains(at, "return_to=%2Faccount%3Ftab%3D1") {
			t.Errorf("it ended at %q", at)
		}
	})
	t.Run("who is suspended", func(t *testing.T) {
		userID := w.corp.member("sus@corp.example", "developer")
		owner.do(http.MethodPost, "/v1/members/"+userID+"/suspend", map[string]any{}).want(t, 200)
		refusedWith(t, w.browser().signIn("sus@corp.example", ""), "sso_suspended")
	})
	t.Run("who was removed, until somebody adds him", func(t *testing.T) {
		userID := w.corp.member("rem@corp.example", "developer")
		if a := owner.do(http.MethodDelete, "/v1/members/"+userID, nil); a.status >= 300 {
			t.Fatalf("%d %s", a.status, a.raw)
		}
		refusedWith(t, w.browser().signIn("rem@corp.example", ""), "sso_removed")
		w.corp.member("rem@corp.example", "developer")
		if at := w.browser().signIn("rem@corp.example", ""); at != "/account" {
			t.Errorf("added again, it ended at %q", at)
		}
	})
	t.Run("whom the issuer calls by another name now, until the old one is forgotten", func(t *testing.T) {
		d.people(map[string]any{"two@corp.example": person("two-1")})
		w.browser().signIn("two@corp.example", "")
		d.people(map[string]any{"two@corp.example": person("two-2")})
		refusedWith(t, w.browser().signIn("two@corp.example", ""), "sso_conflict")
		for _, i := range owner.do(http.MethodGet, "/v1/sso/identities?limit=200", nil).want(t, 200).list("data") {
			if i["subject"] == "two-1" {
				owner.do(http.MethodDelete, "/v1/sso/identities/"+i.text("id"), nil).want(t, 204)
			}
		}
		if at := w.browser().signIn("two@corp.example", ""); at != "/account" {
			t.Errorf("it ended at %q", at)
		}
	})
	t.Run("anybody, once the domain is given up", func(t *testing.T) {
		b := w.browser()
		begun := b.do(http.MethodPost, "/v1/sign-in/sso", map[string]any{"email": "late@corp.example"}).want(t, 200)
		for _, dom := range owner.do(http.MethodGet, "/v1/sso/domains", nil).want(t, 200).list("data") {
			owner.do(http.MethodDelete, "/v1/sso/domains/"+dom.text("id"), nil).want(t, 204)
		}
		refusedWith(t, b.follow(begun.text("redirect_url")).location, "sso_email")
		b.do(http.MethodPost, "/v1/sign-in/sso", map[string]any{"email": "late@corp.example"}).want(t, 404)
	})
	t.Run("anybody, by a connection that is disabled", func(t *testing.T) {
		w.corp.domain("corp.example")
		b := w.browser()
		begun := b.do(http.MethodPost, "/v1/sign-in/sso", map[string]any{"email": "late@corp.example"}).want(t, 200)
		owner.do(http.MethodPatch, "/v1/sso/connections/"+c.text("id"), map[string]any{"enabled": false}).want(t, 200)
		refusedWith(t, b.follow(begun.text("redirect_url")).location, "sso_off") // before anybody has vouched for him: summed up
		b.do(http.MethodPost, "/v1/sign-in/sso", map[string]any{"email": "late@corp.example"}).want(t, 404)
	})
	if n := w.corp.audited("sso.refused"); n != "14" {
		t.Errorf("%s refusals were audited", n)
	}
}

// Nobody acts on a peer or a superior, nor does an issuer that one of them has set up.
func TestAConnectionVouchesForNobodyAboveWhoSetItUp(t *testing.T) {
	w := start(t)
	w.corp.domain("corp.example")
	d := w.startDirectory()
	w.corp.member("boss@corp.example", "owner")
	w.corp.member("peer@corp.example", "admin")
	w.corp.member("fin@corp.example", "finance")
	c := d.connect(w.corp, w.corp.admin, map[string]any{"trust_mfa": true})
	for email, reason := range map[string]string{"boss@corp.example": "sso_rank", "peer@corp.example": "sso_rank"} {
		refusedWith(t, w.browser().signIn(email, ""), reason)
	}
	if at := w.browser().signIn("fin@corp.example", ""); !strings.HasPrefix(at, "/account") {
		t.Errorf("one who is lower ended at %q", at)
	}
	path := "/v1/sso/connections/" + c.text("id")
	w.with(w.corp.owner).do(http.MethodPatch, path, map[string]any{"name": "Ours"}).want(t, 200)
	refusedWith(t, w.browser().signIn("boss@corp.example", ""), "sso_rank") // a name says nothing of whom it speaks for
	w.with(w.corp.owner).do(http.MethodPatch, path, map[string]any{}).want(t, 200)
	for _, email := range []string{"boss@corp.example", "peer@corp.example"} {
		if at := w.browser().signIn(email, ""); !strings.HasPrefix(at, "/account") {
			t.Errorf("once an owner has confirmed it, %s ended at %q", email, at)
		}
	}
	w.with(w.corp.admin).do(http.MethodPatch, path, map[string]any{"default_role": "analyst"}).want(t, 200)
	refusedWith(t, w.browser().signIn("boss@corp.example", ""), "sso_rank")
}

// password gives a person one.
func (w *world) password(userID, text string) {
	w.t.Helper()
	phc, err := password.NewHasher(password.Standard(), runtime.GOMAXPROCS(0)).Hash(w.t.Context(), text)
	must(w.t, err)
	w.exec(`INSERT INTO accounts.passwords VALUES ('%s', '%s', now())`, userID, phc)
}

const herons = "eleven purple herons"

func (b *browser) byPassword(email, org string) answer {
	b.t.Helper()
	return b.do(http.MethodPost, "/v1/sign-in", map[string]any{"email": email, "password": herons, "organization_id": org})
}

// A person who is known elsewhere is taken for himself, but what his issuer opens is
// good in its own organisation only.
func TestAnIssuerOpensItsOwnOrganizationOnly(t *testing.T) {
	w := start(t)
	w.corp.domain("corp.example")
	d := w.startDirectory()
	d.connect(w.corp, w.corp.owner, map[string]any{"trust_mfa": true})
	d.people(map[string]any{"ada@corp.example": person("ada-1", "amr", []string{"pwd", "mfa"})})
	userID := w.corp.member("ada@corp.example", "analyst")
	w.other.member("ada@corp.example", "owner")
	w.password(userID, herons)
	b := w.browser()
	if at := b.signIn("ada@corp.example", ""); at != "/account" {
		t.Fatalf("it ended at %q: %s", at, w.log)
	}
	me := b.me()
	if org := me.in("organization"); org["id"] != w.corp.org {
		t.Errorf("she is in %v", org)
	}
	if owner := me.in("owner"); owner["id"] != userID {
		t.Errorf("she is %v; want %s", owner, userID)
	}
	if raw := b.do(http.MethodGet, "/v1/me", nil).raw; strings.Contains(raw, w.other.org) {
		t.Errorf("her issuer learns where else she is: %s", raw)
	}
	for what, a := range map[string]answer{
		"going elsewhere":     b.do(http.MethodPost, "/v1/session/organization", map[string]any{"organization_id": w.other.org}),
		"changing a password": b.do(http.MethodPut, "/v1/me/password", map[string]any{"current_password": herons, "new_password": "twelve purple herons"}),
		"enrolling a factor":  b.do(http.MethodPost, "/v1/me/totp", map[string]any{}),
	} {
		if a.status != http.StatusForbidden {
			t.Errorf("%s: %d %s", what, a.status, a.raw)
		}
	}
	w.browser().byPassword("ada@corp.example", w.other.org).want(t, 200)
	if n := w.scalar(`SELECT count(*)::text FROM accounts.sessions WHERE means = 'sso' AND org_id <> '%s'`, w.corp.org); n != "0" {
		t.Errorf("%s sessions elsewhere", n)
	}
}

func TestWhereSingleSignOnIsRequired(t *testing.T) {
	w := start(t)
	w.corp.domain("corp.example")
	d := w.startDirectory()
	c := d.connect(w.corp, w.corp.owner, map[string]any{"required": true, "trust_mfa": true})
	for email, role := range map[string]string{"dev@corp.example": "developer", "boss@corp.example": "owner", "ext@partner.example": "developer"} {
		w.password(w.corp.member(email, role), herons)
	}
	w.other.member("dev@corp.example", "developer")
	refused := w.browser().byPassword("dev@corp.example", w.corp.org)
	if p := refused.want(t, 403); p["reason"] != "sso_required" {
		t.Errorf("%v", p)
	}
	w.browser().byPassword("dev@corp.example", w.other.org).want(t, 200)
	b := w.browser()
	if p := b.byPassword("dev@corp.example", "").want(t, 200); p.in("session")["organization_id"] != w.other.org {
		t.Errorf("%v", p)
	}
	if a := b.do(http.MethodPost, "/v1/session/organization", map[string]any{"organization_id": w.corp.org}); a.status != 403 {
		t.Errorf("by way of another organization: %d %s", a.status, a.raw)
	}
	w.browser().byPassword("boss@corp.example", w.corp.org).want(t, 200) // the glass to break
	w.browser().byPassword("ext@partner.example", w.corp.org).want(t, 200)
	if at := w.browser().signIn("dev@corp.example", ""); at != "/account" {
		t.Errorf("by single sign-on it ended at %q", at)
	}
	w.with(w.corp.owner).do(http.MethodPatch, "/v1/sso/connections/"+c.text("id"), map[string]any{"required": false}).want(t, 200)
	w.browser().byPassword("dev@corp.example", w.corp.org).want(t, 200)
}

// enrol gives a person an authenticator app, by a session of his own.
func (w *world) enrol(email, org string) (secret string) {
	w.t.Helper()
	b := w.browser()
	b.byPassword(email, org).want(w.t, 200)
	secret = b.do(http.MethodPost, "/v1/me/totp", map[string]any{}).want(w.t, 200).text("secret")
	b.do(http.MethodPost, "/v1/me/totp/confirm", map[string]any{"code": w.code(secret)}).want(w.t, 200)
	return secret
}

func (w *world) code(secret string) string {
	code, err := totp.GenerateCode(strings.ReplaceAll(secret, " ", ""), w.now())
	must(w.t, err)
	return code
}

func TestTheSecondFactor(t *testing.T) {
	w := start(t)
	w.corp.domain("corp.example")
	d := w.startDirectory()
	c := d.connect(w.corp, w.corp.owner, nil)
	w.password(w.corp.member("ada@corp.example", "developer"), herons)
	secret := w.enrol("ada@corp.example", w.corp.org)
	w.skew.Store(int64(time.Minute)) // for a code that was not used
	d.people(map[string]any{"ada@corp.example": person("ada-1", "amr", []string{"pwd", "mfa"})})

	t.Run("an issuer that is not trusted with it", func(t *testing.T) {
		b := w.browser()
		at, err := url.Parse(b.signIn("ada@corp.example", "/account?tab=2"))
		must(t, err)
		given, err := url.ParseQuery(at.Fragment)
		must(t, err)
		if at.Path != "/sign-in/second-factor" || at.Query().Get("return_to") != "/account?tab=2" || given.Get("challenge") == "" || !strings.Contains(given.Get("methods"), "totp") {
			t.Fatalf("it ended at %s", at)
		}
		if b.me() != nil {
			t.Error("there is a session already")
		}
		signed := b.do(http.MethodPost, "/v1/sign-in/second-factor", map[string]any{"challenge": given.Get("challenge"), "totp": w.code(secret)}).want(t, 200)
		if p := b.do(http.MethodPost, "/v1/session/step-up/sso", map[string]any{}).want(t, 409); p["reason"] != "second_factor" {
			t.Errorf("who has a factor proves himself by another: %v", p)
		}
		if s := signed.in("session"); s["means"] != "sso" || s["mfa"] != true || s["organization_id"] != w.corp.org {
			t.Errorf("session %v", s)
		}
	})
	t.Run("an issuer that is trusted with it", func(t *testing.T) {
		w.with(w.corp.owner).do(http.MethodPatch, "/v1/sso/connections/"+c.text("id"), map[string]any{"trust_mfa": true}).want(t, 200)
		if at := w.browser().signIn("ada@corp.example", ""); at != "/account" {
			t.Errorf("it ended at %q", at)
		}
		if mfa := w.scalar(`SELECT mfa::text FROM accounts.sessions WHERE means = 'sso' ORDER BY created_at DESC LIMIT 1`); mfa != "true" {
			t.Error("the session does not say so")
		}
	})
	t.Run("an issuer that is trusted, and did not ask for one", func(t *testing.T) {
		d.people(map[string]any{"ada@corp.example": person("ada-1", "amr", []string{"pwd"})})
		if at := w.browser().signIn("ada@corp.example", ""); !strings.HasPrefix(at, "/sign-in/second-factor#") {
			t.Errorf("it ended at %q", at)
		}
	})
}

func TestProvingOneselfAgainAtTheIssuer(t *testing.T) {
	w := start(t)
	w.corp.domain("corp.example")
	d := w.startDirectory()
	d.connect(w.corp, w.corp.owner, map[string]any{"trust_mfa": true})
	d.people(map[string]any{"ada@corp.example": person("ada-1", "amr", []string{"mfa"})})
	w.corp.member("ada@corp.example", "admin")
	b := w.browser()
	if at := b.signIn("ada@corp.example", ""); at != "/account" {
		t.Fatalf("it ended at %q: %s", at, w.log)
	}
	w.exec(`UPDATE accounts.sessions SET proved_at = proved_at - interval '1 hour' WHERE means = 'sso'`)
	before := b.do(http.MethodGet, "/v1/sessions", nil).want(t, 200)
	sensitive := func() answer {
		return b.do(http.MethodPost, "/v1/sso/domains", map[string]any{"domain": "new.example"})
	}
	time.Sleep(1100 * time.Millisecond) // the longest that a session is known as it was
	if p := sensitive().want(t, 403); p["reason"] != "step_up" {
		t.Fatalf("%v", p)
	}
	begun := b.do(http.MethodPost, "/v1/session/step-up/sso", map[string]any{"return_to": "/account?then=1"}).want(t, 200)
	if u, err := url.Parse(begun.text("redirect_url")); err != nil || u.Query().Get("prompt") != "login" || u.Query().Get("max_age") != "0" {
		t.Errorf("%v", begun)
	}
	// The directory lets in whom the hint names; nobody is named, so it is told.
	to := begun.text("redirect_url") + "&login_hint=ada%40corp.example"
	if at := b.follow(to).location; at != "/account?then=1" {
		t.Fatalf("it ended at %q: %s", at, w.log)
	}
	sensitive().want(t, 201)
	if after := b.do(http.MethodGet, "/v1/sessions", nil).want(t, 200); len(after.list("data")) != len(before.list("data")) {
		t.Errorf("there is another session: %v", after)
	}

	t.Run("another person comes back", func(t *testing.T) {
		begun := b.do(http.MethodPost, "/v1/session/step-up/sso", map[string]any{}).want(t, 200)
		d.people(map[string]any{"eve@corp.example": person("eve-1", "amr", []string{"mfa"})})
		b.forgetIssuer()
		refusedWith(t, b.follow(begun.text("redirect_url")+"&login_hint=eve%40corp.example").location, "sso_mismatch")
	})
	t.Run("a session by a password", func(t *testing.T) {
		w.password(w.corp.member("pw@corp.example", "developer"), herons)
		b := w.browser()
		b.byPassword("pw@corp.example", w.corp.org).want(t, 200)
		b.do(http.MethodPost, "/v1/session/step-up/sso", map[string]any{}).want(t, 409)
	})
	t.Run("a key", func(t *testing.T) {
		w.with(w.corp.owner).do(http.MethodPost, "/v1/session/step-up/sso", map[string]any{}).want(t, 403)
	})
}

// What an issuer has let in does not outlive the trust in it.
func TestSessionsEndWithTheTrustInTheIssuer(t *testing.T) {
	w := start(t)
	w.corp.domain("corp.example")
	d := w.startDirectory()
	c := d.connect(w.corp, w.corp.owner, map[string]any{"default_role": "analyst"})
	d.people(map[string]any{"ada@corp.example": person("ada-1")})
	desk, connection := w.with(w.corp.owner), "/v1/sso/connections/"+c.text("id")
	byPassword := w.corp.member("eve@corp.example", "analyst")
	w.password(byPassword, herons)
	own := w.browser()
	own.byPassword("eve@corp.example", w.corp.org).want(t, 200)
	ends := func(what string, act func()) {
		t.Helper()
		b := w.browser()
		if at := b.signIn("ada@corp.example", ""); at != "/account" {
			t.Fatalf("before %s it ended at %q: %s", what, at, w.log)
		}
		act()
		end := time.Now().Add(5 * time.Second)
		for b.do(http.MethodGet, "/v1/me", nil).status != http.StatusUnauthorized {
			if time.Now().After(end) {
				t.Fatalf("the session outlives %s", what)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	ends("an identity that is unlinked", func() {
		list := desk.do(http.MethodGet, "/v1/sso/identities", nil).want(t, 200).list("data")
		desk.do(http.MethodDelete, "/v1/sso/identities/"+list[0].text("id"), nil).want(t, 204)
	})
	ends("a connection that is turned off", func() {
		desk.do(http.MethodPatch, connection, map[string]any{"enabled": false}).want(t, 200)
	})
	desk.do(http.MethodPatch, connection, map[string]any{"enabled": true}).want(t, 200)
	ends("a domain that is removed", func() {
		list := desk.do(http.MethodGet, "/v1/sso/domains", nil).want(t, 200).list("data")
		desk.do(http.MethodDelete, "/v1/sso/domains/"+list[0].text("id"), nil).want(t, 204)
	})
	w.corp.domain("corp.example")
	ends("a connection that is deleted", func() { desk.do(http.MethodDelete, connection, nil).want(t, 204) })
	if a := own.do(http.MethodGet, "/v1/me", nil); a.status != http.StatusOK {
		t.Errorf("a session by password: %d", a.status)
	}
}
