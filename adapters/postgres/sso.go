package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/member"
	"github.com/aiaas/aiaas/shared/sso"
)

// SSO keeps domains, connections and identities of single sign-on, and sign-ins that
// are under way, in the schema accounts. All of it works under [RoleAccounts].
type SSO struct{ db *DB }

// NewSSO makes the store of single sign-on.
func NewSSO(db *DB) *SSO { return &SSO{db: db} }

var (
	_ sso.Domains     = (*SSO)(nil)
	_ sso.Connections = (*SSO)(nil)
	_ sso.Identities  = (*SSO)(nil)
	_ sso.Flows       = (*SSO)(nil)
	_ sso.Forgetter   = (*SSO)(nil)
	_ sso.Admissions  = (*SSO)(nil)
)

const selectDomains = `SELECT org_id, domain_id, name, token, created_by, created_at, verified_at, checked_at, missed
	  FROM accounts.sso_domains WHERE org_id = $1`

func scanDomain(row pgx.CollectableRow) (sso.Domain, error) {
	var d sso.Domain
	var verified, checked *time.Time
	if err := row.Scan(&d.OrgID, &d.ID, &d.Name, &d.Token, &d.CreatedBy, &d.CreatedAt, &verified, &checked, &d.Missed); err != nil {
		return d, fmt.Errorf("scan domain: %w", err)
	}
	d.CreatedAt, d.VerifiedAt, d.CheckedAt = d.CreatedAt.UTC(), moment(verified), moment(checked)
	return d, nil
}

// AddDomain implements [sso.Domains].
func (s *SSO) AddDomain(ctx context.Context, d sso.Domain, rec audit.Record) error {
	return s.db.InOrg(ctx, d.OrgID, func(tx pgx.Tx) error {
		if _, err := lockOrg(ctx, tx, d.OrgID); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO accounts.sso_domains (org_id, domain_id, name, token, created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6)`,
			d.OrgID, d.ID, d.Name, d.Token, d.CreatedBy, d.CreatedAt)
		switch {
		case sqlState(err) == stateUnique:
			return fault.New(fault.Conflict, "the organization has this domain already").At("domain")
		case err != nil:
			return fmt.Errorf("insert domain: %w", err)
		}
		err = withinRoom(ctx, tx, d.OrgID, room{
			count: `SELECT count(*) FROM accounts.sso_domains WHERE org_id = $1`, most: sso.MaxDomains, text: "an organization has at most %d domains",
		})
		if err != nil {
			return err
		}
		return writeAudit(ctx, tx, "accounts", rec)
	})
}

// ListDomains implements [sso.Domains].
func (s *SSO) ListDomains(ctx context.Context, org string) (list []sso.Domain, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, selectDomains+` ORDER BY domain_id`, org)
		if err != nil {
			return fmt.Errorf("query domains: %w", err)
		}
		list, err = pgx.CollectRows(rows, scanDomain)
		return err //nolint:wrapcheck // translated by InOrg
	})
	return list, err
}

// GetDomain implements [sso.Domains].
func (s *SSO) GetDomain(ctx context.Context, org, domainID string) (d sso.Domain, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		d, err = getDomain(ctx, tx, org, domainID)
		return err
	})
	return d, err
}

func getDomain(ctx context.Context, tx pgx.Tx, org, domainID string) (sso.Domain, error) {
	rows, err := tx.Query(ctx, selectDomains+` AND domain_id = $2`, org, domainID)
	if err != nil {
		return sso.Domain{}, fmt.Errorf("query domain: %w", err)
	}
	d, err := pgx.CollectExactlyOneRow(rows, scanDomain)
	if err != nil {
		return d, missing(err, "read domain", sso.ErrNoDomain())
	}
	return d, nil
}

// RemoveDomain implements [sso.Domains]. The sessions of who came in by it end: nobody
// vouches for him any more.
func (s *SSO) RemoveDomain(ctx context.Context, org, domainID string, rec audit.Record) error {
	return s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		d, err := getDomain(ctx, tx, org, domainID)
		if err != nil {
			return err
		}
		if err := endDomain(ctx, tx, d.Name, "its domain was removed", rec); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `DELETE FROM accounts.sso_domains WHERE org_id = $1 AND domain_id = $2`, org, domainID)
		switch {
		case err != nil:
			return fmt.Errorf("delete domain: %w", err)
		case tag.RowsAffected() == 0:
			return sso.ErrNoDomain()
		}
		return writeAudit(ctx, tx, "accounts", rec)
	})
}

const selectConnections = `
	SELECT org_id, connection_id, name, issuer, client_id, secret, domains, coalesce(default_role, ''), groups_claim, group_roles,
	       required, trust_mfa, enabled, authority, created_by, created_at, updated_at
	  FROM accounts.sso_connections WHERE org_id = $1`

func scanConnection(row pgx.CollectableRow) (sso.Connection, error) {
	var c sso.Connection
	err := row.Scan(&c.OrgID, &c.ID, &c.Name, &c.Issuer, &c.ClientID, &c.Secret, &c.Domains, &c.DefaultRole, &c.GroupsClaim, &c.GroupRoles,
		&c.Required, &c.TrustMFA, &c.Enabled, &c.Authority, &c.CreatedBy, &c.CreatedAt, &c.UpdatedAt)
	if err != nil {
		return c, fmt.Errorf("scan connection: %w", err)
	}
	c.CreatedAt, c.UpdatedAt = c.CreatedAt.UTC(), c.UpdatedAt.UTC()
	return c, nil
}

// ListConnections implements [sso.Connections].
func (s *SSO) ListConnections(ctx context.Context, org string) (list []sso.Connection, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, selectConnections+` ORDER BY connection_id`, org)
		if err != nil {
			return fmt.Errorf("query connections: %w", err)
		}
		list, err = pgx.CollectRows(rows, scanConnection)
		return err //nolint:wrapcheck // translated by InOrg
	})
	return list, err
}

// GetConnection implements [sso.Connections].
func (s *SSO) GetConnection(ctx context.Context, org, connectionID string) (c sso.Connection, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		c, err = getConnection(ctx, tx, org, connectionID)
		return err
	})
	return c, err
}

func getConnection(ctx context.Context, tx pgx.Tx, org, connectionID string) (sso.Connection, error) {
	rows, err := tx.Query(ctx, selectConnections+` AND connection_id = $2`, org, connectionID)
	if err != nil {
		return sso.Connection{}, fmt.Errorf("query connection: %w", err)
	}
	c, err := pgx.CollectExactlyOneRow(rows, scanConnection)
	if err != nil {
		return c, missing(err, "read connection", sso.ErrNoConnection())
	}
	return c, nil
}

// circumstances reads what a change of a connection is decided on, under the lock of
// the organisation.
func circumstances(ctx context.Context, tx pgx.Tx, org, connectionID string) (now sso.Circumstances, err error) {
	a, err := lockOrg(ctx, tx, org)
	if err != nil {
		return now, err
	}
	if now.Standing, err = standing(ctx, tx, a, member.Member{OrgID: org, Kind: member.Person}); err != nil {
		return now, err
	}
	if now.Verified, err = verifiedDomains(ctx, tx, org); err != nil {
		return now, err
	}
	err = tx.QueryRow(ctx, `SELECT count(*) FROM accounts.sso_connections WHERE org_id = $1 AND connection_id <> $2`, org, connectionID).Scan(&now.Others)
	if err != nil {
		return now, fmt.Errorf("count connections: %w", err)
	}
	return now, nil
}

func verifiedDomains(ctx context.Context, tx pgx.Tx, org string) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT name FROM accounts.sso_domains WHERE org_id = $1 AND verified_at IS NOT NULL ORDER BY name`, org)
	if err != nil {
		return nil, fmt.Errorf("query domains: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read domains: %w", err)
	}
	return names, nil
}

// CreateConnection implements [sso.Connections].
func (s *SSO) CreateConnection(ctx context.Context, c sso.Connection, check func(sso.Circumstances) (audit.Record, error)) error {
	return s.db.InOrg(ctx, c.OrgID, func(tx pgx.Tx) error {
		now, err := circumstances(ctx, tx, c.OrgID, c.ID)
		if err != nil {
			return err
		}
		if now.Others >= sso.MaxConnections {
			return fault.New(fault.Conflict, "an organization has at most %d connections", sso.MaxConnections).With("limit", sso.MaxConnections)
		}
		rec, err := check(now)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			INSERT INTO accounts.sso_connections (org_id, connection_id, name, issuer, client_id, secret, domains, default_role, groups_claim, group_roles,
			  required, trust_mfa, enabled, authority, created_by, created_at, updated_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, nullif($8, ''), $9, $10, $11, $12, $13, $14, $15, $16, $16)`,
			c.OrgID, c.ID, c.Name, c.Issuer, c.ClientID, c.Secret, c.Domains, c.DefaultRole, c.GroupsClaim, c.GroupRoles,
			c.Required, c.TrustMFA, c.Enabled, c.Authority, c.CreatedBy, c.CreatedAt)
		if err != nil {
			return fmt.Errorf("insert connection: %w", err)
		}
		if err := endBound(ctx, tx, rec); err != nil {
			return err
		}
		return writeAudit(ctx, tx, "accounts", rec)
	})
}

// ChangeConnection implements [sso.Connections].
func (s *SSO) ChangeConnection(ctx context.Context, org, connectionID string, edit func(sso.Circumstances, sso.Connection) (sso.Connection, audit.Record, error)) (changed sso.Connection, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		now, err := circumstances(ctx, tx, org, connectionID)
		if err != nil {
			return err
		}
		before, err := getConnection(ctx, tx, org, connectionID)
		if err != nil {
			return err
		}
		c, rec, err := edit(now, before)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			UPDATE accounts.sso_connections SET name = $3, secret = $4, domains = $5, default_role = nullif($6, ''), groups_claim = $7, group_roles = $8,
			       required = $9, trust_mfa = $10, enabled = $11, authority = $12, updated_at = $13
			 WHERE org_id = $1 AND connection_id = $2`,
			org, connectionID, c.Name, c.Secret, c.Domains, c.DefaultRole, c.GroupsClaim, c.GroupRoles,
			c.Required, c.TrustMFA, c.Enabled, c.Authority, c.UpdatedAt)
		if err != nil {
			return fmt.Errorf("update connection: %w", err)
		}
		changed = c
		if err := endRefused(ctx, tx, c, rec); err != nil {
			return err
		}
		return writeAudit(ctx, tx, "accounts", rec)
	})
	return changed, err
}

// DeleteConnection implements [sso.Connections].
func (s *SSO) DeleteConnection(ctx context.Context, org, connectionID string, rec func(sso.Connection) audit.Record) error {
	return s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		if _, err := lockOrg(ctx, tx, org); err != nil {
			return err
		}
		c, err := getConnection(ctx, tx, org, connectionID)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM accounts.sso_connections WHERE org_id = $1 AND connection_id = $2`, org, connectionID); err != nil {
			return fmt.Errorf("delete connection: %w", err)
		}
		cause := rec(c)
		if err := endConnection(ctx, tx, connectionID, cause); err != nil {
			return err
		}
		return writeAudit(ctx, tx, "accounts", cause)
	})
}

// endConnection ends the sessions that a connection has let in.
func endConnection(ctx context.Context, tx pgx.Tx, connectionID string, cause audit.Record) error {
	return endFor(ctx, tx, ending{cause: cause, reason: "its single sign-on was taken away", where: `connection = $4`, is: connectionID})
}

const selectIdentities = `
	SELECT i.org_id, i.identity_id, i.connection_id, i.subject, i.user_id, coalesce(u.email, ''), i.given_role, i.created_at, i.seen_at
	  FROM accounts.sso_identities i LEFT JOIN accounts.users u ON u.user_id = i.user_id WHERE i.org_id = $1`

func scanIdentity(row pgx.CollectableRow) (sso.Identity, error) {
	var i sso.Identity
	if err := row.Scan(&i.OrgID, &i.ID, &i.ConnectionID, &i.Subject, &i.UserID, &i.Email, &i.GivenRole, &i.CreatedAt, &i.SeenAt); err != nil {
		return i, fmt.Errorf("scan identity: %w", err)
	}
	i.CreatedAt, i.SeenAt = i.CreatedAt.UTC(), i.SeenAt.UTC()
	return i, nil
}

// ListIdentities implements [sso.Identities].
func (s *SSO) ListIdentities(ctx context.Context, org, after string, limit int) (list []sso.Identity, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, selectIdentities+` AND i.identity_id > $2 ORDER BY i.identity_id LIMIT $3`, org, after, limit)
		if err != nil {
			return fmt.Errorf("query identities: %w", err)
		}
		list, err = pgx.CollectRows(rows, scanIdentity)
		return err //nolint:wrapcheck // translated by InOrg
	})
	return list, err
}

// Unlink implements [sso.Identities].
func (s *SSO) Unlink(ctx context.Context, org, identityID string, check func(sso.Identity, *member.Member) (audit.Record, error)) error {
	return s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		if _, err := lockOrg(ctx, tx, org); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, selectIdentities+` AND i.identity_id = $2`, org, identityID)
		if err != nil {
			return fmt.Errorf("query identity: %w", err)
		}
		i, err := pgx.CollectExactlyOneRow(rows, scanIdentity)
		if err != nil {
			return missing(err, "read identity", sso.ErrNoIdentity())
		}
		var holder *member.Member
		switch m, err := getMember(ctx, tx, member.Ref{OrgID: org, Kind: member.Person, ID: i.UserID}); {
		case err == nil:
			holder = &m
		case !fault.Is(err, fault.NotFound):
			return err
		}
		rec, err := check(i, holder)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM accounts.sso_identities WHERE org_id = $1 AND identity_id = $2`, org, identityID); err != nil {
			return fmt.Errorf("delete identity: %w", err)
		}
		err = endFor(ctx, tx, ending{
			cause: rec, reason: "its identity was unlinked", where: `ARRAY[connection, holder_id] = $4`, is: []string{i.ConnectionID, i.UserID},
		})
		if err != nil {
			return err
		}
		return writeAudit(ctx, tx, "accounts", rec)
	})
}
