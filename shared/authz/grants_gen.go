// Code generated from the access policy by infra/gen. DO NOT EDIT.

package authz

// Actions lists all actions, in order.
func Actions() []Action {
	return []Action{"analytics.read", "audit.read", "billing.read", "billing.write", "budgets.read", "budgets.write", "catalogue.read", "catalogue.write", "entitlements.write", "inference.use", "invoices.issue", "invoices.read", "invoices.run", "jobs.read", "jobs.run", "keys.create", "keys.read", "keys.revoke", "keys.rotate", "keys.suspend", "keys.update", "members.read", "members.write", "models.read", "organization.delete", "plans.read", "plans.write", "platform_audit.read", "platform_keys.revoke", "policy.evaluate", "project_members.write", "projects.read", "projects.write", "requests.read", "roles.read", "roles.write", "sellers.read", "sellers.write", "service_accounts.read", "service_accounts.write", "settings.read", "settings.write", "tenants.read", "tenants.suspend", "tenants.write", "usage.read", "webhooks.read", "webhooks.write"}
}

func scopeOf(a Action) (Scope, bool) {
	switch a {
	case "analytics.read":
		return "analytics:read", true
	case "audit.read":
		return "audit:read", true
	case "billing.read", "invoices.read":
		return "billing:read", true
	case "billing.write", "invoices.issue":
		return "billing:write", true
	case "budgets.read":
		return "budgets:read", true
	case "budgets.write":
		return "budgets:write", true
	case "inference.use":
		return "inference", true
	case "keys.read":
		return "keys:read", true
	case "keys.create", "keys.revoke", "keys.rotate", "keys.suspend", "keys.update":
		return "keys:write", true
	case "members.read", "policy.evaluate", "roles.read", "service_accounts.read":
		return "members:read", true
	case "members.write", "roles.write", "service_accounts.write":
		return "members:write", true
	case "models.read":
		return "models:read", true
	case "catalogue.read", "catalogue.write", "entitlements.write", "invoices.run", "jobs.read", "jobs.run", "plans.read", "plans.write", "platform_audit.read", "platform_keys.revoke", "sellers.read", "sellers.write", "tenants.read", "tenants.suspend", "tenants.write":
		return "platform", true
	case "projects.read":
		return "projects:read", true
	case "project_members.write", "projects.write":
		return "projects:write", true
	case "settings.read", "webhooks.read":
		return "settings:read", true
	case "organization.delete", "settings.write", "webhooks.write":
		return "settings:write", true
	case "requests.read", "usage.read":
		return "usage:read", true
	}
	return "", false
}

// Narrowable reports whether an action can be had for less than the whole
// organisation.
func Narrowable(a Action) bool {
	switch a {
	case "analytics.read", "budgets.read", "inference.use", "keys.create", "keys.read", "keys.revoke", "keys.rotate", "keys.suspend", "keys.update", "members.read", "models.read", "project_members.write", "projects.read", "requests.read", "usage.read":
		return true
	}
	return false
}

func customizable(a Action) bool {
	switch a {
	case "analytics.read", "audit.read", "billing.read", "billing.write", "budgets.read", "budgets.write", "inference.use", "invoices.read", "keys.create", "keys.read", "keys.revoke", "keys.rotate", "keys.suspend", "keys.update", "members.read", "members.write", "models.read", "policy.evaluate", "project_members.write", "projects.read", "projects.write", "requests.read", "roles.read", "roles.write", "service_accounts.read", "service_accounts.write", "settings.read", "settings.write", "usage.read", "webhooks.read", "webhooks.write":
		return true
	}
	return false
}

func sensitive(a Action) bool {
	switch a {
	case "billing.write", "catalogue.write", "keys.create", "keys.rotate", "members.write", "organization.delete", "project_members.write", "roles.write", "sellers.write", "service_accounts.write", "settings.write", "tenants.write", "webhooks.write":
		return true
	}
	return false
}

func grantedBy(a Action) []Role {
	switch a {
	case "analytics.read":
		return []Role{"admin", "analyst", "finance", "owner", "system_administrator"}
	case "audit.read":
		return []Role{"admin", "owner", "security", "system_administrator"}
	case "billing.read":
		return []Role{"admin", "finance", "owner", "system_administrator"}
	case "billing.write":
		return []Role{"admin", "finance", "owner", "system_administrator"}
	case "budgets.read":
		return []Role{"admin", "finance", "owner", "system_administrator"}
	case "budgets.write":
		return []Role{"admin", "owner", "system_administrator"}
	case "catalogue.read":
		return []Role{"architect", "operations", "system_administrator"}
	case "catalogue.write":
		return []Role{"system_administrator"}
	case "entitlements.write":
		return []Role{"system_administrator"}
	case "inference.use":
		return []Role{"admin", "developer", "owner"}
	case "invoices.issue":
		return []Role{"finance", "owner"}
	case "invoices.read":
		return []Role{"admin", "finance", "owner", "system_administrator"}
	case "invoices.run":
		return []Role{"system_administrator"}
	case "jobs.read":
		return []Role{"architect", "operations", "system_administrator"}
	case "jobs.run":
		return []Role{"operations", "system_administrator"}
	case "keys.create":
		return []Role{"admin", "owner", "system_administrator"}
	case "keys.read":
		return []Role{"admin", "owner", "security", "system_administrator"}
	case "keys.revoke":
		return []Role{"admin", "owner", "system_administrator"}
	case "keys.rotate":
		return []Role{"admin", "owner", "system_administrator"}
	case "keys.suspend":
		return []Role{"admin", "owner", "system_administrator"}
	case "keys.update":
		return []Role{"admin", "owner", "system_administrator"}
	case "members.read":
		return []Role{"admin", "owner", "security", "system_administrator"}
	case "members.write":
		return []Role{"admin", "owner", "system_administrator"}
	case "models.read":
		return []Role{"admin", "owner", "system_administrator"}
	case "organization.delete":
		return []Role{"owner"}
	case "plans.read":
		return []Role{"architect", "security", "system_administrator"}
	case "plans.write":
		return []Role{"system_administrator"}
	case "platform_audit.read":
		return []Role{"security", "system_administrator"}
	case "platform_keys.revoke":
		return []Role{"security", "system_administrator"}
	case "policy.evaluate":
		return []Role{"admin", "owner", "security", "system_administrator"}
	case "project_members.write":
		return []Role{"admin", "owner", "system_administrator"}
	case "projects.read":
		return []Role{"admin", "analyst", "finance", "owner", "system_administrator"}
	case "projects.write":
		return []Role{"admin", "owner", "system_administrator"}
	case "requests.read":
		return []Role{"admin", "analyst", "finance", "owner", "system_administrator"}
	case "roles.read":
		return []Role{"admin", "owner", "security", "system_administrator"}
	case "roles.write":
		return []Role{"admin", "owner", "system_administrator"}
	case "sellers.read":
		return []Role{"architect", "system_administrator"}
	case "sellers.write":
		return []Role{"system_administrator"}
	case "service_accounts.read":
		return []Role{"admin", "owner", "security", "system_administrator"}
	case "service_accounts.write":
		return []Role{"admin", "owner", "system_administrator"}
	case "settings.read":
		return []Role{"admin", "architect", "owner", "system_administrator"}
	case "settings.write":
		return []Role{"admin", "owner", "system_administrator"}
	case "tenants.read":
		return []Role{"architect", "operations", "security", "support", "system_administrator"}
	case "tenants.suspend":
		return []Role{"security", "system_administrator"}
	case "tenants.write":
		return []Role{"system_administrator"}
	case "usage.read":
		return []Role{"admin", "analyst", "finance", "owner", "system_administrator"}
	case "webhooks.read":
		return []Role{"admin", "owner", "system_administrator"}
	case "webhooks.write":
		return []Role{"admin", "owner", "system_administrator"}
	}
	return nil
}

func rankOf(r Role) int {
	switch r {
	case "admin":
		return 80
	case "analyst":
		return 20
	case "architect":
		return 20
	case "custom":
		return 40
	case "developer":
		return 20
	case "finance":
		return 50
	case "manager":
		return 50
	case "operations":
		return 50
	case "owner":
		return 100
	case "security":
		return 80
	case "support":
		return 20
	case "system_administrator":
		return 100
	}
	return 0
}

func everybodyWidth(a Action) Width {
	switch a {
	case "models.read":
		return "organization"
	case "keys.read", "keys.revoke", "keys.rotate":
		return "own"
	}
	return Nothing
}

func builtinWidth(r Role, a Action) Width {
	switch r {
	case "admin":
		switch a {
		case "analytics.read", "audit.read", "billing.read", "billing.write", "budgets.read", "budgets.write", "inference.use", "invoices.read", "keys.create", "keys.read", "keys.revoke", "keys.rotate", "keys.suspend", "keys.update", "members.read", "members.write", "models.read", "policy.evaluate", "project_members.write", "projects.read", "projects.write", "requests.read", "roles.read", "roles.write", "service_accounts.read", "service_accounts.write", "settings.read", "settings.write", "usage.read", "webhooks.read", "webhooks.write":
			return "organization"
		}
	case "analyst":
		switch a {
		case "analytics.read", "models.read", "projects.read", "requests.read", "usage.read":
			return "organization"
		case "keys.read", "keys.revoke", "keys.rotate":
			return "own"
		}
	case "architect":
		switch a {
		case "catalogue.read", "jobs.read", "models.read", "plans.read", "sellers.read", "settings.read", "tenants.read":
			return "organization"
		case "keys.read", "keys.revoke", "keys.rotate":
			return "own"
		}
	case "developer":
		switch a {
		case "inference.use", "models.read":
			return "organization"
		case "analytics.read", "keys.read", "keys.revoke", "keys.rotate", "requests.read", "usage.read":
			return "own"
		case "projects.read":
			return "projects"
		}
	case "finance":
		switch a {
		case "analytics.read", "billing.read", "billing.write", "budgets.read", "invoices.issue", "invoices.read", "models.read", "projects.read", "requests.read", "usage.read":
			return "organization"
		case "keys.read", "keys.revoke", "keys.rotate":
			return "own"
		}
	case "manager":
		switch a {
		case "models.read":
			return "organization"
		case "keys.revoke", "keys.rotate":
			return "own"
		case "analytics.read", "budgets.read", "keys.read", "members.read", "project_members.write", "projects.read", "requests.read", "usage.read":
			return "projects"
		}
	case "operations":
		switch a {
		case "catalogue.read", "jobs.read", "jobs.run", "models.read", "tenants.read":
			return "organization"
		case "keys.read", "keys.revoke", "keys.rotate":
			return "own"
		}
	case "owner":
		switch a {
		case "analytics.read", "audit.read", "billing.read", "billing.write", "budgets.read", "budgets.write", "inference.use", "invoices.issue", "invoices.read", "keys.create", "keys.read", "keys.revoke", "keys.rotate", "keys.suspend", "keys.update", "members.read", "members.write", "models.read", "organization.delete", "policy.evaluate", "project_members.write", "projects.read", "projects.write", "requests.read", "roles.read", "roles.write", "service_accounts.read", "service_accounts.write", "settings.read", "settings.write", "usage.read", "webhooks.read", "webhooks.write":
			return "organization"
		}
	case "security":
		switch a {
		case "audit.read", "keys.read", "members.read", "models.read", "plans.read", "platform_audit.read", "platform_keys.revoke", "policy.evaluate", "roles.read", "service_accounts.read", "tenants.read", "tenants.suspend":
			return "organization"
		case "keys.revoke", "keys.rotate":
			return "own"
		}
	case "support":
		switch a {
		case "models.read", "tenants.read":
			return "organization"
		case "keys.read", "keys.revoke", "keys.rotate":
			return "own"
		}
	case "system_administrator":
		switch a {
		case "analytics.read", "audit.read", "billing.read", "billing.write", "budgets.read", "budgets.write", "catalogue.read", "catalogue.write", "entitlements.write", "invoices.read", "invoices.run", "jobs.read", "jobs.run", "keys.create", "keys.read", "keys.revoke", "keys.rotate", "keys.suspend", "keys.update", "members.read", "members.write", "models.read", "plans.read", "plans.write", "platform_audit.read", "platform_keys.revoke", "policy.evaluate", "project_members.write", "projects.read", "projects.write", "requests.read", "roles.read", "roles.write", "sellers.read", "sellers.write", "service_accounts.read", "service_accounts.write", "settings.read", "settings.write", "tenants.read", "tenants.suspend", "tenants.write", "usage.read", "webhooks.read", "webhooks.write":
			return "organization"
		}
	}
	return Nothing
}

func projectRight(r ProjectRole, a Action) bool {
	switch r {
	case "developer":
		switch a {
		case "inference.use", "projects.read":
			return true
		}
	case "manager":
		switch a {
		case "analytics.read", "budgets.read", "keys.read", "members.read", "project_members.write", "projects.read", "requests.read", "usage.read":
			return true
		}
	case "viewer":
		switch a {
		case "analytics.read", "projects.read", "usage.read":
			return true
		}
	}
	return false
}
