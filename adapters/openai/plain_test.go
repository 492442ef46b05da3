package openai_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/openai"
	"github.com/aiaas/aiaas/shared/model"
)

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// serve runs a server on connections as they come; n counts them from 1.
func serve(t *testing.T, each func(n int, conn net.Conn, br *bufio.Reader)) model.Backend {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	wg.Go(func() {
		for n := 1; ; n++ {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = conn.Close() }()
				each(n, conn, bufio.NewReader(conn))
			})
		}
	})
	return model.Backend{ID: "be_p", BaseURL: "http://" + ln.Addr().String()}
}

// answer reads a request and answers it; false where none comes.
func answer(conn net.Conn, br *bufio.Reader, wire string) bool {
	req, err := http.ReadRequest(br)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, req.Body)
	_, err = io.WriteString(conn, wire)
	return err == nil
}

// together makes n calls that have a connection each.
func together(t *testing.T, c *openai.Client, b model.Backend, n int) {
	t.Helper()
	bodies := make([]io.ReadCloser, n)
	for i := range bodies {
		resp, err := c.Call(t.Context(), b, "/x", "req", []byte("{}")) //nolint:bodyclose // closed below
		if err != nil {
			t.Fatal(err)
		}
		bodies[i] = resp.Body
	}
	for _, body := range bodies {
		_, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// unwatched waits until nothing is idle, and nothing looks for it.
func unwatched(t *testing.T, c *openai.Client) {
	t.Helper()
	for {
		conns, watched := c.Idle()
		if conns == 0 && !watched {
			return
		}
		if t.Context().Err() != nil {
			t.Fatal("idle connections stay")
		}
		runtime.Gosched()
	}
}

// Without another request: a half-closed socket is closed here too.
func TestConnectionsThatTheBackendClosedAreClosed(t *testing.T) {
	const conns = 30
	var gone atomic.Int64
	over := make(chan struct{})
	b := serve(t, func(_ int, conn net.Conn, br *bufio.Reader) {
		if !answer(conn, br, okAnswer) {
			return
		}
		<-over
		if tcp, ok := conn.(*net.TCPConn); !ok || tcp.CloseWrite() != nil {
			return
		}
		if _, err := br.ReadByte(); errors.Is(err, io.EOF) { // blocks until the client closes
			gone.Add(1)
		}
	})
	c := newClient(t)
	c.Watch(time.Now, time.Millisecond)
	together(t, c, b, conns)
	if n, watched := c.Idle(); n != conns || !watched {
		t.Fatalf("%d idle, watched: %t; want %d", n, watched, conns)
	}
	close(over)
	unwatched(t, c)
	for gone.Load() < conns {
		runtime.Gosched()
	}
	together(t, c, b, 1) // and it begins anew
	unwatched(t, c)
}

func TestConnectionsOverTheirAgeAreClosed(t *testing.T) {
	ended := make(chan struct{}, 3)
	b := serve(t, func(_ int, conn net.Conn, br *bufio.Reader) {
		for answer(conn, br, okAnswer) {
		}
		ended <- struct{}{}
	})
	var age, asked atomic.Int64
	start := time.Now()
	c := newClient(t)
	c.Watch(func() time.Time { asked.Add(1); return start.Add(time.Duration(age.Load())) }, time.Millisecond)
	together(t, c, b, 3)
	age.Store(int64(openai.IdleConn - 1))
	for before := asked.Load(); asked.Load() < before+30; { // several looks find them young enough
		runtime.Gosched()
	}
	if n, watched := c.Idle(); n != 3 || !watched {
		t.Fatalf("%d idle, watched: %t; want all", n, watched)
	}
	age.Store(int64(openai.IdleConn))
	for range 3 {
		<-ended
	}
	unwatched(t, c)
}

func TestNothingWatchesAClosedClient(t *testing.T) {
	b := serve(t, func(_ int, conn net.Conn, br *bufio.Reader) {
		for answer(conn, br, okAnswer) {
		}
	})
	c := newClient(t)
	resp, err := c.Call(t.Context(), b, "/x", "req", nil)
	if err != nil {
		t.Fatal(err)
	}
	together(t, c, b, 2)
	c.Close()
	for range 2 { // what ends after Close isn't kept either
		if n, watched := c.Idle(); n != 0 || watched {
			t.Errorf("%d idle, watched: %t", n, watched)
		}
		_, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Error(err)
		}
	}
}

// A backend that closes a connection while the next request is on its way gets it
// once more; it must not once it has begun to answer, or when it keeps on closing.
func TestARequestIsRepeatedWhereItsConnectionHadEnded(t *testing.T) {
	for _, c := range []struct {
		name    string
		second  string // what the used connection answers before it ends
		fresh   string // what each new one answers
		answers bool
		conns   int64
	}{
		{"closed without an answer", "", okAnswer, true, 2},
		{"closed after one byte", "H", okAnswer, false, 1},
		{"closed after an interim answer", "HTTP/1.1 100 Continue\r\n\r\n", okAnswer, false, 1},
		{"no HTTP", "hello\r\n\r\n", okAnswer, false, 1},
		{"closed each time", "", "", false, 2},
	} {
		for _, reset := range []bool{false, true} {
			var conns atomic.Int64
			b := serve(t, func(n int, conn net.Conn, br *bufio.Reader) {
				conns.Add(1)
				if n > 1 {
					answer(conn, br, c.fresh)
					return
				}
				_ = answer(conn, br, okAnswer) && answer(conn, br, c.second)
				if tcp, ok := conn.(*net.TCPConn); ok && reset && c.second == "" {
					_ = tcp.SetLinger(0) // what ends it is a reset then
				}
			})
			client := newClient(t)
			call(t, client, b, "{}")
			resp, err := client.Call(t.Context(), b, "/x", "req", []byte("{}"))
			if err == nil {
				if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "ok" {
					t.Errorf("%s, reset: %t: read %q, %v", c.name, reset, got, err)
				}
				_ = resp.Body.Close()
			}
			if (err == nil) != c.answers || conns.Load() != c.conns {
				t.Errorf("%s, reset: %t: %v with %d connections; want answer: %t, %d", c.name, reset, err, conns.Load(), c.answers, c.conns)
			}
		}
	}
}

// A new connection that ends says that the backend is not well.
func TestARequestOnANewConnectionIsNotRepeated(t *testing.T) {
	var conns atomic.Int64
	b := serve(t, func(_ int, conn net.Conn, br *bufio.Reader) { conns.Add(1); answer(conn, br, "") })
	if resp, err := newClient(t).Call(t.Context(), b, "/x", "req", nil); err == nil {
		_ = resp.Body.Close()
		t.Error("no error")
	}
	if conns.Load() != 1 {
		t.Errorf("%d connections", conns.Load())
	}
}

// What can't be relied on to end where it says is not followed by a request.
func TestConnectionsThatAreNotUsedAgain(t *testing.T) {
	for name, wire := range map[string]string{
		"HTTP/1.0":                     "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
		"chunks in HTTP/1.0":           "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nok",
		"too long":                     okAnswer + "!",
		"too long, in chunks":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n!",
		"no content, and yet a body":   "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
		"not modified, and yet chunks": "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			b := serve(t, func(_ int, conn net.Conn, br *bufio.Reader) {
				for answer(conn, br, wire) {
				}
			})
			c := newClient(t)
			call(t, c, b, "{}")
			if n, watched := c.Idle(); n != 0 || watched {
				t.Errorf("%d idle, watched: %t", n, watched)
			}
		})
	}
}

// Whatever has no end of its own is given up after a bounded part of it.
func TestEndlessAnswersAreGivenUp(t *testing.T) {
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, c := range []struct{ name, begin, repeat string }{
		{"status line", "HTTP/1.1 200 ", "a"},
		{"no status line", "", "a"},
		{"no HTTP, quoted in the error", strings.Repeat("a", 100_000) + "\r\n", "a"},
		{"header", "HTTP/1.1 200 OK\r\nX-A: ", "a"},
		{"headers", "HTTP/1.1 200 OK\r\n", "X-A: a\r\n"},
		{"interim answers", "", "HTTP/1.1 103 Early Hints\r\n\r\n"},
		{"chunk size", chunked, "0"},
		{"chunk extension", chunked + "2;", "a"},
		{"chunk extensions", chunked, "1;" + strings.Repeat("a", 4000) + "\r\no\r\n"},
		{"trailer", chunked + "2\r\nok\r\n0\r\nX-A: ", "a"},
		{"trailers", chunked + "2\r\nok\r\n0\r\n", "X-A: a\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := serve(t, func(_ int, conn net.Conn, br *bufio.Reader) {
				more := strings.Repeat(c.repeat, 64<<10/len(c.repeat))
				for ok := answer(conn, br, c.begin); ok; { // only the client ends it
					_, err := io.WriteString(conn, more)
					ok = err == nil
				}
			})
			resp, err := newClient(t).Call(t.Context(), b, "/x", "req", nil)
			if err == nil {
				var got []byte
				got, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if len(got) > 1000 {
					t.Errorf("%d bytes of body", len(got))
				}
			}
			if err == nil || len(err.Error()) > openai.MaxError+100 {
				t.Errorf("the error is %.2000v", err)
			}
		})
	}
}

// A backend that takes no more of a large request doesn't hold who gave up.
func TestWhoGivesUpEndsTheSending(t *testing.T) {
	full, release := make(chan struct{}), make(chan struct{})
	b := serve(t, func(_ int, _ net.Conn, br *bufio.Reader) {
		_, _ = br.ReadByte()
		close(full)
		<-release
	})
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { <-full; cancel() }()
	resp, err := newClient(t).Call(ctx, b, "/x", "req", make([]byte, 64<<20))
	if err == nil {
		_ = resp.Body.Close()
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v; want canceled", err)
	}
}

// A connection whose caller gave up has a deadline in the past: if it came back
// into the pool, the next call would fail.
func TestACancelledConnectionIsNeverUsedAgain(t *testing.T) {
	b := serve(t, func(_ int, conn net.Conn, br *bufio.Reader) {
		for answer(conn, br, okAnswer) {
		}
	})
	c := newClient(t)
	for range 300 {
		ctx, cancel := context.WithCancel(t.Context())
		resp, err := c.Call(ctx, b, "/x", "req", nil)
		if err != nil {
			t.Fatal(err)
		}
		raced := make(chan struct{})
		go func() { cancel(); close(raced) }()
		_, _ = io.ReadAll(resp.Body) // ends either way
		_ = resp.Body.Close()
		<-raced
		if _, got := call(t, c, b, "{}"); got != "ok" {
			t.Fatalf("answer %q", got)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	resp, err := c.Call(ctx, b, "/x", "req", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	before, _ := c.Idle()
	cancel()
	_, _ = io.ReadAll(resp.Body) // all of it may have been there already
	if after, _ := c.Idle(); after != before {
		t.Errorf("%d idle, then %d", before, after)
	}
}

// Close may come from elsewhere, at any time. What was cut off by it doesn't read
// as a whole answer.
func TestABodyMayBeClosedWhileItIsRead(t *testing.T) {
	b := serve(t, func(_ int, conn net.Conn, br *bufio.Reader) {
		for answer(conn, br, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok") {
		}
	})
	c := newClient(t)
	for range 100 {
		resp, err := c.Call(t.Context(), b, "/x", "req", nil) //nolint:bodyclose // closed twice below
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = resp.Body.Close() }()
		if got, err := io.ReadAll(resp.Body); err == nil {
			t.Fatalf("read %q as if it were whole", got)
		}
		_ = resp.Body.Close()
		if _, err := resp.Body.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Fatalf("a closed body reads %v", err)
		}
	}
	if n, _ := c.Idle(); n != 0 {
		t.Errorf("%d idle", n)
	}
}
