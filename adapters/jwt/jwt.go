// Package jwt writes and reads the platform's tokens: access tokens by RFC 9068 and
// identity tokens by OpenID Connect, as JWTs signed with ES256.
//
// A token never says how it is to be verified. The algorithm is the one we sign with;
// the key is looked up by its id among our own, and nowhere else, whatever other
// hints ("jku", "jwk", "x5u") the header has; the type, the issuer and the audience
// must be ours. Every flaw has the same answer.
package jwt

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/oauth"
)

const (
	algorithm    = jose.ES256
	typeAccess   = "at+jwt"
	typeIdentity = "JWT"
	// maxToken is the longest text that is looked at, in bytes.
	maxToken = 4096
	// skew is by how much the clocks of our own processes may differ.
	skew = 5 * time.Second
)

// Keys are the platform's signing keys: [oauth.Keyring].
type Keys interface {
	Signing(ctx context.Context) (kid string, key *ecdsa.PrivateKey, err error)
	Verifying(ctx context.Context, kid string) (*ecdsa.PublicKey, error)
}

// Tokens mints and verifies tokens of one issuer, which is their audience too.
type Tokens struct {
	keys   Keys
	issuer string
	now    func() time.Time
}

var (
	_ oauth.Minter = (*Tokens)(nil)
	_ oauth.Tokens = (*Tokens)(nil)
)

// New makes the tokens of an issuer.
func New(keys Keys, issuer string, now func() time.Time) *Tokens {
	return &Tokens{keys: keys, issuer: issuer, now: now}
}

// claims are those of both kinds of tokens.
type claims struct {
	josejwt.Claims

	ClientID        string               `json:"client_id,omitempty"`
	Scope           string               `json:"scope,omitempty"`
	SessionID       string               `json:"sid"`
	AuthTime        *josejwt.NumericDate `json:"auth_time,omitempty"`
	Nonce           string               `json:"nonce,omitempty"`
	AccessHash      string               `json:"at_hash,omitempty"`
	AuthorizedParty string               `json:"azp,omitempty"`
}

// MintAccess implements [oauth.Minter].
func (t *Tokens) MintAccess(ctx context.Context, a oauth.Access) (string, error) {
	c := t.claims(a.Subject, t.issuer, a.IssuedAt, a.Expires)
	c.ID, c.ClientID, c.SessionID = rand.Text(), a.ClientID, a.SessionID
	words := make([]string, len(a.Scopes))
	for i, s := range a.Scopes {
		words[i] = string(s)
	}
	c.Scope = strings.Join(words, " ")
	c.AuthTime = numeric(a.AuthTime)
	return t.sign(ctx, typeAccess, c)
}

// MintIdentity implements [oauth.Minter].
func (t *Tokens) MintIdentity(ctx context.Context, i oauth.Identity) (string, error) {
	c := t.claims(i.Subject, i.ClientID, i.IssuedAt, i.Expires)
	c.SessionID, c.Nonce, c.AuthorizedParty, c.AuthTime = i.SessionID, i.Nonce, i.ClientID, numeric(i.AuthTime)
	sum := sha256.Sum256([]byte(i.AccessToken))
	c.AccessHash = base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
	return t.sign(ctx, typeIdentity, c)
}

func (t *Tokens) claims(subject, audience string, issued, expires time.Time) claims {
	return claims{Claims: josejwt.Claims{
		Issuer: t.issuer, Subject: subject, Audience: josejwt.Audience{audience},
		IssuedAt: josejwt.NewNumericDate(issued), Expiry: josejwt.NewNumericDate(expires),
	}}
}

func numeric(at time.Time) *josejwt.NumericDate {
	if at.IsZero() {
		return nil
	}
	return josejwt.NewNumericDate(at)
}

func (t *Tokens) sign(ctx context.Context, kind string, c claims) (string, error) {
	kid, key, err := t.keys.Signing(ctx)
	if err != nil {
		return "", fmt.Errorf("find signing key: %w", err)
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, (&jose.SignerOptions{}).WithType(jose.ContentType(kind)))
	if err != nil {
		return "", fmt.Errorf("make signer: %w", err)
	}
	text, err := josejwt.Signed(signer).Claims(c).Serialize()
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return text, nil
}

// Verify implements [oauth.Tokens].
func (t *Tokens) Verify(ctx context.Context, text string) (oauth.Claims, error) {
	if len(text) > maxToken {
		return oauth.Claims{}, errToken()
	}
	parsed, err := josejwt.ParseSigned(text, []jose.SignatureAlgorithm{algorithm})
	if err != nil || len(parsed.Headers) != 1 {
		return oauth.Claims{}, errToken()
	}
	h := parsed.Headers[0]
	if kind, _ := h.ExtraHeaders[jose.HeaderType].(string); kind != typeAccess || h.KeyID == "" {
		return oauth.Claims{}, errToken()
	}
	key, err := t.keys.Verifying(ctx, h.KeyID)
	if fault.Is(err, fault.NotFound) {
		return oauth.Claims{}, errToken()
	}
	if err != nil {
		return oauth.Claims{}, fmt.Errorf("find verifying key: %w", err)
	}
	var c claims
	if err := parsed.Claims(key, &c); err != nil {
		return oauth.Claims{}, errToken()
	}
	return t.check(c)
}

func (t *Tokens) check(c claims) (oauth.Claims, error) {
	now := t.now()
	switch {
	case c.Issuer != t.issuer,
		!slices.Equal(c.Audience, josejwt.Audience{t.issuer}),
		c.Expiry == nil || !now.Before(c.Expiry.Time()),
		c.IssuedAt == nil || c.IssuedAt.Time().After(now.Add(skew)),
		c.NotBefore != nil && c.NotBefore.Time().After(now.Add(skew)),
		!id.Valid(id.Session, c.SessionID), c.ClientID == "":
		return oauth.Claims{}, errToken()
	}
	out := oauth.Claims{SessionID: c.SessionID, ClientID: c.ClientID, Scopes: []authz.Scope{}, Expires: c.Expiry.Time()}
	for word := range strings.FieldsSeq(c.Scope) {
		out.Scopes = append(out.Scopes, authz.Scope(word))
	}
	return out, nil
}

// errToken is the one answer to every token that is not good, whatever the reason.
func errToken() error {
	return fault.New(fault.Unauthenticated, "The access token is not valid, or has expired.")
}

// Set is the JSON Web Key Set of keys.
func Set(keys []oauth.Key) jose.JSONWebKeySet {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Public, KeyID: k.KID, Algorithm: string(algorithm), Use: "sig"})
	}
	return set
}
