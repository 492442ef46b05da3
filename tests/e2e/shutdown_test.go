package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aiaas/aiaas/tests/harness"
)

// crowd is how many streams run when the process is told to end.
const crowd = 200

// crowdKeys are keys for a crowd, half of them under a budget; owner names the
// key of each budget.
func (p *platform) crowdKeys(t *testing.T) (keys []string, owner map[string]string) {
	t.Helper()
	owner = map[string]string{}
	for i := range 4 {
		id, key := p.CreateKey(t, harness.Limits{RequestsPerMinute: 1000, TokensPerMinute: 100_000_000, ConcurrentRequests: crowd}, "inference")
		keys = append(keys, key)
		if i%2 == 0 {
			owner[p.CreateBudget(t, map[string]any{"api_key_id": id}, "money", "1000", "block")] = id
		}
	}
	return keys, owner
}

// probe asks whether the process is ready, over a connection of its own; 0 when
// nobody takes it.
func probe(ctx context.Context, base string) int {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/readyz", nil)
	if err != nil {
		return 0
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TestTerminationWithACrowd asks the process to end while two hundred streams
// run: first it says that it is not ready and goes on serving, new connections
// included; then it takes none; all streams end as they should and are billed as
// the backend counted them.
func TestTerminationWithACrowd(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{Env: map[string]string{"AIAAS_DRAIN_DELAY": "1500ms", "AIAAS_SHUTDOWN_GRACE": "2m"}})
	keys, owner := p.crowdKeys(t)
	answers := p.streams(t, crowd, `,"demo":{"tokens":60,"interval_ms":100}`, keys...)
	if status := probe(t.Context(), p.BaseURL); status != http.StatusOK {
		t.Fatalf("before the signal /readyz answers %d", status)
	}
	p.Signal(t, syscall.SIGTERM)
	var seen []int
	for status := http.StatusOK; status != 0; {
		if status = probe(t.Context(), p.BaseURL); len(seen) == 0 || seen[len(seen)-1] != status {
			seen = append(seen, status)
			if status == http.StatusServiceUnavailable {
				if a := p.chat(t.Context(), keys[0], ""); !a.Done() {
					t.Errorf("not ready, but the listener is open, and a new request gets %s", a)
				}
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	if seen[0] == http.StatusOK { // the signal takes a moment to arrive
		seen = seen[1:]
	}
	if len(seen) != 2 || seen[0] != http.StatusServiceUnavailable || seen[1] != 0 {
		t.Errorf("after the signal /readyz answers %v; want 503 until nobody answers", seen)
	}
	if !p.Running() {
		t.Error("it has ended before its streams")
	}
	complete := map[string]bool{}
	for range crowd {
		a := <-answers
		if !a.Done() {
			t.Errorf("a running stream did not end as it should: %s", a)
		}
		complete[a.RequestID] = true
	}
	if code := p.Wait(t); code != 0 || !strings.Contains(p.Stdout(), "Stopped.") {
		t.Errorf("exit code %d: %s", code, p.Stderr())
	}
	p.Restart(t)
	p.Balanced(t, owner)
	ledger := p.Agrees(t)
	if len(complete) != crowd || len(ledger) != crowd+1 {
		t.Errorf("%d streams, %d bookings; want %d and one more", len(complete), len(ledger), crowd)
	}
	for id := range complete {
		if ledger[id].Outcome != "complete" {
			t.Errorf("%s is booked as %+v", id, ledger[id])
		}
	}
	p.sameCounts(t, complete, ledger)
}

// cutAndBilled checks that streams that were cut are booked once each, for what
// the backend had sent.
func (p *platform) cutAndBilled(t *testing.T, cut []harness.Answer, owner map[string]string) {
	t.Helper()
	p.Restart(t)
	p.Balanced(t, owner)
	ledger, served := p.Agrees(t), p.upstream.Log(t)
	defer p.Stop(t) // which does not pause
	if len(ledger) != len(cut) {
		t.Errorf("%d bookings of %d streams", len(ledger), len(cut))
	}
	for _, a := range cut {
		e, sent := ledger[a.RequestID], int64(served[a.RequestID].SentTokens)
		got := deltaBytes(t, a)
		if a.Done() || got == 0 || e.Outcome != "aborted" || !e.Estimated || e.Output < got/4 || e.Output > sent+sent/4+1 || e.Output == 0 || e.Cost != cost(e.Input, e.Cached, e.Output) {
			t.Errorf("a stream that was cut is booked as %+v; the client has %d bytes, the backend sent %d tokens", e, got, sent)
		}
	}
}

// deltaBytes is how much content of a stream has come, in bytes.
func deltaBytes(t *testing.T, a harness.Answer) (n int64) {
	t.Helper()
	for line := range bytes.Lines(a.Body) {
		data, ok := bytes.CutPrefix(line, []byte("data: {"))
		if !ok || !bytes.HasSuffix(line, []byte("\n")) { // the last line may be half of one
			continue
		}
		var chunk struct {
			Choices []struct{ Delta struct{ Content string } }
		}
		harness.Must(t, json.Unmarshal(append([]byte("{"), data...), &chunk))
		for _, c := range chunk.Choices {
			n += int64(len(c.Delta.Content))
		}
	}
	return n
}

// TestTerminationCutsACrowd has a grace that is over long before the streams are.
func TestTerminationCutsACrowd(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{Env: map[string]string{"AIAAS_DRAIN_DELAY": "200ms", "AIAAS_SHUTDOWN_GRACE": "1s"}})
	keys, owner := p.crowdKeys(t)
	answers := p.streams(t, crowd, `,"demo":{"tokens":3000,"interval_ms":100}`, keys...)
	p.Signal(t, syscall.SIGTERM)
	var cut []harness.Answer
	for range crowd {
		cut = append(cut, <-answers)
	}
	if code := p.Wait(t); code != 1 || !strings.Contains(p.Stderr(), "aiaas: requests were still running after 667ms") {
		t.Errorf("exit code %d: %s", code, p.Stderr())
	}
	p.cutAndBilled(t, cut, owner)
}

// TestASecondSignalEndsAtOnce does not wait for the pause, nor for the grace, and
// loses nothing.
func TestASecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{Env: map[string]string{"AIAAS_DRAIN_DELAY": "10h", "AIAAS_SHUTDOWN_GRACE": "24h"}})
	keys, owner := p.crowdKeys(t)
	answers := p.streams(t, 8, `,"demo":{"stall_after":20}`, keys...)
	p.Signal(t, syscall.SIGTERM)
	harness.Eventually(t, "a pause", func() (bool, string) {
		return probe(t.Context(), p.BaseURL) == http.StatusServiceUnavailable, "ready, or gone"
	})
	p.Signal(t, syscall.SIGINT)
	var cut []harness.Answer
	for range 8 {
		cut = append(cut, <-answers)
	}
	if code := p.Wait(t); code != 1 || !strings.Contains(p.Stderr(), "aiaas: requests were still running when the process was told again to end") {
		t.Errorf("exit code %d: %s", code, p.Stderr())
	}
	p.cutAndBilled(t, cut, owner)
}

// TestAnInterruptDoesNotPause has a pause that no test would outlive.
func TestAnInterruptDoesNotPause(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Options{Env: map[string]string{"AIAAS_DRAIN_DELAY": "10h", "AIAAS_SHUTDOWN_GRACE": "24h"}})
	g.Stop(t)
}
