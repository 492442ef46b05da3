package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/member"
	"github.com/aiaas/aiaas/shared/sso"
)

// Find implements [sso.Flows].
func (s *SSO) Find(ctx context.Context, domain string) (org, connectionID string, err error) {
	err = s.db.Do(ctx, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `SELECT org_id, connection_id FROM accounts.find_sso($1)`, domain).Scan(&org, &connectionID)
		if err != nil {
			return missing(err, "find connection", fault.New(fault.NotFound, "nobody with an address of this domain signs in by single sign-on").At("email"))
		}
		return nil
	})
	return org, connectionID, err
}

// Connection implements [sso.Flows].
func (s *SSO) Connection(ctx context.Context, org, connectionID string) (c sso.Connection, verified []string, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		if c, err = getConnection(ctx, tx, org, connectionID); err != nil {
			return err
		}
		verified, err = verifiedDomains(ctx, tx, org)
		return err
	})
	return c, verified, err
}

// Put implements [sso.Flows].
func (s *SSO) Put(ctx context.Context, st sso.State) error {
	return s.db.InOrg(ctx, st.OrgID, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO accounts.sso_states (org_id, state_hash, browser_hash, connection_id, session_id, return_to, created_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			st.OrgID, st.StateHash, st.BrowserHash, st.ConnectionID, st.SessionID, st.ReturnTo, st.CreatedAt, st.ExpiresAt)
		if err != nil {
			return fmt.Errorf("insert sign-in: %w", err)
		}
		return nil
	})
}

// Forget implements [sso.Forgetter].
func (s *SSO) Forget(ctx context.Context, before time.Time, limit int) (n int, err error) {
	err = s.db.Do(ctx, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, `SELECT accounts.prune_sso_states($1, $2)`, before, limit).Scan(&n); err != nil {
			return fmt.Errorf("forget sign-ins: %w", err)
		}
		return nil
	})
	return n, err
}

// Take implements [sso.Flows].
func (s *SSO) Take(ctx context.Context, stateHash, browserHash []byte) (st sso.State, err error) {
	st.StateHash, st.BrowserHash = stateHash, browserHash
	err = s.db.Do(ctx, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `SELECT org_id, connection_id, session_id, return_to, created_at, expires_at FROM accounts.take_sso_state($1, $2)`,
			stateHash, browserHash).Scan(&st.OrgID, &st.ConnectionID, &st.SessionID, &st.ReturnTo, &st.CreatedAt, &st.ExpiresAt)
		if err != nil {
			return missing(err, "take sign-in", fault.New(fault.NotFound, "there is no such sign-in"))
		}
		return nil
	})
	st.CreatedAt, st.ExpiresAt = st.CreatedAt.UTC(), st.ExpiresAt.UTC()
	return st, err
}

// SessionOf implements [sso.Flows].
func (s *SSO) SessionOf(ctx context.Context, org, sessionID string) (connectionID, userID string, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `SELECT connection, holder_id FROM accounts.sessions WHERE org_id = $1 AND session_id = $2 AND ended_at IS NULL`,
			org, sessionID).Scan(&connectionID, &userID)
		if err != nil {
			return missing(err, "read session", fault.New(fault.NotFound, "there is no such session"))
		}
		return nil
	})
	return connectionID, userID, err
}

// Refused implements [sso.Flows].
func (s *SSO) Refused(ctx context.Context, rec audit.Record) error {
	return s.db.InOrg(ctx, rec.OrgID, func(tx pgx.Tx) error { return writeAudit(ctx, tx, "accounts", rec) })
}

// Linked implements [sso.Admissions].
func (s *SSO) Linked(ctx context.Context, org, connectionID, subject string) (userID string, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `SELECT user_id FROM accounts.sso_identities WHERE org_id = $1 AND connection_id = $2 AND subject = $3`,
			org, connectionID, subject).Scan(&userID)
		if err != nil {
			return missing(err, "read identity", sso.ErrNoIdentity())
		}
		return nil
	})
	return userID, err
}

// Vouched implements [sso.Admissions].
func (s *SSO) Vouched(ctx context.Context, org, connectionID, userID string) (now sso.Before, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		if now.Connection, err = getConnection(ctx, tx, org, connectionID); err != nil {
			return err
		}
		if now.Verified, err = verifiedDomains(ctx, tx, org); err != nil {
			return err
		}
		if now.Standing.Member, err = getMember(ctx, tx, member.Ref{OrgID: org, Kind: member.Person, ID: userID}); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, selectIdentities+` AND i.connection_id = $2 AND i.user_id = $3`, org, connectionID, userID)
		if err != nil {
			return fmt.Errorf("query identity: %w", err)
		}
		known, err := pgx.CollectRows(rows, scanIdentity)
		if err != nil {
			return fmt.Errorf("read identity: %w", err)
		}
		if now.UserID = userID; len(known) > 0 {
			now.Identity = &known[0]
		}
		return nil
	})
	return now, err
}

// Serves implements [sso.Admissions].
func (s *SSO) Serves(ctx context.Context, org, userID string) (serves bool, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `
			SELECT EXISTS (SELECT FROM `+peopleServed+` WHERE m.org_id = $1 AND m.user_id = $2 AND `+boundTo+`)`, org, userID).Scan(&serves)
		if err != nil {
			return fmt.Errorf("ask for required sign-on: %w", err)
		}
		return nil
	})
	return serves, err
}

// Admit implements [sso.Admissions].
func (s *SSO) Admit(ctx context.Context, a sso.Arrival, decide func(sso.Before) (sso.Admission, error)) (adm sso.Admission, err error) {
	var refused error
	err = s.db.InOrg(ctx, a.OrgID, func(tx pgx.Tx) error {
		now, plan, err := arrival(ctx, tx, a)
		if err != nil {
			return err
		}
		if adm, refused = decide(now); refused != nil {
			return errRefused
		}
		if err := admitMember(ctx, tx, plan, now, adm); err != nil {
			return err
		}
		if err := keepIdentity(ctx, tx, a, now, adm); err != nil {
			return err
		}
		for _, rec := range adm.Records {
			if err := writeAudit(ctx, tx, "accounts", rec); err != nil {
				return err
			}
		}
		return nil
	})
	if refused != nil {
		return sso.Admission{}, refused
	}
	return adm, err
}

// errRefused takes back what was done on the way.
var errRefused = errors.New("refused")

// arrival reads what is known of somebody who arrives, under the lock of the
// organisation.
func arrival(ctx context.Context, tx pgx.Tx, a sso.Arrival) (now sso.Before, plan allowance, err error) {
	if plan, err = lockOrg(ctx, tx, a.OrgID); err != nil {
		return now, plan, err
	}
	if now.Connection, err = getConnection(ctx, tx, a.OrgID, a.ConnectionID); err != nil {
		return now, plan, err
	}
	if now.Verified, err = verifiedDomains(ctx, tx, a.OrgID); err != nil {
		return now, plan, err
	}
	if err := identify(ctx, tx, a, &now); err != nil {
		return now, plan, err
	}
	m, err := getMember(ctx, tx, member.Ref{OrgID: a.OrgID, Kind: member.Person, ID: now.UserID})
	switch {
	case fault.Is(err, fault.NotFound):
		m = member.Member{OrgID: a.OrgID, Kind: member.Person}
	case err != nil:
		return now, plan, err
	}
	if now.Standing, err = standing(ctx, tx, plan, m); err != nil {
		return now, plan, err
	}
	if m.ID != "" {
		if err := readScopes(ctx, tx, &now.Standing); err != nil {
			return now, plan, err
		}
		if now.Standing.Known, err = knownSecrets(ctx, tx, a.OrgID, m.ID); err != nil {
			return now, plan, err
		}
	}
	err = tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM accounts.departures WHERE org_id = $1 AND user_id = $2),
		       EXISTS (SELECT FROM accounts.sso_identities WHERE org_id = $1 AND connection_id = $3 AND user_id = $2 AND subject <> $4)`,
		a.OrgID, now.UserID, a.ConnectionID, a.Claims.Subject).Scan(&now.Departed, &now.Other)
	if err != nil {
		return now, plan, fmt.Errorf("read departures: %w", err)
	}
	return now, plan, nil
}

// identify finds the person: by the identity, else by the address, for which there is
// somebody from now on.
func identify(ctx context.Context, tx pgx.Tx, a sso.Arrival, now *sso.Before) error {
	rows, err := tx.Query(ctx, selectIdentities+` AND i.connection_id = $2 AND i.subject = $3`, a.OrgID, a.ConnectionID, a.Claims.Subject)
	if err != nil {
		return fmt.Errorf("query identity: %w", err)
	}
	known, err := pgx.CollectRows(rows, scanIdentity)
	if err != nil {
		return fmt.Errorf("read identity: %w", err)
	}
	if len(known) > 0 {
		now.Identity, now.UserID = &known[0], known[0].UserID
		return nil
	}
	if err := tx.QueryRow(ctx, `SELECT accounts.ensure_user($1, $2, $3)`, id.New(id.User), a.Claims.Email, a.At).Scan(&now.UserID); err != nil {
		return fmt.Errorf("find person: %w", err)
	}
	return nil
}

func admitMember(ctx context.Context, tx pgx.Tx, plan allowance, now sso.Before, adm sso.Admission) error {
	before := now.Standing.Member
	switch {
	case before.ID == "":
		return insertMember(ctx, tx, plan, adm.Member)
	case before.Role != adm.Member.Role:
		return updateMember(ctx, tx, adm.Member, adm.Records[len(adm.Records)-1].At)
	}
	return nil
}

func keepIdentity(ctx context.Context, tx pgx.Tx, a sso.Arrival, now sso.Before, adm sso.Admission) error {
	var err error
	if now.Identity != nil {
		_, err = tx.Exec(ctx, `UPDATE accounts.sso_identities SET given_role = $3, seen_at = $4 WHERE org_id = $1 AND identity_id = $2`,
			a.OrgID, now.Identity.ID, adm.GivenRole, a.At)
	} else {
		_, err = tx.Exec(ctx, `
			INSERT INTO accounts.sso_identities (org_id, identity_id, connection_id, subject, user_id, given_role, created_at, seen_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $7)`,
			a.OrgID, id.New(id.Identity), a.ConnectionID, a.Claims.Subject, now.UserID, adm.GivenRole, a.At)
	}
	if err != nil {
		return fmt.Errorf("keep identity: %w", err)
	}
	return nil
}
