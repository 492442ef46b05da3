package wire

import (
	"context"

	"github.com/aiaas/aiaas/adapters/open/signon"
	signinfunction "github.com/aiaas/aiaas/functions/signin"
	"github.com/aiaas/aiaas/shared/sso"
)

// singleSignOn lets people in by their own issuer, through the door of all others.
func (b *bench) singleSignOn(ctx context.Context, s signinfunction.Services, denials sso.Denials) (*sso.SignIn, error) {
	return signon.SignIn(ctx, b.env, signon.Parts{Entries: s.SignIn, Sessions: b.sessions, Factors: s.Factors, Starts: b.throttle, Denials: denials})
}
