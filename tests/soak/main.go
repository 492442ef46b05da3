// Command soak does for long what the tests do for a moment: it kills a gateway
// and its database under load hundreds of times, and it keeps a gateway under
// steady load and watches its memory.
//
// It prints figures and ends with 1 where something that must hold did not. What
// must hold under kills stands in package chaos; what flat memory means stands
// here. The seed is printed and can be given: a run asks for the same requests and
// kills the same things.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/aiaas/aiaas/tests/chaos"
	"github.com/aiaas/aiaas/tests/harness"
)

type options struct {
	seed     uint64
	kills    int
	clients  int
	answers  int
	list     string
	duration time.Duration
	rate     int
}

func main() {
	var o options
	flag.Uint64Var(&o.seed, "seed", 0, "seed of the run; 0 for a random one, which is printed")
	flag.IntVar(&o.kills, "kills", 200, "kills under load; 0 for none")
	flag.IntVar(&o.clients, "clients", 16, "clients at once, between kills")
	flag.IntVar(&o.answers, "answers", 60, "complete answers before each kill")
	flag.StringVar(&o.list, "list", "", "file for a line on each kill, and on each request that a kill left incomplete")
	flag.DurationVar(&o.duration, "duration", 10*time.Minute, "time of steady load whose memory is watched; 0 for none. Under five minutes the warm-up passes for a rise")
	flag.IntVar(&o.rate, "rate", 200, "requests a second of the steady load")
	flag.Parse()
	if o.seed == 0 {
		o.seed = rand.Uint64N(1 << 32)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if !run(ctx, o, os.Stdout) {
		os.Exit(1) //nolint:gocritic // nothing is left to stop
	}
}

// run does both parts, also where the first one failed.
func run(ctx context.Context, o options, out io.Writer) bool {
	ok := true
	if o.kills > 0 {
		ok = harness.Program(ctx, "kills", out, o.kill) && ok
	}
	if o.duration > 0 {
		ok = harness.Program(ctx, "memory", out, o.steady) && ok
	}
	if ok {
		_, _ = fmt.Fprintln(out, "\nAll that must hold held.")
	}
	return ok
}

func (o options) kill(t testing.TB) {
	t.Logf("Kills under load: make soak ARGS='-seed %d -kills %d -clients %d -answers %d -duration 0'", o.seed, o.kills, o.clients, o.answers)
	list := io.Discard
	if o.list != "" {
		f, err := os.Create(o.list)
		harness.Must(t, err)
		buffered := bufio.NewWriter(f)
		t.Cleanup(func() {
			harness.Must(t, buffered.Flush())
			harness.Must(t, f.Close())
		})
		list = buffered
	}
	began := time.Now()
	report := chaos.Kill(t, chaos.Options{Seed: o.seed, Kills: o.kills, Clients: o.clients, Answers: o.answers, List: list})
	t.Logf("%s\nin %s.", report, time.Since(began).Round(time.Second))
	if !t.Failed() {
		t.Logf("Completely answered requests lost: 0, doubled: 0, holds left: 0.")
	}
}
