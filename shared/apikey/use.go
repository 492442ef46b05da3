package apikey

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Use is that a key was used.
type Use struct {
	OrgID   string
	KeyID   string
	At      time.Time
	Address string // where from
}

// UseSink keeps the last use of keys. One that is older than what is known changes
// nothing.
type UseSink interface {
	NoteUses(ctx context.Context, uses []Use) error
}

// The bounds of noting uses.
const (
	noteEvery  = time.Minute      // how often a key's use is noted at most
	noteFlush  = 10 * time.Second // how long a note waits at most
	noteLimit  = 5 * time.Second  // a sink may take so long
	notedKeys  = 100_000          // that are remembered; past them, some are noted more often
	notesAtOne = 1_000            // of one write
)

// Uses remembers when keys were last used, and from where: each key once a minute
// and process, for it must not cost requests a write each.
type Uses struct {
	sink UseSink
	now  func() time.Time
	log  *slog.Logger
	stop chan struct{}
	done chan struct{} // nil: nothing runs in the background

	mu      sync.RWMutex
	last    map[string]*atomic.Int64 // when a key's use was noted, in seconds; by key
	pending []Use
}

// NewUses makes one that writes each note before [Uses.Note] returns: for hosts that
// may freeze once a request is answered.
func NewUses(sink UseSink, now func() time.Time, log *slog.Logger) *Uses {
	return &Uses{sink: sink, now: now, log: log, stop: make(chan struct{}), last: map[string]*atomic.Int64{}}
}

// StartUses makes one that writes in the background, many notes at once. Close ends
// it.
func StartUses(ctx context.Context, sink UseSink, now func() time.Time, log *slog.Logger) *Uses {
	u := NewUses(sink, now, log)
	u.done = make(chan struct{})
	go u.run(context.WithoutCancel(ctx)) // it outlives the call that starts it
	return u
}

// Note remembers that a key was just used. Where that is known already it costs a
// look at a map.
func (u *Uses) Note(ctx context.Context, r *Record, address string) {
	at := u.now()
	u.mu.RLock()
	last := u.last[r.KeyID]
	u.mu.RUnlock()
	if last != nil && at.Unix()-last.Load() < int64(noteEvery/time.Second) {
		return
	}
	if !u.add(Use{OrgID: r.OrgID, KeyID: r.KeyID, At: at, Address: address}) || u.done != nil {
		return
	}
	if err := u.Flush(context.WithoutCancel(ctx)); err != nil { // the client may have left
		u.log.WarnContext(ctx, "note uses of keys", "error", err)
	}
}

// add takes a note, unless another has been quicker.
func (u *Uses) add(use Use) bool {
	at := use.At.Unix()
	u.mu.Lock()
	defer u.mu.Unlock()
	last := u.last[use.KeyID]
	switch {
	case last == nil:
		if len(u.last) >= notedKeys {
			clear(u.last)
		}
		last = &atomic.Int64{}
		u.last[use.KeyID] = last
	case at-last.Load() < int64(noteEvery/time.Second):
		return false
	}
	last.Store(at)
	if len(u.pending) < notedKeys {
		u.pending = append(u.pending, use)
	}
	return true
}

func (u *Uses) run(ctx context.Context) {
	defer close(u.done)
	tick := time.NewTicker(noteFlush)
	defer tick.Stop()
	for {
		select {
		case <-u.stop:
			return
		case <-tick.C:
			if err := u.Flush(ctx); err != nil {
				u.log.WarnContext(ctx, "note uses of keys", "error", err)
			}
		}
	}
}

// Flush writes what is pending. What can't be written is kept, within bounds.
func (u *Uses) Flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, noteLimit)
	defer cancel()
	u.mu.Lock()
	uses := u.pending
	u.pending = nil
	u.mu.Unlock()
	for len(uses) > 0 {
		n := min(len(uses), notesAtOne)
		if err := u.sink.NoteUses(ctx, uses[:n]); err != nil {
			u.keep(uses)
			return fmt.Errorf("write %d uses: %w", n, err)
		}
		uses = uses[n:]
	}
	return nil
}

func (u *Uses) keep(uses []Use) {
	u.mu.Lock()
	defer u.mu.Unlock()
	room := max(0, notedKeys-len(u.pending))
	u.pending = append(uses[:min(len(uses), room)], u.pending...)
}

// Close writes what is pending and ends the background.
func (u *Uses) Close(ctx context.Context) error {
	if u.done != nil {
		close(u.stop)
		<-u.done
	}
	return u.Flush(ctx)
}
