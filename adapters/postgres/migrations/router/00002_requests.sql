-- What the data plane keeps about requests besides their usage: the access log of
-- those that left no usage, and the claims of idempotency keys.

-- +goose Up
-- +goose StatementBegin
DO $$
BEGIN
  BEGIN
    CREATE ROLE aiaas_journal NOLOGIN;
  EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
  END;
  -- As for the other roles in 00001.
  IF current_setting('server_version_num')::int < 160000 THEN
    IF NOT pg_has_role(current_user, 'aiaas_journal', 'MEMBER') THEN
      GRANT aiaas_journal TO CURRENT_USER;
    END IF;
  ELSIF NOT (pg_has_role(current_user, 'aiaas_journal', 'SET') AND pg_has_role(current_user, 'aiaas_journal', 'USAGE')) THEN
    EXECUTE 'GRANT aiaas_journal TO CURRENT_USER WITH INHERIT TRUE, SET TRUE';
  END IF;
END $$;
-- +goose StatementEnd

-- aiaas_journal owns the functions below; nobody signs in as it.
GRANT USAGE ON SCHEMA router TO aiaas_journal;

-- Requests that left no usage: denials, errors, look-ups. Storms stand in one row
-- with their count. Requests that were served stand in the usage.
CREATE TABLE router.access_log (
  org_id         text NOT NULL,
  request_id     text NOT NULL,
  at             timestamptz NOT NULL,
  last_at        timestamptz NOT NULL, -- of the last one, where count > 1
  count          bigint NOT NULL DEFAULT 1 CHECK (count > 0),
  api_key_id     text NOT NULL,
  project_id     text NOT NULL,
  model          text NOT NULL, -- '' where it is not known
  endpoint       text NOT NULL,
  status         integer NOT NULL,
  code           text NOT NULL, -- of the fault; '' where there was none
  detail         text NOT NULL, -- what the caller was told
  source_address text NOT NULL,
  user_agent     text NOT NULL,
  PRIMARY KEY (org_id, request_id)
);
CREATE INDEX access_log_at ON router.access_log (at);

-- A running claim has no cost and no answer. Bodies are known by a MAC, answers
-- are sealed; the keys of both follow from secrets that are not in the database.
CREATE TABLE router.idempotency_claims (
  org_id      text NOT NULL,
  api_key_id  text NOT NULL,
  key_hash    bytea NOT NULL CHECK (length(key_hash) = 32),
  request_id  text NOT NULL,
  mac         bytea NOT NULL,
  epoch       bigint NOT NULL,
  done        boolean NOT NULL DEFAULT false,
  cost_nano   bigint NOT NULL DEFAULT 0,
  currency    text NOT NULL DEFAULT '',
  answer      bytea,
  stream      boolean NOT NULL DEFAULT false,
  claimed_at  timestamptz NOT NULL DEFAULT now(),
  done_at     timestamptz,
  PRIMARY KEY (org_id, api_key_id, key_hash),
  CHECK (done = (done_at IS NOT NULL))
);
CREATE INDEX idempotency_claims_age ON router.idempotency_claims (coalesce(done_at, claimed_at));

ALTER TABLE router.access_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE router.access_log FORCE ROW LEVEL SECURITY;
ALTER TABLE router.idempotency_claims ENABLE ROW LEVEL SECURITY;
ALTER TABLE router.idempotency_claims FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON router.access_log FOR SELECT TO aiaas_router
  USING (org_id = nullif(current_setting('app.org_id', true), ''));
CREATE POLICY journal ON router.access_log TO aiaas_journal USING (true) WITH CHECK (true);
CREATE POLICY journal ON router.idempotency_claims TO aiaas_journal USING (true) WITH CHECK (true);
GRANT SELECT ON router.access_log TO aiaas_router;
GRANT SELECT, INSERT, DELETE, UPDATE (count, last_at) ON router.access_log TO aiaas_journal;
GRANT SELECT, INSERT, UPDATE, DELETE ON router.idempotency_claims TO aiaas_journal;

-- +goose StatementBegin

-- log_requests writes lines; one that is there already is a storm that went on.
CREATE FUNCTION router.log_requests(
  p_orgs text[], p_requests text[], p_at timestamptz[], p_last timestamptz[], p_counts bigint[], p_keys text[], p_projects text[],
  p_models text[], p_endpoints text[], p_statuses integer[], p_codes text[], p_details text[], p_addresses text[], p_agents text[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO router.access_log AS l (org_id, request_id, at, last_at, count, api_key_id, project_id, model, endpoint, status, code, detail,
    source_address, user_agent)
  SELECT * FROM unnest(p_orgs, p_requests, p_at, p_last, p_counts, p_keys, p_projects, p_models, p_endpoints, p_statuses, p_codes, p_details,
    p_addresses, p_agents)
  ON CONFLICT (org_id, request_id) DO UPDATE SET count = l.count + excluded.count, last_at = greatest(l.last_at, excluded.last_at)
$$;

-- claim_idempotency stores a claim where the name is free, and returns nothing;
-- else what stands there. A finished claim older than p_ttl is as good as gone.
CREATE FUNCTION router.claim_idempotency(
  p_org text, p_key text, p_hash bytea, p_request text, p_mac bytea, p_epoch bigint, p_ttl interval)
RETURNS TABLE (request_id text, mac bytea, epoch bigint, done boolean, cost_nano bigint, currency text, answer bytea, stream boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  DELETE FROM router.idempotency_claims c
   WHERE c.org_id = p_org AND c.api_key_id = p_key AND c.key_hash = p_hash AND c.done_at < now() - p_ttl;
  INSERT INTO router.idempotency_claims (org_id, api_key_id, key_hash, request_id, mac, epoch)
  VALUES (p_org, p_key, p_hash, p_request, p_mac, p_epoch) ON CONFLICT DO NOTHING;
  IF FOUND THEN
    RETURN;
  END IF;
  RETURN QUERY SELECT c.request_id, c.mac, c.epoch, c.done, c.cost_nano, c.currency, c.answer, c.stream
    FROM router.idempotency_claims c WHERE c.org_id = p_org AND c.api_key_id = p_key AND c.key_hash = p_hash;
  IF NOT FOUND THEN -- released between the two statements
    RAISE EXCEPTION 'the claim has just been released' USING ERRCODE = 'serialization_failure';
  END IF;
END $$;

CREATE FUNCTION router.retake_idempotency(
  p_org text, p_key text, p_hash bytea, p_old text, p_request text, p_mac bytea, p_epoch bigint) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH taken AS (
    UPDATE router.idempotency_claims SET request_id = p_request, mac = p_mac, epoch = p_epoch, claimed_at = now()
     WHERE org_id = p_org AND api_key_id = p_key AND key_hash = p_hash AND request_id = p_old AND NOT done
    RETURNING 1)
  SELECT EXISTS (SELECT FROM taken)
$$;

CREATE FUNCTION router.finish_idempotency(
  p_org text, p_key text, p_hash bytea, p_request text, p_cost bigint, p_currency text, p_answer bytea, p_stream boolean) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE router.idempotency_claims SET done = true, done_at = now(), cost_nano = p_cost, currency = p_currency, answer = p_answer, stream = p_stream
   WHERE org_id = p_org AND api_key_id = p_key AND key_hash = p_hash AND request_id = p_request AND NOT done
$$;

CREATE FUNCTION router.release_idempotency(p_org text, p_key text, p_hash bytea, p_request text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  DELETE FROM router.idempotency_claims
   WHERE org_id = p_org AND api_key_id = p_key AND key_hash = p_hash AND request_id = p_request AND NOT done
$$;

-- prune_requests removes what is kept no longer, at most so many rows of each, and
-- returns how many it removed. Never less than a day is kept.
CREATE FUNCTION router.prune_requests(p_log interval, p_claims interval, p_most integer)
RETURNS TABLE (log_lines bigint, claims bigint)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH old_lines AS (
    DELETE FROM router.access_log WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM router.access_log WHERE at < now() - greatest(p_log, interval '1 day') ORDER BY at LIMIT p_most))
    RETURNING 1
  ), old_claims AS (
    DELETE FROM router.idempotency_claims WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM router.idempotency_claims WHERE coalesce(done_at, claimed_at) < now() - greatest(p_claims, interval '1 day')
         AND (done OR claimed_at < now() - interval '7 days') -- one whose process died, and that nobody asked for again
       ORDER BY coalesce(done_at, claimed_at) LIMIT p_most))
    RETURNING 1
  )
  SELECT (SELECT count(*) FROM old_lines), (SELECT count(*) FROM old_claims)
$$;
-- +goose StatementEnd

GRANT CREATE ON SCHEMA router TO aiaas_journal;
ALTER FUNCTION router.log_requests(text[], text[], timestamptz[], timestamptz[], bigint[], text[], text[], text[], text[], integer[], text[], text[], text[], text[])
  OWNER TO aiaas_journal;
ALTER FUNCTION router.claim_idempotency(text, text, bytea, text, bytea, bigint, interval) OWNER TO aiaas_journal;
ALTER FUNCTION router.retake_idempotency(text, text, bytea, text, text, bytea, bigint) OWNER TO aiaas_journal;
ALTER FUNCTION router.finish_idempotency(text, text, bytea, text, bigint, text, bytea, boolean) OWNER TO aiaas_journal;
ALTER FUNCTION router.release_idempotency(text, text, bytea, text) OWNER TO aiaas_journal;
ALTER FUNCTION router.prune_requests(interval, interval, integer) OWNER TO aiaas_journal;
REVOKE CREATE ON SCHEMA router FROM aiaas_journal;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA router FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
  router.log_requests(text[], text[], timestamptz[], timestamptz[], bigint[], text[], text[], text[], text[], integer[], text[], text[], text[], text[]),
  router.claim_idempotency(text, text, bytea, text, bytea, bigint, interval),
  router.retake_idempotency(text, text, bytea, text, text, bytea, bigint),
  router.finish_idempotency(text, text, bytea, text, bigint, text, bytea, boolean),
  router.release_idempotency(text, text, bytea, text) TO aiaas_gateway;
GRANT EXECUTE ON FUNCTION router.prune_requests(interval, interval, integer) TO aiaas_router;
