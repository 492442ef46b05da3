// Package audit_test proves the audit on real databases: what is recorded is sealed
// once, whatever dies, and nothing of it can be changed, removed, moved or slipped in
// without being found.
package audit_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/adapters/blob"
	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

const (
	one = "org_one"
	two = "org_two"
)

// clock stands still until it is moved.
type clock struct{ at atomic.Int64 }

func (c *clock) Now() time.Time          { return time.UnixMicro(c.at.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.at.Add(d.Microseconds()) }

// world is an audit on databases of its own.
type world struct {
	t         *testing.T
	urls      map[function.Service]string
	conns     map[function.Service]*pgx.Conn // as who may do anything
	chain     *postgres.AuditChain
	records   map[function.Service]*postgres.AuditRecords
	folder    string // of the file store
	files     *blob.Folder
	signer    *audit.Signer
	sealer    *audit.Sealer
	verifier  *audit.Verifier
	retention *audit.Retention
	clock     *clock
	made      int
}

// newWorld has all schemas in one database.
func newWorld(t *testing.T) *world {
	t.Helper()
	url := postgrestest.New(t)
	return worldOn(t, map[function.Service]string{function.Accounts: url, function.Router: url, function.Analytics: url})
}

func worldOn(t *testing.T, urls map[function.Service]string) *world {
	t.Helper()
	w := &world{
		t: t, urls: urls, conns: map[function.Service]*pgx.Conn{}, records: map[function.Service]*postgres.AuditRecords{},
		folder: t.TempDir(), clock: &clock{},
	}
	w.clock.at.Store(time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC).UnixMicro())
	var err error
	if w.files, err = blob.OpenFolder(w.folder); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.files.Close(); err != nil {
			t.Error(err)
		}
	})
	if w.signer, err = audit.NewSigner(bytes.Repeat([]byte{7}, audit.SeedSize)); err != nil {
		t.Fatal(err)
	}
	w.sealer = &audit.Sealer{Files: w.files, Signer: w.signer, Now: w.clock.Now, Pending: map[function.Service]audit.Pending{}}
	w.verifier = &audit.Verifier{Files: w.files, Ring: audit.NewRing(w.signer.Public()), Now: w.clock.Now, Records: map[function.Service]audit.Records{}}
	w.retention = &audit.Retention{
		Verifier: w.verifier, Files: w.files, Signer: w.signer, Keep: audit.DefaultRetention, Now: w.clock.Now,
		Disposer: map[function.Service]audit.Disposer{},
	}
	for _, source := range audit.Sources() {
		db := pool(t, urls[source], postgres.RoleAuditor)
		w.conns[source] = connect(t, urls[source])
		w.records[source] = postgres.NewAuditRecords(db, source)
		w.sealer.Pending[source], w.verifier.Records[source], w.retention.Disposer[source] = w.records[source], w.records[source], w.records[source]
		if source == function.Accounts {
			w.chain = postgres.NewAuditChain(db)
		}
	}
	w.sealer.Chains, w.verifier.Chain, w.retention.Chains = w.chain, w.chain, w.chain
	w.exec(function.Accounts, `INSERT INTO accounts.organizations (org_id, name, created_at) VALUES ('org_one', 'one', now()), ('org_two', 'two', now())`)
	return w
}

func pool(t *testing.T, url string, role postgres.Role) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), url, role, 8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func (w *world) exec(at function.Service, sql string, args ...any) int64 {
	w.t.Helper()
	tag, err := w.conns[at].Exec(w.t.Context(), sql, args...)
	if err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return tag.RowsAffected()
}

// tamper runs a statement as a superuser who has switched the triggers off.
func (w *world) tamper(at function.Service, sql string, args ...any) {
	w.t.Helper()
	w.exec(at, `SET session_replication_role = replica`)
	if n := w.exec(at, sql, args...); n == 0 {
		w.t.Fatalf("%s: it changed nothing", sql)
	}
	w.exec(at, `SET session_replication_role = origin`)
}

func query[T any](w *world, at function.Service, sql string, args ...any) (v T) {
	w.t.Helper()
	if err := w.conns[at].QueryRow(w.t.Context(), sql, args...).Scan(&v); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// source is the one that the nth record goes to.
func source(n int) function.Service { return audit.Sources()[n%len(audit.Sources())] }

// record enters a record as a mutation does, and returns its id.
func (w *world) record(org string) string {
	w.t.Helper()
	n := w.made
	w.made++
	return w.recordAt(org, source(n), w.clock.Now())
}

func (w *world) recordAt(org string, at function.Service, moment time.Time) string {
	w.t.Helper()
	auditID := id.New(id.Audit)
	w.exec(at, `INSERT INTO `+string(at)+`.audit_records (org_id, audit_id, at, actor, action, target, detail, request_id, source_address)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`, org, auditID, moment, "key_"+auditID[4:12], "budget.change", "bud_"+auditID[20:],
		`{"before": {"amount": 9007199254740993, "share": 0.1}, "after": {"amount": 12, "näme": "ü \" \\ / "}, "list": [1, null, true]}`,
		"req_"+auditID[4:], "203.0.113.7")
	return auditID
}

// fill enters n records of an organisation, and seals them batch by batch, each with
// a signed head.
func (w *world) fill(org string, n, batch int) {
	w.t.Helper()
	for i := range n {
		w.record(org)
		if (i+1)%batch == 0 || i == n-1 {
			w.seal()
		}
	}
}

// seal runs the job, at a time at which heads are due.
func (w *world) seal() {
	w.t.Helper()
	w.clock.advance(audit.HeadEvery)
	if _, err := w.sealer.Seal(w.t.Context()); err != nil {
		w.t.Fatalf("seal: %v", err)
	}
}

func (w *world) verify(org string) audit.Report {
	w.t.Helper()
	r, err := w.verifier.Verify(w.t.Context(), org)
	if err != nil {
		w.t.Fatalf("verify: %v", err)
	}
	return r
}

// valid fails the test unless an organisation's audit is right, with so many records.
func (w *world) valid(org string, records int64) {
	w.t.Helper()
	r := w.verify(org)
	if !r.Valid() {
		w.t.Fatalf("%s: %+v", org, *r.FirstBad)
	}
	if r.Checked != records {
		w.t.Errorf("%s: %d records were checked; want %d", org, r.Checked, records)
	}
}

// link reads a link past the adapter.
func (w *world) link(org string, seq int64) audit.Link {
	w.t.Helper()
	links, err := w.chain.Links(w.t.Context(), org, seq-1, 1)
	if err != nil || len(links) != 1 || links[0].Seq != seq {
		w.t.Fatalf("link %d of %s: %v, %v", seq, org, links, err)
	}
	return links[0]
}

// heads are the files of an organisation's heads, in order.
func (w *world) heads(org string) []string {
	w.t.Helper()
	var names []string
	for name, err := range w.files.List(w.t.Context(), "audit-heads/"+org+"/", "") {
		if err != nil {
			w.t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

func (w *world) path(name string) string { return filepath.Join(w.folder, filepath.FromSlash(name)) }

// rewrite computes a chain anew from a place on, as one does who knows all but the
// signing key.
func (w *world) rewrite(org string, from int64) {
	w.t.Helper()
	prev := audit.Hash{}
	if from > 1 {
		prev = w.link(org, from-1).Hash
	}
	links, err := w.chain.Links(w.t.Context(), org, from-1, 1_000_000)
	if err != nil {
		w.t.Fatal(err)
	}
	n := len(links)
	seqs, ats, prevs, hashes := make([]int64, n), make([]time.Time, n), make([][]byte, n), make([][]byte, n)
	entries := w.entries(links)
	for i, l := range links {
		e := entries[l.AuditID]
		l.Prev = prev
		text, err := l.Canonical(&e)
		if err != nil {
			w.t.Fatal(err)
		}
		seqs[i], ats[i], prevs[i] = l.Seq, e.At, l.Prev[:]
		prev = sha256.Sum256(text)
		hashes[i] = bytes.Clone(prev[:])
	}
	w.tamper(function.Accounts, `UPDATE accounts.audit_chain c SET prev = n.prev, hash = n.hash, at = n.at
		FROM unnest($2::bigint[], $3::timestamptz[], $4::bytea[], $5::bytea[]) AS n(seq, at, prev, hash) WHERE c.org_id = $1 AND c.seq = n.seq`,
		org, seqs, ats, prevs, hashes)
	w.setEnd(org)
}

// entries are the records of links, by their ids.
func (w *world) entries(links []audit.Link) map[string]audit.Entry {
	w.t.Helper()
	ids := map[function.Service][]string{}
	for _, l := range links {
		ids[l.Source] = append(ids[l.Source], l.AuditID)
	}
	out := map[string]audit.Entry{}
	for s, of := range ids {
		list, err := w.records[s].Read(w.t.Context(), links[0].OrgID, of)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, e := range list {
			out[e.ID] = e
		}
	}
	if len(out) != len(links) {
		w.t.Fatalf("%d records of %d links", len(out), len(links))
	}
	return out
}

// setEnd makes the note of a chain's end agree with its last link.
func (w *world) setEnd(org string) {
	w.t.Helper()
	end := audit.Link{}
	if last := query[int64](w, function.Accounts, `SELECT coalesce(max(seq), 0) FROM accounts.audit_chain WHERE org_id = $1`, org); last > 0 {
		end = w.link(org, last)
	}
	w.tamper(function.Accounts, `UPDATE accounts.audit_chains SET seq = $2, hash = $3, head_seq = least(head_seq, $2) WHERE org_id = $1`, org, end.Seq, end.Hash[:])
}

// tables are all that an attack may change.
func tables() map[string]function.Service {
	out := map[string]function.Service{
		"accounts.audit_chain": function.Accounts, "accounts.audit_chains": function.Accounts, "accounts.audit_checkpoints": function.Accounts,
	}
	for _, s := range audit.Sources() {
		out[string(s)+".audit_records"], out[string(s)+".audit_pending"] = s, s
	}
	return out
}

// keep returns what puts everything back as it was.
func (w *world) keep() (restore func()) {
	w.t.Helper()
	for table, at := range tables() {
		w.exec(at, fmt.Sprintf(`CREATE TABLE public.%s AS TABLE %s`, strings.ReplaceAll(table, ".", "_"), table))
	}
	kept := filepath.Join(w.t.TempDir(), "files")
	if err := os.CopyFS(kept, os.DirFS(w.folder)); err != nil {
		w.t.Fatal(err)
	}
	now := w.clock.Now()
	return func() {
		for table, at := range tables() {
			w.exec(at, `SET session_replication_role = replica`)
			w.exec(at, `DELETE FROM `+table)
			w.exec(at, fmt.Sprintf(`INSERT INTO %s TABLE public.%s`, table, strings.ReplaceAll(table, ".", "_")))
			w.exec(at, `SET session_replication_role = origin`)
		}
		for _, dir := range []string{"audit-heads", "audit-checkpoints"} {
			if err := os.RemoveAll(filepath.Join(w.folder, dir)); err != nil {
				w.t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(kept, dir)); err == nil {
				if err := os.CopyFS(filepath.Join(w.folder, dir), os.DirFS(filepath.Join(kept, dir))); err != nil {
					w.t.Fatal(err)
				}
			}
		}
		w.clock.at.Store(now.UnixMicro())
	}
}

func hashOf(l audit.Link) []byte { return l.Hash[:] }

func hexOf(h audit.Hash) string { return hex.EncodeToString(h[:]) }

func sum(text []byte) audit.Hash { return sha256.Sum256(text) }
