package throttle_test

import (
	"slices"
	"testing"

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
		want int // buckets that both take from, of three
	}{
		{"the same", base, base, 3},
		{"another spelling", base, throttle.Keys{Account: " ADA@Example.com", Address: "192.0.2.1"}, 3},
		{"an IPv4 address through IPv6", base, throttle.Keys{Account: "ada@example.com", Address: "::ffff:192.0.2.1"}, 3},
		{"another device", base, throttle.Keys{Account: "ada@example.com", Address: "192.0.2.1", Device: "d"}, 3},
		{"the address beside", base, throttle.Keys{Account: "ada@example.com", Address: "192.0.2.2"}, 1},
		{"another account", base, throttle.Keys{Account: "bob@example.com", Address: "192.0.2.1"}, 1},
		{"neither", base, throttle.Keys{Account: "bob@example.com", Address: "192.0.2.2"}, 0},
		{"parts that run into each other", throttle.Keys{Account: "a", Address: "b"}, throttle.Keys{Account: "ab", Address: ""}, 0},
		{"one home's network", throttle.Keys{Account: "a", Address: "2001:db8:1:2::1"}, throttle.Keys{Account: "a", Address: "2001:db8:1:2:ffff::9%eth0"}, 3},
		{"the home beside", throttle.Keys{Account: "a", Address: "2001:db8:1:2::1"}, throttle.Keys{Account: "a", Address: "2001:db8:1:3::1"}, 1},
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
