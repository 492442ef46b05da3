// Package oidctest is an issuer of OpenID Connect that tests make say what no honest
// issuer would.
package oidctest

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"
)

// KeyID names the issuer's key.
const KeyID = "key-1"

// Issuer is an issuer on loopback. Its members may be set before it is asked.
type Issuer struct {
	URL  string
	Key  *rsa.PrivateKey
	Meta map[string]any // in the place of what it would publish; a nil value leaves a member out
	// UserInfo is what it says of whoever asks with a token; nil: it has no such endpoint.
	UserInfo map[string]any
	// Handle answers a path in the place of the issuer; it returns false to let it.
	Handle func(w http.ResponseWriter, r *http.Request) bool

	mu     sync.Mutex
	tokens map[string]string // ID tokens, by code
	Asked  []Asked
}

// Asked is a request that the issuer got.
type Asked struct {
	Path          string
	Form          url.Values // of the token endpoint
	Authorization string
}

// New starts an issuer.
func New(tb testing.TB) *Issuer {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		tb.Fatal(err)
	}
	i := &Issuer{Key: key, Meta: map[string]any{}, tokens: map[string]string{}}
	server := httptest.NewServer(i)
	tb.Cleanup(server.Close)
	i.URL = server.URL
	return i
}

// Give makes the token endpoint take a code, and give an ID token for it.
func (i *Issuer) Give(code, idToken string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tokens[code] = idToken
}

// Requests are those that a path got.
func (i *Issuer) Requests(path string) (list []Asked) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, a := range i.Asked {
		if a.Path == path {
			list = append(list, a)
		}
	}
	return list
}

// ServeHTTP implements [http.Handler].
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	i.mu.Lock()
	i.Asked = append(i.Asked, Asked{Path: r.URL.Path, Form: r.PostForm, Authorization: r.Header.Get("Authorization")})
	i.mu.Unlock()
	if i.Handle != nil && i.Handle(w, r) {
		return
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		answer(w, i.meta())
	case "/keys":
		answer(w, map[string]any{"keys": []any{JWK(&i.Key.PublicKey)}})
	case "/token":
		i.token(w, r)
	case "/userinfo":
		answer(w, i.UserInfo)
	default:
		http.NotFound(w, r)
	}
}

func (i *Issuer) meta() map[string]any {
	m := map[string]any{
		"issuer": i.URL, "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token", "jwks_uri": i.URL + "/keys",
		"id_token_signing_alg_values_supported": []string{"RS256"}, "response_types_supported": []string{"code"},
	}
	if i.UserInfo != nil {
		m["userinfo_endpoint"] = i.URL + "/userinfo"
	}
	maps.Copy(m, i.Meta)
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
	return m
}

func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	token, ok := i.tokens[r.PostForm.Get("code")]
	delete(i.tokens, r.PostForm.Get("code"))
	i.mu.Unlock()
	if !ok {
		w.WriteHeader(http.StatusBadRequest)
		answer(w, map[string]any{"error": "invalid_grant", "error_description": "<script>no such code</script>"})
		return
	}
	out := map[string]any{"access_token": "at", "token_type": "Bearer", "expires_in": 60}
	if token != "" {
		out["id_token"] = token
	}
	w.Header().Set("Content-Type", "application/json")
	answer(w, out)
}

func answer(w http.ResponseWriter, v any) {
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	_ = json.NewEncoder(w).Encode(v)
}

// JWK is a public key as issuers publish it.
func JWK(key *rsa.PublicKey) map[string]any {
	return map[string]any{
		"kty": "RSA", "use": "sig", "kid": KeyID, "alg": "RS256",
		"n": encode(key.N.Bytes()), "e": encode(big.NewInt(int64(key.E)).Bytes()),
	}
}

// Claims are those of an honest ID token for a client, with what is given besides or
// instead; a nil value leaves a claim out.
func (i *Issuer) Claims(clientID, nonce string, now time.Time, more map[string]any) map[string]any {
	c := map[string]any{
		"iss": i.URL, "sub": "subject-1", "aud": clientID, "nonce": nonce, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	}
	maps.Copy(c, more)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// Sign makes a token that the issuer's key has signed.
func (i *Issuer) Sign(claims map[string]any) string {
	return SignBy(i.Key, map[string]any{"alg": "RS256", "kid": KeyID, "typ": "JWT"}, claims)
}

// SignBy makes a token that a key has signed, under a header.
func SignBy(key *rsa.PrivateKey, header, claims map[string]any) string {
	input := part(header) + "." + part(claims)
	sum := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return input + "." + encode(signature)
}

// Unsigned makes a token that says that it needs no signature.
func Unsigned(alg string, claims map[string]any) string {
	return part(map[string]any{"alg": alg, "typ": "JWT"}) + "." + part(claims) + "."
}

// SignByPublicKey makes a token that is signed by HS256 with what everybody knows: the
// issuer's public key, in PEM.
func (i *Issuer) SignByPublicKey(claims map[string]any) string {
	der, err := x509.MarshalPKIXPublicKey(&i.Key.PublicKey)
	if err != nil {
		panic(err)
	}
	return SignHMAC(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), claims)
}

// SignHMAC makes a token that is signed by HS256.
func SignHMAC(key []byte, claims map[string]any) string {
	input := part(map[string]any{"alg": "HS256", "kid": KeyID, "typ": "JWT"}) + "." + part(claims)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(input))
	return input + "." + encode(mac.Sum(nil))
}

func part(v map[string]any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return encode(b)
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
