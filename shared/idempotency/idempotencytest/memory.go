package idempotencytest

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/aiaas/aiaas/shared/idempotency"
)

// Memory is a store in memory, for tests. It passes the suite.
type Memory struct {
	now func() time.Time

	mu     sync.Mutex
	claims map[idempotency.Name]entry
	err    error
}

type entry struct {
	record idempotency.Record
	doneAt time.Time
}

var _ idempotency.Store = (*Memory)(nil)

// NewMemory makes an empty store.
func NewMemory(now func() time.Time) *Memory {
	return &Memory{now: now, claims: map[idempotency.Name]entry{}}
}

// Fail makes every call fail with err, until it is called with nil.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// Len is how many claims there are.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.claims)
}

// do runs one atomic step.
func (m *Memory) do(ctx context.Context, step func()) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	step()
	return nil
}

func clone(r idempotency.Record) idempotency.Record {
	r.MAC, r.Answer = bytes.Clone(r.MAC), bytes.Clone(r.Answer)
	return r
}

// Claim implements [idempotency.Store].
func (m *Memory) Claim(ctx context.Context, n idempotency.Name, r idempotency.Record) (have *idempotency.Record, err error) {
	err = m.do(ctx, func() {
		e, ok := m.claims[n]
		if ok && (!e.record.Done || m.now().Sub(e.doneAt) <= idempotency.TTL) {
			c := clone(e.record)
			have = &c
			return
		}
		m.claims[n] = entry{record: clone(r)}
	})
	return have, err
}

// Retake implements [idempotency.Store].
func (m *Memory) Retake(ctx context.Context, n idempotency.Name, request string, r idempotency.Record) (ok bool, err error) {
	err = m.do(ctx, func() {
		if ok = m.runs(n, request); ok {
			m.claims[n] = entry{record: clone(r)}
		}
	})
	return ok, err
}

func (m *Memory) runs(n idempotency.Name, request string) bool {
	e, ok := m.claims[n]
	return ok && !e.record.Done && e.record.RequestID == request
}

// Finish implements [idempotency.Store].
func (m *Memory) Finish(ctx context.Context, n idempotency.Name, r idempotency.Record) error {
	return m.do(ctx, func() {
		if m.runs(n, r.RequestID) {
			r = clone(r)
			r.MAC, r.Epoch, r.Done = m.claims[n].record.MAC, m.claims[n].record.Epoch, true
			m.claims[n] = entry{record: r, doneAt: m.now()}
		}
	})
}

// Release implements [idempotency.Store].
func (m *Memory) Release(ctx context.Context, n idempotency.Name, request string) error {
	return m.do(ctx, func() {
		if m.runs(n, request) {
			delete(m.claims, n)
		}
	})
}
