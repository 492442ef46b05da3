package demo

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
)

// refusal is an error answer in OpenAI's form.
type refusal struct {
	status        int
	message, kind string
	param, code   string // "" is null on the wire
	retryAfter    int    // seconds; never for none
}

// Error is the text for logs.
func (r *refusal) Error() string { return r.message }

// refuse is the answer to a request that can't be served as it stands.
func refuse(param, message string) *refusal {
	return &refusal{
		status: http.StatusBadRequest, message: message, kind: "invalid_request_error",
		param: param, retryAfter: never,
	}
}

// refuseJSON is the answer to a document that can't be read: where, not how the
// reader names the trouble.
func refuseJSON(under string, err error) *refusal {
	var semantic *json.SemanticError
	if !errors.As(err, &semantic) {
		r := refuse(under, "We could not parse the JSON body of your request.")
		r.code = "invalid_json"
		return r
	}
	if errors.Is(err, json.ErrUnknownName) {
		return refuse(under, "Unrecognized instruction supplied: "+string(semantic.JSONPointer)+".")
	}
	path := strings.Trim(strings.ReplaceAll(under+string(semantic.JSONPointer), "/", "."), ".")
	r := refuse(path, "Invalid type or value for '"+path+"'.")
	r.code = "invalid_type"
	return r
}

// told is the error that an instruction asks for.
func told(status, retryAfter int) *refusal {
	r := &refusal{
		status: status, retryAfter: retryAfter, kind: "invalid_request_error",
		message: "The demo model was told to answer " + strconv.Itoa(status) + ".",
	}
	switch {
	case status == http.StatusTooManyRequests:
		r.kind, r.code = "rate_limit_error", "rate_limit_exceeded"
	case status == http.StatusUnauthorized:
		r.code = "invalid_api_key"
	case status == http.StatusNotFound:
		r.code = "model_not_found"
	case status >= http.StatusInternalServerError:
		r.kind, r.code = "server_error", "server_error"
	}
	return r
}

// appendTo writes the error object.
func (r *refusal) appendTo(b []byte) []byte {
	b = appendString(append(b, `{"error":{"message":`...), r.message)
	b = appendString(append(b, `,"type":`...), r.kind)
	b = appendNullable(append(b, `,"param":`...), r.param)
	b = appendNullable(append(b, `,"code":`...), r.code)
	return append(b, "}}"...)
}

func appendNullable(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return appendString(b, s)
}

// write answers with the refusal.
func (r *refusal) write(w http.ResponseWriter) {
	r.headers(w.Header())
	writeJSON(w, r.status, r.appendTo(nil))
}

func (r *refusal) headers(h http.Header) {
	if r.retryAfter != never {
		h.Set("Retry-After", strconv.Itoa(r.retryAfter))
	}
	if r.status >= 300 && r.status < 400 {
		h.Set("Location", "/v1/models")
	}
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	//nolint:gosec // JSON with <, > and & escaped, as JSON, and nosniff
	_, _ = w.Write(body) // a client that has left needs no answer
}
