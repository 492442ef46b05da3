package budget

import (
	"math"
	"math/bits"
	"slices"
	"time"
)

// Whole is the percentage at which a budget is spent. One that blocks has reached it
// also when a request was denied because of it: what it leaves is then too little for
// the next request, and seldom nothing.
const Whole = 100

// Alert is a threshold that a budget reached in one of its windows. There is one
// for each of the three.
type Alert struct {
	ID        string
	BudgetID  string
	Window    Window
	Threshold int // percent
	Unit      Unit
	Spent     int64 // in the window, when it was noticed
	Amount    int64 // of the budget at that time
	At        time.Time
}

// Reached lists the thresholds that a sum has reached.
func (b *Budget) Reached(spent int64) []int { return b.Crossed(0, spent) }

// Crossed lists the thresholds that are reached after and were not before.
func (b *Budget) Crossed(before, after int64) []int {
	var out []int
	for _, t := range b.Thresholds {
		if reached(t, b.Amount, after) && !reached(t, b.Amount, before) {
			out = append(out, t)
		}
	}
	return out
}

// Warns reports whether a sum has reached the amount, or a threshold below it.
func (b *Budget) Warns(spent int64) bool {
	lowest := Whole
	for _, t := range b.Thresholds {
		lowest = min(lowest, t)
	}
	return reached(lowest, b.Amount, spent)
}

// reached reports whether spent is at least so many percent of the amount.
// Nothing spent reaches nothing, not even of an amount of 0. The products are of
// 128 bits: amounts go up to what an int64 holds.
func reached(percent int, amount, spent int64) bool {
	if spent <= 0 {
		return false
	}
	sh, sl := bits.Mul64(uint64(spent), Whole)
	ah, al := bits.Mul64(uint64(max(amount, 0)), uint64(max(percent, 0)))
	return sh > ah || sh == ah && sl >= al
}

// MaxPercent is the largest share that is told.
const MaxPercent = 9999

// Percent is how much of an amount is spent, in whole percent, rounded down, and
// never more than MaxPercent: of an amount of 0 anything is beyond measure.
func Percent(spent, amount int64) int {
	if spent <= 0 {
		return 0
	}
	if amount <= 0 {
		return MaxPercent
	}
	hi, lo := bits.Mul64(uint64(spent), Whole)
	if hi >= uint64(amount) { // the quotient would not fit
		return MaxPercent
	}
	q, _ := bits.Div64(hi, lo, uint64(amount))
	return int(min(q, MaxPercent))
}

// Remaining is what an amount leaves when so much is taken; never below 0.
func Remaining(amount, spent, held int64) int64 {
	if spent > math.MaxInt64-held {
		return 0
	}
	return max(0, amount-spent-held)
}

// tidy sorts thresholds and names each once.
func tidy(thresholds []int) []int {
	out := slices.Clone(thresholds)
	slices.Sort(out)
	return slices.Compact(out)
}
