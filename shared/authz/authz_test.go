package authz_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
)

// owner is somebody who may do everything in an organisation, as far as the scopes go.
func owner(scopes ...authz.Scope) authz.Principal {
	return authz.Principal{OrgID: "org_1", KeyID: "key_1", OwnerID: "user_1", Role: authz.Owner, Scopes: scopes, Method: authz.ByKey}
}

func with(p authz.Principal, change func(*authz.Principal)) authz.Principal {
	change(&p)
	return p
}

func TestRequireScope(t *testing.T) {
	for _, c := range []struct {
		name string
		who  authz.Principal
		asks authz.Scope
		want fault.Code // "" for granted
	}{
		{"the scope itself", owner(authz.KeysRead), authz.KeysRead, ""},
		{"one of several", owner(authz.UsageRead, authz.KeysRead), authz.KeysRead, ""},
		{"read is not write", owner(authz.KeysRead), authz.KeysWrite, fault.Forbidden},
		{"write is not read", owner(authz.KeysWrite), authz.KeysRead, fault.Forbidden},
		{"no scopes at all", owner(), authz.Inference, fault.Forbidden},
		{"the platform's scope grants no organisation's right", owner(authz.Platform), authz.KeysRead, fault.Forbidden},
		{"the platform's scope on an owner's key is of no use", owner(authz.Platform), authz.Platform, fault.Forbidden},
		{"all of an organisation's rights are not the platform", owner(authz.Scopes()...), authz.Platform, fault.Forbidden},
		{"a scope beyond the owner's role is of no use",
			with(owner(authz.BudgetsWrite), func(p *authz.Principal) { p.Role = authz.Developer }), authz.BudgetsWrite, fault.Forbidden},
		{"a prefix is not the scope", owner("keys"), authz.KeysRead, fault.Forbidden},
		{"there is no wildcard", owner("*"), authz.KeysRead, fault.Forbidden},
		{"an empty scope is never granted", owner(""), "", fault.Forbidden},
		{"anybody is somebody", owner(), authz.AnyScope, ""},
		{"nobody", authz.Principal{}, authz.Inference, fault.Unauthenticated},
		{"nobody is not anybody", authz.Principal{}, authz.AnyScope, fault.Unauthenticated},
		{"scopes without a key", with(owner(authz.Scopes()...), func(p *authz.Principal) { p.KeyID = "" }), authz.Inference, fault.Unauthenticated},
		{"scopes without an organisation", with(owner(authz.Scopes()...), func(p *authz.Principal) { p.OrgID = "" }), authz.Inference, fault.Unauthenticated},
		{"scopes without an owner", with(owner(authz.Scopes()...), func(p *authz.Principal) { p.OwnerID = "" }), authz.Inference, fault.Unauthenticated},
		{"scopes without a role", with(owner(authz.Scopes()...), func(p *authz.Principal) { p.Role = "" }), authz.Inference, fault.Unauthenticated},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.who.RequireScope(c.asks)
			if granted := c.want == ""; granted != (err == nil) || granted != c.who.Has(c.asks) {
				t.Fatalf("RequireScope = %v, Has = %v; want %q", err, c.who.Has(c.asks), c.want)
			}
			if err != nil && !fault.Is(err, c.want) {
				t.Errorf("RequireScope = %v; want the code %s", err, c.want)
			}
		})
	}
}

func TestARefusalNamesTheMissingRightAndWhoHasIt(t *testing.T) {
	developer := with(owner(authz.Scopes()...), func(p *authz.Principal) { p.Role = authz.Developer })
	for _, c := range []struct {
		name string
		err  error
		want map[string]any
	}{
		{"the key lacks the scope", owner().Require(t.Context(), authz.DoBudgetsWrite), map[string]any{
			"permission": "budgets.write", "reason": "scope", "scope": "budgets:write", "granted_by": []string{"admin", "owner"},
		}},
		{"the role lacks the right", developer.Require(t.Context(), authz.DoInvoicesIssue), map[string]any{
			"permission": "invoices.issue", "reason": "role", "granted_by": []string{"finance", "owner"},
		}},
		{"the role has it for less", developer.Require(t.Context(), authz.DoUsageRead), map[string]any{
			"permission": "usage.read", "reason": "role", "granted_by": []string{"admin", "analyst", "finance", "owner"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := fault.From(c.err)
			if f.Code != fault.Forbidden {
				t.Fatalf("%v; want Forbidden", c.err)
			}
			if d := cmp.Diff(c.want, f.Members); d != "" {
				t.Errorf("members (-want +got):\n%s", d)
			}
		})
	}
}

func TestWhatIsOutOfReachIsNotThere(t *testing.T) {
	developer := with(owner(authz.Scopes()...), func(p *authz.Principal) { p.Role = authz.Developer })
	if err := developer.RequireOn(t.Context(), authz.DoKeysRevoke, authz.Resource{OwnerID: "user_2"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("another's key: %v; want NotFound", err)
	}
	if err := developer.RequireOn(t.Context(), authz.DoKeysRevoke, authz.Resource{OwnerID: "user_1"}); err != nil {
		t.Errorf("one's own key: %v", err)
	}
	admin := with(owner(authz.Scopes()...), func(p *authz.Principal) { p.Role = authz.Admin })
	if err := admin.RequireOn(t.Context(), authz.DoMembersWrite, authz.Resource{OwnerID: "user_2", Role: authz.Owner}); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a superior: %v; want Forbidden", err)
	}
}

// silent is a policy that can't be asked.
type silent struct{}

func (silent) Decide(context.Context, authz.Query) (authz.Decision, error) {
	return authz.Decision{Allow: true, Reason: authz.ReasonAllowed, Reach: authz.Reach{All: true}}, errors.New("broken")
}

func TestAPolicyThatCantBeAskedDenies(t *testing.T) {
	p := owner(authz.Scopes()...).Under(silent{})
	if err := p.Require(t.Context(), authz.DoKeysRead); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Require: %v", err)
	}
	if reach, err := p.Reach(t.Context(), authz.DoKeysRead); err == nil || reach.All {
		t.Errorf("Reach: %v, %v", reach, err)
	}
	if err := p.RequireOn(t.Context(), authz.DoKeysRead, authz.Resource{}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("RequireOn: %v", err)
	}
}

func TestHoursAreThoseOfTheOrganisation(t *testing.T) {
	berlin := time.FixedZone("CEST", 2*60*60)
	at := time.Date(2026, 10, 5, 6, 30, 0, 0, time.UTC) // Monday, half past eight in Berlin
	b := authz.Bounds{
		Zone: berlin, Now: func() time.Time { return at },
		Restrictions: authz.Restrictions{Hours: authz.Hours{Days: []int{1}, From: 8 * 60, To: 9 * 60}},
	}
	if err := owner(authz.Scopes()...).Within(b).Require(t.Context(), authz.DoKeysRead); err != nil {
		t.Errorf("within the hours: %v", err)
	}
	b.Zone = nil
	if err := owner(authz.Scopes()...).Within(b).Require(t.Context(), authz.DoKeysRead); !fault.Is(err, fault.Forbidden) {
		t.Errorf("in UTC it is half past six: %v", err)
	}
}

func TestScopesOfAnOrganisation(t *testing.T) {
	scopes := authz.Scopes()
	slices.Sort(scopes)
	if distinct := slices.Compact(slices.Clone(scopes)); len(distinct) != len(scopes) {
		t.Errorf("a scope is listed twice in %v", scopes)
	}
	for _, s := range scopes {
		if !authz.Known(s) {
			t.Errorf("%q is listed but not known", s)
		}
	}
	for _, s := range []authz.Scope{authz.Platform, "", "*", "keys", "KEYS:READ", "keys:read "} {
		if authz.Known(s) {
			t.Errorf("%q can be put on an organisation's key", s)
		}
	}
}

func TestNobodyHandsOutMoreThanTheyHave(t *testing.T) {
	all := append(authz.Scopes(), authz.Platform)
	some := rapid.SliceOfDistinct(rapid.SampledFrom(all), rapid.ID)
	rapid.Check(t, func(t *rapid.T) {
		who := owner(some.Draw(t, "has")...)
		who.Role = rapid.SampledFrom(append(authz.OrganizationRoles(), authz.PlatformRoles()...)).Draw(t, "role")
		want := some.Draw(t, "wants")
		useful := authz.Effective(who.Subject())
		for _, s := range useful {
			if !slices.Contains(who.Scopes, s) {
				t.Fatalf("%v makes %q effective", who.Scopes, s)
			}
		}
		missing := slices.ContainsFunc(want, func(s authz.Scope) bool { return !slices.Contains(useful, s) })
		if got := who.Covers(want); got == missing {
			t.Fatalf("%v covers %v: %v", useful, want, got)
		}
	})
}

func TestAnActorIsTheKey(t *testing.T) {
	if got := owner().Actor(); got != "key_1" {
		t.Errorf("Actor = %q", got)
	}
}

func TestNobodyHasMoreByAKeyThatHeMakes(t *testing.T) {
	who := func(id string, role authz.Role, projects map[string]authz.ProjectRole) authz.Subject {
		return authz.Subject{OrgID: "org_1", OwnerID: id, Role: role, Scopes: authz.Scopes(), Projects: projects}
	}
	custom := func(reach authz.Width, permissions ...authz.Action) authz.Subject {
		s := who("user_1", authz.Custom, nil)
		s.Custom = authz.CustomRole{Permissions: permissions, Reach: reach}
		return s
	}
	one := map[string]authz.ProjectRole{"proj_1": authz.ProjectManager}
	for _, c := range []struct {
		name          string
		child, parent authz.Subject
		want          authz.Action // "" for none
	}{
		{"an admin for a developer", who("user_2", authz.Developer, nil), who("user_1", authz.Admin, nil), ""},
		{"an owner for finance", who("user_2", authz.Finance, nil), who("user_1", authz.Owner, nil), ""},
		{"an admin for finance, who issue invoices", who("user_2", authz.Finance, nil), who("user_1", authz.Admin, nil), authz.DoInvoicesIssue},
		{"an admin for an owner", who("user_2", authz.Owner, nil), who("user_1", authz.Admin, nil), authz.DoInvoicesIssue},
		{"oneself", who("user_1", authz.Developer, one), who("user_1", authz.Developer, one), ""},
		{"a role that makes keys and sees no usage", who("user_2", authz.Analyst, nil), custom(authz.Organization, authz.DoKeysCreate), authz.DoAnalyticsRead},
		{"of one's own is not another's own", who("user_2", authz.Developer, nil), custom(authz.Own, authz.DoKeysCreate, authz.DoUsageRead, authz.DoRequestsRead, authz.DoAnalyticsRead, authz.DoInference), authz.DoAnalyticsRead},
		{"another project", who("user_2", authz.Manager, map[string]authz.ProjectRole{"proj_2": authz.ProjectViewer}), who("user_2", authz.Manager, one), authz.DoAnalyticsRead},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, exceeds := authz.Exceeding(c.child, c.parent)
			if got != c.want || exceeds != (c.want != "") {
				t.Errorf("exceeds by %q; want %q", got, c.want)
			}
		})
	}
}
