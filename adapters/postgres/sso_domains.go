package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/sso"
)

var _ sso.Watched = (*SSO)(nil)

// Holder implements [sso.Domains].
func (s *SSO) Holder(ctx context.Context, name string) (*sso.Holder, error) {
	h := sso.Holder{Domain: sso.Domain{Name: name}}
	err := s.db.Do(ctx, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `SELECT org_id, domain_id, token, closed FROM accounts.sso_domain_holder($1)`, name).
			Scan(&h.Domain.OrgID, &h.Domain.ID, &h.Domain.Token, &h.Closed)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("find holder of domain: %w", err)
		}
		return nil
	})
	if err != nil || h.Domain.OrgID == "" {
		return nil, err
	}
	return &h, nil
}

// VerifyDomain implements [sso.Domains]. A domain moves in one transaction: it is
// nobody's at no time, and nobody else's.
func (s *SSO) VerifyDomain(ctx context.Context, org, domainID string, rec audit.Record, from *sso.Loss) (d sso.Domain, err error) {
	err = s.db.Do(ctx, func(tx pgx.Tx) error {
		if from != nil {
			if err := loseDomain(ctx, tx, from.Domain, from.Record); err != nil {
				return err
			}
		}
		if err := nameOrg(ctx, tx, org); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `
			UPDATE accounts.sso_domains SET verified_at = $3, checked_at = $3, missed = 0 WHERE org_id = $1 AND domain_id = $2 AND verified_at IS NULL`,
			org, domainID, rec.At)
		switch {
		case sqlState(err) == stateUnique:
			return sso.ErrTaken()
		case err != nil:
			return fmt.Errorf("verify domain: %w", err)
		}
		if d, err = getDomain(ctx, tx, org, domainID); err != nil || tag.RowsAffected() == 0 { // somebody was faster
			return err
		}
		if err := endBound(ctx, tx, rec); err != nil {
			return err
		}
		return writeAudit(ctx, tx, "accounts", rec)
	})
	return d, err
}

// loseDomain ends a domain's being verified, where its record is still the one that was
// missed.
func loseDomain(ctx context.Context, tx pgx.Tx, d sso.Domain, rec audit.Record) error {
	if err := nameOrg(ctx, tx, d.OrgID); err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, `
		UPDATE accounts.sso_domains SET verified_at = NULL, checked_at = $4, missed = 0
		 WHERE org_id = $1 AND domain_id = $2 AND token = $3 AND verified_at IS NOT NULL`, d.OrgID, d.ID, d.Token, rec.At)
	if err != nil {
		return fmt.Errorf("lose domain: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return nil
	}
	if err := endDomain(ctx, tx, d.Name, "its domain is not the organization's any more", rec); err != nil {
		return err
	}
	return writeAudit(ctx, tx, "accounts", rec)
}

// Due implements [sso.Watched].
func (s *SSO) Due(ctx context.Context, before time.Time, after string, limit int) (list []sso.Domain, err error) {
	err = s.db.Do(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			SELECT org_id, domain_id, name, token, '', verified_at, verified_at, checked_at, missed FROM accounts.due_sso_domains($1, $2, $3)`,
			before, after, limit)
		if err != nil {
			return fmt.Errorf("query domains to look at: %w", err)
		}
		list, err = pgx.CollectRows(rows, scanDomain)
		return err //nolint:wrapcheck // translated by Do
	})
	return list, err
}

// Checked implements [sso.Watched].
func (s *SSO) Checked(ctx context.Context, d sso.Domain, missed int, at time.Time, lose *audit.Record) (done bool, err error) {
	err = s.db.InOrg(ctx, d.OrgID, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			UPDATE accounts.sso_domains SET checked_at = $4, missed = $5
			 WHERE org_id = $1 AND domain_id = $2 AND verified_at IS NOT NULL AND checked_at IS NOT DISTINCT FROM $3`,
			d.OrgID, d.ID, instantOrNull(d.CheckedAt), at, missed)
		if err != nil {
			return fmt.Errorf("note look at domain: %w", err)
		}
		if done = tag.RowsAffected() > 0; !done || lose == nil {
			return nil
		}
		return loseDomain(ctx, tx, d, *lose)
	})
	return done, err
}

func instantOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// endDomain ends the sessions of who came in by single sign-on with an address of a
// domain.
func endDomain(ctx context.Context, tx pgx.Tx, name, reason string, cause audit.Record) error {
	return endFor(ctx, tx, ending{
		cause: cause, reason: reason, is: name,
		where: `connection <> '' AND holder_id IN (SELECT user_id FROM accounts.users WHERE split_part(email, '@', 2) = $4)`,
	})
}

// peopleServed are the people and the connections of an organisation that serve them.
const peopleServed = `accounts.members m
			  JOIN accounts.users u ON u.user_id = m.user_id
			  JOIN accounts.sso_domains d ON d.org_id = m.org_id AND d.verified_at IS NOT NULL AND d.name = split_part(u.email, '@', 2)
			  JOIN accounts.sso_connections c ON c.org_id = m.org_id AND c.enabled AND (c.domains = '{}' OR d.name = ANY (c.domains))`

// boundTo is the condition under which somebody may come in by single sign-on only.
const boundTo = `c.required AND m.role NOT IN ('owner', 'system_administrator')`

// endBound ends the sessions that began by other means than single sign-on, of who may
// not begin one so any more.
func endBound(ctx context.Context, tx pgx.Tx, cause audit.Record) error {
	return endFor(ctx, tx, ending{
		cause: cause, reason: "the organization demands its single sign-on", is: cause.OrgID,
		where: `means <> 'sso' AND holder_id IN (SELECT m.user_id FROM ` + peopleServed + ` WHERE m.org_id = $4 AND ` + boundTo + `)`,
	})
}

// endRefused ends the sessions that would not begin any more as a connection is now.
func endRefused(ctx context.Context, tx pgx.Tx, c sso.Connection, cause audit.Record) error {
	if !c.Enabled {
		return endConnection(ctx, tx, c.ID, cause)
	}
	err := endFor(ctx, tx, ending{
		cause: cause, reason: "its single sign-on does not serve the domain any more", is: c.ID,
		where: `connection = $4 AND holder_id NOT IN (SELECT m.user_id FROM ` + peopleServed + ` WHERE c.connection_id = $4)`,
	})
	if err != nil {
		return err
	}
	return endBound(ctx, tx, cause)
}
