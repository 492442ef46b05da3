package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/member"
	"github.com/aiaas/aiaas/shared/session"
)

// people are user_1, who is in both organisations, and user_2 in org_1.
func people(f *fixture) {
	f.exec(`
		INSERT INTO accounts.users (user_id, email, created_at) VALUES ('user_1', 'ada@example.com', now()), ('user_2', 'bob@example.com', now());
		INSERT INTO accounts.members (org_id, user_id, role, name, added_by, created_at) VALUES
			('org_1', 'user_1', 'developer', 'Ada', 'test', now()), ('org_2', 'user_1', 'owner', 'Ada', 'test', now()),
			('org_1', 'user_2', 'admin', 'Bob', 'test', now())`)
}

func aSession(org, holder, sessionID string, at time.Time) session.Session {
	return session.Session{
		ID: sessionID, OrgID: org, HolderID: holder, Kind: session.Browser, Means: session.Password, ProvedAt: at, Address: "192.0.2.7",
		UserAgent: "test", CreatedAt: at, SeenAt: at, ExpiresAt: at.Add(12 * time.Hour),
	}
}

func saved(ctx context.Context, s session.Session, hash string) session.Saved {
	rec := record(ctx, s.OrgID, session.ActionBegin)
	return session.Saved{Session: s, Hash: hash, Record: rec, Most: 10}
}

type sessionStores struct{ own, lookup *postgres.Sessions }

func (f *fixture) sessions() sessionStores {
	people(f)
	return sessionStores{postgres.NewSessions(f.open(postgres.RoleIdentity)), postgres.NewSessions(f.open(postgres.RoleGateway))}
}

func keep(t *testing.T, s *postgres.Sessions, kept session.Saved) {
	t.Helper()
	if err := s.Save(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
}

func TestASessionIsFoundByItsTokenAndById(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.sessions()
	v := aSession("org_1", "user_1", "ses_1", noon())
	v.Scopes, v.MFA = []authz.Scope{authz.UsageRead}, true
	keep(t, s.own, saved(t.Context(), v, "hash"))
	for _, n := range []session.Name{{Hash: "hash"}, {ID: "ses_1"}} {
		r, err := s.lookup.FindSession(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(v, r.Session); d != "" || r.Role != authz.Developer || !r.HolderActive || r.Ended || r.TimeZone.String() != "Europe/Berlin" {
			t.Errorf("%v: %s %+v", n, d, r)
		}
	}
	for _, n := range []session.Name{{Hash: "other"}, {ID: "ses_2"}, {}} {
		if _, err := s.lookup.FindSession(t.Context(), n); !fault.Is(err, fault.NotFound) {
			t.Errorf("%v: %v", n, err)
		}
	}
}

func TestAnotherTokenTakesThePlaceOfTheOld(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.sessions()
	v := aSession("org_1", "user_1", "ses_1", noon())
	keep(t, s.own, saved(t.Context(), v, "old"))
	v.ProvedAt, v.MFA = noon().Add(time.Hour), true
	keep(t, s.own, saved(t.Context(), v, "new"))
	if _, err := s.lookup.FindSession(t.Context(), session.Name{Hash: "old"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("the old token: %v", err)
	}
	r, err := s.lookup.FindSession(t.Context(), session.Name{Hash: "new"})
	if err != nil || !r.MFA || !r.ProvedAt.Equal(v.ProvedAt) {
		t.Errorf("the new one: %+v, %v", r, err)
	}
	foreign := aSession("org_1", "user_2", "ses_1", noon())
	if err := s.own.Save(t.Context(), saved(t.Context(), foreign, "stolen")); !fault.Is(err, fault.NotFound) {
		t.Errorf("another's session is given a token: %v", err)
	}
	if _, err := s.own.End(t.Context(), session.Filter{OrgID: "org_1", ID: "ses_1"}, noon(), "test", ending(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.own.Save(t.Context(), saved(t.Context(), v, "late")); !fault.Is(err, fault.NotFound) {
		t.Errorf("one that has ended comes back: %v", err)
	}
}

func ending(t *testing.T) func(session.Session) audit.Record {
	return func(v session.Session) audit.Record { return record(t.Context(), v.OrgID, session.ActionEnd) }
}

func ids(list []session.Session) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = v.ID
	}
	slices.Sort(out)
	return out
}

func TestTheOldestEndsWhereThereAreTooMany(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.sessions()
	for i := range 4 {
		kept := saved(t.Context(), aSession("org_1", "user_1", fmt.Sprintf("ses_%d", i), noon().Add(time.Duration(i)*time.Second)), fmt.Sprint(i))
		kept.Most = 2
		keep(t, s.own, kept)
	}
	keep(t, s.own, saved(t.Context(), aSession("org_2", "user_1", "ses_other", noon()), "other"))
	list, err := s.own.List(t.Context(), session.Filter{OrgID: "org_1", HolderID: "user_1"}, noon())
	if err != nil || !slices.Equal(ids(list), []string{"ses_2", "ses_3"}) {
		t.Errorf("left: %v, %v", ids(list), err)
	}
	if n := f.scalar(`SELECT count(*) FROM accounts.audit_records WHERE action = 'session.end'`); n != "2" {
		t.Errorf("%s ends are recorded", n)
	}
}

func TestAtOnceTheyAreStillNotTooMany(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.sessions()
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			kept := saved(t.Context(), aSession("org_1", "user_1", id.New(id.Session), noon()), fmt.Sprint(i))
			kept.Most = 3
			if err := s.own.Save(t.Context(), kept); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	list, err := s.own.List(t.Context(), session.Filter{OrgID: "org_1", HolderID: "user_1"}, noon())
	if err != nil || len(list) != 3 {
		t.Errorf("%d are left, %v", len(list), err)
	}
}

func TestOneReplacesAnother(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.sessions()
	keep(t, s.own, saved(t.Context(), aSession("org_1", "user_1", "ses_1", noon()), "1"))
	keep(t, s.own, saved(t.Context(), aSession("org_1", "user_2", "ses_2", noon()), "2"))
	after := func(org, of string) error {
		kept := saved(t.Context(), aSession(org, "user_1", "ses_after_"+of+org, noon()), of+org)
		kept.Ends = session.Of{OrgID: "org_1", ID: of}
		return s.own.Save(t.Context(), kept)
	}
	if err := after("org_2", "ses_1"); err != nil { // also in another organisation
		t.Fatal(err)
	}
	for _, of := range []string{"ses_1", "ses_2"} { // it has ended, or is another's
		if err := after("org_1", of); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("in the place of %s: %v", of, err)
		}
	}
	if n := f.scalar(`SELECT count(*) FROM accounts.audit_records WHERE action = 'session.end' AND org_id = 'org_1' AND target = 'ses_1'`); n != "1" {
		t.Errorf("%s ends are recorded where it was", n)
	}
	list, err := s.own.List(t.Context(), session.Filter{OrgID: "org_1"}, noon())
	if err != nil || slices.Contains(ids(list), "ses_1") || !slices.Contains(ids(list), "ses_2") {
		t.Errorf("left: %v, %v (another's is nobody's to replace)", ids(list), err)
	}
}

func TestAllOfAPersonEndInEveryOrganisation(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.sessions()
	for _, v := range []session.Session{
		aSession("org_1", "user_1", "ses_1", noon()), aSession("org_2", "user_1", "ses_2", noon()),
		aSession("org_1", "user_1", "ses_3", noon()), aSession("org_1", "user_2", "ses_4", noon()),
	} {
		keep(t, s.own, saved(t.Context(), v, v.ID))
	}
	out, err := s.own.End(t.Context(), session.Filter{HolderID: "user_1", Except: "ses_3"}, noon(), "test", ending(t))
	if err != nil || !slices.Equal(ids(out), []string{"ses_1", "ses_2"}) {
		t.Errorf("ended %v, %v", ids(out), err)
	}
	if left := f.scalar(`SELECT string_agg(session_id, ' ' ORDER BY session_id) FROM accounts.sessions WHERE ended_at IS NULL`); left != "ses_3 ses_4" {
		t.Errorf("left: %s", left)
	}
	if n := f.scalar(`SELECT count(DISTINCT org_id) FROM accounts.audit_records WHERE action = 'session.end'`); n != "2" {
		t.Errorf("recorded in %s organisations", n)
	}
}

func TestOnesOwnAreSeenInEveryOrganisationAndNobodyElses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.sessions()
	for _, v := range []session.Session{
		aSession("org_1", "user_1", "ses_1", noon()), aSession("org_2", "user_1", "ses_2", noon()), aSession("org_1", "user_2", "ses_3", noon()),
	} {
		keep(t, s.own, saved(t.Context(), v, v.ID))
	}
	for name, tt := range map[string]struct {
		filter session.Filter
		at     time.Time
		want   []string
	}{
		"a person's":           {session.Filter{HolderID: "user_1"}, noon(), []string{"ses_1", "ses_2"}},
		"in one organisation":  {session.Filter{HolderID: "user_1", OrgID: "org_1"}, noon(), []string{"ses_1"}},
		"of an organisation":   {session.Filter{OrgID: "org_1"}, noon(), []string{"ses_1", "ses_3"}},
		"another's by its id":  {session.Filter{HolderID: "user_1", ID: "ses_3"}, noon(), []string{}},
		"those that are over":  {session.Filter{HolderID: "user_1"}, noon().Add(12 * time.Hour), []string{}},
		"another organisation": {session.Filter{OrgID: "org_2", ID: "ses_1"}, noon(), []string{}},
	} {
		list, err := s.own.List(t.Context(), tt.filter, tt.at)
		if err != nil || !slices.Equal(ids(list), tt.want) {
			t.Errorf("%s: %v, %v", name, ids(list), err)
		}
	}
}

// Whoever is suspended or removed is out: with what he has, and with what he is about
// to begin.
func TestSuspensionAndRemovalEndSessions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.sessions()
	members := postgres.NewMembers(f.open(postgres.RoleAccounts))
	ref := member.Ref{OrgID: "org_1", Kind: member.Person, ID: "user_1"}
	turn := func(to member.Status) {
		t.Helper()
		_, err := members.Change(t.Context(), ref, func(st member.Standing) (member.Member, *audit.Record, error) {
			next, rec := st.Member, record(t.Context(), "org_1", "member.suspend")
			next.Status = to
			return next, &rec, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	keep(t, s.own, saved(t.Context(), aSession("org_1", "user_1", "ses_1", noon()), "1"))
	keep(t, s.own, saved(t.Context(), aSession("org_2", "user_1", "ses_2", noon()), "2"))
	turn(member.Suspended)
	if err := s.own.Save(t.Context(), saved(t.Context(), aSession("org_1", "user_1", "ses_3", noon()), "3")); !fault.Is(err, fault.NotFound) {
		t.Errorf("one who is suspended begins: %v", err)
	}
	turn(member.Active)
	if _, err := s.lookup.FindSession(t.Context(), session.Name{Hash: "1"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("the session comes back with its holder: %v", err)
	}
	if r, err := s.lookup.FindSession(t.Context(), session.Name{Hash: "2"}); err != nil || r.Ended {
		t.Errorf("in the other organisation: %+v, %v", r, err)
	}
	keep(t, s.own, saved(t.Context(), aSession("org_1", "user_1", "ses_4", noon()), "4"))
	_, err := members.Remove(t.Context(), ref, "", func(member.Standing) (member.Removal, error) {
		return member.Removal{At: noon(), Record: func(int) audit.Record { return record(t.Context(), "org_1", "member.remove") }}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := s.lookup.FindSession(t.Context(), session.Name{ID: "ses_4"}); err != nil || !r.Ended || r.HolderActive {
		t.Errorf("after the removal: %+v, %v", r, err)
	}
	if n := f.scalar(`SELECT count(*) FROM accounts.audit_records WHERE action = 'session.end' AND org_id = 'org_1'`); n != "2" {
		t.Errorf("%s ends are recorded", n)
	}
}

func TestUsesAreNotedAndOldSessionsForgotten(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.sessions()
	keep(t, s.own, saved(t.Context(), aSession("org_1", "user_1", "ses_1", noon()), "1"))
	keep(t, s.own, saved(t.Context(), aSession("org_2", "user_1", "ses_2", noon()), "2"))
	for _, at := range []time.Time{noon().Add(time.Hour), noon()} { // an older one does not count
		if err := s.lookup.NoteSession(t.Context(), "org_1", "ses_1", at); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := s.lookup.FindSession(t.Context(), session.Name{ID: "ses_1"}); err != nil || !r.SeenAt.Equal(noon().Add(time.Hour)) {
		t.Errorf("seen at %v, %v", r, err)
	}
	f.exec(`UPDATE accounts.organizations SET legal_hold = true WHERE org_id = 'org_2'`)
	if n, err := s.own.Prune(t.Context(), noon().Add(12*time.Hour), 10); n != 0 || err != nil {
		t.Errorf("forgot %d too early, %v", n, err)
	}
	if n, err := s.own.Prune(t.Context(), noon().Add(13*time.Hour), 10); n != 1 || err != nil {
		t.Errorf("forgot %d, %v; one is under legal hold", n, err)
	}
}
