package oauth

import (
	"context"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/session"
)

// Service answers people who are asked, and programs that ask.
type Service struct {
	Store    Store
	Sessions Sessions
	Browsers Browsers
	Live     Live
	Tokens   Tokens
	Minter   Minter
	Throttle Throttle
	Denials  Denials
	Clients  []Client
	Issuer   string // the address under which everybody reaches the platform
	Now      func() time.Time
}

// Minter signs tokens.
type Minter interface {
	// MintAccess signs an access token of RFC 9068.
	MintAccess(ctx context.Context, a Access) (string, error)
	// MintIdentity signs an identity token of OpenID Connect.
	MintIdentity(ctx context.Context, i Identity) (string, error)
}

// Access is what an access token says.
type Access struct {
	Subject   string
	ClientID  string
	SessionID string
	Scopes    []authz.Scope
	AuthTime  time.Time // zero for programs
	IssuedAt  time.Time
	Expires   time.Time
}

// Identity is what an identity token says.
type Identity struct {
	Subject     string
	ClientID    string
	SessionID   string
	Nonce       string
	AccessToken string // that it comes with
	AuthTime    time.Time
	IssuedAt    time.Time
	Expires     time.Time
}

// From is where a request of a client comes from.
type From struct{ Address, UserAgent string }

// Issued is what a client is given.
type Issued struct {
	AccessToken  string
	Lifetime     time.Duration
	Scopes       []string
	RefreshToken string
	IDToken      string
}

// Client is a client that people can let in.
func (s *Service) Client(clientID string) (Client, bool) {
	for _, c := range s.Clients {
		if c.ID == clientID {
			return c, true
		}
	}
	return Client{}, false
}

// Prune is the job that forgets what is over, however much that is.
func (s *Service) Prune(ctx context.Context) (function.Counts, error) {
	var total Pruned
	for {
		n, err := s.Store.Prune(ctx, s.Now(), pruneBatch)
		total.add(n)
		switch {
		case err == nil && n.most() >= pruneBatch: // there may be more
		case total == (Pruned{}):
			return nil, err
		default:
			return function.Counts{
				"requests": total.Requests, "devices": total.Devices, "grants": total.Grants, "attempts": total.Attempts, "keys": total.Keys,
			}, err
		}
	}
}

const pruneBatch = 1000

// Approver is a person at his browser.
type Approver struct {
	Principal authz.Principal
	Proof     Proof
}

// who is whom the approver is.
func (a Approver) who() Who { return Who{OrgID: a.Principal.OrgID, UserID: a.Principal.OwnerID} }

// Approver returns the person behind a principal, if he is at his browser: a program
// that holds his token must not be able to let in another.
func (s *Service) Approver(ctx context.Context, p authz.Principal) (Approver, error) {
	if _, err := p.Person(); err != nil {
		return Approver{}, err
	}
	if p.Method == authz.BySession {
		list, err := s.Browsers.List(ctx, session.Filter{OrgID: p.OrgID, ID: p.KeyID}, s.Now())
		switch {
		case err != nil:
			return Approver{}, err
		case len(list) == 0:
			return Approver{}, session.ErrUnauthenticated()
		case list[0].Kind == session.Browser:
			b := list[0]
			return Approver{Principal: p, Proof: Proof{MFA: b.MFA, Means: b.Means, Connection: b.Connection, At: b.ProvedAt, SessionID: b.ID}}, nil
		}
	}
	return Approver{}, fault.New(fault.Forbidden, "a program is let in from the browser that you signed in with").With("reason", "browser")
}

// grantable is what of the asked scopes the approver's role and session leave.
func (a Approver) grantable(asked []authz.Scope) []authz.Scope {
	return within(asked, authz.Effective(a.Principal.Subject()))
}

// decision is the approver's answer to a client.
func (s *Service) decision(ctx context.Context, a Approver, clientID, target string, asked []authz.Scope) Decision {
	now := s.Now()
	granted := a.grantable(asked)
	return Decision{
		Approved: true, Granted: granted, Proof: a.Proof, At: now,
		Record: audit.New(ctx, a.Principal, now, "oauth.grant", target).With(map[string]any{"client": clientID, "scopes": Asked{Scopes: granted}.Words()}),
	}
}

// denial is that he does not want it.
func (s *Service) denial(ctx context.Context, a Approver, clientID, target string) Decision {
	now := s.Now()
	return Decision{At: now, Proof: a.Proof, Record: audit.New(ctx, a.Principal, now, "oauth.deny", target).With(map[string]any{"client": clientID})}
}

// begun is a session to be begun for a client, and what came of what.
type begun struct {
	client    Client
	who       Who
	granted   Asked
	proof     Proof
	nonce     string
	requestID string
}

// begin begins the session of a grant with its first tokens.
func (s *Service) begin(ctx context.Context, b begun, from From) (Issued, error) {
	now := s.Now()
	start := session.Start{
		OrgID: b.who.OrgID, HolderID: b.who.UserID, Kind: session.OAuth, Means: b.proof.Means, Connection: b.proof.Connection,
		Scopes: b.granted.Scopes, MFA: b.proof.MFA, ProvedAt: b.proof.At, Address: from.Address, UserAgent: from.UserAgent, Client: b.client.Name,
		From: b.proof.SessionID,
	}
	if !b.granted.Offline { // nothing outlives the one token
		start.Expires = now.Add(AccessLifetime)
	}
	opened, err := s.Sessions.Begin(ctx, start)
	switch {
	case fault.Is(err, fault.NotFound):
		return Issued{}, refuse(InvalidGrant, "who granted it is no active member any more")
	case fault.Is(err, fault.Unauthenticated):
		return Issued{}, refuse(InvalidGrant, "the session in which it was granted has ended")
	case err != nil:
		return Issued{}, err
	}
	o := Opening{RequestID: b.requestID, Family: Family{
		OrgID: b.who.OrgID, SessionID: opened.ID, HolderID: b.who.UserID, ClientID: b.client.ID, Scopes: b.granted.Scopes,
		OpenID: b.granted.OpenID, CreatedAt: now, ExpiresAt: opened.ExpiresAt,
	}}
	out := Issued{Scopes: b.granted.Words()}
	if b.granted.Offline {
		out.RefreshToken = newSecret(refreshPrefix)
		o.RefreshHash = Hash(out.RefreshToken)
	}
	replayed, err := s.Store.Open(ctx, o)
	if err != nil {
		return Issued{}, err
	}
	if replayed { // as if it had come a moment later: what was issued is worth nothing
		if err := s.Sessions.End(ctx, o.OrgID, o.SessionID, reasonCodeReuse); err != nil {
			return Issued{}, err
		}
	}
	return s.mint(ctx, out, minting{Family: o.Family, nonce: b.nonce, authTime: b.proof.At})
}

const (
	refreshPrefix   = "aiaas_refresh_"
	reasonCodeReuse = "its authorization code was used twice"
	reasonReuse     = "a refresh token was used twice"
	reasonRevoked   = "the client gave it back"
)

// minting is what tokens are minted of.
type minting struct {
	Family

	nonce    string
	authTime time.Time
}

func (s *Service) mint(ctx context.Context, out Issued, m minting) (Issued, error) {
	now := s.Now()
	expires := now.Add(AccessLifetime)
	if m.ExpiresAt.Before(expires) {
		expires = m.ExpiresAt
	}
	out.Lifetime = expires.Sub(now)
	var err error
	out.AccessToken, err = s.Minter.MintAccess(ctx, Access{
		Subject: m.HolderID, ClientID: m.ClientID, SessionID: m.SessionID, Scopes: m.Scopes,
		AuthTime: m.authTime, IssuedAt: now, Expires: expires,
	})
	if err != nil || !m.OpenID {
		return out, err
	}
	out.IDToken, err = s.Minter.MintIdentity(ctx, Identity{
		Subject: m.HolderID, ClientID: m.ClientID, SessionID: m.SessionID, Nonce: m.nonce, AccessToken: out.AccessToken,
		AuthTime: m.authTime, IssuedAt: now, Expires: expires,
	})
	return out, err
}
