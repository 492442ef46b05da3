// Package keys is the function that hands out, shows, changes and ends API keys, and
// takes reports of leaked ones. It owns their form on the wire; the rules are those
// of package apikey.
package keys

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/rest"
)

const tag = "API keys"

// Spec describes the function.
func Spec() function.Spec {
	return function.Spec{
		Name: "keys", Service: function.Accounts, Summary: "Creates, lists, changes, rotates and revokes API keys",
		MemoryMiB: 256, Timeout: 15 * time.Second,
		Routes: append(keyRoutes(), append(secretRoutes(), leakRoutes()...)...),
	}
}

func keyRoutes() []function.Route {
	read, write := string(authz.KeysRead), string(authz.KeysWrite)
	return []function.Route{
		{
			Method: http.MethodPost, Path: "/v1/api-keys", OperationID: "createApiKey", Tag: tag,
			Scope: write, Status: http.StatusCreated, Summary: "Create an API key",
			Description: "The answer holds the key itself. It is shown this once: only its SHA-256 is kept. A key acts for a member (personal) or a service account (service). " +
				"It grants no more scopes, models and addresses than the key that creates it, and no scope that its owner's role has no use for. Nobody makes keys for a peer or a superior.",
		},
		{
			Method: http.MethodGet, Path: "/v1/api-keys", OperationID: "listApiKeys", Tag: tag,
			Scope: read, Summary: "List API keys",
			Description: "The keys that the caller may see, the oldest first, also those that expired or were revoked: all of the organization for its owners and admins, those of their projects for managers, everybody's own.",
		},
		{
			Method: http.MethodGet, Path: "/v1/api-keys/{id}", OperationID: "getApiKey", Tag: tag,
			Scope: read, Summary: "Show an API key",
		},
		{
			Method: http.MethodPatch, Path: "/v1/api-keys/{id}", OperationID: "updateApiKey", Tag: tag,
			Scope: write, Summary: "Change an API key",
			Description: "What the body does not name stays; null takes a limit, a restriction to models or an expiry away. The rules are those of a new key. The change binds every request from the answer on, everywhere within a second.",
		},
		{
			Method: http.MethodPost, Path: "/v1/api-keys/{id}/suspend", OperationID: "suspendApiKey", Tag: tag,
			Scope: write, Summary: "Suspend an API key",
			Description: "From the answer on the key is refused, everywhere within a second, until it is resumed. Suspending a suspended key is fine.",
		},
		{
			Method: http.MethodPost, Path: "/v1/api-keys/{id}/resume", OperationID: "resumeApiKey", Tag: tag,
			Scope: write, Summary: "Resume a suspended API key",
		},
	}
}

func secretRoutes() []function.Route {
	write := string(authz.KeysWrite)
	return []function.Route{
		{
			Method: http.MethodPost, Path: "/v1/api-keys/{id}/rotate", OperationID: "rotateApiKey", Tag: tag,
			Scope: write, Summary: "Rotate an API key",
			Description: "Gives the key a new secret, shown this once, under the same id. The secret before goes on to work for the overlap: 24 hours unless told otherwise, at most 7 days. " +
				"Rotating again within an overlap ends the older secret at once. Every member rotates own keys, and a key with the scope keys:write itself; a key that grants more than the caller has is not shown to them, and so not rotated.",
		},
		{
			Method: http.MethodDelete, Path: "/v1/api-keys/{id}", OperationID: "revokeApiKey", Tag: tag,
			Scope: write, Status: http.StatusNoContent, Summary: "Revoke an API key",
			Description: "From the answer on the key is refused, with all its secrets, everywhere within a second, for good. Every member revokes own keys. Revoking a revoked key is fine.",
		},
	}
}

func leakRoutes() []function.Route {
	return []function.Route{
		{
			Method: http.MethodGet, Path: "/v1/api-keys/pattern", OperationID: "getApiKeyPattern", Tag: tag,
			Summary: "How to recognize API keys",
			Description: "For secret scanners: a regular expression that finds keys, the checksum that tells real ones from look-alikes without asking anybody, examples to test with, and where to report a key that was found. " +
				"The answer changes only with the form of keys.",
		},
		{
			Method: http.MethodPost, Path: "/v1/api-keys/revoke-leaked", OperationID: "revokeLeakedApiKey", Tag: tag,
			Status: http.StatusAccepted, Summary: "Report a leaked API key, and revoke it",
			Description: "For whoever finds a key where it should not be. Having the key is the proof: it is revoked at once, everywhere within a second, also where what was found is a secret that is being replaced. " +
				"The answer is the same for every text, whether it is a key or not. Its organization is told, with the source.",
		},
	}
}

// New makes the function's HTTP handler.
func New(svc *apikey.Service, auth rest.Authenticator, log *slog.Logger) *rest.API {
	api := rest.New(Spec(), auth, log)
	register(api, &handlers{svc: svc})
	return api
}

// Describe adds the function's routes to the OpenAPI document.
func Describe(doc *rest.Document) { register(doc.API(Spec()), &handlers{}) }

func register(api *rest.API, h *handlers) {
	rest.Handle(api, "createApiKey", h.create, rest.Fails(fault.Conflict), rest.RequestExample(exampleRequest()), rest.ResponseExample(exampleCreated()))
	rest.Handle(api, "listApiKeys", h.list)
	rest.Handle(api, "getApiKey", h.get, rest.ResponseExample(exampleCreated().APIKey))
	rest.Handle(api, "updateApiKey", h.update, rest.Fails(fault.Conflict), rest.RequestExample(exampleChange()), rest.ResponseExample(exampleCreated().APIKey))
	rest.Handle(api, "suspendApiKey", h.suspend, rest.Fails(fault.Conflict), rest.RequestExample(Reason{Reason: "looks odd"}))
	rest.Handle(api, "resumeApiKey", h.resume, rest.Fails(fault.Conflict), rest.RequestExample(Reason{Reason: "it was a test"}))
	rest.Handle(api, "rotateApiKey", h.rotate, rest.Fails(fault.Conflict), rest.RequestExample(RotateAPIKey{Overlap: "24h"}), rest.ResponseExample(exampleRotated()))
	rest.Handle(api, "revokeApiKey", h.revoke)
	rest.Handle(api, "getApiKeyPattern", h.pattern, rest.ResponseExample(pattern()))
	rest.Handle(api, "revokeLeakedApiKey", h.revokeLeaked, rest.Fails(fault.RateLimited),
		rest.RequestExample(LeakedAPIKey{Key: apikey.Example().Reveal(), Source: "https://example.com/commit/1"}))
}

type handlers struct{ svc *apikey.Service }
