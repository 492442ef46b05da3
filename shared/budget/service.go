package budget

import (
	"context"
	"strconv"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/money"
)

// State is a budget with its current window.
type State struct {
	Budget
	Window Window
	Spent  int64 // settled
	Held   int64 // reserved for requests that run, as far as this process knows
}

// Store keeps budgets. Every method works within one organisation.
type Store interface {
	// CreateBudget adds a budget and seeds its window with what was already used
	// in it, with the organisation's accounting locked, so that each event counts
	// once: in the seed or when it is booked.
	CreateBudget(ctx context.Context, b Budget, w Window, rec audit.Record) (State, error)
	ListBudgets(ctx context.Context, org string, at time.Time, after string, limit int) ([]State, error)
}

// Holds tells what is reserved at the moment, for display.
type Holds interface {
	Held(org, budgetID string, windowStart time.Time) int64
}

// Organizations tells what budgets must know of an organisation.
type Organizations interface {
	OrgZone(ctx context.Context, org string) (currency string, zone *time.Location, err error)
	// CheckScope is NotFound unless the scope's project and key, where it names
	// them, are the organisation's.
	CheckScope(ctx context.Context, org string, s Scope) error
}

// Bumper moves an organisation's configuration version on, as in package apikey.
type Bumper interface {
	Bump(ctx context.Context, org string) error
}

// Service creates and lists budgets.
type Service struct {
	Store Store
	Orgs  Organizations
	Holds Holds
	Bump  Bumper
	Now   func() time.Time
}

// NewBudget is what a budget is created from.
type NewBudget struct {
	Scope      Scope
	Unit       Unit
	Amount     string // decimal
	Period     Period
	Action     Action
	Thresholds []int
}

// Create adds a budget. It binds every request admitted after Create returns.
func (s *Service) Create(ctx context.Context, p authz.Principal, n NewBudget) (State, error) {
	if err := p.Require(authz.BudgetsWrite); err != nil {
		return State{}, err
	}
	currency, zone, err := s.Orgs.OrgZone(ctx, p.OrgID)
	if err != nil {
		return State{}, err
	}
	b := Budget{
		ID: id.New(id.Budget), OrgID: p.OrgID, Scope: n.Scope, Unit: n.Unit, Currency: currency,
		Period: n.Period, TimeZone: zone, Action: n.Action, Thresholds: n.Thresholds, CreatedBy: p.Actor(), CreatedAt: s.Now(),
	}
	if len(b.Thresholds) == 0 {
		b.Thresholds = DefaultThresholds()
	}
	if err := b.check(); err != nil {
		return State{}, err
	}
	if b.Amount, err = ParseAmount(n.Unit, n.Amount); err != nil {
		return State{}, err
	}
	if err := s.Orgs.CheckScope(ctx, p.OrgID, b.Scope); err != nil {
		return State{}, err
	}
	rec := audit.New(ctx, p, b.CreatedAt, "budget.create", b.ID).With(map[string]any{
		"unit": b.Unit, "amount": FormatAmount(b.Unit, b.Amount), "period": b.Period, "action": b.Action,
		"project_id": b.Scope.ProjectID, "api_key_id": b.Scope.APIKeyID, "model": b.Scope.Model,
	})
	st, err := s.Store.CreateBudget(ctx, b, b.WindowAt(b.CreatedAt), rec)
	if err != nil {
		return State{}, err
	}
	return st, s.Bump.Bump(ctx, p.OrgID)
}

// List returns a page of the organisation's budgets with their current windows.
func (s *Service) List(ctx context.Context, p authz.Principal, after string, limit int) ([]State, error) {
	if err := p.Require(authz.BudgetsRead); err != nil {
		return nil, err
	}
	states, err := s.Store.ListBudgets(ctx, p.OrgID, s.Now(), after, limit)
	if err != nil {
		return nil, err
	}
	for i := range states {
		states[i].Held = s.Holds.Held(p.OrgID, states[i].ID, states[i].Window.Start)
	}
	return states, nil
}

// ParseAmount reads a decimal amount of a unit.
func ParseAmount(u Unit, text string) (int64, error) {
	var v int64
	var err error
	if u == Money {
		var n money.Nano
		n, err = money.ParseNano(text)
		v = int64(n)
	} else {
		v, err = money.ParseCount(text)
	}
	if err != nil {
		return 0, fault.New(fault.Unprocessable, "amount: %v", err).At("amount")
	}
	return v, nil
}

// FormatAmount writes an amount of a unit as a decimal.
func FormatAmount(u Unit, v int64) string {
	if u == Money {
		return money.Nano(v).String()
	}
	return strconv.FormatInt(v, 10)
}
