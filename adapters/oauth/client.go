package oauth

import (
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/aiaas/aiaas/shared/oauth"
)

// client is a client as the library asks about it: one that people let in, or a
// service account that has shown its secret.
type client struct {
	public  oauth.Client
	program *oauth.Program
}

var _ op.Client = (*client)(nil)

// GetID implements [op.Client].
func (c *client) GetID() string {
	if c.program != nil {
		return c.program.ID
	}
	return c.public.ID
}

// RedirectURIs implements [op.Client]. The library takes a loopback address at any
// host and port for one of these; our own rule comes first.
func (c *client) RedirectURIs() []string {
	if c.public.Loopback {
		return append([]string{"http://127.0.0.1/callback"}, c.public.Redirects...)
	}
	return c.public.Redirects
}

// ApplicationType implements [op.Client].
func (c *client) ApplicationType() op.ApplicationType {
	if c.public.Loopback {
		return op.ApplicationTypeNative
	}
	return op.ApplicationTypeWeb
}

// AuthMethod implements [op.Client].
func (c *client) AuthMethod() oidc.AuthMethod {
	if c.program != nil {
		return oidc.AuthMethodBasic
	}
	return oidc.AuthMethodNone
}

// ResponseTypes implements [op.Client]: there is no implicit grant.
func (c *client) ResponseTypes() []oidc.ResponseType {
	return []oidc.ResponseType{oidc.ResponseTypeCode}
}

// GrantTypes implements [op.Client].
func (c *client) GrantTypes() []oidc.GrantType {
	if c.program != nil {
		return []oidc.GrantType{oidc.GrantTypeClientCredentials}
	}
	var out []oidc.GrantType
	for _, g := range c.public.Grants {
		out = append(out, oidc.GrantType(g))
	}
	return out
}

// IsScopeAllowed implements [op.Client]: the rules say which scopes there are.
func (c *client) IsScopeAllowed(string) bool { return true }

// AccessTokenType implements [op.Client].
func (c *client) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }

// What follows the library asks only where it makes tokens or pages itself, which it
// does not do here.

// PostLogoutRedirectURIs implements [op.Client].
func (c *client) PostLogoutRedirectURIs() []string { return nil }

// LoginURL implements [op.Client].
func (c *client) LoginURL(requestID string) string { return pageConsent + "?request=" + requestID }

// IDTokenLifetime implements [op.Client].
func (c *client) IDTokenLifetime() time.Duration { return oauth.AccessLifetime }

// DevMode implements [op.Client].
func (c *client) DevMode() bool { return false }

// RestrictAdditionalIdTokenScopes implements [op.Client].
func (c *client) RestrictAdditionalIdTokenScopes() func([]string) []string { return keep } //nolint:staticcheck // the library's name

// RestrictAdditionalAccessTokenScopes implements [op.Client].
func (c *client) RestrictAdditionalAccessTokenScopes() func([]string) []string { return keep }

// IDTokenUserinfoClaimsAssertion implements [op.Client].
func (c *client) IDTokenUserinfoClaimsAssertion() bool { return false }

// ClockSkew implements [op.Client].
func (c *client) ClockSkew() time.Duration { return 0 }

func keep(scopes []string) []string { return scopes }
