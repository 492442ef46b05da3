-- The schema of the service "router": models, where they run, what they cost.
-- Models, backends and prices belong to the platform, not to an organisation.

-- +goose Up
-- +goose StatementBegin
DO $$
DECLARE r text;
BEGIN
  FOREACH r IN ARRAY ARRAY['aiaas_gateway', 'aiaas_router'] LOOP
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

GRANT USAGE ON SCHEMA router TO aiaas_gateway, aiaas_router;

CREATE TABLE router.models (
  model_id          text PRIMARY KEY CHECK (model_id <> '' AND length(model_id) <= 200),
  owned_by          text NOT NULL DEFAULT 'aiaas',
  max_output_tokens bigint NOT NULL CHECK (max_output_tokens > 0), -- the bound where a client sets none
  created_at        timestamptz NOT NULL,
  disabled_at       timestamptz
);

CREATE TABLE router.backends (
  backend_id     text PRIMARY KEY,
  model_id       text NOT NULL REFERENCES router.models,
  protocol       text NOT NULL CHECK (protocol IN ('openai', 'anthropic')),
  base_url       text NOT NULL,
  upstream_model text NOT NULL,
  credential     text NOT NULL DEFAULT '', -- 'env:NAME', or sealed and bound to the base URL's host; never plain
  weight         integer NOT NULL DEFAULT 1 CHECK (weight BETWEEN 0 AND 1000),
  created_at     timestamptz NOT NULL,
  disabled_at    timestamptz
);
CREATE INDEX backends_model ON router.backends (model_id);

CREATE TABLE router.price_books (
  book_id    text PRIMARY KEY,
  currency   text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  created_at timestamptz NOT NULL
);
INSERT INTO router.price_books VALUES ('default', 'USD', now());

-- Versions of prices: never updated, never deleted. The version in force at a
-- moment is the one with the latest effective_from not after it; of two with the
-- same, the one published later.
CREATE TABLE router.prices (
  price_id       text PRIMARY KEY,
  book_id        text NOT NULL REFERENCES router.price_books,
  model_id       text NOT NULL REFERENCES router.models,
  effective_from timestamptz NOT NULL,
  input_pico     bigint NOT NULL CHECK (input_pico >= 0), -- 10^-12 of the currency for one token
  cached_pico    bigint NOT NULL CHECK (cached_pico >= 0),
  output_pico    bigint NOT NULL CHECK (output_pico >= 0),
  created_by     text NOT NULL,
  created_at     timestamptz NOT NULL
);
CREATE INDEX prices_model ON router.prices (book_id, model_id, effective_from);

CREATE TABLE router.audit_records (
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
ALTER TABLE router.audit_records ENABLE ROW LEVEL SECURITY;
ALTER TABLE router.audit_records FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON router.audit_records TO aiaas_router
  USING (org_id = nullif(current_setting('app.org_id', true), ''))
  WITH CHECK (org_id = nullif(current_setting('app.org_id', true), ''));

GRANT SELECT ON router.models, router.backends, router.price_books, router.prices TO aiaas_gateway;
GRANT SELECT, INSERT ON router.models, router.backends, router.prices TO aiaas_router;
GRANT UPDATE (disabled_at) ON router.models, router.backends TO aiaas_router;
GRANT SELECT ON router.price_books TO aiaas_router;
GRANT SELECT, INSERT ON router.audit_records TO aiaas_router;
