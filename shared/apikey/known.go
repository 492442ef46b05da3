package apikey

import (
	"slices"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
)

// Known is a secret of a key that somebody other than its owner has seen: of the one
// it has, or of one that was replaced and works for a while yet.
type Known struct {
	KeyID   string
	Name    string
	Scopes  []authz.Scope
	Until   time.Time // when the secret ceases to work; zero: it has no end
	Owner   Standing  // of the key
	Witness Standing  // who has seen it, as he is now; without any right where he is gone or suspended
}

// Standing is somebody as an organisation keeps him, with his role as it is stored: a
// built-in one, or the id of one that the organisation made.
type Standing struct {
	authz.Subject

	StoredRole string
}

// CheckWidened refuses a change of people by which a secret would let somebody who has
// seen it do more than he may himself, and more than it lets him do now. next is what
// the change makes of anybody.
func CheckWidened(list []Known, now time.Time, next func(Standing) authz.Subject) error {
	var keys, names []string
	var first authz.Action
	for _, k := range list {
		if !k.Until.IsZero() && !now.Before(k.Until) || slices.Contains(keys, k.KeyID) {
			continue
		}
		before, after, witness := k.Owner.Subject, next(k.Owner), next(k.Witness)
		after.Scopes = k.Scopes
		before.Scopes, witness.Scopes = everyScope(), everyScope() // it is the roles that count
		if _, more := authz.Exceeding(after, before); !more {
			continue
		}
		if a, exceeds := authz.Exceeding(after, witness); exceeds {
			keys, names = append(keys, k.KeyID), append(names, `"`+clip(k.Name)+`"`)
			if first == "" {
				first = a
			}
		}
	}
	if len(keys) == 0 {
		return nil
	}
	return errWidened(keys, names, first)
}

// CheckAdded refuses more scopes for a key by which its secret would let somebody who
// has seen it do more than he may himself. child is the owner with what is added.
func CheckAdded(list []Known, keyID string, child authz.Subject, now time.Time) error {
	for _, k := range list {
		if k.KeyID != keyID || !k.Until.IsZero() && !now.Before(k.Until) {
			continue
		}
		witness := k.Witness.Subject
		witness.Scopes = everyScope() // it is the roles that count
		if a, exceeds := authz.Exceeding(child, witness); exceeds {
			return errWidened([]string{k.KeyID}, []string{`"` + clip(k.Name) + `"`}, a)
		}
	}
	return nil
}

func errWidened(keys, names []string, first authz.Action) error {
	return fault.New(fault.Conflict,
		"the keys %s would get the right %q, which somebody who has had their secrets does not have: revoke them first, or have them rotated without an overlap by somebody who has it",
		strings.Join(names, ", "), string(first)).With("keys", keys).With("permission", string(first))
}

func everyScope() []authz.Scope { return append(authz.Scopes(), authz.Platform) }
