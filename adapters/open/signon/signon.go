// Package signon opens single sign-on: what its administration and signing in by it
// need. It is apart from package open, so that only those who use it link a client of
// OpenID Connect.
package signon

import (
	"context"
	"time"

	"github.com/aiaas/aiaas/adapters/dns"
	"github.com/aiaas/aiaas/adapters/egress"
	"github.com/aiaas/aiaas/adapters/oidc"
	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/sso"
)

const (
	exchangeTimeout = 10 * time.Second
	maxHeader       = 32 << 10
)

// Issuers asks issuers, for all functions of the process.
func Issuers(ctx context.Context, e *function.Env) (*oidc.Issuers, error) {
	rules, err := open.SSORules(ctx, e)
	if err != nil {
		return nil, err
	}
	return function.Shared(ctx, e, "issuers", func(context.Context) (*oidc.Issuers, function.Closer, error) {
		return oidc.New(egress.Client(rules, nil, egress.Limits{Timeout: exchangeTimeout, MaxHeader: maxHeader}), e.Now), nil, nil
	})
}

// Store is what is kept of single sign-on.
func Store(ctx context.Context, e *function.Env) (*postgres.SSO, error) {
	db, err := open.DB(ctx, e, function.Accounts, postgres.RoleAccounts)
	if err != nil {
		return nil, err
	}
	return postgres.NewSSO(db), nil
}

// Admin is its administration.
func Admin(ctx context.Context, e *function.Env) (*sso.Admin, error) {
	s, err := open.Load(ctx, e)
	if err != nil {
		return nil, err
	}
	store, err := Store(ctx, e)
	if err != nil {
		return nil, err
	}
	issuers, err := Issuers(ctx, e)
	if err != nil {
		return nil, err
	}
	vault, err := open.Secrets(ctx, e)
	if err != nil {
		return nil, err
	}
	places, err := open.SSORules(ctx, e)
	if err != nil {
		return nil, err
	}
	return &sso.Admin{
		Domains: store, Connections: store, Identities: store, Names: dns.New(s.DNSServer), Issuers: issuers, Vault: vault, Places: places, Now: e.Now,
	}, nil
}

// Watch looks after the domains of all organisations.
func Watch(ctx context.Context, e *function.Env) (*sso.Watch, error) {
	s, err := open.Load(ctx, e)
	if err != nil {
		return nil, err
	}
	store, err := Store(ctx, e)
	if err != nil {
		return nil, err
	}
	return &sso.Watch{Domains: store, Names: dns.New(s.DNSServer), Now: e.Now}, nil
}

// Parts are what signing in by single sign-on leads to, besides.
type Parts struct {
	Entries  sso.Entries
	Sessions sso.Sessions
	Factors  sso.Factors
	Starts   sso.Starts
	Denials  sso.Denials
}

// SignIn is signing in by it.
func SignIn(ctx context.Context, e *function.Env, p Parts) (*sso.SignIn, error) {
	s, err := open.Load(ctx, e)
	if err != nil {
		return nil, err
	}
	store, err := Store(ctx, e)
	if err != nil {
		return nil, err
	}
	issuers, err := Issuers(ctx, e)
	if err != nil {
		return nil, err
	}
	vault, err := open.Secrets(ctx, e)
	if err != nil {
		return nil, err
	}
	changes, err := open.Changes(ctx, e)
	if err != nil {
		return nil, err
	}
	return &sso.SignIn{
		Flows: store, Admissions: store, Issuers: issuers, Vault: vault, Entries: p.Entries, Sessions: p.Sessions, Factors: p.Factors,
		Starts: p.Starts, Denials: p.Denials, Bump: changes, PublicURL: s.Public(), Now: e.Now,
	}, nil
}

// Gate keeps people out of organisations that demand their own single sign-on.
func Gate(ctx context.Context, e *function.Env) (*sso.Gate, error) {
	store, err := Store(ctx, e)
	if err != nil {
		return nil, err
	}
	return &sso.Gate{Admissions: store}, nil
}
