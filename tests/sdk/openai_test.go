package sdk_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/ssestream"
	"github.com/tidwall/gjson"

	"github.com/aiaas/aiaas/adapters/demo"
	"github.com/aiaas/aiaas/tests/harness"
)

// client is the SDK as its users make it; retries are off so that a failure is
// seen at once.
func (p *place) client(more ...option.RequestOption) openai.Client {
	return openai.NewClient(append([]option.RequestOption{
		option.WithBaseURL(p.baseURL()), option.WithAPIKey(p.gateway.APIKey), option.WithMaxRetries(0),
	}, more...)...)
}

func (p *place) ask(text string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model: p.Demo, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)},
	}
}

// misbehave tells the demo model how, in a member that the SDK does not know.
func misbehave(instruction string, value any) option.RequestOption {
	return option.WithJSONSet("demo."+instruction, value)
}

func weather() []openai.ChatCompletionToolUnionParam {
	return []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{
		Name: "get_weather",
		Parameters: openai.FunctionParameters{
			"type": "object", "required": []string{"city"},
			"properties": map[string]any{"city": map[string]any{"type": "string"}},
		},
	})}
}

// TestOpenAIGo shares one gateway among its parts: each has keys of its own where
// it uses them up.
func TestOpenAIGo(t *testing.T) {
	p := open(t)
	t.Run("models", p.goModels)
	t.Run("whole answers", p.goWhole)
	t.Run("structured output", p.goStructured)
	t.Run("streams", p.goStreams)
	t.Run("usage in streams", p.goStreamUsage)
	t.Run("tools", p.goTools)
	t.Run("images", p.goImages)
	t.Run("unknown members", p.goUnknown)
	t.Run("errors", p.goErrors)
	t.Run("broken streams", p.goBrokenStreams)
	t.Run("leaving", p.goLeaving)
	t.Run("retries", p.goRetries)
	t.Run("retries wait as told", p.goRetryAfter)
	t.Run("the SDK's time-out", p.goTimeout)
	t.Run("configuration by variables", p.goEnvironment)
}

func (p *place) goModels(t *testing.T) {
	client := p.client()
	var ids []string
	list := client.Models.ListAutoPaging(t.Context())
	for list.Next() {
		ids = append(ids, list.Current().ID)
	}
	harness.Must(t, list.Err())
	for _, id := range []string{p.Demo, p.Recorded} {
		if !slices.Contains(ids, id) {
			t.Errorf("%s is not in the list %v", id, ids)
		}
		model, err := client.Models.Get(t.Context(), id)
		if err != nil || model.ID != id || model.Created == 0 || model.OwnedBy == "" {
			t.Errorf("%s: %+v, %v", id, model, err)
		}
	}
}

func (p *place) goWhole(t *testing.T) {
	client, params := p.client(), p.ask("Hello")
	params.N, params.Seed = openai.Int(2), openai.Int(1)
	params.Logprobs, params.TopLogprobs = openai.Bool(true), openai.Int(1)
	var resp *http.Response
	first, err := client.Chat.Completions.New(t.Context(), params, option.WithResponseInto(&resp))
	harness.Must(t, err)
	if !strings.HasPrefix(resp.Header.Get("X-Request-Id"), "req_") {
		t.Errorf("request id %q", resp.Header.Get("X-Request-Id"))
	}
	if len(first.Choices) != 2 || first.Usage.TotalTokens != first.Usage.PromptTokens+first.Usage.CompletionTokens {
		t.Fatalf("%d choices, usage %+v", len(first.Choices), first.Usage)
	}
	for i, c := range first.Choices {
		var text strings.Builder
		for _, token := range c.Logprobs.Content {
			text.WriteString(token.Token)
		}
		if c.Index != int64(i) || c.FinishReason != "stop" || text.String() != c.Message.Content || c.Message.Content == "" {
			t.Errorf("choice %d: %s", i, c.RawJSON())
		}
	}
	if first.Choices[0].Message.Content == first.Choices[1].Message.Content {
		t.Error("the two answers are the same")
	}
	again, err := client.Chat.Completions.New(t.Context(), params)
	harness.Must(t, err)
	if again.Choices[0].Message.Content != first.Choices[0].Message.Content {
		t.Error("the same seed gave another answer")
	}
}

func (p *place) goStructured(t *testing.T) {
	client, params := p.client(), p.ask("Hello")
	params.ResponseFormat = openai.ChatCompletionNewParamsResponseFormatUnion{
		OfJSONSchema: &openai.ResponseFormatJSONSchemaParam{JSONSchema: openai.ResponseFormatJSONSchemaJSONSchemaParam{
			Name: "person", Strict: openai.Bool(true),
			Schema: map[string]any{
				"type": "object", "additionalProperties": false, "required": []string{"name", "age"},
				"properties": map[string]any{"name": map[string]any{"type": "string"}, "age": map[string]any{"type": "integer", "minimum": 18}},
			},
		}},
	}
	answer, err := client.Chat.Completions.New(t.Context(), params)
	harness.Must(t, err)
	var person struct {
		Name string
		Age  int
	}
	harness.Must(t, json.Unmarshal([]byte(answer.Choices[0].Message.Content), &person))
	if person.Name != "demo" || person.Age != 18 {
		t.Error(answer.Choices[0].Message.Content)
	}
}

// accumulate reads a stream to its end, through the SDK's own accumulator.
func accumulate(t *testing.T, stream *ssestream.Stream[openai.ChatCompletionChunk]) (openai.ChatCompletionAccumulator, []openai.ChatCompletionChunk, error) {
	t.Helper()
	defer func() { harness.Must(t, stream.Close()) }()
	var acc openai.ChatCompletionAccumulator
	var chunks []openai.ChatCompletionChunk
	for stream.Next() {
		chunk := stream.Current()
		chunks = append(chunks, chunk)
		if !acc.AddChunk(chunk) {
			t.Errorf("the accumulator refuses %s", chunk.RawJSON())
		}
	}
	return acc, chunks, stream.Err()
}

func (p *place) goStreams(t *testing.T) {
	client, params := p.client(), p.ask("Hello")
	params.N, params.Logprobs = openai.Int(2), openai.Bool(true)
	whole, err := client.Chat.Completions.New(t.Context(), params)
	harness.Must(t, err)
	acc, _, err := accumulate(t, client.Chat.Completions.NewStreaming(t.Context(), params))
	harness.Must(t, err)
	if len(acc.Choices) != 2 {
		t.Fatalf("%d choices", len(acc.Choices))
	}
	for i, c := range acc.Choices {
		want := whole.Choices[i]
		if c.Message.Content != want.Message.Content || c.FinishReason != want.FinishReason || len(c.Logprobs.Content) != len(want.Logprobs.Content) {
			t.Errorf("choice %d: streamed %q, whole %q", i, c.Message.Content, want.Message.Content)
		}
	}
}

func (p *place) goStreamUsage(t *testing.T) {
	client := p.client()
	whole, err := client.Chat.Completions.New(t.Context(), p.ask("Hello"))
	harness.Must(t, err)
	for name, c := range map[string]struct {
		options openai.ChatCompletionStreamOptionsParam
		at      string
		shown   bool
	}{
		"not asked for":                        {at: "end"},
		"not asked for, and sent at the start": {at: "start"},
		"not asked for, and sent in each":      {at: "every"},
		"refused":                              {at: "end", options: openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(false)}},
		"asked for":                            {at: "end", options: openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}, shown: true},
	} {
		params := p.ask("Hello")
		params.StreamOptions = c.options
		acc, chunks, err := accumulate(t, client.Chat.Completions.NewStreaming(t.Context(), params, misbehave("usage_at", c.at)))
		harness.Must(t, err)
		for i, chunk := range chunks {
			usage := gjson.Get(chunk.RawJSON(), "usage")
			last := c.shown && i == len(chunks)-1
			if usage.IsObject() != last || usage.Exists() != c.shown || (len(chunk.Choices) == 0) != last {
				t.Errorf("%s: chunk %d of %d: %s", name, i, len(chunks), chunk.RawJSON())
			}
		}
		if got := acc.Usage.TotalTokens; c.shown && got != whole.Usage.TotalTokens || !c.shown && got != 0 {
			t.Errorf("%s: usage %+v", name, acc.Usage)
		}
	}
}

func (p *place) goTools(t *testing.T) {
	client, params := p.client(), p.ask("Call get_weather")
	params.Tools = weather()
	whole, err := client.Chat.Completions.New(t.Context(), params)
	harness.Must(t, err)
	acc, _, err := accumulate(t, client.Chat.Completions.NewStreaming(t.Context(), params))
	harness.Must(t, err)
	for name, c := range map[string]openai.ChatCompletionChoice{"whole": whole.Choices[0], "streamed": acc.Choices[0]} {
		calls := c.Message.ToolCalls
		if c.FinishReason != "tool_calls" || len(calls) != 1 || calls[0].ID == "" || calls[0].Type != "function" ||
			calls[0].Function.Name != "get_weather" || calls[0].Function.Arguments != `{"city":"demo"}` {
			t.Fatalf("%s: %+v", name, c)
		}
	}
	params.Messages = append(params.Messages, whole.Choices[0].Message.ToParam(),
		openai.ToolMessage("Sunny, 24 degrees", whole.Choices[0].Message.ToolCalls[0].ID))
	answer, err := client.Chat.Completions.New(t.Context(), params)
	harness.Must(t, err)
	if c := answer.Choices[0]; c.FinishReason != "stop" || !strings.Contains(c.Message.Content, "Sunny, 24 degrees") {
		t.Error(c.RawJSON())
	}
}

func (p *place) goImages(t *testing.T) {
	url := "data:image/png;base64," + strings.Repeat("iVBORw0KGgo", 40) + "="
	params := openai.ChatCompletionNewParams{
		Model: p.Recorded,
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage([]openai.ChatCompletionContentPartUnionParam{
			openai.TextContentPart("What is this?"),
			openai.ImageContentPart(openai.ChatCompletionContentPartImageImageURLParam{URL: url}),
		})},
	}
	body := p.forwarded(t, params)
	if got := gjson.GetBytes(body, "messages.0.content.1.image_url.url").String(); got != url {
		t.Errorf("the backend received the image as %q", got)
	}
}

// forwarded makes a request and returns what reached the backend.
func (p *place) forwarded(t *testing.T, params openai.ChatCompletionNewParams, more ...option.RequestOption) []byte {
	t.Helper()
	client := p.client()
	var resp *http.Response
	_, err := client.Chat.Completions.New(t.Context(), params, append(more, option.WithResponseInto(&resp))...)
	harness.Must(t, err)
	got, ok := p.recorder.received(resp.Header.Get("X-Request-Id"))
	if !ok {
		t.Fatal("nothing reached the backend")
	}
	return got.Body
}

func (p *place) goUnknown(t *testing.T) {
	params := p.ask("Hello")
	params.Model = p.Recorded
	body := p.forwarded(t, params,
		option.WithJSONSet("x_vendor", map[string]any{"deep": []any{1, 2.5, nil, true, "é"}}),
		option.WithQuery("api-version", "2026-01-01"), option.WithHeader("X-Title", "Test"),
		option.WithOrganization("org-abc"), option.WithProject("proj_abc"))
	var got, want any
	harness.Must(t, json.Unmarshal(body, &got))
	harness.Must(t, json.Unmarshal([]byte(
		`{"model":"demo","messages":[{"role":"user","content":"Hello"}],"x_vendor":{"deep":[1,2.5,null,true,"é"]}}`), &want))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// refusal is an error as the SDK should show it.
type refusal struct {
	status            int
	kind, code, param string
}

func (p *place) goErrors(t *testing.T) {
	key := option.WithAPIKey
	model := func(id string) option.RequestOption { return option.WithJSONSet("model", id) }
	for name, c := range map[string]struct {
		options []option.RequestOption
		want    refusal
	}{
		"no messages":              {[]option.RequestOption{option.WithJSONDel("messages")}, refusal{400, "invalid_request_error", "invalid_request", "messages"}},
		"what the backend refuses": {[]option.RequestOption{option.WithJSONSet("temperature", 3)}, refusal{400, "invalid_request_error", "invalid_request", "temperature"}},
		"a key that is none":       {[]option.RequestOption{key("sk-nonsense")}, refusal{401, "authentication_error", "invalid_api_key", ""}},
		"a revoked key":            {[]option.RequestOption{key(p.Keys.Revoked)}, refusal{401, "authentication_error", "invalid_api_key", ""}},
		"a spent budget":           {[]option.RequestOption{key(p.Keys.Broke)}, refusal{402, "insufficient_quota", "budget_exceeded", ""}},
		"a missing scope":          {[]option.RequestOption{key(p.Keys.NoScope)}, refusal{403, "permission_error", "forbidden", ""}},
		"an unknown model":         {[]option.RequestOption{model("no-such-model")}, refusal{404, "invalid_request_error", "model_not_found", "model"}},
		"a model not granted":      {[]option.RequestOption{key(p.Keys.DemoOnly), model(p.Recorded)}, refusal{404, "invalid_request_error", "model_not_found", "model"}},
		"a body too large":         {[]option.RequestOption{option.WithJSONSet("user", strings.Repeat("x", 70_000))}, refusal{413, "invalid_request_error", "request_too_large", ""}},
		"a model without a price":  {[]option.RequestOption{model(p.Unpriced)}, refusal{422, "invalid_request_error", "unprocessable", "model"}},
		"a failing backend":        {[]option.RequestOption{misbehave("status", 500)}, refusal{502, "server_error", "upstream_error", ""}},
		"a backend that is busy":   {[]option.RequestOption{misbehave("status", 429)}, refusal{503, "server_error", "unavailable", ""}},
		"a silent backend":         {[]option.RequestOption{misbehave("delay_ms", 20_000)}, refusal{504, "server_error", "upstream_timeout", ""}},
	} {
		t.Run(name, func(t *testing.T) { _ = p.refuses(t, c.options, c.want) })
	}
	t.Run("a rate limit", func(t *testing.T) {
		client, limited := p.client(key(p.Keys.Limited)), []option.RequestOption{key(p.Keys.Limited)}
		_, err := client.Chat.Completions.New(t.Context(), p.ask("the one that is allowed"))
		harness.Must(t, err)
		e := p.refuses(t, limited, refusal{429, "rate_limit_error", "rate_limit_exceeded", ""})
		if e.Response.Header.Get("Retry-After") == "" || e.Response.Header.Get("X-Ratelimit-Limit-Requests") != "1" {
			t.Errorf("headers %v", e.Response.Header)
		}
	})
}

// refuses asks for both forms of an answer, which must be refused alike.
func (p *place) refuses(t *testing.T, options []option.RequestOption, want refusal) *openai.Error {
	t.Helper()
	client := p.client()
	_, err := client.Chat.Completions.New(t.Context(), p.ask("Hello"), options...)
	_, _, streamErr := accumulate(t, client.Chat.Completions.NewStreaming(t.Context(), p.ask("Hello"), options...))
	var e *openai.Error
	for _, err := range []error{streamErr, err} {
		if !errors.As(err, &e) {
			t.Fatalf("%T %v", err, err)
		}
		got := refusal{e.StatusCode, e.Type, e.Code, e.Param}
		if got != want || e.Message == "" || strings.Contains(e.Message, "told to answer") {
			t.Errorf("%+v, want %+v: %s", got, want, e.Message)
		}
		if !strings.HasPrefix(e.Response.Header.Get("X-Request-Id"), "req_") {
			t.Errorf("request id %q", e.Response.Header.Get("X-Request-Id"))
		}
	}
	return e
}

func (p *place) goBrokenStreams(t *testing.T) {
	client := p.client()
	for instruction, code := range map[string]string{
		"cut_after": "upstream_error", "end_after": "upstream_error", "malformed_after": "upstream_error",
		"error_after": "upstream_error", "stall_after": "upstream_timeout",
	} {
		t.Run(instruction, func(t *testing.T) {
			acc, _, err := accumulate(t, client.Chat.Completions.NewStreaming(t.Context(), p.ask("Hello"), misbehave(instruction, 5)))
			e, ok := errors.AsType[*ssestream.StreamError](err)
			if !ok {
				t.Fatalf("the stream ended with %v", err)
			}
			if got := gjson.GetBytes(e.Event.Data, "error.code").String(); got != code {
				t.Errorf("code %q in %s", got, e.Event.Data)
			}
			if len(acc.Choices) != 1 || acc.Choices[0].Message.Content == "" || acc.Choices[0].FinishReason != "" {
				t.Errorf("what came before: %+v", acc.Choices)
			}
		})
	}
}

func (p *place) goLeaving(t *testing.T) {
	type chunks = *ssestream.Stream[openai.ChatCompletionChunk]
	for name, leave := range map[string]func(chunks, context.CancelFunc) error{
		"closing the stream":     func(s chunks, _ context.CancelFunc) error { return s.Close() },
		"cancelling the context": func(s chunks, cancel context.CancelFunc) error { cancel(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			client, params := p.client(), p.ask("Hello")
			params.Model = p.Recorded
			var resp *http.Response
			stream := client.Chat.Completions.NewStreaming(ctx, params,
				misbehave("tokens", 4000), misbehave("interval_ms", 50), option.WithResponseInto(&resp))
			if !stream.Next() {
				t.Fatal(stream.Err())
			}
			harness.Must(t, leave(stream, cancel))
			served, ok := p.recorder.outcome(resp.Header.Get("X-Request-Id"))
			if !ok || served.Outcome != demo.ClientGone {
				t.Errorf("the backend saw %+v", served)
			}
			for stream.Next() { // what was read ahead
			}
			if ctx.Err() != nil && !errors.Is(stream.Err(), context.Canceled) {
				t.Errorf("the stream ended with %v", stream.Err())
			}
		})
	}
}

// attempts is a transport that remembers what was answered.
type attempts struct {
	mu       sync.Mutex
	statuses []int
	retries  []string // the SDK's own count, of each request
}

func (a *attempts) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.retries = append(a.retries, r.Header.Get("X-Stainless-Retry-Count"))
	if err == nil {
		a.statuses = append(a.statuses, resp.StatusCode)
	}
	return resp, err
}

func (a *attempts) option() option.RequestOption {
	return option.WithHTTPClient(&http.Client{Transport: a})
}

func (p *place) goRetries(t *testing.T) {
	params := p.ask("Hello")
	params.Model = p.Flaky
	order := `{"status":503,"retry_after":1,"times":1}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.FlakyControl+"/_demo/behave", strings.NewReader(order))
	harness.Must(t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	harness.Must(t, err)
	harness.Must(t, resp.Body.Close())

	var seen attempts
	client := p.client(option.WithMaxRetries(1), seen.option())
	_, err = client.Chat.Completions.New(t.Context(), params)
	harness.Must(t, err)
	if diff := cmp.Diff([]int{503, 200}, seen.statuses); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"0", "1"}, seen.retries); diff != "" {
		t.Error(diff)
	}
	var once attempts
	client = p.client(option.WithMaxRetries(3), once.option(), option.WithJSONSet("n", 0))
	if _, err = client.Chat.Completions.New(t.Context(), params); err == nil {
		t.Error("n = 0 was accepted")
	}
	if diff := cmp.Diff([]int{400}, once.statuses); diff != "" {
		t.Error(diff)
	}
}

// A limit of 20 a minute frees a place every 3 s; the SDK by itself would wait
// half a second at most before its only repetition, and be refused again.
func (p *place) goRetryAfter(t *testing.T) {
	client := p.client(option.WithAPIKey(p.Keys.Refilled))
	refused := false
	for i := 0; i < 60 && !refused; i++ {
		_, err := client.Chat.Completions.New(t.Context(), p.ask("Hello"))
		e, ok := errors.AsType[*openai.Error](err)
		refused = ok && e.StatusCode == http.StatusTooManyRequests
	}
	if !refused {
		t.Fatal("the limit was never met")
	}
	var seen attempts
	client = p.client(option.WithAPIKey(p.Keys.Refilled), option.WithMaxRetries(1), seen.option())
	_, err := client.Chat.Completions.New(t.Context(), p.ask("Hello"))
	harness.Must(t, err)
	if diff := cmp.Diff([]int{429, 200}, seen.statuses); diff != "" {
		t.Error(diff)
	}
}

func (p *place) goTimeout(t *testing.T) {
	client := p.client(option.WithRequestTimeout(200 * time.Millisecond))
	_, err := client.Chat.Completions.New(t.Context(), p.ask("Hello"), misbehave("delay_ms", 10_000))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%T %v", err, err)
	}
}

func (p *place) goEnvironment(t *testing.T) {
	t.Setenv("OPENAI_BASE_URL", p.baseURL())
	t.Setenv("OPENAI_API_KEY", p.gateway.APIKey)
	client := openai.NewClient()
	if _, err := client.Chat.Completions.New(t.Context(), p.ask("Hello")); err != nil {
		t.Error(err)
	}
}
