-- Mails to people: queued with what causes them, sent by a job, once for each cause
-- and recipient.

-- +goose Up
-- +goose StatementBegin
DO $$
DECLARE r text;
BEGIN
  FOREACH r IN ARRAY ARRAY['aiaas_mailer'] LOOP
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

-- aiaas_mailer  sends mails and reminds of keys, across organisations
GRANT USAGE ON SCHEMA accounts TO aiaas_mailer;

CREATE TABLE accounts.mails (
  org_id          text NOT NULL REFERENCES accounts.organizations,
  mail_id         text NOT NULL,
  kind            text NOT NULL,
  recipient       text NOT NULL CHECK (recipient <> ''),
  data            jsonb NOT NULL, -- what it tells; emptied when it is sent or given up
  dedupe_key      text NOT NULL CHECK (dedupe_key <> ''),
  status          text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'sent', 'failed', 'suppressed')),
  attempts        integer NOT NULL DEFAULT 0,
  last_error      text NOT NULL DEFAULT '',
  created_at      timestamptz NOT NULL,
  next_attempt_at timestamptz NOT NULL, -- of one that is being sent: when its lease ends
  finished_at     timestamptz,
  PRIMARY KEY (org_id, mail_id),
  UNIQUE (org_id, dedupe_key)
);
CREATE INDEX mails_due ON accounts.mails (next_attempt_at) WHERE status = 'queued';
CREATE INDEX mails_by_age ON accounts.mails (created_at);
CREATE INDEX mails_to ON accounts.mails (org_id, lower(recipient), kind, created_at);

-- What was reminded of: each stage of each due date once.
CREATE TABLE accounts.key_reminders (
  org_id    text NOT NULL,
  key_id    text NOT NULL,
  rotate_by timestamptz NOT NULL,
  days      integer NOT NULL CHECK (days IN (0, 1, 7, 14)), -- before the date; 0: it has come
  at        timestamptz NOT NULL,
  PRIMARY KEY (org_id, key_id, rotate_by, days),
  FOREIGN KEY (org_id, key_id) REFERENCES accounts.api_keys
);

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['mails', 'key_reminders'] LOOP
    EXECUTE format('ALTER TABLE accounts.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE accounts.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY mailer ON accounts.%I TO aiaas_mailer USING (true) WITH CHECK (true)', t);
  END LOOP;
  CREATE POLICY mailer ON accounts.outbox FOR INSERT TO aiaas_mailer WITH CHECK (true);
  CREATE POLICY own_organization ON accounts.mails FOR SELECT TO aiaas_accounts
    USING (org_id = nullif(current_setting('app.org_id', true), ''));
  FOREACH t IN ARRAY ARRAY['organizations', 'members', 'users', 'api_keys'] LOOP
    EXECUTE format('CREATE POLICY mailer ON accounts.%I FOR SELECT TO aiaas_mailer USING (true)', t);
  END LOOP;
END $$;
-- +goose StatementEnd

-- All but what a mail tells: it may hold a link for its recipient alone.
GRANT SELECT (org_id, mail_id, kind, recipient, status, attempts, last_error, created_at, next_attempt_at, finished_at) ON accounts.mails TO aiaas_accounts;
GRANT SELECT, INSERT, DELETE ON accounts.mails TO aiaas_mailer;
GRANT UPDATE (data, status, attempts, last_error, next_attempt_at, finished_at) ON accounts.mails TO aiaas_mailer;
GRANT SELECT, INSERT ON accounts.key_reminders TO aiaas_mailer;
GRANT INSERT ON accounts.outbox TO aiaas_mailer;
GRANT SELECT (org_id, name, status, contacts, legal_hold) ON accounts.organizations TO aiaas_mailer;
GRANT SELECT (org_id, user_id, role, status, name) ON accounts.members TO aiaas_mailer;
GRANT SELECT (user_id, email) ON accounts.users TO aiaas_mailer;
GRANT SELECT (org_id, key_id, project_id, name, environment, kind, owner_id, fingerprint, rotate_by, expires_at, revoked_at, suspended_at) ON accounts.api_keys TO aiaas_mailer;

-- may_name tells whether a transaction may ask about an organisation: requests about
-- the one that they have named, the roles that span organisations about any.
-- +goose StatementBegin
CREATE FUNCTION accounts.may_name(p_org text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN nullif(current_setting('app.org_id', true), '') IS NOT NULL THEN p_org = current_setting('app.org_id', true)
              ELSE current_setting('role') <> 'aiaas_accounts' END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION accounts.may_name(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION accounts.may_name(text) TO aiaas_mailer;

-- +goose StatementBegin

-- mail_directory tells who of an organisation can be written to: its name, its
-- contacts by what they are for, and its members that are not suspended.
CREATE FUNCTION accounts.mail_directory(p_org text)
RETURNS TABLE (part text, id text, address text, name text, role text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT accounts.may_name(p_org) THEN
    RAISE EXCEPTION 'another organisation is named' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN QUERY
    SELECT 'organization', o.org_id, '', o.name, o.status FROM accounts.organizations o WHERE o.org_id = p_org
    UNION ALL
    SELECT 'contact', '', c.value, '', c.key FROM accounts.organizations o, jsonb_each_text(o.contacts) c
     WHERE o.org_id = p_org AND c.value <> ''
    UNION ALL
    SELECT 'member', u.user_id, u.email, m.name, m.role
      FROM accounts.members m JOIN accounts.users u ON u.user_id = m.user_id
     WHERE m.org_id = p_org AND m.status = 'active'
    ORDER BY 1, 2, 5;
END $$;

-- mail_key is a key as mails about it show it.
CREATE FUNCTION accounts.mail_key(p_org text, p_key text)
RETURNS TABLE (name text, fingerprint text, environment text, kind text, owner_id text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT accounts.may_name(p_org) THEN
    RAISE EXCEPTION 'another organisation is named' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN QUERY SELECT k.name, k.fingerprint, k.environment, k.kind, k.owner_id
    FROM accounts.api_keys k WHERE k.org_id = p_org AND k.key_id = p_key;
END $$;

-- queue_mails queues those whose dedupe key is new, in the transaction of what
-- causes them, and tells their ids. Nobody gets more than thirty mails of a kind in
-- an hour: an address that somebody entered can't be flooded, nor can what matters
-- be hidden among mails of another kind. What is over that is kept as suppressed.
CREATE FUNCTION accounts.queue_mails(p_org text, p_ids text[], p_kinds text[], p_recipients text[], p_data jsonb[], p_keys text[], p_at timestamptz)
RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT accounts.may_name(p_org) THEN
    RAISE EXCEPTION 'another organisation is named' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN QUERY
    INSERT INTO accounts.mails AS m (org_id, mail_id, kind, recipient, data, dedupe_key, created_at, next_attempt_at)
    SELECT p_org, n.mail_id, n.kind, n.recipient, n.data, n.dedupe_key, p_at, p_at
      FROM unnest(p_ids, p_kinds, p_recipients, p_data, p_keys) AS n(mail_id, kind, recipient, data, dedupe_key)
     WHERE 30 > (SELECT count(*) FROM accounts.mails o WHERE o.org_id = p_org AND lower(o.recipient) = lower(n.recipient)
                  AND o.kind = n.kind AND o.created_at > p_at - interval '1 hour' AND o.status <> 'suppressed')
    ON CONFLICT (org_id, dedupe_key) DO NOTHING
    RETURNING m.mail_id;
  INSERT INTO accounts.mails (org_id, mail_id, kind, recipient, data, dedupe_key, created_at, next_attempt_at, finished_at, status, last_error)
  SELECT p_org, n.mail_id, n.kind, n.recipient, '{}', n.dedupe_key, p_at, p_at, p_at, 'suppressed', 'more than 30 mails of this kind within an hour'
    FROM unnest(p_ids, p_kinds, p_recipients, p_keys) AS n(mail_id, kind, recipient, dedupe_key)
  ON CONFLICT DO NOTHING;
END $$;
-- +goose StatementEnd
GRANT CREATE ON SCHEMA accounts TO aiaas_mailer;
ALTER FUNCTION accounts.mail_directory(text) OWNER TO aiaas_mailer;
ALTER FUNCTION accounts.mail_key(text, text) OWNER TO aiaas_mailer;
ALTER FUNCTION accounts.queue_mails(text, text[], text[], text[], jsonb[], text[], timestamptz) OWNER TO aiaas_mailer;
REVOKE CREATE ON SCHEMA accounts FROM aiaas_mailer;
REVOKE ALL ON FUNCTION accounts.mail_directory(text), accounts.mail_key(text, text), accounts.queue_mails(text, text[], text[], text[], jsonb[], text[], timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION accounts.mail_directory(text), accounts.mail_key(text, text), accounts.queue_mails(text, text[], text[], text[], jsonb[], text[], timestamptz)
  TO aiaas_accounts, aiaas_notifier, aiaas_mailer;
