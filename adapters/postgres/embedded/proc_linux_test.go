package embedded_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestTheEnvironmentIsNotTheServers(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "sk-secret")
	t.Setenv("PGPORT", "1")
	s := start(t, config(filepath.Join(folder(t), "data")))
	environ, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.PID()), "environ"))
	must(t, err)
	wantIn(t, string(environ), "LC_ALL=C")
	if strings.Contains(string(environ), "sk-secret") {
		t.Error("the server's environment holds the command's keys")
	}
}

func TestRootsServerRunsUnprivileged(t *testing.T) {
	asRoot(t)
	dir := filepath.Join(folder(t), "data")
	s := start(t, config(dir))
	info, err := os.Stat(filepath.Join(dir, "postgres"))
	must(t, err)
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || stat.Uid == 0 {
		t.Error("the cluster belongs to root")
	}
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.PID()), "status"))
	must(t, err)
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		if fields := strings.Fields(value); (name == "Uid" || name == "Gid" || name == "Groups") && slices.Contains(fields, "0") {
			t.Errorf("the server keeps a right of root: %s", line)
		}
	}
}
