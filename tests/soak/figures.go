package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// point is one value of a figure at a time since the process began.
type point struct {
	at    time.Duration
	value float64
}

// collections reads what the runtime prints of each garbage collection under
// GODEBUG=gctrace=1,gcpacertrace=1: the live heap in MB, which it says in whole MB,
// and how much of it are objects with pointers in them, which it says to the byte.
// Leaks begin in the latter.
func collections(log string) (live, pointers []point) {
	scanned := -1.0
	for _, m := range cycle.FindAllStringSubmatch(log, -1) {
		if m[1] == "" {
			scanned = number(m[3]) / (1 << 20)
			continue
		}
		at := time.Duration(number(m[1]) * float64(time.Second))
		live = append(live, point{at, number(m[2])})
		if scanned >= 0 { // lines of the process's own log may have torn one apart
			pointers = append(pointers, point{at, scanned})
			scanned = -1
		}
	}
	return live, pointers
}

// cycle is what both traces print of one collection: first "pacer: 27% CPU (25
// exp.) for 1234+56+78 B work (…", then "gc 7 @1.234s 0%: …, 16->17->9 MB, …", whose
// third size is what was alive.
var cycle = regexp.MustCompile(`(?m)^gc \d+ @([0-9.]+)s .* \d+->\d+->(\d+) MB|^pacer: \d+% CPU .* for (\d+)\+\d+\+\d+ B work`)

func number(s string) float64 {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0
	}
	return n
}

// trend is what became of a figure over time.
type trend struct {
	n              int
	over           time.Duration
	mean, min, max float64
	perMinute      float64 // slope of the line through the points
}

// trendOf fits a line by least squares.
func trendOf(points []point) trend {
	t := trend{n: len(points)}
	if t.n == 0 {
		return t
	}
	t.over = points[t.n-1].at - points[0].at
	var sumX, sumY float64
	t.min, t.max = points[0].value, points[0].value
	for _, p := range points {
		sumX += p.at.Minutes()
		sumY += p.value
		t.min, t.max = min(t.min, p.value), max(t.max, p.value)
	}
	meanX := sumX / float64(t.n)
	t.mean = sumY / float64(t.n)
	var up, down float64
	for _, p := range points {
		dx := p.at.Minutes() - meanX
		up += dx * (p.value - t.mean)
		down += dx * dx
	}
	if down > 0 {
		t.perMinute = up / down
	}
	return t
}

// after is what lies after a time.
func after(points []point, from time.Duration) []point {
	for i, p := range points {
		if p.at >= from {
			return points[i:]
		}
	}
	return nil
}

// bounds are what flat means for a figure.
type bounds struct {
	rise   float64 // of its mean, a minute
	spread float64 // the highest value in means
	grain  float64 // the steps in which it is measured: so much in all is no rise
}

// flat says why a figure does not stay where it is, "" where it does.
func (t trend) flat(b bounds) string {
	switch {
	case t.n < 10:
		return fmt.Sprintf("there are %d values only", t.n)
	case t.perMinute > max(b.rise*t.mean, b.grain/t.over.Minutes()):
		return fmt.Sprintf("it rises by %.3f a minute, from a mean of %.2f", t.perMinute, t.mean)
	case t.max > b.spread*t.mean:
		return fmt.Sprintf("it reaches %.2f, with a mean of %.2f", t.max, t.mean)
	}
	return ""
}

// goroutines counts those that a process printed when it was told to quit, by what
// they do.
func goroutines(dump string) map[string]int {
	out := map[string]int{}
	for block := range strings.SplitSeq(dump, "\n\n") {
		head, rest, ok := strings.Cut(strings.TrimLeft(block, "\n"), "\n")
		if !ok || !strings.HasPrefix(head, "goroutine ") || strings.HasPrefix(head, "goroutine 0 ") {
			continue
		}
		_, by, made := strings.Cut(rest, "created by ")
		name, _, _ := strings.Cut(by, " in goroutine")
		if !made {
			name = "main"
		}
		out[name]++
	}
	return out
}
