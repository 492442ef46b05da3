package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/event"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/mail"
)

// Mails keeps what people are told by mail in the schema accounts: an
// organisation's view under [RoleAccounts], the queue under [RoleMailer].
type Mails struct{ db *DB }

// NewMails makes the store of mails.
func NewMails(db *DB) *Mails { return &Mails{db: db} }

const selectMails = `
	SELECT mail_id, kind, recipient, status, attempts, last_error, created_at,
	       CASE status WHEN 'queued' THEN next_attempt_at END, finished_at
	  FROM accounts.mails WHERE org_id = $1`

func scanMail(row pgx.CollectableRow) (mail.Mail, error) {
	var m mail.Mail
	var next, finished *time.Time
	err := row.Scan(&m.ID, &m.Kind, &m.Recipient, &m.Status, &m.Attempts, &m.LastError, &m.CreatedAt, &next, &finished)
	if err != nil {
		return m, fmt.Errorf("scan mail: %w", err)
	}
	if next != nil {
		m.NextAt = *next
	}
	if finished != nil {
		m.FinishedAt = *finished
	}
	return m, nil
}

// Mails implements [mail.Store].
func (s *Mails) Mails(ctx context.Context, org string, f mail.Filter, before string, limit int) ([]mail.Mail, error) {
	var list []mail.Mail
	err := s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, selectMails+`
			AND ($2 = '' OR status = $2) AND ($3 = '' OR kind = $3) AND ($4 = '' OR lower(recipient) = lower($4)) AND ($5 = '' OR mail_id < $5)
			ORDER BY mail_id DESC LIMIT $6`, org, f.Status, f.Kind, f.Recipient, before, limit)
		if err != nil {
			return fmt.Errorf("list mails: %w", err)
		}
		list, err = pgx.CollectRows(rows, scanMail)
		if err != nil {
			return fmt.Errorf("list mails: %w", err)
		}
		return nil
	})
	return list, err
}

// Mail implements [mail.Store].
func (s *Mails) Mail(ctx context.Context, org, id string) (mail.Mail, error) {
	var m mail.Mail
	err := s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, selectMails+` AND mail_id = $2`, org, id)
		if err != nil {
			return fmt.Errorf("load mail: %w", err)
		}
		m, err = pgx.CollectExactlyOneRow(rows, scanMail)
		if err != nil {
			return fmt.Errorf("load mail: %w", err)
		}
		return nil
	})
	return m, err
}

// Directory implements [mail.Store].
func (s *Mails) Directory(ctx context.Context, org string) (mail.Directory, error) {
	var d mail.Directory
	err := s.db.InOrg(ctx, org, func(tx pgx.Tx) error {
		var err error
		d, err = mailDirectory(ctx, tx, org)
		return err
	})
	return d, err
}

func mailDirectory(ctx context.Context, tx pgx.Tx, org string) (mail.Directory, error) {
	d := mail.Directory{Contacts: map[string]string{}}
	rows, err := tx.Query(ctx, `SELECT part, id, address, name, role, unwanted FROM accounts.mail_directory($1)`, org)
	if err != nil {
		return d, fmt.Errorf("read mail directory: %w", err)
	}
	var part, id, address, name, role string
	var unwanted []mail.Group
	_, err = pgx.ForEachRow(rows, []any{&part, &id, &address, &name, &role, &unwanted}, func() error {
		switch part {
		case "organization":
			d.Name = mail.Name(name)
		case "contact":
			d.Contacts[role] = address
		case "member":
			d.People = append(d.People, mail.Person{ID: id, Address: address, Name: mail.Name(name), Role: authz.Role(role), Unwanted: slices.Clone(unwanted)})
		}
		return nil
	})
	if err != nil {
		return d, fmt.Errorf("read mail directory: %w", err)
	}
	return d, nil
}

// QueueTest implements [mail.Store].
func (s *Mails) QueueTest(ctx context.Context, d mail.Draft, limit mail.TestLimit, rec audit.Record) error {
	return s.db.InOrg(ctx, d.OrgID, func(tx pgx.Tx) error {
		// Two at once would both count before either is counted.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('test mail ' || $1))`, d.OrgID); err != nil {
			return fmt.Errorf("lock test mails: %w", err)
		}
		var n int
		err := tx.QueryRow(ctx, `SELECT count(*) FROM accounts.mails WHERE org_id = $1 AND kind = $2 AND created_at > $3`, d.OrgID, d.Kind, limit.Since).Scan(&n)
		switch {
		case err != nil:
			return fmt.Errorf("count test mails: %w", err)
		case n >= limit.Most:
			return fault.New(fault.RateLimited, "an organization can send %d test mails an hour", limit.Most).After(limit.Now.Sub(limit.Since))
		}
		if err := queueMails(ctx, tx, d.OrgID, limit.Now, []mail.Draft{d}); err != nil {
			return err
		}
		return writeAudit(ctx, tx, "accounts", rec)
	})
}

// queueMails queues those of an organisation that are new.
func queueMails(ctx context.Context, tx pgx.Tx, org string, at time.Time, drafts []mail.Draft) error {
	n := len(drafts)
	if n == 0 {
		return nil
	}
	ids, kinds, recipients, keys := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	data := make([][]byte, n)
	for i, d := range drafts {
		ids[i], kinds[i], recipients[i], data[i], keys[i] = d.ID, string(d.Kind), d.Recipient, d.Data, d.Key
	}
	if _, err := tx.Exec(ctx, `SELECT accounts.queue_mails($1, $2, $3, $4, $5::jsonb[], $6, $7)`, org, ids, kinds, recipients, data, keys, at); err != nil {
		return fmt.Errorf("queue mails: %w", err)
	}
	return nil
}

// tell queues the mails about events that are new to the log, in the transaction
// that puts them there.
func (s *Events) tell(ctx context.Context, tx pgx.Tx, events []event.Event, fresh freshEvents, at time.Time) error {
	if s.mails == nil {
		return nil
	}
	given := make(map[string]event.Event, len(events))
	for _, e := range events {
		given[e.ID] = e
	}
	for i, eventID := range fresh.events {
		e := given[eventID]
		e.OrgID = fresh.orgs[i]
		if !s.mails.Tells(e) {
			continue
		}
		if err := tellOne(ctx, tx, s.mails, e, at); err != nil {
			return err
		}
	}
	return nil
}

func tellOne(ctx context.Context, tx pgx.Tx, p *mail.Planner, e event.Event, at time.Time) error {
	d, err := mailDirectory(ctx, tx, e.OrgID)
	if err != nil {
		return err
	}
	key, err := mailKey(ctx, tx, e.OrgID, p.AboutKey(e))
	if err != nil {
		return err
	}
	return queueMails(ctx, tx, e.OrgID, at, p.Plan(ctx, e, d, key))
}

// mailKey is a key as mails show it; nil where there is none.
func mailKey(ctx context.Context, tx pgx.Tx, org, keyID string) (*mail.Key, error) {
	if keyID == "" {
		return nil, nil //nolint:nilnil // the event is about no key
	}
	k := mail.Key{KeyFacts: mail.KeyFacts{ID: keyID}}
	rows, err := tx.Query(ctx, `SELECT name, fingerprint, environment, kind = 'service', owner_id FROM accounts.mail_key($1, $2)`, org, keyID)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	found := false
	_, err = pgx.ForEachRow(rows, []any{&k.Name, &k.Fingerprint, &k.Environment, &k.Service, &k.OwnerID}, func() error {
		found = true
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	if !found {
		return nil, nil //nolint:nilnil // it is not known any more
	}
	return &k, nil
}
