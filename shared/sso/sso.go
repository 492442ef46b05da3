// Package sso lets the people of an organisation sign in at their own issuer of
// OpenID Connect, and says how far such an issuer is believed.
//
// An issuer is believed about people whose e-mail address is of a domain that the
// organisation has shown to be its own, by a record in the DNS, and about nobody
// else. What it says of them opens sessions in that organisation only, for who runs
// an issuer can be whomever he likes to be within it. Within an organisation the
// rule holds that nobody acts on a peer or a superior: a [Connection] vouches for
// people below whoever set it up; one that an owner set up vouches for all.
//
// People whom a connection brings for the first time become members, where they
// belong to a mapped group or there is a default role. Whoever was a member and was
// removed is not made one again by signing in: somebody has to add him. Roles that
// groups give follow the groups at each sign-in; roles that people gave stay where
// no group speaks.
//
// The package owns domains, connections, the identities that people have at issuers,
// and sign-ins that are under way. It does not own the protocol, which is behind
// [Issuers], nor sessions or second factors.
package sso

import (
	"context"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/member"
)

// Domain is a domain of e-mail addresses that an organisation says is its own.
type Domain struct {
	OrgID      string
	ID         string
	Name       string // lower case, in Punycode
	Token      string
	CreatedBy  string
	CreatedAt  time.Time
	VerifiedAt time.Time // zero: not verified yet, or not any more
	CheckedAt  time.Time // when the record was looked for last; zero: never since
	Missed     int       // so many times in a row it was not there
}

// Verified reports whether the organisation has shown that the domain is its own.
func (d Domain) Verified() bool { return !d.VerifiedAt.IsZero() }

// RecordName is the name under which the DNS has to show [Domain.RecordValue], in a
// record of the type TXT.
func (d Domain) RecordName() string { return "_aiaas-challenge." + d.Name }

// RecordValue is the text of that record.
func (d Domain) RecordValue() string { return "aiaas-domain-verification=" + d.Token }

// Connection is an issuer that an organisation trusts with its people.
type Connection struct {
	OrgID       string
	ID          string
	Name        string
	Issuer      string            // its address; never changed, for subjects are known by it
	ClientID    string            // that the issuer knows the platform by; never changed either
	Secret      string            // sealed, bound to the connection's id; "" of a public client
	Domains     []string          // that it serves; none: all verified ones that no other names
	DefaultRole string            // of who is in no mapped group; "": he is refused
	GroupsClaim string            // the claim that lists groups; "" where none does
	GroupRoles  map[string]string // the stored role that a group gives
	Required    bool              // its people sign in by it only; owners may do otherwise. Demands TrustMFA
	TrustMFA    bool              // a second factor that was shown to it counts
	Enabled     bool
	Authority   string // the stored role of who last said whom it speaks for
	CreatedBy   string
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// Identity is a person as an issuer knows him.
type Identity struct {
	OrgID        string
	ID           string
	ConnectionID string
	Subject      string
	UserID       string
	Email        string // that the platform knows him by; "" where he is no member any more
	GivenRole    string // that a group gave him last; "": none did
	CreatedAt    time.Time
	SeenAt       time.Time
}

// The most there may be of something in one organisation.
const (
	MaxDomains     = 50
	MaxConnections = 10
)

// Domains keeps an organisation's domains. Changes are one transaction each with
// their audit records.
type Domains interface {
	// AddDomain is a Conflict where the organisation has it already, or too many.
	AddDomain(ctx context.Context, d Domain, rec audit.Record) error
	// ListDomains returns all of them, the oldest first.
	ListDomains(ctx context.Context, org string) ([]Domain, error)
	GetDomain(ctx context.Context, org, domainID string) (Domain, error)
	// Holder tells which organisation has verified the domain of a name; nil where none
	// has.
	Holder(ctx context.Context, name string) (*Holder, error)
	// VerifyDomain notes that the record was seen, and takes the domain from its holder
	// where one is given. Conflict: another organisation has it.
	VerifyDomain(ctx context.Context, org, domainID string, rec audit.Record, from *Loss) (Domain, error)
	RemoveDomain(ctx context.Context, org, domainID string, rec audit.Record) error
}

// Holder is an organisation that has verified a domain.
type Holder struct {
	Domain Domain // its OrgID, ID, Name and Token
	Closed bool   // the organisation is closed
}

// Loss is the end of a domain's being verified, against the will of its holder.
type Loss struct {
	Domain Domain
	Record audit.Record // of the organisation that loses it
}

// Watched keeps what is known of verified domains, of all organisations.
type Watched interface {
	// Due lists verified domains that were not looked at since a moment, in the order of
	// their ids.
	Due(ctx context.Context, before time.Time, after string, limit int) ([]Domain, error)
	// Checked notes what a look at a domain told, where nobody else has looked since: how
	// often in a row the record was missing. Lose, unless it is nil, ends its being
	// verified, and the sessions of who came in by it. It reports whether it did any of it.
	Checked(ctx context.Context, d Domain, missed int, at time.Time, lose *audit.Record) (bool, error)
}

// Circumstances are what a change of a connection is decided on, under the lock of
// the organisation.
type Circumstances struct {
	Standing member.Standing
	Verified []string // domains
	Others   int      // connections besides this one
}

// Connections keeps an organisation's connections. Changes are one transaction each
// with their audit records.
type Connections interface {
	CreateConnection(ctx context.Context, c Connection, check func(Circumstances) (audit.Record, error)) error
	// ListConnections returns all of them, the oldest first.
	ListConnections(ctx context.Context, org string) ([]Connection, error)
	GetConnection(ctx context.Context, org, connectionID string) (Connection, error)
	ChangeConnection(ctx context.Context, org, connectionID string, edit func(Circumstances, Connection) (Connection, audit.Record, error)) (Connection, error)
	// DeleteConnection removes a connection with the identities that it made known.
	DeleteConnection(ctx context.Context, org, connectionID string, rec func(Connection) audit.Record) error
}

// Identities keeps whom an organisation knows by its connections.
type Identities interface {
	// ListIdentities returns a page, in the order of their ids.
	ListIdentities(ctx context.Context, org, after string, limit int) ([]Identity, error)
	// Unlink forgets an identity.
	Unlink(ctx context.Context, org, identityID string, check func(Identity, *member.Member) (audit.Record, error)) error
}

// Names looks texts up in the DNS.
type Names interface {
	// Texts returns the texts of the TXT records of a name; none where there is no such
	// name. An error: nobody answered.
	Texts(ctx context.Context, name string) ([]string, error)
}

// Vault seals what must be read again, bound to the id of what it belongs to.
type Vault interface {
	Seal(plain, boundTo string) (string, error)
	Open(sealed, boundTo string) (string, error)
}

// Client is what the platform is to an issuer.
type Client struct {
	Issuer      string
	ID          string
	Secret      string // in the clear; "" of a public client
	RedirectURL string
	GroupsClaim string
}

// Attempt is one sign-in at an issuer.
type Attempt struct {
	State    string
	Nonce    string
	Verifier string // of PKCE
	Hint     string // the e-mail address that was typed
	Anew     bool   // the issuer is to ask the person again, however long ago it did
}

// Return is how the browser comes back from an issuer.
type Return struct {
	Code   string
	Issuer string // the parameter iss of RFC 9207; "" where there was none
}

// Claims are what an issuer says of who has signed in. They were verified: the issuer
// says so, of this attempt, to this client.
type Claims struct {
	Subject       string
	Email         string
	EmailVerified bool
	Name          string
	Groups        []string
	AuthTime      time.Time // when he proved himself; zero where it was not said
	Methods       []string  // how: amr
	Class         string    // acr
}

// Issuers speaks OpenID Connect. Its errors are of the type [*IssuerError].
type Issuers interface {
	// Check reads what the issuer publishes about itself.
	Check(ctx context.Context, issuer string) error
	// Begin is the address that the browser is sent to.
	Begin(ctx context.Context, c Client, a Attempt) (string, error)
	// Redeem gets and verifies what the issuer says of who has come back.
	Redeem(ctx context.Context, c Client, a Attempt, r Return) (Claims, error)
}

// Trouble is what kind of trouble there was with an issuer.
type Trouble string

// The kinds of trouble.
const (
	Unreachable  Trouble = "unreachable"   // or not allowed to be connected to, or too slow
	Misdescribed Trouble = "misdescribed"  // what it publishes of itself is no use
	Rejected     Trouble = "rejected"      // it does not take the code, or the client
	Untrusted    Trouble = "untrusted"     // what it gave is not what it must give
	MixedUp      Trouble = "wrong_issuer"  // the answer is another issuer's
	Impersonal   Trouble = "no_person"     // it does not say who it is
	Stale        Trouble = "not_recent"    // it has not asked the person anew
	Declined     Trouble = "access_denied" // the person, or the issuer, said no
	Failing      Trouble = "issuer_error"  // it says that something went wrong
)

// IssuerError is trouble with an issuer. Its text is for operators and for the
// organisation's audit: it has nothing of the platform's network, and nothing that
// the issuer or the browser wrote.
type IssuerError struct {
	Trouble Trouble
	Text    string
	Err     error // for the log; may quote what was sent
}

// Error implements error.
func (e *IssuerError) Error() string {
	if e.Err != nil {
		return string(e.Trouble) + ": " + e.Text + ": " + e.Err.Error()
	}
	return string(e.Trouble) + ": " + e.Text
}

// Unwrap returns the cause.
func (e *IssuerError) Unwrap() error { return e.Err }

// State is a sign-in that is under way.
type State struct {
	OrgID        string
	ConnectionID string
	SessionID    string // that is to be proved anew; "" for a sign-in
	ReturnTo     string // a local path; "" for none
	StateHash    []byte // SHA-256
	BrowserHash  []byte
	CreatedAt    time.Time
	ExpiresAt    time.Time
}

// Flows keeps sign-ins that are under way.
type Flows interface {
	// Find tells where people with addresses of a domain sign in; NotFound where they
	// don't.
	Find(ctx context.Context, domain string) (org, connectionID string, err error)
	// Connection reads one, and the names of the organisation's verified domains.
	Connection(ctx context.Context, org, connectionID string) (Connection, []string, error)
	// Put adds a sign-in.
	Put(ctx context.Context, s State) error
	// Take ends it and returns it: to one caller only, however many ask at once.
	// NotFound where there is none of these hashes.
	Take(ctx context.Context, stateHash, browserHash []byte) (State, error)
	// SessionOf is the connection that a live session began by, and whose it is.
	SessionOf(ctx context.Context, org, sessionID string) (connectionID, userID string, err error)
	// Refused records why somebody whom an issuer has vouched for was not let in.
	Refused(ctx context.Context, rec audit.Record) error
}

// Forgetter forgets sign-ins.
type Forgetter interface {
	// Forget forgets at most so many sign-ins that are past their time, and tells how many.
	Forget(ctx context.Context, before time.Time, limit int) (int, error)
}

// Arrival is somebody whom an issuer has vouched for.
type Arrival struct {
	OrgID        string
	ConnectionID string
	Claims       Claims
	Address      string
	At           time.Time
}

// Before is what an arrival is decided on, under the lock of the organisation.
type Before struct {
	Connection Connection
	Verified   []string // domains
	UserID     string   // whom the identity or the address belongs to
	Identity   *Identity
	// Other is another identity of the same person at the same connection.
	Other    bool
	Departed bool
	// Standing has the member; its Member.ID is "" where he is none.
	Standing member.Standing
}

// Admission is what becomes of an arrival: the member as he is to be, and what is
// recorded.
type Admission struct {
	Member    member.Member
	GivenRole string
	Records   []audit.Record
}

// Admissions lets people in.
type Admissions interface {
	// Admit finds whom an arrival is, and does what decide says, in one transaction:
	// adds or changes the member and keeps the identity.
	Admit(ctx context.Context, a Arrival, decide func(Before) (Admission, error)) (Admission, error)
	// Serves tells whether a connection of the organisation that people must use serves
	// a member who is bound by it: one with an address of a domain that it serves, and
	// not an owner.
	Serves(ctx context.Context, org, userID string) (bool, error)
	// Vouched is what is known of a person whom a connection has let in: the connection, the
	// verified domains, the member and the identity, which is nil where there is none any
	// more. NotFound where connection or member is gone.
	Vouched(ctx context.Context, org, connectionID, userID string) (Before, error)
	// Linked is the person whom the connection knows by the subject; NotFound where
	// there is none.
	Linked(ctx context.Context, org, connectionID, subject string) (userID string, err error)
}
