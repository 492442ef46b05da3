package postgres_test

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/accesslog"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/idempotency"
	"github.com/aiaas/aiaas/shared/idempotency/idempotencytest"
	"github.com/aiaas/aiaas/shared/usage"
)

// later makes all claims older.
func (f *fixture) later(d time.Duration) {
	f.t.Helper()
	f.exec(`UPDATE router.idempotency_claims SET done_at = done_at - interval '%[1]d s', claimed_at = claimed_at - interval '%[1]d s'`, int64(d.Seconds()))
}

func TestClaimsConform(t *testing.T) {
	t.Parallel()
	idempotencytest.Run(t, func(t *testing.T) idempotencytest.Bench {
		t.Parallel()
		f := newFixture(t)
		return idempotencytest.Bench{Store: postgres.NewJournal(f.open(postgres.RoleGateway)), Later: f.later}
	})
}

func TestNothingOfAClaimCanBeReadInTheDatabase(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	db := f.open(postgres.RoleGateway)
	s := &idempotency.Service{Store: postgres.NewJournal(db), Events: postgres.NewInbox(db, nil), Epoch: 1, Now: time.Now}
	const prompt, reply, secret, key = "a prompt of mine", "an answer for me", "aiaas_live_thesecrettext", "order-0815-secret"
	claim, _, err := s.Begin(t.Context(), idempotency.Attempt{
		OrgID: "org_1", APIKeyID: "key_1", Secret: secret, Key: key, RequestID: "req_1", Endpoint: "/v1/chat/completions", Body: []byte(prompt),
	})
	if err != nil {
		t.Fatal(err)
	}
	dump := func() string {
		return f.scalar(`SELECT string_agg(c::text, ' ') FROM router.idempotency_claims c`)
	}
	rows := dump()
	if err := claim.Finish(t.Context(), idempotency.Outcome{Settled: idempotency.Settled{Cost: 5, Currency: "USD"}, Answer: []byte(reply)}); err != nil {
		t.Fatal(err)
	}
	rows += dump()
	if !strings.Contains(rows, "req_1") {
		t.Fatalf("the rows were not read: %s", rows)
	}
	for _, text := range []string{prompt, reply, secret, key} {
		for _, form := range []string{text, hex.EncodeToString([]byte(text)), base64.StdEncoding.EncodeToString([]byte(text))[:8]} {
			if strings.Contains(rows, form) {
				t.Errorf("%q can be read in the rows", text)
			}
		}
	}
}

func TestADatabaseThatIsDownRefusesClaims(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	db := f.open(postgres.RoleGateway)
	j, inbox := postgres.NewJournal(db), postgres.NewInbox(db, nil)
	s := &idempotency.Service{Store: j, Events: inbox, Epoch: 1, Now: time.Now}
	a := idempotency.Attempt{OrgID: "org_1", APIKeyID: "key_1", Secret: "s", Key: "k", RequestID: "req_1"}
	claim, _, err := s.Begin(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	postgrestest.Refuse(t, f.url)
	a.RequestID = "req_2"
	if c, answer, err := s.Begin(t.Context(), a); c != nil || answer != nil || fault.From(err).Code != fault.Unavailable || fault.From(err).RetryAfter == 0 {
		t.Errorf("%v, %v, %v; want that it is tried later", c, answer, err)
	}
	if _, err := inbox.Recorded(t.Context(), "org_1", "req_1"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("recorded: %v", err)
	}
	if err := claim.Finish(t.Context(), idempotency.Outcome{}); err == nil {
		t.Error("finished without a database")
	}
	if err := j.LogRequests(t.Context(), []accesslog.Line{aLine(1)}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("log: %v", err)
	}
}

func TestWhatIsRecordedIsFoundWhereverItIs(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	inbox := postgres.NewInbox(b.open(postgres.RoleGateway), nil)
	look := func(org string, n int) string {
		s, err := inbox.Recorded(t.Context(), org, anEvent(n).ID)
		switch {
		case fault.Is(err, fault.NotFound):
			return "none"
		case err != nil:
			t.Fatal(err)
		}
		return fmt.Sprint(int64(s.Cost), " ", s.Currency)
	}
	want := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s; want %s", what, got, want)
		}
	}
	want("nowhere", look("org_1", 1), "none")
	all := recorded(t, anEvent(1), anEvent(2), anEvent(3))
	if err := b.inbox.Record(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	want("in the inbox", look("org_1", 1), "100 USD")
	want("another organisation's", look("org_2", 1), "none")
	b.book(anEvent(1))
	want("booked", look("org_1", 1), "100 USD")
	if err := b.ledger.Bury(t.Context(), all[1:2], "no reason"); err != nil {
		t.Fatal(err)
	}
	want("among the dead letters", look("org_1", 2), "100 USD")
	poison := all[2]
	poison.Body = []byte("{}")
	if err := b.ledger.Bury(t.Context(), []usage.Recorded{poison}, "poison"); err != nil {
		t.Fatal(err)
	}
	want("a poison among them", look("org_1", 3), "0 ")
}

func TestThePrunerKeepsWhatIsInForce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`
		INSERT INTO router.idempotency_claims (org_id, api_key_id, key_hash, request_id, mac, epoch, done, claimed_at, done_at)
		SELECT 'org_1', 'key_1', decode(lpad(n::text, 64, '0'), 'hex'), 'req_' || n, '', 1, age IS NOT NULL, now() - claimed, now() - age
		  FROM (VALUES (1, interval '23 hours 59 min', interval '30 days'), (2, interval '24 hours 1 min', interval '25 hours'),
		               (3, NULL, interval '6 days'), (4, NULL, interval '8 days'), (5, interval '40 days', interval '40 days')) AS v(n, age, claimed);
		INSERT INTO router.access_log SELECT 'org_1', 'req_' || n, now() - age, now(), 1, '', '', '', '', 404, '', '', '', ''
		  FROM (VALUES (1, interval '89 days'), (2, interval '91 days'), (3, interval '1 min')) AS v(n, age)`)
	p := postgres.NewAccessLog(f.open(postgres.RoleRouter))
	for i, want := range [][2]int64{{1, 3}, {0, 0}} {
		lines, claims, err := p.Prune(t.Context(), 90*24*time.Hour, nil)
		if err != nil || lines != want[0] || claims != want[1] {
			t.Errorf("run %d: %d lines, %d claims, %v; want %v", i, lines, claims, err, want)
		}
	}
	if got := f.scalar(`SELECT string_agg(request_id, ' ' ORDER BY request_id) FROM router.idempotency_claims`); got != "req_1 req_3" {
		t.Errorf("left: %s", got)
	}
	if lines, _, err := p.Prune(t.Context(), 0, nil); err != nil || lines != 1 {
		t.Errorf("asked to keep nothing, it removed %d lines, %v; want that of the day before", lines, err)
	}
	f.exec(`INSERT INTO router.access_log SELECT 'org_1', 'req_b' || n, now() - interval '100 days', now(), 1, '', '', '', '', 404, '', '', '', ''
		FROM generate_series(1, 12001) n`)
	if lines, _, err := p.Prune(t.Context(), 90*24*time.Hour, nil); err != nil || lines != 12001 {
		t.Errorf("%d lines, %v; want all, in batches", lines, err)
	}
	f.exec(`INSERT INTO router.access_log VALUES ('org_2', 'req_h', now() - interval '100 days', now(), 1, '', '', '', '', 404, '', '', '', '');
		UPDATE accounts.organizations SET legal_hold = true WHERE org_id = 'org_2'`)
	held, err := postgres.NewKeys(f.open(postgres.RoleAccounts)).HeldOrganizations(t.Context())
	if err != nil || !slices.Equal(held, []string{"org_2"}) {
		t.Fatalf("held: %v, %v", held, err)
	}
	if lines, _, err := p.Prune(t.Context(), 90*24*time.Hour, held); err != nil || lines != 0 {
		t.Errorf("%d lines of an organisation under legal hold, %v", lines, err)
	}
}

func TestWhoMayDoWhatWithTheJournal(t *testing.T) {
	t.Parallel()
	conn, err := pgx.Connect(t.Context(), newFixture(t).url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	for _, c := range []struct{ role, sql string }{
		{"aiaas_gateway", `SELECT FROM router.access_log`},
		{"aiaas_gateway", `SELECT FROM router.idempotency_claims`},
		{"aiaas_gateway", `DELETE FROM router.idempotency_claims`},
		{"aiaas_gateway", `SELECT router.prune_requests('90 days', '1 day', 1, '{}')`},
		{"aiaas_router", `SELECT FROM router.idempotency_claims`},
		{"aiaas_router", `UPDATE router.access_log SET count = 1`},
		{"aiaas_router", `DELETE FROM router.access_log`},
		{"aiaas_router", `SELECT router.release_idempotency('', '', '', '')`},
		{"aiaas_accounts", `SELECT FROM router.access_log`},
		{"aiaas_analytics", `SELECT FROM router.access_log`},
		{"aiaas_router", `SELECT analytics.recorded('', '')`},
		{"aiaas_gateway", `SELECT FROM analytics.dead_letters`},
	} {
		if _, err := conn.Exec(t.Context(), `SET ROLE `+c.role); err != nil {
			t.Fatal(err)
		}
		_, err := conn.Exec(t.Context(), c.sql)
		if refusal, ok := errors.AsType[*pgconn.PgError](err); !ok || refusal.Code != "42501" {
			t.Errorf("%s: %s: %v; want that it may not", c.role, c.sql, err)
		}
	}
}

func aLine(n int) accesslog.Line {
	at := noon().Add(time.Duration(n) * time.Second)
	return accesslog.Line{
		OrgID: "org_1", RequestID: fmt.Sprintf("req_%032x", n), At: at, Last: at, Count: 1, APIKeyID: "key_1", ProjectID: "proj_1", Model: "m",
		Endpoint: "/v1/chat/completions", Status: 404, Code: "not_found", Detail: "no 'such' \"model\"; ü", Address: "2001:db8::1", UserAgent: "curl/8",
	}
}

func TestLinesAreKeptAndStormsGoOn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	j, read := postgres.NewJournal(f.open(postgres.RoleGateway)), postgres.NewAccessLog(f.open(postgres.RoleRouter))
	storm := aLine(2)
	storm.Count, storm.Last = 40, storm.At.Add(5*time.Second)
	if err := j.LogRequests(t.Context(), []accesslog.Line{aLine(1), storm}); err != nil {
		t.Fatal(err)
	}
	more := storm
	more.Count, more.Last = 2, storm.At.Add(9*time.Second)
	if err := j.LogRequests(t.Context(), []accesslog.Line{more}); err != nil {
		t.Fatal(err)
	}
	want := storm
	want.Count, want.Last = 42, more.Last
	got, err := read.ReadLines(t.Context(), "org_1", accesslog.Filter{}, "", 10)
	if diff := cmp.Diff([]accesslog.Line{want, aLine(1)}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if l, err := read.Line(t.Context(), "org_1", want.RequestID); err != nil || l != want {
		t.Errorf("%+v, %v", l, err)
	}
	if _, err := read.Line(t.Context(), "org_2", want.RequestID); !fault.Is(err, fault.NotFound) {
		t.Errorf("another organisation finds it: %v", err)
	}
	if other, err := read.ReadLines(t.Context(), "org_2", accesslog.Filter{}, "", 10); err != nil || len(other) != 0 {
		t.Errorf("another organisation reads %v, %v", other, err)
	}
}

// TestTheLogIsOneList: served requests and the others, in any mixture, are paged
// through in order, each once, under any filter.
func TestTheLogIsOneList(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	j := postgres.NewJournal(b.open(postgres.RoleGateway))
	q := &accesslog.Queries{Lines: postgres.NewAccessLog(b.open(postgres.RoleRouter)), Usage: postgres.NewUsage(b.open(postgres.RoleAnalytics))}
	p := authz.Principal{OrgID: "org_1", ProjectID: "proj_1", KeyID: "key_1", OwnerID: "user_1", Role: authz.Owner, Method: authz.ByKey, Scopes: []authz.Scope{authz.UsageRead}}
	var all []accesslog.Line // of both kinds
	pick := func(i, n int) int { return (i * 7919 / 13) % n }
	for i := range 60 {
		l := aLine(i)
		l.APIKeyID, l.ProjectID = fmt.Sprint("key_", pick(i, 3)), fmt.Sprint("proj_", pick(i, 2))
		l.Model, l.Status, l.Address = []string{"m", "", "n"}[pick(i, 3)], []int{404, 429, 401}[pick(i, 3)], fmt.Sprint("192.0.2.", pick(i, 4))
		if i%3 == 0 {
			e := anEvent(i)
			e.ID, e.KeyID, e.ProjectID, e.Address, e.UserAgent, e.Status = l.RequestID, l.APIKeyID, l.ProjectID, l.Address, l.UserAgent, []int{200, 499}[i%2]
			if e.Model = l.Model; e.Model == "" {
				e.Model = "m"
			}
			b.book(e)
			l.Model, l.Status, l.Code, l.Detail = e.Model, e.Status, "", ""
		} else if err := j.LogRequests(t.Context(), []accesslog.Line{l}); err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	slices.Reverse(all)
	maybe := func(rt *rapid.T, name string, of ...string) string {
		return rapid.SampledFrom(append(of, "", "", "")).Draw(rt, name)
	}
	rapid.Check(t, func(rt *rapid.T) {
		f := accesslog.Filter{
			APIKeyID: maybe(rt, "key", "key_0", "key_1", "key_none"), ProjectID: maybe(rt, "project", "proj_0", "proj_1"),
			Model: maybe(rt, "model", "m", "n"), Address: maybe(rt, "address", "192.0.2.0", "192.0.2.3"),
			Status: rapid.SampledFrom([]int{0, 0, 0, 200, 404, 429, 499}).Draw(rt, "status"),
		}
		if rapid.Bool().Draw(rt, "bounded") {
			f.Start = noon().Add(time.Duration(rapid.IntRange(0, 30).Draw(rt, "start")) * time.Second)
			f.End = f.Start.Add(time.Duration(rapid.IntRange(1, 40).Draw(rt, "length")) * time.Second)
		}
		var want []string
		for _, l := range all {
			if (f.APIKeyID == "" || f.APIKeyID == l.APIKeyID) && (f.ProjectID == "" || f.ProjectID == l.ProjectID) && (f.Model == "" || f.Model == l.Model) &&
				(f.Address == "" || f.Address == l.Address) && (f.Status == 0 || f.Status == l.Status) &&
				(f.Start.IsZero() || !l.At.Before(f.Start) && l.At.Before(f.End)) {
				want = append(want, l.RequestID)
			}
		}
		var got []string
		size := rapid.IntRange(1, 25).Draw(rt, "page")
		for before := ""; ; before = got[len(got)-1] {
			page, err := q.List(t.Context(), p, f, before, size)
			if err != nil {
				rt.Fatal(err)
			}
			for _, r := range page {
				got = append(got, r.RequestID)
				if served := r.Served != nil; served != (r.Status == 200 || r.Status == 499) {
					rt.Fatalf("%+v", r)
				}
			}
			if len(page) < size {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("%+v, %d a page (-want +got):\n%s", f, size, diff)
		}
	})
}

func TestAServedRequestIsFoundBeforeItIsBooked(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	b.budget("bud_1", budget.Block, nil)
	u := postgres.NewUsage(b.open(postgres.RoleAnalytics))
	e := anEvent(1)
	e.Address, e.UserAgent, e.Status, e.TTFTMicros, e.DurationMicros = "192.0.2.1", "curl/8", 499, 12, 34
	e.Holds = []usage.Held{{Budget: "bud_1", Start: noon(), End: noon().Add(time.Hour), Amount: 3}}
	if _, err := u.Served(t.Context(), "org_1", e.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("%v; want that there is none", err)
	}
	if err := b.inbox.Record(t.Context(), recorded(t, e)); err != nil {
		t.Fatal(err)
	}
	s, err := u.Served(t.Context(), "org_1", e.ID)
	if diff := cmp.Diff(accesslog.Served{Event: *e}, s); err != nil || diff != "" {
		t.Errorf("while it waits: %v (-want +got):\n%s", err, diff)
	}
	if _, err := u.Served(t.Context(), "org_2", e.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("another organisation finds it: %v", err)
	}
	b.book(e)
	e.Holds = nil
	s, err = u.Served(t.Context(), "org_1", e.ID)
	s.Raw = []byte(strings.ReplaceAll(string(s.Raw), " ", "")) // jsonb spells it in its own way
	if diff := cmp.Diff(accesslog.Served{Event: *e, Booked: true}, s); err != nil || diff != "" {
		t.Errorf("booked: %v (-want +got):\n%s", err, diff)
	}
	if _, err := u.Served(t.Context(), "org_2", e.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("another organisation finds it booked: %v", err)
	}
}
