-- Organisations with plans, people and programs with roles, projects as teams, and
-- keys that belong to somebody.

-- +goose Up
-- +goose StatementBegin
DO $$
DECLARE r text;
BEGIN
  FOREACH r IN ARRAY ARRAY['aiaas_tenants'] LOOP
    BEGIN
      EXECUTE format('CREATE ROLE %I NOLOGIN', r);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END;
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

-- aiaas_tenants  spans organisations: the platform's administration of them
GRANT USAGE ON SCHEMA accounts TO aiaas_tenants;

-- What there is already is changed below; the owner of the tables may be bound by
-- their policies, and has none of his own.
ALTER TABLE accounts.organizations NO FORCE ROW LEVEL SECURITY;
ALTER TABLE accounts.members NO FORCE ROW LEVEL SECURITY;
ALTER TABLE accounts.api_keys NO FORCE ROW LEVEL SECURITY;

-- Named sets of limits. What an organisation sets itself goes before its plan.
CREATE TABLE accounts.plans (
  plan_id                 text PRIMARY KEY CHECK (plan_id ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
  name                    text NOT NULL CHECK (name <> ''),
  requests_per_minute     bigint NOT NULL DEFAULT 0 CHECK (requests_per_minute >= 0), -- of the organisation; 0: none
  tokens_per_minute       bigint NOT NULL DEFAULT 0 CHECK (tokens_per_minute >= 0),
  concurrent_requests     bigint NOT NULL DEFAULT 0 CHECK (concurrent_requests >= 0),
  key_requests_per_minute bigint NOT NULL DEFAULT 0 CHECK (key_requests_per_minute >= 0), -- of each of its keys
  key_tokens_per_minute   bigint NOT NULL DEFAULT 0 CHECK (key_tokens_per_minute >= 0),
  key_concurrent_requests bigint NOT NULL DEFAULT 0 CHECK (key_concurrent_requests >= 0),
  max_members             bigint NOT NULL DEFAULT 0 CHECK (max_members >= 0), -- 0: any number
  max_projects            bigint NOT NULL DEFAULT 0 CHECK (max_projects >= 0),
  max_keys                bigint NOT NULL DEFAULT 0 CHECK (max_keys >= 0), -- that work
  created_at              timestamptz NOT NULL DEFAULT now(),
  updated_at              timestamptz NOT NULL DEFAULT now()
);
INSERT INTO accounts.plans (plan_id, name, requests_per_minute, concurrent_requests, key_requests_per_minute, key_concurrent_requests, max_members, max_projects, max_keys) VALUES
  ('starter', 'Starter', 0, 0, 100, 10, 25, 10, 100),
  ('business', 'Business', 10000, 500, 1000, 100, 500, 200, 2000),
  ('selfhosted', 'Self-hosted', 0, 0, 0, 0, 0, 0, 0);

ALTER TABLE accounts.organizations
  ADD COLUMN slug            text CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  ADD COLUMN kind            text NOT NULL DEFAULT 'tenant' CHECK (kind IN ('tenant', 'platform')),
  ADD COLUMN status_reason   text NOT NULL DEFAULT '',
  ADD COLUMN status_at       timestamptz,
  ADD COLUMN trial_ends_at   timestamptz, -- of a trial; null: it has no end
  ADD COLUMN contacts        jsonb NOT NULL DEFAULT '{}', -- {"billing": e-mail, "security", "technical"}
  ADD COLUMN settings        jsonb NOT NULL DEFAULT '{}', -- restrictions and preferences, as package tenant reads them
  ADD COLUMN allowed_models  text[], -- null: every model that is open to all
  ADD COLUMN granted_models  text[] NOT NULL DEFAULT '{}', -- models that are not open to all
  ADD COLUMN legal_hold      boolean NOT NULL DEFAULT false, -- nothing of it is pruned
  ADD COLUMN updated_at      timestamptz;
UPDATE accounts.organizations SET slug = 'org-' || right(org_id, 12) WHERE slug IS NULL;
UPDATE accounts.organizations o SET kind = 'platform'
 WHERE EXISTS (SELECT FROM accounts.api_keys k WHERE k.org_id = o.org_id AND k.scopes @> ARRAY['platform']);
ALTER TABLE accounts.organizations ALTER COLUMN slug SET DEFAULT 'org-' || substr(replace(gen_random_uuid()::text, '-', ''), 1, 20);
ALTER TABLE accounts.organizations ALTER COLUMN slug SET NOT NULL;
CREATE UNIQUE INDEX organizations_slug ON accounts.organizations (slug);
-- Plans that were names only until now.
INSERT INTO accounts.plans (plan_id, name) SELECT DISTINCT plan, plan FROM accounts.organizations ON CONFLICT DO NOTHING;
ALTER TABLE accounts.organizations ADD FOREIGN KEY (plan) REFERENCES accounts.plans;
-- From now on null takes the plan's value; what was set, stays.
ALTER TABLE accounts.organizations
  ALTER COLUMN requests_per_minute DROP NOT NULL, ALTER COLUMN requests_per_minute DROP DEFAULT,
  ALTER COLUMN tokens_per_minute DROP NOT NULL, ALTER COLUMN tokens_per_minute DROP DEFAULT,
  ALTER COLUMN concurrent_requests DROP NOT NULL, ALTER COLUMN concurrent_requests DROP DEFAULT,
  ALTER COLUMN key_requests_per_minute DROP NOT NULL, ALTER COLUMN key_requests_per_minute DROP DEFAULT,
  ALTER COLUMN key_tokens_per_minute DROP NOT NULL, ALTER COLUMN key_tokens_per_minute DROP DEFAULT,
  ALTER COLUMN key_concurrent_requests DROP NOT NULL, ALTER COLUMN key_concurrent_requests DROP DEFAULT;
UPDATE accounts.organizations SET
  requests_per_minute = nullif(requests_per_minute, 0), tokens_per_minute = nullif(tokens_per_minute, 0),
  concurrent_requests = nullif(concurrent_requests, 0);
UPDATE accounts.organizations o SET
  key_requests_per_minute = nullif(o.key_requests_per_minute, p.key_requests_per_minute),
  key_tokens_per_minute = nullif(o.key_tokens_per_minute, p.key_tokens_per_minute),
  key_concurrent_requests = nullif(o.key_concurrent_requests, p.key_concurrent_requests)
  FROM accounts.plans p WHERE p.plan_id = o.plan;

ALTER TABLE accounts.projects
  ADD COLUMN description text NOT NULL DEFAULT '',
  ADD COLUMN models      text[], -- null: what the organisation may use
  ADD COLUMN archived_at timestamptz,
  ADD COLUMN updated_at  timestamptz;

-- Roles that an organisation makes of the permissions there are.
CREATE TABLE accounts.roles (
  org_id      text NOT NULL REFERENCES accounts.organizations,
  role_id     text NOT NULL,
  name        text NOT NULL CHECK (name <> ''),
  description text NOT NULL DEFAULT '',
  permissions text[] NOT NULL,
  reach       text NOT NULL CHECK (reach IN ('organization', 'projects', 'own')),
  created_by  text NOT NULL,
  created_at  timestamptz NOT NULL,
  updated_at  timestamptz NOT NULL,
  PRIMARY KEY (org_id, role_id)
);
CREATE UNIQUE INDEX roles_name ON accounts.roles (org_id, lower(name));

-- role is a built-in one, or the id of one of the organisation's own.
ALTER TABLE accounts.members DROP CONSTRAINT members_role_check;
ALTER TABLE accounts.members
  ADD COLUMN status        text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
  ADD COLUMN status_reason text NOT NULL DEFAULT '',
  ADD COLUMN added_by      text NOT NULL DEFAULT '',
  ADD COLUMN updated_at    timestamptz;
-- The name that the organisation knows a person by, and the spelling of addresses:
-- what one types for an e-mail address is no business of the others who know it.
ALTER TABLE accounts.members ADD COLUMN name text NOT NULL DEFAULT '';
UPDATE accounts.members m SET name = u.name FROM accounts.users u WHERE u.user_id = m.user_id;
UPDATE accounts.users SET email = lower(email) WHERE email <> lower(email);
ALTER TABLE accounts.users ADD CONSTRAINT users_email_small CHECK (email = lower(email));
UPDATE accounts.members m SET role = 'system_administrator'
  FROM accounts.organizations o WHERE o.org_id = m.org_id AND o.kind = 'platform';
ALTER TABLE accounts.members ADD CONSTRAINT members_role CHECK (role IN
  ('owner', 'admin', 'finance', 'manager', 'analyst', 'developer', 'system_administrator', 'security', 'operations', 'architect', 'support')
  OR role LIKE 'role\_%');

-- Programs that act for an organisation.
CREATE TABLE accounts.service_accounts (
  org_id      text NOT NULL REFERENCES accounts.organizations,
  account_id  text NOT NULL,
  name        text NOT NULL CHECK (name <> ''),
  description text NOT NULL DEFAULT '',
  role        text NOT NULL CHECK (role IN
    ('owner', 'admin', 'finance', 'manager', 'analyst', 'developer', 'system_administrator', 'security', 'operations', 'architect', 'support')
    OR role LIKE 'role\_%'),
  status      text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'deleted')),
  created_by  text NOT NULL,
  created_at  timestamptz NOT NULL,
  updated_at  timestamptz NOT NULL,
  PRIMARY KEY (org_id, account_id)
);
CREATE UNIQUE INDEX service_accounts_name ON accounts.service_accounts (org_id, lower(name)) WHERE status <> 'deleted';

-- Who belongs to a project: members and service accounts.
CREATE TABLE accounts.project_members (
  org_id     text NOT NULL,
  project_id text NOT NULL,
  member_id  text NOT NULL, -- "user_…" or "sa_…"
  role       text NOT NULL CHECK (role IN ('manager', 'developer', 'viewer')),
  added_by   text NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (org_id, project_id, member_id),
  FOREIGN KEY (org_id, project_id) REFERENCES accounts.projects
);
CREATE INDEX project_members_member ON accounts.project_members (org_id, member_id);

ALTER TABLE accounts.api_keys
  ADD COLUMN kind             text NOT NULL DEFAULT 'personal' CHECK (kind IN ('personal', 'service')),
  ADD COLUMN owner_id         text, -- the member or service account that it acts for
  ADD COLUMN ip_allow         cidr[] NOT NULL DEFAULT '{}', -- where it may be used from; none: anywhere
  ADD COLUMN secret_at        timestamptz, -- since when its secret is the one it has
  ADD COLUMN secret_by        text[], -- who may have seen that secret: members and service accounts
  ADD COLUMN rotate_by        timestamptz, -- when its secret is due to be changed
  ADD COLUMN suspended_at     timestamptz,
  ADD COLUMN revoked_reason   text NOT NULL DEFAULT '',
  ADD COLUMN last_used_at     timestamptz, -- within some minutes
  ADD COLUMN last_used_from   text NOT NULL DEFAULT '';
UPDATE accounts.api_keys k SET
  secret_at = created_at,
  rotate_by = created_at + CASE environment WHEN 'production' THEN interval '90 days' ELSE interval '180 days' END,
  owner_id = (SELECT m.user_id FROM accounts.members m WHERE m.org_id = k.org_id AND m.role IN ('owner', 'system_administrator')
              ORDER BY m.created_at, m.user_id LIMIT 1);
-- Keys of an organisation without people act for a program of their own.
INSERT INTO accounts.service_accounts (org_id, account_id, name, role, created_by, created_at, updated_at)
SELECT o.org_id, 'sa_' || substr(o.org_id, 5), 'Keys from before', CASE o.kind WHEN 'platform' THEN 'system_administrator' ELSE 'owner' END, 'migration', now(), now()
  FROM accounts.organizations o WHERE EXISTS (SELECT FROM accounts.api_keys k WHERE k.org_id = o.org_id AND k.owner_id IS NULL);
UPDATE accounts.api_keys SET kind = 'service', owner_id = 'sa_' || substr(org_id, 5) WHERE owner_id IS NULL;
UPDATE accounts.api_keys SET secret_by = ARRAY[owner_id];
ALTER TABLE accounts.api_keys ALTER COLUMN owner_id SET NOT NULL, ALTER COLUMN secret_at SET NOT NULL, ALTER COLUMN secret_by SET NOT NULL;
CREATE INDEX api_keys_owner ON accounts.api_keys (org_id, owner_id);
CREATE INDEX api_keys_rotate ON accounts.api_keys (rotate_by) WHERE revoked_at IS NULL;

-- A secret that was replaced and still works for a while.
CREATE TABLE accounts.api_key_overlaps (
  org_id      text NOT NULL,
  key_id      text NOT NULL,
  hash        bytea NOT NULL CHECK (length(hash) = 32),
  fingerprint text NOT NULL,
  valid_until timestamptz NOT NULL,
  replaced_at timestamptz NOT NULL,
  secret_by   text[] NOT NULL, -- who may have seen it
  PRIMARY KEY (org_id, key_id, hash),
  FOREIGN KEY (org_id, key_id) REFERENCES accounts.api_keys
);
CREATE UNIQUE INDEX api_key_overlaps_hash ON accounts.api_key_overlaps (hash);

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['roles', 'service_accounts', 'project_members', 'api_key_overlaps'] LOOP
    EXECUTE format('ALTER TABLE accounts.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE accounts.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format($p$CREATE POLICY own_organization ON accounts.%I TO aiaas_accounts
      USING (org_id = nullif(current_setting('app.org_id', true), ''))
      WITH CHECK (org_id = nullif(current_setting('app.org_id', true), ''))$p$, t);
  END LOOP;
  -- People are seen by the organisations that they are members of.
  ALTER TABLE accounts.users ENABLE ROW LEVEL SECURITY;
  ALTER TABLE accounts.users FORCE ROW LEVEL SECURITY;
  CREATE POLICY own_members ON accounts.users FOR SELECT TO aiaas_accounts
    USING (EXISTS (SELECT FROM accounts.members m WHERE m.user_id = users.user_id
                    AND m.org_id = nullif(current_setting('app.org_id', true), '')));
  FOREACH t IN ARRAY ARRAY['organizations', 'projects', 'users', 'members', 'service_accounts', 'api_keys', 'api_key_overlaps', 'audit_records'] LOOP
    EXECUTE format('CREATE POLICY tenants ON accounts.%I TO aiaas_tenants USING (true) WITH CHECK (true)', t);
  END LOOP;
END $$;
-- +goose StatementEnd

REVOKE SELECT, INSERT, UPDATE ON accounts.users FROM aiaas_accounts;
GRANT SELECT (user_id, email) ON accounts.users TO aiaas_accounts; -- not since when he is known, nor his own name
REVOKE INSERT, UPDATE ON accounts.organizations FROM aiaas_accounts;
GRANT UPDATE (name, slug, contacts, settings, time_zone, status, status_reason, status_at, updated_at) ON accounts.organizations TO aiaas_accounts;
GRANT SELECT ON accounts.plans TO aiaas_accounts, aiaas_tenants;
GRANT DELETE ON accounts.members TO aiaas_accounts;
GRANT SELECT, INSERT, UPDATE, DELETE ON accounts.roles, accounts.project_members TO aiaas_accounts;
GRANT SELECT, INSERT, UPDATE ON accounts.service_accounts TO aiaas_accounts;
GRANT SELECT, INSERT, UPDATE, DELETE ON accounts.api_key_overlaps TO aiaas_accounts;
GRANT UPDATE (name, scopes, models, ip_allow, requests_per_minute, tokens_per_minute, concurrent_requests, expires_at, hash, fingerprint,
  secret_at, secret_by, rotate_by, suspended_at, revoked_at, revoked_reason) ON accounts.api_keys TO aiaas_accounts;

GRANT SELECT, INSERT, UPDATE ON accounts.organizations, accounts.plans TO aiaas_tenants;
GRANT SELECT, INSERT ON accounts.projects, accounts.users, accounts.members, accounts.service_accounts, accounts.audit_records TO aiaas_tenants;
GRANT UPDATE (role, status, status_reason, updated_at) ON accounts.members TO aiaas_tenants;
GRANT SELECT, INSERT ON accounts.api_keys TO aiaas_tenants;
GRANT UPDATE (revoked_at, revoked_reason, suspended_at) ON accounts.api_keys TO aiaas_tenants;
GRANT SELECT, DELETE ON accounts.api_key_overlaps TO aiaas_tenants;

-- Look-ups before an organisation is known, and over all of them: each returns the
-- least there is to know, under a role that can do no more.
GRANT SELECT ON accounts.plans, accounts.members, accounts.service_accounts, accounts.roles, accounts.project_members,
  accounts.api_key_overlaps, accounts.users TO aiaas_lookup;
GRANT INSERT (user_id, email, created_at) ON accounts.users TO aiaas_lookup;
GRANT UPDATE (last_used_at, last_used_from) ON accounts.api_keys TO aiaas_lookup;
-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['members', 'service_accounts', 'roles', 'project_members', 'api_key_overlaps'] LOOP
    EXECUTE format('CREATE POLICY lookup ON accounts.%I FOR SELECT TO aiaas_lookup USING (true)', t);
  END LOOP;
  CREATE POLICY lookup ON accounts.users TO aiaas_lookup USING (true) WITH CHECK (true);
  CREATE POLICY used ON accounts.api_keys FOR UPDATE TO aiaas_lookup USING (true) WITH CHECK (true);
END $$;
-- +goose StatementEnd

DROP FUNCTION accounts.lookup_key(bytea);
-- +goose StatementBegin
CREATE FUNCTION accounts.lookup_key(p_hash bytea)
RETURNS TABLE (
  key_id text, org_id text, project_id text, fingerprint text, scopes text[], models text[],
  expires_at timestamptz, secret_until timestamptz, revoked boolean, suspended boolean, ip_allow text[],
  owner_id text, owner_active boolean, role text, permissions text[], role_reach text, project_ids text[], project_roles text[],
  org_status text, trial_ends_at timestamptz, org_settings jsonb, allowed_models text[], granted_models text[], project_models text[],
  project_archived boolean, currency text, time_zone text, price_book text,
  key_rpm bigint, key_tpm bigint, key_concurrent bigint,
  project_rpm bigint, project_tpm bigint, project_concurrent bigint,
  org_rpm bigint, org_tpm bigint, org_concurrent bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  WITH found AS (
    SELECT k.org_id, k.key_id, k.fingerprint, NULL::timestamptz AS secret_until FROM accounts.api_keys k WHERE k.hash = p_hash
    UNION ALL
    SELECT v.org_id, v.key_id, v.fingerprint, v.valid_until FROM accounts.api_key_overlaps v WHERE v.hash = p_hash
    LIMIT 1
  )
  SELECT k.key_id, k.org_id, k.project_id, f.fingerprint, k.scopes, k.models,
         k.expires_at, f.secret_until, k.revoked_at IS NOT NULL, k.suspended_at IS NOT NULL, k.ip_allow::text[],
         k.owner_id, coalesce(m.status, s.status, 'gone') = 'active',
         CASE WHEN coalesce(m.role, s.role) LIKE 'role\_%' THEN 'custom' ELSE coalesce(m.role, s.role, '') END,
         r.permissions, r.reach, t.ids, t.roles,
         o.status, o.trial_ends_at, o.settings, o.allowed_models, o.granted_models, p.models,
         p.archived_at IS NOT NULL, o.currency, o.time_zone, o.price_book,
         coalesce(k.requests_per_minute, o.key_requests_per_minute, l.key_requests_per_minute),
         coalesce(k.tokens_per_minute, o.key_tokens_per_minute, l.key_tokens_per_minute),
         coalesce(k.concurrent_requests, o.key_concurrent_requests, l.key_concurrent_requests),
         p.requests_per_minute, p.tokens_per_minute, p.concurrent_requests,
         coalesce(o.requests_per_minute, l.requests_per_minute),
         coalesce(o.tokens_per_minute, l.tokens_per_minute),
         coalesce(o.concurrent_requests, l.concurrent_requests)
    FROM found f
    JOIN accounts.api_keys k ON k.org_id = f.org_id AND k.key_id = f.key_id
    JOIN accounts.organizations o ON o.org_id = k.org_id
    JOIN accounts.plans l ON l.plan_id = o.plan
    JOIN accounts.projects p ON p.org_id = k.org_id AND p.project_id = k.project_id
    LEFT JOIN accounts.members m ON m.org_id = k.org_id AND m.user_id = k.owner_id
    LEFT JOIN accounts.service_accounts s ON s.org_id = k.org_id AND s.account_id = k.owner_id
    LEFT JOIN accounts.roles r ON r.org_id = k.org_id AND r.role_id = coalesce(m.role, s.role)
    LEFT JOIN LATERAL (
      SELECT array_agg(x.project_id ORDER BY x.project_id) AS ids, array_agg(x.role ORDER BY x.project_id) AS roles
        FROM accounts.project_members x WHERE x.org_id = k.org_id AND x.member_id = k.owner_id) t ON true
$$;

-- ensure_user finds a person by e-mail address, or makes one.
CREATE FUNCTION accounts.ensure_user(p_id text, p_email text, p_at timestamptz) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE found_id text;
BEGIN
  INSERT INTO accounts.users (user_id, email, created_at) VALUES (p_id, lower(p_email), p_at)
    ON CONFLICT (lower(email)) DO NOTHING RETURNING user_id INTO found_id;
  IF found_id IS NULL THEN
    SELECT user_id INTO found_id FROM accounts.users WHERE lower(email) = lower(p_email);
  END IF;
  RETURN found_id;
END $$;

-- held_organizations are those of which nothing may be pruned, in no schema.
CREATE FUNCTION accounts.held_organizations() RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT org_id FROM accounts.organizations WHERE legal_hold $$;

CREATE FUNCTION accounts.founded() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT EXISTS (SELECT 1 FROM accounts.users) $$;

-- note_use remembers when keys were last used, and from where; within some minutes,
-- for it must not cost a write each time.
CREATE FUNCTION accounts.note_use(p_orgs text[], p_keys text[], p_at timestamptz[], p_from text[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE accounts.api_keys k SET last_used_at = u.at, last_used_from = u.origin
    FROM (SELECT DISTINCT ON (org_id, key_id) * FROM unnest(p_orgs, p_keys, p_at, p_from) AS x(org_id, key_id, at, origin)
           ORDER BY org_id, key_id, at DESC) u
   WHERE k.org_id = u.org_id AND k.key_id = u.key_id AND (k.last_used_at IS NULL OR k.last_used_at < u.at)
$$;
-- +goose StatementEnd
GRANT CREATE ON SCHEMA accounts TO aiaas_lookup;
ALTER FUNCTION accounts.lookup_key(bytea) OWNER TO aiaas_lookup;
ALTER FUNCTION accounts.ensure_user(text, text, timestamptz) OWNER TO aiaas_lookup;
ALTER FUNCTION accounts.founded() OWNER TO aiaas_lookup;
ALTER FUNCTION accounts.held_organizations() OWNER TO aiaas_lookup;
ALTER FUNCTION accounts.note_use(text[], text[], timestamptz[], text[]) OWNER TO aiaas_lookup;
REVOKE CREATE ON SCHEMA accounts FROM aiaas_lookup;
REVOKE ALL ON FUNCTION accounts.lookup_key(bytea), accounts.ensure_user(text, text, timestamptz), accounts.founded(),
  accounts.held_organizations(), accounts.note_use(text[], text[], timestamptz[], text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION accounts.held_organizations() TO aiaas_accounts;
GRANT EXECUTE ON FUNCTION accounts.lookup_key(bytea), accounts.founded(), accounts.note_use(text[], text[], timestamptz[], text[]) TO aiaas_gateway, aiaas_accounts;
GRANT EXECUTE ON FUNCTION accounts.ensure_user(text, text, timestamptz) TO aiaas_accounts, aiaas_tenants;
GRANT EXECUTE ON FUNCTION accounts.founded() TO aiaas_tenants;

ALTER TABLE accounts.organizations FORCE ROW LEVEL SECURITY;
ALTER TABLE accounts.members FORCE ROW LEVEL SECURITY;
ALTER TABLE accounts.api_keys FORCE ROW LEVEL SECURITY;
