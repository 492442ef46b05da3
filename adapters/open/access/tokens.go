package access

import (
	"context"
	"strings"

	"github.com/aiaas/aiaas/adapters/jwt"
	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/oauth"
)

// Issuer is the address that access tokens are issued under, and for: that of the
// platform, as people reach it.
func Issuer(s open.Settings) string { return strings.TrimRight(s.Public(), "/") }

// Tokens verifies access tokens. It can't sign: what does has the keys' private halves.
func Tokens(ctx context.Context, e *function.Env) (oauth.Tokens, error) {
	s, err := open.Load(ctx, e)
	if err != nil {
		return nil, err
	}
	db, err := open.DB(ctx, e, function.Accounts, postgres.RoleGateway)
	if err != nil {
		return nil, err
	}
	return function.Shared(ctx, e, "access tokens", func(context.Context) (oauth.Tokens, function.Closer, error) {
		keys := oauth.NewKeyring(postgres.NewOAuthPublicKeys(db), nil, e.Now)
		return jwt.New(keys, Issuer(s), e.Now), nil, nil
	})
}
