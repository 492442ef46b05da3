package hostile_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/tests/harness"
)

// TestNoPathLeadsAroundItsRoute writes every route's path in ways that a proxy, a
// router and a handler could read differently. What is authorised is what the mux
// has matched: without a key none of them is ever served, and with one no other
// route is reached by them.
func TestNoPathLeadsAroundItsRoute(t *testing.T) {
	p := start(t)
	p.harmless(func() {
		p.each(func(t *testing.T, r route) {
			t.Helper()
			if r.Scope == "" {
				return
			}
			for _, path := range tricks(r.target) {
				a := p.do(r.Method, path, "", r.body)
				switch {
				case a.status >= 500, a.status < 300:
					t.Errorf("%s %s without a key: %s", r.Method, path, a)
				case a.status < 400: // the mux sends the client to the clean path, on this server
					if to := a.header.Get("Location"); !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") {
						t.Errorf("%s %s leads to %q", r.Method, path, to)
					}
				default:
					refused(t, a, 400, 401, 404, 405)
				}
				if a.header.Get("X-Evil") != "" {
					t.Errorf("%s %s: a header was injected: %v", r.Method, path, a.header)
				}
			}
			for _, method := range []string{"TRACE", "OPTIONS", "PROPFIND", "get", "HEAD" + "X"} {
				a := p.do(method, r.target, r.key, "")
				refused(t, a, 405)
				if !strings.Contains(a.header.Get("Allow"), r.Method) {
					t.Errorf("%s: Allow is %q", method, a.header.Get("Allow"))
				}
			}
		})
		for _, path := range []string{"/", "/v2/models", "/v1", "/v1/", "/v1/nothing", "/etc/passwd", "/.env", "/debug/pprof/", "/metrics/../v1/api-keys", "/v1/models/%00", "/v1/api-keys%00", "/" + strings.Repeat("a", 20_000)} {
			a := p.do("GET", path, p.one.admin, "")
			if a.status >= 300 && a.status < 400 {
				continue
			}
			refused(t, a, 404)
		}
	})
}

func tricks(path string) []string {
	last := path[strings.LastIndex(path, "/")+1:]
	before := strings.TrimSuffix(path, last)
	return []string{
		path + "/", path + "//", path + "%2f", path + "%00", path + "%20", path + ";x=1", path + "/.", path + "/..", path + "%0d%0aX-Evil:1", path + "?x=%0d%0aX-Evil:1",
		"/" + path, "//evil.example" + path, "/v1/.." + path, "/v1/%2e%2e" + path, "/%2e" + path, before + "%2f" + last, before + "/" + last, before + "..%2f" + last,
		strings.ToUpper(path), "/V1" + strings.TrimPrefix(path, "/v1"), "/healthz/.." + path, "/healthz/%2e%2e" + path, "/healthz%2f.." + path, "/healthz;/.." + path,
		strings.Replace(path, "/v1/", "/v1%2f", 1), strings.Replace(path, "/v1/", `/v1\`, 1), strings.Replace(path, "/v1/", "/v1%5c", 1),
		fmt.Sprintf("%s%%%02x", path[:len(path)-1], path[len(path)-1]), // another spelling of the same
	}
}

// TestNothingForgedIsBelieved sends a host, and addresses of who is said to be
// behind a proxy: they stand in no answer, and not in the log of requests.
func TestNothingForgedIsBelieved(t *testing.T) {
	p := start(t)
	forge := func(r *http.Request) {
		r.Host = "evil.example"
		for _, name := range []string{"X-Forwarded-Host", "X-Host", "X-Original-Url", "X-Rewrite-Url", "Forwarded", "X-Forwarded-Proto", "Origin", "Referer"} {
			r.Header.Set(name, "https://evil.example/x")
		}
		for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "X-Client-Ip"} {
			r.Header.Set(name, "203.0.113.66")
		}
		r.Header.Set("X-Request-Id", "req_evil.example")
		r.Header.Set("X-Http-Method-Override", "DELETE")
	}
	p.each(func(t *testing.T, r route) {
		t.Helper()
		if r.Method == http.MethodDelete {
			return
		}
		for _, accept := range []string{"application/json", "text/csv", "text/html"} {
			a := p.do(r.Method, r.target+map[bool]string{true: "?limit=1"}[strings.HasPrefix(r.OperationID, "list") && !r.DataPlane && r.OperationID != "listJobs"], r.key, r.body, forge, head("Accept", accept))
			if a.status >= 500 {
				t.Errorf("%s", a)
			}
			if all := fmt.Sprint(a.header) + string(a.body); strings.Contains(all, "evil.example") || strings.Contains(all, "203.0.113.66") {
				t.Errorf("the answer repeats what was forged: %v %s", a.header, a)
			}
			if r.Scope != "" && a.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("another origin may read it: %v", a.header)
			}
		}
	})
	refused(t, p.do("POST", "/v1/chat/completions", p.one.caller, `{"model":"nobody","messages":[{}]}`, forge), 404)
	harness.Eventually(t, "log of the request", func() (bool, string) {
		a := p.do("GET", "/v1/requests?status=404", p.one.admin, "")
		if strings.Contains(string(a.body), "203.0.113.66") {
			t.Fatalf("a forged address is in the log: %s", a)
		}
		return strings.Contains(string(a.body), `"127.0.0.1"`), a.String()
	})
}

// TestWhatNoClientSends writes to the connection what HTTP does not allow, or
// what two readers could take apart differently, as a request to each route.
func TestWhatNoClientSends(t *testing.T) {
	p := start(t)
	p.harmless(func() {
		p.each(func(t *testing.T, r route) {
			t.Helper()
			line := r.Method + " " + r.target + " HTTP/1.1\r\n"
			head := line + "Host: evil.example\r\nContent-Type: application/json\r\nAuthorization: Bearer " + r.key + "\r\nConnection: close\r\n"
			length := "Content-Length: " + strconv.Itoa(len(r.body)) + "\r\n"
			for _, c := range []struct {
				name, request string
				status        int
			}{
				{"header of 100 KB", head + "X-Long: " + strings.Repeat("x", 100_000) + "\r\n\r\n", 431},
				{"100 KB of headers", head + strings.Repeat("X-Many: x\r\n", 10_000) + "\r\n", 431},
				{"path of 100 KB", r.Method + " /" + strings.Repeat("x", 100_000) + " HTTP/1.1\r\nHost: x\r\n\r\n", 431},
				{"key of 100 KB", line + "Host: x\r\nX-Api-Key: aiaas_live_" + strings.Repeat("a", 100_000) + "\r\n\r\n", 431},
				{"two lengths", head + length + "Content-Length: 5\r\n\r\n" + r.body, 400},
				{"negative length", head + "Content-Length: -1\r\n\r\n" + r.body, 400},
				{"length past all integers", head + "Content-Length: 99999999999999999999\r\n\r\n" + r.body, 400},
				{"length with a sign", head + "Content-Length: +5\r\n\r\n" + r.body, 400},
				{"two codings", head + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501},
				{"no host", line + "Connection: close\r\n\r\n", 400},
				{"two hosts", line + "Host: a\r\nHost: b\r\nConnection: close\r\n\r\n", 400},
				{"host with a path", line + "Host: a/b\r\nConnection: close\r\n\r\n", 400},
				{"NUL in a header", head + "X-Bad: a\x00b\r\n\r\n", 400},
				{"line break in a header", head + "X-Bad: a\rb\r\n\r\n", 400},
				{"blank before a colon", head + "X-Bad : a\r\n\r\n", 400},
				{"no HTTP", "hello\r\n\r\n", 400},
				{"HTTP of the future", r.Method + " " + r.target + " HTTP/9.9\r\nHost: x\r\n\r\n", 505},
			} {
				p.raw(t, c.name, c.request, c.status, false)
			}
			if r.body == "" {
				return
			}
			for name, request := range map[string]string{
				"length and chunks":    head + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
				"broken chunks":        head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + r.body,
				"endless chunk":        head + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n" + r.body,
				"body that ends early": head + "Content-Length: 1000\r\n\r\n" + r.body,
			} {
				if name == "length and chunks" && r.bare { // no body at all, which is fine
					continue
				}
				p.raw(t, name, request, 400, true)
			}
			p.raw(t, "a long body that ends early", head+"Content-Length: 100000\r\n\r\n"+r.body, 413, true)
		})
	})
}

// raw sends bytes on a connection of its own; silent says that no more will come.
func (p *platform) raw(t *testing.T, name, request string, status int, silent bool) {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", p.address)
	must(t, err)
	defer func() { _ = conn.Close() }()
	must(t, conn.SetDeadline(time.Now().Add(harness.Patience)))
	_, _ = io.WriteString(conn, request) // the server may have answered and closed before the end
	if tcp, ok := conn.(*net.TCPConn); ok && silent {
		_ = tcp.CloseWrite()
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Errorf("%s: no answer: %v", name, err)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	var got bytes.Buffer
	_, _ = got.ReadFrom(resp.Body) // a connection that is reset after the answer is closed as well
	if resp.StatusCode != status {
		t.Errorf("%s: status %d, want %d: %.300s", name, resp.StatusCode, status, got.String())
	}
	if strings.Contains(got.String(), "evil") || leaks.MatchString(got.String()) {
		t.Errorf("%s: the answer says too much: %s", name, got.String())
	}
}

// clocked is a connection whose deadlines can be asked for.
type clocked struct {
	*httptest.ResponseRecorder
	read, write time.Time
	unguarded   bool // something was written without a deadline
}

func (c *clocked) SetReadDeadline(t time.Time) error  { c.read = t; return nil }
func (c *clocked) SetWriteDeadline(t time.Time) error { c.write = t; return nil }

func (c *clocked) Write(b []byte) (int, error) {
	c.unguarded = c.unguarded || c.write.IsZero()
	return c.ResponseRecorder.Write(b)
}

// trickle is a body whose reads look at the connection's deadline.
type trickle struct {
	io.Reader
	conn      *clocked
	unguarded bool
}

func (s *trickle) Read(b []byte) (int, error) {
	s.unguarded = s.unguarded || s.conn.read.IsZero()
	return s.Reader.Read(b)
}

// TestNobodyKeepsAConnectionByBeingSlow: a body must be there in time, whether
// somebody reads it or the server reads on to its end, and an answer must be taken
// in time. So no route reads or leaves a body without a deadline, or writes without
// one; and once a body is there its deadline is lifted, for it would end the watch
// for the client's leaving.
func TestNobodyKeepsAConnectionByBeingSlow(t *testing.T) {
	p := start(t)
	conn := &clocked{ResponseRecorder: httptest.NewRecorder()}
	req := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/chat/completions", strings.NewReader(with(t, chatBody, "stream", "true")))
	req.Header.Set("Authorization", "Bearer "+p.one.caller)
	p.handler.ServeHTTP(conn, req)
	if conn.unguarded || conn.Code != 200 || !strings.HasSuffix(conn.Body.String(), "[DONE]\n\n") {
		t.Errorf("a stream: written without a deadline: %v, %d %s", conn.unguarded, conn.Code, conn.Body)
	}
	p.each(func(t *testing.T, r route) {
		t.Helper()
		for name, key := range map[string]string{"a good key": r.key, "no key": "", "a key without the scope": p.two.reader} {
			conn := &clocked{ResponseRecorder: httptest.NewRecorder()}
			body := &trickle{Reader: strings.NewReader(r.body + "\n"), conn: conn}
			req := httptest.NewRequestWithContext(t.Context(), r.Method, r.target, body)
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Authorization", "Bearer "+key)
			if r.Method == http.MethodDelete {
				req.Header.Del("Authorization")
			}
			p.handler.ServeHTTP(conn, req)
			rest, err := io.ReadAll(body.Reader)
			must(t, err)
			if body.unguarded || len(rest) > 0 && conn.read.IsZero() {
				t.Errorf("%s: the body has no deadline", name)
			}
			if len(rest) == 0 && !conn.read.IsZero() {
				t.Errorf("%s: the body is read, and its deadline stands", name)
			}
			if conn.unguarded {
				t.Errorf("%s: the answer is written without a deadline: %d %.200s", name, conn.Code, conn.Body)
			}
		}
	})
}

// stalled is a client that takes nothing: its connection's deadline passes.
type stalled struct {
	clocked
	writes int
}

func (s *stalled) Write([]byte) (int, error) {
	s.writes++
	return 0, os.ErrDeadlineExceeded
}

// TestAReaderThatStallsHasLeft: it is billed what its backend had sent, and its
// backend is told to stop.
func TestAReaderThatStallsHasLeft(t *testing.T) {
	p := start(t)
	w := &stalled{clocked: clocked{ResponseRecorder: httptest.NewRecorder()}}
	req := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/chat/completions",
		strings.NewReader(with(t, with(t, chatBody, "stream", "true"), "demo", `{"stall_after":3}`)))
	req.Header.Set("Authorization", "Bearer "+p.one.caller)
	p.handler.ServeHTTP(w, req)
	if w.writes == 0 || w.write.IsZero() {
		t.Errorf("%d writes, by %s", w.writes, w.write)
	}
	p.settled(t)
	if got := p.scalar(`SELECT outcome || ' ' || estimated || ' ' || output_tokens FROM analytics.usage_events`); got != "aborted true 2" {
		t.Errorf("booked as %q; want what came before the stall, which are two tokens", got)
	}
	must(t, p.backend.WaitIdle(t.Context()))
}

// TestASlowHeadIsClosed begins a request and says no more. The server's own limit
// ends that; so does the one on a body that never comes, for a client that nobody
// knows.
func TestASlowHeadIsClosed(t *testing.T) {
	p := start(t)
	waiting := map[string]net.Conn{}
	for name, text := range map[string]string{
		"half a head": "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Slow",
		"nothing but a body's length, without a key": "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
		"a key, and a body that trickles":            "POST /v1/inference HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + p.one.caller + "\r\nContent-Length: 1000\r\n\r\n{",
		"a body that nobody asked for":               "GET /v1/api-keys HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
		"a body of the management API":               "POST /v1/budgets HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + p.one.admin + "\r\nContent-Length: 1000\r\n\r\n{",
	} {
		var d net.Dialer
		conn, err := d.DialContext(t.Context(), "tcp", p.address)
		must(t, err)
		defer func() { _ = conn.Close() }()
		must(t, conn.SetDeadline(time.Now().Add(harness.Patience)))
		_, err = io.WriteString(conn, text)
		must(t, err)
		waiting[name] = conn
	}
	for name, conn := range waiting {
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the server still waits", name)
		}
	}
}
