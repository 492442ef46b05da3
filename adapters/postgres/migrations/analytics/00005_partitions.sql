-- A month's partition can be made also when rows of that month went to the default
-- partition before: they move over.

-- +goose Up
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION analytics.ensure_partitions(p_from date, p_months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  parent text; m date; child text; lo text; hi text; made integer := 0;
BEGIN
  FOREACH parent IN ARRAY ARRAY['usage_events', 'ledger_entries'] LOOP
    FOR i IN 0 .. p_months - 1 LOOP
      m := (date_trunc('month', p_from) + make_interval(months => i))::date;
      child := format('%s_%s', parent, to_char(m, 'YYYYMM'));
      CONTINUE WHEN to_regclass('analytics.' || child) IS NOT NULL;
      lo := m::text || ' 00:00:00+00';
      hi := (m + interval '1 month')::date::text || ' 00:00:00+00';
      BEGIN
        EXECUTE format('CREATE TABLE analytics.%I PARTITION OF analytics.%I FOR VALUES FROM (%L) TO (%L)', child, parent, lo, hi);
      EXCEPTION WHEN check_violation THEN
        -- Nobody reads or writes while the rows move. Row-level security is forced on
        -- the owner too, and the ledger's rows refuse to go: both stand aside for this
        -- transaction only.
        EXECUTE format('LOCK TABLE analytics.%I IN ACCESS EXCLUSIVE MODE', parent);
        EXECUTE format('CREATE TABLE analytics.%I (LIKE analytics.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)', child, parent);
        EXECUTE format('ALTER TABLE analytics.%I NO FORCE ROW LEVEL SECURITY, DISABLE TRIGGER USER', parent || '_default');
        EXECUTE format('WITH moved AS (DELETE FROM analytics.%I WHERE admitted_at >= %L AND admitted_at < %L RETURNING *) INSERT INTO analytics.%I SELECT * FROM moved',
          parent || '_default', lo, hi, child);
        EXECUTE format('ALTER TABLE analytics.%I FORCE ROW LEVEL SECURITY, ENABLE TRIGGER USER', parent || '_default');
        EXECUTE format('ALTER TABLE analytics.%I ATTACH PARTITION analytics.%I FOR VALUES FROM (%L) TO (%L)', parent, child, lo, hi);
      END;
      EXECUTE format('ALTER TABLE analytics.%I ENABLE ROW LEVEL SECURITY', child);
      EXECUTE format('ALTER TABLE analytics.%I FORCE ROW LEVEL SECURITY', child);
      made := made + 1;
    END LOOP;
  END LOOP;
  RETURN made;
END $$;
-- +goose StatementEnd
