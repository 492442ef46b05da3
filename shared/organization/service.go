package organization

import (
	"context"
	"maps"
	"net/mail"
	"reflect"
	"slices"
	"time"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/tenant"
)

// Service is the platform's administration of organisations and plans.
type Service struct {
	Tenants   Tenants
	Plans     Plans
	Ledger    Ledger
	Catalogue Catalogue
	Bump      Bumper
	Now       func() time.Time
}

// List returns a page of the organisations.
func (s *Service) List(ctx context.Context, p authz.Principal, f Filter) ([]Organization, error) {
	if err := p.Require(ctx, authz.DoTenantsRead); err != nil {
		return nil, err
	}
	if err := tenant.CheckText("q", f.Text); err != nil {
		return nil, err
	}
	return s.Tenants.Organizations(ctx, f)
}

// Get returns one organisation.
func (s *Service) Get(ctx context.Context, p authz.Principal, org string) (Organization, error) {
	if err := p.Require(ctx, authz.DoTenantsRead); err != nil {
		return Organization{}, err
	}
	return s.Tenants.Organization(ctx, org)
}

// New is what an organisation is created from. What is empty has its default.
type New struct {
	Name      string
	Slug      string // "": one that nobody else has
	Plan      tenant.Plan
	Currency  string // "": the price book's
	PriceBook string // "": the first one in the currency
	Zone      string // "": UTC
	TrialEnds time.Time
	Contacts  tenant.Contacts
	Owner     Person
}

// Person is somebody by e-mail address.
type Person struct {
	Email string
	Name  string
}

// Created is a new organisation with what somebody needs to begin.
type Created struct {
	Organization

	ProjectID string
	OwnerID   string
	Key       apikey.Key
	Secret    apikey.Secret // of the key; shown this once
}

// Create makes an organisation with a project, an owner and a key of the owner that
// may do all that owners may.
func (s *Service) Create(ctx context.Context, p authz.Principal, n New) (Created, error) {
	if err := p.Require(ctx, authz.DoTenantsWrite); err != nil {
		return Created{}, err
	}
	now := s.Now()
	if err := n.check(now); err != nil {
		return Created{}, err
	}
	book, currency, err := s.priceBook(ctx, n.PriceBook, n.Currency)
	if err != nil {
		return Created{}, err
	}
	o := Organization{
		ID: id.New(id.Organization), Name: n.Name, Slug: n.Slug, Kind: tenant.Customer, Status: tenant.Active, Plan: n.Plan,
		Currency: currency, PriceBook: book, Zone: n.Zone, TrialEnds: n.TrialEnds, Contacts: n.Contacts, CreatedAt: now,
	}
	if !n.TrialEnds.IsZero() {
		o.Status = tenant.Trial
	}
	f, secret := found(ctx, p, o, n.Owner)
	ownerID, err := s.Tenants.CreateOrganization(ctx, f)
	if err != nil {
		return Created{}, err
	}
	if o, err = s.Tenants.Organization(ctx, o.ID); err != nil {
		return Created{}, err
	}
	f.Key.OwnerID = ownerID
	return Created{Organization: o, ProjectID: f.ProjectID, OwnerID: ownerID, Key: f.Key, Secret: secret}, nil
}

func found(ctx context.Context, p authz.Principal, o Organization, owner Person) (Founding, apikey.Secret) {
	secret, at := apikey.NewSecret(apikey.Production), o.CreatedAt
	f := Founding{
		Organization: o, ProjectID: id.New(id.Project), Project: "Default project", UserID: id.New(id.User),
		Email: owner.Email, Person: owner.Name, Hash: secret.Hash(),
	}
	f.Key = apikey.Key{
		ID: id.New(id.Key), OrgID: o.ID, ProjectID: f.ProjectID, Name: "administration", Environment: apikey.Production,
		Fingerprint: secret.Fingerprint(), Scopes: authz.Scopes(), CreatedBy: p.Actor(), CreatedAt: at,
		Kind: apikey.PersonalKey, SecretAt: at, RotateBy: at.Add(apikey.Production.RotateAfter()),
	}
	f.Records = func(ownerID string) []audit.Record {
		actor := in(o.ID, p)
		return []audit.Record{
			audit.New(ctx, actor, at, "organization.create", o.ID).With(map[string]any{
				"name": o.Name, "slug": o.Slug, "plan": o.Plan, "status": o.Status, "trial_ends_at": moment(o.TrialEnds),
				"currency": o.Currency, "price_book": o.PriceBook, "time_zone": o.Zone, "project_id": f.ProjectID, "owner": ownerID,
			}),
			audit.New(ctx, actor, at, "member.add", ownerID).With(map[string]any{"role": authz.Owner}),
			audit.New(ctx, actor, at, "key.create", f.Key.ID).With(map[string]any{
				"name": f.Key.Name, "fingerprint": f.Key.Fingerprint, "scopes": f.Key.Scopes, "project_id": f.ProjectID,
				"environment": f.Key.Environment, "kind": f.Key.Kind, "owner_id": ownerID,
			}),
		}
	}
	return f, secret
}

func (n *New) check(now time.Time) error {
	if n.Plan == "" {
		n.Plan = tenant.Starter
	}
	if n.Zone == "" {
		n.Zone = time.UTC.String()
	}
	if err := tenant.CheckName("name", n.Name); err != nil {
		return err
	}
	if n.Slug != "" {
		if err := tenant.CheckSlug(n.Slug); err != nil {
			return err
		}
	}
	if _, err := loadZone(n.Zone); err != nil {
		return err
	}
	if !n.TrialEnds.IsZero() && !n.TrialEnds.After(now) {
		return fault.New(fault.Unprocessable, "the trial would be over already").At("trial_ends_at")
	}
	if n.Owner.Email == "" {
		return fault.New(fault.Unprocessable, "an organization has an owner").At("owner.email")
	}
	if err := checkEmail("owner.email", n.Owner.Email); err != nil {
		return err
	}
	if err := tenant.CheckText("owner.name", n.Owner.Name); err != nil {
		return err
	}
	return checkContacts(n.Contacts)
}

// maxEmail is the longest address that mail can be sent to (RFC 5321, 4.5.3.1.3).
const maxEmail = 254

func checkEmail(member, text string) error {
	if text == "" {
		return nil
	}
	if a, err := mail.ParseAddress(text); err != nil || a.Address != text || len(text) > maxEmail {
		return fault.New(fault.Unprocessable, "this is no e-mail address").At(member)
	}
	return tenant.CheckText(member, text)
}

func checkContacts(c tenant.Contacts) error {
	for _, l := range []struct{ member, text string }{
		{"contacts.billing", c.Billing}, {"contacts.security", c.Security}, {"contacts.technical", c.Technical},
	} {
		if err := checkEmail(l.member, l.text); err != nil {
			return err
		}
	}
	return nil
}

// act is what a change is recorded as.
type act struct {
	action string
	reason string
}

// change makes a change, has it recorded with what it was before, and lets it count.
func (s *Service) change(ctx context.Context, p authz.Principal, org string, a act, apply func(*Organization) error) (Organization, error) {
	return change(ctx, editing{s.Tenants, s.Bump, s.Now()}, in(org, p), a, apply)
}

// editing is what a change needs.
type editing struct {
	store Editor
	bump  Bumper
	at    time.Time
}

// change is of the organisation that the principal acts in.
func change(ctx context.Context, e editing, p authz.Principal, a act, apply func(*Organization) error) (Organization, error) {
	edit := func(o Organization) (Organization, *audit.Record, error) {
		next := o
		if err := apply(&next); err != nil {
			return o, nil, err
		}
		detail := differences(o.shown(), next.shown())
		if detail == nil {
			return o, nil, nil
		}
		if a.reason != "" {
			detail["reason"] = a.reason
		}
		if o.Plan != next.Plan {
			detail["plan"], detail["plan_before"] = next.Plan, o.Plan
		}
		next.UpdatedAt = e.at
		rec := audit.New(ctx, p, e.at, a.action, p.OrgID).With(detail)
		return next, &rec, nil
	}
	o, err := e.store.ChangeOrganization(ctx, p.OrgID, edit)
	if err != nil {
		return Organization{}, err
	}
	// It is done: who asked for it may have left. One that changed nothing is told
	// too, for whoever asks again because the first answer was lost.
	return o, e.bump.Bump(context.WithoutCancel(ctx), p.OrgID)
}

// differences are the details of a change: what was, what is, and the names of what
// differs; nil where nothing does.
func differences(was, is map[string]any) map[string]any {
	before, after := map[string]any{}, map[string]any{}
	for name := range is {
		if !reflect.DeepEqual(was[name], is[name]) {
			before[name], after[name] = was[name], is[name]
		}
	}
	if len(after) == 0 {
		return nil
	}
	return map[string]any{"before": before, "after": after, "changed": slices.Sorted(maps.Keys(after))}
}
