package catalogue_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// gated is a backend that sends one piece of a stream, and the rest when it is
// let.
type gated struct{ rest chan struct{} }

func (g gated) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, `data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"demo","choices":[{"index":0,"delta":{"role":"assistant","content":"first"}}]}`+"\n\n")
	_ = http.NewResponseController(w).Flush()
	select {
	case <-g.rest:
	case <-r.Context().Done():
		return
	}
	_, _ = io.WriteString(w, `data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"demo","choices":[{"index":0,"delta":{"content":"last"},"finish_reason":"stop"}]}`+"\n\n"+
		`data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"demo","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}`+"\n\ndata: [DONE]\n\n")
}

// firstOf reads a stream up to a text.
func firstOf(t *testing.T, in *bufio.Reader, text string) {
	t.Helper()
	for {
		line, err := in.ReadString('\n')
		if strings.Contains(line, text) {
			return
		}
		if err != nil {
			t.Fatalf("no %q before %v", text, err)
		}
	}
}

func TestTheFirstTokenArrivesWhileTheBackendStillProduces(t *testing.T) {
	t.Parallel()
	p := start(t)
	g := gated{rest: make(chan struct{})}
	p.serve("gated", g)
	resp, err := http.DefaultClient.Do(p.request(t.Context(), "POST", "/v1/chat/completions", p.key(caller), chatBody("gated", true)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		t.Fatalf("status %d, headers %v", resp.StatusCode, resp.Header)
	}
	in := bufio.NewReader(resp.Body)
	firstOf(t, in, "first") // the backend holds the rest back for ever, unless this came
	close(g.rest)
	rest, err := io.ReadAll(in)
	if err != nil || !strings.Contains(string(rest), "last") || !strings.HasSuffix(string(rest), "data: [DONE]\n\n") {
		t.Errorf("the rest: %q, %v", rest, err)
	}
	p.job("metering", "drain")
	if got := p.scalar(`SELECT string_agg(outcome || ' ' || input_tokens || ' ' || output_tokens, ',') FROM analytics.usage_events`); got != "complete 5 2" {
		t.Errorf("booked %q", got)
	}
}

func TestOpenAISDK(t *testing.T) {
	t.Parallel()
	p := start(t)
	client := openai.NewClient(option.WithBaseURL(p.URL+"/v1"), option.WithAPIKey(p.key(caller)), option.WithMaxRetries(0))
	params := openai.ChatCompletionNewParams{
		Model:    modelID,
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Say something")},
	}

	whole, err := client.Chat.Completions.New(t.Context(), params)
	if err != nil || len(whole.Choices) != 1 || whole.Choices[0].Message.Content == "" || whole.Usage.TotalTokens == 0 {
		t.Fatalf("completion: %+v, %v", whole, err)
	}
	stream := client.Chat.Completions.NewStreaming(t.Context(), params)
	var acc openai.ChatCompletionAccumulator
	pieces := 0
	for stream.Next() {
		acc.AddChunk(stream.Current())
		pieces++
	}
	if err := stream.Err(); err != nil || pieces < 3 || acc.Choices[0].Message.Content != whole.Choices[0].Message.Content {
		t.Errorf("stream of %d pieces, %v: %+v", pieces, err, acc.Choices)
	}
	models, err := client.Models.List(t.Context())
	if err != nil || len(models.Data) != 1 || models.Data[0].ID != modelID {
		t.Errorf("models: %+v, %v", models, err)
	}
	params.Model = "ghost"
	_, err = client.Chat.Completions.New(t.Context(), params)
	if apiErr, ok := err.(*openai.Error); !ok || apiErr.StatusCode != 404 || apiErr.Code != "model_not_found" { //nolint:errorlint // the SDK returns it as it is
		t.Errorf("unknown model: %v", err)
	}
	p.job("metering", "drain")
	want := p.scalar(`SELECT count(*) || ' ' || count(DISTINCT cost_nano) || ' ' || min(output_tokens) FROM analytics.usage_events`)
	if got := "2 1 " + itoa(whole.Usage.CompletionTokens); got != want {
		t.Errorf("booked %s; want %s", want, got)
	}
}
