// Package authz decides what a caller may do.
//
// A [Principal] is who calls: a member or a service account of an organisation,
// with what the credential at hand grants of the owner's rights. Core operations
// ask it before they act, so no route can forget it. What is not granted is denied.
//
// The rights are a policy in Rego (folder policy). Where people manage things the
// policy itself decides, behind the port [Policy]; the path of a paid request
// decides by [Grants], a table computed from it.
package authz

import "slices"

// Scope is one right that a key can grant.
type Scope string

// The scopes.
const (
	Inference     Scope = "inference"
	ModelsRead    Scope = "models:read"
	UsageRead     Scope = "usage:read"
	KeysRead      Scope = "keys:read"
	KeysWrite     Scope = "keys:write"
	MembersRead   Scope = "members:read"
	MembersWrite  Scope = "members:write"
	ProjectsRead  Scope = "projects:read"
	ProjectsWrite Scope = "projects:write"
	BudgetsRead   Scope = "budgets:read"
	BudgetsWrite  Scope = "budgets:write"
	BillingRead   Scope = "billing:read"
	BillingWrite  Scope = "billing:write"
	SettingsRead  Scope = "settings:read"
	SettingsWrite Scope = "settings:write"
	AnalyticsRead Scope = "analytics:read"
	AuditRead     Scope = "audit:read"
	Platform      Scope = "platform" // administers the platform: tenants, models, prices, jobs
	// AnyScope marks what every caller may do who is somebody: no key is given it.
	AnyScope Scope = "any"
)

// Scopes lists all scopes that an organisation's key can have.
func Scopes() []Scope {
	return []Scope{
		Inference, ModelsRead, UsageRead, KeysRead, KeysWrite, MembersRead, MembersWrite,
		ProjectsRead, ProjectsWrite, BudgetsRead, BudgetsWrite, BillingRead, BillingWrite,
		SettingsRead, SettingsWrite, AnalyticsRead, AuditRead,
	}
}

// Known reports whether s is a scope that an organisation's key can have. The
// platform scope is not: only the platform's own bootstrap hands it out.
func Known(s Scope) bool { return slices.Contains(Scopes(), s) }
