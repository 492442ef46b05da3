package management_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/id"
)

// member puts a member with the role into an organisation, and gives him a key.
func (p *platform) member(n tenant, role authz.Role, scopes ...authz.Scope) (userID, keyID, secret string) {
	p.t.Helper()
	userID = id.New(id.User)
	p.exec(fmt.Sprintf(`
		INSERT INTO accounts.users (user_id, email, name, created_at) VALUES ('%[1]s', '%[1]s@example.com', '', now());
		INSERT INTO accounts.members (org_id, user_id, role, created_at) VALUES ('%[2]s', '%[1]s', '%[3]s', now())`, userID, n.org, role))
	keyID, secret = postgrestest.KeyOf(p.t, p.url, postgrestest.Ownership{Org: n.org, Project: n.project, Owner: userID}, scopes...)
	return userID, keyID, secret
}

// program puts a service account with the role into an organisation.
func (p *platform) program(n tenant, role authz.Role) string {
	p.t.Helper()
	account := id.New(id.ServiceAccount)
	p.exec(fmt.Sprintf(`INSERT INTO accounts.service_accounts (org_id, account_id, name, role, created_by, created_at, updated_at)
		VALUES ('%s', '%[2]s', '%[2]s', '%s', 'test', now(), now())`, n.org, account, role))
	return account
}

// create makes a key through the API.
func (p *platform) create(by, body string) (keyID, secret string) {
	p.t.Helper()
	v := p.do("POST", "/v1/api-keys", by, body).want(201)
	return member[string](v, "id"), member[string](v, "key")
}

// works tells whether a key that may list keys passes.
func (p *platform) works(secret string) bool {
	p.t.Helper()
	a := p.do("GET", "/v1/api-keys?limit=1", secret, "")
	if a.Code != 200 {
		a.refused(401, "invalid_api_key")
	}
	return a.Code == 200
}

const lister = `{"name":"x","scopes":["keys:read"]}`

func TestAKeyIsRotatedUnderItsId(t *testing.T) {
	t.Parallel()
	p := start(t)
	keyID, first := p.create(p.one.admin, lister)
	rotate := func(body string) (secret string, v map[string]any) {
		t.Helper()
		p.clock.advance(time.Minute)
		v = p.do("POST", "/v1/api-keys/"+keyID+"/rotate", p.one.admin, body).want(200)
		return member[string](v, "key"), v
	}
	expect := func(when string, want map[string]bool) {
		t.Helper()
		for secret, works := range want {
			if p.works(secret) != works {
				t.Errorf("%s: the key %s works: %v; want %v", when, secret[:16], !works, works)
			}
		}
	}
	second, v := rotate("")
	if v["id"] != keyID || v["state"] != "rotating" || v["previous_valid_until"] != "2026-10-13T09:31:15Z" || v["secret_set_at"] != "2026-10-12T09:31:15Z" ||
		fmt.Sprint(v["rotation"]) != "map[due_at:2027-01-10T09:31:15Z overdue:false]" {
		t.Errorf("rotated: %v", v)
	}
	expect("in the overlap", map[string]bool{first: true, second: true})
	third, _ := rotate(`{"overlap":"90m"}`)
	expect("rotated again", map[string]bool{first: false, second: true, third: true})
	p.clock.advance(90*time.Minute - 1)
	expect("at the overlap's end", map[string]bool{second: true, third: true})
	p.clock.advance(time.Microsecond)
	expect("after the overlap", map[string]bool{second: false, third: true})
	if v := p.do("GET", "/v1/api-keys/"+keyID, p.one.admin, "").want(200); v["state"] != "active" || v["previous_valid_until"] != nil {
		t.Errorf("after the overlap: %v", v)
	}
	fourth, v := rotate(`{"overlap_seconds":0}`)
	if v["state"] != "active" || v["previous_valid_until"] != nil {
		t.Errorf("without an overlap: %v", v)
	}
	expect("without an overlap", map[string]bool{third: false, fourth: true})
	for _, body := range []string{`{"overlap":"-1s"}`, `{"overlap":"169h"}`, `{"overlap":"tomorrow"}`, `{"overlap":"1h","overlap_seconds":3600}`, `{"overlap_seconds":604801}`, `{"overlap_seconds":-1}`} {
		p.do("POST", "/v1/api-keys/"+keyID+"/rotate", p.one.admin, body).refused(422, "unprocessable")
	}
	expect("after what was refused", map[string]bool{fourth: true})
	for _, secret := range []string{first, second, third, fourth} {
		if got := p.scalar(`SELECT count(*)::text FROM accounts.audit_records a WHERE a::text LIKE '%` + secret + `%'`); got != "0" || strings.Contains(p.log.String(), secret) {
			t.Error("a secret is in the audit or in the log")
		}
	}
}

func TestAKeyIsSuspendedResumedAndRevoked(t *testing.T) {
	t.Parallel()
	p := start(t)
	keyID, secret := p.create(p.one.admin, lister)
	path := "/v1/api-keys/" + keyID
	rotated := member[string](p.do("POST", path+"/rotate", p.one.admin, "").want(200), "key")
	if v := p.do("POST", path+"/suspend", p.one.admin, `{"reason":"odd"}`).want(200); v["state"] != "suspended" || v["suspended_at"] != "2026-10-12T09:30:15Z" {
		t.Errorf("suspended: %v", v)
	}
	if p.works(secret) || p.works(rotated) {
		t.Error("a suspended key works") // at once: the clock stands still
	}
	if v := p.do("POST", path+"/resume", p.one.admin, "").want(200); v["state"] != "rotating" {
		t.Errorf("resumed: %v", v)
	}
	if !p.works(secret) || !p.works(rotated) {
		t.Error("a resumed key does not work")
	}
	p.do("DELETE", path+"?reason=no+more+needed", p.one.admin, "").want(204)
	if p.works(secret) || p.works(rotated) {
		t.Error("a secret of a revoked key works")
	}
	if v := p.do("GET", path, p.one.admin, "").want(200); v["state"] != "revoked" || v["revoked_reason"] != "no more needed" || v["previous_valid_until"] != nil {
		t.Errorf("revoked: %v", v)
	}
	for _, act := range []string{"/rotate", "/suspend", "/resume"} {
		p.do("POST", path+act, p.one.admin, "").refused(409, "conflict")
	}
	p.do("PATCH", path, p.one.admin, `{"name":"y"}`).refused(409, "conflict")
	got := p.scalar(`SELECT string_agg(action, ' ' ORDER BY audit_id) FROM accounts.audit_records WHERE target = '` + keyID + `'`)
	if want := "key.create key.rotate key.suspend key.resume key.revoke"; got != want {
		t.Errorf("audited %q; want %q", got, want)
	}
	got = p.scalar(`SELECT string_agg(type, ' ' ORDER BY event_id) FROM accounts.outbox WHERE object = '` + keyID + `'`)
	if want := "key.created key.rotated key.suspended key.resumed key.revoked"; got != want {
		t.Errorf("told %q; want %q", got, want)
	}
}

func TestAKeyIsChanged(t *testing.T) {
	t.Parallel()
	p := start(t)
	keyID, _ := p.create(p.one.admin, `{"name":"x","scopes":["keys:read","inference"],"models":["a"],"expires_at":"2027-01-01T00:00:00Z","limits":{"requests_per_minute":5,"tokens_per_minute":6}}`)
	for _, c := range []struct{ body, member, want string }{
		{`{"name":"y"}`, "name", "y"},
		{`{"scopes":["keys:read"]}`, "scopes", "[keys:read]"},
		{`{"models":["b","c"]}`, "models", "[b c]"},
		{`{"models":null}`, "models", "<nil>"},
		{`{"ip_allow_list":["192.0.2.0/24","127.0.0.1"]}`, "ip_allow_list", "[192.0.2.0/24 127.0.0.1/32]"},
		{`{"ip_allow_list":[]}`, "ip_allow_list", "[]"},
		{`{"ip_allow_list":["192.0.2.7"]}`, "ip_allow_list", "[192.0.2.7/32]"},
		{`{"ip_allow_list":null}`, "ip_allow_list", "[]"},
		{`{"expires_at":"2028-01-01T01:00:00+01:00"}`, "expires_at", "2028-01-01T00:00:00Z"},
		{`{"expires_at":null}`, "expires_at", "<nil>"},
		{`{"limits":{"requests_per_minute":7}}`, "limits", "map[concurrent_requests:<nil> requests_per_minute:7 tokens_per_minute:6]"},
		{`{"limits":{"requests_per_minute":null,"tokens_per_minute":null}}`, "limits", "map[concurrent_requests:<nil> requests_per_minute:<nil> tokens_per_minute:<nil>]"},
		{`{}`, "name", "y"},
	} {
		v := p.do("PATCH", "/v1/api-keys/"+keyID, p.one.admin, c.body).want(200)
		if got := fmt.Sprint(v[c.member]); got != c.want {
			t.Errorf("%s: %s is %s; want %s", c.body, c.member, got, c.want)
		}
		if again := p.do("GET", "/v1/api-keys/"+keyID, p.one.reader, "").want(200); fmt.Sprint(again) != fmt.Sprint(v) {
			t.Errorf("%s: shown as\n%v, then as\n%v", c.body, v, again)
		}
	}
	for body, named := range map[string]string{
		`{"name":null}`: "name", `{"name":""}`: "name", `{"scopes":null}`: "scopes", `{"scopes":[]}`: "scopes", `{"scopes":["root"]}`: "scopes", `{"scopes":["platform"]}`: "scopes",
		`{"models":[""]}`: "model", `{"models":7}`: "models", `{"ip_allow_list":["192.0.2.7/24"]}`: "192.0.2.0/24",
		`{"expires_at":"2020-01-01T00:00:00Z"}`: "expire", `{"expires_at":7}`: "expires_at", `{"limits":{"requests_per_minute":0}}`: "requests_per_minute", `{"limits":{"price":1}}`: "price",
		// What is not to be changed, by anybody.
		`{"id":"key_1"}`: "id", `{"org_id":"` + p.two.org + `"}`: "org_id", `{"owner":{"member_id":"x"}}`: "owner", `{"owner_id":"x"}`: "owner_id", `{"kind":"service"}`: "kind",
		`{"created_by":"me"}`: "created_by", `{"revoked_at":null}`: "revoked_at", `{"suspended_at":null}`: "suspended_at", `{"fingerprint":"x"}`: "fingerprint", `{"project_id":"x"}`: "project_id",
		`{"environment":"development"}`: "environment", `{"state":"active"}`: "state", `{"rotation":{}}`: "rotation", `{"key":"x"}`: "key", `{"last_used_at":null}`: "last_used_at",
	} {
		a := p.do("PATCH", "/v1/api-keys/"+keyID, p.one.admin, body)
		if a.refused(422, "unprocessable"); !strings.Contains(a.Body.String(), named) {
			t.Errorf("%s: %s; want it to name %q", body, a.Body, named)
		}
	}
}

func TestMoreThatAKeyCannotBeCreatedWith(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.exec(`UPDATE accounts.organizations SET settings = '{"key_max_days": 30}' WHERE org_id = '` + p.two.org + `'`)
	archived := id.New(id.Project)
	p.exec(fmt.Sprintf(`INSERT INTO accounts.projects (org_id, project_id, name, created_at, archived_at) VALUES ('%s', '%s', 'old', now(), now())`, p.two.org, archived))
	above, below := p.program(p.one, authz.Owner), p.program(p.one, authz.Developer)
	foreign := p.program(p.two, authz.Developer)
	x := `{"name":"x","scopes":["inference"],`
	for _, c := range []struct {
		key, body string
		status    int
		named     string
	}{
		{p.one.admin, x + `"owner":{}}`, 422, "owner"},
		{p.one.admin, x + `"owner":{"member_id":"user_00000000000000000000000000000000","service_account_id":"` + below + `"}}`, 422, "owner"},
		{p.one.admin, x + `"owner":{"member_id":"user_00000000000000000000000000000000"}}`, 404, "owner"},
		{p.one.admin, x + `"owner":{"member_id":"` + below + `"}}`, 404, "owner"},
		{p.one.admin, x + `"owner":{"service_account_id":"' OR 1=1"}}`, 404, "owner"},
		{p.one.admin, x + `"owner":{"service_account_id":"` + foreign + `"}}`, 404, "owner"},
		{p.one.admin, x + `"owner":{"service_account_id":"` + above + `"}}`, 403, "rank"},
		{p.one.admin, `{"name":"x","scopes":["members:write"],"owner":{"service_account_id":"` + below + `"}}`, 422, "scopes"},
		{p.one.admin, x + `"owner_id":"` + below + `"}`, 422, "owner_id"},
		{p.one.admin, x + `"kind":"service"}`, 422, "kind"},
		{p.one.admin, x + `"fingerprint":"x"}`, 422, "fingerprint"},
		{p.one.admin, x + `"revoked_at":null}`, 422, "revoked_at"},
		{p.one.admin, x + `"ip_allow_list":["10.0.0.1/8"]}`, 422, "10.0.0.0/8"},
		{p.one.admin, x + `"ip_allow_list":["localhost"]}`, 422, "ip_allow_list"},
		{p.one.admin, x + `"ip_allow_list":"10.0.0.0/8"}`, 422, "ip_allow_list"},
		{p.one.admin, x + `"models":["` + long(201) + `"]}`, 422, "models"},
		{p.two.admin, x + `"expires_at":"2026-11-11T00:00:00Z","project_id":"` + archived + `"}`, 422, "archived"},
	} {
		a := p.do("POST", "/v1/api-keys", c.key, c.body)
		if a.Code != c.status || !strings.Contains(a.Body.String(), c.named) {
			t.Errorf("%.120s: %d %s; want %d, naming %q", c.body, a.Code, a.Body, c.status, c.named)
		}
	}
	if got := p.scalar(`SELECT count(*)::text FROM accounts.audit_records WHERE action LIKE 'key.%'`); got != "0" {
		t.Errorf("%s audit records; a refused request changes nothing", got)
	}
	for body, status := range map[string]int{x[:len(x)-1] + `}`: 422, x + `"expires_at":"2026-11-12T00:00:00Z"}`: 422, x + `"expires_at":"2026-11-11T00:00:00Z"}`: 201} {
		if a := p.do("POST", "/v1/api-keys", p.two.admin, body); a.Code != status || status == 422 && a.want(422)["key_max_days"] == nil {
			t.Errorf("%s: %d %s; want %d", body, a.Code, a.Body, status)
		}
	}
}

func TestKeysOfMembersAndPrograms(t *testing.T) {
	t.Parallel()
	p := start(t)
	user, _, _ := p.member(p.one, authz.Developer)
	for owner, want := range map[string]string{
		`{"member_id":"` + user + `"}`:                                       "personal " + user,
		`{"service_account_id":"` + p.program(p.one, authz.Developer) + `"}`: "service sa_",
	} {
		v := p.do("POST", "/v1/api-keys", p.one.admin, `{"name":"x","scopes":["inference"],"environment":"development","owner":`+owner+`}`).want(201)
		if got := fmt.Sprint(v["kind"], " ", v["owner_id"]); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s; want %s", owner, got, want)
		}
		if got := fmt.Sprint(v["rotation"]); got != "map[due_at:2027-04-10T09:30:15Z overdue:false]" { // 180 days
			t.Errorf("rotation %s", got)
		}
	}
}

// Everybody sees, rotates and revokes what is theirs; nobody acts on a peer, a
// superior, or what is out of reach.
func TestWhoActsOnWhoseKeys(t *testing.T) {
	t.Parallel()
	p := start(t)
	keys := []authz.Scope{authz.KeysRead, authz.KeysWrite}
	_, devKey, dev := p.member(p.one, authz.Developer, keys...)
	_, adminKey, admin := p.member(p.one, authz.Admin, keys...)
	_, peerKey, _ := p.member(p.one, authz.Admin, keys...)
	_, managerKey, manager := p.member(p.one, authz.Manager, keys...)
	_, reader := p.key(p.one, authz.KeysRead)
	for _, c := range []struct {
		name, by, on                        string
		get, patch, suspend, rotate, revoke int
	}{
		{"a developer on his own", dev, devKey, 200, 403, 403, 200, 204},
		{"a developer on another's", dev, managerKey, 404, 403, 403, 404, 404},
		{"a developer on the owner's", dev, p.one.keyID, 404, 403, 403, 404, 404},
		{"a manager out of his projects", manager, devKey, 404, 403, 403, 404, 404},
		{"an admin on a manager's", admin, managerKey, 200, 200, 200, 200, 204},
		{"an admin on a peer's", admin, peerKey, 200, 403, 403, 403, 403},
		{"an admin on the owner's", admin, p.one.keyID, 200, 403, 403, 403, 403},
		{"a key that only reads", reader, adminKey, 200, 403, 403, 403, 403},
		{"another organisation's owner", p.two.admin, devKey, 404, 404, 404, 404, 404},
		{"nobody", "", devKey, 401, 401, 401, 401, 401},
	} {
		path := "/v1/api-keys/" + c.on
		p.exec(`UPDATE accounts.api_keys SET revoked_at = NULL, suspended_at = NULL`)
		p.clock.advance(time.Second) // nobody is told of that
		for _, do := range []struct {
			method, path, body string
			want               int
		}{
			{"GET", path, "", c.get}, {"PATCH", path, `{"name":"n"}`, c.patch}, {"POST", path + "/suspend", "", c.suspend}, {"POST", path + "/resume", "", c.suspend},
		} {
			if a := p.do(do.method, do.path, c.by, do.body); a.Code != do.want {
				t.Errorf("%s: %s %s: %d %s; want %d", c.name, do.method, do.path, a.Code, a.Body, do.want)
			}
		}
		a := p.do("POST", path+"/rotate", c.by, "") // the one before goes on to work
		if a.Code != c.rotate {
			t.Errorf("%s: rotate: %d %s; want %d", c.name, a.Code, a.Body, c.rotate)
		}
		if a := p.do("DELETE", path, c.by, ""); a.Code != c.revoke {
			t.Errorf("%s: revoke: %d %s; want %d", c.name, a.Code, a.Body, c.revoke)
		}
	}
}

func TestAKeyRotatesItself(t *testing.T) {
	t.Parallel()
	p := start(t)
	_, keyID, secret := p.member(p.one, authz.Developer, authz.KeysRead, authz.KeysWrite)
	v := p.do("POST", "/v1/api-keys/"+keyID+"/rotate", secret, `{"overlap":"0s"}`).want(200)
	if p.works(secret) || !p.works(member[string](v, "key")) {
		t.Error("the old secret works, or the new one does not")
	}
}

func TestKeysAreListedByReachAndFilter(t *testing.T) {
	t.Parallel()
	p := start(t)
	user, devKey, dev := p.member(p.one, authz.Developer, authz.KeysRead)
	managerID, _, manager := p.member(p.one, authz.Manager, authz.KeysRead)
	other := id.New(id.Project)
	p.exec(fmt.Sprintf(`
		INSERT INTO accounts.projects (org_id, project_id, name, created_at) VALUES ('%[1]s', '%[2]s', 'second', now());
		INSERT INTO accounts.project_members (org_id, project_id, member_id, role, added_by, created_at) VALUES ('%[1]s', '%[2]s', '%[3]s', 'viewer', 'x', now())`, p.one.org, other, managerID))
	there, _ := p.create(p.one.admin, `{"name":"there","scopes":["inference"],"project_id":"`+other+`","environment":"development"}`)
	stale, _ := p.create(p.one.admin, `{"name":"stale","scopes":["inference"]}`)
	p.exec(`UPDATE accounts.api_keys SET rotate_by = '2026-10-12T09:30:15Z' WHERE key_id = '` + stale + `'`)
	for _, c := range []struct {
		name, by, query, has, hasNot string
	}{
		{"an admin sees all", p.one.admin, "?limit=200", devKey, p.two.keyID},
		{"a developer his own", dev, "", devKey, there},
		{"a developer, asking for others'", dev, "?project_id=" + other, "", there},
		{"a manager his projects'", manager, "", there, devKey},
		{"of a member", p.one.admin, "?owner_id=" + user, devKey, there},
		{"of a project", p.one.admin, "?project_id=" + other, there, devKey},
		{"for development", p.one.admin, "?environment=development", there, devKey},
		{"due", p.one.admin, "?rotation_due=true", stale, there},
		{"active", p.one.admin, "?state=active", stale, p.two.keyID},
		{"revoked", p.one.admin, "?state=revoked", "", stale},
	} {
		a := p.do("GET", "/v1/api-keys"+c.query, c.by, "")
		a.want(200)
		if body := a.Body.String(); !strings.Contains(body, c.has) || strings.Contains(body, c.hasNot) {
			t.Errorf("%s: want %s and not %s: %s", c.name, c.has, c.hasNot, body)
		}
		if strings.Contains(a.Body.String(), "hash") || strings.Contains(a.Body.String(), `"key"`) {
			t.Errorf("%s: the list has hashes or secrets: %s", c.name, a.Body)
		}
	}
	for _, query := range []string{"?state=odd", "?environment=test", "?rotation_due=perhaps", "?owner_id=" + long(101)} {
		p.do("GET", "/v1/api-keys"+query, p.one.admin, "").refused(422, "unprocessable")
	}
}

func TestAPlansKeysAreNotExceededAtOnce(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.exec(`INSERT INTO accounts.plans (plan_id, name, max_keys) VALUES ('five', 'Five', 8); UPDATE accounts.organizations SET plan = 'five' WHERE org_id = '` + p.one.org + `'`)
	p.clock.advance(time.Second)
	var made, refused atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			switch a := p.do("POST", "/v1/api-keys", p.one.admin, lister); a.Code {
			case 201:
				made.Add(1)
			case 409:
				refused.Add(1)
			default:
				t.Errorf("status %d: %s", a.Code, a.Body)
			}
		})
	}
	wg.Wait()
	if made.Load() != 5 || refused.Load() != 11 { // three there are
		t.Errorf("%d made, %d refused; want 5 and 11", made.Load(), refused.Load())
	}
	v := p.do("POST", "/v1/api-keys", p.one.admin, lister).refused(409, "conflict")
	if fmt.Sprint(v["limit"]) != "8" {
		t.Errorf("the refusal %v does not say how many there may be", v)
	}
}

func calling(address string) func(*http.Request) {
	return func(r *http.Request) { r.RemoteAddr = address + ":1" }
}

func TestAKeyIsBoundToItsNetworks(t *testing.T) {
	t.Parallel()
	p := start(t)
	keyID, secret := p.create(p.one.admin, `{"name":"x","scopes":["keys:read","keys:write"],"ip_allow_list":["10.0.0.0/8","2001:db8::/32"]}`)
	for address, status := range map[string]int{
		"10.1.2.3": 200, "[2001:db8::1]": 200, "[::ffff:10.1.2.3]": 200,
		"192.0.2.1": 403, "[2001:db9::1]": 403, "[::ffff:192.0.2.1]": 403, "127.0.0.1": 403,
	} {
		a := p.do("GET", "/v1/api-keys/"+keyID, secret, "", calling(address))
		if a.Code != status || status == 403 && a.want(403)["reason"] != "address" {
			t.Errorf("from %s: %d %s; want %d", address, a.Code, a.Body, status)
		}
	}
	p.do("GET", "/v1/api-keys/"+keyID, secret, "", calling("192.0.2.1"), func(r *http.Request) { r.Header.Set("X-Forwarded-For", "10.1.2.3") }).refused(403, "forbidden")
	// What it makes is as bound.
	v := p.do("POST", "/v1/api-keys", secret, lister, calling("10.1.2.3")).want(201)
	if got := fmt.Sprint(v["ip_allow_list"]); got != "[10.0.0.0/8 2001:db8::/32]" {
		t.Errorf("its child may be used from %s", got)
	}
	p.do("POST", "/v1/api-keys", secret, `{"name":"x","scopes":["keys:read"],"ip_allow_list":["0.0.0.0/0"]}`, calling("10.1.2.3")).refused(403, "forbidden")
	p.do("PATCH", "/v1/api-keys/"+keyID, secret, `{"ip_allow_list":[]}`, calling("10.1.2.3")).refused(403, "forbidden")
}

func TestTheLastUseOfAKeyIsShown(t *testing.T) {
	t.Parallel()
	p := start(t)
	keyID, secret := p.create(p.one.admin, lister)
	shown := func() string {
		v := p.do("GET", "/v1/api-keys/"+keyID, p.one.admin, "").want(200)
		return fmt.Sprint(v["last_used_at"], " ", v["last_used_from"])
	}
	if got := shown(); got != "<nil> <nil>" {
		t.Errorf("before its first use: %s", got)
	}
	for _, c := range []struct {
		after         time.Duration
		address, want string
	}{
		{0, "10.0.0.1", "2026-10-12T09:30:15Z 10.0.0.1"},
		{59 * time.Second, "10.0.0.2", "2026-10-12T09:30:15Z 10.0.0.1"}, // once a minute
		{time.Second, "10.0.0.3", "2026-10-12T09:31:15Z 10.0.0.3"},
	} {
		p.clock.advance(c.after)
		p.do("GET", "/v1/api-keys?limit=1", secret, "", calling(c.address)).want(200)
		if got := shown(); got != c.want {
			t.Errorf("used from %s: %s; want %s", c.address, got, c.want)
		}
	}
	if p.works(apikey.NewSecret(apikey.Production).Reveal()) {
		t.Error("an unknown key works")
	}
}
