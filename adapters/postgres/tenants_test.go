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
	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/organization"
	"github.com/aiaas/aiaas/shared/tenant"
)

// TestAnOrganizationIsKeptAsItIs changes all that can be, and reads it again.
func TestAnOrganizationIsKeptAsItIs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewTenants(f.open(postgres.RoleTenants))
	ten, none := int64(10), int64(0)
	rec := record(t.Context(), "org_1", "organization.change")
	var want organization.Organization
	got, err := store.ChangeOrganization(t.Context(), "org_1", func(o organization.Organization) (organization.Organization, *audit.Record, error) {
		o.Name, o.Slug, o.Status, o.StatusReason, o.StatusAt = "New", "new", tenant.Suspended, "why", noon()
		o.TrialEnds, o.UpdatedAt, o.Plan, o.Zone = noon().Add(time.Hour), noon(), "business", "Asia/Tokyo"
		o.Currency, o.PriceBook, o.LegalHold = "EUR", "euro", true
		o.Contacts = tenant.Contacts{Billing: "b@example.com", Security: "s@example.com", Technical: "t@example.com"}
		o.Settings = tenant.Settings{
			IPAllowList: toPrefixes(t, "192.0.2.0/24", "2001:db8::/32"), MFARoles: []authz.Role{authz.Manager}, KeyMaxDays: 30, AlertMembers: true,
			AccessHours: &tenant.AccessHours{Days: []int{1, 2}, From: "08:00", To: "24:00"},
		}
		o.Overrides = tenant.Overrides{Org: tenant.Override{RequestsPerMinute: &none}, Key: tenant.Override{ConcurrentRequests: &ten}}
		o.Entitlement = organization.Entitlement{Allowed: []string{}, Granted: []string{"a"}}
		want = o
		return o, &rec, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want.Defaults = tenant.Bounds{ // of the other plan
		Org: tenant.Limits{RequestsPerMinute: 10000, ConcurrentRequests: 500}, Key: tenant.Limits{RequestsPerMinute: 1000, ConcurrentRequests: 100},
	}
	prefixes := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if d := cmp.Diff(want, got, prefixes); d != "" {
		t.Errorf("after the change (-want +got):\n%s", d)
	}
	if read, err := postgres.NewOwnOrganization(f.open(postgres.RoleAccounts)).Organization(t.Context(), "org_1"); err != nil || !cmp.Equal(read, got, prefixes) {
		t.Errorf("its own people see %+v, %v", read, err)
	}
	if got := f.scalar(`SELECT count(*)::text FROM accounts.audit_records WHERE audit_id = '` + rec.ID + `'`); got != "1" {
		t.Errorf("%s records", got)
	}
}

func TestWhatIsNotSavedIsNotRecorded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewTenants(f.open(postgres.RoleTenants))
	rec := record(t.Context(), "org_1", "organization.change")
	refusal := errors.New("no")
	for name, edit := range map[string]organization.Edit{
		"refused": func(o organization.Organization) (organization.Organization, *audit.Record, error) {
			return o, &rec, refusal
		},
		"no such plan": func(o organization.Organization) (organization.Organization, *audit.Record, error) {
			o.Plan = "none"
			return o, &rec, nil
		},
		"a slug that is taken": func(o organization.Organization) (organization.Organization, *audit.Record, error) {
			o.Slug = f.scalar(`SELECT slug FROM accounts.organizations WHERE org_id = 'org_2'`)
			return o, &rec, nil
		},
	} {
		if _, err := store.ChangeOrganization(t.Context(), "org_1", edit); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := store.ChangeOrganization(t.Context(), "org_1", func(o organization.Organization) (organization.Organization, *audit.Record, error) {
		o.Name = "not said to have changed"
		return o, nil, nil
	}); err != nil {
		t.Error(err)
	}
	if got := f.scalar(`SELECT (SELECT name || ' ' || plan FROM accounts.organizations WHERE org_id = 'org_1') || ' ' || (SELECT count(*) FROM accounts.audit_records)`); got != "one starter 0" {
		t.Errorf("left behind %q", got)
	}
}

func TestChangesOfAnOrganizationDoNotLoseEachOther(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewTenants(f.open(postgres.RoleTenants))
	const n = 20
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			_, err := store.ChangeOrganization(t.Context(), "org_1", func(o organization.Organization) (organization.Organization, *audit.Record, error) {
				o.Entitlement.Granted = append(o.Entitlement.Granted, fmt.Sprint("m", i))
				rec := record(t.Context(), "org_1", "entitlement.change")
				return o, &rec, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	o, err := store.Organization(t.Context(), "org_1")
	if slices.Sort(o.Entitlement.Granted); err != nil || len(slices.Compact(o.Entitlement.Granted)) != n {
		t.Errorf("granted %v, %v", o.Entitlement.Granted, err)
	}
}

func TestASlugIsGivenOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewTenants(f.open(postgres.RoleTenants))
	var group sync.WaitGroup
	var made, taken atomic.Int64
	for range 8 {
		group.Go(func() {
			_, err := store.CreateOrganization(t.Context(), founding("same", "ada@example.com"))
			switch {
			case err == nil:
				made.Add(1)
			case fault.Is(err, fault.Conflict):
				taken.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if made.Load() != 1 || taken.Load() != 7 {
		t.Errorf("made %d, refused %d", made.Load(), taken.Load())
	}
	if got := f.scalar(`SELECT count(*) || ' ' || (SELECT count(*) FROM accounts.api_keys) || ' ' || (SELECT count(*) FROM accounts.users) FROM accounts.projects`); got != "3 1 1" {
		t.Errorf("left behind projects, keys and people: %s", got)
	}
}

func founding(slug, email string) organization.Founding {
	org, project := id.New(id.Organization), id.New(id.Project)
	s := apikey.NewSecret(apikey.Production)
	return organization.Founding{
		Organization: organization.Organization{
			ID: org, Name: "n", Slug: slug, Kind: tenant.Customer, Status: tenant.Active, Plan: tenant.Starter, Currency: "USD",
			PriceBook: "default", Zone: "UTC", CreatedAt: noon(),
		},
		ProjectID: project, Project: "p", UserID: id.New(id.User), Email: email, Hash: s.Hash(),
		Key: apikey.Key{
			ID: id.New(id.Key), OrgID: org, ProjectID: project, Name: "k", Environment: apikey.Production, Fingerprint: s.Fingerprint(),
			Scopes: authz.Scopes(), CreatedBy: "key_admin", CreatedAt: noon(), Kind: apikey.PersonalKey, SecretAt: noon(),
		},
		Records: func(string) []audit.Record { return nil },
	}
}

// TestAnOrganizationCanNotGiveItselfMore holds the database to what its own people
// may change: the statements have no filter of ours.
func TestAnOrganizationCanNotGiveItselfMore(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const columns = `SELECT string_agg(attname, ' ' ORDER BY attname) FROM pg_attribute
		WHERE attrelid = 'accounts.organizations'::regclass AND attnum > 0 AND NOT attisdropped AND has_column_privilege('aiaas_accounts', attrelid, attnum, 'UPDATE')`
	if got := f.scalar(columns); got != "contacts name settings slug status status_at status_reason time_zone updated_at" {
		t.Errorf("an organisation may change %s", got)
	}
	if got := f.scalar(`SELECT coalesce(string_agg(p, ' '), '') FROM unnest(ARRAY['INSERT', 'UPDATE', 'DELETE']) p WHERE has_table_privilege('aiaas_accounts', 'accounts.plans', p)
		OR p <> 'UPDATE' AND has_table_privilege('aiaas_accounts', 'accounts.organizations', p)`); got != "" {
		t.Errorf("an organisation may %s", got)
	}
}

func toPrefixes(t *testing.T, texts ...string) []netip.Prefix {
	t.Helper()
	var out []netip.Prefix
	for _, text := range texts {
		n, err := netip.ParsePrefix(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, n)
	}
	return out
}
