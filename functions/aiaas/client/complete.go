package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// completionTimeout is how long a shell may wait for its user's TAB.
const completionTimeout = 1500 * time.Millisecond

// source is where the completions of an argument come from: a list of the API.
type source struct {
	path  string // "" for what nobody can guess
	id    string // the member that is completed; "" is "id"
	about string // the member that says what it is
	whole bool   // the list has no pages
	role  role   // whose key may list them, where that is not the command's own
}

func keys() source { return source{path: "/v1/api-keys", about: "name"} }
func models() source {
	return source{path: "/v1/platform/models", about: "owned_by", role: rolePlatform}
}
func budgets() source  { return source{path: "/v1/budgets", about: "amount"} }
func anything() source { return source{} }

// completeArgs completes arguments through the API; silently, whatever happens.
func (c *command) completeArgs(env Env, o *options) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= len(c.args) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return c.args[len(args)].ask(cmd.Context(), env, o, c.role, begun), cobra.ShellCompDirectiveNoFileComp
	}
}

// ask lists what begins so. Nothing of a failure is said: a shell would put it
// into the user's line.
func (s source) ask(ctx context.Context, env Env, o *options, r role, begun string) []string {
	if s.path == "" || ctx == nil {
		return nil
	}
	if s.role != "" {
		r = s.role
	}
	t, err := o.target(env, r)
	if err != nil {
		return nil
	}
	t.timeout = completionTimeout
	list := &request{method: http.MethodGet, path: s.path, accept: "application/json"}
	if !s.whole {
		list.query = url.Values{"limit": {strconv.Itoa(largestPage)}}
	}
	a, err := t.do(ctx, list)
	if err != nil {
		return nil
	}
	v, err := parse(a.body)
	if err != nil {
		return nil
	}
	member := s.id
	if member == "" {
		member = "id"
	}
	var out []string
	for _, item := range v.at("data").items {
		word := item.at(member).text
		if word != printable(word) || !strings.HasPrefix(word, begun) {
			continue
		}
		if about := item.at(s.about); s.about != "" && !about.isNull() {
			word += "\t" + plain(about)
		}
		out = append(out, word)
	}
	return out
}
