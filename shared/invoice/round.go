package invoice

import (
	"cmp"
	"math"
	"slices"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/money"
)

// round sets what the lines and their sum are billed with. The exact total is
// rounded once, half to even, to whole coins; each line gets the coins that it
// has in full, and the coins that are left go to the lines with the largest
// remainders, the first of equals first. So no line is off by a coin or more, and
// the sum of the lines is the total.
func round(lines []Line, coin money.Nano) (Figures, error) {
	var total Figures
	rest := make([]money.Nano, len(lines))
	for i := range lines {
		l := &lines[i]
		if overflows(total.Usage, l.Usage) {
			return Figures{}, fault.New(fault.Internal, "the month's sum is out of range")
		}
		l.Amount, rest[i] = floor(l.Usage, coin)
		total.add(l.Figures)
	}
	left := (halfEven(total.Usage, coin) - total.Amount) / coin
	order := make([]int, len(lines))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(rest[b], rest[a]) })
	for _, i := range order[:left] {
		lines[i].Amount += coin
	}
	total.Amount, total.Rounding = 0, 0
	for i := range lines {
		lines[i].Rounding = lines[i].Amount - lines[i].Usage
		total.Amount += lines[i].Amount
		total.Rounding += lines[i].Rounding
	}
	return total, nil
}

// overflows reports whether the sum, or rounding it, leaves the range.
func overflows(a, b money.Nano) bool {
	const room = 10_000_000_000 // more than any coin
	return b > 0 && a > math.MaxInt64-room-b || b < 0 && a < math.MinInt64+room-b
}

// floor is the largest whole number of coins that is not above v, and what v has
// over it.
func floor(v, coin money.Nano) (whole, rest money.Nano) {
	rest = v % coin
	if rest < 0 {
		rest += coin
	}
	return v - rest, rest
}

func halfEven(v, coin money.Nano) money.Nano {
	whole, rest := floor(v, coin)
	if rest*2 > coin || rest*2 == coin && whole/coin%2 != 0 {
		return whole + coin
	}
	return whole
}
