// Package access opens what the management API knows its callers by. It stands apart
// from package open for the policy engine that it links: the data plane has none.
package access

import (
	"context"

	"github.com/aiaas/aiaas/adapters/opa"
	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/origin"
	"github.com/aiaas/aiaas/shared/rest"
	"github.com/aiaas/aiaas/shared/session"
)

// Policy is the access policy of the process.
func Policy(ctx context.Context, e *function.Env) (authz.Policy, error) {
	return function.Shared(ctx, e, "access policy", func(ctx context.Context) (authz.Policy, function.Closer, error) {
		p, err := opa.New(ctx)
		return p, nil, err
	})
}

// Authenticator tells who sends a request, and binds him to the access policy.
func Authenticator(ctx context.Context, e *function.Env) (rest.Authenticator, error) {
	keys, err := open.Resolver(ctx, e)
	if err != nil {
		return nil, err
	}
	policy, err := Policy(ctx, e)
	if err != nil {
		return nil, err
	}
	s, err := open.Load(ctx, e)
	if err != nil {
		return nil, err
	}
	origins, err := origin.NewFinder(s.TrustedProxies)
	if err != nil {
		return nil, err
	}
	denials, err := open.Denials(ctx, e)
	if err != nil {
		return nil, err
	}
	uses, err := open.Uses(ctx, e)
	if err != nil {
		return nil, err
	}
	sessions, err := open.Sessions(ctx, e)
	if err != nil {
		return nil, err
	}
	tokens, err := Tokens(ctx, e)
	if err != nil {
		return nil, err
	}
	return &rest.Authentication{
		Keys: keys, Sessions: sessions, Tokens: tokens, Cookie: session.CookieName(s.PublicURL),
		Policy: policy, Origins: origins, Now: e.Now, Denials: denials, Uses: uses,
	}, nil
}
