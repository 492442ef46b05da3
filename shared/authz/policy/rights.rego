# Who may do what: the whole table. An action needs the scope that stands beside it;
# a role has an action with a reach. What stands nowhere is denied.
#
# The reaches, from wide to narrow: "organization" is everything in it; "projects"
# is what belongs to the member's own projects, and what is his own; "own" is what
# is his own.
package aiaas.authz

# Actions of an organisation.
organization_actions := {
	"inference.use": "inference",
	"models.read": "models:read",
	"usage.read": "usage:read",
	"requests.read": "usage:read",
	"analytics.read": "analytics:read",
	"keys.read": "keys:read",
	"keys.create": "keys:write",
	"keys.update": "keys:write",
	"keys.rotate": "keys:write",
	"keys.revoke": "keys:write",
	"keys.suspend": "keys:write",
	"members.read": "members:read",
	"members.write": "members:write",
	"roles.read": "members:read",
	"roles.write": "members:write",
	"service_accounts.read": "members:read",
	"service_accounts.write": "members:write",
	"policy.evaluate": "members:read",
	"projects.read": "projects:read",
	"projects.write": "projects:write",
	"project_members.write": "projects:write",
	"budgets.read": "budgets:read",
	"budgets.write": "budgets:write",
	"billing.read": "billing:read",
	"billing.write": "billing:write",
	"invoices.read": "billing:read",
	"invoices.issue": "billing:write",
	"settings.read": "settings:read",
	"settings.write": "settings:write",
	"webhooks.read": "settings:read",
	"webhooks.write": "settings:write",
	"audit.read": "audit:read",
	"organization.delete": "settings:write",
}

# Actions of the platform, over all organisations.
platform_actions := {
	"tenants.read": "platform",
	"tenants.write": "platform",
	"tenants.suspend": "platform",
	"plans.read": "platform",
	"plans.write": "platform",
	"entitlements.write": "platform",
	"catalogue.read": "platform",
	"catalogue.write": "platform",
	"sellers.read": "platform",
	"sellers.write": "platform",
	"invoices.run": "platform",
	"jobs.read": "platform",
	"jobs.run": "platform",
	"platform_audit.read": "platform",
	"platform_keys.revoke": "platform",
}

actions := object.union(organization_actions, platform_actions)

# What a person does only when he has proved himself a moment ago.
sensitive_actions := {
	"keys.create", "keys.rotate", "members.write", "roles.write", "service_accounts.write", "project_members.write",
	"billing.write", "settings.write", "webhooks.write", "organization.delete",
	"tenants.write", "sellers.write", "catalogue.write",
}

# Nobody acts on a peer or a superior: only a higher rank acts on a lower one.
ranks := {
	"owner": 100,
	"admin": 80,
	"finance": 50,
	"manager": 50,
	"custom": 40,
	"analyst": 20,
	"developer": 20,
	"system_administrator": 100,
	"security": 80,
	"operations": 50,
	"architect": 20,
	"support": 20,
}

platform_roles := {"system_administrator", "security", "operations", "architect", "support"}

# What every member may do, whatever the role.
everybody := {
	"models.read": "organization",
	"keys.read": "own",
	"keys.rotate": "own",
	"keys.revoke": "own",
}

role_rights.owner := everywhere(object.keys(organization_actions))

role_rights.admin := everywhere(object.keys(organization_actions) - {"organization.delete", "invoices.issue"})

role_rights.finance := everywhere({
	"usage.read", "requests.read", "analytics.read", "projects.read", "budgets.read",
	"billing.read", "billing.write", "invoices.read", "invoices.issue",
})

role_rights.manager := within("projects", {
	"projects.read", "project_members.write", "members.read", "keys.read", "budgets.read",
	"usage.read", "requests.read", "analytics.read",
})

role_rights.analyst := everywhere({"usage.read", "requests.read", "analytics.read", "projects.read"})

role_rights.developer := object.union(
	everywhere({"inference.use"}),
	object.union(
		within("projects", {"projects.read"}),
		within("own", {"usage.read", "requests.read", "analytics.read"}),
	),
)

role_rights.system_administrator := object.union(
	everywhere(object.keys(platform_actions)),
	everywhere(own_organization_of_platform),
)

role_rights.security := everywhere({
	"tenants.read", "tenants.suspend", "plans.read", "platform_audit.read", "platform_keys.revoke",
	"audit.read", "members.read", "roles.read", "service_accounts.read", "policy.evaluate", "keys.read",
})

role_rights.operations := everywhere({"tenants.read", "catalogue.read", "jobs.read", "jobs.run"})

role_rights.architect := everywhere({"tenants.read", "plans.read", "catalogue.read", "sellers.read", "jobs.read", "settings.read"})

role_rights.support := everywhere({"tenants.read"})

# The platform's own organisation has people, keys and settings, and calls no models.
own_organization_of_platform := object.keys(organization_actions) - {"inference.use", "organization.delete", "invoices.issue"}

# What can be had for less than the whole organization: what belongs to a project or
# to somebody.
narrowable := {
	"inference.use", "models.read", "usage.read", "requests.read", "analytics.read", "budgets.read",
	"keys.read", "keys.create", "keys.update", "keys.rotate", "keys.revoke", "keys.suspend",
	"projects.read", "project_members.write", "members.read",
}

# What a member's role in a project adds, within that project.
project_role_rights := {
	"manager": {
		"projects.read", "project_members.write", "members.read", "keys.read", "budgets.read",
		"usage.read", "requests.read", "analytics.read",
	},
	"developer": {"inference.use", "projects.read"},
	"viewer": {"projects.read", "usage.read", "analytics.read"},
}

everywhere(names) := within("organization", names)

within(reach, names) := {name: reach | some name in names}
