package model

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/egress"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/money"
	"github.com/aiaas/aiaas/shared/naming"
	"github.com/aiaas/aiaas/shared/pricing"
)

// Store keeps the catalogue.
type Store interface {
	Changes
	Shelf
}

// Changes are one transaction each with their audit records.
type Changes interface {
	CreateModel(ctx context.Context, m Model, rec audit.Record) error     // Conflict: the id is taken
	CreateBackend(ctx context.Context, b Backend, rec audit.Record) error // NotFound: no such model
	// PublishPrice settles from when the price counts (see pricing.Effective) while
	// it holds the model's prices locked, and returns the price as stored.
	// NotFound: no such book or model.
	PublishPrice(ctx context.Context, p pricing.Price, rec audit.Record) (pricing.Price, error)
	UpdateModel(ctx context.Context, id string, c Change, rec audit.Record) error // NotFound: no such model
	// UpdateBackend returns the backend as it stands then. NotFound: no such backend.
	UpdateBackend(ctx context.Context, id string, c BackendChange, rec audit.Record) (Backend, error)
}

// Sealer encrypts a backend's credential, bound to the host it may be sent to.
type Sealer interface {
	Seal(plain, host string) (string, error)
}

// Bumper moves a configuration version on, as in package apikey.
type Bumper interface {
	Bump(ctx context.Context, scope string) error
}

// Service changes the catalogue. Every method needs the platform scope.
type Service struct {
	Store  Store
	Sealer Sealer
	Bump   Bumper
	Now    func() time.Time
	Places egress.Rules // where backends may be
}

const (
	defaultMaxOutput = 4096
	largestMaxOutput = 10_000_000
)

// NewModel is what a model is created from.
type NewModel struct {
	ID              string
	OwnedBy         string
	MaxOutputTokens int64 // 0 takes 4096
	Restricted      bool  // only for organisations that it is granted to
}

// CreateModel adds a model. It can be called once it has a backend and a price.
func (s *Service) CreateModel(ctx context.Context, p authz.Principal, n NewModel) (Model, error) {
	if err := p.Require(ctx, authz.DoCatalogueWrite); err != nil {
		return Model{}, err
	}
	if n.MaxOutputTokens == 0 {
		n.MaxOutputTokens = defaultMaxOutput
	}
	if n.OwnedBy == "" {
		n.OwnedBy = "aiaas"
	}
	switch {
	case !validModelID(n.ID):
		return Model{}, fault.New(fault.Unprocessable, "a model id has 1 to 200 letters, digits and ._:/@+- and starts with a letter or digit").At("id")
	case naming.Line("owned_by", n.OwnedBy, 200) != nil:
		return Model{}, naming.Line("owned_by", n.OwnedBy, 200)
	case n.MaxOutputTokens < 1 || n.MaxOutputTokens > largestMaxOutput:
		return Model{}, fault.New(fault.Unprocessable, "max_output_tokens is between 1 and %d", largestMaxOutput).At("max_output_tokens")
	}
	now := s.Now()
	m := Model{ID: n.ID, OwnedBy: n.OwnedBy, MaxOutputTokens: n.MaxOutputTokens, Restricted: n.Restricted, CreatedAt: now}
	rec := audit.New(ctx, p, now, "model.create", m.ID).With(map[string]any{"restricted": m.Restricted})
	if err := s.Store.CreateModel(ctx, m, rec); err != nil {
		return Model{}, err
	}
	return m, s.Bump.Bump(ctx, PlatformScope)
}

// NewBackend is what a backend is created from.
type NewBackend struct {
	ModelID       string
	Protocol      Protocol
	BaseURL       string
	UpstreamModel string // "" takes the model's id
	Credential    string // the secret itself; stored sealed
	CredentialEnv string // or the name of an environment variable that holds it
	Weight        int    // 0 takes 1
}

// AddBackend adds a place where a model runs.
func (s *Service) AddBackend(ctx context.Context, p authz.Principal, n NewBackend) (Backend, error) {
	if err := p.Require(ctx, authz.DoCatalogueWrite); err != nil {
		return Backend{}, err
	}
	host, err := n.check()
	if err != nil {
		return Backend{}, err
	}
	if err := s.reachable(n.BaseURL); err != nil {
		return Backend{}, err
	}
	cred, err := s.credential(n, host)
	if err != nil {
		return Backend{}, err
	}
	now := s.Now()
	b := Backend{
		ID: id.New(id.Backend), ModelID: n.ModelID, Protocol: n.Protocol, BaseURL: strings.TrimRight(n.BaseURL, "/"),
		UpstreamModel: n.UpstreamModel, Credential: cred, Weight: n.Weight, CreatedAt: now,
	}
	rec := audit.New(ctx, p, now, "backend.create", b.ID).With(map[string]any{"model": b.ModelID, "base_url": b.BaseURL})
	if err := s.Store.CreateBackend(ctx, b, rec); err != nil {
		return Backend{}, err
	}
	return b, s.Bump.Bump(ctx, PlatformScope)
}

// reachable refuses an address at once that would be refused whenever it is dialled.
// Names are not resolved: they may lead elsewhere by then.
func (s *Service) reachable(baseURL string) error {
	u, err := url.Parse(baseURL)
	if err != nil {
		return fmt.Errorf("read base_url: %w", err) // check has read it
	}
	if err := s.Places.CheckURL(u); err != nil {
		return fault.New(fault.Unprocessable, "base_url: %v. Networks in which backends may be are listed in AIAAS_BACKEND_NETWORKS.", err).At("base_url")
	}
	return nil
}

func (s *Service) credential(n NewBackend, host string) (Credential, error) {
	switch {
	case n.CredentialEnv != "":
		return Credential(envCredential + n.CredentialEnv), nil
	case n.Credential == "":
		return "", nil
	}
	sealed, err := s.Sealer.Seal(n.Credential, host)
	if err != nil {
		return "", fmt.Errorf("seal credential: %w", err)
	}
	return Credential(sealed), nil
}

// The names' forms are compared by hand: every function links this package, and a
// regular expression of this kind takes a third of a millisecond of each cold
// start.

const (
	alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	maxModelID   = 200
	maxEnvName   = 100
)

// validModelID accepts letters, digits and ._:/@+- after a letter or digit.
func validModelID(s string) bool {
	return s != "" && len(s) <= maxModelID && strings.Contains(alphanumeric, s[:1]) && strings.Trim(s, alphanumeric+"._:/@+-") == ""
}

// validEnvName accepts upper-case letters, digits and _, not beginning with a
// digit.
func validEnvName(s string) bool {
	const first = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"
	return s != "" && len(s) <= maxEnvName && strings.Contains(first, s[:1]) && strings.Trim(s, first+"0123456789") == ""
}

func (n *NewBackend) check() (host string, err error) {
	if n.Weight == 0 {
		n.Weight = 1
	}
	if n.UpstreamModel == "" {
		n.UpstreamModel = n.ModelID
	}
	switch {
	case n.Protocol != OpenAI:
		return "", fault.New(fault.Unprocessable, "the protocol is \"openai\"").At("protocol")
	case checkWeight(n.Weight) != nil:
		return "", checkWeight(n.Weight)
	case naming.Line("upstream_model", n.UpstreamModel, 200) != nil:
		return "", naming.Line("upstream_model", n.UpstreamModel, 200)
	case n.Credential != "" && n.CredentialEnv != "":
		return "", fault.New(fault.Unprocessable, "give the credential or the variable that holds it, not both").At("credential")
	case strings.ContainsAny(n.Credential, "\r\n\x00") || len(n.Credential) > 4096:
		return "", fault.New(fault.Unprocessable, "the credential can't be sent in a header").At("credential")
	case n.CredentialEnv != "" && !validEnvName(n.CredentialEnv):
		return "", fault.New(fault.Unprocessable, "that is no name of an environment variable").At("credential_env")
	}
	return Host(n.BaseURL)
}

// Host is the host of a backend's address, which its credential is bound to.
func Host(baseURL string) (string, error) {
	u, err := url.Parse(baseURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fault.New(fault.Unprocessable, "base_url is an http or https address without user, query or fragment").At("base_url")
	}
	return strings.ToLower(u.Host), nil
}

// NewPrice is what a price is published from; decimal strings, per million tokens.
type NewPrice struct {
	Book          string
	Model         string
	EffectiveFrom time.Time // zero: now
	Input         string
	CachedInput   string // "" takes Input
	Output        string
}

// PublishPrice adds a version of a model's price. It never changes the price of a
// past moment that had one: such a version counts from now.
func (s *Service) PublishPrice(ctx context.Context, p authz.Principal, n NewPrice) (pricing.Price, error) {
	if err := p.Require(ctx, authz.DoCatalogueWrite); err != nil {
		return pricing.Price{}, err
	}
	price, err := n.parse(s.Now())
	if err != nil {
		return pricing.Price{}, err
	}
	rec := audit.New(ctx, p, price.CreatedAt, "price.publish", price.ID).With(map[string]any{
		"model": n.Model, "price_book": n.Book, "effective_from": price.EffectiveFrom,
		"input": price.Input.PerMillion(), "cached_input": price.CachedInput.PerMillion(), "output": price.Output.PerMillion(),
	})
	stored, err := s.Store.PublishPrice(ctx, price, rec)
	if err != nil {
		return pricing.Price{}, err
	}
	return stored, s.Bump.Bump(ctx, PlatformScope)
}

func (n NewPrice) parse(now time.Time) (pricing.Price, error) {
	if n.CachedInput == "" {
		n.CachedInput = n.Input
	}
	if n.EffectiveFrom.IsZero() {
		n.EffectiveFrom = now
	}
	price := pricing.Price{ID: id.New(id.Price), Book: n.Book, Model: n.Model, EffectiveFrom: n.EffectiveFrom.UTC(), CreatedAt: now}
	for _, f := range []struct {
		name, text string
		to         *money.Pico
	}{
		{"input_usd_per_million", n.Input, &price.Input},
		{"cached_input_usd_per_million", n.CachedInput, &price.CachedInput},
		{"output_usd_per_million", n.Output, &price.Output},
	} {
		v, err := money.ParsePrice(f.text)
		if err != nil {
			return pricing.Price{}, fault.New(fault.Unprocessable, "%s: %v", f.name, err).At(f.name)
		}
		if v > pricing.MaxPrice {
			return pricing.Price{}, fault.New(fault.Unprocessable, "%s: a price is at most %s per million tokens", f.name, pricing.MaxPrice.PerMillion()).At(f.name)
		}
		*f.to = v
	}
	return price, nil
}
