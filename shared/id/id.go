// Package id makes identifiers: a type prefix and a UUIDv7 without dashes, as
// in "org_0199c0b2f3a47c1e8d6a5b4c3d2e1f00". They sort by time of creation, so
// they are kind to B-trees, and the prefix makes a misplaced id visible.
//
// Those of people are random, a UUIDv4: one person has one id in all organisations,
// and none of them is to learn from it since when another has known him.
package id

import (
	"encoding/hex"
	"strings"

	"github.com/google/uuid"
)

// The prefixes.
const (
	Organization   = "org"
	Project        = "proj"
	User           = "user"
	ServiceAccount = "sa"
	Role           = "role" // one that an organisation made itself
	Key            = "key"
	Budget         = "bud"
	BudgetAlert    = "balert"
	Backend        = "be"
	Price          = "price"
	Request        = "req" // also the usage event of the request
	Audit          = "aud"
	Ledger         = "led"
	Invoice        = "inv"
	Event          = "evt"
	Webhook        = "wh"
	Delivery       = "dlv" // of an event to a webhook
	Attempt        = "att" // at a delivery
	Domain         = "dom"
	Connection     = "sso" // to an issuer of single sign-on
	Identity       = "xid" // of a person at an issuer
	Session        = "ses"
	Invitation     = "invite"
	Consent        = "areq" // what an OAuth client asks a person for
	ClientSecret   = "cs"
)

// New returns a fresh id with the given prefix.
func New(prefix string) string {
	fresh := uuid.NewV7
	if prefix == User {
		fresh = uuid.NewRandom
	}
	u := uuid.Must(fresh()) // fails only where the system has no randomness
	b := make([]byte, 0, len(prefix)+1+32)
	b = append(b, prefix...)
	b = append(b, '_')
	return string(hex.AppendEncode(b, u[:]))
}

// Valid reports whether s is an id with the given prefix.
func Valid(prefix, s string) bool {
	rest, ok := strings.CutPrefix(s, prefix+"_")
	if !ok || len(rest) != 32 {
		return false
	}
	for _, c := range []byte(rest) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
