package sso_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// directory is oidc-provider, running in Node.
type directory struct {
	w   *world
	url string
}

// startDirectory starts it. What is missing fails the test, it does not skip it: else no
// one would notice that nothing is tested.
func (w *world) startDirectory() *directory {
	w.t.Helper()
	program, err := exec.LookPath("node")
	if err != nil {
		w.t.Fatalf("this test needs Node; `make test` installs it: %v", err)
	}
	if want, have := version(w.t, "package.json"), version(w.t, filepath.Join("node_modules", "oidc-provider", "package.json")); want != have {
		w.t.Fatalf("this test needs oidc-provider %s in tests/sso/node_modules, which holds %q; run `make test`, which installs it", want, have)
	}
	cmd := exec.CommandContext(w.t.Context(), program, "issuer.mjs")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "NODE_NO_WARNINGS=1"}
	stdin, err := cmd.StdinPipe()
	must(w.t, err)
	stdout, err := cmd.StdoutPipe()
	must(w.t, err)
	var stderr safeBuffer
	cmd.Stderr = &stderr
	must(w.t, cmd.Start())
	w.t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
		if w.t.Failed() {
			w.t.Logf("oidc-provider: %s", stderr.String())
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		w.t.Fatalf("oidc-provider: %v %s", err, stderr.String())
	}
	return &directory{w, strings.TrimSpace(line)}
}

// version is the one of oidc-provider that a file names; "" where there is no file.
func version(t *testing.T, file string) string {
	t.Helper()
	body, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return ""
	}
	must(t, err)
	var p struct {
		Version      string            `json:"version"`
		Dependencies map[string]string `json:"dependencies"`
	}
	must(t, json.Unmarshal(body, &p))
	if v, ok := p.Dependencies["oidc-provider"]; ok {
		return v
	}
	return p.Version
}

// people tells the directory of people, by e-mail address.
func (d *directory) people(list map[string]any) {
	d.w.t.Helper()
	if a := d.w.browser().do(http.MethodPut, d.url+"/people", list); a.status != 200 {
		d.w.t.Fatalf("%d %s", a.status, a.raw)
	}
}

// connect makes a connection to the directory, which learns of it.
func (d *directory) connect(n tenant, key string, more map[string]any) doc {
	d.w.t.Helper()
	c := n.connect(key, d.url, more)
	if a := d.w.browser().do(http.MethodPut, d.url+"/redirects", []any{c["redirect_uri"]}); a.status != 200 {
		d.w.t.Fatalf("%d %s", a.status, a.raw)
	}
	return c
}
