package apikey

import (
	"context"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/naming"
)

// Patch is what of a key is to be changed; what is nil stays.
type Patch struct {
	Name      *string
	Scopes    []authz.Scope
	Models    *[]string       // of nil: all that its project may use
	IPs       *[]netip.Prefix // of none: anywhere
	Limits    LimitsPatch
	ExpiresAt *time.Time // the zero time: never
}

// LimitsPatch is what of a key's limits is to be changed; what is nil stays, and
// what points to nil takes the plan's default.
type LimitsPatch struct {
	RequestsPerMinute, TokensPerMinute, ConcurrentRequests **int64
}

// act is one way to change a key.
type act struct {
	do     authz.Action
	name   string // of its audit record
	change func(*Key, Grounds) (*Replacement, map[string]any, error)
}

// on changes a key: nobody's of a peer or a superior, and in every process before
// it returns or within a second. An act that leaves the key as it is writes
// nothing, and is told all the same, for whoever asks again because the answer was
// lost.
func (s *Service) on(ctx context.Context, p authz.Principal, keyID string, a act) (k Key, err error) {
	if _, err := p.Reach(ctx, a.do); err != nil { // before anything is looked at
		return Key{}, err
	}
	now := s.Now()
	err = s.Store.ChangeKey(ctx, p.OrgID, keyID, func(have Key, g Grounds) (Change, error) {
		on := authz.Resource{OwnerID: have.OwnerID, Role: g.Owner.Role, ProjectID: have.ProjectID}
		if err := p.RequireOn(ctx, a.do, on); err != nil {
			if fault.Is(err, fault.NotFound) {
				return Change{}, ErrNoKey()
			}
			return Change{}, err
		}
		k = have
		secret, detail, err := a.change(&k, g)
		if err != nil || secret == nil && reflect.DeepEqual(have, k) {
			return Change{Key: k}, err
		}
		detail["name"], detail["project_id"], detail["owner_id"] = k.Name, k.ProjectID, k.OwnerID
		rec := audit.New(ctx, p, now, a.name, k.ID).With(detail)
		return Change{Key: k, Secret: secret, Record: &rec}, nil
	})
	if err != nil {
		return Key{}, err
	}
	return k, s.Bump.Bump(context.WithoutCancel(ctx), p.OrgID)
}

// Update changes settings of a key. What it then grants is bound like that of a
// new one.
func (s *Service) Update(ctx context.Context, p authz.Principal, keyID string, c Patch) (Key, error) {
	now := s.Now()
	return s.on(ctx, p, keyID, act{authz.DoKeysUpdate, "key.update", func(k *Key, g Grounds) (*Replacement, map[string]any, error) {
		if k.Over(now) {
			return nil, nil, errOver(*k, now)
		}
		if err := checkSecret(p); err != nil {
			return nil, nil, err
		}
		if k.ID == p.KeyID && c.loosens() {
			return nil, nil, fault.New(fault.Forbidden, "a key doesn't change its own bounds: use another one")
		}
		before := k.settings()
		if err := c.apply(p, k, g, now); err != nil {
			return nil, nil, err
		}
		after := k.settings()
		was, is, changed := map[string]any{}, map[string]any{}, []string{}
		for name := range after {
			if !reflect.DeepEqual(before[name], after[name]) {
				was[name], is[name] = before[name], after[name]
				changed = append(changed, name)
			}
		}
		slices.Sort(changed)
		return nil, map[string]any{"changed": changed, "before": was, "after": is}, nil
	}})
}

// loosens reports whether the patch is about what binds a key.
func (c Patch) loosens() bool {
	return c.Scopes != nil || c.Models != nil || c.IPs != nil || c.ExpiresAt != nil || c.Limits != LimitsPatch{}
}

func (c Patch) apply(p authz.Principal, k *Key, g Grounds, now time.Time) error {
	if c.Name != nil {
		if err := checkName(*c.Name); err != nil {
			return err
		}
		k.Name = *c.Name
	}
	if c.Scopes != nil {
		if err := checkScopes(p, g, c.Scopes, k.Scopes); err != nil {
			return err
		}
		added := slices.DeleteFunc(slices.Clone(c.Scopes), func(s authz.Scope) bool { return slices.Contains(k.Scopes, s) })
		if err := CheckAdded(g.Known, k.ID, g.Owner.subject(p.OrgID, added), now); err != nil {
			return err
		}
		k.Scopes = c.Scopes
	}
	if err := c.applyWidth(p, k, g); err != nil {
		return err
	}
	if c.ExpiresAt != nil && !c.ExpiresAt.Equal(k.ExpiresAt) {
		if !c.ExpiresAt.IsZero() && !c.ExpiresAt.After(now) {
			return fault.New(fault.Unprocessable, "the key would have expired already; to end it, revoke it").At("expires_at")
		}
		if err := checkLife(g, *c.ExpiresAt, k.CreatedAt); err != nil {
			return err
		}
		if err := outlives(p, *c.ExpiresAt); err != nil {
			return err
		}
		k.ExpiresAt = *c.ExpiresAt
	}
	return c.Limits.apply(&k.Limits)
}

func (c Patch) applyWidth(p authz.Principal, k *Key, g Grounds) error {
	if c.Models != nil {
		if err := checkModels(*c.Models); err != nil {
			return err
		}
		if err := checkModelWidth(p, g, *c.Models); err != nil {
			return err
		}
		k.Models = *c.Models
	}
	if c.IPs != nil {
		if err := checkNetworks(*c.IPs); err != nil {
			return err
		}
		if err := checkReach(p, *c.IPs); err != nil {
			return err
		}
		k.IPs = *c.IPs
		if len(k.IPs) == 0 {
			k.IPs = nil
		}
	}
	return nil
}

func (c LimitsPatch) apply(l *OwnLimits) error {
	for _, one := range []struct {
		to   **int64
		from **int64
	}{
		{&l.RequestsPerMinute, c.RequestsPerMinute}, {&l.TokensPerMinute, c.TokensPerMinute}, {&l.ConcurrentRequests, c.ConcurrentRequests},
	} {
		if one.from == nil {
			continue
		}
		if err := checkLimit(*one.from); err != nil {
			return err
		}
		*one.to = *one.from
	}
	return nil
}

// errOver says that nothing can be done with a key any more.
func errOver(k Key, now time.Time) error {
	return fault.New(fault.Conflict, "the key is %s, for good; create another", string(k.State(now)))
}

// Suspend refuses a key until it is resumed.
func (s *Service) Suspend(ctx context.Context, p authz.Principal, keyID, reason string) (Key, error) {
	if err := checkReason(reason); err != nil {
		return Key{}, err
	}
	now := s.Now()
	return s.on(ctx, p, keyID, act{authz.DoKeysSuspend, "key.suspend", func(k *Key, _ Grounds) (*Replacement, map[string]any, error) {
		if k.Over(now) {
			return nil, nil, errOver(*k, now)
		}
		if k.SuspendedAt.IsZero() {
			k.SuspendedAt = now
		}
		return nil, map[string]any{"reason": reason}, nil
	}})
}

// Resume lets a suspended key work again.
func (s *Service) Resume(ctx context.Context, p authz.Principal, keyID, reason string) (Key, error) {
	if err := checkReason(reason); err != nil {
		return Key{}, err
	}
	now := s.Now()
	return s.on(ctx, p, keyID, act{authz.DoKeysSuspend, "key.resume", func(k *Key, _ Grounds) (*Replacement, map[string]any, error) {
		if k.Over(now) {
			return nil, nil, errOver(*k, now)
		}
		k.SuspendedAt = time.Time{}
		return nil, map[string]any{"reason": reason}, nil
	}})
}

// Revoke ends a key and all its secrets for good. Revoking a revoked key is fine.
func (s *Service) Revoke(ctx context.Context, p authz.Principal, keyID, reason string) error {
	if err := checkReason(reason); err != nil {
		return err
	}
	now := s.Now()
	_, err := s.on(ctx, p, keyID, act{authz.DoKeysRevoke, "key.revoke", func(k *Key, _ Grounds) (*Replacement, map[string]any, error) {
		k.revoke(now, reason)
		return nil, map[string]any{"reason": reason, "fingerprint": k.Fingerprint}, nil
	}})
	return err
}

func (k *Key) revoke(at time.Time, reason string) {
	if k.RevokedAt.IsZero() {
		k.RevokedAt, k.RevokedReason = at, reason
	}
}

const maxReason = 500 // bytes

func checkReason(text string) error {
	if len(text) > maxReason {
		return fault.New(fault.Unprocessable, "a reason has at most %d bytes", maxReason).At("reason")
	}
	return naming.Line("reason", text, maxReason)
}
