package postgres_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aiaas/aiaas/adapters/postgres"
	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/job"
)

// jobs is a store of what jobs did in a database of its own.
type jobs struct {
	*fixture
	*postgres.Jobs
}

func newJobs(t *testing.T) jobs {
	t.Helper()
	f := newFixture(t)
	return jobs{f, postgres.NewJobs(f.open(postgres.RoleAccounts))}
}

func fold() job.Definition {
	return job.Definition{Function: "metering", Name: "fold", Every: 5 * time.Second}
}

func running(d job.Definition, at time.Time, trigger job.Trigger) job.Run {
	return job.Run{
		ID: id.New(job.RunID), Function: d.Function, Job: d.Name, Trigger: trigger, Actor: "key_admin",
		StartedAt: at, Status: job.Running, Instance: "host/1",
	}
}

func ended(r job.Run, took time.Duration, status job.Status, counts function.Counts) job.Run {
	r.FinishedAt, r.Status, r.Counts = r.StartedAt.Add(took), status, counts
	if status == job.Failed {
		r.Error = "out of paper"
	}
	return r
}

func tally(d job.Definition, runs ...job.Run) job.Tally {
	t := job.Tally{Definition: d, Runs: int64(len(runs)), Counts: function.Counts{}}
	for _, r := range runs {
		t.Busy += r.FinishedAt.Sub(r.StartedAt)
		if r.Status == job.Failed {
			t.Failures++
		} else {
			t.LastSuccess = r.FinishedAt
		}
		for n, c := range r.Counts {
			t.Counts[n] += c
		}
		t.Last = r
	}
	return t
}

func (s jobs) begin(t *testing.T, d job.Definition, r job.Run, rec *audit.Record) {
	t.Helper()
	if err := s.Begin(t.Context(), d, r, rec); err != nil {
		t.Fatal(err)
	}
}

func (s jobs) write(t *testing.T, runs []job.Run, tallies ...job.Tally) {
	t.Helper()
	if err := s.Write(t.Context(), tallies, runs); err != nil {
		t.Fatal(err)
	}
}

func (s jobs) state(t *testing.T, d job.Definition) job.State {
	t.Helper()
	list, err := s.States(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(st job.State) bool { return st.ID() == d.ID() })
	if i < 0 {
		t.Fatalf("%s is not among %v", d.ID(), list)
	}
	return list[i]
}

func TestARunIsKeptFromItsBeginningToItsEnd(t *testing.T) {
	t.Parallel()
	s, d := newJobs(t), fold()
	r := running(d, noon(), job.Schedule)
	s.begin(t, d, r, nil)
	got, err := s.Run(t.Context(), r.ID)
	if err != nil || got.Status != job.Running || !got.FinishedAt.IsZero() || got.StartedAt != noon() || got.Instance != "host/1" {
		t.Errorf("begun: %+v, %v", got, err)
	}
	if st := s.state(t, d); st.Runs != 0 || st.Last == nil || st.Last.ID != r.ID || st.Last.Status != job.Running || st.Every != 5*time.Second {
		t.Errorf("state %+v", st)
	}
	r = ended(r, 1500*time.Millisecond, job.Failed, function.Counts{"deltas": 7})
	for range 2 { // writing it again changes nothing
		s.write(t, []job.Run{r})
	}
	s.write(t, nil, tally(d, r))
	got, err = s.Run(t.Context(), r.ID)
	if err != nil || got.Status != job.Failed || got.FinishedAt != r.FinishedAt || got.Counts["deltas"] != 7 || got.Error != "out of paper" {
		t.Errorf("ended: %+v, %v", got, err)
	}
	if st := s.state(t, d); st.Runs != 1 || st.Failures != 1 || st.Busy != 1500*time.Millisecond || st.Counts["deltas"] != 7 || !st.LastSuccess.IsZero() {
		t.Errorf("state %+v", st)
	}
	if _, err := s.Run(t.Context(), id.New(job.RunID)); !fault.Is(err, fault.NotFound) {
		t.Errorf("a run that is not there: %v", err)
	}
}

func TestTotalsAddUpOverProcessesThatWriteAtOnce(t *testing.T) {
	t.Parallel()
	s := newJobs(t)
	other := job.Definition{Function: "metering", Name: "drain", Every: 250 * time.Millisecond, EachProcess: true}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			at := noon().Add(time.Duration(i) * time.Second)
			a := ended(running(fold(), at, job.Schedule), time.Second, job.Succeeded, function.Counts{"deltas": 2, fmt.Sprint("n", i): 1})
			b := ended(running(other, at, job.Schedule), time.Second, job.Failed, nil)
			tallies := []job.Tally{tally(fold(), a), tally(other, b)}
			if i%2 == 0 {
				slices.Reverse(tallies)
			}
			if err := s.Write(t.Context(), tallies, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	st := s.state(t, fold())
	if st.Runs != 20 || st.Failures != 0 || st.Busy != 20*time.Second || st.Counts["deltas"] != 40 || len(st.Counts) != 21 {
		t.Errorf("%+v", st)
	}
	if last := st.Last; last == nil || last.ID != "" || last.StartedAt != noon().Add(19*time.Second) || st.LastSuccess != noon().Add(20*time.Second) {
		t.Errorf("last %+v, success %v", last, st.LastSuccess)
	}
	if st := s.state(t, other); st.Runs != 20 || st.Failures != 20 || st.Last.Error != "out of paper" || len(st.Counts) != 0 || !st.EachProcess {
		t.Errorf("%+v", st)
	}
}

func TestARunWhoseProcessDiedIsAbandoned(t *testing.T) {
	t.Parallel()
	s, d := newJobs(t), fold()
	dead, lives := running(d, noon(), job.API), running(d, noon().Add(time.Second), job.Schedule)
	rec := record(t.Context(), "org_1", "job.start")
	s.begin(t, d, dead, &rec)
	s.begin(t, d, lives, nil)
	expire := func(runID string) {
		s.exec(`UPDATE accounts.job_runs SET lease_until = now() - interval '1 second' WHERE run_id = '%s'`, runID)
	}
	expire(dead.ID)
	expire(lives.ID)
	if err := s.Renew(t.Context(), lives.ID); err != nil {
		t.Fatal(err)
	}
	for r, want := range map[string]job.Status{dead.ID: job.Abandoned, lives.ID: job.Running} {
		if got, err := s.Run(t.Context(), r); err != nil || got.Status != want || !got.FinishedAt.IsZero() {
			t.Errorf("%+v, %v; want %s", got, err, want)
		}
	}
	// Its place is free for the next that is started by hand.
	next := running(d, noon().Add(time.Minute), job.Command)
	again := record(t.Context(), "org_1", "job.start")
	s.begin(t, d, next, &again)
	if got := s.scalar(`SELECT status FROM accounts.job_runs WHERE run_id = '` + dead.ID + `'`); got != "abandoned" {
		t.Errorf("kept as %s", got)
	}
	// One that was only thought dead may still say how it ended.
	s.write(t, []job.Run{ended(dead, time.Hour, job.Succeeded, nil)})
	if got, err := s.Run(t.Context(), dead.ID); err != nil || got.Status != job.Succeeded {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestOneRunByHandAtATime(t *testing.T) {
	t.Parallel()
	s, d := newJobs(t), fold()
	var mu sync.Mutex
	var won []job.Run
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			r, rec := running(d, noon(), job.API), record(t.Context(), "org_1", "job.start")
			err := s.Begin(t.Context(), d, r, &rec)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won = append(won, r)
			case !fault.Is(err, fault.Conflict):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d run at once", len(won))
	}
	if got := s.scalar(`SELECT count(*)::text FROM accounts.audit_records WHERE action = 'job.start'`); got != "1" {
		t.Errorf("%s audit records; who was refused started nothing", got)
	}
	s.begin(t, d, running(d, noon(), job.Schedule), nil) // its schedule goes on beside it
	s.write(t, []job.Run{ended(won[0], time.Second, job.Succeeded, nil)})
	rec := record(t.Context(), "org_1", "job.start")
	s.begin(t, d, running(d, noon(), job.API), &rec)
}

func TestRunsAreListedTheNewestFirst(t *testing.T) {
	t.Parallel()
	s, d := newJobs(t), fold()
	other := job.Definition{Function: "metering", Name: "partitions", Every: time.Hour}
	var want []string
	for i := range 5 {
		r := ended(running(d, noon().Add(time.Duration(i)*time.Second), job.Schedule), time.Second, job.Succeeded, nil)
		s.write(t, []job.Run{r, ended(running(other, noon(), job.Schedule), 0, job.Succeeded, nil)})
		want = append([]string{r.ID}, want...)
	}
	var got []string
	before := ""
	for range 4 {
		page, err := s.Runs(t.Context(), d.Function, d.Name, before, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			got = append(got, r.ID)
			before = r.ID
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %v; want %v", got, want)
	}
}

func TestPruningKeepsWhatIsYoungAndWhatRuns(t *testing.T) {
	t.Parallel()
	s, d := newJobs(t), fold()
	now := time.Now().UTC()
	day := 24 * time.Hour
	old, older := running(d, now.Add(-91*day), job.Schedule), running(d, now.Add(-100*day), job.Schedule)
	dead, alive := running(d, now.Add(-95*day), job.Schedule), running(d, now.Add(-95*day), job.Schedule)
	young := running(d, now.Add(-89*day), job.Schedule)
	for _, r := range []job.Run{dead, alive} {
		s.begin(t, d, r, nil)
	}
	s.exec(`UPDATE accounts.job_runs SET lease_until = now() - interval '1 second' WHERE run_id = '%s'`, dead.ID)
	s.write(t, []job.Run{ended(old, 0, job.Succeeded, nil), ended(older, 0, job.Failed, nil), ended(young, 0, job.Succeeded, nil)})
	for _, want := range []int{2, 1, 0} {
		if n, err := s.Prune(t.Context(), now.Add(-job.Retention), 2); err != nil || n != want {
			t.Errorf("pruned %d, %v; want %d", n, err, want)
		}
	}
	left := s.scalar(`SELECT string_agg(run_id, ' ' ORDER BY started_at) FROM accounts.job_runs`)
	if left != alive.ID+" "+young.ID {
		t.Errorf("left are %s; want %s and %s", left, alive.ID, young.ID)
	}
	// The last thirty days stay, whatever is asked for.
	s.write(t, []job.Run{ended(running(d, now.Add(-29*day), job.Schedule), 0, job.Succeeded, nil)})
	if n, err := s.Prune(t.Context(), now.Add(day), 100); err != nil || n != 1 {
		t.Errorf("pruned %d, %v; want the one of 89 days", n, err)
	}
	if got := s.scalar(`SELECT count(*)::text FROM accounts.job_runs WHERE started_at > now() - interval '30 days'`); got != "1" {
		t.Errorf("%s runs of the last thirty days are left; want 1", got)
	}
}

// A database that takes connections and never answers holds nobody longer than
// his context.
func TestASilentDatabaseHoldsNoRecord(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	db, err := postgres.Open(t.Context(), "postgres://x@"+ln.Addr().String()+"/x?sslmode=disable", postgres.RoleAccounts, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	s := postgres.NewJobs(db)
	ctx, cancel := contextFor(t, 50*time.Millisecond)
	defer cancel()
	if err := s.Write(ctx, []job.Tally{tally(fold())}, nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("%v; want unavailable", err)
	}
}

func TestTheRecordOutlivesAnOutage(t *testing.T) {
	t.Parallel()
	s, d := newJobs(t), fold()
	postgrestest.Refuse(t, s.url)
	r := ended(running(d, noon(), job.Schedule), time.Second, job.Succeeded, nil)
	err := s.Write(t.Context(), []job.Tally{tally(d, r)}, []job.Run{r})
	var f *fault.Error
	if !errors.As(err, &f) || f.Code != fault.Unavailable || strings.Contains(f.Detail, "postgres") {
		t.Errorf("%v; want unavailable", err)
	}
	postgrestest.Admit(t, s.url)
	s.write(t, []job.Run{r}, tally(d, r))
	if st := s.state(t, d); st.Runs != 1 || st.Last.ID != r.ID {
		t.Errorf("%+v", st)
	}
}
