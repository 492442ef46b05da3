package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
)

// MaxBody is the longest body that is read, in bytes.
const MaxBody = 64 << 10

// checkURL refuses what can't be read in one way only.
func checkURL(r *http.Request) error {
	if strings.Contains(r.URL.Path, "\x00") || !utf8.ValidString(r.URL.Path) {
		return fault.New(fault.NotFound, "There is nothing at this path.")
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return fault.New(fault.Invalid, "The query string can't be read.")
	}
	for name, values := range q {
		switch {
		case len(values) > 1:
			return fault.New(fault.Invalid, "The query names %q more than once.", clip(name)).At(clip(name))
		case strings.Contains(values[0], "\x00"):
			return fault.New(fault.Invalid, "The query has a NUL character in %q.", clip(name)).At(clip(name))
		case !utf8.ValidString(values[0]):
			return fault.New(fault.Invalid, "The query is not valid UTF-8 in %q.", clip(name)).At(clip(name))
		}
	}
	return nil
}

const (
	// bodyTimeout is how long a request may take to send its body.
	bodyTimeout = 20 * time.Second
	// answerTimeout is how long a client may take to read an answer.
	answerTimeout = time.Minute
)

// limitBody closes a body that trickles in, in time: also one that nobody reads,
// because the request was refused before; the server reads on to its end. Hosts
// without sockets have limits of their own.
func limitBody(w http.ResponseWriter, r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) //nolint:forbidigo // a socket's deadline is wall time
}

// takeBody reads the body of a request whose method has one, and leaves it for
// the decoder to read again.
func takeBody(w http.ResponseWriter, r *http.Request, media string) error {
	if r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodDelete {
		return nil
	}
	if r.ContentLength > MaxBody {
		return errTooLarge()
	}
	if r.Header.Get("Content-Encoding") != "" {
		return fault.New(fault.MediaType, "A compressed body is not read.")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	switch {
	case err != nil:
		return &fault.Error{Code: fault.Invalid, Detail: "The body broke off.", Err: fmt.Errorf("read body: %w", err)}
	case len(body) > MaxBody:
		return errTooLarge()
	}
	// All is read. The deadline would go on to end the watch for the client's leaving.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	if err := checkType(r.Header, media); err != nil && len(body) > 0 {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

func errTooLarge() error {
	return fault.New(fault.TooLarge, "A body has at most %d bytes.", MaxBody).With("limit", MaxBody)
}

// The media types of bodies.
const (
	mediaJSON = "application/json"
	mediaForm = "application/x-www-form-urlencoded"
)

// mediaOf is what a route's body must be.
func mediaOf(route function.Route) string {
	if route.Form {
		return mediaForm
	}
	return mediaJSON
}

func checkType(h http.Header, want string) error {
	types := h.Values("Content-Type")
	if len(types) == 1 {
		media, params, err := mime.ParseMediaType(types[0])
		charset := params["charset"]
		if err == nil && media == want && (charset == "" || strings.EqualFold(charset, "utf-8")) {
			return nil
		}
	}
	return fault.New(fault.MediaType, "The body must be %s, in UTF-8.", want)
}

// strictJSON is the format of all bodies. Reading refuses duplicate names,
// invalid UTF-8, trailing data, NUL characters (no database text holds them) and
// members that nobody asked for; names match in their exact case.
func strictJSON() huma.Format {
	return huma.Format{Marshal: writeJSON, Unmarshal: readJSON}
}

func writeJSON(w io.Writer, v any) error {
	if rows, ok := v.(csvBody); ok {
		if _, err := w.Write(rows); err != nil {
			return fmt.Errorf("write rows: %w", err)
		}
		return nil
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return nil
}

func readJSON(data []byte, v any) error {
	if err := checkStrings(data); err != nil {
		return err
	}
	return readable(jsonv2.Unmarshal(data, v, jsonv2.RejectUnknownMembers(true)))
}

var errNUL = errors.New("a text has a NUL character")

// checkStrings looks for what is valid JSON and can't be stored.
func checkStrings(data []byte) error {
	if !bytes.Contains(data, []byte(`\u0000`)) { // a NUL byte itself is no valid JSON
		return nil
	}
	dec := jsontext.NewDecoder(bytes.NewReader(data))
	for {
		tok, err := dec.ReadToken()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return readable(err)
		case tok.Kind() == '"' && strings.Contains(tok.String(), "\x00"):
			return errNUL
		}
	}
}

// readable says what is wrong with a body without the decoder's own terms.
func readable(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, jsonv2.ErrUnknownName) {
		return unreadable{text: "there is no such member: " + pointer(err)}
	}
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		text := fmt.Sprintf("not valid JSON at byte %d", syntax.ByteOffset)
		if errors.Is(err, jsontext.ErrDuplicateName) {
			text = "a member stands twice: " + clip(strings.TrimPrefix(string(syntax.JSONPointer), "/"))
		}
		return unreadable{text: text}
	}
	return unreadable{text: "the value does not fit: " + pointer(err)}
}

func pointer(err error) string {
	if semantic, ok := errors.AsType[*jsonv2.SemanticError](err); ok {
		return clip(strings.TrimPrefix(string(semantic.JSONPointer), "/"))
	}
	return ""
}

type unreadable struct{ text string }

func (u unreadable) Error() string { return u.text }

func clip(s string) string {
	if len(s) > 60 {
		return strings.ToValidUTF8(s[:60], "") + "…"
	}
	return s
}
