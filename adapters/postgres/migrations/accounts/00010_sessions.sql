-- Sessions: what a person who has signed in, or a program that has shown its secret,
-- acts by. Each is bound to one organisation.

-- +goose Up
-- +goose StatementBegin
DO $$
DECLARE r text;
BEGIN
  FOREACH r IN ARRAY ARRAY['aiaas_identity'] LOOP
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

-- aiaas_identity  signs people in, and keeps what is their own: what they prove
-- themselves by, and their sessions. It sees one person (app.user_id), one
-- organisation (app.org_id), or the two together.
GRANT USAGE ON SCHEMA accounts TO aiaas_identity;

CREATE TABLE accounts.sessions (
  org_id       text NOT NULL REFERENCES accounts.organizations,
  session_id   text NOT NULL,
  holder_id    text NOT NULL, -- "user_…" or "sa_…"
  kind         text NOT NULL CHECK (kind IN ('browser', 'bearer', 'oauth', 'client')),
  means        text NOT NULL CHECK (means IN ('password', 'passkey', 'sso', 'client_secret')),
  connection   text NOT NULL DEFAULT '', -- of single sign-on
  client       text NOT NULL DEFAULT '', -- the OAuth client's name
  scopes       text[],                   -- NULL: all that the role gives
  mfa          boolean NOT NULL,
  proved_at    timestamptz NOT NULL,     -- when the holder last proved himself
  address      text NOT NULL,
  user_agent   text NOT NULL,
  token_hash   text,                     -- of the token that it is shown by; NULL where it is known by its id
  created_at   timestamptz NOT NULL,
  seen_at      timestamptz NOT NULL,     -- within a minute
  expires_at   timestamptz NOT NULL,
  seen_by      text[] NOT NULL DEFAULT '{}', -- who may have seen the secret that it began with, of a program: members and service accounts
  ended_at     timestamptz,
  ended_reason text NOT NULL DEFAULT '',
  PRIMARY KEY (org_id, session_id)
);
-- Look-ups before the organisation is known.
CREATE UNIQUE INDEX sessions_token ON accounts.sessions (token_hash) WHERE token_hash IS NOT NULL;
CREATE UNIQUE INDEX sessions_id ON accounts.sessions (session_id);
CREATE INDEX sessions_holder ON accounts.sessions (org_id, holder_id, created_at) WHERE ended_at IS NULL;
CREATE INDEX sessions_person ON accounts.sessions (holder_id) WHERE ended_at IS NULL;
CREATE INDEX sessions_expiry ON accounts.sessions (expires_at);

ALTER TABLE accounts.sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts.sessions FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON accounts.sessions TO aiaas_accounts
  USING (org_id = nullif(current_setting('app.org_id', true), ''))
  WITH CHECK (org_id = nullif(current_setting('app.org_id', true), ''));
CREATE POLICY own_person ON accounts.sessions TO aiaas_identity
  USING (org_id = nullif(current_setting('app.org_id', true), '') OR holder_id = nullif(current_setting('app.user_id', true), ''))
  WITH CHECK (org_id = nullif(current_setting('app.org_id', true), '') OR holder_id = nullif(current_setting('app.user_id', true), ''));
CREATE POLICY lookup ON accounts.sessions TO aiaas_lookup USING (true) WITH CHECK (true);
CREATE POLICY tenants ON accounts.sessions FOR SELECT TO aiaas_tenants USING (true);
GRANT SELECT (org_id, session_id, holder_id, kind, means, connection, client, scopes, mfa, proved_at, address, user_agent, created_at,
  seen_at, expires_at, seen_by, ended_at, ended_reason) ON accounts.sessions TO aiaas_accounts;
GRANT UPDATE (ended_at, ended_reason, token_hash) ON accounts.sessions TO aiaas_accounts;
GRANT SELECT, INSERT ON accounts.sessions TO aiaas_identity;
GRANT UPDATE (token_hash, mfa, means, proved_at, seen_at, ended_at, ended_reason, expires_at) ON accounts.sessions TO aiaas_identity;
GRANT SELECT, DELETE ON accounts.sessions TO aiaas_lookup;
GRANT UPDATE (seen_at) ON accounts.sessions TO aiaas_lookup;

-- What signing in needs to know of an organisation and of who belongs to it.
GRANT SELECT (org_id, name, slug, kind, status, trial_ends_at, settings, time_zone, created_at) ON accounts.organizations TO aiaas_identity;
GRANT SELECT (org_id, user_id, role, status, name, created_at) ON accounts.members TO aiaas_identity;
GRANT SELECT (org_id, account_id, name, role, status) ON accounts.service_accounts TO aiaas_identity;
GRANT SELECT (user_id, email) ON accounts.users TO aiaas_identity;
GRANT INSERT ON accounts.audit_records TO aiaas_identity;
GRANT INSERT ON accounts.outbox TO aiaas_identity;
CREATE POLICY own_person ON accounts.members FOR SELECT TO aiaas_identity
  USING (org_id = nullif(current_setting('app.org_id', true), '') OR user_id = nullif(current_setting('app.user_id', true), ''));
CREATE POLICY own_organization_identity ON accounts.service_accounts FOR SELECT TO aiaas_identity
  USING (org_id = nullif(current_setting('app.org_id', true), ''));
CREATE POLICY own_organizations ON accounts.organizations FOR SELECT TO aiaas_identity
  USING (org_id = nullif(current_setting('app.org_id', true), '') OR EXISTS (SELECT FROM accounts.members m
          WHERE m.org_id = organizations.org_id AND m.user_id = nullif(current_setting('app.user_id', true), '')));
CREATE POLICY own_person ON accounts.users FOR SELECT TO aiaas_identity
  USING (user_id = nullif(current_setting('app.user_id', true), ''));
CREATE POLICY identity ON accounts.audit_records FOR INSERT TO aiaas_identity
  WITH CHECK (org_id = nullif(current_setting('app.org_id', true), ''));
CREATE POLICY identity ON accounts.outbox FOR INSERT TO aiaas_identity
  WITH CHECK (org_id = nullif(current_setting('app.org_id', true), ''));

-- +goose StatementBegin
-- lookup_session finds a session by the hash of its token or by its id, with all that
-- decides what its holder may do.
CREATE FUNCTION accounts.lookup_session(p_hash text, p_id text)
RETURNS TABLE (
  session_id text, org_id text, holder_id text, kind text, means text, connection text, client text, scopes text[], mfa boolean,
  proved_at timestamptz, address text, user_agent text, created_at timestamptz, seen_at timestamptz, expires_at timestamptz, ended boolean,
  holder_active boolean, role text, permissions text[], role_reach text, project_ids text[], project_roles text[],
  org_status text, trial_ends_at timestamptz, org_settings jsonb, time_zone text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.session_id, s.org_id, s.holder_id, s.kind, s.means, s.connection, s.client, s.scopes, s.mfa,
         s.proved_at, s.address, s.user_agent, s.created_at, s.seen_at, s.expires_at, s.ended_at IS NOT NULL,
         coalesce(m.status, a.status, 'gone') = 'active',
         CASE WHEN coalesce(m.role, a.role) LIKE 'role\_%' THEN 'custom' ELSE coalesce(m.role, a.role, '') END,
         r.permissions, r.reach, t.ids, t.roles,
         o.status, o.trial_ends_at, o.settings, o.time_zone
    FROM accounts.sessions s
    JOIN accounts.organizations o ON o.org_id = s.org_id
    LEFT JOIN accounts.members m ON m.org_id = s.org_id AND m.user_id = s.holder_id
    LEFT JOIN accounts.service_accounts a ON a.org_id = s.org_id AND a.account_id = s.holder_id
    LEFT JOIN accounts.roles r ON r.org_id = s.org_id AND r.role_id = coalesce(m.role, a.role)
    LEFT JOIN LATERAL (
      SELECT array_agg(x.project_id ORDER BY x.project_id) AS ids, array_agg(x.role ORDER BY x.project_id) AS roles
        FROM accounts.project_members x WHERE x.org_id = s.org_id AND x.member_id = s.holder_id) t ON true
   WHERE s.token_hash = p_hash OR s.session_id = p_id
$$;

-- note_session remembers when a session was last used; within a minute, for it must
-- not cost a write each time.
CREATE FUNCTION accounts.note_session(p_org text, p_id text, p_at timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ UPDATE accounts.sessions SET seen_at = p_at WHERE org_id = p_org AND session_id = p_id AND seen_at < p_at AND ended_at IS NULL $$;

-- prune_sessions forgets sessions that ended before a time; those of organisations
-- under legal hold stay.
CREATE FUNCTION accounts.prune_sessions(p_before timestamptz, p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE n integer;
BEGIN
  DELETE FROM accounts.sessions s USING (
    SELECT x.org_id, x.session_id FROM accounts.sessions x JOIN accounts.organizations o ON o.org_id = x.org_id
     WHERE x.expires_at < p_before AND NOT o.legal_hold ORDER BY x.expires_at LIMIT p_limit) old
   WHERE s.org_id = old.org_id AND s.session_id = old.session_id;
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END $$;
-- +goose StatementEnd
GRANT CREATE ON SCHEMA accounts TO aiaas_lookup;
ALTER FUNCTION accounts.lookup_session(text, text) OWNER TO aiaas_lookup;
ALTER FUNCTION accounts.note_session(text, text, timestamptz) OWNER TO aiaas_lookup;
ALTER FUNCTION accounts.prune_sessions(timestamptz, integer) OWNER TO aiaas_lookup;
REVOKE CREATE ON SCHEMA accounts FROM aiaas_lookup;
REVOKE ALL ON FUNCTION accounts.lookup_session(text, text), accounts.note_session(text, text, timestamptz),
  accounts.prune_sessions(timestamptz, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION accounts.lookup_session(text, text), accounts.note_session(text, text, timestamptz) TO aiaas_gateway, aiaas_identity;
GRANT EXECUTE ON FUNCTION accounts.prune_sessions(timestamptz, integer) TO aiaas_identity;
