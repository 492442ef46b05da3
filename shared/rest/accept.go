package rest

import (
	"strconv"
	"strings"
	"unicode"
)

// skipped tells whether a spreadsheet may look past a character at the beginning
// of a cell.
func skipped(r rune) bool {
	return unicode.IsSpace(r) || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zs) || strings.ContainsRune("\"'`´‘’“”„«»＇＂", r)
}

// preference is what a request says of one media type.
type preference struct {
	quality  float64
	specific int // 3: named itself, 2: its family, 1: anything, 0: not at all
	place    int // in the header
}

// prefersCSV reads an Accept header (RFC 9110, 12.5.1). JSON wins where the header
// says nothing of rows, or wants both alike; of two that are named themselves, with
// the same quality, the first.
func prefersCSV(accept string) bool {
	rows, objects := preferenceFor(accept, "text", "csv"), preferenceFor(accept, "application", "json")
	switch {
	case rows.quality == 0 || rows.quality < objects.quality:
		return false
	case rows.quality > objects.quality:
		return true
	case rows.specific != objects.specific:
		return rows.specific > objects.specific
	}
	return rows.place < objects.place
}

func preferenceFor(accept, family, kind string) (p preference) {
	for i, item := range strings.Split(accept, ",") {
		media, params, _ := strings.Cut(item, ";")
		specific := 0
		switch strings.ToLower(strings.TrimSpace(media)) {
		case family + "/" + kind:
			specific = 3
		case family + "/*":
			specific = 2
		case "*/*":
			specific = 1
		}
		if specific > p.specific {
			p = preference{quality: qualityOf(params), specific: specific, place: i}
		}
	}
	return p
}

// qualityOf reads q; one that can't be read refuses.
func qualityOf(params string) float64 {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		if !strings.EqualFold(name, "q") {
			continue
		}
		q, err := strconv.ParseFloat(value, 64)
		if err != nil || !(q >= 0 && q <= 1) { // also what is no number
			return 0
		}
		return q
	}
	return 1
}
