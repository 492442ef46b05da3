package organizations

import (
	"context"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/organization"
	"github.com/aiaas/aiaas/shared/rest"
	"github.com/aiaas/aiaas/shared/tenant"
)

type listInput struct {
	Status string `query:"status" enum:"active,trial,suspended,closed" doc:"Only those in this state."`
	Plan   string `query:"plan" maxLength:"40" doc:"Only those on this plan."`
	Q      string `query:"q" maxLength:"200" doc:"Only those with this in their name or slug, in any case, or of this id."`
	rest.Paging
}

type listOutput struct{ Body rest.List[Organization] }

func (h *handlers) list(ctx context.Context, p authz.Principal, in *listInput) (*listOutput, error) {
	after, err := in.After(id.Organization)
	if err != nil {
		return nil, err
	}
	found, err := h.svc.List(ctx, p, organization.Filter{
		Status: tenant.Status(in.Status), Plan: tenant.Plan(in.Plan), Text: in.Q, After: after, Limit: in.Fetch(),
	})
	if err != nil {
		return nil, err
	}
	now := h.svc.Now()
	return &listOutput{Body: rest.Page(in.Paging, found,
		func(o organization.Organization) string { return o.ID },
		func(o organization.Organization) Organization { return show(o, now) })}, nil
}

// NewOrganization is the body that creates an organization.
type NewOrganization struct {
	Name        string                      `json:"name" minLength:"1" maxLength:"200"`
	Slug        string                      `json:"slug,omitempty" maxLength:"63" doc:"A short name that nobody else has; left out, one is made."`
	Plan        string                      `json:"plan,omitempty" maxLength:"40" doc:"Left out: starter."`
	Currency    string                      `json:"currency,omitempty" maxLength:"3" example:"USD" doc:"Left out: the price book's."`
	PriceBook   string                      `json:"price_book,omitempty" maxLength:"200" doc:"Left out: the first in the currency."`
	TimeZone    string                      `json:"time_zone,omitempty" maxLength:"100" example:"Europe/Berlin" doc:"Its months and budgets are of this zone. Left out: UTC."`
	TrialEndsAt *time.Time                  `json:"trial_ends_at,omitempty" nullable:"true" doc:"Makes it a trial."`
	Contacts    *OrganizationContactsChange `json:"contacts,omitempty" nullable:"false"`
	Owner       NewOwner                    `json:"owner"`
}

// NewOwner is who owns a new organization.
type NewOwner struct {
	Email string `json:"email" minLength:"3" maxLength:"254"`
	Name  string `json:"name,omitempty" maxLength:"200"`
}

// CreatedOrganization is a new organization with what its owner begins with.
type CreatedOrganization struct {
	Organization
	ProjectID string   `json:"project_id"`
	OwnerID   string   `json:"owner_id"`
	Key       FirstKey `json:"key"`
}

// FirstKey is the first key of an organization.
type FirstKey struct {
	ID          string   `json:"id"`
	Key         string   `json:"key" doc:"The key itself, shown this once."`
	Fingerprint string   `json:"fingerprint"`
	Scopes      []string `json:"scopes" nullable:"false"`
}

type createInput struct{ Body NewOrganization }

type createOutput struct{ Body CreatedOrganization }

func (h *handlers) create(ctx context.Context, p authz.Principal, in *createInput) (*createOutput, error) {
	b := in.Body
	n := organization.New{
		Name: b.Name, Slug: b.Slug, Plan: tenant.Plan(b.Plan), Currency: b.Currency, PriceBook: b.PriceBook, Zone: b.TimeZone,
		Owner: organization.Person(b.Owner),
	}
	if b.TrialEndsAt != nil {
		n.TrialEnds = stored(*b.TrialEndsAt)
	}
	if c := b.Contacts; c != nil {
		n.Contacts = tenant.Contacts{Billing: orEmpty(c.Billing), Security: orEmpty(c.Security), Technical: orEmpty(c.Technical)}
	}
	made, err := h.svc.Create(ctx, p, n)
	if err != nil {
		return nil, err
	}
	return &createOutput{Body: CreatedOrganization{
		Organization: show(made.Organization, h.svc.Now()), ProjectID: made.ProjectID, OwnerID: made.OwnerID,
		Key: FirstKey{
			ID: made.Key.ID, Key: made.Secret.Reveal(), Fingerprint: made.Key.Fingerprint,
			Scopes: texts(made.Key.Scopes, func(s authz.Scope) string { return string(s) }),
		},
	}}, nil
}

// stored is a moment as the database keeps it.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

type idInput struct {
	ID string `path:"id" maxLength:"100"`
}

type oneOutput struct{ Body Organization }

func (h *handlers) get(ctx context.Context, p authz.Principal, in *idInput) (*oneOutput, error) {
	return h.one(h.svc.Get(ctx, p, in.ID))
}

// one shows what an operation returned.
func (h *handlers) one(o organization.Organization, err error) (*oneOutput, error) {
	if err != nil {
		return nil, err
	}
	return &oneOutput{Body: show(o, h.svc.Now())}, nil
}

// OrganizationChange is the body that changes an organization: what is left out
// stays.
type OrganizationChange struct {
	Name        *string                     `json:"name,omitempty" maxLength:"200" nullable:"false"`
	Slug        *string                     `json:"slug,omitempty" maxLength:"63" nullable:"false"`
	Plan        *string                     `json:"plan,omitempty" maxLength:"40" nullable:"false"`
	Limits      *OrganizationLimits         `json:"limits,omitempty" nullable:"false" doc:"All at once: what is left out or null is the plan's."`
	Contacts    *OrganizationContactsChange `json:"contacts,omitempty" nullable:"false"`
	Currency    *string                     `json:"currency,omitempty" maxLength:"3" nullable:"false"`
	PriceBook   *string                     `json:"price_book,omitempty" maxLength:"200" nullable:"false"`
	TimeZone    *string                     `json:"time_zone,omitempty" maxLength:"100" nullable:"false"`
	LegalHold   *bool                       `json:"legal_hold,omitempty" nullable:"false"`
	TrialEndsAt *time.Time                  `json:"trial_ends_at,omitempty" nullable:"false" doc:"Of one in its trial; to end the trial, activate it."`
}

type changeInput struct {
	ID   string `path:"id" maxLength:"100"`
	Body OrganizationChange
}

func (h *handlers) change(ctx context.Context, p authz.Principal, in *changeInput) (*oneOutput, error) {
	b := in.Body
	c := organization.Patch{
		Name: b.Name, Slug: b.Slug, PriceBook: b.PriceBook, Currency: b.Currency, Zone: b.TimeZone, LegalHold: b.LegalHold,
		Contacts: b.Contacts.read(),
	}
	if b.Plan != nil {
		plan := tenant.Plan(*b.Plan)
		c.Plan = &plan
	}
	if b.Limits != nil {
		overrides := b.Limits.read()
		c.Overrides = &overrides
	}
	if b.TrialEndsAt != nil {
		at := stored(*b.TrialEndsAt)
		c.TrialEnds = &at
	}
	return h.one(h.svc.Change(ctx, p, in.ID, c))
}

func (c *OrganizationContactsChange) read() organization.Contacts {
	if c == nil {
		return organization.Contacts{}
	}
	return organization.Contacts(*c)
}

// OrganizationReason says why something is done to an organization. Its owners read it.
type OrganizationReason struct {
	Reason string `json:"reason" minLength:"1" maxLength:"500"`
}

// ActivationReason says why, where somebody wants to say it.
type ActivationReason struct {
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

type reasonInput struct {
	ID   string `path:"id" maxLength:"100"`
	Body OrganizationReason
}

type optionalReasonInput struct {
	ID   string `path:"id" maxLength:"100"`
	Body *ActivationReason
}

func (h *handlers) suspend(ctx context.Context, p authz.Principal, in *reasonInput) (*oneOutput, error) {
	return h.one(h.svc.MoveTo(ctx, p, in.ID, organization.Suspend, in.Body.Reason))
}

func (h *handlers) close(ctx context.Context, p authz.Principal, in *reasonInput) (*oneOutput, error) {
	return h.one(h.svc.MoveTo(ctx, p, in.ID, organization.Close, in.Body.Reason))
}

func (h *handlers) activate(ctx context.Context, p authz.Principal, in *optionalReasonInput) (*oneOutput, error) {
	reason := ""
	if in.Body != nil {
		reason = in.Body.Reason
	}
	return h.one(h.svc.MoveTo(ctx, p, in.ID, organization.Activate, reason))
}

// OrganizationModels are the models that an organization may use.
type OrganizationModels struct {
	Allowed []string `json:"allowed" maxItems:"1000" doc:"Of those that are open to all; null: every one."`
	Granted []string `json:"granted" maxItems:"1000" nullable:"false" doc:"Besides, also restricted ones."`
}

type modelsOutput struct{ Body OrganizationModels }

func (h *handlers) models(ctx context.Context, p authz.Principal, in *idInput) (*modelsOutput, error) {
	return entitlement(h.svc.Get(ctx, p, in.ID))
}

func entitlement(o organization.Organization, err error) (*modelsOutput, error) {
	if err != nil {
		return nil, err
	}
	out := OrganizationModels{Allowed: o.Entitlement.Allowed, Granted: o.Entitlement.Granted}
	if out.Granted == nil {
		out.Granted = []string{}
	}
	return &modelsOutput{Body: out}, nil
}

type entitleInput struct {
	ID   string `path:"id" maxLength:"100"`
	Body OrganizationModels
}

func (h *handlers) entitle(ctx context.Context, p authz.Principal, in *entitleInput) (*modelsOutput, error) {
	return entitlement(h.svc.Entitle(ctx, p, in.ID, organization.Entitlement(in.Body)))
}

type revokeInput struct {
	ID    string `path:"id" maxLength:"100"`
	KeyID string `path:"key_id" maxLength:"100"`
	Body  OrganizationReason
}

type noOutput struct{}

func (h *handlers) revoke(ctx context.Context, p authz.Principal, in *revokeInput) (*noOutput, error) {
	return &noOutput{}, h.svc.RevokeKey(ctx, p, in.ID, in.KeyID, in.Body.Reason)
}
