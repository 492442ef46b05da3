package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/model"
	"github.com/aiaas/aiaas/shared/pricing"
	"github.com/aiaas/aiaas/shared/tenant"
)

// declared is a model with a backend and a price, as AIAAS_BACKENDS lists them.
type declared struct {
	Model         string `yaml:"model"`
	Protocol      string `yaml:"protocol"`
	BaseURL       string `yaml:"base_url"`
	UpstreamModel string `yaml:"upstream_model"`
	CredentialEnv string `yaml:"credential_env"`
	Input         string `yaml:"input_usd_per_million"`
	CachedInput   string `yaml:"cached_input_usd_per_million"`
	Output        string `yaml:"output_usd_per_million"`

	owner     string
	maxOutput int64
}

const demoID = "demo"

func demoModel() declared {
	return declared{Model: demoID, BaseURL: open.DemoBaseURL, Input: "1.00", Output: "4.00", owner: "aiaas"}
}

// readBackends reads the file that AIAAS_BACKENDS names, if any.
func readBackends(path string) (listed []declared, err error) {
	if path == "" {
		return nil, nil
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read AIAAS_BACKENDS: %w", err)
	}
	err = yaml.UnmarshalWithOptions(body, &listed, yaml.Strict())
	if err != nil && !errors.Is(err, io.EOF) { // an empty file lists nothing
		return nil, fmt.Errorf("read AIAAS_BACKENDS=%s: %w", path, err)
	}
	return listed, nil
}

// normal is the declaration with its defaults, in the form that the catalogue
// keeps, so that the two can be compared.
func (d declared) normal() declared {
	d.BaseURL = strings.TrimRight(d.BaseURL, "/")
	if d.Protocol == "" {
		d.Protocol = string(model.OpenAI)
	}
	if d.UpstreamModel == "" {
		d.UpstreamModel = d.Model
	}
	return d
}

// catalogue is the stored one as this start found it, and the way to add to it.
type catalogue struct {
	found   *model.Snapshot
	service *model.Service
}

func openCatalogue(ctx context.Context, env *function.Env) (*catalogue, error) {
	db, err := open.DB(ctx, env, function.Router, postgres.RoleRouter)
	if err != nil {
		return nil, err
	}
	sealer, err := open.Sealer(ctx, env)
	if err != nil {
		return nil, err
	}
	limiter, err := open.Limiter(ctx, env)
	if err != nil {
		return nil, err
	}
	store := postgres.NewCatalogue(db)
	found, err := store.ReadCatalogue(ctx)
	if err != nil {
		return nil, err
	}
	places, err := open.BackendRules(ctx, env)
	if err != nil {
		return nil, err
	}
	return &catalogue{found: found, service: &model.Service{Store: store, Sealer: sealer, Bump: limiter, Now: env.Now, Places: places}}, nil
}

// unfinished reports whether the initial models are still to be added: there is
// none, or a start that added them was cut off. The demo model is the last of
// them, and its price the last of it.
func (c *catalogue) unfinished() bool {
	demo, ok := c.found.Get(demoID)
	if ok && len(demo.Backends) > 0 && len(demo.Prices[tenant.DefaultPriceBook]) > 0 {
		return false
	}
	initial := append(openAIModels(), demoModel())
	return !slices.ContainsFunc(c.found.IDs(), func(id string) bool {
		return !slices.ContainsFunc(initial, func(d declared) bool { return d.Model == id })
	})
}

// check goes through what add would do, and changes nothing.
func (c *catalogue) check(ctx context.Context, wanted []declared) error {
	dry := *c.service
	dry.Store, dry.Bump = nowhere{Shelf: c.service.Store}, nowhere{}
	_, err := (&catalogue{found: c.found, service: &dry}).add(ctx, wanted)
	return err
}

// add adds what is not there yet. What is there stays as it is: the database is
// the truth once it knows a model.
func (c *catalogue) add(ctx context.Context, wanted []declared) (*addition, error) {
	a := &addition{service: c.service, known: map[string]*known{}}
	for _, id := range c.found.IDs() {
		m, _ := c.found.Get(id)
		k := &known{priced: len(m.Prices[tenant.DefaultPriceBook]) > 0}
		for _, b := range m.Backends {
			k.backends = append(k.backends, place{b.BaseURL, b.UpstreamModel})
		}
		a.known[id] = k
	}
	for _, d := range wanted {
		if err := a.add(ctx, d.normal()); err != nil {
			return nil, fmt.Errorf("model %q: %w", d.Model, err)
		}
	}
	return a, nil
}

// addition adds models one after the other, and keeps in mind what is there by
// then: the catalogue was read once, before the first.
type addition struct {
	service *model.Service
	known   map[string]*known
	added   []string // ids of new models
}

// known is what the catalogue has of a model.
type known struct {
	backends []place
	priced   bool
	hidden   bool // an administrator has disabled it
}

// place is where a model runs.
type place struct{ baseURL, upstreamModel string }

// operator is who acts by settings: whoever starts the process.
func operator() authz.Principal {
	return authz.Internal(model.PlatformScope, "settings", authz.Platform)
}

func (a *addition) add(ctx context.Context, d declared) error {
	k, err := a.model(ctx, d)
	if err != nil || k.hidden {
		return err
	}
	if p := (place{d.BaseURL, d.UpstreamModel}); !slices.Contains(k.backends, p) {
		_, err := a.service.AddBackend(ctx, operator(), model.NewBackend{
			ModelID: d.Model, Protocol: model.Protocol(d.Protocol), BaseURL: d.BaseURL,
			UpstreamModel: d.UpstreamModel, CredentialEnv: d.CredentialEnv,
		})
		if err != nil {
			return err
		}
		k.backends = append(k.backends, p)
	}
	if k.priced {
		return nil
	}
	_, err = a.service.PublishPrice(ctx, operator(), model.NewPrice{
		Book: tenant.DefaultPriceBook, Model: d.Model, Input: d.Input, CachedInput: d.CachedInput, Output: d.Output,
		EffectiveFrom: time.Unix(0, 0),
	})
	k.priced = err == nil
	return err
}

// model finds the model or creates it. An id that is taken, by a model that the
// catalogue did not show, is of a disabled one.
func (a *addition) model(ctx context.Context, d declared) (*known, error) {
	if k, ok := a.known[d.Model]; ok {
		return k, nil
	}
	_, err := a.service.CreateModel(ctx, operator(), model.NewModel{ID: d.Model, OwnedBy: d.owner, MaxOutputTokens: d.maxOutput})
	k := &known{hidden: fault.Is(err, fault.Conflict)}
	if err != nil && !k.hidden {
		return nil, err
	}
	a.known[d.Model] = k
	if !k.hidden {
		a.added = append(a.added, d.Model)
	}
	return k, nil
}

// callable is a model to try: the demo model, else the first that has a place and
// a price; "" where there is none.
func (a *addition) callable() (id string) {
	for other, k := range a.known {
		switch {
		case k.hidden || !k.priced || len(k.backends) == 0:
		case other == demoID:
			return demoID
		case id == "" || other < id:
			id = other
		}
	}
	return id
}

// nowhere takes all changes and keeps none: with it the service only checks.
type nowhere struct{ model.Shelf }

var _ model.Store = nowhere{}

func (nowhere) CreateModel(context.Context, model.Model, audit.Record) error     { return nil }
func (nowhere) CreateBackend(context.Context, model.Backend, audit.Record) error { return nil }
func (nowhere) PublishPrice(_ context.Context, p pricing.Price, _ audit.Record) (pricing.Price, error) {
	return p, nil
}

func (nowhere) UpdateModel(context.Context, string, model.Change, audit.Record) error {
	return nil
}

func (nowhere) UpdateBackend(context.Context, string, model.BackendChange, audit.Record) (model.Backend, error) {
	return model.Backend{}, nil
}
func (nowhere) Bump(context.Context, string) error { return nil }
