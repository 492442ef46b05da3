package audit

import (
	"strings"
)

// secretForms are how secrets of the platform begin, and how many characters follow
// at least. Somebody may write one into a name or a reason; a record is for ever.
func secretForms() map[string]int {
	return map[string]int{"aiaas_live_": 49, "aiaas_dev_": 49, "whsec_": 24}
}

// Masked returns the record with secrets of the platform's own forms left out of its
// details.
func (r Record) Masked() Record {
	if r.Detail != nil {
		r.Detail, _ = mask(r.Detail).(map[string]any)
	}
	return r
}

func mask(v any) any {
	switch v := v.(type) {
	case string:
		return maskText(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, member := range v {
			out[name] = mask(member)
		}
		return out
	case []string:
		out := make([]string, len(v))
		for i, s := range v {
			out[i] = maskText(s)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = mask(item)
		}
		return out
	case map[string]string:
		out := make(map[string]string, len(v))
		for name, s := range v {
			out[name] = maskText(s)
		}
		return out
	}
	return v
}

// maskText leaves of a secret its beginning, which says what it was.
func maskText(s string) string {
	for prefix, least := range secretForms() {
		for from := 0; ; {
			at := strings.Index(s[from:], prefix)
			if at < 0 {
				break
			}
			at += from + len(prefix)
			n := alphanumeric(s[at:])
			if n >= least {
				s = s[:at] + "…" + s[at+n:]
			}
			from = at
		}
	}
	return s
}

// alphanumeric is how many characters of base 62 or base 64 a text begins with.
func alphanumeric(s string) int {
	for i, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '+' && c != '/' && c != '=' {
			return i
		}
	}
	return len(s)
}
