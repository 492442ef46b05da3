package management_test

import (
	"net/http"
	"testing"
	"time"
)

func TestAKeyDoesNotLoosenWhatBindsIt(t *testing.T) {
	t.Parallel()
	p := start(t)
	ends := p.clock.Now().Add(time.Hour).Format(time.RFC3339)
	made := p.do("POST", "/v1/api-keys", p.one.admin, `{"name":"short","scopes":["keys:read","keys:write","models:read"],"expires_at":"`+ends+`","limits":{"requests_per_minute":5}}`).want(201)
	id, key := member[string](made, "id"), member[string](made, "key")

	for _, body := range []string{
		`{"expires_at":null}`, `{"limits":{"requests_per_minute":null}}`, `{"limits":{"requests_per_minute":5000}}`, `{"ip_allow_list":[]}`, `{"scopes":["models:read"]}`,
	} {
		p.do("PATCH", "/v1/api-keys/"+id, key, body).refused(403, "forbidden")
	}
	p.do("PATCH", "/v1/api-keys/"+id, key, `{"name":"still short"}`).want(200)

	child := p.do("POST", "/v1/api-keys", key, `{"name":"child","scopes":["models:read"]}`).want(201)
	if got := child["expires_at"]; got != ends {
		t.Errorf("a child without an end of its own ends at %v; want %s", got, ends)
	}
	later := p.clock.Now().Add(2 * time.Hour).Format(time.RFC3339)
	p.do("POST", "/v1/api-keys", key, `{"name":"child","scopes":["models:read"],"expires_at":"`+later+`"}`).refused(403, "forbidden")
	other := member[string](p.do("POST", "/v1/api-keys", p.one.admin, `{"name":"other","scopes":["models:read"]}`).want(201), "id")
	p.do("PATCH", "/v1/api-keys/"+other, key, `{"expires_at":"`+later+`"}`).refused(403, "forbidden")
}

func TestASecretThatWasReplacedMakesItselfNotAtHome(t *testing.T) {
	t.Parallel()
	p := start(t)
	made := p.do("POST", "/v1/api-keys", p.one.admin, `{"name":"k","scopes":["keys:read","keys:write"]}`).want(201)
	id, old := member[string](made, "id"), member[string](made, "key")
	fresh := member[string](p.do("POST", "/v1/api-keys/"+id+"/rotate", old, `{"overlap":"1h"}`).want(200), "key")

	p.do("GET", "/v1/api-keys", old, "").want(200) // it works for a while
	p.do("POST", "/v1/api-keys/"+id+"/rotate", old, `{"overlap":"0s"}`).refused(403, "forbidden")
	p.do("POST", "/v1/api-keys", old, `{"name":"mine","scopes":["keys:read"]}`).refused(403, "forbidden")
	p.do("PATCH", "/v1/api-keys/"+id, old, `{"name":"mine"}`).refused(403, "forbidden")
	p.do("GET", "/v1/api-keys", fresh, "").want(200)
	p.do("POST", "/v1/api-keys/"+id+"/rotate", fresh, `{}`).want(200)
}

func TestAnAddressIsAskedOnEveryRoute(t *testing.T) {
	t.Parallel()
	p := start(t)
	key := member[string](p.do("POST", "/v1/api-keys", p.one.admin, `{"name":"far","scopes":["members:read"],"ip_allow_list":["198.51.100.0/24"]}`).want(201), "key")
	for method, path := range map[string]string{"GET": "/v1/me", "POST": "/v1/policy/evaluate"} {
		body := ""
		if method == "POST" {
			body = `{"action":"keys.create"}`
		}
		if got := p.do(method, path, key, body).refused(403, "forbidden"); got["reason"] != "address" {
			t.Errorf("%s: refused for %v", path, got["reason"])
		}
		from := func(r *http.Request) { r.RemoteAddr = "198.51.100.7:1234" }
		p.do(method, path, key, body, from).want(200)
	}
}

func TestARefusalByScopeSaysWhoHasIt(t *testing.T) {
	t.Parallel()
	p := start(t)
	key := member[string](p.do("POST", "/v1/api-keys", p.one.admin, `{"name":"k","scopes":["models:read"]}`).want(201), "key")
	got := p.do("GET", "/v1/budgets", key, "").refused(403, "forbidden")
	who, _ := got["granted_by"].([]any)
	if len(who) != 3 || who[0] != "admin" || who[1] != "finance" || who[2] != "owner" {
		t.Errorf("granted by %v", who)
	}
}
