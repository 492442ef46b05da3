-- What happened to budgets and invoices is told to other systems. A threshold is
-- recorded in the audit by whoever finds it reached.

-- +goose Up
-- +goose StatementBegin
DO $$
BEGIN
  BEGIN
    CREATE ROLE aiaas_notifier NOLOGIN;
  EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
  END;
  -- As for the other roles in 00001.
  IF current_setting('server_version_num')::int < 160000 THEN
    IF NOT pg_has_role(current_user, 'aiaas_notifier', 'MEMBER') THEN
      GRANT aiaas_notifier TO CURRENT_USER;
    END IF;
  ELSIF NOT (pg_has_role(current_user, 'aiaas_notifier', 'SET') AND pg_has_role(current_user, 'aiaas_notifier', 'USAGE')) THEN
    EXECUTE 'GRANT aiaas_notifier TO CURRENT_USER WITH INHERIT TRUE, SET TRUE';
  END IF;
END $$;
-- +goose StatementEnd

-- aiaas_notifier  takes events out of the outboxes of all organisations and delivers
--                 them.
GRANT USAGE ON SCHEMA analytics TO aiaas_notifier;

-- Events that are on their way to the log of events, written in the transaction of
-- the audit record that they are made from. Rows come and go.
CREATE TABLE analytics.outbox (
  org_id   text NOT NULL,
  event_id text NOT NULL,
  type     text NOT NULL,
  at       timestamptz NOT NULL,
  object   text NOT NULL,
  payload  text NOT NULL, -- the body of a delivery, as it is signed: no jsonb, which writes it anew
  seq      bigint GENERATED ALWAYS AS IDENTITY,
  PRIMARY KEY (org_id, event_id)
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX outbox_oldest ON analytics.outbox (seq);
ALTER TABLE analytics.outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE analytics.outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON analytics.outbox FOR INSERT TO aiaas_analytics
  WITH CHECK (org_id = nullif(current_setting('app.org_id', true), ''));
CREATE POLICY billing ON analytics.outbox FOR INSERT TO aiaas_billing
  WITH CHECK (org_id = nullif(current_setting('app.org_id', true), ''));
CREATE POLICY metering ON analytics.outbox FOR INSERT TO aiaas_metering WITH CHECK (true);
CREATE POLICY notifier ON analytics.outbox TO aiaas_notifier USING (true) WITH CHECK (true);
GRANT INSERT ON analytics.outbox TO aiaas_analytics, aiaas_billing, aiaas_metering;
GRANT SELECT, DELETE ON analytics.outbox TO aiaas_notifier;

-- The thresholds that booking reaches.
CREATE POLICY metering ON analytics.audit_records FOR INSERT TO aiaas_metering WITH CHECK (true);
GRANT INSERT ON analytics.audit_records TO aiaas_metering;

-- Windows of blocking budgets for which the data plane has denied a request. What
-- they leave is too little for the next request, so booking seldom brings them to
-- 100 percent. Metering takes the rows and records the threshold.
CREATE TABLE analytics.exhausted_windows (
  org_id       text NOT NULL,
  budget_id    text NOT NULL,
  window_start timestamptz NOT NULL,
  noted_at     timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, budget_id, window_start)
);
ALTER TABLE analytics.exhausted_windows ENABLE ROW LEVEL SECURITY;
ALTER TABLE analytics.exhausted_windows FORCE ROW LEVEL SECURITY;
CREATE POLICY metering ON analytics.exhausted_windows TO aiaas_metering USING (true) WITH CHECK (true);
CREATE POLICY ledger ON analytics.exhausted_windows TO aiaas_ledger USING (true) WITH CHECK (true);
GRANT SELECT, DELETE ON analytics.exhausted_windows TO aiaas_metering;
GRANT SELECT, INSERT ON analytics.exhausted_windows TO aiaas_ledger;
CREATE POLICY ledger_sees ON analytics.budget_alerts FOR SELECT TO aiaas_ledger USING (true);
GRANT SELECT ON analytics.budget_alerts TO aiaas_ledger;

-- +goose StatementBegin

-- note_exhausted takes the data plane's word for a denial only where the database
-- bears it out: the budget blocks and reports 100 percent, all of it is handed out,
-- and at least half of it is spent. So one request that asks for more than there
-- ever was does not make a budget look spent. It returns whether nothing more is to
-- be told of the window.
CREATE FUNCTION analytics.note_exhausted(p_org text, p_budget text, p_start timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM 1 FROM analytics.budget_alerts a
    WHERE a.org_id = p_org AND a.budget_id = p_budget AND a.window_start = p_start AND a.threshold = 100;
  IF FOUND THEN
    RETURN true;
  END IF;
  INSERT INTO analytics.exhausted_windows (org_id, budget_id, window_start)
  SELECT w.org_id, w.budget_id, w.window_start
    FROM analytics.budgets b
    JOIN analytics.budget_windows w ON w.org_id = b.org_id AND w.budget_id = b.budget_id
   WHERE b.org_id = p_org AND b.budget_id = p_budget AND w.window_start = p_start
     AND b.action = 'block' AND b.archived_at IS NULL AND 100 = ANY (b.thresholds)
     AND w.granted >= b.amount AND w.spent >= b.amount / 2
  ON CONFLICT DO NOTHING;
  RETURN FOUND;
END $$;
-- +goose StatementEnd
GRANT CREATE ON SCHEMA analytics TO aiaas_ledger;
ALTER FUNCTION analytics.note_exhausted(text, text, timestamptz) OWNER TO aiaas_ledger;
REVOKE CREATE ON SCHEMA analytics FROM aiaas_ledger;
REVOKE ALL ON FUNCTION analytics.note_exhausted(text, text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION analytics.note_exhausted(text, text, timestamptz) TO aiaas_gateway;
