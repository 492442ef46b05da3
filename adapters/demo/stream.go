package demo

import (
	"context"
	"net/http"
	"strconv"
)

// stream is an answer by server-sent events, one for each token.
type stream struct {
	*exchange
	head  []byte // what each event starts with
	n     int    // events appended
	told  int    // tokens appended
	usage bool   // a usage block was appended
	shows usagePlace
}

const pushBytes = 16 << 10 // an unpaced stream is written in pieces of about this size

func (s *stream) run(ctx context.Context) {
	s.head = s.appendHeading([]byte("data: "), "chat.completion.chunk")
	s.shows = s.plan.usagePlace
	if s.shows == usageUnsaid && s.req.StreamOptions != nil && s.req.StreamOptions.IncludeUsage {
		s.shows = usageEnd
	}
	if s.plan.omitUsage {
		s.shows = usageUnsaid
	}
	if s.roles(ctx) && s.giant(ctx) && s.usageEvent(ctx, usageStart) &&
		s.contents(ctx) && s.finishes(ctx) &&
		s.usageEvent(ctx, usageEnd) && s.usageEvent(ctx, usageEvery) &&
		s.done(ctx) && s.push(ctx) && s.flush() {
		s.rec.Outcome = Complete
	}
}

// roles opens each choice; a call's name comes with it.
func (s *stream) roles(ctx context.Context) bool {
	for i := range s.choices {
		if !s.open(ctx, i) {
			return false
		}
		c := &s.choices[i]
		if c.tool == "" {
			s.buf = append(s.buf, `"role":"assistant","content":"","refusal":null`...)
		} else {
			s.buf = append(s.buf, `"role":"assistant","content":null,"tool_calls":[{"index":0,`...)
			s.buf = append(s.appendCall(s.buf, i, ""), `}],"refusal":null`...)
			s.told += c.tokens - Tokens(c.text)
		}
		if !s.close(ctx, c, "") {
			return false
		}
	}
	return true
}

// contents sends the choices' tokens, one of each in turn.
func (s *stream) contents(ctx context.Context) bool {
	ends := make([]int, len(s.choices))
	for more := true; more; {
		more = false
		for i := range s.choices {
			c := &s.choices[i]
			if ends[i] == len(c.text) {
				continue
			}
			more = true
			start := ends[i]
			ends[i] += tokenLen(c.text[start:])
			if !s.token(ctx, i, c.text[start:ends[i]]) {
				return false
			}
		}
	}
	return true
}

func (s *stream) token(ctx context.Context, i int, text string) bool {
	if !s.open(ctx, i) {
		return false
	}
	c := &s.choices[i]
	if c.tool == "" {
		s.buf = append(appendEscaped(append(s.buf, `"content":"`...), text), '"')
	} else {
		s.buf = append(s.buf, `"tool_calls":[{"index":0,"function":{"arguments":"`...)
		s.buf = append(appendEscaped(s.buf, text), `"}}]`...)
	}
	s.told++
	return s.close(ctx, c, text)
}

func (s *stream) finishes(ctx context.Context) bool {
	for i := range s.choices {
		if !s.before(ctx) {
			return false
		}
		s.buf = strconv.AppendInt(append(append(s.buf, s.head...), `{"index":`...), int64(i), 10)
		s.buf = append(s.buf, `,"delta":{},"logprobs":null,"finish_reason":"`...)
		s.buf = append(append(s.buf, s.choices[i].finish...), `"}]`...)
		if !s.end(ctx) {
			return false
		}
	}
	return true
}

// open starts the event of a choice, within its delta.
func (s *stream) open(ctx context.Context, i int) bool {
	if !s.before(ctx) {
		return false
	}
	s.buf = strconv.AppendInt(append(append(s.buf, s.head...), `{"index":`...), int64(i), 10)
	s.buf = append(s.buf, `,"delta":{`...)
	return true
}

// close ends the event of a choice that goes on.
func (s *stream) close(ctx context.Context, c *choice, token string) bool {
	s.buf = append(s.buf, `},"logprobs":`...)
	if token == "" {
		s.buf = append(s.buf, "null"...)
	} else {
		s.buf = s.appendLogprobs(s.buf, token, c)
	}
	s.buf = append(s.buf, `,"finish_reason":null}]`...)
	return s.end(ctx)
}

// end closes an event's document with the usage where it belongs.
func (s *stream) end(ctx context.Context) bool {
	switch s.shows {
	case usageUnsaid:
	case usageEvery:
		s.buf = s.appendUsage(append(s.buf, `,"usage":`...), s.told)
		s.usage = true
	case usageEnd, usageStart:
		s.buf = append(s.buf, `,"usage":null`...)
	}
	s.buf = append(s.buf, "}\n\n"...)
	return s.after(ctx)
}

// usageEvent sends the usage in an event of its own, if this is its place.
func (s *stream) usageEvent(ctx context.Context, place usagePlace) bool {
	if s.shows != place {
		return true
	}
	if !s.before(ctx) {
		return false
	}
	s.buf = append(append(s.buf, s.head...), `],"usage":`...)
	s.buf = append(s.appendUsage(s.buf, s.rec.CompletionTokens), "}\n\n"...)
	s.usage = true
	return s.after(ctx)
}

func (s *stream) done(ctx context.Context) bool {
	if s.plan.omitDone {
		return true
	}
	if !s.before(ctx) {
		return false
	}
	s.buf = append(s.buf, "data: [DONE]\n\n"...)
	return s.after(ctx)
}

func (s *stream) giant(ctx context.Context) bool {
	if s.plan.giant == 0 {
		return true
	}
	s.buf = append(append(s.buf, s.head...), `{"index":0,"delta":{"content":"`...)
	if !s.push(ctx) || !s.writeFiller(ctx) {
		return false
	}
	s.buf = append(s.buf, `"},"logprobs":null,"finish_reason":null}]}`+"\n\n"...)
	return s.push(ctx)
}

// before is what happens ahead of each event: the plan's breaks, then its pauses.
func (s *stream) before(ctx context.Context) bool {
	if s.plan.first != never && s.n >= s.plan.first && !s.scripted(ctx) {
		return false
	}
	if s.n > 0 {
		return s.wait(ctx, s.plan.interval)
	}
	if s.plan.ttft == 0 {
		return true
	}
	s.begin()
	return s.flush() && s.wait(ctx, s.plan.ttft)
}

// scripted breaks the stream where the plan says so; false when it ends here.
func (s *stream) scripted(ctx context.Context) bool {
	p := &s.plan
	if p.malformed == s.n {
		s.buf = append(s.buf, p.malformedText...)
	}
	switch s.n {
	case p.cut, p.stall:
		if s.n > 0 && (!s.push(ctx) || !s.flush()) {
			return false
		}
		return s.breakOff(ctx, s.n)
	case p.fail:
		s.buf = told(http.StatusInternalServerError, never).appendTo(append(s.buf, "data: "...))
		s.buf = append(s.buf, "\n\n"...)
	case p.end:
	default:
		return true
	}
	if s.push(ctx) && s.flush() {
		s.rec.Outcome = Cut
	}
	return false
}

// after is what happens behind each event: a paced one leaves at once.
func (s *stream) after(ctx context.Context) bool {
	s.n++
	switch {
	case s.plan.interval > 0:
		return s.push(ctx) && s.flush()
	case len(s.buf) >= pushBytes:
		return s.push(ctx)
	}
	return true
}

func (s *stream) begin() {
	s.w.Header().Set("Cache-Control", "no-cache")
	s.start(http.StatusOK, never)
}

// push hands what was appended to the connection, and counts it.
func (s *stream) push(ctx context.Context) bool {
	s.begin()
	if !s.write(ctx, s.buf) {
		return false
	}
	s.buf = s.buf[:0]
	s.rec.SentTokens, s.rec.Events, s.rec.UsageSent = s.told, s.n, s.usage
	return true
}
