package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/tests/harness"
)

// hostile is one bad request and the safe answer to it.
type hostile struct {
	name   string
	call   harness.Call
	status int
	code   string
}

// harmless checks the bad requests against a platform whose key has a blocking
// budget: the stated answer, and nothing else has happened.
func (p *platform) harmless(t *testing.T, table []hostile) {
	t.Helper()
	for _, h := range table {
		t.Run(h.name, func(t *testing.T) {
			a := p.Do(t.Context(), h.call)
			if a.Err != nil {
				t.Fatal(a)
			}
			refused(t, a, h.status, h.code)
			for _, leak := range []string{"goroutine ", ".go:", "pgx", "SQLSTATE", "aiaas_live_"} {
				if strings.Contains(string(a.Body), leak) {
					t.Errorf("the answer leaks %q: %s", leak, a)
				}
			}
		})
	}
}

// untouched checks that nothing of all that reached the backend, the ledger, a
// budget or the log, and that the process is as well as before.
func (p *platform) untouched(t *testing.T, secrets ...string) {
	t.Helper()
	if served := p.upstream.Log(t); len(served) != 0 {
		t.Errorf("the backend was called: %v", served)
	}
	p.WaitSettled(t)
	if ledger := p.Agrees(t); len(ledger) != 0 {
		t.Errorf("the ledger has %v", ledger)
	}
	for _, b := range p.Budgets(t) {
		if b.Holds() {
			t.Errorf("a hold is left: %+v", b)
		}
	}
	for _, s := range append(secrets, "panic", "goroutine ") {
		if strings.Contains(p.Stderr(), s) {
			t.Errorf("the log has %q: %s", s, p.Stderr())
		}
	}
	if a := p.chat(t.Context(), p.APIKey, ""); !a.Done() {
		t.Errorf("it no longer serves: %s", a)
	}
}

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h[pairs[i]] = append(h[pairs[i]], pairs[i+1])
	}
	return h
}

func TestHostileCredentials(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	_, key, _ := p.budgeted(t, "money", "10")
	revokedID, revoked := p.CreateKey(t, harness.Limits{}, "inference")
	p.RevokeKey(t, revokedID)
	_, noScope := p.CreateKey(t, harness.Limits{}, "usage:read")
	body := chat("")
	unknown := apikey.NewSecret(apikey.Production).Reveal()
	denied := func(name string, h http.Header) hostile {
		return hostile{name, harness.Call{Body: body, Header: h}, 401, "invalid_api_key"}
	}
	p.harmless(t, []hostile{
		denied("none", nil),
		denied("empty bearer", header("Authorization", "Bearer ")),
		denied("blank bearer", header("Authorization", "Bearer    ")),
		denied("blank key", header("X-Api-Key", " ")),
		denied("basic", header("Authorization", "Basic "+key)),
		denied("bare", header("Authorization", key)),
		denied("40 KB", header("Authorization", "Bearer aiaas_live_"+strings.Repeat("a", 40_000))),
		denied("wrong checksum", header("X-Api-Key", key[:len(key)-1]+map[bool]string{true: "a", false: "b"}[key[len(key)-1] == 'b'])),
		denied("other environment", header("X-Api-Key", strings.Replace(key, "_live_", "_dev_", 1))),
		denied("upper case", header("X-Api-Key", strings.ToUpper(key))),
		denied("SQL", header("X-Api-Key", "' OR 1=1; --")),
		denied("JWT without a signature", header("Authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJvd25lciJ9.")),
		denied("unknown", header("Authorization", "Bearer "+unknown)),
		denied("revoked", header("Authorization", "Bearer "+revoked)),
		{"two that differ", harness.Call{Body: body, Header: header("Authorization", "Bearer "+key, "X-Api-Key", unknown)}, 400, "invalid_request"},
		{"two key headers that differ", harness.Call{Body: body, Header: header("X-Api-Key", key, "X-Api-Key", unknown)}, 400, "invalid_request"},
		{"in the URL", harness.Call{Path: "/v1/chat/completions?key=" + key, Body: body}, 400, "invalid_request"},
		{"in the URL beside a good one", harness.Call{Path: "/v1/chat/completions?api_key=" + key, Key: key, Body: body}, 400, "invalid_request"},
		{"without the scope", harness.Call{Key: noScope, Body: body}, 403, "forbidden"},
		{"of the platform", harness.Call{Key: p.PlatformKey, Body: body}, 403, "forbidden"},
	})
	p.untouched(t, key, unknown, revoked, noScope)
}

func TestHostileJSON(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	_, key, _ := p.budgeted(t, "money", "10")
	bad := func(name, body string) hostile {
		return hostile{name, harness.Call{Key: key, Body: body}, 400, "invalid_request"}
	}
	with := func(name, more string) hostile { return bad(name, chat(more)) }
	messages := `"messages":[{"role":"user","content":"x"}]`
	p.harmless(t, []hostile{
		bad("nothing", " "),
		bad("broken", `{"model":`),
		bad("array", `[]`),
		bad("null", `null`),
		bad("trailing value", chat("")+"{}"),
		bad("trailing comma", `{"model":"`+model+`",`+messages+`,}`),
		bad("comment", `{"model":"`+model+`",/* */`+messages+`}`),
		bad("NaN", chat(`,"temperature":NaN`)),
		with("duplicate model", `,"model":"demo"`),
		with("duplicate after decoding", `,"mod\u0065l":"demo"`),
		bad("duplicate deep inside", `{"model":"`+model+`","messages":[{"role":"user","role":"system","content":"x"}]}`),
		with("Model", `,"Model":"demo"`),
		with("MAX_TOKENS", `,"max_tokens":1,"MAX_TOKENS":100000`),
		with("Stream", `,"Stream":true`),
		with("long s, which folds to s", `,"ſtream":true`),
		bad("invalid UTF-8", `{"model":"`+model+`","messages":[{"role":"user","content":"`+"\xff\xfe"+`"}]}`),
		bad("half a surrogate", `{"model":"`+model+`","messages":[{"role":"user","content":"\ud800"}]}`),
		with("nested deeply", `,"metadata":`+strings.Repeat("[", 20_000)+strings.Repeat("]", 20_000)),
		with("nested deeply and never closed", `,"metadata":`+strings.Repeat(`{"a":`, 8_000)),
		with("n 0", `,"n":0`),
		with("n -1", `,"n":-1`),
		with("n huge", `,"n":1000000`),
		with("n beyond an integer", `,"n":99999999999999999999`),
		with("n 1e3", `,"n":1e3`),
		with("n text", `,"n":"1"`),
		with("max_tokens 0", `,"max_tokens":0`),
		with("max_tokens negative", `,"max_tokens":-5`),
		with("max_tokens huge", `,"max_tokens":9223372036854775807`),
		with("max_tokens beyond an integer", `,"max_tokens":1e400`),
		with("max_tokens text", `,"max_tokens":"ten"`),
		with("max_tokens fraction", `,"max_completion_tokens":1.5`),
		with("stream text", `,"stream":"true"`),
		with("stream number", `,"stream":1`),
		with("stream_options text", `,"stream":true,"stream_options":"x"`),
		with("include_usage text", `,"stream":true,"stream_options":{"include_usage":"yes"}`),
		bad("no model", `{`+messages+`}`),
		bad("model empty", `{"model":"",`+messages+`}`),
		bad("model null", `{"model":null,`+messages+`}`),
		bad("model number", `{"model":1,`+messages+`}`),
		bad("model with line breaks", `{"model":"x\r\nX-Evil: 1",`+messages+`}`),
		bad("model with NUL", `{"model":"x\u0000",`+messages+`}`),
		bad("model of 300 bytes", `{"model":"`+strings.Repeat("m", 300)+`",`+messages+`}`),
		bad("no messages", `{"model":"`+model+`"}`),
		bad("messages empty", `{"model":"`+model+`","messages":[]}`),
		bad("messages text", `{"model":"`+model+`","messages":"x"}`),
		bad("messages of text", `{"model":"`+model+`","messages":["x"]}`),
		{"unknown model", harness.Call{Key: key, Body: `{"model":"nobody",` + messages + `}`}, 404, "not_found"},
		{"model in other case", harness.Call{Key: key, Body: `{"model":"` + strings.ToUpper(model) + `",` + messages + `}`}, 404, "not_found"},
		{"a hold past the budget", harness.Call{Key: key, Body: chat(`,"max_tokens":100000000`)}, 402, "budget_exceeded"},
		{"many answers past the budget", harness.Call{Key: key, Body: chat(`,"n":128,"max_tokens":1000000`)}, 402, "budget_exceeded"},
		{"the most that can be said", harness.Call{Key: key, Body: chat(`,"n":128,"max_tokens":1099511627776`)}, 402, "budget_exceeded"},
	})
	p.untouched(t)
}

func TestHostileHTTP(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{})
	_, key, _ := p.budgeted(t, "money", "10")
	filled := func(n int) string {
		empty := chat(`,"user":""`)
		return chat(`,"user":"` + strings.Repeat("u", n-len(empty)) + `"`)
	}
	const most = 64 << 10
	typed := func(name string, h http.Header) hostile {
		return hostile{name, harness.Call{Key: key, Body: chat(""), Header: h}, 415, "unsupported_media_type"}
	}
	nowhere := func(path string) hostile {
		return hostile{path, harness.Call{Path: path, Key: key, Body: chat("")}, 404, "not_found"}
	}
	p.harmless(t, []hostile{
		{"65,537 bytes", harness.Call{Key: key, Body: filled(most + 1)}, 413, "request_too_large"},
		{"65,537 bytes, chunked", harness.Call{Key: key, Body: filled(most + 1), Chunked: true}, 413, "request_too_large"},
		{"8 MB, chunked", harness.Call{Key: key, Body: filled(8 << 20), Chunked: true}, 413, "request_too_large"},
		{"nothing", harness.Call{Key: key}, 400, "invalid_request"},
		typed("form", header("Content-Type", "application/x-www-form-urlencoded")),
		typed("text", header("Content-Type", "text/plain")),
		typed("XML", header("Content-Type", "application/xml; charset=application/json")),
		typed("no media type", header("Content-Type", ";;")),
		typed("compressed", header("Content-Encoding", "gzip")),
		{"GET", harness.Call{Method: "GET", Key: key}, 405, "method_not_allowed"},
		{"PUT", harness.Call{Method: "PUT", Key: key, Body: chat("")}, 405, "method_not_allowed"},
		nowhere("/v1/chat/completions/"),
		nowhere("/v1/chat%2Fcompletions"),
		nowhere("/v1/chat/completions%00"),
		nowhere("/v1/chat/completions%0d%0aX-Evil:1"),
		nowhere("/v1/chat/../../etc/passwd"),
		nowhere("/v1/%2e%2e/%2e%2e/etc/passwd"),
		nowhere("/V1/chat/completions"),
		nowhere("/v1/models/../keys"),
	})
	p.untouched(t, key)

	for name, chunked := range map[string]bool{"with its length": false, "chunked": true} {
		// 65,536 bytes are accepted: the bound of so long a prompt fits the budget.
		if a := p.Do(t.Context(), harness.Call{Key: key, Body: filled(most), Chunked: chunked}); !a.Done() {
			t.Errorf("65,536 bytes %s: %s", name, a)
		}
	}
	p.rawRequests(t, key)
	if a := p.chat(t.Context(), key, ""); !a.Done() {
		t.Errorf("it no longer serves: %s", a)
	}
	p.WaitSettled(t)
	p.Agrees(t)
}

// rawRequests are what no HTTP client sends.
func (p *platform) rawRequests(t *testing.T, key string) {
	t.Helper()
	body := chat("")
	head := "POST /v1/chat/completions HTTP/1.1\r\nHost: evil.example\r\nContent-Type: application/json\r\nAuthorization: Bearer " + key + "\r\nConnection: close\r\n"
	length := "Content-Length: " + strconv.Itoa(len(body)) + "\r\n"
	for _, c := range []struct {
		name, request string
		status        int
		close         bool // the client says no more
	}{
		{"forged host and forwarded address", head + length + "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Host: evil.example\r\n\r\n" + body, 200, false},
		{"header of 100 KB", head + "X-Long: " + strings.Repeat("x", 100_000) + "\r\n" + length + "\r\n" + body, 431, false},
		{"two lengths", head + length + "Content-Length: 5\r\n\r\n" + body, 400, false},
		{"negative length", head + "Content-Length: -1\r\n\r\n" + body, 400, false},
		{"length and chunks", head + length + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, false},
		{"broken chunks", head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + body, 400, false},
		{"no host", strings.Replace(head, "Host: evil.example\r\n", "", 1) + length + "\r\n" + body, 400, false},
		{"NUL in a header", head + "X-Bad: a\x00b\r\n" + length + "\r\n" + body, 400, false},
		{"body that ends early", head + "Content-Length: 100000\r\n\r\n" + body, 413, true},
		{"short body that ends early", head + "Content-Length: 1000\r\n\r\n" + body, 400, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d net.Dialer
			conn, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(p.BaseURL, "http://"))
			harness.Must(t, err)
			defer func() { _ = conn.Close() }()
			harness.Must(t, conn.SetDeadline(time.Now().Add(harness.Patience)))
			_, _ = conn.Write([]byte(c.request)) // the server may have answered and closed before the end
			if tcp, ok := conn.(*net.TCPConn); ok && c.close {
				harness.Must(t, tcp.CloseWrite())
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			harness.Must(t, err)
			defer func() { _ = resp.Body.Close() }()
			var got bytes.Buffer
			_, err = got.ReadFrom(resp.Body)
			harness.Must(t, err)
			if resp.StatusCode != c.status {
				t.Errorf("status %d, want %d: %s", resp.StatusCode, c.status, got.String())
			}
			if strings.Contains(got.String(), "evil") || strings.Contains(fmt.Sprint(resp.Header), "evil") {
				t.Errorf("the answer repeats what was forged: %v %s", resp.Header, got.String())
			}
		})
	}
}

// TestAbsurdAnswersOfABackend keeps memory bounded and the bill right whatever a
// backend sends.
func TestAbsurdAnswersOfABackend(t *testing.T) {
	t.Parallel()
	p := start(t, harness.Options{Env: map[string]string{"AIAAS_UPSTREAM_IDLE_TIMEOUT": "2s"}})
	_, held, _ := p.budgeted(t, "money", "10")
	const giant = 16 << 20
	before := p.memory(t)
	for _, c := range []struct {
		name, more string
		status     int
		outcome    string // "" for no event
	}{
		{"one line of 16 MB in a stream", fmt.Sprintf(`,"stream":true,"demo":{"giant_line":%d}`, giant), 200, ""},
		{"a stream of comments only", `,"stream":true,"demo":{"body":": ping\n\n: ping\n\n"}`, 200, ""},
		{"an empty stream", `,"stream":true,"demo":{"body":""}`, 502, ""},
		{"an error with status 200", `,"demo":{"body":"{\"error\":{\"message\":\"overloaded\"}}"}`, 502, ""},
		{"a redirect", `,"demo":{"status":307}`, 502, ""},
		{"an empty body", `,"demo":{"body":""}`, 502, ""},
		{"HTML", `,"demo":{"content_type":"text/html","body":"<p>no"}`, 502, ""},
		{"an array", `,"demo":{"body":"[]"}`, 502, ""},
		{"a stream for a whole answer", `,"demo":{"content_type":"text/event-stream"}`, 502, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := p.chat(t.Context(), held, c.more)
			if a.Status != c.status || a.Done() {
				t.Errorf("want %d and no whole answer, got %s", c.status, a)
			}
			p.WaitSettled(t)
			if e := p.Database().Ledger(t)[a.RequestID]; e.Outcome != c.outcome {
				t.Errorf("booked as %+v: %s", e, a)
			}
		})
	}
	// Many at once do not add up.
	parallel(24, 8, func(int) {
		p.chat(context.WithoutCancel(t.Context()), held, fmt.Sprintf(`,"stream":true,"demo":{"giant_line":%d}`, giant))
	})
	if after := p.memory(t); after-before > 200<<20 {
		t.Errorf("the process has grown from %d to %d MiB", before>>20, after>>20)
	}
	p.WaitSettled(t)
	p.WaitNoHolds(t)
	p.Agrees(t)
	if a := p.chat(t.Context(), held, ""); !a.Done() {
		t.Errorf("it no longer serves: %s", a)
	}
}

// memory is the most that the process has had resident, in bytes; 0 where the
// system does not tell.
func (p *platform) memory(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			harness.Must(t, err)
			return kib << 10
		}
	}
	return 0
}
