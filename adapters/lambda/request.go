package lambda

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/awslabs/aws-lambda-go-api-proxy/core"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
)

// route is what the host's own mux holds. It never serves: the mux is only
// asked what it matches, and the function's handler does the rest.
type route struct{ function.Route }

func (route) ServeHTTP(http.ResponseWriter, *http.Request) {}

// exchange is one request and what answers it.
type exchange struct {
	event     events.APIGatewayProxyRequest
	handler   http.Handler
	requestID string // for problems that the host itself reports
	stream    bool   // API Gateway expects the streaming format
	dataPlane bool   // problems carry OpenAI's error object
}

func (h *Host) http(ctx context.Context, req events.APIGatewayProxyRequest) (any, error) {
	ex := h.resolve(ctx, req)
	if ex.stream {
		return h.stream(ctx, ex)
	}
	return h.buffer(ctx, ex)
}

// resolve finds who answers a request. What can't be routed or wired is
// answered by a problem document in the same transfer mode.
func (h *Host) resolve(ctx context.Context, req events.APIGatewayProxyRequest) exchange {
	// The platform picked the transfer mode by the resource it matched, before
	// anything was looked at here.
	ex := exchange{event: req, stream: h.streams[req.HTTPMethod+" "+req.Resource], requestID: requestID(ctx, req)}
	target, err := normalise(&ex.event)
	if err != nil {
		return h.refuse(ctx, ex, err)
	}
	found, err := h.match(ex.event.HTTPMethod, target)
	if err != nil {
		return h.refuse(ctx, ex, err)
	}
	ex.stream, ex.dataPlane = found.Stream, found.DataPlane
	fn, err := h.function(ctx)
	if err != nil {
		return h.refuse(ctx, ex, fault.Wrap(fault.Unavailable, "answer "+found.OperationID, err))
	}
	if fn.HTTP == nil {
		return h.refuse(ctx, ex, fault.Wrap(fault.Internal, "answer "+found.OperationID, errNoHTTP))
	}
	ex.handler = fn.HTTP
	return ex
}

func requestID(ctx context.Context, req events.APIGatewayProxyRequest) string {
	if lc, ok := lambdacontext.FromContext(ctx); ok && lc.AwsRequestID != "" {
		return lc.AwsRequestID
	}
	return req.RequestContext.RequestID
}

// normalise makes an event safe to build a request from: a body in plain bytes,
// and a method and path that parse. API Gateway sends nothing else; refusing it
// here keeps the proxy library from printing addresses that don't parse, query
// and all, to the log. A refused event is left as a harmless request that can
// be answered.
func normalise(req *events.APIGatewayProxyRequest) (*url.URL, error) {
	got := *req
	req.Path, req.HTTPMethod, req.Body, req.IsBase64Encoded = "/", http.MethodGet, "", false
	if strings.Trim(got.HTTPMethod, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return nil, fault.New(fault.Invalid, "The method can't be read.")
	}
	target, err := url.Parse("https://gateway.invalid" + "/" + strings.TrimPrefix(got.Path, "/"))
	if err != nil || strings.ContainsAny(got.Path, "?#") {
		return nil, fault.New(fault.Invalid, "The path can't be read.")
	}
	if got.IsBase64Encoded {
		body, err := base64.StdEncoding.DecodeString(got.Body)
		if err != nil {
			return nil, fault.New(fault.Invalid, "The body can't be read.")
		}
		got.Body, got.IsBase64Encoded = string(body), false
	}
	*req = got
	return target, nil
}

// methodError is the refusal of a method, with those that the path does answer.
type methodError struct {
	err   *fault.Error
	allow string
}

func (n *methodError) Error() string { return n.err.Error() }
func (n *methodError) Unwrap() error { return n.err }

// match asks the mux. A path that it would redirect to a cleaner form is not
// found: a redirect would make callers repeat a paid request.
func (h *Host) match(method string, target *url.URL) (function.Route, error) {
	probe := &http.Request{Method: method, URL: target}
	handler, _ := h.mux.Handler(probe)
	if r, ok := handler.(route); ok {
		return r.Route, nil
	}
	answer := core.NewProxyResponseWriter()
	handler.ServeHTTP(answer, probe)
	if got, err := answer.GetProxyResponse(); err == nil && got.StatusCode == http.StatusMethodNotAllowed {
		return function.Route{}, &methodError{
			err:   fault.New(fault.Method, "The path does not answer this method."),
			allow: answer.Header().Get("Allow"),
		}
	}
	return function.Route{}, fault.New(fault.NotFound, "There is nothing at this path.")
}

// refuse answers an exchange with a problem document.
func (h *Host) refuse(ctx context.Context, ex exchange, err error) exchange {
	if status := fault.From(err).Status(); status >= http.StatusInternalServerError {
		h.env.Log.ErrorContext(ctx, "request refused by the host",
			"function", h.spec.Name, "request_id", ex.requestID, "error", err)
	}
	ex.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n, ok := errors.AsType[*methodError](err); ok {
			w.Header().Set("Allow", n.allow)
		}
		fault.Write(w, r, ex.requestID, err, ex.dataPlane)
	})
	return ex
}

// withPeer gives the request the caller's address in net/http's form. The
// platform knows no port.
func withPeer(r *http.Request) *http.Request {
	if r.RemoteAddr != "" {
		r.RemoteAddr = net.JoinHostPort(r.RemoteAddr, "0")
	}
	return r
}
