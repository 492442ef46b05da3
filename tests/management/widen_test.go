package management_test

import "testing"

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

	// The owner's key for finance: the admin neither sees a new secret of it, nor widens it.
	theirs := member[string](p.do("POST", "/v1/api-keys", p.one.admin, of(finance, `["billing:write"]`)).want(201), "id")
	p.do("POST", "/v1/api-keys/"+theirs+"/rotate", key, `{}`).refused(403, "forbidden")
	p.do("POST", "/v1/api-keys/"+theirs+"/rotate", p.one.admin, `{}`).want(200)

	// A role of one's own that has what the admin has, and then a higher one.
	role := member[string](p.do("POST", "/v1/roles", p.one.admin, `{"name":"payer","permissions":["billing.write"],"reach":"organization"}`).want(201), "id")
	payer := account("payer", role)
	p.do("POST", "/v1/api-keys", key, of(payer, `["billing:write"]`)).want(201)
	p.do("PATCH", "/v1/service-accounts/"+payer, key, `{"role":"finance"}`).refused(403, "forbidden")
	p.do("PATCH", "/v1/service-accounts/"+payer, p.one.admin, `{"role":"finance"}`).want(200)
}
