package management_test

import (
	"fmt"
	"strings"
	"testing"
)

const wanted = `{"url":"https://example.com/aiaas","description":"CI","events":["key.*"]}`

func TestTheLifeOfAWebhook(t *testing.T) {
	t.Parallel()
	p := start(t)
	made := p.do("POST", "/v1/webhooks", p.one.admin, wanted).want(201)
	id, secret := fmt.Sprint(made["id"]), fmt.Sprint(made["secret"])
	if !strings.HasPrefix(secret, "whsec_") || made["enabled"] != true || made["url"] != "https://example.com/aiaas" {
		t.Errorf("made %v", made)
	}
	path := "/v1/webhooks/" + id
	for what, a := range map[string]answer{"list": p.do("GET", "/v1/webhooks", p.one.admin, ""), "get": p.do("GET", path, p.one.admin, "")} {
		a.want(200)
		if !strings.Contains(a.Body.String(), id) || strings.Contains(a.Body.String(), secret) || strings.Contains(a.Body.String(), "whsec_") {
			t.Errorf("%s: %s; want it without its secret", what, a.Body)
		}
	}
	if got := p.scalar(`SELECT count(*)::text FROM accounts.webhooks WHERE secret LIKE '%` + secret[6:20] + `%'`); got != "0" {
		t.Error("the secret is kept in the clear")
	}
	changed := p.do("PATCH", path, p.one.admin, `{"events":["*"],"description":"all of it"}`).want(200)
	if fmt.Sprint(changed["events"]) != "[*]" || changed["description"] != "all of it" || changed["url"] != made["url"] {
		t.Errorf("changed %v", changed)
	}
	again := p.do("POST", path+"/rotate-secret", p.one.admin, "").want(200)
	if again["secret"] == made["secret"] || again["old_secret_until"] == nil {
		t.Errorf("rotated %v", again)
	}
	if sent := p.do("POST", path+"/test", p.one.admin, "").want(202); !strings.HasPrefix(fmt.Sprint(sent["event_id"]), "evt_") {
		t.Errorf("test %v", sent)
	}
	p.do("DELETE", path, p.one.admin, "").want(204)
	p.do("GET", path, p.one.admin, "").refused(404, "not_found")
	p.do("DELETE", path, p.one.admin, "").refused(404, "not_found")
	if got := p.scalar(`SELECT string_agg(action, ' ' ORDER BY audit_id) FROM accounts.audit_records WHERE target = '` + id + `'`); got != "webhook.create webhook.update webhook.rotate_secret webhook.test webhook.delete" {
		t.Errorf("the audit has %s", got)
	}
	for _, leak := range []string{secret, fmt.Sprint(again["secret"])} {
		if strings.Contains(p.log.String(), leak) || p.scalar(`SELECT count(*)::text FROM accounts.audit_records WHERE detail::text LIKE '%`+leak+`%'`) != "0" {
			t.Error("a secret is in the log or the audit")
		}
	}
}

func TestAForeignWebhookIsNotThere(t *testing.T) {
	t.Parallel()
	p := start(t)
	path := "/v1/webhooks/" + fmt.Sprint(p.do("POST", "/v1/webhooks", p.one.admin, wanted).want(201)["id"])
	for _, c := range []struct{ method, path, body string }{
		{"GET", path, ""}, {"PATCH", path, `{"enabled":false}`}, {"DELETE", path, ""}, {"POST", path + "/rotate-secret", ""}, {"POST", path + "/test", ""},
		{"GET", path + "/deliveries", ""}, {"POST", path + "/replay", `{"since":"2026-01-01T00:00:00Z"}`},
		{"POST", "/v1/webhook-deliveries/dlv_0199c0b2f3a47c1e8d6a5b4c3d2e1f00/replay", ""},
	} {
		p.do(c.method, c.path, p.two.admin, c.body).refused(404, "not_found")
		p.do(c.method, c.path, p.one.reader, c.body).refused(403, "forbidden")
		p.do(c.method, c.path, "", c.body).refused(401, "invalid_api_key")
	}
	if list := p.do("GET", "/v1/webhooks", p.two.admin, "").want(200); len(items(list)) != 0 {
		t.Errorf("another organisation sees %v", list)
	}
	p.do("GET", path, p.one.admin, "").want(200)
}

func TestWebhooksThatMakeNoSense(t *testing.T) {
	t.Parallel()
	p := start(t)
	path := "/v1/webhooks/" + fmt.Sprint(p.do("POST", "/v1/webhooks", p.one.admin, wanted).want(201)["id"])
	for _, url := range []string{
		"http://example.com", "ftp://example.com", "example.com", "//example.com", "https://", "https://u:p@example.com", "https://example.com/#x", "https://exämple.com",
		"https://localhost", "https://127.0.0.1", "https://127.1:8443", "https://2130706433", "https://0x7f000001", "https://0177.0.0.1", "https://[::1]", "https://[::ffff:10.0.0.1]",
		"https://169.254.169.254/latest", "https://10.0.0.1", "https://[fd00::1]", "https://[64:ff9b::7f00:1]", "https://[fe80::1%25eth0]", "https://%31%30.0.0.1", " https://example.com",
		"https://example.com:22/", "https://example.com:80", "https://example.com:1023", "https://8.8.8.8:25", "https://example.com:0", "https://example.com:99999", "https://example.com:https",
	} {
		body := fmt.Sprintf(`{"url":%q,"events":["*"]}`, url)
		p.do("POST", "/v1/webhooks", p.one.admin, body).refused(422, "unprocessable")
		p.do("PATCH", path, p.one.admin, fmt.Sprintf(`{"url":%q}`, url)).refused(422, "unprocessable")
	}
	for _, body := range []string{
		`{"url":"https://example.com","events":[]}`, `{"url":"https://example.com"}`, `{"url":"https://example.com","events":["nothing.happened"]}`,
		`{"url":"https://example.com","events":["key"]}`, `{"url":"https://example.com","events":["*.created"]}`, `{"url":"https://example.com","events":[""]}`,
		`{"url":"https://example.com","events":["*"],"secret":"mine"}`, `{"url":"https://example.com","events":["*"],"description":"` + long(501) + `"}`,
		`{"url":"https://example.com/` + long(2000) + `","events":["*"]}`,
	} {
		p.do("POST", "/v1/webhooks", p.one.admin, body).refused(422, "unprocessable")
	}
	p.do("POST", path+"/rotate-secret", p.one.admin, `{"overlap_seconds":604801}`).refused(422, "unprocessable")
	for _, port := range []string{"443", "1024", "8443", "65535"} {
		p.do("PATCH", path, p.one.admin, `{"url":"https://example.com:`+port+`/x"}`).want(200)
	}
	for range 19 {
		p.do("POST", "/v1/webhooks", p.one.admin, wanted).want(201)
	}
	p.do("POST", "/v1/webhooks", p.one.admin, wanted).refused(409, "conflict")
	p.do("POST", "/v1/webhooks", p.two.admin, wanted).want(201)
}

// A third secret would end the first before its overlap.
func TestOneOverlapAtATime(t *testing.T) {
	t.Parallel()
	p := start(t)
	path := "/v1/webhooks/" + fmt.Sprint(p.do("POST", "/v1/webhooks", p.one.admin, wanted).want(201)["id"])
	rotate := func(body string) answer { return p.do("POST", path+"/rotate-secret", p.one.admin, body) }
	first := rotate(`{"overlap_seconds":600}`).want(200)
	rotate(`{"overlap_seconds":1}`).refused(409, "conflict")
	rotate("").refused(409, "conflict")
	if now := p.do("GET", path, p.one.admin, "").want(200); fmt.Sprint(now["old_secret_until"]) != fmt.Sprint(first["old_secret_until"]) {
		t.Errorf("a refused rotation made it %v; was %v", now, first)
	}
	if last := rotate(`{"overlap_seconds":0}`).want(200); last["old_secret_until"] != nil {
		t.Errorf("without an overlap: %v", last)
	}
	rotate(`{"overlap_seconds":600}`).want(200)
}

func TestTestsAndReplaysAreFew(t *testing.T) {
	t.Parallel()
	p := start(t)
	path := "/v1/webhooks/" + fmt.Sprint(p.do("POST", "/v1/webhooks", p.one.admin, wanted).want(201)["id"])
	other := "/v1/webhooks/" + fmt.Sprint(p.do("POST", "/v1/webhooks", p.one.admin, wanted).want(201)["id"])
	theirs := "/v1/webhooks/" + fmt.Sprint(p.do("POST", "/v1/webhooks", p.two.admin, wanted).want(201)["id"])
	for what, c := range map[string]struct {
		body string
		most int
	}{"/test": {"", 60}, "/replay": {`{"since":"2026-01-01T00:00:00Z"}`, 10}} {
		for range c.most {
			p.do("POST", path+what, p.one.admin, c.body).want(202)
		}
		for _, hook := range []string{path, other} { // it is the organisation's
			a := p.do("POST", hook+what, p.one.admin, c.body)
			a.refused(429, "rate_limit_exceeded")
			if a.Header().Get("Retry-After") == "" || !strings.Contains(a.Body.String(), `"retry_after":`) {
				t.Errorf("%s does not say when: %v %s", what, a.Header(), a.Body)
			}
		}
		p.do("POST", theirs+what, p.two.admin, c.body).want(202)
	}
}

func TestTheCatalogueOfEventsIsPublicToReaders(t *testing.T) {
	t.Parallel()
	p := start(t)
	seen := map[string]bool{}
	for cursor := ""; ; {
		list := p.do("GET", "/v1/event-types?limit=20"+cursor, p.one.admin, "").want(200)
		for _, item := range items(list) {
			seen[member[string](item, "type")] = true
		}
		next := member[string](list, "next_cursor")
		if next == "" {
			break
		}
		cursor = "&cursor=" + next
	}
	if len(seen) < 40 || !seen["key.created"] || !seen["webhook.updated"] {
		t.Errorf("%d types: %v", len(seen), seen)
	}
	p.do("GET", "/v1/event-types", p.one.reader, "").refused(403, "forbidden")
	p.do("GET", "/v1/events", p.one.reader, "").refused(403, "forbidden")
	p.do("GET", "/v1/events?type=key.created&since=2026-01-01T00:00:00Z", p.one.admin, "").want(200)
}

// What is refused whenever it is dialled is refused at once where it is written out.
func TestBackendsAreNotInPrivatePlaces(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.do("POST", "/v1/models", p.one.platform, `{"id":"m"}`).want(201)
	for host, status := range map[string]int{
		"127.0.0.1": 422, "localhost": 422, "127.1": 422, "0x7f.0.0.1": 422, "2130706433": 422, "[::1]": 422, "192.168.0.1": 422, "169.254.169.254": 422,
		"[::ffff:169.254.169.254]": 422, "100.64.0.1": 422, "0.0.0.0": 422, "[fe80::1%25lo]": 422, "168.63.129.16": 422,
		"10.0.0.1": 201, "gpu.internal": 201, "api.example.com": 201, "[::ffff:10.0.0.1]": 201, // AIAAS_BACKEND_NETWORKS has 10.0.0.0/8
	} {
		a := p.do("POST", "/v1/models/m/backends", p.one.platform, fmt.Sprintf(`{"protocol":"openai","base_url":"http://%s:8000/v1"}`, host))
		if a.Code != status {
			t.Errorf("%s: %d; want %d: %s", host, a.Code, status, a.Body)
		}
		if status == 422 && !strings.Contains(a.Body.String(), "AIAAS_BACKEND_NETWORKS") {
			t.Errorf("%s: the refusal does not say what to do: %s", host, a.Body)
		}
	}
}
