package chaos

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
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
	Silent   End = "silent"   // no answer began
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
}

// Load keeps requests running until it is told to stop, and remembers what its
// clients received: whole answers and streams of different lengths in turn, some
// left by their clients.
type Load struct {
	g     *harness.Gateway
	keys  []string
	stop  context.CancelFunc
	group sync.WaitGroup

	mu    sync.Mutex
	calls []Call
	ends  map[End]int
}

// StartLoad starts so many clients, who take the keys in turn. The same seed makes
// the same requests.
func StartLoad(ctx context.Context, g *harness.Gateway, clients int, seed uint64, keys ...string) *Load {
	l := &Load{g: g, keys: keys, ends: map[End]int{}}
	ctx, l.stop = context.WithCancel(ctx)
	for c := range clients {
		l.group.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(c)))
			for n := 0; ctx.Err() == nil; n++ {
				// A client does not leave because the load ends: its last answer counts.
				l.one(context.WithoutCancel(ctx), random, keys[n%len(keys)])
			}
		})
	}
	return l
}

// one makes a call as chance wants it.
func (l *Load) one(ctx context.Context, random *rand.Rand, key string) {
	leaves := random.IntN(10) == 0
	more := fmt.Sprintf(`,"max_tokens":%d`, 4+random.IntN(30))
	call := harness.Call{Key: key}
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
	begun := time.Now()
	a := l.g.Do(ctx, call)
	c := Call{ID: a.RequestID, Key: key, Begun: begun, Ended: time.Now(), Status: a.Status, Body: int64(len(call.Body))}
	c.Content = int64(bytes.Count(a.Body, []byte(`"delta":{"content":"`)))
	switch {
	case a.Done():
		c.End = Complete
	case leaves && a.Err != nil && (ctx.Err() != nil || call.Read != nil && !call.Read(a.Body)):
		c.End = Left
	case a.Status == http.StatusOK:
		c.End = Broken
	case a.Status == 0:
		c.End = Silent
	default:
		c.End = Refused
	}
	l.note(c)
}

func (l *Load) note(c Call) {
	l.mu.Lock()
	l.calls = append(l.calls, c)
	l.ends[c.End]++
	l.mu.Unlock()
	if c.End == Silent || c.End == Refused { // nobody is there; what is counted is what was answered
		time.Sleep(2 * time.Millisecond)
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
