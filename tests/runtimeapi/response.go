package runtimeapi

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// StreamContentType marks answers in the streaming format: a JSON prelude,
// eight NUL bytes, the body.
const StreamContentType = "application/vnd.awslambda.http-integration-response"

const maxPrelude = 1 << 20 // bytes; a bound, not a limit of the platform's

// Response is an answer that has begun. Close it; closing before its end is the
// client's disconnect.
type Response struct {
	RequestID   string
	ContentType string
	// Status and Header are the prelude of an answer in the streaming format;
	// 0 and nil for others.
	Status int
	Header http.Header

	body   io.Reader
	source *http.Request
	once   sync.Once
	left   chan struct{} // closed when the reader is done
	ended  chan struct{} // closed when the body was read to its end
	endOne sync.Once
}

// Streamed reports whether the answer is in the streaming format.
func (r *Response) Streamed() bool { return r.ContentType == StreamContentType }

// Read returns the body's bytes as they arrive. A function that breaks off in
// the middle ends it with a *FunctionError in place of io.EOF.
func (r *Response) Read(p []byte) (int, error) {
	select {
	case <-r.left:
		return 0, http.ErrBodyReadAfterClose
	default:
	}
	n, err := r.body.Read(p)
	if err == nil {
		return n, nil
	}
	if errors.Is(err, io.EOF) {
		r.endOne.Do(func() { close(r.ended) })
		if fe := trailerError(r.source.Trailer); fe != nil {
			return n, fe
		}
		return n, io.EOF
	}
	return n, fmt.Errorf("read answer: %w", err)
}

// Close ends the reading. It may be called at any time and repeatedly.
func (r *Response) Close() error {
	r.once.Do(func() { close(r.left) })
	return nil
}

// JSON reads the answer to its end into v and closes it.
func (r *Response) JSON(v any) error {
	defer r.Close() //nolint:errcheck // always nil
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("decode answer %.200q: %w", raw, err)
	}
	return nil
}

// newResponse reads what comes before the body.
func newResponse(id string, r *http.Request) (*Response, error) {
	in := bufio.NewReader(r.Body)
	resp := &Response{
		RequestID: id, ContentType: r.Header.Get("Content-Type"), body: in, source: r,
		left: make(chan struct{}), ended: make(chan struct{}),
	}
	if !resp.Streamed() {
		return resp, nil
	}
	raw, err := readPrelude(in)
	if err != nil {
		return nil, err
	}
	var prelude struct {
		StatusCode        int                 `json:"statusCode"`
		Headers           map[string]string   `json:"headers"`
		MultiValueHeaders map[string][]string `json:"multiValueHeaders"`
		Cookies           []string            `json:"cookies"`
	}
	if err := json.Unmarshal(raw, &prelude); err != nil {
		return nil, &FunctionError{Type: FormatError, Message: "prelude: " + err.Error()}
	}
	resp.Status, resp.Header = prelude.StatusCode, http.Header{}
	if resp.Status == 0 {
		resp.Status = http.StatusOK
	}
	for k, v := range prelude.Headers {
		resp.Header.Set(k, v)
	}
	for k, vs := range prelude.MultiValueHeaders {
		for _, v := range vs {
			resp.Header.Add(k, v)
		}
	}
	for _, c := range prelude.Cookies {
		resp.Header.Add("Set-Cookie", c)
	}
	return resp, nil
}

// readPrelude reads up to the eight NUL bytes.
func readPrelude(in *bufio.Reader) ([]byte, error) {
	end := make([]byte, 8)
	var got []byte
	for len(got) < maxPrelude {
		b, err := in.ReadByte()
		if err != nil {
			return nil, &FunctionError{Type: FormatError, Message: "prelude does not end: " + err.Error()}
		}
		got = append(got, b)
		if bytes.HasSuffix(got, end) {
			return got[:len(got)-len(end)], nil
		}
	}
	return nil, &FunctionError{Type: FormatError, Message: "prelude is too long"}
}

// trailerError reads the error that a function reports after it began to
// answer; nil when there is none.
func trailerError(trailer http.Header) *FunctionError {
	kind := trailer.Get("Lambda-Runtime-Function-Error-Type")
	if kind == "" {
		return nil
	}
	fe := &FunctionError{Type: kind}
	if raw, err := base64.StdEncoding.DecodeString(trailer.Get("Lambda-Runtime-Function-Error-Body")); err == nil {
		_ = json.Unmarshal(raw, fe) // a body that is no JSON leaves the type, which is enough
	}
	return fe
}
