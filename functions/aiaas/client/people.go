package client

import (
	"net/http"

	"github.com/aiaas/aiaas/shared/authz"
)

func members() source         { return source{path: "/v1/members", about: "email"} }
func serviceAccounts() source { return source{path: "/v1/service-accounts", about: "name"} }
func roles() source           { return source{path: "/v1/roles", about: "name", whole: true} }

func userGroup() group {
	return group{name: "user", short: "Invite, add, change and remove the members of the organization", commands: append([]command{
		{
			use: "list", short: "List the members", role: roleAdmin,
			method: http.MethodGet, path: "/v1/members", list: true, paged: true, columns: holderColumns(column{title: "EMAIL", path: "email"}),
		},
		{use: "get MEMBER", short: "Show a member", role: roleAdmin, args: []source{members()}, method: http.MethodGet, path: "/v1/members/{0}"},
		{
			use: "add", short: "Add a member by e-mail address", role: roleAdmin,
			example: "  aiaas user add --email ada@example.com --role developer",
			method:  http.MethodPost, path: "/v1/members",
			flags: []flag{
				{name: "email", to: "body:email", doc: "the person's address", required: true},
				{name: "name", to: "body:name", doc: "what the organization calls the person"},
				{name: "role", to: "body:role", doc: "a built-in role, or the id of one of the organization's own", required: true, complete: roles()},
			},
		},
		{
			use: "update MEMBER", short: "Give a member another role or name", role: roleAdmin, args: []source{members()},
			method: http.MethodPatch, path: "/v1/members/{0}", prepare: someChange,
			flags: []flag{
				{name: "role", to: "body:role", doc: "the new role", complete: roles()},
				{name: "name", to: "body:name", doc: "what the organization calls the person"},
			},
		},
		suspendCommand("MEMBER", "member", "/v1/members", members()),
		reactivateCommand("MEMBER", "member", "/v1/members", members()),
		removeCommand("remove MEMBER", "Remove a member", "/v1/members", members()),
	}, invitationCommands()...)}
}

func serviceAccountGroup() group {
	return group{name: "service-account", short: "Keep the programs that act for the organization", commands: []command{
		{
			use: "list", short: "List the service accounts", role: roleAdmin,
			method: http.MethodGet, path: "/v1/service-accounts", list: true, paged: true, columns: holderColumns(column{title: "DESCRIPTION", path: "description"}),
		},
		{
			use: "get ACCOUNT", short: "Show a service account", role: roleAdmin, args: []source{serviceAccounts()},
			method: http.MethodGet, path: "/v1/service-accounts/{0}",
		},
		{
			use: "create", short: "Create a service account", role: roleAdmin,
			example: "  aiaas service-account create --name reports --role analyst",
			method:  http.MethodPost, path: "/v1/service-accounts", flags: programFlags(true),
		},
		{
			use: "update ACCOUNT", short: "Change a service account", role: roleAdmin, args: []source{serviceAccounts()},
			method: http.MethodPatch, path: "/v1/service-accounts/{0}", prepare: someChange, flags: programFlags(false),
		},
		suspendCommand("ACCOUNT", "service account", "/v1/service-accounts", serviceAccounts()),
		reactivateCommand("ACCOUNT", "service account", "/v1/service-accounts", serviceAccounts()),
		removeCommand("delete ACCOUNT", "Delete a service account", "/v1/service-accounts", serviceAccounts()),
	}}
}

func programFlags(all bool) []flag {
	return []flag{
		{name: "name", to: "body:name", doc: "what people call it", required: all},
		{name: "description", to: "body:description", doc: "what it is for"},
		{name: "role", to: "body:role", doc: "a built-in role, or the id of one of the organization's own", required: all, complete: roles()},
	}
}

func holderColumns(own column) []column {
	return []column{
		{title: "ID", path: "id"}, {title: "NAME", path: "name"}, own, {title: "ROLE", path: "role"}, {title: "STATUS", path: "status"},
		{title: "KEYS", path: "keys"}, {title: "ADDED", path: "created_at"},
	}
}

func suspendCommand(arg, what, path string, from source) command {
	return command{
		use: "suspend " + arg, short: "Suspend a " + what + ": its keys are refused within a second", role: roleAdmin, args: []source{from},
		method: http.MethodPost, path: path + "/{0}/suspend", flags: []flag{{name: "reason", to: "body:reason", doc: "why"}},
		ask: "Suspend {0}? Its keys are refused from then on.",
	}
}

func reactivateCommand(arg, what, path string, from source) command {
	return command{
		use: "reactivate " + arg, short: "Let a suspended " + what + " act again", role: roleAdmin, args: []source{from},
		method: http.MethodPost, path: path + "/{0}/reactivate",
	}
}

func removeCommand(use, short, path string, from source) command {
	return command{
		use: use, short: short + ", and revoke its keys or give them on", role: roleAdmin, args: []source{from},
		method: http.MethodDelete, path: path + "/{0}",
		flags: []flag{{name: "transfer-to", to: "query:transfer_to", doc: "the member or service account that is to have the keys (default: they are revoked)"}},
		ask:   "Remove {0}? It can't be undone.",
	}
}

func roleGroup() group {
	return group{name: "role", short: "Make roles of the permissions there are", commands: []command{
		{
			use: "list", short: "List the roles, built-in ones first", role: roleAdmin,
			method: http.MethodGet, path: "/v1/roles", list: true, columns: roleColumns(),
		},
		{use: "get ROLE", short: "Show a role", role: roleAdmin, args: []source{roles()}, method: http.MethodGet, path: "/v1/roles/{0}"},
		{
			use: "create", short: "Create a role", role: roleAdmin,
			example: "  aiaas role create --name keeper --permissions keys.create,keys.read --reach organization",
			method:  http.MethodPost, path: "/v1/roles", flags: roleFlags(true),
		},
		{
			use: "update ROLE", short: "Change a role, for all who have it", role: roleAdmin, args: []source{roles()},
			method: http.MethodPatch, path: "/v1/roles/{0}", prepare: someChange, flags: roleFlags(false),
		},
		{
			use: "delete ROLE", short: "Delete a role that nobody has", role: roleAdmin, args: []source{roles()},
			method: http.MethodDelete, path: "/v1/roles/{0}", ask: "Delete {0}? It can't be undone.", done: "{0} is deleted.",
		},
		{
			use: "permissions", short: "List the permissions, and which roles have them", role: roleAdmin,
			method: http.MethodGet, path: "/v1/policy/permissions", list: true, columns: []column{
				{title: "PERMISSION", path: "action"}, {title: "SCOPE", path: "scope"}, {title: "ROLES", path: "roles"}, {title: "IN PROJECTS", path: "project_roles"},
			},
		},
	}}
}

func roleFlags(all bool) []flag {
	return []flag{
		{name: "name", to: "body:name", doc: "what people call it", required: all},
		{name: "description", to: "body:description", doc: "what it is for"},
		{name: "permissions", to: "body:permissions", kind: texts, doc: "what it permits; aiaas role permissions lists them", required: all},
		{name: "reach", to: "body:reach", doc: "how far that goes", required: all, values: []string{string(authz.Organization), string(authz.Projects), string(authz.Own)}},
	}
}

func roleColumns() []column {
	return []column{
		{title: "ID", path: "id"}, {title: "NAME", path: "name"}, {title: "REACH", path: "reach"}, {title: "MEMBERS", path: "members"}, {title: "PERMISSIONS", path: "permissions"},
	}
}
