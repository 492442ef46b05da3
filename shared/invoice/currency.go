package invoice

import (
	"strings"

	"github.com/aiaas/aiaas/shared/money"
)

// Decimals is how many decimals amounts of a currency have (ISO 4217, list one).
func Decimals(currency string) int {
	switch currency {
	case "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF":
		return 0
	case "BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND":
		return 3
	case "CLF", "UYW":
		return 4
	}
	return 2
}

// coin is the smallest amount that a currency can pay, in nano.
func coin(currency string) money.Nano {
	c := money.Nano(1_000_000_000)
	for range Decimals(currency) {
		c /= 10
	}
	return c
}

// Format writes an amount with the decimals of its currency, more where it has
// more: "12.30", "1200" for yen.
func Format(n money.Nano, currency string) string {
	text := n.String() // at least two decimals
	whole, frac, _ := strings.Cut(text, ".")
	least := Decimals(currency)
	frac = strings.TrimRight(frac, "0")
	if len(frac) < least {
		frac += strings.Repeat("0", least-len(frac))
	}
	if frac == "" {
		return whole
	}
	return whole + "." + frac
}
