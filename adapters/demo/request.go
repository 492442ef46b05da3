package demo

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// request is what the model reads of a chat completion; other members are left
// alone, as most servers of this protocol do.
type request struct {
	Model               string          `json:"model"`
	Messages            []message       `json:"messages"`
	Stream              bool            `json:"stream"`
	StreamOptions       *streamOptions  `json:"stream_options"`
	MaxTokens           *int64          `json:"max_tokens"`
	MaxCompletionTokens *int64          `json:"max_completion_tokens"`
	N                   *int            `json:"n"`
	Stop                jsontext.Value  `json:"stop"`
	Tools               []tool          `json:"tools"`
	ToolChoice          jsontext.Value  `json:"tool_choice"`
	ResponseFormat      *responseFormat `json:"response_format"`
	Logprobs            bool            `json:"logprobs"`
	TopLogprobs         *int            `json:"top_logprobs"`
	Seed                int64           `json:"seed"`
	Temperature         *float64        `json:"temperature"`
	TopP                *float64        `json:"top_p"`
	PresencePenalty     *float64        `json:"presence_penalty"`
	FrequencyPenalty    *float64        `json:"frequency_penalty"`
	Demo                jsontext.Value  `json:"demo"`

	// What check makes of it.
	choices int
	most    int // tokens of each choice
	stops   []string
	call    *function // the tool that must be called
	noTools bool
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type message struct {
	Role       string         `json:"role"`
	Content    jsontext.Value `json:"content"`
	Name       string         `json:"name"`
	ToolCalls  jsontext.Value `json:"tool_calls"`
	ToolCallID string         `json:"tool_call_id"`

	text   string // of all its parts
	tokens int
}

type part struct {
	Type string  `json:"type"`
	Text *string `json:"text"`
}

type tool struct {
	Type     string   `json:"type"`
	Function function `json:"function"`
}

type function struct {
	Name        string         `json:"name"`
	Description string         `json:"description"`
	Parameters  jsontext.Value `json:"parameters"`
}

type responseFormat struct {
	Type       string `json:"type"`
	JSONSchema struct {
		Name   string         `json:"name"`
		Schema jsontext.Value `json:"schema"`
	} `json:"json_schema"`
}

const (
	promptOverhead  = 3
	messageOverhead = 3
	otherPartTokens = 8 // no part that is not text has fewer bytes
)

// readRequest reads and checks a request, strictly in what it reads.
func readRequest(body []byte, l Limits) (*request, error) {
	req := &request{}
	if err := json.Unmarshal(body, req); err != nil {
		return nil, refuseJSON("", err)
	}
	for _, check := range []func() error{
		req.checkNumbers, req.checkRanges, func() error { return req.checkLengths(l) },
		req.readMessages, req.readStop, req.checkTools, req.readToolChoice, req.checkFormat,
	} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return req, nil
}

func (r *request) checkNumbers() error {
	switch {
	case r.Model == "":
		return refuse("model", "You must provide a model parameter.")
	case r.StreamOptions != nil && !r.Stream:
		return refuse("stream_options", "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
	case r.TopLogprobs != nil && !r.Logprobs:
		return refuse("top_logprobs", "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.")
	case r.TopLogprobs != nil && (*r.TopLogprobs < 0 || *r.TopLogprobs > 20):
		return refuse("top_logprobs", "Invalid 'top_logprobs': must be between 0 and 20.")
	}
	return nil
}

func (r *request) checkRanges() error {
	for _, c := range []struct {
		name     string
		value    *float64
		min, max float64
	}{
		{"temperature", r.Temperature, 0, 2},
		{"top_p", r.TopP, 0, 1},
		{"presence_penalty", r.PresencePenalty, -2, 2},
		{"frequency_penalty", r.FrequencyPenalty, -2, 2},
	} {
		if c.value != nil && (*c.value < c.min || *c.value > c.max) {
			return refuse(c.name, fmt.Sprintf("Invalid '%s': must be between %g and %g.", c.name, c.min, c.max))
		}
	}
	return nil
}

// checkLengths settles how many choices of how many tokens may be answered. More
// than the model ever says is no error: the answer just ends before.
func (r *request) checkLengths(l Limits) error {
	r.choices, r.most = 1, l.Tokens
	if r.N != nil {
		if r.choices = *r.N; r.choices < 1 || r.choices > l.Choices {
			return refuse("n", fmt.Sprintf("Invalid 'n': must be between 1 and %d.", l.Choices))
		}
	}
	for _, c := range []struct {
		name  string
		value *int64
	}{{"max_tokens", r.MaxTokens}, {"max_completion_tokens", r.MaxCompletionTokens}} {
		if c.value == nil {
			continue
		}
		if *c.value < 1 {
			return refuse(c.name, "Invalid '"+c.name+"': must be at least 1.")
		}
		r.most = int(min(int64(r.most), *c.value))
	}
	return nil
}

func (r *request) readMessages() error {
	if len(r.Messages) == 0 {
		return refuse("messages", "Invalid 'messages': expected at least one message.")
	}
	for i := range r.Messages {
		m := &r.Messages[i]
		if !slices.Contains([]string{"system", "developer", "user", "assistant", "tool", "function"}, m.Role) {
			return refuse(at(i, "role"), "Invalid value for '"+at(i, "role")+"'.")
		}
		if m.Role == "tool" && m.ToolCallID == "" {
			return refuse(at(i, "tool_call_id"), "Missing required parameter: '"+at(i, "tool_call_id")+"'.")
		}
		if !m.readContent() {
			return refuse(at(i, "content"), "Invalid value for '"+at(i, "content")+"'.")
		}
		m.tokens += messageOverhead + Tokens(m.Name) + rawTokens(m.ToolCalls)
	}
	return nil
}

func at(i int, member string) string { return fmt.Sprintf("messages[%d].%s", i, member) }

// readContent takes the three forms that a content has: text, parts, and nothing
// beside an assistant's tool calls.
func (m *message) readContent() bool {
	switch m.Content.Kind() {
	case '"':
		text, err := jsontext.AppendUnquote(nil, m.Content)
		m.text = string(text)
		m.tokens = Tokens(m.text)
		return err == nil
	case '[':
		return m.readParts()
	case 'n', 0:
		return m.Role == "assistant" && m.ToolCalls.Kind() == '['
	default:
		return false
	}
}

func (m *message) readParts() bool {
	var parts []part
	if json.Unmarshal(m.Content, &parts) != nil || len(parts) == 0 {
		return false
	}
	texts := make([]string, 0, len(parts))
	for _, p := range parts {
		switch {
		case p.Type == "":
			return false
		case p.Type != "text" && p.Type != "refusal":
			m.tokens += otherPartTokens
		case p.Text == nil:
			return false
		default:
			m.tokens += Tokens(*p.Text)
			texts = append(texts, *p.Text)
		}
	}
	m.text = strings.Join(texts, "\n")
	return true
}

func (r *request) readStop() error {
	switch r.Stop.Kind() {
	case 0, 'n':
		return nil
	case '"':
		var one string
		if json.Unmarshal(r.Stop, &one) == nil {
			r.stops = []string{one}
		}
	case '[':
		if json.Unmarshal(r.Stop, &r.stops) != nil {
			r.stops = nil
		}
	default:
	}
	if len(r.stops) == 0 || len(r.stops) > 4 || slices.Contains(r.stops, "") {
		return refuse("stop", "Invalid 'stop': expected a string or an array of one to four strings, none empty.")
	}
	return nil
}

func (r *request) checkTools() error {
	if len(r.Tools) > 128 {
		return refuse("tools", "Invalid 'tools': at most 128 are allowed.")
	}
	for i, t := range r.Tools {
		switch {
		case t.Type != "function":
			return refuse(fmt.Sprintf("tools[%d].type", i), "Invalid tool type: only 'function' is known.")
		case t.Function.Name == "" || len(t.Function.Name) > 64:
			return refuse(fmt.Sprintf("tools[%d].function.name", i), "A function's name has 1 to 64 characters.")
		case !objectOrNone(t.Function.Parameters):
			return refuse(fmt.Sprintf("tools[%d].function.parameters", i), "A function's parameters are a JSON schema.")
		}
	}
	return nil
}

func objectOrNone(v jsontext.Value) bool {
	k := v.Kind()
	return k == 0 || k == 'n' || k == '{'
}

func (r *request) readToolChoice() error {
	bad := refuse("tool_choice", "Invalid 'tool_choice': expected 'none', 'auto', 'required' or one of the given functions.")
	kind := r.ToolChoice.Kind()
	if kind == 0 || kind == 'n' {
		return nil
	}
	if len(r.Tools) == 0 {
		return refuse("tool_choice", "'tool_choice' is only allowed when 'tools' are specified.")
	}
	var named struct {
		Type     string `json:"type"`
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	}
	switch {
	case kind == '"':
		switch string(r.ToolChoice) {
		case `"none"`:
			r.noTools = true
		case `"required"`:
			r.call = &r.Tools[0].Function
		case `"auto"`:
		default:
			return bad
		}
		return nil
	case json.Unmarshal(r.ToolChoice, &named) != nil || named.Type != "function":
		return bad
	}
	i := slices.IndexFunc(r.Tools, func(t tool) bool { return t.Function.Name == named.Function.Name })
	if i < 0 {
		return bad
	}
	r.call = &r.Tools[i].Function
	return nil
}

func (r *request) checkFormat() error {
	f := r.ResponseFormat
	if f == nil {
		return nil
	}
	switch f.Type {
	case "text", "json_object":
		return nil
	case "json_schema":
		if f.JSONSchema.Name == "" {
			return refuse("response_format.json_schema.name", "Missing required parameter: 'response_format.json_schema.name'.")
		}
		if !objectOrNone(f.JSONSchema.Schema) {
			return refuse("response_format.json_schema.schema", "The schema must be an object.")
		}
		return nil
	}
	return refuse("response_format.type", "Invalid value: supported are 'text', 'json_object' and 'json_schema'.")
}

// promptTokens is what the usage says of the prompt.
func (r *request) promptTokens() int {
	n := promptOverhead
	for i := range r.Messages {
		n += r.Messages[i].tokens
	}
	for i := range r.Tools {
		f := &r.Tools[i].Function
		n += Tokens(f.Name) + Tokens(f.Description) + rawTokens(f.Parameters)
	}
	if r.ResponseFormat != nil {
		n += rawTokens(r.ResponseFormat.JSONSchema.Schema)
	}
	return n
}

// rawTokens counts JSON, however it was indented.
func rawTokens(v jsontext.Value) int {
	if k := v.Kind(); k == 0 || k == 'n' {
		return 0
	}
	if v.Compact() != nil {
		return 0 // can't be: it was read as JSON
	}
	return Tokens(string(v))
}
