// Package oauth lets programs act for people who said so, and for themselves, without
// ever seeing a password: it is the platform's authorization server, by OAuth 2 and
// OpenID Connect.
//
// A grant is a session (package session) of the kind oauth, so it stands in the same
// list as a browser's and ends by the same acts; its refresh tokens are one family
// that ends with it. A service account that shows a client secret gets a session of
// the kind client. Access tokens are short-lived JWTs that name their session, and are
// worth nothing without it: the session is looked up at every request, like a key.
//
// Everything that is good once (an authorization code, a device code, a refresh token)
// is taken by one atomic statement. What is shown a second time is in two hands, and
// nobody can tell which of them is the right one: the session that came of it ends.
// That is strict: a program that lost the answer to a refresh signs in anew. A window
// in which an old refresh token is borne would be a window for its thief too, and the
// command `aiaas` never needs it, for it refreshes under a lock.
//
// The package owns clients, requests for consent, grants, refresh tokens, client
// secrets and signing keys. The protocol's wire format is its adapter's, people's
// sign-in is package signin's, and what a session may do is package authz's.
package oauth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
)

// How long things are good for.
const (
	// AccessLifetime is that of access and identity tokens.
	AccessLifetime = 10 * time.Minute
	// CodeLifetime is that of an authorization code: a browser brings it at once.
	CodeLifetime = time.Minute
	// RequestLifetime is how long a person may think about a request.
	RequestLifetime = 10 * time.Minute
	// DeviceLifetime is how long a device waits to be approved.
	DeviceLifetime = 10 * time.Minute
	// DeviceInterval is how often a device asks, at first.
	DeviceInterval = 5 * time.Second
)

// The scopes of the protocol itself.
const (
	ScopeOpenID  = "openid"
	ScopeOffline = "offline_access"
)

// Reason is why a client is refused, as the protocol spells it.
type Reason string

// The reasons.
const (
	InvalidRequest       Reason = "invalid_request"
	InvalidClient        Reason = "invalid_client"
	InvalidGrant         Reason = "invalid_grant"
	InvalidScope         Reason = "invalid_scope"
	UnauthorizedClient   Reason = "unauthorized_client"
	AccessDenied         Reason = "access_denied"
	LoginRequired        Reason = "login_required"
	ConsentRequired      Reason = "consent_required"
	AuthorizationPending Reason = "authorization_pending"
	SlowDown             Reason = "slow_down"
	ExpiredToken         Reason = "expired_token"
	Busy                 Reason = "temporarily_unavailable"
)

// ProtocolError is an answer of the protocol that says no. Every other error of this
// package's operations for clients is ours, not theirs.
type ProtocolError struct {
	Reason Reason
	Detail string        // for the client's developer; never anything internal
	After  time.Duration // how long to wait, where waiting helps
}

func (r *ProtocolError) Error() string { return string(r.Reason) + ": " + r.Detail }

func refuse(why Reason, format string, args ...any) *ProtocolError {
	return &ProtocolError{Reason: why, Detail: fmt.Sprintf(format, args...)}
}

// AsProtocolError finds one in an error.
func AsProtocolError(err error) (*ProtocolError, bool) { return errors.AsType[*ProtocolError](err) }

// Vocabulary lists the scopes that a client can ask for, those of the protocol last.
func Vocabulary() []string {
	var out []string
	for _, s := range grantable() {
		out = append(out, string(s))
	}
	return append(out, ScopeOpenID, ScopeOffline)
}

func grantable() []authz.Scope { return append(authz.Scopes(), authz.Platform) }

// Asked is what a client asks for.
type Asked struct {
	Scopes  []authz.Scope
	OpenID  bool
	Offline bool
}

// ParseScopes reads the words of a scope parameter.
func ParseScopes(words []string) (Asked, error) {
	asked := Asked{Scopes: []authz.Scope{}}
	for _, w := range words {
		switch s := authz.Scope(w); {
		case w == ScopeOpenID:
			asked.OpenID = true
		case w == ScopeOffline:
			asked.Offline = true
		case !slices.Contains(grantable(), s):
			return asked, refuse(InvalidScope, "there is no scope %q", clip(w))
		case !slices.Contains(asked.Scopes, s):
			asked.Scopes = append(asked.Scopes, s)
		}
	}
	return asked, nil
}

// Words is what was asked for, as the protocol writes it.
func (a Asked) Words() []string {
	words := make([]string, 0, len(a.Scopes)+2)
	for _, s := range a.Scopes {
		words = append(words, string(s))
	}
	if a.OpenID {
		words = append(words, ScopeOpenID)
	}
	if a.Offline {
		words = append(words, ScopeOffline)
	}
	return words
}

// within leaves of scopes those that are in have, in their order.
func within(scopes, have []authz.Scope) []authz.Scope {
	out := []authz.Scope{}
	for _, s := range scopes {
		if slices.Contains(have, s) {
			out = append(out, s)
		}
	}
	return out
}

// clip makes what a client sent fit to be sent back: the characters that RFC 6749
// allows, and few.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '?'
		}
		return r
	}, s)
	if len(s) > 60 {
		return s[:60]
	}
	return s
}

// newSecret makes 256 random bits that say what they are, so that scanners find them.
func newSecret(prefix string) string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the process instead
	return prefix + base64.RawURLEncoding.EncodeToString(b[:])
}

// Hash is how codes, tokens and secrets are stored and found. They are random, so a
// plain hash keeps them.
func Hash(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}
