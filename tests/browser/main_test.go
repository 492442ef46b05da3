// Package browser_test uses the pages as people do, in Chromium: by the names of what
// they see, with the mails they get, an authenticator app and a passkey, over the real
// process. That a page breaks nothing of its own policies, and that it is accessible,
// is held beside it.
//
// One platform and one browser serve all journeys; each is of other people, in a
// browser profile of its own.
package browser_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/mail"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/pquerna/otp/totp"

	"github.com/aiaas/aiaas/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// good is a password that nobody refuses.
const good = "seven violet kettles hum"

// world is a platform that people reach at localhost: passkeys work by https, or there.
type world struct {
	*harness.Gateway
	browser context.Context //nolint:containedctx // it is the browser
	site    string          // its public address
}

func newWorld(t *testing.T) *world {
	t.Helper()
	addr := freeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	harness.Must(t, err)
	w := &world{site: "http://localhost:" + port}
	w.Gateway = harness.Start(t, harness.Options{Addr: addr, Env: map[string]string{"AIAAS_PUBLIC_URL": w.site}})
	w.browser = launch(t)
	return w
}

// freeAddr is an address that nobody listens on, a moment ago.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	harness.Must(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// invite sends an invitation, and returns the link of its mail.
func (w *world) invite(t *testing.T, email, role string) (link string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"email": email, "role": role})
	harness.Must(t, err)
	w.Manage(t, harness.Call{Path: "/v1/invitations", Key: w.AdminKey, Body: string(body)}, http.StatusCreated, nil)
	return w.link(t, email, "/invitation")
}

var links = regexp.MustCompile(`http://localhost:\d+(/[a-z-]+)#token=\S+`)

// link waits for the mail to somebody that has a link to a page, and returns the link.
// The mail is taken out of the folder, so that the next one is another.
func (w *world) link(t *testing.T, email, page string) (link string) {
	t.Helper()
	harness.Eventually(t, "a mail to "+email+" with a link to "+page, func() (bool, string) {
		files, err := filepath.Glob(filepath.Join(w.DataDir, "mail", "*.eml"))
		harness.Must(t, err)
		for _, file := range files {
			if text := letter(t, file, email); text != "" {
				if m := links.FindStringSubmatch(text); m != nil && m[1] == page {
					link = m[0]
					harness.Must(t, os.Remove(file))
					return true, ""
				}
			}
		}
		return false, strings.Join(files, " ")
	})
	return link
}

// letter is the text of a mail, if it is to somebody.
func letter(t *testing.T, file, email string) string {
	t.Helper()
	f, err := os.Open(file)
	harness.Must(t, err)
	defer func() { _ = f.Close() }()
	m, err := mail.ReadMessage(f)
	harness.Must(t, err)
	if !strings.Contains(m.Header.Get("To"), email) {
		return ""
	}
	text, err := os.ReadFile(strings.TrimSuffix(file, ".eml") + ".txt")
	harness.Must(t, err)
	return string(text)
}

// join takes an invitation up, and is at the account after it.
func (p *tab) join(link, name string) {
	p.t.Helper()
	p.open(link)
	p.fill("Your name", name)
	p.fill("Choose a password", good)
	p.press("Create account and join")
	p.loaded()
}

// loaded waits until the account shows whose it is.
func (p *tab) loaded() {
	p.t.Helper()
	p.eventually("the account", func() (bool, string) {
		ready, err := evaluate[bool](p, `location.pathname === "/account" && document.querySelector("main")?.getAttribute("aria-busy") === null && document.readyState === "complete"`)
		return err == nil && ready, "not loaded"
	})
}

// signIn types e-mail and password, wherever the sign-in page was opened from.
func (p *tab) signIn(email, password string) {
	p.t.Helper()
	p.fill("E-mail", email)
	p.fill("Password", password)
	p.press("Sign in")
}

// app is an authenticator app.
type app struct {
	secret string
	last   int64 // the step whose code was shown last
}

// enrol sets up an authenticator app, and returns it with the recovery codes.
func (p *tab) enrol() (*app, []string) {
	p.t.Helper()
	p.press("Set up")
	p.press("Can’t scan it?")
	secret, err := evaluate[string](p, `document.querySelector("#totp-secret").textContent.replaceAll(" ", "")`)
	harness.Must(p.t, err)
	a := &app{secret: secret}
	p.show(a, "Enter the code that the app shows")
	p.sees("Keep your recovery codes")
	codes, err := evaluate[[]string](p, `[...document.querySelectorAll("#codes li")].map((e) => e.textContent)`)
	harness.Must(p.t, err)
	p.press("I have kept them")
	p.loaded()
	return a, codes
}

// show types the code that an app shows into the field of a label; the page sends it by
// itself. The app is looked at once the field is there: however slow the page is, the
// code is fresh.
func (p *tab) show(a *app, label string) {
	p.t.Helper()
	p.focus(label)
	p.do(chromedp.KeyEvent(a.code(p.t)))
}

// code is the code of the present step, or of the one after that of the last code: each
// step's is good once. The server takes codes of the steps beside its own, too, so that
// one is good for a whole step at least, and two are had without waiting.
func (a *app) code(t *testing.T) string {
	t.Helper()
	const step = 30 // seconds
	a.last = max(a.last+1, time.Now().Unix()/step)
	time.Sleep(time.Until(time.Unix((a.last-1)*step, 0))) // of the future, the server takes one step, not two
	text, err := totp.GenerateCode(a.secret, time.Unix(a.last*step, 0))
	harness.Must(t, err)
	return text
}
