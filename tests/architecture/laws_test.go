package architecture_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/tests/architecture"
)

const module = "github.com/aiaas/aiaas"

// laws are the laws of this repository.
func laws() architecture.Laws {
	return architecture.Laws{
		Module: module,
		Pure: []string{
			"github.com/go-json-experiment/json",
			"github.com/google/uuid",
			"github.com/alexedwards/scs/v2",
			"github.com/pquerna/otp",
			"github.com/alexedwards/argon2id",
			"github.com/trustelem/zxcvbn",
			"golang.org/x/crypto/argon2",
			"golang.org/x/text",
			"github.com/tidwall/gjson",
			"github.com/tidwall/sjson",
		},
		PureIn:  map[string][]string{"shared/rest": {"github.com/danielgtaylor/huma/v2"}},
		Testing: []string{"github.com/google/go-cmp", "go.uber.org/goleak", "pgregory.net/rapid"},
		Unlinked: map[string][]string{
			"functions/inference/lambda": {
				"codeberg.org/go-pdf",
				"github.com/danielgtaylor/huma",
				"github.com/go-git",
				"github.com/open-policy-agent",
				"github.com/rabbitmq",
				"github.com/spf13/cobra",
				"github.com/wneessen/go-mail",
				"net/smtp",
			},
		},
	}
}

// rootNames are the names that stand at the root of the repository.
func rootNames() []string {
	return []string{
		"functions", "adapters", "shared", "infra", "localstack", "tests", "go.mod", "go.sum",
		"Makefile", "samconfig.toml", "README.md", "CHANGELOG.md", "LICENSE",
	}
}

// private lists what makes sense on an author's machine only.
func private() []architecture.Private {
	return []architecture.Private{
		{regexp.MustCompile(`(^|[^\w.])/(root|home/[a-z]+)/[\w.]`), "a path of the machine where this was written"},
		{regexp.MustCompile(`/Users/[a-z]+/`), "a path of the machine where this was written"},
		{regexp.MustCompile(`"resolved":\s*"https?:`), "the address of one machine's package mirror"},
	}
}

func TestLayersAreHeld(t *testing.T) {
	for _, c := range []struct {
		from, to string
		allowed  bool
	}{
		// shared: the lowest floor, and pure.
		{"shared/budget", "shared/money", true},
		{"shared/budget", "net/http", true},
		{"shared/id", "github.com/google/uuid", true},
		{"shared/rest", "github.com/danielgtaylor/huma/v2", true},
		{"shared/limit/limittest", "pgregory.net/rapid", true},
		{"shared/budget", "adapters/postgres", false},
		{"shared/budget", "functions/budgets", false},
		{"shared/budget", "tests/e2e", false},
		{"shared/budget", "github.com/danielgtaylor/huma/v2", false},
		{"shared/budget", "github.com/jackc/pgx/v5", false},
		{"shared/budget", "pgregory.net/rapid", false},
		{"shared/id", "github.com/google/uuidx", false},
		// adapters: each on its own.
		{"adapters/postgres", "shared/money", true},
		{"adapters/postgres", "github.com/jackc/pgx/v5", true},
		{"adapters/postgres", "adapters/postgres/migrations", true},
		{"adapters/postgres/embedded", "adapters/postgres", true},
		{"adapters/open", "adapters/postgres", true},
		{"adapters/postgres", "adapters/memory", false},
		{"adapters/post", "adapters/postgres", false},
		{"adapters/postgres", "adapters/open", false},
		{"adapters/openai", "adapters/postgres", false},
		{"adapters/httpshim", "functions", false},
		{"adapters/lambda", "functions/inference", false},
		{"adapters/open", "functions/inference", false},
		{"adapters/postgres", "tests/e2e", false},
		{"adapters/postgres", "infra/gen", false},
		// functions: the core of each knows shared only.
		{"functions/keys", "shared/apikey", true},
		{"functions/keys", "functions/keys/form", true},
		{"functions/keys/wire", "functions/keys", true},
		{"functions/keys/wire", "adapters/open", true},
		{"functions/keys/lambda", "functions/keys/wire", true},
		{"functions/keys/lambda", "adapters/lambda", true},
		{"functions/keys", "adapters/open", false},
		{"functions/keys/form", "adapters/open", false},
		{"functions/keys", "functions/keys/wire", false},
		{"functions/keys", "functions/budgets", false},
		{"functions/keys/wire", "functions/budgets", false},
		{"functions/keys/wire", "functions", false},
		{"functions/keys", "functions/aiaas", false},
		// the catalogue and the command.
		{"functions", "functions/keys/wire", true},
		{"functions", "functions/keys", true},
		{"functions", "adapters/open", false},
		{"functions/aiaas", "functions", true},
		{"functions/aiaas", "adapters/httpshim", true},
		{"functions/aiaas/client", "adapters/open", true},
		{"functions/aiaas", "tests/e2e", false},
		{"infra/gen", "functions", true},
		{"infra/gen", "functions/aiaas", false},
		{"tests/e2e", "functions/aiaas", true},
		{"tests/e2e", "adapters/demo", true},
	} {
		imports := []string{c.to}
		if !strings.Contains(c.to, ".") && c.to != "net/http" {
			imports = []string{module + "/" + c.to}
		}
		broken := laws().Check([]architecture.Package{{ImportPath: module + "/" + c.from, Imports: imports}})
		if allowed := len(broken) == 0; allowed != c.allowed {
			t.Errorf("%s → %s: allowed is %v; want %v: %v", c.from, c.to, allowed, c.allowed, broken)
		}
	}
}

func TestTestsKeepTheLayersButForTheirSupport(t *testing.T) {
	for _, c := range []struct {
		from, to string
		allowed  bool
	}{
		{"shared/money", "pgregory.net/rapid", true},
		{"shared/money", "github.com/jackc/pgx/v5", false},
		{"adapters/redis", module + "/adapters/postgres/postgrestest", true},
		{"functions/keys", module + "/adapters/postgres/postgrestest", true},
		{"shared/budget", module + "/shared/budget/budgettest", true},
		{"shared/budget", module + "/adapters/postgres/postgrestest", false},
		{"shared/budget", module + "/adapters/memory", false},
		{"adapters/redis", module + "/adapters/memory", false},
		{"functions/keys", module + "/adapters/memory", false},
		{"functions/keys", module + "/functions/keys", true},
		{"adapters/redis", module + "/tests/e2e", false},
	} {
		for name, p := range map[string]architecture.Package{
			"inside":  {ImportPath: module + "/" + c.from, TestImports: []string{c.to}},
			"outside": {ImportPath: module + "/" + c.from, XTestImports: []string{c.to}},
		} {
			broken := laws().Check([]architecture.Package{p})
			if allowed := len(broken) == 0; allowed != c.allowed {
				t.Errorf("%s, test %s → %s: allowed is %v; want %v: %v", c.from, name, c.to, allowed, c.allowed, broken)
			}
		}
	}
}

func TestTheDataPlanesBootstrapStaysSmall(t *testing.T) {
	deps := []string{"net/http", "github.com/open-policy-agent/opa/v1/rego", "github.com/danielgtaylor/huma/v2"}
	inference := architecture.Package{ImportPath: module + "/functions/inference/lambda", Deps: deps}
	if broken := laws().Check([]architecture.Package{inference}); len(broken) != 2 {
		t.Errorf("found %q; want OPA and huma", broken)
	}
	keys := architecture.Package{ImportPath: module + "/functions/keys/lambda", Deps: deps}
	if broken := laws().Check([]architecture.Package{keys}); len(broken) != 0 {
		t.Errorf("found %q in a management function, which links them", broken)
	}
}

func TestNamesSayWhatTheyAreFor(t *testing.T) {
	for local, allowed := range map[string]bool{
		"shared/money":         true,
		"shared/commonmark":    true,
		"shared/utils":         false,
		"adapters/common/pool": false,
		"functions/keys/types": false,
		"tests/helpers":        false,
	} {
		broken := laws().Check([]architecture.Package{{ImportPath: module + "/" + local}})
		if (len(broken) == 0) != allowed {
			t.Errorf("%s: allowed is %v: %v", local, len(broken) == 0, broken)
		}
	}
}

func TestTheRootHoldsTheLayoutOnly(t *testing.T) {
	names := append(rootNames(), ".ci", ".gitignore", "docs", "main.go")
	if broken := architecture.CheckRoot(names, rootNames()); len(broken) != 2 {
		t.Errorf("found %q; want docs and main.go", broken)
	}
}

func TestTheCatalogueListsEveryFunction(t *testing.T) {
	var pkgs []architecture.Package
	for _, local := range []string{
		"functions", "functions/aiaas", "shared/keys",
		"functions/keys", "functions/keys/wire", "functions/keys/lambda",
		"functions/models", "functions/models/wire",
	} {
		pkgs = append(pkgs, architecture.Package{ImportPath: module + "/" + local})
	}
	want := []string{
		"functions/models is not in the catalogue",
		"functions/models/lambda is missing: every function runs in every host",
		"the catalogue lists budgets, which has no folder",
	}
	if got := laws().CheckCatalogue(pkgs, []string{"keys", "budgets"}); !slices.Equal(got, want) {
		t.Errorf("found %q; want %q", got, want)
	}
}

func TestPrivateTextIsFound(t *testing.T) {
	for line, allowed := range map[string]bool{
		"see /home/ann/notes/x for more":                        false,
		"`/root/.cache`":                                        false,
		`"resolved": "https://mirror.example/openai-1.0.0.tgz"`: false,
		"https://aiaas.dev/problems/conflict":                   true,
		"a framework/root/cause":                                true,
		"\x00 a binary that happens to have /root/main/ in it":  true,
	} {
		found := architecture.CheckText("a file", []byte("first line\n"+line), private())
		if (len(found) == 0) != allowed {
			t.Errorf("%q: allowed is %v: %q", line, len(found) == 0, found)
		}
		if len(found) > 0 && !strings.HasPrefix(found[0], "a file:2: ") {
			t.Errorf("%q is reported as %q; want the file and line", line, found[0])
		}
	}
}
