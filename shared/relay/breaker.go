package relay

import (
	"net/http"
	"sync"
	"time"

	"github.com/aiaas/aiaas/shared/model"
)

const (
	breakAfter = 3               // failures in a row open a backend's breaker
	breakFor   = 5 * time.Second // then it is left alone so long; its next failure opens it again
)

// breaker keeps requests from backends that fail one after the other, as long as
// another one can serve.
type breaker struct {
	now    func() time.Time
	mu     sync.Mutex
	states map[string]*breakerState
}

type breakerState struct {
	failures int
	until    time.Time
}

// closed returns the backends that may be called: those whose breaker is closed,
// or all where none is. The order is kept; the argument is not changed.
func (b *breaker) closed(all []model.Backend) []model.Backend {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	out := make([]model.Backend, 0, len(all))
	for _, be := range all {
		if s := b.states[be.ID]; s == nil || !now.Before(s.until) {
			out = append(out, be)
		}
	}
	if len(out) == 0 {
		return append(out, all...)
	}
	return out
}

// told notes how a call went.
func (b *breaker) told(id string, resp *http.Response, err error) {
	failed := err != nil || resp.StatusCode >= http.StatusInternalServerError
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.states[id]
	switch {
	case !failed:
		delete(b.states, id)
	case s == nil:
		if b.states == nil {
			b.states = map[string]*breakerState{}
		}
		b.states[id] = &breakerState{failures: 1}
	default:
		s.failures++
		if s.failures >= breakAfter {
			s.until = b.now().Add(breakFor)
		}
	}
}
