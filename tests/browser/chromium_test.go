package browser_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/aiaas/aiaas/tests/harness"
)

// programs are the names of a Chromium, as infra/tools/install-test.sh knows them too.
var programs = []string{"chromium", "chromium-browser", "google-chrome", "/Applications/Chromium.app/Contents/MacOS/Chromium"}

func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range programs {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatalf("there is no Chromium: infra/tools/install-test.sh installs one. Looked for %s", strings.Join(programs, ", "))
	return ""
}

// launch starts a Chromium that asks nothing of any other host. It ends with the test,
// and its profile with it.
func launch(t *testing.T) context.Context {
	t.Helper()
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(chromium(t)), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
	}
	for _, flag := range []string{
		"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync", "disable-default-apps", "disable-dev-shm-usage",
		"hide-scrollbars", "mute-audio",
	} {
		options = append(options, chromedp.Flag(flag, true))
	}
	allocator, endAllocator := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	browser, endBrowser := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		endBrowser()
		endAllocator()
	})
	harness.Must(t, chromedp.Do(browser))
	return browser
}

// tab is a person at a browser of his own: nobody else's cookies, storage or passkeys
// are in it. Its methods wait for what they need, and fail the test where that never
// comes.
type tab struct {
	t    *testing.T
	w    *world
	ctx  context.Context //nolint:containedctx // it is the tab
	mu   sync.Mutex
	said []string // by the browser: exceptions, and what a policy refused
	fine []string // parts of what it may say
}

// browse opens a tab. That no page of it breaks is held at its end.
func (w *world) browse(t *testing.T) *tab {
	t.Helper()
	ctx, end := chromedp.NewContext(w.browser, chromedp.WithNewBrowserContext())
	p := &tab{t: t, w: w, ctx: ctx}
	t.Cleanup(func() {
		if t.Failed() {
			p.shoot(filepath.Join(os.TempDir(), "aiaas-browser-"+strings.ReplaceAll(t.Name(), "/", "-")+".png")) //nolint:usetesting // somebody looks at it after the test
			t.Logf("the page at %s:\n%s", p.address(), p.text())
		}
		end()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, line := range p.said {
			if slices.ContainsFunc(p.fine, func(part string) bool { return strings.Contains(line, part) }) {
				continue
			}
			t.Errorf("the browser: %s", line)
		}
	})
	harness.Must(t, chromedp.Do(ctx, call(log.Enable, cdp.Empty{}), call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-reduced-motion", Value: "reduce"}}, // what moves can't be clicked
	})))
	harness.Must(t, chromedp.Listen(ctx, p.listen))
	return p
}

// listen notes what must not happen. That an answer was a refusal is no mistake of a
// page.
func (p *tab) listen(event any) {
	line := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		line = "exception: " + e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			line += " " + x.Description
		}
	case *log.EventEntryAdded:
		if e.Entry.Source != "network" && e.Entry.Level == "error" {
			line = e.Entry.Text
		}
	}
	if line != "" {
		p.mu.Lock()
		p.said = append(p.said, line)
		p.mu.Unlock()
	}
}

// call is a command of the protocol as a step.
func call[P, R any](command cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, harness.Patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatalf("drive the browser: %v", err)
	}
}

// evaluate runs an expression in the page. It fails while the page changes.
func evaluate[T any](p *tab, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// open goes to a path of the platform, or to another address.
func (p *tab) open(address string) {
	p.t.Helper()
	if strings.HasPrefix(address, "/") {
		address = p.w.site + address
	}
	p.do(chromedp.Navigate("about:blank")) // so that it is loaded also where only the fragment differs
	// By the page, not by the protocol: Chromium reports a redirect into a page with an
	// opener policy as aborted there.
	_, _ = evaluate[bool](p, fmt.Sprintf("location.assign(%q), true", address)) // the page may be gone before it answers
	p.eventually("the page at "+address, func() (bool, string) {
		there, err := evaluate[bool](p, `location.protocol !== "about:" && document.readyState === "complete"`)
		return err == nil && there, fmt.Sprint(err)
	})
}

// finder has what finds things by the names that people, and readers of screens, know
// them by. While a dialog is open nothing else can be reached.
const finder = `(() => {
	if (location.protocol === "http:" && !("ready" in document.documentElement.dataset)) return undefined;
	const scope = [...document.querySelectorAll("dialog[open]")].at(-1) || document;
	const plain = (text) => text.replace(/\s+/g, " ").trim();
	const named = (e) => plain(e.getAttribute("aria-label") || e.labels?.[0]?.textContent || e.textContent);
	const usable = (e) => e.checkVisibility({ visibilityProperty: true }) && e.tabIndex >= -0 && !e.matches(".away, [aria-disabled], [aria-busy]");
	const all = (selector) => [...scope.querySelectorAll(selector)].filter((e) => usable(e) || e.matches("label") && e.checkVisibility());
	%s
})()`

func find(body string, args ...any) string {
	quoted := make([]any, len(args))
	for i, a := range args {
		text, _ := json.Marshal(a) // texts and numbers only
		quoted[i] = string(text)
	}
	return fmt.Sprintf(finder, fmt.Sprintf(body, quoted...))
}

// press clicks a button or link, in the middle, once nothing covers it.
func (p *tab) press(name string) {
	p.t.Helper()
	p.click("press “"+name+"”", find(`const e = all("button, a[href], summary, label").find((e) => named(e) === %s); return e && middle(e)`, name))
}

func (p *tab) click(what, at string) {
	p.t.Helper()
	const middle = `const middle = (e) => {
		e.scrollIntoView({ block: "center", behavior: "instant" });
		const box = e.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2, top = document.elementFromPoint(x, y);
		return top && (e.contains(top) || top.contains(e)) ? [x, y] : undefined;
	};`
	var at2 []float64
	p.eventually(what, func() (bool, string) {
		var err error
		at2, err = evaluate[[]float64](p, strings.Replace(at, "(() => {", "(() => {"+middle, 1)+" || []")
		return err == nil && len(at2) == 2, fmt.Sprint(err)
	})
	p.do(chromedp.MouseClickXY(at2[0], at2[1]))
}

func (p *tab) eventually(what string, condition func() (bool, string)) {
	p.t.Helper()
	harness.Eventually(p.t, what, func() (bool, string) {
		ok, state := condition()
		if ok {
			return true, ""
		}
		return false, fmt.Sprintf("%s, at %s: %.600s", state, p.address(), p.text())
	})
}

// fill types into the field of a label, in place of what stands there.
func (p *tab) fill(label, text string) {
	p.t.Helper()
	p.focus(label)
	p.do(chromedp.KeyEvent(text))
}

// focus goes to the field of a label, and selects what stands there.
func (p *tab) focus(label string) {
	p.t.Helper()
	p.eventually("the field “"+label+"”", func() (bool, string) {
		ok, err := evaluate[bool](p, find(`const e = all("input").find((e) => named(e) === %s); if (!e) return false;
			e.focus(); e.select(); return document.activeElement === e`, label))
		return ok, fmt.Sprint(err)
	})
}

// choose takes an option of a list.
func (p *tab) choose(label, option string) {
	p.t.Helper()
	p.eventually("the option “"+option+"” of “"+label+"”", func() (bool, string) {
		ok, err := evaluate[bool](p, find(`const e = all("select").find((e) => named(e) === %s); const o = [...e?.options || []].find((o) => o.text === %s);
			if (!o) return false; e.value = o.value; e.dispatchEvent(new Event("change", { bubbles: true })); return true`, label, option))
		return ok, fmt.Sprint(err)
	})
}

// value is what a field holds.
func (p *tab) value(label string) (text string) {
	p.t.Helper()
	p.eventually("the field “"+label+"”", func() (bool, string) {
		var err error
		text, err = evaluate[string](p, find(`return all("input, select").find((e) => named(e) === %s)?.value`, label))
		return err == nil, fmt.Sprint(err)
	})
	return text
}

// text is what can be seen of the page, line by line.
func (p *tab) text() string {
	text, err := evaluate[string](p, `([...document.querySelectorAll("dialog[open]")].at(-1) || document.body).innerText`)
	if err != nil {
		return "(" + err.Error() + ")"
	}
	return text
}

// sees waits for a text, in a page that need not be there yet.
func (p *tab) sees(text string) {
	p.t.Helper()
	p.eventually("the text “"+text+"”", func() (bool, string) { return strings.Contains(p.text(), text), "not there" })
}

// misses waits for a text to be gone.
func (p *tab) misses(text string) {
	p.t.Helper()
	p.eventually("no text “"+text+"”", func() (bool, string) { return !strings.Contains(p.text(), text), "there" })
}

// address is the path of the page with all that follows; whole for other servers.
func (p *tab) address() string {
	text, err := evaluate[string](p, "location.href")
	if err != nil {
		return "(" + err.Error() + ")"
	}
	return strings.TrimPrefix(text, p.w.site)
}

// arrives waits until the page is at the address.
func (p *tab) arrives(address string) {
	p.t.Helper()
	p.eventually("arrive at "+address, func() (bool, string) { return p.address() == address, "" })
}

// leaves waits until what is done has led to another page.
func (p *tab) leaves(do func()) {
	p.t.Helper()
	_, err := evaluate[bool](p, `window.left = false, true`)
	harness.Must(p.t, err)
	do()
	p.eventually("another page", func() (bool, string) {
		gone, err := evaluate[bool](p, `window.left === undefined`)
		return err == nil && gone, "the same"
	})
}

// shoot keeps a picture of the whole page.
func (p *tab) shoot(file string) {
	p.t.Helper()
	picture, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(file, picture, 0o600)
	}
	if err != nil {
		p.t.Logf("keep a picture: %v", err)
		return
	}
	p.t.Logf("a picture is in %s", file)
}

// authenticator gives the browser a device that makes passkeys, and whose owner
// always touches it and is always recognised.
func (p *tab) authenticator() {
	p.t.Helper()
	p.do(call(webauthn.Enable, webauthn.EnableParams{}), call(webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
		Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal, HasResidentKey: true,
			HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
		},
	}))
}
