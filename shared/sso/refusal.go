package sso

import (
	"errors"
	"fmt"
)

// Reason is why somebody was not let in. It stands in the address of the page that
// tells him, so each is written by the platform and says nothing of anybody.
type Reason string

// The reasons.
const (
	Expired     Reason = "sso_expired"     // the sign-in is unknown, over, used, or another browser's
	Denied      Reason = "sso_denied"      // the issuer, or the person at it, said no
	Failed      Reason = "sso_failed"      // what the issuer gave can't be believed
	Unavailable Reason = "sso_unavailable" // the issuer can't be reached
	Foreign     Reason = "sso_email"       // no verified address of one of the organisation's domains
	NoRole      Reason = "sso_no_role"     // no group of his gives a role, and there is no other
	IsSuspended Reason = "sso_suspended"
	WasRemoved  Reason = "sso_removed"  // somebody has to add him again
	Conflicting Reason = "sso_conflict" // his address is another subject's already
	Outranked   Reason = "sso_rank"     // the connection does not vouch for people of his rank
	NoRoom      Reason = "sso_full"     // the plan allows no more members
	Off         Reason = "sso_off"      // the connection, or the organisation, is not in use
	NeedsFactor Reason = "sso_factor"   // a second factor of the platform's own is to be shown instead
	Mismatched  Reason = "sso_mismatch" // another person came back than the one who was to prove himself
)

// RefusedError says that somebody is not let in.
type RefusedError struct {
	Reason   Reason
	ReturnTo string // where he wanted to go; "" where that is not known
	Text     string // for the organisation's audit
	Err      error  // for the log
}

// Error implements error.
func (r *RefusedError) Error() string {
	if r.Err != nil {
		return fmt.Sprintf("%s: %s: %v", r.Reason, r.Text, r.Err)
	}
	return fmt.Sprintf("%s: %s", r.Reason, r.Text)
}

// Unwrap returns the cause.
func (r *RefusedError) Unwrap() error { return r.Err }

func refuse(reason Reason, text string) *RefusedError {
	return &RefusedError{Reason: reason, Text: text}
}

func troubled(err error) (*IssuerError, bool) {
	return errors.AsType[*IssuerError](err)
}

// refusalOf is what trouble with an issuer means to who signs in.
func refusalOf(err error) *RefusedError {
	t, ok := troubled(err)
	if !ok {
		return &RefusedError{Reason: Failed, Text: "the issuer could not be asked", Err: err}
	}
	reason := Failed
	switch t.Trouble {
	case Unreachable:
		reason = Unavailable
	case Declined:
		reason = Denied
	case Misdescribed, Rejected, Untrusted, MixedUp, Impersonal, Stale, Failing:
	}
	return &RefusedError{Reason: reason, Text: string(t.Trouble) + ": " + t.Text, Err: t}
}
