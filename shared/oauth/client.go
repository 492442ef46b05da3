package oauth

import (
	"slices"
	"strconv"
	"strings"
)

// Grant is a way to a token.
type Grant string

// The grants. There is neither the implicit one nor that of passwords.
const (
	GrantCode    Grant = "authorization_code"
	GrantRefresh Grant = "refresh_token"
	GrantDevice  Grant = "urn:ietf:params:oauth:grant-type:device_code"
	GrantClient  Grant = "client_credentials"
)

// Client is a program that people can let in.
type Client struct {
	ID        string
	Name      string   // shown to people
	Redirects []string // where codes may be sent, compared as they are written
	Loopback  bool     // and to the path /callback on 127.0.0.1, at any port (RFC 8252)
	Grants    []Grant
}

// CLI is the id of the platform's own command.
const CLI = "aiaas-cli"

// Clients are the programs that are built in. All are public: what everybody can
// unpack keeps no secret.
func Clients() []Client {
	return []Client{{ID: CLI, Name: "AIaaS command line", Loopback: true, Grants: []Grant{GrantCode, GrantRefresh, GrantDevice}}}
}

// Takes reports whether codes for the client may be sent to an address.
func (c Client) Takes(redirect string) bool {
	return slices.Contains(c.Redirects, redirect) || c.Loopback && isLoopback(redirect)
}

// isLoopback takes the one form there is, without reading it as a URL: what two
// parsers could read in two ways does not match. It is not "localhost", which may
// resolve to somewhere else.
func isLoopback(redirect string) bool {
	rest, ok := strings.CutPrefix(redirect, "http://127.0.0.1")
	if !ok {
		return false
	}
	port, ok := strings.CutSuffix(rest, "/callback")
	if !ok || port == "" {
		return ok
	}
	digits, ok := strings.CutPrefix(port, ":")
	n, err := strconv.ParseUint(digits, 10, 16)
	return ok && err == nil && n > 0 && strconv.FormatUint(n, 10) == digits
}

// May reports whether the client may use a grant.
func (c Client) May(g Grant) bool { return slices.Contains(c.Grants, g) }
