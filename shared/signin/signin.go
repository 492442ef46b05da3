// Package signin lets people in: it decides whether somebody is the person that he
// says, asks for a second factor where he has one, and begins his session. It also
// owns passwords: how one is set anew by a link that came by mail, changed, and shown
// again before a sensitive act.
//
// Who does not know a password learns nothing here, not even whether there is such a
// person. A sign-in counts its attempt, looks the address up, and checks exactly one
// hash, the same for everybody; only the right password leads to more work. Asking for
// a link never looks the address up: the request is put down, and a job finds out.
//
// Everything that is good once (a challenge, a link) is used up by one statement in
// the database, so that of any number of uses at once, in any number of processes, one
// succeeds. All are known by their SHA-256 only; they have 256 random bits.
//
// What guessing costs is for package throttle to say, second factors are package
// factor's, and what a session is and may do is package session's.
package signin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/factor"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/password"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/shared/throttle"
)

// Account is a person as signing in knows him. The zero value is nobody.
type Account struct {
	UserID string
	Email  string
	PHC    string // of his password; "" where he has none
	// PasswordAt is when the password was set: it tells one from the next, and not a hash
	// from one of the same password.
	PasswordAt time.Time
	LastOrg    string  // where he worked last; "" where that is not known
	Places     []Place // where he may work, the oldest membership first
}

// Place is an organisation that a person may work in.
type Place struct {
	OrgID, OrgName string
	Name           string // that he has there
	Role           authz.Role
	RoleID         string // of a role that the organisation made; else the role itself
	RoleName       string
	MFAForced      bool // he can do nothing there without a second factor
}

// place is where a sign-in leads to: the organisation that is asked for, else the one
// that he worked in last, else that of his oldest membership.
func (a Account) place(wanted string) (Place, bool) {
	var last *Place
	for i := range a.Places {
		switch a.Places[i].OrgID {
		case wanted:
			return a.Places[i], true
		case a.LastOrg:
			last = &a.Places[i]
		}
	}
	switch {
	case wanted != "" || len(a.Places) == 0:
		return Place{}, false
	case last != nil:
		return *last, true
	}
	return a.Places[0], true
}

// words are what others know of him.
func (a Account) words() []string {
	out := []string{a.Email}
	for _, p := range a.Places {
		out = append(out, p.Name, p.OrgName)
	}
	return out
}

// From is where a person comes from.
type From struct {
	Address   string
	UserAgent string
	Device    string       // what the browser was given when it signed in before
	Kind      session.Kind // how the session is to be carried
}

// Outcome is what comes of a sign-in: a session, or a challenge.
type Outcome struct {
	Account   Account
	Place     Place
	Session   session.Opened
	Device    string     // by which the browser is known from now on; "" with a challenge
	Challenge *Challenge // nil: signed in
}

// Challenge asks for a second factor.
type Challenge struct {
	Token     string
	Methods   []factor.Method
	ExpiresAt time.Time
}

// Purpose is what a challenge is for.
type Purpose string

// The purposes.
const (
	ToSignIn Purpose = "sign_in"
	ToReset  Purpose = "reset"
)

const (
	challengeFor = 10 * time.Minute
	// challengeTries is how many proofs a challenge takes. What can be guessed is bounded
	// for the person as well, by package throttle.
	challengeTries = 5
)

// Hash is the SHA-256 of what somebody holds.
type Hash = [sha256.Size]byte

// token makes something to hold, of 256 random bits.
func token() (text string, hash Hash) {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails: the process ends where there is no randomness
	text = base64.RawURLEncoding.EncodeToString(random)
	return text, sha256.Sum256([]byte(text))
}

// Open is a challenge to be kept.
type Open struct {
	Hash      Hash
	UserID    string
	Purpose   Purpose
	Detail    json.RawMessage // what is to be done when it is met
	CreatedAt time.Time
	ExpiresAt time.Time
}

// Store knows people.
type Store interface {
	// ByEmail and ByID find a person in one statement; the zero Account where there is
	// none. The address is in lower case.
	ByEmail(ctx context.Context, email string, now time.Time) (Account, error)
	ByID(ctx context.Context, userID string, now time.Time) (Account, error)
	// Renew replaces a hash of the same password, where it is still the one it was.
	Renew(ctx context.Context, userID, old, fresh string) error
	// Entered remembers where a person works now, and queues a mail to him unless it is
	// nil.
	Entered(ctx context.Context, userID, orgID string, note *mail.Note) error
}

// Challenges keeps challenges.
type Challenges interface {
	// Ask keeps a challenge.
	Ask(ctx context.Context, o Open) error
	// Asked tells whose a challenge is; NotFound where it is none that is good.
	Asked(ctx context.Context, h Hash, p Purpose, most int, now time.Time) (userID string, err error)
	// Try counts one of at most so many attempts at a challenge; NotFound as for Asked.
	Try(ctx context.Context, h Hash, p Purpose, most int, now time.Time) (userID string, detail json.RawMessage, err error)
	// Meet uses a challenge up, and reports whether this is what did.
	Meet(ctx context.Context, userID string, h Hash, now time.Time) (bool, error)
}

// Hasher checks and makes hashes of passwords: [password.Hasher].
type Hasher interface {
	Hash(ctx context.Context, text string) (phc string, err error)
	// Verify checks a password; one of nobody, whose hash is "", takes the same work.
	Verify(ctx context.Context, line password.Line, phc, text string) (ok, renew bool, err error)
}

// Throttle counts attempts: [throttle.Throttle].
type Throttle interface {
	Take(ctx context.Context, kind throttle.Kind, k throttle.Keys) error
	Admit(ctx context.Context, kind throttle.Kind, k throttle.Keys) (known bool, err error)
	Succeeded(ctx context.Context, kind throttle.Kind, k throttle.Keys) error
	Remember(ctx context.Context, device string, accounts ...string) (throttle.Device, error)
}

// Factors are second factors: [factor.Service].
type Factors interface {
	Methods(ctx context.Context, userID string) ([]factor.Method, error)
	Prove(ctx context.Context, userID string, p factor.Proof, from factor.From) error
	Options(ctx context.Context, userID string) (ceremony string, options json.RawMessage, err error)
	ProvePasskey(ctx context.Context, p factor.PasskeyProof, from factor.From) (userID string, err error)
}

// Sessions begins, renews and ends sessions: [session.Manager].
type Sessions interface {
	Begin(ctx context.Context, s session.Start) (session.Opened, error)
	Prove(ctx context.Context, org, sessionID string, means session.Means, mfa bool) (session.Opened, error)
	End(ctx context.Context, org, sessionID, reason string) error
	EndAll(ctx context.Context, userID, exceptID, reason string) (int, error)
}

// Gate tells whether an organisation demands its own single sign-on of a member, and
// whether that still lets him in.
type Gate interface {
	Required(ctx context.Context, orgID, userID string) (bool, error)
	// LetsIn reports whether a connection that has let a member in would do so now.
	LetsIn(ctx context.Context, orgID, connectionID, userID string) (bool, error)
}

// Denials hears of sign-ins that were refused: [audit.Denials].
type Denials interface{ Note(n audit.Denial) }

// Service signs people in.
type Service struct {
	Store      Store
	Challenges Challenges
	Hasher     Hasher
	Throttle   Throttle
	Factors    Factors
	Sessions   Sessions
	Gate       Gate
	Denials    Denials
	Now        func() time.Time
}

// errRefused is the one answer to a sign-in that fails, whatever the reason.
func errRefused() error {
	return fault.New(fault.Unauthenticated, "The e-mail address or the password is not right, or there is nothing to sign in to.")
}

// errChallenge is the one answer to a second step that fails.
func errChallenge() error {
	return fault.New(fault.Unauthenticated, "The second factor was not accepted, or the sign-in took too long.")
}

// Attempt is a try to sign in by a password.
type Attempt struct {
	Email    string
	Password string
	OrgID    string // to work in; "": where he worked last
	From     From
}

// SignIn signs somebody in by his password. Unauthenticated, with one text, where that
// fails; RateLimited after too many attempts.
func (s *Service) SignIn(ctx context.Context, a Attempt) (Outcome, error) {
	account, err := s.Recognise(ctx, a.Email, a.Password, a.From)
	if err != nil {
		return Outcome{}, err
	}
	return s.Proceed(ctx, Entry{Account: account, OrgID: a.OrgID, Means: session.Password, From: a.From})
}

// Recognise returns the person of an address where the password is his. It takes the
// same work whether there is such a person or not.
func (s *Service) Recognise(ctx context.Context, email, text string, from From) (Account, error) {
	keys := throttle.Keys{Account: fold(email), Address: from.Address, Device: from.Device}
	known, err := s.Throttle.Admit(ctx, throttle.Password, keys)
	if err != nil {
		return Account{}, err
	}
	line := password.Strangers
	if known {
		line = password.Known
	}
	account, err := s.Store.ByEmail(ctx, keys.Account, s.Now())
	if err != nil {
		return Account{}, err
	}
	ok, renew, err := s.Hasher.Verify(ctx, line, account.PHC, text)
	switch {
	case err != nil:
		return Account{}, err
	case !ok:
		s.denied(ctx, account, "password", from)
		return Account{}, errRefused()
	}
	if renew {
		if err := s.renew(ctx, account, text); err != nil {
			return Account{}, err
		}
	}
	return account, s.Throttle.Succeeded(ctx, throttle.Password, keys)
}

func (s *Service) renew(ctx context.Context, a Account, text string) error {
	fresh, err := s.Hasher.Hash(ctx, text)
	if err != nil {
		return err
	}
	return s.Store.Renew(ctx, a.UserID, a.PHC, fresh)
}

// nobody acts in the audit where an address is no person's.
const nobody = "unknown"

// denied tells of a refusal: in the audit of the organisation that the person works
// in, or, where it is nobody, in that of the platform. It does no I/O, so that both
// take the same time.
func (s *Service) denied(ctx context.Context, a Account, code string, from From) {
	d := audit.Denial{
		OrgID: audit.PlatformOrg, Actor: nobody, Action: audit.ActionAuthFail, Code: code, Target: "signIn",
		Address: from.Address, RequestID: audit.RequestID(ctx), At: s.Now(),
	}
	if p, ok := a.place(""); ok {
		d.OrgID, d.Actor = p.OrgID, a.UserID
	}
	s.Denials.Note(d)
}

// fold is the form of an address that people are found by.
func fold(email string) string { return strings.ToLower(strings.TrimSpace(email)) }
