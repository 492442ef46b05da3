// Package invoice turns a closed month of the ledger into documents that are
// paid: it owns accounting months, the rounding to a currency's smallest coin,
// the life of an invoice, and what stands on it about buyer and seller.
//
// It does not count: every figure is a sum of ledger entries of one organisation,
// accounting month and currency. What rounding adds or takes is written back as
// entries of the same month, so that the ledger's sum is the invoice's total, and
// each entry is on exactly one invoice. Taxes are not computed here.
package invoice

import (
	"context"
	"io"
	"time"

	"github.com/aiaas/aiaas/shared/money"
)

// Status is where an invoice is in its life.
type Status string

// The statuses. A draft exists only between the two steps of a run; what is
// issued never changes but for its status. A preview is not stored.
const (
	Preview       Status = "preview"
	Draft         Status = "draft"
	Issued        Status = "issued"
	Paid          Status = "paid"
	PastDue       Status = "past_due"
	Uncollectible Status = "uncollectible"
	Void          Status = "void"
)

// Figures are what was used, and what it comes to in nano of the currency.
type Figures struct {
	Requests          int64
	InputTokens       int64
	CachedInputTokens int64 // part of InputTokens
	OutputTokens      int64
	Usage             money.Nano // exact
	Rounding          money.Nano // Amount - Usage
	Amount            money.Nano // a whole number of the currency's smallest coins
}

func (f *Figures) add(o Figures) {
	f.Requests += o.Requests
	f.InputTokens += o.InputTokens
	f.CachedInputTokens += o.CachedInputTokens
	f.OutputTokens += o.OutputTokens
	f.Usage += o.Usage
	f.Rounding += o.Rounding
	f.Amount += o.Amount
}

// Line is the use of one model in one project.
type Line struct {
	Figures

	ProjectID   string
	ProjectName string // when the month was closed
	Model       string
	// First and Last are when the line's requests were admitted. First may lie in a
	// month before the invoice's: that usage arrived after its own month was closed.
	First time.Time
	Last  time.Time
}

// Party is who pays, or who is paid.
type Party struct {
	Name    string
	Address []string
	Country string // ISO 3166-1 alpha-2, "" where not said
	TaxID   string
	Email   string
}

// Invoice is the bill for one month of an organisation, in one currency.
type Invoice struct {
	Figures

	ID       string // "" for a preview
	OrgID    string
	Status   Status
	Number   string // "" until it is issued
	Month    Month
	Zone     *time.Location // in which the month begins and ends
	Currency string
	Lines    []Line // empty where only summaries were asked for

	CreatedAt     time.Time
	IssuedAt      time.Time // zero until it is issued, as are the next five
	DueOn         time.Time // a date, as midnight UTC
	TermsDays     int
	PurchaseOrder string
	BillTo        Party
	Seller        Party
	Payment       []string // how to pay, in the seller's words
}

// Late reports whether the line has usage of months before the invoice's own.
func (i *Invoice) Late(l Line) bool {
	start, _ := i.Month.Bounds(i.Zone)
	return l.First.Before(start) && !l.First.IsZero()
}

// Profile is what an organisation wants on its invoices.
type Profile struct {
	Party

	PurchaseOrder string
	TermsDays     int
	UpdatedAt     time.Time // zero: nobody has set anything
}

// DefaultTerms is how many days after its date an invoice is due where the
// organisation has not agreed on another.
const DefaultTerms = 30

// Terms are the days that can be agreed on.
func Terms() []int { return []int{0, 15, 30, 60} }

// Seller is who issues invoices, under numbers of its own.
type Seller struct {
	Party

	ID        string
	Payment   []string // instructions: bank, IBAN, BIC
	Prefix    string   // of the numbers
	UpdatedAt time.Time
}

// DefaultSeller is the id of the one seller that every platform has.
const DefaultSeller = "default"

// Renderer draws an invoice as a document. The same invoice gives the same bytes.
type Renderer interface {
	Render(ctx context.Context, w io.Writer, inv *Invoice) error
}
