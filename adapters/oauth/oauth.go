// Package oauth speaks OAuth 2 and OpenID Connect on the wire, with the library
// zitadel/oidc: it reads requests, knows how clients authenticate, and writes answers
// and errors in the forms of the standards. What is asked, granted and refused is
// decided by the rules of shared/oauth; where the library is laxer than they are (a
// loopback address at any host, unknown scopes left out without a word), they count.
//
// The authorization endpoint is our own, from the library's parts: it answers errors
// with the issuer (RFC 9207), knows one response mode, and logs no address with a
// state in it.
package oauth

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
	"github.com/zitadel/schema"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/oauth"
)

// The paths of the endpoints, as they stand in the function's routes.
const (
	PathDiscovery = "/.well-known/openid-configuration"
	PathMetadata  = "/.well-known/oauth-authorization-server" // RFC 8414
	PathAuthorize = "/oauth/authorize"
	PathToken     = "/oauth/token"
	PathRevoke    = "/oauth/revoke"
	PathInspect   = "/oauth/introspect"
	PathKeys      = "/oauth/jwks"
	PathDevice    = "/oauth/device_authorization"

	pageSignIn  = "/sign-in"
	pageConsent = "/oauth/consent"
	pageDevice  = "/device"
)

// Config is what a provider is made of.
type Config struct {
	Service *oauth.Service
	// Identify tells who sends a request from his browser; Unauthenticated where that is
	// nobody.
	Identify func(r *http.Request) (authz.Principal, error)
	// Locate tells where a request comes from.
	Locate func(r *http.Request) string
	// Keys is the JSON Web Key Set.
	Keys func(ctx context.Context) (any, error)
	Log  *slog.Logger
}

// New makes the handler of all endpoints.
func New(c Config) http.Handler {
	decoder := schema.NewDecoder()
	decoder.IgnoreUnknownKeys(true)
	server := &server{Config: c}
	library := op.RegisterServer(server, op.Endpoints{
		Token: op.NewEndpoint(PathToken), Introspection: op.NewEndpoint(PathInspect), Revocation: op.NewEndpoint(PathRevoke),
		JwksURI: op.NewEndpoint(PathKeys), DeviceAuthorization: op.NewEndpoint(PathDevice),
	}, op.WithServerCORSOptions(nil))
	mux := http.NewServeMux()
	mux.Handle("GET "+PathDiscovery, library)
	mux.HandleFunc("GET "+PathMetadata, func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context())
		r.URL.Path, r.URL.RawPath = PathDiscovery, ""
		library.ServeHTTP(w, r)
	})
	mux.Handle("GET "+PathKeys, library)
	mux.Handle("GET "+PathAuthorize, &authorize{Config: c, decoder: decoder})
	for _, path := range []string{PathToken, PathRevoke, PathInspect, PathDevice} {
		mux.Handle("POST "+path, c.form(library))
	}
	return mux
}

// form guards an endpoint that takes a form: nothing comes in the address, which ends
// up in logs, and nothing comes twice (RFC 6749, 2.3.1 and 3.2).
func (c Config) form(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := r.ParseForm()
		switch {
		case err != nil:
			op.WriteError(w, r, oidc.ErrInvalidRequest().WithDescription("the form can't be read"), nil)
			return
		case r.URL.RawQuery != "":
			op.WriteError(w, r, oidc.ErrInvalidRequest().WithDescription("parameters come in the body, not in the address"), nil)
			return
		}
		for _, values := range r.PostForm {
			if len(values) > 1 || !plain(values[0]) {
				op.WriteError(w, r, oidc.ErrInvalidRequest().WithDescription("a parameter comes twice, is too long, or can't be read"), nil)
				return
			}
		}
		from := oauth.From{Address: c.Locate(r), UserAgent: r.UserAgent()}
		w.Header().Set("Pragma", "no-cache")
		next.ServeHTTP(&answer{ResponseWriter: w}, r.WithContext(context.WithValue(r.Context(), fromKey{}, &call{from: from, w: w})))
	})
}

const maxParameter = 8 << 10 // bytes

// plain reports whether a parameter can be looked up.
func plain(value string) bool {
	return len(value) <= maxParameter && utf8.ValidString(value) && !strings.Contains(value, "\x00")
}

type fromKey struct{}

// call is what a request's operation knows of it, besides its parameters.
type call struct {
	from oauth.From
	w    http.ResponseWriter
}

func callOf(ctx context.Context) *call {
	c, ok := ctx.Value(fromKey{}).(*call)
	if !ok {
		return &call{w: discard{}}
	}
	return c
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

// answer asks clients that did not prove who they are to do so (RFC 6749, 5.2).
type answer struct{ http.ResponseWriter }

// Unwrap lets [http.ResponseController] reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) WriteHeader(status int) {
	if status == http.StatusUnauthorized {
		a.Header().Set("WWW-Authenticate", `Basic realm="aiaas", charset="UTF-8"`)
	}
	a.ResponseWriter.WriteHeader(status)
}

// refuse gives an error the protocol's form. What is not a refusal is ours: it goes to
// the log, and the client learns nothing of it.
func (s *server) refuse(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	r, ok := oauth.AsProtocolError(err)
	if !ok {
		return s.broken(ctx, err)
	}
	e := protocolError(r)
	if r.After > 0 {
		callOf(ctx).w.Header().Set("Retry-After", strconv.Itoa(int(r.After.Seconds())))
	}
	switch r.Reason {
	case oauth.InvalidClient:
		return op.NewStatusError(e, http.StatusUnauthorized) //nolint:wrapcheck // it is the library that reads it
	case oauth.Busy:
		return op.NewStatusError(e, http.StatusTooManyRequests) //nolint:wrapcheck // it is the library that reads it
	case oauth.InvalidRequest, oauth.InvalidGrant, oauth.InvalidScope, oauth.UnauthorizedClient, oauth.AccessDenied, oauth.LoginRequired,
		oauth.ConsentRequired, oauth.AuthorizationPending, oauth.SlowDown, oauth.ExpiredToken:
	}
	return op.NewStatusError(e, http.StatusBadRequest) //nolint:wrapcheck // it is the library that reads it
}

func protocolError(r *oauth.ProtocolError) *oidc.Error {
	e := &oidc.Error{Description: r.Detail}
	e.ErrorType = oidc.ErrInvalidRequest().ErrorType
	switch r.Reason {
	case oauth.InvalidClient:
		e.ErrorType = oidc.InvalidClient
	case oauth.InvalidGrant:
		e.ErrorType = oidc.InvalidGrant
	case oauth.InvalidScope:
		e.ErrorType = oidc.InvalidScope
	case oauth.UnauthorizedClient:
		e.ErrorType = oidc.UnauthorizedClient
	case oauth.AccessDenied:
		e.ErrorType = oidc.AccessDenied
	case oauth.LoginRequired:
		e.ErrorType = oidc.LoginRequired
	case oauth.ConsentRequired:
		e.ErrorType = oidc.InteractionRequired
	case oauth.AuthorizationPending:
		e.ErrorType = oidc.AuthorizationPending
	case oauth.SlowDown:
		e.ErrorType = oidc.SlowDown
	case oauth.ExpiredToken:
		e.ErrorType = oidc.ExpiredToken
	case oauth.Busy:
		e.ErrorType = "temporarily_unavailable"
	case oauth.InvalidRequest:
	}
	return e
}

func (s *server) broken(ctx context.Context, err error) error {
	status := http.StatusInternalServerError
	level := slog.LevelError
	if fault.Is(err, fault.Unavailable) {
		status, level = http.StatusServiceUnavailable, slog.LevelWarn
		callOf(ctx).w.Header().Set("Retry-After", "1")
	}
	if errors.Is(err, context.Canceled) {
		level = slog.LevelDebug
	}
	s.Log.LogAttrs(ctx, level, "answer client", slog.String("function", "oauth"), slog.Any("error", err))
	return op.NewStatusError(oidc.ErrServerError().WithDescription("The service can't answer right now."), status) //nolint:wrapcheck // it is the library that reads it
}
