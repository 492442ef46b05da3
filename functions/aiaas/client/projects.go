package client

import (
	"net/http"

	"github.com/aiaas/aiaas/shared/authz"
)

func projects() source { return source{path: "/v1/projects", about: "name"} }

func projectGroup() group {
	return group{name: "project", short: "Keep projects, and who works in them", commands: []command{
		{
			use: "list", short: "List the projects", role: roleAdmin,
			method: http.MethodGet, path: "/v1/projects", list: true, paged: true, columns: projectColumns(),
		},
		{use: "get PROJECT", short: "Show a project", role: roleAdmin, args: []source{projects()}, method: http.MethodGet, path: "/v1/projects/{0}"},
		{
			use: "create", short: "Create a project", role: roleAdmin, example: "  aiaas project create --name search --models demo",
			method: http.MethodPost, path: "/v1/projects", flags: projectFlags(true),
		},
		{
			use: "update PROJECT", short: "Change a project", role: roleAdmin, args: []source{projects()},
			method: http.MethodPatch, path: "/v1/projects/{0}", prepare: changedModels, flags: append(projectFlags(false),
				flag{name: "all-models", kind: yes, doc: "it may use all models of the organization"}),
		},
		{
			use: "archive PROJECT", short: "Archive a project: its keys are refused within a second", role: roleAdmin, args: []source{projects()},
			method: http.MethodPost, path: "/v1/projects/{0}/archive", ask: "Archive {0}? Its keys are refused until it is restored.",
		},
		{
			use: "restore PROJECT", short: "Restore an archived project", role: roleAdmin, args: []source{projects()},
			method: http.MethodPost, path: "/v1/projects/{0}/restore",
		},
		{
			use: "members PROJECT", short: "List who works in a project", role: roleAdmin, args: []source{projects()},
			method: http.MethodGet, path: "/v1/projects/{0}/members", list: true, paged: true, columns: teamColumns(),
		},
		{
			use: "set-member PROJECT MEMBER", short: "Give a member or service account a role in a project", role: roleAdmin, args: []source{projects(), members()},
			example: "  aiaas project set-member proj_… user_… --role developer",
			method:  http.MethodPut, path: "/v1/projects/{0}/members/{1}",
			flags: []flag{{name: "role", to: "body:role", doc: "the role in the project", required: true, values: projectRoles()}},
		},
		{
			use: "remove-member PROJECT MEMBER", short: "Take somebody out of a project", role: roleAdmin, args: []source{projects(), members()},
			method: http.MethodDelete, path: "/v1/projects/{0}/members/{1}", ask: "Take {1} out of {0}?", done: "{1} is out of {0}.",
		},
	}}
}

func projectRoles() (names []string) {
	for _, r := range authz.ProjectRoles() {
		names = append(names, string(r))
	}
	return names
}

func projectFlags(all bool) []flag {
	return []flag{
		{name: "name", to: "body:name", doc: "what people call it", required: all},
		{name: "description", to: "body:description", doc: "what it is for"},
		{name: "models", to: "body:models", kind: texts, doc: "the only models that it may use", complete: models()},
		{name: "requests-per-minute", to: "body:limits.requests_per_minute", kind: number, doc: "its own limit"},
		{name: "tokens-per-minute", to: "body:limits.tokens_per_minute", kind: number, doc: "its own limit"},
		{name: "concurrent-requests", to: "body:limits.concurrent_requests", kind: number, doc: "its own limit"},
	}
}

// changedModels lifts the restriction to models where that is asked for.
func changedModels(k *call) error {
	if v := k.values["all-models"]; v.given() && v.yes {
		if k.values["models"].given() {
			return Usage("--models and --all-models exclude each other")
		}
		k.body["models"] = nil
	}
	return someChange(k)
}

func projectColumns() []column {
	return []column{
		{title: "ID", path: "id"}, {title: "NAME", path: "name"}, {title: "STATUS", path: "status"}, {title: "MODELS", path: "models"}, {title: "CREATED", path: "created_at"},
	}
}

func teamColumns() []column {
	return []column{
		{title: "MEMBER", path: "member_id"}, {title: "NAME", path: "name"}, {title: "EMAIL", path: "email"}, {title: "ROLE", path: "role"}, {title: "SINCE", path: "created_at"},
	}
}
