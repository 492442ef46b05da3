package member

import (
	"context"
	"slices"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
)

// Removed says what became of the keys of one who was removed.
type Removed struct {
	Keys          int    // that were not revoked
	TransferredTo string // who has them now; "": they are revoked
}

// Remove ends a membership, or deletes a service account. Its keys are revoked, or
// given to an heir who can do no more with them: whoever knew their secrets still
// does. From the answer on all of that holds, everywhere within a second.
func (s *Service) Remove(ctx context.Context, p authz.Principal, r Ref, heirID string) (Removed, error) {
	if err := p.Require(ctx, r.Kind.write()); err != nil {
		return Removed{}, err
	}
	if heirID != "" {
		if err := p.Require(ctx, authz.DoKeysUpdate); err != nil {
			return Removed{}, err
		}
	}
	keys, err := s.Store.Remove(ctx, r, heirID, func(st Standing) (Removal, error) {
		if err := mayActOn(ctx, p, st.Member); err != nil {
			return Removal{}, err
		}
		if err := st.LeavesATop(Member{}); err != nil {
			return Removal{}, err
		}
		if heirID != "" {
			if err := st.checkHeir(ctx); err != nil {
				return Removal{}, err
			}
		}
		return s.removal(ctx, p, st), nil
	})
	if err != nil {
		return Removed{}, err
	}
	return Removed{Keys: keys, TransferredTo: heirID}, s.bump(ctx, p)
}

func (s *Service) removal(ctx context.Context, p authz.Principal, st Standing) Removal {
	now, m := s.Now(), st.Member
	action := m.Kind.action("member.remove", "service_account.delete")
	became, keyAction := "revoked", "key.revoke"
	detail := map[string]any{"role": m.Role, "email": m.Email, "name": m.Name}
	if st.Heir != nil {
		became, keyAction = "transferred", "key.transfer"
		detail["transferred_to"] = st.Heir.ID
	}
	return Removal{
		At: now,
		Record: func(keys int) audit.Record {
			detail["keys"], detail["key_count"] = became, keys
			return audit.New(ctx, p, now, action, m.ID).With(detail)
		},
		Key: func(keyID, name, projectID string) audit.Record {
			d := map[string]any{"name": name, "project_id": projectID, "owner_id": m.ID, "reason": "its owner was removed"}
			if st.Heir != nil {
				d["before"], d["owner_id"] = m.ID, st.Heir.ID
			}
			return audit.New(ctx, p, now, keyAction, keyID).With(d)
		},
	}
}

// checkHeir refuses one who could do more with the keys than their owner could.
func (st *Standing) checkHeir(ctx context.Context) error {
	heir := st.Heir
	switch {
	case heir == nil:
		return fault.New(fault.NotFound, "there is nobody of that id who could have the keys").At("keys")
	case heir.ID == st.Member.ID:
		return fault.New(fault.Unprocessable, "the keys can't go to the one who is removed").At("keys")
	case heir.Status != Active:
		return fault.New(fault.Conflict, "who is to have the keys is suspended").At("keys")
	}
	before, after := st.subject(st.Member), st.subject(*heir)
	for _, a := range authz.Actions() {
		had, err := authz.Grants{}.Decide(ctx, authz.Query{Subject: before, Action: a})
		if err != nil {
			return err
		}
		has, err := authz.Grants{}.Decide(ctx, authz.Query{Subject: after, Action: a})
		if err != nil {
			return err
		}
		if slices.Contains(st.Scopes, has.Scope) && further(has, had) {
			return fault.New(fault.Conflict,
				"with these keys %s could do more than their owner could (%s): whoever knows them could too; name one with no more rights, or have them revoked", heir.ID, string(a)).
				At("keys").With("permission", string(a))
		}
	}
	return nil
}

func (st *Standing) subject(m Member) authz.Subject {
	return authz.Subject{
		OrgID: m.OrgID, OwnerID: m.ID, Role: RoleOf(m.Role), Custom: st.Roles[m.Role], Scopes: st.Scopes, Projects: m.Projects, Method: authz.ByKey,
	}
}

// further tells whether one decision reaches beyond another. What is one's own is as
// far for both, save that the heir's usage is none of whoever knows the secret, and
// that by keys one gets at the secrets of one's other keys.
func further(has, had authz.Decision) bool {
	a, b := has.Reach, had.Reach
	if b.All {
		return false
	}
	beyond := func(project string) bool { return !slices.Contains(b.Projects, project) }
	others := []authz.Scope{authz.KeysWrite, authz.UsageRead, authz.AnalyticsRead}
	own := a.OwnerID != "" && (b.OwnerID == "" || slices.Contains(others, has.Scope))
	return a.All || own || slices.ContainsFunc(a.Projects, beyond)
}
