package relay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

// maxEvent is the longest event that a backend may send; a longer one is a
// backend out of its mind, and memory stays bounded.
const maxEvent = 1 << 20

// Errors of a backend's stream.
var (
	errEventTooLong = errors.New("an event of the stream is too long")
	errMalformed    = errors.New("an event of the stream is not valid JSON")
	errCutOff       = errors.New("the stream ended before its answer did")
	errPastBound    = errors.New("the stream ran past its bound")
	errReported     = errors.New("the backend reports an error in its stream")
)

// stream reads a backend's server-sent events and decides what of them goes to
// the client now, and what is withheld until the request is recorded: from the
// last open choice's finish_reason on.
type stream struct {
	tally

	answers   int64 // choices that must finish
	showUsage bool  // the client asked for the usage chunk
	bound     int64 // most output tokens; 0: none

	finished map[int64]bool
	tail     []byte // withheld
	ended    bool   // [DONE] was read
	buf      []byte
}

// ending is what was withheld. It ends with the terminator, also where the backend
// left that out: some clients wait for it.
func (s *stream) ending() []byte {
	if s.ended {
		return s.tail
	}
	return append(s.tail, "data: [DONE]\n\n"...)
}

// complete reports whether every choice has finished.
func (s *stream) complete() bool { return int64(len(s.finished)) >= s.answers }

// feed takes bytes as they came and appends to out what may be shown now.
func (s *stream) feed(out, p []byte) ([]byte, error) {
	data := p
	if len(s.buf) > 0 {
		s.buf = append(s.buf, p...)
		data = s.buf
	}
	for !s.ended { // what follows the terminator is no part of the answer
		event, rest, ok := cutEvent(data)
		if !ok {
			break
		}
		var err error
		if out, err = s.event(out, event); err != nil {
			return out, err
		}
		data = rest
	}
	if len(data) > maxEvent || len(s.tail) > maxEvent {
		return out, errEventTooLong
	}
	s.buf = append(s.buf[:0], data...)
	return out, nil
}

// cutEvent cuts the first event, with its blank line, from b. Lines may end with
// LF or CRLF.
func cutEvent(b []byte) (event, rest []byte, ok bool) {
	for from := 0; ; {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return nil, b, false
		}
		next := from + i + 1
		if next < len(b) && b[next] == '\n' {
			return b[:next+1], b[next+1:], true
		}
		if next+1 < len(b) && b[next] == '\r' && b[next+1] == '\n' {
			return b[:next+2], b[next+2:], true
		}
		from = next
	}
}

// event judges one event and shows or withholds it.
func (s *stream) event(out, event []byte) ([]byte, error) {
	payload, isData := dataOf(event)
	if !isData { // a comment or a field that means nothing here
		return s.show(out, event), nil
	}
	if string(payload) == "[DONE]" {
		s.ended = true
		s.tail = append(s.tail, event...)
		return out, nil
	}
	if !gjson.ValidBytes(payload) {
		return out, errMalformed
	}
	hide, err := s.read(payload)
	if err != nil {
		return out, err
	}
	if hide {
		return out, nil
	}
	if !s.showUsage {
		event = withoutUsage(event, payload)
	}
	return s.show(out, event), nil
}

func (s *stream) show(out, event []byte) []byte {
	if s.complete() {
		s.tail = append(s.tail, event...)
		return out
	}
	return append(out, event...)
}

// read takes from a chunk what the bill needs. hide is true for the chunk that
// only carries the usage block, when the client did not ask for it.
func (s *stream) read(payload []byte) (hide bool, err error) {
	chunk := gjson.ParseBytes(payload)
	if !chunk.IsObject() {
		return false, errMalformed
	}
	var usage, choices, failure gjson.Result
	chunk.ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case "usage":
			usage = value
		case "choices":
			choices = value
		case "error":
			failure = value
		}
		return true
	})
	if failure.Exists() && failure.Type != gjson.Null { // its words are for the log: they speak of the operator's affairs
		return false, fmt.Errorf("%w: %s", errReported, clip(failure.Get("message").String()))
	}
	n := 0
	choices.ForEach(func(_, choice gjson.Result) bool {
		n++
		s.readChoice(choice)
		return true
	})
	s.report(usage)
	if s.bound > 0 && s.chunks > s.bound {
		return false, errPastBound
	}
	return n == 0 && usage.IsObject() && !s.showUsage, nil
}

func (s *stream) readChoice(choice gjson.Result) {
	var index int64
	finish := false
	choice.ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case "index":
			index = value.Int()
		case "delta":
			s.delivered(contentLength(value))
		case "text":
			s.delivered(int64(len(value.Str)))
		case "finish_reason":
			finish = value.Type == gjson.String
		}
		return true
	})
	if finish && index >= 0 && index < s.answers {
		if s.finished == nil {
			s.finished = make(map[int64]bool, s.answers)
		}
		s.finished[index] = true
	}
}

// dataOf is the payload of an event: its data lines, joined as clients join them.
// These protocols send one, and then nothing is copied.
func dataOf(event []byte) (payload []byte, ok bool) {
	for line := range bytes.Lines(event) {
		rest, isData := bytes.CutPrefix(line, []byte("data:"))
		switch rest = bytes.TrimSpace(rest); {
		case !isData:
		case !ok:
			payload, ok = rest, true
		default:
			payload = append(append(slices.Clip(payload), '\n'), rest...)
		}
	}
	return payload, ok
}

// withoutUsage takes the usage block, which we asked for, out of an event that
// the client did not ask it in. The plain null that OpenAI sends is cut without
// parsing: an unescaped quote can't stand in a string.
func withoutUsage(event, payload []byte) []byte {
	if !bytes.Contains(payload, []byte(`"usage"`)) {
		return event
	}
	if cut := bytes.Replace(event, []byte(`,"usage":null`), nil, 1); len(cut) < len(event) {
		return cut
	}
	clean, err := sjson.DeleteBytes(bytes.Clone(payload), "usage")
	if err != nil {
		return event // it is valid JSON, so there is nothing that could fail
	}
	clean = bytes.ReplaceAll(clean, []byte{'\n'}, nil) // white space between two tokens: in strings it is escaped
	return append(append([]byte("data: "), clean...), "\n\n"...)
}

// pump reads from until the stream ends and calls show after each read, with what
// may be shown of it, which may be nothing. It returns nil when the answer was
// complete, io.EOF never.
func (s *stream) pump(from io.Reader, show func([]byte) error) error {
	in := make([]byte, 16<<10)
	var out []byte
	for {
		n, readErr := from.Read(in)
		if n > 0 {
			var err error
			out, err = s.feed(out[:0], in[:n])
			if err := errors.Join(show(out), err); err != nil {
				return err
			}
			if s.ended {
				readErr = io.EOF
			}
		}
		switch {
		case readErr == nil:
		case errors.Is(readErr, io.EOF) && s.complete():
			return nil
		case errors.Is(readErr, io.EOF):
			return errCutOff
		default:
			return readErr
		}
	}
}
