package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/invitation"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/member"
)

// Invitations keeps invitations in the schema accounts: those of an organisation, and
// their acceptance, under [RoleAccounts]; what is past its time, across organisations,
// under [RoleIdentity].
type Invitations struct{ db *DB }

// NewInvitations makes the store of invitations.
func NewInvitations(db *DB) *Invitations { return &Invitations{db: db} }

var (
	_ invitation.Store       = (*Invitations)(nil)
	_ invitation.AcceptStore = (*Invitations)(nil)
	_ invitation.ExpiryStore = (*Invitations)(nil)
)

const selectInvitations = `
	SELECT invitation_id, email, name, role, projects, status, invited_by, inviter_id, sends, sent_at, created_at, expires_at, ended_at, coalesce(member_id, '')
	  FROM accounts.invitations WHERE org_id = $1`

func scanInvitation(org string) pgx.RowToFunc[invitation.Invitation] {
	return func(row pgx.CollectableRow) (invitation.Invitation, error) {
		i := invitation.Invitation{OrgID: org}
		var ended *time.Time
		err := row.Scan(&i.ID, &i.Email, &i.Name, &i.Role, &i.Projects, &i.Status, &i.InvitedBy, &i.InviterID, &i.Sends, &i.SentAt, &i.CreatedAt,
			&i.ExpiresAt, &ended, &i.MemberID)
		if err != nil {
			return i, fmt.Errorf("scan invitation: %w", err)
		}
		i.SentAt, i.CreatedAt, i.ExpiresAt, i.EndedAt = i.SentAt.UTC(), i.CreatedAt.UTC(), i.ExpiresAt.UTC(), moment(ended)
		return i, nil
	}
}

// List implements [invitation.Store].
func (s *Invitations) List(ctx context.Context, org string, q invitation.Query) (list []invitation.Invitation, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, selectInvitations+`
			AND ($2 = '' OR CASE WHEN status = 'open' AND expires_at <= $3 THEN 'expired' ELSE status END = $2) AND ($4 = '' OR invitation_id < $4)
			ORDER BY invitation_id DESC LIMIT $5`, org, q.Status, q.Now, q.Before, q.Limit)
		if err != nil {
			return fmt.Errorf("query invitations: %w", err)
		}
		list, err = pgx.CollectRows(rows, scanInvitation(org))
		return err //nolint:wrapcheck // translated by InOrg
	})
	return list, err
}

// Get implements [invitation.Store].
func (s *Invitations) Get(ctx context.Context, org, id string) (i invitation.Invitation, err error) {
	err = s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		i, err = getInvitation(ctx, tx, org, id)
		return err
	})
	return i, err
}

func getInvitation(ctx context.Context, tx pgx.Tx, org, id string) (invitation.Invitation, error) {
	rows, err := tx.Query(ctx, selectInvitations+` AND invitation_id = $2`, org, id)
	if err != nil {
		return invitation.Invitation{}, fmt.Errorf("query invitation: %w", err)
	}
	i, err := pgx.CollectExactlyOneRow(rows, scanInvitation(org))
	if err != nil {
		return i, missing(err, "read invitation", invitation.ErrNone())
	}
	return i, nil
}

// Send implements [invitation.Store].
func (s *Invitations) Send(ctx context.Context, i invitation.Invitation, now time.Time, edit func(invitation.Standing) (invitation.Sending, error)) (sent invitation.Invitation, err error) {
	err = s.db.InOrg(ctx, i.OrgID, func(tx pgx.Tx) error {
		a, err := lockOrg(ctx, tx, i.OrgID)
		if err != nil {
			return err
		}
		write := insertInvitation
		if i.Email == "" { // it is kept already
			write = sendAgain
			if i, err = getInvitation(ctx, tx, i.OrgID, i.ID); err != nil {
				return err
			}
		}
		st, err := invitationStanding(ctx, tx, a, i, now)
		if err != nil {
			return err
		}
		out, err := edit(st)
		if err != nil {
			return err
		}
		sent = out.Invitation
		return keepSending(ctx, tx, out, write, now)
	})
	return sent, err
}

// writing keeps an invitation: a new one, or one that is sent again.
type writing func(ctx context.Context, tx pgx.Tx, i invitation.Invitation, h invitation.Hash) error

func keepSending(ctx context.Context, tx pgx.Tx, out invitation.Sending, write writing, now time.Time) error {
	// One whose time is over and that nobody has ended yet gives its address free.
	_, err := tx.Exec(ctx, `
		UPDATE accounts.invitations SET status = 'expired', ended_at = expires_at
		 WHERE org_id = $1 AND email = $2 AND status = 'open' AND expires_at <= $3 AND invitation_id <> $4`,
		out.Invitation.OrgID, out.Invitation.Email, now, out.Invitation.ID)
	if err != nil {
		return fmt.Errorf("end old invitation: %w", err)
	}
	if err := write(ctx, tx, out.Invitation, out.Hash); err != nil {
		return err
	}
	if err := queueMails(ctx, tx, out.Invitation.OrgID, now, []mail.Draft{out.Mail}); err != nil {
		return err
	}
	return writeAudit(ctx, tx, "accounts", out.Record)
}

func insertInvitation(ctx context.Context, tx pgx.Tx, i invitation.Invitation, h invitation.Hash) error {
	projects := i.Projects
	if projects == nil {
		projects = map[string]authz.ProjectRole{}
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO accounts.invitations (org_id, invitation_id, email, name, role, projects, token_hash, invited_by, inviter_id, sends, sent_at, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		i.OrgID, i.ID, i.Email, i.Name, i.Role, projects, h[:], i.InvitedBy, i.InviterID, i.Sends, i.SentAt, i.CreatedAt, i.ExpiresAt)
	if err != nil {
		return fmt.Errorf("insert invitation: %w", err)
	}
	return nil
}

func sendAgain(ctx context.Context, tx pgx.Tx, i invitation.Invitation, h invitation.Hash) error {
	_, err := tx.Exec(ctx, `
		UPDATE accounts.invitations SET status = 'open', ended_at = NULL, token_hash = $3, invited_by = $4, inviter_id = $5, sends = $6, sent_at = $7, expires_at = $8
		 WHERE org_id = $1 AND invitation_id = $2`, i.OrgID, i.ID, h[:], i.InvitedBy, i.InviterID, i.Sends, i.SentAt, i.ExpiresAt)
	if err != nil {
		return fmt.Errorf("update invitation: %w", err)
	}
	return nil
}

// invitationStanding reads what an invitation is decided on.
func invitationStanding(ctx context.Context, tx pgx.Tx, a allowance, i invitation.Invitation, now time.Time) (st invitation.Standing, err error) {
	st.Invitation = i
	if st.Members, err = standing(ctx, tx, a, member.Member{OrgID: i.OrgID, Kind: member.Person, Email: i.Email, Role: i.Role}); err != nil {
		return st, err
	}
	if st.Projects, err = openProjects(ctx, tx, i.OrgID); err != nil {
		return st, err
	}
	if st.Directory, err = mailDirectory(ctx, tx, i.OrgID); err != nil {
		return st, err
	}
	var people int
	err = tx.QueryRow(ctx, `
		SELECT (SELECT count(*) FROM accounts.invitations WHERE org_id = $1 AND sent_at > $3::timestamptz - interval '1 hour'),
		       EXISTS (SELECT FROM accounts.members m JOIN accounts.users u ON u.user_id = m.user_id WHERE m.org_id = $1 AND u.email = $2),
		       EXISTS (SELECT FROM accounts.invitations WHERE org_id = $1 AND email = $2 AND status = 'open' AND expires_at > $3 AND invitation_id <> $4),
		       (SELECT count(*) FROM accounts.members WHERE org_id = $1)
		       + (SELECT count(*) FROM accounts.invitations WHERE org_id = $1 AND status = 'open' AND expires_at > $3 AND invitation_id <> $4),
		       coalesce((SELECT name FROM accounts.roles WHERE org_id = $1 AND role_id = $5), $5)`,
		i.OrgID, i.Email, now, i.ID, i.Role).Scan(&st.Hourly, &st.Known, &st.Another, &people, &st.RoleName)
	if err != nil {
		return st, fmt.Errorf("read what there is: %w", err)
	}
	st.Full = a.maxMembers > 0 && people >= a.maxMembers
	return st, nil
}

// openProjects are the ids of an organisation's projects that are not archived.
func openProjects(ctx context.Context, tx pgx.Tx, org string) (map[string]bool, error) {
	rows, err := tx.Query(ctx, `SELECT project_id FROM accounts.projects WHERE org_id = $1 AND archived_at IS NULL`, org)
	if err != nil {
		return nil, fmt.Errorf("query projects: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read projects: %w", err)
	}
	open := make(map[string]bool, len(ids))
	for _, id := range ids {
		open[id] = true
	}
	return open, nil
}

// Withdraw implements [invitation.Store].
func (s *Invitations) Withdraw(ctx context.Context, org, id string, edit func(invitation.Standing) (audit.Record, error)) error {
	return s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		if _, err := lockOrg(ctx, tx, org); err != nil {
			return err
		}
		i, err := getInvitation(ctx, tx, org, id)
		if err != nil {
			return err
		}
		rec, err := edit(invitation.Standing{Invitation: i})
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			UPDATE accounts.invitations SET status = 'withdrawn', ended_at = $3 WHERE org_id = $1 AND invitation_id = $2 AND status = 'open'`, org, id, rec.At)
		if err != nil {
			return fmt.Errorf("withdraw invitation: %w", err)
		}
		return writeAudit(ctx, tx, "accounts", rec)
	})
}

// Find implements [invitation.AcceptStore].
func (s *Invitations) Find(ctx context.Context, h invitation.Hash, now time.Time) (o invitation.Offer, err error) {
	err = s.db.Do(ctx, func(tx pgx.Tx) error {
		var user *string
		err := tx.QueryRow(ctx, `
			SELECT org_id, org_name, org_serves, invitation_id, email, role, role_name, status, expires_at, name, user_id, has_password
			  FROM accounts.find_invitation($1, $2)`, h[:], now).
			Scan(&o.OrgID, &o.OrgName, &o.OrgOpen, &o.ID, &o.Email, &o.Role, &o.RoleName, &o.Status, &o.ExpiresAt, &o.Name, &user, &o.Password)
		if err != nil {
			return missing(err, "find invitation", invitation.ErrNone())
		}
		if user != nil {
			o.UserID = *user
		}
		o.ExpiresAt = o.ExpiresAt.UTC()
		return nil
	})
	return o, err
}

// Accept implements [invitation.AcceptStore].
func (s *Invitations) Accept(ctx context.Context, org string, h invitation.Hash, t invitation.Taking, edit func(invitation.Taken) (invitation.Joining, error)) error {
	return s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		a, err := lockOrg(ctx, tx, org)
		if err != nil {
			return err
		}
		taken, err := takeInvitation(ctx, tx, h, t)
		if err != nil {
			return err
		}
		if err := takenStanding(ctx, tx, a, &taken); err != nil {
			return err
		}
		out, err := edit(taken)
		if err != nil {
			return err
		}
		return joinOrganization(ctx, tx, a, out)
	})
}

// takeInvitation ends the invitation and finds or makes the person.
func takeInvitation(ctx context.Context, tx pgx.Tx, h invitation.Hash, t invitation.Taking) (taken invitation.Taken, err error) {
	i := &taken.Invitation
	err = tx.QueryRow(ctx, `
		SELECT org_id, invitation_id, user_id, email, own_name, name, role, projects, inviter_id, invited_by, expires_at
		  FROM accounts.take_invitation($1, $2, $3, $4)`, h[:], t.Name, t.Password, t.At).
		Scan(&i.OrgID, &i.ID, &taken.UserID, &i.Email, &taken.OwnName, &i.Name, &i.Role, &i.Projects, &i.InviterID, &i.InvitedBy, &i.ExpiresAt)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return taken, invitation.ErrNone()
	case sqlState(err) == stateUnique:
		return taken, fault.New(fault.Conflict, "your account has a password by now: accept with that one").At("password")
	case err != nil:
		return taken, fmt.Errorf("take invitation: %w", err)
	}
	return taken, nil
}

// takenStanding adds what an acceptance is decided on.
func takenStanding(ctx context.Context, tx pgx.Tx, a allowance, t *invitation.Taken) (err error) {
	i := t.Invitation
	if t.Members, err = standing(ctx, tx, a, member.Member{OrgID: i.OrgID, ID: t.UserID, Kind: member.Person, Role: i.Role}); err != nil {
		return err
	}
	if t.Projects, err = openProjects(ctx, tx, i.OrgID); err != nil {
		return err
	}
	var asked member.Asked
	err = askedOwner(ctx, tx, member.Ref{OrgID: i.OrgID, Kind: member.KindOf(i.InviterID), ID: i.InviterID}, &asked)
	switch {
	case fault.Is(err, fault.NotFound):
		return nil // he is gone
	case err != nil:
		return err
	}
	t.Inviter = &asked
	return nil
}

// joinOrganization makes the person a member.
func joinOrganization(ctx context.Context, tx pgx.Tx, a allowance, j invitation.Joining) error {
	m := j.Member
	if err := insertMember(ctx, tx, a, m); err != nil {
		return err
	}
	for projectID, role := range j.Projects {
		_, err := tx.Exec(ctx, `
			INSERT INTO accounts.project_members (org_id, project_id, member_id, role, added_by, created_at) VALUES ($1, $2, $3, $4, $5, $6)`,
			m.OrgID, projectID, m.ID, role, m.AddedBy, m.CreatedAt)
		if err != nil {
			return fmt.Errorf("join project: %w", err)
		}
	}
	for _, rec := range j.Records {
		if err := writeAudit(ctx, tx, "accounts", rec); err != nil {
			return err
		}
	}
	return nil
}

// Expire implements [invitation.ExpiryStore].
func (s *Invitations) Expire(ctx context.Context, now time.Time, limit int, tell func(invitation.Invitation) audit.Record) (n int, err error) {
	err = s.db.Do(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT org_id, invitation_id, email, role FROM accounts.expire_invitations($1, $2)`, now, limit)
		if err != nil {
			return fmt.Errorf("expire invitations: %w", err)
		}
		ended, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (i invitation.Invitation, err error) {
			err = row.Scan(&i.OrgID, &i.ID, &i.Email, &i.Role)
			return i, err //nolint:wrapcheck // wrapped below
		})
		if err != nil {
			return fmt.Errorf("expire invitations: %w", err)
		}
		n = len(ended)
		for _, i := range ended {
			if err := auditIn(ctx, tx, tell(i)); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

// Prune implements [invitation.ExpiryStore].
func (s *Invitations) Prune(ctx context.Context, before time.Time, limit int) (n int, err error) {
	err = s.db.Do(ctx, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, `SELECT accounts.prune_invitations($1, $2)`, before, limit).Scan(&n); err != nil {
			return fmt.Errorf("prune invitations: %w", err)
		}
		return nil
	})
	return n, err
}
