package openai

import (
	"sync"
	"time"
)

// pool keeps idle connections, by address. While it has any, a timer looks at them
// now and then: a backend that closed its side would otherwise leave a half-closed
// socket here until the next request, or for ever.
type pool struct {
	now   func() time.Time
	every time.Duration // between two looks

	mu    sync.Mutex
	idle  map[string][]*plainConn // the latest used last
	timer *time.Timer             // nil while nothing is idle
	end   bool
}

// fresh reports whether a connection can serve another request: it is not over its
// age, its backend has not closed it, and has sent nothing that nobody asked for.
func (p *pool) fresh(c *plainConn) bool {
	return p.now().Sub(c.since) < idleConn && c.br.Buffered() == 0 && open(c.Conn)
}

// take returns the latest used connection that is still fresh; nil if there is none.
func (p *pool) take(address string) *plainConn {
	for {
		c := p.pop(address)
		if c == nil || p.fresh(c) {
			return c
		}
		_ = c.Close()
	}
}

func (p *pool) pop(address string) *plainConn {
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

// put keeps a connection for the next request.
func (p *pool) put(address string, c *plainConn) {
	c.since = p.now()
	if c.br.Buffered() > 0 || !p.add(address, c) {
		_ = c.Close()
	}
}

func (p *pool) add(address string, c *plainConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[address]
	if p.end || len(list) >= maxIdle {
		return false
	}
	if p.idle == nil {
		p.idle = map[string][]*plainConn{}
	}
	p.idle[address] = append(list, c)
	if p.timer == nil {
		p.timer = time.AfterFunc(p.every, p.reap)
	}
	return true
}

// reap closes what is no longer fresh, and comes again while anything is left.
func (p *pool) reap() {
	for _, c := range p.stale() {
		_ = c.Close()
	}
}

// stale takes out what is no longer fresh and sets the next look.
func (p *pool) stale() []*plainConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	var stale []*plainConn
	for address, list := range p.idle {
		kept := list[:0]
		for _, c := range list {
			if p.fresh(c) {
				kept = append(kept, c)
			} else {
				stale = append(stale, c)
			}
		}
		clear(list[len(kept):])
		p.idle[address] = kept
		if len(kept) == 0 {
			delete(p.idle, address)
		}
	}
	if len(p.idle) > 0 {
		p.timer.Reset(p.every)
	} else {
		p.timer = nil
	}
	return stale
}

// close closes what is idle, and what becomes idle later.
func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.end = nil, true
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	p.mu.Unlock()
	for _, list := range idle {
		for _, c := range list {
			_ = c.Close()
		}
	}
}
