package apikey_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/tenant"
)

func noon() time.Time { return time.Date(2026, 10, 17, 12, 0, 0, 0, time.UTC) }

func TestTheFormOfAKey(t *testing.T) {
	pattern := regexp.MustCompile(`^` + apikey.Pattern + `$`)
	seen := map[string]bool{}
	for env, prefix := range map[apikey.Environment]string{apikey.Production: "aiaas_live_", apikey.Development: "aiaas_dev_"} {
		for range 200 {
			s := apikey.NewSecret(env)
			text := s.Reveal()
			if !pattern.MatchString(text) || !strings.HasPrefix(text, prefix) || len(text) > apikey.MaxLen || seen[text] {
				t.Fatalf("key %q", text)
			}
			seen[text] = true
			got, err := apikey.Parse(text)
			if err != nil || got.Hash() != s.Hash() || got.Reveal() != text {
				t.Fatalf("parse %q: %v", text, err)
			}
		}
	}
}

func TestAKeyDoesNotPrint(t *testing.T) {
	s := apikey.NewSecret(apikey.Production)
	secret := strings.TrimPrefix(s.Reveal(), "aiaas_live_")
	for _, format := range []string{"%s", "%v", "%+v", "%q"} {
		if out := fmt.Sprintf(format, s); strings.Contains(out, secret[:8]) || !strings.Contains(out, s.Fingerprint()) {
			t.Errorf("%s prints %s", format, out)
		}
	}
	if f := s.Fingerprint(); !strings.HasPrefix(f, "aiaas_live_") || len(f) != len("aiaas_live_")+12 || f == apikey.NewSecret(apikey.Production).Fingerprint() {
		t.Errorf("fingerprint %q", f)
	}
}

// A wrong character anywhere costs no look-up.
func TestEveryChangeToAKeyIsSeen(t *testing.T) {
	good := apikey.NewSecret(apikey.Production).Reveal()
	bad := []string{
		"", "aiaas_live_", good + "0", good[:len(good)-1], " " + good, good + "\n", strings.ToUpper(good),
		strings.Replace(good, "live", "dev", 1), strings.Replace(good, "live", "test", 1), strings.Replace(good, "aiaas", "AIAAS", 1),
		strings.Repeat("x", 1<<16), good + good,
	}
	for i := range good {
		for _, c := range []byte("0Az_é") {
			if good[i] != c {
				bad = append(bad, good[:i]+string(c)+good[i+1:])
			}
		}
		if i > 0 && good[i-1] != good[i] {
			bad = append(bad, good[:i-1]+good[i:i+1]+good[i-1:i]+good[i+1:]) // swapped
		}
	}
	want := apikey.ErrUnauthenticated().Error()
	for _, text := range bad {
		if _, err := apikey.Parse(text); err == nil || err.Error() != want {
			t.Errorf("parse %.80q: %v; want the one answer", text, err)
		}
	}
}

func TestWhereTheKeyStands(t *testing.T) {
	for _, c := range []struct {
		name   string
		url    string
		header http.Header
		want   string
		code   fault.Code
	}{
		{"X-API-Key", "/", http.Header{"X-Api-Key": {"k"}}, "k", ""},
		{"bearer", "/", http.Header{"Authorization": {"Bearer k"}}, "k", ""},
		{"bearer in any case", "/", http.Header{"Authorization": {"bEaReR   k "}}, "k", ""},
		{"both, the same", "/", http.Header{"X-Api-Key": {" k "}, "Authorization": {"Bearer k"}}, "k", ""},
		{"both, different", "/", http.Header{"X-Api-Key": {"k"}, "Authorization": {"Bearer l"}}, "", fault.Invalid},
		{"two of one kind", "/", http.Header{"X-Api-Key": {"k", "l"}}, "", fault.Invalid},
		{"two bearers", "/", http.Header{"Authorization": {"Bearer k", "Bearer l"}}, "", fault.Invalid},
		{"none", "/", http.Header{}, "", fault.Unauthenticated},
		{"an empty one", "/", http.Header{"X-Api-Key": {""}}, "", fault.Unauthenticated},
		{"a bearer of nothing", "/", http.Header{"Authorization": {"Bearer "}}, "", fault.Unauthenticated},
		{"a good one beside an empty one", "/", http.Header{"X-Api-Key": {"k"}, "Authorization": {"Bearer"}}, "", fault.Unauthenticated},
		{"basic", "/", http.Header{"Authorization": {"Basic azo="}}, "", fault.Unauthenticated},
		{"a good one beside basic", "/", http.Header{"X-Api-Key": {"k"}, "Authorization": {"Basic azo="}}, "", fault.Unauthenticated},
		{"a bare one", "/", http.Header{"Authorization": {"k"}}, "", fault.Unauthenticated},
		{"an absurd one", "/", http.Header{"X-Api-Key": {strings.Repeat("k", 200)}}, "", fault.Unauthenticated},
		{"in the URL", "/?api_key=aiaas_live_x", http.Header{}, "", fault.Invalid},
		{"in the URL too", "/?key=aiaas_dev_x", http.Header{"X-Api-Key": {"k"}}, "", fault.Invalid},
		{"a query that is no key", "/?limit=3", http.Header{"X-Api-Key": {"k"}}, "k", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = c.header
			got, err := apikey.FromRequest(r)
			if got != c.want || (err == nil) != (c.code == "") || (err != nil && !fault.Is(err, c.code)) {
				t.Errorf("%q, %v; want %q, %s", got, err, c.want, c.code)
			}
		})
	}
}

// store is what a resolver reads.
type store struct {
	records  map[apikey.Hash]apikey.Record
	reads    int
	err      error
	latest   uint64
	versions map[string]uint64
	clock    time.Time
}

func newStore() *store {
	return &store{records: map[apikey.Hash]apikey.Record{}, versions: map[string]uint64{}, clock: noon()}
}

func (s *store) FindKey(_ context.Context, h apikey.Hash) (*apikey.Record, error) {
	s.reads++
	if s.err != nil {
		return nil, s.err
	}
	r, ok := s.records[h]
	if !ok {
		return nil, fault.New(fault.NotFound, "")
	}
	return &r, nil
}

func (s *store) Latest() uint64            { return s.latest }
func (s *store) Version(org string) uint64 { return s.versions[org] }
func (s *store) now() time.Time            { return s.clock }

func (s *store) Bump(_ context.Context, org string) error {
	s.latest++
	s.versions[org] = s.latest
	return nil
}

func (s *store) add(change func(*apikey.Record)) (key string, h apikey.Hash) {
	secret := apikey.NewSecret(apikey.Production)
	r := apikey.Record{KeyID: "key_1", OrgID: "org_1", OrgStatus: tenant.Active, OwnerActive: true}
	if change != nil {
		change(&r)
	}
	s.records[secret.Hash()] = r
	return secret.Reveal(), secret.Hash()
}

func TestOneAnswerToEveryKeyThatIsNotGood(t *testing.T) {
	s := newStore()
	r := apikey.NewResolver(s, s, s.now)
	with := func(change func(*apikey.Record)) string { key, _ := s.add(change); return key }
	want := apikey.ErrUnauthenticated().Error()
	for name, key := range map[string]string{
		"unknown":   apikey.NewSecret(apikey.Production).Reveal(),
		"no key":    "sk-1",
		"revoked":   with(func(r *apikey.Record) { r.Revoked = true }),
		"on hold":   with(func(r *apikey.Record) { r.Suspended = true }),
		"nobody's":  with(func(r *apikey.Record) { r.OwnerActive = false }),
		"archived":  with(func(r *apikey.Record) { r.ProjectArchived = true }),
		"replaced":  with(func(r *apikey.Record) { r.SecretUntil = noon() }),
		"tried":     with(func(r *apikey.Record) { r.OrgStatus, r.TrialEnds = tenant.Trial, noon() }),
		"expired":   with(func(r *apikey.Record) { r.ExpiresAt = noon() }),
		"suspended": with(func(r *apikey.Record) { r.OrgStatus = tenant.Suspended }),
		"closed":    with(func(r *apikey.Record) { r.OrgStatus = tenant.Closed }),
		"odd":       with(func(r *apikey.Record) { r.OrgStatus = "" }),
	} {
		if got, err := r.Resolve(t.Context(), key); err == nil || err.Error() != want || got.Record != nil {
			t.Errorf("%s: %v, %v; want the one answer", name, got, err)
		}
	}
	for name, key := range map[string]string{
		"active":               with(nil),
		"trial":                with(func(r *apikey.Record) { r.OrgStatus = tenant.Trial }),
		"expires in a moment":  with(func(r *apikey.Record) { r.ExpiresAt = noon().Add(1) }),
		"replaced in a moment": with(func(r *apikey.Record) { r.SecretUntil = noon().Add(1) }),
	} {
		if got, err := r.Resolve(t.Context(), key); err != nil || got.KeyID != "key_1" {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestAKeyWithAWrongChecksumCostsNoLookUp(t *testing.T) {
	s := newStore()
	key := apikey.NewSecret(apikey.Production).Reveal()
	if _, err := apikey.NewResolver(s, s, s.now).Resolve(t.Context(), key[:len(key)-1]+"!"); err == nil || s.reads != 0 {
		t.Errorf("%v after %d look-ups", err, s.reads)
	}
}

func TestARevokedKeyDiesWithItsOrganisationsVersion(t *testing.T) {
	s := newStore()
	r := apikey.NewResolver(s, s, s.now)
	key, h := s.add(nil)
	for range 3 {
		if _, err := r.Resolve(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if s.reads != 1 {
		t.Errorf("%d look-ups; want one", s.reads)
	}
	_ = s.Bump(t.Context(), "org_2")
	if _, err := r.Resolve(t.Context(), key); err != nil || s.reads != 1 {
		t.Errorf("the change of another organisation: %v, %d look-ups", err, s.reads)
	}
	revoked := s.records[h]
	revoked.Revoked = true
	s.records[h] = revoked
	_ = s.Bump(t.Context(), "org_1")
	if _, err := r.Resolve(t.Context(), key); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("right after its revocation: %v", err)
	}
}

func TestARevokedKeyDiesWithinASecondWithoutBeingTold(t *testing.T) {
	s := newStore()
	r := apikey.NewResolver(s, s, s.now)
	key, h := s.add(nil)
	if _, err := r.Resolve(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	delete(s.records, h)
	s.clock = s.clock.Add(time.Second)
	if _, err := r.Resolve(t.Context(), key); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a second later: %v", err)
	}
}

func TestAResolvedKeyCarriesTheVersionBeforeItsRead(t *testing.T) {
	s := newStore()
	s.latest = 7
	key, _ := s.add(nil)
	if got, err := apikey.NewResolver(s, s, s.now).Resolve(t.Context(), key); err != nil || got.Version != 7 {
		t.Errorf("version %d, %v; want 7", got.Version, err)
	}
}

// What is not known is not "no": a database that does not answer is 503.
func TestALookUpThatFailsIsUnavailableAndNotKept(t *testing.T) {
	s := newStore()
	r := apikey.NewResolver(s, s, s.now)
	key, _ := s.add(nil)
	s.err = errors.New("connection refused")
	if _, err := r.Resolve(t.Context(), key); !fault.Is(err, fault.Unavailable) {
		t.Errorf("%v; want unavailable", err)
	}
	s.err = nil
	if _, err := r.Resolve(t.Context(), key); err != nil {
		t.Errorf("once it answers: %v", err)
	}
}

func TestTheFounding(t *testing.T) {
	f, c := apikey.Found(noon())
	if len(f.Organizations) != 2 {
		t.Fatalf("%d organisations; want the platform's and the first", len(f.Organizations))
	}
	hashes := map[apikey.Hash]apikey.FoundedKey{}
	for _, o := range f.Organizations {
		for _, k := range o.Keys {
			hashes[k.Hash] = k
		}
		if len(o.Audit) != 1+len(o.Keys) {
			t.Errorf("%s: %d audit records for %d keys and itself", o.Name, len(o.Audit), len(o.Keys))
		}
	}
	api, admin, platform := hashes[c.APIKey.Hash()], hashes[c.AdminKey.Hash()], hashes[c.PlatformKey.Hash()]
	if api.OrgID != c.OrganizationID || admin.OrgID != c.OrganizationID || platform.OrgID == c.OrganizationID || api.ProjectID != c.ProjectID {
		t.Errorf("keys of %s, %s, %s; want the first organisation's, and the platform's own", api.OrgID, admin.OrgID, platform.OrgID)
	}
	if slices.Contains(api.Scopes, authz.KeysWrite) || slices.Contains(admin.Scopes, authz.Platform) || !slices.Contains(platform.Scopes, authz.Platform) || slices.Contains(platform.Scopes, authz.Inference) {
		t.Errorf("scopes %v, %v, %v", api.Scopes, admin.Scopes, platform.Scopes)
	}
}

// slowFinder answers for one key at once, and for others only when it is let.
type slowFinder struct {
	good    apikey.Hash
	let     chan struct{}
	waiting atomic.Int32
}

func (f *slowFinder) FindKey(_ context.Context, h apikey.Hash) (*apikey.Record, error) {
	if h == f.good {
		return &apikey.Record{KeyID: "key_1", OrgID: "org_1", OwnerActive: true, OrgStatus: tenant.Active}, nil
	}
	f.waiting.Add(1)
	<-f.let
	return nil, fault.New(fault.NotFound, "")
}

func TestInventedKeysLeaveTheDatabaseToThoseInUse(t *testing.T) {
	good := apikey.NewSecret(apikey.Production)
	finder := &slowFinder{good: good.Hash(), let: make(chan struct{})}
	var later atomic.Int64
	r := apikey.NewResolver(finder, standing{}, func() time.Time { return noon().Add(time.Duration(later.Load())) })
	if _, err := r.Resolve(t.Context(), good.Reveal()); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if _, err := r.Resolve(t.Context(), apikey.NewSecret(apikey.Production).Reveal()); !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("an invented key: %v", err)
			}
		})
	}
	for finder.waiting.Load() < 3 {
		runtime.Gosched()
	}
	later.Store(int64(2 * time.Second)) // what is known is dead, and looked up again
	if _, err := r.Resolve(t.Context(), good.Reveal()); err != nil {
		t.Errorf("a key in use waits behind invented ones: %v", err)
	}
	if n := finder.waiting.Load(); n != 3 {
		t.Errorf("%d invented keys are looked up at once", n)
	}
	close(finder.let)
	group.Wait()
}

// standing is a configuration that does not change.
type standing struct{}

func (standing) Latest() uint64        { return 0 }
func (standing) Version(string) uint64 { return 0 }
