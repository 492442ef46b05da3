package invoices_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/invoice"
	"github.com/aiaas/aiaas/shared/usage"
)

// breaker stands between the platform and its database, and breaks every connection
// when the platform has sent so many times: before what it sent arrives, or after
// the database has done it and before the platform hears of it.
type breaker struct {
	t       *testing.T
	network string
	address string
	url     string
	place   int64 // at which it breaks
	deaf    bool  // after, not before
	sent    atomic.Int64
	broken  atomic.Bool
	mu      sync.Mutex
	open    []net.Conn
}

func newBreaker(t *testing.T, databaseURL string, place int64, deaf bool) *breaker {
	t.Helper()
	cfg, err := pgconn.ParseConfig(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	b := &breaker{t: t, place: place, deaf: deaf}
	b.network, b.address = pgconn.NetworkAddress(cfg.Host, cfg.Port)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.url = fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", cfg.User, cfg.Password, l.Addr(), cfg.Database)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { b.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		b.cut()
		serving.Wait()
	})
	return b
}

func (b *breaker) serve(client net.Conn) {
	server, err := net.Dial(b.network, b.address)
	if err != nil {
		b.t.Error(err)
		_ = client.Close()
		return
	}
	b.mu.Lock()
	b.open = append(b.open, client, server)
	b.mu.Unlock()
	if b.broken.Load() {
		b.cut()
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if err != nil || b.broken.Load() {
				b.cut()
				return
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			_ = server.Close()
			break
		}
		if b.sent.Add(1) == b.place {
			b.broken.Store(true)
			if !b.deaf {
				b.cut()
				break
			}
		}
		if _, err := server.Write(buf[:n]); err != nil {
			break
		}
	}
	back.Wait()
}

func (b *breaker) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.open {
		_ = c.Close()
	}
	b.open = nil
}

// service is the core on a database, as one process has it.
func service(t *testing.T, databaseURL string) (*invoice.Service, func()) {
	t.Helper()
	var dbs []*postgres.DB
	for _, role := range []postgres.Role{postgres.RoleBilling, postgres.RoleAnalytics, postgres.RoleAccounts} {
		db, err := postgres.Open(t.Context(), databaseURL, role, 2)
		if err != nil {
			t.Fatal(err)
		}
		dbs = append(dbs, db)
	}
	s := &invoice.Service{
		Books: postgres.NewBilling(dbs[0]), Store: postgres.NewInvoices(dbs[1]), Orgs: postgres.NewKeys(dbs[2]),
		Now: func() time.Time { return november(3) }, Log: slog.New(slog.DiscardHandler),
	}
	return s, func() {
		for _, db := range dbs {
			db.Close()
		}
	}
}

// crashed is a database with two organisations that have two months and one to bill.
func crashed(t *testing.T) string {
	t.Helper()
	url := postgrestest.New(t)
	postgrestest.Exec(t, url, `
		INSERT INTO accounts.organizations (org_id, name, created_at) VALUES ('org_1', 'one', now()), ('org_2', 'two', now());
		INSERT INTO accounts.projects (org_id, project_id, name, created_at) VALUES ('org_1', 'p1', 'a', now()), ('org_1', 'p2', 'b', now()), ('org_2', 'p1', 'c', now())`)
	db, err := postgres.Open(t.Context(), url, postgres.RoleMetering, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var events []*usage.Event
	for k := range 8 {
		e := event(tenant{org: "org_1", project: fmt.Sprint("p", k/2%2+1)}, time.Date(2026, 9+time.Month(k%2), 5+k, 0, 0, 0, 0, time.UTC), fmt.Sprint("m", k%3), 3_333_333)
		late := event(tenant{org: "org_2", project: "p1"}, october(k+1), "m", 1_250_000)
		late.Currency = "EUR"
		events = append(events, e, late)
	}
	if _, err := postgres.NewLedger(db).Book(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	return url
}

// state is all that a run writes, without ids.
func state(t *testing.T, url string) string {
	t.Helper()
	return postgrestest.Scalar(t, url, `SELECT concat_ws(E'\n',
		(SELECT string_agg(concat_ws(' ', org_id, period, currency, status, number, usage_nano, rounding_nano, requests, issued_at, due_on, customer), E'\n' ORDER BY org_id, period, currency) FROM analytics.invoices),
		(SELECT string_agg(concat_ws(' ', org_id, period, currency, line, project_name, model, l.requests, l.usage_nano, l.rounding_nano), E'\n' ORDER BY org_id, period, currency, line)
		   FROM analytics.invoices i JOIN analytics.invoice_lines l USING (org_id, invoice_id)),
		(SELECT string_agg(concat_ws(' ', org_id, kind, accounting_period, currency, project_id, model, amount_nano, admitted_at), E'\n' ORDER BY org_id, kind, accounting_period, currency, project_id, model, admitted_at) FROM analytics.ledger_entries),
		(SELECT string_agg(concat_ws(' ', org_id, open_period), E'\n' ORDER BY org_id) FROM analytics.accounting),
		(SELECT string_agg(concat_ws(' ', seller_id, year, last), E'\n') FROM analytics.invoice_numbers),
		(SELECT string_agg(concat_ws(' ', org_id, action, n), E'\n' ORDER BY org_id, action) FROM (SELECT org_id, action, count(*) AS n FROM analytics.audit_records GROUP BY 1, 2) a))`)
}

func issue(t *testing.T, url string) error {
	t.Helper()
	s, closeAll := service(t, url)
	defer closeAll()
	_, err := s.IssueDue(t.Context(), "test")
	return err
}

// Whatever step a run dies in, and whether or not the database had done what the run
// did not hear of: the next run ends as if nothing had happened.
func TestACrashAtAnyPointIsMadeGoodByTheNextRun(t *testing.T) {
	t.Parallel()
	calm := crashed(t)
	if err := issue(t, calm); err != nil {
		t.Fatal(err)
	}
	want := state(t, calm)
	for _, deaf := range []bool{false, true} {
		t.Run(map[bool]string{false: "request lost", true: "answer lost"}[deaf], func(t *testing.T) {
			t.Parallel()
			inside := map[string]int{} // invoices of the first organisation that were issued, and drafts
			for place := int64(1); ; place++ {
				url := crashed(t)
				b := newBreaker(t, url, place, deaf)
				err := issue(t, b.url)
				if !b.broken.Load() {
					if err != nil {
						t.Fatalf("place %d: the run was not broken and failed: %v", place, err)
					}
					for _, step := range []string{"0 0", "0 1", "0 2", "1 1", "2 0", "2 1"} {
						if inside[step] == 0 {
							t.Errorf("broken at %d places, none of them with %s issued and drafted: %v", place-1, step, inside)
						}
					}
					return
				}
				inside[postgrestest.Scalar(t, url, `SELECT count(*) FILTER (WHERE status <> 'draft' AND org_id = 'org_1') || ' ' || count(*) FILTER (WHERE status = 'draft') FROM analytics.invoices`)]++
				if err := issue(t, url); err != nil {
					t.Fatalf("place %d: the next run: %v", place, err)
				}
				if got := state(t, url); got != want {
					t.Fatalf("place %d: it ends as\n%s\nwant\n%s", place, got, want)
				}
			}
		})
	}
}

// died is a store that fails after it has closed a month: between the two steps.
type died struct{ invoice.Books }

var errDied = errors.New("it died")

func (d died) Drafts(_ context.Context, _ string, _ invoice.Month) ([]string, error) {
	return nil, errDied
}

func TestADraftIsIssuedByTheNextRun(t *testing.T) {
	t.Parallel()
	calm, url := crashed(t), crashed(t)
	if err := issue(t, calm); err != nil {
		t.Fatal(err)
	}
	s, closeAll := service(t, url)
	defer closeAll()
	whole := s.Books
	s.Books = died{whole}
	if n, err := s.IssueDue(t.Context(), "test"); !errors.Is(err, errDied) || n.Failed != 2 || n.Issued != 0 {
		t.Fatalf("%+v, %v; want both organisations to fail", n, err)
	}
	if got := postgrestest.Scalar(t, url, `SELECT string_agg(DISTINCT status, ' ') || ' ' || count(*) FROM analytics.invoices`); got != "draft 3" {
		t.Fatalf("it left %s; want drafts", got)
	}
	s.Books = whole
	if n, err := s.IssueDue(t.Context(), "test"); err != nil || n.Issued != 3 {
		t.Errorf("%+v, %v; want the drafts to be issued", n, err)
	}
	if got, want := state(t, url), state(t, calm); got != want {
		t.Errorf("it ends as\n%s\nwant\n%s", got, want)
	}
}
