package oauth

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	httphelper "github.com/zitadel/oidc/v3/pkg/http"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/oauth"
)

// authorize is the authorization endpoint: a browser comes with a client's question,
// and goes on to the page that asks it, by way of the sign-in where there is nobody.
type authorize struct {
	Config

	decoder httphelper.Decoder
}

// ServeHTTP implements [http.Handler].
func (a *authorize) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := new(oidc.AuthRequest)
	if err := a.decoder.Decode(q, r.URL.Query()); err != nil {
		a.stop(w, r, "the parameters can't be read")
		return
	}
	if !a.reliable(w, r, q) {
		return
	}
	ask := askOf(q)
	if err := a.check(q, ask); err != nil {
		a.back(w, r, q, err)
		return
	}
	p, err := a.Identify(r)
	switch {
	case fault.Is(err, fault.Unauthenticated):
		a.signIn(w, r, q)
		return
	case err != nil:
		a.back(w, r, q, err)
		return
	}
	a.ask(w, r, q, p)
}

// reliable makes sure that the address which every further answer goes to is the
// client's own. Where it is not, the person is told, and nobody is redirected.
func (a *authorize) reliable(w http.ResponseWriter, r *http.Request, q *oidc.AuthRequest) bool {
	c, known := a.Service.Client(q.ClientID)
	switch {
	case !known || !c.May(oauth.GrantCode):
		a.stop(w, r, "there is no such client that people can let in")
	case !c.Takes(q.RedirectURI):
		a.stop(w, r, "the redirect_uri is not one of the client's")
	case op.ValidateAuthReqRedirectURI(&client{public: c}, q.RedirectURI, oidc.ResponseTypeCode) != nil:
		a.stop(w, r, "the redirect_uri is not one of the client's")
	default:
		return true
	}
	return false
}

// stop tells the person at the browser that the link is not good.
func (a *authorize) stop(w http.ResponseWriter, r *http.Request, why string) {
	fault.Write(w, r, w.Header().Get("X-Request-Id"), fault.New(fault.Invalid, "This link does not lead on: %s.", why), false)
}

// check returns what is wrong with a question, as its client is told.
func (a *authorize) check(q *oidc.AuthRequest, ask oauth.Ask) error {
	switch {
	case q.RequestParam != "":
		return refusal("request_not_supported", "request objects are not supported")
	case q.ResponseType != oidc.ResponseTypeCode:
		return refusal("unsupported_response_type", "the only response_type is code")
	case q.ResponseMode != "" && q.ResponseMode != oidc.ResponseModeQuery:
		return refusal(oauth.InvalidRequest, "the only response_mode is query")
	}
	if _, err := op.ValidateAuthReqPrompt(q.Prompt, q.MaxAge); err != nil {
		return refusal(oauth.InvalidRequest, "prompt=none stands alone")
	}
	return ask.Check()
}

func refusal(why oauth.Reason, detail string) error {
	return &oauth.ProtocolError{Reason: why, Detail: detail}
}

func askOf(q *oidc.AuthRequest) oauth.Ask {
	ask := oauth.Ask{
		ClientID: q.ClientID, RedirectURI: q.RedirectURI, Scopes: words(q.Scopes), State: q.State, Nonce: q.Nonce,
		Challenge: q.CodeChallenge, Method: string(q.CodeChallengeMethod), Prompt: q.Prompt,
	}
	if q.MaxAge != nil {
		age := time.Duration(min(*q.MaxAge, maxAge)) * time.Second
		ask.MaxAge = &age
	}
	return ask
}

const maxAge = 10 * 365 * 24 * 3600 // in seconds; more is no limit

// signIn sends a browser without a session to sign in and come back. Who signs in has
// proved himself, so he is not asked to again when he is back.
func (a *authorize) signIn(w http.ResponseWriter, r *http.Request, q *oidc.AuthRequest) {
	if slices.Contains(q.Prompt, oidc.PromptNone) {
		a.back(w, r, q, refusal(oauth.LoginRequired, "nobody has signed in"))
		return
	}
	params := r.URL.Query()
	if rest := slices.DeleteFunc(slices.Clone([]string(q.Prompt)), func(p string) bool { return p == oidc.PromptLogin }); len(rest) > 0 {
		params.Set("prompt", strings.Join(rest, " "))
	} else {
		params.Del("prompt")
	}
	found(w, pageSignIn, url.Values{"return_to": {PathAuthorize + "?" + params.Encode()}})
}

func (a *authorize) ask(w http.ResponseWriter, r *http.Request, q *oidc.AuthRequest, p authz.Principal) {
	approver, err := a.Service.Approver(r.Context(), p)
	if err == nil {
		var id string
		if id, err = a.Service.Begin(r.Context(), approver, askOf(q)); err == nil {
			found(w, pageConsent, url.Values{"request": {id}})
			return
		}
	}
	switch {
	case fault.Is(err, fault.Unauthenticated):
		a.signIn(w, r, q)
	default:
		a.back(w, r, q, err)
	}
}

// back answers the client with an error, at its own address.
func (a *authorize) back(w http.ResponseWriter, r *http.Request, q *oidc.AuthRequest, err error) {
	no, ok := oauth.AsProtocolError(err)
	if !ok {
		s := &server{Config: a.Config}
		if !fault.Is(err, fault.Forbidden) {
			_ = s.broken(r.Context(), err) // it goes to the log
		}
		no = &oauth.ProtocolError{Reason: "server_error", Detail: "The service can't answer right now."}
		if fault.Is(err, fault.Forbidden) {
			no = &oauth.ProtocolError{Reason: oauth.AccessDenied, Detail: "A program is let in from a person's own browser."}
		}
	}
	u, err := url.Parse(q.RedirectURI)
	if err != nil {
		a.stop(w, r, "the redirect_uri can't be read")
		return
	}
	params := u.Query()
	params.Set("error", string(no.Reason))
	params.Set("error_description", no.Detail)
	params.Set("iss", a.Service.Issuer)
	if q.State != "" {
		params.Set("state", q.State)
	}
	u.RawQuery = params.Encode()
	w.Header().Set("Location", u.String())
	w.WriteHeader(http.StatusFound)
}

// found sends a browser on to a page of ours.
func found(w http.ResponseWriter, page string, params url.Values) {
	w.Header().Set("Location", page+"?"+params.Encode())
	w.WriteHeader(http.StatusFound)
}
