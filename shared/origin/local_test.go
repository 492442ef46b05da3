package origin_test

import (
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/aiaas/aiaas/shared/origin"
)

func TestOnlyPathsOnThisServerAreLocal(t *testing.T) {
	for text, want := range map[string]bool{
		// What the pages and the OAuth routes link to.
		"/":                         true,
		"/account":                  true,
		"/account#passkeys":         true,
		"/device?user_code=BCDF":    true,
		"/oauth/consent?request=r1": true,
		"/oauth/authorize?redirect_uri=http%3A%2F%2F127.0.0.1%3A9%2Fcb&scope=a+b&state=%0d": true,
		"/oauth/authorize?redirect_uri=http://127.0.0.1/cb":                                 true, // in a query it leads nowhere
		"/docs/a%20b/%C3%A4": true,
		"/.well-known/x":     true,
		"/a:b@c":             true,

		// No path at all.
		"":                     false,
		"account":              false,
		"?x":                   false,
		"#x":                   false,
		".":                    false,
		"../account":           false,
		"https://evil.example": false,
		"https:evil.example":   false,
		"javascript:alert(1)":  false,
		"data:text/html,x":     false,
		"mailto:a@b":           false,
		" /account":            false,

		// Other servers, as browsers read them.
		"//evil.example":         false,
		"///evil.example":        false,
		"/\\evil.example":        false,
		"\\\\evil.example":       false,
		"/\\/evil.example":       false,
		"/\t/evil.example":       false,
		"/\n/evil.example":       false,
		"/\r/evil.example":       false,
		"\t//evil.example":       false,
		"/ /evil.example":        false,
		"/%09/evil.example":      false,
		"/%0a/evil.example":      false,
		"/%00":                   false,
		"/\x00":                  false,
		"/\x7f":                  false,
		"/a\r\nSet-Cookie: a=b":  false,
		"/%0d%0aSet-Cookie:%20x": false,
		"/%c2%85":                false, // a control character beyond ASCII

		// Other servers once a proxy has decoded or cleaned them.
		"/%2fevil.example":    false,
		"/%2Fevil.example":    false,
		"/%2f%2fevil.example": false,
		"/%5cevil.example":    false,
		"/%5Cevil.example":    false,
		"/%252fevil.example":  false,
		"/%25252fevil":        false,
		"/.//evil.example":    false,
		"/..//evil.example":   false,
		"/a/..//evil.example": false,
		"/a//evil.example":    false,
		"/%2e/x":              false,
		"/%2e%2e/x":           false,
		"/a/../x":             false,
		"/a/./x":              false,
		"/a/..":               false,
		"/a%2fb":              false,

		// What no URL is written with.
		"/ä":               false,
		"/a\\b":            false,
		"/a?x=\\":          false,
		"/a?x=\"><script>": false,
		"/a?x=<":           false,
		"/a#`":             false,
		"/a b":             false,
		"/a?x=\u2028":      false,
		"/\ufeff/x":        false,
		"/\u3000//x":       false,
		"/％2fevil.example": false,
		"/\xff":            false,
		"/%ff":             false,
		"/%":               false,
		"/%zz":             false,
		"/a?x=%zz":         false,
		"/a?x;y":           false,

		"/" + strings.Repeat("a", 2047): true,
		"/" + strings.Repeat("a", 2048): false,
	} {
		got, ok := origin.LocalPath(text)
		if ok != want {
			t.Errorf("%q: %v; want %v", text, ok, want)
		}
		if ok && got != text || !ok && got != "" {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// Whatever is sent, what passes stays on the server that it is read against, also
// when it is read as browsers do: without control characters, backslashes as
// slashes, and decoded once more.
func TestALocalPathNeverLeavesTheServer(t *testing.T) {
	pieces := []string{
		"/", "\\", ".", "..", "//", "%2f", "%5c", "%252f", "%09", "\t", "\n", "\r", "\x00", "@", ":", "?", "#", "%", "a", "evil.example",
		"https:", "javascript:", " ", "；", "%00", "%2e", "&x=", "[", "]",
	}
	base, err := url.Parse("https://ai.example.com/sign-in")
	if err != nil {
		t.Fatal(err)
	}
	passed := 0
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 8).Draw(t, "pieces"), "")
		if rapid.Bool().Draw(t, "begins with a slash") {
			text = "/" + text
		}
		got, ok := origin.LocalPath(text)
		if !ok {
			return
		}
		passed++
		for range 3 {
			read := strings.Map(func(r rune) rune {
				switch {
				case r <= ' ' || r == 0x7f:
					return -1
				case r == '\\':
					return '/'
				}
				return r
			}, got)
			u, err := base.Parse(read)
			if err != nil {
				break // a browser's address bar takes no such thing either
			}
			if u.Scheme != "https" || u.Host != "ai.example.com" || u.User != nil {
				t.Fatalf("%q leads to %s", text, u)
			}
			path, _, _ := strings.Cut(got, "?")
			if path, err = url.PathUnescape(path); err != nil {
				break
			}
			got = path
		}
	})
	if passed == 0 {
		t.Error("nothing passed: the test looks at nothing")
	}
}
