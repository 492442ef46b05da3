// Package command_test holds what the command promises to whoever types or scripts
// it: the built program, as a process, against a platform that runs.
package command_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// result is one run of the command.
type result struct {
	t              *testing.T
	line           string
	code           int
	stdout, stderr string
}

// shell runs the command as one user of one machine.
type shell struct {
	env   map[string]string
	stdin string
}

// of is a shell beside a platform's data folder.
func of(g *harness.Gateway) *shell {
	return &shell{env: map[string]string{"AIAAS_DATA_DIR": g.DataDir}}
}

func (s *shell) cmd(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, harness.Binary(t), args...)
	root, err := filepath.Abs("../..") // where a PostgreSQL that was installed without root is looked for
	harness.Must(t, err)
	cmd.Dir, cmd.Env, cmd.Stdin = root, []string{"PATH=/usr/bin:/bin"}, strings.NewReader(s.stdin)
	for name, value := range s.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

func (s *shell) run(t *testing.T, args ...string) result {
	t.Helper()
	cmd := s.cmd(t, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{t: t, line: "aiaas " + strings.Join(args, " "), code: cmd.ProcessState.ExitCode(), stdout: out.String(), stderr: errs.String()}
}

// words is run with a line that needs no quoting.
func (s *shell) words(t *testing.T, line string) result {
	t.Helper()
	return s.run(t, strings.Fields(line)...)
}

// want fails the test unless the command ended so.
func (r result) want(code int) result {
	r.t.Helper()
	if r.code != code {
		r.t.Fatalf("%s: exit code %d; want %d\nstdout: %s\nstderr: %s", r.line, r.code, code, r.stdout, r.stderr)
	}
	return r
}

// json reads standard output.
func (r result) json() map[string]any {
	r.t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil {
		r.t.Fatalf("%s: %v: %s", r.line, err, r.stdout)
	}
	return v
}

// csv reads standard output.
func (r result) csv() [][]string {
	r.t.Helper()
	records, err := csv.NewReader(strings.NewReader(r.stdout)).ReadAll()
	if err != nil || len(records) == 0 {
		r.t.Fatalf("%s: %v: %s", r.line, err, r.stdout)
	}
	return records
}

func text(v any, name string) string {
	object, _ := v.(map[string]any)
	s, _ := object[name].(string)
	return s
}

func data(v map[string]any) []any {
	list, _ := v["data"].([]any)
	return list
}
