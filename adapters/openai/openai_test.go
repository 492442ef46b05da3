package openai_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/aiaas/aiaas/adapters/openai"
	"github.com/aiaas/aiaas/shared/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The dialer that a client is made with has the last word, with TLS and without.
func TestWhatTheDialerRefusesIsNotCalled(t *testing.T) {
	refusal := errors.New("not there")
	var asked []string
	c := openai.New(secrets{}, func(_ context.Context, _, address string) (net.Conn, error) {
		asked = append(asked, address)
		return nil, refusal
	})
	defer c.Close()
	for _, base := range []string{"http://metadata.example/v1", "https://metadata.example/v1"} {
		resp, err := c.Call(t.Context(), model.Backend{ID: base, BaseURL: base}, "/x", "req", nil)
		if err == nil {
			_ = resp.Body.Close()
		}
		if !errors.Is(err, refusal) {
			t.Errorf("%s: %v; want the dialer's refusal", base, err)
		}
	}
	if want := []string{"metadata.example:80", "metadata.example:443"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %v; want %v", asked, want)
	}
}

// secrets opens credentials for the backends of one host.
type secrets struct{}

func (secrets) Credential(b model.Backend) (string, error) {
	switch b.Credential {
	case "":
		return "", nil
	case "broken":
		return "", errors.New("can't be opened")
	}
	return string(b.Credential), nil
}

func newClient(t *testing.T) *openai.Client {
	t.Helper()
	c := openai.New(secrets{}, (&net.Dialer{}).DialContext)
	c.TrustAll()
	t.Cleanup(c.Close)
	return c
}

// both runs a test against a server without and with TLS, which are spoken to by
// different code.
func both(t *testing.T, handler http.HandlerFunc, test func(t *testing.T, c *openai.Client, s *httptest.Server)) {
	t.Helper()
	for name, start := range map[string]func(http.Handler) *httptest.Server{"plain": httptest.NewServer, "TLS": httptest.NewTLSServer} {
		t.Run(name, func(t *testing.T) {
			s := start(handler)
			t.Cleanup(s.Close)
			test(t, newClient(t), s)
		})
	}
}

func backend(s *httptest.Server) model.Backend {
	return model.Backend{ID: "be_1", BaseURL: s.URL + "/base/v1", Credential: "sk-1"}
}

func call(t *testing.T, c *openai.Client, b model.Backend, body string) (status int, answer string) {
	t.Helper()
	resp, err := c.Call(t.Context(), b, "/chat/completions", "req_1", []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(all)
}

func TestARequestIsSentAsItIs(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		for _, name := range []string{"Authorization", "Content-Type", "Accept", "User-Agent", "X-Request-Id", "Accept-Encoding"} {
			_, _ = fmt.Fprintln(w, name, r.Header.Values(name))
		}
		_, _ = fmt.Fprintln(w, r.Method, r.URL, r.ContentLength, string(body))
	}
	both(t, handler, func(t *testing.T, c *openai.Client, s *httptest.Server) {
		want := "Authorization [Bearer sk-1]\nContent-Type [application/json]\nAccept [application/json, text/event-stream]\n" +
			"User-Agent [aiaas]\nX-Request-Id [req_1]\nAccept-Encoding []\nPOST /base/v1/chat/completions 5 hello\n"
		for range 2 {
			if status, got := call(t, c, backend(s), "hello"); status != 200 || got != want {
				t.Errorf("status %d, sent\n%s\nwant\n%s", status, got, want)
			}
		}
		none := backend(s)
		none.Credential, none.ID = "", "be_2"
		if _, got := call(t, c, none, "hello"); !strings.HasPrefix(got, "Authorization []\n") {
			t.Errorf("without a credential: %s", got)
		}
	})
}

func TestARedirectIsNotFollowed(t *testing.T) {
	var reached atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer elsewhere.Close()
	handler := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	}
	both(t, handler, func(t *testing.T, c *openai.Client, s *httptest.Server) {
		if status, _ := call(t, c, backend(s), "x"); status != http.StatusTemporaryRedirect {
			t.Errorf("status %d; want the redirect itself", status)
		}
	})
	if reached.Load() != 0 {
		t.Error("the redirect was followed, with the request")
	}
}

func TestACredentialThatWouldBreakTheHeaderIsRefused(t *testing.T) {
	var reached atomic.Int64
	both(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) }, func(t *testing.T, c *openai.Client, s *httptest.Server) {
		for _, credential := range []model.Credential{"sk-1\r\nX-Evil: 1", "sk\n-1", "sk\x00", "sk\x7f", " \n", "broken"} {
			b := backend(s)
			b.Credential = credential
			if resp, err := c.Call(t.Context(), b, "/x", "req", nil); err == nil {
				_ = resp.Body.Close()
				t.Errorf("%q was sent", string(credential))
			} else if strings.Contains(err.Error(), "sk") {
				t.Errorf("the error shows the credential: %v", err)
			}
		}
	})
	if reached.Load() != 0 {
		t.Error("the backend was reached")
	}
}

func TestACredentialIsSentWithoutTheSpaceAroundIt(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprintf(w, "%q", r.Header["Authorization"]) }
	both(t, handler, func(t *testing.T, c *openai.Client, s *httptest.Server) {
		for _, credential := range []model.Credential{"sk-1\n", "sk-1\r\n", "\t sk-1 "} {
			b := backend(s)
			b.Credential = credential
			if _, got := call(t, c, b, ""); got != `["Bearer sk-1"]` {
				t.Errorf("%q is sent as %s", string(credential), got)
			}
		}
	})
}

func TestAChangedBackendIsCalledAnew(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.URL.Path, " ", r.Header.Get("Authorization"))
	}
	both(t, handler, func(t *testing.T, c *openai.Client, s *httptest.Server) {
		b := backend(s)
		call(t, c, b, "")
		b.Credential, b.BaseURL = "sk-2", s.URL+"/other"
		if _, got := call(t, c, b, ""); got != "/other/chat/completions Bearer sk-2" {
			t.Errorf("called %q", got)
		}
	})
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		conns   int64
	}{
		{"an answer of known length", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }, 1},
		{"an answer in chunks", func(w http.ResponseWriter, _ *http.Request) {
			for range 3 {
				_, _ = io.WriteString(w, "ok")
				_ = http.NewResponseController(w).Flush()
			}
		}, 1},
		{"no content", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, 1},
		{"an answer that ends its connection", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") }, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			var conns atomic.Int64
			s := httptest.NewUnstartedServer(c.handler)
			s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					conns.Add(1)
				}
			}
			s.Start()
			t.Cleanup(s.Close)
			client := newClient(t)
			for range 5 {
				call(t, client, backend(s), "x")
			}
			if conns.Load() != c.conns {
				t.Errorf("%d connections; want %d", conns.Load(), c.conns)
			}
		})
	}
}

func TestAConnectionThatDiedIdleIsNotUsed(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer s.Close()
	c := newClient(t)
	for range 20 {
		call(t, c, backend(s), "x")
		s.CloseClientConnections()
	}
}

// script is a server that answers each connection's requests with fixed bytes.
func script(t *testing.T, answers ...string) model.Backend {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = conn.Close() }()
				br := bufio.NewReader(conn)
				for _, a := range answers {
					req, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, req.Body)
					if _, err := io.WriteString(conn, a); err != nil {
						return
					}
				}
				if answers[len(answers)-1] == "" { // stays silent
					_, _ = io.Copy(io.Discard, conn)
				}
			})
		}
	})
	return model.Backend{ID: "be_s", BaseURL: "http://" + ln.Addr().String()}
}

func TestAnswersOnTheWire(t *testing.T) {
	ok, long := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", strings.Repeat("o", 5000)
	for _, c := range []struct {
		name, wire string
		want       string // "" where there is no answer
		broken     bool   // the answer begins, and can't be read to its end
	}{
		{"whole", ok, "ok", false},
		{"after interim ones", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ok, "ok", false},
		{"interim ones without end", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 100), "", false},
		{"until the end of the connection", "HTTP/1.0 200 OK\r\n\r\nok", "ok", false},
		{"cut in its body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", "", true},
		{"cut in its chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", "", true},
		{"cut in its head", "HTTP/1.1 200 OK\r\nContent-", "", false},
		{"no HTTP", "hello\r\n\r\n", "", false},
		{"a head without end", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 400), "", false},
		{"a switch of protocols", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", "", false},
		{"a status below all others", "HTTP/1.1 020 Odd\r\nContent-Length: 0\r\n\r\n" + ok, "", false},
		{"an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "", false},
		{"chunks and a length", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "ok", false},
		{"with trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nX-A: b\r\n\r\n", "ok", false},
		{"a head of nearly the limit", "HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", openai.MaxHead-100) + "\r\nContent-Length: 5000\r\n\r\n" + long, long, false},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, err := newClient(t).Call(t.Context(), script(t, c.wire), "/x", "req", []byte("{}"))
			if err != nil {
				if c.want != "" || c.broken {
					t.Fatal(err)
				}
				return
			}
			defer func() { _ = resp.Body.Close() }()
			got, err := io.ReadAll(resp.Body)
			if (err != nil) != c.broken || (!c.broken && (c.want == "" || string(got) != c.want)) {
				t.Errorf("read %q, %v; want %q, broken: %t", got, err, c.want, c.broken)
			}
		})
	}
}

// 101 must not be waited after: the backend speaks another protocol from there on.
func TestASwitchOfProtocolsIsAnError(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
		_ = rw.Flush()
		_, _ = io.Copy(io.Discard, conn) // until the client goes
	}
	both(t, handler, func(t *testing.T, c *openai.Client, s *httptest.Server) {
		resp, err := c.Call(t.Context(), backend(s), "/x", "req", nil)
		if err == nil {
			_ = resp.Body.Close()
			t.Fatalf("answer %d", resp.StatusCode)
		}
		if !strings.Contains(err.Error(), "101") {
			t.Errorf("the error doesn't tell why: %v", err)
		}
	})
}

// Bytes that nobody asked for must never become the next request's answer.
func TestAnAnswerTooManyIsNoAnswer(t *testing.T) {
	ok := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	b := script(t, ok+"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", ok)
	c := newClient(t)
	for range 4 {
		if _, got := call(t, c, b, "{}"); got != "ok" {
			t.Fatalf("answer %q", got)
		}
	}
}

func TestWhoGivesUpEndsTheCall(t *testing.T) {
	for name, wire := range map[string]string{
		"before the head": "",
		"in the body":     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			b := script(t, wire, "")
			if name == "before the head" {
				time.AfterFunc(20*time.Millisecond, cancel)
			}
			resp, err := newClient(t).Call(ctx, b, "/x", "req", nil)
			if err == nil {
				defer func() { _ = resp.Body.Close() }()
				time.AfterFunc(20*time.Millisecond, cancel)
				_, err = io.ReadAll(resp.Body)
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v; want canceled", err)
			}
		})
	}
}

// A body that is closed early ends its connection: the backend stops, and what it
// still sends is nobody's answer.
func TestABodyClosedEarlyEndsItsConnection(t *testing.T) {
	gone := make(chan struct{}, 1)
	handler := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for {
			if _, err := io.WriteString(w, "data: x\n\n"); err != nil || http.NewResponseController(w).Flush() != nil || r.Context().Err() != nil {
				gone <- struct{}{}
				return
			}
		}
	}
	both(t, handler, func(t *testing.T, c *openai.Client, s *httptest.Server) {
		resp, err := c.Call(t.Context(), backend(s), "/x", "req", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := resp.Body.Read(make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		<-gone
		if n, err := resp.Body.Read(make([]byte, 10)); n != 0 || err == nil {
			t.Errorf("a closed body reads %d, %v", n, err)
		}
	})
}

func TestParallelCallsKeepTheirAnswersApart(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(body)
	}
	both(t, handler, func(t *testing.T, c *openai.Client, s *httptest.Server) {
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 50 {
					want := fmt.Sprint(w, i, strings.Repeat("x", i*100))
					resp, err := c.Call(t.Context(), backend(s), "/x", "req", []byte(want))
					if err != nil {
						t.Error(err)
						return
					}
					got, err := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					if err != nil || string(got) != want {
						t.Errorf("got %.20q, %v; want %.20q", got, err, want)
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestAnAddressOfOurOwnNeedsNoNetwork(t *testing.T) {
	client, server := net.Pipe()
	go func() {
		req, err := http.ReadRequest(bufio.NewReader(server))
		if err == nil {
			_, _ = io.Copy(io.Discard, req.Body)
			_, _ = io.WriteString(server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	}()
	var dialled string
	c := openai.New(secrets{}, func(_ context.Context, _, address string) (net.Conn, error) { dialled = address; return client, nil })
	defer c.Close()
	if _, got := call(t, c, model.Backend{ID: "be_d", BaseURL: "http://demo.internal/v1"}, "{}"); got != "ok" || dialled != "demo.internal:80" {
		t.Errorf("%q from %s", got, dialled)
	}
	_ = server.Close()
}
