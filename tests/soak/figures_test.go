package main

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCollectionsAreReadFromTheRuntimesTrace(t *testing.T) {
	log := `{"level":"INFO","msg":"gc 1 @0.1s 0%: 1->2->3 MB"}
pacer: assist ratio=0.027430181223350968 (scan 0 MB in 43->50 MB) workers=0+0.25
pacer: 35% CPU (25 exp.) for 524288+2112+154602 B work (207226 B exp.) in 27326760 B -> 37812520 B (∆goal 6070894, cons/mark 22.02)
gc 1 @0.012s 3%: 0.026+1.3+0.004 ms clock, 0.053+0.23/1.2/0+0.009 ms cpu, 3->4->1 MB, 4 MB goal, 0 MB stacks, 0 MB globals, 2 P
gc 2 @61.500s 0%: 0.026+1.3+0.004 ms clock, 0.053+0.23/1.2/0+0.009 ms cpu, 40->41->12 MB, 48 MB goal, 0 MB stacks, 0 MB globals, 2 P (forced)
`
	live, pointers := collections(log)
	if want := []point{{12 * time.Millisecond, 1}, {61500 * time.Millisecond, 12}}; !slices.Equal(live, want) {
		t.Errorf("live %v; want %v", live, want)
	}
	if want := []point{{12 * time.Millisecond, 0.5}}; !slices.Equal(pointers, want) {
		t.Errorf("pointers %v; want %v", pointers, want)
	}
}

func TestWhatIsFlat(t *testing.T) {
	series := func(f func(minute float64) float64) trend {
		var list []point
		for s := range 480 {
			at := time.Duration(s) * time.Second
			list = append(list, point{at, f(at.Minutes())})
		}
		return trendOf(list)
	}
	saw := func(m float64) float64 { return float64(int(m*60) % 7) }
	for name, c := range map[string]struct {
		trend trend
		flat  bool
	}{
		"constant":                     {series(func(float64) float64 { return 20 }), true},
		"a saw":                        {series(func(m float64) float64 { return 20 + saw(m) }), true},
		"falling":                      {series(func(m float64) float64 { return 20 - m }), true},
		"a slow rise under a saw":      {series(func(m float64) float64 { return 20 + 0.5*m + saw(m) }), false},
		"a rise that is within bounds": {series(func(m float64) float64 { return 20 + 0.19*m }), true},
		"one spike":                    {series(func(m float64) float64 { return map[bool]float64{true: 90, false: 20}[m == 4] }), false},
		"a step of the grain":          {series(func(m float64) float64 { return float64(int(18 + m/5)) }), true},
		"two steps of it":              {series(func(m float64) float64 { return float64(int(18 + m/2)) }), false},
		"nothing":                      {trend{}, false},
	} {
		if got := c.trend.flat(bounds{rise: 0.01, spread: 2, grain: 1}); (got == "") != c.flat {
			t.Errorf("%s: %q, %+v", name, got, c.trend)
		}
	}
	if got := series(func(m float64) float64 { return 3 + 2*m }).perMinute; got < 1.999 || got > 2.001 {
		t.Errorf("slope %f; want 2", got)
	}
}

func TestGoroutinesAreCountedByWhoMadeThem(t *testing.T) {
	dump := `SIGQUIT: quit
PC=0x1 m=0 sigcode=0

goroutine 0 gp=0x1 m=0 mp=0x2 [idle]:
runtime.futex(0x1)

goroutine 1 gp=0xc000002380 m=nil [select]:
main.main()
	/x/main.go:1

goroutine 7 gp=0xc0001 m=nil [IO wait, 2 minutes]:
net.read()
created by net/http.(*Server).Serve in goroutine 5
	/go/src/net/http/server.go:3493

goroutine 9 gp=0xc0001 m=nil [IO wait]:
net.read()
created by net/http.(*Server).Serve in goroutine 5
	/go/src/net/http/server.go:3493

rax    0x0
`
	want := map[string]int{"main": 1, "net/http.(*Server).Serve": 2}
	if got := goroutines(dump); !cmp.Equal(got, want) {
		t.Errorf("%v; want %v", got, want)
	}
}
