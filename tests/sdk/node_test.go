package sdk_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/aiaas/aiaas/tests/harness"
)

// node is Node and the folder of the installed packages. What is missing fails
// the test, it does not skip it: else no one would notice that nothing is tested.
func node(t *testing.T) (program, modules string) {
	t.Helper()
	program, err := exec.LookPath("node")
	if err != nil {
		t.Fatalf("this test needs Node; `make test` installs it: %v", err)
	}
	modules, err = filepath.Abs("node_modules")
	harness.Must(t, err)
	for _, name := range []string{"openai", "typescript"} {
		want, have := version(t, "package.json", name), installed(t, modules, name)
		if want != have {
			t.Fatalf("this test needs %s %s in tests/sdk/node_modules, which holds %q; run `make test`, which installs it", name, want, have)
		}
	}
	return program, modules
}

// version is the exact version that package.json asks for.
func version(t *testing.T, file, name string) string {
	t.Helper()
	body, err := os.ReadFile(file)
	harness.Must(t, err)
	var p struct {
		Dependencies map[string]string `json:"dependencies"`
	}
	harness.Must(t, json.Unmarshal(body, &p))
	return p.Dependencies[name]
}

// installed is the version in node_modules; "" where there is none.
func installed(t *testing.T, modules, name string) string {
	t.Helper()
	body, err := os.ReadFile(filepath.Join(modules, name, "package.json"))
	if os.IsNotExist(err) {
		return ""
	}
	harness.Must(t, err)
	var p struct {
		Version string `json:"version"`
	}
	harness.Must(t, json.Unmarshal(body, &p))
	return p.Version
}

// counts are the sums at the end of Node's TAP report.
var counts = regexp.MustCompile(`(?m)^# (pass|fail|cancelled|skipped|todo) (\d+)$`)

func TestOpenAINode(t *testing.T) {
	program, _ := node(t)
	files, err := filepath.Glob("*.test.mjs")
	harness.Must(t, err)
	if len(files) == 0 {
		t.Fatal("there are no *.test.mjs")
	}
	p := open(t)
	told, err := json.Marshal(p)
	harness.Must(t, err)
	cmd := exec.CommandContext(t.Context(), program, append([]string{"--test", "--test-reporter=tap"}, files...)...)
	// The SDK takes its whole configuration from these two, as in its own README.
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "AIAAS_SDK_TEST=" + string(told),
		"OPENAI_BASE_URL=" + p.baseURL(), "OPENAI_API_KEY=" + p.gateway.APIKey,
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	ran := cmd.Run()
	sums := map[string]int{}
	for _, m := range counts.FindAllStringSubmatch(out.String(), -1) {
		sums[m[1]], err = strconv.Atoi(m[2])
		harness.Must(t, err)
	}
	t.Logf("node: %v", sums)
	missed := slices.ContainsFunc([]string{"fail", "cancelled", "skipped", "todo"}, func(s string) bool { return sums[s] != 0 })
	if ran != nil || sums["pass"] < len(files) || missed {
		t.Fatalf("node --test: %v, %v\n%s", ran, sums, unfinished(out.String()))
	}
}

// passed are the tests in a TAP report that there is nothing to say of.
var passed = regexp.MustCompile(`(?m)^# Subtest: .*\nok \d+ .*\n  ---\n(?:  .*\n)*?  \.\.\.\n`)

// unfinished is a TAP report without the tests that passed.
func unfinished(report string) string { return passed.ReplaceAllString(report, "") }
