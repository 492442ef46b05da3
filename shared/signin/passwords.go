package signin

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
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

// The audited acts, in every organisation that the person works in.
const (
	ActionChange = "password.change"
	ActionReset  = "password.reset"
)

// Setting is a password that is to be set, and by what right: exactly one of Link, Met
// and Old.
type Setting struct {
	UserID string
	PHC    string
	Link   *Hash  // a link, which is used up by it
	Met    *Hash  // a challenge, which is used up by it
	Old    string // the hash of the password that was shown
	At     time.Time
	Audit  []audit.Record
	Note   mail.Note
}

// PasswordStore keeps passwords and the links by which they are set.
type PasswordStore interface {
	// Request puts down that somebody asks for a link; it looks nothing up.
	Request(ctx context.Context, r Request) error
	// Owner tells whose a link is; NotFound where it is none that is good.
	Owner(ctx context.Context, link Hash, now time.Time) (userID string, err error)
	// Exchange uses a link up and keeps a challenge in its place, in one transaction. It
	// reports whether this is what used it up.
	Exchange(ctx context.Context, link Hash, o Open, now time.Time) (bool, error)
	// Set sets a password, in one transaction with the use of what gives the right to it,
	// its audit records and its mail; all links and challenges of the person are void. It
	// reports whether the right was there.
	Set(ctx context.Context, s Setting) (bool, error)
}

// Passwords changes passwords.
type Passwords struct {
	*Service

	Keep PasswordStore
}

// Proof is how far a password got.
type Proof struct {
	Challenge *Challenge // nil: it is set
	Device    string     // by which the browser is known from now on
}

func errLink() error {
	return fault.New(fault.Unauthenticated, "The link is not good any more: it works once, and for a while. Ask for another.")
}

// Reset sets a password by a link that came by mail: also the first one. A person with
// a second factor is asked for it; the link is used up by then. All sessions of the
// person end, and none begins. Unauthenticated where the link is not good, and
// Unprocessable where the password is not; then the link stays.
func (p *Passwords) Reset(ctx context.Context, link, text string, from From) (Proof, error) {
	if err := p.Throttle.Take(ctx, throttle.Link, throttle.Keys{Address: from.Address, Device: from.Device}); err != nil {
		return Proof{}, err
	}
	hash := sha256.Sum256([]byte(link))
	userID, err := p.Keep.Owner(ctx, hash, p.Now())
	if err != nil {
		return Proof{}, goneAs(err, errLink())
	}
	account, err := p.Store.ByID(ctx, userID, p.Now())
	if err != nil {
		return Proof{}, err
	}
	if err := check("password", text, account); err != nil {
		return Proof{}, err
	}
	phc, err := p.Hasher.Hash(ctx, text)
	if err != nil {
		return Proof{}, err
	}
	methods, err := p.Factors.Methods(ctx, userID)
	switch {
	case err != nil:
		return Proof{}, err
	case len(methods) > 0:
		return p.exchange(ctx, account, hash, phc, methods)
	}
	return p.reset(ctx, account, Setting{PHC: phc, Link: &hash}, from)
}

// check refuses a password that is easy to guess, naming the member of the request.
func check(member, text string, a Account) error {
	if err := password.Check(text, a.words()...); err != nil {
		return fault.From(err).At(member)
	}
	return nil
}

// chosen is what a challenge remembers of a password that was chosen.
type chosen struct {
	PHC string `json:"phc"`
}

func (p *Passwords) exchange(ctx context.Context, a Account, link Hash, phc string, methods []factor.Method) (Proof, error) {
	detail, err := json.Marshal(chosen{PHC: phc})
	if err != nil {
		return Proof{}, fmt.Errorf("encode challenge: %w", err)
	}
	text, hash := token()
	now := p.Now()
	o := Open{Hash: hash, UserID: a.UserID, Purpose: ToReset, Detail: detail, CreatedAt: now, ExpiresAt: now.Add(challengeFor)}
	done, err := p.Keep.Exchange(ctx, link, o, now)
	switch {
	case err != nil:
		return Proof{}, err
	case !done:
		return Proof{}, errLink()
	}
	return Proof{Challenge: &Challenge{Token: text, Methods: methods, ExpiresAt: o.ExpiresAt}}, nil
}

// ResetOptions asks a browser for a passkey of the person whom a challenge of a reset
// asks.
func (p *Passwords) ResetOptions(ctx context.Context, challenge string) (ceremony string, options json.RawMessage, err error) {
	userID, err := p.Challenges.Asked(ctx, sha256.Sum256([]byte(challenge)), ToReset, challengeTries, p.Now())
	if err != nil {
		return "", nil, goneAs(err, errChallenge())
	}
	return p.Factors.Options(ctx, userID)
}

// ResetFactor goes on with a reset that was asked for a second factor.
func (p *Passwords) ResetFactor(ctx context.Context, a Answer) (Proof, error) {
	hash := sha256.Sum256([]byte(a.Challenge))
	userID, detail, err := p.Challenges.Try(ctx, hash, ToReset, challengeTries, p.Now())
	if err != nil {
		return Proof{}, goneAs(err, errChallenge())
	}
	var c chosen
	if err := json.Unmarshal(detail, &c); err != nil {
		return Proof{}, fmt.Errorf("read challenge: %w", err)
	}
	e, err := p.EntryOf(ctx, userID, Entry{From: a.From})
	if err != nil {
		return Proof{}, err
	}
	if err := p.prove(ctx, e, a.Proof); err != nil {
		return Proof{}, err
	}
	return p.reset(ctx, e.Account, Setting{PHC: c.PHC, Met: &hash}, a.From)
}

// reset sets the password and ends all sessions: before, so that none of them outlives
// it should this process end half-way, and after, for one may have begun meanwhile by
// the password that it was.
func (p *Passwords) reset(ctx context.Context, a Account, s Setting, from From) (Proof, error) {
	by := authz.Principal{OwnerID: a.UserID, KeyID: a.UserID, Method: authz.BySession, Address: from.Address}
	done, err := p.set(ctx, a, s, setter{by: by, action: ActionReset, from: from})
	switch {
	case err != nil:
		return Proof{}, err
	case !done && s.Link != nil:
		return Proof{}, errLink()
	case !done:
		return Proof{}, errChallenge()
	}
	device, err := p.Throttle.Remember(ctx, from.Device, a.Email, a.UserID)
	return Proof{Device: device.Token}, err
}

// setter is who sets a password, and how.
type setter struct {
	by     authz.Principal
	action string
	from   From
	keep   string // the session that stays
}

func (p *Passwords) set(ctx context.Context, a Account, s Setting, by setter) (done bool, err error) {
	s.UserID, s.At = a.UserID, p.Now()
	for _, place := range a.Places {
		who := by.by
		who.OrgID = place.OrgID
		s.Audit = append(s.Audit, audit.New(ctx, who, s.At, by.action, a.UserID))
	}
	s.Note, err = mail.NewNote("", a.UserID, mail.KindPasswordChanged, mail.PasswordChanged{
		At: s.At, Address: by.from.Address, Device: mail.Name(by.from.UserAgent), Reset: by.action == ActionReset,
	}, s.At)
	if err != nil {
		return false, err
	}
	if _, err := p.Sessions.EndAll(ctx, a.UserID, by.keep, by.action); err != nil {
		return false, err
	}
	if done, err = p.Keep.Set(ctx, s); err != nil || !done {
		return false, err
	}
	_, err = p.Sessions.EndAll(ctx, a.UserID, by.keep, by.action)
	return err == nil, err
}

// Change is a password that its owner changes.
type Change struct {
	Current, New string
	From         From
}

// Change changes the password of who shows the one that it was. Other sessions of his
// end, and this one gets a new token.
func (p *Passwords) Change(ctx context.Context, who authz.Principal, c Change) (session.Opened, error) {
	account, err := p.owner(ctx, who)
	if err != nil {
		return session.Opened{}, err
	}
	if err := p.show(ctx, account, c.Current, "current_password", c.From); err != nil {
		return session.Opened{}, err
	}
	if c.New == c.Current {
		return session.Opened{}, fault.New(fault.Unprocessable, "that is the password that it was").At("new_password")
	}
	if err := check("new_password", c.New, account); err != nil {
		return session.Opened{}, err
	}
	phc, err := p.Hasher.Hash(ctx, c.New)
	if err != nil {
		return session.Opened{}, err
	}
	done, err := p.set(ctx, account, Setting{PHC: phc, Old: account.PHC}, setter{by: who, action: ActionChange, from: c.From, keep: who.KeyID})
	switch {
	case err != nil:
		return session.Opened{}, err
	case !done:
		return session.Opened{}, fault.New(fault.Conflict, "the password was changed meanwhile")
	}
	return p.Sessions.Prove(ctx, who.OrgID, who.KeyID, session.Password, false)
}

// owner is who changes his own password: a person who has signed in here, and, where he
// has a second factor, has shown it a moment ago.
func (p *Passwords) owner(ctx context.Context, who authz.Principal) (Account, error) {
	account, err := p.acting(ctx, who)
	if err != nil {
		return Account{}, err
	}
	methods, err := p.Factors.Methods(ctx, account.UserID)
	switch {
	case err != nil:
		return Account{}, err
	case len(methods) > 0 && !who.MFA:
		return Account{}, authz.ErrStepUp()
	case len(methods) > 0:
		return account, who.RequireRecent(p.Now())
	}
	return account, nil
}

// acting is the person who acts for himself by a session of his own. That of an
// organisation's sign-on is not: who runs one could be anybody.
func (s *Service) acting(ctx context.Context, who authz.Principal) (Account, error) {
	if err := ownSession(who); err != nil {
		return Account{}, err
	}
	return s.signedIn(ctx, who)
}

// ownSession refuses a session of an organisation's sign-on.
func ownSession(who authz.Principal) error {
	if who.Means == string(session.SSO) {
		return fault.New(fault.Forbidden, "this belongs to your account, not to the organization whose sign-on you used: sign in with your password or a passkey").With("reason", "sso")
	}
	return nil
}

// signedIn is the person who acts for himself by a session.
func (s *Service) signedIn(ctx context.Context, who authz.Principal) (Account, error) {
	userID, err := who.Person()
	switch {
	case err != nil:
		return Account{}, err
	case who.Method != authz.BySession:
		return Account{}, fault.New(fault.Forbidden, "only a person who has signed in does this, and no program for him").With("reason", "person")
	}
	e, err := s.EntryOf(ctx, userID, Entry{})
	return e.Account, err
}

// show has a person show his password again, counted as sign-ins are: who has taken a
// session over has no more guesses than anybody.
func (s *Service) show(ctx context.Context, a Account, text, member string, from From) error {
	keys := throttle.Keys{Account: fold(a.Email), Address: from.Address, Device: from.Device}
	if err := s.Throttle.Take(ctx, throttle.Password, keys); err != nil {
		return err
	}
	ok, _, err := s.Hasher.Verify(ctx, password.Known, a.PHC, text)
	switch {
	case err != nil:
		return err
	case !ok:
		s.denied(ctx, a, "password", from)
		return fault.New(fault.Unprocessable, "the password is not right").At(member)
	}
	return s.Throttle.Succeeded(ctx, throttle.Password, keys)
}
