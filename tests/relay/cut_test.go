package relay_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/aiaas/aiaas/adapters/openai"
	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/model"
	"github.com/aiaas/aiaas/shared/relay"
	"github.com/aiaas/aiaas/shared/usage"
)

// cuttable is one kind of stream, as its backend would send all of it.
type cuttable struct {
	name   string
	body   string // the request
	n      int    // choices
	usage  bool   // the client asked for the usage chunk
	blocks bool   // under a budget that blocks
	events []event
}

// event is one event of a backend, and what it means for the bill.
type event struct {
	text     string
	content  int  // bytes of content; 0: no delta with content
	finishes bool // a choice
	usage    bool // it is the usage chunk
}

const (
	reportedInput, reportedOutput = 7, 11 // of the usage chunk; no estimate comes to these
)

func cuttables() []cuttable {
	var out []cuttable
	for _, n := range []int{1, 2} {
		for _, wanted := range []bool{false, true} {
			for _, blocks := range []bool{false, true} {
				c := cuttable{n: n, usage: wanted, blocks: blocks, name: fmt.Sprintf("%d choices, usage asked for: %v, budget: %v", n, wanted, blocks)}
				c.body = fmt.Sprintf(`{"model":"m","stream":true,"n":%d,"stream_options":{"include_usage":%v},"messages":[{"role":"user","content":"hi"}]}`, n, wanted)
				c.events = eventsOf(n)
				out = append(out, c)
			}
		}
	}
	return out
}

// eventsOf is a stream with contents shorter and longer than a token of four
// bytes, whose choices end one after the other.
func eventsOf(n int) []event {
	var out []event
	delta := func(choice int, member, content string) {
		out = append(out, event{text: fmt.Sprintf(`data: {"choices":[{"index":%d,"delta":{%q:%q}}]}`+"\n\n", choice, member, content), content: len(content)})
	}
	for i := range n {
		out = append(out, event{text: fmt.Sprintf(`data: {"choices":[{"index":%d,"delta":{"role":"assistant","content":""}}]}`+"\n\n", i)})
	}
	out = append(out, event{text: ": still there\n\n"})
	for i := range n {
		delta(i, "content", "a")
		delta(i, "content", "a longer delta, of six tokens")
	}
	for i := range n {
		delta(i, "reasoning_content", "hm")
		out = append(out, event{text: fmt.Sprintf(`data: {"choices":[{"index":%d,"delta":{},"finish_reason":"stop"}]}`+"\n\n", i), finishes: true})
	}
	return append(out,
		event{text: fmt.Sprintf(`data: {"choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":%d}}`+"\n\n", reportedInput, reportedOutput), usage: true},
		event{text: "data: [DONE]\n\n"})
}

func (c *cuttable) text() string {
	var b strings.Builder
	for _, e := range c.events {
		b.WriteString(e.text)
	}
	return b.String()
}

// bill is what a stream must come to when so many of its bytes came, counted apart
// from the product: of whole events only.
type bill struct {
	deltas, content int64
	finished        int
	reported        bool
}

func (c *cuttable) bill(received int) (b bill) {
	for _, e := range c.events {
		if received -= len(e.text); received < 0 {
			break
		}
		if e.content > 0 {
			b.deltas++
			b.content += int64(e.content)
		}
		if e.finishes {
			b.finished++
		}
		b.reported = b.reported || e.usage
	}
	return b
}

// complete: all choices have finished.
func (c *cuttable) complete(b bill) bool { return b.finished == c.n }

// tokens are what is billed.
func (c *cuttable) tokens(b bill) (input, output int64) {
	if b.reported {
		return reportedInput, reportedOutput
	}
	if b.deltas == 0 {
		return 0, 0
	}
	return int64(len(c.body)+3) / 4, max(b.deltas, (b.content+3)/4)
}

// check holds the one event of a stream to its bill.
func (c *cuttable) check(t *testing.T, h *house, b bill, outcome usage.Outcome) {
	t.Helper()
	in, out := c.tokens(b)
	e := h.one()
	if e.Outcome != outcome || e.Estimated == b.reported || e.Input != in || e.Output != out || int64(e.Cost) != in*1000+out*4000 {
		t.Errorf("event %+v; want %s with %d and %d tokens, estimated: %v", e, outcome, in, out, !b.reported)
	}
	if c.blocks && h.held(0) != in+out {
		t.Errorf("%d held; want the %d tokens of the bill", h.held(0), in+out)
	}
}

// house is one for a stream, with two backends: what has begun must not go on with
// the other.
func (c *cuttable) house(t *testing.T) *house {
	t.Helper()
	h := newHouse(t)
	h.record.Key.ConcurrentRequests = 1
	h.models[0].Backends = []model.Backend{{ID: "be_1", UpstreamModel: "up", Weight: 1}, {ID: "be_2", UpstreamModel: "up", Weight: 1}}
	if c.blocks {
		h.block(budget.Tokens)
	}
	return h
}

// shown is what the client has of a stream whose first events came and that goes on.
func (c *cuttable) shown(events int) string {
	var b strings.Builder
	finished := 0
	for _, e := range c.events[:events] {
		if e.finishes {
			finished++
		}
		if finished < c.n {
			b.WriteString(e.text)
		}
	}
	return b.String()
}

// whole is what the client gets in the end of a stream that came so far.
func (c *cuttable) whole(received int) string {
	var b strings.Builder
	for _, e := range c.events {
		if received -= len(e.text); received < 0 {
			break
		}
		if (!e.usage || c.usage) && !strings.Contains(e.text, "[DONE]") {
			b.WriteString(e.text)
		}
	}
	return b.String() + "data: [DONE]\n\n"
}

// pieces reads a text in pieces of at most size bytes, and then ends with err.
type pieces struct {
	text string
	size int
	err  error
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.text == "" {
		return 0, p.err
	}
	n := copy(b, p.text[:min(p.size, len(p.text))])
	p.text = p.text[n:]
	return n, nil
}

// TestABackendCutAtEveryByte breaks a backend's stream off after each of its
// bytes, read in one piece or byte by byte.
func TestABackendCutAtEveryByte(t *testing.T) {
	for _, c := range cuttables() {
		t.Run(c.name, func(t *testing.T) {
			text := c.text()
			for cut := range len(text) + 1 {
				for i, end := range []error{errReset, io.EOF} {
					t.Run(fmt.Sprint(cut, " ", end), func(t *testing.T) {
						h := c.house(t)
						h.call = func(model.Backend, []byte) (*http.Response, error) {
							return events200(&pieces{text: text[:cut], size: 1 + i*len(text), err: end})
						}
						c.judgeCut(t, h, h.post(c.body), cut)
					})
				}
			}
		})
	}
}

// judgeCut holds an answer whose backend broke off after so many bytes of its
// stream to its bill, and to what its client was told.
func (c *cuttable) judgeCut(t *testing.T, h *house, s served, cut int) {
	t.Helper()
	if calls := strings.Count(strings.Join(h.steps, " "), "call"); calls != 1 {
		t.Errorf("%d calls of backends: %v", calls, h.steps)
	}
	b, body := c.bill(cut), s.Body.String()
	switch {
	case c.complete(b):
		if s.err != nil || body != c.whole(cut) {
			t.Errorf("the client got %q, %v; want %q", body, s.err, c.whole(cut))
		}
		if in, _ := c.tokens(b); !b.reported && in == 0 {
			t.Fatal("no stream of this test is complete without a token")
		}
		c.check(t, h, b, usage.Complete)
	default:
		s.refused(t, fault.BadGateway)
		if strings.Contains(body, "[DONE]") {
			t.Errorf("the client got an end: %q", body)
		}
		if b.deltas == 0 { // nothing came that costs
			h.none()
			return
		}
		c.check(t, h, b, usage.Failed)
	}
}

// stepping is a backend's stream that comes event by event, each when all before
// has been shown. After so many bytes it waits for the client to leave.
type stepping struct {
	*pieces
	sizes  []int
	rest   string          // that is sent after the client has left
	leave  chan<- struct{} // tells the client to go
	gone   <-chan struct{} // closed when that is known here
	calls  context.Context //nolint:containedctx // of the one call whose body it is
	waited bool
}

func (s *stepping) Read(b []byte) (int, error) {
	if len(s.sizes) > 0 {
		s.size, s.sizes = s.sizes[0], s.sizes[1:]
		return s.pieces.Read(b)
	}
	if !s.waited {
		s.waited = true
		close(s.leave)
		<-s.gone
	}
	if err := s.calls.Err(); err != nil {
		return 0, err
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// TestAClientCutAtEveryEvent closes the client's connection, a real one, between
// any two events of the stream and within each of them. Before the last choice has
// finished the client pays what came; from then on, what the backend reports.
func TestAClientCutAtEveryEvent(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, c := range cuttables() {
		t.Run(c.name, func(t *testing.T) {
			before := 0
			for i := range len(c.events) {
				for _, within := range []int{0, 1, len(c.events[i].text) - 1} {
					t.Run(fmt.Sprint("event ", i, " byte ", within), func(t *testing.T) { c.clientLeaves(t, i, within, before) })
				}
				before += len(c.events[i].text)
			}
		})
	}
}

// clientLeaves lets the client leave after so many events, and so many bytes of the
// next one.
func (c *cuttable) clientLeaves(t *testing.T, events, within, before int) {
	t.Helper()
	h := c.house(t)
	text, leave, left := c.text(), make(chan struct{}), make(chan struct{})
	cut := before + within
	done := make(chan error, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		context.AfterFunc(r.Context(), func() { close(left) })
		done <- h.serve(r.Context(), w, c.body)
	}))
	defer srv.Close()
	h.gateway.Upstream = upstreamFunc(func(ctx context.Context) (*http.Response, error) {
		h.step("call")
		s := &stepping{pieces: &pieces{text: text[:cut]}, rest: text[cut:], leave: leave, gone: left, calls: ctx}
		if !c.complete(c.bill(cut)) {
			s.gone = ctx.Done() // the client's leaving ends the call
		}
		for _, e := range c.events[:events] {
			s.sizes = append(s.sizes, len(e.text))
		}
		if within > 0 {
			s.sizes = append(s.sizes, within)
		}
		return events200(s)
	})
	hangUp(t, srv.Listener.Addr().String(), leave, c.shown(events))
	err := <-done
	if calls := strings.Count(strings.Join(h.steps, " "), "call"); calls != 1 {
		t.Errorf("%d calls of backends", calls)
	}
	if b := c.bill(cut); !c.complete(b) {
		if !errors.Is(err, relay.ErrClientGone) {
			t.Errorf("%v; want ErrClientGone", err)
		}
		c.check(t, h, b, usage.Aborted)
		return
	}
	c.check(t, h, c.bill(len(text)), usage.Complete)
}

// hangUp makes a request on a connection of its own and closes it when it is told
// to, having read what was shown until then.
func hangUp(t *testing.T, address string, leave <-chan struct{}, want string) {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-leave
	if want == "" {
		return // not even a status has come
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil) //nolint:bodyclose // closing would read on to its end: the connection is closed instead
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if n, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
		t.Errorf("the client got %q, %v; want %q", got[:n], err, want)
	}
}

// cutting is a backend on a real connection that answers with so many bytes and
// closes.
type cutting struct {
	net.Listener
	requests atomic.Int64
}

func cutAfter(t *testing.T, wire string) *cutting {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &cutting{Listener: ln}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.answer(conn, wire)
		}
	}()
	return s
}

func (s *cutting) answer(conn net.Conn, wire string) {
	defer func() { _ = conn.Close() }()
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	s.requests.Add(1)
	_, _ = io.Copy(io.Discard, req.Body) // else closing would reset, and take what was sent with it
	_, _ = io.WriteString(conn, wire)
}

// TestABackendsConnectionCutAtEveryByte breaks off a backend's answer after each
// byte of what stands on the wire: of its head, of the framing of its chunks, and
// of its events.
func TestABackendsConnectionCutAtEveryByte(t *testing.T) {
	defer goleak.VerifyNone(t)
	c := cuttables()[1] // one choice, under a budget
	head := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
	wire := head
	payload := make([]int, len(head)) // bytes of the stream among the first i of the wire
	for _, e := range c.events {
		frame := fmt.Sprintf("%x\r\n", len(e.text))
		sent := 0
		if len(payload) > len(head) {
			sent = payload[len(payload)-1]
		}
		for range frame {
			payload = append(payload, sent)
		}
		for i := range e.text {
			payload = append(payload, sent+i)
		}
		payload = append(payload, sent+len(e.text), sent+len(e.text))
		wire += frame + e.text + "\r\n"
	}
	for cut := range payload {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			h := c.house(t)
			backend := cutAfter(t, wire[:cut])
			defer func() { _ = backend.Close() }()
			client := openai.New(noCredentials{}, (&net.Dialer{}).DialContext)
			defer client.Close()
			h.models[0].Backends = h.models[0].Backends[:1]
			h.models[0].Backends[0].BaseURL = "http://" + backend.Addr().String() + "/v1"
			h.gateway.Upstream = client
			s := h.post(c.body)
			if n := backend.requests.Load(); n != 1 {
				t.Errorf("%d requests", n)
			}
			h.step("call") // it is counted at the backend
			c.judgeCut(t, h, s, payload[cut])
		})
	}
}

type noCredentials struct{}

func (noCredentials) Credential(model.Backend) (string, error) { return "", nil }
