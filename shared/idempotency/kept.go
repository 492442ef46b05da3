package idempotency

import (
	"sync"
	"time"
)

// kept counts the bytes of answers that are kept of each organisation in an hour.
type kept struct {
	mu    sync.Mutex
	hour  int64 // since 1970
	bytes map[string]int
}

// take reports whether so many bytes more may be kept, and counts them.
func (k *kept) take(now time.Time, org string, n int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if hour := now.Unix() / int64(time.Hour/time.Second); hour != k.hour || k.bytes == nil {
		k.hour, k.bytes = hour, map[string]int{}
	}
	if k.bytes[org]+n > MaxKept {
		return false
	}
	k.bytes[org] += n
	return true
}
