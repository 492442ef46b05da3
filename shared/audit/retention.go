package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
)

const (
	// DefaultRetention is how long records are kept.
	DefaultRetention = 730 * 24 * time.Hour
	// MinRetention is the least that can be asked for; the database keeps it too.
	MinRetention = 365 * 24 * time.Hour
	// headsWhole is for how long all signed heads are kept. Of the days before that,
	// the last ones are.
	headsWhole = 48 * time.Hour
	// headsOfDay are kept of a day long past: the last one, and one more, for it may
	// be one that a crash left without a note.
	headsOfDay = 2

	pruneOrgs = 500 // organisations that are read at once
	prunePage = 500 // links whose records are removed at once
	pruneRuns = 200 // pages of one run for one organisation: the next run goes on

)

// wholeSince is the moment from which all heads are there: the beginning of a day,
// so that the head before the first of them is the last of its own.
func wholeSince(now time.Time) time.Time { return now.Add(-headsWhole).UTC().Truncate(24 * time.Hour) }

// Prunable is where chains are shortened from their beginning.
type Prunable interface {
	ChainReader

	// Orgs lists organisations with chains after one, in order.
	Orgs(ctx context.Context, after string, most int) ([]string, error)
	// Held reports whether the organisation's records must be kept, however old.
	Held(ctx context.Context, org string) (bool, error)
	// Old returns the last link of the longest beginning of a chain in which all
	// records were made and sealed before a moment; nil where there is none.
	Old(ctx context.Context, org string, before time.Time) (*Link, error)
	// SaveCheckpoint stores a statement, and the key that signs now as [Chains] does;
	// one of the same place stays as it is.
	SaveCheckpoint(ctx context.Context, c Checkpoint, body []byte, signs PublicKey) error
	// Shorten removes links up to a place that a checkpoint covers.
	Shorten(ctx context.Context, org string, upTo int64, keep time.Duration) error
}

// Disposer removes records.
type Disposer interface {
	// Dispose removes those of the ids that are sealed and older than keep, which is
	// never less than [MinRetention], and returns how many.
	Dispose(ctx context.Context, org string, ids []string, keep time.Duration) (int64, error)
}

// Retention removes what is kept no longer.
type Retention struct {
	Verifier *Verifier
	Chains   Prunable
	Disposer map[function.Service]Disposer
	Files    Files
	Signer   *Signer
	Keep     time.Duration // never below MinRetention
	Now      func() time.Time
}

// Prune is the job: it removes records past their retention from the beginning of
// each chain, after it has signed where the rest begins, and thins out old heads.
// A chain that does not verify is left as it is: it is evidence. Every step may
// break off and be taken again.
func (r *Retention) Prune(ctx context.Context) (function.Counts, error) {
	counts, after := function.Counts{}, ""
	var errs []error
	for ctx.Err() == nil {
		orgs, err := r.Chains.Orgs(ctx, after, pruneOrgs)
		if err != nil {
			return counts, errors.Join(append(errs, err)...)
		}
		for _, org := range orgs {
			n, err := r.prune(ctx, org)
			counts["records"] += n
			if err != nil {
				errs = append(errs, fmt.Errorf("prune the audit of %s: %w", org, err))
			}
			n, err = r.thin(ctx, org)
			counts["heads"] += n
			if err != nil {
				errs = append(errs, fmt.Errorf("thin the heads of %s: %w", org, err))
			}
			after = org
		}
		if len(orgs) < pruneOrgs {
			break
		}
	}
	if counts["records"] == 0 && counts["heads"] == 0 {
		counts = nil
	}
	return counts, errors.Join(errs...)
}

func (r *Retention) prune(ctx context.Context, org string) (int64, error) {
	held, err := r.Chains.Held(ctx, org)
	if err != nil || held {
		return 0, err
	}
	keep := max(r.Keep, MinRetention)
	last, err := r.Chains.Old(ctx, org, r.Now().Add(-keep))
	if err != nil || last == nil {
		return 0, err
	}
	if err := r.check(ctx, org, last); err != nil {
		return 0, err
	}
	removed := int64(0)
	for range pruneRuns {
		links, err := r.Chains.Links(ctx, org, 0, prunePage)
		if err != nil {
			return removed, err
		}
		for len(links) > 0 && links[len(links)-1].Seq > last.Seq {
			links = links[:len(links)-1]
		}
		if len(links) == 0 {
			break
		}
		n, err := r.page(ctx, org, links, keep)
		removed += n
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// check verifies what is about to go and signs the checkpoint, unless an earlier
// run has done both and was cut off.
func (r *Retention) check(ctx context.Context, org string, last *Link) error {
	seq, _, err := r.Chains.Checkpoint(ctx, org)
	if err != nil || seq >= last.Seq {
		return err
	}
	report, err := r.Verifier.Verify(ctx, org)
	if err != nil {
		return err
	}
	if f := report.FirstBad; f != nil {
		return fault.New(fault.Conflict, "nothing is removed from a chain that does not verify: %s", f.Detail)
	}
	return r.checkpoint(ctx, org, seq, last)
}

func (r *Retention) checkpoint(ctx context.Context, org string, previous int64, last *Link) error {
	c, body, err := r.Signer.signed(Checkpoint{Type: kindCheckpoint, OrgID: org, Seq: last.Seq, Hash: last.Hash, Previous: previous, At: r.Now()})
	if err != nil {
		return err
	}
	name := fileOf(checkpointsOf(org), last.Seq)
	err = r.Files.Put(ctx, name, body)
	if fault.Is(err, fault.Conflict) { // of a run that was cut off
		if body, err = r.Files.Get(ctx, name); err == nil {
			c, err = r.Verifier.Ring.open(kindCheckpoint, org, last.Seq, body)
		}
	}
	if err != nil {
		return fmt.Errorf("store checkpoint: %w", err)
	}
	if c.Hash != last.Hash {
		return fault.New(fault.Conflict, "another checkpoint was signed for record %d", last.Seq)
	}
	return r.Chains.SaveCheckpoint(ctx, c, body, r.Signer.Public())
}

// page removes the records of links, and then the links: they say what is left to
// remove.
func (r *Retention) page(ctx context.Context, org string, links []Link, keep time.Duration) (int64, error) {
	ids := map[function.Service][]string{}
	for i := range links {
		ids[links[i].Source] = append(ids[links[i].Source], links[i].AuditID)
	}
	removed := int64(0)
	for source, of := range ids {
		n, err := r.Disposer[source].Dispose(ctx, org, of, keep)
		removed += n
		if err != nil {
			return removed, err
		}
		left, err := r.Verifier.Records[source].Read(ctx, org, of)
		if err != nil {
			return removed, err
		}
		if len(left) > 0 { // by its own clock the database would not
			return removed, fault.New(fault.Conflict, "%s keeps the record %s", source, left[0].ID)
		}
	}
	return removed, r.Chains.Shorten(ctx, org, links[len(links)-1].Seq, keep)
}

// thin removes heads of days long past, but for the last ones of each, and those of
// what was pruned.
func (r *Retention) thin(ctx context.Context, org string) (removed int64, err error) {
	first, _, err := r.Chains.Checkpoint(ctx, org)
	if err != nil {
		return 0, err
	}
	t := thinning{since: wholeSince(r.Now())}
	for name, err := range r.Files.List(ctx, headsOf(org), "") {
		if err != nil {
			return removed, err
		}
		superfluous := name
		if seq := seqOf(headsOf(org), name); seq <= 0 || seq > first {
			body, err := r.Files.Get(ctx, name)
			if err != nil {
				return removed, err
			}
			h, err := r.Verifier.Ring.read(body)
			switch {
			case err != nil: // for a verification to find
				continue
			case !h.At.Before(t.since):
				return removed, nil
			}
			superfluous = t.next(name, h.At)
		}
		if superfluous == "" {
			continue
		}
		if err := r.Files.Delete(ctx, superfluous); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// thinning goes through heads in their order.
type thinning struct {
	since time.Time
	day   time.Time
	names []string // of the day, that stay so far
}

// next takes a head and returns the one that may go for it; "" for none.
func (t *thinning) next(name string, at time.Time) (superfluous string) {
	if day := at.UTC().Truncate(24 * time.Hour); !day.Equal(t.day) {
		t.day, t.names = day, nil
	}
	t.names = append(t.names, name)
	if len(t.names) > headsOfDay {
		superfluous, t.names = t.names[0], t.names[1:]
	}
	return superfluous
}
