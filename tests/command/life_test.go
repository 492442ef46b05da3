package command_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/adapters/demo"
	"github.com/aiaas/aiaas/tests/harness"
)

func TestBootstrapPreparesOnce(t *testing.T) {
	t.Parallel()
	server := harness.StartServer(t)
	for name, more := range map[string]map[string]string{
		"the embedded database": {}, "another database": {"DATABASE_URL": server.URL()},
	} {
		dir := filepath.Join(harness.Folder(t), "d")
		sh := &shell{env: map[string]string{"AIAAS_DATA_DIR": dir, "AIAAS_ADDR": "127.0.0.1:18080"}}
		maps.Copy(sh.env, more)
		first := sh.words(t, "bootstrap -o json").want(0).json()
		file, err := os.ReadFile(filepath.Join(dir, "credentials.json"))
		harness.Must(t, err)
		info, err := os.Stat(filepath.Join(dir, "credentials.json"))
		harness.Must(t, err)
		var kept map[string]string
		harness.Must(t, json.Unmarshal(file, &kept))
		if first["founded"] != true || text(first, "admin_key") != kept["admin_key"] || kept["base_url"] != "http://127.0.0.1:18080" || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: it says %v; the file has mode %o and address %s", name, first, info.Mode().Perm(), kept["base_url"])
		}
		second := sh.words(t, "bootstrap -o json").want(0)
		if second.json()["founded"] != false || strings.Contains(second.stdout+second.stderr, "aiaas_live_") {
			t.Errorf("%s: a second time: %s", name, second.stdout)
		}
		if r := sh.words(t, "bootstrap").want(0); !strings.Contains(r.stdout, "set up already") || strings.Contains(r.stdout+r.stderr, "aiaas_live_") {
			t.Errorf("%s: a third time: %s", name, r.stdout)
		}
		if again, err := os.ReadFile(filepath.Join(dir, "credentials.json")); err != nil || string(again) != string(file) {
			t.Errorf("%s: the file has changed: %v", name, err)
		}
		g := harness.Start(t, harness.Options{DataDir: dir, Env: more})
		if a := g.Do(t.Context(), harness.Call{Key: kept["api_key"], Body: chat}); !a.Done() {
			t.Errorf("%s: what bootstrap made can't be served: %s", name, a)
		}
		if r := sh.words(t, "bootstrap").want(1); !strings.Contains(r.stderr, "another aiaas") {
			t.Errorf("%s: beside a running platform: %s", name, r.stderr)
		}
		g.Stop(t)
	}
}

// check is a finding of the doctor.
type check struct{ Check, State, Detail, Hint string }

func (r result) checks() map[string]check {
	r.t.Helper()
	var list []check
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil {
		r.t.Fatalf("%s: %v: %s", r.line, err, r.stdout)
	}
	out := map[string]check{}
	for _, c := range list {
		if (c.State == "ok") != (c.Hint == "") && c.Hint != "" {
			r.t.Errorf("%s: nothing is wrong, and it says what to do: %+v", r.line, c)
		}
		out[c.Check] = c
	}
	return out
}

func TestTheDoctorFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	up := harness.StartUpstream(t, demo.Config{})
	g := harness.Start(t, harness.Options{})
	g.AddModel(t, "counted", up.URL, harness.Price{Input: "1", Cached: "1", Output: "1"})
	sh := of(g)
	well := sh.words(t, "doctor -o json").want(0).checks()
	for _, name := range []string{
		"settings", "data folder", "credentials.json", "secret.key", "disk space", "profile", "server", "server's clock", "readiness", "api key", "admin key",
		"platform key", "backend http://demo.aiaas.internal/v1", "backend " + up.URL, "database", "database's clock", "database roles",
		"schema accounts", "schema router", "schema analytics", "inbox", "dead letters", "audit of accounts", "audit of router", "audit of analytics", "audit heads",
	} {
		if well[name].State != "ok" {
			t.Errorf("%s: %+v; want ok", name, well[name])
		}
	}
	if r := sh.words(t, "doctor").want(0); !strings.Contains(r.stdout, "ok    readiness") || strings.Contains(r.stdout, "aiaas_live_") {
		t.Errorf("for people: %s", r.stdout)
	}
	if n := len(sh.words(t, "doctor -o csv").want(0).csv()); n != len(well)+1 {
		t.Errorf("%d records; want %d", n, len(well)+1)
	}
	file := filepath.Join(g.DataDir, "credentials.json")
	for _, c := range []struct {
		name       string
		harm, heal func()
		code       int
		check      string
		state      string
	}{
		{"others read the keys", func() { harness.Must(t, os.Chmod(file, 0o644)) }, func() { harness.Must(t, os.Chmod(file, 0o600)) }, 1, "credentials.json", "fail"},
		{"a setting is wrong", func() { sh.env["AIAAS_MAX_BODY_BYTES"] = "1" }, func() { delete(sh.env, "AIAAS_MAX_BODY_BYTES") }, 1, "settings", "fail"},
		{"all people share one address", func() { sh.env["AIAAS_PUBLIC_URL"] = "https://ai.example.com" }, func() { delete(sh.env, "AIAAS_PUBLIC_URL") }, 0, "sign-in", "warn"},
		{"a key is revoked", func() {
			g.Database().Exec(t, `UPDATE accounts.api_keys SET revoked_at = now() WHERE name = 'first API key'`)
			harness.Eventually(t, "revocation", func() (bool, string) {
				a := g.Do(t.Context(), harness.Call{Key: g.APIKey, Body: chat})
				return a.Status == http.StatusUnauthorized, a.String()
			})
		}, func() {
			g.Database().Exec(t, `UPDATE accounts.api_keys SET revoked_at = NULL WHERE name = 'first API key'`)
			harness.Eventually(t, "restoration", func() (bool, string) {
				a := g.Do(t.Context(), harness.Call{Key: g.APIKey, Body: chat})
				return a.Done(), a.String()
			})
		}, 1, "api key", "fail"},
		{"a backend is away", func() {
			g.AddModel(t, "away", "http://127.0.0.1:1/v1", harness.Price{Input: "1", Cached: "1", Output: "1"})
		}, func() { sh.words(t, "model disable away --yes").want(0) }, 0, "backend http://127.0.0.1:1/v1", "warn"},
		{"a model has no price", func() { sh.words(t, "model create bare").want(0) }, func() { sh.words(t, "model disable bare --yes").want(0) }, 0, "model bare", "warn"},
		{"an event can't be booked", func() {
			g.Database().Exec(t, `INSERT INTO analytics.dead_letters (org_id, event_id, body, error) VALUES ('o', 'e', '', 'test')`)
		}, func() { g.Database().Exec(t, `DELETE FROM analytics.dead_letters`) }, 1, "dead letters", "fail"},
		{"the sealer is behind", func() {
			g.Database().Exec(t, `CREATE FUNCTION accounts.stop_sealer() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $x$no$x$; END'`)
			g.Database().Exec(t, `CREATE TRIGGER stop BEFORE INSERT ON accounts.audit_chain FOR EACH ROW EXECUTE FUNCTION accounts.stop_sealer()`)
			g.Database().Exec(t, `INSERT INTO router.audit_records (org_id, audit_id, at, actor, action, target, detail) VALUES ('org_x', 'aud_x', now(), 'a', 'b', 'c', '{}')`)
			g.Database().Exec(t, `UPDATE router.audit_pending SET since = now() - interval '2 minutes'`)
		}, func() { g.Database().Exec(t, `DROP FUNCTION accounts.stop_sealer CASCADE`) }, 1, "audit of router", "fail"},
		{"heads are overdue", func() {
			harness.Must(t, os.WriteFile(filepath.Join(g.DataDir, "files", "audit-heads", "org_y"), nil, 0o600)) // where its folder would be
			g.Database().Exec(t, `INSERT INTO accounts.audit_records (org_id, audit_id, at, actor, action, target, detail) VALUES ('org_y', 'aud_y', now(), 'a', 'b', 'c', '{}')`)
			harness.Eventually(t, "the sealer", func() (bool, string) {
				n := g.Database().Int(t, `SELECT count(*) FROM accounts.audit_chains WHERE org_id = 'org_y' AND head_failures > 0`)
				return n == 1, fmt.Sprint(n)
			})
			g.Database().Exec(t, `SET session_replication_role = replica; UPDATE accounts.audit_chain SET sealed_at = now() - interval '2 minutes' WHERE org_id = 'org_y'`)
		}, func() {
			g.Database().Exec(t, `SET session_replication_role = replica; UPDATE accounts.audit_chains SET head_seq = seq WHERE org_id = 'org_y'`)
		}, 1, "audit heads", "fail"},
		{"a migration is pending", func() {
			g.Database().Exec(t, `UPDATE router.schema_version SET version_id = -3 WHERE version_id = 3`)
		}, func() { g.Database().Exec(t, `UPDATE router.schema_version SET version_id = 3 WHERE version_id = -3`) }, 1, "schema router", "fail"},
		{"a newer version was here", func() {
			g.Database().Exec(t, `INSERT INTO router.schema_version (version_id, is_applied) VALUES (99999, true)`)
		}, func() { g.Database().Exec(t, `DELETE FROM router.schema_version WHERE version_id = 99999`) }, 0, "schema router", "warn"},
	} {
		c.harm()
		r := sh.words(t, "doctor -o json").want(c.code)
		got := r.checks()[c.check]
		if got.State != c.state || got.Hint == "" {
			t.Errorf("%s: %+v; want %s and what to do", c.name, got, c.state)
		}
		if strings.Contains(r.stdout+r.stderr, "aiaas_live_") {
			t.Errorf("%s: it shows a key", c.name)
		}
		c.heal()
	}
	g.Stop(t)
	down := sh.words(t, "doctor -o json").want(3).checks()
	if down["server"].State != "fail" || down["server"].Hint == "" || down["port"].State != "ok" || down["database"].State != "warn" {
		t.Errorf("without a server: %+v", down)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	harness.Must(t, err)
	defer func() { _ = ln.Close() }()
	sh.env["AIAAS_ADDR"] = ln.Addr().String()
	if port := sh.words(t, "doctor -o json").want(3).checks()["port"]; port.State != "fail" {
		t.Errorf("the port is another program's: %+v", port)
	}
	empty := &shell{env: map[string]string{"AIAAS_DATA_DIR": filepath.Join(t.TempDir(), "none"), "AIAAS_ADDR": "127.0.0.1:0", "DATABASE_URL": "postgres://u:hidden-word@127.0.0.1:1/x"}}
	r := empty.words(t, "doctor -o json").want(3)
	if c := r.checks(); c["data folder"].State != "warn" || c["profile"].State != "warn" || c["database"].State != "fail" {
		t.Errorf("where nothing is: %+v", c)
	}
	if strings.Contains(r.stdout+r.stderr, "hidden-word") {
		t.Errorf("it shows the database's password: %s", r.stdout)
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Options{})
	sh := of(g)
	known := ids(t, g, sh)
	for _, name := range []string{"bash", "zsh", "fish"} {
		script := sh.words(t, "completion "+name).want(0).stdout
		if !strings.Contains(script, "__complete") {
			t.Errorf("%s: this is no completion: %.200s", name, script)
		}
		if shell, err := exec.LookPath(name); err == nil {
			cmd := exec.CommandContext(t.Context(), shell, "-n")
			cmd.Stdin = strings.NewReader(script)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s can't read it: %v %s", name, err, out)
			}
		} else if name == "bash" {
			t.Error("there is no bash to ask")
		}
	}
	for line, want := range map[string]string{
		"key revoke ":                "KEY\tspare\n",
		"key revoke key_zz":          "",
		"key revoke KEY ":            "",
		"budget get ":                "BUDGET\t10.00\n",
		"model get ":                 "demo\taiaas\n",
		"model get d":                "demo\taiaas\n",
		"model create ":              "",
		"job run metering.f":         "metering.fold\tsucceeded\n",
		"request get ":               "REQUEST\t",
		"budget create --key ":       "KEY\tspare\n",
		"budget create --unit t":     "tokens\n",
		"key list --output j":        "json\n",
		"usage --bucket h":           "hour\n",
		"key create --scopes usage:": "usage:read\n",
		"key ":                       "revoke\tRevoke a key",
	} {
		args := strings.Split(known.Replace(line), " ")
		r := sh.run(t, append([]string{"__complete"}, args...)...).want(0)
		offered, _, _ := strings.Cut(r.stdout, ":4\n")
		if want = known.Replace(want); !strings.Contains(offered, want) || (want == "" && offered != "") {
			t.Errorf("%q completes as %q; want %q", line, r.stdout, want)
		}
	}
	g.Stop(t)
	for name, s := range map[string]*shell{
		"no server": sh, "no profile": {env: map[string]string{"AIAAS_DATA_DIR": "/nowhere"}}, "a refusal": stub(t, problem(401, "invalid_api_key", "no")),
	} {
		r := s.run(t, "__complete", "key", "revoke", "").want(0)
		if offered, _, _ := strings.Cut(r.stdout, ":4\n"); offered != "" || strings.Contains(r.stderr, "aiaas:") {
			t.Errorf("%s: %q, %q; want silence", name, r.stdout, r.stderr)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	t.Parallel()
	sh := &shell{}
	for line, want := range map[string]string{
		"version": "aiaas ", "help settings": "AIAAS_PROFILE", "help": "Exit codes: 0 fine", "key": "Available Commands", "key create --help": "--scopes",
		"doctor --help": "It changes nothing", "usage --help": "--group-by", "bootstrap --help": "credentials.json",
	} {
		if r := sh.words(t, line).want(0); !strings.Contains(r.stdout, want) {
			t.Errorf("%s: %s; want it with %q", r.line, r.stdout, want)
		}
	}
	for _, name := range []string{"serve", "migrate", "bootstrap", "key", "model", "budget", "usage", "invoice", "job", "request", "doctor", "completion"} {
		if r := sh.words(t, "help").want(0); !strings.Contains(r.stdout, "\n  "+name+" ") {
			t.Errorf("the help lacks %s", name)
		}
	}
}
