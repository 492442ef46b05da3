package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/member"
	"github.com/aiaas/aiaas/shared/project"
	"github.com/aiaas/aiaas/shared/tenant"
)

// Asked implements [member.Directory].
func (s *Members) Asked(ctx context.Context, org string, r member.SubjectRef, at time.Time) (member.Asked, error) {
	var a member.Asked
	err := s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		owner := r.MemberID + r.ServiceAccountID
		if r.APIKeyID != "" {
			var err error
			if owner, err = askedKey(ctx, tx, ref{org, r.APIKeyID}, at, &a); err != nil {
				return err
			}
		}
		if err := askedOwner(ctx, tx, member.Ref{OrgID: org, Kind: kindAsked(r, owner), ID: owner}, &a); err != nil {
			return err
		}
		return s.askedOrg(ctx, tx, org, at, &a)
	})
	return a, err
}

// kindAsked is the kind that was asked for: a program is no member.
func kindAsked(r member.SubjectRef, owner string) member.Kind {
	switch {
	case r.MemberID != "":
		return member.Person
	case r.ServiceAccountID != "":
		return member.Program
	}
	return member.KindOf(owner)
}

func askedKey(ctx context.Context, tx pgx.Tx, k ref, at time.Time, a *member.Asked) (owner string, err error) {
	var scopes, ips []string
	var revoked, suspended, expired, archived bool
	err = tx.QueryRow(ctx, `
		SELECT k.owner_id, k.scopes, k.ip_allow::text[], k.revoked_at IS NOT NULL, k.suspended_at IS NOT NULL,
		       coalesce(k.expires_at <= $3, false), p.archived_at IS NOT NULL
		  FROM accounts.api_keys k JOIN accounts.projects p ON p.org_id = k.org_id AND p.project_id = k.project_id
		 WHERE k.org_id = $1 AND k.key_id = $2`, k.org, k.id, at).Scan(&owner, &scopes, &ips, &revoked, &suspended, &expired, &archived)
	if err != nil {
		return "", missing(err, "read key", fault.New(fault.NotFound, "there is no such API key"))
	}
	a.Subject.Method, a.Subject.Scopes = authz.ByKey, toScopes(scopes)
	switch {
	case revoked:
		a.Inactive = "the key is revoked"
	case suspended:
		a.Inactive = "the key is suspended"
	case expired:
		a.Inactive = "the key has expired"
	case archived:
		a.Inactive = "the key's project is archived"
	}
	a.Subject.KeyIPs, err = toNetworks(ips)
	return owner, err
}

func askedOwner(ctx context.Context, tx pgx.Tx, r member.Ref, a *member.Asked) error {
	m, err := getMember(ctx, tx, r)
	switch {
	case fault.Is(err, fault.NotFound) && a.Inactive != "": // a key that outlived its owner is of nobody any more
		return nil
	case err != nil:
		return err
	}
	a.Subject.OrgID, a.Subject.OwnerID, a.Subject.Role, a.Subject.Projects = r.OrgID, m.ID, member.RoleOf(m.Role), m.Projects
	if a.Subject.Method == "" {
		a.Subject.Method = authz.BySession
	}
	if m.Status != member.Active {
		a.Inactive = "the member is suspended"
		if r.Kind == member.Program {
			a.Inactive = "the service account is suspended"
		}
	}
	if a.Subject.Role != authz.Custom {
		return nil
	}
	var permissions []string
	err = tx.QueryRow(ctx, `SELECT permissions, reach FROM accounts.roles WHERE org_id = $1 AND role_id = $2`, r.OrgID, m.Role).
		Scan(&permissions, &a.Subject.Custom.Reach)
	if err != nil {
		return fmt.Errorf("read role: %w", err)
	}
	a.Subject.Custom.Permissions = toActions(permissions)
	return nil
}

func (s *Members) askedOrg(ctx context.Context, tx pgx.Tx, org string, at time.Time, a *member.Asked) error {
	var status tenant.Status
	var zone string
	var settings []byte
	var over bool
	err := tx.QueryRow(ctx, `
		SELECT status, time_zone, settings, status = 'trial' AND coalesce(trial_ends_at <= $2, false) FROM accounts.organizations WHERE org_id = $1`, org, at).
		Scan(&status, &zone, &settings, &over)
	if err != nil {
		return fmt.Errorf("read organisation: %w", err)
	}
	switch {
	case !status.Serves():
		a.Inactive = "the organization is " + string(status)
	case over:
		a.Inactive = "the organization's trial is over"
	}
	if a.Zone, err = s.zones.load(zone); err != nil {
		return err
	}
	set, err := toSettings(settings)
	if err != nil {
		return err
	}
	a.Restrictions, err = set.Restrictions()
	return err
}

// Card implements [member.Directory].
func (s *Members) Card(ctx context.Context, org, ownerID string) (member.Card, error) {
	c := member.Card{OrgID: org}
	err := s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		m, err := getMember(ctx, tx, member.Ref{OrgID: org, Kind: member.KindOf(ownerID), ID: ownerID})
		if err != nil {
			return err
		}
		c.Name, c.Email, c.RoleID = m.Name, m.Email, m.Role
		err = tx.QueryRow(ctx, `
			SELECT o.name, o.slug, o.kind = 'platform', o.status, coalesce(r.name, $2)
			  FROM accounts.organizations o LEFT JOIN accounts.roles r ON r.org_id = o.org_id AND r.role_id = $2
			 WHERE o.org_id = $1`, org, m.Role).Scan(&c.OrgName, &c.Slug, &c.Platform, &c.Status, &c.RoleName)
		if err != nil {
			return fmt.Errorf("read organisation: %w", err)
		}
		rows, err := tx.Query(ctx, `
			SELECT p.project_id, p.name, x.role, p.archived_at IS NOT NULL
			  FROM accounts.project_members x JOIN accounts.projects p ON p.org_id = x.org_id AND p.project_id = x.project_id
			 WHERE x.org_id = $1 AND x.member_id = $2 ORDER BY p.project_id`, org, ownerID)
		if err != nil {
			return fmt.Errorf("query projects: %w", err)
		}
		c.Projects, err = pgx.CollectRows(rows, pgx.RowToStructByPos[member.Place])
		return err //nolint:wrapcheck // translated by InOrg
	})
	return c, err
}

// RoleOf implements [member.Directory].
func (s *Members) RoleOf(ctx context.Context, org, memberID string) (string, error) {
	m, err := s.Get(ctx, member.Ref{OrgID: org, Kind: member.KindOf(memberID), ID: memberID})
	return m.Role, err
}

// CheckProject implements [member.Directory].
func (s *Members) CheckProject(ctx context.Context, org, projectID string) error {
	return s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		var known bool
		err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM accounts.projects WHERE org_id = $1 AND project_id = $2)`, org, projectID).Scan(&known)
		switch {
		case err != nil:
			return fmt.Errorf("look up project: %w", err)
		case !known:
			return project.ErrNone()
		}
		return nil
	})
}
