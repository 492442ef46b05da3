package memory

import (
	"time"

	"github.com/aiaas/aiaas/shared/admission"
)

// bucket is a token bucket of N, refilled evenly over a minute (the same as GCRA
// with a burst of N). It is exact: what is used is kept in units of one token
// times one minute in microseconds, so that N units drain in a microsecond and
// nothing is ever rounded.
type bucket struct {
	used int64     // units
	at   time.Time // when used was right
}

const unitsPerToken = int64(time.Minute / time.Microsecond)

// maxPerMinute keeps units within an int64; a limit beyond it is no limit.
const maxPerMinute = (1 << 62) / unitsPerToken

// maxCount is the most that one request counts for: what is taken for it and what
// is given back must be the same, and stay far from overflow.
const maxCount = maxPerMinute / 8

func limits(n int64) bool { return n > 0 && n <= maxPerMinute }

// level is what is used at a moment. A clock that went back refills nothing.
func (b *bucket) level(at time.Time, n int64) int64 {
	elapsed := at.Sub(b.at).Microseconds()
	switch {
	case elapsed <= 0:
		return b.used
	case elapsed >= b.used/n+1:
		return 0
	}
	return max(0, b.used-elapsed*n)
}

// wait is how long until cost tokens fit; 0 when they fit now. A cost above N is
// admitted by an empty bucket only: it can never fit, and refusing it forever
// would be a limit on size, which this is not.
func (b *bucket) wait(at time.Time, n, cost int64) time.Duration {
	if !limits(n) || cost <= 0 {
		return 0
	}
	over := b.level(at, n) + min(cost, n)*unitsPerToken - n*unitsPerToken
	if over <= 0 {
		return 0
	}
	return time.Duration((over+n-1)/n) * time.Microsecond
}

// add counts at most maxCount tokens.
func (b *bucket) add(at time.Time, n, cost int64) {
	if !limits(n) || cost < 0 {
		return
	}
	// At a cost of 0 too: what a request really used is counted from its admission.
	b.used = min(b.level(at, n)+cost*unitsPerToken, 1<<62)
	if at.After(b.at) {
		b.at = at
	}
}

// correct changes what was counted by a number of tokens, of at most maxCount
// either way.
func (b *bucket) correct(tokens int64) {
	b.used = min(max(0, b.used+tokens*unitsPerToken), 1<<62)
}

func (b *bucket) rate(at time.Time, n int64) admission.Rate {
	if !limits(n) {
		return admission.Rate{}
	}
	level := b.level(at, n)
	return admission.Rate{
		Limit:     n,
		Remaining: max(0, n-(level+unitsPerToken-1)/unitsPerToken),
		Reset:     time.Duration((level+n-1)/n) * time.Microsecond,
	}
}
