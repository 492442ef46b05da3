-- A request that was served is shown in the access log from its usage: where it
-- came from stands with what it cost.

-- +goose Up
ALTER TABLE analytics.usage_events
  ADD COLUMN source_address text NOT NULL DEFAULT '',
  ADD COLUMN user_agent     text NOT NULL DEFAULT '',
  ADD COLUMN status         integer NOT NULL DEFAULT 200; -- as the client was answered; 499 where it left before

-- +goose StatementBegin

-- recorded returns the one event of an organisation that is durable under an id:
-- what it cost where it is booked, its bytes where it still waits.
CREATE FUNCTION analytics.recorded(p_org text, p_id text)
RETURNS TABLE (cost_nano bigint, currency text, body bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT u.cost_nano, u.currency, NULL::bytea FROM analytics.usage_events u WHERE u.org_id = p_org AND u.event_id = p_id
  UNION ALL
  SELECT 0, '', i.body FROM analytics.inbox i WHERE i.org_id = p_org AND i.event_id = p_id
  UNION ALL
  SELECT 0, '', d.body FROM analytics.dead_letters d WHERE d.org_id = p_org AND d.event_id = p_id
  LIMIT 1
$$;
-- +goose StatementEnd
CREATE POLICY ledger ON analytics.dead_letters FOR SELECT TO aiaas_ledger USING (true);
GRANT SELECT ON analytics.dead_letters TO aiaas_ledger;
GRANT SELECT ON analytics.dead_letters TO aiaas_analytics; -- its own organisation's, as for the inbox
GRANT CREATE ON SCHEMA analytics TO aiaas_ledger;
ALTER FUNCTION analytics.recorded(text, text) OWNER TO aiaas_ledger;
REVOKE CREATE ON SCHEMA analytics FROM aiaas_ledger;
REVOKE ALL ON FUNCTION analytics.recorded(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION analytics.recorded(text, text) TO aiaas_gateway;
