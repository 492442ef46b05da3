package budget_test

import (
	"math"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/aiaas/aiaas/shared/budget"
)

func TestThresholds(t *testing.T) {
	const most = math.MaxInt64
	for _, c := range []struct {
		name          string
		amount        int64
		before, after int64
		want          []int
	}{
		{"nothing spent", 100, 0, 0, nil},
		{"one below", 100, 0, 49, nil},
		{"exactly half", 100, 0, 50, []int{50}},
		{"from below to there", 100, 49, 50, []int{50}},
		{"reached before", 100, 50, 79, nil},
		{"several at once", 100, 10, 500, []int{50, 100, 250}},
		{"the last unit", 100, 99, 100, []int{100}},
		{"far beyond", 100, 100, 250, []int{250}},
		{"shares that are no whole units", 3, 1, 2, []int{50}},
		{"of one unit", 1, 0, 1, []int{50, 100}},
		{"of nothing, with nothing spent", 0, 0, 0, nil},
		{"of nothing, with anything spent", 0, 0, 1, []int{50, 100, 250}},
		{"of nothing, again", 0, 1, 2, nil},
		{"the largest amounts", most, 0, most/2 + 1, []int{50}},
		{"one unit before", most, 0, most / 2, nil},
		{"all of it", most, most - 1, most, []int{100}},
		{"the largest sum of the smallest amount", 1, 0, most, []int{50, 100, 250}},
	} {
		b := budget.Budget{Amount: c.amount, Thresholds: []int{50, 100, 250}}
		if got := b.Crossed(c.before, c.after); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v; want %v", c.name, got, c.want)
		}
		if got := b.Reached(c.after); c.before == 0 && !slices.Equal(got, c.want) {
			t.Errorf("%s: reached %v; want %v", c.name, got, c.want)
		}
	}
}

// Whatever steps a sum takes, each threshold is crossed once, and what was crossed
// is what is reached in the end, by arithmetic without bounds.
func TestEachThresholdIsCrossedOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		amount := rapid.OneOf(rapid.Int64Range(0, 10), rapid.Int64Range(0, math.MaxInt64)).Draw(rt, "amount")
		b := budget.Budget{Amount: amount, Thresholds: rapid.SliceOfNDistinct(rapid.IntRange(1, 1000), 1, 8, rapid.ID[int]).Draw(rt, "thresholds")}
		crossed := map[int]int{}
		spent := int64(0)
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			room := int64(math.MaxInt64) - spent
			step := rapid.OneOf(rapid.Int64Range(0, min(room, amount/4+1)), rapid.Int64Range(0, room)).Draw(rt, "step")
			for _, p := range b.Crossed(spent, spent+step) {
				crossed[p]++
			}
			spent += step
		}
		for _, p := range b.Thresholds {
			share := new(big.Int).Mul(big.NewInt(amount), big.NewInt(int64(p)))
			sum := new(big.Int).Mul(big.NewInt(spent), big.NewInt(100))
			want := 0
			if spent > 0 && sum.Cmp(share) >= 0 {
				want = 1
			}
			if crossed[p] != want {
				rt.Fatalf("%d %% of %d is crossed %d times on the way to %d; want %d", p, amount, crossed[p], spent, want)
			}
		}
	})
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		thresholds    []int
		amount, spent int64
		want          bool
		percent       int
	}{
		{[]int{50, 80}, 200, 99, false, 49},
		{[]int{80, 50}, 200, 100, true, 50},
		{[]int{150}, 200, 199, false, 99}, // the amount itself always warns
		{[]int{150}, 200, 200, true, 100},
		{nil, 3, 2, false, 66},
		{nil, 3, 4, true, 133},
		{nil, 0, 0, false, 0},
		{nil, 0, 1, true, 9999},
		{nil, 1, math.MaxInt64, true, 9999},
		{nil, math.MaxInt64, math.MaxInt64, true, 100},
		{nil, math.MaxInt64, math.MaxInt64 - 1, false, 99},
		{nil, math.MaxInt64/100 + 7, math.MaxInt64, true, 9999},
		{nil, 100, 9998, true, 9998},
	} {
		b := budget.Budget{Amount: c.amount, Thresholds: c.thresholds}
		if got := b.Warns(c.spent); got != c.want {
			t.Errorf("%v of %d, %d spent: warns %t", c.thresholds, c.amount, c.spent, got)
		}
		if got := budget.Percent(c.spent, c.amount); got != c.percent {
			t.Errorf("%d of %d: %d %%; want %d", c.spent, c.amount, got, c.percent)
		}
	}
}

func TestRemaining(t *testing.T) {
	const most = math.MaxInt64
	for _, c := range []struct{ amount, spent, held, want int64 }{
		{100, 0, 0, 100}, {100, 30, 20, 50}, {100, 80, 20, 0}, {100, 90, 20, 0}, {0, 0, 0, 0},
		{most, most, most, 0}, {most, 1, 2, most - 3}, {5, most, 0, 0},
	} {
		if got := budget.Remaining(c.amount, c.spent, c.held); got != c.want {
			t.Errorf("%d less %d and %d: %d; want %d", c.amount, c.spent, c.held, got, c.want)
		}
	}
}

func TestASumIsThatOfTheWindowOfTheMoment(t *testing.T) {
	oct, nov, dec := utc(t, "2026-10-01 00:00"), utc(t, "2026-11-01 00:00"), utc(t, "2026-12-01 00:00")
	c := budget.Counted{Sums: []budget.Sum{
		{Window: budget.Window{Start: nov, End: dec}, Spent: 2}, {Window: budget.Window{Start: oct, End: nov}, Spent: 1},
	}}
	for at, want := range map[string]int64{
		"2026-09-30 23:59": 0, "2026-10-01 00:00": 1, "2026-10-31 23:59": 1, "2026-11-01 00:00": 2, "2026-12-01 00:00": 0,
	} {
		if got := c.SpentAt(utc(t, at)); got != want {
			t.Errorf("at %s: %d; want %d", at, got, want)
		}
	}
}
