package management_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/model"
)

func TestAModelGetsBackendsAndPrices(t *testing.T) {
	t.Parallel()
	p := start(t)
	k := p.one.platform
	m := p.do("POST", "/v1/models", k, `{"id":"meta/llama-3"}`).want(201)
	if got := fmt.Sprint(m); got != "map[created_at:2026-10-12T09:30:15Z id:meta/llama-3 max_output_tokens:4096 owned_by:aiaas restricted:false]" {
		t.Errorf("model %s", got)
	}
	p.do("POST", "/v1/models", k, `{"id":"meta/llama-3"}`).refused(409, "conflict")

	const secret = "sk-very-secret"
	a := p.do("POST", "/v1/models/meta%2Fllama-3/backends", k, `{"protocol":"openai","base_url":"https://api.example.com/v1/","credential":"`+secret+`"}`)
	b := a.want(201)
	if b["model"] != "meta/llama-3" || b["upstream_model"] != "meta/llama-3" || b["base_url"] != "https://api.example.com/v1" || b["credential"] != "sealed" || fmt.Sprint(b["weight"]) != "1" {
		t.Errorf("backend %v", b)
	}
	stored := p.scalar(`SELECT credential FROM router.backends WHERE backend_id = '` + member[string](b, "id") + `'`)
	if stored == "" || stored == "sealed" || strings.Contains(stored, secret) {
		t.Errorf("the credential is stored as %q", stored)
	}
	for _, text := range []string{a.Body.String(), p.log.String(), p.scalar(`SELECT string_agg(detail::text, '') FROM router.audit_records`)} {
		if strings.Contains(text, secret) {
			t.Errorf("the credential is in %s", text)
		}
	}
	env := p.do("POST", "/v1/models/meta%2Fllama-3/backends", k, `{"protocol":"openai","base_url":"http://10.0.0.1:8000/v1","credential_env":"VLLM_KEY","weight":3,"upstream_model":"x"}`).want(201)
	if env["credential"] != "env:VLLM_KEY" || p.scalar(`SELECT credential FROM router.backends WHERE weight = 3`) != "env:VLLM_KEY" {
		t.Errorf("credential %v", env["credential"])
	}

	price := p.do("POST", "/v1/price-books/default/prices", k, `{"model":"meta/llama-3","input_usd_per_million":"2.5","output_usd_per_million":"10.000001"}`).want(201)
	for member, want := range map[string]string{
		"price_book": "default", "currency": "USD", "input_usd_per_million": "2.50", "cached_input_usd_per_million": "2.50",
		"output_usd_per_million": "10.000001", "effective_from": "2026-10-12T09:30:15Z",
	} {
		if price[member] != want {
			t.Errorf("%s is %v; want %s", member, price[member], want)
		}
	}
	got := p.scalar(`SELECT string_agg(action, ' ' ORDER BY audit_id) FROM router.audit_records WHERE org_id = '` + p.one.org + `'`)
	if got != "model.create backend.create backend.create price.publish" {
		t.Errorf("audited %q", got)
	}
	if got := p.scalar(`SELECT DISTINCT created_by FROM router.prices`); got == "" {
		t.Error("the price does not say who published it")
	}
}

func TestAPriceChangesNoPast(t *testing.T) {
	t.Parallel()
	p := start(t)
	k := p.one.platform
	p.do("POST", "/v1/models", k, `{"id":"m"}`).want(201)
	publish := func(from string) string {
		t.Helper()
		return member[string](p.do("POST", "/v1/price-books/default/prices", k, `{"model":"m","input_usd_per_million":"1","output_usd_per_million":"1","effective_from":"`+from+`"}`).want(201), "effective_from")
	}
	if got := publish("2026-01-01T00:00:00Z"); got != "2026-01-01T00:00:00Z" {
		t.Errorf("the first price counts from %s; want as asked", got)
	}
	p.clock.advance(time.Minute)
	if got := publish("2026-06-01T00:00:00Z"); got != "2026-10-12T09:31:15Z" {
		t.Errorf("a price for the past counts from %s; want its publication", got)
	}
	if got := publish("2026-12-01T00:00:00+01:00"); got != "2026-11-30T23:00:00Z" {
		t.Errorf("a price for the future counts from %s; want as asked", got)
	}
	var froms []string
	cursor := ""
	for range 5 {
		v := p.do("GET", "/v1/price-books/default/prices?model=m&limit=2"+cursor, k, "").want(200)
		for _, d := range items(v) {
			froms = append(froms, member[string](d, "effective_from"))
		}
		if v["next_cursor"] == nil {
			break
		}
		cursor = "&cursor=" + member[string](v, "next_cursor")
	}
	if got := strings.Join(froms, " "); got != "2026-01-01T00:00:00Z 2026-10-12T09:31:15Z 2026-11-30T23:00:00Z" {
		t.Errorf("listed %s", got)
	}
}

func TestPricesPublishedAtOnceAreOrdered(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.do("POST", "/v1/models", p.one.platform, `{"id":"m"}`).want(201)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			a := p.do("POST", "/v1/price-books/default/prices", p.one.platform, `{"model":"m","input_usd_per_million":"1","output_usd_per_million":"1","effective_from":"2026-01-01T00:00:00Z"}`)
			if a.Code != 201 {
				t.Errorf("%d %s", a.Code, a.Body)
			}
		})
	}
	wg.Wait()
	if got := p.scalar(`SELECT count(*) FILTER (WHERE effective_from = '2026-01-01') || ' ' || count(*) FROM router.prices`); got != "1 8" {
		t.Errorf("prices for the past and in all: %s; want only the first to reach back", got)
	}
}

func TestWhatTheCatalogueRefuses(t *testing.T) {
	t.Parallel()
	p := start(t)
	k := p.one.platform
	p.do("POST", "/v1/models", k, `{"id":"m"}`).want(201)
	backend := func(more string) string { return `{"protocol":"openai","base_url":"https://a.example/v1"` + more + `}` }
	price := func(in, out string) string {
		return `{"model":"m","input_usd_per_million":` + in + `,"output_usd_per_million":` + out + `}`
	}
	for _, c := range []struct {
		target, body string
		status       int
	}{
		{"/v1/models", `{"id":""}`, 422}, {"/v1/models", `{"id":" m"}`, 422}, {"/v1/models", `{"id":"a b"}`, 422}, {"/v1/models", `{"id":"` + long(201) + `"}`, 422},
		{"/v1/models", `{"id":"x","max_output_tokens":0}`, 422}, {"/v1/models", `{"id":"x","max_output_tokens":-1}`, 422}, {"/v1/models", `{"id":"x","max_output_tokens":99999999999}`, 422},
		{"/v1/models", `{"id":"x","price":"0"}`, 422}, {"/v1/models", `{"id":"x","backends":[]}`, 422},
		{"/v1/models/none/backends", backend(""), 404},
		{"/v1/models/m/backends", backend(`,"weight":0`), 422}, {"/v1/models/m/backends", backend(`,"weight":1001`), 422},
		{"/v1/models/m/backends", backend(`,"credential":"a","credential_env":"B"`), 422}, {"/v1/models/m/backends", backend(`,"credential":"a\r\nX: y"`), 422},
		{"/v1/models/m/backends", backend(`,"credential_env":"lower"`), 422}, {"/v1/models/m/backends", backend(`,"model_id":"other"`), 422},
		{"/v1/models/m/backends", `{"protocol":"grpc","base_url":"https://a.example"}`, 422}, {"/v1/models/m/backends", `{"protocol":"openai"}`, 422},
		{"/v1/models/m/backends", `{"protocol":"openai","base_url":"file:///etc/passwd"}`, 422}, {"/v1/models/m/backends", `{"protocol":"openai","base_url":"https://u:p@a.example"}`, 422},
		{"/v1/models/m/backends", `{"protocol":"openai","base_url":"https://a.example?x=1"}`, 422}, {"/v1/models/m/backends", `{"protocol":"openai","base_url":""}`, 422},
		{"/v1/price-books/none/prices", price(`"1"`, `"1"`), 404}, {"/v1/price-books/default/prices", `{"model":"none","input_usd_per_million":"1","output_usd_per_million":"1"}`, 404},
		{"/v1/price-books/default/prices", price(`1`, `"1"`), 422}, {"/v1/price-books/default/prices", price(`"-1"`, `"1"`), 422}, {"/v1/price-books/default/prices", price(`"0.0000001"`, `"1"`), 422},
		{"/v1/price-books/default/prices", price(`"100000.000001"`, `"1"`), 422},
		{"/v1/price-books/default/prices", price(`"9223372036854.775808"`, `"1"`), 422}, {"/v1/price-books/default/prices", price(`""`, `"1"`), 422}, {"/v1/price-books/default/prices", price(`"1"`, `null`), 422},
		{"/v1/price-books/default/prices", `{"model":"m","output_usd_per_million":"1"}`, 422},
	} {
		a := p.do("POST", c.target, k, c.body)
		if a.Code != c.status {
			t.Errorf("%s %.80s: %d %s; want %d", c.target, c.body, a.Code, a.Body, c.status)
		}
		if strings.Contains(a.Body.String(), "X: y") {
			t.Errorf("the answer repeats a credential: %s", a.Body)
		}
	}
	if got := p.scalar(`SELECT (SELECT count(*) FROM router.models) || ' ' || (SELECT count(*) FROM router.backends) || ' ' || (SELECT count(*) FROM router.prices)`); got != "1 0 0" {
		t.Errorf("models, backends, prices: %s; want 1 0 0", got)
	}
	p.do("GET", "/v1/price-books/none/prices", k, "").refused(404, "not_found")
	for _, c := range []struct {
		target, body string
		status       int
	}{
		{"/v1/models/none", `{"disabled":true}`, 404}, {"/v1/models/m", `{}`, 422}, {"/v1/models/m", `{"disabled":"yes"}`, 422}, {"/v1/models/m", `{"owned_by":"x"}`, 422},
		{"/v1/backends/none", `{"disabled":true}`, 404}, {"/v1/backends/" + id.New(id.Backend), `{"disabled":true}`, 404}, {"/v1/backends/" + id.New(id.Backend), `{}`, 422},
		{"/v1/backends/" + id.New(id.Backend), `{"weight":0}`, 422}, {"/v1/backends/" + id.New(id.Backend), `{"credential":"x"}`, 422},
	} {
		if a := p.do("PATCH", c.target, k, c.body); a.Code != c.status {
			t.Errorf("PATCH %s %s: %d %s; want %d", c.target, c.body, a.Code, a.Body, c.status)
		}
	}
	if got := p.scalar(`SELECT string_agg(action, ' ') FROM router.audit_records`); got != "model.create" {
		t.Errorf("audited %q; want what happened only", got)
	}
}

func TestTheCatalogueIsListedWithoutCredentials(t *testing.T) {
	t.Parallel()
	p := start(t)
	k := p.one.platform
	for _, name := range []string{"b", "a/x", "B", "c", "日本"} {
		status := 201
		if name == "日本" {
			status = 422
		}
		p.do("POST", "/v1/models", k, `{"id":"`+name+`"}`).want(status)
	}
	first := p.do("POST", "/v1/models/a%2Fx/backends", k, `{"protocol":"openai","base_url":"https://a.example/v1","credential":"sk-very-secret"}`).want(201)
	p.do("POST", "/v1/models/a%2Fx/backends", k, `{"protocol":"openai","base_url":"http://b.example/v1","credential_env":"B_KEY"}`).want(201)
	p.do("POST", "/v1/price-books/default/prices", k, `{"model":"a/x","input_usd_per_million":"2","output_usd_per_million":"3"}`).want(201)
	p.do("POST", "/v1/price-books/default/prices", k, `{"model":"b","input_usd_per_million":"2","output_usd_per_million":"3"}`).want(201)

	var seen []string
	var all string
	cursor := ""
	for range 5 {
		a := p.do("GET", "/v1/platform/models?limit=3"+cursor, k, "")
		all += a.Body.String()
		v := a.want(200)
		for _, m := range items(v) {
			seen = append(seen, fmt.Sprint(member[string](m, "id"), " ", member[bool](m, "callable"), " ", len(member[[]any](m, "backends"))))
		}
		if v["next_cursor"] == nil {
			break
		}
		cursor = "&cursor=" + member[string](v, "next_cursor")
	}
	if got := strings.Join(seen, ", "); got != "B false 0, a/x true 2, b false 0, c false 0" {
		t.Errorf("listed %s", got)
	}
	one := p.do("GET", "/v1/platform/models/a%2Fx", k, "")
	m := one.want(200)
	for i, want := range []string{"sealed", "env:B_KEY"} {
		if got := member[string](member[[]any](m, "backends")[i], "credential"); got != want {
			t.Errorf("backend %d has the credential %q; want %q", i, got, want)
		}
	}
	if got := member[string](m["price"], "cached_input_usd_per_million"); got != "2.00" {
		t.Errorf("cached input costs %q; want what input costs", got)
	}
	for _, secret := range []string{"sk-very-secret", p.scalar(`SELECT credential FROM router.backends WHERE backend_id = '` + member[string](first, "id") + `'`)} {
		if strings.Contains(all+one.Body.String(), secret) {
			t.Error("the list gives a credential away")
		}
	}
	p.do("GET", "/v1/platform/models/none", k, "").refused(404, "not_found")
	p.do("GET", "/v1/platform/models", p.one.admin, "").refused(403, "forbidden")
	csv := p.do("GET", "/v1/platform/models/", k, "", rows4180)
	if csv.Code != 404 {
		t.Errorf("a model without a name: %d", csv.Code)
	}
	csv = p.do("GET", "/v1/platform/models", k, "", rows4180)
	if head, _, _ := strings.Cut(csv.Body.String(), "\r\n"); !strings.HasPrefix(head, "id,owned_by,max_output_tokens,disabled,restricted,callable,price.id,") || strings.Contains(csv.Body.String(), "sk-") {
		t.Errorf("as CSV: %s", csv.Body)
	}
}

func rows4180(r *http.Request) { r.Header.Set("Accept", "text/csv") }

// callers is what the data plane knows of models, through its own role.
func (p *platform) callers() *model.Snapshot {
	p.t.Helper()
	db, err := postgres.Open(p.t.Context(), p.url, postgres.RoleGateway, 2)
	if err != nil {
		p.t.Fatal(err)
	}
	defer db.Close()
	snap, err := postgres.NewCatalogue(db).ReadCatalogue(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return snap
}

func TestWhatIsDisabledIsGoneForCallersOnly(t *testing.T) {
	t.Parallel()
	p := start(t)
	k := p.one.platform
	p.do("POST", "/v1/models", k, `{"id":"m"}`).want(201)
	p.do("POST", "/v1/price-books/default/prices", k, `{"model":"m","input_usd_per_million":"2","output_usd_per_million":"3"}`).want(201)
	var ids []string
	for range 2 {
		b := p.do("POST", "/v1/models/m/backends", k, `{"protocol":"openai","base_url":"https://a.example/v1"}`).want(201)
		ids = append(ids, member[string](b, "id"))
	}
	b := p.do("PATCH", "/v1/backends/"+ids[0], k, `{"weight":7}`).want(200)
	if fmt.Sprint(b["weight"], " ", b["disabled"]) != "7 false" {
		t.Errorf("with another weight: %v", b)
	}
	b = p.do("PATCH", "/v1/backends/"+ids[1], k, `{"disabled":true}`).want(200)
	if fmt.Sprint(b["weight"], " ", b["disabled"]) != "1 true" {
		t.Errorf("disabled: %v", b)
	}
	m, _ := p.callers().Get("m")
	if len(m.Backends) != 1 || m.Backends[0].Weight != 7 {
		t.Errorf("callers reach %+v; want the first, with its weight", m.Backends)
	}
	if v := p.do("PATCH", "/v1/backends/"+ids[0], k, `{"disabled":true}`).want(200); v["disabled"] != true {
		t.Errorf("%v", v)
	}
	if v := p.do("GET", "/v1/platform/models/m", k, "").want(200); v["callable"] != false || v["disabled"] != false {
		t.Errorf("without a backend: %v", v)
	}
	p.do("PATCH", "/v1/backends/"+ids[0], k, `{"disabled":false}`).want(200)
	for range 2 { // a second time changes nothing
		v := p.do("PATCH", "/v1/models/m", k, `{"disabled":true}`).want(200)
		if v["disabled"] != true || v["callable"] != false {
			t.Errorf("disabled: %v", v)
		}
		p.clock.advance(time.Hour)
	}
	if got := p.scalar(`SELECT (disabled_at = '2026-10-12T09:30:15Z')::text FROM router.models`); got != "true" {
		t.Errorf("disabling again moved the date: %s", got)
	}
	if ids := p.callers().IDs(); len(ids) != 0 {
		t.Errorf("callers see %v", ids)
	}
	if got := len(items(p.do("GET", "/v1/platform/models", k, "").want(200))); got != 1 {
		t.Errorf("administrators see %d models; want 1", got)
	}
	if v := p.do("PATCH", "/v1/models/m", k, `{"disabled":false}`).want(200); v["callable"] != true {
		t.Errorf("enabled: %v", v)
	}
	if _, ok := p.callers().Get("m"); !ok {
		t.Error("callers do not see it again")
	}
	if got := p.scalar(`SELECT count(*) FROM router.audit_records WHERE action = 'model.update' AND target = 'm' AND detail ? 'disabled'`); got != "3" {
		t.Errorf("%s changes of the model are audited; want 3", got)
	}
}

func TestThePriceInForceIsMarked(t *testing.T) {
	t.Parallel()
	p := start(t)
	k := p.one.platform
	for _, m := range []string{"m", "n"} {
		p.do("POST", "/v1/models", k, `{"id":"`+m+`"}`).want(201)
	}
	publish := func(m, input, from string) any {
		t.Helper()
		return p.do("POST", "/v1/price-books/default/prices", k, `{"model":"`+m+`","input_usd_per_million":"`+input+`","output_usd_per_million":"0","effective_from":"`+from+`"}`).want(201)["in_force"]
	}
	if publish("m", "1", "2026-01-01T00:00:00Z") != true || publish("m", "2", "2026-11-01T00:00:00Z") != false || publish("n", "3", "2026-11-01T00:00:00Z") != false {
		t.Error("a price says wrongly whether it is in force")
	}
	list := func(query string) string {
		t.Helper()
		var out []string
		for _, v := range items(p.do("GET", "/v1/price-books/default/prices?"+query, k, "").want(200)) {
			out = append(out, fmt.Sprint(member[string](v, "model"), member[string](v, "input_usd_per_million"), " ", member[bool](v, "in_force")))
		}
		return strings.Join(out, ", ")
	}
	for query, want := range map[string]string{
		"": "m1.00 true, m2.00 false, n3.00 false", "model=n": "n3.00 false", "in_force=true": "m1.00 true", "model=none": "",
	} {
		if got := list(query); got != want {
			t.Errorf("%q: %s; want %s", query, got, want)
		}
	}
	p.clock.advance(30 * 24 * time.Hour)
	if got := list(""); got != "m1.00 false, m2.00 true, n3.00 true" {
		t.Errorf("a month later: %s", got)
	}
	books := items(p.do("GET", "/v1/price-books", k, "").want(200))
	if len(books) != 1 || member[string](books[0], "id") != "default" || member[string](books[0], "currency") != "USD" {
		t.Errorf("price books %v", books)
	}
}
