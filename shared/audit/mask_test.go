package audit_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/audit"
)

func TestASecretInADetailIsLeftOut(t *testing.T) {
	live, dev := apikey.NewSecret(apikey.Production).Reveal(), apikey.NewSecret(apikey.Development).Reveal()
	const hook = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	r := audit.Record{Detail: map[string]any{
		"source": "https://x.example/" + live + "?again=" + live, "names": []string{"a", dev}, "plain": 5, "text": "aiaas_live_ is how keys begin",
		"nested": map[string]any{"list": []any{hook, 1}},
	}}
	want := map[string]any{
		"source": "https://x.example/aiaas_live_…?again=aiaas_live_…", "names": []string{"a", "aiaas_dev_…"}, "plain": 5, "text": "aiaas_live_ is how keys begin",
		"nested": map[string]any{"list": []any{"whsec_…", 1}},
	}
	got := r.Masked().Detail
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("masked (-want +got):\n%s", d)
	}
	if r.Detail["source"] == got["source"] {
		t.Error("the record itself was changed")
	}
}
