package fault

import (
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"strconv"
	"time"
)

// ContentType is the media type of problem documents (RFC 9457).
const ContentType = "application/problem+json"

// TypeBase is where the type URIs of problems start. Each code has a page of
// the guide under it.
const TypeBase = "https://aiaas.dev/problems/"

// Problem is the form of an error on the wire: RFC 9457 members, and on the data
// plane OpenAI's error object, so that stock SDKs map it to their own classes.
type Problem struct {
	Type      string
	Title     string
	Status    int
	Detail    string
	Instance  string
	RequestID string
	Code      Code
	// RetryAfter is whole seconds, rounded up; 0 means not said.
	RetryAfter int64
	Members    map[string]any
	OpenAI     *OpenAIError
}

// OpenAIError is the object that OpenAI's SDKs read from an error answer.
type OpenAIError struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    string  `json:"code"`
}

// Document renders an error for a request. With openAI it carries the SDKs'
// error object too.
//
//nolint:revive // flag-parameter: openAI is the route's own DataPlane, one member more, not a mode
func (e *Error) Document(requestID, instance string, openAI bool) Problem {
	m := meaningOf(e.Code)
	p := Problem{
		Type: TypeBase + string(e.Code), Title: m.title, Status: m.status, Detail: e.Detail,
		Instance: instance, RequestID: requestID, Code: e.Code, Members: e.Members,
	}
	if e.RetryAfter > 0 {
		p.RetryAfter = seconds(e.RetryAfter)
	}
	if openAI {
		p.OpenAI = e.openAI(m)
	}
	return p
}

func (e *Error) openAI(m meaning) *OpenAIError {
	o := &OpenAIError{Message: e.Detail, Type: m.kind, Code: string(e.Code)}
	if e.OpenAICode != "" {
		o.Code = e.OpenAICode
	}
	if o.Message == "" {
		o.Message = m.title
	}
	if e.Param != "" {
		o.Param = &e.Param
	}
	return o
}

// seconds rounds up, so that a caller who obeys is never early.
func seconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }

// MarshalJSON writes the standard members first, then the extensions. An
// extension can't replace a standard member.
func (p Problem) MarshalJSON() ([]byte, error) {
	out := map[string]any{}
	maps.Copy(out, p.Members)
	out["type"], out["title"], out["status"], out["code"] = p.Type, p.Title, p.Status, p.Code
	if p.Detail != "" {
		out["detail"] = p.Detail
	}
	if p.Instance != "" {
		out["instance"] = p.Instance
	}
	if p.RequestID != "" {
		out["request_id"] = p.RequestID
	}
	if p.RetryAfter > 0 {
		out["retry_after"] = p.RetryAfter
	}
	if p.OpenAI != nil {
		out["error"] = p.OpenAI
	}
	return json.Marshal(out)
}

// Challenge says how a caller could authenticate, as WWW-Authenticate does: at all, or
// again (RFC 9470); "" where that is not what is missing.
func (e *Error) Challenge() string {
	switch age, again := e.Members["max_age"].(int); {
	case e.Code == Unauthenticated:
		return `Bearer realm="aiaas"`
	case e.Code == Forbidden && again:
		return `Bearer realm="aiaas", error="insufficient_user_authentication", max_age=` + strconv.Itoa(age)
	}
	return ""
}

// Write answers a request with an error. Headers that the caller set before
// (request id, limits) stay.
func Write(w http.ResponseWriter, r *http.Request, requestID string, err error, openAI bool) {
	e := From(err)
	doc := e.Document(requestID, r.URL.EscapedPath(), openAI)
	body, mErr := json.Marshal(doc)
	if mErr != nil { // a member that JSON can't hold: our own mistake, still an answer
		body = []byte(`{"title":"Internal error","status":500}`)
	}
	h := w.Header()
	h.Set("Content-Type", ContentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Del("Content-Encoding")
	if doc.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(doc.RetryAfter, 10))
	}
	if challenge := e.Challenge(); challenge != "" {
		h.Set("WWW-Authenticate", challenge)
	}
	w.WriteHeader(doc.Status)
	_, _ = w.Write(body) // the client may be gone; nothing is left to do about it
}
