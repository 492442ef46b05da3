package e2e_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/tests/harness"
)

// TestAbsurdAnswersOfABackend keeps the process's memory bounded. What else a
// backend may do stands in the tests of hostile inputs.
func TestAbsurdAnswersOfABackend(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{Env: map[string]string{"AIAAS_UPSTREAM_IDLE_TIMEOUT": "2s"}})
	_, held, _ := p.budgeted(t, "money", "10")
	const giant = 16 << 20
	before := p.memory(t)
	for _, c := range []struct {
		name, more string
		status     int
		outcome    string // "" for no event
	}{
		{"one line of 16 MB in a stream", fmt.Sprintf(`,"stream":true,"demo":{"giant_line":%d}`, giant), 200, ""},
		{"one line of 16 MB in a whole answer", fmt.Sprintf(`,"demo":{"giant_line":%d}`, giant), 502, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := p.chat(t.Context(), held, c.more)
			if a.Status != c.status || a.Done() {
				t.Errorf("want %d and no whole answer, got %s", c.status, a)
			}
			p.WaitSettled(t)
			if e := p.Database().Ledger(t)[a.RequestID]; e.Outcome != c.outcome {
				t.Errorf("booked as %+v: %s", e, a)
			}
		})
	}
	// Many at once do not add up.
	parallel(24, 8, func(int) {
		p.chat(context.WithoutCancel(t.Context()), held, fmt.Sprintf(`,"stream":true,"demo":{"giant_line":%d}`, giant))
	})
	if after := p.memory(t); after-before > 200<<20 {
		t.Errorf("the process has grown from %d to %d MiB", before>>20, after>>20)
	}
	p.WaitSettled(t)
	p.WaitNoHolds(t)
	p.Agrees(t)
	if a := p.chat(t.Context(), held, ""); !a.Done() {
		t.Errorf("it no longer serves: %s", a)
	}
}

// memory is the most that the process has had resident, in bytes; 0 where the
// system does not tell.
func (p *platform) memory(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			harness.Must(t, err)
			return kib << 10
		}
	}
	return 0
}
