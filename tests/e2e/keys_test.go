package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/tests/harness"
)

// key is an API key as the API shows it.
type key struct {
	ID            string     `json:"id"`
	State         string     `json:"state"`
	Key           string     `json:"key"`
	PreviousUntil *time.Time `json:"previous_valid_until"`
	LastUsedAt    *time.Time `json:"last_used_at"`
	LastUsedFrom  string     `json:"last_used_from"`
}

// manage makes a call with the admin's key.
func (p *platform) manage(t *testing.T, method, path, body string, status int) (k key) {
	t.Helper()
	var out any
	if status != http.StatusNoContent {
		out = &k
	}
	p.Manage(t, harness.Call{Method: method, Path: path, Key: p.AdminKey, Body: body}, status, out)
	return k
}

// statuses are what the data plane and the management API answer to a key.
func (p *platform) statuses(t *testing.T, secret string, h http.Header) string {
	t.Helper()
	codes := []int{}
	for _, c := range []harness.Call{
		{Body: chat(""), Key: secret, Header: h},
		{Body: chat(`,"stream":true`), Key: secret, Header: h},
		{Method: http.MethodGet, Path: "/v1/models", Key: secret, Header: h},
		{Method: http.MethodGet, Path: "/v1/api-keys?limit=1", Key: secret, Header: h},
	} {
		a := p.Do(t.Context(), c)
		if a.Status == http.StatusForbidden {
			var problem struct{ Reason, Permission string }
			if err := json.Unmarshal(a.Body, &problem); err != nil || problem.Reason != "address" || problem.Permission == "" {
				t.Errorf("%s: want the reason address, and what was not permitted: %s", c.Path, a)
			}
		}
		codes = append(codes, a.Status)
	}
	return strings.Trim(fmt.Sprint(codes), "[]")
}

const (
	served     = "200 200 200 200"
	refused401 = "401 401 401 401"
	refused403 = "403 403 403 403"
)

// TestAKeyIsBoundToItsNetworks: only a trusted proxy says where a request comes
// from, and a key that is bound to networks works nowhere else, on any route.
func TestAKeyIsBoundToItsNetworks(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{Env: map[string]string{"AIAAS_TRUSTED_PROXIES": "127.0.0.0/8"}})
	office := p.manage(t, "POST", "/v1/api-keys", `{"name":"office","scopes":["inference","models:read","keys:read"],"ip_allow_list":["203.0.113.0/24","2001:db8::/32"]}`, 201)
	from := func(hops string) http.Header { return http.Header{"X-Forwarded-For": {hops}} }
	for hops, want := range map[string]string{
		"203.0.113.77": served, "2001:db8::7": served, "::ffff:203.0.113.77": served, "203.0.113.77, 127.0.0.9": served,
		"203.0.114.77": refused403, "2001:db9::7": refused403,
		"203.0.113.77, 198.51.100.1": refused403, // what the client wrote before the proxy did
		"nobody knows":               refused403, // it is the proxy's own address then
	} {
		if got := p.statuses(t, office.Key, from(hops)); got != want {
			t.Errorf("by way of %s: %s; want %s", hops, got, want)
		}
	}
	if got := p.statuses(t, office.Key, nil); got != refused403 {
		t.Errorf("from here: %s; want %s", got, refused403)
	}
	p.manage(t, "PATCH", "/v1/api-keys/"+office.ID, `{"ip_allow_list":["127.0.0.1"]}`, 200)
	if got := p.statuses(t, office.Key, nil); got != served {
		t.Errorf("from here, once it may: %s; want %s", got, served)
	}
}

// Without a trusted proxy nobody's word is taken for where he is.
func TestNobodySaysWhereHeIs(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	office := p.manage(t, "POST", "/v1/api-keys", `{"name":"office","scopes":["inference","models:read","keys:read"],"ip_allow_list":["203.0.113.0/24"]}`, 201)
	if got := p.statuses(t, office.Key, http.Header{"X-Forwarded-For": {"203.0.113.77"}, "Forwarded": {"for=203.0.113.77"}, "X-Real-Ip": {"203.0.113.77"}}); got != refused403 {
		t.Errorf("%s; want %s", got, refused403)
	}
}

// TestTheLifeOfAKey: each act binds the very next request, of the data plane too.
func TestTheLifeOfAKey(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	expect := func(when string, want map[string]string) {
		t.Helper()
		for secret, statuses := range want {
			if got := p.statuses(t, secret, nil); got != statuses {
				t.Errorf("%s: %s; want %s", when, got, statuses)
			}
		}
	}
	k := p.manage(t, "POST", "/v1/api-keys", `{"name":"k","scopes":["inference","models:read","keys:read"]}`, 201)
	path, first := "/v1/api-keys/"+k.ID, k.Key
	expect("new", map[string]string{first: served})
	rotated := p.manage(t, "POST", path+"/rotate", "", 200)
	if rotated.ID != k.ID || rotated.State != "rotating" || rotated.PreviousUntil == nil {
		t.Errorf("rotated: %+v", rotated)
	}
	second := rotated.Key
	expect("rotating", map[string]string{first: served, second: served})
	third := p.manage(t, "POST", path+"/rotate", `{"overlap":"1h"}`, 200).Key
	expect("rotated again", map[string]string{first: refused401, second: served, third: served})
	p.manage(t, "POST", path+"/suspend", `{"reason":"odd"}`, 200)
	expect("suspended", map[string]string{second: refused401, third: refused401})
	p.manage(t, "POST", path+"/resume", "", 200)
	expect("resumed", map[string]string{second: served, third: served})
	a := p.Do(t.Context(), harness.Call{Path: "/v1/api-keys/revoke-leaked", Body: `{"key":"` + second + `","source":"a log"}`})
	if a.Status != http.StatusAccepted {
		t.Errorf("report: %s", a)
	}
	expect("reported", map[string]string{second: refused401, third: refused401})
	if k := p.manage(t, "GET", path, "", 200); k.State != "revoked" {
		t.Errorf("reported: %+v", k)
	}
	p.WaitSettled(t)
	// What it was called for goes on to be known by the key's id.
	if usage := p.Usage(t, "?group_by=key"); len(usage.Data) != 1 || usage.Data[0].APIKeyID != k.ID {
		t.Errorf("usage %+v; want all of it on one key", usage.Data)
	}
}

// TestTheLastUseOfAKeyIsKept: calls of models and of the management API both are
// uses, and none is lost when the process ends.
func TestTheLastUseOfAKeyIsKept(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	called := p.manage(t, "POST", "/v1/api-keys", `{"name":"called","scopes":["inference"]}`, 201)
	managed := p.manage(t, "POST", "/v1/api-keys", `{"name":"managed","scopes":["keys:read"]}`, 201)
	idle := p.manage(t, "POST", "/v1/api-keys", `{"name":"idle","scopes":["keys:read"]}`, 201)
	before := time.Now().Add(-time.Minute)
	if a := p.chat(t.Context(), called.Key, ""); a.Status != http.StatusOK {
		t.Fatal(a)
	}
	if a := p.Do(t.Context(), harness.Call{Method: http.MethodGet, Path: "/v1/api-keys", Key: managed.Key}); a.Status != http.StatusOK {
		t.Fatal(a)
	}
	p.Stop(t)
	p.Restart(t)
	for _, k := range []key{called, managed} {
		if got := p.manage(t, "GET", "/v1/api-keys/"+k.ID, "", 200); got.LastUsedAt == nil || got.LastUsedAt.Before(before) || got.LastUsedFrom != "127.0.0.1" {
			t.Errorf("%s: last used %v from %s", k.ID, got.LastUsedAt, got.LastUsedFrom)
		}
	}
	if got := p.manage(t, "GET", "/v1/api-keys/"+idle.ID, "", 200); got.LastUsedAt != nil {
		t.Errorf("one that was not used: %v", got.LastUsedAt)
	}
}
