// Package session holds what a person who has signed in acts by, and a program that
// has shown its secret.
//
// A session is bound to one holder and one organisation. It is the one credential
// behind a browser's cookie, a bearer token, a grant of OAuth (`aiaas login`) and an
// access token of a service account, so one list shows all of them and one act ends
// any of them, everywhere within a second: sessions are resolved like keys, by a
// cache whose entries die with their organisation's configuration version. What the
// holder may do is not stored with it: role, projects and the organisation's
// settings are read with the session, and a changed role holds at once.
//
// Tokens, their hashes and the cookie are made by the library scs; the store is our
// own, because a session is a row with an organisation, in a transaction with its
// audit record, and no opaque value. A token is made anew whenever its holder proves
// himself, so that one that was known before is worth nothing afterwards.
//
// It does not know how people prove themselves: that is package signin.
package session

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/tenant"
)

// Kind is how a session is carried.
type Kind string

// The kinds.
const (
	Browser Kind = "browser" // a cookie
	Bearer  Kind = "bearer"  // a token in the header Authorization
	OAuth   Kind = "oauth"   // a grant of OAuth: access tokens, and a family of refresh tokens
	Client  Kind = "client"  // an access token of a service account
)

// ByToken reports whether a session of the kind is shown by a token of its own. The
// others are named by access tokens.
func (k Kind) ByToken() bool { return k == Browser || k == Bearer }

// Means is how the holder proved himself.
type Means string

// The means.
const (
	Password Means = "password"
	Passkey  Means = "passkey"
	SSO      Means = "sso"
	Secret   Means = "client_secret"
)

// Session is what somebody acts by.
type Session struct {
	ID         string
	OrgID      string
	HolderID   string // "user_…" or "sa_…"
	Kind       Kind
	Means      Means
	Connection string        // of single sign-on
	Client     string        // the name of the OAuth client
	Scopes     []authz.Scope // nil: everything that the role gives
	MFA        bool          // a second factor, or a passkey that asks for one, was shown
	ProvedAt   time.Time     // when the holder last proved himself
	Address    string        // where it began
	UserAgent  string        // of what began it
	CreatedAt  time.Time
	SeenAt     time.Time // when it was last used, within a minute
	ExpiresAt  time.Time
}

// Start is what a session begins with.
type Start struct {
	OrgID      string
	HolderID   string
	Kind       Kind
	Means      Means
	Connection string
	Scopes     []authz.Scope
	MFA        bool
	ProvedAt   time.Time // zero: now
	Address    string
	UserAgent  string
	Client     string
	Expires    time.Time // zero: the organisation's session length; never later than that
	// Replaces is the holder's session, in whatever organisation, that this one takes the
	// place of: it must still live, and ends in the same transaction. Zero: none.
	Replaces Of
	// From is the id of the holder's session, in whatever organisation, that this one
	// comes of: it must still live. "": it comes of none.
	From string
	// SeenBy are those who may have seen the secret that a program's session begins with:
	// what they can do by it, they can do by what is made in the session.
	SeenBy []string
}

// Opened is a session with the token that it is shown by: once.
type Opened struct {
	Session

	Token string // "" where it is shown by access tokens
}

// Record is all that is needed to know what the holder of a session may do.
type Record struct {
	Session

	Ended        bool
	HolderActive bool
	Role         authz.Role
	Custom       authz.CustomRole
	Projects     map[string]authz.ProjectRole
	OrgStatus    tenant.Status
	TrialEnds    time.Time // zero: a trial without end
	Settings     tenant.Settings
	Restrictions authz.Restrictions
	TimeZone     *time.Location
}

// Usable reports whether the session may be used at a moment.
func (r *Record) Usable(now time.Time) bool {
	if r.Ended || !r.HolderActive || !r.OrgStatus.Serves() || !now.Before(r.ExpiresAt) {
		return false
	}
	if r.OrgStatus == tenant.Trial && !r.TrialEnds.IsZero() && !now.Before(r.TrialEnds) {
		return false
	}
	if r.Kind == Client {
		return true
	}
	// Settings that were made stricter bind the sessions that there are.
	return now.Before(r.CreatedAt.Add(r.Settings.SessionLength())) &&
		(!r.Kind.ByToken() || now.Before(r.SeenAt.Add(r.Settings.SessionIdle())))
}

// Principal is the caller that the session stands for.
func (r *Record) Principal(now func() time.Time) authz.Principal {
	p := authz.Principal{
		OrgID: r.OrgID, KeyID: r.ID, OwnerID: r.HolderID, Role: r.Role, Custom: r.Custom, Projects: r.Projects,
		Scopes: r.Scopes, Method: r.method(), MFA: r.MFA, ProvedAt: r.ProvedAt, Means: string(r.Means),
	}
	if p.Scopes == nil {
		p.Scopes = AllScopes(r.Role)
	}
	return p.Within(authz.Bounds{Restrictions: r.Restrictions, Zone: r.TimeZone, Now: now})
}

func (r *Record) method() authz.Method {
	switch r.Kind {
	case OAuth:
		return authz.ByToken
	case Client:
		return authz.ByClient
	case Browser, Bearer:
	}
	return authz.BySession
}

// AllScopes are the scopes of a session that leaves none out.
func AllScopes(r authz.Role) []authz.Scope {
	if r.OfPlatform() {
		return append(authz.Scopes(), authz.Platform)
	}
	return authz.Scopes()
}

const (
	// TokenPrefix is what tokens begin with: scanners find it, and keys differ by it.
	TokenPrefix = "aiaas_session_"
	tokenLen    = 43 // 256 bits in base 64
)

// ParseToken takes the prefix off a token; any other text is Unauthenticated.
func ParseToken(text string) (raw string, err error) {
	raw, ok := strings.CutPrefix(text, TokenPrefix)
	if !ok || len(raw) != tokenLen {
		return "", ErrUnauthenticated()
	}
	return raw, nil
}

// hash is how scs hashes a token for its store.
func hash(raw string) string {
	sum := sha256.Sum256([]byte(raw))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// ErrUnauthenticated is the one answer to every session that is not good, whatever the
// reason.
func ErrUnauthenticated() error {
	return fault.New(fault.Unauthenticated, "The session is over or not valid. Sign in.")
}

// Of names a session within its organisation.
type Of struct{ OrgID, ID string }

// Standing is what a session begins under.
type Standing struct {
	Active   bool // the holder may act
	Serves   bool // the organisation may
	Settings tenant.Settings
}

// Saved is a session to be stored, new or with a new token.
type Saved struct {
	Session Session
	Hash    string // of the token; "" where there is none
	Record  audit.Record
	// Ends is the holder's session that this one replaces.
	Ends Of
	From string // the id of a session of the holder that must still live; "": of none
	// SeenBy are those who may have seen the secret that it began with.
	SeenBy []string
	Most   int // of sessions that the holder may have in the organisation; the oldest end
}

// Filter says which sessions are meant, of those that have not ended.
type Filter struct {
	OrgID    string // "": in every organisation; then a holder is named
	HolderID string // "": of everybody in it
	ID       string // "": all
	Except   string // an id
	Weak     bool   // those in which no second factor was shown
}

// Store keeps sessions.
type Store interface {
	// Standing reads what a session begins under; NotFound where the holder is none of
	// the organisation's.
	Standing(ctx context.Context, org, holderID string) (Standing, error)
	// Save stores a session, in one transaction with its audit record and the end of
	// those that it replaces. A session that is there gets the new token, means, proof and
	// second factor; NotFound where it has ended meanwhile, or where the holder has; Unauthenticated where the one that it comes of
	// has. It comes before or after the end of all of the holder's sessions, never between.
	Save(ctx context.Context, s Saved) error
	// List returns the live sessions, the newest first.
	List(ctx context.Context, f Filter, now time.Time) ([]Session, error)
	// End ends sessions, each with the audit record that record makes, in one
	// transaction. It returns those that it ended.
	End(ctx context.Context, f Filter, at time.Time, reason string, record func(Session) audit.Record) ([]Session, error)
	// Weaken takes back that a second factor was shown, from all of a person's sessions,
	// and returns the organisations that they are in.
	Weaken(ctx context.Context, userID string) (orgs []string, err error)
	// Prune forgets at most limit sessions that expired before a time.
	Prune(ctx context.Context, before time.Time, limit int) (int, error)
}
