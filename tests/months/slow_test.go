package months_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"
)

// slowModel is a backend that answers when it is told to.
type slowModel struct {
	url     string
	arrived chan chan struct{} // a request, and how to have it answered
}

const slowAnswer = `{"id":"x","object":"chat.completion","model":"slow","choices":[{"index":0,"message":{"role":"assistant","content":"late"},` +
	`"finish_reason":"stop"}],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":%d}}}`

const slowInput, slowCached, slowOutput = 1_001, 17, 333

func (x *traffic) newSlowModel() *slowModel {
	s := &slowModel{arrived: make(chan chan struct{})}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		answer := make(chan struct{})
		s.arrived <- answer
		<-answer
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, slowAnswer, slowInput, slowOutput, slowInput+slowOutput, slowCached)
	}))
	x.t.Cleanup(server.Close)
	s.url = server.URL + "/v1"
	post[any](x.world, "/v1/models", x.platform, `{"id":"slow"}`, http.StatusCreated)
	post[any](x.world, "/v1/models/slow/backends", x.platform, fmt.Sprintf(`{"protocol":"openai","base_url":%q,"upstream_model":"slow"}`, s.url), http.StatusCreated)
	x.publish("slow", version{x.clock.now(), 333_333, 111_111, 777_777})
	return s
}

// slow begins a request a moment before the organisation's month ended, and returns
// how to end it. The clock stands at now again when it returns.
func (x *traffic) slow(o *org, now time.Time) (end func()) {
	x.t.Helper()
	y, m, _ := now.In(o.zone).Date()
	at := time.Date(y, m, 1, 0, 0, 0, 0, o.zone).Add(-time.Duration(1 + x.rnd.Int64N(int64(time.Hour)))).UTC().Truncate(time.Microsecond)
	k := o.keys[x.rnd.IntN(len(o.keys))]
	x.clock.set(at)
	done := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		done <- x.call(request{
			method: http.MethodPost, target: "/v1/chat/completions", key: k.secret, body: `{"model":"slow","messages":[{"role":"user","content":"x"}]}`,
		})
	}()
	var answer chan struct{}
	select {
	case answer = <-x.late.arrived:
	case rec := <-done:
		x.t.Fatalf("the late request at %s did not reach its backend: %d %s", at, rec.Code, rec.Body)
	}
	x.clock.set(now)
	return func() {
		x.t.Helper()
		close(answer)
		if rec := <-done; rec.Code != http.StatusOK {
			x.t.Fatalf("the late request: %d %s", rec.Code, rec.Body)
		}
		e := entry{org: o, at: at, key: k.id, project: k.project, model: "slow", input: slowInput, cached: slowCached, output: slowOutput}
		e.cost = x.prices.at("slow", at).cost(slowInput, slowCached, slowOutput)
		x.book = append(x.book, x.billed(e))
		x.lateOnes++
	}
}
