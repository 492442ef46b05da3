package oauth

import (
	"context"
	"crypto/subtle"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/session"
)

// tokensAsked is how many tokens a service account may ask for in tryWindow. One lasts
// as long as the window.
const tokensAsked = 300

// Authenticate returns the service account whose secret is shown; the one refusal for
// every other pair.
func (s *Service) Authenticate(ctx context.Context, accountID, secret string, from From) (Program, error) {
	wrong := refuse(InvalidClient, "the client is not known, or its secret is wrong")
	if !id.Valid(id.ServiceAccount, accountID) {
		return Program{}, wrong
	}
	p, err := s.Store.Program(ctx, accountID)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return Program{}, err
	}
	shown, match := Hash(secret), ""
	for _, k := range p.Secrets { // all of them: time must not tell which
		if subtle.ConstantTimeCompare(k.Hash, shown) == 1 {
			match, p.SeenBy = k.ID, k.SeenBy
		}
	}
	if match == "" {
		s.Denials.Note(audit.Denial{ // of an account that is not known there is no organisation, and nothing is kept
			OrgID: p.Subject.OrgID, Actor: p.Subject.OwnerID, Action: audit.ActionAuthFail, Code: string(InvalidClient), Target: "client_secret",
			Address: from.Address, RequestID: audit.RequestID(ctx), At: s.Now(),
		})
		return Program{}, wrong
	}
	return p, s.Store.NoteSecret(ctx, p.Subject.OrgID, match, s.Now())
}

// IssueTo gives a service account an access token, for what its role gives or for the
// scopes that it asks for of that. There is no refresh token: it has its secret.
func (s *Service) IssueTo(ctx context.Context, p Program, scopes []string, from From) (Issued, error) {
	asked, err := ParseScopes(scopes)
	if err != nil {
		return Issued{}, err
	}
	if asked.OpenID || asked.Offline {
		return Issued{}, refuse(InvalidScope, "a program has neither an identity token nor refresh tokens")
	}
	subject := p.Subject
	subject.Scopes = session.AllScopes(subject.Role)
	granted := authz.Effective(subject)
	if len(scopes) > 0 {
		if len(within(asked.Scopes, granted)) < len(asked.Scopes) {
			return Issued{}, refuse(InvalidScope, "the role of the service account does not give all of these scopes")
		}
		granted = asked.Scopes
	}
	if err := s.within(ctx, "client "+p.ID, tokensAsked); err != nil {
		return Issued{}, refusedTries(err)
	}
	now := s.Now()
	opened, err := s.Sessions.Begin(ctx, session.Start{
		OrgID: subject.OrgID, HolderID: p.ID, Kind: session.Client, Means: session.Secret, Scopes: granted,
		ProvedAt: now, Address: from.Address, UserAgent: from.UserAgent, Client: p.Name, Expires: now.Add(AccessLifetime),
		SeenBy: p.SeenBy,
	})
	if fault.Is(err, fault.NotFound) {
		return Issued{}, refuse(InvalidClient, "the client is not known, or its secret is wrong")
	}
	if err != nil {
		return Issued{}, err
	}
	return s.mint(ctx, Issued{Scopes: Asked{Scopes: granted}.Words()}, minting{Family: Family{
		OrgID: subject.OrgID, SessionID: opened.ID, HolderID: p.ID, ClientID: p.ID, Scopes: granted, ExpiresAt: opened.ExpiresAt,
	}})
}
