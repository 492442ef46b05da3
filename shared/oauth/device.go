package oauth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/shared/throttle"
)

const (
	devicePrefix = "aiaas_device_"
	// userAlphabet has no vowels, so no words come of it, and nothing that is read as
	// something else (RFC 8628, 6.1).
	userAlphabet = "BCDFGHJKLMNPQRSTVWXZ"
	userLen      = 8 // 2.6e10 codes; a person has codeTries of them in ten minutes

	codeTries       = 20 // codes that a person may look up, and answer, in tryWindow
	tryWindow       = 10 * time.Minute
	duplicatedCodes = 3
)

// Waiting is what a device is told.
type Waiting struct {
	DeviceCode string
	UserCode   string // as it is shown: "BCDF-GHJK"
	Lifetime   time.Duration
	Interval   time.Duration
}

// AskDevice lets a device wait for a person.
func (s *Service) AskDevice(ctx context.Context, client Client, scopes []string, from From) (Waiting, error) {
	if !client.May(GrantDevice) {
		return Waiting{}, refuse(UnauthorizedClient, "the client may not use device codes")
	}
	asked, err := ParseScopes(scopes)
	if err != nil {
		return Waiting{}, err
	}
	if err := s.Throttle.Take(ctx, throttle.Waiting, throttle.Keys{Address: from.Address}); err != nil {
		return Waiting{}, refusedTries(err)
	}
	now := s.Now()
	code := newSecret(devicePrefix)
	d := Device{
		Asked: asked, CodeHash: Hash(code), ClientID: client.ID, Address: from.Address, UserAgent: session.ClipAgent(from.UserAgent),
		CreatedAt: now, ExpiresAt: now.Add(DeviceLifetime), Interval: DeviceInterval,
	}
	for range duplicatedCodes {
		d.UserCode = newUserCode()
		if err = s.Store.AddDevice(ctx, d); !fault.Is(err, fault.Conflict) {
			break
		}
	}
	return Waiting{DeviceCode: code, UserCode: ShowUserCode(d.UserCode), Lifetime: DeviceLifetime, Interval: DeviceInterval}, err
}

func newUserCode() string {
	b := make([]byte, userLen)
	for i := range b {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(userAlphabet))))
		if err != nil {
			panic(fmt.Sprintf("no randomness: %v", err)) // the reader never fails
		}
		b[i] = userAlphabet[n.Int64()]
	}
	return string(b)
}

// ShowUserCode is a code as people read it best: "BCDF-GHJK".
func ShowUserCode(code string) string { return code[:userLen/2] + "-" + code[userLen/2:] }

// parseUserCode reads a code as people type it: in any case, with or without dashes.
func parseUserCode(typed string) (string, bool) {
	if len(typed) > 4*userLen {
		return "", false
	}
	code := strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToUpper(typed))
	if len(code) != userLen || strings.Trim(code, userAlphabet) != "" {
		return "", false
	}
	return code, true
}

// within counts an attempt, and is RateLimited where there were too many.
func (s *Service) within(ctx context.Context, key string, most int64) error {
	now := s.Now()
	n, since, err := s.Store.Attempt(ctx, key, tryWindow, now)
	if err != nil || n <= most {
		return err
	}
	return fault.New(fault.RateLimited, "that was tried too often").After(max(time.Second, since.Add(tryWindow).Sub(now)))
}

// refusedTries says a rate limit as the protocol does.
func refusedTries(err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Code == fault.RateLimited {
		return &ProtocolError{Reason: Busy, Detail: "that was tried too often", After: f.RetryAfter}
	}
	return err
}

// DeviceQuestion is what the page shows of a device.
type DeviceQuestion struct {
	Question

	UserCode  string
	Address   string // where the device asked from
	UserAgent string
	AskedAt   time.Time
}

// ShowDevice returns the device that waits under a code which a person typed.
func (s *Service) ShowDevice(ctx context.Context, a Approver, typed string) (DeviceQuestion, error) {
	d, client, err := s.device(ctx, a, typed)
	if err != nil {
		return DeviceQuestion{}, err
	}
	q := DeviceQuestion{UserCode: d.UserCode, Address: d.Address, UserAgent: d.UserAgent, AskedAt: d.CreatedAt}
	q.Client, q.Asked, q.ExpiresAt = client, d.Asked, d.ExpiresAt
	q.Asked.Scopes, q.StepUp = a.grantable(d.Scopes), s.mayLetIn(a, time.Time{}) != nil
	return q, nil
}

// device finds a waiting device. Codes are short, so nobody may try many.
func (s *Service) device(ctx context.Context, a Approver, typed string) (Device, Client, error) {
	if err := s.within(ctx, "user code "+a.Principal.OwnerID, codeTries); err != nil {
		return Device{}, Client{}, err
	}
	code, ok := parseUserCode(typed)
	if !ok {
		return Device{}, Client{}, errNoDevice()
	}
	d, err := s.Store.Device(ctx, a.who(), code, s.Now())
	if err != nil {
		return d, Client{}, err
	}
	client, known := s.Client(d.ClientID)
	if !known {
		return d, client, errNoDevice()
	}
	return d, client, nil
}

func errNoDevice() error {
	return fault.New(fault.NotFound, "no device waits under this code: look at it again, or begin anew")
}

// ApproveDevice lets a device in.
func (s *Service) ApproveDevice(ctx context.Context, a Approver, typed string) error {
	d, client, err := s.device(ctx, a, typed)
	if err != nil {
		return err
	}
	if err := s.mayLetIn(a, time.Time{}); err != nil {
		return err
	}
	return s.Store.DecideDevice(ctx, a.who(), d.UserCode, s.decision(ctx, a, client.ID, client.ID, d.Scopes))
}

// DenyDevice turns a device away.
func (s *Service) DenyDevice(ctx context.Context, a Approver, typed string) error {
	d, client, err := s.device(ctx, a, typed)
	if err != nil {
		return err
	}
	return s.Store.DecideDevice(ctx, a.who(), d.UserCode, s.denial(ctx, a, client.ID, client.ID))
}

// ExchangeDevice gives a device its tokens, once a person has let it in.
func (s *Service) ExchangeDevice(ctx context.Context, client Client, deviceCode string, from From) (Issued, error) {
	if !client.May(GrantDevice) {
		return Issued{}, refuse(UnauthorizedClient, "the client may not use device codes")
	}
	p, err := s.Store.PollDevice(ctx, Hash(deviceCode), client.ID, s.Now())
	if fault.Is(err, fault.NotFound) {
		return Issued{}, refuse(InvalidGrant, "the device code is not good, or was used")
	}
	if err != nil {
		return Issued{}, err
	}
	switch p.State {
	case DeviceGranted:
		return s.begin(ctx, begun{client: client, who: Who{p.OrgID, p.UserID}, granted: p.Asked, proof: p.Proof}, from)
	case DevicePending:
		return Issued{}, refuse(AuthorizationPending, "nobody has answered yet")
	case DeviceSlowDown:
		return Issued{}, refuse(SlowDown, "ask less often: five seconds more between two times")
	case DeviceDenied:
		return Issued{}, refuse(AccessDenied, "the request was denied")
	case DeviceExpired:
	}
	return Issued{}, refuse(ExpiredToken, "nobody has answered in time")
}
