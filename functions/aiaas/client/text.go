package client

import (
	"fmt"
	"io"
	"math/big"
	"strings"
	"unicode"
)

// printable keeps what a terminal would obey out of a text that came from
// elsewhere: an escape sequence in a key's name must not colour, move or retitle
// anything.
func printable(s string) string {
	if !strings.ContainsFunc(s, hidden) {
		return s
	}
	var out strings.Builder
	for _, r := range s {
		if hidden(r) {
			fmt.Fprintf(&out, `\u{%x}`, r)
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

// hidden are control characters, and those that turn the direction of writing.
func hidden(r rune) bool {
	return unicode.IsControl(r) || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069) || r == 0x2028 || r == 0x2029 || r == 0xfeff
}

// width is how many columns of a terminal a text takes.
func width(s string) (n int) {
	for _, r := range s {
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		case wide(r):
			n += 2
		default:
			n++
		}
	}
	return n
}

// wide are the characters that take two columns: East Asian Wide and Fullwidth of
// Unicode's UAX 11, by their blocks.
func wide(r rune) bool {
	for _, block := range [...][2]rune{
		{0x1100, 0x115f}, {0x2e80, 0x303e}, {0x3041, 0x33ff}, {0x3400, 0x4dbf}, {0x4e00, 0x9fff}, {0xa000, 0xa4cf},
		{0xa960, 0xa97c}, {0xac00, 0xd7a3}, {0xf900, 0xfaff}, {0xfe30, 0xfe6f}, {0xff00, 0xff60}, {0xffe0, 0xffe6},
		{0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd},
	} {
		if r >= block[0] && r <= block[1] {
			return true
		}
	}
	return false
}

// grid is a table: its titles, which columns stand to the right, and its rows.
type grid struct {
	titles []string
	right  []bool
	rows   [][]string
}

// print aligns the columns by what is seen. There are no colours: the output of a
// command is read by programs too.
func (g *grid) print(w io.Writer) error {
	widths := make([]int, len(g.titles))
	all := append([][]string{g.titles}, g.rows...)
	for _, row := range all {
		for i, cell := range row {
			widths[i] = max(widths[i], width(cell))
		}
	}
	for _, row := range all {
		var line strings.Builder
		for i, cell := range row {
			gap := strings.Repeat(" ", widths[i]-width(cell))
			if g.right[i] {
				cell = gap + cell
			} else {
				cell += gap
			}
			if i > 0 {
				line.WriteString("  ")
			}
			line.WriteString(cell)
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line.String(), " ")); err != nil {
			return fmt.Errorf("write table: %w", err)
		}
	}
	return nil
}

// decimal writes nano units as a decimal number, exactly: at least two decimals,
// and no more zeros than that.
func decimal(nano string) string {
	n, ok := new(big.Int).SetString(nano, 10)
	if !ok {
		return nano
	}
	sign := ""
	if n.Sign() < 0 {
		sign, n = "-", n.Neg(n)
	}
	digits := fmt.Sprintf("%010s", n.String())
	whole, part := digits[:len(digits)-9], strings.TrimRight(digits[len(digits)-9:], "0")
	for len(part) < 2 {
		part += "0"
	}
	return sign + whole + "." + part
}
