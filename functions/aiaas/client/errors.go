package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// The exit codes of the command.
const (
	ExitError       = 1 // it did not work
	ExitUsage       = 2 // it was called wrongly
	ExitUnavailable = 3 // the service can't be reached, or can't serve now
)

// UsageError marks a command that was called wrongly.
type UsageError struct{ Err error }

// Error implements error.
func (e UsageError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong with the call.
func (e UsageError) Unwrap() error { return e.Err }

// Usage makes a [UsageError].
func Usage(format string, args ...any) error {
	return UsageError{Err: fmt.Errorf(format, args...)}
}

// ErrUnavailable is the kind of all errors that end with [ExitUnavailable].
var ErrUnavailable = errors.New("the service can't be reached")

type unavailableError struct {
	base  string
	cause error
}

func (e *unavailableError) Error() string {
	return fmt.Sprintf("%s does not answer: %v", e.base, e.cause)
}

func (e *unavailableError) Unwrap() []error { return []error{ErrUnavailable, e.cause} }

// APIError is an answer that is an error.
type APIError struct {
	Status    int
	Code      string
	Title     string
	Detail    string
	RequestID string
	Hint      string          // what the person can do about it
	Problem   json.RawMessage // the document as it came; nil where it was none
}

// Error says what the service said, and which request to name when asking for
// help.
func (e *APIError) Error() string {
	text := e.Detail
	if text == "" {
		text = e.Title
	}
	if text == "" {
		text = fmt.Sprintf("the service answered %d %s", e.Status, http.StatusText(e.Status))
	}
	text = strings.TrimSuffix(printable(text), ".")
	var about []string
	if e.Code != "" {
		about = append(about, printable(e.Code))
	}
	if e.RequestID != "" {
		about = append(about, "request "+printable(e.RequestID))
	}
	if len(about) > 0 {
		text += " (" + strings.Join(about, ", ") + ")"
	}
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// Is makes errors.Is(err, ErrUnavailable) true for answers that ask to come again.
func (e *APIError) Is(target error) bool {
	return target == ErrUnavailable && (e.Status == http.StatusBadGateway || e.Status == http.StatusServiceUnavailable || e.Status == http.StatusGatewayTimeout)
}

func (t *target) refusal(a *answer) error {
	e := &APIError{Status: a.status, RequestID: a.header.Get("X-Request-Id")}
	var p struct {
		Code      string `json:"code"`
		Title     string `json:"title"`
		Detail    string `json:"detail"`
		RequestID string `json:"request_id"`
		Reason    string `json:"reason"`
	}
	if json.Unmarshal(a.body, &p) == nil {
		e.Code, e.Title, e.Detail, e.Problem = p.Code, p.Title, p.Detail, a.body
		if p.RequestID != "" {
			e.RequestID = p.RequestID
		}
	}
	switch {
	case p.Reason == "step_up":
		e.Hint = "run `aiaas login` to prove yourself again"
	case t.login != nil && a.status == http.StatusUnauthorized:
		e.Hint = "the login is over: run `aiaas login`"
	}
	return e
}

// ExitCode is the code that an error ends the process with.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.As(err, new(UsageError)):
		return ExitUsage
	case errors.Is(err, ErrUnavailable):
		return ExitUnavailable
	}
	return ExitError
}

// Report tells an error. As JSON it is the service's problem document, or one of
// the same form with the code usage_error, service_unavailable or command_failed.
func Report(w io.Writer, err error, format string) {
	if format != formatJSON {
		text := "aiaas: " + err.Error()
		if errors.As(err, new(*unavailableError)) {
			text += ". Is it running? aiaas doctor tells more."
		}
		_, _ = fmt.Fprintln(w, text) // nobody is left to tell
		return
	}
	if e, ok := errors.AsType[*APIError](err); ok && e.Problem != nil {
		_, _ = fmt.Fprintln(w, strings.TrimSpace(string(e.Problem)))
		return
	}
	code := map[int]string{ExitUsage: "usage_error", ExitUnavailable: "service_unavailable"}[ExitCode(err)]
	if code == "" {
		code = "command_failed"
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"code": code, "detail": err.Error()}) //nolint:errchkjson // texts only
}
