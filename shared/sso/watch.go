package sso

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
)

const (
	// lookAgain is how long a look at a domain's record is good.
	lookAgain = 24 * time.Hour
	// missedFor is how many looks in a row have to miss the record: a mistake in a zone
	// takes nothing from anybody who mends it within two days.
	missedFor = 3
	dueBatch  = 100
	// forgetBatch is how many sign-ins one statement forgets.
	forgetBatch = 5000
	// watcher names who acts, where nobody did.
	watcher = "sso-domains"
	// ActionDomainLost is the end of a domain's being verified, which nobody of its
	// organisation asked for.
	ActionDomainLost = "sso.domain_lost"
)

// lost is the record that the organisation gets of its loss.
func lost(ctx context.Context, d Domain, at time.Time, why string) audit.Record {
	return audit.Record{
		OrgID: d.OrgID, ID: id.New(id.Audit), At: at, Actor: watcher, Action: ActionDomainLost, Target: d.ID, RequestID: audit.RequestID(ctx),
		Detail: map[string]any{"domain": d.Name, "why": why},
	}
}

// Watch looks whether the DNS still shows the records of verified domains: who has sold
// a domain has no say any more about the people who have addresses of it now.
type Watch struct {
	Domains Watched
	Names   Names
	Now     func() time.Time
}

// Run is the job. A DNS that does not answer takes nothing away: its domains are asked
// about again at the next run.
func (w *Watch) Run(ctx context.Context) (function.Counts, error) {
	counts, after := function.Counts{}, ""
	var errs []error
	for {
		due, err := w.Domains.Due(ctx, w.Now().Add(-lookAgain), after, dueBatch)
		if err != nil {
			errs = append(errs, err)
			break
		}
		for _, d := range due {
			errs = append(errs, w.look(ctx, d, counts))
			after = d.ID
		}
		if len(due) < dueBatch || ctx.Err() != nil {
			break
		}
	}
	if len(counts) == 0 {
		counts = nil
	}
	return counts, errors.Join(errs...)
}

func (w *Watch) look(ctx context.Context, d Domain, counts function.Counts) error {
	texts, err := w.Names.Texts(ctx, d.RecordName())
	if err != nil {
		counts["unanswered"]++
		return nil //nolint:nilerr // counted; tomorrow is another day
	}
	now, missed := w.Now(), 0
	var lose *audit.Record
	if !slices.Contains(texts, d.RecordValue()) {
		if missed = d.Missed + 1; missed >= missedFor {
			rec := lost(ctx, d, now, "the DNS has not shown its record for days")
			lose = &rec
		}
	}
	done, err := w.Domains.Checked(ctx, d, missed, now, lose)
	switch {
	case err != nil || !done:
		return err
	case lose != nil:
		counts["lost"]++
	case missed > 0:
		counts["missing"]++
	default:
		counts["confirmed"]++
	}
	return nil
}

// Forget is the job that forgets sign-ins that nobody came back from.
func Forget(flows Forgetter, now func() time.Time) function.Job {
	return func(ctx context.Context) (function.Counts, error) {
		total, before := 0, now()
		for {
			n, err := flows.Forget(ctx, before, forgetBatch)
			total += n
			if err == nil && n == forgetBatch {
				continue
			}
			if total == 0 {
				return nil, err
			}
			return function.Counts{"sso_states": int64(total)}, err
		}
	}
}
