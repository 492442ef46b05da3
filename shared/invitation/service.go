package invitation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/member"
	"github.com/aiaas/aiaas/shared/naming"
	"github.com/aiaas/aiaas/shared/project"
)

// The audited acts.
const (
	ActionInvite   = "invitation.create"
	ActionResend   = "invitation.resend"
	ActionWithdraw = "invitation.withdraw"
	ActionAccept   = "invitation.accept"
	ActionExpire   = "invitation.expire"
)

// Service invites people to an organisation.
type Service struct {
	Store Store
	Vault mail.Sealer
	Now   func() time.Time
}

// New is what an invitation is made from.
type New struct {
	Email    string
	Name     string
	Role     string
	Projects map[string]authz.ProjectRole
}

func (n *New) check() error {
	if err := member.CheckAddress(n.Email); err != nil {
		return err
	}
	if len(n.Projects) > maxProjects {
		return fault.New(fault.Unprocessable, "an invitation names at most %d projects", maxProjects).At("projects")
	}
	if n.Name == "" {
		return nil
	}
	return naming.Name("name", n.Name)
}

// Invite asks whoever has an address to become a member, by mail. Conflict where he is
// one, is invited already, or the plan has no room.
func (s *Service) Invite(ctx context.Context, p authz.Principal, n New) (Invitation, error) {
	if err := p.Require(ctx, authz.DoMembersWrite); err != nil {
		return Invitation{}, err
	}
	if err := n.check(); err != nil {
		return Invitation{}, err
	}
	i := Invitation{
		OrgID: p.OrgID, ID: id.New(id.Invitation), Email: strings.ToLower(n.Email), Name: n.Name, Role: n.Role, Projects: n.Projects,
		CreatedAt: s.Now(),
	}
	return s.send(ctx, p, i, ActionInvite)
}

// Resend sends an invitation again, with another link: the one before is dead. One
// whose time was over is open again. Who sends it stands for it from now on.
func (s *Service) Resend(ctx context.Context, p authz.Principal, invitationID string) (Invitation, error) {
	if err := p.Require(ctx, authz.DoMembersWrite); err != nil {
		return Invitation{}, err
	}
	return s.send(ctx, p, Invitation{OrgID: p.OrgID, ID: invitationID}, ActionResend)
}

func (s *Service) send(ctx context.Context, p authz.Principal, i Invitation, action string) (Invitation, error) {
	now := s.Now()
	return s.Store.Send(ctx, i, now, func(st Standing) (Sending, error) {
		next := st.Invitation.At(now)
		if err := s.maySend(ctx, p, st, next, now); err != nil {
			return Sending{}, err
		}
		next.Status, next.EndedAt = Open, time.Time{}
		next.InvitedBy, next.InviterID = p.Actor(), p.OwnerID
		next.Sends, next.SentAt, next.ExpiresAt = next.Sends+1, now, now.Add(Lifetime)
		token, hash := newToken()
		draft, err := s.letter(st, next, p, token)
		if err != nil {
			return Sending{}, err
		}
		rec := audit.New(ctx, p, now, action, next.ID).With(detail(next))
		return Sending{Invitation: next, Hash: hash, Mail: draft, Record: rec}, nil
	})
}

// detail is what the audit keeps of an invitation.
func detail(i Invitation) map[string]any {
	d := map[string]any{"email": i.Email, "role": i.Role, "expires_at": i.ExpiresAt.UTC().Format(time.RFC3339)}
	if len(i.Projects) > 0 {
		d["projects"] = i.Projects
	}
	return d
}

// maySend returns nil where the principal may invite to all that the invitation gives,
// and there is room and time for it.
func (s *Service) maySend(ctx context.Context, p authz.Principal, st Standing, i Invitation, now time.Time) error {
	if err := mayGive(ctx, p, st, i); err != nil {
		return err
	}
	switch {
	case i.Sends > 0 && i.Status != Open && i.Status != Expired:
		return fault.New(fault.Conflict, "the invitation was %s: make another one", i.Status)
	case st.Known:
		return fault.New(fault.Conflict, "who has this address is a member already").At("email")
	case st.Another:
		return fault.New(fault.Conflict, "who has this address is invited already: send that invitation again").At("email")
	case st.Full:
		return fault.New(fault.Conflict, "the plan of the organization has no room for another member, invitations included; remove one, or ask for another plan")
	case i.Sends >= maxSends:
		return fault.New(fault.Conflict, "an invitation is sent %d times at most: make another one", maxSends)
	case i.Sends > 0 && now.Before(i.SentAt.Add(sendEvery)):
		return fault.New(fault.RateLimited, "the invitation was sent a moment ago").After(i.SentAt.Add(sendEvery).Sub(now))
	case st.Hourly >= maxHourly:
		return fault.New(fault.RateLimited, "an organization sends at most %d invitations an hour", maxHourly).After(time.Hour)
	}
	return nil
}

// mayGive returns nil where the principal may give the invitation's roles.
func mayGive(ctx context.Context, p authz.Principal, st Standing, i Invitation) error {
	if err := member.MayGive(ctx, p, st.Members, i.Role); err != nil {
		return err
	}
	for _, projectID := range slices.Sorted(maps.Keys(i.Projects)) {
		if !st.Projects[projectID] {
			return project.ErrNone().At("projects")
		}
		seat := project.Seat{ProjectID: projectID, Holds: member.RoleOf(i.Role)}
		if err := project.MayGive(ctx, p, seat, i.Projects[projectID]); err != nil {
			return err
		}
	}
	return nil
}

// letter writes the mail with the link.
func (s *Service) letter(st Standing, i Invitation, p authz.Principal, token string) (mail.Draft, error) {
	content := mail.Invited{Organization: st.Directory.Name, Role: mail.Name(st.RoleName), By: by(st.Directory, p), Expires: i.ExpiresAt}
	to := mail.Recipient{Address: i.Email, Why: "somebody who was invited by a member"}
	draft, err := mail.NewDraft(st.Directory, i.OrgID, to, mail.KindInvited, content)
	if err != nil {
		return mail.Draft{}, err
	}
	if draft, err = draft.Linking(s.Vault, token); err != nil {
		return mail.Draft{}, fmt.Errorf("write invitation: %w", err)
	}
	return draft, nil
}

// by is how the one who invites is called: who gets the mail may know him.
func by(d mail.Directory, p authz.Principal) mail.Name {
	for _, person := range d.People {
		switch {
		case person.ID != p.OwnerID:
		case person.Name != "":
			return person.Name
		default:
			return mail.Name(person.Address)
		}
	}
	return ""
}

// List returns a page of the organisation's invitations, the newest first.
func (s *Service) List(ctx context.Context, p authz.Principal, status Status, before string, limit int) ([]Invitation, error) {
	if err := p.Require(ctx, authz.DoMembersRead); err != nil {
		return nil, err
	}
	now := s.Now()
	list, err := s.Store.List(ctx, p.OrgID, Query{Status: status, Now: now, Before: before, Limit: limit})
	for n := range list {
		list[n] = list[n].At(now)
	}
	return list, err
}

// Get is one invitation. NotFound.
func (s *Service) Get(ctx context.Context, p authz.Principal, invitationID string) (Invitation, error) {
	if err := p.Require(ctx, authz.DoMembersRead); err != nil {
		return Invitation{}, err
	}
	i, err := s.Store.Get(ctx, p.OrgID, invitationID)
	return i.At(s.Now()), err
}

// Withdraw takes an invitation back: from the answer on its link opens nothing. Only
// who could give its role does so. One that has ended is Conflict.
func (s *Service) Withdraw(ctx context.Context, p authz.Principal, invitationID string) error {
	if err := p.Require(ctx, authz.DoMembersWrite); err != nil {
		return err
	}
	now := s.Now()
	return s.Store.Withdraw(ctx, p.OrgID, invitationID, func(st Standing) (audit.Record, error) {
		i := st.Invitation.At(now)
		if i.Status != Open {
			return audit.Record{}, fault.New(fault.Conflict, "the invitation was %s before", i.Status)
		}
		// The role may be gone by now; how high it is stands with the invitation.
		if err := p.RequireOn(ctx, authz.DoMembersWrite, authz.Resource{Grants: member.RoleOf(i.Role)}); err != nil {
			return audit.Record{}, err
		}
		return audit.New(ctx, p, now, ActionWithdraw, i.ID).With(detail(i)), nil
	})
}
