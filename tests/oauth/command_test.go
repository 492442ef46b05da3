package oauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/tests/harness"
)

func TestTheCommandSignsIn(t *testing.T) {
	w := newWorld(t)
	for name, f := range map[string]func(*testing.T, *world){
		"browser": loginByBrowser, "device": loginByDevice, "said no": loginDenied, "another platform's name": loginMixUp, "many at once": manyCommands, "step-up": stepUp, "which credential": precedence,
	} {
		t.Run(name, func(t *testing.T) { f(t, w.under(t)) })
	}
}

// desk is a person's terminal.
type desk struct {
	w       *world
	profile string
	env     []string
}

func (w *world) desk() *desk {
	return &desk{w: w, profile: filepath.Join(w.t.TempDir(), "dir", "credentials.json")}
}

func (d *desk) file() string {
	return strings.TrimSuffix(d.profile, ".json") + ".login.json"
}

// output is what a command prints; it may be read while it runs.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// running is a command on its way.
type running struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout output
	stderr output
	done   chan error
}

func (d *desk) start(args ...string) *running {
	d.w.t.Helper()
	ctx, cancel := context.WithTimeout(d.w.t.Context(), harness.Patience)
	d.w.t.Cleanup(cancel)
	r := &running{t: d.w.t, cmd: exec.CommandContext(ctx, harness.Binary(d.w.t), append(args, "--profile", d.profile)...), done: make(chan error, 1)}
	r.cmd.Env = append([]string{"PATH=/usr/bin:/bin", "HOME=" + filepath.Dir(d.profile)}, d.env...)
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	harness.Must(d.w.t, r.cmd.Start())
	go func() { r.done <- r.cmd.Wait() }()
	return r
}

// end waits for the exit code.
func (r *running) end() int {
	r.t.Helper()
	if err := <-r.done; err != nil && r.cmd.ProcessState == nil {
		r.t.Fatal(err)
	}
	return r.cmd.ProcessState.ExitCode()
}

func (d *desk) run(args ...string) (code int, out string) {
	d.w.t.Helper()
	r := d.start(args...)
	code = r.end()
	return code, r.stdout.String() + r.stderr.String()
}

var link = regexp.MustCompile(`(?m)^(http\S+/oauth/authorize\S+)$`)

// waits returns the first match in what a command says.
func (r *running) waits(pattern *regexp.Regexp) (found string) {
	r.t.Helper()
	harness.Eventually(r.t, "the command says what to do", func() (bool, string) {
		m := pattern.FindStringSubmatch(r.stderr.String())
		if m != nil {
			found = m[1]
		}
		return m != nil, r.stderr.String() + r.stdout.String()
	})
	return found
}

// signIn is a whole sign-in by the browser.
func (d *desk) signIn(p *person, more ...string) {
	d.w.t.Helper()
	r := d.start(append([]string{"login", "--base-url", d.w.BaseURL}, more...)...)
	back := p.decide(p.ask(r.waits(link)), "approve")
	if a := p.send(http.MethodGet, back.String(), ""); a.Status != http.StatusOK || !strings.Contains(string(a.Body), "You are signed in") {
		d.w.t.Fatalf("the browser is shown %s", a)
	}
	if code := r.end(); code != 0 {
		d.w.t.Fatalf("login: %d %s%s", code, r.stdout.String(), r.stderr.String())
	}
}

func loginByBrowser(t *testing.T, w *world) {
	p, d := w.person(authz.Developer), w.desk()
	if code, out := d.run("whoami"); code != 2 || !strings.Contains(out, "aiaas login") {
		t.Errorf("before the login: %d %s", code, out)
	}
	r := d.start("login", "--base-url", w.BaseURL)
	address := r.waits(link)
	u, err := url.Parse(address)
	harness.Must(t, err)
	q := u.Query()
	if q.Get("code_challenge_method") != "S256" || q.Get("state") == "" || !strings.HasPrefix(q.Get("redirect_uri"), "http://127.0.0.1:") || q.Has("code_verifier") {
		t.Errorf("the link is %s", address)
	}
	// Somebody else's answer is not taken.
	for _, forged := range []string{"?code=evil&iss=" + url.QueryEscape(w.BaseURL), "?code=evil&state=x", "", "?error=access_denied"} {
		if a := w.call(http.MethodGet, q.Get("redirect_uri")+forged, "", nil); a.Status != http.StatusNotFound {
			t.Errorf("a forged answer %s: %s", forged, a)
		}
	}
	back := p.decide(p.ask(address), "approve")
	a := p.send(http.MethodGet, back.String(), "")
	if a.Status != http.StatusOK || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("the browser is shown %s", a)
	}
	if code := r.end(); code != 0 {
		t.Fatalf("login: %d %s", code, r.stderr.String())
	}
	info, err := os.Stat(d.file())
	harness.Must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the login's file has mode %s", info.Mode())
	}
	if code, out := d.run("whoami", "-o", "json"); code != 0 || !strings.Contains(out, p.id) || !strings.Contains(out, w.org) {
		t.Errorf("whoami: %d %s", code, out)
	}
	if code, out := d.run("project", "list"); code != 0 {
		t.Errorf("another command: %d %s", code, out)
	}
	kept := d.read()
	if code, out := d.run("logout"); code != 0 || !strings.Contains(out, "Signed out") {
		t.Fatalf("logout: %d %s", code, out)
	}
	if _, err := os.Stat(d.file()); !os.IsNotExist(err) {
		t.Errorf("the login's file is left: %v", err)
	}
	w.dies("the token after the logout", text(kept["access_token"]))
	if got := tokens(w.form("/oauth/token", refreshing(text(kept["refresh_token"])))); got.Error != "invalid_grant" {
		t.Errorf("the refresh token after the logout: %+v", got)
	}
	if code, out := d.run("logout"); code != 0 || !strings.Contains(out, "not signed in") {
		t.Errorf("logout again: %d %s", code, out)
	}
}

func (d *desk) read() (v map[string]any) {
	d.w.t.Helper()
	body, err := os.ReadFile(d.file())
	harness.Must(d.w.t, err)
	harness.Must(d.w.t, json.Unmarshal(body, &v))
	return v
}

func loginByDevice(t *testing.T, w *world) {
	p, d := w.person(authz.Developer), w.desk()
	r := d.start("login", "--device", "--base-url", w.BaseURL, "--scopes", "usage:read")
	code := r.waits(regexp.MustCompile(`(?m)^    ([A-Z]{4}-[A-Z]{4})$`))
	if a := p.send(http.MethodPost, "/v1/oauth/device/"+code+"/approve", ""); a.Status != http.StatusNoContent {
		t.Fatalf("approve: %s", a)
	}
	if got := r.end(); got != 0 {
		t.Fatalf("login --device: %d %s", got, r.stderr.String())
	}
	if got, out := d.run("whoami", "-o", "json"); got != 0 || !strings.Contains(out, p.id) {
		t.Errorf("whoami: %d %s", got, out)
	}
	if got, out := d.run("key", "list"); got != 1 || !strings.Contains(out, "keys:read") {
		t.Errorf("beyond the scopes that were asked for: %d %s", got, out)
	}
	harness.Must(t, w.sessions.End(t.Context(), w.org, sessionOf(t, text(d.read()["access_token"])), "test"))
	harness.Eventually(t, "the command says that the login is over", func() (bool, string) {
		got, out := d.run("whoami")
		return got == 1 && strings.Contains(out, "run `aiaas login`"), out
	})
}

// sessionOf is the session that an access token names.
func sessionOf(t *testing.T, token string) string {
	t.Helper()
	return text(claimsOf(t, token)["sid"])
}

func loginDenied(t *testing.T, w *world) {
	p, d := w.person(authz.Developer), w.desk()
	r := d.start("login", "--base-url", w.BaseURL)
	back := p.decide(p.ask(r.waits(link)), "deny")
	if a := p.send(http.MethodGet, back.String(), ""); strings.Contains(string(a.Body), "You are signed in.") {
		t.Errorf("the browser is shown %s", a)
	}
	if code := r.end(); code != 1 || !strings.Contains(r.stderr.String(), "you said no") {
		t.Errorf("login: %d %s", code, r.stderr.String())
	}
	r = d.start("login", "--base-url", w.BaseURL)
	back = p.decide(p.ask(r.waits(link)), "approve")
	q := back.Query()
	q.Set("iss", "https://evil.example")
	back.RawQuery = q.Encode()
	p.send(http.MethodGet, back.String(), "")
	if code := r.end(); code != 1 || !strings.Contains(r.stderr.String(), "not from the platform") {
		t.Errorf("an answer of another issuer: %d %s", code, r.stderr.String())
	}
	if _, err := os.Stat(d.file()); !os.IsNotExist(err) {
		t.Errorf("there is a login all the same: %v", err)
	}
}

// A platform that passes another's addresses off as its own gets no token of that one:
// the commands would send it there afterwards.
func loginMixUp(t *testing.T, w *world) {
	var mu sync.Mutex
	asked := 0
	evil := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked++
		mu.Unlock()
		//nolint:contextcheck // the test's own context
		_, _ = rw.Write(w.call(http.MethodGet, "/.well-known/oauth-authorization-server", "", nil).Body)
		if r.Header.Get("Authorization") != "" {
			t.Errorf("it is sent a credential at %s", r.URL)
		}
	}))
	defer evil.Close()
	p, d := w.person(authz.Developer), w.desk()
	for _, how := range [][]string{nil, {"--device"}} {
		code, out := d.run(append([]string{"login", "--base-url", evil.URL}, how...)...)
		if code != 1 || !strings.Contains(out, w.BaseURL) || strings.Contains(out, "/oauth/authorize?") {
			t.Errorf("%v: %d %s", how, code, out)
		}
	}
	if _, err := os.Stat(d.file()); !os.IsNotExist(err) || asked == 0 {
		t.Errorf("asked %d times; the login's file: %v", asked, err)
	}
	// The machine's other name is no other machine; what is kept is the issuer's own.
	local := strings.Replace(w.BaseURL, "127.0.0.1", "localhost", 1)
	r := d.start("login", "--base-url", local+"/")
	p.send(http.MethodGet, p.decide(p.ask(r.waits(link)), "approve").String(), "")
	if code := r.end(); code != 0 || text(d.read()["base_url"]) != w.BaseURL {
		t.Errorf("at %s: %d %s, kept for %v", local, code, r.stderr.String(), d.read()["base_url"])
	}
	if code, out := d.run("whoami", "--base-url", local); code != 0 {
		t.Errorf("whoami at %s: %d %s", local, code, out)
	}
	if code, out := d.run("whoami", "--base-url", evil.URL); code == 0 {
		t.Errorf("whoami elsewhere: %s", out)
	}
}

// manyCommands need a new token at the same moment, and none of them loses the login.
func manyCommands(t *testing.T, w *world) {
	p, d := w.person(authz.Developer), w.desk()
	d.signIn(p)
	for range 2 {
		kept := d.read()
		kept["expires_at"] = time.Now().Add(time.Second).Format(time.RFC3339)
		body, err := json.Marshal(kept)
		harness.Must(t, err)
		harness.Must(t, os.WriteFile(d.file(), body, 0o600))
		var list []*running
		for range 8 {
			list = append(list, d.start("whoami"))
		}
		for i, r := range list {
			if code := r.end(); code != 0 {
				t.Errorf("command %d: %d %s", i, code, r.stderr.String())
			}
		}
		if now := d.read(); now["refresh_token"] == kept["refresh_token"] || now["access_token"] == kept["access_token"] {
			t.Error("nothing was refreshed")
		}
	}
	if n := w.Database().Int(t, `SELECT count(*) FROM accounts.oauth_refresh_tokens r JOIN accounts.oauth_grants g USING (org_id, session_id) WHERE g.holder_id = $1`, p.id); n != 3 {
		t.Errorf("%d refresh tokens were given; want three", n)
	}
	before := text(d.read()["access_token"])
	d.signIn(p) // another login takes the place of the first, which ends
	w.dies("the login before", before)
	if code, out := d.run("whoami"); code != 0 {
		t.Errorf("after another login: %d %s", code, out)
	}
}

func stepUp(t *testing.T, w *world) {
	p, d := w.person(authz.Admin), w.desk()
	d.signIn(p)
	if code, out := d.run("user", "list"); code != 0 {
		t.Fatalf("list members: %d %s", code, out)
	}
	w.Database().Exec(t, `UPDATE accounts.sessions SET proved_at = proved_at - interval '20 minutes' WHERE holder_id = $1`, p.id)
	harness.Eventually(t, "a sensitive act wants a proof", func() (bool, string) {
		code, out := d.run("user", "add", "--email", "probe@example.com", "--role", "developer") // a cache of a second may let it pass once
		return code == 1 && strings.Contains(out, "run `aiaas login`"), out
	})
	// A login does what is said: the browser is asked for the proof as well.
	for _, way := range [][]string{{"login"}, {"login", "--device"}} {
		r := d.start(way...)
		var path string
		if len(way) == 1 {
			path = "/v1/oauth/requests/" + p.ask(r.waits(link))
		} else {
			path = "/v1/oauth/device/" + r.waits(regexp.MustCompile(`(?m)^    ([A-Z]{4}-[A-Z]{4})$`))
		}
		if a := p.send(http.MethodGet, path, ""); !strings.Contains(string(a.Body), `"step_up":true`) {
			t.Errorf("the page would show %s", a)
		}
		if a := p.send(http.MethodPost, path+"/approve", ""); a.Status != http.StatusForbidden || !strings.Contains(string(a.Body), `"reason":"step_up"`) {
			t.Errorf("let in without a recent proof: %s", a)
		}
		p.prove()
		a := p.send(http.MethodPost, path+"/approve", "")
		if a.Status >= 300 {
			t.Fatalf("after the proof: %s", a)
		}
		var to struct {
			RedirectTo string `json:"redirect_to"`
		}
		if json.Unmarshal(a.Body, &to) == nil && to.RedirectTo != "" {
			p.send(http.MethodGet, to.RedirectTo, "")
		}
		if code := r.end(); code != 0 {
			t.Fatalf("%v: %d %s", way, code, r.stderr.String())
		}
		if code, out := d.run("user", "add", "--email", "new"+strings.Join(way[1:], "")+"@example.com", "--role", "developer"); code != 0 {
			t.Errorf("after %v: %d %s", way, code, out)
		}
		w.Database().Exec(t, `UPDATE accounts.sessions SET proved_at = proved_at - interval '20 minutes' WHERE holder_id = $1`, p.id)
	}
}

func precedence(t *testing.T, w *world) {
	p, d := w.person(authz.Developer), w.desk()
	d.signIn(p)
	as := func(who, line string) {
		t.Helper()
		code, out := d.run(strings.Fields("whoami -o json " + line)...)
		if code != 0 || !strings.Contains(out, who) {
			t.Errorf("whoami %s: %d %s; want %s", line, code, out, who)
		}
	}
	as(p.id, "")
	as(p.id, "--base-url "+w.BaseURL)
	as(p.id, "--base-url "+w.BaseURL+"/")
	if code, out := d.run("whoami", "--base-url", w.second); code == 0 {
		t.Errorf("the login goes to another address: %s", out)
	}
	profile, err := os.ReadFile(filepath.Join(w.DataDir, "credentials.json"))
	harness.Must(t, err)
	harness.Must(t, os.WriteFile(d.profile, profile, 0o600))
	as(p.id, "")
	as(w.OrganizationID, "--use-key admin")
	d.env = []string{"AIAAS_KEY=" + w.AdminKey}
	as(w.OrganizationID, "")
}
