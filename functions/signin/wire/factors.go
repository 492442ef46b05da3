package wire

import (
	"context"
	"fmt"

	"github.com/aiaas/aiaas/adapters/open/signon"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/adapters/webauthn"
	"github.com/aiaas/aiaas/shared/factor"
	"github.com/aiaas/aiaas/shared/sso"
)

// platformName is what apps and browsers show beside a factor.
const platformName = "AIaaS"

func (b *bench) factors() (*factor.Service, error) {
	party, err := webauthn.New(b.settings.Public(), platformName)
	if err != nil {
		return nil, fmt.Errorf("read AIAAS_PUBLIC_URL: %w", err)
	}
	return &factor.Service{
		Store: postgres.NewFactors(b.people), WebAuthn: party, Vault: b.vault, Guesses: b.throttle, Sessions: b.sessions,
		Now: b.env.Now, Issuer: platformName,
	}, nil
}

// gate keeps people out of organisations that demand their own single sign-on.
func (b *bench) gate(ctx context.Context) (*sso.Gate, error) { return signon.Gate(ctx, b.env) }
