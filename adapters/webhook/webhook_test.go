package webhook_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/aiaas/aiaas/adapters/webhook"
	"github.com/aiaas/aiaas/shared/egress"
	"github.com/aiaas/aiaas/shared/event"
)

const (
	newest = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	oldest = "whsec_c2VjcmV0IHRoYXQgd2FzIHVzZWQgYmVmb3Jl"
)

// noRedirects is what a client must do that a poster is made with.
func noRedirects() *http.Client {
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// wall is the time that the library compares a signature's with.
func wall() time.Time { return time.Now() }

func posting(url string, secrets ...string) event.Posting {
	return event.Posting{URL: url, ID: "evt_1", Secrets: secrets, Payload: []byte(`{"type":"key.created"}`)}
}

func TestRequestsAreSigned(t *testing.T) {
	var header http.Header
	var body []byte
	var method string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method, header = r.Method, r.Header
		body, _ = io.ReadAll(r.Body)
		_, _ = io.WriteString(w, "thank you")
	}))
	defer s.Close()
	a := webhook.New(noRedirects(), wall).Post(t.Context(), posting(s.URL, newest, oldest))
	if a.Code != http.StatusOK || a.Error != "" || a.Response != "thank you" || a.At.IsZero() {
		t.Errorf("attempt %+v", a)
	}
	if method != http.MethodPost || header.Get("Content-Type") != "application/json" || header.Get("webhook-id") != "evt_1" || header.Get("User-Agent") != "aiaas-webhooks" {
		t.Errorf("%s with %v", method, header)
	}
	for name, secret := range map[string]string{"the newest": newest, "the one before": oldest} {
		w, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Verify(body, header); err != nil {
			t.Errorf("by %s: %v", name, err)
		}
		if w.Verify(append(body, ' '), header) == nil {
			t.Errorf("by %s a changed body is good", name)
		}
	}
	other, err := standardwebhooks.NewWebhook("whsec_b3RoZXIgc2VjcmV0IG9mIHNvbWVib2R5")
	if err != nil || other.Verify(body, header) == nil {
		t.Errorf("somebody else's secret is good (%v)", err)
	}
}

func TestWhatComesBack(t *testing.T) {
	date := time.Date(2026, 10, 12, 9, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		answer     http.HandlerFunc
		code       int
		err        string // its beginning
		retryAfter time.Duration
		response   int // its length
	}{
		"no content": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, 204, "", 0, 0},
		"a failure":  {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) }, 500, "The receiver answered 500.", 0, 3},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		}, 307, "Redirects are not followed.", 0, 0},
		"come later": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "120"); w.WriteHeader(429) }, 429, "The receiver", 2 * time.Minute, 0},
		"come then": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", date.Add(time.Hour).Format(http.TimeFormat))
			w.WriteHeader(503)
		}, 503, "The receiver", time.Hour, 0},
		"come before": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "-5"); w.WriteHeader(503) }, 503, "The receiver", 0, 0},
		"endless": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, strings.Repeat("x", 1<<10)); err != nil {
					return
				}
			}
		}, 200, "", 0, 2 << 10},
		"no text": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("a\x00\xffb")) }, 200, "", 0, 2},
		"broken off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
		}, 200, "", 0, 4},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(c.answer)
			defer s.Close()
			a := webhook.New(noRedirects(), func() time.Time { return date }).Post(t.Context(), posting(s.URL, newest))
			if a.Code != c.code || !strings.HasPrefix(a.Error, c.err) || (c.err == "") != (a.Error == "") || a.RetryAfter != c.retryAfter {
				t.Errorf("attempt %+v", a)
			}
			if c.response > 0 && len(a.Response) != c.response {
				t.Errorf("%d bytes of the answer are kept; want %d", len(a.Response), c.response)
			}
		})
	}
}

// Whoever has sent its status line has the event; one who keeps the rest back can't
// have it sent for ever, nor holds it longer than there is time.
func TestTheStatusLineDecides(t *testing.T) {
	for name, c := range map[string]struct {
		head bool // sent before the time is over
		code int
		err  string
	}{
		"a body that drips": {true, 200, ""},
		"nothing in time":   {false, 0, "There was no answer"},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if c.head {
				_, _ = io.WriteString(w, "a")
				_ = http.NewResponseController(w).Flush()
			}
			<-r.Context().Done()
		}))
		client := noRedirects()
		client.Transport = &cutting{inner: http.DefaultTransport, cut: cancel, head: c.head}
		a := webhook.New(client, wall).Post(ctx, posting(s.URL, newest))
		s.Close()
		if a.Code != c.code || !strings.HasPrefix(a.Error, c.err) || (c.err == "") != (a.Error == "") {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

// cutting ends the time of an exchange: once there is a head, or before.
type cutting struct {
	inner http.RoundTripper
	cut   context.CancelCauseFunc
	head  bool
}

func (c *cutting) RoundTrip(r *http.Request) (*http.Response, error) {
	if !c.head {
		return nil, context.DeadlineExceeded
	}
	resp, err := c.inner.RoundTrip(r)
	if err == nil {
		c.cut(context.DeadlineExceeded)
	}
	return resp, err
}

// What an owner is told of a failure names its kind, and nothing of the network.
func TestFailuresAreExplained(t *testing.T) {
	tls := httptest.NewTLSServer(http.NotFoundHandler())
	defer tls.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	failing := func(err error) *http.Client { return &http.Client{Transport: fails{err}} }
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx    context.Context //nolint:containedctx // of one case
		client *http.Client
		url    string
		want   string
	}{
		"refused":          {t.Context(), failing(egress.Rules{}.Check(netip.MustParseAddr("10.0.0.7"))), "https://a.example", "The address may not be connected to"},
		"no such name":     {t.Context(), failing(&net.DNSError{Err: "no such host", Name: "internal.corp"}), "https://a.example", "The name of the host"},
		"a strange issuer": {t.Context(), noRedirects(), tls.URL, "The certificate"},
		"no TLS":           {t.Context(), noRedirects(), "https" + strings.TrimPrefix(plain.URL, "http"), "The host does not speak TLS"},
		"too slow":         {t.Context(), failing(context.DeadlineExceeded), "https://a.example", "There was no answer within 15 seconds."},
		"another failure":  {t.Context(), failing(errors.New("dial tcp 10.0.0.7:443: connection refused")), "https://a.example", "The connection"},
		"the process ends": {ended, noRedirects(), plain.URL, "The connection"},
		"no address":       {t.Context(), noRedirects(), "://", "The request can't be made"},
	} {
		a := webhook.New(c.client, wall).Post(c.ctx, posting(c.url, newest))
		if a.Code != 0 || !strings.HasPrefix(a.Error, c.want) {
			t.Errorf("%s: %+v; want %q", name, a, c.want)
		}
		if strings.Contains(a.Error, "10.0.0.7") || strings.Contains(a.Error, "internal.corp") {
			t.Errorf("%s tells of the network: %s", name, a.Error)
		}
	}
	if a := webhook.New(noRedirects(), wall).Post(t.Context(), posting(plain.URL, "no base64!")); !strings.HasPrefix(a.Error, "The request can't be made") {
		t.Errorf("with a secret that is none: %+v", a)
	}
}

type fails struct{ err error }

func (f fails) RoundTrip(*http.Request) (*http.Response, error) { return nil, f.err }
