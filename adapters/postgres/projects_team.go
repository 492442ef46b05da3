package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/member"
	"github.com/aiaas/aiaas/shared/project"
)

// selectSeats finds members of an organisation with what they are in a project. Who
// has no role in it is a row without one.
const selectSeats = `
	SELECT h.id, h.email, h.name, h.role, coalesce(x.role, ''), coalesce(x.added_by, ''), x.created_at
	  FROM (
	    SELECT id, email, name, role FROM (` + selectPeople + `) people
	     UNION ALL
	    SELECT id, email, name, role FROM (` + selectPrograms + `) programs) h
	  LEFT JOIN accounts.project_members x ON x.org_id = $1 AND x.project_id = $2 AND x.member_id = h.id
	 WHERE `

func scanSeat(projectID string) pgx.RowToFunc[project.Seat] {
	return func(row pgx.CollectableRow) (project.Seat, error) {
		s := project.Seat{ProjectID: projectID}
		var created *time.Time
		var role string
		if err := row.Scan(&s.MemberID, &s.Email, &s.Name, &role, &s.Role, &s.AddedBy, &created); err != nil {
			return s, fmt.Errorf("scan seat: %w", err)
		}
		s.Holds, s.CreatedAt = member.RoleOf(role), moment(created)
		return s, nil
	}
}

// ListSeats implements [project.TeamStore].
func (s *Projects) ListSeats(ctx context.Context, r project.Ref, after string, limit int) (list []project.Seat, err error) {
	err = s.db.InOrg(ctx, r.OrgID, func(tx pgx.Tx) error {
		if _, err := getProject(ctx, tx, r); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, selectSeats+`x.role IS NOT NULL AND h.id > $3 ORDER BY h.id LIMIT $4`, r.OrgID, r.ID, after, limit)
		if err != nil {
			return fmt.Errorf("query team: %w", err)
		}
		list, err = pgx.CollectRows(rows, scanSeat(r.ID))
		return err //nolint:wrapcheck // translated by InOrg
	})
	return list, err
}

// seat reads a member's place in a project under the organisation's lock.
func seat(ctx context.Context, tx pgx.Tx, r project.SeatRef) (project.Seat, error) {
	if _, err := lockOrg(ctx, tx, r.OrgID); err != nil {
		return project.Seat{}, err
	}
	if _, err := getProject(ctx, tx, project.Ref{OrgID: r.OrgID, ID: r.ProjectID}); err != nil {
		return project.Seat{}, err
	}
	rows, err := tx.Query(ctx, selectSeats+`h.id = $3`, r.OrgID, r.ProjectID, r.MemberID)
	if err != nil {
		return project.Seat{}, fmt.Errorf("query seat: %w", err)
	}
	found, err := pgx.CollectExactlyOneRow(rows, scanSeat(r.ProjectID))
	if err != nil {
		return found, missing(err, "read seat", member.KindOf(r.MemberID).ErrNone())
	}
	return found, nil
}

// SetSeat implements [project.TeamStore].
func (s *Projects) SetSeat(ctx context.Context, r project.SeatRef, edit func(project.Seat) (project.Seat, *audit.Record, error)) (next project.Seat, err error) {
	err = s.db.InOrg(ctx, r.OrgID, func(tx pgx.Tx) error {
		before, err := seat(ctx, tx, r)
		if err != nil {
			return err
		}
		if before.Known, err = knownSecrets(ctx, tx, r.OrgID, r.MemberID); err != nil {
			return err
		}
		var rec *audit.Record
		if next, rec, err = edit(before); err != nil || rec == nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			INSERT INTO accounts.project_members (org_id, project_id, member_id, role, added_by, created_at) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (org_id, project_id, member_id) DO UPDATE SET role = excluded.role, added_by = excluded.added_by, created_at = excluded.created_at`,
			r.OrgID, r.ProjectID, r.MemberID, next.Role, next.AddedBy, next.CreatedAt)
		if err != nil {
			return fmt.Errorf("set seat: %w", err)
		}
		return writeAudit(ctx, tx, "accounts", *rec)
	})
	return next, err
}

// RemoveSeat implements [project.TeamStore].
func (s *Projects) RemoveSeat(ctx context.Context, r project.SeatRef, check func(project.Seat) (audit.Record, error)) error {
	return s.db.InOrg(ctx, r.OrgID, func(tx pgx.Tx) error {
		before, err := seat(ctx, tx, r)
		switch {
		case err != nil:
			return err
		case before.Role == "":
			return fault.New(fault.NotFound, "there is nobody of that id in the project")
		}
		rec, err := check(before)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM accounts.project_members WHERE org_id = $1 AND project_id = $2 AND member_id = $3`, r.OrgID, r.ProjectID, r.MemberID)
		if err != nil {
			return fmt.Errorf("remove seat: %w", err)
		}
		return writeAudit(ctx, tx, "accounts", rec)
	})
}
