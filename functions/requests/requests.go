// Package requests is the function that shows the access log: what became of each
// request, what it cost, where it ran and why. It owns the log's form on the wire
// and its retention; what is kept is for package accesslog to say.
package requests

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/accesslog"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/rest"
)

// JobPrune removes what is kept no longer.
const JobPrune = "prune"

// Retention is how long lines of the access log are kept.
const Retention = 90 * 24 * time.Hour

// Spec describes the function.
func Spec() function.Spec {
	return function.Spec{
		Name: "requests", Service: function.Router, Summary: "Shows the access log",
		MemoryMiB: 256, Timeout: 30 * time.Second,
		Schedules: []function.Schedule{{Job: JobPrune, Every: time.Hour}},
		Routes: []function.Route{
			{
				Method: http.MethodGet, Path: "/v1/requests", OperationID: "listRequests", Tag: "Usage", Scope: string(authz.UsageRead),
				Summary:     "List requests",
				Description: "The access log of the organisation, the newest first: served requests with their cost, and those that were denied or failed. Storms of denials are summed up by minute. Prompts and answers are never kept.",
			},
			{
				Method: http.MethodGet, Path: "/v1/requests/{id}", OperationID: "getRequest", Tag: "Usage", Scope: string(authz.UsageRead),
				Summary: "Show what became of a request", Description: "By the id in the header X-Request-Id of its answer.",
			},
		},
	}
}

// New makes the function's HTTP handler.
func New(q *accesslog.Queries, auth rest.Authenticator, log *slog.Logger) *rest.API {
	api := rest.New(Spec(), auth, log)
	register(api, &handlers{q: q})
	return api
}

// Describe adds the function's routes to the OpenAPI document.
func Describe(doc *rest.Document) { register(doc.API(Spec()), &handlers{}) }

func register(api *rest.API, h *handlers) {
	rest.Handle(api, "listRequests", h.list)
	rest.Handle(api, "getRequest", h.get, rest.ResponseExample(example()))
}

// Pruner removes old lines.
type Pruner interface {
	Prune(ctx context.Context, keep time.Duration, held []string) (lines, claims int64, err error)
}

// Holds tells of which organisations nothing may be removed.
type Holds interface {
	HeldOrganizations(ctx context.Context) ([]string, error)
}

// Jobs are the function's jobs.
func Jobs(p Pruner, h Holds) map[string]function.Job {
	return map[string]function.Job{
		JobPrune: func(ctx context.Context) (function.Counts, error) {
			held, err := h.HeldOrganizations(ctx)
			if err != nil {
				return nil, err
			}
			lines, claims, err := p.Prune(ctx, Retention, held)
			if lines+claims == 0 {
				return nil, err
			}
			return function.Counts{"lines": lines, "claims": claims}, err
		},
	}
}

type handlers struct{ q *accesslog.Queries }

// Request is one request of the access log.
type Request struct {
	ID        string    `json:"id"`
	At        time.Time `json:"at"`
	APIKeyID  string    `json:"api_key_id"`
	ProjectID string    `json:"project_id"`
	Model     string    `json:"model" doc:"Empty where the request did not come so far, and in a sum of several."`
	Endpoint  string    `json:"endpoint" doc:"Empty in a sum of several."`
	Status    int       `json:"status" doc:"As it was answered; 499 where the client left before."`
	Outcome   string    `json:"outcome" enum:"complete,aborted,failed,abandoned,denied,error,unpaid" doc:"complete: served whole. aborted: the client left. failed: the backend broke off. denied: 4xx. error: 5xx. unpaid: answered at no cost, such as a list of models."`
	Code      string    `json:"code,omitempty" doc:"Of the error."`
	Detail    string    `json:"detail,omitempty" doc:"What the caller was told."`
	Count     int64     `json:"count" doc:"Above 1: so many requests alike within a minute."`
	LastAt    time.Time `json:"last_at" doc:"Of the last of them."`
	Address   string    `json:"source_address" doc:"Empty in a sum of several."`
	UserAgent string    `json:"user_agent"`
	Usage     *Usage    `json:"usage,omitempty" doc:"What it used and cost; left out where nothing was."`
}

// Usage is what a served request used and cost, and where it ran.
type Usage struct {
	InputTokens       int64   `json:"input_tokens"`
	CachedInputTokens int64   `json:"cached_input_tokens" doc:"Part of input_tokens."`
	OutputTokens      int64   `json:"output_tokens"`
	Estimated         bool    `json:"estimated" doc:"The backend reported no count: it is by what was delivered."`
	CostNano          int64   `json:"cost_nano" doc:"The exact cost in 10⁻⁹ of the currency."`
	Cost              string  `json:"cost" doc:"The same as a decimal."`
	Currency          string  `json:"currency"`
	PriceID           string  `json:"price_id" doc:"The price version that was in force."`
	BackendID         string  `json:"backend_id" doc:"Where it ran."`
	Streamed          bool    `json:"streamed"`
	TTFTMillis        float64 `json:"ttft_ms" doc:"Until the first content of a stream."`
	DurationMillis    float64 `json:"duration_ms"`
	AccountingPeriod  string  `json:"accounting_period" doc:"The month that it is billed in."`
	Booked            bool    `json:"booked" doc:"It stands in the ledger; false for the moment until it does."`
	Holds             []Hold  `json:"holds,omitempty" doc:"What it took of budgets that block; while it is not booked."`
}

// Hold is what a request took of a budget.
type Hold struct {
	BudgetID string `json:"budget_id"`
	Amount   int64  `json:"amount" doc:"Nano of the currency, tokens or requests, by the budget's unit."`
}

type listInput struct {
	rest.Paging

	APIKeyID  string    `query:"api_key_id" maxLength:"64"`
	ProjectID string    `query:"project_id" maxLength:"64"`
	Model     string    `query:"model" maxLength:"200"`
	Status    int       `query:"status" minimum:"0" maximum:"599"`
	Address   string    `query:"source_address" maxLength:"64"`
	Start     time.Time `query:"start" doc:"RFC 3339."`
	End       time.Time `query:"end" doc:"RFC 3339, exclusive."`
}

type listOutput struct{ Body rest.List[Request] }

func (h *handlers) list(ctx context.Context, p authz.Principal, in *listInput) (*listOutput, error) {
	before, err := in.After(id.Request)
	if err != nil {
		return nil, err
	}
	f := accesslog.Filter{
		APIKeyID: in.APIKeyID, ProjectID: in.ProjectID, Model: in.Model, Status: in.Status, Address: in.Address, Start: in.Start, End: in.End,
	}
	list, err := h.q.List(ctx, p, f, before, in.Fetch())
	if err != nil {
		return nil, err
	}
	return &listOutput{Body: rest.Page(in.Paging, list, func(r accesslog.Request) string { return r.RequestID }, show)}, nil
}

type getInput struct {
	ID string `path:"id" maxLength:"64"`
}

type getOutput struct{ Body Request }

func (h *handlers) get(ctx context.Context, p authz.Principal, in *getInput) (*getOutput, error) {
	if !id.Valid(id.Request, in.ID) {
		return nil, fault.New(fault.NotFound, "there is no such request")
	}
	r, err := h.q.Get(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	return &getOutput{Body: show(r)}, nil
}

func show(r accesslog.Request) Request {
	out := Request{
		ID: r.RequestID, At: r.At, APIKeyID: r.APIKeyID, ProjectID: r.ProjectID, Model: r.Model, Endpoint: r.Endpoint, Status: r.Status,
		Outcome: outcome(r), Code: r.Code, Detail: r.Detail, Count: r.Count, LastAt: r.Last, Address: r.Address, UserAgent: r.UserAgent,
	}
	if s := r.Served; s != nil {
		out.Usage = showUsage(s)
	}
	return out
}

func outcome(r accesslog.Request) string {
	switch {
	case r.Served != nil:
		return string(r.Served.Outcome)
	case r.Status >= http.StatusInternalServerError:
		return "error"
	case r.Status >= http.StatusBadRequest:
		return "denied"
	case r.Code != "" && r.Code != "idempotent_replay": // told within a stream that had begun
		return "error"
	}
	return "unpaid"
}

func showUsage(s *accesslog.Served) *Usage {
	const perMilli = 1000
	period := s.Period
	if t, err := time.Parse(time.DateOnly, s.Period); err == nil {
		period = t.Format("2006-01")
	}
	out := &Usage{
		InputTokens: s.Input, CachedInputTokens: s.Cached, OutputTokens: s.Output, Estimated: s.Estimated,
		CostNano: int64(s.Cost), Cost: s.Cost.String(), Currency: s.Currency, PriceID: s.PriceID,
		BackendID: s.BackendID, Streamed: s.Streamed, TTFTMillis: float64(s.TTFTMicros) / perMilli, DurationMillis: float64(s.DurationMicros) / perMilli,
		AccountingPeriod: period, Booked: s.Booked,
	}
	for _, x := range s.Holds {
		out.Holds = append(out.Holds, Hold{BudgetID: x.Budget, Amount: x.Amount})
	}
	return out
}

func example() Request {
	at := time.Date(2026, 10, 12, 9, 0, 0, 0, time.UTC)
	return Request{
		ID: "req_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", At: at, LastAt: at, APIKeyID: "key_0199c0b2f3a47c1e8d6a5b4c3d2e1f01",
		ProjectID: "proj_0199c0b2f3a47c1e8d6a5b4c3d2e1f02", Model: "demo", Endpoint: "/v1/chat/completions", Status: http.StatusOK,
		Outcome: "complete", Count: 1, Address: "203.0.113.7", UserAgent: "OpenAI/Python 2.1.0",
		Usage: &Usage{
			InputTokens: 9, OutputTokens: 24, CostNano: 105_000, Cost: "0.000105", Currency: "USD", PriceID: "price_0199c0b2f3a47c1e8d6a5b4c3d2e1f03",
			BackendID: "be_0199c0b2f3a47c1e8d6a5b4c3d2e1f04", DurationMillis: 41.2, AccountingPeriod: "2026-10", Booked: true,
		},
	}
}
