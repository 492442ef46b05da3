package mail

import (
	"strings"
	"unicode"
)

// Name is a text that somebody chose: of a key, a person, an organisation. Its
// String can stand in a mail.
type Name string

const (
	// maxName is how much of a name is shown, in characters.
	maxName = 80
	// maxLine is the most that one text of a page has, in characters.
	maxLine = 1000
	// maxSubject keeps a subject in what mailboxes show and servers take.
	maxSubject = 150
	// maxMarks is how many combining marks may stand on one letter: more of them
	// reach over the lines above and below.
	maxMarks = 3
)

// The marks between which a name stands in a text of a page. Both are isolates: a
// name written from right to left does not turn the text around it.
const (
	nameBegins = '\u2068'
	nameEnds   = '\u2069'
)

// String is the name as one short line.
func (n Name) String() string {
	return string(nameBegins) + clean(string(n), maxName, nil) + string(nameEnds)
}

// Or is the name, or another where it is empty.
func (n Name) Or(other string) string {
	if clean(string(n), maxName, nil) == "" {
		return other
	}
	return n.String()
}

// hidden tells whether a character shows nothing, or changes how others are shown:
// controls, marks of direction, what can't be seen. The joiners that Persian and
// Indic names and emoji need are none.
func hidden(r rune) bool {
	switch {
	case r == '\u200c' || r == '\u200d':
		return false
	case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp):
		return true
	}
	// Letters and marks without any ink, whatever their class says.
	return r == '\u115f' || r == '\u1160' || r == '\u3164' || r == '\uffa0' || (r >= '\ufe00' && r <= '\ufe0f') || (r >= 0xe0100 && r <= 0xe01ef)
}

// clean makes one line of at most so many characters, without hidden ones but
// those to keep.
func clean(s string, most int, keep func(rune) bool) string {
	var b strings.Builder
	length, marks, gap := 0, 0, false
	for _, r := range strings.ToValidUTF8(s, "\ufffd") {
		kept := keep != nil && keep(r)
		switch {
		case unicode.IsSpace(r) || unicode.In(r, unicode.Zl, unicode.Zp):
			gap = length > 0
			continue
		case !kept && hidden(r):
			continue
		case unicode.In(r, unicode.Mn, unicode.Me):
			if marks++; marks > maxMarks {
				continue
			}
		default:
			marks = 0
		}
		if gap {
			b.WriteByte(' ')
			length, gap = length+1, false
		}
		if length >= most {
			b.WriteRune('…')
			break
		}
		b.WriteRune(r)
		length++
	}
	return b.String()
}

// line is a text of a page on one line, with the marks of names.
func line(s string) string {
	return unlink(clean(s, maxLine, func(r rune) bool { return r == nameBegins || r == nameEnds }))
}

// SubjectLine is the subject of a page as a header can hold it.
func SubjectLine(s string) string { return clean(s, maxSubject, nil) }

// Plain is a text of a page on one line, without the marks of names.
func Plain(s string) string { return unlink(clean(s, maxLine, nil)) }

// unlink writes addresses in the way in which nobody's program makes a link of
// them: example[.]com, https[:]//…. A key may be named after a site, but no mail of
// ours leads there; the one link of a page is no text.
func unlink(s string) string {
	s = strings.ReplaceAll(s, "://", "[:]//")
	runes := []rune(s)
	var b strings.Builder
	for i, r := range runes {
		if r == '.' && i > 0 && i+1 < len(runes) && alnum(runes[i-1]) && unicode.IsLetter(runes[i+1]) {
			b.WriteString("[.]")
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func alnum(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// Segment is a piece of a line: a name or what stands between names.
type Segment struct {
	Text string
	Name bool
}

// Segments cuts a text of a page at the marks of names.
func Segments(s string) []Segment {
	var out []Segment
	rest, inside := line(s), false
	for rest != "" {
		i := strings.IndexAny(rest, string(nameBegins)+string(nameEnds))
		piece := rest
		if i >= 0 {
			piece = rest[:i]
		}
		if piece != "" {
			out = append(out, Segment{Text: piece, Name: inside})
		}
		if i < 0 {
			break
		}
		inside = strings.HasPrefix(rest[i:], string(nameBegins))
		rest = rest[i+len(string(nameBegins)):]
	}
	return out
}
