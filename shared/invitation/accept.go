package invitation

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/member"
	"github.com/aiaas/aiaas/shared/naming"
)

// Bumper moves an organisation's configuration version on, after a change and before
// its answer, so that no process serves the old state.
type Bumper interface {
	Bump(ctx context.Context, org string) error
}

// From is where an acceptance comes from.
type From struct {
	Address   string // of the network; "" where that is not known
	UserAgent string
	Device    string // what the device has to show that it was here before
}

// Passwords is what signing in knows of passwords.
type Passwords interface {
	// Check proves a known person by his password, counted and throttled as any
	// sign-in is. Unauthenticated where it is another one, RateLimited after too many.
	Check(ctx context.Context, email, password string, from From) error
	// First hashes a password that somebody chooses. Unprocessable where it is too
	// easy to guess, also for somebody who knows the words about its owner.
	First(ctx context.Context, password string, about ...string) (hash string, err error)
}

// Acceptance takes invitations up.
type Acceptance struct {
	Store     AcceptStore
	Passwords Passwords
	Bump      Bumper
	Now       func() time.Time
}

// Inspect says what a link is for. Where it opens nothing there is one answer:
// NotFound.
func (a *Acceptance) Inspect(ctx context.Context, token string) (Offer, error) {
	hash, err := hashOf(token)
	if err != nil {
		return Offer{}, err
	}
	return a.offer(ctx, hash)
}

func (a *Acceptance) offer(ctx context.Context, hash Hash) (Offer, error) {
	o, err := a.Store.Find(ctx, hash, a.Now())
	switch {
	case fault.Is(err, fault.NotFound):
		return Offer{}, ErrGone()
	case err != nil:
		return Offer{}, err
	}
	if o.Invitation = o.At(a.Now()); o.Status != Open || !o.OrgOpen {
		return Offer{}, ErrGone()
	}
	return o, nil
}

// Masked is an address as it is shown to who has a link only: enough to know the own
// one by.
func Masked(email string) string {
	local, domain, _ := strings.Cut(email, "@")
	_, first := utf8.DecodeRuneInString(local)
	return local[:first] + "…@" + domain
}

// Accept is how somebody takes an invitation up.
type Accept struct {
	Token    string
	Name     string
	Password string
	By       authz.Principal // who is signed in; the zero one where nobody is
	From     From
}

// Member is who has become one.
type Member struct {
	OrgID  string
	UserID string
	Email  string
	Signed bool // by being signed in, and not by a password
}

// Accept makes who has the link a member, once. A person who has a password gives it,
// or is signed in; one who has none sets it, with the own name.
func (a *Acceptance) Accept(ctx context.Context, in Accept) (Member, error) {
	hash, err := hashOf(in.Token)
	if err != nil {
		return Member{}, err
	}
	o, err := a.offer(ctx, hash)
	if err != nil {
		return Member{}, err
	}
	t, err := a.prove(ctx, in, o)
	if err != nil {
		return Member{}, err
	}
	out := Member{OrgID: o.OrgID, Email: o.Email, Signed: in.By.Somebody()}
	err = a.Store.Accept(ctx, o.OrgID, hash, t, func(taken Taken) (Joining, error) {
		if out.UserID = taken.UserID; out.Signed && out.UserID != in.By.OwnerID {
			return Joining{}, errOther()
		}
		return join(ctx, taken, in.From, t.At)
	})
	switch {
	case fault.Is(err, fault.NotFound):
		return Member{}, ErrGone()
	case err != nil:
		return Member{}, err
	}
	return out, a.Bump.Bump(context.WithoutCancel(ctx), o.OrgID) // it is done: who asked for it may have left
}

func errOther() error {
	return fault.New(fault.Forbidden, "the invitation is for another address than the one that you are signed in with: sign out first").With("reason", "person")
}

// prove has the person show who he is, or become somebody.
func (a *Acceptance) prove(ctx context.Context, in Accept, o Offer) (Taking, error) {
	t := Taking{At: a.Now()}
	switch {
	case in.By.Somebody():
		return t, signed(in.By, o)
	case o.Password:
		if in.Password == "" {
			return t, fault.New(fault.Unprocessable, "it needs the password of your account").At("password")
		}
		return t, a.Passwords.Check(ctx, o.Email, in.Password, in.From)
	}
	if t.Name = in.Name; t.Name == "" {
		t.Name = o.Name
	}
	if err := naming.Name("name", t.Name); err != nil {
		return t, err
	}
	var err error
	t.Password, err = a.Passwords.First(ctx, in.Password, o.Email, t.Name, o.OrgName)
	return t, err
}

// signed returns nil where who is signed in is the person that is invited. A session
// by an organisation's own single sign-on is good in that one only.
func signed(p authz.Principal, o Offer) error {
	person, err := p.Person()
	switch {
	case err != nil:
		return err
	case p.Method != authz.BySession || p.Means == "sso":
		return fault.New(fault.Forbidden, "this session is good in its own organization only: sign out first").With("reason", "person")
	case person != o.UserID:
		return errOther()
	}
	return nil
}

// join decides what an invitation that was accepted makes: what its inviter may still
// give.
func join(ctx context.Context, t Taken, from From, now time.Time) (Joining, error) {
	i := t.Invitation
	if err := vouched(ctx, t); err != nil {
		return Joining{}, err
	}
	m := member.Member{
		OrgID: i.OrgID, ID: t.UserID, Kind: member.Person, Email: i.Email, Name: i.Name, Role: i.Role, Status: member.Active,
		AddedBy: i.InvitedBy, CreatedAt: now,
	}
	if m.Name == "" {
		m.Name = t.OwnName
	}
	p := authz.Principal{OrgID: i.OrgID, OwnerID: t.UserID, KeyID: i.ID, Method: authz.BySession, Address: from.Address}
	accepted := detail(i)
	accepted["member_id"], accepted["invited_by"] = t.UserID, i.InvitedBy
	out := Joining{Member: m, Projects: map[string]authz.ProjectRole{}, Records: []audit.Record{
		audit.New(ctx, p, now, ActionAccept, i.ID).With(accepted),
		audit.New(ctx, p, now, "member.add", t.UserID).
			With(map[string]any{"role": m.Role, "email": m.Email, "name": m.Name, "invitation_id": i.ID}),
	}}
	for projectID, role := range i.Projects {
		if !t.Projects[projectID] {
			continue // it is archived by now
		}
		out.Projects[projectID] = role
		out.Records = append(out.Records, audit.New(ctx, p, now, "project_member.set", t.UserID).
			With(map[string]any{"project_id": projectID, "role": role, "invitation_id": i.ID}))
	}
	return out, nil
}

// vouched refuses an invitation whose inviter could not make it now: he may have been
// found out since.
func vouched(ctx context.Context, t Taken) error {
	if t.Inviter == nil || t.Inviter.Inactive != "" {
		return ErrGone()
	}
	s := t.Inviter.Subject
	inviter := authz.Principal{
		OrgID: t.Invitation.OrgID, KeyID: t.Invitation.InvitedBy, OwnerID: s.OwnerID, Role: s.Role, Custom: s.Custom, Projects: s.Projects,
		Scopes: authz.Scopes(), Method: authz.ByKey,
	}
	st := Standing{Members: t.Members, Projects: t.Projects}
	i := t.Invitation
	i.Projects = nil // those that are left are given; an inviter who may give the role may give them
	if err := mayGive(ctx, inviter, st, i); err != nil {
		return ErrGone()
	}
	return nil
}
