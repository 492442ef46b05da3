package invoice

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
)

// Settle is how long after a month's end its invoice is issued by schedule: what
// was admitted at the edge can end and be booked in its own month.
const Settle = time.Hour

// patience is how long a run that somebody waits for goes on asking for usage to be
// booked, in steps and over all organisations. Metering looks into the inbox four
// times a second.
const (
	patience = 40
	step     = 100 * time.Millisecond
)

// Waiting is the status of a run that could not close a month yet.
const Waiting Status = "waiting"

// MaxShown bounds the invoices that the answer of a run lists.
const MaxShown = 200

// Run is what a run did.
type Run struct {
	Month  Month
	Status Status // Issued; Preview where the month is not over; Waiting where usage must be booked first
	// Invoices are those of the month without their lines, at most MaxShown.
	Invoices []Invoice
	Counts   Counts
}

// Counts are what a run did.
type Counts struct {
	Issued  int64 // invoices
	Open    int64 // organisations whose month is not over
	Waiting int64 // organisations with usage that waits to be booked
	Failed  int64 // organisations whose month could not be closed or issued
}

// Service issues and shows invoices.
type Service struct {
	Books Books
	Store Store
	Orgs  Organizations
	Now   func() time.Time
	Log   *slog.Logger
}

// run is one run on its way.
type run struct {
	*Service

	month    Month
	actor    authz.Principal
	byHand   bool // somebody waits for the answer
	patience int  // steps that are left
	settle   time.Duration
	counts   Counts
	previews []Invoice
}

// Issue runs the invoices of a month: of the caller's organisation, or of all where
// the caller administers the platform. Months before it that have none are issued
// first. It can run any number of times, also at once, with one result. A month
// that is not over gives previews, and nothing is stored.
func (s *Service) Issue(ctx context.Context, p authz.Principal, m Month) (Run, error) {
	org, zone, now := "", time.UTC, s.Now()
	latest := MonthAt(now.Add(farthestEast), time.UTC)
	if p.Require(ctx, authz.DoInvoicesRun) != nil {
		if err := p.Require(ctx, authz.DoInvoicesIssue); err != nil {
			return Run{}, err
		}
		o, err := s.Orgs.Organization(ctx, p.OrgID)
		if err != nil {
			return Run{}, err
		}
		org, zone, latest = o.ID, o.Zone, MonthAt(now, o.Zone)
	}
	if m.After(latest) {
		return Run{}, fault.New(fault.Unprocessable, "the month %s has not begun", m).At("period")
	}
	r := &run{Service: s, month: m, actor: p, byHand: true, patience: patience}
	failed, err := r.all(ctx, org)
	if err != nil {
		return Run{}, err
	}
	if org != "" && failed != nil {
		return Run{}, failed
	}
	out := Run{Month: m, Status: Issued, Counts: r.counts}
	_, end := m.Bounds(zone)
	switch {
	case r.counts.Waiting > 0:
		out.Status = Waiting
	case r.counts.Open > 0 || now.Before(end):
		out.Status = Preview
	}
	if out.Invoices, err = s.Books.Of(ctx, m, org, MaxShown); err != nil {
		return Run{}, err
	}
	if org != "" && now.Before(end) && len(r.previews) == 0 {
		if r.previews, err = s.previews(ctx, org, m); err != nil {
			return Run{}, err
		}
	}
	out.Invoices = append(out.Invoices, r.previews...)
	out.Invoices = out.Invoices[:min(len(out.Invoices), MaxShown)]
	return out, nil
}

// farthestEast is what the first zone of a day is ahead of UTC.
const farthestEast = 14 * time.Hour

// IssueDue issues what is due by schedule, of all organisations, in the name of the
// actor. An error means that some organisations failed; the others are done.
func (s *Service) IssueDue(ctx context.Context, actor string) (Counts, error) {
	r := &run{
		Service: s, month: MonthAt(s.Now().Add(farthestEast), time.UTC).Previous(),
		actor: authz.Internal("", actor), settle: Settle,
	}
	failed, err := r.all(ctx, "")
	return r.counts, errors.Join(err, failed)
}

// all does what is due up to the run's month, organisation by organisation. What
// fails for one, which the first error tells, does not keep the others waiting.
func (r *run) all(ctx context.Context, org string) (failed, err error) {
	due, err := r.Books.Due(ctx, r.month, org)
	if err != nil {
		return nil, err
	}
	for len(due) > 0 {
		n := 1
		for n < len(due) && due[n].OrgID == due[0].OrgID {
			n++
		}
		err := r.one(ctx, due[:n])
		if ctx.Err() != nil {
			return nil, fault.Wrap(fault.Unavailable, "issue invoices", context.Cause(ctx))
		}
		switch {
		case errors.Is(err, errOpen):
			r.counts.Open++
		case errors.Is(err, ErrWaiting):
			r.counts.Waiting++
		case err != nil:
			r.counts.Failed++
			r.Log.ErrorContext(ctx, "issue invoices", "organization", due[0].OrgID, "error", err)
			failed = cmp.Or(failed, fmt.Errorf("issue invoices of %s: %w", due[0].OrgID, err))
		}
		due = due[n:]
	}
	return failed, nil
}

var errOpen = errors.New("the month is not over")

// one does what is due of one organisation, month by month: a month can't be closed
// before those before it are.
func (r *run) one(ctx context.Context, due []Due) error {
	org, err := r.Orgs.Organization(ctx, due[0].OrgID)
	if err != nil {
		return err
	}
	if r.byHand && r.Now().Before(endOf(r.month, org)) { // it was asked for a preview
		return cmp.Or(r.preview(ctx, org, due), errOpen)
	}
	var stopped error
	closed := due[0].Month.Previous()
	for _, d := range due {
		if stopped = r.close(ctx, org, d); stopped != nil {
			break
		}
		closed = d.Month
	}
	return cmp.Or(r.issue(ctx, org, closed), stopped)
}

func endOf(m Month, org Organization) time.Time {
	_, end := m.Bounds(org.Zone)
	return end
}

// preview shows the month as it stands, where it has begun and has usage.
func (r *run) preview(ctx context.Context, org Organization, due []Due) error {
	used := slices.ContainsFunc(due, func(d Due) bool { return d.Month == r.month })
	if !used || r.month.After(MonthAt(r.Now(), org.Zone)) || len(r.previews) >= MaxShown {
		return nil
	}
	previews, err := r.previewsOf(ctx, org, r.month)
	r.previews = append(r.previews, previews...)
	return err
}

func (r *run) close(ctx context.Context, org Organization, d Due) error {
	now := r.Now()
	if now.Before(endOf(d.Month, org).Add(r.settle)) {
		return errOpen
	}
	c := Closing{
		Due: d,
		Draw: func(currency string, lines []Line) (Invoice, error) {
			return draft(org, d.Month, currency, lines, now)
		},
		Record: r.record(ctx, "invoice.draft"),
	}
	for {
		err := r.Books.Close(ctx, c)
		if r.patience == 0 || !errors.Is(err, ErrWaiting) {
			return err
		}
		r.patience--
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(step):
		}
	}
}

// issue issues the drafts of an organisation: those of this run, and those that a
// run left behind.
func (r *run) issue(ctx context.Context, org Organization, upTo Month) error {
	drafts, err := r.Books.Drafts(ctx, org.ID, upTo)
	if err != nil {
		return err
	}
	for _, invoiceID := range drafts {
		issued, err := r.Books.Issue(ctx, Issuing{
			OrgID: org.ID, InvoiceID: invoiceID, Now: r.Now,
			Complete: func(i *Invoice, p Profile, s Seller, at time.Time) { complete(i, org, p, s, at) },
			Record:   r.record(ctx, "invoice.issue"),
		})
		if err != nil {
			return err
		}
		if issued {
			r.counts.Issued++
		}
	}
	return nil
}

func (r *run) record(ctx context.Context, action string) func(Invoice) audit.Record {
	return func(i Invoice) audit.Record {
		actor := r.actor
		actor.OrgID = i.OrgID
		at := i.CreatedAt
		if !i.IssuedAt.IsZero() {
			at = i.IssuedAt
		}
		return audit.New(ctx, actor, at, action, i.ID).With(map[string]any{
			"number": i.Number, "period": i.Month.String(), "currency": i.Currency, "total": Format(i.Amount, i.Currency),
		})
	}
}

// draft makes the draft of a month in one currency.
func draft(org Organization, m Month, currency string, lines []Line, now time.Time) (Invoice, error) {
	for i := range lines {
		lines[i].ProjectName = cmp.Or(org.Projects[lines[i].ProjectID], lines[i].ProjectID)
	}
	slices.SortFunc(lines, func(a, b Line) int {
		return cmp.Or(cmp.Compare(a.ProjectName, b.ProjectName), cmp.Compare(a.ProjectID, b.ProjectID), cmp.Compare(a.Model, b.Model))
	})
	total, err := round(lines, coin(currency))
	return Invoice{
		Figures: total, ID: id.New(id.Invoice), OrgID: org.ID, Status: Draft, Month: m, Zone: org.Zone,
		Currency: currency, Lines: lines, CreatedAt: now.UTC(),
	}, err
}

// complete sets what an invoice says of buyer and seller, and when it is due.
func complete(i *Invoice, org Organization, p Profile, s Seller, at time.Time) {
	i.BillTo = p.Party
	i.BillTo.Name = cmp.Or(p.Name, org.Name)
	i.PurchaseOrder, i.TermsDays = p.PurchaseOrder, p.TermsDays
	i.Seller, i.Payment = s.Party, s.Payment
	i.IssuedAt = at.UTC().Truncate(time.Microsecond) // as stores keep it
	y, m, d := i.IssuedAt.Date()
	i.DueOn = time.Date(y, m, d+p.TermsDays, 0, 0, 0, 0, time.UTC)
}
