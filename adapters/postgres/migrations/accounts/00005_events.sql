-- What happened is told to other systems: a log of events, the webhooks that are to
-- hear of them, and their deliveries.

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
GRANT USAGE ON SCHEMA accounts TO aiaas_notifier;

-- Events that are on their way to the log of events, written in the transaction of
-- the audit record that they are made from. Rows come and go.
CREATE TABLE accounts.outbox (
  org_id   text NOT NULL,
  event_id text NOT NULL,
  type     text NOT NULL,
  at       timestamptz NOT NULL,
  object   text NOT NULL,
  payload  text NOT NULL, -- the body of a delivery, as it is signed: no jsonb, which writes it anew
  seq      bigint GENERATED ALWAYS AS IDENTITY,
  PRIMARY KEY (org_id, event_id)
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX outbox_oldest ON accounts.outbox (seq);
ALTER TABLE accounts.outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts.outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON accounts.outbox FOR INSERT TO aiaas_accounts
  WITH CHECK (org_id = nullif(current_setting('app.org_id', true), ''));
CREATE POLICY tenants ON accounts.outbox FOR INSERT TO aiaas_tenants WITH CHECK (true);
CREATE POLICY notifier ON accounts.outbox TO aiaas_notifier USING (true) WITH CHECK (true);
GRANT INSERT ON accounts.outbox TO aiaas_accounts, aiaas_tenants;
GRANT SELECT, DELETE ON accounts.outbox TO aiaas_notifier;
GRANT INSERT ON accounts.outbox TO aiaas_notifier;

CREATE TABLE accounts.events (
  org_id   text NOT NULL,
  event_id text NOT NULL, -- in the order of the audit records that they are made from
  type     text NOT NULL,
  at       timestamptz NOT NULL,
  object   text NOT NULL,
  payload  text NOT NULL,
  PRIMARY KEY (org_id, event_id)
);
CREATE INDEX events_at ON accounts.events (at);

CREATE TABLE accounts.webhooks (
  org_id        text NOT NULL REFERENCES accounts.organizations,
  webhook_id    text NOT NULL,
  url           text NOT NULL,
  description   text NOT NULL DEFAULT '',
  events        text[] NOT NULL,
  enabled       boolean NOT NULL,
  secret        text NOT NULL, -- sealed and bound to the host of the url; never plain
  old_secret    text NOT NULL DEFAULT '', -- signs as well until old_until
  old_until     timestamptz,
  failing_since timestamptz, -- null: the last attempt went well
  failures      bigint NOT NULL DEFAULT 0, -- since then
  disabled_why  text NOT NULL DEFAULT '', -- where the platform gave it up
  created_by    text NOT NULL,
  created_at    timestamptz NOT NULL,
  updated_at    timestamptz NOT NULL,
  PRIMARY KEY (org_id, webhook_id)
);

-- One row for each event and webhook that is to hear of it. A lease is an attempt
-- that runs: next_at lies behind it.
CREATE TABLE accounts.webhook_deliveries (
  org_id       text NOT NULL,
  delivery_id  text NOT NULL,
  webhook_id   text NOT NULL,
  event_id     text NOT NULL,
  status       text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'succeeded', 'failed')),
  attempts     integer NOT NULL DEFAULT 0, -- since it was created or replayed
  next_at      timestamptz NOT NULL,
  leased_until timestamptz,
  error        text NOT NULL DEFAULT '', -- why it was given up
  created_at   timestamptz NOT NULL,
  finished_at  timestamptz,
  PRIMARY KEY (org_id, delivery_id),
  UNIQUE (org_id, webhook_id, event_id),
  FOREIGN KEY (org_id, webhook_id) REFERENCES accounts.webhooks ON DELETE CASCADE,
  FOREIGN KEY (org_id, event_id) REFERENCES accounts.events ON DELETE CASCADE
);
CREATE INDEX webhook_deliveries_due ON accounts.webhook_deliveries (org_id, webhook_id, next_at) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_page ON accounts.webhook_deliveries (org_id, webhook_id, delivery_id);
CREATE INDEX webhook_deliveries_event ON accounts.webhook_deliveries (org_id, event_id);

CREATE TABLE accounts.webhook_attempts (
  org_id      text NOT NULL,
  attempt_id  text NOT NULL,
  delivery_id text NOT NULL,
  at          timestamptz NOT NULL,
  duration_ms bigint NOT NULL,
  status_code integer NOT NULL, -- 0: no answer came
  error       text NOT NULL,
  response    text NOT NULL, -- its beginning
  PRIMARY KEY (org_id, attempt_id),
  FOREIGN KEY (org_id, delivery_id) REFERENCES accounts.webhook_deliveries ON DELETE CASCADE
);
CREATE INDEX webhook_attempts_delivery ON accounts.webhook_attempts (org_id, delivery_id, attempt_id);

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['events', 'webhooks', 'webhook_deliveries', 'webhook_attempts'] LOOP
    EXECUTE format('ALTER TABLE accounts.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE accounts.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format($p$CREATE POLICY own_organization ON accounts.%I TO aiaas_accounts
      USING (org_id = nullif(current_setting('app.org_id', true), ''))
      WITH CHECK (org_id = nullif(current_setting('app.org_id', true), ''))$p$, t);
    EXECUTE format('CREATE POLICY notifier ON accounts.%I TO aiaas_notifier USING (true) WITH CHECK (true)', t);
  END LOOP;
END $$;
-- +goose StatementEnd
CREATE POLICY notifier ON accounts.audit_records FOR INSERT TO aiaas_notifier WITH CHECK (true);
CREATE POLICY notifier ON accounts.organizations FOR SELECT TO aiaas_notifier USING (true);

GRANT SELECT ON accounts.events, accounts.webhook_attempts TO aiaas_accounts;
GRANT SELECT, INSERT, DELETE ON accounts.webhooks TO aiaas_accounts;
GRANT UPDATE (url, description, events, enabled, secret, old_secret, old_until, failing_since, failures, disabled_why, updated_at)
  ON accounts.webhooks TO aiaas_accounts;
GRANT SELECT, INSERT ON accounts.webhook_deliveries TO aiaas_accounts;
GRANT UPDATE (status, attempts, next_at, error, finished_at) ON accounts.webhook_deliveries TO aiaas_accounts;

GRANT SELECT (org_id, kind, created_at) ON accounts.organizations TO aiaas_notifier;
GRANT SELECT, INSERT, DELETE ON accounts.events TO aiaas_notifier;
GRANT SELECT, UPDATE (enabled, failing_since, failures, disabled_why, updated_at) ON accounts.webhooks TO aiaas_notifier;
GRANT SELECT, INSERT, UPDATE ON accounts.webhook_deliveries TO aiaas_notifier;
GRANT SELECT, INSERT ON accounts.webhook_attempts TO aiaas_notifier;
GRANT INSERT ON accounts.audit_records TO aiaas_notifier;
