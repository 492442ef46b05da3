-- Single sign-on: the domains that an organisation has shown to be its own, its
-- connections to OpenID Connect issuers, whom it knows by them, and sign-ins that
-- are under way.

-- +goose Up
CREATE TABLE accounts.sso_domains (
  org_id      text NOT NULL REFERENCES accounts.organizations,
  domain_id   text NOT NULL,
  name        text NOT NULL CHECK (name = lower(name) AND name <> ''),
  token       text NOT NULL, -- what the TXT record has to hold; public once it is there
  created_by  text NOT NULL,
  created_at  timestamptz NOT NULL,
  verified_at timestamptz, -- null: the record was not seen yet, or not any more
  checked_at  timestamptz, -- when the record was looked for last
  missed      integer NOT NULL DEFAULT 0, -- so many times in a row it was not there
  PRIMARY KEY (org_id, domain_id),
  UNIQUE (org_id, name)
);
-- A domain that one organisation has verified is nobody else's, until the DNS says so.
CREATE UNIQUE INDEX sso_domains_verified ON accounts.sso_domains (name) WHERE verified_at IS NOT NULL;

CREATE TABLE accounts.sso_connections (
  org_id        text NOT NULL REFERENCES accounts.organizations,
  connection_id text NOT NULL,
  name          text NOT NULL CHECK (name <> ''),
  issuer        text NOT NULL CHECK (issuer <> ''), -- never changed: subjects are known by it
  client_id     text NOT NULL CHECK (client_id <> ''), -- nor this: an issuer may name people anew for each client
  secret        text NOT NULL, -- sealed and bound to the row's id; '': a public client
  domains       text[] NOT NULL DEFAULT '{}', -- those it serves; none: all of the organisation's that no other names
  default_role  text, -- of who is in no mapped group; null: he is refused
  groups_claim  text NOT NULL DEFAULT '',
  group_roles   jsonb NOT NULL DEFAULT '{}', -- {group: role}
  required      boolean NOT NULL,
  trust_mfa     boolean NOT NULL,
  enabled       boolean NOT NULL,
  authority     text NOT NULL, -- the role of who last said whom it speaks for: it vouches for nobody above
  created_by    text NOT NULL,
  created_at    timestamptz NOT NULL,
  updated_at    timestamptz NOT NULL,
  PRIMARY KEY (org_id, connection_id),
  CHECK (trust_mfa OR NOT required) -- or whose role forces a second factor could show none
);

CREATE TABLE accounts.sso_identities (
  org_id        text NOT NULL,
  identity_id   text NOT NULL,
  connection_id text NOT NULL,
  subject       text NOT NULL CHECK (subject <> ''),
  user_id       text NOT NULL REFERENCES accounts.users,
  given_role    text NOT NULL DEFAULT '', -- that a group gave last; '': none did
  created_at    timestamptz NOT NULL,
  seen_at       timestamptz NOT NULL,
  PRIMARY KEY (org_id, identity_id),
  UNIQUE (org_id, connection_id, subject),
  UNIQUE (org_id, connection_id, user_id),
  FOREIGN KEY (org_id, connection_id) REFERENCES accounts.sso_connections ON DELETE CASCADE
);

-- Sign-ins that are under way at an issuer. What proves them, the browser holds.
CREATE TABLE accounts.sso_states (
  org_id        text NOT NULL,
  state_hash    bytea NOT NULL CHECK (length(state_hash) = 32),
  browser_hash  bytea NOT NULL CHECK (length(browser_hash) = 32),
  connection_id text NOT NULL,
  session_id    text NOT NULL DEFAULT '', -- that is to be proved anew; '': a sign-in
  return_to     text NOT NULL DEFAULT '',
  created_at    timestamptz NOT NULL,
  expires_at    timestamptz NOT NULL,
  PRIMARY KEY (org_id, state_hash),
  FOREIGN KEY (org_id, connection_id) REFERENCES accounts.sso_connections ON DELETE CASCADE
);
CREATE UNIQUE INDEX sso_states_hash ON accounts.sso_states (state_hash);
CREATE INDEX sso_states_expiry ON accounts.sso_states (expires_at);

-- Who was a member and is none any more: single sign-on does not make him one again.
CREATE TABLE accounts.departures (
  org_id  text NOT NULL REFERENCES accounts.organizations,
  user_id text NOT NULL REFERENCES accounts.users,
  left_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, user_id)
);

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['sso_domains', 'sso_connections', 'sso_identities', 'sso_states', 'departures'] LOOP
    EXECUTE format('ALTER TABLE accounts.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE accounts.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format($p$CREATE POLICY own_organization ON accounts.%I TO aiaas_accounts
      USING (org_id = nullif(current_setting('app.org_id', true), ''))
      WITH CHECK (org_id = nullif(current_setting('app.org_id', true), ''))$p$, t);
  END LOOP;
  FOREACH t IN ARRAY ARRAY['sso_domains', 'sso_connections'] LOOP
    EXECUTE format('CREATE POLICY lookup ON accounts.%I FOR SELECT TO aiaas_lookup USING (true)', t);
  END LOOP;
  FOREACH t IN ARRAY ARRAY['sso_states', 'departures'] LOOP
    EXECUTE format('CREATE POLICY lookup ON accounts.%I TO aiaas_lookup USING (true) WITH CHECK (true)', t);
  END LOOP;
END $$;
-- +goose StatementEnd

GRANT SELECT, INSERT, DELETE ON accounts.sso_domains, accounts.sso_connections, accounts.sso_identities, accounts.sso_states TO aiaas_accounts;
GRANT UPDATE (token, verified_at, checked_at, missed) ON accounts.sso_domains TO aiaas_accounts;
GRANT UPDATE (name, secret, domains, default_role, groups_claim, group_roles, required, trust_mfa, enabled, authority, updated_at)
  ON accounts.sso_connections TO aiaas_accounts;
GRANT UPDATE (given_role, seen_at) ON accounts.sso_identities TO aiaas_accounts;
GRANT SELECT ON accounts.departures TO aiaas_accounts;
GRANT SELECT ON accounts.sso_domains, accounts.sso_connections TO aiaas_lookup;
GRANT SELECT, DELETE ON accounts.sso_states TO aiaas_lookup;
GRANT SELECT, INSERT, DELETE ON accounts.departures TO aiaas_lookup;

-- +goose StatementBegin
-- find_sso tells where people with addresses of a domain sign in.
CREATE FUNCTION accounts.find_sso(p_domain text) RETURNS TABLE (org_id text, connection_id text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.org_id, c.connection_id
    FROM accounts.sso_domains d
    JOIN accounts.sso_connections c ON c.org_id = d.org_id AND c.enabled AND (c.domains = '{}' OR d.name = ANY (c.domains))
   WHERE d.name = p_domain AND d.verified_at IS NOT NULL
   ORDER BY c.domains = '{}', c.connection_id LIMIT 1
$$;

-- take_sso_state ends a sign-in that is under way, and returns it: once, and to the
-- browser that began it only.
CREATE FUNCTION accounts.take_sso_state(p_state bytea, p_browser bytea)
RETURNS TABLE (org_id text, connection_id text, session_id text, return_to text, created_at timestamptz, expires_at timestamptz)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  DELETE FROM accounts.sso_states s WHERE s.state_hash = p_state AND s.browser_hash = p_browser
  RETURNING s.org_id, s.connection_id, s.session_id, s.return_to, s.created_at, s.expires_at
$$;

-- prune_sso_states forgets sign-ins that nobody came back from.
CREATE FUNCTION accounts.prune_sso_states(p_before timestamptz, p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE n integer;
BEGIN
  DELETE FROM accounts.sso_states s USING (
    SELECT x.state_hash FROM accounts.sso_states x WHERE x.expires_at < p_before ORDER BY x.expires_at LIMIT p_limit) old
   WHERE s.state_hash = old.state_hash;
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END $$;

-- sso_domain_holder tells who has verified a domain, and whether he is gone for good:
-- what the DNS has to show for him is public.
CREATE FUNCTION accounts.sso_domain_holder(p_name text) RETURNS TABLE (org_id text, domain_id text, token text, closed boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT d.org_id, d.domain_id, d.token, o.status = 'closed'
    FROM accounts.sso_domains d JOIN accounts.organizations o ON o.org_id = d.org_id
   WHERE d.name = p_name AND d.verified_at IS NOT NULL
$$;

-- due_sso_domains lists verified domains whose record was not looked for lately, in
-- the order of their ids.
CREATE FUNCTION accounts.due_sso_domains(p_before timestamptz, p_after text, p_limit integer)
RETURNS TABLE (org_id text, domain_id text, name text, token text, verified_at timestamptz, checked_at timestamptz, missed integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT d.org_id, d.domain_id, d.name, d.token, d.verified_at, d.checked_at, d.missed FROM accounts.sso_domains d
   WHERE d.verified_at IS NOT NULL AND coalesce(d.checked_at, d.verified_at) <= p_before AND d.domain_id > p_after
   ORDER BY d.domain_id LIMIT p_limit
$$;

-- note_departure remembers who has left; being added again by somebody forgets it.
CREATE FUNCTION accounts.note_departure() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    INSERT INTO accounts.departures (org_id, user_id) VALUES (OLD.org_id, OLD.user_id)
      ON CONFLICT (org_id, user_id) DO UPDATE SET left_at = excluded.left_at;
  ELSE
    DELETE FROM accounts.departures WHERE org_id = NEW.org_id AND user_id = NEW.user_id;
  END IF;
  RETURN NULL;
END $$;
-- +goose StatementEnd
GRANT UPDATE (left_at) ON accounts.departures TO aiaas_lookup;
GRANT CREATE ON SCHEMA accounts TO aiaas_lookup;
ALTER FUNCTION accounts.find_sso(text) OWNER TO aiaas_lookup;
ALTER FUNCTION accounts.take_sso_state(bytea, bytea) OWNER TO aiaas_lookup;
ALTER FUNCTION accounts.prune_sso_states(timestamptz, integer) OWNER TO aiaas_lookup;
ALTER FUNCTION accounts.sso_domain_holder(text) OWNER TO aiaas_lookup;
ALTER FUNCTION accounts.due_sso_domains(timestamptz, text, integer) OWNER TO aiaas_lookup;
ALTER FUNCTION accounts.note_departure() OWNER TO aiaas_lookup;
REVOKE CREATE ON SCHEMA accounts FROM aiaas_lookup;
REVOKE ALL ON FUNCTION accounts.find_sso(text), accounts.take_sso_state(bytea, bytea), accounts.prune_sso_states(timestamptz, integer),
  accounts.sso_domain_holder(text), accounts.due_sso_domains(timestamptz, text, integer), accounts.note_departure() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION accounts.find_sso(text), accounts.take_sso_state(bytea, bytea), accounts.prune_sso_states(timestamptz, integer),
  accounts.sso_domain_holder(text), accounts.due_sso_domains(timestamptz, text, integer) TO aiaas_accounts;
-- Whoever makes the trigger may run its function, and nobody else.
GRANT EXECUTE ON FUNCTION accounts.note_departure() TO CURRENT_USER;
CREATE TRIGGER note_departure AFTER INSERT OR DELETE ON accounts.members FOR EACH ROW EXECUTE FUNCTION accounts.note_departure();
