// Package sso signs people in by single sign-on as they do: a browser, the functions'
// own wires over a real PostgreSQL, an issuer that many run (oidc-provider, in Node),
// one of the tests' own that says what no honest issuer would, and a name server.
package sso
