package budget

import (
	"context"
	"reflect"
	"strconv"
	"time"

	"github.com/aiaas/aiaas/shared/admission"
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

// Changed is a budget after a change.
type Changed struct {
	State
	// Windows are the states of those of its windows that requests may still be
	// admitted to; none where it does not block.
	Windows []admission.Grant
	// Booked are those of the finals that the windows' sums have: all, and no others.
	Booked []string
}

// Store keeps budgets. Every method works within one organisation; a budget that
// is not there is NotFound.
//
// Whatever sets what a budget counts or when it alerts locks the organisation's
// accounting, so that each event counts once, and under one setting: before, in
// the seed or the sum that is looked at, or when it is booked. Thresholds that are
// reached are recorded in the same transaction.
type Store interface {
	// CreateBudget adds a budget and seeds its window with what was already used
	// in it.
	CreateBudget(ctx context.Context, b Budget, w Window, rec audit.Record) (State, error)
	ListBudgets(ctx context.Context, org string, at time.Time, p Page) ([]State, error)
	GetBudget(ctx context.Context, org, budgetID string, at time.Time) (State, error)
	// ChangeBudget sets amount, action and thresholds to what change makes of the
	// budget. A budget that begins to block is seeded as a new one is. A nil record
	// means that nothing has changed; the states are returned all the same.
	ChangeBudget(ctx context.Context, org, budgetID string, at time.Time, change Edit) (Changed, error)
	// ArchiveBudget takes a budget out of force. Its windows and alerts stay. It is
	// fine to do so twice; the record is written once.
	ArchiveBudget(ctx context.Context, org, budgetID string, rec audit.Record) error
	// ListAlerts lists what a budget has alerted, the oldest first; also one that
	// is archived.
	ListAlerts(ctx context.Context, org, budgetID, after string, limit int) ([]Alert, error)
}

// Page asks for a part of a list: what follows After, at most Limit.
type Page struct {
	After    string // the id of the last one seen; "" from the start
	Limit    int
	Projects []string // only budgets of these projects; nil: all of the organisation's
}

// Edit is a change of a budget.
type Edit struct {
	// Change says what the budget becomes, and how that is recorded.
	Change func(Budget) (Budget, *audit.Record, error)
	// Finals lists the requests that the limiter knows to be settled and not to be
	// booked. It is called while nothing is being booked.
	Finals func() []string
}

// Limits is what budgets need of the limiter.
type Limits interface {
	// Taken is what is spent and held of a window, for display.
	Taken(org, budgetID string, windowStart time.Time) int64
	// The others are those of package admission.
	Finals(org string) []string
	Commit(ctx context.Context, c admission.Committed) error
	Credit(ctx context.Context, org string, at time.Time, grants []admission.Grant) error
	Bump(ctx context.Context, org string) error
}

// Organizations tells what budgets must know of an organisation.
type Organizations interface {
	OrgZone(ctx context.Context, org string) (currency string, zone *time.Location, err error)
	// CheckScope is NotFound unless the scope's project and key, where it names
	// them, are the organisation's.
	CheckScope(ctx context.Context, org string, s Scope) error
}

// Service creates, changes and lists budgets.
type Service struct {
	Store  Store
	Orgs   Organizations
	Limits Limits
	Now    func() time.Time
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
	if err := p.Require(ctx, authz.DoBudgetsWrite); err != nil {
		return State{}, err
	}
	currency, zone, err := s.Orgs.OrgZone(ctx, p.OrgID)
	if err != nil {
		return State{}, err
	}
	b := Budget{
		ID: id.New(id.Budget), OrgID: p.OrgID, Scope: n.Scope, Unit: n.Unit, Currency: currency,
		Period: n.Period, TimeZone: zone, Action: n.Action, Thresholds: tidy(n.Thresholds), CreatedBy: p.Actor(), CreatedAt: s.Now(),
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
	detail := b.settings()
	detail["unit"], detail["period"] = b.Unit, b.Period
	detail["project_id"], detail["api_key_id"], detail["model"] = b.Scope.ProjectID, b.Scope.APIKeyID, b.Scope.Model
	rec := audit.New(ctx, p, b.CreatedAt, "budget.create", b.ID).With(detail)
	st, err := s.Store.CreateBudget(ctx, b, b.WindowAt(b.CreatedAt), rec)
	if err != nil {
		return State{}, err
	}
	return st, s.Limits.Bump(context.WithoutCancel(ctx), p.OrgID)
}

// settings are what of a budget can be changed, as they are audited.
func (b *Budget) settings() map[string]any {
	return map[string]any{"amount": FormatAmount(b.Unit, b.Amount), "action": b.Action, "thresholds": b.Thresholds}
}

// Patch is what of a budget is to be changed; what is nil stays.
type Patch struct {
	Amount     *string // decimal
	Action     *Action
	Thresholds []int
}

// apply returns the budget as the patch makes it.
func (c Patch) apply(b Budget) (Budget, error) {
	if c.Amount != nil {
		var err error
		if b.Amount, err = ParseAmount(b.Unit, *c.Amount); err != nil {
			return b, err
		}
	}
	if c.Action != nil {
		b.Action = *c.Action
	}
	if c.Thresholds != nil {
		b.Thresholds = tidy(c.Thresholds)
	}
	return b, b.check()
}

// Change changes a budget. It binds every request admitted after Change returns:
// a raised limit leaves room at once, a cut one only stops admissions.
func (s *Service) Change(ctx context.Context, p authz.Principal, budgetID string, c Patch) (State, error) {
	if err := p.Require(ctx, authz.DoBudgetsWrite); err != nil {
		return State{}, err
	}
	at := s.Now()
	edit := func(b Budget) (Budget, *audit.Record, error) {
		next, err := c.apply(b)
		if err != nil || reflect.DeepEqual(b, next) {
			return next, nil, err
		}
		rec := audit.New(ctx, p, at, "budget.change", b.ID).With(map[string]any{"before": b.settings(), "after": next.settings()})
		return next, &rec, nil
	}
	finals := func() []string { return s.Limits.Finals(p.OrgID) }
	done, err := s.Store.ChangeBudget(ctx, p.OrgID, budgetID, at, Edit{Change: edit, Finals: finals})
	if err != nil {
		return State{}, err
	}
	// It is done: who asked for it may have left, the limiter is told all the same.
	if err := s.tell(context.WithoutCancel(ctx), at, done); err != nil {
		return State{}, err
	}
	s.hold(&done.State)
	return done.State, nil
}

// tell brings the limiter up to a change. One that changed nothing is told too, for
// whoever asks again because the first answer was lost.
func (s *Service) tell(ctx context.Context, at time.Time, done Changed) error {
	sums := make([]admission.Spent, len(done.Windows))
	for i, g := range done.Windows {
		sums[i] = admission.Spent{Budget: g.Budget, Start: g.Start, Spent: g.Spent, Seq: g.Seq}
	}
	if err := s.Limits.Commit(ctx, admission.Committed{Org: done.OrgID, IDs: done.Booked, Windows: sums}); err != nil {
		return err
	}
	if err := s.Limits.Credit(ctx, done.OrgID, at, done.Windows); err != nil {
		return err
	}
	return s.Limits.Bump(ctx, done.OrgID)
}

// Delete takes a budget out of force: no request admitted after Delete returns is
// bound by it. What it counted is kept.
func (s *Service) Delete(ctx context.Context, p authz.Principal, budgetID string) error {
	if err := p.Require(ctx, authz.DoBudgetsWrite); err != nil {
		return err
	}
	rec := audit.New(ctx, p, s.Now(), "budget.delete", budgetID)
	if err := s.Store.ArchiveBudget(ctx, p.OrgID, budgetID, rec); err != nil {
		return err
	}
	return s.Limits.Bump(context.WithoutCancel(ctx), p.OrgID)
}

// Get returns one budget with its current window.
func (s *Service) Get(ctx context.Context, p authz.Principal, budgetID string) (State, error) {
	reach, err := p.Reach(ctx, authz.DoBudgetsRead)
	if err != nil {
		return State{}, err
	}
	st, err := s.reached(ctx, p.OrgID, budgetID, reach)
	if err != nil {
		return State{}, err
	}
	s.hold(&st)
	return st, nil
}

// Alerts returns a page of the thresholds that a budget has reached.
func (s *Service) Alerts(ctx context.Context, p authz.Principal, budgetID, after string, limit int) ([]Alert, error) {
	reach, err := p.Reach(ctx, authz.DoBudgetsRead)
	if err != nil {
		return nil, err
	}
	if !reach.All {
		if _, err := s.reached(ctx, p.OrgID, budgetID, reach); err != nil {
			return nil, err
		}
	}
	return s.Store.ListAlerts(ctx, p.OrgID, budgetID, after, limit)
}

// hold sets what is held: what the limiter knows to be taken, less what is booked.
// The limiter's spent and held are of one moment and within the limit; what is
// booked was read before. So the two add up to no more than the limit, although
// what is being booked is held until the limiter hears of it.
func (s *Service) hold(st *State) {
	st.Held = max(0, s.Limits.Taken(st.OrgID, st.ID, st.Window.Start)-st.Spent)
}

// reached reads a budget that is within reach: those of the caller's projects, where
// it is not all of the organisation's.
func (s *Service) reached(ctx context.Context, org, budgetID string, r authz.Reach) (State, error) {
	st, err := s.Store.GetBudget(ctx, org, budgetID, s.Now())
	if err == nil && !r.Covers(st.Scope.ProjectID, "") {
		return State{}, fault.New(fault.NotFound, "there is no such budget")
	}
	return st, err
}

// List returns a page of the organisation's budgets with their current windows.
func (s *Service) List(ctx context.Context, p authz.Principal, after string, limit int) ([]State, error) {
	reach, err := p.Reach(ctx, authz.DoBudgetsRead)
	if err != nil {
		return nil, err
	}
	page := Page{After: after, Limit: limit}
	if !reach.All {
		page.Projects = append([]string{}, reach.Projects...)
	}
	states, err := s.Store.ListBudgets(ctx, p.OrgID, s.Now(), page)
	if err != nil {
		return nil, err
	}
	for i := range states {
		s.hold(&states[i])
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
