-- Second factors: authenticator apps, recovery codes and passkeys. They belong to
-- people, not to organisations: what is read and written here is bound to one person,
-- named per transaction by set_config('app.user_id', …, true).

-- +goose Up
CREATE TABLE accounts.totp (
  user_id      text NOT NULL REFERENCES accounts.users,
  totp_id      text NOT NULL,
  secret       text NOT NULL,               -- sealed, bound to totp_id
  created_at   timestamptz NOT NULL,
  confirmed_at timestamptz,                 -- NULL: no code of it was shown yet
  last_step    bigint NOT NULL DEFAULT 0,   -- of 30 seconds since 1970: the last one of which a code was taken
  PRIMARY KEY (user_id, totp_id)
);
CREATE UNIQUE INDEX totp_confirmed ON accounts.totp (user_id) WHERE confirmed_at IS NOT NULL;
CREATE UNIQUE INDEX totp_pending ON accounts.totp (user_id) WHERE confirmed_at IS NULL;
CREATE INDEX totp_forgotten ON accounts.totp (created_at) WHERE confirmed_at IS NULL;

CREATE TABLE accounts.recovery_codes (
  user_id    text NOT NULL REFERENCES accounts.users,
  hash       bytea NOT NULL CHECK (length(hash) = 32), -- SHA-256 of 80 random bits; the code is nowhere
  created_at timestamptz NOT NULL,
  used_at    timestamptz,
  PRIMARY KEY (user_id, hash)
);

CREATE TABLE accounts.passkeys (
  user_id       text NOT NULL REFERENCES accounts.users,
  passkey_id    text NOT NULL,
  rp_id         text NOT NULL, -- the domain that it is good for
  credential_id bytea NOT NULL,
  name          text NOT NULL CHECK (name <> ''),
  record        jsonb NOT NULL, -- public key, flags and attestation
  sign_count    bigint NOT NULL CHECK (sign_count >= 0),
  created_at    timestamptz NOT NULL,
  last_used_at  timestamptz,
  PRIMARY KEY (user_id, passkey_id)
);
CREATE UNIQUE INDEX passkeys_credential ON accounts.passkeys (rp_id, credential_id);

CREATE TABLE accounts.ceremonies (
  ceremony_id text PRIMARY KEY,
  user_id     text REFERENCES accounts.users, -- NULL: whoever's passkey answers
  purpose     text NOT NULL CHECK (purpose IN ('register', 'prove', 'sign_in')),
  state       jsonb NOT NULL,
  created_at  timestamptz NOT NULL,
  expires_at  timestamptz NOT NULL,
  CHECK ((user_id IS NULL) = (purpose = 'sign_in'))
);
CREATE INDEX ceremonies_expiry ON accounts.ceremonies (expires_at);

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['totp', 'recovery_codes', 'passkeys'] LOOP
    EXECUTE format('ALTER TABLE accounts.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE accounts.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format($p$CREATE POLICY own_person ON accounts.%I TO aiaas_identity
      USING (user_id = nullif(current_setting('app.user_id', true), ''))
      WITH CHECK (user_id = nullif(current_setting('app.user_id', true), ''))$p$, t);
  END LOOP;
END $$;
-- +goose StatementEnd
ALTER TABLE accounts.ceremonies ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts.ceremonies FORCE ROW LEVEL SECURITY;
CREATE POLICY own_person ON accounts.ceremonies TO aiaas_identity
  USING (user_id IS NULL OR user_id = nullif(current_setting('app.user_id', true), ''))
  WITH CHECK (user_id IS NULL OR user_id = nullif(current_setting('app.user_id', true), ''));

-- What is removed is gone: a secret that nobody uses is one that nobody needs.
GRANT SELECT, INSERT, DELETE ON accounts.totp, accounts.recovery_codes, accounts.passkeys, accounts.ceremonies TO aiaas_identity;
GRANT UPDATE (confirmed_at, last_step) ON accounts.totp TO aiaas_identity;
GRANT UPDATE (used_at) ON accounts.recovery_codes TO aiaas_identity;
GRANT UPDATE (name, record, sign_count, last_used_at) ON accounts.passkeys TO aiaas_identity;

-- Enrolments and ceremonies that nobody went on with, of all people.
GRANT SELECT (user_id, totp_id, created_at, confirmed_at), DELETE ON accounts.totp TO aiaas_lookup;
GRANT SELECT (ceremony_id, expires_at), DELETE ON accounts.ceremonies TO aiaas_lookup;
CREATE POLICY lookup ON accounts.totp TO aiaas_lookup USING (confirmed_at IS NULL);
CREATE POLICY lookup ON accounts.ceremonies TO aiaas_lookup USING (true);
-- +goose StatementBegin
-- forget_enrolments removes ceremonies that expired before p_now, and apps of which no
-- code was shown since p_before; at most p_limit of each.
CREATE FUNCTION accounts.forget_enrolments(p_now timestamptz, p_before timestamptz, p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE ceremonies integer; apps integer;
BEGIN
  DELETE FROM accounts.ceremonies c USING (
    SELECT x.ceremony_id FROM accounts.ceremonies x WHERE x.expires_at <= p_now ORDER BY x.expires_at LIMIT p_limit) old
   WHERE c.ceremony_id = old.ceremony_id;
  GET DIAGNOSTICS ceremonies = ROW_COUNT;
  DELETE FROM accounts.totp t USING (
    SELECT x.user_id, x.totp_id FROM accounts.totp x WHERE x.confirmed_at IS NULL AND x.created_at < p_before ORDER BY x.created_at LIMIT p_limit) old
   WHERE t.user_id = old.user_id AND t.totp_id = old.totp_id AND t.confirmed_at IS NULL;
  GET DIAGNOSTICS apps = ROW_COUNT;
  RETURN ceremonies + apps;
END $$;
-- +goose StatementEnd
GRANT CREATE ON SCHEMA accounts TO aiaas_lookup;
ALTER FUNCTION accounts.forget_enrolments(timestamptz, timestamptz, integer) OWNER TO aiaas_lookup;
REVOKE CREATE ON SCHEMA accounts FROM aiaas_lookup;
REVOKE ALL ON FUNCTION accounts.forget_enrolments(timestamptz, timestamptz, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION accounts.forget_enrolments(timestamptz, timestamptz, integer) TO aiaas_identity;
