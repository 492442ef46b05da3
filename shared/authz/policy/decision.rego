# How a question is decided. Undefined is deny: allow is false unless every rule
# that could forbid was looked at and did not.
#
# input.subject       role, custom {permissions, reach} of a role of one's own, scopes,
#                     owner_id, projects {id: role}, organization_id, key_ips,
#                     method ("key", "session", "token", "client"), mfa, recent
# input.action        "keys.create"
# input.resource      absent for the action as such; else project_id, owner_id, and
#                     role: of the person acted on; grants: a role to be given
# input.circumstances address, minute (of the day, in the organisation's zone), weekday (0: Sunday)
# input.restrictions  ips, hours {days, from, to} in minutes, mfa_roles
package aiaas.authz

default allow := false

allow if reason == "allowed"

default reason := "undefined"

reason := "nobody" if not somebody

else := "unknown_action" if not input.action in object.keys(actions)

else := "scope" if not actions[input.action] in input.subject.scopes

else := "role" if not reaches_something

else := "address" if not address_allowed

else := "hours" if not hour_allowed

else := "mfa" if not mfa_satisfied

else := "reach" if not reaches_resource

else := "rank" if not outranks

else := "step_up" if not recently_proved

else := "allowed"

somebody if {
	input.subject.organization_id != ""
	input.subject.owner_id != ""
	input.subject.role != ""
}

# What the subject's role gives of the action, and what everybody has. Who has no
# known role has nothing.
default action_reach := ""

action_reach := wider(object.get(everybody, input.action, ""), object.get(own_rights, input.action, ""))

# A custom role can only hold actions of an organisation.
own_rights := rights if {
	rights := role_rights[input.subject.role]
} else := custom_rights if {
	input.subject.role == "custom"
}

custom_rights := {name: input.subject.custom.reach |
	some name in input.subject.custom.permissions
	name in customizable
	reaches_so_far(name)
}

reaches_so_far(_) if input.subject.custom.reach == "organization"

reaches_so_far(name) if {
	input.subject.custom.reach in {"projects", "own"}
	name in narrowable
}

# What a custom role can hold: what an admin has, for nobody gives what is above him.
customizable := {name | some name; role_rights.admin[name]}

widths := {"": 0, "own": 1, "projects": 2, "organization": 3}

wider(a, b) := a if widths[a] >= widths[b]

else := b

# The projects that the action reaches, where it does not reach everything.
projects contains id if {
	action_reach == "projects"
	some id in object.keys(input.subject.projects)
}

projects contains id if {
	action_reach in {"", "own"}
	some id, role in input.subject.projects
	role in project_roles_with_action
}

project_roles_with_action := {role | some role, rights in project_role_rights; input.action in rights}

reach := {
	"all": action_reach == "organization",
	"projects": sort(projects),
	"own": action_reach in {"own", "projects"},
}

reaches_something if reach.all

reaches_something if reach.own

reaches_something if count(projects) > 0

# Addresses bind every action; hours and the second factor those of people at work,
# not the calls of programs.
address_allowed if {
	within_networks(input.subject.key_ips)
	within_networks(input.restrictions.ips)
}

within_networks(networks) if count(networks) == 0

within_networks(networks) if {
	input.circumstances.address != ""
	some network in networks
	net.cidr_contains(network, input.circumstances.address)
}

calls := {"inference.use", "models.read"}

hour_allowed if input.action in calls

hour_allowed if not input.restrictions.hours

hour_allowed if {
	input.circumstances.weekday in input.restrictions.hours.days
	input.circumstances.minute >= input.restrictions.hours.from
	input.circumstances.minute < input.restrictions.hours.to
}

# The credential of a program was made by somebody who had proved himself then; it
# can't prove more.
of_program if input.subject.method in {"key", "client"}

mfa_satisfied if of_program

mfa_satisfied if input.action in calls

mfa_satisfied if input.subject.mfa

mfa_satisfied if {
	not input.subject.role in {"owner", "admin", "finance"}
	not input.subject.role in platform_roles
	not input.subject.role in input.restrictions.mfa_roles
}

# What would serve whoever finds a session open: new keys, other roles, other payment.
recently_proved if of_program

recently_proved if input.subject.recent

recently_proved if not input.action in sensitive_actions

reaches_resource if not input.resource

reaches_resource if reach.all

reaches_resource if {
	input.resource.project_id != ""
	input.resource.project_id in projects
}

reaches_resource if {
	reach.own
	input.resource.owner_id == input.subject.owner_id
}

rank := ranks[input.subject.role]

default outranks := false

outranks if {
	acts_on_lower
	gives_lower
}

acting_on := object.get(object.get(input, "resource", {}), "role", "")

acts_on_lower if acting_on == ""

acts_on_lower if input.resource.owner_id == input.subject.owner_id

acts_on_lower if ranks[acting_on] < rank

giving := object.get(object.get(input, "resource", {}), "grants", "")

gives_lower if giving == ""

gives_lower if {
	same_kind
	ranks[giving] < rank
}

# The highest may make another of their own.
gives_lower if {
	giving in {"owner", "system_administrator"}
	giving == input.subject.role
}

# Roles of the platform are given by those who have one, and the others by the others.
same_kind if {
	giving in platform_roles
	input.subject.role in platform_roles
}

same_kind if {
	not giving in platform_roles
	not input.subject.role in platform_roles
}

# Who has the right and could act, or give it. It is told where it helps.
granted_by := [] if allow

else := sort([role | some role, rights in role_rights; rights[input.action] == "organization"])

decision := {
	"allow": allow,
	"reason": reason,
	"scope": object.get(actions, input.action, ""),
	"reach": reach,
	"granted_by": granted_by,
}
