package event_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/shared/event"
)

func TestTheCatalogueIsWhole(t *testing.T) {
	types := event.Types()
	if !slices.IsSortedFunc(types, func(a, b event.Type) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the catalogue is not sorted")
	}
	seen := map[string]bool{}
	for _, ty := range types {
		if seen[ty.Name] || ty.Object == "" || !strings.HasSuffix(ty.Description, ".") || strings.Count(ty.Name, ".") != 1 {
			t.Errorf("type %+v", ty)
		}
		seen[ty.Name] = true
		for _, f := range ty.Fields {
			if f.Name == "" || f.Description == "" {
				t.Errorf("%s has the field %+v", ty.Name, f)
			}
		}
	}
	for _, want := range []string{
		"key.created", "key.rotated", "key.revoked", "key.expiring", "member.added", "member.role_changed", "budget.threshold_reached",
		"invoice.issued", "model.created", "model.disabled", "webhook.disabled", "webhook.test", "project.created", "organization.suspended",
	} {
		if !seen[want] {
			t.Errorf("%s is missing", want)
		}
	}
}
