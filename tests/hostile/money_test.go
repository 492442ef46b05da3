package hostile_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// decimal finds the members of bodies that are amounts.
var decimal = regexp.MustCompile(`amount|per_million|price|cost|fee|total|balance|credit`)

// TestNoAmountCanBeMisread puts into every amount of every management body what
// could be read in two ways, or not at all.
func TestNoAmountCanBeMisread(t *testing.T) {
	p := start(t)
	var found []string
	p.harmless(func() {
		p.eachBody(func(t *testing.T, r route) {
			t.Helper()
			if r.DataPlane {
				return
			}
			for name, s := range r.schema.Properties {
				if !decimal.MatchString(name) || name == "price_book" {
					continue
				}
				found = append(found, r.OperationID+"."+name)
				if !s.is("string") {
					t.Errorf("%s is an amount and no text: a number loses digits on its way", name)
				}
				for _, v := range []string{
					`"-1"`, `"-0"`, `"-0.01"`, `"+1"`, `"1e3"`, `"1E-3"`, `"NaN"`, `"nan"`, `"Infinity"`, `"-Inf"`, `"0x10"`, `"1_000"`, `"1,5"`, `"1.000,00"`, `"1,000.00"`,
					`" 1"`, `"1 "`, `"1\n"`, `""`, `"."`, `".5"`, `"5."`, `"1.2.3"`, `"--1"`, `"１"`, `"٣"`, `"1\u200b"`, `"$1"`, `"1 USD"`, `"one"`, `"true"`, `"null"`,
					`"0.0000000000001"`, `"1.0000000001"`, `"0.` + strings.Repeat("3", 38) + `"`,
					`"9223372036854775807"`, `"9223372036854775808"`, `"99999999999999999999999999"`, `"9999999999999.999999"`, `"` + strings.Repeat("9", 1000) + `"`,
					`1`, `1.5`, `1e400`, `-1`, `true`, `[]`, `{}`,
				} {
					if left(r.OperationID, name, v) {
						continue
					}
					if refused(t, p.do(r.Method, r.target, r.key, with(t, r.body, name, v)), 400, 422); t.Failed() {
						t.Fatalf("%s = %s", name, v)
					}
				}
			}
		})
	})
	slices.Sort(found)
	for _, known := range []string{"createBudget.amount", "changeBudget.amount", "publishPrice.input_usd_per_million", "publishPrice.cached_input_usd_per_million", "publishPrice.output_usd_per_million"} {
		if !slices.Contains(found, known) {
			t.Errorf("%s was not found among %v", known, found)
		}
	}
}

// left tells that an amount may be left out, and that nothing is as good as that.
func left(operation, member, v string) bool {
	return operation == "publishPrice" && member == "cached_input_usd_per_million" && v == `""`
}

// TestBudgetsHaveWholeUnits: there is no half token, and no third of a request.
func TestBudgetsHaveWholeUnits(t *testing.T) {
	p := start(t)
	p.harmless(func() {
		for _, unit := range []string{"tokens", "requests"} {
			for _, amount := range []string{"0.5", "1.000000001", "-1", "9223372036854775808", "1e3"} {
				body := `{"scope":{"organization":true},"unit":"` + unit + `","amount":"` + amount + `","period":"month","action":"block"}`
				refused(t, p.do("POST", "/v1/budgets", p.one.admin, body), 422)
			}
		}
		for _, list := range []string{"[0]", "[-1]", "[1e9]", "[1001]", "[1.5]", `["50"]`, "[9223372036854775808]", "[" + strings.Repeat("1,", 50) + "1]"} {
			body := `{"scope":{"organization":true},"unit":"money","amount":"1","period":"month","action":"warn","thresholds":` + list + `}`
			refused(t, p.do("POST", "/v1/budgets", p.one.admin, body), 400, 422)
		}
		for _, scope := range []string{`{}`, `null`, `{"organization":false}`, `{"organization":true,"model":"m"}`, `{"project_id":"` + p.two.project + `"}`, `{"api_key_id":"` + p.two.callerID + `"}`, `{"org_id":"` + p.two.id + `"}`} {
			body := `{"scope":` + scope + `,"unit":"money","amount":"1","period":"month","action":"warn"}`
			refused(t, p.do("POST", "/v1/budgets", p.one.admin, body), 404, 422)
		}
	})
}
