package authz

import "slices"

// Action is one thing that people and programs do. The rights table, which says
// who may, stands in policy/rights.rego.
type Action string

// The actions within an organisation.
const (
	DoInference            Action = "inference.use"
	DoModelsRead           Action = "models.read"
	DoUsageRead            Action = "usage.read"
	DoRequestsRead         Action = "requests.read"
	DoAnalyticsRead        Action = "analytics.read"
	DoKeysRead             Action = "keys.read"
	DoKeysCreate           Action = "keys.create"
	DoKeysUpdate           Action = "keys.update"
	DoKeysRotate           Action = "keys.rotate"
	DoKeysRevoke           Action = "keys.revoke"
	DoKeysSuspend          Action = "keys.suspend"
	DoMembersRead          Action = "members.read"
	DoMembersWrite         Action = "members.write"
	DoRolesRead            Action = "roles.read"
	DoRolesWrite           Action = "roles.write"
	DoServiceAccountsRead  Action = "service_accounts.read"
	DoServiceAccountsWrite Action = "service_accounts.write"
	DoPolicyEvaluate       Action = "policy.evaluate"
	DoProjectsRead         Action = "projects.read"
	DoProjectsWrite        Action = "projects.write"
	DoProjectMembersWrite  Action = "project_members.write"
	DoBudgetsRead          Action = "budgets.read"
	DoBudgetsWrite         Action = "budgets.write"
	DoBillingRead          Action = "billing.read"
	DoBillingWrite         Action = "billing.write"
	DoInvoicesRead         Action = "invoices.read"
	DoInvoicesIssue        Action = "invoices.issue"
	DoSettingsRead         Action = "settings.read"
	DoSettingsWrite        Action = "settings.write"
	DoWebhooksRead         Action = "webhooks.read"
	DoWebhooksWrite        Action = "webhooks.write"
	DoAuditRead            Action = "audit.read"
	DoOrganizationDelete   Action = "organization.delete"
)

// The actions of the platform, over all organisations.
const (
	DoTenantsRead        Action = "tenants.read"
	DoTenantsWrite       Action = "tenants.write"
	DoTenantsSuspend     Action = "tenants.suspend"
	DoPlansRead          Action = "plans.read"
	DoPlansWrite         Action = "plans.write"
	DoEntitlementsWrite  Action = "entitlements.write"
	DoCatalogueRead      Action = "catalogue.read"
	DoCatalogueWrite     Action = "catalogue.write"
	DoSellersRead        Action = "sellers.read"
	DoSellersWrite       Action = "sellers.write"
	DoInvoicesRun        Action = "invoices.run"
	DoJobsRead           Action = "jobs.read"
	DoJobsRun            Action = "jobs.run"
	DoPlatformAuditRead  Action = "platform_audit.read"
	DoPlatformKeysRevoke Action = "platform_keys.revoke"
)

// Role is what a member or a service account is in its organisation.
type Role string

// The roles of an organisation.
const (
	Owner     Role = "owner"
	Admin     Role = "admin"
	Finance   Role = "finance"
	Manager   Role = "manager"
	Analyst   Role = "analyst"
	Developer Role = "developer"
	// Custom stands for every role that an organisation made itself; its rights come
	// with the subject.
	Custom Role = "custom"
)

// The roles of the platform, which only its own organisation gives.
const (
	SystemAdministrator Role = "system_administrator"
	Security            Role = "security"
	Operations          Role = "operations"
	Architect           Role = "architect"
	Support             Role = "support"
)

// OrganizationRoles lists the built-in roles of an organisation, the highest first.
func OrganizationRoles() []Role {
	return []Role{Owner, Admin, Finance, Manager, Analyst, Developer}
}

// PlatformRoles lists the roles of the platform, the highest first.
func PlatformRoles() []Role {
	return []Role{SystemAdministrator, Security, Operations, Architect, Support}
}

// OfPlatform reports whether a role is one of the platform's.
func (r Role) OfPlatform() bool { return slices.Contains(PlatformRoles(), r) }

// ProjectRole is what a member is in a project.
type ProjectRole string

// The roles in a project.
const (
	ProjectManager   ProjectRole = "manager"
	ProjectDeveloper ProjectRole = "developer"
	ProjectViewer    ProjectRole = "viewer"
)

// ProjectRoles lists the roles in a project, the highest first.
func ProjectRoles() []ProjectRole {
	return []ProjectRole{ProjectManager, ProjectDeveloper, ProjectViewer}
}

// Width is how far a role's right to an action goes.
type Width string

// The widths, from narrow to wide. Projects includes what is the member's own.
const (
	Nothing      Width = ""
	Own          Width = "own"
	Projects     Width = "projects"
	Organization Width = "organization"
)

// CustomRole is what a role that an organisation made itself gives.
type CustomRole struct {
	Permissions []Action
	Reach       Width
}
