package egress_test

import "fmt"

// notations writes an address in every way that inet_aton reads.
func notations(v uint32) []string {
	var out []string
	parts := [][]uint32{
		{v},
		{v >> 24, v & 0xffffff},
		{v >> 24, v >> 16 & 0xff, v & 0xffff},
		{v >> 24, v >> 16 & 0xff, v >> 8 & 0xff, v & 0xff},
	}
	for _, numbers := range parts {
		for _, form := range []string{"%d", "0x%x", "0X%X", "0%o", "000%o"} {
			text := ""
			for i, n := range numbers {
				if i > 0 {
					text += "."
				}
				text += fmt.Sprintf(form, n)
			}
			out = append(out, text, text+".")
		}
	}
	return out
}
