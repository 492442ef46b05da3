package spool_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aiaas/aiaas/adapters/spool"
	"github.com/aiaas/aiaas/shared/usage"
)

// inbox is a sink that takes each event once, as the database does.
type inbox struct {
	mu     sync.Mutex
	events []usage.Recorded
	calls  int
	err    error
}

func (i *inbox) Record(_ context.Context, events []usage.Recorded) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.calls++
	if i.err != nil {
		return i.err
	}
	for _, e := range events {
		known := false
		for _, have := range i.events {
			known = known || have.ID == e.ID
		}
		if !known {
			i.events = append(i.events, e)
		}
	}
	return nil
}

func event(n int) usage.Recorded {
	return usage.Recorded{OrgID: "org_1", ID: fmt.Sprintf("req_%d", n), Body: []byte(fmt.Sprintf(`{"id":"req_%d"}`, n))}
}

func record(t *testing.T, f *spool.File, events ...usage.Recorded) {
	t.Helper()
	if err := f.Record(t.Context(), events); err != nil {
		t.Fatal(err)
	}
}

func drain(t *testing.T, f *spool.File, want ...usage.Recorded) {
	t.Helper()
	var to inbox
	n, err := f.Drain(t.Context(), &to)
	if err != nil || n != len(want) {
		t.Fatalf("drain: %d, %v; want %d", n, err, len(want))
	}
	if diff := cmp.Diff(want, to.events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func open(t *testing.T, path string) *spool.File {
	t.Helper()
	f := spool.Open(path)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestWhatIsRecordedIsDrainedInOrderAndOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spool")
	f := open(t, path)
	drain(t, f)
	if _, err := os.Stat(path); err == nil {
		t.Error("there is a file before anything was recorded")
	}
	record(t, f, event(1), event(2))
	record(t, f, event(3))
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	drain(t, f, event(1), event(2), event(3))
	drain(t, f)
	record(t, f, event(4))
	drain(t, f, event(4))
}

func TestTheNextProcessDrainsWhatTheLastRecorded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spool")
	first := open(t, path)
	record(t, first, event(1))
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	next := open(t, path)
	record(t, next, event(2))
	drain(t, next, event(1), event(2))
}

func TestASinkThatFailsLosesNothing(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "spool"))
	record(t, f, event(1))
	down := inbox{err: usage.ErrFenced}
	for range 2 {
		if n, err := f.Drain(t.Context(), &down); n != 0 || !errors.Is(err, usage.ErrFenced) {
			t.Fatalf("drain: %d, %v; want the sink's error", n, err)
		}
	}
	record(t, f, event(2))
	drain(t, f, event(1), event(2))
}

// A crash may cut the file at any byte of what was being appended. What was
// acknowledged before is read, and what is recorded after is read too.
func TestATailTornAtAnyByteHidesNothing(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	f := open(t, whole)
	record(t, f, event(1))
	acknowledged, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	record(t, f, event(2), event(3))
	all, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	middle := len(acknowledged) + (len(all)-len(acknowledged))/2
	for _, kept := range []struct {
		name string
		tail func(cut int) []byte
	}{
		{"cut", func(cut int) []byte { return all[:cut] }},
		{"zeros", func(cut int) []byte { return append(append([]byte{}, all[:cut]...), make([]byte, 40)...) }},
		{"garbage", func(cut int) []byte {
			return append(append([]byte{}, all[:cut]...), "\xff\xff\xff\xff\xff\xff\xff\xff\xff"...)
		}},
	} {
		for cut := range all {
			path := filepath.Join(dir, fmt.Sprintf("%s%d", kept.name, cut))
			if err := os.WriteFile(path, kept.tail(cut), 0o600); err != nil {
				t.Fatal(err)
			}
			want := []usage.Recorded{}
			if cut >= len(acknowledged) {
				want = append(want, event(1))
			}
			if cut >= middle {
				want = append(want, event(2))
			}
			next := open(t, path)
			record(t, next, event(9))
			drain(t, next, append(want, event(9))...)
			_ = next.Close()
		}
	}
}

func TestATornTailAloneIsCutByTheDrain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spool")
	if err := os.WriteFile(path, []byte{0, 0, 0, 9, 1}, 0o600); err != nil {
		t.Fatal(err)
	}
	f := open(t, path)
	drain(t, f)
	record(t, f, event(1))
	drain(t, f, event(1))
}

func TestAnEventThatCouldNotBeReadIsNotRecorded(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "spool"))
	record(t, f, event(1))
	if err := f.Record(t.Context(), []usage.Recorded{event(2), {OrgID: "org_1", ID: "huge", Body: make([]byte, 1<<20)}}); err == nil {
		t.Error("an event longer than a frame was taken")
	}
	largest := usage.Recorded{OrgID: "o", ID: "l", Body: make([]byte, 1<<20-100)}
	record(t, f, largest)
	drain(t, f, event(1), largest)
}

func TestParallelRecordsAreWhole(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "spool"))
	var wg sync.WaitGroup
	var to inbox
	for w := range 8 {
		wg.Go(func() {
			for i := range 20 {
				if err := f.Record(t.Context(), []usage.Recorded{event(w*100 + i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 10 {
			if _, err := f.Drain(t.Context(), &to); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if _, err := f.Drain(t.Context(), &to); err != nil {
		t.Fatal(err)
	}
	if len(to.events) != 160 {
		t.Errorf("%d events; want 160", len(to.events))
	}
}

func TestAFolderThatIsMissingIsAnError(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "missing", "spool"))
	if err := f.Record(t.Context(), []usage.Recorded{event(1)}); err == nil {
		t.Error("recorded into a folder that does not exist")
	}
}

// silent is a sink that does not answer until it is let go.
type silent struct {
	asked, answer chan struct{}
	inbox
}

func (s *silent) Record(ctx context.Context, events []usage.Recorded) error {
	s.asked <- struct{}{}
	<-s.answer
	return s.inbox.Record(ctx, events)
}

func TestASilentSinkKeepsNobodyFromRecording(t *testing.T) {
	f := spool.Open(filepath.Join(t.TempDir(), "spool"))
	record(t, f, event(1))
	sink := &silent{asked: make(chan struct{}), answer: make(chan struct{})}
	drained := make(chan error, 1)
	go func() {
		_, err := f.Drain(t.Context(), sink)
		drained <- err
	}()
	<-sink.asked
	record(t, f, event(2)) // hangs where the spool waits for the sink
	close(sink.answer)
	if err := <-drained; err != nil {
		t.Fatal(err)
	}
	drain(t, f, event(1), event(2)) // what came meanwhile is not lost
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
