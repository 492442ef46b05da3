-- What happened to models, backends and prices is told to other systems.

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
GRANT USAGE ON SCHEMA router TO aiaas_notifier;

-- Events that are on their way to the log of events, written in the transaction of
-- the audit record that they are made from. Rows come and go.
CREATE TABLE router.outbox (
  org_id   text NOT NULL,
  event_id text NOT NULL,
  type     text NOT NULL,
  at       timestamptz NOT NULL,
  object   text NOT NULL,
  payload  text NOT NULL, -- the body of a delivery, as it is signed: no jsonb, which writes it anew
  seq      bigint GENERATED ALWAYS AS IDENTITY,
  PRIMARY KEY (org_id, event_id)
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX outbox_oldest ON router.outbox (seq);
ALTER TABLE router.outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE router.outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON router.outbox FOR INSERT TO aiaas_router
  WITH CHECK (org_id = nullif(current_setting('app.org_id', true), ''));
CREATE POLICY notifier ON router.outbox TO aiaas_notifier USING (true) WITH CHECK (true);
GRANT INSERT ON router.outbox TO aiaas_router;
GRANT SELECT, DELETE ON router.outbox TO aiaas_notifier;
