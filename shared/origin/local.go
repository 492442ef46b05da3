package origin

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// maxLocalPath is the longest path that [LocalPath] takes, in bytes: an OAuth
// request with all its parameters fits, and so does the header that carries it.
const maxLocalPath = 2048

// LocalPath tells whether a text is an absolute path on this server, with a query and
// a fragment or without, as in "/account?tab=keys#new", and returns it as it may stand
// in a Location header or an address bar. It is for texts that say where to go next
// and come from whoever made the link.
//
// What two readers could read in two ways is refused, not mended: "//host" and
// "/\host" are other servers to a browser, which also drops tabs and line breaks
// wherever they stand; proxies undo %2f, %5c and what was encoded twice; dot segments
// lead to another path than the one that was looked at.
func LocalPath(text string) (string, bool) {
	if text == "" || text[0] != '/' || len(text) > maxLocalPath || !plainURL(text) {
		return "", false
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return "", false
	}
	if !plainPath(u) {
		return "", false
	}
	if _, err := url.ParseQuery(u.RawQuery); err != nil {
		return "", false
	}
	return text, true
}

// plainURL tells whether a text has only characters that a URL is written with.
func plainURL(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune("\\\"<>^`{|}", r)
	})
}

// plainPath tells whether the path is the same however often it is decoded and
// cleaned.
func plainPath(u *url.URL) bool {
	if strings.Contains(strings.ToLower(u.EscapedPath()), "%2f") || strings.Contains(u.Path, "//") ||
		strings.ContainsAny(u.Path, "\\%") || !utf8.ValidString(u.Path) {
		return false
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return !strings.ContainsFunc(u.Path, func(r rune) bool { return r < ' ' || (r >= 0x7f && r < 0xa0) })
}
