package catalogue_test

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aiaas/aiaas/tests/runtimeapi"
)

const waiting = `SELECT coalesce(string_agg(event_id, ' ' ORDER BY recorded_at), '') FROM analytics.inbox`

// An answer that has ended is durable: whatever happens to the process in the
// moment after, the event is there, once.
func TestAnAnswerIsDurableBeforeItEnds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		stream bool
	}{{"whole", false}, {"stream", true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, "inference")
			box := p.sandbox("inference")
			requestID, got := p.chat(modelID, c.stream)
			if err := box.Kill(); err != nil { // SIGKILL
				t.Fatal(err)
			}
			if got.status != http.StatusOK || got.err != nil || requestID == "" {
				t.Fatalf("status %d, %v: %s", got.status, got.err, got.body)
			}
			if ids := p.scalar(waiting); ids != requestID {
				t.Fatalf("in the inbox: %q; want %q", ids, requestID)
			}
			p.job("metering", "drain")
			if n := p.scalar(`SELECT string_agg(event_id, ' ') FROM analytics.ledger_entries`); n != requestID {
				t.Errorf("in the ledger: %q; want %q", n, requestID)
			}
		})
	}
}

// A new sandbox books what the killed one left, and takes back what it held.
func TestAKilledSandboxLeavesNothingLostDoubledOrHeld(t *testing.T) {
	t.Parallel()
	p := start(t, "inference")
	const three = `{"scope":{"organization":true},"unit":"requests","amount":"3","period":"once","action":"block"}`
	if got := p.do("POST", "/v1/budgets", p.key(admin), three); got.status != http.StatusCreated {
		t.Fatalf("create budget: %d %s", got.status, got.body)
	}
	g := gated{rest: make(chan struct{})}
	p.serve("gated", g)
	killed := p.sandbox("inference")
	first, got := p.chat(modelID, true)
	if got.status != http.StatusOK {
		t.Fatalf("status %d: %s", got.status, got.body)
	}
	resp, err := http.DefaultClient.Do(p.request(t.Context(), "POST", "/v1/chat/completions", p.key(caller), chatBody("gated", true)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	in := bufio.NewReader(resp.Body)
	firstOf(t, in, "first") // it holds one of the three now
	if err := killed.Kill(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(in); err == nil || strings.Contains(string(rest), "[DONE]") {
		t.Errorf("the broken answer looks complete: %q", rest)
	}

	const granted = `SELECT string_agg(spent || ' spent, ' || granted || ' granted', ';') FROM analytics.budget_windows`
	if got := p.scalar(granted); got != "0 spent, 2 granted" {
		t.Fatalf("before: %s; want 0 spent, 2 granted", got)
	}
	p.sandbox("inference")
	if got := p.do("GET", "/v1/models", p.key(caller), ""); got.status != http.StatusOK { // the first event takes over
		t.Fatalf("list models: %d %s", got.status, got.body)
	}
	if got := p.scalar(granted); got != "1 spent, 1 granted" {
		t.Errorf("after the take-over: %s; want 1 spent, 1 granted", got)
	}
	want := []string{first}
	for range 2 {
		requestID, got := p.chat(modelID, false)
		if got.status != http.StatusOK {
			t.Fatalf("what the killed process held is not free: %d %s", got.status, got.body)
		}
		want = append(want, requestID)
	}
	_, got = p.chat(modelID, false)
	got.problem(t, http.StatusPaymentRequired, "budget_exceeded", true)
	p.job("metering", "drain")
	if got := p.scalar(`SELECT string_agg(event_id, ' ' ORDER BY event_id) FROM analytics.ledger_entries`); got != strings.Join(want, " ") {
		t.Errorf("in the ledger: %q; want %q", got, want)
	}
	if got := p.scalar(granted); got != "3 spent, 3 granted" {
		t.Errorf("at the end: %s; want 3 spent, 3 granted", got)
	}
}

// The platform may freeze a process once its answer has ended, for as long as it
// likes.
func TestAFrozenSandboxGoesOn(t *testing.T) {
	t.Parallel()
	p := start(t, "inference")
	box := p.sandbox("inference")
	first, _ := p.chat(modelID, true)
	signal(t, box, syscall.SIGSTOP)
	if ids := p.scalar(waiting); ids != first {
		t.Errorf("in the inbox: %q; want %q", ids, first)
	}
	p.job("metering", "drain")
	signal(t, box, syscall.SIGCONT)
	second, got := p.chat(modelID, true)
	if got.status != http.StatusOK || got.err != nil {
		t.Errorf("after the thaw: %d, %v: %s", got.status, got.err, got.body)
	}
	p.job("metering", "drain")
	if got := p.scalar(`SELECT string_agg(event_id, ' ' ORDER BY event_id) FROM analytics.ledger_entries`); got != first+" "+second {
		t.Errorf("in the ledger: %q; want %q and %q", got, first, second)
	}
}

// Limits live in memory in this version, so one inference process serves a
// database: the newest. One that thaws after another has taken over can't record
// any more, so it gives nothing away, and ends.
func TestAnOvertakenSandboxIsFencedAndEnds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		stream bool
	}{{"whole", false}, {"stream", true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, "inference")
			old := p.sandbox("inference")
			first, _ := p.chat(modelID, false)
			signal(t, old, syscall.SIGSTOP) // it holds its poll for the next event
			p.overtake(t)

			signal(t, old, syscall.SIGCONT)
			_, got := p.chat(modelID, c.stream)
			if c.stream { // its beginning has left; the end must not
				if strings.Contains(string(got.body), "[DONE]") || !strings.Contains(string(got.body), `"unavailable"`) {
					t.Errorf("the fenced answer: %d %s", got.status, got.body)
				}
			} else {
				got.problem(t, http.StatusServiceUnavailable, "unavailable", true)
			}
			_, err := p.Lambda("inference").Invoke(t.Context(), map[string]string{"httpMethod": "GET", "path": "/v1/models", "resource": "/v1/models"})
			if fe, ok := errors.AsType[*runtimeapi.FunctionError](err); !ok || fe.Type != "Host.Fatal" {
				t.Errorf("the next event: %v; want the process's end", err)
			}
			ended(t, old)
			if got := p.scalar(`SELECT count(*) FROM analytics.inbox`); got != "1" { // the newer process's
				t.Errorf("%s events wait; want 1", got)
			}
			if got := p.scalar(`SELECT string_agg(event_id, ' ') FROM analytics.ledger_entries`); got != first {
				t.Errorf("in the ledger: %q; want %q, which the newer process has booked", got, first)
			}
			p.sandbox("inference")
			if _, got := p.chat(modelID, true); got.status != http.StatusOK {
				t.Errorf("the next process: %d %s", got.status, got.body)
			}
		})
	}
}

// overtake serves one request by another process, on a Lambda of its own.
func (p *platform) overtake(t *testing.T) {
	t.Helper()
	other := &platform{t: t, database: p.database, keys: p.keys, log: p.log, Fleet: p.again(t)}
	if _, got := other.chat(modelID, false); got.status != http.StatusOK {
		t.Fatalf("the newer process: %d %s", got.status, got.body)
	}
}

// ended returns when the process has ended by itself, and fails when it never does.
func ended(t *testing.T, box *runtimeapi.Sandbox) {
	t.Helper()
	select {
	case <-box.Exited():
	case <-time.After(20 * time.Second):
		t.Fatal("the process goes on")
	}
}

func signal(t *testing.T, box *runtimeapi.Sandbox, sig syscall.Signal) {
	t.Helper()
	if err := box.Signal(sig); err != nil {
		t.Fatal(err)
	}
}
