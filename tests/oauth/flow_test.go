package oauth_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/tests/harness"
)

func TestTheFlows(t *testing.T) {
	w := newWorld(t)
	for name, f := range map[string]func(*testing.T, *world){
		"authorization code": codeFlow, "deny": denied, "nobody has signed in": notSignedIn, "sign in anew": signInAnew,
	} {
		t.Run(name, func(t *testing.T) { f(t, w.under(t)) })
	}
}

// under is the world for a subtest.
func (w *world) under(t *testing.T) *world {
	v := *w
	v.t = t
	return &v
}

func codeFlow(t *testing.T, w *world) {
	p := w.person(authz.Developer)
	verifier := oauth2.GenerateVerifier()
	c := w.client("usage:read", "keys:read", "members:write", "openid", "offline_access")
	request := p.ask(c.AuthCodeURL("a state & more", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("nonce", "n1")))

	var shown struct {
		Client       struct{ ID, Name string }
		Scopes       []string
		Organization string
		Kind         string
	}
	p.send(http.MethodGet, "/v1/oauth/requests/"+request, "").JSON(t, &shown)
	if shown.Client.ID != "aiaas-cli" || shown.Client.Name == "" || shown.Organization != w.org || shown.Kind != "code" {
		t.Errorf("the page would show %+v", shown)
	}
	if want := []string{"usage:read", "keys:read", "openid", "offline_access"}; !slices.Equal(shown.Scopes, want) {
		t.Errorf("the page would show %v; a developer has %v of what is asked", shown.Scopes, want)
	}

	back := p.decide(request, "approve")
	q := back.Query()
	if back.Host != "127.0.0.1:53210" || back.Path != "/callback" || q.Get("state") != "a state & more" || q.Get("iss") != w.BaseURL || q.Get("code") == "" {
		t.Fatalf("it goes back to %s", back)
	}
	if a := p.send(http.MethodPost, "/v1/oauth/requests/"+request+"/approve", ""); a.Status != http.StatusNotFound {
		t.Errorf("approved twice: %s", a)
	}
	tok, err := c.Exchange(t.Context(), q.Get("code"), oauth2.VerifierOption(verifier))
	harness.Must(t, err)
	if tok.RefreshToken == "" || tok.TokenType != "Bearer" || tok.Extra("scope") != "usage:read keys:read openid offline_access" {
		t.Errorf("the tokens are %+v, for %v", tok, tok.Extra("scope"))
	}
	if s := w.works(tok.AccessToken); s != http.StatusOK {
		t.Errorf("the access token answers %d", s)
	}
	checkIdentity(t, w, tok, p)

	for path, want := range map[string]int{"/v1/api-keys": 200, "/v1/members": 403} {
		if a := w.call(http.MethodGet, path, "", http.Header{"Authorization": {"Bearer " + tok.AccessToken}}); a.Status != want {
			t.Errorf("%s: %s; want %d", path, a, want)
		}
	}

	next, err := c.TokenSource(t.Context(), &oauth2.Token{RefreshToken: tok.RefreshToken}).Token()
	harness.Must(t, err)
	if next.AccessToken == tok.AccessToken || next.RefreshToken == tok.RefreshToken || w.works(next.AccessToken) != http.StatusOK || w.works(tok.AccessToken) != http.StatusOK {
		t.Errorf("refreshed: %+v", next)
	}
	narrow := tokens(w.form("/oauth/token", mergeParams(refreshing(next.RefreshToken), "scope", "usage:read")))
	if narrow.Scope != "usage:read openid offline_access" {
		t.Errorf("narrowed: %+v", narrow)
	}
	if a := w.call(http.MethodGet, "/v1/api-keys", "", http.Header{"Authorization": {"Bearer " + narrow.Access}}); a.Status != http.StatusForbidden {
		t.Errorf("a narrowed token reads keys: %s", a)
	}
	if wider := tokens(w.form("/oauth/token", mergeParams(refreshing(narrow.Refresh), "scope", "members:read"))); wider.Error != "invalid_scope" {
		t.Errorf("widened: %+v", wider)
	}

	if a := w.form("/oauth/revoke", url.Values{"client_id": {"aiaas-cli"}, "token": {narrow.Refresh}}); a.Status != http.StatusOK {
		t.Fatalf("revoke: %s", a)
	}
	w.dies("the token of a revoked session", narrow.Access)
	if a := tokens(w.form("/oauth/token", refreshing(narrow.Refresh))); a.Error != "invalid_grant" {
		t.Errorf("refreshed after it was given back: %+v", a)
	}
}

func mergeParams(v url.Values, more ...string) url.Values {
	for i := 0; i < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return v
}

// checkIdentity verifies an identity token as a client does: by discovery.
func checkIdentity(t *testing.T, w *world, tok *oauth2.Token, p *person) {
	t.Helper()
	var meta struct {
		Issuer string   `json:"issuer"`
		JWKS   string   `json:"jwks_uri"`
		PKCE   []string `json:"code_challenge_methods_supported"`
		Types  []string `json:"response_types_supported"`
		Iss    bool     `json:"authorization_response_iss_parameter_supported"`
	}
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		w.call(http.MethodGet, path, "", nil).JSON(t, &meta)
		if meta.Issuer != w.BaseURL || !slices.Equal(meta.PKCE, []string{"S256"}) || !slices.Equal(meta.Types, []string{"code"}) || !meta.Iss {
			t.Errorf("%s: %+v", path, meta)
		}
	}
	var set jose.JSONWebKeySet
	raw := w.call(http.MethodGet, meta.JWKS, "", nil)
	raw.JSON(t, &set)
	var private []map[string]any
	if json.Unmarshal(raw.Body[len(`{"keys":`):len(strings.TrimSpace(string(raw.Body)))-1], &private) != nil || len(private) == 0 || private[0]["d"] != nil {
		t.Errorf("the key set is %s", raw)
	}
	text, _ := tok.Extra("id_token").(string)
	parsed, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.ES256})
	harness.Must(t, err)
	var claims struct {
		jwt.Claims

		Nonce     string `json:"nonce"`
		SessionID string `json:"sid"`
	}
	harness.Must(t, parsed.Claims(&set, &claims))
	if claims.Issuer != w.BaseURL || claims.Subject != p.id || !claims.Audience.Contains("aiaas-cli") || claims.Nonce != "n1" || claims.SessionID == "" {
		t.Errorf("the identity token says %+v", claims)
	}
	if s := w.works(text); s != http.StatusUnauthorized {
		t.Errorf("an identity token is an access token: %d", s)
	}
}

func denied(t *testing.T, w *world) {
	p := w.person(authz.Developer)
	link := w.client("usage:read").AuthCodeURL("s1", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()))
	q := p.decide(p.ask(link), "deny").Query()
	if q.Get("error") != "access_denied" || q.Get("state") != "s1" || q.Get("iss") != w.BaseURL || q.Has("code") {
		t.Errorf("the client is told %v", q)
	}
	request := p.ask(link)
	other := w.person(authz.Owner)
	for _, what := range []string{"", "/approve", "/deny"} {
		method := http.MethodPost
		if what == "" {
			method = http.MethodGet
		}
		if a := other.send(method, "/v1/oauth/requests/"+request+what, ""); a.Status != http.StatusNotFound {
			t.Errorf("another person, %s: %s", what, a)
		}
	}
	// A program that holds a token of the person's must not let in another.
	tok := p.login("usage:read", "offline_access")
	a := w.call(http.MethodPost, "/v1/oauth/requests/"+request+"/approve", "", http.Header{"Authorization": {"Bearer " + tok.AccessToken}})
	if a.Status != http.StatusForbidden {
		t.Errorf("approved with an access token: %s", a)
	}
	bearer, err := w.sessions.Begin(t.Context(), session.Start{OrgID: w.org, HolderID: p.id, Kind: session.Bearer, Means: session.Password})
	harness.Must(t, err)
	a = w.call(http.MethodPost, "/v1/oauth/requests/"+request+"/approve", "", http.Header{"Authorization": {"Bearer " + bearer.Token}})
	if a.Status != http.StatusForbidden {
		t.Errorf("approved with a bearer session: %s", a)
	}
	a = w.call(http.MethodPost, "/v1/oauth/requests/"+request+"/approve", "", http.Header{
		"Cookie": {p.cookie.Name + "=" + p.cookie.Value}, "Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"},
	})
	if a.Status != http.StatusForbidden {
		t.Errorf("approved from another site: %s", a)
	}
}

func notSignedIn(t *testing.T, w *world) {
	nobody := &person{w: w}
	link := w.client("usage:read").AuthCodeURL("s1", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()), oauth2.SetAuthURLParam("prompt", "login consent"))
	a := nobody.send(http.MethodGet, link, "")
	page, err := url.Parse(a.Header.Get("Location"))
	harness.Must(t, err)
	to := page.Query().Get("return_to")
	if a.Status != http.StatusFound || page.Path != "/sign-in" || page.Host != "" || !strings.HasPrefix(to, "/oauth/authorize?") {
		t.Fatalf("nobody is sent to %s", page)
	}
	p := w.person(authz.Developer)
	if back := p.decide(p.ask(to), "approve").Query(); back.Get("code") == "" || back.Get("state") != "s1" {
		t.Errorf("after the sign-in it goes back with %v", back)
	}
	a = nobody.send(http.MethodGet, link+"&prompt=none", "")
	if a.Status != http.StatusBadRequest { // it comes twice
		t.Errorf("two prompts: %s", a)
	}
	quiet := w.client("usage:read").AuthCodeURL("s1", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()), oauth2.SetAuthURLParam("prompt", "none"))
	for who, want := range map[*person]string{nobody: "login_required", p: "consent_required"} {
		u, err := url.Parse(who.send(http.MethodGet, quiet, "").Header.Get("Location"))
		harness.Must(t, err)
		if q := u.Query(); q.Get("error") != want || q.Get("iss") != w.BaseURL || q.Get("state") != "s1" || u.Host != "127.0.0.1:53210" {
			t.Errorf("prompt=none: %s; want %s", u, want)
		}
	}
}

func signInAnew(t *testing.T, w *world) {
	p := w.person(authz.Developer)
	for name, param := range map[string]string{"prompt": "login", "max_age": "0"} {
		link := w.client("usage:read").AuthCodeURL("s1", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()), oauth2.SetAuthURLParam(name, param))
		request := p.ask(link)
		a := p.send(http.MethodPost, "/v1/oauth/requests/"+request+"/approve", "")
		if a.Status != http.StatusForbidden || !strings.Contains(string(a.Body), `"step_up"`) {
			t.Fatalf("%s=%s, approved without a new proof: %s", name, param, a)
		}
		p.prove()
		if back := p.decide(request, "approve"); back.Query().Get("code") == "" {
			t.Errorf("%s=%s, after the proof: %s", name, param, back)
		}
	}
	link := w.client("usage:read").AuthCodeURL("s1", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()), oauth2.SetAuthURLParam("max_age", "600"))
	if back := p.decide(p.ask(link), "approve"); back.Query().Get("code") == "" {
		t.Errorf("max_age=600, proved a moment ago: %s", back)
	}
}
