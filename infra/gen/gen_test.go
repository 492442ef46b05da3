package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/functions"
	"github.com/aiaas/aiaas/functions/analytics"
	"github.com/aiaas/aiaas/functions/budgets"
	"github.com/aiaas/aiaas/functions/keys"
	"github.com/aiaas/aiaas/functions/models"
	"github.com/aiaas/aiaas/functions/operations"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/rest"
)

const documentPath = "../../functions/operations/openapi.json"

type document struct {
	Paths map[string]map[string]struct {
		OperationID string
		Summary     string
		Tags        []string
		Security    []map[string][]string
		RequestBody *struct {
			Content map[string]struct{ Example json.RawMessage }
		}
		Responses map[string]struct {
			Content map[string]struct{ Schema json.RawMessage }
		}
	}
	Tags       []struct{ Name string }
	Components struct {
		Schemas         map[string]json.RawMessage
		SecuritySchemes map[string]json.RawMessage
	}
}

func read(t *testing.T) document {
	t.Helper()
	raw, err := os.ReadFile(documentPath)
	if err != nil {
		t.Fatal(err)
	}
	var d document
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// operation names a route as the document does: without wildcards over segments.
func operation(r function.Route) string {
	return fmt.Sprintf("%s %s %s", r.Method, strings.ReplaceAll(r.Path, "...}", "}"), r.OperationID)
}

func TestTheDocumentHasTheRoutesOfTheCatalogueAndNoOther(t *testing.T) {
	t.Parallel()
	var want, got []string
	for _, e := range functions.Catalogue() {
		for _, r := range e.Spec.Routes {
			want = append(want, operation(r))
		}
	}
	for path, methods := range read(t).Paths {
		for method, op := range methods {
			got = append(got, fmt.Sprintf("%s %s %s", strings.ToUpper(method), path, op.OperationID))
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("document:\n%s\ncatalogue:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestEveryRouteOfASpecIsAnsweredByItsFunction(t *testing.T) {
	t.Parallel()
	nobody := &rest.Authentication{}
	ops := operations.New(nil, nil, nobody, slog.New(slog.DiscardHandler))
	log := slog.New(slog.DiscardHandler)
	for _, f := range []struct {
		spec function.Spec
		api  *rest.API
	}{
		{keys.Spec(), keys.New(nil, nobody, log)}, {models.Spec(), models.New(nil, nobody, log)}, {budgets.Spec(), budgets.New(nil, nobody, log)},
		{analytics.Spec(), analytics.New(nil, nobody, log)}, {operations.Spec(), ops},
	} {
		if missing := f.api.Unbound(); len(missing) > 0 {
			t.Errorf("%s does not handle %v", f.spec.Name, missing)
		}
		for _, r := range f.spec.Routes {
			w := httptest.NewRecorder()
			f.api.ServeHTTP(w, httptest.NewRequest(r.Method, strings.ReplaceAll(r.Path, "{id}", "x"), http.NoBody))
			if w.Code == http.StatusNotFound || w.Code == http.StatusMethodNotAllowed {
				t.Errorf("%s: %s answers %d", f.spec.Name, r.Pattern(), w.Code)
			}
			if r.Scope != "" && w.Code != http.StatusUnauthorized {
				t.Errorf("%s: %s answers %d to nobody", f.spec.Name, r.Pattern(), w.Code)
			}
		}
	}
}

func TestTheDocumentIsComplete(t *testing.T) {
	t.Parallel()
	d := read(t)
	tags := map[string]bool{}
	for _, g := range d.Tags {
		tags[g.Name] = true
	}
	scopes := map[string]function.Route{}
	for _, e := range functions.Catalogue() {
		for _, r := range e.Spec.Routes {
			scopes[r.OperationID] = r
		}
	}
	for path, methods := range d.Paths {
		for _, op := range methods {
			r := scopes[op.OperationID]
			if op.Summary == "" || len(op.Tags) != 1 || !tags[op.Tags[0]] {
				t.Errorf("%s: summary %q, tags %v", op.OperationID, op.Summary, op.Tags)
			}
			if public := len(op.Security) == 0; public != (r.Scope == "") {
				t.Errorf("%s: public is %v; its scope is %q", op.OperationID, public, r.Scope)
			}
			for status, resp := range op.Responses {
				if n, err := strconv.Atoi(status); err != nil || n < 400 {
					continue
				}
				if _, ok := resp.Content["application/problem+json"]; !ok {
					t.Errorf("%s: %s is no problem document", op.OperationID, status)
				}
			}
			comesIn := r.Tag == "Sign-in" || r.Tag == "Invitations" // there the caller says who he is
			if _, ok := op.Responses["401"]; ok != (r.Scope != "") && (!ok || !comesIn) {
				t.Errorf("%s %s: 401 described is %v", path, op.OperationID, ok)
			}
			if _, ok := op.Responses[strconv.Itoa(r.SuccessStatus())]; !ok {
				t.Errorf("%s: success is not described", op.OperationID)
			}
			body := "application/json"
			if r.Form {
				body = "application/x-www-form-urlencoded"
			}
			if op.RequestBody != nil && len(op.RequestBody.Content[body].Example) == 0 {
				t.Errorf("%s: no example of its body", op.OperationID)
			}
		}
	}
	if len(d.Components.SecuritySchemes) != 3 {
		t.Errorf("security schemes %v", d.Components.SecuritySchemes)
	}
}

func TestEveryReferenceLeadsSomewhere(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(documentPath)
	if err != nil {
		t.Fatal(err)
	}
	d := read(t)
	const prefix = `"$ref": "#/components/schemas/`
	parts := strings.Split(string(raw), prefix)
	used := map[string]bool{}
	for _, p := range parts[1:] {
		name, _, _ := strings.Cut(p, `"`)
		used[name] = true
		if _, ok := d.Components.Schemas[name]; !ok {
			t.Errorf("no schema %s", name)
		}
	}
	for name := range d.Components.Schemas {
		if !used[name] {
			t.Errorf("nothing uses schema %s", name)
		}
	}
}

// The command is run twice, over a copy of what it writes to.
func TestTheCheckedInFilesAreWhatIsGenerated(t *testing.T) {
	t.Parallel()
	bin := filepath.Join(t.TempDir(), "gen")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for range 2 {
		root := t.TempDir()
		if err := os.WriteFile(filepath.Join(root, "go.mod"), []byte("module x\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, file := range generated() {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(root, file)), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), bin)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("gen: %v\n%s", err, out)
		}
		for _, file := range generated() {
			want, err := os.ReadFile(filepath.Join("..", "..", file))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(filepath.Join(root, file)); err != nil || !bytes.Equal(want, got) {
				t.Errorf("%s does not follow from its sources (%v): run make generate", file, err)
			}
		}
	}
}

// generated are the files that the command writes.
func generated() []string {
	return []string{filepath.Join("functions", "operations", "openapi.json"), filepath.Join("shared", "authz", "grants_gen.go")}
}

func TestTheDataPlaneDoesNotLinkTheFramework(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "../../functions/inference/lambda").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.SplitSeq(string(out), "\n") {
		if strings.HasPrefix(dep, "github.com/danielgtaylor/huma") || strings.HasSuffix(dep, "shared/rest") || strings.HasPrefix(dep, "github.com/pressly/goose") {
			t.Errorf("inference links %s", dep)
		}
	}
}
