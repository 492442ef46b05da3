package opa_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/aiaas/aiaas/adapters/opa"
	"github.com/aiaas/aiaas/shared/authz"
)

func everyScope() []authz.Scope { return append(authz.Scopes(), authz.Platform) }

func everyRole() []authz.Role {
	return slices.Concat(authz.OrganizationRoles(), authz.PlatformRoles(), []authz.Role{authz.Custom, "emperor", ""})
}

func query(role authz.Role, action authz.Action) authz.Query {
	return authz.Query{
		Subject: authz.Subject{OrgID: "org_1", OwnerID: "user_1", Role: role, Scopes: everyScope(), Method: authz.ByKey},
		Action:  action,
	}
}

// TestGrantsDecideAsThePolicyDoes asks both about every role, scope and action.
func TestGrantsDecideAsThePolicyDoes(t *testing.T) {
	e, err := opa.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	asked, allowed := 0, 0
	scopes := [][]authz.Scope{everyScope(), {}}
	for _, s := range everyScope() {
		scopes = append(scopes, []authz.Scope{s})
	}
	for _, role := range everyRole() {
		for _, action := range append(authz.Actions(), "world.rule", "") {
			for _, s := range scopes {
				q := query(role, action)
				q.Subject.Scopes = s
				q.Subject.Custom = authz.CustomRole{Permissions: authz.Actions(), Reach: authz.Organization}
				asked++
				if compare(t, e, q).Allow {
					allowed++
				}
			}
		}
	}
	t.Logf("%d questions, %d allowed", asked, allowed)
	if allowed == 0 || allowed == asked {
		t.Error("the questions make no difference")
	}
}

// asker is a test, also one of rapid's.
type asker interface {
	Helper()
	Context() context.Context
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// compare asks the policy and the table computed from it.
func compare(t asker, e *opa.Engine, q authz.Query) authz.Decision {
	t.Helper()
	want, err := e.Decide(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	got, err := authz.Grants{}.Decide(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("%+v (-policy +grants):\n%s", q, d)
	}
	return want
}

// TestGrantsDecideAsThePolicyDoesWhateverIsAsked draws whole questions: projects,
// roles of one's own, resources, ranks, addresses, hours, second factors.
func TestGrantsDecideAsThePolicyDoesWhateverIsAsked(t *testing.T) {
	e, err := opa.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[authz.Reason]int{}
	rapid.Check(t, func(t *rapid.T) { reasons[compare(t, e, draw(t)).Reason]++ })
	t.Log(reasons)
	if len(reasons) < 4 {
		t.Errorf("only these reasons came up: %v", reasons)
	}
}

func draw(t *rapid.T) authz.Query {
	roles, ids := rapid.SampledFrom(everyRole()), rapid.SampledFrom([]string{"", "user_1", "user_2"})
	q := authz.Query{Action: rapid.SampledFrom(append(authz.Actions(), "world.rule")).Draw(t, "action")}
	q.Subject = authz.Subject{
		OrgID: rapid.SampledFrom([]string{"org_1", "org_1", "org_1", "org_1", ""}).Draw(t, "org"), OwnerID: ids.Draw(t, "owner"),
		Role: roles.Draw(t, "role"), Scopes: everyScope(),
		Method: rapid.SampledFrom([]authz.Method{authz.ByKey, authz.BySession, authz.ByToken, authz.ByClient, ""}).Draw(t, "method"), MFA: rapid.Bool().Draw(t, "mfa"),
		Recent:   rapid.Bool().Draw(t, "recent"),
		Projects: rapid.MapOfN(rapid.SampledFrom([]string{"proj_1", "proj_2"}), rapid.SampledFrom(append(authz.ProjectRoles(), "king")), 0, 2).Draw(t, "projects"),
		Custom: authz.CustomRole{
			Permissions: rapid.SliceOfN(rapid.SampledFrom(authz.Actions()), 0, 20).Draw(t, "permissions"),
			Reach:       rapid.SampledFrom([]authz.Width{"", authz.Own, authz.Projects, authz.Organization, "world"}).Draw(t, "reach"),
		},
		KeyIPs: networks(t, "key networks"),
	}
	if rapid.IntRange(0, 5).Draw(t, "fewer scopes") == 0 {
		q.Subject.Scopes = rapid.SliceOf(rapid.SampledFrom(everyScope())).Draw(t, "scopes")
	}
	if rapid.Bool().Draw(t, "on something") {
		q.Resource = &authz.Resource{
			ProjectID: rapid.SampledFrom([]string{"", "proj_1", "proj_2", "proj_3"}).Draw(t, "project"), OwnerID: ids.Draw(t, "whose"),
			Role: roles.Draw(t, "acted on"), Grants: roles.Draw(t, "grants"),
		}
	}
	q.Circumstances = authz.Circumstances{Minute: rapid.IntRange(0, 1439).Draw(t, "minute"), Weekday: rapid.IntRange(0, 6).Draw(t, "weekday")}
	q.Circumstances.Address, _ = netip.ParseAddr(rapid.SampledFrom([]string{
		"", "192.0.2.1", "198.51.100.9", "2001:db8::1", "::ffff:192.0.2.1", "fe80::1%eth0", "127.0.0.1",
	}).Draw(t, "address"))
	q.Restrictions = authz.Restrictions{IPs: networks(t, "networks"), MFARoles: rapid.SliceOfN(roles, 0, 2).Draw(t, "mfa roles")}
	if rapid.IntRange(0, 3).Draw(t, "hours") == 0 {
		q.Restrictions.Hours = authz.Hours{
			Days: rapid.SliceOfN(rapid.IntRange(0, 6), 0, 7).Draw(t, "days"), From: rapid.IntRange(0, 700).Draw(t, "from"), To: rapid.IntRange(0, 1440).Draw(t, "to"),
		}
	}
	return q
}

func networks(t *rapid.T, label string) []netip.Prefix {
	var out []netip.Prefix
	if rapid.IntRange(0, 3).Draw(t, fmt.Sprintf("any %s", label)) > 0 {
		return nil
	}
	for _, text := range rapid.SliceOfN(rapid.SampledFrom([]string{
		"192.0.2.0/24", "192.0.2.1/32", "0.0.0.0/0", "::/0", "2001:db8::/32", "fe80::/10", "10.0.0.0/8", "::ffff:192.0.2.0/120",
	}), 0, 3).Draw(t, label) {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

// TestActionsAreNamedOnce holds the constants to the policy.
func TestActionsAreNamedOnce(t *testing.T) {
	table, err := opa.ReadTable(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for action, scope := range table.Actions {
		if scope != authz.Platform && !authz.Known(scope) {
			t.Errorf("%s needs %q, which is no scope", action, scope)
		}
	}
	for _, role := range append(authz.OrganizationRoles(), authz.PlatformRoles()...) {
		if len(table.RoleRights[role]) == 0 || table.Ranks[role] == 0 {
			t.Errorf("the role %s has no rights or no rank", role)
		}
	}
	if got, want := len(table.RoleRights), len(authz.OrganizationRoles())+len(authz.PlatformRoles()); got != want {
		t.Errorf("the policy knows %d roles; there are %d", got, want)
	}
}
