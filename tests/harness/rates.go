package harness

import "fmt"

// Rates are a model's prices in pico of a dollar a token. What they cost is
// computed here apart from the product's own code, so that the two can be compared.
type Rates struct{ Input, Cached, Output int64 }

// Price is the rates in dollars per million tokens, as the API takes them.
func (r Rates) Price() Price {
	usd := func(pico int64) string { return fmt.Sprintf("%d.%06d", pico/1e6, pico%1e6) }
	return Price{Input: usd(r.Input), Cached: usd(r.Cached), Output: usd(r.Output)}
}

// Cost is what tokens cost in nano of a dollar, rounded once and half to even.
// The cached ones are among the input.
func (r Rates) Cost(input, cached, output int64) int64 {
	pico := (input-cached)*r.Input + cached*r.Cached + output*r.Output
	nano, rest := pico/1000, pico%1000
	if rest > 500 || rest == 500 && nano%2 == 1 {
		nano++
	}
	return nano
}
