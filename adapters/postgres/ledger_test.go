package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/admission"
	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/money"
	"github.com/aiaas/aiaas/shared/usage"
)

// books is a fixture with the ledger on it.
type books struct {
	*fixture
	ledger *postgres.Ledger
	inbox  *postgres.Inbox
	store  *postgres.Budgets
	booked int
}

func newBooks(t *testing.T) *books {
	t.Helper()
	f := newFixture(t)
	return &books{
		fixture: f, ledger: postgres.NewLedger(f.open(postgres.RoleMetering)), inbox: postgres.NewInbox(f.open(postgres.RoleGateway), nil),
		store: postgres.NewBudgets(f.open(postgres.RoleAnalytics)),
	}
}

// budget adds one of org_1 for its calendar months in a zone.
func (b *books) budget(id string, action budget.Action, change func(*budget.Budget)) budget.Budget {
	b.t.Helper()
	bud := aBudget(id)
	bud.Action = action
	if change != nil {
		change(&bud)
	}
	if _, err := b.store.CreateBudget(b.t.Context(), bud, bud.WindowAt(noon()), record(b.t.Context(), bud.OrgID, "budget.create")); err != nil {
		b.t.Fatal(err)
	}
	return bud
}

func anEvent(n int) *usage.Event {
	return &usage.Event{
		ID: fmt.Sprintf("req_%04d", n), OrgID: "org_1", ProjectID: "proj_1", KeyID: "key_1", Model: "m", BackendID: "be_1", PriceID: "price_1",
		Endpoint: "/v1/chat/completions", AdmittedAt: noon().Add(time.Duration(n) * time.Second), Period: "2026-10-01", Outcome: usage.Complete,
		Input: 10, Cached: 4, Output: 5, Cost: 100, Currency: "USD", Raw: []byte(`{"prompt_tokens":10}`),
	}
}

func recorded(t *testing.T, events ...*usage.Event) []usage.Recorded {
	t.Helper()
	out := make([]usage.Recorded, len(events))
	for i, e := range events {
		r, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		out[i] = r
	}
	return out
}

func (b *books) book(events ...*usage.Event) usage.Booking {
	b.t.Helper()
	out, err := b.ledger.Book(b.t.Context(), events)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// sums are requests, tokens and cost of a table, in one text.
func (b *books) sums(table, cost string) string {
	b.t.Helper()
	return b.scalar(`SELECT concat_ws(' ', coalesce(sum(requests), 0), coalesce(sum(input_tokens), 0), coalesce(sum(cached_input_tokens), 0),
		coalesce(sum(output_tokens), 0), coalesce(sum(` + cost + `), 0)) FROM ` + table)
}

// agrees holds that all that is derived from n events shows them once.
func (b *books) agrees(n int) {
	b.t.Helper()
	want := fmt.Sprintf("%d %d %d %d %d", n, 10*n, 4*n, 5*n, 100*n)
	for _, c := range []struct{ table, cost string }{
		{"(SELECT 1 AS requests, * FROM analytics.usage_events) AS u", "cost_nano"},
		{"analytics.ledger_entries", "amount_nano"},
		{`(SELECT requests, input_tokens, cached_input_tokens, output_tokens, cost_nano FROM analytics.usage_deltas UNION ALL
		   SELECT requests, input_tokens, cached_input_tokens, output_tokens, cost_nano FROM analytics.usage_minutes) AS r`, "cost_nano"},
	} {
		if got := b.sums(c.table, c.cost); got != want {
			b.t.Errorf("%.40s: %q; want %q", c.table, got, want)
		}
	}
}

func (b *books) window(id string) string {
	b.t.Helper()
	return b.scalar(`SELECT coalesce(string_agg(concat_ws(' ', to_char(window_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), spent, granted), ', ' ORDER BY window_start), '')
		FROM analytics.budget_windows WHERE budget_id = '` + id + `'`)
}

func TestAnEventIsBookedOnce(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	held := func(n int) *usage.Event {
		e := anEvent(n)
		w := aBudget("bud_1").WindowAt(e.AdmittedAt)
		e.Holds = []usage.Held{{Budget: "bud_1", Start: w.Start, End: w.End, Amount: 100}}
		return e
	}
	b.budget("bud_1", budget.Block, nil)
	if err := b.inbox.Record(t.Context(), recorded(t, held(1), held(2), held(1))); err != nil {
		t.Fatal(err)
	}
	pending, err := b.ledger.Pending(t.Context(), 10)
	if err != nil || len(pending) != 2 {
		t.Fatalf("%d pending, %v; want 2: an event is in the inbox once", len(pending), err)
	}
	start := aBudget("bud_1").WindowAt(noon()).Start
	spent := func(n, seq int64) map[string][]admission.Spent {
		return map[string][]admission.Spent{"org_1": {{Budget: "bud_1", Start: start, Spent: n, Seq: seq}}}
	}
	for _, c := range []struct {
		name   string
		events []*usage.Event
		want   usage.Booking
		booked int
	}{
		{"twice in one batch", []*usage.Event{held(1), held(2), held(1)}, usage.Booking{Fresh: 2, Windows: spent(200, 2)}, 2},
		{"again", []*usage.Event{held(2)}, usage.Booking{Fresh: 0, Windows: spent(200, 3)}, 2},
		{"again, beside a new one", []*usage.Event{held(3), held(1)}, usage.Booking{Fresh: 1, Windows: spent(300, 4)}, 3},
	} {
		got := b.book(c.events...)
		for _, windows := range got.Windows {
			for i := range windows {
				windows[i].Start = windows[i].Start.UTC()
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		b.agrees(c.booked)
	}
	if got := b.scalar(`SELECT count(*)::text FROM analytics.inbox`); got != "0" {
		t.Errorf("%s events are left in the inbox", got)
	}
	if got, want := b.window("bud_1"), "2026-10-01 00:00 300 300"; got != want {
		t.Errorf("window %q; want %q: granted follows", got, want)
	}
}

// Several metering processes take overlapping batches in any order, while deltas
// are folded. A deadlock may end one try; it never spoils an event.
func TestParallelBatchesBookEachEventOnce(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	b.budget("bud_m", budget.Monitor, nil)
	b.budget("bud_b", budget.Block, nil)
	const total = 60
	events := make([]*usage.Event, total)
	for i := range events {
		events[i] = anEvent(i)
		w := aBudget("").WindowAt(events[i].AdmittedAt)
		events[i].Holds = []usage.Held{{Budget: "bud_b", Start: w.Start, End: w.End, Amount: 100}}
	}
	if err := b.inbox.Record(t.Context(), recorded(t, events...)); err != nil {
		t.Fatal(err)
	}
	var fresh, folded atomic.Int64
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(w)))
			for range 4 {
				mine := make([]*usage.Event, 0, total)
				for _, i := range random.Perm(total) {
					mine = append(mine, events[i])
				}
				for {
					out, err := b.ledger.Book(t.Context(), mine)
					if fault.Is(err, fault.Unavailable) {
						continue
					}
					if err != nil {
						t.Error(err)
					}
					fresh.Add(int64(out.Fresh))
					break
				}
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			n, err := b.ledger.Fold(t.Context())
			if err != nil {
				t.Error(err)
			}
			folded.Add(int64(n))
		}
	})
	wg.Wait()
	if fresh.Load() != total {
		t.Errorf("%d were fresh; want %d", fresh.Load(), total)
	}
	b.agrees(total)
	n, err := b.ledger.Fold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if folded.Add(int64(n)) == 0 || b.scalar(`SELECT count(*)::text FROM analytics.usage_deltas`) != "0" {
		t.Errorf("%d deltas were folded, some are left", folded.Load())
	}
	b.agrees(total)
	for _, id := range []string{"bud_m", "bud_b"} {
		if got, want := b.window(id), "2026-10-01 00:00 6000 6000"; got != want {
			t.Errorf("%s: %q; want %q", id, got, want)
		}
	}
}

func TestMinutesKeepApartWhatIsAskedApart(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	a, c, d := anEvent(1), anEvent(2), anEvent(59)
	c.Model = "other"
	d.AdmittedAt = noon().Add(time.Minute - time.Microsecond)
	e := anEvent(60)
	e.AdmittedAt = noon().Add(time.Minute)
	b.book(a, c, d)
	b.book(e)
	for range 2 {
		if _, err := b.ledger.Fold(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	got := b.scalar(`SELECT string_agg(concat_ws(' ', to_char(minute AT TIME ZONE 'UTC', 'HH24:MI'), model, requests), ', ' ORDER BY minute, model) FROM analytics.usage_minutes`)
	if want := "12:00 m 2, 12:00 other 1, 12:01 m 1"; got != want {
		t.Errorf("minutes %q; want %q", got, want)
	}
}

// Budgets that don't block are counted by what they cover, in the windows of their
// own zone.
func TestBudgetsWithoutHoldsAreCountedByWhatTheyCover(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	b := newBooks(t)
	for id, change := range map[string]func(*budget.Budget){
		"bud_org":     nil,
		"bud_project": func(x *budget.Budget) { x.Scope.ProjectID = "proj_1" },
		"bud_key":     func(x *budget.Budget) { x.Scope.APIKeyID = "key_2" },
		"bud_model":   func(x *budget.Budget) { x.Scope.Model = "other" },
		"bud_tokens":  func(x *budget.Budget) { x.Unit = budget.Tokens },
		"bud_count":   func(x *budget.Budget) { x.Unit = budget.Requests; x.Action = budget.Monitor },
		"bud_berlin":  func(x *budget.Budget) { x.TimeZone = berlin },
		"bud_day":     func(x *budget.Budget) { x.Period = budget.Day; x.TimeZone = berlin },
		"bud_once":    func(x *budget.Budget) { x.Period = budget.Once },
		"bud_blocks":  func(x *budget.Budget) { x.Action = budget.Block },
		"bud_foreign": func(x *budget.Budget) { x.OrgID = "org_2" },
	} {
		b.budget(id, budget.Warn, change)
	}
	key, mod, edge, before := anEvent(1), anEvent(2), anEvent(3), anEvent(4)
	key.KeyID, mod.Model = "key_2", "other"
	edge.AdmittedAt = time.Date(2026, 10, 31, 23, 30, 0, 0, time.UTC) // November in Berlin
	before.AdmittedAt = noon().Add(-time.Hour)                        // before the budgets were made
	b.book(key, mod, edge, before)
	for id, want := range map[string]string{
		"bud_org":     "2026-10-01 00:00 400 400",
		"bud_project": "2026-10-01 00:00 400 400",
		"bud_key":     "2026-10-01 00:00 100 100",
		"bud_model":   "2026-10-01 00:00 100 100",
		"bud_tokens":  "2026-10-01 00:00 60 60",
		"bud_count":   "2026-10-01 00:00 4 4",
		"bud_berlin":  "2026-09-30 22:00 300 300, 2026-10-31 23:00 100 100",
		"bud_day":     "2026-10-11 22:00 300 300, 2026-10-31 23:00 100 100",
		"bud_once":    "2026-10-12 12:00 300 300",
		"bud_blocks":  "2026-10-01 00:00 400 400", // made while they ran: no hold, but spent is what the ledger has
		"bud_foreign": "2026-10-01 00:00 0 0",
	} {
		if got := b.window(id); got != want {
			t.Errorf("%s: %q; want %q", id, got, want)
		}
	}
}

func TestAnEventHeldOnABudgetIsCountedByItsHoldAlone(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	b.budget("bud_1", budget.Warn, nil) // it blocked when the event was admitted
	e := anEvent(1)
	w := aBudget("bud_1").WindowAt(e.AdmittedAt)
	e.Holds = []usage.Held{{Budget: "bud_1", Start: w.Start, End: w.End, Amount: 77}}
	b.book(e)
	if got, want := b.window("bud_1"), "2026-10-01 00:00 77 77"; got != want {
		t.Errorf("%q; want %q", got, want)
	}
}

func TestAnEventOfAClosedMonthIsBilledInTheOpenOne(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	b.exec(`INSERT INTO analytics.accounting (org_id, open_period) VALUES ('org_1', '2026-11-01')`)
	late, next, foreign := anEvent(1), anEvent(2), anEvent(3)
	next.Period, next.AdmittedAt = "2026-12-01", time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	foreign.OrgID = "org_2"
	b.book(late, next, foreign)
	for _, table := range []string{"usage_events", "ledger_entries"} {
		got := b.scalar(`SELECT string_agg(concat_ws(' ', event_id, accounting_period, to_char(admitted_at AT TIME ZONE 'UTC', 'MM')), ', ' ORDER BY event_id) FROM analytics.` + table)
		if want := "req_0001 2026-11-01 10, req_0002 2026-12-01 12, req_0003 2026-10-01 10"; got != want {
			t.Errorf("%s: %q; want %q", table, got, want)
		}
	}
}

// Closing a period locks the accounting row FOR UPDATE. A batch that comes then
// waits, and finds the month closed.
func TestBookingWaitsForAPeriodThatIsBeingClosed(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	b.book(anEvent(1))
	conn, err := pgx.Connect(t.Context(), b.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), `BEGIN; SELECT 1 FROM analytics.accounting WHERE org_id = 'org_1' FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := b.ledger.Book(t.Context(), []*usage.Event{anEvent(2)}); done <- err }()
	b.someoneWaits(done)
	if _, err := conn.Exec(t.Context(), `UPDATE analytics.accounting SET open_period = '2026-11-01' WHERE org_id = 'org_1'; COMMIT`); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := b.scalar(`SELECT accounting_period::text FROM analytics.ledger_entries WHERE event_id = 'req_0002'`); got != "2026-11-01" {
		t.Errorf("billed in %s; want the open month", got)
	}
}

// someoneWaits returns once a statement waits for a lock.
func (b *books) someoneWaits(done <-chan error) {
	b.t.Helper()
	for b.scalar(`SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == "0" {
		select {
		case err := <-done:
			b.t.Fatalf("it did not wait: %v", err)
		default:
		}
	}
}

func TestADeadLetterLeavesTheInboxAndStays(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	r := recorded(t, anEvent(1), anEvent(2))
	if err := b.inbox.Record(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.ledger.Bury(t.Context(), r[:1], "why"); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.scalar(`SELECT concat_ws(' ', string_agg(event_id, ','), string_agg(error, ','), string_agg(convert_from(body, 'UTF8'), ',')) FROM analytics.dead_letters`); got != "req_0001 why "+string(r[0].Body) {
		t.Errorf("dead letters: %q", got)
	}
	pending, err := b.ledger.Pending(t.Context(), 10)
	if err != nil || len(pending) != 1 || pending[0].ID != "req_0002" {
		t.Errorf("pending %v, %v; want the other", pending, err)
	}
}

func TestWhatCanNotBeBookedIsToldFromWhatCanNotBeBookedNow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		break_ string
		event  func(e *usage.Event)
		poison bool
	}{
		{"a text that no column can hold", "", func(e *usage.Event) { e.Model = "a\x00b" }, true},
		{"an outcome that there is not", "", func(e *usage.Event) { e.Outcome = "odd" }, true},
		{"a budget that there is not", "", func(e *usage.Event) {
			e.Holds = []usage.Held{{Budget: "bud_x", Start: noon(), End: noon(), Amount: 1}}
		}, true},
		{"a right that was taken", "REVOKE INSERT ON analytics.ledger_entries FROM aiaas_metering", nil, false},
		{"a table that is not there yet", "ALTER TABLE analytics.usage_deltas RENAME TO away", nil, false},
		{"a database that is read-only", "ALTER DATABASE %s SET default_transaction_read_only = on", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBooks(t)
			if c.break_ != "" {
				sql := c.break_
				if sql[len(sql)-2:] == "on" {
					sql = fmt.Sprintf(sql, pgx.Identifier{b.scalar(`SELECT current_database()::text`)}.Sanitize())
				}
				b.exec("%s", sql)
			}
			e := anEvent(1)
			if c.event != nil {
				c.event(e)
			}
			_, err := b.ledger.Book(t.Context(), []*usage.Event{e})
			if err == nil || fault.Is(err, fault.Unavailable) == c.poison {
				t.Errorf("%v; want poison: %t", err, c.poison)
			}
		})
	}
}

func TestGrantsNeverExceedTheLimit(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	for _, id := range []string{"bud_a", "bud_b"} {
		b.budget(id, budget.Block, nil) // of 1000
	}
	w := aBudget("").WindowAt(noon())
	var wg sync.WaitGroup
	var most, seqs sync.Map
	for i := range 32 {
		wg.Go(func() {
			ids := []string{"bud_a", "bud_b"}
			if i%2 == 0 {
				ids = []string{"bud_b", "bud_a"} // asked for in any order, locked in one
			}
			for range 4 {
				var lacks []admission.Lack
				for _, id := range ids {
					lacks = append(lacks, admission.Lack{Budget: id, Start: w.Start, End: w.End, Amount: 13})
				}
				grants, err := b.inbox.Grant(t.Context(), "org_1", lacks)
				if err != nil || len(grants) != 2 {
					t.Errorf("%d grants, %v", len(grants), err)
					return
				}
				for _, g := range grants {
					if g.Granted > 1000 || g.Limit != 1000 || g.Ceiling() != g.Granted {
						t.Errorf("grant %+v", g)
					}
					if _, twice := seqs.LoadOrStore(fmt.Sprint(g.Budget, g.Seq), g.Granted); twice {
						t.Errorf("sequence %d of %s was given twice", g.Seq, g.Budget)
					}
					most.Store(g.Budget, g.Granted)
				}
			}
		})
	}
	wg.Wait()
	for _, id := range []string{"bud_a", "bud_b"} {
		if got, want := b.window(id), "2026-10-01 00:00 0 1000"; got != want {
			t.Errorf("%s: %q; want %q", id, got, want)
		}
	}
}

func TestGrants(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	b.budget("bud_1", budget.Block, func(x *budget.Budget) { x.Amount = 1600 })
	b.budget("bud_w", budget.Warn, nil)
	w, next := aBudget("").WindowAt(noon()), aBudget("").WindowAt(noon().AddDate(0, 1, 0))
	ask := func(org string, lacks ...admission.Lack) []admission.Grant {
		t.Helper()
		out, err := b.inbox.Grant(t.Context(), org, lacks)
		if err != nil {
			t.Fatal(err)
		}
		for i := range out {
			out[i].Start = out[i].Start.UTC()
		}
		return out
	}
	lack := func(id string, w budget.Window, n int64) admission.Lack {
		return admission.Lack{Budget: id, Start: w.Start, End: w.End, Amount: n}
	}
	for _, c := range []struct {
		name string
		got  []admission.Grant
		want []admission.Grant
	}{
		{"a tranche", ask("org_1", lack("bud_1", w, 1)), []admission.Grant{{Budget: "bud_1", Start: w.Start, Limit: 1600, Granted: 100, Seq: 2}}},
		{"what is lacking, where it is more", ask("org_1", lack("bud_1", w, 700)), []admission.Grant{{Budget: "bud_1", Start: w.Start, Limit: 1600, Granted: 800, Seq: 3}}},
		{"what is left", ask("org_1", lack("bud_1", w, 5000)), []admission.Grant{{Budget: "bud_1", Start: w.Start, Limit: 1600, Granted: 1600, Seq: 4}}},
		{"nothing more", ask("org_1", lack("bud_1", w, 1)), []admission.Grant{{Budget: "bud_1", Start: w.Start, Limit: 1600, Granted: 1600, Seq: 5}}},
		{"the next window on its own", ask("org_1", lack("bud_1", next, 1)), []admission.Grant{{Budget: "bud_1", Start: next.Start, Limit: 1600, Granted: 100, Seq: 2}}},
		{"nothing for what does not block", ask("org_1", lack("bud_w", w, 1)), []admission.Grant{}},
		{"nothing for a foreign organisation", ask("org_2", lack("bud_1", w, 1)), []admission.Grant{}},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	b.exec(`UPDATE analytics.budgets SET amount = 900 WHERE budget_id = 'bud_1'`)
	if g := ask("org_1", lack("bud_1", w, 1)); g[0].Granted != 1600 || g[0].Ceiling() != 900 {
		t.Errorf("a cut limit: %+v; want what was granted, and the new ceiling", g[0])
	}
}

func TestTheBudgetsThatRequestsMeet(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	b.budget("bud_1", budget.Block, func(x *budget.Budget) { x.Scope.Model = "m"; x.Period = budget.Once })
	b.budget("bud_2", budget.Monitor, nil)
	b.budget("bud_3", budget.Block, func(x *budget.Budget) { x.OrgID = "org_2" })
	b.budget("bud_4", budget.Warn, func(x *budget.Budget) { x.Thresholds = []int{30, 200}; x.Period = budget.Day })
	b.budget("bud_5", budget.Block, nil)
	b.budget("bud_6", budget.Warn, nil)
	if err := b.store.ArchiveBudget(t.Context(), "org_1", "bud_5", record(t.Context(), "org_1", "budget.delete")); err != nil {
		t.Fatal(err)
	}
	for day := range 3 {
		e := anEvent(day)
		e.AdmittedAt = noon().AddDate(0, 0, day)
		b.book(e)
	}
	got, err := b.inbox.Governing(t.Context(), "org_1")
	if err != nil || len(got.Blocking) != 1 || len(got.Warning) != 2 {
		t.Fatalf("%+v, %v; want one that blocks and two that warn", got, err)
	}
	if g := got.Blocking[0]; g.ID != "bud_1" || g.OrgID != "org_1" || g.Scope != (budget.Scope{Model: "m"}) || g.Unit != budget.Money ||
		!g.WindowAt(noon()).Start.Equal(noon()) {
		t.Errorf("budget %+v", g)
	}
	day, month := got.Warning[0], got.Warning[1]
	if day.ID != "bud_4" || day.Amount != 1000 || day.Action != budget.Warn || !slices.Equal(day.Thresholds, []int{30, 200}) {
		t.Errorf("budget %+v", day)
	}
	for at, want := range map[time.Time]int64{
		noon().AddDate(0, 0, 2): 100, noon().AddDate(0, 0, 1): 100, // the newest two
		noon(): 0, noon().AddDate(0, 0, 3): 0, // no longer and not yet known
	} {
		if spent := day.SpentAt(at); spent != want {
			t.Errorf("spent of the day at %v: %d; want %d", at, spent, want)
		}
	}
	if spent := month.SpentAt(noon()); spent != 300 {
		t.Errorf("spent of the month: %d; want 300", spent)
	}
}

func TestTakingOverFencesTheProcessBefore(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	b.budget("bud_1", budget.Block, nil)
	old := b.ledger
	first, err := old.TakeOver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	gateway := b.open(postgres.RoleGateway)
	before := postgres.NewInbox(gateway, &first)
	if err := before.Record(t.Context(), recorded(t, anEvent(1))); err != nil {
		t.Fatal(err)
	}
	w := aBudget("").WindowAt(noon())
	lacks := []admission.Lack{{Budget: "bud_1", Start: w.Start, End: w.End, Amount: 500}}
	if _, err := before.Grant(t.Context(), "org_1", lacks); err != nil {
		t.Fatal(err)
	}
	young := postgres.NewLedger(b.open(postgres.RoleMetering))
	second, err := young.TakeOver(t.Context())
	if err != nil || second != first+1 {
		t.Fatalf("epoch %d, %v; want %d", second, err, first+1)
	}
	if err := before.Record(t.Context(), recorded(t, anEvent(2))); !errors.Is(err, usage.ErrFenced) {
		t.Errorf("the old process records: %v; want ErrFenced", err)
	}
	if _, err := before.Grant(t.Context(), "org_1", lacks); !errors.Is(err, usage.ErrFenced) {
		t.Errorf("the old process is granted: %v; want ErrFenced", err)
	}
	if _, err := old.Book(t.Context(), []*usage.Event{anEvent(1)}); !errors.Is(err, usage.ErrFenced) {
		t.Errorf("the old process books: %v; want ErrFenced", err)
	}
	if err := old.Reclaim(t.Context(), first); !errors.Is(err, usage.ErrFenced) {
		t.Errorf("the old process reclaims: %v; want ErrFenced", err)
	}
	if got, want := b.window("bud_1"), "2026-10-01 00:00 0 500"; got != want {
		t.Errorf("after the old process's tries: %q; want %q", got, want)
	}
	e := anEvent(1) // what it left in the inbox
	e.Holds = []usage.Held{{Budget: "bud_1", Start: w.Start, End: w.End, Amount: 30}}
	if _, err := young.Book(t.Context(), []*usage.Event{e}); err != nil {
		t.Fatal(err)
	}
	if err := young.Reclaim(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if got, want := b.window("bud_1"), "2026-10-01 00:00 30 30"; got != want {
		t.Errorf("reclaimed: %q; want %q: granted := spent", got, want)
	}
	after := postgres.NewInbox(gateway, &second)
	if err := after.Record(t.Context(), recorded(t, anEvent(3))); err != nil {
		t.Error(err)
	}
	g, err := after.Grant(t.Context(), "org_1", lacks)
	if err != nil || g[0].Granted != 530 || g[0].Spent != 30 {
		t.Errorf("granted %+v, %v; want 500 on top of the 30 spent", g, err)
	}
	if err := b.inbox.Record(t.Context(), recorded(t, anEvent(4))); err != nil {
		t.Errorf("a process whose limits are shared is fenced: %v", err)
	}
}

// A record that is being committed holds the epoch: taking over waits for it, and
// then finds it in the inbox.
func TestTakingOverWaitsForWhatIsBeingRecorded(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	first, err := b.ledger.TakeOver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), b.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), `BEGIN`); err != nil {
		t.Fatal(err)
	}
	r := recorded(t, anEvent(1))[0]
	if _, err := conn.Exec(t.Context(), `SELECT analytics.record($1, $2, $3, $4)`, first, []string{r.OrgID}, []string{r.ID}, [][]byte{r.Body}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	young := postgres.NewLedger(b.open(postgres.RoleMetering))
	go func() { _, err := young.TakeOver(t.Context()); done <- err }()
	b.someoneWaits(done)
	if _, err := conn.Exec(t.Context(), `COMMIT`); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if pending, err := young.Pending(t.Context(), 10); err != nil || len(pending) != 1 {
		t.Errorf("%d pending, %v; want the one", len(pending), err)
	}
}

// What a backend says beside its counts must never cost the bill.
func TestAnyUsageBlockThatIsJSONIsBooked(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	blocks := []string{`{"x":1e999999}`, `{"x":"\u0000"}`, `{"x":-0.0000000000000000000000000000000000001e-99999}`, `{"x":` + strings.Repeat("9", 2000) + `}`}
	for i, raw := range blocks {
		e := anEvent(i)
		e.Raw = []byte(raw)
		b.book(e)
		got := b.scalar(fmt.Sprintf(`SELECT raw_usage FROM analytics.usage_events WHERE event_id = '%s'`, e.ID))
		if got != raw {
			t.Errorf("%.40s is kept as %.40s", raw, got)
		}
	}
}

// Sums that no number holds are one organisation's affair.
func TestAnOrganizationThatCantBeFoldedLeavesTheOthersAlone(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	for n, cost := range []int64{1 << 62, 1 << 62, 1 << 62, 100} {
		e := anEvent(n)
		if e.Cost = money.Nano(cost); n == 3 {
			e.OrgID, e.ProjectID = "org_2", "proj_2"
		}
		b.book(e)
	}
	for range 2 {
		if _, err := b.ledger.Fold(t.Context()); err == nil || !strings.Contains(err.Error(), "org_1") || strings.Contains(err.Error(), "org_2") {
			t.Errorf("%v; want that org_1 can't be folded", err)
		}
	}
	if got := b.scalar(`SELECT (SELECT string_agg(org_id || ' ' || cost_nano, ', ') FROM analytics.usage_minutes) || ', ' || (SELECT count(*) FROM analytics.usage_deltas)`); got != "org_2 100, 3" {
		t.Errorf("folded, and deltas left: %s; want those of org_2, and 3", got)
	}
}

// try runs statements in a session of their own.
func (f *fixture) try(sql string) error {
	f.t.Helper()
	conn, err := pgx.Connect(f.t.Context(), f.url)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(f.t.Context())) }()
	_, err = conn.Exec(f.t.Context(), sql)
	return err
}

// A closed month stays closed, whoever writes.
func TestTheDatabaseKeepsAMonthClosed(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	b.book(anEvent(1))
	b.exec(`UPDATE analytics.accounting SET open_period = '2026-11-01' WHERE org_id = 'org_1'`)
	entry := func(kind, period string) string {
		return fmt.Sprintf(`INSERT INTO analytics.ledger_entries (org_id, event_id, kind, admitted_at, accounting_period, project_id, api_key_id, model, price_id,
			requests, input_tokens, cached_input_tokens, output_tokens, amount_nano, currency)
			VALUES ('org_1', '%[1]s %[2]s', '%[1]s', '2026-10-12T11:00:00Z', '%[2]s', 'p', 'k', 'm', 'pr', 1, 10, 0, 5, 77, 'USD')`, kind, period)
	}
	for _, role := range []string{"", "SET ROLE aiaas_metering; ", "SET ROLE aiaas_billing; SET app.org_id = 'org_1'; "} {
		for _, sql := range []string{
			`UPDATE analytics.accounting SET open_period = '2026-10-01' WHERE org_id = 'org_1'`,
			`DELETE FROM analytics.accounting WHERE org_id = 'org_1'`,
			entry("usage", "2026-10-01"), entry("adjustment", "2026-10-01"), entry("adjustment", "2026-11-01"),
		} {
			if err := b.try(role + sql); err == nil {
				t.Errorf("%s%s: it is taken", role, sql)
			}
		}
	}
	if err := b.try("SET ROLE aiaas_metering; " + entry("usage", "2026-11-01")); err != nil {
		t.Errorf("an entry of the open month: %v", err)
	}
}
