package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/job"
)

// Jobs keeps what jobs did in the schema accounts, under [RoleAccounts]. Leases go
// by the server's clock, so that processes need not agree on theirs.
type Jobs struct{ db *DB }

// NewJobs makes the store of what jobs did.
func NewJobs(db *DB) *Jobs { return &Jobs{db: db} }

const leaseEnd = "now() + make_interval(secs => $1)"

func leaseSeconds() float64 { return job.Lease.Seconds() }

// Begin implements [job.Recorder].
func (s *Jobs) Begin(ctx context.Context, d job.Definition, r job.Run, rec *audit.Record) error {
	begin := func(tx pgx.Tx) error {
		if err := addTallies(ctx, tx, []job.Tally{{Definition: d}}); err != nil {
			return err
		}
		return insertRunning(ctx, tx, r)
	}
	if rec == nil {
		return s.db.Do(ctx, begin)
	}
	return s.db.InOrg(ctx, rec.OrgID, func(tx pgx.Tx) error {
		if err := abandon(ctx, tx, d); err != nil {
			return err
		}
		if err := begin(tx); err != nil {
			return err
		}
		return writeAudit(ctx, tx, "accounts", *rec)
	})
}

// abandon frees a job from runs by hand whose process is gone.
func abandon(ctx context.Context, tx pgx.Tx, d job.Definition) error {
	_, err := tx.Exec(ctx, `UPDATE accounts.job_runs SET status = 'abandoned'
		WHERE function = $1 AND job = $2 AND status = 'running' AND lease_until < now()`, d.Function, d.Name)
	if err != nil {
		return fmt.Errorf("abandon runs: %w", err)
	}
	return nil
}

func insertRunning(ctx context.Context, tx pgx.Tx, r job.Run) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO accounts.job_runs (lease_until, run_id, function, job, trigger, actor, started_at, status, instance)
		VALUES (`+leaseEnd+`, $2, $3, $4, $5, $6, $7, 'running', $8)`,
		leaseSeconds(), r.ID, r.Function, r.Job, r.Trigger, r.Actor, r.StartedAt, r.Instance)
	switch {
	case sqlState(err) == stateUnique:
		return job.Busy()
	case err != nil:
		return fmt.Errorf("insert run: %w", err)
	}
	return nil
}

// Renew implements [job.Recorder].
func (s *Jobs) Renew(ctx context.Context, runID string) error {
	_, err := s.db.pool.Exec(ctx, `UPDATE accounts.job_runs SET lease_until = `+leaseEnd+` WHERE run_id = $2 AND status = 'running'`,
		leaseSeconds(), runID)
	if err != nil {
		return fmt.Errorf("renew lease: %w", translate(err))
	}
	return nil
}

// Write implements [job.Recorder].
func (s *Jobs) Write(ctx context.Context, tallies []job.Tally, runs []job.Run) error {
	return s.db.Do(ctx, func(tx pgx.Tx) error {
		var batch pgx.Batch
		for _, r := range runs {
			batch.Queue(`
				INSERT INTO accounts.job_runs (run_id, function, job, trigger, actor, started_at, finished_at, status, counts, error, instance, lease_until)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, now())
				ON CONFLICT (run_id) DO UPDATE SET finished_at = excluded.finished_at, status = excluded.status,
				       counts = excluded.counts, error = excluded.error`,
				r.ID, r.Function, r.Job, r.Trigger, r.Actor, r.StartedAt, r.FinishedAt, r.Status, countsJSON(r.Counts), r.Error, r.Instance)
		}
		if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
			return fmt.Errorf("write runs: %w", err)
		}
		return addTallies(ctx, tx, tallies)
	})
}

// addTallies adds to the jobs' totals, in the order of their keys: processes that
// write at the same time wait for each other, never in a circle.
func addTallies(ctx context.Context, tx pgx.Tx, tallies []job.Tally) error {
	tallies = slices.SortedFunc(slices.Values(tallies), func(a, b job.Tally) int {
		return cmp.Or(strings.Compare(a.Function, b.Function), strings.Compare(a.Name, b.Name))
	})
	var batch pgx.Batch
	for _, t := range tallies {
		last := t.Last
		batch.Queue(`
			INSERT INTO accounts.jobs AS j (function, job, every_ms, each_process, runs, failures, busy_us, counts, last_trigger, last_actor,
			       last_started_at, last_finished_at, last_status, last_counts, last_error, last_instance, last_success_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
			ON CONFLICT (function, job) DO UPDATE SET
			       every_ms = excluded.every_ms, each_process = excluded.each_process,
			       runs = j.runs + excluded.runs, failures = j.failures + excluded.failures, busy_us = j.busy_us + excluded.busy_us,
			       counts = CASE WHEN excluded.counts = '{}' THEN j.counts ELSE (
			         SELECT jsonb_object_agg(name, n) FROM (
			           SELECT key AS name, least(sum(value::numeric), 9223372036854775807) AS n
			             FROM (SELECT * FROM jsonb_each_text(j.counts) UNION ALL SELECT * FROM jsonb_each_text(excluded.counts)) both_sides GROUP BY key) sums) END,
			       last_success_at = greatest(j.last_success_at, excluded.last_success_at),
			       (last_trigger, last_actor, last_started_at, last_finished_at, last_status, last_counts, last_error, last_instance) =
			         (SELECT l.* FROM (VALUES
			           (excluded.last_trigger, excluded.last_actor, excluded.last_started_at, excluded.last_finished_at,
			            excluded.last_status, excluded.last_counts, excluded.last_error, excluded.last_instance),
			           (j.last_trigger, j.last_actor, j.last_started_at, j.last_finished_at, j.last_status, j.last_counts, j.last_error, j.last_instance)
			         ) AS l (t, a, started_at, f, s, c, e, i) ORDER BY l.started_at DESC NULLS LAST LIMIT 1)`,
			t.Function, t.Name, t.Every.Milliseconds(), t.EachProcess, t.Runs, t.Failures, t.Busy.Microseconds(), countsJSON(t.Counts),
			last.Trigger, last.Actor, nullable(last.StartedAt), nullable(last.FinishedAt), last.Status, countsJSON(last.Counts), last.Error, last.Instance, nullable(t.LastSuccess))
	}
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("add to jobs: %w", err)
	}
	return nil
}

// countsJSON never is null.
func countsJSON(c function.Counts) map[string]int64 {
	out := make(map[string]int64, len(c))
	maps.Copy(out, c)
	return out
}

func counts(raw []byte) (function.Counts, error) {
	var c function.Counts
	if len(raw) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("read counts: %w", err)
	}
	return c, nil
}

const runStatus = `CASE WHEN r.status = 'running' AND r.lease_until < now() THEN 'abandoned' ELSE r.status END`

const selectRuns = `SELECT r.run_id, r.function, r.job, r.trigger, r.actor, r.started_at, r.finished_at, ` + runStatus + `, r.counts, r.error, r.instance
	FROM accounts.job_runs r`

func scanRun(row pgx.CollectableRow) (job.Run, error) {
	var r job.Run
	var finished *time.Time
	var raw []byte
	err := row.Scan(&r.ID, &r.Function, &r.Job, &r.Trigger, &r.Actor, &r.StartedAt, &finished, &r.Status, &raw, &r.Error, &r.Instance)
	if err != nil {
		return r, fmt.Errorf("scan run: %w", err)
	}
	r.StartedAt, r.FinishedAt = r.StartedAt.UTC(), moment(finished)
	r.Counts, err = counts(raw)
	return r, err
}

// Runs implements [job.History].
func (s *Jobs) Runs(ctx context.Context, functionName, name, before string, limit int) ([]job.Run, error) {
	return s.runs(ctx, selectRuns+` WHERE r.function = $1 AND r.job = $2 AND ($3 = '' OR r.run_id < $3) ORDER BY r.run_id DESC LIMIT $4`,
		functionName, name, before, limit)
}

// Run implements [job.History].
func (s *Jobs) Run(ctx context.Context, id string) (job.Run, error) {
	list, err := s.runs(ctx, selectRuns+` WHERE r.run_id = $1`, id)
	if err != nil {
		return job.Run{}, err
	}
	if len(list) == 0 {
		return job.Run{}, fault.New(fault.NotFound, "there is no such run")
	}
	return list[0], nil
}

func (s *Jobs) runs(ctx context.Context, query string, args ...any) (list []job.Run, err error) {
	err = s.db.Do(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, query, args...)
		if err != nil {
			return fmt.Errorf("query runs: %w", err)
		}
		list, err = pgx.CollectRows(rows, scanRun)
		return err //nolint:wrapcheck // translated by the transaction
	})
	return list, err
}

// States implements [job.History]. The last run is the one that started last: a
// row, which may be running, or what the job's own row has of the runs without.
func (s *Jobs) States(ctx context.Context) (list []job.State, err error) {
	err = s.db.Do(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			SELECT j.function, j.job, j.every_ms, j.each_process, j.runs, j.failures, j.busy_us, j.counts, j.last_success_at,
			       l.run_id, l.trigger, l.actor, l.started_at, l.finished_at, l.status, l.counts, l.error, l.instance
			  FROM accounts.jobs j
			  LEFT JOIN LATERAL (
			    SELECT * FROM (
			      (SELECT r.run_id, r.trigger, r.actor, r.started_at, r.finished_at, `+runStatus+` AS status, r.counts, r.error, r.instance
			         FROM accounts.job_runs r WHERE r.function = j.function AND r.job = j.job ORDER BY r.run_id DESC LIMIT 1)
			      UNION ALL
			      SELECT '', j.last_trigger, j.last_actor, j.last_started_at, j.last_finished_at, j.last_status, j.last_counts, j.last_error, j.last_instance
			       WHERE j.last_started_at IS NOT NULL
			    ) candidates ORDER BY started_at DESC, run_id DESC LIMIT 1
			  ) l ON true
			 ORDER BY j.function, j.job`)
		if err != nil {
			return fmt.Errorf("query jobs: %w", err)
		}
		list, err = pgx.CollectRows(rows, scanState)
		return err //nolint:wrapcheck // translated by the transaction
	})
	return list, err
}

// lastRun is a job's last run, if it has one.
type lastRun struct {
	id, trigger, actor, status, failure, instance *string
	started, finished                             *time.Time
	counts                                        []byte
}

func scanState(row pgx.CollectableRow) (job.State, error) {
	var st job.State
	var l lastRun
	var everyMS, busyUS int64
	var raw []byte
	var success *time.Time
	err := row.Scan(&st.Function, &st.Name, &everyMS, &st.EachProcess, &st.Runs, &st.Failures, &busyUS, &raw, &success,
		&l.id, &l.trigger, &l.actor, &l.started, &l.finished, &l.status, &l.counts, &l.failure, &l.instance)
	if err != nil {
		return st, fmt.Errorf("scan job: %w", err)
	}
	st.Every, st.Busy = time.Duration(everyMS)*time.Millisecond, time.Duration(busyUS)*time.Microsecond
	st.LastSuccess = moment(success)
	if st.Counts, err = counts(raw); err != nil {
		return st, err
	}
	st.Last, err = l.run(st.Definition)
	return st, err
}

func (l lastRun) run(d job.Definition) (*job.Run, error) {
	if l.started == nil {
		return nil, nil //nolint:nilnil // it never ran
	}
	c, err := counts(l.counts)
	return &job.Run{
		ID: *l.id, Function: d.Function, Job: d.Name, Trigger: job.Trigger(*l.trigger), Actor: *l.actor,
		StartedAt: l.started.UTC(), FinishedAt: moment(l.finished), Status: job.Status(*l.status), Counts: c, Error: *l.failure, Instance: *l.instance,
	}, err
}

// Prune implements [job.History].
func (s *Jobs) Prune(ctx context.Context, before time.Time, most int) (n int, err error) {
	err = s.db.Do(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT accounts.prune_job_runs($1, $2)`, before, most).Scan(&n)
	})
	if err != nil {
		return 0, fmt.Errorf("prune runs of jobs: %w", err)
	}
	return n, nil
}
