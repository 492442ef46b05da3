package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/member"
)

// held reads a member under the organisation's lock.
func held(ctx context.Context, tx pgx.Tx, r member.Ref) (member.Standing, error) {
	a, err := lockOrg(ctx, tx, r.OrgID)
	if err != nil {
		return member.Standing{}, err
	}
	m, err := getMember(ctx, tx, r)
	if err != nil {
		return member.Standing{}, err
	}
	return standing(ctx, tx, a, m)
}

// Change implements [member.Store].
func (s *Members) Change(ctx context.Context, r member.Ref, edit func(member.Standing) (member.Member, *audit.Record, error)) (changed member.Member, err error) {
	err = s.db.InOrg(ctx, r.OrgID, func(tx pgx.Tx) error {
		st, err := held(ctx, tx, r)
		if err != nil {
			return err
		}
		if err := readScopes(ctx, tx, &st); err != nil {
			return err
		}
		if st.Known, err = knownSecrets(ctx, tx, r.OrgID, r.ID); err != nil {
			return err
		}
		next, rec, err := edit(st)
		if err != nil {
			return err
		}
		if changed = next; rec == nil {
			return nil
		}
		if err := updateMember(ctx, tx, next, rec.At); err != nil {
			return err
		}
		if next.Status == member.Suspended && st.Member.Status != member.Suspended {
			if err := endAllSessions(ctx, tx, r, *rec, "its holder was suspended"); err != nil {
				return err
			}
		}
		if changed, err = getMember(ctx, tx, r); err != nil {
			return err
		}
		return writeAudit(ctx, tx, "accounts", *rec)
	})
	return changed, err
}

func updateMember(ctx context.Context, tx pgx.Tx, next member.Member, at time.Time) error {
	if next.Kind == member.Program {
		_, err := tx.Exec(ctx, `
			UPDATE accounts.service_accounts SET role = $3, status = $4, status_reason = $5, updated_at = $6, name = $7, description = $8
			 WHERE org_id = $1 AND account_id = $2`, next.OrgID, next.ID, next.Role, next.Status, next.Reason, at, next.Name, next.Description)
		if err != nil {
			return named(err, "update service account", "there is a service account of this name already")
		}
		return nil
	}
	_, err := tx.Exec(ctx, `
		UPDATE accounts.members SET role = $3, status = $4, status_reason = $5, updated_at = $6, name = $7
		 WHERE org_id = $1 AND user_id = $2`, next.OrgID, next.ID, next.Role, next.Status, next.Reason, at, next.Name)
	if err != nil {
		return fmt.Errorf("update member: %w", err)
	}
	return nil
}

// Remove implements [member.Store].
func (s *Members) Remove(ctx context.Context, r member.Ref, heirID string, edit func(member.Standing) (member.Removal, error)) (keys int, err error) {
	err = s.db.InOrg(ctx, r.OrgID, func(tx pgx.Tx) error {
		st, err := held(ctx, tx, r)
		if err != nil {
			return err
		}
		if err := leaving(ctx, tx, &st, heirID); err != nil {
			return err
		}
		removal, err := edit(st)
		if err != nil {
			return err
		}
		if keys, err = disposeKeys(ctx, tx, st, removal); err != nil {
			return err
		}
		if err := deleteMember(ctx, tx, r, removal.At); err != nil {
			return err
		}
		rec := removal.Record(keys)
		if err := endAllSessions(ctx, tx, r, rec, "its holder was removed"); err != nil {
			return err
		}
		return writeAudit(ctx, tx, "accounts", rec)
	})
	return keys, err
}

// endAllSessions ends what a member or a program acts by without a key.
func endAllSessions(ctx context.Context, tx pgx.Tx, r member.Ref, cause audit.Record, reason string) error {
	if err := lockHolder(ctx, tx, r.ID); err != nil {
		return err
	}
	return endFor(ctx, tx, ending{cause: cause, reason: reason, where: `holder_id = $4`, is: r.ID})
}

// readScopes adds what the member's keys grant.
func readScopes(ctx context.Context, tx pgx.Tx, st *member.Standing) error {
	var scopes []string
	err := tx.QueryRow(ctx, `
		SELECT coalesce(array_agg(DISTINCT s), '{}') FROM accounts.api_keys k, unnest(k.scopes) s
		 WHERE k.org_id = $1 AND k.owner_id = $2 AND k.revoked_at IS NULL`, st.Member.OrgID, st.Member.ID).Scan(&scopes)
	if err != nil {
		return fmt.Errorf("read scopes: %w", err)
	}
	st.Scopes = toScopes(scopes)
	return nil
}

// leaving adds what a removal is decided on: what the keys grant, and the heir.
func leaving(ctx context.Context, tx pgx.Tx, st *member.Standing, heirID string) error {
	if err := readScopes(ctx, tx, st); err != nil {
		return err
	}
	if heirID == "" {
		return nil
	}
	heir, err := getMember(ctx, tx, member.Ref{OrgID: st.Member.OrgID, Kind: member.KindOf(heirID), ID: heirID})
	switch {
	case fault.Is(err, fault.NotFound):
		return nil // the core says so
	case err != nil:
		return err
	}
	st.Heir = &heir
	return nil
}

// disposeKeys revokes the keys of one who leaves, or gives them to the heir.
func disposeKeys(ctx context.Context, tx pgx.Tx, st member.Standing, removal member.Removal) (n int, err error) {
	org, owner := st.Member.OrgID, st.Member.ID
	var rows pgx.Rows
	if st.Heir == nil {
		rows, err = tx.Query(ctx, `
			UPDATE accounts.api_keys SET revoked_at = $3, revoked_reason = 'its owner was removed'
			 WHERE org_id = $1 AND owner_id = $2 AND revoked_at IS NULL RETURNING key_id, name, project_id`, org, owner, removal.At)
	} else {
		kind := apikey.PersonalKey
		if st.Heir.Kind == member.Program {
			kind = apikey.ServiceKey
		}
		rows, err = tx.Query(ctx, `
			UPDATE accounts.api_keys SET owner_id = $3, kind = $4
			 WHERE org_id = $1 AND owner_id = $2 AND revoked_at IS NULL RETURNING key_id, name, project_id`, org, owner, st.Heir.ID, kind)
	}
	if err != nil {
		return 0, fmt.Errorf("change keys: %w", err)
	}
	var records []audit.Record
	var id, name, project string
	_, err = pgx.ForEachRow(rows, []any{&id, &name, &project}, func() error {
		records = append(records, removal.Key(id, name, project))
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("change keys: %w", err)
	}
	for _, rec := range records {
		if err := writeAudit(ctx, tx, "accounts", rec); err != nil {
			return 0, err
		}
	}
	return len(records), nil
}

// deleteMember ends a membership. Of a program the row stays: what it did names it.
func deleteMember(ctx context.Context, tx pgx.Tx, r member.Ref, at time.Time) error {
	if _, err := tx.Exec(ctx, `DELETE FROM accounts.project_members WHERE org_id = $1 AND member_id = $2`, r.OrgID, r.ID); err != nil {
		return fmt.Errorf("leave projects: %w", err)
	}
	var err error
	if r.Kind == member.Program {
		_, err = tx.Exec(ctx, `
			UPDATE accounts.service_accounts SET status = 'deleted', updated_at = $3 WHERE org_id = $1 AND account_id = $2`, r.OrgID, r.ID, at)
	} else {
		_, err = tx.Exec(ctx, `DELETE FROM accounts.members WHERE org_id = $1 AND user_id = $2`, r.OrgID, r.ID)
	}
	if err != nil {
		return fmt.Errorf("remove member: %w", err)
	}
	return nil
}
