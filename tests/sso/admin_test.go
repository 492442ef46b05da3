package sso_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/oidc/oidctest"
	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/id"
)

func TestADomainIsWhoseItsDNSSays(t *testing.T) {
	w := start(t)
	corp, other := w.with(w.corp.owner), w.with(w.other.owner)
	add := func(b *browser, name string) doc {
		return b.do(http.MethodPost, "/v1/sso/domains", map[string]any{"domain": name}).want(t, 201)
	}
	verify := func(b *browser, d doc) answer {
		return b.do(http.MethodPost, "/v1/sso/domains/"+d.text("id")+"/verify", nil)
	}
	d := add(corp, "Corp.Example.")
	record := d.in("record")
	name, value := record.text("name"), record.text("value")
	if d["domain"] != "corp.example" || d["verified"] != false || name != "_aiaas-challenge.corp.example" || record["type"] != "TXT" {
		t.Errorf("%v", d)
	}
	if p := verify(corp, d).want(t, 409); p["reason"] != "record_missing" {
		t.Errorf("without a record: %v", p)
	}
	theirs := add(other, "corp.example") // anybody may say that it is his
	w.dns.set(name, theirs.in("record").text("value"), strings.ToUpper(value), value+"x")
	verify(corp, d).want(t, 409)
	w.dns.fail(true)
	verify(corp, d).want(t, 503)
	w.dns.fail(false)
	w.dns.set(name, "something else", value)
	if v := verify(corp, d).want(t, 200); v["verified"] != true || v["verified_at"] == nil {
		t.Errorf("%v", v)
	}
	w.dns.set(name)
	verify(corp, d).want(t, 200) // it was shown a moment ago
	w.dns.set(name, theirs.in("record").text("value"), value)
	if p := verify(other, theirs).want(t, 409); p["reason"] != "taken" {
		t.Errorf("by another organization: %v", p)
	}
	corp.do(http.MethodDelete, "/v1/sso/domains/"+d.text("id"), nil).want(t, 204)
	verify(other, theirs).want(t, 200)
	corp.do(http.MethodGet, "/v1/sso/domains/"+theirs.text("id"), nil).want(t, 404)
	verify(corp, theirs).want(t, 404)
	corp.do(http.MethodDelete, "/v1/sso/domains/"+theirs.text("id"), nil).want(t, 404)
	if n := w.corp.audited("sso.domain_add") + w.corp.audited("sso.domain_verify") + w.corp.audited("sso.domain_remove"); n != "111" {
		t.Errorf("audited %s", n)
	}
}

func TestWhatIsNoDomain(t *testing.T) {
	w := start(t)
	owner := w.with(w.corp.owner)
	for _, name := range []string{
		"gmail.com", "GoogleMail.com", "mail.yahoo.com", "corp", "corp..example", ".corp.example", "-corp.example", "corp-.example", "127.0.0.1",
		"10.0.0", "corp.example/x", "corp example", "co*p.example", "körp.example", "a@corp.example", strings.Repeat("a", 64) + ".example", strings.Repeat("a.", 130) + "example",
	} {
		if a := owner.do(http.MethodPost, "/v1/sso/domains", map[string]any{"domain": name}); a.status != 422 {
			t.Errorf("%q: %d %s", name, a.status, a.raw)
		}
	}
	owner.do(http.MethodPost, "/v1/sso/domains", map[string]any{"domain": "xn--krp-sna.example"}).want(t, 201)
	owner.do(http.MethodPost, "/v1/sso/domains", map[string]any{"domain": "xn--krp-sna.example"}).want(t, 409)
	for n := range 49 {
		owner.do(http.MethodPost, "/v1/sso/domains", map[string]any{"domain": fmt.Sprintf("d%d.example", n)}).want(t, 201)
	}
	owner.do(http.MethodPost, "/v1/sso/domains", map[string]any{"domain": "one-too-many.example"}).want(t, 409)
}

func TestWhatIsNoConnection(t *testing.T) {
	w, i := start(t), oidctest.New(t)
	w.corp.domain("corp.example")
	body := func(more map[string]any) map[string]any {
		b := map[string]any{"name": "d", "issuer": i.URL, "client_id": "aiaas", "client_secret": "s"}
		maps.Copy(b, more)
		return b
	}
	for what, more := range map[string]map[string]any{
		"an issuer by another name":       {"issuer": i.URL + "/"},
		"an issuer that is none":          {"issuer": i.URL + "/nothing"},
		"the metadata service":            {"issuer": "http://169.254.169.254"},
		"the same in numbers":             {"issuer": "https://2852039166"},
		"a private address":               {"issuer": "https://10.0.0.1"},
		"a name without TLS":              {"issuer": "ftp://login.example"},
		"a query":                         {"issuer": i.URL + "?a=b"},
		"a user":                          {"issuer": strings.Replace(i.URL, "http://", "http://u:p@", 1)},
		"no host":                         {"issuer": "https://"},
		"a domain that is not verified":   {"domains": []string{"other.example"}},
		"an owner by default":             {"default_role": "owner"},
		"a role of the platform":          {"default_role": "support"},
		"a role that there is not":        {"default_role": "emperor"},
		"the word for roles of one's own": {"default_role": "custom"},
		"required, and no second factor":  {"required": true},
		"groups and no claim":             {"group_roles": map[string]any{"a": "developer"}},
		"a group without a name":          {"groups_claim": "groups", "group_roles": map[string]any{"": "developer"}},
		"a name that is not seen":         {"name": "a\u202eb"},
		"a client that breaks lines":      {"client_id": "a\r\nb"},
		"a secret that breaks lines":      {"client_secret": "a\r\nb"},
	} {
		if a := w.with(w.corp.owner).do(http.MethodPost, "/v1/sso/connections", body(more)); a.status != 422 {
			t.Errorf("%s: %d %s", what, a.status, a.raw)
		}
	}
	i.Meta["id_token_signing_alg_values_supported"] = []string{"HS256"}
	w.skew.Store(int64(time.Minute)) // what it said a moment ago is not asked again
	if a := w.with(w.corp.owner).do(http.MethodPost, "/v1/sso/connections", body(nil)); a.status != 422 {
		t.Errorf("an issuer that signs by secrets: %d %s", a.status, a.raw)
	}
	if n := w.scalar(`SELECT count(*)::text FROM accounts.sso_connections`); n != "0" {
		t.Errorf("%s connections", n)
	}
}

func TestNobodyMapsARoleThatHeMayNotGive(t *testing.T) {
	w, i := start(t), oidctest.New(t)
	mapped := func(role string) map[string]any {
		return map[string]any{"name": "d", "issuer": i.URL, "client_id": "aiaas", "groups_claim": "groups", "group_roles": map[string]any{"g": role}}
	}
	create := func(key, role string) answer {
		return w.with(key).do(http.MethodPost, "/v1/sso/connections", mapped(role))
	}
	for role, status := range map[string]int{"owner": 403, "admin": 403, "finance": 201, "support": 422, "role_" + strings.Repeat("0", 32): 404} {
		if a := create(w.corp.admin, role); a.status != status {
			t.Errorf("an admin maps %s: %d %s; want %d", role, a.status, a.raw, status)
		}
	}
	c := create(w.corp.owner, "owner").want(t, 201)
	path := "/v1/sso/connections/" + c.text("id")
	w.with(w.corp.admin).do(http.MethodPatch, path, map[string]any{"trust_mfa": true}).want(t, 403) // it would still give that role
	keeper := w.with(w.corp.owner).do(http.MethodPost, "/v1/roles", map[string]any{
		"name": "Keeper", "permissions": []string{"settings.read", "settings.write", "members.read", "members.write"}, "reach": "organization",
	}).want(t, 201)
	account := w.with(w.corp.owner).do(http.MethodPost, "/v1/service-accounts", map[string]any{"name": "k", "role": keeper["id"]}).want(t, 201)
	project := w.scalar(`SELECT project_id FROM accounts.projects WHERE org_id = '%s'`, w.corp.org)
	_, custom := postgrestest.KeyOf(t, w.db, postgrestest.Ownership{Org: w.corp.org, Project: project, Owner: account.text("id")}, authz.Scopes()...)
	if a := create(custom, "developer"); a.status != 403 {
		t.Errorf("a role of one's own: %d %s", a.status, a.raw)
	}
	_, settings := postgrestest.Key(t, w.db, w.corp.org, project, authz.SettingsRead, authz.SettingsWrite)
	if a := create(settings, "developer"); a.status != 403 {
		t.Errorf("a key for settings only: %d %s", a.status, a.raw)
	}
	_, reader := postgrestest.Key(t, w.db, w.corp.org, project, authz.SettingsRead)
	w.with(reader).do(http.MethodGet, path, nil).want(t, 200)
	w.with(reader).do(http.MethodPatch, path, map[string]any{"required": true}).want(t, 403)
	w.with(reader).do(http.MethodPost, "/v1/sso/domains", map[string]any{"domain": "a.example"}).want(t, 403)
}

func TestConnectionsAreOnesOwn(t *testing.T) {
	w, i := start(t), oidctest.New(t)
	w.corp.domain("corp.example")
	c := w.corp.connect(w.corp.owner, i.URL, map[string]any{"groups_claim": "groups", "group_roles": map[string]any{"g": "analyst"}})
	path := "/v1/sso/connections/" + c.text("id")
	if c["redirect_uri"] != w.one.url+"/v1/sign-in/sso/callback/"+c.text("id") || c["vouches_as"] != "owner" || c["enabled"] != true || c["public_client"] != false {
		t.Errorf("%v", c)
	}
	for _, method := range []string{http.MethodGet, http.MethodDelete, http.MethodPatch} {
		var body any
		if method == http.MethodPatch {
			body = map[string]any{"required": true}
		}
		w.with(w.other.owner).do(method, path, body).want(t, 404)
	}
	owner := w.with(w.corp.owner)
	changed := owner.do(http.MethodPatch, path, map[string]any{
		"name": "New", "default_role": nil, "client_secret": "another-secret", "domains": []string{"corp.example"}, "required": true, "trust_mfa": true,
	}).want(t, 200)
	if changed["name"] != "New" || changed["default_role"] != nil || changed["groups_claim"] != "groups" || changed["required"] != true {
		t.Errorf("%v", changed)
	}
	for what, body := range map[string]map[string]any{
		"the issuer":    {"issuer": "https://login.example"},
		"the client":    {"client_id": "x"},
		"whose it is":   {"organization_id": w.other.org},
		"its authority": {"vouches_as": "owner"},
	} {
		if a := owner.do(http.MethodPatch, path, body); a.status != 422 {
			t.Errorf("%s can be changed: %d %s", what, a.status, a.raw)
		}
	}
	stored := w.scalar(`SELECT secret FROM accounts.sso_connections`)
	all := stored + w.log.String() + owner.do(http.MethodGet, path, nil).raw + w.scalar(`SELECT string_agg(detail::text, '') FROM accounts.audit_records`)
	if strings.Contains(all, "another-secret") || strings.Contains(all, "a-secret-of-the-issuer") || !strings.HasPrefix(stored, "v1:") {
		t.Errorf("the secret is seen: %s", all)
	}
	owner.do(http.MethodDelete, path, nil).want(t, 204)
	owner.do(http.MethodGet, path, nil).want(t, 404)
	owner.do(http.MethodDelete, "/v1/sso/identities/"+id.New(id.Identity), nil).want(t, 404)
	if list := owner.do(http.MethodGet, "/v1/sso/connections", nil).want(t, 200).list("data"); len(list) != 0 {
		t.Errorf("%v", list)
	}
}

func TestTheMoreSpecialConnectionServesADomain(t *testing.T) {
	w := start(t)
	general, special := oidctest.New(t), oidctest.New(t)
	w.corp.domain("corp.example")
	w.corp.domain("lab.example")
	w.corp.connect(w.corp.owner, general.URL, nil)
	w.corp.connect(w.corp.owner, special.URL, map[string]any{"domains": []string{"Lab.Example"}})
	for email, issuer := range map[string]string{"a@corp.example": general.URL, "a@lab.example": special.URL} {
		begun := w.browser().do(http.MethodPost, "/v1/sign-in/sso", map[string]any{"email": email}).want(t, 200)
		if !strings.HasPrefix(begun.text("redirect_url"), issuer+"/") {
			t.Errorf("%s goes to %v", email, begun["redirect_url"])
		}
	}
	for email, status := range map[string]int{"a@unknown.example": 404, "a@sub.corp.example": 404, "nobody": 422, "a@": 422, "@corp.example": 422} {
		if a := w.browser().do(http.MethodPost, "/v1/sign-in/sso", map[string]any{"email": email}); a.status != status {
			t.Errorf("%q: %d %s", email, a.status, a.raw)
		}
	}
}

// Beginning costs something: nobody does it without end.
func TestBeginningIsThrottled(t *testing.T) {
	w, i := start(t), oidctest.New(t)
	w.corp.domain("corp.example")
	w.corp.connect(w.corp.owner, i.URL, nil)
	for n := range 200 {
		a := w.browser().do(http.MethodPost, "/v1/sign-in/sso", map[string]any{"email": "a@corp.example"})
		if a.status == 429 {
			if n < 50 || a.header.Get("Retry-After") == "" {
				t.Errorf("after %d: %v", n, a.header)
			}
			return
		}
		a.want(t, 200)
	}
	t.Error("200 were begun")
}
