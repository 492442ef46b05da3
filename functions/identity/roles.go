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
	"github.com/aiaas/aiaas/shared/member"
	"github.com/aiaas/aiaas/shared/rest"
)

func roleRoutes() []function.Route {
	g := routes{"Roles", authz.MembersRead, authz.MembersWrite}
	return []function.Route{
		g.get("/v1/roles", "listRoles", "List the roles", "The built-in ones, the highest first, and those that the organisation made. All on one page."),
		g.create("/v1/roles", "createRole", "Create a role", "Of permissions that its creator has in the whole organisation. `GET /v1/policy/permissions` lists them."),
		g.get("/v1/roles/{id}", "getRole", "Show a role", "The id of a built-in role is its name."),
		g.change(http.MethodPatch, "/v1/roles/{id}", "changeRole", "Change a role",
			"What the body does not name stays. It holds from the answer on, everywhere within a second, for all who have the role. Nobody changes the role that he has; built-in roles can't be changed."),
		g.remove("/v1/roles/{id}", "deleteRole", "Delete a role", "One that nobody has."),
	}
}

func registerRoles(api *rest.API, h *roleHandlers) {
	rest.Handle(api, "listRoles", h.list)
	rest.Handle(api, "createRole", h.create, rest.Fails(fault.Conflict), rest.RequestExample(NewRole{
		Name: "Key keeper", Description: "Hands out keys and looks after them", Permissions: []string{"keys.create", "keys.read", "keys.revoke"}, Reach: "organization",
	}))
	rest.Handle(api, "getRole", h.get)
	reach := "projects"
	rest.Handle(api, "changeRole", h.change, rest.Fails(fault.Conflict), rest.RequestExample(ChangedRole{Reach: &reach}))
	rest.Handle(api, "deleteRole", h.delete, rest.Fails(fault.Conflict))
}

type roleHandlers struct{ svc *member.Roles }

// Role is a role that members and service accounts can have.
type Role struct {
	ID          string     `json:"id"`
	Name        string     `json:"name"`
	Description string     `json:"description"`
	BuiltIn     bool       `json:"built_in"`
	Permissions []string   `json:"permissions" nullable:"false"`
	Reach       *string    `json:"reach" enum:"organization,projects,own" doc:"How far its permissions go; null of a built-in role, where each has its own."`
	Widths      Widths     `json:"widths" nullable:"false" doc:"How far each permission goes, with what every member may do: organization, projects or own."`
	Members     int        `json:"members" doc:"How many members and service accounts have it."`
	CreatedAt   *time.Time `json:"created_at"`
	UpdatedAt   *time.Time `json:"updated_at"`
}

// Widths is how far permissions go, by permission.
type Widths map[string]string

func showRole(r member.Role) Role {
	out := Role{
		ID: r.ID, Name: r.Name, Description: r.Description, BuiltIn: r.BuiltIn, Permissions: []string{}, Reach: orNull(string(r.Reach)),
		Widths: showWidths(r.Permissions), Members: r.Members, CreatedAt: moment(r.CreatedAt), UpdatedAt: moment(r.UpdatedAt),
	}
	for _, a := range slices.Sorted(maps.Keys(r.Permissions)) {
		out.Permissions = append(out.Permissions, string(a))
	}
	return out
}

func showWidths[K ~string](m map[K]authz.Width) Widths {
	out := make(Widths, len(m))
	for a, w := range m {
		out[string(a)] = string(w)
	}
	return out
}

type roleOutput struct{ Body Role }

func answerRole(r member.Role, err error) (*roleOutput, error) {
	if err != nil {
		return nil, err
	}
	return &roleOutput{Body: showRole(r)}, nil
}

type rolesOutput struct{ Body rest.List[Role] }

func (h *roleHandlers) list(ctx context.Context, p authz.Principal, _ *struct{}) (*rolesOutput, error) {
	list, err := h.svc.List(ctx, p)
	if err != nil {
		return nil, err
	}
	out := &rolesOutput{}
	for _, r := range list {
		out.Body.Data = append(out.Body.Data, showRole(r))
	}
	return out, nil
}

func (h *roleHandlers) get(ctx context.Context, p authz.Principal, in *idInput) (*roleOutput, error) {
	return answerRole(h.svc.Get(ctx, p, in.ID))
}

// NewRole is the body that creates a role.
type NewRole struct {
	Name        string   `json:"name" minLength:"1" maxLength:"100"`
	Description string   `json:"description,omitempty" maxLength:"500"`
	Permissions []string `json:"permissions" minItems:"1" maxItems:"100" nullable:"false"`
	Reach       string   `json:"reach" enum:"organization,projects,own" doc:"How far the permissions go: everywhere, in the projects of the one who has the role, or with what is the own."`
}

type createRoleInput struct{ Body NewRole }

func (h *roleHandlers) create(ctx context.Context, p authz.Principal, in *createRoleInput) (*roleOutput, error) {
	b := in.Body
	return answerRole(h.svc.Create(ctx, p, member.NewRole{
		Name: b.Name, Description: b.Description, Permissions: actions(b.Permissions), Reach: authz.Width(b.Reach),
	}))
}

func actions(names []string) (list []authz.Action) {
	for _, n := range names {
		list = append(list, authz.Action(n))
	}
	return list
}

// ChangedRole is the body that changes a role: what is left out stays.
type ChangedRole struct {
	Name        *string  `json:"name,omitempty" minLength:"1" maxLength:"100" nullable:"false"`
	Description *string  `json:"description,omitempty" maxLength:"500" nullable:"false"`
	Permissions []string `json:"permissions,omitempty" minItems:"1" maxItems:"100" nullable:"false" doc:"In place of those before."`
	Reach       *string  `json:"reach,omitempty" enum:"organization,projects,own" nullable:"false"`
}

type changeRoleInput struct {
	ID   string `path:"id" maxLength:"100"`
	Body ChangedRole
}

func (h *roleHandlers) change(ctx context.Context, p authz.Principal, in *changeRoleInput) (*roleOutput, error) {
	c := member.RolePatch{Name: in.Body.Name, Description: in.Body.Description, Permissions: actions(in.Body.Permissions)}
	if in.Body.Reach != nil {
		w := authz.Width(*in.Body.Reach)
		c.Reach = &w
	}
	return answerRole(h.svc.Change(ctx, p, in.ID, c))
}

func (h *roleHandlers) delete(ctx context.Context, p authz.Principal, in *idInput) (*noOutput, error) {
	return &noOutput{}, h.svc.Delete(ctx, p, in.ID)
}
