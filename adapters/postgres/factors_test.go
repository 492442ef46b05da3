package postgres_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/factor"
	"github.com/aiaas/aiaas/shared/factor/factortest"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/mail"
)

// factorsWorld are two people of org_1 who have no second factors, and two pools.
func factorsWorld(f *fixture) factortest.World {
	w := factortest.World{
		Store: postgres.NewFactors(f.open(postgres.RoleIdentity)), Other: postgres.NewFactors(f.open(postgres.RoleIdentity)),
		Ann: id.New(id.User), Bob: id.New(id.User), Org: "org_1",
	}
	f.exec(`
		INSERT INTO accounts.users (user_id, email, created_at) VALUES ('%[1]s', 'ann@example.com', now()), ('%[2]s', 'bob@example.com', now());
		INSERT INTO accounts.members (org_id, user_id, role, created_at) VALUES ('org_1', '%[1]s', 'developer', now()), ('org_1', '%[2]s', 'owner', now())`, w.Ann, w.Bob)
	return w
}

func TestFactorsConform(t *testing.T) {
	t.Parallel()
	factortest.Conform(t, func(t *testing.T) factortest.World {
		t.Helper()
		return factorsWorld(newFixture(t))
	})
}

func TestWhatAFactorIsDecidedOnIsReadWithIt(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := factorsWorld(f)
	f.exec(`
		UPDATE accounts.organizations SET settings = '{"mfa_required_roles": ["custom"]}' WHERE org_id = 'org_2';
		INSERT INTO accounts.members (org_id, user_id, role, status, created_at) VALUES ('org_2', '%s', 'role_1', 'suspended', now() - interval '1 day')`, w.Ann)
	st, err := w.Store.Load(t.Context(), w.Ann)
	if err != nil {
		t.Fatal(err)
	}
	if st.Email != "ann@example.com" || len(st.Memberships) != 2 {
		t.Fatalf("%+v", st)
	}
	two, one := st.Memberships[0], st.Memberships[1] // the oldest first
	if two.OrgID != "org_2" || two.Name != "two" || two.Role != authz.Custom || !two.Forces() || one.OrgID != "org_1" || one.Role != authz.Developer || one.Forces() {
		t.Errorf("memberships %+v", st.Memberships)
	}
}

func TestAChangeOfFactorsIsRecordedAndToldWithIt(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := factorsWorld(f)
	note, err := mail.NewNote("org_1", w.Ann, mail.KindFactorChanged, mail.FactorChanged{Change: mail.RecoveryRenewed, At: noon()}, noon())
	if err != nil {
		t.Fatal(err)
	}
	rec := record(t.Context(), "org_1", factor.ActionCodesReplace)
	codes := &factor.NewCodes{Hashes: [][]byte{make([]byte, 32)}, At: noon()}
	change := func(c factor.Change) error {
		return w.Store.Change(t.Context(), w.Ann, func(factor.State) (factor.Change, error) { return c, nil })
	}
	if err := change(factor.Change{ReplaceCodes: codes, Audit: &rec, Note: &note}); err != nil {
		t.Fatal(err)
	}
	if got := f.scalar(`SELECT string_agg(org_id || ' ' || action, ',') FROM accounts.audit_records WHERE action = 'recovery_codes.replace'`); got != "org_1 recovery_codes.replace" {
		t.Errorf("recorded %q", got)
	}
	if got := f.scalar(`SELECT string_agg(org_id || ' ' || kind || ' ' || recipient, ',') FROM accounts.mails`); got != "org_1 factor.changed ann@example.com" {
		t.Errorf("queued %q", got)
	}
	// One that can't be recorded did not happen.
	again := rec
	if err := change(factor.Change{ReplaceCodes: &factor.NewCodes{At: noon()}, Audit: &again}); err == nil {
		t.Error("two records have one id")
	}
	if got := f.scalar(`SELECT count(*)::text FROM accounts.recovery_codes`); got != "1" {
		t.Errorf("%s codes are left", got)
	}
}

func TestFactorsOfOthersAreNotSeenWhateverIsAsked(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := factorsWorld(f)
	rec := record(t.Context(), "org_1", factor.ActionTOTPStart)
	err := w.Store.Change(t.Context(), w.Ann, func(factor.State) (factor.Change, error) {
		return factor.Change{
			Start:        &factor.TOTP{ID: "totp_1", Secret: "sealed", CreatedAt: noon()},
			AddPasskey:   &factor.Passkey{ID: "pk_1", Name: "n", RPID: "example.com", CredentialID: []byte{1}, Record: []byte(`{}`), CreatedAt: noon()},
			ReplaceCodes: &factor.NewCodes{Hashes: [][]byte{make([]byte, 32)}, At: noon()}, Audit: &rec,
		}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Store.KeepCeremony(t.Context(), factor.Ceremony{ID: "cer_1", UserID: w.Ann, Purpose: factor.ToProve, State: []byte(`{}`), CreatedAt: noon(), ExpiresAt: noon()}); err != nil {
		t.Fatal(err)
	}
	db := f.open(postgres.RoleIdentity)
	count := func(tx pgx.Tx) (n int, err error) {
		err = tx.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM accounts.totp) + (SELECT count(*) FROM accounts.recovery_codes)
			+ (SELECT count(*) FROM accounts.passkeys) + (SELECT count(*) FROM accounts.ceremonies)`).Scan(&n)
		return n, err
	}
	for who, want := range map[string]int{w.Ann: 4, w.Bob: 0} {
		err := db.AsUser(t.Context(), who, func(tx pgx.Tx) error {
			n, err := count(tx)
			if n != want {
				t.Errorf("%s sees %d rows; want %d", who, n, want)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	err = db.Do(t.Context(), func(tx pgx.Tx) error {
		n, err := count(tx)
		if n != 0 {
			t.Errorf("nobody sees %d rows", n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []postgres.Role{postgres.RoleAccounts, postgres.RoleGateway, postgres.RoleTenants, postgres.RoleMailer} {
		err := f.open(role).Do(t.Context(), func(tx pgx.Tx) error { _, err := count(tx); return err })
		if err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s reads second factors: %v", role, err)
		}
	}
}

func TestWhatNobodyWentOnWithIsForgotten(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := factorsWorld(f)
	store := postgres.NewFactors(f.open(postgres.RoleIdentity))
	for name, expires := range map[string]time.Time{"cer_past": noon(), "cer_good": noon().Add(time.Second)} {
		c := factor.Ceremony{ID: name, Purpose: factor.ToSignIn, State: []byte(`{}`), CreatedAt: noon(), ExpiresAt: expires}
		if err := store.KeepCeremony(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	start := func(userID string, at time.Time) {
		t.Helper()
		rec := audit.New(t.Context(), authz.Principal{OrgID: "org_1", KeyID: "k"}, noon(), factor.ActionTOTPStart, "t")
		err := store.Change(t.Context(), userID, func(factor.State) (factor.Change, error) {
			return factor.Change{Start: &factor.TOTP{ID: id.New(factor.TOTPID), Secret: "s", CreatedAt: at}, Audit: &rec}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	start(w.Ann, noon().Add(-time.Hour-time.Second))
	start(w.Bob, noon().Add(-time.Hour))
	f.exec(`INSERT INTO accounts.totp (user_id, totp_id, secret, created_at, confirmed_at) VALUES ('%s', 'totp_old', 's', '2020-01-01', '2020-01-01')`, w.Ann)
	for _, want := range []int{2, 0} {
		if n, err := store.Forget(t.Context(), noon(), time.Hour); err != nil || n != want {
			t.Errorf("forgot %d, %v; want %d", n, err, want)
		}
	}
	if got := f.scalar(`SELECT string_agg(ceremony_id, ',') FROM accounts.ceremonies`); got != "cer_good" {
		t.Errorf("ceremonies %s", got)
	}
	if got := f.scalar(`SELECT count(*) FILTER (WHERE confirmed_at IS NULL AND user_id = '` + w.Bob + `') || ' ' || count(*) FROM accounts.totp`); got != "1 2" {
		t.Errorf("apps %s", got)
	}
}
