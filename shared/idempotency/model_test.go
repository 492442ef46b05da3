package idempotency_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/idempotency"
)

// The model of one idempotency key over a day: who runs it, in which process, and
// what of it was billed. Requests begin, are recorded or not, end in every way that
// there is, while processes die, take over and are cut off from the store.
type machine struct {
	h       *house
	old     []*idempotency.Service // processes that were taken over, and may not know it
	running []*request
	billed  []string // requests whose events are durable, of this day
	spooled []string // durable where nobody can ask
	trying  []string // their record failed, and is tried again
	n       int
}

type request struct {
	id    string
	claim *idempotency.Claim
	epoch int64
	done  bool // recorded
}

// all are the requests that are billed, sooner or later.
func (m *machine) all() []string { return slices.Concat(m.billed, m.spooled, m.trying) }

// attempt tries the key at the process s.
func (m *machine) attempt(rt *rapid.T, s *idempotency.Service) {
	m.n++
	a := attempt(fmt.Sprint("req_", m.n))
	c, answer, err := s.Begin(m.h.t.Context(), a)
	switch {
	case c != nil:
		if len(m.all()) > 0 {
			rt.Fatalf("%s runs, after %v were or will be billed", a.RequestID, m.all())
		}
		for _, r := range m.running {
			if r.epoch == m.h.Epoch && s.Epoch == m.h.Epoch {
				rt.Fatalf("%s runs beside %s", a.RequestID, r.id)
			}
		}
		m.running = append(m.running, &request{id: a.RequestID, claim: c, epoch: s.Epoch})
	case answer != nil:
		if all := m.all(); len(all) != 1 || answer.RequestID != all[0] || string(answer.Body) != "answer of "+all[0] {
			rt.Fatalf("an answer of %s, and billed is %v", answer.RequestID, all)
		}
	case fault.Is(err, fault.Unavailable):
	case !fault.Is(err, fault.Conflict):
		rt.Fatalf("%v", err)
	case fault.From(err).Members["cost"] != nil && len(m.all()) != 1:
		rt.Fatalf("told that it is billed (%v); billed is %v", fault.From(err).Members, m.all())
	}
}

// record makes a running request's event durable, unless its process was fenced.
func (m *machine) record(rt *rapid.T, r *request) {
	if r.done || r.epoch != m.h.Epoch {
		return
	}
	r.done = true
	if rapid.IntRange(0, 3).Draw(rt, "where") == 0 {
		m.spooled = append(m.spooled, r.id)
		return
	}
	m.book(r.id)
}

func (m *machine) book(id string) {
	m.h.record(id, 7)
	m.billed = append(m.billed, id)
}

// end ends a request as its process would: by what it knows.
func (m *machine) end(rt *rapid.T, i int) {
	r := m.running[i]
	m.running = append(m.running[:i:i], m.running[i+1:]...)
	ctx := m.h.t.Context()
	switch {
	case !r.done && r.epoch == m.h.Epoch && rapid.IntRange(0, 3).Draw(rt, "how it ends") == 0:
		m.trying = append(m.trying, r.id)
		r.claim.Leave()
	case !r.done:
		_ = r.claim.Release(ctx) // the store may be down
	case rapid.Bool().Draw(rt, "keep"):
		_ = r.claim.Finish(ctx, idempotency.Outcome{Settled: idempotency.Settled{Cost: 7, Currency: "USD"}, Answer: []byte("answer of " + r.id)})
	default:
		_ = r.claim.Finish(ctx, idempotency.Outcome{Settled: idempotency.Settled{Cost: 7, Currency: "USD"}})
	}
}

// drain books what was hidden: a spool is read, a record came through.
func (m *machine) drain() {
	for _, id := range slices.Concat(m.spooled, m.trying) {
		m.book(id)
	}
	m.spooled, m.trying = nil, nil
}

// restart takes over. What the disk has is booked before; what was tried again in
// memory came through, or dies.
func (m *machine) restart(rt *rapid.T) {
	if rapid.Bool().Draw(rt, "lost") {
		m.trying = nil
	}
	m.drain()
	m.old = append(m.old, m.h.Service)
	m.h.restart()
}

func TestAKeyIsBilledOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &machine{h: newHouse(t)}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			switch rapid.IntRange(0, 9).Draw(rt, "step") {
			case 0, 1, 2:
				m.attempt(rt, m.h.Service)
			case 3:
				if len(m.old) > 0 { // a process that was stopped, and goes on
					m.attempt(rt, m.old[rapid.IntRange(0, len(m.old)-1).Draw(rt, "old")])
				}
			case 4, 5:
				if len(m.running) > 0 {
					m.record(rt, m.running[rapid.IntRange(0, len(m.running)-1).Draw(rt, "which")])
				}
			case 6:
				if len(m.running) > 0 {
					m.end(rt, rapid.IntRange(0, len(m.running)-1).Draw(rt, "which"))
				}
			case 7:
				m.drain()
			case 8:
				m.restart(rt)
			default:
				m.h.store.Fail(map[bool]error{true: errors.New("down")}[rapid.Bool().Draw(rt, "down")])
			}
		}
		if len(m.all()) > 1 {
			rt.Fatalf("billed %v", m.all())
		}
		m.settle(rt)
	})
}

// settle: once all is well again, the key leads to its answer, to its cost, or to a
// request that runs. A day later it is free.
func (m *machine) settle(rt *rapid.T) {
	m.h.store.Fail(nil)
	for len(m.running) > 0 {
		m.end(rt, 0)
	}
	m.drain()
	c, answer, err := m.h.Begin(m.h.t.Context(), attempt("req_last"))
	switch {
	case len(m.billed) == 0 && c == nil:
		rt.Fatalf("nothing was billed, and the key does not run: %v, %v", answer, err)
	case len(m.billed) == 1 && answer == nil && fault.From(err).Members["cost"] == nil:
		rt.Fatalf("%v was billed, and that is not told: %v", m.billed, err)
	case len(m.billed) == 1:
		m.h.clock.pass(idempotency.TTL + time.Second)
		m.h.begin(attempt("req_tomorrow"))
	}
}
