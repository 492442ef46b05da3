package organization

import (
	"context"
	"slices"
	"strings"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/tenant"
)

// maxModels bounds each list of an entitlement: every request looks through them.
const maxModels = 1000

// Entitle sets which models an organisation may use. To its keys the others are as if
// they did not exist.
func (s *Service) Entitle(ctx context.Context, p authz.Principal, org string, e Entitlement) (Organization, error) {
	if err := p.Require(ctx, authz.DoEntitlementsWrite); err != nil {
		return Organization{}, err
	}
	e.Allowed, e.Granted = sorted(e.Allowed), sorted(e.Granted)
	if e.Granted == nil {
		e.Granted = []string{}
	}
	if err := s.checkModels(ctx, "allowed", e.Allowed); err != nil {
		return Organization{}, err
	}
	if err := s.checkModels(ctx, "granted", e.Granted); err != nil {
		return Organization{}, err
	}
	return s.change(ctx, p, org, act{action: "entitlement.change"}, func(o *Organization) error {
		o.Entitlement = e
		return nil
	})
}

// sorted is the list in order, each once; nil stays nil.
func sorted(list []string) []string {
	if list == nil {
		return nil
	}
	out := slices.Clone(list)
	slices.Sort(out)
	return slices.Compact(out)
}

// checkModels refuses what is no model: a slip of the pen would grant nothing, and
// nobody would know why.
func (s *Service) checkModels(ctx context.Context, member string, ids []string) error {
	if len(ids) > maxModels {
		return fault.New(fault.Unprocessable, "at most %d models", maxModels).At(member)
	}
	if len(ids) == 0 {
		return nil
	}
	known, err := s.Catalogue.KnownModels(ctx, ids)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if !slices.Contains(known, id) {
			return fault.New(fault.Unprocessable, "there is no model %q", clip(id)).At(member)
		}
	}
	return nil
}

func clip(s string) string {
	if len(s) > 60 {
		return strings.ToValidUTF8(s[:60], "") + "…"
	}
	return s
}

// RevokeKey revokes a key of an organisation, because it leaked or is misused.
func (s *Service) RevokeKey(ctx context.Context, p authz.Principal, org, keyID, reason string) error {
	if err := p.Require(ctx, authz.DoPlatformKeysRevoke); err != nil {
		return err
	}
	if err := checkReason(reason); err != nil {
		return err
	}
	o, err := s.Tenants.Organization(ctx, org)
	if err != nil {
		return err
	}
	if o.Kind == tenant.Platform {
		return fault.New(fault.Forbidden, "keys of the platform's own organization are revoked as its own, where nobody acts on a peer or a superior")
	}
	at := s.Now()
	err = s.Tenants.RevokeKey(ctx, Revocation{
		OrgID: org, KeyID: keyID, Reason: reason, At: at, Record: audit.New(ctx, in(org, p), at, "key.revoke", keyID),
	})
	if err != nil {
		return err
	}
	return s.Bump.Bump(context.WithoutCancel(ctx), org)
}
