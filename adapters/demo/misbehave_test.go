package demo_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/demo"
)

const asked = `"stream":true,"stream_options":{"include_usage":true},"demo":`

func TestStatusesOnDemand(t *testing.T) {
	m := start(t, demo.Config{})
	for _, tt := range []struct {
		name, instruction string
		want              int
		kind, retryAfter  string
	}{
		{"rate limit", `{"status":429,"retry_after":7}`, 429, "rate_limit_error", "7"},
		{"server error", `{"status":500}`, 500, "server_error", ""},
		{"unavailable, now", `{"status":503,"retry_after":0}`, 503, "server_error", "0"},
		{"bad key", `{"status":401}`, 401, "invalid_request_error", ""},
		{"redirect", `{"status":307}`, 307, "invalid_request_error", ""},
	} {
		for _, more := range []string{`"demo":`, `"stream":true,"demo":`} {
			t.Run(tt.name+" "+more, func(t *testing.T) {
				resp := m.post(t, "/chat/completions", chat("x", more+tt.instruction))
				var e struct{ Error struct{ Type string } }
				if err := json.NewDecoder(resp.Body).Decode(&e); err != nil {
					t.Fatal(err)
				}
				if resp.StatusCode != tt.want || e.Error.Type != tt.kind || resp.Header.Get("Retry-After") != tt.retryAfter ||
					resp.Header.Get("Content-Type") != "application/json" {
					t.Errorf("status %d, type %q, headers %v", resp.StatusCode, e.Error.Type, resp.Header)
				}
				if got := m.last(t); got.Outcome != demo.Refused || got.Status != tt.want || got.CompletionTokens != 0 {
					t.Errorf("log %+v", got)
				}
			})
		}
	}
}

func TestAnswersThatBreak(t *testing.T) {
	m := start(t, demo.Config{})
	for _, tt := range []struct {
		name, more string
		broken     bool // the client sees the connection break
		ends       string
		sent       int
		outcome    demo.Outcome
	}{
		{"stream cut after the role and two tokens", asked + `{"cut_after":3}`, true, `null}` + "\n\n", 2, demo.Cut},
		{"paced stream cut", asked + `{"cut_after":3,"interval_ms":1}`, true, `null}` + "\n\n", 2, demo.Cut},
		{"stream cut before the usage", asked + `{"tokens":2,"cut_after":4}`, true, `"finish_reason":"stop"}],"usage":null}` + "\n\n", 2, demo.Cut},
		{"stream cut before [DONE]", asked + `{"tokens":2,"cut_after":5}`, true, "}}}\n\n", 2, demo.Cut},
		{"stream ended early", asked + `{"end_after":2}`, false, `null}` + "\n\n", 1, demo.Cut},
		{"error in the stream", asked + `{"error_after":2}`, false, `"code":"server_error"}}` + "\n\n", 1, demo.Cut},
		{"no [DONE]", asked + `{"tokens":2,"omit_done":true}`, false, "}}}\n\n", 2, demo.Complete},
		{"malformed stream goes on", asked + `{"tokens":2,"malformed_after":2}`, false, "data: [DONE]\n\n", 2, demo.Complete},
		{"position past the end", asked + `{"tokens":2,"cut_after":7}`, false, "data: [DONE]\n\n", 2, demo.Complete},
		{"whole answer cut", `"demo":{"cut_after":10}`, true, `{"id":"cha`, 0, demo.Cut},
		{"whole answer ended early", `"demo":{"end_after":10}`, false, `{"id":"cha`, 0, demo.Cut},
		{"whole answer malformed", `"demo":{"malformed_after":1,"malformed":"!"}`, false, `{!`, 0, demo.Cut},
		{"a body of the caller's", `"stream":true,"demo":{"body":": ping\n\n"}`, false, ": ping\n\n", 0, demo.Complete},
		{"an error page", `"demo":{"status":502,"content_type":"text/html","body":"<p>Bad"}`, false, "<p>Bad", 0, demo.Refused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp := m.post(t, "/chat/completions", chat("Hello", tt.more))
			b, err := io.ReadAll(resp.Body)
			if broken := err != nil; broken != tt.broken {
				t.Errorf("read error %v, want broken: %v", err, tt.broken)
			}
			if !strings.HasSuffix(string(b), tt.ends) {
				t.Errorf("got %q, want it to end in %q", b, tt.ends)
			}
			if got := m.last(t); got.Outcome != tt.outcome || got.SentTokens != tt.sent {
				t.Errorf("log %+v, want %s with %d tokens", got, tt.outcome, tt.sent)
			}
		})
	}
}

func TestNoAnswerAtAll(t *testing.T) {
	m := start(t, demo.Config{})
	for _, more := range []string{`"stream":true,"demo":{"cut_after":0}`, `"demo":{"cut_after":0}`} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, m.url+"/chat/completions", strings.NewReader(chat("x", more)))
		req.Header.Set("Content-Type", "application/json")
		if resp, err := m.client.Do(req); err == nil {
			_ = resp.Body.Close()
			t.Errorf("%s: got status %d", more, resp.StatusCode)
		}
		if got := m.last(t); got.Outcome != demo.Cut || got.Status != 0 {
			t.Errorf("%s: log %+v", more, got)
		}
	}
}

func TestMalformedStream(t *testing.T) {
	m := start(t, demo.Config{})
	_, got := m.ask(t, chat("x", asked+`{"malformed_after":1,"malformed":"nonsense\n\n"}`))
	parts := strings.Split(got, "\n\n")
	if parts[1] != "nonsense" || !strings.HasPrefix(parts[2], "data: {") {
		t.Errorf("got %q", parts[:3])
	}
	if _, got = m.ask(t, chat("x", asked+`{"malformed_after":1}`)); json.Valid([]byte(strings.TrimPrefix(strings.Split(got, "\n\n")[1], "data: "))) {
		t.Errorf("the default is well formed: %q", got)
	}
}

func TestContentType(t *testing.T) {
	m := start(t, demo.Config{})
	for more, want := range map[string]string{
		`"stream":true`: "text/event-stream; charset=utf-8",
		`"stream":true,"demo":{"content_type":"text/html"}`: "text/html",
		`"demo":{"content_type":"text/plain"}`:              "text/plain",
		``:                                                  "application/json",
	} {
		if got := m.post(t, "/chat/completions", chat("x", more)).Header.Get("Content-Type"); got != want {
			t.Errorf("%s: %q, want %q", more, got, want)
		}
	}
}

func TestGiantLine(t *testing.T) {
	m := start(t, demo.Config{Limits: demo.Limits{GiantLine: 64 << 20}})
	const size = 3_000_001
	for _, more := range []string{`"demo":{"giant_line":3000001}`, asked + `{"giant_line":3000001}`} {
		_, got := m.ask(t, chat("x", more))
		longest := 0
		for line := range strings.SplitSeq(got, "\n") {
			longest = max(longest, len(line))
		}
		if longest < size || longest > size+2000 {
			t.Errorf("%s: the longest line has %d bytes", more, longest)
		}
		if log := m.last(t); log.Outcome != demo.Complete || log.SentTokens != log.CompletionTokens {
			t.Errorf("log %+v", log)
		}
	}
	if _, got := m.ask(t, chat("x", `"demo":{"giant_line":100}`)); !json.Valid([]byte(got)) {
		t.Errorf("no JSON: %s", got)
	}
	if _, got := m.ask(t, chat("x", asked+`{"giant_line":100}`)); assemble(t, got).usage == nil {
		t.Errorf("no events: %s", got)
	}
}

func TestUsageThatIsNotTrue(t *testing.T) {
	m := start(t, demo.Config{})
	for _, tt := range []struct{ instruction, want string }{
		{`{"usage":{"prompt_tokens":0,"completion_tokens":0}}`, `"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0,`},
		{`{"usage":{"completion_tokens":-5}}`, `"completion_tokens":-5,"total_tokens":2,`},
		{`{"usage":{"total_tokens":9007199254740993}}`, `"total_tokens":9007199254740993,`},
		{`{"usage":{"cached_tokens":999}}`, `"cached_tokens":999,`},
		{`{"cached_tokens":5}`, `"cached_tokens":5,`},
		{`{"cached_tokens":999}`, `"cached_tokens":7,`}, // all of the prompt
		{`{"usage_raw":"lots"}`, `"usage":"lots"}`},
		{`{"usage_raw":null}`, `"usage":null}`},
	} {
		for _, more := range []string{`"demo":`, asked} {
			if _, got := m.ask(t, chat("x", more+tt.instruction)); !strings.Contains(got, tt.want) {
				t.Errorf("%s%s: got %s", more, tt.instruction, got)
			}
		}
	}
	if _, got := m.ask(t, chat("x", `"demo":{"omit_usage":true}`)); strings.Contains(got, "usage") {
		t.Errorf("omitted usage: %s", got)
	}
	m.ask(t, chat("x", `"demo":{"usage":{"prompt_tokens":70}}`))
	if got := m.last(t); got.PromptTokens != 7 || got.Stated.Prompt != 70 {
		t.Errorf("log %+v: true and stated counts are not kept apart", got)
	}
}

func TestInstructionsByHeader(t *testing.T) {
	m := start(t, demo.Config{})
	if status, _ := m.ask(t, chat("x", `"demo":{"status":500}`), "X-Demo-Status", "429"); status != 429 {
		t.Errorf("status %d: the header does not win", status)
	}
	_, got := m.ask(t, chat("x", ""), "X-Demo-Usage", `{"prompt_tokens":3}`, "X-Demo-Content-Type", "text/plain")
	if !strings.Contains(got, `"prompt_tokens":3,`) {
		t.Errorf("got %s", got)
	}
	if status, got := m.ask(t, chat("x", ""), "X-Demo-Nonsense", "1"); status != 400 {
		t.Errorf("status %d: %s", status, got)
	}
}

func TestBehaviourOfTheServer(t *testing.T) {
	m := start(t, demo.Config{Control: true, Behaviour: demo.Behaviour{CachedTokens: new(2)}})
	root := strings.TrimSuffix(m.url, "/v1")
	control := *m
	control.url = root
	if resp := control.post(t, "/_demo/behave", `{"status":503,"times":2}`); resp.StatusCode != http.StatusNoContent {
		t.Fatalf("status %d", resp.StatusCode)
	}
	for i, want := range []int{503, 503, 200} {
		if status, got := m.ask(t, chat("x", "")); status != want {
			t.Errorf("request %d: status %d, want %d: %s", i, status, want, got)
		}
	}
	if err := m.Behave(demo.Behaviour{Status: new(418)}, 0); err != nil {
		t.Fatal(err)
	}
	if status, _ := m.ask(t, chat("x", "")); status != 418 {
		t.Errorf("status %d", status)
	}
	if err := m.Behave(demo.Behaviour{}, 0); err != nil {
		t.Fatal(err)
	}
	if _, got := m.ask(t, chat("x", "")); decode(t, got).Usage.Details.Cached != 2 {
		t.Errorf("the configured behaviour is lost: %s", got)
	}
	for _, bad := range []string{`{"status":1}`, `{"sttus":503}`, `{"times":-1}`, `[`} {
		if resp := control.post(t, "/_demo/behave", bad); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: status %d", bad, resp.StatusCode)
		}
	}
}

// TestPacedStreamsAreFlushed asserts order, not durations: what is paced is
// flushed event by event, and headers come before the first event does.
func TestPacedStreamsAreFlushed(t *testing.T) {
	m := start(t, demo.Config{})
	resp := m.post(t, "/chat/completions", chat("x", `"stream":true,"demo":{"ttft_ms":60000}`))
	if resp.StatusCode != http.StatusOK { // the headers are here, the first event is not
		t.Fatalf("status %d", resp.StatusCode)
	}
	_ = resp.Body.Close()
	if got := m.last(t); got.Outcome != demo.ClientGone || got.Events != 0 || got.Status != 200 {
		t.Errorf("log %+v", got)
	}

	resp = m.post(t, "/chat/completions", chat("x", `"stream":true,"demo":{"interval_ms":60000}`))
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || !strings.Contains(line, `"role":"assistant"`) {
		t.Fatalf("got %q, %v", line, err)
	}
	_ = resp.Body.Close()
	if got := m.last(t); got.Outcome != demo.ClientGone || got.Events != 1 || got.SentTokens != 0 || got.UsageSent {
		t.Errorf("log %+v", got)
	}
}

func TestClientThatLeavesWhileItWaits(t *testing.T) {
	m := start(t, demo.Config{})
	for _, more := range []string{`"demo":{"delay_ms":60000}`, `"demo":{"ttft_ms":60000}`, `"demo":{"stall_after":0}`, `"stream":true,"demo":{"stall_after":0}`} {
		ctx, cancel := context.WithCancel(t.Context())
		before := m.Stats().Requests
		go func() {
			for m.Stats().Active == 0 {
				time.Sleep(time.Millisecond)
			}
			cancel()
		}()
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, m.url+"/chat/completions", strings.NewReader(chat("x", more)))
		req.Header.Set("Content-Type", "application/json")
		if resp, err := m.client.Do(req); err == nil {
			_ = resp.Body.Close()
			t.Errorf("%s: got an answer", more)
		}
		if got := m.last(t); got.Outcome != demo.ClientGone || got.Status != 0 || m.Stats().Requests != before+1 {
			t.Errorf("%s: log %+v", more, got)
		}
		cancel()
	}
}

func TestClientThatLeavesInALongAnswer(t *testing.T) {
	m := start(t, demo.Config{Limits: demo.Limits{GiantLine: 1 << 30}})
	for _, more := range []string{`"demo":{"giant_line":1073741824}`, `"stream":true,"demo":{"giant_line":1073741824}`} {
		resp := m.post(t, "/chat/completions", chat("x", more))
		if _, err := io.CopyN(io.Discard, resp.Body, 1<<20); err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := m.last(t); got.Outcome != demo.ClientGone || got.SentTokens != 0 {
			t.Errorf("%s: log %+v", more, got)
		}
	}
}

func TestAnswerAfterCancel(t *testing.T) {
	s := demo.New(demo.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the client has left before the handler runs
	for _, tt := range []struct {
		more    string
		outcome demo.Outcome
	}{
		{`"stream":true,"demo":{"interval_ms":1}`, demo.ClientGone},
		{`"stream":true,"demo":{"interval_ms":1,"tokens":3,"ignore_cancel":true}`, demo.Complete},
	} {
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/chat/completions", strings.NewReader(chat("x", tt.more)))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		func() {
			defer func() {
				if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // a panic's value is compared as it is
					panic(p)
				}
			}()
			s.ServeHTTP(w, r)
		}()
		served := s.Served()
		if got := served[len(served)-1]; got.Outcome != tt.outcome {
			t.Errorf("%s: log %+v", tt.more, got)
		}
	}
}

func TestStallEndsAtItsCapAndAtClose(t *testing.T) {
	m := start(t, demo.Config{Limits: demo.Limits{Duration: time.Millisecond}})
	resp := m.post(t, "/chat/completions", chat("x", `"stream":true,"demo":{"stall_after":2}`))
	if b, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("ended in good order after %q", b)
	}
	if got := m.last(t); got.Outcome != demo.Cut || got.SentTokens != 1 {
		t.Errorf("log %+v", got)
	}

	m = start(t, demo.Config{})
	resp = m.post(t, "/chat/completions", chat("x", `"stream":true,"demo":{"stall_after":2}`))
	if err := m.Close(t.Context()); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("ended in good order")
	}
	if got := m.last(t); got.Outcome != demo.Cut {
		t.Errorf("log %+v", got)
	}
}

func TestCloseCutsWhatDoesNotEnd(t *testing.T) {
	m := start(t, demo.Config{})
	resp := m.post(t, "/chat/completions", chat("x", `"stream":true,"demo":{"ttft_ms":60000,"ignore_cancel":true}`))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("close: %v", err)
	}
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("ended in good order")
	}
	if got := m.last(t); got.Outcome != demo.Cut {
		t.Errorf("log %+v", got)
	}
}

func TestLog(t *testing.T) {
	m := start(t, demo.Config{Now: clock, Limits: demo.Limits{Log: 2}})
	for _, id := range []string{"req_1", "req_2", strings.Repeat("x", 500)} {
		m.ask(t, chat("Hello", `"max_tokens":2`), "X-Request-Id", id)
	}
	m.last(t)
	served := m.Served()
	if len(served) != 2 || served[0].RequestID != "req_2" || len(served[1].RequestID) != 128 || served[0].ID == served[1].ID {
		t.Fatalf("log %+v", served)
	}
	want := demo.Served{
		ID: served[0].ID, RequestID: "req_2", At: clock(), Model: "demo", Status: 200, Outcome: demo.Complete,
		PromptTokens: 8, CompletionTokens: 2, SentTokens: 2, UsageSent: true,
		Stated: demo.Usage{Prompt: 8, Completion: 2, Total: 10},
	}
	if served[0] != want {
		t.Errorf("log %+v, want %+v", served[0], want)
	}
	stats := demo.Stats{Requests: 3, Complete: 3, PromptTokens: 24, CompletionTokens: 6, Forgotten: 1}
	if got := m.Stats(); got != stats {
		t.Errorf("stats %+v, want %+v", got, stats)
	}
	root := strings.TrimSuffix(m.url, "/v1")
	var overHTTP []demo.Served
	get(t, m.client, root+"/_demo/log?idle", &overHTTP)
	if len(overHTTP) != 2 || overHTTP[0] != want {
		t.Errorf("over HTTP: %+v", overHTTP)
	}
	var counters demo.Stats
	get(t, m.client, root+"/_demo/stats", &counters)
	if counters != stats {
		t.Errorf("over HTTP: %+v", counters)
	}
}

func get(t *testing.T, client *http.Client, url string, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}
