package invoices

import (
	"context"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/invoice"
)

// BillingDetails are what an organisation wants on its invoices.
type BillingDetails struct {
	PartyDetails

	PurchaseOrder string `json:"purchase_order,omitempty" maxLength:"200"`
	TermsDays     *int   `json:"terms_days,omitempty" nullable:"false" minimum:"0" maximum:"60" doc:"Days until an invoice is due: 0, 15, 30 or 60; left out, 30."`
}

// Billing is an organisation's billing details.
type Billing struct {
	BillingDetails

	UpdatedAt *time.Time `json:"updated_at" doc:"null where they were never set."`
}

// SellerDetails are who issues invoices.
type SellerDetails struct {
	PartyDetails

	Payment []string `json:"payment_instructions,omitempty" maxItems:"8" nullable:"false" example:"[\"IBAN DE02 1203 0000 0000 2020 51\",\"BIC BYLADEM1001\"]" doc:"Line by line: bank, IBAN, BIC."`
	Prefix  string   `json:"number_prefix,omitempty" maxLength:"16" example:"INV" doc:"What invoice numbers begin with: A-Z, 0-9 and -; left out, INV."`
}

// Seller is who issues invoices.
type Seller struct {
	ID string `json:"id" example:"default"`
	SellerDetails

	UpdatedAt *time.Time `json:"updated_at" doc:"null where it was never set."`
}

type billingOutput struct{ Body Billing }

func (h *handlers) billing(ctx context.Context, p authz.Principal, _ *struct{}) (*billingOutput, error) {
	profile, err := h.svc.Profile(ctx, p)
	if err != nil {
		return nil, err
	}
	return &billingOutput{Body: showBilling(profile)}, nil
}

type setBillingInput struct{ Body BillingDetails }

func (h *handlers) setBilling(ctx context.Context, p authz.Principal, in *setBillingInput) (*billingOutput, error) {
	next := invoice.Profile{Party: in.Body.party(), PurchaseOrder: in.Body.PurchaseOrder, TermsDays: invoice.DefaultTerms}
	if in.Body.TermsDays != nil {
		next.TermsDays = *in.Body.TermsDays
	}
	done, err := h.svc.SetProfile(ctx, p, next)
	if err != nil {
		return nil, err
	}
	return &billingOutput{Body: showBilling(done)}, nil
}

func showBilling(p invoice.Profile) Billing {
	return Billing{
		BillingDetails: BillingDetails{PartyDetails: party(p.Party), PurchaseOrder: p.PurchaseOrder, TermsDays: &p.TermsDays},
		UpdatedAt:      orNull(p.UpdatedAt),
	}
}

type sellerInput struct {
	ID string `path:"id" maxLength:"100" example:"default"`
}

type sellerOutput struct{ Body Seller }

func (h *handlers) seller(ctx context.Context, p authz.Principal, in *sellerInput) (*sellerOutput, error) {
	s, err := h.svc.Seller(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	return &sellerOutput{Body: showSeller(s)}, nil
}

type setSellerInput struct {
	ID   string `path:"id" maxLength:"100" example:"default"`
	Body SellerDetails
}

func (h *handlers) setSeller(ctx context.Context, p authz.Principal, in *setSellerInput) (*sellerOutput, error) {
	next := invoice.Seller{ID: in.ID, Party: in.Body.party(), Payment: in.Body.Payment, Prefix: in.Body.Prefix}
	if next.Prefix == "" {
		next.Prefix = "INV"
	}
	done, err := h.svc.SetSeller(ctx, p, next)
	if err != nil {
		return nil, err
	}
	return &sellerOutput{Body: showSeller(done)}, nil
}

func showSeller(s invoice.Seller) Seller {
	return Seller{
		ID: s.ID, SellerDetails: SellerDetails{PartyDetails: party(s.Party), Payment: s.Payment, Prefix: s.Prefix}, UpdatedAt: orNull(s.UpdatedAt),
	}
}

func (d PartyDetails) party() invoice.Party {
	return invoice.Party{Name: d.Name, Address: d.Address, Country: d.Country, TaxID: d.TaxID, Email: d.Email}
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func exampleBilling() BillingDetails {
	days := invoice.DefaultTerms
	return BillingDetails{
		PartyDetails: PartyDetails{
			Name: "Example GmbH", Address: []string{"Musterweg 1", "10115 Berlin"}, Country: "DE", TaxID: "DE123456789", Email: "billing@example.com",
		},
		PurchaseOrder: "PO-4711", TermsDays: &days,
	}
}

func exampleSeller() SellerDetails {
	return SellerDetails{
		PartyDetails: PartyDetails{Name: "Models Inc.", Address: []string{"1 Main Street", "Springfield"}, Country: "US"},
		Payment:      []string{"IBAN DE02 1203 0000 0000 2020 51", "BIC BYLADEM1001"}, Prefix: "INV",
	}
}
