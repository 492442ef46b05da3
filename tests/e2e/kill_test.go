package e2e_test

import (
	"testing"

	"github.com/aiaas/aiaas/tests/chaos"
	"github.com/aiaas/aiaas/tests/harness"
)

// TestKillInTheMiddleOfLoad kills the process, its database, both, and parts of
// them, while clients are being served: each way once. `make soak` goes on for
// hundreds of kills.
func TestKillInTheMiddleOfLoad(t *testing.T) {
	t.Parallel()
	report := chaos.Kill(t, chaos.Options{Seed: 2026_11, Kills: 8, Clients: 16, Answers: 100})
	t.Logf("\n%s", report)
}

// sameCounts checks that completely answered requests are booked as the backend
// counted them.
func (p *platform) sameCounts(t *testing.T, complete map[string]bool, ledger map[string]harness.Entry) {
	t.Helper()
	served := p.upstream.Log(t)
	for id := range complete {
		e, s := ledger[id], served[id].Stated
		if e.Input != s.Prompt || e.Output != s.Completion || e.Cost != cost(s.Prompt, s.Cached, s.Completion) {
			t.Errorf("%s: booked %+v, the backend counts %+v", id, e, s)
		}
	}
}
