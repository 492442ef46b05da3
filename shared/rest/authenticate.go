package rest

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/oauth"
	"github.com/aiaas/aiaas/shared/origin"
	"github.com/aiaas/aiaas/shared/session"
)

// Authenticator tells who sends a request: [Authentication]. Unauthenticated where
// that is nobody.
type Authenticator interface {
	Authenticate(r *http.Request) (authz.Principal, error)
}

// Keys tells whose key a text is: [apikey.Resolver].
type Keys interface {
	Resolve(ctx context.Context, text string) (apikey.Resolved, error)
}

// Sessions tells whose session a token is, or an access token names:
// [session.Resolver].
type Sessions interface {
	ByToken(ctx context.Context, token string) (*session.Record, error)
	ByID(ctx context.Context, sessionID string) (*session.Record, error)
}

// Authentication authenticates by API key, session or access token, and binds the
// caller to the access policy and to where he calls from.
type Authentication struct {
	Keys     Keys
	Sessions Sessions     // nil: no sessions
	Tokens   oauth.Tokens // nil: no access tokens
	Cookie   string       // the name of the cookie that carries a session
	Policy   authz.Policy
	Origins  *origin.Finder
	Now      func() time.Time
	Denials  *audit.Denials // nil: nobody hears of refusals
	Uses     *apikey.Uses   // nil: nobody asks when a key was last used
}

// Witness is an [Authenticator] that hears of those whom it or an operation refused.
type Witness interface {
	// Refused takes a refusal. The principal is the zero one where nobody was
	// authenticated.
	Refused(r *http.Request, p authz.Principal, d audit.Denial)
}

// Refused implements [Witness]: refusals of callers, and uses of keys that are known
// and no longer good, go into the audit of their organisation.
func (a *Authentication) Refused(r *http.Request, p authz.Principal, d audit.Denial) {
	if d.OrgID, d.Actor = p.OrgID, p.Actor(); d.OrgID == "" {
		known, ok := a.Keys.(interface {
			Known(text string) (*apikey.Record, bool)
		})
		text, err := apikey.FromRequest(r)
		if !ok || err != nil {
			return
		}
		k, ok := known.Known(text)
		if !ok {
			return
		}
		d.OrgID, d.Actor, d.Code = k.OrgID, k.KeyID, unusable(k)
	}
	d.At, d.Address = a.Now(), a.Origins.Address(r)
	a.Denials.Note(d)
}

// unusable says why a key is no longer good.
func unusable(k *apikey.Record) string {
	switch {
	case k.Revoked:
		return "key_revoked"
	case k.Suspended:
		return "key_suspended"
	case !k.OwnerActive:
		return "owner_suspended"
	case k.ProjectArchived:
		return "project_archived"
	case !k.OrgStatus.Serves():
		return "organization_" + string(k.OrgStatus)
	}
	return "key_expired"
}

// maxCredential is longer than any credential; longer ones are refused before any
// work.
const maxCredential = 4096

// Authenticate implements [Authenticator]. What a program states in a header counts;
// a cookie, which browsers send by themselves, where it states nothing.
func (a *Authentication) Authenticate(r *http.Request) (authz.Principal, error) {
	text, err := apikey.Credential(r)
	if err != nil {
		return authz.Principal{}, alike(err)
	}
	if text == "" {
		if text, err = a.cookie(r); err != nil {
			return authz.Principal{}, err
		}
	}
	p, err := a.principal(r, text)
	if err != nil {
		return authz.Principal{}, alike(err)
	}
	return p.From(a.Origins.Address(r)).Under(a.Policy), nil
}

// alike makes one answer of all that is no good, whatever it pretended to be.
func alike(err error) error {
	if !fault.Is(err, fault.Unauthenticated) {
		return err
	}
	return fault.New(fault.Unauthenticated, "The credential is missing or not valid. Send an API key, an access token or a session's token as \"Authorization: Bearer …\", an API key as \"X-API-Key: …\", or sign in.")
}

func (a *Authentication) principal(r *http.Request, text string) (authz.Principal, error) {
	switch {
	case text == "" || len(text) > maxCredential:
		return authz.Principal{}, apikey.ErrUnauthenticated()
	case a.Sessions != nil && strings.HasPrefix(text, session.TokenPrefix):
		rec, err := a.Sessions.ByToken(r.Context(), text)
		if err != nil {
			return authz.Principal{}, err
		}
		return rec.Principal(a.Now), nil
	case a.Tokens != nil && a.Sessions != nil && strings.Count(text, ".") == 2:
		return a.byToken(r.Context(), text)
	case len(text) > apikey.MaxLen:
		return authz.Principal{}, apikey.ErrUnauthenticated()
	}
	res, err := a.Keys.Resolve(r.Context(), text)
	if err != nil {
		return authz.Principal{}, err
	}
	if a.Uses != nil {
		a.Uses.Note(r.Context(), res.Record, a.Origins.Address(r))
	}
	return res.Principal(a.Now), nil
}

// byToken reads an access token, and asks whether the session that it was issued in
// still stands. It grants what both do.
func (a *Authentication) byToken(ctx context.Context, text string) (authz.Principal, error) {
	claims, err := a.Tokens.Verify(ctx, text)
	if err != nil {
		return authz.Principal{}, err
	}
	rec, err := a.Sessions.ByID(ctx, claims.SessionID)
	if err != nil {
		return authz.Principal{}, err
	}
	p := rec.Principal(a.Now)
	scopes := make([]authz.Scope, 0, len(claims.Scopes))
	for _, s := range claims.Scopes {
		if slices.Contains(p.Scopes, s) {
			scopes = append(scopes, s)
		}
	}
	p.Scopes = scopes
	return p, nil
}

// cookie is the session's token that a browser sends. Two of the name are a mistake
// or an attack: who set the other is not known.
func (a *Authentication) cookie(r *http.Request) (string, error) {
	if a.Cookie == "" {
		return "", nil
	}
	switch c := r.CookiesNamed(a.Cookie); {
	case len(c) == 0:
		return "", nil
	case len(c) > 1:
		return "", fault.New(fault.Invalid, "The request carries two sessions.")
	case !strings.HasPrefix(c[0].Value, session.TokenPrefix): // no key is taken from a cookie
		return "", session.ErrUnauthenticated()
	default:
		return c[0].Value, nil
	}
}

// Locator is an [Authenticator] that tells where a request comes from, also one that
// nobody has to be anybody for.
type Locator interface{ Locate(r *http.Request) string }

// Locate implements [Locator].
func (a *Authentication) Locate(r *http.Request) string { return a.Origins.Address(r) }
