package demo_test

import (
	"errors"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/aiaas/aiaas/adapters/demo"
)

func sdk(m *model) openai.Client {
	return openai.NewClient(option.WithBaseURL(m.url), option.WithAPIKey("none"),
		option.WithHTTPClient(m.client), option.WithMaxRetries(0))
}

func TestStockSDK(t *testing.T) {
	m := start(t, demo.Config{})
	client := sdk(m)

	models, err := client.Models.List(t.Context())
	if err != nil || len(models.Data) != 1 || models.Data[0].ID != "demo" {
		t.Fatalf("models: %+v, %v", models, err)
	}

	params := openai.ChatCompletionNewParams{
		Model:    "demo",
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Hello")},
	}
	whole, err := client.Chat.Completions.New(t.Context(), params)
	if err != nil {
		t.Fatal(err)
	}
	if whole.Usage.CompletionTokens != int64(demo.Tokens(whole.Choices[0].Message.Content)) {
		t.Errorf("usage %d for %q", whole.Usage.CompletionTokens, whole.Choices[0].Message.Content)
	}

	for _, include := range []bool{true, false} {
		params.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(include)}
		stream := client.Chat.Completions.NewStreaming(t.Context(), params)
		acc := openai.ChatCompletionAccumulator{}
		for stream.Next() {
			if !acc.AddChunk(stream.Current()) {
				t.Fatalf("chunk refused: %s", stream.Current().RawJSON())
			}
		}
		if err := stream.Err(); err != nil {
			t.Fatal(err)
		}
		if acc.Choices[0].Message.Content != whole.Choices[0].Message.Content || acc.Choices[0].FinishReason != "stop" {
			t.Errorf("streamed %q (%s)", acc.Choices[0].Message.Content, acc.Choices[0].FinishReason)
		}
		if got := acc.Usage.TotalTokens == whole.Usage.TotalTokens; got != include {
			t.Errorf("include_usage %v: usage %+v", include, acc.Usage)
		}
	}
}

func TestStockSDKTools(t *testing.T) {
	m := start(t, demo.Config{})
	client := sdk(m)
	params := openai.ChatCompletionNewParams{
		Model:    "demo",
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("call the tool")},
		Tools: []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{
			Name: "get_weather",
			Parameters: openai.FunctionParameters{
				"type": "object", "required": []string{"city"},
				"properties": map[string]any{"city": map[string]any{"type": "string"}},
			},
		})},
	}
	stream := client.Chat.Completions.NewStreaming(t.Context(), params)
	acc := openai.ChatCompletionAccumulator{}
	for stream.Next() {
		acc.AddChunk(stream.Current())
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	call := acc.Choices[0].Message.ToolCalls[0]
	if call.Function.Name != "get_weather" || call.Function.Arguments != `{"city":"demo"}` || call.ID == "" ||
		acc.Choices[0].FinishReason != "tool_calls" {
		t.Errorf("call %+v, finish %q", call, acc.Choices[0].FinishReason)
	}
}

func TestStockSDKErrors(t *testing.T) {
	m := start(t, demo.Config{})
	client := sdk(m)
	params := openai.ChatCompletionNewParams{
		Model:    "demo",
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Hello")},
	}
	for _, status := range []int{400, 401, 404, 429, 500} {
		_, err := client.Chat.Completions.New(t.Context(), params, option.WithJSONSet("demo.status", status))
		apiErr, ok := errors.AsType[*openai.Error](err)
		if !ok || apiErr.StatusCode != status || apiErr.Message == "" {
			t.Errorf("%d: %v", status, err)
		}
	}
}
