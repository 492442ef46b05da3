package oauth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"slices"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
)

// Redemption is an authorization code as a client brings it.
type Redemption struct {
	Code        string
	Verifier    string // of PKCE
	RedirectURI string
}

// ExchangeCode gives a client the tokens that its authorization code stands for. The
// code is taken first and looked at afterwards: whoever has it has one try.
func (s *Service) ExchangeCode(ctx context.Context, client Client, r Redemption, from From) (Issued, error) {
	if !client.May(GrantCode) {
		return Issued{}, refuse(UnauthorizedClient, "the client may not use authorization codes")
	}
	now := s.Now()
	c, err := s.Store.UseCode(ctx, Hash(r.Code), now)
	switch {
	case fault.Is(err, fault.NotFound):
		return Issued{}, refuse(InvalidGrant, "the authorization code is not good")
	case err != nil:
		return Issued{}, err
	case c.State != CodeFresh:
		return Issued{}, s.replayedCode(ctx, c, from, now)
	case c.ClientID != client.ID:
		return Issued{}, refuse(InvalidGrant, "the authorization code is another client's")
	case c.RedirectURI != r.RedirectURI:
		return Issued{}, refuse(InvalidGrant, "redirect_uri is not the one that the code was asked for with")
	case !now.Before(c.Expires):
		return Issued{}, refuse(InvalidGrant, "the authorization code has expired")
	case !proves(r.Verifier, c.Challenge):
		return Issued{}, refuse(InvalidGrant, "code_verifier does not fit the code_challenge")
	}
	return s.begin(ctx, begun{
		client: client, who: Who{c.OrgID, c.UserID}, granted: c.Asked, proof: c.Proof, nonce: c.Nonce, requestID: c.RequestID,
	}, from)
}

// proves reports whether a verifier is that of a challenge (RFC 7636, 4.6).
func proves(verifier, challenge string) bool {
	if len(verifier) < 43 || len(verifier) > 128 {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) == 1
}

// replayedCode ends what came of a code that was shown again.
func (s *Service) replayedCode(ctx context.Context, c Code, from From, now time.Time) error {
	if c.SessionID != "" { // else whoever is about to begin it will see
		if err := s.Sessions.End(ctx, c.OrgID, c.SessionID, reasonCodeReuse); err != nil {
			return err
		}
	}
	if c.State == CodeReplayed {
		p := authz.Principal{OrgID: c.OrgID, OwnerID: c.UserID, KeyID: c.RequestID, Method: authz.ByToken, Address: from.Address}
		rec := audit.New(ctx, p, now, "oauth.code_reuse", c.RequestID).With(map[string]any{"client": c.ClientID, "session_id": c.SessionID})
		rec.Outcome = audit.Denied
		if err := s.Store.Note(ctx, rec); err != nil {
			return err
		}
	}
	return refuse(InvalidGrant, "the authorization code was used before")
}

// Refresh gives a client new tokens for a refresh token, which is good once. scopes,
// where there are any, narrow the access token.
func (s *Service) Refresh(ctx context.Context, client Client, token string, scopes []string, from From) (Issued, error) {
	if !client.May(GrantRefresh) {
		return Issued{}, refuse(UnauthorizedClient, "the client may not use refresh tokens")
	}
	f, err := s.Store.FindRefresh(ctx, Hash(token))
	switch {
	case fault.Is(err, fault.NotFound) || err == nil && f.ClientID != client.ID:
		return Issued{}, refuse(InvalidGrant, "the refresh token is not good")
	case err != nil:
		return Issued{}, err
	case f.Used:
		return Issued{}, s.reused(ctx, f, from)
	}
	narrowed, err := narrow(f, scopes)
	if err != nil {
		return Issued{}, err
	}
	rec, err := s.Live.ByID(ctx, f.SessionID)
	switch {
	case fault.Is(err, fault.Unauthenticated):
		return Issued{}, refuse(InvalidGrant, "the session is over: sign in")
	case err != nil:
		return Issued{}, err
	}
	out := Issued{RefreshToken: newSecret(refreshPrefix), Scopes: Asked{Scopes: narrowed, OpenID: f.OpenID, Offline: true}.Words()}
	rotated, err := s.Store.Rotate(ctx, f, Hash(token), Hash(out.RefreshToken), s.Now())
	switch {
	case err != nil:
		return Issued{}, err
	case !rotated:
		return Issued{}, s.reused(ctx, f, from)
	}
	m := minting{Family: f, authTime: rec.ProvedAt}
	m.Scopes = narrowed
	return s.mint(ctx, out, m)
}

// narrow is what of a family's scopes the client wants this time.
func narrow(f Family, words []string) ([]authz.Scope, error) {
	if len(words) == 0 {
		return f.Scopes, nil
	}
	asked, err := ParseScopes(words)
	if err != nil {
		return nil, err
	}
	for _, s := range asked.Scopes {
		if !slices.Contains(f.Scopes, s) {
			return nil, refuse(InvalidScope, "%s was not granted", string(s))
		}
	}
	return asked.Scopes, nil
}

// reused ends a family whose token was shown again.
func (s *Service) reused(ctx context.Context, f Family, from From) error {
	if err := s.Sessions.End(ctx, f.OrgID, f.SessionID, reasonReuse); err != nil {
		return err
	}
	now := s.Now()
	p := authz.Principal{OrgID: f.OrgID, OwnerID: f.HolderID, KeyID: f.SessionID, Method: authz.ByToken, Address: from.Address}
	rec := audit.New(ctx, p, now, "oauth.refresh_reuse", f.SessionID).With(map[string]any{"client": f.ClientID})
	rec.Outcome = audit.Denied
	if err := s.Store.NoteReuse(ctx, f, now, rec); err != nil {
		return err
	}
	return refuse(InvalidGrant, "the refresh token was used before: its session is over")
}

// Revoke ends the session of a token that its client gives back. A token that is not
// the client's, or none, is fine (RFC 7009, 2.2).
func (s *Service) Revoke(ctx context.Context, clientID, token string) error {
	f, err := s.Store.FindRefresh(ctx, Hash(token))
	switch {
	case err == nil && f.ClientID == clientID:
		return s.Sessions.End(ctx, f.OrgID, f.SessionID, reasonRevoked)
	case err == nil:
		return nil
	case !fault.Is(err, fault.NotFound):
		return err
	}
	c, err := s.Tokens.Verify(ctx, token)
	if fault.Is(err, fault.Unauthenticated) || err == nil && c.ClientID != clientID {
		return nil
	}
	if err != nil {
		return err
	}
	rec, err := s.Live.ByID(ctx, c.SessionID)
	switch {
	case fault.Is(err, fault.Unauthenticated):
		return nil // it is over
	case err != nil:
		return err
	}
	return s.Sessions.End(ctx, rec.OrgID, rec.ID, reasonRevoked)
}

// Introspection is what an access token is good for, now.
type Introspection struct {
	Active    bool
	Subject   string
	ClientID  string
	SessionID string
	OrgID     string
	Scopes    []string
	Expires   time.Time
}

// Introspect tells a service account about an access token of its own organisation.
// Of others it is told nothing: to it they are no tokens.
func (s *Service) Introspect(ctx context.Context, p Program, token string) (Introspection, error) {
	c, err := s.Tokens.Verify(ctx, token)
	if fault.Is(err, fault.Unauthenticated) {
		return Introspection{}, nil
	}
	if err != nil {
		return Introspection{}, err
	}
	rec, err := s.Live.ByID(ctx, c.SessionID)
	switch {
	case fault.Is(err, fault.Unauthenticated) || err == nil && rec.OrgID != p.Subject.OrgID:
		return Introspection{}, nil
	case err != nil:
		return Introspection{}, err
	}
	holder := rec.Principal(s.Now)
	scopes := within(c.Scopes, authz.Effective(holder.Subject()))
	return Introspection{
		Active: true, Subject: rec.HolderID, ClientID: c.ClientID, SessionID: rec.ID, OrgID: rec.OrgID,
		Scopes: Asked{Scopes: scopes}.Words(), Expires: c.Expires,
	}, nil
}
