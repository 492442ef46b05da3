package identity

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/invitation"
	"github.com/aiaas/aiaas/shared/rest"
	"github.com/aiaas/aiaas/shared/sso"
)

// JobInvitations notes which invitations are past their time, and forgets old ones.
const JobInvitations = "invitations"

// Jobs are the function's jobs.
func Jobs(e *invitation.Expiry, domains *sso.Watch) map[string]function.Job {
	return map[string]function.Job{JobInvitations: e.Run, JobDomains: domains.Run}
}

func invitationRoutes() []function.Route {
	g := routes{"Invitations", authz.MembersRead, authz.MembersWrite}
	resend := g.change(http.MethodPost, "/v1/invitations/{id}/resend", "resendInvitation", "Send an invitation again",
		"With another link, good for seven days: the one before is dead. Also one that has expired. Once a minute, and ten times in all.")
	return []function.Route{
		g.get("/v1/invitations", "listInvitations", "List the invitations", "The newest first; those that have ended for 90 days."),
		g.create("/v1/invitations", "inviteMember", "Invite a person",
			"By a mail with a link that is good for seven days. The person becomes a member by accepting it, with the role and in the projects that are named. Nobody gives a role as high as the own; an owner may invite another owner. What the inviter may not give any more when it is accepted, is not given."),
		g.get("/v1/invitations/{id}", "getInvitation", "Show an invitation", ""),
		resend,
		g.remove("/v1/invitations/{id}", "withdrawInvitation", "Withdraw an invitation", "From the answer on its link opens nothing."),
	}
}

func registerInvitations(api *rest.API, svc *invitation.Service) {
	h := &invitationHandlers{svc}
	rest.Handle(api, "listInvitations", h.list)
	rest.Handle(api, "inviteMember", h.invite, rest.Fails(fault.Conflict), rest.Fails(fault.RateLimited), rest.RequestExample(NewInvitation{
		Email: "ada@example.com", Role: "developer", Projects: []ProjectRole{{ProjectID: "proj_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", Role: "developer"}},
	}))
	rest.Handle(api, "getInvitation", h.get)
	rest.Handle(api, "resendInvitation", h.resend, rest.Fails(fault.Conflict), rest.Fails(fault.RateLimited))
	rest.Handle(api, "withdrawInvitation", h.withdraw, rest.Fails(fault.Conflict))
}

type invitationHandlers struct{ svc *invitation.Service }

// Invitation asks somebody to become a member.
type Invitation struct {
	ID        string        `json:"id"`
	Email     string        `json:"email"`
	Name      string        `json:"name" doc:"What the organisation calls the person; empty: as he calls himself."`
	Role      string        `json:"role" example:"developer" doc:"A built-in role, or the id of one of the organisation's own."`
	Projects  []ProjectRole `json:"projects" nullable:"false" doc:"That the person gets a role in."`
	Status    string        `json:"status" enum:"open,accepted,withdrawn,expired"`
	InvitedBy string        `json:"invited_by" doc:"The credential by which it was sent last."`
	Sends     int           `json:"sends" doc:"How often it was sent."`
	SentAt    time.Time     `json:"sent_at" doc:"Last."`
	CreatedAt time.Time     `json:"created_at"`
	ExpiresAt time.Time     `json:"expires_at"`
	EndedAt   *time.Time    `json:"ended_at" doc:"null: it is open."`
	MemberID  *string       `json:"member_id" doc:"Who accepted it."`
}

func showInvitation(i invitation.Invitation) Invitation {
	out := Invitation{
		ID: i.ID, Email: i.Email, Name: i.Name, Role: i.Role, Projects: []ProjectRole{}, Status: string(i.Status), InvitedBy: i.InvitedBy, Sends: i.Sends,
		SentAt: i.SentAt, CreatedAt: i.CreatedAt, ExpiresAt: i.ExpiresAt, EndedAt: moment(i.EndedAt), MemberID: orNull(i.MemberID),
	}
	for _, project := range slices.Sorted(maps.Keys(i.Projects)) {
		out.Projects = append(out.Projects, ProjectRole{ProjectID: project, Role: string(i.Projects[project])})
	}
	return out
}

type invitationOutput struct{ Body Invitation }

func answerInvitation(i invitation.Invitation, err error) (*invitationOutput, error) {
	if err != nil {
		return nil, err
	}
	return &invitationOutput{Body: showInvitation(i)}, nil
}

// NewInvitation is the body that invites somebody.
type NewInvitation struct {
	Email    string        `json:"email" maxLength:"254" example:"ada@example.com"`
	Name     string        `json:"name,omitempty" maxLength:"100" doc:"What the organisation calls the person; left out, as he calls himself."`
	Role     string        `json:"role" maxLength:"60" example:"developer" doc:"A built-in role, or the id of one of the organisation's own."`
	Projects []ProjectRole `json:"projects,omitempty" maxItems:"50" nullable:"false"`
}

type inviteInput struct{ Body NewInvitation }

func (h *invitationHandlers) invite(ctx context.Context, p authz.Principal, in *inviteInput) (*invitationOutput, error) {
	n := invitation.New{Email: in.Body.Email, Name: in.Body.Name, Role: in.Body.Role, Projects: map[string]authz.ProjectRole{}}
	for _, place := range in.Body.Projects {
		if _, twice := n.Projects[place.ProjectID]; twice {
			return nil, fault.New(fault.Unprocessable, "a project is named twice").At("projects")
		}
		n.Projects[place.ProjectID] = authz.ProjectRole(place.Role)
	}
	return answerInvitation(h.svc.Invite(ctx, p, n))
}

type listInvitationsInput struct {
	rest.Paging
	Status string `query:"status" enum:"open,accepted,withdrawn,expired" doc:"Only those."`
}

type invitationsOutput struct{ Body rest.List[Invitation] }

func (h *invitationHandlers) list(ctx context.Context, p authz.Principal, in *listInvitationsInput) (*invitationsOutput, error) {
	before, err := in.After(id.Invitation)
	if err != nil {
		return nil, err
	}
	list, err := h.svc.List(ctx, p, invitation.Status(in.Status), before, in.Fetch())
	if err != nil {
		return nil, err
	}
	return &invitationsOutput{Body: rest.Page(in.Paging, list, func(i invitation.Invitation) string { return i.ID }, showInvitation)}, nil
}

func (h *invitationHandlers) get(ctx context.Context, p authz.Principal, in *idInput) (*invitationOutput, error) {
	return answerInvitation(h.svc.Get(ctx, p, in.ID))
}

func (h *invitationHandlers) resend(ctx context.Context, p authz.Principal, in *idInput) (*invitationOutput, error) {
	return answerInvitation(h.svc.Resend(ctx, p, in.ID))
}

func (h *invitationHandlers) withdraw(ctx context.Context, p authz.Principal, in *idInput) (*noOutput, error) {
	return nil, h.svc.Withdraw(ctx, p, in.ID)
}
