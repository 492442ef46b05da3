package postgres_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/invoice"
	"github.com/aiaas/aiaas/shared/usage"
)

// bills is a fixture with invoices on it.
type bills struct {
	*books
	billing *postgres.Billing
	read    *postgres.Invoices
}

func october() invoice.Month { return invoice.Month{Year: 2026, Month: time.October} }

func newBills(t *testing.T) *bills {
	t.Helper()
	b := newBooks(t)
	return &bills{books: b, billing: postgres.NewBilling(b.open(postgres.RoleBilling)), read: postgres.NewInvoices(b.open(postgres.RoleAnalytics))}
}

// close closes a month of org_1. What the draft says is the sums.
func (b *bills) close(m invoice.Month) error {
	return b.billing.Close(b.t.Context(), invoice.Closing{
		Due: invoice.Due{OrgID: "org_1", Month: m},
		Draw: func(currency string, lines []invoice.Line) (invoice.Invoice, error) {
			i := invoice.Invoice{ID: "inv_" + currency + m.String(), OrgID: "org_1", Month: m, Zone: time.UTC, Currency: currency, Lines: lines, CreatedAt: noon()}
			for n := range lines {
				lines[n].Rounding = 7
				i.Requests += lines[n].Requests
				i.InputTokens += lines[n].InputTokens
				i.CachedInputTokens += lines[n].CachedInputTokens
				i.OutputTokens += lines[n].OutputTokens
				i.Usage += lines[n].Usage
				i.Rounding += 7
			}
			return i, nil
		},
		Record: func(i invoice.Invoice) audit.Record { return record(b.t.Context(), i.OrgID, "invoice.draft") },
	})
}

func (b *bills) issue(id string, at time.Time) (bool, error) {
	return b.issueAt(id, func() time.Time { return at })
}

func (b *bills) issueAt(id string, now func() time.Time) (bool, error) {
	return b.billing.Issue(b.t.Context(), invoice.Issuing{
		OrgID: "org_1", InvoiceID: id, Now: now,
		Complete: func(i *invoice.Invoice, p invoice.Profile, s invoice.Seller, at time.Time) {
			i.IssuedAt, i.DueOn, i.Seller, i.BillTo, i.TermsDays = at, at.AddDate(0, 0, p.TermsDays), s.Party, p.Party, p.TermsDays
		},
		Record: func(i invoice.Invoice) audit.Record { return record(b.t.Context(), i.OrgID, "invoice.issue") },
	})
}

// issued is a database with one invoice and one draft.
func issued(t *testing.T) *bills {
	t.Helper()
	b := newBills(t)
	e := anEvent(2)
	e.AdmittedAt, e.Period = e.AdmittedAt.AddDate(0, 1, 0), "2026-11-01"
	b.book(anEvent(1), e)
	if err := b.close(october()); err != nil {
		t.Fatal(err)
	}
	if ok, err := b.issue("inv_USD2026-10", noon().AddDate(0, 1, 0)); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := b.close(october().Next()); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestNobodyChangesAnInvoice(t *testing.T) {
	t.Parallel()
	b := issued(t)
	before := b.scalar(`SELECT (SELECT string_agg(i::text, ';' ORDER BY invoice_id) FROM analytics.invoices i) || (SELECT string_agg(l::text, ';') FROM analytics.invoice_lines l)
		|| (SELECT string_agg(n::text, ';') FROM analytics.invoice_numbers n)`)
	conn, err := pgx.Connect(t.Context(), b.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	for _, sql := range []string{
		`UPDATE analytics.invoices SET usage_nano = 0`,
		`UPDATE analytics.invoices SET rounding_nano = rounding_nano + 1 WHERE status = 'draft'`,
		`UPDATE analytics.invoices SET number = 'INV-1' WHERE status = 'issued'`,
		`UPDATE analytics.invoices SET number = number WHERE status = 'issued'`,
		`UPDATE analytics.invoices SET customer = '{}' WHERE status = 'issued'`,
		`UPDATE analytics.invoices SET due_on = due_on + 1, status = 'past_due' WHERE status = 'issued'`,
		`UPDATE analytics.invoices SET status = 'draft', seller_id = NULL, year = NULL, sequence = NULL, number = NULL, issued_at = NULL, due_on = NULL, seller = NULL, customer = NULL WHERE status = 'issued'`,
		`UPDATE analytics.invoices SET status = 'issued' WHERE status = 'draft'`,
		`UPDATE analytics.invoices SET status = 'paid' WHERE status = 'draft'`,
		`UPDATE analytics.invoices SET status = 'preview' WHERE status = 'issued'`,
		`UPDATE analytics.invoices SET org_id = 'org_2'`,
		`UPDATE analytics.invoices SET period = '2026-09-01' WHERE status = 'draft'`,
		`UPDATE analytics.invoices SET status = 'issued', seller_id = 'default', year = 2026, sequence = 9, number = 'INV-2026-000009', issued_at = now(), due_on = '2026-12-01', seller = '{}', customer = '{}',
			usage_nano = 1 WHERE status = 'draft'`,
		`DELETE FROM analytics.invoices WHERE status = 'issued'`,
		`DELETE FROM analytics.invoices WHERE status = 'draft'`,
		`TRUNCATE analytics.invoices CASCADE`,
		`INSERT INTO analytics.invoices (org_id, invoice_id, period, currency, time_zone, requests, input_tokens, cached_input_tokens, output_tokens, usage_nano, rounding_nano, status, created_at,
			seller_id, year, sequence, number, issued_at, due_on, seller, customer)
			VALUES ('org_1', 'x', '2026-01-01', 'USD', 'UTC', 0, 0, 0, 0, 0, 0, 'issued', now(), 'default', 2026, 9, 'n', now(), '2026-12-01', '{}', '{}')`,
		`INSERT INTO analytics.invoices (org_id, invoice_id, period, currency, time_zone, requests, input_tokens, cached_input_tokens, output_tokens, usage_nano, rounding_nano, created_at)
			VALUES ('org_1', 'x', '2026-10-01', 'USD', 'UTC', 0, 0, 0, 0, 0, 0, now())`,
		`INSERT INTO analytics.invoice_lines SELECT org_id, invoice_id, 9, project_id, project_name, model, requests, input_tokens, cached_input_tokens, output_tokens, usage_nano, rounding_nano, first_at, last_at
			FROM analytics.invoice_lines WHERE invoice_id = 'inv_USD2026-10'`,
		`INSERT INTO analytics.invoice_lines SELECT org_id, invoice_id, 9, project_id, project_name, model, requests, input_tokens, cached_input_tokens, output_tokens, usage_nano, rounding_nano, first_at, last_at
			FROM analytics.invoice_lines WHERE invoice_id = 'inv_USD2026-11'`,
		`UPDATE analytics.invoice_lines SET usage_nano = 0`,
		`UPDATE analytics.invoice_lines SET project_name = 'x' WHERE invoice_id = 'inv_USD2026-11'`,
		`DELETE FROM analytics.invoice_lines`,
		`TRUNCATE analytics.invoice_lines`,
		`UPDATE analytics.invoice_numbers SET last = 7`,
		`UPDATE analytics.invoice_numbers SET last = last - 1`,
		`DELETE FROM analytics.invoice_numbers`,
		`TRUNCATE analytics.invoice_numbers`,
		`INSERT INTO analytics.invoice_numbers VALUES ('default', 2030, 5)`,
	} {
		for _, role := range []string{"", "aiaas_billing", "aiaas_analytics", "aiaas_metering", "aiaas_gateway"} { // "": the owner himself
			if state := attempt(t, conn, role, sql); state == "" {
				t.Errorf("%q may %.90s", role, sql)
			}
		}
	}
	if after := b.scalar(`SELECT (SELECT string_agg(i::text, ';' ORDER BY invoice_id) FROM analytics.invoices i) || (SELECT string_agg(l::text, ';') FROM analytics.invoice_lines l)
		|| (SELECT string_agg(n::text, ';') FROM analytics.invoice_numbers n)`); after != before {
		t.Errorf("it changed from %s\nto %s", before, after)
	}
}

// attempt runs a statement as a role within org_1; "" where it was done.
func attempt(t *testing.T, conn *pgx.Conn, role, sql string) string {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if role != "" {
		if _, err := tx.Exec(t.Context(), "SET LOCAL ROLE "+role); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tx.Exec(t.Context(), "SELECT set_config('app.org_id', 'org_1', true)"); err != nil {
		t.Fatal(err)
	}
	tag, err := tx.Exec(t.Context(), sql)
	var pe *pgconn.PgError
	switch {
	case errors.As(err, &pe):
		return pe.Code
	case err != nil:
		t.Fatalf("%s: %v", sql, err)
	case strings.HasPrefix(sql, "TRUNCATE") || tag.RowsAffected() > 0:
		return ""
	}
	return "nothing found"
}

func TestTheStatusOfAnInvoiceGoesForward(t *testing.T) {
	t.Parallel()
	all := []string{"draft", "issued", "paid", "past_due", "uncollectible", "void"}
	ways := map[string][]string{ // from issued to each status, and where it goes on from there
		"": {"paid", "past_due", "uncollectible", "void"}, "past_due": {"paid", "uncollectible", "void"}, "uncollectible": {"paid", "void"}, "paid": nil, "void": nil,
	}
	b := issued(t)
	conn, err := pgx.Connect(t.Context(), b.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	for from, allowed := range ways {
		for _, to := range all {
			sql := `UPDATE analytics.invoices SET status = '` + to + `' WHERE number IS NOT NULL`
			if from != "" {
				sql = `UPDATE analytics.invoices SET status = '` + from + `' WHERE number IS NOT NULL; ` + sql
			}
			tx, err := conn.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, err = tx.Exec(t.Context(), sql)
			if want := strings.Contains(" "+strings.Join(allowed, " ")+" ", " "+to+" "); (err == nil) != want {
				t.Errorf("from %q to %q: %v", from, to, err)
			}
			_ = tx.Rollback(t.Context())
		}
	}
}

func TestADraftWhoseLinesDoNotAddUpIsNotIssued(t *testing.T) {
	t.Parallel()
	b := newBills(t)
	b.exec(`INSERT INTO analytics.accounting (org_id) VALUES ('org_1');
		INSERT INTO analytics.invoices VALUES ('org_1', 'inv_1', '2026-10-01', 'USD', 'UTC', 1, 1, 0, 1, 5, 0, 'draft', now());
		INSERT INTO analytics.invoice_lines VALUES ('org_1', 'inv_1', 1, 'p', 'p', 'm', 1, 1, 0, 1, 4, 0, now(), now())`)
	if ok, err := b.issue("inv_1", noon()); ok || err == nil {
		t.Errorf("issued: %v, %v", ok, err)
	}
	if got := b.scalar(`SELECT count(*)::text FROM analytics.invoice_numbers`); got != "0" {
		t.Error("a number was taken for it")
	}
}

func TestAMonthIsClosedOnce(t *testing.T) {
	t.Parallel()
	b := newBills(t)
	b.book(anEvent(1))
	for range 2 {
		if err := b.close(october()); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.scalar(`SELECT (SELECT count(*) FROM analytics.invoices) || ' ' || (SELECT count(*) FROM analytics.audit_records) || ' ' ||
		(SELECT string_agg(event_id || ' ' || amount_nano || ' ' || to_char(admitted_at AT TIME ZONE 'UTC', 'DD HH24:MI:SS.US'), ', ') FROM analytics.ledger_entries WHERE kind = 'adjustment')`); got != "1 1 inv_USD2026-10.1 7 31 23:59:59.999999" {
		t.Errorf("invoices, records and adjustments: %s", got)
	}
	late := anEvent(2)
	b.book(late)
	if got := b.scalar(`SELECT accounting_period || ' ' || (admitted_at < '2026-11-01') FROM analytics.ledger_entries WHERE event_id = 'req_0002'`); got != "2026-11-01 true" {
		t.Errorf("late usage is booked as %s", got)
	}
	due, err := b.billing.Due(t.Context(), october().Next(), "")
	if err != nil || len(due) != 2 || due[0].Month != october() || due[1].Month != october().Next() {
		t.Errorf("due: %v, %v; want the draft's month, and the one with the late usage", due, err)
	}
	if due, err := b.billing.Due(t.Context(), october(), "org_2"); err != nil || len(due) != 0 {
		t.Errorf("due of another organisation: %v, %v", due, err)
	}
	ok, err := b.issue("inv_USD2026-10", noon())
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	if ok, err := b.issue("inv_USD2026-10", noon()); ok || err != nil {
		t.Errorf("issued again: %v, %v", ok, err)
	}
	if _, err := b.issue("inv_none", noon()); !fault.Is(err, fault.NotFound) {
		t.Errorf("issuing what is not there: %v", err)
	}
}

// Whoever takes a date also takes the next number: nobody takes a later date before
// the number is used.
func TestDatesAndNumbersHaveOneOrder(t *testing.T) {
	t.Parallel()
	b := newBills(t)
	second := anEvent(2)
	second.AdmittedAt, second.Period = second.AdmittedAt.AddDate(0, 1, 0), "2026-11-01"
	b.book(anEvent(1), second)
	for _, m := range []invoice.Month{october(), october().Next()} {
		if err := b.close(m); err != nil {
			t.Fatal(err)
		}
	}
	asked, waiting := make(chan struct{}), make(chan struct{})
	var early atomic.Bool
	var both sync.WaitGroup
	both.Go(func() {
		if ok, err := b.issueAt("inv_USD2026-10", func() time.Time {
			close(asked)
			<-waiting
			return noon()
		}); !ok || err != nil {
			t.Error(ok, err)
		}
	})
	<-asked
	both.Go(func() {
		if ok, err := b.issueAt("inv_USD2026-11", func() time.Time {
			select {
			case <-waiting:
			default:
				early.Store(true)
			}
			return noon().Add(time.Second)
		}); !ok || err != nil {
			t.Error(ok, err)
		}
	})
	for !early.Load() && b.scalar(`SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == "0" {
		time.Sleep(5 * time.Millisecond)
	}
	close(waiting)
	both.Wait()
	if early.Load() {
		t.Error("the second was dated while the first had no number yet")
	}
	if got := b.scalar(`SELECT string_agg(right(number, 1) || ' ' || to_char(issued_at AT TIME ZONE 'UTC', 'SS'), ', ' ORDER BY number) FROM analytics.invoices`); got != "1 00, 2 01" {
		t.Errorf("numbers and seconds: %s", got)
	}
}

func TestUsageThatWaitsKeepsAMonthOpen(t *testing.T) {
	t.Parallel()
	b := newBills(t)
	b.book(anEvent(1))
	november := anEvent(3)
	november.AdmittedAt, november.Period = november.AdmittedAt.AddDate(0, 1, 0), "2026-11-01"
	september := anEvent(4)
	september.AdmittedAt, september.Period = september.AdmittedAt.AddDate(0, -1, 0), "2026-09-01"
	foreign := anEvent(5)
	foreign.OrgID = "org_2"
	for _, c := range []struct {
		name   string
		events []*usage.Event
		waits  bool
	}{
		{"of the month", []*usage.Event{november, anEvent(2)}, true},
		{"of the month before", []*usage.Event{foreign, september}, true},
		{"of another organisation, and of the month after", []*usage.Event{foreign, november}, false},
	} {
		b.exec(`DELETE FROM analytics.inbox`)
		if err := b.inbox.Record(t.Context(), recorded(t, c.events...)); err != nil {
			t.Fatal(err)
		}
		err := b.close(october())
		if errors.Is(err, invoice.ErrWaiting) != c.waits || (err == nil) == c.waits {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := b.scalar(`SELECT (open_period = '2026-11-01')::text FROM analytics.accounting WHERE org_id = 'org_1'`); (got == "true") == c.waits {
			t.Errorf("%s: closed is %s", c.name, got)
		}
	}
}

// An entry of the edge of a month in the farthest zones, and one that is months late,
// are found, and once.
func TestTheSumsOfAMonthHaveAllItsEntries(t *testing.T) {
	t.Parallel()
	b := newBills(t)
	b.exec(`INSERT INTO analytics.accounting VALUES ('org_1', '2026-10-01')`)
	for n, at := range []string{
		"2026-01-15 00:00", "2026-09-28 23:59", "2026-09-29 00:00", "2026-09-29 12:00", "2026-09-30 10:00", "2026-10-01 00:00", "2026-10-31 23:59", "2026-11-01 12:00", "2024-02-29 12:00",
	} {
		e := anEvent(n)
		e.AdmittedAt, _ = time.Parse("2006-01-02 15:04", at)
		b.book(e)
	}
	if got := b.scalar(`SELECT count(*)::text FROM analytics.ledger_entries WHERE accounting_period = '2026-10-01'`); got != "9" {
		t.Fatalf("%s are of October", got)
	}
	sums, err := b.read.Sums(t.Context(), "org_1", october())
	if err != nil || len(sums) != 1 || len(sums["USD"]) != 1 {
		t.Fatalf("%v, %v", sums, err)
	}
	l := sums["USD"][0]
	if l.Requests != 9 || l.Usage != 900 || l.First.Format(time.DateOnly) != "2024-02-29" || l.Last.Format(time.DateOnly) != "2026-11-01" {
		t.Errorf("the sums are %+v", l)
	}
}

func TestInvoicesAreReadByTheirOrganisationOnly(t *testing.T) {
	t.Parallel()
	b := issued(t)
	got, err := b.read.Get(t.Context(), "org_1", "inv_USD2026-10")
	if err != nil || len(got.Lines) != 1 || got.Number != "INV-2026-000001" || got.Amount != 107 || got.Lines[0].Amount != 107 {
		t.Errorf("own: %+v, %v", got, err)
	}
	if _, err := b.read.Get(t.Context(), "org_2", "inv_USD2026-10"); !fault.Is(err, fault.NotFound) {
		t.Errorf("foreign: %v", err)
	}
	if list, err := b.read.List(t.Context(), "org_2", invoice.Filter{}, "", 10); err != nil || len(list) != 0 {
		t.Errorf("a foreign list: %v, %v", list, err)
	}
	if list, err := b.read.List(t.Context(), "org_1", invoice.Filter{Month: october(), Status: invoice.Issued}, "", 10); err != nil || len(list) != 1 {
		t.Errorf("own list: %v, %v", list, err)
	}
	if _, err := postgres.NewKeys(b.open(postgres.RoleAccounts)).Organization(t.Context(), "org_9"); !fault.Is(err, fault.NotFound) {
		t.Errorf("no organisation: %v", err)
	}
}
