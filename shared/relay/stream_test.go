package relay_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/aiaas/aiaas/shared/relay"
)

const (
	roleChunk = `data: {"choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}` + "\n\n"
	helChunk  = `data: {"choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}],"usage":null}` + "\n\n"
	helClean  = `data: {"choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}]}` + "\n\n"
	loChunk   = `data: {"choices":[{"index":0,"delta":{"content":"lo"}}]}` + "\n\n"
	stopChunk = `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	useChunk  = `data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":3}}}` + "\n\n"
	done      = "data: [DONE]\n\n"
	usage     = `{"prompt_tokens":7,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":3}}`
)

type streamCase struct {
	name      string
	in        string
	answers   int64 // 0: one
	showUsage bool
	bound     int64
	want      relay.Reading
}

func streamCases() []streamCase {
	second := strings.NewReplacer(`"index":0`, `"index":1`)
	crlf := strings.NewReplacer("\n", "\r\n")
	reported := func(r relay.Reading) relay.Reading {
		r.Input, r.Cached, r.Output, r.Reported, r.Raw, r.Complete = 7, 3, 2, true, usage, true
		return r
	}
	return []streamCase{
		{
			name: "the usage block that the client did not ask for is hidden", in: roleChunk + helChunk + loChunk + stopChunk + useChunk + done,
			want: reported(relay.Reading{Shown: roleChunk + helClean + loChunk, Ending: stopChunk + done, Estimate: 2}),
		},
		{
			name: "the usage block that the client asked for is withheld with the end", in: roleChunk + helChunk + loChunk + stopChunk + useChunk + done, showUsage: true,
			want: reported(relay.Reading{Shown: roleChunk + helChunk + loChunk, Ending: stopChunk + useChunk + done, Estimate: 2}),
		},
		{
			name: "lines end with CRLF", in: crlf.Replace(helChunk + loChunk + stopChunk + useChunk + done),
			want: reported(relay.Reading{Shown: crlf.Replace(helClean + loChunk), Ending: crlf.Replace(stopChunk + done), Estimate: 2}),
		},
		{
			name: "comments and other fields pass", in: ": ping\n\nevent: x\nid: 1\n\n" + helChunk + ": ping\n\n" + loChunk + stopChunk + ": ping\n\n" + done,
			want: relay.Reading{
				Shown: ": ping\n\nevent: x\nid: 1\n\n" + helClean + ": ping\n\n" + loChunk, Ending: stopChunk + ": ping\n\n" + done,
				Complete: true, Estimate: 2,
			},
		},
		{
			name: "a payload over two data lines is one", showUsage: true,
			in: "data: {\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"Hello\"}}]}\n\n" + stopChunk + "data: {\"choices\":[],\ndata: \"usage\":" + usage + "}\n\n" + done,
			want: reported(relay.Reading{
				Shown:    "data: {\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"Hello\"}}]}\n\n",
				Ending:   stopChunk + "data: {\"choices\":[],\ndata: \"usage\":" + usage + "}\n\n" + done,
				Estimate: 2,
			}),
		},
		{
			name: "usage within a payload over two data lines is cut out",
			in:   "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"}}],\ndata: \"usage\":" + usage + "}\n\n" + stopChunk + done,
			want: reported(relay.Reading{
				Shown: "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"}}]}\n\n", Ending: stopChunk + done, Estimate: 2,
			}),
		},
		{
			name: "usage on the last chunk", in: helChunk + `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":` + usage + "}\n\n" + done,
			want: reported(relay.Reading{Shown: helClean, Ending: stopChunk + done, Estimate: 1}),
		},
		{
			name: "continuous usage counts by its last block",
			in: `data: {"choices":[{"index":0,"delta":{"content":"Hel"}}],"usage":{"prompt_tokens":7,"completion_tokens":1}}` + "\n\n" +
				`data: {"choices":[{"index":0,"delta":{"content":"lo"}}],"usage":` + usage + "}\n\n" + stopChunk + done,
			want: reported(relay.Reading{
				Shown:  `data: {"choices":[{"index":0,"delta":{"content":"Hel"}}]}` + "\n\n" + loChunk,
				Ending: stopChunk + done, Estimate: 2,
			}),
		},
		{
			name: "a block of zeros is a report", in: helChunk + stopChunk + `data: {"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}` + "\n\n" + done,
			want: relay.Reading{Shown: helClean, Ending: stopChunk + done, Complete: true, Reported: true, Estimate: 1, Raw: `{"prompt_tokens":0,"completion_tokens":0}`},
		},
		{
			name: "counts that are none are no report", in: helChunk + stopChunk + `data: {"choices":[],"usage":{"prompt_tokens":-1,"completion_tokens":5}}` + "\n\n" + done,
			want: relay.Reading{Shown: helClean, Ending: stopChunk + done, Complete: true, Estimate: 1},
		},
		{
			name: "a usage block that no event can hold counts all the same",
			in:   helChunk + stopChunk + `data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"x":1,"x":"\u0000"}}` + "\n\n" + done,
			want: relay.Reading{Shown: helClean, Ending: stopChunk + done, Complete: true, Reported: true, Input: 7, Output: 2, Estimate: 1},
		},
		{
			name: "the word usage in a text stays", in: `data: {"choices":[{"index":0,"delta":{"content":",\"usage\":null"}}]}` + "\n\n" + stopChunk + done,
			want: relay.Reading{
				Shown:  `data: {"choices":[{"index":0,"delta":{"content":",\"usage\":null"}}]}` + "\n\n",
				Ending: stopChunk + done, Complete: true, Estimate: 4,
			},
		},
		{
			name: "of two answers the last finish_reason withholds", answers: 2,
			in: helChunk + stopChunk + second.Replace(helChunk) + second.Replace(stopChunk) + useChunk + done,
			want: reported(relay.Reading{
				Shown: helClean + stopChunk + second.Replace(helClean), Ending: second.Replace(stopChunk) + done, Estimate: 2,
			}),
		},
		{
			name: "an index that nobody asked for finishes nothing", in: helChunk + second.Replace(stopChunk) + loChunk + stopChunk + done,
			want: relay.Reading{Shown: helClean + second.Replace(stopChunk) + loChunk, Ending: stopChunk + done, Complete: true, Estimate: 2},
		},
		{
			name: "a missing terminator is added", in: helChunk + stopChunk + useChunk,
			want: reported(relay.Reading{Shown: helClean, Ending: stopChunk + done, Estimate: 1}),
		},
		{
			name: "an end without a blank line is no event", in: helChunk + strings.TrimSuffix(stopChunk, "\n"),
			want: relay.Reading{Shown: helClean, Ending: done, Estimate: 1, Err: relay.ErrCutOff},
		},
		{
			name: "a terminator before the answer is complete", in: helChunk + done,
			want: relay.Reading{Shown: helClean, Ending: done, Estimate: 1, Err: relay.ErrCutOff},
		},
		{
			name: "nothing after the terminator is read", in: helChunk + stopChunk + done + loChunk,
			want: relay.Reading{Shown: helClean, Ending: stopChunk + done, Complete: true, Estimate: 1},
		},
		{
			name: "reasoning, refusals and tool calls are output", showUsage: true,
			in: `data: {"choices":[{"index":0,"delta":{"reasoning_content":"1234","refusal":"5678","tool_calls":["12"]}}]}` + "\n\n",
			want: relay.Reading{
				Shown:  `data: {"choices":[{"index":0,"delta":{"reasoning_content":"1234","refusal":"5678","tool_calls":["12"]}}]}` + "\n\n",
				Ending: done, Estimate: 4, Err: relay.ErrCutOff,
			},
		},
		{
			name: "what is no JSON ends the stream", in: helChunk + "data: {\"choices\":[\n\n" + loChunk,
			want: relay.Reading{Shown: helClean, Ending: done, Estimate: 1, Err: relay.ErrMalformed},
		},
		{
			name: "what is no object ends the stream", in: helChunk + "data: []\n\n",
			want: relay.Reading{Shown: helClean, Ending: done, Estimate: 1, Err: relay.ErrMalformed},
		},
		{
			name: "an error within the stream is not shown", in: helChunk + `data: {"error":{"message":"secret host 10.0.0.1"}}` + "\n\n",
			want: relay.Reading{Shown: helClean, Ending: done, Estimate: 1, Err: relay.ErrReported},
		},
		{
			name: "a stream past its bound is cut before what passes it is shown", bound: 2, in: helChunk + loChunk + loChunk + stopChunk + done,
			want: relay.Reading{Shown: helClean + loChunk, Ending: done, Estimate: 3, Err: relay.ErrPastBound},
		},
		{
			name: "a stream up to its bound is whole", bound: 2, in: helChunk + loChunk + stopChunk + done,
			want: relay.Reading{Shown: helClean + loChunk, Ending: stopChunk + done, Complete: true, Estimate: 2},
		},
	}
}

func compare(t *testing.T, how string, want, got relay.Reading) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateErrors()); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", how, diff)
	}
}

func TestStreams(t *testing.T) {
	for _, c := range streamCases() {
		t.Run(c.name, func(t *testing.T) {
			answers := max(1, c.answers)
			read := func(r io.Reader) relay.Reading { return relay.ReadStream(r, answers, c.bound, c.showUsage) }
			compare(t, "at once", c.want, read(strings.NewReader(c.in)))
			compare(t, "byte by byte", c.want, read(iotest.OneByteReader(strings.NewReader(c.in))))
			compare(t, "with the end's error", c.want, read(iotest.DataErrReader(strings.NewReader(c.in))))
			for cut := range len(c.in) {
				compare(t, "in two parts", c.want, read(io.MultiReader(strings.NewReader(c.in[:cut]), strings.NewReader(c.in[cut:]))))
			}
			for size := 2; size < 64; size++ {
				compare(t, "in reads of a size", c.want, read(&sized{strings.NewReader(c.in), size}))
			}
		})
	}
}

type sized struct {
	r    io.Reader
	size int
}

func (s *sized) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.size)]) }

// However far a stream comes before it breaks: the end is not shown, and what was
// received counts.
func TestAStreamCutAnywhereShowsNoEnd(t *testing.T) {
	whole := roleChunk + helChunk + loChunk + stopChunk + useChunk + done
	broken := errors.New("connection reset")
	finish := strings.Index(whole, stopChunk) + len(stopChunk)
	for cut := range len(whole) {
		r := io.MultiReader(strings.NewReader(whole[:cut]), iotest.ErrReader(broken))
		got := relay.ReadStream(r, 1, 0, false)
		if strings.Contains(got.Shown, "stop") || strings.Contains(got.Shown, "[DONE]") || strings.Contains(got.Shown, "tokens") {
			t.Fatalf("cut at %d, the client was shown %q", cut, got.Shown)
		}
		if got.Complete != (cut >= finish) {
			t.Fatalf("cut at %d: complete is %t", cut, got.Complete)
		}
		if !errors.Is(got.Err, broken) {
			t.Fatalf("cut at %d: %v; want the backend's error", cut, got.Err)
		}
		if want := int64(strings.Count(got.Shown, "content")); got.Estimate != want {
			t.Fatalf("cut at %d: estimate %d of %q; want %d", cut, got.Estimate, got.Shown, want)
		}
	}
}

// endless is one event that never ends.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	if e.read == 0 {
		copy(p, "data: ")
	}
	e.read += len(p)
	return len(p), nil
}

func TestABackendCanNotFillTheMemory(t *testing.T) {
	for name, in := range map[string]io.Reader{
		"an event without end":              &endless{},
		"events without end after the last": io.MultiReader(strings.NewReader(stopChunk), &repeated{data: []byte(": ping\n\n")}),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got := relay.ReadStream(in, 1, 0, false)
		runtime.ReadMemStats(&after)
		if !errors.Is(got.Err, relay.ErrEventTooLong) {
			t.Errorf("%s: %v; want it to be too long", name, got.Err)
		}
		if grew := after.TotalAlloc - before.TotalAlloc; grew > 16*relay.MaxEvent {
			t.Errorf("%s: %d bytes were allocated", name, grew)
		}
	}
}

type repeated struct {
	data []byte
	at   int
}

func (r *repeated) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = r.data[r.at%len(r.data)]
		r.at++
	}
	return len(p), nil
}

// FuzzStream holds a stream to two rules whatever a backend sends: the sizes of
// the reads change nothing, and a finish_reason is shown only while another answer
// is open.
func FuzzStream(f *testing.F) {
	for _, c := range streamCases() {
		f.Add([]byte(c.in), uint8(max(1, c.answers)), c.showUsage)
	}
	f.Fuzz(func(t *testing.T, in []byte, answers uint8, showUsage bool) {
		n := int64(answers%4) + 1
		whole := relay.ReadStream(bytes.NewReader(in), n, 0, showUsage)
		parts := relay.ReadStream(iotest.OneByteReader(bytes.NewReader(in)), n, 0, showUsage)
		if (whole.Err == nil) != (parts.Err == nil) {
			t.Fatalf("%v at once, %v byte by byte", whole.Err, parts.Err)
		}
		whole.Err, parts.Err = nil, nil
		compare(t, "byte by byte", whole, parts)
		if whole.Input < 0 || whole.Output < 0 || whole.Cached < 0 || whole.Cached > whole.Input {
			t.Fatalf("counts %+v", whole)
		}
	})
}
