package openai

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// plain speaks HTTP/1.1 without TLS, as backends in one's own network do. It costs
// about half of what http.Transport does, which hands every request and answer
// through two goroutines of its connection; here the caller's goroutine writes
// and reads. The answer is parsed by net/http all the same.
type plain struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)
	now  func() time.Time

	mu   sync.Mutex
	idle map[string][]*plainConn // by address, the latest used last
	end  bool
}

const (
	maxHead      = 256 << 10 // bytes of an answer's head, and what was read with it
	maxInterim   = 8         // 1xx answers before the real one
	noBudget     = -1
	readBuffer   = 8 << 10
	maxReusedAge = idleConn
)

var (
	errHead    = errors.New("the head of the answer is too long")
	errInterim = errors.New("too many interim answers")
)

// plainConn is one connection. It serves one request at a time.
type plainConn struct {
	net.Conn
	br     *bufio.Reader
	budget int // bytes that may still be read of a head; noBudget outside of one
	since  time.Time
}

// Read counts the bytes of a head, for net/http's parser has no bound of its own.
func (c *plainConn) Read(p []byte) (int, error) {
	if c.budget == noBudget {
		return c.Conn.Read(p)
	}
	if c.budget == 0 {
		return 0, errHead
	}
	n, err := c.Conn.Read(p[:min(len(p), c.budget)])
	c.budget -= n
	return n, err
}

// roundTrip sends a request and returns its answer once the head is there.
func (p *plain) roundTrip(ctx context.Context, t *target, requestID string, body []byte) (*http.Response, error) {
	c, err := p.take(ctx, t.address)
	if err != nil {
		return nil, err
	}
	// Whoever gives up makes the connection's deadline pass: reads and writes end.
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	resp, err := c.exchange(t, requestID, body)
	if err != nil {
		stop()
		_ = c.Close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("wait for answer: %w", ctx.Err())
		}
		return nil, err
	}
	resp.Body = &plainBody{from: resp.Body, conn: c, pool: p, address: t.address, stop: stop, ctx: ctx, keep: !resp.Close}
	return resp, nil
}

func (c *plainConn) exchange(t *target, requestID string, body []byte) (*http.Response, error) {
	head := make([]byte, 0, len(t.head)+len(requestID)+len(body)+64)
	head = append(head, t.head...)
	head = append(append(head, "X-Request-Id: "...), requestID...)
	head = append(head, "\r\nContent-Length: "...)
	head = strconv.AppendInt(head, int64(len(body)), 10)
	head = append(append(head, "\r\n\r\n"...), body...)
	if _, err := c.Write(head); err != nil {
		return nil, fmt.Errorf("send request: %w", err)
	}
	c.budget = maxHead
	for range maxInterim {
		resp, err := http.ReadResponse(c.br, t.request)
		if err != nil {
			return nil, fmt.Errorf("read answer: %w", err)
		}
		if resp.StatusCode >= http.StatusOK {
			c.budget = noBudget
			return resp, nil
		}
	}
	return nil, errInterim
}

// take returns an idle connection that is still open, or a new one.
func (p *plain) take(ctx context.Context, address string) (*plainConn, error) {
	for {
		c := p.pop(address)
		if c == nil {
			break
		}
		if p.now().Sub(c.since) < maxReusedAge && c.br.Buffered() == 0 && open(c.Conn) {
			return c, nil
		}
		_ = c.Close()
	}
	conn, err := p.dial(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	c := &plainConn{Conn: conn, budget: noBudget}
	c.br = bufio.NewReaderSize(c, readBuffer)
	return c, nil
}

func (p *plain) pop(address string) *plainConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[address]
	if len(list) == 0 {
		return nil
	}
	c := list[len(list)-1]
	list[len(list)-1] = nil
	p.idle[address] = list[:len(list)-1]
	return c
}

// put keeps a connection for the next request, and closes the one idle longest
// where it is over its time.
func (p *plain) put(address string, c *plainConn) {
	c.since = p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[address]
	if p.end || len(list) >= maxIdle {
		_ = c.Close()
		return
	}
	if len(list) > 0 && c.since.Sub(list[0].since) >= maxReusedAge {
		_ = list[0].Close()
		list = append(list[:0], list[1:]...)
	}
	if p.idle == nil {
		p.idle = map[string][]*plainConn{}
	}
	p.idle[address] = append(list, c)
}

// closeIdle closes what is idle, and what becomes idle later.
func (p *plain) closeIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end = true
	for _, list := range p.idle {
		for _, c := range list {
			_ = c.Close()
		}
	}
	p.idle = nil
}

// plainBody is the body of an answer. Read to its end it gives its connection
// back; closed before, it closes it, which tells the backend to stop.
type plainBody struct {
	from    io.ReadCloser
	conn    *plainConn
	pool    *plain
	address string
	stop    func() bool
	ctx     context.Context //nolint:containedctx // of the one request that the body belongs to
	keep    bool
	done    bool
}

// Read reads on. The end of a request's context ends it.
func (b *plainBody) Read(p []byte) (int, error) {
	if b.done {
		return 0, io.EOF
	}
	n, err := b.from.Read(p)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		b.end(b.keep)
	default:
		b.end(false)
		if b.ctx.Err() != nil {
			err = b.ctx.Err()
		}
	}
	return n, err //nolint:wrapcheck // io.EOF must stay what it is
}

// Close ends the answer, wherever it is.
func (b *plainBody) Close() error {
	b.end(false)
	return nil
}

//nolint:revive // whether the connection can serve again is what it is told
func (b *plainBody) end(keep bool) {
	if b.done {
		return
	}
	b.done = true
	if b.stop() && keep { // else its deadline has passed, or is about to
		b.pool.put(b.address, b.conn)
		return
	}
	_ = b.conn.Close()
}
