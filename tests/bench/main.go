// Command bench measures what the gateway costs: CPU time a request at 64
// connections over a backend that answers at once, with all controls on (key,
// limits, four blocking budgets, ledger), beside a bare httputil.ReverseProxy and
// no proxy at all, in turn, in one run.
//
// CPU a request is the figure to trust: on a machine that driver, backend, proxy
// and database share, requests a second are what is left over, and neighbours
// move them. PostgreSQL's CPU is printed beside the gateway's own.
//
// Then it measures what governs: how soon a change that one process answered is felt
// in another, what asking the access policy adds to a management call, and whether the
// time that signing in takes tells addresses of people from those of nobody.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"
)

type options struct {
	only     string
	conns    int
	rounds   int
	changes  int
	calls    int
	signIns  int
	duration time.Duration
}

func main() {
	var o options
	flag.IntVar(&o.conns, "c", 64, "connections")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds; the medians are printed")
	flag.DurationVar(&o.duration, "d", 5*time.Second, "measured time of one target in one round")
	flag.StringVar(&o.only, "only", "", "measure this only: load, changes, access or signin")
	flag.IntVar(&o.changes, "changes", 100, "rounds of each change that is felt in another process")
	flag.IntVar(&o.calls, "calls", 4000, "management calls without and with the access policy")
	flag.IntVar(&o.signIns, "signins", 300, "attempts with addresses of people, and as many with addresses of nobody")
	role := flag.String("role", "", "internal: which helper process this is")
	flag.Parse()
	var err error
	switch *role { // the helpers end at the first signal
	case "upstream":
		err = serveUpstream()
	case "proxy":
		err = serveProxy(flag.Arg(0))
	default:
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: "+err.Error())
		os.Exit(1) //nolint:gocritic // nothing is left to stop
	}
}

// target is one of the things that are compared.
type target struct {
	name   string
	url    string
	header string
	pids   func() []int // whose CPU counts
	extra  func() []int // the database's
}

func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "aiaas-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil {
		return err
	}
	p := &processes{dir: dir}
	defer p.stop()
	if o.only == "access" {
		return authorisation(ctx, o.calls)
	}
	targets, g, err := p.start(ctx)
	if err != nil {
		return err
	}
	if o.measures("load") {
		if err := loads(ctx, o, targets); err != nil {
			return err
		}
	}
	if o.measures("changes") {
		if err := changes(ctx, p, g, o.changes); err != nil {
			return err
		}
	}
	if o.measures("signin") {
		if err := signIns(ctx, p, g, o.signIns); err != nil {
			return err
		}
	}
	if o.only != "" {
		return nil
	}
	return authorisation(ctx, o.calls)
}

// measures reports whether a part is to be measured.
func (o options) measures(part string) bool { return o.only == "" || o.only == part }

func loads(ctx context.Context, o options, targets []target) error {
	for _, w := range []workload{{"whole answer", false}, {"stream of 100 chunks", true}} {
		results := make([][]result, len(targets))
		for round := range o.rounds {
			for i := range targets {
				t := targets[(i+round)%len(targets)] // no target always runs first
				r, err := measure(ctx, o, t, w)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", t.name, w.name, err)
				}
				results[(i+round)%len(targets)] = append(results[(i+round)%len(targets)], r)
			}
		}
		report(w, targets, results, o)
	}
	return nil
}

type workload struct {
	name   string
	stream bool
}

// result is one target in one round.
type result struct {
	requests int64
	failed   int
	seconds  float64
	cpu      float64 // µs a request
	database float64 // µs a request
	p50, p99 time.Duration
}

func measure(ctx context.Context, o options, t target, w workload) (result, error) {
	warm := load{url: t.url, header: t.header, conns: o.conns, stream: w.stream, duration: time.Second}
	if _, _, err := warm.run(ctx); err != nil && t.name != bareProxy {
		return result{}, err
	}
	l := load{url: t.url, header: t.header, conns: o.conns, stream: w.stream, duration: o.duration}
	cpu, db := cpuOf(t.pids()), cpuOf(t.extra())
	start := time.Now()
	s, failed, err := l.run(ctx)
	// The reference may cut streams (it hands the client's body straight to the
	// backend, which under load breaks some); ours may not.
	if err != nil && (t.name != bareProxy || len(s) == 0) {
		return result{}, err
	}
	elapsed := time.Since(start)
	time.Sleep(300 * time.Millisecond) // what is booked behind the answers counts too
	cpu, db = cpuOf(t.pids())-cpu, cpuOf(t.extra())-db
	n := float64(len(s))
	slices.Sort(s)
	return result{
		requests: int64(len(s)), failed: failed, seconds: elapsed.Seconds(),
		cpu: float64(cpu.Microseconds()) / n, database: float64(db.Microseconds()) / n,
		p50: s[len(s)/2], p99: s[len(s)*99/100],
	}, nil
}

func report(w workload, targets []target, results [][]result, o options) {
	fmt.Printf("\n%s, %d connections, %d rounds of %s, medians\n\n", w.name, o.conns, o.rounds, o.duration)
	fmt.Println("| target | CPU µs a request | × bare proxy | PostgreSQL µs a request | requests/s | p50 | p99 | failed |")
	fmt.Println("|---|---:|---:|---:|---:|---:|---:|---:|")
	bare := results[slices.IndexFunc(targets, func(t target) bool { return t.name == bareProxy })]
	for i, t := range targets {
		cpu := median(results[i], func(r result) float64 { return r.cpu })
		ratio, db := "–", "–"
		if len(t.pids()) > 0 {
			ratio = fmt.Sprintf("%.2f", medianRatio(results[i], bare))
		}
		if len(t.extra()) > 0 {
			db = fmt.Sprintf("%.1f", median(results[i], func(r result) float64 { return r.database }))
		}
		failed := 0
		for _, r := range results[i] {
			failed += r.failed
		}
		fmt.Printf("| %s | %.1f | %s | %s | %.0f | %s | %s | %d |\n", t.name, cpu, ratio, db,
			median(results[i], func(r result) float64 { return float64(r.requests) / r.seconds }),
			round(median(results[i], func(r result) float64 { return float64(r.p50) })),
			round(median(results[i], func(r result) float64 { return float64(r.p99) })), failed)
	}
}

// medianRatio compares round by round: what disturbs a machine lasts longer than
// one round.
func medianRatio(rs, base []result) float64 {
	v := make([]float64, len(rs))
	for i := range rs {
		v[i] = rs[i].cpu / base[i].cpu
	}
	slices.Sort(v)
	return v[len(v)/2]
}

func round(d float64) time.Duration { return time.Duration(d).Round(10 * time.Microsecond) }

func median(rs []result, of func(result) float64) float64 {
	v := make([]float64, len(rs))
	for i, r := range rs {
		v[i] = of(r)
	}
	slices.Sort(v)
	return v[len(v)/2]
}

func binary(dir string) string { return filepath.Join(dir, "aiaas") }
