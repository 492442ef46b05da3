package model

import (
	"context"
	"slices"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/pricing"
)

// Shelf reads the catalogue as administrators see it: with what is disabled.
type Shelf interface {
	// ReadModels returns models with their backends and prices, by id.
	ReadModels(ctx context.Context, q Query) ([]*Model, error)
	ReadPriceBooks(ctx context.Context) ([]PriceBook, error)
	// ReadPrices returns the versions of a model's prices, the earliest first; of all
	// models, one after the other, where none is named.
	ReadPrices(ctx context.Context, book, model string) ([]pricing.Price, error)
}

// Query says which models to read: one, or those that follow an id.
type Query struct {
	ID    string // "" reads a list
	After string
	Limit int
}

// PriceBook is a set of prices in one currency.
type PriceBook struct {
	ID        string
	Currency  string
	CreatedAt time.Time
}

// Change is what can be changed of a model. A nil member stays as it is.
type Change struct {
	Disabled   *bool
	Restricted *bool // only for organisations that it is granted to
}

// BackendChange is what can be changed of a backend. A nil member stays as it is.
// Its address and credential can't be: another place is another backend.
type BackendChange struct {
	Disabled *bool
	Weight   *int
}

// Models lists the catalogue.
func (s *Service) Models(ctx context.Context, p authz.Principal, after string, limit int) ([]*Model, error) {
	if err := p.Require(ctx, authz.DoCatalogueRead); err != nil {
		return nil, err
	}
	return s.Store.ReadModels(ctx, Query{After: after, Limit: limit})
}

// Model returns one model of the catalogue.
func (s *Service) Model(ctx context.Context, p authz.Principal, id string) (*Model, error) {
	if err := p.Require(ctx, authz.DoCatalogueRead); err != nil {
		return nil, err
	}
	found, err := s.Store.ReadModels(ctx, Query{ID: id, Limit: 1})
	if err != nil {
		return nil, err
	}
	if id == "" || len(found) == 0 {
		return nil, fault.New(fault.NotFound, "there is no such model")
	}
	return found[0], nil
}

// UpdateModel changes a model. A disabled one is to callers as if it did not
// exist, and a restricted one to those that it is not granted to; everywhere within
// a second. Requests that run go on.
func (s *Service) UpdateModel(ctx context.Context, p authz.Principal, id string, c Change) (*Model, error) {
	if err := p.Require(ctx, authz.DoCatalogueWrite); err != nil {
		return nil, err
	}
	changes := map[string]any{}
	if c.Disabled != nil {
		changes["disabled"] = *c.Disabled
	}
	if c.Restricted != nil {
		changes["restricted"] = *c.Restricted
	}
	if len(changes) == 0 {
		return nil, errNoChange()
	}
	rec := audit.New(ctx, p, s.Now(), "model.update", id).With(changes)
	if err := s.Store.UpdateModel(ctx, id, c, rec); err != nil {
		return nil, err
	}
	if err := s.Bump.Bump(ctx, PlatformScope); err != nil {
		return nil, err
	}
	return s.Model(ctx, p, id)
}

// UpdateBackend changes a backend. A disabled one is sent no further request from
// a second later on; those that run there go on.
func (s *Service) UpdateBackend(ctx context.Context, p authz.Principal, id string, c BackendChange) (Backend, error) {
	if err := p.Require(ctx, authz.DoCatalogueWrite); err != nil {
		return Backend{}, err
	}
	changes := map[string]any{}
	if c.Disabled != nil {
		changes["disabled"] = *c.Disabled
	}
	if c.Weight != nil {
		changes["weight"] = *c.Weight
		if err := checkWeight(*c.Weight); err != nil {
			return Backend{}, err
		}
	}
	if len(changes) == 0 {
		return Backend{}, errNoChange()
	}
	b, err := s.Store.UpdateBackend(ctx, id, c, audit.New(ctx, p, s.Now(), "backend.update", id).With(changes))
	if err != nil {
		return Backend{}, err
	}
	return b, s.Bump.Bump(ctx, PlatformScope)
}

func errNoChange() error {
	return fault.New(fault.Unprocessable, "nothing is to be changed")
}

func checkWeight(w int) error {
	if w < 1 || w > 1000 {
		return fault.New(fault.Unprocessable, "the weight is between 1 and 1000").At("weight")
	}
	return nil
}

// PriceBooks lists the price books.
func (s *Service) PriceBooks(ctx context.Context, p authz.Principal) ([]PriceBook, error) {
	if err := p.Require(ctx, authz.DoCatalogueRead); err != nil {
		return nil, err
	}
	return s.Store.ReadPriceBooks(ctx)
}

// Listed is a version of a price, and whether it is the one in force.
type Listed struct {
	pricing.Price

	InForce bool
}

// Prices lists the versions of a model's prices in a book, the earliest first; of
// all models, one after the other, where none is named.
func (s *Service) Prices(ctx context.Context, p authz.Principal, book, model string) ([]Listed, error) {
	books, err := s.PriceBooks(ctx, p)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(books, func(b PriceBook) bool { return b.ID == book }) {
		return nil, fault.New(fault.NotFound, "there is no such price book")
	}
	prices, err := s.Store.ReadPrices(ctx, book, model)
	if err != nil {
		return nil, err
	}
	now, of := s.Now(), map[string][]pricing.Price{}
	for _, v := range prices {
		of[v.Model] = append(of[v.Model], v)
	}
	out := make([]Listed, len(prices))
	for i, v := range prices {
		current, ok := pricing.InForce(of[v.Model], now)
		out[i] = Listed{Price: v, InForce: ok && current.ID == v.ID}
	}
	return out, nil
}
