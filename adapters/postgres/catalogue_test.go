package postgres_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/model"
	"github.com/aiaas/aiaas/shared/pricing"
)

func TestTheCatalogueHasWhatIsNotDisabled(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewCatalogue(f.open(postgres.RoleRouter))
	ctx := t.Context()
	for _, id := range []string{"b", "a", "gone"} {
		if err := store.CreateModel(ctx, model.Model{ID: id, OwnedBy: "o", MaxOutputTokens: 9, CreatedAt: noon()}, record(ctx, "org_1", "model.create")); err != nil {
			t.Fatal(err)
		}
	}
	backends := []model.Backend{
		{ID: "be_1", ModelID: "a", Protocol: model.OpenAI, BaseURL: "http://x/v1", UpstreamModel: "u", Credential: "sealed-bytes", Weight: 2, CreatedAt: noon()},
		{ID: "be_2", ModelID: "a", Protocol: model.OpenAI, BaseURL: "http://y/v1", UpstreamModel: "u", Credential: "env:KEY", Weight: 1, CreatedAt: noon()},
		{ID: "be_3", ModelID: "a", Protocol: model.OpenAI, BaseURL: "http://z/v1", UpstreamModel: "u", Weight: 1, CreatedAt: noon()},
		{ID: "be_4", ModelID: "gone", Protocol: model.OpenAI, BaseURL: "http://z/v1", UpstreamModel: "u", Weight: 1, CreatedAt: noon()},
	}
	for _, b := range backends {
		if err := store.CreateBackend(ctx, b, record(ctx, "org_1", "backend.create")); err != nil {
			t.Fatal(err)
		}
	}
	price := pricing.Price{ID: "price_1", Book: "default", Model: "a", Input: 1, CachedInput: 2, Output: 3, EffectiveFrom: noon(), CreatedAt: noon()}
	if _, err := store.PublishPrice(ctx, price, record(ctx, "org_1", "price.publish")); err != nil {
		t.Fatal(err)
	}
	f.exec(`UPDATE router.models SET disabled_at = now() WHERE model_id = 'gone'; UPDATE router.backends SET disabled_at = now() WHERE backend_id = 'be_3'`)

	snap, err := postgres.NewCatalogue(f.open(postgres.RoleGateway)).ReadCatalogue(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(snap.IDs(), " "); got != "a b" {
		t.Errorf("models %s; want a b", got)
	}
	price.Currency = "USD"
	want := &model.Model{ID: "a", OwnedBy: "o", MaxOutputTokens: 9, CreatedAt: noon(), Backends: backends[:2], Prices: map[string][]pricing.Price{"default": {price}}}
	got, _ := snap.Get("a")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("model a (-want +got):\n%s", d)
	}
	if string(got.Backends[0].Credential) != "sealed-bytes" {
		t.Errorf("the credential came back as %q", string(got.Backends[0].Credential))
	}
}

func TestTheCatalogueOfABrokenDatabaseIsUnavailable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewCatalogue(f.open(postgres.RoleGateway))
	postgrestest.Refuse(t, f.url)
	if _, err := store.ReadCatalogue(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("%v; want Unavailable", err)
	}
}

func TestTheCatalogueNamesWhatIsMissingOrTaken(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewCatalogue(f.open(postgres.RoleRouter))
	ctx := t.Context()
	m := model.Model{ID: "a", OwnedBy: "o", MaxOutputTokens: 9, CreatedAt: noon()}
	if err := store.CreateModel(ctx, m, record(ctx, "org_1", "model.create")); err != nil {
		t.Fatal(err)
	}
	if err := store.CreateModel(ctx, m, record(ctx, "org_1", "model.create")); !fault.Is(err, fault.Conflict) {
		t.Errorf("the same model again: %v; want Conflict", err)
	}
	b := model.Backend{ID: "be_1", ModelID: "none", Protocol: model.OpenAI, BaseURL: "http://x/v1", UpstreamModel: "u", Weight: 1, CreatedAt: noon()}
	if err := store.CreateBackend(ctx, b, record(ctx, "org_1", "backend.create")); !fault.Is(err, fault.NotFound) {
		t.Errorf("a backend of no model: %v; want NotFound", err)
	}
	for _, p := range []pricing.Price{{Book: "none", Model: "a"}, {Book: "default", Model: "none"}} {
		if _, err := store.PublishPrice(ctx, p, record(ctx, "org_1", "price.publish")); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s, %s: %v; want NotFound", p.Book, p.Model, err)
		}
	}
	if got := f.scalar(`SELECT string_agg(action, ' ') FROM router.audit_records`); got != "model.create" {
		t.Errorf("audited %q; want what happened only", got)
	}
}

func TestAPublishedPriceIsWhatIsStored(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewCatalogue(f.open(postgres.RoleRouter))
	ctx := t.Context()
	if err := store.CreateModel(ctx, model.Model{ID: "a", OwnedBy: "o", MaxOutputTokens: 9, CreatedAt: noon()}, record(ctx, "org_1", "model.create")); err != nil {
		t.Fatal(err)
	}
	var want []pricing.Price
	for i, from := range []time.Duration{-24 * time.Hour, -time.Hour, 24*time.Hour + 1500} {
		p, err := store.PublishPrice(ctx, pricing.Price{
			ID: "price_" + string(rune('a'+i)), Book: "default", Model: "a", EffectiveFrom: noon().Add(from), CreatedAt: noon().Add(time.Duration(i)*time.Second + 1999),
		}, record(ctx, "org_1", "price.publish"))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, p)
	}
	got, err := store.ReadPrices(ctx, "default", "a")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("stored, against what publishing answered (-answer +stored):\n%s", d)
	}
	if !got[1].EffectiveFrom.Equal(got[1].CreatedAt) {
		t.Errorf("a second price for the past counts from %v; want its publication, %v", got[1].EffectiveFrom, got[1].CreatedAt)
	}
}
