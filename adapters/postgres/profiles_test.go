package postgres_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/profile"
)

func TestAProfileIsKeptAsItIs(t *testing.T) {
	t.Parallel()
	w := newInviting(t)
	store := postgres.NewProfiles(w.open(postgres.RoleIdentity))
	svc := &profile.Service{Store: store, Now: noon}
	kim := authz.Principal{OrgID: "org_2", KeyID: "ses_1", OwnerID: "user_k", Role: authz.Owner, Method: authz.BySession}
	own, err := svc.Own(t.Context(), kim)
	if err != nil {
		t.Fatal(err)
	}
	want := profile.Own{
		Profile:       profile.Profile{UserID: "user_k", Email: "known@example.com", Name: "Kim", Unwanted: []mail.Group{}},
		MFA:           profile.MFA{Required: true, Recommended: true},
		Organizations: []profile.Membership{{OrgID: "org_2", OrgName: "two", Role: "owner", RoleName: "owner"}},
	}
	if d := cmp.Diff(want, own); d != "" {
		t.Errorf("at first (-want +got):\n%s", d)
	}
	name, zone, locale := "Kim K.", "Asia/Tokyo", "ja"
	if err := svc.Change(t.Context(), kim, profile.Patch{Name: &name, TimeZone: &zone, Locale: &locale, Mail: map[mail.Group]bool{"budgets": false}}); err != nil {
		t.Fatal(err)
	}
	w.exec(`INSERT INTO accounts.passkeys (user_id, passkey_id, rp_id, credential_id, name, record, sign_count, created_at) VALUES ('user_k', 'pk_1', 'a.example.com', '\x01', 'n', '{}', 0, now());
		INSERT INTO accounts.members (org_id, user_id, role, created_at) VALUES ('org_1', 'user_k', 'analyst', now() + interval '1 second')`)
	want.Name, want.TimeZone, want.Locale, want.Unwanted, want.Factors = "Kim K.", "Asia/Tokyo", "ja", []mail.Group{"budgets"}, true
	want.MFA = profile.MFA{Enabled: true, Required: true}
	want.Organizations = append(want.Organizations, profile.Membership{OrgID: "org_1", OrgName: "one", Role: "analyst", RoleName: "analyst"})
	own, err = svc.Own(t.Context(), kim)
	if d := cmp.Diff(want, own); err != nil || d != "" {
		t.Errorf("after the change: %v (-want +got):\n%s", err, d)
	}
	if w.counts("audit_records", `org_id = 'org_2' AND action = 'profile.update' AND actor = 'user_k' AND detail::text NOT LIKE '%Kim%'`) != "1" {
		t.Error("it is not recorded, or with what was set")
	}
	w.exec(`UPDATE accounts.organizations SET status = 'suspended' WHERE org_id = 'org_2'; UPDATE accounts.members SET status = 'suspended' WHERE org_id = 'org_1' AND user_id = 'user_k'`)
	if list, err := store.Organizations(t.Context(), "user_k", noon()); err != nil || len(list) != 0 {
		t.Errorf("where nothing can be done: %v, %v", list, err)
	}
}

func TestAProfileIsNobodyElses(t *testing.T) {
	t.Parallel()
	w := newInviting(t)
	w.exec(`INSERT INTO accounts.profiles (user_id, time_zone, updated_at) VALUES ('user_k', 'Asia/Tokyo', now())`)
	db := w.open(postgres.RoleIdentity)
	err := db.AsUser(t.Context(), "user_o", func(tx pgx.Tx) error {
		var n int
		if err := tx.QueryRow(t.Context(), `SELECT count(*) FROM accounts.profiles`).Scan(&n); err != nil {
			return err
		}
		tag, err := tx.Exec(t.Context(), `UPDATE accounts.users SET name = 'Eve' WHERE user_id = 'user_k'`)
		if n != 0 || tag.RowsAffected() != 0 {
			t.Errorf("%d profiles of others are seen, %d names changed", n, tag.RowsAffected())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	store := postgres.NewProfiles(db)
	if _, err := store.Profile(t.Context(), "user_nobody"); !fault.Is(err, fault.NotFound) {
		t.Errorf("nobody's: %v", err)
	}
}

func TestTwoChangesOfAProfileAreBothKept(t *testing.T) {
	t.Parallel()
	w := newInviting(t)
	store := postgres.NewProfiles(w.open(postgres.RoleIdentity))
	var group sync.WaitGroup
	for _, g := range mail.Groups() {
		group.Go(func() {
			_, err := store.Change(t.Context(), "org_2", "user_k", func(p profile.Profile) (profile.Profile, *audit.Record, error) {
				p.Unwanted = append(p.Unwanted, g)
				rec := record(t.Context(), "org_2", "profile.update")
				return p, &rec, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	p, err := store.Profile(t.Context(), "user_k")
	if err != nil || len(p.Unwanted) != len(mail.Groups()) {
		t.Errorf("%v, %v", p.Unwanted, err)
	}
}

func TestMailsThatAMemberDoesWithoutAreNotQueued(t *testing.T) {
	t.Parallel()
	b := newMailbox(t)
	b.exec(`UPDATE accounts.organizations SET contacts = '{}'; INSERT INTO accounts.profiles (user_id, unwanted, updated_at) VALUES ('user_o', '{budgets,invoices}', now())`)
	b.happen("org_1", "budget.threshold", "bud_1", map[string]any{"threshold": 80, "window_start": "2026-10-01T00:00:00Z"})
	b.happen("org_1", "invoice.issue", "inv_1", nil)
	b.happen("org_1", "organization.suspend", "org_1", nil)
	b.want("owner queued 0")
	if kinds := b.scalar(`SELECT string_agg(kind, ' ') FROM accounts.mails`); kinds != "organization.suspended" {
		t.Errorf("queued: %s", kinds)
	}
}

func TestWhoAcceptedIsNotToldThatHeWasAdded(t *testing.T) {
	t.Parallel()
	b := newMailbox(t)
	b.happen("org_1", "member.add", "user_d", map[string]any{"role": "developer", "invitation_id": "invite_1"})
	b.want("")
	b.happen("org_1", "member.add", "user_d", map[string]any{"role": "developer"})
	b.want("dev queued 0")
	b.run()
	if m := b.recorder.Sent()[0]; !strings.Contains(m.Text, "https://ai.example.com/forgot-password\n") {
		t.Errorf("it leads to no password:\n%s", m.Text)
	}
}

func TestWhereInvitationsAreTold(t *testing.T) {
	t.Parallel()
	if slices.Contains(mail.Told(), "invitation.created") {
		t.Error("an invitation is told by an event, which has no link")
	}
}
