package management_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/id"
)

// role makes a role of the organisation, and returns its id.
func (p *platform) role(n tenant, name, reach string, permissions ...string) string {
	p.t.Helper()
	body := fmt.Sprintf(`{"name":"%s","permissions":["%s"],"reach":"%s"}`, name, strings.Join(permissions, `","`), reach)
	return member[string](p.do("POST", "/v1/roles", n.admin, body).want(201), "id")
}

// holder is a member with a role that the organisation made.
func (p *platform) holder(n tenant, role string) person {
	p.t.Helper()
	who := p.person(n, authz.Developer)
	p.do("PATCH", "/v1/members/"+who.id, n.admin, `{"role":"`+role+`"}`).want(200)
	return who
}

func TestARoleIsMadeGivenChangedAndDeleted(t *testing.T) {
	t.Parallel()
	p := start(t)
	v := p.do("POST", "/v1/roles", p.one.admin,
		`{"name":"Key keeper","description":"hands out keys","permissions":["keys.revoke","keys.create","keys.read","keys.create"],"reach":"organization"}`).want(201)
	role := member[string](v, "id")
	if !id.Valid(id.Role, role) || v["name"] != "Key keeper" || v["built_in"] != false || v["reach"] != "organization" || fmt.Sprint(v["members"]) != "0" ||
		fmt.Sprint(v["permissions"]) != "[keys.create keys.read keys.revoke]" || fmt.Sprint(v["widths"]) != "map[keys.create:organization keys.read:organization keys.revoke:organization]" {
		t.Errorf("made %v", v)
	}
	p.do("POST", "/v1/roles", p.one.admin, `{"name":"key KEEPER","permissions":["keys.read"],"reach":"own"}`).refused(409, "conflict")
	keeper := p.holder(p.one, role)
	create := func() answer {
		return p.do("POST", "/v1/api-keys", keeper.key, `{"name":"x","scopes":["models:read"]}`)
	}
	create().want(201)
	p.do("GET", "/v1/budgets", keeper.key, "").refused(403, "forbidden")
	p.clock.advance(time.Second)
	v = p.do("PATCH", "/v1/roles/"+role, p.one.admin, `{"permissions":["keys.read","budgets.read"]}`).want(200)
	if fmt.Sprint(v["permissions"]) != "[budgets.read keys.read]" || fmt.Sprint(v["members"]) != "1" || v["updated_at"] != "2026-10-12T09:30:16Z" {
		t.Errorf("changed %v", v)
	}
	create().refused(403, "forbidden") // at once: the clock stands still
	p.do("GET", "/v1/budgets", keeper.key, "").want(200)
	p.do("PATCH", "/v1/roles/"+role, p.one.admin, `{"description":"hands out keys"}`).want(200) // nothing changes
	p.do("DELETE", "/v1/roles/"+role, p.one.admin, "").refused(409, "conflict")
	p.do("DELETE", "/v1/members/"+keeper.id, p.one.admin, "").want(200)
	account := p.program(p.one, authz.Developer)
	p.do("PATCH", "/v1/service-accounts/"+account, p.one.admin, `{"role":"`+role+`"}`).want(200)
	p.do("DELETE", "/v1/roles/"+role, p.one.admin, "").refused(409, "conflict")
	p.do("DELETE", "/v1/service-accounts/"+account, p.one.admin, "").want(200)
	p.do("DELETE", "/v1/roles/"+role, p.one.admin, "").want(204)
	p.do("DELETE", "/v1/roles/"+role, p.one.admin, "").refused(404, "not_found")
	p.do("GET", "/v1/roles/"+role, p.one.admin, "").refused(404, "not_found")
	if got := p.audited(role); got != "role.create role.update role.delete" {
		t.Errorf("audited %q", got)
	}
}

// A role that is given and deleted at the same time is one of the two.
func TestARoleThatIsGivenIsNotDeleted(t *testing.T) {
	t.Parallel()
	p := start(t)
	who := p.person(p.one, authz.Developer)
	for i := range 6 {
		role := p.role(p.one, fmt.Sprint("r", i), "own", "keys.read")
		var given, deleted int
		var wg sync.WaitGroup
		wg.Go(func() { given = p.do("PATCH", "/v1/members/"+who.id, p.one.admin, `{"role":"`+role+`"}`).Code })
		wg.Go(func() { deleted = p.do("DELETE", "/v1/roles/"+role, p.one.admin, "").Code })
		wg.Wait()
		if got := [2]int{given, deleted}; got != [2]int{200, 409} && got != [2]int{404, 204} {
			t.Errorf("given: %d, deleted: %d", given, deleted)
		}
		p.do("PATCH", "/v1/members/"+who.id, p.one.admin, `{"role":"developer"}`).want(200)
	}
}

func TestAChangedRoleCountsInAnotherProcessWithinASecond(t *testing.T) {
	t.Parallel()
	p := start(t)
	other := p.other()
	role := p.role(p.one, "keeper", "organization", "keys.create", "keys.read")
	keeper := p.holder(p.one, role)
	ask := func() int {
		return other.do("POST", "/v1/api-keys", keeper.key, `{"name":"x","scopes":["models:read"]}`).Code
	}
	if got := ask(); got != 201 {
		t.Fatalf("at first: %d", got)
	}
	p.do("PATCH", "/v1/roles/"+role, p.one.admin, `{"permissions":["keys.read"]}`).want(200)
	p.clock.advance(time.Second)
	if got := ask(); got != 403 {
		t.Errorf("a second later: %d; want 403", got)
	}
}

func TestBuiltInRolesAreListedAndReadOnly(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.person(p.one, authz.Finance)
	own := p.role(p.one, "mine", "own", "usage.read")
	var ids []string
	for _, r := range items(p.do("GET", "/v1/roles", p.one.admin, "").want(200)) {
		ids = append(ids, member[string](r, "id"))
	}
	if want := []string{"owner", "admin", "finance", "manager", "analyst", "developer", own}; !slices.Equal(ids, want) {
		t.Errorf("roles %v; want %v", ids, want)
	}
	v := p.do("GET", "/v1/roles/finance", p.one.admin, "").want(200)
	widths := member[map[string]any](v, "widths")
	if v["built_in"] != true || v["reach"] != nil || fmt.Sprint(v["members"]) != "1" || widths["invoices.issue"] != "organization" || widths["keys.rotate"] != "own" || widths["members.write"] != nil {
		t.Errorf("finance is %v", v)
	}
	for _, role := range authz.OrganizationRoles() {
		p.do("PATCH", "/v1/roles/"+string(role), p.one.admin, `{"name":"x"}`).refused(404, "not_found")
		p.do("DELETE", "/v1/roles/"+string(role), p.one.admin, "").refused(404, "not_found")
		p.do("POST", "/v1/roles", p.one.admin, `{"name":"`+string(role)+`","permissions":["keys.read"],"reach":"own"}`).refused(409, "conflict")
	}
	p.do("GET", "/v1/roles/support", p.one.admin, "").refused(404, "not_found") // of the platform
}

func TestWhatARoleCanBeMadeFrom(t *testing.T) {
	t.Parallel()
	p := start(t)
	for body, want := range map[string]int{
		`{"permissions":["keys.read"],"reach":"own"}`:                                              422,
		`{"name":"","permissions":["keys.read"],"reach":"own"}`:                                    422,
		`{"name":"a\u202eb","permissions":["keys.read"],"reach":"own"}`:                            422,
		`{"name":"a\nb","permissions":["keys.read"],"reach":"own"}`:                                422,
		`{"name":"custom","permissions":["keys.read"],"reach":"own"}`:                              409,
		`{"name":"a","reach":"own"}`:                                                               422,
		`{"name":"a","permissions":[],"reach":"own"}`:                                              422,
		`{"name":"a","permissions":["keys.fly"],"reach":"own"}`:                                    422,
		`{"name":"a","permissions":["*"],"reach":"own"}`:                                           422,
		`{"name":"a","permissions":["organization.delete"],"reach":"organization"}`:                422, // of owners only
		`{"name":"a","permissions":["invoices.issue"],"reach":"organization"}`:                     422,
		`{"name":"a","permissions":["tenants.write"],"reach":"organization"}`:                      422, // of the platform
		`{"name":"a","permissions":["keys.read"]}`:                                                 422,
		`{"name":"a","permissions":["keys.read"],"reach":"world"}`:                                 422,
		`{"name":"a","permissions":["keys.read"],"reach":""}`:                                      422,
		`{"name":"a","permissions":["keys.read"],"reach":"own","description":"` + long(501) + `"}`: 422,
	} {
		if a := p.do("POST", "/v1/roles", p.one.admin, body); a.Code != want {
			t.Errorf("%.90s: %d; want %d: %s", body, a.Code, want, a.Body)
		}
	}
	_, stray := p.key(p.one, append(authz.Scopes(), authz.Platform)...)
	p.do("POST", "/v1/roles", stray, `{"name":"a","permissions":["keys.read"],"reach":"own"}`).refused(422, "unprocessable")
	if got := p.scalar(`SELECT count(*)::text FROM accounts.roles`); got != "0" {
		t.Errorf("%s roles", got)
	}
}

// Nobody makes, by way of roles, more than he is.
func TestARoleHasNoRightThatItsMakerLacks(t *testing.T) {
	t.Parallel()
	p := start(t)
	role := p.role(p.one, "steward", "organization", "roles.read", "roles.write", "members.read", "members.write", "keys.read")
	strong := p.role(p.one, "strong", "organization", "keys.create", "keys.read")
	weak := p.role(p.one, "weak", "organization", "keys.read")
	steward := p.holder(p.one, role)
	p.do("POST", "/v1/roles", steward.key, `{"name":"a","permissions":["keys.create"],"reach":"own"}`).refused(403, "forbidden")
	v := p.do("POST", "/v1/roles", steward.key, `{"name":"a","permissions":["keys.read","members.write"],"reach":"organization"}`).want(201)
	made := member[string](v, "id")
	p.do("PATCH", "/v1/roles/"+made, steward.key, `{"permissions":["keys.read","budgets.write"]}`).refused(403, "forbidden")
	p.do("PATCH", "/v1/roles/"+made, steward.key, `{"permissions":["keys.read"]}`).want(200)
	// Not the one that he has, nor one above him, whatever would become of it.
	p.do("PATCH", "/v1/roles/"+role, steward.key, `{"permissions":["keys.read"]}`).refused(403, "forbidden")
	p.do("PATCH", "/v1/roles/"+strong, steward.key, `{"permissions":["keys.read"]}`).refused(403, "forbidden")
	p.do("DELETE", "/v1/roles/"+strong, steward.key, "").refused(403, "forbidden")
	// Who has a role that the organisation made is his peer.
	peer := p.holder(p.one, weak)
	p.do("PATCH", "/v1/roles/"+weak, steward.key, `{"reach":"own"}`).refused(403, "forbidden")
	p.do("PATCH", "/v1/members/"+peer.id, steward.key, `{"role":"developer"}`).refused(403, "forbidden")
	p.do("DELETE", "/v1/members/"+peer.id, steward.key, "").refused(403, "forbidden")
	low := p.person(p.one, authz.Developer)
	p.do("PATCH", "/v1/members/"+low.id, steward.key, `{"role":"`+weak+`"}`).refused(403, "forbidden")
	p.do("PATCH", "/v1/members/"+steward.id, steward.key, `{"role":"`+strong+`"}`).refused(403, "forbidden")
	// A lower role that has rights which he lacks is not his to give.
	p.do("POST", "/v1/members", steward.key, `{"email":"d@example.com","role":"developer"}`).refused(403, "forbidden")
	p.do("POST", "/v1/service-accounts", steward.key, `{"name":"d","role":"developer"}`).refused(403, "forbidden")
	p.do("POST", "/v1/members/"+low.id+"/suspend", steward.key, `{}`).want(200)
	p.do("DELETE", "/v1/roles/"+made, steward.key, "").want(204)
}

func TestARoleOfProjectsReachesThoseOfItsHolder(t *testing.T) {
	t.Parallel()
	p := start(t)
	second := member[string](p.do("POST", "/v1/projects", p.one.admin, `{"name":"second"}`).want(201), "id")
	holder := p.holder(p.one, p.role(p.one, "lead", "projects", "projects.read", "members.read", "project_members.write"))
	p.do("PUT", "/v1/projects/"+second+"/members/"+holder.id, p.one.admin, `{"role":"viewer"}`).want(200)
	if got := p.pages("/v1/projects", holder.key, 10); len(got) != 1 || member[string](got[0], "id") != second {
		t.Errorf("he sees the projects %v", got)
	}
	p.do("GET", "/v1/projects/"+second+"/members", holder.key, "").want(200)
	p.do("GET", "/v1/projects/"+p.one.project+"/members", holder.key, "").refused(404, "not_found")
	p.do("PATCH", "/v1/projects/"+second, holder.key, `{"name":"renamed"}`).refused(403, "forbidden")
	p.do("POST", "/v1/projects", holder.key, `{"name":"third"}`).refused(403, "forbidden") // not within a project
	// People are of the organisation: a right within projects changes nobody.
	for _, c := range [][3]string{
		{"POST", "/v1/members", `{"email":"x@example.com","role":"developer"}`}, {"PATCH", "/v1/members/" + holder.id, `{"name":"x"}`},
	} {
		p.do(c[0], c[1], holder.key, c[2]).refused(403, "forbidden")
	}
}

// What is of the whole organisation can't be had for less: a role does not say that it
// gives what it does not.
func TestANarrowRoleHasNoRightsOfTheWholeOrganization(t *testing.T) {
	t.Parallel()
	p := start(t)
	path := "/v1/roles/" + p.role(p.one, "wide", "organization", "keys.read", "audit.read", "settings.write", "budgets.write", "usage.read")
	for _, reach := range []string{"projects", "own"} {
		for _, c := range [][3]string{
			{"POST", "/v1/roles", `{"name":"narrow","permissions":["usage.read","settings.write","budgets.write","audit.read"],"reach":"` + reach + `"}`},
			{"PATCH", path, `{"reach":"` + reach + `"}`},
		} {
			v := p.do(c[0], c[1], p.one.admin, c[2]).refused(422, "unprocessable")
			if got := fmt.Sprint(v["permissions"]); got != "[audit.read budgets.write settings.write]" {
				t.Errorf("%s %s: named are %s", c[0], c[2], got)
			}
		}
		p.do("PATCH", path, p.one.admin, `{"permissions":["keys.read","usage.read"],"reach":"`+reach+`"}`).want(200)
		p.do("PATCH", path, p.one.admin, `{"permissions":["keys.read","webhooks.read"]}`).refused(422, "unprocessable")
		p.do("PATCH", path, p.one.admin, `{"permissions":["usage.read","settings.write","budgets.write","audit.read"],"reach":"organization"}`).want(200)
	}
}

func TestMeSaysWhoICanBe(t *testing.T) {
	t.Parallel()
	p := start(t)
	role := p.role(p.one, "Lead", "projects", "projects.read", "usage.read")
	me := p.holder(p.one, role)
	p.do("PUT", "/v1/projects/"+p.one.project+"/members/"+me.id, p.one.admin, `{"role":"developer"}`).want(200)
	p.exec(`UPDATE accounts.api_keys SET scopes = '{usage:read,inference,keys:write,budgets:read}', ip_allow = '{192.0.2.0/24}' WHERE owner_id = '` + me.id + `';
		UPDATE accounts.organizations SET slug = 'one', settings = '{"access_hours":{"days":[1],"from":"08:00","to":"24:00"},"mfa_required_roles":["manager"]}' WHERE org_id = '` + p.one.org + `'`)
	p.clock.advance(time.Second)
	v := p.do("GET", "/v1/me", me.key, "", from("192.0.2.7")).want(200)
	for name, want := range map[string]string{
		"organization":     "map[id:" + p.one.org + " kind:tenant name:org_one slug:one status:active]",
		"owner":            "map[email:" + me.id + "@example.com id:" + me.id + " kind:member name:]",
		"role":             "map[built_in:false id:" + role + " name:Lead]",
		"scopes":           "[usage:read inference keys:write budgets:read]",
		"effective_scopes": "[inference keys:write usage:read]",
		"projects":         "[map[id:" + p.one.project + " name:first role:developer status:active]]",
		"project_id":       p.one.project,
		"models":           "<nil>",
		"restrictions":     "map[access_hours:map[days:[1] from_minute:480 to_minute:1440] ip_allow_list:[] key_ip_allow_list:[192.0.2.0/24] mfa_required_roles:[manager]]",
	} {
		if got := fmt.Sprint(v[name]); got != want {
			t.Errorf("%s is %s; want %s", name, got, want)
		}
	}
	permissions := member[map[string]any](v, "permissions")
	if permissions["projects.read"] != "projects" || permissions["keys.rotate"] != "own" || permissions["models.read"] != "organization" || permissions["inference.use"] != nil {
		t.Errorf("permissions %v", permissions)
	}
	_, root := p.key(p.two, authz.Platform)
	p.exec(`UPDATE accounts.organizations SET kind = 'platform' WHERE org_id = '` + p.two.org + `'`)
	v = p.do("GET", "/v1/me", root, "").want(200)
	if got := fmt.Sprint(member[map[string]any](v, "organization")["kind"], v["role"], member[map[string]any](v, "owner")["kind"]); got !=
		"platform map[built_in:true id:system_administrator name:system_administrator] service_account" && !strings.HasPrefix(got, "platformmap[built_in:true id:system_administrator") {
		t.Errorf("the platform's key is %s", got)
	}
	p.do("GET", "/v1/me", "", "").refused(401, "invalid_api_key")
}

// ask evaluates a question, and returns the reason and the explanation.
func (p *platform) ask(key, body string) (reason, why string) {
	p.t.Helper()
	v := p.do("POST", "/v1/policy/evaluate", key, body, from("192.0.2.7")).want(200)
	if (v["reason"] == "allowed") != (v["allow"] == true) || strings.HasPrefix(fmt.Sprint(v["explanation"]), "Yes") != (v["allow"] == true) {
		p.t.Errorf("%s: %v", body, v)
	}
	return fmt.Sprint(v["reason"]), fmt.Sprint(v["explanation"])
}

func TestThePolicyAnswersAndExplains(t *testing.T) {
	t.Parallel()
	p := start(t)
	dev, boss, owner := p.person(p.one, authz.Developer), p.person(p.one, authz.Admin), p.person(p.one, authz.Owner)
	account := p.program(p.one, authz.Analyst)
	keyID, _ := postgrestest.KeyOf(t, p.url, postgrestest.Ownership{Org: p.one.org, Project: p.one.project, Owner: dev.id}, authz.Inference)
	dead, _ := postgrestest.KeyOf(t, p.url, postgrestest.Ownership{Org: p.one.org, Project: p.one.project, Owner: boss.id}, authz.KeysRead)
	gone, _ := postgrestest.KeyOf(t, p.url, postgrestest.Ownership{Org: p.one.org, Project: p.one.project, Owner: "user_gone"}, authz.KeysRead)
	second := member[string](p.do("POST", "/v1/projects", p.one.admin, `{"name":"second"}`).want(201), "id")
	p.do("PUT", "/v1/projects/"+p.one.project+"/members/"+dev.id, p.one.admin, `{"role":"manager"}`).want(200)
	suspended := p.person(p.one, authz.Admin)
	p.do("POST", "/v1/members/"+suspended.id+"/suspend", p.one.admin, "{}").want(200)
	p.exec(`UPDATE accounts.api_keys SET revoked_at = now() WHERE key_id IN ('` + dead + `', '` + gone + `')`)
	p.exec(`UPDATE accounts.organizations SET settings = '{"ip_allow_list":["192.0.2.0/24"],"access_hours":{"days":[1,2,3,4,5],"from":"08:00","to":"18:00"}}' WHERE org_id = '` + p.one.org + `'`)
	p.clock.advance(time.Second)
	const here = `"circumstances":{"address":"192.0.2.9"}`
	for _, c := range []struct{ body, reason, says string }{
		{`{"action":"keys.read"}`, "allowed", "whole organization"},
		{`{"subject":{"member_id":"` + dev.id + `"},"action":"keys.create",` + here + `}`, "role", "admin or owner"},
		{`{"subject":{"member_id":"` + dev.id + `"},"action":"projects.read","resource":{"project_id":"` + p.one.project + `"},` + here + `}`, "allowed", "1 projects and what is the own"},
		{`{"subject":{"member_id":"` + dev.id + `"},"action":"projects.read","resource":{"project_id":"` + second + `"},` + here + `}`, "reach", "beyond"},
		{`{"subject":{"api_key_id":"` + keyID + `"},"action":"inference.use",` + here + `}`, "allowed", "developer"},
		{`{"subject":{"api_key_id":"` + keyID + `"},"action":"usage.read",` + here + `}`, "scope", "usage:read"},
		{`{"subject":{"service_account_id":"` + account + `"},"action":"analytics.read",` + here + `}`, "allowed", "analyst"},
		{`{"subject":{"service_account_id":"` + account + `"},"action":"budgets.write",` + here + `}`, "role", "budgets.write"},
		{`{"subject":{"member_id":"` + boss.id + `"},"action":"members.write",` + here + `}`, "mfa", "second factor"},
		{`{"subject":{"member_id":"` + boss.id + `"},"action":"members.write","circumstances":{"address":"192.0.2.9","mfa":true}}`, "allowed", "admin"},
		{`{"subject":{"member_id":"` + boss.id + `"},"action":"members.write","circumstances":{"address":"192.0.2.9","method":"key"}}`, "allowed", "admin"},
		{`{"subject":{"member_id":"` + boss.id + `"},"action":"members.write","resource":{"member_id":"` + owner.id + `"},"circumstances":{"address":"192.0.2.9","mfa":true}}`, "rank", "superior"},
		{`{"subject":{"member_id":"` + boss.id + `"},"action":"members.write","resource":{"member_id":"` + dev.id + `","grants":"owner"},"circumstances":{"address":"192.0.2.9","mfa":true}}`, "rank", "as high"},
		{`{"subject":{"member_id":"` + boss.id + `"},"action":"members.write","resource":{"member_id":"` + dev.id + `","grants":"finance"},"circumstances":{"address":"192.0.2.9","mfa":true}}`, "allowed", "admin"},
		{`{"subject":{"member_id":"` + dev.id + `"},"action":"inference.use","circumstances":{"address":"203.0.113.1"}}`, "address", "IP allow-list"},
		{`{"subject":{"member_id":"` + dev.id + `"},"action":"inference.use"}`, "address", "address"}, // where he sits is not known
		{`{"subject":{"member_id":"` + dev.id + `"},"action":"usage.read","circumstances":{"address":"192.0.2.9","at":"2026-10-12T15:59:59Z"}}`, "allowed", "own"},
		{`{"subject":{"member_id":"` + dev.id + `"},"action":"usage.read","circumstances":{"address":"192.0.2.9","at":"2026-10-12T16:00:00Z"}}`, "hours", "access hours"}, // 18:00 in Berlin
		{`{"subject":{"member_id":"` + suspended.id + `"},"action":"keys.read",` + here + `}`, "inactive", "the member is suspended"},
		{`{"subject":{"api_key_id":"` + dead + `"},"action":"keys.read",` + here + `}`, "inactive", "the key is revoked"},
		{`{"subject":{"api_key_id":"` + gone + `"},"action":"keys.read",` + here + `}`, "inactive", "the key is revoked"},
	} {
		if reason, why := p.ask(p.one.admin, c.body); reason != c.reason || !strings.Contains(why, c.says) {
			t.Errorf("%s: %s: %s; want %s, saying %q", c.body, reason, why, c.reason, c.says)
		}
	}
	if got := p.scalar(`SELECT count(*)::text FROM accounts.audit_records WHERE action LIKE 'policy%'`); got != "0" {
		t.Error("a question was recorded as an act")
	}
}

func TestWhoMayAskThePolicy(t *testing.T) {
	t.Parallel()
	p := start(t)
	dev, other := p.person(p.one, authz.Developer), p.person(p.one, authz.Developer)
	stranger, strange := p.person(p.two, authz.Developer), p.program(p.two, authz.Developer)
	p.ask(dev.key, `{"action":"keys.create"}`)
	p.ask(dev.key, `{"subject":{"member_id":"`+dev.id+`"},"action":"keys.create"}`)
	for body, want := range map[string]int{
		`{"subject":{"member_id":"` + other.id + `"},"action":"keys.read"}`:                403,
		`{"subject":{"api_key_id":"` + p.one.keyID + `"},"action":"keys.read"}`:            403,
		`{"action":"keys.read","resource":{"member_id":"` + other.id + `"}}`:               403, // tells his role
		`{"subject":{"member_id":"` + dev.id + `","api_key_id":"x"},"action":"keys.read"}`: 422,
		`{"action":"keys.fly"}`: 422,
		`{}`:                    422,
		`{"action":"keys.read","circumstances":{"address":"here"}}`:                422,
		`{"action":"keys.read","circumstances":{"method":"charm"}}`:                422,
		`{"action":"keys.read","resource":{"grants":"root"}}`:                      422,
		`{"action":"keys.read","resource":{"project_id":"` + p.two.project + `"}}`: 404,
	} {
		if a := p.do("POST", "/v1/policy/evaluate", dev.key, body); a.Code != want {
			t.Errorf("%s: %d; want %d: %s", body, a.Code, want, a.Body)
		}
	}
	for _, subject := range []string{
		`{"member_id":"` + stranger.id + `"}`, `{"service_account_id":"` + strange + `"}`, `{"api_key_id":"` + p.two.keyID + `"}`, `{"member_id":"` + p.program(p.one, authz.Admin) + `"}`,
	} {
		p.do("POST", "/v1/policy/evaluate", p.one.admin, `{"subject":`+subject+`,"action":"keys.read"}`).refused(404, "not_found")
	}
	p.do("POST", "/v1/policy/evaluate", p.one.admin, `{"action":"keys.read","resource":{"member_id":"`+stranger.id+`"}}`).refused(404, "not_found")
	p.do("POST", "/v1/policy/evaluate", "", `{"action":"keys.read"}`).refused(401, "invalid_api_key")
}

// What the policy says of a caller is what happens to him.
func TestTheExplanationIsWhatHappens(t *testing.T) {
	t.Parallel()
	p := start(t)
	for action, path := range map[string]string{
		"keys.read": "/v1/api-keys", "members.read": "/v1/members", "roles.read": "/v1/roles", "projects.read": "/v1/projects",
		"service_accounts.read": "/v1/service-accounts", "budgets.read": "/v1/budgets",
	} {
		for _, role := range authz.OrganizationRoles() {
			who := p.person(p.one, role)
			reason, why := p.ask(who.key, `{"action":"`+action+`"}`)
			a := p.do("GET", path, who.key, "", from("192.0.2.7"))
			if (a.Code == 200) != (reason == "allowed") || a.Code != 200 && a.Code != 403 {
				t.Errorf("%s as %s: %d, and the policy says %s: %s", path, role, a.Code, reason, why)
			}
			p.exec(`DELETE FROM accounts.members WHERE user_id = '` + who.id + `'`)
		}
	}
}

func TestThePermissionsAreAListOfAll(t *testing.T) {
	t.Parallel()
	p := start(t)
	_, key := p.key(p.one, authz.Inference)
	list := items(p.do("GET", "/v1/policy/permissions", key, "").want(200))
	var names []string
	for _, one := range list {
		names = append(names, member[string](one, "action"))
		if one := fmt.Sprint(one); strings.Contains(one, "action:project_members.write ") && one !=
			"map[action:project_members.write customizable:true project_roles:[manager] roles:map[admin:organization manager:projects owner:organization system_administrator:organization] scope:projects:write]" {
			t.Errorf("project_members.write is %s", one)
		}
	}
	var want []string
	for _, a := range authz.Actions() {
		want = append(want, string(a))
	}
	if !slices.Equal(names, want) {
		t.Errorf("permissions %v", names)
	}
}
