package idempotency

import "sync"

// running is the set of requests that this process runs under a claim, and of those
// that it ran and whose outcome the store does not have.
type running struct {
	mu  sync.Mutex
	ids map[string]state
}

// state is what this process knows of a request.
type state int

const (
	unknown state = iota // it is not ours, or it has ended and the store says how
	runs
	unsaid // it has ended, and the store does not say how
)

func (r *running) set(id string, s state) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids == nil {
		r.ids = map[string]state{}
	}
	r.ids[id] = s
}

func (r *running) remove(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ids, id)
}

func (r *running) of(id string) state {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ids[id]
}
