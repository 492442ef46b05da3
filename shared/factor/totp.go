package factor

import (
	"bytes"
	"fmt"
	"image/png"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
)

// Enrolment is an app that waits for its first code. It is shown once.
type Enrolment struct {
	Secret string // base 32, to be typed
	URI    string // otpauth://…, to be opened
	PNG    []byte // the URI as a QR code, to be scanned
}

// newApp makes the secret of an app, and the ways to bring it there.
func newApp(issuer, account string) (Enrolment, error) {
	key, err := totp.Generate(totp.GenerateOpts{
		Issuer: issuer, AccountName: account, Period: uint(Step / time.Second), SecretSize: secretBytes,
		Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1, // what all apps can do
	})
	if err != nil {
		return Enrolment{}, fmt.Errorf("make secret: %w", err)
	}
	image, err := key.Image(qrSize, qrSize)
	if err != nil {
		return Enrolment{}, fmt.Errorf("make QR code: %w", err)
	}
	var buf bytes.Buffer
	if err := png.Encode(&buf, image); err != nil {
		return Enrolment{}, fmt.Errorf("draw QR code: %w", err)
	}
	return Enrolment{Secret: key.Secret(), URI: key.URL(), PNG: buf.Bytes()}, nil
}

// makeApp makes an app for a person: as it is shown, and as it is kept.
func (s *Service) makeApp(st State) (Enrolment, TOTP, error) {
	issuer := s.Issuer
	if issuer == "" {
		issuer = defaultIssuer
	}
	e, err := newApp(issuer, st.Email)
	if err != nil {
		return Enrolment{}, TOTP{}, fault.Wrap(fault.Internal, "enrol app", err)
	}
	t := TOTP{ID: id.New(TOTPID), CreatedAt: s.Now()}
	if t.Secret, err = s.Vault.Seal(e.Secret, t.ID); err != nil {
		return Enrolment{}, TOTP{}, fault.Wrap(fault.Internal, "seal secret of app", err)
	}
	return e, t, nil
}

// stepOf is the step that a moment is in.
func stepOf(at time.Time) int64 { return at.Unix() / int64(Step/time.Second) }

// matchStep finds the step, of the present one and those beside it, whose code this is.
// It looks at all of them: what it takes says nothing.
func matchStep(secret, code string, now time.Time) (step int64, ok bool, err error) {
	code = strings.ReplaceAll(code, " ", "")
	if len(code) != digits || strings.Trim(code, "0123456789") != "" {
		return 0, false, nil
	}
	opts := totp.ValidateOpts{Period: uint(Step / time.Second), Skew: 0, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1}
	for _, offset := range []int64{-skew, skew, 0} { // the present one last: it is the likeliest
		at := now.Add(time.Duration(offset) * Step)
		same, err := totp.ValidateCustom(code, secret, at, opts)
		if err != nil {
			return 0, false, fmt.Errorf("compute code: %w", err)
		}
		if same {
			step, ok = stepOf(at), true
		}
	}
	return step, ok, nil
}
