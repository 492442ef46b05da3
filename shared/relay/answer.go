package relay

import (
	"math"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"
)

// tally is what has been received of an answer so far: the basis of the bill.
type tally struct {
	input, cached, output int64
	reported              bool   // by the backend's usage block
	raw                   []byte // the usage block as it came

	chunks int64 // deltas with content: each is at least one token
	bytes  int64 // of content
}

// maxRawUsage is the most of a usage block that is kept.
const maxRawUsage = 4096

// report takes over a usage block. A block of zeros is a report, a missing one is
// not.
func (t *tally) report(usage gjson.Result) {
	if !usage.IsObject() {
		return
	}
	prompt, completion := usage.Get("prompt_tokens"), usage.Get("completion_tokens")
	if !isCount(prompt) || !isCount(completion) {
		return // no count that anyone could be billed by
	}
	t.input, t.output = prompt.Int(), completion.Int()
	t.cached = min(max(0, usage.Get("prompt_tokens_details.cached_tokens").Int()), t.input)
	t.reported = true
	if raw := []byte(usage.Raw); storable(raw) {
		t.raw = raw
	}
}

// maxReported is the most tokens of a kind that a backend is believed: ten times the
// longest context there is.
const maxReported = 100_000_000

// isCount reports whether a number can be one of tokens. Some backends write whole
// numbers as 12.0.
func isCount(n gjson.Result) bool {
	return n.Type == gjson.Number && n.Num >= 0 && n.Num <= maxReported && n.Num == math.Trunc(n.Num)
}

// storable reports whether a usage block can stand in an event, which is JSON
// itself, and stricter than some backends are.
func storable(raw []byte) bool {
	return len(raw) <= maxRawUsage && jsontext.Value(raw).IsValid()
}

// delivered counts content. Every delta is at least a token, and four bytes are
// about one.
func (t *tally) delivered(content int64) {
	if content > 0 {
		t.chunks++
		t.bytes += content
	}
}

// estimate is the likely number of output tokens received.
func (t *tally) estimate() int64 { return max(t.chunks, (t.bytes+3)/4) }

// readAnswer reads an answer that was not streamed; false when it is no JSON
// object with choices, such as an error that came with the status 200.
func (t *tally) readAnswer(body []byte) bool {
	if !gjson.ValidBytes(body) {
		return false
	}
	answer := gjson.ParseBytes(body)
	choices := answer.Get("choices")
	if !answer.IsObject() || !choices.IsArray() {
		return false
	}
	t.report(answer.Get("usage"))
	if !t.reported {
		choices.ForEach(func(_, choice gjson.Result) bool {
			t.delivered(contentLength(choice.Get("message")))
			return true
		})
	}
	return true
}

// contentLength is the bytes of a message or delta that stand for output tokens.
func contentLength(m gjson.Result) int64 {
	var n int64
	m.ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case "content", "reasoning_content", "reasoning", "refusal":
			n += int64(len(value.Str))
		case "tool_calls", "function_call":
			n += int64(len(value.Raw))
		}
		return true
	})
	return n
}
