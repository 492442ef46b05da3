package tenant_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/tenant"
)

func TestNames(t *testing.T) {
	t.Parallel()
	for name, good := range map[string]bool{
		"Example Ltd": true, "Ünïcode & Söhne <b>": true, "株式会社": true, "a": true, strings.Repeat("a", 200): true,
		"": false, " ": false, " a": false, "a ": false, strings.Repeat("a", 201): false,
		"a\nb": false, "a\tb": false, "a\x00b": false, "a\u007fb": false, "a\u0085b": false, // control
		"a\u202eb": false, "a\u2066b": false, "a\u200fb": false, // turns around what stands beside it
		"a\u200bb": false, "a\ufeffb": false, // not seen
		"a\u2028b": false, "a\xffb": false, "a\ue000b": false,
	} {
		err := tenant.CheckName("name", name)
		if (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
		if err != nil && (!fault.Is(err, fault.Unprocessable) || fault.From(err).Param != "name") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestSlugs(t *testing.T) {
	t.Parallel()
	for slug, good := range map[string]bool{
		"a": true, "0": true, "example-ltd": true, "a--": true, strings.Repeat("a", 63): true,
		"": false, "-a": false, "A": false, "a_b": false, "a.b": false, "é": false, "a b": false, "a\n": false, strings.Repeat("a", 64): false,
	} {
		if err := tenant.CheckSlug(slug); (err == nil) != good {
			t.Errorf("%q: %v", slug, err)
		}
	}
}

func TestOverridesWinOverThePlan(t *testing.T) {
	t.Parallel()
	none, ten := int64(0), int64(10)
	plan := tenant.Bounds{
		Org: tenant.Limits{RequestsPerMinute: 1, TokensPerMinute: 2, ConcurrentRequests: 3},
		Key: tenant.Limits{RequestsPerMinute: 4, TokensPerMinute: 5, ConcurrentRequests: 6},
	}
	got := tenant.Overrides{
		Org: tenant.Override{RequestsPerMinute: &none, ConcurrentRequests: &ten}, Key: tenant.Override{TokensPerMinute: &ten},
	}.Over(plan)
	want := tenant.Bounds{
		Org: tenant.Limits{RequestsPerMinute: 0, TokensPerMinute: 2, ConcurrentRequests: 10},
		Key: tenant.Limits{RequestsPerMinute: 4, TokensPerMinute: 10, ConcurrentRequests: 6},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := (tenant.Overrides{}).Over(plan); got != plan {
		t.Errorf("without overrides %+v", got)
	}
}
