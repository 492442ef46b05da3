package chaos

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aiaas/aiaas/tests/harness"
)

// Model is the one that the load asks for.
const Model = "counted"

// Rates are the model's, with digits beyond the nano, so that each request's cost
// is rounded.
func Rates() harness.Rates {
	return harness.Rates{Input: 370_001, Cached: 110_003, Output: 1_930_007}
}

// End is how a call ended for its client.
type End string

// The ends.
const (
	Complete End = "complete" // all of a successful answer was received
	Left     End = "left"     // its client left before the end
	Broken   End = "broken"   // an answer began and broke off
	Silent   End = "silent"   // it was sent, and no answer began
	Closed   End = "closed"   // nobody listened: it was not sent
	Refused  End = "refused"  // an error was answered
)

// Call is one request as its client knows it.
type Call struct {
	ID      string // the request's; "" where its client never learned it
	Key     string
	Begun   time.Time
	Ended   time.Time
	End     End
	Status  int   // 0 where no answer began
	Body    int64 // bytes of the request
	Content int64 // deltas with content that were received

	call harness.Call // to be made again; set where it carries an idempotency key
}

// Traffic is what a load is made of.
type Traffic struct {
	Clients int
	Seed    uint64   // the same one makes the same requests
	Keys    []string // which each client takes in turn
	Once    string   // the one of the keys whose requests carry an idempotency key
}

// Load keeps requests running until it is told to stop, and remembers what its
// clients received: whole answers and streams of different lengths in turn, some
// left by their clients.
type Load struct {
	g     *harness.Gateway
	o     Traffic
	stop  context.CancelFunc
	group sync.WaitGroup

	mu    sync.Mutex
	calls []Call
	ends  map[End]int
}

// StartLoad starts clients.
func StartLoad(ctx context.Context, g *harness.Gateway, o Traffic) *Load {
	l := &Load{g: g, o: o, ends: map[End]int{}}
	ctx, l.stop = context.WithCancel(ctx)
	for c := range o.Clients {
		l.group.Go(func() {
			random := rand.New(rand.NewPCG(o.Seed, uint64(c)))
			for n := 0; ctx.Err() == nil; n++ {
				call := harness.Call{Key: o.Keys[n%len(o.Keys)]}
				if call.Key == o.Once {
					call.Header = http.Header{"Idempotency-Key": {fmt.Sprintf("%d-%d-%d", o.Seed, c, n)}}
				}
				// A client does not leave because the load ends: its last answer counts.
				l.one(context.WithoutCancel(ctx), random, call)
			}
		})
	}
	return l
}

// one makes a call as chance wants it.
func (l *Load) one(ctx context.Context, random *rand.Rand, call harness.Call) {
	leaves := random.IntN(10) == 0
	more := fmt.Sprintf(`,"max_tokens":%d`, 4+random.IntN(30))
	switch streamed := random.IntN(2) == 0; {
	case streamed:
		more += fmt.Sprintf(`,"stream":true,"demo":{"interval_ms":%d}`, random.IntN(3))
		if most := 1 + random.IntN(6000); leaves {
			call.Read = func(soFar []byte) bool { return len(soFar) < most }
		}
	case leaves:
		more += `,"demo":{"delay_ms":20}`
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(random.IntN(30_000))*time.Microsecond)
		defer cancel()
	}
	call.Body = `{"model":"` + Model + `","messages":[{"role":"user","content":"Count on me"}]` + more + `}`
	var sent atomic.Bool // also by a try that the transport made anew
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
	begun := time.Now()
	a := l.g.Do(ctx, call)
	c := Call{ID: a.RequestID, Key: call.Key, Begun: begun, Ended: time.Now(), Status: a.Status, Body: int64(len(call.Body))}
	c.Content = int64(bytes.Count(a.Body, []byte(`"delta":{"content":"`)))
	switch {
	case a.Done():
		c.End = Complete
	case a.Status == 0 && !sent.Load():
		c.End = Closed
	case leaves && a.Err != nil && (ctx.Err() != nil || call.Read != nil && !call.Read(a.Body)):
		c.End = Left
	case a.Status == http.StatusOK:
		c.End = Broken
	case a.Status == 0:
		c.End = Silent
	default:
		c.End = Refused
	}
	if call.Header != nil && c.End != Closed {
		c.call = call
		c.call.Read = nil
	}
	l.note(c)
}

func (l *Load) note(c Call) {
	l.mu.Lock()
	l.calls = append(l.calls, c)
	l.ends[c.End]++
	l.mu.Unlock()
	if c.End == Closed || c.End == Silent || c.End == Refused { // nobody is there; what is counted is what was answered
		time.Sleep(5 * time.Millisecond)
	}
}

// WaitComplete waits until at least so many answers were received completely.
func (l *Load) WaitComplete(t testing.TB, n int) {
	t.Helper()
	harness.Eventually(t, "load", func() (bool, string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.ends[Complete] >= n, fmt.Sprint(l.ends)
	})
}

// Stop lets every client end its call, and returns all calls.
func (l *Load) Stop() []Call {
	l.stop()
	l.group.Wait()
	return l.calls
}
