package invoice

import (
	"context"
	"errors"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
)

// Organization is what invoices must know of one.
type Organization struct {
	ID       string
	Name     string
	Currency string
	Zone     *time.Location
	Projects map[string]string // names by id
}

// Organizations knows organisations. NotFound where there is none of that id.
type Organizations interface {
	Organization(ctx context.Context, org string) (Organization, error)
}

// ErrWaiting means that a month can't be closed yet: usage of it was recorded and
// is not booked.
var ErrWaiting = errors.New("usage of the month waits to be booked")

// Due is a month of an organisation that has usage and no issued invoice.
type Due struct {
	OrgID string
	Month Month
}

// Closing is how a month is closed.
type Closing struct {
	Due

	// Draw makes the draft of the month's sums in one currency.
	Draw func(currency string, lines []Line) (Invoice, error)
	// Record is written for each draft.
	Record func(Invoice) audit.Record
}

// Issuing is how a draft is issued.
type Issuing struct {
	OrgID     string
	InvoiceID string
	Now       func() time.Time // asked when the number can be taken
	// Complete sets what issuing adds to a draft, but for the number.
	Complete func(i *Invoice, p Profile, s Seller, at time.Time)
	// Record is written when the invoice has its number.
	Record func(Invoice) audit.Record
}

// Books closes months and issues invoices, of all organisations. Every method is
// one transaction, and bears being run any number of times, also at once.
type Books interface {
	// Due lists what has to be done up to a month, by organisation and month. An org
	// that is not "" is the only one.
	Due(ctx context.Context, upTo Month, org string) ([]Due, error)
	// Close closes a month: what comes after is booked in the next one. It keeps the
	// drafts, one for each currency, and enters their rounding into the ledger. A
	// month that is closed stays as it is. ErrWaiting: see there.
	Close(ctx context.Context, c Closing) error
	// Drafts are the ids of an organisation's drafts up to a month, in the order in
	// which they get their numbers.
	Drafts(ctx context.Context, org string, upTo Month) ([]string, error)
	// Issue gives a draft the next number of its seller and year; false where it was
	// issued before.
	Issue(ctx context.Context, i Issuing) (issued bool, err error)
	// Of are the invoices of a month without their lines, by organisation. An org
	// that is not "" is the only one.
	Of(ctx context.Context, m Month, org string, most int) ([]Invoice, error)
	// SaveSeller changes a seller. NotFound where there is none of that id.
	SaveSeller(ctx context.Context, s Seller, rec audit.Record) error
}

// Filter chooses invoices. Zero members choose all.
type Filter struct {
	Month  Month
	Status Status
}

// Store reads one organisation's invoices, and keeps its profile.
type Store interface {
	// List lists invoices without their lines, in the order of their ids.
	List(ctx context.Context, org string, f Filter, after string, most int) ([]Invoice, error)
	// Get returns an invoice with its lines, or NotFound.
	Get(ctx context.Context, org, invoiceID string) (Invoice, error)
	// Sums are the ledger's sums of a month by currency, as they stand. Of an amount
	// only Usage is set, of a project its id.
	Sums(ctx context.Context, org string, m Month) (map[string][]Line, error)
	// Profile is the organisation's; the zero one with [DefaultTerms] where it set none.
	Profile(ctx context.Context, org string) (Profile, error)
	SaveProfile(ctx context.Context, org string, p Profile, rec audit.Record) error
	// Seller is NotFound where there is none of that id.
	Seller(ctx context.Context, sellerID string) (Seller, error)
}
