package usage

import (
	"context"
	"slices"
	"time"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/money"
)

// Dates say which of its two dates puts usage into a range.
type Dates string

// The dates. They differ for usage that arrived after its month was closed.
const (
	ServiceDate    Dates = "service"    // when the request was admitted
	AccountingDate Dates = "accounting" // the month that it is billed in
)

// Bucket is the length of time that one row sums up.
type Bucket string

// The buckets.
const (
	Whole  Bucket = "" // the whole range
	Minute Bucket = "minute"
	Hour   Bucket = "hour"
	Day    Bucket = "day"
	Month  Bucket = "month"
)

// Dimension is what rows are kept apart by.
type Dimension string

// The dimensions.
const (
	ByModel   Dimension = "model"
	ByProject Dimension = "project"
	ByKey     Dimension = "key"
)

// Query asks for an organisation's usage from Start up to, not including, End.
// Buckets begin and end on the clock of Zone.
type Query struct {
	Start   time.Time
	End     time.Time
	Date    Dates
	Bucket  Bucket
	GroupBy []Dimension
	Zone    *time.Location
	Within  *Within // nil: all of the organisation's
}

// Within is a part of an organisation's usage: that of some projects and some keys.
type Within struct {
	Projects []string
	Keys     []string
}

// Covers reports whether usage of a project by a key is in it.
func (w *Within) Covers(project, key string) bool {
	return w == nil || slices.Contains(w.Projects, project) || slices.Contains(w.Keys, key)
}

// Keys lists the keys that act for a member or a service account, revoked ones too.
type Keys interface {
	KeysOf(ctx context.Context, org, ownerID string) ([]string, error)
}

// Reached is the part of an organisation's usage that a caller may see; nil is all
// of it.
func Reached(ctx context.Context, k Keys, org string, r authz.Reach) (*Within, error) {
	if r.All {
		return nil, nil //nolint:nilnil // that is: no bounds
	}
	w := &Within{Projects: r.Projects, Keys: []string{}}
	if r.OwnerID == "" {
		return w, nil
	}
	keys, err := k.KeysOf(ctx, org, r.OwnerID)
	if err != nil {
		return nil, err
	}
	w.Keys = keys
	return w, nil
}

// Sums are what was used, and its exact cost.
type Sums struct {
	Requests          int64
	InputTokens       int64
	CachedInputTokens int64
	OutputTokens      int64
	Cost              money.Nano
	Currency          string
}

// Row is the usage of one bucket and one group, in one currency. Model, project
// and key are empty unless the query groups by them.
type Row struct {
	Start     time.Time // of the bucket, within the range
	End       time.Time
	Model     string
	ProjectID string
	APIKeyID  string
	Sums
}

// Report answers a query. Usage that ended before FreshUntil is all in it.
type Report struct {
	Rows       []Row
	Totals     Sums
	FreshUntil time.Time
}

// MaxRows bounds a report.
const MaxRows = 50_000

// Reader reads usage sums from the primary, all of a report from one snapshot.
// Rows are ordered by bucket, then by group. Their Start is that of the whole
// bucket, their End is not set. More than MaxRows rows are fault.Unprocessable.
// The time until which the figures are complete is zero where nothing waits.
type Reader interface {
	ReadUsage(ctx context.Context, org string, q Query) (rows []Row, freshUntil time.Time, err error)
}

// Currencies tells the currency of an organisation, for a report without a row.
type Currencies interface {
	OrgZone(ctx context.Context, org string) (currency string, zone *time.Location, err error)
}

// Queries answers questions about usage.
type Queries struct {
	Reader     Reader
	Currencies Currencies
	Keys       Keys
	Now        func() time.Time
}

// Usage reports the usage of the caller's organisation, as far as it may see it. A zero Start is the first
// of the running month, a zero End is now.
func (s *Queries) Usage(ctx context.Context, p authz.Principal, q Query) (Report, error) {
	reach, err := p.Reach(ctx, authz.DoUsageRead)
	if err != nil {
		return Report{}, err
	}
	if q.Within, err = Reached(ctx, s.Keys, p.OrgID, reach); err != nil {
		return Report{}, err
	}
	now := s.Now()
	q.fill(now)
	if err := q.check(); err != nil {
		return Report{}, err
	}
	rows, fresh, err := s.Reader.ReadUsage(ctx, p.OrgID, q)
	if err != nil {
		return Report{}, err
	}
	rep := Report{Rows: rows, FreshUntil: fresh}
	if fresh.IsZero() {
		rep.FreshUntil = now
	}
	for i := range rows {
		rows[i].Start, rows[i].End = q.bounds(rows[i].Start)
	}
	if rep.Totals, err = total(rows); err != nil {
		return Report{}, err
	}
	if len(rows) == 0 {
		rep.Totals.Currency, _, err = s.Currencies.OrgZone(ctx, p.OrgID)
	}
	return rep, err
}

func (q *Query) fill(now time.Time) {
	if q.Zone == nil {
		q.Zone = time.UTC
	}
	if q.Date == "" {
		q.Date = ServiceDate
	}
	if q.Start.IsZero() {
		y, m, _ := now.In(q.Zone).Date()
		q.Start = time.Date(y, m, 1, 0, 0, 0, 0, q.Zone)
	}
	if q.End.IsZero() { // usage is kept by the minute: the running one is meant too
		q.End = now.Truncate(time.Minute).Add(time.Minute)
	}
	q.Start, q.End = q.Start.UTC(), q.End.UTC()
}

func (q *Query) check() error {
	switch {
	case q.Date != ServiceDate && q.Date != AccountingDate:
		return fault.New(fault.Unprocessable, "date is \"service\" or \"accounting\"").At("date")
	case !q.Start.Equal(q.Start.Truncate(time.Minute)):
		return fault.New(fault.Unprocessable, "usage is kept by the minute: start must be a whole one").At("start")
	case !q.End.Equal(q.End.Truncate(time.Minute)):
		return fault.New(fault.Unprocessable, "usage is kept by the minute: end must be a whole one").At("end")
	case !q.Start.Before(q.End):
		return fault.New(fault.Unprocessable, "start must be before end").At("start")
	}
	if err := q.checkBucket(); err != nil {
		return err
	}
	seen := map[Dimension]bool{}
	for _, d := range q.GroupBy {
		if d != ByModel && d != ByProject && d != ByKey {
			return fault.New(fault.Unprocessable, "group_by takes \"model\", \"project\" and \"key\"").At("group_by")
		}
		if seen[d] {
			return fault.New(fault.Unprocessable, "group_by names %q twice", string(d)).At("group_by")
		}
		seen[d] = true
	}
	return nil
}

const day = 24 * time.Hour

func (q *Query) checkBucket() error {
	longest := 4000 * day
	switch q.Bucket {
	case Minute:
		longest = 31 * day
	case Hour:
		longest = 400 * day
	case Whole, Day, Month:
	default:
		return fault.New(fault.Unprocessable, "bucket is \"minute\", \"hour\", \"day\" or \"month\"").At("bucket")
	}
	if q.End.Sub(q.Start) > longest {
		return fault.New(fault.Unprocessable, "the range is too long for this bucket: at most %d days", longest/day).At("end")
	}
	if q.Date == ServiceDate {
		return nil
	}
	if q.Bucket != Whole && q.Bucket != Month {
		return fault.New(fault.Unprocessable, "accounting dates are months: use the bucket \"month\" or none").At("bucket")
	}
	if !q.Start.Equal(monthOf(q.Start.In(q.Zone))) {
		return fault.New(fault.Unprocessable, "accounting dates are months: start must be the first moment of one").At("start")
	}
	return nil
}

func monthOf(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, t.Location())
}

// Months are the accounting months of the query, as their first days: from the
// first up to, not including, the second.
func (q *Query) Months() (first, after time.Time) {
	s, e := q.Start.In(q.Zone), q.End.In(q.Zone)
	first = time.Date(s.Year(), s.Month(), 1, 0, 0, 0, 0, time.UTC)
	after = time.Date(e.Year(), e.Month(), 1, 0, 0, 0, 0, time.UTC)
	if !q.End.Equal(monthOf(e)) { // into the month: it counts
		after = after.AddDate(0, 1, 0)
	}
	return first, after
}

// bounds are the edges of the bucket that starts at a moment, as far as it lies
// within the query's range.
func (q *Query) bounds(start time.Time) (from, to time.Time) {
	in := start.In(q.Zone)
	switch q.Bucket {
	case Whole:
		return q.Start, q.End
	case Minute:
		to = start.Add(time.Minute)
	case Hour:
		to = start.Add(time.Hour)
	case Day:
		to = time.Date(in.Year(), in.Month(), in.Day()+1, 0, 0, 0, 0, q.Zone)
	case Month:
		to = time.Date(in.Year(), in.Month()+1, 1, 0, 0, 0, 0, q.Zone)
	}
	from = start
	if from.Before(q.Start) {
		from = q.Start
	}
	if to.After(q.End) {
		to = q.End
	}
	return from.UTC(), to.UTC()
}

func total(rows []Row) (Sums, error) {
	var t Sums
	for i, r := range rows {
		if i > 0 && r.Currency != t.Currency {
			return Sums{}, fault.New(fault.Unprocessable, "the range spans a change of currency (%s, %s): ask for each part", t.Currency, r.Currency).At("start")
		}
		t.Requests += r.Requests
		t.InputTokens += r.InputTokens
		t.CachedInputTokens += r.CachedInputTokens
		t.OutputTokens += r.OutputTokens
		t.Cost += r.Cost
		t.Currency = r.Currency
	}
	return t, nil
}
