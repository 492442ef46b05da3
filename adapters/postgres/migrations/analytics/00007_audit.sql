-- The audit becomes verifiable: records wait here for their place in a chain (see the
-- schema accounts), and nobody changes them.

-- +goose Up
-- +goose StatementBegin
DO $$
DECLARE r text;
BEGIN
  FOREACH r IN ARRAY ARRAY['aiaas_auditor', 'aiaas_notary'] LOOP
    BEGIN
      EXECUTE format('CREATE ROLE %I NOLOGIN', r);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END;
    -- As for the other roles in 00001.
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

-- aiaas_auditor  seals and verifies, across organisations; where a transaction names
--                one in app.org_id it sees that one only. It changes no record.
-- aiaas_notary   owns the functions below, nobody signs in as it: only what they do
--                enters records as pending, and removes those past their retention.
GRANT USAGE ON SCHEMA analytics TO aiaas_auditor, aiaas_notary;

ALTER TABLE analytics.audit_records
  ADD COLUMN source_address text NOT NULL DEFAULT '',
  ADD COLUMN outcome text NOT NULL DEFAULT 'success' CHECK (outcome IN ('success', 'denied', 'failure')),
  ADD CHECK (isfinite(at));

-- Records that no chain has yet: the sealer takes them from here. No foreign key: a
-- pending record that is gone is evidence.
CREATE TABLE analytics.audit_pending (
  org_id   text NOT NULL,
  audit_id text NOT NULL,
  since    timestamptz NOT NULL DEFAULT clock_timestamp(), -- by the database's clock: a sealer that does not seal shows
  PRIMARY KEY (org_id, audit_id)
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX audit_pending_oldest ON analytics.audit_pending (audit_id, org_id);
ALTER TABLE analytics.audit_pending ENABLE ROW LEVEL SECURITY;
ALTER TABLE analytics.audit_pending FORCE ROW LEVEL SECURITY;

CREATE POLICY auditor ON analytics.audit_records FOR SELECT TO aiaas_auditor
  USING (org_id = coalesce(nullif(current_setting('app.org_id', true), ''), org_id));
CREATE POLICY auditor ON analytics.audit_pending TO aiaas_auditor
  USING (org_id = coalesce(nullif(current_setting('app.org_id', true), ''), org_id)) WITH CHECK (false);
CREATE POLICY notary ON analytics.audit_records TO aiaas_notary USING (true) WITH CHECK (true);
CREATE POLICY notary ON analytics.audit_pending TO aiaas_notary USING (true) WITH CHECK (true);
GRANT SELECT ON analytics.audit_records TO aiaas_auditor;
GRANT SELECT, DELETE ON analytics.audit_pending TO aiaas_auditor;
GRANT SELECT, DELETE ON analytics.audit_records TO aiaas_notary;
GRANT SELECT, INSERT ON analytics.audit_pending TO aiaas_notary;

-- +goose StatementBegin

-- enter_audit makes a record pending, whoever wrote it and however.
CREATE FUNCTION analytics.enter_audit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO analytics.audit_pending (org_id, audit_id) VALUES (NEW.org_id, NEW.audit_id);
  RETURN NULL;
END $$;

-- keep_audit refuses changes, of the owner too. Rows leave through the functions of
-- aiaas_notary only.
CREATE FUNCTION analytics.keep_audit() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'DELETE' AND current_user = 'aiaas_notary' THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;

-- prune_audit removes sealed records that are older than p_keep, never those of the
-- last year, and returns how many. Who calls it has asked the
-- schema accounts whether the organisation is on hold.
CREATE FUNCTION analytics.prune_audit(p_org text, p_ids text[], p_keep interval) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE n bigint;
BEGIN
  DELETE FROM analytics.audit_records r
   WHERE r.org_id = p_org AND r.audit_id = ANY (p_ids) AND r.at < now() - greatest(p_keep, interval '1 year')
     AND NOT EXISTS (SELECT FROM analytics.audit_pending p WHERE p.org_id = r.org_id AND p.audit_id = r.audit_id);
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END $$;

-- +goose StatementEnd
CREATE TRIGGER enter_audit AFTER INSERT ON analytics.audit_records
  FOR EACH ROW EXECUTE FUNCTION analytics.enter_audit();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON analytics.audit_records
  FOR EACH ROW EXECUTE FUNCTION analytics.keep_audit();
CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON analytics.audit_records
  FOR EACH STATEMENT EXECUTE FUNCTION analytics.keep_audit();

-- What was recorded before there were chains.
INSERT INTO analytics.audit_pending (org_id, audit_id) SELECT org_id, audit_id FROM analytics.audit_records;

GRANT CREATE ON SCHEMA analytics TO aiaas_notary;
ALTER FUNCTION analytics.enter_audit() OWNER TO aiaas_notary;
ALTER FUNCTION analytics.prune_audit(text, text[], interval) OWNER TO aiaas_notary;
REVOKE CREATE ON SCHEMA analytics FROM aiaas_notary;
REVOKE ALL ON FUNCTION analytics.enter_audit(), analytics.prune_audit(text, text[], interval), analytics.keep_audit() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION analytics.prune_audit(text, text[], interval) TO aiaas_auditor;
