package postgres_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/mail/layout"
)

func note(t *testing.T, org, user string) mail.Note {
	t.Helper()
	n, err := mail.NewNote(org, user, mail.KindPasswordReset, mail.PasswordReset{Expires: noon()}, noon())
	if err != nil {
		t.Fatal(err)
	}
	if n, err = n.Linking(openVault{}, "s3cret"); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestANoteFindsItsPerson(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change string
		org    string
		want   string // organisation and address; "" where it is not queued
	}{
		"where it happened":           {`SELECT 1`, "org_1", "org_1 dev@example.com"},
		"at home":                     {`SELECT 1`, "", "org_2 dev@example.com"}, // he was there first
		"at home, and suspended":      {`UPDATE accounts.members SET status = 'suspended' WHERE user_id = 'user_d' AND org_id = 'org_2'`, "", "org_1 dev@example.com"},
		"at home, which is suspended": {`UPDATE accounts.organizations SET status = 'suspended' WHERE org_id = 'org_2'`, "", "org_1 dev@example.com"},
		"suspended everywhere":        {`UPDATE accounts.members SET status = 'suspended' WHERE user_id = 'user_d'`, "", "org_2 dev@example.com"},
		"a member of nothing":         {`DELETE FROM accounts.members WHERE user_id = 'user_d'`, "", ""},
		"no member there":             {`DELETE FROM accounts.members WHERE user_id = 'user_d' AND org_id = 'org_1'`, "org_1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newMailbox(t)
			b.exec(`INSERT INTO accounts.members (org_id, user_id, role, created_at) VALUES ('org_2', 'user_d', 'developer', '2020-01-01')`)
			b.exec("%s", c.change)
			var queued bool
			err := b.open(postgres.RoleIdentity).AsUser(t.Context(), "user_d", func(tx pgx.Tx) (err error) {
				queued, err = postgres.QueueNote(t.Context(), tx, note(t, c.org, "user_d"))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			got := b.scalar(`SELECT coalesce(string_agg(org_id || ' ' || recipient, ','), '') FROM accounts.mails`)
			if got != c.want || queued != (c.want != "") {
				t.Errorf("%s, %v; want %s", got, queued, c.want)
			}
		})
	}
}

func TestANoteIsWrittenWithItsLink(t *testing.T) {
	t.Parallel()
	b := newMailbox(t)
	renderer, err := layout.New("https://ai.example.com")
	if err != nil {
		t.Fatal(err)
	}
	b.courier.Renderer = renderer.Opening(openVault{})
	err = b.open(postgres.RoleIdentity).Do(t.Context(), func(tx pgx.Tx) error {
		_, err := postgres.QueueNote(t.Context(), tx, note(t, "", "user_d"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b.now = noon()
	b.run()
	sent := b.recorder.Sent()
	if len(sent) != 1 || sent[0].To != "dev@example.com" || !strings.Contains(sent[0].Text, "https://ai.example.com/reset-password#token=s3cret\n") || !strings.Contains(sent[0].Text, "as a member of one.") {
		t.Errorf("%+v", sent)
	}
	if left := b.scalar(`SELECT data::text FROM accounts.mails`); left != "{}" {
		t.Errorf("what it told is kept: %s", left)
	}
}

func TestNobodyWritesToAnother(t *testing.T) {
	t.Parallel()
	b := newMailbox(t)
	db := b.open(postgres.RoleIdentity)
	err := db.AsUser(t.Context(), "user_o", func(tx pgx.Tx) error {
		_, err := postgres.QueueNote(t.Context(), tx, note(t, "", "user_d"))
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "another person is named") {
		t.Errorf("to another person: %v", err)
	}
	err = db.AsUserIn(t.Context(), "org_2", "user_d", func(tx pgx.Tx) error {
		_, err := postgres.QueueNote(t.Context(), tx, note(t, "org_1", "user_d"))
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "another organisation is named") {
		t.Errorf("on another's account: %v", err)
	}
}
