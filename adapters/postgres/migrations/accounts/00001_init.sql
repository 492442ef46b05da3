-- The schema of the service "accounts": who may call, and on whose account.
-- Every table with org_id is guarded by row-level security, forced on its owner
-- too. Request roles see one organisation at a time, named per transaction by
-- set_config('app.org_id', …, true).

-- +goose Up
-- +goose StatementBegin
DO $$
DECLARE r text;
BEGIN
  -- Roles belong to the cluster: other schemas and other databases may have made
  -- them before, or at this moment.
  FOREACH r IN ARRAY ARRAY['aiaas_gateway', 'aiaas_accounts', 'aiaas_lookup'] LOOP
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

GRANT USAGE ON SCHEMA accounts TO aiaas_gateway, aiaas_accounts, aiaas_lookup;

CREATE TABLE accounts.organizations (
  org_id              text PRIMARY KEY,
  name                text NOT NULL CHECK (name <> ''),
  status              text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'trial', 'closed')),
  plan                text NOT NULL DEFAULT 'starter',
  currency            text NOT NULL DEFAULT 'USD' CHECK (currency ~ '^[A-Z]{3}$'),
  time_zone           text NOT NULL DEFAULT 'UTC',
  price_book          text NOT NULL DEFAULT 'default',
  requests_per_minute bigint NOT NULL DEFAULT 0 CHECK (requests_per_minute >= 0), -- of the organisation; 0: none
  tokens_per_minute   bigint NOT NULL DEFAULT 0 CHECK (tokens_per_minute >= 0),
  concurrent_requests bigint NOT NULL DEFAULT 0 CHECK (concurrent_requests >= 0),
  key_requests_per_minute bigint NOT NULL DEFAULT 0 CHECK (key_requests_per_minute >= 0), -- default of its keys, by plan
  key_tokens_per_minute   bigint NOT NULL DEFAULT 0 CHECK (key_tokens_per_minute >= 0),
  key_concurrent_requests bigint NOT NULL DEFAULT 0 CHECK (key_concurrent_requests >= 0),
  created_at          timestamptz NOT NULL
);

CREATE TABLE accounts.projects (
  org_id              text NOT NULL REFERENCES accounts.organizations,
  project_id          text NOT NULL,
  name                text NOT NULL CHECK (name <> ''),
  requests_per_minute bigint NOT NULL DEFAULT 0 CHECK (requests_per_minute >= 0),
  tokens_per_minute   bigint NOT NULL DEFAULT 0 CHECK (tokens_per_minute >= 0),
  concurrent_requests bigint NOT NULL DEFAULT 0 CHECK (concurrent_requests >= 0),
  created_at          timestamptz NOT NULL,
  PRIMARY KEY (org_id, project_id)
);

-- People exist beside organisations: one may be a member of several.
CREATE TABLE accounts.users (
  user_id    text PRIMARY KEY,
  email      text NOT NULL,
  name       text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX users_email ON accounts.users (lower(email));

CREATE TABLE accounts.members (
  org_id     text NOT NULL REFERENCES accounts.organizations,
  user_id    text NOT NULL REFERENCES accounts.users,
  role       text NOT NULL CHECK (role IN ('owner', 'admin', 'finance', 'manager', 'analyst', 'developer')),
  created_at timestamptz NOT NULL,
  PRIMARY KEY (org_id, user_id)
);

CREATE TABLE accounts.api_keys (
  org_id              text NOT NULL REFERENCES accounts.organizations,
  key_id              text NOT NULL,
  project_id          text NOT NULL,
  name                text NOT NULL CHECK (name <> ''),
  environment         text NOT NULL CHECK (environment IN ('production', 'development')),
  hash                bytea NOT NULL CHECK (length(hash) = 32), -- SHA-256 of the secret; the secret is nowhere
  fingerprint         text NOT NULL,
  scopes              text[] NOT NULL,
  models              text[], -- null: every model the organisation may use
  requests_per_minute bigint CHECK (requests_per_minute >= 0), -- null: the plan's default
  tokens_per_minute   bigint CHECK (tokens_per_minute >= 0),
  concurrent_requests bigint CHECK (concurrent_requests >= 0),
  expires_at          timestamptz,
  revoked_at          timestamptz,
  created_by          text NOT NULL,
  created_at          timestamptz NOT NULL,
  PRIMARY KEY (org_id, key_id),
  FOREIGN KEY (org_id, project_id) REFERENCES accounts.projects
);
CREATE UNIQUE INDEX api_keys_hash ON accounts.api_keys (hash);

CREATE TABLE accounts.audit_records (
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
  FOREACH t IN ARRAY ARRAY['organizations', 'projects', 'members', 'api_keys', 'audit_records'] LOOP
    EXECUTE format('ALTER TABLE accounts.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE accounts.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format($p$CREATE POLICY own_organization ON accounts.%I TO aiaas_accounts
      USING (org_id = nullif(current_setting('app.org_id', true), ''))
      WITH CHECK (org_id = nullif(current_setting('app.org_id', true), ''))$p$, t);
  END LOOP;
END $$;
-- +goose StatementEnd

GRANT SELECT, INSERT, UPDATE ON accounts.organizations, accounts.projects, accounts.users, accounts.members TO aiaas_accounts;
GRANT SELECT, INSERT ON accounts.api_keys TO aiaas_accounts;
GRANT UPDATE (revoked_at) ON accounts.api_keys TO aiaas_accounts;
GRANT SELECT, INSERT ON accounts.audit_records TO aiaas_accounts; -- append-only

-- The look-up before the organisation is known. It runs as a role that can read
-- these three tables and nothing else, and returns the one row of the hash.
GRANT SELECT ON accounts.organizations, accounts.projects, accounts.api_keys TO aiaas_lookup;
CREATE POLICY lookup ON accounts.organizations FOR SELECT TO aiaas_lookup USING (true);
CREATE POLICY lookup ON accounts.projects FOR SELECT TO aiaas_lookup USING (true);
CREATE POLICY lookup ON accounts.api_keys FOR SELECT TO aiaas_lookup USING (true);

-- +goose StatementBegin
CREATE FUNCTION accounts.lookup_key(p_hash bytea)
RETURNS TABLE (
  key_id text, org_id text, project_id text, scopes text[], models text[],
  expires_at timestamptz, revoked boolean, org_status text,
  currency text, time_zone text, price_book text,
  key_rpm bigint, key_tpm bigint, key_concurrent bigint,
  project_rpm bigint, project_tpm bigint, project_concurrent bigint,
  org_rpm bigint, org_tpm bigint, org_concurrent bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT k.key_id, k.org_id, k.project_id, k.scopes, k.models,
         k.expires_at, k.revoked_at IS NOT NULL, o.status,
         o.currency, o.time_zone, o.price_book,
         coalesce(k.requests_per_minute, o.key_requests_per_minute),
         coalesce(k.tokens_per_minute, o.key_tokens_per_minute),
         coalesce(k.concurrent_requests, o.key_concurrent_requests),
         p.requests_per_minute, p.tokens_per_minute, p.concurrent_requests,
         o.requests_per_minute, o.tokens_per_minute, o.concurrent_requests
    FROM accounts.api_keys k
    JOIN accounts.organizations o ON o.org_id = k.org_id
    JOIN accounts.projects p ON p.org_id = k.org_id AND p.project_id = k.project_id
   WHERE k.hash = p_hash
$$;
-- +goose StatementEnd
GRANT CREATE ON SCHEMA accounts TO aiaas_lookup;
ALTER FUNCTION accounts.lookup_key(bytea) OWNER TO aiaas_lookup;
REVOKE CREATE ON SCHEMA accounts FROM aiaas_lookup;
REVOKE ALL ON FUNCTION accounts.lookup_key(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION accounts.lookup_key(bytea) TO aiaas_gateway, aiaas_accounts;
