package openai

import (
	"crypto/tls"
	"time"
)

// TrustAll lets a client call servers with certificates that tests make.
func (c *Client) TrustAll() {
	c.transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
}

// Watch sets the clock of idle connections and how often they are looked at.
func (c *Client) Watch(now func() time.Time, every time.Duration) {
	c.plain.pool.now, c.plain.pool.every = now, every
}

// Idle counts the idle connections without TLS, and whether a timer watches them.
func (c *Client) Idle() (conns int, watched bool) {
	p := &c.plain.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, list := range p.idle {
		conns += len(list)
	}
	return conns, p.timer != nil
}

// Limits on what is read of an answer.
const (
	MaxHead  = maxHead
	MaxError = maxError
	IdleConn = idleConn
)
