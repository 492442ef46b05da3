-- Invoices: sums of the ledger by accounting period. An issued one never changes;
-- the database itself refuses.

-- +goose Up
-- +goose StatementBegin
DO $$
BEGIN
  BEGIN
    CREATE ROLE aiaas_billing NOLOGIN;
  EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
  END;
  -- As for the other roles in 00001.
  IF current_setting('server_version_num')::int < 160000 THEN
    IF NOT pg_has_role(current_user, 'aiaas_billing', 'MEMBER') THEN
      GRANT aiaas_billing TO CURRENT_USER;
    END IF;
  ELSIF NOT (pg_has_role(current_user, 'aiaas_billing', 'SET') AND pg_has_role(current_user, 'aiaas_billing', 'USAGE')) THEN
    EXECUTE 'GRANT aiaas_billing TO CURRENT_USER WITH INHERIT TRUE, SET TRUE';
  END IF;
END $$;
-- +goose StatementEnd

-- aiaas_billing closes months and issues invoices. It sees across organisations what
-- is due, and writes within the one that the transaction names.
GRANT USAGE ON SCHEMA analytics TO aiaas_billing;

CREATE TABLE analytics.sellers (
  seller_id     text PRIMARY KEY,
  name          text NOT NULL CHECK (name <> ''),
  address       text[] NOT NULL DEFAULT '{}',
  country       text NOT NULL DEFAULT '',
  tax_id        text NOT NULL DEFAULT '',
  email         text NOT NULL DEFAULT '',
  payment       text[] NOT NULL DEFAULT '{}', -- how to pay, line by line
  number_prefix text NOT NULL DEFAULT 'INV' CHECK (number_prefix ~ '^[A-Z0-9-]{1,16}$'),
  updated_at    timestamptz
);
INSERT INTO analytics.sellers (seller_id, name) VALUES ('default', 'AIaaS');

-- The last number that a seller has used in a year. Whoever takes the next holds the
-- seller's row until the invoice has it: there are no gaps, and numbers and dates
-- have one order.
CREATE TABLE analytics.invoice_numbers (
  seller_id text NOT NULL REFERENCES analytics.sellers,
  year      integer NOT NULL,
  last      bigint NOT NULL CHECK (last > 0),
  PRIMARY KEY (seller_id, year)
);

-- Who is billed, as the organisation says it.
CREATE TABLE analytics.billing_profiles (
  org_id         text PRIMARY KEY,
  name           text NOT NULL DEFAULT '', -- '': the organisation's name
  address        text[] NOT NULL DEFAULT '{}',
  country        text NOT NULL DEFAULT '',
  tax_id         text NOT NULL DEFAULT '',
  email          text NOT NULL DEFAULT '',
  purchase_order text NOT NULL DEFAULT '',
  terms_days     integer NOT NULL DEFAULT 30 CHECK (terms_days IN (0, 15, 30, 60)),
  updated_at     timestamptz NOT NULL
);

CREATE TABLE analytics.invoices (
  org_id        text NOT NULL,
  invoice_id    text NOT NULL,
  period        date NOT NULL CHECK (extract(day FROM period) = 1),
  currency      text NOT NULL,
  time_zone     text NOT NULL, -- in which the period begins and ends
  requests      bigint NOT NULL,
  input_tokens  bigint NOT NULL,
  cached_input_tokens bigint NOT NULL,
  output_tokens bigint NOT NULL,
  usage_nano    bigint NOT NULL, -- exact
  rounding_nano bigint NOT NULL, -- to whole coins; the total is the sum of the two
  status        text NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'issued', 'paid', 'past_due', 'uncollectible', 'void')),
  created_at    timestamptz NOT NULL,
  -- What issuing adds:
  seller_id     text REFERENCES analytics.sellers,
  year          integer,
  sequence      bigint,
  number        text,
  issued_at     timestamptz,
  due_on        date,
  seller        jsonb, -- as it was then
  customer      jsonb,
  PRIMARY KEY (org_id, invoice_id),
  UNIQUE (org_id, period, currency),
  CHECK (num_nulls(seller_id, year, sequence, number, issued_at, due_on, seller, customer) = CASE status WHEN 'draft' THEN 8 ELSE 0 END)
);
-- Numbers are the seller's, over all organisations.
CREATE UNIQUE INDEX invoices_sequence ON analytics.invoices (seller_id, year, sequence) WHERE status <> 'draft';
CREATE UNIQUE INDEX invoices_number ON analytics.invoices (seller_id, number) WHERE status <> 'draft';
CREATE INDEX invoices_drafts ON analytics.invoices (org_id) WHERE status = 'draft';
CREATE INDEX invoices_period ON analytics.invoices (period, org_id); -- a run shows those of its month

CREATE TABLE analytics.invoice_lines (
  org_id        text NOT NULL,
  invoice_id    text NOT NULL,
  line          integer NOT NULL,
  project_id    text NOT NULL,
  project_name  text NOT NULL,
  model         text NOT NULL,
  requests      bigint NOT NULL,
  input_tokens  bigint NOT NULL,
  cached_input_tokens bigint NOT NULL,
  output_tokens bigint NOT NULL,
  usage_nano    bigint NOT NULL,
  rounding_nano bigint NOT NULL,
  first_at      timestamptz NOT NULL, -- of the requests' admission
  last_at       timestamptz NOT NULL,
  PRIMARY KEY (org_id, invoice_id, line),
  FOREIGN KEY (org_id, invoice_id) REFERENCES analytics.invoices
);

-- Entries that are billed after their own month's end: few, and found apart. Two days
-- are more than any two zones differ by.
CREATE INDEX ledger_entries_late ON analytics.ledger_entries (org_id, accounting_period)
  WHERE accounting_period > (admitted_at AT TIME ZONE 'UTC')::date + 2;

-- +goose StatementBegin

-- guard_invoice lets a draft be written, become an invoice whose lines add up, and an
-- invoice change its status: nothing else, whoever asks.
CREATE FUNCTION analytics.guard_invoice() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  was jsonb; becomes jsonb; sums bigint[];
BEGIN
  IF TG_OP IN ('DELETE', 'TRUNCATE') THEN
    RAISE EXCEPTION 'invoices are never deleted' USING ERRCODE = 'insufficient_privilege';
  ELSIF TG_OP = 'INSERT' THEN
    IF NEW.status <> 'draft' THEN
      RAISE EXCEPTION 'an invoice begins as a draft' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
  END IF;
  was := to_jsonb(OLD); becomes := to_jsonb(NEW);
  IF OLD.status = 'draft' AND NEW.status = 'issued' THEN
    SELECT ARRAY[coalesce(sum(l.requests), 0), coalesce(sum(l.input_tokens), 0), coalesce(sum(l.cached_input_tokens), 0),
                 coalesce(sum(l.output_tokens), 0), coalesce(sum(l.usage_nano), 0), coalesce(sum(l.rounding_nano), 0)]::bigint[] INTO sums
      FROM analytics.invoice_lines l WHERE l.org_id = NEW.org_id AND l.invoice_id = NEW.invoice_id;
    IF sums <> ARRAY[NEW.requests, NEW.input_tokens, NEW.cached_input_tokens, NEW.output_tokens, NEW.usage_nano, NEW.rounding_nano] THEN
      RAISE EXCEPTION 'the lines do not add up' USING ERRCODE = 'check_violation';
    END IF;
    was := was - ARRAY['status', 'seller_id', 'year', 'sequence', 'number', 'issued_at', 'due_on', 'seller', 'customer'];
    becomes := becomes - ARRAY['status', 'seller_id', 'year', 'sequence', 'number', 'issued_at', 'due_on', 'seller', 'customer'];
  ELSIF (OLD.status, NEW.status) IN (
      ('issued', 'paid'), ('issued', 'past_due'), ('issued', 'uncollectible'), ('issued', 'void'),
      ('past_due', 'paid'), ('past_due', 'uncollectible'), ('past_due', 'void'), ('uncollectible', 'paid'), ('uncollectible', 'void')) THEN
    was := was - 'status'; becomes := becomes - 'status';
  ELSE
    was := NULL; -- also a change that changes nothing
  END IF;
  IF was IS DISTINCT FROM becomes THEN
    RAISE EXCEPTION 'an invoice can''t be changed' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NEW;
END $$;

-- guard_invoice_line lets lines be written in the transaction that drafts their
-- invoice, and never after.
CREATE FUNCTION analytics.guard_invoice_line() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    PERFORM 1 FROM analytics.invoices i
      WHERE i.org_id = NEW.org_id AND i.invoice_id = NEW.invoice_id AND i.status = 'draft' AND i.xmin = pg_current_xact_id()::xid;
    IF FOUND THEN
      RETURN NEW;
    END IF;
  END IF;
  RAISE EXCEPTION 'the lines of an invoice can''t be changed' USING ERRCODE = 'insufficient_privilege';
END $$;

-- guard_invoice_number lets numbers follow each other, and nothing be taken back.
CREATE FUNCTION analytics.guard_invoice_number() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'INSERT' AND NEW.last = 1 THEN
    RETURN NEW;
  ELSIF TG_OP = 'UPDATE' AND (NEW.seller_id, NEW.year, NEW.last) = (OLD.seller_id, OLD.year, OLD.last + 1) THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'numbers of invoices follow each other' USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION analytics.guard_invoice(), analytics.guard_invoice_line(), analytics.guard_invoice_number() FROM PUBLIC;
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON analytics.invoices FOR EACH ROW EXECUTE FUNCTION analytics.guard_invoice();
CREATE TRIGGER guard_all BEFORE TRUNCATE ON analytics.invoices FOR EACH STATEMENT EXECUTE FUNCTION analytics.guard_invoice();
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON analytics.invoice_lines FOR EACH ROW EXECUTE FUNCTION analytics.guard_invoice_line();
CREATE TRIGGER guard_all BEFORE TRUNCATE ON analytics.invoice_lines FOR EACH STATEMENT EXECUTE FUNCTION analytics.guard_invoice_line();
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON analytics.invoice_numbers FOR EACH ROW EXECUTE FUNCTION analytics.guard_invoice_number();
CREATE TRIGGER guard_all BEFORE TRUNCATE ON analytics.invoice_numbers FOR EACH STATEMENT EXECUTE FUNCTION analytics.guard_invoice_number();

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['billing_profiles', 'invoices', 'invoice_lines'] LOOP
    EXECUTE format('ALTER TABLE analytics.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE analytics.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format($p$CREATE POLICY own_organization ON analytics.%I TO aiaas_analytics
      USING (org_id = nullif(current_setting('app.org_id', true), ''))
      WITH CHECK (org_id = nullif(current_setting('app.org_id', true), ''))$p$, t);
  END LOOP;
  -- What is due is looked for in all organisations; all else happens in one.
  FOREACH t IN ARRAY ARRAY['accounting', 'usage_minutes', 'usage_deltas', 'invoices'] LOOP
    EXECUTE format('CREATE POLICY billing_sees ON analytics.%I FOR SELECT TO aiaas_billing USING (true)', t);
  END LOOP;
  FOREACH t IN ARRAY ARRAY['accounting', 'inbox', 'ledger_entries', 'billing_profiles', 'invoices', 'invoice_lines', 'audit_records'] LOOP
    EXECUTE format($p$CREATE POLICY billing ON analytics.%I TO aiaas_billing
      USING (org_id = nullif(current_setting('app.org_id', true), ''))
      WITH CHECK (org_id = nullif(current_setting('app.org_id', true), ''))$p$, t);
  END LOOP;
END $$;
-- +goose StatementEnd
CREATE POLICY billing_adjusts ON analytics.ledger_entries AS RESTRICTIVE FOR INSERT TO aiaas_billing WITH CHECK (kind = 'adjustment');

GRANT SELECT ON analytics.invoices, analytics.invoice_lines, analytics.sellers TO aiaas_analytics;
GRANT SELECT, INSERT, UPDATE ON analytics.billing_profiles TO aiaas_analytics;

GRANT SELECT, UPDATE (open_period) ON analytics.accounting TO aiaas_billing;
GRANT SELECT ON analytics.usage_minutes, analytics.usage_deltas, analytics.inbox, analytics.billing_profiles TO aiaas_billing;
GRANT SELECT, INSERT ON analytics.ledger_entries, analytics.invoices, analytics.invoice_lines TO aiaas_billing;
GRANT UPDATE (status, seller_id, year, sequence, number, issued_at, due_on, seller, customer) ON analytics.invoices TO aiaas_billing;
GRANT SELECT, INSERT, UPDATE (last) ON analytics.invoice_numbers TO aiaas_billing;
GRANT SELECT, UPDATE (name, address, country, tax_id, email, payment, number_prefix, updated_at) ON analytics.sellers TO aiaas_billing;
GRANT INSERT ON analytics.audit_records TO aiaas_billing;
