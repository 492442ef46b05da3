// Package organizations is the function that administers organisations: the
// platform's people make, change, suspend and close them, keep plans and say who may
// use which models; owners and admins keep the settings of their own. It owns the
// form of all that on the wire; the rules are those of package organization.
package organizations

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/organization"
	"github.com/aiaas/aiaas/shared/rest"
)

// Spec describes the function.
func Spec() function.Spec {
	return function.Spec{
		Name: "organizations", Service: function.Accounts, Summary: "Keeps organizations, their plans, models and settings",
		MemoryMiB: 256, Timeout: 15 * time.Second,
		Routes: append(append(tenantRoutes(), planRoutes()...), ownRoutes()...),
	}
}

func tenantRoutes() []function.Route {
	route := platformRoutes("Organizations")
	return []function.Route{
		route(http.MethodGet, "/v1/organizations", "listOrganizations", "List organizations",
			"By id, which is by age, the platform's own among them."),
		with(route(http.MethodPost, "/v1/organizations", "createOrganization", "Create an organization",
			"With a project, an owner and a key of the owner, which is shown this once: it may do all that an owner may, so that somebody can begin. With trial_ends_at it is a trial: from then on its keys do not work, until it is activated."), http.StatusCreated),
		route(http.MethodGet, "/v1/organizations/{id}", "getOrganization", "Show an organization", ""),
		route(http.MethodPatch, "/v1/organizations/{id}", "changeOrganization", "Change an organization",
			"What the body does not name stays; limits are set all at once. Limits and plan count from the answer on, without a restart. Another currency is refused (409) once anything was booked or budgeted. Another time zone is taken where it is the same month in both, more than an hour from its edges, and all months before are closed (else 409): so no request changes its month; the running month ends on the new clock, and budgets keep the one that they were made with."),
		route(http.MethodPost, "/v1/organizations/{id}/suspend", "suspendOrganization", "Suspend an organization",
			"All its keys are refused, as unknown ones are, from the answer on, and everywhere within a second. What runs goes on."),
		route(http.MethodPost, "/v1/organizations/{id}/activate", "activateOrganization", "Activate an organization",
			"Undoes one step: a suspended or closed one is what it was before, a trial or not; a trial becomes a customer. What was closed can be reopened for 30 days."),
		route(http.MethodPost, "/v1/organizations/{id}/close", "closeOrganization", "Close an organization",
			"Its keys stop, its data stays for its retention."),
		route(http.MethodGet, "/v1/organizations/{id}/models", "getOrganizationModels", "Show which models an organization may use", ""),
		route(http.MethodPut, "/v1/organizations/{id}/models", "putOrganizationModels", "Set which models an organization may use",
			"allowed null is every model that is open to all; granted are models besides, also restricted ones. To its keys all others are as if they did not exist, from the answer on."),
		with(route(http.MethodPost, "/v1/organizations/{id}/keys/{key_id}/revoke", "revokeOrganizationKey", "Revoke a key of an organization",
			"Because it leaked or is misused. Everywhere within a second, and for good. Revoking a revoked key is fine."), http.StatusNoContent),
	}
}

func planRoutes() []function.Route {
	route := platformRoutes("Plans")
	return []function.Route{
		route(http.MethodGet, "/v1/plans", "listPlans", "List plans", ""),
		route(http.MethodPut, "/v1/plans/{id}", "putPlan", "Create or change a plan",
			"The body is the whole plan. It counts for all organizations of the plan within a second, except where they have limits of their own."),
		with(route(http.MethodDelete, "/v1/plans/{id}", "deletePlan", "Delete a plan",
			"One that an organization has can't be deleted (409), nor starter and selfhosted."), http.StatusNoContent),
	}
}

// platformRoutes makes routes of the platform's people.
func platformRoutes(tag string) func(method, path, id, summary, description string) function.Route {
	return func(method, path, id, summary, description string) function.Route {
		return function.Route{
			Method: method, Path: path, OperationID: id, Summary: summary, Description: description, Tag: tag, Scope: string(authz.Platform),
		}
	}
}

func with(r function.Route, status int) function.Route {
	r.Status = status
	return r
}

func ownRoutes() []function.Route {
	const path, tag = "/v1/organization", "Organizations"
	return []function.Route{
		{
			Method: http.MethodGet, Path: path, OperationID: "getOwnOrganization", Tag: tag, Scope: string(authz.SettingsRead),
			Summary: "Show the own organization",
		},
		{
			Method: http.MethodPatch, Path: path, OperationID: "changeOwnOrganization", Tag: tag, Scope: string(authz.SettingsWrite),
			Summary:     "Change the own organization",
			Description: "What the body does not name stays. Restrictions bind all keys and sessions from the answer on, and everywhere within a second; who is refused is told by which (403). Access hours and the second factor bind people at work, not the calls of programs. Settings that would lock out the caller are refused (422) unless force is true. For time_zone the rule is that of PATCH /v1/organizations/{id}.",
		},
		{
			Method: http.MethodDelete, Path: path, OperationID: "deleteOwnOrganization", Tag: tag, Scope: string(authz.SettingsWrite),
			Status: http.StatusNoContent, Summary: "Close the own organization",
			Description: "For its owner. All keys stop, the data stays for its retention. The platform can reopen it for 30 days.",
		},
	}
}

// New makes the function's HTTP handler.
func New(svc *organization.Service, own *organization.Own, auth rest.Authenticator, log *slog.Logger) *rest.API {
	api := rest.New(Spec(), auth, log)
	register(api, &handlers{svc: svc, own: own})
	return api
}

// Describe adds the function's routes to the OpenAPI document.
func Describe(doc *rest.Document) { register(doc.API(Spec()), &handlers{}) }

func register(api *rest.API, h *handlers) {
	rest.Handle(api, "listOrganizations", h.list)
	rest.Handle(api, "createOrganization", h.create, rest.Fails(fault.Conflict),
		rest.RequestExample(exampleNew()), rest.ResponseExample(exampleCreated()))
	rest.Handle(api, "getOrganization", h.get, rest.ResponseExample(example()))
	plan, rpm := "business", int64(500)
	rest.Handle(api, "changeOrganization", h.change, rest.Fails(fault.Conflict),
		rest.RequestExample(OrganizationChange{Plan: &plan, Limits: &OrganizationLimits{RequestsPerMinute: &rpm}}), rest.ResponseExample(example()))
	rest.Handle(api, "suspendOrganization", h.suspend, rest.Fails(fault.Conflict), rest.RequestExample(OrganizationReason{Reason: "invoices unpaid"}))
	rest.Handle(api, "activateOrganization", h.activate, rest.Fails(fault.Conflict), rest.RequestExample(ActivationReason{Reason: "paid"}))
	rest.Handle(api, "closeOrganization", h.close, rest.Fails(fault.Conflict), rest.RequestExample(OrganizationReason{Reason: "contract ended"}))
	models := OrganizationModels{Allowed: []string{"demo"}, Granted: []string{"llama-3.3-70b"}}
	rest.Handle(api, "getOrganizationModels", h.models, rest.ResponseExample(models))
	rest.Handle(api, "putOrganizationModels", h.entitle, rest.RequestExample(models), rest.ResponseExample(models))
	rest.Handle(api, "revokeOrganizationKey", h.revoke, rest.RequestExample(OrganizationReason{Reason: "found in a public repository"}))
	rest.Handle(api, "listPlans", h.plans)
	rest.Handle(api, "putPlan", h.putPlan, rest.RequestExample(examplePlan()))
	rest.Handle(api, "deletePlan", h.deletePlan, rest.Fails(fault.Conflict))
	rest.Handle(api, "getOwnOrganization", h.getOwn, rest.ResponseExample(exampleOwn()))
	days := 90
	rest.Handle(api, "changeOwnOrganization", h.changeOwn, rest.Fails(fault.Conflict),
		rest.RequestExample(OwnOrganizationChange{Settings: &OrganizationSettingsChange{IPAllowList: []string{"192.0.2.0/24"}, KeyMaxDays: &days}}),
		rest.ResponseExample(exampleOwn()))
	rest.Handle(api, "deleteOwnOrganization", h.deleteOwn, rest.Fails(fault.Conflict))
}

type handlers struct {
	svc *organization.Service
	own *organization.Own
}
