package apikey

import (
	"context"
	"net/netip"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
)

// Key is a key as its organisation sees it. The secret is not part of it.
type Key struct {
	ID            string
	OrgID         string
	ProjectID     string
	Name          string
	Environment   Environment
	Fingerprint   string
	Scopes        []authz.Scope
	Models        []string // nil: all that its project may use
	Limits        OwnLimits
	ExpiresAt     time.Time // zero: never
	RevokedAt     time.Time // zero: not revoked
	RevokedReason string
	Kind          Kind
	OwnerID       string         // the member or service account that it acts for
	IPs           []netip.Prefix // where it may be used from; none: anywhere
	SecretAt      time.Time      // since when its secret is the one it has
	SecretBy      string         // who is shown the secret: a member or service account; of a new key only
	RotateBy      time.Time      // when its secret is due to be changed
	Overlap       time.Time      // until when the secret before works too; zero: there is none
	SuspendedAt   time.Time      // zero: not suspended
	LastUsedAt    time.Time      // within some minutes; zero: never
	LastUsedFrom  string         // an address
	CreatedBy     string
	CreatedAt     time.Time
}

// OwnLimits are the limits that a key sets itself; nil takes the plan's default.
type OwnLimits struct {
	RequestsPerMinute  *int64
	TokensPerMinute    *int64
	ConcurrentRequests *int64
}

// State is what a key can be used for at a moment.
type State string

// The states.
const (
	Active    State = "active"
	Rotating  State = "rotating"  // active, and the secret before works too
	Suspended State = "suspended" // refused until it is resumed
	Expired   State = "expired"   // for good
	Revoked   State = "revoked"   // for good
)

// States lists all states.
func States() []State { return []State{Active, Rotating, Suspended, Expired, Revoked} }

// State is the key's state at a moment.
func (k Key) State(now time.Time) State {
	switch {
	case !k.RevokedAt.IsZero():
		return Revoked
	case !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt):
		return Expired
	case !k.SuspendedAt.IsZero():
		return Suspended
	case now.Before(k.Overlap):
		return Rotating
	}
	return Active
}

// Over reports whether the key has ended for good.
func (k Key) Over(now time.Time) bool {
	s := k.State(now)
	return s == Expired || s == Revoked
}

// RotationOverdue reports whether a key that has not ended has kept its secret for
// too long.
func (k Key) RotationOverdue(now time.Time) bool {
	return !k.RotateBy.IsZero() && !now.Before(k.RotateBy) && !k.Over(now)
}

// Filter says which keys are listed; what is empty leaves none out.
type Filter struct {
	State       State
	OwnerID     string
	ProjectID   string
	Environment Environment
	RotationDue RotationDue
}

// RotationDue says whether keys are listed by what is due.
type RotationDue string

// The choices.
const (
	AnyRotation RotationDue = ""
	OnlyOverdue RotationDue = "overdue"
)

// Page asks for a part of a list: what follows After, at most Limit.
type Page struct {
	After string // the id of the last one seen; "" from the start
	Limit int
}

// Listing is what a store is asked to list.
type Listing struct {
	Filter
	Page
	Reach authz.Reach // what of the organisation the asker may see
	Now   time.Time
}

// Owner is the member or service account that a key acts for, as it is now. One
// that is gone has no role.
type Owner struct {
	ID       string
	Known    bool
	Active   bool
	Role     authz.Role
	Custom   authz.CustomRole
	Projects map[string]authz.ProjectRole
}

// Project is what keys need to know of theirs.
type Project struct {
	ID       string
	Known    bool
	Archived bool
	Models   []string // nil: all of the organisation's
}

// Grounds are what a key stands on, read in the transaction that writes it.
type Grounds struct {
	Owner      Owner
	Project    Project
	OfPlatform bool // the organisation is the platform's own
	MaxDays    int  // the longest that a key may live; 0: without end
	MaxKeys    int64
	Keys       int64   // that have not ended; known where MaxKeys is not 0, for no limit
	Known      []Known // secrets of the owner's keys that others have seen; not read for an addition
}

// Place is where a key is to be added.
type Place struct {
	OwnerID   string
	ProjectID string
	At        time.Time // keys that have ended by then are not counted
}

// Draft is a key to be added.
type Draft struct {
	Key    Key
	Hash   Hash
	By     string // the credential that it is asked for by: whoever knows that one's secret, may be who asks; "": none
	Record audit.Record
}

// Change is what becomes of a key.
type Change struct {
	Key    Key
	Secret *Replacement  // nil: the key keeps its secret
	Record *audit.Record // nil: nothing has changed, and nothing is written
}

// Replacement is a new secret.
type Replacement struct {
	Hash  Hash
	By    string // the member or service account that asks for it
	ByKey string // and by which credential: who knows that one's secret, may be who asks
	// Until is when the secret before ceases to work; zero ends it at once. Those
	// before that one end in any case.
	Until time.Time
}

// Store keeps keys. Every method works within one organisation; what belongs to
// another is fault.NotFound. Changes and their audit records are one transaction.
type Store interface {
	// AddKey adds the key that draft makes for a place. Adding to one organisation
	// happens one after the other, so that what is counted holds.
	AddKey(ctx context.Context, org string, p Place, draft func(Grounds) (Draft, error)) error
	// ChangeKey makes of a key what change says, while nobody else changes it.
	ChangeKey(ctx context.Context, org, keyID string, change func(Key, Grounds) (Change, error)) error
	GetKey(ctx context.Context, org, keyID string) (Key, error)
	ListKeys(ctx context.Context, org string, l Listing) ([]Key, error) // the oldest first
}

// Bumper moves an organisation's configuration version on, after a change and
// before its answer, so that no process serves the old state.
type Bumper interface {
	Bump(ctx context.Context, org string) error
}

// Service creates, lists, changes and ends keys.
type Service struct {
	Store  Store
	Finder Finder // of reported keys
	Bump   Bumper
	Leaks  *Throttle
	Now    func() time.Time
}

// List returns a page of the keys within reach, oldest first.
func (s *Service) List(ctx context.Context, p authz.Principal, f Filter, page Page) ([]Key, error) {
	reach, err := p.Reach(ctx, authz.DoKeysRead)
	if err != nil {
		return nil, err
	}
	return s.Store.ListKeys(ctx, p.OrgID, Listing{Filter: f, Page: page, Reach: reach, Now: s.Now()})
}

// Get returns one key.
func (s *Service) Get(ctx context.Context, p authz.Principal, keyID string) (Key, error) {
	reach, err := p.Reach(ctx, authz.DoKeysRead)
	if err != nil {
		return Key{}, err
	}
	k, err := s.Store.GetKey(ctx, p.OrgID, keyID)
	if err != nil {
		return Key{}, err
	}
	if !reach.Covers(k.ProjectID, k.OwnerID) {
		return Key{}, ErrNoKey()
	}
	return k, nil
}

// ErrNoKey is the one answer to ids of keys that are foreign, out of reach or none.
func ErrNoKey() error { return fault.New(fault.NotFound, "there is no such API key") }
