package relay

import (
	"io"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/model"
)

// Reading is what a stream was read as.
type Reading struct {
	Shown, Ending         string
	Input, Cached, Output int64
	Reported, Complete    bool
	Estimate              int64
	Raw                   string
	Err                   error
}

// ReadStream reads a backend's stream, and returns what the client was shown at
// once, what was withheld, and what is to be billed.
func ReadStream(from io.Reader, answers, bound int64, showUsage bool) Reading {
	s := &stream{answers: answers, bound: bound, showUsage: showUsage}
	var shown []byte
	err := s.pump(from, func(p []byte) error { shown = append(shown, p...); return nil })
	return Reading{
		Shown: string(shown), Ending: string(s.ending()),
		Input: s.input, Cached: s.cached, Output: s.output, Reported: s.reported, Complete: s.complete(),
		Estimate: s.estimate(), Raw: string(s.raw), Err: err,
	}
}

// The errors of a stream.
var (
	ErrEventTooLong = errEventTooLong
	ErrMalformed    = errMalformed
	ErrCutOff       = errCutOff
	ErrPastBound    = errPastBound
	ErrReported     = errReported
)

// MaxEvent is the longest event of a stream.
const MaxEvent = maxEvent

// NewBreaker makes a breaker, for its test.
func NewBreaker(now func() time.Time) *Breaker { return &Breaker{breaker{now: now}} }

// Breaker shows the breaker to its test.
type Breaker struct{ b breaker }

// Closed names the backends that may be called.
func (x *Breaker) Closed(ids ...string) (out []string) {
	all := make([]model.Backend, len(ids))
	for i, id := range ids {
		all[i].ID = id
	}
	for _, be := range x.b.closed(all) {
		out = append(out, be.ID)
	}
	return out
}

// Told notes a call's status, or with 0 that there was no answer.
func (x *Breaker) Told(id string, status int) {
	if status == 0 {
		x.b.told(id, nil, io.ErrUnexpectedEOF)
		return
	}
	x.b.told(id, &http.Response{StatusCode: status}, nil)
}
