package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/aiaas/aiaas/tests/harness"
)

// keyed makes a chat under an idempotency key.
func (p *platform) keyed(ctx context.Context, key, name, more string) harness.Answer {
	return p.Do(ctx, harness.Call{Key: key, Body: chat(more), Header: http.Header{"Idempotency-Key": {name}}})
}

// conflict is what is told about a request that is not run again.
type conflict struct {
	Original string `json:"original_request_id"`
	Cost     string `json:"cost"`
	Currency string `json:"currency"`
}

// TestOneKeyIsBilledOnce sends each of a few requests 50 times at once: one runs,
// and the others hear that it does, or get its very answer. So do later ones, also
// after the process was killed.
func TestOneKeyIsBilledOnce(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	kinds := map[string]string{
		"whole":    `,"demo":{"tokens":12,"delay_ms":150}`,
		"streamed": `,"stream":true,"demo":{"tokens":12,"interval_ms":10}`,
		"long":     `,"stream":true,"max_tokens":400,"demo":{"tokens":400}`,
	}
	bodies := map[string][]byte{}
	for name, more := range kinds {
		_, key := p.CreateKey(t, harness.Limits{}, "inference")
		var counts tally
		var mu sync.Mutex
		var got [][]byte
		parallel(50, 50, func(int) {
			a := p.keyed(t.Context(), key, name, more)
			switch {
			case a.Done():
				mu.Lock()
				got = append(got, a.Body)
				mu.Unlock()
				counts.add("replayed %t", a.Header.Get("Idempotency-Replayed") == "true")
			default:
				refused(t, a, http.StatusConflict, "conflict")
				counts.add("running")
			}
		})
		if counts.counts["replayed false"] != 1 {
			t.Errorf("%s: %v; want one that ran", name, counts.counts)
		}
		t.Logf("%s: %v", name, counts.counts)
		for _, b := range got {
			if !bytes.Equal(b, got[0]) {
				t.Errorf("%s: two answers differ", name)
			}
		}
		bodies[key+" "+name] = got[0]
	}
	replays := func(when string) {
		t.Helper()
		for where, want := range bodies {
			key, name, _ := strings.Cut(where, " ")
			a := p.keyed(t.Context(), key, name, kinds[name])
			if !a.Done() || !bytes.Equal(a.Body, want) || a.Header.Get("Idempotency-Replayed") != "true" || a.Header.Get("X-Aiaas-Original-Request-Id") == a.RequestID {
				t.Errorf("%s, %s: %s", when, name, a)
			}
			refused(t, p.keyed(t.Context(), key, name, kinds[name]+`,"seed":1`), http.StatusUnprocessableEntity, "unprocessable")
		}
	}
	replays("at once")
	p.Kill(t)
	p.Restart(t)
	replays("after a kill")
	p.Stop(t)
	p.Restart(t)
	replays("after an orderly restart")
	p.WaitSettled(t)
	if n := len(p.Agrees(t)); n != len(kinds) {
		t.Errorf("%d lines in the ledger; want %d", n, len(kinds))
	}
	if n := len(p.upstream.Log(t)); n != len(kinds) || len(p.upstream.Served()) != n {
		t.Errorf("the backend served %d; want %d", len(p.upstream.Served()), len(kinds))
	}
}

// TestStockClientsRetryWithAKey: OpenAI's own client sends the key and reads the
// replay as it reads any answer.
func TestStockClientsRetryWithAKey(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	client := openai.NewClient(option.WithBaseURL(p.BaseURL+"/v1"), option.WithAPIKey(p.APIKey), option.WithHTTPClient(p.Client), option.WithMaxRetries(0))
	params := openai.ChatCompletionNewParams{Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Count on me")}}
	var texts []string
	for range 3 {
		c, err := client.Chat.Completions.New(t.Context(), params, option.WithHeader("Idempotency-Key", "order 1"))
		harness.Must(t, err)
		texts = append(texts, c.ID+c.Choices[0].Message.Content+fmt.Sprint(c.Usage.TotalTokens))
	}
	for range 3 {
		s := client.Chat.Completions.NewStreaming(t.Context(), params, option.WithHeader("Idempotency-Key", "order 2"))
		acc := openai.ChatCompletionAccumulator{}
		for s.Next() {
			if !acc.AddChunk(s.Current()) {
				t.Error("a chunk does not fit")
			}
		}
		harness.Must(t, s.Err())
		texts = append(texts, acc.ID+acc.Choices[0].Message.Content)
	}
	if texts[0] != texts[1] || texts[0] != texts[2] || texts[3] != texts[4] || texts[3] != texts[5] || texts[0] == texts[3] {
		t.Errorf("%q", texts)
	}
	p.WaitSettled(t)
	if n := len(p.Agrees(t)); n != 2 {
		t.Errorf("%d lines in the ledger; want 2", n)
	}
}

// TestAKilledRequestIsBilledOnce kills the process while requests with keys run, at
// moments of chance, and sends them again to the next one. Whatever was recorded is
// told with its cost or replayed; whatever was not runs again. Each key ends with
// one line in the ledger.
func TestAKilledRequestIsBilledOnce(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	const each = 12
	random := rand.New(rand.NewPCG(2026, 24))
	outcomes := &tally{}
	keys := map[string]bool{} // ids of API keys, each of which sends one request
	for round := range 4 {
		type sent struct{ keyID, key, more string }
		var all []sent
		for i := range each {
			id, key := p.CreateKey(t, harness.Limits{}, "inference")
			keys[id] = true
			more := fmt.Sprintf(`,"demo":{"tokens":%d,"interval_ms":%d}`, 3+random.IntN(40), 1+random.IntN(8))
			if i%3 != 0 {
				more = `,"stream":true` + more
			}
			all = append(all, sent{id, key, more})
		}
		first := make([]harness.Answer, each)
		var group sync.WaitGroup
		for i, s := range all {
			group.Go(func() { first[i] = p.keyed(context.WithoutCancel(t.Context()), s.key, "order", s.more) })
		}
		time.Sleep(time.Duration(20+random.IntN(150)) * time.Millisecond) // where in their lives the kill falls
		p.Kill(t)
		group.Wait()
		p.Restart(t)
		if round%2 == 1 { // many try again at once
			parallel(each*4, each*4, func(i int) {
				s := all[i%each]
				if a := p.keyed(t.Context(), s.key, "order", s.more); a.Status != http.StatusOK && a.Status != http.StatusConflict {
					t.Errorf("again: %s", a)
				}
			})
		}
		p.WaitSettled(t)
		for i, s := range all {
			a := p.keyed(t.Context(), s.key, "order", s.more)
			switch {
			case a.Done() && a.Header.Get("Idempotency-Replayed") == "true":
				outcomes.add("replayed (was complete: %t)", first[i].Done())
				if first[i].Done() && !bytes.Equal(first[i].Body, a.Body) {
					t.Errorf("the replay differs from what was received: %s; %s", first[i], a)
				}
			case a.Done():
				outcomes.add("ran again")
				if first[i].Done() {
					t.Errorf("it had been answered, and ran again: %s", a)
				}
			default:
				refused(t, a, http.StatusConflict, "conflict")
				var c conflict
				a.JSON(t, &c)
				outcomes.add("told (was complete: %t)", first[i].Done())
				e, ok := p.Database().Ledger(t)[c.Original]
				if !ok || e.KeyID != s.keyID || c.Currency != "USD" || c.Cost == "" {
					t.Errorf("told %+v; booked is %+v", c, e)
				}
			}
		}
	}
	p.WaitSettled(t)
	ledger := p.Agrees(t)
	count := map[string]int{}
	served := p.upstream.Log(t)
	for id, e := range ledger {
		count[e.KeyID]++
		if _, ok := served[id]; !ok {
			t.Errorf("%s is booked, and was never served", id)
		}
	}
	for id := range keys {
		if count[id] != 1 {
			t.Errorf("the request of %s is booked %d times", id, count[id])
		}
	}
	t.Logf("%d keys: %v; the backend served %d, of which %d died with their process", len(keys), outcomes.counts, len(served), len(served)-len(ledger))
	p.Stop(t)
}

// TestARecordedRequestIsToldWhenItsAnswerWasNotKept lets the store of claims fail
// between a request's record and its answer's. The client gets its answer all the
// same; the same request again is told its cost, by the process that served it and by
// the next one.
func TestARecordedRequestIsToldWhenItsAnswerWasNotKept(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	const finish = `EXECUTE ON FUNCTION router.finish_idempotency(text, text, bytea, text, bigint, text, bytea, boolean)`
	for _, kill := range []bool{false, true} {
		keyID, key := p.CreateKey(t, harness.Limits{}, "inference")
		p.Database().Exec(t, `REVOKE `+finish+` FROM aiaas_gateway`)
		if a := p.keyed(t.Context(), key, "order", ""); !a.Done() {
			t.Errorf("the client is made to pay for it: %s", a)
		}
		if n := p.Database().Int(t, `SELECT count(*) FROM router.idempotency_claims WHERE api_key_id = $1 AND NOT done`, keyID); n != 1 {
			t.Error("the claim did not stay")
		}
		if kill {
			p.Kill(t)
		}
		p.Database().Exec(t, `GRANT `+finish+` TO aiaas_gateway`)
		if kill {
			p.Restart(t)
		}
		for range 3 {
			again := p.keyed(t.Context(), key, "order", "")
			refused(t, again, http.StatusConflict, "conflict")
			var c conflict
			again.JSON(t, &c)
			p.WaitSettled(t)
			e := p.Database().Ledger(t)[c.Original]
			if e.KeyID != keyID || e.Cost == 0 || c.Cost != strings.TrimRight(fmt.Sprintf("%d.%09d", e.Cost/1e9, e.Cost%1e9), "0") || c.Currency != "USD" {
				t.Errorf("killed %t: told %+v; booked %+v", kill, c, e)
			}
		}
		if n := p.Database().Int(t, `SELECT count(*) FROM router.idempotency_claims WHERE api_key_id = $1 AND done AND cost_nano > 0`, keyID); n != 1 {
			t.Errorf("killed %t: the claim is not done", kill)
		}
	}
	if n := len(p.Agrees(t)); n != 2 {
		t.Errorf("%d lines in the ledger; want 2", n)
	}
}

// TestAFrozenProcessBillsNoKeyTwice stops a process while requests with keys run,
// lets a second one take over and run them again, and wakes the first: what that one
// served ends nowhere, and each key has one line in the ledger.
func TestAFrozenProcessBillsNoKeyTwice(t *testing.T) {
	t.Parallel()
	server := harness.StartServer(t)
	env := map[string]string{"DATABASE_URL": server.URL(), "AIAAS_SHUTDOWN_GRACE": "10s"}
	older := start(t, harness.Options{Env: env})
	kinds := []string{`,"stream":true,"demo":{"tokens":20,"interval_ms":100}`, `,"demo":{"delay_ms":2000}`}
	const running = 6
	answers := make(chan harness.Answer, running)
	for i := range running {
		go func() {
			answers <- older.keyed(context.WithoutCancel(t.Context()), older.APIKey, fmt.Sprint("order ", i), kinds[i%2])
		}()
	}
	harness.Eventually(t, "requests under way", func() (bool, string) {
		n := older.upstream.Stats().Active
		return n == running, fmt.Sprintf("%d are", n)
	})
	freeze(t, older.Gateway)
	newer := &platform{Gateway: harness.Start(t, harness.Options{Env: env, Credentials: &older.Credentials}), upstream: older.upstream}
	again := make([]harness.Answer, running)
	parallel(running, 2, func(i int) { again[i] = newer.keyed(t.Context(), newer.APIKey, fmt.Sprint("order ", i), kinds[i%2]) })
	older.Signal(t, syscall.SIGCONT)
	for range running {
		if a := <-answers; a.Done() {
			t.Errorf("a fenced process has finished an answer: %s", a)
		}
	}
	if code := older.Wait(t); code != 1 {
		t.Errorf("the fenced process ends with exit code %d", code)
	}
	newer.WaitSettled(t)
	ledger := newer.Agrees(t)
	for i, a := range again {
		if _, ok := ledger[a.RequestID]; !ok || !a.Done() || a.Header.Get("Idempotency-Replayed") != "" {
			t.Errorf("not run again, or not booked: %s", a)
		}
		late := newer.keyed(t.Context(), newer.APIKey, fmt.Sprint("order ", i), kinds[i%2])
		if !bytes.Equal(late.Body, a.Body) || late.Header.Get("X-Aiaas-Original-Request-Id") != a.RequestID {
			t.Errorf("the process that woke has spoiled the claim: %s", late)
		}
	}
	if len(ledger) != running {
		t.Errorf("%d lines in the ledger for %d keys", len(ledger), running)
	}
}

// TestAnOutageAtTheEndBillsNoKeyTwice takes the database away while requests with
// keys run: they end, recorded on the disk. When the database is back, and does not
// know of them yet, the same requests do not run again.
func TestAnOutageAtTheEndBillsNoKeyTwice(t *testing.T) {
	t.Parallel()
	server := harness.StartServer(t)
	p := start(t, harness.Options{Env: map[string]string{"DATABASE_URL": server.URL()}})
	const running = 4
	more := func(i int) string { return []string{`,"stream":true`, ``}[i%2] + `,"demo":{"delay_ms":1000}` }
	answers := make(chan harness.Answer, running)
	for i := range running {
		go func() {
			answers <- p.keyed(context.WithoutCancel(t.Context()), p.APIKey, fmt.Sprint("order ", i), more(i))
		}()
	}
	harness.Eventually(t, "requests under way", func() (bool, string) {
		n := p.upstream.Stats().Active
		return n == running, fmt.Sprintf("%d are", n)
	})
	server.Stop(t)
	ids := map[string]bool{}
	for range running {
		a := <-answers
		if ids[a.RequestID] = true; !a.Done() {
			t.Errorf("not served from the disk: %s", a)
		}
	}
	server.Start(t)
	for i := range running {
		harness.Eventually(t, "the cost", func() (bool, string) {
			a := p.keyed(t.Context(), p.APIKey, fmt.Sprint("order ", i), more(i))
			if a.Status == http.StatusOK {
				t.Fatalf("it ran again: %s", a)
			}
			var c conflict
			a.JSON(t, &c)
			return a.Status == http.StatusConflict && c.Cost != "" && ids[c.Original], a.String()
		})
	}
	p.WaitSettled(t)
	if n := len(p.Agrees(t)); n != running || len(p.upstream.Served()) != running {
		t.Errorf("%d lines in the ledger, %d served; want %d", n, len(p.upstream.Served()), running)
	}
}
