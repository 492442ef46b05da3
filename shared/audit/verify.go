package audit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
)

// HeadGrace is how long a link may stand without a signed head before that counts
// as one that was removed, and a record without its link before that counts as a
// sealer that was stopped: so long, the record could be changed without a trace.
const HeadGrace = time.Minute

// LateAfter is how much later than the time that it names a record may be sealed
// without being counted in [Report.Late].
const LateAfter = 10 * time.Minute

const verifyPage = 500 // links that are read at once

// Records reads the records of one schema, within one organisation.
type Records interface {
	// Read returns those of the ids that are there.
	Read(ctx context.Context, org string, ids []string) ([]Entry, error)
	// Loose lists ids after one, in order, of records that are not pending.
	Loose(ctx context.Context, org, after string, most int) ([]string, error)
	// Waiting counts the pending, and names one whose record is gone; "" for none.
	Waiting(ctx context.Context, org string) (pending int64, lost string, err error)
	// Overdue lists ids after one, in order, that have been pending for longer than
	// grace.
	Overdue(ctx context.Context, org string, grace time.Duration, after string, most int) ([]string, error)
}

// ChainReader reads an organisation's chain.
type ChainReader interface {
	// Links returns links after a place, in order.
	Links(ctx context.Context, org string, after int64, most int) ([]Link, error)
	// Linked returns those of a schema's records that have links, by id.
	Linked(ctx context.Context, org string, source function.Service, ids []string) (map[string]Link, error)
	// State is the zero State where there is no chain.
	State(ctx context.Context, org string) (State, error)
	// Checkpoint returns the last checkpoint's place and statement; 0 for none.
	Checkpoint(ctx context.Context, org string) (seq int64, body []byte, err error)
	// Owner reports whether there is an organisation of that id.
	Owner(ctx context.Context, org string) (bool, error)
}

// Reason is what is wrong with a record or its link.
type Reason string

// The reasons.
const (
	RecordChanged    Reason = "record_changed"    // the record, or its link, is not what was sealed
	RecordMissing    Reason = "record_missing"    // its link is there, or it was pending, and it is gone
	RecordUnsealed   Reason = "record_unsealed"   // it was entered past the sealer, or the sealer does not come to it
	LinkMissing      Reason = "link_missing"      // the chain has a gap
	LinkMoved        Reason = "link_moved"        // it does not follow on the one before it
	ChainRewritten   Reason = "chain_rewritten"   // it was computed anew after it was signed
	TailCut          Reason = "tail_cut"          // the chain once went on
	HeadMissing      Reason = "head_missing"      // a signed head is gone
	HeadForged       Reason = "head_forged"       // a head was not signed by the key
	CheckpointForged Reason = "checkpoint_forged" // likewise
)

// Finding is the first thing that is wrong.
type Finding struct {
	Seq     int64  // in the chain; 0: it has no place
	AuditID string // "" where it is not known any more
	Reason  Reason
	Detail  string // for people
}

// Report is what a verification has found.
type Report struct {
	Checked  int64 // records that are as they were sealed
	From, To int64 // their places; 0 where there are none
	Pending  int64 // records that wait to be sealed
	Late     int64 // of the checked, those sealed later than [LateAfter]: entered later than they say, or the sealer stood still
	FirstBad *Finding
	Head     *Head // the last signed head that fits; nil for none
}

// Valid reports whether nothing is wrong.
func (r *Report) Valid() bool { return r.FirstBad == nil }

// Verifier checks chains against their records and their signed heads. It reads
// page by page, so its memory does not depend on their length.
type Verifier struct {
	Records map[function.Service]Records
	Chain   ChainReader
	Files   Files
	Ring    Ring
	Now     func() time.Time
}

// Verify checks an organisation's chain to its first flaw. NotFound: there is no
// such organisation, and nothing of one that was.
func (v *Verifier) Verify(ctx context.Context, org string) (Report, error) {
	for {
		r, err := v.verify(ctx, org)
		if !errors.Is(err, errPruned) || ctx.Err() != nil {
			return r, err
		}
	}
}

// known refuses to call the audit of an organisation right that nobody knows.
func (w *walk) known(ctx context.Context) error {
	if w.org == PlatformOrg || w.report.Checked > 0 || w.report.Pending > 0 || w.first > 0 {
		return nil
	}
	known, err := w.Chain.Owner(ctx, w.org)
	if err == nil && !known {
		err = fault.New(fault.NotFound, "there is no organization %q, and no record of one", w.org)
	}
	return err
}

func (v *Verifier) verify(ctx context.Context, org string) (Report, error) {
	w := &walk{Verifier: v, org: org, started: v.Now()}
	for _, step := range []func(context.Context) error{w.begin, w.chain, w.tail, w.loose, w.waiting, w.overdue, w.known} {
		if err := step(ctx); err != nil {
			var f *flaw
			if !errors.As(err, &f) {
				return w.report, err
			}
			w.report.FirstBad = &f.Finding
			break
		}
	}
	return w.report, nil
}

// flaw ends a verification.
type flaw struct{ Finding }

func (f *flaw) Error() string { return f.Detail }

func bad(seq int64, auditID string, reason Reason, format string, args ...any) error {
	return &flaw{Finding{Seq: seq, AuditID: auditID, Reason: reason, Detail: fmt.Sprintf(format, args...)}}
}

// walk is one verification.
type walk struct {
	*Verifier

	org     string
	started time.Time
	report  Report
	first   int64 // the place before the first link: the checkpoint's, or 0
	last    Link  // the last one that is right
	state   State // of the chain before it was read
	open    *Link // the first link since the last head that fits
	heads   []int64
	held    *Finding // what is wrong with a head that the links have not come to
}

// begin finds where the chain begins.
func (w *walk) begin(ctx context.Context) error {
	var err error
	if w.state, err = w.Chain.State(ctx, w.org); err != nil {
		return err
	}
	seq, body, err := w.Chain.Checkpoint(ctx, w.org)
	if err != nil || seq == 0 {
		return err
	}
	c, err := w.Ring.open(kindCheckpoint, w.org, seq, body)
	if err != nil {
		return bad(seq, "", CheckpointForged, "the checkpoint of record %d is not one that the key has signed", seq)
	}
	w.first, w.last = seq, Link{OrgID: w.org, Seq: seq, Hash: c.Hash}
	return nil
}

// chain checks link by link, and the heads on the way.
func (w *walk) chain(ctx context.Context) error {
	heads := w.headsAfter(ctx, w.first)
	defer heads.stop()
	head, err := heads.next(ctx)
	for err == nil {
		var links []Link
		if links, err = w.Chain.Links(ctx, w.org, w.last.Seq, verifyPage); err != nil || len(links) == 0 {
			break
		}
		head, err = w.page(ctx, links, head, heads)
	}
	return err
}

// page checks a page of links, and the heads that come to their places.
func (w *walk) page(ctx context.Context, links []Link, head *Head, heads *headReader) (*Head, error) {
	entries, err := w.read(ctx, links)
	if err != nil {
		return nil, err
	}
	for i := range links {
		if err := w.link(ctx, &links[i], entries); err != nil {
			return nil, err
		}
		for head != nil && head.Seq == w.last.Seq {
			if err := w.fits(head, &w.last); err != nil {
				return nil, err
			}
			if head, err = heads.next(ctx); err != nil {
				return nil, err
			}
		}
		if w.held != nil && w.held.Seq <= w.last.Seq {
			return nil, &flaw{*w.held}
		}
	}
	return head, nil
}

type key struct {
	source function.Service
	id     string
}

// read reads the records of links.
func (w *walk) read(ctx context.Context, links []Link) (map[key]*Entry, error) {
	ids := map[function.Service][]string{}
	for i := range links {
		ids[links[i].Source] = append(ids[links[i].Source], links[i].AuditID)
	}
	out := make(map[key]*Entry, len(links))
	for _, source := range Sources() { // a link that names another has no record
		if len(ids[source]) == 0 {
			continue
		}
		list, err := w.Records[source].Read(ctx, w.org, ids[source])
		if err != nil {
			return nil, err
		}
		for i := range list {
			out[key{source, list[i].ID}] = &list[i]
		}
	}
	return out, nil
}

// link checks that a link follows on the last one and that its record is what was
// sealed.
func (w *walk) link(ctx context.Context, l *Link, entries map[key]*Entry) error {
	e := entries[key{l.Source, l.AuditID}]
	switch {
	case l.Seq != w.last.Seq+1:
		return w.unlessPruned(ctx, bad(w.last.Seq+1, "", LinkMissing, "the chain goes from %d to %d", w.last.Seq, l.Seq))
	case l.Prev != w.last.Hash:
		return bad(l.Seq, l.AuditID, LinkMoved, "record %d does not follow on record %d", l.Seq, w.last.Seq)
	case e == nil:
		return w.unlessPruned(ctx, bad(l.Seq, l.AuditID, RecordMissing, "record %d is gone from %s", l.Seq, l.Source))
	case !l.proves(e):
		return bad(l.Seq, l.AuditID, RecordChanged, "record %d is not what was sealed", l.Seq)
	}
	if w.report.From == 0 {
		w.report.From = l.Seq
	}
	w.report.To, w.last = l.Seq, *l
	w.report.Checked++
	if l.SealedAt.Sub(l.At) > LateAfter {
		w.report.Late++
	}
	if w.open == nil {
		w.open = new(*l)
	}
	return nil
}

// unlessPruned starts no alarm where retention has removed what was being read.
func (w *walk) unlessPruned(ctx context.Context, found error) error {
	seq, _, err := w.Chain.Checkpoint(ctx, w.org)
	switch {
	case err != nil:
		return err
	case seq > w.first:
		return errPruned
	}
	return found
}

var errPruned = errors.New("the chain was pruned while it was verified: verify again")

// headReader reads the signed heads of the store, in their order.
type headReader struct {
	w    *walk
	pull func() (string, error, bool)
	stop func()
}

func (w *walk) headsAfter(ctx context.Context, seq int64) *headReader {
	pull, stop := iter.Pull2(w.Files.List(ctx, headsOf(w.org), fileOf(headsOf(w.org), seq)))
	return &headReader{w: w, pull: pull, stop: stop}
}

// next is nil at the end, and from the first one on that is wrong, which is held:
// what is wrong before its place counts first.
func (r *headReader) next(ctx context.Context) (*Head, error) {
	if r.w.held != nil {
		return nil, nil //nolint:nilnil // no head is there to be fitted
	}
	h, err := r.read(ctx)
	if f, wrong := errors.AsType[*flaw](err); wrong {
		r.w.held = &f.Finding
		return nil, nil //nolint:nilnil // likewise
	}
	return h, err
}

func (r *headReader) read(ctx context.Context) (*Head, error) {
	name, err, ok := r.pull()
	if err != nil || !ok {
		return nil, err
	}
	folder := headsOf(r.w.org)
	seq := seqOf(folder, name)
	body, err := r.w.Files.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	h, err := r.w.Ring.open(kindHead, r.w.org, seq, body)
	if err != nil {
		return nil, bad(max(seq, 0), "", HeadForged, "the head %s is not one that the key has signed", name)
	}
	if err := r.w.follows(&h); err != nil {
		return nil, err
	}
	return &h, nil
}

// recentHeads is how many heads are kept in mind to find the one that another names
// before it: a crash between a head and its note leaves one that nobody names.
const recentHeads = 16

// follows checks that the head before this one is there. Of days long past only the
// last heads are kept.
func (w *walk) follows(h *Head) error {
	if h.Previous > w.first && !slices.Contains(w.heads, h.Previous) && !h.At.Before(wholeSince(w.started)) {
		return bad(h.Previous, "", HeadMissing, "the signed head of record %d is gone", h.Previous)
	}
	w.heads = append(w.heads, h.Seq)
	if len(w.heads) > recentHeads {
		w.heads = w.heads[1:]
	}
	return nil
}

// fits checks a head against the link of its place.
func (w *walk) fits(h *Head, l *Link) error {
	if h.Hash != l.Hash {
		from := Link{Seq: w.first + 1}
		if w.open != nil {
			from = *w.open
		}
		return bad(from.Seq, from.AuditID, ChainRewritten, "of the records %d to %d one was changed after record %d was signed, and the chain computed anew",
			from.Seq, h.Seq, h.Seq)
	}
	w.report.Head, w.open = h, nil
	return nil
}

// tail checks that the chain goes as far as it once went, by its own note and by the
// heads that its links did not come to, and that the heads go as far as they should.
func (w *walk) tail(ctx context.Context) error {
	if w.last.Seq < w.state.Seq {
		return w.unlessPruned(ctx, bad(w.last.Seq+1, "", TailCut, "the chain ends at %d and went to %d", w.last.Seq, w.state.Seq))
	}
	if w.held != nil {
		return &flaw{*w.held}
	}
	heads := w.headsAfter(ctx, w.covered())
	defer heads.stop()
	for {
		h, err := heads.read(ctx)
		if err != nil || h == nil {
			if err == nil {
				err = w.uncovered()
			}
			return err
		}
		links, err := w.Chain.Links(ctx, w.org, h.Seq-1, 1)
		if err != nil {
			return err
		}
		if len(links) == 0 || links[0].Seq != h.Seq {
			return w.unlessPruned(ctx, bad(w.last.Seq+1, "", TailCut, "the chain ends at %d, and a signed head says that it went to %d", w.last.Seq, h.Seq))
		}
		if err := w.fits(h, &links[0]); err != nil {
			return err
		}
		if w.last.Seq > h.Seq {
			w.open = &w.last
		}
	}
}

// covered is the place up to which heads cover the chain.
func (w *walk) covered() int64 {
	if w.report.Head == nil {
		return w.first
	}
	return w.report.Head.Seq
}

// uncovered finds that heads were removed from the end of the store.
func (w *walk) uncovered() error {
	switch {
	case w.state.HeadSeq > w.covered():
		return bad(w.state.HeadSeq, "", HeadMissing, "the signed head of record %d is gone", w.state.HeadSeq)
	case w.open != nil && w.open.SealedAt.Before(w.started.Add(-HeadGrace)):
		return bad(w.open.Seq, w.open.AuditID, HeadMissing, "no signed head covers record %d, which was sealed at %s", w.open.Seq, timeText(w.open.SealedAt))
	}
	return nil
}

// loose finds records that were entered past the sealer. A record and its mark as
// pending come together, and its link comes before the mark goes: one that has
// neither was never sealed.
func (w *walk) loose(ctx context.Context) error {
	for _, source := range Sources() {
		after := ""
		for {
			ids, err := w.Records[source].Loose(ctx, w.org, after, verifyPage)
			if err != nil || len(ids) == 0 {
				if err != nil {
					return err
				}
				break
			}
			after = ids[len(ids)-1]
			if err := w.unsealed(ctx, source, ids, "a record of %s was entered past the chain"); err != nil {
				return err
			}
		}
	}
	return nil
}

// unsealed finds the first of the ids that has a record and no link. format says of
// which schema.
func (w *walk) unsealed(ctx context.Context, source function.Service, ids []string, format string) error {
	linked, err := w.Chain.Linked(ctx, w.org, source, ids)
	if err != nil {
		return err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { _, ok := linked[id]; return ok })
	if len(ids) == 0 {
		return nil
	}
	still, err := w.Records[source].Read(ctx, w.org, ids) // retention may have removed them, and then their links
	if err != nil || len(still) == 0 {
		return err
	}
	first := slices.MinFunc(still, func(a, b Entry) int { return strings.Compare(a.ID, b.ID) })
	return bad(0, first.ID, RecordUnsealed, format, source)
}

// overdue finds records that the sealer should have come to. Those that have links
// it only has not settled.
func (w *walk) overdue(ctx context.Context) error {
	for _, source := range Sources() {
		after := ""
		for {
			ids, err := w.Records[source].Overdue(ctx, w.org, HeadGrace, after, verifyPage)
			if err != nil {
				return err
			}
			if len(ids) == 0 {
				break
			}
			after = ids[len(ids)-1]
			if err := w.unsealed(ctx, source, ids, "a record of %s has waited for more than a minute to be sealed: the sealer does not come to it"); err != nil {
				return err
			}
		}
	}
	return nil
}

// waiting counts what is not sealed yet.
func (w *walk) waiting(ctx context.Context) error {
	for _, source := range Sources() {
		n, lost, err := w.Records[source].Waiting(ctx, w.org)
		if err != nil {
			return err
		}
		if lost != "" {
			return bad(0, lost, RecordMissing, "a record of %s was removed before it was sealed", source)
		}
		w.report.Pending += n
	}
	return nil
}
