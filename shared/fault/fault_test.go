package fault_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aiaas/aiaas/shared/fault"
)

func TestEachCodeHasOneStatusAndOneOpenAIType(t *testing.T) {
	for _, c := range []struct {
		code   fault.Code
		status int
		kind   string
	}{
		{fault.Invalid, 400, "invalid_request_error"},
		{fault.Unauthenticated, 401, "authentication_error"},
		{fault.BudgetExceeded, 402, "insufficient_quota"},
		{fault.Forbidden, 403, "permission_error"},
		{fault.NotFound, 404, "invalid_request_error"},
		{fault.Method, 405, "invalid_request_error"},
		{fault.Conflict, 409, "invalid_request_error"},
		{fault.TooLarge, 413, "invalid_request_error"},
		{fault.MediaType, 415, "invalid_request_error"},
		{fault.Unprocessable, 422, "invalid_request_error"},
		{fault.RateLimited, 429, "rate_limit_error"},
		{fault.Internal, 500, "server_error"},
		{fault.BadGateway, 502, "server_error"},
		{fault.Unavailable, 503, "server_error"},
		{fault.GatewayTimeout, 504, "server_error"},
		{"a code that nobody declared", 500, "server_error"},
	} {
		e := fault.New(c.code, "why")
		doc := e.Document("", "", true)
		if e.Status() != c.status || doc.Status != c.status || doc.OpenAI.Type != c.kind || doc.Title == "" {
			t.Errorf("%s: status %d, document %+v; want %d and %s", c.code, e.Status(), doc, c.status, c.kind)
		}
	}
}

// answer writes err as the answer of a request and returns status, headers and
// the decoded body.
func answer(t *testing.T, err error, openAI bool) (int, http.Header, map[string]any) {
	t.Helper()
	w := httptest.NewRecorder()
	w.Header().Set("X-Request-Id", "req_1")
	w.Header().Set("Content-Encoding", "gzip")
	fault.Write(w, httptest.NewRequest(http.MethodGet, "/v1/things/a%2Fb?secret=1", http.NoBody), "req_1", err, openAI)
	res := w.Result()
	defer func() { _ = res.Body.Close() }()
	raw, rErr := io.ReadAll(res.Body)
	if rErr != nil {
		t.Fatal(rErr)
	}
	if got := res.Header.Get("Content-Length"); got != strconv.Itoa(len(raw)) {
		t.Errorf("Content-Length is %s for %d bytes", got, len(raw))
	}
	var body map[string]any
	if err := json.Unmarshal(raw, &body); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return res.StatusCode, res.Header, body
}

func TestWriteAnswersAProblemDocument(t *testing.T) {
	err := fault.New(fault.RateLimited, "%d requests per minute", 100).
		After(1200*time.Millisecond).With("limit", "requests")
	status, header, body := answer(t, fmt.Errorf("admit: %w", err), false)
	if status != http.StatusTooManyRequests {
		t.Errorf("status is %d", status)
	}
	want := map[string]any{
		"type":        "https://aiaas.dev/problems/rate_limit_exceeded",
		"title":       "A rate limit was reached",
		"status":      429.0,
		"code":        "rate_limit_exceeded",
		"detail":      "100 requests per minute",
		"instance":    "/v1/things/a%2Fb", // the path, never the query
		"request_id":  "req_1",
		"retry_after": 2.0, // rounded up: who obeys is never early
		"limit":       "requests",
	}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{
		"Content-Type":     "application/problem+json",
		"Retry-After":      "2",
		"Cache-Control":    "no-store",
		"Content-Encoding": "", // of the answer that did not come
		"X-Request-Id":     "req_1",
		"WWW-Authenticate": "",
	} {
		if got := header.Get(name); got != want {
			t.Errorf("%s is %q; want %q", name, got, want)
		}
	}
}

func TestTheDataPlaneAddsOpenAIsErrorObject(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want map[string]any
	}{
		{
			"with a parameter at fault",
			fault.New(fault.Invalid, "must be positive").At("max_tokens"),
			map[string]any{"message": "must be positive", "type": "invalid_request_error", "param": "max_tokens", "code": "invalid_request"},
		},
		{
			"without a detail the title speaks",
			fault.New(fault.Unauthenticated, ""),
			map[string]any{"message": "The credential is missing or not valid", "type": "authentication_error", "param": nil, "code": "invalid_api_key"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, body := answer(t, c.err, true)
			if diff := cmp.Diff(c.want, body["error"]); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if _, _, management := answer(t, c.err, false); management["error"] != nil {
				t.Errorf("the management API answers OpenAI's object: %v", management)
			}
		})
	}
}

func TestOnlyUnauthenticatedAsksForCredentials(t *testing.T) {
	if _, h, _ := answer(t, fault.New(fault.Unauthenticated, ""), true); h.Get("WWW-Authenticate") != `Bearer realm="aiaas"` {
		t.Errorf("401 answers WWW-Authenticate %q", h.Get("WWW-Authenticate"))
	}
	if _, h, _ := answer(t, fault.New(fault.Forbidden, ""), true); h.Get("WWW-Authenticate") != "" {
		t.Errorf("403 answers WWW-Authenticate %q", h.Get("WWW-Authenticate"))
	}
}

func TestInternalTextNeverLeaves(t *testing.T) {
	secret := errors.New("dial postgres://user:hunter2@db")
	for name, err := range map[string]error{
		"an error of no code":      secret,
		"a wrapped cause":          fault.Wrap(fault.Unavailable, "load key", secret),
		"a cause below the detail": &fault.Error{Code: fault.BadGateway, Detail: "try again", Err: secret},
	} {
		t.Run(name, func(t *testing.T) {
			_, header, body := answer(t, err, true)
			if text := fmt.Sprint(header, body); strings.Contains(text, "hunter2") {
				t.Errorf("the answer tells %s", text)
			}
			if !strings.Contains(fault.From(err).Error(), "hunter2") {
				t.Errorf("the log is not told: %v", fault.From(err))
			}
		})
	}
}

func TestAMemberNeverReplacesAStandardOne(t *testing.T) {
	err := fault.New(fault.Conflict, "taken").With("status", 200).With("error", "none").With("name", "a")
	_, _, body := answer(t, err, true)
	if body["status"] != 409.0 || body["name"] != "a" {
		t.Errorf("body is %v", body)
	}
	if o, ok := body["error"].(map[string]any); !ok || o["code"] != "conflict" {
		t.Errorf("error is %v", body["error"])
	}
}

func TestAMemberThatJSONCannotHoldStillGivesAnAnswer(t *testing.T) {
	status, _, body := answer(t, fault.New(fault.Conflict, "").With("bad", make(chan int)), true)
	if status != http.StatusConflict || body["title"] == "" {
		t.Errorf("answer is %d %v", status, body)
	}
}

func TestDerivingLeavesTheOriginalAlone(t *testing.T) {
	base := fault.New(fault.RateLimited, "slow down").With("limit", "requests")
	_ = base.With("limit", "tokens").After(time.Second).At("n")
	want := &fault.Error{Code: fault.RateLimited, Detail: "slow down", Members: map[string]any{"limit": "requests"}}
	if diff := cmp.Diff(want, base); diff != "" {
		t.Errorf("base changed (-want +got):\n%s", diff)
	}
}

func TestCodesAreFoundThroughWrapping(t *testing.T) {
	cause := io.ErrUnexpectedEOF
	err := fmt.Errorf("relay: %w", fault.Wrap(fault.BadGateway, "read answer", cause))
	if !fault.Is(err, fault.BadGateway) || fault.Is(err, fault.Internal) {
		t.Errorf("%v: the code is lost", err)
	}
	if !errors.Is(err, cause) {
		t.Errorf("%v: the cause is lost", err)
	}
	if fault.Is(nil, fault.Internal) || fault.Is(cause, fault.Internal) {
		t.Error("an error without a code has one")
	}
	if got := fault.From(cause); got.Code != fault.Internal || !errors.Is(got, cause) {
		t.Errorf("From(%v) = %v", cause, got)
	}
}

func TestTheTextForLogs(t *testing.T) {
	cause := errors.New("connection reset")
	for _, c := range []struct {
		err  *fault.Error
		want string
	}{
		{fault.New(fault.NotFound, "no model %q", "x"), `not_found: no model "x"`},
		{fault.Wrap(fault.Unavailable, "load key", cause), "unavailable: load key: connection reset"},
		{&fault.Error{Code: fault.BadGateway, Detail: "try again", Err: cause}, "upstream_error: try again: connection reset"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("text is %q; want %q", got, c.want)
		}
	}
}
