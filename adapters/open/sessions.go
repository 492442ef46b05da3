package open

import (
	"context"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/session"
)

// Sessions tells on every request whose session it is.
func Sessions(ctx context.Context, e *function.Env) (*session.Resolver, error) {
	limiter, err := Limiter(ctx, e)
	if err != nil {
		return nil, err
	}
	db, err := DB(ctx, e, function.Accounts, postgres.RoleGateway)
	if err != nil {
		return nil, err
	}
	if _, err := Changes(ctx, e); err != nil { // it hears of them
		return nil, err
	}
	return function.Shared(ctx, e, "sessions", func(context.Context) (*session.Resolver, function.Closer, error) {
		return session.NewResolver(postgres.NewSessions(db), limiter, e.Now), nil, nil
	})
}

// SessionManager begins and ends sessions.
func SessionManager(ctx context.Context, e *function.Env) (*session.Manager, error) {
	s, err := Load(ctx, e)
	if err != nil {
		return nil, err
	}
	db, err := DB(ctx, e, function.Accounts, postgres.RoleIdentity)
	if err != nil {
		return nil, err
	}
	changes, err := Changes(ctx, e)
	if err != nil {
		return nil, err
	}
	return function.Shared(ctx, e, "session manager", func(context.Context) (*session.Manager, function.Closer, error) {
		return session.NewManager(postgres.NewSessions(db), changes, s.PublicURL, e.Now), nil, nil
	})
}
