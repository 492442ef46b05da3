-- OAuth 2: what programs ask people for, what was granted, and what programs prove
-- themselves by.

-- +goose Up

-- What a program asks a person for, from his browser, and what he said. It becomes an
-- authorization code, which is good once.
CREATE TABLE accounts.oauth_requests (
  org_id       text NOT NULL REFERENCES accounts.organizations,
  request_id   text NOT NULL,
  user_id      text NOT NULL REFERENCES accounts.users,
  client_id    text NOT NULL,
  redirect_uri text NOT NULL,
  state        text NOT NULL,
  nonce        text NOT NULL,
  challenge    text NOT NULL CHECK (challenge <> ''), -- of PKCE, S256
  scopes       text[] NOT NULL,      -- of ours
  openid       boolean NOT NULL,
  offline      boolean NOT NULL,     -- wants refresh tokens
  proved_after timestamptz,          -- the person must have proved himself since
  created_at   timestamptz NOT NULL,
  expires_at   timestamptz NOT NULL, -- of the question
  decided_at   timestamptz,
  approved     boolean NOT NULL DEFAULT false,
  granted      text[],
  mfa          boolean NOT NULL DEFAULT false, -- how the person had proved himself when he approved
  means        text NOT NULL DEFAULT '',
  connection   text NOT NULL DEFAULT '',
  proved_at    timestamptz,
  approved_in  text NOT NULL DEFAULT '',       -- the session that he approved in: with it ends what he said
  code_hash    bytea CHECK (length(code_hash) = 32), -- SHA-256
  code_expires timestamptz,
  used_at      timestamptz,
  replayed_at  timestamptz, -- the code was shown again
  session_id   text,        -- that was begun by the code
  PRIMARY KEY (org_id, request_id)
);
CREATE UNIQUE INDEX oauth_requests_code ON accounts.oauth_requests (code_hash) WHERE code_hash IS NOT NULL;
CREATE INDEX oauth_requests_created ON accounts.oauth_requests (created_at);

-- A session that a program holds: the family of its refresh tokens.
CREATE TABLE accounts.oauth_grants (
  org_id     text NOT NULL REFERENCES accounts.organizations,
  session_id text NOT NULL,
  holder_id  text NOT NULL,
  client_id  text NOT NULL,
  scopes     text[] NOT NULL,
  openid     boolean NOT NULL,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  reused_at  timestamptz, -- a refresh token was shown again
  PRIMARY KEY (org_id, session_id)
);
CREATE INDEX oauth_grants_expiry ON accounts.oauth_grants (expires_at);

CREATE TABLE accounts.oauth_refresh_tokens (
  org_id     text NOT NULL,
  token_hash bytea NOT NULL CHECK (length(token_hash) = 32), -- SHA-256
  session_id text NOT NULL,
  issued_at  timestamptz NOT NULL,
  used_at    timestamptz,
  PRIMARY KEY (org_id, token_hash),
  FOREIGN KEY (org_id, session_id) REFERENCES accounts.oauth_grants ON DELETE CASCADE
);
CREATE UNIQUE INDEX oauth_refresh_tokens_hash ON accounts.oauth_refresh_tokens (token_hash);
CREATE INDEX oauth_refresh_tokens_family ON accounts.oauth_refresh_tokens (org_id, session_id);

-- What a program on a device without a browser asks for. It belongs to nobody until a
-- person has typed the code that the device shows.
CREATE TABLE accounts.oauth_devices (
  device_hash bytea PRIMARY KEY CHECK (length(device_hash) = 32), -- SHA-256 of the device's code
  user_code   text NOT NULL UNIQUE,
  client_id   text NOT NULL,
  scopes      text[] NOT NULL,
  openid      boolean NOT NULL,
  offline     boolean NOT NULL,
  address     text NOT NULL,
  user_agent  text NOT NULL,
  created_at  timestamptz NOT NULL,
  expires_at  timestamptz NOT NULL,
  interval_s  integer NOT NULL,
  polled_at   timestamptz,
  org_id      text REFERENCES accounts.organizations,
  user_id     text REFERENCES accounts.users,
  decided_at  timestamptz,
  approved    boolean NOT NULL DEFAULT false,
  granted     text[],
  mfa         boolean NOT NULL DEFAULT false,
  means       text NOT NULL DEFAULT '',
  connection  text NOT NULL DEFAULT '',
  proved_at   timestamptz,
  approved_in text NOT NULL DEFAULT '', -- the session that it was approved in
  taken_at    timestamptz,
  CHECK ((decided_at IS NULL) = (org_id IS NULL) AND (decided_at IS NULL) = (user_id IS NULL))
);
CREATE INDEX oauth_devices_expiry ON accounts.oauth_devices (expires_at);

-- How often something was tried in a window that began at since.
CREATE TABLE accounts.oauth_attempts (
  key   text PRIMARY KEY,
  since timestamptz NOT NULL,
  n     bigint NOT NULL
);
CREATE INDEX oauth_attempts_since ON accounts.oauth_attempts (since);

-- What access tokens are signed with. The private half is sealed.
CREATE TABLE accounts.oauth_keys (
  kid        text PRIMARY KEY,
  public     text NOT NULL,        -- JWK
  sealed     text NOT NULL,        -- PKCS #8
  created_at timestamptz NOT NULL, -- published since
  signs_at   timestamptz NOT NULL, -- signs from, until the next one does
  ends_at    timestamptz           -- published up to; NULL: it has no successor yet
);

-- What service accounts prove themselves by at the token endpoint.
CREATE TABLE accounts.client_secrets (
  org_id       text NOT NULL REFERENCES accounts.organizations,
  secret_id    text NOT NULL,
  account_id   text NOT NULL,
  hash         bytea NOT NULL CHECK (length(hash) = 32), -- SHA-256 of the secret; the secret is nowhere
  hint         text NOT NULL,                            -- its last characters
  created_by   text NOT NULL,
  seen_by      text[] NOT NULL, -- who may have seen it: members and service accounts
  created_at   timestamptz NOT NULL,
  last_used_at timestamptz,
  PRIMARY KEY (org_id, secret_id),
  FOREIGN KEY (org_id, account_id) REFERENCES accounts.service_accounts
);
CREATE INDEX client_secrets_account ON accounts.client_secrets (account_id);

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['oauth_requests', 'oauth_grants', 'oauth_refresh_tokens', 'oauth_devices', 'client_secrets'] LOOP
    EXECUTE format('ALTER TABLE accounts.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE accounts.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY lookup ON accounts.%I TO aiaas_lookup USING (true) WITH CHECK (true)', t);
  END LOOP;
  FOREACH t IN ARRAY ARRAY['oauth_grants', 'oauth_refresh_tokens', 'client_secrets'] LOOP
    EXECUTE format($p$CREATE POLICY own_organization_identity ON accounts.%I TO aiaas_identity
      USING (org_id = nullif(current_setting('app.org_id', true), ''))
      WITH CHECK (org_id = nullif(current_setting('app.org_id', true), ''))$p$, t);
  END LOOP;
END $$;
-- +goose StatementEnd
CREATE POLICY own_organization ON accounts.client_secrets TO aiaas_accounts
  USING (org_id = nullif(current_setting('app.org_id', true), ''))
  WITH CHECK (org_id = nullif(current_setting('app.org_id', true), ''));
CREATE POLICY own_request ON accounts.oauth_requests TO aiaas_identity
  USING (org_id = nullif(current_setting('app.org_id', true), '') AND user_id = nullif(current_setting('app.user_id', true), ''))
  WITH CHECK (org_id = nullif(current_setting('app.org_id', true), '') AND user_id = nullif(current_setting('app.user_id', true), ''));
-- A device that nobody has taken is anybody's; from then on it is his who did.
CREATE POLICY asked ON accounts.oauth_devices FOR INSERT TO aiaas_identity WITH CHECK (org_id IS NULL);
CREATE POLICY seen ON accounts.oauth_devices FOR SELECT TO aiaas_identity
  USING (org_id IS NULL OR (org_id = nullif(current_setting('app.org_id', true), '') AND user_id = nullif(current_setting('app.user_id', true), '')));
CREATE POLICY decided ON accounts.oauth_devices FOR UPDATE TO aiaas_identity USING (org_id IS NULL)
  WITH CHECK (org_id = nullif(current_setting('app.org_id', true), '') AND user_id = nullif(current_setting('app.user_id', true), ''));

GRANT SELECT, INSERT ON accounts.oauth_requests, accounts.oauth_grants, accounts.oauth_refresh_tokens, accounts.oauth_keys TO aiaas_identity;
GRANT UPDATE (decided_at, approved, granted, mfa, means, connection, proved_at, approved_in, code_hash, code_expires, session_id) ON accounts.oauth_requests TO aiaas_identity;
GRANT UPDATE (reused_at) ON accounts.oauth_grants TO aiaas_identity;
GRANT UPDATE (ends_at) ON accounts.oauth_keys TO aiaas_identity;
GRANT UPDATE (used_at) ON accounts.oauth_refresh_tokens TO aiaas_identity;
GRANT INSERT ON accounts.oauth_devices TO aiaas_identity;
GRANT SELECT (user_code, client_id, scopes, openid, offline, address, user_agent, created_at, expires_at, org_id, user_id, decided_at) ON accounts.oauth_devices TO aiaas_identity;
GRANT UPDATE (org_id, user_id, decided_at, approved, granted, mfa, means, connection, proved_at, approved_in) ON accounts.oauth_devices TO aiaas_identity;
GRANT SELECT, INSERT, UPDATE ON accounts.oauth_attempts TO aiaas_identity;
GRANT SELECT (org_id, secret_id), UPDATE (last_used_at) ON accounts.client_secrets TO aiaas_identity;
-- Who verifies tokens sees what they are verified with.
GRANT SELECT (kid, public, created_at, signs_at, ends_at) ON accounts.oauth_keys TO aiaas_gateway;
GRANT SELECT, INSERT, DELETE ON accounts.client_secrets TO aiaas_accounts;
GRANT SELECT, UPDATE, DELETE ON accounts.oauth_requests, accounts.oauth_devices TO aiaas_lookup;
GRANT SELECT, DELETE ON accounts.oauth_grants, accounts.oauth_refresh_tokens, accounts.oauth_keys, accounts.oauth_attempts TO aiaas_lookup;
GRANT SELECT ON accounts.client_secrets TO aiaas_lookup;

-- +goose StatementBegin
-- use_code takes an authorization code: the row is fresh for exactly one caller. All
-- that come after are noted, for what the first was given is then not safe.
CREATE FUNCTION accounts.use_code(p_hash bytea, p_at timestamptz)
RETURNS TABLE (state text, org_id text, request_id text, user_id text, client_id text, redirect_uri text, nonce text, challenge text,
  granted text[], openid boolean, offline boolean, mfa boolean, means text, connection text, proved_at timestamptz, approved_in text, code_expires timestamptz, session_id text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY UPDATE accounts.oauth_requests r SET used_at = p_at WHERE r.code_hash = p_hash AND r.used_at IS NULL
    RETURNING 'fresh', r.org_id, r.request_id, r.user_id, r.client_id, r.redirect_uri, r.nonce, r.challenge,
      r.granted, r.openid, r.offline, r.mfa, r.means, r.connection, r.proved_at, r.approved_in, r.code_expires, r.session_id;
  IF FOUND THEN
    RETURN;
  END IF;
  RETURN QUERY UPDATE accounts.oauth_requests r SET replayed_at = p_at WHERE r.code_hash = p_hash AND r.replayed_at IS NULL
    RETURNING 'replayed', r.org_id, r.request_id, r.user_id, r.client_id, r.redirect_uri, r.nonce, r.challenge,
      r.granted, r.openid, r.offline, r.mfa, r.means, r.connection, r.proved_at, r.approved_in, r.code_expires, r.session_id;
  IF FOUND THEN
    RETURN;
  END IF;
  RETURN QUERY SELECT 'replayed again', r.org_id, r.request_id, r.user_id, r.client_id, r.redirect_uri, r.nonce, r.challenge,
      r.granted, r.openid, r.offline, r.mfa, r.means, r.connection, r.proved_at, r.approved_in, r.code_expires, r.session_id
    FROM accounts.oauth_requests r WHERE r.code_hash = p_hash;
END $$;

-- find_refresh_token tells whose a refresh token is.
CREATE FUNCTION accounts.find_refresh_token(p_hash bytea)
RETURNS TABLE (org_id text, session_id text, holder_id text, client_id text, scopes text[], openid boolean, expires_at timestamptz, used boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT g.org_id, g.session_id, g.holder_id, g.client_id, g.scopes, g.openid, g.expires_at, t.used_at IS NOT NULL
    FROM accounts.oauth_refresh_tokens t JOIN accounts.oauth_grants g ON g.org_id = t.org_id AND g.session_id = t.session_id
   WHERE t.token_hash = p_hash
$$;

-- poll_device says how far a device has got. What was approved is given to exactly one
-- caller; who asks faster than he was told is told to ask more slowly.
CREATE FUNCTION accounts.poll_device(p_hash bytea, p_client text, p_at timestamptz)
RETURNS TABLE (state text, org_id text, user_id text, granted text[], openid boolean, offline boolean,
  mfa boolean, means text, connection text, proved_at timestamptz, approved_in text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  d accounts.oauth_devices;
  s text;
BEGIN
  SELECT * INTO d FROM accounts.oauth_devices x WHERE x.device_hash = p_hash AND x.client_id = p_client FOR UPDATE;
  IF NOT FOUND OR d.taken_at IS NOT NULL THEN
    RETURN;
  END IF;
  s := CASE
    WHEN d.expires_at <= p_at THEN 'expired'
    WHEN d.decided_at IS NOT NULL THEN CASE WHEN d.approved THEN 'granted' ELSE 'denied' END
    WHEN d.polled_at IS NOT NULL AND p_at < d.polled_at + make_interval(secs => d.interval_s) THEN 'slow_down'
    ELSE 'pending' END;
  UPDATE accounts.oauth_devices x SET polled_at = p_at,
      interval_s = least(d.interval_s + CASE WHEN s = 'slow_down' THEN 5 ELSE 0 END, 60),
      taken_at = CASE WHEN s IN ('granted', 'denied') THEN p_at END
    WHERE x.device_hash = p_hash;
  RETURN QUERY SELECT s, d.org_id, d.user_id, d.granted, d.openid, d.offline, d.mfa, d.means, d.connection, d.proved_at, d.approved_in;
END $$;

-- lookup_client finds a service account that is active, and what it proves itself by.
CREATE FUNCTION accounts.lookup_client(p_account text)
RETURNS TABLE (org_id text, name text, role text, permissions text[], role_reach text, project_ids text[], project_roles text[], secret_id text, hash bytea, seen_by text[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.org_id, a.name, CASE WHEN a.role LIKE 'role\_%' THEN 'custom' ELSE a.role END, r.permissions, r.reach, t.ids, t.roles, s.secret_id, s.hash, s.seen_by
    FROM accounts.client_secrets s
    JOIN accounts.service_accounts a ON a.org_id = s.org_id AND a.account_id = s.account_id
    LEFT JOIN accounts.roles r ON r.org_id = s.org_id AND r.role_id = a.role
    LEFT JOIN LATERAL (
      SELECT array_agg(x.project_id ORDER BY x.project_id) AS ids, array_agg(x.role ORDER BY x.project_id) AS roles
        FROM accounts.project_members x WHERE x.org_id = s.org_id AND x.member_id = s.account_id) t ON true
   WHERE s.account_id = p_account AND a.status = 'active' ORDER BY s.secret_id
$$;

-- prune_oauth forgets what is over, at most so many of each: questions a day after they were asked, families a
-- day after they ended, keys that nothing valid is signed with.
CREATE FUNCTION accounts.prune_oauth(p_now timestamptz, p_limit integer)
RETURNS TABLE (requests bigint, devices bigint, grants bigint, attempts bigint, keys bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE day constant interval := interval '1 day';
BEGIN
  DELETE FROM accounts.oauth_requests r USING (
    SELECT x.org_id, x.request_id FROM accounts.oauth_requests x WHERE x.created_at < p_now - day ORDER BY x.created_at LIMIT p_limit) old
   WHERE r.org_id = old.org_id AND r.request_id = old.request_id;
  GET DIAGNOSTICS requests = ROW_COUNT;
  DELETE FROM accounts.oauth_devices d USING (
    SELECT x.device_hash FROM accounts.oauth_devices x WHERE x.expires_at < p_now - interval '1 hour' ORDER BY x.expires_at LIMIT p_limit) old
   WHERE d.device_hash = old.device_hash;
  GET DIAGNOSTICS devices = ROW_COUNT;
  DELETE FROM accounts.oauth_grants g USING (
    SELECT x.org_id, x.session_id FROM accounts.oauth_grants x WHERE x.expires_at < p_now - day ORDER BY x.expires_at LIMIT p_limit) old
   WHERE g.org_id = old.org_id AND g.session_id = old.session_id;
  GET DIAGNOSTICS grants = ROW_COUNT;
  DELETE FROM accounts.oauth_attempts a USING (
    SELECT x.key FROM accounts.oauth_attempts x WHERE x.since < p_now - day ORDER BY x.since LIMIT p_limit) old
   WHERE a.key = old.key;
  GET DIAGNOSTICS attempts = ROW_COUNT;
  DELETE FROM accounts.oauth_keys k WHERE k.ends_at < p_now;
  GET DIAGNOSTICS keys = ROW_COUNT;
  RETURN NEXT;
END $$;
-- +goose StatementEnd
GRANT CREATE ON SCHEMA accounts TO aiaas_lookup;
ALTER FUNCTION accounts.use_code(bytea, timestamptz) OWNER TO aiaas_lookup;
ALTER FUNCTION accounts.find_refresh_token(bytea) OWNER TO aiaas_lookup;
ALTER FUNCTION accounts.poll_device(bytea, text, timestamptz) OWNER TO aiaas_lookup;
ALTER FUNCTION accounts.lookup_client(text) OWNER TO aiaas_lookup;
ALTER FUNCTION accounts.prune_oauth(timestamptz, integer) OWNER TO aiaas_lookup;
REVOKE CREATE ON SCHEMA accounts FROM aiaas_lookup;
REVOKE ALL ON FUNCTION accounts.use_code(bytea, timestamptz), accounts.find_refresh_token(bytea), accounts.poll_device(bytea, text, timestamptz),
  accounts.lookup_client(text), accounts.prune_oauth(timestamptz, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION accounts.use_code(bytea, timestamptz), accounts.find_refresh_token(bytea), accounts.poll_device(bytea, text, timestamptz),
  accounts.lookup_client(text), accounts.prune_oauth(timestamptz, integer) TO aiaas_identity;
