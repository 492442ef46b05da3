package management_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestAModelGetsBackendsAndPrices(t *testing.T) {
	t.Parallel()
	p := start(t)
	k := p.one.platform
	m := p.do("POST", "/v1/models", k, `{"id":"meta/llama-3"}`).want(201)
	if got := fmt.Sprint(m); got != "map[created_at:2026-10-12T09:30:15Z id:meta/llama-3 max_output_tokens:4096 owned_by:aiaas]" {
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
	p.do("GET", "/v1/price-books/default/prices", k, "").refused(422, "unprocessable")
}
