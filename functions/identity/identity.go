// Package identity is the function of an organisation's people: members, those who are
// invited to be, service accounts, roles, projects and their teams, what anybody may
// do, and what a person sets for himself. It owns their form on the wire; the rules
// are those of the packages member, invitation, project and profile.
package identity

import (
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/invitation"
	"github.com/aiaas/aiaas/shared/member"
	"github.com/aiaas/aiaas/shared/profile"
	"github.com/aiaas/aiaas/shared/project"
	"github.com/aiaas/aiaas/shared/rest"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/shared/sso"
)

// Spec describes the function.
func Spec() function.Spec {
	return function.Spec{
		Name: "identity", Service: function.Accounts, Summary: "Keeps members, service accounts, roles and projects",
		MemoryMiB: 256, Timeout: 15 * time.Second,
		Routes:    slices.Concat(memberRoutes(), invitationRoutes(), sessionRoutes(), programRoutes(), roleRoutes(), projectRoutes(), teamRoutes(), policyRoutes(), ssoRoutes()),
		Schedules: []function.Schedule{{Job: JobInvitations, Every: 5 * time.Minute}, {Job: JobDomains, Every: time.Hour}},
	}
}

// Services are what the function's routes lead to.
type Services struct {
	Members   *member.Service
	Roles     *member.Roles
	Projects  *project.Service
	Team      *project.Team
	Explainer *member.Explainer
	Sessions  *session.Service
	SSO       *sso.Admin
	PublicURL string // where browsers reach the platform

	Invitations *invitation.Service
	Profiles    *profile.Service
}

// New makes the function's HTTP handler.
func New(s Services, auth rest.Authenticator, log *slog.Logger) *rest.API {
	api := rest.New(Spec(), auth, log)
	register(api, s)
	return api
}

// Describe adds the function's routes to the OpenAPI document.
func Describe(doc *rest.Document) { register(doc.API(Spec()), Services{}) }

func register(api *rest.API, s Services) {
	registerMembers(api, s.Members)
	registerInvitations(api, s.Invitations)
	registerSessions(api, &sessionHandlers{s.Sessions})
	registerPrograms(api, s.Members)
	registerRoles(api, &roleHandlers{s.Roles})
	registerProjects(api, &projectHandlers{s.Projects})
	registerTeam(api, &teamHandlers{s.Team})
	registerSSO(api, &ssoHandlers{s.SSO, s.PublicURL})
	registerPolicy(api, &policyHandlers{s.Explainer, s.Profiles})
}

// routes gives a group of routes its tag, and the scopes for reading and writing.
type routes struct {
	tag         string
	read, write authz.Scope
}

func (g routes) get(path, operation, summary, description string) function.Route {
	return function.Route{
		Method: http.MethodGet, Path: path, OperationID: operation, Tag: g.tag, Scope: string(g.read), Summary: summary, Description: description,
	}
}

func (g routes) change(method, path, operation, summary, description string) function.Route {
	return function.Route{
		Method: method, Path: path, OperationID: operation, Tag: g.tag, Scope: string(g.write), Summary: summary, Description: description,
	}
}

func (g routes) create(path, operation, summary, description string) function.Route {
	r := g.change(http.MethodPost, path, operation, summary, description)
	r.Status = http.StatusCreated
	return r
}

func (g routes) remove(path, operation, summary, description string) function.Route {
	r := g.change(http.MethodDelete, path, operation, summary, description)
	r.Status = http.StatusNoContent
	return r
}

type idInput struct {
	ID string `path:"id" maxLength:"100"`
}

type noOutput struct{}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
