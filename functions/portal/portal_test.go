package portal_test

import (
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/functions/portal"
	"github.com/aiaas/aiaas/shared/password"
)

const public = "https://ai.example.com"

func get(t *testing.T, publicURL, target string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	api, err := portal.New(publicURL, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, target, http.NoBody)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	return w
}

// paths are the addresses of all pages.
func paths(t *testing.T) (list []string) {
	t.Helper()
	for _, r := range portal.Spec().Routes {
		if !strings.Contains(r.Path, "{") {
			list = append(list, r.Path)
		}
	}
	if len(list) < 8 {
		t.Fatalf("only %v", list)
	}
	return list
}

func TestEveryPageIsGuarded(t *testing.T) {
	for _, path := range paths(t) {
		w := get(t, public, path)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
			t.Fatalf("%s: %d %s", path, w.Code, w.Header().Get("Content-Type"))
		}
		for name, want := range map[string]string{
			"Strict-Transport-Security":    "max-age=63072000; includeSubDomains",
			"Cross-Origin-Opener-Policy":   "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin",
			"X-Content-Type-Options":       "nosniff",
			"X-Frame-Options":              "DENY",
			"Referrer-Policy":              "no-referrer",
			"Cache-Control":                "no-store",
			"Set-Cookie":                   "",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q; want %q", path, name, got, want)
			}
		}
		permissions := w.Header().Get("Permissions-Policy")
		for _, want := range []string{"publickey-credentials-get=(self)", "publickey-credentials-create=(self)", "camera=()", "geolocation=()"} {
			if !strings.Contains(permissions, want) {
				t.Errorf("%s: Permissions-Policy %q lacks %s", path, permissions, want)
			}
		}
		contentPolicy(t, path, w.Header().Get("Content-Security-Policy"))
	}
}

func contentPolicy(t *testing.T, path, policy string) {
	t.Helper()
	got := map[string]string{}
	for part := range strings.SplitSeq(policy, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), " ")
		got[name] = value
	}
	for name, want := range map[string]string{
		"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self' data:", "connect-src": "'self'",
		"form-action": "'self'", "frame-ancestors": "'none'", "base-uri": "'none'", "require-trusted-types-for": "'script'", "trusted-types": "'none'",
	} {
		if got[name] != want {
			t.Errorf("%s: %s is %q; want %q", path, name, got[name], want)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("%s: more is allowed: %v", path, got)
	}
}

func TestAssetsAreGuarded(t *testing.T) {
	w := get(t, public, "/assets/x/api.js")
	if w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Strict-Transport-Security") == "" ||
		w.Header().Get("Content-Security-Policy") != "default-src 'none'; frame-ancestors 'none'; sandbox" {
		t.Errorf("headers %v", w.Header())
	}
}

// A browser that was told once to come by https only does not come by http again.
func TestOnlyAnHTTPSAddressIsKeptToHTTPS(t *testing.T) {
	for address, want := range map[string]bool{"http://127.0.0.1:8080": false, public: true} {
		if got := get(t, address, "/sign-in").Header().Get("Strict-Transport-Security") != ""; got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}

// What a policy would refuse must not stand in a page, or the page is broken.
func TestPagesHaveNothingInlineAndNothingForeign(t *testing.T) {
	banned := map[string]*regexp.Regexp{
		"a style of its own":     regexp.MustCompile(`(?i)\sstyle\s*=|<style`),
		"a handler":              regexp.MustCompile(`(?i)\son[a-z]+\s*=`),
		"a script of its own":    regexp.MustCompile(`(?i)<script(?: [^>]*)?>[^<]`),
		"another server":         regexp.MustCompile(`(?i)(?:src|href|action)\s*=\s*"(?:https?:|//)`),
		"a script as an address": regexp.MustCompile(`(?i)javascript:`),
		"a page in a page":       regexp.MustCompile(`(?i)<(?:iframe|object|embed|base)\b`),
		"a form whose fields would stand in the address, were its script late": regexp.MustCompile(`(?i)<form(?: (?:id|data-way)="[^"]*")*(?: hidden| novalidate)*>`),
	}
	for _, path := range paths(t) {
		page := get(t, public, path).Body.String()
		for what, re := range banned {
			if found := re.FindString(page); found != "" {
				t.Errorf("%s has %s: %s", path, what, found)
			}
		}
	}
	each(t, "static", func(name, text string) {
		for _, sink := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", ".style", "http://", "https://", "@import"} {
			if found := strings.ReplaceAll(text, "http://www.w3.org/2000/svg", ""); strings.Contains(found, sink) {
				t.Errorf("%s has %s", name, sink)
			}
		}
	})
}

func each(t *testing.T, folder string, check func(name, text string)) {
	t.Helper()
	err := filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		check(name, string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOnlyPathsOnThisServerAreReturnedTo(t *testing.T) {
	for given, want := range map[string]string{
		"":                          "/account",
		"/device?user_code=BCDF":    "/device?user_code=BCDF",
		"/oauth/consent?request=r1": "/oauth/consent?request=r1",
		"https://evil.example":      "/account",
		"//evil.example":            "/account",
		"/\\evil.example":           "/account",
		"/\t/evil.example":          "/account",
		"/%2fevil.example":          "/account",
		"javascript:alert(1)":       "/account",
		`/"><script>alert(1)`:       "/account",
	} {
		for _, path := range []string{"/sign-in", "/sign-in/second-factor"} {
			page := get(t, public, path+"?return_to="+url.QueryEscape(given)).Body.String()
			if !strings.Contains(page, fmt.Sprintf(`data-return-to="%s"`, strings.ReplaceAll(want, "&", "&amp;"))) {
				t.Errorf("%s: %q does not lead to %s", path, given, want)
			}
			if strings.Contains(page, "evil.example") || strings.Contains(page, "alert(1)") {
				t.Errorf("%s: %q stands in the page", path, given)
			}
		}
	}
}

func TestWhatAnAddressSaysIsNoMarkup(t *testing.T) {
	page := get(t, public, "/device?user_code="+url.QueryEscape(`"><script>alert(1)</script>`)).Body.String()
	if strings.Contains(page, "<script>alert") || !strings.Contains(page, `value="&#34;&gt;&lt;script&gt;`) {
		t.Error("a code is read as markup")
	}
}

func TestPagesSayHowLongAPasswordIs(t *testing.T) {
	for _, path := range []string{"/reset-password", "/invitation", "/account"} {
		if want := fmt.Sprintf("At least %d characters", password.MinLength); !strings.Contains(get(t, public, path).Body.String(), want) {
			t.Errorf("%s does not say %q", path, want)
		}
	}
}

var asset = regexp.MustCompile(`"(/assets/[^"]+)"`)

func TestAssetsAreKeptByTheirContent(t *testing.T) {
	page := get(t, public, "/account").Body.String()
	found := asset.FindAllStringSubmatch(page, -1)
	if len(found) != 3 {
		t.Fatalf("the page names %v; want icon, style and script", found)
	}
	for _, m := range found {
		w := get(t, public, m[1])
		if w.Code != http.StatusOK || w.Body.Len() == 0 || w.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" {
			t.Errorf("%s: %d %v", m[1], w.Code, w.Header())
		}
		tag := w.Header().Get("ETag")
		again := get(t, public, m[1], "If-None-Match", tag)
		if again.Code != http.StatusNotModified || again.Body.Len() > 0 || tag == "" {
			t.Errorf("%s: %d with ETag %s", m[1], again.Code, tag)
		}
	}
}

// While one version takes the place of another, a page of the one may come here.
func TestAnAssetOfAnotherVersionIsServedAndNotKept(t *testing.T) {
	w := get(t, public, "/assets/other/style.css")
	if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "no-cache" || w.Header().Get("Content-Type") != "text/css; charset=utf-8" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

func TestNothingElseIsServed(t *testing.T) {
	for _, path := range []string{"/assets/x/portal.go", "/assets/x/..%2fportal.go", "/assets/x/account.html", "/assets/x/", "/assets/x/static", "/pages/layout.html", "/assets/x/%2e%2e%2fpages.go"} {
		if w := get(t, public, path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// Scripts import each other by name; one that is missing leaves a page dead.
func TestEveryScriptThatIsNamedIsThere(t *testing.T) {
	imported := regexp.MustCompile(`(?:from|import) "\./([^"]+)"`)
	each(t, "static", func(name, text string) {
		for _, m := range imported.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join("static", m[1])); err != nil {
				t.Errorf("%s imports %s: %v", name, m[1], err)
			}
		}
	})
	for _, path := range paths(t) {
		for _, m := range asset.FindAllStringSubmatch(get(t, public, path).Body.String(), -1) {
			if w := get(t, public, m[1]); w.Code != http.StatusOK {
				t.Errorf("%s names %s: %d", path, m[1], w.Code)
			}
		}
	}
}
