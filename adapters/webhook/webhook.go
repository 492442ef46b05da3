// Package webhook posts events as Standard Webhooks have it
// (https://www.standardwebhooks.com): signed with HMAC-SHA256 over id, time and body,
// so that a receiver can tell them from what others send, and old ones from new.
//
// Whom it may connect to is for the HTTP client to say that it is made with. What it
// tells of a failure goes to who owns the webhook: which kind of failure it was, and
// nothing of the platform's own network.
package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/aiaas/aiaas/shared/egress"
	"github.com/aiaas/aiaas/shared/event"
)

// maxResponse is how much is read, and kept, of an answer, in bytes.
const maxResponse = 2 << 10

// Poster posts events.
type Poster struct {
	client *http.Client
	now    func() time.Time
}

var _ event.Poster = (*Poster)(nil)

// New makes a poster. The client must follow no redirects.
func New(client *http.Client, now func() time.Time) *Poster {
	return &Poster{client: client, now: now}
}

// Post implements [event.Poster]. The status line decides what the attempt is: who
// has sent 2xx has the event, whatever becomes of the rest of the answer, which is
// read for its owner only. Without a status line in time it is a failure.
func (p *Poster) Post(ctx context.Context, post event.Posting) event.Attempt {
	ctx, cancel := context.WithTimeout(ctx, event.PostTimeout)
	defer cancel()
	begun := p.now()
	a := p.send(ctx, post, begun)
	a.At, a.Duration = begun, max(0, p.now().Sub(begun))
	return a
}

func (p *Poster) send(ctx context.Context, post event.Posting, at time.Time) event.Attempt {
	req, err := request(ctx, post, at)
	if err != nil {
		return event.Attempt{Error: "The request can't be made: its address or secret is not valid."}
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return event.Attempt{Error: explain(err)}
	}
	defer func() { _ = resp.Body.Close() }() // nothing depends on it
	a := event.Attempt{Code: resp.StatusCode, RetryAfter: retryAfter(resp.Header.Get("Retry-After"), at)}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxResponse)) // what came of it before it broke off
	a.Response = strings.ToValidUTF8(strings.ReplaceAll(string(body), "\x00", ""), "")
	switch {
	case a.Code >= 300 && a.Code <= 399:
		a.Error = "Redirects are not followed."
	case a.Code < 200 || a.Code > 299:
		a.Error = fmt.Sprintf("The receiver answered %d.", a.Code)
	}
	return a
}

func request(ctx context.Context, post event.Posting, at time.Time) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, post.URL, bytes.NewReader(post.Payload))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	signatures := make([]string, len(post.Secrets))
	for i, s := range post.Secrets {
		signer, err := standardwebhooks.NewWebhook(s)
		if err != nil {
			return nil, fmt.Errorf("read secret: %w", err)
		}
		if signatures[i], err = signer.Sign(post.ID, at, post.Payload); err != nil {
			return nil, fmt.Errorf("sign: %w", err)
		}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "aiaas-webhooks")
	req.Header.Set(standardwebhooks.HeaderWebhookID, post.ID)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	return req, nil
}

// retryAfter reads seconds or a date; 0 where there is neither.
func retryAfter(text string, now time.Time) time.Duration {
	if n, err := strconv.ParseInt(text, 10, 32); err == nil {
		return max(0, time.Duration(n)*time.Second)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// explain says what kind of failure it was.
func explain(err error) string {
	var dns *net.DNSError
	var verify *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var alert tls.RecordHeaderError
	var netErr net.Error
	switch {
	case errors.Is(err, egress.ErrRefused):
		return "The address may not be connected to: it is private or reserved, or asks for a port or a scheme that webhooks can't have."
	case errors.As(err, &dns):
		return "The name of the host leads nowhere."
	case errors.As(err, &verify), errors.As(err, &unknown):
		return "The certificate of the host is not trusted."
	case errors.As(err, &alert), errors.Is(err, http.ErrSchemeMismatch):
		return "The host does not speak TLS."
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return fmt.Sprintf("There was no answer within %d seconds.", int(event.PostTimeout.Seconds()))
	}
	return "The connection was refused or broke off."
}
