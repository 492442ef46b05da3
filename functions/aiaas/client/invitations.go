package client

import (
	"net/http"
	"strings"
)

func invitations() source { return source{path: "/v1/invitations", about: "email"} }

// invitationCommands are those of people who are no members yet.
func invitationCommands() []command {
	one := []source{invitations()}
	return []command{
		{
			use: "invite", short: "Invite a person by mail", role: roleAdmin,
			long:    "The mail has a link that is good for seven days. By accepting it the person sets a password, or shows the one that he has, and becomes a member.",
			example: "  aiaas user invite --email ada@example.com --role developer --project proj_…=manager",
			method:  http.MethodPost, path: "/v1/invitations", prepare: invitedProjects,
			flags: []flag{
				{name: "email", to: "body:email", doc: "the person's address", required: true},
				{name: "name", to: "body:name", doc: "what the organization calls the person (default: as he calls himself)"},
				{name: "role", to: "body:role", doc: "a built-in role, or the id of one of the organization's own", required: true, complete: roles()},
				{name: "project", kind: texts, doc: "PROJECT=ROLE that the person gets too: manager, developer or viewer"},
			},
		},
		{
			use: "invitations", short: "List the invitations, the newest first", role: roleAdmin,
			method: http.MethodGet, path: "/v1/invitations", list: true, paged: true,
			flags: []flag{{name: "status", to: "query:status", doc: "only those", values: []string{"open", "accepted", "withdrawn", "expired"}}},
			columns: []column{
				{title: "ID", path: "id"}, {title: "EMAIL", path: "email"}, {title: "ROLE", path: "role"}, {title: "STATUS", path: "status"},
				{title: "SENT", path: "sent_at"}, {title: "EXPIRES", path: "expires_at"},
			},
		},
		{use: "invitation INVITATION", short: "Show an invitation", role: roleAdmin, args: one, method: http.MethodGet, path: "/v1/invitations/{0}"},
		{
			use: "resend INVITATION", short: "Send an invitation again, with another link: the one before is dead", role: roleAdmin, args: one,
			method: http.MethodPost, path: "/v1/invitations/{0}/resend",
		},
		{
			use: "withdraw INVITATION", short: "Withdraw an invitation: its link opens nothing any more", role: roleAdmin, args: one,
			method: http.MethodDelete, path: "/v1/invitations/{0}", ask: "Withdraw {0}? Its link opens nothing from then on.", done: "{0} is withdrawn.",
		},
	}
}

// invitedProjects reads the projects of an invitation.
func invitedProjects(k *call) error {
	if !k.values["project"].given() {
		return nil
	}
	var list []any
	for _, pair := range k.values["project"].list {
		project, role, ok := strings.Cut(pair, "=")
		if !ok || project == "" || role == "" {
			return Usage("--project is written PROJECT=ROLE, as in --project proj_…=developer")
		}
		list = append(list, map[string]any{"project_id": project, "role": role})
	}
	k.body["projects"] = list
	return nil
}
