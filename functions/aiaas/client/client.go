// Package client is the part of the command that calls a running platform over
// its HTTP API: keys, people, projects, models, budgets, usage, requests, invoices
// and jobs.
//
// It owns how commands look and behave, not what they do: each is a line of a
// table (a route, its arguments and flags, the columns of its answer), and all go
// one way for profile, request, paging, errors and output. It knows the API only;
// what needs the database or the process stands in the command itself.
//
// A secret never stands in an argument, where every user of the machine can read
// it: keys come from the profile, a file or the environment, credentials from
// standard input.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
)

// Env is what commands have of their process.
type Env struct {
	Getenv func(name string) string
	Now    func() time.Time
	// Asks tells whether somebody sits at standard input who can be asked.
	Asks func() bool
	// VerifyAudit verifies an organisation's audit in the database itself; "" is the
	// profile's. Without keys it takes those of the settings.
	VerifyAudit func(ctx context.Context, org string, keys audit.Ring) (audit.Report, error)
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 256 << 20

// target is where calls go, and as who.
type target struct {
	baseURL string
	key     string
	login   *keptLogin    // gives a token in the place of the key; nil: there is none
	timeout time.Duration // of one call
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a *answer) is(media string) bool {
	return strings.HasPrefix(a.header.Get("Content-Type"), media)
}

// request is one call to the API.
type request struct {
	method string
	path   string // escaped
	query  url.Values
	body   any // nil for none
	accept string
}

func (r *request) url(base string) string {
	u := strings.TrimRight(base, "/") + r.path
	if len(r.query) > 0 {
		u += "?" + r.query.Encode()
	}
	return u
}

// do makes a call. An answer that is an error is an [APIError]; none at all is
// [ErrUnavailable].
func (t *target) do(ctx context.Context, r *request) (*answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, t.timeout, errTimeout)
	defer cancel()
	resp, err := t.send(ctx, r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	return t.read(ctx, resp)
}

// pass makes a call and passes its answer on while it comes, for as long as it
// comes. One that breaks off is an error.
func (t *target) pass(ctx context.Context, r *request, to io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := time.AfterFunc(t.timeout, func() { cancel(errTimeout) }) // for the beginning, and then from piece to piece
	defer patience.Stop()
	resp, err := t.send(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		_, err := t.read(ctx, resp)
		return err
	}
	if _, err := io.Copy(to, alive{resp.Body, func() { patience.Reset(t.timeout) }}); err != nil {
		return unreachable(ctx, t.baseURL, err)
	}
	return nil
}

// alive tells of each piece that it has read.
type alive struct {
	r    io.Reader
	sign func()
}

func (a alive) Read(b []byte) (int, error) {
	n, err := a.r.Read(b)
	a.sign()
	return n, err
}

func (t *target) send(ctx context.Context, r *request) (*http.Response, error) {
	var body io.Reader = http.NoBody
	if r.body != nil {
		raw, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, r.url(t.baseURL), body)
	if err != nil {
		return nil, Usage("the address of the platform can't be read: %s", t.baseURL)
	}
	req.Header.Set("User-Agent", "aiaas-command")
	req.Header.Set("Accept", r.accept)
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	key := t.key
	if t.login != nil {
		if key, err = t.login.token(ctx); err != nil {
			return nil, err
		}
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	// No redirect is followed: the key is for this address.
	direct := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := direct.Do(req)
	if err != nil {
		return nil, unreachable(ctx, t.baseURL, err)
	}
	return resp, nil
}

func (t *target) read(ctx context.Context, resp *http.Response) (a *answer, err error) {
	a = &answer{status: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return nil, unreachable(ctx, t.baseURL, err)
	}
	if a.status < 200 || a.status > 299 {
		return nil, t.refusal(a)
	}
	return a, nil
}

var errTimeout = errors.New("it took too long")

// unreachable says why there was no answer. The URL stays out of the cause: it is
// said once.
func unreachable(ctx context.Context, base string, err error) error {
	cause := err
	if e, ok := errors.AsType[*url.Error](err); ok {
		cause = e.Err
	}
	switch {
	case errors.Is(context.Cause(ctx), errTimeout):
		cause = errTimeout
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	return &unavailableError{base: base, cause: cause}
}

// Get asks the platform for something, as doctors do.
func Get(ctx context.Context, baseURL, key, path string, timeout time.Duration) (header http.Header, body []byte, err error) {
	t := &target{baseURL: baseURL, key: key, timeout: timeout}
	at, query, _ := strings.Cut(path, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, nil, fmt.Errorf("read query: %w", err)
	}
	a, err := t.do(ctx, &request{method: http.MethodGet, path: at, query: values, accept: "application/json"})
	if err != nil {
		return nil, nil, err
	}
	return a.header, a.body, nil
}
