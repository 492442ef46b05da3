package factortest

import (
	"crypto/sha256"
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/factor"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
)

// World is a store with two people in it, opened twice: as two processes have it.
type World struct {
	Store, Other factor.Store
	Ann, Bob     string // ids of people who have no factors; both are members of Org
	Org          string
}

// Conform runs the suite on the stores that open makes, a fresh one each time.
func Conform(t *testing.T, open func(*testing.T) World) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, World){
		"an app counts from its first code on":                testApps,
		"a step is taken once":                                testSteps,
		"codes are used once, and replaced together":          testCodes,
		"passkeys are kept, renamed and removed":              testPasskeys,
		"a passkey that counts goes forward only":             testCounts,
		"a ceremony is taken once, by whom it is for":         testCeremonies,
		"what is refused changes nothing":                     testRefused,
		"changes of one person wait for each other":           testChanges,
		"of fifty uses at once, in two processes, one counts": testOnce,
		"nobody else is touched":                              testOthers,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func moment() time.Time { return time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC) }

func app() *factor.TOTP {
	return &factor.TOTP{ID: id.New(factor.TOTPID), Secret: "sealed", CreatedAt: moment()}
}

func key(name string) *factor.Passkey {
	sum := sha256.Sum256([]byte(name))
	return &factor.Passkey{
		ID: id.New(factor.PasskeyID), Name: name, RPID: "example.com", CredentialID: sum[:], Record: json.RawMessage(`{"key": "` + name + `"}`), CreatedAt: moment(),
	}
}

func codeHash(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

// change makes a change, and returns what came of it.
func (w World) change(t *testing.T, userID string, c factor.Change) error {
	t.Helper()
	return w.Store.Change(t.Context(), userID, func(factor.State) (factor.Change, error) {
		rec := audit.Record{OrgID: w.Org, ID: id.New(id.Audit), At: moment(), Actor: userID, Action: factor.ActionTOTPConfirm, Target: "x", Detail: map[string]any{}}
		c.Audit = &rec
		return c, nil
	})
}

func (w World) must(t *testing.T, userID string, c factor.Change) {
	t.Helper()
	if err := w.change(t, userID, c); err != nil {
		t.Fatal(err)
	}
}

func (w World) load(t *testing.T, userID string) factor.State {
	t.Helper()
	st, err := w.Other.Load(t.Context(), userID)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func testApps(t *testing.T, w World) {
	one, two := app(), app()
	w.must(t, w.Ann, factor.Change{Start: one})
	if st := w.load(t, w.Ann); st.Has() || !cmp.Equal(st.Pending, one) || st.UserID != w.Ann || st.Email == "" || len(st.Memberships) != 1 {
		t.Errorf("an app that waits: %+v", st)
	}
	w.must(t, w.Ann, factor.Change{Start: two})
	if err := w.change(t, w.Ann, factor.Change{Confirm: &factor.Confirmed{ID: one.ID, Step: 7, At: moment()}}); !fault.Is(err, fault.Conflict) {
		t.Errorf("an app that was begun anew is confirmed: %v", err)
	}
	w.must(t, w.Ann, factor.Change{Confirm: &factor.Confirmed{ID: two.ID, Step: 7, At: moment()}})
	two.ConfirmedAt, two.LastStep = moment(), 7
	if st := w.load(t, w.Ann); !st.Has() || !cmp.Equal(st.TOTP, two) || st.Pending != nil {
		t.Errorf("a confirmed app: %+v", st)
	}
	if err := w.change(t, w.Ann, factor.Change{Confirm: &factor.Confirmed{ID: two.ID, Step: 9, At: moment()}}); !fault.Is(err, fault.Conflict) {
		t.Errorf("it is confirmed twice: %v", err)
	}
	three := app()
	w.must(t, w.Ann, factor.Change{Start: three})
	if st := w.load(t, w.Ann); st.TOTP == nil || st.TOTP.ID != two.ID || st.Pending == nil || st.Pending.ID != three.ID {
		t.Errorf("one app waits to take another's place: %+v", st)
	}
	w.must(t, w.Ann, factor.Change{Confirm: &factor.Confirmed{ID: three.ID, Step: 8, At: moment()}})
	if st := w.load(t, w.Ann); st.TOTP == nil || st.TOTP.ID != three.ID || st.Pending != nil {
		t.Errorf("it has taken it: %+v", st)
	}
	w.must(t, w.Ann, factor.Change{Start: app()})
	w.must(t, w.Ann, factor.Change{RemoveTOTP: true})
	if st := w.load(t, w.Ann); st.TOTP != nil || st.Pending != nil {
		t.Errorf("after removal: %+v", st)
	}
}

func testSteps(t *testing.T, w World) {
	a := app()
	w.must(t, w.Ann, factor.Change{Start: a})
	use := func(step int64) bool {
		t.Helper()
		used, err := w.Store.UseStep(t.Context(), w.Ann, a.ID, step)
		if err != nil {
			t.Fatal(err)
		}
		return used
	}
	if use(200) {
		t.Error("a code of an app that waits was taken")
	}
	w.must(t, w.Ann, factor.Change{Confirm: &factor.Confirmed{ID: a.ID, Step: 100, At: moment()}})
	for _, c := range []struct {
		step int64
		want bool
	}{{100, false}, {99, false}, {101, true}, {101, false}, {100, false}, {103, true}, {102, false}} {
		if use(c.step) != c.want {
			t.Errorf("step %d: taken is %v", c.step, !c.want)
		}
	}
	if used, err := w.Store.UseStep(t.Context(), w.Ann, app().ID, 500); used || err != nil {
		t.Errorf("a step of an app that there is not: %v, %v", used, err)
	}
}

func testCodes(t *testing.T, w World) {
	w.must(t, w.Ann, factor.Change{ReplaceCodes: &factor.NewCodes{Hashes: [][]byte{codeHash("a"), codeHash("b")}, At: moment()}})
	if st := w.load(t, w.Ann); st.Codes.Left != 2 || !st.Codes.CreatedAt.Equal(moment()) {
		t.Errorf("two fresh codes: %+v", st.Codes)
	}
	w.must(t, w.Ann, factor.Change{UseCode: codeHash("a")})
	for _, text := range []string{"a", "c"} {
		if err := w.change(t, w.Ann, factor.Change{UseCode: codeHash(text)}); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("code %q: %v", text, err)
		}
	}
	if st := w.load(t, w.Ann); st.Codes.Left != 1 {
		t.Errorf("one was used: %+v", st.Codes)
	}
	w.must(t, w.Ann, factor.Change{ReplaceCodes: &factor.NewCodes{Hashes: [][]byte{codeHash("d")}, At: moment()}})
	if err := w.change(t, w.Ann, factor.Change{UseCode: codeHash("b")}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a code that was replaced: %v", err)
	}
	w.must(t, w.Ann, factor.Change{ReplaceCodes: &factor.NewCodes{At: moment()}})
	if st := w.load(t, w.Ann); st.Codes.Left != 0 || !st.Codes.CreatedAt.IsZero() {
		t.Errorf("codes were removed: %+v", st.Codes)
	}
}

func testPasskeys(t *testing.T, w World) {
	one, two := key("one"), key("two")
	w.must(t, w.Ann, factor.Change{AddPasskey: one})
	w.must(t, w.Ann, factor.Change{AddPasskey: two})
	if diff := cmp.Diff([]factor.Passkey{*one, *two}, w.load(t, w.Ann).Passkeys); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	again := key("one")
	if err := w.change(t, w.Bob, factor.Change{AddPasskey: again}); !fault.Is(err, fault.Conflict) {
		t.Errorf("one passkey of two people: %v", err)
	}
	elsewhere := key("one")
	elsewhere.RPID = "elsewhere"
	w.must(t, w.Bob, factor.Change{AddPasskey: elsewhere})
	named := *one
	named.Name = "first"
	w.must(t, w.Ann, factor.Change{RenamePasskey: &named})
	w.must(t, w.Ann, factor.Change{RemovePasskey: two.ID})
	if diff := cmp.Diff([]factor.Passkey{named}, w.load(t, w.Ann).Passkeys); diff != "" {
		t.Errorf("after a change and a removal (-want +got):\n%s", diff)
	}
	for _, c := range []factor.Change{{RemovePasskey: two.ID}, {RenamePasskey: two}, {RemovePasskey: elsewhere.ID}, {RenamePasskey: elsewhere}} {
		if err := w.change(t, w.Ann, c); !fault.Is(err, fault.NotFound) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func testCounts(t *testing.T, w World) {
	counts, plain := key("counts"), key("plain")
	counts.SignCount = 5
	w.must(t, w.Ann, factor.Change{AddPasskey: counts})
	w.must(t, w.Ann, factor.Change{AddPasskey: plain})
	for _, c := range []struct {
		key   *factor.Passkey
		count uint32
		want  bool
	}{
		{counts, 5, false}, {counts, 4, false}, {counts, 0, false}, {counts, 6, true}, {counts, 6, false}, {counts, 4294967295, true},
		{plain, 0, true}, {plain, 0, true}, {plain, 1, true}, {plain, 0, false},
	} {
		u := factor.Used{PasskeyID: c.key.ID, SignCount: c.count, Record: json.RawMessage(`{"later": true}`), At: moment().Add(time.Hour)}
		used, err := w.Store.UsePasskey(t.Context(), w.Ann, u)
		if err != nil || used != c.want {
			t.Errorf("%s counts %d: taken is %v, %v", c.key.Name, c.count, used, err)
		}
	}
	got := w.load(t, w.Ann).Passkeys[0]
	if got.SignCount != 4294967295 || string(got.Record) != `{"later": true}` || !got.LastUsedAt.Equal(moment().Add(time.Hour)) {
		t.Errorf("kept %+v", got)
	}
}

func testCeremonies(t *testing.T, w World) {
	keep := func(purpose factor.Purpose, userID string) factor.Ceremony {
		t.Helper()
		c := factor.Ceremony{
			ID: id.New(factor.CeremonyID), UserID: userID, Purpose: purpose, State: json.RawMessage(`{"c": 1}`),
			CreatedAt: moment(), ExpiresAt: moment().Add(time.Minute),
		}
		if err := w.Store.KeepCeremony(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	own, open := keep(factor.ToProve, w.Ann), keep(factor.ToSignIn, "")
	for name, c := range map[string]factor.Ceremony{
		"of another":                      {ID: own.ID, UserID: w.Bob, Purpose: factor.ToProve},
		"of nobody":                       {ID: own.ID, Purpose: factor.ToProve},
		"for something else":              {ID: own.ID, UserID: w.Ann, Purpose: factor.ToRegister},
		"that was never there":            {ID: id.New(factor.CeremonyID), UserID: w.Ann, Purpose: factor.ToProve},
		"of nobody, taken for somebody's": {ID: open.ID, UserID: w.Ann, Purpose: factor.ToSignIn},
	} {
		if _, err := w.Store.TakeCeremony(t.Context(), c, moment()); !fault.Is(err, fault.NotFound) {
			t.Errorf("a ceremony %s: %v", name, err)
		}
	}
	if _, err := w.Store.TakeCeremony(t.Context(), own, own.ExpiresAt); !fault.Is(err, fault.NotFound) {
		t.Errorf("one that has expired: %v", err)
	}
	for _, c := range []factor.Ceremony{own, open} {
		ask := factor.Ceremony{ID: c.ID, UserID: c.UserID, Purpose: c.Purpose}
		got, err := w.Other.TakeCeremony(t.Context(), ask, moment())
		if err != nil || string(got.State) != `{"c": 1}` {
			t.Errorf("%s: %+v, %v", c.Purpose, got, err)
		}
		if _, err := w.Store.TakeCeremony(t.Context(), ask, moment()); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s, again: %v", c.Purpose, err)
		}
	}
}

func testRefused(t *testing.T, w World) {
	w.must(t, w.Ann, factor.Change{AddPasskey: key("mine")})
	no := fault.New(fault.Conflict, "no")
	before := w.load(t, w.Ann)
	err := w.Store.Change(t.Context(), w.Ann, func(st factor.State) (factor.Change, error) {
		if diff := cmp.Diff(before, st); diff != "" {
			t.Errorf("edit sees (-want +got):\n%s", diff)
		}
		return factor.Change{RemovePasskey: st.Passkeys[0].ID}, no
	})
	if !fault.Is(err, fault.Conflict) {
		t.Errorf("the refusal comes back as %v", err)
	}
	if diff := cmp.Diff(before, w.load(t, w.Ann)); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
	for _, nobody := range []string{id.New(id.User)} {
		if _, err := w.Store.Load(t.Context(), nobody); !fault.Is(err, fault.NotFound) {
			t.Errorf("nobody: %v", err)
		}
		if err := w.change(t, nobody, factor.Change{}); !fault.Is(err, fault.NotFound) {
			t.Errorf("a change of nobody: %v", err)
		}
	}
}

// Each of two removals would leave one factor, if it did not see the other.
func testChanges(t *testing.T, w World) {
	keys := []*factor.Passkey{key("one"), key("two")}
	for _, k := range keys {
		w.must(t, w.Ann, factor.Change{AddPasskey: k})
	}
	refused := fault.New(fault.Conflict, "the last one stays")
	var removed atomic.Int32
	var group sync.WaitGroup
	for i, k := range keys {
		store := []factor.Store{w.Store, w.Other}[i]
		group.Go(func() {
			err := store.Change(t.Context(), w.Ann, func(st factor.State) (factor.Change, error) {
				if len(st.Passkeys) < 2 {
					return factor.Change{}, refused
				}
				return factor.Change{RemovePasskey: k.ID}, nil
			})
			switch {
			case err == nil:
				removed.Add(1)
			case !fault.Is(err, fault.Conflict):
				t.Error(err)
			}
		})
	}
	group.Wait()
	if removed.Load() != 1 || len(w.load(t, w.Ann).Passkeys) != 1 {
		t.Errorf("%d were removed, %d are left", removed.Load(), len(w.load(t, w.Ann).Passkeys))
	}
}

const atOnce = 50

func testOnce(t *testing.T, w World) {
	a, k := app(), key("k")
	w.must(t, w.Ann, factor.Change{Start: a})
	w.must(t, w.Ann, factor.Change{Confirm: &factor.Confirmed{ID: a.ID, Step: 1, At: moment()}})
	w.must(t, w.Ann, factor.Change{AddPasskey: k, ReplaceCodes: &factor.NewCodes{Hashes: [][]byte{codeHash("a")}, At: moment()}})
	c := factor.Ceremony{
		ID: id.New(factor.CeremonyID), UserID: w.Ann, Purpose: factor.ToProve, State: json.RawMessage(`{}`), CreatedAt: moment(), ExpiresAt: moment().Add(time.Minute),
	}
	if err := w.Store.KeepCeremony(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for name, use := range map[string]func(factor.Store) (bool, error){
		"step": func(s factor.Store) (bool, error) { return s.UseStep(t.Context(), w.Ann, a.ID, 2) },
		"passkey's count": func(s factor.Store) (bool, error) {
			return s.UsePasskey(t.Context(), w.Ann, factor.Used{PasskeyID: k.ID, SignCount: 1, Record: k.Record, At: moment()})
		},
		"recovery code": func(s factor.Store) (bool, error) {
			err := s.Change(t.Context(), w.Ann, func(factor.State) (factor.Change, error) {
				return factor.Change{UseCode: codeHash("a"), Audit: &audit.Record{At: moment()}}, nil
			})
			return err == nil, except(err, fault.Unauthenticated)
		},
		"ceremony": func(s factor.Store) (bool, error) {
			_, err := s.TakeCeremony(t.Context(), c, moment())
			return err == nil, except(err, fault.NotFound)
		},
	} {
		var won atomic.Int32
		var group sync.WaitGroup
		start := make(chan struct{})
		for i := range atOnce {
			store := []factor.Store{w.Store, w.Other}[i%2]
			group.Go(func() {
				<-start
				ok, err := use(store)
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if ok {
					won.Add(1)
				}
			})
		}
		close(start)
		group.Wait()
		if won.Load() != 1 {
			t.Errorf("%s: %d of %d uses at once counted", name, won.Load(), atOnce)
		}
	}
}

// except is the error, unless it is of the code.
func except(err error, code fault.Code) error {
	if fault.Is(err, code) {
		return nil
	}
	return err
}

func testOthers(t *testing.T, w World) {
	a, k := app(), key("k")
	w.must(t, w.Ann, factor.Change{Start: a, AddPasskey: k, ReplaceCodes: &factor.NewCodes{Hashes: [][]byte{codeHash("a")}, At: moment()}})
	w.must(t, w.Ann, factor.Change{Confirm: &factor.Confirmed{ID: a.ID, Step: 1, At: moment()}})
	if used, err := w.Store.UseStep(t.Context(), w.Bob, a.ID, 9); used || err != nil {
		t.Errorf("Bob uses Ann's app: %v, %v", used, err)
	}
	if used, err := w.Store.UsePasskey(t.Context(), w.Bob, factor.Used{PasskeyID: k.ID, SignCount: 9, Record: k.Record, At: moment()}); used || err != nil {
		t.Errorf("Bob uses Ann's passkey: %v, %v", used, err)
	}
	if err := w.change(t, w.Bob, factor.Change{UseCode: codeHash("a")}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("Bob uses Ann's code: %v", err)
	}
	w.must(t, w.Bob, factor.Change{RemoveTOTP: true, ReplaceCodes: &factor.NewCodes{At: moment()}})
	if st := w.load(t, w.Bob); st.Has() || st.Pending != nil || st.Codes.Left != 0 {
		t.Errorf("Bob has %+v", st)
	}
	if st := w.load(t, w.Ann); st.TOTP == nil || len(st.Passkeys) != 1 || st.Codes.Left != 1 {
		t.Errorf("Ann has %+v", st)
	}
}
