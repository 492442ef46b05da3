package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aiaas/aiaas/tests/harness"
)

// streams starts so many paced streams, half of them under a budget, and waits
// until each has its first content.
func (p *platform) streams(t *testing.T, n int, more string, keys ...string) <-chan harness.Answer {
	t.Helper()
	answers := make(chan harness.Answer, n)
	var begun atomic.Int64
	for i := range n {
		go func() {
			first := true
			answers <- p.Do(context.WithoutCancel(t.Context()), harness.Call{
				Key: keys[i%len(keys)], Body: chat(`,"stream":true` + more),
				Read: func(soFar []byte) bool {
					if first && bytes.Contains(soFar, []byte(`"delta":{"content":"`)) {
						first = false
						begun.Add(1)
					}
					return true
				},
			})
		}()
	}
	harness.Eventually(t, "streams", func() (bool, string) {
		if len(answers) > 0 {
			a := <-answers
			if a.Status != http.StatusOK {
				t.Fatalf("%d of %d have begun, and one never will: %s", begun.Load(), n, a)
			}
			answers <- a
		}
		return begun.Load() == int64(n), fmt.Sprintf("%d of %d have begun", begun.Load(), n)
	})
	return answers
}

// TestTerminationDrains asks the process to end while it streams: not ready from
// then on, what runs ends as it should and is billed, and the exit code is 0.
func TestTerminationDrains(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	heldID, held, budget := p.budgeted(t, "money", "10")
	answers := p.streams(t, 10, `,"demo":{"tokens":15,"interval_ms":100}`, p.APIKey, held)
	p.Signal(t, syscall.SIGTERM)
	for p.Running() {
		// Readiness was true a moment ago, and the signal takes a moment to arrive.
		if p.NotReady(t.Context()) {
			break
		}
	}
	for p.Running() {
		if !p.NotReady(t.Context()) {
			t.Error("ready again while it drains")
		}
		time.Sleep(10 * time.Millisecond)
	}
	want := map[string]bool{}
	for range 10 {
		a := <-answers
		if !a.Done() {
			t.Errorf("a running stream did not end as it should: %s", a)
		}
		want[a.RequestID] = true
	}
	if code := p.Wait(t); code != 0 {
		t.Errorf("exit code %d: %s", code, p.Stderr())
	}
	if pid := p.Postmaster(t); pid != 0 {
		t.Errorf("PostgreSQL (pid %d) goes on", pid)
	}
	p.Restart(t)
	p.Balanced(t, map[string]string{budget: heldID})
	ledger := p.Agrees(t)
	for id := range want {
		if ledger[id].Outcome != "complete" {
			t.Errorf("%s is booked as %+v", id, ledger[id])
		}
	}
}

// TestTerminationCutsAfterGrace has a stream that would never end.
func TestTerminationCutsAfterGrace(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{Env: map[string]string{"AIAAS_SHUTDOWN_GRACE": "300ms"}})
	heldID, held, budget := p.budgeted(t, "money", "10")
	answers := p.streams(t, 2, `,"demo":{"stall_after":5}`, held)
	p.Signal(t, syscall.SIGTERM)
	ids := []string{(<-answers).RequestID, (<-answers).RequestID}
	if code := p.Wait(t); code != 1 || !strings.Contains(p.Stderr(), "aiaas: requests were still running after 200ms") {
		t.Errorf("exit code %d: %s", code, p.Stderr())
	}
	p.Restart(t)
	p.Balanced(t, map[string]string{budget: heldID})
	ledger := p.Agrees(t)
	for _, id := range ids {
		if e := ledger[id]; e.Outcome != "aborted" || e.Output == 0 {
			t.Errorf("a stream that was cut is booked as %+v", e)
		}
	}
}

// TestSecondStartOnTheSameData is told at once who is there, and does no harm.
func TestSecondStartOnTheSameData(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Options{})
	same := harness.New(t, harness.Options{DataDir: g.DataDir})
	same.Launch(t)
	want := fmt.Sprintf("aiaas: another aiaas (pid %d) is running on this data folder: %s\n", g.PID(), g.DataDir)
	if code := same.Wait(t); code != 1 || same.Stderr() != want {
		t.Errorf("exit code %d, and it says %q; want %q", code, same.Stderr(), want)
	}
	other := harness.New(t, harness.Options{Addr: strings.TrimPrefix(g.BaseURL, "http://")})
	other.Launch(t)
	if code := other.Wait(t); code != 1 || !strings.Contains(other.Stderr(), "listen on AIAAS_ADDR=") || !strings.Contains(other.Stderr(), "address already in use") {
		t.Errorf("exit code %d on an address in use: %q", code, other.Stderr())
	}
	if _, err := os.Stat(filepath.Join(other.DataDir, "postgres")); err == nil {
		t.Error("a database was made although the address is in use")
	}
	if a := g.Do(t.Context(), harness.Call{Key: g.APIKey, Body: `{"model":"demo","messages":[{"role":"user","content":"x"}]}`}); !a.Done() {
		t.Errorf("the first process no longer serves: %s", a)
	}
}

// TestRestartKeepsEverything stops as Ctrl-C does and starts again, as a user
// would the next morning.
func TestRestartKeepsEverything(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	info, err := os.Stat(filepath.Join(p.DataDir, "credentials.json"))
	harness.Must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("credentials.json has mode %o", info.Mode().Perm())
	}
	_, key := p.CreateKey(t, harness.Limits{}, "inference")
	before := p.Credentials
	if a := p.chat(t.Context(), key, ""); !a.Done() {
		t.Fatal(a)
	}
	p.Stop(t)
	if pid := p.Postmaster(t); pid != 0 {
		t.Errorf("PostgreSQL (pid %d) goes on after Ctrl-C", pid)
	}
	ledgerAt := p.Stdout()
	if !strings.Contains(ledgerAt, "Stopped. The data is in "+p.DataDir) {
		t.Errorf("it does not say where the data is: %s", ledgerAt)
	}
	p.Restart(t)
	after := p.Credentials
	before.BaseURL, after.BaseURL = "", ""
	if before != after {
		t.Error("a restart has changed the credentials")
	}
	if strings.Contains(p.Stdout()+p.Stderr(), before.APIKey) {
		t.Error("a restart shows a key again")
	}
	if a := p.chat(t.Context(), key, ""); !a.Done() {
		t.Errorf("a key of before no longer works: %s", a)
	}
	p.WaitSettled(t)
	if ledger := p.Agrees(t); len(ledger) != 2 {
		t.Errorf("the ledger has %v", maps.Keys(ledger))
	}
}

// TestDatabaseTakenAway stops the database under running requests: they end and
// are recorded, new ones are refused, and when it is back all is booked once.
func TestDatabaseTakenAway(t *testing.T) {
	t.Parallel()
	for name, outage := range map[string]struct {
		begin, end func(*testing.T, *harness.Server)
	}{
		"stopped": {
			func(t *testing.T, s *harness.Server) { t.Helper(); s.Stop(t) },
			func(t *testing.T, s *harness.Server) { t.Helper(); s.Start(t) },
		},
		"silent": {
			func(t *testing.T, s *harness.Server) { t.Helper(); s.Suspend(t) },
			func(t *testing.T, s *harness.Server) { t.Helper(); s.Resume(t) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := harness.StartServer(t)
			p := start(t, harness.Options{Env: map[string]string{"DATABASE_URL": server.URL()}})
			heldID, held, budget := p.budgeted(t, "money", "10")
			pid := p.PID()
			const running = 8
			answers := p.streams(t, running, `,"demo":{"tokens":12,"interval_ms":100}`, p.APIKey, held)
			outage.begin(t, server)
			harness.Eventually(t, "not ready", func() (bool, string) { return p.NotReady(t.Context()), "ready" })
			harness.Eventually(t, "refusal of new requests", func() (bool, string) {
				a := p.chat(t.Context(), held, "")
				if a.Status != http.StatusServiceUnavailable {
					return false, a.String()
				}
				refused(t, a, http.StatusServiceUnavailable, "unavailable")
				if s, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || s < 1 {
					t.Errorf("Retry-After %q", a.Header.Get("Retry-After"))
				}
				return true, ""
			})
			var done []harness.Answer
			for range running {
				done = append(done, <-answers)
			}
			outage.end(t, server)
			p.WaitReady(t)
			if p.PID() != pid || !p.Running() {
				t.Error("it is another process")
			}
			harness.Eventually(t, "an empty spool", func() (bool, string) {
				info, err := os.Stat(filepath.Join(p.DataDir, "usage.spool"))
				harness.Must(t, err) // where the events went
				return info.Size() == 0, fmt.Sprintf("%d bytes", info.Size())
			})
			p.WaitSettled(t)
			p.WaitNoHolds(t)
			ledger := p.Agrees(t)
			for _, a := range done {
				if e := ledger[a.RequestID]; !a.Done() || e.Outcome != "complete" {
					t.Errorf("booked as %+v: %s", e, a)
				}
			}
			if a := p.chat(t.Context(), held, ""); !a.Done() {
				t.Errorf("it does not serve again: %s", a)
			}
			p.Stop(t)
			p.Restart(t)
			p.Balanced(t, map[string]string{budget: heldID})
		})
	}
}
