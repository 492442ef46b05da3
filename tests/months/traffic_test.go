package months_test

import (
	"context"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"time"

	"github.com/aiaas/aiaas/adapters/demo"
	"github.com/aiaas/aiaas/shared/usage"
)

// entry is what the test itself says that a request used and cost, and when.
type entry struct {
	org                   *org
	at                    time.Time // when it was admitted
	period                string    // the month that it is billed in: "2028-02"
	key, project, model   string
	input, cached, output int64
	cost                  int64 // nano
}

// version is a published price, per million tokens in millionths of a dollar.
type version struct {
	from                  time.Time
	input, cached, output int64
}

// books are all prices by model, in the order of their publication.
type books map[string][]version

// at is the price in force: the one that took effect last, and of two that took
// effect at once the later published.
func (b books) at(model string, at time.Time) (v version) {
	found := false
	for _, c := range b[model] {
		if !c.from.After(at) && (!found || !c.from.Before(v.from)) {
			v, found = c, true
		}
	}
	return v
}

// cost is the exact cost in nano, rounded once, half to even, by rationals: a way
// of its own to the same number.
func (v version) cost(input, cached, output int64) int64 {
	sum := new(big.Int)
	for _, p := range [][2]int64{{input - cached, v.input}, {cached, v.cached}, {output, v.output}} {
		sum.Add(sum, new(big.Int).Mul(big.NewInt(p[0]), big.NewInt(p[1]))) // millionths of a dollar per million tokens: pico
	}
	q, r := new(big.Int).QuoRem(sum, big.NewInt(1000), new(big.Int))
	if twice := new(big.Int).Lsh(r, 1).Cmp(big.NewInt(1000)); twice > 0 || (twice == 0 && q.Bit(0) == 1) {
		q.Add(q, big.NewInt(1))
	}
	return q.Int64()
}

func decimal(millionths int64) string {
	return fmt.Sprintf("%d.%06d", millionths/1_000_000, millionths%1_000_000)
}

// traffic is random use of the platform, and the test's own book of it.
type traffic struct {
	*world

	rnd    *rand.Rand
	start  time.Time
	prices books
	book   []entry
	closed map[*org]time.Time // what month is open, as the first of it in UTC
	late   *slowModel

	lateOnes int // requests that ended after their month was closed
}

func newTraffic(w *world, seed uint64) *traffic {
	x := &traffic{world: w, start: w.clock.now(), rnd: rand.New(rand.NewPCG(seed, 1)), prices: books{}, closed: map[*org]time.Time{}}
	for _, model := range []string{"small", "large", "free"} {
		post[any](w, "/v1/models", w.platform, fmt.Sprintf(`{"id":%q}`, model), http.StatusCreated)
		post[any](w, "/v1/models/"+model+"/backends", w.platform,
			fmt.Sprintf(`{"protocol":"openai","base_url":%q,"upstream_model":%q}`, w.back, model), http.StatusCreated)
	}
	now := w.clock.now()
	x.publish("small", version{now, 150_001, 75_003, 600_007})
	x.publish("large", version{now, 2_500_000, 1_250_000, 10_000_000})
	x.publish("free", version{now, 0, 0, 0})
	x.late = x.newSlowModel()
	return x
}

func (x *traffic) publish(model string, v version) {
	x.t.Helper()
	post[any](x.world, "/v1/price-books/default/prices", x.platform, fmt.Sprintf(
		`{"model":%q,"effective_from":%q,"input_usd_per_million":%q,"cached_input_usd_per_million":%q,"output_usd_per_million":%q}`,
		model, v.from.Format(time.RFC3339Nano), decimal(v.input), decimal(v.cached), decimal(v.output)), http.StatusCreated)
	x.prices[model] = append(x.prices[model], v)
}

// changePrice publishes a price, at once or for a time to come.
func (x *traffic) changePrice() {
	from := x.clock.now()
	if x.rnd.IntN(3) > 0 {
		from = from.Add(time.Duration(x.rnd.Int64N(int64(20 * 24 * time.Hour)))).Truncate(time.Microsecond)
	}
	model := []string{"small", "large"}[x.rnd.IntN(2)]
	x.publish(model, version{from, x.rnd.Int64N(5_000_000), x.rnd.Int64N(2_000_000), x.rnd.Int64N(20_000_000)})
}

// month is the month of a moment on the organisation's clock: the first of it.
func (o *org) month(at time.Time) time.Time {
	y, m, _ := at.In(o.zone).Date()
	return time.Date(y, m, 1, 0, 0, 0, 0, time.UTC)
}

// request makes a request at the present time, and enters it into the test's book.
func (x *traffic) request(o *org) {
	x.t.Helper()
	k := o.keys[x.rnd.IntN(len(o.keys))]
	model := []string{"small", "small", "large", "free"}[x.rnd.IntN(4)]
	how := x.rnd.IntN(10)
	extra := fmt.Sprintf(`"tokens":%d,"cached_tokens":%d`, 1+x.rnd.IntN(40), x.rnd.IntN(12))
	stream := how >= 5
	if how == 8 {
		extra = fmt.Sprintf(`"tokens":30,"cut_after":%d`, 3+x.rnd.IntN(20))
	}
	body := fmt.Sprintf(`{"model":%q,"stream":%t,"messages":[{"role":"user","content":%q}],"demo":{%s}}`,
		model, stream, words(x.rnd), extra)
	at := x.clock.now()
	ctx, cancel := context.WithCancel(x.t.Context())
	defer cancel()
	rec := httptest.NewRecorder()
	var out http.ResponseWriter = rec
	if how == 9 { // a client that leaves in the middle
		out = &leaver{ResponseRecorder: rec, after: 1 + x.rnd.IntN(4), leave: cancel}
	}
	func() {
		defer func() { _ = recover() }() // the handler breaks the connection of a stream that fails
		x.serve(ctx, out, request{method: http.MethodPost, target: "/v1/chat/completions", key: k.secret, body: body})
	}()
	x.enter(entry{org: o, at: at, key: k.id, project: k.project, model: model}, rec.Header().Get("X-Request-Id"), how >= 8)
}

// enter books a request by what the backend says that it served; what was broken
// off by what the platform counted of it, for nobody else knows.
func (x *traffic) enter(e entry, requestID string, broken bool) {
	x.t.Helper()
	if broken {
		e.input, e.cached, e.output = x.counted(e.org, requestID)
	} else {
		s := x.served(requestID).Stated
		e.input, e.cached, e.output = s.Prompt, s.Cached, s.Completion
	}
	e.cost = x.prices.at(e.model, e.at).cost(e.input, e.cached, e.output)
	x.book = append(x.book, x.billed(e))
}

// billed sets the month that a request is billed in: its own, or the one that is
// open where its own is closed.
func (x *traffic) billed(e entry) entry {
	period := e.org.month(e.at)
	if open := x.closed[e.org]; period.Before(open) {
		period = open
	}
	e.period = period.Format("2006-01")
	return e
}

// served is the backend's own line about a request.
func (x *traffic) served(requestID string) demo.Served {
	x.t.Helper()
	must(x.t, x.model.WaitIdle(x.t.Context()))
	for _, s := range slices.Backward(x.model.Served()) {
		if s.RequestID == requestID && s.UsageSent {
			return s
		}
	}
	x.t.Fatalf("the backend did not serve %q", requestID)
	return demo.Served{}
}

// counted is what the platform says that a broken-off request used: recorded by the
// time its handler has returned.
func (x *traffic) counted(o *org, requestID string) (input, cached, output int64) {
	x.t.Helper()
	r := get[struct {
		Outcome string
		Usage   struct {
			Input  int64 `json:"input_tokens"`
			Cached int64 `json:"cached_input_tokens"`
			Output int64 `json:"output_tokens"`
		}
	}](x.world, "/v1/requests/"+requestID, o.admin)
	if r.Outcome != string(usage.Aborted) && r.Outcome != string(usage.Failed) && r.Outcome != string(usage.Complete) {
		x.t.Fatalf("%s was %q", requestID, r.Outcome)
	}
	return r.Usage.Input, r.Usage.Cached, r.Usage.Output
}

// leaver is a client that leaves after some writes.
type leaver struct {
	*httptest.ResponseRecorder

	after int
	once  sync.Once
	leave func()
}

func (l *leaver) Write(p []byte) (int, error) {
	if l.after--; l.after < 0 {
		l.once.Do(l.leave)
		return 0, context.Canceled
	}
	return l.ResponseRecorder.Write(p)
}

func words(rnd *rand.Rand) string {
	text := make([]byte, 1+rnd.IntN(200))
	for i := range text {
		text[i] = "abcdefghij klmnop qrstuv"[rnd.IntN(24)]
	}
	return string(text)
}
