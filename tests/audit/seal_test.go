package audit_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/pressly/goose/v3"

	"github.com/aiaas/aiaas/adapters/postgres/migrations"
	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
)

// once fails the test unless every record has one link, and nothing is pending.
func (w *world) once() {
	w.t.Helper()
	all := int64(0)
	for _, s := range audit.Sources() {
		all += query[int64](w, s, fmt.Sprintf(`SELECT count(*) FROM %s.audit_records`, s))
		if n := query[int64](w, s, fmt.Sprintf(`SELECT count(*) FROM %s.audit_pending`, s)); n != 0 {
			w.t.Errorf("%d records of %s are pending", n, s)
		}
	}
	links := query[int64](w, function.Accounts, `SELECT count(*) FROM accounts.audit_chain`)
	distinct := query[int64](w, function.Accounts, `SELECT count(DISTINCT (source, audit_id)) FROM accounts.audit_chain`)
	if links != all || distinct != all {
		w.t.Errorf("%d links, %d different ones, of %d records", links, distinct, all)
	}
}

func TestRecordsOfAllServicesAreChainedByOrganisation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 5 {
		w.record(one)
		w.record(two)
		w.record(audit.PlatformOrg)
	}
	r := w.verify(one)
	if !r.Valid() || r.Checked != 0 || r.Pending != 5 {
		t.Errorf("before the sealer came: %+v", r)
	}
	w.seal()
	for _, org := range []string{one, two, audit.PlatformOrg} {
		w.valid(org, 5)
	}
	w.exec(function.Accounts, `INSERT INTO accounts.organizations (org_id, name, created_at) VALUES ('org_new', 'new', now())`)
	w.valid("org_new", 0)
	if r, err := w.verifier.Verify(t.Context(), "org_of_nobody"); !fault.Is(err, fault.NotFound) {
		t.Errorf("of an organisation that nobody knows: %+v, %v", r, err)
	}
	w.once()
	r = w.verify(one)
	if r.From != 1 || r.To != 5 || r.Pending != 0 || r.Head == nil || r.Head.Seq != 5 || r.Head.Hash != w.link(one, 5).Hash {
		t.Errorf("after it: %+v", r)
	}
}

func TestServicesMayHaveDatabasesOfTheirOwn(t *testing.T) {
	t.Parallel()
	w := worldOn(t, map[function.Service]string{
		function.Accounts: postgrestest.New(t), function.Router: postgrestest.New(t), function.Analytics: postgrestest.New(t),
	})
	w.fill(one, 30, 10)
	w.valid(one, 30)
	w.once()
}

func TestWhatIsWrittenByHandIsSealedToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(function.Analytics, `INSERT INTO analytics.audit_records (org_id, audit_id, at, actor, action, target, detail)
		SELECT 'org_one', 'by hand ' || n, '1999-01-01', '', '', '', 'null' FROM generate_series(1, 3) n`)
	w.seal()
	w.valid(one, 3)
	w.record(one)
	w.seal()
	if r := w.verify(one); r.Late != 3 {
		t.Errorf("%d records count as sealed late; want the three that say that they are old", r.Late)
	}
}

// breaking is a schema's pending records; taking them off breaks.
type breaking struct {
	inner audit.Pending
	fails func() error
}

func (b *breaking) Pending(ctx context.Context, after audit.Cursor, most int) ([]audit.Entry, error) {
	return b.inner.Pending(ctx, after, most)
}

func (b *breaking) Settle(ctx context.Context, org string, ids []string) error {
	if err := b.fails(); err != nil {
		return err
	}
	return b.inner.Settle(ctx, org, ids)
}

var errCrash = errors.New("the process died")

func TestACrashBetweenChainAndPendingSealsNothingTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 9 {
		w.record(one)
	}
	whole := w.sealer.Pending
	w.sealer.Pending = map[function.Service]audit.Pending{}
	for s, p := range whole {
		w.sealer.Pending[s] = &breaking{p, func() error { return errCrash }}
	}
	if _, err := w.sealer.Seal(t.Context()); !errors.Is(err, errCrash) {
		t.Fatalf("%v", err)
	}
	if r := w.verify(one); !r.Valid() || r.Checked != 9 || r.Pending != 9 {
		t.Errorf("half-way: %+v", r)
	}
	w.sealer.Pending = whole
	w.record(one)
	w.seal()
	w.valid(one, 10)
	w.once()
}

func TestManySealersAtOnceSealOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 300 {
		w.record(one)
		w.record(two)
	}
	w.clock.advance(audit.HeadEvery)
	var group sync.WaitGroup
	for range 6 {
		group.Go(func() {
			for range 3 {
				if _, err := w.sealer.Seal(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 50 { // mutations go on
		w.record(one)
	}
	group.Wait()
	w.seal()
	w.valid(one, 350)
	w.valid(two, 300)
	w.once()
}

func TestOneDamagedChainHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record(one)
	w.seal()
	w.tamper(function.Accounts, `DELETE FROM accounts.audit_chains WHERE org_id = $1`, one) // it would begin again at 1
	w.record(one)
	w.record(two)
	w.clock.advance(audit.HeadEvery)
	if _, err := w.sealer.Seal(t.Context()); err == nil || !strings.Contains(err.Error(), one) || strings.Contains(err.Error(), two) {
		t.Errorf("the sealer says: %v", err)
	}
	w.valid(two, 1)
	if n := query[int64](w, function.Accounts, `SELECT count(*) FROM accounts.audit_chain WHERE org_id = $1`, one); n != 1 {
		t.Errorf("the damaged chain has %d links", n)
	}
}

func TestHeadsAreSignedAtMostOnceInAWhileAndOnlyWhereTheChainMoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, step := range []struct {
		record  bool
		advance bool
		heads   int
	}{
		{record: true, advance: true, heads: 1},
		{record: true, heads: 1}, // too soon
		{advance: true, heads: 2},
		{advance: true, heads: 2}, // nothing new
		{record: true, advance: true, heads: 3},
	} {
		if step.record {
			w.record(one)
		}
		if step.advance {
			w.clock.advance(audit.HeadEvery)
		}
		if _, err := w.sealer.Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(w.heads(one)); n != step.heads {
			t.Errorf("after step %d: %d heads; want %d", i, n, step.heads)
		}
	}
}

// deaf is a file store that takes nothing.
type deaf struct{ audit.Files }

func (deaf) Put(context.Context, string, []byte) error { return errCrash }

func TestWithoutAFileStoreRecordsAreSealedAllTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	files := w.sealer.Files
	w.sealer.Files = deaf{files}
	w.record(one)
	w.clock.advance(audit.HeadEvery)
	if _, err := w.sealer.Seal(t.Context()); !errors.Is(err, errCrash) {
		t.Errorf("%v", err)
	}
	w.valid(one, 1)
	w.clock.advance(2 * audit.HeadGrace)
	if r := w.verify(one); r.Valid() || r.FirstBad.Reason != audit.HeadMissing {
		t.Errorf("a record that no head covers for so long: %+v", r)
	}
	w.sealer.Files = files
	w.seal()
	w.valid(one, 1)
}

// TestOneOrganisationWhoseHeadsCannotBeStoredHoldsUpNoOther has files where the
// folders of heads would be made.
func TestOneOrganisationWhoseHeadsCannotBeStoredHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var stuck []string
	for n := range 4 {
		stuck = append(stuck, fmt.Sprintf("org_%d", n)) // before the others
	}
	if err := os.MkdirAll(w.path("audit-heads"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, org := range stuck {
		w.write("audit-heads/"+org, nil)
		w.record(org)
	}
	w.record(one)
	w.record(two)
	w.clock.advance(audit.HeadEvery)
	_, err := w.sealer.Seal(t.Context())
	if err == nil || !strings.Contains(err.Error(), "signed head of org_0 in the file store") || strings.Contains(err.Error(), "database") || strings.Contains(err.Error(), one) {
		t.Errorf("the sealer says: %v", err)
	}
	for _, org := range []string{one, two} {
		if n := len(w.heads(org)); n != 1 {
			t.Errorf("%s has %d heads", org, n)
		}
	}
	if _, err := w.sealer.Seal(t.Context()); err != nil {
		t.Errorf("it does not wait before it tries again: %v", err)
	}
	for n := range 4 { // now more fail than end a run, one after the other
		org := fmt.Sprintf("org_more_%d", n)
		w.write("audit-heads/"+org, nil)
		w.record(org)
	}
	w.clock.advance(audit.HeadEvery)
	_, _ = w.sealer.Seal(t.Context())
	for n := range 8 { // others are first, and the pause stays below that in which a head is due
		w.record(one)
		w.clock.advance(audit.HeadGrace / 2)
		if _, err := w.sealer.Seal(t.Context()); err == nil {
			t.Errorf("after %d pauses it does not try again", n)
		}
		if got := len(w.heads(one)); got != n+2 {
			t.Errorf("%d heads; want %d", got, n+2)
		}
	}
	if err := os.Remove(w.path("audit-heads/org_0")); err != nil {
		t.Fatal(err)
	}
	for range 3 { // the others fail still
		w.clock.advance(audit.HeadGrace / 2)
		_, _ = w.sealer.Seal(t.Context())
	}
	w.valid("org_0", 1)
	if n := query[int](w, function.Accounts, `SELECT head_failures FROM accounts.audit_chains WHERE org_id = 'org_0'`); n != 0 {
		t.Errorf("%d failures are noted of an organisation whose head was stored", n)
	}
}

// TestAFileStoreThatTakesNothingIsNotAskedForEveryOrganisation counts the attempts.
func TestAFileStoreThatTakesNothingIsNotAskedForEveryOrganisation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for n := range 20 {
		w.record(fmt.Sprintf("org_%02d", n))
	}
	store := &counted{deaf: deaf{w.sealer.Files}}
	w.sealer.Files = store
	w.clock.advance(audit.HeadEvery)
	if _, err := w.sealer.Seal(t.Context()); !errors.Is(err, errCrash) || store.puts != 5 {
		t.Errorf("%d attempts, %v", store.puts, err)
	}
}

// counted is a file store that takes nothing and counts.
type counted struct {
	deaf

	puts int
}

func (c *counted) Put(ctx context.Context, name string, data []byte) error {
	c.puts++
	return c.deaf.Put(ctx, name, data)
}

// TestASealerThatDoesNotSealIsFound: what waits can be changed without a trace.
func TestASealerThatDoesNotSealIsFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(one, 6, 3)
	w.record(one)
	var waiting []string
	for range 3 {
		waiting = append(waiting, w.recordAt(one, function.Router, w.clock.Now()))
	}
	if r := w.verify(one); !r.Valid() || r.Pending != 4 {
		t.Errorf("records of this moment: %+v", r)
	}
	for _, auditID := range waiting[1:] {
		w.tamper(function.Router, `UPDATE router.audit_pending SET since = since - interval '61 seconds' WHERE audit_id = $1`, auditID)
	}
	if r := w.verify(one); r.Valid() || r.FirstBad.Reason != audit.RecordUnsealed || r.FirstBad.AuditID != waiting[1] || r.Checked != 6 {
		t.Errorf("a record that waits for a minute: %+v %+v", r, r.FirstBad)
	}
	w.seal()
	w.valid(one, 10)
}

// TestARecordThatIsSealedAndNotSettledIsNoFinding, however long ago.
func TestARecordThatIsSealedAndNotSettledIsNoFinding(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := func() audit.Link { w.fill(one, 3, 3); return w.link(one, 3) }()
	w.tamper(l.Source, `INSERT INTO `+string(l.Source)+`.audit_pending VALUES ($1, $2, now() - interval '1 hour')`, one, l.AuditID)
	w.valid(one, 3)
}

// TestACrashAfterAHeadWasStored has the head in the store and not in the note.
func TestACrashAfterAHeadWasStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record(one)
	w.seal()
	w.tamper(function.Accounts, `UPDATE accounts.audit_chains SET head_seq = 0 WHERE org_id = $1`, one)
	w.seal() // of the same place
	w.tamper(function.Accounts, `UPDATE accounts.audit_chains SET head_seq = 0 WHERE org_id = $1`, one)
	w.record(one)
	w.seal() // of the next
	w.record(one)
	w.seal()
	w.clock.advance(2 * audit.HeadGrace)
	w.valid(one, 3)
	if n := len(w.heads(one)); n != 3 {
		t.Errorf("%d heads", n)
	}
}

func TestNobodyChangesARecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(one, 6, 3)
	for _, s := range audit.Sources() {
		table := string(s) + ".audit_records"
		for _, role := range []string{"", "aiaas_auditor", "aiaas_" + string(s), "aiaas_gateway"} {
			for _, sql := range []string{`UPDATE ` + table + ` SET actor = 'x'`, `DELETE FROM ` + table, `TRUNCATE ` + table} {
				if code := w.as(s, role, sql); code != "42501" {
					t.Errorf("%q: %s: %q", role, sql, code)
				}
			}
		}
	}
	for _, table := range []string{"accounts.audit_chain", "accounts.audit_checkpoints"} {
		for _, role := range []string{"", "aiaas_auditor", "aiaas_accounts"} {
			for _, sql := range []string{`UPDATE ` + table + ` SET org_id = 'x'`, `DELETE FROM ` + table, `TRUNCATE ` + table} {
				if code := w.as(function.Accounts, role, sql); code != "42501" && (table != "accounts.audit_checkpoints" || role != "") {
					t.Errorf("%q: %s: %q", role, sql, code)
				}
			}
		}
	}
	for _, sql := range []string{
		`INSERT INTO accounts.audit_pending VALUES ('org_one', 'x')`, `SELECT * FROM accounts.api_keys`, `DELETE FROM accounts.audit_chains`,
		`INSERT INTO router.audit_records VALUES ('org_one', 'x', now(), 'a', 'a', 't', '{}')`,
	} {
		if code := w.as(function.Accounts, "aiaas_auditor", sql); code != "42501" {
			t.Errorf("the auditor: %s: %q", sql, code)
		}
	}
	w.valid(one, 6)
}

// as runs a statement under a role, in vain, and returns its SQLSTATE.
func (w *world) as(at function.Service, role, statement string) string {
	w.t.Helper()
	tx, err := w.conns[at].Begin(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(w.t.Context()) }()
	if role != "" {
		if _, err := tx.Exec(w.t.Context(), "SET LOCAL ROLE "+role); err != nil {
			w.t.Fatal(err)
		}
	}
	_, err = tx.Exec(w.t.Context(), statement)
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		return state.SQLState()
	}
	return fmt.Sprint(err)
}

// TestAnOrganisationThatIsNamedIsTheOnlyOneSeen is the auditor's row-level security.
func TestAnOrganisationThatIsNamedIsTheOnlyOneSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(one, 3, 3)
	w.fill(two, 6, 3)
	w.record(two)
	for table, at := range tables() {
		tx, err := w.conns[at].Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var foreign int
		err = errors.Join(
			drop(tx.Exec(t.Context(), `SET LOCAL ROLE aiaas_auditor`)),
			drop(tx.Exec(t.Context(), `SELECT set_config('app.org_id', 'org_one', true)`)),
			tx.QueryRow(t.Context(), `SELECT count(*) FROM `+table+` WHERE org_id <> 'org_one'`).Scan(&foreign),
			tx.Rollback(t.Context()))
		if err != nil || foreign != 0 {
			t.Errorf("%s: %d foreign rows, %v", table, foreign, err)
		}
	}
}

func drop[T any](_ T, err error) error { return err }

// TestWhatWasRecordedBeforeThereWereChainsIsSealed migrates a database that has
// records already.
func TestWhatWasRecordedBeforeThereWereChainsIsSealed(t *testing.T) {
	t.Parallel()
	url := postgrestest.Empty(t)
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for s, before := range map[function.Service]int64{function.Accounts: 3, function.Router: 3, function.Analytics: 6} {
		if _, err := db.ExecContext(t.Context(), `CREATE SCHEMA `+string(s)); err != nil {
			t.Fatal(err)
		}
		p, err := goose.NewProvider(goose.DialectPostgres, db, os.DirFS("../../adapters/postgres/migrations/"+string(s)), goose.WithTableName(string(s)+".schema_version"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.UpTo(t.Context(), before); err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), `INSERT INTO `+string(s)+`.audit_records (org_id, audit_id, at, actor, action, target, detail)
			VALUES ('org_one', 'aud_1', now(), 'a', 'b', 'c', '{}'), ('platform', 'aud_2', now(), 'a', 'b', 'c', '{}')`); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range migrations.Services() {
		if _, err := migrations.Run(t.Context(), url, s); err != nil {
			t.Fatal(err)
		}
	}
	w := worldOn(t, map[function.Service]string{function.Accounts: url, function.Router: url, function.Analytics: url})
	w.seal()
	w.valid(one, 3)
	w.valid(audit.PlatformOrg, 3)
}
