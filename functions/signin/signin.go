// Package signin is the function by which people come in, and keep what they come
// in by: signing in and out, passwords and their reset, second factors, sessions,
// invitations that are taken up, and the own profile. It owns their form on the
// wire; the rules are those of the packages signin, factor, session, invitation and
// their like.
//
// Each group of routes has a file with its routes, its registration and its
// handlers, and a member of [Services] that the routes lead to.
package signin

import (
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/factor"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/invitation"
	"github.com/aiaas/aiaas/shared/rest"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/shared/signin"
	"github.com/aiaas/aiaas/shared/sso"
)

// The function's jobs.
const (
	JobResetMails = "reset-mails"   // sends who forgot a password a link to set a new one
	JobPrune      = "sign-in-prune" // forgets what is past its time
)

// Spec describes the function.
func Spec() function.Spec {
	return function.Spec{
		Name: "signin", Service: function.Accounts, Summary: "Signs people in, and keeps what they prove themselves by",
		// A password costs one check's memory, of which a few may run at once.
		MemoryMiB: 512, Timeout: 30 * time.Second,
		Schedules: []function.Schedule{
			{Job: JobResetMails, Every: time.Second},
			{Job: JobPrune, Every: time.Hour},
		},
		Routes: slices.Concat(
			entryRoutes(), passwordRoutes(), stepUpRoutes(), sessionRoutes(), factorRoutes(), passkeyRoutes(), ssoRoutes(),
			invitationRoutes(),
		),
	}
}

// Services are what the function's routes lead to.
type Services struct {
	SignIn      *signin.Service
	Passwords   *signin.Passwords
	Sessions    *session.Service
	Factors     *factor.Service
	Invitations *invitation.Acceptance
	SSO         *sso.SignIn
	Cookies     Cookies // of all that open or end a session

	log *slog.Logger
}

// New makes the function's HTTP handler.
func New(s Services, auth rest.Authenticator, log *slog.Logger) *rest.API {
	api := rest.New(Spec(), auth, log)
	s.log = log
	register(api, s)
	return api
}

// Describe adds the function's routes to the OpenAPI document.
func Describe(doc *rest.Document) { register(doc.API(Spec()), Services{}) }

func register(api *rest.API, s Services) {
	registerEntry(api, &entryHandlers{s.SignIn, s.Cookies})
	registerPasswords(api, &passwordHandlers{s.Passwords, s.Cookies})
	registerStepUp(api, &stepUpHandlers{s.SignIn, s.Cookies})
	registerSessions(api, &sessionHandlers{s.Sessions, s.Cookies.sessions})
	registerFactors(api, &factorHandlers{s.Factors, s.Cookies})
	registerSSO(api, &ssoHandlers{s.SSO, s.Cookies, s.log})
	registerInvitations(api, &invitationHandlers{s.Invitations, s.SignIn, s.Cookies})
}

// routes gives a group of routes its tag and its scope: "" for those that nobody
// needs to be anybody for, [authz.AnyScope] for a person's own account.
type routes struct {
	tag   string
	scope authz.Scope
}

func (g routes) route(method, path, operation, summary, description string) function.Route {
	return function.Route{
		Method: method, Path: path, OperationID: operation, Tag: g.tag, Scope: string(g.scope), Summary: summary, Description: description,
	}
}

func (g routes) get(path, operation, summary, description string) function.Route {
	return g.route(http.MethodGet, path, operation, summary, description)
}

func (g routes) post(path, operation, summary, description string) function.Route {
	return g.route(http.MethodPost, path, operation, summary, description)
}

func (g routes) remove(path, operation, summary, description string) function.Route {
	r := g.route(http.MethodDelete, path, operation, summary, description)
	r.Status = http.StatusNoContent
	return r
}

type noOutput struct{}
