package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
)

// HeadEvery is the shortest time between two signed heads of an organisation. What
// was sealed since the last one is not covered yet: that much can be cut off the
// end of a chain, by whoever may change all tables, without showing.
const HeadEvery = 2 * time.Second

// headPause is the longest that an organisation whose head could not be stored waits
// for its next try: the head should come before [HeadGrace] is over.
const headPause = HeadGrace / 2

// The bounds of one run of the sealer.
const (
	sealBatch  = 500             // pending records that are read at once from one schema
	sealRounds = 40              // batches of one run: the next goes on
	headBatch  = 500             // organisations whose heads are signed in one run
	putLimit   = 5 * time.Second // a file store may take so long: the chain is held meanwhile

	// headStrikes heads that fail one after the other end a run: then it is the file
	// store, and not the folder of one organisation.
	headStrikes = 5
	headErrors  = 10 // are told of one run; the others are counted
)

// Cursor is a place among the pending records of all organisations.
type Cursor struct{ AuditID, OrgID string }

// Pending is what one schema has that no chain has yet.
type Pending interface {
	// Pending returns pending records of all organisations after a place, in the
	// order of their ids. A pending record that is gone is passed over.
	Pending(ctx context.Context, after Cursor, most int) ([]Entry, error)
	// Settle takes an organisation's records off the pending.
	Settle(ctx context.Context, org string, ids []string) error
}

// State is the end of a chain, and how far signed heads cover it.
type State struct {
	Seq     int64
	Hash    Hash
	HeadSeq int64
}

// Chains is where the chains are.
type Chains interface {
	// Append adds the links of entries that have none, in their order, and returns
	// how many. link makes an entry's link from the one before it. One at a time
	// appends to a chain, whatever the number of processes.
	Append(ctx context.Context, org string, entries []Entry, link func(prev *Link, e *Entry) (Link, error)) (int, error)
	// Unsigned returns organisations whose chains go on past their signed heads,
	// where the last head is from before a moment, and that need not wait after a
	// failure. Those that have failed come last.
	Unsigned(ctx context.Context, now, before time.Time, most int) ([]string, error)
	// Postpone notes that a head could not be stored: the organisation is not among
	// the unsigned for a while, which grows with each failure up to longest.
	Postpone(ctx context.Context, org string, now time.Time, longest time.Duration) error
	// SaveKey notes a key before it signs. One that is known stays as it is.
	SaveKey(ctx context.Context, k PublicKey) error
	// Extend calls put with the end of a chain that goes on past its heads, and notes
	// that a head covers it, unless put fails. One at a time extends a chain's heads.
	Extend(ctx context.Context, org string, at time.Time, put func(State) error) error
}

// Sealer gives records their places in the chains, and signs the chains' heads.
// Every step may break off and be taken again, and any number of sealers may run
// at once: a record has one link.
type Sealer struct {
	Pending map[function.Service]Pending
	Chains  Chains
	Files   Files
	Signer  *Signer
	Now     func() time.Time
}

// Seal is the job: it seals what is pending and signs the heads that are due. What
// fails for one organisation or one schema holds up no other.
func (s *Sealer) Seal(ctx context.Context) (function.Counts, error) {
	sealed, err := s.seal(ctx)
	heads, headErr := s.sign(ctx)
	var counts function.Counts
	if sealed > 0 || heads > 0 {
		counts = function.Counts{"sealed": int64(sealed), "heads": int64(heads)}
	}
	return counts, errors.Join(err, headErr)
}

func (s *Sealer) seal(ctx context.Context) (sealed int, err error) {
	at := map[function.Service]Cursor{}
	open := Sources()
	for range sealRounds {
		var entries []Entry
		open = slices.DeleteFunc(open, func(source function.Service) bool {
			list, readErr := s.Pending[source].Pending(ctx, at[source], sealBatch)
			if readErr != nil {
				err = errors.Join(err, fmt.Errorf("read pending records of %s: %w", source, readErr))
				return true
			}
			entries = append(entries, list...)
			if n := len(list); n > 0 {
				at[source] = Cursor{AuditID: list[n-1].ID, OrgID: list[n-1].OrgID}
			}
			return len(list) < sealBatch
		})
		for org, list := range byOrg(entries) {
			n, orgErr := s.sealOrg(ctx, org, list)
			sealed += n
			if orgErr != nil {
				err = errors.Join(err, fmt.Errorf("seal records of %s: %w", org, orgErr))
			}
		}
		if len(open) == 0 || ctx.Err() != nil {
			break
		}
	}
	return sealed, err
}

// byOrg sorts entries into organisations, each in the order in which they were made.
func byOrg(entries []Entry) map[string][]Entry {
	out := map[string][]Entry{}
	for i := range entries {
		out[entries[i].OrgID] = append(out[entries[i].OrgID], entries[i])
	}
	for _, list := range out {
		slices.SortStableFunc(list, func(a, b Entry) int { return strings.Compare(a.ID, b.ID) })
	}
	return out
}

// sealOrg appends before it settles: a crash between the two leaves records
// pending that have links, which Append passes over.
func (s *Sealer) sealOrg(ctx context.Context, org string, list []Entry) (int, error) {
	now := s.Now()
	n, err := s.Chains.Append(ctx, org, list, func(prev *Link, e *Entry) (Link, error) { return prev.next(e, now) })
	if err != nil {
		return 0, err
	}
	ids := map[function.Service][]string{}
	for i := range list {
		ids[list[i].Source] = append(ids[list[i].Source], list[i].ID)
	}
	for source, of := range ids {
		if err := s.Pending[source].Settle(ctx, org, of); err != nil {
			return n, fmt.Errorf("settle in %s: %w", source, err)
		}
	}
	return n, nil
}

// sign puts signed heads into the file store. An organisation whose head can't be
// stored holds up no other; a store that takes none is not asked on in the same run.
func (s *Sealer) sign(ctx context.Context) (int, error) {
	now := s.Now()
	orgs, err := s.Chains.Unsigned(ctx, now, now.Add(-HeadEvery), headBatch)
	if err != nil {
		return 0, fmt.Errorf("look for unsigned chains: %w", err)
	}
	if len(orgs) == 0 {
		return 0, nil
	}
	if err := s.Chains.SaveKey(ctx, s.Signer.Public()); err != nil {
		return 0, fmt.Errorf("note the signing key: %w", err)
	}
	var errs []error
	n, untold, strikes := 0, 0, 0
	for _, org := range orgs {
		err := s.signOrg(ctx, org)
		if err == nil {
			n, strikes = n+1, 0
			continue
		}
		if len(errs) < headErrors {
			errs = append(errs, err)
		} else {
			untold++
		}
		if fault.Is(err, fault.Conflict) { // the store answers
			strikes = 0
			continue
		}
		if strikes++; strikes == headStrikes || ctx.Err() != nil {
			break
		}
	}
	if untold > 0 {
		errs = append(errs, fmt.Errorf("and %d more heads were not signed", untold))
	}
	return n, errors.Join(errs...)
}

// signOrg signs the head of one organisation. Its error says whether the file store
// failed or the database.
func (s *Sealer) signOrg(ctx context.Context, org string) error {
	var putErr error
	err := s.Chains.Extend(ctx, org, s.Now(), func(st State) error {
		putErr = s.put(ctx, org, st)
		return putErr
	})
	if err == nil {
		return nil
	}
	if putErr != nil {
		err = fmt.Errorf("store the signed head of %s in the file store: %w", org, putErr)
	} else {
		err = fmt.Errorf("sign head of %s: %w", org, err)
	}
	return errors.Join(err, s.Chains.Postpone(ctx, org, s.Now(), headPause))
}

// put stores the head of a chain. A crash may have left one of the same place; one
// that says otherwise means that the chain was cut and grew again.
func (s *Sealer) put(ctx context.Context, org string, st State) error {
	ctx, cancel := context.WithTimeout(ctx, putLimit)
	defer cancel()
	_, body, err := s.Signer.signed(Head{Type: kindHead, OrgID: org, Seq: st.Seq, Hash: st.Hash, Previous: st.HeadSeq, At: s.Now()})
	if err != nil {
		return err
	}
	name := fileOf(headsOf(org), st.Seq)
	err = s.Files.Put(ctx, name, body)
	if !fault.Is(err, fault.Conflict) {
		return err
	}
	old, err := s.Files.Get(ctx, name)
	if err != nil {
		return err
	}
	h, err := NewRing(s.Signer.Public()).open(kindHead, org, st.Seq, old)
	if err != nil || h.Hash != st.Hash {
		return fault.New(fault.Conflict, "another head was signed for the same place: the chain has been changed")
	}
	return nil
}
