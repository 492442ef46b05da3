package budget_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"pgregory.net/rapid"

	"github.com/aiaas/aiaas/shared/budget"
	"github.com/aiaas/aiaas/shared/pricing"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func utc(t testing.TB, s string) time.Time {
	t.Helper()
	at, err := time.Parse("2006-01-02 15:04", s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestWindows(t *testing.T) {
	for _, c := range []struct {
		name       string
		period     budget.Period
		zone       string
		at         string // UTC, as all of these
		start, end string
	}{
		{"a day", budget.Day, "UTC", "2026-10-17 12:30", "2026-10-17 00:00", "2026-10-18 00:00"},
		{"its first moment", budget.Day, "UTC", "2026-10-17 00:00", "2026-10-17 00:00", "2026-10-18 00:00"},
		{"a leap day", budget.Day, "UTC", "2028-02-29 23:59", "2028-02-29 00:00", "2028-03-01 00:00"},
		{"a day of the east", budget.Day, "Asia/Tokyo", "2026-10-17 15:00", "2026-10-17 15:00", "2026-10-18 15:00"},
		{"a day of 23 hours", budget.Day, "Europe/Berlin", "2026-03-29 12:00", "2026-03-28 23:00", "2026-03-29 22:00"},
		{"a day of 25 hours", budget.Day, "Europe/Berlin", "2026-10-25 12:00", "2026-10-24 22:00", "2026-10-25 23:00"},
		{"the hour that comes twice, first", budget.Day, "Europe/Berlin", "2026-10-25 00:30", "2026-10-24 22:00", "2026-10-25 23:00"},
		{"and again", budget.Day, "Europe/Berlin", "2026-10-25 01:30", "2026-10-24 22:00", "2026-10-25 23:00"},
		{"a day without midnight", budget.Day, "America/Sao_Paulo", "2018-11-04 12:00", "2018-11-04 03:00", "2018-11-05 02:00"},
		{"the day before it", budget.Day, "America/Sao_Paulo", "2018-11-04 02:59", "2018-11-03 03:00", "2018-11-04 03:00"},
		{"a day that ends twice", budget.Day, "America/Sao_Paulo", "2018-02-18 02:30", "2018-02-17 02:00", "2018-02-18 03:00"},
		{"no midnight in Beirut", budget.Day, "Asia/Beirut", "2026-03-29 12:00", "2026-03-28 22:00", "2026-03-29 21:00"},
		{"a midnight that comes twice, in the west", budget.Day, "America/Havana", "2026-11-01 04:30", "2026-11-01 04:00", "2026-11-02 05:00"},
		{"a midnight that comes twice, in the east", budget.Day, "Asia/Amman", "2021-10-28 21:30", "2021-10-28 21:00", "2021-10-29 22:00"},
		{"a day that was left out", budget.Day, "Pacific/Apia", "2011-12-30 09:00", "2011-12-29 10:00", "2011-12-30 10:00"},
		{"a month from a day without midnight", budget.Month, "America/Asuncion", "2023-10-02 00:00", "2023-10-01 04:00", "2023-11-01 03:00"},
		{"a week from Monday", budget.Week, "UTC", "2026-10-17 12:00", "2026-10-12 00:00", "2026-10-19 00:00"},
		{"on a Monday", budget.Week, "UTC", "2026-10-12 00:00", "2026-10-12 00:00", "2026-10-19 00:00"},
		{"on a Sunday", budget.Week, "UTC", "2026-10-18 23:59", "2026-10-12 00:00", "2026-10-19 00:00"},
		{"a week over a year's end", budget.Week, "UTC", "2027-01-02 00:00", "2026-12-28 00:00", "2027-01-04 00:00"},
		{"a week with a clock change", budget.Week, "Europe/Berlin", "2026-10-25 12:00", "2026-10-18 22:00", "2026-10-25 23:00"},
		{"a month", budget.Month, "UTC", "2026-02-28 12:00", "2026-02-01 00:00", "2026-03-01 00:00"},
		{"December", budget.Month, "UTC", "2026-12-31 23:59", "2026-12-01 00:00", "2027-01-01 00:00"},
		{"already the next month there", budget.Month, "Asia/Tokyo", "2026-09-30 15:00", "2026-09-30 15:00", "2026-10-31 15:00"},
		{"still the month before there", budget.Month, "America/New_York", "2026-11-01 03:59", "2026-10-01 04:00", "2026-11-01 04:00"},
		{"a quarter", budget.Quarter, "UTC", "2026-08-15 00:00", "2026-07-01 00:00", "2026-10-01 00:00"},
		{"the last quarter", budget.Quarter, "Europe/Berlin", "2026-10-17 00:00", "2026-09-30 22:00", "2026-12-31 23:00"},
		{"the first quarter", budget.Quarter, "UTC", "2026-03-31 23:59", "2026-01-01 00:00", "2026-04-01 00:00"},
		{"a year", budget.Year, "Europe/Berlin", "2026-12-31 23:30", "2026-12-31 23:00", "2027-12-31 23:00"},
		{"a leap day in a zone", budget.Day, "Europe/Berlin", "2028-02-29 12:00", "2028-02-28 23:00", "2028-02-29 23:00"},
		{"a February with a leap day", budget.Month, "Europe/Berlin", "2028-02-29 22:59", "2028-01-31 23:00", "2028-02-29 23:00"},
		{"the first quarter of a leap year", budget.Quarter, "America/Sao_Paulo", "2028-02-29 12:00", "2028-01-01 03:00", "2028-04-01 03:00"},
		{"a week with a leap day", budget.Week, "Asia/Kathmandu", "2028-02-29 12:00", "2028-02-27 18:15", "2028-03-05 18:15"},
		{"a day at a quarter to", budget.Day, "Asia/Kathmandu", "2026-10-17 18:14", "2026-10-16 18:15", "2026-10-17 18:15"},
		{"and the next", budget.Day, "Asia/Kathmandu", "2026-10-17 18:15", "2026-10-17 18:15", "2026-10-18 18:15"},
		{"a new year in Nepal", budget.Year, "Asia/Kathmandu", "2026-12-31 18:15", "2026-12-31 18:15", "2027-12-31 18:15"},
		{"the year that Nepal changed its clocks in", budget.Year, "Asia/Kathmandu", "1986-06-01 00:00", "1985-12-31 18:30", "1986-12-31 18:15"},
		{"a new year where it comes first", budget.Year, "Pacific/Apia", "2025-12-31 11:00", "2025-12-31 11:00", "2026-12-31 11:00"},
		{"the week that lost its Friday", budget.Week, "Pacific/Apia", "2011-12-31 12:00", "2011-12-26 10:00", "2012-01-01 10:00"},
		{"the month that lost a day", budget.Month, "Pacific/Apia", "2011-12-30 10:00", "2011-12-01 10:00", "2011-12-31 10:00"},
		{"the year that lost a day", budget.Year, "Pacific/Apia", "2011-06-01 00:00", "2011-01-01 10:00", "2011-12-31 10:00"},
		{"a year with summer at both ends", budget.Year, "America/Sao_Paulo", "2018-06-01 00:00", "2018-01-01 02:00", "2019-01-01 02:00"},
		{"a quarter with a change of clocks", budget.Quarter, "Europe/Berlin", "2026-03-29 12:00", "2025-12-31 23:00", "2026-03-31 22:00"},
		{"a month with a change of clocks", budget.Month, "Europe/Berlin", "2026-10-25 12:00", "2026-09-30 22:00", "2026-10-31 23:00"},
		{"the last moment of a year", budget.Year, "Europe/Berlin", "2026-12-31 22:59", "2025-12-31 23:00", "2026-12-31 23:00"},
		{"a week that begins in the year before", budget.Week, "Europe/Berlin", "2026-12-31 23:00", "2026-12-27 23:00", "2027-01-03 23:00"},
		{"for once", budget.Once, "Europe/Berlin", "2031-01-01 00:00", "2026-10-01 09:15", "9999-01-01 00:00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := budget.Budget{Period: c.period, TimeZone: zone(t, c.zone), CreatedAt: utc(t, "2026-10-01 09:15")}
			w := b.WindowAt(utc(t, c.at))
			if !w.Start.Equal(utc(t, c.start)) || !w.End.Equal(utc(t, c.end)) {
				t.Errorf("%s to %s; want %s to %s", w.Start, w.End, c.start, c.end)
			}
			if w.Start.Location() != time.UTC || w.End.Location() != time.UTC {
				t.Error("the edges are not in UTC")
			}
		})
	}
}

// zones are the names of the zone database, as far as this machine lists them.
func zones(t testing.TB) []string {
	t.Helper()
	var out []string
	const root = "/usr/share/zoneinfo"
	_ = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		name := strings.TrimPrefix(path, root+"/")
		if err == nil && !d.IsDir() && strings.Contains(name, "/") && !strings.HasPrefix(name, "posix/") && !strings.HasPrefix(name, "right/") {
			if _, err := time.LoadLocation(name); err == nil {
				out = append(out, name)
			}
		}
		return nil // a machine without zone files has the names below
	})
	return append(out, "UTC", "Europe/Berlin", "America/Havana", "America/Sao_Paulo", "Asia/Beirut", "Asia/Amman", "Asia/Gaza",
		"Atlantic/Azores", "Australia/Lord_Howe", "Pacific/Chatham", "Africa/Cairo", "America/Nuuk", "America/Scoresbysund")
}

// In every zone windows contain the moment that they are asked for, follow each
// other without a gap, and their edges are the first moments of dates.
func TestWindowsTileTheTime(t *testing.T) {
	all := zones(t)
	periods := []budget.Period{budget.Day, budget.Week, budget.Month, budget.Quarter, budget.Year}
	from, to := time.Date(2016, 1, 1, 0, 0, 0, 0, time.UTC).Unix(), time.Date(2037, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	rapid.Check(t, func(rt *rapid.T) {
		loc := zone(t, rapid.SampledFrom(all).Draw(rt, "zone"))
		at := time.Unix(rapid.Int64Range(from, to).Draw(rt, "at"), 0)
		if _, change := at.In(loc).ZoneBounds(); rapid.Bool().Draw(rt, "near a change of clocks") && !change.IsZero() && change.Unix() < to {
			at = change.Add(time.Duration(rapid.Int64Range(-7200, 7200).Draw(rt, "seconds")) * time.Second)
		}
		b := budget.Budget{Period: rapid.SampledFrom(periods).Draw(rt, "period"), TimeZone: loc}
		w := b.WindowAt(at)
		if at.Before(w.Start) || !at.Before(w.End) {
			rt.Fatalf("%s is not in %s to %s", at.In(loc), w.Start.In(loc), w.End.In(loc))
		}
		if next := b.WindowAt(w.End); !next.Start.Equal(w.End) {
			rt.Fatalf("the window after %s starts at %s", w.End.In(loc), next.Start.In(loc))
		}
		if last := b.WindowAt(w.Start.Add(-1)); !last.End.Equal(w.Start) {
			rt.Fatalf("the window before %s ends at %s", w.Start.In(loc), last.End.In(loc))
		}
		if w.Start.In(loc).Day() == w.Start.Add(-1).In(loc).Day() {
			rt.Fatalf("%s is not the first moment of its date", w.Start.In(loc))
		}
	})
}

func TestAccountingMonths(t *testing.T) {
	for _, c := range []struct{ zone, at, want string }{
		{"UTC", "2026-10-31 23:59", "2026-10-01 00:00"},
		{"Europe/Berlin", "2026-10-31 22:59", "2026-10-01 00:00"},
		{"Europe/Berlin", "2026-10-31 23:00", "2026-11-01 00:00"},
		{"America/New_York", "2027-01-01 04:59", "2026-12-01 00:00"},
	} {
		if got := budget.AccountingMonth(utc(t, c.at), zone(t, c.zone)); !got.Equal(utc(t, c.want)) || got.Location() != time.UTC {
			t.Errorf("%s in %s: %s; want %s", c.at, c.zone, got, c.want)
		}
	}
}

func TestScopes(t *testing.T) {
	for _, c := range []struct {
		scope budget.Scope
		want  bool
	}{
		{budget.Scope{}, true},
		{budget.Scope{ProjectID: "p"}, true},
		{budget.Scope{ProjectID: "other"}, false},
		{budget.Scope{APIKeyID: "k"}, true},
		{budget.Scope{APIKeyID: "other"}, false},
		{budget.Scope{Model: "m"}, true},
		{budget.Scope{Model: "M"}, false},
		{budget.Scope{Model: "m", APIKeyID: "other"}, false},
	} {
		if got := c.scope.Covers("p", "k", "m"); got != c.want {
			t.Errorf("%+v covers: %t; want %t", c.scope, got, c.want)
		}
	}
}

func TestAmounts(t *testing.T) {
	u := pricing.Usage{InputTokens: 10, CachedInputTokens: 4, OutputTokens: 5}
	for unit, want := range map[budget.Unit]int64{budget.Money: 77, budget.Tokens: 15, budget.Requests: 1, "odd": 0} {
		if got := unit.Amount(77, u); got != want {
			t.Errorf("%s: %d; want %d", unit, got, want)
		}
	}
	for _, c := range []struct {
		unit budget.Unit
		text string
		want int64
		back string // "": it is refused
	}{
		{budget.Money, "12.50", 12_500_000_000, "12.50"},
		{budget.Money, "0", 0, "0.00"},
		{budget.Money, "0.000000001", 1, "0.000000001"},
		{budget.Money, "0.0000000001", 0, ""},
		{budget.Money, "-1", 0, ""},
		{budget.Money, "1e3", 0, ""},
		{budget.Money, "9223372037", 0, ""},
		{budget.Tokens, "1000", 1000, "1000"},
		{budget.Tokens, "1000.00", 1000, "1000"},
		{budget.Tokens, "0.5", 0, ""},
		{budget.Requests, "", 0, ""},
	} {
		got, err := budget.ParseAmount(c.unit, c.text)
		if (err == nil) != (c.back != "") || got != c.want {
			t.Errorf("%s %q: %d, %v; want %d", c.unit, c.text, got, err, c.want)
		}
		if err == nil && budget.FormatAmount(c.unit, got) != c.back {
			t.Errorf("%s %q is written %q; want %q", c.unit, c.text, budget.FormatAmount(c.unit, got), c.back)
		}
	}
}
