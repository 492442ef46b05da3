// Package naming says what people may call things, so that a name is the same to
// everybody who sees it: in a list, a mail, a log or a terminal.
//
// A name is one line of visible text. What shows nothing, or changes how the text
// beside it is shown, can make one thing look like another and is refused.
package naming

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/aiaas/aiaas/shared/fault"
)

// The longest texts, in characters.
const (
	LongestName        = 100
	LongestDescription = 500
)

// Name returns what is wrong with the name of a thing; param is the member of the
// request that has it.
func Name(param, text string) error {
	switch {
	case strings.TrimSpace(text) == "":
		return fault.New(fault.Unprocessable, "it needs a %s", param).At(param)
	case strings.TrimSpace(text) != text:
		return fault.New(fault.Unprocessable, "a %s begins and ends with a visible character", param).At(param)
	}
	return Line(param, text, LongestName)
}

// Line returns what is wrong with a text of one line, which may be empty.
func Line(param, text string, longest int) error {
	switch {
	case !utf8.ValidString(text) || strings.ContainsFunc(text, hidden):
		return fault.New(fault.Unprocessable, "%s has characters that are not shown, or change how others are shown", param).At(param)
	case utf8.RuneCountInString(text) > longest:
		return fault.New(fault.Unprocessable, "%s has at most %d characters", param, longest).At(param)
	}
	return nil
}

// hidden tells whether a character shows nothing, or changes how others are shown.
// The joiners that Persian and Indic names and emoji need do neither by themselves.
func hidden(r rune) bool {
	switch {
	case r == '\u200c' || r == '\u200d':
		return false
	case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs, unicode.Zl, unicode.Zp):
		return true
	}
	// Letters without any ink, whatever their class says.
	return r == '\u115f' || r == '\u1160' || r == '\u3164' || r == '\uffa0'
}
