package pricing_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/aiaas/aiaas/shared/money"
	"github.com/aiaas/aiaas/shared/pricing"
)

func at(hours int) time.Time {
	return time.Date(2026, 10, 1, hours, 0, 0, 0, time.UTC)
}

func price(id string, from, created int) pricing.Price {
	return pricing.Price{ID: id, EffectiveFrom: at(from), CreatedAt: at(created)}
}

func TestThePriceInForce(t *testing.T) {
	prices := []pricing.Price{
		price("first", 10, 1), price("second", 20, 2), price("correction", 20, 3), price("far", 90, 0),
	}
	for _, c := range []struct {
		at   time.Time
		want string // "" for none
	}{
		{at(0), ""},
		{at(10).Add(-1), ""},
		{at(10), "first"},
		{at(20).Add(-1), "first"},
		{at(20), "correction"},
		{at(89), "correction"},
		{at(90), "far"},
		{at(9000), "far"},
	} {
		for range 10 { // in any order
			rand.Shuffle(len(prices), func(i, j int) { prices[i], prices[j] = prices[j], prices[i] })
			got, ok := pricing.InForce(prices, c.at)
			if got.ID != c.want || ok != (c.want != "") {
				t.Errorf("at %s: %q, %t; want %q", c.at, got.ID, ok, c.want)
			}
		}
	}
	if _, ok := pricing.InForce(nil, at(0)); ok {
		t.Error("there is a price where none was published")
	}
}

func TestWhenAPriceCounts(t *testing.T) {
	now := at(50)
	inForce := []pricing.Price{price("a", 10, 1)}
	planned := []pricing.Price{price("a", 60, 1)}
	for _, c := range []struct {
		name     string
		existing []pricing.Price
		wanted   time.Time
		want     time.Time
	}{
		{"in the future", inForce, at(60), at(60)},
		{"now", inForce, now, now},
		{"in the past, where there was a price", inForce, at(20), now},
		{"in the past, before the first price", inForce, at(5), now},
		{"in the past, where there was none", nil, at(20), at(20)},
		{"in the past, where one is only planned", planned, at(20), at(20)},
	} {
		if got := pricing.Effective(c.existing, c.wanted, now); !got.Equal(c.want) {
			t.Errorf("%s: %s; want %s", c.name, got, c.want)
		}
	}
}

func TestCost(t *testing.T) {
	p := pricing.Price{Input: 2_500_000, CachedInput: 1_250_000, Output: 10_000_000}
	for _, c := range []struct {
		u    pricing.Usage
		want money.Nano
	}{
		{pricing.Usage{}, 0},
		{pricing.Usage{InputTokens: 1_000_000}, 2_500_000_000},
		{pricing.Usage{InputTokens: 1_000_000, CachedInputTokens: 400_000}, 2_000_000_000},
		{pricing.Usage{OutputTokens: 3}, 30_000},
		{pricing.Usage{InputTokens: 10, CachedInputTokens: 10, OutputTokens: 1}, 22_500},
	} {
		if got, err := p.Cost(c.u); err != nil || got != c.want {
			t.Errorf("%+v: %d, %v; want %d", c.u, got, err, c.want)
		}
	}
	for _, u := range []pricing.Usage{
		{InputTokens: 1, CachedInputTokens: 2}, {OutputTokens: -1}, {OutputTokens: math.MaxInt64},
	} {
		if got, err := p.Cost(u); !errors.Is(err, money.ErrOverflow) {
			t.Errorf("%+v: %d, %v; want out of range", u, got, err)
		}
	}
}

// Whatever a request really uses within its bounds, it never costs more than was
// held for it, whichever class of input is the dearest.
func TestNoUsageWithinBoundsCostsMoreThanTheBound(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rate := rapid.Int64Range(0, 1_000_000_000)
		p := pricing.Price{
			Input: money.Pico(rate.Draw(rt, "input price")), CachedInput: money.Pico(rate.Draw(rt, "cached price")), Output: money.Pico(rate.Draw(rt, "output price")),
		}
		input, output := rapid.Int64Range(0, 1<<31).Draw(rt, "input"), rapid.Int64Range(0, 1<<31).Draw(rt, "output")
		u := pricing.Usage{InputTokens: rapid.Int64Range(0, input).Draw(rt, "used input"), OutputTokens: rapid.Int64Range(0, output).Draw(rt, "used output")}
		u.CachedInputTokens = rapid.Int64Range(0, u.InputTokens).Draw(rt, "cached")
		bound, err := p.Bound(input, output)
		if err != nil {
			rt.Fatal(err)
		}
		if cost, err := p.Cost(u); err != nil || cost > bound {
			rt.Fatalf("%+v costs %d, %v; the bound of %d and %d is %d", u, cost, err, input, output, bound)
		}
	})
}
