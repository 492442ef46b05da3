package oidc

import (
	"errors"
	"io"
	"net/http"
)

var errTooLong = errors.New("the answer is too long")

// bounded ends answers that are too long.
type bounded struct{ inner http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	inner := b.inner
	if inner == nil {
		inner = http.DefaultTransport
	}
	resp, err := inner.RoundTrip(r)
	if err != nil {
		return nil, err //nolint:wrapcheck // a transport's error is the client's
	}
	resp.Body = &body{ReadCloser: resp.Body, left: maxAnswer}
	return resp, nil
}

type body struct {
	io.ReadCloser

	left int64
}

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	return n, err
}
