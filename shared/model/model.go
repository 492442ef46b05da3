// Package model owns the platform's catalogue: which models there are, the
// backends that serve them, and what they cost. It belongs to the platform; an
// organisation is entitled to models and never changes one.
package model

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/fresh"
	"github.com/aiaas/aiaas/shared/pricing"
)

// Protocol is the language that a backend speaks.
type Protocol string

// The protocols.
const (
	OpenAI    Protocol = "openai"
	Anthropic Protocol = "anthropic"
)

// Model is one model that clients can name.
type Model struct {
	ID              string
	OwnedBy         string
	MaxOutputTokens int64 // the output bound where a client sets none
	CreatedAt       time.Time
	DisabledAt      time.Time // zero: it can be called
	Restricted      bool      // only for organisations that it is granted to
	Backends        []Backend
	Prices          map[string][]pricing.Price // by price book
}

// Backend is one place where a model runs.
type Backend struct {
	ID            string
	ModelID       string
	Protocol      Protocol
	BaseURL       string // up to and including the version: "https://api.openai.com/v1"
	UpstreamModel string
	Credential    Credential
	Weight        int
	CreatedAt     time.Time
	DisabledAt    time.Time // zero: it is sent requests
}

// Credential is a backend's secret as it is stored: "env:NAME", or sealed. The
// data plane opens it with the secrets adapter. It never prints.
type Credential string

// String hides the value: what is sealed is no log's business.
func (c Credential) String() string {
	switch {
	case c == "":
		return "none"
	case strings.HasPrefix(string(c), envCredential):
		return string(c)
	}
	return "sealed"
}

const envCredential = "env:"

// EnvName is the environment variable that holds the credential, if it is kept
// that way.
func (c Credential) EnvName() (string, bool) {
	return strings.CutPrefix(string(c), envCredential)
}

// Price returns the price of the model in a book at a moment.
func (m *Model) Price(book string, at time.Time) (pricing.Price, bool) {
	return pricing.InForce(m.Prices[book], at)
}

// Snapshot is the whole catalogue at one moment. It is read-only.
type Snapshot struct {
	models map[string]*Model
	ids    []string
}

// NewSnapshot makes a snapshot of models.
func NewSnapshot(models []*Model) *Snapshot {
	s := &Snapshot{models: make(map[string]*Model, len(models)), ids: make([]string, 0, len(models))}
	for _, m := range models {
		s.models[m.ID] = m
		s.ids = append(s.ids, m.ID)
	}
	slices.Sort(s.ids)
	return s
}

// Get returns a model by id.
func (s *Snapshot) Get(id string) (*Model, bool) {
	m, ok := s.models[id]
	return m, ok
}

// IDs lists the models in order.
func (s *Snapshot) IDs() []string { return s.ids }

// Reader reads the catalogue from the primary.
type Reader interface {
	ReadCatalogue(ctx context.Context) (*Snapshot, error)
}

// PlatformScope is the name under which configuration versions count changes to
// the catalogue. No organisation has it.
const PlatformScope = "platform"

// Versions tells the configuration version, as in package apikey.
type Versions interface {
	Latest() uint64
	Version(org string) uint64
}

// Catalogue is the data plane's view: at most a second old, and never older than
// a change made in this process.
type Catalogue struct {
	cache    *fresh.Cache[struct{}, *Snapshot]
	versions Versions
}

const readTimeout = 5 * time.Second

// NewCatalogue makes a catalogue over reader.
func NewCatalogue(reader Reader, versions Versions, now func() time.Time) *Catalogue {
	load := func(ctx context.Context, _ struct{}) (*Snapshot, error) { return reader.ReadCatalogue(ctx) }
	return &Catalogue{cache: fresh.New(load, versions.Latest, now, readTimeout), versions: versions}
}

// Snapshot returns the catalogue; Unavailable when it can't be read.
func (c *Catalogue) Snapshot(ctx context.Context) (*Snapshot, error) {
	v, err := c.cache.Get(ctx, struct{}{}, c.versions.Version(PlatformScope))
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, "read catalogue", err).After(time.Second)
	}
	return v.V, nil
}
