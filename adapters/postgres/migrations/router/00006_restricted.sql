-- Models that are not open to every organisation; and lines of the access log that
-- are kept, however old, for an organisation under legal hold.

-- +goose Up
ALTER TABLE router.models ADD COLUMN restricted boolean NOT NULL DEFAULT false;
GRANT UPDATE (restricted) ON router.models TO aiaas_router;

-- +goose StatementBegin
CREATE FUNCTION router.prune_requests(p_log interval, p_claims interval, p_most integer, p_held text[])
RETURNS TABLE (log_lines bigint, claims bigint)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH old_lines AS (
    DELETE FROM router.access_log WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM router.access_log WHERE at < now() - greatest(p_log, interval '1 day') AND org_id <> ALL (p_held) ORDER BY at LIMIT p_most))
    RETURNING 1
  ), old_claims AS (
    DELETE FROM router.idempotency_claims WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM router.idempotency_claims WHERE coalesce(done_at, claimed_at) < now() - greatest(p_claims, interval '1 day')
         AND (done OR claimed_at < now() - interval '7 days') -- one whose process died, and that nobody asked for again
       ORDER BY coalesce(done_at, claimed_at) LIMIT p_most))
    RETURNING 1
  )
  SELECT (SELECT count(*) FROM old_lines), (SELECT count(*) FROM old_claims)
$$;
-- +goose StatementEnd
DROP FUNCTION router.prune_requests(interval, interval, integer);
GRANT CREATE ON SCHEMA router TO aiaas_journal;
ALTER FUNCTION router.prune_requests(interval, interval, integer, text[]) OWNER TO aiaas_journal;
REVOKE CREATE ON SCHEMA router FROM aiaas_journal;
REVOKE ALL ON FUNCTION router.prune_requests(interval, interval, integer, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION router.prune_requests(interval, interval, integer, text[]) TO aiaas_router;
