package client

import "net/http"

func mailGroup() group {
	mails := source{path: "/v1/mails", about: "recipient"}
	return group{name: "mail", short: "See what became of mails, and try whether they arrive", commands: []command{
		{
			use: "list", short: "List the organization's mails, the newest first", role: roleAdmin,
			long: "Without MAIL_URL, aiaas serve writes mails as files into the folder mail of its data folder:\n" +
				"under their id as .html, .txt and .eml.",
			example: "  aiaas mail list --status failed",
			method:  http.MethodGet, path: "/v1/mails", list: true, paged: true, columns: []column{
				{title: "ID", path: "id"}, {title: "KIND", path: "kind"}, {title: "RECIPIENT", path: "recipient"}, {title: "STATUS", path: "status"},
				{title: "ATTEMPTS", path: "attempts"}, {title: "CREATED", path: "created_at"}, {title: "NEXT ATTEMPT", path: "next_attempt_at"}, {title: "LAST ERROR", path: "last_error"},
			},
			flags: []flag{
				{name: "status", to: "query:status", doc: "only of a status", values: []string{"queued", "sent", "failed"}},
				{name: "kind", to: "query:kind", doc: "only of a kind, such as budget.threshold_reached"},
				{name: "recipient", to: "query:recipient", doc: "only to an address"},
			},
		},
		{
			use: "show MAIL", short: "Show what became of a mail", role: roleAdmin, args: []source{mails},
			method: http.MethodGet, path: "/v1/mails/{0}",
		},
		{
			use: "test", short: "Send a test mail", role: roleAdmin,
			long:   "It goes to the technical contact of the organization, or to the member or contact whose address is given.",
			method: http.MethodPost, path: "/v1/mails/test",
			flags: []flag{{name: "to", to: "body:to", doc: "the address of a member or a contact"}},
		},
	}}
}
