// Package models is the function with which the platform's administrators keep
// the catalogue: models, the backends that serve them, and prices. It owns their
// form on the wire; the rules are those of package model.
package models

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/model"
	"github.com/aiaas/aiaas/shared/rest"
)

// Spec describes the function.
func Spec() function.Spec {
	const tag = "Catalogue"
	scope := string(authz.Platform)
	return function.Spec{
		Name: "models", Service: function.Router, Summary: "Keeps models, backends and prices",
		MemoryMiB: 256, Timeout: 15 * time.Second,
		Routes: []function.Route{
			{
				Method: http.MethodPost, Path: "/v1/models", OperationID: "createModel", Tag: tag, Scope: scope,
				Status: http.StatusCreated, Summary: "Add a model",
				Description: "It can be called once it has a backend and a price.",
			},
			{
				Method: http.MethodPost, Path: "/v1/models/{id}/backends", OperationID: "addBackend", Tag: tag, Scope: scope,
				Status: http.StatusCreated, Summary: "Add a backend to a model",
				Description: "A slash in the model's id is written as %2F. The credential is stored encrypted, bound to the host of base_url, and never shown again.",
			},
			{
				Method: http.MethodPost, Path: "/v1/price-books/{id}/prices", OperationID: "publishPrice", Tag: tag, Scope: scope,
				Status: http.StatusCreated, Summary: "Publish a price",
				Description: "Adds a version; none is ever changed. Where the model has a price, a new one counts from its publication at the earliest. The first price book is default.",
			},
			{
				Method: http.MethodGet, Path: "/v1/price-books/{id}/prices", OperationID: "listPrices", Tag: tag, Scope: scope,
				Summary: "List the versions of prices", Description: "By model and the earliest first, those still to come included. in_force marks the one that counts now.",
			},
			{
				Method: http.MethodGet, Path: "/v1/price-books", OperationID: "listPriceBooks", Tag: tag, Scope: scope,
				Summary: "List price books",
			},
			{
				Method: http.MethodGet, Path: "/v1/platform/models", OperationID: "listPlatformModels", Tag: tag, Scope: scope,
				Summary: "List the catalogue", Description: "All models with their backends, also those that are disabled or have no price yet. The list that callers see is GET /v1/models.",
			},
			{
				Method: http.MethodGet, Path: "/v1/platform/models/{id}", OperationID: "getPlatformModel", Tag: tag, Scope: scope,
				Summary: "Show a model of the catalogue", Description: "A slash in the model's id is written as %2F.",
			},
			{
				Method: http.MethodPatch, Path: "/v1/models/{id}", OperationID: "updateModel", Tag: tag, Scope: scope,
				Summary: "Disable, enable or restrict a model", Description: "A disabled model is to callers as if it did not exist, and a restricted one to organizations that it is not granted to; everywhere within a second. Requests that run go on. A slash in the model's id is written as %2F.",
			},
			{
				Method: http.MethodPatch, Path: "/v1/backends/{id}", OperationID: "updateBackend", Tag: tag, Scope: scope,
				Summary: "Change a backend's weight, disable or enable it", Description: "Counts for requests that begin from a second later on.",
			},
		},
	}
}

// New makes the function's HTTP handler.
func New(svc *model.Service, auth rest.Authenticator, log *slog.Logger) *rest.API {
	api := rest.New(Spec(), auth, log)
	register(api, &handlers{svc: svc})
	return api
}

// Describe adds the function's routes to the OpenAPI document.
func Describe(doc *rest.Document) { register(doc.API(Spec()), &handlers{}) }

func register(api *rest.API, h *handlers) {
	rest.Handle(api, "createModel", h.createModel, rest.Fails(fault.Conflict),
		rest.RequestExample(NewModel{ID: "llama-3.3-70b", MaxOutputTokens: 4096}))
	rest.Handle(api, "addBackend", h.addBackend,
		rest.RequestExample(NewBackend{Protocol: "openai", BaseURL: "http://vllm.internal:8000/v1", UpstreamModel: "meta-llama/Llama-3.3-70B-Instruct", Weight: 1}))
	rest.Handle(api, "publishPrice", h.publishPrice,
		rest.RequestExample(NewPrice{Model: "llama-3.3-70b", Input: "0.60", CachedInput: "0.30", Output: "0.80"}))
	rest.Handle(api, "listPrices", h.listPrices)
	rest.Handle(api, "listPriceBooks", h.listBooks)
	rest.Handle(api, "listPlatformModels", h.listModels)
	rest.Handle(api, "getPlatformModel", h.getModel)
	yes, weight := true, 3
	rest.Handle(api, "updateModel", h.updateModel, rest.RequestExample(ModelChange{Disabled: &yes}))
	rest.Handle(api, "updateBackend", h.updateBackend, rest.RequestExample(BackendChange{Weight: &weight}))
}

type handlers struct{ svc *model.Service }

// NewModel is the body that adds a model.
type NewModel struct {
	ID              string `json:"id" minLength:"1" maxLength:"200" doc:"What clients name in their requests."`
	OwnedBy         string `json:"owned_by,omitempty" maxLength:"200" doc:"Shown in the list of models; left out: aiaas."`
	MaxOutputTokens int64  `json:"max_output_tokens,omitempty" minimum:"1" doc:"The most output of a request that sets no bound itself; left out: 4096."`
	Restricted      bool   `json:"restricted,omitempty" doc:"Only for organizations that it is granted to; left out: it is open to all."`
}

// Model is a model as it was added.
type Model struct {
	ID              string    `json:"id"`
	OwnedBy         string    `json:"owned_by"`
	MaxOutputTokens int64     `json:"max_output_tokens"`
	Restricted      bool      `json:"restricted" doc:"Only organizations that it is granted to may use it."`
	CreatedAt       time.Time `json:"created_at"`
}

type createModelInput struct{ Body NewModel }

type createModelOutput struct{ Body Model }

func (h *handlers) createModel(ctx context.Context, p authz.Principal, in *createModelInput) (*createModelOutput, error) {
	m, err := h.svc.CreateModel(ctx, p, model.NewModel(in.Body))
	if err != nil {
		return nil, err
	}
	return &createModelOutput{Body: Model{
		ID: m.ID, OwnedBy: m.OwnedBy, MaxOutputTokens: m.MaxOutputTokens, Restricted: m.Restricted, CreatedAt: m.CreatedAt.Truncate(time.Microsecond),
	}}, nil
}

// NewBackend is the body that adds a backend.
type NewBackend struct {
	Protocol      string `json:"protocol" enum:"openai"`
	BaseURL       string `json:"base_url" maxLength:"2000" doc:"The address up to and including the version: https://api.openai.com/v1"`
	UpstreamModel string `json:"upstream_model,omitempty" maxLength:"200" doc:"What the backend calls the model; left out, the model's id."`
	Credential    string `json:"credential,omitempty" maxLength:"4096" doc:"The backend's API key."`
	CredentialEnv string `json:"credential_env,omitempty" maxLength:"100" doc:"Instead of credential: the environment variable of the gateway that holds it."`
	Weight        int    `json:"weight,omitempty" minimum:"1" maximum:"1000" doc:"Its share of the requests beside the model's other backends; left out: 1."`
}

// Backend is a backend. Its credential never leaves.
type Backend struct {
	ID            string    `json:"id"`
	Model         string    `json:"model"`
	Protocol      string    `json:"protocol"`
	BaseURL       string    `json:"base_url"`
	UpstreamModel string    `json:"upstream_model"`
	Credential    string    `json:"credential" doc:"How it is kept: none, sealed, or env:NAME."`
	Weight        int       `json:"weight"`
	Disabled      bool      `json:"disabled" doc:"It is sent no requests."`
	CreatedAt     time.Time `json:"created_at"`
}

type addBackendInput struct {
	ID   string `path:"id" maxLength:"200" example:"llama-3.3-70b" doc:"The model's id."`
	Body NewBackend
}

type addBackendOutput struct{ Body Backend }

func (h *handlers) addBackend(ctx context.Context, p authz.Principal, in *addBackendInput) (*addBackendOutput, error) {
	b, err := h.svc.AddBackend(ctx, p, model.NewBackend{
		ModelID: in.ID, Protocol: model.Protocol(in.Body.Protocol), BaseURL: in.Body.BaseURL, UpstreamModel: in.Body.UpstreamModel,
		Credential: in.Body.Credential, CredentialEnv: in.Body.CredentialEnv, Weight: in.Body.Weight,
	})
	if err != nil {
		return nil, err
	}
	return &addBackendOutput{Body: showBackend(b)}, nil
}

// NewPrice is the body that publishes a price. Prices are decimal strings, for a
// million tokens, with at most six decimals.
type NewPrice struct {
	Model         string     `json:"model" minLength:"1" maxLength:"200"`
	EffectiveFrom *time.Time `json:"effective_from,omitempty" nullable:"true" doc:"Left out: at once."`
	Input         string     `json:"input_usd_per_million" maxLength:"40" example:"2.50"`
	CachedInput   string     `json:"cached_input_usd_per_million,omitempty" maxLength:"40" doc:"Left out: the price of input."`
	Output        string     `json:"output_usd_per_million" maxLength:"40" example:"10.00"`
}

// Price is one version of a price.
type Price struct {
	ID            string    `json:"id"`
	PriceBook     string    `json:"price_book"`
	Model         string    `json:"model"`
	Currency      string    `json:"currency"`
	EffectiveFrom time.Time `json:"effective_from"`
	Input         string    `json:"input_usd_per_million"`
	CachedInput   string    `json:"cached_input_usd_per_million"`
	Output        string    `json:"output_usd_per_million"`
	InForce       bool      `json:"in_force" doc:"It is the one that counts now."`
	CreatedAt     time.Time `json:"created_at"`
}

type publishPriceInput struct {
	ID   string `path:"id" maxLength:"200" example:"default" doc:"The price book's id."`
	Body NewPrice
}

type publishPriceOutput struct{ Body Price }

func (h *handlers) publishPrice(ctx context.Context, p authz.Principal, in *publishPriceInput) (*publishPriceOutput, error) {
	n := model.NewPrice{Book: in.ID, Model: in.Body.Model, Input: in.Body.Input, CachedInput: in.Body.CachedInput, Output: in.Body.Output}
	if in.Body.EffectiveFrom != nil {
		n.EffectiveFrom = *in.Body.EffectiveFrom
	}
	price, err := h.svc.PublishPrice(ctx, p, n)
	if err != nil {
		return nil, err
	}
	// Of two that take effect at once the later published counts: this one.
	return &publishPriceOutput{Body: showPrice(model.Listed{Price: price, InForce: !price.EffectiveFrom.After(h.svc.Now())})}, nil
}
