package demo

import (
	"fmt"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Behaviour tells the model how to treat a request. What is nil is not said. The
// positions ("_after") are counted in events of a stream ([DONE] included) or in
// bytes of the body of a whole answer; a position past the end does nothing.
type Behaviour struct {
	// DelayMS waits before the answer's headers, TTFTMS after a stream's headers
	// and before its first event, IntervalMS between its events. Milliseconds.
	DelayMS    *int `json:"delay_ms,omitempty"`
	TTFTMS     *int `json:"ttft_ms,omitempty"`
	IntervalMS *int `json:"interval_ms,omitempty"`

	// Tokens is how long the content of each choice is, if max_tokens and stop
	// allow. Calls of tools and JSON answers are as long as they are.
	Tokens *int `json:"tokens,omitempty"`

	// Status answers this status (300 to 599) with OpenAI's error object, and
	// with Retry-After in seconds if that is said. 3xx point to /v1/models.
	Status     *int `json:"status,omitempty"`
	RetryAfter *int `json:"retry_after,omitempty"`

	// CutAfter aborts the connection; at 0 no header was sent. StallAfter sends
	// nothing more until the client leaves, the model closes or the cap on a
	// request's duration is met, then aborts. EndAfter ends the answer in good
	// order, but too early. ErrorAfter sends an error event and ends (streams).
	CutAfter   *int `json:"cut_after,omitempty"`
	StallAfter *int `json:"stall_after,omitempty"`
	EndAfter   *int `json:"end_after,omitempty"`
	ErrorAfter *int `json:"error_after,omitempty"`

	// MalformedAfter puts Malformed (raw; by default broken JSON and a line that
	// is no SSE) into the answer. A stream goes on after it, a body ends with it.
	MalformedAfter *int    `json:"malformed_after,omitempty"`
	Malformed      *string `json:"malformed,omitempty"`

	// GiantLine is the length in bytes of a content sent on one line, right after
	// a stream's roles, or in the first choice of a whole answer. It is not
	// counted in the usage, nor as an event.
	GiantLine *int64 `json:"giant_line,omitempty"`

	// ContentType replaces the answer's, Body the whole of its body.
	ContentType *string `json:"content_type,omitempty"`
	Body        *string `json:"body,omitempty"`

	// OmitUsage leaves the usage out even if asked for, OmitDone a stream's last
	// line. Usage replaces single numbers, UsageRaw (any JSON) the whole block.
	OmitUsage *bool          `json:"omit_usage,omitempty"`
	OmitDone  *bool          `json:"omit_done,omitempty"`
	Usage     *UsageNumbers  `json:"usage,omitempty"`
	UsageRaw  jsontext.Value `json:"usage_raw,omitempty"`
	// UsageAt says where a stream's usage stands, asked for or not: "end",
	// "start" (an event before the first content) or "every" (in each event,
	// counting up, and at the end).
	UsageAt *string `json:"usage_at,omitempty"`
	// CachedTokens is how much of the prompt counts as cached, at most all of it.
	CachedTokens *int `json:"cached_tokens,omitempty"`

	// IgnoreCancel goes on answering when the client has left, until a write
	// fails.
	IgnoreCancel *bool `json:"ignore_cancel,omitempty"`
}

// UsageNumbers are numbers to state instead of the true ones. The total follows
// from the other two unless it is given.
type UsageNumbers struct {
	PromptTokens     *int64 `json:"prompt_tokens,omitempty"`
	CompletionTokens *int64 `json:"completion_tokens,omitempty"`
	TotalTokens      *int64 `json:"total_tokens,omitempty"`
	CachedTokens     *int64 `json:"cached_tokens,omitempty"`
}

const (
	headerPrefix = "X-Demo-"
	rawBytes     = 64 << 10 // cap of body, malformed and usage_raw
)

// over returns b with what o says laid over it.
func (b Behaviour) over(o Behaviour) Behaviour {
	dst, src := reflect.ValueOf(&b).Elem(), reflect.ValueOf(o)
	for i := range src.NumField() {
		if f := src.Field(i); !f.IsZero() {
			dst.Field(i).Set(f)
		}
	}
	return b
}

// readBehaviour reads instructions from a body's member, strictly.
func readBehaviour(raw []byte) (Behaviour, error) {
	var b Behaviour
	if err := json.Unmarshal(raw, &b, json.RejectUnknownMembers(true)); err != nil {
		return b, refuseJSON("demo", err)
	}
	return b, nil
}

// headerBehaviour reads the X-Demo- headers. It makes the document out of them
// that the body could have carried, so that both forms know the same names.
func headerBehaviour(h http.Header) (Behaviour, bool, error) {
	doc := []byte{'{'}
	for name, values := range h {
		if !strings.HasPrefix(name, headerPrefix) || len(values) == 0 {
			continue
		}
		if len(doc) > 1 {
			doc = append(doc, ',')
		}
		member := strings.ReplaceAll(strings.ToLower(name[len(headerPrefix):]), "-", "_")
		doc = append(appendString(doc, member), ':')
		if v := jsontext.Value(values[0]); v.IsValid() {
			doc = append(doc, v...)
		} else {
			doc = appendString(doc, strings.ToValidUTF8(values[0], "?"))
		}
	}
	if len(doc) == 1 {
		return Behaviour{}, false, nil
	}
	b, err := readBehaviour(append(doc, '}'))
	return b, true, err
}

// check refuses what is past its cap.
func (b *Behaviour) check(l Limits) error {
	ms := int(l.Delay / time.Millisecond)
	for _, c := range []struct {
		name     string
		value    *int
		min, max int
	}{
		{"delay_ms", b.DelayMS, 0, ms},
		{"ttft_ms", b.TTFTMS, 0, ms},
		{"interval_ms", b.IntervalMS, 0, ms},
		{"tokens", b.Tokens, 1, l.Tokens},
		{"status", b.Status, 300, 599},
		{"retry_after", b.RetryAfter, 0, 86400},
		{"cut_after", b.CutAfter, 0, maxPosition},
		{"stall_after", b.StallAfter, 0, maxPosition},
		{"end_after", b.EndAfter, 0, maxPosition},
		{"error_after", b.ErrorAfter, 0, maxPosition},
		{"malformed_after", b.MalformedAfter, 0, maxPosition},
		{"cached_tokens", b.CachedTokens, 0, maxPosition},
		{"malformed", length(b.Malformed), 0, rawBytes},
		{"body", length(b.Body), 0, rawBytes},
		{"usage_raw", new(len(b.UsageRaw)), 0, rawBytes},
	} {
		if c.value != nil && (*c.value < c.min || *c.value > c.max) {
			return refuse("demo."+c.name, fmt.Sprintf("demo.%s must be between %d and %d.", c.name, c.min, c.max))
		}
	}
	if b.GiantLine != nil && (*b.GiantLine < 0 || *b.GiantLine > l.GiantLine) {
		return refuse("demo.giant_line", fmt.Sprintf("demo.giant_line must be between 0 and %d.", l.GiantLine))
	}
	return b.checkNames()
}

func (b *Behaviour) checkNames() error {
	if b.ContentType != nil {
		if _, _, err := mime.ParseMediaType(*b.ContentType); err != nil {
			return refuse("demo.content_type", "demo.content_type must be a media type.")
		}
	}
	if b.UsageAt != nil && usageAt(*b.UsageAt) == usageUnsaid {
		return refuse("demo.usage_at", "demo.usage_at must be \"end\", \"start\" or \"every\".")
	}
	return nil
}

func length(s *string) *int {
	if s == nil {
		return nil
	}
	return new(len(*s))
}

type usagePlace uint8

const (
	usageUnsaid usagePlace = iota
	usageEnd
	usageStart
	usageEvery
)

func usageAt(s string) usagePlace {
	switch s {
	case "end":
		return usageEnd
	case "start":
		return usageStart
	case "every":
		return usageEvery
	}
	return usageUnsaid
}

const (
	never        = -1
	maxPosition  = 1 << 30
	brokenStream = "data: {\"id\":\"chatcmpl-broken\",\"choices\":[{\"delta\":{\"content\":\n\nthis line is no event\n\n"
	brokenBody   = "{\"id\":"
)

// plan is a Behaviour made ready for the hot path.
type plan struct {
	delay, ttft, interval time.Duration
	cut, stall, end       int // positions; never for none
	fail, malformed       int
	first                 int // the least of them; never for none
	malformedText         string
	giant                 int64
	contentType           string
	usagePlace            usagePlace
	omitUsage, omitDone   bool
	ignoreCancel          bool
}

// plan is the plan for a whole answer.
func (b *Behaviour) plan() plan {
	p := plan{
		delay: millis(b.DelayMS), ttft: millis(b.TTFTMS), interval: millis(b.IntervalMS),
		cut: position(b.CutAfter), stall: position(b.StallAfter), end: position(b.EndAfter),
		fail: position(b.ErrorAfter), malformed: position(b.MalformedAfter), first: never,
		giant: value(b.GiantLine), omitUsage: value(b.OmitUsage), omitDone: value(b.OmitDone),
		ignoreCancel: value(b.IgnoreCancel), usagePlace: usageAt(value(b.UsageAt)),
		contentType: "application/json", malformedText: brokenBody,
	}
	if b.ContentType != nil {
		p.contentType = *b.ContentType
	}
	if b.Malformed != nil {
		p.malformedText = *b.Malformed
	}
	for _, at := range []int{p.cut, p.stall, p.end, p.fail, p.malformed} {
		if at != never && (p.first == never || at < p.first) {
			p.first = at
		}
	}
	return p
}

// streamed is the plan for a stream, where nothing else was said.
func (p plan) streamed(b *Behaviour) plan {
	if b.ContentType == nil {
		p.contentType = "text/event-stream; charset=utf-8"
	}
	if b.Malformed == nil {
		p.malformedText = brokenStream
	}
	return p
}

// timed reports whether the plan may keep a request waiting.
func (p *plan) timed() bool {
	return p.delay > 0 || p.ttft > 0 || p.interval > 0 || p.stall != never
}

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func position(p *int) int {
	if p == nil {
		return never
	}
	return *p
}

func millis(p *int) time.Duration { return time.Duration(value(p)) * time.Millisecond }
