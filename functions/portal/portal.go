// Package portal is the function that serves the pages on which people sign in and
// keep their account: sign-in with its second factor, password reset, invitation,
// account, and the questions of the OAuth2 routes.
//
// The pages know no rule. Each is one template and one small script that asks the
// same JSON API as everybody else and shows what it answers; nothing about a person
// is rendered here, so every page is the same for everyone and this function needs no
// database. Secrets of links stand in the fragment of their address, which no server
// sees.
//
// Scripts and styles come from this server alone: the content policy of the pages
// allows nothing else, and nothing inline.
package portal

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/rest"
)

// Spec describes the function.
func Spec() function.Spec {
	const tag = "Pages"
	routes := []function.Route{{
		Method: http.MethodGet, Path: "/assets/{version}/{file}", OperationID: "getAsset", Tag: tag, Summary: "Get a style or script of the pages",
	}}
	for _, p := range pages() {
		routes = append(routes, function.Route{Method: http.MethodGet, Path: p.path, OperationID: p.operation, Tag: tag, Summary: p.summary})
	}
	return function.Spec{
		Name: "portal", Service: function.Accounts, Summary: "The pages on which people sign in and keep their account",
		MemoryMiB: 128, Timeout: 10 * time.Second, Routes: routes,
	}
}

// New makes the function's HTTP handler. The public address is that under which
// browsers reach the pages.
func New(publicURL string, log *slog.Logger) (*rest.API, error) {
	h, err := newHandlers(publicURL, log)
	if err != nil {
		return nil, err
	}
	api := rest.New(Spec(), nil, log)
	register(api, h)
	return api, nil
}

// Describe adds the function's routes to the OpenAPI document.
func Describe(doc *rest.Document) { register(doc.API(Spec()), &handlers{}) }

func register(api *rest.API, h *handlers) {
	api.HandleHTTP("getAsset", "text/javascript", http.HandlerFunc(h.asset))
	for _, p := range pages() {
		api.HandleHTTP(p.operation, "text/html", h.page(p))
	}
}
