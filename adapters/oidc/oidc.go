// Package oidc speaks OpenID Connect to the issuers that organisations name, as a
// relying party by the authorization code flow with PKCE.
//
// Issuers are outgoing requests to addresses that somebody else has named, and answers
// that somebody else has written: whom it may connect to is for the HTTP client to say
// that it is made with; answers are bounded in size and time; tokens are taken with
// asymmetric signatures only, whatever an issuer lists.
package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/aiaas/aiaas/shared/sso"
)

const (
	maxAnswer = 512 << 10        // of an issuer's answers, in bytes
	patience  = 10 * time.Second // with what an issuer publishes
	exchange  = 20 * time.Second // with all that it takes to redeem a code
	skew      = time.Minute      // between an issuer's clock and ours
	// What an issuer publishes of itself, its keys included, is read again after a while;
	// that it could not be read is not asked again at once.
	keepGood  = time.Hour
	keepBad   = 10 * time.Second
	maxKept   = 1000 // issuers
	maxGroups = 1000
	// maxErrorText is how much of an error is kept, in bytes.
	maxErrorText = 200
	maxText      = 255 // of a subject, as the standard has it, and of other short texts
)

// algorithms are those that a token may be signed by: an issuer's secret is not with us,
// and its public key is no secret.
func algorithms() []string {
	return []string{
		oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
	}
}

// Issuers asks issuers.
type Issuers struct {
	client *http.Client
	now    func() time.Time

	mu      sync.Mutex
	issuers map[string]*issuer
}

var _ sso.Issuers = (*Issuers)(nil)

// New makes Issuers. The client must follow no redirects.
func New(client *http.Client, now func() time.Time) *Issuers {
	c := *client
	c.Transport = bounded{c.Transport}
	return &Issuers{client: &c, now: now, issuers: map[string]*issuer{}}
}

// issuer is one that somebody has named.
type issuer struct {
	mu    sync.Mutex // held while it is asked
	known known
}

// known is what an issuer has said when it was asked.
type known struct {
	provider *oidc.Provider
	meta     metadata
	err      error
	asked    time.Time
}

// fresh reports whether it need not be asked again yet.
func (k *known) fresh(now time.Time) bool {
	if k.asked.IsZero() {
		return false
	}
	if k.err != nil {
		return now.Before(k.asked.Add(keepBad))
	}
	return now.Before(k.asked.Add(keepGood))
}

// metadata is what matters of what an issuer publishes of itself.
type metadata struct {
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Keys          string   `json:"jwks_uri"`
	UserInfo      string   `json:"userinfo_endpoint"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	ClientAuth    []string `json:"token_endpoint_auth_methods_supported"`
	Scopes        []string `json:"scopes_supported"`
	NamesItself   bool     `json:"authorization_response_iss_parameter_supported"`
}

// Check implements [sso.Issuers]. It asks the issuer anew, but for what it said a
// moment ago: others sign in by it. What was good stays so for them where it fails now.
func (s *Issuers) Check(ctx context.Context, address string) error {
	i := s.issuer(address)
	i.mu.Lock()
	defer i.mu.Unlock()
	now := s.now()
	if !i.known.asked.IsZero() && now.Before(i.known.asked.Add(keepBad)) {
		return i.known.err
	}
	k := s.ask(ctx, address)
	if k.err == nil || i.known.err != nil || !i.known.fresh(now) {
		i.known = k
	}
	return k.err
}

func (s *Issuers) issuer(address string) *issuer {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.issuers[address]
	if !ok {
		if len(s.issuers) >= maxKept {
			clear(s.issuers)
		}
		i = &issuer{}
		s.issuers[address] = i
	}
	return i
}

// discover is what an issuer publishes, as it was read a while ago.
func (s *Issuers) discover(ctx context.Context, address string) (*oidc.Provider, metadata, error) {
	i := s.issuer(address)
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.known.fresh(s.now()) {
		i.known = s.ask(ctx, address)
	}
	return i.known.provider, i.known.meta, i.known.err
}

// ask reads what an issuer publishes. It goes on when the one who asked has left, for
// others wait for it.
func (s *Issuers) ask(ctx context.Context, address string) known {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	k := known{asked: s.now()}
	if k.provider, k.err = oidc.NewProvider(oidc.ClientContext(ctx, s.client), address); k.err != nil {
		k.err = discoveryError(k.err)
		return k
	}
	if err := k.provider.Claims(&k.meta); err != nil {
		k.err = trouble(sso.Misdescribed, "what it publishes of itself can't be read", err)
		return k
	}
	k.err = k.meta.check(address)
	return k
}

func discoveryError(err error) error {
	if _, mismatch := errors.AsType[*oidc.IssuerMismatchError](err); mismatch {
		return trouble(sso.Misdescribed, "it calls itself by another address", err)
	}
	if unreached(err) {
		return trouble(sso.Unreachable, "it can't be reached", err)
	}
	return trouble(sso.Misdescribed, "it publishes nothing at /.well-known/openid-configuration", err)
}

func unreached(err error) bool {
	_, ok := errors.AsType[*url.Error](err)
	return ok || errors.Is(err, errTooLong)
}

func trouble(kind sso.Trouble, text string, err error) error {
	return &sso.IssuerError{Trouble: kind, Text: text, Err: clip(err)}
}

// clip makes of an error one that is short and of one line: libraries put into theirs
// whatever an issuer has answered, and it is kept, and logged as often as anybody likes.
func clip(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if len(text) > maxErrorText {
		text = text[:maxErrorText]
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	if text == err.Error() {
		return err
	}
	return errors.New(strings.Clone(text)) // what is kept must not keep the whole
}

// check refuses what the platform can't use, or a browser should not be sent to.
func (m *metadata) check(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return trouble(sso.Misdescribed, "its address can't be read", err)
	}
	for name, text := range map[string]string{"authorization_endpoint": m.Authorization, "token_endpoint": m.Token, "jwks_uri": m.Keys} {
		if !usable(text, u.Scheme) {
			return trouble(sso.Misdescribed, "its "+name+" is missing, or no address of its kind", nil)
		}
	}
	if m.UserInfo != "" && !usable(m.UserInfo, u.Scheme) {
		return trouble(sso.Misdescribed, "its userinfo_endpoint is no address of its kind", nil)
	}
	if len(m.Algorithms) > 0 && len(m.algorithms()) == 0 {
		return trouble(sso.Misdescribed, "it signs by no algorithm that can be trusted", nil)
	}
	return nil
}

// usable tells whether a text is an address that is no less secure than the issuer's.
func usable(text, scheme string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host != "" && u.User == nil && u.Fragment == "" && (u.Scheme == "https" || (u.Scheme == "http" && scheme == "http"))
}

func (m *metadata) algorithms() []string {
	if len(m.Algorithms) == 0 {
		return algorithms()
	}
	return slices.DeleteFunc(algorithms(), func(a string) bool { return !slices.Contains(m.Algorithms, a) })
}

// config is the client as the library for OAuth2 wants it.
func (m *metadata) config(c sso.Client) *oauth2.Config {
	scopes := []string{oidc.ScopeOpenID, "email", "profile"}
	if c.GroupsClaim != "" && slices.Contains(m.Scopes, "groups") {
		scopes = append(scopes, "groups")
	}
	style := oauth2.AuthStyleInHeader // what the standard takes where nothing is said
	if c.Secret == "" || (len(m.ClientAuth) > 0 && !slices.Contains(m.ClientAuth, "client_secret_basic")) {
		style = oauth2.AuthStyleInParams
	}
	return &oauth2.Config{
		ClientID: c.ID, ClientSecret: c.Secret, RedirectURL: c.RedirectURL, Scopes: scopes,
		Endpoint: oauth2.Endpoint{AuthURL: m.Authorization, TokenURL: m.Token, AuthStyle: style},
	}
}

// Begin implements [sso.Issuers].
func (s *Issuers) Begin(ctx context.Context, c sso.Client, a sso.Attempt) (string, error) {
	_, meta, err := s.discover(ctx, c.Issuer)
	if err != nil {
		return "", err
	}
	options := []oauth2.AuthCodeOption{oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)}
	if a.Hint != "" {
		options = append(options, oauth2.SetAuthURLParam("login_hint", a.Hint))
	}
	if a.Anew {
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"), oauth2.SetAuthURLParam("max_age", "0"))
	}
	return meta.config(c).AuthCodeURL(a.State, options...), nil
}

// Redeem implements [sso.Issuers].
func (s *Issuers) Redeem(ctx context.Context, c sso.Client, a sso.Attempt, r sso.Return) (sso.Claims, error) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, s.client), exchange)
	defer cancel()
	provider, meta, err := s.discover(ctx, c.Issuer)
	if err != nil {
		return sso.Claims{}, err
	}
	if r.Issuer != c.Issuer && (r.Issuer != "" || meta.NamesItself) {
		return sso.Claims{}, trouble(sso.MixedUp, "the browser came back from another issuer, or the issuer did not name itself", nil)
	}
	if r.Code == "" {
		return sso.Claims{}, trouble(sso.Rejected, "the browser came back without a code", nil)
	}
	token, err := meta.config(c).Exchange(ctx, r.Code, oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return sso.Claims{}, exchangeError(err)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return sso.Claims{}, trouble(sso.Untrusted, "it gave no ID token", nil)
	}
	id, err := s.verify(ctx, provider, meta, c, raw)
	if err != nil {
		return sso.Claims{}, err
	}
	if err := s.bound(id, token, c, a); err != nil {
		return sso.Claims{}, err
	}
	return s.claims(ctx, provider, meta, person{client: c, id: id, token: token})
}

// exchangeError tells an issuer that says no from one that says nothing. What it says is
// for the log only, by its code: its text may be anything.
func exchangeError(err error) error {
	if said, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		code := said.ErrorCode
		if len(code) > 60 || strings.ContainsFunc(code, func(r rune) bool { return r <= ' ' || r > '~' }) {
			code = ""
		}
		return trouble(sso.Rejected, "it does not take the code, or does not know the client by this secret", errors.New("error "+code))
	}
	if unreached(err) {
		return trouble(sso.Unreachable, "its token endpoint can't be reached", err)
	}
	return trouble(sso.Rejected, "its token endpoint gave no token", err)
}

// verify checks signature, issuer and audience.
func (s *Issuers) verify(ctx context.Context, provider *oidc.Provider, meta metadata, c sso.Client, raw string) (*oidc.IDToken, error) {
	// Expiry is looked at below, with the clocks' difference.
	verifier := provider.Verifier(&oidc.Config{ClientID: c.ID, SupportedSigningAlgs: meta.algorithms(), SkipExpiryCheck: true, Now: s.now})
	id, err := verifier.Verify(ctx, raw)
	switch {
	case err == nil:
		return id, nil
	case unreached(err) || errors.Is(err, context.DeadlineExceeded):
		return nil, trouble(sso.Unreachable, "its keys can't be read", err)
	}
	return nil, trouble(sso.Untrusted, "the ID token is not signed by a key of the issuer, or not its own, or for another client", err)
}

// bound checks that a token is of this attempt, and of now.
func (s *Issuers) bound(id *oidc.IDToken, token *oauth2.Token, c sso.Client, a sso.Attempt) error {
	var more struct {
		Party     string  `json:"azp"`
		NotBefore seconds `json:"nbf"`
	}
	if err := id.Claims(&more); err != nil {
		return trouble(sso.Untrusted, "the ID token can't be read", err)
	}
	now := s.now()
	switch {
	case !now.Before(id.Expiry.Add(skew)):
		return trouble(sso.Untrusted, "the ID token has expired", nil)
	case id.IssuedAt.After(now.Add(skew)), more.NotBefore.time().After(now.Add(skew)):
		return trouble(sso.Untrusted, "the ID token is of the future; the clocks may be apart", nil)
	case subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(a.Nonce)) != 1:
		return trouble(sso.Untrusted, "the ID token is of another sign-in", nil)
	case more.Party != "" && more.Party != c.ID, more.Party == "" && len(id.Audience) > 1:
		return trouble(sso.Untrusted, "the ID token was issued to another client", nil)
	case id.Subject == "" || len(id.Subject) > maxText || strings.ContainsFunc(id.Subject, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return trouble(sso.Impersonal, "the ID token names nobody", nil)
	}
	if id.AccessTokenHash == "" {
		return nil
	}
	if err := id.VerifyAccessToken(token.AccessToken); err != nil {
		return trouble(sso.Untrusted, "the ID token belongs to another access token", err)
	}
	return nil
}
