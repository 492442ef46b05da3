// Package rest is the one entry path of the management API: every route of it is
// identified, authenticated, bounded, decoded, validated and answered here, and
// described in the OpenAPI document by the same registration.
//
// It owns HTTP and nothing of what an operation does. Routes stand in a
// function's [function.Spec]; [Handle] binds one of them by its operation id to a
// typed operation of the core, which authorises again by itself. The data plane
// has its own path and does not link this package: validation by schema costs
// more than a model request may.
package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"runtime/debug"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
)

// API is the HTTP side of one function.
type API struct {
	spec   function.Spec
	routes map[string]function.Route // by operation id
	auth   Authenticator
	log    *slog.Logger
	mux    *http.ServeMux
	huma   huma.API
	bound  map[string]bool   // operation ids that have a handler
	tables map[string]*table // of the operations that list
	// origins refuses what the pages of other sites make a browser send: it would
	// carry the session's cookie.
	origins *http.CrossOriginProtection
}

// New makes the API of a function. A nil auth is for functions whose routes are
// all public.
func New(spec function.Spec, auth Authenticator, log *slog.Logger) *API {
	a := newAPI(spec)
	a.auth, a.log = auth, log
	a.huma = huma.NewAPI(a.config(emptyDocument()), adapter{a})
	return a
}

func newAPI(spec function.Spec) *API {
	a := &API{
		spec: spec, routes: make(map[string]function.Route, len(spec.Routes)),
		mux: http.NewServeMux(), bound: map[string]bool{}, tables: map[string]*table{},
		origins: http.NewCrossOriginProtection(),
	}
	for _, r := range spec.Routes {
		a.routes[r.OperationID] = r
	}
	return a
}

// Handle binds the route with the operation id to op. The fields of I are
// parameters (`path:"id"`, `query:"limit"`) and Body; those of O are headers and
// Body. Where Body is a list, the same rows can be had as [CSV]. An unknown operation id is a mistake of the programmer and panics.
func Handle[I, O any](a *API, operationID string, op func(context.Context, authz.Principal, *I) (*O, error), notes ...Note) {
	r := a.bind(operationID)
	checkInput(a.spec.Name+"."+operationID, reflect.TypeFor[I]())
	if t := tableOf(r, reflect.TypeFor[O]()); t != nil {
		a.tables[operationID] = t
	}
	huma.Register(a.huma, operation(r), func(ctx context.Context, in *I) (*O, error) {
		c := callOf(ctx)
		out, err := op(ctx, c.principal, in)
		if err != nil {
			return nil, c.refuse(err)
		}
		return out, nil
	})
	a.annotate(r, notes)
}

// checkInput refuses an input that embeds a type of its package only: the
// framework passes over such fields, and the parameters in them would be ignored
// without a word.
func checkInput(operation string, t reflect.Type) {
	for f := range t.Fields() {
		if f.Anonymous && !f.IsExported() {
			panic(fmt.Sprintf("operation %s: its input embeds %s, whose parameters would be ignored", operation, f.Name))
		}
	}
}

// HandleHTTP binds a route that writes its own answer: a page, a file. It is
// described as answering the given media type.
func (a *API) HandleHTTP(operationID, mediaType string, h http.Handler, notes ...Note) {
	r := a.bind(operationID)
	a.mux.Handle(r.Pattern(), a.serve(r, h.ServeHTTP))
	op := operation(r)
	op.Responses[status(r)] = &huma.Response{
		Description: http.StatusText(r.SuccessStatus()),
		Content:     map[string]*huma.MediaType{mediaType: {Schema: &huma.Schema{Type: schemaType(mediaType)}}},
	}
	if r.Form {
		op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{mediaForm: {Schema: &huma.Schema{Type: huma.TypeObject}}}}
	}
	a.huma.OpenAPI().AddOperation(&op)
	a.annotate(r, notes)
}

func schemaType(mediaType string) string {
	if mediaType == mediaJSON {
		return huma.TypeObject
	}
	return huma.TypeString
}

// Streamed is an answer that is written while it is made. Once it has begun an error
// can only break it off, and does.
type Streamed func(ctx context.Context, w io.Writer) error

// HandleStream binds a route whose answer is as long as it is: op checks the request,
// and what it returns writes the answer, which may take as long as the client goes
// on reading.
func HandleStream[I any](a *API, operationID, mediaType string, op func(context.Context, authz.Principal, *I) (Streamed, error), notes ...Note) {
	r := a.bind(operationID)
	checkInput(a.spec.Name+"."+operationID, reflect.TypeFor[I]())
	o := operation(r)
	o.Responses[status(r)] = &huma.Response{
		Description: http.StatusText(r.SuccessStatus()),
		Content:     map[string]*huma.MediaType{mediaType: {Schema: &huma.Schema{Type: huma.TypeString}}},
	}
	huma.Register(a.huma, o, func(ctx context.Context, in *I) (*huma.StreamResponse, error) {
		c := callOf(ctx)
		write, err := op(ctx, c.principal, in)
		if err != nil {
			return nil, c.refuse(err)
		}
		return &huma.StreamResponse{Body: func(hc huma.Context) { c.stream(hc, mediaType, write) }}, nil //nolint:contextcheck // it is in hc
	})
	a.annotate(r, notes)
}

// stream writes an answer. One that breaks off must not look whole.
func (c *call) stream(hc huma.Context, mediaType string, write Streamed) {
	hc.SetHeader("Content-Type", mediaType)
	r, w := humago.Unwrap(hc)
	err := write(hc.Context(), patient{w})
	if err == nil {
		return
	}
	refused := c.refuse(err).fault
	if out, ok := w.(*writer); ok && !out.wrote {
		w.Header().Del("Content-Disposition")
		fault.Write(w, r, c.id, refused, false)
		return
	}
	c.broken = true
}

// patient gives each write its own time.
type patient struct{ w http.ResponseWriter }

func (p patient) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	_ = http.NewResponseController(p.w).SetWriteDeadline(time.Now().Add(answerTimeout)) //nolint:forbidigo // a socket's deadline is wall time
	return n, err
}

func (a *API) bind(operationID string) function.Route {
	r, ok := a.routes[operationID]
	if !ok || a.bound[operationID] {
		panic(fmt.Sprintf("function %s: operation %q is not in its spec, or bound twice", a.spec.Name, operationID))
	}
	a.bound[operationID] = true
	return r
}

// Unbound lists the operations of the spec that nothing handles.
func (a *API) Unbound() []string {
	var ids []string
	for _, r := range a.spec.Routes {
		if !a.bound[r.OperationID] {
			ids = append(ids, r.OperationID)
		}
	}
	return ids
}

// ServeHTTP answers a request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, pattern := a.mux.Handler(r); pattern == "" {
		a.unmatched(w, r)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// unmatched answers what no route takes: the mux tells 404 from 405, and which
// methods the path does take.
func (a *API) unmatched(w http.ResponseWriter, r *http.Request) {
	requestID := id.New(id.Request)
	secure(w.Header(), requestID)
	limitBody(w, r)
	var probe verdict
	a.mux.ServeHTTP(&probe, r)
	if probe.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", probe.Header().Get("Allow"))
		fault.Write(w, r, requestID, fault.New(fault.Method, "This path takes %s.", probe.Header().Get("Allow")), false)
		return
	}
	fault.Write(w, r, requestID, fault.New(fault.NotFound, "There is nothing at this path."), false)
}

// verdict takes an answer's status and headers and drops its body.
type verdict struct {
	header http.Header
	status int
}

func (v *verdict) Header() http.Header {
	if v.header == nil {
		v.header = http.Header{}
	}
	return v.header
}
func (v *verdict) Write(b []byte) (int, error) { return len(b), nil }
func (v *verdict) WriteHeader(s int)           { v.status = s }

// call is one request on its way.
type call struct {
	id        string
	path      string
	principal authz.Principal
	cause     error        // what a 5xx answer hides
	denied    *fault.Error // why the caller was not believed, or not allowed
	broken    bool         // its answer has begun and can't be completed
}

type callKey struct{}

func callOf(ctx context.Context) *call {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return &call{} // nobody: passes no check
	}
	return c
}

// serve is the path of every request that a route takes.
func (a *API) serve(route function.Route, h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{id: id.New(id.Request), path: r.URL.EscapedPath()}
		secure(w.Header(), c.id)
		limitBody(w, r)
		out := &writer{ResponseWriter: w}
		defer a.recover(out, r, c)
		r = r.WithContext(context.WithValue(audit.WithRequestID(r.Context(), c.id), callKey{}, c))
		if err := a.admit(route, w, r, c); err != nil {
			a.fail(out, r, c, err)
			a.witness(route, r, c)
			return
		}
		h(out, r)
		a.report(r, c)
		a.witness(route, r, c)
		if c.broken {
			panic(http.ErrAbortHandler)
		}
	})
}

// admit authenticates the caller, checks the route's scope and reads the body:
// in this order, so that nobody unknown makes us work.
func (a *API) admit(route function.Route, w http.ResponseWriter, r *http.Request, c *call) error {
	if err := a.origins.Check(r); err != nil {
		return fault.New(fault.Forbidden, "A page of another site has sent this (%v). Browsers change things here from our own pages only.", err).With("reason", "cross_origin")
	}
	if route.Scope != "" {
		var err error
		if c.principal, err = a.auth.Authenticate(r); err != nil {
			return err
		}
		if err := c.principal.RequireScope(authz.Scope(route.Scope)); err != nil && !c.principal.Has(authz.Scope(route.OrScope)) {
			return err
		}
	} else {
		var err error
		if c.principal, err = a.visitor(route, r); err != nil {
			return err
		}
	}
	if err := checkURL(r); err != nil {
		return err
	}
	return takeBody(w, r, mediaOf(route))
}

// visitor is who calls a public route: nobody, but somewhere; or, where the route asks
// for it, whoever a good credential says.
func (a *API) visitor(route function.Route, r *http.Request) (authz.Principal, error) {
	var nobody authz.Principal
	if l, ok := a.auth.(Locator); ok {
		nobody = nobody.From(l.Locate(r))
	}
	if !route.Optional {
		return nobody, nil
	}
	switch p, err := a.auth.Authenticate(r); {
	case err == nil && p.Has(authz.AnyScope):
		return p, nil
	case fault.Is(err, fault.Unavailable):
		return nobody, err // who it is can't be told, which is not to be nobody
	}
	return nobody, nil
}

func (a *API) fail(w http.ResponseWriter, r *http.Request, c *call, err error) {
	fault.Write(w, r, c.id, c.refuse(err).fault, false)
	a.report(r, c)
}

// witness tells of a refusal that is about who called.
func (a *API) witness(route function.Route, r *http.Request, c *call) {
	w, ok := a.auth.(Witness)
	if !ok || c.denied == nil {
		return
	}
	d := audit.Denial{Action: audit.ActionDeny, Code: string(c.denied.Code), Target: route.OperationID, RequestID: c.id}
	if c.denied.Code == fault.Unauthenticated {
		d.Action = audit.ActionAuthFail
	}
	for _, right := range []string{"scope", "permission"} { // the latter says more
		if text, ok := c.denied.Members[right].(string); ok {
			d.Code = text
		}
	}
	w.Refused(r, c.principal, d)
}

// report tells the operator what an answer did not tell the caller.
func (a *API) report(r *http.Request, c *call) {
	if c.cause == nil {
		return
	}
	level := slog.LevelError
	switch {
	case r.Context().Err() != nil: // the client has left, and what was done for it was given up
		level = slog.LevelDebug
	case fault.Is(c.cause, fault.Unavailable):
		level = slog.LevelWarn
	}
	a.log.LogAttrs(r.Context(), level, "answer request", slog.String("function", a.spec.Name),
		slog.String("request_id", c.id), slog.String("method", r.Method), slog.String("path", c.path), slog.Any("error", c.cause))
}

// recover answers a panic and keeps it out of the answer.
func (a *API) recover(w *writer, r *http.Request, c *call) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	a.log.LogAttrs(r.Context(), slog.LevelError, "panic", slog.String("function", a.spec.Name), slog.String("request_id", c.id),
		slog.String("method", r.Method), slog.String("path", c.path), slog.Any("value", v), slog.String("stack", string(debug.Stack())))
	if !w.wrote {
		fault.Write(w, r, c.id, fault.New(fault.Internal, ""), false)
	}
}

// writer knows whether an answer has begun.
type writer struct {
	http.ResponseWriter
	wrote bool
}

// Unwrap lets [http.ResponseController] reach the connection.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *writer) WriteHeader(s int) {
	w.begin()
	w.ResponseWriter.WriteHeader(s)
}

func (w *writer) Write(b []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(b)
}

// begin lets go of a client that does not read its answer.
func (w *writer) begin() {
	if !w.wrote {
		w.wrote = true
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(answerTimeout)) //nolint:forbidigo // a socket's deadline is wall time
	}
}

// secure sets the headers that every answer has. The request's id is ours: what a
// client sends under that name is not believed.
func secure(h http.Header, requestID string) {
	h.Set("X-Request-Id", requestID)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
}

// adapter lets huma register on the API's mux, behind the path above.
type adapter struct{ a *API }

func (d adapter) Handle(op *huma.Operation, handler func(huma.Context)) {
	r := d.a.routes[op.OperationID]
	d.a.mux.Handle(r.Pattern(), d.a.serve(r, func(w http.ResponseWriter, req *http.Request) {
		handler(humago.NewContext(op, req, w))
	}))
}

func (d adapter) ServeHTTP(w http.ResponseWriter, r *http.Request) { d.a.ServeHTTP(w, r) }
