package mail

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
)

// Mail is what can be known of a mail: all but what it tells.
type Mail struct {
	ID         string
	Kind       Kind
	Recipient  string
	Status     Status
	Attempts   int
	LastError  string
	CreatedAt  time.Time
	NextAt     time.Time // zero where it is not queued
	FinishedAt time.Time // zero while it is queued
}

// Filter narrows a list of mails; what is empty narrows nothing.
type Filter struct {
	Status    Status
	Kind      Kind
	Recipient string // an address, in whatever case
}

// Store is an organisation's mails.
type Store interface {
	// Mails lists at most limit of them, the newest first, from before an id on.
	Mails(ctx context.Context, org string, f Filter, before string, limit int) ([]Mail, error)
	// Mail is one of them. NotFound.
	Mail(ctx context.Context, org, id string) (Mail, error)
	// Directory is whom it can be written to.
	Directory(ctx context.Context, org string) (Directory, error)
	// QueueTest queues a mail and records who wanted it, unless most mails of its
	// kind were queued since a time: then RateLimited.
	QueueTest(ctx context.Context, d Draft, limit TestLimit, rec audit.Record) error
}

// TestLimit is how many test mails there may be.
type TestLimit struct {
	Most  int
	Since time.Time
	Now   time.Time
}

// Directory is whom of an organisation can be written to.
type Directory struct {
	Name     Name
	Contacts map[string]string // addresses by what they are for
	People   []Person
}

// Person is an active member.
type Person struct {
	ID      string
	Address string
	Name    Name
	Role    authz.Role
	// Unwanted are the groups of mails that he does without.
	Unwanted []Group
}

// The contacts of an organisation.
const (
	ContactBilling   = "billing"
	ContactSecurity  = "security"
	ContactTechnical = "technical"
)

// address finds an address of the directory, and what its holder is there.
func (d Directory) address(text string) (address, why string, ok bool) {
	for _, p := range d.People {
		if strings.EqualFold(p.Address, text) {
			return p.Address, "a member", true
		}
	}
	for _, kind := range []string{ContactTechnical, ContactSecurity, ContactBilling} {
		if a := d.Contacts[kind]; a != "" && strings.EqualFold(a, text) {
			return a, "the " + kind + " contact", true
		}
	}
	return "", "", false
}

// person finds a member by id.
func (d Directory) person(userID string) (Person, bool) {
	i := slices.IndexFunc(d.People, func(p Person) bool { return p.ID == userID })
	if i < 0 {
		return Person{}, false
	}
	return d.People[i], true
}

// Service shows an organisation what became of its mails, and tries whether they
// arrive.
type Service struct {
	Store Store
	Now   func() time.Time
}

// List lists mails, the newest first.
func (s *Service) List(ctx context.Context, p authz.Principal, f Filter, before string, limit int) ([]Mail, error) {
	if err := p.Require(ctx, authz.DoSettingsRead); err != nil {
		return nil, err
	}
	return s.Store.Mails(ctx, p.OrgID, f, before, limit)
}

// Get is one mail. NotFound.
func (s *Service) Get(ctx context.Context, p authz.Principal, mailID string) (Mail, error) {
	if err := p.Require(ctx, authz.DoSettingsRead); err != nil {
		return Mail{}, err
	}
	return s.Store.Mail(ctx, p.OrgID, mailID)
}

// An organisation may try ten times an hour.
const (
	testMost   = 10
	testWithin = time.Hour
)

// Test queues a mail that says nothing but that mails arrive. It goes to a member or
// a contact of the organisation only: nobody else gets mail because somebody wants
// it. Without an address it goes to the technical contact, or else to the caller.
func (s *Service) Test(ctx context.Context, p authz.Principal, to string) (Mail, error) {
	if err := p.Require(ctx, authz.DoSettingsWrite); err != nil {
		return Mail{}, err
	}
	d, err := s.Store.Directory(ctx, p.OrgID)
	if err != nil {
		return Mail{}, err
	}
	address, why, err := testAddress(d, p, to)
	if err != nil {
		return Mail{}, err
	}
	by := p.Actor()
	if person, ok := d.person(p.OwnerID); ok {
		by = string(person.Name)
		if by == "" {
			by = person.Address
		}
	}
	now := s.Now()
	draft, err := NewDraft(d, p.OrgID, Recipient{Address: address, Why: why}, KindTest, Test{By: Name(by), At: now})
	if err != nil {
		return Mail{}, err
	}
	rec := audit.New(ctx, p, now, "mail.test", draft.ID).With(map[string]any{"recipient": address})
	if err := s.Store.QueueTest(ctx, draft, TestLimit{Most: testMost, Since: now.Add(-testWithin), Now: now}, rec); err != nil {
		return Mail{}, err
	}
	return s.Store.Mail(ctx, p.OrgID, draft.ID)
}

func testAddress(d Directory, p authz.Principal, to string) (address, why string, err error) {
	if to != "" {
		address, why, ok := d.address(to)
		if !ok {
			return "", "", fault.New(fault.Unprocessable, "a test mail goes to a member or a contact of the organization only").At("to")
		}
		return address, why, nil
	}
	if a := d.Contacts[ContactTechnical]; a != "" {
		return a, "the technical contact", nil
	}
	if person, ok := d.person(p.OwnerID); ok {
		return person.Address, "a member", nil
	}
	return "", "", fault.New(fault.Unprocessable, "the organization has no technical contact: name the address of a member").At("to")
}

// Recipient is who gets a mail, and as what.
type Recipient struct {
	Address string
	Why     string // "the billing contact"

	member *Person // nil for a contact
}

// declined tells whether it is a member who does without mails of a kind. A contact
// of the organisation gets all, also where it is a member's address.
func (r Recipient) declined(k Kind) bool { return r.member != nil && !r.member.wants(k) }

// NewDraft is a mail of its own: the same content to the same recipient may be
// queued again.
func NewDraft(d Directory, org string, to Recipient, kind Kind, c Content) (Draft, error) {
	content, err := json.Marshal(c)
	if err != nil {
		return Draft{}, fmt.Errorf("encode mail: %w", err)
	}
	data, err := json.Marshal(Letter{Organization: d.Name, Why: to.Why, Content: content})
	if err != nil {
		return Draft{}, fmt.Errorf("encode mail: %w", err)
	}
	mailID := id.New(ID)
	return Draft{ID: mailID, OrgID: org, Kind: kind, Recipient: to.Address, Data: data, Key: mailID}, nil
}
