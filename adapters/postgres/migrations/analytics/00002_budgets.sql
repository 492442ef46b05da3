-- Budgets can be changed and archived, and record the thresholds that they reach.

-- +goose Up
-- An archived budget binds nothing and is not counted any more; its windows and
-- alerts stay.
ALTER TABLE analytics.budgets ADD COLUMN archived_at timestamptz;
GRANT UPDATE (archived_at) ON analytics.budgets TO aiaas_analytics;

-- One row for each threshold that a budget reached in a window, written in the
-- transaction that made the sum, or the setting, reach it.
CREATE TABLE analytics.budget_alerts (
  org_id       text NOT NULL,
  alert_id     text NOT NULL, -- in the order of creation
  budget_id    text NOT NULL,
  window_start timestamptz NOT NULL,
  window_end   timestamptz NOT NULL,
  threshold    integer NOT NULL CHECK (threshold BETWEEN 1 AND 1000), -- percent
  spent        bigint NOT NULL,
  amount       bigint NOT NULL,
  at           timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, budget_id, window_start, threshold),
  UNIQUE (org_id, alert_id),
  FOREIGN KEY (org_id, budget_id) REFERENCES analytics.budgets
);
CREATE INDEX budget_alerts_page ON analytics.budget_alerts (org_id, budget_id, alert_id);
ALTER TABLE analytics.budget_alerts ENABLE ROW LEVEL SECURITY;
ALTER TABLE analytics.budget_alerts FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON analytics.budget_alerts TO aiaas_analytics
  USING (org_id = nullif(current_setting('app.org_id', true), ''))
  WITH CHECK (org_id = nullif(current_setting('app.org_id', true), ''));
CREATE POLICY metering ON analytics.budget_alerts TO aiaas_metering USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON analytics.budget_alerts TO aiaas_analytics, aiaas_metering; -- append-only

GRANT CREATE ON SCHEMA analytics TO aiaas_ledger;
GRANT UPDATE (created_by) ON analytics.budgets TO aiaas_ledger; -- for its lock: nothing writes it

-- +goose StatementBegin
-- grant_budgets as before, but for two things: what is archived blocks no more, and
-- the budget is locked. A grant that read a limit before it was cut can't be
-- ordered behind the cut, and so hand out what is not to be had any more.
CREATE OR REPLACE FUNCTION analytics.grant_budgets(
  p_epoch bigint, p_org text, p_budgets text[], p_starts timestamptz[], p_ends timestamptz[], p_short bigint[])
RETURNS TABLE (budget_id text, window_start timestamptz, limit_amount bigint, spent bigint, granted bigint, seq bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  w record; b record;
BEGIN
  IF p_epoch IS NOT NULL THEN
    PERFORM 1 FROM analytics.epoch e WHERE e.epoch = p_epoch FOR SHARE;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'another process has taken over' USING ERRCODE = 'AI001';
    END IF;
  END IF;
  FOR w IN SELECT * FROM unnest(p_budgets, p_starts, p_ends, p_short) AS q(id, starts, ends, short) ORDER BY id, starts LOOP
    SELECT x.amount INTO b FROM analytics.budgets x
     WHERE x.org_id = p_org AND x.budget_id = w.id AND x.action = 'block' AND x.archived_at IS NULL FOR SHARE;
    CONTINUE WHEN NOT FOUND;
    INSERT INTO analytics.budget_windows (org_id, budget_id, window_start, window_end)
    VALUES (p_org, w.id, w.starts, w.ends) ON CONFLICT DO NOTHING;
    PERFORM 1 FROM analytics.budget_windows y
      WHERE y.org_id = p_org AND y.budget_id = w.id AND y.window_start = w.starts FOR UPDATE;
    RETURN QUERY
    UPDATE analytics.budget_windows y
       -- Never above the limit, and no sum on the way that could overflow.
       SET granted = y.granted + least(greatest(w.short, b.amount / 16), greatest(b.amount - y.granted, 0)), seq = y.seq + 1
     WHERE y.org_id = p_org AND y.budget_id = w.id AND y.window_start = w.starts
    RETURNING y.budget_id, y.window_start, b.amount, y.spent, y.granted, y.seq;
  END LOOP;
END $$;

-- blocking_budgets is asked by processes that are older than this schema.
CREATE OR REPLACE FUNCTION analytics.blocking_budgets(p_org text)
RETURNS TABLE (budget_id text, project_id text, api_key_id text, model text, unit text, period text, time_zone text, created_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT b.budget_id, b.project_id, b.api_key_id, b.model, b.unit, b.period, b.time_zone, b.created_at
    FROM analytics.budgets b WHERE b.org_id = p_org AND b.action = 'block' AND b.archived_at IS NULL ORDER BY b.budget_id
$$;

-- governing_budgets are the budgets of an organisation that its requests meet:
-- those that block, and those that warn with what their newest two windows have
-- spent. Which of the two a request falls into, its own time decides.
CREATE FUNCTION analytics.governing_budgets(p_org text)
RETURNS TABLE (budget_id text, project_id text, api_key_id text, model text, unit text, period text, time_zone text, created_at timestamptz,
  action text, amount bigint, thresholds integer[], window_starts timestamptz[], window_ends timestamptz[], spent bigint[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT b.budget_id, b.project_id, b.api_key_id, b.model, b.unit, b.period, b.time_zone, b.created_at,
         b.action, b.amount, b.thresholds, coalesce(w.starts, '{}'), coalesce(w.ends, '{}'), coalesce(w.spent, '{}')
    FROM analytics.budgets b
    LEFT JOIN LATERAL (
      SELECT array_agg(n.window_start) AS starts, array_agg(n.window_end) AS ends, array_agg(n.spent) AS spent
        FROM (SELECT y.window_start, y.window_end, y.spent FROM analytics.budget_windows y
               WHERE y.org_id = b.org_id AND y.budget_id = b.budget_id ORDER BY y.window_start DESC LIMIT 2) n
    ) w ON b.action = 'warn'
   WHERE b.org_id = p_org AND b.action IN ('block', 'warn') AND b.archived_at IS NULL
   ORDER BY b.budget_id
$$;
-- +goose StatementEnd
ALTER FUNCTION analytics.governing_budgets(text) OWNER TO aiaas_ledger;
REVOKE CREATE ON SCHEMA analytics FROM aiaas_ledger;
REVOKE ALL ON FUNCTION analytics.governing_budgets(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION analytics.governing_budgets(text) TO aiaas_gateway;
