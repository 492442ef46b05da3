package sdk_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/aiaas/aiaas/tests/harness"
)

// pythonHeaders are what OpenAI's Python SDK sends with each request, through
// httpx. Its asynchronous client says "async:asyncio".
func pythonHeaders() http.Header {
	return http.Header{
		"Accept":                      {"application/json"},
		"Accept-Encoding":             {"gzip, deflate"},
		"Connection":                  {"keep-alive"},
		"Content-Type":                {"application/json"},
		"User-Agent":                  {"OpenAI/Python 2.8.0"},
		"X-Stainless-Lang":            {"python"},
		"X-Stainless-Package-Version": {"2.8.0"},
		"X-Stainless-Os":              {"Linux"},
		"X-Stainless-Arch":            {"x64"},
		"X-Stainless-Runtime":         {"CPython"},
		"X-Stainless-Runtime-Version": {"3.13.1"},
		"X-Stainless-Async":           {"false"},
		"X-Stainless-Retry-Count":     {"0"},
		"X-Stainless-Read-Timeout":    {"600"},
		"Openai-Organization":         {"org-abc"},
		"Openai-Project":              {"proj_abc"},
	}
}

const helloBody = `{"messages":[{"role":"user","content":"Hello"}],"model":"demo"`

// TestWire holds the gateway to what clients see below any SDK.
func TestWire(t *testing.T) {
	p := open(t)
	t.Run("what Python's SDK relies on", p.python)
	t.Run("harmless differences", p.harmless)
	t.Run("unknown members are forwarded verbatim", p.verbatim)
}

func (p *place) python(t *testing.T) {
	t.Run("a whole answer is plain JSON with its length", func(t *testing.T) {
		a := p.chat(t.Context(), helloBody+"}", pythonHeaders())
		if a.Status != http.StatusOK || a.Header.Get("Content-Type") != "application/json" || a.Header.Get("Content-Encoding") != "" {
			t.Fatalf("%s %v", a, a.Header)
		}
		if !json.Valid(a.Body) || !strings.HasPrefix(a.RequestID, "req_") {
			t.Error(a)
		}
	})
	t.Run("a stream is data lines, each with a blank line, and [DONE]", func(t *testing.T) {
		for _, more := range []string{"", `,"stream_options":{"include_usage":true}`} {
			checkFraming(t, p.chat(t.Context(), helloBody+`,"stream":true`+more+"}", pythonHeaders()))
		}
	})
	t.Run("an error in a stream is framed as the rest of it", func(t *testing.T) {
		a := p.chat(t.Context(), helloBody+`,"stream":true,"demo":{"cut_after":5}}`, pythonHeaders())
		events := events(t, a)
		if last := gjson.Parse(events[len(events)-1]); last.Get("error.code").String() != "upstream_error" || !last.Get("request_id").Exists() {
			t.Errorf("last event: %s", last.Raw)
		}
	})
	t.Run("an error has an object that the SDK finds", func(t *testing.T) {
		a := p.chat(t.Context(), `{"model":"demo"}`, pythonHeaders())
		e := gjson.GetBytes(a.Body, "error")
		if a.Status != http.StatusBadRequest || e.Get("param").String() != "messages" || e.Get("message").String() == "" {
			t.Error(a)
		}
	})
	t.Run("nothing tells the SDK how to retry but the status and Retry-After", func(t *testing.T) {
		a := p.chat(t.Context(), helloBody+`,"demo":{"status":503,"retry_after":7}}`, pythonHeaders())
		if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") != "7" ||
			a.Header.Get("Retry-After-Ms") != "" || a.Header.Get("X-Should-Retry") != "" {
			t.Errorf("%s %v", a, a.Header)
		}
	})
}

func checkFraming(t *testing.T, a harness.Answer) {
	t.Helper()
	if a.Status != http.StatusOK || a.Header.Get("Content-Type") != "text/event-stream; charset=utf-8" ||
		a.Header.Get("Content-Encoding") != "" || a.Header.Get("Content-Length") != "" {
		t.Fatalf("%s %v", a, a.Header)
	}
	events := events(t, a)
	if last := events[len(events)-1]; last != "[DONE]" {
		t.Errorf("last event: %s", last)
	}
	for _, e := range events[:len(events)-1] {
		if gjson.Get(e, "object").String() != "chat.completion.chunk" {
			t.Errorf("event: %s", e)
		}
	}
}

// events splits a stream, and fails the test unless it is nothing but single data
// lines with a blank line after each.
func events(t *testing.T, a harness.Answer) []string {
	t.Helper()
	text, ok := strings.CutSuffix(string(a.Body), "\n\n")
	if !ok || a.Err != nil || strings.ContainsAny(text, "\r\ufeff") {
		t.Fatalf("no well-formed stream: %s", a)
	}
	var out []string
	for event := range strings.SplitSeq(text, "\n\n") {
		payload, ok := strings.CutPrefix(event, "data: ")
		if !ok || strings.Contains(payload, "\n") || payload != "[DONE]" && !gjson.Valid(payload) {
			t.Fatalf("event: %q", event)
		}
		out = append(out, payload)
	}
	return out
}

// harmless: clients differ in small ways that mean nothing.
func (p *place) harmless(t *testing.T) {
	body := helloBody + "}"
	for name, c := range map[string]harness.Call{
		"a newline after the body":      {Body: body + "\n"},
		"space all around":              {Body: " \r\n\t" + body + " \r\n"},
		"a content type with a charset": {Body: body, Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}},
		"no length":                     {Body: body, Chunked: true},
		"another Accept":                {Body: body, Header: http.Header{"Accept": {"text/event-stream"}}},
		"the asynchronous client":       {Body: body, Header: http.Header{"X-Stainless-Async": {"async:asyncio"}}},
		"null for what is optional":     {Body: helloBody + `,"stream":null,"n":null,"max_tokens":null,"stream_options":null,"tools":null,"stop":null}`},
		"a key as X-API-Key":            {Body: body, Header: http.Header{"X-Api-Key": {p.gateway.APIKey}}},
		"the key in both headers":       {Body: body, Key: p.gateway.APIKey, Header: http.Header{"X-Api-Key": {p.gateway.APIKey}}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.Key == "" && c.Header.Get("X-Api-Key") == "" {
				c.Key = p.gateway.APIKey
			}
			if a := p.gateway.Do(t.Context(), c); a.Status != http.StatusOK || a.Err != nil {
				t.Error(a)
			}
		})
	}
}

// verbatim: what the gateway does not interpret it does not rewrite either.
// Numbers that no float64 holds, escapes, order and spaces stay as written.
func (p *place) verbatim(t *testing.T) {
	const (
		before   = `"x_big":12345678901234567890123,"x_exact":1.10,"x_exponent":1E+5`
		messages = `"messages":[{"role":"user","content":"Gr\u00fc\u00dfe \ud83d\ude00 \/ \u2028","x_note":{ "b" : 1, "a" : -0.0 }}]`
		after    = `"x_nested":[{"z":1,"a":[[],{},null]}],"":"","x.dotted":true`
	)
	a := p.chat(t.Context(), `{`+before+`,"model":"lab/recorded", `+messages+`,`+after+`}`, nil)
	if a.Status != http.StatusOK {
		t.Fatal(a)
	}
	got, ok := p.recorder.received(a.RequestID)
	if !ok {
		t.Fatalf("nothing with the id %s reached the backend", a.RequestID)
	}
	if want := `{` + before + `,"model":"demo",` + messages + `,` + after + `}`; string(got.Body) != want {
		t.Errorf("the backend received\n%s\nwant\n%s", got.Body, want)
	}
	if bytes.Contains(got.Body, []byte(p.gateway.APIKey)) || got.Headers.Get("Authorization") != "" || got.Headers.Get("X-Api-Key") != "" {
		t.Errorf("the client's key went on to the backend: %v", got.Headers)
	}
}
