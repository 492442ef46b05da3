// Package invoices is the function that issues and shows invoices, and keeps who
// is billed and who bills. It owns their form on the wire, as JSON, CSV and PDF;
// the rules are those of package invoice.
package invoices

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/invoice"
	"github.com/aiaas/aiaas/shared/rest"
)

// JobIssue is the job that issues the invoices of months that are over.
const JobIssue = "issue"

// Spec describes the function.
func Spec() function.Spec {
	return function.Spec{
		Name: "invoices", Service: function.Analytics, Summary: "Issues and shows invoices",
		MemoryMiB: 512, Timeout: time.Minute,
		Schedules: []function.Schedule{{Job: JobIssue, Every: time.Hour}},
		Routes:    append(invoiceRoutes(), partyRoutes()...),
	}
}

func invoiceRoutes() []function.Route {
	return []function.Route{
		{
			Method: http.MethodPost, Path: "/v1/invoices/runs", OperationID: "runInvoices", Tag: "Invoices",
			Scope: string(authz.BillingWrite), OrScope: string(authz.Platform), Summary: "Issue the invoices of a month",
			Description: "Closes the month, and each one before it that has usage and no invoice, and issues its invoices: one for each currency. Run it as often as you like: what is issued stays as it is. Usage that arrives later is billed in the month that is open then. A month that is not over in the organisation's time zone gives a preview, and nothing is stored. With a platform key it runs for all organisations; one that fails does not keep the others waiting, see counts. By itself, the platform issues a month's invoices an hour after it has ended.",
		},
		{
			Method: http.MethodGet, Path: "/v1/invoices", OperationID: "listInvoices", Tag: "Invoices",
			Scope: string(authz.BillingRead), Summary: "List invoices",
			Description: "The organisation's invoices without their lines, the oldest first.",
		},
		{
			Method: http.MethodGet, Path: "/v1/invoices/preview", OperationID: "previewInvoice", Tag: "Invoices",
			Scope: string(authz.BillingRead), Summary: "Preview the running month",
			Description: "What the running month comes to so far: an invoice without number and dates. Nothing is stored.",
		},
		{
			Method: http.MethodGet, Path: "/v1/invoices/{id}", OperationID: "getInvoice", Tag: "Invoices",
			Scope: string(authz.BillingRead), Summary: "Show an invoice",
			Description: "The invoice with its lines; with Accept: application/pdf the document, with Accept: text/csv the lines.",
		},
	}
}

func partyRoutes() []function.Route {
	return []function.Route{
		{
			Method: http.MethodGet, Path: "/v1/billing", OperationID: "getBilling", Tag: "Invoices",
			Scope: string(authz.BillingRead), Summary: "Show the billing details",
			Description: "What the organisation wants on its invoices.",
		},
		{
			Method: http.MethodPut, Path: "/v1/billing", OperationID: "setBilling", Tag: "Invoices",
			Scope: string(authz.BillingWrite), Summary: "Set the billing details",
			Description: "They stand on invoices that are issued from now on; what is left out is empty. An invoice without a name has the organisation's.",
		},
		{
			Method: http.MethodGet, Path: "/v1/sellers/{id}", OperationID: "getSeller", Tag: "Invoices",
			Scope: string(authz.Platform), Summary: "Show a seller",
			Description: "Who issues the invoices. The id of the one seller is default.",
		},
		{
			Method: http.MethodPut, Path: "/v1/sellers/{id}", OperationID: "setSeller", Tag: "Invoices",
			Scope: string(authz.Platform), Summary: "Set a seller",
			Description: "It stands on invoices that are issued from now on; what is left out is empty. Numbers go on in their order under a new prefix.",
		},
	}
}

// New makes the function's HTTP handler.
func New(svc *invoice.Service, pdf invoice.Renderer, auth rest.Authenticator, log *slog.Logger) *rest.API {
	api := rest.New(Spec(), auth, log)
	register(api, &handlers{svc: svc, pdf: pdf})
	return api
}

// Jobs are the function's jobs.
func Jobs(svc *invoice.Service) map[string]function.Job {
	return map[string]function.Job{JobIssue: func(ctx context.Context) (function.Counts, error) {
		n, err := svc.IssueDue(ctx, "job:invoices."+JobIssue)
		counts := function.Counts{}
		for name, v := range map[string]int64{"issued": n.Issued, "open": n.Open, "waiting": n.Waiting, "failed": n.Failed} {
			if v > 0 {
				counts[name] = v
			}
		}
		return counts, err
	}}
}

// Describe adds the function's routes to the OpenAPI document.
func Describe(doc *rest.Document) { register(doc.API(Spec()), &handlers{}) }

func register(api *rest.API, h *handlers) {
	rest.Handle(api, "runInvoices", h.run, rest.RequestExample(NewRun{Period: "2026-10"}))
	rest.Handle(api, "listInvoices", h.list)
	rest.Handle(api, "previewInvoice", h.preview,
		rest.ResponseType(mediaPDF, "%PDF-1.7 …"), rest.ResponseType(rest.CSV, header()))
	rest.Handle(api, "getInvoice", h.get, rest.ResponseExample(example()),
		rest.ResponseType(mediaPDF, "%PDF-1.7 …"), rest.ResponseType(rest.CSV, header()))
	rest.Handle(api, "getBilling", h.billing)
	rest.Handle(api, "setBilling", h.setBilling, rest.RequestExample(exampleBilling()))
	rest.Handle(api, "getSeller", h.seller, rest.Fails(fault.NotFound))
	rest.Handle(api, "setSeller", h.setSeller, rest.RequestExample(exampleSeller()))
}

type handlers struct {
	svc *invoice.Service
	pdf invoice.Renderer
}

// NewRun is the body that runs a month's invoices.
type NewRun struct {
	Period string `json:"period" pattern:"^[0-9]{4}-[0-9]{2}$" example:"2026-10" doc:"The month."`
}

// RunCounts are what a run did.
type RunCounts struct {
	Issued  int64 `json:"issued" doc:"Invoices."`
	Open    int64 `json:"open" doc:"Organisations whose month is not over."`
	Waiting int64 `json:"waiting" doc:"Organisations that have usage of the month which is not booked yet: run again in a moment."`
	Failed  int64 `json:"failed" doc:"Organisations whose month could not be closed or issued: run again."`
}

// Run is what a run answers.
type Run struct {
	Period   string    `json:"period" example:"2026-10"`
	Status   string    `json:"status" enum:"issued,preview,waiting"`
	Invoices []Summary `json:"invoices" nullable:"false" doc:"Those of the month, whichever run issued them; at most 200."`
	Counts   RunCounts `json:"counts"`
}

type runInput struct{ Body NewRun }

type runOutput struct{ Body Run }

func (h *handlers) run(ctx context.Context, p authz.Principal, in *runInput) (*runOutput, error) {
	m, err := invoice.ParseMonth(in.Body.Period)
	if err != nil {
		return nil, err
	}
	r, err := h.svc.Issue(ctx, p, m)
	if err != nil {
		return nil, err
	}
	out := Run{
		Period: r.Month.String(), Status: string(r.Status), Invoices: make([]Summary, len(r.Invoices)),
		Counts: RunCounts{Issued: r.Counts.Issued, Open: r.Counts.Open, Waiting: r.Counts.Waiting, Failed: r.Counts.Failed},
	}
	for i := range r.Invoices {
		out.Invoices[i] = summary(&r.Invoices[i])
	}
	return &runOutput{Body: out}, nil
}

type listInput struct {
	rest.Paging

	Period string `query:"period" maxLength:"7" example:"2026-10" doc:"Only those of this month."`
	Status string `query:"status" enum:"draft,issued,paid,past_due,uncollectible,void" doc:"Only those with this status."`
}

type listOutput struct{ Body rest.List[Summary] }

func (h *handlers) list(ctx context.Context, p authz.Principal, in *listInput) (*listOutput, error) {
	after, err := in.After(prefix)
	if err != nil {
		return nil, err
	}
	f := invoice.Filter{Status: invoice.Status(in.Status)}
	if in.Period != "" {
		if f.Month, err = invoice.ParseMonth(in.Period); err != nil {
			return nil, err
		}
	}
	list, err := h.svc.List(ctx, p, f, after, in.Fetch())
	if err != nil {
		return nil, err
	}
	show := func(i invoice.Invoice) Summary { return summary(&i) }
	return &listOutput{Body: rest.Page(in.Paging, list, func(i invoice.Invoice) string { return i.ID }, show)}, nil
}

type previewInput struct {
	Accept string `header:"Accept" hidden:"true"`
}

type oneOutput struct{ Body Invoice }

func (h *handlers) preview(ctx context.Context, p authz.Principal, in *previewInput) (*oneOutput, error) {
	i, err := h.svc.Preview(ctx, p)
	if err != nil {
		return nil, err
	}
	return h.show(ctx, &i, in.Accept)
}

type getInput struct {
	ID     string `path:"id" maxLength:"100"`
	Accept string `header:"Accept" hidden:"true"`
}

func (h *handlers) get(ctx context.Context, p authz.Principal, in *getInput) (*oneOutput, error) {
	i, err := h.svc.Get(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	return h.show(ctx, &i, in.Accept)
}
