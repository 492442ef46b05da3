package factor

import (
	"context"
	"encoding/json"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/shared/throttle"
)

// TOTP is an authenticator app of a person.
type TOTP struct {
	ID          string
	Secret      string // sealed, bound to the id
	CreatedAt   time.Time
	ConfirmedAt time.Time // zero while no code of it was shown
	LastStep    int64     // the last step of which a code was taken
}

// Passkey is a passkey of a person.
type Passkey struct {
	ID           string
	Name         string
	RPID         string // the domain that it is good for
	CredentialID []byte
	Record       json.RawMessage // its public key and what else the port [WebAuthn] keeps of it
	SignCount    uint32          // as the authenticator said last; 0: it does not count
	CreatedAt    time.Time
	LastUsedAt   time.Time // zero: never
}

// Codes are a person's recovery codes.
type Codes struct {
	Left      int
	CreatedAt time.Time // zero: there never were any
}

// Membership is what a person is in an organisation.
type Membership struct {
	OrgID, Name string
	Role        authz.Role
	MFARoles    []authz.Role // for which the organisation asks for a second factor, besides those that always need one
	Since       time.Time
}

// Forces reports whether the membership is of no use without a second factor.
func (m Membership) Forces() bool { return authz.MFAForced(m.Role, m.MFARoles) }

// State is all that there is of one person.
type State struct {
	UserID      string
	Email       string
	TOTP        *TOTP // confirmed
	Pending     *TOTP // waits for its first code
	Passkeys    []Passkey
	Codes       Codes
	Memberships []Membership // oldest first
}

// Has reports whether the person has a second factor.
func (s State) Has() bool { return s.TOTP != nil || len(s.Passkeys) > 0 }

// passkey finds a passkey by its id.
func (s State) passkey(id string) (Passkey, bool) {
	for _, k := range s.Passkeys {
		if k.ID == id {
			return k, true
		}
	}
	return Passkey{}, false
}

// Used is a passkey that has signed: what is to be kept of it now.
type Used struct {
	PasskeyID string
	SignCount uint32
	Record    json.RawMessage
	At        time.Time
}

// Confirmed is an app of which a code was shown.
type Confirmed struct {
	ID   string
	Step int64
	At   time.Time
}

// Change is what an operation changes; what is not set stays.
type Change struct {
	Start         *TOTP         // in place of an enrolment that waits
	Confirm       *Confirmed    // the waiting app is the person's, in place of the one before
	RemoveTOTP    bool          // also one that waits
	AddPasskey    *Passkey      // Conflict where somebody has its credential already
	RenamePasskey *Passkey      // by its id
	RemovePasskey string        // its id
	ReplaceCodes  *NewCodes     // with none of them: the person has no codes any more
	UseCode       []byte        // SHA-256 of a recovery code; Unauthenticated where it is none, or was used
	Audit         *audit.Record // nil: nothing worth a record
	Note          *mail.Note    // nil: nothing the person is to hear of
}

// NewCodes are recovery codes, in place of all before.
type NewCodes struct {
	Hashes [][]byte // SHA-256
	At     time.Time
}

// Purpose is what a ceremony is for.
type Purpose string

// The purposes.
const (
	ToRegister Purpose = "register"
	ToProve    Purpose = "prove"   // as the second factor of a person who is known
	ToSignIn   Purpose = "sign_in" // as the whole sign-in of whoever's passkey answers
)

// Ceremony is the server's half of an exchange with a passkey.
type Ceremony struct {
	ID        string
	UserID    string // "" to sign in
	Purpose   Purpose
	State     json.RawMessage // the port [WebAuthn]'s own
	CreatedAt time.Time
	ExpiresAt time.Time
}

// Store keeps the factors of people.
//
// Change runs edit on what there is of a person, and applies what it returns, in one
// transaction; changes of one person wait for each other. An error of edit is
// returned, and nothing is changed.
//
// UseStep, UsePasskey and TakeCeremony are one statement each, so that of several at
// once, in any number of processes, one succeeds: UseStep moves the last step of a
// confirmed app forward, and UsePasskey the count of a passkey (one that does not
// count stays at 0), and they report whether that is what they did; TakeCeremony
// removes a ceremony that has not expired and returns it, NotFound where there is
// none of that id, purpose and person.
type Store interface {
	Load(ctx context.Context, userID string) (State, error)
	Change(ctx context.Context, userID string, edit func(State) (Change, error)) error
	UseStep(ctx context.Context, userID, totpID string, step int64) (bool, error)
	UsePasskey(ctx context.Context, userID string, u Used) (bool, error)
	KeepCeremony(ctx context.Context, c Ceremony) error
	TakeCeremony(ctx context.Context, c Ceremony, now time.Time) (Ceremony, error)
}

// Begun is a ceremony that a browser can take part in.
type Begun struct {
	Options json.RawMessage // for navigator.credentials.create or .get
	State   json.RawMessage // to be kept for the answer, never shown
}

// Answer is a browser's half of a ceremony, with the server's.
type Answer struct {
	State      json.RawMessage
	Credential json.RawMessage
}

// WebAuthn exchanges with passkeys. All methods are pure: they compute.
type WebAuthn interface {
	// RPID is the domain that its passkeys are good for.
	RPID() string
	// Register asks for a new passkey, of which the browser finds the owner by
	// itself, and that verifies its user.
	Register(of State) (Begun, error)
	// Registered reads a new passkey: its credential id, record, count and RPID.
	// Unauthenticated where the answer is not to this ceremony, or of this place.
	Registered(of State, a Answer) (Passkey, error)
	// Ask asks one of the person's passkeys to sign, or any where of is nil.
	Ask(of *State) (Begun, error)
	// Owner reads, unverified, who the passkey says to be of.
	Owner(credential json.RawMessage) (userID string, err error)
	// Verify verifies a signature by one of the person's passkeys. Unauthenticated where
	// it is not to this ceremony, of this place or of such a passkey, or its user
	// was not verified. [ErrCopied] where it counts behind what it said before; then
	// Used says which one.
	Verify(of State, a Answer) (Used, error)
}

// Vault seals secrets, each bound to the id of its row.
type Vault interface {
	Seal(plain, bound string) (string, error)
	Open(sealed, bound string) (string, error)
}

// Guesses bounds how often a person's codes can be guessed: [throttle.Throttle]. What
// is counted is named by the person's id.
type Guesses interface {
	// Take counts one guess. RateLimited where there were too many.
	Take(ctx context.Context, kind throttle.Kind, k throttle.Keys) error
	// Succeeded takes back what was counted: it was no guess.
	Succeeded(ctx context.Context, kind throttle.Kind, k throttle.Keys) error
}

// Sessions renews sessions: [session.Manager].
type Sessions interface {
	// Prove notes that the person has proved himself, with a second factor where mfa
	// is true. The session gets a new token.
	Prove(ctx context.Context, org, sessionID string, means session.Means, mfa bool) (session.Opened, error)
	// EndWeak ends a person's sessions that have shown no second factor, but for one.
	EndWeak(ctx context.Context, userID, exceptID, reason string) error
	// Weaken takes back from a person's sessions that they have shown one.
	Weaken(ctx context.Context, userID string) error
}
