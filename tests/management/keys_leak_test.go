package management_test

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/apikey"
)

func leak(key string) string {
	return `{"key":"` + key + `","source":"https://example.com/commit/1"}`
}

func TestALeakedKeyIsRevokedByWhoeverFindsIt(t *testing.T) {
	t.Parallel()
	p := start(t)
	keyID, old := p.create(p.one.admin, lister)
	secret := member[string](p.do("POST", "/v1/api-keys/"+keyID+"/rotate", p.one.admin, "").want(200), "key")
	if !p.works(old) || !p.works(secret) {
		t.Fatal("a secret does not work")
	}
	// What was found is the secret that is being replaced. Nobody is asked who he is.
	a := p.do("POST", "/v1/api-keys/revoke-leaked", "", leak(old), calling("192.0.2.7"))
	a.want(202)
	if p.works(old) || p.works(secret) {
		t.Error("a secret of the key works") // at once: the clock stands still
	}
	got := p.scalar(`SELECT action || ' ' || actor || ' ' || source_address || ' ' || (detail->>'source') || ' ' || request_id FROM accounts.audit_records WHERE target = '` + keyID + `' ORDER BY audit_id DESC LIMIT 1`)
	if want := "key.revoke_leaked leak-report 192.0.2.7 https://example.com/commit/1 " + a.Header().Get("X-Request-Id"); got != want {
		t.Errorf("audited %q; want %q", got, want)
	}
	if got := p.scalar(`SELECT type FROM accounts.outbox WHERE object = '` + keyID + `' ORDER BY seq DESC LIMIT 1`); got != "key.leaked" {
		t.Errorf("told %q", got)
	}
	if got := p.scalar(`SELECT count(*)::text FROM accounts.audit_records a WHERE a::text LIKE '%` + old + `%'`); got != "0" || strings.Contains(p.log.String(), old) {
		t.Error("the secret is in the audit or in the log")
	}
	before := p.scalar(`SELECT count(*)::text FROM accounts.audit_records`)
	for name, body := range map[string]string{
		"again":    leak(old),
		"unknown":  leak(apikey.NewSecret(apikey.Production).Reveal()),
		"mistyped": leak(secret[:len(secret)-1] + "!"),
		"no key":   leak("sk-proj-1"),
		"hostile":  leak("' OR 1=1 --"),
	} {
		b := p.do("POST", "/v1/api-keys/revoke-leaked", "", body, calling("192.0.2.7"))
		if b.Code != 202 || b.Body.String() != a.Body.String() {
			t.Errorf("%s: %d %s; want the same as for a key: %s", name, b.Code, b.Body, a.Body)
		}
	}
	if after := p.scalar(`SELECT count(*)::text FROM accounts.audit_records`); after != before {
		t.Errorf("%s audit records, then %s", before, after)
	}
}

func TestReportsAreReadStrictlyAndBounded(t *testing.T) {
	t.Parallel()
	p := start(t)
	keyID, secret := p.create(p.one.admin, lister)
	for body, status := range map[string]int{
		`{}`: 422, `{"key":7}`: 422, `{"key":""}`: 422, `{"key":"` + long(4097) + `"}`: 422, `{"key":"x","org_id":"y"}`: 422, `{"key":"x","source":"a\nb"}`: 422,
		`{"key":"x","source":"` + long(501) + `"}`: 422, `{"key":"x"`: 400, `{"key":"` + long(100_000) + `"}`: 413, `[{"key":"x"}]`: 422,
	} {
		a := p.do("POST", "/v1/api-keys/revoke-leaked", "", body, calling("192.0.2.8"))
		if a.Code != status {
			t.Errorf("%.60s: %d %s; want %d", body, a.Code, a.Body, status)
		}
	}
	for i := 0; ; i++ {
		a := p.do("POST", "/v1/api-keys/revoke-leaked", "", leak("x"), calling("192.0.2.7"))
		if a.Code == 429 {
			if a.refused(429, "rate_limit_exceeded"); a.Header().Get("Retry-After") != "45" || i != 60 {
				t.Errorf("after %d reports: Retry-After %s", i, a.Header().Get("Retry-After"))
			}
			break
		}
		a.want(202)
	}
	p.do("POST", "/v1/api-keys/revoke-leaked", "", leak(secret), calling("192.0.2.7")).refused(429, "rate_limit_exceeded")
	if !p.works(secret) {
		t.Error("past the bound a key was revoked")
	}
	p.clock.advance(45 * time.Second)
	p.do("POST", "/v1/api-keys/revoke-leaked", "", leak(secret), calling("192.0.2.7")).want(202)
	if v := p.do("GET", "/v1/api-keys/"+keyID, p.one.admin, "").want(200); v["state"] != "revoked" || v["revoked_reason"] != "reported as leaked" {
		t.Errorf("%v", v)
	}
}

// A scanner that knows the published pattern and nothing else finds our keys, and
// tells them from what only looks like one.
func TestThePatternIsEnoughForAScanner(t *testing.T) {
	t.Parallel()
	p := start(t)
	var published struct {
		Pattern  string
		Prefixes []struct{ Prefix, Environment string }
		Checksum struct {
			Alphabet string
			Length   int
		}
		Examples struct{ Valid, Invalid []string }
		Report   struct{ Method, Path string }
	}
	a := p.do("GET", "/v1/api-keys/pattern", "", "")
	a.want(200)
	if err := json.Unmarshal(a.Body.Bytes(), &published); err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(published.Pattern)
	checks := func(key string) bool {
		body, sum := key[:len(key)-published.Checksum.Length], crc32.ChecksumIEEE([]byte(key[:len(key)-published.Checksum.Length]))
		digits := ""
		for range published.Checksum.Length {
			digits = string(published.Checksum.Alphabet[sum%62]) + digits
			sum /= 62
		}
		return body+digits == key
	}
	finds := func(text string) (keys []string) {
		for _, k := range form.FindAllString(text, -1) {
			if checks(k) {
				keys = append(keys, k)
			}
		}
		return keys
	}
	_, live := p.create(p.one.admin, lister)
	_, dev := p.create(p.one.admin, `{"name":"x","scopes":["keys:read"],"environment":"development"}`)
	text := fmt.Sprintf("token = %q # and\nAPI_KEY=%s\n%s", live, dev, strings.Join(append(published.Examples.Valid, published.Examples.Invalid...), ","))
	if got, want := fmt.Sprint(finds(text)), fmt.Sprint(append([]string{live, dev}, published.Examples.Valid...)); got != want {
		t.Errorf("found %s; want %s", got, want)
	}
	if len(published.Examples.Valid) == 0 || len(published.Examples.Invalid) == 0 || len(form.FindAllString(strings.Join(published.Examples.Invalid, " "), -1)) != len(published.Examples.Invalid) {
		t.Errorf("examples %+v", published.Examples)
	}
	for _, x := range published.Prefixes {
		if !strings.HasPrefix(map[string]string{"production": live, "development": dev}[x.Environment], x.Prefix) {
			t.Errorf("prefix %+v", x)
		}
	}
	p.do(published.Report.Method, published.Report.Path, "", `{"key":"`+live+`"}`).want(202)
	if p.works(live) || !p.works(dev) {
		t.Error("the reported key works, or another does not")
	}
	for _, key := range published.Examples.Valid { // nobody's
		p.do("GET", "/v1/api-keys", key, "").refused(401, "invalid_api_key")
	}
}
