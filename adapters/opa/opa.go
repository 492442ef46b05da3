// Package opa evaluates the access policy with Open Policy Agent's engine. It is
// linked where people manage things; the path of a paid request decides by the
// table that was computed from the same policy.
package opa

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/authz/policy"
)

// root is where the policy's documents stand.
const root = "data.aiaas.authz"

// Engine is the compiled policy. It is safe for concurrent use.
type Engine struct{ decision rego.PreparedEvalQuery }

var _ authz.Policy = (*Engine)(nil)

// New compiles the policy that the program was built with.
func New(ctx context.Context) (*Engine, error) {
	modules, err := Modules()
	if err != nil {
		return nil, err
	}
	return Compile(ctx, modules)
}

// Compile compiles a policy given as modules by file name.
func Compile(ctx context.Context, modules map[string]string) (*Engine, error) {
	q, err := prepare(ctx, root+".decision", modules)
	if err != nil {
		return nil, err
	}
	return &Engine{decision: q}, nil
}

// Modules are the policy's files by name, without its tests.
func Modules() (map[string]string, error) {
	out := map[string]string{}
	names, err := fs.Glob(policy.Files, "*.rego")
	if err != nil {
		return nil, fmt.Errorf("list policy: %w", err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.rego") {
			continue
		}
		text, err := fs.ReadFile(policy.Files, name)
		if err != nil {
			return nil, fmt.Errorf("read policy: %w", err)
		}
		out[name] = string(text)
	}
	return out, nil
}

func prepare(ctx context.Context, query string, modules map[string]string) (rego.PreparedEvalQuery, error) {
	options := []func(*rego.Rego){rego.Query(query), rego.StrictBuiltinErrors(true)}
	for name, text := range modules {
		options = append(options, rego.Module(name, text))
	}
	q, err := rego.New(options...).PrepareForEval(ctx)
	if err != nil {
		return q, fmt.Errorf("compile policy: %w", err)
	}
	return q, nil
}

// errUndefined is what a policy without an answer comes to: deny.
var errUndefined = errors.New("the policy gives no answer")

// Decide implements [authz.Policy].
func (e *Engine) Decide(ctx context.Context, q authz.Query) (authz.Decision, error) {
	results, err := e.decision.Eval(ctx, rego.EvalParsedInput(input(q)))
	if err != nil {
		return authz.Decision{}, fmt.Errorf("evaluate policy: %w", err)
	}
	if len(results) != 1 || len(results[0].Expressions) != 1 {
		return authz.Decision{}, errUndefined
	}
	doc, ok := results[0].Expressions[0].Value.(map[string]any)
	if !ok {
		return authz.Decision{}, errUndefined
	}
	return read(doc, q.Subject.OwnerID)
}

// read takes the policy's answer. What is not as it should be is no answer.
func read(doc map[string]any, ownerID string) (d authz.Decision, err error) {
	reach, ok := doc["reach"].(map[string]any)
	if !ok {
		return d, errUndefined
	}
	allow, a := doc["allow"].(bool)
	reason, b := doc["reason"].(string)
	scope, c := doc["scope"].(string)
	all, e := reach["all"].(bool)
	own, f := reach["own"].(bool)
	if !a || !b || !c || !e || !f || allow != (authz.Reason(reason) == authz.ReasonAllowed) {
		return d, errUndefined
	}
	d = authz.Decision{Allow: allow, Reason: authz.Reason(reason), Scope: authz.Scope(scope), Reach: authz.Reach{All: all}}
	if own {
		d.Reach.OwnerID = ownerID
	}
	d.Reach.Projects = texts(reach["projects"])
	for _, role := range texts(doc["granted_by"]) {
		d.GrantedBy = append(d.GrantedBy, authz.Role(role))
	}
	return d, nil
}

func texts(v any) []string {
	list, _ := v.([]any)
	var out []string
	for _, item := range list {
		if s, ok := item.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// input is a query as the policy reads it.
func input(q authz.Query) ast.Value {
	members := []member{
		{"subject", subject(q.Subject)}, {"action", text(q.Action)}, {"restrictions", restrictions(q.Restrictions)},
		{"circumstances", object(
			member{"address", address(q.Circumstances)},
			member{"minute", number(q.Circumstances.Minute)}, member{"weekday", number(q.Circumstances.Weekday)},
		)},
	}
	if r := q.Resource; r != nil {
		members = append(members, member{"resource", object(
			member{"project_id", text(r.ProjectID)}, member{"owner_id", text(r.OwnerID)}, member{"role", text(r.Role)}, member{"grants", text(r.Grants)},
		)})
	}
	return object(members...)
}

func subject(s authz.Subject) ast.Value {
	return object(
		member{"organization_id", text(s.OrgID)}, member{"owner_id", text(s.OwnerID)}, member{"role", text(s.Role)},
		member{"scopes", list(s.Scopes)}, member{"projects", projects(s.Projects)}, member{"key_ips", networks(s.KeyIPs)},
		member{"method", text(s.Method)}, member{"mfa", ast.Boolean(s.MFA)}, member{"recent", ast.Boolean(s.Recent)},
		member{"custom", object(member{"permissions", list(s.Custom.Permissions)}, member{"reach", text(s.Custom.Reach)})},
	)
}

func restrictions(r authz.Restrictions) ast.Value {
	members := []member{{"ips", networks(r.IPs)}, {"mfa_roles", list(r.MFARoles)}}
	if h := r.Hours; len(h.Days) > 0 {
		days := make([]*ast.Term, len(h.Days))
		for i, d := range h.Days {
			days[i] = ast.IntNumberTerm(d)
		}
		members = append(members, member{"hours", object(member{"days", ast.NewArray(days...)}, member{"from", number(h.From)}, member{"to", number(h.To)})})
	}
	return object(members...)
}

func address(c authz.Circumstances) ast.Value {
	if !c.Address.IsValid() {
		return ast.String("")
	}
	return ast.String(c.Address.Unmap().WithZone("").String())
}

// member is one of an object.
type member struct {
	name  string
	value ast.Value
}

func object(members ...member) ast.Value {
	pairs := make([][2]*ast.Term, len(members))
	for i, m := range members {
		pairs[i] = [2]*ast.Term{ast.StringTerm(m.name), ast.NewTerm(m.value)}
	}
	return ast.NewObject(pairs...)
}

func text[T ~string](s T) ast.Value { return ast.String(s) }

func number(n int) ast.Value { return ast.IntNumberTerm(n).Value }

func list[T ~string](items []T) ast.Value {
	terms := make([]*ast.Term, len(items))
	for i, s := range items {
		terms[i] = ast.StringTerm(string(s))
	}
	return ast.NewArray(terms...)
}

func networks(prefixes []netip.Prefix) ast.Value {
	terms := make([]*ast.Term, len(prefixes))
	for i, p := range prefixes {
		terms[i] = ast.StringTerm(authz.Plain(p).String())
	}
	return ast.NewArray(terms...)
}

func projects(m map[string]authz.ProjectRole) ast.Value {
	pairs := make([][2]*ast.Term, 0, len(m))
	for id, role := range m {
		pairs = append(pairs, [2]*ast.Term{ast.StringTerm(id), ast.StringTerm(string(role))})
	}
	return ast.NewObject(pairs...)
}
