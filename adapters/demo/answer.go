package demo

import (
	"slices"
	"strings"
)

// choice is one answer to a prompt.
type choice struct {
	text   string // the content, or a call's arguments
	tool   string // the function that is called; "" for a content
	finish string
	tokens int // of all of it, the tool's name included
}

const (
	finishStop   = "stop"
	finishLength = "length"
	finishTools  = "tool_calls"

	quotedTokens = 48 // of the user's message in the answer
)

// sentence is one of the texts that answers are filled with.
func sentence(i int64) string {
	switch uint64(i) % 4 { //nolint:gosec // any seed picks a text, negative ones too
	case 0:
		return " This is the demo model: it answers the same request the same way, so that you can try keys, streaming, budgets and billing before you connect a real model."
	case 1:
		return " No model was asked: the demo model makes its answers from your request alone, and counts every token of them."
	case 2:
		return " Whatever you send, the demo model stays calm, costs little and never makes anything up."
	}
	return " Connect a backend such as vLLM or OpenAI, and the same call will reach a real model."
}

// choose makes the answers to a request. wanted is the length in tokens that an
// instruction asks of each content; 0 for none.
func (r *request) choose(wanted int) []choice {
	choices := make([]choice, r.choices)
	call := r.toCall()
	for i := range choices {
		c := &choices[i]
		switch {
		case call != nil:
			c.callWith(call, r.most)
			continue
		case r.ResponseFormat != nil && r.ResponseFormat.Type == "json_schema":
			c.text = sample(r.ResponseFormat.JSONSchema.Schema)
		case r.ResponseFormat != nil && r.ResponseFormat.Type == "json_object":
			c.text = string(append(appendString([]byte(`{"model":"demo","answer":`), r.opening()), '}'))
		default:
			c.text = r.prose(r.Seed+int64(i), wanted)
		}
		c.finish = finishStop
		c.stopAt(r.stops)
		c.limit(r.most)
	}
	return choices
}

// toCall is the function that the answer calls, nil for none. A tool's result is
// answered in words, unless the request demands another call.
func (r *request) toCall() *function {
	last := &r.Messages[len(r.Messages)-1]
	if r.call != nil || r.noTools || last.Role != "user" {
		return r.call
	}
	said := strings.ToLower(last.text)
	for i := range r.Tools {
		if strings.Contains(said, strings.ToLower(r.Tools[i].Function.Name)) {
			return &r.Tools[i].Function
		}
	}
	if len(r.Tools) > 0 && (strings.Contains(said, "call the tool") || strings.Contains(said, "use the tool")) {
		return &r.Tools[0].Function
	}
	return nil
}

// opening quotes what is answered to.
func (r *request) opening() string {
	last := &r.Messages[len(r.Messages)-1]
	if last.Role == "tool" || last.Role == "function" {
		return `The tool said: "` + quote(last.text) + `".`
	}
	for _, m := range slices.Backward(r.Messages) {
		if m.Role == "user" {
			return `You said: "` + quote(m.text) + `".`
		}
	}
	return "You said nothing yet."
}

func quote(text string) string {
	text = strings.TrimSpace(text)
	part, _ := firstTokens(text, quotedTokens)
	if len(part) < len(text) {
		part += "…"
	}
	return part
}

// prose is the opening and a sentence, or as many as the wanted length takes.
func (r *request) prose(pick int64, wanted int) string {
	if wanted == 0 {
		return r.opening() + sentence(pick)
	}
	var b strings.Builder
	b.WriteString(r.opening())
	for have := Tokens(b.String()); have < wanted; pick++ {
		b.WriteString(sentence(pick))
		have += Tokens(sentence(pick))
	}
	text, _ := firstTokens(b.String(), wanted)
	return text
}

// stopAt ends the text before the first of the stop sequences.
func (c *choice) stopAt(stops []string) {
	for _, stop := range stops {
		if i := strings.Index(c.text, stop); i >= 0 {
			c.text = c.text[:i]
		}
	}
}

// limit ends the text after most tokens, and counts it.
func (c *choice) limit(most int) {
	part, n := firstTokens(c.text, most)
	if len(part) < len(c.text) {
		c.finish = finishLength
	}
	c.text, c.tokens = part, n
}

// callWith makes the choice a call, its name and arguments within most tokens.
func (c *choice) callWith(f *function, most int) {
	c.tool, c.text, c.finish = f.Name, sample(f.Parameters), finishTools
	named := min(Tokens(f.Name), most)
	c.limit(most - named)
	c.tokens += named
}
