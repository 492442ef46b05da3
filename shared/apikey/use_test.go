package apikey_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/apikey"
)

// uses takes notes.
type uses struct {
	mu    sync.Mutex
	taken []apikey.Use
	calls int
	err   error
	clock time.Time
	log   strings.Builder
}

func (u *uses) NoteUses(_ context.Context, list []apikey.Use) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.calls++
	if u.err != nil {
		return u.err
	}
	u.taken = append(u.taken, list...)
	return nil
}

func (u *uses) now() time.Time       { return u.clock }
func (u *uses) logger() *slog.Logger { return slog.New(slog.NewTextHandler(&u.log, nil)) }

func used(i int) *apikey.Record {
	return &apikey.Record{OrgID: "org_1", KeyID: fmt.Sprintf("key_%d", i)}
}

func TestAUseIsNotedOnceAMinute(t *testing.T) {
	u := &uses{clock: noon()}
	notes := apikey.NewUses(u, u.now, u.logger())
	for i, after := range []time.Duration{0, time.Second, 59 * time.Second, time.Minute, 61 * time.Second, 2 * time.Minute} {
		u.clock = noon().Add(after)
		notes.Note(t.Context(), used(1), fmt.Sprintf("10.0.0.%d", i))
	}
	u.clock = noon()
	notes.Note(t.Context(), used(2), "10.0.0.9")
	want := []apikey.Use{
		{OrgID: "org_1", KeyID: "key_1", At: noon(), Address: "10.0.0.0"},
		{OrgID: "org_1", KeyID: "key_1", At: noon().Add(time.Minute), Address: "10.0.0.3"},
		{OrgID: "org_1", KeyID: "key_1", At: noon().Add(2 * time.Minute), Address: "10.0.0.5"},
		{OrgID: "org_1", KeyID: "key_2", At: noon(), Address: "10.0.0.9"},
	}
	if fmt.Sprint(u.taken) != fmt.Sprint(want) || u.calls != len(want) {
		t.Errorf("%d writes of\n%v; want each of\n%v", u.calls, u.taken, want)
	}
	if err := notes.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNotesInTheBackgroundAreWrittenTogether(t *testing.T) {
	u := &uses{clock: noon()}
	notes := apikey.StartUses(t.Context(), u, u.now, u.logger())
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 1_500 {
				notes.Note(t.Context(), used(i), fmt.Sprint(worker))
			}
		})
	}
	wg.Wait()
	if err := notes.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, one := range u.taken {
		if seen[one.KeyID] {
			t.Fatalf("%s is noted twice", one.KeyID)
		}
		seen[one.KeyID] = true
	}
	if len(seen) != 1_500 || u.calls > 4 { // a turn of the background may fall in between
		t.Errorf("%d keys in %d writes; want 1500 in few", len(seen), u.calls)
	}
}

func TestNotesOutliveASinkThatIsDown(t *testing.T) {
	u := &uses{clock: noon(), err: errors.New("connection refused")}
	notes := apikey.NewUses(u, u.now, u.logger())
	notes.Note(t.Context(), used(1), "10.0.0.1")
	if len(u.taken) != 0 || !strings.Contains(u.log.String(), "connection refused") {
		t.Errorf("%v taken, log %q", u.taken, u.log.String())
	}
	u.err = nil
	notes.Note(t.Context(), used(2), "10.0.0.2")
	if len(u.taken) != 2 {
		t.Errorf("%v taken; want the first too", u.taken)
	}
}

// It is on the way of every paid request.
func TestANoteThatIsKnownAllocatesNothing(t *testing.T) {
	u := &uses{clock: noon()}
	notes := apikey.StartUses(t.Context(), u, u.now, u.logger())
	r := used(1)
	if n := testing.AllocsPerRun(100, func() { notes.Note(t.Context(), r, "10.0.0.1") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if err := notes.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
