// Package analytics is the function that answers what an organisation used and
// what it cost. It owns the figures' form on the wire; they are read from the
// roll-ups of the ledger by package usage.
package analytics

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/rest"
	"github.com/aiaas/aiaas/shared/usage"
)

// Spec describes the function.
func Spec() function.Spec {
	return function.Spec{
		Name: "analytics", Service: function.Analytics, Summary: "Reports usage and its cost",
		MemoryMiB: 512, Timeout: 30 * time.Second, // the largest report is held in memory
		Routes: []function.Route{{
			Method: http.MethodGet, Path: "/v1/usage", OperationID: "getUsage", Tag: "Usage",
			Scope: string(authz.UsageRead), Summary: "Report usage and cost",
			Description: "Sums over the organisation's ledger from start up to, not including, end. Usage is booked within seconds; fresh_until says until when the figures are complete. As CSV it has the rows of data, without the totals.",
		}},
	}
}

// New makes the function's HTTP handler.
func New(svc *usage.Queries, auth rest.Authenticator, log *slog.Logger) *rest.API {
	api := rest.New(Spec(), auth, log)
	register(api, &handlers{svc: svc})
	return api
}

// Describe adds the function's routes to the OpenAPI document.
func Describe(doc *rest.Document) { register(doc.API(Spec()), &handlers{}) }

func register(api *rest.API, h *handlers) {
	rest.Handle(api, "getUsage", h.usage, rest.ResponseExample(example()))
}

type handlers struct{ svc *usage.Queries }

// UsageSums are what was used, and its exact cost.
type UsageSums struct {
	Requests          int64  `json:"requests"`
	InputTokens       int64  `json:"input_tokens"`
	CachedInputTokens int64  `json:"cached_input_tokens" doc:"Part of input_tokens."`
	OutputTokens      int64  `json:"output_tokens"`
	CostNano          int64  `json:"cost_nano" doc:"The exact cost in 10⁻⁹ of the currency. Read it as a 64-bit integer."`
	Currency          string `json:"currency"`
}

// UsageRow is the usage of one bucket and group.
type UsageRow struct {
	Start     time.Time `json:"start"`
	End       time.Time `json:"end"`
	Model     *string   `json:"model,omitempty" doc:"With group_by=model."`
	ProjectID *string   `json:"project_id,omitempty" doc:"With group_by=project."`
	APIKeyID  *string   `json:"api_key_id,omitempty" doc:"With group_by=key."`
	UsageSums
}

// UsageReport is the answer.
type UsageReport struct {
	Data       []UsageRow `json:"data" nullable:"false"`
	Totals     UsageSums  `json:"totals" doc:"The sums over data."`
	FreshUntil time.Time  `json:"fresh_until" doc:"Requests that ended before this are all counted."`

	groups []usage.Dimension
}

// HasColumn implements [rest.Columns]: the groups that were asked for.
func (r UsageReport) HasColumn(name string) bool {
	group, ok := map[string]usage.Dimension{"model": usage.ByModel, "project_id": usage.ByProject, "api_key_id": usage.ByKey}[name]
	return !ok || slices.Contains(r.groups, group)
}

type usageInput struct {
	Start   time.Time `query:"start" doc:"RFC 3339, a whole minute; left out, the first of the running month."`
	End     time.Time `query:"end" doc:"RFC 3339, a whole minute; left out, now."`
	Date    string    `query:"date" enum:"service,accounting" default:"service" doc:"By when a request was admitted, or by the month it is billed in."`
	Bucket  string    `query:"bucket" enum:"minute,hour,day,month" doc:"The length of time that one row sums up; left out, the whole range."`
	GroupBy []string  `query:"group_by" doc:"A list of model, project, key."`
	Zone    string    `query:"tz" maxLength:"64" default:"UTC" example:"Europe/Berlin" doc:"The time zone of the buckets."`
}

type usageOutput struct{ Body UsageReport }

func (h *handlers) usage(ctx context.Context, p authz.Principal, in *usageInput) (*usageOutput, error) {
	zone, err := time.LoadLocation(in.Zone)
	if err != nil || in.Zone == "Local" {
		return nil, fault.New(fault.Unprocessable, "the time zone is not known").At("tz")
	}
	q := usage.Query{Start: in.Start, End: in.End, Date: usage.Dates(in.Date), Bucket: usage.Bucket(in.Bucket), Zone: zone}
	for _, g := range in.GroupBy {
		q.GroupBy = append(q.GroupBy, usage.Dimension(g))
	}
	rep, err := h.svc.Usage(ctx, p, q)
	if err != nil {
		return nil, err
	}
	out := UsageReport{Data: make([]UsageRow, len(rep.Rows)), Totals: showSums(rep.Totals), FreshUntil: rep.FreshUntil, groups: q.GroupBy}
	for i := range rep.Rows {
		out.Data[i] = showRow(&rep.Rows[i], q.GroupBy)
	}
	return &usageOutput{Body: out}, nil
}

func showRow(r *usage.Row, groups []usage.Dimension) UsageRow {
	out := UsageRow{Start: r.Start, End: r.End, UsageSums: showSums(r.Sums)}
	if slices.Contains(groups, usage.ByModel) {
		out.Model = &r.Model
	}
	if slices.Contains(groups, usage.ByProject) {
		out.ProjectID = &r.ProjectID
	}
	if slices.Contains(groups, usage.ByKey) {
		out.APIKeyID = &r.APIKeyID
	}
	return out
}

func showSums(s usage.Sums) UsageSums {
	return UsageSums{
		Requests: s.Requests, InputTokens: s.InputTokens, CachedInputTokens: s.CachedInputTokens,
		OutputTokens: s.OutputTokens, CostNano: int64(s.Cost), Currency: s.Currency,
	}
}

func example() UsageReport {
	name := "demo"
	sums := UsageSums{Requests: 3, InputTokens: 120, OutputTokens: 400, CostNano: 1_720_000, Currency: "USD"}
	return UsageReport{
		Data: []UsageRow{{
			Start: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), End: time.Date(2026, 10, 2, 0, 0, 0, 0, time.UTC),
			Model: &name, UsageSums: sums,
		}},
		Totals: sums, FreshUntil: time.Date(2026, 10, 1, 9, 30, 0, 0, time.UTC),
	}
}
