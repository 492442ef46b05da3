package audit_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
)

// want is what a verification must name.
type want struct {
	seq     int64 // 0: none
	auditID string
	reason  audit.Reason
}

// attack changes something at a place and says what must be found.
type attack func(w *world, at int64) want

const (
	records = 1000
	batch   = 25 // records between two heads
)

// edit changes a column of the record at a place.
func edit(column string, value any) attack {
	return func(w *world, at int64) want {
		l := w.link(one, at)
		w.tamper(l.Source, fmt.Sprintf(`UPDATE %s.audit_records SET %s = $2 WHERE audit_id = $1`, l.Source, column), l.AuditID, value)
		return want{at, l.AuditID, audit.RecordChanged}
	}
}

// relink changes a column of the link at a place.
func relink(set string, reason audit.Reason) attack {
	return func(w *world, at int64) want {
		l := w.link(one, at)
		w.tamper(function.Accounts, `UPDATE accounts.audit_chain SET `+set+` WHERE org_id = $1 AND seq = $2`, one, at)
		return want{at, l.AuditID, reason}
	}
}

func (w *world) removeRecord(l *audit.Link) {
	w.tamper(l.Source, fmt.Sprintf(`DELETE FROM %s.audit_records WHERE audit_id = $1`, l.Source), l.AuditID)
}

func (w *world) removeLinks(condition string, args ...any) {
	w.tamper(function.Accounts, `DELETE FROM accounts.audit_chain WHERE org_id = $1 AND `+condition, append([]any{one}, args...)...)
}

// removeRange removes records and their links. All schemas are in one database.
func (w *world) removeRange(from, to int64) {
	w.exec(function.Accounts, `SET session_replication_role = replica`)
	for _, s := range audit.Sources() {
		w.exec(function.Accounts, fmt.Sprintf(`DELETE FROM %[1]s.audit_records r USING accounts.audit_chain c
			WHERE c.org_id = $1 AND c.seq BETWEEN $2 AND $3 AND c.source = '%[1]s' AND r.org_id = c.org_id AND r.audit_id = c.audit_id`, s), one, from, to)
	}
	w.exec(function.Accounts, `SET session_replication_role = origin`)
	w.removeLinks(`seq BETWEEN $2 AND $3`, from, to)
}

// cut removes all after a place, with every trace in the databases.
func (w *world) cut(after int64) {
	w.removeRange(after+1, records)
	w.setEnd(one)
}

// shift moves the links from a place on.
func (w *world) shift(from, by int64) {
	const aside = 1_000_000
	w.tamper(function.Accounts, `UPDATE accounts.audit_chain SET seq = seq + $3 WHERE org_id = $1 AND seq >= $2`, one, from, aside)
	w.tamper(function.Accounts, `UPDATE accounts.audit_chain SET seq = seq - $2 WHERE org_id = $1 AND seq > $3`, one, aside-by, aside)
}

// segment is the first place after the last head before one, and its record.
func (w *world) segment(at int64) (int64, string) {
	first := (at-1)/batch*batch + 1
	return first, w.link(one, first).AuditID
}

func attacks() map[string]attack {
	return map[string]attack{
		"actor edited":                      edit("actor", "key_somebody_else"),
		"action edited":                     edit("action", "budget.delete"),
		"target edited":                     edit("target", "bud_other"),
		"time edited":                       edit("at", time.Date(2026, 11, 24, 12, 0, 0, 1000, time.UTC)),
		"request edited":                    edit("request_id", ""),
		"address edited":                    edit("source_address", "203.0.113.8"),
		"outcome edited":                    edit("outcome", "denied"),
		"detail emptied":                    edit("detail", `{}`),
		"detail: one digit past a double":   edit("detail", `{"before": {"amount": 9007199254740992, "share": 0.1}, "after": {"amount": 12, "näme": "ü \" \\ / "}, "list": [1, null, true]}`),
		"detail: null for a missing member": edit("detail", `{"before": {"amount": 9007199254740993, "share": 0.1, "x": null}, "after": {"amount": 12, "näme": "ü \" \\ / "}, "list": [1, null, true]}`),
		"record renamed": func(w *world, at int64) want {
			x := edit("audit_id", id.New(id.Audit))(w, at)
			x.reason = audit.RecordMissing
			return x
		},
		"record given to another tenant": func(w *world, at int64) want {
			x := edit("org_id", two)(w, at)
			x.reason = audit.RecordMissing
			return x
		},
		"link's time edited":                   relink(`at = at + interval '1 second'`, audit.RecordChanged),
		"link's sealing edited":                relink(`sealed_at = sealed_at - interval '1 second'`, audit.RecordChanged),
		"link's version edited":                relink(`version = 2`, audit.RecordChanged),
		"link's predecessor edited":            relink(`prev = decode(repeat('ab', 32), 'hex')`, audit.LinkMoved),
		"link's hash edited":                   relink(`hash = decode(repeat('ab', 32), 'hex')`, audit.RecordChanged),
		"record deleted":                       deleteRecord,
		"link deleted":                         deleteLink,
		"record and link deleted":              deleteBoth,
		"the chain's beginning deleted":        deleteBeginning,
		"contents of two records swapped":      swapRecords,
		"two links swapped":                    swapLinks,
		"records of two links swapped":         swapTargets,
		"record slipped in":                    slipIn,
		"record slipped in as already sealed":  unsealPending,
		"pending record deleted":               deletePending,
		"edited, and the chain computed anew":  rewriteEdited,
		"deleted, and the chain computed anew": rewriteDeleted,
		"added, and the chain computed anew":   rewriteAdded,
		"tail cut":                             cutTail,
		"tail cut, but for the chain's note":   cutTailOnly,
		"tail cut, and the last heads deleted": cutTailAndHeads,
		"tail cut, and new records sealed":     cutAndGrow,
		"last head deleted":                    deleteLastHead,
		"a head deleted":                       deleteHead,
		"all heads deleted":                    deleteHeads,
		"a head edited":                        editHead,
		"a head signed by another key":         resignHead,
		"a head of another tenant":             borrowHead,
		"a forged checkpoint":                  forgeCheckpoint,
	}
}

func deleteRecord(w *world, at int64) want {
	l := w.link(one, at)
	w.removeRecord(&l)
	return want{at, l.AuditID, audit.RecordMissing}
}

func deleteLink(w *world, at int64) want {
	w.removeLinks(`seq = $2`, at)
	if at == records { // then the note of the chain's end is what tells
		return want{at, "", audit.TailCut}
	}
	return want{at, "", audit.LinkMissing}
}

func deleteBoth(w *world, at int64) want {
	l := w.link(one, at)
	w.removeRecord(&l)
	return deleteLink(w, at)
}

func deleteBeginning(w *world, at int64) want {
	at = min(at, records-1)
	w.removeRange(1, at)
	return want{1, "", audit.LinkMissing}
}

// pair is a place and another one, of the same schema, before it.
func (w *world) pair(at int64) (first, second audit.Link) {
	at = max(at, 4)
	second = w.link(one, at)
	for seq := at - 1; seq > 0; seq-- {
		if first = w.link(one, seq); first.Source == second.Source {
			return first, second
		}
	}
	w.t.Fatalf("no two records of %s", second.Source)
	return first, second
}

func swapRecords(w *world, at int64) want {
	a, b := w.pair(at)
	table := string(a.Source) + ".audit_records"
	for _, step := range [][2]string{{a.AuditID, "x"}, {b.AuditID, a.AuditID}, {"x", b.AuditID}} {
		w.tamper(a.Source, `UPDATE `+table+` SET audit_id = $2 WHERE audit_id = $1`, step[0], step[1])
	}
	return want{a.Seq, a.AuditID, audit.RecordChanged}
}

func swapLinks(w *world, at int64) want {
	a, b := w.pair(at)
	for _, step := range [][2]int64{{a.Seq, 99_999}, {b.Seq, a.Seq}, {99_999, b.Seq}} {
		w.tamper(function.Accounts, `UPDATE accounts.audit_chain SET seq = $3 WHERE org_id = $1 AND seq = $2`, one, step[0], step[1])
	}
	return want{a.Seq, b.AuditID, audit.LinkMoved}
}

func swapTargets(w *world, at int64) want {
	a, b := w.pair(at)
	for _, step := range [][2]any{{a.Seq, "x"}, {b.Seq, a.AuditID}, {a.Seq, b.AuditID}} {
		w.tamper(function.Accounts, `UPDATE accounts.audit_chain SET audit_id = $3 WHERE org_id = $1 AND seq = $2`, one, step[0], step[1])
	}
	return want{a.Seq, b.AuditID, audit.RecordChanged}
}

func slipIn(w *world, at int64) want {
	l := w.link(one, at)
	auditID := l.AuditID[:len(l.AuditID)-4] + "ffff" // beside one of the middle
	w.tamper(l.Source, fmt.Sprintf(`INSERT INTO %[1]s.audit_records SELECT org_id, $2, at, actor, action, target, detail, request_id FROM %[1]s.audit_records WHERE audit_id = $1`, l.Source),
		l.AuditID, auditID)
	return want{0, auditID, audit.RecordUnsealed}
}

func unsealPending(w *world, _ int64) want {
	auditID := w.recordAt(one, function.Router, w.clock.Now())
	w.tamper(function.Router, `DELETE FROM router.audit_pending WHERE audit_id = $1`, auditID)
	return want{0, auditID, audit.RecordUnsealed}
}

func deletePending(w *world, _ int64) want {
	auditID := w.recordAt(one, function.Analytics, w.clock.Now())
	w.tamper(function.Analytics, `DELETE FROM analytics.audit_records WHERE audit_id = $1`, auditID)
	return want{0, auditID, audit.RecordMissing}
}

func rewriteEdited(w *world, at int64) want {
	edit("actor", "key_somebody_else")(w, at)
	w.rewrite(one, at)
	seq, auditID := w.segment(at)
	return want{seq, auditID, audit.ChainRewritten}
}

func rewriteDeleted(w *world, at int64) want {
	at = min(at, records-1) // the last one would be a cut tail
	seq, auditID := w.segment(at)
	l := w.link(one, at)
	w.removeRecord(&l)
	w.removeLinks(`seq = $2`, at)
	w.shift(at+1, -1)
	w.rewrite(one, at)
	if seq == at {
		auditID = w.link(one, at).AuditID
	}
	if (at-1)/batch == (records-1)/batch { // what is left has no head's place
		return want{records, "", audit.TailCut}
	}
	return want{seq, auditID, audit.ChainRewritten}
}

func rewriteAdded(w *world, at int64) want {
	seq, auditID := w.segment(at)
	fresh := w.recordAt(one, function.Accounts, w.clock.Now())
	w.tamper(function.Accounts, `DELETE FROM accounts.audit_pending WHERE audit_id = $1`, fresh)
	w.shift(at, +1)
	w.tamper(function.Accounts, `INSERT INTO accounts.audit_chain SELECT org_id, $2::bigint, version, 'accounts', $3, at, prev, hash, sealed_at
		FROM accounts.audit_chain WHERE org_id = $1 AND seq = $2 + 1`, one, at, fresh)
	w.rewrite(one, at)
	if seq == at {
		auditID = fresh
	}
	return want{seq, auditID, audit.ChainRewritten}
}

func cutTail(w *world, at int64) want {
	w.cut(at - 1)
	return want{at, "", audit.TailCut}
}

// cutTailOnly forgets the note that says how far the chain went.
func cutTailOnly(w *world, at int64) want {
	note := query[int64](w, function.Accounts, `SELECT seq FROM accounts.audit_chains WHERE org_id = $1`, one)
	w.cut(at - 1)
	w.tamper(function.Accounts, `UPDATE accounts.audit_chains SET seq = $2 WHERE org_id = $1`, one, note)
	return want{at, "", audit.TailCut}
}

// cutTailAndHeads removes some of the heads that would tell, not all.
func cutTailAndHeads(w *world, at int64) want {
	at = min(at, records-2*batch)
	w.cut(at - 1)
	heads := w.heads(one)
	w.remove(heads[len(heads)-1])
	return want{at, "", audit.TailCut}
}

func cutAndGrow(w *world, at int64) want {
	w.cut(at - 1)
	for range records + batch { // past all heads: some place has two
		w.record(one)
	}
	w.clock.advance(time.Hour)
	_, err := w.sealer.Seal(w.t.Context())
	w.t.Logf("the sealer says: %v", err)
	seq, _ := w.segment(at)
	return want{seq, w.link(one, seq).AuditID, audit.ChainRewritten}
}

func (w *world) remove(name string) {
	if err := os.Remove(w.path(name)); err != nil {
		w.t.Fatal(err)
	}
}

func deleteLastHead(w *world, _ int64) want {
	heads := w.heads(one)
	w.remove(heads[len(heads)-1])
	return want{records, "", audit.HeadMissing}
}

func deleteHead(w *world, at int64) want {
	n := min(int(at-1)/batch, records/batch-2)
	w.remove(w.heads(one)[n])
	return want{int64(n+1) * batch, "", audit.HeadMissing}
}

func deleteHeads(w *world, _ int64) want {
	for _, name := range w.heads(one) {
		w.remove(name)
	}
	return want{records, "", audit.HeadMissing}
}

// head is the one that covers a place, and its file.
func (w *world) head(at int64) (seq int64, name string, body []byte) {
	n := int(at-1) / batch
	name = w.heads(one)[n]
	body, err := os.ReadFile(w.path(name))
	if err != nil {
		w.t.Fatal(err)
	}
	return int64(n+1) * batch, name, body
}

func (w *world) write(name string, body []byte) {
	if err := os.WriteFile(w.path(name), body, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func editHead(w *world, at int64) want {
	seq, name, body := w.head(at)
	hash := hexOf(w.link(one, seq).Hash)
	w.write(name, bytes.Replace(body, []byte(hash), []byte(strings.Repeat("ab", 32)), 1))
	return want{seq, "", audit.HeadForged}
}

func resignHead(w *world, at int64) want {
	seq, name, _ := w.head(at)
	other, err := audit.NewSigner(bytes.Repeat([]byte{8}, audit.SeedSize))
	if err != nil {
		w.t.Fatal(err)
	}
	// An audit of its own, signed by a key of its own, up to the same place.
	forger := *w.sealer
	forger.Signer = other
	w.remove(name)
	w.tamper(function.Accounts, `UPDATE accounts.audit_chains SET seq = $2, hash = $3, head_seq = $4 WHERE org_id = $1`, one, seq, hashOf(w.link(one, seq)), seq-batch)
	w.clock.advance(audit.HeadEvery)
	if _, err := forger.Seal(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.setEnd(one)
	return want{seq, "", audit.HeadForged}
}

func borrowHead(w *world, at int64) want {
	seq, name, _ := w.head(at)
	theirs, err := os.ReadFile(w.path(w.heads(two)[0]))
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(name, theirs)
	return want{seq, "", audit.HeadForged}
}

// forgeCheckpoint removes the beginning and says that retention did.
func forgeCheckpoint(w *world, at int64) want {
	at = min(at, records-1)
	deleteBeginning(w, at)
	_, _, head := w.head(at) // really signed, and no checkpoint
	w.tamper(function.Accounts, `INSERT INTO accounts.audit_checkpoints (org_id, seq, body, at) VALUES ($1, $2, $3, now())`, one, at, head)
	return want{at, "", audit.CheckpointForged}
}

// TestEveryTamperingIsFound changes 1,000 sealed records in every way, at random
// places and at both ends, as a superuser of all databases.
func TestEveryTamperingIsFound(t *testing.T) {
	w := newWorld(t)
	w.fill(two, 60, 20)
	w.fill(one, records, batch)
	w.clock.advance(2 * audit.HeadGrace)
	w.valid(one, records)
	restore := w.keep()
	rng := rand.New(rand.NewPCG(1, 2))
	list := attacks()
	names := make([]string, 0, len(list))
	for name := range list {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, at := range []int64{1, records, 1 + rng.Int64N(records), 1 + rng.Int64N(records)} {
			found := list[name](w, at)
			r := w.verify(one)
			switch {
			case r.Valid():
				t.Errorf("%s at %d: not found", name, at)
			case r.FirstBad.Reason != found.reason || r.FirstBad.Seq != found.seq || r.FirstBad.AuditID != found.auditID || r.FirstBad.Detail == "":
				t.Errorf("%s at %d: found %+v; want %+v", name, at, *r.FirstBad, found)
			}
			restore()
		}
	}
	w.valid(one, records)
	w.valid(two, 60)
}
