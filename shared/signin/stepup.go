package signin

import (
	"context"
	"encoding/json"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/factor"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/session"
)

// Again is how a person proves himself again.
type Again struct {
	Password string
	Proof    factor.Proof
	From     From
}

// StepUp has a person who is signed in prove himself again, before a sensitive act. Who
// has a second factor shows that: whoever sits down at an open session may know the
// password, and it was shown already. That goes for who came by single sign-on as well,
// who has no say by a password. The session gets a new token.
func (s *Service) StepUp(ctx context.Context, who authz.Principal, a Again) (session.Opened, error) {
	account, err := s.signedIn(ctx, who)
	if err != nil {
		return session.Opened{}, err
	}
	methods, err := s.Factors.Methods(ctx, account.UserID)
	if err != nil {
		return session.Opened{}, err
	}
	if len(methods) == 0 {
		if err := ownSession(who); err != nil { // or an issuer could try passwords
			return session.Opened{}, err
		}
		if a.Password == "" {
			return session.Opened{}, fault.New(fault.Unprocessable, "give your password").At("password")
		}
		if err := s.show(ctx, account, a.Password, "password", a.From); err != nil {
			return session.Opened{}, err
		}
		return s.Sessions.Prove(ctx, who.OrgID, who.KeyID, session.Password, false)
	}
	if a.Proof == (factor.Proof{}) {
		return session.Opened{}, fault.New(fault.Unprocessable, "your account has a second factor: show it").With("methods", methods)
	}
	err = s.Factors.Prove(ctx, account.UserID, a.Proof, factor.From{OrgID: who.OrgID, Address: a.From.Address, Device: a.From.Device})
	if fault.Is(err, fault.Unauthenticated) {
		s.denied(ctx, account, "second_factor", a.From)
		return session.Opened{}, fault.New(fault.Unprocessable, "the second factor was not accepted")
	}
	if err != nil {
		return session.Opened{}, err
	}
	return s.Sessions.Prove(ctx, who.OrgID, who.KeyID, session.Means(who.Means), true)
}

// StepUpOptions asks a browser for one of the passkeys of who is signed in.
func (s *Service) StepUpOptions(ctx context.Context, who authz.Principal) (ceremony string, options json.RawMessage, err error) {
	account, err := s.signedIn(ctx, who)
	if err != nil {
		return "", nil, err
	}
	ceremony, options, err = s.Factors.Options(ctx, account.UserID)
	if fault.Is(err, fault.Unauthenticated) {
		return "", nil, fault.New(fault.NotFound, "you have no passkey")
	}
	return ceremony, options, err
}
