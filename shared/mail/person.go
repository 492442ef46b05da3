package mail

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/aiaas/aiaas/shared/id"
)

// The kinds of mail to a person about what is the person's own. None of them can be
// refused: who takes an account over would refuse them first.
const (
	KindInvited         Kind = "member.invited"
	KindPasswordReset   Kind = "password.reset"
	KindPasswordChanged Kind = "password.changed"
	KindNewDevice       Kind = "session.new_device"
	KindFactorChanged   Kind = "factor.changed"
)

// Sealer hides the secret of a link until its mail is written. What is sealed for
// one mail opens for no other.
type Sealer interface {
	Seal(secret, bound string) (sealed string, err error)
}

// Opener opens what a [Sealer] has sealed.
type Opener interface {
	Open(sealed, bound string) (secret string, err error)
}

// Bound is what the secret of a mail is sealed for.
func Bound(mailID string) string { return "link of " + mailID }

// Note is a mail to a person whose address and organisation the queue finds. It is
// queued on the account of an organisation that the person is a member of.
type Note struct {
	ID      string
	OrgID   string // where it happened; "": the organisation that the person has been in for the longest
	UserID  string
	Kind    Kind
	Content json.RawMessage
	Sealed  string // the secret of its link; "" where it has none
	At      time.Time
}

// NewNote is a mail to a person, without a secret.
func NewNote(orgID, userID string, kind Kind, c Content, at time.Time) (Note, error) {
	content, err := json.Marshal(c)
	if err != nil {
		return Note{}, fmt.Errorf("encode mail: %w", err)
	}
	return Note{ID: id.New(ID), OrgID: orgID, UserID: userID, Kind: kind, Content: content, At: at}, nil
}

// Linking returns the note with the secret that its link ends in.
func (n Note) Linking(s Sealer, secret string) (Note, error) {
	sealed, err := s.Seal(secret, Bound(n.ID))
	if err != nil {
		return Note{}, fmt.Errorf("seal link: %w", err)
	}
	n.Sealed = sealed
	return n, nil
}

// Linking returns the draft with the secret that its link ends in.
func (d Draft) Linking(s Sealer, secret string) (Draft, error) {
	var l Letter
	if err := json.Unmarshal(d.Data, &l); err != nil {
		return Draft{}, fmt.Errorf("read letter: %w", err)
	}
	sealed, err := s.Seal(secret, Bound(d.ID))
	if err != nil {
		return Draft{}, fmt.Errorf("seal link: %w", err)
	}
	l.Sealed = sealed
	if d.Data, err = json.Marshal(l); err != nil {
		return Draft{}, fmt.Errorf("encode mail: %w", err)
	}
	return d, nil
}

// Invited asks somebody to become a member of an organisation. Its link is /invitation.
type Invited struct {
	Organization Name      `json:"organization"`
	Role         Name      `json:"role"`
	By           Name      `json:"by,omitempty"`
	Expires      time.Time `json:"expires"`
}

// Page implements [Content].
func (c Invited) Page() Page {
	org := c.Organization.Or("an organization")
	return Page{
		Subject: fmt.Sprintf("You are invited to “%s”", org),
		Lead: []string{
			fmt.Sprintf("You are invited to become a member of the organization “%s”.", org),
			fmt.Sprintf("The invitation is good until %s, and for you alone: do not pass this mail on.", date(c.Expires)),
		},
		Facts:  present([]Fact{{"Role", c.Role.Or("")}, {"Invited by", c.By.Or("")}}),
		Action: Action{Label: "Accept the invitation", Path: "/invitation", Sealed: true},
		Advice: []string{"If you do not know who invites you, do nothing: then nothing happens."},
	}
}

// PasswordReset has the link by which a password can be set, also the first one. Its
// link is /reset-password.
type PasswordReset struct {
	Expires time.Time `json:"expires"`
	Address string    `json:"address,omitempty"` // where it was asked for
}

// Page implements [Content].
func (c PasswordReset) Page() Page {
	return Page{
		Subject: "Set a new password",
		Lead: []string{
			"Somebody, probably you, asked for a new password for this mail address.",
			fmt.Sprintf("The link works once, until %s. It is for you alone: do not pass this mail on.", date(c.Expires)),
		},
		Facts:  present([]Fact{{"Asked from", Name(c.Address).Or("")}}),
		Action: Action{Label: "Set a new password", Path: "/reset-password", Sealed: true},
		Advice: []string{"If it was not you, do nothing: your password stays as it is."},
	}
}

// PasswordChanged tells that a password is another one now.
type PasswordChanged struct {
	At      time.Time `json:"at"`
	Address string    `json:"address,omitempty"`
	Device  Name      `json:"device,omitempty"` // what the browser calls itself
	Reset   bool      `json:"reset,omitempty"`  // it was set by a link from a mail
}

// Page implements [Content].
func (c PasswordChanged) Page() Page {
	how := "Your password was changed."
	if c.Reset {
		how = "Your password was set by a link that was sent to this address."
	}
	return Page{
		Subject: "Your password was changed",
		Lead:    []string{how + " Other sessions of yours have ended."},
		Facts:   circumstances(c.At, c.Address, c.Device),
		Action:  Action{Label: "Set a new password", Path: "/forgot-password"},
		Advice:  []string{"If it was not you, set a new password at once, and tell an admin of your organization."},
	}
}

func circumstances(at time.Time, address string, device Name) []Fact {
	return present([]Fact{{"At", date(at)}, {"From", Name(address).Or("")}, {"With", device.Or("")}})
}

// NewDevice tells that somebody signed in with a device that was not seen before.
type NewDevice struct {
	At      time.Time `json:"at"`
	Address string    `json:"address,omitempty"`
	Device  Name      `json:"device,omitempty"`
}

// Page implements [Content].
func (c NewDevice) Page() Page {
	return Page{
		Subject: "New sign-in to your account",
		Lead:    []string{"Somebody signed in to your account with a device that was not seen there before."},
		Facts:   circumstances(c.At, c.Address, c.Device),
		Action:  Action{Label: "See and end your sessions", Path: "/account"},
		Advice:  []string{"If it was not you, end that session, change your password at once, and tell an admin of your organization."},
	}
}

// FactorChange is what became of a person's second factors.
type FactorChange string

// The changes.
const (
	TOTPAdded         FactorChange = "totp_added"
	TOTPReplaced      FactorChange = "totp_replaced"
	TOTPRemoved       FactorChange = "totp_removed"
	PasskeyAdded      FactorChange = "passkey_added"
	PasskeyRemoved    FactorChange = "passkey_removed"
	PasskeyRefused    FactorChange = "passkey_refused"
	RecoveryRenewed   FactorChange = "recovery_codes_renewed"
	RecoveryCodeSpent FactorChange = "recovery_code_used"
)

func (c FactorChange) text() string {
	switch c {
	case TOTPAdded:
		return "An authenticator app was added to your account."
	case TOTPReplaced:
		return "The authenticator app of your account was replaced: codes of the one before work no more."
	case TOTPRemoved:
		return "The authenticator app was removed from your account."
	case PasskeyAdded:
		return "A passkey was added to your account."
	case PasskeyRemoved:
		return "A passkey was removed from your account."
	case PasskeyRefused:
		return "A passkey of your account was refused, for it has signed fewer times than it did before: somebody may use a copy of it. Remove it, unless you know better."
	case RecoveryRenewed:
		return "Your recovery codes were replaced: those that you had before work no more."
	case RecoveryCodeSpent:
		return "One of your recovery codes was used. It works no more."
	}
	return "The second factors of your account were changed."
}

// FactorChanged tells that a person's second factors are others now.
type FactorChanged struct {
	Change  FactorChange `json:"change"`
	Name    Name         `json:"name,omitempty"` // of a passkey
	Left    int          `json:"left,omitempty"` // recovery codes that are left
	At      time.Time    `json:"at"`
	Address string       `json:"address,omitempty"`
	Device  Name         `json:"device,omitempty"`
}

// Page implements [Content].
func (c FactorChanged) Page() Page {
	p := Page{
		Subject: "The second factors of your account were changed",
		Lead:    []string{c.Change.text()},
		Facts:   append(present([]Fact{{"Passkey", c.Name.Or("")}}), circumstances(c.At, c.Address, c.Device)...),
		Action:  Action{Label: "See what protects your account", Path: "/account"},
		Advice:  []string{"If it was not you, change your password at once, and tell an admin of your organization."},
	}
	if c.Change == PasskeyRefused {
		p.Subject = "A passkey of your account was refused"
	}
	if c.Change == RecoveryCodeSpent {
		p.Subject = "A recovery code was used"
		p.Facts = append(p.Facts, Fact{"Codes left", fmt.Sprint(c.Left)})
	}
	return p
}
