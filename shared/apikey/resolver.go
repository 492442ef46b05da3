package apikey

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/fresh"
	"github.com/aiaas/aiaas/shared/tenant"
)

// Record is all that the data plane needs to know of a key, its project and its
// organisation.
type Record struct {
	KeyID       string
	OrgID       string
	ProjectID   string
	Fingerprint string // of the secret that was shown
	Scopes      []authz.Scope
	Models      []string       // nil: every model that the project may use
	IPs         []netip.Prefix // where it may be used from; none: anywhere
	ExpiresAt   time.Time      // zero: never
	SecretUntil time.Time      // when a secret that was replaced ceases to work; zero for the key's own
	Revoked     bool
	Suspended   bool

	OwnerID     string // the member or service account that it acts for
	OwnerActive bool
	Role        authz.Role
	Custom      authz.CustomRole
	Projects    map[string]authz.ProjectRole

	OrgStatus       tenant.Status
	TrialEnds       time.Time // zero: a trial without end
	Restrictions    authz.Restrictions
	AllowedModels   []string // of the organisation; nil: all that are open
	GrantedModels   []string // restricted ones that the organisation may use
	ProjectModels   []string // nil: all of the organisation's
	ProjectArchived bool
	Currency        string
	TimeZone        *time.Location
	PriceBook       string
	Key             tenant.Limits
	Project         tenant.Limits
	Org             tenant.Limits
}

// Usable reports whether the key may be used at a moment.
func (r *Record) Usable(now time.Time) bool {
	return !r.Revoked && !r.Suspended && r.OwnerActive && !r.ProjectArchived && r.OrgStatus.Serves() &&
		(r.ExpiresAt.IsZero() || now.Before(r.ExpiresAt)) &&
		(r.SecretUntil.IsZero() || now.Before(r.SecretUntil)) &&
		(r.OrgStatus != tenant.Trial || r.TrialEnds.IsZero() || now.Before(r.TrialEnds))
}

// Principal is the caller that the key stands for, bound by the key's and its
// organisation's conditions.
func (r *Record) Principal(now func() time.Time) authz.Principal {
	p := authz.Principal{
		OrgID: r.OrgID, ProjectID: r.ProjectID, KeyID: r.KeyID, OwnerID: r.OwnerID, Role: r.Role, Custom: r.Custom,
		Scopes: r.Scopes, Projects: r.Projects, Models: r.Models, Method: authz.ByKey,
		Expires: r.ExpiresAt, Replaced: !r.SecretUntil.IsZero(),
	}
	return p.Within(authz.Bounds{KeyIPs: r.IPs, Restrictions: r.Restrictions, Zone: r.TimeZone, Now: now})
}

// AllowsModel reports whether the key may use a model: it is open or granted to the
// organisation, and neither organisation, project nor key leave it out.
func (r *Record) AllowsModel(model string, restricted bool) bool {
	granted := slices.Contains(r.GrantedModels, model)
	switch {
	case restricted && !granted:
		return false
	case r.AllowedModels != nil && !granted && !slices.Contains(r.AllowedModels, model):
		return false
	case r.ProjectModels != nil && !slices.Contains(r.ProjectModels, model):
		return false
	}
	return r.Models == nil || slices.Contains(r.Models, model)
}

// Finder reads a key's record by hash, from the primary. An unknown hash is
// fault.NotFound; any other error means that the answer is not known.
type Finder interface {
	FindKey(ctx context.Context, h Hash) (*Record, error)
}

// Versions tells the configuration version of the process and of organisations.
// A mutation bumps its organisation before it answers.
type Versions interface {
	Latest() uint64            // the newest version of any organisation
	Version(org string) uint64 // the newest version of this one
}

// Resolver finds the record of a key on every request. Records die a second after
// their read started, or at once when their organisation's version moved on.
type Resolver struct {
	cache    *fresh.Cache[Hash, *Record]
	versions Versions
	now      func() time.Time
	first    chan struct{} // room for the look-ups of keys that were not seen before
}

// maxFirst is how many keys that were not seen before are looked up at once. Anybody
// can invent keys: they wait for each other, and leave the database to the keys in
// use and to the recording of what those do.
const maxFirst = 3

// lookupTimeout bounds one look-up of a key.
const lookupTimeout = 5 * time.Second

// NewResolver makes a resolver over finder.
func NewResolver(finder Finder, versions Versions, now func() time.Time) *Resolver {
	return &Resolver{
		cache:    fresh.New(finder.FindKey, versions.Latest, now, lookupTimeout),
		versions: versions, now: now, first: make(chan struct{}, maxFirst),
	}
}

// Resolved is a record with the configuration version it is at least as new as.
type Resolved struct {
	*Record
	Version uint64
}

// Resolve returns the record of a usable key; Unauthenticated for every other
// text, Unavailable when it can't be known.
func (r *Resolver) Resolve(ctx context.Context, text string) (Resolved, error) {
	secret, err := Parse(text)
	if err != nil {
		return Resolved{}, err
	}
	return r.byHash(ctx, secret.Hash())
}

func (r *Resolver) byHash(ctx context.Context, h Hash) (Resolved, error) {
	v, err := r.find(ctx, h)
	if err == nil {
		if least := r.versions.Version(v.V.OrgID); v.Version < least {
			v, err = r.cache.Get(ctx, h, least)
		}
	}
	switch {
	case fault.Is(err, fault.NotFound):
		r.cache.Forget(h)
		return Resolved{}, ErrUnauthenticated()
	case err != nil:
		return Resolved{}, fault.Wrap(fault.Unavailable, "look up key", err).After(time.Second)
	case !v.V.Usable(r.now()):
		return Resolved{}, ErrUnauthenticated()
	}
	return Resolved{Record: v.V, Version: v.Version}, nil
}

func (r *Resolver) find(ctx context.Context, h Hash) (*fresh.Value[*Record], error) {
	if _, known := r.cache.Peek(h); known {
		return r.cache.Get(ctx, h, 0)
	}
	select {
	case r.first <- struct{}{}:
		defer func() { <-r.first }()
		return r.cache.Get(ctx, h, 0)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Known returns the record of a key that was just resolved, also of one that may
// not be used: a log tells its owner that somebody tried. It reads nothing, and
// authorises nothing.
func (r *Resolver) Known(text string) (*Record, bool) {
	secret, err := Parse(text)
	if err != nil {
		return nil, false
	}
	return r.cache.Peek(secret.Hash())
}

// FromRequest takes a key's text from X-API-Key or Authorization: Bearer. Two
// different keys are an invalid request, a key in the URL too: it would end up
// in logs on the way.
func FromRequest(r *http.Request) (string, error) {
	text, err := Credential(r)
	if err == nil && (text == "" || len(text) > MaxLen) {
		return "", ErrUnauthenticated()
	}
	return text, err
}

// Credential takes whatever stands where a key does, by the same rules; "" where
// nothing does. The management API takes tokens besides.
func Credential(r *http.Request) (string, error) {
	if inURL(r.URL.RawQuery) {
		return "", fault.New(fault.Invalid, "An API key must not stand in the URL. Revoke it if it is real: URLs end up in logs.")
	}
	text := ""
	for _, v := range r.Header["X-Api-Key"] {
		if err := take(&text, strings.TrimSpace(v)); err != nil {
			return "", err
		}
	}
	for _, v := range r.Header["Authorization"] {
		scheme, key, _ := strings.Cut(v, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return "", ErrUnauthenticated()
		}
		if err := take(&text, strings.TrimSpace(key)); err != nil {
			return "", err
		}
	}
	return text, nil
}

func inURL(query string) bool {
	if plain, err := url.QueryUnescape(query); err == nil {
		query = plain
	}
	return strings.Contains(query, "aiaas_")
}

func take(have *string, next string) error {
	if next == "" {
		return ErrUnauthenticated()
	}
	if *have != "" && *have != next {
		return fault.New(fault.Invalid, "The request carries two different API keys.")
	}
	*have = next
	return nil
}
