// Package money is exact arithmetic on integers: no float comes near a price.
//
// A [Pico] is a price: pico units (10⁻¹²) of a currency for one token, which is
// exactly the sixth decimal of a price per million tokens. A [Nano] is an amount:
// nano units (10⁻⁹) of a currency. Between the two there is one rounding, half
// to even, and every step checks for overflow.
package money

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strings"
)

// Pico is a price for one token, in 10⁻¹² of the currency's unit.
type Pico int64

// Nano is an amount, in 10⁻⁹ of the currency's unit.
type Nano int64

// Errors of this package.
var (
	ErrOverflow = errors.New("amount is out of range")
	ErrDecimal  = errors.New("not a decimal number")
	ErrScale    = errors.New("too many decimals")
)

const (
	nanoDecimals = 9
	picoDecimals = 6 // of a price per million tokens
)

// Item is a number of tokens at a price.
type Item struct {
	Tokens int64
	Price  Pico
}

// Total is the cost of the items: summed in pico, rounded once, half to even.
// Negative tokens or prices, and results beyond an int64, are ErrOverflow.
func Total(items ...Item) (Nano, error) {
	var hi, lo uint64
	for _, it := range items {
		if it.Tokens < 0 || it.Price < 0 {
			return 0, ErrOverflow
		}
		h, l := bits.Mul64(uint64(it.Tokens), uint64(it.Price))
		var carry uint64
		lo, carry = bits.Add64(lo, l, 0)
		hi, carry = bits.Add64(hi, h, carry)
		if carry != 0 {
			return 0, ErrOverflow
		}
	}
	const picoPerNano = 1000
	if hi >= picoPerNano { // the quotient would not fit 64 bits
		return 0, ErrOverflow
	}
	q, r := bits.Div64(hi, lo, picoPerNano)
	if r > picoPerNano/2 || (r == picoPerNano/2 && q&1 == 1) {
		q++
	}
	if q > math.MaxInt64 {
		return 0, ErrOverflow
	}
	return Nano(q), nil
}

// ParsePrice reads a price per million tokens ("2.50") with at most six decimals.
func ParsePrice(perMillion string) (Pico, error) {
	v, err := parse(perMillion, picoDecimals)
	return Pico(v), err
}

// ParseNano reads an amount ("12.50") with at most nine decimals.
func ParseNano(s string) (Nano, error) {
	v, err := parse(s, nanoDecimals)
	return Nano(v), err
}

// ParseCount reads a whole number of things (tokens, requests). Decimals are
// allowed where they are zero ("100.00"), because amounts of all units share one
// form on the wire.
func ParseCount(s string) (int64, error) {
	whole, frac, _ := strings.Cut(s, ".")
	if strings.Trim(frac, "0") != "" {
		return 0, fmt.Errorf("%q: %w", clip(s), ErrScale)
	}
	if strings.HasSuffix(s, ".") {
		return 0, fmt.Errorf("%q: %w", clip(s), ErrDecimal)
	}
	return parse(whole, 0)
}

// parse reads digits with an optional fraction. Signs, exponents, spaces and
// separators are not decimal numbers here: an amount that needs interpreting is
// an amount that can be misread.
func parse(s string, decimals int) (int64, error) {
	whole, frac, point := strings.Cut(s, ".")
	if whole == "" || (point && frac == "") || !digits(whole) || !digits(frac) {
		return 0, fmt.Errorf("%q: %w", clip(s), ErrDecimal)
	}
	if len(frac) > decimals {
		if strings.Trim(frac[decimals:], "0") != "" {
			return 0, fmt.Errorf("%q: %w (at most %d)", clip(s), ErrScale, decimals)
		}
		frac = frac[:decimals]
	}
	var v int64
	for _, c := range []byte(whole + frac + strings.Repeat("0", decimals-len(frac))) {
		d := int64(c - '0')
		if v > (math.MaxInt64-d)/10 {
			return 0, fmt.Errorf("%q: %w", clip(s), ErrOverflow)
		}
		v = v*10 + d
	}
	return v, nil
}

func digits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// clip keeps hostile input from filling an error text.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

// PerMillion is the price as a decimal per million tokens: "2.5".
func (p Pico) PerMillion() string { return format(int64(p), picoDecimals, 2) }

// String is the amount as a decimal: "12.50". At least two decimals, more where
// they are not zero.
func (n Nano) String() string { return format(int64(n), nanoDecimals, 2) }

func format(v int64, decimals, least int) string {
	sign := ""
	u := uint64(v) //nolint:gosec // two's complement: negated below, it is the magnitude, of MinInt64 too
	if v < 0 {
		sign, u = "-", -u
	}
	s := fmt.Sprintf("%0*d", decimals+1, u)
	whole, frac := s[:len(s)-decimals], s[len(s)-decimals:]
	end := len(frac)
	for end > least && frac[end-1] == '0' {
		end--
	}
	return sign + whole + "." + frac[:end]
}
