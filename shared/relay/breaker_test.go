package relay_test

import (
	"slices"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/relay"
)

func TestABackendThatFailsAgainAndAgainIsLeftAlone(t *testing.T) {
	now := time.Date(2026, 10, 12, 12, 0, 0, 0, time.UTC)
	b := relay.NewBreaker(func() time.Time { return now })
	expect := func(when string, want ...string) {
		t.Helper()
		if got := b.Closed("a", "b"); !slices.Equal(got, want) {
			t.Errorf("%s: %v may be called; want %v", when, got, want)
		}
	}
	expect("at first", "a", "b")
	b.Told("a", 0)
	b.Told("a", 503)
	expect("after two failures", "a", "b")
	b.Told("a", 400) // the request's fault, not the backend's
	b.Told("a", 500)
	b.Told("a", 0)
	expect("after an answer and two failures", "a", "b")
	b.Told("a", 0)
	expect("after three in a row", "b")
	now = now.Add(5*time.Second - 1)
	expect("before its time is up", "b")
	now = now.Add(1)
	expect("when its time is up", "a", "b")
	b.Told("a", 502)
	expect("after the next failure", "b")
	for range 3 {
		b.Told("b", 0)
	}
	expect("when none is left, all", "a", "b")
	now = now.Add(5 * time.Second)
	b.Told("a", 200)
	b.Told("a", 500)
	expect("after an answer, one failure", "a", "b")
}
