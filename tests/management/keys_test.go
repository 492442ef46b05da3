package management_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/authz"
)

func TestAKeyIsCreatedShownOnceUsedAndRevoked(t *testing.T) {
	t.Parallel()
	p := start(t)
	a := p.do("POST", "/v1/api-keys", p.one.admin, `{"name":"ci","scopes":["keys:read"],"expires_at":"2027-01-01T00:00:00+01:00",
		"limits":{"requests_per_minute":600,"tokens_per_minute":null}}`)
	v := a.want(201)
	secret := member[string](v, "key")
	if _, err := apikey.Parse(secret); err != nil {
		t.Errorf("the key %q is not one", secret)
	}
	for member, want := range map[string]string{
		"name": "ci", "environment": "production", "state": "active", "scopes": "[keys:read]", "project_id": p.one.project,
		"limits":     "map[concurrent_requests:<nil> requests_per_minute:600 tokens_per_minute:<nil>]",
		"expires_at": "2026-12-31T23:00:00Z", "created_at": "2026-10-12T09:30:15Z", "models": "<nil>", "created_by": p.one.keyID,
	} {
		if got := fmt.Sprint(v[member]); got != want {
			t.Errorf("%s is %s; want %s", member, got, want)
		}
	}
	list := p.do("GET", "/v1/api-keys", secret, "").want(200)
	if data := items(list); len(data) != 4 || list["next_cursor"] != nil {
		t.Errorf("%d keys, cursor %v; want 4 on one page", len(data), list["next_cursor"])
	}
	if body := p.do("GET", "/v1/api-keys", secret, "").Body.String(); strings.Contains(body, secret) || strings.Contains(body, `"key"`) {
		t.Error("the list has a secret")
	}
	if got := p.scalar(`SELECT count(*)::text FROM accounts.api_keys k WHERE k::text LIKE '%` + secret + `%'`); got != "0" {
		t.Error("the secret is in the database")
	}
	if strings.Contains(p.log.String(), secret) {
		t.Error("the secret is in the log")
	}
	id := member[string](v, "id")
	if a := p.do("DELETE", "/v1/api-keys/"+id, p.one.admin, ""); a.Code != 204 || a.Body.Len() != 0 {
		t.Fatalf("revoke: %d %s", a.Code, a.Body)
	}
	p.do("GET", "/v1/api-keys", secret, "").refused(401, "invalid_api_key") // at once: the clock stands still
	p.do("DELETE", "/v1/api-keys/"+id, p.one.admin, "").want(204)
	got := p.scalar(`SELECT string_agg(action || ' ' || actor, ', ' ORDER BY audit_id) FROM accounts.audit_records WHERE target = '` + id + `'`)
	if want := "key.create " + p.one.keyID + ", key.revoke " + p.one.keyID; got != want {
		t.Errorf("audited %q; want %q", got, want)
	}
	audited := p.scalar(`SELECT request_id FROM accounts.audit_records WHERE action = 'key.create' AND target = '` + id + `'`)
	if audited != a.Header().Get("X-Request-Id") {
		t.Errorf("audited under request %q; want %q", audited, a.Header().Get("X-Request-Id"))
	}
}

func TestAnExpiredKeyIsRefusedLikeAnUnknownOne(t *testing.T) {
	t.Parallel()
	p := start(t)
	v := p.do("POST", "/v1/api-keys", p.one.admin, `{"name":"x","scopes":["keys:read"],"expires_at":"2026-10-12T09:31:00Z"}`).want(201)
	secret := member[string](v, "key")
	p.do("GET", "/v1/api-keys", secret, "").want(200)
	p.clock.advance(time.Minute)
	expired := p.do("GET", "/v1/api-keys", secret, "")
	expired.refused(401, "invalid_api_key")
	unknown := p.do("GET", "/v1/api-keys", apikey.NewSecret(apikey.Production).Reveal(), "")
	if a, b := withoutIDs(t, expired), withoutIDs(t, unknown); a != b {
		t.Errorf("answers differ:\n%s\n%s", a, b)
	}
}

func withoutIDs(t *testing.T, a answer) string {
	t.Helper()
	v := a.want(a.Code)
	delete(v, "request_id")
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestKeysOfASuspendedOrganisationStopAtOnce(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.do("GET", "/v1/api-keys", p.two.admin, "").want(200)
	p.exec(`UPDATE accounts.organizations SET status = 'suspended' WHERE org_id = '` + p.two.org + `'`)
	p.clock.advance(time.Second)
	p.do("GET", "/v1/api-keys", p.two.admin, "").refused(401, "invalid_api_key")
	p.do("GET", "/v1/api-keys", p.one.admin, "").want(200)
}

func TestWhatAKeyCanBeCreatedFrom(t *testing.T) {
	t.Parallel()
	p := start(t)
	_, weak := p.key(p.one, authz.KeysWrite, authz.Inference)
	for _, c := range []struct {
		key, body string
		status    int
		member    string
	}{
		{p.one.admin, `{"scopes":["inference"]}`, 422, "name"},
		{p.one.admin, `{"name":"","scopes":["inference"]}`, 422, "name"},
		{p.one.admin, `{"name":"` + long(201) + `","scopes":["inference"]}`, 422, "name"},
		{p.one.admin, `{"name":"a\r\nSet-Cookie: x","scopes":["inference"]}`, 422, "name"},
		{p.one.admin, `{"name":7,"scopes":["inference"]}`, 422, "name"},
		{p.one.admin, `{"name":"x"}`, 422, "scopes"},
		{p.one.admin, `{"name":"x","scopes":[]}`, 422, "scopes"},
		{p.one.admin, `{"name":"x","scopes":null}`, 422, "scopes"},
		{p.one.admin, `{"name":"x","scopes":"inference"}`, 422, "scopes"},
		{p.one.admin, `{"name":"x","scopes":["inference","inference"]}`, 422, "scopes"},
		{p.one.admin, `{"name":"x","scopes":["root"]}`, 422, "scopes"},
		{p.one.admin, `{"name":"x","scopes":["platform"]}`, 422, "scopes"},
		{weak, `{"name":"x","scopes":["keys:read"]}`, 403, "keys that grant more"},
		{p.one.admin, `{"name":"x","scopes":["inference"],"environment":"test"}`, 422, "environment"},
		{p.one.admin, `{"name":"x","scopes":["inference"],"expires_at":"2026-10-12T09:30:15Z"}`, 422, "expire"},
		{p.one.admin, `{"name":"x","scopes":["inference"],"expires_at":"tomorrow"}`, 422, "expires_at"},
		{p.one.admin, `{"name":"x","scopes":["inference"],"limits":{"requests_per_minute":0}}`, 422, "requests_per_minute"},
		{p.one.admin, `{"name":"x","scopes":["inference"],"limits":{"requests_per_minute":-1}}`, 422, "requests_per_minute"},
		{p.one.admin, `{"name":"x","scopes":["inference"],"limits":{"requests_per_minute":1.5}}`, 422, "requests_per_minute"},
		{p.one.admin, `{"name":"x","scopes":["inference"],"limits":{"requests_per_minute":1e30}}`, 422, "requests_per_minute"},
		{p.one.admin, `{"name":"x","scopes":["inference"],"limits":{"requests_per_minute":"9"}}`, 422, "requests_per_minute"},
		{p.one.admin, `{"name":"x","scopes":["inference"],"models":[]}`, 422, "models"},
		{p.one.admin, `{"name":"x","scopes":["inference"],"models":[""]}`, 422, "model"},
		{p.one.admin, `{"name":"x","scopes":["inference"],"project_id":"proj_missing"}`, 404, "project"},
		{p.one.admin, `{"name":"x","scopes":["inference"],"project_id":"` + p.two.project + `"}`, 404, "project"},
		// Mass assignment: what is not the caller's to say.
		{p.one.admin, `{"name":"x","scopes":["inference"],"org_id":"` + p.two.org + `"}`, 422, "org_id"},
		{p.one.admin, `{"name":"x","scopes":["inference"],"id":"key_1"}`, 422, "id"},
		{p.one.admin, `{"name":"x","scopes":["inference"],"key":"aiaas_live_x"}`, 422, "key"},
		{p.one.admin, `{"name":"x","scopes":["inference"],"created_by":"me"}`, 422, "created_by"},
		{p.one.admin, `{"name":"x","scopes":["inference"],"NAME":"y"}`, 422, "NAME"},
		{p.one.admin, `{"NAME":"x","scopes":["inference"]}`, 422, "NAME"},
		{p.one.admin, `{"name":"x","scopes":["inference"],"limits":{"price":0}}`, 422, "price"},
	} {
		a := p.do("POST", "/v1/api-keys", c.key, c.body)
		if a.Code != c.status || !strings.Contains(a.Body.String(), c.member) && !strings.HasPrefix(c.member, "keys that") {
			t.Errorf("%.90s: %d %s; want %d, naming %q", c.body, a.Code, a.Body, c.status, c.member)
		}
	}
	if got := p.scalar(`SELECT count(*)::text FROM accounts.audit_records`); got != "0" {
		t.Errorf("%s audit records; a refused request changes nothing", got)
	}
}

func TestAKeyRestrictedToModelsCreatesNoWiderOne(t *testing.T) {
	t.Parallel()
	p := start(t)
	v := p.do("POST", "/v1/api-keys", p.one.admin, `{"name":"parent","scopes":["keys:write","inference"],"models":["a","b"]}`).want(201)
	parent := member[string](v, "key")
	for body, want := range map[string]string{
		`{"name":"x","scopes":["inference"]}`:                     "201 [a b]",
		`{"name":"x","scopes":["inference"],"models":["b"]}`:      "201 [b]",
		`{"name":"x","scopes":["inference"],"models":["a","c"]}`:  "403 <nil>",
		`{"name":"x","scopes":["inference"],"models":["A"]}`:      "403 <nil>",
		`{"name":"x","scopes":["keys:write"],"models":["a","b"]}`: "201 [a b]",
	} {
		a := p.do("POST", "/v1/api-keys", parent, body)
		if got := fmt.Sprint(a.Code, " ", a.want(a.Code)["models"]); got != want {
			t.Errorf("%s: %s; want %s", body, got, want)
		}
	}
}

func TestForeignKeysAreNotThere(t *testing.T) {
	t.Parallel()
	p := start(t)
	foreign := p.do("DELETE", "/v1/api-keys/"+p.two.keyID, p.one.admin, "")
	foreign.refused(404, "not_found")
	missing := p.do("DELETE", "/v1/api-keys/key_00000000000000000000000000000000", p.one.admin, "")
	if a, b := missing.want(404)["detail"], foreign.want(404)["detail"]; a != b {
		t.Errorf("foreign and missing differ: %v, %v", a, b)
	}
	for _, id := range []string{"key_1", "%00", "%2e%2e", "a%2fb", "' OR 1=1", long(3000)} {
		p.do("DELETE", "/v1/api-keys/"+strings.ReplaceAll(id, " ", "%20"), p.one.admin, "").refused(404, "not_found")
	}
	p.do("GET", "/v1/api-keys", p.two.admin, "").want(200)
	if body := p.do("GET", "/v1/api-keys", p.one.admin, "").Body.String(); strings.Contains(body, p.two.keyID) {
		t.Error("the list shows another organisation's key")
	}
}

func TestPagesOfKeysAreWholeAndWithoutRepeats(t *testing.T) {
	t.Parallel()
	p := start(t)
	for i := range 4 {
		p.do("POST", "/v1/api-keys", p.one.admin, fmt.Sprintf(`{"name":"k%d","scopes":["inference"]}`, i)).want(201)
	}
	var ids []string
	cursor, pages := "", 0
	for pages < 10 {
		v := p.do("GET", "/v1/api-keys?limit=3"+cursor, p.one.reader, "").want(200)
		pages++
		for _, k := range items(v) {
			ids = append(ids, member[string](k, "id"))
		}
		if v["next_cursor"] == nil {
			break
		}
		cursor = "&cursor=" + member[string](v, "next_cursor")
	}
	if len(ids) != 7 || pages != 3 {
		t.Errorf("%d keys on %d pages; want 7 on 3", len(ids), pages)
	}
	for i := 1; i < len(ids); i++ {
		if ids[i-1] >= ids[i] {
			t.Errorf("out of order, or twice: %s, %s", ids[i-1], ids[i])
		}
	}
	// A cursor of one organisation gives another one its own keys only.
	v := p.do("GET", "/v1/api-keys?"+strings.TrimPrefix(cursor, "&"), p.two.admin, "").want(200)
	for _, k := range items(v) {
		if strings.Contains(fmt.Sprint(k), p.one.keyID) {
			t.Error("a foreign cursor leaks")
		}
	}
}

func TestManyKeysAtOnce(t *testing.T) {
	t.Parallel()
	p := start(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			v := p.do("POST", "/v1/api-keys", p.one.admin, `{"name":"x","scopes":["keys:read"]}`)
			if v.Code != 201 {
				t.Errorf("status %d: %s", v.Code, v.Body)
			}
		})
	}
	wg.Wait()
	if got := p.scalar(`SELECT count(DISTINCT hash)::text || ' ' || count(DISTINCT key_id) FROM accounts.api_keys WHERE name = 'x'`); got != "20 20" {
		t.Errorf("keys and ids: %s; want 20 20", got)
	}
}
