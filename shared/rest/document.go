package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/session"
)

// Document collects the descriptions of all functions into one OpenAPI document.
type Document struct {
	api *huma.OpenAPI
}

// Tag is a group of operations in the reference.
type Tag struct{ Name, Description string }

// NewDocument makes an empty document.
func NewDocument(title, version, description string, tags ...Tag) *Document {
	d := &Document{api: emptyDocument()}
	d.api.Info = &huma.Info{
		Title: title, Version: version, Description: description,
		License: &huma.License{Name: "MIT", Identifier: "MIT"},
	}
	d.api.Servers = []*huma.Server{{URL: "/", Description: "The server that this document came from"}}
	d.api.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer":  {Type: "http", Scheme: "bearer", BearerFormat: "aiaas_live_…", Description: "An API key, an access token of OAuth2 or a session's token as Authorization: Bearer."},
		"apiKey":  {Type: "apiKey", In: "header", Name: "X-API-Key", Description: "An API key as X-API-Key. Both headers at once must carry the same key."},
		"session": {Type: "apiKey", In: "cookie", Name: session.CookieName(""), Description: "The cookie of who has signed in; over TLS its name begins with __Host-."},
	}
	for _, t := range tags {
		d.api.Tags = append(d.api.Tags, &huma.Tag{Name: t.Name, Description: t.Description})
	}
	return d
}

// API returns the API of a function for describing only: it runs nothing.
func (d *Document) API(spec function.Spec) *API {
	a := newAPI(spec)
	a.huma = huma.NewAPI(a.config(d.api), adapter{a})
	return a
}

// JSON renders the document; the same document gives the same bytes.
func (d *Document) JSON() ([]byte, error) {
	d.tidy()
	raw, err := json.Marshal(d.api)
	if err != nil {
		return nil, fmt.Errorf("encode OpenAPI document: %w", err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		return nil, fmt.Errorf("indent OpenAPI document: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// tidy removes what huma adds of its own, and lets answers grow: a client must
// bear members that it does not know, a request must not have any.
func (d *Document) tidy() {
	schemas := d.api.Components.Schemas.Map()
	delete(schemas, "ErrorModel")
	sent := map[string]bool{}
	for _, item := range d.api.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
			if op == nil || op.RequestBody == nil {
				continue
			}
			for _, m := range op.RequestBody.Content {
				reach(schemas, m.Schema, sent)
			}
		}
	}
	for name, s := range schemas {
		if !sent[name] && s.AdditionalProperties == false {
			s.AdditionalProperties = nil
		}
	}
}

// reach marks the named schemas that a schema refers to.
func reach(schemas map[string]*huma.Schema, s *huma.Schema, seen map[string]bool) {
	if s == nil {
		return
	}
	if name := strings.TrimPrefix(s.Ref, schemaPrefix); s.Ref != "" && !seen[name] {
		seen[name] = true
		reach(schemas, schemas[name], seen)
	}
	reach(schemas, s.Items, seen)
	for _, p := range s.Properties {
		reach(schemas, p, seen)
	}
	for _, list := range [][]*huma.Schema{s.AllOf, s.AnyOf, s.OneOf} {
		for _, p := range list {
			reach(schemas, p, seen)
		}
	}
}

const schemaPrefix = "#/components/schemas/"

func emptyDocument() *huma.OpenAPI {
	reg := huma.NewMapRegistry(schemaPrefix, huma.DefaultSchemaNamer)
	reg.Schema(reflect.TypeFor[Problem](), true, "Problem")
	return &huma.OpenAPI{OpenAPI: "3.1.0", Info: &huma.Info{Title: "AIaaS", Version: "1"}, Components: &huma.Components{Schemas: reg}}
}

func (a *API) config(doc *huma.OpenAPI) huma.Config {
	return huma.Config{
		OpenAPI:                      doc,
		Formats:                      map[string]huma.Format{"application/json": strictJSON(), "json": strictJSON()},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{translate, a.list},
	}
}

// Problem is the form of every error: RFC 9457.
type Problem struct {
	Type       string        `json:"type" format:"uri" example:"https://aiaas.dev/problems/unprocessable" doc:"Names the kind of problem, and leads to its page in the guide."`
	Title      string        `json:"title" example:"The request makes no sense" doc:"The same text for every problem of this kind."`
	Status     int           `json:"status" example:"422"`
	Code       string        `json:"code" example:"unprocessable" doc:"The kind of problem as one word; branch on this."`
	Detail     string        `json:"detail,omitempty" example:"name: expected length >= 1" doc:"What is wrong this time."`
	Instance   string        `json:"instance,omitempty" example:"/v1/api-keys" doc:"The path of the request."`
	RequestID  string        `json:"request_id,omitempty" example:"req_0199c0b2f3a47c1e8d6a5b4c3d2e1f00" doc:"Also in X-Request-Id; name it when you ask for help."`
	RetryAfter int64         `json:"retry_after,omitempty" doc:"Seconds to wait; also in Retry-After."`
	Errors     []MemberError `json:"errors,omitempty" nullable:"false" doc:"What is wrong with which member of the request."`
	Error      *OpenAIError  `json:"error,omitempty" doc:"On model routes: the object that OpenAI's SDKs read."`
}

// MemberError is one flaw of a request.
type MemberError struct {
	Member  string `json:"member" example:"name"`
	Message string `json:"message" example:"expected length >= 1"`
}

// OpenAIError is the error object of the data plane.
type OpenAIError struct {
	Message string  `json:"message"`
	Type    string  `json:"type" example:"invalid_request_error"`
	Param   *string `json:"param"`
	Code    string  `json:"code"`
}

// operation describes a route.
func operation(r function.Route) huma.Operation {
	op := huma.Operation{
		OperationID: r.OperationID, Method: r.Method, Path: documentPath(r), Summary: r.Summary, Description: r.Description,
		Tags: []string{r.Tag}, DefaultStatus: r.SuccessStatus(), MaxBodyBytes: MaxBody + 1, BodyReadTimeout: -1,
		Responses: map[string]*huma.Response{}, Security: []map[string][]string{},
	}
	if r.Scope != "" {
		op.Security = []map[string][]string{{"bearer": {}}, {"apiKey": {}}, {"session": {}}}
		if r.Scope == string(authz.AnyScope) {
			op.Description = strings.TrimSpace(op.Description + "\n\nAnybody who is authenticated can call it.")
		}
	}
	if r.Scope != "" && r.Scope != string(authz.AnyScope) {
		scopes := "`" + r.Scope + "`"
		if r.OrScope != "" {
			scopes += " or `" + r.OrScope + "`"
		}
		op.Description = strings.TrimSpace(op.Description + "\n\nThe credential must grant " + scopes + ".")
	}
	for _, c := range errorsOf(r) {
		e := fault.New(c, "")
		doc := e.Document("", "", r.DataPlane)
		op.Responses[strconv.Itoa(doc.Status)] = &huma.Response{
			Description: doc.Title,
			Content:     map[string]*huma.MediaType{fault.ContentType: {Schema: &huma.Schema{Ref: schemaPrefix + "Problem"}}},
		}
	}
	return op
}

// errorsOf are the errors that a route can answer.
func errorsOf(r function.Route) []fault.Code {
	codes := []fault.Code{fault.Internal, fault.Unavailable}
	if r.Scope != "" {
		codes = append(codes, fault.Invalid, fault.Unauthenticated, fault.Forbidden)
	}
	if r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch {
		codes = append(codes, fault.Invalid, fault.TooLarge, fault.MediaType, fault.Unprocessable, fault.NotFound)
	}
	if r.Scope != "" && r.Method == http.MethodGet && !r.DataPlane {
		codes = append(codes, fault.Unprocessable)
	}
	if strings.Contains(r.Path, "{") {
		codes = append(codes, fault.NotFound)
	}
	if r.DataPlane {
		codes = append(codes, fault.RateLimited)
	}
	if r.DataPlane && r.Method == http.MethodPost {
		codes = append(codes, fault.BudgetExceeded, fault.BadGateway, fault.GatewayTimeout)
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

// documentPath is the path as OpenAPI writes it, which has no wildcard over
// several segments.
func documentPath(r function.Route) string { return strings.ReplaceAll(r.Path, "...}", "}") }

func status(r function.Route) string { return strconv.Itoa(r.SuccessStatus()) }

// Note adds to the description of an operation.
type Note func(op *huma.Operation, success *huma.Response)

// RequestExample shows a body that the operation takes.
func RequestExample(v any) Note {
	return func(op *huma.Operation, _ *huma.Response) {
		for _, m := range op.RequestBody.Content {
			m.Example = v
		}
	}
}

// ResponseExample shows what the operation answers.
func ResponseExample(v any) Note {
	return func(_ *huma.Operation, success *huma.Response) {
		for _, m := range success.Content {
			m.Example = v
		}
	}
}

// ResponseType adds another media type that the operation can answer, with an
// example.
func ResponseType(media, example string) Note {
	return func(_ *huma.Operation, success *huma.Response) {
		success.Content[media] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}, Example: example}
	}
}

// Fails adds an error that the operation can answer beside those of its form.
func Fails(code fault.Code) Note {
	return func(op *huma.Operation, _ *huma.Response) {
		doc := fault.New(code, "").Document("", "", false)
		op.Responses[strconv.Itoa(doc.Status)] = &huma.Response{
			Description: doc.Title,
			Content:     map[string]*huma.MediaType{fault.ContentType: {Schema: &huma.Schema{Ref: schemaPrefix + "Problem"}}},
		}
	}
}

// annotate finishes the description of a route that huma has registered.
func (a *API) annotate(r function.Route, notes []Note) {
	item := a.huma.OpenAPI().Paths[documentPath(r)]
	for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
		if op == nil || op.OperationID != r.OperationID {
			continue
		}
		success := op.Responses[status(r)]
		if t := a.tables[r.OperationID]; t != nil {
			success.Content[CSV] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}, Example: t.names()}
		}
		for _, n := range notes {
			n(op, success)
		}
	}
}

// Describe describes a route whose handler does not go through this package.
func Describe[I, O any](a *API, operationID string, notes ...Note) {
	Handle(a, operationID, func(context.Context, authz.Principal, *I) (*O, error) {
		return nil, fault.New(fault.Internal, "a description was called")
	}, notes...)
}
