package people_test

import (
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

var invited = regexp.MustCompile(`http://localhost:8080/invitation#token=(aiaas_invitation_[A-Za-z0-9_-]{43})\s`)

// invitation is the token of the last invitation that was sent to an address.
func (w *world) invitation(to string) string {
	w.t.Helper()
	token := ""
	for _, m := range w.mails(to) {
		if found := invited.FindStringSubmatch(m.Text); found != nil {
			token = found[1]
		}
	}
	if token == "" {
		w.t.Fatalf("%s got no invitation", to)
	}
	return token
}

// admin is an owner who has signed in with a second factor.
func (w *world) admin(name string, o organization) *client {
	w.t.Helper()
	c := w.browser()
	c.signsIn(w.person(name, o, "owner"))
	c.enrols(w)
	return c
}

// invites invites an address, and returns the id.
func (c *client) invites(email, role string) string {
	c.t.Helper()
	return text(c.post("/v1/invitations", object{"email": email, "role": role}).want(http.StatusCreated), "id")
}

// part is an object within another.
func part(v object, name string) object {
	inner, _ := v[name].(object)
	return inner
}

// parts is a list within an object.
func parts(v object, name string) []any {
	list, _ := v[name].([]any)
	return list
}

func accepting(token string) object {
	return object{"token": token, "name": "Ada Lovelace", "password": secret}
}

func TestFromTheInvitationToTheProfile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.admin("olga", w.one)
	owner.invites("Ada@Example.com", "developer")

	mails := w.mails("ada@example.com")
	if len(mails) != 1 || mails[0].Subject != "You are invited to “Acme”" {
		t.Fatalf("%+v", mails)
	}
	for _, want := range []string{"Role: developer", "Invited by: Somebody", "19 October 2026", "as somebody who was invited by a member of Acme"} {
		if !strings.Contains(mails[0].Text, want) {
			t.Errorf("the mail does not say %q:\n%s", want, mails[0].Text)
		}
	}
	ada := w.browser()
	token := w.invitation("ada@example.com")
	if offer := ada.post("/v1/invitations/inspect", object{"token": token}).want(http.StatusOK); offer["organization"] != "Acme" || offer["email"] != "a…@example.com" {
		t.Errorf("the offer is %v", offer)
	}
	ada.post("/v1/invitations/accept", object{"token": token, "name": "Ada", "password": "password12345"}).want(http.StatusUnprocessableEntity) // too easy
	in := ada.post("/v1/invitations/accept", accepting(token)).want(http.StatusOK)
	if in["status"] != "signed_in" || in["token"] != nil || !ada.works() {
		t.Fatalf("the answer is %v", in)
	}
	me := ada.do(http.MethodPatch, "/v1/me", object{"time_zone": "Europe/London", "locale": "en-GB", "mail": object{"budgets": false}}).want(http.StatusOK)
	if p := part(me, "person"); p["email"] != "ada@example.com" || p["email_verified"] != true || p["name"] != "Ada Lovelace" {
		t.Errorf("the person is %v", p)
	}
	if p := part(me, "profile"); p["time_zone"] != "Europe/London" || part(p, "mail")["budgets"] != false {
		t.Errorf("the profile is %v", p)
	}

	ada.post("/v1/invitations/accept", accepting(token)).want(http.StatusNotFound)
	w.browser().signsIn(&person{w: w, email: "ada@example.com"})
	w.run("notifications", "dispatch")
	if len(w.mailed("ada@example.com", "You were added to “Acme”")) != 0 || len(w.mailed("ada@example.com", "New sign-in to your account")) != 1 {
		t.Errorf("who has accepted is told that she was added, or not of the new browser: %v", w.mails("ada@example.com"))
	}
	list := parts(owner.get("/v1/invitations").want(http.StatusOK), "data")
	if one, _ := list[0].(object); one["status"] != "accepted" || one["member_id"] != part(me, "person")["id"] {
		t.Errorf("the owner sees %v", one)
	}
	for _, action := range []string{"invitation.create", "invitation.accept", "member.add", "profile.update"} {
		if n := w.audited(w.one, action); n != "1" {
			t.Errorf("%s records of %s", n, action)
		}
	}
	if log := w.log.String(); strings.Contains(log, token) || strings.Contains(log, secret) {
		t.Error("a secret is in the log")
	}
}

func TestWhoHasASecondFactorShowsItToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	first := w.browser()
	first.signsIn(ada)
	app := first.enrols(w)
	w.admin("wanda", w.two).invites(ada.email, "analyst")
	token := w.invitation(ada.email)

	b := w.browser()
	b.post("/v1/invitations/accept", object{"token": token}).want(http.StatusUnprocessableEntity)
	b.post("/v1/invitations/accept", object{"token": token, "password": "another one, surely"}).want(http.StatusUnauthorized)
	asked := b.post("/v1/invitations/accept", object{"token": token, "password": secret}).want(http.StatusOK)
	if asked["status"] != "second_factor_required" || b.works() {
		t.Fatalf("the answer is %v", asked)
	}
	b.post("/v1/sign-in/second-factor", object{"challenge": asked["challenge"], "totp": app.code()}).want(http.StatusOK)
	me := b.get("/v1/me").want(http.StatusOK)
	if part(me, "organization")["id"] != w.two.id || len(parts(me, "organizations")) != 2 {
		t.Errorf("it leads to %v", me["organization"])
	}
}

// Who came by single sign-on so far has no password, and sets one by the link; what
// protects the account stays.
func TestAFirstPasswordPassesNoSecondFactor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	first := w.browser()
	first.signsIn(ada)
	app := first.enrols(w)
	w.exec(`DELETE FROM accounts.passwords WHERE user_id = '%s'`, ada.id)
	w.admin("wanda", w.two).invites(ada.email, "analyst")
	b := w.browser()
	asked := b.post("/v1/invitations/accept", accepting(w.invitation(ada.email))).want(http.StatusOK)
	if asked["status"] != "second_factor_required" || b.works() {
		t.Fatalf("the answer is %v", asked)
	}
	b.post("/v1/sign-in/second-factor", object{"challenge": asked["challenge"], "totp": app.code()}).want(http.StatusOK)
	if !b.works() {
		t.Error("the second factor leads nowhere")
	}
}

func TestWhoIsSignedInAcceptsWithoutAPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, eve := w.person("ada", w.one, "developer"), w.person("eve", w.one, "developer")
	w.admin("wanda", w.two).invites(ada.email, "analyst")
	token := w.invitation(ada.email)

	wrong := w.browser()
	wrong.signsIn(eve)
	wrong.post("/v1/invitations/accept", object{"token": token}).want(http.StatusForbidden)
	b := w.browser()
	b.signsIn(ada)
	old := b.cookie("aiaas_session")
	b.post("/v1/invitations/accept", object{"token": token}).want(http.StatusOK)
	if me := b.get("/v1/me").want(http.StatusOK); part(me, "organization")["id"] != w.two.id {
		t.Errorf("it leads to %v", me["organization"])
	}
	thief := w.browser()
	if thief.token = old; thief.works() {
		t.Error("the session before works on")
	}
}

func TestAPageOfAnotherSiteAcceptsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	w.admin("wanda", w.two).invites(ada.email, "analyst")
	b := w.browser()
	b.signsIn(ada)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.base+"/v1/invitations/accept", strings.NewReader(`{"token":"`+w.invitation(ada.email)+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	resp, err := b.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("%d, %v", resp.StatusCode, err)
	}
}

func TestAnInvitationIsSentAgainWithdrawnAndExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.admin("olga", w.one)
	id := owner.invites("ada@example.com", "developer")
	first := w.invitation("ada@example.com")
	if a := owner.post("/v1/invitations/"+id+"/resend", nil); a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" {
		t.Errorf("sent again at once: %d, %v", a.status, a.header)
	}
	w.advance(2 * time.Minute)
	owner.post("/v1/invitations/"+id+"/resend", nil).want(http.StatusOK)
	second := w.invitation("ada@example.com")
	b := w.browser()
	dead := b.post("/v1/invitations/accept", accepting(first))
	dead.want(http.StatusNotFound)
	b.post("/v1/invitations/inspect", object{"token": second}).want(http.StatusOK)
	owner.do(http.MethodDelete, "/v1/invitations/"+id, nil).want(http.StatusNoContent)
	if gone := b.post("/v1/invitations/accept", accepting(second)); !sameBut(dead, gone) {
		t.Errorf("one dead link answers %s, another %s", dead.raw, gone.raw)
	}

	late := owner.invites("ada@example.com", "developer")
	third := w.invitation("ada@example.com")
	w.advance(7*24*time.Hour - time.Second)
	b.post("/v1/invitations/inspect", object{"token": third}).want(http.StatusOK)
	w.advance(time.Second)
	if gone := b.post("/v1/invitations/accept", accepting(third)); !sameBut(dead, gone) {
		t.Errorf("one that has expired answers %s", gone.raw)
	}
	if counts := w.run("identity", "invitations"); counts["expired"] != 1 || w.audited(w.one, "invitation.expire") != "1" {
		t.Errorf("%v were ended", counts)
	}
	if status := w.scalar(`SELECT status FROM accounts.invitations WHERE invitation_id = '%s'`, late); status != "expired" {
		t.Errorf("it is %s", status)
	}
	if n := w.scalar(`SELECT count(*)::text FROM accounts.users WHERE email = 'ada@example.com'`); n != "0" {
		t.Error("one of the links has made a person")
	}
}

func TestFiftyAcceptancesOverTwoProcesses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada", w.one, "developer")
	w.admin("wanda", w.two).invites(ada.email, "analyst")
	token := w.invitation(ada.email)
	// All are signed in already, so that none waits for a hash.
	clients := make([]*client, 50)
	processes := []*process{w.first, w.start()}
	c := w.browser()
	c.signsIn(ada, "transport", "bearer")
	for n := range clients {
		clients[n] = processes[n%2].browser()
		clients[n].token = c.token
	}
	var mu sync.Mutex
	codes := map[int]int{}
	var group sync.WaitGroup
	for _, c := range clients {
		group.Go(func() {
			a := c.post("/v1/invitations/accept", object{"token": token, "transport": "bearer"})
			mu.Lock()
			defer mu.Unlock()
			codes[a.status]++
		})
	}
	group.Wait()
	// Who comes late finds it taken, or the session replaced.
	if codes[http.StatusOK] != 1 || codes[http.StatusNotFound]+codes[http.StatusUnprocessableEntity] != 49 {
		t.Errorf("the answers are %v", codes)
	}
	if n := w.scalar(`SELECT count(*)::text FROM accounts.members WHERE org_id = '%s' AND user_id = '%s'`, w.two.id, ada.id); n != "1" || w.audited(w.two, "member.add") != "1" {
		t.Errorf("%s memberships", n)
	}
}

func TestAnInvitationFallsWithWhoMadeIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.admin("olga", w.one)
	owner.invites("mallory@example.com", "developer")
	token := w.invitation("mallory@example.com")
	w.exec(`UPDATE accounts.members SET status = 'suspended' WHERE org_id = '%s'`, w.one.id)
	w.browser().post("/v1/invitations/accept", accepting(token)).want(http.StatusNotFound)
}

// A member whom an admin added comes in by the same way as who forgot a password.
func TestWhoWasAddedSetsAFirstPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.admin("olga", w.one)
	owner.post("/v1/members", object{"email": "bo@example.com", "role": "developer"}).want(http.StatusCreated)
	w.run("notifications", "dispatch")
	mails := w.mails("bo@example.com")
	if len(mails) != 1 || !strings.Contains(mails[0].Text, "http://localhost:8080/forgot-password") {
		t.Fatalf("%+v", mails)
	}
	b := w.browser()
	bo := &person{w: w, email: "bo@example.com"}
	b.post("/v1/password/reset", object{"token": b.link(w, bo), "password": secret}).want(http.StatusOK)
	b.signsIn(bo)
	if !b.works() {
		t.Error("it does not work")
	}
}

func TestHostileNamesInInvitations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.admin("olga", w.one)
	for name, text := range map[string]string{
		"header": "x\r\nBcc: eve@example.com", "markup": `<img src=https://evil.example.com/p.png>`, "link": "https://evil.example.com/login", "bidi": "a\u202eb",
	} {
		w.exec(`UPDATE accounts.organizations SET name = '%s' WHERE org_id = '%s'; UPDATE accounts.members SET name = '%[1]s' WHERE org_id = '%[2]s'`, text, w.one.id)
		to := name + "@example.com"
		owner.invites(to, "developer")
		m := w.mails(to)[0]
		if m.To != to || strings.ContainsAny(m.Subject, "\r\n\u202e") || strings.Contains(m.Text+m.HTML, "evil.example.com") || strings.Contains(m.HTML, "<img") {
			t.Errorf("%s: %q\n%s", name, m.Subject, m.Text)
		}
		w.invitation(to) // its link is still ours
	}
	if n := len(w.mails("eve@example.com")); n != 0 {
		t.Errorf("%d mails to somebody else", n)
	}
}
