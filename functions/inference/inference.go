// Package inference is the data plane: chat completions and the list of models,
// in OpenAI's protocol.
//
// It only reads requests and writes answers; what happens between stands in
// shared/relay.
package inference

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/accesslog"
	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/model"
	"github.com/aiaas/aiaas/shared/origin"
	"github.com/aiaas/aiaas/shared/relay"
)

// Spec describes the function.
func Spec() function.Spec {
	chat := function.Route{
		Method: http.MethodPost, Tag: "Inference", Scope: string(authz.Inference), Stream: true, DataPlane: true,
		Summary:     "Create a chat completion",
		Description: "OpenAI's chat completions. With `\"stream\": true` the answer is a stream of server-sent events that ends with `data: [DONE]`.",
	}
	inference, openai := chat, chat
	inference.Path, inference.OperationID = "/v1/inference", "createInference"
	openai.Path, openai.OperationID = "/v1/chat/completions", "createChatCompletion"
	return function.Spec{
		Name: "inference", Service: function.Router, Summary: "Serves models to API keys",
		Routes: []function.Route{
			inference, openai,
			{
				Method: http.MethodGet, Path: "/v1/models", OperationID: "listModels", Tag: "Inference", DataPlane: true,
				Scope: string(authz.ModelsRead), Summary: "List the models that the key may use",
			},
			{
				Method: http.MethodGet, Path: "/v1/models/{id...}", OperationID: "getModel", Tag: "Inference", DataPlane: true,
				Scope: string(authz.ModelsRead), Summary: "Describe one model",
			},
		},
		MemoryMiB: 256, Timeout: 15 * time.Minute,
	}
}

// Config is what the function is made from.
type Config struct {
	Gateway   *relay.Gateway
	Keys      relay.Keys
	Catalogue relay.Catalogue
	Known     Known
	Uses      Uses // nil: nobody asks when a key was last used
	Access    AccessLog
	Origins   *origin.Finder
	Now       func() time.Time
	MaxBody   int64 // bytes of a request
	Log       *slog.Logger
}

// Known tells whose a key is that was refused, where it is somebody's.
type Known interface {
	Known(text string) (*apikey.Record, bool)
}

// Uses remembers when keys were last used.
type Uses interface {
	Note(ctx context.Context, r *apikey.Record, address string)
}

// AccessLog takes lines about requests that leave no usage.
type AccessLog interface{ Add(l accesslog.Line) }

// New makes the function's handler.
func New(c Config) http.Handler {
	mux := http.NewServeMux()
	for _, r := range Spec().Routes {
		switch r.OperationID {
		case "createInference", "createChatCompletion":
			mux.Handle(r.Pattern(), c.handle(r.Path, c.chat))
		case "listModels":
			mux.Handle(r.Pattern(), c.handle(r.Path, c.listModels))
		case "getModel":
			mux.Handle(r.Pattern(), c.handle("/v1/models/{id}", c.getModel))
		}
	}
	return mux
}

// call is one request on its way.
type call struct {
	id   string
	path string // of the route, without what the caller puts into it
	key  string // the API key's text
	from relay.Origin
	seen relay.Seen
}

type handler func(w http.ResponseWriter, r *http.Request, c *call) error

// handle is the one way in: request id, key, error form.
func (c Config) handle(path string, h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &call{id: id.New(id.Request), path: path, from: relay.Origin{Address: c.Origins.Address(r), UserAgent: origin.UserAgent(r)}}
		header := w.Header()
		header["X-Request-Id"] = []string{x.id}
		header["X-Content-Type-Options"] = []string{"nosniff"}
		limitBody(w, r)
		defer c.recovered(w, r, x)
		var err error
		if x.key, err = apikey.FromRequest(r); err == nil {
			err = h(w, r, x)
		}
		if err != nil {
			c.fail(w, r, x.id, err)
		}
		c.log(x, err)
		if c.Uses != nil && x.seen.Key != nil {
			c.Uses.Note(r.Context(), x.seen.Key, x.from.Address)
		}
	})
}

// log notes a request that leaves no usage, where it is known whose it is.
func (c Config) log(x *call, err error) {
	if x.seen.Recorded {
		return
	}
	k := x.seen.Key
	if k == nil {
		var ok bool
		if k, ok = c.Known.Known(x.key); !ok {
			return
		}
	}
	l := accesslog.Line{
		OrgID: k.OrgID, RequestID: x.id, At: c.Now().Truncate(time.Microsecond), APIKeyID: k.KeyID, ProjectID: k.ProjectID,
		Model: x.seen.Model, Endpoint: x.path, Status: http.StatusOK, Address: x.from.Address, UserAgent: x.from.UserAgent,
	}
	switch f := fault.From(err); {
	case errors.Is(err, relay.ErrClientGone):
		l.Status, l.Code = relay.StatusClientGone, "client_gone"
	case err != nil:
		l.Status, l.Code, l.Detail = f.Status(), string(f.Code), f.Detail
		if errors.Is(err, relay.ErrTold) {
			l.Status = http.StatusOK // it had begun to answer
		}
		if errors.Is(err, relay.ErrRefused) {
			l.Detail = relay.ErrRefused.Error() // its own words may be the prompt's
		}
	case x.seen.Replay != "":
		l.Code, l.Detail = "idempotent_replay", x.seen.Replay
	}
	c.Access.Add(l)
}

func (c Config) fail(w http.ResponseWriter, r *http.Request, requestID string, err error) {
	if f := fault.From(err); f.Status() >= http.StatusInternalServerError && !errors.Is(err, relay.ErrClientGone) {
		c.Log.ErrorContext(r.Context(), "request failed", "request_id", requestID, "path", r.Pattern, "error", err)
	}
	if errors.Is(err, relay.ErrClientGone) || errors.Is(err, relay.ErrTold) {
		return
	}
	limitAnswer(w)
	fault.Write(w, r, requestID, err, true)
}

// recovered turns a panic into an error answer, where none has begun, and into a
// broken connection where one has.
func (c Config) recovered(w http.ResponseWriter, r *http.Request, x *call) {
	p := recover()
	if p == nil {
		return
	}
	requestID, err := x.id, error(fault.New(fault.Internal, ""))
	if p != http.ErrAbortHandler { //nolint:errorlint // a sentinel that is panicked with as it is
		c.Log.ErrorContext(r.Context(), "handler panicked", "request_id", requestID, "panic", p, "stack", string(debug.Stack()))
	}
	if w.Header().Get("Content-Type") != "" {
		c.log(x, errors.Join(relay.ErrTold, err))
		panic(http.ErrAbortHandler)
	}
	c.log(x, err)
	fault.Write(w, r, requestID, err, true)
}

func (c Config) chat(w http.ResponseWriter, r *http.Request, x *call) error {
	q := relay.Request{
		ID: x.id, Key: x.key, Endpoint: x.path, From: x.from,
		Body: func() ([]byte, error) { return readBody(w, r, c.MaxBody) },
	}
	if err := idempotencyKey(r.Header, &q); err != nil {
		q.Body = func() ([]byte, error) { return nil, err } // told to keys that may call, as all that is wrong with a request
	}
	return c.Gateway.Chat(w, r, q, &x.seen)
}

// idempotencyKey reads the headers that name a request for its caller, and that
// keep its answer from being stored.
func idempotencyKey(h http.Header, q *relay.Request) error {
	keys, replay := h["Idempotency-Key"], h["Idempotency-Replay"]
	if len(keys) == 0 && len(replay) == 0 {
		return nil
	}
	switch {
	case len(keys) > 1 || len(replay) > 1:
		return fault.New(fault.Invalid, "an idempotency header stands twice").At("Idempotency-Key")
	case len(replay) == 1 && replay[0] != "none":
		return fault.New(fault.Invalid, "Idempotency-Replay can only be \"none\"").At("Idempotency-Replay")
	}
	q.DropAnswer = len(replay) == 1
	if len(keys) == 0 {
		return nil
	}
	q.IdempotencyKey = keys[0]
	for _, b := range []byte(q.IdempotencyKey) {
		if b < ' ' || b > '~' {
			return fault.New(fault.Invalid, "an idempotency key is printable ASCII").At("Idempotency-Key")
		}
	}
	if q.IdempotencyKey == "" {
		return fault.New(fault.Invalid, "the idempotency key is empty").At("Idempotency-Key")
	}
	return nil
}

const (
	// bodyTimeout is how long a request may take to send its body.
	bodyTimeout = 20 * time.Second
	// answerTimeout is how long a client may take to read a short answer.
	answerTimeout = 30 * time.Second
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

// limitAnswer lets go of a client that does not read.
func limitAnswer(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout)) //nolint:forbidigo // a socket's deadline is wall time
}

// readBody reads a JSON body whole, at most so many bytes.
func readBody(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	if t := r.Header.Get("Content-Type"); t != "" && t != "application/json" {
		if kind, _, err := mime.ParseMediaType(t); err != nil || kind != "application/json" {
			return nil, fault.New(fault.MediaType, "send the body as application/json")
		}
	}
	if r.Header.Get("Content-Encoding") != "" {
		return nil, fault.New(fault.MediaType, "send the body without a content encoding")
	}
	tooLarge := fault.New(fault.TooLarge, "the body may have %d bytes", most)
	if r.ContentLength > most {
		return nil, tooLarge
	}
	var buf bytes.Buffer
	if r.ContentLength > 0 {
		buf.Grow(int(r.ContentLength) + bytes.MinRead) // no copy on the way to EOF
	}
	if _, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, most)); err != nil {
		if _, over := errors.AsType[*http.MaxBytesError](err); over {
			return nil, tooLarge
		}
		return nil, &fault.Error{Code: fault.Invalid, Detail: "the body could not be read", Err: err}
	}
	// All is read. The deadline would go on to end the watch for the client's leaving,
	// and with it long streams.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return buf.Bytes(), nil
}

type modelObject struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

func object(m *model.Model) modelObject {
	return modelObject{ID: m.ID, Object: "model", Created: m.CreatedAt.Unix(), OwnedBy: m.OwnedBy}
}

// visible resolves the key and the catalogue; keys that may call models may also
// list them.
func (c Config) visible(w http.ResponseWriter, r *http.Request, x *call) (*apikey.Record, *model.Snapshot, error) {
	k, err := c.Keys.Resolve(r.Context(), x.key)
	if err != nil {
		return nil, nil, err
	}
	x.seen.Key = k.Record
	c.Gateway.LimitHeaders(r.Context(), w.Header(), k)
	p, own := k.Principal(c.Now).From(x.from.Address), authz.Resource{ProjectID: k.ProjectID, OwnerID: k.OwnerID}
	if p.RequireOn(r.Context(), authz.DoInference, own) != nil {
		if err := p.RequireOn(r.Context(), authz.DoModelsRead, own); err != nil {
			return nil, nil, err
		}
	}
	s, err := c.Catalogue.Snapshot(r.Context())
	return k.Record, s, err
}

func (c Config) listModels(w http.ResponseWriter, r *http.Request, x *call) error {
	k, s, err := c.visible(w, r, x)
	if err != nil {
		return err
	}
	list := []modelObject{}
	for _, name := range s.IDs() {
		if m, ok := s.Get(name); ok && k.AllowsModel(name, m.Restricted) {
			list = append(list, object(m))
		}
	}
	return writeJSON(w, map[string]any{"object": "list", "data": list})
}

func (c Config) getModel(w http.ResponseWriter, r *http.Request, x *call) error {
	k, s, err := c.visible(w, r, x)
	if err != nil {
		return err
	}
	name := r.PathValue("id")
	x.seen.Model = strings.Clone(name) // the URL need not be kept with it
	m, ok := s.Get(name)
	if !ok || !k.AllowsModel(name, m.Restricted) {
		return relay.ErrNoModel(name)
	}
	return writeJSON(w, object(m))
}

func writeJSON(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fault.Wrap(fault.Internal, "encode answer", err)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	limitAnswer(w)
	_, _ = w.Write(body) // the client may have left
	return nil
}
