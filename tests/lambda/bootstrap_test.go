package lambda_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/aiaas/aiaas/tests/lambda/probe"
	"github.com/aiaas/aiaas/tests/runtimeapi"
)

// bootstrap is the built probe.
var bootstrap string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "bootstrap")
	if err != nil {
		panic(err)
	}
	bootstrap = filepath.Join(dir, "bootstrap")
	build := exec.Command("go", "build", "-tags", "lambda.norpc,grpcnotrace", "-trimpath", "-ldflags", "-s -w",
		"-o", bootstrap, "./probe/bootstrap")
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("build: %v\n%s", err, out))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(dir); err != nil && code == 0 {
			code = 1
		}
		os.Exit(code)
	}))
}

// output is a process's log as it grows.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// await returns when the log has a line, and fails when it never comes.
func (o *output) await(t *testing.T, line string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !strings.Contains(o.String(), line) {
		select {
		case <-ctx.Done():
			t.Fatalf("the log never said %q:\n%s", line, o)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

type running struct {
	*runtimeapi.Server

	sandbox *runtimeapi.Sandbox
	log     *output
}

func run(t *testing.T, cfg runtimeapi.Config, env ...string) running {
	t.Helper()
	s := runtimeapi.New(cfg)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	log := &output{}
	sandbox, err := s.Start(t.Context(), runtimeapi.Bootstrap{Path: bootstrap, Env: env, Output: log})
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the process:\n%s", log)
		}
	})
	return running{Server: s, sandbox: sandbox, log: log}
}

func (r running) call(t *testing.T, event any) *runtimeapi.Response {
	t.Helper()
	resp, err := r.Invoke(t.Context(), event)
	if err != nil {
		t.Fatalf("invoke: %v", err)
	}
	t.Cleanup(func() { _ = resp.Close() })
	return resp
}

func stream(how string) events.APIGatewayProxyRequest {
	return events.APIGatewayProxyRequest{HTTPMethod: "POST", Resource: "/stream/{how}", Path: "/stream/" + how}
}

func first(t *testing.T, resp io.Reader) {
	t.Helper()
	got := make([]byte, 3)
	if _, err := io.ReadFull(resp, got); err != nil || string(got) != "one" {
		t.Fatalf("first bytes %q, %v", got, err)
	}
}

// alive checks that the same process still answers.
func (r running) alive(t *testing.T) {
	t.Helper()
	var done struct{ Job string }
	if err := r.call(t, json.RawMessage(`{"job":"tick"}`)).JSON(&done); err != nil || done.Job != "tick" {
		t.Errorf("the next event: %q, %v", done.Job, err)
	}
	select {
	case <-r.sandbox.Exited():
		t.Errorf("the process has ended: %v", r.sandbox.ExitErr())
	default:
	}
}

func TestBufferedRequest(t *testing.T) {
	t.Parallel()
	r := run(t, runtimeapi.Config{})
	ev := events.APIGatewayProxyRequest{
		HTTPMethod: "PUT", Resource: "/echo/{id}", Path: "/echo/a%2fb", Body: "hi",
		MultiValueQueryStringParameters: map[string][]string{"q": {"1", "2"}},
		MultiValueHeaders:               map[string][]string{"X-Many": {"x", "y"}},
	}
	ev.RequestContext.Identity.SourceIP = "203.0.113.7"
	var answer events.APIGatewayProxyResponse
	if err := r.call(t, ev).JSON(&answer); err != nil {
		t.Fatal(err)
	}
	var got probe.Echo
	if err := json.Unmarshal([]byte(answer.Body), &got); err != nil {
		t.Fatalf("body %q: %v", answer.Body, err)
	}
	want := probe.Echo{ID: "a/b", Query: []string{"1", "2"}, Many: []string{"x", "y"}, Body: []byte("hi"), Peer: "203.0.113.7:0"}
	if diff := cmp.Diff(want, got); diff != "" || answer.StatusCode != http.StatusCreated {
		t.Errorf("status %d: %s", answer.StatusCode, diff)
	}
	if _, ok := r.sandbox.At(runtimeapi.Polled); !ok {
		t.Error("the end of the initialisation was not measured")
	}
	if d, ok := r.sandbox.At(runtimeapi.Answered); !ok || d <= 0 {
		t.Error("the first answer was not measured")
	}
}

func TestStreamedRequest(t *testing.T) {
	t.Parallel()
	r := run(t, runtimeapi.Config{Disconnect: runtimeapi.Answer})
	resp := r.call(t, stream("hold"))
	if resp.Status != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("prelude: %d %v", resp.Status, resp.Header)
	}
	first(t, resp) // while the function holds the rest back for ever
	_ = resp.Close()
	r.log.await(t, probe.LogLeft)
	r.alive(t)
}

func TestStreamThatPanics(t *testing.T) {
	t.Parallel()
	r := run(t, runtimeapi.Config{})

	resp := r.call(t, stream("panic"))
	body, err := io.ReadAll(resp)
	if fe, ok := errors.AsType[*runtimeapi.FunctionError](err); !ok || string(body) != "one" || fe.Message != "function panicked" {
		t.Errorf("in the middle: read %q, %v", body, err)
	}

	resp = r.call(t, stream("panic-first"))
	body, err = io.ReadAll(resp)
	if err != nil || resp.Status != http.StatusInternalServerError || !strings.Contains(string(body), `"internal_error"`) {
		t.Errorf("before the first byte: %d %s, %v", resp.Status, body, err)
	}
	if strings.Contains(string(body), "told to") {
		t.Errorf("the panic's text left the process: %s", body)
	}
	r.alive(t)
}

func TestReaderThatLeaves(t *testing.T) {
	t.Parallel()

	t.Run("is not noticed where the platform drains", func(t *testing.T) {
		t.Parallel()
		r := run(t, runtimeapi.Config{Disconnect: runtimeapi.Drain})
		resp := r.call(t, stream("drip"))
		first(t, resp)
		_ = resp.Close()
		r.log.await(t, probe.LogEnded)
		r.alive(t)
	})

	t.Run("is noticed by the next write where the connection breaks", func(t *testing.T) {
		t.Parallel()
		r := run(t, runtimeapi.Config{Disconnect: runtimeapi.Sever})
		resp := r.call(t, stream("drip"))
		first(t, resp)
		_ = resp.Close()
		r.log.await(t, probe.LogLeft)
		<-r.sandbox.Exited() // the runtime's library ends the process, after the handler
		if strings.Index(r.log.String(), probe.LogLeft) > strings.Index(r.log.String(), "unexpected error occurred") {
			t.Error("the process gave up before the handler had returned")
		}
	})
}

func TestBatch(t *testing.T) {
	t.Parallel()
	r := run(t, runtimeapi.Config{})
	batch := func(bodies ...string) events.SQSEvent {
		var ev events.SQSEvent
		for _, b := range bodies {
			ev.Records = append(ev.Records, events.SQSMessage{MessageId: "id-" + b, Body: b, EventSource: "aws:sqs"})
		}
		return ev
	}
	var got events.SQSEventResponse
	if err := r.call(t, batch("good", "bad")).JSON(&got); err != nil {
		t.Fatal(err)
	}
	want := []events.SQSBatchItemFailure{{ItemIdentifier: "id-bad"}}
	if diff := cmp.Diff(want, got.BatchItemFailures); diff != "" {
		t.Error(diff)
	}
	for _, b := range []string{"worse", "panic"} {
		_, err := r.Invoke(t.Context(), batch("good", b))
		if _, ok := errors.AsType[*runtimeapi.FunctionError](err); !ok {
			t.Errorf("batch with %q: %v, want a failed invocation", b, err)
		}
	}
	r.alive(t)
}

func TestMalformedEvents(t *testing.T) {
	t.Parallel()
	r := run(t, runtimeapi.Config{})
	for _, ev := range []string{"", "{", "null", "[]", `{"httpMethod":7}`, `{"Records":[{"eventSource":"aws:s3"}]}`} {
		_, err := r.Invoke(t.Context(), json.RawMessage(ev))
		if _, ok := errors.AsType[*runtimeapi.FunctionError](err); !ok {
			t.Errorf("%q: %v, want a failed invocation", ev, err)
		}
	}
	r.alive(t)
}

func TestWiringIsTriedAgain(t *testing.T) {
	t.Parallel()
	r := run(t, runtimeapi.Config{}, probe.FailOnce+"=1")
	var answer events.APIGatewayProxyResponse
	if err := r.call(t, events.APIGatewayProxyRequest{HTTPMethod: "GET", Resource: "/slow", Path: "/slow"}).JSON(&answer); err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusServiceUnavailable || strings.Contains(answer.Body, "told to") {
		t.Errorf("first request: %d %s", answer.StatusCode, answer.Body)
	}
	r.alive(t)
}

func TestTimeIsUp(t *testing.T) {
	t.Parallel()

	t.Run("a handler that obeys its context answers in time", func(t *testing.T) {
		t.Parallel()
		r := run(t, runtimeapi.Config{Timeout: 2 * time.Second})
		var answer events.APIGatewayProxyResponse
		if err := r.call(t, events.APIGatewayProxyRequest{HTTPMethod: "GET", Resource: "/slow", Path: "/slow"}).JSON(&answer); err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode != http.StatusGatewayTimeout {
			t.Errorf("status %d", answer.StatusCode)
		}
		r.alive(t)
	})

	t.Run("one that hangs is killed by the platform", func(t *testing.T) {
		t.Parallel()
		r := run(t, runtimeapi.Config{Timeout: 200 * time.Millisecond})
		_, err := r.Invoke(t.Context(), json.RawMessage(`{"job":"hang"}`))
		if fe, ok := errors.AsType[*runtimeapi.FunctionError](err); !ok || fe.Type != runtimeapi.TimeoutError {
			t.Errorf("got %v", err)
		}
		<-r.sandbox.Exited()
	})
}

func TestShutdownClosesWhatWasOpened(t *testing.T) {
	t.Parallel()
	r := run(t, runtimeapi.Config{})
	r.alive(t)
	if err := r.sandbox.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if err := r.sandbox.ExitErr(); err != nil || !strings.Contains(r.log.String(), probe.LogClosed) {
		t.Errorf("ended with %v, log:\n%s", err, r.log)
	}
}

func TestLogIsJSON(t *testing.T) {
	t.Parallel()
	r := run(t, runtimeapi.Config{})
	if _, err := r.Invoke(t.Context(), json.RawMessage(`{}`)); err == nil { // makes the runtime's library log
		t.Error("an empty event was answered")
	}
	r.alive(t)
	for line := range strings.Lines(r.log.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("line is no JSON: %s", line)
		}
	}
}

func TestThroughTheLocalGateway(t *testing.T) {
	t.Parallel()
	r := run(t, runtimeapi.Config{})
	gateway := runtimeapi.NewGateway()
	gateway.Mount(probe.Spec(), r)
	srv := httptest.NewServer(gateway)
	t.Cleanup(srv.Close)

	call := func(method, path, body string) reply {
		t.Helper()
		return fetch(t, srv, method, path, body)
	}
	echoed := call("PUT", "/echo/a%2fb?q=1&q=2", "hi")
	var got probe.Echo
	if err := json.Unmarshal([]byte(echoed.body), &got); err != nil {
		t.Fatalf("echo %q: %v", echoed.body, err)
	}
	want := probe.Echo{ID: "a/b", Query: []string{"1", "2"}, Many: []string{"x", "y"}, Body: []byte("hi"), Peer: "127.0.0.1:0"}
	if diff := cmp.Diff(want, got); diff != "" || echoed.status != http.StatusCreated || echoed.cookies != 2 {
		t.Errorf("status %d, %d cookies: %s", echoed.status, echoed.cookies, diff)
	}

	binary := "\xff\x00\x01"
	if got := call("PUT", "/echo/1?raw", binary); got.body != binary {
		t.Errorf("binary came back as %q", got.body)
	}
	if got := call("POST", "/stream/all", ""); got.body != "onetwo" || got.err != nil {
		t.Errorf("stream: %q, %v", got.body, got.err)
	}
	if got := call("POST", "/stream/panic", ""); got.err == nil {
		t.Errorf("a stream that broke off looks complete: %q", got.body)
	}
	if got := call("GET", "/panic", ""); got.status != http.StatusInternalServerError {
		t.Errorf("panic: %d", got.status)
	}
	if got := call("GET", "/nowhere", ""); got.status != http.StatusForbidden {
		t.Errorf("unknown resource: %d", got.status)
	}
}

// reply is what an HTTP client gets; err is how the body ended.
type reply struct {
	status  int
	cookies int
	body    string
	err     error
}

func fetch(t *testing.T, srv *httptest.Server, method, path, body string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header["X-Many"] = []string{"x", "y"}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	return reply{status: resp.StatusCode, cookies: len(resp.Cookies()), body: string(got), err: err}
}
