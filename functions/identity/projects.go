package identity

import (
	"context"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/project"
	"github.com/aiaas/aiaas/shared/rest"
	"github.com/aiaas/aiaas/shared/tenant"
)

func projectRoutes() []function.Route {
	g := routes{"Projects", authz.ProjectsRead, authz.ProjectsWrite}
	return []function.Route{
		g.get("/v1/projects", "listProjects", "List the projects", "Those that the caller may see, the oldest first, archived ones included."),
		g.create("/v1/projects", "createProject", "Create a project", ""),
		g.get("/v1/projects/{id}", "getProject", "Show a project", ""),
		g.change(http.MethodPatch, "/v1/projects/{id}", "changeProject", "Change a project",
			"What the body does not name stays; null takes a limit, or the restriction to models, away. It binds every request from the answer on, everywhere within a second."),
		g.change(http.MethodPost, "/v1/projects/{id}/archive", "archiveProject", "Archive a project",
			"From the answer on its keys are refused, everywhere within a second. Nothing of it is lost. The last active project can't be archived."),
		g.change(http.MethodPost, "/v1/projects/{id}/restore", "restoreProject", "Restore an archived project", "With its keys as they were."),
	}
}

func registerProjects(api *rest.API, h *projectHandlers) {
	perMinute := int64(600)
	rest.Handle(api, "listProjects", h.list)
	rest.Handle(api, "createProject", h.create, rest.Fails(fault.Conflict),
		rest.RequestExample(NewProject{Name: "Search", Limits: ProjectLimits{RequestsPerMinute: &perMinute}}))
	rest.Handle(api, "getProject", h.get)
	rest.Handle(api, "changeProject", h.change,
		rest.RequestExample(ChangedProject{Limits: ChangedLimits{RequestsPerMinute: rest.Some(perMinute)}}))
	rest.Handle(api, "archiveProject", h.archive, rest.Fails(fault.Conflict))
	rest.Handle(api, "restoreProject", h.restore, rest.Fails(fault.Conflict))
}

type projectHandlers struct{ svc *project.Service }

// ProjectLimits are the limits of a project; null is none.
type ProjectLimits struct {
	RequestsPerMinute  *int64 `json:"requests_per_minute" required:"false" minimum:"1"`
	TokensPerMinute    *int64 `json:"tokens_per_minute" required:"false" minimum:"1"`
	ConcurrentRequests *int64 `json:"concurrent_requests" required:"false" minimum:"1"`
}

func (l ProjectLimits) parse() tenant.Limits {
	return tenant.Limits{
		RequestsPerMinute: orZero(l.RequestsPerMinute), TokensPerMinute: orZero(l.TokensPerMinute), ConcurrentRequests: orZero(l.ConcurrentRequests),
	}
}

func orZero(v *int64) int64 {
	if v == nil {
		return 0
	}
	return *v
}

func showLimit(v int64) *int64 {
	if v == 0 {
		return nil
	}
	return &v
}

// Project is a project of the organisation.
type Project struct {
	ID          string        `json:"id"`
	Name        string        `json:"name"`
	Description string        `json:"description"`
	Status      string        `json:"status" enum:"active,archived"`
	Limits      ProjectLimits `json:"limits"`
	Models      []string      `json:"models" doc:"The only models that it may use; null: all of the organisation's."`
	ArchivedAt  *time.Time    `json:"archived_at"`
	CreatedAt   time.Time     `json:"created_at"`
	UpdatedAt   *time.Time    `json:"updated_at"`
}

func showProject(p project.Project) Project {
	out := Project{
		ID: p.ID, Name: p.Name, Description: p.Description, Status: "active", Models: p.Models,
		Limits: ProjectLimits{
			RequestsPerMinute: showLimit(p.Limits.RequestsPerMinute), TokensPerMinute: showLimit(p.Limits.TokensPerMinute),
			ConcurrentRequests: showLimit(p.Limits.ConcurrentRequests),
		},
		ArchivedAt: moment(p.ArchivedAt), CreatedAt: p.CreatedAt, UpdatedAt: moment(p.UpdatedAt),
	}
	if out.ArchivedAt != nil {
		out.Status = "archived"
	}
	return out
}

type projectOutput struct{ Body Project }

func answerProject(p project.Project, err error) (*projectOutput, error) {
	if err != nil {
		return nil, err
	}
	return &projectOutput{Body: showProject(p)}, nil
}

type projectsOutput struct{ Body rest.List[Project] }

func (h *projectHandlers) list(ctx context.Context, p authz.Principal, in *pageInput) (*projectsOutput, error) {
	after, err := in.After(id.Project)
	if err != nil {
		return nil, err
	}
	list, err := h.svc.List(ctx, p, after, in.Fetch())
	if err != nil {
		return nil, err
	}
	return &projectsOutput{Body: rest.Page(in.Paging, list, func(p project.Project) string { return p.ID }, showProject)}, nil
}

// NewProject is the body that creates a project.
type NewProject struct {
	Name        string        `json:"name" minLength:"1" maxLength:"100"`
	Description string        `json:"description,omitempty" maxLength:"500"`
	Limits      ProjectLimits `json:"limits,omitzero" doc:"Of the whole project; left out, there are none."`
	Models      []string      `json:"models,omitempty" minItems:"1" maxItems:"200" uniqueItems:"true" nullable:"false" doc:"The only models that it may use; left out, all of the organisation's."`
}

type createProjectInput struct{ Body NewProject }

func (h *projectHandlers) create(ctx context.Context, p authz.Principal, in *createProjectInput) (*projectOutput, error) {
	b := in.Body
	return answerProject(h.svc.Create(ctx, p, project.New{Name: b.Name, Description: b.Description, Limits: b.Limits.parse(), Models: b.Models}))
}

func (h *projectHandlers) get(ctx context.Context, p authz.Principal, in *idInput) (*projectOutput, error) {
	return answerProject(h.svc.Get(ctx, p, in.ID))
}

// ChangedProject is the body that changes a project: what is left out stays.
type ChangedProject struct {
	Name        *string              `json:"name,omitempty" minLength:"1" maxLength:"100" nullable:"false"`
	Description *string              `json:"description,omitempty" maxLength:"500" nullable:"false"`
	Limits      ChangedLimits        `json:"limits,omitzero"`
	Models      rest.Maybe[[]string] `json:"models,omitzero" required:"false" doc:"The only models that it may use; null: all of the organisation's."`
}

// ChangedLimits are limits to be changed: what is left out stays, null is none.
type ChangedLimits struct {
	RequestsPerMinute  rest.Maybe[int64] `json:"requests_per_minute,omitzero" required:"false" minimum:"1"`
	TokensPerMinute    rest.Maybe[int64] `json:"tokens_per_minute,omitzero" required:"false" minimum:"1"`
	ConcurrentRequests rest.Maybe[int64] `json:"concurrent_requests,omitzero" required:"false" minimum:"1"`
}

func (l ChangedLimits) parse() (c project.LimitsPatch, err error) {
	for _, m := range []struct {
		from rest.Maybe[int64]
		to   **int64
	}{{l.RequestsPerMinute, &c.RequestsPerMinute}, {l.TokensPerMinute, &c.TokensPerMinute}, {l.ConcurrentRequests, &c.ConcurrentRequests}} {
		if !m.from.Given {
			continue
		}
		v := orZero(m.from.Value)
		if m.from.Value != nil && v < 1 {
			return c, fault.New(fault.Unprocessable, "a limit is at least 1; null is none").At("limits")
		}
		*m.to = &v
	}
	return c, nil
}

type changeProjectInput struct {
	ID   string `path:"id" maxLength:"100"`
	Body ChangedProject
}

func (h *projectHandlers) change(ctx context.Context, p authz.Principal, in *changeProjectInput) (*projectOutput, error) {
	b := in.Body
	limits, err := b.Limits.parse()
	if err != nil {
		return nil, err
	}
	c := project.Patch{Name: b.Name, Description: b.Description, Limits: limits}
	if b.Models.Given {
		var only []string
		if b.Models.Value != nil {
			only = append([]string{}, *b.Models.Value...) // an empty list is not all
		}
		c.Models = &only
	}
	return answerProject(h.svc.Change(ctx, p, in.ID, c))
}

func (h *projectHandlers) archive(ctx context.Context, p authz.Principal, in *idInput) (*projectOutput, error) {
	return answerProject(h.svc.Archive(ctx, p, in.ID))
}

func (h *projectHandlers) restore(ctx context.Context, p authz.Principal, in *idInput) (*projectOutput, error) {
	return answerProject(h.svc.Restore(ctx, p, in.ID))
}
