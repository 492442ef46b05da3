package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/demo"
	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/tests/harness"
)

// kind is one way in which a request can go. The outcome is the one that its
// event must have, "" when it must leave none; or is another one that is right
// too, where that hangs on who is faster.
type kind struct {
	name    string
	more    string // of the body, besides max_tokens
	raw     string // the whole body
	key     string // instead of the caller's own
	status  int    // 0: the client leaves
	outcome string
	or      string
	n       int64 // choices; 1 where 0
	// estimated: the backend gives no usable count.
	estimated bool
	// abort leaves after a random time (whole answers) or a random number of bytes.
	abort string
}

const maxTokens = 12

func kinds() []kind {
	const stream = `,"stream":true`
	const counted = stream + `,"stream_options":{"include_usage":true}`
	d := func(instruction string) string { return `,"demo":` + instruction }
	return []kind{
		{name: "whole", status: 200, outcome: "complete"},
		{name: "stream", more: stream, status: 200, outcome: "complete"},
		{name: "stream with usage", more: counted, status: 200, outcome: "complete"},
		{name: "two choices streamed", more: counted + `,"n":2`, n: 2, status: 200, outcome: "complete"},
		{name: "cached prompt", more: d(`{"cached_tokens":5}`), status: 200, outcome: "complete"},
		{name: "paced stream", more: stream + d(`{"interval_ms":2}`), status: 200, outcome: "complete"},
		{name: "usage in every event", more: stream + d(`{"usage_at":"every"}`), status: 200, outcome: "complete"},
		{name: "no [DONE]", more: stream + d(`{"omit_done":true}`), status: 200, outcome: "complete"},
		{name: "zero usage", more: d(`{"usage":{"prompt_tokens":0,"completion_tokens":0}}`), status: 200, outcome: "complete"},
		{name: "wrong usage", more: stream + d(`{"usage":{"prompt_tokens":3,"completion_tokens":4}}`), status: 200, outcome: "complete"},
		{name: "absurd usage", more: d(`{"usage":{"prompt_tokens":100000,"completion_tokens":100000}}`), status: 200, outcome: "complete"},
		{name: "omitted usage", more: d(`{"omit_usage":true}`), status: 200, outcome: "complete", estimated: true},
		{name: "omitted usage, streamed", more: stream + d(`{"omit_usage":true}`), status: 200, outcome: "complete", estimated: true},
		{name: "unreadable usage", more: d(`{"usage_raw":{"prompt_tokens":"many","completion_tokens":-1}}`), status: 200, outcome: "complete", estimated: true},

		{name: "refused with 500", more: d(`{"status":500}`), status: 502},
		{name: "refused with 429", more: stream + d(`{"status":429,"retry_after":2}`), status: 503},
		{name: "refused with 400", more: d(`{"status":400}`), status: 400},
		{name: "refused with 401", more: d(`{"status":401}`), status: 502},
		{name: "no answer", more: d(`{"cut_after":0}`), status: 502},
		{name: "whole cut", more: d(`{"cut_after":40}`), status: 502},
		{name: "whole malformed", more: d(`{"malformed_after":40}`), status: 502},
		{name: "whole stalled", more: d(`{"stall_after":40}`), status: 502},
		{name: "wrong content type", more: stream + d(`{"content_type":"text/html"}`), status: 502},
		{name: "nothing for too long", more: d(`{"delay_ms":20000}`), status: 504},

		{name: "stream cut", more: stream + d(`{"cut_after":4}`), status: 200, outcome: "failed", estimated: true},
		{name: "stream ended early", more: stream + d(`{"end_after":5}`), status: 200, outcome: "failed", estimated: true},
		{name: "stream malformed", more: stream + d(`{"malformed_after":4}`), status: 200, outcome: "failed", estimated: true},
		{name: "stream with an error", more: stream + d(`{"error_after":4}`), status: 200, outcome: "failed", estimated: true},
		{name: "stream stalled", more: stream + d(`{"stall_after":4}`), status: 200, outcome: "failed", estimated: true},
		{name: "stream cut before its content", more: stream + d(`{"cut_after":1}`), status: 200},

		{name: "client leaves a stream", more: stream + d(`{"interval_ms":3}`), abort: "bytes", outcome: "aborted", or: "complete"},
		{name: "client leaves a stalled stream", more: stream + d(`{"stall_after":3}`), abort: "bytes", outcome: "aborted", or: "failed"},
		{name: "client leaves a fast stream", more: counted, abort: "bytes", outcome: "complete", or: "aborted"},
		{name: "client leaves a whole answer", more: d(`{"delay_ms":30}`), abort: "time", outcome: "aborted", or: "complete"},
		{name: "client leaves at once", more: stream + d(`{"ttft_ms":10}`), abort: "time", outcome: "aborted", or: "complete"},

		{name: "no JSON", raw: `{"model":`, status: 400},
		{name: "bad member", more: `,"n":-1`, status: 400},
		{name: "unknown model", raw: `{"model":"nobody","messages":[{"role":"user","content":"x"}]}`, status: 404},
		{name: "malformed key", key: "aiaas_live_wrong", status: 401},
		{name: "unknown key", key: apikey.NewSecret(apikey.Production).Reveal(), status: 401},
	}
}

// request is one that was made, as its client knows it.
type request struct {
	kind   *kind
	answer harness.Answer
	body   string
	held   bool // under a blocking budget
	done   bool // the client has all of a successful answer
}

// TestMixedRequestsReconcile holds backend, ledger, usage API and budgets to each
// other, by request id, over everything that can happen to a request.
func TestMixedRequestsReconcile(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{Env: map[string]string{"AIAAS_UPSTREAM_IDLE_TIMEOUT": "1s"}})
	_, free := p.CreateKey(t, harness.Limits{}, "inference")
	heldID, held, budget := p.budgeted(t, "money", "50")
	const requests = 2000
	list := kinds()
	made := make([]request, requests)
	parallel(requests, 32, func(i int) {
		random := rand.New(rand.NewPCG(7, uint64(i)))
		k := &list[i%len(list)]
		r := request{kind: k, held: i/len(list)%2 == 1}
		key := free
		if r.held {
			key = held
		}
		if k.key != "" {
			key = k.key
		}
		r.body = k.raw
		if r.body == "" {
			r.body = chat(fmt.Sprintf(`,"max_tokens":%d`, maxTokens) + k.more)
		}
		r.answer = p.make(t.Context(), random, k, key, r.body)
		r.done = k.abort == "" && k.outcome == "complete" && r.answer.Status == http.StatusOK && r.answer.Err == nil
		made[i] = r
	})

	log := p.upstream.Log(t)
	p.WaitSettled(t)
	p.WaitNoHolds(t)
	ledger := p.Agrees(t)
	c := &reconciliation{t: t, log: log, ledger: ledger, made: made}
	c.run()

	p.Stop(t)
	p.Restart(t)
	p.Balanced(t, map[string]string{budget: heldID})
	if again := p.Agrees(t); !maps.Equal(again, ledger) {
		t.Error("a restart has changed the ledger")
	}
}

func (p *platform) make(ctx context.Context, random *rand.Rand, k *kind, key, body string) harness.Answer {
	call := harness.Call{Key: key, Body: body}
	switch k.abort {
	case "bytes":
		most := 1 + random.IntN(6000)
		call.Read = func(soFar []byte) bool { return len(soFar) < most }
	case "time":
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(random.IntN(45_000))*time.Microsecond)
		defer cancel()
	}
	return p.Do(ctx, call)
}

// reconciliation compares what the backend, the ledger and the clients know of
// the same requests.
type reconciliation struct {
	t       *testing.T
	log     map[string]demo.Served
	ledger  map[string]harness.Entry
	made    []request
	classes tally

	backend, booked harness.Sums // over completely answered requests
	answered        int
}

func (c *reconciliation) run() {
	t := c.t
	seen := map[string]bool{}
	for _, r := range c.made {
		id := r.answer.RequestID
		if r.kind.abort == "" && r.answer.Status != r.kind.status {
			t.Errorf("%s: want status %d, got %s", r.kind.name, r.kind.status, r.answer)
		}
		if id == "" {
			if r.kind.abort == "" {
				t.Errorf("%s: no request id: %s", r.kind.name, r.answer)
			}
			continue // its client left before it had one: seen from the other side below
		}
		if seen[id] {
			t.Errorf("request id %s was given twice", id)
		}
		seen[id] = true
		c.compare(&r)
	}
	c.unseen(seen)
	if c.backend != c.booked {
		t.Errorf("completely answered: the backend counts %+v, the ledger has %+v", c.backend, c.booked)
	}
	if c.answered < 500 {
		t.Errorf("only %d requests were answered completely", c.answered)
	}
	t.Logf("%d requests, %d answered completely: %d input and %d output tokens, %d nano on both sides; all by class:",
		len(c.made), c.answered, c.booked.InputTokens, c.booked.OutputTokens, c.booked.CostNano)
	for _, class := range slices.Sorted(maps.Keys(c.classes.counts)) {
		t.Logf("%5d  %s", c.classes.counts[class], class)
	}
}

// compare judges one request whose id its client knows.
func (c *reconciliation) compare(r *request) {
	t, id := c.t, r.answer.RequestID
	entry, booked := c.ledger[id]
	served, reached := c.log[id]
	c.classes.add("%-32s status %d, event %s", r.kind.name, r.answer.Status, outcomeOf(entry, booked))
	switch {
	case r.kind.outcome == "":
		if booked {
			t.Errorf("%s: it must not be booked: %+v", r.kind.name, entry)
		}
		return
	case !booked:
		t.Errorf("%s: it is not booked: %s", r.kind.name, r.answer)
		return
	case entry.Outcome != r.kind.outcome && (r.kind.or == "" || entry.Outcome != r.kind.or):
		t.Errorf("%s: booked as %s", r.kind.name, entry.Outcome)
	case !reached:
		t.Errorf("%s: booked as %s, but the backend never saw it", r.kind.name, entry.Outcome)
		return
	}
	if ends := strings.Contains(string(r.answer.Body), `"finish_reason":"`); r.kind.abort == "" && ends != r.done {
		t.Errorf("%s: booked as %s, but the client's answer ends: %v: %s", r.kind.name, entry.Outcome, ends, r.answer)
	}
	if r.done {
		c.answered++
	}
	if entry.Estimated {
		c.estimated(r, entry, served)
		return
	}
	if r.kind.estimated {
		t.Errorf("%s: it is not marked as estimated: %+v", r.kind.name, entry)
	}
	c.exact(r, entry, served)
}

func outcomeOf(e harness.Entry, booked bool) string {
	switch {
	case !booked:
		return "none"
	case e.Estimated:
		return e.Outcome + ", estimated"
	}
	return e.Outcome
}

// exact compares a request that the backend counted.
func (c *reconciliation) exact(r *request, entry harness.Entry, served demo.Served) {
	in, cached, out := served.Stated.Prompt, served.Stated.Cached, served.Stated.Completion
	if r.held {
		in, out = min(in, int64(len(r.body))+128+16), min(out, max(1, r.kind.n)*maxTokens)
		cached = min(cached, in)
	}
	want := harness.Entry{
		ID: entry.ID, KeyID: entry.KeyID, Model: model, Outcome: entry.Outcome, Streamed: served.Stream,
		Input: in, Cached: cached, Output: out, Cost: cost(in, cached, out),
	}
	if entry != want {
		c.t.Errorf("%s: booked %+v, want %+v by the backend's count", r.kind.name, entry, want)
	}
	if r.done {
		c.backend.Requests++
		c.backend.InputTokens += in
		c.backend.CachedInputTokens += cached
		c.backend.OutputTokens += out
		c.backend.CostNano += cost(in, cached, out)
		c.booked.Requests++
		c.booked.InputTokens += entry.Input
		c.booked.CachedInputTokens += entry.Cached
		c.booked.OutputTokens += entry.Output
		c.booked.CostNano += entry.Cost
	}
}

// estimated compares a request that the backend did not count: billed is what
// came, to within the coarseness of four bytes a token.
func (c *reconciliation) estimated(r *request, entry harness.Entry, served demo.Served) {
	sent := int64(served.SentTokens)
	if entry.Output > sent+sent/4+1 || entry.Cost != cost(entry.Input, entry.Cached, entry.Output) {
		c.t.Errorf("%s: estimated at %+v, but the backend sent %d tokens", r.kind.name, entry, sent)
	}
	if got := contentBytes(c.t, r.answer); r.done && !entry.Streamed && entry.Output != (got+3)/4 {
		c.t.Errorf("%s: estimated at %+v, but the client has %d bytes", r.kind.name, entry, got)
	}
	if r.done && entry.Streamed && entry.Output < sent {
		c.t.Errorf("%s: estimated at %+v, but the client has all of %d tokens", r.kind.name, entry, sent)
	}
	if got := int64(bytes.Count(r.answer.Body, []byte(`"delta":{"content":"`))); !r.done && entry.Output < got-1 && entry.Streamed {
		c.t.Errorf("%s: estimated at %+v, but the client has %d tokens", r.kind.name, entry, got)
	}
}

// contentBytes is the length of the content of a whole answer.
func contentBytes(t *testing.T, a harness.Answer) (n int64) {
	t.Helper()
	if !a.Done() || a.Header.Get("Content-Type") != "application/json" {
		return 0
	}
	var body struct {
		Choices []struct{ Message struct{ Content string } }
	}
	a.JSON(t, &body)
	for _, c := range body.Choices {
		n += int64(len(c.Message.Content))
	}
	return n
}

// unseen explains what the backend and the ledger have of requests whose clients
// left before they had an id.
func (c *reconciliation) unseen(seen map[string]bool) {
	for id, entry := range c.ledger {
		if seen[id] {
			continue
		}
		served, reached := c.log[id]
		c.classes.add("%-32s event %s, backend %s", "client left before any answer", outcomeOf(entry, true), served.Outcome)
		switch {
		case entry.Outcome == "aborted" && !reached && entry.Cost != 0,
			entry.Outcome == "aborted" && served.SentTokens == 0 && entry.Output != 0,
			entry.Outcome == "failed":
			c.t.Errorf("nobody has an answer, but booked is %+v; the backend says %+v", entry, served)
		case entry.Outcome == "complete":
			c.exact(&request{kind: &kind{}, held: false}, entry, served)
		}
	}
	for id, served := range c.log {
		if _, booked := c.ledger[id]; !booked && !seen[id] {
			c.t.Errorf("the backend served %+v, and neither ledger nor client know of it", served)
		}
	}
}
