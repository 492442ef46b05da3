# The policy's own tests. They say what the table must come to in words of their own.
package aiaas.authz_test

import data.aiaas.authz

all_scopes := {scope | some scope in authz.actions}

somebody(role) := {
	"organization_id": "org_1", "owner_id": "user_1", "role": role, "scopes": [s | some s in all_scopes],
	"projects": {}, "key_ips": [], "method": "key", "mfa": false, "custom": {"permissions": [], "reach": ""},
}

here := {"address": "192.0.2.7", "minute": 600, "weekday": 1}

unrestricted := {"ips": [], "mfa_roles": []}

ask(subject, action) := d if {
	d := authz.decision with input as {
		"subject": subject, "action": action, "circumstances": here, "restrictions": unrestricted,
	}
}

ask_on(subject, action, resource) := d if {
	d := authz.decision with input as {
		"subject": subject, "action": action, "circumstances": here, "restrictions": unrestricted,
		"resource": object.union({"project_id": "", "owner_id": "", "role": "", "grants": ""}, resource),
	}
}

ask_under(subject, action, restrictions) := d if {
	d := authz.decision with input as {
		"subject": subject, "action": action, "circumstances": here, "restrictions": object.union(unrestricted, restrictions),
	}
}

having(action) := {role | some role; authz.role_rights[role]; ask(somebody(role), action).reach.all}

# Who has what, as it is promised.

test_members_are_managed_by_owner_and_admin if having("members.write") == {"owner", "admin", "system_administrator"}

test_keys_are_handed_out_by_owner_and_admin if having("keys.create") == {"owner", "admin", "system_administrator"}

test_budgets_are_set_by_owner_and_admin if having("budgets.write") == {"owner", "admin", "system_administrator"}

test_budgets_are_read_by_finance_too if having("budgets.read") == {"owner", "admin", "finance", "system_administrator"}

test_billing_is_set_by_finance_too if having("billing.write") == {"owner", "admin", "finance", "system_administrator"}

test_invoices_are_issued_by_owner_and_finance if having("invoices.issue") == {"owner", "finance"}

test_settings_are_set_by_owner_and_admin if having("settings.write") == {"owner", "admin", "system_administrator"}

test_webhooks_are_set_by_owner_and_admin if having("webhooks.write") == {"owner", "admin", "system_administrator"}

test_audit_is_read_by_owner_and_admin if having("audit.read") == {"owner", "admin", "security", "system_administrator"}

test_the_organization_is_deleted_by_its_owner if having("organization.delete") == {"owner"}

test_models_are_called_by_owner_admin_and_developer if having("inference.use") == {"owner", "admin", "developer"}

test_analytics_are_for_all_but_developer_and_manager if having("analytics.read") == {"owner", "admin", "finance", "analyst", "system_administrator"}

test_a_developer_sees_his_own_figures if {
	d := ask(somebody("developer"), "analytics.read")
	d.allow
	d.reach == {"all": false, "projects": [], "own": true}
}

test_a_manager_sees_his_projects if {
	d := ask(object.union(somebody("manager"), {"projects": {"proj_1": "manager"}}), "analytics.read")
	d.allow
	d.reach == {"all": false, "projects": ["proj_1"], "own": true}
}

test_every_member_rotates_and_revokes_his_own_keys if {
	every role in object.keys(authz.role_rights) {
		every action in ["keys.rotate", "keys.revoke"] {
			ask_on(somebody(role), action, {"owner_id": "user_1", "role": role}).allow
		}
	}
}

test_the_platform_is_administered_by_its_administrator if {
	every action in ["tenants.write", "plans.write", "catalogue.write", "sellers.write", "invoices.run"] {
		having(action) == {"system_administrator"}
	}
}

test_tenants_are_suspended_by_security_too if having("tenants.suspend") == {"system_administrator", "security"}

test_jobs_are_run_by_operations_too if having("jobs.run") == {"system_administrator", "operations"}

test_no_role_of_an_organization_has_a_right_of_the_platform if {
	every role in object.keys(authz.role_rights) - authz.platform_roles {
		every action in object.keys(authz.platform_actions) {
			ask(somebody(role), action).reason == "role"
		}
	}
}

test_no_role_of_the_platform_calls_models if {
	every role in authz.platform_roles { ask(somebody(role), "inference.use").reason == "role" }
}

# Undefined is deny.

test_an_empty_question_is_denied if not authz.allow with input as {}

test_nobody_is_denied if {
	ask(object.union(somebody("owner"), {"organization_id": ""}), "models.read").reason == "nobody"
	ask(object.union(somebody("owner"), {"owner_id": ""}), "models.read").reason == "nobody"
	ask(object.union(somebody("owner"), {"role": ""}), "models.read").reason == "nobody"
}

test_an_unknown_action_is_denied if ask(somebody("owner"), "world.rule").reason == "unknown_action"

test_an_unknown_role_has_nothing if {
	every action in object.keys(authz.actions) { not ask(somebody("emperor"), action).allow }
}

test_a_right_needs_its_scope if {
	every action, scope in authz.organization_actions {
		without := object.union(somebody("owner"), {"scopes": [s | some s in all_scopes; s != scope]})
		ask(without, action).reason == "scope"
	}
}

# Projects.

test_a_project_manager_is_none_elsewhere if {
	who := object.union(somebody("developer"), {"projects": {"proj_1": "manager", "proj_2": "developer"}})
	ask_on(who, "project_members.write", {"project_id": "proj_1"}).allow
	ask_on(who, "project_members.write", {"project_id": "proj_2"}).reason == "reach"
	ask_on(who, "project_members.write", {"project_id": "proj_3"}).reason == "reach"
}

test_an_analyst_calls_models_where_he_develops if {
	who := object.union(somebody("analyst"), {"projects": {"proj_1": "developer"}})
	ask_on(who, "inference.use", {"project_id": "proj_1"}).allow
	ask_on(who, "inference.use", {"project_id": "proj_2"}).reason == "reach"
	ask(somebody("analyst"), "inference.use").reason == "role"
}

# Nobody acts on a peer or a superior.

test_ranks if {
	every pair in [["admin", "owner"], ["admin", "admin"], ["owner", "owner"], ["security", "system_administrator"]] {
		ask_on(somebody(pair[0]), "members.read", {"owner_id": "user_2", "role": pair[1]}).reason == "rank"
	}
	ask_on(somebody("owner"), "members.write", {"owner_id": "user_2", "role": "admin"}).allow
	ask_on(somebody("admin"), "members.write", {"owner_id": "user_2", "role": "finance"}).allow
	ask_on(somebody("owner"), "members.write", {"owner_id": "user_2", "role": "emperor"}).reason == "rank"
}

test_nobody_raises_himself if {
	ask_on(somebody("admin"), "members.write", {"owner_id": "user_1", "role": "admin", "grants": "owner"}).reason == "rank"
	ask_on(somebody("admin"), "members.write", {"owner_id": "user_2", "role": "developer", "grants": "admin"}).reason == "rank"
	ask_on(somebody("admin"), "members.write", {"owner_id": "user_2", "role": "developer", "grants": "finance"}).allow
	ask_on(somebody("owner"), "members.write", {"owner_id": "user_2", "role": "admin", "grants": "owner"}).allow
}

test_platform_roles_stay_within_the_platform if {
	every role in authz.platform_roles {
		ask_on(somebody("owner"), "members.write", {"owner_id": "user_2", "role": "developer", "grants": role}).reason == "rank"
	}
	ask_on(somebody("system_administrator"), "members.write", {"owner_id": "user_2", "role": "support", "grants": "security"}).allow
	ask_on(somebody("system_administrator"), "members.write", {"owner_id": "user_2", "role": "support", "grants": "admin"}).reason == "rank"
}

# Roles of one's own.

custom(permissions, reach) := object.union(somebody("custom"), {"custom": {"permissions": permissions, "reach": reach}})

test_a_custom_role_has_what_it_was_given if {
	ask(custom(["budgets.write"], "organization"), "budgets.write").reach.all
	ask(custom(["budgets.write"], "organization"), "budgets.read").reason == "role"
	ask(custom(["usage.read"], "own"), "usage.read").reach == {"all": false, "projects": [], "own": true}
}

test_no_custom_role_has_what_is_the_owners_or_the_platforms if {
	every action in {"organization.delete", "invoices.issue"} | object.keys(authz.platform_actions) {
		ask(custom([action], "organization"), action).reason == "role"
	}
}

test_what_is_the_organizations_is_not_had_for_less if {
	every action in {"budgets.write", "members.write", "settings.write", "audit.read", "webhooks.write"} {
		every reach in ["projects", "own"] {
			not ask(object.union(custom([action], reach), {"projects": {"proj_1": "viewer"}}), action).allow
		}
	}
}

test_a_custom_role_without_a_reach_reaches_nothing if ask(custom(["budgets.write"], "everything"), "budgets.write").reason == "role"

# Restrictions of an organisation.

test_addresses if {
	ask_under(somebody("owner"), "models.read", {"ips": ["192.0.2.0/24"]}).allow
	ask_under(somebody("owner"), "models.read", {"ips": ["198.51.100.0/24", "2001:db8::/32"]}).reason == "address"
	ask(object.union(somebody("owner"), {"key_ips": ["198.51.100.0/24"]}), "models.read").reason == "address"
}

test_no_address_is_nowhere if {
	d := authz.decision with input as {
		"subject": somebody("owner"), "action": "models.read", "restrictions": {"ips": ["0.0.0.0/0"], "mfa_roles": []},
		"circumstances": {"address": "", "minute": 0, "weekday": 0},
	}
	d.reason == "address"
}

test_hours_bind_people_and_not_calls if {
	night := {"hours": {"days": [1], "from": 0, "to": 600}}
	ask_under(somebody("owner"), "keys.read", night).reason == "hours"
	ask_under(somebody("owner"), "inference.use", night).allow
	ask_under(somebody("owner"), "keys.read", {"hours": {"days": [1], "from": 600, "to": 601}}).allow
	ask_under(somebody("owner"), "keys.read", {"hours": {"days": [2], "from": 0, "to": 1440}}).reason == "hours"
}

session(role, mfa) := object.union(somebody(role), {"method": "session", "mfa": mfa, "recent": true})

test_sensitive_acts_want_a_recent_proof if {
	every action in authz.sensitive_actions - object.keys(authz.platform_actions) {
		ask(object.union(session("owner", true), {"recent": false}), action).reason == "step_up"
		ask(session("owner", true), action).allow
		ask(object.union(somebody("owner"), {"method": "client", "mfa": false, "recent": false}), action).allow
	}
	ask(object.union(session("owner", true), {"recent": false}), "keys.read").allow
}

test_the_second_factor_is_forced_for_sensitive_roles if {
	every role in {"owner", "admin", "finance"} | authz.platform_roles {
		ask(session(role, false), "keys.read").reason == "mfa"
		ask(session(role, true), "keys.read").allow
		ask(somebody(role), "keys.read").allow
	}
	ask(session("developer", false), "keys.read").allow
}

test_and_for_those_that_the_organization_names if ask_under(session("analyst", false), "keys.read", {"mfa_roles": ["analyst"]}).reason == "mfa"
