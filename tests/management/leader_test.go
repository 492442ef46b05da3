package management_test

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/httpshim"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/function"
)

// process is a server of its own with a job of the leader and one of each process.
type process struct {
	led, each atomic.Int64
	stop      context.CancelFunc
	done      chan error
}

func serveJobs(t *testing.T, url string, leading *atomic.Int64) *process {
	t.Helper()
	p := &process{done: make(chan error, 1)}
	log := slog.New(slog.DiscardHandler)
	env := &function.Env{Now: time.Now, Log: log, Getenv: func(string) string { return "" }, Fatal: func(err error) { t.Error(err) }}
	f := function.Function{Jobs: map[string]function.Job{
		"led": func(context.Context) (function.Counts, error) {
			if leading.Add(1) != 1 {
				t.Error("two processes run a job of the leader")
			}
			defer leading.Add(-1)
			time.Sleep(time.Millisecond) // so that another would be noticed
			p.led.Add(1)
			return function.Counts{}, nil
		},
		"each": func(context.Context) (function.Counts, error) { p.each.Add(1); return function.Counts{}, nil },
	}}
	spec := function.Spec{Name: "a", Schedules: []function.Schedule{{Job: "led", Every: 2 * time.Millisecond}, {Job: "each", Every: 2 * time.Millisecond, EachProcess: true}}}
	wire := func(context.Context, *function.Env) (function.Function, error) { return f, nil }
	server, err := httpshim.New(t.Context(), env, []function.Entry{{Spec: spec, Wire: wire}})
	if err != nil {
		t.Fatal(err)
	}
	leader, err := postgres.NewLeader(url, postgres.RoleAccounts, "", log)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p.stop = cancel
	go func() { p.done <- server.Serve(ctx, ln, httpshim.Options{Grace: time.Minute, Lead: leader.Lead}) }()
	t.Cleanup(cancel)
	return p
}

func (p *process) end(t *testing.T) {
	t.Helper()
	p.stop()
	if err := <-p.done; err != nil {
		t.Error(err)
	}
}

// more waits until a counter has moved on.
func more(n *atomic.Int64, by int64) {
	for want := n.Load() + by; n.Load() < want; {
		time.Sleep(time.Millisecond)
	}
}

// Two processes of one database: what each has to do both do, what one has to do
// one does, and the other goes on with it when that one ends.
func TestOfTwoProcessesOneRunsTheLeadersJobs(t *testing.T) {
	t.Parallel()
	url := postgrestest.New(t)
	var leading atomic.Int64
	a, b := serveJobs(t, url, &leading), serveJobs(t, url, &leading)
	more(&a.each, 50)
	more(&b.each, 50)
	for a.led.Load()+b.led.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	first, second := a, b
	if b.led.Load() > 0 {
		first, second = b, a
	}
	more(&first.led, 50)
	if n := second.led.Load(); n != 0 {
		t.Errorf("the one that does not lead ran %d jobs of the leader", n)
	}
	first.end(t)
	more(&second.led, 10)
	more(&second.each, 10)
	second.end(t)
}
