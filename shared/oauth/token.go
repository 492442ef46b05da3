package oauth

import (
	"context"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
)

// Claims is what a verified access token says. Who its holder is, and what he may do
// now, is looked up by the session: a token proves nothing that may change before it
// expires.
type Claims struct {
	SessionID string        // the session that the token was issued in
	ClientID  string        // the client that holds it
	Scopes    []authz.Scope // what it is good for; never more than the session's
	Expires   time.Time
}

// Tokens verifies access tokens.
type Tokens interface {
	// Verify reads a JWT that we signed for our own API. Every flaw is the same
	// Unauthenticated; Unavailable where our keys can't be read. That the session
	// still stands is the caller's to ask.
	Verify(ctx context.Context, jwt string) (Claims, error)
}
