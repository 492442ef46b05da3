package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/adapters/demo"
	"github.com/aiaas/aiaas/tests/harness"
)

const demoChat = `{"model":"demo","messages":[{"role":"user","content":"Hello"}]}`

// founded reports whether a database has its first organisation.
func founded(t *testing.T, g *harness.Gateway) bool {
	t.Helper()
	return g.Database().Int(t, `SELECT count(*) FROM accounts.users`) > 0
}

// TestAFirstStartThatFailsFoundsNothing has settings that can't be followed, and
// then those that can: the second start is a first one again.
func TestAFirstStartThatFailsFoundsNothing(t *testing.T) {
	t.Parallel()
	dir := harness.Folder(t)
	file := filepath.Join(dir, "backends.yaml")
	server := harness.StartServer(t)
	settings := map[string]string{"DATABASE_URL": server.URL(), "AIAAS_BACKENDS": file}
	const entry = "- {model: m, base_url: http://127.0.0.1:9/v1, input_usd_per_million: '1', output_usd_per_million: '2'}\n"
	for _, c := range []struct{ name, text, key, want string }{
		{"no file", "", "", "read AIAAS_BACKENDS: open " + file + ": no such file"},
		{"no YAML", "- {", "", "read AIAAS_BACKENDS=" + file},
		{"an unknown field", "- {model: m, prize: '1'}", "", "prize"},
		{"a model without a price", entry + "- {model: late, base_url: http://127.0.0.1:9/v1}\n", "", `model "late": unprocessable: input_usd_per_million`},
		{"an address that is none", entry + "- {model: m, base_url: nowhere}\n", "", `model "m": unprocessable: base_url`},
		{"a wrong secret key", entry, "short", "secret key must be 32 bytes in base64"},
	} {
		if c.text != "" {
			harness.Must(t, os.WriteFile(file, []byte(c.text), 0o600))
		}
		env := map[string]string{"AIAAS_SECRET_KEY": c.key}
		maps.Copy(env, settings)
		g := harness.New(t, harness.Options{DataDir: filepath.Join(dir, "d"), Env: env})
		g.Launch(t)
		if code := g.Wait(t); code != 1 || !strings.Contains(g.Stderr(), "aiaas: set up models: ") || !strings.Contains(g.Stderr(), c.want) {
			t.Errorf("%s: exit code %d, and it says %q; want it about %q", c.name, code, g.Stderr(), c.want)
		}
		if founded(t, g) || g.Database().Int(t, `SELECT count(*) FROM router.models`) != 0 {
			t.Errorf("%s: something is left behind", c.name)
		}
	}
	harness.Must(t, os.WriteFile(file, []byte(entry), 0o600))
	g := harness.Start(t, harness.Options{DataDir: filepath.Join(dir, "d"), Env: settings})
	if !strings.Contains(g.Stdout(), g.APIKey) || !strings.Contains(g.Stdout(), "[demo m]") {
		t.Errorf("it does not show the keys and the models: %s", g.Stdout())
	}
	if a := g.Do(t.Context(), harness.Call{Key: g.APIKey, Body: demoChat}); !a.Done() {
		t.Errorf("the demo model is not served: %s", a)
	}
}

// TestAFirstStartThatWasCutOffIsFinished has a database as a crash leaves it after
// the organisation, and after half of the demo model.
func TestAFirstStartThatWasCutOffIsFinished(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Options{Env: map[string]string{"OPENAI_API_KEY": "sk-test"}})
	models := g.Database().Int(t, `SELECT count(*) FROM router.models`)
	for _, c := range []struct {
		name, sql string
		shown     bool
	}{
		{"no model", `TRUNCATE router.models CASCADE`, true},
		{"some models", `DELETE FROM router.prices WHERE model_id IN ('demo', 'gpt-5'); DELETE FROM router.backends WHERE model_id IN ('demo', 'gpt-5');
			DELETE FROM router.models WHERE model_id IN ('demo', 'gpt-5')`, true},
		{"a model without a price", `DELETE FROM router.prices WHERE model_id = 'demo'`, false},
		{"all", `SELECT 1`, false},
	} {
		db := g.Database().Conn(t)
		_, err := db.Exec(t.Context(), c.sql)
		harness.Must(t, err)
		harness.Must(t, db.Close(t.Context()))
		g.Stop(t)
		g.Restart(t)
		if strings.Contains(g.Stdout(), g.APIKey) != c.shown {
			t.Errorf("%s: want the keys shown: %v; it says %s", c.name, c.shown, g.Stdout())
		}
		if a := g.Do(t.Context(), harness.Call{Key: g.APIKey, Body: demoChat}); !a.Done() {
			t.Errorf("%s: the demo model is not served: %s", c.name, a)
		}
		for table, want := range map[string]int64{"models": models, "backends": models, "prices": models} {
			if n := g.Database().Int(t, `SELECT count(*) FROM router.`+table); n != want || want < 2 {
				t.Errorf("%s: %d %s; want %d", c.name, n, table, want)
			}
		}
	}
}

// TestBackendsAreAddedOnce lists the same place in several ways, two places of one
// model, and starts again and again.
func TestBackendsAreAddedOnce(t *testing.T) {
	t.Parallel()
	up := harness.StartUpstream(t, demo.Config{Models: []string{"one", "two", "other"}})
	file := filepath.Join(harness.Folder(t), "backends.yaml")
	price := "input_usd_per_million: '1', output_usd_per_million: '2'"
	harness.Must(t, os.WriteFile(file, []byte(fmt.Sprintf(`
- {model: one, base_url: %[1]q, %[2]s}
- {model: two, base_url: %[3]q, %[2]s}
- {model: two, base_url: %[3]q, upstream_model: two, %[2]s}
- {model: two, base_url: %[1]q, upstream_model: other}
`, up.URL+"/", price, up.URL)), 0o600))
	g := harness.Start(t, harness.Options{Env: map[string]string{"AIAAS_BACKENDS": file}})
	if !strings.Contains(g.Stdout(), "new models     [demo one two]\n") {
		t.Errorf("it says %s", g.Stdout())
	}
	for range 3 {
		for _, c := range []struct {
			model            string
			backends, prices int64
		}{{"one", 1, 1}, {"two", 2, 1}, {"demo", 1, 1}} {
			b := g.Database().Int(t, `SELECT count(*) FROM router.backends WHERE model_id = $1`, c.model)
			p := g.Database().Int(t, `SELECT count(*) FROM router.prices WHERE model_id = $1`, c.model)
			if b != c.backends || p != c.prices {
				t.Errorf("model %s has %d backends and %d prices; want %d and %d", c.model, b, p, c.backends, c.prices)
			}
		}
		for _, model := range []string{"one", "two"} {
			if a := g.Do(t.Context(), harness.Call{Key: g.APIKey, Body: strings.Replace(demoChat, "demo", model, 1)}); !a.Done() {
				t.Errorf("model %s is not served: %s", model, a)
			}
		}
		g.Stop(t)
		g.Restart(t)
		if strings.Contains(g.Stdout(), "new models") {
			t.Errorf("a restart has added models: %s", g.Stdout())
		}
	}
}

// TestTheCommandLineToTryIsTrue names a file with the key where there is one, and
// shows the key itself only at the first start.
func TestTheCommandLineToTryIsTrue(t *testing.T) {
	t.Parallel()
	server := harness.StartServer(t)
	settings := map[string]string{"DATABASE_URL": server.URL()}
	g := harness.Start(t, harness.Options{Env: settings})
	try := func(g *harness.Gateway, want string) {
		t.Helper()
		_, line, _ := strings.Cut(g.Stdout(), "curl ")
		if !strings.Contains(line, want) {
			t.Errorf("it says %q; want it with %q", line, want)
		}
	}
	try(g, "Bearer "+g.APIKey)
	g.Stop(t)
	g.Restart(t)
	try(g, filepath.Join(g.DataDir, "credentials.json"))
	g.Stop(t)
	elsewhere := harness.Start(t, harness.Options{Env: settings, Credentials: &g.Credentials})
	try(elsewhere, "Bearer YOUR_API_KEY")
	if strings.Contains(elsewhere.Stdout(), "credentials.json") {
		t.Errorf("it names a file that is not there: %s", elsewhere.Stdout())
	}
}

// TestUsage calls the command in ways that it does not know.
func TestUsage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line string
		code int
		want string
	}{
		{"bogus", 2, `unknown command "bogus"`},
		{"serve extra", 2, `unknown command "extra"`},
		{"migrate extra", 2, `unknown command "extra"`},
		{"serve --bogus", 2, "unknown flag: --bogus"},
		{"--bogus", 2, "unknown flag: --bogus"},
		{"migrate", 1, "DATABASE_URL is not set"},
		{"", 0, "Available Commands"},
		{"help", 0, "Available Commands"},
		{"help serve", 0, "serve runs the whole platform"},
		{"help settings", 0, "OPENAI_API_KEY"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
		cmd := osexec.CommandContext(ctx, harness.Binary(t), strings.Fields(c.line)...)
		cmd.Env, cmd.Dir = []string{"PATH=/usr/bin:/bin"}, harness.Folder(t)
		out, err := cmd.CombinedOutput()
		cancel()
		if exit := (*osexec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.want) {
			t.Errorf("aiaas %s: exit code %d: %s; want %d and %q", c.line, code, out, c.code, c.want)
		}
	}
}
