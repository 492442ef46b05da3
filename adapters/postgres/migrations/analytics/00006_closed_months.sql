-- A month that was closed stays closed, and its ledger as it is: the database itself
-- refuses, whoever writes.

-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION analytics.guard_accounting() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND NEW.org_id = OLD.org_id AND NEW.open_period >= OLD.open_period THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'a closed month stays closed' USING ERRCODE = 'insufficient_privilege';
END $$;

-- guard_ledger looks at all rows of a statement at once, for metering writes many.
-- Usage is of a month that is open; what rounds an invoice comes with its draft.
CREATE FUNCTION analytics.guard_ledger() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM written w LEFT JOIN analytics.accounting a ON a.org_id = w.org_id
              WHERE w.kind = 'usage' AND (a.open_period IS NULL OR w.accounting_period < a.open_period)) THEN
    RAISE EXCEPTION 'the month is closed' USING ERRCODE = 'insufficient_privilege';
  END IF;
  IF EXISTS (SELECT FROM written w WHERE w.kind = 'adjustment') THEN
    IF EXISTS (SELECT FROM written w WHERE w.kind = 'adjustment' AND NOT EXISTS (
                 SELECT FROM analytics.invoices i WHERE i.org_id = w.org_id AND i.period = w.accounting_period AND i.currency = w.currency
                    AND i.status = 'draft' AND i.xmin = pg_current_xact_id()::xid AND w.event_id LIKE i.invoice_id || '.%')) THEN
      RAISE EXCEPTION 'an adjustment comes with its draft' USING ERRCODE = 'insufficient_privilege';
    END IF;
  END IF;
  RETURN NULL;
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION analytics.guard_accounting(), analytics.guard_ledger() FROM PUBLIC;
CREATE TRIGGER guard BEFORE UPDATE OF org_id, open_period OR DELETE ON analytics.accounting FOR EACH ROW EXECUTE FUNCTION analytics.guard_accounting();
CREATE TRIGGER guard AFTER INSERT ON analytics.ledger_entries REFERENCING NEW TABLE AS written
  FOR EACH STATEMENT EXECUTE FUNCTION analytics.guard_ledger();
