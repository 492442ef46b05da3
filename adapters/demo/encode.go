package demo

import (
	"strconv"
	"unicode/utf8"
)

// The answers are appended by hand: the model shares a process, and its CPU, with
// the gateway on a laptop, and is what the gateway's cost is measured against.

// appendString appends a JSON string. Besides what JSON demands it escapes what
// would mean something to a browser that was told the wrong content type.
func appendString(b []byte, s string) []byte {
	return append(appendEscaped(append(b, '"'), s), '"')
}

func appendEscaped(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	done := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' && c < utf8.RuneSelf {
			continue
		}
		if c >= utf8.RuneSelf {
			continue // what was read is valid UTF-8
		}
		b = append(b, s[done:i]...)
		done = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		case '\t':
			b = append(b, `\t`...)
		case '\r':
			b = append(b, `\r`...)
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(b, s[done:]...)
}

// appendHeading writes what an answer and each event of it start with.
func (e *exchange) appendHeading(b []byte, object string) []byte {
	b = append(append(append(b, `{"id":"`...), e.rec.ID...), `","object":"`...)
	b = append(append(b, object...), `","created":`...)
	b = strconv.AppendInt(b, e.rec.At.Unix(), 10)
	b = appendString(append(b, `,"model":`...), e.req.Model)
	return append(b, `,"service_tier":"default","system_fingerprint":"fp_demo","choices":[`...)
}

// appendWhole writes the answer that is not streamed. mark is where the content
// of the first choice begins.
func (e *exchange) appendWhole(b []byte) (body []byte, mark int) {
	b = e.appendHeading(b, "chat.completion")
	for i := range e.choices {
		c := &e.choices[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(append(b, `{"index":`...), int64(i), 10)
		b = append(b, `,"message":{"role":"assistant","content":`...)
		if c.tool == "" {
			b = append(b, '"')
			if i == 0 {
				mark = len(b)
			}
			b = append(appendEscaped(b, c.text), '"')
		} else {
			b = append(e.appendCall(append(b, `null,"tool_calls":[{`...), i, c.text), "}]"...)
		}
		b = append(b, `,"refusal":null,"annotations":[]},"logprobs":`...)
		b = e.appendLogprobs(b, c.text, c)
		b = append(append(append(b, `,"finish_reason":"`...), c.finish...), `"}`...)
	}
	b = append(b, ']')
	if !e.plan.omitUsage {
		b = e.appendUsage(append(b, `,"usage":`...), e.rec.CompletionTokens)
	}
	return append(b, '}'), mark
}

// appendCall writes a call's members but its index.
func (e *exchange) appendCall(b []byte, i int, arguments string) []byte {
	b = append(append(append(b, `"id":"call_`...), e.rec.ID...), '_')
	b = strconv.AppendInt(b, int64(i), 10)
	b = appendString(append(b, `","type":"function","function":{"name":`...), e.choices[i].tool)
	return append(appendString(append(b, `,"arguments":`...), arguments), '}')
}

// appendLogprobs writes the log-probabilities of a text that is a whole content
// or one token of it. Each token is as likely as the next.
func (e *exchange) appendLogprobs(b []byte, text string, c *choice) []byte {
	if !e.req.Logprobs || c.tool != "" {
		return append(b, "null"...)
	}
	b = append(b, `{"content":[`...)
	for first := true; text != ""; first = false {
		n := tokenLen(text)
		if !first {
			b = append(b, ',')
		}
		b = append(appendLogprob(append(b, '{'), text[:n]), `,"top_logprobs":[`...)
		if value(e.req.TopLogprobs) > 0 {
			b = append(appendLogprob(append(b, '{'), text[:n]), '}')
		}
		b = append(b, "]}"...)
		text = text[n:]
	}
	return append(b, `],"refusal":null}`...)
}

func appendLogprob(b []byte, token string) []byte {
	b = append(appendString(append(b, `"token":`...), token), `,"logprob":-0.25,"bytes":[`...)
	for i := range len(token) {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(token[i]), 10)
	}
	return append(b, ']')
}

// appendUsage writes the usage block after so many tokens, or what an
// instruction wants in its place, and notes what was stated.
func (e *exchange) appendUsage(b []byte, completion int) []byte {
	if len(e.behaviour.UsageRaw) > 0 {
		return append(b, e.behaviour.UsageRaw...)
	}
	u := e.usage(completion)
	e.rec.Stated = u
	b = strconv.AppendInt(append(b, `{"prompt_tokens":`...), u.Prompt, 10)
	b = strconv.AppendInt(append(b, `,"completion_tokens":`...), u.Completion, 10)
	b = strconv.AppendInt(append(b, `,"total_tokens":`...), u.Total, 10)
	b = strconv.AppendInt(append(b, `,"prompt_tokens_details":{"cached_tokens":`...), u.Cached, 10)
	return append(b, `,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,`+
		`"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}`...)
}

func (e *exchange) usage(completion int) Usage {
	u := Usage{
		Prompt: int64(e.rec.PromptTokens), Completion: int64(completion),
		Cached: int64(min(value(e.behaviour.CachedTokens), e.rec.PromptTokens)),
	}
	o := e.behaviour.Usage
	if o == nil {
		u.Total = u.Prompt + u.Completion
		return u
	}
	replace(&u.Prompt, o.PromptTokens)
	replace(&u.Completion, o.CompletionTokens)
	u.Total = u.Prompt + u.Completion
	replace(&u.Total, o.TotalTokens)
	replace(&u.Cached, o.CachedTokens)
	return u
}

func replace(n *int64, with *int64) {
	if with != nil {
		*n = *with
	}
}
