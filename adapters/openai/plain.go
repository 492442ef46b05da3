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
	"sync/atomic"
	"syscall"
	"time"
)

// plain speaks HTTP/1.1 without TLS, as backends in one's own network do. It costs
// about half of what http.Transport does, which hands every request and answer
// through two goroutines of its connection; here the caller's goroutine writes
// and reads. The answer is parsed by net/http all the same.
type plain struct {
	dial Dial
	pool pool
}

const (
	maxHead    = 256 << 10 // bytes of an answer's head, and what was read with it
	maxInterim = 8         // 1xx answers before the real one
	noBudget   = -1
	readBuffer = 8 << 10 // also bounds a chunk's extensions and the trailers
)

var (
	errHead    = errors.New("the head of the answer is too long")
	errInterim = errors.New("too many interim answers")
)

// plainConn is one connection. It serves one request at a time.
type plainConn struct {
	net.Conn
	br     *bufio.Reader
	budget int       // bytes that may still be read of a head; noBudget outside of one
	since  time.Time // idle since then
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
//
// A backend may close an idle connection in the moment that a request is written
// to it. So a request that met its end on a used connection, before one byte of an
// answer, is sent once more on a new one.
func (p *plain) roundTrip(ctx context.Context, t *target, requestID string, body []byte) (*http.Response, error) {
	if c := p.pool.take(t.address); c != nil {
		resp, err := p.serve(ctx, c, t, requestID, body)
		if err == nil || ctx.Err() != nil || !c.unanswered() || !hungUp(err) {
			return resp, err
		}
	}
	conn, err := p.dial(ctx, "tcp", t.address)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	c := &plainConn{Conn: conn, budget: noBudget}
	c.br = bufio.NewReaderSize(c, readBuffer)
	return p.serve(ctx, c, t, requestID, body)
}

// serve makes one request on a connection, which it closes where that goes wrong.
func (p *plain) serve(ctx context.Context, c *plainConn, t *target, requestID string, body []byte) (*http.Response, error) {
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
	resp.Body = &plainBody{
		from: resp.Body, conn: c, pool: &p.pool, address: t.address, stop: stop, ctx: ctx,
		// What HTTP/1.0 says of lengths and of connections is not to be relied on.
		keep: !resp.Close && resp.ProtoMajor == 1 && resp.ProtoMinor == 1,
	}
	return resp, nil
}

// unanswered reports, after an exchange, that not one byte of an answer was read.
func (c *plainConn) unanswered() bool { return c.budget == maxHead }

// hungUp reports errors by which a connection says that the other side closed it.
func hungUp(err error) bool {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

func (c *plainConn) exchange(t *target, requestID string, body []byte) (*http.Response, error) {
	head := make([]byte, 0, len(t.head)+len(requestID)+len(body)+64)
	head = append(head, t.head...)
	head = append(append(head, "X-Request-Id: "...), requestID...)
	head = append(head, "\r\nContent-Length: "...)
	head = strconv.AppendInt(head, int64(len(body)), 10)
	head = append(append(head, "\r\n\r\n"...), body...)
	c.budget = maxHead
	if _, err := c.Write(head); err != nil {
		return nil, fmt.Errorf("send request: %w", err)
	}
	for range maxInterim {
		resp, err := http.ReadResponse(c.br, t.request)
		if err != nil {
			return nil, fmt.Errorf("read answer: %w", err)
		}
		if !interim(resp.StatusCode) {
			c.budget = noBudget
			return resp, nil
		}
	}
	return nil, errInterim
}

// interim reports the answers that others follow. 101 is none of them: after it
// the connection speaks another protocol.
func interim(status int) bool {
	return status >= http.StatusContinue && status < http.StatusOK && status != http.StatusSwitchingProtocols
}

// plainBody is the body of an answer. Read to its end it gives its connection
// back; closed before, it closes it, which tells the backend to stop. Close may be
// called while another goroutine reads.
type plainBody struct {
	from    io.ReadCloser
	conn    *plainConn
	pool    *pool
	address string
	stop    func() bool
	ctx     context.Context //nolint:containedctx // of the one request that the body belongs to
	keep    bool
	state   atomic.Int32
}

// The states of a body.
const (
	reading int32 = iota
	ended         // read to its end
	closed        // given up before
)

// Read reads on. The end of a request's context ends it. An answer that was closed
// before its end never reads as if it were whole.
func (b *plainBody) Read(p []byte) (int, error) {
	switch b.state.Load() {
	case ended:
		return 0, io.EOF
	case closed:
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.from.Read(p)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		b.end(ended)
	default:
		b.end(closed)
		if b.ctx.Err() != nil {
			err = b.ctx.Err()
		}
	}
	return n, err //nolint:wrapcheck // io.EOF must stay what it is
}

// Close ends the answer, wherever it is.
func (b *plainBody) Close() error {
	b.end(closed)
	return nil
}

// end lets go of the connection, once.
func (b *plainBody) end(state int32) {
	if !b.state.CompareAndSwap(reading, state) {
		return
	}
	// Where stop comes too late, the deadline has passed or is about to.
	if b.stop() && state == ended && b.keep {
		b.pool.put(b.address, b.conn)
		return
	}
	_ = b.conn.Close()
}
