package authz_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
)

func TestRequire(t *testing.T) {
	somebody := func(scopes ...authz.Scope) authz.Principal {
		return authz.Principal{OrgID: "org_1", KeyID: "key_1", Scopes: scopes}
	}
	for _, c := range []struct {
		name string
		who  authz.Principal
		asks authz.Scope
		want fault.Code // "" for granted
	}{
		{"the scope itself", somebody(authz.KeysRead), authz.KeysRead, ""},
		{"one of several", somebody(authz.UsageRead, authz.KeysRead), authz.KeysRead, ""},
		{"read is not write", somebody(authz.KeysRead), authz.KeysWrite, fault.Forbidden},
		{"write is not read", somebody(authz.KeysWrite), authz.KeysRead, fault.Forbidden},
		{"no scopes at all", somebody(), authz.Inference, fault.Forbidden},
		{"the platform's scope grants no organisation's right", somebody(authz.Platform), authz.KeysRead, fault.Forbidden},
		{"all of an organisation's rights are not the platform", somebody(authz.Scopes()...), authz.Platform, fault.Forbidden},
		{"a prefix is not the scope", somebody("keys"), authz.KeysRead, fault.Forbidden},
		{"there is no wildcard", somebody("*"), authz.KeysRead, fault.Forbidden},
		{"an empty scope is never granted", somebody(""), "", fault.Forbidden},
		{"nobody", authz.Principal{}, authz.Inference, fault.Unauthenticated},
		{"scopes without a key", authz.Principal{OrgID: "org_1", Scopes: authz.Scopes()}, authz.Inference, fault.Unauthenticated},
		{"scopes without an organisation", authz.Principal{KeyID: "key_1", Scopes: authz.Scopes()}, authz.Inference, fault.Unauthenticated},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.who.Require(c.asks)
			if granted := c.want == ""; granted != (err == nil) || granted != c.who.Has(c.asks) {
				t.Fatalf("Require = %v, Has = %v; want %q", err, c.who.Has(c.asks), c.want)
			}
			if err != nil && !fault.Is(err, c.want) {
				t.Errorf("Require = %v; want the code %s", err, c.want)
			}
		})
	}
}

func TestARefusalNamesTheMissingRight(t *testing.T) {
	who := authz.Principal{OrgID: "org_1", KeyID: "key_1"}
	f := fault.From(who.Require(authz.BudgetsWrite))
	if f.Members["scope"] != "budgets:write" {
		t.Errorf("members are %v; want the scope named", f.Members)
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
		who := authz.Principal{OrgID: "org_1", KeyID: "key_1", Scopes: some.Draw(t, "has")}
		want := some.Draw(t, "wants")
		missing := slices.ContainsFunc(want, func(s authz.Scope) bool { return !slices.Contains(who.Scopes, s) })
		if got := who.Covers(want); got == missing {
			t.Fatalf("%v covers %v: %v", who.Scopes, want, got)
		}
	})
}

func TestAnActorIsTheKey(t *testing.T) {
	if got := (authz.Principal{OrgID: "org_1", KeyID: "key_1"}).Actor(); got != "key_1" {
		t.Errorf("Actor = %q", got)
	}
}
