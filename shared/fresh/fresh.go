// Package fresh caches what must not outlive a change by more than a second.
//
// A value dies one [TTL] after its read *started*, and that is checked when the
// value is used, not by a timer: so it holds for a process that was frozen too.
// Each value carries the configuration version that was current before its read
// started; whoever finds a newer version asks again with [Cache.Get]'s least. A
// fill that races a change can therefore never resurrect the old value.
package fresh

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// TTL is the longest that a value is used after its read started.
const TTL = time.Second

// refreshAfter is when a value in use is read anew in the background, so that
// callers seldom wait.
const refreshAfter = TTL / 2

// maxEntries bounds the memory that callers with many keys can take.
const maxEntries = 100_000

// Value is what was read, with the version current before the read started.
type Value[V any] struct {
	V       V
	Version uint64
	readAt  time.Time
}

// Cache reads values by key, at most once at a time for each.
type Cache[K comparable, V any] struct {
	load    func(context.Context, K) (V, error)
	latest  func() uint64 // configuration version
	now     func() time.Time
	timeout time.Duration

	mu      sync.RWMutex
	entries map[K]*entry[V]
}

type entry[V any] struct {
	value      atomic.Pointer[Value[V]]
	refreshing atomic.Bool
	mu         sync.Mutex // held while loading
}

// New makes a cache over load. latest returns the newest configuration version;
// loads are given at most timeout.
func New[K comparable, V any](load func(context.Context, K) (V, error), latest func() uint64, now func() time.Time, timeout time.Duration) *Cache[K, V] {
	return &Cache[K, V]{load: load, latest: latest, now: now, timeout: timeout, entries: map[K]*entry[V]{}}
}

// Get returns a value no older than TTL and no older than version least. Errors
// of load are returned as they are and not kept.
func (c *Cache[K, V]) Get(ctx context.Context, key K, least uint64) (*Value[V], error) {
	e := c.entry(key)
	if v := e.value.Load(); v != nil && v.Version >= least {
		age := c.now().Sub(v.readAt)
		if age < TTL {
			if age > refreshAfter {
				c.refresh(ctx, key, e)
			}
			return v, nil
		}
	}
	return c.fill(ctx, key, e, least)
}

// Peek returns what is known of a key at the moment, dead or not, and reads nothing.
func (c *Cache[K, V]) Peek(key K) (V, bool) {
	var zero V
	c.mu.RLock()
	e, ok := c.entries[key]
	c.mu.RUnlock()
	if !ok {
		return zero, false
	}
	v := e.value.Load()
	if v == nil {
		return zero, false
	}
	return v.V, true
}

// Forget drops a key at once.
func (c *Cache[K, V]) Forget(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.entries, key)
}

func (c *Cache[K, V]) entry(key K) *entry[V] {
	c.mu.RLock()
	e, ok := c.entries[key]
	c.mu.RUnlock()
	if ok {
		return e
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[key]; ok {
		return e
	}
	if len(c.entries) >= maxEntries {
		c.evict()
	}
	e = &entry[V]{}
	c.entries[key] = e
	return e
}

// evict drops what is dead, and where that is not enough, whatever comes first:
// a cache that forgets is slower, never wrong.
func (c *Cache[K, V]) evict() {
	now := c.now()
	for k, e := range c.entries {
		if v := e.value.Load(); v == nil || now.Sub(v.readAt) >= TTL {
			delete(c.entries, k)
		}
	}
	for k := range c.entries {
		if len(c.entries) < maxEntries {
			return
		}
		delete(c.entries, k)
	}
}

// fill loads, one caller at a time; those who waited use what the first found
// when it is fresh enough for them.
func (c *Cache[K, V]) fill(ctx context.Context, key K, e *entry[V], least uint64) (*Value[V], error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if v := e.value.Load(); v != nil && v.Version >= least && c.now().Sub(v.readAt) < TTL {
		return v, nil
	}
	return c.read(ctx, key, e)
}

func (c *Cache[K, V]) read(ctx context.Context, key K, e *entry[V]) (*Value[V], error) {
	fresh := &Value[V]{Version: c.latest(), readAt: c.now()} // both before the read
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	v, err := c.load(ctx, key)
	if err != nil {
		return nil, err
	}
	fresh.V = v
	e.value.Store(fresh)
	return fresh, nil
}

// refresh reads in the background on behalf of whoever asks next. Its error is
// dropped: the value in use stays until it dies, then the caller sees the error.
func (c *Cache[K, V]) refresh(ctx context.Context, key K, e *entry[V]) {
	if !e.refreshing.CompareAndSwap(false, true) {
		return
	}
	ctx = context.WithoutCancel(ctx)
	go func() {
		defer e.refreshing.Store(false)
		e.mu.Lock()
		defer e.mu.Unlock()
		_, _ = c.read(ctx, key, e)
	}()
}
