package oauth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/aiaas/aiaas/adapters/jwt"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/adapters/secrets"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/oauth"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/tests/harness"
)

func TestTheAttacks(t *testing.T) {
	w := newWorld(t)
	for name, f := range map[string]func(*testing.T, *world){
		"forged tokens": forgedTokens, "sessions that are over": endedSessions, "PKCE": pkce, "redirect addresses": redirects, "authorize": badQuestions,
		"the token endpoint": badTokenRequests,
	} {
		t.Run(name, func(t *testing.T) { f(t, w.under(t)) })
	}
}

// forge writes a token by hand.
type forge struct {
	header, claims map[string]any
	sign           func(input string) []byte
}

func (f forge) String() string {
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	input := part(f.header) + "." + part(f.claims)
	return input + "." + base64.RawURLEncoding.EncodeToString(f.sign(input))
}

func es256(t *testing.T, key *ecdsa.PrivateKey) func(string) []byte {
	return func(input string) []byte {
		sum := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		harness.Must(t, err)
		out := make([]byte, 64)
		r.FillBytes(out[:32])
		s.FillBytes(out[32:])
		return out
	}
}

func hs256(key []byte) func(string) []byte {
	return func(input string) []byte {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(input))
		return m.Sum(nil)
	}
}

// ourKey is the platform's own signing key, which no attacker has: with it a test can
// show that one claim alone makes the difference.
func (w *world) ourKey() (string, *ecdsa.PrivateKey) {
	w.t.Helper()
	raw, err := secrets.DecodeKey(secretKey)
	harness.Must(w.t, err)
	box, err := secrets.New(raw, func(string) string { return "" })
	harness.Must(w.t, err)
	db, err := postgres.Open(w.t.Context(), w.url, postgres.RoleIdentity, 2)
	harness.Must(w.t, err)
	defer db.Close()
	kid, key, err := oauth.NewKeyring(postgres.NewOAuthKeys(db), box, time.Now).Signing(w.t.Context())
	harness.Must(w.t, err)
	return kid, key
}

func forgedTokens(t *testing.T, w *world) {
	p := w.person(authz.Developer)
	tok := p.login("usage:read", "offline_access")
	good := strings.Split(tok.AccessToken, ".")
	header, claims := map[string]any{}, map[string]any{}
	for i, into := range []*map[string]any{&header, &claims} {
		raw, err := base64.RawURLEncoding.DecodeString(good[i])
		harness.Must(t, err)
		harness.Must(t, json.Unmarshal(raw, into))
	}
	kid, ours := w.ourKey()
	if header["alg"] != "ES256" || header["typ"] != "at+jwt" || header["kid"] != kid || claims["aud"] == nil || claims["jti"] == nil || claims["sub"] != p.id || claims["client_id"] != "aiaas-cli" {
		t.Fatalf("the token has %v and says %v", header, claims)
	}
	theirs, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	harness.Must(t, err)
	der, err := x509.MarshalPKIXPublicKey(&ours.PublicKey)
	harness.Must(t, err)
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	jwks := w.call(http.MethodGet, "/oauth/jwks", "", nil).Body

	h := func(changes map[string]any) map[string]any { return with(header, changes) }
	c := func(changes map[string]any) map[string]any { return with(claims, changes) }
	own, foreign := es256(t, ours), es256(t, theirs)
	now := time.Now().Unix()
	none := func(string) []byte { return nil }
	for name, f := range map[string]forge{
		"as it is":                     {header, claims, own},
		"alg none":                     {h(map[string]any{"alg": "none"}), claims, none},
		"alg None":                     {h(map[string]any{"alg": "None"}), claims, none},
		"no alg":                       {h(map[string]any{"alg": nil}), claims, own},
		"no signature":                 {header, claims, none},
		"HS256 with the public key":    {h(map[string]any{"alg": "HS256"}), claims, hs256(public)},
		"HS256 with the DER":           {h(map[string]any{"alg": "HS256"}), claims, hs256(der)},
		"HS256 with the key set":       {h(map[string]any{"alg": "HS256"}), claims, hs256(jwks)},
		"HS256 with nothing":           {h(map[string]any{"alg": "HS256"}), claims, hs256(nil)},
		"ES384 said":                   {h(map[string]any{"alg": "ES384"}), claims, own},
		"RS256 said":                   {h(map[string]any{"alg": "RS256"}), claims, own},
		"signed by a foreign key":      {header, claims, foreign},
		"foreign kid":                  {h(map[string]any{"kid": "other"}), claims, foreign},
		"foreign kid, own key":         {h(map[string]any{"kid": "other"}), claims, own},
		"no kid":                       {h(map[string]any{"kid": nil}), claims, own},
		"a path as kid":                {h(map[string]any{"kid": "../../../../dev/null"}), claims, hs256(nil)},
		"SQL as kid":                   {h(map[string]any{"kid": "x' UNION SELECT 'key"}), claims, foreign},
		"NUL in kid":                   {h(map[string]any{"kid": kid + "\x00"}), claims, own},
		"its own key in jwk":           {h(map[string]any{"jwk": jose.JSONWebKey{Key: &theirs.PublicKey, KeyID: kid, Algorithm: "ES256"}}), claims, foreign},
		"only its own key in jwk":      {h(map[string]any{"kid": nil, "jwk": jose.JSONWebKey{Key: &theirs.PublicKey, KeyID: kid, Algorithm: "ES256"}}), claims, foreign},
		"jku":                          {h(map[string]any{"jku": w.second + "/evil.json"}), claims, foreign},
		"x5u":                          {h(map[string]any{"x5u": w.second + "/evil.pem"}), claims, foreign},
		"an extension it must know":    {h(map[string]any{"crit": []string{"exp"}, "exp": now}), claims, own},
		"unencoded payload":            {h(map[string]any{"crit": []string{"b64"}, "b64": false}), claims, own},
		"expired":                      {header, c(map[string]any{"exp": now - 1}), own},
		"without an end":               {header, c(map[string]any{"exp": nil}), own},
		"issued in the future":         {header, c(map[string]any{"iat": now + 3600}), own},
		"not yet good":                 {header, c(map[string]any{"nbf": now + 3600}), own},
		"for another audience":         {header, c(map[string]any{"aud": "https://other.example"}), own},
		"for another audience besides": {header, c(map[string]any{"aud": []string{w.BaseURL, "https://other.example"}}), own},
		"for the client":               {header, c(map[string]any{"aud": "aiaas-cli"}), own},
		"without an audience":          {header, c(map[string]any{"aud": nil}), own},
		"of another issuer":            {header, c(map[string]any{"iss": "https://other.example"}), own},
		"of the issuer and a slash":    {header, c(map[string]any{"iss": w.BaseURL + "/"}), own},
		"without an issuer":            {header, c(map[string]any{"iss": nil}), own},
		"typ JWT":                      {h(map[string]any{"typ": "JWT"}), claims, own},
		"no typ":                       {h(map[string]any{"typ": nil}), claims, own},
		"of no session":                {header, c(map[string]any{"sid": nil}), own},
		"of a session that is none":    {header, c(map[string]any{"sid": id.New(id.Session)}), own},
		"of a browser's session":       {header, c(map[string]any{"sid": p.session.ID}), own},
		"sid as a list":                {header, c(map[string]any{"sid": []string{text(claims["sid"])}}), own},
	} {
		want := http.StatusUnauthorized
		if name == "as it is" { // the forge itself is good
			want = http.StatusOK
		}
		if got := w.works(f.String()); got != want {
			t.Errorf("%s: %d; want %d", name, got, want)
		}
	}
	for name, text := range map[string]string{
		"a changed claim":   good[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sid":"x"}`)) + "." + good[2],
		"a changed end":     tok.AccessToken[:len(tok.AccessToken)-6] + "AAAAAA",
		"cut":               good[0] + "." + good[1] + ".",
		"four parts":        tok.AccessToken + ".x",
		"three empty parts": "..",
		"too long":          good[0] + "." + good[1] + "." + good[2] + strings.Repeat("A", 5000),
		"the refresh token": tok.RefreshToken,
	} {
		if got := w.works(text); got != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, got)
		}
	}
	// What a token says it may do counts for no more than its session.
	wide := forge{header, c(map[string]any{"scope": "usage:read keys:read keys:write platform"}), own}.String()
	if a := w.call(http.MethodGet, "/v1/api-keys", "", http.Header{"Authorization": {"Bearer " + wide}}); a.Status != http.StatusForbidden {
		t.Errorf("a widened token: %s", a)
	}
}

func with(base, changes map[string]any) map[string]any {
	out := maps.Clone(base)
	for name, v := range changes {
		out[name] = v
		if v == nil {
			delete(out, name)
		}
	}
	return out
}

func endedSessions(t *testing.T, w *world) {
	p := w.person(authz.Developer)
	tok := p.login("usage:read", "offline_access")
	claims, err := jwt.New(keysOf(w), w.BaseURL, time.Now).Verify(t.Context(), tok.AccessToken)
	harness.Must(t, err)
	if a := p.send(http.MethodDelete, "/v1/sessions/"+claims.SessionID, ""); a.Status != http.StatusNoContent && a.Status != http.StatusNotFound {
		t.Errorf("end the grant's session: %s", a)
	} else if a.Status == http.StatusNotFound { // the route is another function's; the rule is the same
		harness.Must(t, w.sessions.End(t.Context(), w.org, claims.SessionID, "test"))
	}
	w.dies("the token of a session that its person ended", tok.AccessToken)
	if a := tokens(w.form("/oauth/token", refreshing(tok.RefreshToken))); a.Error != "invalid_grant" {
		t.Errorf("refreshed: %+v", a)
	}

	owner, member := w.person(authz.Owner), w.person(authz.Developer)
	tok = member.login("usage:read", "offline_access")
	code, verifier := member.code("usage:read")
	if a := owner.send(http.MethodPost, "/v1/members/"+member.id+"/suspend", `{"reason":"left"}`); a.Status != http.StatusOK {
		t.Fatalf("suspend: %s", a)
	}
	w.dies("the token of a suspended member", tok.AccessToken)
	if a := tokens(w.form("/oauth/token", refreshing(tok.RefreshToken))); a.Error != "invalid_grant" {
		t.Errorf("a suspended member refreshes: %+v", a)
	}
	if a := tokens(w.form("/oauth/token", redeem(code, verifier))); a.Error != "invalid_grant" {
		t.Errorf("a suspended member's code: %+v", a)
	}

	// A role that is taken away is taken from the tokens too.
	admin := w.person(authz.Admin)
	tok = admin.login("members:read", "offline_access")
	w.Database().Exec(t, `UPDATE accounts.members SET role = 'developer' WHERE user_id = $1`, admin.id)
	harness.Eventually(t, "the role is the new one", func() (bool, string) {
		a := w.call(http.MethodGet, "/v1/members", "", http.Header{"Authorization": {"Bearer " + tok.AccessToken}})
		return a.Status == http.StatusForbidden, a.String()
	})
}

// keysOf are the platform's keys, to read tokens with.
func keysOf(w *world) *oauth.Keyring {
	db, err := postgres.Open(w.t.Context(), w.url, postgres.RoleGateway, 2)
	harness.Must(w.t, err)
	w.t.Cleanup(db.Close)
	return oauth.NewKeyring(postgres.NewOAuthPublicKeys(db), nil, time.Now)
}

func pkce(t *testing.T, w *world) {
	p := w.person(authz.Developer)
	verifier := oauth2.GenerateVerifier()
	c := w.client("usage:read")
	for name, opts := range map[string][]oauth2.AuthCodeOption{
		"none at all":   nil,
		"plain":         {oauth2.SetAuthURLParam("code_challenge", verifier), oauth2.SetAuthURLParam("code_challenge_method", "plain")},
		"no method":     {oauth2.SetAuthURLParam("code_challenge", verifier)},
		"another":       {oauth2.SetAuthURLParam("code_challenge", verifier), oauth2.SetAuthURLParam("code_challenge_method", "S512")},
		"no challenge":  {oauth2.SetAuthURLParam("code_challenge_method", "S256")},
		"a short one":   {oauth2.SetAuthURLParam("code_challenge", "abc"), oauth2.SetAuthURLParam("code_challenge_method", "S256")},
		"not base64url": {oauth2.SetAuthURLParam("code_challenge", strings.Repeat("+", 43)), oauth2.SetAuthURLParam("code_challenge_method", "S256")},
	} {
		u, err := url.Parse(p.send(http.MethodGet, c.AuthCodeURL("s", opts...), "").Header.Get("Location"))
		harness.Must(t, err)
		if q := u.Query(); q.Get("error") != "invalid_request" || q.Get("state") != "s" || q.Get("iss") != w.BaseURL || u.Host != "127.0.0.1:53210" {
			t.Errorf("%s: %s", name, u)
		}
	}
	for name, wrong := range map[string]string{"none": "", "another": oauth2.GenerateVerifier(), "the challenge": oauth2.S256ChallengeFromVerifier(verifier), "short": "abc"} {
		link := c.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier))
		code := p.decide(p.ask(link), "approve").Query().Get("code")
		if a := w.form("/oauth/token", redeem(code, wrong)); a.Status != http.StatusBadRequest || tokens(a).Error != "invalid_grant" {
			t.Errorf("verifier: %s: %s", name, a)
		}
		if a := tokens(w.form("/oauth/token", redeem(code, verifier))); a.Error != "invalid_grant" { // one try
			t.Errorf("verifier: %s, then the right one: %+v", name, a)
		}
	}
}

func redirects(t *testing.T, w *world) {
	p := w.person(authz.Developer)
	link := func(redirect string) string {
		c := w.client("usage:read")
		c.RedirectURL = redirect
		return c.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()))
	}
	for _, good := range []string{"http://127.0.0.1/callback", "http://127.0.0.1:1/callback", "http://127.0.0.1:65535/callback"} {
		if u := p.decide(p.ask(link(good)), "approve"); !strings.HasPrefix(u.String(), good+"?") {
			t.Errorf("%s: %s", good, u)
		}
	}
	for _, bad := range []string{
		"", "/", "https://evil.example/callback", "http://evil.example/callback", "http://127.0.0.1.evil.example/callback", "http://127.0.0.1:80@evil.example/callback",
		"http://evil.example\\@127.0.0.1/callback", "http://127.0.0.1:0/callback", "http://127.0.0.1:65536/callback", "http://127.0.0.1:080/callback", "http://127.0.0.1:/callback",
		"http://127.0.0.1:x/callback", "http://127.0.0.1:8080/callback/", "http://127.0.0.1:8080/callback/../evil", "http://127.0.0.1:8080/Callback", "http://127.0.0.1:8080//callback",
		"http://127.0.0.1:8080/callback?next=https://evil.example", "http://127.0.0.1:8080/callback#x", "http://u@127.0.0.1:8080/callback", "HTTP://127.0.0.1:8080/callback",
		"https://127.0.0.1:8080/callback", "http://localhost:8080/callback", "http://[::1]:8080/callback", "http://127.1:8080/callback", "http://2130706433:8080/callback",
		"http://0x7f.1:8080/callback", "http://127.0.0.2:8080/callback", "http://127.0.0.1:8080/callback%0d%0aLocation:%20https://evil.example", "javascript:alert(1)//127.0.0.1/callback",
		"http://127.0.0.1:8080/call%62ack", " http://127.0.0.1:8080/callback", "http://127.0.0.1:8080/callback ", "aiaas://callback",
	} {
		a := p.send(http.MethodGet, link(bad), "")
		if a.Status != http.StatusBadRequest || a.Header.Get("Location") != "" {
			t.Errorf("%q: %d, on to %q", bad, a.Status, a.Header.Get("Location"))
		}
	}
	// A code is redeemed with the address that it was asked for with.
	code, verifier := p.code("usage:read")
	other := redeem(code, verifier)
	other.Set("redirect_uri", "http://127.0.0.1:53211/callback")
	if a := tokens(w.form("/oauth/token", other)); a.Error != "invalid_grant" {
		t.Errorf("another port: %+v", a)
	}
}

func badQuestions(t *testing.T, w *world) {
	p := w.person(authz.Developer)
	good := func(opts ...oauth2.AuthCodeOption) string {
		return w.client("usage:read").AuthCodeURL("s", append(opts, oauth2.S256ChallengeOption(oauth2.GenerateVerifier()))...)
	}
	set := oauth2.SetAuthURLParam
	for name, c := range map[string]struct{ link, want string }{
		"implicit":         {good(set("response_type", "token")), "unsupported_response_type"},
		"an identity only": {good(set("response_type", "id_token")), "unsupported_response_type"},
		"hybrid":           {good(set("response_type", "code id_token")), "unsupported_response_type"},
		"no type":          {good(set("response_type", "")), "unsupported_response_type"},
		"a fragment":       {good(set("response_mode", "fragment")), "invalid_request"},
		"a form":           {good(set("response_mode", "form_post")), "invalid_request"},
		"a request object": {good(set("request", "e30.e30.")), "request_not_supported"},
		"unknown scope":    {good(set("scope", "usage:read everything")), "invalid_scope"},
		"the any scope":    {good(set("scope", "any")), "invalid_scope"},
		"none and login":   {good(set("prompt", "none login")), "invalid_request"},
		"a huge state":     {good(set("state", strings.Repeat("x", 1001))), "invalid_request"},
	} {
		u, err := url.Parse(p.send(http.MethodGet, c.link, "").Header.Get("Location"))
		harness.Must(t, err)
		if q := u.Query(); u.Host != "127.0.0.1:53210" || u.Fragment != "" || q.Get("error") != c.want || q.Get("iss") != w.BaseURL {
			t.Errorf("%s: %s; want %s", name, u, c.want)
		}
	}
	for name, link := range map[string]string{
		"unknown client": good(set("client_id", "evil")), "a service account": good(set("client_id", id.New(id.ServiceAccount))),
		"two clients": good() + "&client_id=evil", "two addresses": good() + "&redirect_uri=https://evil.example", "max_age is no number": good(set("max_age", "-1")),
		"no parameters": w.BaseURL + "/oauth/authorize", "not UTF-8": good() + "&login_hint=%ff",
	} {
		if a := p.send(http.MethodGet, link, ""); a.Status != http.StatusBadRequest || a.Header.Get("Location") != "" {
			t.Errorf("%s: %d, on to %q", name, a.Status, a.Header.Get("Location"))
		}
	}
	// An SSO session lets in no more than itself: the grant has its means.
	p.signIn(session.Start{Means: session.SSO, Connection: "sso_1"})
	tok := p.login("usage:read", "offline_access")
	if w.works(tok.AccessToken) != http.StatusOK {
		t.Fatal("the grant of an SSO session does not work")
	}
	if n := w.Database().Int(t, `SELECT count(*) FROM accounts.sessions WHERE holder_id = $1 AND kind = 'oauth' AND means = 'sso' AND connection = 'sso_1' AND NOT mfa`, p.id); n != 1 {
		t.Errorf("%d grants inherit means, connection and the missing second factor", n)
	}
}

func badTokenRequests(t *testing.T, w *world) {
	p := w.person(authz.Developer)
	code, verifier := p.code("usage:read")
	for name, c := range map[string]struct {
		params url.Values
		want   string
	}{
		"no grant":            {url.Values{"client_id": {"aiaas-cli"}}, "invalid_request"},
		"password":            {url.Values{"grant_type": {"password"}, "client_id": {"aiaas-cli"}, "username": {"a"}, "password": {"b"}}, "unsupported_grant_type"},
		"token exchange":      {url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "client_id": {"aiaas-cli"}}, "unauthorized_client"},
		"JWT bearer":          {url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {"x"}}, "unsupported_grant_type"},
		"implicit":            {url.Values{"grant_type": {"implicit"}, "client_id": {"aiaas-cli"}}, "unsupported_grant_type"},
		"secret of a public":  {mergeParams(redeem("x", verifier), "client_secret", "x"), "invalid_client"},
		"an assertion":        {mergeParams(redeem("x", verifier), "client_assertion", "x", "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"), "invalid_client"},
		"unknown client":      {mergeParams(redeem("x", verifier), "client_id", "evil"), "invalid_client"},
		"no client":           {url.Values{"grant_type": {"authorization_code"}, "code": {"x"}}, "invalid_request"},
		"an invented code":    {redeem("aiaas_code_x", verifier), "invalid_grant"},
		"no code":             {redeem("", verifier), "invalid_request"},
		"invented refresh":    {refreshing("aiaas_refresh_x"), "invalid_grant"},
		"the code to refresh": {refreshing(code), "invalid_grant"},
		"client credentials":  {url.Values{"grant_type": {"client_credentials"}, "client_id": {"aiaas-cli"}}, "unauthorized_client"},
		"a code twice":        {url.Values{"grant_type": {"authorization_code"}, "client_id": {"aiaas-cli"}, "code": {code, code}}, "invalid_request"},
		"NUL":                 {redeem("a\x00", verifier), "invalid_request"},
	} {
		a := w.form("/oauth/token", c.params)
		if got := tokens(a); got.Error != c.want || got.Access != "" || a.Status < 400 || a.Status > 401 || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s; want %s", name, a, c.want)
		}
	}
	if a := w.call(http.MethodPost, "/oauth/token?"+redeem(code, verifier).Encode(), "", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}); a.Status != http.StatusBadRequest {
		t.Errorf("in the address: %s", a)
	}
	body, _ := json.Marshal(map[string]string{"grant_type": "authorization_code", "client_id": "aiaas-cli", "code": code})
	if a := w.call(http.MethodPost, "/oauth/token", string(body), nil); a.Status != http.StatusUnsupportedMediaType {
		t.Errorf("as JSON: %s", a)
	}
	if a := w.call(http.MethodGet, "/oauth/token", "", nil); a.Status != http.StatusMethodNotAllowed {
		t.Errorf("by GET: %s", a)
	}
	if a := w.form("/oauth/token", mergeParams(redeem(code, verifier), "code", strings.Repeat("x", 70_000))); a.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("a huge one: %s", a)
	}
	if a := tokens(w.form("/oauth/token", redeem(code, verifier))); a.Access == "" || a.Refresh != "" || a.ID != "" || a.ExpiresIn < 1 || a.ExpiresIn > 600 {
		t.Errorf("after all of that the code itself: %+v", a)
	}
	if out := w.Stderr(); strings.Contains(out, code) || strings.Contains(out, "aiaas_code_") || strings.Contains(out, "registered route") {
		t.Errorf("the log has a code, or lines of the library: %s", out)
	}
}

// headerOf is the header of a token.
func headerOf(t *testing.T, text string) (h map[string]any) {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[0])
	harness.Must(t, err)
	harness.Must(t, json.Unmarshal(raw, &h))
	return h
}

// claimsOf is what a token says, believed.
func claimsOf(t *testing.T, text string) (c map[string]any) {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[1])
	harness.Must(t, err)
	harness.Must(t, json.Unmarshal(raw, &c))
	return c
}
