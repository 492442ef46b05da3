package invoices_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/money"
	"github.com/aiaas/aiaas/shared/usage"
)

func TestFiftyRunsAtOnceMakeOneInvoice(t *testing.T) {
	t.Parallel()
	h := newHouse(t).founded()
	second := openHouse(t, h.url, "8") // another process on the same database
	second.platform = h.platform
	one, two := h.tenant("One", "UTC"), h.tenant("Two", "Asia/Tokyo")
	for _, n := range []tenant{one, two} {
		h.use(event(n, october(2), "m", 5_555_555), event(n, october(3), "m2", 7_777_777), event(n, october(2).AddDate(0, -1, 0), "m", 1))
	}
	var all sync.WaitGroup
	numbers := make([]string, 50)
	for k := range numbers {
		p := []*house{h, second}[k%2]
		all.Go(func() {
			switch k % 5 {
			case 0:
				if _, err := p.jobs["invoices.issue"](t.Context()); err != nil {
					t.Error(err)
				}
			case 1:
				p.run(p.platform, "2026-10")
			default:
				r := p.run(one.admin, "2026-10")
				if text(r, "status") != "issued" || len(list(r["invoices"])) != 1 {
					t.Errorf("run: %v", r)
				}
				numbers[k] = text(r, "invoices", 0, "number")
			}
		})
	}
	all.Wait()
	slices.Sort(numbers)
	if got := slices.Compact(numbers); len(got) != 2 || got[1] == "<nil>" { // "" of the others, and the one
		t.Errorf("the runs show %q; want one number", got)
	}
	if got := h.scalar(`SELECT string_agg(n, ' ') FROM (SELECT count(*)::text AS n FROM analytics.invoices GROUP BY org_id, period) x`); got != "1 1 1 1" {
		t.Errorf("invoices by organisation and month: %s", got)
	}
	if got := h.scalar(`SELECT string_agg(number, ' ' ORDER BY number) FROM analytics.invoices`); got != "INV-2026-000001 INV-2026-000002 INV-2026-000003 INV-2026-000004" {
		t.Errorf("numbers %s", got)
	}
	if got := h.scalar(`SELECT count(*)::text || ' ' || count(DISTINCT target) FROM analytics.audit_records WHERE action IN ('invoice.draft', 'invoice.issue')`); got != "8 4" {
		t.Errorf("audit records %s; want each act once", got)
	}
}

func TestNumbersHaveNoGapsAndTheOrderOfTheirDates(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var ids []string
	for k := range 100 {
		ids = append(ids, fmt.Sprintf("('org_%03d', 'o', now())", k))
	}
	h.exec(`INSERT INTO accounts.organizations (org_id, name, created_at) VALUES %s`, strings.Join(ids, ","))
	var events []*usage.Event
	for k := range 100 {
		events = append(events, event(tenant{org: fmt.Sprintf("org_%03d", k), project: "p"}, time.Date(2026, 12, 10, 0, 0, 0, 0, time.UTC), "m", 1))
		events = append(events, event(tenant{org: fmt.Sprintf("org_%03d", k), project: "p"}, time.Date(2026, 11, 10, 0, 0, 0, 0, time.UTC), "m", 1))
	}
	h.use(events...)
	admins := make([]tenant, 100)
	for k := range admins {
		admins[k] = tenant{org: fmt.Sprintf("org_%03d", k)}
		admins[k].project = "p_" + admins[k].org
		h.exec(`INSERT INTO accounts.projects (org_id, project_id, name, created_at) VALUES ('%s', '%s', 'p', now())`, admins[k].org, admins[k].project)
		admins[k].admin = h.key(admins[k], "billing:write")
	}
	// Half of November's are issued in 2026; the rest, and December's, in 2027. While
	// they are, the year ends.
	h.set(time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC))
	issueAll := func(admins []tenant, period string, tick time.Duration) {
		var all sync.WaitGroup
		for _, n := range admins {
			all.Go(func() {
				h.clock.Add(tick.Microseconds())
				h.run(n.admin, period)
			})
		}
		all.Wait()
	}
	issueAll(admins[:50], "2026-11", 0)
	issueAll(admins[50:], "2026-11", 30*time.Millisecond) // the last of them in the new year
	h.set(time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC))
	issueAll(admins, "2026-12", time.Millisecond)
	if got := h.scalar(`SELECT count(*)::text FROM analytics.invoices WHERE status = 'issued'`); got != "200" {
		t.Fatalf("%s invoices", got)
	}
	if got := h.scalar(`SELECT count(*)::text FROM (SELECT year, max(sequence) AS last, count(*) AS n, count(DISTINCT sequence) AS d, min(sequence) AS first
		FROM analytics.invoices GROUP BY year HAVING max(sequence) <> count(*) OR count(DISTINCT sequence) <> count(*) OR min(sequence) <> 1) gaps`); got != "0" {
		t.Errorf("%s years have gaps", got)
	}
	if got := h.scalar(`SELECT count(DISTINCT year)::text || ' ' || bool_and(number = 'INV-' || year || '-' || lpad(sequence::text, 6, '0') AND year = extract(year FROM issued_at AT TIME ZONE 'UTC'))
		FROM analytics.invoices`); got != "2 true" {
		t.Errorf("years, and numbers that fit them: %s", got)
	}
	if got := h.scalar(`SELECT count(*)::text FROM (SELECT issued_at < lag(issued_at) OVER (ORDER BY year, sequence) AS back FROM analytics.invoices) x WHERE back`); got != "0" {
		t.Errorf("%s numbers are dated before the one before them", got)
	}
}

func TestLateUsageIsOnTheNextInvoiceWithItsOwnDate(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	one := h.tenant("One", "UTC")
	h.use(event(one, october(3), "m", 10_000_000))
	h.run(one.admin, "2026-10")
	before := h.do("GET", "/v1/invoices", one.admin, "").Body.String()
	h.use(event(one, october(30), "m", 20_000_000), event(one, november(2), "m", 40_000_000))
	if h.run(one.admin, "2026-10"); h.do("GET", "/v1/invoices", one.admin, "").Body.String() != before {
		t.Error("the run changed the month that was closed")
	}
	h.setText("2026-12-01 00:00")
	r := h.run(one.admin, "2026-11")
	i := h.do("GET", "/v1/invoices/"+text(r, "invoices", 0, "id"), one.admin, "").want(200)
	if got := text(i, "total") + " " + text(i, "lines", 0, "requests") + " " + text(i, "lines", 0, "service_from") + " " + text(i, "lines", 0, "service_to"); got != "0.06 2 2026-10-30T12:00:00Z 2026-11-02T12:00:00Z" {
		t.Errorf("the next invoice has %s", got)
	}
	u := h.do("GET", "/v1/usage?start=2026-11-01T00:00:00Z&end=2026-12-01T00:00:00Z&date=accounting", one.admin, "").want(200)
	if got := text(u, "totals", "cost_nano"); got != text(i, "usage_nano") {
		t.Errorf("usage by accounting month is %s; the invoice has %s", got, text(i, "usage_nano"))
	}
	u = h.do("GET", "/v1/usage?start=2026-10-01T00:00:00Z&end=2026-11-01T00:00:00Z&date=service", one.admin, "").want(200)
	if got := text(u, "totals", "cost_nano"); got != "30000000" {
		t.Errorf("usage by date of service is %s; want October to keep what it used", got)
	}
}

// What was recorded in time and is not booked yet belongs into its own month: the
// run waits for it, and what is of later months does not hold it up.
func TestAMonthIsNotClosedOverItsInbox(t *testing.T) {
	t.Parallel()
	h := newHouse(t).founded()
	one, two := h.tenant("One", "UTC"), h.tenant("Two", "UTC")
	h.use(event(one, october(3), "m", 10_000_000), event(two, october(3), "m", 10_000_000))
	h.record(event(one, october(31), "m", 20_000_000), event(two, november(1), "m", 5))
	for name, counts := range map[string]string{
		"by schedule": fmt.Sprint(h.job("invoices.issue")),
		"by hand":     fmt.Sprint(h.run(one.admin, "2026-10")["counts"]),
	} {
		if want := map[string]string{"by schedule": "map[issued:1 waiting:1]", "by hand": "map[failed:0 issued:0 open:0 waiting:1]"}[name]; counts != want {
			t.Errorf("%s: %s; want %s", name, counts, want)
		}
	}
	if got := h.scalar(`SELECT string_agg(open_period::text, ' ' ORDER BY org_id = '%s' DESC) FROM analytics.accounting`, one.org); got != "0001-01-01 2026-11-01" {
		t.Errorf("open months are %s: want the first organisation's untouched", got)
	}
	// Somebody waits for the run, and metering comes by.
	var drained sync.WaitGroup
	drained.Go(func() {
		time.Sleep(150 * time.Millisecond)
		if _, err := h.jobs["metering.drain"](t.Context()); err != nil {
			t.Error(err)
		}
	})
	r := h.run(one.admin, "2026-10")
	drained.Wait()
	if text(r, "status") != "issued" || text(r, "invoices", 0, "total") != "0.03" {
		t.Errorf("run: %v; want what waited on it", r)
	}
}

func TestAnInboxThatCantBeReadHoldsNothingUp(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	one := h.tenant("One", "UTC")
	h.use(event(one, october(3), "m", 10_000_000))
	h.exec(`INSERT INTO analytics.inbox (org_id, event_id, body) VALUES ('%s', 'req_x', 'no event')`, one.org)
	if r := h.run(one.admin, "2026-10"); text(r, "counts", "issued") != "1" {
		t.Errorf("run: %v", r)
	}
}

func TestOneOrganisationsFailureDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	h := newHouse(t).founded()
	one, two, three := h.tenant("One", "UTC"), h.tenant("Two", "UTC"), h.tenant("Three", "UTC")
	for _, n := range []tenant{one, two, three} {
		h.use(event(n, october(3), "m", 10_000_000))
	}
	h.exec(`UPDATE accounts.organizations SET time_zone = 'Nowhere/At all' WHERE org_id = '%s'`, two.org)
	counts, err := h.jobs["invoices.issue"](t.Context())
	if err == nil || counts["issued"] != 2 || counts["failed"] != 1 {
		t.Errorf("the job counts %v, %v", counts, err)
	}
	if !strings.Contains(h.log.String(), two.org) {
		t.Error("the log does not name the organisation")
	}
	r := h.run(h.platform, "2026-10")
	if got := fmt.Sprint(r["counts"]); got != "map[failed:1 issued:0 open:0 waiting:0]" || len(list(r["invoices"])) != 2 {
		t.Errorf("run: %s, %d invoices", got, len(list(r["invoices"])))
	}
	h.exec(`UPDATE accounts.organizations SET time_zone = 'UTC' WHERE org_id = '%s'`, two.org)
	if counts := h.job("invoices.issue"); counts["issued"] != 1 {
		t.Errorf("then it counts %v", counts)
	}
}

func TestTheScheduleWaitsAnHourAndCatchesUp(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	berlin, tokyo, havana := h.tenant("Berlin", "Europe/Berlin"), h.tenant("Tokyo", "Asia/Tokyo"), h.tenant("Havana", "America/Havana")
	for _, n := range []tenant{berlin, tokyo, havana} {
		for _, month := range []time.Month{8, 10} {
			h.use(event(n, time.Date(2026, month, 5, 0, 0, 0, 0, time.UTC), "m", 10_000_000))
		}
	}
	for _, step := range []struct{ at, want string }{ // of August and October; July has none
		{"2026-08-31 15:59", ""},
		{"2026-08-31 16:00", "Tokyo 2026-08"},
		{"2026-10-31 15:59", "Berlin 2026-08, Havana 2026-08, Tokyo 2026-08"},
		{"2026-10-31 16:00", "Berlin 2026-08, Havana 2026-08, Tokyo 2026-08, Tokyo 2026-10"},
		{"2026-10-31 23:59", "Berlin 2026-08, Havana 2026-08, Tokyo 2026-08, Tokyo 2026-10"},
		{"2026-11-01 00:00", "Berlin 2026-08, Berlin 2026-10, Havana 2026-08, Tokyo 2026-08, Tokyo 2026-10"},
		{"2026-11-01 04:59", "Berlin 2026-08, Berlin 2026-10, Havana 2026-08, Tokyo 2026-08, Tokyo 2026-10"},
		{"2026-11-01 05:00", "Berlin 2026-08, Berlin 2026-10, Havana 2026-08, Havana 2026-10, Tokyo 2026-08, Tokyo 2026-10"},
	} {
		h.setText(step.at)
		h.job("invoices.issue")
		got := h.scalar(`SELECT coalesce(string_agg(customer->>'name' || to_char(period, ' YYYY-MM'), ', ' ORDER BY customer->>'name', period), '') FROM analytics.invoices`)
		if got != step.want {
			t.Errorf("at %s there are %q; want %q", step.at, got, step.want)
		}
	}
}

func TestAnOpenMonthGivesAPreviewAndAFutureOneNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t).founded()
	tokyo, west := h.tenant("Tokyo", "Asia/Tokyo"), h.tenant("West", "America/Los_Angeles")
	for _, n := range []tenant{tokyo, west} {
		h.use(event(n, october(3), "m", 15_000_000), event(n, october(4), "n", 15_000_000))
	}
	h.setText("2026-10-31 15:00") // November in Tokyo
	for _, c := range []struct {
		key, period, status, counts string
		invoices                    int
	}{
		{west.admin, "2026-10", "preview", "map[failed:0 issued:0 open:1 waiting:0]", 1},
		{tokyo.admin, "2026-11", "preview", "map[failed:0 issued:0 open:1 waiting:0]", 1},
		{h.platform, "2026-11", "preview", "map[failed:0 issued:0 open:2 waiting:0]", 0},
		{h.platform, "2026-10", "preview", "map[failed:0 issued:1 open:1 waiting:0]", 2},
		{tokyo.admin, "2026-10", "issued", "map[failed:0 issued:0 open:0 waiting:0]", 1},
		{tokyo.admin, "2026-09", "issued", "map[failed:0 issued:0 open:0 waiting:0]", 0},
	} {
		r := h.run(c.key, c.period)
		if text(r, "status") != c.status || text(r, "counts") != c.counts || len(list(r["invoices"])) != c.invoices {
			t.Errorf("%s: %v; want %+v", c.period, r, c)
		}
		if c.key == west.admin && (text(r, "invoices", 0, "status") != "preview" || text(r, "invoices", 0, "number") != "<nil>" || at(r, "invoices", 0, "id") != nil || text(r, "invoices", 0, "total") != "0.03") {
			t.Errorf("preview: %v", at(r, "invoices", 0))
		}
	}
	for _, c := range []struct{ key, period string }{
		{west.admin, "2026-11"}, {tokyo.admin, "2026-12"}, {h.platform, "2026-12"}, {west.admin, "9999-12"},
		{west.admin, "2026-13"}, {west.admin, "2026-00"}, {west.admin, "0000-01"}, {west.admin, "26-10"}, {west.admin, "2026-10-01"}, {west.admin, "２０２６-10"},
	} {
		if v := h.do("POST", "/v1/invoices/runs", c.key, fmt.Sprintf(`{"period":%q}`, c.period)).want(422); text(v, "errors", 0, "member") != "period" {
			t.Errorf("%s: %v", c.period, v)
		}
	}
	if got := h.scalar(`SELECT string_agg(customer->>'name', ' ') || ' ' || (SELECT count(*) FROM analytics.ledger_entries WHERE kind = 'adjustment') FROM analytics.invoices`); got != "Tokyo 2" {
		t.Errorf("stored: %s; want Tokyo's alone", got)
	}
	p := h.do("GET", "/v1/invoices/preview", west.reader, "").want(200)
	if got := text(p, "status") + text(p, "period") + text(p, "total") + text(p, "lines", 1, "rounding_nano") + text(p, "issued_at"); got != "preview2026-100.03-5000000<nil>" {
		t.Errorf("preview: %s", got)
	}
	p = h.do("GET", "/v1/invoices/preview", tokyo.reader, "").want(200)
	if got := text(p, "period") + text(p, "total") + text(p, "lines") + text(p, "currency"); got != "2026-110.00[]USD" {
		t.Errorf("preview of nothing: %s", got)
	}
}

func TestEveryEventIsOnOneInvoice(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	n := h.tenant("One", "UTC")
	second := h.tenant("Two", "UTC")
	rnd := rand.New(rand.NewPCG(4, 7))
	booked := 0
	for month := time.January; month <= time.June; month++ {
		var events []*usage.Event
		for range 60 {
			e := event(n, time.Date(2027, month-time.Month(rnd.IntN(2)), 1+rnd.IntN(28), rnd.IntN(24), 0, 0, 0, time.UTC), fmt.Sprint("m", rnd.IntN(3)), money.Nano(rnd.Int64N(30_000_000)))
			e.ProjectID = fmt.Sprint("p", rnd.IntN(3))
			if rnd.IntN(8) == 0 {
				e.Cost = 0
			}
			if month >= time.May {
				e.Currency = "JPY"
				e.Cost *= 1000
			}
			events = append(events, e)
		}
		booked += len(events)
		h.use(events...)
		h.use(events[:10]...) // delivered again
		h.use(event(second, time.Date(2027, month, 3, 0, 0, 0, 0, time.UTC), "m", 0))
		if month == time.March {
			h.job("metering.fold")
		}
		h.set(time.Date(2027, month+1, 1, 2, 0, 0, 0, time.UTC))
		h.job("invoices.issue")
		h.job("invoices.issue")
	}
	lines := h.scalar(`SELECT sum(requests)::text FROM analytics.invoice_lines WHERE org_id = '%s'`, n.org)
	if lines != fmt.Sprint(booked) {
		t.Errorf("%s events are billed; %d were used", lines, booked)
	}
	differences := h.scalar(`
		WITH ledger AS (
		  SELECT org_id, accounting_period AS period, currency, project_id, model, sum(amount_nano) FILTER (WHERE kind = 'usage') AS usage_nano,
		         sum(amount_nano) AS total, sum(requests) AS requests, sum(input_tokens) AS input, sum(output_tokens) AS output
		    FROM analytics.ledger_entries GROUP BY 1, 2, 3, 4, 5
		), billed AS (
		  SELECT i.org_id, i.period, i.currency, l.project_id, l.model, l.usage_nano, l.usage_nano + l.rounding_nano AS total, l.requests, l.input_tokens AS input, l.output_tokens AS output
		    FROM analytics.invoices i JOIN analytics.invoice_lines l USING (org_id, invoice_id)
		)
		SELECT count(*)::text FROM ledger FULL JOIN billed USING (org_id, period, currency, project_id, model, usage_nano, total, requests, input, output)
		 WHERE ledger IS NULL OR billed IS NULL`)
	if differences != "0" {
		t.Errorf("ledger and invoices differ in %s lines", differences)
	}
	if got := h.scalar(`SELECT count(*)::text FROM analytics.invoices i WHERE (usage_nano + rounding_nano) %% CASE currency WHEN 'JPY' THEN 1000000000 ELSE 10000000 END <> 0
		OR abs(rounding_nano) > CASE currency WHEN 'JPY' THEN 500000000 ELSE 5000000 END`); got != "0" {
		t.Errorf("%s invoices are not in whole coins, or rounded by more than half of one", got)
	}
	if got := h.scalar(`SELECT count(*)::text || ' ' || sum(usage_nano + rounding_nano) FROM analytics.invoices WHERE org_id = '%s'`, second.org); got != "6 0" {
		t.Errorf("usage of no cost: %s; want an invoice for each month, of nothing", got)
	}
	for _, i := range list(h.do("GET", "/v1/invoices?limit=200", n.admin, "").want(200)["data"]) {
		start := moment(t, text(i, "period")+"-01 00:00")
		u := h.do("GET", fmt.Sprintf("/v1/usage?start=%s&end=%s&date=accounting&group_by=project,model", start.Format(time.RFC3339), start.AddDate(0, 1, 0).Format(time.RFC3339)), n.admin, "")
		if u.Code == 422 { // two currencies: the report wants one
			continue
		}
		if got := text(u.want(200), "totals", "cost_nano"); got != text(i, "usage_nano") {
			t.Errorf("%s: usage is %s, the invoice has %s", text(i, "period"), got, text(i, "usage_nano"))
		}
	}
	if got := h.scalar(`SELECT string_agg(currency, ' ' ORDER BY number) FROM analytics.invoices WHERE org_id = '%s' AND period = '2027-05-01'`, n.org); got != "JPY USD" && got != "JPY" {
		t.Errorf("May is billed in %s", got)
	}
}
