package oidc_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/aiaas/aiaas/adapters/oidc"
	"github.com/aiaas/aiaas/adapters/oidc/oidctest"
	"github.com/aiaas/aiaas/shared/egress"
	"github.com/aiaas/aiaas/shared/sso"
)

var now = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

// issuers asks issuers on loopback, at a time that stands still until it is moved.
func issuers(clock *atomic.Int64) *oidc.Issuers {
	client := &http.Client{
		Timeout: 3 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return oidc.New(client, func() time.Time { return now.Add(time.Duration(clock.Load())) })
}

func client(i *oidctest.Issuer) sso.Client {
	return sso.Client{Issuer: i.URL, ID: "aiaas", Secret: "s&cret", RedirectURL: "https://ai.example/cb"}
}

var attempt = sso.Attempt{State: "st", Nonce: "no", Verifier: strings.Repeat("v", 43)}

func TestWhereABrowserIsSent(t *testing.T) {
	i := oidctest.New(t)
	i.Meta["authorization_endpoint"] = i.URL + "/authorize?tenant=1"
	a := attempt
	a.Hint, a.Anew = "ada@corp.example", true
	text, err := issuers(new(atomic.Int64)).Begin(t.Context(), client(i), a)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(text)
	if err != nil || "http://"+u.Host != i.URL || u.Path != "/authorize" {
		t.Errorf("%s, %v", text, err)
	}
	got := map[string]string{}
	for name, v := range u.Query() {
		got[name] = v[0]
	}
	challenge := got["code_challenge"]
	delete(got, "code_challenge")
	want := map[string]string{
		"tenant": "1", "client_id": "aiaas", "response_type": "code", "redirect_uri": "https://ai.example/cb", "scope": "openid email profile",
		"state": "st", "nonce": "no", "code_challenge_method": "S256", "login_hint": "ada@corp.example", "prompt": "login", "max_age": "0",
	}
	if diff := cmp.Diff(want, got); diff != "" || len(challenge) != 43 || challenge == a.Verifier {
		t.Errorf("challenge %q, %s", challenge, diff)
	}
}

func TestWhatAnIssuerSays(t *testing.T) {
	for name, c := range map[string]struct {
		token, info map[string]any
		claim       string // of groups
		want        sso.Claims
	}{
		"all in the token": {
			token: map[string]any{
				"email": "ada@corp.example", "email_verified": true, "name": "Ada", "groups": []string{"a", "b"}, "auth_time": now.Unix(),
				"amr": []string{"pwd", "otp"}, "acr": "phr",
			},
			claim: "groups",
			want: sso.Claims{
				Email: "ada@corp.example", EmailVerified: true, Name: "Ada", Groups: []string{"a", "b"}, AuthTime: now, Methods: []string{"pwd", "otp"}, Class: "phr",
			},
		},
		"one group, and words for what is true": {
			token: map[string]any{"email": "ada@corp.example", "email_verified": "true", "roles": "one", "amr": "mfa", "auth_time": "soon"},
			claim: "roles",
			want:  sso.Claims{Email: "ada@corp.example", EmailVerified: true, Groups: []string{"one"}, Methods: []string{"mfa"}},
		},
		"not verified": {
			token: map[string]any{"email": "ada@corp.example", "email_verified": "false"},
			want:  sso.Claims{Email: "ada@corp.example"},
		},
		"nothing is said of it": {token: map[string]any{"email": "ada@corp.example"}, want: sso.Claims{Email: "ada@corp.example"}},
		"asked for": {
			info:  map[string]any{"sub": "subject-1", "email": "ada@corp.example", "email_verified": true, "name": "Ada", "groups": []string{"a"}},
			claim: "groups",
			want:  sso.Claims{Email: "ada@corp.example", EmailVerified: true, Name: "Ada", Groups: []string{"a"}},
		},
		"an address of one source is not verified by another": {
			token: map[string]any{"email": "boss@corp.example"},
			info:  map[string]any{"sub": "subject-1", "email": "ada@corp.example", "email_verified": true, "groups": []string{"a"}},
			claim: "groups",
			want:  sso.Claims{Email: "boss@corp.example", Groups: []string{"a"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			i := oidctest.New(t)
			i.UserInfo = c.info
			i.Give("code", i.Sign(i.Claims("aiaas", "no", now, c.token)))
			cl := client(i)
			cl.GroupsClaim = c.claim
			got, err := issuers(new(atomic.Int64)).Redeem(t.Context(), cl, attempt, sso.Return{Code: "code"})
			c.want.Subject = "subject-1"
			if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
				t.Errorf("%v %s", err, diff)
			}
		})
	}
}

func TestTheCodeIsRedeemedByWhoBegan(t *testing.T) {
	for name, c := range map[string]struct {
		methods []string
		secret  string
		header  bool
	}{
		"nothing is said":    {nil, "s", true},
		"basic":              {[]string{"client_secret_post", "client_secret_basic"}, "s", true},
		"in the form":        {[]string{"client_secret_post"}, "s", false},
		"of a public client": {nil, "", false},
	} {
		i := oidctest.New(t)
		i.Meta["token_endpoint_auth_methods_supported"] = any(c.methods)
		if c.methods == nil {
			i.Meta["token_endpoint_auth_methods_supported"] = nil
		}
		i.Give("code", i.Sign(i.Claims("aiaas", "no", now, nil)))
		cl := client(i)
		cl.Secret = c.secret
		if _, err := issuers(new(atomic.Int64)).Redeem(t.Context(), cl, attempt, sso.Return{Code: "code"}); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		asked := i.Requests("/token")
		if len(asked) != 1 || asked[0].Form.Get("code_verifier") != attempt.Verifier || asked[0].Form.Get("redirect_uri") != cl.RedirectURL {
			t.Errorf("%s: %+v", name, asked)
			continue
		}
		if (asked[0].Authorization != "") != c.header || (asked[0].Form.Get("client_secret") != "") != (c.secret != "" && !c.header) {
			t.Errorf("%s: %+v", name, asked[0])
		}
	}
}

func TestNoTokenIsBelievedThatIsNotForThisSignIn(t *testing.T) {
	i := oidctest.New(t)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	claims := func(more map[string]any) map[string]any { return i.Claims("aiaas", "no", now, more) }
	header := func(more map[string]any) map[string]any {
		h := map[string]any{"alg": "RS256", "kid": oidctest.KeyID}
		maps.Copy(h, more)
		return h
	}
	for name, token := range map[string]string{
		"no token":                      "",
		"alg none":                      oidctest.Unsigned("none", claims(nil)),
		"alg None":                      oidctest.Unsigned("None", claims(nil)),
		"no signature":                  oidctest.Unsigned("RS256", claims(nil)),
		"HS256 by the public key":       i.SignByPublicKey(claims(nil)),
		"HS256 by the client's secret":  oidctest.SignHMAC([]byte("s&cret"), claims(nil)),
		"another key under the same id": oidctest.SignBy(other, header(nil), claims(nil)),
		"a foreign kid":                 oidctest.SignBy(other, header(map[string]any{"kid": "other"}), claims(nil)),
		"a path for a kid":              oidctest.SignBy(other, header(map[string]any{"kid": "../../dev/null"}), claims(nil)),
		"a key that it brings itself":   oidctest.SignBy(other, header(map[string]any{"jwk": oidctest.JWK(&other.PublicKey)}), claims(nil)),
		"a key elsewhere":               oidctest.SignBy(other, header(map[string]any{"jku": "http://127.0.0.1:1/keys"}), claims(nil)),
		"something critical":            oidctest.SignBy(i.Key, header(map[string]any{"crit": []string{"exp"}, "exp": 1}), claims(nil)),
		"expired":                       i.Sign(claims(map[string]any{"exp": now.Add(-time.Minute).Unix()})),
		"no end":                        i.Sign(claims(map[string]any{"exp": nil})),
		"of the future":                 i.Sign(claims(map[string]any{"iat": now.Add(2 * time.Minute).Unix()})),
		"not yet":                       i.Sign(claims(map[string]any{"nbf": now.Add(2 * time.Minute).Unix()})),
		"another audience":              i.Sign(claims(map[string]any{"aud": "other"})),
		"no audience":                   i.Sign(claims(map[string]any{"aud": nil})),
		"two audiences and no party":    i.Sign(claims(map[string]any{"aud": []string{"aiaas", "other"}})),
		"another party":                 i.Sign(claims(map[string]any{"azp": "other"})),
		"another issuer":                i.Sign(claims(map[string]any{"iss": "https://other.example"})),
		"the issuer with a slash":       i.Sign(claims(map[string]any{"iss": i.URL + "/"})),
		"another nonce":                 i.Sign(claims(map[string]any{"nonce": "other"})),
		"no nonce":                      i.Sign(claims(map[string]any{"nonce": nil})),
		"nobody":                        i.Sign(claims(map[string]any{"sub": nil})),
		"a subject that is too long":    i.Sign(claims(map[string]any{"sub": strings.Repeat("x", 256)})),
		"a subject that breaks lines":   i.Sign(claims(map[string]any{"sub": "a\nb"})),
		"another access token":          i.Sign(claims(map[string]any{"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"})),
		"groups that are none":          i.Sign(claims(map[string]any{"groups": map[string]any{"a": 1}})),
		"no JWT":                        "a.b.c",
	} {
		i.Give("code", token)
		cl := client(i)
		cl.GroupsClaim = "groups"
		got, err := issuers(new(atomic.Int64)).Redeem(t.Context(), cl, attempt, sso.Return{Code: "code"})
		trouble, ok := errors.AsType[*sso.IssuerError](err)
		if !ok || (trouble.Trouble != sso.Untrusted && trouble.Trouble != sso.Impersonal) || got.Subject != "" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	i.Give("code", i.Sign(claims(map[string]any{"aud": []string{"aiaas", "other"}, "azp": "aiaas", "exp": now.Add(-30 * time.Second).Unix()})))
	if _, err := issuers(new(atomic.Int64)).Redeem(t.Context(), client(i), attempt, sso.Return{Code: "code"}); err != nil {
		t.Errorf("an honest token, by a clock that is a little late: %v", err)
	}
}

func TestASignInThatIsMixedUp(t *testing.T) {
	for name, c := range map[string]struct {
		names bool // the issuer says that it names itself
		iss   string
		ok    bool
	}{
		"another issuer": {false, "https://other.example", false},
		"says nothing":   {false, "", true},
		"leaves it out":  {true, "", false},
		"names itself":   {true, "itself", true},
	} {
		i := oidctest.New(t)
		i.Meta["authorization_response_iss_parameter_supported"] = c.names
		i.Give("code", i.Sign(i.Claims("aiaas", "no", now, nil)))
		if c.iss == "itself" {
			c.iss = i.URL
		}
		_, err := issuers(new(atomic.Int64)).Redeem(t.Context(), client(i), attempt, sso.Return{Code: "code", Issuer: c.iss})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if !c.ok && len(i.Requests("/token")) != 0 {
			t.Errorf("%s: the code was sent", name)
		}
	}
}

func TestTheIssuerSpeaksOfTheSamePerson(t *testing.T) {
	i := oidctest.New(t)
	i.UserInfo = map[string]any{"sub": "subject-2", "email": "boss@corp.example", "email_verified": true}
	i.Give("code", i.Sign(i.Claims("aiaas", "no", now, nil)))
	got, err := issuers(new(atomic.Int64)).Redeem(t.Context(), client(i), attempt, sso.Return{Code: "code"})
	if trouble, ok := errors.AsType[*sso.IssuerError](err); !ok || trouble.Trouble != sso.Untrusted {
		t.Errorf("%+v, %v", got, err)
	}
}

// What an issuer publishes is of no use, or leads where nobody should go.
func TestIssuersThatCanNotBeUsed(t *testing.T) {
	for name, c := range map[string]struct {
		meta    map[string]any
		trouble sso.Trouble
	}{
		"another name":                {map[string]any{"issuer": "https://other.example"}, sso.Misdescribed},
		"no token endpoint":           {map[string]any{"token_endpoint": nil}, sso.Misdescribed},
		"no keys":                     {map[string]any{"jwks_uri": nil}, sso.Misdescribed},
		"a script to send people to":  {map[string]any{"authorization_endpoint": "javascript:alert(1)//x"}, sso.Misdescribed},
		"a file of keys":              {map[string]any{"jwks_uri": "file:///etc/passwd"}, sso.Misdescribed},
		"a user in the address":       {map[string]any{"token_endpoint": "http://a:b@127.0.0.1/"}, sso.Misdescribed},
		"symmetric signatures only":   {map[string]any{"id_token_signing_alg_values_supported": []string{"HS256", "none"}}, sso.Misdescribed},
		"userinfo of another kind":    {map[string]any{"userinfo_endpoint": "gopher://x/"}, sso.Misdescribed},
		"not JSON of the right shape": {map[string]any{"token_endpoint": 5}, sso.Misdescribed},
	} {
		i := oidctest.New(t)
		maps.Copy(i.Meta, c.meta)
		err := issuers(new(atomic.Int64)).Check(t.Context(), i.URL)
		if trouble, ok := errors.AsType[*sso.IssuerError](err); !ok || trouble.Trouble != c.trouble {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnswersAreBounded(t *testing.T) {
	i := oidctest.New(t)
	for _, path := range []string{"/.well-known/openid-configuration", "/token", "/keys"} {
		sent := 0
		i.Handle = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != path {
				return false
			}
			_, _ = w.Write([]byte(`{"a":"`))
			for range 64 {
				n, err := w.Write([]byte(strings.Repeat("x", 64<<10)))
				if sent += n; err != nil {
					break
				}
			}
			return true
		}
		i.Give("code", i.Sign(i.Claims("aiaas", "no", now, nil)))
		_, err := issuers(new(atomic.Int64)).Redeem(t.Context(), client(i), attempt, sso.Return{Code: "code"})
		if _, ok := errors.AsType[*sso.IssuerError](err); !ok {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	secret := oidctest.New(t)
	i := oidctest.New(t)
	i.Handle = func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, secret.URL+r.URL.Path, http.StatusTemporaryRedirect)
		return true
	}
	if err := issuers(new(atomic.Int64)).Check(t.Context(), i.URL); err == nil {
		t.Error("the issuer can be used")
	}
	if n := len(secret.Requests("/.well-known/openid-configuration")); n != 0 {
		t.Errorf("followed %d times", n)
	}
}

type refusing struct{}

func (refusing) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, egress.Rules{}.Check(netip.MustParseAddr("10.0.0.7"))
}

// The client may not connect to the address: what is told of it has nothing of the
// network.
func TestAnAddressThatMayNotBeConnectedTo(t *testing.T) {
	s := oidc.New(&http.Client{Transport: refusing{}}, func() time.Time { return now })
	err := s.Check(t.Context(), "https://login.example")
	if trouble, ok := errors.AsType[*sso.IssuerError](err); !ok || trouble.Trouble != sso.Unreachable || strings.Contains(trouble.Text, "10.0.0.7") || !errors.Is(err, egress.ErrRefused) {
		t.Errorf("%v", err)
	}
}

// What an issuer publishes is kept for a while, and keys that are new are looked for.
func TestWhatIsPublishedIsKept(t *testing.T) {
	i, clock := oidctest.New(t), new(atomic.Int64)
	s := issuers(clock)
	redeem := func() error {
		i.Give("code", i.Sign(i.Claims("aiaas", "no", now.Add(time.Duration(clock.Load())), nil)))
		_, err := s.Redeem(t.Context(), client(i), attempt, sso.Return{Code: "code"})
		return err
	}
	for range 3 {
		if err := redeem(); err != nil {
			t.Fatal(err)
		}
	}
	if d, k := len(i.Requests("/.well-known/openid-configuration")), len(i.Requests("/keys")); d != 1 || k != 1 {
		t.Errorf("%d descriptions and %d sets of keys were read for three sign-ins; want one each", d, k)
	}
	fresh, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i.Key = fresh
	if err := redeem(); err != nil {
		t.Errorf("by a new key: %v", err)
	}
	clock.Store(int64(time.Hour))
	if err := redeem(); err != nil {
		t.Fatal(err)
	}
	if d := len(i.Requests("/.well-known/openid-configuration")); d != 2 {
		t.Errorf("%d descriptions were read; after an hour there is a second", d)
	}
}

// An issuer that is down is not asked again at once, whoever tries.
func TestAnIssuerThatIsDownIsLeftAlone(t *testing.T) {
	i, clock := oidctest.New(t), new(atomic.Int64)
	i.Handle = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true }
	s := issuers(clock)
	for range 5 {
		if _, err := s.Begin(t.Context(), client(i), attempt); err == nil {
			t.Fatal("it can be used")
		}
	}
	if d := len(i.Requests("/.well-known/openid-configuration")); d != 1 {
		t.Errorf("asked %d times", d)
	}
	i.Handle = nil
	clock.Store(int64(11 * time.Second))
	if _, err := s.Begin(t.Context(), client(i), attempt); err != nil {
		t.Errorf("once it is back: %v", err)
	}
}

// Whoever checks an issuer that others sign in by neither wears it out nor breaks it
// for them.
func TestCheckingHarmsNobody(t *testing.T) {
	i, clock := oidctest.New(t), new(atomic.Int64)
	s := issuers(clock)
	for range 5 {
		if err := s.Check(t.Context(), i.URL); err != nil {
			t.Fatal(err)
		}
	}
	if d := len(i.Requests("/.well-known/openid-configuration")); d != 1 {
		t.Errorf("asked %d times", d)
	}
	clock.Store(int64(11 * time.Second))
	i.Handle = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true }
	if err := s.Check(t.Context(), i.URL); err == nil {
		t.Error("it is down, and can be used")
	}
	if _, err := s.Begin(t.Context(), client(i), attempt); err != nil {
		t.Errorf("others: %v", err)
	}
	clock.Store(int64(2 * time.Hour))
	if _, err := s.Begin(t.Context(), client(i), attempt); err == nil {
		t.Error("it has been down for two hours, and can be used")
	}
}

// What an issuer answers is not written down at length.
func TestAnErrorIsShort(t *testing.T) {
	i, clock := oidctest.New(t), new(atomic.Int64)
	i.Handle = func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write(bytes.Repeat([]byte("a\n\x1b\u0085\xff"), 50<<10))
		return true
	}
	err := issuers(clock).Check(t.Context(), i.URL)
	if err == nil || len(err.Error()) > 400 || strings.ContainsFunc(err.Error(), unicode.IsControl) || !utf8.ValidString(err.Error()) {
		t.Errorf("%d bytes: %.500q", len(fmt.Sprint(err)), err)
	}
}
