package browser_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"golang.org/x/oauth2"

	"github.com/aiaas/aiaas/tests/harness"
)

// shape is how a page is looked at.
type shape struct {
	name   string
	width  int64
	scheme string
}

func shapes() []shape {
	return []shape{{"light", 1200, "light"}, {"dark", 1200, "dark"}, {"phone", 360, "light"}, {"phone-dark", 360, "dark"}}
}

// looks holds every page, in light and dark and as wide as a small phone, to the rules
// of WCAG 2.2 AA as far as a program can, and to fit. SHOTS names a folder for pictures.
func looks(t *testing.T, w *world) {
	axe := script(t)
	p := w.browse(t)
	p.join(w.invite(t, "lou@one.example", "developer"), "Lou Andreas")
	stranger := w.browse(t)
	invitation := w.invite(t, "new@one.example", "analyst")

	view := func(p *tab, name string) { p.view(axe, name) }
	for _, page := range []string{"/sign-in", "/forgot-password", "/reset-password#token=x", "/reset-password", "/device", "/invitation"} {
		stranger.open(page)
		stranger.settled()
		view(stranger, "stranger "+page)
	}
	stranger.open("/sign-in?error=sso_denied")
	stranger.settled()
	view(stranger, "sign-in refused")
	stranger.open("/sign-in")
	stranger.press("Sign in")
	stranger.sees("is missing")
	view(stranger, "sign-in empty")
	stranger.open(invitation)
	stranger.sees("I’m new here")
	view(stranger, "invitation")
	stranger.press("I have an account")
	view(stranger, "invitation known")

	p.open("/account")
	p.loaded()
	view(p, "account")
	p.press("Change")
	view(p, "account password")
	p.press("Close")
	p.press("Set up")
	p.press("Can’t scan it?")
	p.sees("Enter this secret")
	view(p, "account app")
	p.press("Close")
	p.authenticator()
	p.press("Add")
	view(p, "account passkey name")
	p.press("Continue")
	p.sees("Keep your recovery codes")
	view(p, "account codes")
	p.press("I have kept them")
	p.loaded()
	view(p, "account with a passkey")
	p.aged("lou@one.example")
	p.press("New codes")
	view(p, "account sure")
	p.press("Make new codes")
	p.sees("For a sensitive step like this, we ask again")
	view(p, "account step-up")
	p.press("Use a recovery code")
	view(p, "account step-up code")
	p.press("Close")
	p.press("Cancel")
	p.open("/oauth/consent?request=x")
	p.sees("Nothing to allow")
	view(p, "consent over")

	program := w.program("http://127.0.0.1:9/callback", "inference", "models:read", "usage:read")
	p.open(program.AuthCodeURL("x", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())))
	p.sees("Make API keys that call models")
	view(p, "consent")
	asked, err := program.DeviceAuth(t.Context())
	harness.Must(t, err)
	p.open(asked.VerificationURIComplete)
	p.sees(asked.UserCode)
	view(p, "device asks")
	p.press("Allow") // which asks for a fresh proof
	p.sees("For a sensitive step like this, we ask again")
	view(p, "device step-up")
	p.press("Use your passkey")
	p.sees("is connected")
	view(p, "device connected")
	p.open(invitation)
	p.sees("You are signed in as lou@one.example")
	view(p, "invitation signed in")

	p.quiet()
	p.open("/account")
	p.loaded()
	p.press("Sign out")
	p.arrives("/sign-in")
	p.signIn("lou@one.example", good)
	p.sees("Use your passkey")
	view(p, "second factor")
	p.press("Use a recovery code")
	view(p, "second factor by a recovery code")
}

// script is axe-core, from its package: infra/tools/install-test.sh puts it there.
func script(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatalf("%v: infra/tools/install-test.sh installs it", err)
	}
	return string(text)
}

// settled waits until the page's script has run and nothing loads any more.
func (p *tab) settled() {
	p.t.Helper()
	p.eventually("a page that is ready", func() (bool, string) {
		ok, err := evaluate[bool](p, `"ready" in document.documentElement.dataset && !document.querySelector("[data-step=loading]:not([hidden]), main[aria-busy], #said:not(:empty)")`)
		return err == nil && ok, fmt.Sprint(err)
	})
}

// view looks at the page in all shapes.
func (p *tab) view(axe, name string) {
	p.t.Helper()
	p.settled()
	for _, s := range shapes() {
		p.do(chromedp.EmulateViewport(s.width, 800), call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: s.scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}}))
		p.fits(name + ", " + s.name)
		p.accessible(axe, name+", "+s.name)
		if folder := os.Getenv("SHOTS"); folder != "" {
			harness.Must(p.t, os.MkdirAll(folder, 0o755))
			p.shoot(filepath.Join(folder, strings.Trim(strings.NewReplacer("/", "-", " ", "-", "#", "-").Replace(name), "-")+"."+s.name+".png"))
		}
	}
	p.do(chromedp.EmulateViewport(1200, 800))
}

// fits holds that nothing is wider than the page, or cut off.
func (p *tab) fits(what string) {
	p.t.Helper()
	wide, err := evaluate[[]string](p, `[...document.querySelectorAll("body *")].filter((e) => e.checkVisibility() && !e.closest(".away, .skip, svg"))
		.filter((e) => e.getBoundingClientRect().right > innerWidth + 1 || (e.matches("button, a, h1, h2, h3, label") && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== "inline"))
		.map((e) => e.outerHTML.slice(0, 120))`)
	harness.Must(p.t, err)
	if len(wide) > 0 {
		p.t.Errorf("%s: too wide: %s", what, strings.Join(wide, "\n"))
	}
}

// accessible puts the page to axe's rules.
func (p *tab) accessible(axe, what string) {
	p.t.Helper()
	found, err := evaluate[string](p, `(async () => {
		if (!window.axe) { `+axe+` }
		// What is behind a dialog can neither be seen nor reached.
		const result = await axe.run([...document.querySelectorAll("dialog[open]")].at(-1) || document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"], resultTypes: ["violations"] });
		return JSON.stringify(result.violations.map((v) => ({ rule: v.id, help: v.help, nodes: v.nodes.map((n) => n.html.slice(0, 160) + " " + (n.any[0]?.message || n.all[0]?.message || "")) })));
	})()`)
	harness.Must(p.t, err)
	var violations []struct {
		Rule, Help string
		Nodes      []string
	}
	harness.Must(p.t, json.Unmarshal([]byte(found), &violations))
	for _, v := range violations {
		p.t.Errorf("%s: %s (%s):\n%s", what, v.Help, v.Rule, strings.Join(v.Nodes, "\n"))
	}
}
