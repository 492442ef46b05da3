package fresh_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aiaas/aiaas/shared/fresh"
)

// source is what is cached: a value, a version that each change moves on, and a
// clock.
type source struct {
	mu      sync.Mutex
	value   string
	version uint64
	clock   time.Time
	reads   int
	err     error
	enter   func() // called within each read, after its value was taken
}

func newSource() *source { return &source{value: "old", version: 1, clock: time.Unix(1000, 0)} }

func (s *source) read(ctx context.Context, _ string) (string, error) {
	s.mu.Lock()
	v, err, enter := s.value, s.err, s.enter
	s.reads++
	s.mu.Unlock()
	if enter != nil {
		enter()
	}
	return v, errors.Join(err, ctx.Err())
}

func (s *source) latest() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

func (s *source) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock
}

func (s *source) change(v string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.value = v
	s.version++
	return s.version
}

func (s *source) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *source) pass(d time.Duration) { s.set(func() { s.clock = s.clock.Add(d) }) }

func (s *source) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads
}

func (s *source) cache() *fresh.Cache[string, string] {
	return fresh.New(s.read, s.latest, s.now, time.Minute)
}

func get(t *testing.T, c *fresh.Cache[string, string], least uint64, want string) *fresh.Value[string] {
	t.Helper()
	v, err := c.Get(t.Context(), "k", least)
	if err != nil || v.V != want {
		t.Fatalf("%+v, %v; want %q", v, err, want)
	}
	return v
}

func TestAValueDiesASecondAfterItsReadStarted(t *testing.T) {
	s := newSource()
	// The read itself takes 0.3 s: they count.
	s.enter = func() { s.pass(300 * time.Millisecond) }
	c := s.cache()
	get(t, c, 0, "old")
	s.set(func() { s.value = "new"; s.enter = nil }) // changed without a version, as in another process
	s.pass(199 * time.Millisecond)
	get(t, c, 0, "old")
	s.pass(501 * time.Millisecond)
	get(t, c, 0, "new")
	if s.count() != 2 {
		t.Errorf("%d reads; want 2", s.count())
	}
}

func TestAValueInUseIsReadAheadOfItsDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource()
		c := s.cache()
		get(t, c, 0, "old")
		s.set(func() { s.value = "new" })
		s.pass(500 * time.Millisecond)
		get(t, c, 0, "old")
		synctest.Wait()
		if s.count() != 1 {
			t.Errorf("%d reads at half its life; want none ahead yet", s.count())
		}
		s.pass(time.Millisecond)
		get(t, c, 0, "old") // who asks does not wait
		synctest.Wait()
		if s.count() != 2 {
			t.Errorf("%d reads; want one ahead", s.count())
		}
		get(t, c, 0, "new")
		s.set(func() { s.err = errors.New("down") })
		s.pass(600 * time.Millisecond)
		get(t, c, 0, "new") // the failed read ahead is nobody's business
		synctest.Wait()
		s.pass(400 * time.Millisecond)
		if v, err := c.Get(t.Context(), "k", 0); err == nil {
			t.Errorf("a dead value is used: %+v", v)
		}
	})
}

func TestReadingAheadOutlivesWhoAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource()
		c := s.cache()
		get(t, c, 0, "old")
		s.set(func() { s.value = "new" })
		s.pass(700 * time.Millisecond)
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := c.Get(ctx, "k", 0); err != nil {
			t.Fatal(err)
		}
		cancel()
		synctest.Wait()
		get(t, c, 0, "new")
	})
}

func TestANewerVersionIsReadAtOnce(t *testing.T) {
	s := newSource()
	c := s.cache()
	get(t, c, 0, "old")
	least := s.change("new")
	get(t, c, 0, "old")
	if v := get(t, c, least, "new"); v.Version != least {
		t.Errorf("version %d; want %d", v.Version, least)
	}
	get(t, c, 0, "new")
	get(t, c, least, "new")
	if s.count() != 2 {
		t.Errorf("%d reads; want 2", s.count())
	}
}

// A read that began before a change may end after it. Its value never stands for
// the new version, whichever of the two reads ends last.
func TestAReadThatRacesAChangeDoesNotBringTheOldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource()
		gate := make(chan struct{})
		s.enter = func() { <-gate }
		c := s.cache()
		first := make(chan *fresh.Value[string], 1)
		go func() {
			v, _ := c.Get(t.Context(), "k", 0)
			first <- v
		}()
		synctest.Wait() // it has the old value, and is not back yet
		least := s.change("new")
		s.set(func() { s.enter = nil })
		close(gate)
		v := <-first
		if v.V != "old" || v.Version >= least {
			t.Errorf("the racing read: %q as of %d; want the old, as of before %d", v.V, v.Version, least)
		}
		get(t, c, least, "new")
		get(t, c, 0, "new")
	})
}

func TestOneCallerReadsForAll(t *testing.T) {
	s := newSource()
	var wg sync.WaitGroup
	c := s.cache()
	for range 32 {
		wg.Go(func() {
			if v, err := c.Get(t.Context(), "k", 0); err != nil || v.V != "old" {
				t.Errorf("%+v, %v", v, err)
			}
		})
	}
	wg.Wait()
	if s.count() != 1 {
		t.Errorf("%d reads; want 1", s.count())
	}
}

func TestAnErrorIsNotKept(t *testing.T) {
	s := newSource()
	c := s.cache()
	s.err = errors.New("down")
	for range 2 {
		if _, err := c.Get(t.Context(), "k", 0); !errors.Is(err, s.err) {
			t.Errorf("%v; want the reader's own", err)
		}
	}
	s.err = nil
	get(t, c, 0, "old")
	if s.count() != 3 {
		t.Errorf("%d reads; want 3", s.count())
	}
}

func TestWhatIsForgottenIsReadAgain(t *testing.T) {
	s := newSource()
	c := s.cache()
	get(t, c, 0, "old")
	s.set(func() { s.value = "new" })
	c.Forget("k")
	get(t, c, 0, "new")
	if c.Forget("unknown"); c.Len() != 1 {
		t.Errorf("%d entries; want 1", c.Len())
	}
}

func TestTheNumberOfEntriesIsBounded(t *testing.T) {
	clock := time.Unix(1000, 0)
	c := fresh.New(func(_ context.Context, k int) (int, error) { return k, nil },
		func() uint64 { return 1 }, func() time.Time { return clock }, time.Minute)
	for k := range fresh.MaxEntries + 100 {
		if v, err := c.Get(t.Context(), k, 0); err != nil || v.V != k {
			t.Fatalf("%d: %+v, %v", k, v, err)
		}
		if k > fresh.MaxEntries && k%10 != 0 {
			clock = clock.Add(fresh.TTL) // the dead go first, all at once
		}
	}
	if c.Len() > fresh.MaxEntries {
		t.Errorf("%d entries; want at most %d", c.Len(), fresh.MaxEntries)
	}
}
