package factor

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/throttle"
)

// Service enrols, checks and removes second factors.
type Service struct {
	Store    Store
	WebAuthn WebAuthn
	Vault    Vault
	Guesses  Guesses
	Sessions Sessions
	Now      func() time.Time
	Issuer   string // what apps call the platform; "": AIaaS
}

// ErrCopied is why a passkey is refused that counts behind what it said before.
var ErrCopied = errors.New("the passkey counts backwards: there may be a copy of it")

// The audited actions.
const (
	ActionTOTPStart      = "totp.start"
	ActionTOTPConfirm    = "totp.confirm"
	ActionTOTPDelete     = "totp.delete"
	ActionCodesReplace   = "recovery_codes.replace"
	ActionCodeUse        = "recovery_code.use"
	ActionPasskeyAdd     = "passkey.create"
	ActionPasskeyRename  = "passkey.update"
	ActionPasskeyDelete  = "passkey.delete"
	ActionPasskeyRefused = "passkey.refuse"
)

// Methods lists how a person can prove himself besides his password; empty where he
// has no second factor.
func (s *Service) Methods(ctx context.Context, userID string) ([]Method, error) {
	st, err := s.load(ctx, userID)
	if err != nil {
		return nil, err
	}
	var out []Method
	if st.TOTP != nil {
		out = append(out, ByTOTP)
	}
	if len(st.Passkeys) > 0 {
		out = append(out, ByPasskey)
	}
	if st.Has() && st.Codes.Left > 0 {
		out = append(out, ByRecoveryCode)
	}
	return out, nil
}

// load reads a person's factors; passkeys of another domain are none here.
func (s *Service) load(ctx context.Context, userID string) (State, error) {
	st, err := s.Store.Load(ctx, userID)
	if err != nil {
		return State{}, err
	}
	return s.here(st), nil
}

func (s *Service) here(st State) State {
	var keys []Passkey
	for _, k := range st.Passkeys {
		if k.RPID == s.WebAuthn.RPID() {
			keys = append(keys, k)
		}
	}
	st.Passkeys = keys
	return st
}

// Prove takes a person's proof, which is good no second time. Unauthenticated, with
// one text, where it proves nothing; RateLimited where there were too many guesses at
// this person's codes; Unprocessable where it is not exactly one proof.
func (s *Service) Prove(ctx context.Context, userID string, p Proof, from From) error {
	how, err := p.method()
	switch {
	case err != nil:
		return err
	case how == ByPasskey:
		return s.provePasskey(ctx, userID, *p.Passkey, from)
	case how == ByTOTP:
		return s.guess(ctx, userID, from, func() error { return s.useTOTP(ctx, userID, p.TOTP) })
	}
	return s.guess(ctx, userID, from, func() error { return s.useCode(ctx, userID, p.RecoveryCode, from) })
}

// guess bounds tries at what can be guessed: each counts before it is looked at.
func (s *Service) guess(ctx context.Context, userID string, from From, try func() error) error {
	keys := throttle.Keys{Account: userID, Address: from.Address, Device: from.Device}
	if err := s.Guesses.Take(ctx, throttle.Factor, keys); err != nil {
		return err
	}
	if err := try(); err != nil {
		return err
	}
	return s.Guesses.Succeeded(ctx, throttle.Factor, keys)
}

func (s *Service) useTOTP(ctx context.Context, userID, code string) error {
	st, err := s.load(ctx, userID)
	switch {
	case err != nil:
		return err
	case st.TOTP == nil:
		return errRefused()
	}
	step, ok, err := s.match(*st.TOTP, code)
	switch {
	case err != nil:
		return err
	case !ok:
		return errRefused()
	}
	used, err := s.Store.UseStep(ctx, userID, st.TOTP.ID, step)
	switch {
	case err != nil:
		return err
	case !used:
		return errRefused() // it was used, or a later one was
	}
	return nil
}

// match finds the step of a code of an app.
func (s *Service) match(t TOTP, code string) (step int64, ok bool, err error) {
	secret, err := s.Vault.Open(t.Secret, t.ID)
	if err != nil {
		return 0, false, fault.Wrap(fault.Internal, "open secret of app "+t.ID, err)
	}
	step, ok, err = matchStep(secret, code, s.Now())
	if err != nil {
		return 0, false, fault.Wrap(fault.Internal, "check code of app "+t.ID, err)
	}
	return step, ok, nil
}

func (s *Service) useCode(ctx context.Context, userID, code string, from From) error {
	hash, ok := hashCode(userID, code)
	if !ok {
		return errRefused()
	}
	return s.Store.Change(ctx, userID, func(st State) (Change, error) {
		if !st.Has() {
			return Change{}, errRefused()
		}
		left := max(0, st.Codes.Left-1)
		return s.told(ctx, st, by(st, from), Change{UseCode: hash}, told{
			action: ActionCodeUse, target: userID, detail: map[string]any{"left": left},
			what: mail.FactorChanged{Change: mail.RecoveryCodeSpent, Left: left},
		})
	})
}

// by is the person himself, where nobody is signed in yet. The organisation is one that
// he belongs to, whatever was said: others have no record of him.
func by(st State, from From) authz.Principal {
	p := authz.Principal{OwnerID: st.UserID, KeyID: st.UserID, Method: authz.BySession, Address: from.Address}
	for i, m := range st.Memberships {
		if i == 0 || m.OrgID == from.OrgID {
			p.OrgID = m.OrgID
		}
	}
	return p
}

// told is how a change is recorded, and told to the person.
type told struct {
	action, target string
	detail         map[string]any
	outcome        audit.Outcome
	what           mail.FactorChanged
}

// told adds to a change its audit record, and a mail where there is something to tell.
func (s *Service) told(ctx context.Context, st State, p authz.Principal, c Change, t told) (Change, error) {
	now := s.Now()
	rec := audit.New(ctx, p, now, t.action, t.target)
	rec.Outcome = t.outcome
	if t.detail != nil {
		rec.Detail = t.detail
	}
	c.Audit = &rec
	if t.what.Change == "" {
		return c, nil
	}
	t.what.At, t.what.Address = now, p.Address
	note, err := mail.NewNote(p.OrgID, st.UserID, mail.KindFactorChanged, t.what, now)
	if err != nil {
		return Change{}, fault.Wrap(fault.Internal, "write mail", err)
	}
	c.Note = &note
	return c, nil
}

// Options begins a ceremony with one of a person's passkeys, or, where userID is "",
// with any: then it is a whole sign-in. Options are for navigator.credentials.get. A
// person without a passkey is Unauthenticated.
func (s *Service) Options(ctx context.Context, userID string) (ceremony string, options json.RawMessage, err error) {
	if userID == "" {
		return s.begin(ctx, Ceremony{Purpose: ToSignIn}, func() (Begun, error) { return s.WebAuthn.Ask(nil) })
	}
	st, err := s.load(ctx, userID)
	switch {
	case err != nil:
		return "", nil, err
	case len(st.Passkeys) == 0:
		return "", nil, errRefused()
	}
	return s.begin(ctx, Ceremony{Purpose: ToProve, UserID: userID}, func() (Begun, error) { return s.WebAuthn.Ask(&st) })
}

func (s *Service) begin(ctx context.Context, c Ceremony, ask func() (Begun, error)) (ceremony string, options json.RawMessage, err error) {
	begun, err := ask()
	if err != nil {
		return "", nil, err
	}
	now := s.Now()
	c.ID, c.State, c.CreatedAt, c.ExpiresAt = id.New(CeremonyID), begun.State, now, now.Add(CeremonyFor)
	if err := s.Store.KeepCeremony(ctx, c); err != nil {
		return "", nil, err
	}
	return c.ID, begun.Options, nil
}

// take ends a ceremony: whatever comes of its answer, there is no second one.
func (s *Service) take(ctx context.Context, purpose Purpose, userID string, p PasskeyProof) (Answer, error) {
	if !id.Valid(CeremonyID, p.Ceremony) || len(p.Credential) > maxCredential {
		return Answer{}, errRefused()
	}
	c, err := s.Store.TakeCeremony(ctx, Ceremony{ID: p.Ceremony, Purpose: purpose, UserID: userID}, s.Now())
	switch {
	case fault.Is(err, fault.NotFound):
		return Answer{}, errRefused()
	case err != nil:
		return Answer{}, err
	}
	return Answer{State: c.State, Credential: p.Credential}, nil
}

func (s *Service) provePasskey(ctx context.Context, userID string, p PasskeyProof, from From) error {
	a, err := s.take(ctx, ToProve, userID, p)
	if err != nil {
		return err
	}
	st, err := s.load(ctx, userID)
	if err != nil {
		return err
	}
	return s.verify(ctx, st, a, from)
}

// ProvePasskey takes the answer to a ceremony that asked for any passkey, and returns
// whose it is. The passkey has verified its user, so this is more than a password: it
// is both factors. Unauthenticated where it proves nothing.
func (s *Service) ProvePasskey(ctx context.Context, p PasskeyProof, from From) (userID string, err error) {
	a, err := s.take(ctx, ToSignIn, "", p)
	if err != nil {
		return "", err
	}
	userID, err = s.WebAuthn.Owner(p.Credential)
	if err != nil || !id.Valid(id.User, userID) {
		return "", errRefused()
	}
	st, err := s.load(ctx, userID)
	switch {
	case fault.Is(err, fault.NotFound):
		return "", errRefused()
	case err != nil:
		return "", err
	}
	return userID, s.verify(ctx, st, a, from)
}

func (s *Service) verify(ctx context.Context, st State, a Answer, from From) error {
	used, err := s.WebAuthn.Verify(st, a)
	if errors.Is(err, ErrCopied) {
		return s.copied(ctx, st, used, from)
	}
	if err != nil {
		return refusal(err)
	}
	used.At = s.Now()
	moved, err := s.Store.UsePasskey(ctx, st.UserID, used)
	switch {
	case err != nil:
		return err
	case !moved: // another answer was faster, and said as much or more
		return s.copied(ctx, st, used, from)
	}
	return nil
}

// refusal is the one text for what a passkey's answer may lack; the reason is for the
// operator.
func refusal(err error) error {
	if fault.Is(err, fault.Unauthenticated) {
		refused := errRefused()
		refused.Err = err
		return refused
	}
	return err
}

// copied refuses a passkey that may have a copy, and tells its owner.
func (s *Service) copied(ctx context.Context, st State, used Used, from From) error {
	key, ok := st.passkey(used.PasskeyID)
	if !ok {
		return errRefused()
	}
	change, err := s.told(ctx, st, by(st, from), Change{}, told{
		action: ActionPasskeyRefused, target: key.ID, outcome: audit.Denied,
		detail: map[string]any{"name": key.Name, "sign_count": used.SignCount, "known_sign_count": key.SignCount},
		what:   mail.FactorChanged{Change: mail.PasskeyRefused, Name: mail.Name(key.Name)},
	})
	if err != nil {
		return err
	}
	if err := s.Store.Change(ctx, st.UserID, func(State) (Change, error) { return change, nil }); err != nil {
		return err
	}
	refused := errRefused()
	refused.Err = ErrCopied
	return refused
}
