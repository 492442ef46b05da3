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
	case session.Secure(public) && e.settings.TrustedProxies == "":
		// The platform speaks no TLS itself, so something stands in front of it.
		e.warn(check, "set AIAAS_TRUSTED_PROXIES to the network of the proxy that does TLS",
			"people sign in at %s, but no proxy is trusted to tell where they come from: all share the attempts of one address", public)
	case session.Secure(public):
		e.ok(check, "people sign in at %s, by cookies that travel over TLS only", public)
	case u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback():
		e.ok(check, "people sign in at %s, on this machine", public)
	default:
		e.warn(check, "put TLS in front, and set AIAAS_PUBLIC_URL to the https:// address", "people sign in at %s, in the clear", public)
	}
}
