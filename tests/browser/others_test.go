package browser_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/aiaas/aiaas/tests/harness"
)

// others is what the pages of other sites try, in the browser of somebody who is
// signed in here, and what they could read of him.
func others(t *testing.T, w *world) {
	p := w.browse(t)
	p.join(w.invite(t, "otto@one.example", "developer"), "Otto")

	// The session's cookie is out of every script's reach, and no other site sends it.
	kept, err := chromedp.Call(p.ctx, network.GetCookies, network.GetCookiesParams{})
	harness.Must(t, err)
	var session *network.Cookie
	for _, c := range kept.Cookies {
		if !c.HTTPOnly || c.SameSite == "" || c.SameSite == network.CookieSameSiteNone || c.Path != "/" || strings.HasPrefix(c.Domain, ".") {
			t.Errorf("the cookie %s: %+v", c.Name, c)
		}
		if strings.HasSuffix(c.Name, "aiaas_session") {
			session = c
		}
	}
	if session == nil {
		t.Fatalf("no cookie of a session: %v", kept.Cookies)
	}
	if seen, err := evaluate[string](p, "document.cookie"); err != nil || seen != "" {
		t.Errorf("scripts see %q, %v", seen, err)
	}

	evil := elsewhere(t, w)
	p.fine = []string{"frame-ancestors 'none'"} // it says that it has refused the frame
	for _, attack := range []string{"/form", "/text", "/fetch", "/frame", "/image"} {
		p.open(evil + attack)
		p.eventually(attack, func() (bool, string) {
			done, err := evaluate[bool](p, `document.title === "done" || location.pathname === "/v1/sign-out" || location.pathname === "/v1/sessions"`)
			return err == nil && done, fmt.Sprint(err)
		})
		p.open("/account")
		p.loaded() // still signed in
	}

	// The same without a browser that keeps the cookie back: the API itself refuses.
	for _, from := range []http.Header{
		{"Sec-Fetch-Site": {"cross-site"}, "Origin": {evil}},
		{"Sec-Fetch-Site": {"same-site"}, "Origin": {"http://localhost:1"}},
		{"Origin": {evil}},
		{"Origin": {"null"}},
	} {
		from.Set("Cookie", session.Name+"="+session.Value)
		for _, c := range []harness.Call{
			{Path: "/v1/sign-out"}, {Method: http.MethodDelete, Path: "/v1/sessions"}, {Path: "/v1/me/totp"},
			{Method: http.MethodPatch, Path: "/v1/me", Body: `{"name":"x"}`}, {Method: http.MethodPut, Path: "/v1/me/password", Body: `{}`},
			{Path: "/v1/sign-in", Body: `{"email":"otto@one.example","password":"` + good + `"}`}, // would sign him in as somebody else
		} {
			c.Header = from
			if a := w.Do(t.Context(), c); a.Status != http.StatusForbidden || len(a.Header.Values("Set-Cookie")) > 0 {
				t.Errorf("%s %s with %v: %s", c.Method, c.Path, from, a)
			}
		}
	}
	p.open("/account")
	p.loaded()

	for _, path := range []string{"/v1/me", "/v1/sessions", "/v1/nothing", "/healthz"} {
		a := w.Do(t.Context(), harness.Call{Method: http.MethodGet, Path: path, Header: http.Header{"Cookie": {session.Name + "=" + session.Value}, "Origin": {evil}}})
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "Access-Control-Allow-Origin": "",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q; want %q", path, name, got, want)
			}
		}
	}
}

// elsewhere is a page of another site for each attack.
func elsewhere(t *testing.T, w *world) (address string) {
	t.Helper()
	pages := map[string]string{
		"/form":  `<form method="post" action="%s/v1/sign-out"></form><script>document.forms[0].submit()</script>`,
		"/text":  `<form method="post" enctype="text/plain" action="%s/v1/sessions"><input name='{"a":"' value='"}'></form><script>document.forms[0].submit()</script>`,
		"/fetch": `<script>fetch("%s/v1/sign-out", { method: "POST", mode: "no-cors", credentials: "include" }).finally(() => { document.title = "done" })</script>`,
		"/frame": `<iframe src="%s/account"></iframe><script>onload = () => { document.title = frames[0].length === 0 ? "done" : "framed" }</script>`,
		"/image": `<img src="%s/v1/sessions"><script>onload = () => { document.title = "done" }</script>`,
	}
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(rw, "<!doctype html><body>"+pages[r.URL.Path], w.site)
	}))
	t.Cleanup(s.Close)
	return s.URL
}
