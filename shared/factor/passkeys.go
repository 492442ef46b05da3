package factor

import (
	"context"
	"encoding/json"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/naming"
)

// NewPasskey answers the ceremony that asked for a new passkey.
type NewPasskey struct {
	Name  string
	Proof PasskeyProof
}

// StartPasskey asks for a new passkey: options are for navigator.credentials.create.
func (s *Service) StartPasskey(ctx context.Context, p authz.Principal) (ceremony string, options json.RawMessage, err error) {
	userID, err := s.owner(p)
	if err != nil {
		return "", nil, err
	}
	st, err := s.load(ctx, userID)
	switch {
	case err != nil:
		return "", nil, err
	case st.Has() && !p.MFA:
		return "", nil, authz.ErrStepUp()
	case len(st.Passkeys) >= MaxPasskeys:
		return "", nil, errTooMany()
	}
	return s.begin(ctx, Ceremony{Purpose: ToRegister, UserID: userID}, func() (Begun, error) { return s.WebAuthn.Register(st) })
}

func errTooMany() error {
	return fault.New(fault.Conflict, "a person has at most %d passkeys", MaxPasskeys).With("limit", MaxPasskeys)
}

// AddPasskey keeps a new passkey. Unprocessable where it does not answer the
// ceremony; Conflict where somebody has it already.
func (s *Service) AddPasskey(ctx context.Context, p authz.Principal, n NewPasskey) (key Passkey, out Enrolled, err error) {
	userID, err := s.owner(p)
	if err != nil {
		return key, out, err
	}
	if err := naming.Name("name", n.Name); err != nil {
		return key, out, err
	}
	if st, err := s.load(ctx, userID); err != nil {
		return key, out, err
	} else if st.Has() && !p.MFA { // before the ceremony is used up
		return key, out, authz.ErrStepUp()
	}
	if key, err = s.registered(ctx, userID, n); err != nil {
		return key, out, err
	}
	err = s.change(ctx, p, userID, func(st State) (Change, error) {
		st = s.here(st)
		if len(st.Passkeys) >= MaxPasskeys {
			return Change{}, errTooMany()
		}
		change, codes := s.first(st, Change{AddPasskey: &key})
		out.RecoveryCodes = codes
		return s.told(ctx, st, p, change, told{
			action: ActionPasskeyAdd, target: key.ID, detail: map[string]any{"name": key.Name},
			what: mail.FactorChanged{Change: mail.PasskeyAdded, Name: mail.Name(key.Name)},
		})
	})
	if err != nil {
		return Passkey{}, Enrolled{}, err
	}
	out, err = s.renewed(ctx, p, out)
	return key, out, err
}

// registered reads the answer to the ceremony, of which there is one.
func (s *Service) registered(ctx context.Context, userID string, n NewPasskey) (Passkey, error) {
	refused := func(err error) error {
		if !fault.Is(err, fault.Unauthenticated) {
			return err
		}
		f := fault.New(fault.Unprocessable, "this does not answer what the passkey was asked, or was answered too late: begin anew").At("credential")
		f.Err = err
		return f
	}
	a, err := s.take(ctx, ToRegister, userID, n.Proof)
	if err != nil {
		return Passkey{}, refused(err)
	}
	st, err := s.load(ctx, userID)
	if err != nil {
		return Passkey{}, err
	}
	key, err := s.WebAuthn.Registered(st, a)
	if err != nil {
		return Passkey{}, refused(err)
	}
	key.ID, key.Name, key.CreatedAt = id.New(PasskeyID), n.Name, s.Now()
	return key, nil
}

// Passkeys lists the person's passkeys, the oldest first.
func (s *Service) Passkeys(ctx context.Context, p authz.Principal) ([]Passkey, error) {
	o, err := s.Overview(ctx, p)
	return o.Passkeys, err
}

// RenamePasskey gives a passkey another name.
func (s *Service) RenamePasskey(ctx context.Context, p authz.Principal, passkeyID, name string) (key Passkey, err error) {
	userID, err := s.owner(p)
	if err != nil {
		return key, err
	}
	if err := naming.Name("name", name); err != nil {
		return key, err
	}
	err = s.change(ctx, p, userID, func(st State) (Change, error) {
		var ok bool
		if key, ok = s.here(st).passkey(passkeyID); !ok {
			return Change{}, errNoPasskey()
		}
		before := key.Name
		key.Name = name
		return s.told(ctx, st, p, Change{RenamePasskey: &key}, told{
			action: ActionPasskeyRename, target: key.ID, detail: map[string]any{"name": name, "name_before": before},
		})
	})
	return key, err
}

func errNoPasskey() error { return fault.New(fault.NotFound, "there is no such passkey") }

// RemovePasskey removes a passkey. Conflict where it is the last factor, and a role
// needs one.
func (s *Service) RemovePasskey(ctx context.Context, p authz.Principal, passkeyID string) error {
	userID, err := s.owner(p)
	if err != nil {
		return err
	}
	left := 1
	err = s.change(ctx, p, userID, func(st State) (Change, error) {
		st = s.here(st)
		key, ok := st.passkey(passkeyID)
		if !ok {
			return Change{}, errNoPasskey()
		}
		left = len(st.Passkeys) - 1
		if st.TOTP != nil {
			left++
		}
		change, err := s.without(st, left, Change{RemovePasskey: key.ID})
		if err != nil {
			return Change{}, err
		}
		return s.told(ctx, st, p, change, told{
			action: ActionPasskeyDelete, target: key.ID, detail: map[string]any{"name": key.Name},
			what: mail.FactorChanged{Change: mail.PasskeyRemoved, Name: mail.Name(key.Name)},
		})
	})
	return s.removed(ctx, userID, left, err)
}
