package postgres_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/tenant"
)

func aKey(org, id string) apikey.Key {
	return apikey.Key{
		ID: id, OrgID: org, ProjectID: "proj_" + org[len("org_"):], Name: "name of " + id, Environment: apikey.Production, Fingerprint: "f",
		Scopes: []authz.Scope{authz.Inference, authz.KeysRead}, CreatedBy: "key_admin", CreatedAt: noon(),
		Kind: apikey.ServiceKey, OwnerID: "sa_" + org[len("org_"):] + "owner", SecretAt: noon(), RotateBy: noon().AddDate(0, 0, 90),
	}
}

func TestAKeyIsFoundByItsHash(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewKeys(f.open(postgres.RoleAccounts))
	gateway := postgres.NewKeys(f.open(postgres.RoleGateway))
	plain, own := aKey("org_1", "key_1"), aKey("org_1", "key_2")
	requests, none := int64(5), int64(0)
	own.Limits = apikey.OwnLimits{RequestsPerMinute: &requests, ConcurrentRequests: &none}
	own.Models, own.ExpiresAt = []string{"a", "b"}, noon().Add(time.Hour)
	for i, k := range []apikey.Key{plain, own} {
		put(t, store, k, apikey.Hash{byte(i)})
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	want := apikey.Record{
		KeyID: "key_1", OrgID: "org_1", ProjectID: "proj_1", Fingerprint: "f", Scopes: plain.Scopes,
		OwnerID: postgrestest.ServiceAccount(t, f.url, "org_1", authz.Owner), OwnerActive: true, Role: authz.Owner,
		GrantedModels: []string{}, OrgStatus: tenant.Active, Currency: "USD",
		TimeZone: berlin, PriceBook: "default", Key: tenant.Limits{RequestsPerMinute: 100, ConcurrentRequests: 10},
		Project: tenant.Limits{ConcurrentRequests: 7}, Org: tenant.Limits{TokensPerMinute: 5000},
	}
	zones := cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })
	got, err := gateway.FindKey(t.Context(), apikey.Hash{0})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&want, got, zones); d != "" {
		t.Errorf("record (-want +got):\n%s", d)
	}
	want.KeyID, want.Models, want.ExpiresAt, want.Key = "key_2", own.Models, own.ExpiresAt, tenant.Limits{RequestsPerMinute: 5}
	if got, err = gateway.FindKey(t.Context(), apikey.Hash{1}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&want, got, zones); d != "" {
		t.Errorf("record of a key with its own limits (-want +got):\n%s", d)
	}
	if _, err := gateway.FindKey(t.Context(), apikey.Hash{9}); !fault.Is(err, fault.NotFound) {
		t.Errorf("an unknown hash: %v; want NotFound", err)
	}
}

func TestALookUpThatCantBeDoneIsNotAnUnknownKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	gateway := postgres.NewKeys(f.open(postgres.RoleGateway))
	postgrestest.Refuse(t, f.url)
	if _, err := gateway.FindKey(t.Context(), apikey.Hash{1}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("without a database: %v; want Unavailable", err)
	}
}

// put adds a key as the service does.
func put(t *testing.T, store *postgres.Keys, k apikey.Key, h apikey.Hash) {
	t.Helper()
	err := store.AddKey(t.Context(), k.OrgID, apikey.Place{OwnerID: k.OwnerID, ProjectID: k.ProjectID, At: noon()}, func(apikey.Grounds) (apikey.Draft, error) {
		return apikey.Draft{Key: k, Hash: h, Record: record(t.Context(), k.OrgID, "key.create")}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// change changes a key as the service does.
func change(t *testing.T, store *postgres.Keys, org, id string, f func(*apikey.Key) *apikey.Replacement) error {
	t.Helper()
	return store.ChangeKey(t.Context(), org, id, func(k apikey.Key, _ apikey.Grounds) (apikey.Change, error) {
		rec := record(t.Context(), org, "key.update")
		c := apikey.Change{Record: &rec}
		c.Secret = f(&k)
		c.Key = k
		return c, nil
	})
}

func TestKeysBelongToTheirOrganisation(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewKeys(f.open(postgres.RoleAccounts))
	ctx := t.Context()
	for i, k := range []apikey.Key{aKey("org_1", "key_1"), aKey("org_1", "key_2"), aKey("org_2", "key_3")} {
		put(t, store, k, apikey.Hash{byte(i)})
	}
	stranger := aKey("org_1", "key_4")
	stranger.ProjectID = "proj_2"
	err := store.AddKey(ctx, "org_1", apikey.Place{OwnerID: stranger.OwnerID, ProjectID: "proj_2", At: noon()}, func(g apikey.Grounds) (apikey.Draft, error) {
		if g.Project.Known {
			t.Error("a foreign project is known")
		}
		return apikey.Draft{Key: stranger, Hash: apikey.Hash{4}, Record: record(ctx, "org_1", "key.create")}, nil
	})
	if !fault.Is(err, fault.NotFound) {
		t.Errorf("a key in a foreign project: %v; want NotFound", err)
	}
	if err := change(t, store, "org_2", "key_1", func(*apikey.Key) *apikey.Replacement { t.Error("it is shown"); return nil }); !fault.Is(err, fault.NotFound) {
		t.Errorf("changing a foreign key: %v; want NotFound", err)
	}
	if _, err := store.GetKey(ctx, "org_2", "key_1"); !fault.Is(err, fault.NotFound) {
		t.Errorf("reading a foreign key: %v; want NotFound", err)
	}
	all := apikey.Listing{Page: apikey.Page{Limit: 10}, Reach: authz.Reach{All: true}, Now: noon()}
	keys, err := store.ListKeys(ctx, "org_1", all)
	if err != nil {
		t.Fatal(err)
	}
	prefixes := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if d := cmp.Diff([]apikey.Key{aKey("org_1", "key_1"), aKey("org_1", "key_2")}, keys, prefixes); d != "" {
		t.Errorf("keys (-want +got):\n%s", d)
	}
	all.Page = apikey.Page{After: "key_1", Limit: 1}
	if page, err := store.ListKeys(ctx, "org_1", all); err != nil || len(page) != 1 || page[0].ID != "key_2" {
		t.Errorf("the page after key_1: %v, %v", page, err)
	}
	if got := f.scalar(`SELECT string_agg(org_id || ' ' || action, ', ' ORDER BY org_id, action) FROM accounts.audit_records`); got != "org_1 key.create, org_1 key.create, org_2 key.create" {
		t.Errorf("audited %q; want one record a change, none for what did not happen", got)
	}
}

func TestAKeyIsKeptAsItIsChanged(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewKeys(f.open(postgres.RoleAccounts))
	put(t, store, aKey("org_1", "key_1"), apikey.Hash{1})
	want := aKey("org_1", "key_1")
	limit := int64(7)
	want.Name, want.Scopes, want.Models = "other", []authz.Scope{authz.KeysWrite}, []string{"a"}
	want.IPs = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::1/128")}
	want.Limits = apikey.OwnLimits{TokensPerMinute: &limit}
	want.ExpiresAt, want.SuspendedAt, want.RevokedAt, want.RevokedReason = noon().Add(1e9), noon().Add(2e9), noon().Add(3e9), "why"
	asked := want
	asked.OwnerID, asked.ProjectID, asked.Environment, asked.CreatedBy = "user_x", "proj_2", apikey.Development, "x" // not to be changed
	if err := change(t, store, "org_1", "key_1", func(k *apikey.Key) *apikey.Replacement { *k = asked; return nil }); err != nil {
		t.Fatal(err)
	}
	got, err := store.GetKey(t.Context(), "org_1", "key_1")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Errorf("key (-want +got):\n%s", d)
	}
	r, err := store.FindKey(t.Context(), apikey.Hash{1})
	if err != nil || !r.Revoked || !r.Suspended || !slices.Equal(r.IPs, want.IPs) || r.ExpiresAt != want.ExpiresAt {
		t.Errorf("as the data plane finds it: %+v, %v", r, err)
	}
}

// While a secret is being replaced both find the key, and each knows how long.
func TestARotationKeepsOneSecretBefore(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewKeys(f.open(postgres.RoleAccounts))
	put(t, store, aKey("org_1", "key_1"), apikey.Hash{1})
	rotate := func(to byte, until time.Time) {
		t.Helper()
		err := change(t, store, "org_1", "key_1", func(k *apikey.Key) *apikey.Replacement {
			k.Fingerprint, k.SecretAt, k.RotateBy = fmt.Sprint("f", to), noon().Add(time.Duration(to)*time.Hour), noon().AddDate(0, 0, int(to))
			return &apikey.Replacement{Hash: apikey.Hash{to}, Until: until}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	found := func(of byte) string {
		r, err := store.FindKey(t.Context(), apikey.Hash{of})
		if fault.Is(err, fault.NotFound) {
			return "not there"
		}
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(r.KeyID, " ", r.Fingerprint, " ", r.SecretUntil.Sub(noon()).Hours())
	}
	forever := fmt.Sprint(time.Time{}.Sub(noon()).Hours())
	rotate(2, noon().Add(3*time.Hour))
	if a, b := found(1), found(2); a != "key_1 f 3" || b != "key_1 f2 "+forever {
		t.Errorf("once: %q and %q", a, b)
	}
	if k, err := store.GetKey(t.Context(), "org_1", "key_1"); err != nil || k.Overlap != noon().Add(3*time.Hour) || k.Fingerprint != "f2" || k.SecretAt != noon().Add(2*time.Hour) || k.RotateBy != noon().AddDate(0, 0, 2) {
		t.Errorf("key %+v, %v", k, err)
	}
	rotate(3, noon().Add(4*time.Hour))
	if a, b, c := found(1), found(2), found(3); a != "not there" || b != "key_1 f2 4" || c != "key_1 f3 "+forever {
		t.Errorf("twice: %q, %q and %q", a, b, c)
	}
	rotate(4, time.Time{})
	if a, b, c := found(2), found(3), found(4); a != "not there" || b != "not there" || c != "key_1 f4 "+forever {
		t.Errorf("without an overlap: %q, %q and %q", a, b, c)
	}
}

func TestGroundsOfAKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`
		UPDATE accounts.organizations SET settings = '{"key_max_days": 30}', plan = 'starter' WHERE org_id = 'org_1';
		UPDATE accounts.organizations SET kind = 'platform' WHERE org_id = 'org_2';
		UPDATE accounts.projects SET models = '{a,b}', archived_at = now() WHERE project_id = 'proj_1';
		INSERT INTO accounts.users (user_id, email, name, created_at) VALUES ('user_1', 'one@example.com', '', now());
		INSERT INTO accounts.members (org_id, user_id, role, status, created_at) VALUES ('org_1', 'user_1', 'role_1', 'suspended', now());
		INSERT INTO accounts.roles (org_id, role_id, name, permissions, reach, created_by, created_at, updated_at) VALUES ('org_1', 'role_1', 'r', '{keys.read}', 'projects', 'x', now(), now());
		INSERT INTO accounts.project_members (org_id, project_id, member_id, role, added_by, created_at) VALUES ('org_1', 'proj_1', 'user_1', 'viewer', 'x', now());
		INSERT INTO accounts.service_accounts (org_id, account_id, name, role, status, created_by, created_at, updated_at)
		VALUES ('org_2', 'sa_1', 'p', 'architect', 'active', 'x', now(), now()), ('org_2', 'sa_2', 'q', 'architect', 'deleted', 'x', now(), now())`)
	store := postgres.NewKeys(f.open(postgres.RoleAccounts))
	for id, change := range map[string]func(*apikey.Key){
		"key_1": func(*apikey.Key) {}, "key_2": func(k *apikey.Key) { k.ExpiresAt = noon() }, "key_3": func(k *apikey.Key) { k.ExpiresAt = noon().Add(1e6) },
		"key_4": func(k *apikey.Key) { k.OrgID, k.ProjectID = "org_2", "proj_2" },
	} {
		k := aKey("org_1", id)
		change(&k)
		put(t, store, k, apikey.Hash{id[4]})
	}
	f.exec(`INSERT INTO accounts.api_keys (org_id, key_id, project_id, name, environment, hash, fingerprint, scopes, created_by, created_at, revoked_at, owner_id, secret_by, secret_at)
		VALUES ('org_1', 'key_9', 'proj_1', 'n', 'production', sha256('x'), '', '{}', 'x', now(), now(), 'user_1', '{user_1}', now())`)
	for _, c := range []struct {
		org, owner, project string
		want                apikey.Grounds
	}{
		{"org_1", "user_1", "proj_1", apikey.Grounds{
			Owner: apikey.Owner{
				ID: "user_1", Known: true, Role: authz.Custom, Custom: authz.CustomRole{Permissions: []authz.Action{authz.DoKeysRead}, Reach: authz.Projects},
				Projects: map[string]authz.ProjectRole{"proj_1": authz.ProjectViewer},
			},
			Project: apikey.Project{ID: "proj_1", Known: true, Archived: true, Models: []string{"a", "b"}}, MaxDays: 30, MaxKeys: 100, Keys: 2,
		}},
		{"org_2", "sa_1", "proj_2", apikey.Grounds{
			Owner: apikey.Owner{ID: "sa_1", Known: true, Active: true, Role: authz.Architect}, Project: apikey.Project{ID: "proj_2", Known: true},
			OfPlatform: true, MaxKeys: 100, Keys: 1,
		}},
		{"org_2", "sa_2", "proj_2", apikey.Grounds{Owner: apikey.Owner{ID: "sa_2"}, Project: apikey.Project{ID: "proj_2", Known: true}, OfPlatform: true, MaxKeys: 100, Keys: 1}},
		{"org_2", "user_1", "proj_1", apikey.Grounds{Owner: apikey.Owner{ID: "user_1"}, Project: apikey.Project{ID: "proj_1"}, OfPlatform: true, MaxKeys: 100, Keys: 1}},
	} {
		stop := fault.New(fault.Conflict, "enough")
		err := store.AddKey(t.Context(), c.org, apikey.Place{OwnerID: c.owner, ProjectID: c.project, At: noon()}, func(g apikey.Grounds) (apikey.Draft, error) {
			if d := cmp.Diff(c.want, g); d != "" {
				t.Errorf("%s, %s (-want +got):\n%s", c.org, c.owner, d)
			}
			return apikey.Draft{}, stop
		})
		if !errors.Is(err, stop) {
			t.Errorf("%s, %s: %v", c.org, c.owner, err)
		}
	}
	err := store.ChangeKey(t.Context(), "org_1", "key_9", func(_ apikey.Key, g apikey.Grounds) (apikey.Change, error) {
		if g.Owner.ID != "user_1" || g.Owner.Role != authz.Custom || g.MaxDays != 30 || !g.Project.Archived {
			t.Errorf("of a change: %+v", g)
		}
		return apikey.Change{}, nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestKeysAreListedByReachAndFilter(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`INSERT INTO accounts.projects (org_id, project_id, name, created_at) VALUES ('org_1', 'proj_b', 'b', now())`)
	store := postgres.NewKeys(f.open(postgres.RoleAccounts))
	for id, change := range map[string]func(*apikey.Key){
		"key_1": func(*apikey.Key) {},
		"key_2": func(k *apikey.Key) { k.ProjectID, k.Environment = "proj_b", apikey.Development },
		"key_3": func(k *apikey.Key) { k.OwnerID, k.ProjectID = "user_1", "proj_b" },
		"key_4": func(k *apikey.Key) { k.ExpiresAt, k.RotateBy = noon(), noon() },
		"key_5": func(k *apikey.Key) { k.RotateBy = noon() },
		"key_6": func(k *apikey.Key) { k.RotateBy = noon().Add(1e6) },
		"key_7": func(*apikey.Key) {},
	} {
		k := aKey("org_1", id)
		change(&k)
		put(t, store, k, apikey.Hash{id[4]})
	}
	for id, f := range map[string]func(*apikey.Key) *apikey.Replacement{
		"key_6": func(k *apikey.Key) *apikey.Replacement { k.SuspendedAt = noon(); return nil },
		"key_7": func(k *apikey.Key) *apikey.Replacement { k.RevokedAt = noon(); return nil },
		"key_1": func(*apikey.Key) *apikey.Replacement {
			return &apikey.Replacement{Hash: apikey.Hash{1}, Until: noon().Add(1e6)}
		},
	} {
		if err := change(t, store, "org_1", id, f); err != nil {
			t.Fatal(err)
		}
	}
	all := authz.Reach{All: true}
	for name, c := range map[string]struct {
		filter apikey.Filter
		reach  authz.Reach
		want   string
	}{
		"all":                    {apikey.Filter{}, all, "1234567"},
		"nothing in reach":       {apikey.Filter{}, authz.Reach{}, ""},
		"a project":              {apikey.Filter{}, authz.Reach{Projects: []string{"proj_b"}}, "23"},
		"a project and own":      {apikey.Filter{}, authz.Reach{Projects: []string{"proj_1"}, OwnerID: "user_1"}, "134567"},
		"own":                    {apikey.Filter{}, authz.Reach{OwnerID: "user_1"}, "3"},
		"own, others asked":      {apikey.Filter{OwnerID: "sa_1owner"}, authz.Reach{OwnerID: "user_1"}, ""},
		"active":                 {apikey.Filter{State: apikey.Active}, all, "235"},
		"rotating":               {apikey.Filter{State: apikey.Rotating}, all, "1"},
		"suspended":              {apikey.Filter{State: apikey.Suspended}, all, "6"},
		"expired":                {apikey.Filter{State: apikey.Expired}, all, "4"},
		"revoked":                {apikey.Filter{State: apikey.Revoked}, all, "7"},
		"of an owner":            {apikey.Filter{OwnerID: "user_1"}, all, "3"},
		"of a project":           {apikey.Filter{ProjectID: "proj_b"}, all, "23"},
		"for development":        {apikey.Filter{Environment: apikey.Development}, all, "2"},
		"due":                    {apikey.Filter{RotationDue: apikey.OnlyOverdue}, all, "5"},
		"of nobody that we know": {apikey.Filter{OwnerID: "user_1' OR true --"}, all, ""},
	} {
		keys, err := store.ListKeys(t.Context(), "org_1", apikey.Listing{Filter: c.filter, Page: apikey.Page{Limit: 10}, Reach: c.reach, Now: noon()})
		got := ""
		for _, k := range keys {
			got += k.ID[4:]
			if c.filter.State != "" && k.State(noon()) != c.filter.State {
				t.Errorf("%s: %s is %s", name, k.ID, k.State(noon()))
			}
		}
		if err != nil || got != c.want {
			t.Errorf("%s: keys %q, %v; want %q", name, got, err, c.want)
		}
	}
}

// What a plan allows holds for those who ask at once, too.
func TestNoMoreKeysThanAllowedAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`INSERT INTO accounts.plans (plan_id, name, max_keys) VALUES ('small', 'Small', 3); UPDATE accounts.organizations SET plan = 'small' WHERE org_id = 'org_1'`)
	store := postgres.NewKeys(f.open(postgres.RoleAccounts))
	full := fault.New(fault.Conflict, "full")
	var made, refused atomic.Int32
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			k := aKey("org_1", fmt.Sprintf("key_%02d", i))
			err := store.AddKey(t.Context(), "org_1", apikey.Place{OwnerID: k.OwnerID, ProjectID: k.ProjectID, At: noon()}, func(g apikey.Grounds) (apikey.Draft, error) {
				if g.Keys >= g.MaxKeys {
					return apikey.Draft{}, full
				}
				return apikey.Draft{Key: k, Hash: apikey.Hash{byte(i + 1)}, Record: record(t.Context(), "org_1", "key.create")}, nil
			})
			switch {
			case err == nil:
				made.Add(1)
			case errors.Is(err, full):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 3 || refused.Load() != 9 || f.scalar(`SELECT count(*)::text FROM accounts.api_keys`) != "3" {
		t.Errorf("%d made, %d refused; want 3 and 9", made.Load(), refused.Load())
	}
}

func TestAChangeWithoutItsAuditRecordDoesNotHappen(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewKeys(f.open(postgres.RoleAccounts))
	rec := record(t.Context(), "org_2", "key.create") // of another organisation: refused by the policy
	err := store.AddKey(t.Context(), "org_1", apikey.Place{OwnerID: "sa_1", ProjectID: "proj_1", At: noon()}, func(apikey.Grounds) (apikey.Draft, error) {
		return apikey.Draft{Key: aKey("org_1", "key_1"), Hash: apikey.Hash{1}, Record: rec}, nil
	})
	if err == nil {
		t.Error("the record of another organisation was taken")
	}
	if got := f.scalar(`SELECT count(*)::text FROM accounts.api_keys`); got != "0" {
		t.Errorf("%s keys; want none", got)
	}
	put(t, store, aKey("org_1", "key_1"), apikey.Hash{1})
	err = store.ChangeKey(t.Context(), "org_1", "key_1", func(k apikey.Key, _ apikey.Grounds) (apikey.Change, error) {
		k.RevokedAt = noon()
		return apikey.Change{Key: k, Record: &rec}, nil
	})
	if r, found := store.FindKey(t.Context(), apikey.Hash{1}); err == nil || found != nil || r.Revoked {
		t.Errorf("changed with it: %v, %v", err, found)
	}
}

func TestTheLastUseOfAKeyIsTheLatest(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewKeys(f.open(postgres.RoleAccounts))
	gateway := postgres.NewKeys(f.open(postgres.RoleGateway))
	put(t, store, aKey("org_1", "key_1"), apikey.Hash{1})
	put(t, store, aKey("org_2", "key_2"), apikey.Hash{2})
	note := func(uses ...apikey.Use) {
		t.Helper()
		if err := gateway.NoteUses(t.Context(), uses); err != nil {
			t.Fatal(err)
		}
	}
	note(apikey.Use{OrgID: "org_1", KeyID: "key_1", At: noon(), Address: "10.0.0.1"},
		apikey.Use{OrgID: "org_1", KeyID: "key_1", At: noon().Add(time.Minute), Address: "10.0.0.2"},
		apikey.Use{OrgID: "org_1", KeyID: "key_1", At: noon().Add(time.Second), Address: "10.0.0.3"},
		apikey.Use{OrgID: "org_1", KeyID: "key_2", At: noon(), Address: "10.0.0.4"}, // another's
		apikey.Use{OrgID: "org_1", KeyID: "key_none", At: noon(), Address: "10.0.0.5"})
	note(apikey.Use{OrgID: "org_1", KeyID: "key_1", At: noon().Add(30 * time.Second), Address: "10.0.0.6"}) // of a process that was late
	k, err := store.GetKey(t.Context(), "org_1", "key_1")
	if err != nil || k.LastUsedAt != noon().Add(time.Minute) || k.LastUsedFrom != "10.0.0.2" {
		t.Errorf("last used %s from %s, %v", k.LastUsedAt, k.LastUsedFrom, err)
	}
	if k, err := store.GetKey(t.Context(), "org_2", "key_2"); err != nil || !k.LastUsedAt.IsZero() {
		t.Errorf("another organisation's: %s, %v", k.LastUsedAt, err)
	}
	note()
}

func TestWhatBudgetsAskOfAnOrganisation(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewKeys(f.open(postgres.RoleAccounts))
	ctx := t.Context()
	for i, org := range []string{"org_1", "org_2"} {
		put(t, store, aKey(org, fmt.Sprintf("key_%d", i+1)), apikey.Hash{byte(i)})
	}
	currency, zone, err := store.OrgZone(ctx, "org_1")
	if err != nil || currency != "USD" || zone.String() != "Europe/Berlin" {
		t.Errorf("org_1: %s, %v, %v", currency, zone, err)
	}
	if _, _, err := store.OrgZone(ctx, "org_3"); !fault.Is(err, fault.NotFound) {
		t.Errorf("an unknown organisation: %v; want NotFound", err)
	}
	for _, c := range []struct {
		scope budget.Scope
		there bool
	}{
		{budget.Scope{}, true}, {budget.Scope{Model: "any"}, true},
		{budget.Scope{ProjectID: "proj_1"}, true}, {budget.Scope{ProjectID: "proj_2"}, false}, {budget.Scope{ProjectID: "proj_9"}, false},
		{budget.Scope{APIKeyID: "key_1"}, true}, {budget.Scope{APIKeyID: "key_2"}, false},
	} {
		err := store.CheckScope(ctx, "org_1", c.scope)
		if there := err == nil; there != c.there || err != nil && !fault.Is(err, fault.NotFound) {
			t.Errorf("%+v: %v; want there is %v", c.scope, err, c.there)
		}
	}
}
