package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/aiaas/aiaas/adapters/open"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/model"
	"github.com/aiaas/aiaas/shared/tenant"
)

// profile is credentials.json: what the command and other programs need to call
// the platform.
type profile struct {
	BaseURL        string `json:"base_url"`
	OrganizationID string `json:"organization_id"`
	ProjectID      string `json:"project_id"`
	APIKey         string `json:"api_key"`
	AdminKey       string `json:"admin_key"`
	PlatformKey    string `json:"platform_key"`
}

// setup brings a database to the point where a request can be served.
type setup struct {
	*process
	env      *function.Env
	settings open.Settings
	baseURL  string

	first   bool
	profile profile
	added   []string // models that this start has added
}

func (s *setup) path() string { return filepath.Join(s.settings.DataDir, "credentials.json") }

func (s *setup) run(ctx context.Context) error {
	if err := s.found(ctx); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	models, err := s.models(ctx)
	if err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	if err := s.addModels(ctx, models); err != nil {
		return fmt.Errorf("set up models: %w", err)
	}
	return nil
}

// found creates the first organisations, once for a database. The keys are in the
// file before they count: a crash in between leaves a file that the next start
// replaces, never keys that nobody has.
func (s *setup) found(ctx context.Context) error {
	db, err := open.DB(ctx, s.env, function.Accounts, postgres.RoleAccounts)
	if err != nil {
		return err
	}
	keys := postgres.NewKeys(db)
	if done, err := keys.Founded(ctx); err != nil || done {
		if err != nil {
			return err
		}
		return s.update()
	}
	founding, c := apikey.Found(s.env.Now())
	s.profile = profile{
		BaseURL: s.baseURL, OrganizationID: c.OrganizationID, ProjectID: c.ProjectID,
		APIKey: c.APIKey.Reveal(), AdminKey: c.AdminKey.Reveal(), PlatformKey: c.PlatformKey.Reveal(),
	}
	s.first, err = keys.Found(ctx, founding, s.keep)
	return err
}

// keep writes the profile. A file that is there already belongs to another
// database: it is put aside, not lost.
func (s *setup) keep() error {
	if _, err := os.Stat(s.path()); err == nil {
		aside := s.path() + "." + s.env.Now().Format("20060102T150405Z")
		if err := os.Rename(s.path(), aside); err != nil {
			return fmt.Errorf("put old credentials aside: %w", err)
		}
		s.say("The credentials of another database were put aside: %s", absolute(aside))
	}
	return s.write()
}

func (s *setup) write() error {
	body, err := json.MarshalIndent(s.profile, "", "  ") //nolint:gosec // this file is the one place for the keys; mode 0600
	if err != nil {
		return fmt.Errorf("encode credentials: %w", err)
	}
	tmp, err := os.CreateTemp(s.settings.DataDir, ".credentials-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	_, err = tmp.Write(append(body, '\n'))
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("write credentials: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	if err := os.Rename(tmp.Name(), s.path()); err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	return nil
}

// update keeps the address in the profile true. Without a file there is nothing
// to keep: the keys of a database that was set up elsewhere are elsewhere.
func (s *setup) update() error {
	body, err := os.ReadFile(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read credentials: %w", err)
	}
	if err := json.Unmarshal(body, &s.profile); err != nil {
		return fmt.Errorf("read %s: %w", s.path(), err)
	}
	if s.profile.BaseURL == s.baseURL {
		return nil
	}
	s.profile.BaseURL = s.baseURL
	return s.write()
}

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

// models is what this start should have: at the first the demo model and, with
// OPENAI_API_KEY, OpenAI's; at every start those of AIAAS_BACKENDS.
func (s *setup) models(context.Context) ([]declared, error) {
	var out []declared
	if s.first {
		out = append(out, declared{Model: "demo", BaseURL: open.DemoBaseURL, Input: "1.00", Output: "4.00", owner: "aiaas"})
		if s.env.Getenv("OPENAI_API_KEY") != "" {
			out = append(out, openAIModels()...)
			s.say("OPENAI_API_KEY is set: adding OpenAI's models with its public prices of %s.", openAIPricesDate)
		}
	}
	if s.settings.Backends == "" {
		return out, nil
	}
	body, err := os.ReadFile(s.settings.Backends)
	if err != nil {
		return nil, fmt.Errorf("read AIAAS_BACKENDS: %w", err)
	}
	var listed []declared
	if err := yaml.UnmarshalWithOptions(body, &listed, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("read %s: %w", s.settings.Backends, err)
	}
	return append(out, listed...), nil
}

// addModels adds what is not there yet. What is there stays as it is: the
// database is the truth once it knows a model.
func (s *setup) addModels(ctx context.Context, wanted []declared) error {
	if len(wanted) == 0 {
		return nil
	}
	db, err := open.DB(ctx, s.env, function.Router, postgres.RoleRouter)
	if err != nil {
		return err
	}
	sealer, err := open.Sealer(ctx, s.env)
	if err != nil {
		return err
	}
	limiter, err := open.Limiter(ctx, s.env)
	if err != nil {
		return err
	}
	store := postgres.NewCatalogue(db)
	service := &model.Service{Store: store, Sealer: sealer, Bump: limiter, Now: s.env.Now}
	have, err := store.ReadCatalogue(ctx)
	if err != nil {
		return err
	}
	for _, d := range wanted {
		existing, _ := have.Get(d.Model)
		if err := s.addModel(ctx, service, existing, d); err != nil {
			return fmt.Errorf("model %q: %w", d.Model, err)
		}
	}
	return nil
}

// operator is who acts by settings: whoever starts the process.
func operator() authz.Principal {
	return authz.Principal{OrgID: model.PlatformScope, KeyID: "settings", Scopes: []authz.Scope{authz.Platform}}
}

func (s *setup) addModel(ctx context.Context, service *model.Service, existing *model.Model, d declared) error {
	if d.Protocol == "" {
		d.Protocol = string(model.OpenAI)
	}
	if existing == nil {
		_, err := service.CreateModel(ctx, operator(), model.NewModel{ID: d.Model, OwnedBy: d.owner, MaxOutputTokens: d.maxOutput})
		if err != nil && !fault.Is(err, fault.Conflict) {
			return err
		}
		existing = &model.Model{}
		s.added = append(s.added, d.Model)
	}
	if !hasBackend(existing, d.BaseURL) {
		_, err := service.AddBackend(ctx, operator(), model.NewBackend{
			ModelID: d.Model, Protocol: model.Protocol(d.Protocol), BaseURL: d.BaseURL,
			UpstreamModel: d.UpstreamModel, CredentialEnv: d.CredentialEnv,
		})
		if err != nil {
			return err
		}
	}
	if len(existing.Prices[tenant.DefaultPriceBook]) > 0 {
		return nil
	}
	_, err := service.PublishPrice(ctx, operator(), model.NewPrice{
		Book: tenant.DefaultPriceBook, Model: d.Model, Input: d.Input, CachedInput: d.CachedInput, Output: d.Output,
		EffectiveFrom: time.Unix(0, 0),
	})
	return err
}

func hasBackend(m *model.Model, baseURL string) bool {
	for _, b := range m.Backends {
		if b.BaseURL == baseURL {
			return true
		}
	}
	return false
}

// welcome prints what to do next.
func (s *setup) welcome() {
	s.say("")
	s.say("AIaaS is running at %s", s.baseURL)
	s.say("  API reference  %s/docs", s.baseURL)
	s.say("  health         %s/readyz", s.baseURL)
	s.say("  data           %s", absolute(s.settings.DataDir))
	if len(s.added) > 0 {
		s.say("  new models     %v", s.added)
	}
	switch {
	case s.first:
		s.say("")
		s.say("Your keys. They are shown this once, and kept in %s:", absolute(s.path()))
		s.say("  api key        %s   calls models", s.profile.APIKey)
		s.say("  admin key      %s   manages your organization", s.profile.AdminKey)
		s.say("  platform key   %s   manages models and prices", s.profile.PlatformKey)
	case s.profile.APIKey != "":
		s.say("  keys           %s", absolute(s.path()))
	}
	s.say("")
	s.say("Try it:")
	key := s.profile.APIKey
	if !s.first {
		key = `$(sed -n 's/.*"api_key": "\(.*\)".*/\1/p' '` + absolute(s.path()) + `')`
	}
	s.say("")
	s.say(`curl %s/v1/chat/completions -H "Authorization: Bearer %s" -H 'Content-Type: application/json' -d '{"model":"demo","messages":[{"role":"user","content":"Hello"}]}'`, s.baseURL, key)
	s.say("")
	s.say("Press Ctrl-C to stop.")
}
