package invoice_test

import (
	"math"
	"testing"
	"time"
	_ "time/tzdata"

	"pgregory.net/rapid"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/invoice"
	"github.com/aiaas/aiaas/shared/money"
)

const cent = 10_000_000

func lines(usage ...money.Nano) []invoice.Line {
	out := make([]invoice.Line, len(usage))
	for i, u := range usage {
		out[i].Usage = u
	}
	return out
}

func TestRounding(t *testing.T) {
	for _, c := range []struct {
		name     string
		currency string
		usage    []money.Nano
		amounts  []money.Nano
	}{
		{"nothing", "USD", nil, nil},
		{"zero", "USD", []money.Nano{0, 0}, []money.Nano{0, 0}},
		{"whole cents stay", "USD", []money.Nano{3 * cent, cent}, []money.Nano{3 * cent, cent}},
		{"below half a cent", "USD", []money.Nano{4_999_999}, []money.Nano{0}},
		{"half a cent goes to the even one", "USD", []money.Nano{5_000_000}, []money.Nano{0}},
		{"and up to the even one", "USD", []money.Nano{cent + 5_000_000}, []money.Nano{2 * cent}},
		{"above half a cent", "USD", []money.Nano{5_000_001}, []money.Nano{cent}},
		{"one cent of three thirds, to the first of equals", "USD", []money.Nano{3_333_333, 3_333_333, 3_333_333}, []money.Nano{cent, 0, 0}},
		{"to the largest remainder", "USD", []money.Nano{3_000_000, 3_500_000, 3_400_000}, []money.Nano{0, cent, 0}},
		{"more than one", "USD", []money.Nano{9_000_000, 9_000_000, 1_000_000}, []money.Nano{cent, cent, 0}},
		{"yen have no decimals", "JPY", []money.Nano{1_400_000_000, 400_000_000}, []money.Nano{2_000_000_000, 0}},
		{"dinars have three", "KWD", []money.Nano{1_400_000}, []money.Nano{1_000_000}},
		{"a credit", "USD", []money.Nano{-4_000_000, -4_000_000}, []money.Nano{0, -cent}},
		{"a credit of a half", "USD", []money.Nano{-5_000_000}, []money.Nano{0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			list := lines(c.usage...)
			total, err := invoice.Round(list, c.currency)
			if err != nil {
				t.Fatal(err)
			}
			var sum money.Nano
			for i, l := range list {
				sum += l.Amount
				if l.Amount != c.amounts[i] || l.Rounding != l.Amount-l.Usage {
					t.Errorf("line %d: %d, of it %d rounding; want %d", i, l.Amount, l.Rounding, c.amounts[i])
				}
			}
			if total.Amount != sum || total.Usage+total.Rounding != sum {
				t.Errorf("total %+v; want %d", total, sum)
			}
		})
	}
}

func TestASumBeyondTheRangeIsRefused(t *testing.T) {
	for _, usage := range [][]money.Nano{{math.MaxInt64, 1}, {math.MaxInt64}, {math.MinInt64, -1}} {
		if total, err := invoice.Round(lines(usage...), "USD"); err == nil {
			t.Errorf("%d gives %+v", usage, total)
		}
	}
}

// The total is the exact sum rounded once; no line is off by a coin; what is rounded
// is half a coin at most over all of them.
func TestRoundingKeepsTheSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		currency := rapid.SampledFrom([]string{"USD", "JPY", "KWD", "CLF"}).Draw(t, "currency")
		coin := map[string]money.Nano{"USD": cent, "JPY": 1_000_000_000, "KWD": 1_000_000, "CLF": 100_000}[currency]
		var list []invoice.Line
		var exact money.Nano
		for _, u := range rapid.SliceOfN(rapid.Int64Range(0, int64(coin)*20), 0, 60).Draw(t, "usage") {
			list = append(list, invoice.Line{Figures: invoice.Figures{Usage: money.Nano(u), Requests: 1}})
			exact += money.Nano(u)
		}
		total, err := invoice.Round(list, currency)
		if err != nil {
			t.Fatal(err)
		}
		var sum money.Nano
		for i, l := range list {
			if l.Amount%coin != 0 || l.Rounding <= -coin || l.Rounding >= coin {
				t.Fatalf("line %d of %d is billed with %d", i, l.Usage, l.Amount)
			}
			sum += l.Amount
		}
		diff := sum - exact
		if sum != total.Amount || total.Usage != exact || total.Rounding != diff || total.Requests != int64(len(list)) {
			t.Fatalf("total %+v; the lines are %d of %d", total, sum, exact)
		}
		if diff*2 > coin || diff*2 < -coin || (diff*2 == coin || diff*2 == -coin) && sum/coin%2 != 0 {
			t.Fatalf("%d is rounded to %d", exact, sum)
		}
	})
}

func TestMonths(t *testing.T) {
	for _, c := range []struct{ month, zone, start, end string }{
		{"2026-10", "UTC", "2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z"},
		{"2026-10", "Europe/Berlin", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"},
		{"2028-02", "Asia/Tokyo", "2028-01-31T15:00:00Z", "2028-02-29T15:00:00Z"},
		{"2026-12", "America/New_York", "2026-12-01T05:00:00Z", "2027-01-01T05:00:00Z"},
		{"2011-12", "Pacific/Apia", "2011-12-01T10:00:00Z", "2011-12-31T10:00:00Z"},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		m, err := invoice.ParseMonth(c.month)
		if err != nil {
			t.Fatal(err)
		}
		start, end := m.Bounds(zone)
		if start.Format(time.RFC3339) != c.start || end.Format(time.RFC3339) != c.end {
			t.Errorf("%s in %s: %s to %s", c.month, c.zone, start, end)
		}
		if m.String() != c.month || m.Next().Previous() != m || !m.Next().After(m) || m.After(m) {
			t.Errorf("%s: %v, next %v", c.month, m, m.Next())
		}
		if at := invoice.MonthAt(end.Add(-time.Microsecond), zone); at != m {
			t.Errorf("the last moment of %s is in %v", m, at)
		}
		if at := invoice.MonthAt(end, zone); at != m.Next() {
			t.Errorf("the moment after %s is in %v", m, at)
		}
	}
	for _, text := range []string{"", "2026", "2026-13", "2026-1", "0000-01", "2026-10-01", " 2026-10", "-001-10"} {
		if m, err := invoice.ParseMonth(text); !fault.Is(err, fault.Unprocessable) {
			t.Errorf("%q is read as %v, %v", text, m, err)
		}
	}
}

func TestAmountsHaveTheDecimalsOfTheirCurrency(t *testing.T) {
	for _, c := range []struct {
		amount   money.Nano
		currency string
		want     string
	}{
		{12_300_000_000, "USD", "12.30"}, {0, "USD", "0.00"}, {-10_000_000, "EUR", "-0.01"}, {12_000_000_000, "JPY", "12"}, {0, "JPY", "0"},
		{1_000_000, "KWD", "0.001"}, {12_345_678, "USD", "0.012345678"}, {1_500_000_000, "JPY", "1.5"}, {math.MaxInt64, "USD", "9223372036.854775807"},
		{math.MinInt64, "USD", "-9223372036.854775808"}, {100_000, "CLF", "0.0001"}, {1_000_000_000, "XYZ", "1.00"},
	} {
		if got := invoice.Format(c.amount, c.currency); got != c.want {
			t.Errorf("%d %s is %s; want %s", c.amount, c.currency, got, c.want)
		}
	}
}
