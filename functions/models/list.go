package models

import (
	"context"
	"slices"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/model"
	"github.com/aiaas/aiaas/shared/rest"
	"github.com/aiaas/aiaas/shared/tenant"
)

// PlatformModel is a model as administrators see it.
type PlatformModel struct {
	ID              string    `json:"id"`
	OwnedBy         string    `json:"owned_by"`
	MaxOutputTokens int64     `json:"max_output_tokens"`
	Disabled        bool      `json:"disabled"`
	Restricted      bool      `json:"restricted" doc:"Only organizations that it is granted to may use it."`
	Callable        bool      `json:"callable" doc:"It is enabled, has an enabled backend, and a price in the first price book."`
	Price           *Price    `json:"price" doc:"The price in force in the first price book; null where there is none."`
	Backends        []Backend `json:"backends" nullable:"false"`
	CreatedAt       time.Time `json:"created_at"`
}

func (h *handlers) show(m *model.Model) PlatformModel {
	out := PlatformModel{
		ID: m.ID, OwnedBy: m.OwnedBy, MaxOutputTokens: m.MaxOutputTokens, Disabled: !m.DisabledAt.IsZero(), Restricted: m.Restricted,
		Backends: make([]Backend, len(m.Backends)), CreatedAt: m.CreatedAt,
	}
	for i := range m.Backends {
		out.Backends[i] = showBackend(m.Backends[i])
	}
	if p, ok := m.Price(tenant.DefaultPriceBook, h.svc.Now()); ok {
		shown := showPrice(model.Listed{Price: p, InForce: true})
		out.Price = &shown
	}
	out.Callable = !out.Disabled && out.Price != nil && slices.ContainsFunc(out.Backends, func(b Backend) bool { return !b.Disabled })
	return out
}

func showBackend(b model.Backend) Backend {
	return Backend{
		ID: b.ID, Model: b.ModelID, Protocol: string(b.Protocol), BaseURL: b.BaseURL, UpstreamModel: b.UpstreamModel,
		Credential: b.Credential.String(), Weight: b.Weight, Disabled: !b.DisabledAt.IsZero(), CreatedAt: b.CreatedAt.Truncate(time.Microsecond),
	}
}

type listModelsInput struct{ rest.Paging }

type listModelsOutput struct{ Body rest.List[PlatformModel] }

func (h *handlers) listModels(ctx context.Context, p authz.Principal, in *listModelsInput) (*listModelsOutput, error) {
	after, err := in.AfterName()
	if err != nil {
		return nil, err
	}
	models, err := h.svc.Models(ctx, p, after, in.Fetch())
	if err != nil {
		return nil, err
	}
	return &listModelsOutput{Body: rest.Page(in.Paging, models, func(m *model.Model) string { return m.ID }, h.show)}, nil
}

type getModelInput struct {
	ID string `path:"id" maxLength:"200" example:"llama-3.3-70b" doc:"The model's id."`
}

type platformModelOutput struct{ Body PlatformModel }

func (h *handlers) getModel(ctx context.Context, p authz.Principal, in *getModelInput) (*platformModelOutput, error) {
	m, err := h.svc.Model(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	return &platformModelOutput{Body: h.show(m)}, nil
}

// ModelChange is the body that changes a model.
type ModelChange struct {
	Disabled   *bool `json:"disabled,omitempty"`
	Restricted *bool `json:"restricted,omitempty" doc:"true: only for organizations that it is granted to. false: open to all."`
}

type updateModelInput struct {
	ID   string `path:"id" maxLength:"200" example:"llama-3.3-70b" doc:"The model's id."`
	Body ModelChange
}

func (h *handlers) updateModel(ctx context.Context, p authz.Principal, in *updateModelInput) (*platformModelOutput, error) {
	m, err := h.svc.UpdateModel(ctx, p, in.ID, model.Change(in.Body))
	if err != nil {
		return nil, err
	}
	return &platformModelOutput{Body: h.show(m)}, nil
}

// BackendChange is the body that changes a backend. What is left out stays.
type BackendChange struct {
	Disabled *bool `json:"disabled,omitempty"`
	Weight   *int  `json:"weight,omitempty" minimum:"1" maximum:"1000" doc:"Its share of the requests beside the model's other backends."`
}

type updateBackendInput struct {
	ID   string `path:"id" example:"be_0199c0b2f3a47c1e8d6a5b4c3d2e1f00"`
	Body BackendChange
}

func (h *handlers) updateBackend(ctx context.Context, p authz.Principal, in *updateBackendInput) (*addBackendOutput, error) {
	if !id.Valid(id.Backend, in.ID) {
		return nil, fault.New(fault.NotFound, "there is no such backend")
	}
	b, err := h.svc.UpdateBackend(ctx, p, in.ID, model.BackendChange(in.Body))
	if err != nil {
		return nil, err
	}
	return &addBackendOutput{Body: showBackend(b)}, nil
}

// PriceBook is a set of prices in one currency.
type PriceBook struct {
	ID        string    `json:"id"`
	Currency  string    `json:"currency"`
	CreatedAt time.Time `json:"created_at"`
}

type listBooksInput struct{ rest.Paging }

type listBooksOutput struct{ Body rest.List[PriceBook] }

func (h *handlers) listBooks(ctx context.Context, p authz.Principal, in *listBooksInput) (*listBooksOutput, error) {
	after, err := in.AfterName()
	if err != nil {
		return nil, err
	}
	books, err := h.svc.PriceBooks(ctx, p)
	if err != nil {
		return nil, err
	}
	books = slices.DeleteFunc(books, func(b model.PriceBook) bool { return b.ID <= after })
	return &listBooksOutput{Body: rest.Page(in.Paging, books,
		func(b model.PriceBook) string { return b.ID },
		func(b model.PriceBook) PriceBook { return PriceBook(b) })}, nil
}

type listPricesInput struct {
	ID      string `path:"id" maxLength:"200" example:"default" doc:"The price book's id."`
	Model   string `query:"model" maxLength:"200" doc:"Only of the model with this id."`
	InForce bool   `query:"in_force" doc:"true: only what counts now."`
	rest.Paging
}

type listPricesOutput struct{ Body rest.List[Price] }

func (h *handlers) listPrices(ctx context.Context, p authz.Principal, in *listPricesInput) (*listPricesOutput, error) {
	after, err := in.After(id.Price)
	if err != nil {
		return nil, err
	}
	prices, err := h.svc.Prices(ctx, p, in.ID, in.Model)
	if err != nil {
		return nil, err
	}
	if after != "" { // by place, for they are in the order of their dates, not of their ids
		at := slices.IndexFunc(prices, func(p model.Listed) bool { return p.ID == after })
		if at < 0 {
			at = len(prices) - 1
		}
		prices = prices[at+1:]
	}
	if in.InForce {
		prices = slices.DeleteFunc(prices, func(p model.Listed) bool { return !p.InForce })
	}
	return &listPricesOutput{Body: rest.Page(in.Paging, prices, func(p model.Listed) string { return p.ID }, showPrice)}, nil
}

func showPrice(p model.Listed) Price {
	return Price{
		ID: p.ID, PriceBook: p.Book, Model: p.Model, Currency: p.Currency, EffectiveFrom: p.EffectiveFrom,
		Input: p.Input.PerMillion(), CachedInput: p.CachedInput.PerMillion(), Output: p.Output.PerMillion(), InForce: p.InForce, CreatedAt: p.CreatedAt,
	}
}
