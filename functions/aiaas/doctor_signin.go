package main

import (
	"net"
	"net/url"

	"github.com/aiaas/aiaas/shared/session"
)

// checkSignIn looks at the address that people sign in at: without TLS, who is on the
// way reads their passwords and sessions.
func (e *exam) checkSignIn() {
	const check = "sign-in"
	public := e.settings.Public()
	u, err := url.Parse(public)
	switch {
	case err != nil:
		return // the check of mails says so
	case session.Secure(public):
		e.ok(check, "people sign in at %s, by cookies that travel over TLS only", public)
	case u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback():
		e.ok(check, "people sign in at %s, on this machine", public)
	default:
		e.warn(check, "put TLS in front, and set AIAAS_PUBLIC_URL to the https:// address", "people sign in at %s, in the clear", public)
	}
}
