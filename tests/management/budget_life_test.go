package management_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/admission"
	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/pricing"
	"github.com/aiaas/aiaas/shared/usage"
)

// life is what a random sequence of requests, changes and bookings does to the
// budgets of one organisation, beside a model of it that counts by itself.
type life struct {
	*platform
	rt      *rapid.T
	n       tenant
	service *admission.Service
	limiter admission.Limiter
	inbox   *postgres.Inbox
	ledger  *postgres.Ledger
	budgets []*modelled
	all     []*request
	told    []*message
	ids     int
}

// modelled is a budget as the model knows it.
type modelled struct {
	budget.Budget
	archived bool
	most     int64 // the highest limit so far
}

// message is what metering has for the limiter.
type message struct {
	admission.Committed
	events    []*usage.Event
	delivered bool
}

// request is one that was admitted.
type request struct {
	*admission.Request
	event   *usage.Event
	holds   map[string]bool // by budget
	final   bool
	gone    bool // released
	booked  bool
	learned bool // the limiter was told of its booking
}

func (r *request) in(b *modelled) bool {
	return b.Scope.Covers(r.event.ProjectID, r.event.KeyID, r.event.Model)
}

// sums are what the model counts of a window: booked in all, booked and surely
// known to the limiter, and held.
func (l *life) sums(b *modelled, w budget.Window) (booked, known, held int64) {
	for _, r := range l.all {
		if !w.Contains(r.At) || !r.in(b) {
			continue
		}
		amount := b.Unit.Amount(r.event.Cost, pricing.Usage{InputTokens: r.event.Input})
		switch {
		case r.booked:
			booked += amount
			if r.holds[b.ID] || r.learned {
				known += amount
			}
		case r.holds[b.ID] && !r.gone && r.final:
			held += amount
		case r.holds[b.ID] && !r.gone:
			for _, h := range r.Holds {
				if h.Budget == b.ID {
					held += h.Amount
				}
			}
		}
	}
	return booked, known, held
}

// blocking are the budgets that a request of now must fit into.
func (l *life) blocking(model string) []*modelled {
	var out []*modelled
	for _, b := range l.budgets {
		if !b.archived && b.Action == budget.Block && b.Scope.Covers("", "", model) {
			out = append(out, b)
		}
	}
	return out
}

// ask asks for admission as the data plane does: by the budgets that it reads, and
// again where that view is old.
func (l *life) ask(model string, at time.Time, amount int64) (*request, error) {
	l.ids++
	r := &request{Request: &admission.Request{ID: fmt.Sprintf("req_%s_%d", l.n.org, l.ids), Org: l.n.org, At: at}, holds: map[string]bool{}}
	for {
		r.Version = l.limiter.Latest()
		view, err := l.inbox.Governing(l.t.Context(), l.n.org)
		if err != nil {
			return nil, err
		}
		r.Holds = nil
		for _, b := range view.Blocking {
			if !b.Scope.Covers("", "", model) {
				continue
			}
			w := b.WindowAt(at)
			hold := b.Unit.Amount(0, pricing.Usage{InputTokens: amount})
			r.Holds = append(r.Holds, admission.Hold{Budget: b.ID, Start: w.Start, End: w.End, Amount: hold})
			r.holds[b.ID] = true
		}
		if _, err = l.service.Admit(l.t.Context(), r.Request); !errors.Is(err, admission.ErrStale) {
			return r, err
		}
	}
}

// admit asks, and holds the answer to the rules: refused only where the worst case
// does not fit beside all that is booked and held, admitted only where it fits
// beside what was admitted under a hold.
func (l *life) admit() {
	model := rapid.SampledFrom([]string{"m", "other"}).Draw(l.rt, "model")
	amount := rapid.Int64Range(1, 60).Draw(l.rt, "amount")
	late := rapid.SampledFrom([]time.Duration{0, 0, 0, time.Second, 20 * time.Minute}).Draw(l.rt, "late")
	at := l.clock.Now().Add(-late)
	if at.Before(l.budgets[0].CreatedAt) {
		at = l.clock.Now()
	}
	r, err := l.ask(model, at, amount)
	fits, allowed, why := true, true, ""
	for _, b := range l.blocking(model) {
		booked, known, held := l.sums(b, b.WindowAt(at))
		hold := b.Unit.Amount(0, pricing.Usage{InputTokens: amount})
		fits = fits && booked+held+hold <= b.Amount
		allowed = allowed && known+held+hold <= b.Amount
		why += fmt.Sprintf(" %s: %d booked, %d known, %d held, %d asked for, limit %d;", b.ID, booked, known, held, hold, b.Amount)
	}
	switch {
	case err == nil && !allowed:
		l.rt.Fatalf("admitted, though it does not fit:%s", why)
	case fault.Is(err, fault.BudgetExceeded) && fits:
		l.rt.Fatalf("refused, though it fits: %v;%s", err, why)
	case err != nil && !fault.Is(err, fault.BudgetExceeded):
		l.rt.Fatalf("admit: %v", err)
	case err == nil:
		for _, b := range l.blocking(model) {
			if !r.holds[b.ID] {
				l.rt.Fatalf("admitted without a hold on %s", b.ID)
			}
		}
		r.event = &usage.Event{
			ID: r.ID, OrgID: r.Org, ProjectID: l.n.project, KeyID: l.n.keyID, Model: model, BackendID: "be", PriceID: "pr", Endpoint: "e", AdmittedAt: at,
			Period: "2026-10-01", Outcome: usage.Complete, Input: amount, Currency: "USD", Status: 200,
		}
		l.all = append(l.all, r)
	}
}

// pick is a request that passes, or nil.
func (l *life) pick(fit func(*request) bool) *request {
	var some []*request
	for _, r := range l.all {
		if fit(r) {
			some = append(some, r)
		}
	}
	if len(some) == 0 {
		return nil
	}
	return some[rapid.IntRange(0, len(some)-1).Draw(l.rt, "which")]
}

func running(r *request) bool { return !r.final && !r.gone }

// end settles a request at a random cost up to its bound, or releases it.
func (l *life) end() {
	r := l.pick(running)
	if r == nil {
		return
	}
	if rapid.IntRange(0, 4).Draw(l.rt, "released") == 0 {
		r.gone = true
		l.must(l.service.Release(l.t.Context(), r.Org, r.ID))
		return
	}
	l.finish(r, rapid.Int64Range(0, r.event.Input).Draw(l.rt, "cost"))
}

func (l *life) finish(r *request, cost int64) {
	r.final, r.event.Input = true, cost
	amounts := make([]int64, len(r.Holds))
	for i, h := range r.Holds {
		amounts[i] = l.unit(h.Budget).Amount(0, pricing.Usage{InputTokens: cost})
		r.event.Holds = append(r.event.Holds, usage.Held{Budget: h.Budget, Start: h.Start, End: h.End, Amount: amounts[i]})
	}
	l.must(l.service.Finish(l.t.Context(), admission.Final{ID: r.ID, Org: r.Org, Amounts: amounts}))
}

func (l *life) unit(id string) budget.Unit {
	for _, b := range l.budgets {
		if b.ID == id {
			return b.Unit
		}
	}
	l.rt.Fatalf("no budget %s", id)
	return ""
}

// book books some of what is settled, and some again. The limiter hears of it
// later, if at all.
func (l *life) book() {
	var events []*usage.Event
	var fresh []*request
	for _, r := range l.all {
		if r.final && rapid.IntRange(0, 2).Draw(l.rt, "in the batch") > 0 {
			events, fresh = append(events, r.event), append(fresh, r)
		}
	}
	l.bookAll(events, fresh)
}

func (l *life) bookAll(events []*usage.Event, requests []*request) {
	if len(events) == 0 {
		return
	}
	out, err := l.ledger.Book(l.t.Context(), events)
	l.must(err)
	c := &message{Committed: admission.Committed{Org: l.n.org, Windows: out.Windows[l.n.org]}, events: events}
	for i, r := range requests {
		r.booked = true
		if len(events[i].Holds) > 0 {
			c.IDs = append(c.IDs, r.ID)
		}
	}
	l.told = append(l.told, c)
}

// tell delivers one of metering's messages: any of them, any number of times.
func (l *life) tell() {
	if len(l.told) > 0 {
		l.deliver(l.told[rapid.IntRange(0, len(l.told)-1).Draw(l.rt, "message")])
	}
}

func (l *life) deliver(m *message) {
	m.delivered = true
	l.must(l.limiter.Commit(l.t.Context(), m.Committed))
}

// overtaken is what of a window may count twice, because a newer sum was told before
// the messages that drop what it has: only until they come, and only for display.
func (l *life) overtaken(b *modelled, w budget.Window) (sum int64) {
	newest := -1
	for i, m := range l.told {
		if m.delivered {
			newest = i
		}
	}
	for i := range newest {
		if l.told[i].delivered {
			continue
		}
		for _, e := range l.told[i].events {
			if w.Contains(e.AdmittedAt) && b.Scope.Covers(e.ProjectID, e.KeyID, e.Model) {
				sum += b.Unit.Amount(e.Cost, e.Tokens())
			}
		}
	}
	return sum
}

// change changes a budget over HTTP: raises it, cuts it, turns it.
func (l *life) change() {
	b := rapid.SampledFrom(l.budgets).Draw(l.rt, "budget")
	if b.archived {
		return
	}
	var body string
	if rapid.Bool().Draw(l.rt, "amount") {
		b.Amount = rapid.Int64Range(0, 300).Draw(l.rt, "to")
		b.most = max(b.most, b.Amount)
		body = fmt.Sprintf(`"amount":"%d"`, b.Amount)
	} else {
		b.Action = rapid.SampledFrom([]budget.Action{budget.Block, budget.Block, budget.Monitor, budget.Warn}).Draw(l.rt, "action")
		body = fmt.Sprintf(`"action":"%s"`, b.Action)
	}
	l.do("PATCH", "/v1/budgets/"+b.ID, l.n.admin, "{"+body+"}").want(200)
}

func (l *life) must(err error) {
	if err != nil {
		l.rt.Fatal(err)
	}
}

// check compares what the API and the database show with the model.
func (l *life) check() {
	for _, b := range l.budgets {
		if b.archived {
			continue
		}
		w := b.WindowAt(l.clock.Now())
		booked, known, held := l.sums(b, w)
		v := l.do("GET", "/v1/budgets/"+b.ID, l.n.reader, "").want(200)
		spent, taken := number(l.rt, v["spent"]), number(l.rt, v["spent"])+number(l.rt, v["held"])
		if spent != booked || taken > booked+held+l.overtaken(b, w) || taken < known+held {
			l.rt.Fatalf("%s shows %v spent, %v held; want %d booked, %d held", b.ID, v["spent"], v["held"], booked, held)
		}
		if rest := number(l.rt, v["remaining"]); rest != max(0, b.Amount-taken) {
			l.rt.Fatalf("%s shows %v remaining of %d, with %d taken", b.ID, v["remaining"], b.Amount, taken)
		}
	}
	wrong := "b.action = 'block' AND w.spent > w.granted"
	for _, b := range l.budgets {
		wrong += fmt.Sprintf(" OR b.budget_id = '%s' AND w.granted > greatest(w.spent, %d)", b.ID, b.most)
	}
	if bad := l.scalar(`SELECT coalesce(string_agg(concat_ws(' ', budget_id, w.spent, w.granted, b.amount), ', '), '')
		FROM analytics.budget_windows w JOIN analytics.budgets b USING (org_id, budget_id) WHERE org_id = '` + l.n.org + `' AND (` + wrong + `)`); bad != "" {
		l.rt.Fatalf("spent beyond what was granted, or granted beyond every limit: %s", bad)
	}
}

func number(rt *rapid.T, v any) int64 {
	n, err := strconv.ParseInt(fmt.Sprint(v), 10, 64)
	if err != nil {
		rt.Fatal(err)
	}
	return n
}

// settle ends everything, delivers everything, and looks at what is left: nothing
// is held, each event is counted once, and what is left is had to the last unit.
func (l *life) settle() {
	var events []*usage.Event
	var requests []*request
	for _, r := range l.all {
		if running(r) {
			l.finish(r, r.event.Input)
		}
		if r.final {
			events, requests = append(events, r.event), append(requests, r)
		}
	}
	l.bookAll(events, requests)
	for _, c := range slices.Backward(l.told) { // the newest first
		l.deliver(c)
	}
	for _, r := range l.all {
		r.learned = r.booked
	}
	if left := l.limiter.Finals(l.n.org); len(left) != 0 {
		l.rt.Fatalf("settled and not let go of: %v", left)
	}
	l.check()
	for _, model := range []string{"m", "other"} {
		l.lastUnit(model)
	}
}

// lastUnit asks for exactly what is left, and for one more.
func (l *life) lastUnit(model string) {
	left := int64(1 << 40)
	blocking := l.blocking(model)
	for _, b := range blocking {
		booked, _, held := l.sums(b, b.WindowAt(l.clock.Now()))
		switch room := b.Amount - booked - held; {
		case held != 0:
			l.rt.Fatalf("%d are still held on %s", held, b.ID)
		case b.Unit == budget.Tokens:
			left = min(left, room)
		case room < 1:
			left = 0
		}
	}
	if len(blocking) == 0 || left == 1<<40 {
		return
	}
	if left > 0 {
		r, err := l.ask(model, l.clock.Now(), left)
		if err != nil {
			l.rt.Fatalf("%d are left and can't be had: %v", left, err)
		}
		l.must(l.service.Release(l.t.Context(), r.Org, r.ID))
	}
	if _, err := l.ask(model, l.clock.Now(), max(left, 0)+1); !fault.Is(err, fault.BudgetExceeded) {
		l.rt.Fatalf("one more than the %d that are left: %v; want it refused", left, err)
	}
}

// Whatever happens to budgets that block, in any order: nothing is spent beyond the
// limits that were in force, nothing is refused that fits, nothing counts twice.
func TestBudgetsThroughAnyLife(t *testing.T) {
	t.Parallel()
	p := start(t)
	service, err := open.Admission(t.Context(), p.env)
	must(t, err)
	limiter, err := open.Limiter(t.Context(), p.env)
	must(t, err)
	inbox, err := open.Inbox(t.Context(), p.env)
	must(t, err)
	ledger, err := open.Ledger(t.Context(), p.env)
	must(t, err)
	steps := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		l := &life{platform: p, rt: rt, n: p.tenant("life"), service: service, limiter: limiter, inbox: inbox, ledger: ledger}
		// Before the night in which the clocks of Berlin go back.
		p.clock.at.Store(time.Date(2026, 10, 24, 18, 0, 0, 0, time.UTC).UnixMicro())
		l.create("tokens", `{"organization":true}`, "day", 200)
		l.create("tokens", `{"model":"m"}`, "month", 150)
		l.create("requests", `{"organization":true}`, "once", 12)
		for range rapid.IntRange(5, 40).Draw(rt, "steps") {
			step := rapid.SampledFrom([]string{"admit", "admit", "admit", "end", "end", "book", "tell", "change", "wait", "delete"}).Draw(rt, "step")
			steps[step]++
			switch step {
			case "admit":
				l.admit()
			case "end":
				l.end()
			case "book":
				l.book()
			case "tell":
				l.tell()
			case "change":
				l.change()
			case "wait":
				p.clock.advance(rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, time.Hour, 5 * time.Hour}).Draw(rt, "so long"))
			case "delete":
				if b := rapid.SampledFrom(l.budgets).Draw(rt, "budget"); b != l.budgets[0] && rapid.IntRange(0, 9).Draw(rt, "sure") == 0 {
					p.do("DELETE", "/v1/budgets/"+b.ID, l.n.admin, "").want(204)
					b.archived = true
				}
			}
			if rapid.IntRange(0, 2).Draw(rt, "look") == 0 {
				l.check()
			}
		}
		l.settle()
	})
	t.Logf("steps: %v", steps)
	for _, name := range slices.Sorted(maps.Keys(steps)) {
		if steps[name] == 0 {
			t.Errorf("no step was %s", name)
		}
	}
}

func (l *life) create(unit, scope, period string, amount int64) {
	v := l.do("POST", "/v1/budgets", l.n.admin, fmt.Sprintf(`{"scope":%s,"unit":"%s","amount":"%d","period":"%s","action":"block"}`, scope, unit, amount, period)).want(201)
	b := &modelled{most: amount, Budget: budget.Budget{
		ID: member[string](v, "id"), OrgID: l.n.org, Unit: budget.Unit(unit), Amount: amount, Period: budget.Period(period), Action: budget.Block, CreatedAt: l.clock.Now(),
	}}
	zone, err := time.LoadLocation("Europe/Berlin")
	l.must(err)
	b.TimeZone = zone
	if scope == `{"model":"m"}` {
		b.Scope.Model = "m"
	}
	l.budgets = append(l.budgets, b)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
