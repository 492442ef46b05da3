package client

import (
	"io"
	"net/http"
	"strings"
	"time"
)

func modelGroup() group {
	return group{name: "model", short: "Keep models, their backends and prices", commands: append([]command{
		{
			use: "list", short: "List the catalogue, also what is disabled", role: rolePlatform,
			method: http.MethodGet, path: "/v1/platform/models", list: true, paged: true, columns: modelColumns(),
		},
		{
			use: "get MODEL", short: "Show a model with its backends", role: rolePlatform, args: []source{models()},
			method: http.MethodGet, path: "/v1/platform/models/{0}", sections: []section{{"backends", backendColumns()}},
		},
		{
			use: "create MODEL", short: "Add a model; it can be called once it has a backend and a price", role: rolePlatform, args: []source{anything()},
			method: http.MethodPost, path: "/v1/models", prepare: func(k *call) error { k.body["id"] = k.args[0]; return nil },
			flags: []flag{
				{name: "owned-by", to: "body:owned_by", doc: "shown in the list of models"},
				{name: "max-output-tokens", to: "body:max_output_tokens", kind: number, doc: "the most output of a request that sets no bound itself"},
				{name: "restricted", to: "body:restricted", kind: yes, doc: "only for organizations that it is granted to"},
			},
		},
		{
			use: "restrict MODEL", short: "Let only organizations use a model that it is granted to", role: rolePlatform, args: []source{models()},
			method: http.MethodPatch, path: "/v1/models/{0}", prepare: restricted(true), sections: []section{{"backends", backendColumns()}},
			ask: "Restrict {0}? To all organizations that it is not granted to it is as if it did not exist, from then on.",
		},
		{
			use: "open MODEL", short: "Let every organization use a restricted model", role: rolePlatform, args: []source{models()},
			method: http.MethodPatch, path: "/v1/models/{0}", prepare: restricted(false), sections: []section{{"backends", backendColumns()}},
		},
		{
			use: "enable MODEL", short: "Let a model be called again", role: rolePlatform, args: []source{models()},
			method: http.MethodPatch, path: "/v1/models/{0}", prepare: disabled(false), sections: []section{{"backends", backendColumns()}},
		},
		{
			use: "disable MODEL", short: "Make a model as if it did not exist, within a second", role: rolePlatform, args: []source{models()},
			method: http.MethodPatch, path: "/v1/models/{0}", prepare: disabled(true), sections: []section{{"backends", backendColumns()}},
			ask: "Disable {0}? All requests for it are refused from then on.",
		},
	}, append(backendCommands(), priceCommands()...)...)}
}

func restricted(v bool) func(*call) error {
	return func(k *call) error { k.body["restricted"] = v; return nil }
}

func disabled(v bool) func(*call) error {
	return func(k *call) error { k.body["disabled"] = v; return nil }
}

func backendCommands() []command {
	return []command{
		{
			use: "add-backend MODEL", short: "Add a place where a model runs", role: rolePlatform, args: []source{models()},
			long: "The backend's credential comes from standard input (--credential-stdin), or stays in an environment variable\n" +
				"of the platform's process (--credential-env). It is stored encrypted and never shown again.",
			example: "  aiaas model add-backend llama-3.3-70b --url http://vllm:8000/v1\n  aiaas model add-backend gpt-5 --url https://api.openai.com/v1 --credential-stdin < key.txt",
			method:  http.MethodPost, path: "/v1/models/{0}/backends", prepare: credential,
			flags: []flag{
				{name: "url", to: "body:base_url", doc: "address up to and including the version", required: true},
				{name: "protocol", doc: "what it speaks (default openai)", values: []string{"openai"}},
				{name: "upstream-model", to: "body:upstream_model", doc: "what the backend calls the model"},
				{name: "weight", to: "body:weight", kind: number, doc: "its share of the requests beside other backends"},
				{name: "credential-env", to: "body:credential_env", doc: "environment variable of the platform that holds the credential"},
				{name: "credential-stdin", kind: yes, doc: "read the credential from standard input"},
			},
		},
		{
			use: "update-backend BACKEND", short: "Change a backend's weight, disable or enable it", role: rolePlatform, args: []source{anything()},
			method: http.MethodPatch, path: "/v1/backends/{0}", prepare: someChange,
			flags: []flag{
				{name: "weight", to: "body:weight", kind: number, doc: "its share of the requests beside other backends"},
				{name: "disabled", to: "body:disabled", kind: yes, doc: "send it no requests; --disabled=false sends it some again"},
			},
		},
	}
}

func priceCommands() []command {
	book := flag{name: "book", doc: "the price book (default \"default\")"}
	return []command{
		{
			use: "price MODEL", short: "Publish a price; no price of the past ever changes", role: rolePlatform, args: []source{models()},
			example: "  aiaas model price llama-3.3-70b --input-usd 0.60 --output-usd 0.80 --from 2027-01-01",
			method:  http.MethodPost, path: "/v1/price-books/{1}/prices", prepare: price,
			flags: []flag{
				book,
				{name: "input-usd", to: "body:input_usd_per_million", doc: "for a million tokens of input", required: true},
				{name: "cached-input-usd", to: "body:cached_input_usd_per_million", doc: "for a million tokens of cached input (default: the price of input)"},
				{name: "output-usd", to: "body:output_usd_per_million", doc: "for a million tokens of output", required: true},
				{name: "from", doc: "when it takes effect: a date or a time (default: now)"},
			},
		},
		{
			use: "prices [MODEL]", short: "List the versions of prices", role: rolePlatform, args: []source{models()}, optional: 1,
			method: http.MethodGet, path: "/v1/price-books/{1}/prices", list: true, paged: true, columns: priceColumns(), prepare: pricesOf,
			flags: []flag{book, {name: "in-force", to: "query:in_force", kind: yes, doc: "only what counts now"}},
		},
		{
			use: "price-books", short: "List the price books", role: rolePlatform,
			method: http.MethodGet, path: "/v1/price-books", list: true, paged: true,
			columns: []column{{title: "ID", path: "id"}, {title: "CURRENCY", path: "currency"}, {title: "CREATED", path: "created_at"}},
		},
	}
}

func modelColumns() []column {
	return []column{
		{title: "ID", path: "id"}, {title: "OWNED BY", path: "owned_by"}, {title: "CALLABLE", path: "callable"}, {title: "DISABLED", path: "disabled"},
		{title: "RESTRICTED", path: "restricted"}, {title: "BACKENDS", path: "backends", as: howMany}, {title: "INPUT", path: "price.input_usd_per_million"},
		{title: "CACHED", path: "price.cached_input_usd_per_million"}, {title: "OUTPUT", path: "price.output_usd_per_million"},
	}
}

func backendColumns() []column {
	return []column{
		{title: "BACKEND", path: "id"}, {title: "PROTOCOL", path: "protocol"}, {title: "ADDRESS", path: "base_url"}, {title: "UPSTREAM MODEL", path: "upstream_model"},
		{title: "CREDENTIAL", path: "credential"}, {title: "WEIGHT", path: "weight"}, {title: "DISABLED", path: "disabled"},
	}
}

func priceColumns() []column {
	return []column{
		{title: "ID", path: "id"}, {title: "MODEL", path: "model"}, {title: "FROM", path: "effective_from"}, {title: "IN FORCE", path: "in_force"},
		{title: "INPUT", path: "input_usd_per_million"}, {title: "CACHED", path: "cached_input_usd_per_million"}, {title: "OUTPUT", path: "output_usd_per_million"},
	}
}

// largestCredential is the longest that the API takes, in bytes.
const largestCredential = 4096

func credential(k *call) error {
	k.body["protocol"] = "openai"
	if v := k.values["protocol"]; v.given() {
		k.body["protocol"] = v.text
	}
	if !k.values["credential-stdin"].yes {
		return nil
	}
	if k.values["credential-env"].given() {
		return Usage("--credential-env and --credential-stdin exclude each other")
	}
	raw, err := io.ReadAll(io.LimitReader(k.cmd.InOrStdin(), largestCredential+2))
	if err != nil {
		return wrapped("read credential", err)
	}
	secret := strings.TrimRight(string(raw), "\r\n")
	if secret == "" {
		return Usage("standard input has no credential")
	}
	k.body["credential"] = secret
	return nil
}

func someChange(k *call) error {
	if len(k.body) == 0 {
		return Usage("nothing is to be changed; see aiaas %s --help", strings.TrimPrefix(k.cmd.CommandPath(), "aiaas "))
	}
	return nil
}

// inBook puts the price book into the path.
func (k *call) inBook() {
	for len(k.args) < 2 {
		k.args = append(k.args, "")
	}
	k.args[1] = "default"
	if v := k.values["book"]; v.given() {
		k.args[1] = v.text
	}
}

func price(k *call) error {
	k.inBook()
	k.body["model"] = k.args[0]
	v := k.values["from"]
	if !v.given() {
		return nil
	}
	at, err := k.moment(v.text, 1)
	if err != nil {
		return Usage("--from: %v", err)
	}
	k.body["effective_from"] = at.UTC().Format(time.RFC3339Nano)
	return nil
}

func pricesOf(k *call) error {
	k.inBook()
	if k.args[0] != "" {
		k.query.Set("model", k.args[0])
	}
	return nil
}
