package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/event"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/mail/layout"
	"github.com/aiaas/aiaas/shared/mail/mailtest"
)

// mailbox is the fixture with people in org_1, and what brings mails to a recorder.
type mailbox struct {
	*fixture

	mails    *postgres.Mails // of one organisation
	queue    *postgres.Mails // of all
	events   *postgres.Events
	recorder *mailtest.Recorder
	now      time.Time
	courier  *mail.Courier
}

func newMailbox(t *testing.T) *mailbox {
	t.Helper()
	f := newFixture(t)
	f.exec(`
		INSERT INTO accounts.users (user_id, email, name, created_at) VALUES
		  ('user_o', 'owner@example.com', 'Olga', now()), ('user_d', 'dev@example.com', '', now()), ('user_s', 'suspended@example.com', 'Sam', now()), ('user_2', 'two@example.com', 'Two', now());
		INSERT INTO accounts.members (org_id, user_id, role, status, created_at) VALUES
		  ('org_1', 'user_o', 'owner', 'active', now()), ('org_1', 'user_d', 'developer', 'active', now()),
		  ('org_1', 'user_s', 'owner', 'suspended', now()), ('org_2', 'user_2', 'owner', 'active', now());
		UPDATE accounts.organizations SET contacts = '{"billing": "billing@example.com", "security": ""}' WHERE org_id = 'org_1'`)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	renderer, err := layout.New("https://ai.example.com")
	if err != nil {
		t.Fatal(err)
	}
	b := &mailbox{fixture: f, recorder: &mailtest.Recorder{}, now: noon()}
	b.mails = postgres.NewMails(f.open(postgres.RoleAccounts))
	b.queue = postgres.NewMails(f.open(postgres.RoleMailer))
	b.events = postgres.NewEvents(f.open(postgres.RoleNotifier)).Telling(mail.NewPlanner(log))
	b.courier = &mail.Courier{Queue: b.queue, Sender: b.recorder, Renderer: renderer, Now: func() time.Time { return b.now }, Log: log}
	return b
}

// happen publishes the event of an audited act.
func (b *mailbox) happen(org, action, target string, detail map[string]any) event.Event {
	b.t.Helper()
	e, ok, err := event.Of(audit.Record{OrgID: org, ID: id.New(id.Audit), At: b.now, Actor: "key_x", Action: action, Target: target, Detail: detail})
	if err != nil || !ok {
		b.t.Fatalf("%s is no event: %v", action, err)
	}
	b.publish(e)
	return e
}

func (b *mailbox) publish(events ...event.Event) {
	b.t.Helper()
	if err := b.events.Publish(b.t.Context(), events, b.now); err != nil {
		b.t.Fatal(err)
	}
}

func (b *mailbox) run() {
	b.t.Helper()
	if _, err := b.courier.Run(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// state is what became of the mails of org_1, the oldest first.
func (b *mailbox) state() string {
	b.t.Helper()
	list, err := b.mails.Mails(b.t.Context(), "org_1", mail.Filter{}, "", 1000)
	if err != nil {
		b.t.Fatal(err)
	}
	var out []string
	for _, m := range slices.Backward(list) {
		name, _, _ := strings.Cut(m.Recipient, "@")
		out = append(out, fmt.Sprintf("%s %s %d", name, m.Status, m.Attempts))
	}
	return strings.Join(out, ", ")
}

func (b *mailbox) want(state string) {
	b.t.Helper()
	if got := b.state(); got != state {
		b.t.Errorf("mails are %q; want %q", got, state)
	}
}

// key puts a key into org_1.
func (b *mailbox) key(keyID, owner, kind, rotateBy, more string) {
	b.t.Helper()
	b.exec(`INSERT INTO accounts.api_keys (org_id, key_id, project_id, name, environment, hash, fingerprint, scopes, created_by, created_at, secret_at, kind, owner_id, secret_by, rotate_by)
		VALUES ('org_1', '%[1]s', 'proj_1', 'name of %[1]s', 'production', sha256('%[1]s'::bytea), 'fp_%[1]s', '{}', 'x', now(), now(), '%[3]s', '%[2]s', '{%[2]s}', %[4]s);
		UPDATE accounts.api_keys SET name = name %[5]s WHERE key_id = '%[1]s'`, keyID, owner, kind, rotateBy, more)
}

func TestAnEventBecomesMailsOnce(t *testing.T) {
	t.Parallel()
	b := newMailbox(t)
	b.key("key_1", "user_d", "personal", "NULL", "")
	e := b.happen("org_1", "key.create", "key_1", map[string]any{"name": "k"})
	b.publish(e, e) // again, and twice in one
	b.happen("org_2", "organization.suspend", "org_2", nil)
	b.happen("org_1", "key.update", "key_1", nil) // is not told
	b.happen("org_1", "organization.suspend", "org_1", nil)
	b.want("dev queued 0, owner queued 0")
	b.run()
	b.want("dev sent 1, owner sent 1")
	b.run()
	if n := len(b.recorder.Sent()); n != 3 {
		t.Errorf("%d mails were sent; want 3, one of them by org_2", n)
	}
	for _, m := range b.recorder.Sent() {
		if m.To == "dev@example.com" && (!strings.Contains(m.Text, "name of key_1") || !strings.Contains(m.Text, "fp_key_1")) {
			t.Errorf("the mail does not describe the key:\n%s", m.Text)
		}
	}
	if left := b.scalar(`SELECT string_agg(DISTINCT data::text, ' ') FROM accounts.mails`); left != "{}" {
		t.Errorf("what the mails said is kept: %s", left)
	}
}

func TestAThresholdIsToldOnceInItsWindow(t *testing.T) {
	t.Parallel()
	b := newMailbox(t)
	for _, detail := range []map[string]any{
		{"threshold": 80, "window_start": "2026-10-01T00:00:00Z"},
		{"threshold": 80, "window_start": "2026-10-01T00:00:00Z"},
		{"threshold": 80, "window_start": "2026-11-01T00:00:00Z"},
	} {
		b.happen("org_1", "budget.threshold", "bud_1", detail)
	}
	b.want("billing queued 0, owner queued 0, billing queued 0, owner queued 0")
}

func TestTwoPublishersAtOnce(t *testing.T) {
	t.Parallel()
	b := newMailbox(t)
	e, _, err := event.Of(audit.Record{OrgID: "org_1", ID: id.New(id.Audit), At: b.now, Action: "organization.suspend", Target: "org_1"})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := b.events.Publish(t.Context(), []event.Event{e}, b.now); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	b.want("owner queued 0")
}

func TestCouriersShareTheWork(t *testing.T) {
	t.Parallel()
	b := newMailbox(t)
	const many = 120
	b.exec(`INSERT INTO accounts.mails (org_id, mail_id, kind, recipient, data, dedupe_key, created_at, next_attempt_at)
		SELECT 'org_1', 'mail_' || n, 'test', n || '@example.com', '{"content":{}}', n::text, '2026-10-12', '2026-10-12' FROM generate_series(1, %d) n`, many)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 3 {
				if _, err := b.courier.Run(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	b.run()
	to := map[string]int{}
	for _, m := range b.recorder.Sent() {
		to[m.To]++
	}
	if len(to) != many || len(b.recorder.Sent()) != many {
		t.Errorf("%d mails to %d people; want one to each of %d", len(b.recorder.Sent()), len(to), many)
	}
}

func TestHowAMailEnds(t *testing.T) {
	t.Parallel()
	down := &mail.PostponedError{Reason: "the mail server can't be reached", Down: true, Err: errors.New("connect to 10.0.0.7: refused")}
	for name, c := range map[string]struct {
		err    error
		status mail.Status
		says   string
	}{
		"accepted":          {nil, mail.StatusSent, ""},
		"refused":           {&mail.RefusedError{Reason: "550 5.1.1 no such user"}, mail.StatusFailed, "550 5.1.1 no such user"},
		"not now":           {&mail.PostponedError{Reason: "451 4.7.1 later", Err: errors.New("x")}, mail.StatusQueued, "451 4.7.1 later"},
		"the server is off": {down, mail.StatusQueued, "the mail server can't be reached"},
		"an unknown error":  {errors.New("dial tcp 10.0.0.7:587: refused"), mail.StatusQueued, "the mail server could not be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newMailbox(t)
			b.happen("org_1", "organization.suspend", "org_1", nil)
			b.recorder.Answer(func(mail.Message) error { return c.err })
			b.run()
			list, err := b.mails.Mails(t.Context(), "org_1", mail.Filter{}, "", 10)
			if err != nil || len(list) != 1 {
				t.Fatalf("%v, %v", list, err)
			}
			m := list[0]
			if m.Status != c.status || m.LastError != c.says || m.Attempts != 1 {
				t.Errorf("%+v; want %s, %q", m, c.status, c.says)
			}
			if queued := c.status == mail.StatusQueued; queued != m.FinishedAt.IsZero() || queued == m.NextAt.IsZero() || (queued && !m.NextAt.Equal(noon().Add(30*time.Second))) {
				t.Errorf("next %s, finished %s", m.NextAt, m.FinishedAt)
			}
		})
	}
}

func TestTheWaitsGrowAndEnd(t *testing.T) {
	t.Parallel()
	b := newMailbox(t)
	b.recorder.Answer(func(mail.Message) error { return &mail.PostponedError{Reason: "451 later", Err: errors.New("x")} })
	b.happen("org_1", "organization.suspend", "org_1", nil)
	start := b.now
	var waits []time.Duration
	for range 100 {
		b.run()
		list, err := b.mails.Mails(t.Context(), "org_1", mail.Filter{Status: mail.StatusQueued}, "", 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			break
		}
		waits = append(waits, list[0].NextAt.Sub(b.now))
		b.now = list[0].NextAt.Add(-time.Microsecond)
		b.run() // it is not its turn yet
		b.now = list[0].NextAt
	}
	if !slices.IsSorted(waits) || waits[0] != 30*time.Second || waits[1] != time.Minute || waits[len(waits)-1] != 4*time.Hour {
		t.Errorf("waits are %v", waits)
	}
	if d := b.now.Sub(start); d < 48*time.Hour || d > 52*time.Hour {
		t.Errorf("given up after %s; want about two days", d)
	}
	list, err := b.mails.Mails(t.Context(), "org_1", mail.Filter{}, "", 10)
	if err != nil || list[0].Status != mail.StatusFailed || list[0].LastError != "given up: 451 later" || list[0].Attempts != len(waits)+1 {
		t.Errorf("%+v, %v after %d waits", list, err, len(waits))
	}
}

func TestOneThatIsDownSparesTheOthers(t *testing.T) {
	t.Parallel()
	b := newMailbox(t)
	b.exec(`INSERT INTO accounts.mails (org_id, mail_id, kind, recipient, data, dedupe_key, created_at, next_attempt_at)
		SELECT 'org_1', 'mail_' || n, 'test', n || '@example.com', '{"content":{}}', n::text, '2026-10-12', '2026-10-12' FROM generate_series(1, 40) n`)
	asked := 0
	b.recorder.Answer(func(mail.Message) error {
		asked++
		return &mail.PostponedError{Reason: "down", Down: true, Err: errors.New("x")}
	})
	b.run()
	if asked > 4 {
		t.Errorf("a server that is down was asked %d times", asked)
	}
	if n := b.scalar(`SELECT count(*)::text FROM accounts.mails WHERE status = 'queued' AND attempts = 1 AND next_attempt_at = '2026-10-12 12:00:30+00'`); n != "40" {
		t.Errorf("%s mails are postponed; want all", n)
	}
}

func TestAMailThatCanNotBeWrittenFails(t *testing.T) {
	t.Parallel()
	b := newMailbox(t)
	b.exec(`INSERT INTO accounts.mails (org_id, mail_id, kind, recipient, data, dedupe_key, created_at, next_attempt_at) VALUES
		('org_1', 'mail_1', 'of.another.version', 'a@example.com', '{"content":{}}', '1', '2026-10-12', '2026-10-12'),
		('org_1', 'mail_2', 'test', 'b@example.com', '{"content":{}}', '2', '2026-10-12', '2026-10-12')`)
	b.run()
	b.want("a failed 1, b sent 1")
}

func TestWithoutASenderMailsWait(t *testing.T) {
	t.Parallel()
	b := newMailbox(t)
	b.happen("org_1", "organization.suspend", "org_1", nil)
	b.courier.Sender = nil
	b.run()
	b.want("owner queued 0")
	b.courier.Sender = b.recorder
	b.now = b.now.Add(10 * 24 * time.Hour) // late, but never tried
	b.run()
	b.want("owner sent 1")
}

func TestALostLeaseChangesNothing(t *testing.T) {
	t.Parallel()
	b := newMailbox(t)
	b.happen("org_1", "organization.suspend", "org_1", nil)
	lease := func() mail.Queued {
		t.Helper()
		list, err := b.queue.Lease(t.Context(), b.now, b.now.Add(time.Minute), 10)
		if err != nil || len(list) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		return list[0]
	}
	finish := func(q mail.Queued, s mail.Status) {
		t.Helper()
		err := b.queue.Finish(t.Context(), mail.Outcome{OrgID: q.OrgID, ID: q.ID, Attempt: q.Attempts, Status: s, At: b.now, Next: b.now.Add(time.Hour), Error: "e"})
		if err != nil {
			t.Fatal(err)
		}
	}
	first := lease()
	if list, err := b.queue.Lease(t.Context(), b.now, b.now.Add(time.Minute), 10); err != nil || len(list) != 0 {
		t.Errorf("a leased mail is leased again: %v, %v", list, err)
	}
	b.now = b.now.Add(time.Minute)
	second := lease()
	finish(first, mail.StatusFailed) // too late
	b.want("owner queued 2")
	finish(second, mail.StatusSent)
	b.want("owner sent 2")
	finish(second, mail.StatusFailed) // it has ended
	b.want("owner sent 2")
}

func TestNobodyIsFlooded(t *testing.T) {
	t.Parallel()
	b := newMailbox(t)
	b.key("key_1", "user_d", "personal", "NULL", "")
	for range 45 {
		b.happen("org_1", "key.create", "key_1", nil)
	}
	b.happen("org_1", "key.revoke_leaked", "key_1", nil) // what matters is not hidden among them
	count := func(kind string) string {
		return b.scalar(`SELECT count(*)::text FROM accounts.mails WHERE kind = '` + kind + `' AND recipient = 'dev@example.com' AND status <> 'suppressed'`)
	}
	if created, leaked := count("key.created"), count("key.leaked"); created != "30" || leaked != "1" {
		t.Errorf("%s and %s mails; want 30 and 1", created, leaked)
	}
	over := b.scalar(`SELECT count(*) || ' ' || count(*) FILTER (WHERE last_error <> '' AND data = '{}' AND finished_at IS NOT NULL) FROM accounts.mails
		WHERE status = 'suppressed' AND recipient = 'dev@example.com'`)
	if over != "15 15" {
		t.Errorf("what was too much is kept as %s; want 15 that say why", over)
	}
	b.now = b.now.Add(time.Hour + time.Second)
	b.happen("org_1", "key.create", "key_1", nil)
	if n := count("key.created"); n != "31" {
		t.Errorf("%s mails an hour later", n)
	}
}

func TestTestMails(t *testing.T) {
	t.Parallel()
	b := newMailbox(t)
	queue := func(n int) error {
		d := mail.Draft{ID: fmt.Sprintf("mail_%d", n), OrgID: "org_1", Kind: mail.KindTest, Recipient: "dev@example.com", Data: []byte(`{"content":{}}`), Key: fmt.Sprint(n)}
		return b.mails.QueueTest(t.Context(), d, mail.TestLimit{Most: 3, Since: b.now.Add(-time.Hour), Now: b.now}, record(t.Context(), "org_1", "mail.test"))
	}
	errs := make([]error, 8)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() { errs[i] = queue(i) })
	}
	group.Wait()
	limited := 0
	for _, err := range errs {
		if fault.Is(err, fault.RateLimited) {
			limited++
		} else if err != nil {
			t.Error(err)
		}
	}
	if limited != 5 {
		t.Errorf("%d of 8 at once were refused; want 5", limited)
	}
	if n := b.scalar(`SELECT count(*)::text FROM accounts.audit_records WHERE action = 'mail.test'`); n != "3" {
		t.Errorf("%s records; want one for each mail", n)
	}
}

func TestTheDirectory(t *testing.T) {
	t.Parallel()
	b := newMailbox(t)
	d, err := b.mails.Directory(t.Context(), "org_1")
	if err != nil {
		t.Fatal(err)
	}
	var people []string
	for _, p := range d.People {
		people = append(people, p.ID+" "+string(p.Role))
	}
	if d.Name != "one" || len(d.Contacts) != 1 || d.Contacts["billing"] != "billing@example.com" || !slices.Equal(people, []string{"user_d developer", "user_o owner"}) {
		t.Errorf("%+v", d)
	}
}

func TestAnOrganizationSeesItsOwnMailsOnly(t *testing.T) {
	t.Parallel()
	b := newMailbox(t)
	b.happen("org_1", "organization.suspend", "org_1", nil)
	b.happen("org_2", "organization.suspend", "org_2", nil)
	foreign := b.scalar(`SELECT mail_id FROM accounts.mails WHERE org_id = 'org_2'`)
	if m, err := b.mails.Mail(t.Context(), "org_1", foreign); !fault.Is(err, fault.NotFound) {
		t.Errorf("a foreign mail: %+v, %v", m, err)
	}
	conn, err := pgx.Connect(t.Context(), b.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	for _, c := range []struct{ what, role, sql, state string }{
		{"what a mail says", "aiaas_accounts", `SELECT data FROM accounts.mails`, "42501"},
		{"queueing past the function", "aiaas_accounts", `INSERT INTO accounts.mails VALUES ('org_1', 'mail_x', 'test', 'a', '{}', 'x')`, "42501"},
		{"changing a mail", "aiaas_accounts", `UPDATE accounts.mails SET recipient = 'eve@example.com'`, "42501"},
		{"deleting a mail", "aiaas_accounts", `DELETE FROM accounts.mails`, "42501"},
		{"a foreign directory", "aiaas_accounts", `SELECT accounts.mail_directory('org_2')`, "42501"},
		{"a foreign key", "aiaas_accounts", `SELECT accounts.mail_key('org_2', 'key_1')`, "42501"},
		{"queueing for another", "aiaas_accounts", `SELECT accounts.queue_mails('org_2', '{mail_x}', '{test}', '{a}', ARRAY['{}'::jsonb], '{x}', now())`, "42501"},
		{"a directory in no organisation", "aiaas_accounts", `SELECT set_config('app.org_id', '', true), accounts.mail_directory('org_1')`, "42501"},
		{"a key in no organisation", "aiaas_accounts", `SELECT set_config('app.org_id', '', true), accounts.mail_key('org_1', 'key_1')`, "42501"},
		{"queueing in no organisation", "aiaas_accounts", `SELECT set_config('app.org_id', '', true), accounts.queue_mails('org_1', '{mail_x}', '{test}', '{a}', ARRAY['{}'::jsonb], '{x}', now())`, "42501"},
		{"another's recipient, by the mailer", "aiaas_mailer", `UPDATE accounts.mails SET recipient = 'eve@example.com'`, "42501"},
		{"a key's hash, by the mailer", "aiaas_mailer", `SELECT hash FROM accounts.api_keys`, "42501"},
		{"an organisation's settings, by the mailer", "aiaas_mailer", `SELECT settings FROM accounts.organizations`, "42501"},
		{"the directory, by the data plane", "aiaas_gateway", `SELECT accounts.mail_directory('org_1')`, "42501"},
	} {
		err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), `SET LOCAL ROLE `+c.role); err != nil {
				return err
			}
			if _, err := tx.Exec(t.Context(), `SELECT set_config('app.org_id', 'org_1', true)`); err != nil {
				return err
			}
			_, err := tx.Exec(t.Context(), c.sql)
			return err
		})
		if err == nil || !strings.Contains(err.Error(), c.state) {
			t.Errorf("%s: %v; want %s", c.what, err, c.state)
		}
	}
}

func TestTheListOfMails(t *testing.T) {
	t.Parallel()
	b := newMailbox(t)
	for range 3 {
		b.happen("org_1", "budget.threshold", id.New(id.Budget), nil)
	}
	b.happen("org_1", "organization.suspend", "org_1", nil)
	page := func(f mail.Filter, before string, limit int) []mail.Mail {
		t.Helper()
		list, err := b.mails.Mails(t.Context(), "org_1", f, before, limit)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	all := page(mail.Filter{}, "", 100)
	if len(all) != 7 || all[0].Kind != mail.KindOrgSuspended || !slices.IsSortedFunc(all, func(a, b mail.Mail) int { return strings.Compare(b.ID, a.ID) }) {
		t.Fatalf("%d mails, the first %+v", len(all), all[0])
	}
	var paged []mail.Mail
	for before := ""; ; {
		p := page(mail.Filter{}, before, 2)
		if len(p) == 0 {
			break
		}
		paged = append(paged, p...)
		before = p[len(p)-1].ID
	}
	if !slices.Equal(paged, all) {
		t.Errorf("in pages there are %d", len(paged))
	}
	for f, want := range map[mail.Filter]int{
		{Status: mail.StatusQueued}: 7, {Status: mail.StatusFailed}: 0, {Kind: mail.KindBudget}: 6, {Recipient: "BILLING@example.com"}: 3,
		{Kind: mail.KindOrgSuspended, Recipient: "billing@example.com"}: 0,
	} {
		if got := len(page(f, "", 100)); got != want {
			t.Errorf("%+v finds %d; want %d", f, got, want)
		}
	}
}

func TestMailsAreForgotten(t *testing.T) {
	t.Parallel()
	b := newMailbox(t)
	b.happen("org_1", "organization.suspend", "org_1", nil)
	b.happen("org_2", "organization.suspend", "org_2", nil)
	b.exec(`UPDATE accounts.organizations SET legal_hold = true WHERE org_id = 'org_2'`)
	b.now = b.now.Add(mail.Retention)
	if n, err := b.courier.Prune(t.Context()); err != nil || n != nil {
		t.Errorf("%v, %v", n, err)
	}
	b.now = b.now.Add(time.Microsecond)
	if n, err := b.courier.Prune(t.Context()); err != nil || n["mails"] != 1 {
		t.Errorf("%v, %v; want one", n, err)
	}
	if left := b.scalar(`SELECT string_agg(org_id, ' ') FROM accounts.mails`); left != "org_2" {
		t.Errorf("left are those of %s; want those under legal hold", left)
	}
}

func TestKeysAreRemindedOfOnceAStage(t *testing.T) {
	t.Parallel()
	b := newMailbox(t)
	at := func(days int) string {
		return fmt.Sprintf("'2026-10-12 12:00+00'::timestamptz + interval '%d days'", days)
	}
	b.key("key_1", "user_d", "personal", at(20), "")
	b.key("key_far", "user_d", "personal", at(200), "")
	b.key("key_none", "user_d", "personal", "NULL", "")
	b.key("key_revoked", "user_d", "personal", at(1), ", revoked_at = now()")
	b.key("key_suspended", "user_d", "personal", at(1), ", suspended_at = now()")
	b.key("key_expiring", "user_d", "personal", at(10), ", expires_at = rotate_by - interval '1 day'")
	b.key("key_service", "sa_1", "service", at(20), "")
	reminders := &mail.Reminders{Store: b.queue, Now: func() time.Time { return b.now }}
	var told []string
	for hour := range 24 * 23 {
		b.now = noon().Add(time.Duration(hour) * time.Hour)
		counts, err := reminders.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n := counts["keys"]; n > 0 {
			told = append(told, fmt.Sprintf("day %d: %d", hour/24, n))
		}
	}
	if want := []string{"day 6: 2", "day 13: 2", "day 19: 2", "day 20: 2"}; !slices.Equal(told, want) {
		t.Errorf("reminded on %v; want %v", told, want)
	}
	b.exec(`UPDATE accounts.api_keys SET rotate_by = %s WHERE key_id = 'key_1'`, at(23)) // it was rotated
	counts, err := reminders.Run(t.Context())
	if err != nil || counts["keys"] != 1 {
		t.Errorf("a new date: %v, %v", counts, err)
	}
	if n := b.scalar(`SELECT count(*)::text FROM accounts.audit_records`); n != "0" {
		t.Errorf("%s audit records of reminders", n)
	}
	var waiting []event.Event
	outbox := postgres.NewOutbox(b.open(postgres.RoleNotifier), "accounts")
	if waiting, err = outbox.Oldest(t.Context(), 100); err != nil || len(waiting) != 9 {
		t.Fatalf("%d events, %v", len(waiting), err)
	}
	b.publish(waiting...)
	b.run()
	var subjects []string
	for _, m := range b.recorder.Sent() {
		subjects = append(subjects, m.To[:3]+": "+m.Subject)
	}
	slices.Sort(subjects)
	want := []string{
		"dev: Change the API key “name of key_1” now", "dev: Change the API key “name of key_1” within 14 days", "dev: Change the API key “name of key_1” within 7 days",
		"dev: Change the API key “name of key_1” within a day", "dev: Change the API key “name of key_1” within a day",
		"own: Change the API key “name of key_service” now", "own: Change the API key “name of key_service” within 14 days",
		"own: Change the API key “name of key_service” within 7 days", "own: Change the API key “name of key_service” within a day",
	}
	if !slices.Equal(subjects, want) {
		t.Errorf("sent\n%s", strings.Join(subjects, "\n"))
	}
}

func TestRemindersAtOnce(t *testing.T) {
	t.Parallel()
	b := newMailbox(t)
	for i := range 20 {
		b.key(fmt.Sprintf("key_%d", i), "user_d", "personal", "'2026-10-13 12:00+00'", "")
	}
	var group sync.WaitGroup
	for range 6 {
		group.Go(func() {
			if _, err := (&mail.Reminders{Store: b.queue, Now: noon}).Run(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := b.scalar(`SELECT count(*)::text FROM accounts.outbox`); n != "20" {
		t.Errorf("%s events; want one for each key", n)
	}
}
