package postgres_test

import (
	"fmt"
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
		if err := store.CreateKey(t.Context(), k, apikey.Hash{byte(i)}, record(t.Context(), "org_1", "key.create")); err != nil {
			t.Fatal(err)
		}
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

func TestKeysBelongToTheirOrganisation(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewKeys(f.open(postgres.RoleAccounts))
	ctx := t.Context()
	for i, k := range []apikey.Key{aKey("org_1", "key_1"), aKey("org_1", "key_2"), aKey("org_2", "key_3")} {
		if err := store.CreateKey(ctx, k, apikey.Hash{byte(i)}, record(ctx, k.OrgID, "key.create")); err != nil {
			t.Fatal(err)
		}
	}
	stranger := aKey("org_1", "key_4")
	stranger.ProjectID = "proj_2"
	if err := store.CreateKey(ctx, stranger, apikey.Hash{4}, record(ctx, "org_1", "key.create")); !fault.Is(err, fault.NotFound) {
		t.Errorf("a key in a foreign project: %v; want NotFound", err)
	}
	if err := store.RevokeKey(ctx, "org_2", "key_1", noon(), record(ctx, "org_2", "key.revoke")); !fault.Is(err, fault.NotFound) {
		t.Errorf("revoking a foreign key: %v; want NotFound", err)
	}
	for range 2 {
		if err := store.RevokeKey(ctx, "org_1", "key_1", noon(), record(ctx, "org_1", "key.revoke")); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := store.ListKeys(ctx, "org_1", apikey.Page{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	revoked := aKey("org_1", "key_1")
	revoked.RevokedAt = noon()
	if d := cmp.Diff([]apikey.Key{revoked, aKey("org_1", "key_2")}, keys); d != "" {
		t.Errorf("keys (-want +got):\n%s", d)
	}
	if page, err := store.ListKeys(ctx, "org_1", apikey.Page{After: "key_1", Limit: 1}); err != nil || len(page) != 1 || page[0].ID != "key_2" {
		t.Errorf("the page after key_1: %v, %v", page, err)
	}
	if got := f.scalar(`SELECT string_agg(org_id || ' ' || action, ', ' ORDER BY org_id, action) FROM accounts.audit_records`); got != "org_1 key.create, org_1 key.create, org_1 key.revoke, org_2 key.create" {
		t.Errorf("audited %q; want one record a change, none for what did not happen", got)
	}
	if r, err := store.FindKey(ctx, apikey.Hash{0}); err != nil || r.Usable(noon()) {
		t.Errorf("the revoked key is usable: %v, %v", r, err)
	}
}

func TestAChangeWithoutItsAuditRecordDoesNotHappen(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewKeys(f.open(postgres.RoleAccounts))
	rec := record(t.Context(), "org_2", "key.create") // of another organisation: refused by the policy
	if err := store.CreateKey(t.Context(), aKey("org_1", "key_1"), apikey.Hash{1}, rec); err == nil {
		t.Error("the record of another organisation was taken")
	}
	if got := f.scalar(`SELECT count(*)::text FROM accounts.api_keys`); got != "0" {
		t.Errorf("%s keys; want none", got)
	}
}

func TestWhatBudgetsAskOfAnOrganisation(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewKeys(f.open(postgres.RoleAccounts))
	ctx := t.Context()
	for i, org := range []string{"org_1", "org_2"} {
		if err := store.CreateKey(ctx, aKey(org, fmt.Sprintf("key_%d", i+1)), apikey.Hash{byte(i)}, record(ctx, org, "key.create")); err != nil {
			t.Fatal(err)
		}
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
