package usage_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aiaas/aiaas/shared/usage"
)

// sink notes what it is given, and fails or waits when it is told to.
type sink struct {
	mu      sync.Mutex
	batches [][]string
	err     error
	gate    chan struct{} // each Record takes one, where it is set
	entered chan int      // told the size of each batch
}

func (s *sink) Record(_ context.Context, events []usage.Recorded) error {
	if s.entered != nil {
		s.entered <- len(events)
	}
	if s.gate != nil {
		<-s.gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for _, e := range events {
		ids = append(ids, e.ID)
	}
	s.batches = append(s.batches, ids)
	return s.err
}

func (s *sink) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *sink) got() [][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.batches
}

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

func recorded(n int) usage.Recorded { return usage.Recorded{OrgID: "o", ID: fmt.Sprint(n)} }

func newRecorder(fatal func(error), sinks ...usage.Sink) *usage.Recorder {
	return usage.NewRecorder(usage.RecorderConfig{Sinks: sinks, Log: silent(), Fatal: fatal})
}

func noFatal(t *testing.T) func(error) {
	return func(err error) { t.Errorf("fatal: %v", err) }
}

func TestWhatComesDuringABatchIsTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{gate: make(chan struct{}), entered: make(chan int, 10)}
		r := newRecorder(noFatal(t), s)
		var wg sync.WaitGroup
		record := func(n int) {
			wg.Go(func() {
				if err := r.Record(recorded(n)); err != nil {
					t.Error(err)
				}
			})
		}
		record(0)
		if n := <-s.entered; n != 1 {
			t.Fatalf("the first batch has %d", n)
		}
		for n := range 600 {
			record(n + 1)
		}
		synctest.Wait()
		close(s.gate)
		wg.Wait()
		if a, b := <-s.entered, <-s.entered; a != 512 || b != 88 {
			t.Errorf("batches of %d and %d; want 512 and 88", a, b)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestRecordWaitsForTheSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{gate: make(chan struct{})}
		r := newRecorder(noFatal(t), s)
		done := false
		go func() {
			if err := r.Record(recorded(1)); err != nil {
				t.Error(err)
			}
			done = true
		}()
		synctest.Wait()
		if done {
			t.Error("recorded before the sink had it")
		}
		close(s.gate)
		synctest.Wait()
		if !done {
			t.Error("the sink has it, and nobody is told")
		}
	})
}

func TestTheNextSinkIsAskedWhereOneFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second, third := &sink{}, &sink{}, &sink{}
		durable := 0
		r := usage.NewRecorder(usage.RecorderConfig{
			Sinks: []usage.Sink{first, second, third}, Log: silent(), Fatal: noFatal(t), Durable: func() { durable++ },
		})
		for n := range 3 {
			if n == 1 {
				first.fail(errors.New("down"))
			}
			if n == 2 {
				first.fail(nil)
			}
			if err := r.Record(recorded(n)); err != nil || r.Err() != nil {
				t.Errorf("record %d: %v, %v", n, err, r.Err())
			}
		}
		if want := [][]string{{"0"}, {"1"}, {"2"}}; !reflect.DeepEqual(first.got(), want) {
			t.Errorf("the first was asked %v; want %v", first.got(), want)
		}
		if want := [][]string{{"1"}}; !reflect.DeepEqual(second.got(), want) || third.got() != nil || durable != 3 {
			t.Errorf("the second was asked %v, the third %v, %d durable", second.got(), third.got(), durable)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// An event that no sink takes is refused, tried again until one does, and nothing
// is admitted meanwhile.
func TestWhatNoSinkTakesIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &sink{err: errors.New("down")}, &sink{err: errors.New("full")}
		r := newRecorder(noFatal(t), a, b)
		for n := range 2 {
			if err := r.Record(recorded(n)); !errors.Is(err, usage.ErrNotRecorded) {
				t.Errorf("record %d: %v; want ErrNotRecorded", n, err)
			}
		}
		time.Sleep(2500 * time.Millisecond)
		if r.Err() == nil {
			t.Error("nothing is wrong while events wait")
		}
		b.fail(nil)
		time.Sleep(time.Second)
		if err := r.Err(); err != nil {
			t.Errorf("after a sink took them: %v", err)
		}
		last := b.got()[len(b.got())-1]
		if want := []string{"0", "1"}; !reflect.DeepEqual(last, want) {
			t.Errorf("tried again: %v; want %v", last, want)
		}
		tries := len(b.got())
		time.Sleep(10 * time.Second)
		if len(b.got()) != tries {
			t.Error("they are tried again after they were taken")
		}
		if err := r.Record(recorded(9)); err != nil {
			t.Error(err)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestManyThatNoSinkTookAreTriedInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{err: errors.New("down"), gate: make(chan struct{})}
		r := newRecorder(noFatal(t), s)
		var wg sync.WaitGroup
		for n := range 600 {
			wg.Go(func() { _ = r.Record(recorded(n)) })
		}
		synctest.Wait()
		close(s.gate)
		wg.Wait()
		s.fail(nil)
		before := len(s.got())
		for r.Err() != nil {
			time.Sleep(time.Second)
		}
		seen := map[string]bool{}
		for _, batch := range s.got()[before:] {
			for _, id := range batch {
				seen[id] = true
			}
			if len(batch) > 512 {
				t.Errorf("a batch of %d", len(batch))
			}
		}
		if len(seen) != 600 {
			t.Errorf("%d were tried again; want 600", len(seen))
		}
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestAFencedProcessIsToldToStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fatal error
		next := &sink{}
		r := newRecorder(func(err error) { fatal = err }, &sink{err: fmt.Errorf("record: %w", usage.ErrFenced)}, next)
		if err := r.Record(recorded(1)); !errors.Is(err, usage.ErrFenced) {
			t.Errorf("%v; want ErrFenced", err)
		}
		if !errors.Is(fatal, usage.ErrFenced) || next.got() != nil {
			t.Errorf("fatal %v, and the next sink got %v; want it asked no more", fatal, next.got())
		}
		if r.Err() == nil {
			t.Error("a fenced process goes on admitting")
		}
		if err := r.Close(t.Context()); !errors.Is(err, usage.ErrNotRecorded) {
			t.Errorf("close: %v; want ErrNotRecorded", err)
		}
	})
}

func TestCloseWaitsAndTriesOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{err: errors.New("down")}
		r := newRecorder(noFatal(t), s)
		_ = r.Record(recorded(1))
		s.fail(nil)
		if err := r.Close(t.Context()); err != nil {
			t.Errorf("close: %v; the sink is back", err)
		}
		if want := [][]string{{"1"}, {"1"}}; !reflect.DeepEqual(s.got(), want) {
			t.Errorf("asked %v; want %v", s.got(), want)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Errorf("closed twice: %v", err)
		}

		stuck := &sink{gate: make(chan struct{})}
		r = newRecorder(noFatal(t), stuck)
		go func() { _ = r.Record(recorded(2)) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("close while a batch is being written: %v; want the deadline", err)
		}
		close(stuck.gate)
	})
}
