package runtimeapi_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/tests/runtimeapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// runtime is a runtime without a library: it speaks the API's plain HTTP.
type runtime struct {
	t       *testing.T
	sandbox *runtimeapi.Sandbox
	client  *http.Client
}

func attach(t *testing.T, cfg runtimeapi.Config) (*runtimeapi.Server, runtime) {
	t.Helper()
	s := runtimeapi.New(cfg)
	b, err := s.Attach(t.Context())
	if err != nil {
		t.Fatalf("attach: %v", err)
	}
	r := runtime{t: t, sandbox: b, client: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		r.client.CloseIdleConnections()
	})
	return s, r
}

// reply is an answer of the Runtime API; the zero value when it was cut off.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r runtime) do(method, path string, header http.Header, body io.Reader, trailer http.Header) reply {
	req, err := http.NewRequestWithContext(context.WithoutCancel(r.t.Context()), method, "http://"+r.sandbox.Address()+path, body)
	if err != nil {
		r.t.Errorf("request: %v", err)
		return reply{}
	}
	req.Header, req.Trailer = header, trailer
	resp, err := r.client.Do(req)
	if err != nil {
		return reply{}
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}
	}
	return reply{status: resp.StatusCode, header: resp.Header, body: string(got)}
}

const invocation = "/2018-06-01/runtime/invocation/"

func (r runtime) next() (id string) {
	return r.do("GET", invocation+"next", nil, nil, nil).header.Get("Lambda-Runtime-Aws-Request-Id")
}

// answer serves one invocation in the background; its status comes when the
// post is over.
func (r runtime) answer(kind string, header http.Header, body io.Reader, trailer http.Header) <-chan int {
	status := make(chan int, 1)
	go func() {
		status <- r.do("POST", invocation+r.next()+"/"+kind, header, body, trailer).status
	}()
	return status
}

var streaming = http.Header{
	"Content-Type":                          {runtimeapi.StreamContentType},
	"Lambda-Runtime-Function-Response-Mode": {"streaming"},
}

func TestNextCarriesTheInvocation(t *testing.T) {
	t.Parallel()
	s, r := attach(t, runtimeapi.Config{Name: "f", Timeout: time.Minute})
	go func() {
		event := r.do("GET", invocation+"next", nil, nil, nil)
		h := event.header
		ms, err := strconv.ParseInt(h.Get("Lambda-Runtime-Deadline-Ms"), 10, 64)
		if left := time.Until(time.UnixMilli(ms)); err != nil || left <= 0 || left > time.Minute {
			t.Errorf("deadline in %v, %v", left, err)
		}
		if arn := h.Get("Lambda-Runtime-Invoked-Function-Arn"); !strings.HasSuffix(arn, ":function:f") {
			t.Errorf("ARN %q", arn)
		}
		if h.Get("Lambda-Runtime-Trace-Id") == "" {
			t.Error("no trace id")
		}
		r.do("POST", invocation+h.Get("Lambda-Runtime-Aws-Request-Id")+"/response", nil, strings.NewReader(event.body), nil)
	}()
	resp, err := s.Invoke(t.Context(), map[string]int{"n": 7})
	if err != nil {
		t.Fatalf("invoke: %v", err)
	}
	var echo map[string]int
	if err := resp.JSON(&echo); err != nil || echo["n"] != 7 {
		t.Errorf("echo %v, %v", echo, err)
	}
}

func TestStreamFormat(t *testing.T) {
	t.Parallel()
	s, r := attach(t, runtimeapi.Config{})
	body, write := io.Pipe()
	status := r.answer("response", streaming, body, nil)
	go func() {
		for _, part := range []string{`{"statusCode":201,"headers":{"a":"1"},`, `"multiValueHeaders":{"b":["2","3"]},"cookies":["c=4"]}` + "\x00\x00\x00\x00", "\x00\x00\x00\x00one"} {
			_, _ = io.WriteString(write, part)
		}
	}()
	resp, err := s.Invoke(t.Context(), nil)
	if err != nil {
		t.Fatalf("invoke: %v", err)
	}
	want := http.Header{"A": {"1"}, "B": {"2", "3"}, "Set-Cookie": {"c=4"}}
	if diff := cmp.Diff(want, resp.Header); diff != "" || resp.Status != 201 {
		t.Errorf("status %d, headers %s", resp.Status, diff)
	}
	first := make([]byte, 3)
	if _, err := io.ReadFull(resp, first); err != nil || string(first) != "one" {
		t.Fatalf("first bytes %q, %v", first, err)
	}
	select {
	case <-status:
		t.Fatal("the post is over while the function still produces")
	default:
	}
	_, _ = io.WriteString(write, "two")
	_ = write.Close()
	if rest, err := io.ReadAll(resp); err != nil || string(rest) != "two" {
		t.Errorf("rest %q, %v", rest, err)
	}
	if got := <-status; got != http.StatusAccepted {
		t.Errorf("post answered %d", got)
	}
}

func TestFailedInvocations(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind   string
		header http.Header
		body   string
		want   runtimeapi.FunctionError
	}{
		"by the function":      {"error", nil, `{"errorType":"T","errorMessage":"m"}`, runtimeapi.FunctionError{Type: "T", Message: "m"}},
		"a prelude cut short":  {"response", streaming, `{"statusCode":200}`, runtimeapi.FunctionError{Type: runtimeapi.FormatError}},
		"a prelude of no JSON": {"response", streaming, "hello" + strings.Repeat("\x00", 8), runtimeapi.FunctionError{Type: runtimeapi.FormatError}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, r := attach(t, runtimeapi.Config{})
			status := r.answer(c.kind, c.header, strings.NewReader(c.body), nil)
			_, err := s.Invoke(t.Context(), nil)
			fe, ok := errors.AsType[*runtimeapi.FunctionError](err)
			if !ok || fe.Type != c.want.Type || !strings.Contains(fe.Message, c.want.Message) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if got := <-status; got != http.StatusAccepted {
				t.Errorf("post answered %d", got)
			}
		})
	}
}

func TestErrorInTheMiddle(t *testing.T) {
	t.Parallel()
	s, r := attach(t, runtimeapi.Config{})
	cause := base64.StdEncoding.EncodeToString([]byte(`{"errorType":"T","errorMessage":"m"}`))
	r.answer("response", streaming, io.NopCloser(strings.NewReader("{}"+strings.Repeat("\x00", 8)+"one")), http.Header{
		"Lambda-Runtime-Function-Error-Type": {"T"}, "Lambda-Runtime-Function-Error-Body": {cause},
	})
	resp, err := s.Invoke(t.Context(), nil)
	if err != nil {
		t.Fatalf("invoke: %v", err)
	}
	body, err := io.ReadAll(resp)
	fe, ok := errors.AsType[*runtimeapi.FunctionError](err)
	if !ok || string(body) != "one" || *fe != (runtimeapi.FunctionError{Type: "T", Message: "m"}) {
		t.Errorf("read %q, %v", body, err)
	}
	if resp.Status != http.StatusOK {
		t.Errorf("a prelude without status means 200, got %d", resp.Status)
	}
}

func TestSandboxThatEndsFailsItsInvocation(t *testing.T) {
	t.Parallel()
	s, r := attach(t, runtimeapi.Config{})
	go func() {
		r.next()
		_ = r.sandbox.Kill()
	}()
	_, err := s.Invoke(t.Context(), nil)
	if fe, ok := errors.AsType[*runtimeapi.FunctionError](err); !ok || fe.Type != runtimeapi.ExitError {
		t.Errorf("got %v", err)
	}
}

func TestInvokeWaitsForASandbox(t *testing.T) {
	t.Parallel()
	s := runtimeapi.New(runtimeapi.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := s.Invoke(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without sandboxes: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if _, err := s.Invoke(t.Context(), nil); !errors.Is(err, runtimeapi.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestRestOfTheSurface(t *testing.T) {
	t.Parallel()
	_, r := attach(t, runtimeapi.Config{Name: "f"})
	if got := r.do("POST", invocation+"none/response", nil, nil, nil); got.status != http.StatusBadRequest {
		t.Errorf("an unknown request id: %d", got.status)
	}
	got := r.do("POST", "/2018-06-01/runtime/init/error", nil, strings.NewReader(`{"errorType":"T","errorMessage":"m"}`), nil)
	if fe := r.sandbox.InitError(); got.status != http.StatusAccepted || fe == nil || fe.Type != "T" {
		t.Errorf("init error: %d, %v", got.status, fe)
	}
	got = r.do("POST", "/2020-01-01/extension/register", nil, strings.NewReader(`{}`), nil)
	if got.status != http.StatusOK || got.header.Get("Lambda-Extension-Identifier") == "" {
		t.Errorf("extension: %d %v", got.status, got.header)
	}
	if _, err := runtimeapi.New(runtimeapi.Config{}).Start(t.Context(), runtimeapi.Bootstrap{Path: t.TempDir() + "/none"}); err == nil {
		t.Error("a bootstrap that is not there was started")
	}
}

func TestGatewayIsStrictAboutTransferModes(t *testing.T) {
	t.Parallel()
	spec := function.Spec{Routes: []function.Route{
		{Method: "POST", Path: "/buffered/{id}/{rest...}"},
		{Method: "POST", Path: "/streamed", Stream: true},
	}}
	const plain = `{"statusCode":200,"headers":{"X-A":"1"},"body":"aGk=","isBase64Encoded":true}`
	stream := `{"statusCode":200}` + strings.Repeat("\x00", 8) + "hi"
	for name, c := range map[string]struct {
		path   string
		header http.Header
		answer string
		status int
		body   string
	}{
		"buffered on a buffered route":      {"/buffered/1/2/3", nil, plain, 200, "hi"},
		"streamed on a streaming route":     {"/streamed", streaming, stream, 200, "hi"},
		"buffered on a streaming route":     {"/streamed", nil, plain, 502, ""},
		"streamed on a buffered route":      {"/buffered/1/2", streaming, stream, 502, ""},
		"what is no answer":                 {"/buffered/1/2", nil, `{"hello":"world"}`, 502, ""},
		"a body that claims to be base64":   {"/buffered/1/2", nil, `{"statusCode":200,"body":"%","isBase64Encoded":true}`, 502, ""},
		"a streamed answer cut in its head": {"/streamed", streaming, `{`, 502, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, r := attach(t, runtimeapi.Config{})
			gateway := runtimeapi.NewGateway()
			gateway.Mount(spec, s)
			status := r.answer("response", c.header, strings.NewReader(c.answer), nil)
			got := httptest.NewRecorder()
			gateway.ServeHTTP(got, httptest.NewRequestWithContext(t.Context(), "POST", c.path, nil))
			if got.Code != c.status || (c.body != "" && got.Body.String() != c.body) {
				t.Errorf("got %d %q", got.Code, got.Body)
			}
			<-status
		})
	}
}

// recorder keeps the events that a gateway makes.
type recorder struct{ event any }

func (r *recorder) Invoke(_ context.Context, event any) (*runtimeapi.Response, error) {
	r.event = event
	return nil, errors.New("only looking")
}

func TestGatewayEvent(t *testing.T) {
	t.Parallel()
	var seen recorder
	gateway := runtimeapi.NewGateway()
	gateway.Mount(function.Spec{Routes: []function.Route{{Method: "POST", Path: "/v1/{id}/{rest...}"}}}, &seen)
	req := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/a%2Fb/c/d?q=1&q=%20", strings.NewReader("\xff"))
	req.RemoteAddr = "203.0.113.7:99"
	req.Header = http.Header{"X-Many": {"1", "2"}}
	gateway.ServeHTTP(httptest.NewRecorder(), req)

	raw, err := json.Marshal(seen.event)
	if err != nil {
		t.Fatal(err)
	}
	var origin struct {
		RequestContext struct {
			Path     string
			Identity struct{ SourceIP string }
		}
	}
	var got map[string]any
	if err := errors.Join(json.Unmarshal(raw, &got), json.Unmarshal(raw, &origin)); err != nil {
		t.Fatal(err)
	}
	if c := origin.RequestContext; c.Identity.SourceIP != "203.0.113.7" || c.Path != "/test/v1/a%2Fb/c/d" {
		t.Errorf("request context %+v", c)
	}
	delete(got, "requestContext")
	want := map[string]any{
		"resource": "/v1/{id}/{rest+}", "path": "/v1/a%2Fb/c/d", "httpMethod": "POST",
		"headers":                         map[string]any{"Host": "example.com", "X-Forwarded-For": "203.0.113.7", "X-Many": "2"},
		"multiValueHeaders":               map[string]any{"Host": []any{"example.com"}, "X-Forwarded-For": []any{"203.0.113.7"}, "X-Many": []any{"1", "2"}},
		"queryStringParameters":           map[string]any{"q": " "},
		"multiValueQueryStringParameters": map[string]any{"q": []any{"1", " "}},
		"pathParameters":                  map[string]any{"id": "a/b", "rest": "c/d"},
		"stageVariables":                  nil, "body": "/w==", "isBase64Encoded": true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	big := httptest.NewRecorder()
	gateway.ServeHTTP(big, httptest.NewRequestWithContext(t.Context(), "POST", "/v1/a/b", strings.NewReader(strings.Repeat("x", 10<<20+1))))
	if big.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a body over 10 MiB: %d", big.Code)
	}
}
