package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
)

func contextFor(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), d)
}

// throne is what candidates of a test sit on: it sees when two do.
type throne struct {
	t      *testing.T
	url    string
	taken  atomic.Int64
	crowns chan reign // each time that somebody becomes the leader
}

// reign is one candidate's time as the leader.
type reign struct {
	name string
	ctx  context.Context //nolint:containedctx // it is what the test looks at
}

func newThrone(t *testing.T) *throne {
	t.Helper()
	return &throne{t: t, url: newFixture(t).url, crowns: make(chan reign, 16)}
}

// candidate stands for the lead until the returned function is called, which
// returns when it no longer does.
func (th *throne) candidate(name string) (leave func()) {
	th.t.Helper()
	l, err := postgres.NewLeader(th.url, postgres.RoleAccounts, "", slog.New(slog.DiscardHandler))
	if err != nil {
		th.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(th.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Lead(ctx, func(ctx context.Context) {
			th.taken.Add(1)
			defer th.taken.Add(-1)
			th.crowns <- reign{name, ctx}
			<-ctx.Done()
		})
	}()
	leave = func() { cancel(); <-done }
	th.t.Cleanup(leave)
	return leave
}

const leaderPID = `SELECT coalesce(max(a.pid), 0)::text FROM pg_locks l JOIN pg_stat_activity a USING (pid)
	WHERE l.locktype = 'advisory' AND l.granted AND a.application_name = 'aiaas_leader' AND a.datname = current_database()`

func TestOneLeadsAndTheNextFollows(t *testing.T) {
	t.Parallel()
	th := newThrone(t)
	leave := map[string]func(){"a": th.candidate("a"), "b": th.candidate("b"), "c": th.candidate("c")}
	for len(leave) > 0 {
		r := <-th.crowns
		if n := th.taken.Load(); n != 1 {
			t.Errorf("%d lead at once", n)
		}
		if leave[r.name] == nil {
			t.Fatalf("%s leads, who has left", r.name)
		}
		leave[r.name]() // gives the lead up
		if r.ctx.Err() == nil || errors.Is(context.Cause(r.ctx), postgres.ErrNotLeading) {
			t.Errorf("%s ended by %v", r.name, context.Cause(r.ctx))
		}
		delete(leave, r.name)
	}
	if pid := postgrestest.Scalar(t, th.url, leaderPID); pid != "0" {
		t.Errorf("session %s still holds the lead", pid)
	}
}

func TestALostConnectionIsALostLead(t *testing.T) {
	t.Parallel()
	th := newThrone(t)
	th.candidate("a")
	th.candidate("b")
	first := <-th.crowns
	for range 3 {
		postgrestest.Exec(t, th.url, `SELECT pg_terminate_backend(`+postgrestest.Scalar(t, th.url, leaderPID)+`)`)
		<-first.ctx.Done()
		if cause := context.Cause(first.ctx); !errors.Is(cause, postgres.ErrNotLeading) {
			t.Errorf("ended by %v; want to be told that the lead is lost", cause)
		}
		first = <-th.crowns // whoever is faster
	}
}

func TestTheLeadOutlivesAnOutage(t *testing.T) {
	t.Parallel()
	th := newThrone(t)
	th.candidate("a")
	r := <-th.crowns
	postgrestest.Refuse(t, th.url)
	<-r.ctx.Done()
	postgrestest.Admit(t, th.url)
	<-th.crowns
}

// leadingProcess makes this test binary a process that leads and does nothing
// else.
const leadingProcess = "AIAAS_TEST_LEAD"

func TestAProcessThatLeads(t *testing.T) {
	url := os.Getenv(leadingProcess)
	if url == "" {
		return // it is a process of the next test
	}
	l, err := postgres.NewLeader(url, postgres.RoleAccounts, "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l.Lead(t.Context(), func(ctx context.Context) {
		_, _ = fmt.Fprintln(os.Stdout, "leads")
		<-ctx.Done()
	})
}

func TestAnotherTakesOverFromAProcess(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(*testing.T, *exec.Cmd){
		"that is killed": func(t *testing.T, cmd *exec.Cmd) {
			t.Helper()
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		},
		"that is frozen": freeze,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			th := newThrone(t)
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAProcessThatLeads$", "-test.v")
			cmd.Env = append(os.Environ(), leadingProcess+"="+th.url)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
			var said strings.Builder
			for buf := make([]byte, 256); !strings.Contains(said.String(), "leads\n"); {
				n, err := out.Read(buf)
				said.Write(buf[:n])
				if err != nil {
					t.Fatalf("it said %q and ended: %v", said.String(), err)
				}
			}
			th.candidate("heir")
			select {
			case <-th.crowns:
				t.Fatal("two lead at once")
			case <-time.After(50 * time.Millisecond):
			}
			stop(t, cmd)
			<-th.crowns
		})
	}
}
