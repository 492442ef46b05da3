package audit_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/functions/audit"
	auditwire "github.com/aiaas/aiaas/functions/audit/wire"
	keyswire "github.com/aiaas/aiaas/functions/keys/wire"
	core "github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/function"
)

// platform is the audit's API and that of keys, as their hosts run them.
type platform struct {
	*world

	env      *function.Env
	audit    function.Function
	keys     function.Function
	log      *logged
	tenants  map[string]map[string]string // secrets by organisation and name
	keyIDs   map[string]string
	data     string
	settings map[string]string
}

type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func newPlatform(t *testing.T) *platform {
	t.Helper()
	p := &platform{world: newWorld(t), log: &logged{}, data: t.TempDir(), tenants: map[string]map[string]string{}, keyIDs: map[string]string{}}
	url := p.urls[function.Accounts]
	p.exec(function.Accounts, `INSERT INTO accounts.projects (org_id, project_id, name, created_at) VALUES ('org_one', 'proj_1', 'p', now()), ('org_two', 'proj_2', 'p', now());`)
	p.exec(function.Accounts, `INSERT INTO accounts.organizations (org_id, name, kind, created_at) VALUES ('org_house', 'house', 'platform', now())`)
	p.exec(function.Accounts, `INSERT INTO accounts.projects (org_id, project_id, name, created_at) VALUES ('org_house', 'proj_3', 'p', now())`)
	for org, project := range map[string]string{one: "proj_1", two: "proj_2"} {
		p.tenants[org] = map[string]string{}
		for name, scopes := range map[string][]authz.Scope{"admin": authz.Scopes(), "auditor": {authz.AuditRead}, "reader": {authz.KeysRead}} {
			p.keyIDs[org+name], p.tenants[org][name] = postgrestest.Key(t, url, org, project, scopes...)
		}
	}
	_, house := postgrestest.Key(t, url, "org_house", "proj_3", authz.Platform)
	p.tenants["house"] = map[string]string{"platform": house}
	p.settings = map[string]string{"DATABASE_URL": url, "AIAAS_DATA_DIR": p.data, "AIAAS_DATABASE_CONNS": "4"}
	p.wire()
	return p
}

// wire opens what a process opens.
func (p *platform) wire() {
	p.t.Helper()
	p.env = &function.Env{
		Now: p.clock.Now, Log: slog.New(slog.NewJSONHandler(p.log, nil)), Getenv: func(n string) string { return p.settings[n] },
		Fatal: func(err error) { p.t.Error(err) }, LocalDisk: true,
	}
	env := p.env
	p.t.Cleanup(func() {
		if err := env.Close(context.WithoutCancel(p.t.Context())); err != nil {
			p.t.Error(err)
		}
	})
	var err error
	if p.audit, err = auditwire.Wire(p.t.Context(), env); err != nil {
		p.t.Fatal(err)
	}
	if p.keys, err = keyswire.Wire(p.t.Context(), env); err != nil {
		p.t.Fatal(err)
	}
}

// sealAll runs the function's own job.
func (p *platform) sealAll() {
	p.t.Helper()
	p.clock.advance(core.HeadEvery)
	if _, err := p.audit.Jobs[audit.JobSeal](p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

func (p *platform) do(method, target, key, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	p.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+key)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	h := p.audit.HTTP
	if strings.HasPrefix(target, "/v1/api-keys") {
		h = p.keys.HTTP
	}
	h.ServeHTTP(w, r)
	return w
}

func (p *platform) get(target, key string, status int) map[string]any {
	p.t.Helper()
	w := p.do(http.MethodGet, target, key, "")
	if w.Code != status {
		p.t.Fatalf("GET %s: %d; want %d: %s", target, w.Code, status, w.Body)
	}
	var v map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		p.t.Fatal(err)
	}
	return v
}

// member is a member of a JSON object, which must be of the type asked for.
func member[T any](v any, name string) T {
	object, _ := v.(map[string]any)
	m, _ := object[name].(T)
	return m
}

func items(v any) []any { return member[[]any](v, "data") }

// ids are those of a list's page.
func ids(v map[string]any) (list []string) {
	for _, r := range items(v) {
		list = append(list, member[string](r, "id"))
	}
	return list
}

func TestTheAuditIsReadByItsOwnOrganisation(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.clock.at.Store(time.Now().UnixMicro())
	var mine []string
	for range 7 {
		mine = append(mine, p.record(one))
		p.record(two)
	}
	slices.Reverse(mine)
	admin := p.tenants[one]["admin"]
	first := p.get("/v1/audit?limit=3", admin, 200)
	rest := p.get("/v1/audit?limit=200&cursor="+member[string](first, "next_cursor"), admin, 200)
	if got := append(ids(first), ids(rest)...); !slices.Equal(got, mine) || rest["next_cursor"] != nil {
		t.Errorf("the pages have %v; want %v", got, mine)
	}
	sought := p.get("/v1/audit/"+mine[0], p.tenants[one]["auditor"], 200)
	if sought["seal"] != nil || sought["actor"] == "" || sought["source"] != string(source(12)) {
		t.Errorf("before it is sealed: %v", sought)
	}
	p.sealAll()
	sought = p.get("/v1/audit/"+mine[0], admin, 200)
	if seal := member[map[string]any](sought, "seal"); seal["seq"] != 7.0 || seal["hash"] != p.link(one, 7).Hash.String() {
		t.Errorf("sealed: %v", seal)
	}
	if share := member[float64](member[any](member[any](sought, "detail"), "before"), "share"); share != 0.1 {
		t.Errorf("detail: %v", sought["detail"])
	}
	theirs := p.link(two, 3).AuditID
	for target, status := range map[string]int{
		"/v1/audit/" + theirs:                                           404,
		"/v1/audit/" + strings.Repeat("x", 30):                          404,
		"/v1/audit/" + theirs + "?organization_id=org_two":              403,
		"/v1/audit?organization_id=org_two":                             403,
		"/v1/audit?organization_id=platform":                            403,
		"/v1/audit?organization_id=org_missing":                         403,
		"/v1/audit/verify?organization_id=org_two":                      403,
		"/v1/audit/export?organization_id=org_two":                      403,
		"/v1/audit?cursor=forged":                                       400,
		"/v1/audit?start=2026-01-02T00:00:00Z&end=2026-01-01T00:00:00Z": 422,
		"/v1/audit?outcome=maybe":                                       422,
		"/v1/audit/export?after_seq=-1":                                 422,
		"/v1/audit/export?colour=red":                                   422,
	} {
		if w := p.do(http.MethodGet, target, admin, ""); w.Code != status || strings.Contains(w.Body.String(), "key_") {
			t.Errorf("%s: %d %s; want %d", target, w.Code, w.Body, status)
		}
	}
	for _, target := range []string{"/v1/audit", "/v1/audit/" + mine[0], "/v1/audit/verify", "/v1/audit/export", "/v1/audit/keys"} {
		if w := p.do(http.MethodGet, target, p.tenants[one]["reader"], ""); w.Code != 403 {
			t.Errorf("without audit:read: %s: %d", target, w.Code)
		}
		if w := p.do(http.MethodGet, target, "", ""); w.Code != 401 {
			t.Errorf("nobody: %s: %d", target, w.Code)
		}
	}
	house := p.tenants["house"]["platform"]
	p.get("/v1/audit/verify?organization_id=org_missing", house, 404)
	p.exec(function.Accounts, `INSERT INTO accounts.organizations (org_id, name, created_at) VALUES ('org_empty', 'empty', now())`)
	if v := p.get("/v1/audit/verify?organization_id=org_empty", house, 200); v["valid"] != true || v["checked"] != 0.0 {
		t.Errorf("of an organisation without records: %v", v)
	}
	if got := ids(p.get("/v1/audit?organization_id=org_one&limit=200", house, 200)); !slices.Equal(got, mine) {
		t.Errorf("the platform's people see %v", got)
	}
	if v := p.get("/v1/audit/verify?organization_id=org_two", house, 200); v["valid"] != true || v["checked"] != 7.0 {
		t.Errorf("%v", v)
	}
}

func TestTheAuditIsFiltered(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for i, r := range [][5]string{
		{"key_a", "key.create", "key_x", "success", "192.0.2.1"}, {"key_a", "key.revoke", "key_x", "success", "192.0.2.1"},
		{"key_b", "keyring.create", "key_x", "success", "192.0.2.2"}, {"key_b", "budget.create", "bud_x", "denied", "192.0.2.2"},
		{"key_%", "budget.%", "bud_x", "failure", "192.0.2.2"},
	} {
		p.exec(source(i), `INSERT INTO `+string(source(i))+`.audit_records (org_id, audit_id, at, actor, action, target, detail, request_id, outcome, source_address)
			VALUES ($1, $2, $3, $4, $5, $6, '{"=1+1": "x"}', $7, $8, $9)`,
			one, "aud_0199c0b2f3a47c1e8d6a5b4c3d2e1f0"+string(rune('0'+i)), at.Add(time.Duration(i)*time.Hour), r[0], r[1], r[2], "req_"+r[1], r[3], r[4])
	}
	for query, want := range map[string]string{
		"":                             "43210",
		"actor=key_a":                  "10",
		"actor=key_%25":                "4",
		"action=key.create":            "0",
		"action=key.":                  "10",
		"action=key":                   "",
		"action=budget.%25":            "4",
		"target=bud_x":                 "43",
		"outcome=denied":               "3",
		"outcome=success&target=key_x": "210",
		"source_address=192.0.2.1":     "10",
		"request_id=req_key.revoke":    "1",
		"start=2026-11-01T03:00:00Z":   "43",
		"end=2026-11-01T03:00:00Z":     "210",
		"start=2026-11-01T01:00:00Z&end=2026-11-01T02:00:00Z": "1",
		"actor=key_a&action=budget.":                          "",
	} {
		got := ""
		for _, one := range ids(p.get("/v1/audit?"+query, p.tenants[one]["admin"], 200)) {
			got += one[len(one)-1:]
		}
		if got != want {
			t.Errorf("%s: %q; want %q", query, got, want)
		}
	}
	w := p.do(http.MethodGet, "/v1/audit", p.tenants[one]["admin"], "", func(r *http.Request) { r.Header.Set("Accept", "text/csv") })
	rows, err := csv.NewReader(w.Body).ReadAll()
	if err != nil || len(rows) != 6 || !slices.Contains(rows[0], "source_address") || !slices.Contains(rows[1], `{"=1+1":"x"}`) {
		t.Errorf("as rows: %v, %v", rows, err)
	}
}

func TestAVerificationNamesTheFirstBadRecord(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	for range 9 {
		p.record(one)
	}
	p.sealAll()
	admin := p.tenants[one]["admin"]
	v := p.get("/v1/audit/verify", admin, 200)
	head, _ := v["head"].(map[string]any)
	if v["valid"] != true || v["first_bad"] != nil || v["checked"] != 9.0 || v["from_seq"] != 1.0 || v["to_seq"] != 9.0 || head["seq"] != 9.0 {
		t.Errorf("%v", v)
	}
	p.record(one)
	if v = p.get("/v1/audit/verify", admin, 200); v["pending"] != 1.0 || v["valid"] != true {
		t.Errorf("%v", v)
	}
	edit("actor", "somebody")(p.world, 4)
	v = p.get("/v1/audit/verify", admin, 200)
	bad, _ := v["first_bad"].(map[string]any)
	if v["valid"] != false || v["checked"] != 3.0 || bad["seq"] != 4.0 || bad["reason"] != "record_changed" || bad["audit_id"] != p.link(one, 4).AuditID {
		t.Errorf("%v", v)
	}
	if v := p.get("/v1/audit/verify", p.tenants[two]["admin"], 200); v["valid"] != true {
		t.Errorf("the other organisation: %v", v)
	}
}

func TestTheKeyOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.record(one)
	p.sealAll()
	key := func() string {
		return member[string](items(p.get("/v1/audit/keys", p.tenants[one]["auditor"], 200))[0], "public_key")
	}
	first := key()
	if info, err := os.Stat(filepath.Join(p.data, "audit.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file: %v, %v", info, err)
	}
	p.wire()
	if again := key(); again != first {
		t.Errorf("%s after a restart; want %s", again, first)
	}
	p.clock.advance(2 * core.HeadGrace)
	if v := p.get("/v1/audit/verify", p.tenants[one]["admin"], 200); v["valid"] != true {
		t.Errorf("after a restart: %v", v)
	}
	// Another key: what the first has signed is known by its public half only.
	p.settings["AIAAS_AUDIT_KEY"] = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="
	p.refused(first, "AIAAS_AUDIT_KEY", "AIAAS_AUDIT_OLD_KEYS", "BLOB_URL")
	p.settings["AIAAS_AUDIT_OLD_KEYS"] = first
	p.wire()
	if v := p.get("/v1/audit/verify", p.tenants[one]["admin"], 200); v["valid"] != true {
		t.Errorf("under a known one: %v", v)
	}
	if list := items(p.get("/v1/audit/keys", p.tenants[one]["auditor"], 200)); len(list) != 2 || !member[bool](list[0], "current") || key() == first {
		t.Errorf("keys: %v", list)
	}
	p.record(one)
	p.sealAll() // signed by the second
	delete(p.settings, "AIAAS_AUDIT_KEY")
	p.refused("AIAAS_AUDIT_OLD_KEYS")
}

// TestANewFolderDoesNotMakeANewAuditSilently: the database has signed chains, and
// the process that is to go on with them has neither their key nor their files.
func TestANewFolderDoesNotMakeANewAuditSilently(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.settings["AIAAS_DATA_DIR"] = t.TempDir() // nothing was signed so far
	p.wire()
	p.record(one)
	p.sealAll()
	key := member[string](items(p.get("/v1/audit/keys", p.tenants[one]["auditor"], 200))[0], "public_key")
	p.settings["AIAAS_DATA_DIR"] = t.TempDir()
	p.refused(key, "AIAAS_AUDIT_KEY", "AIAAS_AUDIT_OLD_KEYS", "BLOB_URL")
	p.settings["AIAAS_AUDIT_OLD_KEYS"] = key
	p.wire()
	p.clock.advance(2 * core.HeadGrace)
	if v := p.get("/v1/audit/verify", p.tenants[one]["admin"], 200); member[string](v["first_bad"], "reason") != "head_missing" {
		t.Errorf("without the files: %v", v)
	}
}

// refused fails the test unless a process with these settings does not start, and
// says why.
func (p *platform) refused(says ...string) {
	p.t.Helper()
	env := &function.Env{
		Now: p.clock.Now, Log: p.env.Log, Getenv: func(n string) string { return p.settings[n] },
		Fatal: func(err error) { p.t.Error(err) }, LocalDisk: true,
	}
	_, err := auditwire.Wire(p.t.Context(), env)
	for _, s := range says {
		if err == nil || !strings.Contains(err.Error(), s) {
			p.t.Errorf("the process that has lost its key says %v; want %q in it", err, s)
		}
	}
	if err := env.Close(p.t.Context()); err != nil {
		p.t.Error(err)
	}
}

func TestAHostWithoutALastingDiskMustBeGivenKeyAndStore(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	for _, c := range []struct{ key, store, says string }{
		{"", "file:///tmp/x", "AIAAS_AUDIT_KEY"},
		{"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=", "", "BLOB_URL"},
		{"short", "file:///tmp/x", "AIAAS_AUDIT_KEY"},
		{"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=", "ftp://x", "BLOB_URL"},
	} {
		settings := map[string]string{"DATABASE_URL": p.urls[function.Accounts], "AIAAS_DATA_DIR": t.TempDir(), "AIAAS_AUDIT_KEY": c.key, "BLOB_URL": c.store}
		env := &function.Env{Now: p.clock.Now, Log: p.env.Log, Getenv: func(n string) string { return settings[n] }, Fatal: func(err error) { t.Error(err) }}
		if _, err := auditwire.Wire(t.Context(), env); err == nil || !strings.Contains(err.Error(), c.says) || (c.key != "" && strings.Contains(err.Error(), c.key)) {
			t.Errorf("%+v: %v", c, err)
		}
		if err := env.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestRefusalsAreInTheAudit drives the management API by keys that may not do what
// they ask, and by one that is no longer good.
func TestRefusalsAreInTheAudit(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	reader, admin := p.tenants[one]["reader"], p.tenants[one]["admin"]
	for range 30 {
		if w := p.do(http.MethodDelete, "/v1/api-keys/key_0199c0b2f3a47c1e8d6a5b4c3d2e1f00", reader, ""); w.Code != 403 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	if w := p.do(http.MethodDelete, "/v1/api-keys/"+p.keyIDs[one+"auditor"], admin, ""); w.Code != 204 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	p.clock.advance(time.Second)
	for range 5 {
		if w := p.do(http.MethodGet, "/v1/audit", p.tenants[one]["auditor"], ""); w.Code != 401 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	p.do(http.MethodGet, "/v1/audit", "aiaas_live_nobody", "") // nobody's audit
	denials, err := open.Denials(t.Context(), p.env)
	if err != nil {
		t.Fatal(err)
	}
	p.clock.advance(time.Minute)
	if err := denials.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]struct {
		actor, code string
		count       float64
	}{
		"action=access.deny": {p.keyIDs[one+"reader"], "keys:write", 30},
		"action=auth.fail":   {p.keyIDs[one+"auditor"], "key_revoked", 5},
	} {
		count := 0.0
		for _, r := range items(p.get("/v1/audit?outcome=denied&"+query, admin, 200)) {
			detail := member[any](r, "detail")
			count += member[float64](detail, "count")
			if member[string](r, "actor") != want.actor || member[string](detail, "code") != want.code || member[string](r, "source_address") != "192.0.2.1" ||
				member[string](r, "target") == "" || member[string](r, "request_id") == "" {
				t.Errorf("%s: %v", query, r)
			}
		}
		if count != want.count {
			t.Errorf("%s: %v were counted; want %v", query, count, want.count)
		}
	}
	p.sealAll()
	if v := p.get("/v1/audit/verify", admin, 200); v["valid"] != true || member[float64](v, "checked") < 3 {
		t.Errorf("%v", v)
	}
	if list := ids(p.get("/v1/audit", p.tenants[two]["admin"], 200)); len(list) != 0 {
		t.Errorf("the other organisation's audit has %v", list)
	}
}
