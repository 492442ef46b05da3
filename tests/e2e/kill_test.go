package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aiaas/aiaas/tests/harness"
)

// load keeps requests running until it is told to stop, and remembers what its
// clients received.
type load struct {
	p        *platform
	keys     []string
	stop     context.CancelFunc
	group    sync.WaitGroup
	mu       sync.Mutex
	complete map[string]bool // request ids of completely received answers
	partial  map[string]bool // of answers that began and did not end
	failed   int             // that did not begin, or were refused
	refused  map[int]int
}

// mixedLoad starts so many clients, which ask for whole answers and streams of
// different lengths in turn.
func (p *platform) mixedLoad(ctx context.Context, clients int, seed uint64, keys ...string) *load {
	l := &load{p: p, keys: keys, complete: map[string]bool{}, partial: map[string]bool{}, refused: map[int]int{}}
	ctx, l.stop = context.WithCancel(ctx)
	for c := range clients {
		l.group.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(c)))
			for n := 0; ctx.Err() == nil; n++ {
				more := fmt.Sprintf(`,"max_tokens":%d`, 4+random.IntN(30))
				if random.IntN(2) == 0 {
					more += fmt.Sprintf(`,"stream":true,"demo":{"interval_ms":%d}`, random.IntN(3))
				}
				// A client does not leave because the test does: its last answer counts.
				l.note(p.chat(context.WithoutCancel(ctx), keys[n%len(keys)], more))
			}
		})
	}
	return l
}

func (l *load) note(a harness.Answer) {
	l.mu.Lock()
	switch {
	case a.Done():
		l.complete[a.RequestID] = true
	case a.Status == http.StatusOK:
		l.partial[a.RequestID] = true
	default:
		l.failed++
		l.refused[a.Status]++
	}
	l.mu.Unlock()
	if a.Status != http.StatusOK { // nobody is there; what is counted is what was answered
		time.Sleep(2 * time.Millisecond)
	}
}

// received waits until at least so many answers were received completely.
func (l *load) received(t *testing.T, n int) {
	t.Helper()
	harness.Eventually(t, "load", func() (bool, string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.complete) >= n, fmt.Sprintf("%d complete, %d partial, refused %v", len(l.complete), len(l.partial), l.refused)
	})
}

func (l *load) end() {
	l.stop()
	l.group.Wait()
}

// TestKillInTheMiddleOfLoad kills the process, its database, and both, while
// clients are being served. After each restart every completely received answer
// is in the ledger once, and no money is held, handed out or counted twice.
func TestKillInTheMiddleOfLoad(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{Env: map[string]string{"AIAAS_SHUTDOWN_GRACE": "5s"}})
	moneyID, moneyKey, money := p.budgeted(t, "money", "20")
	tokensID, tokensKey, tokens := p.budgeted(t, "tokens", "2000000")
	owner := map[string]string{money: moneyID, tokens: tokensID}
	random := rand.New(rand.NewPCG(2026, 11))
	complete, partial := map[string]bool{}, map[string]bool{}
	for round, kill := range []struct {
		name string
		do   func(testing.TB)
	}{
		{"process", p.Kill},
		{"database", p.killDatabase},
		{"both", p.killBoth},
		{"process again", p.Kill},
		{"database again", p.killDatabase},
		{"process once more", p.Kill},
	} {
		epoch := p.Database().Int(t, `SELECT epoch FROM analytics.epoch`)
		l := p.mixedLoad(t.Context(), 16, uint64(round), p.APIKey, moneyKey, tokensKey)
		l.received(t, 100)
		time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond) // where in the load the kill falls
		kill.do(t)
		l.end()
		p.Restart(t)
		if now := p.Database().Int(t, `SELECT epoch FROM analytics.epoch`); now != epoch+1 {
			t.Errorf("%s: ready in epoch %d after epoch %d", kill.name, now, epoch)
		}
		p.balanced(t, owner)
		for id := range l.complete {
			complete[id] = true
		}
		for id := range l.partial {
			partial[id] = true
		}
		ledger := p.Agrees(t)
		lost, unreceived := 0, 0
		for id := range complete {
			if e, ok := ledger[id]; !ok || e.Outcome != "complete" {
				t.Errorf("%s: %s was received completely, but booked is %+v", kill.name, id, e)
			}
		}
		served := p.upstream.Log(t)
		for id := range served {
			if _, ok := ledger[id]; !ok {
				lost++
			}
		}
		for id := range ledger {
			if _, ok := served[id]; !ok {
				t.Errorf("%s: %s is booked, but was never served", kill.name, id)
			}
			if !complete[id] {
				unreceived++
			}
		}
		t.Logf("%s: this round %d complete, %d broken off, refused %v; until now %d booked, %d of them not received completely, %d served and not booked",
			kill.name, len(l.complete), len(l.partial), l.refused, len(ledger), unreceived, lost)
		p.sameCounts(t, complete, ledger)
	}
	p.Stop(t)
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

// killDatabase kills PostgreSQL under the running process, which must then end by
// itself and say why.
func (p *platform) killDatabase(t testing.TB) {
	t.Helper()
	pid := p.Postmaster(t)
	if pid == 0 {
		t.Fatal("no database runs")
	}
	harness.Must(t, syscall.Kill(pid, syscall.SIGKILL))
	if code := p.Wait(t); code != 1 {
		t.Errorf("exit code %d after its database was killed", code)
	}
	if !strings.Contains(p.Stderr(), "the embedded database has ended") {
		t.Errorf("it does not say why it ended: %s", p.Stderr())
	}
}

func (p *platform) killBoth(t testing.TB) {
	t.Helper()
	pid := p.Postmaster(t)
	harness.Must(t, syscall.Kill(pid, syscall.SIGKILL))
	p.Kill(t)
}
