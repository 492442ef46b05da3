// Package pricing knows what a request costs: which price is in force, the exact
// cost of what was used, and the most that a request can cost.
package pricing

import (
	"time"

	"github.com/aiaas/aiaas/shared/money"
)

// Price is one version of what a model costs in a price book. Versions are never
// changed; a new one takes effect at its own time.
type Price struct {
	ID            string
	Book          string
	Model         string
	Currency      string
	EffectiveFrom time.Time
	CreatedAt     time.Time
	Input         money.Pico
	CachedInput   money.Pico
	Output        money.Pico
}

// MaxPrice is the dearest that a token can be: a hundred times the dearest model
// there is. A mistyped price is refused, and no sum of requests comes near to what
// a number can hold.
const MaxPrice money.Pico = 100_000_000_000 // 100,000 per million tokens

// Usage counts the tokens of one request. Cached input is part of the input.
type Usage struct {
	InputTokens       int64
	CachedInputTokens int64
	OutputTokens      int64
}

// Tokens is all tokens of the request.
func (u Usage) Tokens() int64 { return u.InputTokens + u.OutputTokens }

// Cost is the exact cost of the usage in nano units of the price's currency.
func (p Price) Cost(u Usage) (money.Nano, error) {
	return money.Total(
		money.Item{Tokens: u.InputTokens - u.CachedInputTokens, Price: p.Input},
		money.Item{Tokens: u.CachedInputTokens, Price: p.CachedInput},
		money.Item{Tokens: u.OutputTokens, Price: p.Output},
	)
}

// Bound is the most that a request with at most these tokens can cost: all input
// in the dearest input class.
func (p Price) Bound(input, output int64) (money.Nano, error) {
	return money.Total(
		money.Item{Tokens: input, Price: max(p.Input, p.CachedInput)},
		money.Item{Tokens: output, Price: p.Output},
	)
}

// InForce returns the price in force at a moment: the one that took effect last,
// and of two that took effect at once, the one published later. The order of the
// prices does not matter.
func InForce(prices []Price, at time.Time) (Price, bool) {
	best := -1
	for i := range prices {
		if prices[i].EffectiveFrom.After(at) {
			continue
		}
		if best < 0 || later(prices[i], prices[best]) {
			best = i
		}
	}
	if best < 0 {
		return Price{}, false
	}
	return prices[best], true
}

func later(a, b Price) bool {
	if !a.EffectiveFrom.Equal(b.EffectiveFrom) {
		return a.EffectiveFrom.After(b.EffectiveFrom)
	}
	return a.CreatedAt.After(b.CreatedAt)
}

// Effective is the moment from which a newly published price counts. A price for
// which none was in force counts from when its publisher says; where there was
// one, no past moment changes its price: it counts from its publication at the
// earliest.
func Effective(existing []Price, wanted, now time.Time) time.Time {
	if !wanted.Before(now) {
		return wanted
	}
	if _, priced := InForce(existing, now); priced {
		return now
	}
	return wanted
}
