package command_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/tests/harness"
)

// mutations are all commands that change something.
func mutations() []string {
	return []string{
		"key create --name k --scopes inference", "key revoke KEY", "model create m", "model disable demo", "model enable demo",
		"model add-backend demo --url http://127.0.0.1:9/v1", "model update-backend BACKEND --weight 2",
		"model price demo --input-usd 9 --output-usd 9", "budget create --organization --unit money --amount 1 --period day --action block",
		"budget update BUDGET --amount 99", "budget delete BUDGET", "job run metering.fold", "invoice run --period 2026-10",
	}
}

func TestADryRunChangesNothing(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Options{})
	sh := of(g)
	known := ids(t, g, sh)
	state := func() string {
		var out strings.Builder
		for _, table := range []string{
			"accounts.api_keys", "accounts.audit_records", "router.models", "router.backends", "router.prices", "router.audit_records",
			"analytics.budgets", "analytics.audit_records",
		} {
			fmt.Fprintln(&out, table, g.Database().Int(t, `SELECT coalesce(sum(hashtext(t::text)::bigint), 0) FROM `+table+` t`))
		}
		return out.String()
	}
	before := state()
	for _, line := range mutations() {
		line = known.Replace(line)
		r := sh.words(t, line+" --dry-run").want(0)
		first, _, _ := strings.Cut(r.stdout, "\n")
		method, url, _ := strings.Cut(first, " ")
		if !slices.Contains([]string{"POST", "PATCH", "DELETE"}, method) || !strings.HasPrefix(url, g.BaseURL+"/v1/") {
			t.Errorf("%s: %s; want the request", r.line, r.stdout)
		}
		if v := sh.words(t, line+" --dry-run -o json").want(0).json(); v["method"] != method || v["url"] != url {
			t.Errorf("%s: as JSON %v; want %s", r.line, v, first)
		}
		if strings.Contains(r.stdout+r.stderr, "aiaas_live_") {
			t.Errorf("%s: it shows a key: %s", r.line, r.stdout)
		}
	}
	if after := state(); after != before {
		t.Errorf("before\n%s, after\n%s", before, after)
	}
	// Reading goes on.
	if n := len(data(sh.words(t, "key list --dry-run -o json").want(0).json())); n != 3 {
		t.Errorf("a dry run lists %d keys; want 3", n)
	}
}

func TestANewKeyIsShownOnceOnStandardOutput(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Options{})
	sh := of(g)
	for _, form := range []string{"table", "json", "csv"} {
		r := sh.words(t, "key create --name k --scopes inference --output "+form).want(0)
		_, rest, _ := strings.Cut(r.stdout, "aiaas_live_") // the fingerprint
		if n := strings.Count(r.stdout, "aiaas_live_"); n != 2 || strings.Contains(r.stderr, "aiaas_live_") {
			t.Errorf("%s: stdout %s, stderr %s; want the fingerprint and the key once", form, r.stdout, r.stderr)
		}
		_, secret, _ := strings.Cut(rest, "aiaas_live_")
		secret = "aiaas_live_" + strings.FieldsFunc(secret, func(r rune) bool { return strings.ContainsRune("\", \r\n", r) })[0]
		if a := g.Do(t.Context(), harness.Call{Key: secret, Body: chat}); !a.Done() {
			t.Errorf("%s: what is shown is no key that works: %s", form, a)
		}
		for _, line := range []string{"key list", "key list -o json", "key list -o csv"} {
			if r := sh.words(t, line); strings.Contains(r.stdout+r.stderr, secret) {
				t.Errorf("%s shows the key again", r.line)
			}
		}
		if strings.Contains(g.Stderr(), secret) {
			t.Error("the key is in the platform's log")
		}
	}
}

// No secret stands in a process's arguments, where every user sees it, nor in what
// a command says.
func TestSecretsAreNoArguments(t *testing.T) {
	t.Parallel()
	const credential = "sk-very-secret"
	pid, seen := make(chan int, 1), make(chan [2][]byte, 1)
	sh := stub(t, func(w http.ResponseWriter, r *http.Request) {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", <-pid))
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		seen <- [2][]byte{cmdline, body.Bytes()}
		w.WriteHeader(201)
		_, _ = w.Write([]byte(`{"id":"be_1","credential":"sealed"}`))
	})
	sh.stdin = credential + "\n"
	cmd := sh.cmd(t, "model", "add-backend", "demo", "--url", "https://x.example/v1", "--credential-stdin")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	harness.Must(t, cmd.Start())
	pid <- cmd.Process.Pid
	harness.Must(t, cmd.Wait())
	both := <-seen
	cmdline, got := both[0], both[1]
	if !strings.Contains(string(got), `"credential":"`+credential+`"`) {
		t.Errorf("the credential was not sent: %s", got)
	}
	for name, text := range map[string]string{"arguments": string(cmdline), "stdout": out.String(), "stderr": errs.String()} {
		if strings.Contains(text, credential) || strings.Contains(text, "aiaas_live_") {
			t.Errorf("%s hold a secret: %q", name, text)
		}
	}
	if !bytes.Contains(cmdline, []byte("add-backend")) {
		t.Errorf("these are not its arguments: %q", cmdline)
	}
	r := sh.words(t, "model add-backend demo --url https://x.example/v1 --credential-stdin --dry-run").want(0)
	if strings.Contains(r.stdout, credential) || !strings.Contains(r.stdout, "(hidden)") {
		t.Errorf("a dry run shows the credential: %s", r.stdout)
	}
	for _, line := range []string{
		"--credential-stdin --credential-env X", "--credential " + credential, "--key " + credential,
	} {
		if r := sh.words(t, "model add-backend demo --url https://x.example/v1 "+line); r.code != 2 {
			t.Errorf("%s: exit code %d; want 2", r.line, r.code)
		}
	}
	sh.stdin = ""
	sh.words(t, "model add-backend demo --url https://x.example/v1 --credential-stdin").want(2)
}
