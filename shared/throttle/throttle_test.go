package throttle_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/throttle"
)

// TestWhatCountsAsOne holds which attempts share a bucket. What the buckets do is
// tested with their store.
func TestWhatCountsAsOne(t *testing.T) {
	base := throttle.Keys{Account: "ada@example.com", Address: "192.0.2.1"}
	same := func(a, b throttle.Keys) (shared int) {
		x, y := throttle.AttemptOf(throttle.Password, a), throttle.AttemptOf(throttle.Password, b)
		for _, bucket := range x.Strangers {
			if slices.Contains(y.Strangers, bucket) {
				shared++
			}
		}
		return shared
	}
	for _, c := range []struct {
		name string
		a, b throttle.Keys
		want int // buckets that both take from, of three, and of four by IPv6
	}{
		{"the same", base, base, 3},
		{"another spelling", base, throttle.Keys{Account: " ADA@Example.com", Address: "192.0.2.1"}, 3},
		{"an IPv4 address through IPv6", base, throttle.Keys{Account: "ada@example.com", Address: "::ffff:192.0.2.1"}, 3},
		{"another device", base, throttle.Keys{Account: "ada@example.com", Address: "192.0.2.1", Device: "d"}, 3},
		{"the address beside", base, throttle.Keys{Account: "ada@example.com", Address: "192.0.2.2"}, 1},
		{"another account", base, throttle.Keys{Account: "bob@example.com", Address: "192.0.2.1"}, 1},
		{"neither", base, throttle.Keys{Account: "bob@example.com", Address: "192.0.2.2"}, 0},
		{"parts that run into each other", throttle.Keys{Account: "a", Address: "b"}, throttle.Keys{Account: "ab", Address: ""}, 0},
		{"one home's network", throttle.Keys{Account: "a", Address: "2001:db8:1:2::1"}, throttle.Keys{Account: "a", Address: "2001:db8:1:2:ffff::9%eth0"}, 4},
		{"the home beside", throttle.Keys{Account: "a", Address: "2001:db8:1:2::1"}, throttle.Keys{Account: "a", Address: "2001:db8:1:3::1"}, 2},
		{"another home of the site", throttle.Keys{Account: "a", Address: "2001:db8:1:2::1"}, throttle.Keys{Account: "b", Address: "2001:db8:1:ffff::1"}, 1},
		{"the site beside", throttle.Keys{Account: "a", Address: "2001:db8:1:2::1"}, throttle.Keys{Account: "b", Address: "2001:db8:2:2::1"}, 0},
		{"nowhere", throttle.Keys{Account: "a"}, throttle.Keys{Account: "a"}, 3},
	} {
		if got := same(c.a, c.b); got != c.want {
			t.Errorf("%s: %d buckets in common; want %d", c.name, got, c.want)
		}
	}
}

func TestKindsShareNoBucket(t *testing.T) {
	k := throttle.Keys{Account: "ada@example.com", Address: "192.0.2.1", Device: "d"}
	seen := map[[32]byte]throttle.Kind{}
	for _, kind := range []throttle.Kind{throttle.Password, throttle.Factor, throttle.Forgot, throttle.Link} {
		a := throttle.AttemptOf(kind, k)
		for _, b := range a.Strangers {
			if b.Burst <= 0 || b.Every <= 0 {
				t.Errorf("%s has a bucket %+v", kind, b)
			}
			if other, there := seen[b.ID]; there {
				t.Errorf("%s and %s share a bucket", kind, other)
			}
			seen[b.ID] = kind
		}
	}
	if a := throttle.AttemptOf(throttle.Forgot, k); len(a.Strangers) != 2 {
		t.Errorf("asking for a link has %d buckets: with one for the account, a stranger could keep its owner from asking", len(a.Strangers))
	}
}

// TestASiteHasSomeNetworksAttempts holds how much wider the bucket of a site is.
func TestASiteHasSomeNetworksAttempts(t *testing.T) {
	for _, kind := range []throttle.Kind{throttle.Password, throttle.Factor, throttle.Forgot, throttle.Link, throttle.SignOn, throttle.Passkey} {
		site := throttle.AttemptOf(kind, throttle.Keys{Account: "a", Address: "2001:db8:1:2::1"}).Strangers[0]
		for _, b := range throttle.AttemptOf(kind, throttle.Keys{Account: "b", Address: "2001:db8:1:2::1"}).Strangers[1:] {
			if slices.Contains(throttle.AttemptOf(kind, throttle.Keys{Account: "a", Address: "2001:db8:1:2::1"}).Strangers, b) &&
				(site.Burst != 8*b.Burst || 8*site.Every != b.Every) {
				t.Errorf("%s: the site has %d and one in %s, a network %d and one in %s", kind, site.Burst, site.Every, b.Burst, b.Every)
			}
		}
	}
}

func TestComingInIsCountedByThePersonAlone(t *testing.T) {
	for _, kind := range []throttle.Kind{throttle.Entry, throttle.Notice} {
		a := throttle.AttemptOf(kind, throttle.Keys{Account: "user_1"})
		if len(a.Strangers) != 1 || a.Strangers[0].Burst <= 0 || a.Strangers[0].Every <= 0 || a.Own.Burst != 0 {
			t.Errorf("%s: %+v", kind, a)
		}
	}
}

// shelf is a store that has so many rows to forget.
type shelf struct {
	throttle.Store

	rows  int
	asked int
	fails bool
}

func (s *shelf) Prune(_ context.Context, _, _ time.Time, limit int) (int, error) {
	if s.asked++; s.fails && s.asked > 1 {
		return 0, context.Canceled
	}
	n := min(s.rows, limit)
	s.rows -= n
	return n, nil
}

func TestAllIsPrunedBatchByBatch(t *testing.T) {
	for _, c := range []struct {
		name        string
		store       shelf
		asked, gone int
		fails       bool
	}{
		{"nothing", shelf{}, 1, 0, false},
		{"less than a batch", shelf{rows: 10}, 1, 10, false},
		{"a batch", shelf{rows: 5000}, 2, 5000, false},
		{"some", shelf{rows: 23456}, 5, 23456, false},
		{"until its time is over", shelf{rows: 23456, fails: true}, 2, 5000, true},
	} {
		s := c.store
		n, err := (&throttle.Throttle{Store: &s, Now: time.Now}).Prune(t.Context())
		if s.asked != c.asked || n["throttles"] != int64(c.gone) || (err != nil) != c.fails {
			t.Errorf("%s: asked %d times, %v, %v", c.name, s.asked, n, err)
		}
	}
}

func TestWithWhomAnAttemptWaits(t *testing.T) {
	for _, c := range []struct {
		name string
		kind throttle.Kind
		keys throttle.Keys
		want throttle.Crowd
	}{
		{"a guess", throttle.Password, throttle.Keys{Account: "a"}, throttle.Bare},
		{"one that shows something", throttle.Password, throttle.Keys{Account: "a", Device: "invented"}, throttle.Showing},
		{"who comes in", throttle.Entry, throttle.Keys{Account: "user_1"}, throttle.Proved},
		{"who is told of it", throttle.Notice, throttle.Keys{Account: "user_1"}, throttle.Proved},
	} {
		if got := throttle.AttemptOf(c.kind, c.keys).Crowd; got != c.want {
			t.Errorf("%s: %d; want %d", c.name, got, c.want)
		}
	}
}
