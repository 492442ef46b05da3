package project

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
)

// Seat is somebody's place in a project.
type Seat struct {
	ProjectID string
	MemberID  string // "user_…" or "sa_…"
	Email     string // of a person
	Name      string
	Role      authz.ProjectRole
	AddedBy   string
	CreatedAt time.Time
	Holds     authz.Role     // what he is in the organisation
	Known     []apikey.Known // secrets of his keys that others have seen; read for a change only
}

// SeatRef names a place.
type SeatRef struct{ OrgID, ProjectID, MemberID string }

// TeamStore keeps who belongs to which project. Every method works within one
// organisation; a project or member that is not there is NotFound. Changes hold the
// organisation's lock, and are one transaction with their audit records.
type TeamStore interface {
	// ListSeats returns a page of a project's team, by member.
	ListSeats(ctx context.Context, r Ref, after string, limit int) ([]Seat, error)
	// SetSeat gives a member of the organisation the role that edit decides on; the
	// seat that it is shown has no role where there is none yet. A nil record means
	// that nothing has changed.
	SetSeat(ctx context.Context, r SeatRef, edit func(Seat) (Seat, *audit.Record, error)) (Seat, error)
	// RemoveSeat takes a role away. NotFound where there is none.
	RemoveSeat(ctx context.Context, r SeatRef, check func(Seat) (audit.Record, error)) error
}

// Team decides who belongs to projects.
//
// Who manages them for the whole organisation gives any role. Who does so by a role
// of his own in the project, or as a manager of his projects, is a peer of its
// managers: he makes developers and viewers, acts on no manager but himself, and
// does not raise himself. Nobody acts on who is higher in the organisation, and who
// has a role that the organisation made gives no more than it has.
type Team struct {
	Store TeamStore
	Bump  Bumper
	Now   func() time.Time
}

// List returns a page of a project's team.
func (t *Team) List(ctx context.Context, p authz.Principal, projectID, after string, limit int) ([]Seat, error) {
	if err := within(ctx, p, authz.DoMembersRead, projectID); err != nil {
		return nil, err
	}
	return t.Store.ListSeats(ctx, Ref{p.OrgID, projectID}, after, limit)
}

// Set gives a member of the organisation a role in a project. It holds from the
// answer on, everywhere within a second.
func (t *Team) Set(ctx context.Context, p authz.Principal, projectID, memberID string, role authz.ProjectRole) (Seat, error) {
	over, err := standing(ctx, p, projectID)
	if err != nil {
		return Seat{}, err
	}
	if height(role) < 0 {
		return Seat{}, fault.New(fault.Unprocessable, "the role is \"manager\", \"developer\" or \"viewer\"").At("role")
	}
	now := t.Now()
	seat, err := t.Store.SetSeat(ctx, SeatRef{p.OrgID, projectID, memberID}, func(before Seat) (Seat, *audit.Record, error) {
		next := before
		next.Role, next.AddedBy, next.CreatedAt = role, p.Actor(), now
		if err := over.mayAct(before); err != nil {
			return before, nil, err
		}
		if before.Role == role {
			return before, nil, nil
		}
		if err := over.mayGive(before, role); err != nil {
			return before, nil, err
		}
		if err := apikey.CheckWidened(before.Known, now, next.as); err != nil {
			return before, nil, err
		}
		rec := audit.New(ctx, p, now, "project_member.set", memberID).
			With(map[string]any{"project_id": projectID, "role": role, "before": before.Role})
		return next, &rec, nil
	})
	if err != nil {
		return Seat{}, err
	}
	return seat, t.bump(ctx, p)
}

// MayGive returns nil where the principal may give somebody who has no role in a
// project that one. Who is not there yet has what he will hold in the organisation.
func MayGive(ctx context.Context, p authz.Principal, to Seat, role authz.ProjectRole) error {
	over, err := standing(ctx, p, to.ProjectID)
	switch {
	case err != nil:
		return err
	case height(role) < 0:
		return fault.New(fault.Unprocessable, "the role is \"manager\", \"developer\" or \"viewer\"").At("role")
	}
	if err := over.mayAct(to); err != nil {
		return err
	}
	return over.mayGive(to, role)
}

// Remove takes somebody out of a project. His keys there stay, and act with what
// his role in the organisation leaves.
func (t *Team) Remove(ctx context.Context, p authz.Principal, projectID, memberID string) error {
	over, err := standing(ctx, p, projectID)
	if err != nil {
		return err
	}
	err = t.Store.RemoveSeat(ctx, SeatRef{p.OrgID, projectID, memberID}, func(before Seat) (audit.Record, error) {
		rec := audit.New(ctx, p, t.Now(), "project_member.remove", memberID).
			With(map[string]any{"project_id": projectID, "role": before.Role})
		return rec, over.mayAct(before)
	})
	if err != nil {
		return err
	}
	return t.bump(ctx, p)
}

func (t *Team) bump(ctx context.Context, p authz.Principal) error {
	return t.Bump.Bump(context.WithoutCancel(ctx), p.OrgID) // it is done: who asked for it may have left
}

// overseer is one who may change a project's team.
type overseer struct {
	authz.Subject

	project string
	all     bool // he manages all projects of the organisation
}

func standing(ctx context.Context, p authz.Principal, projectID string) (overseer, error) {
	if err := within(ctx, p, authz.DoProjectMembersWrite, projectID); err != nil {
		return overseer{}, err
	}
	reach, err := p.Reach(ctx, authz.DoProjectMembersWrite)
	return overseer{Subject: p.Subject(), project: projectID, all: reach.All}, err
}

// mayAct refuses to act on a peer or a superior.
func (o overseer) mayAct(on Seat) error {
	switch {
	case authz.Outranks(on.Holds, o.Role):
		return peer("nobody acts on a superior")
	case o.all || on.Role != authz.ProjectManager || on.MemberID == o.OwnerID:
		return nil
	}
	return peer("a project's manager acts on no other manager")
}

// mayGive refuses to make a peer, and to raise oneself.
func (o overseer) mayGive(to Seat, role authz.ProjectRole) error {
	raises := to.MemberID == o.OwnerID && height(role) > height(to.Role)
	switch {
	case o.all && o.Role != authz.Custom:
		return nil
	case !o.all && role == authz.ProjectManager:
		return peer("a project's manager makes no other manager")
	case raises:
		return peer("nobody raises himself")
	case o.Role == authz.Custom && o.Projects[o.project] != authz.ProjectManager && o.exceeded(to, role):
		return peer("nobody gives more than he has")
	}
	return nil
}

// exceeded tells whether a role in the project has rights that the overseer lacks: one
// that the organisation made stands at one height with whatever rights.
func (o overseer) exceeded(to Seat, role authz.ProjectRole) bool {
	scopes := authz.Scopes()
	o.Scopes = scopes // who manages people need not do it with a wide key
	seat := authz.Subject{
		OrgID: o.OrgID, OwnerID: to.MemberID, Role: authz.Custom, Scopes: scopes,
		Projects: map[string]authz.ProjectRole{o.project: role},
	}
	_, exceeds := authz.Exceeding(seat, o.Subject)
	return exceeds
}

// as is what anybody is once the seat is taken.
func (s Seat) as(who apikey.Standing) authz.Subject {
	if who.OwnerID == s.MemberID {
		who.Projects = maps.Clone(who.Projects)
		if who.Projects == nil {
			who.Projects = map[string]authz.ProjectRole{}
		}
		who.Projects[s.ProjectID] = s.Role
	}
	return who.Subject
}

func peer(why string) error {
	return fault.New(fault.Forbidden, "%s; an owner or admin of the organization can do it", why).
		With("permission", string(authz.DoProjectMembersWrite)).With("reason", string(authz.ReasonRank)).
		With("granted_by", []string{string(authz.Owner), string(authz.Admin)})
}

// height is how high a role is; -1 for none.
func height(r authz.ProjectRole) int {
	i := slices.Index(authz.ProjectRoles(), r)
	if i < 0 {
		return -1
	}
	return len(authz.ProjectRoles()) - i
}
