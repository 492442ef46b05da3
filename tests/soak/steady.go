package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/demo"
	"github.com/aiaas/aiaas/tests/chaos"
	"github.com/aiaas/aiaas/tests/harness"
)

const (
	warmUp  = 0.2 // the part of the time that is not judged
	workers = 16
)

// What flat means, after the warm-up: a live heap that rises by at most a hundredth
// a minute and never reaches twice its mean; the rest with a little more room for
// what the kernel and the pools make of it.
func heapBounds() bounds { return bounds{rise: 0.01, spread: 2, grain: 1} }
func byteBounds() bounds { return bounds{rise: 0.01, spread: 2} }
func restBounds() bounds { return bounds{rise: 0.02, spread: 1.5} }

// soak is one gateway under steady load.
type soak struct {
	options
	t       testing.TB
	g       *harness.Gateway
	up      *harness.Upstream
	free    string // a key without a budget
	held    string // one under a blocking budget
	broke   string // one whose budget is spent
	served  atomic.Int64
	refused atomic.Int64
	managed atomic.Int64
	wrong   atomic.Int64

	began          time.Time // of the process
	rss, fds, thrs []point
}

// steady keeps a gateway under load and judges its memory.
func (o options) steady(t testing.TB) {
	s := &soak{options: o, t: t}
	s.start()
	before := s.quit()
	s.restart()
	t.Logf("\nSteady load of %d requests a second for %s; a sample every five seconds.", o.rate, o.duration)
	s.load()
	s.g.Client.CloseIdleConnections()
	s.g.WaitSettled(t)
	s.g.WaitNoHolds(t)
	booked := s.g.Agrees(t)
	if n := int64(len(booked)); n != s.served.Load() {
		t.Errorf("%d requests were served, %d are booked", s.served.Load(), n)
	}
	log := s.g.Stderr()
	heap, pointers := collections(log)
	s.judge(heap, pointers, before, s.quit())
}

func (s *soak) start() {
	t := s.t
	s.g = harness.Start(t, harness.Options{Env: map[string]string{"GODEBUG": "gctrace=1,gcpacertrace=1", "GOTRACEBACK": "all"}})
	s.up = harness.StartUpstream(t, demo.Config{Limits: demo.Limits{Log: 1}})
	s.g.AddModel(t, chaos.Model, s.up.URL, chaos.Rates().Price())
	s.free = s.g.APIKey
	budgeted := func(amount string) string {
		id, key := s.g.CreateKey(t, harness.Limits{}, "inference")
		s.g.CreateBudget(t, map[string]any{"api_key_id": id}, "money", amount, "block")
		return key
	}
	s.held, s.broke = budgeted("1000"), budgeted("0.000000001")
	random := rand.New(rand.NewPCG(s.seed, 1))
	for i := range 60 { // everything is opened once
		s.one(t.Context(), random, -i)
	}
	s.g.WaitSettled(t)
	s.g.Client.CloseIdleConnections()
}

// quit ends the process by the signal that makes it print its goroutines, and
// counts them.
func (s *soak) quit() map[string]int {
	time.Sleep(time.Second) // connections that the client has closed are let go
	s.g.Signal(s.t, syscall.SIGQUIT)
	s.g.Wait(s.t)
	n := goroutines(s.g.Stderr())
	if len(n) == 0 {
		s.t.Errorf("the process did not print its goroutines: %.2000s", s.g.Stderr())
	}
	return n
}

func (s *soak) restart() {
	s.g.Restart(s.t)
	s.began = time.Now()
}

// load makes requests at the rate until the time is over, and samples.
func (s *soak) load() {
	ctx, cancel := context.WithTimeout(s.t.Context(), s.duration)
	defer cancel()
	var group sync.WaitGroup
	var next atomic.Int64
	begin := time.Now()
	for w := range workers {
		group.Go(func() {
			random := rand.New(rand.NewPCG(s.seed, uint64(w)))
			for {
				n := next.Add(1)
				due := begin.Add(time.Duration(n) * time.Second / time.Duration(s.rate))
				select {
				case <-ctx.Done():
					return
				case <-time.After(time.Until(due)):
				}
				s.one(context.WithoutCancel(ctx), random, int(n))
			}
		})
	}
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for ctx.Err() == nil {
		s.sample()
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	group.Wait()
}

// one makes a request: of twenty, eight are whole, seven streamed, one is streamed
// and asked for again under its idempotency key, three are refused, and one reads
// what the platform knows.
func (s *soak) one(ctx context.Context, random *rand.Rand, n int) {
	key := s.free
	if random.IntN(2) == 0 {
		key = s.held
	}
	chat := func(more string) string {
		return `{"model":"` + chaos.Model + `","messages":[{"role":"user","content":"Number ` + strconv.Itoa(n) + `"}],"max_tokens":` + strconv.Itoa(4+random.IntN(40)) + more + `}`
	}
	stream := `,"stream":true,"demo":{"interval_ms":1}`
	switch kind := max(n, -n) % 20; {
	case kind < 8:
		s.expect(ctx, harness.Call{Key: key, Body: chat("")}, http.StatusOK, &s.served)
	case kind < 15:
		s.expect(ctx, harness.Call{Key: key, Body: chat(stream)}, http.StatusOK, &s.served)
	case kind == 15:
		call := harness.Call{Key: key, Body: chat(stream), Header: http.Header{"Idempotency-Key": {fmt.Sprint(s.seed, "-", n)}}}
		s.expect(ctx, call, http.StatusOK, &s.served)
		s.expect(ctx, call, http.StatusOK, &s.managed) // a replay, which is not booked
	case kind == 16:
		s.expect(ctx, harness.Call{Key: s.broke, Body: chat("")}, http.StatusPaymentRequired, &s.refused)
	case kind == 17:
		s.expect(ctx, harness.Call{Key: key, Body: `{"model":"nobody","messages":[{}]}`}, http.StatusNotFound, &s.refused)
	case kind == 18:
		s.expect(ctx, harness.Call{Key: "aiaas_live_" + strconv.Itoa(n), Body: chat("")}, http.StatusUnauthorized, &s.refused)
	default:
		paths := reads()
		s.expect(ctx, harness.Call{Method: http.MethodGet, Path: paths[random.IntN(len(paths))], Key: s.g.AdminKey}, http.StatusOK, &s.managed)
	}
}

func reads() []string {
	return []string{
		"/v1/usage?group_by=model,key", "/v1/usage?bucket=hour", "/v1/budgets", "/v1/api-keys", "/v1/requests?limit=50",
		"/v1/requests?status=402", "/v1/models", "/readyz", "/openapi.json",
	}
}

func (s *soak) expect(ctx context.Context, call harness.Call, status int, count *atomic.Int64) {
	a := s.g.Do(ctx, call)
	if a.Status == status && a.Err == nil && (status != http.StatusOK || a.Done()) {
		count.Add(1)
		return
	}
	if s.wrong.Add(1) <= 10 {
		s.t.Errorf("%s %s: want %d, got %s", call.Method, call.Path, status, a)
	}
}

// sample notes what the system says of the process.
func (s *soak) sample() {
	at := time.Since(s.began)
	proc := "/proc/" + strconv.Itoa(s.g.PID())
	open, err := os.ReadDir(proc + "/fd")
	harness.Must(s.t, err)
	s.fds = append(s.fds, point{at, float64(len(open))})
	status, err := os.ReadFile(proc + "/status")
	harness.Must(s.t, err)
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		n, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
		switch {
		case err != nil:
		case name == "VmRSS":
			s.rss = append(s.rss, point{at, n / 1024})
		case name == "Threads":
			s.thrs = append(s.thrs, point{at, n})
		}
	}
}

func (s *soak) judge(heap, pointers []point, before, since map[string]int) {
	t := s.t
	from := time.Duration(float64(s.duration) * warmUp)
	t.Logf("%d served, %d refused, %d read or replayed, %d wrong.", s.served.Load(), s.refused.Load(), s.managed.Load(), s.wrong.Load())
	t.Logf("%-22s %8s %10s %10s %10s %14s", "after the first fifth", "samples", "mean", "least", "most", "a minute")
	for _, f := range []struct {
		name   string
		points []point
		bounds bounds
	}{
		{"live heap, MB", heap, heapBounds()},
		{"  with pointers, MB", pointers, byteBounds()},
		{"resident set, MB", s.rss, restBounds()},
		{"open files", s.fds, restBounds()},
		{"threads", s.thrs, restBounds()},
	} {
		tr := trendOf(after(f.points, from))
		t.Logf("%-22s %8d %10.3f %10.3f %10.3f %+10.4f (%+.2f %%)", f.name, tr.n, tr.mean, tr.min, tr.max, tr.perMinute, 100*tr.perMinute/tr.mean)
		if why := tr.flat(f.bounds); why != "" {
			t.Errorf("%s: %s", f.name, why)
		}
	}
	s.minutes("live heap", heap)
	s.minutes("with pointers", pointers)
	total := func(m map[string]int) (n int) {
		for _, v := range m {
			n += v
		}
		return n
	}
	t.Logf("Goroutines at rest: %d before the load, %d after it.", total(before), total(since))
	for _, name := range slices.Sorted(maps.Keys(since)) {
		if since[name] > before[name]+4 {
			t.Errorf("goroutines created by %s: %d before the load, %d after it", name, before[name], since[name])
		}
	}
}

// minutes shows the mean of a figure in each minute.
func (s *soak) minutes(name string, heap []point) {
	var row strings.Builder
	for m := time.Duration(0); m < s.duration; m += time.Minute {
		var part []point
		for _, p := range after(heap, m) {
			if p.at < m+time.Minute {
				part = append(part, p)
			}
		}
		fmt.Fprintf(&row, " %.2f", trendOf(part).mean)
	}
	s.t.Logf("%s by minute, MB:%s", name, row.String())
}
