package apikey_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/audit"
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

// store is keys in memory: what a resolver reads and a service writes.
type store struct {
	records  map[apikey.Hash]apikey.Record
	reads    int
	err      error
	latest   uint64
	versions map[string]uint64
	clock    time.Time
	created  []apikey.Key
	audit    []audit.Record
	revoked  []string
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

func (s *store) CreateKey(_ context.Context, k apikey.Key, h apikey.Hash, rec audit.Record) error {
	if s.err != nil {
		return s.err
	}
	s.created, s.audit = append(s.created, k), append(s.audit, rec)
	s.records[h] = apikey.Record{KeyID: k.ID, OrgID: k.OrgID}
	return nil
}

func (s *store) ListKeys(_ context.Context, org string, p apikey.Page) ([]apikey.Key, error) {
	return []apikey.Key{{OrgID: org, Name: p.After}}, nil
}

func (s *store) RevokeKey(_ context.Context, org, keyID string, _ time.Time, rec audit.Record) error {
	if s.err != nil {
		return s.err
	}
	s.revoked, s.audit = append(s.revoked, org+"/"+keyID), append(s.audit, rec)
	return nil
}

func (s *store) add(change func(*apikey.Record)) (key string, h apikey.Hash) {
	secret := apikey.NewSecret(apikey.Production)
	r := apikey.Record{KeyID: "key_1", OrgID: "org_1", OrgStatus: tenant.Active}
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
		"active": with(nil),
		"trial":  with(func(r *apikey.Record) { r.OrgStatus = tenant.Trial }),
		"expires in a moment": with(func(r *apikey.Record) {
			r.ExpiresAt = noon().Add(1)
		}),
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

func creator(scopes ...authz.Scope) authz.Principal {
	return authz.Principal{OrgID: "org_1", ProjectID: "proj_1", KeyID: "key_admin", Scopes: scopes}
}

func one() *int64  { n := int64(1); return &n }
func zero() *int64 { return new(int64) }

func TestKeysThatMayBeMade(t *testing.T) {
	all := creator(append(authz.Scopes(), authz.Platform)...)
	narrow := creator(authz.KeysWrite, authz.Inference)
	tied := all
	tied.Models = []string{"a", "b"}
	for _, c := range []struct {
		name  string
		by    authz.Principal
		n     apikey.NewKey
		code  fault.Code // "" where it is made
		param string
	}{
		{"all scopes of one who has them", all, apikey.NewKey{Name: "n", Scopes: authz.Scopes()}, "", ""},
		{"a scope that its maker has", narrow, apikey.NewKey{Name: "n", Scopes: []authz.Scope{authz.Inference}}, "", ""},
		{"limits of its own", all, apikey.NewKey{Name: "n", Scopes: []authz.Scope{authz.Inference}, Limits: apikey.OwnLimits{RequestsPerMinute: one()}}, "", ""},
		{"for development", all, apikey.NewKey{Name: "n", Environment: apikey.Development, Scopes: []authz.Scope{authz.Inference}}, "", ""},
		{"fewer models than its maker", tied, apikey.NewKey{Name: "n", Scopes: []authz.Scope{authz.Inference}, Models: []string{"b"}}, "", ""},
		{"no model at all", tied, apikey.NewKey{Name: "n", Scopes: []authz.Scope{authz.Inference}, Models: []string{}}, "", ""},
		{"by nobody", authz.Principal{}, apikey.NewKey{Name: "n", Scopes: []authz.Scope{authz.Inference}}, fault.Unauthenticated, ""},
		{"by one who may not", creator(authz.Inference), apikey.NewKey{Name: "n", Scopes: []authz.Scope{authz.Inference}}, fault.Forbidden, ""},
		{"more than its maker has", narrow, apikey.NewKey{Name: "n", Scopes: []authz.Scope{authz.Inference, authz.UsageRead}}, fault.Forbidden, "scopes"},
		{"the platform's scope", all, apikey.NewKey{Name: "n", Scopes: []authz.Scope{authz.Platform}}, fault.Unprocessable, "scopes"},
		{"a scope that there is not", all, apikey.NewKey{Name: "n", Scopes: []authz.Scope{"everything"}}, fault.Unprocessable, "scopes"},
		{"no scope", all, apikey.NewKey{Name: "n"}, fault.Unprocessable, "scopes"},
		{"more models than its maker", tied, apikey.NewKey{Name: "n", Scopes: []authz.Scope{authz.Inference}, Models: []string{"a", "c"}}, fault.Forbidden, "models"},
		{"a model without name", all, apikey.NewKey{Name: "n", Scopes: []authz.Scope{authz.Inference}, Models: []string{""}}, fault.Unprocessable, "models"},
		{"models without end", all, apikey.NewKey{Name: "n", Scopes: []authz.Scope{authz.Inference}, Models: slices.Repeat([]string{"a"}, 201)}, fault.Unprocessable, "models"},
		{"no name", all, apikey.NewKey{Scopes: []authz.Scope{authz.Inference}}, fault.Unprocessable, "name"},
		{"a long name", all, apikey.NewKey{Name: strings.Repeat("n", 201), Scopes: []authz.Scope{authz.Inference}}, fault.Unprocessable, "name"},
		{"a name with a line break", all, apikey.NewKey{Name: "a\nb", Scopes: []authz.Scope{authz.Inference}}, fault.Unprocessable, "name"},
		{"an environment that there is not", all, apikey.NewKey{Name: "n", Environment: "staging", Scopes: []authz.Scope{authz.Inference}}, fault.Unprocessable, "environment"},
		{"expired", all, apikey.NewKey{Name: "n", Scopes: []authz.Scope{authz.Inference}, ExpiresAt: noon()}, fault.Unprocessable, "expires_at"},
		{"a limit of nothing", all, apikey.NewKey{Name: "n", Scopes: []authz.Scope{authz.Inference}, Limits: apikey.OwnLimits{ConcurrentRequests: zero()}}, fault.Unprocessable, "limits"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore()
			k, secret, err := (&apikey.Service{Store: s, Bump: s, Now: s.now}).Create(t.Context(), c.by, c.n)
			if c.code != "" {
				f := fault.From(err)
				if err == nil || f.Code != c.code || f.Param != c.param || len(s.created) != 0 || secret != (apikey.Secret{}) {
					t.Errorf("%v at %q, %d made; want %s at %q", err, f.Param, len(s.created), c.code, c.param)
				}
				return
			}
			if err != nil || len(s.created) != 1 || len(s.audit) != 1 {
				t.Fatalf("%v, %d made, %d audited", err, len(s.created), len(s.audit))
			}
			if k.OrgID != "org_1" || k.ProjectID != "proj_1" || k.CreatedBy != "key_admin" || k.Fingerprint != secret.Fingerprint() || k.State(noon()) != "active" {
				t.Errorf("key %+v", k)
			}
			if _, known := s.records[secret.Hash()]; !known {
				t.Error("its hash is not stored")
			}
			if rec := s.audit[0]; rec.Action != "key.create" || rec.Target != k.ID || strings.Contains(fmt.Sprint(rec.Detail), secret.Reveal()) {
				t.Errorf("audit %+v", rec)
			}
		})
	}
}

// A key that names no models gets its maker's, not all.
func TestAKeyInheritsTheModelsOfItsMaker(t *testing.T) {
	s := newStore()
	by := creator(authz.KeysWrite, authz.Inference)
	by.Models = []string{"a"}
	k, _, err := (&apikey.Service{Store: s, Bump: s, Now: s.now}).Create(t.Context(), by, apikey.NewKey{Name: "n", Scopes: []authz.Scope{authz.Inference}})
	if err != nil || !slices.Equal(k.Models, []string{"a"}) {
		t.Errorf("models %v, %v; want its maker's", k.Models, err)
	}
}

func TestRevoking(t *testing.T) {
	s := newStore()
	service := &apikey.Service{Store: s, Bump: s, Now: s.now}
	if err := service.Revoke(t.Context(), creator(authz.KeysRead), "key_2"); !fault.Is(err, fault.Forbidden) || len(s.revoked) != 0 {
		t.Errorf("by one who may not: %v", err)
	}
	if err := service.Revoke(t.Context(), creator(authz.KeysWrite), "key_2"); err != nil || s.revoked[0] != "org_1/key_2" || s.versions["org_1"] == 0 || s.audit[0].Action != "key.revoke" {
		t.Errorf("%v, revoked %v, version %d", err, s.revoked, s.versions["org_1"])
	}
	before := s.latest
	s.err = fault.New(fault.NotFound, "")
	if err := service.Revoke(t.Context(), creator(authz.KeysWrite), "key_3"); !fault.Is(err, fault.NotFound) || s.latest != before {
		t.Errorf("a key that there is not: %v", err)
	}
}

func TestListing(t *testing.T) {
	s := newStore()
	service := &apikey.Service{Store: s, Bump: s, Now: s.now}
	if _, err := service.List(t.Context(), creator(authz.Inference), apikey.Page{}); !fault.Is(err, fault.Forbidden) {
		t.Errorf("by one who may not: %v", err)
	}
	if got, err := service.List(t.Context(), creator(authz.KeysRead), apikey.Page{After: "x"}); err != nil || got[0].OrgID != "org_1" || got[0].Name != "x" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestStates(t *testing.T) {
	for _, c := range []struct {
		key  apikey.Key
		want string
	}{
		{apikey.Key{}, "active"},
		{apikey.Key{ExpiresAt: noon().Add(1)}, "active"},
		{apikey.Key{ExpiresAt: noon()}, "expired"},
		{apikey.Key{RevokedAt: noon().Add(-1), ExpiresAt: noon().Add(-1)}, "revoked"},
	} {
		if got := c.key.State(noon()); got != c.want {
			t.Errorf("%+v is %s; want %s", c.key, got, c.want)
		}
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
	if slices.Contains(api.Scopes, authz.KeysWrite) || slices.Contains(admin.Scopes, authz.Platform) || !slices.Equal(platform.Scopes, []authz.Scope{authz.Platform}) {
		t.Errorf("scopes %v, %v, %v", api.Scopes, admin.Scopes, platform.Scopes)
	}
}
