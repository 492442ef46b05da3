package wire

import (
	"context"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/invitation"
	"github.com/aiaas/aiaas/shared/password"
	"github.com/aiaas/aiaas/shared/signin"
)

// invitations takes invitations up, with the passwords that people sign in by.
func (b *bench) invitations(ctx context.Context, s *signin.Service) (*invitation.Acceptance, error) {
	changes, err := open.Changes(ctx, b.env)
	if err != nil {
		return nil, err
	}
	return &invitation.Acceptance{Store: postgres.NewInvitations(b.accounts), Passwords: passwords{s}, Bump: changes, Now: b.env.Now}, nil
}

// passwords is signing in as package invitation needs it.
type passwords struct{ *signin.Service }

// Check implements [invitation.Passwords].
func (p passwords) Check(ctx context.Context, email, text string, from invitation.From) error {
	_, err := p.Recognise(ctx, email, text, signin.From{Address: from.Address, UserAgent: from.UserAgent, Device: from.Device})
	return err
}

// First implements [invitation.Passwords].
func (p passwords) First(ctx context.Context, text string, about ...string) (string, error) {
	if err := password.Check(text, about...); err != nil {
		return "", fault.From(err).At("password")
	}
	return p.Hasher.Hash(ctx, text)
}
