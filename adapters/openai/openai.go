// Package openai calls backends that speak OpenAI's protocol: OpenAI itself, vLLM
// and most others.
//
// A backend's credential goes to its own host only, and redirects are not followed.
// Which addresses may be connected to is for the dialer to say that a client is
// made with: see package egress.
package openai

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/aiaas/aiaas/shared/model"
)

const (
	dialTimeout = 5 * time.Second
	idleConn    = 90 * time.Second // unused connections are kept so long
	reapEvery   = 15 * time.Second // and looked at so often
	maxIdle     = 4096             // connections kept to one backend: as many as requests may run
	ioBuffer    = 8 << 10
	maxError    = 1 << 10 // bytes of an error, which may quote the answer
)

// Credentials opens a backend's credential; "" where it has none.
type Credentials interface {
	Credential(b model.Backend) (string, error)
}

// Client calls backends. It is safe for concurrent use.
type Client struct {
	transport   *http.Transport // for TLS, and so for HTTP/2
	plain       *plain
	credentials Credentials
	targets     sync.Map // targetKey → *target
}

// targetKey identifies all that a target is made from, so that a changed backend
// gets a new one.
type targetKey struct {
	backend, baseURL, path string
	credential             model.Credential
}

type target struct {
	url     *url.URL
	auth    []string
	address string        // host and port, where the target is spoken to without TLS
	head    []byte        // of such a request, up to what differs
	request *http.Request // what its answer is parsed by
}

// Dial connects to an address of host and port, or refuses to.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// New makes a client that opens its connections with connect.
func New(c Credentials, connect Dial) *Client {
	return &Client{
		credentials: c,
		plain: &plain{dial: connect, pool: pool{
			now:   time.Now, //nolint:forbidigo // the age of a socket is wall time
			every: reapEvery,
		}},
		transport: &http.Transport{
			DialContext:         connect,
			ForceAttemptHTTP2:   true,
			TLSHandshakeTimeout: dialTimeout,
			DisableCompression:  true,
			MaxIdleConnsPerHost: maxIdle,
			IdleConnTimeout:     idleConn,
			ReadBufferSize:      ioBuffer,
			WriteBufferSize:     ioBuffer,

			MaxResponseHeaderBytes: maxHead,
		},
	}
}

var (
	errControl = errors.New("it has control characters")
	errBlank   = errors.New("it is blank")
	// errStatus is the refusal of answers that are none, such as a switch to a
	// protocol that nobody asked for.
	errStatus = errors.New("no final status")
)

// Call posts a request to a backend and returns its answer once the headers are
// there. The caller closes the body.
func (c *Client) Call(ctx context.Context, b model.Backend, path, requestID string, body []byte) (*http.Response, error) {
	t, err := c.target(b, path)
	if err != nil {
		return nil, err
	}
	send := c.secure
	if t.address != "" {
		send = c.plain.roundTrip
	}
	resp, err := send(ctx, t, requestID, body)
	if err == nil && resp.StatusCode < http.StatusOK {
		_ = resp.Body.Close()
		err = fmt.Errorf("answer %d: %w", resp.StatusCode, errStatus)
	}
	if err != nil {
		return nil, fmt.Errorf("post to %s: %w", t.url.Host, short(err))
	}
	return resp, nil
}

// short keeps an error from filling the log: the parser quotes what it can't read,
// which the other side may have made as long as a head can be.
func short(err error) error {
	if text := err.Error(); len(text) > maxError {
		return errors.New(strings.ToValidUTF8(text[:maxError], "") + "…")
	}
	return err
}

// secure sends a request by TLS.
func (c *Client) secure(ctx context.Context, t *target, requestID string, body []byte) (*http.Response, error) {
	req := (&http.Request{
		Method: http.MethodPost, URL: t.url, Host: t.url.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{
			"Content-Type": {"application/json"},
			"Accept":       {"application/json, text/event-stream"},
			"User-Agent":   {"aiaas"},
			"X-Request-Id": {requestID},
		},
		ContentLength: int64(len(body)),
		Body:          io.NopCloser(bytes.NewReader(body)),
		// With GetBody the transport repeats a request that hit a connection which
		// the backend had just closed, if nothing of it was sent.
		GetBody: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
	}).WithContext(ctx)
	if t.auth != nil {
		req.Header["Authorization"] = t.auth
	}
	return c.transport.RoundTrip(req) //nolint:wrapcheck // Call does
}

func (c *Client) target(b model.Backend, path string) (*target, error) {
	k := targetKey{b.ID, b.BaseURL, path, b.Credential}
	if t, ok := c.targets.Load(k); ok {
		return t.(*target), nil //nolint:errcheck,forcetypeassert // the map holds nothing else
	}
	u, err := url.Parse(b.BaseURL + path)
	if err != nil {
		return nil, fmt.Errorf("address of backend %s: %w", b.ID, err)
	}
	secret, err := c.secret(b)
	if err != nil {
		return nil, err
	}
	t := &target{url: u}
	if secret != "" {
		t.auth = []string{"Bearer " + secret}
	}
	if u.Scheme == "http" {
		t.plain()
	}
	c.targets.Store(k, t)
	return t, nil
}

// secret opens a backend's credential, without the white space around it: a file
// that became an environment variable often left its line break there.
func (c *Client) secret(b model.Backend) (string, error) {
	raw, err := c.credentials.Credential(b)
	if err != nil {
		return "", fmt.Errorf("credential: %w", err)
	}
	secret := strings.TrimSpace(raw)
	switch {
	case secret == "" && raw != "": // calling without it would be somebody else's 401
		return "", fmt.Errorf("credential of backend %s: %w", b.ID, errBlank)
	case strings.ContainsFunc(secret, unicode.IsControl): // a line break would begin another header
		return "", fmt.Errorf("credential of backend %s: %w", b.ID, errControl)
	}
	return secret, nil
}

// plain prepares what requests without TLS have in common.
func (t *target) plain() {
	port := t.url.Port()
	if port == "" {
		port = "80"
	}
	t.address = net.JoinHostPort(t.url.Hostname(), port)
	t.request = &http.Request{Method: http.MethodPost}
	t.head = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"+
		"Accept: application/json, text/event-stream\r\nUser-Agent: aiaas\r\n", t.url.RequestURI(), t.url.Host)
	if t.auth != nil {
		t.head = fmt.Appendf(t.head, "Authorization: %s\r\n", t.auth[0])
	}
}

// Close closes idle connections.
func (c *Client) Close() {
	c.transport.CloseIdleConnections()
	c.plain.pool.close()
}
