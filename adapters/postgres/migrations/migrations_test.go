package migrations_test

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/aiaas/aiaas/adapters/postgres/migrations"
	"github.com/aiaas/aiaas/adapters/postgres/postgrestest"
	"github.com/aiaas/aiaas/shared/function"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

func roles() []string {
	return []string{"aiaas_gateway", "aiaas_router", "aiaas_accounts", "aiaas_tenants", "aiaas_analytics", "aiaas_metering", "aiaas_billing", "aiaas_lookup", "aiaas_ledger", "aiaas_journal", "aiaas_auditor", "aiaas_notary", "aiaas_mailer"}
}

// unguarded lists what is wrong with the guard of tables that belong to an
// organisation: row-level security must be enabled and forced, with a policy; a
// partition has no policy of its own, so nobody may be granted access to it.
const unguarded = `
SELECT c.oid::regclass::text || ': ' || problem
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'org_id' AND NOT a.attisdropped
  CROSS JOIN LATERAL (VALUES
    (NOT c.relrowsecurity, 'row-level security is not enabled'),
    (NOT c.relforcerowsecurity, 'row-level security is not forced'),
    (NOT c.relispartition AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid), 'it has no policy'),
    (c.relispartition AND EXISTS (SELECT FROM aclexplode(c.relacl) g WHERE g.grantee <> c.relowner), 'somebody may reach the partition past its parent')
  ) AS checks(wrong, problem)
 WHERE n.nspname IN ('accounts', 'router', 'analytics') AND c.relkind IN ('r', 'p') AND wrong
 ORDER BY 1`

func TestEveryTableOfATenantIsGuarded(t *testing.T) {
	t.Parallel()
	db := connect(t, postgrestest.New(t))
	if found := list(t, db, unguarded); len(found) > 0 {
		t.Errorf("not guarded:\n%s", strings.Join(found, "\n"))
	}
	guarded := list(t, db, `SELECT attrelid::regclass::text FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
		WHERE attname = 'org_id' AND relkind IN ('r', 'p') AND relnamespace::regnamespace::text IN ('accounts', 'router', 'analytics')`)
	if len(guarded) < 15 {
		t.Errorf("only %d tables were looked at: %v", len(guarded), guarded)
	}
}

// What belongs to a person and to no organisation is guarded as well.
func TestEveryTableOfAPersonIsGuarded(t *testing.T) {
	t.Parallel()
	db := connect(t, postgrestest.New(t))
	const ofPeople = ` FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'user_id' AND NOT a.attisdropped
		WHERE c.relkind IN ('r', 'p') AND c.relnamespace::regnamespace::text IN ('accounts', 'router', 'analytics')
		AND NOT EXISTS (SELECT FROM pg_attribute o WHERE o.attrelid = c.oid AND o.attname = 'org_id' AND NOT o.attisdropped)`
	if found := list(t, db, `SELECT c.oid::regclass::text`+ofPeople+` AND NOT (c.relrowsecurity AND c.relforcerowsecurity
		AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid))`); len(found) > 0 {
		t.Errorf("not guarded: %v", found)
	}
	if looked := list(t, db, `SELECT c.oid::regclass::text`+ofPeople); len(looked) < 5 {
		t.Errorf("only %d tables were looked at: %v", len(looked), looked)
	}
}

func TestTheGuardTestSeesEachFlaw(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, want string }{
		"no security": {`CREATE TABLE router.flawed (org_id text)`, "not enabled"},
		"not forced": {`CREATE TABLE router.flawed (org_id text); ALTER TABLE router.flawed ENABLE ROW LEVEL SECURITY;
			CREATE POLICY p ON router.flawed USING (true)`, "not forced"},
		"no policy": {`CREATE TABLE router.flawed (org_id text);
			ALTER TABLE router.flawed ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY`, "no policy"},
		"open partition":      {`GRANT SELECT ON analytics.ledger_entries_default TO aiaas_analytics`, "past its parent"},
		"unguarded partition": {`ALTER TABLE analytics.usage_events_default NO FORCE ROW LEVEL SECURITY`, "not forced"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := postgrestest.New(t)
			postgrestest.Exec(t, url, c.sql)
			found := list(t, connect(t, url), unguarded)
			if !slices.ContainsFunc(found, func(s string) bool { return strings.Contains(s, c.want) }) {
				t.Errorf("found %q; want one about %q", found, c.want)
			}
		})
	}
}

func TestNewPartitionsAreGuardedToo(t *testing.T) {
	t.Parallel()
	url := postgrestest.New(t)
	postgrestest.Exec(t, url, `SET ROLE aiaas_metering; SELECT analytics.ensure_partitions('2031-01-01', 3)`)
	db := connect(t, url)
	if made := list(t, db, `SELECT relname FROM pg_class WHERE relname LIKE '%\_20310_' ORDER BY 1`); len(made) != 6 {
		t.Errorf("made %v; want three months of two tables", made)
	}
	if found := list(t, db, unguarded); len(found) > 0 {
		t.Errorf("not guarded:\n%s", strings.Join(found, "\n"))
	}
}

func TestRunTimeRolesHaveTheLeastRights(t *testing.T) {
	t.Parallel()
	db := connect(t, postgrestest.New(t))
	for what, query := range map[string]string{
		"exists as it should": `SELECT r FROM unnest($1::text[]) r WHERE NOT EXISTS (
			SELECT FROM pg_roles WHERE rolname = r AND NOT rolcanlogin AND NOT rolsuper AND NOT rolbypassrls AND NOT rolcreaterole AND NOT rolcreatedb)`,
		"owns no table or sequence": `SELECT relowner::regrole || ' ' || oid::regclass FROM pg_class WHERE relowner::regrole::text = ANY($1)`,
		"owns no schema":            `SELECT nspowner::regrole || ' ' || nspname FROM pg_namespace WHERE nspowner::regrole::text = ANY($1)`,
		"makes nothing":             `SELECT r || ' ' || n FROM unnest($1::text[]) r, unnest(ARRAY['accounts', 'router', 'analytics']) n WHERE has_schema_privilege(r, n, 'CREATE')`,
		"is no other": `SELECT r.rolname || ' is ' || m.rolname FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.member JOIN pg_roles m ON m.oid = a.roleid
			WHERE r.rolname = ANY($1)`,
		"reaches own schemas only": `SELECT r || ' ' || n FROM unnest($1::text[]) r, unnest(ARRAY['accounts', 'router', 'analytics']) n
			WHERE has_schema_privilege(r, n, 'USAGE') AND r NOT IN ('aiaas_auditor', 'aiaas_notary', 'aiaas_notifier') AND (r, n) NOT IN (
				('aiaas_gateway', 'accounts'), ('aiaas_gateway', 'router'), ('aiaas_gateway', 'analytics'), ('aiaas_router', 'router'),
				('aiaas_accounts', 'accounts'), ('aiaas_tenants', 'accounts'), ('aiaas_mailer', 'accounts'), ('aiaas_lookup', 'accounts'), ('aiaas_analytics', 'analytics'), ('aiaas_metering', 'analytics'), ('aiaas_billing', 'analytics'), ('aiaas_ledger', 'analytics'), ('aiaas_journal', 'router'))`,
		"deletes nothing but what is queued": `SELECT r || ' ' || c.oid::regclass FROM unnest($1::text[]) r, pg_class c
			WHERE relnamespace::regnamespace::text IN ('accounts', 'router', 'analytics') AND relkind IN ('r', 'p') AND has_table_privilege(r, c.oid, 'DELETE, TRUNCATE')
			AND (r, c.relname::text) NOT IN (('aiaas_metering', 'inbox'), ('aiaas_metering', 'dead_letters'), ('aiaas_metering', 'usage_deltas'), ('aiaas_journal', 'access_log'), ('aiaas_journal', 'idempotency_claims'), ('aiaas_mailer', 'mails'),
				('aiaas_auditor', 'audit_pending'), ('aiaas_notary', 'audit_records'), ('aiaas_notary', 'audit_chain'),
				('aiaas_notifier', 'outbox'), ('aiaas_notifier', 'events'), ('aiaas_accounts', 'webhooks'),
				('aiaas_lookup', 'sign_in_challenges'), ('aiaas_lookup', 'reset_tokens'), ('aiaas_identity', 'sign_in_challenges'), ('aiaas_identity', 'reset_tokens'),
				('aiaas_identity', 'reset_requests'), ('aiaas_identity', 'known_devices'), ('aiaas_identity', 'throttles'),
				('aiaas_accounts', 'roles'), ('aiaas_accounts', 'project_members'), ('aiaas_accounts', 'members'), ('aiaas_accounts', 'api_key_overlaps'), ('aiaas_tenants', 'api_key_overlaps'), ('aiaas_tenants', 'plans'), ('aiaas_metering', 'exhausted_windows'),
				('aiaas_accounts', 'sso_domains'), ('aiaas_accounts', 'sso_connections'), ('aiaas_accounts', 'sso_identities'), ('aiaas_accounts', 'sso_states'),
				('aiaas_lookup', 'sso_states'), ('aiaas_lookup', 'departures'),
				('aiaas_identity', 'totp'), ('aiaas_identity', 'recovery_codes'), ('aiaas_identity', 'passkeys'), ('aiaas_identity', 'ceremonies'), ('aiaas_lookup', 'totp'), ('aiaas_lookup', 'ceremonies'),
				('aiaas_accounts', 'client_secrets'), ('aiaas_lookup', 'oauth_requests'), ('aiaas_lookup', 'oauth_devices'), ('aiaas_lookup', 'oauth_grants'),
				('aiaas_lookup', 'oauth_refresh_tokens'), ('aiaas_lookup', 'oauth_keys'), ('aiaas_lookup', 'oauth_attempts'),
				('aiaas_lookup', 'sessions'), ('aiaas_lookup', 'invitations'))`,
		"runs look-ups as themselves": `SELECT p.oid::regprocedure || ' is ' || proowner::regrole FROM pg_proc p
			WHERE pronamespace::regnamespace::text IN ('accounts', 'router', 'analytics') AND prosecdef AND proconfig IS NULL AND $1::text[] IS NOT NULL`,
		"leaves nothing to everybody": `SELECT p.oid::regprocedure::text FROM pg_proc p CROSS JOIN LATERAL aclexplode(coalesce(proacl, acldefault('f', proowner))) g
			WHERE pronamespace::regnamespace::text IN ('accounts', 'router', 'analytics') AND g.grantee = 0 AND $1::text[] IS NOT NULL`,
	} {
		if found := list(t, db, query, roles()); len(found) > 0 {
			t.Errorf("%s: %v", what, found)
		}
	}
}

func TestNoForeignKeyCrossesASchema(t *testing.T) {
	t.Parallel()
	db := connect(t, postgrestest.New(t))
	const crossing = `SELECT conname::text FROM pg_constraint k JOIN pg_class f ON f.oid = conrelid JOIN pg_class c ON c.oid = confrelid
		WHERE contype = 'f' AND f.relnamespace <> c.relnamespace`
	if found := list(t, db, crossing); len(found) > 0 {
		t.Errorf("foreign keys across schemas: %v", found)
	}
	if _, err := db.Exec(t.Context(), `CREATE TABLE accounts.flawed (m text CONSTRAINT crosses REFERENCES router.models)`); err != nil {
		t.Fatal(err)
	}
	if found := list(t, db, crossing); !slices.Equal(found, []string{"crosses"}) {
		t.Errorf("with one of them the test finds %v", found)
	}
}

// two organisations with a row in every table that has org_id.
const twoOrgs = `
INSERT INTO accounts.users VALUES ('user_1', 'a@example.com', '', now());
INSERT INTO router.models VALUES ('m', 'o', 1, now());
DO $$
DECLARE o text;
BEGIN
  FOREACH o IN ARRAY ARRAY['org_1', 'org_2'] LOOP
    INSERT INTO accounts.organizations (org_id, name, created_at) VALUES (o, o, now());
    INSERT INTO accounts.projects (org_id, project_id, name, created_at) VALUES (o, 'proj_' || o, 'p', now());
    INSERT INTO accounts.members VALUES (o, 'user_1', 'owner', now());
    INSERT INTO accounts.api_keys (org_id, key_id, project_id, name, environment, hash, fingerprint, scopes, created_by, created_at, owner_id, secret_by, secret_at)
      VALUES (o, 'key_' || o, 'proj_' || o, 'k', 'production', sha256(o::bytea), 'f', '{}', 'x', now(), 'user_1', '{user_1}', now());
    INSERT INTO accounts.roles VALUES (o, 'role_1', 'r', '', '{}', 'own', 'x', now(), now());
    INSERT INTO accounts.service_accounts VALUES (o, 'sa_1', 's', '', 'owner', 'active', 'x', now(), now());
    INSERT INTO accounts.client_secrets VALUES (o, 'cs', 'sa_1', sha256(o::bytea), 'h', 'x', '{x}', now());
    INSERT INTO accounts.project_members VALUES (o, 'proj_' || o, 'sa_1', 'viewer', 'x', now());
    INSERT INTO accounts.api_key_overlaps VALUES (o, 'key_' || o, sha256((o || 'old')::bytea), 'f', now(), now(), '{user_1}');
    INSERT INTO accounts.audit_records VALUES (o, 'aud', now(), 'a', 'a', 't', '{}');
    INSERT INTO router.audit_records VALUES (o, 'aud', now(), 'a', 'a', 't', '{}');
    INSERT INTO router.access_log VALUES (o, 'req', now(), now(), 1, 'k', 'p', 'm', 'e', 429, 'c', '', '', '');
    INSERT INTO analytics.audit_records VALUES (o, 'aud', now(), 'a', 'a', 't', '{}');
    INSERT INTO accounts.outbox VALUES (o, 'evt', 'key.created', now(), 'key', '{}');
    INSERT INTO router.outbox VALUES (o, 'evt', 'model.created', now(), 'm', '{}');
    INSERT INTO analytics.outbox VALUES (o, 'evt', 'budget.created', now(), 'bud', '{}');
    INSERT INTO accounts.events VALUES (o, 'evt', 'key.created', now(), 'key', '{}');
    INSERT INTO accounts.webhooks (org_id, webhook_id, url, events, enabled, secret, created_by, created_at, updated_at)
      VALUES (o, 'wh', 'https://example.com', '{*}', true, 's', 'x', now(), now());
    INSERT INTO accounts.webhook_deliveries (org_id, delivery_id, webhook_id, event_id, next_at, created_at) VALUES (o, 'dlv', 'wh', 'evt', now(), now());
    INSERT INTO accounts.webhook_attempts VALUES (o, 'att', 'dlv', now(), 1, 200, '', '');
    INSERT INTO accounts.sso_domains VALUES (o, 'dom', o || '.example', 't', 'x', now(), now());
    INSERT INTO accounts.sso_connections (org_id, connection_id, name, issuer, client_id, secret, required, trust_mfa, enabled, authority, created_by, created_at, updated_at)
      VALUES (o, 'sso', 'c', 'https://example.com', 'c', '', false, false, true, 'owner', 'x', now(), now());
    INSERT INTO accounts.sso_identities (org_id, identity_id, connection_id, subject, user_id, created_at, seen_at) VALUES (o, 'xid', 'sso', 's', 'user_1', now(), now());
    INSERT INTO accounts.sso_states (org_id, state_hash, browser_hash, connection_id, created_at, expires_at) VALUES (o, sha256(o::bytea), sha256(o::bytea), 'sso', now(), now());
    INSERT INTO accounts.departures VALUES (o, 'user_1');
    INSERT INTO analytics.accounting VALUES (o);
    INSERT INTO analytics.budgets VALUES (o, 'bud', NULL, NULL, NULL, 'money', 1, 'USD', 'month', 'UTC', 'block', '{}', 'x', now());
    INSERT INTO analytics.budget_windows VALUES (o, 'bud', now(), now());
    INSERT INTO analytics.budget_alerts VALUES (o, 'balert', 'bud', now(), now(), 50, 1, 1);
    INSERT INTO analytics.exhausted_windows VALUES (o, 'bud', now());
    INSERT INTO analytics.billing_profiles (org_id, updated_at) VALUES (o, now());
    INSERT INTO analytics.invoices VALUES (o, 'inv', '2026-10-01', 'USD', 'UTC', 1, 1, 0, 1, 1, 0, 'draft', now());
    INSERT INTO analytics.invoice_lines VALUES (o, 'inv', 1, 'p', 'p', 'm', 1, 1, 0, 1, 1, 0, now(), now());
    INSERT INTO analytics.inbox VALUES (o, 'req', '', NULL);
    INSERT INTO analytics.dead_letters VALUES (o, 'req', '', 'e');
    INSERT INTO analytics.usage_events VALUES (o, 'req', now(), 'p', 'k', 'm', 'b', 'pr', 'e', false, 'complete', false, 1, 0, 1, 1, 'USD', '2026-10-01', 0, 0);
    INSERT INTO analytics.ledger_entries VALUES (o, 'req', 'usage', now(), '2026-10-01', 'p', 'k', 'm', 'pr', 1, 1, 0, 1, 1, 'USD');
    INSERT INTO analytics.usage_deltas (org_id, minute, accounting_period, project_id, api_key_id, model, currency, requests, input_tokens, cached_input_tokens, output_tokens, cost_nano)
      VALUES (o, now(), '2026-10-01', 'p', 'k', 'm', 'USD', 1, 1, 0, 1, 1);
    INSERT INTO analytics.usage_minutes VALUES (o, now(), '2026-10-01', 'p', 'k', 'm', 'USD', 1, 1, 0, 1, 1);
  END LOOP;
END $$`

func TestRequestRolesSeeAndWriteTheirOrganisationOnly(t *testing.T) {
	t.Parallel()
	url := postgrestest.New(t)
	postgrestest.Exec(t, url, twoOrgs)
	db := connect(t, url)
	for _, role := range []string{"aiaas_accounts", "aiaas_router", "aiaas_analytics"} {
		tables := list(t, db, `SELECT c.oid::regclass::text FROM pg_class c JOIN pg_attribute a ON attrelid = c.oid AND attname = 'org_id'
			WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace::regnamespace::text IN ('accounts', 'router', 'analytics')
			AND has_table_privilege($1, c.oid, 'SELECT')`, role)
		if len(tables) == 0 {
			t.Errorf("%s reads no table at all", role)
		}
		for _, table := range tables {
			if got := asRole(t, db, role, "org_1", `SELECT coalesce(string_agg(DISTINCT org_id, ','), '') FROM `+table); got != "org_1" {
				t.Errorf("%s in org_1 sees %q in %s", role, got, table)
			}
			for _, nobody := range []string{"", "org_3", "%", "org_1' OR '1'='1"} {
				if got := asRole(t, db, role, nobody, `SELECT count(*)::text FROM `+table); got != "0" {
					t.Errorf("%s in %q sees %s rows of %s", role, nobody, got, table)
				}
			}
		}
	}
}

func TestForeignRowsCantBeWritten(t *testing.T) {
	t.Parallel()
	url := postgrestest.New(t)
	postgrestest.Exec(t, url, twoOrgs)
	db := connect(t, url)
	for _, c := range []struct{ role, sql string }{
		{"aiaas_accounts", `INSERT INTO accounts.organizations (org_id, name, created_at) VALUES ('org_9', 'x', now())`},
		{"aiaas_accounts", `INSERT INTO accounts.projects (org_id, project_id, name, created_at) VALUES ('org_2', 'x', 'x', now())`},
		{"aiaas_accounts", `INSERT INTO accounts.members VALUES ('org_2', 'user_1', 'admin', now())`},
		{"aiaas_accounts", `INSERT INTO accounts.audit_records VALUES ('org_2', 'x', now(), 'a', 'a', 't', '{}')`},
		{"aiaas_accounts", `UPDATE accounts.projects SET org_id = 'org_2'`},
		{"aiaas_router", `INSERT INTO router.audit_records VALUES ('org_2', 'x', now(), 'a', 'a', 't', '{}')`},
		{"aiaas_accounts", `INSERT INTO accounts.webhooks (org_id, webhook_id, url, events, enabled, secret, created_by, created_at, updated_at)
			VALUES ('org_2', 'x', 'https://example.com', '{*}', true, 's', 'x', now(), now())`},
		{"aiaas_accounts", `INSERT INTO accounts.webhook_deliveries (org_id, delivery_id, webhook_id, event_id, next_at, created_at) VALUES ('org_2', 'x', 'wh', 'evt', now(), now())`},
		{"aiaas_accounts", `INSERT INTO accounts.events VALUES ('org_1', 'x', 'key.created', now(), 'key', '{}')`}, // only the dispatcher logs
		{"aiaas_accounts", `INSERT INTO accounts.outbox VALUES ('org_2', 'x', 'key.created', now(), 'key', '{}')`},
		{"aiaas_router", `INSERT INTO router.outbox VALUES ('org_2', 'x', 'model.created', now(), 'm', '{}')`},
		{"aiaas_analytics", `INSERT INTO analytics.outbox VALUES ('org_2', 'x', 'budget.created', now(), 'bud', '{}')`},
		{"aiaas_billing", `INSERT INTO analytics.outbox VALUES ('org_2', 'x', 'invoice.issued', now(), 'inv', '{}')`},
		{"aiaas_analytics", `INSERT INTO analytics.accounting VALUES ('org_9')`},
		{"aiaas_analytics", `INSERT INTO analytics.budgets VALUES ('org_2', 'x', NULL, NULL, NULL, 'money', 1, 'USD', 'month', 'UTC', 'block', '{}', 'x', now())`},
		{"aiaas_analytics", `INSERT INTO analytics.budget_windows VALUES ('org_2', 'bud', '2020-01-01', now())`},
		{"aiaas_analytics", `INSERT INTO analytics.billing_profiles (org_id, updated_at) VALUES ('org_9', now())`},
		{"aiaas_billing", `INSERT INTO analytics.invoices VALUES ('org_2', 'x', '2026-11-01', 'USD', 'UTC', 1, 1, 0, 1, 1, 0, 'draft', now())`},
		{"aiaas_billing", `INSERT INTO analytics.invoice_lines VALUES ('org_2', 'inv', 2, 'p', 'p', 'm', 1, 1, 0, 1, 1, 0, now(), now())`},
		{"aiaas_billing", `INSERT INTO analytics.ledger_entries VALUES ('org_2', 'x', 'adjustment', now(), '2026-10-01', 'p', '', 'm', '', 0, 0, 0, 0, 1, 'USD')`},
		{"aiaas_billing", `INSERT INTO analytics.ledger_entries VALUES ('org_1', 'x', 'usage', now(), '2026-10-01', 'p', '', 'm', '', 0, 0, 0, 0, 1, 'USD')`},
		{"aiaas_billing", `INSERT INTO analytics.audit_records VALUES ('org_2', 'x', now(), 'a', 'a', 't', '{}')`},
	} {
		if got := asRole(t, db, c.role, "org_1", c.sql); got != "42501" {
			t.Errorf("%s: %s: %q; want it refused", c.role, c.sql, got)
		}
	}
	for _, c := range []struct{ role, sql string }{ // changes find none of the other's rows
		{"aiaas_accounts", `WITH n AS (UPDATE accounts.api_keys SET revoked_at = now() WHERE org_id = 'org_2' RETURNING 1) SELECT count(*)::text FROM n`},
		{"aiaas_accounts", `WITH n AS (UPDATE accounts.organizations SET name = 'x' WHERE org_id = 'org_2' RETURNING 1) SELECT count(*)::text FROM n`},
		{"aiaas_analytics", `WITH n AS (UPDATE analytics.budgets SET amount = 9 WHERE org_id = 'org_2' RETURNING 1) SELECT count(*)::text FROM n`},
		{"aiaas_analytics", `WITH n AS (UPDATE analytics.budget_windows SET spent = 0 WHERE org_id = 'org_2' RETURNING 1) SELECT count(*)::text FROM n`},
		{"aiaas_billing", `WITH n AS (UPDATE analytics.accounting SET open_period = '2030-01-01' WHERE org_id = 'org_2' RETURNING 1) SELECT count(*)::text FROM n`},
		{"aiaas_billing", `WITH n AS (UPDATE analytics.invoices SET status = 'void' WHERE org_id = 'org_2' RETURNING 1) SELECT count(*)::text FROM n`},
	} {
		if got := asRole(t, db, c.role, "org_1", c.sql); got != "0" {
			t.Errorf("%s: %s changed %s rows", c.role, c.sql, got)
		}
	}
}

// TestNoStatementChangesForeignRows tries, for every table of tenants, every column
// that a request's role may update, and every table that it may delete from, without
// any filter of ours.
func TestNoStatementChangesForeignRows(t *testing.T) {
	t.Parallel()
	url := postgrestest.New(t)
	postgrestest.Exec(t, url, twoOrgs)
	db := connect(t, url)
	tried := 0
	for _, role := range []string{"aiaas_accounts", "aiaas_router", "aiaas_analytics"} {
		updates := list(t, db, `SELECT format('UPDATE %s SET %I = %I', c.oid::regclass, a.attname, a.attname) FROM pg_class c
			JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
			JOIN pg_attribute o ON o.attrelid = c.oid AND o.attname = 'org_id'
			WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace::regnamespace::text IN ('accounts', 'router', 'analytics')
			AND has_column_privilege($1, c.oid, a.attnum, 'UPDATE')`, role)
		deletes := list(t, db, `SELECT format('DELETE FROM %s', c.oid::regclass) FROM pg_class c
			JOIN pg_attribute o ON o.attrelid = c.oid AND o.attname = 'org_id'
			WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace::regnamespace::text IN ('accounts', 'router', 'analytics')
			AND has_table_privilege($1, c.oid, 'DELETE')`, role)
		for _, sql := range append(updates, deletes...) {
			tried++
			got := asRole(t, db, role, "org_1", `WITH n AS (`+sql+` WHERE org_id <> 'org_1' RETURNING 1) SELECT count(*)::text FROM n`)
			if got != "0" && got != "42501" {
				t.Errorf("%s: %s: %q", role, sql, got)
			}
			if got := asRole(t, db, role, "", `WITH n AS (`+sql+` RETURNING 1) SELECT count(*)::text FROM n`); got != "0" && got != "42501" {
				t.Errorf("%s in no organisation: %s: %q", role, sql, got)
			}
		}
	}
	if tried < 40 {
		t.Errorf("only %d statements were tried", tried)
	}
}

func TestTheGatewayReachesTenantsThroughFunctionsOnly(t *testing.T) {
	t.Parallel()
	url := postgrestest.New(t)
	postgrestest.Exec(t, url, twoOrgs)
	db := connect(t, url)
	for _, table := range []string{"accounts.organizations", "accounts.api_keys", "analytics.inbox", "analytics.usage_events", "analytics.budgets", "analytics.ledger_entries"} {
		if got := asRole(t, db, "aiaas_gateway", "org_1", `SELECT count(*)::text FROM `+table); got != "42501" {
			t.Errorf("the gateway reads %s: %q", table, got)
		}
	}
	if got := asRole(t, db, "aiaas_gateway", "", `SELECT org_id FROM accounts.lookup_key(sha256('org_2'))`); got != "org_2" {
		t.Errorf("look-up by hash: %q; want org_2", got)
	}
	if got := asRole(t, db, "aiaas_gateway", "", `SELECT count(*)::text FROM accounts.lookup_key('%')`); got != "0" {
		t.Errorf("look-up by another hash: %q; want nothing", got)
	}
}

func TestRecordsAreAppendOnly(t *testing.T) {
	t.Parallel()
	url := postgrestest.New(t)
	postgrestest.Exec(t, url, twoOrgs)
	db := connect(t, url)
	for _, role := range []string{"aiaas_metering", "aiaas_analytics", ""} { // "": the owner himself
		for _, sql := range []string{`UPDATE analytics.ledger_entries SET amount_nano = 0`, `DELETE FROM analytics.ledger_entries`} {
			if got := asRole(t, db, role, "org_1", sql); got != "42501" {
				t.Errorf("%q: %s: %q; want it refused", role, sql, got)
			}
		}
	}
	for role, tables := range map[string][]string{
		"aiaas_accounts":  {"accounts.audit_records"},
		"aiaas_router":    {"router.audit_records", "router.prices"},
		"aiaas_analytics": {"analytics.audit_records"},
		"aiaas_metering":  {"analytics.usage_events"},
	} {
		for _, table := range tables {
			if got := asRole(t, db, role, "org_1", `DELETE FROM `+table); got != "42501" {
				t.Errorf("%s deletes from %s: %q", role, table, got)
			}
			column := list(t, db, `SELECT attname::text FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum = 1`, table)[0]
			if got := asRole(t, db, role, "org_1", `UPDATE `+table+` SET `+column+` = `+column); got != "42501" {
				t.Errorf("%s updates %s: %q", role, table, got)
			}
		}
	}
}

func TestMigratingTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	url := postgrestest.Empty(t)
	for _, svc := range migrations.Services() {
		if n, err := migrations.Run(t.Context(), url, svc); err != nil || n == 0 {
			t.Fatalf("migrate %s: %d applied, %v", svc, n, err)
		}
		if n, err := migrations.Run(t.Context(), url, svc); err != nil || n != 0 {
			t.Errorf("migrate %s again: %d applied, %v; want nothing to do", svc, n, err)
		}
	}
}

func TestProcessesThatMigrateAtOnceWaitForEachOther(t *testing.T) {
	t.Parallel()
	url := postgrestest.Empty(t)
	var wg sync.WaitGroup
	applied := make([]int, 4)
	for i := range applied {
		wg.Go(func() {
			for _, svc := range migrations.Services() {
				n, err := migrations.Run(t.Context(), url, svc)
				if err != nil {
					t.Errorf("process %d: %v", i, err)
				}
				applied[i] += n
			}
		})
	}
	wg.Wait()
	total, versions := 0, 0
	for _, n := range applied {
		total += n
	}
	db := connect(t, url)
	for _, svc := range migrations.Services() {
		versions += len(list(t, db, fmt.Sprintf(`SELECT version_id::text FROM %s.schema_version WHERE version_id > 0`, svc)))
	}
	if total != versions || total == 0 {
		t.Errorf("applied %d times; want each of %d migrations once", total, versions)
	}
}

func TestAnOwnerWithoutSuperuserRightsCanMigrate(t *testing.T) {
	t.Parallel()
	admin := postgrestest.Empty(t)
	db := connect(t, admin)
	database := list(t, db, `SELECT current_database()::text`)[0]
	owner := "owner_of_" + database
	postgrestest.Exec(t, admin, fmt.Sprintf(`CREATE ROLE %[1]s LOGIN CREATEROLE; GRANT CREATE ON DATABASE %[2]s TO %[1]s`, owner, database))
	t.Cleanup(func() {
		postgrestest.Exec(t, admin, fmt.Sprintf(`DROP OWNED BY %[1]s CASCADE; DROP ROLE %[1]s`, owner))
	})
	// The roles of the cluster may have been made by somebody else: then their
	// administrator must let the owner act for them.
	postgrestest.Exec(t, admin, grantExisting(owner))
	as := withRole(t, admin, owner)
	for _, svc := range migrations.Services() {
		if _, err := migrations.Run(t.Context(), as, svc); err != nil {
			t.Fatalf("migrate %s: %v", svc, err)
		}
	}
	if found := list(t, db, unguarded); len(found) > 0 {
		t.Errorf("not guarded:\n%s", strings.Join(found, "\n"))
	}
	if got := list(t, db, `SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace::regnamespace::text IN ('accounts', 'router', 'analytics')`); !slices.Equal(got, []string{owner}) {
		t.Errorf("the tables belong to %v; want %s", got, owner)
	}
	postgrestest.Exec(t, admin, twoOrgs)
	if got := asRole(t, db, owner, "", `SELECT row_security_active('accounts.members')::text`); got != "true" {
		t.Error("security is not forced on the owner")
	}
	if got := asRole(t, db, "aiaas_accounts", "org_1", `SELECT count(*)::text FROM accounts.api_keys`); got != "1" {
		t.Errorf("the run-time role sees %s keys of its organisation; want 1", got)
	}
}

func grantExisting(owner string) string {
	var b strings.Builder
	for _, r := range roles() {
		fmt.Fprintf(&b, `DO $$ BEGIN IF to_regrole('%[1]s') IS NOT NULL THEN GRANT %[1]s TO %[2]s WITH ADMIN OPTION; END IF; END $$;`, r, owner)
	}
	return b.String()
}

func TestFingerprintNamesTheMigrations(t *testing.T) {
	a, err := migrations.Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := migrations.Fingerprint(); a != b || len(a) != 16 {
		t.Errorf("fingerprints %q and %q; want one of 16 characters", a, b)
	}
}

func TestServicesCoverAllSchemas(t *testing.T) {
	want := []function.Service{function.Accounts, function.Router, function.Analytics}
	if got := migrations.Services(); !slices.Equal(got, want) {
		t.Errorf("services %v; want %v", got, want)
	}
}

// asRole runs one statement under a role and within an organisation, in a
// transaction that is rolled back. It returns the first column of the first row,
// or the SQLSTATE.
func asRole(t *testing.T, db *pgx.Conn, role, org, sql string) string {
	t.Helper()
	tx, err := db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if role != "" {
		if _, err := tx.Exec(t.Context(), "SET LOCAL ROLE "+role); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tx.Exec(t.Context(), "SELECT set_config('app.org_id', $1, true)", org); err != nil {
		t.Fatal(err)
	}
	rows, err := tx.Query(t.Context(), sql)
	if err != nil {
		return state(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	switch {
	case err != nil:
		return state(err)
	case len(got) == 0:
		return "done"
	}
	return got[0]
}

func state(err error) string {
	if pe, ok := err.(*pgconn.PgError); ok { //nolint:errorlint // of pgx itself
		return pe.Code
	}
	return err.Error()
}

func list(t *testing.T, db *pgx.Conn, sql string, args ...any) []string {
	t.Helper()
	rows, err := db.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return got
}

func connect(t *testing.T, databaseURL string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// withRole is a URL whose sessions act as a role: the server of the tests lets in
// its own user only.
func withRole(t *testing.T, databaseURL, role string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("role", role)
	u.RawQuery = q.Encode()
	return u.String()
}
