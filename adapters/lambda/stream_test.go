package lambda_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"github.com/aiaas/aiaas/adapters/lambda"
)

func talk() events.APIGatewayProxyRequest { return request("POST", "/v1/talk", "/v1/talk") }

func stream(t *testing.T, h *lambda.Host, ev events.APIGatewayProxyRequest) *events.APIGatewayProxyStreamingResponse {
	t.Helper()
	return streamIn(t, t.Context(), h, ev)
}

func streamIn(t *testing.T, ctx context.Context, h *lambda.Host, ev events.APIGatewayProxyRequest) *events.APIGatewayProxyStreamingResponse { //nolint:revive // t leads, as in every helper
	t.Helper()
	got, err := h.Invoke(ctx, marshal(t, ev))
	if err != nil {
		t.Fatalf("invoke: %v", err)
	}
	answer, ok := got.(*events.APIGatewayProxyStreamingResponse)
	if !ok {
		t.Fatalf("got %T, want a stream", got)
	}
	t.Cleanup(func() { _ = answer.Close() })
	return answer
}

func read(t *testing.T, answer *events.APIGatewayProxyStreamingResponse) string {
	t.Helper()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatalf("read stream: %v", err)
	}
	return string(body)
}

func TestStreamArrivesWhileItIsProduced(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	h := serving(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Content-Length", "99")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("flush: %v", err)
		}
		<-goOn
		_, _ = io.WriteString(w, "one")
		<-goOn
		_, _ = io.WriteString(w, "two")
	})
	answer := stream(t, h, talk()) // returns although nothing of the body is written
	want := map[string][]string{"Content-Type": {"text/event-stream"}}
	if diff := cmp.Diff(want, answer.MultiValueHeaders); diff != "" || answer.StatusCode != 200 {
		t.Errorf("status %d, headers %s", answer.StatusCode, diff)
	}
	goOn <- struct{}{}
	first := make([]byte, 3)
	if _, err := io.ReadFull(answer.Body, first); err != nil || string(first) != "one" {
		t.Fatalf("first bytes %q, %v", first, err)
	}
	goOn <- struct{}{} // only now may the handler go on
	if rest := read(t, answer); rest != "two" {
		t.Errorf("rest %q", rest)
	}
}

func TestStreamOnTheWire(t *testing.T) {
	t.Parallel()
	h := serving(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["X-Many"] = []string{"a", "b"}
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "body")
	})
	raw, err := io.ReadAll(stream(t, h, talk()))
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	prelude, body, found := bytes.Cut(raw, make([]byte, 8))
	var head struct {
		StatusCode        int                 `json:"statusCode"`
		MultiValueHeaders map[string][]string `json:"multiValueHeaders"`
	}
	if err := json.Unmarshal(prelude, &head); err != nil || !found {
		t.Fatalf("prelude %q: %v", prelude, err)
	}
	want := map[string][]string{"X-Many": {"a", "b"}, "Content-Type": {"text/plain"}}
	if diff := cmp.Diff(want, head.MultiValueHeaders); diff != "" || head.StatusCode != 201 || string(body) != "body" {
		t.Errorf("status %d, body %q, headers %s", head.StatusCode, body, diff)
	}
}

func TestStreamThatBreaks(t *testing.T) {
	t.Parallel()

	t.Run("before the first byte is a problem document", func(t *testing.T) {
		t.Parallel()
		answer := stream(t, serving(t, func(http.ResponseWriter, *http.Request) { panic("secret text") }), talk())
		if p := problemOf(t, read(t, answer)); answer.StatusCode != 500 || p.Error == nil || p.Error.Code != "internal_error" {
			t.Errorf("status %d: %+v", answer.StatusCode, p)
		}
	})

	t.Run("later ends with an error, not as if it were complete", func(t *testing.T) {
		t.Parallel()
		answer := stream(t, serving(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half")
			panic("secret text")
		}), talk())
		body, err := io.ReadAll(answer.Body)
		if string(body) != "half" || err == nil || err.Error() != "function panicked" {
			t.Errorf("read %q, %v", body, err)
		}
	})
}

func TestReaderThatLeaves(t *testing.T) {
	t.Parallel()
	recorded := false
	h := serving(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "one")
		<-r.Context().Done()
		if cause := context.Cause(r.Context()); !errors.Is(cause, lambda.ErrClientGone) {
			t.Errorf("cause %v", cause)
		}
		if _, err := io.WriteString(w, "two"); !errors.Is(err, lambda.ErrClientGone) {
			t.Errorf("write after the reader left: %v", err)
		}
		time.Sleep(10 * time.Millisecond) // a record takes a moment
		recorded = true
	})
	answer := stream(t, h, talk())
	if _, err := io.ReadFull(answer.Body, make([]byte, 3)); err != nil {
		t.Fatalf("read: %v", err)
	}
	if err := answer.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if !recorded { // the race detector checks the order as well
		t.Error("closing did not wait for the handler, which could have been frozen before its record")
	}
}

func TestReaderThatStalls(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		deadline func(now time.Time) time.Time // nil: the handler asks for none
		timeout  time.Duration
	}{
		"is given up at the handler's deadline":                {func(now time.Time) time.Time { return now.Add(10 * time.Millisecond) }, time.Minute},
		"is given up before the platform's":                    {nil, 200 * time.Millisecond},
		"is given up before the platform's, asked for never":   {func(time.Time) time.Time { return time.Time{} }, 200 * time.Millisecond},
		"is given up before the platform's, whatever is asked": {func(now time.Time) time.Time { return now.Add(time.Hour) }, 200 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			failure := make(chan error, 1)
			h := serving(t, func(w http.ResponseWriter, _ *http.Request) {
				if c.deadline != nil {
					if err := http.NewResponseController(w).SetWriteDeadline(c.deadline(time.Now())); err != nil {
						t.Errorf("set deadline: %v", err)
					}
				}
				_, err := io.WriteString(w, "never read")
				failure <- err
			})
			ctx, cancel := context.WithTimeout(t.Context(), c.timeout)
			defer cancel()
			streamIn(t, ctx, h, talk())
			select {
			case err := <-failure:
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("got %v", err)
				}
			case <-ctx.Done():
				t.Error("the platform would have killed it first")
			}
		})
	}
}

func TestRefusalsKeepTheTransferModeOfTheirResource(t *testing.T) {
	t.Parallel()
	h := serving(t, func(http.ResponseWriter, *http.Request) { t.Error("the function was called") })
	ev := request("POST", "/v1/talk", "/v1/talk/") // API Gateway matches it, the mux does not
	if answer := stream(t, h, ev); answer.StatusCode != 404 || problemOf(t, read(t, answer)).Code != "not_found" {
		t.Errorf("status %d", answer.StatusCode)
	}
}
