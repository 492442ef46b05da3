// Package budgets is the function that keeps budgets: makes, shows, changes and
// deletes them, and lists what they alerted. It owns their form on the wire; the
// rules are those of package budget.
package budgets

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/rest"
)

// Spec describes the function.
func Spec() function.Spec {
	return function.Spec{
		Name: "budgets", Service: function.Analytics, Summary: "Keeps budgets and shows what they alerted",
		MemoryMiB: 256, Timeout: 30 * time.Second, // seeding a budget sums a window's usage
		Routes: []function.Route{
			{
				Method: http.MethodPost, Path: "/v1/budgets", OperationID: "createBudget", Tag: "Budgets",
				Scope: string(authz.BudgetsWrite), Status: http.StatusCreated, Summary: "Create a budget",
				Description: "What was already used in the running window counts. A budget with the action block binds every request that is admitted from the answer on, and is never overspent: the worst case of a request is held before it runs.",
			},
			{
				Method: http.MethodGet, Path: "/v1/budgets", OperationID: "listBudgets", Tag: "Budgets",
				Scope: string(authz.BudgetsRead), Summary: "List budgets",
				Description: "All budgets of the organisation with their running windows, the oldest first.",
			},
			{
				Method: http.MethodGet, Path: "/v1/budgets/{id}", OperationID: "getBudget", Tag: "Budgets",
				Scope: string(authz.BudgetsRead), Summary: "Show a budget",
				Description: "The budget with its running window.",
			},
			{
				Method: http.MethodPatch, Path: "/v1/budgets/{id}", OperationID: "changeBudget", Tag: "Budgets",
				Scope: string(authz.BudgetsWrite), Summary: "Change a budget",
				Description: "What the body does not name stays. The change binds every request that is admitted from the answer on: a raised amount leaves room at once, one cut below what is spent and held only stops admissions. A budget that is turned to block counts what its running window has used by then.",
			},
			{
				Method: http.MethodDelete, Path: "/v1/budgets/{id}", OperationID: "deleteBudget", Tag: "Budgets",
				Scope: string(authz.BudgetsWrite), Status: http.StatusNoContent, Summary: "Delete a budget",
				Description: "From the answer on the budget binds nothing, counts nothing, and is not listed. What it alerted can still be read. Deleting a deleted budget is fine.",
			},
			{
				Method: http.MethodGet, Path: "/v1/budgets/{id}/alerts", OperationID: "listBudgetAlerts", Tag: "Budgets",
				Scope: string(authz.BudgetsRead), Summary: "List the alerts of a budget",
				Description: "The thresholds that the budget reached, each once in a window, the oldest first. They are recorded with the usage, or the change of the budget, that made them be reached.",
			},
		},
	}
}

// New makes the function's HTTP handler.
func New(svc *budget.Service, auth rest.Authenticator, log *slog.Logger) *rest.API {
	api := rest.New(Spec(), auth, log)
	register(api, &handlers{svc: svc})
	return api
}

// Describe adds the function's routes to the OpenAPI document.
func Describe(doc *rest.Document) { register(doc.API(Spec()), &handlers{}) }

func register(api *rest.API, h *handlers) {
	yes := true
	rest.Handle(api, "createBudget", h.create, rest.Fails(fault.Conflict),
		rest.RequestExample(NewBudget{
			Scope: BudgetScope{Organization: &yes}, Unit: "money", Amount: "12.50", Period: "month", Action: "block", Thresholds: []int{50, 80, 100},
		}),
		rest.ResponseExample(example()))
	rest.Handle(api, "listBudgets", h.list)
	rest.Handle(api, "getBudget", h.get, rest.ResponseExample(example()))
	amount, action := "20.00", "block"
	rest.Handle(api, "changeBudget", h.change,
		rest.RequestExample(ChangedBudget{Amount: &amount, Action: &action}), rest.ResponseExample(example()))
	rest.Handle(api, "deleteBudget", h.delete)
	rest.Handle(api, "listBudgetAlerts", h.alerts)
}

type handlers struct{ svc *budget.Service }

// BudgetScope is what a budget applies to: exactly one member.
type BudgetScope struct {
	Organization *bool   `json:"organization,omitempty" doc:"true: the whole organisation."`
	ProjectID    *string `json:"project_id,omitempty"`
	APIKeyID     *string `json:"api_key_id,omitempty"`
	Model        *string `json:"model,omitempty"`
}

// NewBudget is the body that creates a budget.
type NewBudget struct {
	Scope      BudgetScope `json:"scope" doc:"Exactly one of its members."`
	Unit       string      `json:"unit" enum:"money,tokens,requests"`
	Amount     string      `json:"amount" maxLength:"40" example:"12.50" doc:"A decimal: of the organisation's currency, or a whole number of tokens or requests."`
	Period     string      `json:"period" enum:"day,week,month,quarter,year,once" doc:"In the organisation's time zone; a week starts on Monday, once never ends."`
	Action     string      `json:"action" enum:"monitor,warn,block"`
	Thresholds []int       `json:"thresholds,omitempty" maxItems:"20" doc:"Percentages that are reported; left out: 50, 80, 100."`
}

// ChangedBudget is the body that changes a budget: what is left out stays.
type ChangedBudget struct {
	Amount     *string `json:"amount,omitempty" maxLength:"40" example:"20.00" nullable:"false" doc:"A decimal, in the budget's unit."`
	Action     *string `json:"action,omitempty" enum:"monitor,warn,block" nullable:"false"`
	Thresholds []int   `json:"thresholds,omitempty" minItems:"1" maxItems:"20" nullable:"false" doc:"Percentages that are reported, in place of those before."`
}

// BudgetWindow is the running window: from start up to, not including, end.
type BudgetWindow struct {
	Start time.Time  `json:"start"`
	End   *time.Time `json:"end" doc:"null where it never ends."`
}

// Budget is a budget with its running window.
type Budget struct {
	ID         string       `json:"id"`
	Scope      BudgetScope  `json:"scope"`
	Unit       string       `json:"unit"`
	Amount     string       `json:"amount"`
	Currency   string       `json:"currency"`
	Period     string       `json:"period"`
	TimeZone   string       `json:"time_zone"`
	Action     string       `json:"action"`
	Thresholds []int        `json:"thresholds" nullable:"false"`
	Window     BudgetWindow `json:"window"`
	Spent      string       `json:"spent" doc:"What was booked in the window."`
	Held       string       `json:"held" doc:"What is reserved for requests that run, and for those that are not booked yet."`
	Remaining  string       `json:"remaining" doc:"What the amount leaves beside spent and held; never below 0."`
	CreatedAt  time.Time    `json:"created_at"`
}

type createInput struct{ Body NewBudget }

type createOutput struct{ Body Budget }

func (h *handlers) create(ctx context.Context, p authz.Principal, in *createInput) (*createOutput, error) {
	scope, err := in.Body.Scope.parse()
	if err != nil {
		return nil, err
	}
	b := in.Body
	st, err := h.svc.Create(ctx, p, budget.NewBudget{
		Scope: scope, Unit: budget.Unit(b.Unit), Amount: b.Amount, Period: budget.Period(b.Period),
		Action: budget.Action(b.Action), Thresholds: b.Thresholds,
	})
	if err != nil {
		return nil, err
	}
	return &createOutput{Body: show(st)}, nil
}

type listInput struct{ rest.Paging }

type listOutput struct{ Body rest.List[Budget] }

func (h *handlers) list(ctx context.Context, p authz.Principal, in *listInput) (*listOutput, error) {
	after, err := in.After(id.Budget)
	if err != nil {
		return nil, err
	}
	states, err := h.svc.List(ctx, p, after, in.Fetch())
	if err != nil {
		return nil, err
	}
	return &listOutput{Body: rest.Page(in.Paging, states, func(s budget.State) string { return s.ID }, show)}, nil
}

type idInput struct {
	ID string `path:"id" maxLength:"100"`
}

type oneOutput struct{ Body Budget }

func (h *handlers) get(ctx context.Context, p authz.Principal, in *idInput) (*oneOutput, error) {
	st, err := h.svc.Get(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	return &oneOutput{Body: show(st)}, nil
}

type changeInput struct {
	ID   string `path:"id" maxLength:"100"`
	Body ChangedBudget
}

func (h *handlers) change(ctx context.Context, p authz.Principal, in *changeInput) (*oneOutput, error) {
	c := budget.Patch{Amount: in.Body.Amount, Thresholds: in.Body.Thresholds}
	if in.Body.Action != nil {
		a := budget.Action(*in.Body.Action)
		c.Action = &a
	}
	st, err := h.svc.Change(ctx, p, in.ID, c)
	if err != nil {
		return nil, err
	}
	return &oneOutput{Body: show(st)}, nil
}

type noOutput struct{}

func (h *handlers) delete(ctx context.Context, p authz.Principal, in *idInput) (*noOutput, error) {
	return &noOutput{}, h.svc.Delete(ctx, p, in.ID)
}

// BudgetAlert is a threshold that a budget reached in a window.
type BudgetAlert struct {
	ID        string       `json:"id"`
	BudgetID  string       `json:"budget_id"`
	Window    BudgetWindow `json:"window"`
	Threshold int          `json:"threshold" doc:"In percent of the amount."`
	Spent     string       `json:"spent" doc:"What was booked in the window when it was recorded."`
	Amount    string       `json:"amount" doc:"The budget's amount at that time."`
	At        time.Time    `json:"at" doc:"When it was recorded."`
}

type alertsInput struct {
	ID string `path:"id" maxLength:"100"`
	rest.Paging
}

type alertsOutput struct{ Body rest.List[BudgetAlert] }

func (h *handlers) alerts(ctx context.Context, p authz.Principal, in *alertsInput) (*alertsOutput, error) {
	after, err := in.After(id.BudgetAlert)
	if err != nil {
		return nil, err
	}
	list, err := h.svc.Alerts(ctx, p, in.ID, after, in.Fetch())
	if err != nil {
		return nil, err
	}
	return &alertsOutput{Body: rest.Page(in.Paging, list, func(a budget.Alert) string { return a.ID }, showAlert)}, nil
}

func showAlert(a budget.Alert) BudgetAlert {
	return BudgetAlert{
		ID: a.ID, BudgetID: a.BudgetID, Window: showWindow(a.Window), Threshold: a.Threshold,
		Spent: budget.FormatAmount(a.Unit, a.Spent), Amount: budget.FormatAmount(a.Unit, a.Amount), At: a.At,
	}
}

// parse reads the scope. An empty id is not "the whole organisation": whoever
// sends one has lost the id.
func (s BudgetScope) parse() (budget.Scope, error) {
	var out budget.Scope
	members := 0
	for _, m := range []struct {
		from *string
		to   *string
	}{{s.ProjectID, &out.ProjectID}, {s.APIKeyID, &out.APIKeyID}, {s.Model, &out.Model}} {
		if m.from == nil {
			continue
		}
		members++
		if *m.from == "" {
			return out, errScope()
		}
		*m.to = *m.from
	}
	if s.Organization != nil {
		members++
		if !*s.Organization {
			return out, errScope()
		}
	}
	if members != 1 {
		return out, errScope()
	}
	return out, nil
}

func errScope() error {
	return fault.New(fault.Unprocessable, "the scope is exactly one of {\"organization\":true}, {\"project_id\":…}, {\"api_key_id\":…}, {\"model\":…}").At("scope")
}

func show(s budget.State) Budget {
	return Budget{
		ID: s.ID, Scope: showScope(s.Scope), Unit: string(s.Unit), Amount: budget.FormatAmount(s.Unit, s.Amount), Currency: s.Currency,
		Period: string(s.Period), TimeZone: s.TimeZone.String(), Action: string(s.Action), Thresholds: s.Thresholds,
		Window: showWindow(s.Window), Spent: budget.FormatAmount(s.Unit, s.Spent), Held: budget.FormatAmount(s.Unit, s.Held),
		Remaining: budget.FormatAmount(s.Unit, budget.Remaining(s.Amount, s.Spent, s.Held)),
		CreatedAt: s.CreatedAt.Truncate(time.Microsecond),
	}
}

func showScope(s budget.Scope) BudgetScope {
	switch {
	case s.ProjectID != "":
		return BudgetScope{ProjectID: &s.ProjectID}
	case s.APIKeyID != "":
		return BudgetScope{APIKeyID: &s.APIKeyID}
	case s.Model != "":
		return BudgetScope{Model: &s.Model}
	}
	yes := true
	return BudgetScope{Organization: &yes}
}

func showWindow(w budget.Window) BudgetWindow {
	out := BudgetWindow{Start: w.Start.Truncate(time.Microsecond)}
	if w.Ends() {
		out.End = &w.End
	}
	return out
}

func example() Budget {
	yes := true
	end := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	return Budget{
		ID: "bud_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", Scope: BudgetScope{Organization: &yes}, Unit: "money", Amount: "12.50",
		Currency: "USD", Period: "month", TimeZone: "UTC", Action: "block", Thresholds: []int{50, 80, 100},
		Window: BudgetWindow{Start: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), End: &end},
		Spent:  "3.20", Held: "0.0041", Remaining: "9.2959", CreatedAt: time.Date(2026, 10, 12, 9, 0, 0, 0, time.UTC),
	}
}
