// Package fault is the platform's small set of errors, and their one form on
// the wire.
//
// Code branches on a [Code], never on text. What stands in Detail is written for
// the caller and may leave the process; what is wrapped is for the operator's
// log and never leaves. [Write] is the only translation to HTTP.
package fault

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"
)

// Code is a kind of failure. Each maps to one HTTP status.
type Code string

// The codes.
const (
	Invalid         Code = "invalid_request"        // 400: can't be read
	Unauthenticated Code = "invalid_api_key"        // 401: no, wrong, expired, revoked: one answer
	BudgetExceeded  Code = "budget_exceeded"        // 402
	Forbidden       Code = "forbidden"              // 403: the key lacks a scope
	NotFound        Code = "not_found"              // 404: missing, foreign or not entitled: one answer
	Method          Code = "method_not_allowed"     // 405
	Conflict        Code = "conflict"               // 409
	TooLarge        Code = "request_too_large"      // 413
	MediaType       Code = "unsupported_media_type" // 415
	Unprocessable   Code = "unprocessable"          // 422: readable, but makes no sense
	RateLimited     Code = "rate_limit_exceeded"    // 429
	Internal        Code = "internal_error"         // 500
	BadGateway      Code = "upstream_error"         // 502: the backend failed
	Unavailable     Code = "unavailable"            // 503: try again
	GatewayTimeout  Code = "upstream_timeout"       // 504
)

type meaning struct {
	status int
	title  string
	kind   string // OpenAI's error.type
}

func meaningOf(c Code) meaning {
	switch c {
	case Invalid:
		return meaning{http.StatusBadRequest, "The request can't be read", "invalid_request_error"}
	case Unauthenticated:
		return meaning{http.StatusUnauthorized, "The credential is missing or not valid", "authentication_error"}
	case BudgetExceeded:
		return meaning{http.StatusPaymentRequired, "The budget is exhausted", "insufficient_quota"}
	case Forbidden:
		return meaning{http.StatusForbidden, "This is not allowed", "permission_error"}
	case NotFound:
		return meaning{http.StatusNotFound, "Not found", "invalid_request_error"}
	case Method:
		return meaning{http.StatusMethodNotAllowed, "Method not allowed", "invalid_request_error"}
	case Conflict:
		return meaning{http.StatusConflict, "Conflict", "invalid_request_error"}
	case TooLarge:
		return meaning{http.StatusRequestEntityTooLarge, "The request is too large", "invalid_request_error"}
	case MediaType:
		return meaning{http.StatusUnsupportedMediaType, "The content type is not supported", "invalid_request_error"}
	case Unprocessable:
		return meaning{http.StatusUnprocessableEntity, "The request makes no sense", "invalid_request_error"}
	case RateLimited:
		return meaning{http.StatusTooManyRequests, "A rate limit was reached", "rate_limit_error"}
	case BadGateway:
		return meaning{http.StatusBadGateway, "The model backend failed", "server_error"}
	case Unavailable:
		return meaning{http.StatusServiceUnavailable, "The service can't answer right now", "server_error"}
	case GatewayTimeout:
		return meaning{http.StatusGatewayTimeout, "The model backend took too long", "server_error"}
	case Internal:
	}
	return meaning{http.StatusInternalServerError, "Internal error", "server_error"}
}

// Error is a failure with a code.
type Error struct {
	Code       Code
	Detail     string         // for the caller; "" to say nothing more than the title
	Param      string         // the member of the request that is at fault, if one is
	OpenAICode string         // what OpenAI calls this, where that is not the Code: "model_not_found"
	Members    map[string]any // more members of the problem document ("limit", "budget")
	RetryAfter time.Duration  // 0: not said
	Err        error          // for the log only
}

// New makes an error whose detail may be shown to the caller.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Wrap makes an error that shows the caller the code's title only, and the
// operator the cause, prefixed by what was attempted.
func Wrap(code Code, attempted string, err error) *Error {
	return &Error{Code: code, Err: fmt.Errorf("%s: %w", attempted, err)}
}

// With returns a copy with one more member for the problem document.
func (e *Error) With(name string, value any) *Error {
	c := *e
	c.Members = maps.Clone(e.Members)
	if c.Members == nil {
		c.Members = map[string]any{}
	}
	c.Members[name] = value
	return &c
}

// After returns a copy that tells the caller when to try again.
func (e *Error) After(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

// At returns a copy that names the member of the request that is at fault.
func (e *Error) At(param string) *Error {
	c := *e
	c.Param = param
	return &c
}

// Error is the text for logs.
func (e *Error) Error() string {
	switch {
	case e.Err != nil && e.Detail != "":
		return string(e.Code) + ": " + e.Detail + ": " + e.Err.Error()
	case e.Err != nil:
		return string(e.Code) + ": " + e.Err.Error()
	}
	return string(e.Code) + ": " + e.Detail
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Status is the HTTP status of the error's code.
func (e *Error) Status() int { return meaningOf(e.Code).status }

// From returns err as an *Error: itself when it is or wraps one, else an
// internal error that hides its text from the caller.
func From(err error) *Error {
	if f, ok := errors.AsType[*Error](err); ok {
		return f
	}
	return &Error{Code: Internal, Err: err}
}

// Is reports whether err has the given code.
func Is(err error, code Code) bool {
	var f *Error
	return errors.As(err, &f) && f.Code == code
}
