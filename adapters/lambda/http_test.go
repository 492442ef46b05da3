package lambda_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"github.com/aiaas/aiaas/adapters/lambda"
	"github.com/aiaas/aiaas/shared/function"
)

var routes = function.Spec{Name: "f", Routes: []function.Route{
	{Method: "GET", Path: "/v1/things/{id}", OperationID: "getThing"},
	{Method: "PUT", Path: "/v1/things/{id}", OperationID: "putThing"},
	{Method: "POST", Path: "/v1/talk", OperationID: "talk", Stream: true, DataPlane: true},
}}

func serving(t *testing.T, handler http.HandlerFunc) *lambda.Host {
	t.Helper()
	return host(t, routes, function.Function{HTTP: handler})
}

func request(method, resource, path string) events.APIGatewayProxyRequest {
	return events.APIGatewayProxyRequest{HTTPMethod: method, Resource: resource, Path: path}
}

func buffered(t *testing.T, h *lambda.Host, ev events.APIGatewayProxyRequest) events.APIGatewayProxyResponse {
	t.Helper()
	got, err := h.Invoke(t.Context(), marshal(t, ev))
	if err != nil {
		t.Fatalf("invoke: %v", err)
	}
	answer, ok := got.(events.APIGatewayProxyResponse)
	if !ok {
		t.Fatalf("got %T, want a buffered answer", got)
	}
	return answer
}

// problem reads the members of a problem document that matter here.
type problem struct {
	Status    int    `json:"status"`
	Code      string `json:"code"`
	Instance  string `json:"instance"`
	RequestID string `json:"request_id"`
	Error     *struct {
		Code string `json:"code"`
	} `json:"error"`
}

func problemOf(t *testing.T, body string) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatalf("%q is no problem document: %v", body, err)
	}
	return p
}

func TestHandlersSeeTheRequestAsOnAnyHost(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /v1/things/{id}", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read body: %v", err)
		}
		got := map[string]any{
			"id": r.PathValue("id"), "body": body, "q": r.URL.Query()["q"], "h": r.Header["X-Many"],
			"peer": r.RemoteAddr, "host": r.Host, "length": r.ContentLength, "uri": r.RequestURI,
		}
		want := map[string]any{
			"id": "a/b c", "body": []byte{0xff, 0x00, 0x01}, "q": []string{"1", "2&3"}, "h": []string{"x", "y"},
			"peer": "203.0.113.7:0", "host": "api.example.com", "length": int64(3), "uri": "/v1/things/a%2fb%20c?q=1&q=2%263",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		w.WriteHeader(http.StatusCreated)
	})
	ev := request("PUT", "/v1/things/{id}", "/v1/things/a%2fb%20c")
	ev.Body, ev.IsBase64Encoded = base64.StdEncoding.EncodeToString([]byte{0xff, 0x00, 0x01}), true
	ev.MultiValueQueryStringParameters = map[string][]string{"q": {"1", "2&3"}}
	ev.MultiValueHeaders = map[string][]string{"x-many": {"x", "y"}}
	ev.RequestContext.DomainName = "api.example.com"
	ev.RequestContext.Identity.SourceIP = "203.0.113.7"
	if got := buffered(t, serving(t, mux.ServeHTTP), ev); got.StatusCode != http.StatusCreated {
		t.Errorf("status %d: %s", got.StatusCode, got.Body)
	}
}

func TestAnswersKeepTheRulesOfNetHTTP(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    events.APIGatewayProxyResponse
	}{
		"nothing written is 200": {
			func(http.ResponseWriter, *http.Request) {},
			events.APIGatewayProxyResponse{StatusCode: 200, MultiValueHeaders: map[string][]string{}},
		},
		"headers keep all their values": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
				w.WriteHeader(202)
			},
			events.APIGatewayProxyResponse{StatusCode: 202, MultiValueHeaders: map[string][]string{"Set-Cookie": {"a=1", "b=2"}}},
		},
		"the head is fixed by the first write": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				_, _ = io.WriteString(w, "hi")
				w.Header().Set("X-Late", "1")
				w.WriteHeader(500)
			},
			events.APIGatewayProxyResponse{StatusCode: 200, Body: "hi", MultiValueHeaders: map[string][]string{"Content-Type": {"text/plain"}}},
		},
		"an informational status is not the status": {
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); w.WriteHeader(404) },
			events.APIGatewayProxyResponse{StatusCode: 404, MultiValueHeaders: map[string][]string{}},
		},
		"the content type is sniffed": {
			func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
			events.APIGatewayProxyResponse{StatusCode: 200, Body: "<html>", MultiValueHeaders: map[string][]string{"Content-Type": {"text/html; charset=utf-8"}}},
		},
		"bytes that are no text travel in base64": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "image/png")
				_, _ = w.Write([]byte{0x89, 'P', 0xff})
			},
			events.APIGatewayProxyResponse{StatusCode: 200, Body: "iVD/", IsBase64Encoded: true, MultiValueHeaders: map[string][]string{"Content-Type": {"image/png"}}},
		},
		"204 has no body, and framing is the platform's": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "2")
				w.Header().Set("Connection", "close")
				w.Header().Set(http.TrailerPrefix+"X-Sum", "1")
				w.WriteHeader(204)
				if _, err := io.WriteString(w, "hi"); !errors.Is(err, http.ErrBodyNotAllowed) {
					panic(err)
				}
			},
			events.APIGatewayProxyResponse{StatusCode: 204, MultiValueHeaders: map[string][]string{}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := buffered(t, serving(t, c.handler), request("GET", "/v1/things/{id}", "/v1/things/1"))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPanicIsAProblemWithoutWhatWasWritten(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"before the first byte": func(http.ResponseWriter, *http.Request) { panic("secret text") },
		"after it":              func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "half"); panic("secret text") },
		"to abort":              func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ev := request("GET", "/v1/things/{id}", "/v1/things/1")
			ev.RequestContext.RequestID = "req-1"
			got := buffered(t, serving(t, handler), ev)
			want := problem{Status: 500, Code: "internal_error", Instance: "/v1/things/1", RequestID: "req-1"}
			if diff := cmp.Diff(want, problemOf(t, got.Body)); diff != "" || got.StatusCode != 500 {
				t.Errorf("status %d: %s", got.StatusCode, diff)
			}
		})
	}
}

func TestWhatTheHostRefuses(t *testing.T) {
	t.Parallel()
	bad := request("PUT", "/v1/things/{id}", "/v1/things/1")
	bad.Body, bad.IsBase64Encoded = "%%%", true
	for name, c := range map[string]struct {
		event  events.APIGatewayProxyRequest
		status int
		code   string
		allow  []string
	}{
		"an unknown path":            {request("GET", "/{proxy+}", "/v2/things"), 404, "not_found", nil},
		"a path to be cleaned":       {request("GET", "/{proxy+}", "/v1//things/1"), 404, "not_found", nil},
		"a path with another host":   {request("GET", "/{proxy+}", "//evil.example/v1/things/1"), 404, "not_found", nil},
		"a path with dots":           {request("GET", "/{proxy+}", "/v1/x/../things/1"), 404, "not_found", nil},
		"a path with a query":        {request("GET", "/{proxy+}", "/v1/things/1?q=2"), 400, "invalid_request", nil},
		"a path that does not parse": {request("GET", "/{proxy+}", "/v1/things/%zz"), 400, "invalid_request", nil},
		"a path with a NUL":          {request("GET", "/{proxy+}", "/v1/things/\x00"), 400, "invalid_request", nil},
		"no path":                    {request("GET", "/{proxy+}", ""), 404, "not_found", nil},
		"a method of no route":       {request("DELETE", "/v1/things/{id}", "/v1/things/1"), 405, "method_not_allowed", []string{"GET, HEAD, PUT"}},
		"a method that is none":      {request("G T", "/v1/things/{id}", "/v1/things/1"), 400, "invalid_request", nil},
		"a body that is no base64":   {bad, 400, "invalid_request", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := buffered(t, serving(t, func(http.ResponseWriter, *http.Request) { t.Error("the function was called") }), c.event)
			if p := problemOf(t, got.Body); got.StatusCode != c.status || p.Status != c.status || p.Code != c.code {
				t.Errorf("status %d, document %+v, want %d %s", got.StatusCode, p, c.status, c.code)
			}
			if diff := cmp.Diff(c.allow, got.MultiValueHeaders["Allow"]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFunctionThatCannotServe(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fn     function.Function
		err    error
		status int
	}{
		"is not wired":        {function.Function{}, errors.New("secret text"), 503},
		"has no HTTP handler": {function.Function{}, nil, 500},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := wired(t, routes, func(context.Context, *function.Env) (function.Function, error) { return c.fn, c.err })
			if got := buffered(t, h, request("GET", "/v1/things/{id}", "/v1/things/1")); problemOf(t, got.Body).Status != c.status {
				t.Errorf("got %d: %s", got.StatusCode, got.Body)
			}
			got := stream(t, h, talk())
			if p := problemOf(t, read(t, got)); got.StatusCode != c.status || p.Error == nil {
				t.Errorf("streaming route: got %d, %+v", got.StatusCode, p)
			}
		})
	}
}
