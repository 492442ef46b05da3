// Package chaos kills a gateway, its database, single processes of the database,
// and all at once, again and again while clients are being served, and holds after
// each time that the books are right.
//
// It owns the load, the kills and the judgement. How often and how long is for
// those who call it: a test that is part of every run, and the soak that runs for
// an hour. A run is replayed from its seed as far as chance is its own: which
// requests are made, what is killed and after how long; what the machine makes of
// that differs.
package chaos

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/demo"
	"github.com/aiaas/aiaas/tests/harness"
)

// Options say how a gateway is treated.
type Options struct {
	Seed    uint64
	Kills   int // at least so many
	Clients int // at once
	Answers int // complete ones that each round has before it kills
	// List takes a line for each kill, and for each request that was served and not
	// booked, or booked by estimate; nil for nobody.
	List io.Writer
}

// Report sums up a run.
type Report struct {
	Kills     map[string]int // by what was killed
	Calls     map[End]int
	Booked    int
	Estimated int // of those booked: their clients left, or were cut off
	Unread    int // booked as complete, and their clients did not get all of it
	Unbooked  int // served and not booked: in flight when their process was killed
	Once      int // requests with an idempotency key
	Again     int // of those, asked for again
	Replayed  int // of those, answered from what was stored
	Nothing   int // of those, told that the first try is on record and cost nothing
	Recovery  time.Duration
	slowest   time.Duration
}

// String is the report on a few lines.
func (r *Report) String() string {
	var b strings.Builder
	total := 0
	for _, name := range slices.Sorted(maps.Keys(r.Kills)) {
		total += r.Kills[name]
		fmt.Fprintf(&b, "%6d  kills of the %s\n", r.Kills[name], name)
	}
	fmt.Fprintf(&b, "%6d  kills; ready again after %s on average, %s at most\n", total, (r.Recovery / time.Duration(max(total, 1))).Round(time.Millisecond), r.slowest.Round(time.Millisecond))
	for _, end := range []End{Complete, Left, Broken, Silent, Refused, Closed} {
		fmt.Fprintf(&b, "%6d  calls %s\n", r.Calls[end], end)
	}
	fmt.Fprintf(&b, "%6d  requests booked, %d of them by estimate\n", r.Booked, r.Estimated)
	fmt.Fprintf(&b, "%6d  booked as complete that a kill kept from their clients\n", r.Unread)
	fmt.Fprintf(&b, "%6d  served and not booked: in flight at a kill\n", r.Unbooked)
	fmt.Fprintf(&b, "%6d  requests with an idempotency key, each billed once, but %d that came to nothing; %d asked for again, %d of them answered from the store", r.Once, r.Nothing, r.Again, r.Replayed)
	return b.String()
}

// run is one gateway and what became of it so far.
type run struct {
	t      testing.TB
	o      Options
	random *rand.Rand
	g      *harness.Gateway
	up     *harness.Upstream
	keys   []string
	once   string // the one of the keys whose requests carry an idempotency key
	onceID string
	owner  map[string]string // of budgets: the key's id
	report Report

	ledger map[string]harness.Entry // as it was judged last
	served map[string]bool          // judged
}

// kill is one way to kill. It reports how many kills it was, and whether the
// process is gone.
type kill struct {
	name string
	do   func(r *run) (kills int, gone bool)
}

func kills() []kill {
	return []kill{
		{"process", (*run).process},
		{"database", (*run).database},
		{"process and the database", (*run).both},
		{"process of a database that goes on", (*run).backend},
		{"process, and again while it starts", (*run).starting},
		{"process and the database, and again while they start", (*run).bothStarting},
	}
}

// Kill loads a gateway and kills until it has had enough. Each way to kill comes
// once before chance chooses. It fails the test where a completely answered request
// is lost or doubled, where anything is held after a restart, or where what the
// backend served and what is booked differ in a way that no kill explains.
func Kill(t testing.TB, o Options) *Report {
	t.Helper()
	if o.List == nil {
		o.List = io.Discard
	}
	r := &run{
		t: t, o: o, random: rand.New(rand.NewPCG(o.Seed, 0)), owner: map[string]string{},
		ledger: map[string]harness.Entry{}, served: map[string]bool{},
		report: Report{Kills: map[string]int{}, Calls: map[End]int{}},
	}
	r.start()
	ways := kills()
	for round, done := 0, 0; done < o.Kills && !t.Failed(); round++ {
		way := ways[round%len(ways)]
		if round >= len(ways) {
			way = ways[r.random.IntN(len(ways))]
		}
		done += r.round(round, way)
	}
	r.g.Stop(t)
	return &r.report
}

func (r *run) start() {
	t := r.t
	r.g = harness.Start(t, harness.Options{Env: map[string]string{"AIAAS_SHUTDOWN_GRACE": "5s"}})
	r.up = harness.StartUpstream(t, demo.Config{Limits: demo.Limits{Log: 1 << 20}})
	r.g.AddModel(t, Model, r.up.URL, Rates().Price())
	r.keys = []string{r.g.APIKey}
	for unit, amount := range map[string]string{"money": "1000", "tokens": "1000000000", "requests": "10000000"} {
		id, key := r.g.CreateKey(t, harness.Limits{}, "inference")
		r.owner[r.g.CreateBudget(t, map[string]any{"api_key_id": id}, unit, amount, "block")] = id
		r.keys = append(r.keys, key)
		r.once, r.onceID = key, id // any of them
	}
}

// round is load, a kill, and the judgement.
func (r *run) round(n int, way kill) (kills int) {
	t := r.t
	epoch := r.g.Database().Int(t, `SELECT epoch FROM analytics.epoch`)
	load := StartLoad(t.Context(), r.g, Traffic{Clients: r.o.Clients, Seed: r.o.Seed + uint64(n), Keys: r.keys, Once: r.once})
	load.WaitComplete(t, r.o.Answers)
	time.Sleep(time.Duration(r.random.IntN(200)) * time.Millisecond) // where in the load the kill falls
	at := time.Now()
	kills, gone := way.do(r)
	if !gone { // it goes on, and serves again
		before := load.count(Complete)
		load.WaitComplete(t, before+r.o.Answers)
	}
	calls := load.Stop()
	began := time.Now()
	if gone {
		r.g.Restart(t)
		if now := r.g.Database().Int(t, `SELECT epoch FROM analytics.epoch`); now < epoch+1 || now > epoch+int64(kills) {
			t.Errorf("kill %d of the %s: ready in epoch %d after epoch %d", n, way.name, now, epoch)
		}
		r.g.Balanced(t, r.owner)
	} else {
		r.settled(calls)
	}
	took := time.Since(began)
	r.report.Kills[way.name] += kills
	r.report.Recovery += took
	r.report.slowest = max(r.report.slowest, took)
	_, _ = fmt.Fprintf(r.o.List, "%s kill %d of the %s, %d calls, ready again after %s\n", at.Format(time.TimeOnly), n, way.name, len(calls), took)
	j := &judgement{run: r, round: n, way: way.name, killed: at, gone: gone, calls: calls}
	j.retry()
	j.pass()
	return kills
}

func (l *Load) count(e End) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ends[e]
}

// settled waits until a process that was not killed has booked what it answered,
// and holds nothing any more.
func (r *run) settled(calls []Call) {
	t := r.t
	r.g.Database().WaitUp(t)
	time.Sleep(time.Second) // connections that were idle for so long are tested before they are used
	harness.Eventually(t, "booking", func() (bool, string) {
		ledger := r.g.Database().Ledger(t)
		for _, c := range calls {
			if _, ok := ledger[c.ID]; !ok && c.End == Complete {
				return false, fmt.Sprintf("%+v is not booked", c)
			}
		}
		return true, ""
	})
	r.g.WaitNoHolds(t)
	r.g.WaitSettled(t)
}

func (r *run) process() (int, bool) {
	r.g.Kill(r.t)
	return 1, true
}

// database kills PostgreSQL under the running process, which must then end by
// itself and say why.
func (r *run) database() (int, bool) {
	t := r.t
	pid := r.g.Postmaster(t)
	if pid == 0 {
		t.Fatal("no database runs")
	}
	harness.Must(t, syscall.Kill(pid, syscall.SIGKILL))
	if code := r.g.Wait(t); code != 1 {
		t.Errorf("exit code %d after its database was killed", code)
	}
	if !strings.Contains(r.g.Stderr(), "the embedded database has ended") {
		t.Errorf("it does not say why it ended: %s", r.g.Stderr())
	}
	return 1, true
}

func (r *run) both() (int, bool) {
	if pid := r.g.Postmaster(r.t); pid != 0 {
		harness.Must(r.t, syscall.Kill(pid, syscall.SIGKILL))
	}
	r.g.Kill(r.t)
	return 1, true
}

// backend kills one process of PostgreSQL, which then drops all connections and
// recovers by itself. The gateway goes on.
func (r *run) backend() (int, bool) {
	list := r.g.DatabaseProcesses(r.t)
	if len(list) == 0 {
		r.t.Fatal("the database has no processes")
	}
	slices.Sort(list)
	_ = syscall.Kill(list[r.random.IntN(len(list))], syscall.SIGKILL) // it may have ended meanwhile
	return 1, false
}

// again launches the process and kills it wherever in its start it is.
func (r *run) again(kill func() (int, bool)) (int, bool) {
	first, _ := kill()
	r.g.Launch(r.t)
	time.Sleep(time.Duration(r.random.IntN(1500)) * time.Millisecond)
	second, gone := kill()
	return first + second, gone
}

func (r *run) starting() (int, bool)     { return r.again(r.process) }
func (r *run) bothStarting() (int, bool) { return r.again(r.both) }
