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
	s := q.Subject
	subject := object(
		"organization_id", text(s.OrgID), "owner_id", text(s.OwnerID), "role", text(s.Role), "scopes", list(s.Scopes),
		"projects", projects(s.Projects), "key_ips", networks(s.KeyIPs), "method", text(s.Method), "mfa", ast.Boolean(s.MFA),
		"custom", object("permissions", list(s.Custom.Permissions), "reach", text(s.Custom.Reach)),
	)
	address := ""
	if q.Circumstances.Address.IsValid() {
		address = q.Circumstances.Address.Unmap().WithZone("").String()
	}
	restrictions := []any{"ips", networks(q.Restrictions.IPs), "mfa_roles", list(q.Restrictions.MFARoles)}
	if h := q.Restrictions.Hours; len(h.Days) > 0 {
		days := make([]*ast.Term, len(h.Days))
		for i, d := range h.Days {
			days[i] = ast.IntNumberTerm(d)
		}
		restrictions = append(restrictions, "hours", object("days", ast.NewArray(days...), "from", number(h.From), "to", number(h.To)))
	}
	members := []any{
		"subject", subject, "action", text(q.Action), "restrictions", object(restrictions...),
		"circumstances", object("address", text(address), "minute", number(q.Circumstances.Minute), "weekday", number(q.Circumstances.Weekday)),
	}
	if r := q.Resource; r != nil {
		members = append(members, "resource", object("project_id", text(r.ProjectID), "owner_id", text(r.OwnerID), "role", text(r.Role), "grants", text(r.Grants)))
	}
	return object(members...)
}

// object makes an object of names and values in turn.
func object(members ...any) ast.Value {
	pairs := make([][2]*ast.Term, 0, len(members)/2)
	for i := 0; i < len(members); i += 2 {
		pairs = append(pairs, [2]*ast.Term{ast.StringTerm(members[i].(string)), ast.NewTerm(members[i+1].(ast.Value))}) //nolint:forcetypeassert // written above
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
		terms[i] = ast.StringTerm(p.Masked().String())
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
