-- The schema of the service "analytics": all that counts money. The ledger is the
-- truth; budgets, roll-ups and every figure shown are derived from it in the
-- transaction that writes it.

-- +goose Up
-- +goose StatementBegin
DO $$
DECLARE r text;
BEGIN
  FOREACH r IN ARRAY ARRAY['aiaas_gateway', 'aiaas_analytics', 'aiaas_metering', 'aiaas_ledger'] LOOP
    BEGIN
      EXECUTE format('CREATE ROLE %I NOLOGIN', r);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END;
    -- From 16 on whoever makes a role is its member, but may neither act as it nor
    -- use its rights until he grants himself both.
    IF current_setting('server_version_num')::int < 160000 THEN
      IF NOT pg_has_role(current_user, r, 'MEMBER') THEN
        EXECUTE format('GRANT %I TO CURRENT_USER', r);
      END IF;
    ELSIF NOT (pg_has_role(current_user, r, 'SET') AND pg_has_role(current_user, r, 'USAGE')) THEN
      EXECUTE format('GRANT %I TO CURRENT_USER WITH INHERIT TRUE, SET TRUE', r);
    END IF;
  END LOOP;
END $$;
-- +goose StatementEnd

-- aiaas_gateway    the data plane: records events and asks for grants, through functions only
-- aiaas_analytics  requests of one organisation: budgets and usage
-- aiaas_metering   spans organisations: turns events into the ledger
-- aiaas_ledger     owns the functions that the gateway calls; nobody signs in as it
GRANT USAGE ON SCHEMA analytics TO aiaas_gateway, aiaas_analytics, aiaas_metering, aiaas_ledger;

-- The epoch fences processes that keep their limits in memory: starting one
-- increments it, and whatever an older one still tries to write is refused.
CREATE TABLE analytics.epoch (
  one   boolean PRIMARY KEY DEFAULT true CHECK (one),
  epoch bigint NOT NULL
);
INSERT INTO analytics.epoch VALUES (true, 0);

-- One row an organisation: which accounting period is open. Metering locks it
-- FOR SHARE; closing a period and seeding a budget lock it FOR UPDATE.
CREATE TABLE analytics.accounting (
  org_id      text PRIMARY KEY,
  open_period date NOT NULL DEFAULT '0001-01-01' CHECK (extract(day FROM open_period) = 1)
);

CREATE TABLE analytics.budgets (
  org_id     text NOT NULL,
  budget_id  text NOT NULL,
  project_id text, -- at most one of the three; none: the whole organisation
  api_key_id text,
  model      text,
  unit       text NOT NULL CHECK (unit IN ('money', 'tokens', 'requests')),
  amount     bigint NOT NULL CHECK (amount >= 0), -- nano of the currency, tokens, or requests
  currency   text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  period     text NOT NULL CHECK (period IN ('day', 'week', 'month', 'quarter', 'year', 'once')),
  time_zone  text NOT NULL,
  action     text NOT NULL CHECK (action IN ('monitor', 'warn', 'block')),
  thresholds integer[] NOT NULL,
  created_by text NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (org_id, budget_id),
  CHECK (num_nonnulls(project_id, api_key_id, model) <= 1)
);

-- What was handed out (granted) and what was settled (spent) of a budget in one
-- of its windows. seq orders the states; it grows with every change.
CREATE TABLE analytics.budget_windows (
  org_id       text NOT NULL,
  budget_id    text NOT NULL,
  window_start timestamptz NOT NULL,
  window_end   timestamptz NOT NULL,
  spent        bigint NOT NULL DEFAULT 0 CHECK (spent >= 0),
  granted      bigint NOT NULL DEFAULT 0 CHECK (granted >= 0),
  seq          bigint NOT NULL DEFAULT 1,
  PRIMARY KEY (org_id, budget_id, window_start),
  FOREIGN KEY (org_id, budget_id) REFERENCES analytics.budgets
) WITH (fillfactor = 50); -- hot rows: leave room for updates in place

-- Events that are durable and not yet in the ledger.
CREATE TABLE analytics.inbox (
  org_id      text NOT NULL,
  event_id    text NOT NULL,
  body        bytea NOT NULL,
  epoch       bigint, -- of the process that recorded it; null where limits are shared
  recorded_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, event_id)
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
-- Rows come and go by the thousand: read the oldest without passing over the dead.
CREATE INDEX inbox_recorded ON analytics.inbox (recorded_at);

CREATE TABLE analytics.dead_letters (
  org_id   text NOT NULL,
  event_id text NOT NULL,
  body     bytea NOT NULL,
  error    text NOT NULL,
  at       timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, event_id)
);

CREATE TABLE analytics.usage_events (
  org_id        text NOT NULL,
  event_id      text NOT NULL,
  admitted_at   timestamptz NOT NULL,
  project_id    text NOT NULL,
  api_key_id    text NOT NULL,
  model         text NOT NULL,
  backend_id    text NOT NULL,
  price_id      text NOT NULL,
  endpoint      text NOT NULL,
  streamed      boolean NOT NULL,
  outcome       text NOT NULL CHECK (outcome IN ('complete', 'aborted', 'failed', 'abandoned')),
  estimated     boolean NOT NULL,
  input_tokens  bigint NOT NULL CHECK (input_tokens >= 0),
  cached_input_tokens bigint NOT NULL CHECK (cached_input_tokens BETWEEN 0 AND input_tokens),
  output_tokens bigint NOT NULL CHECK (output_tokens >= 0),
  cost_nano     bigint NOT NULL CHECK (cost_nano >= 0),
  currency      text NOT NULL,
  accounting_period date NOT NULL,
  ttft_us       bigint NOT NULL,
  duration_us   bigint NOT NULL,
  raw_usage     text, -- what the backend reported, as it came; no jsonb, which refuses some JSON
  PRIMARY KEY (org_id, event_id, admitted_at)
) PARTITION BY RANGE (admitted_at);

CREATE TABLE analytics.ledger_entries (
  org_id        text NOT NULL,
  event_id      text NOT NULL,
  kind          text NOT NULL CHECK (kind IN ('usage', 'adjustment')),
  admitted_at   timestamptz NOT NULL,
  accounting_period date NOT NULL, -- first day of the month that it is billed in
  project_id    text NOT NULL,
  api_key_id    text NOT NULL,
  model         text NOT NULL,
  price_id      text NOT NULL,
  requests      bigint NOT NULL,
  input_tokens  bigint NOT NULL,
  cached_input_tokens bigint NOT NULL,
  output_tokens bigint NOT NULL,
  amount_nano   bigint NOT NULL,
  currency      text NOT NULL,
  booked_at     timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, event_id, kind, admitted_at)
) PARTITION BY RANGE (admitted_at);

-- Usage by minute. Metering appends deltas, for parallel upserts on shared rows
-- deadlock; one folder merges them. Readers add both up in one snapshot.
CREATE TABLE analytics.usage_deltas (
  delta_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  org_id        text NOT NULL,
  minute        timestamptz NOT NULL,
  accounting_period date NOT NULL,
  project_id    text NOT NULL,
  api_key_id    text NOT NULL,
  model         text NOT NULL,
  currency      text NOT NULL,
  requests      bigint NOT NULL,
  input_tokens  bigint NOT NULL,
  cached_input_tokens bigint NOT NULL,
  output_tokens bigint NOT NULL,
  cost_nano     bigint NOT NULL
);
CREATE INDEX usage_deltas_org ON analytics.usage_deltas (org_id, minute);

CREATE TABLE analytics.usage_minutes (
  org_id        text NOT NULL,
  minute        timestamptz NOT NULL,
  accounting_period date NOT NULL,
  project_id    text NOT NULL,
  api_key_id    text NOT NULL,
  model         text NOT NULL,
  currency      text NOT NULL,
  requests      bigint NOT NULL,
  input_tokens  bigint NOT NULL,
  cached_input_tokens bigint NOT NULL,
  output_tokens bigint NOT NULL,
  cost_nano     bigint NOT NULL,
  PRIMARY KEY (org_id, minute, accounting_period, project_id, api_key_id, model, currency)
);
CREATE INDEX usage_minutes_period ON analytics.usage_minutes (org_id, accounting_period);

CREATE TABLE analytics.audit_records (
  org_id     text NOT NULL,
  audit_id   text NOT NULL,
  at         timestamptz NOT NULL,
  actor      text NOT NULL,
  action     text NOT NULL,
  target     text NOT NULL,
  detail     jsonb NOT NULL,
  request_id text NOT NULL DEFAULT '',
  PRIMARY KEY (org_id, audit_id)
);

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['accounting', 'budgets', 'budget_windows', 'inbox', 'dead_letters', 'usage_events',
                           'ledger_entries', 'usage_deltas', 'usage_minutes', 'audit_records'] LOOP
    EXECUTE format('ALTER TABLE analytics.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE analytics.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format($p$CREATE POLICY own_organization ON analytics.%I TO aiaas_analytics
      USING (org_id = nullif(current_setting('app.org_id', true), ''))
      WITH CHECK (org_id = nullif(current_setting('app.org_id', true), ''))$p$, t);
  END LOOP;
  FOREACH t IN ARRAY ARRAY['accounting', 'budgets', 'budget_windows', 'inbox', 'dead_letters', 'usage_events',
                           'ledger_entries', 'usage_deltas', 'usage_minutes'] LOOP
    EXECUTE format('CREATE POLICY metering ON analytics.%I TO aiaas_metering USING (true) WITH CHECK (true)', t);
  END LOOP;
  FOREACH t IN ARRAY ARRAY['budgets', 'budget_windows', 'inbox', 'usage_events'] LOOP
    EXECUTE format('CREATE POLICY ledger ON analytics.%I TO aiaas_ledger USING (true) WITH CHECK (true)', t);
  END LOOP;
END $$;
-- +goose StatementEnd

GRANT SELECT, INSERT ON analytics.budgets, analytics.budget_windows, analytics.audit_records TO aiaas_analytics;
GRANT UPDATE (amount, action, thresholds) ON analytics.budgets TO aiaas_analytics;
GRANT UPDATE (spent, granted, seq) ON analytics.budget_windows TO aiaas_analytics;
GRANT SELECT, INSERT, UPDATE ON analytics.accounting TO aiaas_analytics; -- UPDATE: for its lock
GRANT SELECT ON analytics.usage_events, analytics.ledger_entries, analytics.usage_deltas, analytics.usage_minutes, analytics.inbox TO aiaas_analytics;

GRANT SELECT, UPDATE ON analytics.epoch TO aiaas_metering, aiaas_ledger;
GRANT SELECT, INSERT, UPDATE ON analytics.accounting, analytics.budget_windows, analytics.usage_minutes TO aiaas_metering;
GRANT SELECT ON analytics.budgets TO aiaas_metering;
GRANT SELECT, INSERT ON analytics.usage_events, analytics.ledger_entries, analytics.dead_letters TO aiaas_metering; -- append-only
GRANT DELETE ON analytics.dead_letters TO aiaas_metering; -- replay
GRANT SELECT, INSERT, DELETE, UPDATE (epoch) ON analytics.inbox TO aiaas_metering;
GRANT SELECT, INSERT, DELETE ON analytics.usage_deltas TO aiaas_metering;

GRANT SELECT, INSERT ON analytics.inbox TO aiaas_ledger;
GRANT SELECT, INSERT, UPDATE ON analytics.budget_windows TO aiaas_ledger;
GRANT SELECT ON analytics.budgets, analytics.usage_events TO aiaas_ledger;

-- +goose StatementBegin
CREATE FUNCTION analytics.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON analytics.ledger_entries
  FOR EACH ROW EXECUTE FUNCTION analytics.refuse_change();

-- Partitions: a month each, made ahead of time, and a default for what has none.
-- +goose StatementBegin
CREATE FUNCTION analytics.ensure_partitions(p_from date, p_months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  parent text; m date; child text; made integer := 0;
BEGIN
  FOREACH parent IN ARRAY ARRAY['usage_events', 'ledger_entries'] LOOP
    FOR i IN 0 .. p_months - 1 LOOP
      m := (date_trunc('month', p_from) + make_interval(months => i))::date;
      child := format('%s_%s', parent, to_char(m, 'YYYYMM'));
      CONTINUE WHEN to_regclass('analytics.' || child) IS NOT NULL;
      EXECUTE format('CREATE TABLE analytics.%I PARTITION OF analytics.%I FOR VALUES FROM (%L) TO (%L)',
        child, parent, m::text || ' 00:00:00+00', (m + interval '1 month')::date::text || ' 00:00:00+00');
      EXECUTE format('ALTER TABLE analytics.%I ENABLE ROW LEVEL SECURITY', child);
      EXECUTE format('ALTER TABLE analytics.%I FORCE ROW LEVEL SECURITY', child);
      made := made + 1;
    END LOOP;
  END LOOP;
  RETURN made;
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION analytics.ensure_partitions(date, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION analytics.ensure_partitions(date, integer) TO aiaas_metering;
CREATE TABLE analytics.usage_events_default PARTITION OF analytics.usage_events DEFAULT;
CREATE TABLE analytics.ledger_entries_default PARTITION OF analytics.ledger_entries DEFAULT;
ALTER TABLE analytics.usage_events_default ENABLE ROW LEVEL SECURITY;
ALTER TABLE analytics.usage_events_default FORCE ROW LEVEL SECURITY;
ALTER TABLE analytics.ledger_entries_default ENABLE ROW LEVEL SECURITY;
ALTER TABLE analytics.ledger_entries_default FORCE ROW LEVEL SECURITY;
SELECT analytics.ensure_partitions((now() - interval '1 month')::date, 6);

-- The data plane writes through these two functions only.

-- record makes events durable. p_epoch, where not null, must be the epoch in
-- force: a process that was taken over can't write any more (SQLSTATE AI001).
-- +goose StatementBegin
CREATE FUNCTION analytics.record(p_epoch bigint, p_orgs text[], p_ids text[], p_bodies bytea[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF p_epoch IS NOT NULL THEN
    PERFORM 1 FROM analytics.epoch WHERE epoch = p_epoch FOR SHARE;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'another process has taken over' USING ERRCODE = 'AI001';
    END IF;
  END IF;
  INSERT INTO analytics.inbox (org_id, event_id, body, epoch)
  SELECT e.org_id, e.event_id, e.body, p_epoch FROM unnest(p_orgs, p_ids, p_bodies) AS e(org_id, event_id, body)
  ON CONFLICT DO NOTHING;
END $$;

-- grant_budgets raises what was handed out of budgets, in the order of their ids,
-- and returns the state of each. p_short is how much the caller is short of now;
-- the tranche is at least that and at most what the limit leaves. limit_amount
-- is the budget's limit; the ceiling to spend up to is least(granted, limit).
CREATE FUNCTION analytics.grant_budgets(
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
    SELECT x.amount INTO b FROM analytics.budgets x WHERE x.org_id = p_org AND x.budget_id = w.id AND x.action = 'block';
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

-- booked tells which events the ledger has.
CREATE FUNCTION analytics.booked(p_org text, p_ids text[]) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT u.event_id FROM analytics.usage_events u WHERE u.org_id = p_org AND u.event_id = ANY (p_ids)
$$;

-- blocking_budgets are the budgets of an organisation that admission must hold.
CREATE FUNCTION analytics.blocking_budgets(p_org text)
RETURNS TABLE (budget_id text, project_id text, api_key_id text, model text, unit text, period text, time_zone text, created_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT b.budget_id, b.project_id, b.api_key_id, b.model, b.unit, b.period, b.time_zone, b.created_at
    FROM analytics.budgets b WHERE b.org_id = p_org AND b.action = 'block' ORDER BY b.budget_id
$$;
-- +goose StatementEnd

GRANT CREATE ON SCHEMA analytics TO aiaas_ledger;
ALTER FUNCTION analytics.record(bigint, text[], text[], bytea[]) OWNER TO aiaas_ledger;
ALTER FUNCTION analytics.grant_budgets(bigint, text, text[], timestamptz[], timestamptz[], bigint[]) OWNER TO aiaas_ledger;
ALTER FUNCTION analytics.booked(text, text[]) OWNER TO aiaas_ledger;
ALTER FUNCTION analytics.blocking_budgets(text) OWNER TO aiaas_ledger;
REVOKE CREATE ON SCHEMA analytics FROM aiaas_ledger;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA analytics FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
  analytics.record(bigint, text[], text[], bytea[]),
  analytics.grant_budgets(bigint, text, text[], timestamptz[], timestamptz[], bigint[]),
  analytics.booked(text, text[]),
  analytics.blocking_budgets(text) TO aiaas_gateway;
GRANT EXECUTE ON FUNCTION analytics.refuse_change() TO aiaas_metering;
