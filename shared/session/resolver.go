package session

import (
	"context"
	"time"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/fresh"
)

// Name names a session: by the hash of its token, or by its id.
type Name struct{ Hash, ID string }

// Finder reads a session's record, from the primary. An unknown name is
// fault.NotFound; any other error means that the answer is not known.
type Finder interface {
	FindSession(ctx context.Context, n Name) (*Record, error)
	// NoteSession remembers that a session was used.
	NoteSession(ctx context.Context, org, sessionID string, at time.Time) error
}

// Versions tells the configuration version of the process and of organisations.
type Versions interface {
	Latest() uint64            // the newest version of any organisation
	Version(org string) uint64 // the newest version of this one
}

const (
	lookupTimeout = 5 * time.Second
	// maxFirst is how many sessions that were not seen before are looked up at once:
	// anybody can invent tokens.
	maxFirst = 3
	// noteAfter is how old the last noted use of a session may get.
	noteAfter = time.Minute
)

// Resolver finds the record of a session on every request. Records die a second
// after their read started, or at once when their organisation's version moved on.
type Resolver struct {
	finder   Finder
	cache    *fresh.Cache[Name, *Record]
	versions Versions
	now      func() time.Time
	first    chan struct{}
}

// NewResolver makes a resolver over finder.
func NewResolver(finder Finder, versions Versions, now func() time.Time) *Resolver {
	return &Resolver{
		finder: finder, cache: fresh.New(finder.FindSession, versions.Latest, now, lookupTimeout),
		versions: versions, now: now, first: make(chan struct{}, maxFirst),
	}
}

// ByToken returns the record of a usable session; Unauthenticated for every other
// text, Unavailable when it can't be known.
func (r *Resolver) ByToken(ctx context.Context, text string) (*Record, error) {
	raw, err := ParseToken(text)
	if err != nil {
		return nil, err
	}
	rec, err := r.resolve(ctx, Name{Hash: hash(raw)})
	if err != nil {
		return nil, err
	}
	if !rec.Kind.ByToken() {
		return nil, ErrUnauthenticated()
	}
	return rec, nil
}

// ByID returns the record of a usable session that is named by an access token.
func (r *Resolver) ByID(ctx context.Context, sessionID string) (*Record, error) {
	rec, err := r.resolve(ctx, Name{ID: sessionID})
	if err != nil {
		return nil, err
	}
	if rec.Kind.ByToken() { // its id is no secret
		return nil, ErrUnauthenticated()
	}
	return rec, nil
}

func (r *Resolver) resolve(ctx context.Context, n Name) (*Record, error) {
	v, err := r.find(ctx, n)
	if err == nil {
		if least := r.versions.Version(v.V.OrgID); v.Version < least {
			v, err = r.cache.Get(ctx, n, least)
		}
	}
	now := r.now()
	switch {
	case fault.Is(err, fault.NotFound):
		r.cache.Forget(n)
		return nil, ErrUnauthenticated()
	case err != nil:
		return nil, fault.Wrap(fault.Unavailable, "look up session", err).After(time.Second)
	case !v.V.Usable(now):
		return nil, ErrUnauthenticated()
	}
	return v.V, r.note(ctx, v.V, now)
}

// note remembers the use, in its own time and once a minute: what idles is told by it.
func (r *Resolver) note(ctx context.Context, rec *Record, now time.Time) error {
	if now.Sub(rec.SeenAt) < noteAfter {
		return nil
	}
	return r.finder.NoteSession(ctx, rec.OrgID, rec.ID, now)
}

func (r *Resolver) find(ctx context.Context, n Name) (*fresh.Value[*Record], error) {
	if _, known := r.cache.Peek(n); known {
		return r.cache.Get(ctx, n, 0)
	}
	select {
	case r.first <- struct{}{}:
		defer func() { <-r.first }()
		return r.cache.Get(ctx, n, 0)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
