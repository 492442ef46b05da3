package browser_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/tests/harness"
)

// TestJourneys is everything that people do on the pages.
func TestJourneys(t *testing.T) {
	w := newWorld(t)
	for _, journey := range []struct {
		name string
		walk func(*testing.T, *world)
	}{
		{"from an invitation to a second factor", invited},
		{"a role that needs a second factor", forced},
		{"an invitation to who has an account", invitedAgain},
		{"a passkey", passkey},
		{"a forgotten password", forgotten},
		{"sessions", sessions},
		{"a program that asks", consent},
		{"a device that asks", device},
		{"mistakes", mistakes},
		{"links that lie", lies},
		{"pages of others", others},
		{"looks", looks},
	} {
		t.Run(journey.name, func(t *testing.T) { journey.walk(t, w) })
	}
}

func invited(t *testing.T, w *world) {
	p := w.browse(t)
	p.open(w.invite(t, "mara@one.example", "developer"))
	p.sees("You were invited as Developer")
	if got := p.address(); got != "/invitation" {
		t.Errorf("the address keeps the secret: %s", got)
	}
	p.fill("Your name", "Mara")
	p.fill("Choose a password", "short")
	p.press("Create account and join")
	p.sees("12 characters")
	if got := p.value("Your name"); got != "Mara" {
		t.Errorf("what was typed became %q", got)
	}
	p.fill("Choose a password", good)
	p.press("Create account and join")
	p.loaded()
	p.sees("mara@one.example")

	p.fill("Name", "Mara Lindqvist")
	p.fill("Time zone", "Europe/Nowhere")
	p.press("Save")
	p.sees("There is no time zone of this name")
	p.fill("Time zone", "Europe/Stockholm")
	p.choose("Language and region", "svenska")
	p.press("Save")
	p.sees("Saved")
	p.open("/account")
	p.loaded()
	for label, want := range map[string]string{"Name": "Mara Lindqvist", "Time zone": "Europe/Stockholm", "Language and region": "sv", "E-mail": "mara@one.example"} {
		if got := p.value(label); got != want {
			t.Errorf("%s is %q after it was saved; want %q", label, got, want)
		}
	}

	a, codes := p.enrol()
	if len(codes) != 10 {
		t.Errorf("%d recovery codes", len(codes))
	}
	p.sees("10 are left")
	p.press("Sign out")
	p.arrives("/sign-in")
	p.open("/account") // the session is gone, not the page alone
	p.arrives("/sign-in?return_to=%2Faccount")
	p.signIn("mara@one.example", good)
	p.fill("Code from your authenticator app", "000000")
	p.sees("The second factor was not accepted")
	p.show(a, "Code from your authenticator app")
	p.loaded()

	p.press("Sign out")
	p.arrives("/sign-in")
	p.signIn("mara@one.example", good)
	p.press("Use a recovery code")
	p.fill("Recovery code", strings.ToUpper(codes[3]))
	p.press("Continue")
	p.loaded()
	p.sees("9 are left")

	p.press("Turn off")
	p.press("Turn off")
	p.misses("Recovery codes")
	p.press("Sign out")
	p.arrives("/sign-in")
	p.signIn("mara@one.example", good)
	p.loaded()
}

func forced(t *testing.T, w *world) {
	p := w.browse(t)
	p.join(w.invite(t, "finn@one.example", "finance"), "Finn")
	p.sees("Your role needs a second factor")
	if got := p.address(); got != "/account" && got != "/account#security" {
		t.Errorf("at %s", got)
	}
	p.enrol()
	p.misses("Your role needs a second factor")
	p.press("Turn off")
	p.press("Turn off")
	p.sees("needs a second factor: add another before you remove the last one")
}

func invitedAgain(t *testing.T, w *world) {
	p := w.browse(t)
	p.join(w.invite(t, "twice@one.example", "developer"), "Twice")
	first := p.organizations()

	other := w.organization(t, "Contoso", "twice@one.example")
	p.open(other)
	p.sees("You are signed in as twice@one.example")
	p.press("Accept the invitation")
	p.loaded()
	all := p.organizations()
	if len(first) > 1 || len(all) != 2 {
		t.Fatalf("organizations: %v, then %v; want two", first, all)
	}
	p.choose("Organization", "Contoso")
	p.eventually("the other organization", func() (bool, string) {
		name, err := evaluate[string](p, `fetch("/v1/me").then((r) => r.json()).then((me) => me.organization.name)`)
		return err == nil && name == "Contoso", name
	})
	p.loaded()

	stranger := w.browse(t)
	link := w.organization(t, "Fabrikam", "twice@one.example")
	stranger.open(link)
	stranger.press("I have an account")
	stranger.fill("Your password", "not the right one at all")
	stranger.press("Sign in and join")
	stranger.eventually("a refusal", func() (bool, string) { return stranger.alert() != "", "none" })
	stranger.fill("Your password", good)
	stranger.press("Sign in and join")
	stranger.loaded()
	stranger.open(link)
	stranger.sees("This invitation can’t be used")
}

// alert is the error that is shown above a form.
func (p *tab) alert() string {
	text, err := evaluate[string](p, `[...document.querySelectorAll("[data-problem]:not([hidden])")].map((e) => e.innerText).join("\n")`)
	if err != nil {
		return ""
	}
	return text
}

// organizations are those that the person may go to.
func (p *tab) organizations() []string {
	p.t.Helper()
	names, err := evaluate[[]string](p, `fetch("/v1/me").then((r) => r.json()).then((me) => me.organizations.map((o) => o.name))`)
	harness.Must(p.t, err)
	return names
}

// organization makes another one, and invites somebody to it as a developer.
func (w *world) organization(t *testing.T, name, email string) (link string) {
	t.Helper()
	var org struct{ ID string }
	slug := strings.ToLower(name)
	w.Manage(t, harness.Call{
		Path: "/v1/organizations", Key: w.PlatformKey,
		Body: `{"name":"` + name + `","slug":"` + slug + `","plan":"starter","owner":{"email":"owner@` + slug + `.example"}}`,
	}, http.StatusCreated, &org)
	owner := w.browse(t)
	w.firstPassword(t, owner, "owner@"+slug+".example")
	owner.open("/sign-in")
	owner.signIn("owner@"+slug+".example", good)
	owner.loaded()
	owner.enrol()
	if _, err := evaluate[float64](owner, `fetch("/v1/invitations", { method: "POST", headers: { "Content-Type": "application/json" },
		body: JSON.stringify({ email: "`+email+`", role: "developer" }) }).then((r) => r.status === 201 ? r.status : r.text().then((text) => { throw new Error(text) }))`); err != nil {
		t.Fatalf("invite: %v", err)
	}
	return w.link(t, email, "/invitation")
}

// firstPassword sets the password of who was added as a member, by the way of a
// forgotten one.
func (w *world) firstPassword(t *testing.T, p *tab, email string) {
	t.Helper()
	p.open("/forgot-password")
	p.fill("E-mail", email)
	p.press("Send the link")
	p.sees("Look into your mailbox")
	p.open(w.link(t, email, "/reset-password"))
	p.fill("New password", good)
	p.press("Set password")
	p.sees("Password set")
}

func forgotten(t *testing.T, w *world) {
	p := w.browse(t)
	p.join(w.invite(t, "fay@one.example", "developer"), "Fay")
	a, codes := p.enrol()

	q := w.browse(t) // another browser
	q.open("/sign-in")
	q.fill("E-mail", "fay@one.example")
	q.press("Forgot?")
	q.arrives("/forgot-password")
	q.eventually("what was typed", func() (bool, string) { return q.value("E-mail") == "fay@one.example", q.value("E-mail") })
	q.press("Send the link")
	q.sees("Look into your mailbox")
	link := w.link(t, "fay@one.example", "/reset-password")
	q.open(link)
	q.fill("New password", "password1234")
	q.press("Set password")
	q.sees("easy to guess")
	const fresh = "eleven purple herons"
	q.fill("New password", fresh)
	q.press("Set password")
	q.sees("Your account has a second factor")
	q.show(a, "Code from your authenticator app")
	q.sees("Password set")

	p.press("New codes") // the session of the first browser has ended
	p.press("Make new codes")
	p.eventually("the sign-in", func() (bool, string) { return strings.HasPrefix(p.address(), "/sign-in?"), "" })
	p.signIn("fay@one.example", good)
	p.sees("is not right")
	p.signIn("fay@one.example", fresh)
	p.press("Use a recovery code")
	p.fill("Recovery code", codes[0])
	p.press("Continue")
	p.loaded()

	q.open(link)
	q.fill("New password", "another good one that nobody knows")
	q.press("Set password")
	q.sees("The link is not good any more")
	q.open("/reset-password")
	q.sees("This link is not complete")
}

func sessions(t *testing.T, w *world) {
	one, two := w.browse(t), w.browse(t)
	one.join(w.invite(t, "sam@one.example", "developer"), "Sam")
	two.open("/sign-in")
	two.signIn("sam@one.example", good)
	two.loaded()

	one.open("/account")
	one.loaded()
	one.sees("This one")
	if n := one.listed(); n != 2 {
		t.Errorf("%d sessions are listed; want 2", n)
	}
	one.press("End Chrome on Linux")
	one.sees("Session ended")
	if n := one.listed(); n != 1 {
		t.Errorf("%d sessions are left; want 1", n)
	}
	two.open("/account")
	two.arrives("/sign-in?return_to=%2Faccount")

	for range 2 {
		q := w.browse(t)
		q.open("/sign-in")
		q.signIn("sam@one.example", good)
		q.loaded()
	}
	two.signIn("sam@one.example", good)
	two.loaded()
	two.press("End all others")
	two.press("End them")
	two.sees("All others were ended")
	if n := two.listed(); n != 1 {
		t.Errorf("%d sessions are left; want 1", n)
	}
	one.press("Save") // nothing was announced to it
	one.eventually("the sign-in", func() (bool, string) { return strings.HasPrefix(one.address(), "/sign-in?return_to=%2Faccount"), "" })

	// Who has no second factor proves himself by the password.
	two.aged("sam@one.example")
	two.press("Set up")
	two.fill("Password", "what it never was")
	two.press("Continue")
	two.eventually("a refusal", func() (bool, string) { return two.alert() != "" || two.refused("password"), "none" })
	two.fill("Password", good)
	two.press("Continue")
	two.sees("Scan this with your authenticator app")
	two.press("Close")

	two.press("Change")
	two.fill("Current password", "what it never was")
	two.fill("New password", "nine orange lanterns drift")
	two.press("Change password")
	two.eventually("a refusal", func() (bool, string) {
		return strings.Contains(two.text(), "assword") && two.refused("current_password"), ""
	})
	two.fill("Current password", good)
	two.press("Change password")
	two.sees("Password changed")
}

// refused reports whether a field is marked as wrong.
func (p *tab) refused(name string) bool {
	ok, err := evaluate[bool](p, `document.querySelector("[name=`+name+`]").getAttribute("aria-invalid") === "true"`)
	return err == nil && ok
}

// listed is how many sessions the page shows.
func (p *tab) listed() int {
	p.t.Helper()
	n, err := evaluate[int](p, `document.querySelectorAll("#session-list li").length`)
	harness.Must(p.t, err)
	return n
}

func mistakes(t *testing.T, w *world) {
	p := w.browse(t)
	p.open("/sign-in")
	p.press("Sign in")
	p.sees("“E-mail” is missing")
	p.sees("“Password” is missing")
	if got, err := evaluate[string](p, `document.activeElement.id`); err != nil || got != "email" {
		t.Errorf("the focus is on %q, %v; want the first field that is wrong", got, err)
	}
	p.fill("E-mail", "nobody")
	p.fill("Password", "whatever it is")
	p.press("Sign in")
	p.sees("This is no e-mail address")
	p.fill("E-mail", "nobody@nowhere.example")
	p.press("Sign in")
	p.sees("is not right")
	if got := p.value("E-mail") + " " + p.value("Password"); got != "nobody@nowhere.example whatever it is" {
		t.Errorf("what was typed became %q", got)
	}
	if got, err := evaluate[string](p, `document.activeElement.getAttribute("role")`); err != nil || got != "alert" {
		t.Errorf("the focus is on %q, %v; want the error", got, err)
	}
	p.press("Show password")
	if kind, err := evaluate[string](p, `document.querySelector("#password").type`); err != nil || kind != "text" {
		t.Errorf("the password is a field of type %q, %v", kind, err)
	}

	p.press("Use single sign-on")
	p.sees("Nobody with an address of this domain signs in by single sign-on")

	for range 30 { // guesses are slowed down, and the page says until when
		p.press("Sign in")
		p.eventually("an answer", func() (bool, string) { return p.alert() != "", "none" })
		if strings.Contains(p.text(), "Try again in") {
			return
		}
	}
	t.Errorf("thirty guesses, and no end: %s", p.text())
}

// lies are links to our pages that would lead elsewhere.
func lies(t *testing.T, w *world) {
	p := w.browse(t)
	p.join(w.invite(t, "lea@one.example", "developer"), "Lea")
	for _, to := range []string{"//evil.example/", "https://evil.example/", `/\evil.example/`, "/%09/evil.example/", "javascript:document.title='x'", "/%2Fevil.example"} {
		p.press("Sign out")
		p.arrives("/sign-in")
		p.open("/sign-in?return_to=" + to)
		p.signIn("lea@one.example", good)
		p.arrives("/account")
		p.loaded()
	}
	p.press("Sign out")
	p.arrives("/sign-in")
	p.open("/sign-in?return_to=/device%3Fuser_code%3DBCDF")
	p.signIn("lea@one.example", good)
	p.arrives("/device?user_code=BCDF")
}
