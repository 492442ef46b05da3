package postgres_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/model"
	"github.com/aiaas/aiaas/shared/pricing"
)

// shelved is what a query finds: the models with what stands beside them.
func shelved(t *testing.T, store *postgres.Catalogue, q model.Query) string {
	t.Helper()
	list, err := store.ReadModels(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range list {
		out = append(out, fmt.Sprint(m.ID, m.DisabledAt.IsZero(), len(m.Backends), len(m.Prices["default"])))
	}
	return strings.Join(out, " ")
}

func TestTheShelfHasWhatIsDisabledToo(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewCatalogue(f.open(postgres.RoleRouter))
	ctx := t.Context()
	for _, id := range []string{"b", "B", "a/x", "ä"} {
		if err := store.CreateModel(ctx, model.Model{ID: id, OwnedBy: "o", MaxOutputTokens: 9, CreatedAt: noon()}, record(ctx, "org_1", "model.create")); err != nil {
			t.Fatal(err)
		}
	}
	b := model.Backend{ID: "be_1", ModelID: "b", Protocol: model.OpenAI, BaseURL: "http://x/v1", UpstreamModel: "u", Credential: "sealed-bytes", Weight: 2, CreatedAt: noon()}
	if err := store.CreateBackend(ctx, b, record(ctx, "org_1", "backend.create")); err != nil {
		t.Fatal(err)
	}
	if _, err := store.PublishPrice(ctx, pricing.Price{ID: "price_1", Book: "default", Model: "b", EffectiveFrom: noon(), CreatedAt: noon()}, record(ctx, "org_1", "price.publish")); err != nil {
		t.Fatal(err)
	}
	yes, no, weight := true, false, 7
	if err := store.UpdateModel(ctx, "a/x", model.Change{Disabled: &yes}, record(ctx, "org_1", "model.update")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		q    model.Query
		want string
	}{
		{model.Query{Limit: 10}, "Btrue 0 0 a/xfalse 0 0 btrue 1 1 ätrue 0 0"},
		{model.Query{Limit: 2}, "Btrue 0 0 a/xfalse 0 0"},
		{model.Query{After: "a/x", Limit: 10}, "btrue 1 1 ätrue 0 0"},
		{model.Query{After: "ä", Limit: 10}, ""},
		{model.Query{ID: "b", Limit: 1}, "btrue 1 1"},
		{model.Query{ID: "none", Limit: 1}, ""},
	} {
		if got := shelved(t, store, c.q); got != c.want {
			t.Errorf("%+v: %s; want %s", c.q, got, c.want)
		}
	}

	got, err := store.UpdateBackend(ctx, "be_1", model.BackendChange{Disabled: &yes}, record(ctx, "org_1", "backend.update"))
	if err != nil || got.DisabledAt.IsZero() || got.Weight != 2 || string(got.Credential) != "sealed-bytes" {
		t.Errorf("disabled: %+v, %v", got, err)
	}
	got, err = store.UpdateBackend(ctx, "be_1", model.BackendChange{Disabled: &no, Weight: &weight}, record(ctx, "org_1", "backend.update"))
	if err != nil || !got.DisabledAt.IsZero() || got.Weight != 7 {
		t.Errorf("enabled, with another weight: %+v, %v", got, err)
	}
	if err := store.UpdateModel(ctx, "none", model.Change{Disabled: &yes}, record(ctx, "org_1", "model.update")); !fault.Is(err, fault.NotFound) {
		t.Errorf("no such model: %v; want NotFound", err)
	}
	if _, err := store.UpdateBackend(ctx, "none", model.BackendChange{Disabled: &yes}, record(ctx, "org_1", "backend.update")); !fault.Is(err, fault.NotFound) {
		t.Errorf("no such backend: %v; want NotFound", err)
	}
	if got := f.scalar(`SELECT count(*) FILTER (WHERE action LIKE '%.update')::text FROM router.audit_records`); got != "3" {
		t.Errorf("%s changes are audited; want the 3 that were made", got)
	}
	books, err := store.ReadPriceBooks(ctx)
	if err != nil || len(books) != 1 || books[0].ID != "default" || books[0].Currency != "USD" {
		t.Errorf("price books %+v, %v", books, err)
	}
	for _, role := range []postgres.Role{postgres.RoleGateway} {
		if _, err := postgres.NewCatalogue(f.open(role)).UpdateBackend(ctx, "be_1", model.BackendChange{Weight: &weight}, record(ctx, "org_1", "backend.update")); err == nil {
			t.Errorf("%s may change the catalogue", role)
		}
	}
}
