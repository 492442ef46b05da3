package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/apikey"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/oauth"
	"github.com/aiaas/aiaas/shared/session"
)

func (f *fixture) oauth() *postgres.OAuth {
	people(f)
	return postgres.NewOAuth(f.open(postgres.RoleIdentity))
}

func aRequest(requestID string) oauth.Request {
	return oauth.Request{
		Asked: oauth.Asked{Scopes: []authz.Scope{authz.UsageRead}, OpenID: true, Offline: true}, ID: requestID, OrgID: "org_1", UserID: "user_1",
		ClientID: oauth.CLI, RedirectURI: "http://127.0.0.1/callback", State: "s", Nonce: "n", Challenge: "c",
		CreatedAt: noon(), ExpiresAt: noon().Add(time.Minute), ProvedAfter: noon().Add(-time.Hour),
	}
}

func ada() oauth.Who { return oauth.Who{OrgID: "org_1", UserID: "user_1"} }

func yes(t *testing.T, code string) oauth.Decision {
	return oauth.Decision{
		Approved: true, Granted: []authz.Scope{authz.UsageRead}, At: noon(), CodeHash: oauth.Hash(code), CodeExpires: noon().Add(time.Minute),
		Proof:  oauth.Proof{MFA: true, Means: session.SSO, Connection: "sso_1", At: noon().Add(-time.Minute)},
		Record: record(t.Context(), "org_1", "oauth.grant"),
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestARequestIsItsPersonsOwnAndAnsweredOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.oauth()
	must(t, s.AddRequest(t.Context(), aRequest("areq_1")))
	got, err := s.Request(t.Context(), ada(), "areq_1", noon())
	if err != nil || got.State != "s" || !got.Offline || !got.ProvedAfter.Equal(noon().Add(-time.Hour)) || len(got.Scopes) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	for name, who := range map[string]oauth.Who{
		"another person": {OrgID: "org_1", UserID: "user_2"}, "in another organisation": {OrgID: "org_2", UserID: "user_1"},
	} {
		if _, err := s.Request(t.Context(), who, "areq_1", noon()); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s reads it: %v", name, err)
		}
		if err := s.Decide(t.Context(), who, "areq_1", yes(t, "code")); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s answers it: %v", name, err)
		}
	}
	if err := s.Decide(t.Context(), ada(), "areq_1", later(yes(t, "code"))); !fault.Is(err, fault.NotFound) {
		t.Errorf("answered too late: %v", err)
	}
	must(t, s.Decide(t.Context(), ada(), "areq_1", yes(t, "code")))
	if err := s.Decide(t.Context(), ada(), "areq_1", yes(t, "code")); !fault.Is(err, fault.NotFound) {
		t.Errorf("answered twice: %v", err)
	}
	if n := f.scalar(`SELECT count(*) FROM accounts.audit_records WHERE action = 'oauth.grant'`); n != "1" {
		t.Errorf("%s records of one answer", n)
	}
}

func later(d oauth.Decision) oauth.Decision {
	d.At = noon().Add(time.Minute)
	return d
}

// A code's second use is seen by whoever is about to begin the session, or it sees the
// session: nothing falls between.
func TestASecondUseOfACodeIsNeverMissed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.oauth()
	begin := func(n int) oauth.Opening {
		t.Helper()
		request := fmt.Sprintf("areq_%d", n)
		must(t, s.AddRequest(t.Context(), aRequest(request)))
		must(t, s.Decide(t.Context(), ada(), request, yes(t, request)))
		c, err := s.UseCode(t.Context(), oauth.Hash(request), noon())
		if err != nil || c.State != oauth.CodeFresh || !c.Proof.MFA || c.Proof.Means != session.SSO || c.Proof.Connection != "sso_1" || c.Challenge != "c" || c.SessionID != "" {
			t.Fatalf("the first use: %+v, %v", c, err)
		}
		return oauth.Opening{RequestID: request, RefreshHash: oauth.Hash("r" + request), Family: oauth.Family{
			OrgID: "org_1", SessionID: "ses_" + request, HolderID: "user_1", ClientID: oauth.CLI, Scopes: c.Scopes, CreatedAt: noon(), ExpiresAt: noon().Add(time.Hour),
		}}
	}
	again := func(o oauth.Opening) oauth.Code {
		t.Helper()
		c, err := s.UseCode(t.Context(), oauth.Hash(o.RequestID), noon())
		must(t, err)
		return c
	}
	o := begin(1)
	if c := again(o); c.State != oauth.CodeReplayed || c.SessionID != "" {
		t.Errorf("before the session: %+v", c)
	}
	if c := again(o); c.State != oauth.CodeReplayedAgain {
		t.Errorf("once more: %+v", c)
	}
	if replayed, err := s.Open(t.Context(), o); err != nil || !replayed {
		t.Errorf("the session begins and is not told: %v, %v", replayed, err)
	}
	o = begin(2)
	if replayed, err := s.Open(t.Context(), o); err != nil || replayed {
		t.Errorf("nobody has used it twice: %v, %v", replayed, err)
	}
	if c := again(o); c.State != oauth.CodeReplayed || c.SessionID != o.SessionID {
		t.Errorf("after the session: %+v", c)
	}
	if _, err := s.UseCode(t.Context(), oauth.Hash("no code"), noon()); !fault.Is(err, fault.NotFound) {
		t.Errorf("an invented code: %v", err)
	}
}

func TestARefreshTokenIsRotatedOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.oauth()
	family := oauth.Family{OrgID: "org_1", SessionID: "ses_1", HolderID: "user_1", ClientID: oauth.CLI, Scopes: []authz.Scope{}, CreatedAt: noon(), ExpiresAt: noon().Add(time.Hour)}
	_, err := s.Open(t.Context(), oauth.Opening{Family: family, RefreshHash: oauth.Hash("r0")})
	must(t, err)
	var mu sync.Mutex
	var group sync.WaitGroup
	won := 0
	for i := range 50 {
		group.Go(func() {
			ok, err := s.Rotate(t.Context(), family, oauth.Hash("r0"), oauth.Hash(fmt.Sprintf("r1 %d", i)), noon())
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if ok {
				won++
			}
		})
	}
	group.Wait()
	if n := f.scalar(`SELECT count(*) FROM accounts.oauth_refresh_tokens`); won != 1 || n != "2" {
		t.Errorf("%d of 50 rotated it, %s tokens", won, n)
	}
	got, err := s.FindRefresh(t.Context(), oauth.Hash("r0"))
	if err != nil || !got.Used || got.SessionID != "ses_1" || got.OrgID != "org_1" || got.Scopes == nil {
		t.Errorf("the old one: %+v, %v", got, err)
	}
	for range 2 {
		must(t, s.NoteReuse(t.Context(), family, noon(), record(t.Context(), "org_1", "oauth.refresh_reuse")))
	}
	if n := f.scalar(`SELECT count(*) FROM accounts.audit_records WHERE action = 'oauth.refresh_reuse'`); n != "1" {
		t.Errorf("%s records", n)
	}
	foreign := family
	foreign.OrgID = "org_2"
	if ok, err := s.Rotate(t.Context(), foreign, oauth.Hash("r0"), oauth.Hash("x"), noon()); ok || err != nil {
		t.Errorf("another organisation rotates it: %v, %v", ok, err)
	}
}

func TestAttemptsAreCountedInWindows(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.oauth()
	for i, c := range []struct {
		at   time.Duration
		want int64
	}{{0, 1}, {time.Second, 2}, {59 * time.Second, 3}, {time.Minute, 1}, {61 * time.Second, 2}} {
		n, since, err := s.Attempt(t.Context(), "k", time.Minute, noon().Add(c.at))
		if err != nil || n != c.want || since.After(noon().Add(c.at)) {
			t.Errorf("%d: %d since %s, %v; want %d", i, n, since, err, c.want)
		}
	}
}

func TestDevicesBelongToNobodyUntilSomebodyAnswers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.oauth()
	d := oauth.Device{
		Asked: oauth.Asked{Scopes: []authz.Scope{authz.UsageRead}}, CodeHash: oauth.Hash("d"), UserCode: "BCDFGHJK", ClientID: oauth.CLI, Address: "192.0.2.1",
		CreatedAt: noon(), ExpiresAt: noon().Add(time.Minute), Interval: 5 * time.Second,
	}
	must(t, s.AddDevice(t.Context(), d))
	double := d
	double.CodeHash = oauth.Hash("other")
	if err := s.AddDevice(t.Context(), double); !fault.Is(err, fault.Conflict) {
		t.Errorf("two devices under one code: %v", err)
	}
	poll := func(at time.Duration, want oauth.DeviceState) {
		t.Helper()
		p, err := s.PollDevice(t.Context(), oauth.Hash("d"), oauth.CLI, noon().Add(at))
		if err != nil || p.State != want {
			t.Errorf("%s: %+v, %v; want %s", at, p, err, want)
		}
	}
	if _, err := s.PollDevice(t.Context(), oauth.Hash("d"), "another", noon()); !fault.Is(err, fault.NotFound) {
		t.Errorf("another client: %v", err)
	}
	poll(0, oauth.DevicePending)
	poll(4*time.Second, oauth.DeviceSlowDown)
	poll(13*time.Second, oauth.DeviceSlowDown) // it is ten seconds now
	poll(28*time.Second, oauth.DevicePending)
	if got, err := s.Device(t.Context(), ada(), "BCDFGHJK", noon()); err != nil || got.Address != "192.0.2.1" {
		t.Errorf("%+v, %v", got, err)
	}
	must(t, s.DecideDevice(t.Context(), ada(), "BCDFGHJK", yes(t, "")))
	if err := s.DecideDevice(t.Context(), oauth.Who{OrgID: "org_1", UserID: "user_2"}, "BCDFGHJK", yes(t, "")); !fault.Is(err, fault.NotFound) {
		t.Errorf("answered twice: %v", err)
	}
	p, err := s.PollDevice(t.Context(), oauth.Hash("d"), oauth.CLI, noon().Add(29*time.Second))
	if err != nil || p.State != oauth.DeviceGranted || p.OrgID != "org_1" || p.UserID != "user_1" || len(p.Scopes) != 1 || p.Proof.Connection != "sso_1" {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := s.PollDevice(t.Context(), oauth.Hash("d"), oauth.CLI, noon()); !fault.Is(err, fault.NotFound) {
		t.Errorf("taken twice: %v", err)
	}
}

func TestClientSecretsAreKeptToTheirAccount(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.oauth()
	f.exec(`INSERT INTO accounts.service_accounts (org_id, account_id, name, role, created_by, created_at, updated_at) VALUES
		('org_1', 'sa_1', 'one', 'analyst', 'x', now(), now()), ('org_2', 'sa_2', 'two', 'owner', 'x', now(), now())`)
	secrets := postgres.NewClientSecrets(f.open(postgres.RoleAccounts))
	add := func(made oauth.Secret, allowed error) error {
		return secrets.AddSecret(t.Context(), made, oauth.Hash(made.ID), func(a oauth.Account) (audit.Record, error) {
			if a.Subject.OwnerID != made.AccountID || a.Subject.Role != authz.Analyst {
				t.Errorf("decided on %+v", a)
			}
			return record(t.Context(), made.OrgID, "client_secret.create"), allowed
		})
	}
	one := oauth.Secret{OrgID: "org_1", ID: "cs_1", AccountID: "sa_1", Hint: "h", CreatedBy: "user_2", SeenBy: []string{"user_2"}, CreatedAt: noon()}
	must(t, add(one, nil))
	refused := errors.New("refused")
	other := one
	other.ID = "cs_2"
	if err := add(other, refused); !errors.Is(err, refused) {
		t.Errorf("a refusal: %v", err)
	}
	other.OrgID = "org_2"
	if err := add(other, nil); !fault.Is(err, fault.NotFound) {
		t.Errorf("for another organisation's account: %v", err)
	}
	if list, _, err := secrets.Secrets(t.Context(), "org_1", "sa_1"); err != nil || len(list) != 1 || !slices.Equal(list[0].SeenBy, []string{"user_2"}) {
		t.Errorf("%+v, %v", list, err)
	}
	p, err := s.Program(t.Context(), "sa_1")
	if err != nil || p.Subject.OrgID != "org_1" || p.Subject.Role != authz.Analyst || p.Subject.Method != authz.ByClient || len(p.Secrets) != 1 || p.Name != "one" {
		t.Errorf("%+v, %v", p, err)
	}
	must(t, s.NoteSecret(t.Context(), "org_1", "cs_1", noon()))
	if _, err := s.Program(t.Context(), "sa_2"); !fault.Is(err, fault.NotFound) {
		t.Errorf("an account without secrets: %v", err)
	}
	f.exec(`UPDATE accounts.service_accounts SET status = 'suspended' WHERE account_id = 'sa_1'`)
	if _, err := s.Program(t.Context(), "sa_1"); !fault.Is(err, fault.NotFound) {
		t.Errorf("a suspended account: %v", err)
	}
	allow := func(oauth.Account) (audit.Record, error) {
		return record(t.Context(), "org_1", "client_secret.delete"), nil
	}
	must(t, secrets.DeleteSecret(t.Context(), one, allow))
	if err := secrets.DeleteSecret(t.Context(), one, allow); !fault.Is(err, fault.NotFound) {
		t.Errorf("deleted twice: %v", err)
	}
}

func TestOneOfManyProcessesMakesTheNextKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := postgres.NewOAuthKeys(f.open(postgres.RoleIdentity))
	now := noon()
	var group sync.WaitGroup
	for range 8 {
		ring := oauth.NewKeyring(store, plainBox{}, func() time.Time { return now })
		group.Go(func() {
			if _, _, err := ring.Signing(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	keys, err := store.Keys(t.Context())
	if err != nil || len(keys) != 1 || !keys[0].SignsAt.Equal(now) || !keys[0].EndsAt.IsZero() {
		t.Fatalf("%+v, %v; want one key", keys, err)
	}
	now = noon().Add(oauth.KeyPeriod - oauth.KeyLead)
	ring := oauth.NewKeyring(store, plainBox{}, func() time.Time { return now })
	for range 2 {
		_, err := ring.Rotate(t.Context())
		must(t, err)
	}
	public, err := postgres.NewOAuthPublicKeys(f.open(postgres.RoleGateway)).Keys(t.Context())
	if err != nil || len(public) != 2 || public[0].Sealed != "" || !public[1].EndsAt.Equal(oauth.KeyEnds(public[0].SignsAt)) || !public[0].SignsAt.Equal(now.Add(oauth.KeyLead)) {
		t.Errorf("who verifies reads %+v, %v", public, err)
	}
	if err := postgres.NewOAuthPublicKeys(f.open(postgres.RoleGateway)).AddKey(t.Context(), nil); err == nil {
		t.Error("who verifies makes keys")
	}
}

// plainBox seals nothing.
type plainBox struct{}

func (plainBox) Seal(plain, context string) (string, error) { return context + "\n" + plain, nil }

func (plainBox) Open(sealed, context string) (string, error) {
	prefix := context + "\n"
	if len(sealed) < len(prefix) || sealed[:len(prefix)] != prefix {
		return "", errors.New("sealed for another")
	}
	return sealed[len(prefix):], nil
}

// A grant begins before the end of the session that it was approved in, or not at all.
func TestASessionComesOfOneThatLives(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.sessions()
	from := func(sessionID, of string) session.Saved {
		kept := saved(t.Context(), aSession("org_1", "user_1", sessionID, noon()), "")
		kept.Session.Kind, kept.Session.MFA, kept.From = session.OAuth, true, of
		return kept
	}
	browser := aSession("org_1", "user_1", "ses_browser", noon())
	browser.MFA = true
	elsewhere := aSession("org_2", "user_1", "ses_elsewhere", noon())
	other := aSession("org_1", "user_2", "ses_other", noon())
	over := aSession("org_1", "user_1", "ses_over", noon().Add(-12*time.Hour))
	for _, v := range []session.Session{browser, elsewhere, other, over} {
		keep(t, s.own, saved(t.Context(), v, v.ID))
	}
	keep(t, s.own, from("ses_1", "ses_browser"))
	keep(t, s.own, from("ses_2", "ses_elsewhere")) // that one showed no second factor
	if got := f.scalar(`SELECT string_agg(mfa::text, ' ' ORDER BY session_id) FROM accounts.sessions WHERE kind = 'oauth'`); got != "true false" {
		t.Errorf("with a second factor: %s", got)
	}
	if _, err := s.own.End(t.Context(), session.Filter{OrgID: "org_1", ID: "ses_browser"}, noon(), "test", ending(t)); err != nil {
		t.Fatal(err)
	}
	for name, of := range map[string]string{"one that has ended": "ses_browser", "one that is over": "ses_over", "another person's": "ses_other", "none": "ses_invented"} {
		if err := s.own.Save(t.Context(), from("ses_late", of)); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("of %s: %v", name, err)
		}
	}
}

// Whoever may have seen the credential that a secret is made by, may have seen the
// secret: also when that credential is gone.
func TestWhoHasSeenASecret(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.sessions()
	f.exec(`INSERT INTO accounts.service_accounts (org_id, account_id, name, role, created_by, created_at, updated_at)
		VALUES ('org_1', 'sa_1', 'one', 'analyst', 'x', now(), now())`)
	client := saved(t.Context(), aSession("org_1", "sa_1", "ses_client", noon()), "")
	client.Session.Kind, client.Session.Means, client.SeenBy = session.Client, session.Secret, []string{"user_1", "user_2"}
	keep(t, s.own, client)
	keep(t, s.own, saved(t.Context(), aSession("org_1", "user_2", "ses_person", noon()), "p"))
	accounts := f.open(postgres.RoleAccounts)
	keys, secrets := postgres.NewKeys(accounts), postgres.NewClientSecrets(accounts)
	key := func(keyID, by, owner string) {
		t.Helper()
		k := aKey("org_1", keyID)
		k.OwnerID, k.SecretBy = "sa_1", owner
		must(t, keys.AddKey(t.Context(), "org_1", apikey.Place{OwnerID: "sa_1", ProjectID: k.ProjectID, At: noon()}, func(apikey.Grounds) (apikey.Draft, error) {
			return apikey.Draft{Key: k, Hash: apikey.Hash([]byte(fmt.Sprintf("%-32s", keyID))), By: by, Record: record(t.Context(), "org_1", "key.create")}, nil
		}))
	}
	rotate := func(keyID, by, owner string, until time.Time) {
		t.Helper()
		must(t, keys.ChangeKey(t.Context(), "org_1", keyID, func(k apikey.Key, _ apikey.Grounds) (apikey.Change, error) {
			rec := record(t.Context(), "org_1", "key.rotate")
			return apikey.Change{Key: k, Record: &rec, Secret: &apikey.Replacement{
				Hash: apikey.Hash([]byte(fmt.Sprintf("%-32s", keyID+"'"))), By: owner, ByKey: by, Until: until,
			}}, nil
		}))
	}
	secret := func(secretID, by, owner string) {
		t.Helper()
		v := oauth.Secret{OrgID: "org_1", ID: secretID, AccountID: "sa_1", Hint: "h", CreatedBy: owner, SeenBy: []string{owner}, By: by, CreatedAt: noon()}
		must(t, secrets.AddSecret(t.Context(), v, oauth.Hash(secretID), func(oauth.Account) (audit.Record, error) {
			return record(t.Context(), "org_1", "client_secret.create"), nil
		}))
	}
	secret("cs_person", "ses_person", "user_2")
	secret("cs_client", "ses_client", "sa_1")
	key("key_person", "ses_person", "user_2")
	key("key_client", "ses_client", "sa_1")
	key("key_key", "key_person", "sa_1")
	secret("cs_key", "key_key", "sa_1")
	// The key's secret is another's now, and the one before works for a while.
	key("key_turned", "ses_person", "user_2")
	rotate("key_turned", "ses_1", "user_1", noon().Add(time.Hour))
	secret("cs_turned", "key_turned", "sa_1")
	key("key_old", "ses_person", "user_2")
	rotate("key_old", "ses_1", "user_1", noon().Add(-time.Second))
	secret("cs_old", "key_old", "sa_1")
	// A key that rotates itself, by the secret that is about to go.
	rotate("key_turned", "key_turned", "sa_1", time.Time{})
	got := f.scalar(`SELECT string_agg(id || ' ' || array_to_string(seen, ','), E'\n' ORDER BY id) FROM (
		SELECT secret_id AS id, seen_by AS seen FROM accounts.client_secrets UNION ALL SELECT key_id, secret_by FROM accounts.api_keys WHERE owner_id = 'sa_1') x`)
	want := `cs_client sa_1,user_1,user_2
cs_key sa_1,user_2
cs_old sa_1,user_1
cs_person user_2
cs_turned sa_1,user_1,user_2
key_client sa_1,user_1,user_2
key_key sa_1,user_2
key_old user_1
key_person user_2
key_turned sa_1,user_1,user_2`
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("who has seen what (-want +got):\n%s", d)
	}
	p, err := f.programs().Program(t.Context(), "sa_1")
	if err != nil || len(p.Secrets) == 0 || !slices.Equal(p.Secrets[0].SeenBy, []string{"sa_1", "user_1", "user_2"}) {
		t.Errorf("a token is made by %+v, %v", p.Secrets, err)
	}
}

func (f *fixture) programs() *postgres.OAuth { return postgres.NewOAuth(f.open(postgres.RoleIdentity)) }

func TestWhatIsOverIsForgottenInBatches(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.oauth()
	f.exec(`INSERT INTO accounts.oauth_attempts SELECT 'k' || i, '2020-01-01', 1 FROM generate_series(1, 5) i`)
	for _, want := range []int64{2, 2, 1, 0} {
		if n, err := s.Prune(t.Context(), noon(), 2); err != nil || n != (oauth.Pruned{Attempts: want}) {
			t.Errorf("%+v, %v; want %d attempts", n, err, want)
		}
	}
}
