package password_test

import (
	"context"
	"errors"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/alexedwards/argon2id"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/password"
)

// cheap is a cost for tests that are not about the cost.
func cheap() password.Cost { return password.Cost{MemoryKiB: 64, Passes: 1, Lanes: 1} }

func hash(t *testing.T, h *password.Hasher, text string) string {
	t.Helper()
	phc, err := h.Hash(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	return phc
}

func TestTheStandardIsDearerThanOWASPsLeast(t *testing.T) {
	c := password.Standard()
	if c.MemoryKiB < 19<<10 || c.Passes < 2 || c.Lanes != 1 {
		t.Errorf("%+v", c)
	}
	phc := hash(t, password.NewHasher(c, 1), "eleven purple herons")
	if want := "$argon2id$v=19$m=32768,t=2,p=1$"; !strings.HasPrefix(phc, want) {
		t.Errorf("a hash is %s; want it to begin with %s", phc, want)
	}
}

func TestVerify(t *testing.T) {
	h := password.NewHasher(cheap(), 1)
	dearer := password.NewHasher(password.Cost{MemoryKiB: 128, Passes: 1, Lanes: 1}, 1)
	composed, decomposed := "Zürich im Frühling", "Zu\u0308rich im Fru\u0308hling"
	for _, c := range []struct {
		name      string
		phc, text string
		ok, renew bool
	}{
		{"the password", hash(t, h, "eleven purple herons"), "eleven purple herons", true, false},
		{"another", hash(t, h, "eleven purple herons"), "eleven purple heron", false, false},
		{"nothing", hash(t, h, "eleven purple herons"), "", false, false},
		{"typed with combining characters", hash(t, h, composed), decomposed, true, false},
		{"set with combining characters", hash(t, h, decomposed), composed, true, false},
		{"a hash of another cost is told apart", hash(t, dearer, "eleven purple herons"), "eleven purple herons", true, true},
		{"but not where the password is wrong", hash(t, dearer, "eleven purple herons"), "x", false, false},
		{"nobody's", "", "eleven purple herons", false, false},
		{"nobody's, and nothing", "", "", false, false},
		{"longer than any", hash(t, h, "eleven purple herons"), strings.Repeat("x", password.MaxBytes+1), false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ok, renew, err := h.Verify(t.Context(), password.Strangers, c.phc, c.text)
			if err != nil || ok != c.ok || renew != c.renew {
				t.Errorf("ok %v, renew %v, %v; want %v, %v", ok, renew, err, c.ok, c.renew)
			}
		})
	}
}

func TestAHashIsSaltedAnew(t *testing.T) {
	h := password.NewHasher(cheap(), 1)
	if a, b := hash(t, h, "eleven purple herons"), hash(t, h, "eleven purple herons"); a == b {
		t.Errorf("twice %s", a)
	}
}

func TestAStoredTextThatIsNoHashIsAnError(t *testing.T) {
	h := password.NewHasher(cheap(), 1)
	for _, phc := range []string{
		"eleven purple herons", "$2a$10$abcdefghijklmnopqrstuv", "$argon2id$v=19$m=64,t=1,p=1$AAAA$",
		"$argon2id$v=19$m=4000000000,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	} {
		if ok, _, err := h.Verify(t.Context(), password.Strangers, phc, ""); ok || err == nil {
			t.Errorf("%s: ok %v, %v", phc, ok, err)
		}
	}
}

// TestHashesWaitForTheirTurn holds all turns and shows that others wait: as long as
// their caller does, and not for ever.
func TestHashesWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := password.NewHasher(password.Cost{MemoryKiB: 64, Passes: 1, Lanes: 1}, 2)
		release := password.Occupy(h)
		gone, leave := context.WithCancel(t.Context())
		left, stayed := make(chan error, 1), make(chan error, 1)
		go func() { _, err := h.Hash(gone, "x"); left <- err }()
		go func() { _, _, err := h.Verify(t.Context(), password.Strangers, "", "x"); stayed <- err }()
		synctest.Wait()
		if len(left) > 0 || len(stayed) > 0 {
			t.Fatal("a hash was computed out of turn")
		}
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("who has left is told %v", err)
		}
		if err := <-stayed; !fault.Is(err, fault.Unavailable) {
			t.Errorf("who has waited long is told %v", err)
		}
		release()
		if _, err := h.Hash(t.Context(), "x"); err != nil {
			t.Errorf("after the others are done: %v", err)
		}
	})
}

func TestAsManyHashesAtOnceAsThereAreTurns(t *testing.T) {
	h := password.NewHasher(cheap(), 3)
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			if _, err := h.Hash(t.Context(), "x"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if most := password.Turns(h); most != 3 {
		t.Errorf("%d turns", most)
	}
}

func TestOthersReadOurHashes(t *testing.T) {
	ok, err := argon2id.ComparePasswordAndHash("eleven purple herons", hash(t, password.NewHasher(cheap(), 1), "eleven purple herons"))
	if err != nil || !ok {
		t.Errorf("ok %v, %v", ok, err)
	}
}

// queued is a hash that waits in a line; its end is told by name.
func queued(t *testing.T, h *password.Hasher, line password.Line, name string, ended chan<- string) {
	t.Helper()
	go func() {
		_, _, err := h.Verify(context.WithoutCancel(t.Context()), line, "", "x")
		if err != nil {
			name = err.Error()
		}
		ended <- name
	}()
	synctest.Wait() // it stands in the line
}

// TestWhoIsKnownGoesBeforeStrangers has strangers wait before somebody comes who is known.
func TestWhoIsKnownGoesBeforeStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := password.NewHasher(cheap(), 1)
		release := password.Occupy(h)
		ended := make(chan string, 4)
		queued(t, h, password.Strangers, "first stranger", ended)
		queued(t, h, password.Strangers, "second stranger", ended)
		queued(t, h, password.Known, "first known", ended)
		queued(t, h, password.Known, "second known", ended)
		release()
		for _, want := range []string{"first known", "second known", "first stranger", "second stranger"} {
			if got := <-ended; got != want {
				t.Errorf("%s; want %s", got, want)
			}
		}
	})
}

// TestAFullLineRefusesAtOnce fills both lines: who comes then hears when to come back, and
// nobody's line is filled by the other's.
func TestAFullLineRefusesAtOnce(t *testing.T) {
	for _, c := range []struct{ full, other password.Line }{
		{password.Strangers, password.Known}, {password.Known, password.Strangers},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := password.NewHasher(cheap(), 2)
			release := password.Occupy(h)
			n := password.Length(h, c.full)
			ended := make(chan string, n+1)
			for range n {
				queued(t, h, c.full, "through", ended)
			}
			_, _, err := h.Verify(t.Context(), c.full, "", "x") // blocks for good where it waits: nobody else does anything
			if !fault.Is(err, fault.Unavailable) || fault.From(err).RetryAfter <= 0 {
				t.Errorf("line %d: one more is told %v", c.full, err)
			}
			queued(t, h, c.other, "through", ended)
			release()
			for range n + 1 {
				if got := <-ended; got != "through" {
					t.Errorf("line %d: %s", c.full, got)
				}
			}
		})
	}
}

// TestWhoLeavesTakesNoTurn leaves a line, and shows that no turn is lost by it.
func TestWhoLeavesTakesNoTurn(t *testing.T) {
	var all sync.WaitGroup
	h := password.NewHasher(cheap(), 2)
	for i := range 200 {
		all.Go(func() {
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			if i%3 == 0 {
				go leave() // before it is his turn, while it is given, or after
			}
			_, _, _ = h.Verify(ctx, password.Line(i%2), "", "x")
		})
	}
	all.Wait()
	if n := password.Free(h); n != 2 {
		t.Errorf("%d turns are free; want 2", n)
	}
}

// TestHashesThatAreDoneLieAboutNoLonger computes hashes where the collector would not run
// for long by itself.
func TestHashesThatAreDoneLieAboutNoLonger(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(10_000))
	h := password.NewHasher(password.Standard(), 1)
	for range 8 {
		hash(t, h, "x")
	}
	var m runtime.MemStats
	if runtime.ReadMemStats(&m); m.HeapAlloc > 128<<20 {
		t.Errorf("after eight hashes of 32 MiB, %d MiB are taken", m.HeapAlloc>>20)
	}
}
