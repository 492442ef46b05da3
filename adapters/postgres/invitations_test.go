package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/invitation"
	"github.com/aiaas/aiaas/shared/mail"
)

// openVault seals in a way that shows what was sealed.
type openVault struct{}

func (openVault) Seal(plain, bound string) (string, error) { return bound + "|" + plain, nil }

func (openVault) Open(sealed, bound string) (string, error) {
	return strings.TrimPrefix(sealed, bound+"|"), nil
}

// knownPasswords knows one that is right.
type knownPasswords struct{}

func (knownPasswords) Check(_ context.Context, _, password string, _ invitation.From) error {
	if password != "right" {
		return fault.New(fault.Unauthenticated, "")
	}
	return nil
}

func (knownPasswords) First(_ context.Context, password string, _ ...string) (string, error) {
	return "$argon2id$" + password, nil
}

type noBump struct{}

func (noBump) Bump(context.Context, string) error { return nil }

// inviting is the fixture with an owner and an admin of org_1, and the rules over the
// real stores.
type inviting struct {
	*fixture

	now    time.Time
	admin  *invitation.Service
	accept *invitation.Acceptance
	expiry *invitation.Expiry
}

func newInviting(t *testing.T) *inviting {
	t.Helper()
	f := newFixture(t)
	f.exec(`
		INSERT INTO accounts.users (user_id, email, name, created_at) VALUES ('user_o', 'owner@example.com', 'Olga', now()), ('user_a', 'admin@example.com', 'Al', now()), ('user_k', 'known@example.com', 'Kim', now());
		INSERT INTO accounts.members (org_id, user_id, role, name, created_at) VALUES ('org_1', 'user_o', 'owner', 'Olga', now()), ('org_1', 'user_a', 'admin', '', now()), ('org_2', 'user_k', 'owner', 'Kim', now());
		INSERT INTO accounts.projects (org_id, project_id, name, created_at, archived_at) VALUES ('org_1', 'proj_old', 'old', now(), now());
		UPDATE accounts.organizations SET plan = 'selfhosted'`)
	w := &inviting{fixture: f, now: noon()}
	clock := func() time.Time { return w.now }
	accounts := postgres.NewInvitations(f.open(postgres.RoleAccounts))
	w.admin = &invitation.Service{Store: accounts, Vault: openVault{}, Now: clock}
	w.accept = &invitation.Acceptance{Store: accounts, Passwords: knownPasswords{}, Bump: noBump{}, Now: clock}
	w.expiry = &invitation.Expiry{Store: postgres.NewInvitations(f.open(postgres.RoleIdentity)), Now: clock}
	return w
}

func by(org, owner string, r authz.Role) authz.Principal {
	return authz.Principal{OrgID: org, KeyID: "key_of_" + owner, OwnerID: owner, Role: r, Scopes: authz.Scopes(), Method: authz.ByKey}
}

func (w *inviting) owner() authz.Principal { return by("org_1", "user_o", authz.Owner) }

func (w *inviting) invite(email, role string) invitation.Invitation {
	w.t.Helper()
	i, err := w.admin.Invite(w.t.Context(), w.owner(), invitation.New{Email: email, Role: role})
	if err != nil {
		w.t.Fatal(err)
	}
	return i
}

// token is the secret of the last link that was sent to an address.
func (w *inviting) token(email string) string {
	w.t.Helper()
	var l mail.Letter
	data := w.scalar(`SELECT data::text FROM accounts.mails WHERE kind = 'member.invited' AND recipient = '` + email + `' ORDER BY mail_id DESC LIMIT 1`)
	if err := json.Unmarshal([]byte(data), &l); err != nil {
		w.t.Fatal(err)
	}
	_, token, _ := strings.Cut(l.Sealed, "|")
	return token
}

func (w *inviting) take(email, password string) (invitation.Member, error) {
	return w.accept.Accept(w.t.Context(), invitation.Accept{Token: w.token(email), Name: "Ada L.", Password: password, From: invitation.From{Address: "192.0.2.7"}})
}

func (w *inviting) counts(what, where string) string {
	w.t.Helper()
	return w.scalar(`SELECT count(*)::text FROM accounts.` + what + ` WHERE ` + where)
}

func TestAnInvitationIsKeptAsItIs(t *testing.T) {
	t.Parallel()
	w := newInviting(t)
	n := invitation.New{Email: "Ada@Example.com", Name: "Ada", Role: "developer", Projects: map[string]authz.ProjectRole{"proj_1": "viewer"}}
	sent, err := w.admin.Invite(t.Context(), w.owner(), n)
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.admin.Get(t.Context(), w.owner(), sent.ID)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sent, got); d != "" {
		t.Error(d)
	}
	if w.counts("audit_records", `action = 'invitation.create' AND target = '`+sent.ID+`' AND org_id = 'org_1'`) != "1" || w.counts("outbox", `payload::jsonb->>'type' = 'invitation.created'`) != "1" {
		t.Error("it is not recorded, or no event")
	}
	if secret := w.scalar(`SELECT row_to_json(i)::text FROM accounts.invitations i`); strings.Contains(secret, w.token("ada@example.com")) {
		t.Error("the secret is stored in the clear")
	}
	foreign := by("org_2", "user_k", authz.Owner)
	if _, err := w.admin.Get(t.Context(), foreign, sent.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("another organisation: %v", err)
	}
	if err := w.admin.Withdraw(t.Context(), foreign, sent.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("another organisation withdraws: %v", err)
	}
	if _, err := w.admin.Resend(t.Context(), foreign, sent.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("another organisation sends again: %v", err)
	}
	if list, err := w.admin.List(t.Context(), foreign, "", "", 10); err != nil || len(list) != 0 {
		t.Errorf("another organisation sees %v, %v", list, err)
	}
}

func TestANewPersonAccepts(t *testing.T) {
	t.Parallel()
	w := newInviting(t)
	i, err := w.admin.Invite(t.Context(), w.owner(), invitation.New{Email: "ada@example.com", Role: "developer", Projects: map[string]authz.ProjectRole{"proj_1": "manager"}})
	if err != nil {
		t.Fatal(err)
	}
	if o, err := w.accept.Inspect(t.Context(), w.token("ada@example.com")); err != nil || o.OrgName != "one" || o.RoleName != "developer" || o.UserID != "" || o.Password || !o.OrgOpen {
		t.Errorf("%+v, %v", o, err)
	}
	m, err := w.take("ada@example.com", "p")
	if err != nil || !id.Valid(id.User, m.UserID) || m.OrgID != "org_1" {
		t.Fatalf("%+v, %v", m, err)
	}
	got := w.scalar(`SELECT concat_ws('|', u.email, u.name, u.email_verified_at = '2026-10-12 12:00+00', p.phc, m.role, m.name, m.status, m.added_by, x.role)
		FROM accounts.users u JOIN accounts.passwords p USING (user_id) JOIN accounts.members m USING (user_id) JOIN accounts.project_members x ON x.member_id = u.user_id
		WHERE user_id = '` + m.UserID + `'`)
	if got != "ada@example.com|Ada L.|t|$argon2id$p|developer|Ada L.|active|key_of_user_o|manager" {
		t.Errorf("%s", got)
	}
	kept, err := w.admin.Get(t.Context(), w.owner(), i.ID)
	if err != nil || kept.Status != invitation.Accepted || kept.MemberID != m.UserID || !kept.EndedAt.Equal(noon()) {
		t.Errorf("%+v, %v", kept, err)
	}
	for _, action := range []string{"invitation.accept", "member.add", "project_member.set"} {
		if w.counts("audit_records", `action = '`+action+`' AND actor = '`+m.UserID+`' AND source_address = '192.0.2.7'`) != "1" {
			t.Errorf("%s is not recorded", action)
		}
	}
	if _, err := w.take("ada@example.com", "p"); !fault.Is(err, fault.NotFound) {
		t.Errorf("once more: %v", err)
	}
	if _, err := w.admin.Invite(t.Context(), w.owner(), invitation.New{Email: "ada@example.com", Role: "analyst"}); !fault.Is(err, fault.Conflict) {
		t.Errorf("a member is invited: %v", err)
	}
}

func TestAKnownPersonAccepts(t *testing.T) {
	t.Parallel()
	w := newInviting(t)
	w.exec(`INSERT INTO accounts.passwords VALUES ('user_k', '$argon2id$old', now())`)
	w.invite("known@example.com", "analyst")
	if _, err := w.take("known@example.com", "wrong"); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("another password: %v", err)
	}
	m, err := w.take("known@example.com", "right")
	if err != nil || m.UserID != "user_k" {
		t.Fatalf("%+v, %v", m, err)
	}
	got := w.scalar(`SELECT concat_ws('|', u.name, p.phc, u.email_verified_at IS NOT NULL, m.name) FROM accounts.users u JOIN accounts.passwords p USING (user_id)
		JOIN accounts.members m USING (user_id) WHERE user_id = 'user_k' AND m.org_id = 'org_1'`)
	if got != "Kim|$argon2id$old|t|Kim" {
		t.Errorf("the person is another now: %s", got)
	}
}

func TestAFirstPasswordReplacesNone(t *testing.T) {
	t.Parallel()
	w := newInviting(t)
	w.invite("known@example.com", "analyst")
	hash := w.scalar(`SELECT encode(token_hash, 'hex') FROM accounts.invitations`)
	store := postgres.NewInvitations(w.open(postgres.RoleAccounts))
	var h invitation.Hash
	copy(h[:], fromHex(t, hash))
	w.exec(`INSERT INTO accounts.passwords VALUES ('user_k', '$argon2id$old', now())`) // while the first one was chosen
	err := store.Accept(t.Context(), "org_1", h, invitation.Taking{Password: "$argon2id$new", At: w.now}, func(invitation.Taken) (invitation.Joining, error) {
		t.Error("it is asked")
		return invitation.Joining{}, nil
	})
	if !fault.Is(err, fault.Conflict) || w.scalar(`SELECT phc FROM accounts.passwords`) != "$argon2id$old" || w.counts("invitations", `status = 'open'`) != "1" {
		t.Errorf("%v", err)
	}
}

func fromHex(t *testing.T, text string) []byte {
	t.Helper()
	var raw []byte
	if _, err := fmt.Sscanf(text, "%x", &raw); err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestOfFiftyAcceptancesOneSucceeds(t *testing.T) {
	t.Parallel()
	w := newInviting(t)
	w.invite("ada@example.com", "developer")
	token := w.token("ada@example.com")
	// Two processes have two pools.
	second := &invitation.Acceptance{Store: postgres.NewInvitations(w.open(postgres.RoleAccounts)), Passwords: knownPasswords{}, Bump: noBump{}, Now: w.accept.Now}
	var mu sync.Mutex
	var fine, gone, other int
	var group sync.WaitGroup
	for n := range 50 {
		a := []*invitation.Acceptance{w.accept, second}[n%2]
		group.Go(func() {
			_, err := a.Accept(t.Context(), invitation.Accept{Token: token, Name: "Ada", Password: fmt.Sprint("p", n)})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				fine++
			case fault.Is(err, fault.NotFound), fault.Is(err, fault.Unauthenticated): // the password of another was there first
				gone++
			default:
				t.Error(err)
				other++
			}
		})
	}
	group.Wait()
	if fine != 1 || gone != 49 || other != 0 {
		t.Errorf("%d succeeded, %d were refused, %d failed", fine, gone, other)
	}
	if w.counts("members", `org_id = 'org_1' AND role = 'developer'`) != "1" || w.counts("audit_records", `action = 'member.add'`) != "1" || w.counts("users", `email = 'ada@example.com'`) != "1" {
		t.Error("it was done more than once")
	}
}

func TestOneOpenInvitationForAnAddress(t *testing.T) {
	t.Parallel()
	w := newInviting(t)
	var fine int
	var mu sync.Mutex
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			_, err := w.admin.Invite(t.Context(), w.owner(), invitation.New{Email: "ada@example.com", Role: "developer"})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				fine++
			} else if !fault.Is(err, fault.Conflict) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if fine != 1 || w.counts("invitations", "true") != "1" || w.counts("mails", `kind = 'member.invited'`) != "1" {
		t.Errorf("%d succeeded", fine)
	}
	foreign := by("org_2", "user_k", authz.Owner)
	if _, err := w.admin.Invite(t.Context(), foreign, invitation.New{Email: "ada@example.com", Role: "developer"}); err != nil {
		t.Errorf("another organisation: %v", err)
	}
	w.now = w.now.Add(8 * 24 * time.Hour) // nothing has ended it yet
	w.invite("ada@example.com", "analyst")
	if w.counts("invitations", `org_id = 'org_1' AND status = 'expired'`) != "1" || w.counts("invitations", `org_id = 'org_1' AND status = 'open'`) != "1" {
		t.Error("the old one holds the address")
	}
}

func TestInvitationsCountForThePlan(t *testing.T) {
	t.Parallel()
	w := newInviting(t)
	w.exec(`INSERT INTO accounts.plans (plan_id, name, max_members) VALUES ('four', 'Four', 4); UPDATE accounts.organizations SET plan = 'four'`)
	first := w.invite("a@example.com", "developer")
	w.invite("b@example.com", "developer")
	refused := func(what string) {
		t.Helper()
		if _, err := w.admin.Invite(t.Context(), w.owner(), invitation.New{Email: "c@example.com", Role: "developer"}); !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("two members and two invitations")
	if _, err := w.take("a@example.com", "p"); err != nil {
		t.Fatal(err)
	}
	refused("three members and one invitation")
	w.exec(`UPDATE accounts.plans SET max_members = 3 WHERE plan_id = 'four'`)
	if _, err := w.take("b@example.com", "p"); !fault.Is(err, fault.Conflict) {
		t.Errorf("accepted past the plan: %v", err)
	}
	if w.counts("invitations", `email = 'b@example.com' AND status = 'open'`) != "1" || w.counts("users", `email = 'b@example.com'`) != "0" {
		t.Error("what was refused has left something behind")
	}
	if got, err := w.admin.Get(t.Context(), w.owner(), first.ID); err != nil || got.Status != invitation.Accepted {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAnotherLinkEndsTheFirst(t *testing.T) {
	t.Parallel()
	w := newInviting(t)
	i := w.invite("ada@example.com", "developer")
	old := w.token("ada@example.com")
	w.now = w.now.Add(2 * time.Minute)
	again, err := w.admin.Resend(t.Context(), by("org_1", "user_a", authz.Admin), i.ID)
	if err != nil || again.Sends != 2 || again.InviterID != "user_a" {
		t.Fatalf("%+v, %v", again, err)
	}
	if _, err := w.accept.Inspect(t.Context(), old); !fault.Is(err, fault.NotFound) {
		t.Errorf("the old link: %v", err)
	}
	if err := w.admin.Withdraw(t.Context(), w.owner(), i.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.take("ada@example.com", "p"); !fault.Is(err, fault.NotFound) {
		t.Errorf("withdrawn: %v", err)
	}
	if w.counts("audit_records", `action IN ('invitation.resend', 'invitation.withdraw')`) != "2" {
		t.Error("it is not recorded")
	}
}

func TestWhatTheInviterIsNow(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change string
		fine   bool
	}{
		"as he was":                  {`SELECT 1`, true},
		"suspended":                  {`UPDATE accounts.members SET status = 'suspended' WHERE user_id = 'user_a'`, false},
		"gone":                       {`DELETE FROM accounts.members WHERE user_id = 'user_a'`, false},
		"lower":                      {`UPDATE accounts.members SET role = 'developer' WHERE user_id = 'user_a'`, false},
		"higher":                     {`UPDATE accounts.members SET role = 'owner' WHERE user_id = 'user_a'`, true},
		"of one whose trial is over": {`UPDATE accounts.organizations SET status = 'trial', trial_ends_at = '2026-10-12 12:00+00'`, false},
		"of one on trial":            {`UPDATE accounts.organizations SET status = 'trial', trial_ends_at = '2026-10-12 12:01+00'`, true},
		"of a closed one":            {`UPDATE accounts.organizations SET status = 'closed'`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newInviting(t)
			if _, err := w.admin.Invite(t.Context(), by("org_1", "user_a", authz.Admin), invitation.New{Email: "ada@example.com", Role: "developer"}); err != nil {
				t.Fatal(err)
			}
			w.exec("%s", c.change)
			_, err := w.take("ada@example.com", "p")
			if (err == nil) != c.fine || err != nil && !fault.Is(err, fault.NotFound) {
				t.Errorf("%v", err)
			}
			if err != nil && w.counts("users", `email = 'ada@example.com'`) != "0" {
				t.Error("the person was made all the same")
			}
		})
	}
}

func TestInvitationsExpireOnceAndAreForgotten(t *testing.T) {
	t.Parallel()
	w := newInviting(t)
	w.invite("a@example.com", "developer")
	w.invite("b@example.com", "developer")
	if _, err := w.take("b@example.com", "p"); err != nil {
		t.Fatal(err)
	}
	if counts, err := w.expiry.Run(t.Context()); err != nil || counts != nil {
		t.Errorf("too early: %v, %v", counts, err)
	}
	w.now = w.now.Add(7 * 24 * time.Hour)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if _, err := w.expiry.Run(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if w.counts("invitations", `status = 'expired'`) != "1" || w.counts("audit_records", `action = 'invitation.expire' AND org_id = 'org_1'`) != "1" || w.counts("outbox", `payload::jsonb->>'type' = 'invitation.expired'`) != "1" {
		t.Error("it has not ended once")
	}
	list, err := w.admin.List(t.Context(), w.owner(), invitation.Expired, "", 10)
	if err != nil || len(list) != 1 || list[0].Email != "a@example.com" {
		t.Errorf("%v, %v", list, err)
	}
	w.now = w.now.Add(91 * 24 * time.Hour)
	w.exec(`UPDATE accounts.organizations SET legal_hold = true`)
	if counts, err := w.expiry.Run(t.Context()); err != nil || counts["forgotten"] != 0 {
		t.Errorf("under legal hold: %v, %v", counts, err)
	}
	w.exec(`UPDATE accounts.organizations SET legal_hold = false`)
	if counts, err := w.expiry.Run(t.Context()); err != nil || counts["forgotten"] != 2 {
		t.Errorf("%v, %v", counts, err)
	}
}

func TestListsOfInvitations(t *testing.T) {
	t.Parallel()
	w := newInviting(t)
	var want []string
	for n := range 5 {
		want = append([]string{w.invite(fmt.Sprintf("p%d@example.com", n), "developer").ID}, want...)
	}
	var got []string
	before := ""
	for {
		page, err := w.admin.List(t.Context(), w.owner(), invitation.Open, before, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range page {
			got = append(got, i.ID)
		}
		if len(page) < 2 {
			break
		}
		before = page[1].ID
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	w.now = w.now.Add(7 * 24 * time.Hour) // whether that was noted or not
	for status, n := range map[invitation.Status]int{invitation.Open: 0, invitation.Expired: 5, invitation.Accepted: 0, "": 5} {
		if page, err := w.admin.List(t.Context(), w.owner(), status, "", 10); err != nil || len(page) != n {
			t.Errorf("%q: %d, %v; want %d", status, len(page), err, n)
		}
	}
}

// The hash is for look-ups only, and the functions for those who need them.
func TestNobodyReadsTheHashesOfLinks(t *testing.T) {
	t.Parallel()
	w := newInviting(t)
	w.invite("ada@example.com", "developer")
	for role, query := range map[postgres.Role]string{
		postgres.RoleAccounts: `SELECT token_hash FROM accounts.invitations`,
		postgres.RoleIdentity: `SELECT email FROM accounts.invitations`,
		postgres.RoleMailer:   `SELECT email FROM accounts.invitations`,
		postgres.RoleGateway:  `SELECT * FROM accounts.find_invitation('\x00', now())`,
		postgres.RoleNotifier: `SELECT * FROM accounts.take_invitation('\x00', '', '', now())`,
	} {
		err := w.open(role).InOrg(t.Context(), "org_1", func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), query)
			return err
		})
		if err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("%s: %s: %v", role, query, err)
		}
	}
}
