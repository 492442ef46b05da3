package architecture_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/shared/event"
)

// Every action that the code audits is an event, or is listed as none: a new one has
// to be thought about.
func TestEveryAuditedActionIsDecidedOn(t *testing.T) {
	actions := auditedActions(t)
	if len(actions) < 20 {
		t.Errorf("only %d actions were found: %v", len(actions), actions)
	}
	for _, want := range []string{"key.create", "budget.delete", "invoice.issue", "webhook.create", event.ActionThreshold, event.ActionDisable} {
		if _, ok := actions[want]; !ok {
			t.Errorf("%s was not found: the test looks past what it is about", want)
		}
	}
	none := event.Unannounced()
	for action, file := range actions {
		if event.Mapped(action) == slices.Contains(none, action) {
			t.Errorf("%s (%s) must be an event or listed as none, and not both", action, file)
		}
	}
	for _, action := range none {
		if _, ok := actions[action]; !ok {
			t.Errorf("%s is listed as no event, and nothing audits it", action)
		}
	}
}

// auditedActions finds the texts of the form "key.create" in files that make audit
// records, with a file that each stands in.
func auditedActions(t *testing.T) map[string]string {
	t.Helper()
	form := regexp.MustCompile(`^[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*$`)
	found := map[string]string{}
	for _, root := range []string{"../../shared", "../../adapters", "../../functions"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
				filepath.ToSlash(path) == "../../shared/event/catalogue.go" { // it has the types beside the actions
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			for _, text := range recordTexts(file) {
				if form.MatchString(text) && !strings.HasPrefix(text, "owner.") && !strings.HasPrefix(text, "contacts.") { // members of a request
					found[text] = filepath.ToSlash(path)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	found[event.ActionThreshold], found[event.ActionDisable] = "shared/event", "shared/event" // constants
	// Those that are put together of a kind and a verb.
	for _, kind := range []string{"member", "service_account"} {
		for _, verb := range []string{"role_change", "update", "suspend", "reactivate"} {
			found[kind+"."+verb] = "shared/member"
		}
	}
	found["member.remove"], found["service_account.delete"] = "shared/member", "shared/member"
	for _, move := range []string{"suspend", "activate", "close"} {
		found["organization."+move] = "shared/organization"
	}
	return found
}

// recordTexts are the texts that may be an action: arguments of calls, and members
// named Action, in files that use the package audit; constants of the package itself.
func recordTexts(file *ast.File) []string {
	uses := file.Name.Name == "audit"
	for _, i := range file.Imports {
		uses = uses || strings.HasSuffix(i.Path.Value, `/shared/audit"`)
	}
	if !uses {
		return nil
	}
	var out []string
	add := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil {
				out = append(out, text)
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); ok && (f.Sel.Name == "At" || f.Sel.Name == "Join") {
				return true // members of a request, names of files
			}
			for _, a := range n.Args {
				add(a)
			}
		case *ast.CompositeLit:
			for _, e := range n.Elts {
				add(e)
			}
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Action" {
				add(n.Value)
			}
		case *ast.ValueSpec:
			for _, v := range n.Values {
				add(v)
			}
		case *ast.AssignStmt:
			for _, v := range n.Rhs {
				add(v)
			}
		case *ast.ReturnStmt:
			for _, v := range n.Results {
				add(v)
			}
		}
		return true
	})
	return out
}
