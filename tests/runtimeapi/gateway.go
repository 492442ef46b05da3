package runtimeapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/uuid"

	"github.com/aiaas/aiaas/shared/function"
)

// maxBody is API Gateway's limit for a request's body, in bytes.
const maxBody = 10 << 20

const stage = "test"

// Invoker runs an event; [Server] is one.
type Invoker interface {
	Invoke(ctx context.Context, event any) (*Response, error)
}

// Gateway is a local API Gateway (REST): it turns HTTP requests into proxy
// events of payload version 1.0 and answers from functions. As in the deployed
// one, a route's Stream decides the transfer mode, and an answer in the other
// mode's format is a 502.
type Gateway struct{ mux *http.ServeMux }

// NewGateway makes a gateway without routes.
func NewGateway() *Gateway {
	g := &Gateway{mux: http.NewServeMux()}
	g.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		say(w, http.StatusForbidden, "Missing Authentication Token") // its answer to unknown resources
	})
	return g
}

// Mount gives a function's routes to what runs it.
func (g *Gateway) Mount(spec function.Spec, to Invoker) {
	for _, r := range spec.Routes {
		g.mux.Handle(r.Pattern(), integration{route: r, to: to})
	}
}

// ServeHTTP implements [http.Handler].
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.mux.ServeHTTP(w, r) }

// say answers with the gateway's own form of message.
func say(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": message}) // the client may be gone
}

// integration is a route with its function.
type integration struct {
	route function.Route
	to    Invoker
}

// ServeHTTP implements [http.Handler].
func (i integration) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		say(w, http.StatusRequestEntityTooLarge, "Request Too Long")
		return
	}
	resp, err := i.to.Invoke(r.Context(), proxyEvent(i.route, r, body))
	if err != nil {
		say(w, http.StatusBadGateway, "Internal server error")
		return
	}
	defer resp.Close() //nolint:errcheck // always nil
	switch {
	case i.route.Stream && resp.Streamed():
		relay(w, resp)
	case !i.route.Stream && !resp.Streamed():
		buffered(w, resp)
	default:
		say(w, http.StatusBadGateway, "Internal server error")
	}
}

// relay passes a stream on as it arrives. One that breaks off cuts the
// connection, so that the client can't take it for complete.
func relay(w http.ResponseWriter, resp *Response) {
	copyHeader(w.Header(), resp.Header)
	w.WriteHeader(resp.Status)
	rc := http.NewResponseController(w)
	_ = rc.Flush() // net/http's own writer can
	buf := make([]byte, 32<<10)
	for {
		n, err := resp.Read(buf)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return
			}
			_ = rc.Flush()
		}
		switch {
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			panic(http.ErrAbortHandler)
		}
	}
}

func buffered(w http.ResponseWriter, resp *Response) {
	var answer events.APIGatewayProxyResponse
	if err := resp.JSON(&answer); err != nil || answer.StatusCode == 0 {
		say(w, http.StatusBadGateway, "Internal server error")
		return
	}
	body := []byte(answer.Body)
	if answer.IsBase64Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(answer.Body); err != nil {
			say(w, http.StatusBadGateway, "Internal server error")
			return
		}
	}
	for k, v := range answer.Headers {
		w.Header().Set(k, v)
	}
	copyHeader(w.Header(), answer.MultiValueHeaders)
	w.WriteHeader(answer.StatusCode)
	_, _ = w.Write(body) // the client may be gone
}

func copyHeader(to, from http.Header) {
	for k, vs := range from {
		to[http.CanonicalHeaderKey(k)] = vs
	}
}

// parameter is a variable of a mux's pattern.
var parameter = regexp.MustCompile(`\{([^{}.$]+)(\.\.\.)?\}`)

// proxyEvent writes a request as API Gateway does: the path stays encoded,
// query values are decoded, every header and parameter stands in both forms.
func proxyEvent(route function.Route, r *http.Request, body []byte) events.APIGatewayProxyRequest {
	header := r.Header.Clone()
	header.Set("Host", r.Host)
	ip, _, _ := net.SplitHostPort(r.RemoteAddr) // "" for what isn't a network peer
	header.Add("X-Forwarded-For", ip)
	path, query, now := r.URL.EscapedPath(), r.URL.Query(), time.Now().UTC()
	// What takes the rest of the path is {name...} in a mux, {name+} there.
	resource := strings.ReplaceAll(route.Path, "...}", "+}")
	ev := events.APIGatewayProxyRequest{
		Resource: resource, Path: path, HTTPMethod: r.Method,
		Headers: last(header), MultiValueHeaders: header,
		QueryStringParameters: last(query), MultiValueQueryStringParameters: query,
		PathParameters: pathParameters(route, r),
		RequestContext: events.APIGatewayProxyRequestContext{
			AccountID: "123456789012", APIID: "local", Stage: stage, ResourceID: "resource",
			DomainName: r.Host, DomainPrefix: "local", Protocol: r.Proto, HTTPMethod: r.Method,
			ResourcePath: resource, Path: "/" + stage + path, RequestID: uuid.NewString(),
			RequestTime: now.Format("02/Jan/2006:15:04:05 -0700"), RequestTimeEpoch: now.UnixMilli(),
			Identity: events.APIGatewayRequestIdentity{SourceIP: ip, UserAgent: r.UserAgent()},
		},
		Body: string(body),
	}
	if !utf8.Valid(body) {
		ev.Body, ev.IsBase64Encoded = base64.StdEncoding.EncodeToString(body), true
	}
	return ev
}

func last(multi map[string][]string) map[string]string {
	single := make(map[string]string, len(multi))
	for k, vs := range multi {
		single[k] = vs[len(vs)-1]
	}
	return single
}

func pathParameters(route function.Route, r *http.Request) map[string]string {
	got := map[string]string{}
	for _, m := range parameter.FindAllStringSubmatch(route.Path, -1) {
		got[m[1]] = r.PathValue(m[1])
	}
	return got
}
