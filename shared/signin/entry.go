package signin

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aiaas/aiaas/shared/factor"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/shared/throttle"
)

// Entry is a person who has proved himself, on his way in.
type Entry struct {
	Account    Account
	OrgID      string // to work in; "": where he worked last
	Means      session.Means
	Connection string    // of single sign-on
	MFA        bool      // he has shown more than one factor already
	ProvedAt   time.Time // zero: now
	From       From
	Replaces   session.Of // the session by which he comes in, which ends; zero: none
}

// EntryOf is the entry of a person by his id: for those who proved themselves by other
// means than a password. Unauthenticated where there is no such person.
func (s *Service) EntryOf(ctx context.Context, userID string, e Entry) (Entry, error) {
	account, err := s.Store.ByID(ctx, userID, s.Now())
	switch {
	case err != nil:
		return Entry{}, err
	case account.UserID == "":
		return Entry{}, errRefused()
	}
	e.Account = account
	return e, nil
}

// Proceed lets a person in, or asks for his second factor first: of everybody who has
// one and has not shown it. Unauthenticated where there is nothing to sign in to;
// Forbidden where the organisation demands its single sign-on of him.
func (s *Service) Proceed(ctx context.Context, e Entry) (Outcome, error) {
	place, err := s.destination(ctx, e)
	if err != nil {
		return Outcome{}, err
	}
	if !e.MFA {
		methods, err := s.Factors.Methods(ctx, e.Account.UserID)
		if err != nil {
			return Outcome{}, err
		}
		if len(methods) > 0 {
			return s.challenge(ctx, e, place, methods)
		}
	}
	return s.enter(ctx, e, place)
}

// destination is where the entry leads to. Where nobody asked for an organisation, one
// that takes him as he comes.
func (s *Service) destination(ctx context.Context, e Entry) (Place, error) {
	place, ok := e.Account.place(e.OrgID)
	if !ok {
		s.denied(ctx, e.Account, "no_membership", e.From)
		return Place{}, errRefused()
	}
	if e.Means == session.SSO {
		return s.byConnection(ctx, e, place)
	}
	candidates := []Place{place}
	if e.OrgID == "" {
		candidates = append(candidates, e.Account.Places...)
	}
	for _, c := range candidates {
		closed, err := s.Gate.Required(ctx, c.OrgID, e.Account.UserID)
		if err != nil {
			return Place{}, err
		}
		if !closed {
			return c, nil
		}
	}
	s.denied(ctx, e.Account, "sso_required", e.From)
	return Place{}, fault.New(fault.Forbidden, "the organization has its people sign in by its own single sign-on").
		With("reason", "sso_required").With("organization_id", place.OrgID)
}

// byConnection is the place of who comes by single sign-on, where its connection still
// lets him in: he may have taken his time with the second factor.
func (s *Service) byConnection(ctx context.Context, e Entry, place Place) (Place, error) {
	in, err := s.Gate.LetsIn(ctx, place.OrgID, e.Connection, e.Account.UserID)
	switch {
	case err != nil:
		return Place{}, err
	case !in:
		s.denied(ctx, e.Account, "sso_off", e.From)
		return Place{}, errRefused()
	}
	return place, nil
}

// waiting is what a challenge remembers of an entry.
type waiting struct {
	OrgID      string        `json:"org_id"`
	Means      session.Means `json:"means"`
	Connection string        `json:"connection,omitempty"`
	Kind       session.Kind  `json:"kind"`
}

func (s *Service) challenge(ctx context.Context, e Entry, place Place, methods []factor.Method) (Outcome, error) {
	detail, err := json.Marshal(waiting{OrgID: place.OrgID, Means: e.Means, Connection: e.Connection, Kind: e.From.Kind})
	if err != nil {
		return Outcome{}, fmt.Errorf("encode challenge: %w", err)
	}
	text, hash := token()
	now := s.Now()
	o := Open{Hash: hash, UserID: e.Account.UserID, Purpose: ToSignIn, Detail: detail, CreatedAt: now, ExpiresAt: now.Add(challengeFor)}
	if err := s.Challenges.Ask(ctx, o); err != nil {
		return Outcome{}, err
	}
	return Outcome{Account: e.Account, Place: place, Challenge: &Challenge{Token: text, Methods: methods, ExpiresAt: o.ExpiresAt}}, nil
}

// Answer meets a challenge.
type Answer struct {
	Challenge string
	Proof     factor.Proof
	From      From // its Kind does not matter: the sign-in's does
}

// SecondFactor goes on with a sign-in that was asked for a second factor. A challenge
// is met once, and takes a few attempts. Unauthenticated, with one text, where it
// fails.
func (s *Service) SecondFactor(ctx context.Context, a Answer) (Outcome, error) {
	hash := sha256.Sum256([]byte(a.Challenge))
	userID, detail, err := s.Challenges.Try(ctx, hash, ToSignIn, challengeTries, s.Now())
	if err != nil {
		return Outcome{}, goneAs(err, errChallenge())
	}
	var w waiting
	if err := json.Unmarshal(detail, &w); err != nil {
		return Outcome{}, fmt.Errorf("read challenge: %w", err)
	}
	e, err := s.EntryOf(ctx, userID, Entry{OrgID: w.OrgID, Means: w.Means, Connection: w.Connection, MFA: true, From: a.From})
	if err != nil {
		return Outcome{}, err
	}
	e.From.Kind = w.Kind
	if err := s.prove(ctx, e, a.Proof); err != nil {
		return Outcome{}, err
	}
	met, err := s.Challenges.Meet(ctx, userID, hash, s.Now())
	switch {
	case err != nil:
		return Outcome{}, err
	case !met:
		return Outcome{}, errChallenge()
	}
	return s.Proceed(ctx, e)
}

func (s *Service) prove(ctx context.Context, e Entry, p factor.Proof) error {
	err := s.Factors.Prove(ctx, e.Account.UserID, p, factor.From{OrgID: e.OrgID, Address: e.From.Address, Device: e.From.Device})
	if fault.Is(err, fault.Unauthenticated) {
		s.denied(ctx, e.Account, "second_factor", e.From)
		return errChallenge()
	}
	return err
}

// goneAs answers what is not there, any more or at all.
func goneAs(err, answer error) error {
	if fault.Is(err, fault.NotFound) {
		return answer
	}
	return err
}

// PasskeyOptions asks a browser for a passkey: one of the person whom a challenge of a
// sign-in asks, or, with "", any whose owner wants to sign in by it alone.
func (s *Service) PasskeyOptions(ctx context.Context, challenge string, from From) (ceremony string, options json.RawMessage, err error) {
	userID := ""
	switch challenge {
	case "":
		if err := s.Throttle.Take(ctx, throttle.Passkey, throttle.Keys{Address: from.Address}); err != nil {
			return "", nil, err
		}
	default:
		userID, err = s.Challenges.Asked(ctx, sha256.Sum256([]byte(challenge)), ToSignIn, challengeTries, s.Now())
		if err != nil {
			return "", nil, goneAs(err, errChallenge())
		}
	}
	return s.Factors.Options(ctx, userID)
}

// Passkey signs in whoever the passkey is of. Its owner was verified by it, so it is
// two factors in one.
func (s *Service) Passkey(ctx context.Context, p factor.PasskeyProof, orgID string, from From) (Outcome, error) {
	userID, err := s.Factors.ProvePasskey(ctx, p, factor.From{OrgID: orgID, Address: from.Address, Device: from.Device})
	if err != nil {
		return Outcome{}, err
	}
	e, err := s.EntryOf(ctx, userID, Entry{OrgID: orgID, Means: session.Passkey, MFA: true, From: from})
	if err != nil {
		return Outcome{}, err
	}
	return s.Proceed(ctx, e)
}

// enter begins the session. Every sign-in begins a new one, under a new token: one that
// the browser had before is worth nothing to who planted it. RateLimited where the person
// comes in over and over.
func (s *Service) enter(ctx context.Context, e Entry, place Place) (Outcome, error) {
	if err := s.Throttle.Take(ctx, throttle.Entry, throttle.Keys{Account: entrant(e, place)}); err != nil {
		return Outcome{}, err
	}
	device, err := s.remember(ctx, e)
	if err != nil {
		return Outcome{}, err
	}
	opened, err := s.Sessions.Begin(ctx, session.Start{
		OrgID: place.OrgID, HolderID: e.Account.UserID, Kind: e.From.Kind, Means: e.Means, Connection: e.Connection, MFA: e.MFA,
		ProvedAt: e.ProvedAt, Address: e.From.Address, UserAgent: e.From.UserAgent, Replaces: e.Replaces,
	})
	if err != nil {
		return Outcome{}, goneAs(err, errRefused())
	}
	if err := s.stillHis(ctx, e, opened); err != nil {
		return Outcome{}, err
	}
	note, err := s.notice(ctx, e, place, device)
	if err != nil {
		return Outcome{}, err
	}
	if err := s.Store.Entered(ctx, e.Account.UserID, place.OrgID, note); err != nil {
		return Outcome{}, err
	}
	return Outcome{Account: e.Account, Place: place, Session: opened, Device: device.Token}, nil
}

// remember makes the device known to the account: who signs in there has guesses of his
// own. One of single sign-on is not: whoever runs an issuer would have as many as he
// likes, at the password of anybody whom he can name.
func (s *Service) remember(ctx context.Context, e Entry) (throttle.Device, error) {
	if e.Means == session.SSO {
		return throttle.Device{}, nil
	}
	return s.Throttle.Remember(ctx, e.From.Device, e.Account.Email, e.Account.UserID)
}

// entrant is by whom entries are counted: by the person, and, where an issuer brings him,
// by the issuer's organisation as well, which could keep him from coming in otherwise.
func entrant(e Entry, place Place) string {
	if e.Means == session.SSO {
		return e.Account.UserID + " " + place.OrgID
	}
	return e.Account.UserID
}

// notice tells a person of a device that he did not sign in with before: a few times an
// hour, for more would bury other mails. Of the first device there is nothing to tell.
func (s *Service) notice(ctx context.Context, e Entry, place Place, d throttle.Device) (*mail.Note, error) {
	if !d.New || d.First {
		return nil, nil //nolint:nilnil // no mail
	}
	err := s.Throttle.Take(ctx, throttle.Notice, throttle.Keys{Account: e.Account.UserID})
	switch {
	case fault.Is(err, fault.RateLimited):
		return nil, nil //nolint:nilnil // no mail
	case err != nil:
		return nil, err
	}
	n, err := mail.NewNote(place.OrgID, e.Account.UserID, mail.KindNewDevice,
		mail.NewDevice{At: s.Now(), Address: e.From.Address, Device: mail.Name(e.From.UserAgent)}, s.Now())
	return &n, err
}

// stillHis ends a session again that began by a password which was changed while its
// hash was computed. The change ends all sessions after it is done: either it has seen
// this one, or this sees the change.
func (s *Service) stillHis(ctx context.Context, e Entry, opened session.Opened) error {
	if e.Means != session.Password {
		return nil
	}
	now, err := s.Store.ByID(ctx, e.Account.UserID, s.Now())
	if err == nil && now.PasswordAt.Equal(e.Account.PasswordAt) {
		return nil
	}
	if ended := s.Sessions.End(context.WithoutCancel(ctx), opened.OrgID, opened.ID, "the password was changed meanwhile"); ended != nil || err != nil {
		return errors.Join(err, ended)
	}
	return errRefused()
}
