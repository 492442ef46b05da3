package invoice

import (
	"context"
	"net/mail"
	"slices"
	"strings"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/naming"
)

// The bounds of what stands on an invoice's head.
const (
	maxText  = 200 // bytes of a line
	maxLines = 8
)

// Profile is what the caller's organisation wants on its invoices.
func (s *Service) Profile(ctx context.Context, p authz.Principal) (Profile, error) {
	if err := p.Require(ctx, authz.DoBillingRead); err != nil {
		return Profile{}, err
	}
	return s.Store.Profile(ctx, p.OrgID)
}

// SetProfile sets what stands on invoices that are issued from now on.
func (s *Service) SetProfile(ctx context.Context, p authz.Principal, next Profile) (Profile, error) {
	if err := p.Require(ctx, authz.DoBillingWrite); err != nil {
		return Profile{}, err
	}
	if err := next.check(); err != nil {
		return Profile{}, err
	}
	if err := checkLine("purchase_order", next.PurchaseOrder); err != nil {
		return Profile{}, err
	}
	if !slices.Contains(Terms(), next.TermsDays) {
		return Profile{}, fault.New(fault.Unprocessable, "an invoice is due after 0, 15, 30 or 60 days").At("terms_days")
	}
	next.UpdatedAt = s.Now().UTC()
	detail := next.detail()
	detail["purchase_order"], detail["terms_days"] = next.PurchaseOrder, next.TermsDays
	rec := audit.New(ctx, p, next.UpdatedAt, "billing.update", p.OrgID).With(detail)
	return next, s.Store.SaveProfile(ctx, p.OrgID, next, rec)
}

// Seller is who issues invoices.
func (s *Service) Seller(ctx context.Context, p authz.Principal, sellerID string) (Seller, error) {
	if err := p.Require(ctx, authz.DoSellersRead); err != nil {
		return Seller{}, err
	}
	return s.Store.Seller(ctx, sellerID)
}

// SetSeller sets who issues invoices from now on. Numbers go on in their order under
// a new prefix.
func (s *Service) SetSeller(ctx context.Context, p authz.Principal, next Seller) (Seller, error) {
	if err := p.Require(ctx, authz.DoSellersWrite); err != nil {
		return Seller{}, err
	}
	if strings.TrimSpace(next.Name) == "" {
		return Seller{}, fault.New(fault.Unprocessable, "a seller has a name").At("name")
	}
	if err := next.check(); err != nil {
		return Seller{}, err
	}
	if err := checkLines("payment_instructions", next.Payment); err != nil {
		return Seller{}, err
	}
	if !isPrefix(next.Prefix) {
		return Seller{}, fault.New(fault.Unprocessable, "a number begins with 1 to 16 of A-Z, 0-9 and -").At("number_prefix")
	}
	next.UpdatedAt = s.Now().UTC()
	detail := next.detail()
	detail["payment_instructions"], detail["number_prefix"] = next.Payment, next.Prefix
	rec := audit.New(ctx, p, next.UpdatedAt, "seller.update", next.ID).With(detail)
	return next, s.Books.SaveSeller(ctx, next, rec)
}

func isPrefix(s string) bool {
	return s != "" && len(s) <= 16 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
	})
}

// detail is the party as it is audited.
func (p Party) detail() map[string]any {
	return map[string]any{"name": p.Name, "address": p.Address, "country": p.Country, "tax_id": p.TaxID, "email": p.Email}
}

func (p Party) check() error {
	for _, l := range []struct{ member, text string }{{"name", p.Name}, {"tax_id", p.TaxID}, {"email", p.Email}} {
		if err := checkLine(l.member, l.text); err != nil {
			return err
		}
	}
	if p.Email != "" {
		if a, err := mail.ParseAddress(p.Email); err != nil || a.Address != p.Email {
			return fault.New(fault.Unprocessable, "this is no e-mail address").At("email")
		}
	}
	if p.Country != "" && (len(p.Country) != 2 || strings.Trim(p.Country, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "") {
		return fault.New(fault.Unprocessable, "a country is two capital letters (ISO 3166)").At("country")
	}
	return checkLines("address", p.Address)
}

func checkLines(member string, lines []string) error {
	if len(lines) > maxLines {
		return fault.New(fault.Unprocessable, "at most %d lines", maxLines).At(member)
	}
	for _, l := range lines {
		if err := checkLine(member, l); err != nil {
			return err
		}
	}
	return nil
}

func checkLine(member, text string) error {
	if len(text) > maxText {
		return fault.New(fault.Unprocessable, "at most %d bytes a line", maxText).At(member)
	}
	return naming.Line(member, text, maxText)
}
