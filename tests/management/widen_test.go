package management_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
)

// TestNoKeyGetsMoreThanWhoMadeItHas walks the ways by which an admin, who issues no
// invoices, could come by a key that does.
func TestNoKeyGetsMoreThanWhoMadeItHas(t *testing.T) {
	t.Parallel()
	p := start(t)
	admin := member[string](p.do("POST", "/v1/service-accounts", p.one.admin, `{"name":"admin","role":"admin"}`).want(201), "id")
	all := `["keys:read","keys:write","members:read","members:write","billing:read","billing:write","usage:read"]`
	made := p.do("POST", "/v1/api-keys", p.one.admin, `{"name":"admin","scopes":`+all+`,"owner":{"service_account_id":"`+admin+`"}}`).want(201)
	key := member[string](made, "key")
	account := func(name, role string) string {
		return member[string](p.do("POST", "/v1/service-accounts", key, `{"name":"`+name+`","role":"`+role+`"}`).want(201), "id")
	}
	of := func(id, scopes string) string {
		return `{"name":"x","scopes":` + scopes + `,"owner":{"service_account_id":"` + id + `"}}`
	}

	finance := account("books", "finance")
	got := p.do("POST", "/v1/api-keys", key, of(finance, `["billing:write"]`)).refused(403, "forbidden")
	if got["permission"] != "invoices.issue" {
		t.Errorf("refused for %v", got["permission"])
	}
	// What of the scope the admin has as well is no reason to refuse others.
	p.do("POST", "/v1/api-keys", key, of(finance, `["billing:read"]`)).want(201)

	// One that the admin made, whose secret he knows, is not given more by others.
	known := member[string](p.do("POST", "/v1/api-keys", key, of(finance, `["billing:read"]`)).want(201), "id")
	got = p.do("PATCH", "/v1/api-keys/"+known, p.one.admin, `{"scopes":["billing:read","billing:write"]}`).refused(409, "conflict")
	if got["permission"] != "invoices.issue" {
		t.Errorf("refused for %v", got["permission"])
	}
	p.do("PATCH", "/v1/api-keys/"+known, p.one.admin, `{"scopes":["billing:read","usage:read"]}`).want(200) // he has that himself
	p.do("POST", "/v1/api-keys/"+known+"/rotate", p.one.admin, `{"overlap":"0s"}`).want(200)
	p.do("PATCH", "/v1/api-keys/"+known, p.one.admin, `{"scopes":["billing:read","billing:write"]}`).want(200)

	// The owner's key for finance: the admin neither sees a new secret of it, nor widens it.
	theirs := member[string](p.do("POST", "/v1/api-keys", p.one.admin, of(finance, `["billing:write"]`)).want(201), "id")
	p.do("POST", "/v1/api-keys/"+theirs+"/rotate", key, `{}`).refused(403, "forbidden")
	p.do("POST", "/v1/api-keys/"+theirs+"/rotate", p.one.admin, `{}`).want(200)

	// A role of one's own that has what the admin has, and then a higher one: whoever
	// gives it, the admin knows the secret.
	role := member[string](p.do("POST", "/v1/roles", p.one.admin, `{"name":"payer","permissions":["billing.write"],"reach":"organization"}`).want(201), "id")
	payer := account("payer", role)
	made = p.do("POST", "/v1/api-keys", key, of(payer, `["billing:write","keys:write"]`)).want(201)
	known, secret := member[string](made, "id"), member[string](made, "key")
	promote := func(by string) answer {
		return p.do("PATCH", "/v1/service-accounts/"+payer, by, `{"role":"finance"}`)
	}
	widened := func(a answer, keys ...string) {
		t.Helper()
		if v := a.refused(409, "conflict"); fmt.Sprint(v["keys"]) != fmt.Sprint(keys) || v["permission"] != "invoices.issue" {
			t.Errorf("refused for %v by the keys %v; want %v", v["permission"], v["keys"], keys)
		}
	}
	widened(promote(key), known)
	widened(promote(p.one.admin), known)
	// Nor does it help that the key changes its own secret, or makes another one.
	secret = member[string](p.do("POST", "/v1/api-keys/"+known+"/rotate", secret, `{"overlap":"0s"}`).want(200), "key")
	widened(promote(key), known)
	p.do("PATCH", "/v1/service-accounts/"+payer, p.one.admin, `{"role":"admin"}`).want(200) // no more than the admin is
	second := member[string](p.do("POST", "/v1/api-keys", secret, `{"name":"y","scopes":["billing:write"]}`).want(201), "id")
	p.do("PATCH", "/v1/service-accounts/"+payer, p.one.admin, `{"role":"`+role+`"}`).want(200)
	widened(promote(p.one.admin), known, second)
	// Who has as much gives it a new secret; the one before counts while it works.
	p.do("DELETE", "/v1/api-keys/"+second, p.one.admin, "")
	p.do("POST", "/v1/api-keys/"+known+"/rotate", p.one.admin, `{"overlap":"1h"}`).want(200)
	widened(promote(p.one.admin), known)
	p.clock.advance(time.Hour)
	promote(p.one.admin).want(200)
}

// TestAWiderRoleOrSeatWidensNoSecretOfOthers walks the other ways by which a key comes
// to do more: the role of its owner changes, or he gets a place in a project.
func TestAWiderRoleOrSeatWidensNoSecretOfOthers(t *testing.T) {
	t.Parallel()
	p := start(t)
	keeper := p.role(p.one, "keeper", "organization", "keys.create", "keys.read", "keys.rotate", "usage.read", "requests.read")
	maker := p.holder(p.one, keeper)
	role := p.role(p.one, "reader", "organization", "usage.read")
	owner := p.person(p.one, authz.Developer)
	p.exec(`DELETE FROM accounts.api_keys WHERE owner_id = '` + owner.id + `'`)
	v := p.do("POST", "/v1/api-keys", maker.key, `{"name":"x","scopes":["usage:read"],"owner":{"member_id":"`+owner.id+`"}}`).want(201)
	known := member[string](v, "id")
	p.do("PATCH", "/v1/members/"+owner.id, p.one.admin, `{"role":"`+role+`"}`).want(200)
	p.exec(`UPDATE accounts.api_keys SET scopes = '{usage:read,analytics:read,projects:read}' WHERE key_id = '` + known + `'`)
	seat := "/v1/projects/" + p.one.project + "/members/" + owner.id
	widened := func(a answer) {
		t.Helper()
		if got := a.refused(409, "conflict"); fmt.Sprint(got["keys"]) != "["+known+"]" {
			t.Errorf("refused for the keys %v; want %s", got["keys"], known)
		}
	}
	wider := `{"permissions":["usage.read","analytics.read"]}`
	widened(p.do("PATCH", "/v1/roles/"+role, p.one.admin, wider))
	widened(p.do("PUT", seat, p.one.admin, `{"role":"viewer"}`))
	p.do("PATCH", "/v1/roles/"+role, p.one.admin, `{"name":"readers","permissions":["usage.read","members.read"]}`).want(200) // not by this key
	p.do("PATCH", "/v1/roles/"+keeper, p.one.admin, `{"permissions":["keys.read","usage.read","requests.read","analytics.read","projects.read"]}`).want(200)
	p.do("PATCH", "/v1/roles/"+role, p.one.admin, wider).want(200) // the maker has it now
	p.do("PUT", seat, p.one.admin, `{"role":"viewer"}`).want(200)
	p.do("DELETE", seat, p.one.admin, "").want(204)

	// One who is suspended or gone has nothing, and may know the secret yet.
	p.do("POST", "/v1/members/"+maker.id+"/suspend", p.one.admin, "").want(200)
	widened(p.do("PUT", seat, p.one.admin, `{"role":"viewer"}`))
	p.do("POST", "/v1/members/"+maker.id+"/reactivate", p.one.admin, "").want(200)
	p.do("PUT", seat, p.one.admin, `{"role":"viewer"}`).want(200)
	p.do("PATCH", "/v1/members/"+owner.id, p.one.admin, `{"role":"developer"}`).want(200)
	p.do("DELETE", "/v1/members/"+maker.id, p.one.admin, "").want(200)
	widened(p.do("PATCH", "/v1/members/"+owner.id, p.one.admin, `{"role":"analyst"}`))
	p.do("PUT", seat, p.one.admin, `{"role":"developer"}`).want(200) // no wider by this key
	p.do("DELETE", "/v1/api-keys/"+known, p.one.admin, "")
	p.do("PATCH", "/v1/members/"+owner.id, p.one.admin, `{"role":"analyst"}`).want(200)
}

// TestWhoLeftKnowsTheSecretsOfTheHeir shows that keys which were given on widen no more
// with the heir until they have another secret.
func TestWhoLeftKnowsTheSecretsOfTheHeir(t *testing.T) {
	t.Parallel()
	p := start(t)
	leaver, heir := p.person(p.one, authz.Analyst), p.person(p.one, authz.Analyst)
	key := p.scalar(`UPDATE accounts.api_keys SET scopes = '{budgets:read,usage:read}' WHERE owner_id = '` + leaver.id + `' RETURNING key_id`)
	p.do("DELETE", "/v1/members/"+leaver.id+"?transfer_to="+heir.id, p.one.admin, "").want(200)
	promote := func() answer {
		return p.do("PATCH", "/v1/members/"+heir.id, p.one.admin, `{"role":"finance"}`)
	}
	if v := promote().refused(409, "conflict"); fmt.Sprint(v["keys"]) != "["+key+"]" {
		t.Errorf("refused for the keys %v; want %s", v["keys"], key)
	}
	p.do("POST", "/v1/api-keys/"+key+"/rotate", p.one.admin, `{"overlap":"0s"}`).want(200)
	promote().want(200)
}
