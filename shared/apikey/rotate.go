package apikey

import (
	"context"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
)

// The bounds of an overlap: how long the secret before goes on to work.
const (
	DefaultOverlap = 24 * time.Hour
	MaxOverlap     = 7 * 24 * time.Hour
)

// Rotated is a key with its new secret.
type Rotated struct {
	Key    Key
	Secret Secret
}

// Rotate gives a key a new secret, for those who have what it grants. The one before
// goes on to work for the overlap, and so long only: a rotation within an overlap
// ends what was before that.
func (s *Service) Rotate(ctx context.Context, p authz.Principal, keyID string, overlap time.Duration) (Rotated, error) {
	if overlap < 0 || overlap > MaxOverlap {
		return Rotated{}, fault.New(fault.Unprocessable, "an overlap is between 0 and %d hours", int(MaxOverlap.Hours())).At("overlap")
	}
	now := s.Now()
	var secret Secret
	k, err := s.on(ctx, p, keyID, act{authz.DoKeysRotate, "key.rotate", func(k *Key, g Grounds) (*Replacement, map[string]any, error) {
		if k.Over(now) {
			return nil, nil, errOver(*k, now)
		}
		if err := checkSecret(p); err != nil {
			return nil, nil, err
		}
		if err := checkHolder(p, *k, g); err != nil {
			return nil, nil, err
		}
		before := k.Fingerprint
		secret = NewSecret(k.Environment)
		k.Fingerprint, k.SecretAt, k.RotateBy, k.Overlap = secret.Fingerprint(), now, now.Add(k.Environment.RotateAfter()), time.Time{}
		if overlap > 0 {
			k.Overlap = now.Add(overlap)
		}
		detail := map[string]any{"fingerprint": k.Fingerprint, "previous_fingerprint": before, "rotate_by": k.RotateBy}
		if overlap > 0 {
			detail["overlap_until"] = k.Overlap
		}
		return &Replacement{Hash: secret.Hash(), By: p.OwnerID, ByKey: p.KeyID, Until: k.Overlap}, detail, nil
	}})
	if err != nil {
		return Rotated{}, err
	}
	return Rotated{Key: k, Secret: secret}, nil
}

// checkHolder shows a new secret to those only who have what it grants: else a narrow
// key would be a way to a wide one. A key may always have its own.
func checkHolder(p authz.Principal, k Key, g Grounds) error {
	if p.KeyID == k.ID {
		return nil
	}
	_, exceeds := authz.Exceeding(g.Owner.subject(p.OrgID, k.Scopes), p.Subject())
	if exceeds || !p.Covers(g.Owner.effective(p.OrgID, k.Scopes)) || !p.CoversModels(k.Models) || !within(k.IPs, p.Subject().KeyIPs) {
		return fault.New(fault.Forbidden, "the key grants more than the one that asks, which would get to see its secret; rotate it with itself, or as somebody who has as much")
	}
	return nil
}
