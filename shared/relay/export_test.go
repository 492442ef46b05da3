package relay

import "io"

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
