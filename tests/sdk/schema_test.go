package sdk_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/aiaas/aiaas/tests/harness"
)

// The types that OpenAI generates from its published schema.
const (
	completionType = "OpenAI.Chat.ChatCompletion"
	chunkType      = "OpenAI.Chat.ChatCompletionChunk"
	modelType      = "OpenAI.Models.Model"
	modelsType     = "{ object: 'list'; data: Array<OpenAI.Models.Model> }"
	errorType      = "{ error: OpenAI.ErrorObject }"
)

// checked is a program that compiles only if each document has its type: no
// member missing, none too much, every value one that the schema names.
type checked struct {
	text strings.Builder
	n    map[string]int // documents of each type
}

func (c *checked) has(typ, doc string) {
	c.n[typ]++
	fmt.Fprintf(&c.text, "%s satisfies %s;\n", literal(doc), typ)
}

// lacks asks for the opposite: the compiler must refuse the document.
func (c *checked) lacks(typ, doc string) {
	fmt.Fprintf(&c.text, "// @ts-expect-error\n%s satisfies %s;\n", literal(doc), typ)
}

// literal is a document as an expression on one line.
func literal(doc string) string { return "(" + gjson.Get(doc, "@ugly").Raw + ")" }

const toolsBody = `{"model":"demo","messages":[{"role":"user","content":"call the tool"}],"tools":[{"type":"function",` +
	`"function":{"name":"f","parameters":{"type":"object","properties":{"a":{"type":"integer"}}}}}]`

func TestAnswersHaveThePublishedTypes(t *testing.T) {
	program, modules := node(t)
	p := open(t)
	c := &checked{n: map[string]int{}}
	c.text.WriteString("import type OpenAI from 'openai';\n")
	for _, body := range []string{
		helloBody, helloBody + `,"n":2,"logprobs":true,"top_logprobs":1`, helloBody + `,"max_tokens":2`, toolsBody,
	} {
		whole := p.chat(t.Context(), body+"}", nil)
		if whole.Status != http.StatusOK {
			t.Fatal(whole)
		}
		c.has(completionType, string(whole.Body))
		for _, more := range []string{`,"stream":true}`, `,"stream":true,"stream_options":{"include_usage":true}}`} {
			c.stream(t, p.chat(t.Context(), body+more, nil))
		}
	}
	c.models(t, p)
	c.errors(t, p)
	c.refused(t, p)
	for typ, least := range map[string]int{completionType: 4, chunkType: 20, modelType: 2, modelsType: 1, errorType: 6} {
		if c.n[typ] < least {
			t.Errorf("%d documents of type %s were captured, expected %d or more", c.n[typ], typ, least)
		}
	}
	compile(t, program, modules, c.text.String())
}

// stream takes the chunks of a stream; its [DONE] is no document.
func (c *checked) stream(t *testing.T, a harness.Answer) {
	t.Helper()
	events := events(t, a)
	for _, e := range events[:len(events)-1] {
		c.has(chunkType, e)
	}
}

func (c *checked) models(t *testing.T, p *place) {
	t.Helper()
	for path, typ := range map[string]string{
		"/v1/models": modelsType, "/v1/models/demo": modelType, "/v1/models/lab%2Frecorded": modelType,
	} {
		a := p.gateway.Do(t.Context(), harness.Call{Method: http.MethodGet, Path: path, Key: p.gateway.APIKey})
		if a.Status != http.StatusOK {
			t.Fatal(a)
		}
		c.has(typ, string(a.Body))
	}
}

// errors takes the error objects; beside them stand the members of a problem
// document, which OpenAI's schema does not know.
func (c *checked) errors(t *testing.T, p *place) {
	t.Helper()
	only := func(doc string) { c.has(errorType, `{"error":`+gjson.Get(doc, "error").Raw+`}`) }
	for _, call := range []harness.Call{
		{Key: p.gateway.APIKey, Body: `{}`},
		{Key: "sk-nonsense", Body: helloBody + "}"},
		{Key: p.Keys.Broke, Body: helloBody + "}"},
		{Key: p.gateway.APIKey, Body: `{"model":"none","messages":[{"role":"user","content":"Hello"}]}`},
		{Key: p.gateway.APIKey, Body: helloBody + `,"demo":{"status":500}}`},
		{Key: p.gateway.APIKey, Path: "/v1/nothing", Method: http.MethodGet},
	} {
		a := p.gateway.Do(t.Context(), call)
		if a.Status < http.StatusBadRequest {
			t.Fatal(a)
		}
		only(string(a.Body))
	}
	broken := events(t, p.chat(t.Context(), helloBody+`,"stream":true,"demo":{"cut_after":5}}`, nil))
	only(broken[len(broken)-1])
}

// refused shows that the check bites: the compiler must find what is wrong here.
func (c *checked) refused(t *testing.T, p *place) {
	t.Helper()
	good := string(p.chat(t.Context(), helloBody+"}", nil).Body)
	change := func(path string, value any) string {
		bad, err := sjson.Set(good, path, value)
		harness.Must(t, err)
		return bad
	}
	missing, err := sjson.Delete(good, "choices.0.finish_reason")
	harness.Must(t, err)
	for _, bad := range []string{
		missing, change("unheard_of", 1), change("created", "today"),
		change("choices.0.finish_reason", "done"), change("usage.prompt_tokens", nil), change("object", "chat.completion.chunk"),
	} {
		c.lacks(completionType, bad)
	}
	c.lacks(errorType, `{"error":{"message":"","type":"","code":null}}`)
}

// compile runs the TypeScript compiler over the program.
func compile(t *testing.T, program, modules, text string) {
	t.Helper()
	dir := t.TempDir()
	config, err := json.Marshal(map[string]any{
		"files": []string{"answers.ts"},
		"compilerOptions": map[string]any{
			"noEmit": true, "strict": true, "exactOptionalPropertyTypes": true, "skipLibCheck": true, "types": []string{},
			"target": "es2022", "module": "esnext", "moduleResolution": "bundler",
			"paths": map[string][]string{"openai": {filepath.Join(modules, "openai")}},
		},
	})
	harness.Must(t, err)
	harness.Must(t, os.WriteFile(filepath.Join(dir, "tsconfig.json"), config, 0o600))
	harness.Must(t, os.WriteFile(filepath.Join(dir, "answers.ts"), []byte(text), 0o600))
	cmd := exec.CommandContext(t.Context(), program, filepath.Join(modules, "typescript", "bin", "tsc"), "--pretty", "false", "-p", dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("tsc: %v\n%s\nof the program\n%s", err, out, text[:min(len(text), 8000)])
	}
}
