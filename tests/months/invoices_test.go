package months_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
)

type line struct {
	Project  string `json:"project_id"`
	Model    string
	Requests int64
	Input    int64 `json:"input_tokens"`
	Cached   int64 `json:"cached_input_tokens"`
	Output   int64 `json:"output_tokens"`
	Usage    int64 `json:"usage_nano"`
	Rounding int64 `json:"rounding_nano"`
	Amount   int64 `json:"amount_nano"`
}

type invoice struct {
	ID, Number, Period, Status, Currency, Total string

	Usage     int64 `json:"usage_nano"`
	Rounding  int64 `json:"rounding_nano"`
	TotalNano int64 `json:"total_nano"`
	Lines     []line
}

const cent = 10_000_000 // nano

// expected are the sums of a period by project and model.
func (x *traffic) expected(o *org, period string) map[[2]string]*sums {
	out := map[[2]string]*sums{}
	for _, e := range x.book {
		if e.org != o || e.period != period {
			continue
		}
		k := [2]string{e.project, e.model}
		if out[k] == nil {
			out[k] = &sums{}
		}
		out[k].add(e)
	}
	return out
}

// compareInvoice holds an invoice to the book: line by line, exact before rounding,
// whole cents after it, and no line off by a cent or more.
func (x *traffic) compareInvoice(o *org, i invoice) {
	x.t.Helper()
	want := x.expected(o, i.Period)
	var usage, rounding int64
	for _, l := range i.Lines {
		got := sums{l.Requests, l.Input, l.Cached, l.Output, l.Usage}
		if w := want[[2]string{l.Project, l.Model}]; w == nil || *w != got {
			x.t.Errorf("%s %s %s: line %s %s is %+v; want %+v", o.zone, i.Period, i.Number, l.Project, l.Model, got, w)
		}
		if l.Amount != l.Usage+l.Rounding || l.Amount%cent != 0 || l.Rounding <= -cent || l.Rounding >= cent {
			x.t.Errorf("%s %s: line %s %s is %d and %d of rounding, together %d", o.zone, i.Period, l.Project, l.Model, l.Usage, l.Rounding, l.Amount)
		}
		usage, rounding = usage+l.Usage, rounding+l.Rounding
	}
	if len(i.Lines) != len(want) || usage != i.Usage || rounding != i.Rounding || i.TotalNano != usage+rounding || rounding < -cent/2 || rounding > cent/2 {
		x.t.Errorf("%s %s: %d lines of %d, %d and %d are %d; the invoice says %d, %d, %d",
			o.zone, i.Period, len(i.Lines), len(want), usage, rounding, usage+rounding, i.Usage, i.Rounding, i.TotalNano)
	}
	if trim(i.Total) != trim(nano(i.TotalNano)) || i.Currency != "USD" {
		x.t.Errorf("%s %s: total %s %s; want %s USD", o.zone, i.Period, i.Total, i.Currency, nano(i.TotalNano))
	}
}

// checkPreview compares what the running month comes to so far, which changes
// nothing.
func (x *traffic) checkPreview() {
	x.t.Helper()
	for _, o := range x.orgs {
		for _, i := range []invoice{
			get[invoice](x.world, "/v1/invoices/preview", o.admin),
			post[struct{ Invoices []invoice }](x.world, "/v1/invoices/runs", o.admin, `{"period":"2028-04"}`, http.StatusOK).Invoices[0],
		} {
			if i.Status != "preview" || i.Number != "" || i.Period != "2028-04" {
				x.t.Errorf("%s: the running month is %q %q %q", o.zone, i.Status, i.Number, i.Period)
			}
			if len(i.Lines) > 0 {
				x.compareInvoice(o, i)
			}
		}
		if n := x.count(o, `analytics.invoices WHERE period = '2028-04-01'`); n != "0" {
			x.t.Errorf("%s: a preview left %s invoices", o.zone, n)
		}
	}
}

func (x *traffic) count(o *org, from string) string {
	x.t.Helper()
	return postgrestest.Scalar(x.t, x.url, fmt.Sprintf(`SELECT count(*)::text FROM %s AND org_id = '%s'`, from, o.id))
}

// checkInvoices compares all invoices of an organisation with the book and with the
// ledger, and runs them again, which changes nothing.
func (x *traffic) checkInvoices(o *org) {
	x.t.Helper()
	before := x.invoices(o)
	for _, period := range []string{"2028-01", "2028-02", "2028-03", "2028-04", "2028-05"} {
		post[any](x.world, "/v1/invoices/runs", o.admin, fmt.Sprintf(`{"period":%q}`, period), http.StatusOK)
	}
	after := x.invoices(o)
	if fmt.Sprint(before) != fmt.Sprint(after) {
		x.t.Errorf("%s: another run changes %v into %v", o.zone, before, after)
	}
	periods := map[string]bool{}
	for _, e := range x.book {
		periods[e.period] = periods[e.period] || e.org == o
	}
	var billed int64
	for _, i := range after {
		if !periods[i.Period] || i.Status != "issued" || i.Number == "" {
			x.t.Errorf("%s: invoice %s of %s is %q", o.zone, i.Number, i.Period, i.Status)
		}
		delete(periods, i.Period)
		x.compareInvoice(o, i)
		x.compareLedger(o, i)
		for _, l := range i.Lines {
			billed += l.Requests
		}
	}
	for period, used := range periods {
		if used {
			x.t.Errorf("%s: %s has no invoice", o.zone, period)
		}
	}
	if n := x.count(o, `analytics.ledger_entries WHERE kind = 'usage'`); n != fmt.Sprint(billed) {
		x.t.Errorf("%s: %d requests are billed; the ledger has %s", o.zone, billed, n)
	}
}

// invoices are all of an organisation with their lines, by period.
func (x *traffic) invoices(o *org) []invoice {
	x.t.Helper()
	list := get[struct{ Data []invoice }](x.world, "/v1/invoices?limit=200", o.admin).Data
	for k := range list {
		list[k] = get[invoice](x.world, "/v1/invoices/"+list[k].ID, o.admin)
	}
	slices.SortFunc(list, func(a, b invoice) int { return strings.Compare(a.Period, b.Period) })
	return list
}

// compareLedger holds that the ledger's entries of a period come to the invoice: the
// usage before rounding, all of them to its total.
func (x *traffic) compareLedger(o *org, i invoice) {
	x.t.Helper()
	got := postgrestest.Scalar(x.t, x.url, fmt.Sprintf(`
		SELECT concat_ws(' ', sum(amount_nano) FILTER (WHERE kind = 'usage'), sum(amount_nano), sum(requests), sum(input_tokens), sum(output_tokens))
		  FROM analytics.ledger_entries WHERE org_id = '%s' AND accounting_period = '%s-01'`, o.id, i.Period))
	var s sums
	for _, l := range i.Lines {
		s.Requests, s.Input, s.Output = s.Requests+l.Requests, s.Input+l.Input, s.Output+l.Output
	}
	if want := fmt.Sprint(i.Usage, " ", i.TotalNano, " ", s.Requests, " ", s.Input, " ", s.Output); got != want {
		x.t.Errorf("%s %s: the ledger has %q; the invoice %q", o.zone, i.Period, got, want)
	}
}

// checkNumbers holds that the numbers of all invoices follow each other without a
// gap.
func (x *traffic) checkNumbers() {
	x.t.Helper()
	var numbers []string
	for _, o := range x.orgs {
		for _, i := range x.invoices(o) {
			numbers = append(numbers, i.Number)
		}
	}
	slices.Sort(numbers)
	for n, number := range numbers {
		if want := fmt.Sprintf("-2028-%06d", n+1); !strings.HasSuffix(number, want) {
			x.t.Fatalf("the numbers are %v: want %s in place %d", numbers, want, n)
		}
	}
	if x.lateOnes == 0 {
		x.t.Error("no request ended after its month was closed: the test does not see late ones")
	}
}
