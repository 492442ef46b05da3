package factor

import (
	"context"
	"slices"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/session"
)

// Overview is what a person has, as he is shown it.
type Overview struct {
	TOTPSince time.Time // zero: no app
	Passkeys  []Passkey
	Codes     Codes
	// RequiredBy are the memberships that are of no use without a second factor.
	RequiredBy []Membership
}

// Enrolled is what follows from a factor that was enrolled.
type Enrolled struct {
	// RecoveryCodes are shown once, with the first factor; nil where there are some.
	RecoveryCodes []string
	// Session has shown a second factor now, and has a new token.
	Session session.Opened
}

// owner is the person who changes his own factors. Neither keys nor programs may,
// whatever they were given; nor may a session of single sign-on, for whoever runs one
// organisation's sign-on would hold the person's account in the others.
func (s *Service) owner(p authz.Principal) (userID string, err error) {
	userID, err = p.Person()
	switch {
	case err != nil:
		return "", err
	case p.Method != authz.BySession:
		return "", fault.New(fault.Forbidden, "only a person who has signed in changes second factors, and no program for him").With("reason", "person")
	case p.Means == string(session.SSO):
		return "", fault.New(fault.Forbidden, "second factors belong to your account, not to the organization whose sign-on you used: sign in with your password or a passkey").With("reason", "sso")
	}
	return userID, p.RequireRecent(s.Now())
}

// change changes what a person has. Who has a factor must have shown it in the session:
// what is there is looked at under the lock that the change is made under.
func (s *Service) change(ctx context.Context, p authz.Principal, userID string, edit func(State) (Change, error)) error {
	return s.Store.Change(ctx, userID, func(st State) (Change, error) {
		if s.here(st).Has() && !p.MFA {
			return Change{}, authz.ErrStepUp()
		}
		return edit(st)
	})
}

// Overview shows what the person has. No program is shown it, and a session of single
// sign-on nothing of other organisations.
func (s *Service) Overview(ctx context.Context, p authz.Principal) (Overview, error) {
	userID, err := p.Person()
	if err != nil {
		return Overview{}, err
	}
	if p.Method != authz.BySession {
		return Overview{}, fault.New(fault.Forbidden, "second factors are shown to a person who has signed in, and to no program for him").With("reason", "person")
	}
	st, err := s.load(ctx, userID)
	if err != nil {
		return Overview{}, err
	}
	out := Overview{Passkeys: st.Passkeys, Codes: st.Codes}
	if st.TOTP != nil {
		out.TOTPSince = st.TOTP.ConfirmedAt
	}
	for _, m := range st.Memberships {
		if m.Forces() && (p.Means != string(session.SSO) || m.OrgID == p.OrgID) {
			out.RequiredBy = append(out.RequiredBy, m)
		}
	}
	return out, nil
}

// StartTOTP makes the secret of an app. It counts from its first code on; until then
// an app that the person has stays. An enrolment that was begun before is dropped.
func (s *Service) StartTOTP(ctx context.Context, p authz.Principal) (e Enrolment, err error) {
	userID, err := s.owner(p)
	if err != nil {
		return Enrolment{}, err
	}
	err = s.change(ctx, p, userID, func(st State) (Change, error) {
		var t TOTP
		if e, t, err = s.makeApp(st); err != nil {
			return Change{}, err
		}
		return s.told(ctx, st, p, Change{Start: &t}, told{action: ActionTOTPStart, target: t.ID})
	})
	if err != nil {
		return Enrolment{}, err
	}
	return e, nil
}

// ConfirmTOTP takes the first code of the app that waits, which is the person's from
// now on, in place of one before. Unprocessable where the code is not right; Conflict
// where nothing waits for one. Device is what is known of it, for the bound on guesses.
func (s *Service) ConfirmTOTP(ctx context.Context, p authz.Principal, code, device string) (Enrolled, error) {
	userID, err := s.owner(p)
	if err != nil {
		return Enrolled{}, err
	}
	var out Enrolled
	err = s.guess(ctx, userID, From{OrgID: p.OrgID, Address: p.Address, Device: device}, func() error {
		return s.change(ctx, p, userID, func(st State) (Change, error) {
			change, codes, err := s.confirm(ctx, p, s.here(st), code)
			out.RecoveryCodes = codes
			return change, err
		})
	})
	if err != nil {
		return Enrolled{}, err
	}
	return s.renewed(ctx, p, out)
}

func (s *Service) confirm(ctx context.Context, p authz.Principal, st State, code string) (Change, []string, error) {
	now := s.Now()
	if st.Pending == nil || now.Sub(st.Pending.CreatedAt) > EnrolFor {
		return Change{}, nil, fault.New(fault.Conflict, "no authenticator app waits for its first code: begin anew")
	}
	step, ok, err := s.match(*st.Pending, code)
	switch {
	case err != nil:
		return Change{}, nil, err
	case !ok:
		return Change{}, nil, fault.New(fault.Unprocessable, "this is not the code that the app shows now; see that its clock is right").At("code")
	}
	what := mail.TOTPAdded
	if st.TOTP != nil {
		what = mail.TOTPReplaced
	}
	change, codes := s.first(st, Change{Confirm: &Confirmed{ID: st.Pending.ID, Step: step, At: now}})
	change, err = s.told(ctx, st, p, change, told{
		action: ActionTOTPConfirm, target: st.Pending.ID, detail: map[string]any{"replaced": st.TOTP != nil},
		what: mail.FactorChanged{Change: what},
	})
	return change, codes, err
}

// first adds recovery codes to a change that enrols a factor, where the person has none.
func (s *Service) first(st State, c Change) (Change, []string) {
	if st.Has() && st.Codes.Left > 0 {
		return c, nil
	}
	codes, hashes := newCodes(st.UserID)
	c.ReplaceCodes = &NewCodes{Hashes: hashes, At: s.Now()}
	return c, codes
}

// renewed makes the session one that has shown a second factor: what was enrolled was
// shown. Others that have shown none end, whoever has them: he could not begin one now.
func (s *Service) renewed(ctx context.Context, p authz.Principal, e Enrolled) (Enrolled, error) {
	err := s.Sessions.EndWeak(ctx, p.OwnerID, p.KeyID, "its holder has a second factor now")
	if err != nil {
		return Enrolled{}, err
	}
	e.Session, err = s.Sessions.Prove(ctx, p.OrgID, p.KeyID, session.Means(p.Means), true)
	if err != nil {
		return Enrolled{}, err
	}
	return e, nil
}

// RemoveTOTP removes the person's app, and one that waits. NotFound where there is none;
// Conflict where it is the last factor, and a role needs one.
func (s *Service) RemoveTOTP(ctx context.Context, p authz.Principal) error {
	userID, err := s.owner(p)
	if err != nil {
		return err
	}
	left := 1
	err = s.change(ctx, p, userID, func(st State) (Change, error) {
		st = s.here(st)
		switch {
		case st.TOTP == nil && st.Pending == nil:
			return Change{}, fault.New(fault.NotFound, "there is no authenticator app")
		case st.TOTP == nil:
			return s.told(ctx, st, p, Change{RemoveTOTP: true}, told{action: ActionTOTPDelete, target: st.Pending.ID})
		}
		left = len(st.Passkeys)
		change, err := s.without(st, left, Change{RemoveTOTP: true})
		if err != nil {
			return Change{}, err
		}
		return s.told(ctx, st, p, change, told{
			action: ActionTOTPDelete, target: st.TOTP.ID, what: mail.FactorChanged{Change: mail.TOTPRemoved},
		})
	})
	return s.removed(ctx, userID, left, err)
}

// removed takes back what a factor was worth that was the last one.
func (s *Service) removed(ctx context.Context, userID string, left int, err error) error {
	if err != nil || left > 0 {
		return err
	}
	return s.Sessions.Weaken(ctx, userID)
}

// without is a change that removes a factor, and leaves so many. With the last one the
// recovery codes go, for they are no factor of their own.
func (s *Service) without(st State, left int, c Change) (Change, error) {
	if left > 0 {
		return c, nil
	}
	i := slices.IndexFunc(st.Memberships, Membership.Forces)
	if i >= 0 {
		m := st.Memberships[i]
		return Change{}, fault.New(fault.Conflict, "your role %s in %s needs a second factor: add another before you remove the last one", string(m.Role), m.Name).
			With("organization_id", m.OrgID)
	}
	c.ReplaceCodes = &NewCodes{At: s.Now()}
	return c, nil
}

// ReplaceCodes makes new recovery codes; those before are no good any more. Conflict
// where the person has no second factor.
func (s *Service) ReplaceCodes(ctx context.Context, p authz.Principal) (codes []string, err error) {
	userID, err := s.owner(p)
	if err != nil {
		return nil, err
	}
	err = s.change(ctx, p, userID, func(st State) (Change, error) {
		if !s.here(st).Has() {
			return Change{}, fault.New(fault.Conflict, "recovery codes stand in for a second factor, and there is none")
		}
		var hashes [][]byte
		codes, hashes = newCodes(userID)
		return s.told(ctx, st, p, Change{ReplaceCodes: &NewCodes{Hashes: hashes, At: s.Now()}}, told{
			action: ActionCodesReplace, target: userID, what: mail.FactorChanged{Change: mail.RecoveryRenewed},
		})
	})
	if err != nil {
		return nil, err
	}
	return codes, nil
}
