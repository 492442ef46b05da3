package demo_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/aiaas/aiaas/adapters/demo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// model is a started demo model and a client that keeps no connections.
type model struct {
	*demo.Server
	url    string
	client *http.Client
}

func start(t *testing.T, cfg demo.Config) *model {
	t.Helper()
	s := demo.New(cfg)
	url, err := s.Start(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := s.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Errorf("close: %v", err)
		}
	})
	return &model{Server: s, url: url, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// reply is an answer as it arrives.
type reply struct {
	StatusCode int
	Header     http.Header
	Body       io.ReadCloser
}

// post sends a body; the answer's body is closed with the test.
func (m *model) post(t *testing.T, path, body string, headers ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, m.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := m.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return reply{resp.StatusCode, resp.Header, resp.Body}
}

// ask sends a chat completion, reads all of the answer and waits for its entry in
// the log.
func (m *model) ask(t *testing.T, body string, headers ...string) (status int, answer string) {
	t.Helper()
	resp := m.post(t, "/chat/completions", body, headers...)
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read the answer: %v", err)
	}
	if err := m.WaitIdle(t.Context()); err != nil { // now it is in the log
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// last waits until nothing runs and returns the newest log entry.
func (m *model) last(t *testing.T) demo.Served {
	t.Helper()
	if err := m.WaitIdle(t.Context()); err != nil {
		t.Fatal(err)
	}
	served := m.Served()
	if len(served) == 0 {
		t.Fatal("nothing was served")
	}
	return served[len(served)-1]
}

// chat is a request with one user message and more members.
func chat(text, more string) string {
	b, _ := json.Marshal(text)
	body := `{"model":"demo","messages":[{"role":"user","content":` + string(b) + `}]`
	if more != "" {
		body += "," + more
	}
	return body + "}"
}

// answer is what tests read of a whole answer or an event.
type answer struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Choices []struct {
		Index   int     `json:"index"`
		Message message `json:"message"`
		Delta   message `json:"delta"`
		Finish  *string `json:"finish_reason"`
		Logs    *struct {
			Content []struct {
				Token string `json:"token"`
				Bytes []int  `json:"bytes"`
			} `json:"content"`
		} `json:"logprobs"`
	} `json:"choices"`
	Usage *usage `json:"usage"`
}

type message struct {
	Role    string  `json:"role"`
	Content *string `json:"content"`
	Calls   []struct {
		Index    int    `json:"index"`
		ID       string `json:"id"`
		Function struct {
			Name      string `json:"name"`
			Arguments string `json:"arguments"`
		} `json:"function"`
	} `json:"tool_calls"`
}

type usage struct {
	Prompt     int64 `json:"prompt_tokens"`
	Completion int64 `json:"completion_tokens"`
	Total      int64 `json:"total_tokens"`
	Details    struct {
		Cached int64 `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

func decode(t *testing.T, doc string) answer {
	t.Helper()
	var a answer
	if err := json.Unmarshal([]byte(doc), &a); err != nil {
		t.Fatalf("%v in %s", err, doc)
	}
	return a
}

// events splits a stream into its data lines and fails on anything else.
func events(t *testing.T, stream string) []string {
	t.Helper()
	var list []string
	for part := range strings.SplitSeq(strings.TrimSuffix(stream, "\n\n"), "\n\n") {
		data, ok := strings.CutPrefix(part, "data: ")
		if !ok || strings.Contains(data, "\n") {
			t.Fatalf("no event: %q", part)
		}
		list = append(list, data)
	}
	return list
}

// assembled is what a client makes of a stream.
type assembled struct {
	text, tool, arguments, finish map[int]string
	deltas                        int
	usage                         *usage
	done                          bool
}

func assemble(t *testing.T, stream string) assembled {
	t.Helper()
	a := assembled{text: map[int]string{}, tool: map[int]string{}, arguments: map[int]string{}, finish: map[int]string{}}
	for _, e := range events(t, stream) {
		if e == "[DONE]" {
			a.done = true
			continue
		}
		chunk := decode(t, e)
		for _, c := range chunk.Choices {
			if c.Delta.Content != nil && *c.Delta.Content != "" {
				a.text[c.Index] += *c.Delta.Content
				a.deltas++
			}
			for _, call := range c.Delta.Calls {
				a.tool[c.Index] += call.Function.Name
				a.arguments[c.Index] += call.Function.Arguments
			}
			if c.Finish != nil {
				a.finish[c.Index] = *c.Finish
			}
		}
		if chunk.Usage != nil {
			a.usage = chunk.Usage
		}
	}
	return a
}

func clock() time.Time { return time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC) }

func TestGoldenAnswers(t *testing.T) {
	m := start(t, demo.Config{Now: clock})
	for _, tt := range []struct{ file, body string }{
		{"whole.json", chat("Hello", `"max_tokens":8`)},
		{"stream.txt", chat("Hello", `"max_tokens":3,"stream":true`)},
		{"stream_usage.txt", chat("Hello", `"max_tokens":3,"stream":true,"stream_options":{"include_usage":true}`)},
		{"stream_tool.txt", chat("call the tool", `"stream":true,"tools":[{"type":"function","function":{"name":"ping"}}]`)},
	} {
		t.Run(tt.file, func(t *testing.T) {
			status, got := m.ask(t, tt.body)
			if status != http.StatusOK {
				t.Fatalf("status %d: %s", status, got)
			}
			got = strings.ReplaceAll(got, m.last(t).ID, "chatcmpl-ID")
			path := "testdata/" + tt.file
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestAnswersAreTheSameFromRunToRun(t *testing.T) {
	first, second := start(t, demo.Config{}), start(t, demo.Config{})
	body := chat("Hello", `"seed":7,"n":2`)
	_, a := first.ask(t, body)
	_, b := second.ask(t, body)
	if a != b {
		t.Errorf("two servers answered differently:\n%s\n%s", a, b)
	}
	if _, other := first.ask(t, chat("Hello", `"seed":8,"n":2`)); *decode(t, other).Choices[0].Message.Content == *decode(t, a).Choices[0].Message.Content {
		t.Error("another seed made no difference")
	}
}

func TestStreamedAndWholeAreTheSameAnswer(t *testing.T) {
	weather := `"tools":[{"type":"function","function":{"name":"get_weather","parameters":{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"}},"required":["city","days"]}}}]`
	m := start(t, demo.Config{})
	for name, body := range map[string]string{
		"plain":           chat("Hello, world — wie geht's? 你好 🙂", ""),
		"escapes":         chat("a \"quote\" \\ <b> & \n\t\u0001 \u2028", ""),
		"two choices":     chat("Hello", `"n":2`),
		"length":          chat("Hello", `"max_completion_tokens":5`),
		"stop":            chat("Hello", `"stop":["keys"," model"]`),
		"long":            chat("Hello", `"demo":{"tokens":700}`),
		"logprobs":        chat("Hello", `"logprobs":true,"top_logprobs":1`),
		"tool":            chat("please call the tool", weather),
		"tool, cut short": chat("please call the tool", weather+`,"max_tokens":6`),
		"tool, tiny":      chat("please call the tool", weather+`,"max_tokens":1`),
		"json":            chat("Hello", `"response_format":{"type":"json_object"}`),
	} {
		t.Run(name, func(t *testing.T) {
			_, whole := m.ask(t, body)
			w := decode(t, whole)
			_, raw := m.ask(t, strings.TrimSuffix(body, "}")+`,"stream":true,"stream_options":{"include_usage":true}}`)
			s := assemble(t, raw)
			if s.usage == nil || w.Usage == nil || *s.usage != *w.Usage {
				t.Fatalf("usage streamed %+v, whole %+v", s.usage, w.Usage)
			}
			tokens := 0
			for _, c := range w.Choices {
				text := ""
				if c.Message.Content != nil {
					text = *c.Message.Content
				}
				if len(c.Message.Calls) == 1 {
					call := c.Message.Calls[0].Function
					if s.tool[c.Index] != call.Name || s.arguments[c.Index] != call.Arguments {
						t.Errorf("call streamed %s(%s), whole %+v", s.tool[c.Index], s.arguments[c.Index], call)
					}
				}
				if s.text[c.Index] != text || s.finish[c.Index] != *c.Finish {
					t.Errorf("choice %d streamed %q (%s), whole %q (%s)", c.Index, s.text[c.Index], s.finish[c.Index], text, *c.Finish)
				}
				tokens += demo.Tokens(text)
			}
			if tokens > 0 && (int64(tokens) != w.Usage.Completion || s.deltas != tokens) {
				t.Errorf("usage says %d, the text has %d tokens, sent in %d events", w.Usage.Completion, tokens, s.deltas)
			}
			if got := m.last(t); int64(got.SentTokens) != w.Usage.Completion || got.Stated.Completion != w.Usage.Completion ||
				got.Stated.Prompt != w.Usage.Prompt || !got.UsageSent {
				t.Errorf("log %+v, usage %+v", got, *w.Usage)
			}
			if !s.done {
				t.Error("no [DONE]")
			}
		})
	}
}

func TestWhatAnAnswerSays(t *testing.T) {
	tools := `"tools":[{"type":"function","function":{"name":"ping"}},{"type":"function","function":{"name":"get_weather"}}]`
	m := start(t, demo.Config{})
	for _, tt := range []struct {
		name, body, starts, tool, finish string
		completion                       int64 // 0: not looked at
	}{
		{name: "quotes the user", body: chat("Hello", ""), starts: `You said: "Hello". This is the demo model`, finish: "stop"},
		{name: "parts of a message", body: `{"model":"demo","messages":[{"role":"user","content":[{"type":"text","text":"one"},{"type":"image_url","image_url":{"url":"x"}},{"type":"text","text":"two"}]}]}`, starts: "You said: \"one\ntwo\".", finish: "stop"},
		{name: "only a system message", body: `{"model":"demo","messages":[{"role":"system","content":"be kind"}]}`, starts: "You said nothing yet.", finish: "stop"},
		{name: "max_tokens", body: chat("Hello", `"max_tokens":4`), starts: "You said: \"", finish: "length", completion: 4},
		{name: "the lesser of both limits", body: chat("Hello", `"max_tokens":9,"max_completion_tokens":2`), starts: "You said", finish: "length", completion: 2},
		{name: "the lesser of both limits, the other way", body: chat("Hello", `"max_tokens":2,"max_completion_tokens":9`), starts: "You said", finish: "length", completion: 2},
		{name: "stop", body: chat("Hello", `"stop":" This"`), starts: `You said: "Hello".`, finish: "stop"},
		{name: "the earliest stop", body: chat("Hello", `"stop":[" demo","Hello"]`), starts: `You said: "`, finish: "stop"},
		{name: "wanted length", body: chat("Hello", `"demo":{"tokens":333}`), starts: "You said", finish: "stop", completion: 333},
		{name: "wanted length within max_tokens", body: chat("Hello", `"max_tokens":10,"demo":{"tokens":333}`), starts: "You said", finish: "length", completion: 10},
		{name: "tool by trigger", body: chat("Call the tool", tools), tool: "ping", finish: "tool_calls"},
		{name: "tool by name", body: chat("use get_weather", tools), tool: "get_weather", finish: "tool_calls"},
		{name: "tool required", body: chat("Hello", tools+`,"tool_choice":"required"`), tool: "ping", finish: "tool_calls"},
		{name: "tool chosen", body: chat("Hello", tools+`,"tool_choice":{"type":"function","function":{"name":"get_weather"}}`), tool: "get_weather", finish: "tool_calls"},
		{name: "tool forbidden", body: chat("call the tool", tools+`,"tool_choice":"none"`), starts: "You said", finish: "stop"},
		{name: "tools, no trigger", body: chat("Hello", tools), starts: "You said", finish: "stop"},
		{name: "tool's result", body: `{"model":"demo","messages":[{"role":"user","content":"call the tool"},{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"ping","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"pong"}],` + tools + `}`, starts: `The tool said: "pong".`, finish: "stop"},
		{name: "tool and max_tokens", body: chat("call the tool", tools+`,"max_tokens":1`), tool: "ping", finish: "length", completion: 1},
		{name: "a tool's name longer than max_tokens", body: chat("use get_weather", tools+`,"max_tokens":2`), tool: "get_weather", finish: "length", completion: 2},
		{name: "JSON", body: chat("Hello", `"response_format":{"type":"json_object"}`), starts: `{"model":"demo","answer":"You said: \"Hello\"."}`, finish: "stop"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, got := m.ask(t, tt.body)
			if status != http.StatusOK {
				t.Fatalf("status %d: %s", status, got)
			}
			a := decode(t, got)
			c := a.Choices[0]
			if *c.Finish != tt.finish {
				t.Errorf("finish_reason %q, want %q", *c.Finish, tt.finish)
			}
			if tt.completion != 0 && a.Usage.Completion != tt.completion {
				t.Errorf("completion_tokens %d, want %d", a.Usage.Completion, tt.completion)
			}
			if tt.tool != "" {
				if len(c.Message.Calls) != 1 || c.Message.Calls[0].Function.Name != tt.tool || c.Message.Content != nil {
					t.Errorf("message %+v, want a call of %s", c.Message, tt.tool)
				}
				return
			}
			if c.Message.Content == nil || !strings.HasPrefix(*c.Message.Content, tt.starts) {
				t.Errorf("got %s, want it to start with %q", got, tt.starts)
			}
			if tt.finish == "stop" && strings.Contains(tt.name, "stop") && *c.Message.Content != tt.starts {
				t.Errorf("content %q went past the stop", *c.Message.Content)
			}
		})
	}
}

func TestSchemasAreFollowed(t *testing.T) {
	m := start(t, demo.Config{})
	for _, tt := range []struct{ name, schema, want string }{
		{"none", `{}`, `"demo"`},
		{"members", `{"type":"object","properties":{"b":{"type":"boolean"},"a":{"type":"string"},"no":{"type":"null"}},"required":["a","b"]}`, `{"a":"demo","b":true}`},
		{"all members where none is required", `{"type":"object","properties":{"n":{"type":"number","minimum":2.5},"i":{"type":"integer","minimum":3}}}`, `{"i":3,"n":2.5}`},
		{"enum, const, default", `{"type":"object","properties":{"e":{"enum":["x","y"]},"c":{"const":4},"d":{"default":null}}}`, `{"c":4,"d":null,"e":"x"}`},
		{"arrays", `{"type":"array","minItems":2,"items":{"type":"string","format":"date"}}`, `["2026-01-01","2026-01-01"]`},
		{"references", `{"type":"object","properties":{"p":{"$ref":"#/$defs/p"}},"$defs":{"p":{"type":["null","string"],"minLength":6,"maxLength":6}}}`, `{"p":"demooo"}`},
		{"alternatives", `{"anyOf":[{"type":"integer","maximum":-2},{"type":"string"}]}`, `-2`},
		{"a schema without end", `{"$ref":"#"}`, `"demo"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, got := m.ask(t, chat("x", `"response_format":{"type":"json_schema","json_schema":{"name":"s","schema":`+tt.schema+`}}`))
			if c := decode(t, got).Choices[0].Message.Content; c == nil || *c != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestRecursiveSchemasStayBounded(t *testing.T) {
	m := start(t, demo.Config{})
	_, got := m.ask(t, chat("x", `"response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{"type":"object","properties":{"l":{"$ref":"#"},"r":{"$ref":"#"}},"required":["l","r"]}}}`))
	c := decode(t, got).Choices[0].Message.Content
	if c == nil || !json.Valid([]byte(*c)) || len(*c) > 16<<10 {
		t.Errorf("got %d bytes: %.200s", len(got), got)
	}
}

func TestUsageShowsWhereAsked(t *testing.T) {
	m := start(t, demo.Config{})
	for _, tt := range []struct {
		name, more    string
		null, present int // events with "usage":null, with a block
		lastBeforeEnd bool
	}{
		{"not asked", ``, 0, 0, false},
		{"asked", `"stream_options":{"include_usage":true}`, 5, 1, true},
		{"asked and omitted", `"stream_options":{"include_usage":true},"demo":{"omit_usage":true}`, 0, 0, false},
		{"at the start", `"demo":{"usage_at":"start"}`, 5, 1, false},
		{"unasked at the end", `"demo":{"usage_at":"end"}`, 5, 1, true},
		{"in every event", `"demo":{"usage_at":"every"}`, 0, 6, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			more := `"stream":true,"max_tokens":3`
			if tt.more != "" {
				more += "," + tt.more
			}
			_, raw := m.ask(t, chat("Hello", more))
			all := events(t, raw)
			null, present := strings.Count(raw, `"usage":null`), strings.Count(raw, `"usage":{`)
			if null != tt.null || present != tt.present {
				t.Errorf("%d null, %d blocks; want %d, %d:\n%s", null, present, tt.null, tt.present, raw)
			}
			before := all[len(all)-2]
			if got := strings.Contains(before, `"choices":[],"usage":{`); got != tt.lastBeforeEnd {
				t.Errorf("usage before [DONE]: %v, want %v: %s", got, tt.lastBeforeEnd, before)
			}
			if got := m.last(t); got.UsageSent != (tt.present > 0) || got.Outcome != demo.Complete {
				t.Errorf("log %+v", got)
			}
		})
	}
}

func TestPromptCount(t *testing.T) {
	m := start(t, demo.Config{})
	for _, tt := range []struct {
		name, body string
		want       int64
	}{
		{"one message", chat("Hello world", ""), 3 + 3 + 4}, // Hell|o| worl|d
		{"two messages", `{"model":"demo","messages":[{"role":"system","content":"a"},{"role":"user","content":"b"}]}`, 3 + 3 + 1 + 3 + 1},
		{"an image", `{"model":"demo","messages":[{"role":"user","content":[{"type":"image_url"},{"type":"text","text":"b"}]}]}`, 3 + 3 + 8 + 1},
		{"a tool, however indented", chat("a", `"tools":[{"type":"function","function":{"name":"ping","parameters": { "a" : 1 } }}]`), 3 + 3 + 1 + 1 + 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, got := m.ask(t, tt.body)
			if u := decode(t, got).Usage; u == nil || u.Prompt != tt.want || u.Total != u.Prompt+u.Completion {
				t.Errorf("usage %+v, want %d prompt tokens", u, tt.want)
			}
			if tt.want > int64(len(tt.body)) {
				t.Error("more tokens than bytes")
			}
		})
	}
}

func TestBadRequests(t *testing.T) {
	m := start(t, demo.Config{Limits: demo.Limits{Body: 4096}})
	tools := `"tools":[{"type":"function","function":{"name":"ping"}}]`
	for _, tt := range []struct {
		name, body string
		status     int
		param      string
	}{
		{"empty", ``, 400, ""},
		{"no JSON", `{`, 400, ""},
		{"an array", `[]`, 400, ""},
		{"trailing data", chat("x", "") + "{}", 400, ""},
		{"duplicate member", chat("x", `"model":"demo"`), 400, ""},
		{"invalid UTF-8", chat("x", "\"user\":\"\xff\""), 400, ""},
		{"too large", chat(strings.Repeat("x", 5000), ""), 413, ""},
		{"no model", `{"messages":[{"role":"user","content":"x"}]}`, 400, "model"},
		{"unknown model", `{"model":"other","messages":[{"role":"user","content":"x"}]}`, 404, "model"},
		{"no messages", `{"model":"demo"}`, 400, "messages"},
		{"empty messages", `{"model":"demo","messages":[]}`, 400, "messages"},
		{"messages of the wrong type", `{"model":"demo","messages":"x"}`, 400, "messages"},
		{"unknown role", `{"model":"demo","messages":[{"role":"king","content":"x"}]}`, 400, "messages[0].role"},
		{"no content", `{"model":"demo","messages":[{"role":"user"}]}`, 400, "messages[0].content"},
		{"content of the wrong type", `{"model":"demo","messages":[{"role":"user","content":5}]}`, 400, "messages[0].content"},
		{"a part without type", `{"model":"demo","messages":[{"role":"user","content":[{"text":"x"}]}]}`, 400, "messages[0].content"},
		{"tool answer without call", `{"model":"demo","messages":[{"role":"tool","content":"x"}]}`, 400, "messages[0].tool_call_id"},
		{"max_tokens 0", chat("x", `"max_tokens":0`), 400, "max_tokens"},
		{"max_tokens negative", chat("x", `"max_completion_tokens":-1`), 400, "max_completion_tokens"},
		{"max_tokens text", chat("x", `"max_tokens":"5"`), 400, "max_tokens"},
		{"max_tokens fraction", chat("x", `"max_tokens":1.5`), 400, "max_tokens"},
		{"max_tokens out of range", chat("x", `"max_tokens":99999999999999999999`), 400, "max_tokens"},
		{"n 0", chat("x", `"n":0`), 400, "n"},
		{"n huge", chat("x", `"n":1000000`), 400, "n"},
		{"stop empty", chat("x", `"stop":""`), 400, "stop"},
		{"stop of five", chat("x", `"stop":["a","b","c","d","e"]`), 400, "stop"},
		{"stop a number", chat("x", `"stop":3`), 400, "stop"},
		{"temperature", chat("x", `"temperature":2.1`), 400, "temperature"},
		{"stream_options without stream", chat("x", `"stream_options":{"include_usage":true}`), 400, "stream_options"},
		{"top_logprobs without logprobs", chat("x", `"top_logprobs":2`), 400, "top_logprobs"},
		{"tool without name", chat("x", `"tools":[{"type":"function","function":{}}]`), 400, "tools[0].function.name"},
		{"tool of another type", chat("x", `"tools":[{"type":"web_search"}]`), 400, "tools[0].type"},
		{"tool_choice without tools", chat("x", `"tool_choice":"auto"`), 400, "tool_choice"},
		{"tool_choice unknown", chat("x", tools+`,"tool_choice":{"type":"function","function":{"name":"pong"}}`), 400, "tool_choice"},
		{"response_format unknown", chat("x", `"response_format":{"type":"xml"}`), 400, "response_format.type"},
		{"unknown instruction", chat("x", `"demo":{"cutafter":1}`), 400, "demo"},
		{"instruction of the wrong type", chat("x", `"demo":{"cut_after":"1"}`), 400, "demo.cut_after"},
		{"delay past its cap", chat("x", `"demo":{"delay_ms":60001}`), 400, "demo.delay_ms"},
		{"tokens past their cap", chat("x", `"demo":{"tokens":4097}`), 400, "demo.tokens"},
		{"giant line past its cap", chat("x", `"demo":{"giant_line":16777217}`), 400, "demo.giant_line"},
		{"position negative", chat("x", `"demo":{"cut_after":-1}`), 400, "demo.cut_after"},
		{"status that is none", chat("x", `"demo":{"status":200}`), 400, "demo.status"},
		{"content type with a line break", chat("x", `"demo":{"content_type":"a/b\r\nX: y"}`), 400, "demo.content_type"},
		{"usage_at unknown", chat("x", `"demo":{"usage_at":"never"}`), 400, "demo.usage_at"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, got := m.ask(t, tt.body)
			var e struct {
				Error struct {
					Message, Type string
					Param, Code   *string
				} `json:"error"`
			}
			if err := json.Unmarshal([]byte(got), &e); err != nil {
				t.Fatalf("%v in %s", err, got)
			}
			param := ""
			if e.Error.Param != nil {
				param = *e.Error.Param
			}
			if status != tt.status || e.Error.Message == "" || e.Error.Type != "invalid_request_error" || param != tt.param {
				t.Errorf("status %d (want %d), param %q (want %q): %s", status, tt.status, param, tt.param, got)
			}
			if got := m.last(t); got.Outcome != demo.Refused || got.Status != tt.status {
				t.Errorf("log %+v", got)
			}
		})
	}
}

func TestPathsAndMethods(t *testing.T) {
	m := start(t, demo.Config{Models: []string{"demo", "other"}})
	root := strings.TrimSuffix(m.url, "/v1")
	for _, tt := range []struct {
		method, path string
		want         int
	}{
		{"POST", "/v1/chat/completions", 200},
		{"POST", "/chat/completions", 200},
		{"POST", "/any/prefix/v1/chat/completions", 200},
		{"POST", "/v1/v1/chat/completions", 200},
		{"GET", "/v1/chat/completions", 405},
		{"GET", "/v1/models", 200},
		{"GET", "/v1/models/other", 200},
		{"GET", "/v1/models/nope", 404},
		{"POST", "/v1/models", 405},
		{"POST", "/v1/nope", 404},
		{"GET", "/_demo/log", 200},
		{"GET", "/_demo/stats", 200},
		{"POST", "/_demo/behave", 404},
	} {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tt.method, root+tt.path, strings.NewReader(chat("x", "")))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			resp, err := m.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != tt.want || !json.Valid(body) {
				t.Errorf("status %d, want %d: %s", resp.StatusCode, tt.want, body)
			}
		})
	}
}

func TestOnlyJSONIsTaken(t *testing.T) {
	m := start(t, demo.Config{})
	status, got := m.ask(t, chat("x", ""), "Content-Type", "text/plain")
	if status != http.StatusUnsupportedMediaType {
		t.Errorf("status %d: %s", status, got)
	}
}

func TestKeyIsAskedForWhenSet(t *testing.T) {
	m := start(t, demo.Config{APIKey: "k1"})
	for key, want := range map[string]int{"Bearer k1": 200, "Bearer k2": 401, "": 401, "Bearer ": 401} {
		status, got := m.ask(t, chat("x", ""), "Authorization", key)
		if status != want {
			t.Errorf("%q: status %d, want %d: %s", key, status, want, got)
		}
	}
}

func TestTooManyAtOnceAreTurnedAway(t *testing.T) {
	m := start(t, demo.Config{Limits: demo.Limits{Active: 1}})
	resp := m.post(t, "/chat/completions", chat("x", `"stream":true,"demo":{"stall_after":1}`))
	if _, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	second := m.post(t, "/chat/completions", chat("x", ""))
	if second.StatusCode != http.StatusServiceUnavailable || second.Header.Get("Retry-After") != "1" {
		t.Errorf("status %d, Retry-After %q", second.StatusCode, second.Header.Get("Retry-After"))
	}
	_ = resp.Body.Close()
	if got := m.last(t); got.Outcome != demo.ClientGone {
		t.Errorf("log %+v", got)
	}
	if status, got := m.ask(t, chat("x", "")); status != http.StatusOK {
		t.Errorf("after the first had left: status %d: %s", status, got)
	}
}

func TestStartRefusesPublicAddresses(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:80", "[::]:0", "nonsense"} {
		if url, err := demo.New(demo.Config{}).Start(t.Context(), addr); err == nil {
			t.Errorf("%s: served on %s", addr, url)
		}
	}
}
