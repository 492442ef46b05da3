// Package architecture holds the laws of the repository's layout: which package
// may import which, what a Lambda bootstrap may link, which names may stand
// where, and that the catalogue lists every function.
//
// The linter shows the same layers while one types. This package decides: it
// works on what the go command says of the packages, tests included, and it has
// no exclusions. It knows paths only; what a package does is not its concern.
package architecture

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Package is what the laws ask about a Go package, in the fields of `go list`.
type Package struct {
	ImportPath   string
	Imports      []string // of the package itself
	TestImports  []string // of its tests inside the package
	XTestImports []string // of its tests outside the package
	Deps         []string // everything it links, directly or not
}

// Laws are the laws for one module.
type Laws struct {
	Module string // the module's path; every package of it starts with it
	// Pure lists the module paths that shared may import beside the standard
	// library, and Testing those that its tests may import too.
	Pure, Testing []string
	// PureIn lists what single packages of shared may import, by package.
	PureIn map[string][]string
	// Unlinked lists, by package, what must not be linked into it.
	Unlinked map[string][]string
}

// dependency is one import: from and to are paths below the module, to is "" for
// a package of another module.
type dependency struct {
	from, to string
	path     string // as it is written in the import
	test     bool   // only from's tests import it
}

// Check returns every breach of the laws on imports and names, one line each,
// sorted.
func (l Laws) Check(pkgs []Package) []string {
	var found []string
	for _, p := range pkgs {
		from := l.local(p.ImportPath)
		for _, to := range p.Imports {
			found = append(found, l.checkImport(dependency{from, l.local(to), to, false})...)
		}
		for _, to := range slices.Concat(p.TestImports, p.XTestImports) {
			found = append(found, l.checkImport(dependency{from, l.local(to), to, true})...)
		}
		found = append(found, l.checkLinked(from, p.Deps)...)
		found = append(found, checkName(from)...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// local is the path below the module, "" for the root and for foreign paths.
func (l Laws) local(importPath string) string {
	rest, ok := strings.CutPrefix(importPath, l.Module+"/")
	if !ok {
		return ""
	}
	return rest
}

func (l Laws) checkImport(d dependency) []string {
	var reason string
	switch {
	case d.to != "":
		reason = d.layers()
	case within(d.from, "shared") && !l.pure(d):
		reason = "shared uses the standard library and small pure libraries only"
	}
	if reason == "" {
		return nil
	}
	return []string{fmt.Sprintf("%s imports %s: %s", d.from, d.path, reason)}
}

// layers says why from may not import to, "" when it may.
func (d dependency) layers() string {
	switch {
	case within(d.from, "tests"):
		return "" // what crosses packages is tested there
	case within(d.to, "tests"), within(d.to, "infra") && !within(d.from, "infra"):
		return "the product does not stand on its tests and tools"
	case within(d.to, "functions/aiaas") && !within(d.from, "functions/aiaas"):
		return "the command is nobody's library"
	case within(d.from, "shared"):
		return d.sharedLayer()
	case d.test && support(d.to):
		return "" // suites and servers for tests serve the tests of both floors above
	case within(d.from, "adapters"):
		return d.adapterLayer()
	case within(d.from, "functions"):
		return d.functionLayer()
	}
	return ""
}

func (d dependency) sharedLayer() string {
	if within(d.to, "shared") {
		return ""
	}
	return "shared is the lowest floor"
}

func (d dependency) adapterLayer() string {
	own := within(d.from, "adapters/open") || within(d.to, head(d.from, 2))
	switch {
	case within(d.to, "functions"):
		return "an adapter never knows who uses it"
	case within(d.to, "adapters") && !own:
		return "only adapters/open knows several adapters"
	}
	return ""
}

func (d dependency) functionLayer() string {
	own := head(d.from, 2)
	edge := within(d.from, own+"/wire") || within(d.from, own+"/lambda")
	switch {
	case within(d.from, "functions/aiaas"), within(d.to, "shared"):
		return ""
	case within(d.to, "adapters") && !edge:
		return "adapters are met in wire/, lambda/ and the command only"
	case within(d.to, "adapters"), d.from == "functions":
		return ""
	case !within(d.to, own):
		return "functions talk through ports of shared, not to each other"
	case within(d.to, own+"/wire") && !edge:
		return "a function does not know how it is wired"
	}
	return ""
}

// pure reports whether a package of shared may import a package of another
// module.
func (l Laws) pure(d dependency) bool {
	if first, _, _ := strings.Cut(d.path, "/"); !strings.Contains(first, ".") {
		return true // the standard library
	}
	testing := d.test || support(d.from)
	return withinAny(d.path, l.Pure) || withinAny(d.path, l.PureIn[d.from]) ||
		testing && withinAny(d.path, l.Testing)
}

func (l Laws) checkLinked(from string, deps []string) []string {
	var found []string
	for _, dep := range deps {
		if withinAny(dep, l.Unlinked[from]) {
			found = append(found, fmt.Sprintf("%s links %s: each bootstrap links only what its function needs", from, dep))
		}
	}
	return found
}

// checkName refuses names that say nothing: such a package collects whatever has
// no home.
func checkName(local string) []string {
	empty := []string{"util", "utils", "common", "helper", "helpers", "types", "misc"}
	for element := range strings.SplitSeq(local, "/") {
		if slices.Contains(empty, element) {
			return []string{fmt.Sprintf("%s: %q names no purpose", local, element)}
		}
	}
	return nil
}

// CheckRoot returns a line for each name at the repository's root that is
// neither hidden nor one of the allowed.
func CheckRoot(names, allowed []string) []string {
	var found []string
	for _, name := range names {
		if !strings.HasPrefix(name, ".") && !slices.Contains(allowed, name) {
			found = append(found, name+" stands at the root, where only the layout's own names stand")
		}
	}
	return found
}

// CheckCatalogue compares the functions that have a folder with those that the
// catalogue wires, and asks each for the packages that a function is made of.
// Pkgs are all packages of the module, listed are the names in the catalogue.
func (l Laws) CheckCatalogue(pkgs []Package, listed []string) []string {
	var found []string
	have := map[string]bool{}
	for _, p := range pkgs {
		have[l.local(p.ImportPath)] = true
	}
	for p := range have {
		name, ok := strings.CutPrefix(p, "functions/")
		if !ok || name == "aiaas" || strings.Contains(name, "/") {
			continue
		}
		if !slices.Contains(listed, name) {
			found = append(found, p+" is not in the catalogue")
		}
		for _, part := range []string{"/wire", "/lambda"} {
			if !have[p+part] {
				found = append(found, p+part+" is missing: every function runs in every host")
			}
		}
	}
	for _, name := range listed {
		if !have["functions/"+name] {
			found = append(found, "the catalogue lists "+name+", which has no folder")
		}
	}
	slices.Sort(found)
	return found
}

// support reports whether a package exists for tests: a conformance suite
// (limitertest) or a server that tests start (postgrestest).
func support(local string) bool {
	base := path.Base(local)
	return len(base) > len("test") && strings.HasSuffix(base, "test")
}

// within reports whether p is root or lies below it.
func within(p, root string) bool {
	return p == root || strings.HasPrefix(p, root+"/")
}

func withinAny(p string, roots []string) bool {
	return slices.ContainsFunc(roots, func(root string) bool { return within(p, root) })
}

// head is the first n elements of a path.
func head(p string, n int) string {
	elements := strings.Split(p, "/")
	return strings.Join(elements[:min(n, len(elements))], "/")
}
