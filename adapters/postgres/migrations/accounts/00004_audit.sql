-- The audit becomes verifiable: records are chained, and nobody changes them.
-- The chains of all three schemas' records stand here.

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
GRANT USAGE ON SCHEMA accounts TO aiaas_auditor, aiaas_notary;

ALTER TABLE accounts.audit_records
  ADD COLUMN source_address text NOT NULL DEFAULT '',
  ADD COLUMN outcome text NOT NULL DEFAULT 'success' CHECK (outcome IN ('success', 'denied', 'failure')),
  ADD CHECK (isfinite(at));

-- Records that no chain has yet: the sealer takes them from here. No foreign key: a
-- pending record that is gone is evidence.
CREATE TABLE accounts.audit_pending (
  org_id   text NOT NULL,
  audit_id text NOT NULL,
  since    timestamptz NOT NULL DEFAULT clock_timestamp(), -- by the database's clock: a sealer that does not seal shows
  PRIMARY KEY (org_id, audit_id)
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX audit_pending_oldest ON accounts.audit_pending (audit_id, org_id);
ALTER TABLE accounts.audit_pending ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts.audit_pending FORCE ROW LEVEL SECURITY;

CREATE POLICY auditor ON accounts.audit_records FOR SELECT TO aiaas_auditor
  USING (org_id = coalesce(nullif(current_setting('app.org_id', true), ''), org_id));
CREATE POLICY auditor ON accounts.audit_pending TO aiaas_auditor
  USING (org_id = coalesce(nullif(current_setting('app.org_id', true), ''), org_id)) WITH CHECK (false);
CREATE POLICY notary ON accounts.audit_records TO aiaas_notary USING (true) WITH CHECK (true);
CREATE POLICY notary ON accounts.audit_pending TO aiaas_notary USING (true) WITH CHECK (true);
GRANT SELECT ON accounts.audit_records TO aiaas_auditor;
GRANT SELECT, DELETE ON accounts.audit_pending TO aiaas_auditor;
GRANT SELECT, DELETE ON accounts.audit_records TO aiaas_notary;
GRANT SELECT, INSERT ON accounts.audit_pending TO aiaas_notary;

-- +goose StatementBegin

-- enter_audit makes a record pending, whoever wrote it and however.
CREATE FUNCTION accounts.enter_audit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO accounts.audit_pending (org_id, audit_id) VALUES (NEW.org_id, NEW.audit_id);
  RETURN NULL;
END $$;

-- keep_audit refuses changes, of the owner too. Rows leave through the functions of
-- aiaas_notary only.
CREATE FUNCTION accounts.keep_audit() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'DELETE' AND current_user = 'aiaas_notary' THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;

-- prune_audit removes sealed records that are older than p_keep, never those of the
-- last year, and returns how many. Nothing of an organisation on hold.
CREATE FUNCTION accounts.prune_audit(p_org text, p_ids text[], p_keep interval) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE n bigint;
BEGIN
  IF accounts.audit_held(p_org) THEN
    RETURN 0;
  END IF;
  DELETE FROM accounts.audit_records r
   WHERE r.org_id = p_org AND r.audit_id = ANY (p_ids) AND r.at < now() - greatest(p_keep, interval '1 year')
     AND NOT EXISTS (SELECT FROM accounts.audit_pending p WHERE p.org_id = r.org_id AND p.audit_id = r.audit_id);
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END $$;

-- +goose StatementEnd
CREATE TRIGGER enter_audit AFTER INSERT ON accounts.audit_records
  FOR EACH ROW EXECUTE FUNCTION accounts.enter_audit();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON accounts.audit_records
  FOR EACH ROW EXECUTE FUNCTION accounts.keep_audit();
CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON accounts.audit_records
  FOR EACH STATEMENT EXECUTE FUNCTION accounts.keep_audit();

-- What was recorded before there were chains.
INSERT INTO accounts.audit_pending (org_id, audit_id) SELECT org_id, audit_id FROM accounts.audit_records;

-- The chains: one for each organisation, and for what belongs to none. A row's hash
-- covers its record and the hash of the row before it.
CREATE TABLE accounts.audit_chain (
  org_id    text NOT NULL,
  seq       bigint NOT NULL CHECK (seq > 0), -- from 1, without gaps
  version   smallint NOT NULL, -- of what the hash covers
  source    text NOT NULL CHECK (source IN ('accounts', 'router', 'analytics')), -- the schema that has the record
  audit_id  text NOT NULL,
  at        timestamptz NOT NULL, -- the record's
  prev      bytea NOT NULL CHECK (length(prev) = 32),
  hash      bytea NOT NULL CHECK (length(hash) = 32),
  sealed_at timestamptz NOT NULL,
  PRIMARY KEY (org_id, seq),
  UNIQUE (org_id, source, audit_id)
);

-- The end of each chain. Who seals holds the row. head_seq is how far signed heads
-- in the file store cover it.
CREATE TABLE accounts.audit_chains (
  org_id   text PRIMARY KEY,
  seq      bigint NOT NULL DEFAULT 0,
  hash     bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex') CHECK (length(hash) = 32),
  head_seq bigint NOT NULL DEFAULT 0,
  head_at  timestamptz,
  -- A chain whose head can't be stored is tried again later, and after the others.
  head_failures int NOT NULL DEFAULT 0,
  head_retry_at timestamptz
);

-- The public keys that have signed heads and checkpoints: a process whose keys do
-- not have them all has lost one, or stands before a database that is not its own.
CREATE TABLE accounts.audit_keys (
  key_id     text PRIMARY KEY,
  public_key text NOT NULL, -- Ed25519, in base64
  since      timestamptz NOT NULL DEFAULT now()
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON accounts.audit_keys
  FOR EACH ROW EXECUTE FUNCTION accounts.keep_audit();
CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON accounts.audit_keys
  FOR EACH STATEMENT EXECUTE FUNCTION accounts.keep_audit();

-- Where a chain begins after what is past its retention was removed.
CREATE TABLE accounts.audit_checkpoints (
  org_id    text NOT NULL,
  seq       bigint NOT NULL CHECK (seq > 0), -- the last that was removed
  body      bytea NOT NULL, -- the signed checkpoint as it stands in the file store
  at        timestamptz NOT NULL,
  PRIMARY KEY (org_id, seq)
);

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['audit_chain', 'audit_chains', 'audit_checkpoints'] LOOP
    EXECUTE format('ALTER TABLE accounts.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE accounts.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format($p$CREATE POLICY auditor ON accounts.%I TO aiaas_auditor
      USING (org_id = coalesce(nullif(current_setting('app.org_id', true), ''), org_id))
      WITH CHECK (org_id = coalesce(nullif(current_setting('app.org_id', true), ''), org_id))$p$, t);
    EXECUTE format('CREATE POLICY notary ON accounts.%I TO aiaas_notary USING (true) WITH CHECK (true)', t);
    CONTINUE WHEN t = 'audit_chains';
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON accounts.%I FOR EACH ROW EXECUTE FUNCTION accounts.keep_audit()', t);
    EXECUTE format('CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON accounts.%I FOR EACH STATEMENT EXECUTE FUNCTION accounts.keep_audit()', t);
  END LOOP;
END $$;
-- +goose StatementEnd
GRANT SELECT, INSERT ON accounts.audit_chain, accounts.audit_checkpoints TO aiaas_auditor;
GRANT SELECT, INSERT ON accounts.audit_keys TO aiaas_auditor;
GRANT SELECT, INSERT, UPDATE (seq, hash, head_seq, head_at, head_failures, head_retry_at) ON accounts.audit_chains TO aiaas_auditor;
GRANT SELECT, DELETE ON accounts.audit_chain TO aiaas_notary;
GRANT SELECT ON accounts.audit_checkpoints, accounts.organizations TO aiaas_notary;
CREATE POLICY notary ON accounts.organizations FOR SELECT TO aiaas_notary USING (true);

-- +goose StatementBegin

-- audit_held tells whether an organisation's records must be kept, however old.
CREATE FUNCTION accounts.audit_held(p_org text) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN EXISTS (SELECT FROM accounts.organizations o WHERE o.org_id = p_org AND o.legal_hold);
END $$;

-- audit_owner tells whether there is an organisation of that id.
CREATE FUNCTION accounts.audit_owner(p_org text) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN EXISTS (SELECT FROM accounts.organizations o WHERE o.org_id = p_org);
END $$;

-- prune_audit_chain removes rows up to p_seq, which a checkpoint must cover, under
-- the same conditions as their records, and returns how many.
CREATE FUNCTION accounts.prune_audit_chain(p_org text, p_seq bigint, p_keep interval) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE n bigint;
BEGIN
  IF accounts.audit_held(p_org) THEN
    RETURN 0;
  END IF;
  DELETE FROM accounts.audit_chain c
   WHERE c.org_id = p_org AND c.seq <= p_seq
     AND greatest(c.at, c.sealed_at) < now() - greatest(p_keep, interval '1 year')
     AND EXISTS (SELECT FROM accounts.audit_checkpoints k WHERE k.org_id = p_org AND k.seq >= p_seq);
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END $$;
-- +goose StatementEnd

GRANT CREATE ON SCHEMA accounts TO aiaas_notary;
ALTER FUNCTION accounts.enter_audit() OWNER TO aiaas_notary;
ALTER FUNCTION accounts.prune_audit(text, text[], interval) OWNER TO aiaas_notary;
ALTER FUNCTION accounts.audit_held(text) OWNER TO aiaas_notary;
ALTER FUNCTION accounts.audit_owner(text) OWNER TO aiaas_notary;
ALTER FUNCTION accounts.prune_audit_chain(text, bigint, interval) OWNER TO aiaas_notary;
REVOKE CREATE ON SCHEMA accounts FROM aiaas_notary;
REVOKE ALL ON FUNCTION accounts.enter_audit(), accounts.prune_audit(text, text[], interval), accounts.audit_held(text), accounts.audit_owner(text), accounts.prune_audit_chain(text, bigint, interval), accounts.keep_audit() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION accounts.prune_audit(text, text[], interval), accounts.audit_held(text), accounts.audit_owner(text), accounts.prune_audit_chain(text, bigint, interval) TO aiaas_auditor;
