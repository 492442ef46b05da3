package client

import "net/http"

func requestGroup() group {
	return group{name: "request", short: "Look into the access log", commands: []command{
		{
			use: "list", short: "List requests, the newest first", role: roleAdmin,
			example: "  aiaas request list --status 429 --start 24h --limit 50",
			method:  http.MethodGet, path: "/v1/requests", list: true, paged: true, columns: requestColumns(), prepare: between,
			flags: []flag{
				{name: "key", to: "query:api_key_id", doc: "only of a key", complete: keys()},
				{name: "project", to: "query:project_id", doc: "only of a project"},
				{name: "model", to: "query:model", doc: "only for a model", complete: models()},
				{name: "status", to: "query:status", doc: "only those that were answered so"},
				{name: "address", to: "query:source_address", doc: "only from an address"},
				{name: "start", doc: "from then on: a date, a time, or a span such as 24h"},
				{name: "end", doc: "up to then"},
			},
		},
		{
			use: "get REQUEST", short: "Show what became of a request", role: roleAdmin, args: []source{{path: "/v1/requests", about: "at"}},
			method: http.MethodGet, path: "/v1/requests/{0}",
		},
	}}
}

func requestColumns() []column {
	return []column{
		{title: "AT", path: "at"}, {title: "ID", path: "id"}, {title: "STATUS", path: "status"}, {title: "OUTCOME", path: "outcome"}, {title: "CODE", path: "code"},
		{title: "MODEL", path: "model"}, {title: "KEY", path: "api_key_id"}, {title: "ADDRESS", path: "source_address"}, {title: "COUNT", path: "count"},
		{title: "INPUT", path: "usage.input_tokens"}, {title: "OUTPUT", path: "usage.output_tokens"}, {title: "COST", path: "usage.cost"},
	}
}
