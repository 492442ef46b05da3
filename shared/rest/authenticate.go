package rest

import (
	"context"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/origin"
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

// Authentication authenticates by API key, and binds the caller to the access policy
// and to where he calls from.
type Authentication struct {
	Keys    Keys
	Policy  authz.Policy
	Origins *origin.Finder
	Now     func() time.Time
	Denials *audit.Denials // nil: nobody hears of refusals
	Uses    *apikey.Uses   // nil: nobody asks when a key was last used
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

// Authenticate implements [Authenticator].
func (a *Authentication) Authenticate(r *http.Request) (authz.Principal, error) {
	text, err := apikey.FromRequest(r)
	if err != nil {
		return authz.Principal{}, err
	}
	res, err := a.Keys.Resolve(r.Context(), text)
	if err != nil {
		return authz.Principal{}, err
	}
	address := a.Origins.Address(r)
	if a.Uses != nil {
		a.Uses.Note(r.Context(), res.Record, address)
	}
	return res.Principal(a.Now).From(address).Under(a.Policy), nil
}

// Locator is an [Authenticator] that tells where a request comes from, also one that
// nobody has to be anybody for.
type Locator interface{ Locate(r *http.Request) string }

// Locate implements [Locator].
func (a *Authentication) Locate(r *http.Request) string { return a.Origins.Address(r) }
