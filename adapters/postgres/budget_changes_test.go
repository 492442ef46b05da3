package postgres_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/admission"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/money"
	"github.com/aiaas/aiaas/shared/usage"
)

// change changes a budget of org_1 as a caller would.
func (b *books) change(id string, at time.Time, edit func(*budget.Budget)) budget.Changed {
	b.t.Helper()
	out, err := b.store.ChangeBudget(b.t.Context(), "org_1", id, at, b.edit(id, edit))
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

func (b *books) edit(id string, edit func(*budget.Budget)) budget.Edit {
	return budget.Edit{
		Change: func(x budget.Budget) (budget.Budget, *audit.Record, error) {
			edit(&x)
			rec := record(b.t.Context(), "org_1", "budget.change")
			rec.Target = id
			return x, &rec, nil
		},
		Finals: func() []string { return []string{anEvent(1).ID, anEvent(2).ID, "req_running"} },
	}
}

// alerts are those of a budget: window, threshold, spent and amount.
func (b *books) alerts(id string) string {
	b.t.Helper()
	return b.scalar(`SELECT coalesce(string_agg(concat_ws(' ', to_char(window_start AT TIME ZONE 'UTC', 'MM-DD'), threshold, spent, amount), ', '
		ORDER BY window_start, threshold), '') FROM analytics.budget_alerts WHERE budget_id = '` + id + `'`)
}

func costing(n int, cost int64) *usage.Event {
	e := anEvent(n)
	e.Cost = money.Nano(cost)
	return e
}

func TestThresholdsAreRecordedWhereTheyAreCrossed(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	three := func(x *budget.Budget) { x.Thresholds = []int{50, 80, 100} }
	day := func(x *budget.Budget) { x.Period = budget.Day; three(x) }
	b.book(costing(1, 600))
	b.budget("bud_m", budget.Monitor, three)
	b.budget("bud_d", budget.Warn, day)
	b.budget("bud_0", budget.Monitor, func(x *budget.Budget) { x.Amount = 0; x.Scope.Model = "free"; three(x) })
	b.budget("bud_x", budget.Monitor, func(x *budget.Budget) { x.Amount = math.MaxInt64; three(x) })
	b.expectAlerts("at creation, what the seed has reached", map[string]string{"bud_m": "10-01 50 600 1000", "bud_d": "10-12 50 600 1000", "bud_0": "", "bud_x": ""})
	free := costing(2, 0)
	free.Model = "free"
	b.book(costing(3, 199), free)
	b.expectAlerts("one unit before the next", map[string]string{"bud_m": "10-01 50 600 1000", "bud_0": ""})
	b.book(costing(4, 1))
	b.book(costing(4, 1))
	b.expectAlerts("the next, once", map[string]string{"bud_m": "10-01 50 600 1000, 10-01 80 800 1000"})
	next := costing(5, 1000)
	next.AdmittedAt = noon().AddDate(0, 0, 1)
	b.book(next)
	b.expectAlerts("each window has its own", map[string]string{
		"bud_m": "10-01 50 600 1000, 10-01 80 800 1000, 10-01 100 1800 1000",
		"bud_d": "10-12 50 600 1000, 10-12 80 800 1000, 10-13 50 1000 1000, 10-13 80 1000 1000, 10-13 100 1000 1000",
	})
	paid := costing(6, 1)
	paid.Model = "free"
	b.book(paid)
	b.expectAlerts("an amount of 0 is crossed by anything", map[string]string{"bud_0": "10-01 50 1 0, 10-01 80 1 0, 10-01 100 1 0"})

	b.change("bud_d", noon(), func(x *budget.Budget) { x.Amount = 790 })
	b.expectAlerts("a lowered amount, for windows that are not over", map[string]string{
		"bud_d": "10-12 50 600 1000, 10-12 80 800 1000, 10-12 100 801 790, 10-13 50 1000 1000, 10-13 80 1000 1000, 10-13 100 1000 1000",
	})
	b.change("bud_m", noon(), func(x *budget.Budget) { x.Thresholds = []int{100, 180, 200} })
	b.change("bud_m", noon(), func(x *budget.Budget) { x.Amount = 10_000 })
	b.change("bud_m", noon(), func(x *budget.Budget) { x.Amount = 1 })
	b.expectAlerts("other thresholds, and no second time", map[string]string{
		"bud_m": "10-01 50 600 1000, 10-01 80 800 1000, 10-01 100 1800 1000, 10-01 180 1801 1000, 10-01 200 1801 1",
	})
	b.expectAlerts("the largest amount is far", map[string]string{"bud_x": ""})

	list, err := b.store.ListAlerts(t.Context(), "org_1", "bud_m", "", 10)
	if err != nil || len(list) != 5 || !slices.IsSortedFunc(list, func(x, y budget.Alert) int { return strings.Compare(x.ID, y.ID) }) {
		t.Fatalf("%d alerts, %v; want five in the order of their ids", len(list), err)
	}
	if a := list[4]; a.Threshold != 200 || a.Spent != 1801 || a.Amount != 1 || a.Unit != budget.Money || a.BudgetID != "bud_m" ||
		!a.Window.Start.Equal(time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)) || a.At.IsZero() {
		t.Errorf("the last: %+v", a)
	}
	rest, err := b.store.ListAlerts(t.Context(), "org_1", "bud_m", list[1].ID, 2)
	if err != nil || len(rest) != 2 || rest[0] != list[2] || rest[1] != list[3] {
		t.Errorf("the page after the second: %v, %v", rest, err)
	}
	if _, err := b.store.ListAlerts(t.Context(), "org_2", "bud_m", "", 10); !fault.Is(err, fault.NotFound) {
		t.Errorf("a foreign organisation: %v; want NotFound", err)
	}
}

func (b *books) expectAlerts(when string, want map[string]string) {
	b.t.Helper()
	for id, w := range want {
		if got := b.alerts(id); got != w {
			b.t.Errorf("%s: %s has %q; want %q", when, id, got, w)
		}
	}
}

// Fifty bookings at once, each repeated, cross nineteen thresholds of two budgets.
// Each is there once, with a sum that had just reached it.
func TestParallelBookingsRecordEachThresholdOnce(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	var all []int
	for p := 10; p <= 190; p += 10 {
		all = append(all, p)
	}
	b.budget("bud_m", budget.Monitor, func(x *budget.Budget) { x.Amount = 5000; x.Thresholds = all })
	b.budget("bud_b", budget.Block, func(x *budget.Budget) { x.Amount = 5000; x.Thresholds = all })
	var wg sync.WaitGroup
	for n := range 50 {
		events := []*usage.Event{costing(2*n, 100), costing(2*n+1, 100)}
		for _, e := range events {
			w := aBudget("").WindowAt(e.AdmittedAt)
			e.Holds = []usage.Held{{Budget: "bud_b", Start: w.Start, End: w.End, Amount: 100}}
		}
		wg.Go(func() {
			for range 3 {
				b.bookUntilDone(events...)
			}
		})
	}
	wg.Wait()
	for _, id := range []string{"bud_m", "bud_b"} {
		if got, want := b.window(id), "2026-10-01 00:00 10000 10000"; got != want {
			t.Errorf("%s: %q; want %q", id, got, want)
		}
		list, err := b.store.ListAlerts(t.Context(), "org_1", id, "", 100)
		if err != nil || len(list) != len(all) {
			t.Fatalf("%s: %d alerts, %v; want %d", id, len(list), err, len(all))
		}
		for _, a := range list {
			reached := int64(a.Threshold) * 50
			if a.Spent < reached || a.Spent >= reached+200 { // a batch adds 200 at most
				t.Errorf("%s: %d %% is recorded at %d; it is reached at %d", id, a.Threshold, a.Spent, reached)
			}
		}
	}
}

// bookUntilDone books although others lock the same rows.
func (b *books) bookUntilDone(events ...*usage.Event) {
	for b.t.Context().Err() == nil {
		_, err := b.ledger.Book(b.t.Context(), events)
		if err == nil {
			return
		}
		if !fault.Is(err, fault.Unavailable) {
			b.t.Error(err)
			return
		}
	}
}

// While many book, the amount and the thresholds change all the time. In the end
// nothing that is reached is missing: no crossing falls between the two.
func TestNoCrossingIsLostBetweenABookingAndAChange(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	b.budget("bud_1", budget.Monitor, func(x *budget.Budget) { x.Amount = 100_000; x.Thresholds = []int{1} })
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for n := range 25 {
				b.bookUntilDone(costing(100*w+n, 100))
			}
		})
	}
	wg.Go(func() {
		for n := range 30 { // lower and lower: at 10,000 spent every threshold is reached in the end
			b.change("bud_1", noon(), func(x *budget.Budget) { x.Amount = int64(100_000 - 3000*n); x.Thresholds = []int{1 + n, 50 + n} })
		}
	})
	wg.Wait()
	b.change("bud_1", noon(), func(x *budget.Budget) { x.Amount = 10_000; x.Thresholds = []int{30, 79, 80, 100} })
	got := b.scalar(`SELECT string_agg(threshold::text, ' ' ORDER BY threshold) FROM analytics.budget_alerts WHERE threshold IN (30, 79, 80, 100, 101)`)
	if got != "30 79 80 100" {
		t.Errorf("recorded %q; want 30 79 80 100", got)
	}
	for _, bad := range []string{
		`SELECT count(*)::text FROM analytics.budget_alerts WHERE spent::numeric * 100 < amount::numeric * threshold`,
		`SELECT (count(*) - count(DISTINCT threshold))::text FROM analytics.budget_alerts`,
	} {
		if n := b.scalar(bad); n != "0" {
			t.Errorf("%s: %s", bad, n)
		}
	}
}

func TestAChangeReturnsTheWindowsThatItBinds(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	b.budget("bud_1", budget.Block, func(x *budget.Budget) { x.Period = budget.Day })
	day := func(n int) budget.Window {
		return budget.Budget{Period: budget.Day}.WindowAt(noon().AddDate(0, 0, n))
	}
	for n := -1; n <= 1; n++ {
		w := day(n)
		if _, err := b.inbox.Grant(t.Context(), "org_1", []admission.Lack{{Budget: "bud_1", Start: w.Start, End: w.End, Amount: 100}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		at   time.Time
		want []budget.Window
	}{
		{day(0).Start, []budget.Window{day(-1), day(0), day(1)}}, // who came before midnight may still be admitted
		{noon(), []budget.Window{day(0), day(1)}},
		{noon().AddDate(0, 0, 2), nil},
	} {
		got := b.change("bud_1", c.at, func(x *budget.Budget) { x.Amount = 70 })
		if len(got.Windows) != len(c.want) {
			t.Fatalf("at %v: %d windows; want %d", c.at, len(got.Windows), len(c.want))
		}
		slices.SortFunc(got.Windows, func(x, y admission.Grant) int { return x.Start.Compare(y.Start) })
		for i, g := range got.Windows {
			if !g.Start.Equal(c.want[i].Start) || g.Granted != 100 || g.Limit != 70 || g.Ceiling() != 70 || g.Budget != "bud_1" {
				t.Errorf("at %v: %+v; want the window of %v", c.at, g, c.want[i].Start)
			}
			last := b.scalar(fmt.Sprintf(`SELECT seq::text FROM analytics.budget_windows WHERE window_start = '%s'`, g.Start.Format(time.RFC3339)))
			if fmt.Sprint(g.Seq) != last {
				t.Errorf("sequence %d; the newest is %s", g.Seq, last)
			}
		}
	}
	if got := b.change("bud_1", noon(), func(x *budget.Budget) { x.Action = budget.Warn }); len(got.Windows) != 0 {
		t.Errorf("one that blocks no more binds %v", got.Windows)
	}
}

// A budget that begins to block starts with what its window has used, and hands
// out nothing more: not what was granted when it blocked before.
func TestABudgetThatBeginsToBlockIsSeeded(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	b.budget("bud_1", budget.Block, nil)
	w := aBudget("").WindowAt(noon())
	lack := []admission.Lack{{Budget: "bud_1", Start: w.Start, End: w.End, Amount: 400}}
	if _, err := b.inbox.Grant(t.Context(), "org_1", lack); err != nil {
		t.Fatal(err)
	}
	b.book(costing(1, 30))
	b.change("bud_1", noon(), func(x *budget.Budget) { x.Action = budget.Monitor })
	if got, err := b.inbox.Grant(t.Context(), "org_1", lack); err != nil || len(got) != 0 {
		t.Errorf("one that monitors is granted %v, %v", got, err)
	}
	b.book(costing(2, 50)) // counted all the same
	if got, want := b.window("bud_1"), "2026-10-01 00:00 80 400"; got != want {
		t.Errorf("%q; want %q", got, want)
	}
	got := b.change("bud_1", noon(), func(x *budget.Budget) { x.Action = budget.Block })
	slices.Sort(got.Booked)
	if !slices.Equal(got.Booked, []string{anEvent(1).ID, anEvent(2).ID}) {
		t.Errorf("its sum has %v; want both events", got.Booked)
	}
	if got.Spent != 80 || len(got.Windows) != 1 || got.Windows[0].Granted != 80 || got.Windows[0].Spent != 80 {
		t.Errorf("begins with %+v; want 80 spent and granted", got)
	}
	if got, want := b.window("bud_1"), "2026-10-01 00:00 80 80"; got != want {
		t.Errorf("%q; want %q", got, want)
	}
	b.budget("bud_2", budget.Warn, func(x *budget.Budget) { x.Period = budget.Day })
	fresh := b.change("bud_2", noon().AddDate(0, 0, 7), func(x *budget.Budget) { x.Action = budget.Block })
	if fresh.Spent != 0 || len(fresh.Windows) != 1 {
		t.Errorf("in a window that nobody used: %+v", fresh)
	}
}

// A grant that is asked for while a limit is being cut waits, and gets the new one;
// one that came before has an older sequence than the cut.
func TestNoGrantPassesACut(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	b.budget("bud_1", budget.Block, nil)
	w := aBudget("").WindowAt(noon())
	lack := []admission.Lack{{Budget: "bud_1", Start: w.Start, End: w.End, Amount: 900}}
	for name, c := range map[string]struct {
		sql  string
		want func([]admission.Grant) bool
	}{
		"cut":      {`UPDATE analytics.budgets SET amount = 50`, func(g []admission.Grant) bool { return len(g) == 1 && g[0].Limit == 50 && g[0].Granted == 50 }},
		"action":   {`UPDATE analytics.budgets SET action = 'warn'`, func(g []admission.Grant) bool { return len(g) == 0 }},
		"archived": {`UPDATE analytics.budgets SET action = 'block', archived_at = now()`, func(g []admission.Grant) bool { return len(g) == 0 }},
	} {
		b.exec(`UPDATE analytics.budgets SET amount = 1000, action = 'block', archived_at = NULL`)
		b.exec(`DELETE FROM analytics.budget_windows`)
		conn, err := pgx.Connect(t.Context(), b.url)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), `BEGIN; `+c.sql); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		var got []admission.Grant
		go func() {
			var err error
			got, err = b.inbox.Grant(t.Context(), "org_1", lack)
			done <- err
		}()
		b.someoneWaits(done)
		if _, err := conn.Exec(t.Context(), `COMMIT`); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil || !c.want(got) {
			t.Errorf("%s: granted %+v, %v", name, got, err)
		}
		_ = conn.Close(t.Context())
	}
}

// The sums of a grant and what it says is booked are of one moment, while others
// book as fast as they can.
func TestAGrantTellsExactlyWhatItsSumsHave(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	b.budget("bud_1", budget.Block, func(x *budget.Budget) { x.Amount = 1 << 40 })
	w := aBudget("").WindowAt(noon())
	const total = 120
	ids := make([]string, total)
	for n := range ids {
		ids[n] = anEvent(n).ID
	}
	booking, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for worker := range 3 {
		wg.Go(func() {
			defer stop()
			for n := worker; n < total; n += 3 {
				e := costing(n, 7)
				e.Holds = []usage.Held{{Budget: "bud_1", Start: w.Start, End: w.End, Amount: 7}}
				b.bookUntilDone(e)
			}
		})
	}
	asked := 0
	for ; asked < 10 || booking.Err() == nil; asked++ {
		g, booked, err := b.inbox.GrantAfter(t.Context(), "org_1",
			[]admission.Lack{{Budget: "bud_1", Start: w.Start, End: w.End, Amount: 1}}, func() []string { return ids })
		if err != nil || len(g) != 1 {
			t.Fatalf("%v, %v", g, err)
		}
		if int64(len(booked))*7 != g[0].Spent {
			t.Fatalf("%d are booked of 7 each; the sum is %d", len(booked), g[0].Spent)
		}
	}
	wg.Wait()
}

func TestAnArchivedBudgetBindsAndCountsNothing(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	b.budget("bud_1", budget.Block, nil)
	b.budget("bud_2", budget.Monitor, nil)
	held := costing(1, 600)
	w := aBudget("").WindowAt(noon())
	held.Holds = []usage.Held{{Budget: "bud_1", Start: w.Start, End: w.End, Amount: 600}}
	b.book(costing(2, 550))
	archive := func(org, id string) error {
		rec := record(t.Context(), org, "budget.delete")
		rec.Target = id
		return b.store.ArchiveBudget(t.Context(), org, id, rec)
	}
	for range 2 {
		if err := archive("org_1", "bud_1"); err != nil {
			t.Fatal(err)
		}
	}
	b.book(held, costing(3, 100)) // the one was held before it was archived
	if got, want := b.window("bud_1"), "2026-10-01 00:00 1150 1150"; got != want {
		t.Errorf("%q; want %q: what was held, and nothing after", got, want)
	}
	if got := b.alerts("bud_1"); got != "10-01 50 550 1000" {
		t.Errorf("alerts %q; want the one from before", got)
	}
	if got, err := b.inbox.Grant(t.Context(), "org_1", []admission.Lack{{Budget: "bud_1", Start: w.Start, End: w.End, Amount: 1}}); err != nil || len(got) != 0 {
		t.Errorf("granted %v, %v", got, err)
	}
	list, err := b.store.ListBudgets(t.Context(), "org_1", noon(), budget.Page{After: "", Limit: 10})
	if err != nil || len(list) != 1 || list[0].ID != "bud_2" {
		t.Errorf("listed %v, %v", list, err)
	}
	if alerts, err := b.store.ListAlerts(t.Context(), "org_1", "bud_1", "", 10); err != nil || len(alerts) != 1 {
		t.Errorf("its history: %v, %v", alerts, err)
	}
	if n := b.scalar(`SELECT count(*)::text FROM analytics.audit_records WHERE action = 'budget.delete'`); n != "1" {
		t.Errorf("%s records of one deletion", n)
	}
	same := func(x *budget.Budget) {}
	_, getErr := b.store.GetBudget(t.Context(), "org_1", "bud_1", noon())
	_, changeErr := b.store.ChangeBudget(t.Context(), "org_1", "bud_1", noon(), b.edit("bud_1", same))
	_, foreignGet := b.store.GetBudget(t.Context(), "org_2", "bud_2", noon())
	_, foreignChange := b.store.ChangeBudget(t.Context(), "org_2", "bud_2", noon(), b.edit("bud_2", same))
	for what, err := range map[string]error{
		"get": getErr, "change": changeErr, "foreign get": foreignGet, "foreign change": foreignChange,
		"foreign delete": archive("org_2", "bud_2"), "delete of what is not there": archive("org_1", "bud_x"),
	} {
		if !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v; want NotFound", what, err)
		}
	}
}
