package relay

import (
	"bytes"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"

	"github.com/aiaas/aiaas/shared/fault"
)

// Chat is a chat completion request, read strictly. What is sent on is built from
// the members read here, so the backend can't read the request differently from
// the way it was judged.
type Chat struct {
	Model        string
	Stream       bool
	IncludeUsage bool   // the client asked for the usage chunk
	RequestID    string // the caller's own name of the request: an idempotency key, not passed on
	N            int64  // answers asked for; 1 where not said
	MaxOutput    int64  // tokens an answer may have; 0 where not said

	body     []byte
	members  []member
	messages int
	images   int
	// unbounded names what makes the cost of the request unknowable beforehand.
	unbounded string
}

type member struct {
	name  string
	value []byte // within body
}

const (
	maxDepth   = 100
	maxAnswers = 128
	maxTokens  = 1 << 40 // more than any model; products with prices stay far from overflow
)

// Every token of a prompt has at least one byte, but templates and images add
// tokens that no byte stands for.
const (
	tokensPerRequest = 128
	tokensPerMessage = 16
	// The dearest known: gpt-4o-mini counts 2,833 tokens and 5,667 for each of up to
	// eight tiles.
	tokensPerImage = 50_000
)

// InputBound is the most input tokens that the request can have.
func (c *Chat) InputBound() int64 {
	return int64(len(c.body)) + tokensPerRequest + tokensPerMessage*int64(c.messages) + tokensPerImage*int64(c.images)
}

// InputEstimate is the likely number of input tokens.
func (c *Chat) InputEstimate() int64 { return int64(len(c.body)+3) / 4 }

// OutputBound is the most output tokens, where the backend is told the same.
func (c *Chat) OutputBound(modelMax int64) int64 {
	if c.MaxOutput > 0 {
		return c.N * c.MaxOutput
	}
	return c.N * modelMax
}

// Unbounded says why the cost of the request has no bound, or "".
func (c *Chat) Unbounded() string { return c.unbounded }

//nolint:gochecknoglobals // a pool is shared by nature
var decoders = sync.Pool{New: func() any { return jsontext.NewDecoder(bytes.NewReader(nil)) }}

// ParseChat reads a request. Malformed JSON, duplicate members, invalid UTF-8,
// absurd depth and trailing data are fault.Invalid, and so are members of the
// wrong type; members that the gateway does not interpret are passed on as they
// are. The result refers to body.
func ParseChat(body []byte) (*Chat, error) {
	if depth(body) > maxDepth {
		return nil, fault.New(fault.Invalid, "the JSON is nested too deeply")
	}
	c := &Chat{N: 1, body: body, members: make([]member, 0, 16)}
	if err := c.read(); err != nil {
		return nil, err
	}
	if c.Model == "" {
		return nil, missing("model")
	}
	if c.messages == 0 {
		return nil, missing("messages")
	}
	return c, nil
}

func (c *Chat) read() error {
	dec, _ := decoders.Get().(*jsontext.Decoder)
	defer decoders.Put(dec)
	dec.Reset(bytes.NewBuffer(c.body))
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
		return unreadable(err)
	}
	for dec.PeekKind() != '}' {
		tok, err := dec.ReadToken()
		if err != nil {
			return unreadable(err)
		}
		name := tok.String()
		value, err := dec.ReadValue()
		if err != nil {
			return unreadable(err)
		}
		end := dec.InputOffset()
		m := member{name: name, value: c.body[end-int64(len(value)) : end]}
		if string(value) == "null" && slices.Contains(interpreted(), name) {
			continue // as good as absent, as it is for OpenAI
		}
		if err := c.interpret(m); err != nil {
			return err
		}
		if name == "request_id" {
			continue
		}
		c.members = append(c.members, m)
	}
	if _, err := dec.ReadToken(); err != nil {
		return unreadable(err)
	}
	if _, err := dec.ReadToken(); err != io.EOF { //nolint:errorlint // the decoder returns it bare
		return fault.New(fault.Invalid, "there is more than one JSON value in the body")
	}
	return nil
}

func unreadable(err error) error {
	if err == nil {
		return fault.New(fault.Invalid, "the body must be a JSON object")
	}
	if strings.Contains(err.Error(), "duplicate") {
		return fault.New(fault.Invalid, "the JSON has a duplicate member")
	}
	return fault.New(fault.Invalid, "the body is not valid JSON")
}

func missing(name string) error {
	return fault.New(fault.Invalid, "%q is missing", name).At(name)
}

func wrong(name, want string) error {
	return fault.New(fault.Invalid, "%q must be %s", name, want).At(name)
}

// interpreted lists the members that the gateway judges by.
func interpreted() []string {
	return []string{
		"model", "messages", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens", "tools",
		"web_search_options", "prediction", "audio", "previous_response_id", "conversation", "request_id",
	}
}

// interpret reads the members that the gateway judges by.
func (c *Chat) interpret(m member) error {
	switch m.name {
	case "model":
		return text(m, &c.Model)
	case "messages":
		return c.readMessages(m)
	case "request_id":
		return text(m, &c.RequestID)
	case "stream":
		return boolean(m, &c.Stream)
	case "stream_options":
		return c.readStreamOptions(m)
	case "n":
		return integer(m, maxAnswers, &c.N)
	case "max_tokens", "max_completion_tokens":
		var v int64
		if err := integer(m, maxTokens, &v); err != nil {
			return err
		}
		c.MaxOutput = max(c.MaxOutput, v)
		return nil
	case "tools":
		if string(m.value) != "null" {
			c.readTools(m.value)
		}
		return nil
	case "web_search_options", "prediction", "audio", "previous_response_id", "conversation":
		c.unbounded = m.name
		return nil
	}
	return lookalike(m.name)
}

// lookalike refuses members that differ from an interpreted one in case alone:
// some backends read names without regard to case.
func lookalike(name string) error {
	const longest = 64 // bytes that a folded form of a known name may have
	if len(name) > longest {
		return nil
	}
	for _, known := range interpreted() {
		if strings.EqualFold(name, known) {
			return fault.New(fault.Invalid, "%q must be written %q", name, known).At(known)
		}
	}
	return nil
}

func text(m member, to *string) error {
	v, err := jsontext.AppendUnquote(nil, m.value)
	if err != nil || len(v) == 0 || len(v) > 200 || bytes.ContainsAny(v, "\r\n\x00") {
		return wrong(m.name, "a string of 1 to 200 bytes")
	}
	*to = string(v)
	return nil
}

func boolean(m member, to *bool) error {
	switch string(m.value) {
	case "true":
		*to = true
	case "false":
		*to = false
	default:
		return wrong(m.name, "true or false")
	}
	return nil
}

func integer(m member, most int64, to *int64) error {
	v, err := strconv.ParseInt(string(m.value), 10, 64)
	if err != nil || v < 1 || v > most {
		return wrong(m.name, "a whole number between 1 and "+strconv.FormatInt(most, 10))
	}
	*to = v
	return nil
}

func (c *Chat) readStreamOptions(m member) error {
	if m.value[0] != '{' {
		return wrong(m.name, "an object")
	}
	switch v := gjson.GetBytes(m.value, "include_usage"); v.Type {
	case gjson.True:
		c.IncludeUsage = true
	case gjson.False, gjson.Null:
	default:
		return wrong("stream_options.include_usage", "true or false")
	}
	return nil
}

func (c *Chat) readMessages(m member) error {
	if m.value[0] != '[' {
		return wrong(m.name, "an array")
	}
	ok := true
	parts := bytes.IndexByte(m.value[1:], '[') >= 0 // content that is not plain text is an array
	gjson.ParseBytes(m.value).ForEach(func(_, msg gjson.Result) bool {
		ok = msg.IsObject()
		c.messages++
		if parts {
			c.readParts(msg.Get("content"))
		}
		return ok
	})
	if !ok {
		return wrong(m.name, "an array of objects")
	}
	return nil
}

// readTools looks for tools that the backend runs itself: what they read costs
// tokens that no byte of the body stands for.
func (c *Chat) readTools(tools []byte) {
	gjson.ParseBytes(tools).ForEach(func(_, tool gjson.Result) bool {
		switch kind := tool.Get("type").String(); kind {
		case "function", "custom":
		default:
			c.unbounded = "tools: one of type " + strconv.Quote(clip(kind))
		}
		return true
	})
}

// readParts looks at the parts of a message for what costs tokens that are not in
// the body.
func (c *Chat) readParts(content gjson.Result) {
	if !content.IsArray() {
		return
	}
	content.ForEach(func(_, part gjson.Result) bool {
		switch kind := part.Get("type").String(); kind {
		case "text", "refusal", "input_audio":
		case "image_url":
			c.images++
			if url := part.Get("image_url.url").String(); !strings.HasPrefix(url, "data:") {
				c.unbounded = "messages: an image that is not in the request itself"
			}
		default:
			c.unbounded = "messages: a part of type " + strconv.Quote(clip(kind))
		}
		return true
	})
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

// depth is how deeply arrays and objects are nested. Brackets in strings don't
// count; whether the text is JSON at all is for the decoder to say.
func depth(b []byte) int {
	level, deepest := 0, 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i = skipString(b, i+1)
		case '{', '[':
			level++
			deepest = max(deepest, level)
		case '}', ']':
			level--
		}
	}
	return deepest
}

// skipString returns the index of the quote that ends a string.
func skipString(b []byte, i int) int {
	for i < len(b) {
		q := bytes.IndexByte(b[i:], '"')
		if q < 0 {
			return len(b)
		}
		end := i + q
		slashes := 0
		for k := end - 1; k >= i && b[k] == '\\'; k-- {
			slashes++
		}
		if slashes%2 == 0 {
			return end
		}
		i = end + 1
	}
	return i
}

// Forward is the request as it goes to a backend: the same members, with the
// backend's name of the model, the usage block asked for, and, where bound is not
// 0 and the client set none, the output bound.
func (c *Chat) Forward(upstreamModel string, bound int64) []byte {
	out := make([]byte, 0, len(c.body)+128)
	out = append(out, '{')
	for _, m := range c.members {
		switch m.name {
		case "model":
			out = appendName(out, m.name)
			out, _ = jsontext.AppendQuote(out, upstreamModel)
			continue
		case "stream_options":
			if c.Stream {
				continue // written below
			}
		}
		out = appendName(out, m.name)
		out = append(out, m.value...)
	}
	if c.Stream {
		out = appendName(out, "stream_options")
		out = c.appendStreamOptions(out)
	}
	if bound > 0 && c.MaxOutput == 0 {
		out = appendName(out, "max_completion_tokens")
		out = strconv.AppendInt(out, bound, 10)
	}
	return append(out, '}')
}

// appendStreamOptions asks for the usage block, and keeps what else the client
// asked for.
func (c *Chat) appendStreamOptions(out []byte) []byte {
	out = append(out, `{"include_usage":true`...)
	for _, m := range c.members {
		if m.name != "stream_options" || m.value[0] != '{' {
			continue
		}
		gjson.ParseBytes(m.value).ForEach(func(name, value gjson.Result) bool {
			if name.String() != "include_usage" {
				out = append(append(append(out, ','), name.Raw...), ':')
				out = append(out, value.Raw...)
			}
			return true
		})
	}
	return append(out, '}')
}

func appendName(out []byte, name string) []byte {
	if len(out) > 1 {
		out = append(out, ',')
	}
	out, _ = jsontext.AppendQuote(out, name) // the decoder has checked its UTF-8
	return append(out, ':')
}
