package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/member"
)

// Members keeps the people, programs and roles of organisations in the schema
// accounts. All of it works under [RoleAccounts].
type Members struct {
	db    *DB
	zones zones
}

// NewMembers makes the store of members.
func NewMembers(db *DB) *Members { return &Members{db: db} }

var (
	_ member.Store     = (*Members)(nil)
	_ member.RoleStore = (*Members)(nil)
	_ member.Directory = (*Members)(nil)
)

// maxPrograms bounds the service accounts of one organisation; the plan bounds its
// people.
const maxPrograms = 1000

// The members of a kind: one form for both.
const (
	selectPeople = `
		SELECT m.user_id AS id, u.email, m.name, '' AS description, m.role, m.status, m.status_reason,
		       m.added_by, m.created_at, m.updated_at
		  FROM accounts.members m JOIN accounts.users u ON u.user_id = m.user_id WHERE m.org_id = $1`
	selectPrograms = `
		SELECT s.account_id AS id, '' AS email, s.name, s.description, s.role, s.status, s.status_reason,
		       s.created_by AS added_by, s.created_at, nullif(s.updated_at, s.created_at) AS updated_at
		  FROM accounts.service_accounts s WHERE s.org_id = $1 AND s.status <> 'deleted'`
)

func selectMembers(kind member.Kind, where string) string {
	from := selectPeople
	if kind == member.Program {
		from = selectPrograms
	}
	return `
		SELECT h.id, h.email, h.name, h.description, h.role, h.status, h.status_reason, h.added_by, h.created_at, h.updated_at,
		       t.ids, t.roles, (SELECT count(*) FROM accounts.api_keys k WHERE k.org_id = $1 AND k.owner_id = h.id AND k.revoked_at IS NULL)
		  FROM (` + from + `) h
		  LEFT JOIN LATERAL (
		    SELECT array_agg(x.project_id ORDER BY x.project_id) AS ids, array_agg(x.role ORDER BY x.project_id) AS roles
		      FROM accounts.project_members x WHERE x.org_id = $1 AND x.member_id = h.id) t ON true
		 WHERE ` + where
}

func scanMember(org string, kind member.Kind) pgx.RowToFunc[member.Member] {
	return func(row pgx.CollectableRow) (member.Member, error) {
		m := member.Member{OrgID: org, Kind: kind}
		var updated *time.Time
		var projects, roles []string
		err := row.Scan(&m.ID, &m.Email, &m.Name, &m.Description, &m.Role, &m.Status, &m.Reason, &m.AddedBy, &m.CreatedAt, &updated,
			&projects, &roles, &m.Keys)
		if err != nil {
			return m, fmt.Errorf("scan member: %w", err)
		}
		m.CreatedAt, m.UpdatedAt, m.Projects = m.CreatedAt.UTC(), moment(updated), toProjectRoles(projects, roles)
		return m, nil
	}
}

// List implements [member.Store].
func (s *Members) List(ctx context.Context, org string, kind member.Kind, q member.Query) (list []member.Member, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, selectMembers(kind, `h.id > $2
			AND ($3 OR h.id = $4 OR EXISTS (SELECT FROM accounts.project_members x WHERE x.org_id = $1 AND x.member_id = h.id AND x.project_id = ANY ($5)))
			ORDER BY h.id LIMIT $6`), org, q.After, q.All, q.OwnerID, q.Projects, q.Limit)
		if err != nil {
			return fmt.Errorf("query members: %w", err)
		}
		list, err = pgx.CollectRows(rows, scanMember(org, kind))
		return err //nolint:wrapcheck // translated by InOrg
	})
	return list, err
}

// Get implements [member.Store].
func (s *Members) Get(ctx context.Context, r member.Ref) (m member.Member, err error) {
	err = s.db.InOrg(ctx, r.OrgID, func(tx pgx.Tx) error {
		m, err = getMember(ctx, tx, r)
		return err
	})
	return m, err
}

func getMember(ctx context.Context, tx pgx.Tx, r member.Ref) (member.Member, error) {
	rows, err := tx.Query(ctx, selectMembers(r.Kind, `h.id = $2`), r.OrgID, r.ID)
	if err != nil {
		return member.Member{}, fmt.Errorf("query member: %w", err)
	}
	m, err := pgx.CollectExactlyOneRow(rows, scanMember(r.OrgID, r.Kind))
	if err != nil {
		return m, missing(err, "read member", r.Kind.ErrNone())
	}
	return m, nil
}

// allowance is what an organisation's plan allows it; 0 is any number.
type allowance struct {
	platform    bool
	maxMembers  int
	maxProjects int
}

// lockOrg makes the changes of an organisation's people and projects one after the
// other, and those of its keys. Others read on meanwhile.
func lockOrg(ctx context.Context, tx pgx.Tx, org string) (a allowance, err error) {
	err = tx.QueryRow(ctx, `
		SELECT o.kind = 'platform', l.max_members, l.max_projects
		  FROM accounts.organizations o JOIN accounts.plans l ON l.plan_id = o.plan
		 WHERE o.org_id = $1 FOR NO KEY UPDATE OF o`, org).Scan(&a.platform, &a.maxMembers, &a.maxProjects)
	if err != nil {
		return a, fmt.Errorf("lock organisation: %w", err)
	}
	return a, nil
}

// standing is what a change of a member is decided on.
func standing(ctx context.Context, tx pgx.Tx, a allowance, m member.Member) (member.Standing, error) {
	st := member.Standing{Member: m, Platform: a.platform, Roles: map[string]authz.CustomRole{}}
	err := tx.QueryRow(ctx, `
		SELECT count(*) FROM accounts.members
		 WHERE org_id = $1 AND user_id <> $2 AND status = 'active' AND role IN ('owner', 'system_administrator')`, m.OrgID, m.ID).Scan(&st.OtherTops)
	if err != nil {
		return st, fmt.Errorf("count owners: %w", err)
	}
	rows, err := tx.Query(ctx, `SELECT role_id, permissions, reach FROM accounts.roles WHERE org_id = $1`, m.OrgID)
	if err != nil {
		return st, fmt.Errorf("query roles: %w", err)
	}
	var id, reach string
	var permissions []string
	_, err = pgx.ForEachRow(rows, []any{&id, &permissions, &reach}, func() error {
		st.Roles[id] = authz.CustomRole{Permissions: toActions(permissions), Reach: authz.Width(reach)}
		return nil
	})
	if err != nil {
		return st, fmt.Errorf("read roles: %w", err)
	}
	return st, nil
}

// Add implements [member.Store].
func (s *Members) Add(ctx context.Context, m member.Member, edit func(member.Standing) (member.Member, audit.Record, error)) (added member.Member, err error) {
	err = s.db.InOrg(ctx, m.OrgID, func(tx pgx.Tx) error {
		a, err := lockOrg(ctx, tx, m.OrgID)
		if err != nil {
			return err
		}
		if m.Kind == member.Person {
			err = tx.QueryRow(ctx, `SELECT accounts.ensure_user($1, $2, $3)`, m.ID, m.Email, m.CreatedAt).Scan(&m.ID)
			if err != nil {
				return fmt.Errorf("find person: %w", err)
			}
		}
		st, err := standing(ctx, tx, a, m)
		if err != nil {
			return err
		}
		next, rec, err := edit(st)
		if err != nil {
			return err
		}
		if err := insertMember(ctx, tx, a, next); err != nil {
			return err
		}
		if added, err = getMember(ctx, tx, member.Ref{OrgID: m.OrgID, Kind: m.Kind, ID: next.ID}); err != nil {
			return err
		}
		return writeAudit(ctx, tx, "accounts", rec)
	})
	return added, err
}

func insertMember(ctx context.Context, tx pgx.Tx, a allowance, m member.Member) error {
	if m.Kind == member.Program {
		return insertProgram(ctx, tx, m)
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO accounts.members (org_id, user_id, role, name, added_by, created_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT DO NOTHING`, m.OrgID, m.ID, m.Role, m.Name, m.AddedBy, m.CreatedAt)
	switch {
	case err != nil:
		return fmt.Errorf("insert member: %w", err)
	case tag.RowsAffected() == 0:
		return fault.New(fault.Conflict, "who has this address is a member already").At("email")
	case a.maxMembers == 0:
		return nil
	}
	return withinRoom(ctx, tx, m.OrgID, room{
		count: `SELECT count(*) FROM accounts.members WHERE org_id = $1`, most: a.maxMembers,
		text: "the plan of the organization allows %d members; remove one, or ask for another plan",
	})
}

func insertProgram(ctx context.Context, tx pgx.Tx, m member.Member) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO accounts.service_accounts (org_id, account_id, name, description, role, created_by, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $7)`, m.OrgID, m.ID, m.Name, m.Description, m.Role, m.AddedBy, m.CreatedAt)
	if err != nil {
		return named(err, "insert service account", "there is a service account of this name already")
	}
	return withinRoom(ctx, tx, m.OrgID, room{
		count: `SELECT count(*) FROM accounts.service_accounts WHERE org_id = $1 AND status <> 'deleted'`, most: maxPrograms,
		text: "an organization has at most %d service accounts",
	})
}

// room is how many there may be of something in an organisation.
type room struct {
	count string // the query that counts them
	most  int
	text  string // of the refusal, with the number
}

// withinRoom refuses what has made too many; the lock of the organisation is held.
func withinRoom(ctx context.Context, tx pgx.Tx, org string, r room) error {
	var n int
	if err := tx.QueryRow(ctx, r.count, org).Scan(&n); err != nil {
		return fmt.Errorf("count: %w", err)
	}
	if n > r.most {
		return fault.New(fault.Conflict, r.text, r.most).With("limit", r.most)
	}
	return nil
}

// named is a conflict of names where the statement failed for one.
func named(err error, attempted, text string) error {
	if sqlState(err) == stateUnique {
		return fault.New(fault.Conflict, "%s", text).At("name")
	}
	return fmt.Errorf("%s: %w", attempted, err)
}
