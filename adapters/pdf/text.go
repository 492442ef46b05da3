package pdf

import (
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/image/font/sfnt"
)

// script knows what the document's font can show.
type script struct {
	font   *sfnt.Font
	buffer sfnt.Buffer
	known  map[rune]bool
}

func newScript(ttf []byte) (*script, error) {
	f, err := sfnt.Parse(ttf)
	if err != nil {
		return nil, fmt.Errorf("read font: %w", err)
	}
	return &script{font: f, known: map[rune]bool{}}, nil
}

// shows reports whether the font has a glyph for the character. The document's
// font table ends with the basic plane.
func (s *script) shows(r rune) bool {
	if r > 0xFFFF {
		return false
	}
	shown, asked := s.known[r]
	if !asked {
		index, err := s.font.GlyphIndex(&s.buffer, r)
		shown = err == nil && index != 0
		s.known[r] = shown
	}
	return shown
}

// replacement stands for a character that can't be shown.
const replacement = '?'

// clean makes a text one that is shown as it is read: spaces and line breaks become
// spaces, control and format characters (those that turn the direction of what
// follows among them) go, and what the font lacks is replaced. The document's own
// mark for the number of pages is no text.
func (s *script) clean(text string) string {
	text = strings.ToValidUTF8(text, string(replacement))
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs, unicode.Mn, unicode.Me) && !s.mark(r):
			return -1
		case !s.shows(r):
			return replacement
		}
		return r
	}, text)
	return strings.Join(strings.Fields(strings.ReplaceAll(text, "{nb}", "{ nb}")), " ")
}

// mark reports whether a character is an accent that the font can put over a letter.
func (s *script) mark(r rune) bool { return unicode.Is(unicode.Mn, r) && s.shows(r) }

// grouped writes digits in groups of three: 1234567.50 as 1,234,567.50.
func grouped(text string) string {
	whole, frac, point := strings.Cut(text, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	var out strings.Builder
	for i, c := range []byte(whole) {
		if i > 0 && (len(whole)-i)%3 == 0 {
			out.WriteByte(',')
		}
		out.WriteByte(c)
	}
	if point {
		out.WriteString("." + frac)
	}
	return sign + out.String()
}
