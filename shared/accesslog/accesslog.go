// Package accesslog shows what became of requests: who called, from where, what
// was answered and why, and what it cost. It never holds a prompt or an answer.
//
// A request that was served stands in the usage: durable before its end, so the log
// shows every paid request, also after a crash. This package keeps the others
// (denials, errors, uses of keys that are no longer good, look-ups): a [Writer]
// gathers them in memory and writes them in the background, for a denial must not
// cost more than a served request. Storms are summed up: of many lines that are
// alike within a minute the first stand alone and the rest in one line with their
// count. Who varies requests to escape that gains nothing: past so many kinds or
// lines a minute, a key's lines are summed up by what was answered, whatever was
// asked for and wherever it came from. [Queries] reads both as one list, ordered by
// request id, which is ordered by time.
package accesslog

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
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
	Model     string // "" where it is not known, or not one
	Endpoint  string // likewise
	Status    int
	Code      string // of the error; "" where there was none
	Detail    string // what the caller was told; the first, of several
	Address   string // where the request came from; "" where that is not one place
	UserAgent string // the first, of several
}

// Sink writes lines, each id at most once a call. One with an id that is there
// already adds its count.
type Sink interface {
	LogRequests(ctx context.Context, lines []Line) error
}

// The bounds of a writer.
const (
	alone      = 10              // lines that are alike and stand alone within a minute
	aloneOfKey = 100             // of one key, alike or not
	kindsOfKey = 50              // of lines that are alike, within a minute
	maxPending = 20_000          // lines in memory; more are counted and told to the operator
	flushEvery = time.Second     // how long a line waits at most
	flushBatch = 1_000           // lines of one write
	flushLimit = 5 * time.Second // a sink may take so long
)

// Writer gathers lines and writes them in the background.
type Writer struct {
	// Denials, where it is set before the first line, hears of those who were not
	// believed or not allowed: they belong into the audit, which outlives the log.
	Denials *audit.Denials

	sink Sink
	log  *slog.Logger
	stop chan struct{}
	done chan struct{}

	mu      sync.Mutex
	pending []Line
	storms  map[alike]*storm
	keys    map[owner]*volume
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

type owner struct{ org, key string }

// volume is what a key has caused within the minute.
type volume struct{ kinds, alone int }

// NewWriter starts a writer. Close ends it.
func NewWriter(ctx context.Context, sink Sink, log *slog.Logger) *Writer {
	w := &Writer{sink: sink, log: log, stop: make(chan struct{}), done: make(chan struct{}), storms: map[alike]*storm{}, keys: map[owner]*volume{}}
	go w.run(context.WithoutCancel(ctx)) // it outlives the call that starts it
	return w
}

// Add takes a line. It never waits. Texts are made fit to be kept.
func (w *Writer) Add(l Line) {
	l.Count, l.Last = 1, l.At
	for _, text := range []*string{&l.Model, &l.Endpoint, &l.Detail, &l.Address, &l.UserAgent} {
		*text = Text(*text)
	}
	w.deny(&l)
	w.mu.Lock()
	defer w.mu.Unlock()
	if m := l.At.Unix() / 60; m != w.minute {
		w.minute = m
		w.endStorms()
	}
	of, s := w.storm(&l)
	if s == nil {
		w.lost++
		return
	}
	s.seen++
	switch {
	case s.seen <= alone && of.alone < aloneOfKey && len(w.pending) < maxPending:
		of.alone++
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

// deny tells the audit of a refusal that is about who called.
func (w *Writer) deny(l *Line) {
	action := audit.ActionDeny
	switch l.Status {
	case http.StatusUnauthorized:
		action = audit.ActionAuthFail
	case http.StatusForbidden:
	default:
		return
	}
	w.Denials.Note(audit.Denial{
		OrgID: l.OrgID, Actor: l.APIKeyID, Action: action, Code: l.Code, Target: cmp.Or(l.Model, l.Endpoint), Address: l.Address,
		RequestID: l.RequestID, At: l.At,
	})
}

// storm is that of a line, or nil where there are too many. Past its kinds a key's
// lines lose what tells them apart.
func (w *Writer) storm(l *Line) (*volume, *storm) {
	of := w.keys[owner{l.OrgID, l.APIKeyID}]
	if of == nil {
		of = &volume{}
		w.keys[owner{l.OrgID, l.APIKeyID}] = of
	}
	s := w.storms[kind(l)]
	if s == nil && of.kinds >= kindsOfKey {
		l.Model, l.Endpoint, l.Address = "", "", ""
		s = w.storms[kind(l)]
	}
	if s == nil && len(w.storms) < maxPending {
		of.kinds++
		s = &storm{}
		w.storms[kind(l)] = s
	}
	return of, s
}

func kind(l *Line) alike {
	return alike{l.OrgID, l.APIKeyID, l.Address, l.Endpoint, l.Model, l.Code, l.Status}
}

// endStorms moves what was summed up to the pending lines and forgets the storms.
func (w *Writer) endStorms() {
	w.collect()
	clear(w.storms)
	clear(w.keys)
}

func (w *Writer) collect() {
	for _, s := range w.storms {
		if s.rest != nil {
			w.pending = append(w.pending, *s.rest)
			s.rest = nil
		}
	}
}

// united puts lines of one id together: a storm that goes on while the sink is down
// leaves several.
func united(lines []Line) []Line {
	at := make(map[string]int, len(lines))
	out := lines[:0]
	for _, l := range lines {
		i, ok := at[l.RequestID]
		if !ok {
			at[l.RequestID] = len(out)
			out = append(out, l)
			continue
		}
		out[i].Count += l.Count
		out[i].Last = l.Last
	}
	return out
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
		s = strings.Clone(s[:most]) // what is kept must not keep the whole
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, ""))
}

// Flush writes what is pending. What can't be written is kept, within bounds. It is
// the background's, and the last at the end: one at a time.
func (w *Writer) Flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushLimit)
	defer cancel()
	w.mu.Lock()
	w.collect()
	lines, lost := united(w.pending), w.lost
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
