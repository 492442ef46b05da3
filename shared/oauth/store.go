package oauth

import (
	"context"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/shared/throttle"
)

// Sessions begins and ends the sessions behind tokens: [session.Manager].
type Sessions interface {
	Begin(ctx context.Context, s session.Start) (session.Opened, error)
	End(ctx context.Context, org, sessionID, reason string) error
}

// Live finds the session that a token names: [session.Resolver].
type Live interface {
	ByID(ctx context.Context, sessionID string) (*session.Record, error)
}

// Throttle slows down who asks too often, by the network that he asks from:
// [throttle.Throttle].
type Throttle interface {
	Take(ctx context.Context, kind throttle.Kind, k throttle.Keys) error
}

// Denials hears of clients that were refused: [audit.Denials].
type Denials interface{ Note(n audit.Denial) }

// Browsers lists sessions: [session.Store].
type Browsers interface {
	List(ctx context.Context, f session.Filter, now time.Time) ([]session.Session, error)
}

// Proof is how a person had proved himself when he approved; a grant inherits it.
type Proof struct {
	MFA        bool
	Means      session.Means
	Connection string
	At         time.Time
	SessionID  string // his; what he approved is worth nothing once it has ended
}

// Request is what a client asks a person for.
type Request struct {
	Asked

	ID          string
	OrgID       string
	UserID      string
	ClientID    string
	RedirectURI string
	State       string
	Nonce       string
	Challenge   string    // of PKCE, S256
	ProvedAfter time.Time // zero: it does not matter
	CreatedAt   time.Time
	ExpiresAt   time.Time
}

// Decision is what a person said.
type Decision struct {
	Approved    bool
	Granted     []authz.Scope
	Proof       Proof
	CodeHash    []byte // of the code, where he approved
	CodeExpires time.Time
	At          time.Time
	Record      audit.Record
}

// CodeState says what a code's use met.
type CodeState string

// The states.
const (
	CodeFresh         CodeState = "fresh"          // for exactly one caller
	CodeReplayed      CodeState = "replayed"       // the first that comes after
	CodeReplayedAgain CodeState = "replayed again" // all others
)

// Code is a used authorization code.
type Code struct {
	Asked // what was granted

	State       CodeState
	OrgID       string
	RequestID   string
	UserID      string
	ClientID    string
	RedirectURI string
	Nonce       string
	Challenge   string
	Proof       Proof
	Expires     time.Time
	SessionID   string // "" until the session has begun
}

// Family is a session that a client holds, with its refresh tokens.
type Family struct {
	OrgID     string
	SessionID string
	HolderID  string
	ClientID  string
	Scopes    []authz.Scope
	OpenID    bool
	CreatedAt time.Time
	ExpiresAt time.Time // of the session
	Used      bool      // the token that it was found by
}

// Opening is a family's beginning.
type Opening struct {
	Family

	RefreshHash []byte // nil: it has no refresh token
	RequestID   string // whose code it came of; "" for a device
}

// Device is a program that waits on a device without a browser.
type Device struct {
	Asked

	CodeHash  []byte // of the device's code
	UserCode  string
	ClientID  string
	Address   string
	UserAgent string
	CreatedAt time.Time
	ExpiresAt time.Time
	Interval  time.Duration
}

// DeviceState says how far a device has got.
type DeviceState string

// The states.
const (
	DevicePending  DeviceState = "pending"
	DeviceSlowDown DeviceState = "slow_down"
	DeviceExpired  DeviceState = "expired"
	DeviceDenied   DeviceState = "denied"
	DeviceGranted  DeviceState = "granted" // for exactly one caller
)

// Poll is the answer to a device.
type Poll struct {
	Asked // what was granted

	State  DeviceState
	OrgID  string
	UserID string
	Proof  Proof
}

// Program is a service account with what it may prove itself by.
type Program struct {
	ID      string
	Name    string
	Subject authz.Subject // without scopes
	Secrets []KeptSecret
	SeenBy  []string // who may have seen the secret that it was authenticated by
}

// KeptSecret is a client secret as it is stored.
type KeptSecret struct {
	ID     string
	Hash   []byte
	SeenBy []string // who may have seen it
}

// Store keeps what is asked and granted. Every method that takes something takes it
// atomically: of any number of callers in any number of processes, one gets it.
type Store interface {
	RequestStore
	FamilyStore
	DeviceStore
	ProgramStore

	// Attempt counts one, and returns how many there are of the key in the running window,
	// and when that began.
	Attempt(ctx context.Context, key string, window time.Duration, at time.Time) (n int64, since time.Time, err error)
	// Prune forgets what is over, at most limit of each.
	Prune(ctx context.Context, now time.Time, limit int) (Pruned, error)
}

// RequestStore keeps requests, with the codes that they become.
type RequestStore interface {
	// AddRequest stores a request for a person.
	AddRequest(ctx context.Context, r Request) error
	// Request reads an open request of a person; NotFound where it is not his, decided or
	// over.
	Request(ctx context.Context, who Who, requestID string, now time.Time) (Request, error)
	// Decide takes a person's answer, with its audit record; NotFound as for Request.
	Decide(ctx context.Context, who Who, requestID string, d Decision) error
	// UseCode takes an authorization code; NotFound where there is none.
	UseCode(ctx context.Context, hash []byte, at time.Time) (Code, error)
	// Note writes an audit record into its organisation.
	Note(ctx context.Context, r audit.Record) error
}

// FamilyStore keeps families of refresh tokens.
type FamilyStore interface {
	// Open begins a family. It reports whether its code has been shown again meanwhile.
	Open(ctx context.Context, o Opening) (replayed bool, err error)
	// FindRefresh finds the family of a refresh token; NotFound where there is none.
	FindRefresh(ctx context.Context, hash []byte) (Family, error)
	// Rotate puts a new refresh token in the place of an unused one. False where it was
	// used before, or meanwhile.
	Rotate(ctx context.Context, f Family, old, next []byte, at time.Time) (bool, error)
	// NoteReuse notes that a family's token was shown again, with the audit record the
	// first time.
	NoteReuse(ctx context.Context, f Family, at time.Time, r audit.Record) error
}

// DeviceStore keeps devices that wait.
type DeviceStore interface {
	// AddDevice stores a waiting device; Conflict where its user code is another's.
	AddDevice(ctx context.Context, d Device) error
	// Device reads a waiting device by its user code; NotFound where it is none, decided
	// or over.
	Device(ctx context.Context, who Who, userCode string, now time.Time) (Device, error)
	// DecideDevice takes a person's answer; NotFound as for Device.
	DecideDevice(ctx context.Context, who Who, userCode string, d Decision) error
	// PollDevice says how far a device has got; NotFound where there is none, or its
	// answer was taken.
	PollDevice(ctx context.Context, hash []byte, clientID string, at time.Time) (Poll, error)
}

// ProgramStore finds service accounts.
type ProgramStore interface {
	// Program reads a service account that has secrets and is active; NotFound for others.
	Program(ctx context.Context, accountID string) (Program, error)
	// NoteSecret remembers when a secret was last used.
	NoteSecret(ctx context.Context, org, secretID string, at time.Time) error
}

// Pruned counts what was forgotten.
type Pruned struct{ Requests, Devices, Grants, Attempts, Keys int64 }

func (p *Pruned) add(n Pruned) {
	p.Requests += n.Requests
	p.Devices += n.Devices
	p.Grants += n.Grants
	p.Attempts += n.Attempts
	p.Keys += n.Keys
}

// most is how many there were of what there were most of.
func (p Pruned) most() int64 {
	return max(p.Requests, p.Devices, p.Grants, p.Attempts)
}

// Who is a person in an organisation.
type Who struct{ OrgID, UserID string }
