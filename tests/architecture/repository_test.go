package architecture_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/tests/architecture"
)

// listed is a package as `go list` prints it.
type listed struct {
	architecture.Package

	Dir          string
	GoFiles      []string
	CgoFiles     []string
	TestGoFiles  []string
	XTestGoFiles []string
	Error        *struct{ Err string }
}

func TestRepositoryKeepsTheLaws(t *testing.T) {
	root := repositoryRoot(t)
	pkgs := packages(t, root)
	for _, broken := range laws().Check(bare(pkgs)) {
		t.Error(broken)
	}
}

func TestRepositoryRootHoldsTheLayoutOnly(t *testing.T) {
	var names []string
	for _, file := range files(t, repositoryRoot(t)) {
		first, _, _ := strings.Cut(file, "/")
		names = append(names, first)
	}
	slices.Sort(names)
	for _, broken := range architecture.CheckRoot(slices.Compact(names), rootNames()) {
		t.Error(broken)
	}
}

func TestEveryPackageSaysWhyItExists(t *testing.T) {
	for _, p := range packages(t, repositoryRoot(t)) {
		if !documented(t, p) {
			t.Errorf("%s has no package doc", p.ImportPath)
		}
	}
}

func TestEveryFunctionStandsInTheCatalogue(t *testing.T) {
	root := repositoryRoot(t)
	pkgs := packages(t, root)
	for _, broken := range laws().CheckCatalogue(bare(pkgs), catalogue(t, root)) {
		t.Error(broken)
	}
	for _, p := range pkgs {
		name, ok := strings.CutPrefix(p.ImportPath, module+"/functions/")
		if ok && name != "aiaas" && !strings.Contains(name, "/") && !declaresSpec(t, p) {
			t.Errorf("%s declares no func Spec() function.Spec", p.ImportPath)
		}
	}
}

func TestRepositorySpeaksOfItselfOnly(t *testing.T) {
	root := repositoryRoot(t)
	for _, file := range files(t, root) {
		if strings.HasSuffix(file, "_test.go") {
			continue // the patterns themselves stand in one
		}
		content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, and not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range architecture.CheckText(file, content, private()) {
			t.Error(found)
		}
	}
}

func repositoryRoot(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// packages lists the module's packages as a Lambda build sees them. A package
// that the go command can't read is a failure: the laws would not see it.
func packages(t *testing.T, root string) []listed {
	t.Helper()
	out := run(t, root, "go", "list", "-e", "-tags", "lambda.norpc,grpcnotrace",
		"-json=ImportPath,Dir,GoFiles,CgoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports,Deps,Error", "./...")
	var pkgs []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("read go list: %v", err)
		}
		if p.Error != nil {
			t.Errorf("%s: %s", p.ImportPath, p.Error.Err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) == 0 {
		t.Fatal("go list found no package")
	}
	return pkgs
}

func bare(in []listed) []architecture.Package {
	out := make([]architecture.Package, len(in))
	for i, p := range in {
		out[i] = p.Package
	}
	return out
}

// files lists what is or would be committed, with slashes, relative to root.
func files(t *testing.T, root string) []string {
	t.Helper()
	out := run(t, root, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
}

func run(t *testing.T, dir, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, args[0], err, stderr.Bytes())
	}
	return out
}

// documented reports whether a file of the package, or of its tests where it
// consists of tests only, has a package doc.
func documented(t *testing.T, p listed) bool {
	t.Helper()
	names := slices.Concat(p.GoFiles, p.CgoFiles)
	if len(names) == 0 {
		names = slices.Concat(p.TestGoFiles, p.XTestGoFiles)
	}
	return slices.ContainsFunc(names, func(name string) bool {
		doc := parse(t, filepath.Join(p.Dir, name), parser.PackageClauseOnly|parser.ParseComments).Doc
		return doc != nil && strings.TrimSpace(doc.Text()) != ""
	})
}

func declaresSpec(t *testing.T, p listed) bool {
	t.Helper()
	return slices.ContainsFunc(p.GoFiles, func(name string) bool {
		scope := parse(t, filepath.Join(p.Dir, name), parser.SkipObjectResolution)
		return slices.ContainsFunc(scope.Decls, func(d ast.Decl) bool {
			f, ok := d.(*ast.FuncDecl)
			return ok && f.Recv == nil && f.Name.Name == "Spec"
		})
	})
}

// catalogue returns the names of the functions whose wire package the catalogue
// imports; the compiler sees to it that an import is used.
func catalogue(t *testing.T, root string) []string {
	t.Helper()
	var names []string
	for _, imp := range parse(t, filepath.Join(root, "functions", "catalog.go"), parser.ImportsOnly).Imports {
		p, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if rest, ok := strings.CutPrefix(p, module+"/functions/"); ok {
			if name, ok := strings.CutSuffix(rest, "/wire"); ok {
				names = append(names, name)
			}
		}
	}
	return names
}

func parse(t *testing.T, file string, mode parser.Mode) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, mode)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
