package password

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// Line is where a hash waits for its turn. Hashes are dear, and anybody may ask for one:
// who can't be told from a crowd that guesses waits with it, and others before it.
type Line int

// The lines.
const (
	Strangers Line = iota // short: who comes too late is told at once
	Known                 // who is known by more than he types; goes first
)

// lines are how many may wait for each turn that there is.
func (l Line) length() int {
	if l == Known {
		return 64
	}
	return 16
}

var errCrowd = errors.New("too many wait")

// turns are given to one after the other.
type turns struct {
	atOnce int

	mu      sync.Mutex
	free    int
	waiting [Known + 1][]chan struct{} // closed when it is their turn
}

func newTurns(atOnce int) *turns { return &turns{atOnce: atOnce, free: atOnce} }

// take waits for a turn, as long as ctx lasts and where the line is not too long.
func (t *turns) take(ctx context.Context, l Line) error {
	turn, err := t.join(l)
	if err != nil {
		return err
	}
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	if !t.leave(l, turn) { // it was given meanwhile
		t.done()
	}
	return context.Cause(ctx)
}

func (t *turns) join(l Line) (turn chan struct{}, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	turn = make(chan struct{})
	switch {
	case t.free > 0:
		t.free--
		close(turn)
	case len(t.waiting[l]) >= t.atOnce*l.length():
		return nil, errCrowd
	default:
		t.waiting[l] = append(t.waiting[l], turn)
	}
	return turn, nil
}

// leave reports whether the turn was still waited for.
func (t *turns) leave(l Line, turn chan struct{}) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.waiting[l], turn)
	if i >= 0 {
		t.waiting[l] = slices.Delete(t.waiting[l], i, i+1)
	}
	return i >= 0
}

// done gives a turn back: to who waits longest in the line that goes first.
func (t *turns) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range []Line{Known, Strangers} {
		if len(t.waiting[l]) > 0 {
			close(t.waiting[l][0])
			t.waiting[l] = t.waiting[l][1:]
			return
		}
	}
	t.free++
}
