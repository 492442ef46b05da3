-- Signing in: passwords, the step between a password and a second factor, links by
-- which a password is set, and what slows guessing down.

-- +goose Up

-- What recognises a person's password.
CREATE TABLE accounts.passwords (
  user_id    text PRIMARY KEY REFERENCES accounts.users,
  phc        text NOT NULL CHECK (phc LIKE '$argon2id$%'), -- never the password
  changed_at timestamptz NOT NULL
);

-- The organisation that a person worked in last: where the next sign-in leads to.
ALTER TABLE accounts.users ADD COLUMN last_organization text;

-- Who has proved himself once and is asked for a second factor.
CREATE TABLE accounts.sign_in_challenges (
  hash       bytea PRIMARY KEY CHECK (length(hash) = 32), -- SHA-256 of what the person holds
  user_id    text NOT NULL REFERENCES accounts.users,
  purpose    text NOT NULL CHECK (purpose IN ('sign_in', 'reset')),
  detail     jsonb NOT NULL, -- what is to be done when it is met; emptied then
  attempts   integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  used_at    timestamptz
);
CREATE INDEX sign_in_challenges_person ON accounts.sign_in_challenges (user_id);
CREATE INDEX sign_in_challenges_expiry ON accounts.sign_in_challenges (expires_at);

-- Who says that he forgot his password: whoever, of whatever address. Whether there is
-- such a person is looked up by a job, where nobody waits for it.
CREATE TABLE accounts.reset_requests (
  request_id text PRIMARY KEY,
  email      text NOT NULL,
  address    text NOT NULL,
  at         timestamptz NOT NULL
);

-- Links by which a password is set.
CREATE TABLE accounts.reset_tokens (
  hash       bytea PRIMARY KEY CHECK (length(hash) = 32),
  user_id    text NOT NULL REFERENCES accounts.users,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL
);
CREATE INDEX reset_tokens_person ON accounts.reset_tokens (user_id, created_at);
CREATE INDEX reset_tokens_expiry ON accounts.reset_tokens (expires_at);

-- The two tables below name nobody: they hold hashes of what is guessed at.
CREATE TABLE accounts.known_devices (
  account  bytea NOT NULL CHECK (length(account) = 32), -- of the e-mail address
  device   bytea NOT NULL CHECK (length(device) = 32),  -- of the cookie
  first_at timestamptz NOT NULL,
  seen_at  timestamptz NOT NULL,
  PRIMARY KEY (account, device)
);
CREATE INDEX known_devices_age ON accounts.known_devices (seen_at);

-- Buckets by GCRA: the time at which one would be full again.
CREATE TABLE accounts.throttles (
  bucket  bytea PRIMARY KEY CHECK (length(bucket) = 32),
  full_at timestamptz NOT NULL
);
CREATE INDEX throttles_age ON accounts.throttles (full_at);

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['passwords', 'sign_in_challenges', 'reset_tokens'] LOOP
    EXECUTE format('ALTER TABLE accounts.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE accounts.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format($p$CREATE POLICY own_person ON accounts.%I TO aiaas_identity
      USING (user_id = nullif(current_setting('app.user_id', true), ''))
      WITH CHECK (user_id = nullif(current_setting('app.user_id', true), ''))$p$, t);
    EXECUTE format('CREATE POLICY lookup ON accounts.%I TO aiaas_lookup USING (true) WITH CHECK (true)', t);
  END LOOP;
  CREATE POLICY changes_own ON accounts.users FOR UPDATE TO aiaas_identity
    USING (user_id = nullif(current_setting('app.user_id', true), '')) WITH CHECK (user_id = nullif(current_setting('app.user_id', true), ''));
END $$;
-- +goose StatementEnd

GRANT SELECT, INSERT ON accounts.passwords TO aiaas_identity;
GRANT UPDATE (phc, changed_at) ON accounts.passwords TO aiaas_identity;
GRANT SELECT (last_organization), UPDATE (last_organization) ON accounts.users TO aiaas_identity;
GRANT SELECT, INSERT, DELETE ON accounts.sign_in_challenges, accounts.reset_tokens TO aiaas_identity;
GRANT UPDATE (used_at, detail) ON accounts.sign_in_challenges TO aiaas_identity;
GRANT SELECT, INSERT, DELETE ON accounts.reset_requests TO aiaas_identity;
GRANT UPDATE (at) ON accounts.reset_requests TO aiaas_identity; -- FOR UPDATE needs some
GRANT SELECT, INSERT, DELETE ON accounts.known_devices, accounts.throttles TO aiaas_identity;
GRANT UPDATE (seen_at) ON accounts.known_devices TO aiaas_identity;
GRANT UPDATE (full_at) ON accounts.throttles TO aiaas_identity;

-- What is looked up before a person is known.
GRANT SELECT ON accounts.passwords TO aiaas_lookup;
GRANT SELECT, DELETE ON accounts.sign_in_challenges, accounts.reset_tokens TO aiaas_lookup;
GRANT UPDATE (attempts) ON accounts.sign_in_challenges TO aiaas_lookup;

-- +goose StatementBegin

-- sign_in_account finds a person, by e-mail address or by id, with what recognises his
-- password and the organisations that he may work in, the oldest membership first.
CREATE FUNCTION accounts.sign_in_account(p_email text, p_user text, p_at timestamptz)
RETURNS TABLE (
  user_id text, email text, phc text, password_at timestamptz, last_organization text,
  org_ids text[], org_names text[], names text[], roles text[], role_names text[], settings jsonb[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT u.user_id, u.email, coalesce(p.phc, ''), p.changed_at, coalesce(u.last_organization, ''),
         coalesce(m.org_ids, '{}'), coalesce(m.org_names, '{}'), coalesce(m.names, '{}'), coalesce(m.roles, '{}'),
         coalesce(m.role_names, '{}'), coalesce(m.settings, '{}')
    FROM accounts.users u
    LEFT JOIN accounts.passwords p ON p.user_id = u.user_id
    LEFT JOIN LATERAL (
      SELECT array_agg(x.org_id ORDER BY x.created_at, x.org_id) AS org_ids, array_agg(o.name ORDER BY x.created_at, x.org_id) AS org_names,
             array_agg(x.name ORDER BY x.created_at, x.org_id) AS names, array_agg(x.role ORDER BY x.created_at, x.org_id) AS roles,
             array_agg(coalesce(r.name, x.role) ORDER BY x.created_at, x.org_id) AS role_names,
             array_agg(o.settings ORDER BY x.created_at, x.org_id) AS settings
        FROM accounts.members x
        JOIN accounts.organizations o ON o.org_id = x.org_id
        LEFT JOIN accounts.roles r ON r.org_id = x.org_id AND r.role_id = x.role
       WHERE x.user_id = u.user_id AND x.status = 'active'
         AND (o.status = 'active' OR o.status = 'trial' AND coalesce(o.trial_ends_at > p_at, true))) m ON true
   WHERE lower(u.email) = p_email OR u.user_id = p_user
   LIMIT 1
$$;

-- try_challenge counts an attempt at a challenge and tells what it is for, while it is
-- good and attempts are left.
CREATE FUNCTION accounts.try_challenge(p_hash bytea, p_purpose text, p_most integer, p_at timestamptz)
RETURNS TABLE (user_id text, detail jsonb)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE accounts.sign_in_challenges SET attempts = attempts + 1
   WHERE hash = p_hash AND purpose = p_purpose AND used_at IS NULL AND attempts < p_most AND expires_at > p_at
  RETURNING user_id, detail
$$;

-- challenge_owner tells who is asked, while a challenge is good.
CREATE FUNCTION accounts.challenge_owner(p_hash bytea, p_purpose text, p_most integer, p_at timestamptz) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT user_id FROM accounts.sign_in_challenges
   WHERE hash = p_hash AND purpose = p_purpose AND used_at IS NULL AND attempts < p_most AND expires_at > p_at
$$;

-- reset_owner tells whose link it is, while it is good.
CREATE FUNCTION accounts.reset_owner(p_hash bytea, p_at timestamptz) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT user_id FROM accounts.reset_tokens WHERE hash = p_hash AND expires_at > p_at $$;

-- prune_sign_in forgets challenges and links that nobody can use any more.
CREATE FUNCTION accounts.prune_sign_in(p_before timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE a bigint; b bigint;
BEGIN
  DELETE FROM accounts.sign_in_challenges WHERE expires_at < p_before;
  GET DIAGNOSTICS a = ROW_COUNT;
  DELETE FROM accounts.reset_tokens WHERE expires_at < p_before;
  GET DIAGNOSTICS b = ROW_COUNT;
  RETURN a + b;
END $$;

-- throttle_take takes one from each of some buckets, or from none, and tells for how
-- long there is none; zero where it took. The first bucket is that of a device that the
-- account knows; such a device takes from that one only, others from the rest. An
-- attempt that is refused writes nothing: else whoever is refused could fill the table.
CREATE FUNCTION accounts.throttle_take(p_account bytea, p_device bytea, p_buckets bytea[], p_every interval[], p_burst integer[], p_at timestamptz,
  OUT known boolean, OUT wait interval)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  lowest integer;
  highest integer;
  key integer;
BEGIN
  known := EXISTS (SELECT FROM accounts.known_devices d WHERE d.account = p_account AND d.device = p_device);
  lowest := CASE WHEN known THEN 1 ELSE 2 END;
  highest := CASE WHEN known THEN 1 ELSE array_length(p_buckets, 1) END;
  -- A bucket that is full has no row to be locked: its name is. The order keeps two at
  -- once from waiting for one another; two names of one key wait without need.
  FOR key IN SELECT DISTINCT ('x' || left(encode(p_buckets[i], 'hex'), 8))::bit(32)::integer AS k FROM generate_series(lowest, highest) i ORDER BY k LOOP
    PERFORM pg_advisory_xact_lock(4711, key);
  END LOOP;
  SELECT coalesce(max(greatest(t.full_at, p_at) + p_every[i] - (p_at + p_burst[i] * p_every[i])), interval '0') INTO wait
    FROM generate_series(lowest, highest) i JOIN accounts.throttles t ON t.bucket = p_buckets[i];
  IF wait > interval '0' THEN
    RETURN;
  END IF;
  wait := interval '0';
  INSERT INTO accounts.throttles AS t (bucket, full_at)
  SELECT b, p_at + e FROM unnest(p_buckets[lowest:highest], p_every[lowest:highest]) u(b, e) ORDER BY b
  ON CONFLICT (bucket) DO UPDATE SET full_at = greatest(t.full_at, p_at) + (excluded.full_at - p_at);
END $$;

-- throttle_give gives back what throttle_take took.
CREATE FUNCTION accounts.throttle_give(p_account bytea, p_device bytea, p_buckets bytea[], p_every interval[], p_at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  own boolean := EXISTS (SELECT FROM accounts.known_devices d WHERE d.account = p_account AND d.device = p_device);
  lowest integer := CASE WHEN own THEN 1 ELSE 2 END;
  highest integer := CASE WHEN own THEN 1 ELSE array_length(p_buckets, 1) END;
BEGIN
  PERFORM FROM accounts.throttles t WHERE t.bucket = ANY (p_buckets[lowest:highest]) ORDER BY t.bucket FOR UPDATE;
  UPDATE accounts.throttles t SET full_at = greatest(t.full_at - p_every[i], p_at)
    FROM generate_series(lowest, highest) i WHERE t.bucket = p_buckets[i];
END $$;
-- +goose StatementEnd
GRANT CREATE ON SCHEMA accounts TO aiaas_lookup;
ALTER FUNCTION accounts.sign_in_account(text, text, timestamptz) OWNER TO aiaas_lookup;
ALTER FUNCTION accounts.try_challenge(bytea, text, integer, timestamptz) OWNER TO aiaas_lookup;
ALTER FUNCTION accounts.challenge_owner(bytea, text, integer, timestamptz) OWNER TO aiaas_lookup;
ALTER FUNCTION accounts.reset_owner(bytea, timestamptz) OWNER TO aiaas_lookup;
ALTER FUNCTION accounts.prune_sign_in(timestamptz) OWNER TO aiaas_lookup;
REVOKE CREATE ON SCHEMA accounts FROM aiaas_lookup;
REVOKE ALL ON FUNCTION accounts.sign_in_account(text, text, timestamptz), accounts.try_challenge(bytea, text, integer, timestamptz),
  accounts.challenge_owner(bytea, text, integer, timestamptz), accounts.reset_owner(bytea, timestamptz), accounts.prune_sign_in(timestamptz),
  accounts.throttle_take(bytea, bytea, bytea[], interval[], integer[], timestamptz),
  accounts.throttle_give(bytea, bytea, bytea[], interval[], timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION accounts.sign_in_account(text, text, timestamptz), accounts.try_challenge(bytea, text, integer, timestamptz),
  accounts.challenge_owner(bytea, text, integer, timestamptz), accounts.reset_owner(bytea, timestamptz), accounts.prune_sign_in(timestamptz),
  accounts.throttle_take(bytea, bytea, bytea[], interval[], integer[], timestamptz),
  accounts.throttle_give(bytea, bytea, bytea[], interval[], timestamptz) TO aiaas_identity;
