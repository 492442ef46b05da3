package embedded

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// processesOf lists the PostgreSQL processes that run on a cluster: each has it
// as its working folder. A zombie has none.
func processesOf(dir string) []int {
	cluster, err := os.Stat(dir)
	if err != nil {
		return nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		proc := filepath.Join("/proc", entry.Name())
		name, err := os.ReadFile(filepath.Join(proc, "comm")) //nolint:gosec // below /proc
		if err != nil || strings.TrimSpace(string(name)) != "postgres" {
			continue
		}
		if cwd, err := os.Stat(filepath.Join(proc, "cwd")); err == nil && os.SameFile(cwd, cluster) {
			pids = append(pids, pid)
		}
	}
	return pids
}
