package hostile_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aiaas/aiaas/tests/harness"
)

// result is what must become of a request: its status, and the one event of it; ""
// for no event.
type result struct {
	status    int
	outcome   string
	estimated bool
	// What is billed; -1 where that hangs on how far the backend came.
	input, output int64
}

func free(status int) result { return result{status: status} }

func reported(input, output int64) result { return result{200, "complete", false, input, output} }

// misbehaviour is what the backend is told to do, and what must come of it where
// the answer is whole, and streamed.
type misbehaviour struct {
	name, demo    string
	whole, stream result
}

// The true counts of the request and its answer, as the demo model's tokenizer has
// them.
const trueInput, trueOutput = 7, 6

func misbehaviours() []misbehaviour {
	guessed := result{200, "complete", true, -1, -1}
	failed := result{200, "failed", true, -1, -1}
	usage := func(name, raw string, want result) misbehaviour {
		return misbehaviour{"usage: " + name, `{"usage_raw":` + raw + `}`, want, want}
	}
	both := func(name, demo string, want result) misbehaviour { return misbehaviour{name, demo, want, want} }
	counted := reported(trueInput, trueOutput)
	return []misbehaviour{
		both("none", `{}`, counted),
		both("slow headers", `{"delay_ms":30000}`, free(504)),
		both("slow first byte", `{"ttft_ms":30000}`, free(504)),
		both("no answer", `{"cut_after":0}`, free(502)),
		{"stall", `{"stall_after":4}`, free(502), failed},
		{"cut", `{"cut_after":4}`, free(502), failed},
		{"early end", `{"end_after":4}`, free(502), failed},
		{"an error in the middle", `{"error_after":4}`, counted, failed},
		{"malformed in the middle", `{"malformed_after":4}`, free(502), failed},
		{"binary in the middle", `{"malformed_after":4,"malformed":"data: \u0000\u0001\n\n"}`, free(502), failed},
		{"no end mark", `{"omit_done":true}`, counted, counted},
		both("429", `{"status":429,"retry_after":3}`, free(503)),
		both("503", `{"status":503}`, free(503)),
		both("500", `{"status":500}`, free(502)),
		both("500 with a gateway's page", `{"status":500,"content_type":"text/html","body":"<p>upstream"}`, free(502)),
		both("504", `{"status":504}`, free(504)),
		both("401", `{"status":401}`, free(502)),
		both("403", `{"status":403}`, free(502)),
		both("404", `{"status":404}`, free(502)),
		both("a redirect", `{"status":307}`, free(502)),
		both("wrong content type", `{"content_type":"text/html"}`, free(502)),
		{"a stream for a whole answer", `{"content_type":"text/event-stream"}`, free(502), counted},
		{"a whole answer for a stream", `{"content_type":"application/json"}`, counted, free(502)},
		{"an empty body", `{"body":""}`, free(502), free(502)},
		{"an error with status 200", `{"body":"{\"error\":{\"message\":\"overloaded\"}}"}`, free(502), free(502)},
		{"comments only", `{"body":": ping\n\n: ping\n\n"}`, free(502), free(200)},
		{"events that are none", `{"body":"event: x\nid: 1\nretry: 5\n\n"}`, free(502), free(200)},
		{"a finish without an answer", `{"body":"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"}`, free(502), result{200, "complete", true, -1, 0}},
		{"only the end mark", `{"body":"data: [DONE]\n\n"}`, free(502), free(502)},

		{"usage: missing", `{"omit_usage":true}`, guessed, guessed},
		usage("null", `null`, guessed),
		usage("a list", `[]`, guessed),
		usage("empty", `{}`, guessed),
		usage("zero", `{"prompt_tokens":0,"completion_tokens":0}`, reported(0, 0)),
		usage("half", `{"prompt_tokens":5}`, guessed),
		usage("negative", `{"prompt_tokens":5,"completion_tokens":-1}`, guessed),
		usage("text", `{"prompt_tokens":"5","completion_tokens":"6"}`, guessed),
		usage("whole numbers with a point", `{"prompt_tokens":5.0,"completion_tokens":6.0}`, reported(5, 6)),
		usage("fractions", `{"prompt_tokens":5.5,"completion_tokens":6.25}`, guessed),
		usage("an exponent", `{"prompt_tokens":5,"completion_tokens":4e0}`, reported(5, 4)),
		usage("past all numbers", `{"prompt_tokens":5,"completion_tokens":1e400}`, guessed),
		usage("past all models", `{"prompt_tokens":5,"completion_tokens":100000001}`, guessed),
		usage("past all integers", `{"prompt_tokens":5,"completion_tokens":99999999999999999999}`, guessed),
		usage("more cached than there is", `{"prompt_tokens":5,"completion_tokens":6,"prompt_tokens_details":{"cached_tokens":500}}`, reported(5, 6)),
		usage("negative cached", `{"prompt_tokens":5,"completion_tokens":6,"prompt_tokens_details":{"cached_tokens":-5}}`, reported(5, 6)),
		usage("30 KB", `{"prompt_tokens":5,"completion_tokens":6,"x":"`+strings.Repeat("y", 30_000)+`"}`, reported(5, 6)),
		{"usage: in every event", `{"usage_at":"every"}`, counted, counted},
		{"usage: before the answer", `{"usage_at":"start"}`, counted, counted},
	}
}

// TestABackendThatMisbehaves lets the backend do all that, for whole answers and
// streams, with and without a budget that blocks: each request is billed at most
// once and as stated, nothing is held, and the client learns nothing of the
// operator's affairs.
func TestABackendThatMisbehaves(t *testing.T) {
	p := start(t, "AIAAS_UPSTREAM_IDLE_TIMEOUT", "1s")
	type made struct {
		name string
		id   string
		want result
	}
	var list []made
	var slow []func()
	for _, m := range misbehaviours() {
		for kind, want := range map[string]result{"": m.whole, `,"stream":true`: m.stream} {
			for owner, key := range map[string]string{"held": p.one.caller, "free": p.two.caller} {
				name := m.name + map[bool]string{true: ", streamed", false: ", whole"}[kind != ""] + ", " + owner
				body := strings.TrimSuffix(chatBody, `"max_tokens":5}`) + `"max_tokens":6` + kind + `,"demo":` + m.demo + `}`
				one := func() made {
					a := p.do("POST", "/v1/chat/completions", key, body)
					if a.status != want.status || leaks.Match(a.body) || strings.Contains(string(a.body), "127.0.0.1") {
						t.Errorf("%s: want %d, got %s", name, want.status, a)
					}
					if ends := strings.Contains(string(a.body), "[DONE]"); kind != "" && ends != (want.outcome == "complete") {
						t.Errorf("%s: the client's stream ends: %v: %s", name, ends, a)
					}
					return made{name, a.header.Get("X-Request-Id"), want}
				}
				list = append(list, made{name: name})
				i := len(list) - 1
				slow = append(slow, func() { list[i] = one() })
			}
		}
	}
	inParallel(16, slow)
	p.settled(t)
	must(t, p.backend.WaitIdle(t.Context()))
	booked := 0
	for _, m := range list {
		if m.want.outcome == "" {
			if n := p.scalar(`SELECT count(*)::text FROM analytics.usage_events WHERE event_id = '%s'`, m.id); n != "0" {
				t.Errorf("%s: it is booked", m.name)
			}
			continue
		}
		booked++
		got := p.scalar(`SELECT coalesce(string_agg(outcome || ' ' || estimated || ' ' || input_tokens || ' ' || output_tokens || ' ' || (cost_nano = 1000 * input_tokens + 4000 * output_tokens OR cached_input_tokens > 0), ','), '') FROM analytics.usage_events WHERE event_id = '%s'`, m.id)
		var e result
		var priced bool
		if n, err := fmt.Sscan(got, &e.outcome, &e.estimated, &e.input, &e.output, &priced); n != 5 || err != nil || !priced || strings.Contains(got, ",") {
			t.Errorf("%s: booked as %q", m.name, got)
			continue
		}
		if m.want.input < 0 {
			m.want.input = e.input
		}
		if m.want.output < 0 {
			if m.want.output = e.output; e.output < 1 || e.output > 2*trueOutput {
				t.Errorf("%s: billed %d tokens of %d", m.name, e.output, trueOutput)
			}
		}
		if e.status = m.want.status; e != m.want {
			t.Errorf("%s: booked as %+v; want %+v", m.name, e, m.want)
		}
	}
	if n := p.scalar(`SELECT count(*)::text FROM analytics.ledger_entries`); n != fmt.Sprint(booked) {
		t.Errorf("the ledger has %s lines for %d requests", n, booked)
	}
	if leak := leaks.FindString(p.log.String()); leak != "" {
		t.Errorf("the log has %q: %s", leak, p.log)
	}
}

// inParallel runs so many of the functions at a time.
func inParallel(workers int, list []func()) {
	done := make(chan struct{})
	var next atomic.Int64
	for range workers {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := int(next.Add(1)) - 1; i < len(list); i = int(next.Add(1)) - 1 {
				list[i]()
			}
		}()
	}
	for range workers {
		<-done
	}
}

// TestAReportPastTheBound is billed at the bound where a budget blocks, and as it
// is where none does.
func TestAReportPastTheBound(t *testing.T) {
	p := start(t)
	for _, kind := range []string{"", `,"stream":true`} {
		body := strings.TrimSuffix(chatBody, "}") + kind + `,"demo":{"usage_raw":{"prompt_tokens":1000000,"completion_tokens":2000000}}}`
		for key, want := range map[string]string{
			p.one.caller: fmt.Sprintf("%d 5", len(body)+128+16), p.two.caller: "1000000 2000000",
		} {
			a := p.do("POST", "/v1/chat/completions", key, body)
			if a.status != 200 {
				t.Errorf("%s", a)
			}
			p.settled(t)
			if got := p.scalar(`SELECT input_tokens || ' ' || output_tokens FROM analytics.usage_events WHERE event_id = '%s'`, a.header.Get("X-Request-Id")); got != want {
				t.Errorf("billed %s; want %s", got, want)
			}
		}
	}
}

// TestAGigabyteOnOneLine is cut off long before it fills the memory, for several
// clients at once.
func TestAGigabyteOnOneLine(t *testing.T) {
	p := start(t)
	// Three at a time have up to 16 MiB in a buffer that has just doubled and been
	// copied, and the collector lets the heap double once more before it is done, which
	// takes it a while on a busy machine. All that is sent are 24 GB.
	const most = 600 << 20
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	stop, peak := make(chan struct{}), make(chan uint64)
	go func() {
		var highest uint64
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				peak <- highest
				return
			case <-tick.C:
				var now runtime.MemStats
				runtime.ReadMemStats(&now)
				highest = max(highest, now.HeapAlloc)
			}
		}
	}()
	for kind, want := range map[string]int{"": 502, `,"stream":true`: 200} {
		body := strings.TrimSuffix(chatBody, "}") + kind + `,"demo":{"giant_line":1073741824}}`
		var list []func()
		for range 12 {
			list = append(list, func() {
				a := p.do("POST", "/v1/chat/completions", p.one.caller, body)
				if a.status != want || strings.Contains(string(a.body), "[DONE]") || len(a.body) > 4096 {
					t.Errorf("%d bytes, %s", len(a.body), a)
				}
			})
		}
		inParallel(3, list)
	}
	close(stop)
	if highest := <-peak; highest > before.HeapAlloc+most {
		t.Errorf("the heap has grown from %d to %d MiB", before.HeapAlloc>>20, highest>>20)
	}
	p.settled(t)
	must(t, p.backend.WaitIdle(t.Context()))
	if n := p.scalar(`SELECT count(*)::text FROM analytics.usage_events`); n != "0" {
		t.Errorf("%s are booked; nothing of them was delivered", n)
	}
}

// TestABackendThatGoesOnAfterItsClientHasLeft is not listened to any more: the
// request is billed once, for what had come.
func TestABackendThatGoesOnAfterItsClientHasLeft(t *testing.T) {
	p := start(t)
	for kind, demo := range map[string]string{
		"whole": `"demo":{"ignore_cancel":true,"delay_ms":300}`, "streamed": `"stream":true,"demo":{"ignore_cancel":true,"interval_ms":20,"tokens":200}`,
	} {
		body := strings.TrimSuffix(chatBody, `"max_tokens":5}`) + `"max_tokens":200,` + demo + `}`
		calls := p.backend.Stats().Active
		ctx, leave := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, "POST", "http://"+p.address+"/v1/chat/completions", strings.NewReader(body))
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+p.one.caller)
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			resp, err := p.client.Do(req)
			if err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		}()
		harness.Eventually(t, "a call of the backend", func() (bool, string) {
			return p.backend.Stats().Active > calls, "none"
		})
		leave()
		<-gone
		must(t, p.backend.WaitIdle(t.Context()))
		p.settled(t)
		harness.Eventually(t, kind+" bill", func() (bool, string) {
			got := p.scalar(`SELECT coalesce(string_agg(outcome, ' '), '') FROM analytics.usage_events WHERE streamed = %v`, kind == "streamed")
			return got == "aborted", got
		})
	}
}
