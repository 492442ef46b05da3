// Package keys is the function that hands out, lists and revokes API keys. It
// owns their form on the wire; the rules are those of package apikey.
package keys

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/rest"
)

// Spec describes the function.
func Spec() function.Spec {
	return function.Spec{
		Name: "keys", Service: function.Accounts, Summary: "Creates, lists and revokes API keys",
		MemoryMiB: 256, Timeout: 15 * time.Second,
		Routes: []function.Route{
			{
				Method: http.MethodPost, Path: "/v1/api-keys", OperationID: "createApiKey", Tag: "API keys",
				Scope: string(authz.KeysWrite), Status: http.StatusCreated, Summary: "Create an API key",
				Description: "The answer holds the key itself. It is shown this once: only its SHA-256 is kept. A key grants no more scopes and no more models than the key that creates it.",
			},
			{
				Method: http.MethodGet, Path: "/v1/api-keys", OperationID: "listApiKeys", Tag: "API keys",
				Scope: string(authz.KeysRead), Summary: "List API keys",
				Description: "All keys of the organisation, the oldest first, also those that expired or were revoked.",
			},
			{
				Method: http.MethodDelete, Path: "/v1/api-keys/{id}", OperationID: "revokeApiKey", Tag: "API keys",
				Scope: string(authz.KeysWrite), Status: http.StatusNoContent, Summary: "Revoke an API key",
				Description: "From the answer on the key is refused, everywhere within a second. Revoking a revoked key is fine.",
			},
		},
	}
}

// New makes the function's HTTP handler.
func New(svc *apikey.Service, auth rest.Authenticator, log *slog.Logger) *rest.API {
	api := rest.New(Spec(), auth, log)
	register(api, &handlers{svc: svc})
	return api
}

// Describe adds the function's routes to the OpenAPI document.
func Describe(doc *rest.Document) { register(doc.API(Spec()), &handlers{}) }

func register(api *rest.API, h *handlers) {
	rest.Handle(api, "createApiKey", h.create, rest.RequestExample(exampleRequest()), rest.ResponseExample(exampleCreated()))
	rest.Handle(api, "listApiKeys", h.list)
	rest.Handle(api, "revokeApiKey", h.revoke)
}

type handlers struct{ svc *apikey.Service }

// KeyLimits are the limits of a key; null takes the plan's default.
type KeyLimits struct {
	RequestsPerMinute  *int64 `json:"requests_per_minute" required:"false" minimum:"1"`
	TokensPerMinute    *int64 `json:"tokens_per_minute" required:"false" minimum:"1"`
	ConcurrentRequests *int64 `json:"concurrent_requests" required:"false" minimum:"1"`
}

// NewAPIKey is the body that creates a key.
type NewAPIKey struct {
	Name        string     `json:"name" minLength:"1" maxLength:"200" doc:"What people call the key."`
	Scopes      []string   `json:"scopes" minItems:"1" uniqueItems:"true" nullable:"false" doc:"What the key grants."`
	ProjectID   string     `json:"project_id,omitempty" doc:"The project that the key's usage counts for; left out, that of the key that creates it."`
	Environment string     `json:"environment,omitempty" enum:"production,development" doc:"Left out: production."`
	Models      []string   `json:"models,omitempty" minItems:"1" maxItems:"200" uniqueItems:"true" nullable:"false" doc:"The only models that the key may use; left out, those of the key that creates it."`
	ExpiresAt   *time.Time `json:"expires_at,omitempty" nullable:"true" doc:"When the key stops working; left out, never."`
	Limits      KeyLimits  `json:"limits,omitzero"`
}

// APIKey is a key as it is listed.
type APIKey struct {
	ID          string     `json:"id"`
	Name        string     `json:"name"`
	Fingerprint string     `json:"fingerprint" doc:"Names the key in logs and lists without giving it away."`
	Environment string     `json:"environment" enum:"production,development"`
	State       string     `json:"state" enum:"active,expired,revoked"`
	Scopes      []string   `json:"scopes" nullable:"false"`
	Models      []string   `json:"models" doc:"The only models that the key may use; null: all of the organisation's."`
	ProjectID   string     `json:"project_id"`
	Limits      KeyLimits  `json:"limits"`
	ExpiresAt   *time.Time `json:"expires_at"`
	RevokedAt   *time.Time `json:"revoked_at"`
	CreatedBy   string     `json:"created_by" doc:"The id of the key that created it."`
	CreatedAt   time.Time  `json:"created_at"`
}

// CreatedAPIKey is a key with its secret.
type CreatedAPIKey struct {
	APIKey
	Key string `json:"key" doc:"The key itself, shown this once."`
}

type createInput struct{ Body NewAPIKey }

type createOutput struct{ Body CreatedAPIKey }

func (h *handlers) create(ctx context.Context, p authz.Principal, in *createInput) (*createOutput, error) {
	b := in.Body
	n := apikey.NewKey{
		Name: b.Name, ProjectID: b.ProjectID, Environment: apikey.Environment(b.Environment),
		Models: b.Models, Limits: apikey.OwnLimits(b.Limits),
	}
	for _, s := range b.Scopes {
		n.Scopes = append(n.Scopes, authz.Scope(s))
	}
	if b.ExpiresAt != nil {
		n.ExpiresAt = b.ExpiresAt.UTC()
	}
	key, secret, err := h.svc.Create(ctx, p, n)
	if err != nil {
		return nil, err
	}
	return &createOutput{Body: CreatedAPIKey{APIKey: show(key, h.svc.Now()), Key: secret.Reveal()}}, nil
}

type listInput struct{ rest.Paging }

type listOutput struct{ Body rest.List[APIKey] }

func (h *handlers) list(ctx context.Context, p authz.Principal, in *listInput) (*listOutput, error) {
	after, err := in.After(id.Key)
	if err != nil {
		return nil, err
	}
	keys, err := h.svc.List(ctx, p, apikey.Page{After: after, Limit: in.Fetch()})
	if err != nil {
		return nil, err
	}
	now := h.svc.Now()
	return &listOutput{Body: rest.Page(in.Paging, keys,
		func(k apikey.Key) string { return k.ID },
		func(k apikey.Key) APIKey { return show(k, now) })}, nil
}

type revokeInput struct {
	ID string `path:"id" example:"key_0199c0b2f3a47c1e8d6a5b4c3d2e1f00"`
}

func (h *handlers) revoke(ctx context.Context, p authz.Principal, in *revokeInput) (*struct{}, error) {
	if !id.Valid(id.Key, in.ID) {
		return nil, fault.New(fault.NotFound, "there is no such API key")
	}
	return nil, h.svc.Revoke(ctx, p, in.ID)
}

func show(k apikey.Key, now time.Time) APIKey {
	scopes := make([]string, len(k.Scopes))
	for i, s := range k.Scopes {
		scopes[i] = string(s)
	}
	return APIKey{
		ID: k.ID, Name: k.Name, Fingerprint: k.Fingerprint, Environment: string(k.Environment), State: k.State(now),
		Scopes: scopes, Models: k.Models, ProjectID: k.ProjectID, Limits: KeyLimits(k.Limits),
		ExpiresAt: moment(k.ExpiresAt), RevokedAt: moment(k.RevokedAt), CreatedBy: k.CreatedBy, CreatedAt: k.CreatedAt.Truncate(time.Microsecond),
	}
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func exampleRequest() NewAPIKey {
	perMinute := int64(600)
	return NewAPIKey{Name: "search service", Scopes: []string{"inference", "models:read"}, Limits: KeyLimits{RequestsPerMinute: &perMinute}}
}

func exampleCreated() CreatedAPIKey {
	perMinute := int64(600)
	return CreatedAPIKey{
		Key: "aiaas_live_…",
		APIKey: APIKey{
			ID: "key_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", Name: "search service", Fingerprint: "aiaas_live_5f2a9c01d4e7",
			Environment: "production", State: "active", Scopes: []string{"inference", "models:read"},
			ProjectID: "proj_0199c0b2f3a47c1e8d6a5b4c3d2e1f01", Limits: KeyLimits{RequestsPerMinute: &perMinute},
			CreatedBy: "key_0199c0b2f3a47c1e8d6a5b4c3d2e1f02", CreatedAt: time.Date(2026, 10, 1, 9, 0, 0, 0, time.UTC),
		},
	}
}
