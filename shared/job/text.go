package job

import (
	"regexp"
	"strings"
)

// maxText is how long the text of an error is kept, in bytes.
const maxText = 500

// readable is an error as it is kept for operators: short, in one line, and
// without what looks like a password or a key. The log has all of it.
func readable(err error) string {
	text := strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(err.Error(), "?"))
	// Compiled when something failed, not at each start of a process.
	for _, secret := range []struct{ form, with string }{
		{`://[^/@\s]*@`, "://…@"},
		{`(?i)\b(password|passwd|secret|token|apikey|api_key|authorization)(["']?\s*[=:]\s*)("[^"]*"|'[^']*'|(bearer\s+)?[^\s,;]+)`, "$1$2…"},
		{`(?i)\b(bearer\s+|aiaas_[a-z]+_|sk-)[\w.~+/=-]{8,}`, "$1…"},
	} {
		text = regexp.MustCompile(secret.form).ReplaceAllString(text, secret.with)
	}
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}
