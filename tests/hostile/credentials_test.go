package hostile_test

import (
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// jwt is an unsigned token with the given header.
func jwt(header string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(header)) + "." + enc([]byte(`{"sub":"owner","org_id":"org_1","scope":"platform"}`)) + "." + enc([]byte("x"))
}

// credential is a bad way to say who one is.
type credential struct {
	name   string
	header http.Header
	status int
}

func (p *platform) credentials(key string) []credential {
	bearer := func(text string) http.Header { return http.Header{"Authorization": {"Bearer " + text}} }
	last := map[bool]string{true: "a", false: "b"}[key[len(key)-1] == 'b']
	denied := func(name string, h http.Header) credential { return credential{name, h, 401} }
	return []credential{
		denied("none", http.Header{}),
		denied("revoked", bearer(p.one.revoked)),
		denied("expired", bearer(p.one.expired)),
		denied("of a suspended organisation", bearer(p.one.suspended)),
		denied("unknown", bearer(p.one.nobody)),
		denied("empty bearer", http.Header{"Authorization": {"Bearer "}}),
		denied("blank bearer", bearer("   ")),
		denied("blank key", http.Header{"X-Api-Key": {" "}}),
		denied("empty key beside a good one", http.Header{"Authorization": {"Bearer " + key}, "X-Api-Key": {""}}),
		denied("basic", http.Header{"Authorization": {"Basic " + key}}),
		denied("bare", http.Header{"Authorization": {key}}),
		denied("60 KB", bearer("aiaas_live_"+strings.Repeat("a", 60_000))),
		denied("wrong checksum", bearer(key[:len(key)-1]+last)),
		denied("one character short", bearer(key[:len(key)-1])),
		denied("one character long", bearer(key+"a")),
		denied("other environment", bearer(strings.Replace(key, "_live_", "_dev_", 1))),
		denied("upper case", bearer(strings.ToUpper(key))),
		denied("SQL", http.Header{"X-Api-Key": {"' OR '1'='1"}}),
		denied("SQL behind a key", http.Header{"X-Api-Key": {key + "' OR '1'='1"}}),
		denied("not UTF-8", bearer("aiaas_live_\xff\xfe")),
		denied("JWT without a signature", bearer(jwt(`{"alg":"none"}`))),
		denied("JWT signed with a public key", bearer(jwt(`{"alg":"HS256","kid":"rsa"}`))),
		denied("JWT with a path in kid", bearer(jwt(`{"alg":"HS256","kid":"../../dev/null"}`))),
		denied("JWT with its own key", bearer(jwt(`{"alg":"RS256","jwk":{"kty":"RSA","n":"AQAB","e":"AQAB"}}`))),
		{"key and bearer that differ", http.Header{"Authorization": {"Bearer " + key}, "X-Api-Key": {p.two.admin}}, 400},
		{"two keys that differ", http.Header{"X-Api-Key": {key, p.two.admin}}, 400},
		{"two bearers that differ", http.Header{"Authorization": {"Bearer " + key, "Bearer " + p.two.admin}}, 400},
	}
}

// TestNobodyPassesAnyRoute sends every bad credential to every route. All keys that
// are refused get one answer, byte for byte except for the request's id. Routes that
// ask for no key answer as if none had come.
func TestNobodyPassesAnyRoute(t *testing.T) {
	p := start(t)
	p.harmless(func() {
		p.each(func(t *testing.T, r route) {
			t.Helper()
			if r.Scope == "" {
				p.public(t, r)
				return
			}
			first := ""
			for _, c := range p.credentials(r.key) {
				a := p.do(r.Method, r.target, "", r.body, func(req *http.Request) {
					maps.Copy(req.Header, c.header)
				})
				refused(t, a, c.status)
				if t.Failed() {
					t.Fatalf("with the credential: %s", c.name)
				}
				if c.status != http.StatusUnauthorized {
					continue
				}
				if a.header.Get("Www-Authenticate") == "" {
					t.Errorf("%s: no WWW-Authenticate", c.name)
				}
				same := strings.ReplaceAll(string(a.body), a.header.Get("X-Request-Id"), "req")
				a.header.Del("X-Request-Id")
				a.header.Del("Date")
				for _, name := range []string{"Content-Type", "Content-Length", "Www-Authenticate", "Retry-After"} {
					same += "\n" + name + ": " + a.header.Get(name)
				}
				if first == "" {
					first = same
				}
				if same != first {
					t.Errorf("%s can be told apart: %s; the first got %s", c.name, same, first)
				}
			}
			p.inTheURL(t, r)
		})
	})
}

// public holds that a route without a scope does not care who asks. Who asks too often
// for what can be guessed waits, whoever he is.
func (p *platform) public(t *testing.T, r route) {
	t.Helper()
	want := p.do(r.Method, r.target, "", r.body)
	if want.status >= 300 && want.status != refusedAnyway()[r.OperationID] {
		t.Errorf("without a key: %s", want)
	}
	for _, c := range p.credentials(p.one.admin) {
		a := p.do(r.Method, r.target, "", r.body, func(req *http.Request) { maps.Copy(req.Header, c.header) })
		if a.status != want.status && a.status != http.StatusTooManyRequests {
			t.Errorf("%s: %s; without a key %s", c.name, a, want)
		}
	}
}

// inTheURL holds that a key in the URL is refused, also beside a good one, and
// however it is written.
func (p *platform) inTheURL(t *testing.T, r route) {
	t.Helper()
	for _, query := range []string{
		"key=" + r.key, "api_key=" + r.key, "access_token=" + r.key, "x=%61iaas_" + strings.TrimPrefix(r.key, "aiaas_"), r.key + "=1", "a=" + url.QueryEscape("Bearer "+r.key),
	} {
		refused(t, p.do(r.Method, r.target+"?"+query, "", r.body), 400)
		refused(t, p.do(r.Method, r.target+"?"+query, r.key, r.body), 400)
	}
}

// TestNoKeyPassesWithoutItsScope asks each route with a key that has all scopes but
// those that the route names.
func TestNoKeyPassesWithoutItsScope(t *testing.T) {
	p := start(t)
	p.harmless(func() {
		p.each(func(t *testing.T, r route) {
			t.Helper()
			if r.Scope == "" || r.Scope == "any" { // "any" is every key's
				return
			}
			key := map[bool]string{true: p.one.admin, false: p.one.platform}[r.Scope == "platform"]
			if r.OrScope != "" {
				key = p.one.reader
			}
			a := p.do(r.Method, r.target, key, r.body)
			refused(t, a, 403)
			if !strings.Contains(string(a.body), `"scope":"`+r.Scope+`"`) {
				t.Errorf("the answer does not name the scope %s: %s", r.Scope, a)
			}
			refused(t, p.do(r.Method, r.target, key, "{"), 403) // nobody reads what one may not say
		})
	})
}
