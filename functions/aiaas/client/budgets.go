package client

import "net/http"

func budgetGroup() group {
	return group{name: "budget", short: "Create, watch and raise budgets", commands: []command{
		{
			use: "list", short: "List the organization's budgets", role: roleAdmin,
			method: http.MethodGet, path: "/v1/budgets", list: true, paged: true, columns: budgetColumns(),
		},
		{
			use: "get BUDGET", short: "Show a budget with its running window", role: roleAdmin, args: []source{budgets()},
			method: http.MethodGet, path: "/v1/budgets/{0}",
		},
		{
			use: "create", short: "Create a budget", role: roleAdmin,
			example: "  aiaas budget create --organization --unit money --amount 100 --period month --action block\n  aiaas budget create --key key_… --unit requests --amount 1000 --period day --action warn",
			method:  http.MethodPost, path: "/v1/budgets", prepare: oneScope,
			flags: append([]flag{
				{name: "organization", to: "body:scope.organization", kind: yes, doc: "it covers the whole organization"},
				{name: "project", to: "body:scope.project_id", doc: "it covers a project"},
				{name: "key", to: "body:scope.api_key_id", doc: "it covers a key", complete: keys()},
				{name: "model", to: "body:scope.model", doc: "it covers a model", complete: models()},
				{name: "unit", to: "body:unit", doc: "what is counted", required: true, values: []string{"money", "tokens", "requests"}},
				{name: "period", to: "body:period", doc: "how long a window is", required: true, values: []string{"day", "week", "month", "quarter", "year", "once"}},
			}, budgetFlags(true)...),
		},
		{
			use: "update BUDGET", short: "Raise or lower a budget, within a second", role: roleAdmin, args: []source{budgets()},
			example: "  aiaas budget update bud_… --amount 200",
			method:  http.MethodPatch, path: "/v1/budgets/{0}", flags: budgetFlags(false), prepare: someChange,
		},
		{
			use: "delete BUDGET", short: "Delete a budget", role: roleAdmin, args: []source{budgets()},
			method: http.MethodDelete, path: "/v1/budgets/{0}",
			ask: "Delete {0}? What it blocks is served from then on.", done: "{0} is deleted.",
		},
		{
			use: "alerts BUDGET", short: "List the thresholds that were crossed", role: roleAdmin, args: []source{budgets()},
			method: http.MethodGet, path: "/v1/budgets/{0}/alerts", list: true, paged: true, columns: alertColumns(),
		},
	}}
}

func budgetFlags(all bool) []flag {
	return []flag{
		{name: "amount", to: "body:amount", doc: "a decimal: of the currency, or a number of tokens or requests", required: all},
		{name: "action", to: "body:action", doc: "what happens at its end", required: all, values: []string{"monitor", "warn", "block"}},
		{name: "thresholds", to: "body:thresholds", kind: numbers, doc: "percentages that are reported (default 50,80,100)"},
	}
}

func oneScope(k *call) error {
	given := 0
	for _, name := range []string{"organization", "project", "key", "model"} {
		if k.values[name].given() {
			given++
		}
	}
	if given != 1 {
		return Usage("a budget covers exactly one of --organization, --project, --key and --model")
	}
	return nil
}

func budgetColumns() []column {
	return []column{
		{title: "ID", path: "id"}, {title: "SCOPE", path: "scope", as: covered}, {title: "ACTION", path: "action"}, {title: "UNIT", path: "unit"},
		{title: "AMOUNT", path: "amount"}, {title: "SPENT", path: "spent"}, {title: "HELD", path: "held"}, {title: "PERIOD", path: "period"}, {title: "WINDOW FROM", path: "window.start"},
	}
}

// covered names what a budget covers, by the one member of its scope.
func covered(scope value) string {
	switch {
	case len(scope.members) != 1:
		return plain(scope)
	case scope.members[0].value.kind == '"':
		return scope.members[0].value.text
	}
	return scope.members[0].name
}

func alertColumns() []column {
	return []column{
		{title: "AT", path: "at"}, {title: "THRESHOLD", path: "threshold"}, {title: "SPENT", path: "spent"}, {title: "AMOUNT", path: "amount"}, {title: "WINDOW FROM", path: "window.start"},
	}
}
