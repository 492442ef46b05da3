package organization

import (
	"context"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/invoice"
	"github.com/aiaas/aiaas/shared/tenant"
)

// Patch is what the platform changes of an organisation; what is nil stays.
type Patch struct {
	Name      *string
	Slug      *string
	Plan      *tenant.Plan
	Overrides *tenant.Overrides // all of them
	Contacts  Contacts
	PriceBook *string
	Currency  *string
	Zone      *string
	LegalHold *bool
	TrialEnds *time.Time
}

// Contacts are changes of contacts; "" takes one away, nil leaves it.
type Contacts struct {
	Billing, Security, Technical *string
}

func (c Contacts) over(old tenant.Contacts) tenant.Contacts {
	set(&old.Billing, c.Billing)
	set(&old.Security, c.Security)
	set(&old.Technical, c.Technical)
	return old
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// Change changes an organisation.
func (s *Service) Change(ctx context.Context, p authz.Principal, org string, c Patch) (Organization, error) {
	if err := p.Require(ctx, authz.DoTenantsWrite); err != nil {
		return Organization{}, err
	}
	if c == (Patch{}) {
		return Organization{}, errNoChange()
	}
	return s.change(ctx, p, org, act{action: "organization.change"}, func(o *Organization) error { return s.apply(ctx, o, c) })
}

func errNoChange() error { return fault.New(fault.Unprocessable, "nothing is to be changed") }

func (s *Service) apply(ctx context.Context, o *Organization, c Patch) error {
	if c.TrialEnds != nil && o.Status != tenant.Trial {
		return fault.New(fault.Conflict, "the organization is not in a trial").At("trial_ends_at")
	}
	set(&o.TrialEnds, c.TrialEnds)
	set(&o.Plan, c.Plan)
	set(&o.LegalHold, c.LegalHold)
	set(&o.Overrides, c.Overrides)
	if err := o.Overrides.Over(tenant.Bounds{}).Check(); err != nil {
		return err
	}
	if err := head(o, c.Name, c.Slug, c.Contacts); err != nil {
		return err
	}
	if err := s.setMoney(ctx, o, c); err != nil {
		return err
	}
	return setZone(ctx, s.Ledger, o, c.Zone, s.Now())
}

// head sets what people know an organisation by.
func head(o *Organization, name, slug *string, c Contacts) error {
	if name != nil {
		if err := tenant.CheckName("name", *name); err != nil {
			return err
		}
		o.Name = *name
	}
	if slug != nil {
		if err := tenant.CheckSlug(*slug); err != nil {
			return err
		}
		o.Slug = *slug
	}
	o.Contacts = c.over(o.Contacts)
	return checkContacts(o.Contacts)
}

// setMoney sets price book and currency, which are one thing: all that is counted in
// money of an organisation is in its one currency. So another currency is refused
// once anything was.
func (s *Service) setMoney(ctx context.Context, o *Organization, c Patch) error {
	if c.PriceBook == nil && c.Currency == nil {
		return nil
	}
	var book, currency string
	set(&book, c.PriceBook)
	set(&currency, c.Currency)
	if c.PriceBook == nil && currency == o.Currency {
		return nil
	}
	book, currency, err := s.priceBook(ctx, book, currency)
	if err != nil {
		return err
	}
	if currency != o.Currency {
		booked, err := s.Ledger.Booked(ctx, o.ID)
		if err != nil {
			return err
		}
		if booked {
			return fault.New(fault.Conflict, "the organization has usage or budgets in %s; its currency is settled", o.Currency).At("currency")
		}
	}
	o.PriceBook, o.Currency = book, currency
	return nil
}

// priceBook finds the price book: the one that is named, else the first in the
// currency; where nothing is named, the platform's first.
func (s *Service) priceBook(ctx context.Context, book, currency string) (string, string, error) {
	if book == "" && currency == "" {
		book = tenant.DefaultPriceBook
	}
	books, err := s.Catalogue.ReadPriceBooks(ctx)
	if err != nil {
		return "", "", err
	}
	for _, b := range books {
		switch {
		case book != "" && b.ID != book, book == "" && b.Currency != currency:
		case currency != "" && b.Currency != currency:
			return "", "", fault.New(fault.Unprocessable, "the price book %q is in %s", b.ID, b.Currency).At("currency")
		default:
			return b.ID, b.Currency, nil
		}
	}
	if book != "" {
		return "", "", fault.New(fault.Unprocessable, "there is no such price book").At("price_book")
	}
	return "", "", fault.New(fault.Unprocessable, "there is no price book in this currency").At("currency")
}

// nearEdge is how far from the edge of a month a time zone is left alone: as long as
// requests may take, and other processes to hear of the change.
const nearEdge = time.Hour

// setZone sets the time zone. A request belongs to the month that it was admitted in,
// on the organisation's clock of that time. So that a change moves none to another
// month, it must be the same month on both clocks, and not about to end or just
// begun; and the months before must be closed, for their invoices state their bounds.
// The running month ends on the new clock. Budgets keep the clock that they were
// made with.
func setZone(ctx context.Context, ledger Ledger, o *Organization, zone *string, now time.Time) error {
	if zone == nil || *zone == o.Zone {
		return nil
	}
	next, err := loadZone(*zone)
	if err != nil {
		return err
	}
	was, err := loadZone(o.Zone)
	if err != nil {
		return err
	}
	month := invoice.MonthAt(now, was)
	for _, at := range []time.Time{now.Add(-nearEdge), now.Add(nearEdge)} {
		if invoice.MonthAt(at, was) != month || invoice.MonthAt(at, next) != month {
			return fault.New(fault.Conflict, "a month ends or begins now in one of the two time zones; try again in a day").At("time_zone")
		}
	}
	unsettled, err := ledger.Unsettled(ctx, o.ID, month)
	if err != nil {
		return err
	}
	if unsettled {
		return fault.New(fault.Conflict, "a month before %s has no invoice yet; its bounds are of the time zone as it is", month).At("time_zone")
	}
	o.Zone = *zone
	return nil
}

// loadZone reads an IANA name. "Local" is none: it means another zone on every host.
func loadZone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "" || name == "Local" {
		return nil, fault.New(fault.Unprocessable, "there is no time zone of this name; they are written like \"Europe/Berlin\"").At("time_zone")
	}
	return zone, nil
}
