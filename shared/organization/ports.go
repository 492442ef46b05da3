package organization

import (
	"context"
	"time"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/invoice"
	"github.com/aiaas/aiaas/shared/model"
	"github.com/aiaas/aiaas/shared/tenant"
)

// Edit says what an organisation becomes, and how that is recorded. It is called
// while the organisation is locked. A nil record means that nothing has changed.
type Edit func(Organization) (Organization, *audit.Record, error)

// Editor changes organisations. The change and its record are one transaction; the
// organisation is returned as it stands then. NotFound: there is none; Conflict: the
// slug is taken; Unprocessable: there is no such plan.
type Editor interface {
	Organization(ctx context.Context, org string) (Organization, error)
	ChangeOrganization(ctx context.Context, org string, edit Edit) (Organization, error)
}

// Tenants keeps all organisations, for the platform.
type Tenants interface {
	Editor
	// Organizations lists by id.
	Organizations(ctx context.Context, f Filter) ([]Organization, error)
	// CreateOrganization makes an organisation with a project, an owner and a key, in
	// one transaction, and tells whose key it is. Whoever is known by the e-mail
	// address becomes the owner.
	CreateOrganization(ctx context.Context, f Founding) (ownerID string, err error)
	// RevokeKey revokes a key of an organisation, with the secrets that it had before.
	// Only the first revocation counts and is recorded. NotFound: there is none.
	RevokeKey(ctx context.Context, r Revocation) error
}

// Plans keeps plans.
type Plans interface {
	// Plans lists by id, from after one on.
	Plans(ctx context.Context, after string, limit int) ([]Plan, error)
	// SavePlan makes or changes a plan, and lists at most so many of the organisations
	// that it changes something for. edit is given the plan as it is, nil where there
	// is none; a nil record means that nothing has changed.
	SavePlan(ctx context.Context, id tenant.Plan, most int, edit func(*Plan) (Plan, *audit.Record, error)) (Plan, []string, error)
	// DeletePlan is NotFound where there is none, Conflict where it is in use.
	DeletePlan(ctx context.Context, id tenant.Plan, rec audit.Record) error
}

// Founding is a new organisation.
type Founding struct {
	Organization

	ProjectID string
	Project   string
	UserID    string // of the owner, where nobody has the e-mail address yet
	Email     string
	Person    string // the owner's name
	Key       apikey.Key
	Hash      apikey.Hash
	// Records are those of the founding by this owner.
	Records func(ownerID string) []audit.Record
}

// Revocation is the revocation of a key by the platform.
type Revocation struct {
	OrgID  string
	KeyID  string
	Reason string
	At     time.Time
	Record audit.Record
}

// Ledger tells what was counted in an organisation's money.
type Ledger interface {
	// Booked reports whether anything was: usage, also what waits to be booked, or a
	// budget.
	Booked(ctx context.Context, org string) (bool, error)
	// Unsettled reports whether a month before m has usage and is not closed.
	Unsettled(ctx context.Context, org string, m invoice.Month) (bool, error)
}

// Catalogue tells which models and price books there are.
type Catalogue interface {
	ReadPriceBooks(ctx context.Context) ([]model.PriceBook, error)
	// KnownModels returns those of the ids that are models', disabled ones too.
	KnownModels(ctx context.Context, ids []string) ([]string, error)
}

// Bumper moves an organisation's configuration version on, as in package apikey.
type Bumper interface {
	Bump(ctx context.Context, org string) error
}
