package money_test

import (
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/aiaas/aiaas/shared/money"
)

func TestTotalRoundsOnceHalfToEven(t *testing.T) {
	for _, c := range []struct {
		name  string
		items []money.Item
		want  money.Nano
	}{
		{"nothing costs nothing", nil, 0},
		{"a free model", []money.Item{{Tokens: math.MaxInt64, Price: 0}}, 0},
		{"no tokens at a price", []money.Item{{Tokens: 0, Price: math.MaxInt64}}, 0},
		{"a million tokens at 2.50", []money.Item{{Tokens: 1_000_000, Price: 2_500_000}}, 2_500_000_000},
		{"below a half is dropped", []money.Item{{Tokens: 1, Price: 499}}, 0},
		{"a half goes to the even zero", []money.Item{{Tokens: 1, Price: 500}}, 0},
		{"above a half goes up", []money.Item{{Tokens: 1, Price: 501}}, 1},
		{"one and a half goes to the even two", []money.Item{{Tokens: 3, Price: 500}}, 2},
		{"two and a half goes to the even two", []money.Item{{Tokens: 5, Price: 500}}, 2},
		{"the sum is rounded, not its parts", []money.Item{{Tokens: 1, Price: 400}, {Tokens: 1, Price: 400}}, 1},
		{"the largest amount", []money.Item{{Tokens: math.MaxInt64, Price: 1000}}, math.MaxInt64},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := money.Total(c.items...)
			if err != nil || got != c.want {
				t.Errorf("Total = %d, %v; want %d", got, err, c.want)
			}
		})
	}
}

func TestTotalRefusesWhatDoesNotFit(t *testing.T) {
	most := money.Item{Tokens: math.MaxInt64, Price: math.MaxInt64}
	for _, c := range []struct {
		name  string
		items []money.Item
	}{
		{"negative tokens", []money.Item{{Tokens: -1, Price: 1}}},
		{"a negative price", []money.Item{{Tokens: 1, Price: -1}}},
		{"one nano too many", []money.Item{{Tokens: math.MaxInt64, Price: 1000}, {Tokens: 1, Price: 1000}}},
		{"rounded up past the end", []money.Item{{Tokens: math.MaxInt64, Price: 1000}, {Tokens: 1, Price: 500}}},
		{"a quotient just past 64 bits", []money.Item{{Tokens: 1000 << 32, Price: 1 << 32}}},
		{"a quotient past 64 bits", []money.Item{most}},
		{"a sum past 128 bits", []money.Item{most, most, most, most, most}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := money.Total(c.items...); !errors.Is(err, money.ErrOverflow) || got != 0 {
				t.Errorf("Total = %d, %v; want 0, %v", got, err, money.ErrOverflow)
			}
		})
	}
}

// bigTotal is the formula of Total in arithmetic that has no limits: the sum of
// tokens × price, divided by 1000, half to even.
func bigTotal(items []money.Item) *big.Int {
	pico := new(big.Int)
	for _, it := range items {
		pico.Add(pico, new(big.Int).Mul(big.NewInt(it.Tokens), big.NewInt(int64(it.Price))))
	}
	q, r := new(big.Int).QuoRem(pico, big.NewInt(1000), new(big.Int))
	if half := r.Cmp(big.NewInt(500)); half > 0 || (half == 0 && q.Bit(0) == 1) {
		q.Add(q, big.NewInt(1))
	}
	return q
}

func TestTotalEqualsUnlimitedArithmetic(t *testing.T) {
	// Small numbers meet the rounding, large ones the limits.
	number := rapid.OneOf(rapid.Int64Range(0, 5000), rapid.Int64Range(0, 1<<36), rapid.Int64Min(0))
	item := rapid.Custom(func(t *rapid.T) money.Item {
		return money.Item{Tokens: number.Draw(t, "tokens"), Price: money.Pico(number.Draw(t, "price"))}
	})
	rapid.Check(t, func(t *rapid.T) {
		items := rapid.SliceOfN(item, 0, 6).Draw(t, "items")
		want := bigTotal(items)
		got, err := money.Total(items...)
		switch {
		case !want.IsInt64():
			if !errors.Is(err, money.ErrOverflow) {
				t.Fatalf("Total(%v) = %d, %v; want %v for %s", items, got, err, money.ErrOverflow, want)
			}
		case err != nil || int64(got) != want.Int64():
			t.Fatalf("Total(%v) = %d, %v; want %s", items, got, err, want)
		}
	})
}

func TestTotalNeverFallsWhenSomethingIsAdded(t *testing.T) {
	small := rapid.Int64Range(0, 1<<28)
	rapid.Check(t, func(t *rapid.T) {
		a := money.Item{Tokens: small.Draw(t, "tokens"), Price: money.Pico(small.Draw(t, "price"))}
		b := money.Item{Tokens: small.Draw(t, "more tokens"), Price: money.Pico(small.Draw(t, "their price"))}
		one, err1 := money.Total(a)
		both, err2 := money.Total(a, b)
		swapped, err3 := money.Total(b, a)
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		if both < one || both != swapped {
			t.Fatalf("Total(a) = %d, Total(a, b) = %d, Total(b, a) = %d", one, both, swapped)
		}
	})
}

func TestParsePrice(t *testing.T) {
	for _, c := range []struct {
		in   string
		want money.Pico
		err  error
	}{
		{"0", 0, nil},
		{"0.00", 0, nil},
		{"2.50", 2_500_000, nil},
		{"15", 15_000_000, nil},
		{"0.000001", 1, nil},
		{"0.0000010000", 1, nil}, // more decimals, but all of them zero
		{"007", 7_000_000, nil},
		{"9223372036854.775807", math.MaxInt64, nil},
		{"0.0000001", 0, money.ErrScale},
		{"9223372036854.775808", 0, money.ErrOverflow},
		{strings.Repeat("9", 1000), 0, money.ErrOverflow},
		{"", 0, money.ErrDecimal},
		{".5", 0, money.ErrDecimal},
		{"5.", 0, money.ErrDecimal},
		{".", 0, money.ErrDecimal},
		{"1.2.3", 0, money.ErrDecimal},
		{"-1", 0, money.ErrDecimal},
		{"+1", 0, money.ErrDecimal},
		{"1e3", 0, money.ErrDecimal},
		{"0x10", 0, money.ErrDecimal},
		{"1,5", 0, money.ErrDecimal},
		{"1_000", 0, money.ErrDecimal},
		{" 1", 0, money.ErrDecimal},
		{"1\n", 0, money.ErrDecimal},
		{"NaN", 0, money.ErrDecimal},
		{"Inf", 0, money.ErrDecimal},
		{"\u0661", 0, money.ErrDecimal}, // a digit, but not of ours
	} {
		if got, err := money.ParsePrice(c.in); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("ParsePrice(%.40q) = %d, %v; want %d, %v", c.in, got, err, c.want, c.err)
		}
	}
}

func TestParseCount(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int64
		err  error
	}{
		{"0", 0, nil},
		{"100", 100, nil},
		{"100.00", 100, nil},
		{"9223372036854775807", math.MaxInt64, nil},
		{"9223372036854775808", 0, money.ErrOverflow},
		{"1.5", 0, money.ErrScale},
		{"1.", 0, money.ErrDecimal},
		{".0", 0, money.ErrDecimal},
		{"", 0, money.ErrDecimal},
		{"-1", 0, money.ErrDecimal},
		{"ten", 0, money.ErrDecimal},
	} {
		if got, err := money.ParseCount(c.in); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("ParseCount(%q) = %d, %v; want %d, %v", c.in, got, err, c.want, c.err)
		}
	}
}

func TestErrorTextsDoNotGrowWithTheInput(t *testing.T) {
	long := strings.Repeat("7", 1<<16)
	for name, parse := range map[string]func(string) error{
		"price": func(s string) error { _, err := money.ParsePrice(s); return err },
		"nano":  func(s string) error { _, err := money.ParseNano(s); return err },
		"count": func(s string) error { _, err := money.ParseCount(s); return err },
	} {
		for _, in := range []string{long, "x" + long, "0." + long, long + "."} {
			err := parse(in)
			if err == nil {
				t.Fatalf("%s: %.10q… was taken", name, in)
			}
			if len(err.Error()) > 200 {
				t.Errorf("%s: %.10q…: the error has %d bytes", name, in, len(err.Error()))
			}
		}
	}
}

func TestAmountsPrintAsDecimals(t *testing.T) {
	for in, want := range map[money.Nano]string{
		0:              "0.00",
		1:              "0.000000001",
		10_000_000:     "0.01",
		12_500_000_000: "12.50",
		12_505_000_000: "12.505",
		-1:             "-0.000000001",
		-2_500_000_000: "-2.50",
		math.MaxInt64:  "9223372036.854775807",
		math.MinInt64:  "-9223372036.854775808",
	} {
		if got := in.String(); got != want {
			t.Errorf("Nano(%d) = %q; want %q", int64(in), got, want)
		}
	}
	for in, want := range map[money.Pico]string{0: "0.00", 1: "0.000001", 2_500_000: "2.50", 10_000_000: "10.00"} {
		if got := in.PerMillion(); got != want {
			t.Errorf("Pico(%d) = %q; want %q", int64(in), got, want)
		}
	}
}

func TestWhatIsPrintedReadsBackTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := money.Nano(rapid.Int64Min(0).Draw(t, "nano"))
		if got, err := money.ParseNano(n.String()); err != nil || got != n {
			t.Fatalf("ParseNano(%q) = %d, %v; want %d", n, got, err, n)
		}
		p := money.Pico(rapid.Int64Min(0).Draw(t, "pico"))
		if got, err := money.ParsePrice(p.PerMillion()); err != nil || got != p {
			t.Fatalf("ParsePrice(%q) = %d, %v; want %d", p.PerMillion(), got, err, p)
		}
	})
}

func TestParsingEqualsUnlimitedArithmetic(t *testing.T) {
	giga := new(big.Rat).SetInt64(1_000_000_000)
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.StringMatching(`[0-9]{1,12}(\.[0-9]{1,12})?`).Draw(t, "decimal")
		exact, ok := new(big.Rat).SetString(in)
		if !ok {
			t.Fatalf("the test made %q, which is no number", in)
		}
		exact.Mul(exact, giga)
		got, err := money.ParseNano(in)
		switch {
		case !exact.IsInt():
			if !errors.Is(err, money.ErrScale) {
				t.Fatalf("ParseNano(%q) = %d, %v; want %v", in, got, err, money.ErrScale)
			}
		case !exact.Num().IsInt64():
			if !errors.Is(err, money.ErrOverflow) {
				t.Fatalf("ParseNano(%q) = %d, %v; want %v", in, got, err, money.ErrOverflow)
			}
		case err != nil || int64(got) != exact.Num().Int64():
			t.Fatalf("ParseNano(%q) = %d, %v; want %s", in, got, err, exact)
		}
	})
}
