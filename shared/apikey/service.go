package apikey

import (
	"context"
	"strings"
	"time"
	"unicode"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
)

// Key is a key as its organisation sees it. The secret is not part of it.
type Key struct {
	ID          string
	OrgID       string
	ProjectID   string
	Name        string
	Environment Environment
	Fingerprint string
	Scopes      []authz.Scope
	Models      []string
	Limits      OwnLimits
	ExpiresAt   time.Time // zero: never
	RevokedAt   time.Time // zero: not revoked
	CreatedBy   string
	CreatedAt   time.Time
}

// OwnLimits are the limits that a key sets itself; nil takes the plan's default.
type OwnLimits struct {
	RequestsPerMinute  *int64
	TokensPerMinute    *int64
	ConcurrentRequests *int64
}

// State is "active", "expired" or "revoked" at a moment.
func (k Key) State(now time.Time) string {
	switch {
	case !k.RevokedAt.IsZero():
		return "revoked"
	case !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt):
		return "expired"
	}
	return "active"
}

// Page asks for a part of a list: what follows After, at most Limit.
type Page struct {
	After string // the id of the last one seen; "" from the start
	Limit int
}

// Store keeps keys. Every method works within one organisation; what belongs to
// another is fault.NotFound. Changes and their audit records are one transaction.
type Store interface {
	CreateKey(ctx context.Context, k Key, h Hash, rec audit.Record) error // NotFound: no such project
	ListKeys(ctx context.Context, org string, p Page) ([]Key, error)
	RevokeKey(ctx context.Context, org, keyID string, at time.Time, rec audit.Record) error // idempotent
}

// Bumper moves an organisation's configuration version on, after a change and
// before its answer, so that no process serves the old state.
type Bumper interface {
	Bump(ctx context.Context, org string) error
}

// Service creates, lists and revokes keys.
type Service struct {
	Store Store
	Bump  Bumper
	Now   func() time.Time
}

// NewKey is what a key is created from.
type NewKey struct {
	Name        string
	ProjectID   string // "" takes the creator's
	Environment Environment
	Scopes      []authz.Scope
	Models      []string
	Limits      OwnLimits
	ExpiresAt   time.Time
}

// Create makes a key that grants no more than its creator has, and returns its
// secret, which is shown this once.
func (s *Service) Create(ctx context.Context, p authz.Principal, n NewKey) (Key, Secret, error) {
	if err := p.Require(authz.KeysWrite); err != nil {
		return Key{}, Secret{}, err
	}
	now := s.Now()
	if err := n.check(p, now); err != nil {
		return Key{}, Secret{}, err
	}
	secret := NewSecret(n.Environment)
	k := Key{
		ID: id.New(id.Key), OrgID: p.OrgID, ProjectID: n.ProjectID, Name: n.Name,
		Environment: n.Environment, Fingerprint: secret.Fingerprint(), Scopes: n.Scopes, Models: n.Models,
		Limits: n.Limits, ExpiresAt: n.ExpiresAt, CreatedBy: p.Actor(), CreatedAt: now,
	}
	rec := audit.New(ctx, p, now, "key.create", k.ID).With(map[string]any{
		"name": k.Name, "fingerprint": k.Fingerprint, "scopes": k.Scopes, "project_id": k.ProjectID,
	})
	if err := s.Store.CreateKey(ctx, k, secret.Hash(), rec); err != nil {
		return Key{}, Secret{}, err
	}
	return k, secret, nil
}

func (n *NewKey) check(p authz.Principal, now time.Time) error {
	if n.ProjectID == "" {
		n.ProjectID = p.ProjectID
	}
	if n.Environment == "" {
		n.Environment = Production
	}
	if n.Models == nil {
		n.Models = p.Models
	}
	switch {
	case n.Name == "" || len(n.Name) > 200:
		return fault.New(fault.Unprocessable, "a key needs a name of at most 200 bytes").At("name")
	case strings.ContainsFunc(n.Name, unicode.IsControl):
		return fault.New(fault.Unprocessable, "a name has no control characters").At("name")
	case n.Environment != Production && n.Environment != Development:
		return fault.New(fault.Unprocessable, "the environment is \"production\" or \"development\"").At("environment")
	case len(n.Scopes) == 0:
		return fault.New(fault.Unprocessable, "a key needs at least one scope").At("scopes")
	case !n.ExpiresAt.IsZero() && !n.ExpiresAt.After(now):
		return fault.New(fault.Unprocessable, "the key would have expired already").At("expires_at")
	}
	for _, s := range n.Scopes {
		if !authz.Known(s) {
			return fault.New(fault.Unprocessable, "there is no scope %q", clip(string(s))).At("scopes")
		}
	}
	if err := checkModels(n.Models); err != nil {
		return err
	}
	if !p.CoversModels(n.Models) {
		return fault.New(fault.Forbidden, "a key can't use more models than the key that creates it").At("models")
	}
	if !p.Covers(n.Scopes) {
		return fault.New(fault.Forbidden, "a key can't grant more than the key that creates it").At("scopes")
	}
	return n.Limits.check()
}

const (
	maxModels  = 200 // that a key can be restricted to
	maxModelID = 200 // bytes
)

func checkModels(models []string) error {
	if len(models) > maxModels {
		return fault.New(fault.Unprocessable, "a key names at most %d models", maxModels).At("models")
	}
	for _, m := range models {
		if m == "" || len(m) > maxModelID {
			return fault.New(fault.Unprocessable, "there is no model %q", clip(m)).At("models")
		}
	}
	return nil
}

func (l OwnLimits) check() error {
	for _, v := range []*int64{l.RequestsPerMinute, l.TokensPerMinute, l.ConcurrentRequests} {
		if v != nil && *v < 1 {
			return fault.New(fault.Unprocessable, "a limit is at least 1; leave it out for the plan's default").At("limits")
		}
	}
	return nil
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}

// List returns a page of the organisation's keys, oldest first.
func (s *Service) List(ctx context.Context, p authz.Principal, page Page) ([]Key, error) {
	if err := p.Require(authz.KeysRead); err != nil {
		return nil, err
	}
	return s.Store.ListKeys(ctx, p.OrgID, page)
}

// Revoke ends a key everywhere: in this process before it returns, in every other
// within a second. Revoking a revoked key is fine.
func (s *Service) Revoke(ctx context.Context, p authz.Principal, keyID string) error {
	if err := p.Require(authz.KeysWrite); err != nil {
		return err
	}
	now := s.Now()
	rec := audit.New(ctx, p, now, "key.revoke", keyID)
	if err := s.Store.RevokeKey(ctx, p.OrgID, keyID, now, rec); err != nil {
		return err
	}
	return s.Bump.Bump(ctx, p.OrgID)
}
