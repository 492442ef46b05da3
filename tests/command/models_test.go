package command_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/demo"
	"github.com/aiaas/aiaas/tests/harness"
)

func counted(model string) string {
	return `{"model":"` + model + `","messages":[{"role":"user","content":"Hello"}]}`
}

// becomes waits until calling the model is answered so.
func becomes(t *testing.T, g *harness.Gateway, model string, status int) harness.Answer {
	t.Helper()
	var a harness.Answer
	harness.Eventually(t, model, func() (bool, string) {
		a = g.Do(t.Context(), harness.Call{Key: g.APIKey, Body: counted(model)})
		return a.Status == status, a.String()
	})
	return a
}

// The way of a model from nothing to its end, as an operator goes it.
func TestAnOperatorKeepsModels(t *testing.T) {
	t.Parallel()
	one, two := harness.StartUpstream(t, demo.Config{}), harness.StartUpstream(t, demo.Config{})
	g := harness.Start(t, harness.Options{})
	sh := of(g)
	sh.words(t, "model create own/m").want(0)
	first := sh.words(t, "model add-backend own/m --upstream-model demo -o json --url "+one.URL).want(0).json()
	if a := becomes(t, g, "own/m", 422); a.Code() != "unprocessable" {
		t.Errorf("without a price: %s", a)
	}
	sh.words(t, "model price own/m --input-usd 1 --output-usd 2").want(0)
	becomes(t, g, "own/m", 200)

	sh.words(t, "model add-backend own/m --upstream-model demo --weight 1 --url "+two.URL).want(0)
	sh.words(t, "model update-backend --disabled "+text(first, "id")).want(0)
	harness.Eventually(t, "the second backend", func() (bool, string) {
		a := g.Do(t.Context(), harness.Call{Key: g.APIKey, Body: counted("own/m")})
		_, there := two.Log(t)[a.RequestID]
		return there, a.String()
	})
	before := len(one.Log(t))
	for range 20 {
		becomes(t, g, "own/m", 200)
	}
	if n := len(one.Log(t)); n != before {
		t.Errorf("a disabled backend was sent %d requests", n-before)
	}
	sh.words(t, "model disable own/m --yes").want(0)
	if a := becomes(t, g, "own/m", 404); a.Code() != "not_found" {
		t.Errorf("disabled: %s", a)
	}
	listed := g.Do(t.Context(), harness.Call{Method: "GET", Path: "/v1/models", Key: g.APIKey})
	if strings.Contains(string(listed.Body), "own/m") {
		t.Errorf("callers are shown a disabled model: %s", listed)
	}
	if r := sh.words(t, "model get own/m").want(0); !strings.Contains(r.stdout, two.URL) {
		t.Errorf("administrators are not: %s", r.stdout)
	}
	sh.words(t, "model enable own/m").want(0)
	becomes(t, g, "own/m", 200)
}

// cost is what one answered request came to, by its line in the ledger.
func cost(t *testing.T, g *harness.Gateway, a harness.Answer) (e harness.Entry) {
	t.Helper()
	g.WaitSettled(t)
	e, ok := g.Database().Ledger(t)[a.RequestID]
	if !ok {
		t.Fatalf("%s is not in the ledger", a)
	}
	return e
}

func TestAPriceCountsFromItsTimeOn(t *testing.T) {
	t.Parallel()
	up := harness.StartUpstream(t, demo.Config{})
	g := harness.Start(t, harness.Options{})
	sh := of(g)
	g.AddModel(t, "m", up.URL, harness.Price{Input: "1", Cached: "1", Output: "2"})
	old := cost(t, g, becomes(t, g, "m", 200))
	if want := (old.Input*1 + old.Output*2) * 1000; old.Cost != want {
		t.Errorf("cost %d; want %d", old.Cost, want)
	}
	sh.words(t, "model price m --input-usd 10 --output-usd 20 --from 2099-01-01").want(0)
	if e := cost(t, g, becomes(t, g, "m", 200)); e.Cost != (e.Input+e.Output*2)*1000 {
		t.Errorf("a future price counts today: %+v", e)
	}
	v := sh.words(t, "model price m --input-usd 100 --output-usd 200 --from 2021-01-01 -o json").want(0).json()
	if from, err := time.Parse(time.RFC3339, text(v, "effective_from")); err != nil || from.Year() == 2021 || text(v, "cached_input_usd_per_million") != "100.00" {
		t.Errorf("a price for the past: %v", v)
	}
	harness.Eventually(t, "the new price", func() (bool, string) {
		e := cost(t, g, becomes(t, g, "m", 200))
		return e.Cost == (e.Input+e.Output*2)*100_000, ""
	})
	if now := g.Database().Ledger(t)[old.ID]; now != old {
		t.Errorf("a past request costs %+v; it was %+v", now, old)
	}
	g.Agrees(t)
}

// What costs nothing is served though there is no money left.
func TestAPriceOfZeroIsFreeOverAnyBudget(t *testing.T) {
	t.Parallel()
	up := harness.StartUpstream(t, demo.Config{})
	g := harness.Start(t, harness.Options{})
	sh := of(g)
	g.AddModel(t, "free", up.URL, harness.Price{Input: "0", Cached: "0", Output: "0"})
	g.AddModel(t, "paid", up.URL, harness.Price{Input: "1", Cached: "1", Output: "1"})
	sh.words(t, "budget create --organization --unit money --amount 0.000000001 --period month --action block").want(0)
	becomes(t, g, "paid", 402)
	if e := cost(t, g, becomes(t, g, "free", 200)); e.Cost != 0 || e.Output == 0 {
		t.Errorf("booked as %+v; want it counted and free", e)
	}
	becomes(t, g, "paid", 402)
}
