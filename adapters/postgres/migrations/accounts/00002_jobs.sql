-- What the platform's jobs did. Nothing here belongs to an organisation.

-- +goose Up
CREATE TABLE accounts.jobs (
  function         text NOT NULL,
  job              text NOT NULL,
  every_ms         bigint NOT NULL CHECK (every_ms >= 0), -- 0: it has no schedule
  each_process     boolean NOT NULL,
  runs             bigint NOT NULL DEFAULT 0,
  failures         bigint NOT NULL DEFAULT 0,
  busy_us          bigint NOT NULL DEFAULT 0,
  counts           jsonb NOT NULL DEFAULT '{}',
  last_trigger     text,
  last_actor       text,
  last_started_at  timestamptz, -- of the runs that ended
  last_finished_at timestamptz,
  last_status      text,
  last_counts      jsonb,
  last_error       text,
  last_instance    text,
  last_success_at  timestamptz,
  PRIMARY KEY (function, job)
);

CREATE TABLE accounts.job_runs (
  run_id      text PRIMARY KEY,
  function    text NOT NULL,
  job         text NOT NULL,
  trigger     text NOT NULL CHECK (trigger IN ('schedule', 'api', 'command')),
  actor       text NOT NULL DEFAULT '',
  started_at  timestamptz NOT NULL,
  finished_at timestamptz,
  status      text NOT NULL CHECK (status IN ('running', 'succeeded', 'failed', 'abandoned')),
  counts      jsonb NOT NULL DEFAULT '{}',
  error       text NOT NULL DEFAULT '',
  instance    text NOT NULL,
  lease_until timestamptz NOT NULL -- by this server's clock: running and past it is abandoned
);
CREATE INDEX job_runs_of_job ON accounts.job_runs (function, job, run_id DESC);
CREATE INDEX job_runs_by_age ON accounts.job_runs (started_at);
-- One run by hand at a time, whichever process it was started in.
CREATE UNIQUE INDEX job_runs_by_hand ON accounts.job_runs (function, job) WHERE status = 'running' AND trigger <> 'schedule';

GRANT SELECT, INSERT, UPDATE ON accounts.jobs, accounts.job_runs TO aiaas_accounts;

-- Runs are removed by this function only, which keeps the last thirty days
-- whatever it is asked for.
-- +goose StatementBegin
CREATE FUNCTION accounts.prune_job_runs(p_before timestamptz, p_most integer)
RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  WITH old AS (
    SELECT run_id FROM accounts.job_runs
     WHERE started_at < least(p_before, now() - interval '30 days')
       AND NOT (status = 'running' AND lease_until >= now())
     ORDER BY started_at LIMIT p_most FOR UPDATE SKIP LOCKED
  ), gone AS (
    DELETE FROM accounts.job_runs r USING old WHERE r.run_id = old.run_id RETURNING 1
  )
  SELECT count(*) FROM gone
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION accounts.prune_job_runs(timestamptz, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION accounts.prune_job_runs(timestamptz, integer) TO aiaas_accounts;
