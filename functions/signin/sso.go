package signin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/rest"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/shared/sso"
)

func ssoRoutes() []function.Route {
	const tag = "Single sign-on"
	public, own := routes{tag, ""}, routes{tag, authz.AnyScope}
	back := public.get("/v1/sign-in/sso/callback/{id}", "returnFromSso", "Come back from an issuer",
		"Where issuers of OpenID Connect send browsers back to. It signs in and goes on to where the sign-in was to lead, or to the page of the second factor; what fails is named in the address of the sign-in page (`?error=sso_…`).")
	back.Status = http.StatusSeeOther
	return []function.Route{
		public.post("/v1/sign-in/sso", "signInBySso", "Sign in by single sign-on",
			"Answers where the browser is to go: the issuer that the organisation of this e-mail domain trusts. 404 where there is none; whether there is such a person plays no part. The sign-in belongs to the browser by the cookie that comes with the answer, is good once and for ten minutes."),
		back,
		own.post("/v1/session/step-up/sso", "stepUpBySso", "Prove yourself again at your issuer",
			"For sessions of single sign-on: the issuer is asked to have you prove yourself anew. Who has a second factor of the platform's own shows that instead, unless the issuer is trusted with one."),
	}
}

func registerSSO(api *rest.API, h *ssoHandlers) {
	rest.Handle(api, "signInBySso", h.begin, rest.Fails(fault.NotFound), rest.Fails(fault.RateLimited),
		rest.RequestExample(SsoSignIn{Email: "ada@example.com", ReturnTo: "/account"}))
	api.HandleHTTP("returnFromSso", "text/html", http.HandlerFunc(h.callback))
	rest.Handle(api, "stepUpBySso", h.stepUp, rest.Fails(fault.Conflict), rest.RequestExample(SsoStepUp{ReturnTo: "/account"}))
}

type ssoHandlers struct {
	svc     *sso.SignIn
	cookies Cookies
	log     *slog.Logger
}

// SsoSignIn begins a sign-in at an issuer.
type SsoSignIn struct {
	Email    string `json:"email" maxLength:"254" example:"ada@example.com"`
	ReturnTo string `json:"return_to,omitempty" maxLength:"2048" doc:"A path on this server, to go on to."`
}

// SsoStepUp begins a proof at an issuer.
type SsoStepUp struct {
	ReturnTo string `json:"return_to,omitempty" maxLength:"2048" doc:"A path on this server, to go on to."`
}

// SsoBegun is where the browser is to go.
type SsoBegun struct {
	RedirectURL string    `json:"redirect_url"`
	ExpiresAt   time.Time `json:"expires_at"`
}

type ssoBegunOutput struct {
	SetCookie []http.Cookie `header:"Set-Cookie"`
	Body      SsoBegun
}

type ssoSignInInput struct{ Body SsoSignIn }

func (h *ssoHandlers) begin(ctx context.Context, p authz.Principal, in *ssoSignInInput) (*ssoBegunOutput, error) {
	b, err := h.svc.Begin(ctx, in.Body.Email, in.Body.ReturnTo, p.Address)
	return h.begun(b, err)
}

type ssoStepUpInput struct{ Body SsoStepUp }

func (h *ssoHandlers) stepUp(ctx context.Context, p authz.Principal, in *ssoStepUpInput) (*ssoBegunOutput, error) {
	b, err := h.svc.BeginStepUp(ctx, p, in.Body.ReturnTo)
	return h.begun(b, err)
}

func (h *ssoHandlers) begun(b sso.Begun, err error) (*ssoBegunOutput, error) {
	if err != nil {
		return nil, err
	}
	cookie := h.cookies.journey() //nolint:gosec // as it says itself
	cookie.Value, cookie.MaxAge = b.Browser, int(sso.Patience.Seconds())
	return &ssoBegunOutput{SetCookie: []http.Cookie{cookie}, Body: SsoBegun{RedirectURL: b.RedirectURL, ExpiresAt: b.Expires}}, nil
}

// journey is the cookie of a browser that is on its way to an issuer and back: it comes
// back by a link of another site, so the cookie goes with those.
func (c Cookies) journey() http.Cookie {
	name := "aiaas_sso"
	if c.secure {
		name = "__Host-aiaas_sso"
	}
	return http.Cookie{Name: name, Path: "/", MaxAge: -1, Secure: c.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode} //nolint:gosec // in the clear only where all is: on loopback
}

// callback answers with a redirect in any case: a person is looking.
func (h *ssoHandlers) callback(w http.ResponseWriter, r *http.Request) {
	q, journey := r.URL.Query(), h.cookies.journey()
	browser := ""
	if c, err := r.Cookie(journey.Name); err == nil {
		browser = c.Value
	}
	caller := Caller{Cookie: strings.Join(r.Header.Values("Cookie"), "; "), UserAgent: r.UserAgent()}
	done, err := h.svc.Complete(r.Context(), sso.Comeback{
		ConnectionID: r.PathValue("id"), Browser: browser, State: q.Get("state"), Code: q.Get("code"), Issuer: q.Get("iss"),
		Error: q.Get("error"), From: h.cookies.from(caller, rest.CallerOf(r.Context()).Address, ""),
	})
	reason := h.told(r.Context(), err)
	if reason != sso.Expired { // another sign-in may be under way
		http.SetCookie(w, &journey)
	}
	switch {
	case err != nil:
		toPage(w, "/sign-in", url.Values{"error": {string(reason)}}, returnOf(err), "")
	case done.Proved != nil:
		h.setCookies(w, *done.Proved, "")
		toPath(w, orHome(done.ReturnTo))
	case done.Outcome.Challenge != nil:
		c := done.Outcome.Challenge
		toPage(w, "/sign-in/second-factor", url.Values{}, done.ReturnTo, url.Values{
			"challenge": {c.Token}, "methods": {strings.Join(methods(c.Methods), " ")}, "expires_at": {c.ExpiresAt.Format(time.RFC3339)},
		}.Encode())
	default:
		h.setCookies(w, done.Outcome.Session, done.Outcome.Device)
		if done.ReturnTo == "" && done.Outcome.Place.MFAForced && !done.Outcome.Session.MFA {
			toPath(w, "/account#security")
			return
		}
		toPath(w, orHome(done.ReturnTo))
	}
}

// told says what a person is told of an error, and tells the operator the rest.
func (h *ssoHandlers) told(ctx context.Context, err error) sso.Reason {
	if err == nil {
		return ""
	}
	id := slog.String("request_id", audit.RequestID(ctx))
	if r, ok := errors.AsType[*sso.RefusedError](err); ok {
		h.log.LogAttrs(ctx, slog.LevelInfo, "sign-in refused", id, slog.Any("error", err))
		return r.Reason
	}
	h.log.LogAttrs(ctx, slog.LevelError, "take who comes back from an issuer", id, slog.Any("error", err))
	return sso.Unavailable
}

func returnOf(err error) string {
	if r, ok := errors.AsType[*sso.RefusedError](err); ok {
		return r.ReturnTo
	}
	return ""
}

func (h *ssoHandlers) setCookies(w http.ResponseWriter, o session.Opened, device string) {
	for _, c := range h.cookies.of(o, device) {
		http.SetCookie(w, &c)
	}
}

func orHome(path string) string {
	if path == "" {
		return "/account"
	}
	return path
}

// toPage sends the browser to a page of ours. What is secret stands in the fragment,
// which no log has.
func toPage(w http.ResponseWriter, page string, q url.Values, returnTo, fragment string) {
	if returnTo != "" {
		q.Set("return_to", returnTo)
	}
	to := url.URL{Path: page, RawQuery: q.Encode()}
	text := to.String()
	if fragment != "" {
		text += "#" + fragment
	}
	toPath(w, text)
}

func toPath(w http.ResponseWriter, path string) {
	w.Header().Set("Location", path)
	w.WriteHeader(http.StatusSeeOther)
}
