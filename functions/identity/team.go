package identity

import (
	"context"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/project"
	"github.com/aiaas/aiaas/shared/rest"
)

func teamRoutes() []function.Route {
	g := routes{"Projects", authz.MembersRead, authz.ProjectsWrite}
	return []function.Route{
		g.get("/v1/projects/{id}/members", "listProjectMembers", "List the members of a project", "The people and service accounts with a role in it."),
		g.change(http.MethodPut, "/v1/projects/{id}/members/{member_id}", "setProjectMember", "Give somebody a role in a project",
			"Somebody is a member or a service account of the organisation. A manager of the project makes developers and viewers, and acts on no other manager."),
		g.remove("/v1/projects/{id}/members/{member_id}", "removeProjectMember", "Take somebody out of a project", "Its keys stay; they act with what the role in the organisation leaves."),
	}
}

func registerTeam(api *rest.API, h *teamHandlers) {
	rest.Handle(api, "listProjectMembers", h.list)
	rest.Handle(api, "setProjectMember", h.set, rest.RequestExample(TeamRole{Role: "developer"}))
	rest.Handle(api, "removeProjectMember", h.remove)
}

type teamHandlers struct{ svc *project.Team }

// TeamMember is somebody with a role in a project.
type TeamMember struct {
	MemberID  string    `json:"member_id"`
	Name      string    `json:"name"`
	Email     *string   `json:"email" doc:"null of a service account."`
	Role      string    `json:"role" enum:"manager,developer,viewer"`
	AddedBy   string    `json:"added_by" doc:"The credential that gave the role."`
	CreatedAt time.Time `json:"created_at" doc:"When the role was given."`
}

func showSeat(s project.Seat) TeamMember {
	return TeamMember{
		MemberID: s.MemberID, Name: s.Name, Email: orNull(s.Email), Role: string(s.Role), AddedBy: s.AddedBy, CreatedAt: s.CreatedAt.Truncate(time.Microsecond),
	}
}

type teamInput struct {
	ID string `path:"id" maxLength:"100"`
	rest.Paging
}

type teamOutput struct{ Body rest.List[TeamMember] }

func (h *teamHandlers) list(ctx context.Context, p authz.Principal, in *teamInput) (*teamOutput, error) {
	after, err := in.After(id.ServiceAccount)
	if err != nil { // people follow the programs
		if after, err = in.After(id.User); err != nil {
			return nil, err
		}
	}
	list, err := h.svc.List(ctx, p, in.ID, after, in.Fetch())
	if err != nil {
		return nil, err
	}
	return &teamOutput{Body: rest.Page(in.Paging, list, func(s project.Seat) string { return s.MemberID }, showSeat)}, nil
}

// TeamRole is the body that gives a role in a project.
type TeamRole struct {
	Role string `json:"role" enum:"manager,developer,viewer"`
}

type setSeatInput struct {
	ID       string `path:"id" maxLength:"100"`
	MemberID string `path:"member_id" maxLength:"100"`
	Body     TeamRole
}

type seatOutput struct{ Body TeamMember }

func (h *teamHandlers) set(ctx context.Context, p authz.Principal, in *setSeatInput) (*seatOutput, error) {
	seat, err := h.svc.Set(ctx, p, in.ID, in.MemberID, authz.ProjectRole(in.Body.Role))
	if err != nil {
		return nil, err
	}
	return &seatOutput{Body: showSeat(seat)}, nil
}

type seatInput struct {
	ID       string `path:"id" maxLength:"100"`
	MemberID string `path:"member_id" maxLength:"100"`
}

func (h *teamHandlers) remove(ctx context.Context, p authz.Principal, in *seatInput) (*noOutput, error) {
	return &noOutput{}, h.svc.Remove(ctx, p, in.ID, in.MemberID)
}
