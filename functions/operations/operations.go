// Package operations is the function for those who run the platform and those who
// look around in it: health, readiness, the OpenAPI document and the reference
// page made from it, and what the platform's jobs do.
package operations

import (
	"context"
	_ "embed" // the OpenAPI document is a file, checked in and generated
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/job"
	"github.com/aiaas/aiaas/shared/rest"
)

//go:generate go run github.com/aiaas/aiaas/infra/gen

// openAPI is written from the catalogue.
//
//go:embed openapi.json
var openAPI []byte

// Spec describes the function.
func Spec() function.Spec {
	const tag = "Operations"
	return function.Spec{
		Name: "operations", Service: function.Accounts, Summary: "Health, readiness, the reference of the API, and jobs",
		MemoryMiB: 256, Timeout: time.Minute,
		Schedules: []function.Schedule{{Job: JobPrune, Every: 24 * time.Hour}},
		Routes: append([]function.Route{
			{Method: http.MethodGet, Path: "/healthz", OperationID: "getHealth", Tag: tag, Summary: "Tell whether the process is alive"},
			{
				Method: http.MethodGet, Path: "/readyz", OperationID: "getReadiness", Tag: tag, Summary: "Tell whether requests can be served",
				Description: "503 while a dependency that requests need is down, and while the process drains.",
			},
			{Method: http.MethodGet, Path: "/openapi.json", OperationID: "getOpenAPI", Tag: tag, Summary: "Get this document"},
			{Method: http.MethodGet, Path: "/docs", OperationID: "getReference", Tag: tag, Summary: "Read the reference"},
		}, jobRoutes()...),
	}
}

// Ready reports why requests can't be served, nil when they can.
type Ready func(ctx context.Context) error

// New makes the function's HTTP handler. The reference page is rendered when it is
// first asked for: a process that starts to answer a probe has no time for it.
func New(ready Ready, jobs *job.Service, auth rest.Authenticator, log *slog.Logger) *rest.API {
	api := rest.New(Spec(), auth, log)
	page := sync.OnceValues(func() ([]byte, error) { return renderReference(openAPI) })
	register(api, &handlers{ready: ready, page: page, log: log})
	registerJobs(api, &jobHandlers{svc: jobs})
	return api
}

// Describe adds the function's routes to the OpenAPI document.
func Describe(doc *rest.Document) {
	api := doc.API(Spec())
	register(api, &handlers{})
	registerJobs(api, &jobHandlers{})
}

func register(api *rest.API, h *handlers) {
	rest.Handle(api, "getHealth", h.health, rest.ResponseExample(Health{Status: "ok"}))
	rest.Handle(api, "getReadiness", h.readiness, rest.ResponseExample(Health{Status: "ok"}))
	api.HandleHTTP("getOpenAPI", "application/openapi+json", http.HandlerFunc(h.document))
	api.HandleHTTP("getReference", "text/html", http.HandlerFunc(h.reference))
}

type handlers struct {
	ready Ready
	page  func() ([]byte, error)
	log   *slog.Logger
}

// Health is the answer of the probes.
type Health struct {
	Status string `json:"status" enum:"ok"`
}

type healthOutput struct{ Body Health }

func (h *handlers) health(context.Context, authz.Principal, *struct{}) (*healthOutput, error) {
	return &healthOutput{Body: Health{Status: "ok"}}, nil
}

func (h *handlers) readiness(ctx context.Context, _ authz.Principal, _ *struct{}) (*healthOutput, error) {
	if err := h.ready(ctx); err != nil {
		return nil, fault.Wrap(fault.Unavailable, "check readiness", err).After(time.Second)
	}
	return &healthOutput{Body: Health{Status: "ok"}}, nil
}

func (h *handlers) document(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*") // public, and the same for everyone
	send(w, "application/openapi+json", openAPI)
}

func (h *handlers) reference(w http.ResponseWriter, r *http.Request) {
	page, err := h.page()
	if err != nil {
		h.log.ErrorContext(r.Context(), "render reference", "error", err)
		fault.Write(w, r, w.Header().Get("X-Request-Id"), fault.Wrap(fault.Internal, "render reference", err), false)
		return
	}
	w.Header().Set("Content-Security-Policy", contentPolicy())
	send(w, "text/html; charset=utf-8", page)
}

func send(w http.ResponseWriter, mediaType string, body []byte) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(body) // the reader may be gone
}
