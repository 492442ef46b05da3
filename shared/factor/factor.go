// Package factor is what people prove themselves by besides a password: codes of an
// authenticator app (TOTP), passkeys, and recovery codes for the day both are lost.
//
// It owns how a factor is enrolled, shown, counted as used and removed. A code of an
// app is good for its step of 30 seconds and the two beside it, and once: the last
// step that was taken is moved by the statement that takes it, so that of any number
// of uses at once one succeeds. A recovery code is good once too, and so is a
// ceremony, the server's half of an exchange with a passkey. An app counts from the
// moment a code of it was shown; a passkey from the moment it has signed.
//
// It does not own sessions, passwords, or the sign-in that asks for a factor: that
// asks [Service.Methods], [Service.Options], [Service.Prove] and [Service.ProvePasskey].
//
// Secrets of apps must be read again and are sealed; recovery codes have 80 random
// bits, so a plain SHA-256 of them tells nothing; of a passkey there is nothing
// secret here.
package factor

import (
	"encoding/json"
	"time"

	"github.com/aiaas/aiaas/shared/fault"
)

// The prefixes of ids.
const (
	TOTPID     = "totp"
	PasskeyID  = "pk"
	CeremonyID = "cer"
)

// Method is a way to prove oneself.
type Method string

// The methods.
const (
	ByTOTP         Method = "totp"
	ByPasskey      Method = "passkey"
	ByRecoveryCode Method = "recovery_code"
)

// PasskeyProof answers a ceremony.
type PasskeyProof struct {
	Ceremony   string
	Credential json.RawMessage // the browser's PublicKeyCredential, as JSON
}

// Proof is exactly one proof.
type Proof struct {
	TOTP         string
	RecoveryCode string
	Passkey      *PasskeyProof
}

// method is how the proof proves; Unprocessable where it is none, or more than one.
func (p Proof) method() (m Method, err error) {
	given := 0
	for method, there := range map[Method]bool{ByTOTP: p.TOTP != "", ByRecoveryCode: p.RecoveryCode != "", ByPasskey: p.Passkey != nil} {
		if there {
			m = method
			given++
		}
	}
	if given != 1 {
		return "", fault.New(fault.Unprocessable, "give exactly one of totp, recovery_code and passkey")
	}
	return m, nil
}

// From says where a proof comes from.
type From struct {
	OrgID   string // in whose audit its use is recorded; "": in that of the person's first organisation
	Address string // "" where it is not known
	Device  string // what is known of the device, for the bound on guesses; "" for a stranger
}

// The bounds.
const (
	Step           = 30 * time.Second // of an app's codes
	EnrolFor       = 15 * time.Minute // how long an enrolment waits for its first code
	CeremonyFor    = 5 * time.Minute  // how long a ceremony waits for its answer
	RecoveryCodes  = 10
	MaxPasskeys    = 20
	maxCredential  = 32 << 10 // bytes of a passkey's answer
	skew           = 1        // steps before and after the present one
	qrSize         = 256      // pixels
	codeBytes      = 10       // random bytes of a recovery code
	codeGroup      = 4        // characters between two dashes of it
	digits         = 6
	secretBytes    = 20 // as RFC 4226 recommends
	defaultIssuer  = "AIaaS"
	maxTypedLength = 64 // characters of a code that is looked at
)

// errRefused is the one answer to a proof that proves nothing, whatever the reason.
func errRefused() *fault.Error {
	return fault.New(fault.Unauthenticated, "The second factor was not accepted.")
}
