package hostile_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

const maxBody = 64 << 10

// padded is a body of exactly n bytes: white space may stand behind a document.
func padded(body string, n int) string { return body + strings.Repeat(" ", n-len(body)) }

func chunked(r *http.Request) {
	r.ContentLength = -1
	r.Body = io.NopCloser(io.MultiReader(r.Body))
}

func head(name string, values ...string) func(*http.Request) {
	return func(r *http.Request) { r.Header[name] = values }
}

// bomb is a megabyte of zeros in a kilobyte.
func bomb(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(make([]byte, 1<<20))
	must(t, err)
	must(t, z.Close())
	return b.String()
}

// TestEveryBodyIsBounded sends each route that takes a body the largest that is
// read, and one byte more, with its length and without. Forms and encodings that
// are not read are refused.
func TestEveryBodyIsBounded(t *testing.T) {
	p := start(t)
	p.harmless(func() {
		p.eachBody(func(t *testing.T, r route) {
			t.Helper()
			for _, c := range []struct {
				name, body string
				status     int
				change     func(*http.Request)
			}{
				{"one byte too long", padded(r.body, maxBody+1), 413, nil},
				{"one byte too long, chunked", padded(r.body, maxBody+1), 413, chunked},
				{"megabytes, chunked", padded(r.body, 8<<20), 413, chunked},
				{"form", "a=b", 415, head("Content-Type", "application/x-www-form-urlencoded")},
				{"text", r.body, 415, head("Content-Type", "text/plain")},
				{"XML that says JSON", r.body, 415, head("Content-Type", "application/xml; charset=application/json")},
				{"no media type", r.body, 415, head("Content-Type", ";;")},
				{"gzip", r.body, 415, head("Content-Encoding", "gzip")},
				{"a bomb", bomb(t), 415, head("Content-Encoding", "gzip")},
				{"a bomb, deflated twice", bomb(t), 415, head("Content-Encoding", "gzip, gzip")},
				{"nothing", "", 400, nil},
				{"blanks", strings.Repeat(" ", 1000), 400, nil},
			} {
				if c.body == "" && r.bare {
					continue
				}
				a := p.do(r.Method, r.target, r.key, c.body, func(req *http.Request) {
					if c.change != nil {
						c.change(req)
					}
				})
				if refused(t, a, c.status); t.Failed() {
					t.Fatal(c.name)
				}
			}
		})
	})
}

// TestTheLargestBodyIsAccepted sends 65,536 bytes, with their length and without.
func TestTheLargestBodyIsAccepted(t *testing.T) {
	p := start(t)
	p.eachBody(func(t *testing.T, r route) {
		t.Helper()
		for i, change := range []func(*http.Request){func(*http.Request) {}, chunked} {
			a := p.do(r.Method, r.target, r.key, padded(r.body, maxBody), change)
			again := i > 0 && a.status == http.StatusConflict // it is there already
			if a.status >= 300 && !again && a.status != refusedAnyway()[r.OperationID] {
				t.Errorf("%d bytes, the %d. way: %s", maxBody, i+1, a)
			}
		}
	})
}

// refusedAnyway are the routes whose example is read and then refused for what it says:
// nobody here is who he says, or nothing is where it is said to be.
func refusedAnyway() map[string]int {
	return map[string]int{
		"createSsoConnection": http.StatusUnprocessableEntity, "signInBySso": http.StatusNotFound, "stepUpBySso": http.StatusForbidden,
		"inviteMember": http.StatusNotFound, "signIn": http.StatusUnauthorized, "giveSecondFactor": http.StatusUnauthorized, "askPasskey": http.StatusUnauthorized, "signInByPasskey": http.StatusUnauthorized,
		"resetPassword": http.StatusUnauthorized, "askResetPasskey": http.StatusUnauthorized, "resetPasswordSecondFactor": http.StatusUnauthorized,
		"changeMe": http.StatusForbidden, "switchOrganization": http.StatusForbidden, "changePassword": http.StatusForbidden, "stepUp": http.StatusForbidden, // no key does
		"inspectInvitation": http.StatusNotFound, "acceptInvitation": http.StatusNotFound,
		"authorize": http.StatusBadRequest, "getToken": http.StatusBadRequest, "revokeToken": http.StatusBadRequest, // they want parameters
		"introspectToken": http.StatusBadRequest, "authorizeDevice": http.StatusBadRequest, "returnFromSso": http.StatusSeeOther, // to a page that says so
		"confirmTotp": http.StatusForbidden, "addPasskey": http.StatusForbidden, "renamePasskey": http.StatusForbidden, // no key does
	}
}

// eachBody runs f for every route that takes a body.
func (p *platform) eachBody(f func(t *testing.T, r route)) {
	p.t.Helper()
	n := 0
	p.each(func(t *testing.T, r route) {
		t.Helper()
		if r.body != "" {
			n++
			f(t, r)
		}
	})
	if n < 10 {
		p.t.Errorf("%d routes take a body; they have got lost", n)
	}
}

// TestEveryBodyIsReadInOneWay sends documents that two readers could read
// differently, or none at all.
func TestEveryBodyIsReadInOneWay(t *testing.T) {
	p := start(t)
	p.harmless(func() {
		p.eachBody(func(t *testing.T, r route) {
			t.Helper()
			open := r.body[:len(r.body)-1] // without its brace
			bad := map[string]string{
				"half":             r.body[:len(r.body)/2],
				"trailing comma":   open + ",}",
				"trailing value":   r.body + "{}",
				"trailing bracket": r.body + "]",
				"comment":          open + "/* */}",
				"byte order mark":  "\xef\xbb\xbf" + r.body,
				"UTF-16":           "\xff\xfe{\x00}\x00",
				"invalid UTF-8":    open + ",\"\xff\":1}",
				"half a surrogate": open + `,"x":"\ud800"}`,
				"NUL as it is":     open + ",\"x\":\"a\x00b\"}",
				"NaN":              open + `,"x":NaN}`,
				"hexadecimal":      open + `,"x":0x10}`,
				"leading zero":     open + `,"x":01}`,
				"nested deeply":    open + `,"x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + "}",
				"never closed":     open + `,"x":` + strings.Repeat(`{"a":`, 8_000),
				"single quotes":    strings.ReplaceAll(r.body, `"`, "'"),
				"duplicate":        open + `,"x":1,"x":2}`,
				"duplicate inside": open + `,"x":{"y":1,"y":1}}`,
			}
			for _, member := range members(t, r.body) {
				bad["duplicate "+member] = open + `,"` + member + `":null}`
				bad["duplicate after decoding "+member] = open + fmt.Sprintf(`,"\u%04x%s":null}`, member[0], member[1:])
			}
			for name, body := range bad {
				if refused(t, p.do(r.Method, r.target, r.key, body), 400); t.Failed() {
					t.Fatalf("%s: %.200q", name, body)
				}
			}
			shapeless := 422 // it can be read, and makes no sense
			if r.DataPlane { // as OpenAI answers
				shapeless = 400
			} else {
				refused(t, p.do(r.Method, r.target, r.key, open+`,"x":"a\u0000b"}`), 400) // no database text holds it
			}
			for _, body := range []string{"[" + r.body + "]", "[]", `"` + strings.Repeat("x", 100) + `"`, "1", "null", "true"} {
				if refused(t, p.do(r.Method, r.target, r.key, body), shapeless); t.Failed() {
					t.Fatal(body)
				}
			}
		})
	})
}

// members are the names of an object's members.
func members(t *testing.T, object string) []string {
	t.Helper()
	var m map[string]json.RawMessage
	must(t, json.Unmarshal([]byte(object), &m))
	return slices.Sorted(maps.Keys(m))
}

// TestNobodyAssignsWhatIsNotTheirs sends each management route members that would
// name an organisation, a role, a balance or an upstream, and its own members in
// another case: all are unknown, so that nobody can hope that they did anything.
func TestNobodyAssignsWhatIsNotTheirs(t *testing.T) {
	p := start(t)
	p.harmless(func() {
		p.eachBody(func(t *testing.T, r route) {
			t.Helper()
			if r.DataPlane {
				return // see TestForeignMembersOfARequestAreInert
			}
			foreign := []string{
				"org_id", "organization_id", "organisation", "tenant", "owner", "role", "is_admin", "balance", "credit", "spent", "held", "granted",
				"created_at", "created_by", "key", "hash", "revoked", "number", "status", "upstream", "headers", "__proto__", "$where", "",
			}
			for _, m := range members(t, r.body) {
				foreign = append(foreign, strings.ToUpper(m[:1])+m[1:], strings.ToUpper(m))
			}
			for _, m := range foreign {
				if _, own := r.schema.Properties[m]; own {
					continue
				}
				a := p.do(r.Method, r.target, r.key, with(t, r.body, m, `"x"`))
				if refused(t, a, 422); t.Failed() {
					t.Fatalf("member %q", m)
				}
			}
		})
	})
}

// TestForeignMembersOfARequestAreInert: a model may know members that the gateway
// does not, so that they are passed on. They move neither the request nor its bill.
func TestForeignMembersOfARequestAreInert(t *testing.T) {
	p := start(t)
	body := chatBody
	for _, m := range []string{"org_id", "organization", "project_id", "api_key", "base_url", "upstream", "backend", "role", "balance", "price", "cost_nano", "admin"} {
		body = with(t, body, m, `"`+p.two.id+`"`)
	}
	a := p.do("POST", "/v1/chat/completions", p.one.caller, body)
	if a.status != 200 || a.header.Get("X-Aiaas-Backend") != p.backID {
		t.Errorf("%s by %q", a, a.header.Get("X-Aiaas-Backend"))
	}
	p.settled(t)
	where := p.scalar(`SELECT org_id || ' ' || api_key_id || ' ' || backend_id FROM analytics.usage_events`)
	if want := p.one.id + " " + p.one.callerID + " " + p.backID; where != want {
		t.Errorf("booked on %s; want %s", where, want)
	}
}

// TestEveryMemberHasItsType puts what is no number into each member that is one,
// numbers where texts stand, and values past any bound.
func TestEveryMemberHasItsType(t *testing.T) {
	p := start(t)
	p.harmless(func() {
		p.eachBody(func(t *testing.T, r route) {
			t.Helper()
			for name, s := range r.schema.Properties {
				for _, raw := range wrongFor(s) {
					if r.DataPlane && !judged(name) {
						continue // the model judges it
					}
					if refused(t, p.do(r.Method, r.target, r.key, with(t, r.body, name, raw)), 400, 422); t.Failed() {
						t.Fatalf("member %s = %.100s", name, raw)
					}
				}
			}
		})
	})
}

// judged are the members of a model request that the gateway judges by.
func judged(name string) bool {
	return slices.Contains([]string{"model", "messages", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens"}, name)
}

// wrongFor are values that no member of the schema's type can have.
func wrongFor(s schema) []string {
	const object, list = `{"x":1}`, `[{"x":[]}]`
	switch {
	case s.is("integer"):
		return []string{"-1", "1.5", "1e400", "9223372036854775808", "99999999999999999999999", "-9223372036854775809", `"ten"`, `"1"`, "true", object, list}
	case s.is("boolean"):
		return []string{"1", "0", `"true"`, object, list}
	case s.is("string"):
		return []string{"1", "true", object, list}
	case s.is("array"):
		return []string{"1", `"x"`, "true", object}
	case len(s.Properties) > 0:
		return []string{"1", `"x"`, "true", list}
	}
	return nil
}

// TestHostileModelRequests are those of the data plane's own members, under a
// budget that blocks: what is not bounded, or past all bounds, holds nothing.
func TestHostileModelRequests(t *testing.T) {
	p := start(t)
	messages := `"messages":[{"role":"user","content":"x"}]`
	p.harmless(func() {
		for _, path := range []string{"/v1/chat/completions", "/v1/inference"} {
			for name, c := range map[string]struct {
				body   string
				status int
			}{
				"Model":                         {with(t, chatBody, "Model", `"demo"`), 400},
				"MAX_TOKENS":                    {with(t, chatBody, "MAX_TOKENS", "100000"), 400},
				"Stream":                        {with(t, chatBody, "Stream", "true"), 400},
				"long s, which folds to s":      {with(t, chatBody, "ſtream", "true"), 400},
				"n 0":                           {with(t, chatBody, "n", "0"), 400},
				"n huge":                        {with(t, chatBody, "n", "1000000"), 400},
				"n 1e3":                         {with(t, chatBody, "n", "1e3"), 400},
				"max_tokens 0":                  {with(t, chatBody, "max_tokens", "0"), 400},
				"max_tokens huge":               {with(t, chatBody, "max_tokens", "9223372036854775807"), 400},
				"max_tokens past the budget":    {with(t, chatBody, "max_tokens", "1099511627776"), 402},
				"n times max_tokens past it":    {with(t, with(t, chatBody, "n", "128"), "max_tokens", "1099511627776"), 402},
				"include_usage text":            {with(t, with(t, chatBody, "stream", "true"), "stream_options", `{"include_usage":"yes"}`), 400},
				"no model":                      {"{" + messages + "}", 400},
				"model empty":                   {with(t, chatBody, "model", `""`), 400},
				"model with line breaks":        {with(t, chatBody, "model", `"x\r\nX-Evil: 1"`), 400},
				"model with NUL":                {with(t, chatBody, "model", `"x\u0000"`), 400},
				"model of 300 bytes":            {with(t, chatBody, "model", `"`+strings.Repeat("m", 300)+`"`), 400},
				"unknown model":                 {with(t, chatBody, "model", `"nobody"`), 404},
				"model in another case":         {with(t, chatBody, "model", `"`+strings.ToUpper(modelID)+`"`), 404},
				"model as a path":               {with(t, chatBody, "model", `"../`+modelID+`"`), 404},
				"model in HTML":                 {with(t, chatBody, "model", `"<script>alert(1)</script>"`), 404},
				"model that runs backwards":     {with(t, chatBody, "model", `"\u202eresu"`), 404},
				"no messages":                   {`{"model":"` + modelID + `"}`, 400},
				"messages empty":                {with(t, chatBody, "messages", "[]"), 400},
				"messages of texts":             {with(t, chatBody, "messages", `["x"]`), 400},
				"60 KB of stop":                 {with(t, chatBody, "stop", `["`+strings.Repeat("x", 66_000)+`"]`), 413},
				"megabytes of tools":            {with(t, chatBody, "tools", `[`+strings.Repeat(`{"type":"function"},`, 100_000)+`{}]`), 413},
				"a tool that the model runs":    {with(t, chatBody, "tools", `[{"type":"web_search"}]`), 422},
				"a search":                      {with(t, chatBody, "web_search_options", `{}`), 422},
				"a stored conversation":         {with(t, chatBody, "previous_response_id", `"resp_1"`), 422},
				"an image elsewhere":            {with(t, chatBody, "messages", `[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://169.254.169.254/"}}]}]`), 422},
				"a file":                        {with(t, chatBody, "messages", `[{"role":"user","content":[{"type":"file","file":{"file_id":"f"}}]}]`), 422},
				"request_id with a line break":  {with(t, chatBody, "request_id", `"a\nb"`), 400},
				"request_id that is too long":   {with(t, chatBody, "request_id", `"`+strings.Repeat("r", 300)+`"`), 400},
				"request_id that is a document": {with(t, chatBody, "request_id", `{}`), 400},
			} {
				a := p.do("POST", path, p.one.caller, c.body)
				if refused(t, a, c.status); t.Failed() {
					t.Fatalf("%s: %.300s", name, c.body)
				}
				if a.header.Get("X-Evil") != "" || bytes.Contains(a.body, []byte("<script")) {
					t.Errorf("%s: it is reflected as it is: %v %s", name, a.header, a)
				}
			}
			for name, values := range map[string][]string{
				"empty": {""}, "long": {strings.Repeat("k", 300)}, "two": {"a", "b"}, "not ASCII": {"schlüssel"}, "a tab": {"a\tb"},
			} {
				if refused(t, p.do("POST", path, p.one.caller, chatBody, head("Idempotency-Key", values...)), 400); t.Failed() {
					t.Fatalf("idempotency key: %s", name)
				}
			}
		}
	})
}
