package invoice

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
)

// List returns a page of the organisation's invoices, the oldest first.
func (s *Service) List(ctx context.Context, p authz.Principal, f Filter, after string, most int) ([]Invoice, error) {
	if err := p.Require(ctx, authz.DoInvoicesRead); err != nil {
		return nil, err
	}
	return s.Store.List(ctx, p.OrgID, f, after, most)
}

// Get returns an invoice with its lines.
func (s *Service) Get(ctx context.Context, p authz.Principal, invoiceID string) (Invoice, error) {
	if err := p.Require(ctx, authz.DoInvoicesRead); err != nil {
		return Invoice{}, err
	}
	return s.Store.Get(ctx, p.OrgID, invoiceID)
}

// Preview is what the running month comes to so far, in the organisation's
// currency where it has used several.
func (s *Service) Preview(ctx context.Context, p authz.Principal) (Invoice, error) {
	if err := p.Require(ctx, authz.DoInvoicesRead); err != nil {
		return Invoice{}, err
	}
	org, err := s.Orgs.Organization(ctx, p.OrgID)
	if err != nil {
		return Invoice{}, err
	}
	list, err := s.previewsOf(ctx, org, MonthAt(s.Now(), org.Zone))
	if err != nil {
		return Invoice{}, err
	}
	own := slices.IndexFunc(list, func(i Invoice) bool { return i.Currency == org.Currency })
	return list[max(own, 0)], nil
}

func (s *Service) previews(ctx context.Context, orgID string, m Month) ([]Invoice, error) {
	org, err := s.Orgs.Organization(ctx, orgID)
	if err != nil {
		return nil, err
	}
	return s.previewsOf(ctx, org, m)
}

// previewsOf are the invoices of a month as they would be now, by currency; one of
// nothing where nothing was used.
func (s *Service) previewsOf(ctx context.Context, org Organization, m Month) ([]Invoice, error) {
	sums, err := s.Store.Sums(ctx, org.ID, m)
	if err != nil {
		return nil, err
	}
	if len(sums) == 0 {
		sums = map[string][]Line{org.Currency: nil}
	}
	profile, err := s.Store.Profile(ctx, org.ID)
	if err != nil {
		return nil, err
	}
	seller, err := s.Store.Seller(ctx, DefaultSeller)
	if err != nil {
		return nil, err
	}
	now := s.Now()
	var out []Invoice
	for _, currency := range slices.Sorted(maps.Keys(sums)) {
		i, err := draft(org, m, currency, sums[currency], now)
		if err != nil {
			return nil, err
		}
		complete(&i, org, profile, seller, now)
		i.ID, i.Status, i.IssuedAt, i.DueOn = "", Preview, time.Time{}, time.Time{}
		out = append(out, i)
	}
	return out, nil
}
