// Package openapi describes the routes of the data plane for the OpenAPI document.
// It stands apart from the function itself, which reads requests by hand and must
// not link the framework that this description needs.
//
// Only the members that the platform reads or that everyone uses are named: a
// request may carry any other member of OpenAI's chat completions, and the model's
// backend gets it.
package openapi

import (
	"fmt"

	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/rest"
)

// Describe adds the routes of the function's spec to the document. A route that
// it does not know is an error: it would be missing from the reference.
func Describe(doc *rest.Document, spec function.Spec) error {
	api := doc.API(spec)
	for _, r := range spec.Routes {
		switch r.Pattern() {
		case "POST /v1/chat/completions", "POST /v1/inference":
			rest.Describe[chatInput, chatOutput](api, r.OperationID,
				rest.RequestExample(exampleRequest()), rest.ResponseExample(exampleCompletion()),
				rest.ResponseType("text/event-stream", exampleStream))
		case "GET /v1/models":
			rest.Describe[struct{}, modelsOutput](api, r.OperationID, rest.ResponseExample(ModelList{Object: "list", Data: []ModelInfo{exampleModel()}}))
		case "GET /v1/models/{id}", "GET /v1/models/{id...}":
			rest.Describe[modelInput, modelOutput](api, r.OperationID, rest.ResponseExample(exampleModel()))
		default:
			return fmt.Errorf("describe %s: the route is not known here", r.Pattern())
		}
	}
	return nil
}

// ChatMessage is one message of a conversation.
type ChatMessage struct {
	_       struct{} `additionalProperties:"true"`
	Role    string   `json:"role" enum:"system,developer,user,assistant,tool"`
	Content any      `json:"content,omitempty" doc:"A text, or a list of parts."`
}

// StreamOptions shape a stream.
type StreamOptions struct {
	_            struct{} `additionalProperties:"true"`
	IncludeUsage bool     `json:"include_usage,omitempty" doc:"Sends one more chunk with the token counts before [DONE]."`
}

// ChatRequest is the body of a completion.
type ChatRequest struct {
	_                   struct{}       `additionalProperties:"true"`
	Model               string         `json:"model" doc:"The id of a model that the key may use."`
	Messages            []ChatMessage  `json:"messages" minItems:"1" nullable:"false"`
	Stream              bool           `json:"stream,omitempty" doc:"Answers as server-sent events."`
	StreamOptions       *StreamOptions `json:"stream_options,omitempty"`
	MaxCompletionTokens int64          `json:"max_completion_tokens,omitempty" minimum:"1" doc:"The most output; left out, the model's own bound."`
	MaxTokens           int64          `json:"max_tokens,omitempty" minimum:"1" doc:"The older name of max_completion_tokens."`
	N                   int            `json:"n,omitempty" minimum:"1" doc:"How many choices to answer; each is paid for."`
	Temperature         *float64       `json:"temperature,omitempty"`
	TopP                *float64       `json:"top_p,omitempty"`
	Stop                any            `json:"stop,omitempty" doc:"A text, or a list of texts."`
	Tools               []any          `json:"tools,omitempty" nullable:"false" doc:"Passed to the model."`
	ToolChoice          any            `json:"tool_choice,omitempty"`
	ResponseFormat      any            `json:"response_format,omitempty"`
	Seed                *int64         `json:"seed,omitempty"`
}

// ChatChoice is one of the answers.
type ChatChoice struct {
	Index        int         `json:"index"`
	Message      ChatMessage `json:"message"`
	FinishReason string      `json:"finish_reason"`
}

// PromptTokens tells prompt tokens apart.
type PromptTokens struct {
	CachedTokens int64 `json:"cached_tokens"`
}

// TokenUsage counts the tokens of a request.
type TokenUsage struct {
	PromptTokens        int64         `json:"prompt_tokens"`
	CompletionTokens    int64         `json:"completion_tokens"`
	TotalTokens         int64         `json:"total_tokens"`
	PromptTokensDetails *PromptTokens `json:"prompt_tokens_details,omitempty"`
}

// ChatCompletion is the answer to a completion.
type ChatCompletion struct {
	ID      string       `json:"id"`
	Object  string       `json:"object" enum:"chat.completion"`
	Created int64        `json:"created" doc:"Unix time in seconds."`
	Model   string       `json:"model"`
	Choices []ChatChoice `json:"choices" nullable:"false"`
	Usage   TokenUsage   `json:"usage"`
}

// ModelInfo is a model that the key may use.
type ModelInfo struct {
	ID      string `json:"id"`
	Object  string `json:"object" enum:"model"`
	Created int64  `json:"created" doc:"Unix time in seconds."`
	OwnedBy string `json:"owned_by"`
}

// ModelList is the list of models.
type ModelList struct {
	Object string      `json:"object" enum:"list"`
	Data   []ModelInfo `json:"data" nullable:"false"`
}

type chatInput struct{ Body ChatRequest }

type chatOutput struct {
	RequestID string `header:"X-Request-Id" doc:"The id that usage and logs have for the request."`
	Body      ChatCompletion
}

type modelsOutput struct{ Body ModelList }

type modelInput struct {
	ID string `path:"id" example:"demo"`
}

type modelOutput struct{ Body ModelInfo }

func exampleRequest() ChatRequest {
	return ChatRequest{Model: "demo", Messages: []ChatMessage{{Role: "user", Content: "Say hello."}}, MaxCompletionTokens: 64}
}

const exampleCreated = 1790845200 // 2026-10-01 09:00 UTC

func exampleCompletion() ChatCompletion {
	return ChatCompletion{
		ID: "chatcmpl-1", Object: "chat.completion", Created: exampleCreated, Model: "demo",
		Choices: []ChatChoice{{Message: ChatMessage{Role: "assistant", Content: "Hello!"}, FinishReason: "stop"}},
		Usage:   TokenUsage{PromptTokens: 11, CompletionTokens: 3, TotalTokens: 14},
	}
}

func exampleModel() ModelInfo {
	return ModelInfo{ID: "demo", Object: "model", Created: exampleCreated, OwnedBy: "aiaas"}
}

const exampleStream = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1790845200,"model":"demo","choices":[{"index":0,"delta":{"role":"assistant","content":"Hello!"},"finish_reason":null}]}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1790845200,"model":"demo","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: [DONE]

`
