package invoices

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/invoice"
	"github.com/aiaas/aiaas/shared/money"
	"github.com/aiaas/aiaas/shared/rest"
)

const (
	prefix   = id.Invoice
	mediaPDF = "application/pdf"
)

// Figures are what was used, and what it comes to.
type Figures struct {
	Requests          int64 `json:"requests"`
	InputTokens       int64 `json:"input_tokens"`
	CachedInputTokens int64 `json:"cached_input_tokens" doc:"Part of input_tokens."`
	OutputTokens      int64 `json:"output_tokens"`
	UsageNano         int64 `json:"usage_nano" doc:"The exact cost in 10⁻⁹ of the currency. Read it as a 64-bit integer."`
	RoundingNano      int64 `json:"rounding_nano" doc:"What rounding to the currency's smallest coin adds or takes."`
}

// Summary is an invoice without its lines.
type Summary struct {
	ID          string    `json:"id,omitempty" example:"inv_0199c0b2f3a47c1e8d6a5b4c3d2e1f00" doc:"A preview has none."`
	OrgID       string    `json:"organization_id"`
	Number      *string   `json:"number" example:"INV-2026-000001" doc:"Without gaps for the seller and the year; null until it is issued."`
	Status      string    `json:"status" enum:"preview,draft,issued,paid,past_due,uncollectible,void"`
	Period      string    `json:"period" example:"2026-10"`
	PeriodStart time.Time `json:"period_start"`
	PeriodEnd   time.Time `json:"period_end" doc:"The first moment that is not in it any more."`
	TimeZone    string    `json:"time_zone" example:"Europe/Berlin" doc:"In which the period begins and ends."`
	Figures
	TotalNano int64      `json:"total_nano" doc:"usage_nano and rounding_nano: the sum of the lines' amounts."`
	Total     string     `json:"total" example:"12.34"`
	Currency  string     `json:"currency" example:"USD"`
	IssuedAt  *time.Time `json:"issued_at"`
	DueAt     *string    `json:"due_at" format:"date" example:"2026-12-01"`
	CreatedAt time.Time  `json:"created_at"`
}

// Line is the use of one model in one project.
type Line struct {
	ProjectID   string `json:"project_id"`
	ProjectName string `json:"project_name" doc:"When the month was closed."`
	Model       string `json:"model"`
	Figures
	AmountNano  int64     `json:"amount_nano" doc:"usage_nano and rounding_nano."`
	Amount      string    `json:"amount" example:"12.34"`
	Currency    string    `json:"currency"`
	ServiceFrom time.Time `json:"service_from" doc:"The first request of the line. It may be of a month before the period: that usage arrived after its own month was closed."`
	ServiceTo   time.Time `json:"service_to" doc:"The last one."`
}

// PartyDetails is who pays or who is paid.
type PartyDetails struct {
	Name    string   `json:"name,omitempty" maxLength:"200"`
	Address []string `json:"address,omitempty" maxItems:"8" nullable:"false" doc:"Line by line, without name and country."`
	Country string   `json:"country,omitempty" maxLength:"2" example:"DE" doc:"ISO 3166-1."`
	TaxID   string   `json:"tax_id,omitempty" maxLength:"200"`
	Email   string   `json:"email,omitempty" maxLength:"200"`
}

// Invoice is an invoice with its lines.
type Invoice struct {
	Summary

	Tax           string       `json:"tax" example:"0.00" doc:"Taxes are not computed: none is included."`
	TermsDays     int          `json:"terms_days" doc:"Days from the invoice's date until it is due."`
	PurchaseOrder string       `json:"purchase_order,omitempty"`
	Seller        PartyDetails `json:"seller"`
	BillTo        PartyDetails `json:"bill_to"`
	Payment       []string     `json:"payment_instructions" nullable:"false"`
	Lines         []Line       `json:"lines" nullable:"false"`

	file *rest.File
}

// AsFile implements [rest.Filed].
func (i Invoice) AsFile() *rest.File { return i.file }

// show answers an invoice in the form that is preferred.
func (h *handlers) show(ctx context.Context, i *invoice.Invoice, accept string) (*oneOutput, error) {
	out := &oneOutput{Body: body(i)}
	switch rest.Prefer(accept, mediaPDF, rest.CSV) {
	case mediaPDF:
		var doc bytes.Buffer
		if err := h.pdf.Render(ctx, &doc, i); err != nil {
			return nil, fmt.Errorf("draw invoice %s: %w", i.ID, err)
		}
		out.Body.file = &rest.File{MediaType: mediaPDF, Name: name(i) + ".pdf", Content: doc.Bytes()}
	case rest.CSV:
		out.Body.file = &rest.File{
			MediaType: rest.CSV + "; charset=utf-8; header=present", Name: name(i) + ".csv", Content: rows(&out.Body),
		}
	}
	return out, nil
}

// name is the file's: numbers have letters, digits and hyphens only.
func name(i *invoice.Invoice) string {
	if i.Number == "" {
		return string(i.Status) + "-" + i.Month.String()
	}
	return i.Number
}

func figures(f invoice.Figures) Figures {
	return Figures{
		Requests: f.Requests, InputTokens: f.InputTokens, CachedInputTokens: f.CachedInputTokens, OutputTokens: f.OutputTokens,
		UsageNano: int64(f.Usage), RoundingNano: int64(f.Rounding),
	}
}

func summary(i *invoice.Invoice) Summary {
	start, end := i.Month.Bounds(i.Zone)
	s := Summary{
		ID: i.ID, OrgID: i.OrgID, Status: string(i.Status), Period: i.Month.String(), PeriodStart: start, PeriodEnd: end, TimeZone: i.Zone.String(),
		Figures: figures(i.Figures), TotalNano: int64(i.Amount), Total: invoice.Format(i.Amount, i.Currency), Currency: i.Currency, CreatedAt: i.CreatedAt,
	}
	if i.Number != "" {
		due := i.DueOn.Format(time.DateOnly)
		s.Number, s.IssuedAt, s.DueAt = &i.Number, &i.IssuedAt, &due
	}
	return s
}

func body(i *invoice.Invoice) Invoice {
	out := Invoice{
		Summary: summary(i), Tax: invoice.Format(money.Nano(0), i.Currency), TermsDays: i.TermsDays, PurchaseOrder: i.PurchaseOrder,
		Seller: party(i.Seller), BillTo: party(i.BillTo), Payment: append([]string{}, i.Payment...), Lines: make([]Line, len(i.Lines)),
	}
	for n, l := range i.Lines {
		out.Lines[n] = Line{
			ProjectID: l.ProjectID, ProjectName: l.ProjectName, Model: l.Model, Figures: figures(l.Figures), AmountNano: int64(l.Amount),
			Amount: invoice.Format(l.Amount, i.Currency), Currency: i.Currency, ServiceFrom: l.First, ServiceTo: l.Last,
		}
	}
	return out
}

func party(p invoice.Party) PartyDetails {
	return PartyDetails{Name: p.Name, Address: p.Address, Country: p.Country, TaxID: p.TaxID, Email: p.Email}
}

func columns() []string {
	return []string{
		"invoice", "period", "project_id", "project_name", "model", "requests", "input_tokens", "cached_input_tokens", "output_tokens",
		"usage_nano", "rounding_nano", "amount_nano", "amount", "currency", "service_from", "service_to",
	}
}

func header() string { return strings.Join(columns(), ",") + "\r\n" }

// rows are the lines as CSV, in the form of all lists of the API.
func rows(i *Invoice) []byte {
	number := ""
	if i.Number != nil {
		number = *i.Number
	}
	var out bytes.Buffer
	out.WriteString(header())
	for _, l := range i.Lines {
		out.WriteString(strings.Join([]string{
			text(number), text(i.Period), text(l.ProjectID), text(l.ProjectName), text(l.Model),
			whole(l.Requests), whole(l.InputTokens), whole(l.CachedInputTokens), whole(l.OutputTokens),
			whole(l.UsageNano), whole(l.RoundingNano), whole(l.AmountNano), text(l.Amount), text(l.Currency),
			l.ServiceFrom.Format(time.RFC3339Nano), l.ServiceTo.Format(time.RFC3339Nano),
		}, ",") + "\r\n")
	}
	return out.Bytes()
}

func text(s string) string { return rest.Cell(rest.Text(s)) }

func whole(n int64) string { return strconv.FormatInt(n, 10) }

func example() Invoice {
	zone := time.UTC
	at := time.Date(2026, 11, 1, 1, 0, 0, 0, zone)
	f := invoice.Figures{Requests: 3, InputTokens: 120, OutputTokens: 400, Usage: 12_338_720_000, Rounding: 1_280_000, Amount: 12_340_000_000}
	return body(&invoice.Invoice{
		Figures: f, ID: "inv_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", OrgID: "org_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", Status: invoice.Issued,
		Number: "INV-2026-000001", Month: invoice.Month{Year: 2026, Month: time.October}, Zone: zone, Currency: "USD", CreatedAt: at, IssuedAt: at,
		DueOn: at.Truncate(24*time.Hour).AddDate(0, 0, invoice.DefaultTerms), TermsDays: invoice.DefaultTerms,
		Seller: invoice.Party{Name: "AIaaS"}, BillTo: invoice.Party{Name: "Example GmbH", Address: []string{"Musterweg 1", "10115 Berlin"}, Country: "DE"},
		Lines: []invoice.Line{{
			Figures: f, ProjectID: "proj_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", ProjectName: "Default project", Model: "demo",
			First: time.Date(2026, 10, 1, 9, 30, 0, 0, zone), Last: time.Date(2026, 10, 30, 17, 0, 0, 0, zone),
		}},
	})
}
