package usage_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/usage"
)

// books answers every query with the same rows, and keeps what it was asked.
type books struct {
	rows  []usage.Row
	fresh time.Time
	org   string
	asked usage.Query
}

func (b *books) ReadUsage(_ context.Context, org string, q usage.Query) ([]usage.Row, time.Time, error) {
	b.org, b.asked = org, q
	return b.rows, b.fresh, nil
}

func (b *books) OrgZone(context.Context, string) (string, *time.Location, error) {
	return "EUR", time.UTC, nil
}

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

func ask(t *testing.T, b *books, q usage.Query) (usage.Report, error) {
	t.Helper()
	s := usage.Queries{Reader: b, Currencies: b, Now: func() time.Time { return at("2026-10-12T09:30:15Z") }}
	return s.Usage(t.Context(), authz.Principal{OrgID: "org_1", KeyID: "key_1", OwnerID: "user_1", Role: authz.Owner, Method: authz.ByKey, Scopes: []authz.Scope{authz.UsageRead}}, q)
}

func TestUsageNeedsItsScope(t *testing.T) {
	b := &books{}
	s := usage.Queries{Reader: b, Currencies: b, Now: time.Now}
	for name, c := range map[string]struct {
		p    authz.Principal
		code fault.Code
	}{
		"nobody":        {authz.Principal{}, fault.Unauthenticated},
		"nobody's key":  {authz.Principal{KeyID: "key_1", Scopes: []authz.Scope{authz.UsageRead}}, fault.Unauthenticated},
		"another scope": {authz.Principal{OrgID: "org_1", KeyID: "key_1", OwnerID: "user_1", Role: authz.Owner, Method: authz.ByKey, Scopes: []authz.Scope{authz.AnalyticsRead}}, fault.Forbidden},
	} {
		if _, err := s.Usage(t.Context(), c.p, usage.Query{}); !fault.Is(err, c.code) || b.org != "" {
			t.Errorf("%s: %v, read of %q; want %s and no read", name, err, b.org, c.code)
		}
	}
}

func TestAQueryOfNothingIsTheRunningMonth(t *testing.T) {
	b := &books{}
	rep, err := ask(t, b, usage.Query{})
	if err != nil {
		t.Fatal(err)
	}
	if b.org != "org_1" || !b.asked.Start.Equal(at("2026-10-01T00:00:00Z")) || !b.asked.End.Equal(at("2026-10-12T09:31:00Z")) || b.asked.Date != usage.ServiceDate {
		t.Errorf("asked %q for %+v", b.org, b.asked)
	}
	if !rep.FreshUntil.Equal(at("2026-10-12T09:30:15Z")) || rep.Totals != (usage.Sums{Currency: "EUR"}) {
		t.Errorf("report %+v; want it fresh until now, in the organisation's currency", rep)
	}
}

func TestBucketsEndWhereTheNextBegins(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		bucket       usage.Bucket
		start, wants string
	}{
		{usage.Minute, "2026-10-05T10:15:00Z", "2026-10-05T10:15:00Z 2026-10-05T10:16:00Z"},
		{usage.Hour, "2026-10-25T00:00:00Z", "2026-10-25T00:00:00Z 2026-10-25T01:00:00Z"},
		{usage.Day, "2026-10-24T22:00:00Z", "2026-10-24T22:00:00Z 2026-10-25T23:00:00Z"}, // 25 hours
		{usage.Month, "2026-09-30T22:00:00Z", "2026-10-01T06:00:00Z 2026-10-31T12:00:00Z"},
		{usage.Whole, "0001-01-01T00:00:00Z", "2026-10-01T06:00:00Z 2026-10-31T12:00:00Z"},
	} {
		b := &books{rows: []usage.Row{{Start: at(c.start)}}}
		rep, err := ask(t, b, usage.Query{Start: at("2026-10-01T06:00:00Z"), End: at("2026-10-31T12:00:00Z"), Bucket: c.bucket, Zone: berlin})
		if err != nil {
			t.Fatalf("%q: %v", c.bucket, err)
		}
		if got := rep.Rows[0].Start.Format(time.RFC3339) + " " + rep.Rows[0].End.Format(time.RFC3339); got != c.wants {
			t.Errorf("%q: %s; want %s", c.bucket, got, c.wants)
		}
	}
}

func TestAccountingMonthsOfARange(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ start, end, want string }{
		{"2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z", "2026-10-01 2026-11-01"},
		{"2026-09-30T22:00:00Z", "2026-10-31T23:01:00Z", "2026-10-01 2026-12-01"},
		{"2026-09-30T22:00:00Z", "2026-10-01T00:00:00Z", "2026-10-01 2026-11-01"},
		{"2025-11-30T23:00:00Z", "2026-12-31T22:00:00Z", "2025-12-01 2027-01-01"},
	} {
		q := usage.Query{Start: at(c.start), End: at(c.end), Zone: berlin}
		first, after := q.Months()
		if got := first.Format(time.DateOnly) + " " + after.Format(time.DateOnly); got != c.want {
			t.Errorf("%s to %s: %s; want %s", c.start, c.end, got, c.want)
		}
	}
}

func TestTotalsAreTheSumsOfTheRows(t *testing.T) {
	b := &books{fresh: at("2026-10-12T09:00:00Z"), rows: []usage.Row{
		{Sums: usage.Sums{Requests: 1, InputTokens: 2, CachedInputTokens: 1, OutputTokens: 3, Cost: 1<<53 + 1, Currency: "USD"}},
		{Sums: usage.Sums{Requests: 10, InputTokens: 20, CachedInputTokens: 10, OutputTokens: 30, Cost: 2, Currency: "USD"}},
	}}
	rep, err := ask(t, b, usage.Query{})
	if err != nil {
		t.Fatal(err)
	}
	want := usage.Sums{Requests: 11, InputTokens: 22, CachedInputTokens: 11, OutputTokens: 33, Cost: 1<<53 + 3, Currency: "USD"}
	if d := cmp.Diff(want, rep.Totals); d != "" || !rep.FreshUntil.Equal(b.fresh) {
		t.Errorf("fresh until %v; totals (-want +got):\n%s", rep.FreshUntil, d)
	}
	b.rows[1].Currency = "EUR"
	if _, err := ask(t, b, usage.Query{}); !fault.Is(err, fault.Unprocessable) {
		t.Errorf("two currencies: %v; want Unprocessable", err)
	}
}

func TestQueriesThatMakeNoSense(t *testing.T) {
	ok := usage.Query{Start: at("2026-10-01T00:00:00Z"), End: at("2026-10-02T00:00:00Z")}
	for _, c := range []struct {
		param  string
		change func(*usage.Query)
	}{
		{"date", func(q *usage.Query) { q.Date = "invoice" }},
		{"bucket", func(q *usage.Query) { q.Bucket = "week" }},
		{"group_by", func(q *usage.Query) { q.GroupBy = []usage.Dimension{"org"} }},
		{"group_by", func(q *usage.Query) { q.GroupBy = []usage.Dimension{usage.ByKey, usage.ByKey} }},
		{"start", func(q *usage.Query) { q.Start = q.Start.Add(time.Second) }},
		{"end", func(q *usage.Query) { q.End = q.End.Add(time.Nanosecond) }},
		{"start", func(q *usage.Query) { q.End = q.Start }},
		{"end", func(q *usage.Query) { q.Bucket, q.End = usage.Minute, q.Start.AddDate(0, 0, 31).Add(time.Minute) }},
		{"end", func(q *usage.Query) { q.Bucket, q.End = usage.Hour, q.Start.AddDate(0, 0, 400).Add(time.Minute) }},
		{"end", func(q *usage.Query) { q.End = q.Start.AddDate(11, 0, 0) }},
		{"bucket", func(q *usage.Query) { q.Date, q.Bucket = usage.AccountingDate, usage.Hour }},
		{"start", func(q *usage.Query) { q.Date, q.Start = usage.AccountingDate, q.Start.Add(time.Minute) }},
	} {
		q := ok
		c.change(&q)
		b := &books{}
		_, err := ask(t, b, q)
		if !fault.Is(err, fault.Unprocessable) || fault.From(err).Param != c.param || b.org != "" {
			t.Errorf("%+v: %v; want Unprocessable at %s", q, err, c.param)
		}
	}
	longest := ok
	longest.Bucket, longest.End = usage.Minute, ok.Start.AddDate(0, 0, 31)
	if _, err := ask(t, &books{}, longest); err != nil {
		t.Errorf("31 days by the minute: %v", err)
	}
}
