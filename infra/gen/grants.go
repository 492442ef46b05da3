package main

import (
	"context"
	"fmt"
	"go/format"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aiaas/aiaas/adapters/opa"
	"github.com/aiaas/aiaas/shared/authz"
)

// grants writes what follows from the access policy, as Go.
func grants(ctx context.Context) ([]byte, error) {
	t, err := opa.ReadTable(ctx)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	var b strings.Builder
	b.WriteString("// Code generated from the access policy by infra/gen. DO NOT EDIT.\n\npackage authz\n")
	actionTables(&b, t)
	roleTables(&b, t)
	src, err := format.Source([]byte(b.String()))
	if err != nil {
		return nil, fmt.Errorf("format grants: %w", err)
	}
	return src, nil
}

// actionTables writes what follows from an action alone.
func actionTables(b *strings.Builder, t opa.Table) {
	actions := slices.Sorted(maps.Keys(t.Actions))
	fmt.Fprintf(b, "\n// Actions lists all actions, in order.\nfunc Actions() []Action {\n\treturn []Action{%s}\n}\n", quoted(actions))
	b.WriteString("\nfunc scopeOf(a Action) (Scope, bool) {\n\tswitch a {\n")
	byScope := map[authz.Scope][]authz.Action{}
	for _, a := range actions {
		byScope[t.Actions[a]] = append(byScope[t.Actions[a]], a)
	}
	for _, s := range slices.Sorted(maps.Keys(byScope)) {
		fmt.Fprintf(b, "case %s:\n return %q, true\n", quoted(byScope[s]), s)
	}
	b.WriteString("}\nreturn \"\", false\n}\n")
	slices.Sort(t.Narrowable)
	fmt.Fprintf(b, "\n// Narrowable reports whether an action can be had for less than the whole\n// organisation.\nfunc Narrowable(a Action) bool {\nswitch a {\ncase %s:\nreturn true\n}\nreturn false\n}\n", quoted(t.Narrowable))
	slices.Sort(t.Customizable)
	fmt.Fprintf(b, "\nfunc customizable(a Action) bool {\nswitch a {\ncase %s:\nreturn true\n}\nreturn false\n}\n", quoted(t.Customizable))
	slices.Sort(t.Sensitive)
	fmt.Fprintf(b, "\nfunc sensitive(a Action) bool {\nswitch a {\ncase %s:\nreturn true\n}\nreturn false\n}\n", quoted(t.Sensitive))
	b.WriteString("\nfunc grantedBy(a Action) []Role {\nswitch a {\n")
	for _, a := range actions {
		fmt.Fprintf(b, "case %q:\nreturn []Role{%s}\n", a, quoted(t.GrantedBy[a]))
	}
	b.WriteString("}\nreturn nil\n}\n")
}

// roleTables writes what follows from a role.
func roleTables(b *strings.Builder, t opa.Table) {
	b.WriteString("\nfunc rankOf(r Role) int {\n\tswitch r {\n")
	for _, r := range slices.Sorted(maps.Keys(t.Ranks)) {
		fmt.Fprintf(b, "case %q:\n return %d\n", r, t.Ranks[r])
	}
	b.WriteString("}\nreturn 0\n}\n")
	b.WriteString("\nfunc everybodyWidth(a Action) Width {\n")
	widths(b, t.Everybody)
	b.WriteString("return Nothing\n}\n")
	b.WriteString("\nfunc builtinWidth(r Role, a Action) Width {\nswitch r {\n")
	for _, r := range slices.Sorted(maps.Keys(t.Reaches)) {
		fmt.Fprintf(b, "case %q:\n", r)
		widths(b, t.Reaches[r])
	}
	b.WriteString("}\nreturn Nothing\n}\n")
	b.WriteString("\nfunc projectRight(r ProjectRole, a Action) bool {\nswitch r {\n")
	for _, r := range slices.Sorted(maps.Keys(t.ProjectRoles)) {
		slices.Sort(t.ProjectRoles[r])
		fmt.Fprintf(b, "case %q:\nswitch a {\ncase %s:\nreturn true\n}\n", r, quoted(t.ProjectRoles[r]))
	}
	b.WriteString("}\nreturn false\n}\n")
}

func widths(b *strings.Builder, m map[authz.Action]authz.Width) {
	byWidth := map[authz.Width][]authz.Action{}
	for _, a := range slices.Sorted(maps.Keys(m)) {
		byWidth[m[a]] = append(byWidth[m[a]], a)
	}
	b.WriteString("switch a {\n")
	for _, w := range slices.Sorted(maps.Keys(byWidth)) {
		fmt.Fprintf(b, "case %s:\nreturn %q\n", quoted(byWidth[w]), w)
	}
	b.WriteString("}\n")
}

func quoted[T ~string](list []T) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strconv.Quote(string(s))
	}
	return strings.Join(out, ", ")
}
