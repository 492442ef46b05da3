package project_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/project"
)

// one is a team with one seat to change.
type one struct {
	seat  project.Seat
	saved int
	bumps int
}

func (o *one) ListSeats(context.Context, project.Ref, string, int) ([]project.Seat, error) {
	return []project.Seat{o.seat}, nil
}

func (o *one) SetSeat(_ context.Context, r project.SeatRef, edit func(project.Seat) (project.Seat, *audit.Record, error)) (project.Seat, error) {
	o.seat.MemberID = r.MemberID
	next, rec, err := edit(o.seat)
	if err == nil && rec != nil {
		o.saved++
	}
	return next, err
}

func (o *one) RemoveSeat(_ context.Context, r project.SeatRef, check func(project.Seat) (audit.Record, error)) error {
	o.seat.MemberID = r.MemberID
	_, err := check(o.seat)
	if err == nil {
		o.saved++
	}
	return err
}

func (o *one) Bump(context.Context, string) error { o.bumps++; return nil }

// Everybody who may change a team, on every role, to every role.
func TestWhoMakesWhomWhatInAProject(t *testing.T) {
	heights := map[authz.ProjectRole]int{"": 0, authz.ProjectViewer: 1, authz.ProjectDeveloper: 2, authz.ProjectManager: 3}
	for _, by := range []struct {
		role authz.Role
		own  authz.ProjectRole
		all  bool
	}{
		{authz.Owner, "", true}, {authz.Admin, "", true}, {authz.Manager, authz.ProjectViewer, false},
		{authz.Manager, authz.ProjectManager, false}, {authz.Developer, authz.ProjectManager, false},
	} {
		p := authz.Principal{
			OrgID: "org_1", KeyID: "key_1", OwnerID: "user_me", Role: by.role, Scopes: authz.Scopes(), Method: authz.ByKey,
			Projects: map[string]authz.ProjectRole{"proj_1": by.own},
		}
		for before := range heights {
			for after := range heights {
				for _, on := range []string{"user_other", "user_me"} {
					if on == "user_me" && before != by.own && !by.all {
						continue // he is what he is
					}
					name := fmt.Sprintf("%s/%s: %s from %q to %q", by.role, by.own, on, before, after)
					raises := on == "user_me" && heights[after] > heights[before]
					want := by.all || before != authz.ProjectManager && after != authz.ProjectManager && !raises ||
						on == "user_me" && heights[after] <= heights[before]
					store := &one{seat: project.Seat{Role: before}}
					team := &project.Team{Store: store, Bump: store, Now: func() time.Time { return time.Unix(0, 0) }}
					var err error
					if after == "" {
						err = team.Remove(t.Context(), p, "proj_1", on)
					} else {
						_, err = team.Set(t.Context(), p, "proj_1", on, after)
					}
					if (err == nil) != want || err != nil && !fault.Is(err, fault.Forbidden) {
						t.Errorf("%s: %v; want it to be fine: %v", name, err, want)
					}
					if changes := want && (before != after || after == ""); (store.saved == 1) != changes || (store.bumps == 1) != want {
						t.Errorf("%s: saved %d times, told %d times", name, store.saved, store.bumps)
					}
				}
			}
		}
		if by.all {
			continue
		}
		store := &one{}
		team := &project.Team{Store: store, Bump: store, Now: time.Now}
		if _, err := team.Set(t.Context(), p, "proj_2", "user_other", authz.ProjectViewer); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s/%s in another project: %v; want NotFound", by.role, by.own, err)
		}
	}
}

// Who has a role that the organisation made gives no more than it has, and does not
// raise himself, however far it reaches.
func TestAMadeRoleSeatsNobodyAboveItself(t *testing.T) {
	seats := []authz.Action{authz.DoProjectMembersWrite, authz.DoProjectsRead}
	viewer := append(slices.Clone(seats), authz.DoUsageRead, authz.DoAnalyticsRead)
	manager := append(slices.Clone(viewer), authz.DoMembersRead, authz.DoKeysRead, authz.DoBudgetsRead, authz.DoRequestsRead)
	for name, c := range map[string]struct {
		permissions []authz.Action
		reach       authz.Width
		own         authz.ProjectRole
		on          string
		before      authz.ProjectRole
		gives       []authz.ProjectRole // that are fine
	}{
		"himself":                         {seats, authz.Organization, "", "user_me", "", nil},
		"himself, with all of it":         {manager, authz.Organization, "", "user_me", "", nil},
		"himself, down":                   {manager, authz.Organization, authz.ProjectDeveloper, "user_me", authz.ProjectDeveloper, []authz.ProjectRole{"developer", "viewer"}},
		"another, with the seats only":    {seats, authz.Organization, "", "user_other", "", nil},
		"another, who keeps his seat":     {seats, authz.Organization, "", "user_other", "manager", []authz.ProjectRole{"manager"}},
		"another, as a viewer":            {viewer, authz.Organization, "", "user_other", "", []authz.ProjectRole{"viewer"}},
		"another, as a manager":           {manager, authz.Organization, "", "user_other", "", []authz.ProjectRole{"viewer", "manager"}},
		"another, in his projects":        {manager, authz.Projects, authz.ProjectViewer, "user_other", "", []authz.ProjectRole{"viewer"}},
		"another, as a project's manager": {seats, authz.Own, authz.ProjectManager, "user_other", "", []authz.ProjectRole{"viewer", "developer"}},
	} {
		p := authz.Principal{
			OrgID: "org_1", KeyID: "key_1", OwnerID: "user_me", Role: authz.Custom, Custom: authz.CustomRole{Permissions: c.permissions, Reach: c.reach},
			Scopes: []authz.Scope{authz.ProjectsWrite}, Method: authz.ByKey,
		}
		if c.own != "" {
			p.Projects = map[string]authz.ProjectRole{"proj_1": c.own}
		}
		for _, role := range authz.ProjectRoles() {
			store := &one{seat: project.Seat{Role: c.before}}
			team := &project.Team{Store: store, Bump: store, Now: time.Now}
			_, err := team.Set(t.Context(), p, "proj_1", c.on, role)
			if want := slices.Contains(c.gives, role); (err == nil) != want || err != nil && !fault.Is(err, fault.Forbidden) {
				t.Errorf("%s to %s: %v; want it to be fine: %v", name, role, err, want)
			}
		}
	}
}

// A project's manager acts on nobody who is higher in the organisation.
func TestNobodySeatsASuperior(t *testing.T) {
	for _, c := range []struct {
		actor, target authz.Role
		fine          bool
	}{
		{authz.Developer, authz.Owner, false}, {authz.Developer, authz.Admin, false}, {authz.Developer, authz.Manager, false},
		{authz.Developer, authz.Custom, false}, {authz.Developer, authz.Analyst, true}, {authz.Developer, authz.Developer, true},
		{authz.Manager, authz.Admin, false}, {authz.Manager, authz.Finance, true}, {authz.Manager, authz.Developer, true},
		{authz.Custom, authz.Manager, false}, {authz.Custom, authz.Custom, true},
		{authz.Admin, authz.Owner, false}, {authz.Admin, authz.Admin, true}, {authz.Owner, authz.Owner, true},
	} {
		p := authz.Principal{
			OrgID: "org_1", KeyID: "key_1", OwnerID: "user_me", Role: c.actor, Scopes: authz.Scopes(), Method: authz.ByKey,
			Projects: map[string]authz.ProjectRole{"proj_1": authz.ProjectManager},
		}
		for what, act := range map[string]func(*project.Team) error{
			"demotes": func(team *project.Team) error {
				_, err := team.Set(t.Context(), p, "proj_1", "user_other", authz.ProjectViewer)
				return err
			},
			"removes": func(team *project.Team) error { return team.Remove(t.Context(), p, "proj_1", "user_other") },
		} {
			store := &one{seat: project.Seat{Role: authz.ProjectDeveloper, Holds: c.target}}
			err := act(&project.Team{Store: store, Bump: store, Now: time.Now})
			if (err == nil) != c.fine || err != nil && !fault.Is(err, fault.Forbidden) || (store.saved == 1) != c.fine {
				t.Errorf("%s %s %s: %v, saved %d times; want it to be fine: %v", c.actor, what, c.target, err, store.saved, c.fine)
			}
		}
	}
}
