package rest

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/aiaas/aiaas/shared/fault"
)

// problem is an error in the form that huma writes: our one document.
type problem struct {
	fault *fault.Error
	call  *call
}

// refuse makes the answer to an error and keeps its cause for the log.
func (c *call) refuse(err error) *problem {
	f := fault.From(err)
	if f.Status() >= http.StatusInternalServerError {
		c.cause = err
	}
	if f.Code == fault.Forbidden || f.Code == fault.Unauthenticated {
		c.denied = f
	}
	if _, told := f.Members["errors"]; f.Param != "" && !told {
		f = f.With("errors", []MemberError{{Member: clip(f.Param), Message: f.Detail}})
	}
	return &problem{fault: f, call: c}
}

// Error implements error.
func (p *problem) Error() string { return p.fault.Error() }

// GetStatus implements [huma.StatusError].
func (p *problem) GetStatus() int { return p.fault.Status() }

// ContentType implements [huma.ContentTypeFilter].
func (p *problem) ContentType(string) string { return fault.ContentType }

// GetHeaders implements [huma.HeadersError].
func (p *problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.fault.RetryAfter > 0 {
		whole := (p.fault.RetryAfter + time.Second - 1) / time.Second
		h.Set("Retry-After", strconv.FormatInt(int64(whole), 10))
	}
	if challenge := p.fault.Challenge(); challenge != "" {
		h.Set("WWW-Authenticate", challenge)
	}
	return h
}

// MarshalJSON writes the problem document.
func (p *problem) MarshalJSON() ([]byte, error) {
	return json.Marshal(p.fault.Document(p.call.id, p.call.path, false))
}

// translate puts huma's own errors (validation, unreadable bodies) into our
// document. The values that it would echo stay out: they may be secrets.
func translate(ctx huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	c := callOf(ctx.Context())
	f := fault.New(codeOf(m.Status), "%s", m.Detail)
	var list []MemberError
	for _, d := range m.Errors {
		member, _ := strings.CutPrefix(d.Location, "body.")
		member, _ = strings.CutPrefix(member, "query.")
		message := d.Message
		if len(list) == 0 {
			f.Param = member
			f.Detail = message
			if member != "" && member != "body" {
				f.Detail = member + ": " + message
			}
		}
		list = append(list, MemberError{Member: clip(member), Message: message})
	}
	if len(list) > 0 {
		f = f.With("errors", list)
	}
	if f.Code == fault.Internal {
		f = &fault.Error{Code: fault.Internal, Err: errors.New(m.Detail)} //nolint:err113 // a text of the framework, for the log
	}
	return c.refuse(f), nil
}

func codeOf(status int) fault.Code {
	switch status {
	case http.StatusBadRequest, http.StatusRequestTimeout:
		return fault.Invalid
	case http.StatusNotFound:
		return fault.NotFound
	case http.StatusRequestEntityTooLarge:
		return fault.TooLarge
	case http.StatusUnsupportedMediaType:
		return fault.MediaType
	case http.StatusUnprocessableEntity:
		return fault.Unprocessable
	}
	return fault.Internal
}
