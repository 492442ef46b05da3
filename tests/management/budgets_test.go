package management_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
)

func (p *platform) exec(sql string) {
	p.t.Helper()
	postgrestest.Exec(p.t, p.url, sql)
}

// use is what one request used.
type use struct {
	model, key                  string
	input, cached, output, cost int64
}

// used puts a booked request into the ledger and the roll-ups, as metering does.
func (p *platform) used(n tenant, at string, u use) {
	p.t.Helper()
	p.exec(fmt.Sprintf(`
		INSERT INTO analytics.accounting (org_id) VALUES ('%[1]s') ON CONFLICT DO NOTHING;
		INSERT INTO analytics.ledger_entries (org_id, event_id, kind, admitted_at, accounting_period, project_id, api_key_id, model, price_id, requests, input_tokens, cached_input_tokens, output_tokens, amount_nano, currency)
		VALUES ('%[1]s', gen_random_uuid()::text, 'usage', '%[2]s', date_trunc('month', '%[2]s'::timestamptz AT TIME ZONE 'Europe/Berlin'), '%[3]s', '%[4]s', '%[5]s', 'p', 1, %[6]d, %[7]d, %[8]d, %[9]d, 'USD');
		INSERT INTO analytics.usage_deltas (org_id, minute, accounting_period, project_id, api_key_id, model, currency, requests, input_tokens, cached_input_tokens, output_tokens, cost_nano)
		VALUES ('%[1]s', date_trunc('minute', '%[2]s'::timestamptz), date_trunc('month', '%[2]s'::timestamptz AT TIME ZONE 'Europe/Berlin'), '%[3]s', '%[4]s', '%[5]s', 'USD', 1, %[6]d, %[7]d, %[8]d, %[9]d)`,
		n.org, at, n.project, u.key, u.model, u.input, u.cached, u.output, u.cost))
}

func TestABudgetStartsWithWhatItsWindowAlreadyHas(t *testing.T) {
	t.Parallel()
	p := start(t)
	const before, at = "2026-09-30T21:59:59.9Z", "2026-09-30T22:00:00Z" // Berlin's October begins at 22:00 UTC
	p.used(p.one, before, use{"m", p.one.keyID, 1, 0, 1, 1})
	p.used(p.one, at, use{"m", p.one.keyID, 100, 10, 50, 1_234_567_891})
	p.used(p.one, "2026-10-05T00:00:00Z", use{"n", "key_other", 7, 0, 3, 1_000_000_009})
	p.used(p.two, at, use{"m", p.two.keyID, 5, 0, 5, 5})
	for _, c := range []struct{ scope, unit, amount, spent string }{
		{`{"organization":true}`, "money", "12.50", "2.2345679"},
		{`{"organization":true}`, "tokens", "1000", "160"},
		{`{"organization":true}`, "requests", "10.00", "2"},
		{`{"project_id":"` + p.one.project + `"}`, "requests", "10", "2"},
		{`{"api_key_id":"` + p.one.keyID + `"}`, "money", "0.000000001", "1.234567891"},
		{`{"model":"n"}`, "tokens", "0", "10"},
		{`{"model":"never used"}`, "tokens", "9", "0"},
	} {
		body := fmt.Sprintf(`{"scope":%s,"unit":"%s","amount":"%s","period":"month","action":"block"}`, c.scope, c.unit, c.amount)
		v := p.do("POST", "/v1/budgets", p.one.admin, body).want(201)
		if v["spent"] != c.spent || fmt.Sprint(v["held"]) == "" || v["currency"] != "USD" || v["time_zone"] != "Europe/Berlin" {
			t.Errorf("%s %s: %v; want spent %s", c.scope, c.unit, v, c.spent)
		}
		if got := fmt.Sprint(v["window"]); got != "map[end:2026-10-31T23:00:00Z start:2026-09-30T22:00:00Z]" {
			t.Errorf("window %s", got)
		}
		if got := fmt.Sprint(v["thresholds"]); got != "[50 80 100]" {
			t.Errorf("thresholds %s", got)
		}
		id := member[string](v, "id")
		if got := p.scalar(`SELECT (spent = granted)::text FROM analytics.budget_windows WHERE budget_id = '` + id + `'`); got != "true" {
			t.Errorf("%s: a blocking budget starts with what was spent handed out, nothing more", id)
		}
		if got := p.scalar(`SELECT action || ' ' || actor FROM analytics.audit_records WHERE action <> 'budget.threshold' AND target = '` + id + `'`); got != "budget.create "+p.one.keyID {
			t.Errorf("audited %q", got)
		}
	}
	list := items(p.do("GET", "/v1/budgets?limit=200", p.one.reader, "").want(200))
	if len(list) != 7 {
		t.Fatalf("%d budgets; want 7", len(list))
	}
	if first, _ := list[0].(map[string]any); first["spent"] != "2.2345679" || first["amount"] != "12.50" || first["held"] != "0.00" || fmt.Sprint(first["scope"]) != "map[organization:true]" {
		t.Errorf("listed as %v", first)
	}
	if other := items(p.do("GET", "/v1/budgets", p.two.reader, "").want(200)); len(other) != 0 {
		t.Errorf("another organisation sees %v", other)
	}
}

func TestAMonitoringBudgetHandsOutNothing(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.used(p.one, "2026-10-12T00:00:00Z", use{"m", p.one.keyID, 1, 0, 1, 5})
	v := p.do("POST", "/v1/budgets", p.one.admin, `{"scope":{"organization":true},"unit":"money","amount":"1","period":"year","action":"monitor","thresholds":[90]}`).want(201)
	if got := p.scalar(`SELECT spent || ' ' || granted FROM analytics.budget_windows WHERE budget_id = '` + member[string](v, "id") + `'`); got != "5 0" {
		t.Errorf("spent and granted %q; want 5 0", got)
	}
}

func TestABudgetForOnceHasNoEnd(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.used(p.one, "2026-10-12T00:00:00Z", use{"m", p.one.keyID, 1, 0, 1, 5})
	v := p.do("POST", "/v1/budgets", p.one.admin, `{"scope":{"organization":true},"unit":"money","amount":"1","period":"once","action":"warn"}`).want(201)
	if got := fmt.Sprint(v["window"]); got != "map[end:<nil> start:2026-10-12T09:30:15Z]" || v["spent"] != "0.00" {
		t.Errorf("window %s, spent %v; want it to begin now, at nothing", got, v["spent"])
	}
	again := items(p.do("GET", "/v1/budgets", p.one.admin, "").want(200))[0]
	if got := fmt.Sprint(member[any](again, "window")); got != "map[end:<nil> start:2026-10-12T09:30:15Z]" {
		t.Errorf("listed with window %s", got)
	}
}

func TestWhatABudgetCanBeCreatedFrom(t *testing.T) {
	t.Parallel()
	p := start(t)
	ok := map[string]string{"scope": `{"organization":true}`, "unit": `"money"`, "amount": `"1"`, "period": `"month"`, "action": `"block"`}
	for _, c := range []struct {
		member, value string
		status        int
	}{
		{"scope", `{}`, 422}, {"scope", `{"organization":false}`, 422}, {"scope", `{"organization":true,"model":"m"}`, 422},
		{"scope", `{"model":"m","project_id":"` + p.one.project + `"}`, 422}, {"scope", `{"model":""}`, 422}, {"scope", `{"organization":"true"}`, 422},
		{"scope", `{"org_id":"` + p.two.org + `"}`, 422}, {"scope", `null`, 422}, {"scope", `[]`, 422},
		{"scope", `{"project_id":"` + p.two.project + `"}`, 404}, {"scope", `{"api_key_id":"` + p.two.keyID + `"}`, 404},
		{"scope", `{"model":"` + long(201) + `"}`, 422},
		{"unit", `"euros"`, 422}, {"unit", `1`, 422},
		{"amount", `1`, 422}, {"amount", `""`, 422}, {"amount", `"-1"`, 422}, {"amount", `"1e3"`, 422}, {"amount", `" 1"`, 422}, {"amount", `"+1"`, 422},
		{"amount", `"1,5"`, 422}, {"amount", `"1.0000000001"`, 422}, {"amount", `"9223372036.854775808"`, 422}, {"amount", `"NaN"`, 422},
		{"amount", `"0x10"`, 422}, {"amount", `"١"`, 422}, {"amount", `"` + long(41) + `"`, 422},
		{"period", `"hour"`, 422}, {"action", `"stop"`, 422},
		{"thresholds", `[0]`, 422}, {"thresholds", `[-5]`, 422}, {"thresholds", `[1001]`, 422}, {"thresholds", `[50.5]`, 422}, {"thresholds", `["50"]`, 422},
		{"thresholds", `[` + strings.Repeat("1,", 20) + `1]`, 422},
		{"spent", `"0"`, 422}, {"held", `"0"`, 422}, {"org_id", `"` + p.two.org + `"`, 422}, {"currency", `"EUR"`, 422}, {"time_zone", `"UTC"`, 422},
	} {
		var b strings.Builder
		b.WriteString(`{"` + c.member + `":` + c.value)
		for m, v := range ok {
			if m != c.member {
				b.WriteString(`,"` + m + `":` + v)
			}
		}
		a := p.do("POST", "/v1/budgets", p.one.admin, b.String()+"}")
		if a.Code != c.status || !strings.Contains(a.Body.String(), c.member) && c.status == 422 {
			t.Errorf("%s %.60s: %d %s; want %d, naming it", c.member, c.value, a.Code, a.Body, c.status)
		}
	}
	for m := range ok {
		var rest []string
		for o, v := range ok {
			if o != m {
				rest = append(rest, `"`+o+`":`+v)
			}
		}
		if a := p.do("POST", "/v1/budgets", p.one.admin, "{"+strings.Join(rest, ",")+"}"); a.Code != 422 || !strings.Contains(a.Body.String(), m) {
			t.Errorf("without %s: %d %s", m, a.Code, a.Body)
		}
	}
	if got := p.scalar(`SELECT count(*)::text FROM analytics.budgets`); got != "0" {
		t.Errorf("%s budgets were made", got)
	}
	a := p.do("POST", "/v1/budgets", p.one.admin, `{"scope":{"organization":true},"unit":"requests","amount":"1.5","period":"day","action":"block"}`)
	a.refused(422, "unprocessable")
}
