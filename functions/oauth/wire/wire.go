// Package wire builds the function oauth from what its process shares.
package wire

import (
	"context"
	"net/http"

	"github.com/aiaas/aiaas/adapters/jwt"
	protocol "github.com/aiaas/aiaas/adapters/oauth"
	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/open/access"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/functions/oauth"
	"github.com/aiaas/aiaas/shared/function"
	rules "github.com/aiaas/aiaas/shared/oauth"
	"github.com/aiaas/aiaas/shared/rest"
	"github.com/aiaas/aiaas/shared/throttle"
)

// Wire is the function's [function.Wire].
func Wire(ctx context.Context, env *function.Env) (function.Function, error) {
	db, err := open.DB(ctx, env, function.Accounts, postgres.RoleIdentity)
	if err != nil {
		return function.Function{}, err
	}
	accounts, err := open.DB(ctx, env, function.Accounts, postgres.RoleAccounts)
	if err != nil {
		return function.Function{}, err
	}
	auth, err := access.Authenticator(ctx, env)
	if err != nil {
		return function.Function{}, err
	}
	keys, err := keyring(ctx, env, db)
	if err != nil {
		return function.Function{}, err
	}
	svc, err := service(ctx, env, db, keys)
	if err != nil {
		return function.Function{}, err
	}
	jobs, err := open.Jobs(ctx, env, oauth.Spec(), map[string]function.Job{
		oauth.JobKeys: keys.Rotate, oauth.JobPrune: svc.Prune,
	})
	if err != nil {
		return function.Function{}, err
	}
	services := oauth.Services{
		OAuth: svc, Secrets: &rules.Secrets{Store: postgres.NewClientSecrets(accounts), Now: env.Now},
		Protocol: protocol.New(protocol.Config{
			Service: svc, Identify: auth.Authenticate, Locate: locate(auth), Log: env.Log,
			Keys: func(ctx context.Context) (any, error) {
				published, err := keys.Published(ctx)
				return jwt.Set(published), err
			},
		}),
	}
	return function.Function{HTTP: oauth.New(services, auth, env.Log), Jobs: jobs, Ready: db.Ping}, nil
}

func locate(auth rest.Authenticator) func(*http.Request) string {
	if l, ok := auth.(rest.Locator); ok {
		return l.Locate
	}
	return func(*http.Request) string { return "" }
}

func keyring(ctx context.Context, env *function.Env, db *postgres.DB) (*rules.Keyring, error) {
	box, err := open.Secrets(ctx, env)
	if err != nil {
		return nil, err
	}
	return rules.NewKeyring(postgres.NewOAuthKeys(db), box, env.Now), nil
}

func service(ctx context.Context, env *function.Env, db *postgres.DB, keys *rules.Keyring) (*rules.Service, error) {
	s, err := open.Load(ctx, env)
	if err != nil {
		return nil, err
	}
	sessions, err := open.SessionManager(ctx, env)
	if err != nil {
		return nil, err
	}
	live, err := open.Sessions(ctx, env)
	if err != nil {
		return nil, err
	}
	denials, err := open.Denials(ctx, env)
	if err != nil {
		return nil, err
	}
	tokens := jwt.New(keys, access.Issuer(s), env.Now)
	return &rules.Service{
		Store: postgres.NewOAuth(db), Sessions: sessions, Browsers: postgres.NewSessions(db), Live: live, Tokens: tokens, Minter: tokens,
		Throttle: &throttle.Throttle{Store: postgres.NewThrottles(db), Now: env.Now}, Denials: denials,
		Clients: rules.Clients(), Issuer: access.Issuer(s), Now: env.Now,
	}, nil
}
