// Package months_test lets three months of random traffic pass over the whole
// platform, under a clock of its own, and compares every figure that anybody is
// shown with the test's own book: usage API, its CSV, the ledger, budgets and
// invoices agree to the last unit, by date of service and by accounting period.
package months_test

import (
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
)

// seed is the run's, or AIAAS_TEST_SEED's, so that a failure can be run again.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := rand.Uint64()
	if text := os.Getenv("AIAAS_TEST_SEED"); text != "" {
		var err error
		n, err = strconv.ParseUint(text, 10, 64)
		must(t, err)
	}
	t.Logf("AIAAS_TEST_SEED=%d", n)
	return n
}

const requests = 3000

// February to April 2028: a leap day, the start of summer time on 12 March in New
// York and on 26 March in Berlin, and a zone of a quarter of an hour.
func TestThreeMonthsAreTheSameEverywhere(t *testing.T) {
	start := time.Date(2028, 1, 31, 12, 0, 0, 0, time.UTC)
	w := newWorld(t, start, "Europe/Berlin", "America/New_York", "Asia/Kathmandu")
	x := newTraffic(w, seed(t))
	budgets := x.budgets()
	for _, at := range x.moments(start) {
		x.passTo(at)
		switch n := x.rnd.IntN(100); {
		case n < 2:
			x.changePrice()
		case n < 10:
			x.run("metering.drain")
		case n < 14:
			x.run("metering.fold")
		}
		x.request(x.orgs[x.rnd.IntN(len(x.orgs))])
	}
	x.run("metering.drain")
	x.checkPreview()
	x.checkBudgets(budgets)
	x.passTo(time.Date(2028, 6, 2, 12, 0, 0, 0, time.UTC)) // May has what came late for April
	for _, o := range x.orgs {
		x.checkUsage(o)
		x.checkInvoices(o)
	}
	x.checkNumbers()
}

// moments are when requests come: at random, and around the edges where a day, a
// month or an offset ends.
func (x *traffic) moments(start time.Time) []time.Time {
	end := time.Date(2028, 4, 30, 12, 0, 0, 0, time.UTC)
	var at []time.Time
	for range requests {
		at = append(at, start.Add(time.Duration(x.rnd.Int64N(int64(end.Sub(start))))))
	}
	for _, o := range x.orgs {
		for _, local := range []time.Time{
			time.Date(2028, 2, 1, 0, 0, 0, 0, o.zone), time.Date(2028, 2, 29, 0, 0, 0, 0, o.zone), time.Date(2028, 3, 1, 0, 0, 0, 0, o.zone),
			time.Date(2028, 3, 12, 2, 0, 0, 0, o.zone), time.Date(2028, 3, 26, 2, 0, 0, 0, o.zone), time.Date(2028, 4, 1, 0, 0, 0, 0, o.zone),
		} {
			at = append(at, local.Add(-time.Microsecond), local, local.Add(time.Microsecond))
		}
	}
	for i := range at {
		at[i] = at[i].UTC().Truncate(time.Microsecond)
	}
	slices.SortFunc(at, time.Time.Compare)
	return at
}

// passTo moves the clock on, and lets the schedules run that are due on the way:
// partitions before their month, invoices after it, several times at once.
func (x *traffic) passTo(at time.Time) {
	now := x.clock.now()
	for next := now.Truncate(time.Hour).Add(time.Hour); !next.After(at); next = next.Add(time.Hour) {
		day := next.Day()
		if (day > 3 && day < 26) || next.Hour()%3 != 0 {
			continue // nothing is due in the middle of a month
		}
		x.clock.set(next)
		if next.Hour() == 12 {
			x.run("metering.partitions")
		}
		if day <= 3 {
			x.closeMonths(next)
		}
	}
	x.clock.set(at)
}

// closeMonths runs the invoices' job. A request that was admitted before its month
// was closed and ends after is late: it is billed in the month that is open then.
func (x *traffic) closeMonths(now time.Time) {
	var late []func()
	for _, o := range x.orgs {
		if now.Month() < time.June && o.month(now).After(o.month(x.start)) && x.closed[o].Before(o.month(now)) && (x.lateOnes+len(late) == 0 || x.rnd.IntN(2) == 0) {
			late = append(late, x.slow(o, now))
		}
	}
	x.run("metering.drain")
	var all sync.WaitGroup
	for range 1 + x.rnd.IntN(3) {
		all.Go(func() {
			if _, err := x.jobs["invoices.issue"](x.t.Context()); err != nil {
				x.t.Errorf("issue invoices at %s: %v", now, err)
			}
		})
	}
	all.Wait()
	for _, o := range x.orgs {
		open := postgrestest.Scalar(x.t, x.url, fmt.Sprintf(`SELECT coalesce((SELECT open_period::text FROM analytics.accounting WHERE org_id = '%s'), '0001-01-01')`, o.id))
		at, err := time.Parse(time.DateOnly, open)
		must(x.t, err)
		if at.After(o.month(now)) {
			x.t.Fatalf("at %s the month of %s is closed already: %s is open", now, o.zone, open)
		}
		x.closed[o] = at
	}
	for _, end := range late {
		end()
	}
}

// budgets are one for each organisation that counts its money by the month, and
// one that counts a model's tokens by the week.
func (x *traffic) budgets() map[*org][2]string {
	out := map[*org][2]string{}
	for _, o := range x.orgs {
		var ids [2]string
		for i, body := range []string{
			`{"scope":{"organization":true},"unit":"money","amount":"1.00","period":"month","action":"monitor"}`,
			`{"scope":{"model":"small"},"unit":"tokens","amount":"100000000","period":"week","action":"block"}`,
		} {
			ids[i] = post[struct{ ID string }](x.world, "/v1/budgets", o.admin, body, http.StatusCreated).ID
		}
		out[o] = ids
	}
	return out
}

func (x *traffic) checkBudgets(ids map[*org][2]string) {
	x.t.Helper()
	now := x.clock.now()
	for o, pair := range ids {
		y, m, d := now.In(o.zone).Date()
		month := time.Date(y, m, 1, 0, 0, 0, 0, o.zone)
		week := time.Date(y, m, d-(int(now.In(o.zone).Weekday())+6)%7, 0, 0, 0, 0, o.zone)
		var money, tokens int64
		for _, e := range x.book {
			if e.org == o && !e.at.Before(month) {
				money += e.cost
			}
			if e.org == o && e.model == "small" && !e.at.Before(week) {
				tokens += e.input + e.output
			}
		}
		list := get[struct {
			Data []struct{ ID, Spent, Held string }
		}](x.world, "/v1/budgets", o.admin).Data
		for _, b := range list {
			want := fmt.Sprint(tokens)
			if b.ID == pair[0] {
				want = nano(money)
			}
			if trim(b.Spent) != trim(want) || trim(b.Held) != "0" {
				x.t.Errorf("budget in %s: spent %s, held %s; want %s, 0", o.zone, b.Spent, b.Held, want)
			}
		}
	}
}

func nano(n int64) string { return fmt.Sprintf("%d.%09d", n/1_000_000_000, n%1_000_000_000) }

// trim takes the zeros off the end of a decimal.
func trim(s string) string {
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// sums are the figures that everything is compared by.
type sums struct {
	Requests int64 `json:"requests"`
	Input    int64 `json:"input_tokens"`
	Cached   int64 `json:"cached_input_tokens"`
	Output   int64 `json:"output_tokens"`
	Cost     int64 `json:"cost_nano"`
}

func (s *sums) add(e entry) {
	s.Requests++
	s.Input += e.input
	s.Cached += e.cached
	s.Output += e.output
	s.Cost += e.cost
}

type row struct {
	Start   time.Time
	Model   string
	Project string `json:"project_id"`
	Key     string `json:"api_key_id"`
	sums
}

func (r row) name() string {
	return r.Start.UTC().Format(time.RFC3339) + " " + r.Model + " " + r.Project + " " + r.Key
}

// checkUsage compares the usage API with the book: by day of service on the
// organisation's clock, and by accounting month; as JSON and as CSV.
func (x *traffic) checkUsage(o *org) {
	x.t.Helper()
	zone := url.QueryEscape(o.zone.String())
	bound := func(m time.Month) string {
		return url.QueryEscape(time.Date(2028, m, 1, 0, 0, 0, 0, o.zone).Format(time.RFC3339))
	}
	group := "&group_by=model,project,key&start=" + bound(time.January) + "&end=" + bound(time.July) + "&tz=" + zone
	days, months := map[string]*sums{}, map[string]*sums{}
	for _, e := range x.book {
		if e.org != o {
			continue
		}
		y, m, d := e.at.In(o.zone).Date()
		note(days, row{Start: time.Date(y, m, d, 0, 0, 0, 0, o.zone), Model: e.model, Project: e.project, Key: e.key}, e)
		p, err := time.ParseInLocation("2006-01", e.period, o.zone)
		must(x.t, err)
		note(months, row{Start: p, Model: e.model, Project: e.project, Key: e.key}, e)
	}
	x.compare(o, "/v1/usage?date=service&bucket=day"+group, days)
	x.compare(o, "/v1/usage?date=accounting&bucket=month"+group, months)
}

func note(into map[string]*sums, r row, e entry) {
	s, ok := into[r.name()]
	if !ok {
		s = &sums{}
		into[r.name()] = s
	}
	s.add(e)
}

func (x *traffic) compare(o *org, target string, want map[string]*sums) {
	x.t.Helper()
	report := get[struct {
		Data   []row
		Totals sums
	}](x.world, target, o.admin)
	var total sums
	for _, r := range report.Data {
		if w := want[r.name()]; w == nil || *w != r.sums {
			x.t.Errorf("%s: %s is %+v; want %+v", target, r.name(), r.sums, w)
		}
		total = sums{total.Requests + r.Requests, total.Input + r.Input, total.Cached + r.Cached, total.Output + r.Output, total.Cost + r.Cost}
	}
	if len(report.Data) != len(want) || total != report.Totals {
		x.t.Errorf("%s: %d rows, totals %+v; want %d rows, %+v", target, len(report.Data), report.Totals, len(want), total)
	}
	x.compareCSV(o, target, report.Data)
}

// compareCSV compares the same report as CSV with its JSON, cell by cell.
func (x *traffic) compareCSV(o *org, target string, want []row) {
	x.t.Helper()
	rec := x.call(request{method: http.MethodGet, target: target, key: o.admin, accept: "text/csv"})
	if rec.Code != http.StatusOK || !strings.HasPrefix(rec.Header().Get("Content-Type"), "text/csv") {
		x.t.Fatalf("%s as CSV: %d %s", target, rec.Code, rec.Header().Get("Content-Type"))
	}
	records, err := csv.NewReader(rec.Body).ReadAll()
	must(x.t, err)
	if len(records) != len(want)+1 {
		x.t.Fatalf("%s as CSV: %d lines; want %d", target, len(records), len(want)+1)
	}
	at := map[string]int{}
	for i, name := range records[0] {
		at[name] = i
	}
	for i, r := range want {
		c := records[i+1]
		start, err := time.Parse(time.RFC3339, c[at["start"]])
		must(x.t, err)
		got := row{Start: start, Model: c[at["model"]], Project: c[at["project_id"]], Key: c[at["api_key_id"]]}
		for name, to := range map[string]*int64{
			"requests": &got.Requests, "input_tokens": &got.Input, "cached_input_tokens": &got.Cached, "output_tokens": &got.Output, "cost_nano": &got.Cost,
		} {
			*to, err = strconv.ParseInt(c[at[name]], 10, 64)
			must(x.t, err)
		}
		if got.name() != r.name() || got.sums != r.sums {
			x.t.Errorf("%s: line %d of the CSV is %+v; the JSON says %+v", target, i+1, got, r)
		}
	}
}
