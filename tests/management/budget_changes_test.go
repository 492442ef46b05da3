package management_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/shared/admission"
	"github.com/aiaas/aiaas/shared/fault"
)

const aCap = `{"scope":{"organization":true},"unit":"tokens","amount":"100","period":"month","action":"block"}`

func TestABudgetIsShownChangedAndDeleted(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.used(p.one, "2026-10-05T00:00:00Z", use{"m", p.one.keyID, 30, 0, 10, 5})
	id := member[string](p.do("POST", "/v1/budgets", p.one.admin, aCap).want(201), "id")
	path := "/v1/budgets/" + id
	shows := func(when, want string) {
		t.Helper()
		v := p.do("GET", path, p.one.reader, "").want(200)
		if got := fmt.Sprint(v["amount"], " ", v["action"], " ", v["thresholds"], " ", v["spent"], " ", v["held"], " ", v["remaining"]); got != want {
			t.Errorf("%s: %s; want %s", when, got, want)
		}
		if listed := items(p.do("GET", "/v1/budgets", p.one.reader, "").want(200)); len(listed) != 1 || fmt.Sprint(listed[0]) != fmt.Sprint(v) {
			t.Errorf("%s: listed as %v, shown as %v", when, listed, v)
		}
	}
	shows("made", "100 block [50 80 100] 40 0 60")
	for _, c := range []struct{ body, want string }{
		{`{"amount":"250"}`, "250 block [50 80 100] 40 0 210"},
		{`{"action":"warn"}`, "250 warn [50 80 100] 40 0 210"},
		{`{"thresholds":[90,10,90]}`, "250 warn [10 90] 40 0 210"},
		{`{}`, "250 warn [10 90] 40 0 210"},
		{`{"amount":"10","action":"block","thresholds":[100]}`, "10 block [100] 40 0 0"},
	} {
		v := p.do("PATCH", path, p.one.admin, c.body).want(200)
		shows(c.body, c.want)
		if after := p.do("GET", path, p.one.admin, "").want(200); fmt.Sprint(after) != fmt.Sprint(v) {
			t.Errorf("%s: answered %v, shown %v", c.body, v, after)
		}
	}
	got := p.scalar(`SELECT string_agg(concat_ws(' ', detail #>> '{before,amount}', detail #>> '{before,action}', detail #>> '{after,amount}', detail #>> '{after,action}', detail #> '{after,thresholds}', actor), '; ' ORDER BY audit_id)
		FROM analytics.audit_records WHERE action = 'budget.change' AND target = '` + id + `'`)
	want := strings.ReplaceAll("100 block 250 block [50, 80, 100] K; 250 block 250 warn [50, 80, 100] K; 250 warn 250 warn [10, 90] K; 250 warn 10 block [100] K", "K", p.one.keyID)
	if got != want {
		t.Errorf("audited %q; want %q: what changed nothing leaves no record", got, want)
	}
	for range 2 {
		p.do("DELETE", path, p.one.admin, "").want(204)
	}
	p.do("GET", path, p.one.admin, "").refused(404, "not_found")
	p.do("PATCH", path, p.one.admin, `{"amount":"1"}`).refused(404, "not_found")
	if listed := items(p.do("GET", "/v1/budgets", p.one.reader, "").want(200)); len(listed) != 0 {
		t.Errorf("still listed: %v", listed)
	}
	if n := p.scalar(`SELECT count(*)::text FROM analytics.audit_records WHERE action = 'budget.delete' AND target = '` + id + `'`); n != "1" {
		t.Errorf("%s records of its deletion", n)
	}
}

func TestWhatABudgetCanBeChangedTo(t *testing.T) {
	t.Parallel()
	p := start(t)
	id := member[string](p.do("POST", "/v1/budgets", p.one.admin, aCap).want(201), "id")
	for body, status := range map[string]int{
		`{"amount":""}`: 422, `{"amount":"-1"}`: 422, `{"amount":"0.5"}`: 422, `{"amount":1}`: 422, `{"amount":"1e3"}`: 422,
		`{"amount":"9223372036854775808"}`: 422, `{"action":"stop"}`: 422, `{"thresholds":[]}`: 422,
		`{"thresholds":[0]}`: 422, `{"thresholds":[1001]}`: 422, `{"thresholds":[` + strings.Repeat("1,", 20) + `1]}`: 422,
		`{"unit":"money"}`: 422, `{"period":"day"}`: 422, `{"scope":{"organization":true}}`: 422, `{"spent":"0"}`: 422, `{"archived_at":null}`: 422,
		`{"amount":"1","amount":"2"}`: 400, `{"amount":null,"action":null,"thresholds":null}`: 200, // as if left out
	} {
		if a := p.do("PATCH", "/v1/budgets/"+id, p.one.admin, body); a.Code != status {
			t.Errorf("%s: %d %s; want %d", body, a.Code, a.Body, status)
		}
	}
	foreign := "/v1/budgets/" + id
	p.do("GET", foreign, p.two.admin, "").refused(404, "not_found")
	p.do("PATCH", foreign, p.two.admin, `{"amount":"1"}`).refused(404, "not_found")
	p.do("DELETE", foreign, p.two.admin, "").refused(404, "not_found")
	p.do("GET", foreign+"/alerts", p.two.admin, "").refused(404, "not_found")
	p.do("PATCH", foreign, p.one.reader, `{"amount":"1"}`).refused(403, "forbidden")
	p.do("DELETE", foreign, p.one.reader, "").refused(403, "forbidden")
	if got := p.scalar(`SELECT concat_ws(' ', amount, action, archived_at IS NULL) FROM analytics.budgets`); got != "100 block t" {
		t.Errorf("the budget is %q now", got)
	}
}

func TestAlertsAreListedByPage(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.used(p.one, "2026-10-05T00:00:00Z", use{"m", p.one.keyID, 70, 0, 15, 5})
	id := member[string](p.do("POST", "/v1/budgets", p.one.admin, aCap).want(201), "id")
	p.do("PATCH", "/v1/budgets/"+id, p.one.admin, `{"amount":"85"}`).want(200)
	p.do("PATCH", "/v1/budgets/"+id, p.one.admin, `{"amount":"84"}`).want(200)
	p.do("DELETE", "/v1/budgets/"+id, p.one.admin, "").want(204)
	path, seen := "/v1/budgets/"+id+"/alerts?limit=2", ""
	for cursor := ""; ; {
		v := p.do("GET", path+cursor, p.one.reader, "").want(200)
		for _, a := range items(v) {
			seen += fmt.Sprint(member[any](a, "threshold"), "% at ", member[string](a, "spent"), " of ", member[string](a, "amount"), "; ")
			if got := fmt.Sprint(member[any](a, "window")); got != "map[end:2026-10-31T23:00:00Z start:2026-09-30T22:00:00Z]" ||
				member[string](a, "budget_id") != id || !strings.HasPrefix(member[string](a, "id"), "balert_") {
				t.Errorf("alert %v", a)
			}
		}
		next := member[string](v, "next_cursor")
		if next == "" {
			break
		}
		cursor = "&cursor=" + next
	}
	if want := "50% at 85 of 100; 80% at 85 of 100; 100% at 85 of 85; "; seen != want {
		t.Errorf("alerts %q; want %q", seen, want)
	}
	p.do("GET", "/v1/budgets/bud_x/alerts", p.one.reader, "").refused(404, "not_found")
	p.do("GET", path+"&cursor=forged", p.one.reader, "").refused(400, "invalid_request")
}

// The clock stands still: nothing of this waits for what is remembered of
// exhaustion to pass.
func TestAChangedLimitBindsFromItsAnswerOn(t *testing.T) {
	t.Parallel()
	p := start(t)
	service, err := open.Admission(t.Context(), p.env)
	must(t, err)
	limiter, err := open.Limiter(t.Context(), p.env)
	must(t, err)
	v := p.do("POST", "/v1/budgets", p.one.admin, aCap).want(201)
	path := "/v1/budgets/" + member[string](v, "id")
	window := member[map[string]any](v, "window")
	begin, _ := time.Parse(time.RFC3339, member[string](window, "start"))
	end, _ := time.Parse(time.RFC3339, member[string](window, "end"))
	n := 0
	ask := func(amount int64) error {
		n++
		_, err := service.Admit(t.Context(), &admission.Request{
			ID: fmt.Sprint("req_", n), Org: p.one.org, Version: limiter.Latest(), At: p.clock.Now(),
			Holds: []admission.Hold{{Budget: member[string](v, "id"), Start: begin, End: end, Amount: amount}},
		})
		return err
	}
	admitted := func(when string, amount int64, want bool) {
		t.Helper()
		if err := ask(amount); (err == nil) != want || err != nil && !fault.Is(err, fault.BudgetExceeded) {
			t.Errorf("%s, a request of %d: %v; want it admitted: %t", when, amount, err, want)
		}
	}
	patch := func(body string) { t.Helper(); p.do("PATCH", path, p.one.admin, body).want(200) }
	admitted("at 100", 100, true)
	admitted("full", 1, false)
	patch(`{"amount":"150"}`)
	admitted("raised to 150", 50, true)
	admitted("full again", 1, false)
	patch(`{"amount":"120"}`)
	admitted("cut below what is held", 1, false)
	patch(`{"amount":"151"}`)
	admitted("raised by one", 2, false)
	admitted("raised by one", 1, true)
	patch(`{"amount":"1000"}`)
	admitted("raised", 1, true)
	patch(`{"amount":"153"}`)
	admitted("cut to one more", 2, false)
	admitted("cut to one more", 1, true)
	if shown := p.do("GET", path, p.one.reader, "").want(200); shown["held"] != "153" || shown["remaining"] != "0" {
		t.Errorf("shown %v; want 153 held", shown)
	}
	old := &admission.Request{ID: "old", Org: p.one.org, Version: limiter.Latest(), At: p.clock.Now()}
	patch(`{"action":"monitor"}`)
	if v, err := limiter.Admit(t.Context(), old); err != nil || v.Outcome != admission.Stale {
		t.Errorf("a view from before: %+v, %v; want it stale", v, err)
	}
	patch(`{"action":"block"}`)
	admitted("blocking again, with all still held", 1, false)
	patch(`{"amount":"154"}`)
	admitted("and raised", 1, true)
}
