package audit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/function"
)

const day = 24 * time.Hour

// aged is a world whose first records are three years old, and whose last ones are
// of today; all times are those of the database's own clock.
func aged(t *testing.T, old, fresh int) *world {
	t.Helper()
	w := newWorld(t)
	now := query[time.Time](w, function.Accounts, `SELECT date_trunc('second', now())`).UTC()
	w.clock.at.Store(now.Add(-3 * 365 * day).UnixMicro())
	w.fill(one, old, 10)
	w.clock.at.Store(now.UnixMicro())
	w.fill(one, fresh, 10)
	return w
}

func (w *world) prune() (function.Counts, error) {
	w.t.Helper()
	return w.retention.Prune(w.t.Context())
}

func (w *world) pruned(records int64) {
	w.t.Helper()
	counts, err := w.prune()
	if err != nil || counts["records"] != records {
		w.t.Errorf("%d records were removed, %v; want %d", counts["records"], err, records)
	}
}

func (w *world) count() (n int64) {
	for _, s := range audit.Sources() {
		n += query[int64](w, s, fmt.Sprintf(`SELECT count(*) FROM %s.audit_records`, s))
	}
	return n
}

func TestOldRecordsGoAndTheRestStillVerifies(t *testing.T) {
	t.Parallel()
	w := aged(t, 25, 12)
	w.pruned(25)
	if n := w.count(); n != 12 {
		t.Errorf("%d records are left", n)
	}
	r := w.verify(one)
	if !r.Valid() || r.From != 26 || r.To != 37 || r.Checked != 12 {
		t.Errorf("the rest: %+v", r)
	}
	w.pruned(0) // there is nothing more
	w.record(one)
	w.seal()
	w.valid(one, 13)
	w.clock.advance(3 * 365 * day) // by this clock alone all is old; the database knows better
	if _, err := w.prune(); err == nil || !strings.Contains(err.Error(), "keeps the record") {
		t.Errorf("%v", err)
	}
	if n := w.count(); n != 13 {
		t.Errorf("%d records are left", n)
	}
}

func TestAPrunedChainIsNoLessProtected(t *testing.T) {
	t.Parallel()
	w := aged(t, 20, 20)
	w.pruned(20)
	w.clock.advance(2 * audit.HeadGrace)
	restore := w.keep()
	for name, c := range map[string]struct {
		attack func()
		want   want
	}{
		"the first that is left, deleted": {func() { l := w.link(one, 21); w.removeRecord(&l); w.removeLinks(`seq = 21`) }, want{21, "", audit.LinkMissing}},
		"the checkpoint, deleted":         {func() { w.tamper(function.Accounts, `DELETE FROM accounts.audit_checkpoints`) }, want{1, "", audit.LinkMissing}},
		"the checkpoint, moved on": {func() {
			w.removeLinks(`seq <= 25`)
			w.tamper(function.Accounts, `UPDATE accounts.audit_checkpoints SET seq = 25`)
		}, want{25, "", audit.CheckpointForged}},
		"an older record, put back": {func() {
			w.tamper(function.Router, `INSERT INTO router.audit_records VALUES ('org_one', 'aud_1', '2020-01-01', 'a', 'a', 't', '{}')`)
		}, want{0, "aud_1", audit.RecordUnsealed}},
	} {
		c.attack()
		if r := w.verify(one); r.Valid() || (want{r.FirstBad.Seq, r.FirstBad.AuditID, r.FirstBad.Reason}) != c.want {
			t.Errorf("%s: %+v", name, r.FirstBad)
		}
		restore()
		w.valid(one, 20)
	}
}

func TestNothingIsRemovedThatMustBeKept(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(w *world)
		refused string
	}{
		"an organisation on hold": {prepare: func(w *world) {
			w.exec(function.Accounts, `UPDATE accounts.organizations SET legal_hold = true WHERE org_id = 'org_one'`)
		}},
		"a retention of ten years": {prepare: func(w *world) { w.retention.Keep = 10 * 365 * day }},
		"what is not sealed": {prepare: func(w *world) {
			for table := range tables() {
				if strings.HasPrefix(table, "accounts.audit_chain") {
					w.tamper(function.Accounts, `DELETE FROM `+table)
				}
			}
		}},
		"evidence": {prepare: func(w *world) {
			edit("actor", "x")(w, 3)
		}, refused: "does not verify"},
		"an old one behind a young one": {prepare: func(w *world) {
			w.tamper(w.link(one, 1).Source, `UPDATE `+string(w.link(one, 1).Source)+`.audit_records SET at = now() WHERE audit_id = $1`, w.link(one, 1).AuditID)
			w.rewrite(one, 1)
			for _, name := range w.heads(one) {
				w.remove(name)
			}
			w.tamper(function.Accounts, `UPDATE accounts.audit_chains SET head_seq = 0`)
			w.seal()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := aged(t, 10, 5)
			c.prepare(w)
			counts, err := w.prune()
			if counts["records"] != 0 || (err != nil) != (c.refused != "") || (err != nil && !strings.Contains(err.Error(), c.refused)) {
				t.Errorf("%v, %v; want nothing removed, and %q", counts, err, c.refused)
			}
			if n := w.count(); n != 15 {
				t.Errorf("%d records are left", n)
			}
		})
	}
}

// TestTheDatabaseKeepsAYear asks it for more than it may do.
func TestTheDatabaseKeepsAYear(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := query[time.Time](w, function.Accounts, `SELECT now()`)
	ids := []string{w.recordAt(one, function.Router, now.Add(-364*day)), w.recordAt(one, function.Router, now.Add(-367*day))}
	w.seal()
	pending := w.recordAt(one, function.Router, now.Add(-5*365*day))
	n, err := w.records[function.Router].Dispose(t.Context(), one, append(ids, pending), 0)
	if err != nil || n != 1 {
		t.Errorf("%d were removed, %v; want the one that is sealed and more than a year old", n, err)
	}
	if got := query[string](w, function.Router, `SELECT string_agg(audit_id, ' ' ORDER BY at DESC) FROM router.audit_records`); got != ids[0]+" "+pending {
		t.Errorf("left: %s", got)
	}
	// Without a checkpoint no link goes, whoever asks.
	if err := w.chain.Shorten(t.Context(), one, 2, 0); err != nil {
		t.Error(err)
	}
	if n := query[int64](w, function.Accounts, `SELECT count(*) FROM accounts.audit_chain`); n != 2 {
		t.Errorf("%d links", n)
	}
}

// dying breaks when the nth thing is asked of it.
type dying struct {
	audit.Prunable
	audit.Disposer
	left *int
}

func (d dying) step() error {
	if *d.left--; *d.left < 0 {
		return errCrash
	}
	return nil
}

func (d dying) SaveCheckpoint(ctx context.Context, c audit.Checkpoint, body []byte, signs audit.PublicKey) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.Prunable.SaveCheckpoint(ctx, c, body, signs)
}

func (d dying) Shorten(ctx context.Context, org string, upTo int64, keep time.Duration) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.Prunable.Shorten(ctx, org, upTo, keep)
}

func (d dying) Dispose(ctx context.Context, org string, ids []string, keep time.Duration) (int64, error) {
	if err := d.step(); err != nil {
		return 0, err
	}
	return d.Disposer.Dispose(ctx, org, ids, keep)
}

func TestPruningThatBreaksOffIsTakenUpAgain(t *testing.T) {
	t.Parallel()
	for steps := range 6 {
		w := aged(t, 12, 3)
		whole := *w.retention
		w.retention.Chains = dying{Prunable: whole.Chains, left: &steps}
		w.retention.Disposer = map[function.Service]audit.Disposer{}
		for s, d := range whole.Disposer {
			w.retention.Disposer[s] = dying{Disposer: d, left: &steps}
		}
		_, err := w.prune()
		if broke := errors.Is(err, errCrash); broke != (steps < 0) {
			t.Fatalf("%v, with %d steps left", err, steps)
		}
		if r := w.verify(one); !r.Valid() {
			t.Errorf("half-way: %+v", r.FirstBad)
		}
		*w.retention = whole
		if _, err := w.prune(); err != nil {
			t.Fatal(err)
		}
		if r := w.verify(one); !r.Valid() || r.From != 13 || r.Checked != 3 || w.count() != 3 {
			t.Errorf("in the end: %+v, %d records", r, w.count())
		}
	}
}

func TestOldHeadsAreThinnedOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := query[time.Time](w, function.Accounts, `SELECT date_trunc('day', now())`).UTC()
	w.clock.at.Store(now.Add(-10 * day).UnixMicro())
	for range 10 {
		for range 5 {
			w.record(one)
			w.seal()
		}
		w.clock.at.Store(w.clock.Now().Truncate(day).Add(day).UnixMicro())
	}
	w.clock.at.Store(now.Add(time.Hour).UnixMicro())
	if _, err := w.prune(); err != nil {
		t.Fatal(err)
	}
	// Of eight days two each; of yesterday and the day before all.
	if n := len(w.heads(one)); n != 8*2+2*5 {
		t.Errorf("%d heads are left", n)
	}
	w.valid(one, 50)
	w.remove(w.heads(one)[20])
	if r := w.verify(one); r.Valid() || r.FirstBad.Reason != audit.HeadMissing {
		t.Errorf("a head of yesterday is gone: %+v", r)
	}
}

// overtaken is a chain that is pruned after its first page was read.
type overtaken struct {
	audit.ChainReader
	prune func()
	reads int
}

func (o *overtaken) Links(ctx context.Context, org string, after int64, most int) ([]audit.Link, error) {
	links, err := o.ChainReader.Links(ctx, org, after, most)
	if o.reads++; o.reads == 1 {
		o.prune()
	}
	return links, err
}

func TestPruningWhileAChainIsVerifiedIsNoAlarm(t *testing.T) {
	t.Parallel()
	w := aged(t, 620, 5) // more than a page
	chain := &overtaken{ChainReader: w.chain, prune: func() { w.pruned(620) }}
	v := *w.verifier
	v.Chain = chain
	r, err := v.Verify(t.Context(), one)
	if err != nil || !r.Valid() || r.From != 621 || r.Checked != 5 || chain.reads < 3 {
		t.Errorf("%+v, %v, after %d reads", r, err, chain.reads)
	}
}
