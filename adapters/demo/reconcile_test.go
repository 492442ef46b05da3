package demo_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/aiaas/aiaas/adapters/demo"
)

// TestLogReconcilesUnderLoad holds the log to what clients saw, line by line,
// with wholes, streams, errors, cuts and clients that leave all at once.
func TestLogReconcilesUnderLoad(t *testing.T) {
	m := start(t, demo.Config{})
	kinds := []struct {
		more    string
		outcome demo.Outcome
		status  int
	}{
		{``, demo.Complete, 200},
		{`"stream":true,"stream_options":{"include_usage":true}`, demo.Complete, 200},
		{`"demo":{"status":429}`, demo.Refused, 429},
		{`"stream":true,"demo":{"cut_after":4}`, demo.Cut, 200},
		{`"stream":true,"demo":{"stall_after":4}`, demo.ClientGone, 200},
	}
	const requests, workers = 200, 8
	var mu sync.Mutex
	read := map[string]string{} // what each client got, by request id
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := w; i < requests; i += workers {
				id := fmt.Sprintf("req_%d", i)
				body := chat(id, kinds[i%len(kinds)].more)
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, m.url+"/chat/completions", strings.NewReader(body))
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("X-Request-Id", id)
				resp, err := m.client.Do(req)
				if err != nil {
					t.Errorf("%s: %v", id, err)
					continue
				}
				var b []byte
				if kinds[i%len(kinds)].outcome == demo.ClientGone {
					b = make([]byte, 64)
					_, _ = io.ReadFull(resp.Body, b)
				} else {
					b, _ = io.ReadAll(resp.Body)
				}
				_ = resp.Body.Close()
				mu.Lock()
				read[id] = string(b)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	m.last(t)
	served := m.Served()
	if len(served) != requests {
		t.Fatalf("%d entries for %d requests", len(served), requests)
	}
	var completion, prompt int64
	for _, s := range served {
		var i int
		if _, err := fmt.Sscanf(s.RequestID, "req_%d", &i); err != nil {
			t.Fatal(err)
		}
		want := kinds[i%len(kinds)]
		if s.Outcome != want.outcome || s.Status != want.status {
			t.Errorf("%s: %s with %d, want %s with %d", s.RequestID, s.Outcome, s.Status, want.outcome, want.status)
		}
		got := read[s.RequestID]
		switch {
		case s.Outcome == demo.Complete && !strings.Contains(got, fmt.Sprintf(`"completion_tokens":%d,`, s.CompletionTokens)):
			t.Errorf("%s: the client read no usage of %d tokens", s.RequestID, s.CompletionTokens)
		case s.Outcome == demo.Cut && strings.Count(got, `"delta":{"content":`) != s.SentTokens:
			t.Errorf("%s: %d tokens sent, the client got %q", s.RequestID, s.SentTokens, got)
		}
		if s.Outcome == demo.Complete {
			completion += int64(s.CompletionTokens)
			prompt += int64(s.PromptTokens)
		}
	}
	stats := m.Stats()
	if stats.CompletionTokens != completion || stats.PromptTokens != prompt || stats.Active != 0 ||
		stats.Complete+stats.Cut+stats.ClientGone+stats.Refused != requests {
		t.Errorf("stats %+v, the log sums up to %d and %d tokens", stats, prompt, completion)
	}
}
