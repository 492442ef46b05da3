package postgres_test

import (
	"testing"
	"time"
)

// A deployment that slept for months books into the default partition until its
// job runs: the month's partition is made then, with the rows that came before it.
func TestAPartitionTakesOverWhatCameBeforeIt(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	far := time.Date(2051, 3, 1, 0, 0, 0, 0, time.UTC)
	for n, at := range []time.Time{far.Add(-time.Microsecond), far, far.AddDate(0, 1, 0).Add(-time.Microsecond), far.AddDate(0, 1, 0)} {
		e := anEvent(n)
		e.AdmittedAt = at
		b.book(e)
	}
	if got := b.scalar(`SELECT count(*)::text FROM analytics.usage_events_default`); got != "4" {
		t.Fatalf("%s rows in the default partition; want 4", got)
	}
	for range 2 { // the second time there is nothing left to make
		made, err := b.ledger.EnsurePartitions(t.Context(), far)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("made %d", made)
	}
	for table, want := range map[string]string{
		"usage_events_default": "1", "usage_events_205103": "2", "usage_events_205104": "1", "usage_events": "4",
		"ledger_entries_default": "1", "ledger_entries_205103": "2", "ledger_entries_205104": "1", "ledger_entries": "4",
	} {
		if got := b.scalar(`SELECT count(*)::text FROM analytics.` + table); got != want {
			t.Errorf("%s has %s rows; want %s", table, got, want)
		}
	}
	b.agrees(4)
	guarded := b.scalar(`SELECT string_agg(relrowsecurity::text || relforcerowsecurity::text, ' ' ORDER BY relname) FROM pg_class
		WHERE relname IN ('usage_events_default', 'usage_events_205103', 'ledger_entries_default', 'ledger_entries_205103')`)
	if guarded != "truetrue truetrue truetrue truetrue" {
		t.Errorf("row-level security of the partitions is %s", guarded)
	}
	for _, table := range []string{"ledger_entries_default", "ledger_entries_205103"} {
		if got := b.scalar(`SELECT count(*)::text FROM pg_trigger WHERE tgrelid = 'analytics.` + table + `'::regclass AND tgname = 'append_only' AND tgenabled = 'O'`); got != "1" {
			t.Errorf("%s is not append-only any more", table)
		}
	}
}
