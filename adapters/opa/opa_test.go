package opa_test

import (
	"io/fs"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/tester"

	"github.com/aiaas/aiaas/adapters/opa"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/authz/policy"
)

// TestThePolicysOwnTests runs the tests that stand beside the policy with the
// engine's own runner.
func TestThePolicysOwnTests(t *testing.T) {
	modules := map[string]*ast.Module{}
	names, err := fs.Glob(policy.Files, "*.rego")
	if err != nil || len(names) == 0 {
		t.Fatalf("list policy: %v, %v", names, err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(policy.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		if modules[name], err = ast.ParseModule(name, string(text)); err != nil {
			t.Fatal(err)
		}
	}
	results, err := tester.NewRunner().SetModules(modules).RunTests(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for r := range results {
		ran++
		if !r.Pass() {
			t.Errorf("%s: %s (%v)", r.Location, r.Name, r.Error)
		}
	}
	if ran < 30 {
		t.Errorf("%d tests of the policy ran; it has more", ran)
	}
}

// TestAPolicyThatSaysNothingDenies shows that what is undefined is no permission.
func TestAPolicyThatSaysNothingDenies(t *testing.T) {
	for name, module := range map[string]string{
		"empty":                      "package aiaas.authz",
		"no decision":                "package aiaas.authz\nallow := true",
		"allowed for another reason": `package aiaas.authz` + "\n" + `decision := {"allow": true, "reason": "role", "scope": "", "reach": {"all": true, "projects": [], "own": false}, "granted_by": []}`,
		"allowed without a reach":    `package aiaas.authz` + "\n" + `decision := {"allow": true, "reason": "allowed", "scope": "", "granted_by": []}`,
	} {
		t.Run(name, func(t *testing.T) {
			e, err := opa.Compile(t.Context(), map[string]string{"p.rego": module})
			if err != nil {
				t.Fatal(err)
			}
			d, err := e.Decide(t.Context(), authz.Query{Action: authz.DoModelsRead})
			if err == nil || d.Allow {
				t.Errorf("decision %+v, %v; want an error", d, err)
			}
		})
	}
}

func TestAPolicyThatDoesNotCompileIsRefused(t *testing.T) {
	if _, err := opa.Compile(t.Context(), map[string]string{"p.rego": "package aiaas.authz\nallow if nonsense(("}); err == nil {
		t.Error("it was taken")
	}
}

func BenchmarkDecide(b *testing.B) {
	e, err := opa.New(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	q := query(authz.Owner, authz.DoKeysCreate)
	b.ReportAllocs()
	for b.Loop() {
		if d, err := e.Decide(b.Context(), q); err != nil || !d.Allow {
			b.Fatal(d, err)
		}
	}
}

func BenchmarkGrants(b *testing.B) {
	q := query(authz.Developer, authz.DoInference)
	q.Resource = &authz.Resource{ProjectID: "proj_1", OwnerID: "user_1"}
	b.ReportAllocs()
	for b.Loop() {
		if d, err := (authz.Grants{}).Decide(b.Context(), q); err != nil || !d.Allow {
			b.Fatal(d, err)
		}
	}
}
