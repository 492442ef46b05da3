package embedded

import (
	"os/exec"
	"strconv"
	"strings"
)

// processesOf lists the servers that run on a cluster: their command lines name
// it. Their children's do not; PostgreSQL itself refuses to start beside them.
func processesOf(dir string) []int {
	out, err := exec.Command("/bin/ps", "-axww", "-o", "pid=,command=").Output() //nolint:noctx // ends at once
	if err != nil {
		return nil
	}
	var pids []int
	for line := range strings.Lines(string(out)) {
		pid, command, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !strings.Contains(command, "/postgres -D "+dir+" ") {
			continue
		}
		if n, err := strconv.Atoi(pid); err == nil {
			pids = append(pids, n)
		}
	}
	return pids
}
