// Package invitation brings people into organisations by mail: a member invites an
// address to a role, and who has that mailbox accepts.
//
// It owns the life of an invitation (open for seven days, sent again with another
// link, withdrawn, accepted once, or past its time) and the rules for it. There is one
// open invitation for an address in an organisation. Nobody invites to a role that he
// could not give, and an invitation is worth what its inviter may still give when it
// is accepted: one by somebody who was suspended or has a lower role since opens
// nothing.
//
// The link has a secret of 256 bits, in its fragment. Stored is the secret's SHA-256;
// the queue of mails has it sealed until the mail is written. To have the link shows
// whose mailbox it is: the address counts as verified. It does not show who one is:
// who has a password already proves himself by it, or is signed in; only who has none
// sets one. Passwords themselves are the matter of package signin, behind a port.
package invitation

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/member"
)

// Status is what has become of an invitation.
type Status string

// The states.
const (
	Open      Status = "open"
	Accepted  Status = "accepted"
	Withdrawn Status = "withdrawn"
	Expired   Status = "expired"
)

// Statuses lists them.
func Statuses() []Status { return []Status{Open, Accepted, Withdrawn, Expired} }

const (
	// Lifetime is how long a link is good.
	Lifetime = 7 * 24 * time.Hour
	// Retention is how long it can be seen what became of an invitation: it has the
	// address of somebody who may never have become a member.
	Retention = 90 * 24 * time.Hour
	// maxSends is how often one invitation is sent.
	maxSends = 10
	// sendEvery is the least time between two mails of one invitation.
	sendEvery = time.Minute
	// maxHourly is how many invitations of an organisation are sent within an hour:
	// invitations go to strangers, who did not ask for them.
	maxHourly = 100
	// maxProjects is in how many projects an invitation gives a role.
	maxProjects = 50
)

// Invitation asks somebody to become a member.
type Invitation struct {
	OrgID     string
	ID        string
	Email     string // in small letters
	Name      string // what the organisation calls the person; "": as he calls himself
	Role      string // a built-in one, or the id of one that the organisation made
	Projects  map[string]authz.ProjectRole
	Status    Status
	InvitedBy string // the credential
	InviterID string // the member or service account whose word it is
	Sends     int
	SentAt    time.Time
	CreatedAt time.Time
	ExpiresAt time.Time
	EndedAt   time.Time // zero while it is open
	MemberID  string    // who accepted it
}

// At is the invitation as it is at a moment: one whose time is over is no longer open,
// also before that was noted.
func (i Invitation) At(now time.Time) Invitation {
	if i.Status == Open && !now.Before(i.ExpiresAt) {
		i.Status, i.EndedAt = Expired, i.ExpiresAt
	}
	return i
}

// Hash is what is stored of a link's secret.
type Hash [sha256.Size]byte

const (
	// TokenPrefix is what the secrets of links begin with, so that scanners find them.
	TokenPrefix = "aiaas_invitation_"
	tokenBytes  = 32
)

// newToken makes the secret of a link.
func newToken() (token string, hash Hash) {
	var b [tokenBytes]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the process instead
	token = TokenPrefix + base64.RawURLEncoding.EncodeToString(b[:])
	return token, sha256.Sum256([]byte(token))
}

// hashOf is the hash of a token; a text that can be none costs no look-up.
func hashOf(token string) (Hash, error) {
	raw, ok := strings.CutPrefix(token, TokenPrefix)
	if b, err := base64.RawURLEncoding.Strict().DecodeString(raw); !ok || err != nil || len(b) != tokenBytes {
		return Hash{}, ErrGone()
	}
	return sha256.Sum256([]byte(token)), nil
}

// ErrNone is the answer to an id that is no invitation's of the organisation.
func ErrNone() *fault.Error { return fault.New(fault.NotFound, "there is no such invitation") }

// ErrGone is the one answer to every link that opens nothing, whatever the reason.
func ErrGone() *fault.Error {
	return fault.New(fault.NotFound, "The invitation is not good any more. Ask who invited you for another one.")
}

// Query asks for a part of a list.
type Query struct {
	Status Status    // "": any
	Now    time.Time // at which the status is meant
	Before string    // an id: older ones; "" from the newest
	Limit  int
}

// Standing is what an invitation is decided on: as it is, under a lock of the
// organisation.
type Standing struct {
	Invitation Invitation
	Members    member.Standing // the organisation's roles
	Projects   map[string]bool // ids of its projects that are not archived
	Directory  mail.Directory  // whom it knows: for the mail's words
	RoleName   string          // of the role as it was read
	Hourly     int             // invitations that were sent within the last hour
	Known      bool            // who has the address is a member already
	Full       bool            // the plan has no room for another member, open invitations included
	Another    bool            // another invitation of the address is open
}

// Sending is an invitation as it goes out.
type Sending struct {
	Invitation Invitation
	Hash       Hash
	Mail       mail.Draft
	Record     audit.Record
}

// Store keeps an organisation's invitations. What belongs to another is NotFound.
// Changes hold a lock of the organisation from before their edit is asked until they
// are done, and are one transaction with their audit records and mails.
type Store interface {
	// Send keeps the invitation that edit makes of what there is: a new one where none
	// of the id is kept yet, else the next sending of that one.
	Send(ctx context.Context, i Invitation, now time.Time, edit func(Standing) (Sending, error)) (Invitation, error)
	List(ctx context.Context, org string, q Query) ([]Invitation, error)
	Get(ctx context.Context, org, id string) (Invitation, error)
	// Withdraw ends an open invitation, unless edit refuses. Its link is dead.
	Withdraw(ctx context.Context, org, id string, edit func(Standing) (audit.Record, error)) error
}

// Offer is what who has a link finds.
type Offer struct {
	Invitation

	OrgName  string
	OrgOpen  bool // the organisation serves
	RoleName string
	UserID   string // of the person who has the address; "": he is not known yet
	Password bool   // the person has one
}

// Taking is how an invitation is accepted.
type Taking struct {
	Name     string // that the person gives himself, where he has none yet
	Password string // the first one, hashed; "": the person has proved himself
	At       time.Time
}

// Taken is an invitation that was accepted in this transaction, before anybody knows.
type Taken struct {
	Invitation Invitation
	UserID     string
	OwnName    string          // of the person
	Inviter    *member.Asked   // nil: he is gone
	Members    member.Standing // of the organisation, with the person as he would be
	Projects   map[string]bool // that are not archived
}

// Joining is what acceptance makes.
type Joining struct {
	Member   member.Member
	Projects map[string]authz.ProjectRole
	Records  []audit.Record
}

// AcceptStore keeps what acceptance changes.
type AcceptStore interface {
	// Find finds the invitation of a link, as it is at a moment. NotFound.
	Find(ctx context.Context, h Hash, now time.Time) (Offer, error)
	// Accept ends an open invitation as accepted, exactly once however many try, finds
	// the person or makes him, keeps his first password, and makes him the member that
	// edit decides on: one transaction with its audit records. NotFound where the link
	// opens nothing (any more); Conflict where a first password is given and there is
	// one, or there is no room.
	Accept(ctx context.Context, org string, h Hash, t Taking, edit func(Taken) (Joining, error)) error
}

// ExpiryStore ends what is past its time, across organisations.
type ExpiryStore interface {
	// Expire ends at most limit open invitations whose time is over, each with the
	// audit record that tell makes. Two at once end each one once.
	Expire(ctx context.Context, now time.Time, limit int, tell func(Invitation) audit.Record) (int, error)
	// Prune forgets at most limit that ended before a time, except those of
	// organisations under legal hold.
	Prune(ctx context.Context, before time.Time, limit int) (int, error)
}
