package command_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aiaas/aiaas/tests/harness"
)

// stub is a server that says what the test tells it to.
func stub(t *testing.T, h http.HandlerFunc) *shell {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return profiled(t, harness.Credentials{BaseURL: s.URL, APIKey: "aiaas_live_api", AdminKey: "aiaas_live_admin", PlatformKey: "aiaas_live_platform"})
}

// profiled is a shell with a profile of its own.
func profiled(t *testing.T, c harness.Credentials) *shell {
	t.Helper()
	raw, err := json.Marshal(c)
	harness.Must(t, err)
	path := filepath.Join(t.TempDir(), "profile.json")
	harness.Must(t, os.WriteFile(path, raw, 0o600))
	return &shell{env: map[string]string{"AIAAS_PROFILE": path}}
}

func problem(status int, code, detail string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("X-Request-Id", "req_1")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"status":%d,"code":%q,"detail":%q,"request_id":"req_1"}`, status, code, detail)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Options{})
	running, nobody := of(g), profiled(t, harness.Credentials{BaseURL: "http://127.0.0.1:1", AdminKey: "k", PlatformKey: "k", APIKey: "k"})
	slow := stub(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	for _, c := range []struct {
		name string
		sh   *shell
		line string
		code int
		says string
	}{
		{"fine", running, "key list", 0, ""},
		{"unknown thing", running, "key revoke key_x --yes", 1, "there is no such API key (not_found, request req_"},
		{"refused value", running, "budget create --organization --unit money --amount -5 --period day --action warn", 1, "(unprocessable, request req_"},
		{"wrong key", stub(t, problem(401, "invalid_api_key", "no")), "key list", 1, "no (invalid_api_key, request req_1)"},
		{"no JSON", stub(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }), "key list", 1, "it is no list"},
		{"a redirect", stub(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		}), "key list", 1, "302 Found"},
		{"the same page for ever", stub(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"data":[{}],"next_cursor":"x"}`))
		}), "key list", 1, "does not end"},
		{"unknown command", running, "bogus", 2, `unknown command "bogus"`},
		{"unknown word", running, "key bogus", 2, `unknown command "bogus"`},
		{"unknown flag", running, "key list --bogus", 2, "unknown flag: --bogus"},
		{"missing argument", running, "key revoke", 2, "takes KEY"},
		{"an argument too many", running, "key list extra", 2, "takes no arguments"},
		{"missing flag", running, "key create --name x", 2, "--scopes is required"},
		{"unknown scope", running, "key create --name x --scopes all", 2, `not "all"`},
		{"unknown form", running, "key list --output xml", 2, `not "xml"`},
		{"no number", running, "model create m --max-output-tokens many", 2, "whole number"},
		{"no range", running, "usage --last yesterday", 2, "no span"},
		{"two ranges", running, "usage --last 1d --month 2026-10", 2, "one way"},
		{"no month", running, "usage --month October", 2, "2026-10"},
		{"no scope", running, "budget create --unit money --amount 1 --period day --action warn", 2, "exactly one of"},
		{"two scopes", running, "budget create --organization --model demo --unit money --amount 1 --period day --action warn", 2, "exactly one of"},
		{"nothing to change", running, "budget update bud_x", 2, "nothing is to be changed"},
		{"nobody to ask", running, "key revoke key_x", 2, "say --yes"},
		{"a negative limit", running, "key list --limit -1", 2, "must not be negative"},
		{"no time", running, "key list --timeout 0s", 2, "--timeout"},
		{"an address that is none", running, "key list --base-url ::", 2, "can't be read"},
		{"nobody answers", nobody, "key list", 3, "does not answer"},
		{"overloaded", stub(t, problem(503, "unavailable", "later")), "key list", 3, "later (unavailable, request req_1)"},
		{"a proxy without its service", stub(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }), "key list", 3, "502 Bad Gateway"},
		{"silence", slow, "key list --timeout 100ms", 3, "took too long"},
	} {
		r := c.sh.words(t, c.line)
		if r.code != c.code || !strings.Contains(r.stderr, c.says) {
			t.Errorf("%s: %s: exit code %d, %q; want %d and %q", c.name, r.line, r.code, r.stderr, c.code, c.says)
		}
		if c.code != 0 && (r.stdout != "" || strings.Count(r.stderr, "\n") != 1) {
			t.Errorf("%s: %s: an error is one line on stderr: stdout %q, stderr %q", c.name, r.line, r.stdout, r.stderr)
		}
		if c.code == 0 || strings.Contains(c.line, "--output") {
			continue
		}
		var p struct{ Code, Detail string }
		if r := c.sh.words(t, c.line+" --output json"); r.code != c.code || r.stdout != "" ||
			(c.name != "unknown command" && c.name != "unknown word" && c.name != "unknown flag" && (json.Unmarshal([]byte(r.stderr), &p) != nil || p.Code == "" || p.Detail == "")) {
			t.Errorf("%s: %s: exit code %d, %q; want %d and a problem as JSON", c.name, r.line, r.code, r.stderr, c.code)
		}
	}
}

func TestTheProfileChoosesAddressAndKey(t *testing.T) {
	t.Parallel()
	var seen atomic.Value
	listen := func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.Header.Get("Authorization"))
		_, _ = w.Write([]byte(`{"data":[],"next_cursor":null}`))
	}
	sh := stub(t, listen)
	profile := sh.env["AIAAS_PROFILE"]
	dir := t.TempDir()
	body, err := os.ReadFile(profile)
	harness.Must(t, err)
	var c harness.Credentials
	harness.Must(t, json.Unmarshal(body, &c))
	harness.Must(t, os.WriteFile(filepath.Join(dir, "credentials.json"), body, 0o600))
	file := filepath.Join(dir, "key")
	harness.Must(t, os.WriteFile(file, []byte("aiaas_live_file\n"), 0o600))
	two := filepath.Join(dir, "two")
	harness.Must(t, os.WriteFile(two, []byte("a\nb\n"), 0o600))
	for _, c := range []struct {
		name string
		env  map[string]string
		line string
		key  string // "": it is a usage error
	}{
		{"an organization's command", map[string]string{"AIAAS_PROFILE": profile}, "key list", "aiaas_live_admin"},
		{"a platform's command", map[string]string{"AIAAS_PROFILE": profile}, "model list", "aiaas_live_platform"},
		{"jobs", map[string]string{"AIAAS_PROFILE": profile}, "job list", "aiaas_live_platform"},
		{"the data folder's", map[string]string{"AIAAS_DATA_DIR": dir}, "key list", "aiaas_live_admin"},
		{"a flag's", map[string]string{"AIAAS_PROFILE": "/nowhere"}, "key list --profile " + profile, "aiaas_live_admin"},
		{"the environment's key", map[string]string{"AIAAS_PROFILE": profile, "AIAAS_KEY": "aiaas_live_env"}, "key list", "aiaas_live_env"},
		{"a file's key", map[string]string{"AIAAS_PROFILE": profile, "AIAAS_KEY": "aiaas_live_env"}, "key list --key-file " + file, "aiaas_live_file"},
		{"another of the profile's", map[string]string{"AIAAS_PROFILE": profile}, "key list --use-key api", "aiaas_live_api"},
		{"without a profile", map[string]string{"AIAAS_PROFILE": "/nowhere", "AIAAS_KEY": "aiaas_live_env"}, "key list --base-url " + c.BaseURL, "aiaas_live_env"},
		{"no profile", map[string]string{"AIAAS_PROFILE": "/nowhere"}, "key list", ""},
		{"no such key", map[string]string{"AIAAS_PROFILE": profile}, "key list --use-key my", ""},
		{"no key file", map[string]string{"AIAAS_PROFILE": profile}, "key list --key-file /nowhere", ""},
		{"a file of two", map[string]string{"AIAAS_PROFILE": profile}, "key list --key-file " + two, ""},
	} {
		seen.Store("")
		r := (&shell{env: c.env}).words(t, c.line)
		want := 0
		if c.key == "" {
			want = 2
		}
		got, _ := seen.Load().(string)
		if r.code != want || strings.TrimPrefix(got, "Bearer ") != c.key {
			t.Errorf("%s: exit code %d, key %q: %s; want %d and %q", c.name, r.code, got, r.stderr, want, c.key)
		}
	}
}
