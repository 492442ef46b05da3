package browser_test

import (
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/aiaas/aiaas/tests/harness"
)

func passkey(t *testing.T, w *world) {
	p := w.browse(t)
	p.authenticator()
	p.join(w.invite(t, "pia@one.example", "finance"), "Pia") // whose role needs a second factor
	p.press("Add a passkey")
	p.fill("Name", "My laptop")
	p.press("Continue")
	p.sees("Keep your recovery codes")
	p.press("I have kept them")
	p.loaded()
	p.misses("Your role needs a second factor")
	p.press("Rename My laptop")
	p.fill("Name", "Laptop of Pia")
	p.press("Rename")
	p.sees("Laptop of Pia")

	p.press("Add")
	p.fill("Name", "The same again")
	p.press("Continue")
	p.sees("This device already has a passkey for your account")
	p.press("Close")

	// Alone: no e-mail, no password. The page offers it with the e-mail field, where the
	// owner touches it at once, and by a button.
	p.leaves(func() { p.press("Sign out") })
	p.loaded()
	again := p.quiet()
	p.press("Sign out")
	p.arrives("/sign-in")
	p.press("Sign in with a passkey")
	p.loaded()

	// What needs a fresh proof is asked for, shown, and then done.
	p.aged("pia@one.example")
	p.press("New codes")
	p.press("Make new codes")
	p.sees("For a sensitive step like this, we ask again")
	p.press("Close")
	p.press("Cancel")
	p.sees("10 are left")
	p.press("New codes")
	p.press("Make new codes")
	p.press("Use your passkey")
	p.sees("Keep your recovery codes")
	p.press("I have kept them")

	p.press("Remove Laptop of Pia")
	p.press("Remove")
	p.sees("add another before you remove the last one")
	p.press("Cancel")

	// The passkey is the second factor of who knows the password.
	p.press("Sign out")
	p.arrives("/sign-in")
	p.signIn("pia@one.example", good)
	p.arrives("/sign-in/second-factor?return_to=%2Faccount")
	p.press("Use your passkey")
	p.loaded()
	again()
}

// quiet keeps pages from offering passkeys with the e-mail field, as in a browser that
// can't, until again is called: an owner who always touches it would take the offer.
func (p *tab) quiet() (again func()) {
	p.t.Helper()
	added, err := chromedp.Call(p.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
		Source: "if (window.PublicKeyCredential) PublicKeyCredential.isConditionalMediationAvailable = async () => false",
	})
	harness.Must(p.t, err)
	return func() {
		p.do(call(page.RemoveScriptToEvaluateOnNewDocument, page.RemoveScriptToEvaluateOnNewDocumentParams(added)))
	}
}

// aged makes the proof of a person's sessions an hour old, and waits until that is
// noticed.
func (p *tab) aged(email string) {
	p.t.Helper()
	p.w.Database().Exec(p.t, `UPDATE accounts.sessions SET proved_at = proved_at - interval '1 hour' WHERE holder_id = (SELECT user_id FROM accounts.users WHERE email = $1)`, email)
	p.eventually("an old proof", func() (bool, string) {
		reason, err := evaluate[string](p, `fetch("/v1/me/passkeys/options", { method: "POST" }).then((r) => r.json()).then((answer) => answer.reason || "none")`)
		return err == nil && reason == "step_up", reason
	})
}
