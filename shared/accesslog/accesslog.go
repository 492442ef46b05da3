// Package accesslog shows what became of requests: who called, from where, what
// was answered and why, and what it cost. It never holds a prompt or an answer.
//
// A request that was served stands in the usage: durable before its end, so the log
// shows every paid request, also after a crash. This package keeps the others
// (denials, errors, uses of keys that are no longer good, look-ups): a [Writer]
// gathers them in memory and writes them in the background, for a denial must not
// cost more than a served request. Storms are summed up: of many lines that are
// alike within a minute the first stand alone and the rest in one line with their
// count. [Queries] reads both as one list, ordered by request id, which is ordered
// by time.
package accesslog

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Line is a request, or a number of them that are alike, without usage.
type Line struct {
	OrgID     string
	RequestID string // of the first
	At        time.Time
	Last      time.Time // of the last one, where Count is above 1
	Count     int64
	APIKeyID  string
	ProjectID string
	Model     string // "" where it is not known
	Endpoint  string
	Status    int
	Code      string // of the error; "" where there was none
	Detail    string // what the caller was told
	Address   string // where the request came from
	UserAgent string
}

// Sink writes lines. One with an id that is there already adds its count.
type Sink interface {
	LogRequests(ctx context.Context, lines []Line) error
}

// The bounds of a writer.
const (
	alone      = 10              // lines that are alike and stand alone within a minute
	maxPending = 20_000          // lines in memory; more are counted and told to the operator
	flushEvery = time.Second     // how long a line waits at most
	flushBatch = 1_000           // lines of one write
	flushLimit = 5 * time.Second // a sink may take so long
)

// Writer gathers lines and writes them in the background.
type Writer struct {
	sink Sink
	log  *slog.Logger
	stop chan struct{}
	done chan struct{}

	mu      sync.Mutex
	pending []Line
	storms  map[alike]*storm
	minute  int64
	lost    int64
}

// alike is what makes lines one storm.
type alike struct {
	org, key, address, endpoint, model, code string
	status                                   int
}

type storm struct {
	seen int
	rest *Line // what was summed up and not yet taken to be written
	id   string
}

// NewWriter starts a writer. Close ends it.
func NewWriter(ctx context.Context, sink Sink, log *slog.Logger) *Writer {
	w := &Writer{sink: sink, log: log, stop: make(chan struct{}), done: make(chan struct{}), storms: map[alike]*storm{}}
	go w.run(context.WithoutCancel(ctx)) // it outlives the call that starts it
	return w
}

// Add takes a line. It never waits.
func (w *Writer) Add(l Line) {
	l.Count, l.Last = 1, l.At
	w.mu.Lock()
	defer w.mu.Unlock()
	if m := l.At.Unix() / 60; m != w.minute {
		w.minute = m
		w.endStorms()
	}
	k := alike{l.OrgID, l.APIKeyID, l.Address, l.Endpoint, l.Model, l.Code, l.Status}
	s := w.storms[k]
	switch {
	case s == nil && len(w.storms) >= maxPending:
		w.lost++
		return
	case s == nil:
		s = &storm{}
		w.storms[k] = s
	}
	s.seen++
	switch {
	case s.seen <= alone && len(w.pending) < maxPending:
		w.pending = append(w.pending, l)
	case s.rest == nil:
		if s.id == "" {
			s.id = l.RequestID
		}
		l.RequestID = s.id
		s.rest = &l
	default:
		s.rest.Count++
		s.rest.Last = l.At
	}
}

// endStorms moves what was summed up to the pending lines and forgets the storms.
func (w *Writer) endStorms() {
	w.collect()
	clear(w.storms)
}

func (w *Writer) collect() {
	for _, s := range w.storms {
		if s.rest != nil {
			w.pending = append(w.pending, *s.rest)
			s.rest = nil
		}
	}
}

func (w *Writer) run(ctx context.Context) {
	defer close(w.done)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
			if err := w.Flush(ctx); err != nil {
				w.log.WarnContext(ctx, "write access log", "error", err)
			}
		}
	}
}

// Text makes a text fit to be kept: valid UTF-8 without control characters, at most
// 300 bytes.
func Text(s string) string {
	const most = 300
	if len(s) > most {
		s = s[:most]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, ""))
}

// Flush writes what is pending. What can't be written is kept, within bounds.
func (w *Writer) Flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushLimit)
	defer cancel()
	w.mu.Lock()
	w.collect()
	lines, lost := w.pending, w.lost
	w.pending, w.lost = nil, 0
	w.mu.Unlock()
	if lost > 0 {
		w.log.WarnContext(ctx, "access log is overrun: lines were not kept", "lines", lost)
	}
	for len(lines) > 0 {
		n := min(len(lines), flushBatch)
		if err := w.sink.LogRequests(ctx, lines[:n]); err != nil {
			w.keep(lines)
			return fmt.Errorf("write %d lines: %w", n, err)
		}
		lines = lines[n:]
	}
	return nil
}

// keep takes lines back for the next try.
func (w *Writer) keep(lines []Line) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = append(lines, w.pending...)
	if over := len(w.pending) - maxPending; over > 0 {
		w.lost += int64(over)
		w.pending = w.pending[over:]
	}
}

// Close writes what is pending and ends the writer.
func (w *Writer) Close(ctx context.Context) error {
	close(w.stop)
	<-w.done
	return w.Flush(ctx)
}
