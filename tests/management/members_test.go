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

// person is a member with a key that grants every scope.
type person struct{ id, key string }

func (p *platform) person(n tenant, role authz.Role) person {
	p.t.Helper()
	userID, _, secret := p.member(n, role, authz.Scopes()...)
	return person{userID, secret}
}

// pages reads a whole list, a few at a time.
func (p *platform) pages(path, key string, limit int) (list []any) {
	p.t.Helper()
	cursor := ""
	for range 100 {
		v := p.do("GET", fmt.Sprintf("%s?limit=%d&cursor=%s", path, limit, cursor), key, "").want(200)
		list = append(list, items(v)...)
		if v["next_cursor"] == nil {
			return list
		}
		cursor = member[string](v, "next_cursor")
	}
	p.t.Fatalf("%s has no end", path)
	return nil
}

// audited lists what was recorded of a thing: its actions, oldest first.
func (p *platform) audited(target string) string {
	p.t.Helper()
	return p.scalar(`SELECT coalesce(string_agg(action, ' ' ORDER BY audit_id), '') FROM accounts.audit_records WHERE target = '` + target + `'`)
}

func TestAMemberComesAndGoes(t *testing.T) {
	t.Parallel()
	p := start(t)
	a := p.do("POST", "/v1/members", p.one.admin, `{"email":"Ada@Example.com","name":"Ada Lovelace","role":"developer"}`)
	v := a.want(201)
	ada := member[string](v, "id")
	if !id.Valid(id.User, ada) || v["email"] != "ada@example.com" || v["name"] != "Ada Lovelace" || v["role"] != "developer" ||
		v["status"] != "active" || fmt.Sprint(v["keys"]) != "0" || v["added_by"] != p.one.keyID || v["created_at"] != "2026-10-12T09:30:15Z" {
		t.Errorf("added %v", v)
	}
	_, secret := postgrestest.KeyOf(t, p.url, postgrestest.Ownership{Org: p.one.org, Project: p.one.project, Owner: ada}, authz.KeysRead, authz.Inference)
	p.clock.advance(time.Second)
	path := "/v1/members/" + ada
	v = p.do("PATCH", path, p.one.admin, `{"role":"admin"}`).want(200)
	if v["role"] != "admin" || v["updated_at"] != "2026-10-12T09:30:16Z" || fmt.Sprint(v["keys"]) != "1" {
		t.Errorf("changed %v", v)
	}
	if !p.works(secret) {
		t.Fatal("the key of an active member does not work")
	}
	v = p.do("POST", path+"/suspend", p.one.admin, `{"reason":"on leave"}`).want(200)
	if v["status"] != "suspended" || v["status_reason"] != "on leave" || fmt.Sprint(v["keys"]) != "1" {
		t.Errorf("suspended %v", v)
	}
	if p.works(secret) { // at once: the clock stands still
		t.Error("the key of a suspended member works")
	}
	p.do("POST", path+"/suspend", p.one.admin, "").want(200) // nothing more to do
	v = p.do("POST", path+"/reactivate", p.one.admin, "").want(200)
	if v["status"] != "active" || v["status_reason"] != nil || !p.works(secret) {
		t.Errorf("reactivated %v, its key works: %v", v, p.works(secret))
	}
	v = p.do("DELETE", path, p.one.admin, "").want(200)
	if got := fmt.Sprint(v); got != "map[id:"+ada+" key_count:1 keys:revoked transferred_to:<nil>]" {
		t.Errorf("removed %s", got)
	}
	if p.works(secret) {
		t.Error("the key of a removed member works")
	}
	p.do("GET", path, p.one.admin, "").refused(404, "not_found")
	p.do("DELETE", path, p.one.admin, "").refused(404, "not_found")
	if got, want := p.audited(ada), "member.add member.role_change member.suspend member.reactivate member.remove"; got != want {
		t.Errorf("audited %q; want %q", got, want)
	}
	if got := p.scalar(`SELECT detail->>'keys' || ' ' || (detail->>'key_count') FROM accounts.audit_records WHERE action = 'member.remove'`); got != "revoked 1" {
		t.Errorf("the removal says %q of the keys", got)
	}
	if got := p.scalar(`SELECT request_id FROM accounts.audit_records WHERE action = 'member.add'`); got != a.Header().Get("X-Request-Id") {
		t.Errorf("recorded under request %q", got)
	}
	events := p.scalar(`SELECT string_agg(type, ' ' ORDER BY event_id) FROM accounts.outbox WHERE object = '` + ada + `'`)
	if want := "member.added member.role_changed member.suspended member.reactivated member.removed"; events != want {
		t.Errorf("announced %q; want %q", events, want)
	}
	// Who comes back has none of the keys from before.
	p.do("POST", "/v1/members", p.one.admin, `{"email":"ada@example.com","role":"developer"}`).want(201)
	if p.works(secret) {
		t.Error("a revoked key works again")
	}
}

func TestAServiceAccountComesAndGoes(t *testing.T) {
	t.Parallel()
	p := start(t)
	v := p.do("POST", "/v1/service-accounts", p.one.admin, `{"name":"reports","description":"nightly","role":"analyst"}`).want(201)
	account := member[string](v, "id")
	if !id.Valid(id.ServiceAccount, account) || v["name"] != "reports" || v["description"] != "nightly" || v["role"] != "analyst" {
		t.Errorf("created %v", v)
	}
	p.do("POST", "/v1/service-accounts", p.one.admin, `{"name":"Reports","role":"analyst"}`).refused(409, "conflict")
	path := "/v1/service-accounts/" + account
	_, secret := postgrestest.KeyOf(t, p.url, postgrestest.Ownership{Org: p.one.org, Project: p.one.project, Owner: account}, authz.KeysRead)
	p.do("PATCH", path, p.one.admin, `{"name":"daily reports","description":""}`).want(200)
	p.do("PATCH", path, p.one.admin, `{"name":"daily reports"}`).want(200) // nothing changes
	p.do("PATCH", path, p.one.admin, `{"role":"admin"}`).want(200)
	p.do("POST", path+"/suspend", p.one.admin, `{}`).want(200)
	if p.works(secret) {
		t.Error("the key of a suspended service account works")
	}
	p.do("POST", path+"/reactivate", p.one.admin, "").want(200)
	if !p.works(secret) {
		t.Error("the key of a service account does not work")
	}
	v = p.do("DELETE", path, p.one.admin, "").want(200)
	if fmt.Sprint(v["keys"], v["key_count"]) != "revoked1" || p.works(secret) {
		t.Errorf("deleted %v, its key works: %v", v, p.works(secret))
	}
	p.do("GET", path, p.one.admin, "").refused(404, "not_found")
	p.do("PATCH", path, p.one.admin, `{"name":"x"}`).refused(404, "not_found")
	p.do("POST", path+"/reactivate", p.one.admin, "").refused(404, "not_found")
	for _, one := range p.pages("/v1/service-accounts", p.one.admin, 200) {
		if member[string](one, "id") == account {
			t.Error("a deleted service account is listed")
		}
	}
	p.do("POST", "/v1/service-accounts", p.one.admin, `{"name":"daily reports","role":"analyst"}`).want(201) // the name is free
	want := "service_account.create service_account.update service_account.role_change service_account.suspend service_account.reactivate service_account.delete"
	if got := p.audited(account); got != want {
		t.Errorf("audited %q; want %q", got, want)
	}
}

// rank is how high a role stands: what the rules below are written in.
func rank(r authz.Role) int {
	return map[authz.Role]int{authz.Owner: 4, authz.Admin: 3, authz.Finance: 2, authz.Manager: 2, authz.Analyst: 1, authz.Developer: 1}[r]
}

func TestNobodyActsOnAPeerOrASuperior(t *testing.T) {
	t.Parallel()
	p := start(t)
	for _, actor := range authz.OrganizationRoles() {
		by := p.person(p.one, actor)
		may := actor == authz.Owner || actor == authz.Admin
		for _, role := range authz.OrganizationRoles() {
			want := 403
			if may && rank(role) < rank(actor) {
				want = 200
			}
			on, program := p.person(p.one, role), p.program(p.one, role)
			for _, path := range []string{"/v1/members/" + on.id, "/v1/service-accounts/" + program} {
				for _, c := range [][3]string{
					{"POST", "/suspend", ""}, {"POST", "/reactivate", ""}, {"PATCH", "", `{"role":"developer"}`}, {"PATCH", "", `{"name":"` + path[4:20] + string(actor+role) + `"}`}, {"DELETE", "", ""},
				} {
					if a := p.do(c[0], path+c[1], by.key, c[2]); a.Code != want {
						t.Errorf("%s: %s %s%s of %s: %d; want %d: %s", actor, c[0], path[:12], c[1], role, a.Code, want, a.Body)
					}
				}
			}
		}
	}
}

func TestNobodyGivesARoleAsHighAsTheOwn(t *testing.T) {
	t.Parallel()
	p := start(t)
	for i, actor := range authz.OrganizationRoles() {
		by := p.person(p.one, actor)
		may := actor == authz.Owner || actor == authz.Admin
		for k, role := range authz.OrganizationRoles() {
			want := 403
			if may && (rank(role) < rank(actor) || role == authz.Owner && actor == authz.Owner) {
				want = 201
			}
			if a := p.do("POST", "/v1/members", by.key, fmt.Sprintf(`{"email":"m%d.%d@example.com","role":"%s"}`, i, k, role)); a.Code != want {
				t.Errorf("%s makes a member %s: %d; want %d: %s", actor, role, a.Code, want, a.Body)
			}
			if a := p.do("POST", "/v1/service-accounts", by.key, fmt.Sprintf(`{"name":"s%d.%d","role":"%s"}`, i, k, role)); a.Code != want {
				t.Errorf("%s makes a service account %s: %d; want %d: %s", actor, role, a.Code, want, a.Body)
			}
			if want == 201 {
				want = 200
			}
			on := p.person(p.one, authz.Developer)
			p.exec(`UPDATE accounts.api_keys SET scopes = '{models:read}' WHERE owner_id = '` + on.id + `'`) // see TestNoKeyGetsMoreThanWhoMadeItHas
			if a := p.do("PATCH", "/v1/members/"+on.id, by.key, `{"role":"`+string(role)+`"}`); a.Code != want {
				t.Errorf("%s makes a developer %s: %d; want %d: %s", actor, role, a.Code, want, a.Body)
			}
			p.exec(`DELETE FROM accounts.members WHERE user_id <> '` + by.id + `'`) // there is room
		}
	}
}

func TestNobodyRaisesHimself(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.person(p.one, authz.Owner)
	for _, role := range authz.OrganizationRoles() {
		me := p.person(p.one, role)
		for _, next := range authz.OrganizationRoles() {
			if rank(next) <= rank(role) && role != next && (role == authz.Owner || role == authz.Admin) || role == next {
				continue // a step down, or none
			}
			p.do("PATCH", "/v1/members/"+me.id, me.key, `{"role":"`+string(next)+`"}`).refused(403, "forbidden")
		}
		if got := p.scalar(`SELECT role FROM accounts.members WHERE user_id = '` + me.id + `'`); got != string(role) {
			t.Errorf("a %s has become %s by himself", role, got)
		}
	}
	admin := p.person(p.one, authz.Admin)
	p.do("PATCH", "/v1/members/"+admin.id, admin.key, `{"role":"developer"}`).want(200)
	p.do("PATCH", "/v1/members/"+admin.id, admin.key, `{"role":"admin"}`).refused(403, "forbidden")
}

func TestTheLastOwnerStays(t *testing.T) {
	t.Parallel()
	p := start(t)
	me := p.person(p.one, authz.Owner)
	path := "/v1/members/" + me.id
	last := func() {
		t.Helper()
		for _, c := range [][3]string{{"DELETE", path, ""}, {"POST", path + "/suspend", `{}`}, {"PATCH", path, `{"role":"admin"}`}} {
			v := p.do(c[0], c[1], me.key, c[2]).refused(409, "conflict")
			if v["reason"] != "last_owner" {
				t.Errorf("%s %s: %v", c[0], c[1], v)
			}
		}
	}
	last()
	p.program(p.one, authz.Owner) // a program is nobody to ask
	last()
	v := p.do("POST", "/v1/members", me.key, `{"email":"second@example.com","role":"owner"}`).want(201)
	second := member[string](v, "id")
	p.exec(`UPDATE accounts.members SET status = 'suspended' WHERE user_id = '` + second + `'`)
	last() // the other can't act
	p.exec(`UPDATE accounts.members SET status = 'active' WHERE user_id = '` + second + `'`)
	p.do("DELETE", "/v1/members/"+second, me.key, "").refused(403, "forbidden") // a peer
	p.do("PATCH", path, me.key, `{"role":"admin"}`).want(200)                   // he steps down
	p.do("PATCH", path, me.key, `{"role":"owner"}`).refused(403, "forbidden")
}

func TestTwoOwnersWhoLeaveAtOnceLeaveOne(t *testing.T) {
	t.Parallel()
	p := start(t)
	for round := range 5 {
		p.exec(`DELETE FROM accounts.members`)
		owners := []person{p.person(p.one, authz.Owner), p.person(p.one, authz.Owner)}
		leave := [][3]string{{"DELETE", "", ""}, {"POST", "/suspend", "{}"}, {"PATCH", "", `{"role":"admin"}`}}
		codes := make([]int, len(owners))
		var wg sync.WaitGroup
		for i, o := range owners {
			how := leave[(round+i)%len(leave)]
			wg.Go(func() { codes[i] = p.do(how[0], "/v1/members/"+o.id+how[1], o.key, how[2]).Code })
		}
		wg.Wait()
		slices.Sort(codes)
		left := p.scalar(`SELECT count(*)::text FROM accounts.members WHERE role = 'owner' AND status = 'active'`)
		if !slices.Equal(codes, []int{200, 409}) || left != "1" {
			t.Errorf("answers %v, owners left: %s; want one of them to stay", codes, left)
		}
	}
}

func TestRolesOfThePlatformAreOfItsOwnOrganizationOnly(t *testing.T) {
	t.Parallel()
	p := start(t)
	owner := p.person(p.one, authz.Owner)
	for _, role := range authz.PlatformRoles() {
		body := `{"email":"x@example.com","name":"x","role":"` + string(role) + `"}`
		v := p.do("POST", "/v1/members", owner.key, body).refused(422, "unprocessable")
		if !strings.Contains(fmt.Sprint(v["detail"]), "platform") {
			t.Errorf("%s: %v", role, v)
		}
		p.do("POST", "/v1/service-accounts", owner.key, `{"name":"x","role":"`+string(role)+`"}`).refused(422, "unprocessable")
		on := p.person(p.one, authz.Developer)
		p.do("PATCH", "/v1/members/"+on.id, owner.key, `{"role":"`+string(role)+`"}`).refused(422, "unprocessable")
	}
	// Nor does a key of the platform give one there, or a role of tenants at home.
	_, stray := p.key(p.one, append(authz.Scopes(), authz.Platform)...)
	p.do("POST", "/v1/members", stray, `{"email":"x@example.com","role":"support"}`).refused(422, "unprocessable")
	p.exec(`UPDATE accounts.organizations SET kind = 'platform' WHERE org_id = '` + p.two.org + `'`)
	_, home := p.key(p.two, append(authz.Scopes(), authz.Platform)...)
	for _, role := range authz.OrganizationRoles() {
		p.do("POST", "/v1/members", home, `{"email":"x@example.com","role":"`+string(role)+`"}`).refused(422, "unprocessable")
	}
	v := p.do("POST", "/v1/members", home, `{"email":"first@example.com","role":"system_administrator"}`).want(201)
	p.do("POST", "/v1/members", home, `{"email":"x@example.com","role":"support"}`).want(201)
	admin := member[string](v, "id")
	_, adminKey := postgrestest.KeyOf(t, p.url, postgrestest.Ownership{Org: p.two.org, Project: p.two.project, Owner: admin}, append(authz.Scopes(), authz.Platform)...)
	p.do("DELETE", "/v1/members/"+admin, adminKey, "").refused(409, "conflict") // the last of the highest
}

func TestWhatBecomesOfTheKeysOfOneWhoLeaves(t *testing.T) {
	t.Parallel()
	p := start(t)
	leaver := p.person(p.one, authz.Developer)
	_, inference := postgrestest.KeyOf(t, p.url, postgrestest.Ownership{Org: p.one.org, Project: p.one.project, Owner: leaver.id}, authz.KeysRead, authz.Inference)
	p.exec(`UPDATE accounts.api_keys SET scopes = '{inference,keys:read}' WHERE owner_id = '` + leaver.id + `'`)
	path := "/v1/members/" + leaver.id
	heir, higher, gone := p.program(p.one, authz.Developer), p.program(p.one, authz.Admin), p.program(p.one, authz.Developer)
	p.exec(`UPDATE accounts.service_accounts SET status = 'suspended' WHERE account_id = '` + gone + `'`)
	foreign := p.program(p.two, authz.Developer)
	for name, c := range map[string]struct {
		query, code string
		status      int
	}{
		"to one who could do more with them":  {"?transfer_to=" + higher, "conflict", 409},
		"to a suspended one":                  {"?transfer_to=" + gone, "conflict", 409},
		"to one of another organisation":      {"?transfer_to=" + foreign, "not_found", 404},
		"to nobody":                           {"?transfer_to=sa_x", "not_found", 404},
		"to himself":                          {"?transfer_to=" + leaver.id, "unprocessable", 422},
		"to nobody in particular":             {"?keys=transfer", "unprocessable", 422},
		"revoked and transferred":             {"?keys=revoke&transfer_to=" + heir, "unprocessable", 422},
		"something else":                      {"?keys=sell", "unprocessable", 422},
		"by a parameter that nobody asks for": {"?force=true", "unprocessable", 422},
	} {
		t.Log(name)
		p.do("DELETE", path+c.query, p.one.admin, "").refused(c.status, c.code)
	}
	_, narrow := p.key(p.one, authz.MembersWrite)
	v := p.do("DELETE", path+"?transfer_to="+heir, narrow, "").refused(403, "forbidden")
	if v["permission"] != "keys.update" {
		t.Errorf("giving keys on needs %v", v["permission"])
	}
	if !p.works(inference) {
		t.Error("a refused removal has ended a key")
	}
	v = p.do("DELETE", path+"?transfer_to="+heir, p.one.admin, "").want(200)
	if got := fmt.Sprint(v["keys"], v["key_count"], v["transferred_to"]); got != "transferred 2 "+heir && got != "transferred2"+heir {
		t.Errorf("the answer says %v", v)
	}
	if !p.works(inference) {
		t.Error("a key that was given on does not work")
	}
	if got := p.scalar(`SELECT string_agg(kind || ' ' || owner_id, ',') FROM accounts.api_keys WHERE owner_id = '` + heir + `'`); got != "service "+heir+",service "+heir {
		t.Errorf("the keys are %s", got)
	}
	if got := p.scalar(`SELECT count(*)::text FROM accounts.audit_records WHERE action = 'key.transfer' AND detail->>'before' = '` + leaver.id + `'`); got != "2" {
		t.Errorf("%s transfers are recorded; want one a key", got)
	}
	// A key that reads its owner's usage is not to read another's: who left has it yet.
	for scope, role := range map[string]authz.Role{"usage:read": authz.Developer, "analytics:read": authz.Developer} {
		reader, next := p.person(p.one, role), p.person(p.one, role)
		p.exec(`UPDATE accounts.api_keys SET scopes = '{` + scope + `}' WHERE owner_id = '` + reader.id + `'`)
		v := p.do("DELETE", "/v1/members/"+reader.id+"?transfer_to="+next.id, p.one.admin, "").refused(409, "conflict")
		if fmt.Sprint(v["permission"]) == "" {
			t.Errorf("%s: %v", scope, v)
		}
		everywhere := p.person(p.one, authz.Analyst)
		p.exec(`UPDATE accounts.api_keys SET scopes = '{` + scope + `}' WHERE owner_id = '` + everywhere.id + `'`)
		p.do("DELETE", "/v1/members/"+everywhere.id+"?transfer_to="+next.id, p.one.admin, "").want(200)
	}
	// A key by which one gets at other keys goes to nobody with keys of his own.
	other := p.person(p.one, authz.Developer)
	p.exec(`UPDATE accounts.api_keys SET scopes = '{keys:write}' WHERE owner_id = '` + other.id + `'`)
	p.do("DELETE", "/v1/members/"+other.id+"?transfer_to="+heir, p.one.admin, "").refused(409, "conflict")
	p.do("DELETE", "/v1/members/"+other.id+"?keys=revoke", p.one.admin, "").want(200)
	if got := p.scalar(`SELECT revoked_reason FROM accounts.api_keys WHERE owner_id = '` + other.id + `'`); got != "its owner was removed" {
		t.Errorf("revoked because %q", got)
	}
}

// A key that acts in projects goes to nobody who has others.
func TestKeysGoToNobodyWithFurtherProjects(t *testing.T) {
	t.Parallel()
	p := start(t)
	leaver, heir := p.person(p.one, authz.Manager), p.program(p.one, authz.Manager)
	p.exec(`UPDATE accounts.api_keys SET scopes = '{budgets:read}' WHERE owner_id = '` + leaver.id + `'`)
	seat := func(who, project string) {
		p.exec(fmt.Sprintf(`INSERT INTO accounts.project_members VALUES ('%s', '%s', '%s', 'viewer', 'test', now())`, p.one.org, project, who))
	}
	second := member[string](p.do("POST", "/v1/projects", p.one.admin, `{"name":"second"}`).want(201), "id")
	seat(leaver.id, p.one.project)
	seat(heir, p.one.project)
	seat(heir, second)
	p.do("DELETE", "/v1/members/"+leaver.id+"?transfer_to="+heir, p.one.admin, "").refused(409, "conflict")
	seat(leaver.id, second)
	p.do("DELETE", "/v1/members/"+leaver.id+"?transfer_to="+heir, p.one.admin, "").want(200)
	if got := p.scalar(`SELECT count(*)::text FROM accounts.project_members WHERE member_id = '` + leaver.id + `'`); got != "0" {
		t.Errorf("who was removed is in %s projects", got)
	}
}

func TestAChangeOfPeopleCountsInAnotherProcessWithinASecond(t *testing.T) {
	t.Parallel()
	p := start(t)
	other := p.other()
	me := p.person(p.one, authz.Admin)
	path := "/v1/members/" + me.id
	if !other.works(me.key) {
		t.Fatal("the key does not work")
	}
	for _, c := range []struct {
		name   string
		change func()
		want   int
	}{
		{"suspended", func() { p.do("POST", path+"/suspend", p.one.admin, "{}").want(200) }, 401},
		{"active again", func() { p.do("POST", path+"/reactivate", p.one.admin, "").want(200) }, 201},
		{"demoted", func() { p.do("PATCH", path, p.one.admin, `{"role":"analyst"}`).want(200) }, 403},
		{"promoted", func() { p.do("PATCH", path, p.one.admin, `{"role":"admin"}`).want(200) }, 201},
		{"removed", func() { p.do("DELETE", path, p.one.admin, "").want(200) }, 401},
	} {
		c.change()
		p.clock.advance(time.Second)
		if a := other.do("POST", "/v1/api-keys", me.key, `{"name":"x","scopes":["keys:read"]}`); a.Code != c.want {
			t.Errorf("%s: the other process answers %d; want %d: %s", c.name, a.Code, c.want, a.Body)
		}
	}
}

func TestWhatAMemberCanBeAddedFrom(t *testing.T) {
	t.Parallel()
	p := start(t)
	for body, want := range map[string]int{
		`{"email":"a@example.com"}`:                                               422, // no role
		`{"role":"developer"}`:                                                    422,
		`{"email":"","role":"developer"}`:                                         422,
		`{"email":"a","role":"developer"}`:                                        422,
		`{"email":"a@","role":"developer"}`:                                       422,
		`{"email":"@example.com","role":"developer"}`:                             422,
		`{"email":"a@b@example.com","role":"developer"}`:                          422,
		`{"email":"Ada <a@example.com>","role":"developer"}`:                      422,
		`{"email":"a@example.com, b@example.com","role":"developer"}`:             422,
		`{"email":"a@example.com\r\nBcc: b@example.com","role":"developer"}`:      422,
		`{"email":"a@example.com\n","role":"developer"}`:                          422,
		`{"email":" a@example.com","role":"developer"}`:                           422,
		`{"email":"a@exämple.com","role":"developer"}`:                            422, // in Punycode only
		`{"email":"а@example.com","role":"developer"}`:                            422, // a Cyrillic letter
		`{"email":"a\u202e@example.com","role":"developer"}`:                      422,
		`{"email":"` + long(250) + `@example.com","role":"developer"}`:            422,
		`{"email":"a@example.com","role":""}`:                                     422,
		`{"email":"a@example.com","role":"root"}`:                                 422,
		`{"email":"a@example.com","role":"custom"}`:                               422,
		`{"email":"a@example.com","role":"Owner"}`:                                422,
		`{"email":"a@example.com","role":"role_x"}`:                               422,
		`{"email":"a@example.com","role":"` + id.New(id.Role) + `"}`:              404,
		`{"email":"a@example.com","role":"developer","name":"a\u0007"}`:           422,
		`{"email":"a@example.com","role":"developer","name":"a\u202eb"}`:          422,
		`{"email":"a@example.com","role":"developer","name":"a\u200bb"}`:          422,
		`{"email":"a@example.com","role":"developer","name":"a\nb"}`:              422,
		`{"email":"a@example.com","role":"developer","name":" a"}`:                422,
		`{"email":"a@example.com","role":"developer","name":"` + long(101) + `"}`: 422,
		// Mass assignment: what is not the caller's to say.
		`{"email":"a@example.com","role":"developer","id":"user_1"}`:                      422,
		`{"email":"a@example.com","role":"developer","org_id":"` + p.two.org + `"}`:       422,
		`{"email":"a@example.com","role":"developer","status":"active"}`:                  422,
		`{"email":"a@example.com","role":"developer","kind":"platform"}`:                  422,
		`{"email":"a@example.com","role":"developer","ROLE":"owner"}`:                     422,
		`{"email":"a@example.com","role":"developer","added_by":"me"}`:                    422,
		`{"email":"a@example.com","role":"developer","projects":[]}`:                      422,
		`{"email":"a@example.com","role":["owner"]}`:                                      422,
		`{"email":"a@example.com","role":"developer","role":"owner"}`:                     400,
		`{"email":"a@example.com","role":"developer","name":"Ærøskøbing Ñandú 李 نیلوفر"}`: 201,
	} {
		if a := p.do("POST", "/v1/members", p.one.admin, body); a.Code != want {
			t.Errorf("%.90s: %d; want %d: %s", body, a.Code, want, a.Body)
		}
	}
	if got := p.scalar(`SELECT count(*)::text FROM accounts.audit_records`); got != "1" {
		t.Errorf("%s audit records; what is refused changes nothing", got)
	}
	if got := p.scalar(`SELECT count(*)::text FROM accounts.users`); got != "1" {
		t.Errorf("%s people; what is refused makes nobody known", got)
	}
}

// Every body that changes somebody, with a member that is not the caller's to set.
func TestMassAssignmentIsRefused(t *testing.T) {
	t.Parallel()
	p := start(t)
	on, account := p.person(p.one, authz.Developer), p.program(p.one, authz.Developer)
	role := p.do("POST", "/v1/roles", p.one.admin, `{"name":"r","permissions":["keys.read"],"reach":"own"}`).want(201)
	for _, c := range [][3]string{
		{"POST", "/v1/members", `"email":"n@example.com","role":"developer"`},
		{"PATCH", "/v1/members/" + on.id, `"role":"analyst"`},
		{"POST", "/v1/members/" + on.id + "/suspend", `"reason":"x"`},
		{"POST", "/v1/service-accounts", `"name":"n","role":"developer"`},
		{"PATCH", "/v1/service-accounts/" + account, `"role":"analyst"`},
		{"POST", "/v1/service-accounts/" + account + "/suspend", `"reason":"x"`},
		{"POST", "/v1/roles", `"name":"n","permissions":["keys.read"],"reach":"own"`},
		{"PATCH", "/v1/roles/" + member[string](role, "id"), `"name":"m"`},
		{"POST", "/v1/projects", `"name":"n"`},
		{"PATCH", "/v1/projects/" + p.one.project, `"name":"n"`},
		{"PUT", "/v1/projects/" + p.one.project + "/members/" + on.id, `"role":"viewer"`},
		{"POST", "/v1/policy/evaluate", `"action":"keys.read"`},
	} {
		for _, extra := range []string{`"org_id":"` + p.two.org + `"`, `"status":"active"`, `"kind":"platform"`, `"id":"x"`, `"created_by":"me"`, `"rank":100`, `"built_in":true`, `"archived_at":null`} {
			p.do(c[0], c[1], p.one.admin, "{"+c[2]+","+extra+"}").refused(422, "unprocessable")
		}
		if c[1] != "/v1/policy/evaluate" && !strings.HasSuffix(c[1], "suspend") && c[0] != "PATCH" && c[0] != "PUT" {
			p.do(c[0], c[1], p.one.admin, `{`+c[2]+`,"role":"owner","role":"owner"}`).want(400)
		}
	}
	p.do("PATCH", "/v1/members/"+on.id, p.one.admin, `{"email":"new@example.com"}`).refused(422, "unprocessable")
	if got := p.scalar(`SELECT string_agg(action, ',') FROM accounts.audit_records`); got != "role.create" {
		t.Errorf("recorded %q; want nothing but the beginning", got)
	}
}

// write is a request that changes something of an organisation, and what it acts on.
type write struct{ method, path, body string }

// writes are one of each route that changes people, roles and projects of a tenant.
func (p *platform) writes(n tenant) []write {
	p.t.Helper()
	on, second, account, other := p.person(n, authz.Developer), p.person(n, authz.Developer), p.program(n, authz.Developer), p.program(n, authz.Developer)
	role := id.New(id.Role)
	project, spare := id.New(id.Project), id.New(id.Project)
	p.exec(fmt.Sprintf(`
		INSERT INTO accounts.roles VALUES ('%[1]s', '%[2]s', '%[2]s', '', '{keys.read}', 'own', 'test', now(), now());
		INSERT INTO accounts.projects (org_id, project_id, name, created_at, archived_at) VALUES ('%[1]s', '%[3]s', 'p', now(), NULL), ('%[1]s', '%[4]s', 'q', now(), now());
		INSERT INTO accounts.project_members VALUES ('%[1]s', '%[3]s', '%[5]s', 'viewer', 'test', now());
		UPDATE accounts.members SET status = 'suspended' WHERE user_id = '%[6]s';
		UPDATE accounts.service_accounts SET status = 'suspended' WHERE account_id = '%[7]s'`, n.org, role, project, spare, on.id, second.id, other))
	return []write{
		{"PATCH", "/v1/members/" + on.id, `{"role":"analyst"}`},
		{"PATCH", "/v1/members/" + on.id, `{"name":"new"}`},
		{"POST", "/v1/members/" + on.id + "/suspend", `{}`},
		{"POST", "/v1/members/" + second.id + "/reactivate", ``},
		{"DELETE", "/v1/members/" + on.id, ``},
		{"PATCH", "/v1/service-accounts/" + account, `{"role":"analyst"}`},
		{"POST", "/v1/service-accounts/" + account + "/suspend", `{}`},
		{"POST", "/v1/service-accounts/" + other + "/reactivate", ``},
		{"DELETE", "/v1/service-accounts/" + account, ``},
		{"PATCH", "/v1/roles/" + role, `{"reach":"projects"}`},
		{"DELETE", "/v1/roles/" + role, ``},
		{"PATCH", "/v1/projects/" + project, `{"name":"new"}`},
		{"POST", "/v1/projects/" + project + "/archive", ``},
		{"POST", "/v1/projects/" + spare + "/restore", ``},
		{"PUT", "/v1/projects/" + project + "/members/" + account, `{"role":"viewer"}`},
		{"DELETE", "/v1/projects/" + project + "/members/" + on.id, ``},
	}
}

// people is everything of an organisation's people that can change.
func (p *platform) people() string {
	p.t.Helper()
	return p.scalar(`SELECT md5(string_agg(x, '' ORDER BY x)) FROM (
		SELECT t::text AS x FROM accounts.members t UNION ALL SELECT t::text FROM accounts.service_accounts t UNION ALL SELECT t::text FROM accounts.roles t
		UNION ALL SELECT t::text FROM accounts.projects t UNION ALL SELECT t::text FROM accounts.project_members t UNION ALL SELECT concat(key_id, owner_id, kind, revoked_at) FROM accounts.api_keys) all_of_it`)
}

func TestForeignPeopleAndProjectsAreNotThere(t *testing.T) {
	t.Parallel()
	p := start(t)
	list := p.writes(p.two)
	before := p.people()
	for _, w := range list {
		p.do(w.method, w.path, p.one.admin, w.body).refused(404, "not_found")
		read, _, _ := strings.Cut(strings.TrimPrefix(w.path, "/v1/"), "/suspend")
		parts := strings.Split(read, "/")
		p.do("GET", "/v1/"+parts[0]+"/"+parts[1], p.one.admin, "").refused(404, "not_found")
	}
	p.do("GET", "/v1/projects/"+p.two.project+"/members", p.one.admin, "").refused(404, "not_found")
	stranger := p.person(p.two, authz.Developer)
	p.do("PUT", "/v1/projects/"+p.one.project+"/members/"+stranger.id, p.one.admin, `{"role":"viewer"}`).refused(404, "not_found")
	p.exec(`DELETE FROM accounts.api_keys WHERE owner_id = '` + stranger.id + `'; DELETE FROM accounts.members WHERE user_id = '` + stranger.id + `'`)
	if p.people() != before {
		t.Error("something of the other organisation has changed")
	}
	for _, path := range []string{"/v1/members", "/v1/service-accounts", "/v1/roles", "/v1/projects"} {
		if body := p.do("GET", path, p.one.admin, "").Body.String(); strings.Contains(body, p.two.org[4:]) || strings.Contains(body, p.two.project) {
			t.Errorf("%s shows something of the other organisation: %s", path, body)
		}
	}
	for _, w := range list { // each of them is fine at home
		if a := p.do(w.method, w.path, p.two.admin, w.body); a.Code >= 300 && a.Code != 404 {
			t.Errorf("%s %s: %d %s", w.method, w.path, a.Code, a.Body)
		}
	}
}

func TestNothingOfPeopleChangesWithoutARecord(t *testing.T) {
	t.Parallel()
	p := start(t)
	list := append(p.writes(p.one),
		write{"POST", "/v1/members", `{"email":"n@example.com","role":"developer"}`},
		write{"POST", "/v1/service-accounts", `{"name":"n","role":"developer"}`},
		write{"POST", "/v1/roles", `{"name":"n","permissions":["keys.read"],"reach":"own"}`},
		write{"POST", "/v1/projects", `{"name":"n"}`})
	p.exec(`REVOKE INSERT ON accounts.audit_records FROM aiaas_accounts`)
	before := p.people()
	for _, w := range list {
		p.do(w.method, w.path, p.one.admin, w.body).refused(500, "internal_error")
		if p.people() != before {
			t.Fatalf("%s %s changed something without a record", w.method, w.path)
		}
	}
}

func TestForgedCursorsOfPeopleAreRefused(t *testing.T) {
	t.Parallel()
	p := start(t)
	for _, path := range []string{"/v1/members", "/v1/service-accounts", "/v1/projects", "/v1/projects/" + p.one.project + "/members"} {
		for _, cursor := range []string{"forged", "MTprZXlfMQ", "%00", "MTp1c2VyXzE", "MTo"} {
			p.do("GET", path+"?cursor="+cursor, p.one.admin, "").refused(400, "invalid_request")
		}
	}
}

func TestPeopleAreListedInPages(t *testing.T) {
	t.Parallel()
	p := start(t)
	var want []string
	for i := range 7 {
		v := p.do("POST", "/v1/members", p.one.admin, fmt.Sprintf(`{"email":"m%d@example.com","role":"developer"}`, i)).want(201)
		want = append(want, member[string](v, "id"))
		p.do("PUT", "/v1/projects/"+p.one.project+"/members/"+want[i], p.one.admin, `{"role":"viewer"}`).want(200)
	}
	for path, name := range map[string]string{"/v1/members": "id", "/v1/projects/" + p.one.project + "/members": "member_id"} {
		var got []string
		for _, one := range p.pages(path, p.one.admin, 3) {
			got = append(got, member[string](one, name))
		}
		slices.Sort(want) // as their ids are, which tell nothing
		if !slices.Equal(got, want) {
			t.Errorf("%s lists %v; want %v", path, got, want)
		}
	}
}

// The plan's room holds however many come at once.
func TestThePlanAllowsSoManyMembersAndProjects(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.exec(`UPDATE accounts.plans SET max_members = 5, max_projects = 4 WHERE plan_id = 'starter'`)
	for _, c := range []struct{ path, body, count string }{
		{"/v1/members", `{"email":"m%d@example.com","role":"developer"}`, `SELECT count(*)::text FROM accounts.members WHERE org_id = '` + p.one.org + `'`},
		{"/v1/projects", `{"name":"p%d"}`, `SELECT count(*)::text FROM accounts.projects WHERE org_id = '` + p.one.org + `'`},
	} {
		var wg sync.WaitGroup
		codes := make([]int, 12)
		for i := range codes {
			wg.Go(func() { codes[i] = p.do("POST", c.path, p.one.admin, fmt.Sprintf(c.body, i)).Code })
		}
		wg.Wait()
		made := 0
		for _, code := range codes {
			if code == 201 {
				made++
			} else if code != 409 {
				t.Errorf("%s: %d; want 201 or 409", c.path, code)
			}
		}
		want := map[string]int{"/v1/members": 5, "/v1/projects": 4}[c.path]
		if got := p.scalar(c.count); got != fmt.Sprint(want) {
			t.Errorf("%s: there are %s; the plan allows %d", c.path, got, want)
		}
		v := p.do("POST", c.path, p.one.admin, fmt.Sprintf(c.body, 99)).refused(409, "conflict")
		if !strings.Contains(fmt.Sprint(v["detail"]), "plan") || fmt.Sprint(v["limit"]) != fmt.Sprint(want) {
			t.Errorf("%s: %v", c.path, v)
		}
	}
}

// One person, whatever the case of the address, and whatever the organisation; and
// what one organisation calls him is nothing that the other sees.
func TestAPersonIsOneByAddress(t *testing.T) {
	t.Parallel()
	p := start(t)
	add := func(n tenant, email, name string) answer {
		return p.do("POST", "/v1/members", n.admin, fmt.Sprintf(`{"email":"%s","name":"%s","role":"developer"}`, email, name))
	}
	one := add(p.one, "ada@example.com", "The Countess").want(201)
	add(p.one, "ADA@Example.COM", "").refused(409, "conflict")
	two := add(p.two, "Ada@EXAMPLE.com", "").want(201)
	if one["id"] != two["id"] || two["name"] != "" {
		t.Errorf("one is %v, two is %v; want one person, and nothing of what the first calls her", one, two)
	}
	ada := member[string](one, "id")
	p.exec(`UPDATE accounts.users SET name = 'Ada' WHERE user_id = '` + ada + `'`) // hers, and no organisation's
	for n, want := range map[*tenant]string{&p.one: "The Countess", &p.two: ""} {
		if v := p.do("GET", "/v1/members/"+ada, n.admin, "").want(200); v["name"] != want {
			t.Errorf("called %v; want %s", v["name"], want)
		}
	}
	p.do("PATCH", "/v1/members/"+ada, p.two.admin, `{"role":"analyst"}`).want(200)
	if got := p.scalar(`SELECT name FROM accounts.members WHERE org_id = '` + p.two.org + `' AND user_id = '` + ada + `'`); got != "" {
		t.Errorf("a new role has written the name %q down", got)
	}
	p.do("PATCH", "/v1/members/"+ada, p.one.admin, `{"name":""}`).want(200)
	if v := p.do("GET", "/v1/members/"+ada, p.one.admin, "").want(200); v["name"] != "" {
		t.Errorf("called %v; want nothing", v["name"])
	}
	p.do("DELETE", "/v1/members/"+ada, p.one.admin, "").want(200)
	p.do("GET", "/v1/members/"+ada, p.two.admin, "").want(200)
}

// To add somebody tells nothing of what others know of him.
func TestWhoIsKnownElsewhereIsAddedLikeAStranger(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.do("POST", "/v1/members", p.two.admin, `{"email":"Known@Example.com","name":"Secret Project Lead","role":"analyst"}`).want(201)
	_, root := p.key(p.two, authz.Platform)
	p.exec(`UPDATE accounts.organizations SET kind = 'platform' WHERE org_id = '` + p.two.org + `'`)
	p.do("POST", "/v1/organizations", root, `{"name":"Third","owner":{"email":"Chief@Example.com","name":"The Chief"}}`).want(201)
	p.clock.advance(24 * time.Hour)
	var answers, shown []string
	for _, who := range []string{"known", "chief", "stranger"} {
		v := p.do("POST", "/v1/members", p.one.admin, `{"email":"`+who+`@example.com","role":"developer"}`).want(201)
		memberID := member[string](v, "id")
		if at := len("user_") + 12; memberID[at] != '4' {
			t.Errorf("the id %s tells a time", memberID)
		}
		plain := strings.NewReplacer(memberID, "user", who+"@example.com", "address")
		answers = append(answers, plain.Replace(fmt.Sprint(v)))
		p.do("PUT", "/v1/projects/"+p.one.project+"/members/"+memberID, p.one.admin, `{"role":"viewer"}`).want(200)
		for _, path := range []string{"/v1/members/" + memberID, "/v1/projects/" + p.one.project + "/members"} {
			text := p.do("GET", path, p.one.admin, "").Body.String()
			if strings.Contains(text, "Secret") || strings.Contains(text, "Chief") || strings.Contains(text, "2026-10-12") {
				t.Errorf("%s tells of another organization: %s", path, text)
			}
			if strings.HasSuffix(path, memberID) {
				shown = append(shown, plain.Replace(text))
			}
		}
	}
	for i := range answers {
		if answers[i] != answers[2] || shown[i] != shown[2] {
			t.Errorf("who is known is\n%s\n%s\nand a stranger is\n%s\n%s", answers[i], shown[i], answers[2], shown[2])
		}
	}
}

func TestAManagerSeesThePeopleOfHisProjects(t *testing.T) {
	t.Parallel()
	p := start(t)
	boss, mate, stranger := p.person(p.one, authz.Manager), p.person(p.one, authz.Developer), p.person(p.one, authz.Developer)
	for _, who := range []person{boss, mate} {
		p.do("PUT", "/v1/projects/"+p.one.project+"/members/"+who.id, p.one.admin, `{"role":"viewer"}`).want(200)
	}
	var got []string
	for _, one := range p.pages("/v1/members", boss.key, 1) {
		got = append(got, member[string](one, "id"))
	}
	if !slices.Equal(got, slices.Sorted(slices.Values([]string{boss.id, mate.id}))) {
		t.Errorf("he sees %v", got)
	}
	p.do("GET", "/v1/members/"+mate.id, boss.key, "").want(200)
	p.do("GET", "/v1/members/"+stranger.id, boss.key, "").refused(404, "not_found")
	p.do("GET", "/v1/members", mate.key, "").refused(403, "forbidden")
	p.do("GET", "/v1/service-accounts", boss.key, "").refused(403, "forbidden")
}

func TestScopesBindWhoManagesPeople(t *testing.T) {
	t.Parallel()
	p := start(t)
	_, read := p.key(p.one, authz.MembersRead, authz.ProjectsRead)
	_, none := p.key(p.one, authz.Inference)
	before := p.people()
	for _, w := range append(p.writes(p.two), p.writes(p.one)...) {
		before = p.people()
		p.do(w.method, w.path, read, w.body).refused(403, "forbidden")
		p.do(w.method, w.path, none, w.body).refused(403, "forbidden")
		p.do(w.method, w.path, "", w.body).refused(401, "invalid_api_key")
	}
	for _, path := range []string{"/v1/members", "/v1/service-accounts", "/v1/roles", "/v1/projects"} {
		p.do("GET", path, read, "").want(200)
		p.do("GET", path, none, "").refused(403, "forbidden")
	}
	if p.people() != before {
		t.Error("a refused request has changed something")
	}
}
