package relay_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/relay"
)

const hi = `"messages":[{"role":"user","content":"hi"}]`

func chat(members string) string { return `{"model":"m",` + hi + members + `}` }

func deep(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestParseChatRefuses(t *testing.T) {
	for _, c := range []struct{ name, body, param string }{
		{"nothing", ``, ""},
		{"no JSON", `model=m`, ""},
		{"a value that is no object", `[1]`, ""},
		{"null", `null`, ""},
		{"a half object", `{"model":"m",` + hi, ""},
		{"a comma too many", chat(`,`), ""},
		{"a comment", chat(`/* */`), ""},
		{"single quotes", `{'model':'m',` + hi + `}`, ""},
		{"trailing data", chat(``) + `{}`, ""},
		{"trailing text", chat(``) + `x`, ""},
		{"a byte order mark", "\ufeff" + chat(``), ""},
		{"NaN", chat(`,"temperature":NaN`), ""},
		{"a leading zero", chat(`,"x":01`), ""},
		{"a duplicate member", chat(`,"model":"other"`), ""},
		{"a duplicate by escape", chat(`,"mod\u0065l":"other"`), ""},
		{"a duplicate within a message", `{"model":"m","messages":[{"role":"user","content":"hi","content":"ho"}]}`, ""},
		{"a duplicate within what is passed on", chat(`,"x":{"a":1,"a":2}`), ""},
		{"invalid UTF-8", "{\"model\":\"m\xff\"," + hi + "}", ""},
		{"invalid UTF-8 in what is passed on", chat(",\"x\":\"\xc3\x28\""), ""},
		{"half a surrogate pair", chat(`,"x":"\ud800"`), ""},
		{"a control character in a string", chat(",\"x\":\"\x00\""), ""},
		{"absurd depth", chat(`,"x":` + deep(100)), ""},
		{"depth without end", strings.Repeat(`{"a":`, 30_000), ""},
		{"no model", `{` + hi + `}`, "model"},
		{"a null model", `{"model":null,` + hi + `}`, "model"},
		{"a model that is no string", `{"model":1,` + hi + `}`, "model"},
		{"an empty model", `{"model":"",` + hi + `}`, "model"},
		{"a model with a line break", `{"model":"a\nb",` + hi + `}`, "model"},
		{"a model with a NUL", `{"model":"a\u0000",` + hi + `}`, "model"},
		{"a long model", `{"model":"` + strings.Repeat("x", 201) + `",` + hi + `}`, "model"},
		{"no messages", `{"model":"m"}`, "messages"},
		{"empty messages", `{"model":"m","messages":[]}`, "messages"},
		{"null messages", `{"model":"m","messages":null}`, "messages"},
		{"messages that are no array", `{"model":"m","messages":{}}`, "messages"},
		{"a message that is no object", `{"model":"m","messages":[{},"hi"]}`, "messages"},
		{"a stream that is a text", chat(`,"stream":"true"`), "stream"},
		{"a stream that is a number", chat(`,"stream":1`), "stream"},
		{"stream options that are none", chat(`,"stream_options":true`), "stream_options"},
		{"include_usage that is a text", chat(`,"stream_options":{"include_usage":"yes"}`), "stream_options.include_usage"},
		{"no answers", chat(`,"n":0`), "n"},
		{"fewer than no answers", chat(`,"n":-1`), "n"},
		{"too many answers", chat(`,"n":129`), "n"},
		{"half an answer", chat(`,"n":1.5`), "n"},
		{"an answer in scientific notation", chat(`,"n":1e0`), "n"},
		{"a text for a number", chat(`,"n":"1"`), "n"},
		{"no tokens", chat(`,"max_tokens":0`), "max_tokens"},
		{"negative tokens", chat(`,"max_completion_tokens":-5`), "max_completion_tokens"},
		{"tokens past any model", chat(`,"max_tokens":1099511627777`), "max_tokens"},
		{"tokens past an integer", chat(`,"max_tokens":9223372036854775808`), "max_tokens"},
		{"a name in another case", chat(`,"Max_Tokens":5`), "max_tokens"},
		{"a name in another case by escape", chat(`,"\u004dodel":"other"`), "model"},
		{"a name that folds to another", chat(`,"ſtream":true`), "stream"},
		{"N", chat(`,"N":5`), "n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := relay.ParseChat([]byte(c.body))
			f := fault.From(err)
			if err == nil || f.Code != fault.Invalid || f.Param != c.param {
				t.Errorf("%v at %q; want invalid at %q", err, f.Param, c.param)
			}
		})
	}
}

func TestParseChatReads(t *testing.T) {
	for _, c := range []struct {
		name, body string
		want       relay.Chat // Model is "m" throughout
		bound      int64      // of the output of a model with 1000
	}{
		{"the least", chat(``), relay.Chat{N: 1}, 1000},
		{"white space", " \n\t" + chat(``) + "\n ", relay.Chat{N: 1}, 1000},
		{"names by escape", `{"\u006dodel":"\u006d","mess\u0061ges":[{}],"\u006e":2}`, relay.Chat{N: 2}, 2000},
		{"a stream", chat(`,"stream":true`), relay.Chat{N: 1, Stream: true}, 1000},
		{"usage", chat(`,"stream":true,"stream_options":{"include_usage":true}`), relay.Chat{N: 1, Stream: true, IncludeUsage: true}, 1000},
		{"no usage", chat(`,"stream":true,"stream_options":{"include_usage":false}`), relay.Chat{N: 1, Stream: true}, 1000},
		{"nulls are as good as absent", chat(`,"stream":null,"n":null,"max_tokens":null,"stream_options":null`), relay.Chat{N: 1}, 1000},
		{"the older name of the output's bound", chat(`,"max_tokens":7`), relay.Chat{N: 1, MaxOutput: 7}, 7},
		{"the newer one", chat(`,"max_completion_tokens":8`), relay.Chat{N: 1, MaxOutput: 8}, 8},
		{"of both the larger", chat(`,"max_completion_tokens":8,"max_tokens":9`), relay.Chat{N: 1, MaxOutput: 9}, 9},
		{"in any order", chat(`,"max_tokens":9,"max_completion_tokens":8`), relay.Chat{N: 1, MaxOutput: 9}, 9},
		{"several answers", chat(`,"n":128,"max_tokens":3`), relay.Chat{N: 128, MaxOutput: 3}, 384},
		{"depth that is allowed", chat(`,"x":` + deep(99)), relay.Chat{N: 1}, 1000},
		{"brackets in strings", chat(`,"x":"` + strings.Repeat(`[`, 500) + `\\\"["`), relay.Chat{N: 1}, 1000},
		{"members that mean nothing here", chat(`,"temperature":0.1e-5,"seed":123456789012345678901234567890,"MODELS":1`), relay.Chat{N: 1}, 1000},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := relay.ParseChat([]byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if got.Model != "m" || got.N != c.want.N || got.Stream != c.want.Stream ||
				got.IncludeUsage != c.want.IncludeUsage || got.MaxOutput != c.want.MaxOutput {
				t.Errorf("%+v; want %+v", got, c.want)
			}
			if b := got.OutputBound(1000); b != c.bound {
				t.Errorf("output bound %d; want %d", b, c.bound)
			}
			if b := got.InputBound(); b < int64(len(c.body)) {
				t.Errorf("input bound %d of %d bytes", b, len(c.body))
			}
		})
	}
}

func content(parts string) string {
	return `{"model":"m","messages":[{"role":"user","content":` + parts + `}]}`
}

func TestWhatHasNoBoundIsNamed(t *testing.T) {
	for _, c := range []struct{ name, body, want string }{
		{"text", chat(``), ""},
		{"parts of text", content(`[{"type":"text","text":"hi"},{"type":"refusal","refusal":"no"}]`), ""},
		{"an image in the request", content(`[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}]`), ""},
		{"sound in the request", content(`[{"type":"input_audio","input_audio":{"data":"AA==","format":"wav"}}]`), ""},
		{"functions", chat(`,"tools":[{"type":"function","function":{"name":"f"}},{"type":"custom","custom":{"name":"c"}}]`), ""},
		{"nulls", chat(`,"tools":null,"prediction":null,"web_search_options":null`), ""},
		{"a remote image", content(`[{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}]`), "image"},
		{"an image without address", content(`[{"type":"image_url"}]`), "image"},
		{"a file", content(`[{"type":"file","file":{"file_id":"file-1"}}]`), `"file"`},
		{"a file in a later message", `{"model":"m","messages":[{"content":"x"},{"content":[{"type":"text"},{"type":"file"}]}]}`, `"file"`},
		{"a file by escape", content(`[{"\u0074ype":"\u0066ile","file":{"file_id":"file-1"}}]`), `"file"`},
		{"a file in content by escape", `{"model":"m","messages":[{"c\u006fntent":[{"type":"file"}]}]}`, `"file"`},
		{"a part without type", content(`[{"image_url":{"url":"https://example.com/a.png"}}]`), `""`},
		{"a type in another case", content(`[{"Type":"file"}]`), `""`},
		{"a part that is no object", content(`["hi"]`), `""`},
		{"a tool of the backend", chat(`,"tools":[{"type":"function"},{"type":"web_search"}]`), `"web_search"`},
		{"a tool without type", chat(`,"tools":[{}]`), `tools`},
		{"a search", chat(`,"web_search_options":{}`), "web_search_options"},
		{"a prediction", chat(`,"prediction":{"type":"content","content":"x"}`), "prediction"},
		{"spoken output", chat(`,"audio":{"voice":"alloy"}`), "audio"},
		{"a stored conversation", chat(`,"previous_response_id":"resp_1"`), "previous_response_id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := relay.ParseChat([]byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if got := got.Unbounded(); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("unbounded by %q; want %q", got, c.want)
			}
		})
	}
}

func TestMessagesAndImagesWidenTheBound(t *testing.T) {
	bound := func(body string) int64 {
		c, err := relay.ParseChat([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return c.InputBound() - int64(len(body))
	}
	one := bound(content(`"hi"`))
	if two := bound(`{"model":"m","messages":[{},{}]}`); two <= one {
		t.Errorf("two messages add %d to their bytes, one %d", two, one)
	}
	if image := bound(content(`[{"type":"image_url","image_url":{"url":"data:,"}}]`)); image < one+4096 {
		t.Errorf("an image adds %d to its bytes; want 4096 more than %d", image, one)
	}
}

func TestForward(t *testing.T) {
	for _, c := range []struct {
		name, body string
		bound      int64
		want       string
	}{
		{"the model's name is the backend's", chat(``), 0, `{"model":"up\"1",` + hi + `}`},
		{"nothing else changes", `{"z":[1, 2.50 ,1E400],"model":"m","a":{"b" : "\u00e9\/"},` + hi + `}`, 0, `{"z":[1, 2.50 ,1E400],"model":"up\"1","a":{"b" : "\u00e9\/"},` + hi + `}`},
		{"the bound is injected", chat(``), 100, `{"model":"up\"1",` + hi + `,"max_completion_tokens":100}`},
		{"the client's bound stays", chat(`,"max_tokens":5`), 100, `{"model":"up\"1",` + hi + `,"max_tokens":5}`},
		{"a bound of null is replaced", chat(`,"max_tokens":null`), 100, `{"model":"up\"1",` + hi + `,"max_completion_tokens":100}`},
		{"usage is asked for", chat(`,"stream":true`), 0, `{"model":"up\"1",` + hi + `,"stream":true,"stream_options":{"include_usage":true}}`},
		{
			"other stream options stay", chat(`,"stream_options":{"include_obfuscation":false,"include_usage":false,"x\"":[1]},"stream":true`), 0,
			`{"model":"up\"1",` + hi + `,"stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false,"x\"":[1]}}`,
		},
		{"names are written as they were read", chat(`,"a\u0022\n":1`), 0, `{"model":"up\"1",` + hi + `,"a\"\n":1}`},
		{"an escaped model is the model", `{"\u006dodel":"m",` + hi + `}`, 0, `{"model":"up\"1",` + hi + `}`},
		{"an escaped option is no second one", chat(`,"stream":true,"stream_options":{"include\u005fusage":false}`), 0, `{"model":"up\"1",` + hi + `,"stream":true,"stream_options":{"include_usage":true}}`},
		{"not streamed, options are the backend's to judge", chat(`,"stream_options":{"include_usage":true}`), 0, `{"model":"up\"1",` + hi + `,"stream_options":{"include_usage":true}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			chat, err := relay.ParseChat([]byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // a fallback builds it again
				if got := string(chat.Forward(`up"1`, c.bound)); got != c.want {
					t.Errorf("forwarded\n%s\nwant\n%s", got, c.want)
				}
			}
		})
	}
}

// FuzzParseChat: what is accepted is read the same way by whoever reads what is
// forwarded, be it the standard library (which ignores case), or gjson (which
// takes the first of two members).
func FuzzParseChat(f *testing.F) {
	for _, members := range []string{
		``, `,"stream":true,"n":3`, `,"max_tokens":9,"tools":[]`, `,"stream":true,"stream_options":{"include_usage":true,"a":1}`,
		`,"max_completion_tokens":9`, `,"\u006e":3`, `,"x":{"N":"\ud83d\ude00"}`, `,"stream":null`, `,"n":2,"N":3`,
	} {
		f.Add([]byte(chat(members)))
	}
	f.Add([]byte(content(`[{"type":"image_url","image_url":{"url":"data:,"}}]`)))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := relay.ParseChat(bytes.Clone(body))
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("%v; want invalid", err)
			}
			return
		}
		out := c.Forward("upstream", 77)
		var std struct {
			Model               string
			Messages            []map[string]any
			Stream              bool
			N                   *int64
			MaxTokens           int64 `json:"max_tokens"`
			MaxCompletionTokens int64 `json:"max_completion_tokens"`
			StreamOptions       struct {
				IncludeUsage bool `json:"include_usage"`
			} `json:"stream_options"`
		}
		if err := json.Unmarshal(out, &std); err != nil {
			t.Fatalf("forwarded %s: %v", out, err)
		}
		n := int64(1)
		if std.N != nil {
			n = *std.N
		}
		most := c.MaxOutput
		if most == 0 {
			most = 77
		}
		if std.Model != "upstream" || std.Stream != c.Stream || n != c.N || max(std.MaxTokens, std.MaxCompletionTokens) != most {
			t.Fatalf("read as %+v, forwarded %s", c, out)
		}
		if c.Stream && !std.StreamOptions.IncludeUsage && !strings.Contains(strings.ToLower(string(body)), "stream_options") {
			t.Fatalf("no usage is asked for in %s", out)
		}
		g := gjson.ParseBytes(out)
		if g.Get("model").Str != "upstream" || g.Get("stream").Bool() != c.Stream || len(g.Get("messages").Array()) != len(std.Messages) {
			t.Fatalf("gjson reads %s otherwise", out)
		}
		if c.Stream && !g.Get("stream_options.include_usage").Bool() {
			t.Fatalf("no usage is asked for in %s", out)
		}
		// All else passes as it came.
		var in, forwarded map[string]any
		if json.Unmarshal(body, &in) != nil || json.Unmarshal(out, &forwarded) != nil {
			return // a number beyond a float64
		}
		for name, v := range in {
			switch name {
			case "model", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens":
				continue
			}
			if !reflect.DeepEqual(v, forwarded[name]) {
				t.Fatalf("%q came as %v and went as %v", name, v, forwarded[name])
			}
		}
	})
}
