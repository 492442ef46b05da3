-- Invitations, what people set for themselves, and mails to one person.

-- +goose Up

-- Whose mailbox it is has been shown by a link that was sent there.
ALTER TABLE accounts.users ADD COLUMN email_verified_at timestamptz;

CREATE TABLE accounts.invitations (
  org_id        text NOT NULL REFERENCES accounts.organizations,
  invitation_id text NOT NULL,
  email         text NOT NULL CHECK (email <> '' AND email = lower(email)),
  name          text NOT NULL DEFAULT '', -- what the organisation calls the person; '': as he calls himself
  role          text NOT NULL CHECK (role IN
    ('owner', 'admin', 'finance', 'manager', 'analyst', 'developer', 'system_administrator', 'security', 'operations', 'architect', 'support')
    OR role LIKE 'role\_%'),
  projects      jsonb NOT NULL DEFAULT '{}', -- roles by project
  token_hash    bytea NOT NULL CHECK (length(token_hash) = 32), -- SHA-256 of the link's secret
  status        text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'accepted', 'withdrawn', 'expired')),
  invited_by    text NOT NULL, -- the credential
  inviter_id    text NOT NULL, -- the member or service account whose word it is
  sends         integer NOT NULL DEFAULT 1 CHECK (sends > 0),
  sent_at       timestamptz NOT NULL,
  created_at    timestamptz NOT NULL,
  expires_at    timestamptz NOT NULL,
  ended_at      timestamptz,
  member_id     text, -- who accepted it
  PRIMARY KEY (org_id, invitation_id),
  CHECK ((status = 'open') = (ended_at IS NULL)),
  CHECK ((status = 'accepted') = (member_id IS NOT NULL))
);
CREATE UNIQUE INDEX invitations_open ON accounts.invitations (org_id, email) WHERE status = 'open';
CREATE UNIQUE INDEX invitations_token ON accounts.invitations (token_hash);
CREATE INDEX invitations_sent ON accounts.invitations (org_id, sent_at);
CREATE INDEX invitations_due ON accounts.invitations (expires_at) WHERE status = 'open';
CREATE INDEX invitations_ended ON accounts.invitations (ended_at) WHERE status <> 'open';

-- What a person sets for himself, in all organisations.
CREATE TABLE accounts.profiles (
  user_id    text PRIMARY KEY REFERENCES accounts.users,
  time_zone  text NOT NULL DEFAULT '', -- IANA; '': that of the organisation
  locale     text NOT NULL DEFAULT '', -- BCP 47
  unwanted   text[] NOT NULL DEFAULT '{}', -- groups of mails that he does not want
  updated_at timestamptz NOT NULL
);

ALTER TABLE accounts.invitations ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts.invitations FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON accounts.invitations TO aiaas_accounts
  USING (org_id = nullif(current_setting('app.org_id', true), ''))
  WITH CHECK (org_id = nullif(current_setting('app.org_id', true), ''));
CREATE POLICY lookup ON accounts.invitations TO aiaas_lookup USING (true) WITH CHECK (true);
-- All but the hash: who can read the table can't look for a link that he knows.
GRANT SELECT (org_id, invitation_id, email, name, role, projects, status, invited_by, inviter_id, sends, sent_at, created_at, expires_at, ended_at, member_id)
  ON accounts.invitations TO aiaas_accounts;
GRANT INSERT ON accounts.invitations TO aiaas_accounts;
GRANT UPDATE (token_hash, status, invited_by, inviter_id, sends, sent_at, expires_at, ended_at) ON accounts.invitations TO aiaas_accounts;
GRANT SELECT, DELETE ON accounts.invitations TO aiaas_lookup;
GRANT UPDATE (status, ended_at, member_id) ON accounts.invitations TO aiaas_lookup;
GRANT UPDATE (name, email_verified_at) ON accounts.users TO aiaas_lookup;
GRANT INSERT ON accounts.passwords TO aiaas_lookup;

ALTER TABLE accounts.profiles ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts.profiles FORCE ROW LEVEL SECURITY;
CREATE POLICY own_person ON accounts.profiles TO aiaas_identity
  USING (user_id = nullif(current_setting('app.user_id', true), ''))
  WITH CHECK (user_id = nullif(current_setting('app.user_id', true), ''));
CREATE POLICY mailer ON accounts.profiles FOR SELECT TO aiaas_mailer USING (true);
GRANT SELECT, INSERT, UPDATE ON accounts.profiles TO aiaas_identity;
GRANT SELECT (user_id, unwanted) ON accounts.profiles TO aiaas_mailer;
CREATE POLICY own_name ON accounts.users FOR UPDATE TO aiaas_identity
  USING (user_id = nullif(current_setting('app.user_id', true), ''))
  WITH CHECK (user_id = nullif(current_setting('app.user_id', true), ''));
GRANT SELECT (name, email_verified_at), UPDATE (name) ON accounts.users TO aiaas_identity;
GRANT SELECT (created_at) ON accounts.members TO aiaas_mailer;

DROP FUNCTION accounts.mail_directory(text);
-- +goose StatementBegin

-- mail_directory tells who of an organisation can be written to: its name, its
-- contacts by what they are for, and its members that are not suspended, with what
-- they do not want.
CREATE FUNCTION accounts.mail_directory(p_org text)
RETURNS TABLE (part text, id text, address text, name text, role text, unwanted text[])
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT accounts.may_name(p_org) THEN
    RAISE EXCEPTION 'another organisation is named' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN QUERY
    SELECT 'organization', o.org_id, '', o.name, o.status, '{}'::text[] FROM accounts.organizations o WHERE o.org_id = p_org
    UNION ALL
    SELECT 'contact', '', c.value, '', c.key, '{}'::text[] FROM accounts.organizations o, jsonb_each_text(o.contacts) c
     WHERE o.org_id = p_org AND c.value <> ''
    UNION ALL
    SELECT 'member', u.user_id, u.email, m.name, m.role, coalesce(f.unwanted, '{}')
      FROM accounts.members m JOIN accounts.users u ON u.user_id = m.user_id LEFT JOIN accounts.profiles f ON f.user_id = m.user_id
     WHERE m.org_id = p_org AND m.status = 'active'
    ORDER BY 1, 2, 5;
END $$;

-- queue_note queues a mail to one person about what is the person's own: on the
-- account of the organisation that is named, or of the one that he has been in for
-- the longest. It tells whether there is such a membership; without one, nothing is
-- queued. A transaction of one person queues none to another.
CREATE FUNCTION accounts.queue_note(p_id text, p_org text, p_user text, p_kind text, p_content jsonb, p_sealed text, p_at timestamptz)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  own text := nullif(current_setting('app.user_id', true), '');
  home text;
  org_name text;
  address text;
  letter jsonb;
BEGIN
  IF own IS NOT NULL AND own <> p_user THEN
    RAISE EXCEPTION 'another person is named' USING ERRCODE = 'insufficient_privilege';
  END IF;
  SELECT m.org_id, o.name, u.email INTO home, org_name, address
    FROM accounts.members m
    JOIN accounts.organizations o ON o.org_id = m.org_id
    JOIN accounts.users u ON u.user_id = m.user_id
   WHERE m.user_id = p_user AND (p_org = '' OR m.org_id = p_org)
   ORDER BY m.status = 'active' AND o.status IN ('active', 'trial') DESC, m.created_at, m.org_id LIMIT 1;
  IF home IS NULL THEN
    RETURN false;
  END IF;
  letter := jsonb_build_object('organization', org_name, 'why', 'a member', 'content', p_content);
  IF p_sealed <> '' THEN
    letter := letter || jsonb_build_object('sealed', p_sealed);
  END IF;
  PERFORM accounts.queue_mails(home, ARRAY[p_id], ARRAY[p_kind], ARRAY[address], ARRAY[letter], ARRAY[p_id], p_at);
  RETURN true;
END $$;

-- find_invitation finds an invitation by the hash of its link's secret, with what
-- the one who has the link is asked for.
CREATE FUNCTION accounts.find_invitation(p_hash bytea, p_at timestamptz)
RETURNS TABLE (org_id text, org_name text, org_serves boolean, invitation_id text, email text, role text, role_name text,
  status text, expires_at timestamptz, name text, user_id text, has_password boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT i.org_id, o.name, o.status = 'active' OR o.status = 'trial' AND coalesce(o.trial_ends_at > p_at, true), i.invitation_id, i.email, i.role, coalesce(r.name, i.role), i.status, i.expires_at, i.name, u.user_id,
         EXISTS (SELECT FROM accounts.passwords p WHERE p.user_id = u.user_id)
    FROM accounts.invitations i
    JOIN accounts.organizations o ON o.org_id = i.org_id
    LEFT JOIN accounts.roles r ON r.org_id = i.org_id AND r.role_id = i.role
    LEFT JOIN accounts.users u ON lower(u.email) = i.email
   WHERE i.token_hash = p_hash
$$;

-- take_invitation ends an open invitation as accepted: once, however many try. It
-- finds the person, or makes him, remembers that the mailbox is his, and keeps his
-- first password where one is given; one that is there already is never replaced.
CREATE FUNCTION accounts.take_invitation(p_hash bytea, p_name text, p_phc text, p_at timestamptz)
RETURNS TABLE (org_id text, invitation_id text, user_id text, email text, own_name text, name text, role text, projects jsonb, inviter_id text, invited_by text,
  expires_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  i accounts.invitations%ROWTYPE;
  person text;
  called text;
BEGIN
  SELECT * INTO i FROM accounts.invitations x WHERE x.token_hash = p_hash AND x.status = 'open' AND x.expires_at > p_at FOR UPDATE;
  IF NOT FOUND OR NOT accounts.may_name(i.org_id) THEN
    RETURN;
  END IF;
  person := accounts.ensure_user('user_' || replace(gen_random_uuid()::text, '-', ''), i.email, p_at);
  UPDATE accounts.invitations x SET status = 'accepted', ended_at = p_at, member_id = person
   WHERE x.org_id = i.org_id AND x.invitation_id = i.invitation_id;
  UPDATE accounts.users u SET email_verified_at = coalesce(u.email_verified_at, p_at), name = CASE WHEN u.name = '' THEN p_name ELSE u.name END
   WHERE u.user_id = person RETURNING u.name INTO called;
  IF p_phc <> '' THEN
    INSERT INTO accounts.passwords (user_id, phc, changed_at) VALUES (person, p_phc, p_at);
  END IF;
  RETURN QUERY SELECT i.org_id, i.invitation_id, person, i.email, called, i.name, i.role, i.projects, i.inviter_id, i.invited_by, i.expires_at;
END $$;

-- expire_invitations ends those whose time is over, and tells of them. Two processes
-- that do it at once end each one once.
CREATE FUNCTION accounts.expire_invitations(p_now timestamptz, p_limit integer)
RETURNS TABLE (org_id text, invitation_id text, email text, role text)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  WITH due AS (
    SELECT i.org_id, i.invitation_id FROM accounts.invitations i WHERE i.status = 'open' AND i.expires_at <= p_now
     ORDER BY i.expires_at LIMIT p_limit FOR UPDATE SKIP LOCKED)
  UPDATE accounts.invitations i SET status = 'expired', ended_at = p_now
    FROM due WHERE i.org_id = due.org_id AND i.invitation_id = due.invitation_id
  RETURNING i.org_id, i.invitation_id, i.email, i.role
$$;

-- prune_invitations forgets those that ended before a time; those of organisations
-- under legal hold stay.
CREATE FUNCTION accounts.prune_invitations(p_before timestamptz, p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE n integer;
BEGIN
  DELETE FROM accounts.invitations i USING (
    SELECT x.org_id, x.invitation_id FROM accounts.invitations x JOIN accounts.organizations o ON o.org_id = x.org_id
     WHERE x.status <> 'open' AND x.ended_at < p_before AND NOT o.legal_hold ORDER BY x.ended_at LIMIT p_limit) old
   WHERE i.org_id = old.org_id AND i.invitation_id = old.invitation_id;
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END $$;
-- +goose StatementEnd
GRANT CREATE ON SCHEMA accounts TO aiaas_mailer, aiaas_lookup;
ALTER FUNCTION accounts.mail_directory(text) OWNER TO aiaas_mailer;
ALTER FUNCTION accounts.queue_note(text, text, text, text, jsonb, text, timestamptz) OWNER TO aiaas_mailer;
ALTER FUNCTION accounts.find_invitation(bytea, timestamptz) OWNER TO aiaas_lookup;
ALTER FUNCTION accounts.take_invitation(bytea, text, text, timestamptz) OWNER TO aiaas_lookup;
ALTER FUNCTION accounts.expire_invitations(timestamptz, integer) OWNER TO aiaas_lookup;
ALTER FUNCTION accounts.prune_invitations(timestamptz, integer) OWNER TO aiaas_lookup;
REVOKE CREATE ON SCHEMA accounts FROM aiaas_mailer, aiaas_lookup;
REVOKE ALL ON FUNCTION accounts.mail_directory(text), accounts.queue_note(text, text, text, text, jsonb, text, timestamptz),
  accounts.find_invitation(bytea, timestamptz), accounts.take_invitation(bytea, text, text, timestamptz),
  accounts.expire_invitations(timestamptz, integer), accounts.prune_invitations(timestamptz, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION accounts.may_name(text) TO aiaas_lookup;
GRANT EXECUTE ON FUNCTION accounts.mail_directory(text) TO aiaas_accounts, aiaas_notifier, aiaas_mailer;
GRANT EXECUTE ON FUNCTION accounts.queue_note(text, text, text, text, jsonb, text, timestamptz) TO aiaas_accounts, aiaas_identity, aiaas_mailer;
GRANT EXECUTE ON FUNCTION accounts.find_invitation(bytea, timestamptz) TO aiaas_identity, aiaas_accounts;
GRANT EXECUTE ON FUNCTION accounts.take_invitation(bytea, text, text, timestamptz) TO aiaas_accounts;
GRANT EXECUTE ON FUNCTION accounts.expire_invitations(timestamptz, integer), accounts.prune_invitations(timestamptz, integer) TO aiaas_identity;
