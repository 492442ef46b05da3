package catalogue_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/functions"
)

const module = "github.com/aiaas/aiaas/"

// unlinked is what no bootstrap needs, and unlinkedData what the data plane does
// not either: each costs size and start.
func unlinked() []string {
	return []string{
		"net/rpc", "net/http/pprof", "testing", "expvar",
		"google.golang.org/grpc", "github.com/pressly/goose", "github.com/spf13/cobra", "github.com/goccy/go-yaml",
		"github.com/openai/openai-go", "github.com/rabbitmq", module + "functions/aiaas", module + "adapters/httpshim",
		module + "adapters/postgres/migrations", module + "adapters/postgres/embedded", module + "tests",
	}
}

func unlinkedData() []string {
	return []string{
		"html/template", "text/template", "github.com/danielgtaylor/huma", "github.com/open-policy-agent",
		"github.com/go-git", "codeberg.org/go-pdf", "github.com/wneessen/go-mail", module + "shared/rest",
	}
}

func TestBootstrapsLinkOnlyWhatTheyNeed(t *testing.T) {
	t.Parallel()
	for _, e := range functions.Catalogue() {
		name := e.Spec.Name
		banned := unlinked()
		if name == "inference" || name == "metering" {
			banned = append(banned, unlinkedData()...)
		}
		for _, other := range functions.Catalogue() {
			if other.Spec.Name != name {
				banned = append(banned, module+"functions/"+other.Spec.Name)
			}
		}
		for _, dep := range dependencies(t, name) {
			for _, b := range banned {
				if dep == b || strings.HasPrefix(dep, b+"/") {
					t.Errorf("%s links %s", name, dep)
				}
			}
		}
	}
}

func dependencies(t *testing.T, name string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", "lambda.norpc,grpcnotrace", "./functions/"+name+"/lambda")
	cmd.Dir = "../../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list the packages of %s: %v", name, err)
	}
	deps := strings.Fields(string(out))
	if len(deps) < 50 {
		t.Fatalf("%s: only %d packages", name, len(deps))
	}
	return deps
}
