package password

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/trustelem/zxcvbn"
	"golang.org/x/text/unicode/norm"

	"github.com/aiaas/aiaas/shared/fault"
)

const (
	// MinLength is the shortest new password, in characters. NIST SP 800-63B asks for 8
	// beside a second factor and 15 without one; roles that may do harm need the factor
	// here, and the estimate below refuses what is long and easy.
	MinLength = 12
	// MaxBytes is the longest password, in bytes of UTF-8: more than four lines of
	// text, and few enough to look at.
	MaxBytes = 256
)

const (
	// leastGuesses is how many guesses a password must withstand where they are as
	// good as the best known: zxcvbn's "safely unguessable" begins there. Its ranked
	// lists hold the 30,000 most common passwords, names and words.
	leastGuesses = 1e8
	// estimated is how much of a password is looked at to estimate it: the time taken
	// grows with the square of the length.
	estimated = 100
	// leastOwn is how much of a password must be none of the person's own words.
	leastOwn = 8
	// shortWord is the longest of the person's words that does not count: initials.
	shortWord = 2
)

// Check returns nil where a new password is good enough, else Unprocessable that says
// why. Words are what others know of the person: name, e-mail address, organisation.
func Check(text string, words ...string) error {
	text = norm.NFC.String(text)
	switch {
	case len(text) > MaxBytes:
		return refuse("long", "a password has at most %d bytes", MaxBytes)
	case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		return refuse("unreadable", "a password has no control characters")
	case utf8.RuneCountInString(text) < MinLength:
		return refuse("short", "a password has at least %d characters; a few words that come to nobody else's mind are easy to keep", MinLength)
	}
	own := split(words)
	if personal(text, own) {
		return refuse("personal", "too much of the password is known of you: your name, your address or your organization")
	}
	if zxcvbn.PasswordStrength(prefix(text), own).Guesses < leastGuesses {
		return refuse("common", "the password is easy to guess: it is one that many use, a row of keys, or a repetition")
	}
	return nil
}

func refuse(why, text string, args ...any) error {
	return fault.New(fault.Unprocessable, text, args...).With("reason", why)
}

// prefix is the beginning that is estimated; what follows only makes it harder.
func prefix(text string) string {
	if len(text) <= estimated {
		return text
	}
	return strings.ToValidUTF8(text[:estimated], "")
}

// split returns the words within texts, in lower case, and those texts themselves
// without what separates their words; the longest first.
func split(texts []string) []string {
	var out []string
	for _, text := range texts {
		parts := strings.FieldsFunc(fold(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		out = append(append(out, parts...), strings.Join(parts, ""))
	}
	out = slices.DeleteFunc(out, func(w string) bool { return utf8.RuneCountInString(w) <= shortWord })
	slices.SortFunc(out, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return slices.Compact(out)
}

func fold(s string) string { return strings.ToLower(norm.NFC.String(s)) }

// personal reports whether the person's words make up so much of a text that little
// else is left of it.
func personal(text string, words []string) bool {
	rest := fold(text)
	for _, w := range words {
		rest = strings.ReplaceAll(rest, w, " ")
	}
	left := 0
	for _, r := range rest {
		if !unicode.IsSpace(r) {
			left++
		}
	}
	return len(rest) != len(fold(text)) && left < leastOwn
}
