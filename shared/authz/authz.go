// Package authz decides what a caller may do.
//
// A [Principal] is who calls: an API key with its organisation, its project and
// what it grants. Core operations ask [Principal.Require] before they act, so no
// route can forget it. A key's grants are its scopes; anything not granted is
// denied.
package authz

import (
	"slices"

	"github.com/aiaas/aiaas/shared/fault"
)

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

// Principal is an authenticated caller. The zero value is nobody: it grants
// nothing and passes no check.
type Principal struct {
	OrgID     string
	ProjectID string // "" where the key is not bound to a project
	KeyID     string
	Scopes    []Scope
	Models    []string // the only models it may use; nil: all of the organisation's
}

// Actor names the principal in audit records.
func (p Principal) Actor() string { return p.KeyID }

// Has reports whether the principal is somebody and was granted the scope.
func (p Principal) Has(s Scope) bool {
	return p.OrgID != "" && p.KeyID != "" && s != "" && slices.Contains(p.Scopes, s)
}

// Require returns nil when the principal has the scope, else an error that names
// the missing right.
func (p Principal) Require(s Scope) error {
	if p.OrgID == "" || p.KeyID == "" {
		return fault.New(fault.Unauthenticated, "")
	}
	if !p.Has(s) {
		return fault.New(fault.Forbidden, "this key does not grant %q", string(s)).With("scope", string(s))
	}
	return nil
}

// CoversModels reports whether the principal may use every model in want, where
// nil wants all of the organisation's.
func (p Principal) CoversModels(want []string) bool {
	if p.Models == nil {
		return true
	}
	if want == nil {
		return false
	}
	for _, m := range want {
		if !slices.Contains(p.Models, m) {
			return false
		}
	}
	return true
}

// Covers reports whether every scope in want was granted: a key never hands out
// more than it has.
func (p Principal) Covers(want []Scope) bool {
	for _, s := range want {
		if !p.Has(s) {
			return false
		}
	}
	return true
}
