// Package wire builds the function signin from what its process shares.
package wire

import (
	"context"
	"runtime"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/open/access"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/adapters/secrets"
	signinfunction "github.com/aiaas/aiaas/functions/signin"
	"github.com/aiaas/aiaas/shared/factor"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/password"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/shared/signin"
	"github.com/aiaas/aiaas/shared/sso"
	"github.com/aiaas/aiaas/shared/throttle"
)

// Wire is the function's [function.Wire].
func Wire(ctx context.Context, env *function.Env) (function.Function, error) {
	b, err := base(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	services, err := b.services(ctx)
	if err != nil {
		return function.Function{}, err
	}
	auth, err := access.Authenticator(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	links := &signin.Links{Store: postgres.NewSignIns(b.people), Sealer: b.vault, Now: env.Now}
	jobs, err := open.Jobs(ctx, env, signinfunction.Spec(), signinfunction.Jobs(signinfunction.Chores{
		Links: links, Throttle: b.throttle, Sessions: b.sessions, Factors: factor.Prune(postgres.NewFactors(b.people).Forget, env.Now),
		SSO: sso.Forget(postgres.NewSSO(b.accounts), env.Now),
	}))
	if err != nil {
		return function.Function{}, err
	}
	return function.Function{HTTP: signinfunction.New(services, auth, env.Log), Jobs: jobs, Ready: b.people.Ping}, nil
}

// mostHashes is how many passwords are hashed at once at most, whatever the machine: more
// would take its memory, and its processors from the gateway.
const mostHashes = 4

// bench is what the parts of the function are made with.
type bench struct {
	env      *function.Env
	settings open.Settings
	people   *postgres.DB // one person's own
	accounts *postgres.DB // one organisation's
	vault    *secrets.Box
	sessions *session.Manager
	throttle *throttle.Throttle
}

func base(ctx context.Context, env *function.Env) (b *bench, err error) {
	b = &bench{env: env}
	if b.settings, err = open.Load(ctx, env); err != nil {
		return nil, err
	}
	if b.people, err = open.DB(ctx, env, function.Accounts, postgres.RoleIdentity); err != nil {
		return nil, err
	}
	if b.accounts, err = open.DB(ctx, env, function.Accounts, postgres.RoleAccounts); err != nil {
		return nil, err
	}
	if b.vault, err = open.Secrets(ctx, env); err != nil {
		return nil, err
	}
	if b.sessions, err = open.SessionManager(ctx, env); err != nil {
		return nil, err
	}
	b.throttle = &throttle.Throttle{Store: postgres.NewThrottles(b.people), Now: env.Now}
	return b, nil
}

func (b *bench) services(ctx context.Context) (s signinfunction.Services, err error) {
	s.Cookies = signinfunction.NewCookies(b.sessions, b.settings.PublicURL)
	if s.Factors, err = b.factors(); err != nil {
		return s, err
	}
	gate, err := b.gate(ctx)
	if err != nil {
		return s, err
	}
	denials, err := open.Denials(ctx, b.env)
	if err != nil {
		return s, err
	}
	store := postgres.NewSignIns(b.people)
	s.SignIn = &signin.Service{
		Store: store, Challenges: store, Hasher: password.NewHasher(password.Standard(), min(runtime.GOMAXPROCS(0), mostHashes)), Throttle: b.throttle, Factors: s.Factors,
		Sessions: b.sessions, Gate: gate, Denials: denials, Now: b.env.Now,
	}
	s.Passwords = &signin.Passwords{Service: s.SignIn, Keep: store}
	if s.Invitations, err = b.invitations(ctx, s.SignIn); err != nil {
		return s, err
	}
	if s.SSO, err = b.singleSignOn(ctx, s, denials); err != nil {
		return s, err
	}
	s.Sessions = &session.Service{
		Manager: b.sessions, Members: postgres.NewMembers(b.accounts), Entry: gate,
		Entered: func(ctx context.Context, userID, org string) error { return store.Entered(ctx, userID, org, nil) },
	}
	return s, nil
}
