package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/member"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/shared/tenant"
)

// Sessions keeps sessions in the schema accounts. They are found under [RoleGateway],
// and changed under [RoleIdentity].
type Sessions struct {
	db    *DB
	zones zones
}

// NewSessions makes the store of sessions.
func NewSessions(db *DB) *Sessions { return &Sessions{db: db} }

var (
	_ session.Store  = (*Sessions)(nil)
	_ session.Finder = (*Sessions)(nil)
)

// FindSession implements [session.Finder], in one statement.
func (s *Sessions) FindSession(ctx context.Context, n session.Name) (*session.Record, error) {
	var r session.Record
	var scopes, permissions, projects, projectRoles []string
	var trialEnds *time.Time
	var settings []byte
	var zone string
	err := s.db.pool.QueryRow(ctx, `
		SELECT session_id, org_id, holder_id, kind, means, connection, client, scopes, mfa, proved_at, address, user_agent, created_at, seen_at,
		       expires_at, ended, holder_active, role, permissions, coalesce(role_reach, ''), project_ids, project_roles,
		       org_status, trial_ends_at, org_settings, time_zone
		  FROM accounts.lookup_session(nullif($1, ''), nullif($2, ''))`, n.Hash, n.ID).Scan(
		&r.ID, &r.OrgID, &r.HolderID, &r.Kind, &r.Means, &r.Connection, &r.Client, &scopes, &r.MFA, &r.ProvedAt, &r.Address, &r.UserAgent, &r.CreatedAt, &r.SeenAt,
		&r.ExpiresAt, &r.Ended, &r.HolderActive, &r.Role, &permissions, &r.Custom.Reach, &projects, &projectRoles,
		&r.OrgStatus, &trialEnds, &settings, &zone)
	if err != nil {
		return nil, translate(err)
	}
	r.Scopes, r.TrialEnds = toGrantedScopes(scopes), moment(trialEnds)
	r.Custom.Permissions, r.Projects = toActions(permissions), toProjectRoles(projects, projectRoles)
	r.ProvedAt, r.CreatedAt, r.SeenAt, r.ExpiresAt = r.ProvedAt.UTC(), r.CreatedAt.UTC(), r.SeenAt.UTC(), r.ExpiresAt.UTC()
	if r.TimeZone, err = s.zones.load(zone); err != nil {
		return nil, err
	}
	if r.Settings, err = toSettings(settings); err != nil {
		return nil, err
	}
	r.Restrictions, err = r.Settings.Restrictions()
	return &r, err
}

// toGrantedScopes keeps apart no scope at all, and all that the role gives.
func toGrantedScopes(texts []string) []authz.Scope {
	if texts == nil {
		return nil
	}
	return append([]authz.Scope{}, toScopes(texts)...)
}

// NoteSession implements [session.Finder].
func (s *Sessions) NoteSession(ctx context.Context, org, sessionID string, at time.Time) error {
	if _, err := s.db.pool.Exec(ctx, `SELECT accounts.note_session($1, $2, $3)`, org, sessionID, at); err != nil {
		return translate(fmt.Errorf("note session: %w", err))
	}
	return nil
}

// Standing implements [session.Store].
func (s *Sessions) Standing(ctx context.Context, org, holderID string) (st session.Standing, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		st, err = holderStanding(ctx, tx, org, holderID)
		return err
	})
	return st, err
}

func holderStanding(ctx context.Context, tx pgx.Tx, org, holderID string) (st session.Standing, err error) {
	holder := `accounts.members h WHERE h.org_id = o.org_id AND h.user_id = $2`
	if member.KindOf(holderID) == member.Program {
		holder = `accounts.service_accounts h WHERE h.org_id = o.org_id AND h.account_id = $2`
	}
	var status tenant.Status
	var settings []byte
	err = tx.QueryRow(ctx, `
		SELECT o.status, o.settings, (SELECT h.status = 'active' FROM `+holder+`)
		  FROM accounts.organizations o WHERE o.org_id = $1 AND EXISTS (SELECT FROM `+holder+`)`, org, holderID).Scan(&status, &settings, &st.Active)
	if err != nil {
		return st, missing(err, "read membership", fault.New(fault.NotFound, "there is no such membership"))
	}
	st.Serves = status.Serves()
	st.Settings, err = toSettings(settings)
	return st, err
}

// lockHolder makes the beginnings of a holder's sessions, in whatever organisation, and
// the ends of all of them, one after the other.
func lockHolder(ctx context.Context, tx pgx.Tx, holderID string) error {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('session ' || $1, 0))`, holderID); err != nil {
		return fmt.Errorf("lock sessions: %w", err)
	}
	return nil
}

// Save implements [session.Store].
func (s *Sessions) Save(ctx context.Context, kept session.Saved) error {
	v := kept.Session
	return s.db.AsUserIn(ctx, v.OrgID, v.HolderID, func(tx pgx.Tx) (err error) {
		if err := lockHolder(ctx, tx, v.HolderID); err != nil {
			return err
		}
		if v.MFA, err = mfaOf(ctx, tx, kept); err != nil {
			return err
		}
		if st, err := holderStanding(ctx, tx, v.OrgID, v.HolderID); err != nil {
			return err
		} else if !st.Active {
			return fault.New(fault.NotFound, "there is no such membership")
		}
		tag, err := tx.Exec(ctx, `
			INSERT INTO accounts.sessions AS s (org_id, session_id, holder_id, kind, means, connection, client, scopes, mfa, proved_at, address, user_agent,
			                               token_hash, created_at, seen_at, expires_at, seen_by)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, nullif($13, ''), $14, $15, $16, coalesce($17::text[], '{}'))
			ON CONFLICT (org_id, session_id) DO UPDATE
			   SET token_hash = EXCLUDED.token_hash, means = EXCLUDED.means, mfa = EXCLUDED.mfa, proved_at = EXCLUDED.proved_at, seen_at = EXCLUDED.proved_at
			 WHERE s.ended_at IS NULL AND s.holder_id = EXCLUDED.holder_id`,
			v.OrgID, v.ID, v.HolderID, v.Kind, v.Means, v.Connection, v.Client, fromScopesOrNull(v.Scopes), v.MFA, v.ProvedAt, v.Address, v.UserAgent,
			kept.Hash, v.CreatedAt, v.SeenAt, v.ExpiresAt, kept.SeenBy)
		switch {
		case err != nil:
			return fmt.Errorf("save session: %w", err)
		case tag.RowsAffected() == 0:
			return fault.New(fault.NotFound, "the session has ended")
		}
		if err := makeRoom(ctx, tx, kept); err != nil {
			return err
		}
		if err := writeAudit(ctx, tx, "accounts", kept.Record); err != nil {
			return err
		}
		return endReplaced(ctx, tx, kept)
	})
}

// mfaOf tells whether a session has shown a second factor: one that comes of another
// only where that has it still. It refuses what comes of one that has ended.
func mfaOf(ctx context.Context, tx pgx.Tx, kept session.Saved) (mfa bool, err error) {
	of := kept.From
	if of == "" {
		of = kept.Ends.ID
	}
	if of == "" {
		return kept.Session.MFA, nil
	}
	err = tx.QueryRow(ctx, `
		SELECT mfa FROM accounts.sessions WHERE session_id = $1 AND holder_id = $2 AND ended_at IS NULL AND expires_at > $3 FOR SHARE`,
		of, kept.Session.HolderID, kept.Record.At).Scan(&mfa)
	if err != nil {
		return false, missing(err, "read session", fault.From(session.ErrUnauthenticated()))
	}
	return mfa && kept.Session.MFA, nil
}

// endReplaced ends the session whose place another takes, in its own organisation.
func endReplaced(ctx context.Context, tx pgx.Tx, kept session.Saved) error {
	if kept.Ends.ID == "" {
		return nil
	}
	if err := nameOrg(ctx, tx, kept.Ends.OrgID); err != nil {
		return err
	}
	cause := kept.Record
	cause.OrgID = kept.Ends.OrgID
	return endFor(ctx, tx, ending{
		cause: cause, reason: "another one took its place", where: `ARRAY[session_id, holder_id] = $4`, is: []string{kept.Ends.ID, kept.Session.HolderID},
	})
}

func fromScopesOrNull(scopes []authz.Scope) []string {
	if scopes == nil {
		return nil
	}
	return fromScopes(scopes)
}

// makeRoom ends the oldest sessions where the holder has too many.
func makeRoom(ctx context.Context, tx pgx.Tx, kept session.Saved) error {
	v := kept.Session
	if kept.Most <= 0 {
		return nil
	}
	var oldest []string
	err := tx.QueryRow(ctx, `
		SELECT coalesce(array_agg(old.session_id), '{}') FROM (
		  SELECT x.session_id FROM accounts.sessions x
		   WHERE x.org_id = $1 AND x.holder_id = $2 AND x.ended_at IS NULL AND x.expires_at > $3 AND x.session_id <> $4
		   ORDER BY x.created_at DESC, x.session_id DESC OFFSET $5) old`,
		v.OrgID, v.HolderID, kept.Record.At, v.ID, kept.Most-1).Scan(&oldest)
	if err != nil {
		return fmt.Errorf("find oldest sessions: %w", err)
	}
	return endFor(ctx, tx, ending{cause: kept.Record, reason: "there are too many", where: `session_id = ANY ($4)`, is: oldest})
}

// endSessions ends the sessions of a condition, of which $1, $2 and $3 are the
// organisation, the time and the reason.
func endSessions(ctx context.Context, tx pgx.Tx, where string, args ...any) ([]session.Session, error) {
	rows, err := tx.Query(ctx, `
		UPDATE accounts.sessions SET ended_at = $2, ended_reason = $3, token_hash = NULL WHERE ended_at IS NULL AND `+where+`
		RETURNING `+sessionColumns, args...)
	if err != nil {
		return nil, fmt.Errorf("end sessions: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanSession)
	if err != nil {
		return nil, fmt.Errorf("end sessions: %w", err)
	}
	return list, nil
}

// ending is why sessions of an organisation end: an act that has a record of its own.
type ending struct {
	cause  audit.Record
	reason string
	where  string // a condition on $4
	is     any
}

// endFor ends sessions in the transaction of what ends them, each with its record.
func endFor(ctx context.Context, tx pgx.Tx, e ending) error {
	ended, err := endSessions(ctx, tx, `org_id = $1 AND `+e.where, e.cause.OrgID, e.cause.At, e.reason, e.is)
	if err != nil {
		return err
	}
	for _, s := range ended {
		rec := e.cause.With(map[string]any{"holder_id": s.HolderID, "kind": string(s.Kind), "reason": e.reason})
		rec.ID, rec.Action, rec.Target = id.New(id.Audit), session.ActionEnd, s.ID
		if err := writeAudit(ctx, tx, "accounts", rec); err != nil {
			return err
		}
	}
	return nil
}

const sessionColumns = `org_id, session_id, holder_id, kind, means, connection, client, scopes, mfa, proved_at, address, user_agent, created_at, seen_at, expires_at`

func scanSession(row pgx.CollectableRow) (v session.Session, err error) {
	var scopes []string
	err = row.Scan(&v.OrgID, &v.ID, &v.HolderID, &v.Kind, &v.Means, &v.Connection, &v.Client, &scopes, &v.MFA, &v.ProvedAt, &v.Address, &v.UserAgent,
		&v.CreatedAt, &v.SeenAt, &v.ExpiresAt)
	if err != nil {
		return v, fmt.Errorf("scan session: %w", err)
	}
	v.Scopes = toGrantedScopes(scopes)
	v.ProvedAt, v.CreatedAt, v.SeenAt, v.ExpiresAt = v.ProvedAt.UTC(), v.CreatedAt.UTC(), v.SeenAt.UTC(), v.ExpiresAt.UTC()
	return v, nil
}

// scoped runs f where what the filter means is seen.
func (s *Sessions) scoped(ctx context.Context, f session.Filter, do func(pgx.Tx) error) error {
	if f.OrgID != "" {
		return s.db.InOrg(ctx, f.OrgID, do)
	}
	return s.db.AsUser(ctx, f.HolderID, do)
}

// List implements [session.Store].
func (s *Sessions) List(ctx context.Context, f session.Filter, now time.Time) (list []session.Session, err error) {
	err = s.scoped(ctx, f, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT `+sessionColumns+` FROM accounts.sessions
			 WHERE ended_at IS NULL AND expires_at > $1 AND ($2 = '' OR org_id = $2) AND ($3 = '' OR holder_id = $3)
			   AND ($4 = '' OR session_id = $4) AND session_id <> $5
			 ORDER BY created_at DESC, session_id DESC`, now, f.OrgID, f.HolderID, f.ID, f.Except)
		if err != nil {
			return fmt.Errorf("query sessions: %w", err)
		}
		list, err = pgx.CollectRows(rows, scanSession)
		return err //nolint:wrapcheck // translated
	})
	return list, err
}

// End implements [session.Store].
func (s *Sessions) End(ctx context.Context, f session.Filter, at time.Time, reason string, record func(session.Session) audit.Record) ([]session.Session, error) {
	var ended []session.Session
	err := s.scoped(ctx, f, func(tx pgx.Tx) error {
		if f.HolderID != "" {
			if err := lockHolder(ctx, tx, f.HolderID); err != nil {
				return err
			}
		}
		var err error
		ended, err = endSessions(ctx, tx, `($1 = '' OR org_id = $1) AND ($4 = '' OR holder_id = $4) AND ($5 = '' OR session_id = $5) AND session_id <> $6
			AND NOT ($7 AND mfa)`, f.OrgID, at, reason, f.HolderID, f.ID, f.Except, f.Weak)
		if err != nil {
			return err
		}
		for _, v := range ended {
			if err := auditIn(ctx, tx, record(v)); err != nil {
				return err
			}
		}
		return nil
	})
	return ended, err
}

// Weaken implements [session.Store].
func (s *Sessions) Weaken(ctx context.Context, userID string) (orgs []string, err error) {
	err = s.db.AsUser(ctx, userID, func(tx pgx.Tx) error {
		if err := lockHolder(ctx, tx, userID); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `UPDATE accounts.sessions SET mfa = false WHERE holder_id = $1 AND ended_at IS NULL AND mfa RETURNING org_id`, userID)
		if err != nil {
			return fmt.Errorf("weaken sessions: %w", err)
		}
		orgs, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err //nolint:wrapcheck // translated
	})
	return orgs, err
}

// Prune implements [session.Store].
func (s *Sessions) Prune(ctx context.Context, before time.Time, limit int) (n int, err error) {
	if err := s.db.pool.QueryRow(ctx, `SELECT accounts.prune_sessions($1, $2)`, before, limit).Scan(&n); err != nil {
		return 0, translate(fmt.Errorf("prune sessions: %w", err))
	}
	return n, nil
}
