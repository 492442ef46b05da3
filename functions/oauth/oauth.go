// Package oauth is the function that lets programs in: the authorization server for
// `aiaas login` and for service accounts, the questions that its pages ask people, and
// the client secrets of service accounts. The rules are those of shared/oauth; the
// endpoints of the protocol are handed in as one handler.
package oauth

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/oauth"
	"github.com/aiaas/aiaas/shared/rest"
)

// The function's jobs.
const (
	JobKeys  = "keys"  // makes the next signing key in time
	JobPrune = "prune" // forgets what is over
)

// Spec describes the function.
func Spec() function.Spec {
	return function.Spec{
		Name: "oauth", Service: function.Accounts, Summary: "Lets programs act for people, and service accounts for themselves",
		MemoryMiB: 256, Timeout: 15 * time.Second,
		Routes:    append(append(protocolRoutes(), questionRoutes()...), secretRoutes()...),
		Schedules: []function.Schedule{{Job: JobKeys, Every: time.Hour}, {Job: JobPrune, Every: time.Hour}},
	}
}

const (
	tagProtocol = "OAuth"
	tagSecrets  = "Members"
	anybody     = string(authz.AnyScope)
)

func protocolRoutes() []function.Route {
	return []function.Route{
		{
			Method: http.MethodGet, Path: "/.well-known/openid-configuration", OperationID: "getOpenIDConfiguration", Tag: tagProtocol,
			Summary: "Discover the provider", Description: "Where everything is, by OpenID Connect Discovery.",
		},
		{
			Method: http.MethodGet, Path: "/.well-known/oauth-authorization-server", OperationID: "getAuthorizationServer", Tag: tagProtocol,
			Summary: "Discover the authorization server", Description: "The same, by RFC 8414.",
		},
		{
			Method: http.MethodGet, Path: "/oauth/jwks", OperationID: "getJSONWebKeySet", Tag: tagProtocol,
			Summary: "Get the keys that tokens are verified with", Description: "A key is published a day before it signs, and until what it has signed has expired.",
		},
		{
			Method: http.MethodGet, Path: "/oauth/authorize", OperationID: "authorize", Tag: tagProtocol, Status: http.StatusFound,
			Summary:     "Ask a person to let a program in",
			Description: "For browsers: leads to the page that asks, by way of the sign-in, and then to the program's redirect_uri with a code, its state and the issuer (RFC 9207). response_type=code with PKCE (S256) only.",
		},
		{
			Method: http.MethodPost, Path: "/oauth/token", OperationID: "getToken", Tag: tagProtocol, Form: true,
			Summary: "Get tokens",
			Description: "grant_type is authorization_code, refresh_token, client_credentials or urn:ietf:params:oauth:grant-type:device_code. " +
				"Errors are those of RFC 6749, 5.2. Access tokens are JWTs (RFC 9068) and last ten minutes. A refresh token is good once: one that is shown again ends its session, and so does an authorization code.",
		},
		{
			Method: http.MethodPost, Path: "/oauth/revoke", OperationID: "revokeToken", Tag: tagProtocol, Form: true,
			Summary: "Give a token back", Description: "By RFC 7009. Ends the session that the token belongs to, with all its tokens.",
		},
		{
			Method: http.MethodPost, Path: "/oauth/introspect", OperationID: "introspectToken", Tag: tagProtocol, Form: true,
			Summary: "Ask what an access token is good for", Description: "By RFC 7662, for service accounts, of tokens of their own organization.",
		},
		{
			Method: http.MethodPost, Path: "/oauth/device_authorization", OperationID: "authorizeDevice", Tag: tagProtocol, Form: true,
			Summary: "Ask to be let in from another device", Description: "By RFC 8628: the answer's user_code is typed at verification_uri within ten minutes.",
		},
	}
}

func questionRoutes() []function.Route {
	return []function.Route{
		{
			Method: http.MethodGet, Path: "/v1/oauth/requests/{id}", OperationID: "getOAuthRequest", Tag: tagProtocol, Scope: anybody,
			Summary: "Show what a program asks for", Description: "For the page that asks the person, in the browser that the program's question came with.",
		},
		{
			Method: http.MethodPost, Path: "/v1/oauth/requests/{id}/approve", OperationID: "approveOAuthRequest", Tag: tagProtocol, Scope: anybody,
			Summary: "Let a program in", Description: "With no more than the person may do himself; who has not proved himself for a quarter of an hour does so first. The browser goes on to redirect_to.",
		},
		{
			Method: http.MethodPost, Path: "/v1/oauth/requests/{id}/deny", OperationID: "denyOAuthRequest", Tag: tagProtocol, Scope: anybody,
			Summary: "Turn a program away", Description: "The browser goes on to redirect_to.",
		},
		{
			Method: http.MethodGet, Path: "/v1/oauth/device/{user_code}", OperationID: "getOAuthDevice", Tag: tagProtocol, Scope: anybody,
			Summary: "Show the device that waits under a code", Description: "Codes are short: a person may try twenty in ten minutes.",
		},
		{
			Method: http.MethodPost, Path: "/v1/oauth/device/{user_code}/approve", OperationID: "approveOAuthDevice", Tag: tagProtocol, Scope: anybody,
			Status: http.StatusNoContent, Summary: "Let a device in", Description: "With no more than the person may do himself; who has not proved himself for a quarter of an hour does so first.",
		},
		{
			Method: http.MethodPost, Path: "/v1/oauth/device/{user_code}/deny", OperationID: "denyOAuthDevice", Tag: tagProtocol, Scope: anybody,
			Status: http.StatusNoContent, Summary: "Turn a device away", Description: "It is told at once.",
		},
	}
}

func secretRoutes() []function.Route {
	return []function.Route{
		{
			Method: http.MethodPost, Path: "/v1/service-accounts/{id}/client-secrets", OperationID: "createClientSecret", Tag: tagSecrets,
			Scope: string(authz.MembersWrite), Status: http.StatusCreated, Summary: "Create a client secret",
			Description: "With it and its id the service account gets access tokens at /oauth/token (grant_type=client_credentials). The secret is shown once. Whoever makes one must have every right that the service account has.",
		},
		{
			Method: http.MethodGet, Path: "/v1/service-accounts/{id}/client-secrets", OperationID: "listClientSecrets", Tag: tagSecrets,
			Scope: string(authz.MembersRead), Summary: "List client secrets",
			Description: "At most five, the oldest first, without the secrets themselves.",
		},
		{
			Method: http.MethodDelete, Path: "/v1/service-accounts/{id}/client-secrets/{secret_id}", OperationID: "deleteClientSecret", Tag: tagSecrets,
			Scope: string(authz.MembersWrite), Status: http.StatusNoContent, Summary: "Delete a client secret",
			Description: "It gives no more tokens. Those that it gave last for ten minutes at most; suspend the service account to end them at once.",
		},
	}
}

// Services are what the function stands for.
type Services struct {
	OAuth   *oauth.Service
	Secrets *oauth.Secrets
	// Protocol answers the endpoints of the protocol.
	Protocol http.Handler
}

// New makes the function's HTTP handler.
func New(s Services, auth rest.Authenticator, log *slog.Logger) *rest.API {
	api := rest.New(Spec(), auth, log)
	register(api, s)
	return api
}

// Describe adds the function's routes to the OpenAPI document.
func Describe(doc *rest.Document) {
	register(doc.API(Spec()), Services{Protocol: http.NotFoundHandler()})
}

func register(api *rest.API, s Services) {
	for _, r := range protocolRoutes() {
		media := "application/json"
		if r.OperationID == "authorize" {
			media = "text/plain"
		}
		var notes []rest.Note
		if r.Form {
			notes = append(notes, rest.RequestExample(forms()[r.OperationID]))
		}
		api.HandleHTTP(r.OperationID, media, s.Protocol, notes...)
	}
	h := &handlers{svc: s.OAuth, secrets: s.Secrets}
	rest.Handle(api, "getOAuthRequest", h.request)
	rest.Handle(api, "approveOAuthRequest", h.approve)
	rest.Handle(api, "denyOAuthRequest", h.deny)
	rest.Handle(api, "getOAuthDevice", h.device, rest.Fails(fault.RateLimited))
	rest.Handle(api, "approveOAuthDevice", h.approveDevice, rest.Fails(fault.RateLimited))
	rest.Handle(api, "denyOAuthDevice", h.denyDevice, rest.Fails(fault.RateLimited))
	rest.Handle(api, "createClientSecret", h.createSecret, rest.Fails(fault.Conflict))
	rest.Handle(api, "listClientSecrets", h.listSecrets)
	rest.Handle(api, "deleteClientSecret", h.deleteSecret)
}

// forms are examples of what the protocol's endpoints take.
func forms() map[string]map[string]string {
	return map[string]map[string]string{
		"getToken":        {"grant_type": "client_credentials", "client_id": "sa_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", "client_secret": "aiaas_secret_…", "scope": "usage:read"},
		"revokeToken":     {"client_id": oauth.CLI, "token": "aiaas_refresh_…"},
		"introspectToken": {"client_id": "sa_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", "client_secret": "aiaas_secret_…", "token": "eyJ…"},
		"authorizeDevice": {"client_id": oauth.CLI, "scope": "usage:read offline_access"},
	}
}

type handlers struct {
	svc     *oauth.Service
	secrets *oauth.Secrets
}

// AskingProgram is a program that asks to be let in.
type AskingProgram struct {
	ID   string `json:"id" example:"aiaas-cli"`
	Name string `json:"name" example:"AIaaS command line"`
}

// ConsentRequest is what a program asks for.
type ConsentRequest struct {
	Kind         string        `json:"kind" enum:"code" doc:"How the program asks."`
	Client       AskingProgram `json:"client"`
	Organization string        `json:"organization" doc:"The id of the organization that it would act in."`
	Scopes       []string      `json:"scopes" nullable:"false" doc:"What it would be granted: of what it asks for, what the person may do himself."`
	StepUp       bool          `json:"step_up" doc:"The person must prove himself again before he can answer yes."`
	ExpiresAt    time.Time     `json:"expires_at"`
}

// ConsentAnswer is where the browser goes on to.
type ConsentAnswer struct {
	RedirectTo string `json:"redirect_to" format:"uri"`
}

type requestInput struct {
	ID string `path:"id" maxLength:"100"`
}

type requestOutput struct{ Body ConsentRequest }

type redirectOutput struct{ Body ConsentAnswer }

func (h *handlers) request(ctx context.Context, p authz.Principal, in *requestInput) (*requestOutput, error) {
	a, err := h.svc.Approver(ctx, p)
	if err != nil {
		return nil, err
	}
	q, err := h.svc.Show(ctx, a, in.ID)
	if err != nil {
		return nil, err
	}
	return &requestOutput{Body: ConsentRequest{
		Kind: "code", Client: AskingProgram{q.Client.ID, q.Client.Name}, Organization: p.OrgID, Scopes: q.Asked.Words(), StepUp: q.StepUp, ExpiresAt: q.ExpiresAt,
	}}, nil
}

func (h *handlers) approve(ctx context.Context, p authz.Principal, in *requestInput) (*redirectOutput, error) {
	a, err := h.svc.Approver(ctx, p)
	if err != nil {
		return nil, err
	}
	to, err := h.svc.Approve(ctx, a, in.ID)
	return &redirectOutput{Body: ConsentAnswer{to}}, err
}

func (h *handlers) deny(ctx context.Context, p authz.Principal, in *requestInput) (*redirectOutput, error) {
	a, err := h.svc.Approver(ctx, p)
	if err != nil {
		return nil, err
	}
	to, err := h.svc.Deny(ctx, a, in.ID)
	return &redirectOutput{Body: ConsentAnswer{to}}, err
}

// WaitingDevice is a program on a device that waits to be let in.
type WaitingDevice struct {
	Kind         string        `json:"kind" enum:"device"`
	Client       AskingProgram `json:"client"`
	Organization string        `json:"organization" doc:"The id of the organization that it would act in."`
	Scopes       []string      `json:"scopes" nullable:"false" doc:"What it would be granted: of what it asks for, what the person may do himself."`
	UserCode     string        `json:"user_code" example:"BCDF-GHJK"`
	Address      string        `json:"address" doc:"Where the device asked from."`
	UserAgent    string        `json:"user_agent"`
	AskedAt      time.Time     `json:"asked_at"`
	StepUp       bool          `json:"step_up" doc:"The person must prove himself again before he can answer yes."`
	ExpiresAt    time.Time     `json:"expires_at"`
}

type deviceInput struct {
	UserCode string `path:"user_code" maxLength:"40" doc:"As the device shows it; case and dashes do not matter."`
}

type deviceOutput struct{ Body WaitingDevice }

type noOutput struct{}

func (h *handlers) device(ctx context.Context, p authz.Principal, in *deviceInput) (*deviceOutput, error) {
	a, err := h.svc.Approver(ctx, p)
	if err != nil {
		return nil, err
	}
	q, err := h.svc.ShowDevice(ctx, a, in.UserCode)
	if err != nil {
		return nil, err
	}
	return &deviceOutput{Body: WaitingDevice{
		Kind: "device", Client: AskingProgram{q.Client.ID, q.Client.Name}, Organization: p.OrgID, Scopes: q.Asked.Words(),
		UserCode: oauth.ShowUserCode(q.UserCode), Address: q.Address, UserAgent: q.UserAgent, AskedAt: q.AskedAt, StepUp: q.StepUp, ExpiresAt: q.ExpiresAt,
	}}, nil
}

func (h *handlers) approveDevice(ctx context.Context, p authz.Principal, in *deviceInput) (*noOutput, error) {
	a, err := h.svc.Approver(ctx, p)
	if err != nil {
		return nil, err
	}
	return &noOutput{}, h.svc.ApproveDevice(ctx, a, in.UserCode)
}

func (h *handlers) denyDevice(ctx context.Context, p authz.Principal, in *deviceInput) (*noOutput, error) {
	a, err := h.svc.Approver(ctx, p)
	if err != nil {
		return nil, err
	}
	return &noOutput{}, h.svc.DenyDevice(ctx, a, in.UserCode)
}
